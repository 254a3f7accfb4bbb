"""A finished run is never lost or changed, whatever happens to the processes and files
of a sweep; the same sweep again ends as one that nothing befell."""

import contextlib
import hashlib
import io
import itertools
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import faults
import pytest
import ten_thousand_runs
import torch
from conftest import config as plain
from faults import start, wait_for_a_record
from marks import mostly_slow
from safetensors.torch import save
from stub_worker import small, stub

from lenet.config import Refusal
from lenet.records import atomic_files, run_lock, run_record, seal, store
from lenet.records import plan as plans
from lenet.sweep import verify

needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None, reason="strace puts the faults in: apt install it"
)
CASES = [
    pytest.param(fault, call, marks=() if quick else pytest.mark.slow)
    for fault, calls in faults.TRIED.items()
    for call in calls
    for quick in [(fault, call) in [(faults.KILL, "link"), (faults.FULL, "mkdir")]]
]


@pytest.mark.slow
@needs_strace
@pytest.mark.parametrize(("fault", "call"), CASES)
def test_fault_at_any_call_loses_nothing(fault: str, call: str) -> None:
    """Killed, or refused by the file system, at every call of one kind in turn."""
    outcome = faults.inject(faults.planned(), fault, call)
    assert outcome.points >= 2 and outcome.lost == 0
    assert not outcome.problems


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(5))
def test_kill_of_the_process_group_at_a_random_time_loses_nothing(
    tmp_path: Path, trial: int
) -> None:
    """Real training on digits, killed again and again, ends with the bits of a sweep
    that nothing befell."""
    chance, kept = random.Random(trial), dict[str, bytes]()
    for _ in range(3):
        process = start(tmp_path, "epochs=2")
        try:
            time.sleep(chance.uniform(6, 16))
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        time.sleep(0.5)
        now = faults.valid(tmp_path)
        assert {path: now[path] for path in kept} == kept
        kept = now
    process = start(tmp_path, "epochs=2")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    files = faults.files(tmp_path)
    assert {path: files[path] for path in kept} == kept
    verify.everything(str(tmp_path))
    chosen = chance.choice(store.finished_runs(str(tmp_path)))
    assert "the same bits" in verify.rerun(chosen, str(tmp_path), None)


@pytest.mark.slow
def test_kill_of_a_worker_costs_one_attempt(tmp_path: Path) -> None:
    """The stack of a killed worker is tried again in the same sweep: exit code 0."""
    process = start(tmp_path, "epochs=5")
    wait_for_a_record(tmp_path, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    os.kill(int(children.split()[0]), signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    attempts = [json.loads(p.read_text()) for p in (tmp_path / "attempts").iterdir()]
    assert [attempt["cause"] for attempt in attempts] == [
        "killed by SIGKILL (out of memory?)"
    ]


def damages(content: bytes, other: bytes) -> dict[str, bytes]:
    """What may become of a file."""
    middle = len(content) // 2
    flipped = bytes([content[middle] ^ 1])
    return {
        "truncated": content[:middle],
        "emptied": b"",
        "one bit flipped": content[:middle] + flipped + content[middle + 1 :],
        "another run's": other,
        "nonsense": b"[1]",
        "zeros": bytes(len(content)),
    }


@pytest.mark.parametrize("file", ["record.json", "model.safetensors"])
def test_damage_to_a_run_is_found_and_mended(
    tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """verify moves a run with any broken file to quarantine and says so (4); the same
    sweep then makes it again."""
    output_dir = str(tmp_path)
    planned = faults.planned()
    assert faults.carry_out(planned, tmp_path) == 0
    (tmp_path / "small" / "records.jsonl.gz").unlink()
    sound = faults.told(faults.files(tmp_path))
    first, second = store.finished_runs(output_dir)[:2]
    path = store.run_folder(output_dir, first) / file
    other = (store.run_folder(output_dir, second) / file).read_bytes()
    for count, (name, content) in enumerate(damages(path.read_bytes(), other).items()):
        path.write_bytes(content)
        with pytest.raises(Refusal) as caught:
            verify.everything(output_dir)
        assert caught.value.code == 4 and "3 of 4 runs" in str(caught.value), name
        assert first in capsys.readouterr().err
        assert len(list((tmp_path / "quarantine").iterdir())) == count + 1
        assert faults.carry_out(planned, tmp_path) == 0
        (tmp_path / "small" / "records.jsonl.gz").unlink()
        assert faults.told(faults.files(tmp_path)) == sound, name


@pytest.mark.parametrize("file", ["record.json", "model.safetensors"])
def test_damage_to_a_run_of_a_finished_study_is_mended(
    tmp_path: Path, file: str
) -> None:
    """What verify took away the same sweep trains again, though the study has its
    record: the same bits, and nothing else; status says so beforehand."""
    planned = faults.planned()
    assert faults.carry_out(planned, tmp_path) == 0
    sound = faults.told(faults.files(tmp_path))
    hidden = sorted(planned[1].keys() - plans.shown_runs(planned[0]))[0]
    path = store.run_folder(str(tmp_path), hidden) / file
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(Refusal, match="same sweep again trains the others anew"):
        verify.everything(str(tmp_path))
    states = {run.run_id: run for run in plans.run_states(str(tmp_path), planned[0])}
    assert states[hidden].state == "failed" and "quarantine" in states[hidden].why
    assert sum(run.state == "done" for run in states.values()) == 3
    assert faults.carry_out(planned, tmp_path) == 0
    assert faults.told(faults.files(tmp_path)) == sound
    assert verify.everything(str(tmp_path)).startswith("4 of 4 runs")
    states = {run.run_id: run for run in plans.run_states(str(tmp_path), planned[0])}
    assert {run.state for run in states.values()} == {"done"}


def resealed(path: Path, **changes: object) -> None:
    """A record edited by somebody who knows how a seal is made."""
    edited = {**seal.unsealed(path.read_bytes(), "a record"), **changes}
    del edited["seal"]
    path.write_text(json.dumps(seal.sealed(edited)))


@pytest.mark.parametrize(
    "edit",
    mostly_slow(
        [
            lambda record: {"response": {"test_error": 0.05}},
            lambda record: {"treatment": {**record["treatment"], "activation": "gelu"}},
            lambda record: {"seed": 99},
            lambda record: {"response": {}},
            lambda record: {"response": None},
            lambda record: {"right": "no base64"},
        ],
        every=2,
    ),
)
def test_record_edited_and_sealed_anew_is_made_again(
    tmp_path: Path,
    edit: Callable[[store.Record], dict[str, object]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A result that its own images contradict, or a treatment that is not that of the
    run's id: moved to quarantine, and the same sweep goes on."""
    planned = faults.planned()
    faults.carry_out(planned, tmp_path)
    sound = faults.told(faults.files(tmp_path))
    for check in (lambda: None, lambda: verify.everything(str(tmp_path))):
        path = next(tmp_path.glob("runs/*/record.json"))
        resealed(path, **edit(store.read_record(path)))
        with contextlib.suppress(Refusal):
            check()
        assert faults.carry_out(planned, tmp_path) == 0
        assert faults.told(faults.files(tmp_path)) == sound
        assert f"{path.parent.name}/record.json" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["run_id", "response", "treatment", "curve", "versions", "code", "schema"]
)
def test_record_that_lacks_something_is_no_record(tmp_path: Path, name: str) -> None:
    """A right seal over half a record is exit code 4 with the name of the file."""
    faults.carry_out(faults.planned(), tmp_path)
    path = next(tmp_path.glob("runs/*/record.json"))
    record = store.read_record(path)
    for content in (
        {k: v for k, v in record.items() if k not in (name, "seal")},
        {**{k: v for k, v in record.items() if k != "seal"}, name: ["wrong"]},
    ):
        point = name == "curve" and name in content  # what is wrong is a point of it
        key = "epoch" if point else name
        path.write_text(json.dumps(seal.sealed(content)))
        with pytest.raises(Refusal, match=f"wrong shape: see its '{key}'") as caught:
            store.read_record(path)
        assert caught.value.code == 4
        with pytest.raises(Refusal, match="wrong shape|is no record"):
            published = tmp_path / "small" / "records.jsonl.gz"
            published.write_bytes(plans.packed_records([seal.sealed(content)]))
            plans.published_records(tmp_path / "small")


@pytest.mark.parametrize("name", ["runs", "arms", "seeds", "design", "reference"])
def test_plan_that_lacks_something_is_made_again(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A right seal over half a plan is found by verify and mended by the sweep."""
    planned = faults.planned()
    faults.carry_out(planned, tmp_path)
    path = tmp_path / "small" / "plan.json"
    sound = path.read_bytes()
    for change in ({}, {name: 7}):
        half = {k: v for k, v in planned[0].items() if k != name}
        path.write_bytes(plans.sealed_text({**half, **change}))
        with pytest.raises(Refusal, match=f"wrong shape: see its '{name}'"):
            verify.everything(str(tmp_path))
        assert faults.carry_out(planned, tmp_path) == 0
        assert path.read_bytes() == sound


def test_note_of_an_attempt_that_lacks_something_stops_nothing(tmp_path: Path) -> None:
    """verify says to remove it; everything else reads on."""
    planned = faults.planned()
    faults.carry_out(planned, tmp_path)
    path = tmp_path / "attempts" / "a.json"
    atomic_files.replace(path, plans.sealed_text({"cause": "why"}))
    with pytest.raises(Refusal, match="a.json: the note is of the wrong .*remove it"):
        verify.everything(str(tmp_path))
    states = plans.run_states(str(tmp_path), planned[0])
    assert {run.state for run in states} == {"done"}


@pytest.mark.parametrize("kind", ["pickle", "another architecture"])
def test_weights_sealed_anew_are_refused_as_tensors(tmp_path: Path, kind: str) -> None:
    """A hash that fits says nothing of what is in the file: never unpickled."""
    faults.carry_out(faults.planned(), tmp_path)
    path = next(tmp_path.glob("runs/*/model.safetensors"))
    other = {"C1.weight": torch.zeros(2, 3)}
    content = pickle.dumps(other) if kind == "pickle" else save(other)
    path.write_bytes(content)
    told = path.with_name("record.json")
    resealed(told, weights=hashlib.sha256(content).hexdigest())
    record = store.finished_record(str(tmp_path), path.parent.name)
    assert record is not None
    with pytest.raises(Refusal, match="cannot be read|fit no such net") as caught:
        run_record.load_stack([record], str(tmp_path))
    assert caught.value.code == 4


def test_verify_counts_what_it_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails under one run is no reason to look at no other."""
    faults.carry_out(faults.planned(), tmp_path)
    name = store.finished_runs(str(tmp_path))[0]

    def broken(path: Path, *mode: str) -> IO[bytes]:
        if Path(path).parent.name == name:
            raise OSError(5, "Input/output error")
        return open(path, "rb")

    monkeypatch.setattr(atomic_files, "open", broken, raising=False)
    with pytest.raises(Refusal, match="Input/output error\n3 of 4 runs") as caught:
        verify.everything(str(tmp_path))
    assert caught.value.code == 4 and not (tmp_path / "quarantine").exists()


def test_number_edited_by_hand_is_found_by_the_sweep(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sweep does not use a record whose seal is wrong: it trains the run again."""
    planned = faults.planned()
    faults.carry_out(planned, tmp_path)
    (tmp_path / "small" / "records.jsonl.gz").unlink()
    path = next(tmp_path.glob("runs/*/record.json"))
    text = path.read_text()
    path.write_text(text.replace('"test_error":0.25', '"test_error":0.05', 1))
    assert path.read_text() != text
    assert faults.carry_out(planned, tmp_path) == 0
    assert "was changed after it was written" in capsys.readouterr().err
    errors = [
        record["response"]
        for record in plans.published_records(tmp_path / "small").values()
    ]
    assert errors == [{"test_error": 0.25}] * 4


def test_record_of_another_run_is_no_record_of_this_one(tmp_path: Path) -> None:
    """A whole folder copied over another, seal and weights and all, is found."""
    planned = faults.planned()
    faults.carry_out(planned, tmp_path)
    (tmp_path / "small" / "records.jsonl.gz").unlink()
    first, second = (
        store.run_folder(str(tmp_path), name)
        for name in store.finished_runs(str(tmp_path))[:2]
    )
    shutil.rmtree(first)
    shutil.copytree(second, first)
    assert faults.carry_out(planned, tmp_path) == 0
    assert store.read_record(first / "record.json")["run_id"] == first.name
    assert len(plans.published_records(tmp_path / "small")) == 4


def test_weights_that_a_killed_attempt_left_are_not_taken_for_new_ones(
    tmp_path: Path,
) -> None:
    """Weights without a record are nobody's: they and temporary files are removed."""
    planned = faults.planned()
    place = store.run_folder(str(tmp_path), next(iter(planned[1])))
    place.mkdir(parents=True)
    for name in ("model.safetensors", ".record.json.abc"):
        (place / name).write_bytes(b"half")
    assert faults.carry_out(planned, tmp_path) == 0
    assert sorted(p.name for p in place.iterdir()) == [
        "model.safetensors",
        "record.json",
    ]
    verify.everything(str(tmp_path))


def test_missing_weights_are_found(tmp_path: Path) -> None:
    """A record without the weights that it names is no finished run."""
    faults.carry_out(faults.planned(), tmp_path)
    next(tmp_path.glob("runs/*/model.safetensors")).unlink()
    with pytest.raises(Refusal, match="3 of 4 runs and 1 of 1 studies are sound"):
        verify.everything(str(tmp_path))


@pytest.mark.parametrize("file", ["plan.json", "records.jsonl.gz"])
def test_damage_to_a_study_is_found_and_mended(
    tmp_path: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """verify names a plan or records that were changed; the same sweep moves them aside
    and makes them again."""
    planned = faults.planned()
    faults.carry_out(planned, tmp_path)
    path = tmp_path / "small" / file
    sound = path.read_bytes()
    for count, (name, content) in enumerate(damages(sound, b"x").items()):
        path.write_bytes(content)
        with pytest.raises(Refusal, match=file) as caught:
            verify.everything(str(tmp_path))
        assert caught.value.code == 4, name
        assert faults.carry_out(planned, tmp_path) == 0, name
        assert path.read_bytes() == sound, name
        assert file in capsys.readouterr().err, name
        assert len(list((tmp_path / "quarantine").iterdir())) == count + 1, name
    verify.everything(str(tmp_path))


def test_damage_to_published_weights_is_found_and_mended(tmp_path: Path) -> None:
    """They are all the weights that a fresh clone has."""
    planned = faults.planned()
    faults.carry_out(planned, tmp_path)
    (path,) = tmp_path.glob("small/weights/*.safetensors")
    sound = path.read_bytes()
    for name, content in damages(sound, b"x").items():
        path.write_bytes(content)
        with pytest.raises(Refusal, match="0 of 1 studies are sound"):
            verify.everything(str(tmp_path))
        assert faults.carry_out(planned, tmp_path) == 0
        assert path.read_bytes() == sound, name


def test_damage_to_weights_that_are_published_is_mended_by_the_sweep(
    tmp_path: Path,
) -> None:
    """The same sweep trains the run again instead of publishing what is broken."""
    planned = faults.planned()
    faults.carry_out(planned, tmp_path)
    path = store.run_folder(str(tmp_path), next(iter(planned[1]))) / "model.safetensors"
    sound = path.read_bytes()
    path.write_bytes(b"x")
    (tmp_path / "small" / "records.jsonl.gz").unlink()
    assert faults.carry_out(planned, tmp_path) == 0
    assert path.read_bytes() == sound
    verify.everything(str(tmp_path))


@pytest.mark.parametrize("pattern", ["attempts", "reruns"])
def test_damage_to_notes_is_found_and_stops_nothing(
    tmp_path: Path, pattern: str
) -> None:
    """A failed attempt or a repeated run that cannot be read is named by verify."""
    planned = faults.planned()
    faults.carry_out(planned, tmp_path)
    note = {"attempts": "a.json", "reruns": "a/record.json"}[pattern]
    path = tmp_path / pattern / note
    plans.write_failure_note(str(tmp_path), [*planned[1]][:1], "why", "said")
    path.parent.mkdir(parents=True, exist_ok=True)
    for content in damages(b'{"runs": []}', b"x").values():
        path.write_bytes(content)
        with pytest.raises(Refusal, match=note):
            verify.everything(str(tmp_path))
        states = plans.run_states(str(tmp_path), planned[0])
        assert {run.state for run in states} == {"done"}


def test_verify_of_no_folder_is_refused(tmp_path: Path) -> None:
    """A misspelt output_dir is not sound."""
    with pytest.raises(Refusal, match="there is no such folder"):
        verify.everything(str(tmp_path / "ouputs"))


def test_run_that_comes_out_otherwise_is_reported_and_both_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rerun names what differs, changes nothing and keeps the new result apart."""
    faults.carry_out(faults.planned(), tmp_path)
    before = faults.files(tmp_path)
    name = store.finished_runs(str(tmp_path))[0]
    monkeypatch.setattr("lenet.training.stack.train", stub)
    assert "the same bits again" in verify.rerun(name, str(tmp_path), None)
    monkeypatch.setattr("lenet.training.stack.train", other)
    with pytest.raises(
        Refusal, match="right, answers, weights differ.* on the same code"
    ) as caught:
        verify.rerun(name[:9], str(tmp_path), None)
    assert caught.value.code == 4
    kept = faults.files(tmp_path)
    assert {path: kept[path] for path in before} == before
    assert len(list(tmp_path.glob(f"reruns/{name}-*/record.json"))) == 1


def other(configs, data, *_, **__):  # type: ignore[no-untyped-def]  # a stub's stub
    """The results of other seeds."""
    return stub([plain(seed=config.seed + 1) for config in configs], data)


def test_record_of_another_schema_is_refused_with_the_version(tmp_path: Path) -> None:
    """A record that a later lenet wrote stays where it is, and the version is named."""
    faults.carry_out(faults.planned(), tmp_path)
    path = next(tmp_path.glob("runs/*/record.json"))
    later = {k: v for k, v in store.read_record(path).items() if k != "seal"}
    later |= {"schema": 99, "versions": {"lenet": "9.9"}}
    path.write_text(json.dumps(seal.sealed(later)))
    with pytest.raises(Refusal, match=r"schema 99, this is schema 1: use lenet 9.9"):
        store.finished_record(str(tmp_path), path.parent.name)
    assert path.exists()
    published = tmp_path / "small" / "records.jsonl.gz"
    published.write_bytes(plans.packed_records([seal.sealed(later)]))
    with pytest.raises(Refusal, match=r"schema 99, this is schema 1: use lenet 9.9"):
        plans.published_records(tmp_path / "small")


def test_output_directory_that_cannot_be_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file, the root, the home, someone else's folder: refused; the rest is not."""
    (tmp_path / "file").write_text("")
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.tex").write_text("")
    (tmp_path / "experiments" / "runs" / "exp1").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name, why in [
        ("file", "is a file"),
        ("theirs", "holds other things"),
        ("experiments", "holds other things"),
        ("home", "name a folder in it"),
        ("/", "name a folder in it"),
    ]:
        with pytest.raises(Refusal, match=why) as caught:
            store.prepare(str(tmp_path / name))
        assert caught.value.code == 2
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new/deep", "empty"):
        store.prepare(str(tmp_path / name))
    (tmp_path / "clone" / "quick").mkdir(parents=True)
    (tmp_path / "clone" / "quick" / "plan.json").write_text("{}")
    store.prepare(str(tmp_path / "clone"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_directory_without_permission_is_refused(tmp_path: Path) -> None:
    """Read-only: exit code 3 with the path and the free space."""
    tmp_path.chmod(0o500)
    with pytest.raises(Refusal, match="Permission denied .* MB free") as caught:
        store.prepare(str(tmp_path / "outputs"))
    assert caught.value.code == 3


def test_seed_0_is_a_seed_like_any_other(tmp_path: Path) -> None:
    """It is in the plan, in the records, and in the id of the run."""
    plan, runs = small(2)
    assert plan["seeds"] == [0, 1] and len(runs) == 4
    faults.carry_out((plan, runs), tmp_path)
    assert {record["seed"] for record in store.finished_records(str(tmp_path))} == {
        0,
        1,
    }


@pytest.mark.slow
@pytest.mark.parametrize("count", [100, ten_thousand_runs.COUNT])
def test_many_published_runs_take_seconds_and_little_memory(count: int) -> None:
    """Status, resuming, chart and interruption stay within twice their goals, as a slow
    machine needs them."""
    done = subprocess.run(
        [sys.executable, str(Path(ten_thousand_runs.__file__)), str(count), "2"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{faults.ROOT}:{faults.ROOT / 'tests'}"},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


def test_goal_can_be_missed() -> None:
    """In time, in memory, by an end that is none."""
    well = ten_thousand_runs.Cost(seconds=1.0, memory=1e9, code=0)
    assert not ten_thousand_runs.too_much({"chart": well})
    for missed in (
        replace(well, seconds=16.0),
        replace(well, memory=2e9),
        replace(well, code=1),
    ):
        assert len(ten_thousand_runs.too_much({"chart": missed})) == 1


@pytest.mark.slow
def test_loss_of_power_at_any_step_loses_no_acknowledged_run(tmp_path: Path) -> None:
    """Every disk that a crash may leave has each run whose record was returned, the
    same bytes, and no half of one passes for a run."""
    done = subprocess.run(
        [sys.executable, str(faults.ROOT / "tests" / "power_loss.py")],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{faults.ROOT}:{faults.ROOT / 'tests'}"},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[2]) > 600 and "0 with a run lost" in done.stdout


def test_plan_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path) -> None:
    """A folder in its place, as a name too long or no handle left: exit code 3."""
    (tmp_path / "small" / "plan.json").mkdir(parents=True)
    with pytest.raises(Refusal, match="plan.json cannot be read: Is a dir") as caught:
        plans.read_plan(tmp_path / "small")
    assert caught.value.code == 3


class Short(io.FileIO):
    """A file of which a call writes no more than a few bytes, as write(2) may."""

    def write(self, content: Any) -> int:
        """How many bytes were written."""
        return super().write(memoryview(content)[:7])


def test_short_writes_lose_no_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a call did not write is written by the next one."""
    expected, place = tmp_path / "whole", tmp_path / "short"
    planned = faults.planned()
    assert faults.carry_out(planned, expected) == 0
    calls = list[str]()

    def opened(handle: int, mode: str) -> io.BufferedWriter:
        calls.append(mode)
        return io.BufferedWriter(Short(handle, mode))

    monkeypatch.setattr(os, "fdopen", opened)
    assert faults.carry_out(planned, place) == 0
    assert len(calls) > 8
    assert faults.told(faults.files(place)) == faults.told(faults.files(expected))


def test_clock_that_goes_back_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A year at every look: the same study, and the same command again is at rest."""
    expected, place = tmp_path / "forward", tmp_path / "back"
    planned, years = faults.planned(), itertools.count(1)
    assert faults.carry_out(planned, expected) == 0
    now, monotonic = time.time(), time.monotonic
    monkeypatch.setattr(time, "time", lambda: now - 3e7 * next(years))
    with run_lock.claim(str(place), ["0" * 16]):
        holders = run_lock.holders(str(place), ["0" * 16])
    assert f"process {os.getpid()} on " in holders and time.monotonic is monotonic
    assert faults.carry_out(planned, place) == 0
    before = faults.files(place)
    assert faults.told(before) == faults.told(faults.files(expected))
    assert faults.carry_out(planned, place) == 0 and faults.files(place) == before


@pytest.mark.parametrize("name", ["small", "runs", ""])
def test_folder_deleted_while_a_sweep_runs_is_made_again_or_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The study's folder is made again from what is in runs/; where the runs are gone,
    the same command trains them again."""
    place, planned = tmp_path / "outputs", faults.planned()
    real = store.write_record

    def deleting(*arguments: Any) -> Any:
        done = real(*arguments)
        if done["seed"] == 1 and (place / "small").exists():
            shutil.rmtree(place / name)
        return done

    monkeypatch.setattr(store, "write_record", deleting)
    assert faults.carry_out(planned, place) == (0 if name == "small" else 1)
    monkeypatch.setattr(store, "write_record", real)
    assert faults.carry_out(planned, place) == 0
    records = plans.published_records(place / "small")
    assert sorted(records) == sorted(planned[1])
    assert not (place / "quarantine").exists()
