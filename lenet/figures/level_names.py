"""What changes, levels and reference networks are called where a person reads them.

A level's file in conf/ holds its `label`, which is no number and part of no treatment.
A change is named by what it is, "ReLU for scaled tanh"; levels of somebody else's runs
have no labels and keep their names.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, NamedTuple

from matplotlib.axis import Axis

from lenet.config import FACTORS, group_levels, preset_treatments
from lenet.figures.canvas import SMALL, text_width
from lenet.studies.effect import ALONE, unique
from lenet.studies.study import Study, level

NETWORKS = {
    "paper": "LeNet-5 of 1998",
    "modern": "LeNet-5 of today",
    "best": "LeNet-5 at its best",
}
NUMBERS = {"epochs": "passes", "head.smoothing": "label smoothing"}
EARLIER = dict(pairwise(reversed(NETWORKS)))  # the preset before each
NOTHING = "none"  # the level of a factor that does nothing
NULL = "null"  # a number that is not set
NAMED_CHANGES = 2  # of a reference from its preset, at most, in its name
FEW = 20  # classes at most of which each is named
DIGITS = tuple("0123456789")  # what classes are called, unless they have other names


class Words(NamedTuple):
    """Labels and years by factor and level; what has none keeps its name. designed:
    the factors whose levels have the names that a design gives them. given: what a
    design calls levels that it does not name by their values."""

    labels: Mapping[str, Mapping[str, str]] = {}
    years: Mapping[str, Mapping[str, int]] = {}
    designed: frozenset[str] = frozenset()
    given: Mapping[str, Mapping[str, str]] = {}

    def label(self, factor: str, level: str) -> str:
        """A level alone: "max pooling", or its name."""
        return self.labels.get(factor, {}).get(level, level.replace("+", " + "))

    def change(self, arm: Any) -> str:
        """An arm by what it is: "ReLU for scaled tanh", or "depth: 3 for 2".

        >>> arm = SimpleNamespace(factor="pooling", level="max", reference="subsample")
        >>> labels = {"max": "max pooling", "subsample": "trained pooling"}
        >>> words = Words({"pooling": labels})
        >>> words.change(arm), Words().change(arm)
        ('max pooling for trained', 'pooling: max for subsample')
        >>> arm = SimpleNamespace(factor="epochs", level="20", reference="60")
        >>> words.change(arm), Words(designed=frozenset(["epochs"])).change(arm)
        ('passes: 20 for 60', 'passes: 20')
        """
        factor, new, old = str(arm.factor), str(arm.level), str(arm.reference)
        known = self.labels.get(factor, {})
        if factor in self.designed:
            return f"{factor_name(factor)}: {known.get(new, new)}"
        if new not in known:
            given = self.given.get(factor, {})
            if given.keys() >= {new, old}:
                return f"{factor}: {given[new]} for {given[old]}"
            named = self.label(factor, new)
            if "+" in factor:
                return named
            against = "" if "+" in old or old in ("", NULL) else f" for {old}"
            return f"{factor_name(factor)}: {named}{against}"
        if NOTHING in (new, old) or old not in known or "+" in new:
            return known[new]
        return f"{known[new]} for {without_shared_end(known[old], known[new])}"

    def dated(self, text: str, factor: str, level: str) -> str:
        """A text with the year of a level behind it, if that is known.

        >>> words = Words(years={"activation": {"relu": 2010}})
        >>> words.dated("ReLU", "activation", "relu")
        'ReLU (2010)'
        """
        year = self.years.get(factor, {}).get(level)
        return f"{text} ({year})" if year else text


def about_images(text: str, names: Sequence[str]) -> str:
    """A text about digits, as of images where the classes are none.

    >>> about_images("digits that one network misreads", ["cat", "dog"])
    'images that one network misreads'
    """
    if tuple(names) == DIGITS:
        return text
    text = text.replace("to one digit", "to one class").replace("no digit", "no class")
    return text.replace("digit", "image").replace("Digit", "Image")


def cut_to_width(text: str, width: float) -> str:
    """A small text, cut where it is wider than so many inches."""
    while text_width(text, SMALL) > width:
        text = f"{text.rstrip('.')[:-1]}."
    return text


def name_ticks(axis: Axis, names: Sequence[str], inches: float) -> None:
    """A tick for each class, by its name, on an axis so long; none where there are
    more than FEW."""
    if len(names) <= FEW:
        each = 0.9 * inches / len(names)
        axis.set_ticks(range(len(names)), [cut_to_width(name, each) for name in names])


def without_shared_end(old: str, new: str) -> str:
    """ "LeCun's" for "LeCun's initialisation" beside "Kaiming's initialisation".

    >>> without_shared_end("LeCun's initialisation", "Kaiming's initialisation")
    "LeCun's"
    """
    *first, last = old.split()
    return " ".join(first) if first and new.split()[-1] == last else old


def study_words(study: Study) -> Words:
    """The words of a study's levels, and of the joint changes that its plan names."""
    names: dict[str, dict[str, str]] = {}
    for factor, keys in study.settings.items():
        for value in unique(study.runs[factor]):
            values = str(value).split("+") if len(keys) > 1 else [str(value)]
            label = joint(zip(keys, values, strict=True))
            if len(keys) > 1 and factor not in study.given_names:
                label = label or joint_numbers(zip(keys, values, strict=True))
            if label:
                names.setdefault(factor, {})[str(value)] = label
    joints: dict[str, dict[str, str]] = {}
    for (factor, name), changed in study.names.items():
        parts: list[tuple[str, str]] = []
        for key, value in changed.items():
            keys = study.settings[key]
            values = str(value).split("+") if len(keys) > 1 else [str(value)]
            parts += zip(keys, values, strict=True)
        joints.setdefault(factor, {})[name] = joint(parts)
    # A name that a design gives, such as "1998", tells nothing by itself: its factor
    # must stand before it, unless all that it joins have labels.
    designed = {factor for factor, labels in joints.items() if not all(labels.values())}
    for factor, labels in joints.items():
        if factor not in designed:
            names.setdefault(factor, {}).update(labels)
    return Words(names, study.years, frozenset(designed), study.given_names)


def study_network(study: Study) -> str:
    """What the reference is called: "LeNet-5 of 1998", or its name; with what the
    design changes of its preset: "LeNet-5 of today with no distortions"."""
    network = NETWORKS.get(study.base, study.base)
    if not (changes := study.base_changes):
        return network
    if len(changes) > NAMED_CHANGES:
        return f"{network} as {study.name} changes it"
    named = [
        joint([(key, str(value))])
        or f"{number_name(key)} {f'{value:g}' if isinstance(value, float) else value}"
        for key, value in changes.items()
    ]
    return f"{network} with {in_words(named)}"


def number_name(key: str) -> str:
    """ "curvature scale" for "optimizer.curvature_scale", "passes" for "epochs".

    >>> number_name("optimizer.curvature_scale"), number_name("head.smoothing")
    ('curvature scale', 'label smoothing')
    """
    return NUMBERS.get(key, key.rpartition(".")[2].replace("_", " "))


def factor_name(factor: str) -> str:
    """What a factor, or a number that a design varies, is called before a level.

    >>> factor_name("epochs"), factor_name("pooling")
    ('passes', 'pooling')
    """
    return NUMBERS.get(factor, factor)


def end_network(study: Study, end: str) -> str:
    """What one end of a ladder or a factorial is called."""
    return study_network(study) if end == study.base else NETWORKS.get(end, end)


def treatment(study: Study, levels: Mapping[str, Any]) -> str:
    """What a treatment is called: by the reference, or by its changes."""
    changed = study.changed(levels)
    if not changed:
        return study_network(study)
    known = study_words(study)
    for (factor, name), change in study.names.items():
        own = factor in known.designed
        if change == changed and (own or factor not in changed):
            label = known.label(factor, name)
            return f"{factor_name(factor)}: {label}" if label == name else label
    arms = [
        SimpleNamespace(factor=factor, level=value, reference=study.reference[factor])
        for factor, value in changed.items()
    ]
    return ", ".join(known.change(arm) for arm in arms)


def joint_words(several: Iterable[Words]) -> Words:
    """The words of several studies."""
    labels: dict[str, dict[str, str]] = {}
    years: dict[str, dict[str, int]] = {}
    designed: set[str] = set()
    given: dict[str, dict[str, str]] = {}
    for words in several:
        designed |= words.designed
        for factor, called in words.given.items():
            given.setdefault(factor, {}).update(called)
        for factor, known in words.labels.items():
            labels.setdefault(factor, {}).update(known)
        for factor, dated in words.years.items():
            years.setdefault(factor, {}).update(dated)
    return Words(labels, years, frozenset(designed), given)


def joint(settings: Iterable[tuple[str, str]]) -> str:
    """The labels of some levels in one phrase; empty where one has none.

    >>> joint([("activation", "relu"), ("pooling", "max")]), joint([("epochs", "20")])
    ('ReLU and max pooling', '')
    """
    parts = [
        group_levels(factor).get(value, {}).get("label", "")
        if factor in FACTORS
        else ""
        for factor, value in settings
    ]
    return in_words(parts) if parts and all(parts) else ""


def joint_numbers(settings: Iterable[tuple[str, str]]) -> str:
    """Some numbers in one phrase; empty where one is none.

    >>> joint_numbers([("augmentation.degrees", "10.0"), ("head.smoothing", "0.05")])
    'degrees 10 and label smoothing 0.05'
    """
    try:
        return in_words(
            f"{number_name(key)} {float(value):g}" for key, value in settings
        )
    except ValueError:
        return ""


def in_words(parts: Iterable[str]) -> str:
    """ "a, b and c", or "a; b and c" where one of them is "b and c".

    >>> in_words(["ReLU"]), in_words(["ReLU", "Adam", "dropout"])
    ('ReLU', 'ReLU, Adam and dropout')
    >>> in_words(["dropout", "ReLU and Adam"])
    'dropout; ReLU and Adam'
    """
    *most, last = parts
    if most and any(" and " in part for part in (*most, last)):
        return "; ".join((*most, last))
    return f"{', '.join(most)} and {last}" if most else last


def puts_back(study: Study) -> bool:
    """Whether each arm undoes what is new: today's LeNet-5 with levels of 1998, or
    the best with today's."""
    return study.base in EARLIER and _all_of(study, EARLIER[study.base])


def _all_of(study: Study, preset: str) -> bool:
    """Whether all that arms change is as in this preset."""
    own = preset_treatments()[preset]
    return all(
        value == level(own, study.settings[factor])
        for treatment in study.treatments
        for factor, value in study.changed(treatment).items()
    )


def where_measured(study: Study, estimand: str) -> str:
    """Where an effect was measured, for a sentence: "in LeNet-5 of 1998"."""
    if estimand.startswith(ALONE) and study.base in NETWORKS:
        return f"in {study_network(study)}"
    for preset in NETWORKS:
        if estimand.endswith(f"(others as in {preset})"):
            return f"in {end_network(study, preset)}"
    return "" if estimand.startswith(ALONE) else "on average"


def estimand_heading(study: Study, estimand: str) -> str:
    """What stands above the effects of one estimand."""
    network = study_network(study) if study.base in NETWORKS else ""
    if not estimand.startswith(ALONE):
        for preset in NETWORKS:
            named = f"as in {end_network(study, preset)}"
            estimand = estimand.replace(f"as in {preset}", named)
        return estimand
    if puts_back(study):
        return f"kept in {network} (effect of having it)"
    if study.base == "paper" and _all_of(study, "modern"):
        return f"added to {network}"
    return f"alone in {network}" if network else estimand
