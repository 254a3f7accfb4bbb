"""What a person types becomes a Config, or an error that names the fix.

conf/ is the schema: a group is a factor and a file in it is a level. This module adds
the ranges of the numbers and turns a composed tree into flat keys, the same on the
command line, in a record and in the chart: `activation`, `batch_size`, `optimizer.lr`.
"""

import difflib
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Literal

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override, RangeSweep
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from lenet.known_data import CLASSES, TRAINING

# conf/ lies at the top of a checkout, and inside the package of an installed wheel.
CONF = next(
    folder / "conf"
    for folder in (Path(__file__).parent, Path(__file__).parent.parent)
    if (folder / "conf" / "config.yaml").is_file()
)
FACTORS = (
    *("activation", "pooling", "connection", "norm", "head", "init"),
    *("optimizer", "schedule", "order", "augmentation", "input", "adversary"),
    *("average", "mix", "teacher"),
)
GROUPS = (*FACTORS, "data", "tracker", "preset")
PLACES = ("data_dir", "output_dir", "device", "study", "tracker", "replicates")
Value = str | int | float | None


class Refusal(Exception):
    """Bad input or a bad environment: the message, and the exit code of the command.

    2: config or usage. 3: environment (disk, data, permission). 4: verification.
    """

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Range:
    """The numbers that a key may take: low <= value <= high, whole if `whole`.

    >>> 0.5 in Range(0, 1), 2 in Range(0, 1), 0.5 in Range(1, 9, whole=True)
    (True, False, False)
    >>> print(Range(1, 9, whole=True, optional=True))
    a whole number from 1 to 9 or null
    """

    low: float
    high: float
    whole: bool = False
    optional: bool = False

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        null = " or null" if self.optional else ""
        form = ".0f" if self.whole else "g"
        return f"{kind} from {self.low:{form}} to {self.high:{form}}{null}"

    def __contains__(self, value: object) -> bool:
        if value is None:
            return self.optional
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.whole and not isinstance(value, int):
            return False
        return self.low <= value <= self.high  # nan and inf are not


RANGES = {
    "seed": Range(0, 2**31 - 1, whole=True),
    "replicates": Range(1, 1000, whole=True),
    "epochs": Range(1, 1000, whole=True),
    "batch_size": Range(1, 10_000, whole=True),
    "dropout": Range(0, 0.95),
    "train_size": Range(1, 60_000, whole=True, optional=True),
    "validation_size": Range(0, 30_000, whole=True),
    "head.j": Range(-100, 100),
    "head.smoothing": Range(0, 0.9),
    "init.coefficient": Range(-10, 10),
    "init.bias": Range(-10, 10),
    "optimizer.lr": Range(1e-9, 100),
    "optimizer.adamw_lr": Range(1e-9, 100),
    "optimizer.momentum": Range(0, 0.9999),
    "optimizer.beta1": Range(0, 0.9999),
    "optimizer.beta2": Range(0, 0.999999),
    "optimizer.decay": Range(0, 0.999999),
    "optimizer.epsilon": Range(1e-12, 1),
    "optimizer.mu": Range(1e-9, 100),
    "optimizer.curvature_scale": Range(0, 1000),
    "optimizer.curvature_kept": Range(0, 1),
    "optimizer.curvature_least": Range(0, 100),
    "optimizer.samples": Range(1, 60_000, whole=True),
    "optimizer.samples_first": Range(0, 1, whole=True),
    "optimizer.weight_decay": Range(0, 10),
    "optimizer.batch_size": Range(1, 10_000, whole=True),
    "schedule.warmup": Range(0, 0.9),
    "augmentation.shift_x": Range(0, 14),
    "augmentation.shift_y": Range(0, 14),
    "augmentation.scale_low": Range(0.1, 10),
    "augmentation.scale_high": Range(0.1, 10),
    "augmentation.squeeze_low": Range(0.1, 10),
    "augmentation.squeeze_high": Range(0.1, 10),
    "augmentation.shear": Range(0, 2),
    "augmentation.share": Range(0, 1),
    "augmentation.shift_pixels": Range(0, 14),
    "augmentation.degrees": Range(0, 180),
    "augmentation.alpha": Range(0, 1000),
    "augmentation.sigma": Range(0.5, 14),
    "augmentation.side": Range(0, 28, whole=True),
    "average.decay": Range(0, 0.999999),
    "average.begin": Range(0, 0.99),
    "mix.alpha": Range(0.05, 1),
    "teacher.temperature": Range(0.1, 100),
    "teacher.weight": Range(0, 1),
    "adversary.epsilon": Range(0, 1),
    "adversary.step": Range(0, 1),
    "adversary.steps": Range(1, 1000, whole=True),
    "adversary.held_out": Range(1, 30_000, whole=True),
}
RECORDS = "teacher.records"  # the one setting of a level that is a text
RUN_IDS = re.compile(r"[0-9a-f]{16}(\+[0-9a-f]{16})*")
DEVICES = ("auto", "cpu", "cuda")
OTHER_DEVICES = {  # what is asked for besides, and what to say to that
    "gpu": "a GPU is device=cuda",
    "mps": "Apple's GPUs have no 64-bit floats, of which every random draw of a run is "
    "made; device=cpu trains in compiled loops",
}
# What a launcher of SLURM's calls its settings, which are typed with its name.
LAUNCHER = (
    *("partition", "account", "qos", "constraint", "timeout_min", "mem_gb", "nodes"),
    *("gpus_per_node", "cpus_per_task", "tasks_per_node", "array_parallelism"),
)
FRACTION = re.compile(r"(\d+(?:\.\d+)?)/(\d+(?:\.\d+)?)")  # 8/255


@dataclass(frozen=True)
class Config:
    """One run: a treatment, which is one value for every factor, and its seed."""

    treatment: Mapping[str, Value]
    seed: int

    def level(self, factor: str) -> str:
        """The level of a factor, for example "relu"."""
        return str(self.treatment[factor])

    def number(self, key: str) -> float:
        """The number under a key; 0 where the level in use has no such number."""
        value = self.treatment.get(key, 0.0)
        assert isinstance(value, int | float), f"{key} is no number: {value!r}"
        return value


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes, and on what it computes: never part of it."""

    data_dir: str | None = None
    output_dir: str = "outputs"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    study: str | None = None
    tracker: str = "none"


# How an older treatment differs: factors and settings of a level that came later, at
# what all runs had before, and levels that have another name now.
LATER: dict[str, Value] = {
    "adversary": "none",
    "average": "none",
    "mix": "none",
    "teacher": "none",
}
SETTINGS: dict[tuple[str, str], dict[str, Value]] = {
    ("optimizer", "sdlm"): {
        "optimizer.curvature_least": 0.0,
        "optimizer.samples_first": 0,
    }
}
RENAMED = {("schedule", "paper"): "steps_1998", ("input", "paper"): "range_1998"}
PLAIN = re.compile(r"[\w.+-]+")  # what Hydra reads without quotes


def as_typed(value: Any) -> str:
    """A value as it is typed on a command line.

    >>> as_typed(None), as_typed(0.01), as_typed("relu"), as_typed("my runs")
    ('null', '0.01', 'relu', "'my runs'")
    """
    if value is None:
        return "null"
    text = str(value)
    if isinstance(value, int | float) or PLAIN.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def current(treatment: Mapping[str, Value]) -> dict[str, Value]:
    """A treatment as it is written today, whichever edition wrote it.

    >>> now = current({"schedule": "paper", "mix": "mixup"})
    >>> now["schedule"], now["mix"], now["teacher"]
    ('steps_1998', 'mixup', 'none')
    """
    named = {
        key: RENAMED.get((key, str(value)), value) for key, value in treatment.items()
    }
    for (factor, level), numbers in SETTINGS.items():
        if named.get(factor) == level:
            # An older level's settings of today come first, so that what a record says
            # wins.
            named = {**numbers, **named}
    return {**LATER, **named}


def suggest(word: str, known: Iterable[str], what: str, plural: str) -> str:
    """The message for an unknown word: the nearest known one, then all of them.

    >>> suggest("rleu", ["relu", "tanh"], "activation", "levels")
    "activation 'rleu' is unknown; did you mean relu? levels: relu, tanh"
    """
    names = sorted(known)
    if (what, word) in RENAMED:
        return f"{what}={word} is called {what}={RENAMED[what, word]} now"
    near = difflib.get_close_matches(word.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    return f"{what} {word!r} is unknown; {hint}{plural}: {', '.join(names)}"


@cache
def group_levels(group: str) -> dict[str, dict[str, Any]]:
    """Every level of a group with the content of its file, oldest first."""
    files = [yaml.safe_load(path.read_text()) for path in (CONF / group).glob("*.yaml")]
    files.sort(key=lambda content: (content["year"], content["name"]))
    return {content["name"]: content for content in files}


def names(group: str) -> list[str]:
    """The names of a group's levels: its files."""
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def typed_keys() -> set[str]:
    """Every key that may be typed."""
    return {*GROUPS, *RANGES, *PLACES, RECORDS} - {"optimizer.batch_size"}


def unknown_key(key: str) -> str:
    """The message for a key that is not one: the nearest, then those of its group."""
    name = key.split(".")[-1]
    if key in LAUNCHER:
        return (
            f"key {key!r} is a launcher's: write hydra.launcher.{key}=<value>, with "
            "hydra/launcher=submitit_slurm"
        )
    full = sorted(known for known in typed_keys() if f".{known}".endswith(f".{name}"))
    if full:
        return f"key {key!r} is unknown; did you mean {' or '.join(full)}?"
    group = key.split(".")[0] + "."
    near = [known for known in typed_keys() if known.startswith(group)]
    near = near or [known for known in typed_keys() if "." not in known]
    return suggest(key, near, "key", "keys")


def resolve(tree: Mapping[str, Any]) -> tuple[list[Config], Places]:
    """A composed tree as one Config per replicate, and the places; checks it all."""
    flat: dict[str, Value] = {}
    for key, value in tree.items():
        if key in GROUPS:
            # A group is its level's name and, with dots, the level's numbers; those
            # that have no range are about the level: its label, its year, its source.
            flat[key] = check_level(key, value)
            own = group_levels(key)[str(flat[key])]
            # What the level lacks is what the preset sets of its own level there.
            numbers = {f"{key}.{name}": value[name] for name in own if name in value}
            flat |= {
                key: check_number(key, value)
                for key, value in numbers.items()
                if key in RANGES
            }
            if RECORDS in numbers:
                flat[RECORDS] = check_records(numbers[RECORDS])
        elif key in RANGES:
            flat[key] = check_number(key, value)
        elif key in PLACES:
            flat[key] = check_place(key, value)
        else:
            raise Refusal(unknown_key(key))
    refuse_unfit_values(flat)
    flat.pop("optimizer.batch_size")  # the default of batch_size, no number of its own
    seed, replicates = int(number_of(flat.pop("seed"))), number_of(flat["replicates"])
    places = Places(**{key: flat.pop(key) for key in PLACES if key != "replicates"})  # type: ignore[arg-type]  # checked by check_place
    flat.pop("replicates")
    return [Config(flat, seed + i) for i in range(int(replicates))], places


def refuse_unfit_values(flat: Mapping[str, Value]) -> None:
    """Refuse values that are each in their range, but not together."""
    for low in [key for key in flat if key.endswith("_low")]:
        high = low.removesuffix("_low") + "_high"
        if number_of(flat[low]) > number_of(flat[high]):
            raise Refusal(f"{low}={flat[low]} is above {high}={flat[high]}: swap them")
    seed, replicates = (int(number_of(flat[key])) for key in ("seed", "replicates"))
    if seed + replicates - 1 not in RANGES["seed"]:
        raise Refusal(
            f"seed={seed} replicates={replicates}: the last seed is out of range: "
            f"seed is {RANGES['seed']}"
        )
    data, train_size = str(flat["data"]), flat["train_size"]
    held_out = ("validation_size", "adversary.held_out")
    most = max(int(number_of(flat.get(key, 0))) for key in held_out)
    if data in TRAINING:
        check_split(data, TRAINING[data], train_size, most)  # type: ignore[arg-type]  # checked by check_number
    refuse_unfit_head(str(flat["head"]), CLASSES.get(data, 10), data)


def check_split(name: str, count: int, train_size: int | None, held_out: int) -> None:
    """Refuse to train on, and hold out, more training images than there are."""
    if held_out + (train_size or 1) > count:
        raise Refusal(
            f"train_size={train_size} and validation_size={held_out} (or what the "
            f"adversary holds out) do not fit into the {count:,} training images of "
            f"{name}"
        )


def check_records(text: Any) -> str:
    """Run ids joined by +, each once and in one order: the same teachers, one run.

    >>> check_records("b2c4d6e8f0a1b3c5+a1b2c3d4e5f60718+a1b2c3d4e5f60718")
    'a1b2c3d4e5f60718+b2c4d6e8f0a1b3c5'
    """
    if isinstance(text, int):  # an id may be all digits
        text = str(text)
    if not isinstance(text, str) or not RUN_IDS.fullmatch(text):
        raise Refusal(
            f"{RECORDS}={short_text(str(text))} names no runs: give the whole run ids "
            f"of the teachers, {RECORDS}=<id>+<id>; `lenet train` says them, and "
            "one that reads as a number is put in quotes inside quotes"
        )
    return "+".join(sorted(set(text.split("+"))))


def refuse_unfit_head(head: str, classes: int, name: str) -> None:
    """Refuse the fixed units of 1998, which are drawings of ten digits, for others."""
    if head != "softmax" and classes != 10:
        raise Refusal(
            f"head={head} has a drawing for each of ten digits, and data={name} has "
            f"{classes} classes: say head=softmax"
        )


def number_of(value: Value) -> float:
    """A checked value as the number it is."""
    assert isinstance(value, int | float)
    return value


def check_level(group: str, value: Any) -> str:
    """The level's name, if the group has it; every key is one of its levels'."""
    name = value.get("name") if isinstance(value, Mapping) else value
    if name not in names(group):
        raise Refusal(suggest(str(name), names(group), group, "levels"))
    known = {key for content in group_levels(group).values() for key in content}
    if unknown := set(value) - known:
        raise Refusal(suggest(unknown.pop(), group_levels(group)[name], "key", "keys"))
    return str(name)


def check_number(key: str, value: Any) -> Value:
    """The number, if it lies in the key's range; else a Refusal that says the range.

    >>> check_number("epochs", 5.0), check_number("adversary.epsilon", "8/255") * 255
    (5, 8.0)
    >>> check_number("epochs", 0)
    Traceback (most recent call last):
    lenet.config.Refusal: epochs=0 is out of range: epochs is a whole number from ...
    """
    if isinstance(value, str):
        value = read_number(key, value)
    whole = RANGES[key].whole and isinstance(value, float) and value.is_integer()
    if whole:
        value = int(value)
    if value not in RANGES[key]:
        raise Refusal(
            f"{key}={short_text(str(value))} is out of range: {key} is {RANGES[key]}"
        )
    # Adding 0 makes -0.0 the same number, and the same run, as 0.0.
    return value if RANGES[key].whole or value is None else float(value) + 0.0


def read_number(key: str, text: str) -> Any:
    """The number that a text such as 8/255 means; else the text, or a Refusal of one
    that is a number in quotes."""
    parts = FRACTION.fullmatch(text)
    if parts and float(parts[2]) and not RANGES[key].whole:
        return float(parts[1]) / float(parts[2])
    try:
        float(text)
    except ValueError:
        return text
    raise Refusal(
        f"{key}={short_text(text)!r} is a text: leave out the inner quotes; {key} is "
        f"{RANGES[key]}"
    )


def check_place(key: str, value: Any) -> Value:
    """The place, if it can be one, with `~` as the home folder that it means."""
    if key == "device" and str(value).lower() in OTHER_DEVICES:
        raise Refusal(f"device={value}: {OTHER_DEVICES[str(value).lower()]}")
    if key == "device" and value not in DEVICES:
        raise Refusal(suggest(str(value), DEVICES, "device", "devices"))
    if value is None and key in ("data_dir", "study"):
        return None
    if isinstance(value, bool | int | float):
        raise Refusal(
            f"{key}={value} is read as no text: write it in quotes inside quotes, "
            f"\"{key}='{value}'\""
        )
    if not isinstance(value, str) or not value.strip() or not value.isprintable():
        raise Refusal(f"{key}={value!r} is no usable text: give a plain name or path")
    if key == "study" and not set(value) <= set(SAFE):
        raise Refusal(f"study={short_text(value)!r}: use letters, digits, '_' and '-'")
    if key == "study" and value in TAKEN:
        raise Refusal(f"study={value}: that folder is the store's; choose another name")
    longest = max(len(os.fsencode(part)) for part in (*Path(value).parts, ""))
    if longest > LONGEST[0] or len(os.fsencode(value)) > LONGEST[1]:
        raise Refusal(
            f"{key}={short_text(value)}: names have at most {LONGEST[0]} bytes, and "
            f"paths {LONGEST[1]}"
        )
    return os.path.expanduser(value) if key in ("data_dir", "output_dir") else value


def typed_place(key: str, text: str) -> str:
    """The place that a script's key=value means: the one that lenet.train would take,
    with quotes around it or without."""
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    plain = re.sub(r"\\(.)", r"\1", text[1:-1]) if quoted else text
    return str(check_place(key, plain))


def short_text(text: str) -> str:
    """A text as a message may show it."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


SAFE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
# Folders of an output directory that are no study's.
TAKEN = ("runs", "attempts", "quarantine", "reruns", "multirun", "tensorboard", "wandb")
LONGEST = (255, 4000)  # bytes of a name and of a path, on the usual file systems
SHOWN, TYPED = 100, 10_000  # characters of a text in a message, and of an override
# Of Hydra's parser: bad grammar, 5,000 digits, 3,000 brackets, a function under -O.
UNREADABLE = (HydraException, ValueError, RecursionError, AttributeError)
RUNS = 1000  # runs of one command line: more are a sweep's


def parse(overrides: Sequence[str]) -> list[Override]:
    """Hydra overrides, if each only sets a known key to a plain value."""
    parser, parsed = OverridesParser.create(), []
    for text in overrides:
        try:
            if len(text) > TYPED or not text.isprintable():
                raise HydraException
            parsed.append(parser.parse_override(text))
        except UNREADABLE:
            raise Refusal(
                f"{short_text(text)!r} cannot be read: {readable()}"
            ) from None
    for override in parsed:
        refuse_bad_override(override)
    return parsed


def readable() -> str:
    """How to write what Hydra's parser could not read."""
    if sys.flags.optimize:  # it passes over a function's bracket in an assert
        return (
            "without asserts Hydra reads no function, such as range(0,2): unset "
            "PYTHONOPTIMIZE (python -O), or list the values, seed=0,1"
        )
    return (
        "write key=value, and quotes inside quotes around special characters: "
        "\"output_dir='a=b'\""
    )


def refuse_bad_override(override: Override) -> None:
    """Refuse an unknown key, a key that is added or removed, and interpolation."""
    key, text = override.key_or_group, short_text(str(override.input_line))
    if key.startswith(("hydra.", "hydra/")):
        refuse_hydra_override(override)
        return
    if key not in typed_keys():
        raise Refusal(unknown_key(short_text(key)))
    added = override.is_add() or override.is_force_add()
    if added or override.is_delete() or override.package:
        raise Refusal(f"{text}: keys are neither added nor removed; write {key}=value")
    if "${" in str(override.input_line):
        raise Refusal(f"{text}: interpolation is not resolved here; type the value")
    if key in RANGES and "_" in str(override.input_line).partition("=")[2]:
        raise Refusal(f"{text}: write the number without '_'")
    if key == "replicates" and override.is_sweep_override():
        raise Refusal(
            f"{text}: replicates is how many seeds there are, one number; certain "
            "seeds are seed=3,5 with -m"
        )
    if override.is_sweep_override():
        return
    value = override.value()
    if key in GROUPS and value not in names(key):
        raise Refusal(suggest(short_text(str(value)), names(key), key, "levels"))
    if isinstance(value, dict | list):
        raise Refusal(f"{text}: {key} takes one plain value")


# What of Hydra's own may be set: who trains, what it is called, where its files go.
HYDRA = re.compile(
    r"hydra/(launcher|job_logging|hydra_logging)|hydra\.launcher\..+|hydra\.job\.name"
    r"|hydra\.(run|sweep)\.dir|hydra\.sweep\.subdir|hydra\.verbose|hydra/sweeper"
    r"|hydra\.sweeper\.(n_trials|seed|sampler|storage|study_name)"
)
SWEEPERS = ("basic", "optuna")
OUTSIDE = re.compile(
    r"\$\{(?!hydra[.:]|now:)"
)  # an interpolation of what is not Hydra's


def refuse_hydra_override(override: Override) -> None:
    """Refuse a setting of Hydra's that changes what runs, or copies the environment
    into its files."""
    key, line = override.key_or_group, str(override.input_line)
    text = short_text(line)
    if not HYDRA.fullmatch(key):
        raise Refusal(
            f"{text}: of Hydra's keys hydra/launcher, hydra.launcher.*, hydra.job.name,"
            " hydra.run.dir, hydra.sweep.dir and, with -m, hydra/sweeper=optuna and "
            "hydra.sweeper.n_trials, seed, sampler, storage, study_name may be set"
        )
    if OUTSIDE.search(line.replace(" ", "")):
        raise Refusal(f"{text}: the environment is not read here; type the value")
    if "_target_" in line:
        raise Refusal(f"{text}: what is called is not chosen here")
    if key == "hydra/sweeper" and override.value() not in SWEEPERS:
        raise Refusal(suggest(str(override.value()), SWEEPERS, key, "sweepers"))
    if override.is_sweep_override():
        given = line.partition("=")[2]
        raise Refusal(
            f"{text}: Hydra's own keys take one value; a text with a comma is written "
            f"in quotes inside quotes, \"{key}='{short_text(given)}'\""
        )
    if key.endswith("_gb") and re.fullmatch(
        r"[\d.]+ *[gG][iI]?[bB]?", line.split("=")[-1]
    ):
        raise Refusal(f"{text}: give the number of GB alone, {key}=4")


def composed(overrides: Sequence[str]) -> tuple[list[Config], Places]:
    """The runs and places that a command line means: conf/, preset, overrides.

    A Refusal of what is unknown, out of range or contradicts itself.

    >>> line = ["preset=paper", "activation=relu", "seed=7", "replicates=2"]
    >>> runs, places = composed(line)
    >>> [(run.level("activation"), run.level("pooling"), run.seed) for run in runs]
    [('relu', 'subsample', 7), ('relu', 'subsample', 8)]
    >>> composed(["activation=rleu"])
    Traceback (most recent call last):
    lenet.config.Refusal: activation 'rleu' is unknown; did you mean relu? levels: ...
    """
    parsed = parse(overrides)
    for override in parsed:
        if override.is_sweep_override():
            raise Refusal(f"{override.input_line}: several values need -m (--multirun)")
    for override in parsed:
        if override.key_or_group.startswith(("hydra/sweeper", "hydra.sweeper.")):
            raise Refusal(
                f"{short_text(str(override.input_line))}: a search is hydra/sweeper="
                "optuna of lenet train, with -m"
            )
    if any(override.key_or_group.startswith("hydra") for override in parsed):
        refuse_uncomposable(overrides)
    return resolve(tree(parsed))


@cache
def preset_treatments() -> dict[str, Mapping[str, Value]]:
    """The treatment of each preset.

    >>> preset_treatments()["paper"]["activation"]
    'scaled_tanh'
    """
    return {
        name: composed([f"preset={name}"])[0][0].treatment for name in names("preset")
    }


def typed_settings(treatment: Mapping[str, Value], preset: str) -> list[str]:
    """What is typed after preset=<preset> to mean a treatment: levels, then numbers.

    >>> tanh = composed(["activation=tanh", "head.smoothing=0.1"])[0][0].treatment
    >>> typed_settings(tanh, "modern")
    ['activation=tanh', 'head.smoothing=0.1']
    """
    return [
        f"{key}={as_typed(treatment[key])}" for key in changed_keys(treatment, preset)
    ]


def changed_keys(treatment: Mapping[str, Value], preset: str) -> list[str]:
    """The levels that are not the preset's, and the numbers that come with no level."""
    base, own = preset_treatments()[preset], read_conf(f"preset/{preset}.yaml")
    levels = [
        factor for factor in (*FACTORS, "data") if treatment[factor] != base[factor]
    ]
    default = dict(base)  # of every number, where these levels are typed
    for factor in FACTORS:
        level = group_levels(factor).get(str(treatment[factor]), {})
        numbers = {**level, **own.get(factor, {})}
        default |= {f"{factor}.{key}": numbers[key] for key in level}
        default["batch_size"] = numbers.get("batch_size", default["batch_size"])
    default |= {key: own[key] for key in own.keys() & RANGES.keys()}
    known = sorted(key for key in treatment if key in RANGES or key == RECORDS)
    return levels + [
        key for key in known if key not in default or treatment[key] != default[key]
    ]


@cache
def read_conf(file: str) -> dict[str, Any]:
    """The content of a file of conf/."""
    content = yaml.safe_load((CONF / file).read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def tree(overrides: Sequence[Override]) -> dict[str, Any]:
    """What Hydra makes of conf/ and these overrides, in a hundredth of its time.

    The chosen levels' files, then the preset's numbers, then those that were typed.
    """
    values = {override.key_or_group: override.value() for override in overrides}
    own = read_conf("config.yaml")
    chosen = {key: value for entry in own["defaults"] if isinstance(entry, dict)
              for key, value in entry.items() if key in GROUPS}  # fmt: skip
    preset = read_conf(f"preset/{values.get('preset', chosen['preset'])}.yaml")
    for default in preset["defaults"]:
        chosen |= {
            key.removeprefix("override /"): value for key, value in default.items()
        }
    chosen |= {key: values[key] for key in values.keys() & chosen.keys()}
    del chosen["preset"]
    composed_tree = {key: own[key] for key in own.keys() - {"defaults", "hydra"}}
    composed_tree |= {
        group: dict(group_levels(group)[level]) for group, level in chosen.items()
    }
    for key in preset.keys() - {"defaults"}:
        if key in chosen:  # numbers of its level, for any level that has them
            level = composed_tree[key]
            level |= {name: preset[key][name] for name in preset[key].keys() & level}
        else:
            composed_tree[key] = preset[key]
    for key, value in values.items():
        group, _, name = key.rpartition(".")
        if group in chosen and name not in composed_tree[group]:
            raise Refusal(
                f"{key}={value}: the {group} level in use has no number {name!r}; "
                f"see conf/{group}/ for the levels that have it"
            )
        if group in chosen:
            composed_tree[group][name] = value
        elif key in composed_tree and key not in chosen:
            composed_tree[key] = value
    # The one interpolation of conf/ that is no setting of Hydra's.
    if composed_tree["batch_size"] == "${optimizer.batch_size}":
        composed_tree["batch_size"] = composed_tree["optimizer"]["batch_size"]
    return composed_tree


def refuse_uncomposable(overrides: Sequence[str]) -> None:
    """Refuse settings of Hydra's own that it cannot compose."""
    try:
        with initialize_config_dir(str(CONF.absolute()), version_base="1.3"):
            compose("config", overrides=list(overrides), return_hydra_config=True)
    except (HydraException, OmegaConfBaseException) as error:
        for text in overrides:
            if text.startswith("hydra/launcher=") and "hydra/launcher/" in str(error):
                raise Refusal(
                    f"{text} is not installed: pip install 'lenet[submitit]' for "
                    "SLURM, 'lenet[ray]' for Ray"
                ) from None
        first, *_ = str(error).split("To append")  # which is refused here
        said = short_text(" ".join(first.split()).removesuffix("."))
        raise Refusal(said + launcherless(overrides)) from None


def launcherless(overrides: Sequence[str]) -> str:
    """What to add where a launcher's setting was typed, and no launcher."""
    if any(text.startswith("hydra/launcher=") for text in overrides):
        return ""
    if not any("hydra.launcher." in text for text in overrides):
        return ""
    return ": it goes with a launcher, hydra/launcher=submitit_slurm or ray"


def alternatives(overrides: Sequence[str]) -> list[list[str]]:
    """The command lines of a multirun: every combination of the swept values.

    >>> alternatives(["activation=relu,tanh", "epochs=5"])
    [['activation=relu', 'epochs=5'], ['activation=tanh', 'epochs=5']]
    """
    parsed = parse(overrides)
    counts = [count_values(override) for override in parsed]
    # Each alone counts too: an empty range makes the product 0, and the others would be
    # listed all the same.
    count = max(*counts, math.prod(counts), 1)
    if count > RUNS:
        said = f"{count:,}" if count < math.inf else "endlessly many"
        raise Refusal(
            f"-m means {said} command lines, and {RUNS:,} are the most: larger studies "
            "are a sweep's, lenet sweep design=<name> replicates=<number>"
        )
    return [list(line) for line in product(*map(override_values, parsed))]


def count_values(override: Override) -> float:
    """How many values an override has, counted before any is listed."""
    swept = override.value() if override.is_sweep_override() else None
    if not isinstance(swept, RangeSweep):
        return 1 if swept is None else len(override_values(override))
    try:
        start, stop = float(swept.start or 0), float(swept.stop or 0)
        span = (stop - start) / float(swept.step)
    except (OverflowError, ZeroDivisionError):
        return math.inf
    if math.isnan(span):
        return math.inf
    if span <= 0:
        return 0
    return span if math.isinf(span) else math.ceil(span)


def override_values(override: Override) -> list[str]:
    """Each value of an override as it is typed for one run."""
    key, text = override.key_or_group, str(override.input_line)
    if not override.is_sweep_override():
        return [text]
    value = override.value()
    if not override.is_discrete_sweep():
        raise Refusal(
            f"{text}: an interval has no list of values; write {key}=a,b, or search it "
            "with hydra/sweeper=optuna"
        )
    if isinstance(value, Glob):
        texts = [f"{key}={name}" for name in value.filter(names(key))]
    else:
        texts = [f"{key}={value}" for value in override.sweep_string_iterator()]
    if not texts:
        fix = f"; levels: {', '.join(names(key))}" if key in GROUPS else ""
        raise Refusal(f"{text}: no value fits{fix}")
    return texts
