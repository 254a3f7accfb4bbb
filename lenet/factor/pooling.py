"""S2 and S4: from 2x2 non-overlapping neighbours to one unit."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Maps = Float[Tensor, "batch map height width"]
Halved = Float[Tensor, "batch map height//2 width//2"]


@dataclass(frozen=True)
class Pooling:
    """How four neighbours become one.

    trainable: a coefficient, a bias and a squash follow. picks: the one is one of them.
    share: the weight with which an input counts.
    """

    reduce: Callable[[Maps], Halved]
    trainable: bool = False
    picks: bool = False
    share: float = 1.0


def total(maps: Maps) -> Halved:
    """The sum of four inputs, to be multiplied by a coefficient (paper, p. 7)."""
    return 4 * functional.avg_pool2d(maps, 2)


def average(maps: Maps) -> Halved:
    """The mean of four inputs."""
    return functional.avg_pool2d(maps, 2)


def largest(maps: Maps) -> Halved:
    """The largest of four inputs."""
    return functional.max_pool2d(maps, 2)


def stride(maps: Maps) -> Halved:
    """Every second pixel of every second row."""
    return maps[:, :, ::2, ::2]


LEVELS = {
    "subsample": Pooling(total, trainable=True),
    "average": Pooling(average, share=1 / 4),
    "max": Pooling(largest, picks=True),
    "stride": Pooling(stride, picks=True),
}
