"""How far a study is: the sealed plan in its folder against the records there are.

The plan is written before anything is trained and holds every treatment, seed and run
id, the training code and the data. Nothing here needs torch.
"""

import contextlib
import gzip
import json
import os
import re
import secrets
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from lenet import file_lock
from lenet.config import RENAMED, Refusal, as_typed
from lenet.records import atomic_files, run_lock, seal, store
from lenet.records.record_types import Attempt, Plan, PlannedArm, Record, of_shape

PLAN, RECORDS = "plan.json", "records.jsonl.gz"  # the files of a published study
ALONE = ("one_factor", "leave_one_out", "tuning")  # designs of one change an arm
STATES = ("done", "diverged", "failed", "stale", "missing")


@dataclass(frozen=True)
class Run:
    """One run of a plan: where it belongs, how far it is, and why it is not done."""

    run_id: str
    arm: str
    seed: int
    state: str
    why: str = ""
    seconds: float = 0.0
    error: float | None = None

    def __str__(self) -> str:
        return f"{self.state:<9}{self.run_id}  {self.arm} seed={self.seed}{self.reason}"

    @property
    def reason(self) -> str:
        """Why the run is not done, as a line ends with it."""
        return f": {self.why}" if self.why else ""


# A level by its name of edition 1: in a plan's text it is a value, a key and part of an
# arm's name.
OLD = re.compile(r'\b(schedule|input)(=|": "|": \{\s*")paper\b')


def current_name(match: re.Match[str]) -> str:
    """The level by its name of today."""
    factor, between = match.groups()
    return f"{factor}{between}{RENAMED[factor, 'paper']}"


def study_names(root: Path) -> list[str]:
    """The names of the studies in a folder: of the folders in it that have a plan."""
    return sorted(path.parent.name for path in root.glob(f"*/{PLAN}"))


def read_plan(folder: Path) -> Plan:
    """The plan of a study, its seal checked; its levels by their names of today."""
    path = folder / PLAN
    try:
        text = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        root = folder.parent
        listed = ", ".join(study_names(root)) or "none"
        raise Refusal(f"{folder} holds no plan; studies in {root}: {listed}") from None
    except OSError as problem:
        raise Refusal(f"{path} cannot be read: {problem.strerror}", 3) from None
    # The seal is of the text as it was written, so it is checked before old names are
    # replaced.
    seal.unsealed(text, str(path))
    content = json.loads(OLD.sub(current_name, text.decode()))
    plan = of_shape(content, Plan, f"{path}: the plan")
    for arm in plan["arms"]:
        of_shape(arm, PlannedArm, f"{path}: an arm")
    return plan


def published_records(folder: Path) -> dict[str, Record]:
    """The records that a study was published with, by run id; none if it was not."""
    path = folder / RECORDS
    if not path.exists():
        return {}
    return {record["run_id"]: record for record in store.read_published(path)}


def kept(
    folder: Path, names: Iterable[str], own: Mapping[str, Record]
) -> dict[str, Record]:
    """The published records, of this study (`own`) or others beside it, of those of
    these runs that need not be made again: a run that went to quarantine must be."""
    wanted = set(names) - store.quarantined_runs(str(folder.parent))
    records = {name: own[name] for name in wanted & own.keys()}
    if wanted - records.keys():
        known = elsewhere(folder)
        records |= {
            name: known[name] for name in wanted & known.keys() - records.keys()
        }
    return records


def elsewhere(folder: Path) -> dict[str, Record]:
    """The records, of the torch that is installed, that the other studies beside this
    one were published with."""
    records: dict[str, Record] = {}
    for path in sorted(folder.parent.glob(f"*/{RECORDS}")):
        if path.parent != folder:
            with contextlib.suppress(Refusal):  # verify tells of those that are broken
                records |= published_records(path.parent)
    torch = metadata.version("torch")
    return {
        name: record
        for name, record in records.items()
        if record["versions"]["torch"] == torch
    }


def sealed_text(plan: Plan | Attempt) -> bytes:
    """A plan, or a note, as the content of its file, sealed."""
    return json.dumps(seal.sealed(dict(plan)), indent=1).encode()


def packed_records(records: Sequence[Record]) -> bytes:
    """Records as compressed lines of JSON; the same bytes for the same records."""
    lines = b"".join(seal.seal_text(record) + b"\n" for record in records)
    return gzip.compress(lines, mtime=0)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a study's folder against other sweeps of the same study, which wait; one
    that was removed meanwhile is made again."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = file_lock.take_lock(folder / store.LOCK, wait=True)
    except OSError as problem:
        raise atomic_files.unwritable(folder, problem) from None
    assert handle is not None  # it was waited for
    try:
        yield
    finally:
        file_lock.free(folder / store.LOCK, handle)


def publish_study(folder: Path, plan: Plan, records: Mapping[str, Record]) -> None:
    """Write a study's plan and records; what else was published with it stays, and so
    do files that say the same."""
    if not records:
        return
    if (folder / PLAN).exists() and difference_from(read_plan(folder), plan):
        raise Refusal(f"another sweep has begun {folder} with other settings meanwhile")
    others = published_records(folder)
    own = [records[name] for name in plan["runs"] if name in records]
    # Records beyond this plan stay: another sweep may have asked for more seeds.
    own += [record for name, record in sorted(others.items()) if name not in records]
    atomic_files.replace(folder / PLAN, sealed_text(plan))
    if own != list(others.values()):
        atomic_files.replace(folder / RECORDS, packed_records(own))


def begun(output_dir: Path, plan: Plan) -> bool:
    """Whether a run of a plan has a record in runs/, or is in work now."""
    root, names = str(output_dir), plan["runs"]
    return any(peek(root, name) for name in names) or run_lock.busy(root, names)


def difference_from(before: Plan, plan: Plan) -> str:
    """In what a plan is that of another study than this one: its design, and what its
    reference had; nothing if it is the same."""
    reference = plan["reference"].items()
    changed = [pair for pair in before["reference"].items() if pair not in reference]
    if before["design"] == plan["design"] and not changed:
        return ""
    listed = ", ".join(f"{key}={as_typed(value)}" for key, value in sorted(changed))
    return f"design={before['design']}" + (f" with {listed}" if changed else "")


def mend(folder: Path) -> dict[str, Record]:
    """The records that a study was published with, by run id, once its plan or records
    are moved aside if they are damaged: what is in runs/ makes them again."""
    known: dict[str, Record] = {}
    for name in (PLAN, RECORDS):
        try:
            if name == RECORDS:
                known = published_records(folder)
            elif (folder / name).exists():
                read_plan(folder)
        except Refusal as problem:
            if problem.code != 4:
                raise
            aside = folder.parent / "quarantine"
            aside.mkdir(exist_ok=True)
            to = aside / f"{folder.name}-{secrets.token_hex(4)}-{name}"
            os.replace(folder / name, to)
            print(f"{problem}; moved to {to}, it is made again", file=sys.stderr)
    return known


def write_failure_note(
    output_dir: str, runs: Sequence[str], cause: str, said: str
) -> None:
    """Write down an attempt at some runs that failed, and why."""
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    attempt: Attempt = {
        "runs": list(runs),
        "cause": cause,
        "said": said[-10_000:],
        "time": now,
        "host": socket.gethostname(),
    }
    name = f"{now}-{secrets.token_hex(4)}.json"
    atomic_files.replace(Path(output_dir) / "attempts" / name, sealed_text(attempt))


def noted(path: Path) -> Attempt:
    """The note of a failed attempt, its seal checked."""
    attempt = seal.unsealed(atomic_files.bytes_of(path), str(path))
    return of_shape(attempt, Attempt, f"{path}: the note")


def attempts(output_dir: str) -> dict[str, str]:
    """Why the last attempt at each run failed, by run id."""
    causes: dict[str, str] = {}
    # The last of the notes counts: their names begin with the time.
    for path in sorted((Path(output_dir) / "attempts").glob("*.json")):
        with contextlib.suppress(Refusal):  # verify tells of those that are broken
            attempt = noted(path)
            causes |= dict.fromkeys(attempt["runs"], attempt["cause"])
    return causes


def planned_runs(plan: Plan) -> Iterator[tuple[str, str, int, Mapping[str, Any]]]:
    """Run id, arm, seed and treatment of each run of a plan."""
    for arm in plan["arms"]:
        for name, seed in zip(arm["runs"], plan["seeds"], strict=True):
            yield name, arm["name"], seed, arm["treatment"]
    changed = plan.get("search_changes", {})
    for arm in plan["arms"]:
        pairs = zip(arm.get("search", []), plan["search_seeds"], strict=True)
        for name, seed in pairs:
            yield name, f"{arm['name']} (search)", seed, {**arm["treatment"], **changed}


def shown_runs(plan: Plan) -> set[str]:
    """The runs that are published with their weights: the first seed of the reference,
    and of its opposite where the arms lead to one."""
    arms = plan["arms"][:1] if plan["kind"] in ALONE else plan["arms"]
    return {arm["runs"][0] for arm in (arms[0], arms[-1])}


@seal.without_garbage_collection()
def run_states(output_dir: str, plan: Plan) -> list[Run]:
    """Every run of a plan with its state."""
    failures = attempts(output_dir)
    done = {
        name: brief(whole) for name in plan["runs"] if (whole := peek(output_dir, name))
    }
    # One's own records first; what was published fills the rest, so that a fresh clone
    # is as complete as the sweep left it.
    folder, others = Path(output_dir) / plan["study"], dict[str, Record]()
    if missing := set(plan["runs"]) - done.keys():
        known = kept(folder, missing, published_records(folder))
        done |= {name: brief(record) for name, record in known.items()}
    if set(plan["runs"]) - done.keys():
        for name in store.quarantined_runs(output_dir) - done.keys() - failures.keys():
            failures[name] = "its files were moved to quarantine/"
        # By treatment and seed alone: a run that other code, or other data, has made is
        # not missing but stale.
        for record in sound(output_dir):
            others[seal.digest([record["treatment"], record["seed"]])] = record
    return [
        state(*run, done=done, failures=failures, others=others)
        for run in planned_runs(plan)
    ]


class Brief(NamedTuple):
    """What `state` asks of a record: ten thousand whole ones fill the memory."""

    finished: bool
    seconds: float
    error: float | None
    diverged_step: int | None


def brief(record: Record) -> Brief:
    """The part of a record that `state` asks for."""
    finished, error = record["status"] == "finished", record["response"]["test_error"]
    return Brief(finished, record["seconds"], error, record["diverged_step"])


def state(
    name: str,
    arm: str,
    seed: int,
    treatment: Mapping[str, Any],
    done: Mapping[str, Brief],
    failures: Mapping[str, str],
    others: Mapping[str, Record],
) -> Run:
    """A run's state, from the records, the failed attempts and other code's records."""
    if name in done:
        ended = done[name]
        if ended.finished:
            return Run(name, arm, seed, "done", "", ended.seconds, ended.error)
        why = f"at step {ended.diverged_step}"
        return Run(name, arm, seed, "diverged", why, ended.seconds)
    if name in failures:
        return Run(name, arm, seed, "failed", failures[name])
    identity = seal.digest([treatment, seed])
    if identity in others:
        commit = str(others[identity]["code"]["commit"])[:10]
        why = f"trained by other code or data (commit {commit}): would be made again"
        return Run(name, arm, seed, "stale", why)
    return Run(name, arm, seed, "missing", "never trained")


def sound(output_dir: str) -> Iterator[Record]:
    """The records of an output directory that verify."""
    for name in store.finished_runs(output_dir):
        if record := peek(output_dir, name):
            yield record


def peek(output_dir: str, name: str) -> Record | None:
    """A run's record if it verifies; a broken one is left for those who write."""
    try:
        return store.record_of_run(store.record_path(output_dir, name), name)
    except Refusal:
        return None


def by_arm(runs: Sequence[Run]) -> list[str]:
    """A line for the runs of an arm that are in one state for one reason; a run that is
    alone in it keeps its id."""
    lines = []
    for _, group in groupby(runs, lambda run: (run.arm, run.state, run.why)):
        first, *others = alike = list(group)
        if not others:
            lines.append(str(first))
            continue
        seeds = sorted(run.seed for run in alike)
        whole = seeds == list(range(seeds[0], seeds[-1] + 1))
        said = f"{seeds[0]} to {seeds[-1]}" if whole else ", ".join(map(str, seeds))
        lines.append(f"{first.state:<9}{first.arm}, seeds {said}{first.reason}")
    return lines


def plan_summary(plan: Plan, runs: Sequence[Run]) -> str:
    """One line: how many runs of the plan are in which state."""
    count = Counter(run.state for run in runs)
    done = count["done"] + count["diverged"]
    others = [f"{count[state]} {state}" for state in STATES[1:] if count[state]]
    seconds = sum(run.seconds for run in runs)
    text = ", ".join([f"{done} of {len(runs)} runs done", *others])
    return f"study {plan['study']}: {text}; {seconds:,.0f} s of training so far"
