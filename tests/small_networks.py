"""Small stacks of untrained networks and images, for the tests of interpretation."""

import torch
from conftest import PLAIN

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
