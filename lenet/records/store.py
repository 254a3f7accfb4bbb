"""The files of finished runs: sealed, whole or absent, never written twice.

A run is finished if and only if its record.json is there and its seal, the SHA-256 of
everything else in it, is right. Whoever works on a run holds the lock in its folder,
which the kernel frees with the process. Nothing here knows what a run computes, so that
looking through ten thousand of them does not wait for torch.
"""

import base64
import contextlib
import errno
import functools
import gc
import gzip
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from lenet import lock
from lenet.config import Refusal
from lenet.records.shapes import Record as Record
from lenet.records.shapes import checked
from lenet.training.edition import identity as settled

SCHEMA = 1
RUN = re.compile("[0-9a-f]{16}")  # the name of a run's folder
SEAL = len(',"seal":"') + 64 + len('"}')  # bytes at the end of a sealed text
LOCK, PROBE = ".lock", ".probe"
GONE = 100  # times in a row that a folder may vanish: then it is no folder at all
# What comes with lenet, <name>.json and <name>.safetensors, in every command a run=.
PUBLISHED = Path(__file__).parents[1] / "interpret" / "weights"
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
NO_SYNC = (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS)  # of folders, over a network


@contextlib.contextmanager
def without_garbage_collection() -> Iterator[None]:
    """While many records are read, Python looks for no cycles: JSON has none, and it
    would look through ten thousand records again and again."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def canonical(content: Any) -> str:
    """Plain content as the one JSON text that it has."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(content: Any) -> str:
    """The SHA-256 of plain content in its canonical JSON form."""
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content with its seal."""
    return {**content, "seal": digest(content)}


def text(whole: Mapping[str, Any]) -> bytes:
    """Sealed content as the text of a file: in canonical form, but for the seal, which
    comes last, so that whoever reads it need not bring it into that form again."""
    return f'{canonical(without_seal(whole))[:-1]},"seal":"{whole["seal"]}"}}'.encode()


def unsealed(text: bytes, name: str) -> dict[str, Any]:
    """The content under a seal, with it; a Refusal (4) unless the seal is right."""
    try:
        content: dict[str, Any] = json.loads(text)
        seal = content["seal"]
        right = as_written(text) == seal or digest(without_seal(content)) == seal
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as problem:
        raise Refusal(f"{name} is no record: {problem!r}", 4) from None
    if not right:
        raise Refusal(f"{name} was changed after it was written: its seal is wrong", 4)
    plain = b"\\" not in text and text.isascii() and b"\x7f" not in text
    if not plain and odd(names_in(content)):
        raise Refusal(
            f"{name} has control characters in a text, which lenet writes nowhere", 4
        )
    return content


def names_in(content: Mapping[str, Any]) -> dict[str, Any]:
    """All of a record, plan or note, but not the lines that a failed attempt said."""
    return {key: value for key, value in content.items() if key != "said"}


def odd(content: Any) -> bool:
    """Whether a text in what JSON holds, or a key, cannot be printed as it is."""
    if isinstance(content, dict):
        return any(map(odd, content)) or any(map(odd, content.values()))
    if isinstance(content, list):
        return any(map(odd, content))
    return isinstance(content, str) and not content.isprintable()


def as_written(text: bytes) -> str:
    """The seal of a text that `text` made, in a tenth of the time of `digest`."""
    return hashlib.sha256(text.strip()[:-SEAL] + b"}").hexdigest()


def without_seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """What a seal is of."""
    return {key: value for key, value in content.items() if key != "seal"}


def folder(output_dir: str, name: str) -> Path:
    """Where a run's record and weights lie."""
    return Path(output_dir) / "runs" / name


def record_path(output_dir: str, name: str) -> str:
    """Where a run's record lies: a text, since ten thousand Paths take their time."""
    return f"{output_dir}/runs/{name}/record.json"


def check(output_dir: str) -> None:
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
        raise unwritable(place, problem) from None
    foreign = {name for name in held if not name.startswith(".")}
    if foreign and not (any(place.glob("*/plan.json")) or ours(place)):
        raise Refusal(
            f"output_dir={output_dir} holds other things ({min(foreign)}) and no runs: "
            "name a new folder, or an empty one"
        )


def ours(place: Path) -> bool:
    """Whether a folder has runs, and none but runs, where an output directory has them;
    or what Hydra's multirun leaves before there are any."""
    names = [path.name for path in place.glob("runs/*") if path.name[0] != "."]
    made = (place / "runs").is_dir() or (place / "multirun").is_dir()
    return made and all(map(RUN.fullmatch, names))


def prepare(output_dir: str) -> None:
    """Make the folder of the runs; a Refusal (3) if none can be written there.

    Everything that writing a run takes is tried here, where no training is lost by it.
    """
    check(output_dir)
    place = Path(output_dir) / "runs"
    try:
        place.mkdir(parents=True, exist_ok=True)
        for above in (place.parent, *place.absolute().parent.parents[:2]):
            settle(above)
        handle = lock.take(place / LOCK)
        try:
            publish(place / PROBE, b"")
        finally:
            (place / PROBE).unlink(missing_ok=True)
            if handle is not None:
                lock.free(place / LOCK, handle)
    except OSError as problem:
        raise unwritable(place, problem) from None


def unwritable(place: Path, problem: OSError) -> Refusal:
    """The Refusal (3) for a place that cannot be written, with the space left on it."""
    there = place
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free / 1e6
    cause = problem.strerror or str(problem)
    return Refusal(
        f"{place} cannot be written: {cause} ({free:,.0f} MB free); make it writable "
        "or free some space, then give the same command again",
        3,
    )


@contextlib.contextmanager
def claim(output_dir: str, names: Sequence[str]) -> Iterator[list[str]]:
    """Hold runs against other processes; yields those that nobody else holds.

    A folder in which nothing is left is removed.
    """
    held: dict[Path, int] = {}
    try:
        for name in names:
            handle = hold(folder(output_dir, name))
            if handle is not None:
                held[folder(output_dir, name)] = handle
        yield [place.name for place in held]
    finally:
        for place, handle in held.items():
            lock.free(place / LOCK, handle)
            with contextlib.suppress(OSError):
                place.rmdir()


def hold(place: Path) -> int | None:
    """A handle that locks a run's folder; None while another process has the lock."""
    tries = 0
    while True:
        try:
            place.mkdir(parents=True, exist_ok=True)
            return lock.take(place / LOCK)
        except OSError as problem:
            # Moved to quarantine, or removed, after mkdir made it or saw it there.
            gone = isinstance(problem, FileExistsError) or lock.is_gone(problem)
            tries += 1
            if not gone or tries > GONE:
                raise unwritable(place, problem) from None


def busy(output_dir: str, names: Iterable[str]) -> bool:
    """Whether another process holds one of these runs."""
    return any(lock.is_held(folder(output_dir, name) / LOCK) for name in names)


def holders(output_dir: str, names: Iterable[str]) -> str:
    """A line for each process that holds some of these runs: which, since when."""
    by_holder: dict[str, list[str]] = {}
    for name in names:
        who = lock.holder(folder(output_dir, name) / LOCK)
        by_holder.setdefault(who, []).append(name)
    return "\n".join(
        f"waiting for {len(held)} runs, {held[0]} the first: {who}"
        for who, held in by_holder.items()
    )


def write(output_dir: str, record: Record, weights: bytes | None) -> Record:
    """Write a claimed run's weights, then its record; returns the record with seal.

    A run that is finished stays as it is: its first record is returned.
    """
    place = folder(output_dir, record["run_id"])
    path, whole = place / "record.json", sealed(record)
    if path.exists():
        return read(path)
    try:
        place.mkdir(parents=True, exist_ok=True)
        for left in [*place.glob(".*.*"), place / "model.safetensors"]:
            left.unlink(missing_ok=True)  # by an attempt that was killed
        if weights:
            publish(place / "model.safetensors", weights)
        publish(path, text(whole))
        settle(place.parent)  # where the name of its folder is
    except OSError as problem:
        raise unwritable(place, problem) from None
    return cast(Record, whole)


def publish(path: Path, content: bytes) -> None:
    """Write a new file so that it is there whole or not at all; the first one stays.

    Where there are no hard links it is renamed: as safe while its folder is locked.
    """
    name = written(path, content)
    try:
        os.link(name, path)
    except FileExistsError:
        pass
    except OSError as problem:
        if problem.errno not in NO_LINKS:
            raise
        if not path.exists():
            os.rename(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    settle(path.parent)


def replace(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old one or the new one, whole."""
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        name = written(path, content)
        os.replace(name, path)
        settle(path.parent)
        settle(path.absolute().parent.parent)
    except OSError as problem:
        if name:
            Path(name).unlink(missing_ok=True)
        raise unwritable(path, problem) from None


def written(path: Path, content: bytes) -> str:
    """The name of a temporary file beside `path` that holds the content for good."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(handle, 0o644)  # mkstemp lets nobody else read
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        os.unlink(name)
        raise
    return name


def settle(place: Path) -> None:
    """Have the names in a folder outlast a loss of power."""
    try:
        handle = os.open(place, os.O_RDONLY)
    except PermissionError:  # of somebody above: what may not be read is not synced
        return
    try:
        os.fsync(handle)
    except OSError as problem:
        if problem.errno not in NO_SYNC:
            raise
    finally:
        os.close(handle)


def bytes_of(path: Path | str) -> bytes:
    """What is in a file; a Refusal (3) if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as problem:
        raise Refusal(f"{path} cannot be read: {problem.strerror}", 3) from None


def read(path: Path | str) -> Record:
    """The record in a file, if its seal is right and its schema is known."""
    text = bytes_of(path)
    return known(unsealed(text, str(path)), path)


def known(record: Mapping[str, Any], path: Path | str) -> Record:
    """The record, if its schema is known and its content is that of a record."""
    schema, versions = record.get("schema"), record.get("versions")
    if isinstance(schema, int) and isinstance(versions, dict) and schema != SCHEMA:
        raise Refusal(
            f"{path} has schema {schema}, this is schema {SCHEMA}: use lenet "
            f"{versions.get('lenet')}, which wrote it, or another output_dir"
        )
    shaped = checked(record, Record, f"{path}: the record")
    error, right = shaped["response"].get("test_error"), shaped["right"]
    if right is not None and error != share_wrong(right, shaped["images"]):
        raise Refusal(
            f"{path} was changed: its test error {error} is not that of the images "
            "that it says are right",
            4,
        )
    return shaped


def share_wrong(right: str, images: int) -> float | None:
    """The share of the images whose bit is not set, in base64 text of packed bits."""
    try:
        count = int.from_bytes(base64.b64decode(right)).bit_count()
    except ValueError:
        return None
    return (images - count) / images if images else None


def find(output_dir: str, name: str, published: Record | None = None) -> Record | None:
    """The record of a run, None if it is not finished.

    published: a record that was read; a file of the same bytes need not be.
    One that does not verify is moved to quarantine/, so that the run is made again;
    one that cannot be read, or has another schema, stays where it is: a Refusal.
    """
    path = record_path(output_dir, name)
    if not os.path.exists(path):
        return None
    try:
        return of_run(path, name, published)
    except Refusal as problem:
        if problem.code != 4:
            raise
        return quarantine(output_dir, name)


def of_run(path: Path | str, name: str, published: Record | None = None) -> Record:
    """The record in a file, if it is that of this run."""
    alike = published is not None and bytes_of(path) == text(published)
    record = published if published is not None and alike else read(path)
    if record["run_id"] != name:
        raise Refusal(f"{path} holds the record of {record['run_id']}", 4)
    if identity(record) != name:
        raise Refusal(f"{path} was changed: its run id is not that of its treatment", 4)
    return record


def identity(record: Record) -> str:
    """The run id that follows from what a record says, as contents.run_id makes it."""
    code = record.get("edition", record["code"].get("fingerprint"))
    treatment = settled(record["treatment"])
    return digest([treatment, record["seed"], record["data"], code])[:16]


def weights_path(output_dir: str, name: str) -> Path:
    """Where a run's weights are, or would be: beside its record, or published."""
    own = folder(output_dir, name) / "model.safetensors"
    if own.exists():
        return own
    studies = Path(output_dir).glob(f"*/weights/{name}.safetensors")
    return next(studies, None) or packaged(PUBLISHED).get(name, own)


@functools.cache
def packaged(place: Path) -> dict[str, Path]:
    """The weights that come with lenet, by the ids of their runs."""
    paths = place.glob("*.json")
    return {read(one)["run_id"]: one.with_suffix(".safetensors") for one in paths}


def networks() -> list[str]:
    """The names of the networks whose weights come with lenet."""
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
    place = folder(output_dir, name)
    try:
        expected = of_run(place / "record.json", name)["weights"]
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
    place, aside = folder(output_dir, name), Path(output_dir) / "quarantine"
    with claim(output_dir, [name]) as mine:
        if not mine or not (place / "record.json").exists():
            return None
        problem = fault(output_dir, name)
        if not problem:
            return of_run(place / "record.json", name)
        try:
            aside.mkdir(exist_ok=True)
            place.rename(Path(tempfile.mkdtemp(dir=aside, prefix=f"{name}-")) / name)
        except OSError as cause:
            where = f"and cannot be moved to {aside}: {cause.strerror}"
            raise Refusal(f"{problem}; {where}", 3) from None
    print(f"{problem}; moved to {aside}, the run is made again", file=sys.stderr)
    return None


def aside(output_dir: str) -> set[str]:
    """The ids of the runs that were moved to quarantine/ at some time."""
    return {
        path.name.rpartition("-")[0] for path in Path(output_dir).glob("quarantine/*")
    }


def finished(output_dir: str) -> list[str]:
    """The ids of the runs that have a record."""
    try:
        names = os.listdir(Path(output_dir) / "runs")
    except OSError:
        return []
    return sorted(n for n in names if os.path.exists(record_path(output_dir, n)))


def records(output_dir: str) -> Iterator[Record]:
    """Every finished run of an output directory, by run id."""
    for name in finished(output_dir):
        yield read(record_path(output_dir, name))


@without_garbage_collection()
def published(path: Path) -> list[Record]:
    """The records that a study was published with, each with the right seal."""
    packed = bytes_of(path)
    try:
        lines = gzip.decompress(packed).splitlines()
    except (OSError, EOFError, zlib.error) as problem:
        raise Refusal(f"{path} is damaged: {problem}", 4) from None
    if not lines:
        raise Refusal(f"{path} is damaged: it is empty", 4)
    return [known(unsealed(line, f"a line of {path}"), path) for line in lines]


def select(run: str, output_dir: str) -> Record:
    """The record that a unique prefix of a run id, or a run's folder, means: of a run
    that was trained here or, if it fits none, of a published one; or that of a network
    which comes with lenet, by its name."""
    if run in networks():
        return read(PUBLISHED / f"{run}.json")
    with contextlib.suppress(OSError):  # too long for a path: a prefix, or nothing
        if (Path(run) / "record.json").is_file():
            return read(Path(run) / "record.json")
    names = finished(output_dir)
    matches = [name for name in names if name.startswith(run)]
    if len(matches) == 1:
        return read(folder(output_dir, matches[0]) / "record.json")
    studies = () if matches else sorted(Path(output_dir).glob("*/records.jsonl.gz"))
    every = {record["run_id"]: record for path in studies for record in published(path)}
    others = [name for name in every if name.startswith(run)]
    if len(others) == 1:
        return every[others[0]]
    fits, count = len(matches or others), len({*names, *every})
    raise Refusal(
        f"run={run} fits {fits} of the {count} runs in {output_dir}: "
        "give more of the run id, a run's folder, or what comes with lenet: "
        f"{', '.join(networks())}"
    )
