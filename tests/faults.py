"""Break a sweep at every step that it takes on disk, and count what is lost.

    python tests/faults.py          prints the table of docs/reliability.md (minutes)

A process is forked that carries out a sweep of a stub under the real writer; strace
attaches to it and, at its k-th write, fsync, link, rename, mkdir or unlink, kills it or
makes the call fail; k counts up until the sweep runs through. Each time the same sweep
is then carried out again, undisturbed, and must end as the one that nothing befell.
"""

import gzip
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import safetensors.torch  # noqa: F401  # before a fault can befall its import
import torch
from stub_worker import small, stub

from lenet import train
from lenet.config import Config, Places, Refusal
from lenet.records import run_record, store
from lenet.report import study_report
from lenet.sweep import sweep
from lenet.terminal import environment
from lenet.training import edition, stack

# As strace names them: the calls of one kind, whichever of them the library uses.
CALLS = {
    "write": "write",
    "fsync": "fsync",
    "link": "link,linkat",
    "rename": "rename,renameat,renameat2",
    "mkdir": "mkdir,mkdirat",
    "unlink": "unlink,unlinkat",
    "flock": "flock",
    "open": "open,openat",
    "close": "close",
}
KILL, FULL, BROKEN, QUOTA = "signal=KILL", "error=ENOSPC", "error=EIO", "error=EDQUOT"
AGAIN, HANDLES, STALE = "error=EINTR", "error=EMFILE", "error=ESTALE"
TRIED = {KILL: tuple(CALLS), FULL: ("write", "fsync", "link", "rename", "mkdir")}
TRIED |= {BROKEN: ("write", "fsync", "link", "rename"), QUOTA: ("write", "mkdir")}
TRIED[BROKEN] += ("close",)
TRIED |= {AGAIN: ("write", "fsync", "flock", "open"), HANDLES: ("open",)}
TRIED |= {STALE: ("flock", "open")}  # over NFS: another machine has removed it
ROOT = Path(__file__).parent.parent
Plan = tuple[Mapping[str, Any], Mapping[str, Config]]


@dataclass(frozen=True)
class Outcome:
    """What a fault did: points tried, files of finished runs lost, what went wrong."""

    fault: str
    call: str
    points: int
    lost: int
    problems: Sequence[str]


def carry_out(planned: Plan, output_dir: Path) -> int:
    """Carry out a sweep in this process; its exit code."""
    plan, runs = planned
    places = Places(output_dir=str(output_dir), device="cpu")

    def here(missing: Mapping[str, Config], *rest: object) -> dict[str, str]:
        train.attempt(list(missing.values()), places)
        return {}

    changed: list[tuple[ModuleType, str, object]] = [
        (stack, "train", stub),
        (sweep, "train_all", here),
        (study_report, "write_study", lambda folder: []),
    ]
    kept = [(module, name, getattr(module, name)) for module, name, _ in changed]
    for module, name, new in changed:
        setattr(module, name, new)
    try:
        with environment():  # as every command has it
            sweep.carry_out(plan, runs, places)
    except Refusal as refusal:
        return refusal.code
    finally:
        for module, name, old in kept:
            setattr(module, name, old)
    return 0


def forked(work: Callable[[], int], inject: str = "") -> tuple[int, bool]:
    """The exit code of work in a process of its own, -9 if it was killed; and whether
    strace has done to it what `inject` says, for example `write:signal=KILL:when=3`.
    """
    child = os.fork()
    if not child:
        code = 99
        try:
            if inject:
                wait_for_tracer()
            code = work()
        finally:
            os._exit(code)
    if not inject:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), False
    calls = inject.split(":")[0]
    with tempfile.NamedTemporaryFile() as log:
        command = ["strace", "-qq", "-o", log.name, "-e", f"trace={calls}"]
        command += ["-e", f"inject={inject}", "-p", str(child)]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as tracer:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            tracer.wait()
        return code, code == -9 or b"(INJECTED)" in Path(log.name).read_bytes()


def wait_for_tracer() -> None:
    """Until strace has attached to this process."""
    deadline = time.monotonic() + 30
    status = os.open("/proc/self/status", os.O_RDONLY)  # whose close may not count
    while time.monotonic() < deadline:
        if b"TracerPid:\t0" not in os.pread(status, 2**16, 0):
            time.sleep(0.02)  # attached is not yet stopped
            return
        time.sleep(0.002)
    os._exit(98)


def files(output_dir: Path) -> dict[str, bytes]:
    """Everything that is published, by path: nothing temporary, no quarantine."""
    paths = {path.relative_to(output_dir): path for path in output_dir.rglob("*")}
    return {
        str(name): path.read_bytes()
        for name, path in sorted(paths.items())
        if path.is_file() and path.name[0] != "." and name.parts[0] != "quarantine"
    }


def told(published: Mapping[str, bytes]) -> dict[str, Any]:
    """What files say, but for what may differ: the times, and a run's companions in
    its stack, with the seals over them."""
    return {path: content(path, text) for path, text in published.items()}


def content(path: str, text: bytes) -> Any:
    """One file's content."""
    if path.endswith(".gz"):
        return [content(".json", line) for line in gzip.decompress(text).splitlines()]
    if not path.endswith(".json"):
        return text
    whole = json.loads(text)
    for point in whole.get("curve", []):
        del point["seconds"]
    return {k: v for k, v in whole.items() if k not in ("seconds", "stack", "seal")}


def inject(planned: Plan, fault: str, call: str) -> Outcome:
    """Put a fault at every call of one kind in turn."""
    points, lost, problems = 0, 0, list[str]()
    with tempfile.TemporaryDirectory() as root:
        undisturbed, place = Path(root) / "undisturbed", Path(root) / "disturbed"
        assert forked(lambda: carry_out(planned, undisturbed))[0] == 0
        expected = told(files(undisturbed))
        while True:
            when = f"{CALLS[call]}:{fault}:when={points + 1}"
            code, befell = forked(lambda: carry_out(planned, place), when)
            finished = valid(place)
            if code not in (0, -9 if fault == KILL else 3):
                problems.append(f"{when}: exit code {code}")
            if forked(lambda: carry_out(planned, place))[0] != 0:
                problems.append(f"{when}: the same sweep again does not end well")
            if (place / "quarantine").exists():
                problems.append(f"{when}: a reader could see half a file")
            now = files(place)
            lost += sum(now.get(path) != content for path, content in finished.items())
            if told(now) != expected:
                problems.append(
                    f"{when}: the study is another than the undisturbed one"
                )
            shutil.rmtree(place)
            if not befell:
                return Outcome(fault, call, points, lost, problems)
            points += 1


def valid(output_dir: Path) -> dict[str, bytes]:
    """The files of the runs that are finished."""
    done = {
        name
        for name in store.finished_runs(str(output_dir))
        if not store.fault(str(output_dir), name)
    }
    published = files(output_dir) if output_dir.exists() else {}
    return {p: content for p, content in published.items() if done & {*Path(p).parts}}


@cache
def prepare() -> None:
    """What a process does once, before any fork."""
    run_record.commit(), run_record.fingerprint()  # looked up once
    train.load_one("digits", Places(device="cpu"))  # so are the files of imports
    run_record.versions(), run_record.hardware("cpu")
    edition.prove()  # by the real training, for which the stub will stand
    torch.set_num_threads(1)


def planned() -> Plan:
    """Two arms of two seeds."""
    prepare()
    return small(2)


def start(output_dir: Path, *arguments: str) -> subprocess.Popen[str]:
    """A sweep by the real command, with real training on digits."""
    line = ["design=quick", "replicates=2", "epochs=30", f"output_dir={output_dir}"]
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts/sweep.py"), *line, *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def wait_for_a_record(output_dir: Path, process: subprocess.Popen[str]) -> None:
    """Until a first run is done."""
    deadline = time.monotonic() + 120
    while not store.finished_runs(str(output_dir)):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)


def main() -> None:
    """Print the table."""
    plan, failed = planned(), False
    print("| fault | at every | points | finished runs lost | problems |")
    print("|---|---|---|---|---|")
    for fault, calls in TRIED.items():
        for call in calls:
            outcome = inject(plan, fault, call)
            row = (fault, call, outcome.points, outcome.lost, len(outcome.problems))
            print(f"| {' | '.join(map(str, row))} |", flush=True)
            failed |= bool(outcome.problems)
            for problem in outcome.problems:
                print(problem, file=sys.stderr)
    sys.exit(failed)


if __name__ == "__main__":
    main()
