"""A pass of a stack through the compiled loops of lenet/pattern.py.

The same arithmetic as the plain loop of lenet/stack.py, for float32 on a processor and
every level but batch norm and the adversaries. Here tensors and levels become the
loops' plain arrays.
"""

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from lenet import pattern
from lenet.factor.augmentation import MOTIONS
from lenet.factor.head import LEVELS as HEADS
from lenet.factor.head import bitmaps
from lenet.factor.optimizer import DECOUPLED, memory
from lenet.kernel import ACTIVATIONS, OPTIMIZERS, POOLINGS
from lenet.kernel import HEADS as COMPILED_HEADS
from lenet.model import STRUCTURE

if TYPE_CHECKING:
    from lenet.stack import Stack

Batch = Int64[Tensor, "run image"]  # which training image comes where
Pictures = Float[Tensor, "picture 28 28"]  # in [0, 1]
NOTHING = torch.empty(0)
IMAGES = 4000  # at a time: memory for what is drawn, and how often the bar moves
# The levels that the loops know; a stack with another goes through the plain loop.
KNOWN: dict[str, Container[str]] = {
    "activation": ACTIVATIONS,
    "pooling": POOLINGS,
    "norm": ("none",),
    "head": COMPILED_HEADS,
    "optimizer": OPTIMIZERS,
    "adversary": ("none",),
}
# What the loops call `first` and `second` of an optimizer's numbers.
FIRST = {
    "momentum": "momentum",
    "nesterov": "momentum",
    "adam": "beta1",
    "adamw": "beta1",
}
SECOND = {"rmsprop": "decay", "adam": "beta2", "adamw": "beta2"}


def can_run(stack: "Stack") -> bool:
    """Whether the loops know all that this stack asks for."""
    weight = stack.model.C1.weight
    known = all(stack.level(factor) in levels for factor, levels in KNOWN.items())
    return known and weight.dtype == torch.float32 and weight.device.type == "cpu"


def by_pattern(stack: "Stack") -> bool:
    """Whether a weight can move as soon as its gradient is known: steps after single
    images that remember nothing, without dropout or weight decay."""
    treatments = [config.treatment for config in stack.configs]
    return (
        stack.batch_size == 1
        and stack.level("optimizer") in ("sgd", "sdlm")
        and not any(t["dropout"] or t["optimizer.weight_decay"] for t in treatments)
    )


def train_part(
    stack: "Stack",
    batch: Batch,
    rates: Float[Tensor, "step run"],
    epoch: int,
    step: int,
    pictures: Pictures,
    labels: Int64[Tensor, "run image"],
) -> pattern.Pass:
    """Train on some images of a pass, from its step `step` on."""
    weights = {name: w.detach() for name, w in stack.model.named_parameters()}
    arrays = {name: weight.numpy() for name, weight in weights.items()}
    seen = shown(stack, batch, epoch, pictures, labels)
    about = seen, network(stack), torch.get_num_threads()
    rates = rates * stack.alive
    if by_pattern(stack):
        sizes = {name: stack.step_size(name, w).numpy() for name, w in weights.items()}
        return pattern.train_pass(arrays, sizes, rates.mT.numpy(), *about)
    done = epoch * stack.steps + step
    return pattern.train_batches(arrays, steps(stack, weights, rates, done), *about)


def network(stack: "Stack") -> pattern.Network:
    """What the runs are, apart from their parameters."""
    scale, shift = stack.model.input.scale, stack.model.input.shift
    key = f"head.{HEADS[stack.level('head')].number}"
    number = stack.numbers.get(key, torch.zeros_like(scale))
    return pattern.Network(
        **{level: stack.level(level) for level in STRUCTURE if level != "norm"},
        scale=scale.numpy(),
        shift=shift.numpy(),
        number=number.numpy(),
        bitmaps=bitmaps().numpy(),
    )


def shown(
    stack: "Stack",
    batch: Batch,
    epoch: int,
    pictures: Pictures,
    labels: Int64[Tensor, "run image"],
) -> pattern.Shown:
    """The images, with what augmentation and dropout draw for them."""
    level, where, masks = stack.level("augmentation"), NOTHING, NOTHING
    order = batch
    if level in MOTIONS:
        where = MOTIONS[level](*stack.draws(batch, epoch)).view(*batch.shape, 2, 3)
    elif level != "none":
        pictures = stack.augment(pictures[batch], batch, epoch).flatten(0, 1)
        order = torch.arange(len(pictures)).view_as(batch)
    dropped = stack.keep(batch, epoch)
    if dropped:
        masks = torch.cat([dropped["C5"], dropped["F6"]], -1)
    tensors = (pictures, order, labels, where, masks)
    return pattern.Shown(*(tensor.numpy() for tensor in tensors))


def steps(
    stack: "Stack",
    weights: Mapping[str, Tensor],
    rates: Float[Tensor, "step run"],
    done: int,
) -> pattern.Steps:
    """What the optimizer does at these rates, after `done` steps."""
    level, ones = stack.level("optimizer"), torch.ones_like(rates)

    def number(name: str | None) -> Float[Tensor, "run"]:
        return stack.numbers.get(f"optimizer.{name}", torch.zeros_like(rates[0]))

    first, second = number(FIRST.get(level)), number(SECOND.get(level))
    decay, epsilon = number("weight_decay"), number("epsilon") * ones
    shrink = rates * decay if level in DECOUPLED else 0 * rates
    if level in ("adam", "adamw"):  # averages that start at 0, as `adam` corrects them
        count = done + 1 + torch.arange(len(rates))[:, None]
        scale = (1 - second**count).sqrt()
        rates, epsilon = rates * scale / (1 - first**count), epsilon * scale
    kinds = [kind for kind in OPTIMIZERS[level][1] if kind]
    return pattern.Steps(
        level,
        stack.batch_size,
        torch.stack([rates, shrink, epsilon], -1).transpose(0, 1).numpy(),
        (0 * decay if level in DECOUPLED else decay).numpy(),
        first.numpy(),
        second.numpy(),
        {kind: remembered(stack, kind, weights) for kind in kinds},
    )


def remembered(
    stack: "Stack", kind: str, weights: Mapping[str, Tensor]
) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """What the optimizer keeps for every weight, to be changed in place."""
    if kind == "step_size":  # sdlm's, which stay as they are during a pass
        return {name: stack.step_size(name, w).numpy() for name, w in weights.items()}
    return {
        name: memory(stack.memory.setdefault(name, {}), kind, weight).numpy()
        for name, weight in weights.items()
    }
