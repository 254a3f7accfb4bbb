"""How a weight moves, given its gradient: element by element, or a layer's weights as
one matrix (Muon); so that a stack of runs is a stack of independent optimizers.

A level is one rule, from the gradient g, what is remembered of the weight (m, v) and
the numbers n of this step to (change, m, v): the step's rate times the change is taken
from the weight. It is written in operators that torch's tensors and the values of the
compiled loops share (see activation.py).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from lenet.training.portable_functions import power

Number = Any  # a tensor, or a `Value` of lenet/training/loops/llvm.py
Rule = Callable[[Number, Number, Number, "Numbers"], tuple[Number, Number, Number]]
PerStep = np.ndarray  # float64 [step]
Matrices = Float[Tensor, "run out in"]
# The weights that are one matrix each, [out, what a unit of it sees].
HIDDEN = ("C1.weight", "C3.weight", "C5.weight", "F6.weight")
# Jordan's, see `orthogonalised`.
QUINTIC, TURNS, LEAST = (3.4445, -4.7750, 2.0315), 5, 1e-7


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
    and v are averages that start at 0 (Kingma and Ba, 2015, Algorithm 1). rate: the
    learning rate's name. hidden: the rule of the weights in HIDDEN where they have
    another one, whose change `orthogonalised` follows; `optimizer.lr` and
    `optimizer.momentum` are then theirs.
    """

    rule: Rule
    memory: tuple[str | None, str | None] = (None, None)
    first: str | None = None
    second: str | None = None
    decoupled: bool = False
    corrected: bool = False
    rate: str = "lr"
    hidden: Rule | None = None

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


def muon(g: Number, m: Number, v: Number, n: Numbers) -> tuple[Number, Number, Number]:
    """m <- m + (1 - first) (g - m); g + first (m - g): Nesterov's momentum, m the
    average of the gradients, before `orthogonalised` (Jordan et al., Muon, 2024)."""
    m = m + (g - m) * n.first_rest
    return g + (m - g) * n.first, m, v


def orthogonalised(matrices: Matrices) -> Matrices:
    """About U V^T of each matrix U S V^T: its singular values come near 1.

    Five turns of X <- a X + (b A + c A^2) X with A = X X^T, from X of Frobenius norm 1
    (Newton and Schulz; coefficients and the 1e-7 below are those of Jordan et al.,
    Muon, 2024, where X has 16 bits). The published factor sqrt(max(1, out / in)) is 1:
    no layer here has more units than each of them sees.
    """
    a, b, c = QUINTIC
    x = matrices / (matrices.square().sum((1, 2), keepdim=True).sqrt() + LEAST)
    for _ in range(TURNS):
        square = x @ x.mT
        x = x * a + (square * b + square @ square * c) @ x
    return x


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
    # AdamW for biases, coefficients and the output, as its authors advise.
    "muon": Optimizer(
        adam,
        ("mean", "square"),
        "beta1",
        "beta2",
        decoupled=True,
        corrected=True,
        rate="adamw_lr",
        hidden=muon,
    ),
}
SECOND_ORDER = {"sdlm"}  # needs the curvature
