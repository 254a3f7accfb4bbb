"""Functions that give the same bits on every machine, as polynomials in float64.

The exponential and its kin come from a library whose last bits depend on the processor
and the version. These are made of sums, products, quotients and roots alone, each
rounded as IEEE 754 has it, and are right to about 1e-15. Tensors and arrays go in and
come out; nothing here is fast, and little is asked for: rates, first weights, how far
an image is moved.
"""

import math

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

Numbers = Float64[Tensor, "..."]
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10


def horner(x: Numbers, coefficients: tuple[float, ...]) -> Numbers:
    """The polynomial with these coefficients, the highest power first."""
    total = torch.full_like(x, coefficients[0])
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def exp(x: Tensor) -> Numbers:
    """e^x, beyond +-700 as at +-700: 2^n e^r, by the series of e^r."""
    x = x.double().clamp(-700, 700)
    n = (x * (1 / math.log(2))).round()
    r = (x - n * LN2_HIGH) - n * LN2_LOW
    series = horner(r, tuple(1 / math.factorial(k) for k in range(14, -1, -1)))
    return series * ((n.long() + 1023) << 52).view(torch.float64)


def log(x: Tensor) -> Numbers:
    """The natural logarithm of positive numbers: n log(2) + 2 artanh((m-1)/(m+1))."""
    m, n = torch.frexp(x.double())
    small = m < math.sqrt(0.5)
    m, n = torch.where(small, 2 * m, m), torch.where(small, n - 1, n).double()
    s = (m - 1) / (m + 1)
    series = horner(s * s, tuple(1 / (2 * k + 1) for k in range(12, -1, -1)))
    return n * LN2_HIGH + (n * LN2_LOW + 2 * s * series)


def cos(turns: Tensor) -> Numbers:
    """The cosine of an angle in full turns."""
    return wave(turns.double() + 0.25)


def sin(turns: Tensor) -> Numbers:
    """The sine of an angle in full turns."""
    return wave(turns.double())


def wave(turns: Numbers) -> Numbers:
    """The sine: the series within a quarter turn, to which the others are folded."""
    t = turns - turns.round()  # within half a turn
    t = torch.where(t > 0.25, 0.5 - t, torch.where(t < -0.25, -0.5 - t, t))
    x = t * (2 * math.pi)
    signs = ((-1) ** k / math.factorial(2 * k + 1) for k in range(12, -1, -1))
    return x * horner(x * x, tuple(signs))


def power(base: float, exponents: "np.ndarray") -> "np.ndarray":
    """base^n for whole n >= 0, by squaring: float64 of the shape of the exponents."""
    product, square = np.ones(exponents.shape), base
    for bit in range(int(exponents.max(initial=0)).bit_length()):
        product = np.where(exponents >> bit & 1, product * square, product)
        square = square * square
    return product
