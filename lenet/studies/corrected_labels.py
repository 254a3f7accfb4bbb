"""The test error of MNIST once its wrong labels are corrected.

Fifteen of the 10,000 test labels do not stand by human votes (corrected_labels.csv):
ten are replaced, and five images without a majority are left out. A network that reads
as people do errs on them all, 0.15 %; the corrected test set has no such floor.
"""

import base64
import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from lenet.config import Refusal
from lenet.records.record_types import Record
from lenet.records.run_record import packed_bits, unpacked
from lenet.studies.effect import Response

CORRECTED = Response("corrected_error")
LABELS = Path(__file__).parent / "corrected_labels.csv"
IMAGES = 10_000  # of the test set that the votes are of


@functools.cache
def labels() -> pd.DataFrame:
    """The images whose label does not stand: index, label, and corrected, which is NaN
    where no digit has a majority.

    >>> len(labels()), int(labels()["corrected"].isna().sum())
    (15, 5)
    """
    return pd.read_csv(LABELS, comment="#")


def right_corrected(
    given: npt.NDArray[np.bool_], answers: npt.NDArray[np.uint8]
) -> npt.NDArray[np.bool_]:
    """Which images a run got right by the corrected labels: 9,995 of [image].

    `given` [image] says which it got right by the labels as they are, `answers`
    [missed] what it took the others for, in their order: where it was right by a wrong
    label its answer was that label.

    Whoever gives the ten wrong labels is right by them, and errs by those corrected:

    >>> right = right_corrected(np.ones(IMAGES, bool), np.array([], np.uint8))
    >>> len(right), int((~right).sum())
    (9995, 10)
    """
    missed = np.flatnonzero(~given)
    if len(answers) != len(missed):
        raise ValueError(f"{len(answers)} answers to {len(missed)} missed images")
    table = labels()
    places = table["index"].to_numpy()
    # What each image in question was taken for: its label, where the run was right by
    # it.
    said = np.zeros(len(given), dtype=np.int64)
    said[places] = table["label"]
    said[missed] = answers
    now_right = given.copy()
    # NaN, where no digit has a majority, equals nothing; these images are left out.
    now_right[places] = said[places] == table["corrected"].to_numpy()
    return np.delete(now_right, places[table["corrected"].isna()])


def why_not_corrected(record: Record) -> str:
    """Why a record has no corrected error; nothing where it has one."""
    if record["treatment"]["data"] != "mnist" or record["images"] != IMAGES:
        return "the corrected labels are those of MNIST's 10,000 test images"
    if record["right"] is not None and record.get("answers") is None:
        return (
            "records of edition 1 do not say what missed images were taken for; "
            "train it again"
        )
    return ""


def record(record: Record) -> Record:
    """The record with the corrected labels: its response, and which images are right.

    A run that diverged has neither, as before.

    >>> from lenet.records.store import select
    >>> modern = select("modern", "outputs")
    >>> errors = modern["response"], record(modern)["response"]
    >>> [round(some["test_error"] * 10_000) for some in errors]
    [63, 63]
    >>> round(errors[1]["corrected_error"] * 9_995)
    60
    """
    if why := why_not_corrected(record):
        raise Refusal(f"run {record['run_id']}: no {CORRECTED.name}: {why}")
    response, answers = record["response"], record.get("answers")
    if record["right"] is None or answers is None:
        return {**record, "response": {**response, "corrected_error": None}}
    given = np.frombuffer(base64.b64decode(answers), np.uint8)
    now_right = right_corrected(unpacked(record["right"], record["images"]), given)
    response = {**response, "corrected_error": float((~now_right).mean())}
    return {
        **record,
        "response": response,
        "right": packed_bits(now_right),
        "images": len(now_right),
    }
