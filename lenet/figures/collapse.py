"""How often runs are lost, by level: those that diverge, and those that collapse, which
come to their end and err like a guess."""

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
    MARGIN,
    ORANGE,
    SMALL,
    STYLE,
    measured,
    plain,
    sheet,
    wrap,
)
from lenet.figures.words import Words
from lenet.studies.effect import GUESSING
from lenet.studies.origin import NOWHERE, Origin
from lenet.studies.rounding import decimals

PLOT, NOTES = 3.6, 2.9  # inches


def shares(
    losses: pd.DataFrame,
    *,
    title: str,
    words: Words | None = None,
    origin: Origin = NOWHERE,
) -> Figure:
    """The share of lost runs of each level, with its interval, above that of its
    reference; where neither loses one there is no row.

    `losses` are those of `effect.Effects` of one estimand, some of them of lost runs.
    """
    drawn = losses[(losses["share"] > 0) | (losses["share_reference"] > 0)]
    with matplotlib.style.context(["default", STYLE]):
        rows = list(drawn.itertuples(index=False))
        words = words or Words()
        labels = [wrap(words.change(row), 2.6, BODY) for row in rows]
        label = max(measured(line) for lines in labels for line in lines)
        left = MARGIN + label + GAP
        width = left + PLOT + GAP + NOTES + MARGIN
        said = [_said(row) for row in rows]
        heights = [
            0.1 + LINE * max(BODY * len(lines), SMALL * len(texts))
            for lines, texts in zip(labels, said, strict=True)
        ]
        page, top = sheet(
            width, sum(heights) + 0.8, title, _caption(losses, drawn), origin
        )
        page.legend(top, _handles())
        top += 0.3
        axes = page.axes(left, top, PLOT, sum(heights))
        most = 100 * max(drawn["high"].max(), drawn["high_reference"].max())
        axes.set(xlim=(-0.03 * most, 1.05 * most), yticks=[])
        axes.set_ylim(top + sum(heights), top)
        plain(axes)
        y = top
        for row, lines, texts, height in zip(rows, labels, said, heights, strict=True):
            above = y + (height - LINE * BODY * len(lines)) / 2
            page.write(left - GAP, above, lines, BODY, ha="right")
            above = y + (height - LINE * SMALL * len(texts)) / 2
            page.write(left + PLOT + GAP, above, texts, SMALL)
            _draw(axes, row, y + height / 2)
            y += height
        foot = ["share of the level's runs that are lost, %"]
        page.write(left + PLOT / 2, y + 0.27, foot, BODY, ha="center")
    return page.figure


def finding(status: pd.Series) -> str:
    """One sentence: how many of all runs are lost, and how."""
    verbs = {"collapsed": "collapse", "diverged": "diverge"}
    counts = {verb: int((status == kind).sum()) for kind, verb in verbs.items()}
    said = [f"{k} {verb}{'s' * (k == 1)}" for verb, k in counts.items() if k]
    return f"Of {len(status):,} runs {' and '.join(said) or 'none is lost'}"


def _said(row: Any) -> list[str]:
    """The counts of a level and of its reference, and the p of the pairs."""
    lines = []
    for end, name in (("", row.level), ("_reference", row.reference)):
        keys = ("collapsed", "diverged", "runs", "low", "high")
        collapsed, diverged, runs, *limits = (getattr(row, key + end) for key in keys)
        low, high = (decimals(100 * limit) for limit in limits)
        said = f"{collapsed + diverged} of {runs} [{low}, {high}]"
        lines += wrap(f"{said} with {name}", NOTES, SMALL)
    return [*lines, f"p = {row.p_holm:.2g}"]


def _draw(axes: Axes, row: Any, y: float) -> None:
    """Two points with their intervals, the level's above its reference's."""
    for end, at, face in (("", y - 0.07, ORANGE), ("_reference", y + 0.07, "white")):
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
    reference.set(label="its reference", markerfacecolor="white")
    return [level, reference]


def _caption(losses: pd.DataFrame, drawn: pd.DataFrame) -> str:
    others = len(losses) - len(drawn)
    without = f" The other {others} levels and their references lose none."
    return (
        f"A run collapses if it ends at an error of {100 * GUESSING:g} % or more, "
        "and diverges if its loss is not finite. In brackets: exact 95 % intervals "
        "(Clopper and Pearson), in %. p: exact paired test of runs that differ in this "
        f"alone (McNemar; by seeds), after Holm over {len(losses)} tests."
        f"{without if others else ''}"
    )
