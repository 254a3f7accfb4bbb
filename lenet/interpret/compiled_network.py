"""The same network through the compiled loops, for the many gradients of an attack.

Torch takes a dozen passes over the maps of C1 for each; the loops take images eight by
eight through all layers, and find no gradient but that by the pixels.
"""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lenet.config import Value
from lenet.training import compiled
from lenet.training.loops.passes import PixelLoops
from lenet.training.model import LeNet5

Pictures = Float[Tensor, "run batch 28 28"]
Logits = Float[Tensor, "run batch class"]


class Compiled(nn.Module):
    """A trained stack whose gradients by the pixels come sooner.

    levels: what it was built with. Its weights are those of this moment, and have no
    gradients; it answers as in evaluation in either mode. Networks that the loops do
    not compute, of other classes than ten or in float64, are asked as they are.
    """

    def __init__(self, model: LeNet5, levels: Mapping[str, Value]) -> None:
        super().__init__()
        self.model, can = model, compiled.can_run(model)
        self.loops = compiled.pixel_loops(model, levels) if can else None

    def forward(self, images: Float[Tensor, "*run batch 28 28"]) -> Logits:
        if self.loops is None:
            return self.model(images)
        shape = len(self.model.C1.weight), *images.shape[-3:]
        return ThroughLoops.apply(images.expand(shape), self.loops)


class ThroughLoops(torch.autograd.Function):
    """Scores of images, with their derivative by the pixels."""

    @staticmethod
    def forward(ctx: Any, images: Pictures, loops: PixelLoops) -> Logits:
        ctx.save_for_backward(images)
        ctx.loops = loops
        scores = loops.scores(images.numpy(), torch.get_num_threads())
        return torch.from_numpy(scores)

    @staticmethod
    def backward(ctx: Any, pulls: Logits) -> tuple[Pictures, None]:
        (images,) = ctx.saved_tensors
        slopes = ctx.loops.slopes(
            images.numpy(), pulls.numpy(), torch.get_num_threads()
        )
        return torch.from_numpy(slopes), None
