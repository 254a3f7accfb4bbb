"""What a run learns from beside the labels: nothing, or the answers of trained runs.

A level says what becomes of a head's loss E and its derivatives. It is a factor of its
own: every head has scores that a softmax can be taken of. A distorted or mixed image
has the labels of the images that it is made of. Teachers are asked of these as they
are, all of them and once; or, where they are `CONSISTENT`, of the image as it is
presented, each time the next one. An adversary starts from that image, and raises the
whole loss; sdlm's
curvature is that of the head's own. As head.py's formulas it is written in what torch's
tensors and the compiled loops' values share.
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lenet.training import portable_functions as portable
from lenet.training.factor.head import Loss, log_sum_exp, sum_of, weighted

Number = Any  # a tensor, or a `Value` of lenet/training/loops/llvm.py
Level = Callable[[Loss, list[Number], list[Number], Number, Number], Loss]
Shares = Float[Tensor, "run image class"]
LEAST = 1e-30  # in a logarithm, where a share is 0


def distilled(
    own: Loss, scores: list[Number], shares: list[Number], heat: Number, weight: Number
) -> Loss:
    """(1 - w) E + w T^2 KL(p | q), q the softmax of scores / T and p the shares of the
    teachers (Hinton, Vinyals and Dean, 2015, sec. 2).

    Its derivatives are (1 - w) dE + w T (q - p).
    """
    cold = [score / heat for score in scores]
    partition = log_sum_exp(cold)
    logs = [score - partition for score in cold]
    known = weighted(shares, [share.clamp(LEAST, 1.0).log() for share in shares])
    apart = (known - weighted(shares, logs)) * (heat * heat)
    others = [
        (log.exp() - share) * heat for log, share in zip(logs, shares, strict=True)
    ]
    rest, (loss, pulls) = 1 - weight, own
    pulls = [
        pull * rest + other * weight for pull, other in zip(pulls, others, strict=True)
    ]
    return loss * rest + apart * weight, pulls


def softened(
    scores: Float[Tensor, "teacher #run image class"], heat: Float[Tensor, "run"]
) -> Shares:
    """The mean over the teachers of the softmax of their scores / T, T each run's."""
    means = []
    each = scores.expand(-1, len(heat), -1, -1).unbind(1)
    for own, temperature in zip(each, heat.tolist(), strict=True):
        cold = own.double() / temperature
        powers = portable.exp(cold - cold.amax(-1, keepdim=True))
        whole = sum_of(list(powers.unbind(-1)))  # one after the other: one order
        means.append(sum_of(list((powers / whole[..., None]).unbind(0))) / len(scores))
    return torch.stack(means).float()


LEVELS: dict[str, Level | None] = {
    "none": None,  # the labels alone
    "runs": distilled,
    "consistent": distilled,
}
CONSISTENT = ("consistent",)
