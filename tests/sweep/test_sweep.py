"""A sweep finishes what can be finished, and says what it could not and why."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stub_worker
from faults import carry_out as here
from faults import start, wait_for_a_record
from marks import mostly_slow
from rich.console import Console
from stub_worker import small, stub
from stub_worker import start as start_stub

from lenet import train
from lenet.commands import sweep as command
from lenet.config import Config, Places, Refusal, composed
from lenet.records import atomic_files, run_lock, run_record, seal, store
from lenet.records import plan as plans
from lenet.studies import study
from lenet.sweep import (
    design,
    failures,
    forecast,
    progress,
    sweep,
    verify,
    worker_count,
)
from lenet.sweep.worker import Job, Worker
from lenet.sweep.worker import start_worker as start_worker

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stub workers are forked, where a test does not say that they are not."""
    monkeypatch.setattr(sweep, "start_worker", start_stub)


def worker(fault: str = "none", once: Path | None = None) -> list[str]:
    """The command of a stub worker."""
    return [sys.executable, stub_worker.__file__, fault, *([str(once)] if once else [])]


def carry_out(
    output_dir: Path,
    fault: str = "none",
    once: Path | None = None,
    workers: int = 1,
    seeds: int = 4,
    levels: Sequence[str] = ("relu", "tanh"),
) -> Path:
    """A small sweep with stub workers."""
    plan, runs = small(seeds, levels)
    places, command = Places(output_dir=str(output_dir)), worker(fault, once)
    folder = sweep.carry_out(plan, runs, places, workers, command=command)
    assert (
        set(plans.read_plan(folder)["runs"]) <= plans.published_records(folder).keys()
    )
    return folder


def attempts(output_dir: Path) -> list[dict[str, Any]]:
    """The failed attempts, largest stack first."""
    failed = [json.loads(p.read_text()) for p in (output_dir / "attempts").glob("*")]
    return sorted(failed, key=lambda attempt: -len(attempt["runs"]))


@pytest.mark.parametrize(
    ("start", "workers"),
    mostly_slow([(start_stub, 2), (start_worker, 1)], every=2, several=True),
)
def test_sweep_trains_every_run_once_and_publishes_them(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: Callable[..., Worker],
    workers: int,
) -> None:
    """A sweep ends with a sealed plan and one record for each run, in its order; also
    if its worker is a program that was started."""
    monkeypatch.setattr(sweep, "start_worker", start)
    carry_out(tmp_path, workers=workers)
    plan, runs = small()
    assert plans.read_plan(tmp_path / "small")["runs"] == list(runs) == plan["runs"]
    assert list(plans.published_records(tmp_path / "small")) == list(runs)
    for name, config in runs.items():
        record = store.finished_record(str(tmp_path), name)
        assert record and record["seed"] == config.seed
        assert record["treatment"] == config.treatment
    assert not attempts(tmp_path)


def test_sweep_again_trains_nothing(tmp_path: Path) -> None:
    """The same call again starts no worker and writes the same bytes."""
    carry_out(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    plan, runs = small()
    sweep.carry_out(plan, runs, Places(output_dir=str(tmp_path)), command=["false"])
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_sweep_trains_what_is_missing_and_nothing_else(tmp_path: Path) -> None:
    """More seeds are added to those that are done, whose files stay as they are."""
    here(small(2), tmp_path)
    old = {p: p.stat().st_mtime_ns for p in tmp_path.glob("runs/*/*")}
    carry_out(tmp_path, seeds=3)
    assert len(list(tmp_path.glob("runs/*/record.json"))) == 6
    assert {p: p.stat().st_mtime_ns for p in old} == old


def test_study_goes_on_from_its_published_records(tmp_path: Path) -> None:
    """In a fresh clone, without the raw runs, only what is new is trained; a study that
    was stopped has published no weights."""
    here(small(2), tmp_path)
    shutil.rmtree(tmp_path / "runs")
    shutil.rmtree(tmp_path / "small" / "weights")
    assert here(small(3), tmp_path) == 0
    assert len(list(tmp_path.glob("runs/*/record.json"))) == 2
    assert len(plans.published_records(tmp_path / "small")) == 6


def test_run_of_another_published_study_is_not_trained_again(tmp_path: Path) -> None:
    """What two studies share is trained once, also where only records are left; a
    study that is damaged is passed by."""
    here(small(2), tmp_path)
    shutil.rmtree(tmp_path / "runs")
    (tmp_path / "small").rename(tmp_path / "other")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / plans.RECORDS).write_bytes(b"x")
    plan, runs = small(3)
    states = [run.state for run in plans.run_states(str(tmp_path), plan)]
    assert states.count("done") == 4 and states.count("missing") == 2
    assert here((plan, runs), tmp_path) == 0
    assert len(list(tmp_path.glob("runs/*/record.json"))) == 2
    assert plans.published_records(tmp_path / "small").keys() == runs.keys()


def test_run_of_another_study_and_torch_is_trained_again(tmp_path: Path) -> None:
    """Results of two versions are not mixed, and nothing is refused for them."""
    here(small(2), tmp_path)
    shutil.rmtree(tmp_path / "runs")
    (tmp_path / "small").rename(tmp_path / "other")
    old = [*plans.published_records(tmp_path / "other").values()]
    for record in old:
        del record["seal"]
        record["versions"]["torch"] = "0"
    old = [seal.sealed(record) for record in old]
    (tmp_path / "other" / plans.RECORDS).write_bytes(plans.packed_records(old))
    assert len(plans.published_records(tmp_path / "other")) == 4
    states = [run.state for run in plans.run_states(str(tmp_path), small(3)[0])]
    assert states == ["missing"] * 6
    assert here(small(3), tmp_path) == 0
    assert len(list(tmp_path.glob("runs/*/record.json"))) == 6


def slow(*values: str) -> Any:
    """A case that only the slow tests try."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("exception", "ZeroDivisionError: division by zero"),
        slow("exit", "exit code 7"),
        slow("memory", "MemoryError: no memory for so many runs"),
        slow("segfault", "killed by SIGSEGV"),
        slow("kill", r"killed by SIGKILL \(out of memory\?\)"),
        slow("hang", "no word for 5 s: hung"),
    ],
)
def test_one_bad_run_is_found_and_the_others_finish(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    fault: str,
    cause: str,
) -> None:
    """A stack that fails is tried in halves until the bad run is alone, and again; the
    attempts say why; every other run has its record, and exit code 1 is meant.

    A key in the environment is in no record, plan, attempt or message."""
    if fault == "hang":  # a busy machine takes longer to start a worker
        monkeypatch.setattr(sweep, "PATIENCE", 5.0)
    secret = "a-secret-that-was-planted"
    monkeypatch.setenv("WANDB_API_KEY", secret)
    with pytest.raises(Refusal) as caught:
        carry_out(tmp_path, fault, levels=["relu"])
    assert caught.value.code == 1
    message = str(caught.value)
    assert "1 of 4 runs failed" in message and re.search(cause, message)
    plan, runs = small(levels=["relu"])
    done = {name for name in runs if store.finished_record(str(tmp_path), name)}
    assert {runs[name].seed for name in runs.keys() - done} == {3}
    failed = attempts(tmp_path)
    assert [len(attempt["runs"]) for attempt in failed] == [4, 2, 1, 1]
    assert all(re.search(cause, attempt["cause"]) for attempt in failed)
    states = {run.run_id: run for run in plans.run_states(str(tmp_path), plan)}
    assert all(states[name].state == "failed" for name in runs.keys() - done)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert not [path for path in files if secret.encode() in path.read_bytes()]
    assert secret not in f"{message}{capfd.readouterr()}"
    carry_out(tmp_path, levels=["relu"])
    assert len(list(tmp_path.glob("runs/*/record.json"))) == 4


def test_a_fault_that_does_not_come_back_costs_nothing(tmp_path: Path) -> None:
    """A stack that failed once is finished by its halves: exit code 0."""
    carry_out(tmp_path, "segfault", tmp_path.parent / f"{tmp_path.name}-once")
    assert len(attempts(tmp_path)) == 1
    assert len(list(tmp_path.glob("runs/*/record.json"))) == 8


@pytest.mark.parametrize(("away", "causes"), [(700.0, []), (1.0, ["hung"])])
def test_worker_of_a_suspended_sweep_is_not_taken_for_hung(
    tmp_path: Path, away: float, causes: list[str]
) -> None:
    """Ctrl-Z for twelve minutes costs nothing; a worker that is silent for as long
    while its sweep listens is hung."""
    plan, runs = small(2)
    hung = start_worker(1, ["sleep", "60"])
    hung.job, hung.heard = Job(runs), time.monotonic() - 700
    state = progress.State(4, 4.0, deque(), time.monotonic(), workers=[hung])
    state.looked = time.monotonic() - away
    try:
        sweep.listen(state, Places(output_dir=str(tmp_path), device="cpu"))
    finally:
        hung.stop()
    words = [attempt["cause"].rpartition(" ")[2] for attempt in attempts(tmp_path)]
    assert words == causes and bool(state.waiting) == bool(causes)


def test_sweep_suspended_while_it_waits_for_a_word_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It mostly waits: the clock then jumps between two lines of one look."""
    plan, runs = small(2)
    clock = [time.monotonic()]
    monkeypatch.setattr(sweep.time, "monotonic", lambda: clock[0])
    worker = start_worker(1, ["sleep", "60"])
    worker.job, worker.heard = Job(runs), clock[0]
    state = progress.State(4, 4.0, deque(), clock[0], workers=[worker])

    def suspended(*pipes: object) -> tuple[list[object], ...]:
        clock[0] += 700
        return [], [], []

    monkeypatch.setattr(sweep.select, "select", suspended)
    try:
        for _ in range(3):
            sweep.listen(state, Places(output_dir=str(tmp_path), device="cpu"))
    finally:
        worker.stop()
    assert not attempts(tmp_path) and state.workers == [worker]


def test_worker_that_cannot_start_stops_the_sweep(tmp_path: Path) -> None:
    """What would fail for every stack is said once, with what the worker said."""
    plan, runs = small()
    broken = [sys.executable, "-c", "import sys; sys.exit('no such library')"]
    with pytest.raises(Refusal, match="no worker can start: exit code 1\nno such lib"):
        sweep.carry_out(plan, runs, Places(output_dir=str(tmp_path)), 1, command=broken)
    assert not attempts(tmp_path)


@pytest.mark.slow
def test_code_that_changes_while_a_sweep_runs_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker with other training code than its sweep trains nothing."""
    plan, runs = small()
    monkeypatch.setattr(sweep, "start_worker", start_worker)  # a fork keeps patches
    monkeypatch.setattr("lenet.sweep.worker.run_record.fingerprint", lambda: "another")
    with pytest.raises(Refusal, match="training code changed"):
        sweep.carry_out(
            plan, runs, Places(output_dir=str(tmp_path)), 1, command=worker()
        )


def test_two_sweeps_at_once_share_the_work(tmp_path: Path) -> None:
    """Two sweeps with overlapping designs both end well; each run has one record."""
    problems: list[BaseException] = []

    def sweep_seeds(seeds: int) -> None:
        try:
            carry_out(tmp_path, seeds=seeds)
        except BaseException as problem:  # raised again below
            problems.append(problem)

    threads = [threading.Thread(target=sweep_seeds, args=[seeds]) for seeds in (4, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert len(list(tmp_path.glob("runs/*/record.json"))) == 12
    assert not attempts(tmp_path)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Callable[..., object]:
    """Carries out a small sweep in this process; the first `most` runs finish."""

    def carry_out(output_dir: Path, seeds: int = 4, most: int = 99) -> None:
        def train_all(missing: Mapping[str, Config], *rest: object) -> dict[str, str]:
            names = list(missing)
            train.attempt([missing[name] for name in names[:most]], places)
            return dict.fromkeys(names[most:], "why")

        monkeypatch.setattr(sweep, "train_all", train_all)
        places = Places(output_dir=str(output_dir), device="cpu")
        sweep.carry_out(*small(seeds), places)

    monkeypatch.setattr("lenet.training.stack.train", stub)
    return carry_out


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        (["design="], "write design=<value>"),
        (["design=quick", "design=path"], "is there twice"),
        (["design=quick", "workers=2", "hydra/launcher=ray"], "choose one"),
    ],
)
def test_what_contradicts_itself_is_refused(typed: list[str], why: str) -> None:
    """No value, two values, and two that train."""
    with pytest.raises(Refusal, match=why):
        command.plan_or_train(*command.parse_arguments(typed), "run")


def test_fewer_seeds_take_nothing_from_what_was_published(
    tmp_path: Path, at_once: Callable[..., object]
) -> None:
    """In a fresh clone the published records are all there is: they stay."""
    at_once(tmp_path, seeds=4)
    before = plans.published_records(tmp_path / "small")
    shutil.rmtree(tmp_path / "runs")
    at_once(tmp_path, seeds=2)
    assert plans.published_records(tmp_path / "small") == before and len(before) == 8
    assert not store.finished_runs(str(tmp_path))


def test_study_of_other_settings_is_left_as_it_is(
    tmp_path: Path, at_once: Callable[..., object]
) -> None:
    """The same name with other settings is another study, and refused, with the fix;
    action=plan says so beforehand."""
    at_once(tmp_path)
    before = here_files(tmp_path)
    plan, runs = small(epochs=2)
    places = Places(output_dir=str(tmp_path))
    with pytest.raises(Refusal, match=r"design=small with epochs=1: .*study=<name>"):
        sweep.carry_out(plan, runs, places)
    assert here_files(tmp_path) == before
    assert "would be refused: study small" in sweep.outlook(plan, runs, places, 1)


def test_plan_without_a_record_gives_way(
    tmp_path: Path, at_once: Callable[..., object]
) -> None:
    """What a command left that trained nothing blocks no name; a run in work does."""
    plan, runs = small(epochs=2)
    atomic_files.replace(tmp_path / "small" / plans.PLAN, plans.sealed_text(plan))
    with run_lock.claim(str(tmp_path), [next(iter(runs))]):
        with pytest.raises(Refusal, match="design=small with epochs=2"):
            at_once(tmp_path)
    at_once(tmp_path)
    assert len(plans.published_records(tmp_path / "small")) == 8


def test_study_that_another_sweep_began_meanwhile_is_not_mixed(
    tmp_path: Path, at_once: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sweeps that start at once with one name and other settings: one is told."""
    at_once(tmp_path)
    before = here_files(tmp_path)
    plan, runs = small(epochs=2)
    records = {name: {} for name in runs}
    with pytest.raises(Refusal, match="another sweep has begun .* other settings"):
        plans.publish_study(tmp_path / "small", plan, records)
    assert here_files(tmp_path) == before


def test_launcher_that_is_not_there_leaves_nothing(tmp_path: Path) -> None:
    """Refused before a folder is made."""
    places, engine = Places(output_dir=str(tmp_path / "a")), ["hydra/launcher=none"]
    with pytest.raises(Refusal, match="hydra/launcher=none is not installed"):
        sweep.carry_out(*small(), places, engine=engine)
    assert not list(tmp_path.iterdir())


def test_interrupted_sweep_leaves_publishing_for_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: Callable[..., object]
) -> None:
    """Ctrl-C ends at once: what is done is in runs/, where a chart reads it too."""
    at_once(tmp_path, seeds=2)

    def interrupted(*rest: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "train_all", interrupted)
    monkeypatch.setattr(
        plans, "publish_study", lambda *rest: pytest.fail("was published")
    )
    with pytest.raises(KeyboardInterrupt):
        sweep.carry_out(*small(4), Places(output_dir=str(tmp_path), device="cpu"))
    assert len(study.read_study(tmp_path / "small")[1]) == 4


@pytest.mark.parametrize(
    ("asked", "free", "count", "says"),
    [
        (2, 64e9, 2, ""),
        (64, 64e9, 64, "workers=64 on 2 cores: more only wait for each other"),
        (64, 4e9, 5, "workers=5, not 64: 4.0 GB of memory are free, and each takes"),
        (64, 1e8, 1, "workers=1, not 64"),
        (None, 1e9, 1, "workers=1, not 2"),
        (2, None, 2, ""),
    ],
)
def test_workers_are_capped_by_memory_and_said_to_be_too_many(
    asked: int | None,
    free: float | None,
    count: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """One line says why; nobody else's processes pay for it."""
    monkeypatch.setattr(worker_count, "cores", lambda: 2)
    monkeypatch.setattr(worker_count, "free_memory", lambda: free)
    assert worker_count.count_workers(asked, Places(device="cpu")) == count
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == bool(says)


def test_free_memory_is_what_the_kernel_says() -> None:
    """Between nothing and all that the machine has, or unknown."""
    free = worker_count.free_memory()
    if free is None:
        pytest.skip("this system does not say")
    assert 0 < free <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_cores_are_counted_where_there_is_no_affinity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """macOS has no os.sched_getaffinity."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert worker_count.cores() == os.cpu_count()


def of_other_code(
    seeds: int, epochs: int = 1
) -> tuple[dict[str, Any], dict[str, Config]]:
    """A plan and its runs, as another edition of training would have them."""
    plan, runs = small(seeds, epochs=epochs)
    text = json.dumps({**plan, "edition": 1})
    for name in runs:
        text = text.replace(name, f"f{name[1:]}")
    return json.loads(text), {f"f{name[1:]}": run for name, run in runs.items()}


def test_study_that_other_code_completed_is_drawn_again(
    tmp_path: Path,
    at_once: Callable[..., object],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As in a fresh clone of later code: nothing is trained or changed, also for fewer
    seeds; more seeds, and a study that is not complete, are refused."""
    at_once(tmp_path, seeds=3)
    shutil.rmtree(tmp_path / "runs")
    before, places = here_files(tmp_path), Places(output_dir=str(tmp_path))
    for seeds in (3, 2):
        sweep.carry_out(*of_other_code(seeds), places)
        assert "nothing to train" in capsys.readouterr().err
        assert here_files(tmp_path) == before
        outlook = sweep.outlook(*of_other_code(seeds), places, 1)
        assert "6 of 6 runs done" in outlook and "refused" not in outlook
    for plan, runs in (of_other_code(4), of_other_code(3, epochs=2)):
        with pytest.raises(Refusal, match="begin another with study=<name>"):
            sweep.carry_out(plan, runs, places)
    records = [*plans.published_records(tmp_path / "small").values()][:-1]
    (tmp_path / "small" / plans.RECORDS).write_bytes(plans.packed_records(records))
    with pytest.raises(Refusal, match="begun with edition 2 .* code of commit"):
        sweep.carry_out(*of_other_code(3), places)


def test_sweep_that_failed_leaves_what_a_partial_chart_needs(
    tmp_path: Path, at_once: Callable[..., object]
) -> None:
    """The records so far are published, and those in runs/ are found without that."""
    with pytest.raises(Refusal, match="2 of 8 runs failed"):
        at_once(tmp_path, most=6)
    assert len(plans.published_records(tmp_path / "small")) == 6
    assert len(study.read_study(tmp_path / "small")[1]) == 6
    (tmp_path / "small" / "records.jsonl.gz").unlink()
    assert len(study.read_study(tmp_path / "small")[1]) == 6


def test_two_results_of_one_run_are_reported_and_kept(
    tmp_path: Path, at_once: Callable[..., object]
) -> None:
    """A record in runs/ that is not as it was published is no new result."""
    at_once(tmp_path)
    path = next(tmp_path.glob("runs/*/record.json"))
    changed = {k: v for k, v in store.read_record(path).items() if k != "seal"}
    changed["response"] = {"test_error": 0.5}
    changed["right"] = run_record.packed_bits(np.arange(8) < 4)
    path.write_text(json.dumps(seal.sealed(changed)))
    before = here_files(tmp_path)
    with pytest.raises(Refusal, match="one result in runs/ and another") as caught:
        at_once(tmp_path)
    assert caught.value.code == 4 and path.parent.name in str(caught.value)
    assert here_files(tmp_path) == before


def test_other_torch_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: Callable[..., object]
) -> None:
    """What is missing would not fit what is done; a finished study needs no torch, nor
    do runs whose bits no torch changes."""
    at_once(tmp_path, seeds=2)
    monkeypatch.setattr(sweep.run_record, "versions", lambda: {"torch": "0.1"})
    at_once(tmp_path, seeds=2)
    monkeypatch.setattr(sweep.run_record, "portable", lambda record: False)
    at_once(tmp_path, seeds=2)
    with pytest.raises(Refusal, match="this is torch 0.1: install that one"):
        at_once(tmp_path, seeds=3)
    assert len(store.finished_runs(str(tmp_path))) == 4


def here_files(output_dir: Path) -> dict[Path, bytes]:
    """Every file with its content."""
    return {p: p.read_bytes() for p in output_dir.rglob("*") if p.is_file()}


def test_board_tells_the_sweep_and_each_worker() -> None:
    """Done of all, failures, diverged, the time that is left; what each one trains."""
    runs = small()[1]
    state = progress.State(8, 8.0, deque(), time.monotonic() - 60, worked=2.0, done=2)
    state.diverged, state.failures = 1, {"a": "why"}
    jobs = (sweep.Job(dict([*runs.items()][:4])), None)
    for job in jobs:
        member = object.__new__(Worker)  # without a process
        member.job, member.ready, member.part = job, True, 0.5
        state.workers.append(member)
    assert progress.lines(state) == [
        "2 of 8 runs, 1 diverged, 1 failed, 1 min left",
        "   50% of 4 runs, seeds 0 to 3",
        "  idle",
    ]


def test_lines_without_a_terminal_come_at_once_and_every_half_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first tells what is to be done, and the last that all is done, at once."""
    now, lines = [1000.0], list[str]()
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "say", lambda text, file: lines.append(text))
    state = progress.State(8, 40.0, deque(), 1000.0)
    with progress.progress_display(Console(file=io.StringIO())) as show:
        for second in range(70):
            now[0] = 1000.0 + second
            state.done = min(8, second // 8)
            state.worked = 5.0 * state.done
            show(state)
    assert lines == [
        "0 of 8 runs, 40 passes over the data to train",
        "3 of 8 runs, 1 min left",
        "7 of 8 runs, 9 s left",
        "8 of 8 runs, 0 s left",
    ]


@pytest.mark.parametrize("number", [9, 15, 34, 63])
def test_every_signal_has_a_name(number: int) -> None:
    """A real-time signal is said by its number."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as process:
        process.send_signal(number)
        dead = object.__new__(Worker)
        dead.process = process
        assert re.search(f"killed by (SIG|signal {number})", failures.death(dead))


@pytest.mark.parametrize(("workers", "threads"), [(1, 3), (2, 1), (3, 1), (9, 1)])
def test_workers_share_the_cores(
    workers: int, threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many threads each as there are cores for them, and never none."""
    asked = []

    def start(count: int, command: Sequence[str]) -> None:
        asked.append(count)
        raise Refusal("enough")

    monkeypatch.setattr(sweep, "cores", lambda: 3)
    monkeypatch.setattr(sweep, "start_worker", start)
    with pytest.raises(Refusal, match="enough"):
        carry_out(tmp_path, seeds=20, workers=workers)
    assert asked == [threads]


def test_run_that_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    """A claimed run is not trained twice: the sweep comes back to it later."""
    held = next(iter(small()[1]))
    seen: list[Path] = []
    with run_lock.claim(str(tmp_path), [held]) as mine:
        assert mine == [held]
        thread = threading.Thread(target=lambda: seen.append(carry_out(tmp_path)))
        thread.start()
        deadline = time.monotonic() + 60
        while len(store.finished_runs(str(tmp_path))) < 7:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1)
        assert thread.is_alive() and not store.finished_record(str(tmp_path), held)
    thread.join(60)
    assert seen and store.finished_record(str(tmp_path), held)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_interruption_stops_within_seconds_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """One signal ends the sweep and its workers; what is finished stays."""
    process = start(tmp_path)
    wait_for_a_record(tmp_path, process)
    began = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - began < 5
    assert process.returncode == code
    assert "Traceback" not in err
    assert "go on with: python" in err and "design=quick" in err
    count = len(store.finished_runs(str(tmp_path)))
    time.sleep(2)
    assert len(store.finished_runs(str(tmp_path))) == count >= 1
    assert not [
        n for n in store.finished_runs(str(tmp_path)) if store.fault(str(tmp_path), n)
    ]


@pytest.mark.slow
def test_second_interruption_ends_at_once(tmp_path: Path) -> None:
    """A reader who presses Ctrl-C again is not made to wait; the store stays valid."""
    process = start(tmp_path)
    wait_for_a_record(tmp_path, process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=2)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in err
    names = store.finished_runs(str(tmp_path))
    assert not any(store.fault(str(tmp_path), name) for name in names)


def test_readers_beside_a_sweep_never_see_half_a_record(tmp_path: Path) -> None:
    """Status, the check of every file, and the records that a chart reads, over and
    over while a sweep writes: all sound, each time, and nothing is moved."""
    plan, _ = small(12)
    thread = threading.Thread(target=lambda: carry_out(tmp_path, seeds=12))
    thread.start()
    seen = set[int]()
    while thread.is_alive():
        time.sleep(0.05)
        runs = plans.run_states(str(tmp_path), plan)
        names = [record["run_id"] for record in store.finished_records(str(tmp_path))]
        assert not [name for name in names if store.fault(str(tmp_path), name)]
        seen.add(sum(run.state == "done" for run in runs))
        if names:
            assert verify.everything(str(tmp_path)).startswith(f"{len(names)} of ") or (
                len(store.finished_runs(str(tmp_path))) > len(names)
            )
    assert len(store.finished_runs(str(tmp_path))) == 24
    assert max(seen) > 0 and not (tmp_path / "quarantine").exists()


def status(output_dir: Path) -> str:
    """What action=status prints."""
    done = subprocess.run(
        [
            sys.executable,
            "scripts/sweep.py",
            "action=status",
            "study=small",
            f"output_dir={output_dir}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return done.stdout


def test_status_counts_what_is_done_without_torch(tmp_path: Path) -> None:
    """status reads files and imports no torch."""
    here(small(), tmp_path)
    assert status(tmp_path).startswith("study small: 8 of 8 runs done;")
    code = "import sys, lenet.records.plan; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", ["quick", slow("path")])
def test_plan_lists_each_run_with_what_it_trains(name: str) -> None:
    """Seed and treatment of every run of a plan, those of a path's search included."""
    plan, runs = sweep.make(design.load_design(name, []))
    listed = {
        run_id: (seed, treatment)
        for run_id, _, seed, treatment in plans.planned_runs(plan)
    }
    assert listed == {run_id: (c.seed, dict(c.treatment)) for run_id, c in runs.items()}


def test_plan_says_why_a_run_is_not_done(tmp_path: Path) -> None:
    """done, missing, and stale: trained by other code."""
    here(small(2), tmp_path)
    plan, runs = small(3)
    stale = next(iter(runs))
    older = store.read_record(store.run_folder(str(tmp_path), stale) / "record.json")
    del older["seal"]
    older["edition"] = 1
    older["run_id"] = store.id_of_record(older)
    other = store.run_folder(str(tmp_path), older["run_id"])
    store.run_folder(str(tmp_path), stale).rename(other)
    (other / "record.json").write_text(json.dumps(seal.sealed(older)))
    (tmp_path / "small" / "records.jsonl.gz").unlink()
    states = [run.state for run in plans.run_states(str(tmp_path), plan)]
    assert states == ["stale", "done", "missing", "done", "done", "missing"]


def test_outlook_tells_time_disk_and_the_least_number_of_seeds(tmp_path: Path) -> None:
    """The time comes from records of this machine; too few seeds are said to be."""
    plan, runs = small()
    places = Places(output_dir=str(tmp_path))
    text = sweep.outlook(plan, runs, places, 1)
    assert "time: unknown" in text and "MB needed" in text
    first, other, *_ = text.splitlines()  # a line for each arm, not for each run
    assert first.endswith(", seeds 0 to 3: never trained") and other.count("seeds") == 1
    assert (
        "n = 4 over 1 effects: no verdict possible, replicates=6 is the least" in text
    )
    here(small(3), tmp_path)
    assert "time: 0 s with workers=1" in sweep.outlook(plan, runs, places, 1)
    here(small(), tmp_path)
    assert "nothing is left to train" in sweep.outlook(plan, runs, places, 1)


def test_outlook_tells_the_seeds_that_the_spread_asks_for() -> None:
    """From the sd of the differences in the records: at 0.10 points 10 find 0.10, 34
    find 0.05, and 36 that there is nothing."""
    sd = 0.001
    errors = {"reference": [0.01] * 3, "a=b": [0.01 - sd, 0.01, 0.01 + sd]}
    runs = [
        plans.Run(f"{arm}{seed}", arm, seed, "done", error=error)
        for arm, some in errors.items()
        for seed, error in enumerate(some)
    ]
    assert forecast.expected_sd(runs) == pytest.approx(sd)
    plan = {"kind": "one_factor", "seeds": [*range(12)], "arms": runs[:2]}
    plan["levels"] = {"a": 1}
    assert forecast.verdict(plan, sd).endswith(
        "at the sd of 0.10 points in the records, 80 % power takes n = 10 for 0.10 "
        "points, 34 for 0.05, and 36 for `equivalent` within 0.05"
    )


def test_train_command_skips_what_a_sweep_has_trained(tmp_path: Path) -> None:
    """Sweep and lenet.train share their store: what is there is not made again."""
    here(small(), tmp_path)
    _, runs = small()
    records = train.train_missing(list(runs.values()), Places(output_dir=str(tmp_path)))
    assert [record["run_id"] for record in records] == list(runs)


def test_train_command_trains_what_is_only_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a fresh clone: a sweep needs the record, lenet.train brings the network."""

    class Trained(Exception):
        pass

    def carry(stack: Sequence[Config], *rest: object) -> None:
        raise Trained(len(stack))

    here(small(2), tmp_path)
    shutil.rmtree(tmp_path / "runs")
    monkeypatch.setattr(train, "carry", carry)
    config = next(iter(small(2)[1].values()))
    with pytest.raises(Trained, match="1"):
        train.train_missing([config], Places(output_dir=str(tmp_path)))


def test_study_of_another_name_takes_what_is_trained(tmp_path: Path) -> None:
    """study=<name> begins no run anew, output_dir=<folder> every one."""
    here(small(2), tmp_path)
    plan = {**small(2)[0], "study": "again"}
    for place, state in ((tmp_path, "done"), (tmp_path / "elsewhere", "missing")):
        states = [run.state for run in plans.run_states(str(place), plan)]
        assert states == [state] * 4


def test_a_step_of_an_attack_is_a_pass_more() -> None:
    """So that the time left, and which stack is begun first, are about right."""
    costs = []
    for adversary in (["adversary=none"], ["adversary=pgd", "adversary.steps=9"]):
        (run,), _ = composed([*adversary, "epochs=3"])
        costs.append(progress.cost(Job({"": run})))
    assert costs == [3, 30]
