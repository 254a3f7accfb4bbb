"""A small language for programs over vectors of LANES numbers, one for each run.

A function over `Value` and `Memory` is `emitted`: it runs once, while numba compiles,
and writes the LLVM instructions that it spells. Python's loops are unrolled; `loop`
is a loop of the program. No bounds are checked.
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-untyped-decorators
# Emitted and compiled functions take what numba hands them; numba has no types.

import hashlib
import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import config, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

HERE = Path(__file__).parent
settings: Any = config  # numba gives it its attributes as it is imported
PROGRAM = ("vector.py", "kernel.py", "lane.py")
LANES = 8  # as fast as 16 on AVX-512, and half as many runs fill two cores
VECTOR = ir.VectorType(ir.FloatType(), LANES)
INTEGERS = ir.VectorType(ir.IntType(32), LANES)
INDEX = ir.IntType(64)


def compiled(function):
    """`function` compiled by numba once, for calls that hold no interpreter lock.

    numba's cache looks for changes in the file of a function alone, so that every
    version of the whole program has a cache of its own.
    """
    version = b"".join((HERE / name).read_bytes() for name in PROGRAM)
    before, name = settings.CACHE_DIR, hashlib.sha256(version).hexdigest()[:16]
    settings.CACHE_DIR = str(HERE / "__pycache__" / name)
    try:
        return njit(cache=True, nogil=True)(function)
    finally:
        settings.CACHE_DIR = before


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
