"""Which cases of a test are for every change, and which for `pytest -m slow`."""

from collections.abc import Sequence
from typing import Any

import pytest


def mostly_slow(cases: Sequence[Any], every: int) -> list[Any]:
    """Parameters of a test: every so manieth case as it is, the others marked slow."""
    return [
        case if k % every == 0 else pytest.param(case, marks=pytest.mark.slow)
        for k, case in enumerate(cases)
    ]
