"""How often runs are lost, by level: those that diverge, and those that collapse, which
come to their end and err like a guess."""

from dataclasses import dataclass
from typing import Any

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lenet.figures.canvas import (
    BODY,
    GAP,
    GREY,
    LINE,
    ORANGE,
    SCREEN,
    SMALL,
    WHITE,
    Look,
    plain_axes,
    text_width,
    titled_canvas,
    wrap,
)
from lenet.figures.level_names import Words
from lenet.figures.rows import LabelledRow, RowLayout, fitted_layout, write_label
from lenet.rounding import decimals
from lenet.studies.effect import GUESSING
from lenet.studies.origin import NOWHERE, Origin


@dataclass(frozen=True)
class _Row(LabelledRow):
    lines: list[str]  # beside the plot
    loss: Any  # a row of losses

    @property
    def height(self) -> float:
        """Inches: the taller of the label and of what is written beside the plot."""
        written = max(self.label_points, SMALL * len(self.lines))
        return self.head + 0.1 + LINE * written


WIDE = RowLayout(2.6, 3.6, 2.9)
# In a paper: whether labels stand above, and the inches of the counts.
BESIDE, BELOW = ((False, 2.1),), ((True, 1.35),)
AXIS = "share of the level's runs that are lost, %"


def lost_shares(
    losses: pd.DataFrame,
    *,
    title: str,
    words: Words | None = None,
    origin: Origin = NOWHERE,
    look: Look = SCREEN,
) -> Figure:
    """The share of lost runs of each level, with its interval, above that of its
    reference; where neither loses one there is no row.

    `losses` are those of `effect.Effects` of one estimand, some of them of lost runs.
    """
    drawn = losses[(losses["share"] > 0) | (losses["share_reference"] > 0)]
    with matplotlib.style.context(["default", look.style]):
        rows, layout = _rows(drawn, words or Words(), look)
        label = max(text_width(line) for row in rows for line in row.label)
        left = look.margin + layout.left(label)
        width = look.width or left + layout.plot + GAP + layout.notes + look.margin
        body, said = sum(row.height for row in rows), _caption(losses, drawn, layout)
        foot = wrap(AXIS, layout.plot if layout.above else 3.0, BODY)
        height = body + 0.8 + LINE * BODY * (len(foot) - 1)
        canvas, top = titled_canvas(width, height, title, said, origin, look)
        canvas.legend(top, _handles())
        top += 0.3
        axes = canvas.axes(left, top, layout.plot, body)
        most = 100 * max(drawn["high"].max(), drawn["high_reference"].max())
        axes.set(xlim=(-0.03 * most, 1.05 * most), yticks=[], ylim=(top + body, top))
        plain_axes(axes)
        y = top
        for row in rows:
            write_label(canvas, row.label, (left, y), row.height, layout)
            room = row.height - row.head
            above = y + row.head + (room - LINE * SMALL * len(row.lines)) / 2
            canvas.write(left + layout.plot + GAP, above, row.lines, SMALL)
            _draw(axes, row.loss, y + row.head + room / 2)
            y += row.height
        canvas.write(left + layout.plot / 2, y + 0.27, foot, BODY, ha="center")
    return canvas.figure


def _rows(
    losses: pd.DataFrame, words: Words, look: Look
) -> tuple[list[_Row], RowLayout]:
    """The rows, and how they are laid out."""
    arms = list(losses.itertuples(index=False))
    names, layout = list(map(words.change, arms)), WIDE
    if look.width:
        layout = fitted_layout(
            "collapse", look, names, BELOW if look.narrow else BESIDE
        )
    return [
        _Row(wrap(name, layout.label, BODY), layout.above, _said(row, layout), row)
        for name, row in zip(names, arms, strict=True)
    ], layout


def finding(status: pd.Series) -> str:
    """One sentence: how many of all runs are lost, and how."""
    verbs = {"collapsed": "collapse", "diverged": "diverge"}
    counts = {verb: int((status == kind).sum()) for kind, verb in verbs.items()}
    said = [
        f"{count} {verb}{'s' * (count == 1)}" for verb, count in counts.items() if count
    ]
    return f"Of {len(status):,} runs {' and '.join(said) or 'none is lost'}"


def _said(row: Any, layout: RowLayout) -> list[str]:
    """The counts of a level and of its reference, and the p of the pairs.

    In a column there is no room for names: the first is the level's, as of the dots.
    """
    lines = []
    for end, name in (("", row.level), ("_reference", row.reference)):
        keys = ("collapsed", "diverged", "runs", "low", "high")
        collapsed, diverged, runs, *limits = (getattr(row, key + end) for key in keys)
        low, high = (decimals(100 * limit) for limit in limits)
        said = f"{collapsed + diverged} of {runs} [{low}, {high}]"
        said += f" with {name}" * (not layout.above)
        lines += wrap(said, layout.notes, SMALL)
    return [*lines, f"p = {row.p_holm:.2g}"]


def _draw(axes: Axes, row: Any, y: float) -> None:
    """Two points with their intervals, the level's above its reference's."""
    for end, at, face in (("", y - 0.07, ORANGE), ("_reference", y + 0.07, WHITE)):
        share, low, high = (
            100 * getattr(row, f"{key}{end}") for key in ("share", "low", "high")
        )
        color = ORANGE if face == ORANGE else GREY
        axes.plot([low, high], [at, at], color=color, linewidth=1.4, zorder=2)
        dot = axes.plot(share, at, "o", color=color, markersize=5, zorder=3)[0]
        dot.set(markerfacecolor=face, clip_on=False)


def _handles() -> list[Line2D]:
    level = Line2D([], [], color=ORANGE, marker="o", markersize=5, label="level")
    reference = Line2D([], [], color=GREY, marker="o", markersize=5)
    reference.set(label="its reference", markerfacecolor=WHITE)
    return [level, reference]


def _caption(losses: pd.DataFrame, drawn: pd.DataFrame, layout: RowLayout) -> str:
    others = len(losses) - len(drawn)
    without = f" The other {others} levels and their references lose none."
    first = "First the level, then its reference. " if layout.above else ""
    return (
        f"{first}A run collapses if it ends at an error of {100 * GUESSING:g} % or "
        "more, and diverges if its loss is not finite. In brackets: exact 95 % "
        "intervals (Clopper and Pearson), in %. p: exact paired test of runs that "
        "differ in this alone (McNemar; by seeds), after Holm over "
        f"{len(losses)} tests."
        f"{without if others else ''}"
    )
