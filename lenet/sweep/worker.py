"""A process that trains one stack after another, and how the sweep talks to it.

A stack that crashes, runs out of memory or hangs takes its worker with it and nothing
else. Jobs go in as lines of JSON, reports come out as lines of JSON; what libraries
print goes to standard error. A worker ends with its sweep, however that ends: the pipe
that the jobs come through closes.
"""

import dataclasses
import faulthandler
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any, TypedDict

from lenet import train
from lenet.config import Config, Places, Refusal
from lenet.records import run_record

if TYPE_CHECKING:
    from lenet.training.stack import Progress

COMMAND = (sys.executable, "-m", "lenet.sweep.worker")


class Assignment(TypedDict):
    """A job as its worker reads it, a line of JSON."""

    configs: list[dict[str, Any]]
    fingerprint: str
    places: dict[str, Any]


class Message(TypedDict, total=False):
    """A line of JSON that a worker says; what it is about is which keys it has."""

    ready: bool  # it has started and waits for a job
    part: float  # of its job that is done, with the training error there
    train_error: float
    done: dict[str, str]  # the status of each run that has a record now, by its id
    refused: str  # what holds for every run, with the exit code
    code: int
    failed: str  # what went wrong with its stack alone, with where
    traceback: str


@dataclass(frozen=True)
class Job:
    """Runs to be trained together, by run id, and how often that was tried."""

    runs: Mapping[str, Config]
    tries: int = 0
    not_before: float = 0.0


@dataclass
class Worker:
    """The sweep's end of a worker; `heard` is when it last said anything."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    heard: float
    job: Job | None = None
    began: float = 0.0
    part: float = 0.0
    ready: bool = False
    rest: bytes = b""
    read: int = 0

    def hand(self, job: Job, places: Places) -> None:
        """Give it a stack to train."""
        self.job, self.began, self.heard = job, time.monotonic(), time.monotonic()
        self.part = 0.0
        # The hash is kept by the sweep's process, so that a worker which starts later,
        # on code that was edited meanwhile, notices.
        assignment: Assignment = {
            "configs": [dataclasses.asdict(config) for config in job.runs.values()],
            "fingerprint": run_record.fingerprint(),
            "places": dataclasses.asdict(places),
        }
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(assignment).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died: its end is read from its output

    def messages(self) -> list[Message] | None:
        """What it has said since the last time; None once it has ended."""
        assert self.process.stdout is not None
        # Not a whole line: a worker that stops within one would stop the sweep.
        content = os.read(self.process.stdout.fileno(), 2**16)
        if not content:
            return None
        # The last part is no whole line yet; it is put before what comes next.
        *lines, self.rest = (self.rest + content).split(b"\n")
        self.heard = time.monotonic()
        return [json.loads(line) for line in lines]

    def complaints(self) -> str:
        """What it has written to standard error since the last time."""
        # Not `read`: that would move the place at which the worker writes.
        content = os.pread(self.errors.fileno(), 2**24, self.read)
        self.read += len(content)
        return content.decode(errors="replace").strip()

    def stop(self) -> int:
        """Kill it, as nothing of it can be lost; its exit code."""
        self.process.kill()
        self.errors.close()
        # A pipe that is closed writes out what it still holds, to a process that is
        # gone.
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass
        return self.process.wait()


def start_worker(threads: int, command: Sequence[str] = COMMAND) -> Worker:
    """A new worker that computes with so many threads."""
    # Not a named one: it has a finaliser, in which an interruption would be lost.
    errors = tempfile.TemporaryFile()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        # Libraries count threads when they are imported: it must stand there before.
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    return Worker(process, errors, time.monotonic())


def work(job: Assignment, tell: Callable[[Message], None]) -> None:
    """Train a job's stack and tell what became of it."""
    configs = [Config(**config) for config in job["configs"]]

    def report(now: "Progress") -> None:
        part = (now.epoch + now.step / now.steps) / configs[0].number("epochs")
        tell({"part": part, "train_error": now.train_error})

    try:
        if run_record.fingerprint() != job["fingerprint"]:
            raise Refusal(
                "the training code changed while the sweep ran: start it again"
            )
        records = train.attempt(configs, Places(**job["places"]), lambda stack: report)
        tell(
            {
                "done": {
                    name: record["status"] for name, record in records.items() if record
                }
            }
        )
    except Refusal as refusal:
        # A Refusal is meant for all runs; any other exception is this stack's.
        tell({"refused": str(refusal), "code": refusal.code})
    except Exception as problem:  # any: the sweep records it, goes on
        cause = f"{type(problem).__name__}: {problem}"
        tell({"failed": cause, "traceback": traceback.format_exc()})


def read_jobs(lines: IO[str]) -> Iterator[Assignment]:
    """The jobs as they come in, one a line; the process ends where the lines do."""
    # Lines are awaited beside the training, so that the end of the sweep ends this
    # process in the middle of a stack too.
    waiting = SimpleQueue[str]()

    def listen() -> None:
        for line in lines:
            waiting.put(line)
        os._exit(1)  # the sweep is gone: nobody waits for what is in work

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield json.loads(waiting.get())


def main() -> None:
    """The worker's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the sweep's, which ends its workers
    # Reports alone go through the pipe. Whatever else prints to standard output,
    # libraries in C included, now prints to standard error.
    with os.fdopen(os.dup(1), "w", buffering=1) as channel:
        os.dup2(2, 1)
        # A crash in compiled code leaves a traceback among the complaints.
        faulthandler.enable()

        def tell(message: Message) -> None:
            try:
                channel.write(json.dumps(message) + "\n")
            except BrokenPipeError:
                os._exit(1)  # the sweep is gone, and nothing is left to say

        import lenet.training.stack  # noqa: F401  # seconds, and not those of its first job

        tell({"ready": True})
        for job in read_jobs(sys.stdin):
            work(job, tell)


if __name__ == "__main__":
    main()
