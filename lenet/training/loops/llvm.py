"""A small language for programs over vectors of LANES float32 numbers.

A function over `Value` and `Memory` is `emitted`: it runs once, while numba compiles,
and writes the LLVM instructions that it spells. Python's loops are unrolled; `loop` is
a loop of the program. No bounds are checked.

The same program runs on every processor: a vector has LANES lanes whatever the
processor's own width, every product and sum is rounded as it is written (`fma` once),
and nothing comes from a library of mathematics. So the bits are the same everywhere.
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 8  # as fast as 16 on AVX-512, and every processor's program
FLOAT = ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)
INTEGERS = ir.VectorType(ir.IntType(32), LANES)
INDEX = ir.IntType(64)
SPINS = 4000  # looks at a barrier before the thread lets others have its core


class Mask:
    """Which lanes a comparison holds in."""

    def __init__(self, builder, value):
        self.builder, self.value = builder, value


class Value:
    """A vector or an index of the program; its operators emit instructions.

    The names are those of torch's tensors, so that a formula may be given either.
    """

    def __init__(self, builder, value):
        self.builder, self.value = builder, value

    def like(self, other):
        """The operand `other`; a number becomes a constant of the type of self."""
        if isinstance(other, Value):
            return other.value
        if self.value.type == INDEX:
            return ir.Constant(INDEX, other)
        return ir.Constant(VECTOR, [float(np.float32(other))] * LANES)

    def of(self, value):
        return Value(self.builder, value)

    def binary(self, index_name, vector_name, other):
        name = index_name if self.value.type == INDEX else vector_name
        return self.of(getattr(self.builder, name)(self.value, self.like(other)))

    def __add__(self, other):
        return self.binary("add", "fadd", other)

    def __sub__(self, other):
        return self.binary("sub", "fsub", other)

    def __mul__(self, other):
        return self.binary("mul", "fmul", other)

    def __truediv__(self, other):
        return self.binary("sdiv", "fdiv", other)

    __radd__, __rmul__ = __add__, __mul__

    def __rsub__(self, other):
        return self.of(self.like(other)) - self

    def __rtruediv__(self, other):
        return self.of(self.like(other)) / self

    def __neg__(self):
        return self * -1.0

    def compare(self, sign, other):
        """An ordered comparison: no lane with a nan holds."""
        mask = self.builder.fcmp_ordered(sign, self.value, self.like(other))
        return Mask(self.builder, mask)

    def __gt__(self, other):
        return self.compare(">", other)

    def __lt__(self, other):
        return self.compare("<", other)

    def where(self, mask, other):
        """self where the mask holds, the other elsewhere."""
        chosen = self.builder.select(mask.value, self.value, self.like(other))
        return self.of(chosen)

    def maximum(self, other):
        """The larger one; of a nan and a number the number, or self if both are."""
        return self.of(self.like(other)).where(self < other, self)

    def clamp(self, low, high):
        """The nearest number from low to high; a nan stays."""
        above = self.of(self.like(low)).where(self < low, self)
        return above.of(above.like(high)).where(above > high, above)

    def call(self, name, *others):
        operands = [self.value, *map(self.like, others)]
        kind = ir.FunctionType(VECTOR, [VECTOR] * len(operands))
        name = f"llvm.{name}.v{LANES}f32"
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.of(self.builder.call(function, operands))

    def fma(self, factor, term):
        """self * factor + term, rounded once."""
        return self.call("fma", factor, term)

    def sqrt(self):
        return self.call("sqrt")

    def polynomial(self, first, *others):
        """Horner's rule, the highest power first."""
        total = self.of(self.like(first))
        for coefficient in others:
            total = total.fma(self, coefficient)
        return total

    def rational(self, bound, top, bottom):
        """x P(x^2) / Q(x^2) for x within +-bound; the coefficients are Eigen's."""
        x = self.clamp(-bound, bound)
        return x * (x * x).polynomial(*top) / (x * x).polynomial(*bottom)

    def tanh(self):
        top = (-2.76076847742355e-16, 2.00018790482477e-13, -8.60467152213735e-11,
               5.12229709037114e-08, 1.48572235717979e-05, 6.37261928935876e-04,
               4.89352455891786e-03)  # fmt: skip
        bottom = (1.19825839466702e-06, 1.18534705686654e-04, 2.26843463243900e-03,
                  4.89352518554385e-03)  # fmt: skip
        return self.rational(7.90531110763549805, top, bottom)

    def erf(self):
        top = (-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06,
               -5.69250639462346e-05, -7.34990630326855e-04, -2.95459980854025e-03,
               -1.60960333262415e-02)  # fmt: skip
        bottom = (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03,
                  -7.37332916720468e-03, -1.42647390514189e-02)  # fmt: skip
        return self.rational(4.0, top, bottom)

    def exp(self):
        """2^n e^r with |r| <= log(2) / 2; beyond +-87 as at +-87."""
        x = self.clamp(-87.0, 87.0)
        n = (x * (1 / math.log(2))).call("rint")
        r = n.fma(2.12194440e-4, n.fma(-0.693359375, x))
        mantissa = r.polynomial(1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1, 1)
        exponent = self.builder.fptosi((n + 127.0).value, INTEGERS)
        power = self.builder.shl(exponent, integers(23))
        return mantissa * self.of(self.builder.bitcast(power, VECTOR))

    def log(self):
        """n log(2) + log(m) with m in [sqrt(1/2), sqrt(2)), for normal numbers above
        0; the series is Cephes' (Moshier). Anything else stays as it is."""
        bits = self.builder.bitcast(self.value, INTEGERS)
        # Shifted so that the mantissa is that of [sqrt(1/2), sqrt(2)).
        moved = self.builder.sub(bits, integers(0x3F3504F3))
        n = self.of(self.builder.sitofp(self.builder.ashr(moved, integers(23)), VECTOR))
        kept = self.builder.and_(moved, integers(0x007FFFFF))
        kept = self.builder.add(kept, integers(0x3F3504F3))
        x = self.of(self.builder.bitcast(kept, VECTOR)) - 1.0
        series = x.polynomial(
            7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1,
            1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1,
            3.3333331174e-1,
        )  # fmt: skip
        small = (x * x) * (x * series - 0.5)
        found = n.fma(0.693359375, x + n.fma(-2.12194440e-4, small))
        return found.where(self > 1.17549435e-38, self)


def integers(number):
    return ir.Constant(INTEGERS, [number] * LANES)


class Memory:
    """Vectors one after the other, from a pointer on; `splat` sees single numbers."""

    def __init__(self, builder, pointer):
        self.builder, self.pointer = builder, pointer

    def at(self, index):
        """The memory from vector `index` on."""
        index = index.value if isinstance(index, Value) else ir.Constant(INDEX, index)
        return Memory(self.builder, self.builder.gep(self.pointer, [index]))

    def number(self, index):
        """The memory from number `index` on."""
        floats = self.builder.bitcast(self.pointer, FLOAT.as_pointer())
        index = index.value if isinstance(index, Value) else ir.Constant(INDEX, index)
        moved = self.builder.gep(floats, [index])
        return Memory(self.builder, self.builder.bitcast(moved, VECTOR.as_pointer()))

    def __getitem__(self, index):
        return Value(self.builder, self.builder.load(self.at(index).pointer, align=4))

    def __setitem__(self, index, vector):
        self.builder.store(vector.value, self.at(index).pointer, align=4)

    def splat(self, index):
        """The number at `index` in every lane."""
        place = self.number(index).pointer
        place = self.builder.bitcast(place, FLOAT.as_pointer())
        one = self.builder.load(place, align=4)
        empty = ir.Constant(VECTOR, ir.Undefined)
        first = self.builder.insert_element(empty, one, ir.Constant(ir.IntType(32), 0))
        everywhere = self.builder.shuffle_vector(first, empty, integers(0))
        return Value(self.builder, everywhere)

    def cell(self, start=None):
        """A variable of the kernel, 0 at first; it ends up in a register."""
        cell = Memory(self.builder, cgutils.alloca_once(self.builder, VECTOR))
        cell[0] = start or self.zero()
        return cell

    def whole(self, number):
        """A whole number of the program."""
        return Value(self.builder, INDEX(number))

    def zero(self):
        return Value(self.builder, ir.Constant(VECTOR, [0.0] * LANES))

    def add(self, a, b):
        """A cell becomes a * b more."""
        self[0] = a.fma(b, self[0])


def transposed(vectors):
    """LANES vectors as a square whose rows become columns."""
    builder, square = vectors[0].builder, [vector.value for vector in vectors]
    for width in (1, 2, 4):  # swap blocks of `width` off the diagonal
        low = [k + LANES - width if k & width else k for k in range(LANES)]
        high = [k + LANES if k & width else k + width for k in range(LANES)]
        swapped = list(square)
        for row in range(LANES):
            if row & width:
                continue
            a, b = square[row], square[row + width]
            for place, mask in ((row, low), (row + width, high)):
                lanes = ir.Constant(INTEGERS, mask)
                swapped[place] = builder.shuffle_vector(a, b, lanes)
        square = swapped
    return [Value(builder, row) for row in square]


def added(values):
    """Their sum, from the first to the last."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def lane_sums(vectors):
    """A vector with the sum over the lanes of each of LANES vectors, lane by lane."""
    return added(transposed(vectors))


@contextmanager
def loop(turns: Value) -> Iterator[Value]:
    with cgutils.for_range(turns.builder, turns.value) as turn:
        yield Value(turns.builder, turn.index)


@contextmanager
def when(code: Value, number: int) -> Iterator[None]:
    equal = code.builder.icmp_signed("==", code.value, code.like(number))
    with code.builder.if_then(equal):
        yield


serial = count()  # of emitted functions: the same in every process, unlike an id


def emitted(emit):
    """`emit` for compiled callers: arrays arrive as Memory, whole numbers as Value."""
    name = f"lenet.{emit.__module__.rpartition('.')[2]}.{emit.__name__}.{next(serial)}"

    def generate(context, builder, signature, values):
        operands = []
        for kind, value in zip(signature.args, values, strict=True):
            if isinstance(kind, types.Array):
                data = context.make_array(kind)(context, builder, value).data
                operands.append(builder.bitcast(data, VECTOR.as_pointer()))
            else:
                operands.append(context.cast(builder, value, kind, types.intp))
        kind = ir.FunctionType(ir.VoidType(), [operand.type for operand in operands])
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


@emitted
def meet(gate, threads):
    """Wait until so many threads have come here; gate: int64 [2], 0 at first."""
    builder = gate.builder
    arrived = builder.bitcast(gate.pointer, INDEX.as_pointer())
    turn = builder.gep(arrived, [ir.Constant(INDEX, 1)])
    before = builder.load_atomic(turn, "acquire", 8)
    mine = builder.atomic_rmw("add", arrived, ir.Constant(INDEX, 1), "acq_rel")
    last = builder.icmp_signed("==", builder.add(mine, INDEX(1)), threads.value)
    with builder.if_else(last) as (the_last, another):
        with the_last:
            builder.store_atomic(INDEX(0), arrived, "release", 8)
            builder.store_atomic(builder.add(before, INDEX(1)), turn, "release", 8)
        with another:
            wait(builder, turn, before)


def wait(builder, turn, before):
    """Look at the turn until it is another; after some looks, let others work."""
    looks = cgutils.alloca_once_value(builder, INDEX(0))
    body, done = builder.append_basic_block("look"), builder.append_basic_block("on")
    builder.branch(body)
    builder.position_at_end(body)
    seen = builder.add(builder.load(looks), INDEX(1))
    builder.store(seen, looks)
    tired = builder.icmp_signed(">", seen, INDEX(SPINS))
    with builder.if_then(tired):
        kind = ir.FunctionType(ir.IntType(32), [])
        give_way = cgutils.get_or_insert_function(builder.module, kind, "sched_yield")
        builder.call(give_way, [])
    now = builder.load_atomic(turn, "acquire", 8)
    same = builder.icmp_signed("==", now, before)
    builder.cbranch(same, body, done)
    builder.position_at_end(done)
