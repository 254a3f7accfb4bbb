"""`lenet`: the command that comes with the wheel, and the public names."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lenet
from lenet import __main__ as program
from lenet.commands import VERBS, completion, module_docstring
from lenet.config import Refusal

ROOT = Path(__file__).parent.parent
LEVELS = ("scaled_tanh", "sigmoid", "silu")  # of activation, that begin with s


def started(*typed: str, cwd: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """The command, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "lenet", *typed],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def imports(code: str) -> set[str]:
    """What has been imported after some code, of what is slow to import."""
    slow = {"torch", "pandas", "numpy", "scipy", "matplotlib", "hydra", "sklearn"}
    print_them = f"import sys; print(*({slow} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {print_them}"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return set(done.stdout.splitlines()[-1].split())


def test_help_lists_every_command_at_once() -> None:
    """A line for each, from its module's text; it takes no import and under 0.3 s of
    processor time."""
    before = os.times()
    done = started("--help")
    after = os.times()
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    assert done.returncode == 0 and spent < 0.3
    for verb in VERBS:
        assert f"\n  {verb} " in done.stdout
    assert started().stdout == done.stdout
    assert imports("from lenet import __main__; __main__.explain()") == set()


def test_help_whose_reader_is_gone_is_no_error() -> None:
    """`lenet --help | head -1`, where the pipe is closed before anything is written."""
    end, begin = os.pipe()
    os.close(end)
    done = subprocess.run(
        [sys.executable, "-m", "lenet", "--help"],
        stdout=begin,
        stderr=subprocess.PIPE,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    os.close(begin)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("verb", VERBS)
def test_every_command_explains_itself(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its --help is its module's text, and what else there is."""
    monkeypatch.setattr(sys, "argv", ["lenet", verb, "--help"])
    program.main()
    out = capsys.readouterr().out
    first = module_docstring(verb).splitlines()[0]
    assert len(first) <= 88 and (first in out or verb == "train")


def test_importing_lenet_costs_nothing() -> None:
    """Public names are imported when they are used."""
    assert imports("import lenet") == set()
    assert imports("import lenet; dir(lenet)") == set()
    assert imports("import lenet.train") == {"hydra"}  # all that its help waits for
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        lenet.lode  # noqa: B018  # what is read is what is tested
    assert {"effects", "load", "run", "runs", "study"} <= {*dir(lenet)}


def test_unknown_command_is_answered_with_the_nearest() -> None:
    """Exit code 2, nothing on stdout, and no traceback; torch is not waited for."""
    done = started("chrt", "study=quick")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("command 'chrt' is unknown; did you mean chart?")
    with pytest.raises(Refusal, match="did you mean sweep"):
        program.run_typed(["sweeep"])


def test_result_is_json_where_that_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for a program."""
    program.run_verb("status", [f"output_dir={tmp_path}", "--json"])
    status = json.loads(capsys.readouterr().out)
    assert status | {"networks": []} == {"runs": 0, "newest": [], "studies": []} | {
        "networks": []
    }
    named = {network["network"] for network in status["networks"]}
    assert named == {"best", "modern", "paper"}
    program.run_verb("verify", ["--json", f"output_dir={tmp_path}"])
    assert "0 of 0 runs" in json.loads(capsys.readouterr().out)["verified"]


@pytest.mark.slow
def test_every_command_has_json_of_what_it_found(tmp_path: Path) -> None:
    """`lenet train` too, in a line for each command line of a multirun; and status
    lists those runs, the newest first, as they would be typed."""
    typed = ("data=digits", "train_size=32", "epochs=1", "augmentation=none", "-m")
    typed = (*typed, f"output_dir={tmp_path}", "seed=4,5", "activation=tanh", "--json")
    done = started("train", *typed, cwd=tmp_path)
    trained = [json.loads(line)["runs"] for line in done.stdout.splitlines()]
    assert [[run["seed"] for run in runs] for runs in trained] == [[4], [5]], (
        done.stderr
    )
    ((run,), _) = trained
    assert run["status"] == "finished" and 0 <= run["response"]["test_error"] <= 1
    assert json.loads(Path(run["record"]).read_text())["run_id"] == run["run_id"]
    os.utime(run["record"])  # the one that ended last
    out = started("status", f"output_dir={tmp_path}", "--json", "runs=1").stdout
    (newest,) = json.loads(out)["newest"]
    assert newest["run_id"] == run["run_id"] and json.loads(out)["runs"] == 2
    again = started("train", *newest["typed"].split(), f"output_dir={tmp_path}")
    assert run["run_id"] in again.stdout
    out = started("status", f"output_dir={tmp_path}").stdout
    assert f"  {run['run_id'][:8]}  " in out.splitlines()[1] and "no study" in out


def test_status_lists_studies_and_what_they_publish(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """From files alone: no torch."""
    program.run_verb("status", [f"output_dir={ROOT / 'outputs'}"])
    out = capsys.readouterr().out
    assert "study modern: 24 of 24 runs done, weights of 1 published" in out
    assert "network paper: run=paper, test error " in out
    began = time.perf_counter()
    assert "torch" not in imports("from lenet.commands import status")
    assert time.perf_counter() - began < 20


def test_study_is_read_by_its_name() -> None:
    """lenet.study("leave_one_out") is the published one, from its records."""
    published = lenet.study("leave_one_out", str(ROOT / "outputs"))
    assert published.name == "leave_one_out" and len(published.effects)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["c"], ["chart", "completion"]),
        (["train", "activation=s"], [f"activation={x}" for x in LEVELS]),
        (["train", "optimizer.m"], ["optimizer.momentum=", "optimizer.mu="]),
        (["chart", "resp"], ["response="]),
        (["sweep", "design=leave"], ["design=leave_one_out"]),
        (["chart", "output_dir=OUT", "study=leav"], ["study=leave_one_out"]),
        (["predict", "output_dir=OUT", "run=m"], ["run=modern"]),
        (["train", "nothing=x"], []),
        (["nothing", "x"], []),
    ],
)
def test_tab_completes(typed: list[str], words: list[str]) -> None:
    """Commands, keys, levels, designs and studies."""
    outputs = str(ROOT / "outputs")
    offered = completion.words([word.replace("OUT", outputs) for word in typed])
    assert offered == words


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_shell_reads_its_script(shell: str) -> None:
    """Where it is installed; bash completes with it."""
    script = completion.main([shell]).text
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_bash_completes_with_the_script(tmp_path: Path) -> None:
    """The function that Tab calls, with what was typed so far."""
    if shutil.which("bash") is None:
        pytest.skip("bash is not installed")
    command = tmp_path / "lenet"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m lenet "$@"\n')
    command.chmod(0o755)
    typed = "COMP_WORDS=(lenet train activation=ge); COMP_CWORD=2; _lenet"
    line = (
        f"{completion.main(['bash']).text}\n{typed}; printf '%s\\n' ${{COMPREPLY[@]}}"
    )
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
    )
    assert done.stdout == "activation=gelu\n", done.stderr


def test_other_shells_are_refused() -> None:
    """By name."""
    with pytest.raises(Refusal, match="shell 'csh' is unknown; did you mean"):
        completion.main(["csh"])
