"""The ablation chart: the effects of one estimand, or of several side by side.

A row per change, a panel per factor that has several levels, the effect in percentage
points, or in the response's own unit; better is on one side everywhere. Sides share
their rows: what a change does to one network stands beside what it does to another, and
a main effect beside the simple effects at both ends. On a narrow canvas the sides stand
below each other. What is too far out for the axis is an arrow at its edge, and the
number stands beside it.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.markers import CARETLEFT, CARETRIGHT
from matplotlib.patches import Patch

from lenet.figures.canvas import (
    BAND,
    BODY,
    GAP,
    GREY,
    INK,
    LINE,
    MINUS,
    SCREEN,
    SMALL,
    VERDICTS,
    Canvas,
    Look,
    interval,
    legend_lines,
    marker,
    plain_axes,
    points,
    runs_in_words,
    scale,
    text_width,
    titled_canvas,
    unit_of,
    wrap,
)
from lenet.figures.level_names import Words, factor_name, in_words
from lenet.figures.rows import LabelledRow, RowLayout, fitted_layout, write_label
from lenet.studies.effect import ALONE, GUESSING, TEST_ERROR, Response
from lenet.studies.origin import NOWHERE, Origin
from lenet.studies.statistics import blocks_needed

AXIS, ABOVE, KEY = 0.25, 0.1, 0.22  # inches of height
OVERSTATED = "likely overstated"  # how a reason begins
IN_THE_TABLE = ("p = ", "but by less than the margin")  # of reasons left out if brief
DAGGER = "\N{DAGGER}"
OTHER_WAY = {"better": "worse", "worse": "better"}


_Key: TypeAlias = tuple[str, str, str]  # factor, level and reference of a row


class Side(NamedTuple):
    """The effects of one estimand of one study: tables of `effect.Effects`.

    heading: what stands above them, `place` where they were measured, for a sentence.
    """

    effects: pd.DataFrame
    differences: pd.DataFrame
    heading: str = ""
    place: str = ""

    @property
    def estimand(self) -> str:
        """What the effects are effects of, in words."""
        return str(self.effects["estimand"].iloc[0])


# By the number of sides: texts keep 11 pixels where 1 or 2 sides are 830 pixels wide,
# and where the narrow chart is 380.
WIDE = {1: RowLayout(2.3, 3.3, 2.2), 2: RowLayout(1.9, 1.55, 1.22)}
WIDER = RowLayout(2.3, 1.9, 1.3)
NARROW = RowLayout(3.15, 1.95, 1.2, above=True)
# In a paper: whether labels stand above, and the inches of the numbers.
BESIDE, BELOW = ((False, 1.55), (False, 1.2), (True, 0.95)), ((True, 1.2),)


class _Cell(NamedTuple):
    """One arm of one side: what is drawn and what is written beside it."""

    arm: Any
    dots: pd.DataFrame
    name: str  # of its dots
    effect: list[str]
    notes: list[str]

    @property
    def height(self) -> float:
        """Inches of what is written."""
        return LINE * (BODY * len(self.effect) + SMALL * len(self.notes))


@dataclass(frozen=True)
class _Row(LabelledRow):
    cells: list[_Cell | None]

    @property
    def height(self) -> float:
        """Inches: the taller of the label and of the numbers with their notes."""
        written = [cell.height for cell in self.cells if cell]
        label = 0.0 if self.above else LINE * BODY * len(self.label)
        return self.head + max(0.34, 0.1 + max(label, *written))


Panels = Mapping[str, Sequence[_Row]]
Limits = Sequence[tuple[float, float]]


def ablation_chart(
    *sides: Side,
    title: str = "",
    words: Words | None = None,
    origin: Origin = NOWHERE,
    response: Response = TEST_ERROR,
    look: Look = SCREEN,
) -> Figure:
    """Each arm's effect with two intervals and its seeds.

    Thick is the 95 % interval on this test set, thin for new digits. In a narrow look
    the sides stand below each other.

    sides: of `effect.Effects`, the rows of one estimand each (else a ValueError), with
    `effect.COLUMNS`; a `TooNarrow` where the look's width leaves no plot. title: what
    was found, where none is given. words: what factors and levels are called; the names
    that the effects have, where none are given. origin: what the caption says of the
    runs. response: what was measured, which way is better, its unit.

    >>> from lenet.studies.effect import arms
    >>> levels = ["relu"] * 6 + ["tanh"] * 6
    >>> errors = [0.010, 0.011, 0.012] * 2 + [0.020, 0.022, 0.021] * 2
    >>> columns = {"activation": levels, "seed": [*range(6)] * 2, "test_error": errors}
    >>> runs = pd.DataFrame(columns).assign(status="finished")
    >>> effects = arms(runs, {"activation": "relu"})
    >>> side = Side(effects.table, effects.differences)
    >>> ablation_chart(side, title="Tanh hurts").texts[0].get_text()
    'Tanh hurts'
    """
    if any(side.effects["estimand"].nunique() != 1 for side in sides):
        raise ValueError("a chart shows one estimand: select its rows of the effects")
    words = words or Words()
    with matplotlib.style.context(["default", look.style]):
        layout = _layout(look, sides, words)
        panels = _panels(sides, words, layout)
        rows = [row for group in panels.values() for row in group]
        limits = _limits(rows, len(sides))
        every = list(range(len(sides)))
        blocks = [[i] for i in every] if look.narrow else [every]
        left, width = _widths(look, layout, rows, len(blocks[0]))
        inner = width - 2 * look.margin
        parts = [
            _Block(panels, block, sides, layout, inner, response) for block in blocks
        ]
        handles = _handles(sides, brief=look.narrow and look.width is not None)
        lines, columns = legend_lines(handles, look)
        body = sum(part.height for part in parts) + KEY * lines
        said = _caption(sides, limits, response)
        title = title or finding(*sides, words=words)
        canvas, y = titled_canvas(width, body, title, said, origin, look)
        canvas.legend(y, handles, columns, numpoints=2)
        y += KEY * lines
        for part in parts:
            y = part.draw(canvas, (left, y), limits)
    return canvas.figure


def _layout(look: Look, sides: Sequence[Side], words: Words) -> RowLayout:
    """The layout of a look, for as many sides as stand beside each other."""
    if look.width is None:
        return NARROW if look.narrow else WIDE.get(len(sides), WIDER)
    labels = [
        _labels(arm, words, sides)[1]
        for side in sides
        for arm in side.effects.itertuples(index=False)
    ]
    if look.narrow:
        return fitted_layout("ablation_chart", look, labels, BELOW)
    return fitted_layout("ablation_chart", look, labels, BESIDE, len(sides))


def _widths(
    look: Look, layout: RowLayout, rows: Sequence[_Row], sides: int
) -> tuple[float, float]:
    """Inches from the left edge to the first plot, and of the canvas."""
    if look.width:
        return look.margin + layout.left(layout.label), look.width
    label = max(text_width(line) for row in rows for line in row.label)
    left = look.margin + (0.0 if layout.above else max(label, 0.8) + GAP)
    return left, left + sides * layout.side - GAP + look.margin


def reversed_side(side: Side) -> Side:
    """The same effects measured the other way, as if from the other level."""
    table, dots = side.effects, side.differences
    old = {key[:2]: key[2] for key in effect_keys(table)}
    arms = zip(dots["factor"], dots["level"], strict=True)
    # 0.0 - x and not -x, which would make a minus zero of zero.
    effects = table.assign(
        level=table["reference"],
        reference=table["level"],
        mean=0.0 - table["mean"],
        low=0.0 - table["high"],
        high=0.0 - table["low"],
        low_digits=0.0 - table["high_digits"],
        high_digits=0.0 - table["low_digits"],
        p_better=1.0 - table["p_better"],
        verdict=table["verdict"].replace(OTHER_WAY),
        reason=table["reason"].map(_turned_reason),
    )
    differences = dots.assign(
        level=[old[arm] for arm in arms], difference=0.0 - dots["difference"]
    )
    return side._replace(effects=effects, differences=differences)


def _turned_reason(reason: str) -> str:
    """A reason that begins with a verdict, as of the other way."""
    first, comma, rest = reason.partition(",")
    return f"{OTHER_WAY.get(first, first)}{comma}{rest}"


def ordered_effects(*sides: Side) -> pd.DataFrame:
    """The effects in the order of the chart, from the lowest, the sides one by one."""
    places = {key: i for i, key in enumerate(order(sides))}
    tables = []
    for side in sides:
        rows = side.effects.copy()
        at = [places[key] for key in effect_keys(rows)]
        rows = rows.iloc[sorted(range(len(rows)), key=at.__getitem__)]
        tables.append(rows.assign(estimand=side.heading or rows["estimand"]))
    return pd.concat(tables)


def finding(*sides: Side, words: Words | None = None) -> str:
    """One sentence: which changes help everywhere, or most, and of how many."""
    words = words or Words()
    return _of_several(sides, words) if len(sides) > 1 else _of_one(sides[0], words)


def _of_one(side: Side, words: Words) -> str:
    """Which change helps most, or hurts most, and how many are what."""
    effects, total = side.effects, effect_count(side)
    count = effects["verdict"].value_counts()
    ordered = effects.sort_values(["mean", "factor", "level"])
    if hopeless(effects):
        low = ordered.iloc[0]
        lowest = f"{words.change(low)} {effect_in_brackets(low)}"
        return f"{_too_few(effects)}; of {total} the lowest is {lowest}"
    said = ", ".join(
        f"{count[verdict]} {verdict}" for verdict in VERDICTS if verdict in count
    )
    for verdict, verb in (("better", "helps"), ("worse", "hurts")):
        if verdict in count:
            chosen = ordered[ordered["verdict"] == verdict]
            first = chosen.loc[chosen["mean"].abs().idxmax()]
            lead = (
                f"What {verb} most is {words.change(first)} {effect_in_brackets(first)}"
            )
            return f"{lead}: of {total}, {said}"
    unproven = total if len(effects) == 1 else f"any of {total}"
    return f"No proof that {unproven} is better or worse: {said}"


def _of_several(sides: Sequence[Side], words: Words) -> str:
    """Which changes help on every side; else which one helps here and hurts there."""
    verdicts: dict[_Key, list[str]] = defaultdict(list)
    arms = {}
    for side in sides:
        for arm in side.effects.itertuples(index=False):
            verdicts[_key(arm)].append(str(arm.verdict))
            arms[_key(arm)] = arm
    places = [side.place or side.estimand for side in sides]
    named = [key for key in order(sides) if len(verdicts[key]) == len(sides)]
    total = f"Of {len(named)} changes"
    for verdict, verb in (("better", "help"), ("worse", "hurt")):
        every = [
            words.change(arms[key]) for key in named if {*verdicts[key]} == {verdict}
        ]
        if every:
            many = f"{len(every)} {verb}{'s' * (len(every) == 1)}"
            which = in_words(every[:3]) if len(every) < 4 else f"most of all {every[0]}"
            return f"{total} {many} {_listed_places(places)}: {which}"
    return _of_one(sides[0], words)


def _listed_places(places: Sequence[str]) -> str:
    """The places of several sides: "in LeNet-5 of 1998 and of today"."""
    start = "in LeNet-5 "
    if all(group.startswith(start) for group in places):
        return start + in_words(group.removeprefix(start) for group in places)
    return in_words(places)


def hopeless(effects: pd.DataFrame) -> bool:
    """Whether there are too few seeds for a verdict on any effect."""
    said = effects["reason"].str.contains("no verdict possible|no variance")
    return bool(said.all())


def _too_few(effects: pd.DataFrame) -> str:
    """What is said of too few seeds: how many there are, and how many it takes."""
    need = blocks_needed()
    return f"No verdict possible at n = {effects['n'].max()}: it takes {need} seeds"


def effect_count(side: Side) -> str:
    """How many effects of which estimand."""
    k, said = len(side.effects), side.heading or side.estimand
    if side.estimand.startswith(ALONE):
        return f"{k} changes {said}" if k > 1 else f"the one change {said}"
    return f"{k} {said.replace('effect', 'effects', 1)}"


def notes(arm: Any) -> str:
    """The verdict and its reason, with what is said of runs that were lost."""
    return f"{arm.verdict}; {arm.reason}" if arm.reason else str(arm.verdict)


def effect_in_brackets(arm: Any) -> str:
    """The effect of an arm in brackets."""
    unit = unit_of(arm)
    return f"({points(arm['mean'], unit)} {unit or 'points'})"


def measured_as(effects: pd.DataFrame) -> str:
    """The response of the effects, in words."""
    return str(effects["response"].iloc[0]).replace("_", " ")


def verdicts(effects: pd.DataFrame) -> str:
    """What a caption says of the tests: how they are corrected, and over what."""
    tested = effects[effects["p"].notna()]
    tests = tested.groupby(["study", "estimand"], sort=False).size()
    families = " and ".join(f"{count} ({name})" for (_, name), count in tests.items())
    over = f"families of {families}" if len(tests) > 1 else f"the family of {families}"
    how = "Verdicts: p <= 0.05 by step-down max-T with joint sign flips"
    return f"{how} over {over}." if len(tests) else ""


def lost(effects: pd.DataFrame) -> str:
    """What a caption says of runs that diverged or collapsed, if there are such."""
    if not effects["left_out"].any():
        return ""
    if "unit" in effects:
        return (
            "A run without a response is lost: its seed is left out of the effects "
            "that it is part of."
        )
    return (
        f"A run that diverges, or ends at {100 * GUESSING:g} % or more (collapses: it "
        "guesses), is an outcome of its own; its seed is left out of the effects that "
        "it is part of."
    )


def _key(arm: Any) -> _Key:
    return str(arm.factor), str(arm.level), str(arm.reference)


def effect_keys(effects: pd.DataFrame) -> list[_Key]:
    """Factor, level and reference of each effect."""
    return [_key(arm) for arm in effects.itertuples(index=False)]


def _flat(sides: Sequence[Side]) -> bool:
    """Whether rows stand without panels: on several sides, or of one level each."""
    factors = sides[0].effects["factor"].tolist()
    return len(sides) > 1 or len(factors) == len(set(factors)) > 1


def order(sides: Sequence[Side]) -> list[_Key]:
    """The rows from the lowest effect, over the sides; panel by panel if there are
    such, and in a panel of numbers by these."""
    means: dict[_Key, list[float]] = defaultdict(list)
    for side in sides:
        for arm in side.effects.itertuples(index=False):
            means[_key(arm)].append(float(arm.mean))
    score = {key: sum(positions) / len(positions) for key, positions in means.items()}
    # NaN comes last: it is neither lower nor higher than any mean.
    keys = sorted(means, key=lambda key: (math.isnan(score[key]), score[key], key))
    if _flat(sides):
        return keys
    panels: dict[str, list[_Key]] = defaultdict(list)
    for key in keys:
        panels[_panel(key)].append(key)
    return [key for panel in panels.values() for key in _numeric(panel)]


def _numeric(panel: list[_Key]) -> list[_Key]:
    """Levels that are all numbers in the order of these; others as they are."""
    try:
        return sorted(panel, key=lambda key: float(key[1]))
    except ValueError:
        return panel


def _panel(key: _Key) -> str:
    """What the rows of a panel have in common; joint changes are together."""
    return "" if "+" in key[1] else key[0]


def _panels(sides: Sequence[Side], words: Words, layout: RowLayout) -> Panels:
    """Rows in the order of the chart, by the heading of their panel."""
    cells: dict[_Key, list[_Cell | None]] = {}
    places = {key: place for place, key in enumerate(order(sides))}
    for i, side in enumerate(sides):
        dots = dict(list(side.differences.groupby(["factor", "level"])))
        for arm in side.effects.itertuples(index=False):
            seen = dots.get((arm.factor, arm.level), side.differences[:0])
            # Every row of the chart, also where a side has no such effect: sides share
            # their rows.
            row = cells.setdefault(_key(arm), [None] * len(sides))
            name = f"dots-{i}-{places[_key(arm)]}"
            row[i] = _Cell(arm, seen, name, *_beside(arm, len(sides) > 1, layout.notes))
    panels: dict[str, list[_Row]] = {}
    for key in order(sides):
        arm = next(cell for cell in cells[key] if cell).arm
        heading, label = _labels(arm, words, sides)
        drawn = _Row(wrap(label, layout.label, BODY), layout.above, cells[key])
        panels.setdefault(heading, []).append(drawn)
    return panels


def _labels(arm: Any, words: Words, sides: Sequence[Side]) -> tuple[str, str]:
    """Heading of an arm's panel and label of its row. The heading tells the reference,
    unless the panel has several, or it is a joint level without a label."""
    factor, level, old = _key(arm)
    change = words.change(arm)
    if _flat(sides):
        return "", change if len(sides) > 1 else words.dated(change, factor, level)
    if not _panel(_key(arm)):
        return "several factors at once", words.dated(change, factor, level)
    panel = {key for side in sides for key in effect_keys(side.effects)
             if key[0] == factor}  # fmt: skip
    olds = {key[2] for key in panel}
    against = words.label(factor, old)
    if len(olds) > 1 or ("+" in old and old not in words.labels.get(factor, {})):
        twice = sum(key[1] == level for key in panel) > 1
        name = change if twice else words.label(factor, level)
        return factor_name(factor), words.dated(name, factor, level)
    year = words.years.get(factor, {}).get(old)
    since = f"{against}, {year}" if year else against
    label = words.dated(words.label(factor, level), factor, level)
    return f"{factor_name(factor)} (reference: {since})", label


def _beside(arm: Any, brief: bool, width: float) -> tuple[list[str], list[str]]:
    """The effect with its verdict, and the interval with what else must be known.

    A dagger stands for what is likely overstated; brief: without what the table
    has.
    """
    reasons = str(arm.reason).split("; ") if arm.reason else []
    kept = [reason for reason in reasons if not reason.startswith(OVERSTATED)]
    mark = DAGGER if len(kept) < len(reasons) else ""
    if brief:
        kept = [
            reason
            for reason in kept
            if not any(word in reason for word in IN_THE_TABLE)
        ]
    unit = unit_of(arm)
    said = filter(None, [interval(arm.low, arm.high, unit), "; ".join(kept)])
    effect = wrap(f"{points(arm.mean, unit)} {arm.verdict}{mark}", width, BODY)
    return effect, [line for part in said for line in wrap(part, width, SMALL)]


def _limits(rows: list[_Row], sides: int) -> list[tuple[float, float]]:
    """Numbers that each axis shows: the same ones, unless that hides one."""
    each = [_reach([row.cells[i] for row in rows]) for i in range(sides)]
    lengths = [high - low for low, high in each]
    # One scale for all sides lets them be compared; not where one of them would be too
    # small to read.
    if max(lengths) > 4 * min(lengths):
        return each
    return [(min(low for low, _ in each), max(high for _, high in each))] * sides


def _reach(cells: Sequence[_Cell | None]) -> tuple[float, float]:
    """The ends of an axis that holds all but cells five times the median's reach."""
    ends = []
    for cell in filter(None, cells):
        arm = cell.arm
        values = [arm.low, arm.high, arm.low_digits, arm.high_digits, arm.mean]
        values += cell.dots["difference"].tolist()
        size = scale(unit_of(arm))
        shown = [size * value for value in values if math.isfinite(value)] or [0.0]
        ends.append((min(0.0, *shown, 0.0), max(0.0, *shown, 0.0)))
    reach = sorted(max(-low, high) for low, high in ends)
    # The lower median, so that one wild row of two does not set the scale.
    most = 5 * reach[(len(reach) - 1) // 2] or reach[-1] or 0.1
    near = [end for end in ends if max(-end[0], end[1]) <= most]
    low, high = min(low for low, _ in near), max(high for _, high in near)
    room = 0.06 * (high - low) or 0.1
    return low - room, high + room


def _headed(lines: Sequence[str]) -> float:
    """Inches of a panel's heading; none where there is none."""
    return 0.12 + LINE * BODY * len(lines) if lines else 0.0


class _Block:
    """Some sides beside each other: their headings, rows and axes."""

    def __init__(
        self,
        panels: Panels,
        columns: Sequence[int],
        sides: Sequence[Side],
        layout: RowLayout,
        inner: float,
        response: Response,
    ) -> None:
        kept = {
            heading: [row for row in rows if any(row.cells[i] for i in columns)]
            for heading, rows in panels.items()
        }
        self.panels = {heading: rows for heading, rows in kept.items() if rows}
        self.columns, self.layout, self.response = columns, layout, response
        self.inner = inner
        several = len(sides) > 1
        side = layout.plot + GAP + layout.notes
        self.heads = [
            wrap(sides[i].heading or sides[i].estimand, side, BODY, "bold")
            if several
            else []
            for i in columns
        ]
        self.foot = wrap(_axis_label(response), layout.plot, SMALL)

    @property
    def above(self) -> float:
        """Inches of the headings."""
        return ABOVE + LINE * BODY * max(map(len, self.heads))

    @property
    def height(self) -> float:
        """Inches of all that is drawn."""
        rows = sum(row.height for group in self.panels.values() for row in group)
        panels = sum(
            _headed(wrap(heading, self.inner, BODY, "bold")) for heading in self.panels
        )
        return self.above + panels + rows + AXIS + LINE * SMALL * len(self.foot) + 0.05

    def draw(self, canvas: Canvas, at: tuple[float, float], limits: Limits) -> float:
        """Draw downwards from `at`; returns where it ends."""
        left, y = at
        starts = [left + i * self.layout.side for i in range(len(self.columns))]
        for x, lines in zip(starts, self.heads, strict=True):
            start = y + self.above - 0.05 - LINE * BODY * len(lines)
            canvas.write(x, start, lines, BODY, weight="bold")
        y += self.above
        axes: list[Axes] = []
        for heading, rows in self.panels.items():
            lines = wrap(heading, self.inner, BODY, "bold")
            canvas.write(canvas.margin, y + 0.05, lines, BODY, weight="bold")
            y += _headed(lines)
            axes = self._panel(canvas, rows, (starts, y), limits)
            y += sum(row.height for row in rows)
        for x, panel in zip(starts, axes, strict=True):
            panel.tick_params(axis="x", labelbottom=True, length=3)
            middle = x + self.layout.plot / 2
            canvas.write(middle, y + AXIS, self.foot, SMALL, ha="center")
        return y + AXIS + LINE * SMALL * len(self.foot) + 0.05

    def _panel(
        self,
        canvas: Canvas,
        rows: Sequence[_Row],
        at: tuple[Sequence[float], float],
        limits: Limits,
    ) -> list[Axes]:
        """The axes of one panel, a column for each side, with all its rows."""
        (starts, y), plot = at, self.layout.plot
        height = sum(row.height for row in rows)
        every = []
        for i, x in zip(self.columns, starts, strict=True):
            axes = canvas.axes(x, y, plot, height)
            _dress(axes, limits[i], (y + height, y), self.response, self.layout.ticks)
            every.append(axes)
        for row in rows:
            write_label(canvas, row.label, (starts[0], y), row.height, self.layout)
            for i, x, axes in zip(self.columns, starts, every, strict=True):
                if cell := row.cells[i]:
                    room = y + row.head, row.height - row.head
                    _write(canvas, cell, x + plot + GAP, *room)
                    _draw_cell(axes, cell, *room)
            y += row.height
        return every


def _dress(
    axes: Axes,
    limits: tuple[float, float],
    ylim: tuple[float, float],
    response: Response,
    ticks: int,
) -> None:
    plain_axes(axes)
    axes.set(xlim=limits, ylim=ylim, yticks=[])
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    margin = scale(response.unit) * response.margin
    seen = margin > 0.008 * (limits[1] - limits[0])  # beside the zero
    for end in [-margin, margin] if seen else []:
        axes.axvline(end, color=GREY, linewidth=0.7, linestyle=":", zorder=1)
    axes.locator_params(axis="x", nbins=ticks)
    if response.unit:  # of any size: no common power of ten at the end of the axis
        axes.xaxis.set_major_formatter(lambda at, _: f"{at:g}".replace("-", MINUS))
    axes.tick_params(axis="x", labelbottom=False, length=0)


def _write(canvas: Canvas, cell: _Cell, x: float, y: float, height: float) -> None:
    """The effect with its verdict, the interval and the notes, in the middle."""
    color = VERDICTS[cell.arm.verdict][0]
    y = canvas.write(x, y + (height - cell.height) / 2, cell.effect, BODY, color=color)
    canvas.write(x, y, cell.notes, SMALL, color=GREY)


def _draw_cell(axes: Axes, cell: _Cell, y: float, height: float) -> None:
    arm, (low, high) = cell.arm, axes.get_xlim()
    color, middle = VERDICTS[arm.verdict][0], y + height / 2 - 0.04
    size = scale(unit_of(arm))
    if math.isfinite(reach := size * arm.power_80):
        ends = max(low, -reach), min(high, reach)
        band = [y + 0.03, y + height - 0.03]
        axes.fill_betweenx(band, *ends, color=BAND, linewidth=0, zorder=0)
    for start, end, width, cap in (
        (size * arm.low_digits, size * arm.high_digits, 1.1, "|"),
        (size * arm.low, size * arm.high, 4.0, ""),
    ):
        # An interval may lie outside the axis as a whole: then there is nothing to draw
        # of it.
        if math.isfinite(start) and start < high and end > low:
            limits = [max(start, low), min(end, high)]
            bar = axes.plot(limits, [middle] * 2, color=color, linewidth=width)[0]
            bar.set(solid_capstyle="butt", zorder=3)
            caps = [x for x in (start, end) if cap and low < x < high]
            axes.plot(caps, [middle] * len(caps), cap, color=color, markersize=7)
    seen = (size * cell.dots["difference"]).tolist()
    which = [int(seed) for seed in cell.dots["seed"]]
    draw_dots(axes, seen, middle + 0.11, color, cell.name, which)
    mean = size * arm.mean
    if mean > high or mean < low:
        tip, edge = (CARETRIGHT, high) if mean > high else (CARETLEFT, low)
        axes.plot(edge, middle, marker=tip, color=color, ms=9, clip_on=False)
    elif not math.isnan(mean):
        axes.add_line(marker(arm.verdict, [mean], [middle]))


def draw_dots(
    axes: Axes,
    x: Sequence[float],
    y: float,
    color: str,
    name: str = "",
    seeds: Sequence[int] = (),
) -> None:
    """A dot for each seed, or a small arrow at the edge that it lies beyond.

    Where they have a name they are named, in SVG, by it and the seeds in their order.
    """
    low, high = axes.get_xlim()
    dots = sorted(zip(x, seeds or range(len(x)), strict=True))
    for shape, chosen in (
        ("o", [dot for dot in dots if low <= dot[0] <= high]),
        (">", [(high, seed) for value, seed in dots if value > high]),
        ("<", [(low, seed) for value, seed in dots if value < low]),
    ):
        at = [value for value, _ in chosen]
        line = axes.plot(at, [y] * len(at), shape, color=color, ms=2.8)[0]
        line.set(alpha=0.5, markeredgewidth=0, clip_on=False)
        if name and chosen:
            # In SVG the page finds them by this name, and each dot by its place in the
            # group.
            line.set_gid("-".join([name, *(str(seed) for _, seed in chosen)]))


def _handles(sides: Sequence[Side], brief: bool) -> list[Any]:
    """What is drawn, in the marks that are drawn; brief: for a column of a paper."""
    effects = pd.concat([side.effects for side in sides])
    counts = sorted({int(side.effects["n"].max()) for side in sides})
    n = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    seed = Line2D([], [], color=GREY, marker="o", markersize=2.8, linewidth=0)
    seed.set(label="seeds", alpha=0.5)
    handles: list[Any] = [seed]
    if effects["low"].map(math.isfinite).any():
        thick = Line2D([], [], color=GREY, linewidth=4, label="95 % interval")
        thick.set_solid_capstyle("butt")
        handles.append(thick)
    if effects["low_digits"].map(math.isfinite).any():
        thin = Line2D([], [], color=GREY, linewidth=1.1, marker="|", markersize=7)
        thin.set_label("on new digits")
        handles.append(thin)
    if effects["power_80"].map(math.isfinite).any():
        # A column of a paper, and a telephone with two numbers, have less room.
        seeds = "" if brief or counts[0] < counts[-1] else f" with {n} seeds"
        band = Patch(color=BAND, label=f"below 80 % power{seeds}")
        handles.append(band)
    return handles


def _axis_label(response: Response) -> str:
    what = response.name.replace("_", " ")
    good = "left" if response.lower_is_better else "right"
    if response.unit in ("", what):
        what = what if response.unit else f"{what}, percentage points"
    else:
        what += f", {response.unit}"
    return f"{what}: {good} is better"


def _caption(sides: Sequence[Side], limits: Limits, response: Response) -> str:
    named = [
        side.effects.assign(estimand=side.heading or side.estimand) for side in sides
    ]
    effects = pd.concat(named)
    any_interval = effects["low"].map(math.isfinite).any()
    weak = effects["reason"].str.contains(OVERSTATED).any()
    parts = [
        f"{runs_in_words(effects['n'], 'blocks')}; effects are means of within-block "
        "differences, of what is named minus what it stands for.",
        "Thick: 95 % interval that inverts the exact sign-flip test, not adjusted."
        if any_interval
        else "So few blocks have no 95 % interval on these images.",
        "Thin: 95 % interval for new seeds and new digits."
        if effects["low_digits"].notna().any()
        else "",
        "Band: 80 % power from its end on; these seeds miss what lies within it more "
        "often than one time in five (t test, for the whole family)."
        if effects["power_80"].map(math.isfinite).any()
        else "",
        f"{DAGGER}: found there, so likely overstated." if weak else "",
        verdicts(effects),
        "Equivalent: two one-sided tests, by Holm over the same, show less than",
        f"\N{PLUS-MINUS SIGN}{scale(response.unit) * response.margin:g} "
        f"{response.unit or 'points'} (dotted, if apart).",
        lost(effects),
        "The axes differ in scale."
        if any(limit != other for limit, other in pairwise(limits))
        else "",
    ]
    return " ".join(filter(None, parts))
