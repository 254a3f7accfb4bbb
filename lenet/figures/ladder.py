"""The ladder: from one treatment to another in steps, each with its error and cost.

The steps of a path, one change at a time, or the Shapley values of a factorial: both
begin at the response of the old treatment and end at that of the new one. Two ladders,
the second from where the first ends, are one.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any, NamedTuple

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lenet.figures.ablation_chart import (
    draw_dots,
    effect_in_brackets,
    lost,
    measured_as,
    notes,
    verdicts,
)
from lenet.figures.canvas import (
    BODY,
    GAP,
    GREY,
    INK,
    LINE,
    PALE,
    SCREEN,
    SMALL,
    VERDICTS,
    Canvas,
    Look,
    interval,
    plain_axes,
    points,
    runs_in_words,
    text_width,
    titled_canvas,
    wrap,
)
from lenet.figures.level_names import Words
from lenet.figures.rows import ON_PAPER, LabelledRow, RowLayout, fitted_layout
from lenet.rounding import decimals
from lenet.studies.origin import NOWHERE, Origin

HEAD = "step [95 % interval], verdict"  # what is written beside the bars
HEAD_BELOW = "step, verdict [95 % interval]"  # the interval stands below the step


WIDE, COST = RowLayout(2.6, 4.2, 2.0), 1.5  # inches
# In a paper: whether labels stand above, and the inches of what is written.
BESIDE, BELOW = ((False, 1.6),), ((True, 1.2),)
SECONDS = "seconds to train a run"


class Ends(NamedTuple):
    """The two treatments that a ladder joins: names and mean responses; passed: the
    names of treatments between them, by how many steps lead there."""

    old: str
    new: str
    start: float
    end: float
    passed: Mapping[int, str] = {}


@dataclass(frozen=True)
class _Rung(LabelledRow):
    lines: list[str]  # beside the bar
    step: Any  # a row of effects; None where the rung is a treatment
    start: float
    end: float
    dots: Sequence[float]
    steps: int  # that lead here

    @property
    def height(self) -> float:
        """Inches: the taller of the label and of what is written beside the bar."""
        lines = BODY + SMALL * (len(self.lines) - 1)
        return self.head + max(0.34, 0.12 + LINE * max(self.label_points, lines))

    @property
    def middle(self) -> float:
        """Inches from the rung's upper end to its bar."""
        return self.head + (self.height - self.head) / 2


def waterfall(
    effects: pd.DataFrame,
    differences: pd.DataFrame,
    ends: Ends,
    *,
    order: str,
    seconds: Sequence[float] = (),
    title: str = "",
    words: Words | None = None,
    origin: Origin = NOWHERE,
    look: Look = SCREEN,
) -> Figure:
    """A bar per step from the response before it to that after it, with its interval.

    `effects` are steps in order whose means add up to the gap between the ends;
    `order` is the sentence that says by which rule; `seconds` are those to train one
    run at the start and after each step.
    """
    with matplotlib.style.context(["default", look.style]):
        labels = _labels(effects, ends, words or Words())
        layout, cost = _layout(look, labels, seconds)
        rungs = _rungs(effects, differences, ends, labels, layout)
        costs = [seconds[rung.steps] for rung in rungs] if len(seconds) else []
        rungs = _timed(rungs, costs) if layout.above else rungs
        label = max(text_width(line) for rung in rungs for line in rung.label)
        left = look.margin + layout.left(label)
        x = left + layout.plot + GAP
        width = look.width or x + layout.notes + GAP + COST + 2 * look.margin
        body = sum(rung.height for rung in rungs)
        timed = wrap(SECONDS, cost + 0.2, BODY) if cost else []
        height = body + 0.75 + LINE * BODY * (len(timed) > 1)
        texts = title or finding(effects, ends, words), _caption(effects, order)
        canvas, top = titled_canvas(width, height, *texts, origin, look)
        what = f"{measured_as(effects)}, %"
        foot = _draw(canvas, rungs, layout, (left, x, top), what)
        if timed:
            x = x + layout.notes + GAP
            _draw_cost(canvas.axes(x, top + 0.2, cost, body), rungs, costs)
            canvas.write(x + cost / 2, foot, timed, BODY, ha="center")
    return canvas.figure


def finding(effects: pd.DataFrame, ends: Ends, words: Words | None = None) -> str:
    """One sentence: from where to where, and which step is the largest."""
    way = "falls" if ends.end < ends.start else "rises"
    first = effects.loc[effects["mean"].abs().idxmax()]
    proven = first["verdict"] in ("better", "worse")
    lead = "The largest step is" if proven else "No step is proven; the largest is"
    if effects["reason"].str.contains("no verdict possible").all():
        lead = f"No verdict possible at n = {effects['n'].max()}; the largest step is"
    return (
        f"From {ends.old} to {ends.new} the {measured_as(effects)} {way} from "
        f"{decimals(100 * ends.start)} % to {decimals(100 * ends.end)} %. "
        f"{lead} {(words or Words()).change(first)} {effect_in_brackets(first)}"
    )


def _labels(effects: pd.DataFrame, ends: Ends, words: Words) -> list[str]:
    """What stands beside the bars: the old end, each step, and the new end."""
    said = [
        words.dated(words.change(step), str(step.factor), str(step.level))
        for step in effects.itertuples(index=False)
    ]
    return [ends.old, *(f"+ {change}" for change in said), ends.new]


def _layout(
    look: Look, labels: Sequence[str], seconds: Sequence[float]
) -> tuple[RowLayout, float]:
    """The layout, and the inches of the costs: in a column they are written instead."""
    if look.width is None:
        return WIDE, COST if len(seconds) else 0.0
    if look.narrow:
        return fitted_layout("ladder", look, labels, BELOW), 0.0
    cost = 1.0 if len(seconds) else 0.0
    beyond = GAP + cost + 0.1 if cost else 0.0
    return fitted_layout("ladder", look, labels, BESIDE, beyond=beyond), cost


def _rungs(
    effects: pd.DataFrame,
    differences: pd.DataFrame,
    ends: Ends,
    labels: Sequence[str],
    layout: RowLayout,
) -> list[_Rung]:
    """The old end, the steps and what they pass, and the new end."""
    dots = dict(list(differences.groupby(["factor", "level"])["difference"]))
    sums = list(accumulate(effects["mean"], initial=ends.start))

    def stop(name: str, at: float, steps: int) -> _Rung:
        lines = wrap(name, layout.label, BODY, "bold")
        said = [f"{decimals(100 * at)} %"]
        return _Rung(lines, layout.above, said, None, 0, at, [], steps)

    rungs = [stop(ends.old, ends.start, 0)]
    for i, step in enumerate(effects.itertuples(index=False)):
        label = wrap(labels[i + 1], layout.label, BODY)
        seen = sorted(dots.get((step.factor, step.level), []))
        ends_of = sums[i], sums[i + 1]
        lines = _lines(step, layout)
        rungs.append(_Rung(label, layout.above, lines, step, *ends_of, seen, i + 1))
        if name := ends.passed.get(i + 1):
            rungs.append(stop(name, sums[i + 1], i + 1))
    return [*rungs, stop(ends.new, ends.end, len(effects))]


def _timed(rungs: Sequence[_Rung], costs: Sequence[float]) -> list[_Rung]:
    """The rungs with their seconds, if there are any, among what is written."""
    if not costs:
        return list(rungs)
    return [
        replace(rung, lines=[*rung.lines, f"{second:.3g} s to train"])
        for rung, second in zip(rungs, costs, strict=True)
    ]


def _lines(step: Any, layout: RowLayout) -> list[str]:
    """What is written beside the bar of a step: number, interval, verdict, reason."""
    number, limits = points(step.mean), interval(step.low, step.high)
    if layout.above:
        first, *rest = wrap(f"{number} {step.verdict}", layout.notes, BODY)
        return [
            first,
            *wrap(" ".join([*rest, limits, step.reason]), layout.notes, SMALL),
        ]
    return [f"{number} {limits}".strip(), *wrap(notes(step), layout.notes, SMALL)]


def _draw(
    canvas: Canvas,
    rungs: list[_Rung],
    layout: RowLayout,
    at: tuple[float, float, float],
    what: str,
) -> float:
    """Bars below each other; where their axis says `what` it is of.

    `at` is where bars begin, where notes begin, and the y of what heads these.
    """
    left, x, top = at
    start, said = (canvas.margin, HEAD_BELOW) if layout.above else (x, HEAD)
    canvas.write(start, top, [said], SMALL, color=GREY)
    top += 0.2
    y, body = top, sum(rung.height for rung in rungs)
    axes = canvas.axes(left, top, layout.plot, body)
    axes.set(xlim=_limits(rungs), ylim=(top + body, top), yticks=[])
    plain_axes(axes)
    for i, rung in enumerate(rungs):
        middle = y + rung.middle
        weight = "normal" if rung.step else "bold"
        _label(canvas, rung, left, y, weight)
        above = middle - LINE * (BODY + SMALL * (len(rung.lines) - 1)) / 2
        above = canvas.write(x, above, rung.lines[:1], BODY, weight=weight)
        color = VERDICTS[rung.step.verdict][0] if rung.step else GREY
        canvas.write(x, above, rung.lines[1:], SMALL, color=color)
        _draw_rung(axes, rung, middle)
        if i + 1 < len(rungs):
            link = [middle, y + rung.height + rungs[i + 1].middle]
            axes.plot([100 * rung.end] * 2, link, color=GREY, linewidth=0.7, zorder=1)
        y += rung.height
    foot = top + body + 0.27
    canvas.write(left + layout.plot / 2, foot, [what], BODY, ha="center")
    return foot


def _label(canvas: Canvas, rung: _Rung, left: float, y: float, weight: str) -> None:
    """Beside the bar, or above it from the left margin."""
    if rung.above:
        style = {"weight": weight, "bbox": ON_PAPER}
        canvas.write(canvas.margin, y + 0.04, rung.label, BODY, **style)
        return
    y = y + rung.middle - LINE * BODY * len(rung.label) / 2
    canvas.write(left - GAP, y, rung.label, BODY, ha="right", weight=weight)


def _draw_rung(axes: Axes, rung: _Rung, y: float) -> None:
    if rung.step is None:
        axes.plot(100 * rung.end, y, "s", color=VERDICTS["not estimable"][0], ms=7)
        return
    step, (color, _, filled) = rung.step, VERDICTS[rung.step.verdict]
    start, end = 100 * rung.start, 100 * rung.end
    bar = axes.barh(y, end - start, 0.2, start, color=color if filled else PALE)
    bar[0].set(edgecolor=color, linewidth=0.8, zorder=2)
    for low, high, width, cap in (
        (step.low_digits, step.high_digits, 0.8, "|"),
        (step.low, step.high, 2.4, ""),
    ):
        if math.isfinite(low) and math.isfinite(high):
            limits = [start + 100 * low, start + 100 * high]
            line = axes.plot(limits, [y] * 2, color=INK, marker=cap)[0]
            line.set(linewidth=width, zorder=4, markersize=6, solid_capstyle="butt")
    draw_dots(axes, [start + 100 * dot for dot in rung.dots], y + 0.14, GREY)


def _limits(rungs: list[_Rung]) -> tuple[float, float]:
    """An axis that holds every bar, and intervals up to as far again beyond them."""
    bars = [100 * rung.end for rung in rungs]
    low, high = min(bars), max(bars)
    reach = (high - low) or 0.1
    tips = [low, high]
    for rung in rungs:
        if rung.step:
            step = rung.step
            limits = [step.low, step.high, step.low_digits, step.high_digits]
            reached = filter(math.isfinite, [*limits, *rung.dots])
            tips += [100 * (rung.start + limit) for limit in reached]
    # Bars are always whole; a wide interval may be cut, or bars would be too small to
    # read.
    least, most = max(min(tips), low - reach), min(max(tips), high + reach)
    room = 0.05 * (most - least)
    return least - room, most + room


def _draw_cost(axes: Axes, rungs: list[_Rung], costs: Sequence[float]) -> None:
    """Seconds per run on a second axis, on the rows of the ladder."""
    middles, y = [], 0.0
    for rung in rungs:
        middles.append(y + rung.height / 2)
        y += rung.height
    plain_axes(axes)
    axes.set(ylim=(y, 0), yticks=[])
    axes.plot(costs, middles, color=GREY, linewidth=0.9, marker="o", markersize=4)
    low, high = min(costs), max(costs)
    if low > 0 and high > 8 * low:
        axes.set_xscale("log")
        axes.set_xlim(low / 2, high * 2)
        axes.minorticks_off()
    else:
        axes.set_xlim(0, 1.15 * high)
        axes.locator_params(axis="x", nbins=4)


def _caption(effects: pd.DataFrame, order: str) -> str:
    any_interval = effects["low"].map(math.isfinite).any()
    digits = effects["low_digits"].notna().any()
    lines = "Thick line: 95 % interval of the step, inverting the exact sign-flip test."
    few = "So few blocks have no 95 % interval on these images."
    parts = [
        f"{runs_in_words(effects['n'], 'blocks')}; dots are seeds.",
        order,
        lines if any_interval else few,
        "Thin: for new seeds and new digits." if digits else "",
        verdicts(effects),
        lost(effects),
    ]
    return " ".join(filter(None, parts))
