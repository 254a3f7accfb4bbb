"""One pass of the paper's optimizer, a step after every pattern, for many runs at once.

Eight runs lie side by side in the lanes of the processor's vectors: arrays inside are
[value, lane], so that each multiply-add serves eight networks, and what a run gives
depends neither on its lane nor on its neighbours. A group of eight goes through the
whole pass in one compiled call that holds no interpreter lock.

The inner loops are `emitted`: functions over `Value` and `Memory` that run once, while
numba compiles, and write the instructions that they spell. Python's loops are unrolled
in them; `loop` is a loop of the program.
"""

import inspect
import math
from collections import namedtuple
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8
VECTOR = ir.VectorType(ir.FloatType(), LANES)
INTEGERS = ir.VectorType(ir.IntType(32), LANES)
INDEX = ir.IntType(64)


class Value:
    """A vector, a mask or an index of the program, of which operators are emitted."""

    def __init__(self, builder: Any, value: Any) -> None:
        self.builder, self.value = builder, value

    def like(self, other: Any) -> Any:
        if isinstance(other, Value):
            return other.value
        if self.value.type == INDEX:
            return ir.Constant(INDEX, other)
        return ir.Constant(VECTOR, [float(np.float32(other))] * LANES)

    def constant(self, number: float) -> "Value":
        return Value(self.builder, self.like(number))

    def emit(self, name: str, *others: Any) -> "Value":
        operands = [self.value, *map(self.like, others)]
        return Value(self.builder, getattr(self.builder, name)(*operands))

    def __add__(self, other: Any) -> "Value":
        return self.emit("add" if self.value.type == INDEX else "fadd", other)

    def __sub__(self, other: Any) -> "Value":
        return self.emit("sub" if self.value.type == INDEX else "fsub", other)

    def __mul__(self, other: Any) -> "Value":
        return self.emit("mul" if self.value.type == INDEX else "fmul", other)

    def __truediv__(self, other: Any) -> "Value":
        return self.emit("sdiv" if self.value.type == INDEX else "fdiv", other)

    def compare(self, sign: str, other: Any) -> Any:
        """The mask; false where either is not a number."""
        if self.value.type == INDEX:
            return self.builder.icmp_signed(sign, self.value, self.like(other))
        return self.builder.fcmp_ordered(sign, self.value, self.like(other))

    def replace(self, mask: Any, other: Any) -> "Value":
        """`other` where the mask holds, self elsewhere."""
        chosen = self.builder.select(mask, self.like(other), self.value)
        return Value(self.builder, chosen)

    def clamp(self, bound: float) -> "Value":
        """Self within +-bound; what is not a number stays so."""
        low = self.replace(self.compare("<", -bound), -bound)
        return low.replace(low.compare(">", bound), bound)

    def call(self, name: str, *others: Any) -> "Value":
        operands = [self.value, *map(self.like, others)]
        kind = ir.FunctionType(VECTOR, [VECTOR] * len(operands))
        name = f"llvm.{name}.v{LANES}f32"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return Value(self.builder, self.builder.call(function, operands))

    def fma(self, factor: Any, term: Any) -> "Value":
        """self * factor + term, rounded once."""
        return self.call("fma", factor, term)

    def polynomial(self, first: float, *others: float) -> "Value":
        """Horner's rule, the highest power first."""
        total = self.constant(first)
        for coefficient in others:
            total = total.fma(self, coefficient)
        return total


class Memory:
    """Vectors one after the other, from a pointer on."""

    def __init__(self, builder: Any, pointer: Any) -> None:
        self.builder, self.pointer = builder, pointer

    def at(self, index: Any) -> "Memory":
        index = index.value if isinstance(index, Value) else ir.Constant(INDEX, index)
        return Memory(self.builder, self.builder.gep(self.pointer, [index]))

    def __getitem__(self, index: Any) -> Value:
        return Value(self.builder, self.builder.load(self.at(index).pointer, align=4))

    def __setitem__(self, index: Any, vector: Value) -> None:
        self.builder.store(vector.value, self.at(index).pointer, align=4)

    def cell(self, start: Value | None = None) -> "Memory":
        """A variable, which ends up in a register."""
        cell = Memory(self.builder, cgutils.alloca_once(self.builder, VECTOR))
        cell[0] = start or Value(self.builder, ir.Constant(VECTOR, [0.0] * LANES))
        return cell

    def add(self, a: Value, b: Value | float) -> None:
        self[0] = a.fma(b, self[0])


@contextmanager
def loop(count: Value) -> Iterator[Value]:
    with cgutils.for_range(count.builder, count.value) as turn:
        yield Value(count.builder, turn.index)


def emitted(emit: Callable[..., None]) -> Any:
    """`emit` for compiled callers: arrays arrive as Memory, whole numbers as Value."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        operands = []
        for kind, value in zip(signature.args, values, strict=True):
            if isinstance(kind, types.Array):
                data = context.make_array(kind)(context, builder, value).data
                operands.append(builder.bitcast(data, VECTOR.as_pointer()))
            else:
                operands.append(context.cast(builder, value, kind, types.intp))
        kind = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
        name = f"lenet_{emit.__name__}_{id(emit)}"
        function = cgutils.get_or_insert_function(builder.module, kind, name)
        if function.is_declaration:
            function.linkage = "internal"
            function.attributes.add("noinline")
            inner = ir.IRBuilder(function.append_basic_block("entry"))
            emit(*((Value if argument.type == INDEX else Memory)(inner, argument)
                   for argument in function.args))
            inner.ret_void()
        builder.call(function, operands)
        return context.get_dummy_value()

    def type_of(context: Any, *arguments: Any) -> Any:
        return types.void(*arguments), generate

    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_ONLY)
    arguments = inspect.signature(emit).parameters.values()
    type_of.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [context, *(a.replace(kind=context.kind) for a in arguments)])
    return intrinsic(type_of)


def tanh(x: Value) -> Value:
    """Rational, degree 13 over 6 (Eigen's)."""
    x = x.clamp(7.90531110763549805)
    square = x * x
    top = square.polynomial(
        -2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11,
        5.12229709037114e-08, 1.48572235717979e-05, 6.37261928935876e-04,
        4.89352455891786e-03)  # fmt: skip
    return x * top / square.polynomial(
        1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03,
        4.89352518554385e-03)  # fmt: skip


def erf(x: Value) -> Value:
    """Rational, degree 13 over 8 (Eigen's)."""
    x = x.clamp(4.0)
    square = x * x
    top = square.polynomial(
        -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06,
        -5.69250639462346e-05, -7.34990630326855e-04, -2.95459980854025e-03,
        -1.60960333262415e-02)  # fmt: skip
    return x * top / square.polynomial(
        -1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03,
        -7.37332916720468e-03, -1.42647390514189e-02)  # fmt: skip


def exp(x: Value) -> Value:
    """2^n e^r with |r| <= log(2) / 2, for |x| <= 87."""
    x, builder = x.clamp(87.0), x.builder
    n = (x * (1 / math.log(2))).call("rint")
    r = n.fma(2.12194440e-4, n.fma(-0.693359375, x))
    mantissa = r.polynomial(1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1, 1)
    exponent = builder.fptosi((n + 127.0).value, INTEGERS)
    power = builder.shl(exponent, ir.Constant(INTEGERS, [23] * LANES))
    return mantissa * Value(builder, builder.bitcast(power, VECTOR))


def scaled_tanh(x: Value) -> tuple[Value, Value]:
    t = tanh(x * (2 / 3))
    return t * 1.7159, (t * t).fma(-1.7159 * 2 / 3, 1.7159 * 2 / 3)


def plain_tanh(x: Value) -> tuple[Value, Value]:
    t = tanh(x)
    return t, (t * t).fma(-1.0, 1.0)


def sigmoid(x: Value) -> tuple[Value, Value]:
    s = tanh(x * 0.5).fma(0.5, 0.5)
    return s, s * s.fma(-1.0, 1.0)


def relu(x: Value) -> tuple[Value, Value]:
    return rectifier(x, 0.0)


def leaky_relu(x: Value) -> tuple[Value, Value]:
    return rectifier(x, 0.01)


def rectifier(x: Value, slope: float) -> tuple[Value, Value]:
    """What is not a number stays so: a diverged run must show in its loss."""
    low = x.compare("<=", 0.0)
    return x.replace(low, x * slope if slope else 0.0), x.constant(1.0).replace(low, slope)


def silu(x: Value) -> tuple[Value, Value]:
    s, slope = sigmoid(x)
    return x * s, x.fma(slope, s)


def gelu(x: Value) -> tuple[Value, Value]:
    below = erf(x * math.sqrt(0.5)).fma(0.5, 0.5)
    density = exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))
    return x * below, x.fma(density, below)


ACTIVATIONS = {"scaled_tanh": scaled_tanh, "tanh": plain_tanh, "sigmoid": sigmoid,
               "relu": relu, "leaky_relu": leaky_relu, "gelu": gelu, "silu": silu}
POOLINGS = ("subsample", "average", "max", "stride")
HEADS = ("rbf", "rbf_map", "softmax")


@emitted
def activate(s: Memory, code: Value, x: Value, slope: Value, n: Value) -> None:
    """s[x:x+n] becomes f(x), s[slope:slope+n] becomes f'(x)."""
    for number, rule in enumerate(ACTIVATIONS.values()):
        with code.builder.if_then(code.compare("==", number)), loop(n) as q:
            s[x + q], s[slope + q] = rule(s[x + q])


def pool_rule(name: str, four: list[Value]) -> tuple[Value, list[Any]]:
    """The pooled value of four, and its derivative with respect to each."""
    if name == "stride":
        return four[0], [1.0, 0.0, 0.0, 0.0]
    if name != "max":
        share = 1.0 if name == "subsample" else 0.25
        return (four[0] + four[1] + four[2] + four[3]) * share, [share] * 4
    best, zero, builder = four[0], four[0].constant(0.0), four[0].builder
    chosen = [zero + 1.0, zero, zero, zero]
    for k in range(1, 4):
        nan = builder.fcmp_unordered("uno", four[k].value, four[k].value)
        take = builder.or_(nan, four[k].compare(">", best))
        best = best.replace(take, four[k])
        chosen = [weight.replace(take, float(e == k)) for e, weight in enumerate(chosen)]
    return best, chosen


@emitted
def pool(s: Memory, code: Value, x: Value, gate: Value, total: Value, out: Value,
         half: Value, w: Memory, coefficient: Value, bias: Value) -> None:
    """s[out:] is x pooled; the gate, f' so far, takes the derivative of pooling."""
    with loop(half) as row, loop(half) as column:
        corner = row * half * 4 + column * 2
        corners = [corner, corner + 1, corner + half * 2, corner + half * 2 + 1]
        place = row * half + column
        for number, name in enumerate(POOLINGS):
            with code.builder.if_then(code.compare("==", number)):
                pooled, weights = pool_rule(name, [s[x + q] for q in corners])
                for q, weight in zip(corners, weights, strict=True):
                    s[gate + q] = s[gate + q] * weight
                if name == "subsample":
                    s[total + place] = pooled
                    pooled = pooled.fma(w[coefficient], w[bias])
                s[out + place] = pooled


def descend(w: Memory, k: Value, rates: Memory, step: Value, gradient: Value) -> None:
    """The update of one weight; step is 0 where a run has one rate for all."""
    w[k] = w[k] - rates[k * step] * gradient


@emitted
def unsquash(s: Memory, d: Value, slope: Value, total: Value, n: Value, w: Memory,
             coefficient: Value, bias: Value, rates: Memory, step: Value) -> None:
    """d, by the output of a subsampling map, becomes d by the sums; both parameters."""
    one, factor = w[bias].constant(1.0), w[coefficient]
    by_bias, by_coefficient = s.cell(), s.cell()
    with loop(n) as q:
        delta = s[d + q] * s[slope + q]
        by_bias.add(delta, one)
        by_coefficient.add(delta, s[total + q])
        s[d + q] = delta * factor
    descend(w, bias, rates, step, by_bias[0])
    descend(w, coefficient, rates, step, by_coefficient[0])


@emitted
def unpool(s: Memory, gate: Value, d: Value, half: Value, w: Memory, bias: Value,
           rates: Memory, step: Value) -> None:
    """The gate times d of its window: the delta of the convolution; its bias."""
    left, right = s.cell(), s.cell()
    with loop(half * 2) as row, loop(half) as column:
        value = s[d + row / 2 * half + column]
        for side, total in enumerate((left, right)):
            place = gate + row * half * 2 + column * 2 + side
            delta = s[place] * value
            s[place] = delta
            total.add(delta, 1.0)
    descend(w, bias, rates, step, left[0] + right[0])


@emitted
def fill(s: Memory, x: Value, n: Value, source: Memory, k: Value) -> None:
    value = source[k]
    with loop(n) as q:
        s[x + q] = value


def correlate(pixels: int) -> Any:
    def correlate(s: Memory, out: Value, x: Value, side: Value, w: Memory,
                  k: Value) -> None:
        """s[out + p] += sum over the 5x5 kernel of w x."""
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
    return emitted(correlate)


@emitted
def spread(s: Memory, out: Value, d: Value, w: Memory, k: Value, low: Value,
           count: Value) -> None:
    """s[out:out+14] += kernel rows from `low` on times d, whose rows of 10 go up."""
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


def learn(pixels: int, parts: int) -> Any:
    def learn(s: Memory, d: Value, x: Value, side: Value, rows: Value, w: Memory,
              k: Value, rates: Memory, step: Value) -> None:
        """Updates one row of a kernel by the sum of d[p] x[p + kx] over the map."""
        total = [s.cell() for kx in range(5)]
        with loop(rows) as row:
            for part in range(0, parts * pixels, pixels):
                line = s.at(x + row * side + part)
                delta = s.at(d + row * (parts * pixels) + part)
                deltas = [delta[p] for p in range(pixels)]
                for column in range(pixels + 4):
                    value = line[column]
                    for kx in range(max(0, column + 1 - pixels), min(5, column + 1)):
                        total[kx].add(deltas[column - kx], value)
        for kx in range(5):
            descend(w, k + kx, rates, step, total[kx][0])
    return emitted(learn)


correlate_14, correlate_10, learn_28, learn_10 = (
    correlate(14), correlate(10), learn(14, 2), learn(10, 1))


@emitted
def dense(s: Memory, x: Value, n: Value, out: Value, w: Memory, k: Value,
          bias: Value) -> None:
    """Two outputs of a dense layer; n is a multiple of 4."""
    cells = [[s.cell() for phase in range(4)] for row in range(2)]
    with loop(n / 4) as q:
        line = s.at(x + q * 4)
        for row in range(2):
            factors = w.at(k + n * row + q * 4)
            for phase in range(4):
                cells[row][phase].add(factors[phase], line[phase])
    for row in range(2):
        first, second, third, fourth = (cell[0] for cell in cells[row])
        s[out + row] = (first + second) + (third + fourth) + w[bias + row]


@emitted
def undense(s: Memory, x: Value, dx: Value, n: Value, d: Value, slope: Value, w: Memory,
            k: Value, bias: Value, rates: Memory, step: Value) -> None:
    """Two outputs: dx += w delta, then the update, in one sweep over the weights."""
    deltas = [s[d + row] * s[slope + row] for row in range(2)]
    with loop(n) as q:
        value, total = s[x + q], s[dx + q]
        for row, delta in enumerate(deltas):
            place = k + n * row + q
            total = w[place].fma(delta, total)
            descend(w, place, rates, step, delta * value)
        s[dx + q] = total
    for row, delta in enumerate(deltas):
        descend(w, bias + row, rates, step, delta)


SIZES = {
    "zero": 1, "one": 10, "image": 1024, "plane": 784, "gate1": 4704, "sum2": 1176,
    "S2": 1176, "slope2": 1176, "d2": 1176, "gate3": 1600, "sum4": 400, "S4": 400,
    "slope4": 400, "d4": 400, "C5": 120, "slope5": 120, "d5": 120, "F6": 84,
    "slope6": 84, "d6": 84, "score": 10, "pull": 10,
}  # fmt: skip
Place = namedtuple("Place", SIZES)
P = Place(*accumulate([0, *SIZES.values()][:-1]))
TABLE = "012 123 234 345 045 015 0123 1234 2345 0345 0145 0125 0134 1245 0235 012345"
PARAMETERS = (
    "C1.weight C1.bias S2.coefficient S2.bias C3.weight C3.bias S4.coefficient S4.bias "
    "C5.weight C5.bias F6.weight F6.bias output.weight output.bias"
)
Layout = namedtuple("Layout", "c1 b1 k2 b2 c3 b3 k4 b4 c5 b5 f6 b6 w7 b7")
compiled = njit(cache=True, nogil=True)


@compiled
def forward(s, w, at, inputs, starts, activation, squash, pooling, head):
    """From s[image] to s[F6], or to s[score] for the softmax head."""
    for m in range(6):
        fill(s, P.plane, 784, w, at.b1 + m)
        for y in range(28):
            for x in (0, 14):
                correlate_14(s, P.plane + 28 * y + x, P.image + 32 * y + x, 32, w,
                             at.c1 + 25 * m)
        activate(s, activation, P.plane, P.gate1 + 784 * m, 784)
        pool(s, pooling, P.plane, P.gate1 + 784 * m, P.sum2 + 196 * m, P.S2 + 196 * m,
             14, w, at.k2 + m, at.b2 + m)
    if pooling == 0:
        activate(s, activation, P.S2, P.slope2, 1176)
    for m in range(16):
        fill(s, P.plane, 100, w, at.b3 + m)
        for k in range(starts[m], starts[m + 1]):
            for y in range(10):
                correlate_10(s, P.plane + 10 * y, P.S2 + 196 * inputs[k] + 14 * y, 14,
                             w, at.c3 + 25 * k)
        activate(s, activation, P.plane, P.gate3 + 100 * m, 100)
        pool(s, pooling, P.plane, P.gate3 + 100 * m, P.sum4 + 25 * m, P.S4 + 25 * m, 5,
             w, at.k4 + m, at.b4 + m)
    if pooling == 0:
        activate(s, activation, P.S4, P.slope4, 400)
    for o in range(0, 120, 2):
        dense(s, P.S4, 400, P.C5 + o, w, at.c5 + 400 * o, at.b5 + o)
    activate(s, activation, P.C5, P.slope5, 120)
    for o in range(0, 84, 2):
        dense(s, P.C5, 120, P.F6 + o, w, at.f6 + 120 * o, at.b6 + o)
    activate(s, squash, P.F6, P.slope6, 84)
    if head == 2:
        for o in range(0, 10, 2):
            dense(s, P.F6, 84, P.score + o, w, at.w7 + 84 * o, at.b7 + o)


@compiled
def judge(s, head, number, label, bitmaps, lane):
    """(loss, prediction) of a lane, and dE/dscore in s[pull]; RBF score: -y."""
    f = np.float32
    if head != 2:
        for c in range(10):
            distance = f(0)
            for j in range(84):
                gap = s[P.F6 + j, lane] - bitmaps[c, j]
                distance += gap * gap
            s[P.score + c, lane] = f(-0.5) * distance
    best = 0
    for c in range(1, 10):
        if s[P.score + c, lane] > s[P.score + best, lane]:
            best = c
    top = s[P.score + best, lane]
    total = f(0)
    if head == 1:
        top = max(top, -number)
        total += math.exp(-number - top)
    for c in range(10):
        total += math.exp(s[P.score + c, lane] - top)
    total = top + math.log(total) if head else f(0)
    loss = total
    for c in range(10):
        score = s[P.score + c, lane]
        goal = number / f(10) if head == 2 else f(0)
        if c == label:
            goal += f(1) - number if head == 2 else f(1)
        loss -= goal * score
        s[P.pull + c, lane] = (math.exp(score - total) if head else f(0)) - goal
    if head != 2:
        for j in range(84):
            delta = f(0)
            for c in range(10):
                gap = bitmaps[c, j] - s[P.F6 + j, lane]
                delta += s[P.pull + c, lane] * gap
            s[P.d6 + j, lane] = delta
    return loss, best


@compiled
def backward(s, w, at, rates, step, inputs, starts, pooling, head):
    """Every parameter takes its step, the last layer first."""
    if head == 2:
        fill(s, P.d6, 84, s, P.zero)
        for o in range(0, 10, 2):
            undense(s, P.F6, P.d6, 84, P.pull + o, P.one + o, w, at.w7 + 84 * o,
                    at.b7 + o, rates, step)
    fill(s, P.d5, 120, s, P.zero)
    for o in range(0, 84, 2):
        undense(s, P.C5, P.d5, 120, P.d6 + o, P.slope6 + o, w, at.f6 + 120 * o,
                at.b6 + o, rates, step)
    fill(s, P.d4, 400, s, P.zero)
    for o in range(0, 120, 2):
        undense(s, P.S4, P.d4, 400, P.d5 + o, P.slope5 + o, w, at.c5 + 400 * o,
                at.b5 + o, rates, step)
    fill(s, P.d2, 1176, s, P.zero)
    for m in range(16):
        d, delta = P.d4 + 25 * m, P.gate3 + 100 * m
        if pooling == 0:
            unsquash(s, d, P.slope4 + 25 * m, P.sum4 + 25 * m, 25, w, at.k4 + m,
                     at.b4 + m, rates, step)
        unpool(s, delta, d, 5, w, at.b3 + m, rates, step)
        for k in range(starts[m], starts[m + 1]):
            i, kernel = 196 * inputs[k], at.c3 + 25 * k
            for y in range(14):
                low = max(0, y - 9)
                spread(s, P.d2 + i + 14 * y, delta + 10 * y, w, kernel, low,
                       min(4, y) - low + 1)
            for ky in range(5):
                learn_10(s, delta, P.S2 + i + 14 * ky, 14, 10, w, kernel + 5 * ky,
                         rates, step)
    for m in range(6):
        d, delta = P.d2 + 196 * m, P.gate1 + 784 * m
        if pooling == 0:
            unsquash(s, d, P.slope2 + 196 * m, P.sum2 + 196 * m, 196, w, at.k2 + m,
                     at.b2 + m, rates, step)
        unpool(s, delta, d, 14, w, at.b1 + m, rates, step)
        for ky in range(5):
            learn_28(s, delta, P.image + 32 * ky, 32, 28, w, at.c1 + 25 * m + 5 * ky,
                     rates, step)


@compiled
def train_group(s, w, kept, at, rates, step, images, labels, order, inputs, starts,
                activation, squash, pooling, head, number, scale, shift, bitmaps,
                errors, losses, diverged):
    """The whole pass of LANES runs; `diverged` comes in as -1."""
    for t in range(order.shape[1]):
        for y in range(28):
            for x in range(28):
                for lane in range(LANES):
                    pixel = np.float32(images[order[lane, t], 28 * y + x])
                    value = pixel * scale[lane] + shift[lane]
                    s[P.image + 32 * (y + 2) + x + 2, lane] = value
        forward(s, w, at, inputs, starts, activation, squash, pooling, head)
        for lane in range(LANES):
            label = labels[order[lane, t]]
            loss, best = judge(s, head, number[lane], label, bitmaps, lane)
            if diverged[lane] < 0:
                if math.isfinite(loss):
                    losses[lane] += loss
                    errors[lane] += best != label
                else:
                    diverged[lane] = t
                    for k in range(len(w)):
                        kept[k, lane] = w[k, lane]
        backward(s, w, at, rates, step, inputs, starts, pooling, head)
    for lane in range(LANES):
        if diverged[lane] >= 0:
            for k in range(len(w)):
                w[k, lane] = kept[k, lane]


class Pass(NamedTuple):
    """What a pass says of each run; all arrays [run]."""

    errors: Any  # wrong predictions, each made before its update
    loss: Any  # summed over the patterns, float64
    diverged: Any  # first step whose loss is not finite, or -1


def lanes(rows: Any) -> Any:
    """rows [lane, value] as [value, lane], from the start of a cache line on."""
    memory = np.zeros(rows.size + 16, np.float32)
    start = -memory.ctypes.data % 64 // 4
    out = memory[start : start + rows.size].reshape(rows.shape[::-1])
    out[:] = rows.T
    return out


def train_pass(parameters, rates, images, labels, order, *, activation, pooling,
               connection, head, scale, shift, number, bitmaps, threads=2):
    runs = len(order)
    names = [name for name in PARAMETERS.split() if name in parameters]
    flat = np.concatenate([parameters[n].reshape(runs, -1) for n in names], 1)
    ends = dict(zip(names, accumulate(parameters[n][0].size for n in names)))
    at, place = [], 0
    for name in PARAMETERS.split():
        at.append(place)
        place = ends.get(name, place)
    at = Layout(*at)
    step = int(any(rates[n].size > runs for n in names))
    speed = np.concatenate([
        np.broadcast_to(rates[n].reshape(runs, -1), (runs, parameters[n][0].size))
        for n in names], 1) if step else rates[names[0]].reshape(runs, 1)
    table = TABLE.split() if connection == "table" else ["012345"] * 16
    inputs = np.array([int(i) for row in table for i in row], np.int64)
    starts = np.cumsum([0] + [len(row) for row in table])
    code = list(ACTIVATIONS).index(activation)
    images = images.reshape(len(images), 784)

    def work(chosen):
        w, r = lanes(flat[chosen]), lanes(speed[chosen])
        s = lanes(np.zeros((LANES, sum(SIZES.values())), np.float32))
        s[P.one:P.one + 10] = 1
        s[P.image:P.image + 1024] = shift[chosen]
        result = (np.zeros(LANES, np.int64), np.zeros(LANES), np.full(LANES, -1))
        train_group(
            s, w, np.empty_like(w), at, r, step, images, labels, order[chosen], inputs,
            starts, code, code if head == "softmax" else 0, POOLINGS.index(pooling),
            HEADS.index(head), number[chosen], (scale / 255)[chosen], shift[chosen], bitmaps,
            *result)
        flat[chosen] = w.T
        return result

    groups = np.minimum(np.arange(-(-runs // LANES) * LANES), runs - 1).reshape(-1, LANES)
    with ThreadPoolExecutor(threads) as executor:
        done = list(executor.map(work, groups))
    start = 0
    for name, end in ends.items():
        parameters[name][:] = flat[:, start:end].reshape(parameters[name].shape)
        start = end
    return Pass(*(np.concatenate(part)[:runs] for part in zip(*done)))
