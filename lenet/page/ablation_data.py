"""The factorial as the page shows it: every cell with its seeds, and every switch.

A cell is a level of each factor. A switch is one factor turned from its reference to
its new level, the others staying: its effect is the mean within-seed difference, new
minus reference, with the interval that inverts the sign-flip test.
"""

from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lenet.config import Refusal, current
from lenet.page.network_data import mean_with_interval
from lenet.records.record_types import Plan, PlannedArm
from lenet.studies import study
from lenet.studies.effect import GUESSING, MAIN, TEST_ERROR, effects_of_kind
from lenet.studies.statistics import sign_flip

# What the page calls factors and levels; others keep the names of the design.
FACTORS = {
    "head": "Output",
    "input": "Input",
    "structure": "Pooling and connections",
    "augmentation": "Distortions",
    "units": "Units and their start",
    "training": "Training",
}
LEVELS = {
    ("head", "rbf"): "RBF units",
    ("head", "softmax"): "softmax",
    ("input", "range_1998"): "\N{MINUS SIGN}0.1 to 1.175",
    ("input", "standardize"): "standardised",
    ("structure", "1998"): "subsampling, Table I",
    ("structure", "today"): "max, all maps",
    ("augmentation", "none"): "none",
    ("augmentation", "affine"): "small, affine",
    ("units", "1998"): "scaled tanh",
    ("units", "today"): "ReLU",
    ("training", "1998"): "second-order, single images",
    ("training", "today"): "Adam, batches of 64",
}
SHOWN = 8  # letters of a run's id


def factorial_content(folder: Path) -> dict[str, Any]:
    """The cells, switches and main effects of a published factorial."""
    plan, records = study.read_study(folder)
    pairs = {factor: tuple(levels) for factor, levels in plan["levels"].items()}
    if plan["kind"] != "factorial" or any(len(pair) != 2 for pair in pairs.values()):
        raise Refusal(f"{folder} is no factorial of two levels: name another study")
    error = {record["run_id"]: record["response"]["test_error"] for record in records}
    cells = cell_errors(plan, pairs, error)
    return {
        "study": plan["study"],
        "seeds": list(plan["seeds"]),
        "images": records[0]["images"],
        "factors": [
            {
                "name": FACTORS.get(factor, factor),
                "levels": [LEVELS.get((factor, level), level) for level in pair],
                "main": main_effect(folder, factor),
            }
            for factor, pair in pairs.items()
        ],
        "cells": [
            cell(values) | {"runs": [name[:SHOWN] for name in names]}
            for values, names in zip(cells, cell_runs(plan, pairs), strict=True)
        ],
        "switches": switches(cells, len(pairs)),
    }


def cell_errors(
    plan: Plan,
    pairs: Mapping[str, tuple[str, ...]],
    error: Mapping[str, float | None],
) -> "np.ndarray":
    """Test errors [cell, seed]; a diverged run is no number. Cells count in binary, the
    first factor's level being the highest digit."""
    runs = cell_runs(plan, pairs)
    missing = [name for names in runs for name in names if name not in error]
    if missing:
        raise Refusal(f"{plan['study']} lacks {len(missing)} runs: {missing[0]}, ...")
    return np.array([[error[name] for name in names] for names in runs], dtype=float)


def cell_runs(plan: Plan, pairs: Mapping[str, tuple[str, ...]]) -> list[list[str]]:
    """The ids of the runs of each cell, by seed, in the order of `cell_errors`."""
    arms = {arm_levels(arm, plan["levels"]): arm["runs"] for arm in plan["arms"]}
    return [arms[levels] for levels in product(*pairs.values())]


def arm_levels(
    arm: PlannedArm, levels: Mapping[str, Mapping[str, Mapping[str, Any]]]
) -> tuple[str, ...]:
    """Each factor's level in an arm: the one whose settings the treatment has."""
    treatment = current(arm["treatment"]).items()
    return tuple(
        next(level for level, own in named.items() if own.items() <= treatment)
        for named in levels.values()
    )


def came_to_an_end(values: "np.ndarray") -> "np.ndarray":
    """Which runs neither diverged nor ended like a guess."""
    return values < GUESSING  # false for no number


def cell(values: "np.ndarray") -> dict[str, Any]:
    """A cell's errors by seed, and mean and interval of those that did not collapse."""
    whole = values[came_to_an_end(values)]
    return {
        "errors": [None if np.isnan(value) else float(value) for value in values],
        **rounded(mean_with_interval(whole.tolist())),
    }


def switches(cells: "np.ndarray", factors: int) -> list[list[dict[str, Any]]]:
    """For each factor and each setting of the others (the cell at its reference level),
    the effect of turning it; where a run collapsed, its seed is left out."""
    return [
        [
            # A cell's number in binary is its levels. With one bit set it is the same
            # cell with that factor at its new level.
            effect(cells[cell | bit] - cells[cell], cells[[cell, cell | bit]])
            for cell in range(len(cells))
            if not cell & bit
        ]
        for bit in (1 << (factors - 1 - at) for at in range(factors))
    ]


def effect(differences: "np.ndarray", both: "np.ndarray") -> dict[str, Any]:
    """Mean difference over the seeds of which no run collapsed, and its interval."""
    kept = differences[came_to_an_end(both).all(0)]
    _, low, high = (float(number) for number in sign_flip(kept))
    return rounded(
        {"n": len(kept), "mean": float(kept.mean()), "low": low, "high": high}
    )


def rounded(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers to a millionth; none for an interval without ends."""
    return {
        key: None if value is None or not np.isfinite(value) else round(value, 6)
        for key, value in numbers.items()
    }


def main_effect(folder: Path, factor: str) -> dict[str, Any]:
    """A factor's main effect on the test error as published."""
    table = pd.read_csv(folder / "effects.csv")
    rows = effects_of_kind(table[table["response"] == TEST_ERROR.name], MAIN)
    rows = rows[rows["factor"] == factor]
    if len(rows) != 1:
        raise Refusal(f"{folder} has no main effect of {factor}: draw its chart")
    row = rows.iloc[0]
    numbers = {key: float(row[key]) for key in ("mean", "low", "high")}
    return {**rounded(numbers), "n": int(row["n"]), "verdict": str(row["verdict"])}
