"""The curvature equals the recursion over single connections in tests/oracle.py."""

import numpy as np
import oracle
import pytest
import torch
from torch import Tensor

from lenet.curvature import curvature
from lenet.model import LeNet5

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


@pytest.mark.parametrize("change", OTHERS, ids=str)
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


@pytest.mark.parametrize("change", OTHERS, ids=str)
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
