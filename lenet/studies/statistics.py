"""How sure an effect is: exact tests, intervals and the power of a number of seeds.

A difference is one block's: runs that share a seed. If a change does nothing, the
difference might as well have the other sign; every test here flips signs of whole
blocks. Arrays in, numbers out; nothing here knows what was measured.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import optimize, stats

Array: TypeAlias = npt.NDArray[np.float64]

SIGNIFICANCE = 0.05
POWER = 0.80
MOST_EXACT = 16  # blocks up to which all 2^n signs are enumerated
DRAWS = 100_000  # signs drawn beyond
TIE = 1e-9  # sums of differences that are this near, by the largest one, are equal


def sign_flip(
    differences: npt.ArrayLike,
    confidence: float = 0.95,
    draws: int = DRAWS,
) -> tuple[Array, Array, Array]:
    """Two-sided sign-flip p [...], and the limits of the interval that inverts it.

    `differences` is [..., block]. Flipping the signs of a subset A of the blocks takes
    2 sum_A (d - theta) from the sum of (d - theta), so theta is rejected from below if
    few subset means lie at or under it: the limits are order statistics of the subset
    means (Hartigan 1969, JASA 64:1303). p <= 1 - confidence exactly if 0 is outside the
    closed interval. Up to 16 blocks all 2^n subsets count; beyond, `draws` seeded ones
    plus the empty one, whose p is valid too (Phipson and Smyth 2010). The interval is
    the whole line where 2/2^n > 1 - confidence.
    """
    d = _finite(differences)
    subsets, total = _subsets(d.shape[-1], draws)
    sums = _sums(d, subsets)
    empty = total - len(subsets)
    count = np.minimum((sums <= 0).sum(-1), (sums >= 0).sum(-1)) + empty
    low, high = np.full(d.shape[:-1], -np.inf), np.full(d.shape[:-1], np.inf)
    k = math.floor((1 - confidence) / 2 * total - empty + 1e-9)
    if k >= 0:
        means = sums / subsets.sum(1)
        means = np.partition(means, (k, len(subsets) - 1 - k), axis=-1)
        low, high = means[..., k], means[..., -1 - k]
    return np.asarray(np.minimum(1.0, 2 * count / total)), low, high


def max_t(differences: npt.ArrayLike, draws: int = DRAWS) -> Array:
    """p of each test [test], adjusted for all of them by what chance does jointly.

    `differences` is [test, block], NaN where a test lacks a block; the p of a row
    without any difference is NaN. Step-down max-T (Westfall and Young 1993): each flip
    of signs turns the blocks of all tests together, so that tests that share a
    reference move together. The statistic is |sum d| / sqrt(sum d^2), for which a test
    alone has the p of `sign_flip`. The j-th largest is held against the largest flipped
    statistic of the tests from the j-th on, and no p is below that of a larger one.
    Of one test it is exact if differences are as likely of either sign, of a family if
    those of a block are so together; tests/simulations.py says what skew costs.
    """
    d = np.nan_to_num(np.asarray(differences, dtype=np.float64))
    adjusted = np.full(len(d), np.nan)
    rows = np.flatnonzero((d != 0).any(axis=1))
    if not len(rows):
        return adjusted
    d = d[rows]
    subsets, total = _subsets(d.shape[1], draws)
    scale = np.sqrt((d**2).sum(axis=1))
    whole = d.sum(axis=1)
    seen = np.abs(whole) / scale
    chance = np.abs(whole[:, None] - 2 * (d @ subsets.T)) / scale[:, None]
    order = np.argsort(-seen)
    largest, most = np.zeros(len(subsets)), np.zeros(len(rows))
    for j in reversed(range(len(rows))):
        largest = np.maximum(largest, chance[order[j]])
        beyond = (largest >= seen[order[j]] - 2 * TIE).sum()
        most[j] = (beyond + total - len(subsets)) / total
    adjusted[rows[order]] = np.maximum.accumulate(most)
    return adjusted


def equivalence(differences: npt.ArrayLike, margin: float, draws: int = DRAWS) -> Array:
    """p [...] of the hypothesis that the effect is `margin` or more, either way.

    Two one-sided sign-flip tests (Schuirmann 1987), of margin - d and of margin + d;
    p is the larger one. It is at most 0.05 exactly if the 90 % interval that inverts
    the test lies inside the margin.
    """
    d = _finite(differences)
    subsets, total = _subsets(d.shape[-1], draws)
    empty = total - len(subsets)
    counts = [
        (_sums(margin - side, subsets) <= 0).sum(axis=-1) + empty for side in (d, -d)
    ]
    return np.asarray(np.maximum(*counts) / total)


def new_digits_interval(
    differences: npt.ArrayLike, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean effect for other seeds *and* other images.

    `differences` is [block, image]. The variance of the mean is s2_seed/n + s2_image/m
    - s2_residual/(n m), from the variances of the block means and of the image means
    and the mean square of what both leave (Cornfield and Tukey 1956); t with n - 1
    degrees. Where the images' own variance is estimated below zero it counts as zero.
    """
    d = np.asarray(differences, dtype=np.float64)
    n, m = d.shape
    if n < 2 or m < 2:
        raise ValueError(f"new digits need 2 blocks and 2 images, not {n} and {m}")
    mean, blocks, images = d.mean(), d.mean(1), d.mean(0)
    s2_seed, s2_image = blocks.var(ddof=1), images.var(ddof=1)
    squares = ((d - mean) ** 2).sum() - (n - 1) * m * s2_seed - (m - 1) * n * s2_image
    s2_residual = squares / ((n - 1) * (m - 1))
    variance = s2_seed / n + max(0.0, s2_image / m - s2_residual / (n * m))
    half = stats.t.isf((1 - confidence) / 2, n - 1) * math.sqrt(variance)
    return float(mean - half), float(mean + half)


def prediction_interval(
    values: npt.ArrayLike, confidence: float = 0.95
) -> tuple[float, float]:
    """Where one more run of the same kind is expected: mean +- t s sqrt(1 + 1/n).

    `values` are of single runs. A published number of one run is compared with this,
    not with the narrower interval of our mean.
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    t = stats.t.isf((1 - confidence) / 2, n - 1)
    half = t * x.std(ddof=1) * math.sqrt(1 + 1 / n)
    return float(x.mean() - half), float(x.mean() + half)


def share_interval(
    count: int, total: int, confidence: float = 0.95
) -> tuple[float, float]:
    """The exact interval of a share, `count` of `total` (Clopper and Pearson 1934)."""
    found = stats.binomtest(count, total).proportion_ci(confidence, method="exact")
    return float(found.low), float(found.high)


def mcnemar(differences: npt.ArrayLike) -> float:
    """Exact two-sided p that a level and its reference lose runs equally often.

    `differences` [block] are of counts: pairs of runs of which the level's alone was
    lost, minus those of which the reference's alone was. With one pair to a block this
    is McNemar's exact test (1947), binomial over the pairs that differ; with several,
    blocks change sign as a whole. 1 where no pairs differ.
    """
    d = np.asarray(differences, dtype=np.float64)
    d = d[d != 0]  # the others are the same under both signs
    return float(sign_flip(d)[0]) if len(d) else 1.0


def holm(p: npt.ArrayLike) -> Array:
    """Holm's adjusted p [test]: the running maximum of (k - j) p_(j); NaN stays out.

    Controls the family-wise error without assumptions (Holm 1979).
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    order = np.argsort(values)[: np.isfinite(values).sum()]
    raised = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(raised))
    return adjusted


def blocks_needed(significance: float = SIGNIFICANCE) -> int:
    """Fewest blocks that can give a verdict: the least p of n blocks is 2 / 2^n."""
    return math.ceil(math.log2(2 / significance))


def seeds_for_power(
    effect: float, sd: float, tests: int = 1, power: float = POWER
) -> int:
    """Seeds that find `effect` with `power` among `tests`, by the t test.

    `sd` is that of the within-block differences: sqrt(2) times the sd of single runs
    where those are independent. Noncentral t at alpha / tests, two-sided: max-T, which
    knows how the tests hang together, needs no more.
    """
    enough = _fewest(lambda n: _chance(abs(effect) / sd, n, tests) >= power)
    return max(blocks_needed(), enough)


def smallest_effect(n: int, sd: float, tests: int = 1, power: float = POWER) -> float:
    """The effect that `n` seeds find with `power`: the inverse of seeds_for_power.

    Infinite where so few blocks can give no verdict, and NaN where there is no sd.
    """
    if math.isnan(sd):
        return math.nan
    if n < blocks_needed():
        return math.inf
    t = float(stats.t.isf(SIGNIFICANCE / tests / 2, n - 1))
    most = (2 * t + 4) / math.sqrt(n)
    found = optimize.brentq(lambda d: _chance(d, n, tests) - power, 0, most)
    return float(found) * sd


def seeds_for_equivalence(
    sd: float, margin: float = 0.0005, tests: int = 1, power: float = POWER
) -> int:
    """Seeds that show one of `tests` effects to be within the margin if it is nil.

    Two one-sided t tests at alpha / tests; the chance of 2 Phi((margin - t s/sqrt(n))
    sqrt(n)/sd) - 1, where positive, averaged over 2,000 quantiles of s, the sd that
    will be observed.
    """

    def found(n: int) -> bool:
        quantiles = (np.arange(2_000) + 0.5) / 2_000
        seen = sd * np.sqrt(stats.chi2.ppf(quantiles, n - 1) / (n - 1))
        t = stats.t.isf(SIGNIFICANCE / tests, n - 1)
        reach = (margin * math.sqrt(n) - t * seen) / sd
        return bool(np.clip(2 * stats.norm.cdf(reach) - 1, 0, None).mean() >= power)

    return max(blocks_needed(), _fewest(found))


def _finite(differences: npt.ArrayLike) -> Array:
    """The differences as an array, of one block at least and none of them missing."""
    d = np.asarray(differences, dtype=np.float64)
    if d.shape[-1] < 1 or not np.isfinite(d).all():
        raise ValueError("differences must be finite and of at least one block")
    return d


def _sums(differences: Array, subsets: Array) -> Array:
    """Sums [..., subset] of the differences; those that rounding keeps from 0 are 0."""
    sums: Array = differences @ subsets.T
    sums[np.abs(sums) <= TIE * np.abs(differences).max(axis=-1, keepdims=True)] = 0
    return sums


@lru_cache(maxsize=4)
def _subsets(blocks: int, draws: int) -> tuple[Array, int]:
    """Non-empty subsets [subset, block] of 0 and 1; their number with empty ones."""
    if blocks <= MOST_EXACT:
        members = np.arange(1, 2**blocks)[:, None] >> np.arange(blocks) & 1
        total = 2**blocks
    else:
        members = np.random.default_rng(1998).integers(0, 2, (draws, blocks))
        members, total = members[members.any(axis=1)], draws + 1
    subsets = members.astype(np.float64)
    subsets.setflags(write=False)
    return subsets, total


def _chance(size: float, n: int, tests: int) -> float:
    """Power of the two-sided t test for a mean of `size` standard deviations."""
    t = stats.t.isf(SIGNIFICANCE / tests / 2, n - 1)
    shift = size * math.sqrt(n)
    return float(stats.nct.sf(t, n - 1, shift) + stats.nct.sf(t, n - 1, -shift))


def _fewest(found: Callable[[int], bool], most: int = 2**20) -> int:
    """The smallest n from 2 on for which `found`, which stays true from there."""
    n = bisect_left(range(most), True, lo=2, key=found)
    if n == most:
        raise ValueError(f"more than {most:,} seeds would be needed")
    return n
