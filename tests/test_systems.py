"""Other systems, by taking away what they have not: served, or refused in one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
WINDOWS = "import sys; sys.modules['fcntl'] = None"
MACOS = "import os; del os.sched_getaffinity"


def run(
    lacks: str, tmp_path: Path, *command: str
) -> "subprocess.CompletedProcess[str]":
    """A command where something is taken away before it starts."""
    (tmp_path / "sitecustomize.py").write_text(lacks)
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}"},
    )


@pytest.mark.parametrize(
    "command",
    [["-m", "lenet.train", "--help"], ["scripts/sweep.py", "--help"]],
)
def test_windows_is_refused_in_one_line(tmp_path: Path, command: list[str]) -> None:
    """Without fcntl: exit code 3 and the way out, for --help too."""
    done = run(WINDOWS, tmp_path, *command)
    assert done.returncode == 3 and not done.stdout
    assert done.stderr.count("\n") == 1 and "WSL" in done.stderr


def test_import_on_windows_is_an_import_error(tmp_path: Path) -> None:
    """A notebook is told why, and goes on."""
    code = "try:\n    import lenet\nexcept ImportError as e:\n    print(e)"
    assert "WSL" in run(WINDOWS, tmp_path, "-c", code).stdout


@pytest.mark.slow
def test_macos_plans_a_sweep(tmp_path: Path) -> None:
    """Without os.sched_getaffinity the cores of the machine are counted."""
    line = ["action=plan", "design=quick", f"output_dir={tmp_path / 'outputs'}"]
    done = run(MACOS, tmp_path, "scripts/sweep.py", *line)
    assert done.returncode == 0, done.stderr
    assert "time: unknown: no record" in done.stdout


def optimized(level: int, *command: str) -> "subprocess.CompletedProcess[str]":
    """A command of a Python that leaves out asserts (1), and docstrings too (2)."""
    return subprocess.run(
        [sys.executable, "-m", "lenet", *command],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONOPTIMIZE": str(level)},
    )


@pytest.mark.slow
def test_multirun_without_asserts_says_what_hydra_needs(tmp_path: Path) -> None:
    """Hydra reads a function's bracket in an assert: listed values go through."""
    line = ["train", "-m", "data=digits", "epochs=1", "train_size=16"]
    line.append(f"output_dir={tmp_path / 'outputs'}")
    done = optimized(1, *line, "seed=range(0,2)")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "PYTHONOPTIMIZE" in done.stderr and not list(tmp_path.iterdir())
    done = optimized(1, *line, "seed=0,1")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("outputs/runs/*/record.json"))) == 2


@pytest.mark.parametrize("command", [["--help"], ["sweep", "--help"], ["status"]])
def test_python_without_docstrings_is_refused_in_one_line(command: list[str]) -> None:
    """They are what --help says."""
    done = optimized(2, *command)
    assert done.returncode == 3 and not done.stdout
    assert done.stderr.count("\n") == 1 and "PYTHONOPTIMIZE" in done.stderr
