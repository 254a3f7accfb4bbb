"""Effects of treatments, from a table of runs: how much, how sure, and which verdict.

Runs that share a seed form a block. Every effect here is a contrast: within each block
a weighted sum of the responses of some treatments, weights adding up to zero. An arm,
a main effect, an interaction, a Shapley value and a step of the path differ only in
their weights; one estimator serves them all. Tables in, tables out, no files.

A table of runs has one row per run: `seed`, `status` (finished | diverged | collapsed:
it came to its end, and errs like a guess), one column per factor, the response, and
optionally `right` (bool [image], None when diverged).
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise, product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import optimize, stats

Array: TypeAlias = npt.NDArray[np.float64]
Level: TypeAlias = str | float
Treatment: TypeAlias = tuple[Level, ...]

COLUMNS = (
    "study",
    "response",
    "estimand",
    "factor",
    "level",
    "reference",
    "n",
    "diverged",
    "missing",
    "mean",
    "sd",
    "low",
    "high",
    "low_digits",
    "high_digits",
    "p",
    "p_holm",
    "p_better",
    "verdict",
    "reason",
)
GUESSING = 0.8  # the test error from which a run has collapsed: guesses err in 90 %
STATUSES = ("finished", "diverged", "collapsed")
SIGNIFICANCE = 0.05
MOST_EXACT = 16  # blocks up to which all 2^n signs are enumerated
DRAWS = 100_000  # signs drawn beyond


@dataclass(frozen=True)
class Response:
    """What is measured, what a diverged run counts as, and which effect is nil."""

    name: str = "test_error"
    lower_is_better: bool = True
    diverged: float = 0.90
    margin: float = 0.0005


class Effects(NamedTuple):
    """`table` has COLUMNS, one row per effect; `differences` one row per block of it.

    Columns of `differences`: estimand, factor, level, seed, difference (a fraction),
    diverged (whether a run of that block diverged).
    """

    table: pd.DataFrame
    differences: pd.DataFrame


class _Blocks(NamedTuple):
    """Runs laid out as [block, treatment]; NaN is a missing run."""

    seeds: list[int]
    treatments: list[Treatment]
    response: Array
    status: npt.NDArray[np.object_]
    right: npt.NDArray[np.object_]


class _Contrast(NamedTuple):
    estimand: str
    factor: str
    level: str
    reference: str
    weights: Mapping[Treatment, float]


TEST_ERROR = Response()


def arms(
    runs: pd.DataFrame,
    reference: Mapping[str, Level],
    *,
    study: str = "",
    response: Response = TEST_ERROR,
    seeds: Sequence[int] = (),
    names: Mapping[tuple[str, str], Mapping[str, Level]] | None = None,
) -> Effects:
    """Effect of every treatment in `runs` against `reference` (a level per factor).

    A treatment that differs in several factors is named by them, joined with '+', or
    by the key of `names`, (factor, level), whose value maps those factors to levels;
    its reference is that of the factor of its name, where there is one.
    `seeds` are the planned ones, where a block may be missing from `runs` altogether.
    """
    blocks = _blocks(runs, list(reference), response, seeds)
    base = tuple(reference.values())
    named = {
        tuple({**reference, **levels}.values()): name
        for name, levels in (names or {}).items()
    }
    _require(blocks, [base, *named], list(reference))
    contrasts = []
    for treatment in blocks.treatments:
        changed = [i for i, level in enumerate(treatment) if level != base[i]]
        if changed:
            factor = "+".join(list(reference)[i] for i in changed)
            level = "+".join(_name(treatment[i]) for i in changed)
            against = "+".join(_name(base[i]) for i in changed)
            factor, level = named.get(treatment, (factor, level))
            against = _name(reference[factor]) if factor in reference else against
            weights = {treatment: 1.0, base: -1.0}
            contrasts.append(_Contrast("arm", factor, level, against, weights))
    return _effects(blocks, contrasts, study, response)


def factorial(
    runs: pd.DataFrame,
    levels: Mapping[str, tuple[Level, Level]],
    *,
    study: str = "",
    response: Response = TEST_ERROR,
    seeds: Sequence[int] = (),
) -> Effects:
    """Main effects, two-way interactions and Shapley values of 2^k cells.

    `levels` maps each factor to its (reference, new) level. With y(cell) the response:
    main: mean over the other factors of y(new) - y(reference); interaction: mean over
    the others of the effect of one at the new level of the other minus that at its
    reference level; shapley (Shapley 1953): sum over subsets S of the other factors of
    |S|! (k - |S| - 1)! / k! * (y(S and the factor) - y(S)): they add up to the gap
    between all new and all reference. Blocks that lack a cell are left out and counted.
    """
    factors, cells = list(levels), list(product(*levels.values()))
    blocks = _complete(_blocks(runs, factors, response, seeds), cells, factors)
    every = range(len(factors))
    signs = np.array(list(product((-1, 1), repeat=len(factors))))
    contrasts = []
    for size, estimand in ((1, "main"), (2, "interaction")):
        for chosen in map(list, combinations(every, size)):
            weights = signs[:, chosen].prod(axis=1) / 2 ** (len(factors) - size)
            old, new = (
                ":".join(_name(levels[factors[i]][new]) for i in chosen)
                for new in (0, 1)
            )
            name = ":".join(factors[i] for i in chosen)
            weighted = dict(zip(cells, weights.tolist(), strict=True))
            contrasts.append(_Contrast(estimand, name, new, old, weighted))
    for i, factor in enumerate(factors):
        old, new = map(_name, levels[factor])
        weighted = dict(zip(cells, _shapley_weights(signs, i), strict=True))
        contrasts.append(_Contrast("shapley", factor, new, old, weighted))
    return _effects(blocks, contrasts, study, response)


def path(
    held_out: pd.DataFrame,
    runs: pd.DataFrame,
    levels: Mapping[str, tuple[Level, Level]],
    *,
    study: str = "",
    response: Response = TEST_ERROR,
    seeds: Sequence[int] = (),
) -> Effects:
    """Steps from the reference to all new levels, chosen and measured on two tables.

    At each step the factor that helps most on `held_out` is turned (the first named, if
    they tie); the height of the step is then estimated from `runs`, of other seeds.
    """
    if shared := set(held_out["seed"]) & set(runs["seed"]):
        raise ValueError(f"the order and the heights share the seeds {sorted(shared)}")
    factors, cells = list(levels), list(product(*levels.values()))
    search = _complete(_blocks(held_out, factors, response, ()), cells, factors)
    means = np.nanmean(search.response, axis=0) * (
        1 if response.lower_is_better else -1
    )
    score: dict[Treatment, float] = dict(
        zip(search.treatments, means.tolist(), strict=True)
    )
    turned: list[str] = []

    def after(factor: str) -> float:
        new = {*turned, factor}
        return score[tuple(pair[f in new] for f, pair in levels.items())]

    while left := [factor for factor in factors if factor not in turned]:
        turned.append(min(left, key=after))
    order = {factor: levels[factor] for factor in turned}
    steps = ladder(runs, order, study=study, response=response, seeds=seeds)
    return Effects(*(table.assign(estimand="path") for table in steps))


def ladder(
    runs: pd.DataFrame,
    levels: Mapping[str, tuple[Level, Level]],
    *,
    study: str = "",
    response: Response = TEST_ERROR,
    seeds: Sequence[int] = (),
) -> Effects:
    """Steps from the reference to all new levels, one factor after the other.

    The rows come in the order of `levels` and their means add up to the gap.
    """
    factors, pairs = list(levels), list(levels.values())
    steps: list[Treatment] = [
        tuple(pair[i < turned] for i, pair in enumerate(pairs))
        for turned in range(len(pairs) + 1)
    ]
    blocks = _complete(_blocks(runs, factors, response, seeds), steps, factors)
    contrasts = []
    for factor, (old, new), rung in zip(factors, pairs, pairwise(steps), strict=True):
        weights = {rung[1]: 1.0, rung[0]: -1.0}
        contrasts.append(_Contrast("ladder", factor, _name(new), _name(old), weights))
    return _effects(blocks, contrasts, study, response)


def converged(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that neither diverged nor collapsed, of which `arms` are the effects
    over converged blocks."""
    return runs[runs["status"] == "finished"]


def sign_flip(
    differences: npt.ArrayLike,
    confidences: Sequence[float] = (0.95, 0.90),
    draws: int = DRAWS,
) -> tuple[Array, Array]:
    """Two-sided sign-flip p [...] and the intervals that invert the test [c, 2, ...].

    `differences` is [..., block]. Flipping the signs of a subset A of the blocks takes
    2 sum_A (d - theta) from the sum of (d - theta), so theta is rejected from below if
    few subset means lie at or under it: the limits are order statistics of the subset
    means (Hartigan 1969, JASA 64:1303). p <= 1 - confidence exactly if 0 is outside the
    closed interval. Up to 16 blocks all 2^n subsets count; beyond, `draws` seeded ones
    plus the empty one, whose p is valid too (Phipson and Smyth 2010). The interval is
    the whole line where 2/2^n > 1 - confidence.
    """
    d = np.asarray(differences, dtype=np.float64)
    if d.shape[-1] < 1 or not np.isfinite(d).all():
        raise ValueError("differences must be finite and of at least one block")
    subsets, total = _subsets(d.shape[-1], draws)
    sums = d @ subsets.T
    sums[np.abs(sums) <= 1e-9 * np.abs(d).max(axis=-1, keepdims=True)] = 0
    empty = total - len(subsets)
    count = np.minimum((sums <= 0).sum(-1), (sums >= 0).sum(-1)) + empty
    means = sums / subsets.sum(1)
    limits = np.full((len(confidences), 2, *d.shape[:-1]), np.inf)
    limits[:, 0] = -np.inf
    for i, confidence in enumerate(confidences):
        k = math.floor((1 - confidence) / 2 * total - empty + 1e-9)
        if k >= 0:
            means = np.partition(means, (k, len(subsets) - 1 - k), axis=-1)
            limits[i] = means[..., k], means[..., -1 - k]
    return np.asarray(np.minimum(1.0, 2 * count / total)), limits


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


def blocks_needed(tests: int, significance: float = SIGNIFICANCE) -> int:
    """Fewest blocks that can give an adjusted p: 2^n >= 2 k / alpha (log2(40 k))."""
    return math.ceil(math.log2(2 * tests / significance))


def seeds_for_power(
    effect: float, sd: float, tests: int = 1, power: float = 0.80
) -> int:
    """Seeds that find `effect` with `power` after Holm over `tests`, by the t test.

    `sd` is that of the within-block differences: sqrt(2) times the sd of single runs
    where those are independent. Noncentral t at alpha / tests, two-sided.
    """
    enough = _fewest(lambda n: _chance(abs(effect) / sd, n, tests) >= power)
    return max(blocks_needed(tests), enough)


def smallest_effect(n: int, sd: float, tests: int = 1, power: float = 0.80) -> float:
    """The effect that `n` seeds find with `power`: the inverse of seeds_for_power.

    Infinite where so few blocks can give no verdict, and NaN where there is no sd.
    """
    if math.isnan(sd):
        return math.nan
    if n < max(2, blocks_needed(tests)):
        return math.inf
    t = float(stats.t.isf(SIGNIFICANCE / tests / 2, n - 1))
    most = (2 * t + 4) / math.sqrt(n)
    found = optimize.brentq(lambda d: _chance(d, n, tests) - power, 0, most)
    return float(found) * sd


def seeds_for_equivalence(
    sd: float, margin: float = 0.0005, power: float = 0.80
) -> int:
    """Seeds that put the 90 % interval within the margin when the true effect is nil.

    Two one-sided t tests; the chance of 2 Phi((margin - t s/sqrt(n)) sqrt(n)/sd) - 1,
    where positive, averaged over 2,000 quantiles of s, the sd that will be observed.
    """

    def found(n: int) -> bool:
        quantiles = (np.arange(2_000) + 0.5) / 2_000
        seen = sd * np.sqrt(stats.chi2.ppf(quantiles, n - 1) / (n - 1))
        reach = (margin * math.sqrt(n) - stats.t.isf(SIGNIFICANCE, n - 1) * seen) / sd
        return bool(np.clip(2 * stats.norm.cdf(reach) - 1, 0, None).mean() >= power)

    return max(blocks_needed(1), _fewest(found))


def _blocks(
    runs: pd.DataFrame, factors: list[str], response: Response, seeds: Sequence[int]
) -> _Blocks:
    needed = [*factors, "seed", "status", response.name]
    if absent := [name for name in needed if name not in runs.columns]:
        raise ValueError(
            f"runs lack the columns {absent}; they have {list(runs.columns)}"
        )
    keys = list(zip(*(runs[name].tolist() for name in factors), strict=True))
    blocks = sorted({*map(int, runs["seed"]), *seeds})
    treatments = sorted(
        set(keys), key=lambda key: [(isinstance(v, str), v) for v in key]
    )
    shape = (len(blocks), len(treatments))
    values = np.full(shape, np.nan)
    statuses, right = (np.full(shape, None, dtype=object) for _ in range(2))
    row, column = ({key: i for i, key in enumerate(k)} for k in (blocks, treatments))
    bits = runs["right"].tolist() if "right" in runs else [None] * len(runs)
    triples = zip(
        keys, runs["seed"], runs["status"], runs[response.name], bits, strict=True
    )
    for key, seed, status, value, images in triples:
        at, run = (row[seed], column[key]), f"run {_label(factors, key)} seed={seed}"
        if not np.isnan(values[at]):
            raise ValueError(f"{run} is there twice")
        if status not in STATUSES:
            raise ValueError(f"{run}: status {status!r} is none of {STATUSES}")
        statuses[at], diverged = status, status == "diverged"
        values[at] = response.diverged if diverged else value
        if not np.isfinite(values[at]):
            raise ValueError(f"{run} is {status} but its {response.name} is {value}")
        if images is not None and not diverged:
            right[at] = np.asarray(images, dtype=np.bool_)
            if abs(_scored(right[at], response).mean() - value) > 1e-6:
                raise ValueError(
                    f"{run}: `right` does not give {response.name}={value}"
                )
    return _Blocks(blocks, treatments, values, statuses, right)


def _require(
    blocks: _Blocks, treatments: Iterable[Treatment], factors: list[str]
) -> None:
    absent = [_label(factors, t) for t in treatments if t not in blocks.treatments]
    if absent:
        raise ValueError(f"no run of {'; '.join(absent)}")


def _complete(
    blocks: _Blocks, treatments: Sequence[Treatment], factors: list[str]
) -> _Blocks:
    """The blocks with every run voided where one of `treatments` is missing."""
    if len(set(treatments)) < len(treatments):
        raise ValueError(f"a factor of {factors} has the same level twice")
    _require(blocks, treatments, factors)
    columns = [blocks.treatments.index(t) for t in treatments]
    torn = np.isnan(blocks.response[:, columns]).any(axis=1, keepdims=True)
    return blocks._replace(response=np.where(torn, np.nan, blocks.response))


def _effects(
    blocks: _Blocks, contrasts: list[_Contrast], study: str, response: Response
) -> Effects:
    if not contrasts:
        raise ValueError("no effect: every run is of the reference")
    rows, dots = zip(*(_estimate(blocks, c, response) for c in contrasts), strict=True)
    for estimand in sorted({row["estimand"] for row in rows}):
        family = [row for row in rows if row["estimand"] == estimand]
        adjusted = holm([row["p"] for row in family])
        tests = int(np.isfinite(adjusted).sum())
        for row, p_holm in zip(family, adjusted.tolist(), strict=True):
            row |= {"study": study, "response": response.name, "p_holm": p_holm}
            row["verdict"], why = _verdict(row, tests, response)
            row["reason"] = "; ".join(filter(None, [why, row["reason"]]))
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return Effects(table, pd.concat(dots, ignore_index=True))


def _estimate(
    blocks: _Blocks, contrast: _Contrast, response: Response
) -> tuple[dict[str, Any], pd.DataFrame]:
    """A row of the table, lacking what its family decides, and its seed dots."""
    columns = [blocks.treatments.index(t) for t in contrast.weights]
    weights = np.array(list(contrast.weights.values()))
    whole = np.flatnonzero(~np.isnan(blocks.response[:, columns]).any(axis=1))
    n, missing = len(whole), len(blocks.seeds) - len(whole)
    at = np.ix_(whole, np.array(columns))
    status = blocks.status[at]
    diverged, collapsed = status == "diverged", int((status == "collapsed").sum())
    d = blocks.response[at] @ weights
    d[np.abs(d) < 1e-14] = 0  # rounding noise of fractions: these blocks tie
    names = dict(zip(_Contrast._fields[:4], contrast[:4], strict=True))
    row: dict[str, Any] = names | {
        "n": n,
        "diverged": int(diverged[:, weights > 0].sum()),
        "missing": missing,
        "reason": _remarks(missing, n, int(diverged[:, weights < 0].sum()), collapsed),
        **_estimates(d, response),
    }
    if not math.isnan(row["p"]):
        images = _image_differences(blocks.right[at], diverged, weights, response)
        if images is not None:
            row["low_digits"], row["high_digits"] = new_digits_interval(images)
    dots = {key: names[key] for key in ("estimand", "factor", "level")} | {
        "seed": [blocks.seeds[i] for i in whole],
        "difference": d,
        "diverged": diverged.any(axis=1),
    }
    return row, pd.DataFrame(dots)


def _estimates(d: Array, response: Response) -> dict[str, Any]:
    """What the differences [block] alone say; NaN where they cannot."""
    n = len(d)
    sd = float(d.std(ddof=1)) if n > 1 else math.nan
    p, limits = np.array(math.nan), np.full((2, 2), math.nan)
    if n > 1 and sd > 1e-9 * np.abs(d).max():
        p, limits = sign_flip(d)
    gain = -d if response.lower_is_better else d
    return {
        "mean": float(d.mean()) if n else math.nan,
        "sd": sd,
        "low": float(limits[0, 0]),
        "high": float(limits[0, 1]),
        "low_digits": math.nan,
        "high_digits": math.nan,
        "p": float(p),
        "p_better": float((np.sign(gain) + 1).mean() / 2) if n else math.nan,
        "nil": bool((np.abs(limits[1]) <= response.margin + 1e-12).all()),
    }


def _image_differences(
    right: npt.NDArray[np.object_],
    diverged: npt.NDArray[np.bool_],
    weights: Array,
    response: Response,
) -> Array | None:
    """The contrast per [block, image]; None if a finished run did not keep its bits."""
    sizes = {np.size(bits) for bits in right.flat if bits is not None}
    if len(sizes) > 1:
        raise ValueError(f"`right` counts different numbers of images: {sorted(sizes)}")
    if not sizes or any(bits is None for bits in right[~diverged]):
        return None
    total = np.zeros((len(right), sizes.pop()))
    for i, j in np.ndindex(right.shape):
        if diverged[i, j]:
            total[i] += weights[j] * response.diverged
        else:
            total[i] += weights[j] * _scored(np.asarray(right[i, j]), response)
    return total


def _verdict(row: dict[str, Any], tests: int, response: Response) -> tuple[str, str]:
    if math.isnan(row["p"]):
        fewer = {0: "no complete block", 1: "one block only"}
        constant = f"no variance: every difference is {row['mean']:.6g}"
        return "not estimable", fewer.get(row["n"], constant)
    sure = row["p_holm"] <= SIGNIFICANCE
    if not sure and row["n"] < blocks_needed(tests):
        return "undecided", f"no verdict possible at n = {row['n']}"
    side = "better" if (row["mean"] < 0) == response.lower_is_better else "worse"
    if row["nil"]:
        return "equivalent", f"{side}, but by less than the margin" if sure else ""
    if sure:
        return side, ""
    lost = f"p = {row['p']:.2g} before Holm over {tests} tests"
    return "undecided", lost if row["p"] <= SIGNIFICANCE else ""


def _remarks(missing: int, n: int, lost_references: int, collapsed: int) -> str:
    missed = f"{missing} of {missing + n} blocks missing" if missing else ""
    counts = {"of the reference diverged": lost_references, "collapsed": collapsed}
    lost = [f"{k} run{'s' * (k > 1)} {what}" for what, k in counts.items() if k]
    return "; ".join(filter(None, [missed, *lost]))


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


def _shapley_weights(signs: npt.NDArray[np.int_], i: int) -> list[float]:
    """Weight of each cell [cell]; `signs` [cell, factor] is 1 at the new level."""
    k = signs.shape[1]
    others = (np.delete(signs, i, axis=1) > 0).sum(axis=1).tolist()
    orders = [math.factorial(s) * math.factorial(k - s - 1) for s in others]
    return list(signs[:, i] * np.array(orders) / math.factorial(k))


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


def _scored(right: npt.NDArray[np.bool_], response: Response) -> npt.NDArray[np.bool_]:
    """What the response is the mean of, per image."""
    return ~right if response.lower_is_better else right


def _name(level: Level) -> str:
    whole = isinstance(level, float) and level.is_integer()
    return str(int(level) if whole else level)


def _label(factors: list[str], treatment: Treatment) -> str:
    return " ".join(
        f"{f}={_name(level)}" for f, level in zip(factors, treatment, strict=True)
    )
