"""How often the intervals of lenet/effect.py hold the truth, by simulation.

python tests/simulations.py     prints the table that CONTRIBUTING shows (minutes)
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lenet.effect import new_digits_interval, sign_flip

SHAPES: dict[
    str, tuple[Callable[..., npt.NDArray[Any]], float]
] = {  # sampler and mean of one within-block difference
    "normal": (lambda rng, size: rng.normal(size=size), 0.0),
    "skewed": (lambda rng, size: rng.gamma(4, size=size), 4.0),
    "exponential": (lambda rng, size: rng.exponential(size=size), 1.0),
    "counts": (lambda rng, size: rng.poisson(90, size) - rng.poisson(100, size), -10.0),
    "ties": (lambda rng, size: rng.integers(-1, 2, size), 0.0),
}


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
        _, limits = sign_flip(part, (0.95,), draws)
        low, high = limits[0]
        held += int(((low <= mean) & (mean <= high)).sum())
    return held / simulations


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


def coverage_table(
    blocks: Sequence[int] = (5, 10, 20), simulations: int = 2_000
) -> pd.DataFrame:
    """Coverage of the 95 % intervals: a row per shape of difference, a column per n."""
    rows = {s: {n: coverage(n, s, simulations) for n in blocks} for s in SHAPES}
    rows["new digits"] = {n: new_digits_coverage(n, 1_000, simulations) for n in blocks}
    return pd.DataFrame(rows).T


def main() -> None:
    """Print the table in Markdown."""
    found = coverage_table()
    print("| differences |" + "".join(f" n = {n} |" for n in found.columns))
    print("|---" * (1 + len(found.columns)) + "|")
    for shape, row in found.iterrows():
        print(f"| {shape} |" + "".join(f" {100 * share:.1f} % |" for share in row))


if __name__ == "__main__":
    main()
