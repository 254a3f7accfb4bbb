"""How a weight moves, given its gradient: element by element, so that a stack of runs
is a stack of independent optimizers.

A level is one rule, from the gradient g, what is remembered of the weight (m, v) and
the numbers n of this step to (change, m, v): the step's rate times the change is taken
from the weight. It is written in operators that torch's tensors and the values of the
compiled loops share (see activation.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lenet.training.exact import power

Number = Any  # a tensor, or a `Value` of lenet/training/loops/llvm.py
Rule = Callable[[Number, Number, Number, "Numbers"], tuple[Number, Number, Number]]
PerStep = np.ndarray  # float64 [step]


class Numbers(NamedTuple):
    """What a rule needs beside the gradient; `rest` is 1 - `second`."""

    first: Number
    first_rest: Number
    second: Number
    rest: Number
    epsilon: Number


@dataclass(frozen=True)
class Optimizer:
    """A rule, what its memory m and v is called, and which of conf/optimizer's numbers
    are `first` and `second`.

    decoupled: weight decay acts on the weights, not through the gradient. corrected: m
    and v are averages that start at 0 (Kingma and Ba, 2015, Algorithm 1).
    """

    rule: Rule
    memory: tuple[str | None, str | None] = (None, None)
    first: str | None = None
    second: str | None = None
    decoupled: bool = False
    corrected: bool = False

    def corrections(
        self, first: float, second: float, steps: "np.ndarray"
    ) -> tuple[PerStep, PerStep]:
        """What rate and epsilon are multiplied by at these steps, counted from 1."""
        if not self.corrected:
            return np.ones(len(steps)), np.ones(len(steps))
        scale = np.sqrt(1 - power(second, steps))
        return scale / (1 - power(first, steps)), scale


def sgd(g: Number, m: Number, v: Number, n: Numbers) -> tuple[Number, Number, Number]:
    """g."""
    return g, m, v


def momentum(
    g: Number, m: Number, v: Number, n: Numbers
) -> tuple[Number, Number, Number]:
    """m <- first m + g; m (Polyak, 1964)."""
    m = m * n.first + g
    return m, m, v


def nesterov(
    g: Number, m: Number, v: Number, n: Numbers
) -> tuple[Number, Number, Number]:
    """m <- first m + g; first m + g (Sutskever et al., 2013)."""
    m = m * n.first + g
    return m * n.first + g, m, v


def rmsprop(
    g: Number, m: Number, v: Number, n: Numbers
) -> tuple[Number, Number, Number]:
    """v <- second v + (1 - second) g^2; g / (sqrt(v) + epsilon) (Tieleman, 2012)."""
    v = v + (g * g - v) * n.rest
    return g / (v.sqrt() + n.epsilon), m, v


def adam(g: Number, m: Number, v: Number, n: Numbers) -> tuple[Number, Number, Number]:
    """m and v, the averages of g and g^2; m / (sqrt(v) + epsilon), of which the
    corrections for their start at 0 are in rate and epsilon (Kingma and Ba, 2015)."""
    m = m + (g - m) * n.first_rest
    v = v + (g * g - v) * n.rest
    return m / (v.sqrt() + n.epsilon), m, v


def sdlm(g: Number, m: Number, v: Number, n: Numbers) -> tuple[Number, Number, Number]:
    """v g, where v is 1 / (mu + h), h the curvature that curvature.py finds
    before each pass (paper, App. C, p. 41-42)."""
    return g * v, m, v


LEVELS: Mapping[str, Optimizer] = {
    "sgd": Optimizer(sgd),
    "momentum": Optimizer(momentum, ("velocity", None), "momentum"),
    "nesterov": Optimizer(nesterov, ("velocity", None), "momentum"),
    "rmsprop": Optimizer(rmsprop, (None, "square"), None, "decay"),
    "adam": Optimizer(adam, ("mean", "square"), "beta1", "beta2", corrected=True),
    "adamw": Optimizer(
        adam, ("mean", "square"), "beta1", "beta2", decoupled=True, corrected=True
    ),
    "sdlm": Optimizer(sdlm, (None, "step_size")),
}
SECOND_ORDER = {"sdlm"}  # needs the curvature
