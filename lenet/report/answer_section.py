"""What a study asked and what came out, and the errors behind its effects."""

import math
from collections.abc import Sequence

import pandas as pd
from markupsafe import Markup

from lenet.figures import level_names
from lenet.report import effect_tables
from lenet.report.template import filled
from lenet.rounding import decimals
from lenet.studies.statistics import t_interval
from lenet.studies.study import Study

MOST = 12  # rows of a table that is not folded


def answer_section(studies: Sequence[Study], came_out: str) -> Markup:
    """The question, the answer, and the error of every treatment."""
    asked = " ".join(map(question, studies))
    of_each = {study.name: error_table(study) for study in studies}
    tables = pd.concat(of_each, names=["of study"])
    tables = tables.reset_index("of study", drop=len(studies) == 1)
    return filled(
        "errors",
        asked=asked,
        came_out=came_out,
        open=len(tables) <= MOST * len(studies),
        table=effect_tables.as_html(tables),
    )


def question(study: Study) -> str:
    """What the study asked, in a sentence."""
    what = study.response.name.replace("_", " ")
    network, seeds = level_names.study_network(study), study.runs["seed"].nunique()
    many = f"{len(study.runs):,} runs of {seeds} seeds"
    if study.factorial:
        factors, cells = len(study.levels), len(study.treatments)
        return (
            f"What do {factors} changes to {network} do to the {what}, alone and in "
            f"all {cells} combinations, in {many}?"
        )
    if study.rungs:
        new = level_names.end_network(study, study.new)
        way = f"each step from {network} to {new}"
        return f"What does {way} do to the {what}, in {many}?"
    arms = len(study.treatments) - 1
    return (
        f"What does each of {arms} changes, alone, do to the {what} of {network}, in "
        f"{many}?"
    )


def error_table(study: Study) -> pd.DataFrame:
    """A row per treatment: runs, lost ones, mean with interval, and range, in %."""
    rows = []
    for treatment in study.treatments:
        runs = study.of(treatment)
        kept = 100 * runs[runs["status"] == "finished"][study.response.name]
        low, high = t_interval(kept)
        rows.append(
            {
                "treatment": level_names.treatment(study, treatment),
                "runs": len(runs),
                "lost": len(runs) - len(kept),
                f"{study.response.name}, %": decimals_of(kept.mean()),
                "95 % interval": ranged(low, high),
                "lowest to highest, %": ranged(kept.min(), kept.max()),
            }
        )
    return pd.DataFrame(rows)


def ranged(low: float, high: float) -> str:
    """Two limits; nothing where there are none."""
    return f"{decimals(low)} to {decimals(high)}" if math.isfinite(low) else ""


def decimals_of(value: float) -> str:
    """A number; nothing where there is none."""
    return decimals(value) if math.isfinite(value) else ""
