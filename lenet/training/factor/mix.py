"""Whether a run learns from single images, or from mixtures of two.

A level says which share an image has of its mixture; its partner is drawn from all
training images. Both are drawn by (seed, epoch, image). This is a factor of its own and
no augmentation: what it mixes are images that any augmentation has distorted, and their
labels too. Every head's loss is linear in whether a class is the label's, so a mixture
has the mixture of its images' losses.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lenet.training import draws
from lenet.training import portable_functions as portable

Keys = Int64[Tensor, "run batch"]
Batch = Int64[Tensor, "run batch"]
Shares = Float[Tensor, "run batch"]  # of the image itself; its partner has the rest
TRIES = 40  # at most half of the pairs do not fit: 1e-12 of the images have none


def mixup(keys: Keys, alpha: Float[Tensor, "run"]) -> Shares:
    """Shares from Beta(alpha, alpha), alpha at most 1 (Zhang et al., ICLR 2018).

    Joehnk (1964): x = u^(1/alpha) and y = v^(1/alpha), drawn until x + y <= 1; then
    x / (x + y). An image whose pairs never fit has one half.
    """
    power = 1 / alpha.double()[:, None]
    shares = torch.full(keys.shape, 0.5, dtype=torch.float64, device=keys.device)
    waiting = torch.ones_like(shares, dtype=torch.bool)
    for turn in range(TRIES):
        pair = (
            1 - draws.uniform(draws.fold(keys, 2 * turn + index)) for index in (1, 2)
        )
        x, y = (portable.exp(portable.log(number) * power) for number in pair)
        fits = waiting & (x + y <= 1)
        shares, waiting = torch.where(fits, x / (x + y), shares), waiting & ~fits
        if not waiting.any():
            break
    return shares.float()


def partners(keys: Keys, images: Int64[Tensor, "image"]) -> Batch:
    """One of the training images for each key, all alike likely."""
    places = draws.uniform(draws.fold(keys, 0)).double() * len(images)
    return images[places.long()]


LEVELS: dict[str, Callable[[Keys, Float[Tensor, "run"]], Shares] | None] = {
    "none": None,  # single images
    "mixup": mixup,
}
