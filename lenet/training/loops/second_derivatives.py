"""The curvature h_kk of every weight, by squared back-propagation (paper, App. C).

As curvature.py, whose formulas these are: everything that the way back multiplies
with is squared, the way back then is the one that gradients take.
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

from typing import no_type_check

import numpy as np

from lenet.training.loops import norm
from lenet.training.loops.batch import gather, normal_map, place
from lenet.training.loops.cache import compiled, entrance
from lenet.training.loops.dense import put_softmax
from lenet.training.loops.llvm import LANES
from lenet.training.loops.maps import add_lanes, fill, repeat
from lenet.training.loops.sizes import (
    C1_MAPS,
    C1_SIZE,
    C3_MAPS,
    C3_SIZE,
    CLASSES,
    F6_UNITS,
    NORMED_MAPS,
    S2_ALL,
)
from lenet.training.loops.tiles import (
    TILE,
    C1_learn,
    C1_sums,
    C3_back,
    C3_learn,
    C3_sums,
    P,
    S2_back,
    S2_squash,
    S4_back,
    S4_squash,
    dense_back,
    forward_dense,
    forward_maps,
    keep_for_round,
    put,
)


@compiled
@no_type_check
def square_in_place(values):
    """Every number becomes its square."""
    for k in range(len(values)):
        for lane in range(LANES):
            values[k, lane] *= values[k, lane]


@compiled
@no_type_check
def square_all(s):
    """What the way back multiplies with: signals, slopes and gates."""
    # The image; gate, sum, signal and slope of C1 and S2, of C3 and S4; C5; F6.
    square_in_place(s[P.image : P.plane])
    square_in_place(s[P.gate1 : P.d2])
    square_in_place(s[P.gate3 : P.d4])
    square_in_place(s[P.C5 : P.d5])
    square_in_place(s[P.F6 : P.d6])


@compiled
@no_type_check
def own_maps(s, wide, plan, layer, gains):
    """The maps of a layer at each image's own statistics, which `gains` keeps."""
    maps, n = (C3_MAPS, C3_SIZE) if layer else (C1_MAPS, C1_SIZE)
    raw = P.raw3 if layer else P.raw1
    mean = np.empty(LANES, np.float32)
    for m in range(maps):
        place = raw + n * m
        # The convolution's sums without the bias, which the norm adds.
        if layer:
            C3_sums(s, wide, plan, m, place, s, P.none)
        else:
            C1_sums(s, wide, plan, m, place, s, P.none)
        gain = gains[C1_MAPS * layer + m]
        norm.own_statistics(s, place, n, mean, gain)
        normal_map(s, wide, plan, layer, m, mean, gain)


@compiled
@no_type_check
def amplify(s, first, n, gain):
    """Curvatures by a normalised map become those by the convolution's sums."""
    for q in range(first, first + n):
        for lane in range(LANES):
            s[q, lane] *= gain[lane] * gain[lane]


@compiled
@no_type_check
def back(s, wide, g, plan, gains):
    """The way back of C1 to S4, over squares."""
    # As tiles.backward_maps, with each image's gain on the way through the norm.
    fill(s, P.d2, S2_ALL, s, P.none)
    for m in range(C3_MAPS):
        S4_back(s, wide, g, plan, m)
        if plan.norm:
            amplify(s, P.gate3 + C3_SIZE * m, C3_SIZE, gains[C1_MAPS + m])
        C3_back(s, wide, plan, m)
        C3_learn(s, g, plan, m)
    for m in range(C1_MAPS):
        S2_back(s, wide, g, plan, m)
        if plan.norm:
            amplify(s, P.gate1 + C1_SIZE * m, C1_SIZE, gains[m])
        C1_learn(s, g, plan, m)


@compiled
@no_type_check
def begin(s, plan, at):
    """Where the recursion begins: 1 at F6 for RBF units, p (1 - p) at the logits of a
    softmax, whose shares p are in s[pull]; 0 where there is no image, or no target."""
    for lane in range(LANES):
        there = np.float32(at[lane] >= 0)
        # Softmax: the diagonal of its Hessian.
        for c in range(CLASSES):
            p = s[P.pull + c, lane]
            s[P.pull + c, lane] = there * p * (np.float32(1) - p)
        # RBF units: the bitmaps are +-1, and 0 for a unit that is out of use.
        for k in range(F6_UNITS):
            s[P.d6 + k, lane] = there * abs(plan.bitmaps[0, k])


@entrance
@no_type_check
def each_sample(w, squared, plan, shown, kept, own, g):
    """The sum of h_kk over all images that are shown, added to g."""
    s, lanes, wide = own.s, own.lanes, own.wide
    seen, deltas, parts, _ = kept
    total, length = len(shown.order), len(parts) * LANES
    at = np.empty((TILE, LANES), np.int64)
    gains = np.ones((TILE, NORMED_MAPS, LANES), np.float32)
    # Rounds and tiles, as in batch.py.
    for part in range(0, total, length):
        end = min(part + length, total)
        groups = -(-(end - part) // LANES)
        for tile in range(0, groups, TILE):
            count = min(TILE, groups - tile)
            place(at, part + tile * LANES, end)
            repeat(wide, w, len(wide))
            # Forward, with the weights themselves.
            for i in range(count):
                put(s[i], shown, at[i], own.canvas, own.before)
                if plan.norm:
                    own_maps(s[i], wide, plan, 0, gains[i])
                    S2_squash(s[i], plan)
                    own_maps(s[i], wide, plan, 1, gains[i])
                    S4_squash(s[i], plan)
                else:
                    forward_maps(s[i], wide, plan)
            forward_dense(s, count, w, plan, at, own.none)
            # Where the recursion begins; then all that the way back multiplies with.
            for i in range(count):
                if plan.linear:
                    put_softmax(s[i], P.score, P.pull)
                begin(s[i], plan, at[i])
                square_all(s[i])
            dense_back(s, count, squared, plan)
            # Back through C1 to S4 with the squares of their weights.
            square_in_place(wide)
            for i in range(count):
                keep_for_round(s[i], tile + i, seen, deltas)
                back(s[i], wide, lanes, plan, gains[i])
                add_lanes(parts[tile + i], lanes, len(lanes))
            # The workspace was squared: its border and idle lanes are put back.
            for i in range(count):
                s[i, P.image : P.plane] = shown.values[0]
        gather(0, 1, g, plan, kept, groups, end - part)
