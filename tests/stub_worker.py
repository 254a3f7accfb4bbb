"""A worker whose training is a stub: at once, the same numbers for the same seed.

The writer, the protocol and the sweep are the real ones. `python tests/stub_worker.py
FAULT` is a worker; a fault befalls the stack that has seed 3 in it. `start` forks the
same worker off a process that has imported torch already, which takes it seconds.
"""

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from lenet.config import Config, Places
from lenet.sweep import sweep, worker
from lenet.sweep.design import Design, DesignArm
from lenet.training import stack
from lenet.training.data import Data
from lenet.training.recipe import Teacher
from lenet.training.stack import Progress, Report, Result

BAD = 3  # the seed of the run that a fault befalls


def result(config: Config) -> Result:
    """What a run becomes: a function of its seed."""
    point = {"epoch": 1, "train_error": 0.5, "test_error": 0.25, "seconds": 0.1}
    return Result(
        diverged_step=None,
        right=torch.arange(8) % 4 != config.seed % 4,
        answers=torch.arange(8),
        weights={"C1.weight": torch.full((2, 3), float(config.seed))},
        curve=[point],
        step_sizes=None,
        seconds=0.1,
        processor_seconds=0.1,
    )


def small(
    seeds: int = 4, levels: Sequence[str] = ("relu", "tanh"), epochs: int = 1
) -> tuple[dict[str, Any], dict[str, Config]]:
    """A plan of one factor on digits, and its runs."""
    from conftest import config as plain  # checks every shape: a worker need not

    arms = [
        DesignArm({"activation": level}, {"activation": level}, treatment)
        for level in levels
        for treatment in [plain({"activation": level, "epochs": epochs}).treatment]
    ]
    places = Places(study="small")
    return sweep.make(
        Design(
            name="small",
            kind="one_factor",
            preset="modern",
            factors={"activation": {level: {"activation": level} for level in levels}},
            arms=arms,
            seeds=list(range(seeds)),
            search=[],
            places=places,
            notes=[],
        )
    )


def stub(
    configs: Sequence[Config],
    data: Data,
    report: Report = lambda now: None,
    teachers: Sequence[Teacher] = (),
) -> list[Result]:
    """In the place of lenet.training.stack.train."""
    report(Progress(0, 1, 2, 7, 0.5, None))
    return [result(config) for config in configs]


def memory() -> None:
    raise MemoryError("no memory for so many runs")


FAULTS: dict[str, Callable[[], object]] = {
    "none": lambda: None,
    "exception": lambda: 1 / 0,
    "exit": lambda: sys.exit(7),
    "memory": memory,
    "segfault": lambda: os.kill(os.getpid(), 11),
    "kill": lambda: os.kill(os.getpid(), 9),
    "hang": lambda: time.sleep(3600),
    "slow": lambda: time.sleep(20),
}


def start(threads: int, command: Sequence[str]) -> worker.Worker:
    """lenet.sweep.worker.start_worker, but forked where the command is this stub."""
    if __file__ not in command:
        return worker.start_worker(threads, command)
    errors = tempfile.TemporaryFile()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        preexec_fn=partial(instead, *command[2:]),
    )
    return worker.Worker(process, errors, time.monotonic())


def instead(*arguments: str) -> None:
    """Work in the forked process instead of executing the command; never returns."""
    code = 1
    try:
        gc.freeze()  # no file of the parent's is closed when its number is another's
        os.closerange(3, 2**16)  # so the parent knows that the process has started
        sys.stdin, sys.stderr = os.fdopen(0), os.fdopen(2, "w", buffering=1)
        main(*arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        os._exit(code)


def main(fault: str, *once: str) -> None:
    """The worker's process."""

    def faulty(
        configs: Sequence[Config], data: Data, report: Report, *_: Sequence[Teacher]
    ) -> list[Result]:
        happened = bool(once) and os.path.exists(once[0])
        if any(config.seed == BAD for config in configs) and not happened:
            for name in once:
                open(name, "w").close()
            FAULTS[fault]()
        return stub(configs, data, report)

    stack.train = faulty
    worker.main()


if __name__ == "__main__":
    main(*sys.argv[1:])
