"""Adversarial training: a step is taken on images that the run finds harder.

Each image of each run is moved within an L-infinity ball to where the run's own loss
is larger, from a start drawn by (seed, epoch, image); meanwhile the network stays as it
is, in evaluation mode. Numbers are in units of a pixel, whose values lie in [0, 1].
"""

from collections.abc import Callable

from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lenet.training.attack import NORMS, Attack, Flat, Model, Untargeted, as_found, pgd

Pixels = Float[Tensor, "run batch 28 28"]
Keys = Int64[Tensor, "run batch"]
PerRun = Float[Tensor, "run"]
Losses = Callable[[Tensor], Float[Tensor, "run batch"]]  # from logits


def none(attack: Attack, keys: Keys, steps: int) -> Flat:
    """The images as they are."""
    return attack.given


def multi_step(attack: Attack, keys: Keys, steps: int) -> Flat:
    """Some steps from a random start (Madry et al., ICLR 2018)."""
    point = attack.start(keys)
    for _ in range(steps):
        point = attack.move(point)[0]
    return point


def one_step(attack: Attack, keys: Keys, steps: int) -> Flat:
    """One step from a random start (Wong, Rice and Kolter, ICLR 2020)."""
    return multi_step(attack, keys, 1)


LEVELS: dict[str, Callable[[Attack, Keys, int], Flat]] = {
    "none": none,
    "fgsm": one_step,
    "pgd": multi_step,
}


# How many steps a level makes of those that its file has.
STEPS: dict[str, Callable[[int], int]] = {
    "none": lambda steps: 0,
    "fgsm": lambda steps: 1,
    "pgd": lambda steps: steps,
}


def adversarial_images(
    level: str,
    model: Model,
    pixels: Pixels,
    losses: Losses,
    keys: Keys,
    sizes: tuple[PerRun, PerRun],
    steps: int,
) -> Pixels:
    """The images that each run is to learn from; sizes: epsilon and step of each."""
    attack = Attack(
        classify=lambda flat: model(flat.view_as(pixels)),
        given=pixels.flatten(2),
        loss=lambda logits: -losses(logits),
        ball=NORMS["linf"],
        epsilon=sizes[0].view(-1, 1, 1),
        step=sizes[1].view(-1, 1, 1),
    )
    with as_found(model):
        return LEVELS[level](attack, keys, steps).view_as(pixels)


def right_under_attack(
    model: Model,
    pixels: Float[Tensor, "batch 28 28"],
    labels: Int64[Tensor, "batch"],
    keys: Keys,
    epsilon: PerRun,
) -> Bool[Tensor, "run batch"]:
    """Which images each run still classifies correctly under PGD: ten steps of a
    quarter of epsilon on the margin."""
    radius = epsilon[:, None]
    return ~pgd(
        model, pixels, Untargeted(labels), epsilon=radius, step=radius / 4, steps=10,
        keys=keys,
    ).reached  # fmt: skip
