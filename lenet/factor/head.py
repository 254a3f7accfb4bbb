"""The output layer and its loss: 1998's radial basis functions, or softmax.

Every head gives logits, the largest of which is the class: the RBF units' are minus
their distance y_i = 1/2 |x - w_i|^2, half of the paper's, as in the authors' later
code; the j of eq. 9 is measured in halves too.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Logits = Float[Tensor, "run batch class"]
Labels = Int64[Tensor, "run batch"]
Losses = Float[Tensor, "run batch"]
PerRun = Float[Tensor, "run"]

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
    """A loss per image from logits, labels and the head's number, one per run."""

    loss: Callable[[Logits, Labels, PerRun], Losses]
    number: str | None = None  # its name in conf/head
    trainable: bool = False  # a linear layer; otherwise the fixed RBF units


def bitmaps() -> Float[Tensor, "class unit"]:
    """The fixed weights of the ten RBF units, +1 for ink and -1 for background."""
    pixels = [drawing.replace(" ", "") for drawing in DRAWINGS]
    return torch.tensor([[1.0 if p == "#" else -1.0 for p in row] for row in pixels])


def correct(logits: Logits, labels: Labels) -> Losses:
    """The logit of the label."""
    return logits.gather(-1, labels[..., None]).squeeze(-1)


def distance(logits: Logits, labels: Labels, number: PerRun) -> Losses:
    """y_D, the distance to the label's bitmap (paper, eq. 8, p. 9)."""
    return -correct(logits, labels)


def posterior(logits: Logits, labels: Labels, j: PerRun) -> Losses:
    """y_D + log(e^-j + sum_i e^-y_i), over all classes (paper, eq. 9, p. 9)."""
    rubbish = (-j)[:, None, None].expand(*logits.shape[:2], 1)
    return torch.cat([logits, rubbish], -1).logsumexp(-1) - correct(logits, labels)


def cross_entropy(logits: Logits, labels: Labels, smoothing: PerRun) -> Losses:
    """Cross-entropy with the label's share 1 - s (9/10) (Szegedy et al., 2016)."""
    share = smoothing[:, None]
    target = (1 - share) * correct(logits, labels) + share * logits.mean(-1)
    return logits.logsumexp(-1) - target


LEVELS = {
    "rbf": Head(distance),
    "rbf_map": Head(posterior, number="j"),
    "softmax": Head(cross_entropy, number="smoothing", trainable=True),
}
