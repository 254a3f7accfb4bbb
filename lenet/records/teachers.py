"""The runs that another one learns from: found, and refused where they cannot teach."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lenet.config import RECORDS, Config, Refusal, current
from lenet.records import run_record, store
from lenet.records.record_types import Record

if TYPE_CHECKING:
    from torch import Tensor

    from lenet.training.data import Data
    from lenet.training.recipe import Teacher


def teachers(config: Config, data: "Data", output_dir: str) -> "Sequence[Teacher]":
    """The trained runs that `teacher.records` names, in order; none for `teacher=none`.

    A Refusal (2) where one is not there, diverged, is of other data, or was trained on
    an image that this run holds out: what they know of it would reach this run.
    """
    if config.level("teacher") == "none":
        return ()
    records = [
        teacher_record(name, output_dir)
        for name in str(config.treatment[RECORDS]).split("+")
    ]
    return [taught(record, config, data, output_dir) for record in records]


def teacher_record(name: str, output_dir: str) -> Record:
    """The record of a teacher, trained here or published."""
    try:
        return store.select(name, output_dir)
    except Refusal:
        raise Refusal(
            f"{RECORDS} names run {name}, of which {output_dir} has no record: train "
            "it there first, or leave it out"
        ) from None


def taught(record: Record, config: Config, data: "Data", output_dir: str) -> "Teacher":
    """A teacher that may teach this run."""
    from lenet.training.recipe import Teacher

    said = f"run {record['run_id']} cannot teach: it"
    if record["data"] != data.sha256:
        raise Refusal(f"{said} is of other data than data={data.name}; name another")
    if record["weights"] is None:
        raise Refusal(f"{said} diverged, and has no weights; name another")
    theirs = Config(current(record["treatment"]), record["seed"])
    (learned, _), (_, held_out) = split(theirs, data), split(config, data)
    leaked = len(set(learned.tolist()) & set(held_out.tolist()))
    if leaked:
        size = len(held_out)
        raise Refusal(
            f"{said} was trained on {leaked:,} of the {size:,} images that this run "
            f"holds out: name a run of validation_size={size}"
        )
    return Teacher(theirs, run_record.load_stack([record], output_dir))


def split(config: Config, data: "Data") -> "tuple[Tensor, Tensor]":
    """The indices of the images that a run is trained on, and that it holds out."""
    size = config.treatment["train_size"]
    assert size is None or isinstance(size, int)
    keys = ("validation_size", "adversary.held_out")
    learned, held_out = data.split(size, max(int(config.number(key)) for key in keys))
    return learned, held_out
