"""The edition of training: which bits a run has, and the proof that this code has them.

A run id hashes a treatment, a seed, the data and EDITION, nothing of how the code is
spelled. What an edition is stands in goldens.json: short trainings, of every level of
every factor, and the SHA-256 of what each must give. Code that this machine has not
seen trains them once, within a minute, before anything else: equal, and it is the
edition; unequal, and it is refused. So code may be tidied and moved, a level added, and
no published run becomes stale; and a changed formula cannot pass for the old one.

    python -m lenet.training.edition          which goldens this code gives, or not
    python -m lenet.training.edition write    add those that are missing; all of them
                                              anew, where EDITION was raised
"""

import contextlib
import functools
import hashlib
import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from lenet import file_lock
from lenet.config import (
    FACTORS,
    RECORDS,
    SETTINGS,
    Config,
    Refusal,
    Value,
    composed,
    current,
    names,
)

if TYPE_CHECKING:
    from lenet.training.data import Data
    from lenet.training.recipe import Teacher
    from lenet.training.stack import Result

EDITION = 2
# Settings of factors that came after the edition began, at what all runs had before:
# they are no part of a run's identity.
ADDED: dict[str, Value] = {"average": "none", "mix": "none", "teacher": "none"}
for numbers in SETTINGS.values():
    ADDED |= numbers
LENET = Path(__file__).resolve().parents[1]
GOLDENS = Path(__file__).with_name("goldens.json")
# The edge of the edition: all that decides a run's bits.
CODE = ("training/**/*.py", "known_data.py")
PRESETS = ("modern", "paper")
# What the levels of the factors leave out: other steps than a preset's, and numbers.
MORE = (
    "best",
    *("modern batch_size=1 dropout=0.2", "paper batch_size=16 dropout=0.2"),
    "modern optimizer=sgd optimizer.weight_decay=0.01 head.smoothing=0.1",
    "paper optimizer=sgd optimizer.weight_decay=0.01 head=softmax pooling=max",
    "modern norm=batch adversary=fgsm augmentation=none batch_size=100",
    "paper norm=batch optimizer.curvature_kept=0.5 head=softmax",
    "paper optimizer=adam head=rbf_map augmentation=affine connection=full",
    "paper optimizer.samples_first=1 optimizer.samples=40",
    "paper optimizer.curvature_least=0.05 average=pass",
    "modern average=pass norm=batch",
    "modern teacher=runs mix=mixup",
    "modern teacher=consistent mix=mixup augmentation=affine_elastic",
    "paper head=ten_units activation=tanh input=hundredths init=lush",
    "paper optimizer=sgd optimizer.lr=0.0005 batch_size=1",  # Table I, gradients kept
    "paper epochs=20 train_size=20 optimizer.samples=20",  # every step of the schedule
)
SMALL = ("data=digits", "train_size=150", "epochs=2")
COUNTS = ("train_wrong", "test_wrong", "validation_wrong", "pgd_wrong")
QUICK = {"pgd": ("adversary.steps=3",)}


class Training(TypedDict):
    """A short training; name: its preset and what would be typed beside it."""

    name: str
    treatment: dict[str, Value]
    seed: int


class Golden(Training):
    """A short training, and the hash of what it must give."""

    sha256: str


def identity(treatment: dict[str, Value]) -> dict[str, Value]:
    """What of a treatment is part of a run's identity."""
    return {
        key: value
        for key, value in treatment.items()
        if key not in ADDED or value != ADDED[key]
    }


@functools.cache
def fingerprint() -> str:
    """The hash of the training code as it is spelled, its goldens among it."""
    paths = {path for pattern in CODE for path in LENET.glob(pattern)}
    parts = [path.read_bytes() for path in (*sorted(paths), GOLDENS)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def prove() -> None:
    """Nothing, if this code gives the goldens of the edition; else a Refusal.

    They are trained where this machine has not seen this code, by one process while
    others wait for it, and the answer is kept.
    """
    from lenet.training import user_cache

    if not (proofs := user_cache.cache_folder("proofs")):
        return train_goldens()
    proof = Path(proofs) / f"{fingerprint()[:32]}-{machine()}"
    if proof.exists():
        return
    path, handle = proof.with_suffix(".lock"), None
    with contextlib.suppress(Refusal):  # no locks there: it is only done twice
        handle = file_lock.take_lock(path, wait=True)
    try:
        if not proof.exists():
            train_goldens()
            proof.touch()
            user_cache.thin(proof.parent.parent)
    finally:
        if handle is not None:
            file_lock.free(path, handle)


def train_goldens() -> None:
    """Train every golden; a Refusal names those that come out otherwise."""
    began, known = time.perf_counter(), goldens()
    print(
        f"note: this code is new here: the loops are compiled (a minute, once), and "
        f"{len(known)} short trainings show whether it is edition {EDITION}",
        file=sys.stderr,
    )
    if changed := [golden["name"] for golden in known if trained(golden) != golden]:
        raise Refusal(unequal(changed, len(known)))
    print(f"note: it is ({time.perf_counter() - began:.0f} s)", file=sys.stderr)


def unequal(changed: Sequence[str], count: int) -> str:
    """What is to be done where the code is not the edition."""
    listed = ", ".join(changed[:12]) + (", ..." if len(changed) > 12 else "")
    return (
        f"this code does not train as edition {EDITION} does: {len(changed)} of "
        f"{count} goldens came out otherwise ({listed}). Mend it; or, if that is "
        "meant, raise "
        "EDITION in lenet/training/edition.py and write the goldens anew: python -m "
        "lenet.training.edition write"
    )


def machine() -> str:
    """A short hash of what else could change the bits: processor and libraries."""
    parts = [platform.machine(), platform.processor(), platform.python_version()]
    parts += [metadata.version(name) for name in ("torch", "numpy", "numba")]
    for name in ("llvmlite", "safetensors", "scikit-learn"):
        parts.append(metadata.version(name))
    info = Path("/proc/cpuinfo")
    if info.exists():  # the flags say which instructions there are
        lines = info.read_text(encoding="utf-8").splitlines()
        parts += sorted({line for line in lines if line.startswith(("model", "flags"))})
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def goldens() -> list[Golden]:
    """The goldens of the edition."""
    content = json.loads(GOLDENS.read_text(encoding="utf-8"))
    known: list[Golden] = content["goldens"]
    if content["edition"] != EDITION:
        raise Refusal(
            f"goldens.json is of edition {content['edition']}, the code of "
            f"{EDITION}: python -m lenet.training.edition write"
        )
    return known


def trained(golden: Training) -> Golden:
    """The golden as this code trains it, on one processor."""
    from lenet.training import stack

    config = Config(current(golden["treatment"]), golden["seed"])
    teachers = () if config.level("teacher") == "none" else schooled()
    result = stack.train([config], golden_data(), teachers=teachers)[0]
    return {
        "name": golden["name"],
        "treatment": golden["treatment"],
        "seed": golden["seed"],
        "sha256": sha256_of_result(result),
    }


def schooled() -> "Sequence[Teacher]":
    """The teachers of the goldens that have some: runs of both presets. No record is
    read, whatever ids the treatment has."""
    from lenet.training import stack
    from lenet.training.model import STRUCTURE, WIDTHS, LeNet5
    from lenet.training.recipe import Teacher

    teachers = []
    for preset in PRESETS:
        (config,), _ = composed([f"preset={preset}", *SMALL])
        levels = {factor: config.level(factor) for factor in STRUCTURE}
        model = LeNet5(1, **levels, classes=10, widths=WIDTHS)
        weights = stack.train([config], golden_data())[0].weights
        model.load_state_dict({key: weight[None] for key, weight in weights.items()})
        teachers.append(Teacher(config, model.eval()))
    return teachers


@functools.cache
def golden_data() -> "Data":
    """The data set of the goldens."""
    from lenet.training import data

    return data.load_data("digits", None)


def sha256_of_result(result: "Result") -> str:
    """The hash of a run's weights, its answers, and what it got wrong in each pass."""
    hashed = hashlib.sha256()
    for name, weight in sorted(result.weights.items()):
        hashed.update(name.encode() + weight.numpy().tobytes())
    hashed.update(result.answers.numpy().tobytes())
    counts = [[point.get(key) for key in COUNTS] for point in result.curve]
    hashed.update(json.dumps(counts).encode())
    return hashed.hexdigest()


def cases() -> Iterator[tuple[str, Sequence[str]]]:
    """The name of each golden, and what would be typed to train it."""
    for preset in PRESETS:
        yield preset, ()
        for factor in FACTORS:
            for level in names(factor):
                yield f"{preset} {factor}={level}", (f"{factor}={level}",)
    for line in MORE:
        yield line, line.split()[1:]


def write_goldens() -> None:
    """Add the goldens that are missing; all of them anew for another EDITION."""
    kept: dict[str, Golden] = {}
    if GOLDENS.exists():
        content = json.loads(GOLDENS.read_text(encoding="utf-8"))
        if content["edition"] == EDITION:
            kept = {golden["name"]: golden for golden in content["goldens"]}
    written = []
    for name, changes in cases():
        if name not in kept:
            preset, *_ = name.split()
            line = [f"preset={preset}", *SMALL, *changes]
            if any(change.startswith("adversary=") for change in changes):
                line += ["adversary.held_out=40"] * ("adversary=none" not in changes)
                line += QUICK["pgd"] * ("adversary=pgd" in changes)
            taught = {"teacher=runs", "teacher=consistent"} & set(changes)
            line += [f"{RECORDS}={'a' * 16}"] * len(taught)
            (config,), _ = composed(line)
            treatment = dict(config.treatment)
            kept[name] = trained({"name": name, "treatment": treatment, "seed": 1})
        written.append(kept[name])
    lines = ",\n".join(json.dumps(golden) for golden in written)
    text = f'{{"edition": {EDITION}, "goldens": [\n{lines}\n]}}\n'
    GOLDENS.write_text(text, encoding="utf-8")


def main() -> None:
    """The entry point."""
    if sys.argv[1:] == ["write"]:
        write_goldens()
        print(f"{GOLDENS}: {len(goldens())} goldens of edition {EDITION}")
        return
    if sys.argv[1:]:
        print(__doc__)
        return
    known = goldens()
    changed = [golden["name"] for golden in known if trained(golden) != golden]
    if changed:
        raise Refusal(unequal(changed, len(known)))
    print(f"edition {EDITION}: all {len(known)} goldens, bit for bit")


if __name__ == "__main__":
    from lenet.terminal import command

    command(main)
