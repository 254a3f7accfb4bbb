"""What happens to the sums of C1 and C3 before the squash: the bias, or batch norm.

Batch norm has one shift per map, which is the convolution's bias, and no scale, so that
the count of parameters does not change; its statistics are per run and per map.
"""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

Maps = Float[Tensor, "batch map height width"]
PerMap = Float[Tensor, "map"]
EPSILON = 1e-5
MOMENTUM, MOMENTUM_BATCH = 0.1, 64  # the usual 0.1 at batch 64; see `batch`


def batch(maps: Maps, bias: PerMap, mean: PerMap, var: PerMap, training: bool) -> Maps:
    """Maps of mean 0 and variance 1 over batch and pixels, plus their biases.

    In training the statistics are the batch's, and the running ones (mean, var) are
    updated in place with a weight of 0.1 per 64 images, so that they average over as
    many images whatever the batch size; otherwise the running ones are used. In this
    memory layout a map's sums have one order, wherever in a stack it stands.
    Source: Ioffe and Szegedy, ICML 2015, Algorithm 1.
    """
    momentum = min(MOMENTUM, MOMENTUM * len(maps) / MOMENTUM_BATCH)
    apart = maps.contiguous()
    return functional.batch_norm(
        apart, mean, var, None, bias, training, momentum, EPSILON
    )


LEVELS: dict[str, Callable[[Maps, PerMap, PerMap, PerMap, bool], Maps] | None] = {
    "none": None,  # the convolution adds the bias itself
    "batch": batch,
}
