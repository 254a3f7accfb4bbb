"""One process at a time works on a run, on every file system, and says who it is."""

import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import faults
import pytest

from lenet import file_lock, train
from lenet.config import Refusal, composed
from lenet.records import atomic_files, run_lock, store

ROOT = Path(__file__).parent.parent
HOLD = """
import os, sys, time
from lenet.records import run_lock
with run_lock.claim(sys.argv[1], sys.argv[2:]) as mine:
    print(*mine, flush=True)
    time.sleep(600)
"""


CROWD = """
import os, sys, time
from pathlib import Path
from lenet.records import run_lock
names, output = [str(n) * 16 for n in range(8)], sys.argv[1]
children = []
for _ in range(int(sys.argv[2])):
    if child := os.fork():
        children.append(child)
        continue
    for name in names * 3:
        with run_lock.claim(output, [name]) as mine:
            if mine:  # alone here: two at once would meet an existing file
                inside = os.path.join(output, f"inside-{name}")
                os.close(os.open(inside, os.O_CREAT | os.O_EXCL))
                with open(os.path.join(output, f"done-{os.getpid()}"), "a") as done:
                    done.write(".")
                time.sleep(0.001)
                os.unlink(inside)
    os._exit(0)
print(sum(os.waitstatus_to_exitcode(os.waitpid(c, 0)[1]) != 0 for c in children))
"""


# A machine of its own, as far as a process can tell: its name, the processes on it.
MACHINE = "unshare --user --map-root-user --uts --pid --fork --mount-proc --kill-child"


def on_machine(name: str, *command: str) -> list[str]:
    """A command as another machine would run it; its process has the number 1."""
    return [*MACHINE.split(), "sh", "-c", f'hostname {name}; exec "$@"', "sh", *command]


def has_machines() -> bool:
    """Whether this system lets a process have them."""
    if shutil.which("unshare") is None:
        return False
    return not subprocess.run(on_machine("a", "true"), capture_output=True).returncode


needs_machines = pytest.mark.skipif(
    not has_machines(), reason="no namespaces of hosts and processes here (unshare)"
)


def holding(
    output_dir: Path, *names: str, machine: str = ""
) -> "subprocess.Popen[str]":
    """Another process, perhaps of another machine, which holds these runs."""
    command = [sys.executable, "-c", HOLD, str(output_dir), *names]
    process = subprocess.Popen(
        on_machine(machine, *command) if machine else command,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline().split() == list(names)
    return process


def test_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    """No lock outlives its process, and what it leaves is used again."""
    with holding(tmp_path, "0" * 16) as other:
        with run_lock.claim(str(tmp_path), ["0" * 16]) as mine:
            assert not mine
        other.kill()
        other.wait()
        with run_lock.claim(str(tmp_path), ["0" * 16]) as mine:
            assert mine == ["0" * 16]
    assert not list((tmp_path / "runs").iterdir())


def test_sixty_four_processes_never_hold_one_run_at_once(tmp_path: Path) -> None:
    """Each claims eight runs three times, which no other process has meanwhile."""
    done = subprocess.run(
        [sys.executable, "-c", CROWD, str(tmp_path), "64"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.strip() == "0", done.stderr
    taken = sum(path.stat().st_size for path in tmp_path.glob("done-*"))
    assert 64 <= taken <= 64 * 24
    assert not list(tmp_path.glob("inside-*")) and not list(tmp_path.glob("runs/*"))


@needs_machines
def test_two_machines_never_hold_one_run_at_once(tmp_path: Path) -> None:
    """Also where a process of one has the number of a process of the other, and where
    one of the machines is switched off."""
    name = "0" * 16
    claim = [sys.executable, "-c", HOLD.replace("600", "0"), str(tmp_path), name]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def claimed(machine: str) -> str:
        command = on_machine(machine, *claim)
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    with holding(tmp_path, name, machine="first") as other:
        assert claimed("second") == claimed("first") == ""
        assert "process 1 on first has held" in run_lock.holders(str(tmp_path), [name])
        other.kill()
        other.wait()
    assert claimed("second") == name
    crowds = [
        subprocess.Popen(
            on_machine(machine, sys.executable, "-c", CROWD, str(tmp_path), "8"),
            stdout=subprocess.PIPE, text=True, env=environment,
        )
        for machine in ("first", "second")
    ]  # fmt: skip
    assert [crowd.communicate()[0].strip() for crowd in crowds] == ["0", "0"]
    taken = sum(path.stat().st_size for path in tmp_path.glob("done-*"))
    assert 16 <= taken <= 16 * 24
    assert not list(tmp_path.glob("inside-*")) and not list(tmp_path.glob("runs/*"))


def test_holder_of_a_run_is_named(tmp_path: Path) -> None:
    """Which process, on which machine, since when; and what to do if it hangs."""
    with holding(tmp_path, "0" * 16, "1" * 16) as other:
        message = run_lock.holders(str(tmp_path), ["0" * 16, "1" * 16])
        other.kill()
    assert message.startswith(f"waiting for 2 runs, {'0' * 16} the first: process ")
    assert f"process {other.pid} on " in message and f"kill {other.pid}" in message
    assert time.strftime("%Y-%m-%d") in message and message.count("\n") == 0


@pytest.mark.slow
def test_command_that_waits_says_for_whom(tmp_path: Path) -> None:
    """Also where the other process is suspended, once, and goes on when it ends."""
    line = ["data=digits", "epochs=1", "train_size=16", f"output_dir={tmp_path}"]
    typed = [sys.executable, "-m", "lenet.train", *line]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    train.train_missing(*composed(line))
    (name,) = store.finished_runs(str(tmp_path))
    (store.run_folder(str(tmp_path), name) / "record.json").unlink()
    with holding(tmp_path, name) as other:
        other.send_signal(signal.SIGSTOP)
        with subprocess.Popen(
            typed, stderr=subprocess.PIPE, text=True, env=environment
        ) as waiting:
            assert waiting.stderr is not None
            assert f"process {other.pid} on " in waiting.stderr.readline()
            time.sleep(3)
            other.kill()
            _, err = waiting.communicate(timeout=60)
    assert waiting.returncode == 0 and "waiting" not in err


def test_folder_that_moves_while_it_is_locked_is_locked_anew(tmp_path: Path) -> None:
    """A run that went to quarantine leaves its name to be claimed again."""
    place = store.run_folder(str(tmp_path), "0" * 16)
    first = run_lock.hold(place)
    assert first is not None
    place.rename(tmp_path / "aside")
    second = run_lock.hold(place)
    assert second is not None
    file_lock.free(place / store.LOCK, first)
    assert run_lock.hold(place) is None  # it was not the second one's that was removed
    file_lock.free(place / store.LOCK, second)


def test_file_system_without_locks_is_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is missing is said, with exit code 3."""

    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(
        Refusal, match="no locks .No locks available.*another"
    ) as caught:
        store.prepare(str(tmp_path / "outputs"))
    assert caught.value.code == 3


@pytest.mark.parametrize("code", atomic_files.NO_LINKS)
def test_file_system_without_links_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Under the lock of its folder a record that is renamed is as safe as a link."""

    def refuse(*arguments: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    planned = faults.planned()
    assert faults.carry_out(planned, tmp_path) == 0
    assert store.finished_runs(str(tmp_path)) == sorted(planned[1])
    assert not any(store.fault(str(tmp_path), name) for name in planned[1])
    kept = faults.files(tmp_path)
    for name in planned[1]:
        atomic_files.publish_file(
            store.run_folder(str(tmp_path), name) / "record.json", b"other"
        )
    assert faults.files(tmp_path) == kept


@pytest.mark.parametrize("call", ["link", "fsync"])
def test_what_writing_takes_is_tried_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A disk that refuses a step of the writer refuses before a network is trained."""

    def refuse(*arguments: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(Refusal, match="cannot be written: Input/output error"):
        store.prepare(str(tmp_path / "outputs"))


def failing_once(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, code: int
) -> list[int]:
    """The first call of a function fails; the list has an item once it has."""
    before, failed = getattr(module, name), list[int]()

    def fail(*arguments: Any, **named: Any) -> Any:
        if not failed:
            failed.append(code)
            raise OSError(code, os.strerror(code))
        return before(*arguments, **named)

    monkeypatch.setattr(module, name, fail)
    return failed


@pytest.mark.parametrize(("module", "name"), [(fcntl, "flock"), (os, "fstat")])
def test_lock_that_another_machine_removed_is_taken_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str
) -> None:
    """Over NFS a file that is open and gone is stale: neither a lack of locks nor a
    disk that is full."""
    failed = failing_once(monkeypatch, module, name, errno.ESTALE)
    with run_lock.claim(str(tmp_path), ["0" * 16]) as mine:
        assert mine == ["0" * 16] and failed


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_file_system_that_syncs_no_folders_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """As some that are mounted over a network: a folder has nothing to be synced, and
    its files are."""
    sync = os.fsync

    def refuse(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        sync(handle)

    monkeypatch.setattr(os, "fsync", refuse)
    planned = faults.planned()
    assert faults.carry_out(planned, tmp_path) == 0
    assert store.finished_runs(str(tmp_path)) == sorted(planned[1])


@pytest.mark.parametrize("code", [errno.EMFILE, errno.EIO, errno.EACCES])
def test_lock_that_cannot_be_looked_at_counts_as_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Whoever does not know may not go on as if nobody was there."""
    handle = run_lock.hold(store.run_folder(str(tmp_path), "0" * 16))
    assert handle is not None
    failed = failing_once(monkeypatch, os, "open", code)
    assert (
        file_lock.is_held(store.run_folder(str(tmp_path), "0" * 16) / store.LOCK)
        and failed
    )
    os.close(handle)
