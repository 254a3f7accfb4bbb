"""What the layers of a stack of networks give: features, logits, classes, what follows
a layer; and the same networks before training. Every analysis asks this of them.

Images are pixels in [0, 1], [batch, 28, 28] for all runs or one batch per run.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lenet.config import Refusal, Value, suggest
from lenet.interpret.images import checked_classes, checked_images
from lenet.training.loops.sizes import C1_SIDE, C3_SIDE, S2_SIDE, S4_SIDE
from lenet.training.model import LAYERS, Convolution, Dense, LeNet5

Images = Float[Tensor, "*run batch 28 28"]
Pictures = Float[Tensor, "run batch 28 28"]  # a map in the place of each image
Logits = Float[Tensor, "run batch class"]
Classes = Int64[Tensor, "run batch"]
MAPS = ("C1", "S2", "C3", "S4")
CHUNK = 500  # images at a time: memory, not arithmetic


def readable_images(model: LeNet5, images: Any) -> Images:
    """The images as the network takes them; a Refusal of those that it would misread,
    and of a network that is still in training."""
    if model.training:
        raise Refusal("the network is in training mode: call model.eval() first")
    scale = model.input.scale
    return checked_images(images, len(scale), scale)


def class_count(model: LeNet5) -> int:
    """How many classes a network tells apart: its units of the output."""
    output = model.output
    return len(output.weight[0] if isinstance(output, Dense) else output.bitmaps)


def explained_classes(model: LeNet5, images: Images, classes: Any) -> Classes:
    """The classes that are explained: as given, or those that each run sees."""
    if classes is None:
        return predictions(model, images)
    return checked_classes(classes, images, class_count(model), len(model.input.scale))


def refuse_unknown_layer(layer: str, known: Iterable[str] = LAYERS) -> None:
    """Refuse the name of a layer that is none of these."""
    if layer not in known:
        raise Refusal(suggest(layer, known, "layer", "layers"))


def chunks(images: Images) -> Iterator[Images]:
    """The images in batches of at most CHUNK."""
    yield from images.split(CHUNK, -3)


@torch.no_grad()
def logits(model: LeNet5, images: Any) -> Logits:
    """The logits of every image, a chunk at a time."""
    images = readable_images(model, images)
    return torch.cat([model(chunk) for chunk in chunks(images)], 1)


def predictions(model: LeNet5, images: Any) -> Classes:
    """The class that each run sees in each image."""
    return logits(model, images).argmax(-1)


@torch.no_grad()
def features(
    model: LeNet5, images: Any, layer: str
) -> Float[Tensor, "run batch feature"]:
    """What a layer gives for every image, its maps laid out in a row."""
    images = readable_images(model, images)
    refuse_unknown_layer(layer)
    seen = [model.activations(chunk)[layer].flatten(2) for chunk in chunks(images)]
    return torch.cat(seen, 1)


def onward(
    model: LeNet5, layer: str, features: Float[Tensor, "run batch feature"]
) -> Logits:
    """The logits if a layer gave these features: the layers after it, on them."""
    signal = features
    if layer in MAPS:
        side = {"C1": C1_SIDE, "S2": S2_SIDE, "C3": C3_SIDE, "S4": S4_SIDE}[layer]
        signal = features.unflatten(2, (-1, side, side))
    for name in LAYERS[LAYERS.index(layer) + 1 :]:
        signal = getattr(model, name)(signal)
    return signal


@torch.no_grad()
def untrained(
    model: LeNet5, treatments: Sequence[Mapping[str, Value]], seeds: Sequence[int]
) -> LeNet5:
    """The networks as they were before training, each from a seed.

    Same structure and scaling of the images; norm statistics as at the start. With the
    seeds of the runs these are the weights from which the runs were trained.
    """
    fresh = copy.deepcopy(model)
    numbers = [
        torch.tensor(
            [float(treatment.get(f"init.{key}") or 0) for treatment in treatments]
        )
        for key in ("coefficient", "bias")
    ]
    fresh.initialise(
        seeds, [str(treatment["init"]) for treatment in treatments], *numbers
    )
    # Running statistics are no parameters, and not set by `initialise`.
    for layer in fresh.children():
        if isinstance(layer, Convolution):
            layer.mean.zero_()
            layer.var.fill_(1)
    return fresh
