"""Carry out a design: plan it, train what has no record, write the study and its chart.

What is done is known from the records alone, so the same call again trains what is
missing and nothing else, whatever stopped the last one.
"""

import select
import sys
import time
from collections import deque
from collections.abc import Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lenet import train
from lenet.config import Config, Places, Refusal
from lenet.records import atomic_files, run_lock, run_record, seal, store, tracker
from lenet.records import plan as plans
from lenet.records.record_types import Plan, PlannedArm, Record
from lenet.sweep import forecast, hydra_launcher
from lenet.sweep.design import Design
from lenet.sweep.failures import death, failure_table, take_failure
from lenet.sweep.progress import Show, State, cost, show_nothing
from lenet.sweep.worker import COMMAND, Job, Message, Worker, start_worker
from lenet.sweep.worker_count import cores, count_workers, device
from lenet.training.edition import EDITION

# Runs in one stack on one processor core: the lanes of lenet/training/loops.
STACK_OF_ONE_CORE = 8
PATIENCE = 600.0  # seconds without a word after which a worker hangs
ABSENCE = 30.0  # seconds between two looks, after which the sweep itself was suspended
WAIT = 2.0  # seconds until runs that another sweep holds are looked at again


def make(design: Design) -> tuple[Plan, dict[str, Config]]:
    """The plan of a design, and its runs by run id; nothing is written."""
    data = train.identities(design.runs, design.places)
    runs = {
        run_record.run_id(config, data[str(config.treatment["data"])]): config
        for config in design.runs
    }
    # `design.runs` lists every arm with all its seeds, then the search of every arm:
    # the ids are cut in that order.
    ids, count = list(runs), len(design.seeds)
    searched = len(design.arms) * count
    each = len(design.search) // len(design.arms)
    arms: list[PlannedArm] = [
        {
            "name": arm.name,
            "levels": dict(arm.levels),
            "changes": dict(arm.changes),
            "treatment": dict(arm.treatment),
            "runs": ids[i * count : (i + 1) * count],
            "search": ids[searched + i * each : searched + (i + 1) * each],
        }
        for i, arm in enumerate(design.arms)
    ]
    plan: Plan = {
        "study": design.places.study or design.name,
        "design": design.name,
        "kind": design.kind,
        "preset": design.preset,
        "factors": design.keys,
        "levels": planned_levels(design),
        "reference": dict(design.arms[0].treatment),
        "arms": arms,
        "seeds": list(design.seeds),
        "search_seeds": [run.seed for run in design.search[:each]],
        "search_changes": changed(design),
        "runs": ids,
        "data": {name: data_set.sha256 for name, data_set in sorted(data.items())},
        "edition": EDITION,
        "code": run_record.training_code(),
    }
    return plan, runs


def planned_levels(design: Design) -> dict[str, dict[str, dict[str, Any]]]:
    """What each level of each factor sets, as a plan says it."""
    return {
        factor: {level: dict(settings) for level, settings in tried.items()}
        for factor, tried in design.factors.items()
    }


def changed(design: Design) -> dict[str, Any]:
    """What the search of a path sets in the treatment of every arm."""
    arm = design.arms[0].treatment
    return {
        key: value
        for run in design.search[:1]
        for key, value in run.treatment.items()
        if arm[key] != value
    }


def carry_out(
    plan: Plan,
    runs: Mapping[str, Config],
    places: Places,
    workers: int | None = None,
    show: Show = show_nothing,
    command: Sequence[str] = COMMAND,
    engine: Sequence[str] = (),
) -> Path:
    """The folder of a study, once every run of its plan has a record.

    workers: processes that train at a time; engine: Hydra's settings of the launcher
    that trains in their place. A Refusal (1) names the runs that failed.
    """
    folder = Path(places.output_dir) / plan["study"]
    store.refuse_unusable_output_dir(places.output_dir)
    if engine:
        hydra_launcher.refuse_missing_launcher(engine)
    earlier = plans.mend(folder)
    kept = same_study(folder, plan, earlier)
    if kept is not plan:  # nothing is to be trained
        runs = {}
    shown = plans.shown_runs(kept)
    # What is done: first the records in runs/, then those that this study, or another
    # one beside it, was published with.
    records = recorded(places.output_dir, runs, shown, earlier)
    records |= plans.kept(folder, runs.keys() - records.keys(), earlier)
    missing = {name: config for name, config in runs.items() if name not in records}
    if not engine:  # what is wrong with the data is said before a file is made
        train.refuse_unusable_data(missing.values(), places)
    store.prepare(places.output_dir)
    # Before anything is trained: whatever ends this process, the folder says what the
    # study is to be.
    if kept is plan:
        atomic_files.replace(folder / plans.PLAN, plans.sealed_text(plan))
    plan = kept
    refuse_conflicts(records, earlier, missing)
    with tracker.mirroring(places, plan["study"], list(runs)):
        if engine and missing:
            failures = hydra_launcher.launch_all(
                missing, places, engine, telling(missing, show)
            )
        else:
            failures = train_all(missing, places, workers, show, command)
    # Workers write records and tell ids alone: what came out is read, and its seal
    # checked.
    records |= recorded(places.output_dir, missing, set(), {})
    publish(folder, plan, runs, records, failures)
    return folder


def publish(
    folder: Path,
    plan: Plan,
    runs: Mapping[str, Config],
    records: Mapping[str, Record],
    failures: Mapping[str, str],
) -> None:
    """Write the study with the records that there are, then its weights.

    A Refusal (1) names the runs that failed.
    """
    with plans.held(folder):  # against another sweep, with more seeds, of this study
        plans.publish_study(folder, plan, records)
        if failures:
            raise Refusal(failure_table(failures, runs, len(runs)), 1)
        if lost := len(runs) - len(records):
            raise Refusal(f"{lost} records were lost meanwhile: run it again", 1)
        shown = plans.shown_runs(plan) & records.keys()
        write_weights(folder, str(folder.parent), {run: records[run] for run in shown})


def write_weights(folder: Path, output_dir: str, records: Mapping[str, Record]) -> None:
    """Write the weights of these runs beside their study; of a record that was
    published by others there may be none."""
    for name, record in records.items():
        if store.weights_path(output_dir, name).exists():
            content = store.weights(output_dir, record)
            atomic_files.replace(folder / "weights" / f"{name}.safetensors", content)


@seal.without_garbage_collection()
def recorded(
    output_dir: str,
    runs: Iterable[str],
    shown: Container[str],
    published: Mapping[str, Record],
) -> dict[str, Record]:
    """The records in runs/ of these runs, by run id; what is broken is moved aside.

    Of those that are `shown` the weights are looked at too.
    """
    records = {}
    for name in runs:
        record = store.finished_record(output_dir, name, published.get(name))
        if record and name in shown and store.fault(output_dir, name):
            record = store.quarantine(output_dir, name)
        if record:
            records[name] = record
    return records


def refuse_conflicts(
    records: Mapping[str, Record],
    earlier: Mapping[str, Record],
    missing: Mapping[str, Config],
) -> None:
    """A Refusal where one run has two results, or where what is missing would be
    trained with another torch than the rest."""
    twice = [
        name
        for name, record in records.items()
        if name in earlier and earlier[name] != record
    ]
    if unlike := [
        name for name in twice if run_record.different(records[name], earlier[name])
    ]:
        raise Refusal(
            f"{len(unlike)} runs have one result in runs/ and another among the "
            f"published records, such as {unlike[0]}: training was not deterministic. "
            "Both are kept: action=rerun run=<id> tells which comes again; move the "
            "other away",
            4,
        )
    own, kept = run_record.versions()["torch"], records.values()
    others = {
        record["versions"]["torch"]
        for record in kept
        if not run_record.portable(record)
    } - {own}
    if missing and others:
        raise Refusal(
            f"the runs that are done are of torch {', '.join(sorted(others))}, this is "
            f"torch {own}: install that one, or begin another study with study=<name>"
        )


def same_study(folder: Path, plan: Plan, published: Mapping[str, Record]) -> Plan:
    """The plan to carry out: this one, or that of the folder where another edition has
    trained all that is asked for. A Refusal if the folder's is another study."""
    if not (folder / plans.PLAN).exists():
        return plan
    before = plans.read_plan(folder)
    if not published and not plans.begun(folder.parent, before):
        return plan  # of a command that was refused or stopped before its first record
    if settings := plans.difference_from(before, plan):
        raise Refusal(
            f"study {folder.name} is of {settings}: leave it as it is, and begin "
            "another with study=<name>"
        )
    code, edition = before["code"], before.get("edition", 1)
    if edition == plan["edition"]:
        return plan
    arms = [arm["changes"] for arm in before["arms"]]
    asked = all(arm["changes"] in arms for arm in plan["arms"])
    known = set(plan["seeds"]) <= set(before["seeds"])
    if asked and known and set(before["runs"]) <= published.keys():
        commit = str(code["commit"])[:10]
        print(
            f"note: study {folder.name} is complete, of edition {edition} (commit "
            f"{commit}): nothing to train; study=<name> begins it anew",
            file=sys.stderr,
        )
        return before
    edits = " and the edits that it had then" if code["dirty"] else ""
    raise Refusal(
        f"study {folder.name} was begun with edition {edition} of training, this is "
        f"edition {plan['edition']}; that was the code of commit "
        f"{code['commit']}{edits}: go on there (git worktree add ../{folder.name} "
        f"{code['commit']}), or begin another with study=<name>"
    )


def outlook(
    plan: Plan,
    runs: Mapping[str, Config],
    places: Places,
    workers: int | None,
) -> str:
    """Each arm and its state, then the time, the disk and the chance of a verdict."""
    output_dir = places.output_dir
    folder, refused = Path(output_dir) / plan["study"], []
    try:
        plan = same_study(folder, plan, plans.published_records(folder))
    except Refusal as refusal:
        refused.append(f"would be refused: {refusal}")
    states = plans.run_states(output_dir, plan)
    missing = [
        runs[run.run_id] for run in states if run.state not in ("done", "diverged")
    ]
    time, verdict = "nothing is left to train", []
    if missing:
        time = time_needed(missing, places, workers)
        verdict = [forecast.verdict(plan, forecast.expected_sd(states))]
    needed, free = forecast.disk(len(missing), output_dir)
    return "\n".join(
        [
            *plans.by_arm(states),
            plans.plan_summary(plan, states),
            f"time: {time}",
            f"disk: {needed / 1e6:,.0f} MB needed, {free / 1e6:,.0f} MB free",
            *verdict,
            *refused,
        ]
    )


def time_needed(missing: Sequence[Config], places: Places, workers: int | None) -> str:
    """What runs took on this machine, summed up for those that are missing."""
    count = count_workers(workers, places)
    hardware = run_record.hardware(device(places))
    taken = forecast.expected_seconds(missing, plans.sound(places.output_dir), hardware)
    if taken is None:
        return "unknown: no record of this machine tells"
    return f"{forecast.duration(taken / count)} with workers={count}"


def train_all(
    missing: Mapping[str, Config],
    places: Places,
    workers: int | None,
    show: Show = show_nothing,
    command: Sequence[str] = COMMAND,
) -> dict[str, str]:
    """Train runs in worker processes; the causes of those that failed, by run id."""
    if not missing:
        return {}
    count = count_workers(workers, places)
    most = STACK_OF_ONE_CORE if device(places) == "cpu" else train.LARGEST_STACK
    # No larger than it takes to give each worker a stack.
    size = min(most, max(2, -(-len(missing) // count)))
    jobs = [Job(runs) for runs in train.stacks(missing, size)]
    jobs.sort(key=cost, reverse=True)  # the long ones first, so that none is last
    work = sum(cost(job) for job in jobs)
    state = State(len(missing), work, deque(jobs), time.monotonic())
    count = min(count, len(jobs))
    try:
        while state.waiting or any(worker.job for worker in state.workers):
            # A worker that went down with its stack is replaced, as long as there is
            # work for it.
            while len(state.workers) < min(count, unfinished(state)):
                state.workers.append(start_worker(max(1, cores() // count), command))
            hand_out(state, places)
            listen(state, places)
            show(state)
    finally:
        # However this ends, Ctrl-C included: no worker goes on without its sweep.
        for worker in state.workers:
            worker.stop()
    return state.failures


def telling(missing: Mapping[str, Config], show: Show) -> hydra_launcher.Tell:
    """Shows the runs that an engine trains, each time that it is told of them."""
    work = cost(Job(missing))
    state = State(len(missing), work, deque(), time.monotonic())

    def tell(done: Mapping[str, str], failures: Mapping[str, str]) -> None:
        state.done, state.failures = len(done), dict(failures)
        state.diverged = sum(status == "diverged" for status in done.values())
        state.worked = cost(Job({name: missing[name] for name in done}))
        show(state)

    return tell


def unfinished(state: State) -> int:
    """Jobs that wait or are in work."""
    return len(state.waiting) + sum(worker.job is not None for worker in state.workers)


def hand_out(state: State, places: Places) -> None:
    """Give a job to every worker that is ready for one."""
    for worker in state.workers:
        due = [job for job in state.waiting if job.not_before <= time.monotonic()]
        if worker.ready and not worker.job and due:
            state.waiting.remove(due[0])
            worker.hand(due[0], places)


def listen(state: State, places: Places) -> None:
    """Take in what the workers say within a moment, and end those that are silent."""
    now = time.monotonic()
    if now - state.looked > ABSENCE:  # suspended (Ctrl-Z), and its workers with it
        for worker in state.workers:
            worker.heard = now
    state.looked = now
    pipes = [worker.process.stdout for worker in state.workers if worker.process.stdout]
    # A moment, and not for ever: what is shown changes meanwhile, and a worker that
    # hangs says nothing at all.
    speaking, _, _ = select.select(pipes, [], [], 0.2)
    for worker in list(state.workers):
        messages: list[Message] | None = []
        if worker.process.stdout in speaking:
            messages = worker.messages()
        elif worker.job and now - worker.heard > PATIENCE:  # now: of before the select
            messages = [{"failed": f"no word for {PATIENCE:.0f} s: hung"}]
        if messages is None:
            messages = [{"failed": death(worker)}]
        for message in messages:
            take_message(state, worker, message, places)


def take_message(
    state: State, worker: Worker, message: Message, places: Places
) -> None:
    """Take in one message of a worker."""
    job = worker.job
    if "ready" in message:
        worker.ready = True
    # Data that is missing or code that has changed is so for every run: the sweep ends.
    if "refused" in message:
        raise Refusal(message["refused"], message["code"])
    if "part" in message:
        worker.part = message["part"]
    if "done" in message and job:
        done = message["done"]
        state.done += len(done)
        state.diverged += sum(status == "diverged" for status in done.values())
        state.worked += cost(job) * len(done) / len(job.runs)
        # Runs that another process is training. They are asked for again in a while,
        # when they have records or nobody holds them any more.
        others = {name: config for name, config in job.runs.items() if name not in done}
        if others:
            told = run_lock.holders(places.output_dir, others)
            if told != state.told:
                print(told, file=sys.stderr)
            state.told = told
            state.waiting.append(Job(others, job.tries, time.monotonic() + WAIT))
        worker.job = None
        if said := worker.complaints():
            print(said, file=sys.stderr)
    if "failed" in message:
        take_failure(state, worker, message, places)
