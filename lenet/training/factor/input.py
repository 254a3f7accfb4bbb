"""What a pixel is to the network: x = scale * pixel + shift, pixel in [0, 1]."""

from collections.abc import Callable


def range_1998(mean: float, std: float) -> tuple[float, float]:
    """Background -0.1 and foreground 1.175 (paper, p. 7)."""
    return 1.275, -0.1


def standardize(mean: float, std: float) -> tuple[float, float]:
    """Mean 0 and standard deviation 1 over the pixels of the training images."""
    return 1 / std, -mean / std


def zero_one(mean: float, std: float) -> tuple[float, float]:
    """The pixel as it is."""
    return 1.0, 0.0


def hundredths(mean: float, std: float) -> tuple[float, float]:
    """A hundredth of the byte, from 0 to 2.55, as in eblearn's demo."""
    return 2.55, 0.0


LEVELS: dict[str, Callable[[float, float], tuple[float, float]]] = {
    "range_1998": range_1998,
    "standardize": standardize,
    "zero_one": zero_one,
    "hundredths": hundredths,
}
