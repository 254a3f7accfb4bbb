"""Linear probes: what a linear map can read from each layer, beside what it could read
without training.

A probe is multinomial logistic regression from a layer's features to the class, learned
on training images and tested on test images. Two baselines say what its accuracy is
worth: the same layer of the untrained network, and a control task, shuffled labels
(after Hewitt and Liang, EMNLP 2019). An image is shown once, so shuffled labels can be
learned by heart alone: the control's accuracy on its own training images says how much
a probe of this size can memorise, and selectivity is the test accuracy minus that. On
test images, their labels shuffled too, the control is at chance.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from jaxtyping import Int64
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits
from torch import Tensor

from lenet.config import Refusal
from lenet.interpret.images import checked_labels
from lenet.interpret.layer_outputs import class_count, features, readable_images
from lenet.training import draws
from lenet.training.model import LAYERS, LeNet5

Features = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]


FEWEST = 100  # images, of which each of ten classes is sure to have one


@dataclass(frozen=True)
class Probe:
    """Images to learn from and to test on; the weight of the squared weights; and how
    far the test images are attacked, where that is not 0: PGD in the L-infinity ball.

    Features are centred and divided by the layer's standard deviation; the loss is
    mean cross-entropy + decay/2 |weights|^2.
    """

    train: int = 5000
    test: int = 5000
    decay: float = 1e-3
    iterations: int = 200
    epsilon: float = 0.1  # in units of a pixel
    attack_steps: int = 10

    def __post_init__(self) -> None:
        whole = (self.train, self.test, self.iterations, self.attack_steps)
        if min(whole) < 1 or not self.decay > 0 or not 0 <= self.epsilon <= 1:
            raise Refusal(
                f"{self}: whole numbers are 1 or more, decay is positive, epsilon is "
                "from 0 (no attack) to 1"
            )
        if self.train < FEWEST:
            raise Refusal(
                f"probe.train={self.train}: a probe is learned on {FEWEST} images or "
                "more, or on all that there are"
            )


def shuffled(labels: Int64[Tensor, "image"], seed: int) -> Int64[Tensor, "image"]:
    """The same labels in an order that has nothing to do with the images."""
    keys = draws.fold(draws.stream([seed], "control"), torch.arange(len(labels)))
    return labels[keys.argsort().to(labels.device)]


def fit(train: Features, labels: Labels, spec: Probe) -> LogisticRegression:
    """The probe; that it stopped early is seen from its `n_iter_`.

    One thread: those of BLAS wait for each other where another process has a core,
    several times as long as the work takes.
    """
    # scikit-learn minimises |weights|^2 / 2 + C times the sum of the losses, not the
    # mean.
    strength = 1 / (spec.decay * len(labels))
    probe = LogisticRegression(C=strength, max_iter=spec.iterations, tol=1e-3)
    with warnings.catch_warnings(), threadpool_limits(1):
        warnings.simplefilter("ignore", ConvergenceWarning)  # the table says so
        return probe.fit(train, labels)


def probes(
    model: LeNet5,
    train: tuple[Any, Any],
    tests: Mapping[str, Any],
    labels: Any,
    spec: Probe = Probe(),
    seed: int = 0,
) -> pd.DataFrame:
    """Accuracies of the probes, a row per run, layer, task and kind of test images.

    train: images and labels that the probes are learned on; tests: the test images by
    kind, such as clean and attacked, of one order; labels: of the test images. Images
    are [n, 28, 28], or [run, n, 28, 28] where each run has its own, in [0, 1], labels
    [n]; what would be misread is a Refusal. The seed shuffles the control's labels.
    Columns: run, layer, features, task (class | control), images (the kind), accuracy
    and train_accuracy (fractions), n_train, n_test, converged.

    >>> from lenet.interpret.trained_network import load
    >>> images = torch.zeros(20, 28, 28)
    >>> images[:10, 5:23, 13:16] = 1  # upright and lying strokes
    >>> images[10:, 13:16, 5:23] = 1
    >>> labels = torch.arange(20) // 10
    >>> model = load("modern").model
    >>> table = probes(model, (images, labels), {"clean": images}, labels)
    >>> table[["layer", "task", "images"]].values.tolist()[0]
    ['C1', 'class', 'clean']
    >>> float(table["accuracy"][0])
    1.0
    >>> len(table) == len(LAYERS) * 2  # of one run and one kind, two tasks
    True
    """
    images = next(iter(tests.values()))
    answers = [
        checked_labels(given, readable_images(model, seen), class_count(model))
        for given, seen in ((train[1], train[0]), (labels, images))
    ]
    tasks = {
        "class": [given.cpu().numpy() for given in answers],
        "control": [shuffled(given, seed).cpu().numpy() for given in answers],
    }
    rows = []
    for layer in LAYERS:
        learned = features(model, train[0], layer)
        tested = {name: features(model, seen, layer) for name, seen in tests.items()}
        for run, inputs in enumerate(learned):
            # Test images by the numbers of the training images: the probe knows no
            # others.
            mean, scale = inputs.mean(0), inputs.std(correction=0).clamp(min=1e-12)
            scaled = ((inputs - mean) / scale).cpu().numpy()
            others = {
                name: ((seen[run] - mean) / scale).cpu().numpy()
                for name, seen in tested.items()
            }
            for task, (wanted, right) in tasks.items():
                about = {"run": run, "layer": layer, "task": task}
                accuracies = readings(scaled, wanted, others, right, spec)
                rows += [{**about, **accuracy} for accuracy in accuracies]
    return pd.DataFrame(rows)


def readings(
    inputs: Features,
    labels: Labels,
    tests: Mapping[str, Features],
    answers: Labels,
    spec: Probe,
) -> list[dict[str, Any]]:
    """What one probe reads, on each kind of test images."""
    probe = fit(inputs, labels, spec)
    about = {
        "features": inputs.shape[1],
        "train_accuracy": probe.score(inputs, labels),
        "n_train": len(inputs),
        "n_test": len(answers),
        "converged": bool(probe.n_iter_.max() < spec.iterations),
    }
    return [
        {**about, "images": name, "accuracy": probe.score(seen, answers)}
        for name, seen in tests.items()
    ]


def selectivity(
    table: pd.DataFrame, keys: Sequence[str] = ("run", "layer", "images")
) -> pd.DataFrame:
    """Test accuracy on the classes minus the control's accuracy on its training images.

    One row per combination of the keys, with both accuracies.
    """
    tasks = dict(list(table.groupby("task")))
    right = tasks["class"][[*keys, "accuracy"]]
    control = tasks["control"][[*keys, "train_accuracy"]]
    both = right.merge(control, on=list(keys), validate="one_to_one", sort=False)
    both = both.rename(columns={"train_accuracy": "memorised"})
    return both.assign(selectivity=both["accuracy"] - both["memorised"])
