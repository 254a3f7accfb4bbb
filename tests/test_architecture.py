"""The architecture figure: the paper's own counts, and the same bytes each time."""

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
# Section II.B and Table I (p. 7-8), and the output's 84 units for each of 10 classes.
PAPER = {
    "C1": ("6 @ 28×28", "156", "122,304"),
    "S2": ("6 @ 14×14", "12", "5,880"),
    "C3": ("16 @ 10×10", "1,516", "151,600"),
    "S4": ("16 @ 5×5", "32", "2,000"),
    "C5": ("120", "48,120", "48,120"),
    "F6": ("84", "10,164", "10,164"),
    "output": ("10", "0", "840"),
}
WORLD = {"C1": "156", "C3": "2,416", "C5": "48,120", "F6": "10,164", "output": "850"}


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """scripts/architecture.py."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("architecture")


@pytest.mark.slow
def test_drawn_twice_is_the_same_bytes(
    script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command writes a PNG and an SVG; again, in another folder, the same bytes."""
    written = []
    for place in (tmp_path / "one", tmp_path / "two"):
        monkeypatch.setattr(sys, "argv", ["architecture.py", f"output_dir={place}"])
        script.main()
        files = (place / "architecture").iterdir()
        written.append({path.name: path.read_bytes() for path in files})
    assert written[0] == written[1]
    assert set(written[0]) == {"architecture.png", "architecture.svg"}


def test_every_layer_stands_over_its_counts(script: Any) -> None:
    """A layer's size, its numbers in 1998 and those of today share its column."""
    figure = script.architecture()
    (axes,) = figure.axes
    width = figure.get_size_inches()[0]
    written = [(t.get_position()[0] * width, t.get_text()) for t in figure.texts]
    drawn = [(text.get_position()[0], text.get_text()) for text in axes.texts]
    (title,) = (text for _, text in written if text.startswith("LeNet-5"))
    assert all(total in title for total in ("60,000", "340,908", "61,706"))
    places = {text: x for x, text in drawn if text in PAPER}
    for name, (shape, parameters, connections) in PAPER.items():
        x = places[name]
        assert shape in [t for at, t in drawn if abs(at - x) < 1e-6]
        column = [t for at, t in written if abs(at - x) < 1e-6 and t[:1].isdigit()]
        assert column[:2] == [parameters, connections]
        assert column[2] == WORLD.get(name, "0")
