"""How sure an effect is: exact tests, intervals and the power of a number of seeds.

A difference is one block's: runs that share a seed. If a change does nothing, the
difference might as well have the other sign; every test here flips signs of whole
blocks. Arrays in, numbers out; nothing here knows what was measured.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import special  # scipy.stats has it all, and takes a second to import

Array: TypeAlias = npt.NDArray[np.float64]

SIGNIFICANCE = 0.05
POWER = 0.80
MOST_EXACT = 16  # blocks up to which all 2^n signs are enumerated
DRAWS = 100_000  # signs drawn beyond
AT_A_TIME = 2**24  # members of subsets that are unpacked at a time: 128 MiB
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
    the whole line where 2/2^n > 1 - confidence. A ValueError without blocks, or where a
    difference is not finite.

    Six blocks that agree have the least p that six can have, 2 of 2^6:

    >>> p, low, high = sign_flip([1, 2, 3, 4, 5, 6])
    >>> float(p) == 2 / 2**6, float(low), float(high)
    (True, 1.0, 6.0)
    """
    d = _finite(differences)
    subsets = _subsets(d.shape[-1], draws)
    sums, total = _sums(d, subsets), subsets.total
    # A subset that is empty flips nothing, so its sum is the one that was seen: it is
    # as extreme as that on either side. Its mean would be 0 / 0: it is counted here
    # alone.
    empty = total - len(subsets.sizes)
    # The flipped sum is S - 2 sum_A: not below S where sum_A <= 0, not above it where
    # sum_A >= 0. The smaller tail, twice, is the two-sided p.
    count = np.minimum((sums <= 0).sum(-1), (sums >= 0).sum(-1)) + empty
    low, high = np.full(d.shape[:-1], -np.inf), np.full(d.shape[:-1], np.inf)
    # So many subset means may lie outside on each side. The 1e-9 is for products such
    # as 0.025 * 2^n that rounding leaves just below a whole number.
    k = math.floor((1 - confidence) / 2 * total - empty + 1e-9)
    # Below 0 even the outermost mean is too near: the interval is the whole line.
    if k >= 0:
        means = sums / subsets.sizes
        means = np.partition(means, (k, len(subsets.sizes) - 1 - k), axis=-1)
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
    those of a block are so together; tests/studies/simulations.py says what skew costs.

    The first test alone has p = 2/64; a second beside it makes that 4/64:

    >>> max_t([[1, 2, 3, 4, 5, 6], [1, -1, 1, -1, 1, -1]]).tolist()
    [0.0625, 1.0]
    """
    # A block that a test lacks adds nothing to its sum, whichever its sign.
    d = np.nan_to_num(np.asarray(differences, dtype=np.float64))
    adjusted = np.full(len(d), np.nan)
    rows = np.flatnonzero((d != 0).any(axis=1))
    if not len(rows):
        return adjusted
    d = d[rows]
    subsets = _subsets(d.shape[1], draws)
    count, total = len(subsets.sizes), subsets.total
    # No flip changes sum d^2, so that the statistic needs one product per flip.
    scale = np.sqrt((d**2).sum(axis=1))
    whole = d.sum(axis=1)
    seen = np.abs(whole) / scale
    # [test, subset]: the statistics under each flip, the same subset for all tests.
    # This keeps what the tests share.
    chance = np.abs(whole[:, None] - 2 * _products(d, subsets)) / scale[:, None]
    order = np.argsort(-seen)
    # Step down, from the smallest statistic up: `largest` is, for each flip, the
    # maximum over this test and all smaller ones, which are the hypotheses that are
    # left once the larger ones are rejected.
    largest, most = np.zeros(count), np.zeros(len(rows))
    for j in reversed(range(len(rows))):
        largest = np.maximum(largest, chance[order[j]])
        # What rounding alone keeps below the statistic is a tie, and counts as beyond.
        beyond = (largest >= seen[order[j]] - 2 * TIE).sum()
        # total - count: the empty subsets, under which every statistic is what was
        # seen.
        most[j] = (beyond + total - count) / total
    # No p below that of a larger statistic: the step down ends at the first test that
    # is not rejected.
    adjusted[rows[order]] = np.maximum.accumulate(most)
    return adjusted


def equivalence(differences: npt.ArrayLike, margin: float, draws: int = DRAWS) -> Array:
    """p [...] of the hypothesis that the effect is `margin` or more, either way.

    Two one-sided sign-flip tests (Schuirmann 1987), of margin - d and of margin + d;
    p is the larger one. It is at most 0.05 exactly if the 90 % interval that inverts
    the test lies inside the margin. `differences` is [..., block], the margin in their
    unit; errors as of `sign_flip`.

    All six differences lie inside the margin, so p is the least there is, 1 of 2^6:

    >>> float(equivalence([0.1, -0.2, 0.1, 0.0, 0.2, -0.1], margin=1)) == 1 / 2**6
    True
    """
    d = _finite(differences)
    subsets = _subsets(d.shape[-1], draws)
    empty = subsets.total - len(subsets.sizes)
    # Both one-sided tests by the same flips: is the mean of margin - d above 0, and
    # that of margin + d?
    sums = _sums(np.stack([margin - d, margin + d]), subsets)
    counts = (sums <= 0).sum(axis=-1) + empty
    return np.asarray(counts.max(axis=0) / subsets.total)


def new_digits_interval(
    differences: npt.ArrayLike, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the mean effect for other seeds *and* other images.

    `differences` is [block, image]. The variance of the mean is s2_seed/n + s2_image/m
    - s2_residual/(n m), from the variances of the block means and of the image means
    and the mean square of what both leave (Cornfield and Tukey 1956); t with n - 1
    degrees. Where the images' own variance is estimated below zero it counts as zero.
    A ValueError where there are not two of each.

    Two seeds and two images, each with a variance of 1/2: wider than for seeds alone.

    >>> low, high = new_digits_interval([[0, 1], [1, 2]])
    >>> round(low, 2), round(high, 2)
    (-7.98, 9.98)
    >>> low, high = t_interval([0.5, 1.5])
    >>> round(low, 2), round(high, 2)
    (-5.35, 7.35)
    """
    d = np.asarray(differences, dtype=np.float64)
    n, m = d.shape
    if n < 2 or m < 2:
        raise ValueError(f"new digits need 2 blocks and 2 images, not {n} and {m}")
    mean, blocks, images = d.mean(), d.mean(1), d.mean(0)
    s2_seed, s2_image = blocks.var(ddof=1), images.var(ddof=1)
    # Blocks and images crossed, once each: the sum of squares of all cells, less that
    # of the block means and that of the image means, is what both leave.
    whole = sum(((row - mean) ** 2).sum() for row in d)  # no copy of them all
    squares = whole - (n - 1) * m * s2_seed - (m - 1) * n * s2_image
    s2_residual = squares / ((n - 1) * (m - 1))
    # s2_seed / n and s2_image / m hold the residual's share each; it must count once.
    variance = s2_seed / n + max(0.0, s2_image / m - s2_residual / (n * m))
    half = t_quantile((1 + confidence) / 2, n - 1) * math.sqrt(variance)
    return float(mean - half), float(mean + half)


def t_interval(values: npt.ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """The limits of a mean's interval: mean +- t s / sqrt(n); NaN for n below 2.

    `values` [n]; the limits are in their unit, and s has n - 1 in its denominator.

    >>> low, high = t_interval([1, 2, 3])  # 2 +- 4.303 / sqrt(3)
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    if n < 2:
        return math.nan, math.nan
    half = t_quantile((1 + confidence) / 2, n - 1) * x.std(ddof=1) / math.sqrt(n)
    return float(x.mean() - half), float(x.mean() + half)


def mean_interval(values: npt.ArrayLike) -> dict[str, float]:
    """n, mean, low and high of values [n]: the mean and its 95 % t interval.

    >>> mean_interval([3.0])  # one value has no interval
    {'n': 1, 'mean': 3.0, 'low': nan, 'high': nan}
    """
    x = np.asarray(values, dtype=np.float64)
    low, high = t_interval(x)
    return {"n": len(x), "mean": float(x.mean()), "low": low, "high": high}


def prediction_interval(
    values: npt.ArrayLike, confidence: float = 0.95
) -> tuple[float, float]:
    """Where one more run of the same kind is expected: mean +- t s sqrt(1 + 1/n).

    `values` [run] are of single runs, two at least. A published number of one run is
    compared with this, not with the narrower interval of our mean.

    >>> low, high = prediction_interval([1, 2, 3])  # 2 +- 4.303 sqrt(4/3)
    >>> round(low, 3), round(high, 3)
    (-2.968, 6.968)
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    t = t_quantile((1 + confidence) / 2, n - 1)
    half = t * x.std(ddof=1) * math.sqrt(1 + 1 / n)
    return float(x.mean() - half), float(x.mean() + half)


def share_interval(
    count: int, total: int, confidence: float = 0.95
) -> tuple[float, float]:
    """The exact interval of a share, `count` of `total` (Clopper and Pearson 1934).

    None of ten was lost: the share is at most 1 - 0.025^(1/10).

    >>> low, high = share_interval(0, 10)
    >>> low, round(high, 4), round(1 - 0.025 ** (1 / 10), 4)
    (0.0, 0.3085, 0.3085)
    """
    rest, tail = total - count, (1 - confidence) / 2
    # The binomial's tails as quantiles of the beta distribution; at none and at all
    # there is nothing beyond, and the limit is 0 or 1.
    low = special.betaincinv(count, rest + 1, tail) if count else 0.0
    high = special.betainccinv(count + 1, rest, tail) if rest else 1.0
    return float(low), float(high)


def mcnemar(differences: npt.ArrayLike) -> float:
    """Exact two-sided p that a level and its reference lose runs equally often.

    `differences` [block] are of counts: pairs of runs of which the level's alone was
    lost, minus those of which the reference's alone was. With one pair to a block this
    is McNemar's exact test (1947), binomial over the pairs that differ; with several,
    blocks change sign as a whole. 1 where no pairs differ.

    >>> mcnemar([1, 1, 1, 1, 1, 1, 0, 0]), mcnemar([0, 0])  # 2 of 2^6, and nothing
    (0.03125, 1.0)
    """
    d = np.asarray(differences, dtype=np.float64)
    d = d[d != 0]  # the others are the same under both signs
    return float(sign_flip(d)[0]) if len(d) else 1.0


def holm(p: npt.ArrayLike) -> Array:
    """Holm's adjusted p [test]: the running maximum of (k - j) p_(j); NaN stays out.

    Controls the family-wise error without assumptions (Holm 1979).

    The least of three times 3, the next times 2, and none below one before it:

    >>> [round(p, 4) for p in holm([0.01, 0.04, 0.03]).tolist()]
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(values.shape, np.nan)
    # NaN sorts last: these are the tests that there are.
    order = np.argsort(values)[: np.isfinite(values).sum()]
    raised = values[order] * np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(raised))
    return adjusted


def blocks_needed(significance: float = SIGNIFICANCE) -> int:
    """Fewest blocks that can give a verdict: the least p of n blocks is 2 / 2^n.

    >>> blocks_needed(), blocks_needed(0.01)  # 2/2^6 = 0.031, 2/2^8 = 0.008
    (6, 8)
    """
    return math.ceil(math.log2(2 / significance))


def seeds_for_power(
    effect: float, sd: float, tests: int = 1, power: float = POWER
) -> int:
    """Seeds that find `effect` with `power` among `tests`, by the t test.

    `sd` is that of the within-block differences: sqrt(2) times the sd of single runs
    where those are independent. Noncentral t at alpha / tests, two-sided: max-T, which
    knows how the tests hang together, needs no more. `effect` and `sd` are in one unit,
    whichever it is; a ValueError where more than a million seeds would be needed.

    >>> seeds_for_power(effect=0.001, sd=0.001), seeds_for_power(effect=0.002, sd=0.001)
    (10, 6)
    """
    enough = _fewest(lambda n: _chance(abs(effect) / sd, n, tests) >= power)
    return max(blocks_needed(), enough)


def smallest_effect(n: int, sd: float, tests: int = 1, power: float = POWER) -> float:
    """The effect that `n` seeds find with `power`: the inverse of seeds_for_power.

    Infinite where so few blocks can give no verdict, and NaN where there is no sd.

    >>> round(smallest_effect(10, sd=0.001), 5), smallest_effect(5, sd=0.001)
    (0.001, inf)
    """
    if math.isnan(sd):
        return math.nan
    if n < blocks_needed():
        return math.inf
    t = t_quantile(1 - SIGNIFICANCE / tests / 2, n - 1)
    # At the upper end the noncentrality is 2 t + 4, where the power is all but 1. The
    # bisection ends where no double lies between its ends.
    low, high = 0.0, (2 * t + 4) / math.sqrt(n)
    while low < (middle := (low + high) / 2) < high:
        if _chance(middle, n, tests) < power:
            low = middle
        else:
            high = middle
    return high * sd


def seeds_for_equivalence(
    sd: float, margin: float = 0.0005, tests: int = 1, power: float = POWER
) -> int:
    """Seeds that show one of `tests` effects to be within the margin if it is nil.

    Two one-sided t tests at alpha / tests; the chance of 2 Phi((margin - t s/sqrt(n))
    sqrt(n)/sd) - 1, where positive, averaged over 2,000 quantiles of s, the sd that
    will be observed. `sd`, of the within-block differences, and the margin are in one
    unit, here fractions; errors as of `seeds_for_power`.

    >>> seeds_for_equivalence(sd=0.0005), seeds_for_equivalence(sd=0.001)
    (11, 36)
    """

    def is_found(n: int) -> bool:
        quantiles = (np.arange(2_000) + 0.5) / 2_000
        # The sd that n seeds will see: sd sqrt(chi2 / (n - 1)), and half a chi2 is a
        # gamma.
        seen = sd * np.sqrt(2 * special.gammaincinv((n - 1) / 2, quantiles) / (n - 1))
        t = t_quantile(1 - SIGNIFICANCE / tests, n - 1)
        # Both tests reject where |mean| < margin - t s / sqrt(n); the mean is normal
        # about 0.
        reach = (margin * math.sqrt(n) - t * seen) / sd
        return bool(np.clip(2 * special.ndtr(reach) - 1, 0, None).mean() >= power)

    return max(blocks_needed(), _fewest(is_found))


def _finite(differences: npt.ArrayLike) -> Array:
    """The differences as an array, of one block at least and none of them missing."""
    d = np.asarray(differences, dtype=np.float64)
    if d.shape[-1] < 1 or not np.isfinite(d).all():
        raise ValueError("differences must be finite and of at least one block")
    return d


class _Subsets(NamedTuple):
    """Non-empty subsets of blocks, 1 for a member, eight blocks to a byte; how many
    members each has; how many subsets there are with empty ones."""

    packed: npt.NDArray[np.uint8]
    blocks: int
    sizes: Array
    total: int

    def parts(self) -> Iterator[Array]:
        """The subsets [subset, block], some at a time."""
        rows = max(1, AT_A_TIME // self.blocks)
        for first in range(0, len(self.packed), rows):
            packed = self.packed[first : first + rows]
            yield np.unpackbits(packed, axis=1, count=self.blocks).astype(np.float64)


@lru_cache(maxsize=4)
def _subsets(blocks: int, draws: int) -> _Subsets:
    """All subsets of a few blocks, or so many that are drawn."""
    packed = _packed(blocks, draws)
    packed = packed[packed.any(axis=1)]
    total = 2**blocks if blocks <= MOST_EXACT else draws + 1
    subsets = _Subsets(packed, blocks, np.empty(0), total)
    sizes = np.concatenate([part.sum(axis=1) for part in subsets.parts()])
    return subsets._replace(sizes=sizes)


def _packed(blocks: int, draws: int) -> npt.NDArray[np.uint8]:
    """Subsets of 0 and 1, eight blocks to a byte; of thousands of blocks they are also
    drawn so, since a number for each takes a minute."""
    if blocks <= MOST_EXACT:
        # Row i is the number i in binary: bit j says whether block j is a member.
        members = np.arange(2**blocks)[:, None] >> np.arange(blocks) & 1
        return np.packbits(members.astype(np.uint8), axis=1)
    rng = np.random.default_rng(1998)
    if draws * blocks <= AT_A_TIME:
        members = rng.integers(0, 2, (draws, blocks))
        return np.packbits(members.astype(np.uint8), axis=1)
    signs = rng.integers(0, 256, (draws, -(-blocks // 8)), np.uint8)
    # packbits fills a byte from its high bit on, so the last low bits belong to no
    # block.
    signs[:, -1] &= 256 - 2 ** (-blocks % 8)  # bits of no block
    return signs


def _products(differences: Array, subsets: _Subsets) -> Array:
    """Sums [..., subset] of the differences [..., block] that are members."""
    return np.concatenate([differences @ part.T for part in subsets.parts()], axis=-1)


def _sums(differences: Array, subsets: _Subsets) -> Array:
    """The same, where those that rounding keeps from 0 are 0."""
    sums = _products(differences, subsets)
    sums[np.abs(sums) <= TIE * np.abs(differences).max(axis=-1, keepdims=True)] = 0
    return sums


def t_quantile(share: float, degrees: float) -> float:
    """Below which Student's t of so many degrees of freedom is with this chance.

    >>> round(t_quantile(0.975, 2), 3), round(t_quantile(0.975, 1e6), 3)
    (4.303, 1.96)
    """
    return float(special.stdtrit(degrees, share))


def _chance(size: float, n: int, tests: int) -> float:
    """Power of the two-sided t test for a mean of `size` standard deviations.

    Far out, where a tail is 0 to double precision, the special function is NaN.
    """
    t = t_quantile(1 - SIGNIFICANCE / tests / 2, n - 1)
    shift = size * math.sqrt(n)
    # Rejected on the right side: T > t. On the wrong one: T < -t, which is as likely as
    # T > t with the shift turned round.
    below = np.nan_to_num(special.nctdtr(n - 1, shift, t), nan=0.0)
    other = np.nan_to_num(special.nctdtr(n - 1, -shift, t), nan=1.0)
    return float(1 - below + 1 - other)


def _fewest(enough: Callable[[int], bool], most: int = 2**20) -> int:
    """The smallest n from 2 on that is `enough`; every larger one is, too."""
    n = bisect_left(range(most), True, lo=2, key=enough)
    if n == most:
        raise ValueError(f"more than {most:,} seeds would be needed")
    return n
