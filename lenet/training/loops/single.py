"""One run through its images one by one, with a step after each: channels in the lanes.

A vector holds one pixel of eight maps, or eight units. C1 has six maps and two idle
lanes; C3 has two times eight, to each of which leads every map of S2: where Table I has
no connection the weight is 0 and stays so, by `mask`.

    w   C1 [25] | b1 | k2 | b2 | C3 [half, input, 25] | b3 k4 b4 [half] | C5 [input, 15]
        | b5 [15] | F6 [input, 11] | b6 [11] | output [10, 11] | b7 [2], all of vectors;
        passes.py says where each number of a parameter lies

The sums over outputs that are dE by C5 and S4 are made in the lanes and added up from
the first lane to the last; every other sum goes one by one, as the loops are written.
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

import math
from collections import namedtuple
from itertools import accumulate
from typing import Any, no_type_check

import numpy as np

from lenet.training.loops.cache import compiled, entrance
from lenet.training.loops.dense import (
    C5_VECTORS,
    DECAY,
    EPSILON,
    F6_VECTORS,
    RATE,
    SHRINK_REST,
    answer,
    descend_all,
    descend_C5,
    descend_F6,
    gather_C5,
    gather_F6,
    judge,
    measure,
    move,
    multiply,
    outputs_C5,
    outputs_F6,
    pull_back,
)
from lenet.training.loops.input_image import draw_image, goal, lesson
from lenet.training.loops.llvm import LANES
from lenet.training.loops.maps import (
    C1_forward,
    C1_learn,
    C3_forward,
    C3_learn,
    activate,
    pool,
    repeat,
    spread_channels,
    turn_kernels,
    unpool,
    unsquash,
)
from lenet.training.loops.muon import move_hidden
from lenet.training.loops.sizes import (
    C1_MAPS,
    C1_SIDE,
    C1_SIZE,
    C3_MAPS,
    C3_SIDE,
    C3_SIZE,
    C5_UNITS,
    CLASS_ROW,
    CLASSES,
    DROPPED_UNITS,
    F6_ROW,
    F6_UNITS,
    IMAGE_SIZE,
    KERNEL,
    S2_SIDE,
    S2_SIZE,
    S4_ALL,
    S4_SIDE,
    S4_SIZE,
    SIDE,
    TAPS,
)

HALVES = C3_MAPS // LANES  # of C3 and S4: eight maps each
C3_HALF = C1_MAPS * TAPS  # vectors of the kernels of a half
S4_VECTORS = HALVES * S4_SIZE
# Places in the workspace, as in batch.py. units, slopes, d: F6 and dE by it, a vector
# for each unit, every lane the same, as the output's loops take them; `pulls` are dE by
# the scores as numbers.
SPACE = {
    "image": IMAGE_SIZE // LANES, "before": IMAGE_SIZE // LANES, "plane1": C1_SIZE,
    "gate1": C1_SIZE, "sum2": S2_SIZE, "S2": S2_SIZE, "slope2": S2_SIZE, "d2": S2_SIZE,
    "plane3": HALVES * C3_SIZE, "gate3": HALVES * C3_SIZE, "sum4": S4_VECTORS,
    "S4": S4_VECTORS, "slope4": S4_VECTORS, "d4": S4_VECTORS, "C5": C5_VECTORS,
    "slope5": C5_VECTORS, "d5": C5_VECTORS, "F6": F6_VECTORS, "slope6": F6_VECTORS,
    "d6": F6_VECTORS, "units": F6_ROW, "d": F6_ROW, "score": CLASS_ROW,
    "pull": CLASS_ROW, "pulls": CLASS_ROW // LANES, "target": CLASSES, "number": 1,
    "factor": 1, "loss": 1, "answered": CLASSES + 2,
}  # fmt: skip
Place: Any = namedtuple("Place", list(SPACE))  # type: ignore[misc]
P: Any = Place(*accumulate([0, *SPACE.values()][:-1]))
SIZE = sum(SPACE.values())
W = {
    "c1": TAPS, "b1": 1, "k2": 1, "b2": 1, "c3": HALVES * C3_HALF, "b3": HALVES,
    "k4": HALVES, "b4": HALVES, "c5": S4_ALL * C5_VECTORS, "b5": C5_VECTORS,
    "f6": C5_UNITS * F6_VECTORS, "b6": F6_VECTORS, "w7": CLASSES * F6_VECTORS,
    "b7": CLASS_ROW // LANES,
}  # fmt: skip
Weights: Any = namedtuple("Weights", list(W))  # type: ignore[misc]
K: Any = Weights(*accumulate([0, *W.values()][:-1]))
VECTORS = sum(W.values())
# A run's steps: whether weights move as soon as their gradient is known (sgd and sdlm
# without decay), the optimizer's numbers and those of each step, on which parts decay
# acts ([part, 3]: where it begins, its vectors, 1 or 0), and the weights that move as
# whole matrices.
Updates: Any = namedtuple("Updates", ["fused", "numbers", "each", "decays", "matrices"])


@compiled
@no_type_check
def forward_maps(s, w, plan):
    """From s[image] to s[S4]."""
    # C1: its six maps and two idle lanes, a row in four strips of 7 pixels.
    for y in range(C1_SIDE):
        for x in range(0, C1_SIDE, 7):
            window = P.image * LANES + SIDE * y + x
            C1_forward(s, P.plane1 + C1_SIDE * y + x, window, SIDE, 1, w, K.c1, K.b1)
    activate(s, plan.activation, P.plane1, P.gate1, C1_SIZE)
    pool(s, plan.pooling, P.plane1, P.gate1, P.sum2, P.S2, S2_SIDE, w, K.k2, K.b2)
    if plan.squashed:
        activate(s, plan.activation, P.S2, P.slope2, S2_SIZE)
    # C3: eight maps in each half, from all six maps of S2.
    for half in range(HALVES):
        for y in range(C3_SIDE):
            out, window = P.plane3 + C3_SIZE * half + C3_SIDE * y, P.S2 + S2_SIDE * y
            k, b = K.c3 + C3_HALF * half, K.b3 + half
            C3_forward(s, out, window * LANES, S2_SIDE * LANES, C1_MAPS, w, k, b)
    activate(s, plan.activation, P.plane3, P.gate3, HALVES * C3_SIZE)
    # S4, half by half: a map of eight has its own coefficient and bias in its lane.
    for half in range(HALVES):
        x, gate = P.plane3 + C3_SIZE * half, P.gate3 + C3_SIZE * half
        total, out = P.sum4 + S4_SIZE * half, P.S4 + S4_SIZE * half
        k, b = K.k4 + half, K.b4 + half
        pool(s, plan.pooling, x, gate, total, out, S4_SIDE, w, k, b)
    if plan.squashed:
        activate(s, plan.activation, P.S4, P.slope4, S4_VECTORS)


@compiled
@no_type_check
def drop(s, first, slope, masks, start, stop):
    """Multiply outputs and slopes by the masks of the image's units."""
    for k in range(stop - start):
        lane, place = k % LANES, k // LANES
        s[first + place, lane] *= masks[start + k]
        s[slope + place, lane] *= masks[start + k]


@compiled
@no_type_check
def forward_dense(s, w, plan, masks):
    """From s[S4] to s[score]."""
    outputs_C5(s, P.S4 * LANES, S4_ALL, P.C5, w, K.c5, K.b5)
    activate(s, plan.activation, P.C5, P.slope5, C5_VECTORS)
    if masks.size:
        drop(s, P.C5, P.slope5, masks, 0, C5_UNITS)
    outputs_F6(s, P.C5 * LANES, C5_UNITS, P.F6, w, K.f6, K.b6)
    activate(s, plan.squash, P.F6, P.slope6, F6_VECTORS)
    if masks.size:
        drop(s, P.F6, P.slope6, masks, C5_UNITS, DROPPED_UNITS)
    # From eight units in a vector to one, in every lane.
    repeat(s[P.units :], s[P.F6 :], F6_ROW)
    if plan.linear:
        k, b = K.w7 * LANES, K.b7 * LANES
        for c in range(CLASSES):  # of a row, F6_UNITS are used
            dot(s, c, w, k + F6_ROW * c, b + c)
    else:
        measure(s, P.units, P.score, plan.bitmaps)


@compiled
@no_type_check
def backward_dense(s, w, change, fused, plan):
    """The changes of output, F6 and C5; leaves dE/dS4. fused: each weight takes its
    step, of the size in `change`; else its gradient goes there."""
    if plan.linear:
        unscore(s, w)
    else:
        pull_back(s, P.units, P.pull, P.d, plan.bitmaps)
    # And dE by F6 back from one unit in a vector to eight.
    for k in range(F6_UNITS):
        s[P.d6 + k // LANES, k % LANES] = s[P.d + k, 0]
    multiply(s, P.d6, P.slope6, F6_VECTORS)
    # F6: dE/dC5 by its weights before they change, and their changes.
    if fused:
        descend_F6(s, P.C5, C5_VECTORS, P.d5, P.d6, w, change, K.f6)
    else:
        gather_F6(s, P.C5, C5_VECTORS, P.d5, P.d6, w, change, K.f6)
    multiply(s, P.d5, P.slope5, C5_VECTORS)
    # C5: dE/dS4, and the changes of its weights.
    if fused:
        descend_C5(s, P.S4, S4_VECTORS, P.d4, P.d5, w, change, K.c5)
    else:
        gather_C5(s, P.S4, S4_VECTORS, P.d4, P.d5, w, change, K.c5)


@compiled
@no_type_check
def backward_maps(s, w, turned, g, plan):
    """The gradients of C1 to S4, from dE/dS4."""
    # S4, and the deltas of C3.
    for half in range(HALVES):
        d, delta = P.d4 + S4_SIZE * half, P.gate3 + C3_SIZE * half
        if plan.squashed:
            slope, total = P.slope4 + S4_SIZE * half, P.sum4 + S4_SIZE * half
            unsquash(s, d, slope, total, S4_SIZE, w, g, K.k4 + half, K.b4 + half)
        unpool(s, delta, d, S4_SIDE, g, K.b3 + half)
    # dE/dS2: kernel row ky leads from row y of S2 to row y - ky of C3.
    for y in range(S2_SIDE):
        low = max(0, y - (C3_SIDE - 1))
        count = min(KERNEL - 1, y) - low + 1
        line = (P.gate3 + C3_SIDE * y) * LANES
        spread_channels(s, P.d2 + S2_SIDE * y, line, turned, 0, low, count)
    # C3's kernels: from one map of S2 to both halves, one row of a kernel at a time.
    for i in range(C1_MAPS):
        for ky in range(KERNEL):
            x, k = (P.S2 + S2_SIDE * ky) * LANES + i, K.c3 + TAPS * i + KERNEL * ky
            C3_learn(s, P.gate3, x, S2_SIDE * LANES, C3_SIDE, g, k, C3_HALF)
    # S2, and the deltas of C1; then its kernels, a row at a time.
    if plan.squashed:
        unsquash(s, P.d2, P.slope2, P.sum2, S2_SIZE, w, g, K.k2, K.b2)
    unpool(s, P.gate1, P.d2, S2_SIDE, g, K.b1)
    for ky in range(KERNEL):
        x = P.image * LANES + SIDE * ky
        C1_learn(s, P.gate1, x, SIDE, C1_SIDE, g, K.c1 + KERNEL * ky, 0)


@entrance
@no_type_check
def each_image(s, state, turned, mask, plan, shown, updates, outcome):
    """The pass of a run with a step after every image.

    turned: space for C3's kernels, turned over; mask: 1 for those that there are.
    """
    w, g, m, v = state
    fused = updates.fused  # the rate of a step is then in the loss's factor
    canvas, before = s[P.image : P.before], s[P.before : P.plane1]
    canvas, before = canvas.reshape(-1), before.reshape(-1)
    turn_kernels(turned, w, K.c3)
    for t in range(len(shown.order)):
        draw_image(canvas, before, shown, t)
        masks = shown.masks[t] if shown.masks.size else shown.masks[:0].reshape(-1)
        forward_maps(s, w, plan)
        forward_dense(s, w, plan, masks)
        # The loss has one image: every lane computes the same.
        for lane in range(LANES):
            for c in range(CLASSES):
                s[P.target + c, lane] = goal(shown, t, c)
                s[P.answered + c, lane] = lesson(shown, t, c)
            s[P.answered + CLASSES, lane] = shown.heat
            s[P.answered + CLASSES + 1, lane] = shown.weight
            s[P.number, lane] = shown.number
            s[P.factor, lane] = updates.each[t, 0] if fused else np.float32(1)
        judge(s, plan.head, plan.teacher, P.score, P.target, P.number, P.factor, P.loss,
              P.pull, P.answered)  # fmt: skip
        outcome.losses[t], outcome.answers[t] = s[P.loss, 0], answer(s, P.score, 0)
        if not math.isfinite(outcome.losses[t]):
            outcome.ended[0] = t
            return
        backward_dense(s, w, v if fused else g, fused, plan)
        gather_rest(s, g, plan)
        backward_maps(s, w, turned, g, plan)
        # C3's kernels that Table I leaves out learn nothing.
        if mask.size:
            for k in range(HALVES * C3_HALF):
                for lane in range(LANES):
                    g[K.c3 + k, lane] *= mask[k, lane]
        # C5's and F6's weights have moved: C1 to S4, the biases and the output follow.
        if fused:
            descend_all(w, v, g, 0, K.c5)
            descend_all(w, v, g, K.b5, C5_VECTORS)
            descend_all(w, v, g, K.b6, VECTORS - K.b6)
        else:
            step(plan, state, updates, t)
            move_hidden(0, 1, plan, state, updates.matrices, t)
        turn_kernels(turned, w, K.c3)


@compiled
@no_type_check
def dot(s, c, w, k, b):
    """The score of a class, in every lane: its output unit's sum."""
    row, bias = w.reshape(-1)[k : k + F6_UNITS], w.reshape(-1)[b]
    total = np.float32(0)
    for j in range(F6_UNITS):
        total += row[j] * s[P.units + j, 0]
    for lane in range(LANES):
        s[P.score + c, lane] = total + bias


@compiled
@no_type_check
def unscore(s, w):
    """dE by the units of F6 from dE by the scores."""
    row = w[K.w7 : K.b7].reshape(-1)
    for j in range(F6_UNITS):
        total = np.float32(0)
        for c in range(CLASSES):
            total += row[F6_ROW * c + j] * s[P.pull + c, 0]
        s[P.d + j, 0] = total


@compiled
@no_type_check
def gather_rest(s, g, plan):
    """The gradients of the output and of the biases of F6 and C5."""
    # A bias's gradient is its unit's delta.
    for k in range(C5_VECTORS):
        g[K.b5 + k] = s[P.d5 + k]
    for k in range(F6_VECTORS):
        g[K.b6 + k] = s[P.d6 + k]
    if plan.linear:
        # dE/dw of class c and unit j: dE by the score times the unit.
        units, rows = s[P.F6 : P.slope6].reshape(-1), g[K.w7 : K.b7].reshape(-1)
        for c in range(CLASSES):
            pull = s[P.pull + c, 0]
            g[K.b7 + c // LANES, c % LANES] = pull
            for j in range(F6_UNITS):
                rows[F6_ROW * c + j] = pull * units[j]


@compiled
@no_type_check
def step(plan, state, updates, index):
    """The step `index` of a pass, of all weights."""
    w, g, m, v = state
    numbers, decays = updates.numbers, updates.decays
    rate, shrink, epsilon = updates.each[index]
    for lane in range(LANES):
        numbers[RATE, lane], numbers[EPSILON, lane] = rate, epsilon
    # Where decay does not act its number is 0; it is put back at the end.
    decay = numbers[DECAY, 0]
    for k in range(len(decays)):
        start, length, decayed = decays[k, 0], decays[k, 1], decays[k, 2]
        for lane in range(LANES):
            numbers[DECAY, lane] = decay * decayed
            numbers[SHRINK_REST, lane] = np.float32(1) - shrink * decayed
        move(plan.rule, w, g, m, v, start, length, numbers)
    for lane in range(LANES):
        numbers[DECAY, lane] = decay
