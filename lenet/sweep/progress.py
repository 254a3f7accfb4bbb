"""How far a sweep is, and what it shows of that while it trains: one line for all of
it, one for each worker."""

import contextlib
import math
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lenet.sweep.forecast import duration
from lenet.sweep.worker import Job, Worker
from lenet.terminal import say

EVERY = 30.0  # seconds from one plain line to the next, where there is no terminal


@dataclass
class State:
    """How far a sweep is: what waits, what came, what was given up and why.

    work: what all of it takes, and `worked` what is done of that, as `cost` measures.
    looked: when the workers were last listened to.
    """

    total: int
    work: float
    waiting: deque[Job]
    began: float
    worked: float = 0.0
    done: int = 0
    diverged: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    workers: list[Worker] = field(default_factory=list)
    told: str = ""  # for whom it waits
    looked: float = math.inf


Show = Callable[[State], None]


def show_nothing(state: State) -> None:
    """Show nothing."""


def cost(job: Job) -> float:
    """What a job takes, in passes of one run; a step of an attack is a pass more."""
    return sum(
        config.number("epochs") * (1 + config.number("adversary.steps"))
        for config in job.runs.values()
    )


def seconds_left(state: State) -> float | None:
    """How long a sweep takes yet if it goes on as it did; None before any progress."""
    parts = sum(
        worker.part * cost(worker.job) for worker in state.workers if worker.job
    )
    worked = state.worked + parts
    if not worked:
        return None
    # The rest is taken to go as fast as what is done went.
    return (time.monotonic() - state.began) * (state.work - worked) / worked


@contextlib.contextmanager
def progress_display(console: Console) -> Iterator[Show]:
    """Shows a sweep: lines that change in place, or plain ones without a terminal, the
    first at once."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            yield lambda state: live.update(Text("\n".join(lines(state))), refresh=True)
        return
    last: list[float] = [-EVERY, 0]  # when the last line was said, with how many done

    def show(state: State) -> None:
        now, ended = time.monotonic(), state.done + len(state.failures) == state.total
        if now - last[0] > EVERY or (ended and state.done > last[1]):
            say(overall(state), sys.stderr)
            last[:] = now, state.done

    yield show


def lines(state: State) -> list[str]:
    """The sweep's line, then the workers'."""
    return [overall(state), *(of_worker(process) for process in state.workers)]


def overall(state: State) -> str:
    """Runs done of all, failures, diverged, and the time that is left; before anything
    is known of that, what is to be done."""
    text = f"{state.done} of {state.total} runs"
    text += f", {state.diverged} diverged" if state.diverged else ""
    text += f", {len(state.failures)} failed" if state.failures else ""
    left = seconds_left(state)
    if left is None:
        return f"{text}, {state.work:,.0f} passes over the data to train"
    return f"{text}, {duration(left)} left"


def of_worker(process: Worker) -> str:
    """What a worker trains, and how far it is."""
    if not process.job:
        return "  idle" if process.ready else "  starting"
    seeds = sorted(config.seed for config in process.job.runs.values())
    return (
        f"  {process.part:4.0%} of {len(seeds)} runs, seeds {seeds[0]} to {seeds[-1]}"
    )
