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
from pathlib import Path
from typing import Any

from lenet import lock
from lenet.config import RENAMED, Refusal, typed
from lenet.records import store
from lenet.records.store import Record

PLAN, RECORDS = "plan.json", "records.jsonl.gz"  # the files of a published study
FIELDS = {"study": str, "kind": str, "arms": list, "seeds": list, "runs": list}
FIELDS |= {"design": str, "reference": dict, "levels": dict}
ARM = {"name": str, "levels": dict, "changes": dict, "treatment": dict, "runs": list}
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
        why = f": {self.why}" if self.why else ""
        return f"{self.state:<9}{self.run_id}  {self.arm} seed={self.seed}{why}"


# A level by its name of edition 1: in a plan's text it is a value, a key and part of an
# arm's name.
OLD = re.compile(r'\b(schedule|input)(=|": "|": \{\s*")paper\b')


def current_name(found: re.Match[str]) -> str:
    """The level by its name of today."""
    factor, between = found.groups()
    return f"{factor}{between}{RENAMED[factor, 'paper']}"


def read(folder: Path) -> dict[str, Any]:
    """The plan of a study, its seal checked; its levels by their names of today."""
    path = folder / PLAN
    try:
        text = path.read_bytes()
    except OSError:
        root = folder.parent
        studies = sorted(path.parent.name for path in root.glob("*/plan.json"))
        raise Refusal(
            f"{folder} holds no plan; studies in {root}: {', '.join(studies) or 'none'}"
        ) from None
    store.unsealed(text, str(path))
    plan = json.loads(OLD.sub(current_name, text.decode()))
    store.shaped(plan, FIELDS, f"{path}: the plan")
    for arm in plan["arms"]:
        store.shaped(arm if isinstance(arm, dict) else {}, ARM, f"{path}: an arm")
    return plan


def published(folder: Path) -> dict[str, Record]:
    """The records that a study was published with, by run id; none if it was not."""
    path = folder / RECORDS
    if not path.exists():
        return {}
    return {one["run_id"]: one for one in store.published(path)}


def kept(
    folder: Path, names: Iterable[str], own: Mapping[str, Record]
) -> dict[str, Record]:
    """The published records, of this study (`own`) or others beside it, of those of
    these runs that need not be made again: a run that went to quarantine must be."""
    wanted = set(names) - store.aside(str(folder.parent))
    found = {name: own[name] for name in wanted & own.keys()}
    if wanted - found.keys():
        known = elsewhere(folder)
        found |= {name: known[name] for name in wanted & known.keys() - found.keys()}
    return found


def elsewhere(folder: Path) -> dict[str, Record]:
    """The records, of the torch that is installed, that the other studies beside this
    one were published with."""
    found: dict[str, Record] = {}
    for path in sorted(folder.parent.glob(f"*/{RECORDS}")):
        if path.parent != folder:
            with contextlib.suppress(Refusal):  # verify tells of those that are broken
                found |= published(path.parent)
    torch = metadata.version("torch")
    return {n: one for n, one in found.items() if one["versions"]["torch"] == torch}


def text(plan: Mapping[str, Any]) -> bytes:
    """A plan as the content of its file, sealed."""
    return json.dumps(store.sealed(dict(plan)), indent=1).encode()


def packed(found: Sequence[Record]) -> bytes:
    """Records as compressed lines of JSON; the same bytes for the same records."""
    lines = b"".join(store.text(one) + b"\n" for one in found)
    return gzip.compress(lines, mtime=0)


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a study's folder against other sweeps of the same study, which wait."""
    try:
        handle = lock.take(folder / store.LOCK, wait=True)
    except OSError as problem:
        raise store.unwritable(folder, problem) from None
    assert handle is not None  # it was waited for
    try:
        yield
    finally:
        lock.free(folder / store.LOCK, handle)


def publish(folder: Path, plan: Mapping[str, Any], found: Mapping[str, Record]) -> None:
    """Write a study's plan and records; what else was published with it stays, and so
    do files that say the same."""
    if not found:
        return
    if (folder / PLAN).exists() and unlike(read(folder), plan):
        raise Refusal(f"another sweep has begun {folder} with other settings meanwhile")
    others = published(folder)
    own = [found[name] for name in plan["runs"] if name in found]
    own += [one for name, one in sorted(others.items()) if name not in found]
    store.replace(folder / PLAN, text(plan))
    if own != list(others.values()):
        store.replace(folder / RECORDS, packed(own))


def begun(output_dir: Path, plan: Mapping[str, Any]) -> bool:
    """Whether a run of a plan has a record in runs/, or is in work now."""
    root, names = str(output_dir), plan["runs"]
    return any(peek(root, name) for name in names) or store.busy(root, names)


def unlike(before: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """In what a plan is that of another study than this one: its design, and what its
    reference had; nothing if it is the same."""
    reference = plan["reference"].items()
    changed = [pair for pair in before["reference"].items() if pair not in reference]
    if before["design"] == plan["design"] and not changed:
        return ""
    listed = ", ".join(f"{key}={typed(value)}" for key, value in sorted(changed))
    return f"design={before['design']}" + (f" with {listed}" if changed else "")


def mend(folder: Path) -> dict[str, Record]:
    """The records that a study was published with, by run id, once its plan or records
    are moved aside if they are damaged: what is in runs/ makes them again."""
    checked: dict[str, dict[str, Any]] = {}
    for name, check in ((PLAN, read), (RECORDS, published)):
        try:
            if (folder / name).exists():
                checked[name] = check(folder)
        except Refusal as problem:
            if problem.code != 4:
                raise
            aside = folder.parent / "quarantine"
            aside.mkdir(exist_ok=True)
            to = aside / f"{folder.name}-{secrets.token_hex(4)}-{name}"
            os.replace(folder / name, to)
            print(f"{problem}; moved to {to}, it is made again", file=sys.stderr)
    return checked.get(RECORDS, {})


def failed(output_dir: str, runs: Sequence[str], cause: str, said: str) -> None:
    """Write down an attempt at some runs that failed, and why."""
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    attempt = {
        "runs": list(runs),
        "cause": cause,
        "said": said[-10_000:],
        "time": now,
        "host": socket.gethostname(),
    }
    name = f"{now}-{secrets.token_hex(4)}.json"
    store.replace(Path(output_dir) / "attempts" / name, text(attempt))


def noted(path: Path) -> dict[str, Any]:
    """The note of a failed attempt, its seal checked."""
    attempt = store.unsealed(store.bytes_of(path), str(path))
    store.shaped(attempt, {"runs": list, "cause": str}, f"{path}: the note")
    return attempt


def attempts(output_dir: str) -> dict[str, dict[str, Any]]:
    """The last failed attempt at each run, by run id."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((Path(output_dir) / "attempts").glob("*.json")):
        with contextlib.suppress(Refusal):  # verify tells of those that are broken
            attempt = noted(path)
            found |= dict.fromkeys(attempt["runs"], attempt)
    return found


def planned(
    plan: Mapping[str, Any],
) -> Iterator[tuple[str, str, int, Mapping[str, Any]]]:
    """Run id, arm, seed and treatment of each run of a plan."""
    for part, seeds in (("runs", "seeds"), ("search", "search_seeds")):
        for arm in plan["arms"]:
            for name, seed in zip(arm.get(part, []), plan[seeds], strict=True):
                changed = plan["search_changes"] if part == "search" else {}
                treatment = {**arm["treatment"], **changed}
                label = arm["name"] + (" (search)" if changed else "")
                yield name, label, seed, treatment


def shown(plan: Mapping[str, Any]) -> set[str]:
    """The runs that are published with their weights: the first seed of the reference,
    and of its opposite where the arms lead to one."""
    arms = plan["arms"][:1] if plan["kind"] in ALONE else plan["arms"]
    return {arm["runs"][0] for arm in (arms[0], arms[-1])}


def progress(output_dir: str, plan: Mapping[str, Any]) -> list[Run]:
    """Every run of a plan with its state."""
    failures = attempts(output_dir)
    done = {n: brief(one) for n in plan["runs"] if (one := peek(output_dir, n))}
    folder, others = Path(output_dir) / plan["study"], dict[str, Record]()
    done |= kept(folder, set(plan["runs"]) - done.keys(), published(folder))
    if set(plan["runs"]) - done.keys():
        for name in store.aside(output_dir) - done.keys() - failures.keys():
            failures[name] = {"cause": "its files were moved to quarantine/"}
        for one in sound(output_dir):
            others[store.digest([one["treatment"], one["seed"]])] = one
    return [
        state(*one, done=done, failures=failures, others=others)
        for one in planned(plan)
    ]


def state(
    name: str,
    arm: str,
    seed: int,
    treatment: Mapping[str, Any],
    done: Mapping[str, Record],
    failures: Mapping[str, Record],
    others: Mapping[str, Record],
) -> Run:
    """A run's state, from the records, the failed attempts and other code's records."""
    if name in done:
        one = done[name]
        seconds, error = one["seconds"], one["response"]["test_error"]
        if one["status"] == "finished":
            return Run(name, arm, seed, "done", "", seconds, error)
        why = f"at step {one['diverged_step']}"
        return Run(name, arm, seed, "diverged", why, seconds)
    if name in failures:
        return Run(name, arm, seed, "failed", str(failures[name]["cause"]))
    identity = store.digest([treatment, seed])
    if identity in others:
        commit = str(others[identity]["code"]["commit"])[:10]
        why = f"trained by other code or data (commit {commit}): would be made again"
        return Run(name, arm, seed, "stale", why)
    return Run(name, arm, seed, "missing", "never trained")


def brief(one: Record) -> Record:
    """What `state` asks of a record: ten thousand whole ones fill the memory."""
    return {key: one[key] for key in ("status", "seconds", "response", "diverged_step")}


def sound(output_dir: str) -> Iterator[Record]:
    """The records of an output directory that verify."""
    for name in store.finished(output_dir):
        if one := peek(output_dir, name):
            yield one


def peek(output_dir: str, name: str) -> Record | None:
    """A run's record if it verifies; a broken one is left for those who write."""
    try:
        return store.of_run(store.record_path(output_dir, name), name)
    except Refusal:
        return None


def summary(plan: Mapping[str, Any], runs: Sequence[Run]) -> str:
    """One line: how many runs of the plan are in which state."""
    count = Counter(run.state for run in runs)
    done = count["done"] + count["diverged"]
    others = [f"{count[state]} {state}" for state in STATES[1:] if count[state]]
    seconds = sum(run.seconds for run in runs)
    text = ", ".join([f"{done} of {len(runs)} runs done", *others])
    return f"study {plan['study']}: {text}; {seconds:,.0f} s of training so far"
