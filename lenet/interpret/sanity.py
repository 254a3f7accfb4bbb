"""Whether a map says something about the network: three tests, each with a baseline.

Deletion and insertion (Petsiuk et al., BMVC 2018): take away, or put in, the pixels
that a map ranks highest; a map that found what matters changes the answer sooner than
a random order, and than the order of the ink, which knows nothing of the network.
Randomised layers (Adebayo et al., NeurIPS 2018): a map that stays the same when the
network's weights are replaced by random ones does not explain what it learned.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from lenet.config import Refusal
from lenet.interpret.gradcam import GradCam, grad_cam
from lenet.interpret.layer_outputs import (
    Classes,
    Images,
    Pictures,
    explained_classes,
    logits,
    readable_images,
)
from lenet.interpret.saliency import METHODS, SLOPES, Saliency
from lenet.training import draws
from lenet.training.loops.sizes import PICTURE_SIZE
from lenet.training.model import LAYERS, LeNet5

Explainer = Callable[[LeNet5, Images, Classes], Pictures]


@dataclass(frozen=True)
class Sanity:
    """On how many images, and in how many steps pixels are taken away or put in."""

    images: int = 200
    steps: int = 28

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= PICTURE_SIZE or self.images < 1:
            raise Refusal(f"{self}: steps is 1 to {PICTURE_SIZE}, images 1 or more")


def explainers(saliency: Saliency, cam: GradCam, seed: int) -> dict[str, Explainer]:
    """Every method as a function of networks, images and classes."""

    def explainer(name: str) -> Explainer:
        return lambda model, images, classes: METHODS[name](
            model, images, classes, saliency, seed
        )

    return {
        **{name: explainer(name) for name in METHODS},
        "grad_cam": lambda model, images, classes: grad_cam(
            model, images, classes, cam
        ),
    }


def orders(
    maps: Mapping[str, Pictures], images: Images, seed: int
) -> dict[str, Tensor]:
    """What ranks the pixels of each image: the maps, the ink, and chance.

    Slopes rank by size; what adds up to the score ranks by its signed value.
    """
    like = next(iter(maps.values()))
    places = torch.arange(like.shape[1] * PICTURE_SIZE, device=like.device)
    keys = draws.fold(draws.stream([seed], "pixel order", like.device), places)
    ranked = {
        name: values.abs() if name in SLOPES else values
        for name, values in maps.items()
    }
    ranked["ink"] = images.expand_as(like)
    ranked["random"] = draws.uniform(keys).view(like.shape[1:]).expand_as(like)
    return ranked


def faithfulness(
    model: LeNet5,
    images: Any,
    classes: Any,
    ranked: Mapping[str, Pictures],
    spec: Sanity = Sanity(),
) -> pd.DataFrame:
    """Deletion and insertion, a row per run, order, test and share of the pixels.

    kept: the share of images for which the network still says, or says already, the
    class; probability: the mean softmax probability of the class. A pixel is taken
    away by making it background, 0.
    """
    images = readable_images(model, images)
    classes = explained_classes(model, images, classes)
    rows = []
    for name, values in ranked.items():
        flat = values.flatten(2)
        # Sorted twice: the first says which pixel has a rank, the second which rank a
        # pixel has.
        ranks = flat.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1)
        for step in range(spec.steps + 1):
            count = round(PICTURE_SIZE * step / spec.steps)
            first = (ranks < count).view(values.shape)
            for test, mask in (("deletion", ~first), ("insertion", first)):
                seen = logits(model, images * mask)
                kept = (seen.argmax(-1) == classes).double().mean(1)
                shares = seen.softmax(-1).gather(-1, classes[..., None])
                sure = shares.double().mean((1, 2))
                pairs = zip(kept.tolist(), sure.tolist(), strict=True)
                rows += [
                    (run, name, test, count / PICTURE_SIZE, *two)
                    for run, two in enumerate(pairs)
                ]
    columns = ["run", "order", "test", "share", "kept", "probability"]
    return pd.DataFrame(rows, columns=columns).assign(n=images.shape[-3])


def area(
    table: pd.DataFrame, keys: Sequence[str] = ("run", "order", "test")
) -> pd.Series:
    """The area under each curve of `kept`: small for deletion, large for insertion."""
    grouped = table.sort_values("share").groupby(list(keys), sort=False)
    return grouped[["share", "kept"]].apply(
        lambda curve: np.trapezoid(curve["kept"], curve["share"])
    )


def randomised(model: LeNet5, random: LeNet5) -> Iterator[tuple[str, LeNet5]]:
    """The stack with more and more layers from `random`, from the output downwards.

    A layer without parameters (pooling without coefficients, the RBF output) has
    nothing to replace: the stack is then that of the layer above.
    """
    mixed = copy.deepcopy(model)
    for layer in reversed(LAYERS):
        state = getattr(random, layer).state_dict()
        getattr(mixed, layer).load_state_dict(state)
        yield layer, copy.deepcopy(mixed)


def randomisation(
    model: LeNet5,
    random: LeNet5,
    images: Any,
    classes: Any,
    methods: Mapping[str, Explainer],
) -> pd.DataFrame:
    """How alike maps stay as layers are randomised: a row per run, method and layer.

    signed, magnitude: Spearman's rank correlation of the map, and of its size, with the
    map of the trained network for the same class; means over the n images for which
    both are defined (a map of one value has no ranks). ink: that of the trained map's
    size with the image, the likeness that a method has without any network.
    """
    images = readable_images(model, images)
    classes = explained_classes(model, images, classes)
    rows = []
    for name, explain in methods.items():
        trained = explain(model, images, classes)
        ink, _ = likeness(trained.abs(), images.expand_as(trained))
        for layer, mixed in chain([("none", model)], randomised(model, random)):
            now = explain(mixed, images, classes)
            signed, count = likeness(now, trained)
            size, _ = likeness(now.abs(), trained.abs())
            for run in range(len(now)):
                values = (signed[run], size[run], ink[run], int(count[run]))
                rows.append((run, name, layer, *values))
    columns = ["run", "method", "layer", "signed", "magnitude", "ink", "n"]
    return pd.DataFrame(rows, columns=columns)


def likeness(
    first: Float[Tensor, "run batch *place"], other: Float[Tensor, "run batch *place"]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int_]]:
    """Spearman's correlation per run, the mean over images, and of how many."""
    each = []
    for maps in (first, other):
        ranks = stats.rankdata(maps.flatten(2).double().cpu().numpy(), axis=-1)
        # Spearman's is Pearson's correlation of the ranks: centred, of length 1,
        # multiplied.
        ranks -= ranks.mean(-1, keepdims=True)
        length = np.sqrt((ranks**2).sum(-1, keepdims=True))
        each.append(np.divide(ranks, length, where=length > 0, out=0 * ranks))
    correlations = (each[0] * each[1]).sum(-1)
    defined = np.logical_and(*(ranks.any(-1) for ranks in each))
    count, total = defined.sum(1), (correlations * defined).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), count
