"""Small drawings of what is looked at inside a network and of attacks on it: from
invented numbers, as many as each figure needs."""

import numpy as np
import pandas as pd
import torch
from test_robustness_chart import atlas, cells, differences, smallest

from lenet.figures import (
    attack_picture,
    interpretation_curves,
    interpretation_maps,
    robustness_chart,
)
from lenet.training.attack import Adversarial
from lenet.training.model import LAYERS

NETWORKS = ("paper", "modern")
STROKE = np.zeros((28, 28))
STROKE[5:23, 13:16] = 1
SHAPES = {  # of few maps of C3: each is six pictures
    **{"C1": (6, 28, 28), "S2": (6, 14, 14), "C3": (3, 10, 10), "S4": (3, 5, 5)},
    **{"C5": (120,), "F6": (84,), "output": (10,)},
    **{"C1 kernels": (6, 1, 5, 5), "C3 kernels": (3, 6, 5, 5)},
}


def probe_chart(origin):
    """Of two networks, trained on clean and attacked images, and untrained."""
    rows = [
        (network, weights, images, layer, 1, 0.9, 0.89, 0.91)
        for network in NETWORKS
        for weights, images in (
            ("trained", "clean"),
            ("trained", "attacked"),
            ("untrained", "clean"),
        )
        for layer in LAYERS
    ]
    columns = ["network", "weights", "images", "layer", "n", "mean", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    return interpretation_curves.probe_chart(table, table, "20 images.", origin)


def sae_chart(origin):
    """Of two settings of each method."""
    rows = [
        (network, 0, weights, method, count, float(count), 0.5 / count, 0.1, 0.02)
        for network in NETWORKS
        for weights in ("trained", "untrained")
        for method in ("topk", "l1", "pca", "mean", "itself")
        for count in (1, 8)
    ]
    names = ["network", "seed", "weights", "method", "setting", "l0", "fvu", "dead"]
    table = pd.DataFrame(rows, columns=[*names, "error"]).assign(n=100, n_train=200)
    return interpretation_curves.sae_chart(table, "F6", origin)


def sanity_chart(origin):
    """Of every order, in two steps, and of every layer."""
    orders = list(interpretation_curves.NAMES)
    faithful = [
        (network, 0, order, test, share, 1 - share, 200)
        for network in NETWORKS
        for order in orders
        for test in ("deletion", "insertion")
        for share in (0.0, 1.0)
    ]
    columns = ["network", "seed", "order", "test", "share", "kept", "n"]
    likeness = [
        (network, 0, method, layer, 0.5, 0.6, 0.3)
        for network in NETWORKS
        for method in orders[:5]
        for layer in ("none", *LAYERS)
    ]
    measures = ["network", "seed", "method", "layer", "signed", "magnitude", "ink"]
    tables = (
        pd.DataFrame(faithful, columns=columns),
        pd.DataFrame(likeness, columns=measures),
    )
    return interpretation_curves.sanity_chart(*tables, origin)


def layers(origin):
    """Of a network that gives zeros."""
    maps = {name: np.zeros(shape) for name, shape in SHAPES.items()}
    return interpretation_maps.layers(maps, STROKE, 1, origin)


def ten_digits(origin):
    """Of two digits, one of which has no map."""
    maps = np.stack([STROKE, 0 * STROKE])
    named = dict.fromkeys(interpretation_maps.ROWS["gradcam"], maps)
    return interpretation_maps.ten_digits(
        "gradcam", {**named, "classes": np.array([1, 7])}, maps + STROKE, [1, 1], origin
    )


def latents(origin):
    """Of three latents of F6, one of which fires on a single image."""
    table = pd.DataFrame(
        {"latent": range(3), "fires": 0.1, "mass": 0.3}
        | {f"class_{number}": [0.1, 0.5, 1.0] for number in range(10)}
        | {f"image_{place}": [0, 0, -1 if place else 0] for place in range(8)}
        | {f"unit_{unit}": 0.1 for unit in range(84)}
    )
    return interpretation_maps.latents(table, STROKE[None], "F6", 8, origin)


def answers():
    """What two runs read: one of three images wrong."""
    columns = ["run", "image", "label", "answer", "probability", "margin"]
    rows = [
        (run, image, image, 7 if image == 2 else image, 0.75, 1.5)
        for run in range(2)
        for image in range(3)
    ]
    return pd.DataFrame(rows, columns=columns)


def confusion_matrix(origin):
    """Of two runs."""
    return interpretation_maps.confusion_matrix(answers(), origin)


def gallery(origin):
    """Of the images that two runs misread."""
    return interpretation_maps.gallery(answers(), np.stack([STROKE] * 3), origin)


def picture(origin):
    """Of two attacks, one of which reaches its goal."""
    image, logits = torch.tensor(STROKE).float(), torch.arange(10.0)
    rows = []
    for name, size in (("FGSM, untargeted", 0.1), ("PGD, to 3", -0.2)):
        change = torch.full((28, 28), size)
        attacked = Adversarial(
            images=(image + change)[None, None],
            perturbation=change[None, None],
            logits=logits.flip(0)[None, None],
            reached=torch.tensor([[size > 0]]),
            flat=torch.tensor([[False]]),
            trace=torch.zeros(1, 1, 1, 1),
        )
        rows.append(attack_picture.Row(name, image, 9, logits, attacked))
    return attack_picture.attack_picture(
        rows, epsilon=0.2, caption="Two attacks.", origin=origin
    )


def curves_under_attack(origin):
    """Of two treatments at two radii."""
    rows = robustness_chart.accuracy_table(cells())
    return robustness_chart.robustness_chart(
        *(rows, differences(), smallest()), reference="a", about="APGD.", origin=origin
    )


def atlas_chart(origin):
    """Of one treatment, of which one class is never turned."""
    return robustness_chart.atlas_chart(atlas(), 0.3, about="", origin=origin)


SMALL = {
    "attack_picture.attack_picture": picture,
    "interpretation_curves.probe_chart": probe_chart,
    "interpretation_curves.sae_chart": sae_chart,
    "interpretation_curves.sanity_chart": sanity_chart,
    "interpretation_maps.layers": layers,
    "interpretation_maps.ten_digits": ten_digits,
    "interpretation_maps.latents": latents,
    "interpretation_maps.confusion_matrix": confusion_matrix,
    "interpretation_maps.gallery": gallery,
    "robustness_chart.robustness_chart": curves_under_attack,
    "robustness_chart.atlas_chart": atlas_chart,
}
