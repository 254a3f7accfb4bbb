"""Effects of treatments, from a table of runs: how much, how sure, and which verdict.

Runs that share a seed form a block. Every effect here is a contrast: within each block
a weighted sum of the responses of some treatments, weights adding up to zero. An arm,
a main effect, an interaction, a Shapley value and a step of the path differ only in
their weights; one estimator serves them all. Tables in, tables out, no files.

A table of runs has one row per run: `seed`, `status` (finished | diverged | collapsed:
it came to its end, and errs like a guess), one column per factor, the response, and
optionally `right` (bool [image], None when diverged). A run that diverged or collapsed
is lost: an error like that of a guess says that training failed, not how well a network
reads. How often that happens is an outcome of its own (`losses`), and the effects are
those of the seeds of which no run concerned is lost.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise, product
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from lenet.studies import statistics
from lenet.studies.statistics import SIGNIFICANCE, Array

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
    "left_out",
    "missing",
    "mean",
    "sd",
    "low",
    "high",
    "low_digits",
    "high_digits",
    "p",
    "p_family",
    "p_holm",
    "p_equivalent",
    "p_better",
    "power_80",
    "verdict",
    "reason",
)
LOSSES = (
    "study",
    "estimand",
    "factor",
    "level",
    "reference",
    "runs",
    "collapsed",
    "diverged",
    "share",
    "low",
    "high",
    "runs_reference",
    "collapsed_reference",
    "diverged_reference",
    "share_reference",
    "low_reference",
    "high_reference",
    "level_alone",
    "reference_alone",
    "p",
    "p_holm",
)
GUESSING = 0.8  # the test error from which a run has collapsed: guesses err in 90 %
STATUSES = ("finished", "diverged", "collapsed")
# How an estimand begins, by which `effects_of_kind` selects; the rest says from where.
ALONE, MAIN, SIMPLE = "alone", "main effect", "simple effect"
PAIR, SHAPLEY = "interaction", "Shapley value"
LADDER, PATH = "step of the ladder", "step of the path"


@dataclass(frozen=True)
class Response:
    """What is measured, which way is better, and which effect is nil.

    unit: what its numbers are shown in; of a share, shown in percentage points, empty.
    """

    name: str = "test_error"
    lower_is_better: bool = True
    margin: float = 0.0005
    unit: str = ""


class Effects(NamedTuple):
    """`table` has COLUMNS (and `unit`, if the response has one of its own), one row per
    effect; `differences` one row per block of it;
    `losses` has LOSSES, one row for each effect of one level against one other.

    Columns of `differences`: estimand, factor, level, seed, difference (a fraction).
    """

    table: pd.DataFrame
    differences: pd.DataFrame
    losses: pd.DataFrame


class _Blocks(NamedTuple):
    """Runs laid out as [block, treatment]; a response is NaN unless the run finished,
    a status is None where there is no run."""

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
    base: str = "the reference",
    names: Mapping[tuple[str, str], Mapping[str, Level]] | None = None,
) -> Effects:
    """Effect of every treatment in `runs` against `reference` (a level per factor),
    whose name is `base`.

    A treatment that differs in several factors is named by them, joined with '+', or
    by the key of `names`, (factor, level), whose value maps those factors to levels;
    its reference is that of the factor of its name, where there is one.
    `seeds` are the planned ones, where a block may be missing from `runs` altogether.
    Effects are in the unit of the response. A ValueError where a column or the
    reference is missing, a run is there twice, or one finished without a finite number.

    >>> runs = pd.DataFrame(
    ...     {
    ...         "activation": ["relu", "relu", "tanh", "tanh"],
    ...         "seed": [0, 1, 0, 1],
    ...         "test_error": [0.04, 0.02, 0.05, 0.04],
    ...         "status": "finished",
    ...     }
    ... )
    >>> table = arms(runs, {"activation": "relu"}).table
    >>> table[["level", "n", "mean"]].round(4).values.tolist()  # of +0.01 and +0.02
    [['tanh', 2, 0.015]]
    """
    blocks = _blocks(runs, list(reference), response, seeds)
    origin = tuple(reference.values())
    named = {
        tuple({**reference, **levels}.values()): name
        for name, levels in (names or {}).items()
    }
    _require(blocks, [origin, *named], list(reference))
    contrasts = []
    for treatment in blocks.treatments:
        changed = [i for i, level in enumerate(treatment) if level != origin[i]]
        if changed:
            factor = "+".join(list(reference)[i] for i in changed)
            level = "+".join(level_text(treatment[i]) for i in changed)
            against = "+".join(level_text(origin[i]) for i in changed)
            factor, level = named.get(treatment, (factor, level))
            against = level_text(reference[factor]) if factor in reference else against
            weights = {treatment: 1.0, origin: -1.0}
            estimand = f"{ALONE} from {base}"
            contrasts.append(_Contrast(estimand, factor, level, against, weights))
    return _effects(blocks, contrasts, study, response)


def factorial(
    runs: pd.DataFrame,
    levels: Mapping[str, tuple[Level, Level]],
    *,
    study: str = "",
    response: Response = TEST_ERROR,
    seeds: Sequence[int] = (),
    ends: tuple[str, str] = ("the reference", "all changed"),
) -> Effects:
    """Main and simple effects, two-way interactions and Shapley values of 2^k cells.

    `levels` maps each factor to its (reference, new) level, `ends` names the cells of
    all reference and all new levels. With y(cell) the response: main: mean over the
    other factors of y(new) - y(reference); simple: the same at one end of the others
    alone; interaction: mean over the others of the effect of one at the new level of
    the other minus that at its reference level; Shapley value (Shapley 1953): sum over
    subsets S of the other factors of |S|! (k - |S| - 1)! / k! * (y(S and the factor) -
    y(S)): they add up to the gap between the ends. Seeds that lack a cell, or lost a
    run of one, are left out and counted.

    Two factors of the levels 0 and 1: each adds 1, and both together 2 more. So `a`
    adds 1 without b, 3 with b, and 2 in the mean; with and without differ by 2:

    >>> rows = [(0, 0, 0.0), (0, 1, 1.0), (1, 0, 1.0), (1, 1, 4.0)]
    >>> runs = pd.DataFrame(rows, columns=["a", "b", "test_error"])
    >>> runs = runs.assign(seed=0, status="finished")
    >>> table = factorial(runs, {"a": (0, 1), "b": (0, 1)}).table
    >>> for kind in (SIMPLE, MAIN, PAIR):
    ...     rows = effects_of_kind(table, kind).query("factor in ('a', 'a:b')")
    ...     print(kind, rows["mean"].tolist())
    simple effect [1.0, 3.0]
    main effect [2.0]
    interaction [2.0]
    """
    factors, cells = list(levels), list(product(*levels.values()))
    # Row i is cell i: both products count in the same order, the last factor fastest.
    signs = np.array(list(product((-1, 1), repeat=len(factors))))
    contrasts = []
    for estimand, chosen, weights in _weights(signs, ends):
        old, new = (
            ":".join(level_text(levels[factors[i]][new]) for i in chosen)
            for new in (0, 1)
        )
        name = ":".join(factors[i] for i in chosen)
        weighted = {
            cell: weight for cell, weight in zip(cells, weights, strict=True) if weight
        }
        contrasts.append(_Contrast(estimand, name, new, old, weighted))
    blocks = _blocks(runs, factors, response, seeds)
    _all(blocks, cells, factors)
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
    they tie); the height of the step is then estimated from `runs`, of other seeds. A
    ValueError where the two share a seed, or lack one of the 2^k cells.

    Turned first is what helps most where it is looked for; it is measured elsewhere:

    >>> rows = [(a, b, 0, "finished", 9 - a - 2 * b) for a in (0, 1) for b in (0, 1)]
    >>> names = ["a", "b", "seed", "status", "test_error"]
    >>> held_out = pd.DataFrame(rows, columns=names)
    >>> runs = held_out.assign(seed=1, test_error=9 - held_out["a"] - 3 * held_out["b"])
    >>> table = path(held_out, runs, {"a": (0, 1), "b": (0, 1)}).table
    >>> table[["factor", "mean"]].values.tolist()
    [['b', -3.0], ['a', -1.0]]
    """
    if shared := set(held_out["seed"]) & set(runs["seed"]):
        raise ValueError(f"the order and the heights share the seeds {sorted(shared)}")
    factors, cells = list(levels), list(product(*levels.values()))
    search = _blocks(held_out, factors, response, ())
    _all(search, cells, factors)
    sign, columns = (1 if response.lower_is_better else -1), search.response.T
    kept = [column[np.isfinite(column)] for column in columns]
    # A treatment of which every run is lost is turned to last.
    means = [
        sign * float(values.mean()) if len(values) else math.inf for values in kept
    ]
    score = dict(zip(search.treatments, means, strict=True))
    turned: list[str] = []

    def after(factor: str) -> float:
        new = {*turned, factor}
        return score[tuple(pair[factor in new] for factor, pair in levels.items())]

    # `after` is the held-out response once this factor is turned too: greedy, and by no
    # run that the steps are measured on.
    while left := [factor for factor in factors if factor not in turned]:
        turned.append(min(left, key=after))
    order = {factor: levels[factor] for factor in turned}
    steps = ladder(runs, order, study=study, response=response, seeds=seeds)
    return Effects(*(table.assign(estimand=PATH) for table in steps))


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

    >>> rows = [(0, 0, 9.0), (1, 0, 8.0), (1, 1, 5.0)]
    >>> runs = pd.DataFrame(rows, columns=["a", "b", "test_error"])
    >>> runs = runs.assign(seed=0, status="finished")
    >>> table = ladder(runs, {"a": (0, 1), "b": (0, 1)}).table
    >>> table[["factor", "mean"]].values.tolist()  # from 9 over 8 to 5
    [['a', -1.0], ['b', -3.0]]
    """
    factors, pairs = list(levels), list(levels.values())
    steps: list[Treatment] = [
        tuple(pair[i < turned] for i, pair in enumerate(pairs))
        for turned in range(len(pairs) + 1)
    ]
    contrasts = []
    for factor, (old, new), rung in zip(factors, pairs, pairwise(steps), strict=True):
        weights = {rung[1]: 1.0, rung[0]: -1.0}
        contrasts.append(
            _Contrast(LADDER, factor, level_text(new), level_text(old), weights)
        )
    blocks = _blocks(runs, factors, response, seeds)
    return _effects(blocks, contrasts, study, response, _all(blocks, steps, factors))


def effects_of_kind(table: pd.DataFrame, kind: str) -> pd.DataFrame:
    """The rows of one kind of estimand, such as MAIN, wherever it is from."""
    return table[table["estimand"].str.startswith(kind)]


def treatments_of(
    runs: pd.DataFrame, reference: Mapping[str, Level]
) -> list[dict[str, Level]]:
    """Every treatment of a table of runs once, the reference first."""
    rows = runs[list(reference)].drop_duplicates().to_dict("records")
    treatments = [{str(key): value for key, value in row.items()} for row in rows]
    return sorted(treatments, key=lambda row: row != reference)


def unique(values: Iterable[Any]) -> list[Any]:
    """Every value once, in the order of its first appearance."""
    return list(dict.fromkeys(values))


def level_text(level: Level) -> str:
    """A level as it is typed: 1 for 1.0.

    >>> level_text(1.0), level_text(0.5), level_text("relu")
    ('1', '0.5', 'relu')
    """
    whole = isinstance(level, float) and level.is_integer()
    return str(int(level) if whole else level)


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
    # Numbers before texts: the two have no order between them.
    treatments = sorted(
        set(keys), key=lambda key: [(isinstance(part, str), part) for part in key]
    )
    values = np.full((len(blocks), len(treatments)), np.nan)
    statuses, right = (np.full(values.shape, empty, object) for empty in ("", None))
    row, column = (
        {key: i for i, key in enumerate(keys)} for keys in (blocks, treatments)
    )
    bits = runs["right"].tolist() if "right" in runs else [None] * len(runs)
    triples = zip(
        keys, runs["seed"], runs["status"], runs[response.name], bits, strict=True
    )
    for key, seed, status, value, images in triples:
        at, run = (row[seed], column[key]), f"run {_label(factors, key)} seed={seed}"
        if statuses[at]:
            raise ValueError(f"{run} is there twice")
        if status not in STATUSES:
            raise ValueError(f"{run}: status {status!r} is none of {STATUSES}")
        statuses[at] = status
        if status != "finished":
            continue
        values[at] = value
        if not np.isfinite(values[at]):
            raise ValueError(f"{run} is {status} but its {response.name} is {value}")
        if images is not None:
            right[at] = np.asarray(images, dtype=np.bool_)
            # The bits must be those of this response, or the interval for new digits
            # would be that of another one.
            if abs(_scored(right[at], response).mean() - value) > 1e-6:
                what = f"{response.name}={value}"
                raise ValueError(f"{run}: `right` does not give {what}")
    return _Blocks(blocks, treatments, values, statuses, right)


def _require(
    blocks: _Blocks, treatments: Iterable[Treatment], factors: list[str]
) -> None:
    absent = [
        _label(factors, treatment)
        for treatment in treatments
        if treatment not in blocks.treatments
    ]
    if absent:
        raise ValueError(f"no run of {'; '.join(absent)}")


def _all(
    blocks: _Blocks, treatments: Sequence[Treatment], factors: list[str]
) -> Sequence[Treatment]:
    """The treatments, of which every effect leaves out the same blocks, if all are
    there."""
    if len(set(treatments)) < len(treatments):
        raise ValueError(f"a factor of {factors} has the same level twice")
    _require(blocks, treatments, factors)
    return treatments


def _weights(
    signs: npt.NDArray[np.int_], ends: tuple[str, str]
) -> Iterator[tuple[str, tuple[int, ...], list[float]]]:
    """Each estimand of a factorial, the factors that it is of, the weight of each cell.

    `signs` [cell, factor] is 1 at the new level.
    """
    k = signs.shape[1]
    for size, kind in ((1, MAIN), (2, PAIR)):
        others = 2 ** (k - size)
        over = f" (mean over the {others} combinations of the others)"
        for chosen in combinations(range(k), size):
            # The product of the signs is +1 on half of the cells and -1 on the other:
            # new minus old of one factor; of two, the effect of one at the other's new
            # level minus that at its old one.
            weights = signs[:, chosen].prod(axis=1) / others
            yield kind + over * (others > 1), chosen, weights.tolist()
    for end, name in zip((-1, 1), ends, strict=True):
        for i in range(k):
            # The two cells in which all other factors stand at this end.
            there = (np.delete(signs, i, axis=1) == end).all(axis=1)
            estimand = f"{SIMPLE} (others as in {name})"
            yield estimand, (i,), (signs[:, i] * there).astype(float).tolist()
    for i in range(k):
        estimand = f"{SHAPLEY} (mean over all {math.factorial(k)} orders)"
        yield estimand, (i,), _shapley_weights(signs, i)


def _effects(
    blocks: _Blocks,
    contrasts: list[_Contrast],
    study: str,
    response: Response,
    together: Sequence[Treatment] = (),
) -> Effects:
    """The tables of these contrasts, each estimand a family of tests.

    `together` are treatments of which a block must have all runs for any effect.
    """
    if not contrasts:
        raise ValueError("no effect: every run is of the reference")
    losses = _losses(blocks, contrasts, study)
    about, rows, dots = {"study": study, "response": response.name}, [], []
    about |= {"unit": response.unit} if response.unit else {}
    for estimand in unique(contrast.estimand for contrast in contrasts):
        family = [contrast for contrast in contrasts if contrast.estimand == estimand]
        estimates = [
            _estimate(blocks, contrast, response, together) for contrast in family
        ]
        said = losses[losses["estimand"] == estimand].to_dict("records")
        # Interactions and Shapley values have no losses: no run is on one side of them.
        said = said or [{}] * len(family)
        judged = _judged(
            [row for row, _ in estimates], [seen for _, seen in estimates], response
        )
        for row, loss in zip(judged, said, strict=True):
            reasons = [row["reason"], _left_out(row), _of_losses(loss)]
            rows.append({**about, **row, "reason": "; ".join(filter(None, reasons))})
        dots += [seen for _, seen in estimates]
    columns = [*COLUMNS, *(about.keys() - COLUMNS)]
    table = pd.DataFrame(rows, columns=columns)
    return Effects(table, pd.concat(dots, ignore_index=True), losses)


def _estimate(
    blocks: _Blocks,
    contrast: _Contrast,
    response: Response,
    together: Sequence[Treatment],
) -> tuple[dict[str, Any], pd.DataFrame]:
    """A row of the table, lacking what its family decides, and its seed dots."""
    columns = [blocks.treatments.index(treatment) for treatment in contrast.weights]
    concerned = [
        blocks.treatments.index(treatment)
        for treatment in {*contrast.weights, *together}
    ]
    status = blocks.status[:, concerned]
    # A block counts if all its runs came to their end; one that lost a run is left out,
    # and one of which a run was never trained is missing.
    there = (status != "").all(axis=1)
    whole = np.flatnonzero((status == "finished").all(axis=1))
    at = np.ix_(whole, np.array(columns))
    weights = np.array(list(contrast.weights.values()))
    d = blocks.response[at] @ weights
    d[np.abs(d) < 1e-14] = 0  # rounding noise of fractions: these blocks tie
    names = dict(zip(_Contrast._fields[:4], contrast[:4], strict=True))
    row: dict[str, Any] = names | {
        "n": len(whole),
        "left_out": int(there.sum()) - len(whole),
        "missing": int((~there).sum()),
        **_estimates(d, response),
    }
    if not math.isnan(row["p"]):
        images = _image_differences(blocks.right[at], weights, response)
        if images is not None:
            limits = statistics.new_digits_interval(images)
            row["low_digits"], row["high_digits"] = limits
    dots = {key: names[key] for key in ("estimand", "factor", "level")} | {
        "seed": [blocks.seeds[i] for i in whole],
        "difference": d,
    }
    return row, pd.DataFrame(dots)


def _estimates(d: Array, response: Response) -> dict[str, Any]:
    """What the differences [block] alone say; NaN where they cannot."""
    n = len(d)
    sd = float(d.std(ddof=1)) if n > 1 else math.nan
    p, low, high, equivalent = (np.array(math.nan) for _ in range(4))
    # Differences that are all one number have no variance, and so no p: `_verdict`
    # calls them not estimable.
    if n > 1 and sd > 1e-9 * np.abs(d).max():
        p, low, high = statistics.sign_flip(d)
        equivalent = statistics.equivalence(d, response.margin)
    gain = -d if response.lower_is_better else d
    return {
        "mean": float(d.mean()) if n else math.nan,
        "sd": sd,
        "low": float(low),
        "high": float(high),
        "low_digits": math.nan,
        "high_digits": math.nan,
        "p": float(p),
        "p_equivalent": float(equivalent),
        "p_better": float((np.sign(gain) + 1).mean() / 2) if n else math.nan,
    }


def _image_differences(
    right: npt.NDArray[np.object_], weights: Array, response: Response
) -> Array | None:
    """The contrast per [block, image]; None if a run did not keep its bits."""
    sizes = {np.size(bits) for bits in right.flat if bits is not None}
    if len(sizes) > 1:
        raise ValueError(f"`right` counts different numbers of images: {sorted(sizes)}")
    if not sizes or any(bits is None for bits in right.flat):
        return None
    total = np.zeros((len(right), sizes.pop()))
    for i, j in np.ndindex(right.shape):
        total[i] += weights[j] * _scored(np.asarray(right[i, j]), response)
    return total


def _judged(
    rows: list[dict[str, Any]], dots: list[pd.DataFrame], response: Response
) -> list[dict[str, Any]]:
    """The rows of a family with what all its tests together decide."""
    seeds = sorted({seed for seen in dots for seed in seen["seed"]})
    # [test, seed]: a seed's sign is flipped in all tests at once, which is what chance
    # does to tests that share runs.
    differences = np.full((len(rows), len(seeds)), math.nan)
    for i, (row, seen) in enumerate(zip(rows, dots, strict=True)):
        if not math.isnan(row["p"]):
            places = [seeds.index(seed) for seed in seen["seed"]]
            differences[i, places] = seen["difference"]
    p = np.array([row["p"] for row in rows])
    # not below the p alone, from which drawn signs of many blocks differ by chance
    family = np.maximum(statistics.max_t(differences), p)
    equivalent = statistics.holm([row["p_equivalent"] for row in rows])
    adjusted = zip(family, statistics.holm(p), equivalent, strict=True)
    tests, judged = int(np.isfinite(p).sum()), []
    for row, values in zip(rows, adjusted, strict=True):
        names = ("p_family", "p_holm", "p_equivalent")
        ps = dict(zip(names, map(float, values), strict=True))
        reach = math.nan
        if not math.isnan(row["p"]):
            reach = statistics.smallest_effect(row["n"], row["sd"], tests)
        full = {**row, **ps, "power_80": reach}
        verdict, reason = _verdict(full, tests, response)
        judged.append({**full, "verdict": verdict, "reason": reason})
    return judged


def _verdict(row: dict[str, Any], tests: int, response: Response) -> tuple[str, str]:
    if math.isnan(row["p"]):
        fewer = {0: "no complete seed", 1: "one seed only"}
        constant = f"no variance: every difference is {row['mean']:.6g}"
        return "not estimable", fewer.get(row["n"], constant)
    sure = row["p_family"] <= SIGNIFICANCE
    if not sure and row["n"] < (need := statistics.blocks_needed()):
        few = f"no verdict possible at n = {row['n']}: it takes {need} seeds"
        return "undecided", few
    side = "better" if (row["mean"] < 0) == response.lower_is_better else "worse"
    # Before better and worse: what is surely there and surely smaller than the margin
    # is of no account.
    if row["p_equivalent"] <= SIGNIFICANCE:
        return "equivalent", f"{side}, but by less than the margin" if sure else ""
    if sure:
        # Seeds that would miss such an effect more than one time in five have likely
        # found it because chance made it look larger.
        weak = abs(row["mean"]) < row["power_80"]
        return side, "likely overstated: below 80 % power" if weak else ""
    if row["p"] <= SIGNIFICANCE:
        alone, among = (f"{row[key]:.2g}" for key in ("p", "p_family"))
        return "undecided", f"p = {alone} alone, {among} among {tests} tests"
    return "undecided", ""


def _left_out(row: dict[str, Any]) -> str:
    """How many seeds an effect lacks, in words."""
    planned = row["n"] + row["left_out"] + row["missing"]
    counts = {"left out": row["left_out"], "missing": row["missing"]}
    said = [
        f"{count} of {planned} seeds {what}" for what, count in counts.items() if count
    ]
    return "; ".join(said)


def _losses(blocks: _Blocks, contrasts: list[_Contrast], study: str) -> pd.DataFrame:
    """How often runs are lost, for each contrast of one level against one other.

    Share and exact interval of both, and the exact test over pairs of runs that differ
    in nothing else: `level_alone` of them lost the run of the level and kept the other.
    The pairs of one seed count together: what one draw does to them is done once.
    """
    rows = []
    for contrast in contrasts:
        # They are no difference of two levels: no run of theirs belongs to one side.
        if contrast.estimand.startswith((PAIR, SHAPLEY)):
            continue
        new, old = (
            blocks.status[:, [blocks.treatments.index(treatment) for treatment in side]]
            for side in _sides(contrast.weights)
        )
        names = dict(zip(_Contrast._fields[:4], contrast[:4], strict=True))
        # Pairs of which one run was lost and the other not, as in McNemar's test; a
        # pair counts only where both runs are there.
        gone_new, gone_old = (
            ~np.isin(status, ("", "finished")) for status in (new, old)
        )
        pairs = (new != "") & (old != "")
        alone, other = (gone_new & ~gone_old & pairs), (gone_old & ~gone_new & pairs)
        row = names | {
            "study": study,
            "p": statistics.mcnemar(alone.sum(1) - other.sum(1)),
        }
        row |= {"level_alone": int(alone.sum()), "reference_alone": int(other.sum())}
        row |= _share(new, "") | _share(old, "_reference")
        rows.append(row)
    table = pd.DataFrame(rows, columns=list(LOSSES))
    for _, family in table.groupby("estimand"):
        table.loc[family.index, "p_holm"] = statistics.holm(family["p"])
    return table


def _sides(
    weights: Mapping[Treatment, float],
) -> tuple[list[Treatment], list[Treatment]]:
    """The treatments of the level and those of the reference, in pairs."""
    new = [treatment for treatment, weight in weights.items() if weight > 0]
    return new, [treatment for treatment, weight in weights.items() if weight < 0]


def _share(status: npt.NDArray[np.object_], end: str) -> dict[str, Any]:
    """Counts of runs [block, treatment], and the share of those that are lost."""
    runs = int((status != "").sum())
    counts = {name: int((status == name).sum()) for name in ("collapsed", "diverged")}
    gone = sum(counts.values())
    low, high = statistics.share_interval(gone, runs)
    row = {"runs": runs, **counts, "share": gone / runs, "low": low, "high": high}
    return {f"{name}{end}": value for name, value in row.items()}


def _of_losses(row: Mapping[str, Any]) -> str:
    """How many runs of a level and of its reference were lost, in words, if any."""
    ends = ("", "_reference")
    verbs = {"collapsed": "collapse", "diverged": "have no finite response"}
    seen = [
        verb for key, verb in verbs.items() if any(row.get(key + end) for end in ends)
    ]
    if not seen:
        return ""
    gone, other = (sum(row[key + end] for key in verbs) for end in ends)
    said = f"{gone} of {row['runs']} runs {' or '.join(seen)} with {row['level']}"
    said += f", {other} of {row['runs_reference']} with {row['reference']}"
    depends = "that depends on the level, " * (row["p_holm"] <= SIGNIFICANCE)
    return f"{said} ({depends}p = {row['p_holm']:.2g})"


def _shapley_weights(signs: npt.NDArray[np.int_], i: int) -> list[float]:
    """Weight of each cell [cell]; `signs` [cell, factor] is 1 at the new level."""
    k = signs.shape[1]
    # Of the k! orders in which the factors can be turned, |S|! (k - |S| - 1)! turn just
    # those of S before factor i: S, the others at their new level in the cell.
    others = (np.delete(signs, i, axis=1) > 0).sum(axis=1).tolist()
    orders = [math.factorial(size) * math.factorial(k - size - 1) for size in others]
    return list(signs[:, i] * np.array(orders) / math.factorial(k))


def _scored(right: npt.NDArray[np.bool_], response: Response) -> npt.NDArray[np.bool_]:
    """What the response is the mean of, per image."""
    return ~right if response.lower_is_better else right


def _label(factors: list[str], treatment: Treatment) -> str:
    return " ".join(
        f"{factor}={level_text(level)}"
        for factor, level in zip(factors, treatment, strict=True)
    )
