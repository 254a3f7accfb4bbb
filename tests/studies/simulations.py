"""How often intervals hold the truth and families of tests are wrong, by simulation.

python tests/studies/simulations.py   prints the tables of docs/statistics.md (minutes)
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lenet.studies.statistics import (
    SIGNIFICANCE,
    holm,
    max_t,
    new_digits_interval,
    sign_flip,
    smallest_effect,
)

SHAPES: dict[
    str, tuple[Callable[..., npt.NDArray[Any]], float]
] = {  # sampler and mean of one within-block difference
    "normal": (lambda rng, size: rng.normal(size=size), 0.0),
    "skewed": (lambda rng, size: rng.gamma(4, size=size), 4.0),
    "exponential": (lambda rng, size: rng.exponential(size=size), 1.0),
    "counts": (lambda rng, size: rng.poisson(90, size) - rng.poisson(100, size), -10.0),
    "ties": (lambda rng, size: rng.integers(-1, 2, size), 0.0),
}


COLLAPSES = (0.05, 0.1, 0.25)  # shares of blocks in which a run collapses


def coverage(
    blocks: int, shape: str, simulations: int = 2_000, seed: int = 0, draws: int = 5_000
) -> float:
    """Share of simulated 95 % intervals that hold the true mean; `shape` as in SHAPES.

    `counts` are differences of numbers of misread digits, `ties` are -1, 0 or 1.
    """
    sampler, mean = SHAPES[shape]
    sample = sampler(np.random.default_rng(seed), (simulations, blocks))
    held = 0
    for part in np.array_split(sample.astype(np.float64), max(1, simulations // 100)):
        _, low, high = sign_flip(part, draws=draws)
        held += int(((low <= mean) & (mean <= high)).sum())
    return held / simulations


def collapse_coverage(
    blocks: int, share: float, simulations: int = 2_000, seed: int = 0
) -> float:
    """Share of simulated 95 % intervals that hold the true mean, in points, where a run
    collapses in that share of the blocks and is counted in the mean: that moves the
    block by 2.75 points, and blocks differ by 0.1 otherwise."""
    rng = np.random.default_rng(seed)
    lost = rng.random((simulations, blocks)) < share
    sample = rng.normal(0, 0.1, (simulations, blocks)) + 2.75 * lost
    _, low, high = sign_flip(sample, draws=5_000)
    return float(((low <= 2.75 * share) & (2.75 * share <= high)).mean())


def new_digits_coverage(
    blocks: int, images: int = 1_000, simulations: int = 2_000, seed: int = 0
) -> float:
    """Share of simulated new-digits intervals that hold the true difference of errors.

    A tenth of the images are hard: the arm misreads one with chance a u, the reference
    with b v; u and v are uniform in (0, 0.8), the same for half of the images; a and b
    are uniform in (0.6, 1) and (0.8, 1.2) and belong to the seed.
    """
    rng = np.random.default_rng(seed)
    held = 0
    for _ in range(simulations):
        hard = 0.8 * (rng.random(images) < 0.1)
        u, other = rng.random((2, images))
        v = np.where(rng.random(images) < 0.5, u, other)
        a, b = rng.uniform([[0.6], [0.8]], [[1.0], [1.2]], (2, blocks))
        chance = rng.random((2, blocks, images))
        arm, reference = (
            chance[0] < np.outer(a, hard * u),
            chance[1] < np.outer(b, hard * v),
        )
        low, high = new_digits_interval(arm.astype(np.float64) - reference)
        held += low <= 0.1 * 0.8 * 0.5 * (0.8 - 1.0) <= high
    return held / simulations


def family(
    rng: np.random.Generator, shape: str, tests: int, blocks: int, alone: bool = False
) -> npt.NDArray[np.float64]:
    """Differences [test, block] of levels that change nothing to one reference.

    The errors of all runs are of one shape; or, `alone`, those of the levels are and
    the reference's are normal: the means are equal then, the distributions are not.
    """
    sampler, mean = SHAPES[shape]
    runs = sampler(rng, (tests + 1, blocks)).astype(np.float64) - mean
    reference = rng.normal(0, runs.std() / 2, blocks) if alone else runs[0]
    return runs[1:] - reference


def family_wise_error(
    blocks: int, tests: int, shape: str, simulations: int = 2_000, alone: bool = False
) -> dict[str, float]:
    """Share of families without any effect that have a verdict nevertheless."""
    rng, wrong = np.random.default_rng(8), {"max-T": 0, "Holm": 0, "alone": 0}
    for _ in range(simulations):
        d = family(rng, shape, tests, blocks, alone)
        p = sign_flip(d)[0]
        for name, adjusted in (("max-T", max_t(d)), ("Holm", holm(p)), ("alone", p)):
            wrong[name] += int(adjusted.min() <= SIGNIFICANCE)
    return {name: count / simulations for name, count in wrong.items()}


def power(blocks: int, tests: int, simulations: int = 2_000) -> dict[str, float]:
    """Share of simulations that find the one effect of a family, the size of which is
    that of `smallest_effect`: planned to be found in 80 %."""
    rng, counts = np.random.default_rng(9), {"max-T": 0, "Holm": 0}
    size = smallest_effect(blocks, np.sqrt(2), tests)
    for _ in range(simulations):
        d = family(rng, "normal", tests, blocks)
        d[0] += size
        adjusted = {"max-T": max_t(d), "Holm": holm(sign_flip(d)[0])}
        for name, p in adjusted.items():
            counts[name] += int(p[0] <= SIGNIFICANCE)
    return {name: count / simulations for name, count in counts.items()}


def family_table(tests: int = 15, simulations: int = 2_000) -> pd.DataFrame:
    """Family-wise error per shape and power, of max-T and Holm at n = 9 and 12."""
    rows: dict[str, dict[str, float]] = {}
    for blocks in (9, 12):
        for shape in SHAPES:
            for alone in (False, True):
                label = f"{shape}, of the levels alone" if alone else shape
                wrong = family_wise_error(blocks, tests, shape, simulations, alone)
                row = rows.setdefault(label, {})
                row |= {f"{k}, n = {blocks}": wrong[k] for k in ("max-T", "Holm")}
        shares = power(blocks, tests, simulations)
        row = rows.setdefault("power", {})
        row |= {f"{k}, n = {blocks}": share for k, share in shares.items()}
    return pd.DataFrame(rows).T


def coverage_table(
    blocks: Sequence[int] = (5, 10, 20), simulations: int = 2_000
) -> pd.DataFrame:
    """Coverage of the 95 % intervals: a row per shape of difference, a column per n."""
    rows = {s: {n: coverage(n, s, simulations) for n in blocks} for s in SHAPES}
    rows["new digits"] = {n: new_digits_coverage(n, 1_000, simulations) for n in blocks}
    for share in COLLAPSES:
        name = f"collapse in {share:.0%} of blocks, counted".replace("%", " %")
        rows[name] = {n: collapse_coverage(n, share, simulations) for n in blocks}
    return pd.DataFrame(rows).T


def main() -> None:
    """Print the tables in Markdown."""
    intervals, families = coverage_table(), family_table()
    intervals.columns = [f"n = {n}" for n in intervals.columns]
    for what, table in (("differences", intervals), ("errors of runs", families)):
        print(f"| {what} |" + "".join(f" {name} |" for name in table.columns))
        print("|---" * (1 + len(table.columns)) + "|")
        for shape, row in table.iterrows():
            print(f"| {shape} |" + "".join(f" {100 * share:.1f} % |" for share in row))


if __name__ == "__main__":
    main()
