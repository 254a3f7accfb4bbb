"""What lies in a study's files: the keys of a record and of a plan, and their types.

mypy sees every key; `of_shape` holds what is read from a disk against the same types.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import cache
from types import UnionType
from typing import (
    Any,
    NotRequired,
    TypedDict,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from lenet.config import Refusal, Value


class Point(TypedDict):
    """A point of a run's learning curve: shares and counts after one pass.

    `seconds` is the run's own share of its stack's; the step sizes are sdlm's.
    """

    epoch: int
    seconds: float
    train_error: float
    test_error: float
    train_wrong: NotRequired[int]  # counts: since edition 2
    test_wrong: NotRequired[int]
    validation_error: NotRequired[float]
    validation_wrong: NotRequired[int]
    pgd_error: NotRequired[float]
    pgd_wrong: NotRequired[int]
    least_step: NotRequired[float]
    largest_step: NotRequired[float]


class Code(TypedDict):
    """What trained: the commit, None without git, whether it was edited, its hash."""

    fingerprint: str
    commit: str | None
    dirty: bool | None


class StackPlace(TypedDict):
    """The stack that a run was trained in, and its place there."""

    size: int
    position: int
    threads: int
    device: str


class Measured(TypedDict):
    """What is measured after the last pass; None for a run that diverged."""

    test_error: float | None
    validation_error: NotRequired[float | None]
    corrected_error: NotRequired[float | None]  # added where a study is read


class Record(TypedDict):
    """One run: what it was, what came out, and under which circumstances.

    `right`: base64 of packed bits, one per test image. `answers`: base64 of the class
    given to each missed image. `weights`: SHA-256 of the weight file.
    """

    schema: int
    run_id: str
    status: str  # finished or diverged
    diverged_step: int | None
    treatment: dict[str, Any]
    seed: int
    response: Measured
    curve: list[Point]
    step_sizes: Sequence[float] | None  # sdlm: least and largest in the first pass
    right: str | None
    images: int
    stack: StackPlace
    code: Code
    data: str
    weights: str | None
    versions: dict[str, str]
    hardware: str
    seconds: float
    edition: NotRequired[int]  # these four: since edition 2
    answers: NotRequired[str | None]
    portable: NotRequired[bool]
    classes: NotRequired[int]  # 10 where it is not said
    class_names: NotRequired[list[str]]  # these two: of one's own pictures
    inverted: NotRequired[bool]
    processor_seconds: NotRequired[float]
    seal: NotRequired[str]


class PlannedArm(TypedDict):
    """A treatment of a plan: what it is called, what it changes, and its runs."""

    name: str
    levels: dict[str, str]
    changes: dict[str, Value]
    treatment: dict[str, Any]
    runs: list[str]
    search: NotRequired[list[str]]


class Plan(TypedDict):
    """What a study is to be: every arm, seed and run, written before any is trained."""

    study: str
    design: str
    kind: str
    preset: str
    factors: list[str]
    levels: dict[str, dict[str, dict[str, Any]]]
    reference: dict[str, Value]
    arms: list[PlannedArm]
    seeds: list[int]
    search_seeds: list[int]
    search_changes: NotRequired[dict[str, Value]]
    runs: list[str]
    data: dict[str, str]
    code: Code
    edition: NotRequired[int]
    seal: NotRequired[str]


class Attempt(TypedDict):
    """A failed try to train some runs: which, why, and what was said."""

    runs: list[str]
    cause: str
    said: str
    time: str
    host: str
    seal: NotRequired[str]


Shape = TypeVar("Shape")


def of_shape(content: Any, shape: type[Shape], what: str) -> Shape:
    """The content, if it has every key of a TypedDict and each is of its type.

    Looks into dicts that are TypedDicts themselves, not along lists: whoever reads a
    plan or a record asks it of each arm or point too. A Refusal (4) names the key that
    is wrong.
    """
    for name, must, fits in shape_keys(cast(Hashable, shape)):
        if not must and name not in (content or {}):
            continue
        # `...` stands for a key that is not there: it is of no type.
        if not isinstance(content, dict) or not fits(content.get(name, ...)):
            raise Refusal(f"{what} is of the wrong shape: see its {name!r}", 4)
    return cast(Shape, content)


Fits = Callable[[Any], bool]


@cache
def shape_keys(shape: Any) -> list[tuple[str, bool, Fits]]:
    """The keys that a TypedDict may have, whether it must, and what tells whether a
    value read from JSON is of a key's type. Made once: ten thousand records have half a
    million values."""
    kinds = get_type_hints(shape)
    return [
        (name, name in shape.__required_keys__, value_check(kind))
        for name, kind in kinds.items()
    ]


def value_check(kind: Any) -> Fits:
    """What tells whether a value is of a type; what lists hold is not looked at."""
    if kind is Any:
        return lambda value: value is not ...
    if is_typeddict(kind):
        inner = shape_keys(kind)
        return lambda value: (
            isinstance(value, dict)
            and all(
                fits(value.get(name, ...))
                for name, must, fits in inner
                if must or name in value
            )
        )
    types = classes(kind)
    return lambda value: isinstance(value, types)


def classes(kind: Any) -> tuple[type, ...]:
    """The classes whose instances are of a type: a whole number is a float too."""
    if get_origin(kind) in (Union, UnionType):
        return tuple(kept for part in get_args(kind) for kept in classes(part))
    # list[str] and dict[str, int] are looked at as list and dict.
    return (int, float) if kind is float else (get_origin(kind) or kind,)
