"""What docs/ shows runs, in an empty folder, as a reader would type it."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from lenet import __main__ as program

DOCS = Path(__file__).parent.parent / "docs"
BLOCK = re.compile(r"```(python|bash|yaml)\n(.*?)```", re.DOTALL)


def followed(page: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What each block of a page prints, run one after the other; one of YAML is a file,
    whose name is its first line."""
    names: dict[str, Any] = {}
    outputs = []
    for language, block in BLOCK.findall((DOCS / page).read_text(encoding="utf-8")):
        if language == "python":
            exec(block, names)
        elif language == "yaml":
            Path(block.splitlines()[0].removeprefix("# ")).write_text(block)
        else:
            for line in block.splitlines():
                command, *typed = shlex.split(line, comments=True)
                assert command == "lenet"
                program.run_typed(typed)
        outputs.append(capsys.readouterr().out)
    return outputs


@pytest.mark.slow
def test_your_own_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Models of scikit-learn, from a CSV file to the chart, as the page says."""
    monkeypatch.chdir(tmp_path)
    _, chart, effects, paper, few = followed("your_own_runs.md", capsys)
    assert "charts/runs/ablation_chart.svg" in chart.splitlines()
    for path in chart.splitlines():
        assert (tmp_path / path).stat().st_size > 0
    assert {Path(path).name for path in paper.splitlines()} >= {
        f"ablation_chart.{kind}" for kind in ("pdf", "csv", "md", "tex", "txt")
    }
    for path in paper.splitlines():
        assert path.startswith("charts/runs/paper/")
        assert (tmp_path / path).stat().st_size > 0
    assert re.search(r"model .* better\n", effects)
    assert re.search(r"scaling .* worse\n", effects)
    assert few == "no verdict possible at n = 5: it takes 6 seeds\n"
    assert "+1.83" in (tmp_path / "charts/runs/ablation_chart.md").read_text()


def test_api(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From reading a digit to training a network, as the page says."""
    monkeypatch.chdir(tmp_path)
    digit, shapes, maps, attacked, trained, loaded = followed("api.md", capsys)
    assert digit == "7\n"
    assert shapes.startswith("torch.Size([3, 10])\n{'C1': (3, 6, 28, 28), ")
    assert maps == "(1, 3, 28, 28) (1, 3, 28, 28)\n"
    assert attacked.startswith("(1, 3, 28, 28) [[")
    assert trained == "tanh 3 finished\n" and loaded == "True\n"


@pytest.mark.slow
def test_command(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From training to C and ONNX in an empty folder, as the page says."""
    for package in ("onnx", "onnxscript"):
        pytest.importorskip(package, reason="format=onnx")
    monkeypatch.chdir(tmp_path)
    outputs = followed("command.md", capsys)
    trained, searched, _, study, charted, _, read, looked, exported = outputs
    assert "best of 3 trials: optimizer.lr=0.0" in searched
    assert trained.startswith("test error ")
    assert "study my_design: 24 of 24 runs done" in study
    assert "outputs/my_design/report.html" in charted and "28 of 28 runs" in charted
    assert "attack_2.svg" in looked and "interpretation/saliency.png" in looked
    assert read.startswith("seven.png: 7 (") and '"digit": 7' in read
    # Without what an exporter logs, as Hydra has it after a run of this process.
    files = {line for line in exported.splitlines() if line and " " not in line}
    assert {"modern.onnx", "modern.c", "paper_hub/README.md", "my_design.csv"} <= files
    assert all((tmp_path / path).stat().st_size for path in files)
