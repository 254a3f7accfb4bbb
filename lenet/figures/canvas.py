"""What every figure is drawn on: a canvas in inches, measured texts, and its bytes.

Every text is measured and given its own space before anything is drawn, so nothing
overlaps whatever the names are. A `Look` says for which medium: letters have the same
size in points on a screen and in a paper, so that a narrower canvas has less beside
them.
"""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import matplotlib.style
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.textpath import TextToPath

from lenet.config import Refusal
from lenet.rounding import decimals, significant
from lenet.studies.origin import Origin

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same everywhere
    "svg.hashsalt": "lenet",
    "svg.fonttype": "path",
}
# The one palette of all figures: told apart by colour-blind eyes too.
PALETTE: list[str] = seaborn.color_palette("colorblind").as_hex()
BLUE, AMBER, GREEN, ORANGE, PINK, _, _, _, _, SKY = PALETTE
# From black to white; INK and GREY write.
INK, GREY, UNDECIDED, MID_GREY = "#000000", "#444444", "#666666", "#999999"
LIGHT_GREY, PALE, FAINT, WHITE = "#AAAAAA", "#DDDDDD", "#F2F2F2", "#FFFFFF"
BAND, SEEDS = "#E6EBF0", "#99C7E0"  # behind numbers; what the seeds of a line span
# Layers of the network that is drawn, and what a unit of them sees.
CONVOLUTION, SUBSAMPLING, FULL, SEEN = "#CFE3F2", "#CFEBDD", "#FBE3CC", "#B02A00"
VERDICTS = {  # colour, marker, whether it is filled
    "better": (BLUE, "<", True),
    "worse": (ORANGE, ">", True),
    "equivalent": (GREEN, "D", True),
    "undecided": (UNDECIDED, "o", False),
    "not estimable": (INK, "x", True),
}
FORMATS: dict[str, dict[str, None]] = {  # without what would differ from day to day
    "svg": {"Date": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
}
BODY, SMALL, TITLE = 9.0, 8.0, 12.5  # points
LINE = 1.3 / 72  # inches of height per point of text
MARGIN, GAP = 0.15, 0.15  # inches
MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Look:
    """How a figure is laid out: as wide as it comes, or as a paper has room for.

    width: inches of the canvas; None is as wide as it comes. columns: of a two-column
    page that it spans; in one, labels stand above what they name, and parts below each
    other. title, caption: whether they stand on the figure.
    """

    width: float | None = None
    columns: int = 2
    title: bool = True
    caption: bool = True

    @property
    def narrow(self) -> bool:
        """Whether labels stand above, and parts below each other."""
        return self.columns == 1

    @property
    def margin(self) -> float:
        """Inches around the figure: a paper has its own."""
        return MARGIN if self.width is None else 0.03

    @property
    def style(self) -> dict[str, Any]:
        """Of matplotlib: in a paper grids lie below, and a PDF has whole fonts, since
        journals refuse the kind (Type 3) that it embeds by default."""
        paper = {"axes.axisbelow": True, "pdf.fonttype": 42}
        return STYLE | (paper if self.width else {})

    @property
    def heading(self) -> float:
        """Points of the title: in a paper those of the text, bold."""
        return TITLE if self.width is None else BODY


SCREEN, PHONE = Look(), Look(columns=1)


class TooNarrow(Refusal):
    """A figure cannot be drawn so narrow; the message says from which width on."""

    def __init__(self, figure: str, look: Look, fits: Callable[[Look], object]) -> None:
        """fits: whether the figure can be drawn in another look."""
        # From the width that is too small on, a tenth of an inch at a time.
        start = math.floor(10 * (look.width or 0.0)) + 1
        wider = (replace(look, width=tenths / 10) for tenths in range(start, 1000))
        least = next(filter(fits, wider))
        super().__init__(
            f"{figure} does not fit into width={look.width:g} with columns="
            f"{look.columns}: it takes width={least.width:g}"
        )


class Canvas(NamedTuple):
    """A figure addressed in inches from its upper left corner."""

    figure: Figure
    width: float
    height: float
    margin: float

    @classmethod
    def blank(cls, width: float, height: float, margin: float = MARGIN) -> "Canvas":
        """An empty canvas of this size."""
        return cls(Figure(figsize=(width, height)), width, height, margin)

    def write(
        self, x: float, y: float, lines: list[str], size: float, **style: Any
    ) -> float:
        """Write lines downwards from y; returns where they end."""
        for line in lines:
            # matplotlib places a text by its baseline, which is 0.78 of a line below
            # its top.
            at = x / self.width, 1 - (y + 0.78 * LINE * size) / self.height
            self.figure.text(*at, line, fontsize=size, parse_math=False, **style)
            y += LINE * size
        return y

    def axes(self, x: float, y: float, width: float, height: float) -> Axes:
        """Axes whose upper left corner is at x, y."""
        lower = 1 - (y + height) / self.height
        return self.figure.add_axes(
            (x / self.width, lower, width / self.width, height / self.height)
        )

    def legend(
        self, y: float, handles: list[Any], columns: int = 0, **style: Any
    ) -> None:
        """One line of handles from the left margin, or rows of as many columns."""
        self.figure.legend(
            handles=handles,
            loc="upper left",
            bbox_to_anchor=(self.margin / self.width, 1 - y / self.height),
            ncols=columns or len(handles),
            fontsize=SMALL,
            frameon=False,
            borderpad=0,
            borderaxespad=0,
            columnspacing=1.2,
            handletextpad=0.5,
            **style,
        )


def legend_lines(handles: Sequence[Any], look: Look) -> tuple[int, int]:
    """Lines and columns of a legend: in a paper the columns that there is room for."""
    if look.width is None:
        lines = 1 + look.narrow
        return lines, -(-len(handles) // lines)
    texts = [text_width(handle.get_label(), SMALL) for handle in handles]
    for columns in range(len(handles), 1, -1):
        parts = np.array_split(texts, columns)  # as matplotlib does
        needed = sum(max(part) + 2.5 * SMALL / 72 for part in parts)
        needed += 1.2 * SMALL / 72 * (columns - 1)
        if needed <= look.width - 2 * look.margin:
            return -(-len(handles) // columns), columns
    return len(handles), 1


def titled_canvas(
    width: float,
    body: float,
    title: str,
    caption: str,
    origin: Origin,
    look: Look = SCREEN,
) -> tuple[Canvas, float]:
    """A canvas with its title, what is missing and its caption; where the body begins.

    The body is `body` inches high and lies between the title and the caption. What the
    look leaves off is the figure's `left_off`.
    """
    said = f"{caption} {origin}"
    inner, margin = width - 2 * look.margin, look.margin
    heading = wrap(title, inner, look.heading, "bold") if look.title else []
    lacking = wrap(origin.lacking, inner, BODY) if look.caption else []
    below = wrap(said, inner, SMALL) if look.caption else []
    texts = look.heading * len(heading) + BODY * len(lacking) + SMALL * len(below)
    above, under = 0.05 * (look.title or look.caption), 0.1 * look.caption
    height = LINE * texts + body + 2 * margin + (2 * above + under)
    canvas = Canvas.blank(width, height, margin)
    y = canvas.write(margin, margin, heading, look.heading, weight="bold") + above
    y = canvas.write(margin, y, lacking, BODY, color=VERDICTS["worse"][0]) + above
    canvas.write(margin, y + body + under, below, SMALL, color=GREY)
    left = [] if look.title else [title]
    left += [] if look.caption else [origin.lacking, said]
    canvas.figure.set_label(" ".join(f"{text.rstrip('.')}." for text in left if text))
    return canvas, y


def left_off(figure: Figure) -> str:
    """What a figure would say in its title and caption, were they not left off."""
    return str(figure.get_label())


def rendered(figure: Figure, suffix: str, look: Look = SCREEN) -> bytes:
    """The figure as a file of one of FORMATS; the same bytes for the same figure.

    A PNG has 150 pixels an inch, and 300 for a paper.
    """
    stream = io.BytesIO()
    dpi = 300 if look.width else 150
    with matplotlib.style.context(["default", look.style]):
        figure.savefig(stream, format=suffix, dpi=dpi, metadata=FORMATS[suffix])
    return stream.getvalue()


def marker(verdict: str, x: list[float], y: list[float], label: str = "") -> Line2D:
    """The sign of a verdict, at a place or for a legend."""
    color, shape, filled = VERDICTS[verdict]
    line = Line2D(x, y, linewidth=0, color=color, marker=shape, markersize=6)
    crossed = shape == "x"  # has no face
    line.set(label=label, zorder=5, markerfacecolor=color if filled else WHITE)
    line.set_markeredgecolor(WHITE if filled and not crossed else color)
    line.set_markeredgewidth(1.4 if crossed else 0.7)
    return line


def plain_axes(axes: Axes) -> None:
    """Axes with a grid and the lower spine alone."""
    axes.grid(axis="x", color=PALE, linewidth=0.5, zorder=0)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.tick_params(axis="x", labelsize=SMALL + 0.5)


def unit_of(effect: Any) -> str:
    """What a row of effects is measured in; empty of shares, shown in points."""
    return str(getattr(effect, "unit", ""))


def scale(unit: str) -> float:
    """What numbers are multiplied by where they are drawn: 100 for a share."""
    return 1.0 if unit else 100.0


def points(value: float, unit: str = "") -> str:
    """A fraction in percentage points, or a number in a unit of its own, signed with a
    true minus.

    >>> points(0.0125), points(3.14159, "ms"), points(-0.0125) == MINUS + "1.25"
    ('+1.25', '+3.14', True)
    """
    if math.isnan(value):
        return "no effect"
    form = significant if unit else decimals
    return form(scale(unit) * value, sign="+").replace("-", MINUS)


def interval(low: float, high: float, unit: str = "") -> str:
    """Limits as `points`, in brackets; nothing where there are none.

    >>> interval(0.001, 0.0125), interval(float("-inf"), 0.0125)
    ('[+0.10, +1.25]', '')
    """
    finite = math.isfinite(low) and math.isfinite(high)
    return f"[{points(low, unit)}, {points(high, unit)}]" if finite else ""


def runs_in_words(counts: pd.Series, of: str = "runs each") -> str:
    """How many runs or blocks there are, in words: n, or from the least to the most.

    >>> runs_in_words(pd.Series([9, 10, 10]), "blocks")
    'n = 9 to 10 blocks (seeds)'
    """
    few, many = min(counts), max(counts)
    return f"n = {few}{f' to {many}' if many > few else ''} {of} (seeds)"


def wrap(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """Lines of at most `width` inches, broken at spaces or inside too long words.

    >>> wrap("a short text and Donaudampfschifffahrt", width=0.97, size=9)
    ['a short text', 'and', 'Donaudampfs', 'chifffahrt']
    """
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size, weight) <= width:
            lines[-1] += f" {word}"
            continue
        lines.append("")
        for letter in word:
            if lines[-1] and text_width(lines[-1] + letter, size, weight) > width:
                lines.append("")
            lines[-1] += letter
    return lines


@lru_cache(maxsize=4096)
def text_width(text: str, size: float = BODY, weight: str = "normal") -> float:
    """Inches that a text is wide, with 7 % to spare: Agg fits letters to pixels."""
    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    width = TextToPath().get_text_width_height_descent(text, font, False)[0]
    return float(width) * 1.07 / 72
