"""The digits that a visitor may pick: of the test set, and those that are hard."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from lenet.records import run_record
from lenet.records.record_types import Record
from lenet.training.data import Data

PER_CLASS = 4  # of the test digits
HARD = 30  # of those that most runs miss


def sample_digits(data: Data) -> dict[str, Any]:
    """Test digits of every class, spread evenly over the test set."""
    places: list[int] = []
    for digit in range(10):
        of_class = np.flatnonzero(data.test_labels.numpy() == digit)
        step = len(of_class) / PER_CLASS
        places += [int(of_class[int((i + 0.5) * step)]) for i in range(PER_CLASS)]
    return {"title": "Test digits", **pictures(data, sorted(places))}


def missed_digits(title: str, data: Data, records: Sequence[Record]) -> dict[str, Any]:
    """The test digits that most of these runs read wrongly, with the shares of runs."""
    kept = [
        record
        for record in records
        if record["right"] and record["data"] == data.sha256
    ]
    right = np.stack([run_record.right_images(record) for record in kept])
    share = 1 - right.mean(0)
    worst = np.argsort(-share, kind="stable")[:HARD]
    shares = [round(float(share[place]), 4) for place in worst]
    return {
        "title": title,
        "missed": shares,
        "runs": len(kept),
        **pictures(data, worst.tolist()),
    }


def pictures(data: Data, places: Sequence[int]) -> dict[str, Any]:
    """Test images as bytes in base64, with their places and labels."""
    images = data.test_images[list(places)].cpu().numpy()
    return {
        "places": [int(place) for place in places],
        "labels": data.test_labels[list(places)].tolist(),
        "images": base64.b64encode(images.tobytes()).decode(),
    }
