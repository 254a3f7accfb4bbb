"""A search for settings: lenet train -m hydra/sweeper=optuna optimizer.lr=...

Optuna proposes, the error of held-out training images answers; the test images take no
part. The keys are those of Hydra's sweeper for Optuna, whose last version asks for an
Optuna that cannot store trials any more (docs/decisions/optuna.md). Trials lie in
Optuna's storage and runs in the store, so that the same command goes on where it was
stopped, with the proposals that it would have had.
"""

import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import IntervalSweep, Override

from lenet import file_lock
from lenet.config import (
    PLACES,
    RANGES,
    Config,
    Places,
    Range,
    Refusal,
    as_typed,
    check_number,
    composed,
    override_values,
    parse,
    suggest,
)
from lenet.records import atomic_files, seal, store
from lenet.records.record_types import Record
from lenet.rounding import percent
from lenet.terminal import Said
from lenet.training.edition import EDITION

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

SWEEPER, OWN = "hydra/sweeper", "hydra.sweeper."
NUMBERS = {
    "n_trials": (20, Range(1, 100_000, whole=True)),
    "seed": (0, Range(0, 2**31 - 1, whole=True)),
}
SAMPLERS = ("tpe", "random")
FIXED = ("seed", "replicates", "data", "validation_size", *PLACES)  # never searched
NOTHING = 1.0  # the error of a run that diverged: it reads no image
Train = Callable[[Sequence[Config], Places], list[Record]]


@dataclass(frozen=True)
class Search:
    """What is searched: the swept keys, the others as typed, and the sweeper's own."""

    space: Sequence[Override]
    fixed: Sequence[str]
    places: Places
    trials: int
    seed: int
    sampler: str
    storage: str | None
    name: str | None

    @property
    def folder(self) -> Path:
        """Where Hydra's multiruns leave their files."""
        return Path(self.places.output_dir) / "multirun"

    @property
    def identity(self) -> str:
        """What must be the same for trials to be of one search."""
        places = tuple(f"{key}=" for key in PLACES if key != "replicates")
        lines = [text for text in self.fixed if not text.startswith(places)]
        space = [str(override.input_line) for override in self.space]
        return json.dumps([sorted(lines), sorted(space), self.sampler, EDITION])


def is_search(overrides: Sequence[str]) -> bool:
    """Whether a command line means a search."""
    return any(text.startswith(f"{SWEEPER}=") for text in overrides) and any(
        override.key_or_group == SWEEPER and override.value() == "optuna"
        for override in parse(overrides)
    )


def refuse_unsearchable(space: Sequence[Override]) -> None:
    """Refuse an empty space, and one over what no search may choose."""
    if not space:
        raise Refusal(
            "hydra/sweeper=optuna needs something to search: activation=relu,tanh or "
            "'optimizer.lr=tag(log,interval(1e-4,1e-1))'"
        )
    for override in space:
        if override.key_or_group in FIXED:
            raise Refusal(f"{override.input_line}: {override.key_or_group} is not "
                          "searched; give it one value")  # fmt: skip


def read_search(overrides: Sequence[str]) -> Search:
    """The search that a command line means, every value of it checked."""
    parsed = parse(overrides)
    if other := [
        override
        for override in parsed
        if override.key_or_group.startswith("hydra/launcher")
    ]:
        raise Refusal(f"{other[0].input_line}: a search trains here, one trial at a "
                      "time; leave it out")  # fmt: skip
    own = {
        override.key_or_group.removeprefix(OWN): override.value()
        for override in parsed
        if override.key_or_group.startswith(OWN)
    }
    rest = [
        override for override in parsed if not override.key_or_group.startswith("hydra")
    ]
    space = [override for override in rest if override.is_sweep_override()]
    refuse_unsearchable(space)
    fixed = [
        str(override.input_line)
        for override in rest
        if not override.is_sweep_override()
    ]
    places = checked_space(space, fixed)
    numbers = {
        key: check_number_of(key, own.get(key, NUMBERS[key][0])) for key in NUMBERS
    }
    sampler = str(own.get("sampler", "tpe"))
    if sampler not in SAMPLERS:
        raise Refusal(suggest(sampler, SAMPLERS, "hydra.sweeper.sampler", "samplers"))
    texts = [own.get(key) for key in ("storage", "study_name")]
    storage, name = (None if text is None else str(text) for text in texts)
    return Search(space, fixed, places, numbers["n_trials"], numbers["seed"], sampler,
                  storage, name)  # fmt: skip


def check_number_of(key: str, value: Any) -> int:
    """A whole number of the sweeper's, if it is in its range."""
    if value not in NUMBERS[key][1]:
        raise Refusal(f"{OWN}{key}={value} is out of range: it is {NUMBERS[key][1]}")
    return int(value)


def checked_space(space: Sequence[Override], fixed: Sequence[str]) -> Places:
    """The places of a search, if every value by itself can be trained and there are
    held-out images to choose by."""
    each = {override.key_or_group: ends(override) for override in space}
    first = [texts[0] for texts in each.values()]
    # Each value by itself, beside the first ones of the others: all that can be refused
    # is refused before the first trial.
    for key, texts in each.items():
        for text in texts:
            others = [other for other in first if not other.startswith(f"{key}=")]
            (config, *_), places = composed([*fixed, *others, text])
            if not config.treatment["validation_size"]:
                raise Refusal(
                    "hydra/sweeper=optuna chooses by held-out training images, and "
                    "validation_size=0: say validation_size=5000 (200 of data=digits); "
                    "the test images take no part in a search"
                )
    store.refuse_unusable_output_dir(places.output_dir)
    return places


def ends(override: Override) -> list[str]:
    """The values of a key, or the ends of its interval, as they are typed."""
    swept, key = override.value(), override.key_or_group
    if not isinstance(swept, IntervalSweep):
        return override_values(override)
    if key not in RANGES:
        raise Refusal(f"{override.input_line}: {key} has levels: name some")
    low, high = (search_number(key, end) for end in (swept.start, swept.end))
    if low >= high or ("log" in swept.tags and low <= 0):
        raise Refusal(f"{override.input_line}: write the smaller number first, and for "
                      "tag(log, ...) one above 0")  # fmt: skip
    return [f"{key}={low!r}", f"{key}={high!r}"]


def search_number(key: str, end: Any) -> int | float:
    """An end of an interval, in the range of its key."""
    value = check_number(key, end)
    assert isinstance(value, int | float)
    return value


def distribution(override: Override) -> "BaseDistribution":
    """What Optuna draws a key from: an interval, or one of the values as typed."""
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    swept, key = override.value(), override.key_or_group
    if not isinstance(swept, IntervalSweep):
        texts = [text.partition("=")[2] for text in override_values(override)]
        return CategoricalDistribution(texts)
    low, high, log = (
        search_number(key, swept.start),
        search_number(key, swept.end),
        "log" in swept.tags,
    )
    if RANGES[key].whole:
        return IntDistribution(int(low), int(high), log=log)
    return FloatDistribution(low, high, log=log)


def run_search(search: Search, train: Train) -> Said:
    """Carry out what is missing of a search, and what it found."""
    try:
        import optuna
    except ImportError:
        raise Refusal(
            "hydra/sweeper=optuna needs Optuna: pip install 'lenet[optuna]'", 3
        ) from None

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    store.prepare(search.places.output_dir)
    search.folder.mkdir(exist_ok=True)
    with lock_search(search):
        study = open_storage(search)
        while (done := completed(study)) < search.trials:
            error = tried(study, search, train)
            print(
                f"trial {done + 1}/{search.trials}: validation error {percent(error)}, "
                f"best {percent(study.best_value)}",
                file=sys.stderr,
            )
        return write_best_settings(study, search)


@contextlib.contextmanager
def lock_search(search: Search) -> Iterator[None]:
    """Keep other processes off the same search; a Refusal if one is at it."""
    path = search.folder / f".{seal.digest([search.identity])[:16]}.lock"
    handle = file_lock.take_lock(path)
    if handle is None:
        raise Refusal(f"this search is going on: {file_lock.holder(path)}", 3)
    try:
        yield
    finally:
        file_lock.free(path, handle)


def open_storage(search: Search) -> "optuna.Study":
    """Optuna's study, new or as it was left; a Refusal if it is of another search."""
    import optuna
    from sqlalchemy import URL
    from sqlalchemy.exc import SQLAlchemyError

    path = search.folder.absolute() / "optuna.db"
    own = URL.create("sqlite", database=str(path)).render_as_string()
    name = search.name or f"lenet-{seal.digest([search.identity])[:12]}"
    try:
        study = optuna.create_study(
            storage=search.storage or own, study_name=name, load_if_exists=True
        )
    except (ImportError, ValueError, SQLAlchemyError) as problem:
        first, where = str(problem).splitlines()[0], search.storage or own
        raise Refusal(
            f"hydra.sweeper.storage={where} cannot be opened ({first}): "
            "write sqlite:///search.db, or leave it out",
            3,
        ) from None
    # Two searches may share a name by chance or by hand; their trials must not be
    # mixed.
    if study.user_attrs.setdefault("lenet", search.identity) != search.identity:
        raise Refusal(
            f"hydra.sweeper.study_name={name} is a search of other settings: give "
            "another name, or leave it out"
        )
    study.set_user_attr("lenet", search.identity)
    return study


def completed(study: "optuna.Study") -> int:
    """How many trials have an answer."""
    return sum(trial.values is not None for trial in study.get_trials(deepcopy=False))


def tried(study: "optuna.Study", search: Search, train: Train) -> float:
    """The answer to one trial: that which was left without one, or a new one.

    The sampler is made anew for each, from the seed and its number: what it proposes
    depends on the trials before it and not on when the search was stopped.
    """
    import optuna
    from optuna.samplers import RandomSampler, TPESampler

    left = [
        trial
        for trial in study.get_trials(deepcopy=False)
        if not trial.state.is_finished()
    ]
    at = left[0].number if left else len(study.trials)
    kinds = {"tpe": TPESampler, "random": RandomSampler}
    study.sampler = kinds[search.sampler](seed=(search.seed + at) % 2**32)
    # Optuna keeps what it has proposed for a trial, and gives that again when asked.
    trial = optuna.trial.Trial(study, left[0]._trial_id) if left else study.ask()
    line = []
    for override in search.space:
        key = override.key_or_group
        value = trial._suggest(key, distribution(override))
        line.append(f"{key}={value if isinstance(value, str) else as_typed(value)}")
    error = objective(train(*composed([*search.fixed, *line])))
    study.tell(trial, error)
    return error


def objective(records: Sequence[Record]) -> float:
    """The mean error of the held-out images over the seeds of a treatment."""
    errors = [record["response"].get("validation_error") for record in records]
    total = math.fsum(NOTHING if error is None else error for error in errors)
    return total / len(errors)


def write_best_settings(study: "optuna.Study", search: Search) -> Said:
    """The best settings, with a file of them as Hydra's sweeper writes it."""
    best, count = study.best_trial, completed(study)
    params: Mapping[str, Any] = best.params
    line = [
        f"{key}={value if isinstance(value, str) else as_typed(value)}"
        for key, value in params.items()
    ]
    result = {"name": "optuna", "best_params": params, "best_value": best.value}
    path = search.folder / "optimization_results.yaml"
    lines = [f"{key}: {json.dumps(value)}" for key, value in result.items()]
    atomic_files.replace(path, ("\n".join(lines) + "\n").encode())
    held = ("validation_size=", "seed=", "replicates=", "hydra")
    others = [text for text in search.fixed if not text.startswith(held)]
    print(
        "the smallest of several errors looks better than it is; next: lenet train "
        f"{' '.join([*others, *line])} seed=100 replicates=6",
        file=sys.stderr,
    )
    text = f"validation error {percent(study.best_value)}, "
    text += f"best of {count} trials: {' '.join(line)}"
    return Said(text, {**result, "trials": count, "study": study.study_name})
