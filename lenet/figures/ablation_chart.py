"""The ablation chart: the effects of one estimand, or of several side by side.

A panel per factor and a row per level, the effect in percentage points. Sides share
their rows: what a change buys alone from one reference stands beside what undoing it
costs from the other, and a main effect beside the simple effects at both ends. What is
too far out for the axis is an arrow at its edge, and the number stands beside it.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

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
    MARGIN,
    SMALL,
    STYLE,
    VERDICTS,
    Page,
    interval,
    marker,
    measured,
    plain,
    points,
    sheet,
    wrap,
)
from lenet.studies.effect import ALONE, GUESSING, TEST_ERROR, Response
from lenet.studies.origin import NOWHERE, Origin

Years = Mapping[str, Mapping[str, int]]
PLOT, NOTES = (4.2, 2.7, 2.4), (2.4, 2.1, 2.0)  # inches, for one side, two and three
HEADING, AXIS, ABOVE = 0.28, 0.25, 0.3  # inches of height
HEAD = ["effect [95 % interval], verdict"]
TO = "\N{RIGHTWARDS ARROW}"


class Side(NamedTuple):
    """The effects of one estimand of one study: tables of `effect.Effects`."""

    effects: pd.DataFrame
    differences: pd.DataFrame

    @property
    def estimand(self) -> str:
        """What the effects are effects of, in words."""
        return str(self.effects["estimand"].iloc[0])


class _Cell(NamedTuple):
    """One arm of one side: what is drawn and what is written beside it."""

    arm: Any
    dots: pd.DataFrame
    notes: list[str]


class _Row(NamedTuple):
    label: list[str]
    old: str  # the level that stands on the left of the label's arrow
    cells: list[_Cell | None]

    @property
    def height(self) -> float:
        """Inches: the tallest of the label and of the numbers with their notes."""
        notes = [BODY + SMALL * len(cell.notes) for cell in self.cells if cell]
        return max(0.34, 0.1 + LINE * max(BODY * len(self.label), *notes))


def ablation_chart(
    *sides: Side,
    title: str = "",
    years: Years | None = None,
    origin: Origin = NOWHERE,
    response: Response = TEST_ERROR,
) -> Figure:
    """Each arm's effect with two intervals and its seeds, a panel per factor.

    `years` maps factor and level to a year. Thick is the 95 % interval on this test
    set, thin for new digits.
    """
    if any(side.effects["estimand"].nunique() != 1 for side in sides):
        raise ValueError("a chart shows one estimand: select its rows of the effects")
    with matplotlib.style.context(["default", STYLE]):
        panels = _panels(sides, years or {}, NOTES[len(sides) - 1])
        rows = [row for group in panels.values() for row in group]
        label = max(measured(line) for row in rows for line in row.label)
        left = MARGIN + max(label, 0.8) + GAP
        width = left + len(sides) * _width(sides) - GAP + MARGIN
        limits = _limits(rows, len(sides))
        body = sum(map(_headed, panels)) + sum(row.height for row in rows)
        axis = [wrap(_axis_label(s, response), _plot(sides), BODY) for s in sides]
        foot = AXIS + LINE * BODY * max(map(len, axis))
        caption = _caption(sides, limits, response)
        heads = [wrap(s, _plot(sides), BODY, "bold") for s in _headings(sides, rows)]
        above = ABOVE + LINE * BODY * max(map(len, heads))
        body += above + foot
        page, y = sheet(width, body, title or finding(*sides), caption, origin)
        page.legend(y, _handles(sides))
        y += above
        for i, lines in enumerate(heads):
            x, start = left + i * _width(sides), y - 0.05 - LINE * BODY * len(lines)
            page.write(x, start, lines, BODY, weight="bold")
            page.write(x + _plot(sides) + GAP, y - 0.17, HEAD, SMALL, color=GREY)
        y = _draw(page, panels, (left, y), limits, response)
        for i, lines in enumerate(axis):
            middle = left + i * _width(sides) + _plot(sides) / 2
            page.write(middle, y + AXIS, lines, BODY, ha="center")
    return page.figure


def finding(*sides: Side) -> str:
    """One sentence: which change helps most, and how many are what."""
    if len(sides) > 1:
        said = "; ".join(_in_short(side) for side in sides)
        return said[0].upper() + said[1:]
    effects, total = sides[0].effects, counted(sides[0].effects)
    count = effects["verdict"].value_counts()
    ordered = effects.sort_values(["mean", "factor", "level"])
    if effects["reason"].str.contains("no verdict possible|no variance").all():
        low = ordered.iloc[0]
        lowest = f"{described(low)} ({points(low['mean'])} points)"
        few = f"No verdict possible at n = {effects['n'].max()}"
        return f"{few}: of {total} the lowest is {lowest}"
    said = ", ".join(f"{count[v]} {v}" for v in VERDICTS if v in count)
    for verdict, verb in (("better", "helps"), ("worse", "hurts")):
        if verdict in count:
            chosen = ordered[ordered["verdict"] == verdict]
            first = chosen.loc[chosen["mean"].abs().idxmax()]
            return f"{described(first)} {verb} most {size(first)}: of {total}, {said}"
    return f"No proof that any of {total} is better or worse: {said}"


def counted(effects: pd.DataFrame) -> str:
    """How many effects of which estimand."""
    estimand, k = str(effects["estimand"].iloc[0]), len(effects)
    if estimand.startswith(ALONE):
        return f"{k} changes {estimand}" if k > 1 else f"the one change {estimand}"
    return f"{k} {estimand.replace('effect', 'effects', 1)}"


def described(arm: Any, years: Years | None = None) -> str:
    """An arm in words: its factor and level, or the name of a joint change."""
    factor, level = str(arm.factor), str(arm.level)
    year = (years or {}).get(factor, {}).get(level)
    dated = (
        f"{level.replace('+', ' + ')} ({year})" if year else level.replace("+", " + ")
    )
    return dated if "+" in factor else f"{factor}: {dated}"


def _in_short(side: Side) -> str:
    """How many changes of one side are better and worse."""
    count = side.effects["verdict"].value_counts()
    if side.effects["reason"].str.contains("no verdict possible").all():
        return f"no verdict possible on {counted(side.effects)}"
    better, worse = (int(count.get(verdict, 0)) for verdict in ("better", "worse"))
    helping = f"{better} help{'s' if better == 1 else ''}"
    hurting = f"{worse} hurt{'s' if worse == 1 else ''}"
    return f"of {counted(side.effects)} {helping} and {hurting}"


def _plot(sides: Sequence[Any]) -> float:
    return PLOT[len(sides) - 1]


def _width(sides: Sequence[Any]) -> float:
    """Inches from the left end of one side's plot to that of the next."""
    return _plot(sides) + GAP + NOTES[len(sides) - 1] + GAP


def _headed(heading: str) -> float:
    return HEADING if heading else 0.0


def _panels(
    sides: Sequence[Side], years: Years, notes_width: float
) -> dict[str, list[_Row]]:
    """Rows by panel heading, sorted by effect; panels by their lowest effect."""
    cells: dict[Any, list[_Cell | None]] = {}
    for i, side in enumerate(sides):
        keys = ["factor", "level"]
        dots = dict(list(side.differences.groupby(keys)))
        for arm in side.effects.sort_values(["mean", *keys]).itertuples(index=False):
            seen = dots.get((arm.factor, arm.level), side.differences[:0])
            said = wrap(notes(arm), notes_width, SMALL)
            pair = frozenset((arm.level, arm.reference))
            key = (arm.factor, arm.level if len(sides) == 1 else pair)
            cell = _Cell(arm, seen, said)
            cells.setdefault(key, [None] * len(sides))[i] = cell
    factors = [factor for factor, _ in cells]
    single = len(sides) > 1 or len(factors) == len(set(factors)) > 1
    panels: dict[str, list[_Row]] = {}
    for row in cells.values():
        arm = next(cell for cell in row if cell).arm
        old = str(arm.reference if row[0] else arm.level)
        heading, label = _labels(arm, years, single)
        if len(sides) > 1:
            ends = arm.reference, arm.level
            named = [described(arm._replace(level=end)) for end in ends]
            changed = named[1].removeprefix(f"{arm.factor}: ")
            label = f"{named[0]} {TO} {changed}"
            if not row[0]:
                label = f"{named[1]} {TO} {named[0].removeprefix(f'{arm.factor}: ')}"
        panels.setdefault(heading, []).append(_Row(wrap(label, 2.6, BODY), old, row))
    return panels


def _labels(arm: Any, years: Years, single: bool) -> tuple[str, str]:
    """Heading of an arm's panel and label of its row."""
    if single:
        return "", described(arm, years)
    if "+" in arm.level:
        return "several factors at once", described(arm, years)
    since = years.get(arm.factor, {}).get(arm.reference)
    against = f"{arm.reference}, {since}" if since else arm.reference
    level = described(arm, years).removeprefix(f"{arm.factor}: ")
    return f"{arm.factor} (reference: {against})", level


def notes(arm: Any) -> str:
    """The verdict and its reason, with what is said of runs that were lost."""
    return f"{arm.verdict}; {arm.reason}" if arm.reason else str(arm.verdict)


def size(arm: Any) -> str:
    """The effect of an arm in brackets."""
    return f"({points(arm['mean'])} points)"


def measured_as(effects: pd.DataFrame) -> str:
    """The response of the effects, in words."""
    return str(effects["response"].iloc[0]).replace("_", " ")


def verdicts(effects: pd.DataFrame) -> str:
    """What a caption says of the tests: how they are corrected, and over what."""
    tests = effects[effects["p"].notna()].groupby("estimand", sort=False).size()
    families = " and ".join(f"{count} ({name})" for name, count in tests.items())
    some = f"families of {families}" if len(tests) > 1 else f"the family of {families}"
    how = "Verdicts: p <= 0.05 by step-down max-T with joint sign flips"
    return f"{how} over {some}." if len(tests) else ""


def lost(effects: pd.DataFrame) -> str:
    """What a caption says of runs that diverged or collapsed, if there are such."""
    if not effects["left_out"].any():
        return ""
    return (
        f"A run that diverges, or ends at {100 * GUESSING:g} % or more (collapses: it "
        "guesses), is an outcome of its own; its seed is left out of the effects that "
        "it is part of."
    )


def _limits(rows: list[_Row], sides: int) -> list[tuple[float, float]]:
    """Percentage points that each axis shows: the same ones, unless that hides one."""
    each = [_reach([row.cells[i] for row in rows]) for i in range(sides)]
    lengths = [high - low for low, high in each]
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
        shown = [100 * value for value in values if math.isfinite(value)] or [0.0]
        ends.append((min(0.0, *shown, 0.0), max(0.0, *shown, 0.0)))
    reach = sorted(max(-low, high) for low, high in ends)
    most = 5 * reach[(len(reach) - 1) // 2] or reach[-1] or 0.1
    near = [end for end in ends if max(-end[0], end[1]) <= most]
    low, high = min(low for low, _ in near), max(high for _, high in near)
    room = 0.06 * (high - low) or 0.1
    return low - room, high + room


def _headings(sides: Sequence[Side], rows: list[_Row]) -> list[str]:
    """What stands above each of several sides: the estimand, and which way along the
    arrows of the rows it is measured."""
    if len(sides) == 1:
        return [""]
    ways = {(True,): ", along the arrows", (False,): ", against the arrows"}
    said = []
    for i, side in enumerate(sides):
        pairs = [(row.old, cell) for row in rows if (cell := row.cells[i])]
        along = tuple({cell.arm.reference == old for old, cell in pairs})
        said.append(f"{side.estimand}{ways.get(along, '')}")
    return said


def _draw(
    page: Page,
    panels: dict[str, list[_Row]],
    at: tuple[float, float],
    limits: list[tuple[float, float]],
    response: Response,
) -> float:
    """Draw the panels downwards from `at`; returns where they end."""
    left, y = at
    plot, each = _plot(limits), _width(limits)
    for heading, rows in panels.items():
        page.write(MARGIN, y + 0.05, [heading] if heading else [], BODY, weight="bold")
        y += _headed(heading)
        height = sum(row.height for row in rows)
        columns = []
        for i in range(len(limits)):
            axes = page.axes(left + i * each, y, plot, height)
            _dress(axes, limits[i], (y + height, y), response)
            columns.append(axes)
        for row in rows:
            middle = y + (row.height - LINE * BODY * len(row.label)) / 2
            page.write(left - GAP, middle, row.label, BODY, ha="right")
            for i, cell in enumerate(row.cells):
                if cell:
                    x = left + i * each + plot + GAP
                    _write(page, cell, x, y, row.height)
                    _draw_cell(columns[i], cell, y, row.height)
            y += row.height
    for axes in columns:
        axes.tick_params(axis="x", labelbottom=True, length=3)
    return y


def _dress(
    axes: Axes,
    limits: tuple[float, float],
    ylim: tuple[float, float],
    response: Response,
) -> None:
    plain(axes)
    axes.set(xlim=limits, ylim=ylim, yticks=[])
    axes.axvline(0, color=INK, linewidth=0.9, zorder=1)
    seen = 100 * response.margin > 0.008 * (limits[1] - limits[0])  # beside the zero
    for margin in [-100 * response.margin, 100 * response.margin] if seen else []:
        axes.axvline(margin, color=GREY, linewidth=0.7, linestyle=":", zorder=1)
    axes.tick_params(axis="x", labelbottom=False, length=0)


def _write(page: Page, cell: _Cell, x: float, y: float, height: float) -> None:
    """The effect, its interval and the verdict with its notes, in the middle."""
    arm = cell.arm
    y += (height - LINE * (BODY + SMALL * len(cell.notes))) / 2
    limits = interval(arm.low, arm.high)
    y = page.write(x, y, [f"{points(arm.mean)} {limits}".strip()], BODY)
    color = VERDICTS[arm.verdict][0]
    page.write(x, y, cell.notes[:1], SMALL, color=color)
    page.write(x, y + LINE * SMALL, cell.notes[1:], SMALL, color=GREY)


def _draw_cell(axes: Axes, cell: _Cell, y: float, height: float) -> None:
    arm, (low, high) = cell.arm, axes.get_xlim()
    color, middle = VERDICTS[arm.verdict][0], y + height / 2 - 0.04
    if math.isfinite(reach := 100 * arm.power_80):
        ends = max(low, -reach), min(high, reach)
        band = [y + 0.03, y + height - 0.03]
        axes.fill_betweenx(band, *ends, color=BAND, linewidth=0, zorder=0)
    for start, end, width, cap in (
        (100 * arm.low_digits, 100 * arm.high_digits, 1.1, "|"),
        (100 * arm.low, 100 * arm.high, 4.0, ""),
    ):
        if math.isfinite(start) and start < high and end > low:
            limits = [max(start, low), min(end, high)]
            bar = axes.plot(limits, [middle] * 2, color=color, linewidth=width)[0]
            bar.set(solid_capstyle="butt", zorder=3)
            caps = [x for x in (start, end) if cap and low < x < high]
            axes.plot(caps, [middle] * len(caps), cap, color=color, markersize=7)
    seen = (100 * cell.dots["difference"]).tolist()
    draw_dots(axes, seen, middle + 0.11, color)
    mean = 100 * arm.mean
    if mean > high or mean < low:
        tip, edge = (CARETRIGHT, high) if mean > high else (CARETLEFT, low)
        axes.plot(edge, middle, marker=tip, color=color, ms=9, clip_on=False)
    elif not math.isnan(mean):
        axes.add_line(marker(arm.verdict, [mean], [middle]))


def draw_dots(axes: Axes, x: Sequence[float], y: float, color: str) -> None:
    """A dot for each seed, or a small arrow at the edge that it lies beyond."""
    low, high = axes.get_xlim()
    for shape, at in (
        ("o", sorted(value for value in x if low <= value <= high)),
        (">", [high for value in x if value > high]),
        ("<", [low for value in x if value < low]),
    ):
        dots = axes.plot(at, [y] * len(at), shape, color=color, ms=2.8)[0]
        dots.set(alpha=0.5, markeredgewidth=0, clip_on=False)


def _handles(sides: Sequence[Side]) -> list[Any]:
    """What the legend explains: the verdicts, lines and bands that there are."""
    effects = pd.concat([side.effects for side in sides])
    handles: list[Any] = [
        marker(verdict, [], [], label=verdict)
        for verdict in VERDICTS
        if verdict in set(effects["verdict"])
    ]
    for column, width, label in (
        ("low", 4, "this test set"),
        ("low_digits", 1, "new digits"),
    ):
        if effects[column].map(math.isfinite).any():
            text = f"{label}, 95 %"
            handles.append(Line2D([], [], color=GREY, linewidth=width, label=text))
    seed = Line2D([], [], color=GREY, marker="o", markersize=2.8, linewidth=0)
    seed.set_label("a seed")
    handles.append(seed)
    if effects["power_80"].map(math.isfinite).any():
        handles.append(Patch(color=BAND, label="80 % power from its edge on"))
    return handles


def _axis_label(side: Side, response: Response) -> str:
    what = response.name.replace("_", " ")
    good = "left" if response.lower_is_better else "right"
    return f"{what}, percentage points ({good} is better): {side.estimand}"


def _caption(
    sides: Sequence[Side],
    limits: list[tuple[float, float]],
    response: Response,
) -> str:
    effects = pd.concat([side.effects for side in sides])
    some = effects["low"].map(math.isfinite).any()
    parts = [
        f"{seeds(effects['n'])}; effects are means of within-block differences.",
        "Thick: 95 % interval that inverts the exact sign-flip test, not adjusted."
        if some
        else "So few blocks have no 95 % interval on these images.",
        "Thin: 95 % interval for new seeds and new digits."
        if effects["low_digits"].notna().any()
        else "",
        "Band: within it these blocks miss an effect more often than one time in five "
        "(t test, for the whole family), and what they find is likely overstated."
        if effects["power_80"].map(math.isfinite).any()
        else "",
        verdicts(effects),
        "Equivalent: two one-sided tests, by Holm over the same, show less than",
        f"\N{PLUS-MINUS SIGN}{100 * response.margin:g} points (dotted, if apart).",
        lost(effects),
        "The axes differ in scale." if any(a != b for a, b in pairwise(limits)) else "",
    ]
    return " ".join(filter(None, parts))


def seeds(blocks: pd.Series) -> str:
    """How many blocks, in words."""
    n = sorted(set(blocks))
    return f"n = {n[0]}{f' to {n[-1]}' if len(n) > 1 else ''} blocks (seeds)"
