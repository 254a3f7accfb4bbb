"""One pass of the paper's optimizer, a step after every pattern, for many runs at once.

Eight runs lie side by side in the lanes of the processor's vectors: arrays inside are
[value, lane], each multiply-add serves eight networks, and what becomes of a run
depends neither on its lane nor on its neighbours. A group of eight goes through the
whole pass in one compiled call that holds no interpreter lock.

The inner loops are `emitted`: functions over `Value` and `Memory` that run once, while
numba compiles, and write the instructions that they spell. Python's loops are unrolled
in them; `loop` is a loop of the program. They check no bounds: `train_pass` checks what
comes in. All is one module because numba's cache notices changes in one file only.
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

import inspect
import math
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, NamedTuple, no_type_check

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import get_num_threads, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

SLICES = 4  # of every batch; their gradients are added up in this order
LANES = 8  # as fast as 16 on AVX-512, and half as many runs fill two cores
VECTOR = ir.VectorType(ir.FloatType(), LANES)
INTEGERS = ir.VectorType(ir.IntType(32), LANES)
INDEX = ir.IntType(64)


class Value:
    """A vector or an index of the program; its operators emit instructions."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def like(self, other):
        """The operand `other`; a number becomes a constant of the type of self."""
        if isinstance(other, Value):
            return other.value
        if self.value.type == INDEX:
            return ir.Constant(INDEX, other)
        return ir.Constant(VECTOR, [float(np.float32(other))] * LANES)

    def binary(self, index_name, vector_name, other):
        name = index_name if self.value.type == INDEX else vector_name
        emit = getattr(self.builder, name)
        return Value(self.builder, emit(self.value, self.like(other)))

    def __add__(self, other):
        return self.binary("add", "fadd", other)

    def __sub__(self, other):
        return self.binary("sub", "fsub", other)

    def __mul__(self, other):
        return self.binary("mul", "fmul", other)

    def __truediv__(self, other):
        return self.binary("sdiv", "fdiv", other)

    def choose(self, sign, bound, yes, no):
        """`yes` where self > bound (or another sign), else `no`, as for nan."""
        mask = self.builder.fcmp_ordered(sign, self.value, self.like(bound))
        chosen = self.builder.select(mask, self.like(yes), self.like(no))
        return Value(self.builder, chosen)

    def call(self, name, *others):
        operands = [self.value, *map(self.like, others)]
        kind = ir.FunctionType(VECTOR, [VECTOR] * len(operands))
        name = f"llvm.{name}.v{LANES}f32"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return Value(self.builder, self.builder.call(function, operands))

    def fma(self, factor, term):
        """self * factor + term, rounded once."""
        return self.call("fma", factor, term)

    def polynomial(self, first, *others):
        """Horner's rule, the highest power first."""
        total = Value(self.builder, self.like(first))
        for coefficient in others:
            total = total.fma(self, coefficient)
        return total


class Memory:
    """Vectors one after the other, from a pointer on."""

    def __init__(self, builder, pointer):
        self.builder, self.pointer = builder, pointer

    def at(self, index):
        index = index.value if isinstance(index, Value) else ir.Constant(INDEX, index)
        return Memory(self.builder, self.builder.gep(self.pointer, [index]))

    def __getitem__(self, index):
        return Value(self.builder, self.builder.load(self.at(index).pointer, align=4))

    def __setitem__(self, index, vector):
        self.builder.store(vector.value, self.at(index).pointer, align=4)

    def cell(self, start=None):
        """A variable of the kernel, 0 at first; it ends up in a register."""
        cell = Memory(self.builder, cgutils.alloca_once(self.builder, VECTOR))
        cell[0] = start or Value(self.builder, ir.Constant(VECTOR, [0.0] * LANES))
        return cell

    def add(self, a, b):
        self[0] = a.fma(b, self[0])


@contextmanager
def loop(count: Value) -> Iterator[Value]:
    with cgutils.for_range(count.builder, count.value) as turn:
        yield Value(count.builder, turn.index)


@contextmanager
def when(code: Value, number: int) -> Iterator[None]:
    equal = code.builder.icmp_signed("==", code.value, code.like(number))
    with code.builder.if_then(equal):
        yield


def emitted(emit):
    """`emit` for compiled callers: arrays arrive as Memory, whole numbers as Value."""

    def generate(context, builder, signature, values):
        operands = []
        for kind, value in zip(signature.args, values, strict=True):
            if isinstance(kind, types.Array):
                data = context.make_array(kind)(context, builder, value).data
                operands.append(builder.bitcast(data, VECTOR.as_pointer()))
            else:
                operands.append(context.cast(builder, value, kind, types.intp))
        kind = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
        name = f"{emit.__module__}.{emit.__name__}.{id(emit)}"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        if function.is_declaration:
            function.linkage = "internal"
            function.attributes.add("noinline")
            inner = ir.IRBuilder(function.append_basic_block())
            wrap = [Value if a.type == INDEX else Memory for a in function.args]
            emit(*(w(inner, a) for w, a in zip(wrap, function.args, strict=True)))
            inner.ret_void()
        builder.call(function, operands)
        return context.get_dummy_value()

    def type_of(context, *arguments):
        return types.void(*arguments), generate

    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    arguments = inspect.signature(emit).parameters.values()
    signature = inspect.Signature([context, *arguments])
    type_of.__signature__ = signature  # type: ignore[attr-defined]
    return intrinsic(type_of)


def rational(x, bound, top, bottom):
    """x P(x^2) / Q(x^2) for x within +-bound; the coefficients are Eigen's."""
    x = x.choose("<", -bound, -bound, x)
    x = x.choose(">", bound, bound, x)
    return x * (x * x).polynomial(*top) / (x * x).polynomial(*bottom)


def tanh(x):
    top = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11,
           5.12229709037114e-08, 1.48572235717979e-05, 6.37261928935876e-04,
           4.89352455891786e-03)  # fmt: skip
    bottom = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03,
              4.89352518554385e-03)  # fmt: skip
    return rational(x, 7.90531110763549805, top, bottom)


def erf(x):
    top = (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06,
           -5.69250639462346e-05, -7.34990630326855e-04, -2.95459980854025e-03,
           -1.60960333262415e-02)  # fmt: skip
    bottom = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03,
              -7.37332916720468e-03, -1.42647390514189e-02)  # fmt: skip
    return rational(x, 4.0, top, bottom)


def exp(x):
    """2^n e^r with |r| <= log(2) / 2, for x within +-87."""
    x = x.choose("<", -87.0, -87.0, x)
    x = x.choose(">", 87.0, 87.0, x)
    n = (x * (1 / math.log(2))).call("rint")
    r = n.fma(2.12194440e-4, n.fma(-0.693359375, x))
    mantissa = r.polynomial(1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1, 1)
    exponent = x.builder.fptosi((n + 127.0).value, INTEGERS)
    power = x.builder.shl(exponent, ir.Constant(INTEGERS, [23] * LANES))
    return mantissa * Value(x.builder, x.builder.bitcast(power, VECTOR))


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
dense_1, dense_tile = dense(1), dense(TILE)
undense_1, undense_tile = undense(1, descend), undense(TILE, gather)
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
TABLE = "012 123 234 345 045 015 0123 1234 2345 0345 0145 0125 0134 1245 0235 012345"
# `no_type_check` keeps the checks of jaxtyping's import hook out of compiled functions.
compiled: Any = njit(cache=True, nogil=True)


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


class Shown(NamedTuple):
    """What the runs of a pass see, one image after the other."""

    pictures: np.ndarray  # float32 in [0, 1], [picture, 28, 28]
    order: np.ndarray  # [run, image]: which picture
    labels: np.ndarray  # [run, image]
    where: np.ndarray  # [run, image, 2, 3]: `Source` of the augmentation, or empty
    masks: np.ndarray  # [run, image, 204]: factors of C5 and F6 (dropout), or empty


class Network(NamedTuple):
    """What the runs are, apart from their parameters."""

    activation: str
    pooling: str
    connection: str
    head: str
    scale: np.ndarray  # [run]: the input is pixel * scale + shift
    shift: np.ndarray
    number: np.ndarray  # [run]: the smoothing of `softmax`, j of `rbf_map`
    bitmaps: np.ndarray  # [class, unit], +-1


class Steps(NamedTuple):
    """What an optimizer does after every batch; see lenet/factor/optimizer.py."""

    optimizer: str
    batch_size: int  # the last batch of a pass may be smaller
    each: np.ndarray  # [run, step, 3]: rate, share that decay takes, epsilon
    decay: np.ndarray  # [run]: times the weight is added to the gradient
    first: np.ndarray  # [run]: momentum or beta1
    second: np.ndarray  # [run]: beta2 or the decay of squares
    memory: Mapping[str, Mapping[str, np.ndarray]]  # its tensors, as the parameters


class Pass(NamedTuple):
    """What a pass says of its runs; every array is [run]."""

    errors: np.ndarray  # wrong predictions, each made before its step
    loss: np.ndarray  # summed over the patterns, float64
    diverged: np.ndarray  # the step with a loss that is not finite, from which on the
    # run is as it was and no longer counted; or -1


def lanes(rows: np.ndarray) -> np.ndarray:
    """rows [lane, value] as [value, lane], from the start of a cache line on."""
    memory = np.zeros(rows.size + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    out = memory[start : start + rows.size].reshape(rows.shape[::-1])
    out[:] = rows.T
    return out


def structure(network: Network, optimizer: str = "sgd") -> Any:
    """(plan, slots of each parameter in use)."""
    everything = ["012345"] * 16
    table = {"table": TABLE.split(), "full": everything}[network.connection]
    inputs = np.array([int(i) for row in table for i in row])
    starts = np.cumsum([0] + [len(row) for row in table])
    softmax = network.head == "softmax"
    absent = "S" * (network.pooling != "subsample") + "o" * (not softmax)
    slots = {name: size for name, size in SLOTS.items() if name[0] not in absent}
    slots["C3.weight"] = 25 * len(inputs)
    offsets = accumulate([0, *(slots.get(name, 0) for name in SLOTS)][:-1])
    code, scaled = map(list(ACTIVATIONS).index, (network.activation, "scaled_tanh"))
    pooling, head = list(POOLINGS).index(network.pooling), HEADS.index(network.head)
    codes = (code, code if softmax else scaled, pooling, head)
    rule = list(OPTIMIZERS).index(optimizer)
    bitmaps = np.ascontiguousarray(network.bitmaps, np.float32)
    return Plan._make([*offsets, *codes, rule, inputs, starts, bitmaps]), slots


def flat(
    values: Mapping[str, np.ndarray], slots: Mapping[str, int], runs: int
) -> np.ndarray:
    """[run, slot], parameter after parameter; one number a run is repeated."""
    rows = [
        np.broadcast_to(values[name].reshape(runs, -1), (runs, size))
        for name, size in slots.items()
    ]
    return np.concatenate(rows, 1, dtype=np.float32)


def unflat(
    rows: np.ndarray, slots: Mapping[str, int], values: Mapping[str, np.ndarray]
) -> None:
    """The inverse of flat, into `values`."""
    start = 0
    for name, size in slots.items():
        part = rows[: len(values[name]), start : start + size]
        values[name][...] = part.reshape(values[name].shape)
        start += size


def checked(shown: Shown) -> Shown:
    """`shown` as the kernels take it; ValueError for what they would read astray."""
    pictures, order, labels, where, masks = shown
    shapes = [array.shape for array in shown]
    if pictures.shape[1:] != (28, 28) or labels.shape != order.shape:
        raise ValueError(f"pictures, order and labels do not fit: {shapes[:3]}")
    if order.size and not 0 <= order.min() <= order.max() < len(pictures):
        raise ValueError(f"order goes beyond the {len(pictures)} pictures")
    if where.size and where.shape != (*order.shape, 2, 3):
        raise ValueError(f"where is {where.shape}, not {(*order.shape, 2, 3)}")
    if masks.size and masks.shape != (*order.shape, 204):
        raise ValueError(f"masks are {masks.shape}, not {(*order.shape, 204)}")
    where = where if where.size else np.empty((0, 0, 2, 3))
    masks = masks if masks.size else np.empty((0, 0, 204))
    kinds = (np.float32, np.int64, np.int64, np.float32, np.float32)
    pairs = zip((pictures, order, labels, where, masks), kinds, strict=True)
    return Shown(*(np.ascontiguousarray(array, kind) for array, kind in pairs))


def check(
    slots: Mapping[str, int], values: Mapping[str, np.ndarray], runs: int
) -> None:
    """ValueError for parameters that the kernels would read or write astray."""
    for name, size in slots.items():
        array = values[name]
        if array.dtype != np.float32 or array.shape[0] != runs or array[0].size != size:
            raise ValueError(
                f"{name} is {array.dtype} {array.shape}: give float32 [{runs}, ...] of "
                f"{size} numbers a run"
            )


def workspace(images: int, background: np.ndarray) -> np.ndarray:
    """[image, slot, lane], with the border of every image in place."""
    s = lanes(np.zeros((LANES, images * SIZE), np.float32)).reshape(images, SIZE, LANES)
    s[:, P.one : P.one + 10], s[:, P.image : P.image + 1024] = 1, background
    return s


def lane_groups(runs: int, slices: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """(the run of every lane, the slice of each batch that a lane has) of each group.

    LANES runs fill a group. A few that remain take SLICES lanes each, if `slices`; a
    group that is not full has the last run again.
    """
    full = runs // LANES * LANES
    if not slices or runs - full > LANES // 2:
        full = -(-runs // LANES) * LANES
    who = np.minimum(np.arange(full), runs - 1).reshape(-1, LANES)
    none, few = np.zeros(LANES, np.int64), LANES // SLICES
    groups = [(lanes, none) for lanes in who]
    for first in range(full, runs, few):
        lanes = np.minimum(np.arange(first, first + few), runs - 1).repeat(SLICES)
        groups.append((lanes, np.arange(LANES) % SLICES))
    return groups


def by_group(
    work: Callable[[Any, tuple[np.ndarray, ...]], Sequence[np.ndarray]],
    network: Network,
    slices: bool,
    threads: int | None,
) -> tuple[Pass, list[np.ndarray]]:
    """What becomes of the runs, and what `work` gives for each group, [lane, value], as
    [run, value]; a thread takes one group at a time."""
    groups = lane_groups(len(network.scale), slices)
    numbers = np.stack(network[4:7]).astype(np.float32)

    def one(lanes_of: tuple[np.ndarray, np.ndarray]) -> Any:
        who, part = lanes_of
        group = Group(who, part, *np.ascontiguousarray(numbers[:, who]))
        result = (np.zeros(LANES, np.int64), np.zeros(LANES), np.full(LANES, -1))
        return *result, *work(group, result)

    with ThreadPoolExecutor(threads or get_num_threads()) as executor:
        done = zip(*executor.map(one, groups), strict=True)
    home = np.flatnonzero(np.concatenate([part for _, part in groups]) == 0)
    values = [np.concatenate(part)[home[: len(network.scale)]] for part in done]
    return Pass(*values[:3]), values[3:]


def train_pass(
    parameters: Mapping[str, np.ndarray],
    rates: Mapping[str, np.ndarray],
    factors: np.ndarray,
    shown: Shown,
    network: Network,
    threads: int | None = None,
) -> Pass:
    """What became of the runs; `parameters` [run, ...] are updated in place by
    w -= factor * rate * dE/dw after every pattern (paper, App. C, p. 41).

    rates: as the parameters, or [run]; factors: [run, image]. C3.weight: [run, 60, 5,
    5] sorted by map, then by input, for the `table`; [run, 16, 6, 5, 5] for `full`.
    There is no dropout. Time goes in steps of LANES runs.
    """
    (plan, slots), shown = structure(network), checked(shown)
    runs = len(shown.order)
    check(slots, parameters, runs)
    for name in slots:
        if rates[name].shape not in ((runs,), parameters[name].shape):
            shapes = f"[{runs}] or {parameters[name].shape}"
            raise ValueError(f"rate of {name}: {shapes}, one a weight")
    if factors.shape != shown.order.shape:
        raise ValueError(f"factors are {factors.shape}, not {shown.order.shape}")
    weights, steps = flat(parameters, slots, runs), flat(rates, slots, runs)
    factors = np.ascontiguousarray(factors, np.float32)

    def work(group: Any, result: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        w, r = lanes(weights[group.who]), lanes(steps[group.who])
        s, final = workspace(1, group.shift)[0], np.empty((LANES, len(w)), np.float32)
        each_pattern(s, w, r, plan, shown, group, factors, final, *result)
        return [final]

    done, (final,) = by_group(work, network, False, threads)
    unflat(final, slots, parameters)
    return done


def train_batches(
    parameters: Mapping[str, np.ndarray],
    steps: Steps,
    shown: Shown,
    network: Network,
    threads: int | None = None,
) -> Pass:
    """What became of the runs, with a step of their optimizer after every batch on the
    mean of its losses; `parameters` and `steps.memory` are updated in place."""
    (plan, slots), shown = structure(network, steps.optimizer), checked(shown)
    runs = len(shown.order)
    rule = OPTIMIZERS[steps.optimizer]
    kept = [name for name in rule[1] if name]
    changing = [parameters, *(steps.memory[name] for name in kept)]
    for values in changing:
        check(slots, values, runs)
    rows = [flat(values, slots, runs) for values in changing]
    starts = accumulate([0, *slots.values()][:-1])
    decayed = (not name.endswith("bias") for name in slots)
    parts = np.array(list(zip(starts, slots.values(), decayed, strict=True)))
    each, decay = (np.ascontiguousarray(a, np.float32) for a in steps[2:4])

    def work(group: Any, result: tuple[np.ndarray, ...]) -> list[np.ndarray]:
        state = [lanes(row[group.who]) for row in rows]
        memory = dict(zip(kept, state[1:], strict=True))
        m, v = (memory.get(name or "", state[0][:0]) for name in rule[1])
        first, second = steps.first[group.who], steps.second[group.who]
        numbers = np.zeros((len(Numbers._fields), LANES), np.float32)
        numbers[4:7] = first, 1 - first, 1 - second
        each_batch(
            workspace(TILE, group.shift), state[0], m, v, plan, shown, group,
            steps.batch_size, each, decay, parts, numbers, *result,
        )  # fmt: skip
        return [part.T for part in state]

    done, final = by_group(work, network, True, threads)
    for whole, values in zip(final, changing, strict=True):
        unflat(whole, slots, values)
    return done
