"""Adversarial images: as wrong as they can be within a ball around the given ones.

An attack has a goal (`Untargeted` or `Targeted`), a loss that is small where the goal
is reached, and a ball: L-infinity or L2, of radius epsilon, in pixels whose values lie
in [0, 1]. Projected gradient descent moves every image of every run downhill:

    x <- clip_[0, 1](x_0 + project(x - step * direction(gradient at x) - x_0))

One step from the image itself is the fast gradient sign method (Goodfellow, Shlens and
Szegedy, ICLR 2015); many are PGD (Madry et al., ICLR 2018). The model is a stack of
runs or any callable from images to logits. Random starts are drawn by key (draws.py),
so that what is found for an image does not depend on its batch.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from lenet.config import Refusal, suggest
from lenet.training import draws

Images = Float[Tensor, "..."]  # the axes `image`, [run batch] or [batch], come first
Flat = Float[Tensor, "*image pixel"]
Logits = Float[Tensor, "*image class"]
Classes = Int64[Tensor, "*image"]
PerImage = Float[Tensor, "*image"]
Model = Callable[[Tensor], Tensor]
Size = float | Float[Tensor, "..."]  # of a ball or step: for all images, or of each


def margin(logits: Logits, classes: Classes) -> PerImage:
    """The logit of a class minus the largest other: positive where it is the answer."""
    chosen = logits.gather(-1, classes[..., None]).squeeze(-1)
    return chosen - logits.scatter(-1, classes[..., None], -math.inf).amax(-1)


def log_probability(logits: Logits, classes: Classes) -> PerImage:
    """The logarithm of a class's share in the softmax: minus the cross-entropy."""
    shares = functional.log_softmax(logits, -1)
    return shares.gather(-1, classes[..., None]).squeeze(-1)


# How sure a network is of a class. The margin's gradient has the same direction at any
# scale of the logits; that of cross-entropy vanishes where they are large.
LOSSES = {"margin": margin, "cross_entropy": log_probability}


@dataclass(frozen=True)
class Untargeted:
    """Any answer but the label."""

    classes: Classes

    def loss(self, name: str, logits: Logits) -> PerImage:
        """How sure the network is of the label."""
        return LOSSES[name](logits, self.classes.expand(logits.shape[:-1]))

    def reached(self, logits: Logits) -> Bool[Tensor, "*image"]:
        """Whether the answer is not the label."""
        return logits.argmax(-1) != self.classes


@dataclass(frozen=True)
class Targeted:
    """One answer for each image, which is not its label."""

    classes: Classes
    labels: Classes

    def __post_init__(self) -> None:
        same = (self.classes == self.labels).nonzero()
        if len(same):
            label = int(self.labels[tuple(same[0])])
            raise Refusal(
                f"target {label} is the label of image {same[0].tolist()[-1]}: "
                "choose another class"
            )

    def loss(self, name: str, logits: Logits) -> PerImage:
        """How unsure the network is of the target."""
        return -LOSSES[name](logits, self.classes.expand(logits.shape[:-1]))

    def reached(self, logits: Logits) -> Bool[Tensor, "*image"]:
        """Whether the answer is the target."""
        return logits.argmax(-1) == self.classes


Goal = Untargeted | Targeted


class Ball(NamedTuple):
    """What a norm decides: steps, the nearest change in a ball, draws from one."""

    direction: Callable[[Flat], Flat]  # of size 1, along which the loss rises most
    project: Callable[[Flat, Tensor], Flat]  # to a radius, [*image 1] or one for all
    draw: Callable[[Tensor], Flat]  # uniform, radius 1, from keys [*image pixel+1]


def clipped(change: Flat, radius: Tensor) -> Flat:
    """The nearest change of which no pixel is larger than the radius."""
    return change.clamp(-radius, radius)


def shortened(change: Flat, radius: Tensor) -> Flat:
    """The nearest change whose length is not larger than the radius."""
    return change * (radius / length(change)).clamp(max=1)


def unit(gradient: Flat) -> Flat:
    """The gradient, of length 1; nothing where it vanishes."""
    return gradient * (1 / length(gradient))


def length(change: Flat) -> Float[Tensor, "*image 1"]:
    """The L2 norm, at least 1e-12."""
    return change.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def in_cube(keys: Tensor) -> Flat:
    """A uniform point of the cube [-1, 1]^n."""
    return 2 * draws.uniform(keys[..., :-1]) - 1


def in_sphere(keys: Tensor) -> Flat:
    """A uniform point of the sphere's inside: r^n is uniform, the direction normal."""
    radius = draws.uniform(keys[..., -1:]) ** (1 / (keys.shape[-1] - 1))
    return unit(draws.normal(keys[..., :-1])) * radius


NORMS = {
    "linf": Ball(torch.sign, clipped, in_cube),
    "l2": Ball(unit, shortened, in_sphere),
}
KEEP = ("best", "last")


class Adversarial(NamedTuple):
    """What an attack found for every image.

    perturbation: images minus the given ones. trace: the loss at each start and after
    each step. flat: the gradient was zero at every start.
    """

    images: Images
    perturbation: Images
    logits: Logits
    reached: Bool[Tensor, "*image"]
    trace: Float[Tensor, "restart step *image"]
    flat: Bool[Tensor, "*image"]


class Found(NamedTuple):
    """A point for every image, its logits, and the margin that is to be small."""

    point: Flat
    logits: Logits
    margin: PerImage

    def or_smaller(self, other: "Found") -> "Found":
        """Per image the one of smaller margin; this one where they tie."""
        less = other.margin < self.margin
        return Found(
            torch.where(less[..., None], other.point, self.point),
            torch.where(less[..., None], other.logits, self.logits),
            torch.where(less, other.margin, self.margin),
        )


class Attack(NamedTuple):
    """Where the images are, what is to become small, and how far a step may lead."""

    classify: Callable[[Flat], Logits]
    given: Flat
    loss: Callable[[Logits], PerImage]
    ball: Ball
    epsilon: Tensor  # [*image 1], or one for all
    step: Tensor

    def start(self, keys: Int64[Tensor, "..."]) -> Flat:
        """A random point of the ball of every image, drawn by its key; some pixels of
        it may lie outside [0, 1]."""
        places = torch.arange(self.given.shape[-1] + 1, device=keys.device)
        drawn = self.ball.draw(draws.fold(keys[..., None], places)).to(self.given)
        return self.given + self.epsilon * drawn

    def starts(self, keys: Int64[Tensor, "..."] | None, count: int) -> list[Flat]:
        """The given images; or, with keys, so many random points in [0, 1]."""
        if keys is None:
            return [self.given]
        folded = (draws.fold(keys, restart) for restart in range(count))
        return [self.start(own).clamp(0, 1) for own in folded]

    def move(self, point: Flat) -> tuple[Flat, Logits, Flat]:
        """The next point; the logits and the gradient of the loss at this one."""
        with torch.enable_grad():
            leaf = point.detach().requires_grad_()
            logits = self.classify(leaf)
            # A sum: the gradient of one image does not depend on the others.
            (gradient,) = torch.autograd.grad(self.loss(logits).sum(), leaf)
        moved = point - self.step * self.ball.direction(gradient)
        change = self.ball.project(moved - self.given, self.epsilon)
        return (self.given + change).clamp(0, 1), logits.detach(), gradient

    def path(
        self, point: Flat, steps: int
    ) -> Iterator[tuple[Flat, Logits, Flat | None]]:
        """The start and the point after each step, with logits; the last has no
        gradient."""
        for _ in range(steps):
            after, logits, gradient = self.move(point)
            yield point, logits, gradient
            point = after
        yield point, self.classify(point), None


def fgsm(
    model: Model,
    images: Images,
    goal: Goal,
    *,
    epsilon: Size,
    norm: str = "linf",
    loss: str = "margin",
    keep: str = "best",
) -> Adversarial:
    """What the fast gradient sign method finds: PGD of one step, as long as the ball's
    radius, from the images themselves.

    Arguments, result and refusals are those of `pgd`. Under `l2` the step goes along
    the gradient, not along its signs.

    >>> images, labels = torch.tensor([[0.6, 0.5]]), torch.tensor([0])
    >>> found = fgsm(lambda x: x, images, Untargeted(labels), epsilon=0.25)
    >>> found.images.tolist(), found.reached.tolist()
    ([[0.3500000238418579, 0.75]], [True])
    """
    return pgd(
        model, images, goal, epsilon=epsilon, step=epsilon, steps=1, norm=norm,
        loss=loss, keep=keep,
    )  # fmt: skip


def pgd(
    model: Model,
    images: Images,
    goal: Goal,
    *,
    epsilon: Size,
    step: Size,
    steps: int,
    norm: str = "linf",
    loss: str = "margin",
    keys: Int64[Tensor, "..."] | None = None,
    restarts: int = 1,
    keep: str = "best",
) -> Adversarial:
    """The adversarial images of every run, by projected gradient descent.

    model: a stack, or any function from images to logits [*image, class]; a module is
    in evaluation mode meanwhile. images: pixels in [0, 1], of a stack [batch, 28, 28]
    for all runs or [run, batch, 28, 28]; the first axes are those of the goal's
    classes. epsilon, step: the ball's radius and how far a step leads, in units of a
    pixel, where 1 is from black to white: the largest change of a pixel under `linf`,
    the length of all changes together under `l2`; one for all images, or a tensor with
    one for each. loss: `margin` or `cross_entropy`. keys: one per image, the same for
    all runs or not, for `restarts` random starts; without them the start is the image.
    keep: `best`, per image the point of smallest margin on all paths, the image itself
    among them; `last`, the last point, that of smallest margin over the restarts.

    Images come back for every run: of a stack [run, batch, 28, 28]. A Refusal of pixels
    beyond [0, 1], of numbers out of range, of classes that are unknown to the network
    or not one per image, and of unknown words.

    >>> images, labels = torch.tensor([[0.6, 0.5]]), torch.tensor([0])
    >>> sizes = {"epsilon": 0.25, "step": 0.125, "steps": 3}
    >>> found = pgd(lambda x: x, images, Untargeted(labels), **sizes)
    >>> found.images.tolist(), found.reached.tolist(), found.trace.shape
    ([[0.3500000238418579, 0.75]], [True], torch.Size([1, 4, 1]))
    """
    refuse_unusable(images, goal, keys, norm, loss, keep)
    check_numbers(epsilon, step, norm, steps, restarts, keys is not None)
    shape = images.shape[goal.classes.ndim :]
    with as_found(model), torch.no_grad():
        logits = model(images)
        check_classes(goal.classes, logits.shape[-1])
        given = images.expand(*logits.shape[:-1], *shape).flatten(-len(shape))
        attack = Attack(
            classify=lambda flat: model(flat.unflatten(-1, shape)),
            given=given,
            loss=partial(goal.loss, loss),
            ball=NORMS[norm],
            epsilon=column(epsilon, given),
            step=column(step, given),
        )
        starts = attack.starts(keys, restarts)
        clean = Found(given, logits, goal.loss("margin", logits))
        best, trace, flat = follow_paths(attack, goal, clean, starts, steps, keep)
    return Adversarial(
        images=best.point.unflatten(-1, shape),
        perturbation=(best.point - given).unflatten(-1, shape),
        logits=best.logits,
        reached=goal.reached(best.logits),
        trace=trace,
        flat=flat,
    )


def follow_paths(
    attack: Attack, goal: Goal, clean: Found, starts: list[Flat], steps: int, keep: str
) -> tuple[Found, Tensor, Tensor]:
    """What the paths from all starts find, the losses along them, and where no start
    has a gradient."""
    best, trace = clean, []
    if keep == "last":
        best = clean._replace(margin=torch.full_like(clean.margin, math.inf))
    flat = torch.ones_like(clean.margin, dtype=torch.bool)
    for start in starts:
        for count, (point, logits, gradient) in enumerate(attack.path(start, steps)):
            trace.append(attack.loss(logits))
            if gradient is not None and count == 0:
                flat = flat & ~gradient.ne(0).any(-1)
            if keep == "best" or count == steps:
                margins = goal.loss("margin", logits)
                best = best.or_smaller(Found(point, logits, margins))
    return best, torch.stack(trace).unflatten(0, (len(starts), -1)), flat


def column(size: Size, images: Tensor) -> Tensor:
    """A size of each image, or of all, to be multiplied with its pixels."""
    return torch.as_tensor(size, dtype=images.dtype, device=images.device)[..., None]


@contextlib.contextmanager
def as_found(model: Model) -> Iterator[None]:
    """The model evaluates in here, and is left in the mode in which it was found."""
    parts = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [part.training for part in parts]
    try:
        for part in parts:
            part.training = False
        yield
    finally:
        for part, mode in zip(parts, modes, strict=True):
            part.training = mode


def refuse_unusable(
    images: Images,
    goal: Goal,
    keys: Int64[Tensor, "..."] | None,
    norm: str,
    loss: str,
    keep: str,
) -> None:
    """Refuse images out of range, classes or keys of others, and unknown words."""
    if not images.numel():
        raise Refusal("there are no images to attack")
    if goal.classes.is_floating_point():
        raise Refusal(f"classes are {goal.classes.dtype}: give whole numbers, .long()")
    low, high = images.min().item(), images.max().item()
    if not 0 <= low <= high <= 1:
        raise Refusal(
            f"images lie in [{low:g}, {high:g}]: give pixels in [0, 1], image / 255"
        )
    if images.shape[: goal.classes.ndim] != goal.classes.shape:
        raise Refusal(
            f"classes {list(goal.classes.shape)} do not fit images "
            f"{list(images.shape)}: one class per image"
        )
    if keys is not None and keys.shape[-1] != goal.classes.shape[-1]:
        raise Refusal(f"{keys.shape[-1]} keys for {goal.classes.shape[-1]} images")
    for name, word, known in (
        *(("norm", norm, tuple(NORMS)), ("loss", loss, tuple(LOSSES))),
        ("keep", keep, KEEP),
    ):
        if word not in known:
            raise Refusal(suggest(word, known, name, "choices"))


def check_numbers(
    epsilon: Size, step: Size, norm: str, steps: int, restarts: int, keyed: bool
) -> None:
    """Refuse radii outside their range, and steps that lead nowhere."""
    radius, stride = torch.as_tensor(epsilon), torch.as_tensor(step)
    fits = (radius >= 0) & (radius <= 1) if norm == "linf" else radius > 0
    if not bool((fits & radius.isfinite()).all()):
        allowed = "from 0 to 1" if norm == "linf" else "above 0, and finite"
        raise Refusal(f"epsilon={epsilon} is out of range: for {norm} it is {allowed}")
    walk = bool(((stride >= 0) & stride.isfinite()).all())
    if not (walk and steps >= 1 and steps == int(steps)):
        raise Refusal(
            f"step={step} steps={steps}: a step is positive and finite, steps are at "
            "least 1"
        )
    if restarts < 1 or (restarts > 1 and not keyed):
        raise Refusal(
            f"restarts={restarts}: at least 1, and more only with keys, for random "
            "starts"
        )


def check_classes(classes: Classes, count: int) -> None:
    """Refuse a class that the network does not know."""
    unknown = classes[(classes < 0) | (classes >= count)]
    if len(unknown):
        raise Refusal(
            f"class {int(unknown[0])} is unknown: the network's are 0 to {count - 1}"
        )
