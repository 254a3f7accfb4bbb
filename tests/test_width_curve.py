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
    """One scale more, one seed more and other passes keep the rows that there are."""
    asked: list[tuple[float, list[int]]] = []
    real = script.trained

    def noted(configs: Any, images: Any, scale: float, preset: str) -> pd.DataFrame:
        asked.append((scale, [config.seed for config in configs]))
        return real(configs, images, scale, preset)

    monkeypatch.setattr(script, "trained", noted)
    first = run(script, monkeypatch, tmp_path, "scales=0.5")
    assert list(first["parameters"]) == [15738] * 2 and list(first["seed"]) == [0, 1]
    both = run(script, monkeypatch, tmp_path, "scales=0.5,1")
    assert both[:2].equals(first) and list(both["parameters"][2:]) == [61706] * 2
    assert set(both["test_error"][:2]) != set(both["test_error"][2:])
    run(script, monkeypatch, tmp_path, "scales=1", "replicates=3")
    more = run(script, monkeypatch, tmp_path, "scales=1", "epochs=2")
    assert asked == [(0.5, [0, 1]), (1, [0, 1]), (1, [2]), (1, [0, 1])]
    assert list(more["epochs"]) == [1] * 5 + [2] * 2
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
