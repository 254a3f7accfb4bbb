"""S2 and S4: from 2x2 non-overlapping neighbours to one unit.

A level is one function, from four pixels (row by row) to what they become and its
derivatives by each of them, in operators that torch's tensors and the values of the
compiled loops share (see activation.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Number = Any
Pooled = tuple[Number, list[Number]]


@dataclass(frozen=True)
class Pooling:
    """How four neighbours become one; trainable: a coefficient, a bias and a squash
    follow."""

    reduce: Callable[[Number, Number, Number, Number], Pooled]
    trainable: bool = False


def total(a: Number, b: Number, c: Number, d: Number) -> Pooled:
    """The sum of four inputs, to be multiplied by a coefficient (paper, p. 7)."""
    return a + b + c + d, [1.0] * 4


def average(a: Number, b: Number, c: Number, d: Number) -> Pooled:
    """The mean of four inputs."""
    return (a + b + c + d) * 0.25, [0.25] * 4


def largest(a: Number, b: Number, c: Number, d: Number) -> Pooled:
    """The largest of four inputs; of equal ones the first gets the derivative."""
    best, none = a, a * 0.0
    shares = [none + 1.0, none, none, none]
    for place, other in enumerate((b, c, d), 1):
        larger = other > best
        shares = [none.where(larger, share) for share in shares]
        shares[place] = (none + 1.0).where(larger, none)
        best = other.where(larger, best)
    return best, shares


def stride(a: Number, b: Number, c: Number, d: Number) -> Pooled:
    """Every second pixel of every second row."""
    return a, [1.0, 0.0, 0.0, 0.0]


LEVELS = {
    "subsample": Pooling(total, trainable=True),
    "average": Pooling(average),
    "max": Pooling(largest),
    "stride": Pooling(stride),
}
