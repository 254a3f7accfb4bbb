"""Figures 5, 6 and 8 of the paper again, and the readings of what it leaves open.

python scripts/sweep.py design=paper_1998    and so with paper_1998_nearer,
    paper_1998_size, paper_1998_distorted and those of READINGS
python scripts/paper_1998.py [output_dir=outputs] [data_dir=...]

Draws over the published values: the error after each pass, the error by the size of the
training set, the test patterns that most seeds get wrong, and the first passes of each
reading. Writes and prints them as tables. What was published is of one run each: it is
compared with the 95 % prediction interval for one run, not with that of our mean.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from lenet.config import Refusal
from lenet.figures.canvas import BLUE, GREY
from lenet.figures.canvas import ORANGE as RED
from lenet.records import run_record
from lenet.records.record_types import Record
from lenet.report import study_report
from lenet.rounding import decimals
from lenet.studies import study
from lenet.studies.origin import Origin
from lenet.studies.statistics import prediction_interval
from lenet.terminal import command, say, typed
from lenet.training import data

READINGS = {  # a table and a figure each, of these studies
    "paper_readings": ("paper_readings", "paper_readings_more", "paper_eq9_j"),
    "paper_closed": ("paper_closed", "paper_closed_more"),
}
# Fig. 5, read from the drawing, +-0.03; the training error is that of the presentation.
TEST = [2.65, 2.24, 1.48, 1.43, 1.43, 1.09, 1.04, 1.07, 0.99, 0.96, 0.96, 0.99]
TEST += [0.96] * 8
TRAIN = [4.89, 3.04, 1.77, 1.48, 1.22, 0.91, 0.78, 0.70, 0.57, 0.49, 0.47, 0.44, 0.41]
TRAIN += [0.39]  # what is legible of it; 0.35 to 0.36 at the end
# Fig. 6: images in the training set, distorted or not: test and training error.
SIZES = {"15,000": 1.68, "30,000": 1.14, "60,000": 0.95}
SIZES |= {"60,000 distorted": 0.82, "distorted by half": 0.82}
# Readings that are as near at first, to the end: of which study, and what they change.
NEARER: dict[str, tuple[str, dict[str, Any]]] = {
    "eq. 9, j = 1": ("paper_1998_nearer", {"head": "rbf_map", "head.j": 1.0}),
    "eq. 9, j = 3": ("paper_1998_nearer", {"head": "rbf_map", "head.j": 3.0}),
    "LUSH's init": ("paper_1998_nearer", {"init": "lush"}),
    "eq. 9, j = 0.5, new seeds": ("paper_eq9_20", {"head": "rbf_map", "head.j": 0.5}),
    "eq. 9, j = 1, new seeds": ("paper_eq9_20", {"head": "rbf_map", "head.j": 1.0}),
    "eq. 9, j = 2, new seeds": ("paper_eq9_20", {"head": "rbf_map", "head.j": 2.0}),
    "eq. 9, j = 10, new seeds": ("paper_eq9_20", {"head": "rbf_map", "head.j": 10.0}),
}
FIRST = 3  # the pass from which on a reading is to follow the curve
SHOWN = 60  # patterns of Fig. 8
COLUMNS = 4  # of the figure of readings


def group(records: list[Record], **changes: Any) -> list[Record]:
    """The finished runs that differ from the preset in these keys alone."""
    base: dict[str, Any] = {"train_size": None, "augmentation": "none", "head": "rbf"}
    wanted = {**base, "init": "lecun_sqrt", **changes}
    return [
        record
        for record in records
        if record["status"] == "finished"
        and all(record["treatment"][key] == value for key, value in wanted.items())
    ]


def error_curves(records: list[Record], key: str) -> "np.ndarray[Any, Any]":
    """Errors in % as [run, pass]."""
    return 100 * np.array(
        [[dict(point)[key] for point in record["curve"]] for record in records]
    )


def figure_5(records: list[Record], title: str) -> Figure:
    """Mean and range of single runs per pass, test and training, over the published
    curve; a circle is filled where that lies outside."""
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    test, train = (
        error_curves(records, "test_error"),
        error_curves(records, "train_error"),
    )
    passes, outside = np.arange(1, test.shape[1] + 1), 0
    for values, published, color, name in (
        (test, TEST, BLUE, "test"),
        (train, TRAIN, RED, "training, as presented"),
    ):
        low, high = np.array([prediction_interval(at) for at in values.T]).T
        axes.fill_between(passes, low, high, color=color, alpha=0.2, lw=0)
        axes.plot(passes, values.mean(0), color=color, label=f"{name}: mean of runs")
        axes.plot([], [], "o", mfc="none", color=color, label=f"{name}: 1998")
        for p, at in enumerate(published):
            beyond = not low[p] <= at <= high[p]
            axes.plot(p + 1, at, "o", mfc=color if beyond else "none", color=color)
            outside += beyond
    axes.set(xlabel="pass", ylabel="error, %", ylim=(0, 5.2), xticks=passes)
    axes.legend(frameon=False)
    last = test[:, -1]
    low, high = map(decimals, prediction_interval(last))
    axes.set_title(
        f"{title}: {decimals(last.mean())} % after {len(passes)} passes, single runs "
        f"{low} to {high} %; 0.95 % in 1998",
        loc="left",
        weight="bold",
        fontsize=9.5,
    )
    caption = (
        f"n = {len(records)} seeds; band: 95 % prediction interval for one run. "
        f"Circles: Fig. 5, p. 10, one run; filled: outside the band\n({outside} of "
        f"{len(TEST) + len(TRAIN)}). {decimals(minutes(records), 1)} minutes of a "
        f"processor a run; two to three days in 1998.\n{credit(records)}"
    )
    figure.supxlabel(caption, fontsize=8, color=GREY)
    return figure


def credit(records: list[Record]) -> str:
    """What a caption says of where the runs come from."""
    return str(Origin(code=run_record.trained_with(records)))


def minutes(records: list[Record]) -> float:
    """The processor time of a run, on average: its share of its stack's."""
    return sum(map(run_record.spent, records)) / len(records) / 60


def figure_6(sizes: dict[str, list[Record]]) -> Figure:
    """Test error by training set: every run, their mean, where a single one is
    expected, and the published value, which is of one."""
    figure = Figure(figsize=(7.5, 4), layout="constrained")
    axes = figure.subplots()
    outside = []
    for place, (name, losses) in enumerate(sizes.items()):
        errors = error_curves(losses, "test_error")[:, -1]
        axes.plot([place] * len(errors), errors, "o", color=BLUE, alpha=0.35)
        axes.plot([place - 0.2, place + 0.2], [errors.mean()] * 2, color=BLUE, lw=2)
        low, high = prediction_interval(errors)
        axes.plot([place + 0.3] * 2, [low, high], color=BLUE, lw=1, marker="_")
        axes.plot(place + 0.3, SIZES[name], "D", color=RED)
        axes.annotate(decimals(errors.mean()), (place - 0.42, errors.mean()))
        if not low <= SIZES[name] <= high:
            outside.append(name)
    axes.plot([], [], "D", color=RED, label="published (Fig. 6, p. 11)")
    axes.plot([], [], color=BLUE, lw=2, label="mean over seeds")
    axes.plot([], [], color=BLUE, lw=1, marker="_", label="95 %, one run")
    axes.set_xticks(
        range(len(sizes)),
        [f"{name}\nn = {len(losses)}" for name, losses in sizes.items()],
    )
    axes.set(ylabel="test error after 20 passes, %", xlim=(-0.6, len(sizes) - 0.4))
    beyond = f"outside at {' and '.join(outside)}" if outside else "always inside"
    axes.set_title(
        f"1998 against the range of single runs, by training set: {beyond}",
        loc="left",
        weight="bold",
        fontsize=9.5,
    )
    axes.legend(frameon=False)
    every = [record for losses in sizes.values() for record in losses]
    figure.supxlabel(credit(every), fontsize=8, color=GREY)
    return figure


def figure_8(records: list[Record], data_dir: str | None) -> Figure:
    """The test patterns that most seeds get wrong, with label and share of seeds."""
    digits = data.load_data("mnist", data_dir)
    right = np.stack([run_record.right_images(record) for record in records])
    missed = (~right).mean(0)
    worst = np.argsort(-missed, kind="stable")[:SHOWN]
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    for axes, index in zip(figure.subplots(6, 10).flat, worst, strict=True):
        axes.imshow(digits.test_images[index], cmap="gray_r")
        label = int(digits.test_labels[index])
        share = decimals(100 * missed[index], 0)
        axes.set_title(f"{label}  {share} %", fontsize=8)
        axes.axis("off")
    always = int((missed == 1).sum())
    figure.suptitle(
        f"{always} test patterns are missed by all {len(records)} seeds; "
        "label and share of seeds that miss it",
        weight="bold",
    )
    figure.supxlabel(credit(records), fontsize=8, color=GREY)
    return figure


def by_reading(output: Path, studies: Iterable[str]) -> dict[str, list[Record]]:
    """The finished runs of each reading in the studies, by its name in the design."""
    read: dict[str, list[Record]] = {}
    for name in studies:
        plan, records = study.read_study(output / name)
        runs = {
            record["run_id"]: record
            for record in records
            if record["status"] == "finished"
        }
        for arm in plan["arms"]:
            chosen = [runs[run_id] for run_id in arm["runs"] if run_id in runs]
            read.setdefault(arm["levels"].get("reading", "4 h"), chosen)
    return {name: runs for name, runs in read.items() if runs}


def table_of_readings(records: dict[str, list[Record]]) -> pd.DataFrame:
    """Training and held-out error of each reading after each pass, in %, and how far
    each is from Fig. 5 on average over the passes, the nearest in training first; where
    records have it, the range of step sizes of each pass too."""
    lines = []
    for name, runs in records.items():
        train, held_out = (
            error_curves(runs, key).mean(0)
            for key in ("train_error", "validation_error")
        )
        passes = len(train)
        off = [
            np.abs(mean - published[:passes]).mean()
            for mean, published in ((train, TRAIN), (held_out, TEST))
        ]
        line = {"reading": name, "n": len(runs), "train_off": off[0]}
        line |= {"held_out_off": off[1]}
        line |= {f"train_{p + 1}": train[p] for p in range(passes)}
        line |= {f"held_out_{p + 1}": held_out[p] for p in range(passes)}
        lines.append(line | ranges(runs))
    return pd.DataFrame(lines).sort_values("train_off", ignore_index=True)


def ranges(runs: list[Record]) -> dict[str, float]:
    """The least and the largest step size of each pass over all runs, in millionths."""
    limits: dict[str, float] = {}
    for key, most in (("least_step", min), ("largest_step", max)):
        for p, points in enumerate(
            zip(*(record["curve"] for record in runs), strict=True)
        ):
            if all(key in point for point in points):
                limits[f"{key}_{p + 1}"] = 1e6 * most(point[key] for point in points)
    return limits


def figure_readings(table: pd.DataFrame, records: list[Record]) -> Figure:
    """The first passes of every reading over those of Fig. 5, a panel for each."""
    count = -(-len(table) // COLUMNS)
    figure = Figure(figsize=(10, 2.1 * count + 1.2), layout="constrained")
    panels = list(figure.subplots(count, COLUMNS, sharex=True, sharey=True).flat)
    for axes, (_, line) in zip(panels, table.iterrows(), strict=False):
        draw_reading(axes, line)
    for axes in panels[len(table) :]:
        axes.axis("off")
    for axes in panels[max(0, len(table) - COLUMNS) : len(table)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("pass")
    for axes in panels[::COLUMNS]:
        axes.set_ylabel("error, %")
    figure.suptitle(
        f"{len(table)} readings of the paper over Fig. 5, nearest in training first",
        weight="bold",
    )
    free = panels[len(table) :]
    if free:
        free[0].legend(*legend_marks(), loc="center", frameon=False)
    else:
        figure.legend(*legend_marks(), loc="outside right upper", frameon=False)
    seeds = " to ".join(str(n) for n in sorted({table["n"].min(), table["n"].max()}))
    figure.supxlabel(
        f"Means of {seeds} seeds, beside one run of 1998. h: the curvature "
        "by which each weight's step is divided; 4 h: four times as much, as in\n"
        "preset=paper. Held out: 5,000 training images. Circles: Fig. 5, p. 10.\n"
        f"{credit(records)}",
        fontsize=8,
        color=GREY,
    )
    return figure


KINDS = (
    ("held_out", TEST, BLUE, "on held-out images"),
    ("train", TRAIN, RED, "in training, as presented"),
)


def draw_reading(axes: Axes, line: pd.Series) -> None:
    """One reading: its curves, the circles of Fig. 5, and how far off it is on average
    in training and on held-out images."""
    top = 12
    for (key, published, color, _), height in zip(KINDS, (7.5, 4.5), strict=True):
        values = line.filter(regex=f"^{key}_[0-9]").to_list()
        passes = range(1, len(values) + 1)
        axes.plot(passes, published[: len(values)], "o", mfc="none", color=color)
        axes.plot(passes, values, color=color)
        if min(values) > top:
            off = f"off the scale, {decimals(values[-1], 0)} %"
            axes.text(3, height, off, ha="center", fontsize=8, color=color)
    axes.set(yscale="log", ylim=(0.7, top), xticks=list(passes))
    axes.set_yticks([1, 2, 5, 10], ["1", "2", "5", "10"])
    axes.set_yticks([], minor=True)
    off = " and ".join(decimals(line[f"{key}_off"]) for key in ("train", "held_out"))
    axes.set_title(f"{line['reading']}\n{off} points off", fontsize=8)


def legend_marks() -> tuple[list[Line2D], list[str]]:
    """The marks of a reading and what they are."""
    lines = [Line2D([], [], color=color) for _, _, color, _ in KINDS]
    circle = Line2D([], [], color=GREY, marker="o", mfc="none", lw=0)
    return [*lines, circle], [*(name for *_, name in KINDS), "1998 (Fig. 5)"]


def table_row(what: str, values: "np.ndarray[Any, Any]", published: float) -> list[Any]:
    """A row of the table: what some runs gave, where a single one is expected, what was
    published, and whether that lies there."""
    low, high = prediction_interval(values)
    spread = [values.mean(), values.std(ddof=1), low, high]
    return [what, len(values), *spread, published, low <= published <= high]


def rows(
    followed: dict[str, list[Record]], sizes: dict[str, list[Record]]
) -> pd.DataFrame:
    """What Fig. 5 and 6 say, beside the published values, in %; of Fig. 5 also how far
    the mean curve is from it, on average over the passes and at the most from pass 3
    on, and how many of its points lie where a single run is expected."""
    table = []
    for reading, runs in followed.items():
        for kind, published, final in (("test", TEST, 0.95), ("train", TRAIN, 0.35)):
            values, what = (
                error_curves(runs, f"{kind}_error"),
                f"Fig. 5, {reading}, {kind}",
            )
            for p in (1, 3, 6, 10):
                at = values[:, p - 1]
                table.append(table_row(f"{what}, pass {p}", at, published[p - 1]))
            table.append(table_row(f"{what}, pass 20", values[:, -1], final))
            off = np.abs(values.mean(0)[: len(published)] - published)
            late = off[FIRST - 1 :]
            far = {"distance": off.mean(), f"farthest from pass {FIRST}": late.max()}
            far[f"passes from {FIRST} farther than 0.1"] = int((late > 0.1).sum())
            for name, number in far.items():
                row = [f"{what}, {name}", len(runs), number]
                table.append([*row, *[None] * 3, 0.0, None])
            ranges = [prediction_interval(at) for at in values.T[: len(published)]]
            pairs = zip(ranges, published, strict=True)
            held = sum(low <= error <= high for (low, high), error in pairs)
            seen = [held, *[None] * 3, len(published), None]
            table.append([f"{what}, points held", len(runs), *seen])
    for name, runs in sizes.items():
        last = error_curves(runs, "test_error")[:, -1]
        table.append(table_row(f"Fig. 6, {name}", last, SIZES[name]))
    columns = ["what", "n", "mean", "sd", "low_run", "high_run", "published", "inside"]
    return pd.DataFrame(table, columns=columns)


def records(
    output: Path,
) -> tuple[dict[str, list[Record]], dict[str, list[Record]]]:
    """The runs of the studies, by reading and by training set."""
    names = ("paper_1998", "paper_1998_size", "paper_1998_distorted")
    preset, others, half = (study.read_study(output / name)[1] for name in names)
    nearer = {name: study.read_study(output / name)[1] for name, _ in NEARER.values()}
    followed = {"eq. 8": group(preset)}
    for reading, (name, changes) in NEARER.items():
        followed[reading] = group(nearer[name], **changes)
    sizes = {
        "15,000": group(others, train_size=15000),
        "30,000": group(others, train_size=30000),
        "60,000": group(preset),
        "60,000 distorted": group(others, augmentation="affine_1998"),
        "distorted by half": group(half, augmentation="affine_1998"),
    }
    if empty := [name for name, runs in {**followed, **sizes}.items() if len(runs) < 2]:
        raise Refusal(f"{output} has too few runs of: {', '.join(empty)}")
    return followed, sizes


def file_name(reading: str) -> str:
    """A reading as part of a file's name: "eq_9_j_1"."""
    return re.sub(r"\W+", "_", reading).lower()


def main() -> None:
    """The entry point."""
    given = typed(sys.argv[1:], {"output_dir": "outputs", "data_dir": ""})
    output = Path(given["output_dir"])
    followed, sizes = records(output)
    runs = {name: by_reading(output, studies) for name, studies in READINGS.items()}
    readings = {name: table_of_readings(read) for name, read in runs.items()}
    figures = {
        "paper_1998/figure_5": figure_5(followed["eq. 8"], "LeNet-5 as published"),
        **{
            f"{name}/figure_5_{file_name(reading)}": figure_5(
                followed[reading], f"With {reading.removesuffix(', new seeds')}"
            )
            for reading, (name, _) in NEARER.items()
        },
        "paper_1998/figure_6": figure_6(sizes),
        "paper_1998/figure_8": figure_8(followed["eq. 8"], given["data_dir"] or None),
        **{
            f"{name}/readings": figure_readings(
                table, [record for read in runs[name].values() for record in read]
            )
            for name, table in readings.items()
        },
    }
    for name, figure in figures.items():
        say("\n".join(map(str, study_report.write_figure(figure, output / name))))
    tables = {
        "paper_1998/figures": rows(followed, sizes),
        **{f"{name}/readings": table for name, table in readings.items()},
    }
    for name, table in tables.items():
        table.to_csv(output / f"{name}.csv", index=False, float_format="%.4f")
        say(table.to_string(index=False, float_format=decimals))


if __name__ == "__main__":
    command(main)
