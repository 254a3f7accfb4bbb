"""Small stacks of untrained networks and images, for attacks and interpretation."""

import torch
from conftest import PLAIN
from torch import Tensor

from lenet.training import draws
from lenet.training.model import STRUCTURE, LeNet5


def network(runs=1, seed=0, **levels):
    """A stack of networks, each from its own seed, in eval mode."""
    chosen = {key: levels.get(key, PLAIN[key]) for key in STRUCTURE}
    model = LeNet5(runs, **chosen).to(torch.get_default_dtype())
    numbers = torch.full((runs,), 0.4), torch.full((runs,), 0.1)
    model.initialise(range(seed, seed + runs), ["kaiming"] * runs, *numbers)
    return model.eval()


def pictures(count, seed=0):
    """Images of noise in [0, 1], a third of their pixels background."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.rand(count, 28, 28, generator=generator)
    return (noise * 1.5 - 0.5).clamp(min=0).to(torch.get_default_dtype())


def stack(levels: dict[str, str] | None = None) -> LeNet5:
    """Three untrained LeNets of different seeds, in float64."""
    chosen = {"activation": "tanh", "pooling": "average", "connection": "table"}
    chosen |= {"norm": "none", "head": "softmax"} | (levels or {})
    model = LeNet5(3, **chosen).double()
    model.initialise([0, 1, 2], ["lecun"] * 3, torch.ones(3), torch.zeros(3))
    return model


def numbers(seed: int, name: str, *shape: int) -> Tensor:
    """Uniform numbers in [0, 1) of a shape, in float64."""
    places = torch.arange(int(torch.tensor(shape).prod())).view(shape)
    return draws.uniform(draws.fold(draws.stream([seed], name), places)).double()
