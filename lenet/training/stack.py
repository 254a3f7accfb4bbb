"""The training loop: a stack of runs, trained as one program.

The runs of a stack share a structure (the levels and sizes that fix the computation)
and nothing else: each has its own seed, order, initialisation and learning rate. The
loss is the sum over runs of each run's mean loss, so that one backward pass gives every
run its own gradient. What a run becomes does not depend on the others.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lenet.config import Config, Refusal
from lenet.training import compiled, draws
from lenet.training.curvature import curvature
from lenet.training.data import Data
from lenet.training.factor import adversary
from lenet.training.factor.augmentation import LEVELS as AUGMENTATIONS
from lenet.training.factor.average import LEVELS as AVERAGES
from lenet.training.factor.average import Moment
from lenet.training.factor.head import LEVELS as HEADS
from lenet.training.factor.head import as_targets
from lenet.training.factor.input import LEVELS as INPUTS
from lenet.training.factor.optimizer import (
    HIDDEN,
    SECOND_ORDER,
    Numbers,
    orthogonalised,
)
from lenet.training.factor.optimizer import LEVELS as OPTIMIZERS
from lenet.training.factor.teacher import CONSISTENT, softened
from lenet.training.factor.teacher import LEVELS as TEACHERS
from lenet.training.model import STRUCTURE, WIDTHS, Convolution, LeNet5
from lenet.training.recipe import (
    SHARED,
    Batch,
    PerRun,
    Recipe,
    Teacher,
    per_run,
    structure,
)

Pixels = Float[Tensor, "run batch 28 28"]  # in [0, 1]
Curve = list[dict[str, float]]  # epoch, train_error, train_wrong, ..., seconds
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
    """What became of one run; `diverged_step` is None for a finished one.

    answers: the class that it gives each test image, -1 where a score is no number;
    right: whether that is its label. weights: all that its network knows, by name, such
    as `C1.weight`. curve: a point for each pass, errors as fractions. seconds and
    processor_seconds are the run's own share of its stack's.
    """

    diverged_step: int | None
    right: Bool[Tensor, "image"]
    answers: Int64[Tensor, "image"]
    weights: Mapping[str, Tensor]
    curve: Curve
    step_sizes: tuple[float, float] | None  # sdlm: the range in the first pass
    seconds: float
    processor_seconds: float


def build(
    configs: Sequence[Config],
    data: Data,
    images: Tensor,
    widths: Sequence[int] = WIDTHS,
) -> LeNet5:
    """The untrained stack of these runs; images: indices of the training images."""
    levels = {factor: configs[0].level(factor) for factor in STRUCTURE}
    model = LeNet5(len(configs), **levels, classes=data.classes, widths=widths)
    model = model.to(data.train_images.device)
    inits = [config.level("init") for config in configs]
    constants = (per_run(configs, f"init.{name}") for name in ("coefficient", "bias"))
    model.initialise([config.seed for config in configs], inits, *constants)
    mean, std = moments(data.train_images[images])
    scaling = [INPUTS[config.level("input")](mean, std) for config in configs]
    model.input.scale.copy_(torch.tensor([scale for scale, _ in scaling]))
    model.input.shift.copy_(torch.tensor([shift for _, shift in scaling]))
    return model


def moments(pixels: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of bytes as pixels in [0, 1]; their sums are whole
    numbers, exact on every machine."""
    counts = torch.bincount(pixels.flatten().long(), minlength=256).tolist()
    count = sum(counts)
    total = sum(times * value for value, times in enumerate(counts))
    squares = sum(times * value * value for value, times in enumerate(counts))
    variance = (squares * count - total * total) / (count * (count - 1))
    return total / count / 255, math.sqrt(variance) / 255


def train(
    configs: Sequence[Config],
    data: Data,
    report: Report = lambda progress: None,
    teachers: Sequence[Teacher] = (),
    widths: Sequence[int] = WIDTHS,
) -> list[Result]:
    """What became of each run, in order, each as if it were trained alone.

    configs: runs of one structure. report: is told how far they are, within each pass
    and after it. teachers: where they learn from the answers of trained runs, those.
    widths: as `LeNet5` takes them; others than its own have torch's loop.

    A Refusal where the structures differ, where teachers are missing, and of dropout in
    other widths; a run that diverges raises nothing: its `Result` says at which step.

    >>> from lenet.config import composed
    >>> from lenet.training.data import load_data
    >>> line = ["preset=modern", "data=digits", "train_size=50", "epochs=1"]
    >>> configs, _ = composed([*line, "replicates=2"])
    >>> results = train(configs, load_data("digits", None))
    >>> [(run.diverged_step, len(run.answers), len(run.curve)) for run in results]
    [(None, 500, 1), (None, 500, 1)]
    >>> results[0].weights["C1.weight"].shape
    torch.Size([6, 1, 5, 5])
    """
    if len({structure(config) for config in configs}) != 1:
        raise Refusal(f"the runs of a stack must share {', '.join(SHARED)}")
    stack = Stack.start(configs, data, teachers, widths)
    recipe = stack.recipe
    began, worked = time.perf_counter(), time.process_time()
    curves: list[Curve] = [[] for _ in configs]
    for epoch in range(recipe.epochs):
        wrong, seen = stack.run_epoch(epoch, data, report)
        with stack.averaged():
            counts = {"train": (wrong, seen)} | stack.evaluate(data)
        means = [float(counts[key][0].double().mean()) / counts[key][1]
                 for key in ("train", "test")]  # fmt: skip
        report(Progress(epoch + 1, 0, recipe.steps, recipe.batch_size, *means))
        seconds = (time.perf_counter() - began) / len(configs)
        for run, curve in enumerate(curves):
            if stack.alive[run]:
                point = stack.point(epoch, run, counts)
                curve.append({**point, "seconds": seconds})
        if not stack.alive.any():
            break
    spent = time.perf_counter() - began, time.process_time() - worked
    return stack.results(data, curves, spent)


@dataclass
class Stack:
    """The state of training: the model, what its optimizer remembers, who is alive."""

    recipe: Recipe
    model: LeNet5
    alive: Bool[Tensor, "run"]
    diverged_step: Int64[Tensor, "run"]
    memory: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    step_sizes: list[list[tuple[float, float]]] = field(default_factory=list)  # by pass
    averages: dict[str, Tensor] = field(default_factory=dict)  # see `remember`

    @classmethod
    def start(
        cls,
        configs: Sequence[Config],
        data: Data,
        teachers: Sequence[Teacher] = (),
        widths: Sequence[int] = WIDTHS,
    ) -> "Stack":
        """Before the first step."""
        answered, level = None, configs[0].level("teacher")
        if TEACHERS[level] and not teachers:
            raise Refusal(f"teacher={level}: give train() the runs that are to teach")
        if tuple(widths) != WIDTHS and any(run.number("dropout") for run in configs):
            raise Refusal(f"dropout is of C5 and F6 of {WIDTHS[2:]} units: dropout=0")
        device = data.train_images.device
        teachers = teachers if TEACHERS[level] else ()
        for teacher in teachers:
            teacher.model.to(device).eval()
        if TEACHERS[level] and level not in CONSISTENT:
            scores = torch.stack([scores_of(teacher, data) for teacher in teachers])
            heat = per_run(configs, "teacher.temperature")
            answered = softened(scores[:, None], heat)
        recipe = Recipe.of(configs, data, answered, teachers)
        model = build(configs, data, recipe.images, widths)
        alive = torch.ones(len(configs), dtype=torch.bool, device=device)
        return cls(recipe, model, alive, torch.full_like(alive, -1, dtype=torch.int64))

    def run_epoch(
        self, epoch: int, data: Data, report: Report
    ) -> tuple[Int64[Tensor, "run"], int]:
        """Train one pass; how many training images were wrong as they were presented,
        and how many there were."""
        recipe = self.recipe
        orders = recipe.orders(epoch)
        self.model.train()
        if recipe.level("optimizer") in SECOND_ORDER:
            self.estimate_curvature(epoch, data)
        models = [self.model]
        if recipe.level("teacher") in CONSISTENT:
            models += [teacher.model for teacher in recipe.teachers]
        if all(map(compiled.can_run, models)):
            return self.run_compiled(orders, epoch, data, report)
        wrong, seen = torch.zeros_like(self.diverged_step), 0
        for step, batch in enumerate(orders.split(recipe.batch_size, dim=1)):
            mates = recipe.mates(batch, epoch)
            main = mates.main(batch) if mates else batch
            labels = data.train_labels[main]
            pixels = self.presented(batch, epoch, data)
            pixels = self.adversarial_images(pixels, batch, epoch, data)
            logits = self.model(pixels, recipe.dropout_masks(batch, epoch))
            losses = self.losses(logits, batch, epoch, data).mean(1)
            self.update(losses, epoch, step)
            if (step + 1) % recipe.part == 0 or step + 1 == recipe.steps:
                self.remember(-(-(step + 1) // recipe.part), epoch)
            wrong, seen = wrong + mistakes(logits, labels).sum(1), seen + len(batch[0])
            if step % 50 == 49:
                error = (wrong / seen).mean().item()
                size = recipe.batch_size
                report(Progress(epoch, step + 1, recipe.steps, size, error, None))
        return wrong, seen

    def run_compiled(
        self, orders: Tensor, epoch: int, data: Data, report: Report
    ) -> tuple[Int64[Tensor, "run"], int]:
        """Train one pass in compiled loops, some images at a time."""
        recipe, size = self.recipe, self.recipe.batch_size
        wrong, seen = torch.zeros_like(self.diverged_step), 0
        for place, batch in enumerate(orders.split(size * recipe.part, dim=1), 1):
            mates = recipe.mates(batch, epoch)
            main = mates.main(batch) if mates else batch
            step, labels = seen // size, data.train_labels[main]
            done = compiled.train_part(
                recipe, self.model, self.memory, self.alive, batch, epoch, step, data
            )
            at = torch.from_numpy(done.diverged)
            died = self.alive & (at >= 0)
            at = epoch * recipe.steps + step + at
            self.diverged_step = torch.where(died, at, self.diverged_step)
            self.alive = self.alive & ~died
            wrong = wrong + (torch.from_numpy(done.answers) != labels).sum(1)
            self.remember(place, epoch)
            seen += batch.shape[1]
            error = (wrong / seen).mean().item()
            last = math.ceil(seen / size)
            report(Progress(epoch, last, recipe.steps, size, error, None))
        return wrong, seen

    @torch.no_grad()
    def remember(self, place: int, epoch: int) -> None:
        """Let the weights as they are into their averages; place: how often, with this
        time, in their pass."""
        recipe = self.recipe
        if not (level := AVERAGES[recipe.level("average")]):
            return
        now = Moment(place, -(-recipe.steps // recipe.part), epoch, recipe.epochs)
        key = f"average.{level.number}"
        shares = [level.share(now, config.number(key)) for config in recipe.configs]
        if not any(shares):
            return
        share = torch.tensor(shares, dtype=torch.float64, device=self.alive.device)
        for name, weight in self.averaging().items():
            mean = self.averages.setdefault(name, torch.zeros_like(weight))
            new, old = (part.to(weight).view(-1, *[1] * (weight.ndim - 1))
                        for part in (share, 1 - share))  # fmt: skip
            mean.mul_(old).add_(weight * new)

    def averaging(self) -> dict[str, Tensor]:
        """What is averaged, where anything is: the parameters and, but for `pass`,
        batch norm's running statistics."""
        parts: dict[str, Tensor] = dict(self.model.named_parameters())
        level = AVERAGES[self.recipe.level("average")]
        if level and level.running and self.recipe.level("norm") != "none":
            for name, layer in (("C1", self.model.C1), ("C3", self.model.C3)):
                parts |= {f"{name}.mean": layer.mean, f"{name}.var": layer.var}
        return parts

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with its averages for weights, where there are any."""
        weights = self.averaging()
        own = {name: weights[name].detach().clone() for name in self.averages}
        with torch.no_grad():
            for name, mean in self.averages.items():
                weights[name].copy_(mean)
            yield
            for name, weight in own.items():
                weights[name].copy_(weight)

    def estimate_curvature(self, epoch: int, data: Data) -> None:
        """Put 1 / (mu + h_kk), from some images, where the optimizer looks, and note
        the range of step sizes.

        A share of h may stay from the pass before: none in 1998, all of it in LUSH's
        demo; between lies the running mean of Efficient BackProp (LeCun et al., 1998).
        mu + h may have a least value, so that no step is larger (after Liew et al.,
        Neurocomputing 186, 2016).
        """
        recipe = self.recipe
        chosen, sizes = recipe.samples(epoch), []
        rates = recipe.rates(epoch)[0].to(recipe.numbers["optimizer.mu"])
        for name, estimates in self.curvature(data, chosen).items():
            memory = self.memory.setdefault(name, {})
            mu, scale, kept = (
                recipe.numbers[f"optimizer.{key}"].view(-1, *[1] * (estimates.ndim - 1))
                for key in ("mu", "curvature_scale", "curvature_kept")
            )
            values = estimates * scale
            before = memory.get("curvature", values)
            values = values * (1 - kept) + before * kept
            least = beside(estimates, recipe.number("curvature_least"))
            bounded = (mu + values).maximum(least)
            memory["curvature"], memory["step_size"] = values, 1 / bounded
            sizes.append((rates / bounded.flatten(1).mT).mT)
        every = torch.cat(sizes, 1)
        low, high = every.amin(1).tolist(), every.amax(1).tolist()
        self.step_sizes.append(list(zip(low, high, strict=True)))

    def curvature(
        self, data: Data, chosen: Int64[Tensor, "run sample"]
    ) -> dict[str, Tensor]:
        """h_kk of every parameter from these training images of each run."""
        if compiled.can_run(self.model):
            return compiled.curvature(self.recipe, self.model, data, chosen)
        return curvature(self.model, data.train_images[chosen] / 255)

    def presented(self, batch: Batch, epoch: int, data: Data) -> Pixels:
        """Each run's images, distorted and mixed."""
        pixels = self.augment(data.train_images[batch] / 255, batch, epoch)
        if not (mates := self.recipe.mates(batch, epoch)):
            return pixels
        others = data.train_images[mates.partners] / 255
        others = self.augment(others, mates.partners, epoch)
        share = mates.shares[..., None, None].to(pixels)
        return pixels * share + others * (1 - share)

    def losses(
        self, logits: Float[Tensor, "run batch class"], batch: Batch, epoch: int,
        data: Data,
    ) -> Float[Tensor, "run batch"]:  # fmt: skip
        """The loss of each run's images."""
        recipe = self.recipe
        head, mates = HEADS[recipe.level("head")], recipe.mates(batch, epoch)

        def mixed(of: Callable[[Tensor], Tensor]) -> Tensor:
            if mates is None:
                return of(batch)
            share = mates.shares[..., None].to(logits)
            return of(batch) * share + of(mates.partners) * (1 - share)

        targets = mixed(lambda images: as_targets(data.train_labels[images], logits))
        own = head.mixed_loss(logits, targets, recipe.head_number(head.number))
        level, answered = TEACHERS[recipe.level("teacher")], recipe.answered
        if level is None:
            return own
        if recipe.level("teacher") in CONSISTENT:
            shares = self.shares_as_seen(batch, epoch, data).to(logits)
        else:
            assert answered is not None
            runs = torch.arange(len(batch), device=batch.device)[:, None]
            shares = mixed(lambda images: answered[runs, images].to(logits))
        heat, weight = (
            recipe.numbers[f"teacher.{name}"].to(logits)[:, None]
            for name in ("temperature", "weight")
        )
        scores, none = list(logits.unbind(-1)), [0 * own] * logits.shape[-1]
        return level((own, none), scores, list(shares.unbind(-1)), heat, weight)[0]

    @torch.no_grad()
    def shares_as_seen(
        self, batch: Batch, epoch: int, data: Data
    ) -> Float[Tensor, "run batch class"]:
        """What its teacher says of each run's image as it is presented."""
        recipe, pixels = self.recipe, self.presented(batch, epoch, data)
        scores = pixels.new_empty(*batch.shape, data.classes)
        asked = recipe.teacher_of(batch, epoch)
        for k, teacher in enumerate(recipe.teachers):
            own = pixels[asked == k].to(teacher.model.C1.weight)
            scores[asked == k] = teacher.model(own)[0].to(scores)
        return softened(scores[None], recipe.numbers["teacher.temperature"])

    def augment(self, pixels: Pixels, batch: Batch, epoch: int) -> Pixels:
        """Each run's images, distorted."""
        level = self.recipe.level("augmentation")
        if level == "none":
            return pixels
        drawn = self.recipe.distortion_draws(batch, epoch)
        return AUGMENTATIONS[level](pixels.flatten(0, 1), *drawn).view_as(pixels)

    def adversarial_images(
        self, pixels: Pixels, batch: Batch, epoch: int, data: Data
    ) -> Pixels:
        """Each run's images, moved to where its loss is larger."""
        recipe = self.recipe
        if recipe.level("adversary") == "none":
            return pixels
        return adversary.adversarial_images(
            recipe.level("adversary"),
            self.model,
            pixels,
            lambda logits: self.losses(logits, batch, epoch, data),
            recipe.adversary_keys(batch, epoch),
            (recipe.numbers["adversary.epsilon"], recipe.numbers["adversary.step"]),
            recipe.adversary_steps,
        )

    def update(self, losses: PerRun, epoch: int, step: int) -> None:
        """One step of the optimizer; a run with a non-finite loss stays where it is."""
        parameters = dict(self.model.named_parameters())
        gradients = torch.autograd.grad(losses.sum(), list(parameters.values()))
        recipe = self.recipe
        died, at = self.alive & ~losses.detach().isfinite(), epoch * recipe.steps + step
        self.diverged_step = torch.where(died, at, self.diverged_step)
        self.alive = self.alive & ~died
        now = self.alive, epoch, step, 1
        numbers = [part[0] for part in recipe.step_numbers(*now)]
        hidden = [part[0] for part in recipe.hidden_numbers(*now)]
        own = HIDDEN if OPTIMIZERS[recipe.level("optimizer")].hidden else ()
        with torch.no_grad():
            for (name, weight), gradient in zip(
                parameters.items(), gradients, strict=True
            ):
                if name in own:
                    self.move_hidden(name, weight, gradient, hidden)
                else:
                    self.move(name, weight, gradient, numbers)

    def move(
        self, name: str, weight: Tensor, gradient: Tensor, now: Sequence[PerRun]
    ) -> None:
        """Update one parameter of every run that is alive, in place."""
        recipe, wide = self.recipe, partial(beside, weight)
        level = OPTIMIZERS[recipe.level("optimizer")]
        rate, shrink, epsilon = map(wide, now)
        if not name.endswith("bias"):
            weight.mul_(1 - shrink)
            gradient = gradient + wide(recipe.coupled_decay()) * weight
        gradient = torch.where(wide(self.alive.to(weight)) > 0, gradient, 0)
        first, second = (
            wide(recipe.number(name)) for name in (level.first, level.second)
        )
        memory = self.memory.setdefault(name, {})
        m, v = (memory.get(key or "", torch.zeros_like(weight)) for key in level.memory)
        numbers = Numbers(first, 1 - first, second, 1 - second, epsilon)
        change, m, v = level.rule(gradient, m, v, numbers)
        for key, kept in zip(level.memory, (m, v), strict=True):
            if key:
                memory[key] = kept
        weight.sub_(rate * change)

    def move_hidden(
        self, name: str, weight: Tensor, gradient: Tensor, now: Sequence[PerRun]
    ) -> None:
        """`move` for a weight that is one matrix: its rule, then
        `orthogonalised`. A kernel that Table I leaves out is 0 in the matrix, and there
        is none to be moved."""
        level = OPTIMIZERS[self.recipe.level("optimizer")]
        wide = partial(beside, weight)
        layer = getattr(self.model, name.partition(".")[0])
        rate, shrink = map(wide, now)
        first, none = wide(self.recipe.number("momentum")), torch.zeros_like(rate)
        gradient = torch.where(wide(self.alive.to(weight)) > 0, gradient, 0)
        memory = self.memory.setdefault(name, {})
        mean = memory.get(str(level.memory[0]), torch.zeros_like(weight))
        numbers = Numbers(first, 1 - first, none, none, none)
        assert level.hidden is not None
        change, memory[str(level.memory[0])], _ = level.hidden(
            gradient, mean, none, numbers
        )
        if isinstance(layer, Convolution):
            dense = layer.spread(change)
            change = layer.picked(orthogonalised(dense.flatten(2)).view_as(dense))
        else:
            change = orthogonalised(change.flatten(2)).view_as(weight)
        weight.mul_(1 - shrink).sub_(rate * change)

    @torch.no_grad()
    def answers(self, images: Tensor, labels: Tensor) -> Int64[Tensor, "run image"]:
        """The class that each run gives each image; -1 where a score is no number."""
        if compiled.can_run(self.model):
            return compiled.answers(self.recipe, self.model, images, labels)
        self.model.eval()
        return torch.cat(
            [best(self.model(part / 255)) for part in images.split(TEST_BATCH)], 1
        )

    def evaluate(self, data: Data) -> dict[str, tuple[Int64[Tensor, "run"], int]]:
        """How many test images each run gets wrong, of how many; and of those that are
        held out, if any."""
        recipe, held_out = self.recipe, self.recipe.validation
        tested = {"test": (data.test_images, data.test_labels)}
        if len(held_out):
            chosen = data.train_images[held_out], data.train_labels[held_out]
            tested["validation"] = chosen
        found = {key: (self.answers(*about) != about[1]).sum(1)
                 for key, about in tested.items()}  # fmt: skip
        if watched := int(recipe.configs[0].number("adversary.held_out")):
            found["pgd"] = (~self.right_under_attack(data, held_out[:watched])).sum(1)
            tested["pgd"] = (held_out[:watched],) * 2
        return {key: (wrong, len(tested[key][0])) for key, wrong in found.items()}

    def point(
        self, epoch: int, run: int, counts: Mapping[str, tuple[Tensor, int]]
    ) -> dict[str, float]:
        """A run's point of its curve: each error, and the count that it is made of."""
        point: dict[str, float] = {"epoch": epoch + 1}
        for key, (wrong, seen) in counts.items():
            point[f"{key}_error"] = int(wrong[run]) / seen
            point[f"{key}_wrong"] = int(wrong[run])
        if self.step_sizes:
            low, high = self.step_sizes[-1][run]
            point |= {"least_step": low, "largest_step": high}
        return point

    def right_under_attack(
        self, data: Data, images: Tensor
    ) -> Bool[Tensor, "run image"]:
        """Which of these training images each run classifies correctly under PGD."""
        keys = draws.fold(self.recipe.streams["watch"][:, None], images)
        if compiled.can_run(self.model):
            labels = data.train_labels[images]
            start = draws.fold(keys, 0)  # as `pgd` has it for its first start
            return compiled.right_under_attack(
                self.recipe, self.model, data.train_images[images], labels, start
            )
        parts = zip(images.split(TEST_BATCH), keys.split(TEST_BATCH, 1), strict=True)
        kept = [
            adversary.right_under_attack(
                self.model,
                data.train_images[part] / 255,
                data.train_labels[part],
                key,
                self.recipe.numbers["adversary.epsilon"],
            )
            for part, key in parts
        ]
        return torch.cat(kept, 1)

    def results(
        self, data: Data, curves: Sequence[Curve], spent: tuple[float, float]
    ) -> list[Result]:
        """What became of each run; one that broke in its last step has diverged."""
        finite = [
            weight.detach().flatten(1).isfinite().all(1)
            for weight in self.model.parameters()
        ]
        broken = self.alive & ~torch.stack(finite).all(0)
        last = self.recipe.epochs * self.recipe.steps - 1
        self.diverged_step = torch.where(broken, last, self.diverged_step)
        self.alive = self.alive & ~broken
        with self.averaged():
            answers = self.answers(data.test_images, data.test_labels).cpu()
            state = {
                key: value.cpu().clone()
                for key, value in self.model.state_dict().items()
            }
        right = answers == data.test_labels.cpu()
        seconds, processor_seconds = (part / len(curves) for part in spent)
        return [
            Result(
                diverged_step=None if alive else step,
                right=right[run],
                answers=answers[run],
                weights={key: value[run].clone() for key, value in state.items()},
                curve=curves[run],
                step_sizes=self.step_sizes[0][run] if self.step_sizes else None,
                seconds=seconds,
                processor_seconds=processor_seconds,
            )
            for run, (alive, step) in enumerate(
                zip(self.alive.tolist(), self.diverged_step.tolist(), strict=True)
            )
        ]


@torch.no_grad()
def scores_of(teacher: Teacher, data: Data) -> Float[Tensor, "picture class"]:
    """A teacher's score of each class for every training image, as it is."""
    model = teacher.model
    if compiled.can_run(model) and data.classes == 10:
        return compiled.teacher_scores(teacher, data)
    parts = data.train_images.split(TEST_BATCH)
    return torch.cat([model(part / 255)[0] for part in parts])


def beside(weight: Tensor, number: PerRun) -> Tensor:
    """A number of each run as it is multiplied with that run's part of a weight."""
    return number.to(weight).view(-1, *[1] * (weight.ndim - 1))


def best(logits: Tensor) -> Int64[Tensor, "run batch"]:
    """The class with the largest logit; -1 where a logit is no number."""
    return logits.argmax(-1).where(logits.isfinite().all(-1), -1)


def mistakes(logits: Tensor, labels: Tensor) -> Bool[Tensor, "run batch"]:
    """Where the largest logit is not the label's; a NaN is a mistake."""
    return best(logits) != labels
