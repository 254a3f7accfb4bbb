"""The log of LeNet-5 that the authors' later code publishes, and ours beside it.

python scripts/sweep.py design=paper_log
python scripts/paper_log.py [output_dir=outputs] [study=paper_log]

eblearn's demo of MNIST (Sermanet and LeCun) says, after each of 37 passes, the test
error and the range of 1/(mu + h) at the h that it estimates then. Ours is estimated
before a pass: that of pass p + 1 stands beside row p. The log's training error
is that of the weights after a pass, ours that of the images as they are presented.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lenet.config import Refusal
from lenet.figures.canvas import BLUE, GREY, INK, ORANGE
from lenet.records import run_record
from lenet.records.record_types import Record
from lenet.report import study_report
from lenet.rounding import decimals
from lenet.studies import study
from lenet.studies.origin import Origin
from lenet.terminal import command, say, typed

LOG = Path("paper_log") / "published.csv"  # in the folder of studies


def by_squash(folder: Path) -> dict[str, list[Record]]:
    """The finished runs of a study with each squash."""
    plan, records = study.read_study(folder)
    runs = {
        record["run_id"]: record for record in records if record["status"] == "finished"
    }
    read = {
        arm["levels"].get("squash", "tanh"): [
            runs[run_id] for run_id in arm["runs"] if run_id in runs
        ]
        for arm in plan["arms"]
    }
    if not any(read.values()):
        raise Refusal(f"{folder} has no finished run: sweep design={folder.name}")
    return {name: chosen for name, chosen in read.items() if chosen}


def log_table(published: pd.DataFrame, runs: dict[str, list[Record]]) -> pd.DataFrame:
    """The log's rows with ours: errors in %, means over n seeds; of 1/(mu + h) the
    least and the largest over the seeds."""
    joined = published.set_index("pass")[["test_error_percent", "inverse_min"]]
    joined.columns = pd.Index(["log_test", "log_least"])
    for name, chosen in runs.items():
        squash = name.replace(" ", "_")
        rate = chosen[0]["treatment"]["optimizer.lr"]
        for kind in ("test", "train"):
            curves = [[dict(point) for point in record["curve"]] for record in chosen]
            errors = [
                [100 * float(str(point[f"{kind}_error"])) for point in curve]
                for curve in curves
            ]
            passes = range(1, len(errors[0]) + 1)
            joined[f"{squash}_{kind}"] = pd.Series(np.mean(errors, 0), passes)
        steps = [
            [point["least_step"] / rate for point in record["curve"]]
            for record in chosen
        ]
        before = range(len(steps[0]))
        joined[f"{squash}_least_low"] = pd.Series(np.min(steps, 0), before)
        joined[f"{squash}_least_high"] = pd.Series(np.max(steps, 0), before)
    return joined.reset_index()


def log_figure(rows: pd.DataFrame, runs: dict[str, list[Record]]) -> Figure:
    """Test error and the smallest 1/(mu + h) by pass, the log's as circles."""
    drawn = Figure(figsize=(9, 3.6), layout="constrained")
    error, least = drawn.subplots(1, 2)
    error.plot(rows["pass"], rows["log_test"], "o", mfc="none", color=INK)
    least.plot(rows["pass"], rows["log_least"], "o", mfc="none", color=INK)
    for (name, chosen), color in zip(runs.items(), (BLUE, ORANGE), strict=False):
        squash = name.replace(" ", "_")
        label = f"{name}, mean of {len(chosen)} seeds"
        error.plot(rows["pass"], rows[f"{squash}_test"], color=color, label=label)
        between: Any = rows[f"{squash}_least_low"], rows[f"{squash}_least_high"]
        for edge in between:
            least.plot(rows["pass"], edge, color=color, lw=1)
        least.fill_between(rows["pass"], *between, color=color, alpha=0.5, lw=0)
    error.set(yscale="log", xlabel="pass", title="test error, %", ylim=(0.8, 3))
    error.set_yticks([0.8, 1, 1.5, 2, 3], ["0.8", "1", "1.5", "2", "3"])
    error.set_yticks([], minor=True)
    error.legend(frameon=False)
    least.set(yscale="log", xlabel="pass", title="smallest 1/(mu + h), after it")
    least.set_yticks([1, 3, 10, 30], ["1", "3", "10", "30"])
    drawn.suptitle("The log of eblearn (circles) and our h in training", weight="bold")
    every = [record for chosen in runs.values() for record in chosen]
    drawn.supxlabel(
        str(Origin(code=run_record.trained_with(every))), fontsize=8, color=GREY
    )
    return drawn


def main() -> None:
    """The entry point."""
    given = typed(sys.argv[1:], {"output_dir": "outputs", "study": "paper_log"})
    output = Path(given["output_dir"])
    folder = output / given["study"]
    runs = by_squash(folder)
    rows = log_table(pd.read_csv(output / LOG), runs)
    say(
        "\n".join(
            map(str, study_report.write_figure(log_figure(rows, runs), folder / "log"))
        )
    )
    rows.to_csv(folder / "log.csv", index=False, float_format="%.4f")
    say(rows.to_string(index=False, float_format=decimals))


if __name__ == "__main__":
    command(main)
