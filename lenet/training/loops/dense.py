"""The inner loops of C5, F6, the output and its loss, and of the optimizers.

Where the lanes are images (tiles.py, batch.py), a sum over inputs or outputs takes a
weight, one number, into every lane. The sum over images that is a weight's gradient has
the inputs in its lanes, for which what a layer saw is turned over:

    s       [place]           vectors: an input, output or delta of eight images
    w, g    [output, pitch]   numbers: a row has the inputs of an output, and padding
    seen    [image, width]    numbers: a row has what the layers saw of an image
    deltas  [output, length]  numbers: a row has an output's delta of every image

Where the lanes are outputs (single.py), there is one image, and a sum over outputs adds
up the lanes last, from the first to the last:

    s       [place]           vectors: eight inputs, outputs or deltas
    w, g    [input, vector]   vectors: a row has the outputs of an input, eight each
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

import math
from collections import namedtuple
from typing import Any, no_type_check

from lenet.training.factor.head import LEVELS as HEADS
from lenet.training.factor.head import log_sum_exp
from lenet.training.factor.optimizer import LEVELS as OPTIMIZERS
from lenet.training.factor.optimizer import Numbers
from lenet.training.factor.teacher import LEVELS as TEACHERS
from lenet.training.loops.cache import compiled
from lenet.training.loops.llvm import LANES, emitted, lane_sums, loop, when
from lenet.training.loops.sizes import (
    C5_SHARE,
    C5_UNITS,
    CLASSES,
    F6_ROW,
    F6_SHARE,
    F6_UNITS,
)

C5_VECTORS, F6_VECTORS = C5_UNITS // LANES, F6_ROW // LANES  # a row, in vectors
# What a step needs, a vector each, the same number in every lane.
Step: Any = namedtuple(
    "Step",
    [
        "rate",
        "decay",  # what times the weight is added to its gradient
        "shrink_rest",  # 1 less the share of the weight that decoupled decay takes
        "first",  # from here on: see `Numbers`
        "first_rest",
        "second",
        "rest",
        "epsilon",
    ],
)
RATE, DECAY, SHRINK_REST, EPSILON = (
    Step._fields.index(name) for name in ("rate", "decay", "shrink_rest", "epsilon")
)


def dense(rows, images):
    def emit(s, size, x, n, out, w, k, pitch, bias):
        """`rows` outputs of a layer with n inputs, for groups of images that lie `size`
        vectors apart; w from k on: [output, pitch], and bias on: numbers."""
        pairs = [(row, image) for row in range(rows) for image in range(images)]
        total = {pair: s.cell() for pair in pairs}
        # Each weight is read once for all groups, each input once for all rows.
        with loop(n) as q:
            values = [s[x + q + size * image] for image in range(images)]
            for row in range(rows):
                factor = w.splat(k + pitch * row + q)
                for image in range(images):
                    total[row, image].add(factor, values[image])
        for row, image in pairs:
            s[out + row + size * image] = total[row, image][0] + w.splat(bias + row)

    return emitted(emit)


def undense(rows, images):
    def emit(s, size, dx, d, outputs, w, k, pitch):
        """dE by `rows` inputs of a layer, from deltas of its outputs at d; w from k on:
        [output, pitch], numbers."""
        pairs = [(row, image) for row in range(rows) for image in range(images)]
        total = {pair: s.cell() for pair in pairs}
        with loop(outputs) as o:
            factors = [w.splat(k + pitch * o + row) for row in range(rows)]
            for image in range(images):
                delta = s[d + o + size * image]
                for row in range(rows):
                    total[row, image].add(factors[row], delta)
        for row, image in pairs:
            s[dx + row + size * image] = total[row, image][0]

    return emitted(emit)


def outer(rows, columns):
    def emit(g, k, pitch, deltas, d, length, seen, x, width, images):
        """Add to `rows` outputs' gradients, for 8 `columns` inputs, the sum over images
        of delta and input, from the first image to the last; all counted in numbers.

        g from k on: [output, pitch]; deltas from d on: [output, length]; seen from x
        on: [image, width].
        """
        places = [[g.number(k + pitch * row + LANES * column)
                   for column in range(columns)] for row in range(rows)]  # fmt: skip
        total = [[g.cell(place[0]) for place in line] for line in places]
        # One image after the other, the sums in registers all the while.
        with loop(images) as image:
            values = [seen.number(x + width * image + LANES * column)[0]
                      for column in range(columns)]  # fmt: skip
            for row in range(rows):
                delta = deltas.splat(d + length * row + image)
                for column, value in enumerate(values):
                    total[row][column].add(delta, value)
        for line, cells in zip(places, total, strict=True):
            for place, cell in zip(line, cells, strict=True):
                place[0] = cell[0]

    return emitted(emit)


@emitted
def outer_bias(g, k, deltas, d, length, groups):
    """Add to the gradients of LANES biases the sums of their deltas, in numbers."""
    rows = []
    # A vector has one output's deltas of eight images: lanes are added last.
    for output in range(LANES):
        total = g.cell()
        with loop(groups) as group:
            delta = deltas.number(d + length * output + group * LANES)[0]
            total[0] = total[0] + delta
        rows.append(total[0])
    place = g.number(k)
    place[0] = place[0] + lane_sums(rows)


@emitted
def measure(s, units, score, bitmaps):
    """The scores of RBF units: -y (eq. 7), with half of the squared distance."""
    for c in range(CLASSES):
        total = s.cell()
        with loop(s.whole(F6_UNITS)) as j:
            # sum_j (x_j - w_cj)^2
            gap = s[units + j] - bitmaps.splat(j + F6_UNITS * c)
            total.add(gap, gap)
        s[score + c] = total[0] * -0.5


@emitted
def pull_back(s, units, pull, d, bitmaps):
    """dE/dF6 of RBF units from dE/dscore."""
    with loop(s.whole(F6_UNITS)) as j:
        total = s[pull] * 0.0
        for c in range(CLASSES):
            # sum_c dE/dscore_c (w_cj - x_j)
            gap = bitmaps.splat(j + F6_UNITS * c) - s[units + j]
            total = s[pull + c].fma(gap, total)
        s[d + j] = total


@emitted
def judge(s, code, teacher, score, target, number, factor, loss, pull, about):
    """The loss of each image, and factor times its derivative by each score; about: the
    teachers' shares, the temperature and the weight, one after the other."""
    scores = [s[score + c] for c in range(CLASSES)]
    targets = [s[target + c] for c in range(CLASSES)]
    # The head's loss, and its derivative by each score.
    for index, head in enumerate(HEADS.values()):
        with when(code, index):
            s[loss], pulls = head.formula(scores, targets, s[number])
            for c, value in enumerate(pulls):
                s[pull + c] = value
    # A teacher's level makes of it, and of the teachers' shares, the loss.
    for index, level in enumerate(TEACHERS.values()):
        if level is not None:
            with when(teacher, index):
                own = s[loss], [s[pull + c] for c in range(CLASSES)]
                shares = [s[about + c] for c in range(CLASSES)]
                heat, weight = s[about + CLASSES], s[about + (CLASSES + 1)]
                s[loss], pulls = level(own, scores, shares, heat, weight)
                for c, value in enumerate(pulls):
                    s[pull + c] = value
    for c in range(CLASSES):
        s[pull + c] = s[pull + c] * s[factor]


@compiled
@no_type_check
def answer(s, score, lane):
    """The class with the largest score; -1 where a score is no number."""
    best = 0
    for c in range(CLASSES):
        if not math.isfinite(s[score + c, lane]):
            return -1
        if s[score + c, lane] > s[score + best, lane]:
            best = c
    return best


@emitted
def put_softmax(s, score, pull):
    """The shares of the classes in the softmax."""
    scores = [s[score + c] for c in range(CLASSES)]
    partition = log_sum_exp(scores)
    for c, value in enumerate(scores):
        s[pull + c] = (value - partition).exp()


@emitted
def multiply(s, d, factor, n):
    """s[d : d + n] *= s[factor : factor + n]."""
    with loop(n) as q:
        s[d + q] = s[d + q] * s[factor + q]


@emitted
def move(code, w, g, m, v, start, n, numbers):
    """A step of n vectors of weights from `start` on; their gradients become 0."""
    step = Step._make(numbers[i] for i in range(len(Step._fields)))
    for index, level in enumerate(OPTIMIZERS.values()):
        with when(code, index), loop(n) as turn:
            k = turn + start
            gradient = w[k].fma(step.decay, g[k])
            # A rule without this memory is given the rate in its place, and ignores it.
            memory = zip((m, v), level.memory, strict=True)
            before = [a[k] if name else step.rate for a, name in memory]
            numbers_of = Numbers(*(getattr(step, name) for name in Numbers._fields))
            change, *after = level.rule(gradient, before[0], before[1], numbers_of)
            for array, name, value in zip((m, v), level.memory, after, strict=True):
                if name:
                    array[k] = value
            w[k] = w[k] * step.shrink_rest - step.rate * change
            g[k] = g.zero()


@emitted
def incline(code, g, m, start, n, numbers):
    """n vectors of gradients from `start` on become the change that the rule of the
    weights in HIDDEN makes of them."""
    for index, level in enumerate(OPTIMIZERS.values()):
        if level.hidden:
            with when(code, index), loop(n) as turn:
                k = turn + start
                rest = Numbers._make(numbers[i] for i in range(len(Numbers._fields)))
                g[k], m[k], _ = level.hidden(g[k], m[k], None, rest)


def outputs(vectors):
    def emit(s, x, n, out, w, k, bias):
        """All outputs of a layer of one image, in the lanes of so many vectors; n
        inputs, numbers from x on; w: [input, output]."""
        total = [s.cell(w[bias + v]) for v in range(vectors)]
        with loop(n) as i:
            value = s.splat(x + i)
            for v in range(vectors):
                total[v].add(w[k + i * vectors + v], value)
        for v in range(vectors):
            s[out + v] = total[v][0]

    return emitted(emit)


def inputs(vectors, change):
    def emit(s, x, blocks, dx, d, w, change_of, k):
        """dE by a layer's inputs, 8 to a block, and the change of its weights, in one
        sweep over them; d: deltas of all outputs, x: the inputs, in vectors."""
        with loop(blocks) as block:
            totals = []
            # Four inputs at a time share the reading of the deltas.
            for half in range(0, LANES, 4):
                cells = [s.cell() for j in range(4)]
                first = block * LANES + half
                values = [s.splat((x + block) * LANES + (half + j)) for j in range(4)]
                with loop(s.whole(vectors)) as v:
                    delta = s[d + v]
                    for j, value in enumerate(values):
                        place = k + (first + j) * vectors + v
                        # dE by the input has the weight from before its change.
                        cells[j].add(w[place], delta)
                        change(w, change_of, place, delta * value)
                totals += [cell[0] for cell in cells]
            s[dx + block] = lane_sums(totals)

    return emitted(emit)


def descend(w, sizes, place, gradient):
    """The weight takes a step of its own size."""
    w[place] = w[place] - sizes[place] * gradient


def keep_gradient(w, gradients, place, gradient):
    """The gradient is kept, for a rule that is to follow."""
    gradients[place] = gradient


@emitted
def descend_all(w, sizes, g, start, n):
    """n vectors of weights take a step each; their gradients become 0."""
    with loop(n) as turn:
        descend(w, sizes, turn + start, g[turn + start])
        g[turn + start] = g.zero()


# (outputs, groups of images): the order of a sum is the same in all of them.
dense_1, dense_4, output_1 = dense(4, 1), dense(2, 4), dense(CLASSES, 1)
undense_1, undense_4 = undense(4, 1), undense(2, 4)
outer_C5, outer_F6 = outer(C5_SHARE, 2), outer(F6_SHARE, 3)
outer_output = outer(CLASSES, 1)
outputs_C5, outputs_F6 = outputs(C5_VECTORS), outputs(F6_VECTORS)
descend_C5, descend_F6 = inputs(C5_VECTORS, descend), inputs(F6_VECTORS, descend)
gather_C5 = inputs(C5_VECTORS, keep_gradient)
gather_F6 = inputs(F6_VECTORS, keep_gradient)
