"""Each change since 1998, by where it was measured, as a folder's studies say together.

A row is a change, a column where it was measured: alone in LeNet-5 of 1998 or of today,
as a step of the ladder, or on average over all combinations of the others.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

from lenet.config import FACTORS, Refusal, current, group_levels, preset_treatments
from lenet.figures.ablation_chart import OVERSTATED
from lenet.figures.level_names import Words, in_words
from lenet.records import plan as plans
from lenet.report.effect_tables import read_effects
from lenet.rounding import decimals
from lenet.studies.effect import ALONE, LADDER, MAIN, SIMPLE, TEST_ERROR

# The columns: the studies that each is of, from which preset they start, and which of
# their estimands it is. A study of another base has the same name and is none of them.
COLUMNS = {
    "alone in 1998": {
        "one_factor": ("paper", f"{ALONE} from paper"),
        "factorial": ("paper", f"{SIMPLE} (others as in paper)"),
    },
    "alone today": {
        "leave_one_out": ("modern", f"{ALONE} from modern"),
        "factorial": ("paper", f"{SIMPLE} (others as in modern)"),
    },
    "on the ladder": {"ladder": ("paper", LADDER)},
    "main effect": {"factorial": ("paper", MAIN)},
}
MARKS = {"better": "▼", "worse": "▲", "equivalent": "=", "undecided": "?"}
MARKS |= {"not estimable": ""}
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
        parts = [decimals(self.mean, sign="+")]
        if math.isfinite(self.low):  # too few seeds have no interval
            parts.append(f"({decimals(self.low)}, {decimals(self.high)})")
        return " ".join([*parts, MARKS[self.verdict] + "†" * self.overstated]).strip()


class Change(NamedTuple):
    """A change by its levels, of one factor or, joined by +, of several."""

    now: str
    then: str

    @property
    def parts(self) -> list[tuple[str, str]]:
        """(now, then) of each factor that it changes."""
        now, then = self.now.split("+"), self.then.split("+")
        return list(zip(now, then, strict=True)) if len(now) == len(then) else []

    @property
    def known(self) -> bool:
        """Whether each of its levels is today's in place of 1998's."""
        return bool(self.parts) and set(self.parts) <= preset_changes().keys()

    def __str__(self) -> str:
        changed = preset_changes()
        labels = {factor: labels_of(factor) for factor in FACTORS}
        if len(self.parts) > 1:
            return in_words(labels[changed[part]][part[0]] for part in self.parts)
        (part,) = self.parts
        arm = SimpleNamespace(factor=changed[part], level=part[0], reference=part[1])
        return Words(labels).change(arm)


def preset_changes() -> dict[tuple[str, str], str]:
    """(today's level, that of 1998) of each factor on which the presets differ."""
    paper, modern = (preset_treatments()[preset] for preset in ("paper", "modern"))
    return {
        (str(modern[factor]), str(paper[factor])): factor
        for factor in FACTORS
        if modern[factor] != paper[factor]
    }


def labels_of(factor: str) -> dict[str, str]:
    """What the levels of a factor are called."""
    levels = group_levels(factor)
    return {name: content.get("label", name) for name, content in levels.items()}


def findings(
    folder: Path, response: str = TEST_ERROR.name
) -> dict[Change, dict[str, Cell]]:
    """The cells of each change by column, from the effects of the folder's studies on
    this response: of a column's studies the first that has it. Changes that are made
    together follow those that they are made of."""
    table: dict[Change, dict[str, Cell]] = {}
    for column, sources in COLUMNS.items():
        for study, (preset, estimand) in sources.items():
            has_effects = (folder / study / "effects.csv").is_file()
            if not has_effects or not starts_from(folder / study, preset):
                continue
            for change, cell in measured_changes(folder / study, estimand, response):
                table.setdefault(change, {}).setdefault(column, cell)
    joined = {part: change for change in table for part in change.parts
              if len(change.parts) > 1}  # fmt: skip
    order = list(table)

    def place(change: Change) -> tuple[int, bool, int]:
        whole = joined.get(change.parts[0], change)
        return order.index(whole), whole == change, order.index(change)

    return {change: table[change] for change in sorted(table, key=place)}


def starts_from(folder: Path, preset: str) -> bool:
    """Whether there is a study that starts from a preset as it is: on its data, for its
    passes."""
    if not (folder / "plan.json").is_file():
        return False
    try:
        reference = current(plans.read_plan(folder)["reference"])
    except Refusal:  # of its own chart, which says why
        return False
    return reference == preset_treatments()[preset]


def measured_changes(
    folder: Path, estimand: str, response: str
) -> Iterator[tuple[Change, Cell]]:
    """A study's effects of one estimand, each as today minus 1998; of levels that are
    those of the presets, and no others."""
    rows = read_effects(folder / "effects.csv")
    rows = rows[rows["estimand"].str.startswith(estimand)]
    for row in rows[rows["response"] == response].to_dict("records"):
        mean, low, high = (100 * row[key] for key in ("mean", "low", "high"))
        verdict, weak = row["verdict"], row["reason"].startswith(OVERSTATED)
        change = Change(row["level"], row["reference"])
        if not change.known:  # 1998's level, put back?
            change = Change(change.then, change.now)
            mean, low, high = -mean, -high, -low
            verdict = BACK.get(verdict, verdict)
        if change.known:
            yield change, Cell(mean, low, high, verdict, weak, int(row["n"]))


def on_a_line(cell: Cell) -> str:
    """The cell as a page shows it: with a true minus, and nowhere to break."""
    return str(cell).replace("-", "\N{MINUS SIGN}").replace(" ", "\N{NO-BREAK SPACE}")
