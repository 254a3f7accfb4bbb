"""How robust trained runs are: accuracy under attack, and whether to believe it.

An attack that fails has met a robust network or a broken gradient. Each accuracy comes
with indicators (after Pintor et al., NeurIPS 2022) that tell the two apart. The runs of
a stack are attacked in one call, with the same images and the same random starts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lenet.config import Refusal
from lenet.training import draws
from lenet.training.attack import (
    NORMS,
    Adversarial,
    Goal,
    Images,
    Model,
    PerImage,
    Size,
    Targeted,
    Untargeted,
    as_found,
    pgd,
)

Batch = Float[Tensor, "image 28 28"]
PerRun = Bool[Tensor, "run image"]
Indices = Int64[Tensor, "image"]
PACE = 2.5  # radii that the steps of a path add up to (Madry et al., 2018)
LONGER = 2.5  # times as many steps, of the same size, where a path still falls
AT_ONCE = 250  # images: memory
FLIPPED = 200  # images whose smallest radius is sought, of those that are attacked
RUNGS = 6  # balls that are tried before the bisection: all images, then half the radius
QUERIES = 20  # random points of the ball's surface that the black-box check tries
BLACK_BOX = 2**32  # where their draws begin; restarts count from 0
LATE, RISING = 0.9, 0.05  # a path falls if its last tenth brings a twentieth of it all
WHOLE = {"linf": 1.0, "l2": 28.0}  # radii of balls around [0, 1]^784
LIMITS = {"flat": 0.01, "falling": 0.05, "unbounded": 0.0, "black_box": 0.0}


@dataclass(frozen=True)
class Effort:
    """How hard an attack tries; every loss starts from the same points."""

    images: int
    steps: int
    restarts: int
    losses: tuple[str, ...]
    targets: int  # images of each class in the atlas
    auto_attack: bool = False


BOTH = ("margin", "cross_entropy")
EFFORTS = {
    "smoke": Effort(100, 10, 1, ("margin",), 1),
    "standard": Effort(1000, 40, 1, BOTH, 5),
    "full": Effort(10_000, 100, 5, BOTH, 50, auto_attack=True),
}


class Curve(NamedTuple):
    """Accuracy under attack and what speaks against it.

    cells: run, epsilon, accuracy and the indicators, each up above its LIMITS. flat:
    share of images without a gradient; falling: share that withstands on paths that
    still fall; unbounded: share that withstands in a ball of all images; black_box:
    share that random points and images made for another run flip, less that of the
    attack.
    right: which images withstand.
    """

    cells: pd.DataFrame
    right: Bool[Tensor, "epsilon run image"]


class Hits(NamedTuple):
    """What one attack did to each image of each run."""

    reached: PerRun
    flat: PerRun
    falling: PerRun
    black_box: PerRun


def chosen(count: int, of: int) -> Indices:
    """Which images are attacked: the same random ones in every study.

    The first 5,000 test images of MNIST are harder than the rest: networks of the
    modern preset err on 0.91 and 0.32 % of the two halves (outputs/modern, n = 20).
    """
    if not 1 <= count <= of:
        raise Refusal(f"images={count} is out of range: there are {of:,}")
    order = draws.fold(draws.stream([0], "attacked"), torch.arange(of)).argsort()
    return order[:count].sort().values


def starts(indices: Indices) -> Indices:
    """The key of each image's random starts, whatever is attacked beside it."""
    return draws.fold(draws.stream([0], "attack"), indices)


def curve(
    model: Model,
    images: Batch,
    labels: Indices,
    keys: Indices,
    epsilons: Sequence[float],
    effort: Effort,
    norm: str = "linf",
) -> Curve:
    """Accuracy over epsilon for every run; epsilon 0 is no attack.

    An image that is lost at one radius is lost at all larger ones, whose balls hold
    what was found; so only images that some run still gets right are attacked.
    """

    def attacked(right: PerRun, epsilon: float) -> tuple[PerRun, pd.DataFrame]:
        return assault(model, images, labels, keys, right, epsilon, effort, norm)

    with as_found(model), torch.no_grad():
        parts = [model(part) for part in images.split(AT_ONCE)]
        right = torch.cat(parts, 1).argmax(-1) == labels
    beyond = attacked(right, WHOLE[norm])[0].double().mean(1)
    tables, kept = [], []
    for epsilon in sorted(epsilons):
        cells = pd.DataFrame(dict.fromkeys(LIMITS, 0.0), range(len(right)))
        if epsilon > 0:
            right, cells = attacked(right, epsilon)
            cells = cells.assign(unbounded=beyond.tolist())
        about = {"epsilon": epsilon, "accuracy": right.double().mean(1).tolist()}
        tables.append(cells.assign(**about, run=cells.index))
        kept.append(right)
    columns = ["run", "epsilon", "accuracy", *LIMITS]
    return Curve(pd.concat(tables, ignore_index=True)[columns], torch.stack(kept))


def assault(
    model: Model,
    images: Batch,
    labels: Indices,
    keys: Indices,
    before: PerRun,
    epsilon: float,
    effort: Effort,
    norm: str,
) -> tuple[PerRun, pd.DataFrame]:
    """Which images withstand every loss at this radius, and the indicators per run."""
    right, falling = before.clone(), torch.zeros_like(before)
    black_box, flat = torch.zeros_like(before), before.clone()
    for part in parts(before):
        some = images[part], labels[part], keys[part]
        black_box[:, part] = by_chance(model, *some, epsilon, norm)
    for loss in effort.losses:
        for part in parts(right):
            hits = attack(
                model,
                images[part],
                labels[part],
                keys[part],
                epsilon,
                effort,
                norm,
                loss,
            )
            right[:, part] &= ~hits.reached
            flat[:, part] &= hits.flat
            falling[:, part] |= hits.falling
            black_box[:, part] |= hits.black_box
    lost = (before & ~right).double().mean(1)
    found = {
        "flat": flat.double().mean(1),
        "falling": (falling & right).double().mean(1),
        "black_box": (before & black_box).double().mean(1) - lost,
    }
    return right, pd.DataFrame({name: share.tolist() for name, share in found.items()})


def parts(right: PerRun) -> Sequence[Int64[Tensor, "some"]]:
    """The images that some run still gets right, in batches."""
    left = right.any(0).nonzero()[:, 0]
    return left.split(AT_ONCE) if len(left) else ()


def attack(
    model: Model,
    images: Batch,
    labels: Indices,
    keys: Indices,
    epsilon: float,
    effort: Effort,
    norm: str,
    loss: str,
) -> Hits:
    """PGD on one batch, longer where a path still falls, and as a black-box check the
    images made for the run before it in the stack (for a lone run, its own)."""

    def walk(part: Indices | slice, steps: int) -> Adversarial:
        return pgd(
            model,
            images[part],
            Untargeted(labels[part]),
            epsilon=epsilon,
            step=PACE * epsilon / effort.steps,
            steps=steps,
            norm=norm,
            loss=loss,
            keys=keys[part],
            restarts=effort.restarts,
        )

    found = walk(slice(None), effort.steps)
    reached, falling = found.reached, still_falling(found, loss)
    part = (falling & ~reached).any(0).nonzero()[:, 0]
    if len(part):
        on = walk(part, math.ceil(LONGER * effort.steps))
        reached[:, part] |= on.reached
        falling[:, part] = still_falling(on, loss)
    with as_found(model), torch.no_grad():
        other = model(found.images.roll(1, 0)).argmax(-1) != labels
    return Hits(reached, found.flat, falling, other)


def by_chance(
    model: Model,
    images: Batch,
    labels: Indices,
    keys: Indices,
    epsilon: float,
    norm: str,
) -> PerRun:
    """Which images some random point of the surface of their balls turns."""
    turned = []
    with as_found(model), torch.no_grad():
        for query in range(QUERIES):
            moved = at_random(
                images, draws.fold(keys, BLACK_BOX + query), epsilon, norm
            )
            turned.append(model(moved).argmax(-1) != labels)
    return torch.stack(turned).any(0)


def at_random(images: Batch, keys: Indices, epsilon: float, norm: str) -> Batch:
    """A random point of the surface of each image's ball, drawn by its key."""
    ball = NORMS[norm]
    drawn = ball.draw(draws.fold(keys[:, None], torch.arange(785)))
    return (images + epsilon * ball.direction(drawn).view_as(images)).clamp(0, 1)


def still_falling(found: Adversarial, loss: str) -> Bool[Tensor, "*image"]:
    """Where the end of some path away from the labels brought much of what it all did.

    In logits: a path that has all but settled there still multiplies 1 - p, and the
    cross-entropy of a certain answer with it.
    """
    trace = found.trace if loss == "margin" else log_odds(found.trace)
    best = trace.cummin(1).values
    late = best[:, math.floor(LATE * (best.shape[1] - 1))] - best[:, -1]
    return (late > RISING * (best[:, 0] - best[:, -1])).any(0)


def log_odds(log_probability: Tensor) -> Tensor:
    """log p / (1 - p): a class's logit less the log-sum-exp of the others."""
    below = log_probability.clamp(max=-torch.finfo(log_probability.dtype).eps)
    return below - (-below.expm1()).log()


def smallest_epsilon(
    model: Model,
    images: Images,
    goal: Goal,
    *,
    steps: int,
    norm: str = "linf",
    keys: Int64[Tensor, "..."] | None = None,
    halvings: int = 5,
) -> PerImage:
    """The radius of the smallest ball in which PGD is found to reach the goal.

    0 where the image itself reaches it, inf where PGD never does. PGD may fail in a
    ball where it succeeds in a smaller one: so the smallest of RUNGS that succeeds,
    WHOLE, WHOLE / 2, ..., and then bisection down to the rung below. The upper end of
    an interval of that rung / 2^(halvings + 1), of twice as much on the last rung.
    """

    def reached(radius: Size) -> Bool[Tensor, "*image"]:
        return pgd(
            model,
            images,
            goal,
            epsilon=radius,
            step=PACE * radius / steps,
            steps=steps,
            norm=norm,
            keys=keys,
        ).reached

    with as_found(model), torch.no_grad():
        logits = model(images)
    rungs = [WHOLE[norm] / 2**rung for rung in range(RUNGS)]
    high = torch.full_like(logits[..., 0], math.inf)
    for radius in rungs:
        high = high.masked_fill(reached(radius), radius)
    never, high = high.isinf(), high.clamp(max=WHOLE[norm])
    low = torch.where(high == rungs[-1], 0.0, high / 2)
    for _ in range(halvings):
        middle = (low + high) / 2
        found = reached(middle)
        low, high = torch.where(found, low, middle), torch.where(found, middle, high)
    return high.masked_fill(never, math.inf).masked_fill(goal.reached(logits), 0)


def flips(
    model: Model, images: Batch, labels: Indices, keys: Indices, effort: Effort
) -> Float[Tensor, "run some"]:
    """The smallest L-infinity radius that turns an image into any other class; 1 where
    none does. Takes FLIPPED of the images, evenly from all."""
    count = min(FLIPPED, len(labels))
    some = torch.arange(count) * len(labels) // count
    return smallest_epsilon(
        model,
        images[some],
        Untargeted(labels[some]),
        steps=effort.steps // 2,
        keys=keys[some],
    ).clamp(max=WHOLE["linf"])


def distances(perturbation: Float[Tensor, "*image 28 28"]) -> dict[str, PerImage]:
    """The L1, L2 and L-infinity norms of perturbations."""
    flat, orders = perturbation.flatten(-2), {"l1": 1.0, "l2": 2.0, "linf": math.inf}
    return {name: flat.norm(p=order, dim=-1) for name, order in orders.items()}


def atlas(
    model: Model,
    images: Batch,
    labels: Indices,
    keys: Indices,
    effort: Effort,
    radius: float,
) -> pd.DataFrame:
    """Each image made into each other class, in the L-infinity norm.

    Columns: run, source, target; epsilon, the smallest radius at which PGD succeeds;
    success, whether it does at `radius` or below. A row per run, image and target.
    Takes the first `effort.targets` images of each class.
    """
    rank = torch.stack([(labels == c).cumsum(0) for c in range(10)])
    few = (rank.gather(0, labels[None])[0] <= effort.targets).nonzero()[:, 0]
    sources, targets = few.repeat_interleave(9), torch.arange(1, 10).repeat(len(few))
    targets = (labels[sources] + targets) % 10
    parts, steps = [], effort.steps // 2
    for part, target in zip(
        sources.split(AT_ONCE), targets.split(AT_ONCE), strict=True
    ):
        goal, some = Targeted(target, labels[part]), images[part]
        smallest = smallest_epsilon(
            model, some, goal, steps=steps, keys=keys[part], halvings=4
        )
        at = pgd(
            model,
            some,
            goal,
            epsilon=radius,
            step=PACE * radius / steps,
            steps=steps,
            keys=keys[part],
        )
        success = at.reached | (smallest <= radius)
        for run in range(len(smallest)):
            about = {
                "run": run,
                "source": labels[part],
                "target": target,
                "epsilon": smallest[run],
                "success": success[run],
            }
            parts.append(pd.DataFrame(about))
    return pd.concat(parts, ignore_index=True)


def auto_attack(
    model: Callable[[Tensor], Tensor],
    images: Batch,
    labels: Indices,
    epsilon: float,
    norm: str = "linf",
) -> Bool[Tensor, "image"]:
    """Which images a lone run gets right under AutoAttack (Croce and Hein, ICML 2020).

    model: from [image, 1, 28, 28] to [image, class]. Torch's generators stay as found.
    """
    try:
        from pyautoattack import AutoAttack
    except ModuleNotFoundError:
        raise Refusal(
            "effort=full needs AutoAttack: pip install -e '.[robust]'", 3
        ) from None
    names = {"linf": "Linf", "l2": "L2"}
    with torch.random.fork_rng():
        attacker = AutoAttack(model, norm=names[norm], eps=epsilon, seed=0)
        attacker.verbose = False
        moved, _ = attacker.run_standard_evaluation(images[:, None], labels)
    with torch.no_grad():
        return model(moved).argmax(-1) == labels
