"""Attacks: what must hold for any network, and equality with three other libraries."""

import copy
import warnings
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from conftest import config
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import numbers, stack
from torch import Tensor, nn
from torch.nn import functional

from lenet.config import Refusal
from lenet.interpret import robustness
from lenet.training import attack, draws
from lenet.training.attack import Targeted, Untargeted, fgsm, pgd
from lenet.training.data import Data
from lenet.training.factor import head
from lenet.training.model import LeNet5
from lenet.training.stack import Stack, train

SEEDS = st.integers(0, 2**31 - 1)
NORM = st.sampled_from(["linf", "l2"])
RADII = {"linf": st.floats(0, 1), "l2": st.floats(1e-3, 5)}
few = settings(max_examples=25, deadline=None)


def network(seed: int, scale: float = 1.0) -> Callable[[Tensor], Tensor]:
    """From images [*, 3, 5] to 7 logits, through 11 hidden units."""
    first = 4 * numbers(seed, "first", 11, 15) - 2
    second = scale * (4 * numbers(seed, "second", 7, 11) - 2)
    return lambda images: torch.tanh(images.flatten(-2) @ first.mT) @ second.mT


def case(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Two images, with labels that the network of the seed gives, and their keys."""
    images = numbers(seed, "images", 2, 3, 5)
    return images, network(seed)(images).argmax(-1), draws.stream([seed, 1], "start")


def goals(labels: Tensor) -> list[attack.Goal]:
    """Away from the labels, and to the next class."""
    return [Untargeted(labels), Targeted((labels + 1) % 7, labels)]


# --- Invariants -----------------------------------------------------------------------


@few
@given(SEEDS, st.data(), NORM, st.integers(1, 4))
def test_attack_stays_in_the_ball_and_in_the_range(
    seed: int, data: st.DataObject, norm: str, steps: int
) -> None:
    """No adversarial image is further than epsilon, or outside [0, 1], whatever the
    goal, loss, step and start; the perturbation is the difference of the images."""
    images, labels, keys = case(seed)
    radius, step = data.draw(RADII[norm]), data.draw(st.floats(1e-3, 3))
    loss, keep = data.draw(st.sampled_from(["margin", "cross_entropy"])), "last"
    for goal in goals(labels):
        sizes = {"epsilon": radius, "step": step, "steps": steps}
        found = pgd(
            network(seed), images, goal, **sizes, norm=norm, loss=loss, keys=keys,
            restarts=2, keep=keep,
        )  # fmt: skip
        assert torch.equal(found.perturbation, found.images - images)
        order = {"linf": torch.inf, "l2": 2}[norm]
        size = found.perturbation.flatten(1).norm(p=order, dim=-1)
        assert (size <= radius + 1e-12).all()
        assert found.images.min() >= 0 and found.images.max() <= 1
        assert torch.equal(found.reached, goal.reached(network(seed)(found.images)))


@few
@given(SEEDS, st.integers(1, 3), st.sampled_from([("linf", 0.0), ("l2", 1e-30)]))
def test_epsilon_zero_is_the_identity(
    seed: int, steps: int, ball: tuple[str, float]
) -> None:
    """A ball of one point holds the image alone, with or without a random start; an L2
    radius is positive, and one that rounding loses is as good as none."""
    images, labels, keys = case(seed)
    norm, radius = ball
    for goal, start in product(goals(labels), (None, keys)):
        sizes = {"epsilon": radius, "step": 0.1, "steps": steps, "norm": norm}
        found = pgd(network(seed), images, goal, **sizes, keys=start, keep="last")
        torch.testing.assert_close(found.images, images, rtol=0, atol=radius)


@few
@given(SEEDS, NORM, st.sampled_from(["best", "last"]))
def test_batch_equals_single_images(seed: int, norm: str, keep: str) -> None:
    """What is found for an image does not depend on the images beside it, random
    starts included."""
    images, labels, keys = case(seed)
    settings_ = {"epsilon": 0.3, "step": 0.1, "steps": 3, "norm": norm, "keep": keep}
    alone = zip(*(goals(labels[i : i + 1]) for i in (0, 1)), strict=True)
    for goal, each in zip(goals(labels), alone, strict=True):
        both = pgd(network(seed), images, goal, **settings_, keys=keys)
        for i, single in enumerate(each):
            some = slice(i, i + 1)
            lone = pgd(
                network(seed), images[some], single, **settings_, keys=keys[some]
            )
            torch.testing.assert_close(
                lone.images, both.images[some], rtol=0, atol=1e-12
            )


@few
@given(SEEDS, st.floats(0, 1), st.sampled_from(["margin", "cross_entropy"]))
def test_fgsm_is_pgd_of_one_step(seed: int, radius: float, loss: str) -> None:
    """FGSM moves every pixel by epsilon against the sign of its gradient, clipped."""
    images, labels, _ = case(seed)
    for goal, sign in zip(goals(labels), (1, -1), strict=True):
        found = fgsm(
            network(seed), images, goal, epsilon=radius, loss=loss, keep="last"
        )
        leaf = images.clone().requires_grad_()
        value = attack.LOSSES[loss](network(seed)(leaf), goal.classes).sum()
        (gradient,) = torch.autograd.grad(value, leaf)
        expected = (images - sign * radius * gradient.sign()).clamp(0, 1)
        torch.testing.assert_close(found.images, expected, rtol=0, atol=1e-12)


@few
@given(SEEDS, st.integers(1, 4), st.integers(1, 3), NORM, st.booleans())
def test_best_gets_no_worse_with_effort(
    seed: int, steps: int, restarts: int, norm: str, targeted: bool
) -> None:
    """With keep=best the margin of no image rises with a step or a restart more, and
    it is never above that of the image itself."""
    images, labels, keys = case(seed)
    goal, model = goals(labels)[targeted], network(seed)

    def margins(steps: int, restarts: int) -> Tensor:
        sizes = {"epsilon": 0.2, "step": 0.1, "steps": steps, "norm": norm}
        found = pgd(model, images, goal, **sizes, keys=keys, restarts=restarts)
        return goal.loss("margin", model(found.images))

    least = margins(steps, restarts)
    assert (least <= goal.loss("margin", model(images))).all()
    assert (margins(steps + 1, restarts) <= least).all()
    assert (margins(steps, restarts + 1) <= least).all()


@few
@given(SEEDS, st.integers(-10, 10), NORM, st.booleans())
def test_margin_ignores_the_scale_of_the_logits(
    seed: int, power: int, norm: str, targeted: bool
) -> None:
    """Logits times 2^k, which rounds nothing, leave a margin attack as it is."""
    images, labels, keys = case(seed)
    goal = goals(labels)[targeted]
    sizes = {"epsilon": 0.3, "step": 0.1, "steps": 3, "norm": norm}
    plain, scaled = (
        pgd(network(seed, s), images, goal, **sizes, keys=keys) for s in (1, 2.0**power)
    )
    assert torch.equal(plain.images, scaled.images)


@few
@given(SEEDS, st.floats(0, 1))
def test_fgsm_is_the_optimum_of_a_linear_model(seed: int, radius: float) -> None:
    """With two classes and linear logits, one step reaches the smallest margin of the
    ball: per pixel the end of its interval at which its weight times it is least."""
    images, weights = numbers(seed, "images", 3, 5), numbers(seed, "w", 2, 5) - 0.5
    labels = torch.tensor([0, 1, 0])
    found = fgsm(lambda x: x @ weights.mT, images, Untargeted(labels), epsilon=radius)
    slope = (weights[0] - weights[1]) * torch.tensor([[1.0], [-1.0], [1.0]])
    ends = slope * (images - radius).clamp(0), slope * (images + radius).clamp(max=1)
    least = torch.minimum(*ends).sum(-1)
    margin = Untargeted(labels).loss("margin", found.images @ weights.mT)
    torch.testing.assert_close(margin, least, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", attack.LOSSES)
def test_losses_are_their_formulas(name: str) -> None:
    """The margin is the logit less the largest other; the other is -cross_entropy."""
    logits, classes = 9 * numbers(0, "logits", 2, 3, 5), torch.tensor([[0, 4, 2]] * 2)
    found = attack.LOSSES[name](logits, classes)
    for at in [(run, image) for run in range(2) for image in range(3)]:
        row, label = logits[at].tolist(), int(classes[at])
        others = row[:label] + row[label + 1 :]
        expected = {
            "margin": row[label] - max(others),
            "cross_entropy": -functional.cross_entropy(logits[at], classes[at]).item(),
        }
        assert found[at].item() == pytest.approx(expected[name], rel=1e-12)


def test_random_starts_fill_the_ball() -> None:
    """L-infinity: each pixel uniform in +-1. L2: r^n uniform, in every direction."""
    keys = draws.fold(draws.stream([0], "s"), torch.arange(4000))[:, None]
    cube = attack.in_cube(draws.fold(keys, torch.arange(4)))
    assert cube.shape == (4000, 3)
    assert cube.abs().max() <= 1 and cube.std().item() == pytest.approx(
        3**-0.5, abs=0.01
    )
    sphere = attack.in_sphere(draws.fold(keys, torch.arange(4)))
    shares = sphere.norm(dim=-1) ** 3
    assert shares.max() <= 1 + 1e-6
    assert shares.quantile(torch.tensor([0.1, 0.5, 0.9])).tolist() == pytest.approx(
        [0.1, 0.5, 0.9], abs=0.03
    )
    assert sphere.mean(0).abs().max() < 0.03
    assert sphere.square().mean(0).tolist() == pytest.approx([0.2] * 3, abs=0.02)


# --- Stacks ---------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("level", head.LEVELS)
def test_stack_is_attacked_in_one_call(norm: str, level: str) -> None:
    """Each run of a stack gets what it gets alone: the same images, starts and sizes,
    whatever its head."""
    model, images = stack({"head": level}), numbers(3, "images", 5, 28, 28)
    labels, keys = torch.arange(5), draws.fold(draws.stream([3], "s"), torch.arange(5))
    sizes = {"epsilon": 0.3, "step": 0.1, "steps": 3}
    together = pgd(model, images, Untargeted(labels), **sizes, norm=norm, keys=keys)
    assert together.images.shape == (3, 5, 28, 28) and together.trace.shape[:2] == (
        1,
        4,
    )
    for run in range(3):
        found = pgd(
            lambda x, run=run: model(x.expand(3, -1, -1, -1))[run],
            images,
            Untargeted(labels),
            **sizes,
            norm=norm,
            keys=keys,
        )
        torch.testing.assert_close(found.images, together.images[run])
        assert torch.equal(found.reached, together.reached[run])


def test_every_image_may_have_its_own_radius() -> None:
    """A radius per run, or per image, is that of each alone."""
    model, images = stack(), numbers(3, "images", 2, 28, 28)
    goal, radii = Untargeted(torch.tensor([3, 5])), torch.tensor([[0.1], [0.2], [0.4]])
    radii = torch.cat([radii, radii / 2], 1).double()
    found = pgd(model, images, goal, epsilon=radii, step=radii / 2, steps=3)
    for run in range(3):
        for i in range(2):
            radius = radii[run, i].item()
            alone = pgd(model, images, goal, epsilon=radius, step=radius / 2, steps=3)
            torch.testing.assert_close(alone.images[run, i], found.images[run, i])


def test_network_is_left_as_it_was() -> None:
    """Mode of every part, gradients, requires_grad, statistics, and both generators."""
    model = stack({"norm": "batch"}).train()
    model.S2.eval()
    model.C5.weight.requires_grad_(False)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [part.training for part in model.modules()]
    before, others = torch.get_rng_state(), np.random.get_state()
    images = numbers(3, "images", 2, 28, 28)
    keys = draws.stream([0, 1], "s")
    sizes = {"epsilon": 0.3, "step": 0.1, "steps": 2}
    found = pgd(model, images, Untargeted(torch.tensor([3, 5])), **sizes, keys=keys)
    assert [part.training for part in model.modules()] == modes
    assert all(weight.grad is None for weight in model.parameters())
    needing = [weight.requires_grad for weight in model.parameters()]
    assert needing.count(False) == 1 and not model.C5.weight.requires_grad
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key])
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_equal(np.random.get_state(), others)
    assert not found.images.requires_grad and not images.requires_grad


def test_vanished_gradients_are_seen() -> None:
    """Where logits are so large that cross-entropy saturates, no start has a gradient;
    the margin's is still there."""
    images, labels, _ = case(5)
    for loss, vanished in (("cross_entropy", True), ("margin", False)):
        found = fgsm(
            network(5, 1e6), images, Untargeted(labels), epsilon=0.1, loss=loss
        )
        assert found.flat.tolist() == [vanished] * 2


# --- Other libraries ------------------------------------------------------------------


class Single(nn.Module):
    """The first run of a stack, from [batch, 1, 28, 28], as other libraries want it."""

    def __init__(self, model: LeNet5) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images[:, 0])[0]


@pytest.fixture(scope="module")
def trained(digits: Data) -> tuple[Single, Tensor, Tensor]:
    """A LeNet-5 trained on digits, and 100 test images with labels."""
    numbers = {"epochs": 6, "batch_size": 32, "optimizer": "adam"}
    run = config({**numbers, "optimizer.lr": 0.003})
    result = train([run], digits)[0]
    model = Stack.start([run], digits).model
    model.load_state_dict({k: w[None] for k, w in result.weights.items()})
    images, labels = digits.test_images[:100, None] / 255, digits.test_labels[:100]
    single = Single(model).eval()
    assert (single(images).argmax(-1) == labels).double().mean() > 0.9
    return single, images, labels


def exactly(mine: attack.Adversarial, theirs: Tensor, images: Tensor) -> None:
    """No pixel differs, and the images are not the given ones."""
    assert (mine.images - theirs).abs().max() == 0
    assert (theirs - images).abs().amax((1, 2, 3)).min() > 0.05


ORACLE = {"loss": "cross_entropy", "keep": "last"}


def in_float64(
    trained: tuple[Single, Tensor, Tensor],
) -> tuple[Single, Tensor, Tensor]:
    """The same in float64, where no path is so near a tie that it turns off; in
    float32 an AMD EPYC without AVX512 rounds a gradient across 0."""
    model, images, labels = trained
    return copy.deepcopy(model).double(), images.double(), labels


@pytest.mark.parametrize("steps", [1, 10])
def test_pgd_equals_foolbox(steps: int, trained: tuple[Single, Tensor, Tensor]) -> None:
    """FGSM (one step) and PGD from the image equal foolbox's, pixel for pixel."""
    foolbox = pytest.importorskip("foolbox", reason="the oracle of PGD")
    model, images, labels = in_float64(trained)
    step = 0.2 / steps * (1 if steps == 1 else 2.5)
    theirs = foolbox.attacks.LinfPGD(abs_stepsize=step, steps=steps, random_start=False)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    expected = theirs.run(wrapped, images, labels, epsilon=0.2)
    sizes = {"epsilon": 0.2, "step": step, "steps": steps}
    exactly(pgd(model, images, Untargeted(labels), **sizes, **ORACLE), expected, images)


def test_l2_pgd_equals_foolbox(trained: tuple[Single, Tensor, Tensor]) -> None:
    """In the L2 ball, whose norms are summed in another order."""
    foolbox = pytest.importorskip("foolbox", reason="the oracle of PGD")
    model, images, labels = in_float64(trained)
    theirs = foolbox.attacks.L2PGD(abs_stepsize=0.4, steps=7, random_start=False)
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    expected = theirs.run(wrapped, images, labels, epsilon=1.5)
    sizes = {"epsilon": 1.5, "step": 0.4, "steps": 7}
    found = pgd(model, images, Untargeted(labels), **sizes, norm="l2", **ORACLE)
    assert (found.images - expected).abs().max() < 1e-5
    assert (expected - images).flatten(1).norm(dim=-1).min() > 1


@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("targeted", [False, True])
def test_attacks_equal_torchattacks(
    steps: int, targeted: bool, trained: tuple[Single, Tensor, Tensor]
) -> None:
    """FGSM and PGD, away from the label and to a target, equal torchattacks'."""
    torchattacks = pytest.importorskip(
        "torchattacks",
        reason="torchattacks pins an old requests: pip install --no-deps torchattacks",
    )
    model, images, labels = in_float64(trained)
    step = 0.2 if steps == 1 else 0.05
    if steps == 1:
        theirs = torchattacks.FGSM(model, eps=0.2)
    else:
        theirs = torchattacks.PGD(
            model, eps=0.2, alpha=step, steps=steps, random_start=False
        )
    goal: attack.Goal = Untargeted(labels)
    if targeted:
        theirs.set_mode_targeted_by_function(lambda images, labels: (labels + 1) % 10)
        goal = Targeted((labels + 1) % 10, labels)
    sizes = {"epsilon": 0.2, "step": step, "steps": steps}
    found = pgd(model, images, goal, **sizes, **ORACLE)
    exactly(found, theirs(images, labels), images)


@pytest.mark.parametrize("targeted", [False, True])
def test_fgsm_equals_captum(
    targeted: bool, trained: tuple[Single, Tensor, Tensor]
) -> None:
    """FGSM equals captum's, once gradients under 1e-6 count there too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        robust = pytest.importorskip("captum.robust", reason="the oracle of FGSM")
    model, images, labels = trained
    target = (labels + 1) % 10
    entropy = nn.CrossEntropyLoss(reduction="none")
    theirs = robust.FGSM(model, entropy, lower_bound=0, upper_bound=1)
    theirs.zero_thresh = 0
    expected = theirs.perturb(
        images, 0.2, target if targeted else labels, None, targeted
    )
    goal = Targeted(target, labels) if targeted else Untargeted(labels)
    exactly(fgsm(model, images, goal, epsilon=0.2, **ORACLE), expected, images)


@pytest.mark.slow
def test_auto_attack_is_at_least_as_strong(
    trained: tuple[Single, Tensor, Tensor],
) -> None:
    """Of what PGD leaves AutoAttack itself leaves no more; no generator moves."""
    model, images, labels = (part[:8] if i else part for i, part in enumerate(trained))
    before = torch.get_rng_state()
    withstands = robustness.auto_attack(model, images[:, 0], labels, 0.15)
    assert torch.equal(torch.get_rng_state(), before)
    sizes = {"epsilon": 0.15, "step": 0.02, "steps": 20}
    found = pgd(model, images, Untargeted(labels), **sizes, loss="margin")
    assert withstands.sum() <= (~found.reached).sum()
    assert robustness.auto_attack(model, images[:, 0], labels, 1e-6).any()


# --- Bad input ------------------------------------------------------------------------


def refusal(**changes: object) -> str:
    """The message for an attack with one bad argument."""
    images = numbers(0, "images", 2, 3, 5)
    about = {"model": network(0), "images": images, "epsilon": 0.1, "step": 0.1}
    about |= {"goal": Untargeted(torch.tensor([1, 2])), "steps": 2}
    with pytest.raises(Refusal) as caught:
        pgd(**{**about, **changes})  # type: ignore[arg-type]
    return str(caught.value)


def test_bad_input_is_refused_with_the_fix() -> None:
    """Range of the images, epsilon, steps, unknown class and unknown words."""
    images = numbers(0, "images", 2, 3, 5)
    assert "image / 255" in refusal(images=255 * images)
    assert "image / 255" in refusal(images=images - 0.5)
    for wrong in (-0.1, 1.2, float("nan"), torch.tensor([0.1, 2.0])):
        assert "for linf it is from 0 to 1" in refusal(epsilon=wrong)
    for wrong in (0.0, -1.0, float("inf")):
        assert "for l2 it is above 0" in refusal(epsilon=wrong, norm="l2")
    assert "steps are at least 1" in refusal(steps=0)
    for wrong in (-0.1, float("inf"), float("nan")):
        assert "a step is positive" in refusal(step=wrong)
    assert "3 keys for 2 images" in refusal(keys=torch.arange(3))
    assert "no images to attack" in refusal(images=images[:0])
    assert "only with keys" in refusal(restarts=2)
    assert "class 7 is unknown: the network's are 0 to 6" in refusal(
        goal=Untargeted(torch.tensor([1, 7]))
    )
    assert "one class per image" in refusal(goal=Untargeted(torch.tensor([1, 2, 3])))
    assert "did you mean margin?" in refusal(loss="margins")
    assert "choices: l2, linf" in refusal(norm="l3")
    assert "choices: best, last" in refusal(keep="first")


def test_target_equal_to_the_label_is_refused() -> None:
    """The message names the class and the image."""
    labels = torch.tensor([3, 5, 7])
    with pytest.raises(Refusal, match="target 5 is the label of image 1"):
        Targeted(torch.tensor([4, 5, 6]), labels)
