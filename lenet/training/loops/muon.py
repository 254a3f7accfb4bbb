"""Muon's step in the compiled loops: the weights of a hidden layer as one matrix.

As `orthogonalised` in factor/optimizer.py. The matrix is taken from where its numbers
lie among the weights, [row, column], with zeros where there are none: both are then
whole vectors, and zeros stay zeros. A number of a product is the sum over the inner
places, from the first to the last, each added by one fma, however the product is cut
into strips: the same bits on every processor and in both layouts of the weights.
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

from collections import namedtuple
from typing import Any, no_type_check

import numpy as np

from lenet.training.factor.optimizer import LEAST, QUINTIC, TURNS
from lenet.training.loops.cache import compiled
from lenet.training.loops.dense import incline, outer
from lenet.training.loops.llvm import LANES, emitted, lane_sums, loop

# shapes: [matrix, 5], the first of its `places`, its rows and columns, and in which
# vectors of the weights it lies, first and count; places: which number of the weights
# each of the matrix is, or -1. numbers: for the rule, see `Numbers`. each: rate and the
# share that decay takes, [step, 2]. space: what one thread computes in, five arrays.
Matrices: Any = namedtuple("Matrices", ["shapes", "places", "numbers", "each", "space"])
strip_3, strip_1 = outer(4, 3), outer(4, 1)  # rows, and vectors of columns


@emitted
def shrink(x, n):
    """Divide n vectors by their Frobenius norm."""
    total = x.cell()
    with loop(n) as k:
        total.add(x[k], x[k])
    size = lane_sums([total[0]] * LANES).sqrt() + LEAST
    with loop(n) as k:
        x[k] = x[k] / size


def combination(first, second):
    def emit(x, y, n):
        """n vectors of x become `first` x + `second` y."""
        with loop(n) as k:
            x[k] = x[k] * first + y[k] * second

    return emitted(emit)


polynomial = combination(QUINTIC[2], QUINTIC[1])  # b A + c A^2, from A^2 and A
next_x = combination(QUINTIC[0], 1.0)  # a X + (b A + c A^2) X


@compiled
@no_type_check
def multiply_matrices(out, a, b, rows, inner, columns, symmetric=False):
    """out = a b; [rows, columns] = [rows, inner] times [inner, columns].

    symmetric: the product is its own transpose, bit for bit. Only strips that reach the
    diagonal or lie below it are computed; the rest is copied from there.
    """
    out[: rows * columns] = np.float32(0)
    wide = columns // (3 * LANES) * 3 * LANES
    for x in range(0, wide, 3 * LANES):
        for y in range(x if symmetric else 0, rows, 4):
            strip_3(out, y * columns + x, columns, a, y * inner, inner, b, x, columns,
                    inner)  # fmt: skip
    for x in range(wide, columns, LANES):
        for y in range(x if symmetric else 0, rows, 4):
            strip_1(out, y * columns + x, columns, a, y * inner, inner, b, x, columns,
                    inner)  # fmt: skip
    if symmetric:
        for y in range(rows):
            for x in range(y):
                out[x * columns + y] = out[y * columns + x]


@compiled
@no_type_check
def turned(out, x, rows, columns):
    """x [rows, columns] as its transpose."""
    for row in range(rows):
        for column in range(columns):
            out[column * rows + row] = x[row * columns + column]


@compiled
@no_type_check
def orthogonalise(space, rows, columns):
    """space[0], [rows, columns], as factor/optimizer.py's `orthogonalised` makes it."""
    x, across, square, fourth, more = space
    numbers = rows * columns
    shrink(x, numbers // LANES)
    for _ in range(TURNS):
        turned(across, x, rows, columns)
        multiply_matrices(square, x, across, rows, columns, rows, True)
        multiply_matrices(fourth, square, square, rows, rows, rows, True)
        polynomial(fourth, square, rows * rows // LANES)
        multiply_matrices(more, fourth, x, rows, rows, columns)
        next_x(x, more, numbers // LANES)


@compiled
@no_type_check
def move_hidden(thread, threads, plan, state, matrices, index):
    """This thread's share of the matrices takes the step `index` of its pass; their
    gradients become 0."""
    w, g, m = state[0].reshape(-1), state[1].reshape(-1), state[2]
    rate, shrink = matrices.each[index]
    shrink_rest = np.float32(1) - shrink
    x = matrices.space[0]
    for k in range(thread, len(matrices.shapes), threads):
        first, rows, columns, start, length = matrices.shapes[k]
        incline(plan.rule, state[1], m, start, length, matrices.numbers)
        places = matrices.places[first : first + rows * columns]
        for q, place in enumerate(places):
            x[q] = g[place] if place >= 0 else np.float32(0)
        orthogonalise(matrices.space, rows, columns)
        for q, place in enumerate(places):
            if place >= 0:
                w[place] = w[place] * shrink_rest - rate * x[q]
        g[start * LANES : (start + length) * LANES] = np.float32(0)
