"""How weights begin, from draws that are keyed by run, parameter and position.

Levels that draw from the same distribution share their draws up to a scale. Biases and
subsampling coefficients begin at the constants init.bias and init.coefficient.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lenet.training import draws

Keys = Int64[Tensor, "run out *fan"]
Weights = Float[Tensor, "run out *fan"]
FanIn = Float[Tensor, "out *ones"]


def lecun(keys: Keys, fan_in: FanIn, fan_out: float) -> Weights:
    """Uniform in +-2.4/F, F the unit's fan-in, as printed (paper, App. A, p. 41)."""
    return (2 * draws.uniform(keys) - 1) * (2.4 / fan_in)


def lecun_sqrt(keys: Keys, fan_in: FanIn, fan_out: float) -> Weights:
    """Uniform in +-1.2/sqrt(F): with h itself about the step sizes of App. C."""
    return (2 * draws.uniform(keys) - 1) * (1.2 / fan_in.sqrt())


def lush(keys: Keys, fan_in: FanIn, fan_out: float) -> Weights:
    """Uniform in +-1/sqrt(F), as in LUSH, the authors' later code (2002)."""
    return (2 * draws.uniform(keys) - 1) / fan_in.sqrt()


def xavier(keys: Keys, fan_in: FanIn, fan_out: float) -> Weights:
    """Uniform in +-sqrt(6/(fan in + fan out)) (Glorot and Bengio, 2010, eq. 16)."""
    return (2 * draws.uniform(keys) - 1) * (6 / (fan_in + fan_out)).sqrt()


def kaiming(keys: Keys, fan_in: FanIn, fan_out: float) -> Weights:
    """Normal with variance 2/F (He et al., 2015, eq. 10)."""
    return draws.normal(keys) * math.sqrt(2) / fan_in.sqrt()


def orthogonal(keys: Keys, fan_in: FanIn, fan_out: float) -> Weights:
    """Orthonormal rows (or columns, where there are fewer) (Saxe et al., 2014).

    The same for every scale of fan-in; C3's table keeps its part of the full matrix.
    """
    matrices = draws.normal(keys).flatten(2).double().cpu().numpy()
    wide = matrices.shape[1] < matrices.shape[2]
    rows = [orthonormal(matrix if wide else matrix.T) for matrix in matrices]
    found = np.stack([matrix if wide else matrix.T for matrix in rows])
    return torch.from_numpy(found).to(keys.device).view(keys.shape).float()


def orthonormal(rows: "np.ndarray") -> "np.ndarray":
    """Rows made orthonormal one after the other (Gram and Schmidt, twice each: Giraud
    et al., 2005); uniform, as Haar has it, for normal ones. Sums go from the first
    number to the last (`cumsum`), on every machine alike."""
    found = np.zeros_like(rows)
    for place, row in enumerate(rows):
        for _ in range(2 if place else 0):
            shares = np.cumsum(found[:place] * row, 1)[:, -1]
            row = row - np.cumsum(shares[:, None] * found[:place], 0)[-1]
        found[place] = row / np.sqrt(np.cumsum(row * row)[-1])
    return found


LEVELS: dict[str, Callable[[Keys, FanIn, float], Weights]] = {
    "lecun": lecun,
    "lecun_sqrt": lecun_sqrt,
    "lush": lush,
    "xavier": xavier,
    "kaiming": kaiming,
    "orthogonal": orthogonal,
}
