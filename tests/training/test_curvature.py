"""The curvature equals the recursion over single connections in oracle.py, the
Gauss-Newton diagonal where the recursion is exact, and what the authors' code gives."""

import numpy as np
import oracle
import pytest
import torch
from marks import mostly_slow
from torch import Tensor

from lenet.training.curvature import curvature
from lenet.training.data import Data
from lenet.training.model import Dense, LeNet5

PAPER = {
    "activation": "scaled_tanh",
    "pooling": "subsample",
    "connection": "table",
    "norm": "none",
    "head": "rbf",
}
OTHERS = (
    {},
    {"head": "softmax"},
    {"head": "rbf_map", "pooling": "average"},
    {"pooling": "max", "activation": "relu"},
    {"pooling": "stride", "activation": "gelu"},
    {"connection": "full", "head": "softmax", "activation": "sigmoid"},
    {"norm": "batch", "head": "softmax"},
    {"head": "ten_units", "activation": "tanh"},
)


def network(levels: dict[str, str]) -> LeNet5:
    """A float64 stack of three, of different seeds, inits and inputs."""
    model = LeNet5(3, **levels)
    inits = ["lecun_sqrt", "kaiming", "orthogonal"]
    coefficient, bias = torch.tensor([0.6, 0.5, 0.25]), torch.tensor([0.0, 0.1, 0.2])
    model.initialise([0, 1, 2], inits, coefficient, bias)
    model.double()
    model.input.scale.copy_(torch.tensor([1.275, 1, 2]))
    model.input.shift.copy_(torch.tensor([-0.1, 0, -0.5]))
    return model


def images(count: int) -> Tensor:
    """Random pixels for each of three runs."""
    generator = torch.Generator().manual_seed(0)
    return torch.rand(3, count, 28, 28, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("change", mostly_slow(OTHERS, every=4), ids=str)
def test_curvature_equals_the_loops_over_connections(change: dict[str, str]) -> None:
    """h_kk is the mean over images of the recursion written connection by connection,
    for layers of every kind."""
    levels = {**PAPER, **change}
    model, pixels, run = network(levels), images(2), 1
    found = curvature(model, pixels)
    weights = {k: v[run].detach().numpy() for k, v in model.named_parameters()}
    scaling = {"scale": model.input.scale[run].item()}
    scaling["shift"] = model.input.shift[run].item()
    each = [
        oracle.curvature(weights, image.numpy(), **levels, **scaling)
        for image in pixels[run]
    ]
    assert set(found) == set(each[0]) == set(weights)
    for name in found:
        expected = (each[0][name] + each[1][name]) / 2
        largest = np.abs(expected).max()
        np.testing.assert_allclose(
            found[name][run].numpy(), expected, rtol=1e-10, atol=1e-12 * largest
        )


@torch.no_grad()
def leave_one_path(model: LeNet5) -> None:
    """Zero weights until each parameter acts at one place and reaches each unit of F6
    by one path: C5's unit m sees one pixel of S4's map m, C3's map m one of S2's m."""
    c5, c3 = torch.zeros(120, 16, 5, 5), torch.zeros(60, 5, 5)
    for unit in range(16):
        c5[unit, unit, unit % 5, 2 * unit % 5] = 1
    for source in range(6):
        kernel = model.C3.kernels.tolist().index(source * 6 + source)
        c3[kernel, source % 5, 3 * source % 5] = 1
    model.C5.weight *= c5
    model.C3.weight *= c3


@pytest.mark.parametrize("head", ["rbf", "softmax"])
@pytest.mark.parametrize("pooling", ["stride", "max"])
def test_curvature_of_single_paths_is_gauss_newton(pooling: str, head: str) -> None:
    """Where each weight is unshared and has one path, h is the diagonal of J^T H J, by
    Jacobian; H is 1 at F6 and the diagonal of the softmax's Hessian at the logits."""
    model = network({**PAPER, "pooling": pooling, "head": head})
    leave_one_path(model)
    if head == "softmax":  # one path from each of these units to each logit
        model.F6.weight.data *= (
            torch.arange(84)[:, None] == torch.arange(120)
        ).double()
    pixels = images(2)
    found = curvature(model, pixels)
    expected = {name: torch.zeros_like(h) for name, h in found.items()}
    parameters = dict(model.named_parameters())
    for image in pixels.split(1, dim=1):
        seen = model.activations(image)
        units = seen["F6"] if head == "rbf" else seen["output"]
        p = seen["output"].softmax(-1).detach()
        hessian = torch.ones_like(units) if head == "rbf" else p * (1 - p)
        for unit in range(units.shape[-1]):
            column = units[:, 0, unit]
            each = torch.autograd.grad(
                column.sum(), list(parameters.values()), retain_graph=True
            )
            for (name, weight), jacobian in zip(parameters.items(), each, strict=True):
                second = hessian[:, 0, unit].view(-1, *[1] * (weight.ndim - 1))
                expected[name] += second * jacobian**2 / 2
    for name, values in found.items():
        assert values.abs().max() > 0, name
        torch.testing.assert_close(values, expected[name], rtol=1e-9, atol=1e-15)


def test_step_sizes_are_those_of_the_authors_code(mnist: Data) -> None:
    """1 / (0.02 + h) spans 0.985363 to 49.851524 in the test that eblearn, successor of
    LUSH, has for LeNet-5: tanh, 10 outputs, pixels times 0.01, the first 100 images,
    +-1/sqrt(F). Other random weights give nearly the same, since f'(0) = 1 bounds h."""
    runs = 5
    model = LeNet5(runs, **{**PAPER, "activation": "tanh"})
    constants = torch.full((runs,), 0.5), torch.zeros(runs)
    model.initialise(list(range(runs)), ["lush"] * runs, *constants)
    f6 = Dense(runs, 10, (120,), "tanh")
    f6.load_state_dict({k: v[:, :10] for k, v in model.F6.state_dict().items()})
    model.F6, model.output.bitmaps = f6, torch.ones(10, 10)
    model.input.scale.fill_(2.55)
    pixels = (mnist.train_images[:100] / 255).expand(runs, -1, -1, -1)
    found = curvature(model, pixels)
    steps = 1 / (0.02 + torch.cat([h.flatten(1) for h in found.values()], 1))
    assert steps.amin(1).tolist() == pytest.approx([0.985363] * runs, abs=0.01)
    assert steps.amax(1).tolist() == pytest.approx([49.851524] * runs, abs=0.3)


@pytest.mark.parametrize("change", mostly_slow(OTHERS, every=3), ids=str)
def test_curvature_of_a_stack_is_that_of_each_run(change: dict[str, str]) -> None:
    """A run's curvature does not depend on the others, nor on how images are split."""
    levels = {**PAPER, **change}
    model, pixels = network(levels), images(57)
    found = curvature(model, pixels)
    alone = LeNet5(1, **levels).double()
    alone.load_state_dict({k: v[2:] for k, v in model.state_dict().items()})
    for name, values in curvature(alone, pixels[2:]).items():
        torch.testing.assert_close(found[name][2:], values, rtol=1e-9, atol=1e-12)


def test_curvature_leaves_the_model_as_it_was() -> None:
    """No parameter, statistic or gradient of the model changes."""
    model = network({**PAPER, "norm": "batch"}).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    curvature(model, images(3))
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
