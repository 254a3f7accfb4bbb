"""The ablation chart: effects of arms against one reference, or two side by side.

A panel per factor and a row per level, the effect against the reference in percentage
points. Two studies share their rows: what a change buys from one reference stands
beside what undoing it costs from the other. What is too far out for the axis is an
arrow at its edge, and the number stands beside it.
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

from lenet.canvas import (
    BAND,
    BODY,
    GAP,
    GREY,
    INK,
    LINE,
    MARGIN,
    NOWHERE,
    SMALL,
    STYLE,
    VERDICTS,
    Origin,
    Page,
    interval,
    marker,
    measured,
    plain,
    points,
    sheet,
    wrap,
)
from lenet.effect import GUESSING, TEST_ERROR, Response, smallest_effect

Years = Mapping[str, Mapping[str, int]]
PLOT, NOTES = (4.2, 2.7), (2.4, 2.1)  # inches, for one side and for two
HEADING, AXIS, ABOVE = 0.28, 0.25, 0.42  # inches of height
POWER = 0.80
TO = "\N{RIGHTWARDS ARROW}"


class Side(NamedTuple):
    """The arms of one study: tables of `effect.Effects`, one estimand.

    `reference` is the name of the treatment measured from; `converged` the effects of
    the converged blocks alone.
    """

    effects: pd.DataFrame
    differences: pd.DataFrame
    reference: str
    converged: pd.DataFrame | None = None


class _Cell(NamedTuple):
    """One arm of one side: what is drawn and what is written beside it."""

    arm: Any
    dots: pd.DataFrame
    reach: float  # the smallest effect that its blocks can see
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
        caption = _caption(sides, rows, limits, response)
        height = ABOVE + body + foot
        page, y = sheet(width, height, title or finding(*sides), caption, origin)
        page.legend(y, _handles(sides, rows))
        y = _draw(page, sides, panels, (left, y + ABOVE), limits, response)
        for i, lines in enumerate(axis):
            middle = left + i * _width(sides) + _plot(sides) / 2
            page.write(middle, y + AXIS, lines, BODY, ha="center")
    return page.figure


def finding(*sides: Side) -> str:
    """One sentence: which change helps most, and how many are what."""
    if len(sides) > 1:
        said = "; ".join(_in_short(side) for side in sides)
        return said[0].upper() + said[1:]
    effects, reference, *_ = sides[0].effects, sides[0].reference
    count = effects["verdict"].value_counts()
    total = f"{len(effects)} changes" if len(effects) > 1 else "the one change"
    ordered = effects.sort_values(["mean", "factor", "level"])
    if effects["reason"].str.contains("no verdict possible|no variance").all():
        low = ordered.iloc[0]
        lowest = f"{described(low)} ({points(low['mean'])} points)"
        few = f"No verdict possible at n = {effects['n'].max()}"
        return f"{few}: of {total} to {reference} the lowest is {lowest}"
    tail = ", ".join(f"{count[v]} {v}" for v in list(VERDICTS)[1:] if v in count)
    for verdict, verb in (("better", "helps"), ("worse", "hurts")):
        if verdict in count:
            chosen = ordered[ordered["verdict"] == verdict]
            first = chosen.loc[chosen["mean"].abs().idxmax()]
            lead = f"{described(first)} {verb} most {size(first, sides[0].converged)}"
            proven = f"{count.get('better', 0)} better than {reference}"
            return f"{lead}: of {total}, " + ", ".join(filter(None, [proven, tail]))
    return f"No proof that any of {total} to {reference} is better or worse: {tail}"


def described(arm: Any, years: Years | None = None) -> str:
    """An arm in words: its factor and level, or the name of a joint change."""
    factor, level = str(arm.factor), str(arm.level)
    year = (years or {}).get(factor, {}).get(level)
    dated = (
        f"{level.replace('+', ' + ')} ({year})" if year else level.replace("+", " + ")
    )
    return dated if "+" in factor else f"{factor}: {dated}"


def _in_short(side: Side) -> str:
    """How many changes to one reference of two are better and worse."""
    count = side.effects["verdict"].value_counts()
    if side.effects["reason"].str.contains("no verdict possible").all():
        return f"no verdict possible from {side.reference}"
    better, worse = (int(count.get(verdict, 0)) for verdict in ("better", "worse"))
    helping = f"{better} help{'s' if better == 1 else ''}"
    hurting = f"{worse} hurt{'s' if worse == 1 else ''}"
    return f"of {len(side.effects)} changes to {side.reference} {helping} and {hurting}"


def _plot(sides: Sequence[Side]) -> float:
    return PLOT[len(sides) - 1]


def _width(sides: Sequence[Side]) -> float:
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
        tests = int(side.effects["p"].notna().sum())
        for arm in side.effects.sort_values(["mean", *keys]).itertuples(index=False):
            seen = dots.get((arm.factor, arm.level), side.differences[:0])
            said = wrap(notes(arm, side.converged), notes_width, SMALL)
            reach = smallest_effect(arm.n, arm.sd, max(tests, 1), POWER)
            pair = frozenset((arm.level, arm.reference))
            key = (arm.factor, arm.level if len(sides) == 1 else pair)
            cells.setdefault(key, [None] * len(sides))[i] = _Cell(
                arm, seen, reach, said
            )
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


def notes(arm: Any, converged: pd.DataFrame | None) -> str:
    """The verdict, its reason, the runs that diverged, and the effect in the blocks
    without a run that diverged or collapsed."""
    said = [arm.verdict] + ([arm.reason] if arm.reason else [])
    if arm.diverged:
        said.append(f"{arm.diverged} of {arm.n} diverged")
    if (beside := _converged(arm, converged)) is not None:
        by = f"{points(beside['mean'])} {interval(beside['low'], beside['high'])}"
        said.append(f"{beside['n']} of {arm.n} blocks converged: {by}".strip())
    return "; ".join(said)


def size(arm: Any, converged: pd.DataFrame | None) -> str:
    """The effect of an arm and that in the blocks that converged, in brackets."""
    said = f"{points(arm['mean'])} points"
    if (beside := _converged(arm, converged)) is not None:
        said += f", {points(beside['mean'])} where all converged"
    return f"({said})"


def _converged(arm: Any, converged: pd.DataFrame | None) -> Any | None:
    """The arm's effect in the blocks that converged, if some did and some did not."""
    if converged is None:
        return None
    same = (converged[["factor", "level"]] == [arm.factor, arm.level]).all(axis=1)
    rows = converged[same & (converged["n"] < arm.n) & (converged["n"] > 0)]
    return None if rows.empty else rows.iloc[0]


def lost(effects: pd.DataFrame, response: Response = TEST_ERROR) -> str:
    """What a caption says of runs that diverged or collapsed, if there are such."""
    counted = f"A diverged run counts as an error of {100 * response.diverged:g} %."
    errs = f"A collapsed run ended at {100 * GUESSING:g} % or more: it guesses."
    guessing = effects["reason"].str.contains("collapsed").any()
    said = counted if effects["diverged"].any() else "", errs if guessing else ""
    return " ".join(filter(None, said))


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


def _draw(
    page: Page,
    sides: Sequence[Side],
    panels: dict[str, list[_Row]],
    at: tuple[float, float],
    limits: list[tuple[float, float]],
    response: Response,
) -> float:
    """Draw the panels downwards from `at`; returns where they end."""
    left, y = at
    for i, side in enumerate(sides):
        x, above = left + i * _width(sides), y - 0.17
        cells = [(row, row.cells[i]) for rows in panels.values() for row in rows]
        ways = {cell.arm.reference == row.old for row, cell in cells if cell}
        way = {(True,): ", along the arrows", (False,): ", against the arrows"}
        said = f"from {side.reference}{way.get(tuple(ways), '')}"
        named = [said] if len(sides) > 1 else []
        page.write(x, above, named, BODY, weight="bold")
        x += _plot(sides) + GAP
        page.write(x, above, ["effect [95 % interval], verdict"], SMALL, color=GREY)
    for heading, rows in panels.items():
        page.write(MARGIN, y + 0.05, [heading] if heading else [], BODY, weight="bold")
        y += _headed(heading)
        height = sum(row.height for row in rows)
        columns = []
        for i in range(len(sides)):
            axes = page.axes(left + i * _width(sides), y, _plot(sides), height)
            _dress(axes, limits[i], (y + height, y), response)
            columns.append(axes)
        for row in rows:
            middle = y + (row.height - LINE * BODY * len(row.label)) / 2
            page.write(left - GAP, middle, row.label, BODY, ha="right")
            for i, cell in enumerate(row.cells):
                if cell:
                    x = left + i * _width(sides) + _plot(sides) + GAP
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
    if math.isfinite(cell.reach):
        ends = max(low, -100 * cell.reach), min(high, 100 * cell.reach)
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


def _handles(sides: Sequence[Side], rows: list[_Row]) -> list[Any]:
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
    if _seeing(rows):
        handles.append(Patch(color=BAND, label="too small to see"))
    return handles


def _seeing(rows: list[_Row]) -> bool:
    """Whether any cell has a smallest effect that its blocks can see."""
    return any(math.isfinite(c.reach) for row in rows for c in row.cells if c)


def _axis_label(side: Side, response: Response) -> str:
    what = response.name.replace("_", " ")
    good = "left" if response.lower_is_better else "right"
    unit = f"percentage points ({good} is better)"
    return f"{what}: difference from {side.reference}, {unit}"


def _caption(
    sides: Sequence[Side],
    rows: list[_Row],
    limits: list[tuple[float, float]],
    response: Response,
) -> str:
    effects = pd.concat([side.effects for side in sides])
    counts = " and ".join(f"{int(s.effects['p'].notna().sum())}" for s in sides)
    family = {"arm": "arms", "main": "main effects"}
    kind = effects["estimand"].iloc[0]
    tests = f"the family of {counts}" if len(sides) == 1 else f"families of {counts}"
    some = effects["low"].map(math.isfinite).any()
    parts = [
        f"{seeds(effects['n'])}; effects are means of within-block differences.",
        "Thick: 95 % interval that inverts the exact sign-flip test, not adjusted."
        if some
        else "So few blocks have no 95 % interval on these images.",
        "Thin: 95 % interval for new seeds and new digits."
        if effects["low_digits"].notna().any()
        else "",
        "Band: what these blocks miss more often than one time in five (t test, Holm)."
        if _seeing(rows)
        else "",
        f"Verdicts: p <= 0.05 after Holm over {tests} {family.get(kind, kind)};",
        "equivalent: the 90 % interval is within",
        f"\N{PLUS-MINUS SIGN}{100 * response.margin:g} points (dotted, if apart).",
        lost(effects, response),
        "The axes differ in scale." if any(a != b for a, b in pairwise(limits)) else "",
    ]
    return " ".join(filter(None, parts))


def seeds(blocks: pd.Series) -> str:
    """How many blocks, in words."""
    n = sorted(set(blocks))
    return f"n = {n[0]}{f' to {n[-1]}' if len(n) > 1 else ''} blocks (seeds)"
