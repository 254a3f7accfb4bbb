"""Sparse autoencoders: a layer's features as sums of a few out of many directions.

With x a feature vector, centred and scaled so that the mean variance of a unit is 1,

    z = relu(x E + b), all but the `active` largest set to 0,    x' = z D,

the rows of D of length 1, loss |x - x'|^2 / units + penalty |z|_1 / units. TopK (Gao et
al., 2024) has penalty 0; L1 (Bricken et al., 2023) has `active` = all. A stack of
autoencoders is trained as one program: the axis `auto` has the features of a network
and its own `active` and `penalty` for each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lenet.config import Refusal
from lenet.interpret.images import checked_labels
from lenet.interpret.layer_outputs import (
    class_count,
    features,
    onward,
    readable_images,
    refuse_unknown_layer,
)
from lenet.training import draws
from lenet.training.model import LAYERS, LeNet5

Features = Float[Tensor, "auto image unit"]
Latents = Float[Tensor, "auto image latent"]
PerAuto = Float[Tensor, "auto"]
TOP = 8  # images shown of a latent
DEAD = 1e-4  # a latent that fires on a smaller share of the images is dead


@dataclass(frozen=True)
class Sae:
    """A layer, latents per unit, which sparsities, and how they are trained."""

    layer: str = "F6"
    expansion: int = 4
    active: tuple[int, ...] = (1, 2, 4, 8, 16, 32)  # of TopK
    penalty: tuple[float, ...] = (0.3, 1.0, 2.0, 4.0, 8.0)  # of L1
    train: int = 20_000
    test: int = 10_000
    steps: int = 1000
    batch: int = 256
    lr: float = 2e-3
    shown: int = 8  # `active` of the autoencoder whose latents are shown

    def __post_init__(self) -> None:
        refuse_unknown_layer(self.layer, LAYERS[:-1])
        whole = (self.expansion, self.train, self.test, self.steps, self.batch)
        if (
            min(*whole, *self.active, self.shown) < 1
            or not min(self.lr, *self.penalty) > 0
        ):
            raise Refusal(f"{self}: whole numbers are 1 or more, the others positive")


class Autoencoder(NamedTuple):
    """A stack of autoencoders, and what makes features of a network theirs."""

    mean: Float[Tensor, "auto 1 unit"]
    scale: Float[Tensor, "auto 1 1"]
    encoder: Float[Tensor, "auto unit latent"]
    bias: Float[Tensor, "auto 1 latent"]
    decoder: Float[Tensor, "auto latent unit"]
    active: Int64[Tensor, "auto"]

    def encode(self, given: Features) -> Latents:
        """z of features as the network gives them."""
        centred = (given - self.mean) / self.scale
        sums = torch.baddbmm(self.bias, centred, self.encoder)
        return keep_largest(sums.relu(), self.active)

    def decode(self, codes: Latents) -> Features:
        """Features as the network gives them."""
        return codes @ self.decoder * self.scale + self.mean


def keep_largest(codes: Latents, active: Int64[Tensor, "auto"]) -> Latents:
    """All but the `active` largest codes set to 0."""
    count = codes.shape[-1]
    if int(active.min()) >= count:
        return codes
    ordered = codes.topk(min(int(active.max()), count), -1).values
    # The rank of the smallest code that is kept, which is another in each autoencoder.
    places = (active.clamp(max=count) - 1)[:, None, None]
    return codes * (codes >= ordered.gather(-1, places.expand(-1, codes.shape[1], 1)))


def fit_autoencoders(
    given: Features,
    active: Int64[Tensor, "auto"],
    penalty: PerAuto,
    spec: Sae = Sae(),
    seed: int = 0,
) -> Autoencoder:
    """Trained autoencoders: Adam, its rate falling to 0 in a line.

    All of them start from the same directions, E the transpose of D, and see the same
    images in the same order: draws keyed by the seed.
    """
    autos, count, units = given.shape
    mean = given.mean(1, keepdim=True)
    # One number for all units: their variances keep their proportions, and `penalty`
    # means as much in each layer.
    scale = (given - mean).square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-12)
    shape = (spec.expansion * units, units)
    places = torch.arange(shape[0] * units, device=given.device).view(shape)
    start = draws.fold(draws.stream([seed], "sae", given.device), places)
    decoder = unit_length(draws.normal(start).to(given.dtype)).repeat(autos, 1, 1)
    bias = given.new_zeros(autos, 1, shape[0])
    encoder = decoder.mT.clone()
    learned = [part.requires_grad_() for part in (encoder, bias, decoder)]
    auto = Autoencoder(mean, scale, encoder, bias, decoder, active)
    adam = torch.optim.Adam(learned, lr=spec.lr)
    for step, batch in enumerate(step_batches(count, spec, seed)):
        inputs = given[:, batch.to(given.device)]
        codes = auto.encode(inputs)
        off = ((inputs - auto.decode(codes)) / scale).square().sum(-1)
        losses = (off + penalty[:, None] * codes.sum(-1)).mean(1) / units
        adam.param_groups[0]["lr"] = spec.lr * (1 - step / spec.steps)
        adam.zero_grad()
        # A sum: each autoencoder learns from its own loss alone.
        losses.sum().backward()
        adam.step()
        # Else the penalty could be had for nothing: smaller codes, longer directions.
        with torch.no_grad():
            decoder.copy_(unit_length(decoder))
    return Autoencoder(*(part.detach() for part in auto))


def unit_length(directions: Float[Tensor, "*auto latent unit"]) -> Tensor:
    """The same directions with length 1."""
    return directions / directions.norm(dim=-1, keepdim=True).clamp(min=1e-12)


def step_batches(count: int, spec: Sae, seed: int) -> list[Int64[Tensor, "batch"]]:
    """Which images come in each step: every image once, in a new order each time."""
    # As many passes as the steps take, each in an order of its own, one after the
    # other.
    passes = -(-spec.steps * spec.batch // count)
    keys = draws.fold(draws.stream([seed], "sae order"), torch.arange(passes)[:, None])
    order = draws.fold(keys, torch.arange(count)).argsort(dim=1).flatten()
    return list(order.split(spec.batch)[: spec.steps])


def unexplained(given: Features, rebuilt: Features) -> PerAuto:
    """The fraction of variance unexplained: 1 for the mean, 0 for what was given.

    sum |x - x'|^2 / sum |x - mean x|^2, over the images at hand.
    """
    off = (given - rebuilt).double().square().sum((1, 2))
    spread = (given - given.mean(1, keepdim=True)).double().square().sum((1, 2))
    return off / spread


def dead(codes: Latents) -> Bool[Tensor, "auto latent"]:
    """Latents that fire on less than DEAD of the images, and on less than one image."""
    return (codes > 0).sum(1) < max(1.0, DEAD * codes.shape[1])


def principal(
    train: Float[Tensor, "auto train unit"],
    test: Features,
    components: Sequence[int],
) -> list[Features]:
    """The test features rebuilt from the first components of the training features."""
    mean = train.mean(1, keepdim=True)
    directions = torch.linalg.eigh((train - mean).mT @ (train - mean)).eigenvectors
    rebuilt = []
    for count in components:
        # Eigenvalues rise: the last directions have the most variance.
        largest = directions[..., -count:]
        rebuilt.append((test - mean) @ largest @ largest.mT + mean)
    return rebuilt


def train_autoencoders(
    given: Features, settings: Sequence[float], topk: bool, spec: Sae, seed: int
) -> list[Autoencoder]:
    """For each setting, of TopK or L1, the autoencoders of all runs."""
    runs, count = len(given), len(settings)
    # The first setting for all runs, then the next: as the features are repeated.
    numbers = torch.tensor(settings, device=given.device).repeat_interleave(runs)
    every = torch.full_like(numbers, spec.expansion * given.shape[-1])
    active, penalty = (numbers, 0 * numbers) if topk else (every, numbers)
    stack = given.repeat(count, 1, 1)
    auto = fit_autoencoders(stack, active.long(), penalty.to(given.dtype), spec, seed)
    parts = zip(*(part.split(runs) for part in auto), strict=True)
    return [Autoencoder(*part) for part in parts]


@torch.inference_mode(False)  # for a caller who is in that mode
def sparsity_curve(
    model: LeNet5,
    train: Any,
    test: Any,
    labels: Any,
    spec: Sae = Sae(),
    seed: int = 0,
) -> pd.DataFrame:
    """How well few directions rebuild a layer, a row per run, method and setting.

    method: topk, l1, pca (the first `setting` components), mean (of the training
    features), itself (nothing is replaced). l0: latents at work per image; fvu:
    fraction of variance unexplained; dead: share of latents, on the training images;
    error: of the network on the n test images with the layer rebuilt, a fraction;
    n_train. train, test: images [n, 28, 28], or [run, n, 28, 28] where each run has its
    own, in [0, 1]; labels: [n], of the test images. What would be misread is a Refusal.
    The seed draws the first directions and the order of the images.

    >>> from lenet.interpret.trained_network import load
    >>> images = torch.rand(40, 28, 28, generator=torch.Generator().manual_seed(0))
    >>> spec = Sae(steps=2, batch=8, expansion=1, active=(4,), penalty=(1.0,))
    >>> table = sparsity_curve(load("modern").model, images, images, [1] * 40, spec)
    >>> table["method"].tolist()
    ['mean', 'itself', 'pca', 'topk', 'l1']
    >>> table["fvu"].round(6).tolist()[:2]  # of the mean, and of what was given
    [1.0, 0.0]
    """
    labels = checked_labels(labels, readable_images(model, test), class_count(model))
    given, seen = (features(model, images, spec.layer) for images in (train, test))
    none, units = torch.zeros(len(given)), given.shape[-1]
    mean = given.mean(1, keepdim=True).expand_as(seen)
    few = [count for count in spec.active if count <= units]
    points = [
        ("mean", 0.0, mean, none, none),
        ("itself", 0.0, seen, none + units, none),
    ]
    for count, rebuilt in zip(few, principal(given, seen, few), strict=True):
        points.append(("pca", count, rebuilt, none + count, none))
    for method, settings in (("topk", spec.active), ("l1", spec.penalty)):
        autos = train_autoencoders(given, settings, method == "topk", spec, seed)
        for setting, auto in zip(settings, autos, strict=True):
            codes, unused = auto.encode(seen), dead(auto.encode(given))
            l0, share = (codes > 0).double().sum(-1).mean(1), unused.double().mean(1)
            points.append((method, setting, auto.decode(codes), l0, share))
    rows = []
    for method, setting, rebuilt, l0, share in points:
        with torch.no_grad():
            answers = onward(model, spec.layer, rebuilt).argmax(-1)
        wrong = (answers != labels).double().mean(1)
        columns = l0, unexplained(seen, rebuilt), share, wrong
        for run, numbers in enumerate(torch.stack(columns, 1).tolist()):
            rows.append((run, method, setting, *numbers))
    names = ["run", "method", "setting", "l0", "fvu", "dead", "error"]
    table = pd.DataFrame(rows, columns=names)
    return table.assign(n=len(labels), n_train=given.shape[1])


@torch.inference_mode(False)
def portraits(
    model: LeNet5,
    train: Any,
    test: Any,
    labels: Any,
    spec: Sae = Sae(),
    seed: int = 0,
) -> pd.DataFrame:
    """The latents of the first run's TopK autoencoder, the most used ones first.

    Arguments and errors as for `sparsity_curve`; of `spec` the autoencoder has the
    layer, the training and as many active latents as `shown` says.

    latent; fires, the share of the test images; mass, the latent's share of all that
    latents give; class_0, class_1 ..., the shares of its mass by label; image_0 to
    image_7, the test images that activate it most, -1 where it fires on fewer;
    unit_0 ..., its direction in D.

    >>> from lenet.interpret.trained_network import load
    >>> images = torch.rand(40, 28, 28, generator=torch.Generator().manual_seed(0))
    >>> spec = Sae(steps=2, batch=8, expansion=1, shown=4)
    >>> table = portraits(load("modern").model, images, images, [1] * 40, spec)
    >>> len(table), float(table["fires"].max()) <= 1  # a latent for each unit of F6
    (84, True)
    """
    labels = checked_labels(labels, readable_images(model, test), class_count(model))
    given, seen = (features(model, images, spec.layer)[:1] for images in (train, test))
    auto = train_autoencoders(given, [spec.shown], True, spec, seed)[0]
    codes = auto.encode(seen)[0].T  # [latent, image]
    mass = codes.sum(1)
    every = range(class_count(model))
    classes = torch.stack([codes[:, labels == label].sum(1) for label in every], 1)
    top = codes.topk(min(TOP, codes.shape[1]), 1)
    parts = {
        "class": classes / mass.clamp(min=1e-12)[:, None],
        "image": top.indices.where(top.values > 0, -1),
        "unit": auto.decoder[0],
    }
    columns = {
        "latent": torch.arange(len(codes)),
        "fires": (codes > 0).double().mean(1),
        "mass": mass / mass.sum().clamp(min=1e-12),
    }
    for name, part in parts.items():
        columns |= {
            f"{name}_{i}": run_columns for i, run_columns in enumerate(part.unbind(1))
        }
    table = pd.DataFrame(
        {name: column.cpu().numpy() for name, column in columns.items()}
    )
    return table.sort_values(["mass", "latent"], ascending=[False, True])
