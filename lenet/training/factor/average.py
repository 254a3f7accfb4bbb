"""Which weights a run is tested with: those of its last step, or an average.

A level says by which share weights enter the average, each time that they are looked
at: average <- (1 - share) average + share weights. Training goes on from the weights.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lenet.training.portable_functions import power


class Moment(NamedTuple):
    """When the weights are looked at: the `place`-th of `places` times of a pass (from
    1), in pass `epoch` (from 0) of `epochs`."""

    place: int
    places: int
    epoch: int
    epochs: int


@dataclass(frozen=True)
class Average:
    """A share, from the moment and the level's number in conf/average.

    images: from one time to the next; None: only the end of a pass counts. running:
    batch norm's running statistics are averaged with the weights.
    """

    share: Callable[[Moment, float], float]
    number: str | None = None
    images: int | None = None
    running: bool = True


def of_pass(now: Moment, number: float) -> float:
    """1 / k: the mean over the times of a pass."""
    return 1 / now.place


def ema(now: Moment, decay: float) -> float:
    """(1 - d) / (1 - d^k) at the k-th time of the run: the exponential moving average
    with decay d, corrected for its start at 0 (Kingma and Ba, 2015, sec. 7.2)."""
    k = np.array(now.epoch * now.places + now.place)
    return float((1 - decay) / (1 - power(decay, k)))


def swa(now: Moment, begin: float) -> float:
    """1 / n at the end of the n-th pass of those that end after the share `begin` of
    all; before, the weights as they are (Izmailov et al., 2018, Algorithm 1)."""
    if now.place < now.places:
        return 0.0
    return 1 / max(1, now.epoch + 1 - int(begin * now.epochs))


LEVELS: dict[str, Average | None] = {
    "none": None,  # the weights as they are
    "pass": Average(of_pass, images=100, running=False),
    "ema": Average(ema, "decay", images=640),
    "swa": Average(swa, "begin"),
}
