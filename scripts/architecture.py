"""Draw the network with what its layers hold, in 1998 and today.

python scripts/architecture.py [output_dir=outputs]

Sizes, parameters and connections are counted in lenet.training.model, for the levels of
the presets `paper` and `modern`. After Fig. 2 of the paper (p. 7).
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lenet.config import preset_treatments
from lenet.figures.canvas import (
    BAND,
    BODY,
    CONVOLUTION,
    FULL,
    GREY,
    INK,
    LINE,
    MARGIN,
    SEEN,
    SMALL,
    SUBSAMPLING,
    Canvas,
    titled_canvas,
)
from lenet.report import study_report
from lenet.studies.origin import NOWHERE
from lenet.terminal import command, say, typed
from lenet.training import data
from lenet.training.model import STRUCTURE, table

Row = tuple[str, str, int, int]  # layer, shape of its output, parameters, connections
PRESETS = {"paper": "1998", "modern": "today"}
CHOSEN = {"S2": "pooling", "C3": "connection", "S4": "pooling", "output": "head"}
DOES = {
    "input": "28×28, padded",
    **dict.fromkeys(("C1", "C3"), "5×5 convolution"),
    **dict.fromkeys(("S2", "S4"), "2×2 subsampling"),
    "C5": "5×5 convolution",
    **dict.fromkeys(("F6", "output"), "full connection"),
}
TINTS = {
    "input": "none",
    **dict.fromkeys(("C1", "C3", "C5"), CONVOLUTION),
    **dict.fromkeys(("S2", "S4"), SUBSAMPLING),
    **dict.fromkeys(("F6", "output"), FULL),
}
WIDTH, HEIGHT, MIDDLE = 11.0, 2.85, 1.55  # inches
CENTERS = (0.8, 2.35, 3.9, 5.3, 6.6, 7.65, 8.55, 9.45)  # inches: input, C1, ..., output
BLOCK = 3.4 * LINE * BODY  # of counts: three lines
TOTAL = 10.35  # inches: the column of the sums
PIXEL, SHIFT = 0.031, {6: 0.09, 16: 0.05}  # inches: of a map, between so many maps
LENGTHS = {120: 2.1, 84: 1.47, 10: 1.4}  # inches: columns of so many units
PLACE = 0.6, 0.35  # of a unit in its map, in parts of the map
SAMPLE = 2  # the digit that is shown


class Front(NamedTuple):
    """The map in front of a layer, or its column of units, in inches; cells a side."""

    x: float
    y: float
    width: float
    height: float
    cells: int


def main() -> None:
    """The entry point."""
    given = typed(sys.argv[1:], {"output_dir": "outputs"})
    path = Path(given["output_dir"]) / "architecture" / "architecture"
    say("\n".join(map(str, study_report.write_figure(architecture(), path))))


def architecture() -> Figure:
    """The network of 1998 as stacks of maps, above the counts of both presets."""
    treatments = preset_treatments()
    levels = {
        name: {factor: str(treatments[name][factor]) for factor in STRUCTURE}
        for name in PRESETS
    }
    rows = {name: table(**chosen) for name, chosen in levels.items()}
    old, new = (sum(row[2] for row in layers) for layers in rows.values())
    wires = sum(row[3] for row in rows["paper"])
    title = f"LeNet-5: {old:,} parameters and {wires:,} connections in 1998, "
    canvas, top = titled_canvas(
        WIDTH,
        HEIGHT + 2 * BLOCK + 0.1,
        f"{title}{new:,} parameters today",
        "After LeCun et al. (1998), Fig. 2. Maps are drawn to scale, units are not. "
        "Parameters: trainable numbers. Connections: weights and biases at work, one "
        "for each place. Python: lenet.training.model.table.",
        NOWHERE,
    )
    draw_picture(canvas.axes(0, top, WIDTH, HEIGHT), rows["paper"])
    for name, layers in rows.items():
        draw_counts(canvas, top + HEIGHT, name, levels[name], layers)
        top += BLOCK + 0.1
    return canvas.figure


def draw_counts(
    canvas: Canvas, y: float, preset: str, levels: dict[str, str], rows: Sequence[Row]
) -> None:
    """Three lines: what a preset has for its layers, parameters and connections."""
    line = LINE * BODY
    patch = Rectangle(
        (MARGIN / canvas.width, 1 - (y + BLOCK) / canvas.height),
        1 - 2 * MARGIN / canvas.width,
        BLOCK / canvas.height,
        color=BAND,
        linewidth=0,
    )
    canvas.figure.add_artist(patch)
    heads = [f"{PRESETS[preset]}, preset={preset}", "parameters", "connections"]
    y += 0.2 * line
    canvas.write(MARGIN + 0.08, y, heads[:1], BODY, weight="bold", color=INK)
    canvas.write(MARGIN + 0.08, y + line, heads[1:], BODY, color=INK)
    for at, (name, _, parameters, connections) in zip(CENTERS[1:], rows, strict=True):
        factor = CHOSEN.get(name)
        label = f"{factor}={levels[factor]}" if factor else ""
        canvas.write(at, y, [label], SMALL, ha="center", color=GREY)
        numbers = [f"{parameters:,}", f"{connections:,}"]
        canvas.write(at, y + line, numbers, BODY, ha="center")
    _, _, *columns = zip(*rows, strict=True)
    sums = [f"{sum(column):,}" for column in columns]
    canvas.write(TOTAL, y + line, sums, BODY, ha="center", weight="bold")
    canvas.write(TOTAL, y, ["total"], SMALL, ha="center", color=GREY)


def draw_picture(axes: Axes, rows: Sequence[Row]) -> None:
    """The layers from left to right, and what one unit of each sees of the last."""
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))
    axes.axis("off")
    before: Front | None = None
    shapes = [("input", "1x32x32"), *((name, shape) for name, shape, _, _ in rows)]
    for at, (name, shape) in zip(CENTERS, shapes, strict=True):
        size = [int(number) for number in shape.split("x")]
        tint = TINTS[name]
        front = (
            draw_maps(axes, at, size, tint)
            if size[1:]
            else draw_units(axes, at, size, tint)
        )
        if before:
            draw_receptive_field(axes, before, front)
        else:
            draw_digit(axes, front)
        before = front
        axes.text(at, 0.14, name, ha="center", weight="bold", fontsize=BODY + 1)
        label = shape.replace("x", "×").replace("×", " @ ", 1).removeprefix("1 @ ")
        axes.text(at, 0.32, label, ha="center", fontsize=BODY)
        where = at, HEIGHT - 0.1
        axes.text(*where, DOES[name], ha="center", fontsize=SMALL, color=GREY)


def draw_maps(axes: Axes, at: float, size: Sequence[int], tint: str) -> Front:
    """Draw maps behind each other, from the upper left; the one in front."""
    count, side = size[0], PIXEL * size[1]
    shift = SHIFT.get(count, 0.0)
    reach = (side + (count - 1) * shift) / 2
    x, y = at - reach, MIDDLE - reach
    for _ in range(count):
        axes.add_patch(Rectangle((x, y), side, side, fc=tint, ec=INK, lw=0.6))
        x, y = x + shift, y + shift
    return Front(x - shift, y - shift, side, side, size[1])


def draw_units(axes: Axes, at: float, size: Sequence[int], tint: str) -> Front:
    """Draw a column of units, ten of them with the names of the classes."""
    (count,) = size
    height = LENGTHS[count]
    step, width = height / count, 0.15
    x, y = at - width / 2, MIDDLE - height / 2
    for unit in range(count):
        corner = x, y + unit * step
        axes.add_patch(Rectangle(corner, width, step, fc=tint, ec=INK, lw=0.35))
        if count == 10:
            axes.text(at, y + (unit + 0.82) * step, str(unit), ha="center", size=SMALL)
    return Front(x, y, width, height, 1)


def draw_receptive_field(axes: Axes, before: Front, now: Front) -> None:
    """A unit of a layer and lines to what it sees of the layer before."""
    kernel = 2 if before.cells == 2 * now.cells else before.cells - now.cells + 1
    unit = now.x + PLACE[0] * now.width, now.y + PLACE[1] * now.height
    width, height = (
        kernel / before.cells * side for side in (before.width, before.height)
    )
    x = before.x + PLACE[0] * (before.width - width)
    y = before.y + PLACE[1] * (before.height - height)
    style: dict[str, Any] = {"color": SEEN, "lw": 0.8, "zorder": 5}
    axes.add_patch(Rectangle((x, y), width, height, fill=False, **style))
    if before.cells == 1:  # a column: its unit is as wide as it is
        unit = now.x, unit[1]
    for corner in ((x + width, y), (x + width, y + height)):
        axes.plot(*zip(corner, unit, strict=True), **style)
    axes.plot(*unit, "o", ms=2, **style)


def draw_digit(axes: Axes, front: Front) -> None:
    """A digit on the input map: with its border, as the network sees it."""
    image = np.pad(data.load_data("digits", None).train_images[SAMPLE].numpy(), 2)
    extent = (front.x, front.x + front.width, front.y + front.height, front.y)
    axes.imshow(image, cmap="gray_r", extent=extent, aspect="auto", alpha=0.7)
    axes.set(xlim=(0, WIDTH), ylim=(HEIGHT, 0))  # which imshow changes


if __name__ == "__main__":
    command(main)
