"""Forward and back for groups of eight images, which lie in the lanes of the vectors.

The workspace of a thread is [group, place, lane]: a place holds one number of each of
the eight images of a group. TILE groups go through C5, F6 and output together, so that
a weight that was read serves 32 images.

    image > C1 plane, gate1 > S2 > C3 plane, gate3 > S4 > C5 > F6 > score > loss
    C1, C3 weights < gate1 < d2 < gate3 < d4 < d5 < d6 < pull

C1 to S4 find their gradients lane by lane (`lanes`). C5, F6 and output leave what they
saw and their deltas for the round of groups, which batch.py multiplies:

    seen    [image, S4 400 | C5 120 | F6 88]        deltas  [C5 120 | F6 88 | 16, image]
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

import math
from collections import namedtuple
from itertools import accumulate
from typing import Any, no_type_check

import numpy as np

from lenet.training.loops.cache import compiled
from lenet.training.loops.dense import (
    dense_1,
    dense_4,
    measure,
    multiply,
    output_1,
    pull_back,
    undense_1,
    undense_4,
)
from lenet.training.loops.input_image import SIDE, draw_image, goal, lesson
from lenet.training.loops.llvm import LANES
from lenet.training.loops.maps import (
    activate,
    correlate_10,
    correlate_14,
    fill,
    learn_10,
    learn_28,
    pool,
    spread_10,
    spread_14,
    turn_over,
    unpool,
    unsquash,
)

TILE = 4  # groups that share a sweep over the weights of C5, F6 and output
# Places in the workspace, in vectors; numbers name the layer. S, C, F: outputs. slope:
# f'(a). gate: f'(a) times the derivative of pooling, later the delta. sum: four inputs
# summed. d: dE by the output. plane: a map before pooling. score, pull: of a class, and
# dE by it. target: 1 for the label's class. number: the head's.
# raw: what batch norm is of. answered: what teachers say, temperature and weight.
SPACE = {
    "none": 1, "image": 1024, "plane": 784, "gate1": 4704, "sum2": 1176, "S2": 1176,
    "slope2": 1176, "d2": 1176, "gate3": 1600, "sum4": 400, "S4": 400, "slope4": 400,
    "d4": 400, "C5": 120, "slope5": 120, "d5": 120, "F6": 88, "slope6": 88, "d6": 88,
    "score": 16, "pull": 16, "target": 10, "number": 1, "factor": 1, "loss": 1,
    "raw1": 4704, "raw3": 1600, "answered": 12,
}  # fmt: skip
Place: Any = namedtuple("Place", list(SPACE))  # type: ignore[misc]
P: Any = Place(*accumulate([0, *SPACE.values()][:-1]))
SIZE = sum(SPACE.values())

WIDTH, ROWS = 608, 224
OUTPUT = 88  # numbers in a row of the output's weights, of which 84 are used
# `no_type_check` keeps the checks of jaxtyping's import hook out of compiled functions.


@compiled
@no_type_check
def C1_sums(s, wide, plan, m, out, bias, b):
    """A map of C1 before its squash, from the image, at `out`; the bias is bias[b]."""
    fill(s, out, 784, bias, b)
    # A row in two strips of 14 pixels: so many sums fit the registers.
    for y in range(28):
        for x in range(0, 28, 14):
            window = P.image + SIDE * y + x
            correlate_14(s, out + 28 * y + x, window, SIDE, wide, plan.c1 + 25 * m)


@compiled
@no_type_check
def C1_squash(s, wide, plan, m):
    """A map of C1 from s[plane] to the map of S2, before the squash of that."""
    gate, total, out = P.gate1 + 784 * m, P.sum2 + 196 * m, P.S2 + 196 * m
    activate(s, plan.activation, P.plane, gate, 784)
    k, b = plan.k2 + m, plan.b2 + m
    pool(s, plan.pooling, P.plane, gate, total, out, 14, wide, k, b)


@compiled
@no_type_check
def C3_sums(s, wide, plan, m, out, bias, b):
    """A map of C3 before its squash, from S2, at `out`; the bias is bias[b]."""
    fill(s, out, 100, bias, b)
    # Every map of S2 that leads to this one (Table I, or all), row by row.
    for k in range(plan.starts[m], plan.starts[m + 1]):
        for y in range(10):
            window = P.S2 + 196 * plan.inputs[k] + 14 * y
            correlate_10(s, out + 10 * y, window, 14, wide, plan.c3 + 25 * k)


@compiled
@no_type_check
def C3_squash(s, wide, plan, m):
    """A map of C3 from s[plane] to the map of S4, before the squash of that."""
    gate, total, out = P.gate3 + 100 * m, P.sum4 + 25 * m, P.S4 + 25 * m
    activate(s, plan.activation, P.plane, gate, 100)
    k, b = plan.k4 + m, plan.b4 + m
    pool(s, plan.pooling, P.plane, gate, total, out, 5, wide, k, b)


@compiled
@no_type_check
def S2_squash(s, plan):
    """The squash of S2, where it has one."""
    if plan.squashed:
        activate(s, plan.activation, P.S2, P.slope2, 1176)


@compiled
@no_type_check
def S4_squash(s, plan):
    """The squash of S4, where it has one."""
    if plan.squashed:
        activate(s, plan.activation, P.S4, P.slope4, 400)


@compiled
@no_type_check
def forward_maps(s, wide, plan):
    """From s[image] to s[S4], with what the way back needs; wide: weights of C1 to S4,
    each in every lane."""
    for m in range(6):
        C1_sums(s, wide, plan, m, P.plane, wide, plan.b1 + m)
        C1_squash(s, wide, plan, m)
    S2_squash(s, plan)
    for m in range(16):
        C3_sums(s, wide, plan, m, P.plane, wide, plan.b3 + m)
        C3_squash(s, wide, plan, m)
    S4_squash(s, plan)


@compiled
@no_type_check
def S4_back(s, wide, g, plan, m):
    """From dE/dS4 to the delta of a map of C3; the gradients on the way, and b3's."""
    d, delta = P.d4 + 25 * m, P.gate3 + 100 * m
    if plan.squashed:
        slope, total = P.slope4 + 25 * m, P.sum4 + 25 * m
        unsquash(s, d, slope, total, 25, wide, g, plan.k4 + m, plan.b4 + m)
    unpool(s, delta, d, 5, g, plan.b3 + m)


@compiled
@no_type_check
def C3_back(s, wide, plan, m):
    """Add to dE/dS2 what a map of C3 gives, from its delta."""
    # Every map of S2 that leads to this one: Table I, or all.
    for k in range(plan.starts[m], plan.starts[m + 1]):
        i, kernel = 196 * plan.inputs[k], plan.c3 + 25 * k
        for y in range(14):
            # Kernel row ky leads from row y of S2 to row y - ky of C3, which has 10.
            low = max(0, y - 9)
            count = min(4, y) - low + 1
            out, line = P.d2 + i + 14 * y, P.gate3 + 100 * m + 10 * y
            spread_10(s, out, line, wide, kernel, low, count)


@compiled
@no_type_check
def C3_learn(s, g, plan, m):
    """The gradients of the kernels of a map of C3, from its delta."""
    # dE/dw[ky, kx]: the sum over the map of delta[y, x] S2[y + ky, x + kx].
    for k in range(plan.starts[m], plan.starts[m + 1]):
        i, kernel, delta = 196 * plan.inputs[k], plan.c3 + 25 * k, P.gate3 + 100 * m
        for ky in range(5):
            learn_10(s, delta, P.S2 + i + 14 * ky, 14, 10, g, kernel + 5 * ky)


@compiled
@no_type_check
def S2_back(s, wide, g, plan, m):
    """From dE/dS2 to the delta of a map of C1; the gradients on the way, and b1's."""
    d, delta = P.d2 + 196 * m, P.gate1 + 784 * m
    if plan.squashed:
        slope, total = P.slope2 + 196 * m, P.sum2 + 196 * m
        unsquash(s, d, slope, total, 196, wide, g, plan.k2 + m, plan.b2 + m)
    unpool(s, delta, d, 14, g, plan.b1 + m)


@compiled
@no_type_check
def C1_learn(s, g, plan, m):
    """The gradients of a kernel of C1, from the delta of its map."""
    # dE/dw[ky, kx]: the sum over the map of delta[y, x] image[y + ky, x + kx].
    for ky in range(5):
        kernel, delta = plan.c1 + 25 * m + 5 * ky, P.gate1 + 784 * m
        learn_28(s, delta, P.image + SIDE * ky, SIDE, 28, g, kernel)


@compiled
@no_type_check
def backward_maps(s, wide, g, plan):
    """From dE/dS4 to the gradients of C1 to S4, lane by lane; leaves the deltas."""
    fill(s, P.d2, 1176, s, P.none)
    for m in range(16):
        S4_back(s, wide, g, plan, m)
        C3_back(s, wide, plan, m)
        C3_learn(s, g, plan, m)
    for m in range(6):
        S2_back(s, wide, g, plan, m)
        C1_learn(s, g, plan, m)


@compiled
@no_type_check
def delta_image(s, wide, g, plan):
    """From dE/dS4 to dE by the image, at s[d2], 28 rows of 32 with two columns of the
    border on either side; g is overwritten."""
    fill(s, P.d2, 1176, s, P.none)
    for m in range(16):
        S4_back(s, wide, g, plan, m)
        C3_back(s, wide, plan, m)
    for m in range(6):
        S2_back(s, wide, g, plan, m)
    # dE/dS2 is of no more use: dE by the image takes its place.
    fill(s, P.d2, 896, s, P.none)
    for m in range(6):
        for y in range(28):
            # Kernel row ky: from the padded image's row y + 2 to C1's y + 2 - ky.
            low = max(0, y - 25)
            count = min(4, y + 2) - low + 1
            for x in range(0, 28, 14):
                line = P.gate1 + 784 * m + 28 * (y + 2) + x
                out, kernel = P.d2 + 32 * y + x, plan.c1 + 25 * m
                spread_14(s, out, line, wide, kernel, low, count)


@compiled
@no_type_check
def layer(s, count, x, n, out, outputs, w, k, b):
    """`outputs` of a dense layer with n inputs, for each of `count` groups."""
    # A full tile: two outputs of four groups at once; else four outputs of one.
    if count == TILE:
        for o in range(0, outputs, 2):
            dense_4(s, SIZE, x, n, out + o, w, k + n * o, n, b + o)
        return
    for i in range(count):
        for o in range(0, outputs, 4):
            dense_1(s[i], SIZE, x, n, out + o, w, k + n * o, n, b + o)


@compiled
@no_type_check
def unlayer(s, count, dx, n, d, outputs, w, k, pitch):
    """dE by the n inputs of a dense layer, from deltas of its outputs."""
    # A full tile: two inputs of four groups at once; else four inputs of one.
    if count == TILE:
        for i in range(0, n, 2):
            undense_4(s, SIZE, dx + i, d, outputs, w, k + i, pitch)
        return
    for j in range(count):
        for i in range(0, n, 4):
            undense_1(s[j], SIZE, dx + i, d, outputs, w, k + i, pitch)


@compiled
@no_type_check
def drop(s, first, slope, at, masks, start, stop):
    """Multiply outputs and slopes by the masks [image, unit] of the lanes' images."""
    for lane in range(LANES):
        if at[lane] >= 0:
            for k in range(stop - start):
                factor = masks[at[lane], start + k]
                s[first + k, lane] *= factor
                s[slope + k, lane] *= factor


@compiled
@no_type_check
def forward_dense(s, count, w, plan, at, masks):
    """From s[S4] to s[score] for groups of images; at: [group, lane], which image of
    the pass a lane has, or -1."""
    # C5, whose 5x5 kernels see all of S4's maps: a dense layer.
    layer(s, count, P.S4, 400, P.C5, 120, w, plan.c5, plan.b5)
    for i in range(count):
        activate(s[i], plan.activation, P.C5, P.slope5, 120)
        if masks.size:
            drop(s[i], P.C5, P.slope5, at[i], masks, 0, 120)
    # F6, and per group the scores: a linear layer's, or RBF units' (eq. 7).
    layer(s, count, P.C5, 120, P.F6, 84, w, plan.f6, plan.b6)
    for i in range(count):
        activate(s[i], plan.squash, P.F6, P.slope6, 84)
        if masks.size:
            drop(s[i], P.F6, P.slope6, at[i], masks, 120, 204)
        if plan.linear:
            output_1(s[i], SIZE, P.F6, 84, P.score, w, plan.w7, OUTPUT, plan.b7)
        else:
            measure(s[i], P.F6, P.score, plan.bitmaps)


@compiled
@no_type_check
def backward_dense(s, count, w, plan):
    """From s[pull] to the deltas of output, F6 and C5 and to dE/dS4."""
    for i in range(count):
        if not plan.linear:
            pull_back(s[i], P.F6, P.pull, P.d6, plan.bitmaps)
    dense_back(s, count, w, plan)


@compiled
@no_type_check
def dense_back(s, count, w, plan):
    """From s[pull], or s[d6] of RBF units, on."""
    # dE by a layer's output, times f'(a), back through its weights to the one below.
    if plan.linear:
        unlayer(s, count, P.d6, 84, P.pull, 10, w, plan.w7, OUTPUT)
    for i in range(count):
        multiply(s[i], P.d6, P.slope6, 84)
    unlayer(s, count, P.d5, 120, P.d6, 84, w, plan.f6, 120)
    for i in range(count):
        multiply(s[i], P.d5, P.slope5, 120)
    unlayer(s, count, P.d4, 400, P.d5, 120, w, plan.c5, 400)


@compiled
@no_type_check
def put(s, shown, at, canvas, before):
    """The image of every lane into s[image]; a lane without one keeps what it has."""
    for lane in range(LANES):
        if at[lane] < 0:
            continue
        draw_image(canvas, before, shown, at[lane])
        for k in range(SIDE * SIDE):
            s[P.image + k, lane] = canvas[k]


@compiled
@no_type_check
def aim(s, shown, at, factor):
    """What the losses of a group need: labels, the head's number, and by what each
    loss counts, 0 where a lane has no image."""
    # A lane without an image has class 0 for its target, and its loss counts 0.
    for lane in range(LANES):
        there = at[lane] >= 0
        for c in range(10):
            target = goal(shown, at[lane], c) if there else np.float32(c == 0)
            s[P.target + c, lane] = target
            s[P.answered + c, lane] = lesson(shown, at[lane], c) if there else target
        s[P.answered + 10, lane], s[P.answered + 11, lane] = shown.heat, shown.weight
        s[P.number, lane] = shown.number
        s[P.factor, lane] = factor if there else np.float32(0)


@compiled
@no_type_check
def answer(s, lane):
    """The class with the largest score; -1 where a score is no number."""
    best = 0
    for c in range(10):
        if not math.isfinite(s[P.score + c, lane]):
            return -1
        if s[P.score + c, lane] > s[P.score + best, lane]:
            best = c
    return best


@compiled
@no_type_check
def keep(s, group, seen, deltas):
    """What C5, F6 and output saw in a group, and their deltas, for the whole round."""
    # The inputs of C5, F6 and output: a row for each image.
    for place, column, blocks in ((P.S4, 0, 50), (P.C5, 400, 15), (P.F6, 520, 11)):
        turn_over(s, place, blocks, seen[group * LANES], column, WIDTH)
    # The deltas of C5, F6 and output: a row for each unit, image after image.
    row = 0
    for place, outputs in ((P.d5, 120), (P.d6, 88), (P.pull, 16)):
        for o in range(outputs):
            for lane in range(LANES):
                deltas[row + o, group * LANES + lane] = s[place + o, lane]
        row += outputs
