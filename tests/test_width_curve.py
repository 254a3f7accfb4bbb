"""Networks of other widths: a table that grows, and the figure of it."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lenet.config import Refusal

ROOT = Path(__file__).parent.parent
LINE = ["preset=modern", "data=digits", "epochs=1", "replicates=2"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """scripts/width_curve.py."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("width_curve")


def run(
    script: Any, monkeypatch: pytest.MonkeyPatch, place: Path, *more: str
) -> pd.DataFrame:
    """The table after the command was run with these settings."""
    line = ["width_curve.py", *LINE, f"output_dir={place}", *more]
    monkeypatch.setattr(sys, "argv", line)
    script.main()
    return pd.read_csv(place / "width_curve" / "width.csv")


def test_only_what_the_table_lacks_is_trained(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second call with one scale more keeps the rows of the first; other passes are
    rows of their own; a narrower network has other errors."""
    first = run(script, monkeypatch, tmp_path, "scales=0.5")
    assert list(first["parameters"]) == [15738] * 2 and list(first["seed"]) == [0, 1]
    asked = []
    real = script.trained
    monkeypatch.setattr(
        script, "trained", lambda *given: asked.append(given[0]) or real(*given)
    )
    both = run(script, monkeypatch, tmp_path, "scales=0.5,1")
    assert asked == [1.0] and both[:2].equals(first)
    assert list(both["parameters"][2:]) == [61706] * 2
    assert set(both["test_error"][:2]) != set(both["test_error"][2:])
    more = run(script, monkeypatch, tmp_path, "scales=1", "epochs=2")
    assert asked == [1.0, 1.0] and list(more["epochs"]) == [1] * 4 + [2] * 2
    drawn = tmp_path / "width_curve"
    assert {path.suffix for path in drawn.iterdir()} == {".csv", ".svg", ".png"}


@pytest.mark.parametrize("scales", ["0.01", "1,wide", "100"])
def test_a_scale_that_is_none_is_refused(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scales: str
) -> None:
    """Before anything is trained."""
    monkeypatch.setattr(script, "trained", None)
    with pytest.raises(Refusal, match="scales"):
        run(script, monkeypatch, tmp_path, f"scales={scales}")
