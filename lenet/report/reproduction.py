"""The command that trains a run again."""

from collections.abc import Mapping

from lenet.config import (
    FACTORS,
    RANGES,
    RECORDS,
    Value,
    group_levels,
    preset_treatments,
)
from lenet.records.record_types import Record
from lenet.studies.study import Study, settings_of, value_text


def commands(study: Study) -> list[str]:
    """The command that trains each run again: the modern preset and what differs."""
    base = preset_treatments()["modern"]
    return [rerun_command(record, base) for record in study.records]


def rerun_command(record: Record, base: Mapping[str, Value]) -> str:
    """What to type for one run, given what the modern preset would set."""
    treatment = settings_of(record)
    words = [
        f"{factor}={treatment[factor]}"
        for factor in (*FACTORS, "data")
        if treatment[factor] != base[factor]
    ]
    default = dict(base)
    for factor in FACTORS:
        inner = group_levels(factor).get(str(treatment[factor]), {})
        default |= {f"{factor}.{key}": value for key, value in inner.items()}
        default["batch_size"] = inner.get("batch_size", default["batch_size"])
    numbers = [key for key in treatment if key in RANGES or key == RECORDS]
    words += [
        f"{key}={value_text(treatment[key])}"
        for key in sorted(numbers)
        if key not in default or treatment[key] != default[key]
    ]
    return " ".join(["python -m lenet.train", *words, f"seed={record['seed']}"])
