"""Which pixels a class's logit depends on: four maps of each image, signed.

The score of an image is the logit of one class, by default the class that the run sees.
A map is the gradient of the score by the pixels, or made of such gradients; what is
drawn may lose its sign, what is returned has it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from lenet.config import Refusal, suggest
from lenet.interpret.images import gradients
from lenet.interpret.layer_outputs import (
    Classes,
    Images,
    Pictures,
    explained_classes,
    readable_images,
)
from lenet.training import draws
from lenet.training.loops.sizes import PICTURE_SIDE, PICTURE_SIZE
from lenet.training.model import LeNet5


@dataclass(frozen=True)
class Saliency:
    """The numbers of the methods: nodes of the integral; draws of noise and its sd."""

    nodes: int = 50
    samples: int = 32
    noise: float = 0.15  # in units of a pixel

    def __post_init__(self) -> None:
        if self.nodes < 1 or self.samples < 1 or not 0 <= self.noise <= 1:
            raise Refusal(f"{self}: nodes and samples are 1 or more, noise is 0 to 1")


def gradient(
    model: LeNet5,
    images: Images,
    classes: Classes,
    spec: Saliency = Saliency(),
    seed: int = 0,
) -> Pictures:
    """dS/dx: how the score rises with each pixel (Simonyan et al., 2013)."""
    runs = len(model.input.scale)
    with gradients(model):
        pixels = images.expand(runs, *images.shape[-3:]).clone().requires_grad_()
        score = model(pixels).gather(-1, classes[..., None].clone()).sum()
        return torch.autograd.grad(score, pixels)[0]


def gradient_times_input(
    model: LeNet5,
    images: Images,
    classes: Classes,
    spec: Saliency = Saliency(),
    seed: int = 0,
) -> Pictures:
    """x dS/dx: what the score loses without the pixel, to first order."""
    return images * gradient(model, images, classes)


def integrated_gradients(
    model: LeNet5,
    images: Images,
    classes: Classes,
    spec: Saliency = Saliency(),
    seed: int = 0,
) -> Pictures:
    """x times the mean of dS/dx on the way from background to x.

    The maps add up to S(x) - S(background) (completeness). The mean over the way is
    Gauss and Legendre's quadrature (Sundararajan et al., ICML 2017).
    """
    # The nodes lie in [-1, 1] with weights that add up to 2; the way is [0, 1].
    nodes, weights = np.polynomial.legendre.leggauss(spec.nodes)
    total = torch.zeros((), dtype=images.dtype, device=images.device)
    for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
        total = total + weight / 2 * gradient(model, images * (1 + node) / 2, classes)
    return images * total


def smooth_grad(
    model: LeNet5,
    images: Images,
    classes: Classes,
    spec: Saliency = Saliency(),
    seed: int = 0,
) -> Pictures:
    """The mean of dS/dx over noisy copies of x (Smilkov et al., 2017).

    The noise is normal and the same for every image and run: keyed by the seed.
    """
    key = draws.stream([seed], "smoothgrad", images.device)
    places = torch.arange(PICTURE_SIZE, device=images.device)
    places = places.view(PICTURE_SIDE, PICTURE_SIDE)
    total = torch.zeros((), dtype=images.dtype, device=images.device)
    for sample in range(spec.samples):
        noise = spec.noise * draws.normal(draws.fold(draws.fold(key, sample), places))
        noisy = images + noise.to(images.dtype)
        total = total + gradient(model, noisy, classes) / spec.samples
    return total


Method = Callable[[LeNet5, Images, Classes, Saliency, int], Pictures]
METHODS: dict[str, Method] = {
    "gradient": gradient,
    "gradient_times_input": gradient_times_input,
    "integrated_gradients": integrated_gradients,
    "smooth_grad": smooth_grad,
}
# What adds up over pixels is ranked by its sign; a slope by its size.
SLOPES = ("gradient", "smooth_grad")


def saliency(
    model: LeNet5,
    images: Any,
    method: str,
    classes: Any = None,
    spec: Saliency = Saliency(),
    seed: int = 0,
) -> Pictures:
    """The map [run, n, 28, 28] of one of METHODS for every image and run.

    images: as `images.checked_images` takes them. classes: whose logit is explained,
    one for all, one for each image, or [run, image]; by default what each run sees.

    >>> from lenet.interpret.trained_network import load
    >>> net, images = load("modern"), torch.zeros(1, 28, 28)
    >>> images[:, 5:23, 13:16] = 1  # a one
    >>> maps = saliency(net.model, images, "integrated_gradients", classes=1)
    >>> maps.shape
    torch.Size([1, 1, 28, 28])
    >>> gained = net(images)[0, 1] - net(torch.zeros(1, 28, 28))[0, 1]
    >>> 0.99 < float(maps.sum() / gained) < 1.01  # they add up to what the logit gains
    True
    """
    if method not in METHODS:
        raise Refusal(suggest(method, METHODS, "method", "methods"))
    pixels = readable_images(model, images)
    seen = explained_classes(model, pixels, classes)
    return METHODS[method](model, pixels, seen, spec, seed)
