"""The record of one run: what it was, what came out, and how to load it.

Whoever only looks for records need not wait for torch: what computes imports it.
"""

import base64
import contextlib
import functools
import hashlib
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from lenet.config import Config, Refusal, current
from lenet.known_data import Known
from lenet.records import store
from lenet.records.own_pictures import NONE, OwnPictures
from lenet.records.record_types import Code, Measured, Point, Record, StackPlace
from lenet.records.seal import digest
from lenet.records.store import SCHEMA
from lenet.training.edition import EDITION, identity
from lenet.training.edition import fingerprint as fingerprint

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import torch

    from lenet.training.data import Data
    from lenet.training.model import LeNet5
    from lenet.training.stack import Result


def run_id(config: Config, data: "Data | Known") -> str:
    """The name of a run: a hash of its treatment, seed, data and edition."""
    treatment = identity(dict(config.treatment))
    return digest([treatment, config.seed, data.sha256, EDITION])[:16]


def write_run(
    output_dir: str,
    config: Config,
    data: "Data",
    result: "Result",
    stack: StackPlace,
    own: OwnPictures = NONE,
) -> Record:
    """Write a claimed run's weights, then its sealed record, and return the record.

    stack: size, position, threads and device of the stack it was trained in. own: what
    is to be said of one's own pictures.
    """
    from safetensors.torch import save

    weights = save(dict(result.weights)) if stayed_finite(result) else None
    record = record_content(config, data, result, stack, weights)
    if own.class_names is not None:
        record["class_names"] = own.class_names
    if own.inverted is not None:
        record["inverted"] = own.inverted
    return store.write_record(output_dir, record, weights)


def record_content(
    config: Config,
    data: "Data",
    result: "Result",
    stack: StackPlace,
    weights: bytes | None,
) -> Record:
    """What a record says, but for its seal."""
    return {
        "schema": SCHEMA,
        "run_id": run_id(config, data),
        "edition": EDITION,
        "status": "finished" if stayed_finite(result) else "diverged",
        "diverged_step": result.diverged_step,
        "treatment": dict(config.treatment),
        "seed": config.seed,
        "response": responses(result),
        "curve": cast(list[Point], result.curve),
        "step_sizes": result.step_sizes,
        "right": packed_bits(result.right.numpy()) if stayed_finite(result) else None,
        "answers": packed_answers(result) if stayed_finite(result) else None,
        "images": len(result.right),
        "classes": data.classes,
        "stack": stack,
        "code": training_code(),
        "data": data.sha256,
        "weights": hashlib.sha256(weights).hexdigest() if weights else None,
        "versions": versions(),
        "hardware": hardware(stack["device"]),
        "portable": str(stack["device"]).startswith("cpu") and data.classes == 10,
        "seconds": result.seconds,
        "processor_seconds": result.processor_seconds,
    }


def stayed_finite(result: "Result") -> bool:
    """Whether a run's loss stayed finite."""
    return result.diverged_step is None


def responses(result: "Result") -> Measured:
    """What is measured after the last epoch; the held-out images only if there are."""
    response: Measured = {
        "test_error": last_error(result) if stayed_finite(result) else None
    }
    if result.curve and "validation_error" in result.curve[-1]:
        held_out = result.curve[-1]["validation_error"]
        response["validation_error"] = held_out if stayed_finite(result) else None
    return response


def test_error(record: Record) -> float:
    """The test error of a run that finished, a share of the test images."""
    error = record["response"]["test_error"]
    assert error is not None, f"run {record['run_id']} diverged"
    return error


def right_images(record: Record) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which test images a run that finished reads rightly, [image]."""
    assert record["right"] is not None, f"run {record['run_id']} diverged"
    return unpacked(record["right"], record["images"])


def last_error(result: "Result") -> float:
    """The share of the test images that a run gets wrong after its last epoch."""
    return int((~result.right).sum()) / len(result.right)


def portable(record: Record) -> bool:
    """Whether a run has the same bits on any processor and with any torch: those of
    edition 2 and later, of ten classes, trained on a processor in compiled loops."""
    return bool(record.get("portable", False))


def trained_with(records: Sequence[Record]) -> str:
    """What trained some runs, for a caption: edition, commits, "+" where code was not
    committed, and torch, each as it first appears."""
    dirty = {record["code"]["commit"] for record in records if record["code"]["dirty"]}
    commits = dict.fromkeys(record["code"]["commit"] for record in records)
    named = (f"{str(name)[:10]}{'+' if name in dirty else ''}" for name in commits)
    torch = dict.fromkeys(record["versions"]["torch"] for record in records)
    editions = dict.fromkeys(str(edition(record)) for record in records)
    return (
        f"edition {', '.join(editions)}, commit {', '.join(named)}, "
        f"torch {', '.join(torch)}"
    )


def edition(record: Record) -> int:
    """The edition of training that made a record."""
    return int(record.get("edition", 1))


def guessing(record: Record) -> float:
    """The error from which a run only guesses: of ten classes 0.8, where a guess errs
    in 0.9; of others as large a share of what a guess errs in."""
    classes = int(record.get("classes", 10))
    return 8 * (classes - 1) / (9 * classes)


def spent(record: Record) -> float:
    """The seconds that a run took: of processors, since edition 2; before that of the
    clock, divided among the runs of its stack."""
    return float(record.get("processor_seconds", record["seconds"]))


def packed_bits(right: "np.ndarray[Any, np.dtype[np.bool_]]") -> str:
    """Booleans as base64 text of packed bits."""
    import numpy as np

    return base64.b64encode(np.packbits(right).tobytes()).decode()


def packed_answers(result: "Result") -> str:
    """The class that a run gives each test image that it misses, in the order of the
    images: base64 text of a byte each, 255 where a score is no number."""
    import numpy as np

    # -1, of scores that are no numbers, becomes 255.
    classes = result.answers[~result.right] % 256
    return base64.b64encode(classes.numpy().astype(np.uint8).tobytes()).decode()


def unpacked(text: str, count: int) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """The first `count` bits of a text that `packed_bits` made, as booleans."""
    import numpy as np

    bits = np.frombuffer(base64.b64decode(text), np.uint8)
    return np.unpackbits(bits, count=count).astype(bool)


def training_code() -> Code:
    """What trains: the hash of the training code, its commit, whether it was edited."""
    head, dirty = commit()
    return {"fingerprint": fingerprint(), "commit": head, "dirty": dirty}


@functools.cache
def commit() -> tuple[str | None, bool | None]:
    """The commit that the code stands at and whether it was edited, if git knows."""
    root = Path(__file__).parents[2]
    # Of what trains and what it is composed of: an edited page of docs/ changes no run.
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
        return None, None
    return head, bool(status)


@functools.cache
def versions() -> dict[str, str]:
    """The versions that a result may depend on; looked up once in a process."""
    installed = {"python": platform.python_version()}
    libraries = ("torch", "numpy", "numba", "llvmlite", "scikit-learn")
    for name in ("lenet", *libraries):
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # lenet in a checkout, not installed
            installed[name] = "not installed"
    return installed


@functools.cache
def hardware(device: str) -> str:
    """The processor or GPU that computed; looked up once in a process."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # Linux tells which processor it is
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        models = [line for line in lines if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{name} {torch.backends.cpu.get_cpu_capability()}"


def record_frame(records: Sequence[Record]) -> "pd.DataFrame":
    """One row per run: run_id, seed, status, test_error, right, and every factor."""
    import pandas as pd

    rows = [
        {
            **current(record["treatment"]),
            "run_id": record["run_id"],
            "seed": record["seed"],
            "status": record["status"],
            "seconds": spent(record),
            **record["response"],
            "right": unpacked(record["right"], record["images"])
            if record["right"]
            else None,
        }
        for record in records
    ]
    return pd.DataFrame(rows)


def load_stack(records: Sequence[Record], output_dir: str) -> "LeNet5":
    """The trained stack of these runs, in order, from their weights.

    It takes images [n, 28, 28] in [0, 1] and gives logits [run, n, class]. A Refusal of
    runs of other structures or classes, without weights, or (4) of changed ones.

    The weights' hash comes first: nothing is read as tensors but what the record says.

    >>> import torch
    >>> record = store.select("modern", "outputs")
    >>> load_stack([record, record], "outputs")(torch.zeros(5, 28, 28)).shape
    torch.Size([2, 5, 10])
    """
    import torch

    from lenet.training.model import STRUCTURE, LeNet5

    levels = [
        {key: record["treatment"][key] for key in STRUCTURE} for record in records
    ]
    if not records or any(other != levels[0] for other in levels):
        raise Refusal("a stack is loaded from runs that share their structure")
    states = []
    for record in records:
        if record["weights"] is None:
            raise Refusal(f"run {record['run_id']} diverged: it has no weights")
        states.append(tensors(store.weights(output_dir, record), record))
    classes = {int(record.get("classes", 10)) for record in records}
    if len(classes) > 1:
        raise Refusal("a stack is loaded from runs that share their classes")
    model = LeNet5(len(records), **levels[0], classes=classes.pop())
    # A stack has its runs in the first axis of every tensor; weights of one run have
    # none.
    expected = {key: tensor.shape[1:] for key, tensor in model.state_dict().items()}
    for record, state in zip(records, states, strict=True):
        if {key: tensor.shape for key, tensor in state.items()} != expected:
            raise Refusal(f"the weights of run {record['run_id']} fit no such net", 4)
    model.load_state_dict(
        {key: torch.stack([state[key] for state in states]) for key in states[0]}
    )
    return model.eval()


def tensors(weights: bytes, record: Record) -> "dict[str, torch.Tensor]":
    """A run's weights by name; a Refusal (4) if they are in no form of safetensors."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(weights)
    except SafetensorError as problem:
        raise Refusal(
            f"the weights of run {record['run_id']} cannot be read: {problem}", 4
        ) from None


SAME = (
    *("status", "diverged_step", "response", "right", "answers", "curve", "data"),
    "weights",
)


def different(first: Record, again: Record) -> list[str]:
    """In what two records of one run differ that must be the same."""
    return [key for key in SAME if bits(first, key) != bits(again, key)]


def bits(record: Record, key: str) -> Any:
    """What must be the same when a run is trained again: all but the time it took."""
    if key == "curve":
        points = record["curve"]
        return [
            {key: value for key, value in point.items() if key != "seconds"}
            for point in points
        ]
    return dict(record).get(key)  # edition 1 has no answers
