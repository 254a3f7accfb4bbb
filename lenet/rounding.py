"""Numbers as texts with a fixed number of decimals, by one rule for all figures."""

import math
from decimal import ROUND_HALF_UP, Decimal

FIXED = range(-4, 6)  # powers of ten between which a number is written in full
DIGITS = 12  # that a number is taken to have; beyond are the sums' rounding errors


def decimals(value: float, places: int = 2, sign: str = "") -> str:
    """The number with so many decimals, a tie away from zero; `sign` "+" signs it.

    Errors are counts of images, so that ties happen: 0.125 and 0.145 are 0.13 and 0.15,
    where Python gives 0.12, to the even digit, and 0.14, as 0.145 is stored a little
    lower. What rounds to zero has no sign.

    >>> decimals(0.145), decimals(-0.125), decimals(0.004, sign="+")
    ('0.15', '-0.13', '0.00')
    """
    if not math.isfinite(value):
        return str(value)
    exact = Decimal(f"{value:.{DIGITS}g}")
    rounded = exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return f"{rounded:{sign}f}" if rounded else f"{abs(rounded):f}"


def percent(fraction: float, places: int = 2) -> str:
    """The fraction in per cent, as `decimals` rounds it.

    >>> percent(0.01005), percent(0.25, 0)
    ('1.01%', '25%')
    """
    return f"{decimals(100 * fraction, places)}%"


def significant(value: float, digits: int = 3, sign: str = "") -> str:
    """The number with so many digits, whatever its size; `sign` "+" signs it.

    >>> significant(0.031416), significant(-412.6), significant(2.5e-7, sign="+")
    ('0.0314', '-413', '+2.50e-07')
    """
    if not math.isfinite(value) or not value:
        return f"{value:g}"
    power = math.floor(math.log10(abs(value)))
    if power not in FIXED:
        return f"{value:{sign}.{digits - 1}e}"
    return decimals(value, max(digits - 1 - power, 0), sign)
