"""One attack on some images of a trained network, from Python.

found = adversarial(net.model, images, labels, epsilon=8 / 255)
found.images, found.reached        [run, n, 28, 28], and whether the answer is another
"""

from typing import Any

from lenet.config import Refusal, suggest
from lenet.interpret.images import PACE, checked_labels
from lenet.interpret.robustness import Indices, checked_problem, told_apart
from lenet.training.attack import (
    Adversarial,
    Goal,
    Model,
    Targeted,
    Untargeted,
    fgsm,
    pgd,
)

ATTACKS = ("fgsm", "pgd")
MOST = 10_000  # steps


def adversarial(
    model: Model,
    images: Any,
    labels: Any,
    *,
    epsilon: float,
    attack: str = "pgd",
    target: Any = None,
    norm: str = "linf",
    loss: str = "margin",
    steps: int = 40,
    keys: Indices | None = None,
) -> Adversarial:
    """The images that FGSM or PGD makes of these, for every run of a stack.

    images, labels, target: as `images.checked_images` and `images.checked_labels` take
    them; what would be misread is a Refusal. target: the class to be reached, one for
    all or one for each image; without it any answer but the label. epsilon: the radius,
    in units of a pixel (1 is black to white), of a ball of `norm`, linf or l2. steps:
    of PGD, each of 2.5 radii / steps, from a random point of the ball, drawn by `keys`.

    >>> import torch
    >>> from lenet.interpret.trained_network import load
    >>> model = load("modern").model
    >>> images = torch.zeros(1, 28, 28)
    >>> images[:, 5:23, 13:16] = 1  # a one
    >>> found = adversarial(model, images, 1, epsilon=0.3)
    >>> found.images.shape, found.reached.tolist()
    (torch.Size([1, 1, 28, 28]), [[True]])
    >>> round(float((found.images[0] - images).abs().max()), 4)
    0.3
    """
    if attack not in ATTACKS:
        raise Refusal(suggest(attack, ATTACKS, "attack", "attacks"))
    if not 1 <= steps <= MOST:
        raise Refusal(f"steps={steps} is out of range: it is 1 to {MOST:,}")
    with checked_problem(model, images, labels, keys) as problem:
        goal: Goal = Untargeted(problem.labels)
        if target is not None:
            count = told_apart(model, problem.images)
            classes = checked_labels(target, problem.images, count, "targets")
            goal = Targeted(classes.clone(), problem.labels)
        if attack == "fgsm":
            return fgsm(
                model, problem.images, goal, epsilon=epsilon, norm=norm, loss=loss
            )
        return pgd(
            model,
            problem.images,
            goal,
            epsilon=epsilon,
            step=PACE * epsilon / steps,
            steps=steps,
            norm=norm,
            loss=loss,
            keys=problem.keys,
        )
