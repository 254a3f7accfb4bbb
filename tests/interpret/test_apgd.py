"""lenet/interpret/apgd.py and compiled_network.py beside their slow oracles."""

from functools import partial
from itertools import product

import pytest
import torch
from conftest import config
from marks import mostly_slow
from small_networks import numbers, stack
from torch import Tensor

from lenet.interpret import apgd, robustness
from lenet.interpret.apgd import Past
from lenet.interpret.compiled_network import Compiled
from lenet.interpret.images import random_indices
from lenet.interpret.robustness import Problem
from lenet.training import draws
from lenet.training.attack import Untargeted
from lenet.training.data import Data
from lenet.training.factor import activation, head, norm, pooling
from lenet.training.model import LeNet5
from lenet.training.stack import Stack, train

LEVELS = {"activation": "tanh", "pooling": "average"}
AUTHORS = "the extra robust: APGD by its authors"  # why tests are skipped without it


def given(seed: int = 3, count: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Images, labels and keys for three runs."""
    images = numbers(seed, "images", count, 28, 28).expand(3, -1, -1, -1)
    keys = draws.fold(draws.stream([seed], "s"), torch.arange(count)).expand(3, -1)
    return images, (torch.arange(count) % 10).expand(3, -1), keys


class Endless(Past):
    """A goal that is not reached, for walks to their end."""

    def reached(self, logits: Tensor) -> Tensor:
        return torch.zeros(logits.shape[:-1], dtype=torch.bool)


def test_checkpoints_are_those_of_the_paper() -> None:
    """Croce and Hein (2020), section 3: after 22, 41, 57, ... of 100 steps."""
    marks = apgd.checkpoints(100)
    assert list(marks) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(marks.values()) == [22, 19, 16, 13, 10, 7, 6, 6]


@pytest.mark.parametrize("name", ["linf", "l2"])
@pytest.mark.parametrize("steps", mostly_slow([25, 7, 60], every=3))
def test_walk_is_that_of_pyautoattack(name: str, steps: int, float64: None) -> None:
    """From the images themselves, on the same margin: the best points of its authors'
    code, run by run. (100 is added to their loss: they compare its first with 0.)"""
    module = pytest.importorskip("pyautoattack.autopgd_base", reason=AUTHORS)
    model, (images, labels, _) = stack(), given()
    targets = (labels + 1) % 10
    radius = {"linf": 0.05, "l2": 0.8}[name]
    goal = Endless(targets, labels)
    found = apgd.apgd(model, images, goal, epsilon=radius, steps=steps, norm=name)
    assert (found.points - images).abs().amax((-1, -2)).min() > 0.01
    for run in range(3):
        attack = module.APGDAttack(
            lambda x, run=run: model(x[:, 0].expand(3, -1, -1, -1))[run],
            n_iter=steps, norm={"linf": "Linf", "l2": "L2"}[name], eps=radius,
            loss="dlr-targeted", device="cpu",
        )  # fmt: skip
        goal = Past(targets[run], labels[run])
        attack.dlr_loss_targeted = lambda x, y, goal=goal: 100 - goal.loss("margin", x)
        start = images[run][:, None]
        attack.init_hyperparam(start)
        best, _, loss, _ = attack.attack_single_run(start, labels[run], x_init=start)
        torch.testing.assert_close(100 - loss, found.loss[run], rtol=0, atol=1e-11)
        apart = (best[:, 0] - found.points[run]).abs() > 1e-9
        assert apart.sum() <= 9  # pixels in which two points are as good


@pytest.mark.parametrize("name", ["linf", "l2"])
def test_walk_stays_in_its_ball_and_in_the_range(name: str) -> None:
    """From random starts, with a radius for each image; `reached` is what the network
    says of the points, and the loss is its margin where the goal is not reached."""
    model, (images, labels, keys) = stack(), given()
    scale = {"linf": 0.3, "l2": 3.0}[name]
    radii = scale * numbers(4, "radii", 3, 5)
    goal = Past((labels + 3) % 10, labels)
    sizes = {"epsilon": radii, "steps": 9, "keys": keys, "norm": name}
    found = apgd.apgd(model, images, goal, **sizes)
    change = (found.points - images).flatten(2)
    size = change.norm(p={"linf": torch.inf, "l2": 2}[name], dim=-1)
    assert (size <= radii + 1e-9).all() and (size > 0).all()
    assert found.points.min() >= 0 and found.points.max() <= 1
    logits = model(found.points)
    assert torch.equal(found.reached, goal.reached(logits))
    margins = goal.loss("margin", logits)
    torch.testing.assert_close(found.loss[~found.reached], margins[~found.reached])


def test_walk_of_an_image_is_its_own() -> None:
    """It depends neither on the images beside it nor on the other runs."""
    model, (images, labels, keys) = stack(), given()
    goal = Past((labels + 3) % 10, labels)
    together = apgd.apgd(model, images, goal, epsilon=0.02, steps=9, keys=keys)
    some = slice(1, 3)
    few = Past(goal.classes[:, some], labels[:, some])
    alone = apgd.apgd(
        model, images[:, some], few, epsilon=0.02, steps=9, keys=keys[:, some]
    )
    torch.testing.assert_close(alone.points, together.points[:, some])


def test_past_is_the_margin_to_one_class() -> None:
    """Label's logit less the class's; reached by any other answer."""
    logits = torch.tensor([[5.0, 1, 2], [0, 1, 7]])
    goal = Past(torch.tensor([1, 1]), torch.tensor([0, 0]))
    assert goal.loss("margin", logits).tolist() == [4, -1]
    assert goal.reached(logits).tolist() == [False, True]


def test_past_as_a_share_is_the_targeted_ratio_of_pyautoattack(float64: None) -> None:
    """The loss and its slope; of three classes it is the margin."""
    module = pytest.importorskip("pyautoattack.autopgd_base", reason=AUTHORS)
    logits = numbers(9, "logits", 6, 10).requires_grad_()
    labels, targets = torch.arange(6), torch.arange(6) + 2
    attack = module.APGDAttack_targeted(lambda x: x, n_iter=1, eps=1, device="cpu")
    attack.y_target = targets
    theirs = -attack.dlr_loss_targeted(logits, labels)
    ours = Past(targets, labels, shared=True).loss("margin", logits)
    torch.testing.assert_close(ours, theirs)
    slopes = [torch.autograd.grad(loss.sum(), logits)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*slopes)
    few, goal = logits[:, :3], (targets[:1], labels[:1])
    assert Past(*goal, shared=True).loss("margin", few[:1]) == Past(*goal).loss(
        "margin", few[:1]
    )


CASES = [*product(activation.LEVELS, pooling.LEVELS, ["softmax"], ["none"])]
CASES += [*product(["relu", "scaled_tanh"], ["max", "subsample"], head.LEVELS,
                   norm.LEVELS)]  # fmt: skip


@pytest.mark.parametrize("levels", mostly_slow(CASES, every=5), ids="-".join)
def test_compiled_network_is_the_same(levels: tuple[str, ...]) -> None:
    """Logits, and gradients by the pixels of a loss of them, are those of torch in
    float64, but for images in which rounding decides which of four pixels is largest,
    or on which side of 0 a sum is; images are each run's own, or the same for all."""
    names = ("activation", "pooling", "head", "norm")
    chosen = {"connection": "table", **dict(zip(names, levels, strict=True))}
    exact, quick = unlike(chosen), unlike(chosen).float()
    fast = Compiled(quick, chosen)
    images, pull = numbers(5, "images", 3, 37, 28, 28), numbers(6, "pull", 3, 37, 10)
    for shown in (images, images[0]):
        seen = []
        for model in (exact, fast):
            kind = next(model.parameters()).dtype
            leaf = shown.to(kind).clone().requires_grad_()
            logits = model.eval()(leaf)
            (slope,) = torch.autograd.grad((logits * pull).sum(), leaf)
            seen += [logits.detach().double(), slope.double()]
        for right, other in zip(seen[:2], seen[2:], strict=True):
            off = (right - other).abs().flatten(2).amax(-1)
            near = off < 1e-4 * right.abs().flatten(2).amax(-1)
            assert near.double().mean() > 0.95
    pixels, pulls = images.float().numpy(), pull.float().numpy()
    assert fast.loops is not None
    for ask in (
        partial(fast.loops.scores, pixels),
        partial(fast.loops.slopes, pixels, pulls),
    ):
        alone, shared = ask(1), ask(5)
        assert (alone == shared).all()


def unlike(levels: dict[str, str]) -> LeNet5:
    """A stack whose runs differ in what their input and their batch norm are."""
    model = stack(levels)
    model.input.scale.copy_(torch.tensor([1.275, 1, 3.2]))
    model.input.shift.copy_(torch.tensor([-0.1, 0, -0.42]))
    for place, layer in enumerate((model.C1, model.C3)):
        layer.mean.copy_(numbers(7 + place, "mean", *layer.mean.shape) - 0.5)
        layer.var.copy_(numbers(9 + place, "var", *layer.var.shape) + 0.5)
    return model


def test_network_that_the_loops_do_not_compute_is_asked_as_it_is() -> None:
    """In float64, and of other classes than ten."""
    chosen = {"activation": "tanh"}
    model, images = stack(chosen).eval(), numbers(5, "images", 4, 28, 28)
    assert torch.equal(Compiled(model, chosen).eval()(images), model(images))


# --- Beside another attack ------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1800)  # minutes of attacks on a busy machine
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation": "scaled_tanh", "init": "lecun_sqrt"},
        {"head": "rbf"},
    ],
    ids=["modern", "tanh", "rbf"],
)
def test_standard_effort_leaves_nothing_to_apgd_t(
    changes: dict[str, str], mnist: Data
) -> None:
    """Of 500 images at epsilon 0.05, APGD-T of pyautoattack (nine targets, 100 steps)
    takes at most half a point from those that withstand."""
    module = pytest.importorskip("pyautoattack.autopgd_base", reason=AUTHORS)
    numbers = {"optimizer": "adam", "batch_size": 64, "epochs": 3}
    run = config({**numbers, "schedule": "cosine", **changes})
    weights = train([run], mnist)[0].weights
    model = Stack.start([run], mnist).model.eval()
    model.load_state_dict({key: part[None] for key, part in weights.items()})
    chosen = random_indices(500, 10_000)
    images, labels = mnist.test_images[chosen] / 255, mnist.test_labels[chosen]
    fast = Compiled(model, run.treatment).eval()
    problem = Problem(fast, images, labels, robustness.starts(chosen))
    right = robustness.problem_logits(problem).argmax(-1) == labels
    tries = robustness.EFFORTS["standard"].tries
    left = robustness.attack_all(problem, right, 0.05, tries, "linf").right[0]
    assert 50 < left.sum() < right.sum()
    with torch.random.fork_rng():
        attack = module.APGDAttack_targeted(
            lambda x: fast(x[:, 0])[0], n_iter=100, eps=0.05, device="cpu"
        )
        attack.n_target_classes = 9
        moved = attack.perturb(images[left][:, None], labels[left])
    goal = Untargeted(labels[left])
    with torch.no_grad():
        assert goal.reached(fast(moved[:, 0])[0]).sum() <= 0.005 * 500
