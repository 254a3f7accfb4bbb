"""Sealed studies whose true effects are known: plans and records, nothing trained."""

import base64
import gzip
import json
from itertools import product

import numpy as np

from lenet.records import seal, store

PAPER = {
    "activation": "scaled_tanh",
    "pooling": "subsample",
    "connection": "table",
    "norm": "none",
    "head": "rbf",
    "init": "lecun_sqrt",
    "init.coefficient": 0.6,
    "optimizer": "sdlm",
    "optimizer.lr": 0.0005,
    "batch_size": 1,
    "schedule": "steps_1998",
    "order": "constant",
    "augmentation": "none",
    "input": "range_1998",
    "dropout": 0.0,
    "epochs": 3,
    "train_size": None,
    "validation_size": 0,
    "data": "digits",
}
TODAY = {
    "activation": "relu",
    "pooling": "max",
    "connection": "full",
    "head": "softmax",
    "init": "kaiming",
    "init.coefficient": 0.25,
    "optimizer": "adam",
    "optimizer.lr": 0.002,
    "batch_size": 64,
    "schedule": "cosine",
    "order": "reshuffle",
    "augmentation": "affine",
    "input": "standardize",
}
GROUPS = {
    "units": ("activation", "init"),
    "structure": ("pooling", "connection"),
    "head": ("head",),
    "training": ("optimizer", "optimizer.lr", "batch_size", "schedule", "order"),
    "augmentation": ("augmentation",),
    "input": ("input",),
}
WORTH = {  # the true effect of each setting of TODAY, in fractions
    "activation": -0.012,
    "head": -0.006,
    "optimizer": -0.02,
    "augmentation": -0.016,
    "pooling": -0.001,
    "input": 0.004,
}
DIVERGED = {"status": "diverged"}
COLLAPSED = {"response": {"test_error": 0.8865}, "right": None}
FINGERPRINT, DATA_SHA256 = "ab" * 32, "cd" * 32
CODE = {"fingerprint": FINGERPRINT, "commit": "0123456789abcd", "dirty": False}


def make_record(treatment, seed, images=500, **other):
    """A sealed record; its error is what WORTH says, with noise of seed and digits."""
    name = seal.digest([treatment, seed, other])[:16]
    rng = np.random.default_rng([int(name, 16), 1])
    changed = [k for k in WORTH if treatment[k] == TODAY[k]]
    chance = 0.07 + sum(WORTH[k] for k in changed)
    chance += 0.008 * ("activation" in changed and "optimizer" in changed)
    shared = np.random.default_rng([seed, 2]).normal(0, 0.002)
    easy = np.random.default_rng(3).random(images)  # the same digits are hard for all
    wrong = rng.normal(easy, 0.02) < np.clip(chance + shared, 0.002, 1)
    error = int(wrong.sum()) / images
    epochs = int(treatment["epochs"])
    curve = [
        {
            "epoch": e,
            "train_error": (error + 0.3 / e) / 2,
            "test_error": error + 0.2 * (1 / e - 1 / epochs),
            "seconds": 2.0 * e,
        }
        | ({"validation_error": error} if treatment["validation_size"] else {})
        for e in range(1, epochs + 1)
    ]
    content = {
        "schema": store.SCHEMA,
        "run_id": name,
        "status": "finished",
        "diverged_step": None,
        "treatment": treatment,
        "seed": seed,
        "response": {"test_error": error},
        "curve": curve,
        "step_sizes": None,
        "right": base64.b64encode(np.packbits(~wrong).tobytes()).decode(),
        "images": images,
        "stack": {"size": 8, "position": 0, "threads": 1, "device": "cpu"},
        "code": CODE,
        "data": DATA_SHA256,
        "weights": None,
        "versions": {"python": "3.11", "torch": "2.6", "numpy": "2", "lenet": "0"},
        "hardware": "x86_64 TEST",
        "seconds": 40.0 if treatment["batch_size"] == 1 else 6.0 + 0.01 * seed,
        **other,
    }
    if "response" in other and "right" not in other and content["status"] == "finished":
        count = round(other["response"]["test_error"] * images)
        bits = np.packbits(np.arange(images) >= count).tobytes()
        content["right"] = base64.b64encode(bits).decode()
    if content["status"] == "diverged":
        content |= {"response": {"test_error": None}, "right": None, "curve": curve[:1]}
    return sealed(content)


def sealed(content):
    """The content with the seal that it should have."""
    content = {key: value for key, value in content.items() if key != "seal"}
    return {**content, "seal": seal.digest(content)}


def write_study(folder, kind, preset, levels, arms, seeds, lost=(), search=(), **other):
    """A study's folder: `arms` maps names to changes, `lost` are the (arm, seed) that
    diverged, or a mapping of them to what else their records say."""
    base = PAPER if preset == "paper" else {**PAPER, **TODAY}
    records, listed = [], []
    told = lost if isinstance(lost, dict) else dict.fromkeys(lost, DIVERGED)
    for name, changes in arms.items():
        treatment = {**base, **changes}
        runs, searched = [], []
        for seed in seeds:
            extra = told.get((name, seed), {})
            runs.append(make_record(treatment, seed, **extra, **other))
        for seed in search:
            held_out = {**treatment, "validation_size": 100}
            searched.append(make_record(held_out, seed, **other))
        records += searched + runs
        listed.append(
            {
                "name": name,
                "levels": dict([name.split("=")] if name.count("=") == 1 else []),
                "changes": changes,
                "treatment": treatment,
                "runs": [record["run_id"] for record in runs],
                "search": [record["run_id"] for record in searched],
            }
        )
    plan = {
        "study": folder.name,
        "design": kind,
        "kind": kind,
        "preset": preset,
        "factors": list(dict.fromkeys(k for c in arms.values() for k in c)),
        "levels": levels,
        "reference": listed[0]["treatment"],
        "arms": listed,
        "seeds": list(seeds),
        "search_seeds": list(search),
        "search_changes": {"validation_size": 100} if search else {},
        "runs": [record["run_id"] for record in records],
        "data": {"mnist": DATA_SHA256},
        "code": CODE,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(sealed(plan)))
    write_records(folder, records)
    return records


def write_records(folder, records):
    """The published records of a study."""
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "records.jsonl.gz").write_bytes(gzip.compress(lines.encode(), mtime=0))


def one_factor(folder, seeds=range(12), preset="paper", tried=None, **other):
    """Each level alone: `tried` maps factors to levels, by default those of today."""
    to = TODAY if preset == "paper" else PAPER
    plain = {k: [to[k]] for k in TODAY if "." not in k and k != "batch_size"}
    tried = tried or plain
    levels = {f: {str(v): {f: v} for v in values} for f, values in tried.items()}
    arms = {"reference": {}}
    for factor, values in tried.items():
        for value in values:
            changes = {factor: value}
            if factor == "optimizer":
                changes |= {k: to[k] for k in ("optimizer.lr", "batch_size")}
            arms[f"{factor}={value}"] = changes
    kind = "one_factor" if preset == "paper" else "leave_one_out"
    return write_study(folder, kind, preset, levels, arms, seeds, **other)


def factorial(
    folder, factors=tuple(GROUPS), seeds=range(12), kind="factorial", **other
):
    """Every combination of 1998 and today over some of GROUPS."""
    levels = {
        f: {
            "1998": {k: PAPER[k] for k in GROUPS[f]},
            "today": {k: TODAY[k] for k in GROUPS[f]},
        }
        for f in factors
    }
    arms = {}
    for chosen in product(("1998", "today"), repeat=len(factors)):
        pairs = list(zip(factors, chosen, strict=True))
        changes = {k: v for f, level in pairs for k, v in levels[f][level].items()}
        arms[" ".join(f"{f}={level}" for f, level in pairs)] = changes
    return write_study(folder, kind, "paper", levels, arms, seeds, **other)


def write_runs(output_dir, records):
    """Records where trainings leave them."""
    for record in records:
        place = output_dir / "runs" / record["run_id"]
        place.mkdir(parents=True)
        (place / "record.json").write_text(json.dumps(record))
