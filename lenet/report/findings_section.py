"""The findings of a folder of studies as a part of a page: sentences, then the table.

Each sentence stands where the folder has the studies that it is of.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from markupsafe import Markup

from lenet.config import Refusal
from lenet.figures.level_names import in_words
from lenet.records.record_types import Record
from lenet.records.run_record import test_error
from lenet.report.effect_tables import read_effects
from lenet.report.findings import COLUMNS, Cell, Change, findings, starts_from
from lenet.report.template import filled
from lenet.rounding import decimals
from lenet.studies.corrected_labels import CORRECTED, labels
from lenet.studies.effect import PAIR, TEST_ERROR
from lenet.studies.statistics import share_interval
from lenet.studies.study import converged, read_study

Rows = Mapping[Change, Mapping[str, Cell]]  # of the table, by change and column


def findings_section(folder: Path) -> Markup:
    """Sentences and table; empty where the folder has none of the studies."""
    rows = findings(folder)
    if not rows:
        return Markup()
    shown = [
        {"name": str(change), "joint": len(change.parts) > 1,
         "cells": [on_a_line(row[name]) if name in row else "" for name in COLUMNS]}
        for change, row in rows.items()
    ]  # fmt: skip
    counts = {column: sorted({row[column].n for row in rows.values() if column in row})
              for column in COLUMNS}  # fmt: skip
    seeds = [f"{column} n = {' to '.join(map(str, dict.fromkeys((n[0], n[-1]))))}"
             for column, n in counts.items() if n]  # fmt: skip
    about = {"columns": list(COLUMNS), "rows": shown, "seeds": ", ".join(seeds)}
    return filled("findings", sentences=sentences(folder, rows), **about)


def on_a_line(cell: Cell) -> str:
    """The cell as a page shows it: with a true minus, and nowhere to break."""
    return str(cell).replace("-", "\N{MINUS SIGN}").replace(" ", "\N{NO-BREAK SPACE}")


def sentences(folder: Path, rows: Rows) -> list[str]:
    """What the folder's studies say together, in a sentence each; rows: the table."""
    return [*both_ends(folder), *helpful(rows), *relabelled(folder, rows),
            *interacting(folder), *collapsed(folder)]  # fmt: skip


def both_ends(folder: Path) -> Iterator[str]:
    """The error of either preset."""
    studies = {"paper_1998": "paper", "modern": "modern"}
    found = [runs_of(folder / name, preset) for name, preset in studies.items()]
    errors = [
        [test_error(record) for record in records if converged(record)]
        for records in found
    ]
    if all(errors):
        means = [decimals(100 * float(np.mean(part))) for part in errors]
        counts = " and ".join(dict.fromkeys(str(len(part)) for part in errors))
        yield (
            f"LeNet-5 misreads {means[0]} % of the test digits as trained in 1998 and "
            f"{means[1]} % as trained today (n = {counts})."
        )


def helpful(rows: Rows) -> Iterator[str]:
    """Which changes are better alone in both networks."""
    columns = [name for name in COLUMNS if name.startswith("alone")]
    names = [
        str(change)
        for change, row in rows.items()
        if all(name in row and row[name].verdict == "better" for name in columns)
    ]
    if names:
        yield f"Better alone at both ends: {in_words(names)}."


def relabelled(folder: Path, before: Rows) -> Iterator[str]:
    """How many verdicts are others once wrong test labels are corrected."""
    after = findings(folder, CORRECTED.name)
    pairs = [
        (cell.verdict, after[change][column].verdict)
        for change, row in before.items()
        for column, cell in row.items()
        if column in after.get(change, {})
    ]
    if pairs:
        changed = sum(old != new for old, new in pairs)
        yield (
            f"With {len(labels())} wrong test labels corrected or left out, {changed} "
            f"of {len(pairs)} verdicts {'differs' if changed == 1 else 'differ'}."
        )


def interacting(folder: Path) -> Iterator[str]:
    """How many pairs of changes are proven to interact."""
    path = folder / "factorial" / "effects.csv"
    if not path.is_file() or not starts_from(path.parent, "paper"):
        return
    rows = read_effects(path)
    rows = rows[rows["response"] == TEST_ERROR.name]
    rows = rows[rows["estimand"].str.startswith(PAIR)]
    proven = int(rows["verdict"].isin(["better", "worse"]).sum())
    if proven:
        yield (
            f"{proven} of {len(rows)} pairs of changes interact: what a change does "
            "depends on the others."
        )


def collapsed(folder: Path) -> Iterator[str]:
    """How many networks of all combinations end like a guess, or diverge."""
    if records := runs_of(folder / "factorial", "paper"):
        lost = sum(not converged(record) for record in records)
        low, high = (decimals(100 * end) for end in share_interval(lost, len(records)))
        yield (
            f"{lost} of {len(records):,} networks of all combinations "
            f"{'collapses' if lost == 1 else 'collapse'} ({low} to {high} %)."
        )


def runs_of(folder: Path, preset: str) -> list[Record]:
    """The runs that a study which starts from this preset plans, those there are."""
    if not starts_from(folder, preset):
        return []
    try:
        plan, records = read_study(folder)
    except Refusal:  # of its own chart, which says why
        return []
    return [record for record in records if record["run_id"] in plan["runs"]]
