"""What a network does with images, at a glance: what it answers, and its maps."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from lenet.interpret.images import checked_labels
from lenet.interpret.layer_outputs import class_count, logits, readable_images
from lenet.training.model import LAYERS, LeNet5


def answer_table(model: LeNet5, images: Any, labels: Any) -> pd.DataFrame:
    """A row per run and image: label, answer, and how sure the network is of it.

    probability: softmax of the answer; margin: its logit minus the next largest.
    """
    images = readable_images(model, images)
    labels = checked_labels(labels, images, class_count(model))
    seen = logits(model, images)
    best = seen.topk(2, -1)
    sure = seen.softmax(-1).amax(-1)
    runs, count = best.indices.shape[:2]
    return pd.DataFrame(
        {
            "run": np.repeat(np.arange(runs), count),
            "image": np.tile(np.arange(count), runs),
            "label": labels.cpu().repeat(runs).numpy(),
            "answer": best.indices[..., 0].flatten().cpu().numpy(),
            "probability": sure.flatten().cpu().numpy(),
            "margin": -best.values.diff(dim=-1).flatten().cpu().numpy(),
        }
    )


def confusion(table: pd.DataFrame, classes: int = 10) -> pd.DataFrame:
    """How often each label (row) gets each answer (column), over the rows of an
    `answer_table`. Several runs are added up.
    """
    every = range(classes)
    counts = pd.crosstab(table["label"], table["answer"])
    return counts.reindex(index=every, columns=every, fill_value=0)


def mistake_table(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of an `answer_table` that are wrong, the surest of them first."""
    wrong = table[table["label"] != table["answer"]]
    return wrong.sort_values(["margin", "image"], ascending=[False, True])


@torch.no_grad()
def maps(model: LeNet5, image: Any) -> dict[str, npt.NDArray[np.float32]]:
    """What every layer of the first run gives for one image, and the kernels that make
    C1's and C3's maps: [map, input, 5, 5], NaN where Table I has none."""
    seen = model.activations(readable_images(model, image))
    pictures = {name: seen[name][0, 0].cpu().numpy() for name in LAYERS}
    for name in ("C1", "C3"):
        layer = getattr(model, name)
        kernels = layer.dense()[0].clone()
        there = torch.zeros(kernels.shape[:2], dtype=torch.bool).flatten()
        there[layer.kernels.cpu()] = True
        kernels[~there.view(kernels.shape[:2])] = torch.nan
        pictures[f"{name} kernels"] = kernels.cpu().numpy()
    return pictures
