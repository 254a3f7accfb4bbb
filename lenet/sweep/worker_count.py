"""How many worker processes a sweep starts: what cores and memory serve."""

import contextlib
import math
import os
import sys
from pathlib import Path

from lenet import train
from lenet.config import Places

MEMORY = 0.8e9  # bytes of a worker: torch, the compiled loops, a stack
GROUPS = tuple(  # the limit of a group of processes and its use: version 2, 1
    (Path("/sys/fs/cgroup") / limit, Path("/sys/fs/cgroup") / used)
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    )
)


def cores() -> int:
    """The processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # macOS has none
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def free_memory() -> float | None:
    """The bytes that new processes may take; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    available = [line.split()[1] for line in lines if line.startswith("MemAvailable")]
    free = 1024.0 * int(available[0]) if available else math.inf
    # What the machine has free may be more than the group of this process may take.
    for limit, used in GROUPS:  # of a container or a job
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            free = min(free, int(limit.read_text()) - int(used.read_text()))
    return free if math.isfinite(free) else None


def device(places: Places) -> str:
    """The kind of device that the runs compute on: cpu or cuda."""
    return train.choose_device(places.device).type


def count_workers(asked: int | None, places: Places) -> int:
    """How many processes are to train: one for each core, or as many as are asked for,
    and no more than memory holds; one alone for a GPU, unless more are asked for."""
    count = asked or (cores() if device(places) == "cpu" else 1)
    free = free_memory()
    most = count if free is None else max(1, int(free / MEMORY))
    if count > most:
        print(
            f"note: workers={most}, not {count}: {(free or 0) / 1e9:.1f} GB of memory "
            f"are free, and each takes about {MEMORY / 1e9:.1f}",
            file=sys.stderr,
        )
        return most
    if count > cores():
        print(
            f"note: workers={count} on {cores()} cores: more only wait for each other",
            file=sys.stderr,
        )
    return count
