"""Seconds of PGD beside foolbox's, and of adversarial beside plain training:
python scripts/attack_benchmark.py

The same networks (full connection, max pooling, ReLU, softmax), 100 images, 20 steps,
one start, on one thread; the best of three; also through the compiled loops, as trained
networks are attacked. Then a pass of a stack of 8 over 640 images
of digits at batch 64, without distortions: plain training through the loop that
adversarial training takes, and through the compiled one. Processor seconds, so that
other work on the machine counts little. Needs foolbox, of the extra dev.
"""

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

from lenet.config import composed
from lenet.interpret.compiled_network import Compiled
from lenet.terminal import command, typed
from lenet.train import reuse_memory
from lenet.training import compiled
from lenet.training import data as datasets
from lenet.training.attack import Untargeted, pgd
from lenet.training.factor.adversary import LEVELS
from lenet.training.model import LeNet5
from lenet.training.stack import Stack

IMAGES, STEPS, EPSILON, REPEATS = 100, 20, 0.3, 3
STEP = 2.5 * EPSILON / STEPS
TRAINED, RUNS, EPOCH = 640, 8, 60_000


class Single(nn.Module):
    """A stack of one run as foolbox wants it: [batch, 1, 28, 28] to [batch, class]."""

    def __init__(self, model: LeNet5) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images[:, 0])[0]


NETWORK: Any = {
    **{"activation": "relu", "pooling": "max", "connection": "full"},
    **{"norm": "none", "head": "softmax"},
}


def untrained_stack(runs: int) -> LeNet5:
    """An untrained stack: speed does not depend on the weights."""
    model = LeNet5(runs, **NETWORK)
    zeros = torch.zeros(runs)
    model.initialise(list(range(runs)), ["kaiming"] * runs, zeros, zeros)
    return model.eval()


def foolbox(images: Tensor, labels: Tensor) -> Callable[[], object]:
    """Its PGD on one network."""
    from foolbox import PyTorchModel
    from foolbox.attacks import LinfPGD

    attack = LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=False)
    model = PyTorchModel(Single(untrained_stack(1)).eval(), bounds=(0, 1))
    return lambda: attack(model, images[:, None], labels, epsilons=EPSILON)


def our_attack(
    model: nn.Module, images: Tensor, labels: Tensor
) -> Callable[[], object]:
    """PGD on a stack, keeping the last point, as foolbox does."""
    goal = Untargeted(labels)
    return lambda: pgd(
        model,
        images,
        goal,
        epsilon=EPSILON,
        step=STEP,
        steps=STEPS,
        loss="cross_entropy",
        keep="last",
    )


def training(level: str, plain: bool = True) -> Callable[[], object]:
    """A pass of a stack under an adversary, if need be through the plain loop."""
    data = datasets.load_data("digits", None)
    line = ["data=digits", "augmentation=none", "batch_size=64", "epochs=1"]
    line += [f"adversary={level}", f"train_size={TRAINED}", f"replicates={RUNS}"]
    configs, _ = composed(line)
    stack = Stack.start(configs, data)

    def run() -> None:
        known = (lambda model: False) if plain else compiled.can_run
        with patch.object(compiled, "can_run", known):
            stack.run_epoch(0, data, lambda progress: None)

    return run


def least_seconds(cases: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """The processor seconds of each, all in turn, so that they share the machine's
    mood; the first time warms up."""
    least = dict.fromkeys(cases, float("inf"))
    for repeat in range(REPEATS + 1):
        for name, case in cases.items():
            began = time.process_time()
            case()
            if repeat:
                least[name] = min(least[name], time.process_time() - began)
    return least


def main() -> None:
    """The entry point."""
    typed(sys.argv[1:], {})
    torch.set_num_threads(1)
    reuse_memory()
    print_attacks()
    print_adversaries()


def print_attacks() -> None:
    """The table of PGD."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(IMAGES, 28, 28, generator=generator)
    labels = torch.arange(IMAGES) % 10
    cases, sizes = {"foolbox": foolbox(images, labels)}, {}
    for runs in (1, 2, 8):
        model = untrained_stack(runs)
        loops = Compiled(model, NETWORK).eval()
        for name, net in (("ours", model), ("ours, compiled loops", loops)):
            sizes[f"{name}, R = {runs}"] = runs
            cases[f"{name}, R = {runs}"] = our_attack(net, images, labels)
    least = least_seconds(cases)
    print("| attack | ms per image and network | of foolbox |\n|---|---|---|")
    for name, seconds in least.items():
        own = seconds / sizes.get(name, 1)
        share = own / least["foolbox"]
        print(f"| {name} | {1e3 * own / IMAGES:.3f} | {share:.2f} |")


def print_adversaries() -> None:
    """The table of training."""
    cases = {f"{level}, plain loop": training(level) for level in LEVELS}
    least = least_seconds(
        {**cases, "none, compiled loop": training("none", plain=False)}
    )
    print("\n| adversary | s per epoch and run | of none, plain |\n|---|---|---|")
    for name, seconds in least.items():
        each, share = (
            seconds * EPOCH / TRAINED / RUNS,
            seconds / least["none, plain loop"],
        )
        print(f"| {name} | {each:.2f} | {share:.2f} |", flush=True)


if __name__ == "__main__":
    command(main)
