"""Runs that learn from the answers of others: which may teach, and what is learnt."""

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from lenet import train
from lenet.config import RECORDS, Config, Places, Refusal, composed, names
from lenet.records import run_record, store
from lenet.records.record_types import Record
from lenet.records.teachers import taught, teachers
from lenet.sweep import verify
from lenet.training import data as datasets
from lenet.training.data import Data
from lenet.training.stack import Stack

SMALL = ("data=digits", "train_size=60", "epochs=1", "device=cpu")


def trained(place: Path, *line: str) -> list[Record]:
    """The records of the runs that are typed so, trained where there are none."""
    configs, places = composed([*SMALL, *line, f"output_dir={place}"])
    return train.train_missing(configs, places)


def ids(records: list[Record]) -> str:
    """Runs as a setting names them."""
    return "+".join(record["run_id"] for record in records)


def student(records: list[Record], *line: str) -> list[Config]:
    """Runs that these teach."""
    taught = [*SMALL, "teacher=runs", f"{RECORDS}={ids(records)}", *line]
    return composed(taught)[0]


LEVELS = sorted({*names("teacher")} - {"none"})


@pytest.mark.parametrize("level", LEVELS)
def test_student_learns_from_trained_runs(level: str, tmp_path: Path) -> None:
    """Asked once, its soft targets are the mean of its teachers' softmax at its
    temperature; it trains, and trained again it has the same bits."""
    taught_by = trained(tmp_path, "validation_size=30", "replicates=2")
    digits = datasets.load_data("digits", None)
    settings = (f"teacher={level}", "validation_size=30", "teacher.temperature=3")
    configs = student(taught_by, *settings)
    known = teachers(configs[0], digits, str(tmp_path))
    model = run_record.load_stack(taught_by, str(tmp_path))
    with torch.no_grad():
        scores = model(digits.train_images / 255)
    answers = Stack.start(configs, digits, known).recipe.answered
    assert (answers is None) == (level == "consistent")
    if answers is not None:
        expected = functional.softmax(scores.double() / 3, -1).mean(0)
        torch.testing.assert_close(answers[0].double(), expected, rtol=1e-4, atol=1e-6)
    (record,) = train.train_missing(
        configs, Places(output_dir=str(tmp_path), device="cpu")
    )
    assert record["status"] == "finished"
    assert "same bits" in verify.rerun(record["run_id"], str(tmp_path), None)
    (alone,) = trained(tmp_path, "validation_size=30", "seed=0")
    assert record["weights"] != alone["weights"]


def test_teachers_are_part_of_what_a_run_is(tmp_path: Path) -> None:
    """Other teachers make another run; the same ones in another order the same run."""
    digits = datasets.load_data("digits", None)
    first, second = (f"{k}" * 16 for k in "ab")
    names = {
        run_record.run_id(
            composed([*SMALL, "teacher=runs", f"{RECORDS}={typed}"])[0][0], digits
        )
        for typed in (
            first,
            second,
            f"{first}+{second}",
            f"{second}+{first}",
            f"{first}+{second}+{first}",
        )
    }
    assert len(names) == 3


@pytest.mark.parametrize(
    "typed",
    [(), (f"{RECORDS}=abc",), (f"{RECORDS}=12e4567890123456",), (f"{RECORDS}=null",)],
    ids=str,
)
def test_what_names_no_run_is_refused(typed: tuple[str, ...]) -> None:
    """The message says what to write."""
    with pytest.raises(Refusal, match=rf"{RECORDS}=<id>\+<id>"):
        composed([*SMALL, "teacher=runs", *typed])


def test_number_like_id_is_an_id() -> None:
    """An id of digits alone is read as a number by Hydra."""
    (config,), _ = composed(["teacher=runs", f"{RECORDS}=1234567890123456"])
    assert config.treatment[RECORDS] == "1234567890123456"


@pytest.mark.parametrize("level", LEVELS)
def test_who_cannot_teach_is_refused(level: str, tmp_path: Path, tiny: Data) -> None:
    """By name: a run that is not there, one of other data, one that diverged, and one
    that was trained on an image which the student holds out."""
    digits = datasets.load_data("digits", None)
    good = trained(tmp_path, "validation_size=30")
    place = str(tmp_path)
    (config,) = student(good, "validation_size=30", f"teacher={level}")
    assert len(teachers(config, digits, place)) == 1
    with pytest.raises(Refusal, match=r"is of other data than data=digits"):
        small = datasets.Data(**{**vars(tiny), "sha256": "0"})
        teachers(config, small, place)
    (lost,) = composed([*SMALL, f"teacher={level}", f"{RECORDS}={'c' * 16}"])[0]
    with pytest.raises(Refusal, match="no record: train it there first"):
        teachers(lost, digits, place)
    lost_one: Record = {**good[0], "status": "diverged", "weights": None}
    with pytest.raises(Refusal, match="diverged, and has no weights"):
        taught(lost_one, config, digits, place)
    knows = trained(tmp_path, "train_size=null")
    for held_out in ("validation_size=30", "adversary=fgsm adversary.held_out=30"):
        (config,) = student(knows, *held_out.split(), f"teacher={level}")
        with pytest.raises(Refusal, match="trained on 30 of the 30 images that this"):
            teachers(config, digits, place)
    with pytest.raises(Refusal, match="name a run of validation_size=30"):
        train.train_missing([config], Places(output_dir=place, device="cpu"))
    name = run_record.run_id(config, digits)
    assert store.finished_record(place, name) is None
