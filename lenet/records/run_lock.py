"""Who works on a run: a lock in its folder, which the kernel frees with the process."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lenet import file_lock
from lenet.records.atomic_files import unwritable

LOCK = ".lock"
GONE = 100  # times in a row that a folder may vanish: then it is no folder at all


def run_folder(output_dir: str, name: str) -> Path:
    """Where a run's record and weights lie."""
    return Path(output_dir) / "runs" / name


@contextlib.contextmanager
def claim(output_dir: str, names: Sequence[str]) -> Iterator[list[str]]:
    """Hold runs against other processes; yields those that nobody else holds.

    A folder in which nothing is left is removed.
    """
    held: dict[Path, int] = {}
    try:
        for name in names:
            handle = hold(run_folder(output_dir, name))
            if handle is not None:
                held[run_folder(output_dir, name)] = handle
        yield [place.name for place in held]
    finally:
        for place, handle in held.items():
            file_lock.free(place / LOCK, handle)
            # It is not removed where a record lies in it, or another process's lock.
            with contextlib.suppress(OSError):
                place.rmdir()


def hold(place: Path) -> int | None:
    """A handle that locks a run's folder; None while another process has the lock."""
    tries = 0
    while True:
        try:
            place.mkdir(parents=True, exist_ok=True)
            return file_lock.take_lock(place / LOCK)
        except OSError as problem:
            # Moved to quarantine, or removed, after mkdir made it or saw it there.
            gone = isinstance(problem, FileExistsError) or file_lock.is_gone(problem)
            tries += 1
            if not gone or tries > GONE:
                raise unwritable(place, problem) from None


def busy(output_dir: str, names: Iterable[str]) -> bool:
    """Whether another process holds one of these runs."""
    return any(file_lock.is_held(run_folder(output_dir, name) / LOCK) for name in names)


def holders(output_dir: str, names: Iterable[str]) -> str:
    """A line for each process that holds some of these runs: which, since when."""
    by_holder: dict[str, list[str]] = {}
    for name in names:
        who = file_lock.holder(run_folder(output_dir, name) / LOCK)
        by_holder.setdefault(who, []).append(name)
    return "\n".join(
        f"waiting for {len(held)} runs, {held[0]} the first: {who}"
        for who, held in by_holder.items()
    )
