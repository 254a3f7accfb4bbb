"""A trained run as the page carries it: its weights, and what is known of it."""

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from lenet.config import FACTORS, Refusal, Value, current, preset_treatments
from lenet.records.record_types import Record
from lenet.records.run_record import test_error
from lenet.studies import study
from lenet.studies.statistics import mean_interval
from lenet.training.factor.connection import LEVELS as CONNECTIONS
from lenet.training.factor.head import LEVELS as HEADS
from lenet.training.model import STRUCTURE, LeNet5

YEARS = {"paper": "1998", "modern": "today"}  # what a visitor calls these presets


def run_content(
    record: Record, model: LeNet5, published: Iterable[Record]
) -> dict[str, Any]:
    """A run for the page: its name, levels, weights, error, and that of runs like it.

    published: the records among which others of its treatment are looked for.
    """
    return {
        "name": visitor_name(record),
        "run": record["run_id"],
        "seed": record["seed"],
        "data": record["treatment"]["data"],
        "error": record["response"]["test_error"],
        "images": record["images"],
        "like": errors_alike(record, published),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        **network_content(
            model, {key: str(record["treatment"][key]) for key in STRUCTURE}
        ),
    }


def visitor_name(record: Record) -> str:
    """What a visitor calls a run: its preset's year, and what it has of its own."""
    nearest, changes = difference(record["treatment"])
    own = ", ".join(f"{factor} {level}" for factor, level in changes.items())
    return f"{YEARS[nearest]}, with {own}".replace("_", " ") if own else YEARS[nearest]


def network_content(model: LeNet5, levels: Mapping[str, str]) -> dict[str, Any]:
    """What the page computes with: the structure and all numbers of the first run."""
    known = model.state_dict()
    chosen = {name: known[name][0] for name in sorted(known)}
    head = HEADS[levels["head"]]
    return {
        "levels": levels,
        "inputs": {"C1": [[0]] * 6, "C3": CONNECTIONS[levels["connection"]]},
        "bitmaps": None if head.trainable else head.codes().int().tolist(),
        "tensors": [(name, tensor.numel()) for name, tensor in chosen.items()],
        "numbers": packed_floats(chosen.values()),
    }


def packed_floats(tensors: Iterable[Tensor]) -> str:
    """All numbers, one tensor after the other, as float32 in base64."""
    # Little endian on every machine, as bytes.mjs reads them.
    flat = [tensor.flatten().numpy().astype("<f4") for tensor in tensors]
    return base64.b64encode(np.concatenate(flat).tobytes()).decode()


def difference(treatment: Mapping[str, Value]) -> tuple[str, dict[str, str]]:
    """The preset that a treatment is nearest to, and its levels that are others."""
    settings, changes = current(treatment), dict[str, dict[str, str]]()
    for preset in YEARS:
        base = preset_treatments()[preset]
        changes[preset] = {
            factor: str(settings[factor])
            for factor in FACTORS
            if settings[factor] != base[factor]
        }
    nearest = min(changes, key=lambda preset: len(changes[preset]))
    return nearest, changes[nearest]


def errors_alike(
    record: Record, published: Iterable[Record]
) -> dict[str, float | None]:
    """Mean error of the runs of this treatment by the same edition, with interval."""
    alike = {
        other["run_id"]: test_error(other)
        for other in published
        if other["treatment"] == record["treatment"]
        and other["data"] == record["data"]
        and study.code_of_record(other) == study.code_of_record(record)
        and other["status"] == "finished"
    }
    # Itself too, published or not; by its id it counts once.
    return mean_with_interval(list({**alike, **itself(record)}.values()))


def itself(record: Record) -> dict[str, float]:
    """The error of a run by its id."""
    if record["response"]["test_error"] is None:
        raise Refusal(
            f"run {record['run_id']} diverged: it reads nothing; name another"
        )
    return {record["run_id"]: record["response"]["test_error"]}


def mean_with_interval(values: Sequence[float]) -> dict[str, float | None]:
    """`mean_interval` as JSON has it: None where one value gives no interval."""
    found = mean_interval(values)
    return {key: None if np.isnan(value) else value for key, value in found.items()}
