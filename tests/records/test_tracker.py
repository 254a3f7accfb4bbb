"""A tracker gets a copy of a run, and can fail without harm to it."""

import fcntl
import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import stub_worker
from conftest import config
from marks import mostly_slow
from stub_worker import small

from lenet.config import FACTORS, Places, names
from lenet.records import atomic_files, plan, run_record, store, tracker
from lenet.records.record_types import Record
from lenet.report import study_report
from lenet.studies import own_runs
from lenet.sweep import sweep
from lenet.training.data import Data
from lenet.training.stack import train

FAULTS = {
    "absent": "raise ModuleNotFoundError(\"No module named 'wandb'\")",
    "crashing": "raise RuntimeError('the server said no')",
    "exiting": "raise SystemExit(7)",
    "killed": "import os; os.kill(os.getpid(), 9)",
    "noisy": "import os, sys; sys.stderr.buffer.write(b'\\xff\\n'); os._exit(3)",
}


STUB = [sys.executable, stub_worker.__file__, "none"]


@pytest.fixture
def output(tmp_path: Path, tiny: Data) -> str:
    """An output folder with the record of one run of three epochs."""
    run = config({"epochs": 3, "train_size": 7})
    about = {"size": 2, "position": 0, "threads": 1, "device": "cpu"}
    run_record.write_run(str(tmp_path), run, tiny, train([run], tiny)[0], about)
    return str(tmp_path)


def only(output: str) -> Record:
    """The one record of an output folder, its seal verified."""
    (record,) = store.finished_records(output)
    return record


def mirror(output: str, name: str, study: str = "") -> None:
    """What a command does whose runs have their records."""
    places = Places(output_dir=output, tracker=name)
    with tracker.mirroring(places, study, store.finished_runs(output)):
        pass


def planned(output: str, study: str, arm: str) -> None:
    """The plan of a study that has the only run of an output folder in an arm."""
    record = only(output)
    treatment, runs = record["treatment"], [record["run_id"]]
    arms = [{"name": arm, "treatment": treatment, "runs": runs}]
    arms[0] |= {"levels": {}, "changes": {}}
    content = {"study": study, "arms": arms, "seeds": [0], "search_seeds": []}
    content |= {"kind": "one_factor", "design": study, "runs": runs}
    content |= {"reference": treatment, "levels": {}, "factors": [], "preset": "paper"}
    content |= {"data": {}, "code": record["code"]}
    atomic_files.replace(Path(output) / study / plan.PLAN, plan.sealed_text(content))


def files(output: str) -> dict[str, bytes]:
    """Everything in an output folder but W&B's logs, which its service still writes
    when `finish` has returned."""
    paths = [path for path in Path(output).rglob("*") if path.is_file()]
    paths = [path for path in paths if path.parent.name != "logs"]
    return {str(path): path.read_bytes() for path in paths}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key and no mode: as on a machine that knows nothing of W&B."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a package in wandb's place that does what it is told as it is imported."""

    def put(source: str) -> None:
        folder = tmp_path / "instead"
        folder.mkdir()
        (folder / "wandb.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(folder))

    return put


def events(path: Path) -> list[Any]:
    """What an offline run's file holds: LevelDB's log format, a protobuf per entry."""
    from wandb.proto import wandb_internal_pb2 as proto

    content, at, entry, records = path.read_bytes(), 7, b"", []
    while at + 7 <= len(content):
        left = 32_768 - at % 32_768
        if left < 7:
            at += left
            continue
        _, size, kind = struct.unpack("<IHB", content[at : at + 7])
        entry += content[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            records.append(proto.Record.FromString(entry))
            entry = b""
    return records


def values(items: Any) -> dict[str, Any]:
    """The keys of a W&B message with their decoded values."""
    return {
        item.key or "/".join(item.nested_key): json.loads(item.value_json)
        for item in items
    }


def test_none_starts_no_process(output: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """tracker=none, the default, costs nothing."""
    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("started"))
    mirror(output, Places().tracker)


def test_every_level_of_tracker_is_in_the_code() -> None:
    """conf/tracker and the code list the same trackers."""
    assert set(names("tracker")) == set(tracker.LEVELS)


def test_wandb_mirrors_config_curve_and_result(
    output: str, offline: None, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a key W&B writes an offline run that holds what the record holds, grouped
    by study, with the treatment as its job type and the levels as tags."""
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    before = only(output)
    planned(output, "a-study", "activation=relu")
    mirror(output, "wandb", study="a-study")
    assert capfd.readouterr() == ("", f"{tracker.where('wandb', output)}\n")
    assert only(output) == before
    (path,) = Path(output).glob(f"wandb/offline-run-*/run-{before['run_id']}.wandb")
    found = events(path)
    (run,) = [event.run for event in found if event.WhichOneof("record_type") == "run"]
    assert (run.run_id, run.project) == (before["run_id"], "lenet")
    assert (run.run_group, run.job_type) == ("a-study", "activation=relu")
    assert {f"{f}={before['treatment'][f]}" for f in FACTORS} < set(run.tags)
    mirrored = values(run.config.update)
    assert {**before["treatment"], "seed": 0}.items() <= mirrored.items()
    history = [values(event.history.item) for event in found if event.history.item]
    assert len(history) == 3
    for point, logged in zip(before["curve"], history, strict=True):
        assert point.items() <= logged.items()
    summary: dict[str, Any] = {}
    for event in found:
        summary |= values(event.summary.update)
    error = before["response"]["test_error"]
    assert summary["test_error"] == pytest.approx(error)
    assert summary["status"] == "finished"


@pytest.mark.slow
def test_tensorboard_mirrors_config_and_curve(
    output: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The event file holds the treatment and each error at each epoch; and HPARAMS of
    the run itself, as the chart of anybody's runs reads them."""
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    before = only(output)
    planned(output, "a-study", "activation=relu")
    mirror(output, "tensorboard", study="a-study")
    assert capfd.readouterr() == ("", f"{tracker.where('tensorboard', output)}\n")
    assert only(output) == before
    study = Path(output) / "tensorboard" / "a-study"
    folder = study / "activation=relu" / before["run_id"]
    reader = EventAccumulator(str(folder)).Reload()
    for name in ("train_error", "test_error"):
        logged = [(event.step, event.value) for event in reader.Scalars(name)]
        curve = [(point["epoch"], point[name]) for point in before["curve"]]
        assert [step for step, _ in logged] == [epoch for epoch, _ in curve]
        assert [v for _, v in logged] == pytest.approx([v for _, v in curve])
    (text,) = reader.Tensors("config/text_summary")
    assert b'"activation": "relu"' in text.tensor_proto.string_val[0]
    table = own_runs.read_tensorboard(Path(output) / "tensorboard")
    (row,) = table.to_dict("records")
    error = before["response"]["test_error"]
    assert row["test_error"] == pytest.approx(error) and row["seed"] == before["seed"]
    assert row["optimizer"] == before["treatment"]["optimizer"]


def test_mlflow_mirrors_settings_curve_and_result(
    output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder, without a server, as the chart of anybody's runs reads it; a copy
    that was interrupted is replaced."""
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    record, place = only(output), Path(output)
    planned(output, "a-study", "activation=relu")
    for _ in range(2):
        assert tracker.write_mlflow(
            tracker.Copy(place, record, "a-study", "activation=relu")
        )
    (row,) = own_runs.mlruns(place / "mlruns").to_dict("records")
    assert row["activation"] == "relu" and row["status"] == "FINISHED"
    assert row["test_error"] == pytest.approx(record["response"]["test_error"])


@pytest.mark.slow
def test_wandb_takes_its_project_and_its_modes_from_the_environment(
    output: str, offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WANDB_PROJECT names the project; disabled leaves no copy and no mark of one, so
    that it is made when the same command is given again."""
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    name = only(output)["run_id"]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    mirror(output, "wandb")
    mark = tracker.marks(output, "wandb") / name
    assert not mark.read_text() and not list(Path(output).glob("wandb/offline-run-*"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    mirror(output, "wandb")
    (path,) = Path(output).glob(f"wandb/offline-run-*/run-{name}.wandb")
    (run,) = [e.run for e in events(path) if e.WhichOneof("record_type") == "run"]
    assert run.project == "mine" and mark.read_text() == "mirrored\n"


@pytest.mark.parametrize("name", mostly_slow(["wandb", "tensorboard"], every=2))
def test_finished_run_is_mirrored_exactly_once(
    output: str, offline: None, name: str
) -> None:
    """The same command again changes no file of the tracker and adds none."""
    pytest.importorskip(name, reason=f"the extra {name} is not installed")
    mirror(output, name, study="a-study")
    before = files(output)
    mirror(output, name, study="a-study")
    assert files(output) == before
    pattern = {"wandb": "wandb/offline-run-*", "tensorboard": "tensorboard/**/events*"}
    assert len(list(Path(output).glob(pattern[name]))) == 1


@pytest.mark.slow
def test_interrupted_copy_is_made_again(
    output: str, offline: None, broken: Callable[[str], None]
) -> None:
    """What a killed tracker left is no copy: the next command makes the only one."""
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    left = Path(output) / "wandb" / f"offline-run-1-{only(output)['run_id']}"
    left.mkdir(parents=True)
    broken(FAULTS["killed"])
    mirror(output, "wandb")
    (Path(output) / "instead" / "wandb.py").unlink()
    mirror(output, "wandb")
    (path,) = Path(output).glob("wandb/offline-run-*")
    assert path != left


def test_run_that_another_process_mirrors_is_left_to_it(
    output: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two commands at a time make one copy."""
    mark = tracker.marks(output, "tensorboard") / only(output)["run_id"]
    mark.parent.mkdir(parents=True)
    with mark.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        mirror(output, "tensorboard")
    assert capfd.readouterr() == ("", f"{tracker.where('tensorboard', output)}\n")
    assert [path.name for path in mark.parent.parent.iterdir()] == ["mirrored"]


@pytest.mark.slow
def test_runs_are_mirrored_beside_the_training(output: str) -> None:
    """A run has its copy while the command still trains others."""
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    name = only(output)["run_id"]
    mark = tracker.marks(output, "tensorboard") / name
    places = Places(output_dir=output, tracker="tensorboard")
    with tracker.mirroring(places, "", [name, "a run that is not there yet"]):
        until = time.monotonic() + 120
        while not (mark.exists() and mark.stat().st_size) and time.monotonic() < until:
            time.sleep(0.1)
        assert mark.stat().st_size


def test_failing_command_stops_the_tracker(
    output: str, broken: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C waits for no tracker and gets no warning of one."""
    broken("import time; time.sleep(60)")
    places = Places(output_dir=output, tracker="wandb")
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        with tracker.mirroring(places, "", store.finished_runs(output)):
            raise KeyboardInterrupt
    assert time.monotonic() - began < 30
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_sweep_mirrors_its_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every run of a study lies under its treatment, also if it was finished before."""
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    monkeypatch.setattr(study_report, "write_study", lambda folder: [folder])
    monkeypatch.setattr(sweep, "start_worker", stub_worker.start)
    design, runs = small(2)
    for name in ("none", "tensorboard"):
        places = Places(output_dir=str(tmp_path), tracker=name)
        sweep.carry_out(design, runs, places, 1, command=STUB)
    folder = tmp_path / "tensorboard" / "small"
    arms = {path.parent.name: path.parts[-3] for path in folder.glob("*/*/events*")}
    assert arms == {
        name: f"activation={config.level('activation')}"
        for name, config in runs.items()
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_tracker_that_fails_costs_one_warning(
    output: str,
    fault: str,
    broken: Callable[[str], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    """An absent or crashing tracker leaves the record alone and warns in one line."""
    path = store.run_folder(output, only(output)["run_id"]) / "record.json"
    before = (path.read_bytes(), path.stat().st_mtime_ns)
    broken(FAULTS[fault])
    mirror(output, "wandb")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
    out, err = capfd.readouterr()
    assert not out
    assert err.count("\n") == 1
    assert err.startswith("tracker=wandb failed, the runs are unharmed: ")
    assert err.split(": ", 1)[1].strip()


def test_missing_extra_is_named(
    output: str, broken: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    """Where the package is missing the warning says how to install it."""
    broken(FAULTS["absent"])
    mirror(output, "wandb")
    assert "pip install 'lenet[wandb]'" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tensorboard", "tensorboard --logdir 'my runs/tensorboard'"),
        ("mlflow", "mlflow ui --backend-store-uri 'my runs/mlruns'"),
        ("wandb", "wandb sync 'my runs/wandb'/offline-run-*"),
    ],
)
def test_tracker_says_what_shows_its_copies(
    offline: None, monkeypatch: pytest.MonkeyPatch, name: str, said: str
) -> None:
    """A command that can be typed as it stands."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert said in tracker.where(name, "my runs")


def test_tracker_elsewhere_is_named(
    offline: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server has what was sent there, and no folder here."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///runs.db")
    assert "sqlite:///runs.db" in tracker.where("mlflow", "outputs")
    monkeypatch.setenv("WANDB_API_KEY", "x")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    assert "the project mine" in tracker.where("wandb", "outputs")


def test_tracker_that_hangs_is_stopped(
    output: str,
    broken: Callable[[str], None],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A tracker has bounded time; then there is one warning, and the run is kept."""
    monkeypatch.setattr(tracker, "SECONDS", 0.5)
    broken("import time; time.sleep(60)")
    before = only(output)
    mirror(output, "wandb")
    err = capfd.readouterr().err
    assert err.count("\n") == 1
    assert "timed out" in err
    assert only(output) == before


def test_tracker_sees_the_key_and_nothing_prints_it(
    output: str,
    broken: Callable[[str], None],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a key W&B is online, and the key is in no file and in no output."""
    secret = "a-secret-that-was-planted"
    monkeypatch.setenv("WANDB_API_KEY", secret)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    broken("def init(**given): raise RuntimeError(given['mode'])")
    mirror(output, "wandb")
    out, err = capfd.readouterr()
    assert err.strip().endswith("online")
    assert secret not in out + err
    written = [path for path in Path(output).rglob("*") if path.is_file()]
    assert all(secret.encode() not in path.read_bytes() for path in written)


def test_training_imports_no_tracker() -> None:
    """Importing the entry point imports neither wandb nor tensorboard."""
    code = "import sys, lenet.train; print({'wandb', 'tensorboard'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
