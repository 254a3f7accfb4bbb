"""The classic picture of an attack: image, perturbation, what comes out, and logits."""

from collections.abc import Sequence
from typing import NamedTuple

import matplotlib.style
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from lenet.figures.canvas import (
    BODY,
    GREY,
    INK,
    LINE,
    MARGIN,
    MID_GREY,
    PALE,
    SMALL,
    STYLE,
    VERDICTS,
    Canvas,
    titled_canvas,
)
from lenet.figures.level_names import DIGITS, cut_to_width, name_ticks
from lenet.interpret.robustness import distances
from lenet.rounding import decimals
from lenet.studies.origin import NOWHERE, Origin
from lenet.training.attack import Adversarial

SIDE, LOGITS, SPACE, HEAD = 1.55, 2.6, 0.3, 0.62  # inches
BEFORE, AFTER = MID_GREY, VERDICTS["worse"][0]


class Row(NamedTuple):
    """One attack on one image by one run: a batch of one in a stack of one; `names` are
    those of the classes."""

    name: str
    image: Float[Tensor, "28 28"]
    label: int
    logits: Float[Tensor, "class"]
    attacked: Adversarial
    names: Sequence[str] = DIGITS


def attack_picture(
    rows: Sequence[Row], *, epsilon: float, caption: str, origin: Origin = NOWHERE
) -> Figure:
    """A row per attack: original, perturbation, adversarial image, logits."""
    with matplotlib.style.context(["default", STYLE]):
        width = 2 * MARGIN + 3 * (SIDE + SPACE) + LOGITS + 0.5
        body = len(rows) * (SIDE + HEAD) + 0.2
        canvas, y = titled_canvas(width, body, finding(rows, epsilon), caption, origin)
        scale = max(float(row.attacked.perturbation.abs().max()) for row in rows)
        for row in rows:
            _draw(canvas, y, row, scale or 1.0)
            y += SIDE + HEAD
        _scale(canvas, y - 0.22, scale or 1.0)
    return canvas.figure


def finding(rows: Sequence[Row], epsilon: float) -> str:
    """One sentence: how many attacks of this size reach their goal."""
    reached = sum(bool(row.attacked.reached.all()) for row in rows)
    return (
        f"At epsilon {epsilon:g}, {reached} of {len(rows)} "
        f"attack{'s' if len(rows) > 1 else ''} on this {rows[0].names[rows[0].label]} "
        f"reach{'es' if reached == 1 else ''} the goal"
    )


def _draw(canvas: Canvas, y: float, row: Row, scale: float) -> None:
    x, step = MARGIN, SIDE + SPACE
    label, before, after = (
        row.names[int(at)]
        for at in (row.label, row.logits.argmax(), row.attacked.logits.argmax())
    )
    change = row.attacked.perturbation.view(28, 28)
    size = {name: float(norm) for name, norm in distances(change[None]).items()}
    goal = "goal reached" if bool(row.attacked.reached.all()) else "goal not reached"
    canvas.write(x, y, [f"{row.name}: {goal}"], BODY, weight="bold")
    words = f"L1 {decimals(size['l1'], 1)}, L2 {decimals(size['l2'])}, "
    words += f"L-infinity {decimals(size['linf'])}"
    titles = (
        cut_to_width(f"label {label}, read as {before}", step),
        words,
        cut_to_width(f"read as {after}", step),
    )
    y += LINE * BODY + 0.04
    pictures = (row.image, change, row.attacked.images.view(28, 28))
    for i, (title, picture) in enumerate(zip(titles, pictures, strict=True)):
        canvas.write(x + i * step, y, [title], SMALL, color=GREY)
        axes = canvas.axes(x + i * step, y + LINE * SMALL + 0.03, SIDE, SIDE)
        span = (-scale, scale) if i == 1 else (0.0, 1.0)
        colors = "RdBu_r" if i == 1 else "gray_r"
        axes.imshow(picture.numpy(), cmap=colors, vmin=span[0], vmax=span[1])
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(color=PALE)
    left = x + 3 * step + 0.35
    canvas.write(
        left, y, ["logits before (grey) and after (orange)"], SMALL, color=GREY
    )
    _logits(canvas.axes(left, y + LINE * SMALL + 0.03, LOGITS, SIDE - 0.12), row)


def _logits(axes: Axes, row: Row) -> None:
    """Both logits of each class, side by side."""
    places = np.arange(len(row.names))
    axes.bar(places - 0.2, row.logits.numpy(), 0.4, color=BEFORE)
    axes.bar(places + 0.2, row.attacked.logits.view(-1).numpy(), 0.4, color=AFTER)
    axes.axhline(0, color=INK, linewidth=0.7)
    name_ticks(axes.xaxis, row.names, LOGITS)
    axes.tick_params(labelsize=SMALL, length=0, pad=2)
    axes.spines[["right", "top", "bottom"]].set_visible(False)


def _scale(canvas: Canvas, y: float, scale: float) -> None:
    """The colours of the perturbations, once for all rows."""
    place = canvas.axes(MARGIN + SIDE + SPACE, y, SIDE, 0.07)
    shared = ScalarMappable(Normalize(-scale, scale), "RdBu_r")
    bar = canvas.figure.colorbar(shared, cax=place, orientation="horizontal")
    bar.ax.tick_params(labelsize=SMALL - 1, length=2, pad=1)
    bar.outline.set_visible(False)
