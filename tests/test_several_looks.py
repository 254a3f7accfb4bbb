"""The error after several looks at each image, by networks that are trained here."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from lenet.commands import sweep
from lenet.config import Refusal
from lenet.records import run_record
from lenet.records.record_types import Record
from lenet.studies import study
from lenet.training import draws
from lenet.training.data import Data
from lenet.training.factor import augmentation

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow
BASE = "preset: modern, data: digits, epochs: 2, replicates: 2"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies: of runs that hold out images, and of some without distortions."""
    place = tmp_path_factory.mktemp("looks")
    for name, base, factor in (
        ("held", f"{BASE}, validation_size: 100", "dropout: [0.1]"),
        ("plain", BASE, "augmentation: [none]"),
    ):
        design = place / f"{name}.yaml"
        design.write_text(f"kind: one_factor\nbase: {{{base}}}\nfactors:\n  {factor}\n")
        sweep.main([f"design={design}", f"output_dir={place / 'outputs'}", "workers=1"])
    return place / "outputs"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """scripts/several_looks.py."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("several_looks")


def run(script: Any, monkeypatch: pytest.MonkeyPatch, *line: str) -> None:
    monkeypatch.setattr(sys, "argv", ["several_looks.py", *line])
    script.main()


def by_hand(
    record: Record, images: Tensor, labels: Tensor, looks: int, place: Path
) -> float:
    """The error, image by image, of torch's network."""
    model = run_record.load_stack([record], str(place))
    numbers = {
        key.partition(".")[2]: torch.tensor([float(str(value))])
        for key, value in record["treatment"].items()
        if key.startswith("augmentation.")
    }
    wrong = 0
    for i, image in enumerate(images):
        answer = torch.zeros(10)
        for look in range(looks):
            key = draws.fold(draws.fold(draws.stream([0], "looks"), look), i)
            affine = augmentation.LEVELS["affine"]
            moved = affine(image[None], key, numbers.__getitem__)
            with torch.no_grad():
                logits = model(moved if look else image[None])[0, 0]
            answer += logits.softmax(-1)
        wrong += int(answer.argmax() != labels[i])
    return wrong / len(images)


def test_error_is_that_of_the_mean_answer(
    script: Any, trained: Path, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look is the record's own held-out error; four are what they are by hand."""
    run(script, monkeypatch, "study=held", "looks=5", f"output_dir={trained}")
    table = pd.read_csv(trained / "held" / "looks.csv")
    assert list(table["looks"].unique()) == [1, 2, 4]
    assert list(table["treatment"].unique()) == ["reference", "dropout=0.1"]
    assert all(
        (trained / "held" / f"looks.{form}").is_file() for form in ("svg", "png")
    )
    errors = table.set_index(["run", "looks"])["error"]
    _, records = study.read_study(trained / "held")
    _, held_out = digits.split(None, 100)
    images, labels = digits.train_images[held_out] / 255, digits.train_labels[held_out]
    for record in records:
        own = errors[record["run_id"]]
        assert own[1] == pytest.approx(record["response"]["validation_error"])
        assert own[4] == pytest.approx(by_hand(record, images, labels, 4, trained))
    assert (errors.unstack()[1] != errors.unstack()[4]).any()


def test_runs_that_hold_out_nothing_are_asked_of_the_test_images(
    script: Any, trained: Path, digits: Data
) -> None:
    _, records = study.read_study(trained / "plain")
    chosen = [r for r in records if r["treatment"]["augmentation"] == "affine"]
    images, labels = script.asked(digits, chosen[0]["treatment"])
    table = script.errors(chosen, images, labels, 2, str(trained))
    for record in chosen:
        own = table[(table["run"] == record["run_id"]) & (table["looks"] == 1)]
        assert own["error"].item() == pytest.approx(record["response"]["test_error"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["study=plain"], "augmentation=none: trained without distortions"),
        (["study=held", "looks=1"], "a whole number from 2"),
        (["study=held", "looks=2.5"], "a whole number from 2"),
        (["study=held", "looks=many"], "looks=many"),
        (["study=other"], "studies in .*: held, plain"),
        (["looks=4"], "study=<name>"),
        (["stud=held"], "study"),
    ],
)
def test_what_cannot_be_is_refused(
    line: list[str],
    said: str,
    script: Any,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(Refusal, match=said):
        run(script, monkeypatch, *line, f"output_dir={trained}")


def test_a_study_with_runs_missing_is_refused(
    script: Any, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "held").mkdir()
    plan = (trained / "held" / "plan.json").read_bytes()
    (tmp_path / "held" / "plan.json").write_bytes(plan)
    with pytest.raises(Refusal, match="4 runs are missing"):
        run(script, monkeypatch, "study=held", f"output_dir={tmp_path}")
