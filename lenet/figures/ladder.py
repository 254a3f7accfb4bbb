"""The ladder: from one treatment to another in steps, each with its error and cost.

The steps of a path, one change at a time, or the Shapley values of a factorial: both
begin at the response of the old treatment and end at that of the new one.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lenet.figures.ablation_chart import (
    draw_dots,
    lost,
    measured_as,
    notes,
    seeds,
    size,
    verdicts,
)
from lenet.figures.canvas import (
    BODY,
    GAP,
    GREY,
    LINE,
    MARGIN,
    PALE,
    SMALL,
    STYLE,
    VERDICTS,
    Page,
    interval,
    measured,
    plain,
    points,
    sheet,
    wrap,
)
from lenet.figures.words import Words
from lenet.studies.origin import NOWHERE, Origin
from lenet.studies.rounding import decimals

PLOT, NOTES, COST = 4.2, 2.0, 1.5  # inches


class Ends(NamedTuple):
    """The two treatments that a ladder joins: names and mean responses."""

    old: str
    new: str
    start: float
    end: float


class _Rung(NamedTuple):
    label: list[str]
    lines: list[str]  # beside the bar
    step: Any  # a row of effects; None at the two ends
    start: float
    end: float
    dots: Sequence[float]

    @property
    def height(self) -> float:
        lines = BODY + SMALL * (len(self.lines) - 1)
        return max(0.34, 0.12 + LINE * max(BODY * len(self.label), lines))


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
) -> Figure:
    """A bar per step from the response before it to that after it, with its interval.

    `effects` are steps in order whose means add up to the gap between the ends;
    `order` is the sentence that says by which rule; `seconds` are those to train one
    run at the start and after each step.
    """
    with matplotlib.style.context(["default", STYLE]):
        words = words or Words()
        rungs = _rungs(effects, differences, ends, words)
        label = max(measured(line) for rung in rungs for line in rung.label)
        left = MARGIN + label + GAP
        width = left + PLOT + GAP + NOTES + GAP + COST + 2 * MARGIN
        body = sum(rung.height for rung in rungs)
        title = title or finding(effects, ends, words)
        page, top = sheet(width, body + 0.75, title, _caption(effects, order), origin)
        x = left + PLOT + GAP
        page.write(x, top, ["step [95 % interval], verdict"], SMALL, color=GREY)
        top += 0.2
        _draw(page, page.axes(left, top, PLOT, body), rungs, left, top)
        foot = top + body + 0.27
        page.write(
            left + PLOT / 2, foot, [f"{measured_as(effects)}, %"], BODY, ha="center"
        )
        if len(seconds):
            x = left + PLOT + GAP + NOTES + GAP
            _draw_cost(page.axes(x, top, COST, body), rungs, seconds)
            text = ["seconds to train a run"]
            page.write(x + COST / 2, foot, text, BODY, ha="center")
    return page.figure


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
        f"{lead} {(words or Words()).change(first)} {size(first)}"
    )


def _rungs(
    effects: pd.DataFrame,
    differences: pd.DataFrame,
    ends: Ends,
    words: Words,
) -> list[_Rung]:
    dots = dict(list(differences.groupby("factor")["difference"]))
    sums = list(accumulate(effects["mean"], initial=ends.start))
    first, last = (
        _Rung(
            wrap(name, 2.6, BODY, "bold"), [f"{decimals(100 * at)} %"], None, 0, at, []
        )
        for name, at in ((ends.old, ends.start), (ends.new, ends.end))
    )
    rungs = [first]
    for i, step in enumerate(effects.itertuples(index=False)):
        number = f"{points(step.mean)} {interval(step.low, step.high)}".strip()
        change = words.dated(words.change(step), str(step.factor), str(step.level))
        label = wrap(f"+ {change}", 2.6, BODY)
        lines = [number, *wrap(notes(step), NOTES, SMALL)]
        seen = sorted(dots.get(step.factor, []))
        rungs.append(_Rung(label, lines, step, sums[i], sums[i + 1], seen))
    return [*rungs, last]


def _draw(page: Page, axes: Axes, rungs: list[_Rung], left: float, top: float) -> None:
    y = top
    bottom = top + sum(rung.height for rung in rungs)
    axes.set(xlim=_limits(rungs), ylim=(bottom, top), yticks=[])
    plain(axes)
    for i, rung in enumerate(rungs):
        middle = y + rung.height / 2
        above = middle - LINE * BODY * len(rung.label) / 2
        weight = "normal" if rung.step else "bold"
        page.write(left - GAP, above, rung.label, BODY, ha="right", weight=weight)
        above = middle - LINE * (BODY + SMALL * (len(rung.lines) - 1)) / 2
        x = left + PLOT + GAP
        above = page.write(x, above, rung.lines[:1], BODY, weight=weight)
        color = VERDICTS[rung.step.verdict][0] if rung.step else GREY
        page.write(x, above, rung.lines[1:], SMALL, color=color)
        _draw_rung(axes, rung, middle)
        if i + 1 < len(rungs):
            link = [middle, y + rung.height + rungs[i + 1].height / 2]
            axes.plot([100 * rung.end] * 2, link, color=GREY, linewidth=0.7, zorder=1)
        y += rung.height


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
            line = axes.plot(limits, [y] * 2, color="black", marker=cap)[0]
            line.set(linewidth=width, zorder=4, markersize=6, solid_capstyle="butt")
    draw_dots(axes, [start + 100 * d for d in rung.dots], y + 0.14, GREY)


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
            tips += [100 * (rung.start + s) for s in reached]
    least, most = max(min(tips), low - reach), min(max(tips), high + reach)
    room = 0.05 * (most - least)
    return least - room, most + room


def _draw_cost(axes: Axes, rungs: list[_Rung], seconds: Sequence[float]) -> None:
    """Seconds per run on a second axis, on the rows of the ladder."""
    middles, y = [], 0.0
    for rung in rungs:
        middles.append(y + rung.height / 2)
        y += rung.height
    values = [*seconds, seconds[-1]]
    plain(axes)
    axes.set(ylim=(y, 0), yticks=[])
    axes.plot(values, middles, color=GREY, linewidth=0.9, marker="o", markersize=4)
    low, high = min(values), max(values)
    if low > 0 and high > 8 * low:
        axes.set_xscale("log")
        axes.set_xlim(low / 2, high * 2)
        axes.minorticks_off()
    else:
        axes.set_xlim(0, 1.15 * high)
        axes.locator_params(axis="x", nbins=4)


def _caption(effects: pd.DataFrame, order: str) -> str:
    some = effects["low"].map(math.isfinite).any()
    digits = effects["low_digits"].notna().any()
    lines = "Thick line: 95 % interval of the step, inverting the exact sign-flip test."
    few = "So few blocks have no 95 % interval on these images."
    parts = [
        f"{seeds(effects['n'])}; dots are seeds.",
        order,
        lines if some else few,
        "Thin: for new seeds and new digits." if digits else "",
        verdicts(effects),
        lost(effects),
    ]
    return " ".join(filter(None, parts))
