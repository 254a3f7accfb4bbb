"""What a person wants to know when runs have ended: how well, how sure, and what next.

The result is one line. What stands beside it, on stderr, is the error by epoch, a run
that reads no better than a guess, and the command that comes next.
"""

import math
from collections.abc import Mapping, Sequence

from lenet.config import Places, Value, as_typed
from lenet.records.record_types import Record
from lenet.records.run_record import guessing, test_error
from lenet.rounding import decimals, percent

SHOWN = 10  # epochs of a curve at most
VERDICT = 6  # seeds from which one comparison can have a verdict


def error_text(errors: Sequence[float]) -> str:
    """The mean test error, and of several seeds its 95 % t interval and its range."""
    mean = sum(errors) / len(errors)
    if len(errors) == 1:
        return f"test error {percent(mean)}"
    from scipy import special  # half a second, which `--help` need not wait for

    squares = sum((error - mean) ** 2 for error in errors)
    deviation = math.sqrt(squares / (len(errors) - 1))
    half = special.stdtrit(len(errors) - 1, 0.975) * deviation / math.sqrt(len(errors))
    low, high, least, most = (
        decimals(100 * error)
        for error in (max(0.0, mean - half), mean + half, min(errors), max(errors))
    )
    interval = f"95 % interval of the mean {low} to {high} %"
    return f"test error {percent(mean)} ({interval}, seeds {least} to {most} %)"


def advice_lines(records: Sequence[Record], places: Places) -> list[str]:
    """The lines that go with the result: the curve, a warning, what to do next."""
    return [
        *curve_lines(records),
        *guesses(records),
        f"next: {following(records, places)}",
    ]


def curve_lines(records: Sequence[Record]) -> list[str]:
    """The mean test error by epoch, of the runs that came to their end."""
    ended = [record for record in records if record["status"] == "finished"]
    points = [record["curve"] for record in ended]
    if not points or len(points[0]) < 2:
        return []
    epochs = [point["epoch"] for point in points[0]]
    means = [
        100 * sum(record[i]["test_error"] for record in points) / len(points)
        for i in range(len(epochs))
    ]
    step = math.ceil(len(epochs) / SHOWN)
    kept = sorted({*range(0, len(epochs), step), len(epochs) - 1})
    said = ", ".join(f"{decimals(means[i])} % after {epochs[i]}" for i in kept)
    return [f"test error by epoch: {said}"]


def guesses(records: Sequence[Record]) -> list[str]:
    """A warning of runs that read no better than a guess, or whose loss ran away."""
    lost = [record for record in records if record["status"] == "diverged"]
    ended = [record for record in records if record["status"] == "finished"]
    poor = [record for record in ended if test_error(record) >= guessing(record)]
    said = []
    if poor:
        count = f"{len(poor)} of {len(records)} runs" if len(records) > 1 else "the run"
        said.append(f"warning: {count} read no better than a guess")
    if lost:
        steps = ", ".join(str(record["diverged_step"]) for record in lost[:SHOWN])
        said.append(f"warning: the loss was no number any more at step {steps}")
    return said


def following(records: Sequence[Record], places: Places) -> str:
    """The command that comes next: another treatment, more seeds, or a picture."""
    output = (
        f" output_dir={places.output_dir}" if places.output_dir != "outputs" else ""
    )
    record, seeds = records[0], len(records)
    if record["status"] == "diverged":
        return "a smaller step, optimizer.lr=<number>"
    if seeds < VERDICT:
        return (
            f"replicates={VERDICT} trains {VERDICT} seeds, with an interval; or lenet "
            f"predict <picture> run={record['run_id'][:8]}{output}"
        )
    treatment = record["treatment"]
    where = output or " output_dir=outputs"
    return (
        f"the same with one level changed, then lenet chart{where} "
        f'"reference=[{record["run_id"][:8]}]" '
        f"epochs={treatment['epochs']} data={treatment['data']}"
    )


def of_multirun(treatment: Mapping[str, Value], swept: Sequence[str], root: str) -> str:
    """What a multirun ends with: the command that charts it.

    treatment: that of its first job; swept: the keys that have several values.
    """
    factors = [key for key in swept if key in treatment]
    if not factors:
        return "next: lenet status lists the runs"
    levels = ",".join(f"{key}={as_typed(treatment[key])}" for key in factors)
    alike = [
        f"{key}={as_typed(treatment[key])}"
        for key in ("epochs", "data")
        if key not in factors
    ]
    words = [f"output_dir={root}", f'"reference=[{levels}]"', *alike]
    return f"next: lenet chart {' '.join(words)}"
