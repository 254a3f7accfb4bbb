"""Random numbers as a function of names: draw = f(seed, purpose, indices).

Nothing is consumed in sequence. A run's stream for a purpose is a 64-bit key; folding
an index (epoch, image, unit) into a key gives another key; a key gives a number. So a
draw does not depend on the stack, the batch or the order in which draws are made, and
two treatments with the same seed share every draw that both of them have.

The mixing function is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
"""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lenet.training import portable_functions as portable

Keys = Int64[Tensor, "..."]
GOLDEN = 0x9E3779B97F4A7C15 - 2**64  # as a signed 64-bit integer
MIX = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)


def mix(bits: Keys) -> Keys:
    """The bits, stirred so that each one depends on all of them (a bijection)."""
    bits = (bits ^ ((bits >> 30) & (2**34 - 1))) * MIX[0]
    bits = (bits ^ ((bits >> 27) & (2**37 - 1))) * MIX[1]
    return bits ^ ((bits >> 31) & (2**33 - 1))


def stream(
    seeds: Sequence[int], purpose: str, device: torch.device | str = "cpu"
) -> Int64[Tensor, "run"]:
    """One key per run, for draws of one purpose such as "order" or "init C3.weight"."""
    digest = hashlib.sha256(purpose.encode()).digest()
    name = int.from_bytes(digest[:8], "little", signed=True)
    return fold(mix(torch.tensor(seeds, dtype=torch.int64, device=device)), name)


def fold(key: Keys, index: Keys | int) -> Keys:
    """The key of one index of a stream; key and index are broadcast together."""
    if isinstance(index, int):
        index = torch.tensor(index, device=key.device)
    return mix(key + (index + 1) * GOLDEN)


def uniform(key: Keys) -> Float[Tensor, "..."]:
    """Numbers in [0, 1), multiples of 2^-24, exact in float32."""
    return ((key >> 40) & (2**24 - 1)).to(torch.float32) * 2.0**-24


def normal(key: Keys) -> Float[Tensor, "..."]:
    """Standard normal numbers (Box and Muller, 1958), the same bits everywhere."""
    radius = torch.sqrt(-2 * portable.log(1 - uniform(key)))
    return (radius * portable.cos(uniform(fold(key, 0)))).float()
