"""The design in anybody's table of runs, and the effects that it allows.

Nothing but the table is known, so its design is recognised: which columns are factors,
which treatments were tried, whether they are one factor, one factor at a time, a
ladder, or a factorial. What is missing is named, and what cannot be decided is refused
with what to say. Imports pandas, numpy and scipy alone.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lenet.studies import effect
from lenet.studies.effect import Effects, Level, Response, level_text, unique
from lenet.studies.own_runs import ABOUT, ENDED, STATES, level_values, read_table

# Words in the name of a response that say which way is better.
HIGHER = (
    *("accuracy", "acc", "f1", "auc", "auroc", "map", "iou", "dice", "precision"),
    *("recall", "score", "reward", "return", "bleu", "rouge", "psnr", "ssim", "r2"),
)
LOWER = (
    *("error", "err", "loss", "rmse", "mse", "mae", "nll", "perplexity", "ppl"),
    *("seconds", "time", "latency", "fid", "wer", "cer", "regret", "cost", "memory"),
)
# Words in the name of a response that is no share, whatever its size.
NO_SHARE = (
    *("loss", "rmse", "mse", "mae", "nll", "perplexity", "ppl", "entropy", "psnr"),
    *("seconds", "time", "latency", "fid", "regret", "cost", "memory", "reward"),
    "return",
)
SHOWN = 8  # rows, treatments or levels that a message lists at most
ROW = "row"  # the number of a run's row, the first being 1


@dataclass(frozen=True)
class Comparison:
    """Runs of a table that may be compared, with the design that they make.

    `runs` has a row per run: seed (an integer per block; `blocks` says what each was
    called), status, the response and a column per factor. `columns` says of which
    columns a factor consists: those that always change together are one.
    """

    runs: pd.DataFrame
    response: Response
    columns: Mapping[str, tuple[str, ...]]
    reference: Mapping[str, Level]
    blocks: Sequence[str]
    notes: Sequence[str]  # what a reader must know: columns left out, runs lacking

    @property
    def treatments(self) -> list[dict[str, Level]]:
        """Every treatment once, the reference first."""
        return effect.treatments_of(self.runs, self.reference)

    @property
    def pairs(self) -> dict[str, tuple[Level, Level]]:
        """The reference and the other level of each factor, if each has just two."""
        pairs = {}
        for factor, old in self.reference.items():
            other = [
                level for level in unique(self.runs[factor].tolist()) if level != old
            ]
            if len(other) != 1:
                return {}
            pairs[factor] = (old, other[0])
        return pairs

    @property
    def lacking_cells(self) -> list[str]:
        """The combinations of two levels each that no run has, of a factorial."""
        cells = product(*self.pairs.values()) if len(self.pairs) > 1 else ()
        tried = [tuple(row.values()) for row in self.treatments]
        return [treatment_text(self.pairs, cell) for cell in cells if cell not in tried]

    @property
    def rungs(self) -> dict[str, tuple[Level, Level]]:
        """`pairs` in the order of a ladder, if each treatment changes one factor more
        than the one before."""
        changed = [self.changed(row) for row in self.treatments]
        changed.sort(key=len)
        steps = list(pairwise(changed))
        one_more = [len(names) for names in changed] == list(range(len(changed)))
        whole = bool(changed) and changed[-1] == set(self.pairs)
        if len(steps) < 2 or not one_more or not whole:
            return {}
        if not all(less < more for less, more in steps):
            return {}
        order = [factor for less, more in steps for factor in more - less]
        return {factor: self.pairs[factor] for factor in order}

    @property
    def kind(self) -> str:
        """What the design is called."""
        apart = [len(self.changed(row)) for row in self.treatments[1:]]
        if len(self.reference) == 1:
            return "one factor"
        if len(self.pairs) > 1 and not self.lacking_cells:
            return "factorial"
        if self.rungs:
            return "ladder"
        if all(count == 1 for count in apart):
            return "leave one out" if self.pairs else "one factor at a time"
        return "treatments against a reference"

    @property
    def base(self) -> str:
        """What the reference is called: by its levels, if they are few."""
        levels = treatment_text(self.reference, list(self.reference.values()))
        return levels if len(self.reference) < 4 else "the reference"

    def changed(self, treatment: Mapping[str, Level]) -> set[str]:
        """The factors in which a treatment differs from the reference."""
        return {
            factor
            for factor, level in treatment.items()
            if level != self.reference[factor]
        }


def effects(
    table: pd.DataFrame | str | Path,
    *,
    response: str,
    seed: str = "seed",
    reference: Mapping[str, Level] | None = None,
    better: str | None = None,
    factors: Sequence[str] | None = None,
    margin: float = 0.0,
) -> pd.DataFrame:
    """A row per effect: its mean, interval, p and verdict, from anybody's runs.

    table: a row is a run; a DataFrame, or a file that `own_runs.read_table` knows.
    response: the column of what was measured. better: higher or lower, read from the
    response's name where that says it. seed: the column of what pairs runs (a seed, a
    fold, a subject). reference: the level of each factor that effects are measured
    from. factors: their columns; by default all others that are no mark of a single
    run. margin: an effect within +-margin counts as none, and may get the verdict
    `equivalent`. A run without a response is lost: an effect is of the seeds of which
    no run is lost, and `left_out` says how many were.

    Columns of the result: study, response, estimand (arm; main, interaction and shapley
    of a factorial; ladder), factor, level, reference, n, mean, sd, low, high, p,
    verdict, reason and others. ValueError says what is missing and what to do.

    >>> import pandas as pd
    >>> runs = [("sgd", s, 0.90 + s / 500) for s in range(6)]
    >>> runs += [("adam", s, 0.92 + s / 400) for s in range(6)]
    >>> table = pd.DataFrame(runs, columns=["optimizer", "seed", "accuracy"])
    >>> found = effects(table, response="accuracy", reference={"optimizer": "sgd"})
    >>> found[["factor", "level", "n", "verdict"]].values.tolist()
    [['optimizer', 'adam', 6, 'better']]
    """
    return table_effects(
        compared(
            table,
            response=response,
            seed=seed,
            reference=reference,
            better=better,
            factors=factors,
            margin=margin,
        )
    ).table


def table_effects(comparison: Comparison, study: str = "") -> Effects:
    """All effects that the design allows: of a factorial, a ladder, or of arms."""
    about: dict[str, Any] = {"study": study, "response": comparison.response}
    if comparison.kind == "factorial":
        ends = comparison.base, "all changed"
        return effect.factorial(comparison.runs, comparison.pairs, ends=ends, **about)
    if comparison.kind == "ladder":
        return effect.ladder(comparison.runs, comparison.rungs, **about)
    return effect.arms(
        comparison.runs, comparison.reference, base=comparison.base, **about
    )


def compared(
    table: pd.DataFrame | str | Path,
    *,
    response: str,
    seed: str = "seed",
    reference: Mapping[str, Level] | None = None,
    better: str | None = None,
    factors: Sequence[str] | None = None,
    margin: float = 0.0,
) -> Comparison:
    """The Comparison that a table holds; arguments and errors as for `effects`.

    >>> rows = [(lr, s, lr + s) for lr in (0.1, 0.2, 0.4) for s in range(3)]
    >>> table = pd.DataFrame(rows, columns=["lr", "fold", "loss"])
    >>> found = compared(table, response="loss", seed="fold", reference={"lr": 0.1})
    >>> found.kind, found.base, found.response.lower_is_better, found.treatments
    ('one factor', 'lr=0.1', True, [{'lr': 0.1}, {'lr': 0.2}, {'lr': 0.4}])
    >>> compared(table, response="los", seed="fold")
    Traceback (most recent call last):
    ValueError: response=los: no such column; did you mean loss? columns: lr, fold, loss
    """
    rows = table if isinstance(table, pd.DataFrame) else read_table(table)
    rows = rows.reset_index(drop=True)
    for column, what in ((response, "response"), (seed, "seed")):
        refuse_missing_column(rows, column, what)
    if factors is not None:
        for column in factors:
            refuse_missing_column(rows, column, "factors")
    notes: list[str] = []
    # Runs that failed go first: their cells tell nothing of what may be a factor.
    rows = ended(rows, notes)
    levels = varied_levels(rows, factors, (response, seed), notes)
    columns = joined_columns(levels)
    blocks, codes = numbered_blocks(rows[seed])
    runs = pd.DataFrame({ROW: rows.index + 1, "seed": codes})
    for factor, parts in columns.items():
        runs[factor] = level_of(levels, parts)
    lower = way(response, better) == "lower"
    answer = response_numbers(rows[response], response, notes)
    runs["status"] = np.where(answer.isna(), "diverged", "finished")
    runs[response] = answer
    meant = Response(response, lower, margin)
    base = reference_level(runs, columns, levels, reference or {})
    refuse_duplicate_runs(runs, list(columns), rows, seed, factors is None)
    notes += missing_seeds(runs, base, seed, blocks)
    comparison = Comparison(runs, meant, columns, base, blocks, notes)
    return with_cells(comparison)


def varied_levels(
    rows: pd.DataFrame,
    factors: Sequence[str] | None,
    others: tuple[str, str],
    notes: list[str],
) -> dict[str, pd.Series]:
    """The level of each run, for each factor that differs from run to run: of the
    columns that are named, or of those that can be factors, `others` aside. A
    ValueError if none differs."""
    chosen = candidates(rows, {*others}, notes) if factors is None else factors
    levels = {name: level_values(rows[name]) for name in chosen}
    levels = {name: column for name, column in levels.items() if column.nunique() > 1}
    if not levels:
        response, seed = others
        raise ValueError(
            f"no column but {response} and {seed} differs from run to run in a way "
            "that could be a factor: say factors=[column,...]"
        )
    return levels


def refuse_missing_column(rows: pd.DataFrame, column: str, what: str) -> None:
    """A ValueError unless the table has a column, with what it has."""
    if column not in rows.columns:
        near = difflib.get_close_matches(column, list(rows.columns), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}? " if near else ""
        listed = shortened_list(list(rows.columns), 30)
        raise ValueError(f"{what}={column}: no such column; {hint}columns: {listed}")


def shortened_list(words: Sequence[Any], most: int = SHOWN) -> str:
    """Words in a row, and how many more there are.

    >>> shortened_list([1, 2, 3, 4, 5], most=3)
    '1, 2, 3 and 2 more'
    """
    first = [str(word) for word in list(words)[:most]]
    rest = len(words) - len(first)
    return ", ".join(first) + (f" and {rest} more" if rest else "")


def ended(rows: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """The rows of runs that finished, if the table has a column of their states."""
    for name in STATES:
        if name not in rows:
            continue
        states = rows[name].astype(str).str.lower()
        if not set(states) & set(ENDED):
            continue
        lost = rows[~states.isin(ENDED)]
        if len(lost):
            listed = shortened_list([f"{i + 1} ({rows[name][i]})" for i in lost.index])
            notes.append(f"left out, for their {name}: rows {listed}")
        return rows.drop(index=lost.index)
    return rows


def candidates(rows: pd.DataFrame, taken: set[str], notes: list[str]) -> list[str]:
    """The columns that may be factors: of more than one value, and no mark of a run.

    A level is shared by runs, at least by those of two seeds. What takes other values
    in more than half of the rows (a run's id, its hour, a second thing measured) is no
    factor.
    """
    kept, marks = [], []
    for name in rows.columns:
        if name in taken or name in ABOUT:
            continue
        different = rows[name].astype(str).nunique()
        if different > max(len(rows) / 2, 1):
            marks.append(name)
        elif different > 1:
            kept.append(name)
    if marks:
        notes.append(f"no factors, but marks of single runs: {shortened_list(marks)}")
    return kept


def joined_columns(levels: Mapping[str, pd.Series]) -> dict[str, tuple[str, ...]]:
    """Each factor with its columns: those whose levels settle each other are one.

    An optimiser that always comes with its own learning rate is one factor with it:

    >>> levels = {"optimizer": ["sgd", "adam", "sgd"], "lr": [0.1, 0.001, 0.1]}
    >>> joined_columns({name: pd.Series(column) for name, column in levels.items()})
    {'optimizer+lr': ('optimizer', 'lr')}
    """
    groups: list[list[str]] = []
    for name, column in levels.items():
        for group in groups:
            other = levels[group[0]]
            # As many pairs as values of either: each value of the one goes with one of
            # the other.
            couples = len(set(zip(column, other, strict=True)))
            if couples == column.nunique() == other.nunique():
                group.append(name)
                break
        else:
            groups.append([name])
    return {"+".join(group): tuple(group) for group in groups}


def level_of(levels: Mapping[str, pd.Series], parts: Sequence[str]) -> pd.Series:
    """The level of a factor in each run: of its one column, or all joined with '+'."""
    if len(parts) == 1:
        return levels[parts[0]]
    together = zip(*(levels[name] for name in parts), strict=True)
    index = levels[parts[0]].index
    named = ["+".join(map(level_text, several)) for several in together]
    return pd.Series(named, index, dtype=object)


def numbered_blocks(seeds: pd.Series) -> tuple[list[str], pd.Series]:
    """What the blocks are called, and the number of each run's block among them.

    Whole numbers are their own; other names are counted from 0.

    >>> names, numbers = numbered_blocks(pd.Series(["ann", "bob", "ann"]))
    >>> names, numbers.tolist()
    (['ann', 'bob'], [0, 1, 0])
    """
    if seeds.isna().any():
        listed = shortened_list([i + 1 for i in seeds.index[seeds.isna()]])
        raise ValueError(f"{seeds.name} is empty in the rows {listed}: name the blocks")
    numbers = pd.to_numeric(seeds, errors="coerce")
    if numbers.notna().all() and (numbers % 1 == 0).all():
        codes = numbers.astype(int)
        return [str(code) for code in sorted(set(codes))], codes
    names = sorted(map(str, seeds.unique()))
    return names, seeds.map(str).map(names.index)


def way(response: str, better: str | None) -> str:
    """Which way is better: higher or lower, as said or as the response's name says.

    >>> way("val_loss", None), way("test accuracy", None), way("mark", "lower")
    ('lower', 'higher', 'lower')
    """
    if better in ("higher", "lower"):
        return better
    if better is not None:
        raise ValueError(f"better={better}: say better=higher or better=lower")
    parts = words_of(response)
    says = {"higher": parts & set(HIGHER), "lower": parts & set(LOWER)}
    # A name that says both, such as loss_accuracy, says nothing: it is asked.
    sure = [side for side, hint in says.items() if hint]
    if len(sure) != 1:
        raise ValueError(f"is a higher {response} better? say better=higher or lower")
    return sure[0]


def words_of(response: str) -> set[str]:
    """The words that the name of a response is made of."""
    return set(re.split(r"[/\-._ ]", response.lower()))


def in_unit(comparison: Comparison, unit: str = "") -> Comparison:
    """The same runs with the response as it is shown: as a share, or in its own unit.

    unit: share, percent (which becomes a share), or what the numbers are of; by default
    a response that lies in [0, 1] is a share and one in [0, 100] in percent, unless
    there is a word of NO_SHARE in its name: those and all others are numbers of what
    the response is called. A ValueError where numbers are no such shares.
    """
    name, answers = comparison.response.name, comparison.runs[comparison.response.name]
    low, high = float(answers.min()), float(answers.max())
    most = {"share": 1, "percent": 100}
    if not unit:
        fits = [unit for unit, end in most.items() if 0 <= low <= high <= end]
        own = words_of(name) & set(NO_SHARE) or not fits
        unit = name.replace("_", " ") if own else fits[0]
    if unit not in most:
        response = replace(comparison.response, unit=unit)
        return replace(comparison, response=response)
    if not 0 <= low <= high <= most[unit]:
        raise ValueError(
            f"unit={unit}: {name} lies in [{low:g}, {high:g}], beyond 0 to {most[unit]}"
        )
    if unit == "share":
        return comparison
    # The margin was given in the numbers of the table, which are percent.
    response = replace(comparison.response, margin=comparison.response.margin / 100)
    notes = [*comparison.notes, f"{name} was in percent"]
    runs = comparison.runs.assign(**{name: answers / 100})
    return replace(comparison, runs=runs, response=response, notes=notes)


def response_numbers(column: pd.Series, response: str, notes: list[str]) -> pd.Series:
    """The responses as numbers; rows that have none are noted, and lost."""
    values = pd.to_numeric(column, errors="coerce").astype(float)
    if odd := [i for i in column.index if pd.isna(values[i]) and a_text(column[i])]:
        listed = shortened_list([f"{i + 1} ({column[i]!r})" for i in odd])
        raise ValueError(f"{response} is no number in the rows {listed}")
    values = values.where(np.isfinite(values))
    if values.isna().all():
        raise ValueError(f"{response} is empty in every row")
    if values.isna().any():
        listed = shortened_list([i + 1 for i in values.index[values.isna()]])
        notes.append(f"lost, without a finite {response}: rows {listed}")
    return values


def a_text(value: Any) -> bool:
    """Whether a cell holds a text that is meant as no number."""
    return isinstance(value, str) and value.strip().lower() not in ("", "nan", "none")


def reference_level(
    runs: pd.DataFrame,
    columns: Mapping[str, tuple[str, ...]],
    levels: Mapping[str, pd.Series],
    wanted: Mapping[str, Level],
) -> dict[str, Level]:
    """The one treatment that `wanted` names, by its factors."""
    fits = pd.Series(True, runs.index)
    for name, level in wanted.items():
        if name not in levels:
            raise ValueError(
                f"reference: {name} is no factor; factors: {', '.join(levels)}"
            )
        same = [equal(value, level) for value in levels[name]]
        if not any(same):
            offered = shortened_list(
                unique([level_text(level) for level in levels[name]])
            )
            raise ValueError(f"reference: no run has {name}={level}; levels: {offered}")
        fits &= pd.Series(same, runs.index)
    treatments = runs.loc[fits, list(columns)].drop_duplicates()
    if len(treatments) != 1:
        offered = ",".join(
            f"{name}={'|'.join(unique(map(level_text, column))[:SHOWN])}"
            for name, column in levels.items()
        )
        raise ValueError(
            f"the reference fits {len(treatments)} treatments: say one level of each "
            f"factor, reference=[{offered}]; or name fewer columns, factors=[...]"
        )
    (row,) = treatments.to_dict("records")
    return {str(factor): level for factor, level in row.items()}


def equal(value: Level, wanted: Level) -> bool:
    """Whether a level is what was asked for: 1e-3 and 0.001 are one number.

    >>> equal("1e-3", 0.001), equal("relu", "tanh")
    (True, False)
    """
    if str(value) == str(wanted):
        return True
    try:
        return float(value) == float(wanted)
    except (TypeError, ValueError):
        return False


def refuse_duplicate_runs(
    runs: pd.DataFrame, factors: list[str], rows: pd.DataFrame, seed: str, guessed: bool
) -> None:
    """A ValueError if two runs have one treatment and seed, with the rows and in which
    other columns they differ."""
    again = runs.duplicated([*factors, "seed"], keep=False)
    if not again.any():
        return
    first = runs[again].iloc[0]
    same = (runs[[*factors, "seed"]] == first[[*factors, "seed"]]).all(axis=1)
    alike = rows.loc[same[same].index]
    differ = [name for name in alike if alike[name].astype(str).nunique() > 1]
    where = shortened_list((same[same].index + 1).tolist())
    levels = treatment_text(factors, [first[factor] for factor in factors])
    hint = (
        f"; they differ in {shortened_list(differ)}"
        if differ
        else "; they are the same"
    )
    fix = "name the factors: factors=[...]" if guessed else "add a factor"
    raise ValueError(
        f"the rows {where} are runs of {levels} with {seed} {rows[seed][same].iloc[0]}"
        f"{hint}. Keep one, or {fix}"
    )


def treatment_text(
    factors: Sequence[str] | Mapping[str, Any], levels: Sequence[Level]
) -> str:
    """A treatment in words.

    >>> treatment_text(["optimizer", "epochs"], ["adam", 20.0])
    'optimizer=adam,epochs=20'
    """
    pairs = zip(factors, levels, strict=True)
    return ",".join(f"{factor}={level_text(level)}" for factor, level in pairs)


def missing_seeds(
    runs: pd.DataFrame, base: Mapping[str, Level], seed: str, blocks: Sequence[str]
) -> list[str]:
    """Which treatments lack which seeds; a ValueError where one shares none with the
    reference, so that nothing can be paired."""
    factors = list(base)
    seeds = {
        tuple(key): set(group["seed"])
        for key, group in runs.groupby(factors, sort=False)
    }
    every = sorted(set(runs["seed"]))
    called = dict(zip(every, blocks, strict=True))
    own = seeds[tuple(base.values())]
    absent = {
        treatment_text(factors, key): [
            called[block] for block in every if block not in there
        ]
        for key, there in seeds.items()
    }
    rows = [
        f"{treatment} lacks {seed} {shortened_list(names)}"
        for treatment, names in absent.items()
        if names
    ]
    alone = [
        treatment_text(factors, key) for key, there in seeds.items() if not there & own
    ]
    if alone:
        raise ValueError(
            f"{shortened_list(alone)} shares no {seed} with the reference, so that "
            f"their runs cannot be paired. Lacking: {'; '.join(rows[:SHOWN])}. Train "
            f"these, or, if {seed} is not what pairs the runs, name the column "
            "that does"
        )
    return [f"paired where both runs are there: {'; '.join(rows)}"] if rows else []


def with_cells(comparison: Comparison) -> Comparison:
    """The Comparison with a note of the cells that it lacks to be a factorial, or a
    ValueError if no block has all of them."""
    cells, kind = comparison.lacking_cells, comparison.kind
    # Half of the cells or more: else it is no factorial that lacks a few.
    few = len(cells) <= 2 ** len(comparison.pairs) // 2
    if kind == "treatments against a reference" and cells and few:
        said = f"for main effects and interactions run {shortened_list(cells)}"
        return replace(comparison, notes=[*comparison.notes, said])
    if kind in ("factorial", "ladder"):
        tried = len(comparison.treatments)
        counts = comparison.runs.groupby("seed").size()
        # Without one whole block no contrast of all its cells can be taken.
        if not (counts == tried).any():
            lost = shortened_list(
                [
                    f"{comparison.blocks[i]} has {count}"
                    for i, count in enumerate(counts)
                ]
            )
            raise ValueError(
                f"a {kind} needs one block with all {tried} treatments: {lost}"
            )
    return comparison
