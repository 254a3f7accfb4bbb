"""What the runs of a stack are to do: their numbers, and all that they draw.

None of it changes while they train, so that the plain loop (stack.py) and the compiled
one (compiled.py) read the same. Whatever is drawn is a function of a run's seed, of
what it is for, of the pass and of the image.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from lenet.config import RANGES, Config
from lenet.training import draws
from lenet.training.data import Data
from lenet.training.factor import adversary
from lenet.training.factor.augmentation import Number
from lenet.training.factor.average import LEVELS as AVERAGES
from lenet.training.factor.mix import LEVELS as MIXES
from lenet.training.factor.mix import partners
from lenet.training.factor.optimizer import LEVELS as OPTIMIZERS
from lenet.training.factor.order import LEVELS as ORDERS
from lenet.training.factor.schedule import LEVELS as SCHEDULES
from lenet.training.model import STRUCTURE, WIDTHS, LeNet5

PerRun = Float[Tensor, "run"]
Batch = Int64[Tensor, "run batch"]  # which training image comes where
SHARED = (
    *(*STRUCTURE, "optimizer", "augmentation", "data", "batch_size", "epochs"),
    *("train_size", "validation_size", "optimizer.samples", "optimizer.samples_first"),
    *("adversary", "adversary.steps", "adversary.held_out", "average", "mix"),
    *("teacher", "teacher.records"),
)
PURPOSES = (
    *("order", "augmentation", "curvature", "dropout C5", "dropout F6"),
    *("adversary", "watch", "mix"),
)
# The layers that dropout acts on, and their units.
DROPPED = dict(zip(("C5", "F6"), WIDTHS[2:], strict=True))
IMAGES = 4000  # at a time: memory for what is drawn, and how often the bar moves


class Teacher(NamedTuple):
    """A trained run whose answers others learn from, as a stack of one."""

    config: Config
    model: LeNet5


@dataclass(frozen=True)
class Mates:
    """With which training image each image of each run is mixed, and which share of the
    mixture it is itself."""

    partners: Batch
    shares: Float[Tensor, "run batch"]

    def main(self, batch: Batch) -> Batch:
        """The image that has the larger share."""
        return torch.where(self.shares < 0.5, self.partners, batch)


@dataclass(frozen=True)
class Recipe:
    """The runs of a stack as they are configured, and the images that they train on.

    numbers: those of each run's levels. streams: for each purpose, what its draws are
    from. teachers: the runs to learn from; answered: what they say of each training
    image, or None where they are asked of each image as it is presented.
    """

    configs: Sequence[Config]
    images: Int64[Tensor, "image"]
    validation: Int64[Tensor, "held_out"]
    numbers: Mapping[str, Float[Tensor, "run"]]
    streams: Mapping[str, Int64[Tensor, "run"]]
    answered: Float[Tensor, "run picture class"] | None = None
    teachers: Sequence[Teacher] = ()

    @classmethod
    def of(
        cls,
        configs: Sequence[Config],
        data: Data,
        answered: Tensor | None,
        teachers: Sequence[Teacher],
    ) -> "Recipe":
        """Of runs of one structure."""
        treatment, device = configs[0].treatment, data.train_images.device
        train_size, held_out = treatment["train_size"], treatment["validation_size"]
        assert not isinstance(train_size, str | float) and isinstance(held_out, int)
        watched = int(configs[0].number("adversary.held_out"))
        images, validation = data.split(train_size, max(held_out, watched))
        keys = {key for config in configs for key in config.treatment} & set(RANGES)
        seeds = [config.seed for config in configs]
        return cls(
            configs=configs,
            images=images,
            validation=validation,
            numbers={
                key: per_run(configs, key).to(device) for key in keys - set(SHARED)
            },
            streams={use: draws.stream(seeds, use, device) for use in PURPOSES},
            answered=answered,
            teachers=teachers,
        )

    def teacher_of(self, batch: Batch, epoch: int) -> Batch:
        """Which teacher is asked of each image: in the next pass the next one.

        The slope of the loss is linear in what a teacher says, so that over the passes
        an image pulls as if the mean of them all were asked each time.
        """
        return (batch + epoch) % len(self.teachers)

    def level(self, factor: str) -> str:
        """The level that all runs share."""
        return self.configs[0].level(factor)

    @property
    def epochs(self) -> int:
        return int(self.configs[0].number("epochs"))

    @property
    def batch_size(self) -> int:
        return int(self.configs[0].number("batch_size"))

    @property
    def steps(self) -> int:
        """Steps per epoch; the last one may have fewer images."""
        return math.ceil(len(self.images) / self.batch_size)

    @property
    def part(self) -> int:
        """The steps that the compiled loops make at a time, and after which weights
        are averaged."""
        level = AVERAGES[self.level("average")]
        images = (level and level.images) or IMAGES
        return max(1, images // self.batch_size)

    def number(self, name: str | None) -> PerRun:
        """A number of the optimizer of each run, 0 where it has no such."""
        none = torch.zeros(len(self.configs), device=self.images.device)
        return self.numbers.get(f"optimizer.{name}", none)

    def head_number(self, name: str | None) -> PerRun:
        """The number of the head of each run, 0 where it has none."""
        none = torch.zeros(len(self.configs), device=self.images.device)
        return self.numbers.get(f"head.{name}", none)

    def coupled_decay(self) -> PerRun:
        """What times the weight is added to the gradient of each run."""
        decay = self.number("weight_decay")
        return decay * (not OPTIMIZERS[self.level("optimizer")].decoupled)

    def step_numbers(
        self, alive: Bool[Tensor, "run"], epoch: int, first: int, count: int
    ) -> tuple[Float[Tensor, "step run"], ...]:
        """Each run's learning rate, the share that decoupled decay takes and epsilon,
        at `count` steps of a pass from its step `first` on; 0 for a run that is not
        alive."""
        level, columns = OPTIMIZERS[self.level("optimizer")], []
        plain = self.rates(epoch, level.rate)[first : first + count] * alive
        done = epoch * self.steps + first
        for run, config in enumerate(self.configs):
            one, other = (config.number(f"optimizer.{name}") if name else 0.0
                          for name in (level.first, level.second))  # fmt: skip
            steps = np.arange(done + 1, done + 1 + len(plain))
            rate, size = level.corrections(one, other, steps)
            epsilon = config.number("optimizer.epsilon") * size
            decay = config.number("optimizer.weight_decay") * level.decoupled
            rates = plain[:, run].cpu().numpy()
            columns.append(np.stack([rates * rate, rates * decay, epsilon]))
        numbers = torch.from_numpy(np.stack(columns, -1)).to(plain.device)
        return numbers.to(torch.get_default_dtype()).unbind()

    def hidden_numbers(
        self, alive: Bool[Tensor, "run"], epoch: int, first: int, count: int
    ) -> tuple[Float[Tensor, "step run"], ...]:
        """The rate and the share that decay takes of the weights in HIDDEN, where they
        have a rule of their own."""
        rates = self.rates(epoch)[first : first + count] * alive
        shrink = rates * self.number("weight_decay").double()
        default = torch.get_default_dtype()
        return rates.to(default), shrink.to(default)

    def samples(self, epoch: int) -> Int64[Tensor, "run sample"]:
        """The training images that h is from: drawn for this pass, or, where
        `optimizer.samples_first` is 1, the first of its order."""
        count = int(self.configs[0].number("optimizer.samples"))
        keys = draws.fold(self.streams["curvature"], epoch)[:, None]
        if self.configs[0].number("optimizer.samples_first"):
            return self.orders(epoch)[:, :count]
        order = draws.fold(keys, self.images).argsort(dim=1, stable=True)[:, :count]
        return self.images[order]

    def orders(self, epoch: int) -> Int64[Tensor, "run image"]:
        """The training images in each run's order."""
        streams = self.streams["order"].split(1)
        pairs = zip(self.configs, streams, strict=True)
        orders = [
            ORDERS[config.level("order")](stream, epoch, self.images)
            for config, stream in pairs
        ]
        return torch.cat(orders)

    def rates(self, epoch: int, name: str = "lr") -> Float64[Tensor, "step run"]:
        """Each run's learning rate of this name at each step of a pass."""
        steps = torch.arange(self.steps, device=self.images.device).double()
        progress = (epoch + steps / self.steps) / self.epochs
        factors = [
            SCHEDULES[config.level("schedule")](
                progress, epoch, config.number("schedule.warmup")
            )
            for config in self.configs
        ]
        rates = [config.number(f"optimizer.{name}") for config in self.configs]
        return torch.stack(factors, 1) * torch.tensor(rates).to(factors[0])

    def mates(self, batch: Batch, epoch: int) -> Mates | None:
        """With what each run's images are mixed, where they are."""
        if not (level := MIXES[self.level("mix")]):
            return None
        keys = draws.fold(draws.fold(self.streams["mix"], epoch)[:, None], batch)
        shares = level(keys, self.numbers["mix.alpha"])
        return Mates(partners(keys, self.images), shares)

    def distortion_draws(self, batch: Batch, epoch: int) -> tuple[Tensor, Number]:
        """The key of each image of each run for augmentation, and its numbers."""
        streams = draws.fold(self.streams["augmentation"], epoch)
        keys = draws.fold(streams[:, None], batch).flatten()
        return keys, partial(self.for_images, batch.shape[1])

    def for_images(self, count: int, name: str) -> Float[Tensor, "image"]:
        """A number of augmentation, `count` times for each run."""
        return self.numbers[f"augmentation.{name}"].repeat_interleave(count)

    @property
    def adversary_steps(self) -> int:
        """How many steps images are moved before a run learns from them."""
        steps = int(self.configs[0].number("adversary.steps"))
        return adversary.STEPS[self.level("adversary")](steps)

    def adversary_keys(self, batch: Batch, epoch: int) -> Int64[Tensor, "run batch"]:
        """The key of each image of each run for where an adversary starts."""
        return draws.fold(draws.fold(self.streams["adversary"], epoch)[:, None], batch)

    def dropout_masks(self, batch: Batch, epoch: int) -> dict[str, Tensor] | None:
        """Dropout's masks over C5 and F6, divided by the share that is kept."""
        share = 1 - self.numbers["dropout"][:, None, None]
        if bool((share == 1).all()):
            return None
        masks = {}
        for layer, units in DROPPED.items():
            streams = draws.fold(self.streams[f"dropout {layer}"], epoch)
            keys = draws.fold(streams[:, None], batch)[:, :, None]
            places = torch.arange(units, device=batch.device)
            masks[layer] = (draws.uniform(draws.fold(keys, places)) < share) / share
        return masks


def structure(config: Config) -> tuple[object, ...]:
    """What the runs of a stack have in common."""
    return tuple(config.treatment.get(key) for key in SHARED)


def per_run(configs: Sequence[Config], key: str) -> Float[Tensor, "run"]:
    """A number of each run, 0 where its levels have no such number."""
    return torch.tensor([float(config.number(key)) for config in configs])
