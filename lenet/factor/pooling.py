"""S2 and S4: from 2x2 non-overlapping neighbours to one unit."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Maps = Float[Tensor, "batch map height width"]


@dataclass(frozen=True)
class Pooling:
    """How four neighbours become one, and whether coefficient, bias, squash follow."""

    reduce: Callable[[Maps], Maps]
    trainable: bool = False


def total(maps: Maps) -> Maps:
    """The sum of four inputs, to be multiplied by a coefficient (paper, p. 7)."""
    return 4 * functional.avg_pool2d(maps, 2)


def average(maps: Maps) -> Maps:
    """The mean of four inputs."""
    return functional.avg_pool2d(maps, 2)


def largest(maps: Maps) -> Maps:
    """The largest of four inputs."""
    return functional.max_pool2d(maps, 2)


def stride(maps: Maps) -> Maps:
    """Every second pixel of every second row."""
    return maps[:, :, ::2, ::2]


LEVELS = {
    "subsample": Pooling(total, trainable=True),
    "average": Pooling(average),
    "max": Pooling(largest),
    "stride": Pooling(stride),
}
