"""One run through its batches, with a step after each, by one or several threads.

A batch goes through the network in rounds. The threads that work on a run share out the
groups of a round, wait for each other, and share out the weights, each of which adds up
its gradient over the images and takes its step. What is added to what, in which order,
depends on neither the threads nor the runs beside this one:

    C1 to S4    a weight's sum over the pixels of an image, in the image's lane; then
                the lanes of a group, from the first; then the groups, from the first
    C5 to output  the images, from the first

    parts   [group, weight of C1 to S4]: the sums over the lanes of a group
    w g m v weights, gradients, and what the optimizer remembers: see passes.py
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

import math
from collections import namedtuple
from typing import Any, no_type_check

import numpy as np

from lenet.training.factor.norm import MOMENTUM, MOMENTUM_BATCH
from lenet.training.loops import norm
from lenet.training.loops.attacked_images import move_images
from lenet.training.loops.cache import compiled, entrance
from lenet.training.loops.dense import (
    DECAY,
    EPSILON,
    RATE,
    SHRINK_REST,
    answer,
    judge,
    move,
    outer_bias,
    outer_C5,
    outer_F6,
    outer_output,
)
from lenet.training.loops.llvm import LANES, meet
from lenet.training.loops.maps import add_lanes, fill, repeat
from lenet.training.loops.muon import move_hidden
from lenet.training.loops.sizes import (
    C1_MAPS,
    C1_SIZE,
    C3_MAPS,
    C3_SIZE,
    C5_BLOCKS,
    C5_SHARE,
    C5_UNITS,
    CLASS_ROW,
    F6_BLOCKS,
    F6_ROW,
    F6_SHARE,
    S2_ALL,
    S4_ALL,
)
from lenet.training.loops.tiles import (
    DELTAS_F6,
    DELTAS_OUTPUT,
    SEEN_C5,
    SEEN_F6,
    TILE,
    WIDTH,
    C1_learn,
    C1_squash,
    C1_sums,
    C3_back,
    C3_learn,
    C3_squash,
    C3_sums,
    P,
    Part,
    S2_back,
    S2_squash,
    S4_back,
    S4_squash,
    aim,
    backward_dense,
    backward_maps,
    forward_dense,
    forward_maps,
    keep_for_round,
    put,
)

ROUND = 16  # groups, 128 images; with batch norm all groups of a batch
# A run's steps: after how many images, which weights each thread moves (see
# passes.thread_shares), the optimizer's numbers and those of each step, what it adds of
# a weight to its gradient, and the weights that it moves as whole matrices.
Updates: Any = namedtuple(
    "Updates", ["size", "shares", "numbers", "each", "decay", "matrices"]
)


@compiled
@no_type_check
def place(at, start, end):
    """Which image of the pass each lane of a tile has, from `start` to `end`."""
    for i in range(len(at)):
        for lane in range(LANES):
            t = start + i * LANES + lane
            at[i, lane] = t if t < end else -1


@compiled
@no_type_check
def put_tile(s, count, w, plan, shown, at, own):
    """The images of a tile, as the run is to learn from them."""
    for i in range(count):
        put(s[i], shown, at[i], own.canvas, own.before)
    if own.ball.steps:
        move_images(s, count, w, plan, shown, at, own)


@compiled
@no_type_check
def judge_tile(s, count, plan, shown, at, factor, outcome):
    """The losses and answers of a tile, and dE by its scores."""
    for i in range(count):
        aim(s[i], shown, at[i], factor)
        judge(s[i], plan.head, plan.teacher, P.score, P.target, P.number, P.factor,
              P.loss, P.pull, P.answered)  # fmt: skip
        for lane in range(LANES):
            if at[i, lane] >= 0:
                outcome.losses[at[i, lane]] = s[i, P.loss, lane]
                outcome.answers[at[i, lane]] = answer(s[i], P.score, lane)


@compiled
@no_type_check
def some_groups(w, plan, shown, part, factor, kept, own, outcome):
    """Forward and back for a thread's groups of a round."""
    seen, deltas, parts, _ = kept
    s, lanes, wide = own.s, own.lanes, own.wide
    at = np.empty((TILE, LANES), np.int64)
    # Up to TILE groups read the weights of C5 to output together.
    for tile in range(part.first, part.stop, TILE):
        count = min(TILE, part.stop - tile)
        place(at, part.start + tile * LANES, part.end)
        put_tile(s, count, w, plan, shown, at, own)
        for i in range(count):
            forward_maps(s[i], wide, plan)
        forward_dense(s, count, w, plan, at, shown.masks)
        judge_tile(s, count, plan, shown, at, factor, outcome)
        backward_dense(s, count, w, plan)
        # C5 to output wait for `gather`; C1 to S4 are added up over the lanes at once.
        for i in range(count):
            keep_for_round(s[i], tile + i, seen, deltas)
            backward_maps(s[i], wide, lanes, plan)
            add_lanes(parts[tile + i], lanes, len(lanes))


@compiled
@no_type_check
def spread_of(s, layer, sums, there, team, part, out):
    """(mean, variance) of the maps of a layer over all groups, into `out` [2, map]."""
    maps, n = (C3_MAPS, C3_SIZE) if layer else (C1_MAPS, C1_SIZE)
    raw = P.raw3 if layer else P.raw1
    total = np.float32(part.end - part.start) * np.float32(n)
    # First the sums, then those of the squared distances from their mean.
    for turn in range(2):
        for i in range(part.stop - part.first):
            for m in range(maps):
                centre = out[0, m] if turn else np.float32(0)
                sums[turn, part.first + i, m] = norm.map_sum(
                    s[i], raw + n * m, n, there[i], centre, turn == 1
                )
        meet(team.gate, team.threads)
        # Every thread adds up the groups of all threads: all find the same bits.
        for m in range(maps):
            out[turn, m] = norm.over_groups(sums[turn], part.groups, m, total)
    meet(team.gate, team.threads)


@compiled
@no_type_check
def update_running(running, layer, out, count):
    """The running statistics move towards those of a batch of `count` images."""
    maps, n = (C3_MAPS, C3_SIZE) if layer else (C1_MAPS, C1_SIZE)
    # A smaller batch moves them by less: MOMENTUM is that of MOMENTUM_BATCH images.
    share = np.float32(min(MOMENTUM, MOMENTUM * count / MOMENTUM_BATCH))
    one, pixels = np.float32(1), np.float32(count) * np.float32(n)
    for m in range(maps):
        # The running variance is the unbiased one.
        variance = out[1, m] * (pixels / (pixels - one))
        for kind, value in ((0, out[0, m]), (1, variance)):
            before = running[kind, C1_MAPS * layer + m]
            running[kind, C1_MAPS * layer + m] = before * (one - share) + share * value


@compiled
@no_type_check
def normed_back(s, layer, sums, there, team, part, out):
    """The deltas of a layer's maps, taken back through batch norm."""
    first, mine = part.first, part.stop - part.first
    maps, n = (C3_MAPS, C3_SIZE) if layer else (C1_MAPS, C1_SIZE)
    raw, delta = (P.raw3, P.gate3) if layer else (P.raw1, P.gate1)
    # The sums of delta, and of delta times the normalised map, of every group.
    for i in range(mine):
        for m in range(maps):
            place, xs = delta + n * m, raw + n * m
            zero = np.float32(0)
            sums[0, first + i, m] = norm.map_sum(s[i], place, n, there[i], zero, False)
            sums[1, first + i, m] = norm.map_product(s[i], place, s[i], xs, n, there[i])
    meet(team.gate, team.threads)
    total = np.float32(part.end - part.start) * np.float32(n)
    # Their means over the whole batch, then dE by the sums of this thread's groups.
    for m in range(maps):
        mean = norm.over_groups(sums[0], part.groups, m, total)
        slant = norm.over_groups(sums[1], part.groups, m, total)
        gain = np.float32(1) / np.float32(math.sqrt(out[1, m] + norm.SMALL))
        for i in range(mine):
            place, xs = delta + n * m, raw + n * m
            norm.denormalise(s[i], place, s[i], xs, n, gain, mean, slant, there[i])
    meet(team.gate, team.threads)


@compiled
@no_type_check
def normed_groups(team, w, plan, shown, part, factor, kept, own, running, outcome):
    """some_groups with batch norm: layer by layer, as all groups of a batch give the
    statistics; own.s has a place for each group of the thread."""
    seen, deltas, _, sums = kept
    s, wide, mine = own.s, own.wide, part.stop - part.first
    at = np.empty((max(mine, 1), LANES), np.int64)
    place(at, part.start + part.first * LANES, part.end)
    there = (at >= 0).astype(np.float32)
    found = np.zeros((2, 2, C3_MAPS), np.float32)
    for tile in range(0, mine, TILE):
        size = min(TILE, mine - tile)
        put_tile(s[tile:], size, w, plan, shown, at[tile:], own)
    # C1 of all groups without its bias, which the norm adds.
    for i in range(mine):
        for m in range(C1_MAPS):
            C1_sums(s[i], wide, plan, m, P.raw1 + C1_SIZE * m, s[i], P.none)
    spread_of(s, 0, sums, there, team, part, found[0])
    # From C1's statistics to S2, and C3 without its bias.
    for i in range(mine):
        normal_maps(s[i], wide, plan, 0, found[0])
        S2_squash(s[i], plan)
        for m in range(C3_MAPS):
            C3_sums(s[i], wide, plan, m, P.raw3 + C3_SIZE * m, s[i], P.none)
    spread_of(s, 1, sums, there, team, part, found[1])
    # From C3's statistics to S4.
    for i in range(mine):
        normal_maps(s[i], wide, plan, 1, found[1])
        S4_squash(s[i], plan)
    # C5 to the loss and back to dE/dS4, up to TILE groups at a time.
    for tile in range(0, mine, TILE):
        size = min(TILE, mine - tile)
        some, where = s[tile:], at[tile:]
        forward_dense(some, size, w, plan, where, shown.masks)
        judge_tile(some, size, plan, shown, where, factor, outcome)
        backward_dense(some, size, w, plan)
    # C5 to output wait for `gather`; C3 is to add up dE/dS2 from 0.
    for i in range(mine):
        keep_for_round(s[i], part.first + i, seen, deltas)
        fill(s[i], P.d2, S2_ALL, s[i], P.none)
    normed_learn(plan, kept, own, there, team, part, found)
    if team.thread == 0:
        for layer in range(2):
            update_running(running, layer, found[layer], part.end - part.start)


@compiled
@no_type_check
def normal_maps(s, wide, plan, layer, found):
    """The maps of a layer, normalised, squashed and pooled."""
    maps = C3_MAPS if layer else C1_MAPS
    mean, gain = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    # A map has one mean and one gain, the same in every lane.
    for m in range(maps):
        mean[:] = found[0, m]
        gain[:] = np.float32(1) / np.float32(math.sqrt(found[1, m] + norm.SMALL))
        normal_map(s, wide, plan, layer, m, mean, gain)


@compiled
@no_type_check
def normal_map(s, wide, plan, layer, m, mean, gain):
    """A map, normalised with the mean and gain of each lane, squashed and pooled."""
    if layer:
        place, bias = P.raw3 + C3_SIZE * m, wide[plan.b3 + m]
        norm.normalise(s, place, C3_SIZE, mean, gain, s, P.plane, bias)
        C3_squash(s, wide, plan, m)
    else:
        place, bias = P.raw1 + C1_SIZE * m, wide[plan.b1 + m]
        norm.normalise(s, place, C1_SIZE, mean, gain, s, P.plane, bias)
        C1_squash(s, wide, plan, m)


@compiled
@no_type_check
def normed_learn(plan, kept, own, there, team, part, found):
    """The gradients of C1 to S4, through both norms."""
    s, lanes, wide = own.s, own.lanes, own.wide
    parts, first, mine = kept.parts, part.first, part.stop - part.first
    # S4, and C3's deltas before their way through the norm.
    for i in range(mine):
        for m in range(C3_MAPS):
            S4_back(s[i], wide, lanes, plan, m)
        add_lanes(parts[first + i], lanes, len(lanes))  # the biases; kernels come below
    normed_back(s, 1, kept.sums, there, team, part, found[1])
    # C3's kernels and dE/dS2; then S2, and C1's deltas before their norm.
    for i in range(mine):
        for m in range(C3_MAPS):
            C3_back(s[i], wide, plan, m)
            C3_learn(s[i], lanes, plan, m)
        for m in range(C1_MAPS):
            S2_back(s[i], wide, lanes, plan, m)
        some = np.empty(parts.shape[1], np.float32)
        add_lanes(some, lanes, len(lanes))
        # What lies before b3: b1, S2 and C3's kernels; C1's are overwritten below.
        for k in range(plan.b3):
            parts[first + i, k] = some[k]
    normed_back(s, 0, kept.sums, there, team, part, found[0])
    # C1's kernels, which lie before b1.
    for i in range(mine):
        for m in range(C1_MAPS):
            C1_learn(s[i], lanes, plan, m)
        some = np.empty(parts.shape[1], np.float32)
        add_lanes(some, lanes, len(lanes))
        for k in range(plan.b1):
            parts[first + i, k] = some[k]


@compiled
@no_type_check
def gather(thread, threads, g, plan, kept, groups, images):
    """Add this thread's share of the gradients of a round."""
    seen, deltas, parts, _ = kept
    # C1 to S4: the groups, from the first.
    if thread == 0:
        for group in range(groups):
            for k in range(parts.shape[1]):
                g[k] += parts[group, k]
    length = deltas.shape[1]
    # C5: 20 blocks of 6 outputs, 16 inputs at a time.
    first, stop = C5_BLOCKS * thread // threads, C5_BLOCKS * (thread + 1) // threads
    for block in range(first, stop):
        row = C5_SHARE * block
        k, d = plan.c5 + S4_ALL * row, row * length
        for x in range(0, S4_ALL, 2 * LANES):
            outer_C5(g, k + x, S4_ALL, deltas, d, length, seen, x, WIDTH, images)
    # F6: 21 blocks of 4 outputs, 24 inputs at a time.
    first, stop = F6_BLOCKS * thread // threads, F6_BLOCKS * (thread + 1) // threads
    for block in range(first, stop):
        row = F6_SHARE * block
        d = (DELTAS_F6 + row) * length
        for x in range(0, C5_UNITS, 3 * LANES):
            k, column = plan.f6 + C5_UNITS * row + x, SEEN_C5 + x
            outer_F6(g, k, C5_UNITS, deltas, d, length, seen, column, WIDTH, images)
    if thread == threads - 1:
        gather_rest(g, plan, seen, deltas, groups, images)


@compiled
@no_type_check
def gather_rest(g, plan, seen, deltas, groups, images):
    """Add the gradients of the output and of the biases of C5 and F6."""
    length = deltas.shape[1]
    # The biases of C5, then of F6 with four idle places, eight at a time.
    for row in range(0, C5_UNITS, LANES):
        outer_bias(g, plan.b5 + row, deltas, row * length, length, groups)
    for row in range(0, F6_ROW, LANES):
        outer_bias(g, plan.b6 + row, deltas, (DELTAS_F6 + row) * length, length, groups)
    if plan.linear:
        # The output: all classes at once, eight inputs at a time; then its biases.
        d = DELTAS_OUTPUT * length
        for x in range(0, F6_ROW, LANES):
            k, column = plan.w7 + x, SEEN_F6 + x
            outer_output(g, k, F6_ROW, deltas, d, length, seen, column, WIDTH, images)
        for row in range(0, CLASS_ROW, LANES):
            outer_bias(g, plan.b7 + row, deltas, d + row * length, length, groups)


@compiled
@no_type_check
def step(thread, plan, state, updates, index):
    """This thread's share of the step `index` of its pass."""
    w, g, m, v = state
    shares, numbers = updates.shares, updates.numbers
    rate, shrink, epsilon = updates.each[index]
    for lane in range(LANES):
        numbers[RATE, lane], numbers[EPSILON, lane] = rate, epsilon
    # Decay acts on some parameters alone: `decayed` is 1 or 0.
    for k in range(len(shares)):
        if shares[k, 0] == thread:
            start, length, decayed = shares[k, 1], shares[k, 2], shares[k, 3]
            for lane in range(LANES):
                numbers[DECAY, lane] = updates.decay * decayed
                numbers[SHRINK_REST, lane] = np.float32(1) - shrink * decayed
            move(plan.rule, w, g, m, v, start, length, numbers)


@compiled
@no_type_check
def all_finite(losses, start, stop):
    """Whether each of these losses is a number."""
    for t in range(start, stop):
        if not math.isfinite(losses[t]):
            return False
    return True


@entrance
@no_type_check
def each_batch(team, plan, shown, updates, state, kept, own, running, outcome):
    """The pass of a run with a step after every updates.size images, as one of the
    threads that work on it.

    own: see tiles.Own, kept: tiles.Round; running: batch norm's statistics [2, map].
    """
    w, g, wide, tested = state[0], state[1], own.wide, own.tested
    thread, threads = team.thread, team.threads
    total, length = len(shown.order), len(kept.parts) * LANES
    # A batch and its step.
    for start in range(0, total, updates.size):
        stop, index = min(start + updates.size, total), start // updates.size
        repeat(wide, w, len(wide))
        # The adversary meets the network as it tests, with running statistics.
        if own.ball.steps:
            tested[:] = wide
            if plan.norm:
                norm.testing(tested, plan, running[0], running[1])
        factor = np.float32(1) / np.float32(stop - start)
        # A round of the batch; this thread has its groups from first to last.
        for begin in range(start, stop, length):
            end = min(begin + length, stop)
            groups = -(-(end - begin) // LANES)
            first = groups * thread // threads
            last = groups * (thread + 1) // threads
            part = Part(first, last, groups, begin, end)
            if plan.norm:
                normed_groups(
                    team, w, plan, shown, part, factor, kept, own, running, outcome
                )
            else:
                some_groups(w, plan, shown, part, factor, kept, own, outcome)
            meet(team.gate, threads)
            gather(thread, threads, g, plan, kept, groups, end - begin)
            # After its last round a batch ends the run, or takes its step.
            if end == stop:
                if not all_finite(outcome.losses, start, stop):
                    if thread == 0:
                        outcome.ended[0] = index
                    return
                step(thread, plan, state, updates, index)
                if len(updates.matrices.shapes):
                    meet(team.gate, threads)  # the gradients of whole matrices
                    move_hidden(thread, threads, plan, state, updates.matrices, index)
            meet(team.gate, threads)
