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
from lenet.training.model import LeNet5

Pictures = Float[Tensor, "run batch 28 28"]
Logits = Float[Tensor, "run batch class"]


class Compiled(nn.Module):
    """A stack whose gradients by the pixels come sooner; the parameters have none.

    levels: what it was built with. Networks that the loops do not compute, of other
    classes than ten or in float64, are asked as they are.
    """

    def __init__(self, model: LeNet5, levels: Mapping[str, Value]) -> None:
        super().__init__()
        self.model, self.levels = model, levels

    def forward(self, images: Float[Tensor, "*run batch 28 28"]) -> Logits:
        weight = self.model.C1.weight
        if not compiled.can_run(self.model) or self.training:
            return self.model(images)
        shape = len(weight), *images.shape[-3:]
        return ThroughLoops.apply(images.expand(shape), self.model, self.levels)


class ThroughLoops(torch.autograd.Function):
    """Scores of images, with their derivative by the pixels."""

    @staticmethod
    def forward(
        ctx: Any, images: Pictures, model: LeNet5, levels: Mapping[str, Value]
    ) -> Logits:
        ctx.save_for_backward(images)
        ctx.model, ctx.levels = model, levels
        return compiled.pixel_scores(model, levels, images)

    @staticmethod
    def backward(ctx: Any, pulls: Logits) -> tuple[Pictures, None, None]:
        (images,) = ctx.saved_tensors
        slopes = compiled.pixel_slopes(ctx.model, ctx.levels, images, pulls)
        return slopes, None, None
