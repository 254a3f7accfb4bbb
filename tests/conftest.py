"""Shapes in the signatures of lenet are checked under pytest; small data for all.

jaxtyping's import hook rewrites lenet as it is imported, so it is installed before
anything here imports lenet; beartype is its type checker, told that a whole number is
also a float (PEP 484).
"""

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
import torch
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook
from threadpoolctl import threadpool_limits

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
install_import_hook("lenet", f"{__name__}.checked")

from lenet.config import RANGES, Config, Refusal, Value, group_levels  # noqa: E402
from lenet.training import data as datasets  # noqa: E402  # after the hook
from lenet.training import edition  # noqa: E402
from lenet.training.data import Data  # noqa: E402
from lenet.training.recipe import Teacher  # noqa: E402
from lenet.training.stack import Stack  # noqa: E402

torch.set_num_threads(1)  # the tests are small: threads would only wait for each other
threadpool_limits(1)  # and so NumPy's and SciPy's


def pytest_configure(config: pytest.Config) -> None:
    """Compile the loops and prove the edition once, before the tests and the programs
    that they start, each of which would do so. A test says if it is another edition."""
    if not hasattr(config, "workerinput") and not config.option.collectonly:
        with contextlib.suppress(Refusal):
            edition.prove()


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """What a test draws of torch is the same each time, whatever ran before it: a test
    that fails for one draw in a hundred would else be met by chance."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Hydra's log writes to the streams of one test, which are closed after it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = [handler for handler in root.handlers if handler in handlers]
    root.setLevel(level)


PLAIN = {
    "activation": "relu",
    "pooling": "max",
    "connection": "full",
    "norm": "none",
    "head": "softmax",
    "init": "kaiming",
    "optimizer": "momentum",
    "schedule": "constant",
    "order": "reshuffle",
    "augmentation": "none",
    "input": "standardize",
    "adversary": "none",
    "average": "none",
    "mix": "none",
    "teacher": "none",
}
SMALL = {"adversary.steps": 2, "adversary.held_out": 5}  # for tests of few images
NUMBERS: dict[str, Value] = {
    "batch_size": 7,
    "epochs": 1,
    "dropout": 0.0,
    "train_size": None,
    "validation_size": 0,
    "data": "digits",
}


def config(changes: Mapping[str, Value] | None = None, seed: int = 0) -> Config:
    """A run with some levels and numbers changed, and the numbers of conf/ else."""
    changes = changes or {}
    chosen = {f: str(changes.get(f, level)) for f, level in PLAIN.items()}
    numbers = {
        f"{factor}.{key}": value
        for factor, level in chosen.items()
        for key, value in group_levels(factor)[level].items()
        if f"{factor}.{key}" in RANGES
    }
    del numbers["optimizer.batch_size"]
    numbers |= {key: value for key, value in SMALL.items() if key in numbers}
    treatment = {**chosen, **numbers, **NUMBERS}
    assert changes.keys() <= treatment.keys(), f"unknown: {changes}"
    return Config({**treatment, **changes}, seed)


def schooled(configs: Sequence[Config], data: Data) -> list[Teacher]:
    """Two untrained networks, of either preset's structure, where runs have teachers;
    none where they have none."""
    if configs[0].level("teacher") == "none":
        return []
    own = {"activation": "scaled_tanh", "pooling": "subsample", "connection": "table"}
    made = [config({**own, "head": "rbf_map"}, 8), config({"norm": "batch"}, 9)]
    return [Teacher(run, Stack.start([run], data).model.eval()) for run in made]


@pytest.fixture(scope="session")
def digits() -> Data:
    """scikit-learn's digits: no file and no download."""
    return datasets.load_data("digits", None)


@pytest.fixture(scope="session")
def tiny(digits: Data) -> Data:
    """46 training and 11 test images: six batches of 7 and one of 4."""
    return Data(
        name="digits",
        train_images=digits.train_images[:46],
        train_labels=digits.train_labels[:46],
        test_images=digits.test_images[:11],
        test_labels=digits.test_labels[:11],
        sha256=digits.sha256,
    )


@pytest.fixture(scope="session")
def mnist() -> Data:
    """MNIST from LENET_DATA; skips where it is missing, for tests download nothing."""
    root = os.environ.get("LENET_DATA")
    if not root:
        pytest.skip("LENET_DATA is unset: it names the folder that holds MNIST/raw")
    folder = Path(root) / datasets.FOLDERS["mnist"] / "raw"
    missing = [f for f in datasets.FILES if datasets.data_file(folder, f) is None]
    if missing:
        pytest.skip(f"LENET_DATA={root} has no MNIST/raw/{missing[0]}")
    try:
        return datasets.load_data("mnist", None)
    except Refusal as refusal:
        pytest.fail(f"MNIST in LENET_DATA is damaged: {refusal}")


@pytest.fixture
def float64() -> Iterator[None]:
    """Everything that is not told otherwise computes in float64."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
