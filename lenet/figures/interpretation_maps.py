"""Pictures: kernels and maps, saliency of ten digits, latents, mistakes.

Signed values are drawn from blue (negative) over white (0) to red, each map to its own
largest size; images as ink on paper.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.style
import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lenet.figures.canvas import (
    BLUE,
    BODY,
    GREY,
    INK,
    LINE,
    MARGIN,
    PALE,
    SMALL,
    STYLE,
    WHITE,
    Canvas,
    text_width,
    titled_canvas,
)
from lenet.figures.interpretation_curves import NAMES
from lenet.figures.level_names import (
    DIGITS,
    FEW,
    about_images,
    cut_to_width,
    name_ticks,
)
from lenet.interpret.overview import confusion, mistake_table
from lenet.interpret.saliency import METHODS
from lenet.rounding import percent
from lenet.studies.origin import NOWHERE, Origin

Array = npt.NDArray[Any]
LATENTS, MISTAKES = 24, 60  # shown at most
ROWS = {
    "saliency": {name: NAMES[name] for name in [*METHODS, "grad_cam"]},
    "gradcam": {
        "signed": "signed",
        "positive": "positive part",
        "stretched": "the usual stretch",
    },
}
TITLES = {
    "saliency": "Which pixels speak for what the network reads, and which against it",
    "gradcam": "Grad-CAM, placed by what its cells see, and stretched as usual",
}
CAPTION = (
    "Red: for the class that the network reads; blue: against it; white: 0; each map "
    "to its own largest size. Digits: the first of each class in the test file. The "
    "line is the outline of the digit. A map marked empty has no positive part."
)
GRIDS = {"C5": (10, 12), "F6": (12, 7)}  # F6 as the bitmaps of the RBF units


def tile(canvas: Canvas, x: float, y: float, size: float, values: Array) -> Axes:
    """Signed values as an image whose width is `size` inches."""
    axes = bare_axes(canvas, x, y, size, values)
    most = np.nanmax(np.abs(values), initial=0) or 1.0
    axes.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
    return axes


def ink_axes(canvas: Canvas, x: float, y: float, size: float, image: Array) -> Axes:
    """Pixels from 0 (paper) to their largest value (ink)."""
    axes = bare_axes(canvas, x, y, size, image)
    axes.imshow(image, cmap="gray_r", vmin=0, interpolation="nearest")
    return axes


def bare_axes(canvas: Canvas, x: float, y: float, size: float, values: Array) -> Axes:
    """Axes without ticks, in the shape of an image."""
    axes = canvas.axes(x, y, size, size * values.shape[0] / values.shape[1])
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set(color=PALE, linewidth=0.5)
    return axes


def layers(
    maps: Mapping[str, Array],
    image: Array,
    label: int,
    origin: Origin = NOWHERE,
    names: Sequence[str] = DIGITS,
) -> Figure:
    """The kernels of C1 and C3 and the maps of all layers for one image.

    maps: `overview.maps`; image: its pixels; names: those of the classes.
    """
    answer = names[int(maps["output"].argmax())]
    title = f"What the layers make of a {names[label]}: the network says {answer}"
    caption = (
        "Red is positive, blue negative, white 0, each map and kernel to its own "
        "largest size. C3's kernels: a column per map, a row per map of S2 that feeds "
        "it; grey where there is none. C5, F6 and the output unit by unit, row by row; "
        "F6 as 12 rows of 7, as the bitmaps of 1998."
    )
    with matplotlib.style.context(["default", STYLE]):
        canvas, top = titled_canvas(9.6, 7.35, title, caption, origin)
        write_bold_line(canvas, top, "image")
        ink_axes(canvas, MARGIN, top + 0.2, 1.0, image)
        draw_first_maps(canvas, maps, top)
        draw_second_maps(canvas, maps, top + 1.75)
        draw_last_layers(canvas, maps, top + 5.9, names)
    return canvas.figure


def draw_first_maps(canvas: Canvas, maps: Mapping[str, Array], y: float) -> None:
    """C1's kernels over its maps, and S2."""
    write_bold_line(canvas, y, "C1: kernels and maps", 1.4)
    for i, kernel in enumerate(maps["C1 kernels"]):
        tile(canvas, 1.4 + 0.9 * i, y + 0.2, 0.4, kernel[0])
        tile(canvas, 1.4 + 0.9 * i, y + 0.65, 0.85, maps["C1"][i])
    write_bold_line(canvas, y, "S2", 7.1)
    for i, values in enumerate(maps["S2"]):
        tile(canvas, 7.1 + 0.8 * (i % 3), y + 0.2 + 0.7 * (i // 3), 0.65, values)


def draw_second_maps(canvas: Canvas, maps: Mapping[str, Array], y: float) -> None:
    """C3's kernels over its maps, and S4 below."""
    write_bold_line(canvas, y, "C3: kernels by map of S2, and maps")
    write_bold_line(canvas, y + 3.3, "S4")
    for i, kernels in enumerate(maps["C3 kernels"]):
        x = MARGIN + 0.58 * i
        for row, kernel in enumerate(kernels):
            axes = tile(canvas, x + 0.1, y + 0.2 + 0.4 * row, 0.36, kernel)
            axes.set_facecolor(PALE)
        tile(canvas, x, y + 2.65, 0.56, maps["C3"][i])
        tile(canvas, x, y + 3.5, 0.56, maps["S4"][i])


def draw_last_layers(
    canvas: Canvas, maps: Mapping[str, Array], y: float, names: Sequence[str]
) -> None:
    """Draw C5, F6 and the output."""
    for name, left, size in (("C5", MARGIN, 1.2), ("F6", 1.6, 0.7)):
        write_bold_line(canvas, y, name, left)
        tile(canvas, left, y + 0.2, size, maps[name].reshape(GRIDS[name]))
    write_bold_line(canvas, y, "output, by class", 2.6)
    axes = canvas.axes(2.9, y + 0.2, 3.5, 1.0)
    axes.bar(range(len(names)), maps["output"], color=GREY)
    name_ticks(axes.xaxis, names, 3.5)
    axes.tick_params(labelsize=SMALL, length=2)
    axes.spines[["right", "top"]].set_visible(False)


def write_bold_line(canvas: Canvas, y: float, text: str, x: float = MARGIN) -> None:
    """A bold line above something."""
    canvas.write(x, y, [text], BODY, weight="bold")


def ten_digits(
    method: str,
    maps: Mapping[str, Array],
    images: Array,
    labels: Sequence[int],
    origin: Origin = NOWHERE,
    names: Sequence[str] = DIGITS,
) -> Figure:
    """A column per digit: the image, then a row per kind of map [digit, 28, 28].

    method: a key of ROWS; maps: its maps, and `classes`, what the run sees; names:
    those of the classes.
    """
    title, named = TITLES[method], ROWS[method]
    side, left = 0.78, 1.75
    with matplotlib.style.context(["default", STYLE]):
        width = left + (side + 0.04) * len(images) + MARGIN
        body = 0.2 + (side + 0.04) * (len(named) + 1)
        caption = about_images(CAPTION, names)
        canvas, top = titled_canvas(width, body, title, caption, origin)
        for i, image in enumerate(images):
            x = left + (side + 0.04) * i
            seen = names[maps["classes"][i]]
            said = f"{names[labels[i]]}, read as {seen}"
            if text_width(said, SMALL) > side:
                said = f"{names[labels[i]]} as {seen}"
            canvas.write(x, top, [cut_to_width(said, side)], SMALL)
            ink_axes(canvas, x, top + 0.17, side, image)
            for row, name in enumerate(named, 1):
                y, values = top + 0.17 + (side + 0.04) * row, maps[name][i]
                axes = tile(canvas, x, y, side, values)
                axes.contour(
                    image, levels=[image.max() / 2], colors=INK, linewidths=0.4
                )
                if not values.any():
                    axes.text(14, 14, "empty", ha="center", fontsize=SMALL)
        for row, name in enumerate(["image", *named.values()]):
            y = top + 0.17 + (side + 0.04) * row + side / 2 - LINE * BODY / 2
            canvas.write(MARGIN, y, [name], BODY)
    return canvas.figure


def latents(
    table: pd.DataFrame,
    images: Array,
    layer: str,
    active: int,
    origin: Origin = NOWHERE,
    names: Sequence[str] = DIGITS,
) -> Figure:
    """The most used latents: digits that activate them most, classes, direction.

    table: `sae.portraits`; images: the test images that it names.
    """
    shown = table.head(LATENTS)
    pure = int((shown.filter(like="class_").max(axis=1) > 0.9).sum())
    title = (
        f"{pure} of the {len(shown)} most used latents of {layer} give nine tenths of "
        "their activation to one digit"
    )
    rows, columns = GRIDS.get(layer, (1, len(shown.filter(like="unit_").columns)))
    caption = (
        f"TopK autoencoder, {active} latents per image. Latents in the order of their "
        "share of all activation: none is chosen by eye. For each: the test digits "
        f"that activate it most; its activation by class, {numbered_names(names)}; its "
        f"direction in the layer's units, {rows} x {columns}."
    )
    title, caption = about_images(title, names), about_images(caption, names)
    width, height = 5.42, 0.62
    with matplotlib.style.context(["default", STYLE]):
        body = height * -(-len(shown) // 2)
        canvas, top = titled_canvas(
            2 * MARGIN + 2 * width, body, title, caption, origin
        )
        for i, (_, latent) in enumerate(shown.iterrows()):
            at = MARGIN + width * (i % 2), top + height * (i // 2)
            draw_portrait(canvas, *at, latent, images, (rows, columns))
    return canvas.figure


def numbered_names(names: Sequence[str]) -> str:
    """The numbers of the classes, each with its name if that is no number too."""
    if len(names) > FEW or names[-1].isdecimal():
        return f"0 to {len(names) - 1}"
    return ", ".join(f"{i} {name}" for i, name in enumerate(names))


def draw_portrait(
    canvas: Canvas,
    x: float,
    y: float,
    latent: pd.Series,
    images: Array,
    shape: tuple[int, int],
) -> None:
    """One latent, a row of `sae.portraits`: digits, classes, direction."""
    said = f"latent {latent['latent']:.0f}: fires on {percent(latent['fires'], 1)}"
    canvas.write(x, y, [said], SMALL)
    side, y = 0.42, y + 0.15
    for j, place in enumerate(latent.filter(like="image_").astype(int)):
        if place >= 0:
            ink_axes(canvas, x + (side + 0.02) * j, y, side, images[place])
    shares = latent.filter(like="class_").astype(float)
    axes = canvas.axes(x + 3.62, y, 0.9, side)
    axes.bar(range(len(shares)), shares, color=BLUE, width=0.8)
    axes.set(ylim=(0, 1), yticks=[], xticks=[])
    axes.spines[["left", "right", "top"]].set_visible(False)
    for label in np.flatnonzero(shares > 0.2).tolist():
        axes.text(label, 0.02, str(label), fontsize=SMALL - 1, ha="center", color=WHITE)
    direction = latent.filter(like="unit_").to_numpy(float).reshape(shape)
    tile(canvas, x + 4.72, y, min(0.6, side * shape[1] / shape[0]), direction)


def confusion_matrix(
    table: pd.DataFrame, origin: Origin = NOWHERE, names: Sequence[str] = DIGITS
) -> Figure:
    """How often each digit is read as each, in all runs: of `overview.answer_table`."""
    counts = confusion(table, len(names)).to_numpy()
    wrong = counts * (1 - np.eye(len(names), dtype=int))
    runs = table["run"].nunique()
    total = f"{wrong.sum():,} of {counts.sum():,} digits are misread"
    title = f"{total}, no digit as one other more than {wrong.max()} times"
    title = about_images(title, names)
    over = f", {runs} runs added up" if runs > 1 else ""
    caption = f"Counts of test images{over}; the colour is that of the mistakes alone."
    with matplotlib.style.context(["default", STYLE]):
        canvas, top = titled_canvas(5.4, 5.0, title, caption, origin)
        axes = canvas.axes(0.75, top + 0.1, 4.4, 4.4)
        axes.imshow(wrong, cmap="Oranges", vmax=max(wrong.max() * 1.4, 1))
        for (i, j), count in np.ndenumerate(counts):
            if count and len(names) <= FEW:
                color = GREY if i == j else INK
                axes.text(
                    j,
                    i,
                    f"{count:,}",
                    ha="center",
                    va="center",
                    color=color,
                    fontsize=SMALL,
                )
        axes.set_ylabel("label")
        name_ticks(axes.xaxis, names, 4.4)
        name_ticks(axes.yaxis, names, 0.5 * len(names))
        axes.set_xlabel("answer", labelpad=1)
        axes.tick_params(length=0, labelsize=BODY)
        axes.spines[:].set_visible(False)
    return canvas.figure


def gallery(
    table: pd.DataFrame,
    images: Array,
    origin: Origin = NOWHERE,
    names: Sequence[str] = DIGITS,
) -> Figure:
    """The digits that one run gets wrong, the surest first: `overview.answer_table`."""
    wrong = mistake_table(table)
    shown = wrong.head(MISTAKES)
    title = f"{len(wrong)} of {len(table):,} test images are misread"
    which = (
        f"The {len(shown)} with the largest margin"
        if len(shown) < len(wrong)
        else "All"
    )
    caption = (
        f"{which}, the surest first: label > answer, and the softmax probability of "
        "the answer. The number below is the place in the test file."
    )
    side, across = 0.72, 10
    with matplotlib.style.context(["default", STYLE]):
        rows = -(-len(shown) // across)
        width = 2 * MARGIN + across * (side + 0.08)
        canvas, top = titled_canvas(
            width, (side + 0.42) * max(rows, 1), title, caption, origin
        )
        for i, row in enumerate(shown.to_dict("records")):
            x = MARGIN + (side + 0.08) * (i % across)
            y = top + (side + 0.42) * (i // across)
            said = f"{names[row['label']]} > {names[row['answer']]}"
            said += f"  {percent(row['probability'], 0)}"
            canvas.write(x, y, [cut_to_width(said, side + 0.06)], SMALL)
            ink_axes(canvas, x, y + 0.15, side, images[row["image"]])
            canvas.write(x, y + side + 0.17, [str(row["image"])], SMALL - 1, color=GREY)
    return canvas.figure
