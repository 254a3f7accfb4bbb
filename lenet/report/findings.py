"""Each change since 1998, by where it was measured, as a folder's studies say together.

A row is a change, a column where it was measured: alone in LeNet-5 of 1998 or of today,
as a step of the ladder, or on average over all combinations of the others.
"""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup

from lenet.config import FACTORS, group_levels
from lenet.figures.ablation_chart import OVERSTATED
from lenet.figures.level_names import Words, in_words
from lenet.report.template import filled
from lenet.rounding import decimals
from lenet.studies.effect import ALONE, LADDER, MAIN, SIMPLE, TEST_ERROR
from lenet.studies.study import preset_levels

# The columns, each with the studies and the estimands that it is of.
COLUMNS = {
    "alone in 1998": {
        "one_factor": ALONE,
        "factorial": f"{SIMPLE} (others as in paper)",
    },
    "alone today": {
        "leave_one_out": ALONE,
        "factorial": f"{SIMPLE} (others as in modern)",
    },
    "on the ladder": {"ladder": LADDER},
    "main effect": {"factorial": MAIN},
}
MARKS = {"better": "▼", "worse": "▲", "equivalent": "=", "undecided": "?"}
BACK = {"better": "worse", "worse": "better"}  # the verdict on a change undone


class Cell(NamedTuple):
    """An effect on the test error, today minus 1998, in points; a dagger marks one that
    is likely overstated."""

    mean: float
    low: float
    high: float
    verdict: str
    overstated: bool
    n: int

    def __str__(self) -> str:
        ends = f"({decimals(self.low)}, {decimals(self.high)})"
        mark = MARKS[self.verdict] + "†" * self.overstated
        return f"{decimals(self.mean, sign='+')} {ends} {mark}"


class Change(NamedTuple):
    """A change by its levels, of one factor or, joined by +, of several."""

    now: str
    then: str

    @property
    def parts(self) -> list[tuple[str, str]]:
        """(now, then) of each factor that it changes."""
        return list(zip(self.now.split("+"), self.then.split("+"), strict=True))

    def __str__(self) -> str:
        factors, labels = modern_levels(), {f: labels_of(f) for f in FACTORS}
        if len(self.parts) > 1:
            return in_words(labels[factors[now]][now] for now, _ in self.parts)
        arm = SimpleNamespace(
            factor=factors[self.now], level=self.now, reference=self.then
        )
        return Words(labels).change(arm)


def modern_levels() -> dict[str, str]:
    """The levels of today that are not those of 1998, with their factors."""
    paper, modern = (preset_levels()[preset] for preset in ("paper", "modern"))
    return {str(modern[f]): f for f in FACTORS if modern[f] != paper[f]}


def labels_of(factor: str) -> dict[str, str]:
    """What the levels of a factor are called."""
    levels = group_levels(factor)
    return {name: content.get("label", name) for name, content in levels.items()}


def findings(folder: Path) -> dict[Change, dict[str, Cell]]:
    """The cells of each change by column, from the effects of the folder's studies: of
    a column's studies the first that has it. Changes that are made together follow
    those that they are made of."""
    table: dict[Change, dict[str, Cell]] = {}
    for column, sources in COLUMNS.items():
        for study, estimand in sources.items():
            for change, cell in measured_changes(
                folder / study / "effects.csv", estimand
            ):
                table.setdefault(change, {}).setdefault(column, cell)
    joined = {part: change for change in table for part in change.parts
              if len(change.parts) > 1}  # fmt: skip
    order = list(table)

    def place(change: Change) -> tuple[int, bool, int]:
        whole = joined.get(change.parts[0], change)
        return order.index(whole), whole == change, order.index(change)

    return {change: table[change] for change in sorted(table, key=place)}


def measured_changes(path: Path, estimand: str) -> Iterator[tuple[Change, Cell]]:
    """The effects of one estimand, each as today minus 1998; none without the file."""
    if not path.is_file():
        return
    rows = pd.read_csv(path, keep_default_na=False)
    rows = rows[rows["estimand"].str.startswith(estimand)]
    for row in rows[rows["response"] == TEST_ERROR.name].to_dict("records"):
        mean, low, high = (100 * float(row[key]) for key in ("mean", "low", "high"))
        verdict, weak = row["verdict"], str(row["reason"]).startswith(OVERSTATED)
        change = Change(row["level"], row["reference"])
        if change.now.split("+")[0] not in modern_levels():  # 1998's level, put back
            change = Change(change.then, change.now)
            mean, low, high = -mean, -high, -low
            verdict = BACK.get(verdict, verdict)
        yield change, Cell(mean, low, high, verdict, weak, int(row["n"]))


def on_a_line(cell: Cell) -> str:
    """The cell as a page shows it: with a true minus, and nowhere to break."""
    return str(cell).replace("-", "\N{MINUS SIGN}").replace(" ", "\N{NO-BREAK SPACE}")


def findings_section(folder: Path) -> Markup:
    """The table as a part of a page; empty where the folder has none of the studies."""
    rows = findings(folder)
    if not rows:
        return Markup()
    shown = [
        {"name": str(change), "joint": len(change.parts) > 1,
         "cells": [on_a_line(row[c]) if c in row else "" for c in COLUMNS]}
        for change, row in rows.items()
    ]  # fmt: skip
    counts = {column: sorted({row[column].n for row in rows.values() if column in row})
              for column in COLUMNS}  # fmt: skip
    seeds = [f"{column} n = {' to '.join(map(str, dict.fromkeys((n[0], n[-1]))))}"
             for column, n in counts.items() if n]  # fmt: skip
    return filled("findings", columns=list(COLUMNS), rows=shown, seeds=", ".join(seeds))
