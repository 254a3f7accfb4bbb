"""The sealed record of one run: what it was, what came out, and how to load it.

A run is finished if and only if its record.json is there and its seal, the SHA-256 of
everything else in it, is right. A record is written whole or not at all, after its
weights; nothing that is finished is ever written again.
"""

import ast
import base64
import contextlib
import fcntl
import functools
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from lenet.config import Config, Refusal
from lenet.data import Data
from lenet.model import STRUCTURE, LeNet5
from lenet.stack import Result

SCHEMA = 1
Record = dict[str, Any]
# What training computes with: an edit of these files, comments and docstrings aside,
# makes another run of the same treatment and seed.
CODE = (
    *("draw.py", "data.py", "model.py", "curvature.py", "pattern.py"),
    *("compiled.py", "stack.py"),
    "factor/*.py",
)


def run_id(config: Config, data: Data) -> str:
    """The name of a run: a hash of its treatment, seed, data and training code."""
    identity = [dict(config.treatment), config.seed, data.sha256, fingerprint()]
    return digest(identity)[:16]


def digest(content: Any) -> str:
    """The SHA-256 of plain content in its canonical JSON form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@functools.cache
def fingerprint() -> str:
    """The hash of the syntax trees of the training code, without docstrings."""
    root = Path(__file__).parent
    paths = sorted(path for pattern in CODE for path in root.glob(pattern))
    return digest([syntax(path.read_text(encoding="utf-8")) for path in paths])


def syntax(source: str) -> str:
    """A module's syntax tree as text, without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and is_text(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]  # it has a body
    return ast.dump(tree)


def is_text(node: ast.AST) -> bool:
    """Whether a statement is nothing but a string."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def folder(output_dir: str, name: str) -> Path:
    """Where a run's record and weights lie."""
    return Path(output_dir) / "runs" / name


def prepare(output_dir: str) -> None:
    """Make the folder of the runs; a Refusal (3) if none can be written there."""
    place = Path(output_dir) / "runs"
    try:
        place.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=place).close()
    except OSError as problem:
        raise Refusal(f"{place} cannot be written: {problem.strerror}", 3) from None


def write(
    output_dir: str,
    config: Config,
    data: Data,
    result: Result,
    stack: dict[str, Any],
) -> Record:
    """Write a run's weights, then its sealed record, and return the record.

    stack: size, position, threads and device of the stack it was trained in. Another
    process may have written the same run meanwhile: the first one's record stays.
    """
    place = folder(output_dir, run_id(config, data))
    finished = result.diverged_step is None
    weights = save_tensors(dict(result.weights)) if finished else None
    record: Record = {
        "schema": SCHEMA,
        "run_id": place.name,
        "status": "finished" if finished else "diverged",
        "diverged_step": result.diverged_step,
        "treatment": dict(config.treatment),
        "seed": config.seed,
        "response": {"test_error": error(result) if finished else None},
        "curve": result.curve,
        "step_sizes": result.step_sizes,
        "right": packed(result.right.numpy()) if finished else None,
        "images": len(result.right),
        "stack": stack,
        "code": {"fingerprint": fingerprint(), **commit()},
        "data": data.sha256,
        "weights": hashlib.sha256(weights).hexdigest() if weights else None,
        "versions": versions(),
        "hardware": hardware(stack["device"]),
        "seconds": result.seconds,
    }
    record["seal"] = digest(record)
    text = json.dumps(record, indent=1, allow_nan=False)
    try:
        place.mkdir(parents=True, exist_ok=True)
        with alone_in(place):
            if not (place / "record.json").exists():
                # Weights without a record are what a killed attempt left behind.
                (place / "model.safetensors").unlink(missing_ok=True)
                if weights:
                    publish(place / "model.safetensors", weights)
                publish(place / "record.json", text.encode())
    except OSError as problem:
        raise Refusal(f"{place} cannot be written: {problem.strerror}", 3) from None
    return read(place / "record.json")


@contextlib.contextmanager
def alone_in(place: Path) -> Iterator[None]:
    """Hold a folder against other processes; the kernel frees it if this one dies."""
    handle = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def publish(path: Path, content: bytes) -> None:
    """Write a file so that it is there whole or not at all; the first writer wins."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            os.fchmod(handle, 0o644)  # mkstemp lets nobody else read
            file.flush()
            os.fsync(file.fileno())
        os.link(name, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(name)
    parent = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def error(result: Result) -> float:
    """The share of the test images that a run gets wrong after its last epoch."""
    return int((~result.right).sum()) / len(result.right)


def packed(right: "np.ndarray[Any, np.dtype[np.bool_]]") -> str:
    """Booleans as base64 text of packed bits."""
    return base64.b64encode(np.packbits(right).tobytes()).decode()


def unpacked(text: str, count: int) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """The inverse of packed."""
    bits = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.unpackbits(bits, count=count).astype(bool)


def commit() -> dict[str, Any]:
    """The commit that the code stands at and whether it was edited, if git knows."""
    root = Path(__file__).parent.parent
    commands = (["rev-parse", "HEAD"], ["status", "--porcelain", "--", "lenet", "conf"])
    try:
        head, status = (
            subprocess.run(
                ["git", "-C", str(root), *command],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for command in commands
        )
    except (OSError, subprocess.SubprocessError):
        return {"commit": None, "dirty": None}
    return {"commit": head, "dirty": bool(status)}


def versions() -> dict[str, str]:
    """The versions that a result may depend on."""
    found = {"python": platform.python_version()}
    for name in ("lenet", "torch", "numpy", "scikit-learn"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # lenet in a checkout, not installed
            found[name] = "not installed"
    return found


def hardware(device: str) -> str:
    """The processor or GPU that computed."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def read(path: Path) -> Record:
    """The record in a file, if its seal is right and its schema is known."""
    try:
        record = json.loads(path.read_bytes())
        seal = record.pop("seal")
        found = digest(record)
    except OSError as problem:
        raise Refusal(f"{path} cannot be read: {problem.strerror}", 3) from None
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as problem:
        raise Refusal(f"{path} is no record: {problem!r}", 4) from None
    if seal != found:
        raise Refusal(f"{path} was changed after it was written: its seal is wrong", 4)
    if record["schema"] != SCHEMA:
        raise Refusal(
            f"{path} has schema {record['schema']}, this is schema {SCHEMA}: use lenet "
            f"{record['versions']['lenet']}, which wrote it, or another output_dir"
        )
    return {**record, "seal": seal}


def find(output_dir: str, name: str) -> Record | None:
    """The record of a run, None if it is not finished.

    One that does not verify is moved to quarantine/, so that the run is made again;
    one that cannot be read, or has another schema, stays where it is: a Refusal.
    """
    place = folder(output_dir, name)
    if not (place / "record.json").exists():
        return None
    try:
        record = read(place / "record.json")
        if record["run_id"] != name:
            raise Refusal(f"{place} holds the record of {record['run_id']}", 4)
        return record
    except Refusal as problem:
        if problem.code != 4:
            raise
        aside = Path(output_dir) / "quarantine"
        try:
            aside.mkdir(exist_ok=True)
            place.rename(Path(tempfile.mkdtemp(dir=aside, prefix=f"{name}-")) / name)
        except OSError as cause:
            where = f"and cannot be moved to {aside}: {cause.strerror}"
            raise Refusal(f"{problem}; {where}", 3) from None
        print(f"{problem}; moved to {aside}, the run is made again", file=sys.stderr)
        return None


def records(output_dir: str) -> Iterator[Record]:
    """Every finished run of an output directory, by run id."""
    for path in sorted((Path(output_dir) / "runs").glob("*/record.json")):
        yield read(path)


def frame(found: Sequence[Record]) -> pd.DataFrame:
    """One row per run: run_id, seed, status, test_error, right, and every factor."""
    rows = [
        {
            **record["treatment"],
            "run_id": record["run_id"],
            "seed": record["seed"],
            "status": record["status"],
            "seconds": record["seconds"],
            **record["response"],
            "right": unpacked(record["right"], record["images"])
            if record["right"]
            else None,
        }
        for record in found
    ]
    return pd.DataFrame(rows)


def load(found: Sequence[Record], output_dir: str) -> LeNet5:
    """The trained stack of these runs, in order, from their weights.

    Hash first: the file is not read as tensors unless it is what the record says.
    """
    levels = [{key: record["treatment"][key] for key in STRUCTURE} for record in found]
    if not found or any(other != levels[0] for other in levels):
        raise Refusal("a stack is loaded from runs that share their structure")
    states = []
    for record in found:
        path = folder(output_dir, record["run_id"]) / "model.safetensors"
        if record["weights"] is None:
            raise Refusal(f"run {record['run_id']} diverged: it has no weights")
        try:
            content = path.read_bytes()
        except OSError as problem:
            raise Refusal(f"{path} cannot be read: {problem.strerror}", 3) from None
        if hashlib.sha256(content).hexdigest() != record["weights"]:
            raise Refusal(f"{path} is not what was trained: its SHA-256 is wrong", 4)
        states.append(load_tensors(content))
    model = LeNet5(len(found), **levels[0])
    model.load_state_dict(
        {key: torch.stack([state[key] for state in states]) for key in states[0]}
    )
    return model.eval()


def select(run: str, output_dir: str) -> Record:
    """The record that a unique prefix of a run id, or a run's folder, means."""
    if (Path(run) / "record.json").is_file():
        return read(Path(run) / "record.json")
    names = [path.parent.name for path in Path(output_dir).glob("runs/*/record.json")]
    matches = [name for name in names if name.startswith(run)]
    if len(matches) != 1:
        raise Refusal(
            f"run={run} fits {len(matches)} of the {len(names)} runs in {output_dir}: "
            "give more of the run id, or a run's folder"
        )
    return read(folder(output_dir, matches[0]) / "record.json")
