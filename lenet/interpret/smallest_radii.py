"""How near an image lies to another answer: the smallest radius that turns it.

smallest_radii: of each image of each run, so that a run's median is exact; by the
attack of robustness.py, from its curve and then by bisection.
smallest_epsilon: of each image, by one walk of apgd.py towards any goal.
atlas: of each image made into each other class.
"""

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import pandas as pd
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lenet.config import Refusal
from lenet.interpret.apgd import Past, apgd
from lenet.interpret.robustness import (
    AT_ONCE,
    WHOLE,
    Curve,
    Effort,
    Indices,
    Problem,
    Radii,
    attack_all,
    checked_problem,
    problem_logits,
    told_apart,
)
from lenet.training.attack import Goal, Images, Model, PerImage, Targeted, as_found

RUNGS = 6  # balls that are tried before the bisection: all images, then half the radius
HALVINGS = 5  # of the interval of radii in which a run's median lies


def smallest_radii(
    model: Model,
    images: Any,
    labels: Any,
    keys: Indices | None,
    curve: Curve,
    effort: Effort,
    norm: str = "linf",
) -> Radii:
    """The smallest radius [run, image] that is known to turn each image, so that a
    run's median is exact to 1/32 of the interval of the curve in which it lies.

    images, labels, keys, effort, norm: those with which `accuracy_curve` gave the
    curve. Radii are in units of a pixel (1 is black to white), in the norm.
    0 for what is wrong without an attack, inf for what withstood at every radius. Where
    more than half of a run's images withstand at the curve's largest radius, the radius
    is doubled until they do not, or until the ball holds all images. A Refusal of a
    curve without a radius above 0, and of images or labels that would be misread.

    >>> from lenet.interpret.robustness import Tries, accuracy_curve
    >>> from lenet.interpret.trained_network import load
    >>> images = torch.zeros(1, 28, 28)
    >>> images[:, 5:23, 13:16] = 1  # a one
    >>> effort = Effort(images=1, tries=Tries(steps=5, restarts=1), sample=1, atlas=0)
    >>> one = (load("modern").model, images, [1], None)
    >>> curve = accuracy_curve(*one, [0, 0.5], effort)
    >>> radii = smallest_radii(*one, curve, effort)
    >>> radii.shape, bool(0 < radii[0, 0] <= 0.5)
    (torch.Size([1, 1]), True)
    """
    epsilons = sorted(curve.cells["epsilon"].unique())
    if not any(epsilons):
        raise Refusal("the curve has no radius above 0, from which radii are sought")
    with checked_problem(model, images, labels, keys) as problem:
        wrong = problem_logits(problem).argmax(-1) != problem.labels
        low = torch.zeros(wrong.shape).to(problem.images)
        high = torch.full_like(low, math.inf).masked_fill(wrong, 0)
        # From the curve, radii upwards: `high` is the first at which an image is lost,
        # `low` the last that it withstood.
        for epsilon, right in zip(epsilons, curve.right, strict=True):
            lost = ~right & high.isinf()
            high, low = high.masked_fill(lost, epsilon), low.masked_fill(right, epsilon)
        epsilon = epsilons[-1]
        while epsilon < WHOLE[norm] and bool(middle(high).isinf().any()):
            epsilon = min(2 * epsilon, WHOLE[norm])
            # Only runs whose median has no upper end yet, and of these what withstood
            # so far.
            before = high.isinf() & middle(high).isinf().any(1, keepdim=True)
            right = attack_all(problem, before, epsilon, effort.tries, norm).right
            high = high.masked_fill(before & ~right, epsilon)
            low = low.masked_fill(right, epsilon)
        for _ in range(HALVINGS):
            # The median needs no other image: bisected are those whose upper end is
            # that of the middle ones.
            central = (high[..., None] == middle(high)[:, None]).any(-1)
            before = central & high.isfinite() & (high > 0)
            radius = torch.where(before, (low + high) / 2, 0)
            right = attack_all(problem, before, radius, effort.tries, norm).right
            high = torch.where(before & ~right, radius, high)
            low = torch.where(right, radius, low)
    return high


def middle(radii: Radii) -> Float[Tensor, "run 2"]:
    """The two middle radii of each run, or its one twice: their mean is its median."""
    count = radii.shape[1]
    return radii.sort(1).values[:, [(count - 1) // 2, count // 2]]


def smallest_epsilon(
    model: Model,
    images: Images,
    goal: Goal | Past,
    *,
    steps: int,
    norm: str = "linf",
    keys: Int64[Tensor, "..."] | None = None,
    halvings: int = 5,
) -> PerImage:
    """The radius of the smallest ball in which one walk is found to reach the goal.

    0 where the image itself reaches it, inf where no walk does. A walk may fail in a
    ball where it succeeds in a smaller one: so the smallest of RUNGS that succeeds,
    WHOLE, WHOLE / 2, ..., and then bisection down to the rung below. The upper end of
    an interval of that rung / 2^(halvings + 1), of twice as much on the last rung.
    """
    with as_found(model), torch.no_grad():
        scores = model(images)
    shape = scores.shape[:-1]
    given = images.expand(*shape, *images.shape[-2:])
    starts = None if keys is None else keys.expand(shape)

    walk = partial(apgd, model, given, goal, steps=steps, keys=starts, norm=norm)

    rungs = [WHOLE[norm] / 2**rung for rung in range(RUNGS)]
    high = torch.full_like(scores[..., 0], math.inf)
    # From large to small, each success over the one before: the smallest that succeeds.
    for radius in rungs:
        high = high.masked_fill(walk(epsilon=radius).reached, radius)
    never, high = high.isinf(), high.clamp(max=WHOLE[norm])
    # The rung below, where no walk succeeded; below the last rung there is none but 0.
    low = torch.where(high == rungs[-1], 0.0, high / 2)
    for _ in range(halvings):
        between = (low + high) / 2
        reached = walk(epsilon=between).reached
        low, high = (
            torch.where(reached, low, between),
            torch.where(reached, between, high),
        )
    return high.masked_fill(never, math.inf).masked_fill(goal.reached(scores), 0)


def atlas(
    model: Model,
    images: Any,
    labels: Any,
    keys: Indices | None,
    effort: Effort,
    radius: float,
) -> pd.DataFrame:
    """Each image made into each other class, in the L-infinity norm.

    Columns: run, source, target; epsilon, the smallest radius at which one walk
    succeeds; success, whether one does at `radius` or below. A row per run, image and
    target. Takes the first `effort.atlas` images of each class.
    """
    with checked_problem(model, images, labels, keys) as problem:
        labels, count = problem.labels, told_apart(model, problem.images)
        # The place of each image among those of its class: the first few are taken.
        rank = torch.stack([(labels == label).cumsum(0) for label in range(count)])
        few = (rank.gather(0, labels[None])[0] <= effort.atlas).nonzero()[:, 0]
        sources, targets = few.repeat_interleave(count - 1), torch.arange(1, count)
        # label + 1, ..., label + count - 1, around: every class but the label.
        targets = (labels[sources] + targets.repeat(len(few))) % count
        pairs = zip(sources.split(AT_ONCE), targets.split(AT_ONCE), strict=True)
        parts = [row for pair in pairs for row in reach(problem, *pair, effort, radius)]
    return pd.concat(parts, ignore_index=True)


def reach(
    problem: Problem, part: Indices, target: Indices, effort: Effort, radius: float
) -> Iterator[pd.DataFrame]:
    """The rows of the atlas of some images, each with a target; a table per run."""
    _, images, labels, keys = problem.at(part)
    goal, steps = Targeted(target, labels), effort.tries.steps
    smallest = smallest_epsilon(
        problem.model, images, goal, steps=steps, keys=keys, halvings=4
    )
    runs = smallest.shape[0]
    at = apgd(
        problem.model,
        images.expand(runs, *images.shape),
        goal,
        epsilon=radius,
        steps=steps,
        keys=keys.expand(runs, -1),
    )
    success = at.reached | (smallest <= radius)
    about = {"source": labels, "target": target}
    for run in range(runs):
        table = {"epsilon": smallest[run], "success": success[run]}
        yield pd.DataFrame({"run": run, **about, **table})
