"""Seconds of PGD beside foolbox's: python scripts/attack_benchmark.py

The same networks (full connection, max pooling, ReLU, softmax), 100 images, 20 steps,
one start, on one thread; the best of three. Processor seconds, so that other work on
the machine counts little. Needs foolbox, of the extra dev.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lenet.attack import Untargeted, pgd
from lenet.model import LeNet5
from lenet.terminal import command
from lenet.train import reuse_memory

IMAGES, STEPS, EPSILON, REPEATS = 100, 20, 0.3, 3
STEP = 2.5 * EPSILON / STEPS


class Single(nn.Module):
    """A stack of one run as foolbox wants it: [batch, 1, 28, 28] to [batch, class]."""

    def __init__(self, model: LeNet5) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images[:, 0])[0]


def network(runs: int) -> LeNet5:
    """An untrained stack: speed does not depend on the weights."""
    model = LeNet5(
        runs,
        activation="relu",
        pooling="max",
        connection="full",
        norm="none",
        head="softmax",
    )
    zeros = torch.zeros(runs)
    model.initialise(list(range(runs)), ["kaiming"] * runs, zeros, zeros)
    return model.eval()


def foolbox(images: Tensor, labels: Tensor) -> Callable[[], object]:
    """Its PGD on one network."""
    from foolbox import PyTorchModel
    from foolbox.attacks import LinfPGD

    attack = LinfPGD(abs_stepsize=STEP, steps=STEPS, random_start=False)
    model = PyTorchModel(Single(network(1)).eval(), bounds=(0, 1))
    return lambda: attack(model, images[:, None], labels, epsilons=EPSILON)


def ours(runs: int, images: Tensor, labels: Tensor) -> Callable[[], object]:
    """PGD on a stack, keeping the last point, as foolbox does."""
    model, goal = network(runs), Untargeted(labels)
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


def main() -> None:
    """The entry point."""
    torch.set_num_threads(1)
    reuse_memory()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(IMAGES, 28, 28, generator=generator)
    labels = torch.arange(IMAGES) % 10
    cases = {"foolbox": (1, foolbox(images, labels))}
    cases |= {f"ours, R = {r}": (r, ours(r, images, labels)) for r in (1, 2, 8)}
    best = dict.fromkeys(cases, float("inf"))
    for _ in range(REPEATS + 1):  # all in turn, so that they share the machine's mood
        for name, (runs, attack) in cases.items():
            began = time.process_time()
            attack()
            best[name] = min(best[name], (time.process_time() - began) / runs)
    print("| attack | ms per image and network | of foolbox |\n|---|---|---|")
    for name, seconds in best.items():
        share = seconds / best["foolbox"]
        print(f"| {name} | {1e3 * seconds / IMAGES:.3f} | {share:.2f} |")


if __name__ == "__main__":
    command(main)
