"""Functions with the same bits everywhere are right, too."""

import math

import numpy as np
import pytest
import torch

from lenet.training import portable_functions as portable

POINTS = torch.linspace(-30, 30, 20011, dtype=torch.float64)
TURNS = torch.linspace(-3, 3, 20011, dtype=torch.float64)


def test_exponential_is_right_to_the_last_places() -> None:
    """1e-15 of libm's, relative, over 26 decades; and at the ends of the range."""
    torch.testing.assert_close(portable.exp(POINTS), POINTS.exp(), rtol=2e-15, atol=0)
    ends = portable.exp(torch.tensor([-1e9, 0.0, 1e9]))
    assert ends[1] == 1 and 0 < ends[0] < 1e-300 and math.isfinite(ends[2])


def test_logarithm_is_right_to_the_last_places() -> None:
    """1e-15 of libm's, relative, also near 1."""
    for values in (POINTS.exp(), 1 + POINTS.abs() * 1e-6 + 1e-9):
        torch.testing.assert_close(
            portable.log(values), values.log(), rtol=2e-15, atol=0
        )
    assert portable.log(torch.tensor([1.0])).item() == 0


def test_sine_and_cosine_are_right_to_the_last_places() -> None:
    """2e-15 of libm's over six turns; quarters of a turn are exact."""
    angles = 2 * math.pi * TURNS
    torch.testing.assert_close(portable.sin(TURNS), angles.sin(), rtol=0, atol=4e-15)
    torch.testing.assert_close(portable.cos(TURNS), angles.cos(), rtol=0, atol=4e-15)
    quarters = torch.tensor([0, 0.25, 0.5, 0.75, 1])
    assert portable.sin(quarters).abs().tolist() == [0, 1, 0, 1, 0]
    assert portable.cos(quarters)[[0, 2, 4]].tolist() == [1, -1, 1]


@pytest.mark.parametrize("base", [0.9, 0.999, 1.0, 0.0])
def test_power_is_right(base: float) -> None:
    """As Python's, to 1e-12 after a hundred thousand steps; 0 to the 0 is 1."""
    exponents = np.array([0, 1, 2, 3, 10, 1023, 1024, 99_999])
    expected = [base**n for n in exponents.tolist()]
    np.testing.assert_allclose(portable.power(base, exponents), expected, rtol=1e-11)
