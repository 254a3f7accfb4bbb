"""What `lenet.run` and `lenet.runs` do: train, or find what was trained.

The same as `lenet train`, with the record in hand instead of a line on the screen.
"""

from typing import Any

from lenet import train
from lenet.config import Refusal, as_typed, composed
from lenet.records.record_types import Record


def run(*settings: str, **more: Any) -> Record:
    """The record of one run; trains it unless output_dir has it.

    settings: as typed after `lenet train`, "preset=paper", "optimizer.lr=0.01".
    more: those whose names have no dot, seed=3, epochs=5, output_dir="outputs",
    data_dir=..., device="cpu". The response is record["response"]["test_error"], a
    fraction. A Refusal says what cannot be, with the fix.

    >>> import tempfile
    >>> place = tempfile.mkdtemp()
    >>> record = run("data=digits", epochs=1, train_size=64, seed=3, output_dir=place)
    >>> record["seed"], record["status"]
    (3, 'finished')
    """
    records = runs(*settings, **more)
    if len(records) > 1:
        count = len(records)
        raise Refusal(f"replicates={count} are {count} runs: lenet.runs returns all")
    return records[0]


def runs(*settings: str, **more: Any) -> list[Record]:
    """The records of one treatment under replicates=<n> seeds, trained as one stack.

    The seeds are seed, seed + 1 and so on; settings and Refusals are those of `run`.

    >>> import tempfile
    >>> settings = {"epochs": 1, "train_size": 64, "output_dir": tempfile.mkdtemp()}
    >>> found = runs("data=digits", seed=3, replicates=2, **settings)
    >>> [record["seed"] for record in found]
    [3, 4]
    >>> run("data=digits", seed=3, replicates=2, **settings)
    Traceback (most recent call last):
    lenet.config.Refusal: replicates=2 are 2 runs: lenet.runs returns all
    """
    line = [*settings, *(f"{key}={as_typed(value)}" for key, value in more.items())]
    return train.train_missing(*composed(line))
