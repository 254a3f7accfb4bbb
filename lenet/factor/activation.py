"""The squashing function f(a) of a unit: after C1, C3, C5 and F6, and after S2 and S4
where those have coefficients (`pooling=subsample`)."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Units = Float[Tensor, "..."]
AMPLITUDE, SLOPE = 1.7159, 2 / 3  # paper, App. A, p. 41


def scaled_tanh(a: Units) -> Units:
    """1.7159 tanh(2/3 a): f(1) = 1, f(-1) = -1 (paper, App. A, p. 41)."""
    return AMPLITUDE * torch.tanh(SLOPE * a)


def sigmoid(a: Units) -> Units:
    """1 / (1 + exp(-a)), by way of tanh: torch.sigmoid's last bits depend on where in
    memory a unit lies, and so on the stack."""
    return (1 + torch.tanh(a / 2)) / 2


def silu(a: Units) -> Units:
    """a sigmoid(a) (Hendrycks and Gimpel, 2016)."""
    return a * sigmoid(a)


def leaky_relu(a: Units) -> Units:
    """a where positive, 0.01 a elsewhere (Maas et al., 2013)."""
    return functional.leaky_relu(a, 0.01)


LEVELS: dict[str, Callable[[Units], Units]] = {
    "scaled_tanh": scaled_tanh,
    "tanh": torch.tanh,
    "sigmoid": sigmoid,
    "relu": torch.relu,
    "leaky_relu": leaky_relu,
    "gelu": functional.gelu,
    "silu": silu,
}
ORDER_KEEPING = set(LEVELS) - {"gelu", "silu"}  # a <= b gives f(a) <= f(b)
