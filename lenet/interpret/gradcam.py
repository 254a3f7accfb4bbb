"""Grad-CAM: where in a layer the evidence for a class lies, and where that is on paper.

L = sum_k a_k A_k, with A_k the layer's maps and a_k the mean over the map of dS/dA_k
(Selvaraju et al., ICCV 2017). The sum is returned with its sign; the published map is
max(L, 0), which is empty where nothing speaks for the class.

A cell is drawn at the middle of the pixels that it sees. The usual stretch of the map
over the whole image draws S4's cells up to 3.2 pixels off.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lenet.interpret.images import gradients
from lenet.interpret.layer_outputs import (
    MAPS,
    Classes,
    Images,
    Pictures,
    explained_classes,
    readable_images,
    refuse_unknown_layer,
)
from lenet.training.factor.pooling import stride
from lenet.training.loops.sizes import EDGE, PICTURE_SIDE
from lenet.training.model import LeNet5

Cells = Float[Tensor, "run batch height width"]


@dataclass(frozen=True)
class GradCam:
    """Which layer is read, and whether its map is stretched over the image."""

    layer: str = "S4"
    stretch: bool = False

    def __post_init__(self) -> None:
        refuse_unknown_layer(self.layer, MAPS)


class Field(NamedTuple):
    """Cell i of a layer sees the pixels from start + jump i, `size` of them."""

    start: int
    jump: int
    size: int

    @property
    def middle(self) -> float:
        """The middle of what cell 0 sees."""
        return self.start + (self.size - 1) / 2


def receptive_field(model: LeNet5, layer: str) -> Field:
    """What the cells of C1, S2, C3 or S4 see, along either axis of the image.

    A window of k inputs that are `jump` pixels apart adds (k - 1) jump to the size.
    """
    refuse_unknown_layer(layer, MAPS)
    window = 1 if model.S2.reduce is stride else 2
    # Cell 0 of C1 begins in the padding, so before pixel 0.
    start, jump, size = -EDGE, 1, 1
    for name in MAPS[: MAPS.index(layer) + 1]:
        convolution = name.startswith("C")
        size += ((5 if convolution else window) - 1) * jump
        jump *= 1 if convolution else 2
    return Field(start, jump, size)


def cells(model: LeNet5, images: Images, classes: Classes, layer: str) -> Cells:
    """L, signed, on the cells of a layer."""
    runs = len(model.input.scale)
    with gradients(model):
        pixels = images.expand(runs, *images.shape[-3:]).clone().requires_grad_()
        seen = model.activations(pixels)
        # One sum over images and runs: the slope of each depends on its own score
        # alone.
        score = seen["output"].gather(-1, classes[..., None].clone()).sum()
        slopes = torch.autograd.grad(score, seen[layer])[0]
        weights = slopes.mean((-2, -1), keepdim=True)
        return (weights * seen[layer]).sum(2).detach()


def empty(signed: Float[Tensor, "run batch *place"]) -> Bool[Tensor, "run batch"]:
    """Whether nothing in a map speaks for the class."""
    return ~(signed > 0).flatten(2).any(-1)


def normalised(signed: Float[Tensor, "run batch *place"]) -> Tensor:
    """max(L, 0) divided by its largest value; zero where the map is empty."""
    positive = signed.clamp(min=0)
    most = positive.flatten(2).amax(-1)[..., None, None]
    return torch.where(most > 0, positive / most.where(most > 0, 1), 0)


def map_on_image(signed: Cells, field: Field) -> Pictures:
    """The map on the image, linear between the middles of what the cells see."""
    at = torch.arange(PICTURE_SIDE, device=signed.device)
    return between_cells(signed, (at - field.middle) / field.jump)


def stretched(signed: Cells) -> Pictures:
    """The map stretched over the image, as other programs draw it."""
    at = torch.arange(PICTURE_SIDE, device=signed.device)
    return between_cells(signed, (at + 0.5) * signed.shape[-1] / PICTURE_SIDE - 0.5)


def between_cells(signed: Cells, at: Float[Tensor, "28"]) -> Pictures:
    """The map at these places between cells, along both axes; constant outside."""
    count = signed.shape[-1]
    at = at.clamp(0, count - 1)
    apart = (at[:, None] - torch.arange(count, device=at.device)).abs()
    # Tents around the cells: linear between the two nearest, and adding up to 1.
    weights = (1 - apart).clamp(min=0).to(signed.dtype)
    return weights @ signed @ weights.T


def grad_cam(
    model: LeNet5,
    images: Any,
    classes: Any = None,
    spec: GradCam = GradCam(),
) -> Pictures:
    """The signed map [run, n, 28, 28] on the image for every image and run.

    images: as `images.checked_images` takes them. classes: whose logit is explained,
    one for all, one for each image, or [run, image]; by default what each run sees.

    >>> from lenet.interpret.trained_network import load
    >>> grad_cam(load("modern").model, torch.zeros(2, 28, 28), classes=7).shape
    torch.Size([1, 2, 28, 28])
    """
    pixels = readable_images(model, images)
    signed = cells(model, pixels, explained_classes(model, pixels, classes), spec.layer)
    if spec.stretch:
        return stretched(signed)
    return map_on_image(signed, receptive_field(model, spec.layer))
