"""What is printed, wherever it goes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import IO
from unittest.mock import Mock

import pytest

from lenet.terminal import command

SAYS = "from lenet.terminal import command, say; command(lambda: say('a \\xf6'))"
ROOT = Path(__file__).parent.parent


def run(stdout: int | IO[bytes], **environment: str) -> tuple[int, bytes, bytes]:
    """A command that says something: exit code, stdout, stderr."""
    done = subprocess.Popen(
        [sys.executable, "-c", SAYS],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        cwd=ROOT,
    )
    out, complaint = done.communicate(timeout=60)
    return done.returncode, out, complaint


def test_letters_that_the_terminal_has_not_are_escaped() -> None:
    """A path may have any letters; a terminal of ASCII shows their codes."""
    code, out, complaint = run(subprocess.PIPE, PYTHONIOENCODING="ascii")
    assert (code, out, complaint) == (0, b"a \\xf6\n", b"")


def test_reader_that_is_gone_is_no_failure() -> None:
    """As with `| head`: exit code 0 and no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    code, _, complaint = run(writer)
    os.close(writer)
    assert (code, complaint) == (0, b"")


def test_full_disk_is_told() -> None:
    """What could not be written is an error of the environment, without traceback."""
    with open("/dev/full", "wb") as full:
        code, _, complaint = run(full)
    assert code == 3 and b"No space left" in complaint and b"Traceback" not in complaint


@pytest.mark.slow
@pytest.mark.parametrize("module", ["lenet", "hydra", "lenet.training.data"])
@pytest.mark.parametrize("program", [["scripts/sweep.py"], ["-m", "lenet.train"]])
def test_interruption_while_imports_run_is_quiet(
    program: list[str], module: str, tmp_path: Path
) -> None:
    """Ctrl-C as soon as a module is imported: exit code 130 and no traceback."""
    line = ["-X", "importtime", *program, f"output_dir={tmp_path / 'outputs'}"]
    line += ["design=quick"] if program == ["scripts/sweep.py"] else []
    process = subprocess.Popen(
        [sys.executable, *line, "data=digits"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stderr is not None
    for printed in process.stderr:  # a line for each module that is imported
        if printed.split("|")[-1].strip() == module:
            process.send_signal(signal.SIGINT)
            break
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in rest


def test_whoever_imports_lenet_keeps_his_handler() -> None:
    """The handler is for the commands: not for a notebook, another program, a worker
    that leaves Ctrl-C to its sweep."""
    code = "import signal; before = signal.getsignal(2); import lenet.terminal; "
    code += "assert signal.getsignal(2) is before"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.slow
def test_help_of_a_benchmark_starts_no_benchmark() -> None:
    """It says what it measures, and that is all."""
    line = [sys.executable, "scripts/attack_benchmark.py", "--help"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("Seconds of PGD") and "\n| " not in done.stdout


@pytest.mark.parametrize("module", ["sweep", "chart"])
def test_module_that_is_no_command_says_so(module: str) -> None:
    """`python -m lenet.sweep` does not end as if it had done something."""
    line = [sys.executable, "-m", f"lenet.{module}"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and done.stderr


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_is_the_docstring_and_nothing_runs(
    flag: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Wherever it stands among what is typed; a command may have more to say."""
    monkeypatch.setattr(sys, "argv", ["program", "epochs=1", flag])
    monkeypatch.setattr(signal, "signal", lambda *handler: None)
    ran = Mock(__module__=__name__)
    command(ran)
    command(ran, lambda: "more")
    assert capsys.readouterr().out == f"{__doc__}\nmore\n" and not ran.called
