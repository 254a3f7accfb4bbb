"""A worker lives as long as its sweep wants, and no signal is lost meanwhile."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PATH = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}

INTERRUPTED = """
import signal, sys, time
from lenet.sweep import worker

class Interrupted(Exception):
    pass

def handler(*_):
    raise Interrupted

signal.signal(signal.SIGALRM, handler)
for trial in range(400):
    started = []
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-5 * (trial % 200 + 1))
        started.append(worker.start_worker(1, ["true"]))
        time.sleep(0.5)  # `pause` would miss a signal that came just before it
        sys.exit("no exception came")
    except Interrupted:
        for one in started:
            one.stop()
"""


def test_no_signal_is_swallowed_while_a_worker_starts() -> None:
    """A handler's exception reaches the sweep, at whatever moment of a start it comes:
    one that was lost would end the script with a message."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **PATH},
    )
    assert (done.returncode, done.stderr) == (0, "")


SWEEP = """
import sys, time
import stub_worker
from lenet.sweep import worker
from lenet.config import Places
from lenet.sweep.worker import Job

one = worker.start_worker(1, [sys.executable, stub_worker.__file__, "hang"])
while not one.ready:
    one.ready = any("ready" in message for message in one.messages())
one.hand(Job(stub_worker.small()[1]), Places(output_dir=sys.argv[1], device="cpu"))
time.sleep(1)  # until it hangs
print(one.process.pid, flush=True)
input()
"""


def alive(process: int) -> bool:
    """Whether a process is there and not merely waiting to be collected."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at Linux's /proc")
def test_worker_dies_with_its_sweep(tmp_path: Path) -> None:
    """A sweep that is killed takes along a worker that would train for an hour."""
    with subprocess.Popen(
        [sys.executable, "-c", SWEEP, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **PATH},
    ) as sweep:
        assert sweep.stdout is not None
        worker = int(sweep.stdout.readline())
        assert alive(worker)
        os.kill(sweep.pid, signal.SIGKILL)
    deadline = time.monotonic() + 10
    while alive(worker):
        assert time.monotonic() < deadline, "the worker has outlived its sweep"
        time.sleep(0.05)
