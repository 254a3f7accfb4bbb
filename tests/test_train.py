"""The command line: what a person types runs, or is refused before anything does."""

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import config
from marks import mostly_slow

from lenet import terminal, train
from lenet.config import (
    FACTORS,
    GROUPS,
    RANGES,
    Places,
    Refusal,
    composed,
    group_levels,
    names,
)
from lenet.records import store
from lenet.training import recipe, stack

ROOT = Path(__file__).parent.parent

QUICK = (
    "data=digits",
    "epochs=1",
    "train_size=16",
    "batch_size=16",
    "augmentation=none",
)
LINE = r"test error \d+\.\d\d%, n = 1, \d+ s, \S+/runs/[0-9a-f]{16}/record.json\n"


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: Any
    out: str
    err: str
    output: Path

    @property
    def runs(self) -> list[str]:
        return sorted(
            path.parent.name for path in self.output.glob("runs/*/record.json")
        )

    def files(self) -> dict[str, tuple[bytes, int]]:
        paths = [path for path in self.output.rglob("*") if path.is_file()]
        return {str(p): (p.read_bytes(), p.stat().st_mtime_ns) for p in paths}


Start = Callable[..., Outcome]


@pytest.fixture
def start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Start]:
    """`python -m lenet.train` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    before = signal.getsignal(signal.SIGTERM)

    def command(*typed: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["lenet/train.py", *typed])
        code: Any = 0
        try:
            terminal.command(train.main, train.explain)
        except SystemExit as stop:
            code = stop.code or 0
        return Outcome(code, *capsys.readouterr(), tmp_path / "outputs")

    yield command
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training fails the test."""
    monkeypatch.setattr(stack, "train", lambda *a: pytest.fail("something was trained"))


def test_run_prints_one_line(start: Start) -> None:
    """A run is one line on stdout: test error, n, time and where the record lies."""
    done = start(*QUICK)
    assert done.code == 0, done.err
    assert re.fullmatch(LINE, done.out), done.out
    (name,) = done.runs
    record = store.read_record(done.output / "runs" / name / "record.json")
    assert f"test error {record['response']['test_error']:.2%}, n = 1" in done.out
    assert name in done.out
    assert "epoch 1/1" in done.err


def test_run_leaves_record_and_weights_and_nothing_else(start: Start) -> None:
    """No log, no Hydra folder, no temporary file beside the run."""
    done = start(*QUICK)
    files = {Path(path).name for path in done.files()}
    assert files == {"record.json", "model.safetensors"}
    assert [path.name for path in done.output.parent.iterdir()] == ["outputs"]


def test_same_command_does_not_train_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second time the record is there, and not a byte of it is touched."""
    first = start(*QUICK)
    before = first.files()
    monkeypatch.setattr(stack, "train", lambda *a: pytest.fail("was trained again"))
    second = start(*QUICK)
    assert second.code == 0, second.err
    assert second.out == first.out
    assert second.files() == before


def test_places_do_not_change_the_run(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Study, device and the order of what is typed are no part of a run."""
    before = start(*QUICK).runs
    monkeypatch.setattr(stack, "train", lambda *a: pytest.fail("was trained again"))
    again = start("study=another", "device=cpu", "preset=modern", *QUICK[::-1])
    assert again.code == 0, again.err
    assert again.runs == before


@pytest.mark.slow
def test_one_override_is_another_run(start: Start) -> None:
    """A level, a number and a seed are part of a run."""
    for extra in ("seed=0", "seed=1", "activation=tanh", "optimizer.lr=0.003"):
        done = start(*QUICK, extra)
    assert len(done.runs) == 4


def test_replicates_are_the_seeds_one_by_one(start: Start) -> None:
    """replicates=2 fills the places of seed=0 and seed=1, as one stack."""
    both = start(*QUICK, "replicates=2")
    assert "n = 2" in both.out
    assert "and 1 more" in both.out
    records = [store.select(name, str(both.output)) for name in both.runs]
    assert sorted(record["seed"] for record in records) == [0, 1]
    assert sorted(record["stack"]["position"] for record in records) == [0, 1]
    assert {record["stack"]["size"] for record in records} == {2}
    assert start(*QUICK, "seed=1").runs == both.runs


@pytest.mark.slow
def test_multirun_fills_the_same_places_as_single_runs(start: Start) -> None:
    """`-m activation=relu,tanh seed=0,1` is four runs, the ones typed one by one."""
    swept = start(*QUICK, "activation=relu,tanh", "seed=0,1", "-m")
    assert swept.code == 0, swept.err
    assert len(swept.runs) == 4
    before = swept.files()
    single = start(*QUICK, "activation=tanh", "seed=1")
    assert single.files() == before


def test_keys_may_stand_before_and_after_a_flag(start: Start) -> None:
    """Hydra alone reads what comes before -m and calls the rest unrecognised."""
    done = start("data=digits", "epochs=1", "-m", "train_size=16", "seed=0,1")
    assert done.code == 0, done.err
    assert len(done.runs) == 2


@pytest.mark.parametrize(
    "damage", mostly_slow(["weights left behind", "record"], every=2)
)
def test_damaged_run_is_made_again(start: Start, damage: str) -> None:
    """A damaged record is set aside and its run trained again, with the same result."""
    done = start(*QUICK)
    path = done.output / "runs" / done.runs[0] / "record.json"
    before = store.read_record(path)
    if damage == "record":
        path.write_bytes(path.read_bytes().replace(b'"seed":0', b'"seed":1'))
    else:
        path.unlink()
        path.with_name("model.safetensors").write_bytes(b"torn")
    again = start(*QUICK)
    assert again.code == 0
    assert again.out.count("\n") == 1
    after = store.read_record(path)
    assert after["response"] == before["response"]
    assert after["weights"] == before["weights"]
    assert ("quarantine" in again.err) == (damage == "record")


REFUSED = (
    ("activation=rulu", "did you mean relu?"),
    ("activaton=relu", "did you mean activation?"),
    ("lr=0.1", "did you mean optimizer.lr?"),
    ("epochs=0", "a whole number from 1 to 1000"),
    ("epochs=1.5", "a whole number from 1 to 1000"),
    ("optimizer.lr=nan", "a number from 1e-09 to 100"),
    ("seed=18446744073709551616", "from 0 to 2147483647"),
    ("+unknown=1", "'unknown' is unknown"),
    ("++x=1", "'x' is unknown"),
    ("~activation", "neither added nor removed"),
    ("optimizer._target_=os.system", "'optimizer._target_' is unknown"),
    ("study=${oc.env:WANDB_API_KEY}", "interpolation"),
    ("study=../x", "use letters"),
    ("study=a\0b", "quotes"),
    ("output_dir='[/b]\x1b[31m'", "'[/b]\\x1b[31m'"),
    ("seed=0,1", "-m"),
    ("hydra.foo=1", "hydra.foo"),
    ("--config-name=other", "conf/ is the only configuration"),
    ("--config-dir=/", "conf/ is the only configuration"),
    ("--experimental-rerun=job.pickle", "conf/ is the only configuration"),
    ("--epochs=3", "is no option"),
)


@pytest.mark.parametrize(("typed", "says"), REFUSED)
def test_bad_input_is_refused_before_anything_runs(
    start: Start,
    typed: str,
    says: str,
    no_training: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Exit code 2, the fix in one line on stderr, no traceback and no file."""
    monkeypatch.setenv("WANDB_API_KEY", "a-secret-that-was-planted")
    done = start(*QUICK, typed)
    assert done.code == 2
    assert says in done.err
    assert "Traceback" not in done.err
    assert "a-secret" not in done.err
    assert done.err.count("\n") == 1
    assert done.err.strip().isprintable()
    assert not done.out
    assert not list(done.output.parent.iterdir())


@pytest.mark.parametrize(
    "typed",
    [
        ("activation=relu,rulu",),
        ("epochs=1,2,0",),
        ("seed=range(2147483646,2147483650)",),
        ("activation=glob(zz*)",),
        ("activation=glob(*)", "optimizer=sgd,adam", "optimizer.beta1=0.5"),
    ],
)
def test_multirun_is_checked_as_a_whole(
    start: Start, typed: tuple[str, ...], no_training: None
) -> None:
    """A bad value anywhere in a sweep is refused before its first run."""
    done = start("-m", *QUICK, *typed)
    assert done.code == 2, done.err
    assert not done.out
    assert not list(done.output.parent.iterdir())


def test_paper_with_another_activation_is_one_level_away(start: Start) -> None:
    """`preset=paper activation=relu` runs the paper's levels with that one changed."""
    done = start(*QUICK, "preset=paper", "optimizer=sgd", "activation=relu")
    assert done.code == 0, done.err
    treatment = store.select(done.runs[0], str(done.output))["treatment"]
    expected = {"activation": "relu", "pooling": "subsample", "connection": "table"}
    expected |= {"head": "rbf", "order": "constant", "input": "range_1998"}
    assert expected.items() <= treatment.items()


def test_missing_data_is_an_environment_error(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No data and no network: exit code 3 and one line that names data=digits."""
    import urllib.request

    def refuse(*arguments: object, **named: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    done = start("data_dir=nothing", "output_dir=outputs")
    assert done.code == 3
    assert "or train with data=digits" in done.err  # not every command has that key
    assert "Traceback" not in done.err
    # Older versions of torchvision begin with an empty line.
    assert done.err.strip().count("\n") == 0
    assert not done.runs


def test_split_that_does_not_fit_is_refused(start: Start) -> None:
    """More images than the data set has: exit code 2, naming both keys."""
    done = start("data=digits", "epochs=1", "train_size=1297", "validation_size=1")
    assert done.code == 2
    assert "train_size=1297 and validation_size=1" in done.err
    assert not done.runs


def test_output_dir_that_is_a_file_is_refused_before_training(
    start: Start, tmp_path: Path, no_training: None
) -> None:
    """An output folder that cannot be is exit code 2, before hours of training."""
    (tmp_path / "file").write_text("mine")
    done = start(*QUICK, "output_dir=file")
    assert done.code == 2
    assert "output_dir=file is a file: name a folder" in done.err
    assert "Traceback" not in done.err
    assert (tmp_path / "file").read_text() == "mine"


def test_read_only_output_dir_is_refused_before_training(
    start: Start, no_training: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder in which no file can be made is exit code 3, before any training."""

    def read_only(*arguments: object, **named: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "mkstemp", read_only)
    done = start(*QUICK)
    assert done.code == 3
    assert "Read-only file system" in done.err


@pytest.mark.slow
def test_full_disk_is_an_environment_error(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full at the end is exit code 3; with space the same command
    completes."""

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        done = start(*QUICK)
    assert done.code == 3
    assert "No space left" in done.err
    assert not done.files()
    assert start(*QUICK).code == 0


def test_tracker_that_fails_changes_no_exit_code(
    start: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a broken tracker the run is complete: exit code 0, one line, one warning."""
    (tmp_path / "instead").mkdir()
    (tmp_path / "instead" / "wandb.py").write_text("raise RuntimeError('broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "instead"))
    done = start(*QUICK, "tracker=wandb")
    assert done.code == 0
    assert done.out.count("\n") == 1
    assert done.err.count("the runs are unharmed") == 1
    assert len(done.runs) == 1


def test_help_lists_everything_that_may_be_typed(start: Start) -> None:
    """--help names every group, level with year and source, number, and examples."""
    for flag in ("--help", "-h"):
        done = start(flag)
        assert done.code == 0
    lines = [line.split() for line in done.out.splitlines()]
    for group in GROUPS:
        assert [group] in lines
        for level in names(group):
            if group == "preset":
                (run,), _ = composed([f"preset={level}"])
                chosen = " ".join(f"{f}={run.level(f)}" for f in FACTORS)
                assert chosen in " ".join(done.out.split())
                continue
            content = group_levels(group)[level]
            expected = [level, str(content["year"]), *content["source"].split()]
            assert expected in lines
    for key, allowed in RANGES.items():
        assert [key, *str(allowed).split()] in lines
    for example in train.EXAMPLES.splitlines():
        assert example in done.out


def examples() -> list[list[str]]:
    """What the examples of --help type."""
    lines = [line.partition("lenet train")[2] for line in train.EXAMPLES.splitlines()]
    return [
        [word for word in line.split() if "=" in word or word == "-m"] for line in lines
    ]


@pytest.mark.parametrize("typed", examples())
def test_examples_of_the_help_are_valid(typed: list[str]) -> None:
    """What --help shows can be typed."""
    if "preset=paper" in typed and "sdlm" not in names("optimizer"):
        typed = [*typed, "optimizer=sgd"]
    train.refuse_mistyped(typed)


@pytest.mark.parametrize(
    ("flags", "shows"),
    [
        (("--cfg", "job"), "batch_size: 64"),
        (("--cfg", "hydra"), "sweeper:"),
        pytest.param(("--hydra-help",), "hydra/launcher", marks=pytest.mark.slow),
        (("--info", "defaults"), "activation/relu"),
        (("-sc", "install=bash"), "COMP_LINE"),
        (("--version",), "Hydra 1.3"),
    ],
)
def test_hydras_own_flags_work(
    start: Start, flags: tuple[str, ...], shows: str, no_training: None
) -> None:
    """Hydra shows its configuration, help and completion, and nothing is trained."""
    done = start(*flags)
    assert done.code == 0, done.err
    assert "--cfg" in flags or shows in done.out
    assert shows in done.out
    assert not done.files()


def test_completion_knows_the_levels(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tab after activation=re gives relu."""
    line = "python lenet/train.py activation=re"
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setenv("COMP_POINT", str(len(line)))
    assert "activation=relu" in start("-sc", "query=bash").out


@pytest.mark.slow
def test_tab_completes_in_bash() -> None:
    """In a terminal, after the line of docs/command.md, Tab completes a level."""
    bash = shutil.which("bash")
    if not bash:
        pytest.skip("there is no bash here")
    (line,) = re.findall(r"`(eval .*bash.*)`", (ROOT / "docs/command.md").read_text())
    control, terminal = os.openpty()
    shell = [bash, "--norc", "--noprofile", "-i"]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with subprocess.Popen(
        shell,
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        cwd=ROOT,
        env={**os.environ, "PATH": path, "TERM": "dumb"},
        start_new_session=True,
    ) as process:
        os.write(control, f"{line}\nlenet train activation=re\t".encode())
        shown = b""
        while (
            b"activation=relu" not in shown and select.select([control], [], [], 120)[0]
        ):
            shown += os.read(control, 4096)
        process.kill()
    os.close(control)
    os.close(terminal)
    assert b"activation=relu" in shown, shown.decode()


def test_wrong_cfg_of_a_level_is_refused(start: Start) -> None:
    """--cfg shows what would run, so it refuses what would not."""
    assert start("--cfg", "job", "activation=rulu").code == 2


def test_gpu_that_is_not_there_is_an_environment_error(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """device=cuda without a GPU is exit code 3, and never the CPU by stealth."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    done = start(*QUICK, "device=cuda")
    assert done.code == 3
    assert "device=cpu" in done.err
    assert train.choose_device("auto").type == "cpu"


@pytest.mark.slow
def test_interrupt_keeps_finished_runs_and_says_how_to_go_on(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the second of two stacks: exit code 130, the first has its record."""
    real, calls = stack.train, []

    def interrupted(*arguments: Any) -> Any:
        if len(arguments[0]) == 1:  # and not the same run with its companion
            calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(stack, "train", interrupted)
    typed = ("-m", *QUICK, "activation=relu,tanh")
    done = start(*typed)
    assert done.code == 130
    assert "go on with: python" in done.err
    assert all(word in done.err for word in typed)
    assert "Traceback" not in done.err
    assert len(done.runs) == 1
    assert len(start(*typed).runs) == 2


def test_stacks_share_a_structure_and_are_full() -> None:
    """Runs are stacked by structure, `size` at a time and then the rest, each once."""
    relu = [config(seed=seed) for seed in range(7)]
    tanh = [config({"activation": "tanh"}, seed) for seed in range(2)]
    mixed = [relu[0], tanh[0], *relu[1:], tanh[1]]
    names = {str(i): run for i, run in enumerate(mixed)}
    stacks = list(train.stacks(names, size=3))
    assert [len(alike) for alike in stacks] == [3, 3, 1, 2]
    for alike in stacks:
        assert len({recipe.structure(run) for run in alike.values()}) == 1
    assert {name: run for alike in stacks for name, run in alike.items()} == names


def test_summary_tells_diverged_runs_apart() -> None:
    """The mean is over finished runs; diverged ones are counted, and never hidden."""
    good = {"run_id": "a", "status": "finished", "seconds": 1.0, "curve": []}
    good["response"] = {"test_error": 0.125}
    lost = {**good, "status": "diverged", "response": {"test_error": None}}
    assert "12.50%, n = 2, 1 diverged" in train.result_line([good, lost], Places())
    assert "no run finished, n = 1, 1 diverged" in train.result_line([lost], Places())


def test_runs_come_back_in_order(tmp_path: Path) -> None:
    """The records are in the order of the runs, whatever is stacked with what."""
    small = {"epochs": 1, "train_size": 7, "batch_size": 7}
    runs = [
        config({**small, "activation": activation}, seed)
        for seed in (1, 0)
        for activation in ("tanh", "relu")
    ]
    places = replace(Places(), output_dir=str(tmp_path))
    records = train.train_missing(runs, places)
    assert [record["treatment"] for record in records] == [
        dict(r.treatment) for r in runs
    ]
    assert [record["seed"] for record in records] == [1, 1, 0, 0]
    assert train.train_missing(runs[::-1], places) == records[::-1]


def test_refusal_of_a_script_is_its_exit_code(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A Refusal is its message on stderr, markup and all, and its exit code."""

    def refuse() -> None:
        raise Refusal("no [/b] here", 4)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop:
        terminal.command(refuse)
    signal.signal(signal.SIGTERM, before)
    assert stop.value.code == 4
    assert capsys.readouterr().err == "no [/b] here\n"


def test_module_is_a_command(tmp_path: Path) -> None:
    """`python -m lenet.train` stops at Ctrl-C with 130 and the command to go on, and
    a reader that has gone away is no failure."""
    command = [sys.executable, "-m", "lenet.train", "data=digits", "epochs=900"]
    with subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stderr is not None
        assert "epoch 1/900" in running.stderr.readline()
        running.send_signal(signal.SIGINT)
        err = running.stderr.read()
    assert running.returncode == 130
    assert err.endswith("go on with: python -m lenet.train data=digits epochs=900\n")
    assert not list(tmp_path.rglob("record.json"))


def test_reader_that_is_gone_is_no_failure(tmp_path: Path) -> None:
    """`python -m lenet.train --help | true` ends quietly."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "lenet.train", "--help"],
        cwd=tmp_path,
        stdout=writing,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
