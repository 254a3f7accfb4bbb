"""The squashing function f(a) of a unit: after C1, C3, C5 and F6, and after S2 and S4
where those have coefficients (`pooling=subsample`).

A level is one function, from a to (f(a), f'(a)). It is written in operators and methods
of torch's tensors (`exp`, `tanh`, `erf`, `sqrt`, `where`, `maximum`), which the values
of the compiled loops have too: the one formula trains in both.
"""

import math
from collections.abc import Callable
from typing import Any

Number = Any  # a tensor, or a `Value` of lenet/training/loops/llvm.py
AMPLITUDE, SLOPE = 1.7159, 2 / 3  # paper, App. A, p. 41


def scaled_tanh(a: Number) -> tuple[Number, Number]:
    """1.7159 tanh(2/3 a): f(1) = 1, f(-1) = -1 (paper, App. A, p. 41)."""
    t = (a * SLOPE).tanh()
    return t * AMPLITUDE, (1 - t * t) * (AMPLITUDE * SLOPE)


def tanh(a: Number) -> tuple[Number, Number]:
    """The hyperbolic tangent."""
    t = a.tanh()
    return t, 1 - t * t


def sigmoid(a: Number) -> tuple[Number, Number]:
    """1 / (1 + exp(-a)); exp is held where float32 can square it."""
    decay = (a * -1.0).clamp(-40.0, 40.0).exp()
    s = 1 / (decay + 1)
    return s, s * s * decay


def relu(a: Number) -> tuple[Number, Number]:
    """a where positive, 0 elsewhere; not a number stays so, to show in the loss."""
    return leaky(a, 0.0)


def leaky_relu(a: Number) -> tuple[Number, Number]:
    """a where positive, 0.01 a elsewhere (Maas et al., 2013)."""
    return leaky(a, 0.01)


def leaky(a: Number, slope: float) -> tuple[Number, Number]:
    """a where positive, slope times a elsewhere."""
    positive, flat = a > 0, a * 0.0
    return a.where(positive, a * slope), (flat + 1.0).where(positive, flat + slope)


def gelu(a: Number) -> tuple[Number, Number]:
    """a times the standard normal distribution's share below a (Hendrycks and Gimpel,
    2016)."""
    below = (a * math.sqrt(0.5)).erf() * 0.5 + 0.5
    density = (a * a * -0.5).exp() * (1 / math.sqrt(2 * math.pi))
    return a * below, a * density + below


def silu(a: Number) -> tuple[Number, Number]:
    """a sigmoid(a) (Hendrycks and Gimpel, 2016)."""
    s, slope = sigmoid(a)
    return a * s, a * slope + s


LEVELS: dict[str, Callable[[Number], tuple[Number, Number]]] = {
    "scaled_tanh": scaled_tanh,
    "tanh": tanh,
    "sigmoid": sigmoid,
    "relu": relu,
    "leaky_relu": leaky_relu,
    "gelu": gelu,
    "silu": silu,
}


def squash_of(level: str) -> Callable[[Number], Number]:
    """f(a) alone."""
    formula = LEVELS[level]
    return lambda a: formula(a)[0]
