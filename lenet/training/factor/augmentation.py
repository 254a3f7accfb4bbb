"""Distorted training images: a batch at a time, in the pixel domain.

Each image of each run has its own draws, keyed by (seed, epoch, image), and is sampled
bilinearly; what comes from outside the image is background.
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from lenet.training import draws
from lenet.training import portable_functions as portable

Images = Float[Tensor, "image height width"]
Keys = Int64[Tensor, "image"]
Number = Callable[[str], Float[Tensor, "image"]]
Level = Callable[[Images, Keys, Number], Images]
# Where the pixel at p, from the centre, x right and y down, comes from: A p + b.
Source = Float[Tensor, "image 2 3"]


def none(images: Images, keys: Keys, number: Number) -> Images:
    """The images as they are."""
    return images


def affine_1998(keys: Keys, number: Number) -> Source:
    """Planar affine distortions of a share of the images (paper, p. 11).

    Translation, scaling, squeezing (horizontal compression with vertical elongation, or
    the reverse) and horizontal shearing, no rotation. Nine of ten images the paper
    trained on were distorted; the magnitudes are measured on its Fig. 7.
    """
    scale = between(
        keys,
        0,
        portable.log(number("scale_low")),
        portable.log(number("scale_high")),
    )
    squeeze = between(
        keys,
        1,
        portable.log(number("squeeze_low")),
        portable.log(number("squeeze_high")),
    )
    shear = symmetric(keys, 2, number("shear"))
    right = symmetric(keys, 3, number("shift_x"))
    down = symmetric(keys, 4, number("shift_y"))
    wide, tall = portable.exp(scale + squeeze), portable.exp(scale - squeeze)
    forward = (wide, shear * tall, torch.zeros_like(wide), tall)
    chosen = draws.uniform(draws.fold(keys, 5)) < number("share")
    still = torch.eye(2, 3, device=keys.device)
    return torch.where(chosen[:, None, None], source(forward, right, down), still)


def shift(keys: Keys, number: Number) -> Source:
    """Translations by up to shift_pixels, horizontally and vertically."""
    right, down = (symmetric(keys, index, number("shift_pixels")) for index in (0, 1))
    one, zero = torch.ones_like(right), torch.zeros_like(right)
    return source((one, zero, zero, one), right, down)


def rotate(keys: Keys, number: Number) -> Source:
    """Rotations about the centre by up to `degrees` in either direction."""
    turns = symmetric(keys, 0, number("degrees")) / 360
    cos, sin = portable.cos(turns), portable.sin(turns)
    zero = torch.zeros_like(cos)
    return source((cos, -sin, sin, cos), zero, zero)


def affine_today(keys: Keys, number: Number) -> Source:
    """Rotation, scaling, horizontal shearing and translation of every image, as small
    as handwriting varies (Ciresan, Meier and Schmidhuber, CVPR 2012)."""
    turns = symmetric(keys, 0, number("degrees")) / 360
    scale = between(
        keys,
        1,
        portable.log(number("scale_low")),
        portable.log(number("scale_high")),
    )
    shear = symmetric(keys, 2, number("shear"))
    right, down = (symmetric(keys, index, number("shift_pixels")) for index in (3, 4))
    size = portable.exp(scale)
    cos, sin = size * portable.cos(turns), size * portable.sin(turns)
    return source((cos, shear * cos - sin, sin, shear * sin + cos), right, down)


def elastic(images: Images, keys: Keys, number: Number) -> Images:
    """Displacements: uniform noise in +-1, smoothed by a Gaussian of sigma pixels,
    times alpha (Simard, Steinkraus and Platt, 2003)."""
    return sample(images, displaced(images, keys, number))


def affine_elastic(images: Images, keys: Keys, number: Number) -> Images:
    """Elastic distortions of images that are affinely distorted, in one sampling: each
    pixel goes by its displacement, then by the affine map (Simard, Steinkraus and
    Platt, 2003, had both)."""
    where = affine_today(keys, number).to(images)
    spots = displaced(images, FIELDS["affine_elastic"](keys), number).flatten(1, 2)
    shift = where[:, None, :, 2] * 2 / images.shape[2]
    spots = spots @ where[..., :2].mT + shift
    return sample(images, spots.view(*images.shape, 2))


def affine_cutout(images: Images, keys: Keys, number: Number) -> Images:
    """Affine distortions, then a square of background (DeVries and Taylor, 2017)."""
    moved = affine(images, affine_today(keys, number))
    at = torch.arange(images.shape[1], device=images.device)
    low, high = square(keys, number).unflatten(1, (2, 2)).unbind(2)
    inside = (at >= low[..., None]) & (at < high[..., None])  # [image, axis, pixel]
    hole = inside[:, 0, :, None] & inside[:, 1, None, :]
    return torch.where(hole, 0, moved)


def square(keys: Keys, number: Number) -> Int64[Tensor, "image 4"]:
    """Top, bottom, left and right (the ends are outside) of a square of `side` pixels,
    its centre anywhere in the image; it may hang over the edge."""
    side = number("side").long()
    centres = [
        (28 * draws.uniform(draws.fold(keys, index)).double()).long()
        for index in (5, 6)
    ]
    firsts = [centre - side // 2 for centre in centres]
    return torch.stack([edge for first in firsts for edge in (first, first + side)], 1)


def displaced(images: Images, keys: Keys, number: Number) -> Tensor:
    """Where each pixel of elastic distortions comes from, as `grid` has it."""
    count, height, width = images.shape
    cells = torch.arange(2 * height * width, device=images.device)
    noise = 2 * draws.uniform(draws.fold(keys[:, None], cells)) - 1
    fields = noise.view(count, 2, height, width).to(images)
    smooth = gaussian(number("sigma"), max(height, width)).to(images)
    fields = (
        smooth[:, None, :height, :height] @ fields @ smooth[:, None, :width, :width]
    )
    fields = fields * number("alpha").to(images)[:, None, None, None]
    pixels = torch.stack([2 * fields[:, 0] / width, 2 * fields[:, 1] / height], -1)
    identity = torch.eye(2, 3, device=images.device).expand(count, 2, 3)
    return grid(identity, images) + pixels


def between(
    keys: Keys, index: int, low: Tensor, high: Tensor
) -> Float[Tensor, "image"]:
    """A number per image, uniform from low to high, in float64."""
    low, high = low.double(), high.double()
    return low + (high - low) * draws.uniform(draws.fold(keys, index))


def symmetric(keys: Keys, index: int, bound: Tensor) -> Float[Tensor, "image"]:
    """A number per image, uniform in +-bound."""
    return between(keys, index, -bound, bound)


def source(forward: tuple[Tensor, ...], right: Tensor, down: Tensor) -> Source:
    """Of images whose point p has moved to M p + t.

    forward: M row by row, each [image]; right and down: t in pixels.
    """
    a, b, c, d = forward
    size = a * d - b * c
    a, b, c, d = d / size, -b / size, -c / size, a / size  # the inverse
    rows = (a, b, -(a * right + b * down)), (c, d, -(c * right + d * down))
    return torch.stack([torch.stack(row, -1) for row in rows], 1).float()


def affine(images: Images, where: Source) -> Images:
    """The images, each pixel from its source; height and width are the same."""
    where = where.to(images)
    theta = torch.cat([where[..., :2], where[..., 2:] * 2 / images.shape[2]], -1)
    still = (where == torch.eye(2, 3, device=where.device)).all(-1).all(-1)
    moved = sample(images, grid(theta, images))
    return torch.where(still[:, None, None], images, moved)  # still: bit for bit


def affinely(motion: Callable[[Keys, Number], Source]) -> Level:
    """The level that moves pixels so."""
    return lambda images, keys, number: affine(images, motion(keys, number))


def grid(theta: Float[Tensor, "image 2 3"], images: Images) -> Tensor:
    """Where each pixel comes from, [image, height, width, 2] in +-1."""
    size = [len(images), 1, *images.shape[1:]]
    return functional.affine_grid(theta, size, align_corners=False)


def sample(images: Images, where: Tensor) -> Images:
    """The images sampled bilinearly; zero, which is background, outside."""
    return functional.grid_sample(images[:, None], where, align_corners=False)[:, 0]


def gaussian(sigma: Float[Tensor, "image"], size: int) -> Tensor:
    """Smoothing matrices [image, size, size]; what leaves the image is lost."""
    at, sigma = torch.arange(size, device=sigma.device), sigma.double()[:, None, None]
    offset = (at[:, None] - at) / sigma
    smooth = portable.exp(-0.5 * offset * offset) / (sigma * math.sqrt(2 * math.pi))
    return smooth.float()


# What each level is made of: the compiled loops read these.
MOTIONS: dict[str, Callable[[Keys, Number], Source]] = {
    "affine_1998": affine_1998,
    "affine": affine_today,
    "shift": shift,
    "rotate": rotate,
    "affine_elastic": affine_today,
    "affine_cutout": affine_today,
}
FIELDS: dict[str, Callable[[Keys], Keys]] = {  # the keys of elastic displacements
    "elastic": lambda keys: keys,
    "affine_elastic": lambda keys: draws.fold(keys, 5),  # 0 to 4 are affine_today's
}
HOLES = {"affine_cutout": square}
LEVELS: dict[str, Level] = {
    "none": none,
    **{name: affinely(motion) for name, motion in MOTIONS.items()},
    "elastic": elastic,
    "affine_elastic": affine_elastic,
    "affine_cutout": affine_cutout,
}
