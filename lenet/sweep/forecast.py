"""What carrying out a plan will take, and whether it can tell anything: before it runs.

Times come from the records made on this machine, the spread between seeds from the
records of the same treatments.
"""

import shutil
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lenet.config import Config, Value, current
from lenet.records.plan import Run
from lenet.records.record_types import Plan, Record
from lenet.rounding import decimals

BYTES = 300_000  # of a run's record and weights: 61,706 numbers and its text
EFFECTS = (0.0010, 0.0005)  # tenth and twentieth of a point: what plans are asked about


def expected_seconds(
    configs: Sequence[Config], known: Iterable[Record], hardware: str
) -> float | None:
    """The seconds that these runs take one after another; None if nothing tells.

    A run takes what runs of its structure took on this hardware, per pass; one of a
    structure that has never run takes what the others of its data and batch size took.
    """
    if not configs:
        return 0.0
    exact, alike = (
        defaultdict[Any, list[float]](list),
        defaultdict[Any, list[float]](list),
    )
    for record in known:
        if record["hardware"] == hardware and record["curve"]:
            rate = record["seconds"] / len(record["curve"])
            config = Config(current(record["treatment"]), record["seed"])
            exact[shape(config)].append(rate)
            alike[kin(config)].append(rate)
    total = 0.0
    for config in configs:
        rates = exact.get(shape(config)) or alike.get(kin(config))
        if not rates:
            return None
        total += statistics.median(rates) * config.number("epochs")
    return total


def shape(config: Config) -> tuple[object, ...]:
    """What decides the time of a pass."""
    from lenet.training.recipe import structure  # with torch

    # Neither seed nor number of passes: a rate is that of one pass.
    return structure(Config({**config.treatment, "epochs": 0}, 0))


def kin(config: Config) -> tuple[Value, ...]:
    """What roughly decides the time of a pass."""
    keys = ("data", "batch_size", "train_size", "validation_size")
    return tuple(config.treatment.get(key) for key in (*keys, "adversary"))


def expected_sd(runs: Sequence[Run]) -> float | None:
    """The median standard deviation, over arms of three blocks and more, of arm minus
    reference; None where there is none."""
    errors = defaultdict[str, dict[int, float]](dict)
    for run in runs:
        if run.error is not None:
            errors[run.arm][run.seed] = run.error
    reference = errors[runs[0].arm]
    spreads = []
    for arm, measured in errors.items():
        seeds = measured.keys() & reference.keys()
        if arm != runs[0].arm and len(seeds) > 2:
            # In pairs, as the chart will measure it: what a seed does to both arms
            # cancels.
            differences = [measured[seed] - reference[seed] for seed in seeds]
            spreads.append(statistics.stdev(differences))
    return statistics.median(spreads) if spreads else None


def family_size(plan: Plan) -> int:
    """The size of the largest family of effects that a study's chart will test."""
    factors = len(plan["levels"])
    # Main effects are one family and pairs another: the larger one asks for more seeds.
    if plan["kind"] in ("factorial", "path"):
        return max(factors, factors * (factors - 1) // 2)
    return max(len(plan["arms"]) - 1, 1)


def verdict(plan: Plan, sd: float | None) -> str:
    """Whether so many seeds can find anything; how many find a tenth of a point, or a
    twentieth, or show that there is no effect of a twentieth."""
    from lenet.studies.statistics import (
        blocks_needed,
        seeds_for_equivalence,
        seeds_for_power,
    )

    count, family = len(plan["seeds"]), family_size(plan)
    needed = blocks_needed()
    text = f"n = {count} over {family} effects: "
    if count < needed:
        text += f"no verdict possible, replicates={needed} is the least"
    else:
        text += f"a verdict is possible (from n = {needed})"
    if sd:
        large, small = (seeds_for_power(effect, sd, family) for effect in EFFECTS)
        nothing = seeds_for_equivalence(sd, EFFECTS[1], family)
        points = [decimals(100 * effect) for effect in EFFECTS]
        text += (
            f"; at the sd of {decimals(100 * sd)} points in the records, 80 % power "
            f"takes n = {large} for {points[0]} points, {small} for {points[1]}, and "
            f"{nothing} for `equivalent` within {points[1]}"
        )
    return text


def duration(taken: float) -> str:
    """Seconds as people say them."""
    minutes = round(taken / 60)
    if minutes < 1:
        return f"{taken:.0f} s"
    return (
        f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    )


def disk(count: int, output_dir: str) -> tuple[int, int]:
    """The bytes that so many runs need, and those that are free."""
    there = Path(output_dir).absolute()
    while not there.exists():
        there = there.parent
    return count * BYTES, shutil.disk_usage(there).free
