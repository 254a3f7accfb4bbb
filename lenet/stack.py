"""The training loop: a stack of runs, trained as one program.

The runs of a stack share a structure (the levels and sizes that fix the computation)
and nothing else: each has its own seed, order, initialisation and learning rate. The
loss is the sum over runs of each run's mean loss, so that one backward pass gives every
run its own gradient. What a run becomes does not depend on the others.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lenet import compiled, draw
from lenet.config import RANGES, Config, Refusal
from lenet.curvature import curvature
from lenet.data import Data
from lenet.factor import adversary
from lenet.factor.augmentation import LEVELS as AUGMENTATIONS
from lenet.factor.augmentation import Number
from lenet.factor.head import LEVELS as HEADS
from lenet.factor.input import LEVELS as INPUTS
from lenet.factor.optimizer import DECOUPLED, SECOND_ORDER
from lenet.factor.optimizer import LEVELS as OPTIMIZERS
from lenet.factor.order import LEVELS as ORDERS
from lenet.factor.schedule import LEVELS as SCHEDULES
from lenet.model import STRUCTURE, LeNet5

PerRun = Float[Tensor, "run"]
Batch = Int64[Tensor, "run batch"]  # which training image comes where
Pixels = Float[Tensor, "run batch 28 28"]  # in [0, 1]
Curve = list[dict[str, float]]  # epoch, train_error, test_error, ..., seconds
SHARED = (
    *(*STRUCTURE, "optimizer", "augmentation", "data", "batch_size", "epochs"),
    *("train_size", "validation_size", "optimizer.samples"),
    *("adversary", "adversary.steps", "adversary.held_out"),
)
PURPOSES = (
    *("order", "augmentation", "curvature", "dropout C5", "dropout F6"),
    *("adversary", "watch"),
)
DROPPED = {"C5": 120, "F6": 84}  # layers that dropout acts on, and their units
TEST_BATCH = 200  # fixed, so that a test error does not depend on the stack


@dataclass(frozen=True)
class Progress:
    """How far a stack is; the errors are means over its runs."""

    epoch: int
    step: int
    steps: int
    batch: int
    train_error: float
    test_error: float | None


Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Result:
    """What became of one run; `diverged_step` is None for a finished one."""

    diverged_step: int | None
    right: Bool[Tensor, "image"]
    weights: Mapping[str, Tensor]
    curve: Curve
    step_sizes: tuple[float, float] | None  # sdlm: the range in the first pass
    seconds: float


def structure(config: Config) -> tuple[object, ...]:
    """What the runs of a stack have in common."""
    return tuple(config.treatment.get(key) for key in SHARED)


def build(configs: Sequence[Config], data: Data, images: Tensor) -> LeNet5:
    """The untrained stack of these runs; images: indices of the training images."""
    levels = {factor: configs[0].level(factor) for factor in STRUCTURE}
    model = LeNet5(len(configs), **levels).to(data.train_images.device)
    inits = [config.level("init") for config in configs]
    constants = (per_run(configs, f"init.{name}") for name in ("coefficient", "bias"))
    model.initialise([config.seed for config in configs], inits, *constants)
    pixels = data.train_images[images].double() / 255
    mean, std = pixels.mean().item(), pixels.std().item()
    scaling = [INPUTS[config.level("input")](mean, std) for config in configs]
    model.input.scale.copy_(torch.tensor([scale for scale, _ in scaling]))
    model.input.shift.copy_(torch.tensor([shift for _, shift in scaling]))
    return model


def per_run(configs: Sequence[Config], key: str) -> Float[Tensor, "run"]:
    """A number of each run, 0 where its levels have no such number."""
    return torch.tensor([config.number(key) for config in configs])


def train(
    configs: Sequence[Config], data: Data, report: Report = lambda progress: None
) -> list[Result]:
    """The trained runs of one structure, in order, each as if it were trained alone.

    A lone run has a companion that is thrown away: kernels for a stack of one differ in
    the last bits from those for two and more, which agree.
    """
    if len({structure(config) for config in configs}) != 1:
        raise Refusal(f"the runs of a stack must share {', '.join(SHARED)}")
    if len(configs) == 1:
        return train([configs[0]] * 2, data, report)[:1]
    stack = Stack.start(configs, data)
    began = time.perf_counter()
    curves: list[Curve] = [[] for _ in configs]
    for epoch in range(stack.epochs):
        errors = {"train_error": stack.run_epoch(epoch, data, report)}
        errors |= stack.evaluate(data)
        means = [errors[key].mean().item() for key in ("train_error", "test_error")]
        report(Progress(epoch + 1, 0, stack.steps, stack.batch_size, *means))
        seconds = (time.perf_counter() - began) / len(configs)
        for run, curve in enumerate(curves):
            if stack.alive[run]:
                point = {key: error[run].item() for key, error in errors.items()}
                curve.append({"epoch": epoch + 1, **point, "seconds": seconds})
        if not stack.alive.any():
            break
    return stack.results(data, curves, time.perf_counter() - began)


@dataclass
class Stack:
    """The state of training: the model, what its optimizer remembers, who is alive."""

    configs: Sequence[Config]
    model: LeNet5
    images: Int64[Tensor, "image"]
    validation: Int64[Tensor, "held_out"]
    numbers: Mapping[str, Float[Tensor, "run"]]
    streams: Mapping[str, Int64[Tensor, "run"]]
    alive: Bool[Tensor, "run"]
    diverged_step: Int64[Tensor, "run"]
    memory: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    step_sizes: list[tuple[float, float]] = field(default_factory=list)

    @classmethod
    def start(cls, configs: Sequence[Config], data: Data) -> "Stack":
        """Before the first step."""
        treatment, device = configs[0].treatment, data.train_images.device
        train_size, held_out = treatment["train_size"], treatment["validation_size"]
        assert not isinstance(train_size, str | float) and isinstance(held_out, int)
        watched = int(configs[0].number("adversary.held_out"))
        images, validation = data.split(train_size, max(held_out, watched))
        keys = {key for config in configs for key in config.treatment} & set(RANGES)
        seeds = [config.seed for config in configs]
        alive = torch.ones(len(configs), dtype=torch.bool, device=device)
        return cls(
            configs=configs,
            model=build(configs, data, images),
            images=images,
            validation=validation,
            numbers={
                key: per_run(configs, key).to(device) for key in keys - set(SHARED)
            },
            streams={use: draw.stream(seeds, use, device) for use in PURPOSES},
            alive=alive,
            diverged_step=torch.full_like(alive, -1, dtype=torch.int64),
        )

    def level(self, factor: str) -> str:
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

    def run_epoch(self, epoch: int, data: Data, report: Report) -> PerRun:
        """Train one pass; the error on the training images as they were presented."""
        orders, rates = self.orders(epoch), self.rates(epoch)
        head = HEADS[self.level("head")]
        number = self.numbers.get(f"head.{head.number}", rates[0])
        wrong, seen = torch.zeros_like(self.diverged_step), 0
        self.model.train()
        if self.level("optimizer") in SECOND_ORDER:
            self.estimate_curvature(epoch, data, rates[0])
        if compiled.can_run(self):
            return self.run_compiled(orders, rates, epoch, data, report)
        for step, batch in enumerate(orders.split(self.batch_size, dim=1)):
            labels = data.train_labels[batch]
            pixels = self.augment(data.train_images[batch] / 255, batch, epoch)
            pixels = self.oppose(pixels, labels, batch, epoch)
            logits = self.model(pixels, self.keep(batch, epoch))
            losses = head.loss(logits, labels, number).mean(1)
            self.update(losses, rates[step], epoch * self.steps + step)
            wrong, seen = wrong + mistakes(logits, labels).sum(1), seen + len(batch[0])
            if step % 50 == 49:
                error = (wrong / seen).mean().item()
                size = self.batch_size
                report(Progress(epoch, step + 1, self.steps, size, error, None))
        return wrong / seen

    def run_compiled(
        self, orders: Tensor, rates: Tensor, epoch: int, data: Data, report: Report
    ) -> PerRun:
        """Train one pass in compiled loops, some images at a time."""
        wrong, seen, size = torch.zeros_like(self.diverged_step), 0, self.batch_size
        pictures = data.train_images / 255
        for batch in orders.split(size * max(1, compiled.IMAGES // size), dim=1):
            step, labels = seen // size, data.train_labels[batch]
            some = rates[step : step + math.ceil(batch.shape[1] / size)]
            done = compiled.train_part(self, batch, some, epoch, step, pictures, labels)
            at = torch.from_numpy(done.diverged)
            died = self.alive & (at >= 0)
            at = epoch * self.steps + step + at
            self.diverged_step = torch.where(died, at, self.diverged_step)
            self.alive = self.alive & ~died
            wrong, seen = wrong + torch.from_numpy(done.errors), seen + batch.shape[1]
            error = (wrong / seen).mean().item()
            last = math.ceil(seen / size)
            report(Progress(epoch, last, self.steps, size, error, None))
        return wrong / seen

    def step_size(self, name: str, weight: Tensor) -> Tensor:
        """What the learning rate is multiplied by: 1, or sdlm's 1 / (mu + h)."""
        if self.level("optimizer") != "sdlm":
            return torch.ones(len(weight))
        mu = self.numbers["optimizer.mu"].view(-1, *[1] * (weight.ndim - 1))
        return 1 / (mu + self.memory[name]["curvature"])

    def estimate_curvature(self, epoch: int, data: Data, rates: PerRun) -> None:
        """Put h_kk, from samples drawn for this pass, where the optimizer looks.

        A share of it may stay from the pass before: none in 1998, all of it in LUSH's
        demo; between lies the running mean of Efficient BackProp (LeCun et al., 1998).
        """
        samples = int(self.configs[0].number("optimizer.samples"))
        keys = draw.fold(self.streams["curvature"], epoch)[:, None]
        order = draw.fold(keys, self.images).argsort(1)[:, :samples]
        images = data.train_images[self.images[order]] / 255
        mu, sizes = self.numbers["optimizer.mu"], []
        scale = self.numbers["optimizer.curvature_scale"]
        kept = self.numbers["optimizer.curvature_kept"]
        for name, found in curvature(self.model, images).items():
            ones, memory = [1] * (found.ndim - 1), self.memory.setdefault(name, {})
            values = found * scale.view(-1, *ones)
            before = memory.get("curvature", values)
            values = values.lerp(before, kept.view(-1, *ones))
            memory["curvature"] = values
            sizes.append((rates / (mu + values.flatten(1).mT)).mT)
        if epoch == 0:
            every = torch.cat(sizes, 1)
            low, high = every.amin(1).tolist(), every.amax(1).tolist()
            self.step_sizes = list(zip(low, high, strict=True))

    def orders(self, epoch: int) -> Int64[Tensor, "run image"]:
        """The training images in each run's order."""
        streams = self.streams["order"].split(1)
        pairs = zip(self.configs, streams, strict=True)
        orders = [ORDERS[c.level("order")](s, epoch, self.images) for c, s in pairs]
        return torch.cat(orders)

    def rates(self, epoch: int) -> Float[Tensor, "step run"]:
        """Each run's learning rate at each step of a pass."""
        steps = torch.arange(self.steps, device=self.images.device)
        progress = (epoch + steps / self.steps) / self.epochs
        factors = [
            SCHEDULES[config.level("schedule")](
                progress, epoch, config.number("schedule.warmup")
            )
            for config in self.configs
        ]
        return torch.stack(factors, 1) * self.numbers["optimizer.lr"]

    def augment(self, pixels: Pixels, batch: Batch, epoch: int) -> Pixels:
        """Each run's images, distorted."""
        level = self.level("augmentation")
        if level == "none":
            return pixels
        draws = self.draws(batch, epoch)
        return AUGMENTATIONS[level](pixels.flatten(0, 1), *draws).view_as(pixels)

    def draws(self, batch: Batch, epoch: int) -> tuple[Tensor, Number]:
        """The key of each image of each run for augmentation, and its numbers."""
        streams = draw.fold(self.streams["augmentation"], epoch)
        keys = draw.fold(streams[:, None], batch).flatten()

        return keys, partial(self.for_images, batch.shape[1])

    def for_images(self, count: int, name: str) -> Float[Tensor, "image"]:
        """A number of augmentation, `count` times for each run."""
        return self.numbers[f"augmentation.{name}"].repeat_interleave(count)

    def oppose(
        self, pixels: Pixels, labels: Tensor, batch: Batch, epoch: int
    ) -> Pixels:
        """Each run's images, moved to where its loss is larger."""
        if self.level("adversary") == "none":
            return pixels
        head = HEADS[self.level("head")]
        number = self.numbers.get(f"head.{head.number}", self.numbers["optimizer.lr"])
        return adversary.opposed(
            self.level("adversary"),
            self.model,
            pixels,
            lambda logits: head.loss(logits, labels, number),
            draw.fold(draw.fold(self.streams["adversary"], epoch)[:, None], batch),
            (self.numbers["adversary.epsilon"], self.numbers["adversary.step"]),
            int(self.configs[0].number("adversary.steps")),
        )

    def keep(self, batch: Batch, epoch: int) -> dict[str, Tensor] | None:
        """Dropout's masks over C5 and F6, divided by the share that is kept."""
        share = 1 - self.numbers["dropout"][:, None, None]
        if bool((share == 1).all()):
            return None
        masks = {}
        for layer, units in DROPPED.items():
            streams = draw.fold(self.streams[f"dropout {layer}"], epoch)
            keys = draw.fold(streams[:, None], batch)[:, :, None]
            places = torch.arange(units, device=batch.device)
            masks[layer] = (draw.uniform(draw.fold(keys, places)) < share) / share
        return masks

    def update(self, losses: PerRun, rates: PerRun, step: int) -> None:
        """One step of the optimizer; a run with a non-finite loss stays where it is."""
        parameters = dict(self.model.named_parameters())
        gradients = torch.autograd.grad(losses.sum(), list(parameters.values()))
        died = self.alive & ~losses.detach().isfinite()
        self.diverged_step = torch.where(died, step, self.diverged_step)
        self.alive = self.alive & ~died
        rates = rates * self.alive
        with torch.no_grad():
            for (name, weight), gradient in zip(
                parameters.items(), gradients, strict=True
            ):
                self.move(name, weight, gradient, rates)

    def move(self, name: str, weight: Tensor, gradient: Tensor, rates: PerRun) -> None:
        """Update one parameter of every run that is alive, in place."""
        ones, level = [1] * (weight.ndim - 1), self.level("optimizer")
        rate, alive = rates.view(-1, *ones), self.alive.view(-1, *ones)
        decay = self.numbers["optimizer.weight_decay"].view(-1, *ones)
        if not name.endswith("bias") and bool((decay > 0).any()):
            if level in DECOUPLED:
                weight.mul_(1 - rate * decay)
            else:
                gradient = gradient + decay * weight
        if not self.alive.all():
            gradient = torch.where(alive, gradient, 0)

        memory = self.memory.setdefault(name, {})
        number = partial(self.for_weights, weight.ndim)
        OPTIMIZERS[level](weight, gradient, memory, rate, number)

    def for_weights(self, axes: int, key: str) -> Float[Tensor, "run ..."]:
        """A number of the optimizer, shaped to broadcast over a weight of every run."""
        return self.numbers[f"optimizer.{key}"].view(-1, *[1] * (axes - 1))

    @torch.no_grad()
    def right(self, images: Tensor, labels: Tensor) -> Bool[Tensor, "run image"]:
        """Which images each run classifies correctly."""
        self.model.eval()
        batches = zip(images.split(TEST_BATCH), labels.split(TEST_BATCH), strict=True)
        wrong = [mistakes(self.model(i / 255), labels) for i, labels in batches]
        return ~torch.cat(wrong, 1)

    def evaluate(self, data: Data) -> dict[str, Tensor]:
        """The errors of each run on the test images, and on those held out, if any."""
        errors = {"test_error": self.right(data.test_images, data.test_labels)}
        if len(self.validation):
            held_out = self.validation
            images, labels = data.train_images[held_out], data.train_labels[held_out]
            errors["validation_error"] = self.right(images, labels)
        if watched := int(self.configs[0].number("adversary.held_out")):
            errors["pgd_error"] = self.withstood(data, self.validation[:watched])
        return {key: (~right).double().mean(1) for key, right in errors.items()}

    def withstood(self, data: Data, images: Tensor) -> Bool[Tensor, "run image"]:
        """Which of these training images each run classifies correctly under PGD."""
        parts = images.split(TEST_BATCH)
        keys = [draw.fold(self.streams["watch"][:, None], part) for part in parts]
        found = [
            adversary.withstood(
                self.model,
                data.train_images[part] / 255,
                data.train_labels[part],
                key,
                self.numbers["adversary.epsilon"],
            )
            for part, key in zip(parts, keys, strict=True)
        ]
        return torch.cat(found, 1)

    def results(
        self, data: Data, curves: Sequence[Curve], seconds: float
    ) -> list[Result]:
        """What became of each run; one that broke in its last step has diverged."""
        sums = [w.detach().flatten(1).sum(1) for w in self.model.parameters()]
        broken = self.alive & ~torch.stack(sums).isfinite().all(0)
        last = self.epochs * self.steps - 1
        self.diverged_step = torch.where(broken, last, self.diverged_step)
        self.alive = self.alive & ~broken
        right = self.right(data.test_images, data.test_labels).cpu()
        state = {key: value.cpu() for key, value in self.model.state_dict().items()}
        return [
            Result(
                diverged_step=None if alive else step,
                right=right[run],
                weights={key: value[run].clone() for key, value in state.items()},
                curve=curves[run],
                step_sizes=self.step_sizes[run] if self.step_sizes else None,
                seconds=seconds / len(self.configs),
            )
            for run, (alive, step) in enumerate(
                zip(self.alive.tolist(), self.diverged_step.tolist(), strict=True)
            )
        ]


def mistakes(logits: Tensor, labels: Tensor) -> Bool[Tensor, "run batch"]:
    """Where the largest logit is not the label's; a NaN is a mistake."""
    right = logits.argmax(-1) == labels
    return ~(right & logits.isfinite().all(-1))
