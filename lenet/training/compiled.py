"""A stack's passes, tests and curvature through loops/.

The same arithmetic as the plain loop of stack.py, for float32 on a processor.
Here tensors and levels become the loops' plain arrays.
"""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from lenet.config import Value
from lenet.training.data import Data
from lenet.training.factor.augmentation import FIELDS, HOLES, MOTIONS, gaussian
from lenet.training.factor.head import LEVELS as HEADS
from lenet.training.factor.optimizer import LEVELS as OPTIMIZERS
from lenet.training.factor.teacher import CONSISTENT, softened
from lenet.training.loops import passes
from lenet.training.loops.sizes import CLASSES, PICTURE_SIDE
from lenet.training.model import STRUCTURE, WIDTHS, Dense, LeNet5
from lenet.training.recipe import Batch, Recipe, Teacher

Memory = dict[str, dict[str, Tensor]]  # of each parameter, of each kind
WATCHED_STEPS = 10  # as adversary.right_under_attack has it, each a quarter of epsilon


def can_run(model: LeNet5) -> bool:
    """Whether the loops compute this network: LeNet-5's widths and ten classes, float32
    on a processor."""
    weight, output = model.C1.weight, model.output
    ten = not isinstance(output, Dense) or output.weight.shape[1] == 10
    usual = ten and model.widths == WIDTHS
    return usual and weight.dtype == torch.float32 and weight.device.type == "cpu"


def train_part(
    recipe: Recipe, model: LeNet5, memory: Memory, alive: Bool[Tensor, "run"],
    batch: Batch, epoch: int, step: int, data: Data,
) -> passes.Pass:  # fmt: skip
    """Train on some images of a pass, from its step `step` on: the parameters, what the
    optimizer remembers and batch norm's statistics change in place."""
    count, adversary = -(-batch.shape[1] // recipe.batch_size), None
    now = alive, epoch, step, count
    each = torch.stack(recipe.step_numbers(*now), -1).transpose(0, 1)
    level = OPTIMIZERS[recipe.level("optimizer")]
    steps = passes.Steps(
        recipe.level("optimizer"),
        recipe.batch_size,
        each.numpy(),
        recipe.coupled_decay().numpy(),
        recipe.number(level.first).numpy(),
        recipe.number(level.second).numpy(),
        {name: remembered(model, memory, name) for name in level.memory if name},
    )
    if level.hidden:
        hidden = torch.stack(recipe.hidden_numbers(*now), -1).transpose(0, 1)
        momentum = recipe.number("momentum").numpy()
        steps = steps._replace(hidden=hidden.numpy(), momentum=momentum)
    if recipe.adversary_steps:
        radius, stride = (
            recipe.numbers[f"adversary.{name}"].numpy() for name in ("epsilon", "step")
        )
        adversary = passes.Adversary(radius, stride, recipe.adversary_steps)
    about = network(recipe, model)
    done = passes.train_pass(
        parameter_arrays(model), steps, shown(recipe, batch, epoch, data), about,
        adversary, torch.get_num_threads(),
    )  # fmt: skip
    means, variances = torch.from_numpy(about.running).unbind(1)
    for layer, maps in ((model.C1, slice(6)), (model.C3, slice(6, 22))):
        layer.mean.copy_(means[:, maps])
        layer.var.copy_(variances[:, maps])
    return done


def answers(
    recipe: Recipe, model: LeNet5, images: Tensor, labels: Tensor
) -> Int64[Tensor, "run image"]:
    """The class that each run gives each image; -1 where a score is no number."""
    logits, _ = passes.answers_of(
        parameter_arrays(model),
        seen_by_all(recipe, images, labels),
        network(recipe, model),
        threads=torch.get_num_threads(),
    )
    return torch.from_numpy(logits)


def right_under_attack(
    recipe: Recipe, model: LeNet5, images: Tensor, labels: Tensor,
    keys: Int64[Tensor, "run image"],
) -> Bool[Tensor, "run image"]:  # fmt: skip
    """Which images each run still classifies correctly under PGD on the margin."""
    epsilon = recipe.numbers["adversary.epsilon"].numpy()
    _, right = passes.answers_of(
        parameter_arrays(model),
        seen_by_all(recipe, images, labels)._replace(adversary=keys.numpy()),
        network(recipe, model),
        passes.Adversary(epsilon, epsilon / np.float32(4), WATCHED_STEPS),
        torch.get_num_threads(),
    )
    return torch.from_numpy(right)


def curvature(
    recipe: Recipe, model: LeNet5, data: Data, samples: Int64[Tensor, "run sample"]
) -> dict[str, Tensor]:
    """h_kk of every trainable parameter, the mean over each run's samples."""
    labels = data.train_labels[samples].numpy()
    seen = passes.Shown(data.train_images.numpy(), samples.numpy(), labels)
    estimate = passes.curvature_of(
        parameter_arrays(model), seen, network(recipe, model), torch.get_num_threads()
    )
    return {name: torch.from_numpy(values) for name, values in estimate.items()}


def teacher_scores(teacher: Teacher, data: Data) -> Float[Tensor, "picture class"]:
    """The score of each class that a trained run gives every training image."""
    everything = np.arange(len(data.train_images))[None]
    seen = passes.Shown(data.train_images.numpy(), everything, 0 * everything)
    return scores_of_shown(teacher, seen)


def scores_of_shown(
    teacher: Teacher, seen: passes.Shown
) -> Float[Tensor, "image class"]:
    """The score of each class that a trained run gives the images that one run sees."""
    model = teacher.model
    about = network_of(model, teacher.config.treatment, torch.zeros(1))
    found = passes.class_scores(
        parameter_arrays(model), seen, about, torch.get_num_threads()
    )
    return torch.from_numpy(found[0])


def shares_as_seen(recipe: Recipe, seen: passes.Shown, epoch: int) -> np.ndarray:
    """[run, image, class]: what its teacher says of each image as its run sees it."""
    asked = recipe.teacher_of(torch.from_numpy(seen.order), epoch)
    scores = torch.empty(*asked.shape, CLASSES)
    for run, own in enumerate(asked):
        for k, teacher in enumerate(recipe.teachers):
            chosen = own == k
            some = passes.some_shown(seen, run, chosen.numpy())
            scores[run, chosen] = scores_of_shown(teacher, some)
    return softened(scores[None], recipe.numbers["teacher.temperature"]).numpy()


def shares_of_parts(recipe: Recipe, seen: passes.Shown) -> np.ndarray:
    """[run, image, class]: what all teachers say of the training images that each image
    is made of, in their shares."""
    assert recipe.answered is not None
    runs, answered = np.arange(len(seen.order))[:, None], recipe.answered.numpy()
    own = answered[runs, seen.order]
    if not seen.partner.size:
        return own
    share = seen.share.astype(np.float32)[..., None]
    return own * share + answered[runs, seen.partner] * (np.float32(1) - share)


def pixel_loops(model: LeNet5, levels: Mapping[str, Value]) -> passes.PixelLoops:
    """Scores of a network as it is now, and how they change with each pixel."""
    about = network_of(model, levels, torch.zeros(len(model.C1.weight)))
    return passes.PixelLoops(parameter_arrays(model), about)


def parameter_arrays(model: LeNet5) -> dict[str, np.ndarray]:
    """The parameters; what changes them there changes them here."""
    return {name: weight.detach().numpy() for name, weight in model.named_parameters()}


def network(recipe: Recipe, model: LeNet5) -> passes.Network:
    """What the runs are, apart from their parameters."""
    number = recipe.head_number(HEADS[recipe.level("head")].number)
    return network_of(model, recipe.configs[0].treatment, number)


def network_of(
    model: LeNet5, levels: Mapping[str, Value], number: Float[Tensor, "run"]
) -> passes.Network:
    """What runs of these levels are; number: that of their head."""
    head = HEADS[str(levels["head"])]
    statistics = [torch.cat([getattr(model.C1, key), getattr(model.C3, key)], 1)
                  for key in ("mean", "var")]  # fmt: skip
    return passes.Network(
        **{factor: str(levels[factor]) for factor in STRUCTURE},
        scale=model.input.scale.numpy(),
        shift=model.input.shift.numpy(),
        number=number.numpy(),
        bitmaps=head.codes().numpy(),
        running=torch.stack(statistics, 1).numpy(),
        teacher=str(levels.get("teacher", "none")),
    )


def seen_by_all(recipe: Recipe, images: Tensor, labels: Tensor) -> passes.Shown:
    """The same images for every run, as they are."""
    order = torch.arange(len(images)).expand(len(recipe.configs), -1)
    return passes.Shown(images.numpy(), order.numpy(), labels.expand_as(order).numpy())


def shown(recipe: Recipe, batch: Batch, epoch: int, data: Data) -> passes.Shown:
    """The images, with what augmentation, mixing, dropout and an adversary draw for
    them."""
    extra = distortions(recipe, batch, epoch)
    if recipe.level("augmentation") in FIELDS:
        sigma, alpha = (
            recipe.numbers[f"augmentation.{name}"] for name in ("sigma", "alpha")
        )
        extra |= {
            "smooth": gaussian(sigma, PICTURE_SIDE).numpy(),
            "alpha": alpha.numpy(),
        }
    if mates := recipe.mates(batch, epoch):
        others = distortions(recipe, mates.partners, epoch)
        extra |= {f"partner_{name}": values for name, values in others.items()}
        extra |= {"partner": mates.partners.numpy(), "share": mates.shares.numpy()}
        extra["partner_label"] = data.train_labels[mates.partners].numpy()
    pictures, labels = data.train_images.numpy(), data.train_labels[batch].numpy()
    seen = passes.Shown(pictures, batch.numpy(), labels, **extra)
    more = {}
    if recipe.level("teacher") != "none":
        heat, weight = (
            recipe.numbers[f"teacher.{name}"] for name in ("temperature", "weight")
        )
        if recipe.level("teacher") in CONSISTENT:
            answered = shares_as_seen(recipe, seen, epoch)
        else:
            answered = shares_of_parts(recipe, seen)
        more = {"answered": answered, "heat": heat.numpy(), "weight": weight.numpy()}
    if dropped := recipe.dropout_masks(batch, epoch):
        more["masks"] = torch.cat([dropped["C5"], dropped["F6"]], -1).numpy()
    if recipe.adversary_steps:
        more["adversary"] = recipe.adversary_keys(batch, epoch).numpy()
    return seen._replace(**more)


def distortions(recipe: Recipe, batch: Batch, epoch: int) -> dict[str, np.ndarray]:
    """What augmentation draws for these images of each run."""
    level, drawn = recipe.level("augmentation"), recipe.distortion_draws(batch, epoch)
    found = {}
    if level in MOTIONS:
        found["where"] = MOTIONS[level](*drawn).view(*batch.shape, 2, 3).numpy()
    if level in FIELDS:
        found["elastic"] = FIELDS[level](drawn[0]).view_as(batch).numpy()
    if level in HOLES:
        found["holes"] = HOLES[level](*drawn).view(*batch.shape, 4).numpy()
    return found


def remembered(model: LeNet5, memory: Memory, kind: str) -> Mapping[str, np.ndarray]:
    """What the optimizer keeps for every weight, to be changed in place."""
    arrays_of = {}
    for name, weight in model.named_parameters():
        kinds = memory.setdefault(name, {})
        if kind not in kinds:
            kinds[kind] = torch.zeros_like(weight)
        arrays_of[name] = kinds[kind].detach().numpy()
    return arrays_of
