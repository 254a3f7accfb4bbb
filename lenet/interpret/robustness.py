"""How robust trained runs are: accuracy under attack, and whether to believe it.

An attack that fails has met a robust network or a broken gradient. Each accuracy comes
with indicators (after Pintor et al., NeurIPS 2022) that tell the two apart. The runs of
a stack are attacked in one call, with the same images and the same random starts.

An image of a run is attacked towards each class that is not its label, the likeliest
first, and again from other starts, until one walk of apgd.py turns its answer.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from lenet.config import Refusal
from lenet.interpret.apgd import Past, PastAny, apgd
from lenet.interpret.images import checked_images, checked_labels, gradients
from lenet.training import draws
from lenet.training.attack import NORMS, Model, PerImage, as_found
from lenet.training.loops.sizes import PICTURE_SIDE

Batch = Float[Tensor, "image 28 28"]
PerRun = Bool[Tensor, "run image"]
Radii = Float[Tensor, "run image"]
Indices = Int64[Tensor, "image"]
Positions = Int64[Tensor, "run some"]  # of images, others for each run
AT_ONCE = 128  # images of each run: no larger batch is faster
LONG, CLOSEST = 5, 3  # see Tries
QUERIES = 20  # random points of the ball's surface that the black-box check tries
BLACK_BOX = 2**32  # where their draws begin; restarts count from 0
WHOLE = {"linf": 1.0, "l2": float(PICTURE_SIDE)}  # radii of balls around [0, 1]^784
LIMITS = {
    **{"flat": 0.01, "falling": 0.05, "unbounded": 0.0, "black_box": 0.0},
    "stronger": 0.01,
}
CARRIED = ["flat", "falling"]  # they hold for all smaller radii too


class Tries(NamedTuple):
    """Which walks are tried, from starts that are counted from `first` on.

    From each of `restarts`: some steps towards each other class, and LONG times as many
    towards all at once. Then, from `closer` further ones: LONG times as many towards
    the CLOSEST classes, those to which the walks from the start before came nearest.
    Every other start takes the margin as a share of the logits' spread.
    """

    steps: int
    restarts: int
    closer: int = 0
    first: int = 0

    def rounds(self, classes: int) -> Iterator[tuple[int, int | None, int]]:
        """The start of each walk, the place of its class by nearness (None: all at
        once), and its steps."""
        for start in range(self.first, self.first + self.restarts):
            yield from ((start, place, self.steps) for place in range(classes))
            yield start, None, LONG * self.steps
        for start in range(self.closer):
            for place in range(min(CLOSEST, classes)):
                yield self.first + self.restarts + start, place, LONG * self.steps


@dataclass(frozen=True)
class Effort:
    """How hard an attack tries."""

    images: int
    tries: Tries
    sample: int  # images of these that the strongest attack meets too
    atlas: int  # images of each class in the atlas
    auto_attack: bool = False


STRONGEST = Tries(steps=100, restarts=2, closer=2, first=1000)
EFFORTS = {
    "smoke": Effort(100, Tries(10, 1), 20, 1),
    "standard": Effort(500, Tries(20, 2, closer=3), 50, 5),
    "full": Effort(10_000, Tries(100, 5, closer=2), 1000, 50, auto_attack=True),
}


class Problem(NamedTuple):
    """A stack, or what else gives logits, and the images on which it is attacked."""

    model: Model
    images: Batch
    labels: Indices
    keys: Indices  # of the random starts

    def at(self, places: Indices | slice) -> "Problem":
        """The same with the images at these places."""
        parts = (part[places] for part in self[1:])
        return Problem(self.model, *parts)


class Curve(NamedTuple):
    """Accuracy under attack and what speaks against it.

    cells: run, epsilon, accuracy and the indicators, each up above its LIMITS. flat:
    share that withstands and has no gradient; falling: share that withstands where the
    walk that came nearest still falls; unbounded: share that withstands in a ball of
    all images; black_box: share that random points, and images made for another run at
    this radius, flip, less that of the attack; stronger: share of a sample that the
    strongest attack takes from what withstands.
    right: which images withstand.
    """

    cells: pd.DataFrame
    right: Bool[Tensor, "epsilon run image"]


class Hits(NamedTuple):
    """What one attack did to each image of each run."""

    right: PerRun
    flat: PerRun
    falling: PerRun
    transferred: PerRun


@contextlib.contextmanager
def checked_problem(
    model: Model, images: Any, labels: Any, keys: Indices | None = None
) -> Iterator[Problem]:
    """The problem of images and labels as `images.checked_images` and
    `images.checked_labels` take them; a Refusal of those that would be misread.

    All runs of a stack are attacked on the same images. Also for a caller in
    torch.inference_mode(), if the network was made outside.
    """
    module = model if isinstance(model, nn.Module) else nn.Module()
    with gradients(module):
        seen = checked_images(images, like=next(module.parameters(), None)).clone()
        seen = seen[0] if seen.ndim > 3 else seen  # one batch, for all runs
        classes = checked_labels(labels, seen, told_apart(model, seen)).clone()
        if keys is None:
            keys = starts(torch.arange(len(classes), device=classes.device))
        yield Problem(model, seen, classes, keys.clone())


def told_apart(model: Model, images: Batch) -> int:
    """How many classes the model gives a logit for."""
    with as_found(model), torch.no_grad():
        return model(images[:1]).shape[-1]


def starts(indices: Indices) -> Indices:
    """The key of each image's random starts, whatever is attacked beside it."""
    return draws.fold(draws.stream([0], "attack"), indices)


def accuracy_curve(
    model: Model,
    images: Any,
    labels: Any,
    keys: Indices | None,
    epsilons: Sequence[float],
    effort: Effort,
    norm: str = "linf",
) -> Curve:
    """Accuracy over epsilon for every run; epsilon 0 is no attack.

    images, labels: [n, 28, 28] in [0, 1] and [n], as `images.checked_images` and
    `images.checked_labels` take them. keys: [n], of the random starts; None
    takes the images' places. epsilons: radii in units of a pixel (1 is black to white)
    and in the norm, linf or l2. effort: how hard the attack tries, one of EFFORTS or
    an own; of it the counts of images, and of those of the atlas, say nothing here. A
    Refusal of images and labels that would be misread. `Curve` says what comes back: a
    row for each run and radius, and which images withstand.

    The largest radius comes first. What withstands there is taken to withstand at all
    smaller ones, whose balls lie in this one; so an image meets one attack that fails,
    and not one for each radius. Random points are tried at every radius.

    >>> from lenet.interpret.trained_network import load
    >>> images = torch.zeros(1, 28, 28)
    >>> images[:, 5:23, 13:16] = 1  # a one
    >>> effort = Effort(images=1, tries=Tries(steps=5, restarts=1), sample=1, atlas=0)
    >>> curve = accuracy_curve(load("modern").model, images, 1, None, [0, 0.5], effort)
    >>> curve.cells[["epsilon", "accuracy"]].values.tolist()
    [[0.0, 1.0], [0.5, 0.0]]
    """
    with checked_problem(model, images, labels, keys) as problem:
        clean = problem_logits(problem).argmax(-1) == problem.labels
        none = torch.zeros_like(clean)
        # In this ball lies every image, so that no network withstands: what does shows
        # that the attack fails.
        beyond, _ = assault(problem, clean, none, WHOLE[norm], effort.tries, norm)
        few, tables, kept = evenly(effort.sample, clean.shape[1]), [], []
        # `safe` withstood a larger radius; `strong` withstood the strongest attack
        # there.
        safe, strong, sample = none, none[:, few], problem.at(few)
        doubts = pd.DataFrame(0.0, range(len(clean)), CARRIED)
        unbounded = beyond.double().mean(1).tolist()
        for epsilon in sorted({*epsilons}, reverse=True):
            cells = pd.DataFrame(dict.fromkeys(LIMITS, 0.0), range(len(clean)))
            right = clean
            if epsilon > 0:
                right, shares = assault(
                    problem, clean, safe, epsilon, effort.tries, norm
                )
                # What is safe is not attacked again, so a doubt that was raised there
                # stays.
                doubts, safe = doubts + shares[CARRIED], right
                left = safe[:, few] & ~strong
                withstood = attack_all(sample, left, epsilon, STRONGEST, norm).right
                strong = strong | withstood
                gain = (safe[:, few] & ~strong).double().mean(1).tolist()
                cells = shares.assign(unbounded=unbounded, stronger=gain, **doubts)
            about = {"epsilon": epsilon, "accuracy": right.double().mean(1).tolist()}
            tables.append(cells.assign(**about, run=cells.index))
            kept.append(right)
    columns = ["run", "epsilon", "accuracy", *LIMITS]
    # Radii went down, and the table goes up.
    table = pd.concat(tables[::-1], ignore_index=True)[columns]
    return Curve(table, torch.stack(kept[::-1]))


def problem_logits(problem: Problem) -> Float[Tensor, "run image class"]:
    """What every run gives for every image."""
    with as_found(problem.model), torch.no_grad():
        parts = [problem.model(part) for part in problem.images.split(AT_ONCE)]
    return torch.cat(parts, 1)


def evenly(count: int, of: int) -> Indices:
    """So many images, or all, spread over those that are attacked."""
    count = min(count, of)
    return torch.arange(count) * of // count


def assault(
    problem: Problem,
    clean: PerRun,
    safe: PerRun,
    epsilon: float,
    tries: Tries,
    norm: str,
) -> tuple[PerRun, pd.DataFrame]:
    """Which images withstand at this radius, and the indicators per run; those that are
    safe, for they withstand a larger one, are shown to random points alone."""
    left = clean & ~safe
    hits = attack_all(problem, left, epsilon, tries, norm)
    chance, right = by_chance(problem, clean, epsilon, norm), safe | hits.right
    turned = left & hits.transferred | clean & chance
    counts = {
        "flat": (hits.flat & hits.right).double().mean(1),
        "falling": (hits.falling & hits.right).double().mean(1),
        # Above 0: random points and other runs' images turn more than the attack did.
        "black_box": turned.double().mean(1) - (clean & ~right).double().mean(1),
    }
    shares = {name: share.tolist() for name, share in counts.items()}
    return right, pd.DataFrame(shares)


def attack_all(
    problem: Problem, before: PerRun, epsilon: float | Radii, tries: Tries, norm: str
) -> Hits:
    """What walks towards all other classes did to the images that were right before.

    As a black-box check, what the first walks found for a run is shown to the next run
    of the stack (to itself, if it is alone).
    """
    right, flat, falling = before.clone(), before.clone(), torch.zeros_like(before)
    transferred, others = torch.zeros_like(before), ranked(problem)
    losses = torch.full(others.shape, math.inf).to(problem.images)
    radii = torch.as_tensor(epsilon).to(problem.images).expand(before.shape)
    for start, rank, steps in tries.rounds(others.shape[-1]):
        # Every other start walks on the margin as a share of the logits' spread.
        shared = (start - tries.first) % 2 == 1
        if rank == 0:  # the order by what the walks from the start before came to
            others = others.gather(-1, losses.argsort(dim=-1, stable=True))
            losses = torch.full_like(losses, math.inf)  # theirs may be of another kind
        for at in places(right):
            labels, radius = problem.labels[at], radii.gather(1, at)
            # A start of its own for each walk: by the image's key, the start and, if it
            # has one, the class.
            keys = draws.fold(problem.keys[at], start)
            goal: Past | PastAny = PastAny(labels)
            if rank is not None:
                goal = Past(others[..., rank].gather(1, at), labels, shared)
                keys = draws.fold(keys, goal.classes)
            walk = apgd(
                problem.model, problem.images[at], goal, epsilon=radius, steps=steps,
                keys=keys, norm=norm,
            )  # fmt: skip
            # Images that fill up a batch were lost before: what a walk does to them
            # changes nothing here.
            right.scatter_(1, at, right.gather(1, at) & ~walk.reached)
            flat.scatter_(1, at, flat.gather(1, at) & walk.flat)
            if start == tries.first and rank == 0:
                # Run i's images are shown to run i + 1, and count there.
                turned, to = transfer(problem.model, walk.points, labels), at.roll(1, 0)
                transferred.scatter_(1, to, turned | transferred.gather(1, to))
            if rank is not None:
                # Whether a walk was still falling counts of the one that came nearest.
                nearer = walk.loss < losses.amin(-1).gather(1, at)
                ends = torch.where(nearer, walk.falling, falling.gather(1, at))
                falling.scatter_(1, at, ends)
                known = losses[..., rank]  # a view
                known.scatter_(1, at, known.gather(1, at).minimum(walk.loss))
    return Hits(right, flat, falling, transferred)


def ranked(problem: Problem) -> Int64[Tensor, "run image other"]:
    """The classes that are not the label, the likeliest first."""
    scores = problem_logits(problem)
    labels = problem.labels.expand(scores.shape[:-1])[..., None]
    return scores.scatter(-1, labels, -math.inf).argsort(-1, descending=True)[..., :-1]


def places(right: PerRun) -> Sequence[Positions]:
    """Where the images are that each run still gets right, in batches; a run that has
    fewer of them than another is given some that it has lost."""
    # As wide as the run with the most of them: the stack is one batch. The sort is
    # stable, so that those that are right come first and in their order.
    most = int(right.sum(1).max())
    order = (~right).byte().argsort(dim=1, stable=True)[:, :most]
    return order.split(AT_ONCE, 1) if most else ()


def transfer(
    model: Model, points: Float[Tensor, "run some 28 28"], labels: Positions
) -> Bool[Tensor, "run some"]:
    """Whether the images that were made for a run turn the next one."""
    with as_found(model), torch.no_grad():
        return model(points.roll(1, 0)).argmax(-1) != labels.roll(1, 0)


def by_chance(problem: Problem, before: PerRun, epsilon: float, norm: str) -> PerRun:
    """Which images some random point of the surface of their balls turns."""
    turned = torch.zeros_like(before)
    left = before.any(0).nonzero()[:, 0]
    with as_found(problem.model), torch.no_grad():
        for part, query in product(left.split(AT_ONCE), range(QUERIES)):
            keys = draws.fold(problem.keys[part], BLACK_BOX + query)
            moved = at_random(problem.images[part], keys, epsilon, norm)
            turned[:, part] |= problem.model(moved).argmax(-1) != problem.labels[part]
    return turned


def at_random(images: Batch, keys: Indices, epsilon: float, norm: str) -> Batch:
    """A random point of the surface of each image's ball, drawn by its key."""
    ball = NORMS[norm]
    drawn = ball.draw(draws.fold(keys[:, None], torch.arange(785)))
    return (images + epsilon * ball.direction(drawn).view_as(images)).clamp(0, 1)


def distances(perturbation: Float[Tensor, "*image 28 28"]) -> dict[str, PerImage]:
    """The L1, L2 and L-infinity norms of perturbations."""
    flat, orders = perturbation.flatten(-2), {"l1": 1.0, "l2": 2.0, "linf": math.inf}
    return {name: flat.norm(p=order, dim=-1) for name, order in orders.items()}


def auto_attack(
    model: Callable[[Tensor], Tensor],
    images: Any,
    labels: Any,
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
            "effort=full needs AutoAttack: pip install 'lenet[robust]'", 3
        ) from None
    names = {"linf": "Linf", "l2": "L2"}

    def stack(images: Tensor) -> Tensor:
        return model(images[:, None])[None]

    with checked_problem(stack, images, labels) as problem, torch.random.fork_rng():
        attacker = AutoAttack(model, norm=names[norm], eps=epsilon, seed=0)
        attacker.verbose = False
        if (count := told_apart(stack, problem.images)) != 10:  # for which it is set
            attacker.apgd_targeted.n_target_classes = count - 1
            attacker.fab.n_target_classes = count - 1
            if count < 4:  # its targeted loss takes the four largest logits
                attacker.attacks_to_run.remove("apgd-t")
        images, labels = problem.images[:, None], problem.labels
        moved, _ = attacker.run_standard_evaluation(images, labels)
        with torch.no_grad():
            return model(moved).argmax(-1) == labels
