"""In which order a pass presents the training images."""

from collections.abc import Callable

from jaxtyping import Int64
from torch import Tensor

from lenet.training import draws

Streams = Int64[Tensor, "run"]
Images = Int64[Tensor, "image"]
Orders = Int64[Tensor, "run image"]


def reshuffle(streams: Streams, epoch: int, images: Images) -> Orders:
    """Another random order of the images for each pass."""
    keys = draws.fold(draws.fold(streams, epoch)[:, None], images)
    return images[keys.argsort(dim=1, stable=True)]


def constant(streams: Streams, epoch: int, images: Images) -> Orders:
    """One random order for all passes: that of pass 0 (paper, App. C, p. 41)."""
    return reshuffle(streams, 0, images)


LEVELS: dict[str, Callable[[Streams, int, Images], Orders]] = {
    "constant": constant,
    "reshuffle": reshuffle,
}
