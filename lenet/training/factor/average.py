"""Which weights a run is tested with: those of its last step, or an average.

A level says by which share weights enter the average, at the k-th time of a pass (from
1): average <- (1 - share) average + share weights. Training goes on from the weights.
"""

from collections.abc import Callable


def of_pass(k: int) -> float:
    """1 / k: the mean over the times of a pass."""
    return 1 / k


LEVELS: dict[str, Callable[[int], float] | None] = {
    "none": None,  # the weights as they are
    "pass": of_pass,
}
