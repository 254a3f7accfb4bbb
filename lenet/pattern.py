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
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, NamedTuple, no_type_check

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import get_num_threads, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

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


def descend(w, r, k, gradient):
    w[k] = w[k] - r[k] * gradient


@emitted
def unsquash(s, d, slope, total, n, w, r, coefficient, bias):
    """d by the output of a subsampling map becomes d by its sums; both parameters."""
    factor, by_bias, by_coefficient = w[coefficient], s.cell(), s.cell()
    with loop(n) as q:
        delta = s[d + q] * s[slope + q]
        by_bias.add(delta, 1.0)
        by_coefficient.add(delta, s[total + q])
        s[d + q] = delta * factor
    descend(w, r, bias, by_bias[0])
    descend(w, r, coefficient, by_coefficient[0])


@emitted
def unpool(s, gate, d, half, w, r, bias):
    """The gate times d of its window: the convolution's delta; and its bias."""
    total = [s.cell(), s.cell()]
    with loop(half * 2) as row, loop(half) as column:
        value = s[d + row / 2 * half + column]
        for side in range(2):
            place = gate + row * half * 2 + column * 2 + side
            delta = s[place] * value
            s[place] = delta
            total[side].add(delta, 1.0)
    descend(w, r, bias, total[0][0] + total[1][0])


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
    def emit(s, d, x, side, rows, w, r, k):
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
            descend(w, r, k + kx, total[kx][0][0] + total[kx][1][0])

    return emitted(emit)


correlate_14, correlate_10 = correlate(14), correlate(10)
learn_28, learn_10 = learn(14, 2), learn(10, 1)


@emitted
def dense(s, x, n, out, w, k, bias):
    """Two outputs of a dense layer; n is a multiple of 4."""
    total = [[s.cell() for phase in range(4)] for row in range(2)]
    with loop(n / 4) as q:
        line = s.at(x + q * 4)
        for row in range(2):
            factors = w.at(k + n * row + q * 4)
            for phase in range(4):
                total[row][phase].add(factors[phase], line[phase])
    for row in range(2):
        first, second, third, fourth = (cell[0] for cell in total[row])
        s[out + row] = (first + second) + (third + fourth) + w[bias + row]


@emitted
def undense(s, x, dx, n, d, slope, w, r, k, bias):
    """Two outputs: dx += w delta and the descent in one sweep over the weights."""
    deltas = [s[d + row] * s[slope + row] for row in range(2)]
    with loop(n) as q:
        value, total = s[x + q], s[dx + q]
        for row, delta in enumerate(deltas):
            place = k + n * row + q
            total = w[place].fma(delta, total)
            descend(w, r, place, delta * value)
        s[dx + q] = total
    for row, delta in enumerate(deltas):
        descend(w, r, bias + row, delta)


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
SLOTS = {
    "C1.weight": 150, "C1.bias": 6, "S2.coefficient": 6, "S2.bias": 6,
    "C3.weight": 2400, "C3.bias": 16, "S4.coefficient": 16, "S4.bias": 16,
    "C5.weight": 48000, "C5.bias": 120, "F6.weight": 10080, "F6.bias": 84,
    "output.weight": 840, "output.bias": 10,
}  # fmt: skip
PLAN = "c1 b1 k2 b2 c3 b3 k4 b4 c5 b5 f6 b6 w7 b7 activation squash pooling head"
Plan: Any = namedtuple("Plan", PLAN.split())  # type: ignore[misc]
TABLE = "012 123 234 345 045 015 0123 1234 2345 0345 0145 0125 0134 1245 0235 012345"
# `no_type_check` keeps the checks of jaxtyping's import hook out of compiled functions.
compiled: Any = njit(cache=True, nogil=True)


@compiled
@no_type_check
def forward_maps(s, w, plan, inputs, starts):
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
        for k in range(starts[m], starts[m + 1]):
            for y in range(10):
                out, window = P.plane + 10 * y, P.S2 + 196 * inputs[k] + 14 * y
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
        dense(s, P.S4, 400, P.C5 + o, w, plan.c5 + 400 * o, plan.b5 + o)
    activate(s, plan.activation, P.C5, P.slope5, 120)
    for o in range(0, 84, 2):
        dense(s, P.C5, 120, P.F6 + o, w, plan.f6 + 120 * o, plan.b6 + o)
    activate(s, plan.squash, P.F6, P.slope6, 84)
    if plan.head == 2:
        for o in range(0, 10, 2):
            dense(s, P.F6, 84, P.score + o, w, plan.w7 + 84 * o, plan.b7 + o)


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
def judge(s, lane, head, number, label, factor):
    """(loss, prediction) of a lane from its scores; s[pull]: factor dE/dscore."""
    zero, smoothing = np.float32(0), number if head == 2 else np.float32(0)
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
    return loss, best


@compiled
@no_type_check
def backward_dense(s, w, r, plan):
    """The steps of output, F6 and C5; leaves dE/dS4."""
    if plan.head == 2:
        fill(s, P.d6, 84, s, P.zero)
        for o in range(0, 10, 2):
            k, b, d = plan.w7 + 84 * o, plan.b7 + o, P.pull + o
            undense(s, P.F6, P.d6, 84, d, P.one + o, w, r, k, b)
    fill(s, P.d5, 120, s, P.zero)
    for o in range(0, 84, 2):
        k, b, d = plan.f6 + 120 * o, plan.b6 + o, P.d6 + o
        undense(s, P.C5, P.d5, 120, d, P.slope6 + o, w, r, k, b)
    fill(s, P.d4, 400, s, P.zero)
    for o in range(0, 120, 2):
        k, b, d = plan.c5 + 400 * o, plan.b5 + o, P.d5 + o
        undense(s, P.S4, P.d4, 400, d, P.slope5 + o, w, r, k, b)


@compiled
@no_type_check
def backward_maps(s, w, r, plan, inputs, starts):
    """The steps of S4, C3, S2 and C1, from dE/dS4."""
    fill(s, P.d2, 1176, s, P.zero)
    for m in range(16):
        d, delta = P.d4 + 25 * m, P.gate3 + 100 * m
        if plan.pooling == 0:
            slope, total = P.slope4 + 25 * m, P.sum4 + 25 * m
            unsquash(s, d, slope, total, 25, w, r, plan.k4 + m, plan.b4 + m)
        unpool(s, delta, d, 5, w, r, plan.b3 + m)
        for k in range(starts[m], starts[m + 1]):
            i, kernel = 196 * inputs[k], plan.c3 + 25 * k
            for y in range(14):
                low = max(0, y - 9)
                count = min(4, y) - low + 1
                spread(s, P.d2 + i + 14 * y, delta + 10 * y, w, kernel, low, count)
            for ky in range(5):
                learn_10(s, delta, P.S2 + i + 14 * ky, 14, 10, w, r, kernel + 5 * ky)
    for m in range(6):
        d, delta = P.d2 + 196 * m, P.gate1 + 784 * m
        if plan.pooling == 0:
            slope, total = P.slope2 + 196 * m, P.sum2 + 196 * m
            unsquash(s, d, slope, total, 196, w, r, plan.k2 + m, plan.b2 + m)
        unpool(s, delta, d, 14, w, r, plan.b1 + m)
        for ky in range(5):
            kernel = plan.c1 + 25 * m + 5 * ky
            learn_28(s, delta, P.image + 32 * ky, 32, 28, w, r, kernel)


@compiled
@no_type_check
def show(s, images, who, t, scale, shift):
    """Every lane's image of step t into s[image], inside the border."""
    for y in range(28):
        for x in range(28):
            for lane in range(LANES):
                pixel = images[who[lane], t, y, x]
                value = pixel * scale[lane] + shift[lane]
                s[P.image + 32 * (y + 2) + x + 2, lane] = value


@compiled
@no_type_check
def keep(final, w, lane):
    for k in range(len(w)):
        final[lane, k] = w[k, lane]


@compiled
@no_type_check
def train_group(
    s, w, r, plan, inputs, starts, images, labels, factors, who, scale, shift, number,
    bitmaps,    final, errors, losses, diverged,
):  # fmt: skip
    """The pass of LANES runs; writes the four last, of which `diverged` comes as -1."""
    for t in range(images.shape[1]):
        show(s, images, who, t, scale, shift)
        forward_maps(s, w, plan, inputs, starts)
        forward_dense(s, w, plan)
        for lane in range(LANES):
            label, factor = labels[who[lane], t], factors[who[lane], t]
            if plan.head != 2:
                measure(s, lane, bitmaps)
            loss, best = judge(s, lane, plan.head, number[lane], label, factor)
            if plan.head != 2:
                pull_back(s, lane, bitmaps)
            if diverged[lane] < 0 and math.isfinite(loss):
                losses[lane] += loss
                errors[lane] += best != label
            elif diverged[lane] < 0:
                diverged[lane] = t
                keep(final, w, lane)
        backward_dense(s, w, r, plan)
        backward_maps(s, w, r, plan, inputs, starts)
    for lane in range(LANES):
        if diverged[lane] < 0:
            keep(final, w, lane)


class Pass(NamedTuple):
    """What a pass says of its runs; every array is [run]."""

    errors: np.ndarray  # wrong predictions, each made before its step
    loss: np.ndarray  # summed over the patterns, float64
    diverged: np.ndarray  # the step whose loss is not finite, from which on the
    # run is as it was and no longer counted; or -1


def lanes(rows: np.ndarray) -> np.ndarray:
    """rows [lane, value] as [value, lane], from the start of a cache line on."""
    memory = np.zeros(rows.size + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    out = memory[start : start + rows.size].reshape(rows.shape[::-1])
    out[:] = rows.T
    return out


def structure(activation: str, pooling: str, connection: str, head: str) -> Any:
    """(plan, slots of each parameter in use, C3's inputs, where each map's start)."""
    table = {"table": TABLE.split(), "full": ["012345"] * 16}[connection]
    inputs = np.array([int(i) for row in table for i in row])
    starts = np.cumsum([0] + [len(row) for row in table])
    absent = "S" * (pooling != "subsample") + "o" * (head != "softmax")
    slots = {name: size for name, size in SLOTS.items() if name[0] not in absent}
    slots["C3.weight"] = 25 * len(inputs)
    offsets = accumulate([0, *(slots.get(name, 0) for name in SLOTS)][:-1])
    code = list(ACTIVATIONS).index(activation)
    squash = code if head == "softmax" else list(ACTIVATIONS).index("scaled_tanh")
    codes = (code, squash, list(POOLINGS).index(pooling), HEADS.index(head))
    return Plan._make([*offsets, *codes]), slots, inputs, starts


def flat(
    values: Mapping[str, np.ndarray], slots: Mapping[str, int], runs: int
) -> np.ndarray:
    """[run, slot], parameter after parameter; one number a run is repeated."""
    rows = [
        np.broadcast_to(values[name].reshape(runs, -1), (runs, size))
        for name, size in slots.items()
    ]
    return np.concatenate(rows, 1, dtype=np.float32)


def check(slots, parameters, rates, images, labels, factors, bitmaps):
    """ValueError for what would make the kernels read or write astray."""
    runs = len(images)
    for name, size in slots.items():
        array = parameters[name]
        if array.dtype != np.float32 or array.shape[0] != runs or array[0].size != size:
            raise ValueError(
                f"{name} is {array.dtype} {array.shape}: give float32 [{runs}, ...] of "
                f"{size} numbers a run"
            )
        if rates[name].shape not in ((runs,), array.shape):
            raise ValueError(f"rate of {name}: [{runs}] or {array.shape}, one a weight")
    shape = images.shape[:2]
    if images.shape[2:] != (28, 28) or labels.shape != shape or factors.shape != shape:
        shapes = images.shape, labels.shape, factors.shape
        raise ValueError(f"images, labels, factors do not fit: {shapes}")
    if bitmaps.shape != (10, 84):
        raise ValueError(f"bitmaps are {bitmaps.shape}, not (10, 84)")


def train_pass(
    parameters: Mapping[str, np.ndarray],
    rates: Mapping[str, np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    factors: np.ndarray,
    *,
    activation: str,
    pooling: str,
    connection: str,
    head: str,
    scale: np.ndarray,
    shift: np.ndarray,
    number: np.ndarray,
    bitmaps: np.ndarray,
    threads: int | None = None,
) -> Pass:
    """What became of the runs; `parameters` [run, ...] are updated in place by
    w -= factor * rate * dE/dw after every pattern (paper, App. C, p. 41).

    rates: as the parameters, or [run]; factors: [run, step]. images: float32 in [0, 1],
    [run, step, 28, 28]; labels [run, step]. The input is pixel * scale + shift;
    scale, shift and number are [run]; number: the smoothing of `softmax`, j of
    `rbf_map`. bitmaps: [class, unit], +-1. C3.weight: [run, 60, 5, 5] sorted by map,
    then by input, for the `table`; [run, 16, 6, 5, 5] for `full`. Time goes in steps of
    LANES runs, and a thread takes one group of LANES at a time.
    """
    plan, slots, inputs, starts = structure(activation, pooling, connection, head)
    check(slots, parameters, rates, images, labels, factors, bitmaps)
    runs, pixels = len(images), np.ascontiguousarray(images, np.float32)
    weights, steps = flat(parameters, slots, runs), flat(rates, slots, runs)
    numbers = np.stack([scale, shift, number]).astype(np.float32)
    classes = np.ascontiguousarray(labels, np.int64)
    factors = np.ascontiguousarray(factors, np.float32)
    codes = np.ascontiguousarray(bitmaps, np.float32)
    final = np.empty((-(-runs // LANES) * LANES, weights.shape[1]), np.float32)
    groups = np.minimum(np.arange(len(final)), runs - 1).reshape(-1, LANES)

    def work(group: int) -> tuple[np.ndarray, ...]:
        chosen = groups[group]
        s = lanes(np.zeros((LANES, sum(SPACE.values())), np.float32))
        s[P.one : P.one + 10], s[P.image : P.image + 1024] = 1, shift[chosen]
        result = (np.zeros(LANES, np.int64), np.zeros(LANES), np.full(LANES, -1))
        train_group(
            s, lanes(weights[chosen]), lanes(steps[chosen]), plan, inputs, starts,
            pixels, classes, factors, chosen,
            *np.ascontiguousarray(numbers[:, chosen]), codes,
            final[group * LANES :][:LANES], *result,
        )  # fmt: skip
        return result

    with ThreadPoolExecutor(threads or get_num_threads()) as executor:
        done = list(executor.map(work, range(len(groups))))
    start = 0
    for name, size in slots.items():
        rows = final[:runs, start : start + size]
        parameters[name][...] = rows.reshape(parameters[name].shape)
        start += size
    return Pass(*(np.concatenate(part)[:runs] for part in zip(*done, strict=True)))
