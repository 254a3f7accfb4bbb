"""A design: the treatments of a study, from a file in conf/design.

A design names its kind, the settings that all of its runs share, and for each factor
the levels to be tried. A level sets one key, or a group of keys that belong together:

    activation: [scaled_tanh, relu]
    units:
      1998: {activation: scaled_tanh, init: lecun_sqrt}
      today: {activation: relu, init: kaiming}

Every treatment is composed and checked before anything runs.
"""

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

import yaml

from lenet.config import (
    CONF,
    SAFE,
    Config,
    Places,
    Refusal,
    Value,
    as_typed,
    composed,
    suggest,
)
from lenet.records.plan import ALONE

Settings = Mapping[str, Value]  # the keys that a level sets
Levels = Mapping[str, Settings]
# one_factor and leave_one_out: each level alone against the base, which is 1998 for the
# one and today for the other; a tuning too, but measured on held-out training images,
# never on the test set. A ladder turns one factor after the other from its first level
# to its second. The rest cross all levels: a grid any number of them, a factorial two;
# a path is a factorial whose order is searched on held-out images.
CROSSED = ("factorial", "path", "grid")
KINDS = (*ALONE, "ladder", *CROSSED)
KEYS = ("kind", "base", "factors", "search")
RUNS_UNASKED = 10_000  # a design of more is refused without yes=true


@dataclass(frozen=True)
class DesignArm:
    """One treatment of a design: by which level of which factor, and what they set."""

    levels: Mapping[str, str]
    changes: Settings
    treatment: Settings

    @property
    def name(self) -> str:
        """For example `activation=relu`; the treatment of the base is `reference`."""
        named = [f"{factor}={level}" for factor, level in self.levels.items()]
        return " ".join(named) or "reference"


@dataclass(frozen=True)
class Design:
    """What a study trains: every arm, the reference first, with every seed.

    search: the runs on which a path chooses its order; none for the other kinds.
    """

    name: str
    kind: str
    preset: str
    factors: Mapping[str, Levels]
    arms: Sequence[DesignArm]
    seeds: Sequence[int]
    search: Sequence[Config]
    places: Places
    notes: Sequence[str]

    @property
    def runs(self) -> list[Config]:
        """Arm by arm, then the search."""
        arms = [Config(arm.treatment, seed) for arm in self.arms for seed in self.seeds]
        return [*arms, *self.search]

    @property
    def keys(self) -> list[str]:
        """The keys in which the arms differ from the reference."""
        return list(dict.fromkeys(key for arm in self.arms for key in arm.changes))


def design_folders() -> list[Path]:
    """Where designs lie: in the folder conf/design that one works in, and in lenet."""
    return [Path("conf") / "design", CONF / "design"]


def available() -> list[str]:
    """The names of the designs in conf/design, one's own among them."""
    return sorted(
        {path.stem for place in design_folders() for path in place.glob("*.yaml")}
    )


def file(name: str) -> Path:
    """The file of a design: one's own before lenet's of that name; or the path itself,
    where the name ends in .yaml."""
    if name.endswith((".yaml", ".yml")):
        path = Path(name).expanduser()
        if not path.is_file():
            raise Refusal(f"design={name}: there is no such file")
        return path
    files = [place / f"{name}.yaml" for place in design_folders()]
    there = [path for path in files if path.is_file()]
    if not there:
        listed = suggest(name, available(), "design", "designs")
        raise Refusal(f"{listed}; or give a file, design=my_design.yaml")
    return there[0]


def design_name(name: str) -> str:
    """What a design is called: the name of its file, which its study's folder gets."""
    stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
    if not set(stem) <= set(SAFE):
        raise Refusal(f"design={name}: name the file in letters, digits, '_' and '-'")
    return stem


def read_design(name: str) -> dict[str, Any]:
    """The content of a design's file, if it has what a design needs and no more.

    Where its factors are a name, they are those of the design of that name.
    """
    path = file(name)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, yaml.YAMLError) as problem:
        raise Refusal(f"{path} is no YAML: {problem}") from None
    content = content if isinstance(content, dict) else {}
    for key in content:
        if key not in KEYS:
            raise Refusal(suggest(str(key), KEYS, f"key of design {name}", "keys"))
    if missing := [key for key in KEYS[:3] if content.get(key) is None]:
        raise Refusal(f"design {name} is empty: it has no {' and no '.join(missing)}")
    if content["kind"] not in KINDS:
        raise Refusal(suggest(str(content["kind"]), KINDS, "kind of design", "kinds"))
    if ("search" in content) != (content["kind"] == "path"):
        raise Refusal(f"design {name}: a path, and nothing else, has a search")
    if isinstance(content["factors"], str) and content["factors"] != name:
        content["factors"] = read_design(content["factors"])["factors"]
    for key in content.keys() - {"kind"}:
        if not isinstance(content[key], dict):
            raise Refusal(f"design {name}: {key} is to hold settings, each key: value")
        odd = [entry for entry in content[key] if not isinstance(entry, str)]
        if odd and key != "factors":
            raise Refusal(f"design {name}: {odd[0]!r} is no key of {key}")
    for key, value in content.get("search", {}).items():
        if not isinstance(value, Value):
            raise Refusal(f"design {name}: {key} of its search is to be one value")
    return content


def design_levels(factor: str, given: Any, notes: list[str]) -> Levels:
    """What each level of a factor sets, from a list of values or a group per level."""
    if isinstance(given, list):
        for value in {str(value) for value in given if given.count(value) > 1}:
            notes.append(f"{factor}={value} is there twice: trained once")
        levels_set = {str(value): {factor: value} for value in given}
    elif isinstance(given, dict):
        levels_set = {str(name): settings for name, settings in given.items()}
    else:
        levels_set = {}
    if odd := [name for name in levels_set if not name.isprintable()]:
        raise Refusal(f"factor {factor}: {odd[0]!r} cannot be shown as a level's name")
    groups = [
        settings
        for settings in levels_set.values()
        if isinstance(settings, dict) and settings
    ]
    if not levels_set or len(groups) < len(levels_set):
        raise Refusal(f"factor {factor}: list its levels, or what each of them sets")
    for settings in groups:
        for key, value in settings.items():
            if not isinstance(key, str) or not isinstance(value, Value):
                raise Refusal(f"factor {factor}: {key} is to be one value, no list")
    return levels_set


def load_design(name: str, overrides: Sequence[str], yes: bool = False) -> Design:
    """The design in a file; `overrides`, key=value, hold for all of its runs.

    yes: whether more than RUNS_UNASKED runs are meant.

    >>> design = load_design("one_factor", ["data=digits"])
    >>> design.kind, design.preset, [arm.name for arm in design.arms[:2]]
    ('one_factor', 'paper', ['reference', 'activation=relu'])
    """
    content, notes = read_design(name), list[str]()
    given = {str(name): tried for name, tried in content["factors"].items()}
    factors = {name: design_levels(name, tried, notes) for name, tried in given.items()}
    named = {text.split("=")[0] for text in overrides}
    refuse_varied_keys(name, factors, named)
    refuse_contradictions(name, content["kind"], factors)
    settings = content["base"].items()
    base = [f"{key}={as_typed(value)}" for key, value in settings if key not in named]
    base += overrides
    runs, places = composed(base)
    if content["kind"] == "tuning" and not runs[0].treatment["validation_size"]:
        raise Refusal(
            f"design {name}: a tuning needs held-out images, validation_size=5000"
        )
    count = treatments(content["kind"], factors) * len(runs)
    if count > RUNS_UNASKED and not yes:
        raise Refusal(f"design={name} means {count:,} runs; if so, add yes=true")
    choose = one_at_a_time if content["kind"] in ALONE else cross
    choose = one_after_another if content["kind"] == "ladder" else choose
    arms = [arm(base, chosen, factors) for chosen in choose(factors)]
    arms = distinct_arms(arms, notes)
    # What is typed holds for the search as for the runs, but for its seeds: those that
    # choose an order measure nothing.
    own = {
        key: value
        for key, value in content.get("search", {}).items()
        if key not in named or key in ("seed", "replicates")
    }
    return Design(
        name=design_name(name),
        kind=content["kind"],
        preset=named_preset(base),
        factors=factors,
        arms=arms,
        seeds=[run.seed for run in runs],
        search=search_runs(own, base, arms, [run.seed for run in runs]),
        places=places,
        notes=notes,
    )


def refuse_varied_keys(
    name: str, factors: Mapping[str, Levels], typed: Set[str]
) -> None:
    """Refuse what was typed of a key that one of the factors sets."""
    for factor, tried in factors.items():
        keys = {key for settings in tried.values() for key in settings}
        for key in sorted(keys & typed):
            of = "" if key == factor else f" (in {factor})"
            raise Refusal(f"{key}={of} is what design={name} varies: leave it out")


def named_preset(base: Sequence[str]) -> str:
    """The preset that a command line names last, or the default."""
    named = [text.removeprefix("preset=") for text in base if "preset=" in text]
    return named[-1] if named else "modern"


def refuse_contradictions(name: str, kind: str, factors: Mapping[str, Levels]) -> None:
    """Refuse factors that contradict each other or do not fit the kind of design."""
    if kind in ALONE:
        return
    for first, second in combinations(factors, 2):
        # Crossed, one of two factors that set the same key would overwrite the other.
        keys = [
            {key for settings in factors[factor].values() for key in settings}
            for factor in (first, second)
        ]
        if both := keys[0] & keys[1]:
            raise Refusal(f"design {name}: {first} and {second} both set {both.pop()}")
    for factor, tried in factors.items():
        if kind != "grid" and len(tried) != 2:
            raise Refusal(f"design {name}: {factor} needs two levels in a {kind}")


def treatments(kind: str, factors: Mapping[str, Levels]) -> int:
    """How many treatments a design has, before any is composed.

    >>> switches = dict.fromkeys("abc", {"old": {}, "new": {}})
    >>> [treatments(kind, switches) for kind in ("ladder", "factorial", "one_factor")]
    [4, 8, 7]
    """
    sizes = [len(tried) for tried in factors.values()]
    alone = 1 + (len(sizes) if kind == "ladder" else sum(sizes))
    return math.prod(sizes) if kind in CROSSED else alone


def one_at_a_time(factors: Mapping[str, Levels]) -> Iterator[dict[str, str]]:
    """The reference, then each level of each factor by itself.

    >>> tried = {"activation": {"relu": {}, "gelu": {}}, "norm": {"batch": {}}}
    >>> list(one_at_a_time(tried))
    [{}, {'activation': 'relu'}, {'activation': 'gelu'}, {'norm': 'batch'}]
    """
    yield {}
    for factor, tried in factors.items():
        yield from ({factor: level} for level in tried)


def one_after_another(factors: Mapping[str, Levels]) -> Iterator[dict[str, str]]:
    """The first level of each factor, then one factor after the other at its second.

    >>> switches = {"a": {"old": {}, "new": {}}, "b": {"old": {}, "new": {}}}
    >>> [list(chosen.values()) for chosen in one_after_another(switches)]
    [['old', 'old'], ['new', 'old'], ['new', 'new']]
    """
    pairs = {factor: list(tried) for factor, tried in factors.items()}
    for turned in range(len(pairs) + 1):
        yield {
            factor: pair[i < turned] for i, (factor, pair) in enumerate(pairs.items())
        }


def cross(factors: Mapping[str, Levels]) -> Iterator[dict[str, str]]:
    """Every combination of the levels, the first of each together first.

    >>> switches = {"a": {"old": {}, "new": {}}, "b": {"old": {}, "new": {}}}
    >>> [list(chosen.values()) for chosen in cross(switches)]
    [['old', 'old'], ['old', 'new'], ['new', 'old'], ['new', 'new']]
    """
    for chosen in product(*factors.values()):
        yield dict(zip(factors, chosen, strict=True))


def arm(
    base: Sequence[str], chosen: Mapping[str, str], factors: Mapping[str, Levels]
) -> DesignArm:
    """The arm that these levels of these factors make of the base."""
    changes = {
        key: value
        for factor, level in chosen.items()
        for key, value in factors[factor][level].items()
    }
    line = [f"{key}={as_typed(value)}" for key, value in changes.items()]
    runs, _ = composed([*base, *line])
    return DesignArm(chosen, changes, runs[0].treatment)


def distinct_arms(arms: Sequence[DesignArm], notes: list[str]) -> list[DesignArm]:
    """The arms whose treatments differ, with a note for each that is left out."""
    kept: dict[tuple[tuple[str, Value], ...], DesignArm] = {}
    for arm in arms:
        first = kept.setdefault(tuple(sorted(arm.treatment.items())), arm)
        if first is not arm:
            notes.append(f"{arm.name} is the same as {first.name}: trained once")
    return list(kept.values())


def search_runs(
    settings: Settings,
    base: Sequence[str],
    arms: Sequence[DesignArm],
    seeds: Sequence[int],
) -> list[Config]:
    """The runs of every arm under the settings of a path's search, which are its own.

    Their seeds are others: what chooses an order must not measure its steps.
    """
    if not settings:
        return []
    line = [f"{key}={as_typed(value)}" for key, value in settings.items()]
    kept = [text for text in base if text.split("=")[0] not in settings]
    runs, _ = composed([*kept, *line])
    if both := {run.seed for run in runs} & set(seeds):
        raise Refusal(f"seed={min(both)} is one of the search: choose others")
    changed = {
        key: value for key, value in runs[0].treatment.items() if key in settings
    }
    treatments = [{**arm.treatment, **changed} for arm in arms]
    return [Config(treatment, run.seed) for treatment in treatments for run in runs]
