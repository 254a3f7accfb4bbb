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
from lenet.training.loops.input_image import draw_image, goal, lesson
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
from lenet.training.loops.sizes import (
    C1_ALL,
    C1_MAPS,
    C1_SIDE,
    C1_SIZE,
    C3_ALL,
    C3_MAPS,
    C3_SIDE,
    C3_SIZE,
    C5_UNITS,
    CLASS_ROW,
    CLASSES,
    DROPPED_UNITS,
    EDGE,
    F6_ROW,
    F6_UNITS,
    IMAGE_SIZE,
    KERNEL,
    PICTURE_SIDE,
    S2_ALL,
    S2_SIDE,
    S2_SIZE,
    S4_ALL,
    S4_SIDE,
    S4_SIZE,
    SIDE,
    TAPS,
)

TILE = 4  # groups that share a sweep over the weights of C5, F6 and output
# Places in the workspace, in vectors; numbers name the layer. S, C, F: outputs. slope:
# f'(a). gate: f'(a) times the derivative of pooling, later the delta. sum: four inputs
# summed. d: dE by the output. plane: a map before pooling. score, pull: of a class, and
# dE by it. target: 1 for the label's class. number: the head's.
# raw: what batch norm is of. answered: what teachers say, temperature and weight.
SPACE = {
    "none": 1, "image": IMAGE_SIZE, "plane": C1_SIZE, "gate1": C1_ALL, "sum2": S2_ALL,
    "S2": S2_ALL, "slope2": S2_ALL, "d2": S2_ALL, "gate3": C3_ALL, "sum4": S4_ALL,
    "S4": S4_ALL, "slope4": S4_ALL, "d4": S4_ALL, "C5": C5_UNITS, "slope5": C5_UNITS,
    "d5": C5_UNITS, "F6": F6_ROW, "slope6": F6_ROW, "d6": F6_ROW, "score": CLASS_ROW,
    "pull": CLASS_ROW, "target": CLASSES, "number": 1, "factor": 1, "loss": 1,
    "raw1": C1_ALL, "raw3": C3_ALL, "answered": CLASSES + 2,
}  # fmt: skip
Place: Any = namedtuple("Place", list(SPACE))  # type: ignore[misc]
P: Any = Place(*accumulate([0, *SPACE.values()][:-1]))
SIZE = sum(SPACE.values())

# Where C5's outputs and F6's begin in a row of `seen`, and the numbers of a row; where
# the deltas of F6 and of the output begin, and the rows of `deltas`.
SEEN_C5, SEEN_F6 = S4_ALL, S4_ALL + C5_UNITS
WIDTH = SEEN_F6 + F6_ROW
DELTAS_F6, DELTAS_OUTPUT = C5_UNITS, C5_UNITS + F6_ROW
ROWS = DELTAS_OUTPUT + CLASS_ROW
# What only one thread writes. s: its workspace; lanes: the gradients of C1 to S4, in
# every lane its own; canvas, before: an image, and as it is before a distortion; given:
# images before an attack; wide: the weights of C1 to S4, each in every lane, and
# `tested` as they test; none: no masks of dropout.
Own: Any = namedtuple(
    "Own", ["s", "lanes", "canvas", "before", "given", "tested", "none", "ball", "wide"]
)
# What all threads of a run share of a round; sums: of maps, for batch norm.
Round: Any = namedtuple("Round", ["seen", "deltas", "parts", "sums"])
# A thread, how many work on its run, and where they wait for each other.
Team: Any = namedtuple("Team", ["thread", "threads", "gate"])
# A thread's part of a round: its groups are those from `first` to `stop` of `groups`,
# the round's images those from `start` to `end` of the pass.
Part: Any = namedtuple("Part", ["first", "stop", "groups", "start", "end"])
# What a pass says of a run, filled in image by image; ended: [1], the step with a loss
# that is not finite.
Outcome: Any = namedtuple("Outcome", ["losses", "answers", "ended"])
# `no_type_check` keeps the checks of jaxtyping's import hook out of compiled functions.


@compiled
@no_type_check
def C1_sums(s, wide, plan, m, out, bias, b):
    """A map of C1 before its squash, from the image, at `out`; the bias is bias[b]."""
    fill(s, out, C1_SIZE, bias, b)
    # A row in two strips of 14 pixels: so many sums fit the registers.
    for y in range(C1_SIDE):
        for x in range(0, C1_SIDE, 14):
            window = P.image + SIDE * y + x
            line = out + C1_SIDE * y + x
            correlate_14(s, line, window, SIDE, wide, plan.c1 + TAPS * m)


@compiled
@no_type_check
def C1_squash(s, wide, plan, m):
    """A map of C1 from s[plane] to the map of S2, before the squash of that."""
    gate, total, out = P.gate1 + C1_SIZE * m, P.sum2 + S2_SIZE * m, P.S2 + S2_SIZE * m
    activate(s, plan.activation, P.plane, gate, C1_SIZE)
    k, b = plan.k2 + m, plan.b2 + m
    pool(s, plan.pooling, P.plane, gate, total, out, S2_SIDE, wide, k, b)


@compiled
@no_type_check
def C3_sums(s, wide, plan, m, out, bias, b):
    """A map of C3 before its squash, from S2, at `out`; the bias is bias[b]."""
    fill(s, out, C3_SIZE, bias, b)
    # Every map of S2 that leads to this one (Table I, or all), row by row.
    for k in range(plan.starts[m], plan.starts[m + 1]):
        for y in range(C3_SIDE):
            window = P.S2 + S2_SIZE * plan.inputs[k] + S2_SIDE * y
            line = out + C3_SIDE * y
            correlate_10(s, line, window, S2_SIDE, wide, plan.c3 + TAPS * k)


@compiled
@no_type_check
def C3_squash(s, wide, plan, m):
    """A map of C3 from s[plane] to the map of S4, before the squash of that."""
    gate, total, out = P.gate3 + C3_SIZE * m, P.sum4 + S4_SIZE * m, P.S4 + S4_SIZE * m
    activate(s, plan.activation, P.plane, gate, C3_SIZE)
    k, b = plan.k4 + m, plan.b4 + m
    pool(s, plan.pooling, P.plane, gate, total, out, S4_SIDE, wide, k, b)


@compiled
@no_type_check
def S2_squash(s, plan):
    """The squash of S2, where it has one."""
    if plan.squashed:
        activate(s, plan.activation, P.S2, P.slope2, S2_ALL)


@compiled
@no_type_check
def S4_squash(s, plan):
    """The squash of S4, where it has one."""
    if plan.squashed:
        activate(s, plan.activation, P.S4, P.slope4, S4_ALL)


@compiled
@no_type_check
def forward_maps(s, wide, plan):
    """From s[image] to s[S4], with what the way back needs; wide: weights of C1 to S4,
    each in every lane."""
    for m in range(C1_MAPS):
        C1_sums(s, wide, plan, m, P.plane, wide, plan.b1 + m)
        C1_squash(s, wide, plan, m)
    S2_squash(s, plan)
    for m in range(C3_MAPS):
        C3_sums(s, wide, plan, m, P.plane, wide, plan.b3 + m)
        C3_squash(s, wide, plan, m)
    S4_squash(s, plan)


@compiled
@no_type_check
def S4_back(s, wide, g, plan, m):
    """From dE/dS4 to the delta of a map of C3; the gradients on the way, and b3's."""
    d, delta = P.d4 + S4_SIZE * m, P.gate3 + C3_SIZE * m
    if plan.squashed:
        slope, total = P.slope4 + S4_SIZE * m, P.sum4 + S4_SIZE * m
        unsquash(s, d, slope, total, S4_SIZE, wide, g, plan.k4 + m, plan.b4 + m)
    unpool(s, delta, d, S4_SIDE, g, plan.b3 + m)


@compiled
@no_type_check
def C3_back(s, wide, plan, m):
    """Add to dE/dS2 what a map of C3 gives, from its delta."""
    # Every map of S2 that leads to this one: Table I, or all.
    for k in range(plan.starts[m], plan.starts[m + 1]):
        i, kernel = S2_SIZE * plan.inputs[k], plan.c3 + TAPS * k
        for y in range(S2_SIDE):
            # Kernel row ky leads from row y of S2 to row y - ky of C3, which has 10.
            low = max(0, y - (C3_SIDE - 1))
            count = min(KERNEL - 1, y) - low + 1
            out, line = P.d2 + i + S2_SIDE * y, P.gate3 + C3_SIZE * m + C3_SIDE * y
            spread_10(s, out, line, wide, kernel, low, count)


@compiled
@no_type_check
def C3_learn(s, g, plan, m):
    """The gradients of the kernels of a map of C3, from its delta."""
    # dE/dw[ky, kx]: the sum over the map of delta[y, x] S2[y + ky, x + kx].
    delta = P.gate3 + C3_SIZE * m
    for k in range(plan.starts[m], plan.starts[m + 1]):
        x, kernel = P.S2 + S2_SIZE * plan.inputs[k], plan.c3 + TAPS * k
        for ky in range(KERNEL):
            window, row = x + S2_SIDE * ky, kernel + KERNEL * ky
            learn_10(s, delta, window, S2_SIDE, C3_SIDE, g, row)


@compiled
@no_type_check
def S2_back(s, wide, g, plan, m):
    """From dE/dS2 to the delta of a map of C1; the gradients on the way, and b1's."""
    d, delta = P.d2 + S2_SIZE * m, P.gate1 + C1_SIZE * m
    if plan.squashed:
        slope, total = P.slope2 + S2_SIZE * m, P.sum2 + S2_SIZE * m
        unsquash(s, d, slope, total, S2_SIZE, wide, g, plan.k2 + m, plan.b2 + m)
    unpool(s, delta, d, S2_SIDE, g, plan.b1 + m)


@compiled
@no_type_check
def C1_learn(s, g, plan, m):
    """The gradients of a kernel of C1, from the delta of its map."""
    # dE/dw[ky, kx]: the sum over the map of delta[y, x] image[y + ky, x + kx].
    for ky in range(KERNEL):
        kernel, delta = plan.c1 + TAPS * m + KERNEL * ky, P.gate1 + C1_SIZE * m
        learn_28(s, delta, P.image + SIDE * ky, SIDE, C1_SIDE, g, kernel)


@compiled
@no_type_check
def backward_maps(s, wide, g, plan):
    """From dE/dS4 to the gradients of C1 to S4, lane by lane; leaves the deltas."""
    fill(s, P.d2, S2_ALL, s, P.none)
    for m in range(C3_MAPS):
        S4_back(s, wide, g, plan, m)
        C3_back(s, wide, plan, m)
        C3_learn(s, g, plan, m)
    for m in range(C1_MAPS):
        S2_back(s, wide, g, plan, m)
        C1_learn(s, g, plan, m)


@compiled
@no_type_check
def delta_image(s, wide, g, plan):
    """From dE/dS4 to dE by the image, at s[d2], 28 rows of 32 with two columns of the
    border on either side; g is overwritten."""
    fill(s, P.d2, S2_ALL, s, P.none)
    for m in range(C3_MAPS):
        S4_back(s, wide, g, plan, m)
        C3_back(s, wide, plan, m)
    for m in range(C1_MAPS):
        S2_back(s, wide, g, plan, m)
    # dE/dS2 is of no more use: dE by the image takes its place.
    fill(s, P.d2, PICTURE_SIDE * SIDE, s, P.none)
    for m in range(C1_MAPS):
        for y in range(PICTURE_SIDE):
            # Kernel row ky: from the padded image's row y + 2 to C1's y + 2 - ky.
            low = max(0, y + EDGE - (C1_SIDE - 1))
            count = min(KERNEL - 1, y + EDGE) - low + 1
            for x in range(0, PICTURE_SIDE, 14):
                line = P.gate1 + C1_SIZE * m + C1_SIDE * (y + EDGE) + x
                out, kernel = P.d2 + SIDE * y + x, plan.c1 + TAPS * m
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
    layer(s, count, P.S4, S4_ALL, P.C5, C5_UNITS, w, plan.c5, plan.b5)
    for i in range(count):
        activate(s[i], plan.activation, P.C5, P.slope5, C5_UNITS)
        if masks.size:
            drop(s[i], P.C5, P.slope5, at[i], masks, 0, C5_UNITS)
    # F6, and per group the scores: a linear layer's, or RBF units' (eq. 7).
    layer(s, count, P.C5, C5_UNITS, P.F6, F6_UNITS, w, plan.f6, plan.b6)
    for i in range(count):
        activate(s[i], plan.squash, P.F6, P.slope6, F6_UNITS)
        if masks.size:
            drop(s[i], P.F6, P.slope6, at[i], masks, C5_UNITS, DROPPED_UNITS)
        if plan.linear:
            output_1(s[i], SIZE, P.F6, F6_UNITS, P.score, w, plan.w7, F6_ROW, plan.b7)
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
        unlayer(s, count, P.d6, F6_UNITS, P.pull, CLASSES, w, plan.w7, F6_ROW)
    for i in range(count):
        multiply(s[i], P.d6, P.slope6, F6_UNITS)
    unlayer(s, count, P.d5, C5_UNITS, P.d6, F6_UNITS, w, plan.f6, C5_UNITS)
    for i in range(count):
        multiply(s[i], P.d5, P.slope5, C5_UNITS)
    unlayer(s, count, P.d4, S4_ALL, P.d5, C5_UNITS, w, plan.c5, S4_ALL)


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
        for c in range(CLASSES):
            target = goal(shown, at[lane], c) if there else np.float32(c == 0)
            s[P.target + c, lane] = target
            s[P.answered + c, lane] = lesson(shown, at[lane], c) if there else target
        s[P.answered + CLASSES, lane] = shown.heat
        s[P.answered + CLASSES + 1, lane] = shown.weight
        s[P.number, lane] = shown.number
        s[P.factor, lane] = factor if there else np.float32(0)


@compiled
@no_type_check
def keep_for_round(s, group, seen, deltas):
    """What C5, F6 and output saw in a group, and their deltas, for the whole round."""
    # The inputs of C5, F6 and output: a row for each image.
    inputs = (P.S4, 0, S4_ALL), (P.C5, SEEN_C5, C5_UNITS), (P.F6, SEEN_F6, F6_ROW)
    for place, column, count in inputs:
        turn_over(s, place, count // LANES, seen[group * LANES], column, WIDTH)
    # The deltas of C5, F6 and output: a row for each unit, image after image.
    row = 0
    for place, outputs in ((P.d5, C5_UNITS), (P.d6, F6_ROW), (P.pull, CLASS_ROW)):
        for o in range(outputs):
            for lane in range(LANES):
                deltas[row + o, group * LANES + lane] = s[place + o, lane]
        row += outputs
