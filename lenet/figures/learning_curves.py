"""Learning curves: the error after each epoch, a small panel per treatment."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.style
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lenet.figures.canvas import (
    BLUE,
    BODY,
    LINE,
    MID_GREY,
    PALE,
    SCREEN,
    SEEDS,
    SMALL,
    Look,
    legend_lines,
    runs_in_words,
    titled_canvas,
    wrap,
)
from lenet.records.record_types import Record
from lenet.rounding import decimals
from lenet.studies.origin import NOWHERE, Origin
from lenet.studies.study import converged

WIDTH, HEIGHT, LEFT, BELOW = 1.75, 1.25, 0.5, 0.32  # inches of a panel and around it
SHORT = 40  # letters at most of a reference's name in the legend
COLUMNS = 4
LEAST, KEY = 1.05, 0.22  # inches: a panel's width in a paper, a line of the legend


def curve_table(runs: Mapping[str, Sequence[Record]]) -> pd.DataFrame:
    """The errors of each treatment after each epoch, over the seeds that converged, or
    over those that came so far where none did.

    Columns: treatment, epoch, n, mean, low, high (the lowest and the highest seed) of
    the test error, and train_error, the mean over the seeds.
    """
    kept = {
        treatment: [record for record in records if converged(record)] or records
        for treatment, records in runs.items()
    }
    rows = [
        {
            "treatment": treatment,
            "seed": record["seed"],
            "epoch": point["epoch"],
            "test": point["test_error"],
            "train": point.get("train_error", math.nan),
        }
        for treatment, records in kept.items()
        for record in records
        for point in record["curve"]
        if point.get("test_error") is not None
    ]
    columns = ["treatment", "seed", "epoch", "test", "train"]
    table = pd.DataFrame(rows, columns=columns)
    grouped = table.groupby(["treatment", "epoch"], sort=False)
    return grouped.agg(
        n=("seed", "count"),
        mean=("test", "mean"),
        low=("test", "min"),
        high=("test", "max"),
        train_error=("train", "mean"),
    ).reset_index()


def learning_curves(
    curves: pd.DataFrame,
    lost: Mapping[str, int],
    *,
    reference: str,
    title: str = "",
    origin: Origin = NOWHERE,
    look: Look = SCREEN,
) -> Figure:
    """Mean test error with the band of its seeds, beside that of the reference.

    `curves` is a `curve_table`; `lost` counts the runs that diverged or collapsed.
    """
    names = list(dict.fromkeys(curves["treatment"]))
    with matplotlib.style.context(["default", look.style]):
        columns, wide, high = _panels(look, len(names))
        labels = {name: _label(name, lost.get(name, 0), wide) for name in names}
        lines = [names[i : i + columns] for i in range(0, len(names), columns)]
        heads = [max(LINE * SMALL * len(labels[name]) for name in row) for row in lines]
        width = look.width or look.margin + columns * (LEFT + wide) + 2 * look.margin
        handles = _handles(_other(reference, look), curves)
        rows, beside = legend_lines(handles, look)
        key = 0.13 + KEY * rows
        body = key + sum(heads) + len(lines) * (high + BELOW) + 0.15
        title = title or finding(curves, reference, lost)
        canvas, top = titled_canvas(width, body, title, _caption(curves), origin, look)
        canvas.legend(top, handles, beside)
        y, tables = top + key, dict(list(curves.groupby("treatment")))
        for row, head in zip(lines, heads, strict=True):
            for i, name in enumerate(row):
                x = look.margin + LEFT + i * (LEFT + wide)
                below = y + head - LINE * SMALL * len(labels[name])
                canvas.write(x, below, labels[name], SMALL)
                axes = canvas.axes(x, y + head, wide, high)
                _draw(axes, tables[name], tables.get(reference, curves[:0]))
                _dress(axes, curves)
            y += head + high + BELOW
        canvas.write(width / 2, y - 0.02, ["epoch"], BODY, ha="center")
    return canvas.figure


def _panels(look: Look, treatments: int) -> tuple[int, float, float]:
    """How many panels stand beside each other, and their width and height in inches."""
    if look.width is None:
        return min(COLUMNS, max(3, treatments)), WIDTH, HEIGHT
    inner = look.width - 2 * look.margin - 0.1  # half of the last epoch's number
    most = max(1, min(treatments, int(inner / (LEFT + LEAST))))
    wide = min(inner / most - LEFT, 2 * WIDTH)
    return most, wide, min(HEIGHT, 0.6 * wide)


def finding(
    curves: pd.DataFrame, reference: str, lost: Mapping[str, int] | None = None
) -> str:
    """One sentence: which treatment ends lowest, and where the reference ends.

    lost: the runs of treatments that diverged or collapsed, whose means leave them out:
    no such treatment is said to end lowest, unless there is no other.
    """
    last = curves[curves["epoch"] == curves["epoch"].max()]
    broken = last["treatment"].map(lambda name: (lost or {}).get(name, 0) > 0)
    whole = last if broken.all() else last[~broken]
    best = whole.sort_values(["mean", "treatment"]).iloc[0]
    error = decimals(100 * best["mean"])
    lead = f"{best['treatment']} ends lowest, at {error} % test error"
    if broken.any():
        lead += f" (runs of {broken.sum()} others are lost)"
    at = last[last["treatment"] == reference]["mean"]
    if best["treatment"] == reference or at.empty:
        return lead
    return f"{lead}; {reference} ends at {decimals(100 * at.iloc[0])} %"


def _label(name: str, lost: int, width: float) -> list[str]:
    said = wrap(f"{lost} diverged or collapsed", width, SMALL) if lost else []
    return wrap(name, width, SMALL) + said


def _draw(axes: Axes, table: pd.DataFrame, reference: pd.DataFrame) -> None:
    """Lines with a band; of a single epoch dots with a bar, which lines do not show."""
    dots = _dots(table)
    mean = 100 * reference["mean"]
    axes.plot(reference["epoch"], mean, color=MID_GREY, lw=1.1, **_dots(reference))
    low, high = 100 * table["low"], 100 * table["high"]
    if dots:
        axes.vlines(table["epoch"], low, high, color=SEEDS, linewidth=5)
    axes.fill_between(table["epoch"], low, high, color=SEEDS, linewidth=0, alpha=0.7)
    train = 100 * table["train_error"]
    axes.plot(table["epoch"], train, color=BLUE, lw=0.8, ls=":", **_dots(table, "x"))
    axes.plot(table["epoch"], 100 * table["mean"], color=BLUE, linewidth=1.4, **dots)


def _dots(curve: pd.DataFrame, marker: str = "o") -> dict[str, Any]:
    """The marks of a curve of one epoch."""
    return {"marker": marker, "markersize": 4} if len(curve) == 1 else {}


def _floor(curves: pd.DataFrame) -> float:
    """A third of the lowest test error: what trains below it would take the room."""
    lowest = curves["low"][curves["low"] > 0].min()
    return float(lowest) / 3 if lowest > 0 else 0.0


def _dress(axes: Axes, curves: pd.DataFrame) -> None:
    """The same logarithmic scale for every panel, down to `_floor`."""
    shown = pd.concat([curves["low"], curves["high"], curves["train_error"]])
    positive = 100 * shown[shown > 0]
    least, most = (positive.min(), positive.max()) if len(positive) else (0.1, 100)
    least = max(least, 100 * _floor(curves))
    axes.set_yscale("log")
    axes.set_ylim(0.8 * least, 1.25 * most)
    axes.set_xlim(curves["epoch"].min() - 0.3, curves["epoch"].max() + 0.3)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 3), numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(_ticks(int(curves["epoch"].min()), int(curves["epoch"].max())))
    axes.tick_params(labelsize=SMALL - 0.5, length=2, pad=2)
    axes.tick_params(axis="y", which="minor", length=0)
    axes.grid(color=PALE, linewidth=0.4)
    axes.set_axisbelow(True)
    axes.spines[["right", "top"]].set_visible(False)


def _ticks(first: int, last: int) -> list[int]:
    """The first epoch, and whole ones at even steps up to the last."""
    step = next(
        size for size in (1, 2, 5, 10, 20, 50, 100, 500) if (last - first) / size <= 5
    )
    return [
        first,
        *(
            epoch
            for epoch in range(step, last + 1, step)
            if 2 * (epoch - first) >= step
        ),
    ]


def _other(reference: str, look: Look) -> str:
    """What the line of the reference, the first panel, is called; in a paper as far
    as there is room."""
    name = reference if len(reference) <= SHORT else "the reference"
    if look.width is None:
        return f"test error of {name}"
    said = name if look.narrow else f"test error of {name}"
    return wrap(said, look.width - 0.4, SMALL)[0]


def _handles(other: str, curves: pd.DataFrame) -> list[Line2D | Patch]:
    """The marks as they are drawn: dots where there is one epoch alone."""
    start = curves[curves["epoch"] == curves["epoch"].iloc[0]].iloc[:1]
    single = curves["epoch"].nunique() == 1
    dot, cross = (_dots(start, shape) if single else {} for shape in "ox")
    return [
        Line2D([], [], color=BLUE, lw=1.4, label="test error, %", **dot),
        Patch(color=SEEDS, alpha=0.7, label="lowest to highest seed"),
        Line2D([], [], color=BLUE, lw=0.8, ls=":", label="training error", **cross),
        Line2D([], [], color=MID_GREY, lw=1.1, label=other, **dot),
    ]


def rungs(treatments: pd.Series) -> str:
    """What a + before a treatment's name means, if there is one."""
    adds = treatments.str.startswith("+ ").any()
    return "A + adds to all the changes before it on the ladder." if adds else ""


def _caption(curves: pd.DataFrame) -> str:
    parts = [
        f"{runs_in_words(curves['n'])}; lines are means over the seeds that converge, "
        "bands no intervals.",
        "The training error is counted as each batch is first seen.",
        "Where it is below a third of the lowest test error it is not shown."
        if (curves["train_error"] < _floor(curves)).any()
        else "",
        "Nothing is selected on these curves.",
        rungs(curves["treatment"]),
    ]
    return " ".join(filter(None, parts))
