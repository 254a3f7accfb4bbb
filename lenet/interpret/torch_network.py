"""The same network with torch's own operators, for the many gradients of an attack.

In `LeNet5` activations and poolings are formulas that are compiled as well; through
torch each costs a dozen passes over its maps. Where torch has an operator for one it is
taken here, and the rest is asked of the network. Logits and gradients are the same.
"""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lenet.training.factor.activation import AMPLITUDE, SLOPE
from lenet.training.model import (
    Convolution,
    Dense,
    Halved,
    LeNet5,
    Maps,
    Subsampling,
    by_run,
    side_by_side,
)

SQUASHES: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "scaled_tanh": lambda a: AMPLITUDE * torch.tanh(SLOPE * a),
    "sigmoid": torch.sigmoid,
}
POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "max": lambda maps: functional.max_pool2d(maps, 2),
    "average": lambda maps: functional.avg_pool2d(maps, 2),
    "subsample": lambda maps: functional.avg_pool2d(maps, 2, divisor_override=1),
}


class Swift(nn.Module):
    """A stack whose gradients by the pixels come sooner.

    levels: those of `activation` and `pooling` that it was built with.
    """

    def __init__(self, model: LeNet5, levels: Mapping[str, str]) -> None:
        super().__init__()
        self.model = model
        self.own = SQUASHES.get(levels["activation"])
        self.pool = POOLINGS.get(levels["pooling"])

    def forward(
        self, images: Float[Tensor, "*run batch 28 28"]
    ) -> Float[Tensor, "run batch class"]:
        net = self.model
        signal = net.input(images)
        for convolution, pooling in ((net.C1, net.S2), (net.C3, net.S4)):
            signal = self.pooled(pooling, self.squashed(convolution, signal))
        signal = self.squashed(net.C5, signal)
        last = net.F6 if isinstance(net.output, Dense) else None  # RBF: F6 has its own
        signal = self.squashed(net.F6, signal) if last else net.F6(signal)
        return net.output(signal)

    def squashed(self, layer: Convolution | Dense, signal: Tensor) -> Tensor:
        """What C1, C3, C5 or F6 gives."""
        return self.own(layer.sums(signal)) if self.own else layer(signal)

    def pooled(self, layer: Subsampling, maps: Maps) -> Halved:
        """What S2 or S4 gives."""
        if not self.pool:
            return layer(maps)
        pooled = by_run(self.pool(side_by_side(maps)), len(maps))
        if layer.bias is None:
            return pooled
        kernels = layer.coefficient.view(-1, 1, 1, 1)
        sums = functional.conv2d(
            side_by_side(pooled), kernels, layer.bias.flatten(), groups=len(kernels)
        )
        squash = self.own or layer.squash
        return by_run(squash(sums), len(maps))
