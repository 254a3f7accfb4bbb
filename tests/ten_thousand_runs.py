"""What ten thousand finished runs cost: their status, resuming, chart, interruption.

    python tests/ten_thousand_runs.py          prints a table of docs/reliability.md
    python tests/ten_thousand_runs.py 100 2    of a hundred runs, with twice the time

Two arms of 5,000 seeds are written as the writer writes them, and published. Each
command runs in a process of its own, whose start and imports are counted: seconds of
its processors, so that what else the machine does changes little, and its most memory.
The system counts in that what the process that starts it has, which is little here.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from stub_worker import result, small

from lenet import train
from lenet.config import Places
from lenet.records import atomic_files, run_record, seal, store
from lenet.records import plan as plans

ROOT = Path(__file__).parent.parent
COUNT = 10_000
LENET = ("-m", "lenet")
# Seconds and bytes that each may take.
GOALS = {"status": 2.0, "resume": 5.0, "chart": 15.0, "interruption": 5.0}
MEMORY = 1.5e9
# A sweep that lacks a run. Composing the plan is the stub's, and is not counted; a
# worker that hangs stands for training.
SWEEP = """
import resource, signal, sys, stub_worker
from lenet import terminal
from lenet.config import Places
from lenet.sweep import sweep

def used(who=resource.RUSAGE_SELF):
    return sum(resource.getrusage(who)[:2])

began = used()
planned = stub_worker.small(int(sys.argv[2]))
composed = used() - began

def show(state):
    if any(worker.job for worker in state.workers):
        print(used() - composed, used(), flush=True)
        signal.pause()

def main():
    places = Places(output_dir=sys.argv[1], device="cpu")
    hangs = [sys.executable, stub_worker.__file__, "hang"]
    sweep.carry_out(*planned, places, 1, show, hangs)

terminal.command(main)
"""


@dataclass(frozen=True)
class Cost:
    """What a command took: seconds of processors, bytes of memory, its exit code."""

    seconds: float
    memory: float
    code: int


def written(output_dir: Path, count: int = COUNT) -> None:
    """A study of so many finished runs, as the writer writes them, published."""
    plan, runs = small(count // 2)
    first = next(iter(runs))
    template = run_record.record_content(
        runs[first],
        train.load_data_sets(list(runs.values())[:1], Places())["digits"],
        result(runs[first]),
        {"size": 2, "position": 0, "threads": 1, "device": "cpu"},
        b"",
    )
    curve = template["curve"] * 20
    right = np.arange(10_000) % 4 != 0
    folder, records = output_dir / plan["study"], {}
    for name, config in runs.items():
        right[config.seed % 50] ^= True  # the runs differ
        place = store.run_folder(str(output_dir), name)
        place.mkdir(parents=True)
        changed = {"run_id": name, "seed": config.seed, "curve": curve}
        changed |= {"right": run_record.packed_bits(right), "images": 10_000}
        changed |= {"response": {"test_error": (10_000 - int(right.sum())) / 10_000}}
        changed["treatment"] = dict(config.treatment)
        records[name] = seal.sealed({**template, **changed})
        (place / "record.json").write_bytes(seal.seal_text(records[name]))
    folder.mkdir()
    plans.publish_study(folder, plan, records)


def without_one(output_dir: Path) -> None:
    """The study lacks a run, in runs/ and among those that are published."""
    name, folder = store.finished_runs(str(output_dir))[0], output_dir / "small"
    shutil.rmtree(store.run_folder(str(output_dir), name))
    left = [
        record
        for record in plans.published_records(folder).values()
        if record["run_id"] != name
    ]
    atomic_files.replace(folder / plans.RECORDS, plans.packed_records(left))


def run(*arguments: str, interrupt: bool = False) -> tuple[Cost, str]:
    """What a Python program took in all, and its output; where it is interrupted, that
    is done once it has said something."""
    path = f"{ROOT}:{ROOT / 'tests'}"
    with subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdout is not None
        output = process.stdout.readline() if interrupt else ""
        if interrupt:
            process.send_signal(signal.SIGINT)
        output += process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)  # of this one, not of all
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = usage.ru_utime + usage.ru_stime
    return Cost(seconds, usage.ru_maxrss * 1024, process.returncode), output


def costs(output_dir: Path, count: int = COUNT) -> dict[str, Cost]:
    """What each command takes of a study of so many runs."""
    written(output_dir, count)
    where = (f"output_dir={output_dir}", "study=small")
    measured = {
        "status": run(*LENET, "status", *where)[0],
        "chart": run(*LENET, "chart", *where)[0],
    }
    without_one(output_dir)
    arguments: Sequence[str] = ("-c", SWEEP, str(output_dir), str(count // 2))
    whole, output = run(*arguments, interrupt=True)
    resumed, before = map(float, output.split())
    measured["resume"] = Cost(resumed, whole.memory, 0 if resumed else 1)
    ended = whole.seconds - before
    measured["interruption"] = Cost(ended, whole.memory, whole.code)
    return measured


def too_much(measured: dict[str, Cost], slack: float = 1.0) -> list[str]:
    """What takes more than it may, or ended otherwise than it should; slack: how many
    times as long it may take, on a slow machine."""
    problems = []
    for name, cost in measured.items():
        if cost.code != (130 if name == "interruption" else 0):
            problems.append(f"{name} ended with {cost.code}")
        if cost.seconds > slack * GOALS[name] or cost.memory > MEMORY:
            problems.append(f"{name}: {cost.seconds:.1f} s, {cost.memory / 1e9:.2f} GB")
    return problems


def main() -> None:
    """Print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else COUNT
    slack = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    with tempfile.TemporaryDirectory() as place:
        measured = costs(Path(place) / "outputs", count)
    print(f"| of {count:,} runs | seconds of processors | may be | most memory |")
    print("|---|---|---|---|")
    for name, cost in measured.items():
        row = f"{cost.seconds:.1f} | {GOALS[name]:.0f} | {cost.memory / 1e9:.2f} GB"
        print(f"| {name} | {row} |")
    problems = too_much(measured, slack)
    sys.exit("\n".join(problems) or 0)


if __name__ == "__main__":
    main()
