"""An image as a network sees it: from bytes to 32x32 numbers with their border.

Nothing but sums and products, one pixel after the other: the same bits everywhere.
"""
# mypy: allow-untyped-defs, allow-untyped-decorators
# Compiled functions take what numba hands them; numba has no types.

from typing import no_type_check

import numpy as np

from lenet.training.loops.cache import compiled
from lenet.training.loops.sizes import (
    EDGE,
    PICTURE_SIDE,
    PICTURE_SIZE,
    SIDE,
)

# `no_type_check` keeps the checks of jaxtyping's import hook out of compiled functions.


@compiled
@no_type_check
def plain(canvas, picture, values):
    """The picture inside its border; values: what each of the 256 bytes becomes."""
    for y in range(PICTURE_SIDE):
        for x in range(PICTURE_SIDE):
            canvas[(y + EDGE) * SIDE + x + EDGE] = values[picture[y, x]]


@compiled
@no_type_check
def moved(canvas, before, where):
    """An image sampled bilinearly at `where` [2, 3] its pixels come from; the border's
    value outside. before: the image in its border, as `plain` gives it."""
    half, low, high = np.float32(13.5), np.float32(-1), np.float32(PICTURE_SIDE)
    for y in range(PICTURE_SIDE):
        down = np.float32(y) - half
        across = where[0, 1] * down + where[0, 2] + half
        along = where[1, 1] * down + where[1, 2] + half
        for x in range(PICTURE_SIDE):
            right = np.float32(x) - half
            px = min(max(where[0, 0] * right + across, low), high)
            py = min(max(where[1, 0] * right + along, low), high)
            canvas[(y + EDGE) * SIDE + x + EDGE] = interpolated(before, px, py)


@compiled
@no_type_check
def interpolated(before, px, py):
    """The image at a place between its pixels, from -1 to 28 in either direction."""
    one, shift = np.float32(1), np.float32(EDGE)
    column, row = int(px + shift), int(py + shift)  # both are above 0: rounded down
    fx, fy = px + shift - np.float32(column), py + shift - np.float32(row)
    place = row * SIDE + column
    top = before[place] * (one - fx) + before[place + 1] * fx
    low = before[place + SIDE] * (one - fx) + before[place + SIDE + 1] * fx
    return top * (one - fy) + low * fy


@compiled
@no_type_check
def warped(canvas, before, field):
    """An image sampled bilinearly at each pixel plus its displacement, field [2, 28,
    28] in pixels, x first."""
    low, high = np.float32(-1), np.float32(PICTURE_SIDE)
    for y in range(PICTURE_SIDE):
        for x in range(PICTURE_SIDE):
            px = min(max(np.float32(x) + field[0, y, x], low), high)
            py = min(max(np.float32(y) + field[1, y, x], low), high)
            canvas[(y + EDGE) * SIDE + x + EDGE] = interpolated(before, px, py)


@compiled
@no_type_check
def moved_and_warped(canvas, before, where, field):
    """`moved` at each pixel plus its displacement."""
    half, low, high = np.float32(13.5), np.float32(-1), np.float32(PICTURE_SIDE)
    for y in range(PICTURE_SIDE):
        for x in range(PICTURE_SIDE):
            right = np.float32(x) + field[0, y, x] - half
            down = np.float32(y) + field[1, y, x] - half
            px = where[0, 0] * right + (where[0, 1] * down + where[0, 2] + half)
            py = where[1, 0] * right + (where[1, 1] * down + where[1, 2] + half)
            px, py = min(max(px, low), high), min(max(py, low), high)
            canvas[(y + EDGE) * SIDE + x + EDGE] = interpolated(before, px, py)


@compiled
@no_type_check
def erased(canvas, hole, background):
    """An image without what lies in `hole`: top, bottom, left, right."""
    for y in range(max(hole[0], 0), min(hole[1], PICTURE_SIDE)):
        for x in range(max(hole[2], 0), min(hole[3], PICTURE_SIDE)):
            canvas[(y + EDGE) * SIDE + x + EDGE] = background


@compiled
@no_type_check
def draw_field(field, key, smooth, alpha):
    """A field of displacements: noise in +-1 from an image's key, smoothed along both
    axes by [28, 28], times alpha (see augmentation.py)."""
    scale = np.float32(2.0**-23)
    noise = np.empty((PICTURE_SIDE, PICTURE_SIDE), np.float32)
    for axis in range(2):
        for cell in range(PICTURE_SIZE):
            bits = mixed(key + (axis * PICTURE_SIZE + cell + 1) * GOLDEN)
            value = np.float32((bits >> 40) & 0xFFFFFF) * scale - np.float32(1)
            noise[cell // PICTURE_SIDE, cell % PICTURE_SIDE] = value
        down = np.zeros((PICTURE_SIDE, PICTURE_SIDE), np.float32)
        for y in range(PICTURE_SIDE):
            for j in range(PICTURE_SIDE):
                for x in range(PICTURE_SIDE):
                    down[y, x] += smooth[y, j] * noise[j, x]
        for y in range(PICTURE_SIDE):
            line = np.zeros(PICTURE_SIDE, np.float32)
            for j in range(PICTURE_SIDE):
                for x in range(PICTURE_SIDE):
                    line[x] += down[y, j] * smooth[j, x]
            for x in range(PICTURE_SIDE):
                field[axis, y, x] = line[x] * alpha


GOLDEN = np.int64(0x9E3779B97F4A7C15 - 2**64)  # as in draws.py
MIX = (np.int64(0xBF58476D1CE4E5B9 - 2**64), np.int64(0x94D049BB133111EB - 2**64))


@compiled
@no_type_check
def mixed(bits):
    """draws.py's mix."""
    bits = (bits ^ ((bits >> 30) & (2**34 - 1))) * MIX[0]
    bits = (bits ^ ((bits >> 27) & (2**37 - 1))) * MIX[1]
    return bits ^ ((bits >> 31) & (2**33 - 1))


@compiled
@no_type_check
def distort(canvas, before, picture, shown, where, elastic, holes, t):
    """A picture as augmentation has it; where, elastic, holes: what is drawn for those
    of the pass, empty where nothing is."""
    if elastic.size:
        plain(before, picture, shown.values)
        field = np.empty((2, PICTURE_SIDE, PICTURE_SIDE), np.float32)
        draw_field(field, elastic[t], shown.smooth, shown.alpha)
        if where.size:
            moved_and_warped(canvas, before, where[t], field)
        else:
            warped(canvas, before, field)
    elif where.size:
        plain(before, picture, shown.values)
        moved(canvas, before, where[t])
    else:
        plain(canvas, picture, shown.values)
    if holes.size:
        erased(canvas, holes[t], shown.values[0])


@compiled
@no_type_check
def draw_image(canvas, before, shown, t):
    """Image t of the pass, as its run sees it: distorted, and mixed with its partner
    (see mix.py), where there is one."""
    picture = shown.pictures[shown.order[t]]
    distort(canvas, before, picture, shown, shown.where, shown.elastic, shown.holes, t)
    if shown.partner.size:
        other = np.empty(SIDE * SIDE, np.float32)
        picture = shown.pictures[shown.partner[t]]
        distort(other, before, picture, shown, shown.partner_where,
                shown.partner_elastic, shown.partner_holes, t)  # fmt: skip
        share, rest = shown.share[t], np.float32(1) - shown.share[t]
        for y in range(EDGE, EDGE + PICTURE_SIDE):
            for k in range(y * SIDE + EDGE, y * SIDE + EDGE + PICTURE_SIDE):
                canvas[k] = canvas[k] * share + other[k] * rest


@compiled
@no_type_check
def goal(shown, t, c):
    """How much class c is the label of image t of the pass."""
    own = np.float32(c == shown.labels[t])
    if not shown.partner.size:
        return own
    other = np.float32(c == shown.partner_label[t])
    return own * shown.share[t] + other * (np.float32(1) - shown.share[t])


@compiled
@no_type_check
def lesson(shown, t, c):
    """The share that the teachers give class c of image t of the pass; 0 without."""
    return shown.answered[t, c] if shown.answered.size else np.float32(0)
