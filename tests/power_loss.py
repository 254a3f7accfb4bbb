"""Cut the power at every step of the store's writing, in every way that POSIX allows.

    python tests/power_loss.py 400      every disk that docs/reliability.md counts;
                                   so many of one step at most, by default 30

A sweep of a stub is carried out once, and what it asks of the file system is written
down: files made, synced, linked, renamed and removed, folders made and synced. A crash
after any step may leave any of the names that were changed since their folder was last
synced, in their old state or their new one, and of a file that was not synced any
prefix (after ALICE: Pillai et al., OSDI 2014). Each such disk is built, and looked at
with the store's own reader.
"""

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import faults

from lenet.config import Refusal
from lenet.records import store

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # where disks are laid out
MOST = int(sys.argv[1]) if sys.argv[1:] else 30  # disks of a step; if more, drawn


@dataclass(frozen=True)
class Step:
    """What was asked of the file system, or an answer that the store has given."""

    kind: str
    path: str
    other: str = ""
    content: bytes = b""


@dataclass
class Log:
    """The steps of a sweep under one folder, as they are taken."""

    root: str
    steps: list[Step] = field(default_factory=list)
    on: bool = True

    def add(self, kind: str, path: Any, other: Any = "", content: bytes = b"") -> None:
        """Write a step down, if it is one under the folder."""
        path, other = os.fspath(path), os.fspath(other)
        if self.on and path.startswith(self.root):
            self.steps.append(Step(kind, path, other, content))

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """An audit hook of Python's."""
        if not self.on or not arguments or not isinstance(arguments[0], str | Path):
            return
        if event == "open" and arguments[2] & os.O_CREAT:
            self.add("create", arguments[0])
        elif event in ("os.link", "os.rename"):
            self.add(event[3:], arguments[0], arguments[1])
        elif event in ("os.mkdir", "os.rmdir", "os.remove"):
            self.add(event[3:], arguments[0])


def traced(planned: faults.Plan, root: Path) -> list[Step]:
    """The steps of a sweep, with an `acknowledged` where a record was returned."""
    log, sync, write = Log(str(root)), os.fsync, store.write_record

    def fsync(handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        whole = b"" if os.path.isdir(path) else Path(path).read_bytes()
        sync(handle)
        log.add("sync", path, content=whole)

    def acknowledged(output_dir: str, record: Any, weights: bytes | None) -> Any:
        done = write(output_dir, record, weights)
        log.add("acknowledged", store.run_folder(output_dir, record["run_id"]))
        return done

    sys.addaudithook(log.hear)  # which stays, and hears nothing more in the end
    os.fsync, store.write_record = fsync, acknowledged
    try:
        assert faults.carry_out(planned, root) == 0
    finally:
        os.fsync, store.write_record = sync, write
        log.on = False
    return log.steps


@dataclass
class Disk:
    """What is on disk for good, and what may be: names by path, files by number."""

    names: dict[str, int | None] = field(default_factory=dict)  # None: a folder
    durable: dict[int, bytes] = field(default_factory=dict)
    volatile: dict[int, bytes] = field(default_factory=dict)
    pending: list[tuple[str, int | None, bool]] = field(default_factory=list)
    now: dict[str, int | None] = field(default_factory=dict)

    def change(self, path: str, node: int | None, there: bool = True) -> None:
        """A name comes or goes, for good once its folder is synced."""
        self.pending.append((path, node, there))
        apply(self.now, path, node, there)


def apply(
    names: dict[str, int | None], path: str, node: int | None, there: bool
) -> None:
    """Change a name."""
    if there:
        names[path] = node
    else:
        names.pop(path, None)


def take(disk: Disk, step: Step, contents: Mapping[str, bytes]) -> None:
    """What a step does to a disk."""
    path = step.path
    if step.kind == "mkdir" and path not in disk.now:
        disk.change(path, None)
    elif step.kind == "create" and path not in disk.now:
        number = len(disk.durable) + len(disk.volatile)
        disk.volatile[number] = contents.get(path, b"")
        disk.change(path, number)
    elif step.kind in ("link", "rename") and path in disk.now:
        if step.kind == "rename" or step.other not in disk.now:
            disk.change(step.other, disk.now[path])
        if step.kind == "rename":
            disk.change(path, None, False)
    elif step.kind in ("remove", "rmdir") and path in disk.now:
        if not any(name.startswith(f"{path}/") for name in disk.now):  # or it fails
            disk.change(path, None, False)
    elif step.kind == "sync" and disk.now.get(path, ...) is None:
        kept = [
            change for change in disk.pending if str(Path(change[0]).parent) != path
        ]
        for change in disk.pending:
            if change not in kept:
                apply(disk.names, *change)
        disk.pending = kept
    elif step.kind == "sync" and path in disk.now:
        number = disk.now[path]
        assert number is not None
        disk.volatile.pop(number, None)
        disk.durable[number] = step.content


def disks(
    disk: Disk, chance: random.Random
) -> Iterator[tuple[dict[str, int | None], dict[int, bytes]]]:
    """What a crash may leave: some of the pending names, some of the unsynced bytes."""
    count = len(disk.pending)
    masks = range(2**count) if 2**count <= MOST else [chance.getrandbits(count)
             for _ in range(MOST)]  # fmt: skip
    for mask in masks:
        names = dict(disk.names)
        for bit, change in enumerate(disk.pending):
            if mask >> bit & 1:
                apply(names, *change)
        shares = (0, 0.25, 0.5, 0.75, 1) if disk.volatile else (1,)
        for share in shares:
            cut = {n: b[: int(share * len(b))] for n, b in disk.volatile.items()}
            yield names, {**disk.durable, **cut}


def build(
    place: Path, names: Mapping[str, int | None], files: Mapping[int, bytes], root: str
) -> None:
    """Lay a disk out in a folder; a name in a folder that is not there is lost."""
    place.mkdir()
    for path, number in sorted(names.items()):
        target = place / os.path.relpath(path, root)
        if not target.parent.is_dir():
            continue
        if number is None:
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(files[number])


def check(place: Path, due: Mapping[str, bytes]) -> str:
    """What is wrong with a disk: a run that was acknowledged is not as it was, or a
    reader stumbles; nothing if all is well."""
    for name, record in due.items():
        path = Path(store.record_path(str(place), name))
        if not path.exists() or store.fault(str(place), name):
            return f"run {name} is lost"
        if path.read_bytes() != record:
            return f"run {name} has changed"
    for name in store.finished_runs(str(place)):
        try:
            if problem := store.fault(str(place), name):
                return f"half of run {name} passes for a run: {problem}"
        except Refusal as refusal:
            return f"run {name} cannot be read: {refusal}"
    return ""


def tried(
    steps: Sequence[Step], root: str, look: Callable[[Path, Mapping[str, bytes]], str]
) -> tuple[int, list[str]]:
    """How many disks were looked at after all steps, and what was wrong with which."""
    contents = {step.path: step.content for step in steps if step.content}
    disk, due, chance = Disk(now={root: None}), dict[str, bytes](), random.Random(0)
    seen, problems = set[int](), list[str]()
    with tempfile.TemporaryDirectory(dir=MEMORY) as scratch:
        for at, step in enumerate(steps):
            take(disk, step, contents)
            if step.kind == "acknowledged":
                node = disk.now[f"{step.path}/record.json"]
                assert node is not None
                due[Path(step.path).name] = disk.durable[node]
            for names, files in disks(disk, chance):
                told = (tuple(sorted(names.items())), tuple(sorted(files.items())))
                state = hash((told, len(due)))
                if state in seen:
                    continue
                seen.add(state)
                place = Path(scratch) / "disk"
                build(place, names, files, root)
                if problem := look(place, due):
                    problems.append(f"step {at} ({step.kind} {step.path}): {problem}")
                shutil.rmtree(place)
    return len(seen), problems


def main() -> None:
    """Print how many disks lost anything."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as scratch:
        root = Path(scratch) / "outputs"
        root.mkdir()
        steps = traced(faults.planned(), root)
        count, problems = tried(steps, str(root), check)
    print(f"{len(steps)} steps, {count} disks, {len(problems)} with a run lost")
    print("\n".join(problems[:20]), file=sys.stderr)
    sys.exit(bool(problems))


if __name__ == "__main__":
    main()
