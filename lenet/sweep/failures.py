"""Why a run was not trained: how its attempts ended, and when it is given up.

Look here first where a sweep says that runs failed. An attempt at a stack fails by an
exception (worker.py says which), by the death of its worker, or because the worker was
silent for too long (`listen` in sweep.py). Each is noted in attempts/ with what the
worker said, and its runs are tried again, in smaller stacks and then alone. What a
cluster makes of its jobs is in hydra_launcher.py.
"""

from collections.abc import Mapping
from signal import Signals

from lenet.config import Config, Places, Refusal
from lenet.records import plan as plans
from lenet.sweep.progress import State
from lenet.sweep.worker import Job, Message, Worker

TRIES = 2  # of a run by itself, after the stacks that it was in have failed


def death(worker: Worker) -> str:
    """What ended a worker."""
    code = worker.process.wait()
    # Popen: a negative code is the signal that ended it. Where memory runs out the
    # kernel sends SIGKILL, which is 9.
    if code >= 0:
        return f"exit code {code}"
    memory = " (out of memory?)" if code == -9 else ""
    # A real-time signal has no name.
    known = -code in {signal.value for signal in Signals}
    return f"killed by {Signals(-code).name if known else f'signal {-code}'}{memory}"


def take_failure(
    state: State, worker: Worker, message: Message, places: Places
) -> None:
    """End a worker whose stack has failed, and give the stack up."""
    job = worker.job
    said = worker.complaints()
    worker.stop()
    state.workers.remove(worker)
    if job:
        give_up(state, job, message, said, places)
    elif not worker.ready:
        # Before its first message there was no job: what ended it would end any
        # other too.
        raise Refusal(f"no worker can start: {message['failed']}\n{said}", 3)


def give_up(
    state: State, job: Job, message: Message, said: str, places: Places
) -> None:
    """Record a failed attempt, then try its halves, or one run again, or no more."""
    names = list(job.runs)
    said = f"{message.get('traceback', '')}{said}"
    plans.write_failure_note(places.output_dir, names, message["failed"], said)
    # One bad run takes its whole stack with it. Halved again and again it is soon
    # alone, and the others are trained.
    if len(names) > 1:
        for half in (names[: len(names) // 2], names[len(names) // 2 :]):
            state.waiting.appendleft(Job({name: job.runs[name] for name in half}))
    elif job.tries + 1 < TRIES:
        state.waiting.append(Job(job.runs, job.tries + 1))
    else:
        state.failures[names[0]] = message["failed"]


def failure_table(
    failures: Mapping[str, str], runs: Mapping[str, Config], total: int
) -> str:
    """The runs that failed, one a line with its cause, and what to do."""
    lines = [
        f"  {name} seed={runs[name].seed}: {why}" for name, why in failures.items()
    ]
    return "\n".join(
        [
            f"{len(failures)} of {total} runs failed; the others are kept:",
            *lines,
            "what they said is in attempts/; the same command tries them again",
        ]
    )
