"""A pass of eight runs, each in a lane of the processor's vectors.

Arrays inside are [value, lane]: a multiply-add serves eight networks, and what becomes
of a run depends neither on its lane nor on its neighbours. A group of runs goes through
a whole pass in one compiled call.
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

import math
from collections import namedtuple
from typing import Any, no_type_check

import numpy as np

from lenet.kernel import (
    SLICES,
    TILE,
    P,
    activate,
    add_lanes,
    add_slice,
    correlate_10,
    correlate_14,
    dense_1,
    dense_tile,
    fill,
    learn_10,
    learn_28,
    move,
    pool,
    spread,
    undense_1,
    undense_tile,
    unpool,
    unsquash,
)
from lenet.vector import LANES, compiled

SLOTS = {
    "C1.weight": 150, "C1.bias": 6, "S2.coefficient": 6, "S2.bias": 6,
    "C3.weight": 2400, "C3.bias": 16, "S4.coefficient": 16, "S4.bias": 16,
    "C5.weight": 48000, "C5.bias": 120, "F6.weight": 10080, "F6.bias": 84,
    "output.weight": 840, "output.bias": 10,
}  # fmt: skip
# Where each parameter starts, the codes of the levels, which input each kernel of C3
# has and which is each map's first kernel, and the bitmaps of the RBF units.
PLAN = """
c1 b1 k2 b2 c3 b3 k4 b4 c5 b5 f6 b6 w7 b7 activation squash pooling head rule
inputs starts bitmaps
"""
Plan: Any = namedtuple("Plan", PLAN.split())  # type: ignore[misc]
Group: Any = namedtuple("Group", "who slices scale shift number")
# `no_type_check` keeps the checks of jaxtyping's import hook out of compiled functions.


@compiled
@no_type_check
def forward_maps(s, w, plan):
    """From s[image] to s[S4]."""
    for m in range(6):
        fill(s, P.plane, 784, w, plan.b1 + m)
        for y in range(28):
            for x in range(0, 28, 14):
                out, window = P.plane + 28 * y + x, P.image + 32 * y + x
                correlate_14(s, out, window, 32, w, plan.c1 + 25 * m)
        gate, total, out = P.gate1 + 784 * m, P.sum2 + 196 * m, P.S2 + 196 * m
        activate(s, plan.activation, P.plane, gate, 784)
        k, b = plan.k2 + m, plan.b2 + m
        pool(s, plan.pooling, P.plane, gate, total, out, 14, w, k, b)
    if plan.pooling == 0:
        activate(s, plan.activation, P.S2, P.slope2, 1176)
    for m in range(16):
        fill(s, P.plane, 100, w, plan.b3 + m)
        for k in range(plan.starts[m], plan.starts[m + 1]):
            for y in range(10):
                out, window = P.plane + 10 * y, P.S2 + 196 * plan.inputs[k] + 14 * y
                correlate_10(s, out, window, 14, w, plan.c3 + 25 * k)
        gate, total, out = P.gate3 + 100 * m, P.sum4 + 25 * m, P.S4 + 25 * m
        activate(s, plan.activation, P.plane, gate, 100)
        k, b = plan.k4 + m, plan.b4 + m
        pool(s, plan.pooling, P.plane, gate, total, out, 5, w, k, b)
    if plan.pooling == 0:
        activate(s, plan.activation, P.S4, P.slope4, 400)


@compiled
@no_type_check
def forward_dense(s, w, plan):
    """From s[S4] to s[F6], or to s[score] for the softmax head."""
    for o in range(0, 120, 2):
        dense_1(s, P.S4, 400, P.C5 + o, w, plan.c5 + 400 * o, plan.b5 + o)
    activate(s, plan.activation, P.C5, P.slope5, 120)
    for o in range(0, 84, 2):
        dense_1(s, P.C5, 120, P.F6 + o, w, plan.f6 + 120 * o, plan.b6 + o)
    activate(s, plan.squash, P.F6, P.slope6, 84)
    if plan.head == 2:
        for o in range(0, 10, 2):
            dense_1(s, P.F6, 84, P.score + o, w, plan.w7 + 84 * o, plan.b7 + o)


@compiled
@no_type_check
def drop(s, first, slope, mask, group, at):
    """Multiply outputs and their slopes by their masks [run, image, unit]."""
    for lane in range(LANES):
        if at[lane] >= 0:
            for k, factor in enumerate(mask[group.who[lane], at[lane]]):
                s[first + k, lane] *= factor
                s[slope + k, lane] *= factor


@compiled
@no_type_check
def forward_tile(s, w, plan, shown, group, at):
    """forward_dense for the images of a tile, with dropout on C5 and F6."""
    for o in range(0, 120, 2):
        dense_tile(s, P.S4, 400, P.C5 + o, w, plan.c5 + 400 * o, plan.b5 + o)
    for i in range(TILE):
        activate(s[i], plan.activation, P.C5, P.slope5, 120)
        if shown.masks.size:
            drop(s[i], P.C5, P.slope5, shown.masks[:, :, :120], group, at[i])
    for o in range(0, 84, 2):
        dense_tile(s, P.C5, 120, P.F6 + o, w, plan.f6 + 120 * o, plan.b6 + o)
    for i in range(TILE):
        activate(s[i], plan.squash, P.F6, P.slope6, 84)
        if shown.masks.size:
            drop(s[i], P.F6, P.slope6, shown.masks[:, :, 120:], group, at[i])
    if plan.head == 2:
        for o in range(0, 10, 2):
            dense_tile(s, P.F6, 84, P.score + o, w, plan.w7 + 84 * o, plan.b7 + o)


@compiled
@no_type_check
def measure(s, lane, bitmaps):
    """The scores of RBF units: -y (eq. 7), with half of the squared distance."""
    for c in range(10):
        total = np.float32(0)
        for j in range(84):
            gap = s[P.F6 + j, lane] - bitmaps[c, j]
            total += gap * gap
        s[P.score + c, lane] = np.float32(-0.5) * total


@compiled
@no_type_check
def pull_back(s, lane, bitmaps):
    """dE/dF6 of RBF units from dE/dscore."""
    for j in range(84):
        total = np.float32(0)
        for c in range(10):
            gap = bitmaps[c, j] - s[P.F6 + j, lane]
            total += s[P.pull + c, lane] * gap
        s[P.d6 + j, lane] = total


@compiled
@no_type_check
def judge(s, lane, plan, number, label, factor):
    """(loss, prediction); and factor times dE by s[pull], or s[d6] of RBF units."""
    zero, head = np.float32(0), plan.head
    if head != 2:
        measure(s, lane, plan.bitmaps)
    smoothing = number if head == 2 else zero
    score = s[P.score : P.score + 10, lane]
    best = np.argmax(score)
    top = max(score[best], -number) if head == 1 else score[best]
    total = math.exp(-number - top) if head == 1 else zero
    for c in range(10):
        total += math.exp(score[c] - top)
    partition = top + math.log(total) if head else zero
    loss = partition
    for c in range(10):
        goal = smoothing / np.float32(10)
        if c == label:
            goal += np.float32(1) - smoothing
        loss -= goal * score[c]
        share = math.exp(score[c] - partition) if head else zero
        s[P.pull + c, lane] = factor * (share - goal)
    if head != 2:
        pull_back(s, lane, plan.bitmaps)
    return loss, best


@compiled
@no_type_check
def backward_dense(s, w, r, plan):
    """The steps of output, F6 and C5; leaves dE/dS4."""
    if plan.head == 2:
        fill(s, P.d6, 84, s, P.zero)
        for o in range(0, 10, 2):
            k, b, d = plan.w7 + 84 * o, plan.b7 + o, P.pull + o
            undense_1(s, P.F6, P.d6, 84, d, P.one + o, w, w, r, k, b)
    fill(s, P.d5, 120, s, P.zero)
    for o in range(0, 84, 2):
        k, b, d = plan.f6 + 120 * o, plan.b6 + o, P.d6 + o
        undense_1(s, P.C5, P.d5, 120, d, P.slope6 + o, w, w, r, k, b)
    fill(s, P.d4, 400, s, P.zero)
    for o in range(0, 120, 2):
        k, b, d = plan.c5 + 400 * o, plan.b5 + o, P.d5 + o
        undense_1(s, P.S4, P.d4, 400, d, P.slope5 + o, w, w, r, k, b)


@compiled
@no_type_check
def backward_tile(s, w, g, plan):
    """The gradients of output, F6 and C5 for the images of a tile; leaves dE/dS4."""
    for i in range(TILE):
        if plan.head == 2:
            fill(s[i], P.d6, 84, s[i], P.zero)
        fill(s[i], P.d5, 120, s[i], P.zero)
        fill(s[i], P.d4, 400, s[i], P.zero)
    if plan.head == 2:
        for o in range(0, 10, 2):
            k, b, d = plan.w7 + 84 * o, plan.b7 + o, P.pull + o
            undense_tile(s, P.F6, P.d6, 84, d, P.one + o, w, g, g, k, b)
    for o in range(0, 84, 2):
        k, b, d = plan.f6 + 120 * o, plan.b6 + o, P.d6 + o
        undense_tile(s, P.C5, P.d5, 120, d, P.slope6 + o, w, g, g, k, b)
    for o in range(0, 120, 2):
        k, b, d = plan.c5 + 400 * o, plan.b5 + o, P.d5 + o
        undense_tile(s, P.S4, P.d4, 400, d, P.slope5 + o, w, g, g, k, b)


@compiled
@no_type_check
def backward_maps(s, w, g, r, plan):
    """The changes of g by S4, C3, S2 and C1, from dE/dS4."""
    fill(s, P.d2, 1176, s, P.zero)
    for m in range(16):
        d, delta = P.d4 + 25 * m, P.gate3 + 100 * m
        if plan.pooling == 0:
            slope, total = P.slope4 + 25 * m, P.sum4 + 25 * m
            unsquash(s, d, slope, total, 25, w, g, r, plan.k4 + m, plan.b4 + m)
        unpool(s, delta, d, 5, g, r, plan.b3 + m)
        for k in range(plan.starts[m], plan.starts[m + 1]):
            i, kernel = 196 * plan.inputs[k], plan.c3 + 25 * k
            for y in range(14):
                low = max(0, y - 9)
                count = min(4, y) - low + 1
                spread(s, P.d2 + i + 14 * y, delta + 10 * y, w, kernel, low, count)
            for ky in range(5):
                learn_10(s, delta, P.S2 + i + 14 * ky, 14, 10, g, r, kernel + 5 * ky)
    for m in range(6):
        d, delta = P.d2 + 196 * m, P.gate1 + 784 * m
        if plan.pooling == 0:
            slope, total = P.slope2 + 196 * m, P.sum2 + 196 * m
            unsquash(s, d, slope, total, 196, w, g, r, plan.k2 + m, plan.b2 + m)
        unpool(s, delta, d, 14, g, r, plan.b1 + m)
        for ky in range(5):
            kernel = plan.c1 + 25 * m + 5 * ky
            learn_28(s, delta, P.image + 32 * ky, 32, 28, g, r, kernel)


@compiled
@no_type_check
def show(s, shown, group, at):
    """Every lane's image, of those `at`, into s[image], inside the border; -1: none."""
    for lane in range(LANES):
        run, scale, shift = group.who[lane], group.scale[lane], group.shift[lane]
        t = at[lane]
        if t < 0:
            continue
        picture = shown.pictures[shown.order[run, t]]
        if shown.where.size:
            sample(s, lane, picture, shown.where[run, t], scale, shift)
            continue
        for y in range(28):
            for x in range(28):
                pixel = picture[y, x] * scale + shift
                s[P.image + 32 * (y + 2) + x + 2, lane] = pixel


@compiled
@no_type_check
def sample(s, lane, picture, where, scale, shift):
    """Show a picture sampled bilinearly at `where` its pixels come from; 0 outside."""
    half = np.float32(13.5)
    for y in range(28):
        down = np.float32(y) - half
        across = where[0, 1] * down + where[0, 2] + half
        along = where[1, 1] * down + where[1, 2] + half
        for x in range(28):
            right = np.float32(x) - half
            px, py = where[0, 0] * right + across, where[1, 0] * right + along
            value = np.float32(0)
            if -1 < px < 28 and -1 < py < 28:
                column, row = int(math.floor(px)), int(math.floor(py))
                fx, fy = px - np.float32(column), py - np.float32(row)
                if column >= 0 and row >= 0 and column < 27 and row < 27:
                    top = (
                        picture[row, column] * (1 - fx) + picture[row, column + 1] * fx
                    )
                    low = picture[row + 1, column] * (1 - fx)
                    low += picture[row + 1, column + 1] * fx
                    value = top * (1 - fy) + low * fy
                else:
                    for j in range(max(row, 0), min(row + 2, 28)):
                        weight = fy if j > row else 1 - fy
                        for i in range(max(column, 0), min(column + 2, 28)):
                            share = fx if i > column else 1 - fx
                            value += weight * share * picture[j, i]
            s[P.image + 32 * (y + 2) + x + 2, lane] = value * scale + shift


@compiled
@no_type_check
def keep(final, w, lane):
    for k in range(len(w)):
        final[lane, k] = w[k, lane]


@compiled
@no_type_check
def each_pattern(s, w, r, plan, shown, group, factors, final, errors, losses, ended):
    """The pass of LANES runs with a step after every image; writes the four last, of
    which `ended` comes as -1."""
    for t in range(shown.order.shape[1]):
        show(s, shown, group, np.full(LANES, t))
        forward_maps(s, w, plan)
        forward_dense(s, w, plan)
        for lane in range(LANES):
            run = group.who[lane]
            label, factor = shown.labels[run, t], factors[run, t]
            loss, best = judge(s, lane, plan, group.number[lane], label, factor)
            if ended[lane] < 0 and math.isfinite(loss):
                losses[lane] += loss
                errors[lane] += best != label
            elif ended[lane] < 0:
                ended[lane] = t
                keep(final, w, lane)
        backward_dense(s, w, r, plan)
        backward_maps(s, w, w, r, plan)
    for lane in range(LANES):
        if ended[lane] < 0:
            keep(final, w, lane)


@compiled
@no_type_check
def learn_tile(s, w, g, less, plan, shown, group, at, factor, losses, wrong):
    """Add the gradients of a tile of images to g, their losses and errors to those."""
    for i in range(TILE):
        show(s[i], shown, group, at[i])
        if at[i].max() >= 0:
            forward_maps(s[i], w, plan)
    forward_tile(s, w, plan, shown, group, at)
    for i in range(TILE):
        for lane in range(LANES):
            if at[i, lane] < 0:  # no image: it pulls at nothing
                s[i, P.pull : P.pull + 10, lane] = 0
                s[i, P.d6 : P.d6 + 84, lane] = 0
                continue
            label = shown.labels[group.who[lane], at[i, lane]]
            loss, best = judge(s[i], lane, plan, group.number[lane], label, factor)
            losses[lane] += loss
            wrong[lane] += best != label
    backward_tile(s, w, g, plan)
    for i in range(TILE):
        if at[i].max() >= 0:
            backward_maps(s[i], w, g, less, plan)


@compiled
@no_type_check
def learn_batch(
    s, w, g, h, less, plan, shown, group, start, stop,    losses, wrong
):  # fmt: skip
    """Add the gradients of a batch to g, slice by slice; h is 0 before and after.

    Slice i of a batch is every SLICES-th image from the i-th on. A run in one lane has
    them one after the other, a run in SLICES lanes has each in a lane of its own: both
    add up the same numbers in the same order.
    """
    at, spread = np.empty((TILE, LANES), np.int64), group.slices.max() > 0
    factor, length = np.float32(1 / (stop - start)), -(-(stop - start) // SLICES)
    for turn in range(1 if spread else SLICES):
        into = h if turn else g
        for first in range(0, length, TILE):
            for i in range(TILE):
                for lane in range(LANES):
                    t = start + turn + group.slices[lane] + SLICES * (first + i)
                    at[i, lane] = t if t < stop else -1
            if at.max() >= 0:
                learn_tile(
                    s, w, into, less, plan, shown, group, at, factor, losses, wrong
                )
        if turn:
            add_slice(g, h, len(g))
    if spread:
        add_lanes(g, len(g))


@compiled
@no_type_check
def step_group(w, g, m, v, plan, group, steps, decays, parts, numbers, ended):
    """A step of LANES runs; one that has ended, or whose rate is 0, stays as it is."""
    for lane in range(LANES):
        rate, _, epsilon = steps[group.who[lane]]
        alive = ended[lane] < 0 and rate > 0
        numbers[0, lane], numbers[1, lane] = alive, rate * alive
        numbers[7, lane] = epsilon
    for start, length, decayed in parts:
        for lane in range(LANES):
            shrink = steps[group.who[lane], 1] * numbers[0, lane]
            numbers[2, lane] = decays[group.who[lane]] * decayed
            numbers[3, lane] = 1 - shrink * decayed
        move(plan.rule, w, g, m, v, start, length, numbers)


@compiled
@no_type_check
def each_batch(
    s, w, m, v, plan, shown, group, size, steps, decays, parts, numbers,
    errors, losses, ended,
):  # fmt: skip
    """The pass of a group's runs with a step after every `size` images."""
    g, less = np.zeros_like(w), np.full((plan.c5, LANES), np.float32(-1))
    h, total = np.zeros_like(w), shown.order.shape[1]
    for start in range(0, total, size):
        loss, wrong = np.zeros(LANES), np.zeros(LANES)
        stop, step = min(start + size, total), start // size
        learn_batch(s, w, g, h, less, plan, shown, group, start, stop, loss, wrong)
        for lane in range(LANES):
            home = lane - group.slices[lane]
            if home < lane:
                loss[home], wrong[home] = (
                    loss[home] + loss[lane],
                    wrong[home] + wrong[lane],
                )
        for lane in range(LANES):
            home = lane - group.slices[lane]
            if ended[home] < 0 and math.isfinite(loss[home]):
                losses[lane] += loss[lane]
                errors[lane] += int(wrong[lane])
            elif ended[lane] < 0:
                ended[lane] = step
        now = steps[:, step]
        step_group(w, g, m, v, plan, group, now, decays, parts, numbers, ended)
