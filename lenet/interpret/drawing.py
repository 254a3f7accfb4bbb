"""A drawing or photograph of a digit as MNIST's images were made (paper, p. 9).

All in whole numbers, so that every machine and the page's JavaScript
(lenet/page/drawing.mjs) give the same bytes. MNIST's own images come out as they went
in, up to one level of grey, which tests/interpret/test_drawing.py shows.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lenet.config import Refusal
from lenet.training.loops.sizes import PICTURE_SIDE

Whole = NDArray[np.int64]
BOX = 20


def as_mnist(image: NDArray[Any]) -> NDArray[np.uint8]:
    """An image of 28x28 bytes, 0 for background, from a grey picture of any size.

    image: [height, width] of bytes, dark on light or light on dark. The box of its ink
    is scaled to 20x20 pixels, its proportions kept, the most ink to 255, and its centre
    of mass is placed in the middle. A Refusal if there is no ink.
    """
    if image.ndim != 2 or not image.size:
        raise Refusal(f"a picture has the shape {list(image.shape)}: give grey pixels")
    if image.dtype != np.uint8:
        raise Refusal(f"a picture has {image.dtype} pixels: give bytes, 0 to 255")
    ink = without_background(image.astype(np.int64))
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    if not len(rows):
        raise Refusal("the picture is blank: there is no digit in it")
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    down, across = (
        windows(side, max(1, divided(BOX * side, max(ink.shape)))) for side in ink.shape
    )
    small = down @ ink @ across.T
    return centred_drawing(divided(255 * small, small.max())).astype(np.uint8)


def divided(a: Any, b: Any) -> Any:
    """a / b, rounded to the nearest whole number, halves upwards."""
    return (2 * a + b) // (2 * b)


def without_background(image: Whole) -> Whole:
    """How far each pixel is from the background, the median of the border; nothing
    where that is within twice the border's own noise, as in a photograph."""
    border = np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
    background = np.sort(border)[len(border) // 2]
    above, below = image.max() - background, background - image.min()
    apart = np.sort(np.abs(border - background))
    # Twice what nine tenths of the border stay within; but never more than half of the
    # contrast, or a border with a stroke in it would take the digit away.
    noise = min(2 * apart[9 * len(border) // 10], max(above, below) // 2)
    ink = image - background if above > below else background - image
    return np.where(ink > noise, ink, 0)


def windows(count: int, to: int) -> Whole:
    """Weights [to, count] that scale `count` pixels to `to`.

    A pixel's window is as wide as itself or as one of those that it sees, whichever is
    more: the mean where a picture shrinks, linear between pixels where it grows.
    """
    half = max(count, to)  # lengths in units of 1 / (2 to) pixels
    middle = (2 * np.arange(to)[:, None] + 1) * count
    edge = 2 * to * np.arange(count)
    # Pixel j reaches from `edge` to `edge + 2 * to`: how much of it lies in window i.
    start = np.maximum(middle - half, edge)
    end = np.minimum(middle + half, edge + 2 * to)
    return np.maximum(end - start, 0)


def centred_drawing(small: Whole) -> Whole:
    """A small image in 28x28, its centre of mass (rounded) at row and column 14."""
    placed = np.zeros((PICTURE_SIDE, PICTURE_SIDE), np.int64)
    height, width = small.shape
    mass = small.sum()
    top = PICTURE_SIDE // 2 - divided(small.sum(1) @ np.arange(height), mass)
    left = PICTURE_SIDE // 2 - divided(small.sum(0) @ np.arange(width), mass)
    # A stroke far from the centre of mass would lie outside: the image is moved less.
    top = min(max(top, 0), PICTURE_SIDE - height)
    left = min(max(left, 0), PICTURE_SIDE - width)
    placed[top : top + height, left : left + width] = small
    return placed
