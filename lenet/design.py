"""A design: the treatments of a study, from a file in conf/design.

A design names its kind, the settings that all of its runs share, and the levels of each
factor to be tried. Every treatment is composed and checked before anything runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from lenet.config import CONF, Config, Places, Refusal, Value, composed, suggest

KINDS = ("one_factor",)
KEYS = ("kind", "base", "factors")


@dataclass(frozen=True)
class Design:
    """What a study trains: a run for every treatment and seed, the reference first."""

    name: str
    kind: str
    reference: Mapping[str, Value]
    factors: Sequence[str]
    runs: Sequence[Config]
    places: Places


def available() -> list[str]:
    """The names of the designs in conf/design."""
    return sorted(path.stem for path in (CONF / "design").glob("*.yaml"))


def read(name: str) -> dict[str, Any]:
    """The content of a design's file, if it has what a design needs and no more."""
    if name not in available():
        raise Refusal(suggest(name, available(), "design", "designs"))
    content = yaml.safe_load((CONF / "design" / f"{name}.yaml").read_text())
    for key in content:
        if key not in KEYS:
            raise Refusal(suggest(key, KEYS, f"key of design {name}", "keys"))
    if content["kind"] not in KINDS:
        raise Refusal(suggest(content["kind"], KINDS, "kind of design", "kinds"))
    return dict(content)


def load(name: str, overrides: Sequence[str]) -> Design:
    """The design in a file; `overrides`, key=value, hold for all of its runs."""
    content = read(name)
    typed = {text.split("=")[0] for text in overrides}
    if clash := typed & set(content["factors"]):
        factor = clash.pop()
        raise Refusal(f"{factor}= is what design={name} varies: leave it out")
    base = [f"{k}={v}" for k, v in content["base"].items() if k not in typed]
    base += overrides
    runs, places = composed(base)
    reference = dict(runs[0].treatment)
    for factor, levels in content["factors"].items():
        for level in levels:
            runs += composed([*base, f"{factor}={level}"])[0]
    unique = {(tuple(run.treatment.items()), run.seed): run for run in runs}
    factors = list(content["factors"])
    return Design(name, content["kind"], reference, factors, [*unique.values()], places)
