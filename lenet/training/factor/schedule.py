"""By what a step multiplies the optimizer's learning rate."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lenet.training import portable_functions as portable

Progress = Float[Tensor, "step"]  # the share of all steps done, in [0, 1)
PAPER = (1.0, 1.0, 0.4, 0.4, 0.4, 0.2, 0.2, 0.2, *(0.1,) * 4, *(0.02,) * 8)


def constant(progress: Progress, epoch: int, warmup: float) -> Progress:
    """1 throughout."""
    return torch.ones_like(progress)


def steps_1998(progress: Progress, epoch: int, warmup: float) -> Progress:
    """1, 1, .4 x3, .2 x3, .1 x4, .02 x8 by pass; .02 after those (paper, p. 10)."""
    return torch.full_like(progress, PAPER[min(epoch, len(PAPER) - 1)])


def cosine(progress: Progress, epoch: int, warmup: float) -> Progress:
    """Half a cosine, from 1 to 0 (Loshchilov and Hutter, 2017, without restarts)."""
    return (1 + portable.cos(progress / 2)) / 2


def one_cycle(progress: Progress, epoch: int, warmup: float) -> Progress:
    """From 1/25 linearly to 1 in the share `warmup`, then half a cosine to 0.

    Source: Smith and Topin, 2017; the numbers are fast.ai's.
    """
    up = 1 / 25 + (1 - 1 / 25) * progress / max(warmup, 1e-9)
    down = (1 + portable.cos((progress - warmup) / (1 - warmup) / 2)) / 2
    return torch.where(progress < warmup, up, down)


LEVELS: dict[str, Callable[[Progress, int, float], Progress]] = {
    "constant": constant,
    "steps_1998": steps_1998,
    "cosine": cosine,
    "one_cycle": one_cycle,
}
