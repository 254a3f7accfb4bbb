"""Which cases of a test are for every change, and which for `pytest -m slow`."""

from collections.abc import Sequence
from typing import Any

import pytest


def mostly_slow(cases: Sequence[Any], every: int, several: bool = False) -> list[Any]:
    """Parameters of a test: of so many cases the first as it is, the others slow.

    several: a case is the values of several parameters, not a value of one.
    """
    marked = []
    for k, case in enumerate(cases):
        values = case if several else (case,)
        marks = pytest.mark.slow if k % every else ()
        marked.append(pytest.param(*values, marks=marks))
    return marked
