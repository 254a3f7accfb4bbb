"""What a treatment costs: its error against the time to train it and its parameters."""

from collections.abc import Mapping, Sequence
from functools import lru_cache

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lenet import model
from lenet.chart import origin
from lenet.effect import TEST_ERROR
from lenet.page import (
    BODY,
    GAP,
    GREY,
    LINE,
    MARGIN,
    PALE,
    SMALL,
    STYLE,
    TITLE,
    VERDICTS,
    Page,
    measured,
    wrap,
)
from lenet.record import Record

WIDTH, LEAST = 3.4, 2.6  # inches: width of a panel, height at least
LEFT = 0.5
BLUE = VERDICTS["better"][0]


def summary(runs: Mapping[str, Sequence[Record]]) -> pd.DataFrame:
    """A row per treatment: n, diverged, seconds, parameters, and its test error.

    seconds: to train one run of a stack, the median. mean, low, high: of the test error,
    over the seeds; a diverged run counts as chance, as in the effects.
    """
    rows = []
    for treatment, found in runs.items():
        errors = pd.Series(
            [one["response"]["test_error"] for one in found], dtype="float64"
        ).fillna(TEST_ERROR.diverged)
        structure = [found[0]["treatment"][key] for key in model.STRUCTURE]
        rows.append(
            {
                "treatment": treatment,
                "n": len(found),
                "diverged": sum(one["status"] == "diverged" for one in found),
                "seconds": float(pd.Series([one["seconds"] for one in found]).median()),
                "parameters": parameters(*structure),
                "mean": float(errors.mean()),
                "low": float(errors.min()),
                "high": float(errors.max()),
            }
        )
    return pd.DataFrame(rows)


@lru_cache
def parameters(*structure: str) -> int:
    """The trainable parameters of a network of these levels of STRUCTURE."""
    levels = dict(zip(model.STRUCTURE, structure, strict=True))
    return sum(trainable for _, _, trainable, _ in model.table(**levels))


def error_against_cost(
    costs: pd.DataFrame,
    *,
    reference: str,
    title: str = "",
    missing: str = "",
    data: str = "",
    code: str = "",
    hardware: str = "",
) -> Figure:
    """Test error against seconds and against parameters; names stand between the two.

    `costs` is a `summary`. Names are in the order of the errors, so that no two cover
    each other, and lines lead from each to its points.
    """
    costs = costs.sort_values(["mean", "treatment"], ascending=[False, True])
    with matplotlib.style.context(["default", STYLE]):
        labels = [wrap(name, 2.6, SMALL) for name in costs["treatment"]]
        column = max(measured(line, SMALL) for lines in labels for line in lines)
        named = sum(LINE * SMALL * len(lines) + 0.04 for lines in labels)
        body = max(LEAST, named)
        width = MARGIN + LEFT + 2 * WIDTH + column + 6 * GAP + MARGIN
        inner = width - 2 * MARGIN
        heading = wrap(title or finding(costs, reference), inner, TITLE, "bold")
        caption = wrap(_caption(costs, hardware, data, code), inner, SMALL)
        lacking = wrap(missing, inner, BODY)
        top = MARGIN + LINE * (TITLE * len(heading) + BODY * len(lacking)) + 0.3
        height = top + body + 0.75 + LINE * SMALL * len(caption) + MARGIN
        page = Page.blank(width, height)
        y = page.write(MARGIN, MARGIN, heading, TITLE, weight="bold") + 0.05
        y = page.write(MARGIN, y, lacking, BODY, color=VERDICTS["worse"][0])
        page.write(MARGIN, y, ["test error, %"], SMALL, color=GREY)
        x = MARGIN + LEFT
        left = page.axes(x, top, WIDTH, body)
        right = page.axes(x + WIDTH + column + 6 * GAP, top, WIDTH, body)
        for axes, key in ((left, "seconds"), (right, "parameters")):
            _draw(axes, costs, key, reference)
        middle = x + WIDTH + 3 * GAP + column / 2
        _connect(page, (left, right), costs, labels, (middle, column, top, body))
        for axes, text in (
            (left, "seconds to train a run"),
            (right, "trainable parameters"),
        ):
            centre = x + WIDTH / 2 + (0 if axes is left else WIDTH + column + 6 * GAP)
            page.write(centre, top + body + 0.27, [text], BODY, ha="center")
        page.write(MARGIN, top + body + 0.6, caption, SMALL, color=GREY)
    return page.figure


def finding(costs: pd.DataFrame, reference: str) -> str:
    """One sentence: the treatment of lowest error, and its cost beside the reference."""
    best = costs.sort_values(["mean", "treatment"]).iloc[0]
    lead = f"{best['treatment']} has the lowest mean error, {100 * best['mean']:.2f} %"
    base = costs[costs["treatment"] == reference]
    if base.empty or best["treatment"] == reference:
        return f"{lead}, and takes {best['seconds']:.3g} s a run"
    ratio = best["seconds"] / base["seconds"].iloc[0]
    return f"{lead}, at {ratio:.2g} times the seconds of {reference}"


def _draw(axes: Axes, costs: pd.DataFrame, key: str, reference: str) -> None:
    for row in costs.itertuples(index=False):
        x = getattr(row, key)
        color = "black" if row.treatment == reference else BLUE
        limits = [100 * max(row.low, 1e-5), 100 * row.high]
        axes.plot([x, x], limits, color=color, linewidth=1, alpha=0.7, zorder=3)
        dot = axes.plot(x, 100 * row.mean, "o", color=color, markersize=4.5)[0]
        dot.set(markeredgecolor="white", markeredgewidth=0.6, zorder=4)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    low, high = costs[key].min(), costs[key].max()
    if low > 0 and high > 8 * low:
        axes.set_xscale("log")
        axes.set_xlim(low / 1.5, high * 1.5)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=8))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        room = 0.12 * (high - low) or 0.1 * high or 1.0
        axes.set_xlim(low - room, high + room)
        axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axes.tick_params(labelsize=SMALL + 0.5, length=2)
    axes.tick_params(which="minor", length=0)
    axes.grid(color=PALE, linewidth=0.5)
    axes.spines[["right", "top"]].set_visible(False)


def _connect(
    page: Page,
    panels: tuple[Axes, Axes],
    costs: pd.DataFrame,
    labels: list[list[str]],
    place: tuple[float, float, float, float],
) -> None:
    """Write the names between the panels and draw a line from each to its points."""
    middle, column, top, body = place
    heights = [LINE * SMALL * len(lines) for lines in labels]
    space = (body - sum(heights)) / len(labels)
    y = top + space / 2
    turned = page.figure.transFigure.inverted()
    for row, lines, height in zip(
        costs.itertuples(index=False), labels, heights, strict=True
    ):
        page.write(middle, y, lines, SMALL, ha="center")
        level = 1 - (y + height / 2) / page.height
        for axes, key, side in zip(
            panels, ("seconds", "parameters"), (-1, 1), strict=True
        ):
            point = axes.transData.transform((getattr(row, key), 100 * row.mean))
            x, end = turned.transform(point)
            widest = max(measured(line, SMALL) for line in lines)
            start = (middle + side * (widest / 2 + 0.04)) / page.width
            edge = (middle + side * (column / 2 + 0.08)) / page.width
            line = matplotlib.lines.Line2D([start, edge, x], [level, level, end])
            line.set(color="#AAAAAA", linewidth=0.5, zorder=1)
            page.figure.add_artist(line)
        y += height + space


def _caption(costs: pd.DataFrame, hardware: str, data: str, code: str) -> str:
    n = sorted(set(costs["n"]))
    lost = int(costs["diverged"].sum())
    parts = [
        f"n = {n[0]}{f' to {n[-1]}' if len(n) > 1 else ''} runs each (seeds);",
        "dots are means, lines reach from the lowest to the highest seed.",
        "Black: the reference. Seconds: median, of one run of a stack,",
        f"on {hardware}." if hardware else "on the machines of the records.",
        f"{lost} diverged runs count as an error of {100 * TEST_ERROR.diverged:g} %."
        if lost
        else "",
        origin(data, code),
    ]
    return " ".join(filter(None, parts)).replace(", on", " on")
