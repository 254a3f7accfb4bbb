"""Batch norm: the maps of C1 and C3 at mean 0 and variance 1, plus their biases.

In training the statistics are those of the batch, so that all its groups go through a
layer before any goes on. For testing the running statistics are part of the kernels
(`testing`). For the curvature they are each image's own (`own_statistics`).

    raw     [place, lane]: a convolution's sums, later those normalised (x^)
    sums    [group, map]: a thread writes those of its groups, all read all
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

import math
from typing import no_type_check

import numpy as np

from lenet.training.factor.norm import EPSILON
from lenet.training.loops.cache import compiled
from lenet.training.loops.llvm import LANES
from lenet.training.loops.sizes import (
    C1_MAPS,
    C3_MAPS,
    TAPS,
)

SMALL = np.float32(EPSILON)


@compiled
@no_type_check
def testing(wide, plan, mean, var):
    """Weights of C1 and C3, and biases, that give what the running statistics do."""
    for layer in range(2):
        maps = C3_MAPS if layer else C1_MAPS
        bias = plan.b3 if layer else plan.b1
        for m in range(maps):
            place = C1_MAPS * layer + m
            gain = np.float32(1) / np.float32(math.sqrt(var[place] + SMALL))
            first = plan.c3 + TAPS * plan.starts[m] if layer else plan.c1 + TAPS * m
            last = plan.c3 + TAPS * plan.starts[m + 1] if layer else first + TAPS
            for lane in range(LANES):
                for k in range(first, last):
                    wide[k, lane] *= gain
                wide[bias + m, lane] -= mean[place] * gain


@compiled
@no_type_check
def map_sum(raw, first, n, there, centre, square):
    """The sum of n places of the lanes that are `there`, or of squared distances from
    the centre; lane by lane, then from the first lane on."""
    lanes = np.zeros(LANES, np.float32)
    for q in range(first, first + n):
        for lane in range(LANES):
            value = raw[q, lane] - centre
            lanes[lane] += value * value if square else value
    total = np.float32(0)
    for lane in range(LANES):
        total += lanes[lane] * there[lane]
    return total


@compiled
@no_type_check
def map_product(a, first, b, second, n, there):
    """The sum of a b over n places, as `map_sum`."""
    lanes = np.zeros(LANES, np.float32)
    for q in range(n):
        for lane in range(LANES):
            lanes[lane] += a[first + q, lane] * b[second + q, lane]
    total = np.float32(0)
    for lane in range(LANES):
        total += lanes[lane] * there[lane]
    return total


@compiled
@no_type_check
def over_groups(sums, groups, m, count):
    """The mean of what the groups have summed."""
    total = np.float32(0)
    for group in range(groups):
        total += sums[group, m]
    return total / count


@compiled
@no_type_check
def normalise(raw, first, n, mean, gain, out, place, bias):
    """raw becomes x^, and out x^ + bias."""
    for q in range(n):
        for lane in range(LANES):
            value = (raw[first + q, lane] - mean[lane]) * gain[lane]
            raw[first + q, lane] = value
            out[place + q, lane] = value + bias[lane]


@compiled
@no_type_check
def denormalise(s, delta, raw, first, n, gain, mean, slant, there):
    """dE by x^ + bias becomes dE by the convolution's sums: gain (delta - mean of delta
    - x^ mean of delta x^)."""
    for q in range(n):
        for lane in range(LANES):
            value = s[delta + q, lane] - mean - raw[first + q, lane] * slant
            s[delta + q, lane] = gain * value * there[lane]


@compiled
@no_type_check
def own_statistics(raw, first, n, mean, gain):
    """Each lane's own statistics over n places."""
    count = np.float32(n)
    for lane in range(LANES):
        mean[lane] = gain[lane] = 0
    for q in range(first, first + n):
        for lane in range(LANES):
            mean[lane] += raw[q, lane]
    for lane in range(LANES):
        mean[lane] /= count
    for q in range(first, first + n):
        for lane in range(LANES):
            value = raw[q, lane] - mean[lane]
            gain[lane] += value * value
    for lane in range(LANES):
        spread = np.float32(math.sqrt(gain[lane] / count + SMALL))
        gain[lane] = np.float32(1) / spread
