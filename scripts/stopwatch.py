"""Seconds of whole commands, start of Python included: python scripts/stopwatch.py

Each command is a process of its own, in an empty folder of runs, once the loops are
compiled and the edition is proven. `cases=` keeps those whose name contains a word;
`repeats=1`; the least of them is printed, with the seconds of processor time.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lenet.terminal import command, typed

ROOT = Path(__file__).resolve().parent.parent
TYPED = {"repeats": "1", "cases": ""}
TRAIN, SWEEP = ("-m", "lenet.train"), ("scripts/sweep.py",)
CASES = {  # name: what is run before, what is timed
    "help": ((), (*TRAIN, "--help")),
    "finished record": (
        (*TRAIN, "data=digits", "epochs=1"),
        (*TRAIN, "data=digits", "epochs=1"),
    ),
    "plan of a complete study": (
        (*SWEEP, "design=quick", "replicates=2", "epochs=1"),
        (*SWEEP, "design=quick", "replicates=2", "epochs=1", "action=plan"),
    ),
    "train": ((), (*TRAIN, "activation=relu")),
    "train paper": ((), (*TRAIN, "preset=paper")),
    "multirun of six": ((), (*TRAIN, "-m", "seed=0,1,2,3,4,5")),
}


def time_command(line: tuple[str, ...], output_dir: str) -> tuple[float, float]:
    """The seconds of a command, of the clock and of processors."""
    folder = [] if "--help" in line else [f"output_dir={output_dir}"]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, *line, *folder],
        cwd=ROOT, capture_output=True, text=True, env=dict(os.environ), check=False,
    )  # fmt: skip
    seconds, after = (
        time.perf_counter() - began,
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, used


def main() -> None:
    """The entry point."""
    given = typed(sys.argv[1:], TYPED)
    with tempfile.TemporaryDirectory() as folder:  # compile, prove
        time_command((*TRAIN, "data=digits", "epochs=1"), folder)
    print("| command | seconds | of processors |\n|---|---|---|")
    for name, (before, line) in CASES.items():
        if given["cases"] not in name:
            continue
        rows = []
        for _ in range(int(given["repeats"])):
            with tempfile.TemporaryDirectory() as folder:
                if before:
                    time_command(before, folder)
                rows.append(time_command(line, folder))
        print("| {} | {:.1f} | {:.1f} |".format(name, *min(rows)), flush=True)


if __name__ == "__main__":
    command(main)
