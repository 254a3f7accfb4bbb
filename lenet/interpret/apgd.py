"""Auto-PGD on a stack of runs: the attack whose step shrinks where it no longer helps.

From a point of the ball each step leads down the slope of a loss, with momentum
(Croce and Hein, ICML 2020, algorithm 1):

    z = P(x - step * direction(gradient at x))
    x <- P(x + 3/4 (z - x) + 1/4 (x - last x))

P projects into the ball and into [0, 1]. The step begins with two radii. At checkpoints
that come ever closer it is halved where too few steps led down, or where nothing was
gained since the last checkpoint with the same step; the walk then goes on from the best
point so far. So no step has to be chosen for a radius, a network or an image.

The loss is a margin: how far the label's logit is above that of one other class; or
that margin as a share of the spread of the logits, which leads elsewhere where the
spread changes with the image, as with RBF units. The slope of both has the same
direction at any scale of the logits. A network is attacked towards each class that is
not the label, for the slope towards the nearest may lead nowhere; and towards all of
them at once, for the nearest may change on the way.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lenet.training import draws
from lenet.training.attack import NORMS, Ball, Goal, Model, as_found, column

PerImage = Float[Tensor, "*image"]
Mask = Bool[Tensor, "*image"]
Pictures = Float[Tensor, "*image 28 28"]
Points = Float[Tensor, "*image pixel"]
Logits = Float[Tensor, "*image class"]
Classes = Int64[Tensor, "..."]  # one for each image, or for those of all runs
FIRST, SOONER, LEAST = 0.22, 0.03, 0.06  # checkpoints, as shares of all steps
DOWN = 0.75  # more of the steps to a checkpoint are to lead down
MOMENTUM = 0.25
TINY = 1e-12  # where all logits are one number
LATE, RISING = 0.9, 0.05  # a walk falls if its last tenth brings a twentieth of it all


@dataclass(frozen=True)
class Past:
    """Any answer but the label, sought in the direction of one other class.

    shared: the margin is divided by the spread of the logits: the difference of logits
    ratio towards a target (Croce and Hein, ICML 2020, section 5), which is of four
    classes and more; of fewer it is the margin.
    """

    classes: Classes
    labels: Classes
    shared: bool = False

    def loss(self, name: str, logits: Logits) -> PerImage:
        """The label's logit less that of the class: below 0 the label has lost."""
        label, other = (
            logits.gather(-1, classes.expand(logits.shape[:-1])[..., None])
            for classes in (self.labels, self.classes)
        )
        margin = (label - other).squeeze(-1)
        if not self.shared or logits.shape[-1] < 4:
            return margin
        # With logits sorted downwards: (z_label - z_class) / (z_1 - (z_3 + z_4) / 2),
        # which neither a shift nor a scale of the logits changes.
        first, _, third, fourth = logits.topk(4).values.unbind(-1)
        return margin / (first - (third + fourth) / 2 + TINY)

    def reached(self, logits: Logits) -> Mask:
        """Whether the answer is not the label."""
        return logits.argmax(-1) != self.labels


@dataclass(frozen=True)
class PastAny:
    """Any answer but the label, sought in the direction of all others at once."""

    labels: Classes

    def loss(self, name: str, logits: Logits) -> PerImage:
        """The label's logit less the log of the sum of the others' exponentials: at
        most the margin, and smooth where two others are as near."""
        labels = self.labels.expand(logits.shape[:-1])[..., None]
        others = logits.scatter(-1, labels, -math.inf).logsumexp(-1)
        return logits.gather(-1, labels).squeeze(-1) - others

    def reached(self, logits: Logits) -> Mask:
        """Whether the answer is not the label."""
        return logits.argmax(-1) != self.labels


class Walk(NamedTuple):
    """Where a walk led every image.

    points: where it reached the goal, or else the point of smallest loss. loss: the
    smallest on the walk. flat: the walk began without a slope. falling: its last tenth
    brought much of what it all did.
    """

    points: Pictures
    loss: PerImage
    reached: Mask
    flat: Mask
    falling: Mask


class Place(NamedTuple):
    """Points of all images, with their losses and slopes."""

    point: Points
    loss: PerImage
    slope: Points

    def where(self, chosen: Mask, other: "Place") -> "Place":
        """These where chosen, else the others."""
        wide = chosen[..., None]
        return Place(
            torch.where(wide, self.point, other.point),
            torch.where(chosen, self.loss, other.loss),
            torch.where(wide, self.slope, other.slope),
        )


class Pace:
    """The step of every image, and what decides at a checkpoint whether it is halved:
    how many steps led down since the last one, and whether anything was gained."""

    def __init__(self, radius: Float[Tensor, "*image 1"], loss: PerImage) -> None:
        self.step = 2 * radius
        self.down = torch.zeros_like(loss)
        self.latest = self.before = loss
        self.kept = torch.zeros_like(loss, dtype=torch.bool)  # the step, unhalved

    def note(self, loss: PerImage) -> None:
        """Count a step, if it led down from where the step before ended."""
        self.down += loss < self.latest
        self.latest = loss

    def halve(self, gap: int, best: PerImage) -> Mask:
        """Halve the steps that no longer help; which they are."""
        # Condition 1 of the paper: three in four of the steps since the last checkpoint
        # should have led down. Condition 2: the step was kept there, and nothing was
        # gained with it.
        few = self.down <= DOWN * gap
        useless = self.kept & (best >= self.before)
        halved = few | useless
        self.step = torch.where(halved[..., None], self.step / 2, self.step)
        self.kept, self.before = ~halved, best
        self.down = torch.zeros_like(best)
        return halved


def checkpoints(steps: int) -> dict[int, int]:
    """After how many steps a step may be halved, each with the steps since the one
    before: first 22 % of all, then 3 % less each time, but never less than 6 %."""
    gap, at, ends = max(int(FIRST * steps), 1), 0, {}
    while at + gap <= steps:
        at += gap
        ends[at] = gap
        # p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06), in shares of all steps.
        gap = max(gap - max(int(SOONER * steps), 1), int(LEAST * steps), 1)
    return ends


def apgd(
    model: Model,
    images: Pictures,
    goal: Goal | Past | PastAny,
    *,
    epsilon: float | Tensor,
    steps: int,
    keys: Classes | None = None,
    norm: str = "linf",
) -> Walk:
    """One walk for each image, from a random point of its ball, or from itself.

    images: those of every run, [run, n, 28, 28] in [0, 1], which are not checked here;
    `robustness.accuracy_curve` and `adversarial.adversarial` check what they are given.
    goal: `attack.Targeted`, or one of `Past` and `PastAny`. epsilon: the radius of all
    balls, or of each [run, n], in units of a pixel (1 is black to white) and in the
    norm, linf or l2. steps: at most; the walk ends when every image has reached the
    goal. keys: [run, n], of the random points; None begins at the images.

    >>> from lenet.interpret.trained_network import load
    >>> image = torch.zeros(1, 1, 28, 28)
    >>> image[..., 5:23, 13:16] = 1  # a one
    >>> goal = PastAny(torch.tensor([1]))
    >>> walk = apgd(load("modern").model, image, goal, epsilon=0.4, steps=10)
    >>> walk.reached.tolist(), walk.points.shape
    ([[True]], torch.Size([1, 1, 28, 28]))
    >>> bool((walk.points - image).abs().max() <= 0.4 + 1e-6)
    True
    """
    terrain = Terrain(model, images, goal, NORMS[norm], epsilon)
    with as_found(model), torch.no_grad():
        here, reached = terrain.at(terrain.start(keys))
        flat, best, last = ~here.slope.ne(0).any(-1), here, here.point
        pace, marks = Pace(terrain.radius, here.loss), checkpoints(steps)
        points, losses = here.point, [here.loss]
        for count in range(1, steps + 1):
            if bool(reached.all()):
                break
            # The first step has none before it, and so no momentum.
            point = terrain.ahead(here, last, pace.step, MOMENTUM * (count > 1))
            last = here.point
            here, there = terrain.at(point)
            # The first point that reaches the goal is kept. The walk of that image goes
            # on all the same, as long as another image of the batch needs it.
            if bool((there & ~reached).any()):
                points = torch.where((there & ~reached)[..., None], point, points)
                reached = reached | there
            pace.note(here.loss)
            best = here.where(here.loss < best.loss, best)
            losses.append(best.loss)
            if count in marks:
                # Where the step is halved the walk goes on from the best point, whose
                # slope is known.
                here = best.where(pace.halve(marks[count], best.loss), here)
    points = torch.where(reached[..., None], points, best.point)
    return Walk(
        points=points.unflatten(-1, images.shape[-2:]),
        loss=best.loss,
        reached=reached,
        flat=flat,
        falling=still_falling(losses),
    )


class Terrain:
    """The loss over the balls of all images."""

    def __init__(
        self,
        model: Model,
        images: Pictures,
        goal: Goal | Past | PastAny,
        ball: Ball,
        epsilon: float | Tensor,
    ) -> None:
        self.model, self.goal, self.ball = model, goal, ball
        self.shape, self.given = images.shape[-2:], images.flatten(-2)
        self.radius = column(epsilon, self.given).expand(*self.given.shape[:-1], 1)

    def start(self, keys: Classes | None) -> Points:
        """A point of every ball: drawn by its key, or else the image itself."""
        if keys is None:
            return self.given
        # A key for each image and pixel: a start does not depend on the others.
        places = torch.arange(self.given.shape[-1] + 1, device=keys.device)
        drawn = self.ball.draw(draws.fold(keys[..., None], places)).to(self.given)
        return (self.given + self.radius * drawn).clamp(0, 1)

    def inside(self, point: Points) -> Points:
        """The points, brought back into their balls and into [0, 1]."""
        change = self.ball.project(point - self.given, self.radius)
        return (self.given + change).clamp_(0, 1)

    def at(self, point: Points) -> tuple[Place, Mask]:
        """What is found at the points, and whether the goal is reached there."""
        leaf = point.detach().requires_grad_()
        with torch.enable_grad():
            logits = self.model(leaf.unflatten(-1, self.shape))
            loss = self.goal.loss("margin", logits)
            # A sum: the slope of one image does not depend on the others.
            (slope,) = torch.autograd.grad(loss.sum(), leaf)
        return Place(point, loss.detach(), slope), self.goal.reached(logits.detach())

    def ahead(self, here: Place, last: Points, step: Tensor, momentum: float) -> Points:
        """The points after a step down the slope, with some of the step before."""
        point = self.inside(here.point - step * self.ball.direction(here.slope))
        if not momentum:
            return point
        # x + 3/4 (z - x) + 1/4 (x - last x), once more projected.
        drift = momentum * (here.point - last)
        return self.inside(torch.lerp(here.point, point, 1 - momentum) + drift)


def still_falling(losses: Sequence[PerImage]) -> Mask:
    """Where the end of a walk brought much of what it all did."""
    late = losses[math.floor(LATE * (len(losses) - 1))] - losses[-1]
    return late > RISING * (losses[0] - losses[-1])
