"""The runs that a chart is drawn from: of one study, or whatever trainings left behind.

Reads records only. Which factors a study varies is read from its treatments: settings
that always change together are one factor, and a number that belongs to a level, such
as optimizer.lr, or the batch size that comes with an optimizer, is none of its own.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pandas as pd

from lenet.config import (
    FACTORS,
    RECORDS,
    Refusal,
    Value,
    changed_keys,
    current,
    group_levels,
    preset_treatments,
)
from lenet.records import plan as plans
from lenet.records import run_record, store
from lenet.records.record_types import Plan, Record
from lenet.studies import corrected_labels as by_votes
from lenet.studies import effect
from lenet.studies.corrected_labels import CORRECTED
from lenet.studies.effect import TEST_ERROR, Effects, Level, Response, unique
from lenet.studies.origin import Origin

NARROWED = (*FACTORS, "data", "code", "torch")  # besides the numbers of a treatment
BELONGS = {"batch_size": "optimizer"}  # dotted numbers say to what they belong
STATED = {"data", "epochs", "train_size", "validation_size"}  # of a study, by captions
HELD_OUT = Response("validation_error")


@dataclass(frozen=True)
class Study:
    """Runs that may be compared, with the factors in which they differ.

    `runs` has a row per run and a column per factor; a factor of several settings
    (`settings` says which) has their levels joined with '+'. `reference` is one level
    of each factor, `base` its name. `response` is the test error, or for a tuning that
    of held-out images: what is chosen by it must not look at the test set. `held_out`
    are the runs, of other seeds, on whose held-out images the order of a path is
    chosen.
    """

    name: str
    records: Sequence[Record]
    runs: pd.DataFrame
    settings: Mapping[str, tuple[str, ...]]
    reference: Mapping[str, Level]
    base: str
    response: Response = TEST_ERROR
    seeds: Sequence[int] = ()
    held_out: pd.DataFrame | None = None
    remark: str = ""  # what a reader must know: runs that are missing or mixed
    plan: Plan | None = None

    @property
    def levels(self) -> dict[str, tuple[Level, Level]]:
        """The reference and the other level of each factor, if each has just two."""
        pairs = {}
        for factor, old in self.reference.items():
            new = [level for level in unique(self.runs[factor]) if level != old]
            if len(new) != 1:
                return {}
            pairs[factor] = (old, new[0])
        return pairs

    @property
    def rungs(self) -> dict[str, tuple[Level, Level]]:
        """`levels` in the order of a ladder, if there is a run on each of its rungs.

        Where all cells are there the order is that of the years, and in a year that of
        the plan; else it is that of the treatments, each with one change more.
        """
        pairs, order = self.levels, list(self.levels)
        if len(pairs) < 2:
            return {}
        if self.factorial:
            listed = {
                factor: at
                for at, factor in enumerate(self.plan["levels"] if self.plan else ())
            }

            def place(factor: str) -> tuple[int, int]:
                return self.year(factor, pairs[factor][1]), listed.get(factor, 0)

            order.sort(key=place)
            return {factor: pairs[factor] for factor in order}
        changed = [
            {factor for factor in pairs if row[factor] != pairs[factor][0]}
            for row in self.treatments
        ]
        # A ladder of k factors has k + 1 treatments, which change 0, 1, ..., k of them;
        # and each must keep what the one before has changed.
        changed.sort(key=len)
        if [len(factors) for factors in changed] != list(range(len(pairs) + 1)):
            return {}
        steps = list(pairwise(changed))
        if not all(less < more for less, more in steps):
            return {}
        return {factor: pairs[factor] for less, more in steps for factor in more - less}

    @property
    def order(self) -> str:
        """By which rule the rungs follow each other, in a sentence."""
        years = {
            factor: self.year(factor, new) for factor, (_, new) in self.rungs.items()
        }
        listed = list(years.values())
        if 0 in listed or listed != sorted(listed):
            return "One change at a time, in the order of the design."
        said = (
            "One change at a time, in the order of the years from which each is known"
        )
        ties = [
            f"{' before '.join(name for name in years if years[name] == year)} ({year})"
            for year in unique(listed)
            if listed.count(year) > 1
        ]
        if not ties:
            return f"{said}."
        return f"{said}; in one year, as the design lists them: {', '.join(ties)}."

    @property
    def factorial(self) -> bool:
        """Whether all combinations of two levels are there, of two factors or more."""
        return len(self.levels) > 1 and len(self.treatments) == 2 ** len(self.levels)

    @property
    def new(self) -> str:
        """The other end of a ladder: its preset, or what the plan calls its levels."""
        end = self.of({factor: pair[1] for factor, pair in self.levels.items()})
        known = {*FACTORS, *(key for keys in self.settings.values() for key in keys)}
        for record in self.records:
            if record["run_id"] in set(end["run_id"]):
                treatment = settings_of(record)
                for name, preset in preset_treatments().items():
                    if all(preset.get(key) == treatment.get(key) for key in known):
                        return name
        tried = self.plan["levels"] if self.plan else {}
        last = [(factor, *list(levels.items())[-1]) for factor, levels in tried.items()]
        # A level that is named by its value, "softmax", says nothing of the others.
        words = {
            name
            for factor, name, settings in last
            if {key: str(value) for key, value in settings.items()} != {factor: name}
        }
        return words.pop() if len(words) == 1 else "all changed"

    @property
    def treatments(self) -> list[dict[str, Level]]:
        """Every treatment once, by its levels of the factors, the reference first."""
        return effect.treatments_of(self.runs, self.reference)

    def of(self, treatment: Mapping[str, Level]) -> pd.DataFrame:
        """The runs of one treatment."""
        chosen = self.runs
        for factor, level in treatment.items():
            chosen = chosen[chosen[factor] == level]
        return chosen

    @cached_property
    def names(self) -> dict[tuple[str, str], dict[str, Level]]:
        """The plan's factor and level for what an arm changes, where it has such."""
        tried, names = self.treatments, {}
        for arm in self.plan["arms"] if self.plan else ():
            factors = self.settings.items()
            treatment = {
                factor: level(arm["treatment"], keys) for factor, keys in factors
            }
            if len(arm["levels"]) == 1 and treatment in tried:
                (name,) = arm["levels"].items()
                names[name] = self.changed(treatment)
        return names

    @cached_property
    def given_names(self) -> dict[str, dict[str, str]]:
        """By factor, what the design of a ladder or a cross calls its levels."""
        named: dict[str, dict[str, str]] = {}
        if not self.plan or self.plan["kind"] in plans.ALONE:
            return named
        planned = {
            factor: {key for settings in tried.values() for key in settings}
            for factor, tried in self.plan["levels"].items()
        }
        for arm, (factor, keys) in product(self.plan["arms"], self.settings.items()):
            for called, name in arm["levels"].items():
                value = str(level(arm["treatment"], keys))
                if {*keys} <= planned.get(called, set()) and name != value:
                    named.setdefault(factor, {})[value] = name
        return named

    def changed(self, treatment: Mapping[str, Level]) -> dict[str, Level]:
        """What differs from the reference."""
        return {
            factor: level
            for factor, level in treatment.items()
            if level != self.reference[factor]
        }

    def label(self, treatment: Mapping[str, Level]) -> str:
        """What a treatment is called: as in the plan, or by what differs."""
        changed = self.changed(treatment)
        if not changed:
            return self.base
        for (factor, called), change in self.names.items():
            if change == changed:
                return f"{factor}: {called}"
        named = {
            factor: str(level).replace("+", " + ") for factor, level in changed.items()
        }
        return ", ".join(f"{factor}: {level}" for factor, level in named.items())

    def year(self, factor: str, level: Level) -> int:
        """The year from which a level can be had, of its latest part; 0: unknown."""
        keys = self.settings[factor]
        values = str(level).split("+") if len(keys) > 1 else [str(level)]
        parts = zip(keys, values, strict=True)
        known = (
            group_levels(factor).get(level, {}).get("year", 0)
            for factor, level in parts
            if factor in FACTORS
        )
        return max(known, default=0)

    @property
    def years(self) -> dict[str, dict[str, int]]:
        """The years of all levels, where they are known."""
        return {
            factor: {
                str(level): year
                for level in unique(self.runs[factor])
                if (year := self.year(factor, level))
            }
            for factor in self.reference
        }

    @property
    def base_changes(self) -> dict[str, Value]:
        """What the reference changes of its preset, but for its data and their sizes
        and the number of passes, which every caption and table states."""
        presets = preset_treatments()
        if self.base not in presets or self.plan is None:
            return {}
        reference = current(self.plan["reference"])
        named = {*changed_keys(reference, self.base)} - {*STATED, RECORDS}
        return {key: reference[key] for key in (*FACTORS, *reference) if key in named}

    @cached_property
    def effects(self) -> pd.DataFrame:
        """All effects that its runs allow, a row each, fractions as in effects.csv."""
        return study_effects(self).table

    @property
    def origin(self) -> Origin:
        """What the caption of every figure says of the runs."""
        record = self.records[0]
        digits = f"{record['images']:,} test images"
        if self.response == HELD_OUT:
            digits = (
                f"{record['treatment']['validation_size']:,} held-out training images"
            )
        elif self.response == CORRECTED:
            digits += " with corrected labels"
        data = f"{record['treatment']['data']}, {digits}"
        return Origin(self.remark, data, run_record.trained_with(self.records))


def published_study(
    folder: Path, allow_partial: bool = False, mix: bool = False
) -> Study:
    """The study in a folder, with no run missing unless that is allowed."""
    plan, records = read_study(folder)
    planned = set(plan["runs"])
    records = [record for record in records if record["run_id"] in planned]
    missing = len(planned) - len({record["run_id"] for record in records})
    said = f"{missing} of {len(planned)} runs missing" if missing else ""
    if missing and not (allow_partial and records):
        raise Refusal(
            f"{folder}: {said}; the sweep's command again trains them, and "
            "allow_partial=true draws what there is and says so"
        )
    return study_of(
        plan["study"], records, plan["reference"], plan=plan, remark=said, mix=mix
    )


def corrected(study: Study) -> Study:
    """The same study by the corrected labels of its test images."""
    if study.response != TEST_ERROR:
        raise Refusal(f"{study.name}: a tuning has no test error to correct")
    records = [by_votes.record(record) for record in study.records]
    name, held_out = CORRECTED.name, study.held_out
    if held_out is not None:  # of training images: what they are called alone changes
        held_out = held_out.rename(columns={TEST_ERROR.name: name})
    return replace(
        study,
        records=records,
        runs=run_table(records, study.settings, CORRECTED),
        response=CORRECTED,
        held_out=held_out,
    )


def open_study(
    name: str,
    output_dir: str = "outputs",
    allow_partial: bool = False,
    mix: bool = False,
) -> Study:
    """The study of this name, from its records alone: lenet.study("leave_one_out").

    Its `effects` are a DataFrame with a row per effect, its `runs` one with a row per
    run. A Refusal if there is none of this name, if runs are missing, unless
    allow_partial, or of different code or torch, unless mix.

    >>> study = open_study("leave_one_out")
    >>> study.base, len(study.runs)
    ('modern', 176)
    >>> study.effects.set_index("factor").loc["head", ["level", "verdict"]].tolist()
    ['rbf', 'worse']
    """
    root = Path(output_dir).expanduser()
    known = plans.study_names(root)
    if name not in known:
        listed = ", ".join(known) or "none"
        raise Refusal(f"study={name or '?'}: the studies in {root} are: {listed}")
    return published_study(root / name, allow_partial, mix)


def read_study(folder: Path) -> tuple[Plan, list[Record]]:
    """The plan of a study and the records that it was published with, or that a sweep
    that did not come to its end left in runs/; every seal checked."""
    plan, records = plans.read_plan(folder), plans.published_records(folder)
    for name in plan["runs"]:
        if name not in records and (record := plans.peek(str(folder.parent), name)):
            records[name] = record
    return plan, list(records.values())


def ad_hoc_study(
    output_dir: str,
    reference: Sequence[str],
    narrow: Mapping[str, str],
    name: str = "ad_hoc",
    mix: bool = False,
) -> Study:
    """The runs in an output directory whose treatment has the settings of `narrow`.

    `reference` is ["activation=relu", ...] for each factor that differs, or the first
    letters of one run's id.
    """
    every = list(store.finished_records(output_dir))
    records = [record for record in every if fits(record, narrow)]
    if not every:
        raise Refusal(
            f"{Path(output_dir) / 'runs'} has no finished run: train some, or say "
            "study=<name> for a published study"
        )
    if not records:
        kept = " ".join(f"{key}={value}" for key, value in narrow.items())
        raise Refusal(f"none of the {len(every)} runs in {output_dir} fits {kept}")
    refuse_mixed(records, mix)
    columns = differing(map(settings_of, records))
    base = chosen_reference(records, columns, reference)
    return study_of(name, records, base, mix=mix)


def converged(record: Record) -> bool:
    """Whether a run came to its end and does not err like a guess there."""
    limit = run_record.guessing(record)
    return record["status"] == "finished" and run_record.test_error(record) < limit


def settings_of(record: Record) -> Mapping[str, Value]:
    """The settings of a run, those of factors that came later among them."""
    return current(record["treatment"])


def fits(record: Record, narrow: Mapping[str, str]) -> bool:
    """Whether a run's treatment has these settings; `code` and `torch` by prefix."""
    about = {"code": code_of_record(record), "torch": record["versions"]["torch"]}
    for key, typed in narrow.items():
        if key in about and not about[key].startswith(typed):
            return False
        if key not in about and not same_value(settings_of(record).get(key), typed):
            return False
    return True


def code_of_record(record: Record) -> str:
    """What trained a run: its edition, or, before there were any, its code."""
    edition = run_record.edition(record)
    known = str(record["code"]["fingerprint"])[:10]
    return f"edition-{edition}" if edition > 1 else known


def bound_to(record: Record, what: str) -> str:
    """What the bits of a run depend on; "any" for those that do not."""
    return "any" if run_record.portable(record) else what


def same_value(value: Value, typed: str) -> bool:
    """Whether a value is what was typed: 0.002 and 2e-3 are one number."""
    if isinstance(value, str) or value is None:
        return value_text(value) == typed
    try:
        return float(value) == float(typed)
    except ValueError:
        return False


def chosen_reference(
    records: Sequence[Record],
    columns: Mapping[str, list[Value]],
    reference: Sequence[str],
) -> Mapping[str, Value]:
    """The one treatment that `reference` names; a Refusal that lists what is open."""
    typed = dict(text.split("=", 1) for text in reference if "=" in text)
    if not typed:
        start = next(iter(reference), "-")
        runs = [record for record in records if record["run_id"].startswith(start)]
    else:
        runs = [record for record in records if fits(record, typed)]
    treatments = {
        tuple(settings_of(record)[column] for column in columns) for record in runs
    }
    if len(treatments) == 1:
        return settings_of(runs[0])
    offered = ", ".join(
        f"{key}={'|'.join(map(value_text, unique(values)))}"
        for key, values in columns.items()
    )
    raise Refusal(
        f"reference=[{','.join(reference)}] fits {len(treatments)} treatments: say one "
        f"level for each factor that differs, reference=[{offered}], or one run's id; "
        "epochs=20 and the like leave out runs of other settings"
    )


def study_of(
    name: str,
    records: Sequence[Record],
    base: Mapping[str, Value],
    *,
    plan: Plan | None = None,
    remark: str = "",
    mix: bool = False,
) -> Study:
    """The Study of these records, with effects measured from the treatment `base`."""
    mixed, base = refuse_mixed(records, mix), current(base)
    kind = plan["kind"] if plan else ""
    key, search = "validation_size", kind == "path"
    # The runs of a path's search hold out images, and so differ from the base in how
    # many: they choose the order, and measure nothing.
    measured = [
        record
        for record in records
        if not search or settings_of(record)[key] == base[key]
    ]
    columns = differing([base, *map(settings_of, measured)])
    if not columns:
        raise Refusal(
            f"{name}: all {len(records)} runs are of one treatment: no effect"
        )
    if tuning := kind == "tuning":
        measured = [{**record, "right": None} for record in measured]  # of test images
    settings, response = (
        joined_factors(columns, plan),
        HELD_OUT if tuning else TEST_ERROR,
    )
    reference = {factor: level(base, keys) for factor, keys in settings.items()}
    return Study(
        name=name,
        records=measured,
        runs=run_table(measured, settings, response),
        settings=settings,
        reference=reference,
        base=base_name(plan, reference),
        response=response,
        seeds=plan["seeds"] if plan else [],
        held_out=run_table(validated(records, measured), settings) if search else None,
        remark="; ".join(filter(None, [remark, mixed])),
        plan=plan,
    )


def run_table(
    records: Sequence[Record],
    settings: Mapping[str, tuple[str, ...]],
    response: Response = TEST_ERROR,
) -> pd.DataFrame:
    """One row per run, with a column per factor; the status says which collapsed."""
    runs = run_record.record_frame(records)
    about = ["run_id", "seed", "status", "seconds", "right"]
    runs = runs[[*about, *records[0]["response"]]].copy()
    for measured in records[0]["response"]:  # diverged runs have none
        runs[measured] = pd.to_numeric(runs[measured])
    guesses = [run_record.guessing(record) for record in records]
    # NaN, of a run that diverged, is not above any limit: it stays "diverged".
    runs.loc[runs[response.name] >= guesses, "status"] = "collapsed"
    for factor, keys in settings.items():
        levels = [level(settings_of(record), keys) for record in records]
        runs[factor] = pd.Series(levels, runs.index, dtype=object)
    return runs


def validated(records: Sequence[Record], measured: Sequence[Record]) -> list[Record]:
    """The runs that are not measured, with their held-out error as the response."""
    names = {record["run_id"] for record in measured}
    return [
        {
            **record,
            "right": None,
            "response": {"test_error": record["curve"][-1].get("validation_error")},
        }
        for record in records
        if record["run_id"] not in names
    ]


def refuse_mixed(records: Sequence[Record], mix: bool) -> str:
    """What a chart of these runs mixes, in words; a Refusal unless that is allowed."""
    about: dict[str, Callable[[Record], str]] = {
        "data": lambda record: f"{record['treatment']['data']} {record['data'][:10]}",
        "code": code_of_record,
        "torch": lambda record: bound_to(record, record["versions"]["torch"]),
        "hardware": lambda record: bound_to(record, record["hardware"]),
    }
    remarks = []
    for key, read in about.items():
        counts = pd.Series([read(record) for record in records]).value_counts(
            sort=False
        )
        if len(counts) == 1:
            continue
        listed = ", ".join(f"{value} ({runs} runs)" for value, runs in counts.items())
        choice = f"{key}={str(counts.index[0]).split()[0]}"
        mixing = "" if key == "data" else ", or draw them together with mix=true"
        # Another data set is never drawn together; other code or torch with mix=true
        # alone; another processor always, and the caption says so.
        if key == "data" or not (mix or key == "hardware"):
            raise Refusal(
                f"the runs are of {len(counts)} versions of {key}, whose difference "
                f"would pass for an effect: {listed}. Choose one, {choice}, which goes "
                f"with output_dir= and reference=; or train again what is old{mixing}"
            )
        many = "kinds of" if key == "hardware" else "versions of"
        remarks.append(f"mixed: {len(counts)} {many} {key}: {listed}")
    return "; ".join(remarks)


def differing(treatments: Iterable[Mapping[str, Value]]) -> dict[str, list[Value]]:
    """The settings in which treatments differ, with the value of each treatment.

    A number that is settled by the level that it belongs to is left out.
    """
    known = {tuple(sorted(treatment.items())): treatment for treatment in treatments}
    rows = list(known.values())
    keys = unique(key for row in rows for key in row)
    values = {key: [row.get(key) for row in rows] for key in keys}
    differ = {key: column for key, column in values.items() if len(unique(column)) > 1}
    # optimizer.lr belongs to optimizer. It is a factor of its own only where it differs
    # within one level of the optimizer.
    owner = {key: BELONGS.get(key, key.rpartition(".")[0]) for key in differ}
    return {
        key: column
        for key, column in differ.items()
        if owner[key] not in differ or not settles(differ[owner[key]], column)
    }


def settles(level: Sequence[Value], other: Sequence[Value]) -> bool:
    """Whether the value of one setting says that of the other."""
    # As many pairs as values of `level`: each of its values goes with one of `other`.
    return len(set(zip(level, other, strict=True))) == len(set(level))


def joined_factors(
    columns: Mapping[str, list[Value]], plan: Plan | None
) -> dict[str, tuple[str, ...]]:
    """Each factor with its settings: those that settle each other are one factor."""
    groups: list[list[str]] = []
    for key, column in columns.items():
        for group in groups:
            other = columns[group[0]]
            if settles(column, other) and settles(other, column):
                group.append(key)
                break
        else:
            groups.append([key])
    factors: dict[str, tuple[str, ...]] = {}
    for group in groups:
        taken = {*factors, *columns} - {*group}
        factors[group_name(group, plan, taken)] = tuple(group)
    return factors


def group_name(keys: Sequence[str], plan: Plan | None, taken: Iterable[str]) -> str:
    """What settings that change together are called in the plan, or all of them.

    `taken` are the names of other settings and groups.
    """
    if len(keys) == 1:
        return keys[0]
    for factor, tried in (plan["levels"] if plan else {}).items():
        brought = {key for settings in tried.values() for key in settings}
        if set(keys) <= brought and factor not in taken:
            return str(factor)
    return "+".join(keys)


def level(treatment: Mapping[str, Value], keys: Sequence[str]) -> Level:
    """The level of a factor: the value of its one setting, or all joined with '+'."""
    values = [treatment.get(key) for key in keys]
    if len(values) == 1 and values[0] is not None:
        return values[0]
    return "+".join(map(value_text, values))


def value_text(value: Value) -> str:
    """A value as it is typed."""
    return "null" if value is None else str(value)


def base_name(plan: Plan | None, reference: Mapping[str, Level]) -> str:
    """What the reference is called: its preset, its design, or its levels."""
    base = (plan["preset"] or plan["design"]) if plan else ""
    levels = ", ".join(map(str, reference.values()))
    return base or (levels if len(reference) < 4 else "the reference")


def study_effects(study: Study) -> Effects:
    """All effects that a study's runs allow: of a factorial, a ladder, or of arms."""
    about: dict[str, Any] = {"study": study.name, "seeds": study.seeds}
    about |= {"response": study.response}
    tables = []
    try:
        # All that fit: a full factorial is a ladder too, by the years of its levels.
        if study.factorial:
            ends = study.base, study.new
            tables.append(
                effect.factorial(study.runs, study.levels, ends=ends, **about)
            )
        if study.rungs:
            tables.append(effect.ladder(study.runs, study.rungs, **about))
        if study.held_out is not None:
            pair = study.held_out, study.runs
            tables.append(effect.path(*pair, study.levels, **about))
        if not tables:
            about |= {"names": study.names, "base": study.base}
            tables.append(effect.arms(study.runs, study.reference, **about))
    except ValueError as problem:
        raise Refusal(f"{study.name}: {problem}") from None
    return Effects(*map(pd.concat, zip(*tables, strict=True)))
