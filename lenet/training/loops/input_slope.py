"""The scores of images of any numbers, and how they change with each pixel.

An attack walks by these: it makes the images and a loss of the scores by itself, and
asks for dE by the pixels once it knows dE by the scores.
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

from typing import no_type_check

import numpy as np

from lenet.training.loops import norm
from lenet.training.loops.batch import place
from lenet.training.loops.cache import compiled, entrance
from lenet.training.loops.llvm import LANES
from lenet.training.loops.maps import repeat
from lenet.training.loops.sizes import (
    CLASSES,
    EDGE,
    PICTURE_SIDE,
    SIDE,
)
from lenet.training.loops.tiles import (
    TILE,
    P,
    backward_dense,
    delta_image,
    forward_dense,
    forward_maps,
)


@entrance
@no_type_check
def each_slope(own, w, plan, images, scale, shift, running, scores, pulls):
    """Scores [image, class] of images [image, 28, 28] in [0, 1], of which the network
    sees pixel * scale + shift; or, where there are pulls (dE by each score), dE by each
    pixel, which takes the place of the images."""
    s, wide = own.s, own.wide
    repeat(wide, w, len(wide))
    if plan.norm:
        norm.testing(wide, plan, running[0], running[1])
    at = np.empty((TILE, LANES), np.int64)
    for start in range(0, len(images), TILE * LANES):
        count = min(TILE, -(-(len(images) - start) // LANES))
        place(at, start, len(images))
        for i in range(count):
            put_pixels(s[i], images, scale, shift, at[i])
            forward_maps(s[i], wide, plan)
        forward_dense(s, count, w, plan, at, own.none)
        if not pulls.size:
            for i in range(count):
                take_scores(s[i], scores, at[i])
            continue
        for i in range(count):
            put_pulls(s[i], pulls, at[i])
        backward_dense(s, count, w, plan)
        for i in range(count):
            delta_image(s[i], wide, own.lanes, plan)
            take_slopes(s[i], images, scale, at[i])


@compiled
@no_type_check
def put_pixels(s, images, scale, shift, at):
    """Each lane's image, as the network sees it; an idle lane keeps what it has."""
    for lane in range(LANES):
        if at[lane] >= 0:
            for y in range(PICTURE_SIDE):
                for x in range(PICTURE_SIDE):
                    pixel = images[at[lane], y, x] * scale + shift
                    s[P.image + (y + EDGE) * SIDE + x + EDGE, lane] = pixel


@compiled
@no_type_check
def take_scores(s, scores, at):
    """The scores of each lane's image."""
    for lane in range(LANES):
        if at[lane] >= 0:
            for c in range(CLASSES):
                scores[at[lane], c] = s[P.score + c, lane]


@compiled
@no_type_check
def put_pulls(s, pulls, at):
    """dE by each score; 0 for a lane without an image."""
    for lane in range(LANES):
        for c in range(CLASSES):
            pull = pulls[at[lane], c] if at[lane] >= 0 else np.float32(0)
            s[P.pull + c, lane] = pull


@compiled
@no_type_check
def take_slopes(s, images, scale, at):
    """dE by the pixels of each lane's image, in its place."""
    for lane in range(LANES):
        if at[lane] >= 0:
            for y in range(PICTURE_SIDE):
                for x in range(PICTURE_SIDE):
                    slope = s[P.d2 + SIDE * y + x + EDGE, lane]
                    images[at[lane], y, x] = slope * scale
