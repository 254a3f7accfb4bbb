"""The inner loops of LeNet-5 over vectors of runs: formulas of levels, and layers.

The formulas of activations, poolings and optimizers are those of lenet/factor/ again,
in the language of lenet/vector.py; tests hold the two together.
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

import math
from collections import namedtuple
from itertools import accumulate
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]

from lenet.vector import (
    INTEGERS,
    LANES,
    Value,
    emitted,
    erf,
    exp,
    loop,
    tanh,
    when,
)

SLICES = 4  # of every batch; their gradients are added up in this order
# Slots of the workspace; numbers name the layer. S, C, F: outputs. slope: f'(a). gate:
# f'(a) times the derivative of pooling, later the delta. sum: four inputs summed. d:
# dE by the output. plane: a map before pooling. score, pull: of a class, and dE by it.
SPACE = {
    "zero": 1, "one": 10, "image": 1024, "plane": 784, "gate1": 4704, "sum2": 1176,
    "S2": 1176, "slope2": 1176, "d2": 1176, "gate3": 1600, "sum4": 400, "S4": 400,
    "slope4": 400, "d4": 400, "C5": 120, "slope5": 120, "d5": 120, "F6": 84,
    "slope6": 84, "d6": 84, "score": 10, "pull": 10,
}  # fmt: skip
Place: Any = namedtuple("Place", list(SPACE))  # type: ignore[misc]
P: Any = Place(*accumulate([0, *SPACE.values()][:-1]))
SIZE = sum(SPACE.values())
TILE = 4  # images that share a sweep over the weights of C5, F6 and output


def scaled_tanh(x):
    t = tanh(x * (2 / 3))
    return t * 1.7159, (t * t).fma(-1.7159 * 2 / 3, 1.7159 * 2 / 3)


def plain_tanh(x):
    t = tanh(x)
    return t, (t * t).fma(-1.0, 1.0)


def sigmoid(x):
    decay = exp(x * -1.0)
    s = (decay * 0.0 + 1.0) / (decay + 1.0)
    return s, s * s * decay


def rectifier(slope):
    """Not a number stays so: a diverged run must show in its loss."""
    return lambda x: (x.choose(">", 0.0, x, x * slope), x.choose(">", 0.0, 1.0, slope))


def silu(x):
    s, slope = sigmoid(x)
    return x * s, x.fma(slope, s)


def gelu(x):
    below = erf(x * math.sqrt(0.5)).fma(0.5, 0.5)
    density = exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return x * below, x.fma(density, below)


ACTIVATIONS = {  # level: x -> (f(x), f'(x))
    "scaled_tanh": scaled_tanh,
    "tanh": plain_tanh,
    "sigmoid": sigmoid,
    "relu": rectifier(0.0),
    "leaky_relu": rectifier(0.01),
    "gelu": gelu,
    "silu": silu,
}


def maximum(a, b, c, d):
    """Their maximum; 1 for the first that attains it, as in torch, 0 for the others."""
    best, weights = a, [1.0, 0.0, 0.0, 0.0]
    for k, other in enumerate((b, c, d), 1):
        weights = [other.choose(">", best, 0.0, weight) for weight in weights[:k]]
        weights += [other.choose(">", best, 1.0, 0.0)] + [0.0] * (3 - k)
        best = other.choose(">", best, other, best)
    return best, weights


POOLINGS = {  # level: four pixels -> (pooled, its derivatives)
    "subsample": lambda a, b, c, d: (a + b + c + d, [1.0] * 4),
    "average": lambda a, b, c, d: ((a + b + c + d) * 0.25, [0.25] * 4),
    "max": maximum,
    "stride": lambda a, b, c, d: (a, [1.0, 0.0, 0.0, 0.0]),
}
HEADS = ("rbf", "rbf_map", "softmax")


def rate_only(g, m, v, c):
    return g


def momentum(g, m, v, c):
    m[0] = m[0].fma(c.first, g)
    return m[0]


def nesterov(g, m, v, c):
    m[0] = m[0].fma(c.first, g)
    return m[0].fma(c.first, g)


def rmsprop(g, m, v, c):
    v[0] = (g * g - v[0]).fma(c.rest, v[0])
    return g / (v[0].call("sqrt") + c.epsilon)


def adam(g, m, v, c):
    m[0] = (g - m[0]).fma(c.first_rest, m[0])
    v[0] = (g * g - v[0]).fma(c.rest, v[0])
    return m[0] / (v[0].call("sqrt") + c.epsilon)


def sdlm(g, m, v, c):
    return g * v[0]


# level: (its rule, what its memory m and v is called in lenet/factor/optimizer.py); a
# rule updates m and v and returns what times the rate is taken from the weight.
OPTIMIZERS: dict[str, tuple[Any, tuple[str | None, str | None]]] = {
    "sgd": (rate_only, (None, None)),
    "momentum": (momentum, ("velocity", None)),
    "nesterov": (nesterov, ("velocity", None)),
    "rmsprop": (rmsprop, (None, "square")),
    "adam": (adam, ("mean", "square")),
    "adamw": (adam, ("mean", "square")),
    "sdlm": (sdlm, (None, "step_size")),
}
# What a step needs, a vector each: alive (1 or 0), rate, decay (added to the gradient),
# keep (what weights are multiplied by), first and 1 - first, 1 - second, epsilon.
Numbers: Any = namedtuple(
    "Numbers",
    ["alive", "rate", "decay", "keep", "first", "first_rest", "rest", "epsilon"],
)


@emitted
def move(code, w, g, m, v, start, n, numbers):
    """A step of n weights from `start` on; their gradients become 0 again."""
    c = Numbers._make(numbers[i] for i in range(len(Numbers._fields)))
    zero = c.alive * 0.0
    for number, (rule, _) in enumerate(OPTIMIZERS.values()):
        with when(code, number), loop(n) as turn:
            k = turn + start
            gradient = w[k].fma(c.decay, g[k])
            # What a diverged run has for a gradient may be no number.
            gradient = c.alive.choose(">", 0.0, gradient, 0.0)
            change = rule(gradient, m.at(k), v.at(k), c)
            w[k] = w[k] * c.keep - c.rate * change
            g[k] = zero


@emitted
def add_slice(g, h, n):
    """g += h; h becomes 0."""
    with loop(n) as k:
        total = h[k]
        g[k] = g[k] + total
        h[k] = total * 0.0


@emitted
def add_lanes(g, n):
    """Every SLICES lanes become their sum, added up as add_slice would."""
    with loop(n) as k:
        vector = g[k].value
        first = [lane - lane % SLICES for lane in range(LANES)]
        places = [[lane + part for lane in first] for part in range(SLICES)]
        masks = [ir.Constant(INTEGERS, place) for place in places]
        parts = [g.builder.shuffle_vector(vector, vector, mask) for mask in masks]
        total = Value(g.builder, parts[0])
        for part in parts[1:]:
            total = total + Value(g.builder, part)
        g[k] = total


@emitted
def activate(s, code, x, slope, n):
    """s[x : x + n] becomes f(x), s[slope : slope + n] becomes f'(x)."""
    for number, rule in enumerate(ACTIVATIONS.values()):
        with when(code, number), loop(n) as q:
            s[x + q], s[slope + q] = rule(s[x + q])


@emitted
def pool(s, code, x, gate, total, out, half, w, coefficient, bias):
    """s[out:] is x pooled; the gate, f' so far, takes the derivative of pooling."""
    with loop(half) as row, loop(half) as column:
        corner = row * half * 4 + column * 2
        corners = [corner, corner + 1, corner + half * 2, corner + half * 2 + 1]
        place = row * half + column
        for number, (name, rule) in enumerate(POOLINGS.items()):
            with when(code, number):
                pooled, weights = rule(*(s[x + q] for q in corners))
                for q, weight in zip(corners, weights, strict=True):
                    s[gate + q] = s[gate + q] * weight
                if name == "subsample":
                    s[total + place] = pooled
                    pooled = pooled.fma(w[coefficient], w[bias])
                s[out + place] = pooled


def descend(g, r, k, gradient):
    g[k] = g[k] - r[k] * gradient


@emitted
def unsquash(s, d, slope, total, n, w, g, r, coefficient, bias):
    """d by the output of a subsampling map becomes d by its sums; both parameters."""
    factor, by_bias, by_coefficient = w[coefficient], s.cell(), s.cell()
    with loop(n) as q:
        delta = s[d + q] * s[slope + q]
        by_bias.add(delta, 1.0)
        by_coefficient.add(delta, s[total + q])
        s[d + q] = delta * factor
    descend(g, r, bias, by_bias[0])
    descend(g, r, coefficient, by_coefficient[0])


@emitted
def unpool(s, gate, d, half, g, r, bias):
    """The gate times d of its window: the convolution's delta; and its bias."""
    total = [s.cell(), s.cell()]
    with loop(half * 2) as row, loop(half) as column:
        value = s[d + row / 2 * half + column]
        for side in range(2):
            place = gate + row * half * 2 + column * 2 + side
            delta = s[place] * value
            s[place] = delta
            total[side].add(delta, 1.0)
    descend(g, r, bias, total[0][0] + total[1][0])


@emitted
def fill(s, x, n, source, k):
    value = source[k]
    with loop(n) as q:
        s[x + q] = value


def correlate(pixels):
    def emit(s, out, x, side, w, k):
        """s[out + p] += sum over the 5x5 kernel of w x, for a row of p."""
        line, kernel = s.at(out), w.at(k)
        total = [line[p] for p in range(pixels)]
        for ky in range(5):
            row, factors = s.at(x + side * ky), [kernel[5 * ky + kx] for kx in range(5)]
            for column in range(pixels + 4):
                value = row[column]
                for kx in range(max(0, column + 1 - pixels), min(5, column + 1)):
                    total[column - kx] = factors[kx].fma(value, total[column - kx])
        for p in range(pixels):
            line[p] = total[p]

    return emitted(emit)


@emitted
def spread(s, out, d, w, k, low, count):
    """s[out : out + 14] += kernel rows low.. times rows of 10, d and those above."""
    total = [s.cell(s[out + p]) for p in range(14)]
    with loop(count) as turn:
        kernel, line = w.at(k + (turn + low) * 5), s.at(d - (turn + low) * 10)
        factors = [kernel[kx] for kx in range(5)]
        for p in range(10):
            value = line[p]
            for kx in range(5):
                total[p + kx].add(factors[kx], value)
    for p in range(14):
        s[out + p] = total[p][0]


def learn(pixels, parts):
    def emit(s, d, x, side, rows, g, r, k):
        """One row of a kernel descends by the sum over the map of d[p] x[p + kx]."""
        total = [[s.cell(), s.cell()] for kx in range(5)]  # two: latency
        with loop(rows) as row:
            for part in range(0, parts * pixels, pixels):
                line = s.at(x + row * side + part)
                delta = s.at(d + row * (parts * pixels) + part)
                deltas = [delta[p] for p in range(pixels)]
                for column in range(pixels + 4):
                    value = line[column]
                    for kx in range(max(0, column + 1 - pixels), min(5, column + 1)):
                        total[kx][column % 2].add(deltas[column - kx], value)
        for kx in range(5):
            descend(g, r, k + kx, total[kx][0][0] + total[kx][1][0])

    return emitted(emit)


correlate_14, correlate_10 = correlate(14), correlate(10)
learn_28, learn_10 = learn(14, 2), learn(10, 1)


def dense(images):
    def emit(s, x, n, out, w, k, bias):
        """Two outputs of a dense layer for every image; n is a multiple of 4."""
        phases = max(1, 4 // images)  # sums that do not wait for each other
        pairs = [(row, image) for row in range(2) for image in range(images)]
        total = {pair: [s.cell() for phase in range(phases)] for pair in pairs}
        with loop(n / phases) as q:
            lines = [s.at(x + q * phases + SIZE * image) for image in range(images)]
            factors = [w.at(k + n * row + q * phases) for row in range(2)]
            for phase in range(phases):
                values = [line[phase] for line in lines]
                for row, image in pairs:
                    total[row, image][phase].add(factors[row][phase], values[image])
        for row, image in pairs:
            cells = [cell[0] for cell in total[row, image]]
            while len(cells) > 1:
                cells = [a + b for a, b in zip(cells[::2], cells[1::2], strict=True)]
            s[out + row + SIZE * image] = cells[0] + w[bias + row]

    return emitted(emit)


def undense(images, change):
    def emit(s, x, dx, n, d, slope, w, g, r, k, bias):
        """Two outputs for every image, in one sweep over the weights: dx += w delta,
        and the change of g by the sum of delta x."""
        deltas = [
            [s[d + row + SIZE * i] * s[slope + row + SIZE * i] for i in range(images)]
            for row in range(2)
        ]
        with loop(n) as q:
            values = [s[x + q + SIZE * image] for image in range(images)]
            totals = [s[dx + q + SIZE * image] for image in range(images)]
            for row in range(2):
                place = k + n * row + q
                weight, sums = w[place], deltas[row][0] * values[0]
                for delta, value in zip(deltas[row][1:], values[1:], strict=True):
                    sums = delta.fma(value, sums)
                for image, delta in enumerate(deltas[row]):
                    totals[image] = weight.fma(delta, totals[image])
                change(g, r, place, sums)
            for image, total in enumerate(totals):
                s[dx + q + SIZE * image] = total
        for row in range(2):
            sums = deltas[row][0]
            for delta in deltas[row][1:]:
                sums = sums + delta
            change(g, r, bias + row, sums)

    return emitted(emit)


def gather(g, r, k, gradient):
    g[k] = g[k] + gradient


dense_1, dense_tile = dense(1), dense(TILE)
undense_1, undense_tile = undense(1, descend), undense(TILE, gather)
