"""What a sweep shows while it trains: one line for all of it, one for each worker."""

import contextlib
import sys
import time
from collections.abc import Iterator

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lenet.sweep.forecast import duration
from lenet.sweep.sweep import Show, State, seconds_left
from lenet.sweep.worker import Worker
from lenet.terminal import say

EVERY = 30.0  # seconds from one plain line to the next, where there is no terminal


@contextlib.contextmanager
def board(console: Console) -> Iterator[Show]:
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
