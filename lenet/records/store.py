"""The files of finished runs: sealed, whole or absent, never written twice.

A run is finished if and only if its record.json is there and its seal, the SHA-256 of
everything else in it, is right. Whoever works on a run holds the lock in its folder,
which the kernel frees with the process. Nothing here knows what a run computes, so that
looking through ten thousand of them does not wait for torch.
"""

import base64
import contextlib
import functools
import gzip
import hashlib
import os
import re
import sys
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from lenet import file_lock
from lenet.config import Refusal
from lenet.records import atomic_files, run_lock, seal
from lenet.records.record_types import Point, of_shape
from lenet.records.record_types import Record as Record
from lenet.records.run_lock import LOCK as LOCK
from lenet.records.run_lock import run_folder as run_folder
from lenet.training.edition import identity as settled

SCHEMA = 1
RUN = re.compile("[0-9a-f]{16}")  # the name of a run's folder
PROBE = ".probe"
# What comes with lenet, <name>.json and <name>.safetensors, in every command a run=.
PUBLISHED = Path(__file__).parents[1] / "interpret" / "weights"


def record_path(output_dir: str, name: str) -> str:
    """Where a run's record lies: a text, since ten thousand Paths take their time.

    >>> record_path("outputs", "1c95a0b1c2d3e4f5")
    'outputs/runs/1c95a0b1c2d3e4f5/record.json'
    """
    return f"{output_dir}/runs/{name}/record.json"


def refuse_unusable_output_dir(output_dir: str) -> None:
    """A Refusal unless this folder is, or may become, a place for runs."""
    try:
        place = Path(output_dir).expanduser().resolve()
        there = place.exists()
    except (OSError, RuntimeError) as problem:  # may not be searched; a loop of links
        raise Refusal(f"output_dir={output_dir} leads nowhere: {problem}", 3) from None
    if place in (Path("/"), Path.home()):
        raise Refusal(f"output_dir={output_dir} is {place}: name a folder in it")
    if there and not place.is_dir():
        raise Refusal(f"output_dir={output_dir} is a file: name a folder")
    try:
        held = {path.name for path in place.iterdir()} if there else set()
    except OSError as problem:
        raise atomic_files.unwritable(place, problem) from None
    foreign = {name for name in held if not name.startswith(".")}
    if foreign and not (any(place.glob("*/plan.json")) or is_output_dir(place)):
        raise Refusal(
            f"output_dir={output_dir} holds other things ({min(foreign)}) and no runs: "
            "name a new folder, or an empty one"
        )


def is_output_dir(place: Path) -> bool:
    """Whether a folder has runs, and none but runs, where an output directory has them;
    or what Hydra's multirun leaves before there are any."""
    names = [path.name for path in place.glob("runs/*") if path.name[0] != "."]
    made = (place / "runs").is_dir() or (place / "multirun").is_dir()
    return made and all(map(RUN.fullmatch, names))


def prepare(output_dir: str) -> None:
    """Make the folder of the runs; a Refusal (3) if none can be written there.

    Everything that writing a run takes is tried here, where no training is lost by it.
    """
    refuse_unusable_output_dir(output_dir)
    place = Path(output_dir) / "runs"
    try:
        place.mkdir(parents=True, exist_ok=True)
        for above in (place.parent, *place.absolute().parent.parents[:2]):
            atomic_files.settle(above)
        # A lock, and a file that is put in place by a link or else a rename: all that a
        # run will need at its end.
        handle = file_lock.take_lock(place / LOCK)
        try:
            atomic_files.publish_file(place / PROBE, b"")
        finally:
            (place / PROBE).unlink(missing_ok=True)
            if handle is not None:
                file_lock.free(place / LOCK, handle)
    except OSError as problem:
        raise atomic_files.unwritable(place, problem) from None


def write_record(output_dir: str, record: Record, weights: bytes | None) -> Record:
    """Write a claimed run's weights, then its record; returns the record with seal.

    A run that is finished stays as it is: its first record is returned.
    """
    place = run_folder(output_dir, record["run_id"])
    path, whole = place / "record.json", seal.sealed(record)
    if path.exists():
        return read_record(path)
    try:
        place.mkdir(parents=True, exist_ok=True)
        # Temporary files are called .<name>.<random>, which .lock is not.
        for left in [*place.glob(".*.*"), place / "model.safetensors"]:
            left.unlink(missing_ok=True)  # by an attempt that was killed
        # Weights before the record: with its record a run is finished, and then has
        # both.
        if weights:
            atomic_files.publish_file(place / "model.safetensors", weights)
        atomic_files.publish_file(path, seal.seal_text(whole))
        atomic_files.settle(place.parent)  # where the name of its folder is
    except OSError as problem:
        raise atomic_files.unwritable(place, problem) from None
    return cast(Record, whole)


def read_record(path: Path | str) -> Record:
    """The record in a file, if its seal is right and its schema is known."""
    text = atomic_files.bytes_of(path)
    return checked_record(seal.unsealed(text, str(path)), path)


def checked_record(record: Mapping[str, Any], path: Path | str) -> Record:
    """The record, if its schema is known and its content is that of a record."""
    schema, versions = record.get("schema"), record.get("versions")
    if isinstance(schema, int) and isinstance(versions, dict) and schema != SCHEMA:
        raise Refusal(
            f"{path} has schema {schema}, this is schema {SCHEMA}: use lenet "
            f"{versions.get('lenet')}, which wrote it, or another output_dir"
        )
    shaped = of_shape(record, Record, f"{path}: the record")
    about = f"{path}: a point of the curve"
    for point in shaped["curve"]:  # 30 us for twenty passes
        of_shape(point, Point, about)
    # The shape and the seal do not tell whether the parts fit: the error must be that
    # of the bits.
    error, right = shaped["response"].get("test_error"), shaped["right"]
    if right is not None and error != share_wrong(right, shaped["images"]):
        raise Refusal(
            f"{path} was changed: its test error {error} is not that of the images "
            "that it says are right",
            4,
        )
    return shaped


def share_wrong(right: str, images: int) -> float | None:
    """The share of the images whose bit is not set, in base64 text of packed bits.

    >>> bits = base64.b64encode(bytes([0b11110000, 0b11000000])).decode()
    >>> share_wrong(bits, images=10)
    0.4
    """
    try:
        count = int.from_bytes(base64.b64decode(right)).bit_count()
    except ValueError:
        return None
    return (images - count) / images if images else None


def finished_record(
    output_dir: str, name: str, published: Record | None = None
) -> Record | None:
    """The record of a run, None if it is not finished.

    published: a record that was read; a file of the same bytes need not be.
    One that does not verify is moved to quarantine/, so that the run is made again;
    one that cannot be read, or has another schema, stays where it is: a Refusal.
    """
    path = record_path(output_dir, name)
    if not os.path.exists(path):
        return None
    try:
        return record_of_run(path, name, published)
    except Refusal as problem:
        # Only what is certainly damaged is moved (4). A disk that cannot be read now
        # (3) may be read later, and another schema (2) is another version's.
        if problem.code != 4:
            raise
        return quarantine(output_dir, name)


def record_of_run(
    path: Path | str, name: str, published: Record | None = None
) -> Record:
    """The record in a file, if it is that of this run."""
    # The bytes of a record that was checked need no second check.
    alike = published is not None and atomic_files.bytes_of(path) == seal.seal_text(
        published
    )
    record = published if published is not None and alike else read_record(path)
    if record["run_id"] != name:
        raise Refusal(f"{path} holds the record of {record['run_id']}", 4)
    if id_of_record(record) != name:
        raise Refusal(f"{path} was changed: its run id is not that of its treatment", 4)
    return record


def id_of_record(record: Record) -> str:
    """The run id that follows from what a record says, as run_record.run_id has it."""
    code = record.get("edition", record["code"].get("fingerprint"))
    treatment = settled(record["treatment"])
    return seal.digest([treatment, record["seed"], record["data"], code])[:16]


def weights_path(output_dir: str, name: str) -> Path:
    """Where a run's weights are, or would be: beside its record, or published."""
    own = run_folder(output_dir, name) / "model.safetensors"
    if own.exists():
        return own
    studies = Path(output_dir).glob(f"*/weights/{name}.safetensors")
    return next(studies, None) or packaged(PUBLISHED).get(name, own)


@functools.cache
def packaged(place: Path) -> dict[str, Path]:
    """The weights that come with lenet, by the ids of their runs."""
    paths = place.glob("*.json")
    return {
        read_record(path)["run_id"]: path.with_suffix(".safetensors") for path in paths
    }


def networks() -> list[str]:
    """The names of the networks whose weights come with lenet.

    >>> networks()
    ['best', 'modern', 'paper']
    """
    return sorted(path.stem for path in PUBLISHED.glob("*.json"))


def weights(output_dir: str, record: Record) -> bytes:
    """A run's weights as they were trained: beside its record, or as published."""
    path = weights_path(output_dir, record["run_id"])
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise Refusal(
            f"{path} is not there, only the run's record is, as in a fresh clone: "
            "train it again into another folder, with output_dir=<folder>",
            3,
        ) from None
    except OSError as problem:
        raise Refusal(f"{path} cannot be read: {problem.strerror}", 3) from None
    if hashlib.sha256(content).hexdigest() != record["weights"]:
        raise Refusal(f"{path} is not what was trained: its SHA-256 is wrong", 4)
    return content


def fault(output_dir: str, name: str) -> str | None:
    """What is wrong with a finished run's record or weights, None if nothing is."""
    place = run_folder(output_dir, name)
    try:
        expected = record_of_run(place / "record.json", name)["weights"]
    except Refusal as problem:
        if problem.code != 4:
            raise
        return str(problem)
    return altered(place / "model.safetensors", expected)


def altered(path: Path, expected: str | None) -> str | None:
    """What is wrong with a file of weights, None if its SHA-256 is the expected one."""
    try:
        hashed = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        hashed = None
    except OSError as problem:
        raise Refusal(f"{path} cannot be read: {problem.strerror}", 3) from None
    if hashed == expected:
        return None
    return f"{path} is not what was trained: its SHA-256 is {hashed}, not {expected}"


def quarantine(output_dir: str, name: str) -> Record | None:
    """Move a broken run aside; its record, if another process has made it anew."""
    place, aside = run_folder(output_dir, name), Path(output_dir) / "quarantine"
    with run_lock.claim(output_dir, [name]) as mine:
        if not mine or not (place / "record.json").exists():
            return None
        # Looked at again under the lock: another process may have made it anew.
        problem = fault(output_dir, name)
        if not problem:
            return record_of_run(place / "record.json", name)
        try:
            aside.mkdir(exist_ok=True)
            # In a folder of its own, since one run may be moved aside more than once.
            place.rename(Path(tempfile.mkdtemp(dir=aside, prefix=f"{name}-")) / name)
        except OSError as cause:
            where = f"and cannot be moved to {aside}: {cause.strerror}"
            raise Refusal(f"{problem}; {where}", 3) from None
    print(f"{problem}; moved to {aside}, the run is made again", file=sys.stderr)
    return None


def quarantined_runs(output_dir: str) -> set[str]:
    """The ids of the runs that were moved to quarantine/ at some time."""
    return {
        path.name.rpartition("-")[0] for path in Path(output_dir).glob("quarantine/*")
    }


def finished_runs(output_dir: str) -> list[str]:
    """The ids of the runs that have a record."""
    try:
        names = os.listdir(Path(output_dir) / "runs")
    except OSError:
        return []
    return sorted(
        name for name in names if os.path.exists(record_path(output_dir, name))
    )


def finished_records(output_dir: str) -> Iterator[Record]:
    """Every finished run of an output directory, by run id."""
    for name in finished_runs(output_dir):
        yield read_record(record_path(output_dir, name))


@seal.without_garbage_collection()
def read_published(path: Path) -> list[Record]:
    """The records that a study was published with, each with the right seal."""
    packed = atomic_files.bytes_of(path)
    try:
        lines = gzip.decompress(packed).splitlines()
    except (OSError, EOFError, zlib.error) as problem:
        raise Refusal(f"{path} is damaged: {problem}", 4) from None
    if not lines:
        raise Refusal(f"{path} is damaged: it is empty", 4)
    return [
        checked_record(seal.unsealed(line, f"a line of {path}"), path) for line in lines
    ]


def select(run: str, output_dir: str) -> Record:
    """The record that a unique prefix of a run id, or a run's folder, means: of a run
    that was trained here or, if it fits none, of a published one; or that of a network
    which comes with lenet, by its name. A Refusal where it fits none, or several.

    >>> record = select("modern", "outputs")
    >>> record["treatment"]["activation"], record["response"]["test_error"]
    ('relu', 0.0063)
    >>> select("nothing", "outputs")
    Traceback (most recent call last):
    lenet.config.Refusal: run=nothing fits 0 of the ... runs in outputs: give more ...
    """
    if run in networks():
        return read_record(PUBLISHED / f"{run}.json")
    with contextlib.suppress(OSError):  # too long for a path: a prefix, or nothing
        if (Path(run) / "record.json").is_file():
            return read_record(Path(run) / "record.json")
    names = finished_runs(output_dir)
    matches = [name for name in names if name.startswith(run)]
    if len(matches) == 1:
        return read_record(run_folder(output_dir, matches[0]) / "record.json")
    # Only where no run of one's own fits: reading every published study takes its time.
    studies = () if matches else sorted(Path(output_dir).glob("*/records.jsonl.gz"))
    every = {
        record["run_id"]: record for path in studies for record in read_published(path)
    }
    others = [name for name in every if name.startswith(run)]
    if len(others) == 1:
        return every[others[0]]
    fits, count = len(matches or others), len({*names, *every})
    raise Refusal(
        f"run={run} fits {fits} of the {count} runs in {output_dir}: "
        "give more of the run id, a run's folder, or what comes with lenet: "
        f"{', '.join(networks())}"
    )
