"""What a treatment costs: its error against the time to train it and its parameters."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lenet.config import Refusal
from lenet.figures.canvas import (
    BLUE,
    BODY,
    GAP,
    GREY,
    INK,
    LIGHT_GREY,
    LINE,
    PALE,
    SCREEN,
    SMALL,
    WHITE,
    Canvas,
    Look,
    TooNarrow,
    runs_in_words,
    text_width,
    titled_canvas,
    wrap,
)
from lenet.figures.learning_curves import rungs
from lenet.records import run_record
from lenet.records.record_types import Record
from lenet.records.run_record import spent
from lenet.rounding import decimals
from lenet.studies.origin import NOWHERE, Origin
from lenet.studies.study import converged
from lenet.training import model

WIDTH, LEAST = 3.4, 2.6  # inches: width of a panel, height at least
LEFT, THIN = 0.5, 1.0  # inches: of numbers beside it; its width in a paper at least
BETWEEN = 0.15  # inches between a panel and the one below it
PANELS = {"seconds": "seconds to train a run", "parameters": "trainable parameters"}
GUESS = 0.90  # where a treatment of which no run converged is drawn


def cost_table(runs: Mapping[str, Sequence[Record]]) -> pd.DataFrame:
    """A row per treatment: n, lost, seconds, parameters, and its test error.

    seconds: of processors to train a run, the median (of the clock in edition 1).
    mean, low, high: of the test error over the seeds that did not diverge or collapse;
    that of a guess where all did.
    """
    rows = []
    for treatment, records in runs.items():
        errors = pd.Series(
            [
                record["response"]["test_error"]
                for record in records
                if converged(record)
            ]
            or [GUESS],
            dtype="float64",
        )
        structure = [records[0]["treatment"][key] for key in model.STRUCTURE]
        rows.append(
            {
                "treatment": treatment,
                "n": len(records),
                "lost": sum(not converged(record) for record in records),
                "seconds": float(
                    pd.Series([spent(record) for record in records]).median()
                ),
                "parameters": parameters(*structure),
                "mean": float(errors.mean()),
                "low": float(errors.min()),
                "high": float(errors.max()),
            }
        )
    return pd.DataFrame(rows)


def incomparable(records: Sequence[Record]) -> str:
    """Why the seconds of these runs cannot be compared; empty if they can."""
    kinds = {run_record.edition(record) for record in records}
    machines = sorted({record["hardware"] for record in records})
    if len(kinds) > 1:
        return "they are of several editions, which measure another time"
    if max(kinds) > 1 and len(machines) > 1:
        return f"they are of several processors: {', '.join(machines)}"
    return ""


@lru_cache
def parameters(*structure: str) -> int:
    """The trainable parameters of a network of these levels of STRUCTURE."""
    levels = dict(zip(model.STRUCTURE, structure, strict=True))
    try:
        return sum(trainable for _, _, trainable, _ in model.table(**levels))
    except KeyError as problem:
        raise Refusal(
            f"level {problem} is unknown here: draw with the commit of the records"
        ) from None


def error_against_cost(
    costs: pd.DataFrame,
    *,
    reference: str,
    title: str = "",
    origin: Origin = NOWHERE,
    hardware: str = "",
    look: Look = SCREEN,
) -> Figure:
    """Test error against seconds and against parameters; names stand between the two.

    `costs` is a `cost_table`. Names are in the order of the errors, so that no two
    cover each other, and lines lead from each to its points. In a narrow look the
    panels stand below each other, each with the names beside it.
    """
    costs = ordered_costs(costs)
    with matplotlib.style.context(["default", look.style]):
        labels, column, wide = _fitted(look, costs["treatment"].tolist())
        body = max(LEAST, sum(map(_height, labels)))
        between = column + (4 if look.narrow else 5) * GAP
        x = look.margin + LEFT
        width = look.width or x + 2 * wide + between + LEFT + look.margin
        lines = [[key] for key in PANELS] if look.narrow else [[*PANELS]]
        height = len(lines) * (body + 0.65) + (len(lines) - 1) * BETWEEN
        texts = title or finding(costs, reference), _caption(costs, hardware)
        canvas, top = titled_canvas(width, height, *texts, origin, look)
        for keys in lines:
            canvas.write(look.margin, top, ["test error, %"], SMALL, color=GREY)
            top += 0.2
            panels = {}
            for at, key in zip([x, x + wide + between], keys, strict=False):
                panels[key] = canvas.axes(at, top, wide, body)
                _draw(panels[key], costs, key, reference, right=at > x)
                at, foot = at + wide / 2, top + body + 0.25
                canvas.write(at, foot, [PANELS[key]], BODY, ha="center")
            place = x + wide + between / 2, column, top, body
            _connect(canvas, panels, costs, labels, place, reference)
            top += body + 0.45 + BETWEEN
    return canvas.figure


class _Layout(NamedTuple):
    """The lines of the names, the inches of their column and those of a panel."""

    names: list[list[str]]
    column: float
    panel: float


def _fitted(look: Look, names: Sequence[str]) -> _Layout:
    """The layout of a look; in a paper a panel has what the names leave, but THIN."""

    def layout(look: Look, room: float) -> _Layout:
        labels = [wrap(name, room, SMALL) for name in names]
        lines = [line for label in labels for line in label]
        column = max(text_width(line, SMALL, "bold") for line in lines)
        inner = (look.width or 0.0) - 2 * look.margin
        if look.narrow:
            return _Layout(labels, column, inner - LEFT - column - 2 * GAP)
        return _Layout(labels, column, (inner - column - 5 * GAP) / 2 - LEFT)

    def paper(look: Look) -> _Layout | None:
        share = 0.38 if look.narrow else 0.24
        placed = layout(look, share * (look.width or 0.0))
        return placed if placed.panel >= THIN else None

    if look.width is None:
        return layout(look, 2.6)._replace(panel=WIDTH)
    if placed := paper(look):
        return placed
    raise TooNarrow("costs", look, paper)


def ordered_costs(costs: pd.DataFrame) -> pd.DataFrame:
    """The rows in the order of the names, from the highest error to the lowest."""
    return costs.sort_values(["mean", "treatment"], ascending=[False, True])


def finding(costs: pd.DataFrame, reference: str) -> str:
    """One sentence: the treatment of lowest error, and its cost by the reference."""
    best = costs.sort_values(["mean", "treatment"]).iloc[0]
    error = decimals(100 * best["mean"])
    lead = f"{best['treatment']} has the lowest mean error, {error} %"
    base = costs[costs["treatment"] == reference]
    if base.empty or best["treatment"] == reference:
        return f"{lead}, and takes {best['seconds']:.3g} s a run"
    ratio = best["seconds"] / base["seconds"].iloc[0]
    return f"{lead}, at {ratio:.2g} times the seconds of {reference}"


def _draw(
    axes: Axes, costs: pd.DataFrame, key: str, reference: str, right: bool
) -> None:
    """The points of a panel; right: its numbers stand on its right side."""
    for row in costs.itertuples(index=False):
        x = getattr(row, key)
        color = INK if row.treatment == reference else BLUE
        limits = [100 * max(row.low, 1e-5), 100 * row.high]
        axes.plot([x, x], limits, color=color, linewidth=1, alpha=0.7, zorder=3)
        dot = axes.plot(x, 100 * row.mean, "o", color=color, markersize=4.5)[0]
        front = 5 if row.treatment == reference else 4
        dot.set(markeredgecolor=WHITE, markeredgewidth=0.6, zorder=front)
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
        room = 0.12 * (high - low) or 0.1 * high or 0.1
        axes.set_xlim(low - room if low > room else -0.02 * (high + room), high + room)
        axes.locator_params(axis="x", nbins=4)
    axes.xaxis.set_major_formatter(FuncFormatter(_tick))
    axes.tick_params(labelsize=SMALL + 0.5, length=2)
    axes.tick_params(which="minor", length=0)
    axes.grid(color=PALE, linewidth=0.5)
    axes.spines[["left" if right else "right", "top"]].set_visible(False)
    if right:
        axes.yaxis.tick_right()


def _tick(value: float, _: int) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _connect(
    canvas: Canvas,
    panels: Mapping[str, Axes],
    costs: pd.DataFrame,
    labels: list[list[str]],
    place: tuple[float, float, float, float],
    reference: str,
) -> None:
    """Write the names between the panels and draw a line from each to its points."""
    middle, column, top, body = place
    # From the coordinates of the data to shares of the canvas, where the names stand.
    turned = canvas.figure.transFigure.inverted()
    points = [
        [
            turned.transform(
                axes.transData.transform((getattr(row, key), 100 * row.mean))
            )
            for key, axes in panels.items()
        ]
        for row in costs.itertuples(index=False)
    ]
    wanted = [(1 - ends[0][1]) * canvas.height for ends in points]
    heights = list(map(_height, labels))
    middles = _apart(wanted, heights, top, body)
    for name, ends, lines, y, height in zip(
        costs["treatment"], points, labels, middles, heights, strict=True
    ):
        weight = "bold" if name == reference else "normal"
        at = y - height / 2 + 0.02
        canvas.write(middle, at, lines, SMALL, ha="center", weight=weight)
        level = 1 - y / canvas.height
        widest = max(text_width(line, SMALL, weight) for line in lines)
        for (x, end), side in zip(ends, (-1, 1)[: len(ends)], strict=True):
            start = (middle + side * (widest / 2 + 0.04)) / canvas.width
            edge = (middle + side * (column / 2 + 0.08)) / canvas.width
            line = Line2D([start, edge, x], [level, level, end])
            line.set(color=LIGHT_GREY, linewidth=0.5, zorder=1)
            canvas.figure.add_artist(line)


def _height(lines: list[str]) -> float:
    """Inches that a name takes, with some space to the next one."""
    return LINE * SMALL * len(lines) + 0.04


def _apart(
    wanted: list[float], heights: list[float], top: float, body: float
) -> list[float]:
    """Middles as near to the wanted ones, which rise, as heights and body allow."""
    # Downwards: no name above the end of the one before it. Upwards: none below the
    # body.
    middles, least = [], top
    for middle, height in zip(wanted, heights, strict=True):
        middles.append(max(middle, least + height / 2))
        least = middles[-1] + height / 2
    most = top + body
    for i in reversed(range(len(middles))):
        middles[i] = min(middles[i], most - heights[i] / 2)
        most = middles[i] - heights[i] / 2
    return middles


def _caption(costs: pd.DataFrame, hardware: str) -> str:
    lost = int(costs["lost"].sum())
    parts = [
        f"{runs_in_words(costs['n'])};",
        "dots are means, lines reach from the lowest to the highest seed.",
        "Bold, not blue: the reference.",
        rungs(costs["treatment"]),
        "Seconds: median, to train a run,",
        f"on {hardware}." if hardware else "on the machines of the records.",
        f"{lost} of {costs['n'].sum()} runs diverged or collapsed and are left out."
        if lost
        else "",
    ]
    return " ".join(filter(None, parts)).replace(", on", " on")
