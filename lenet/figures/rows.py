"""Figures of rows: a label, a plot, and what is written beside it.

In a column of a paper the label stands above the other two.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lenet.figures.canvas import (
    BODY,
    GAP,
    LINE,
    WHITE,
    Canvas,
    Look,
    TooNarrow,
    text_width,
    wrap,
)

INDENT = 0.15  # inches of a plot below its label: half of its first number
LEAST = 1.0  # inches of a plot in a paper
ON_PAPER = {"facecolor": WHITE, "edgecolor": "none", "pad": 0.5}  # over a grid


@dataclass(frozen=True)
class LabelledRow:
    """A row and the lines of its label, which stands beside the plot or above it."""

    label: list[str]
    above: bool

    @property
    def head(self) -> float:
        """Inches of the label, where it stands above."""
        return LINE * BODY * len(self.label) + 0.04 if self.above else 0.0

    @property
    def label_points(self) -> float:
        """Points of height of the label, where it stands beside."""
        return 0.0 if self.above else BODY * len(self.label)


class RowLayout(NamedTuple):
    """Inches of a label's lines, a plot and what is written beside it; labels may stand
    above. ticks: the parts that an axis has at most.
    """

    label: float
    plot: float
    notes: float
    above: bool = False
    ticks: int = 5

    @property
    def side(self) -> float:
        """From the left end of one plot to that of the next beside it."""
        return self.plot + GAP + self.notes + GAP

    def left(self, label: float) -> float:
        """Inches from the margin to the plot, with labels as wide as this."""
        return INDENT if self.above else label + GAP


def fitted_layout(
    figure: str,
    look: Look,
    labels: Sequence[str],
    tried: Sequence[tuple[bool, float]],
    sides: int = 1,
    beyond: float = 0.0,
) -> RowLayout:
    """The layout in a paper: as many plots as sides have the inches that the rest
    leaves.

    tried: whether labels stand above, and the inches of what is written beside a plot;
    the first with which each plot has its LEAST is taken. beyond: inches that the
    figure needs besides. A `TooNarrow` if none will do.
    """

    def layout(look: Look) -> RowLayout | None:
        inner = (look.width or 0.0) - 2 * look.margin
        label = max(widest(labels, inner * (0.28 if sides == 1 else 0.22)), 0.8)
        for above, notes in tried:
            placed = RowLayout(inner if above else label, 0.0, notes, above)
            room = inner - beyond - placed.left(label) + GAP
            plot = room / sides - 2 * GAP - notes
            if plot >= LEAST:
                return placed._replace(plot=plot, ticks=min(5, int(plot / 0.35)))
        return None

    if placed := layout(look):
        return placed
    raise TooNarrow(figure, look, layout)


def widest(texts: Sequence[str], most: float) -> float:
    """Inches of the longest line of texts that are wrapped to `most` inches."""
    return max(text_width(line) for text in texts for line in wrap(text, most, BODY))


def write_label(
    canvas: Canvas,
    label: list[str],
    at: tuple[float, float],
    height: float,
    layout: RowLayout,
) -> None:
    """Write a label in the middle of its row, which begins at the plot's left end and
    y, or above it from the margin."""
    left, y = at
    if layout.above:
        canvas.write(canvas.margin, y + 0.04, label, BODY, bbox=ON_PAPER)
        return
    middle = y + (height - LINE * BODY * len(label)) / 2
    canvas.write(left - GAP, middle, label, BODY, ha="right")
