"""The output layer and its loss: 1998's radial basis functions, or softmax.

Every head gives logits, the largest of which is the class: the RBF units' are minus
their distance y_i = 1/2 |x - w_i|^2, half of the paper's, as in the authors' later
code; the j of eq. 9 is measured in halves too. A level's formula is written in what
torch's tensors and the values of the compiled loops share (see activation.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Logits = Float[Tensor, "run batch class"]
Labels = Int64[Tensor, "run batch"]
Losses = Float[Tensor, "run batch"]
PerRun = Float[Tensor, "run"]
Number = Any  # a tensor, or a `Value` of lenet/training/loops/llvm.py
Loss = tuple[Number, list[Number]]

# The 7x12 drawings of Fig. 3, p. 8, row by row; '#' is +1.
DRAWINGS = (
    ".#####. ....... ..###.. .##.##. ##...## ##...## "
    "##...## ##...## .##.##. ..###.. ....... .......",
    "...##.. ..###.. .####.. ...##.. ...##.. ...##.. "
    "...##.. ...##.. ...##.. .###### ....... .......",
    ".#####. ....... .#####. ##...## #....## ....##. "
    "..###.. .##.... ##..... ####### ....... .......",
    "####### .....## ....##. ...##.. ..####. .....## "
    ".....## .....## ##...## .#####. ....... .......",
    ".#####. ....... ....... .##..## .##..## ###..## "
    "##...## ##...## ##..### .###### .....## .....##",
    ".#####. ....... ####### ##..... ##..... .####.. "
    "..####. .....## ##...## .#####. ....... .......",
    "..####. .##.... ##..... ##..... ######. ###..## "
    "##...## ##...## ###..## .#####. ....... .......",
    "####### .....## .....## ....##. ...##.. ...##.. "
    "..##... ..##... ..##... ..##... ....... .......",
    ".#####. ##...## ##...## ##...## .#####. ##...## "
    "##...## ##...## ##...## .#####. ....... .......",
    ".#####. ##..### ##...## ##...## ##..### .###### "
    ".....## .....## ....##. .####.. ....... .......",
)


@dataclass(frozen=True)
class Head:
    """A loss, from the logit of each class, whether each is the label's (1 or 0) and
    the head's number: the loss and its derivative by each logit."""

    formula: Callable[[list[Number], list[Number], Number], Loss]
    number: str | None = None  # its name in conf/head
    trainable: bool = False  # a linear layer; otherwise the fixed RBF units
    codes: Callable[[], Float[Tensor, "class unit"]] = lambda: bitmaps()  # of RBF units
    squash: str | None = "scaled_tanh"  # of F6; None: the activation

    def loss(self, logits: Logits, labels: Labels, number: PerRun) -> Losses:
        """The loss per image."""
        return self.mixed_loss(logits, as_targets(labels, logits), number)

    def mixed_loss(self, logits: Logits, targets: Logits, number: PerRun) -> Losses:
        """The loss per image, from how much each class is the label's."""
        scores, shares = list(logits.unbind(-1)), list(targets.to(logits).unbind(-1))
        return self.formula(scores, shares, number.to(logits)[:, None])[0]


def as_targets(labels: Labels, logits: Logits) -> Logits:
    """1 for each image's label, 0 for the other classes."""
    classes = torch.arange(logits.shape[-1], device=logits.device)
    return (labels[..., None] == classes).to(logits)


def bitmaps() -> Float[Tensor, "class unit"]:
    """The fixed weights of the ten RBF units, +1 for ink and -1 for background."""
    pixels = [drawing.replace(" ", "") for drawing in DRAWINGS]
    return torch.tensor(
        [[1.0 if pixel == "#" else -1.0 for pixel in row] for row in pixels]
    )


def targets() -> Float[Tensor, "class unit"]:
    """Ten units of F6, each +1 for its own class and -1 for the others; the other 74
    have no target, 0, and are out of use."""
    return torch.cat([2 * torch.eye(10) - 1, torch.zeros(10, 74)], 1)


def distance(scores: list[Number], targets: list[Number], number: Number) -> Loss:
    """y_D, the distance to the label's bitmap (paper, eq. 8, p. 9)."""
    return -weighted(targets, scores), [-target for target in targets]


def posterior(scores: list[Number], targets: list[Number], j: Number) -> Loss:
    """y_D + log(e^-j + sum_i e^-y_i), over all classes (paper, eq. 9, p. 9)."""
    partition = log_sum_exp([*scores, j * -1.0 + scores[0] * 0.0])
    shares = [(score - partition).exp() for score in scores]
    pulls = [share - target for share, target in zip(shares, targets, strict=True)]
    return partition - weighted(targets, scores), pulls


def cross_entropy(
    scores: list[Number], targets: list[Number], smoothing: Number
) -> Loss:
    """Cross-entropy with the label's share 1 - s (9/10) (Szegedy et al., 2016)."""
    partition, least = log_sum_exp(scores), smoothing * (1 / len(scores))
    goals = [target * (1 - smoothing) + least for target in targets]
    shares = [(score - partition).exp() for score in scores]
    pulls = [share - goal for share, goal in zip(shares, goals, strict=True)]
    return partition - weighted(goals, scores), pulls


def log_sum_exp(scores: list[Number]) -> Number:
    """log sum_i e^score_i."""
    top = reduce(lambda most, score: most.maximum(score), scores)
    return top + sum_of([(score - top).exp() for score in scores]).log()


def weighted(weights: list[Number], scores: list[Number]) -> Number:
    """The sum of the scores, each times its weight."""
    return sum_of(
        [weight * score for weight, score in zip(weights, scores, strict=True)]
    )


def sum_of(numbers: list[Number]) -> Number:
    """Their sum, from the first to the last."""
    return reduce(lambda total, number: total + number, numbers)


LEVELS = {
    "rbf": Head(distance),
    "rbf_map": Head(posterior, number="j"),
    "softmax": Head(cross_entropy, number="smoothing", trainable=True, squash=None),
    # Eq. 8 with these codes is half the squared error of ten outputs.
    "ten_units": Head(distance, codes=targets, squash=None),
}
