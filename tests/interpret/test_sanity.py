"""Deletion, insertion and randomised layers, against loops and scipy."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from small_networks import network, pictures

from lenet.config import Refusal
from lenet.interpret.gradcam import GradCam
from lenet.interpret.layer_outputs import predictions
from lenet.interpret.saliency import METHODS, Saliency, saliency
from lenet.interpret.sanity import (
    Sanity,
    area,
    explainers,
    faithfulness,
    likeness,
    orders,
    randomisation,
    randomised,
)
from lenet.training.model import LAYERS

EXPLAIN = explainers(Saliency(nodes=3, samples=2), GradCam(), 0)


@pytest.mark.slow
def test_deletion_and_insertion_are_those_of_a_loop(float64):
    """One pixel after the other, the highest first, of each image of each run."""
    model, images = network(2), pictures(3)
    classes = predictions(model, images)
    maps = saliency(model, images, "gradient_times_input")
    table = faithfulness(model, images, classes, {"map": maps}, Sanity(steps=7))
    for row in table.to_dict("records"):
        kept, sure = [], []
        for i in range(3):
            first = sorted(range(784), key=lambda p: -maps[row["run"], i].flatten()[p])
            count = round(row["share"] * 784)
            some = torch.zeros(784)
            some[first[:count]] = 1
            mask = (1 - some if row["test"] == "deletion" else some).view(28, 28)
            logits = model(images[i : i + 1] * mask)[row["run"], 0].detach()
            wanted = classes[row["run"], i]
            kept.append(float(logits.argmax() == wanted))
            sure.append(float(logits.softmax(0)[wanted]))
        assert row["kept"] == pytest.approx(np.mean(kept))
        assert row["probability"] == pytest.approx(np.mean(sure))
    assert len(table) == 2 * 2 * 8
    assert set(table["n"]) == {3}


def test_the_ends_of_the_curves_are_the_image_and_background():
    """Nothing deleted and everything inserted keep the class of every image."""
    model, images = network(), pictures(3)
    classes = predictions(model, images)
    ranked = orders({"gradient": torch.rand(1, 3, 28, 28)}, images, seed=0)
    table = faithfulness(model, images, classes, ranked, Sanity(steps=3))
    ends = table[(table["test"] == "deletion") == (table["share"] == 0)]
    ends = ends[ends["share"].isin([0, 1])]
    assert len(ends) == 2 * 3
    assert (ends["kept"] == 1).all()


def test_slopes_rank_by_size_and_contributions_by_sign():
    """The baselines rank by ink and by a draw that is the same for all runs."""
    images = pictures(2)
    maps = {name: torch.randn(3, 2, 28, 28) for name in METHODS}
    ranked = orders(maps, images, seed=1)
    assert torch.equal(ranked["gradient"], maps["gradient"].abs())
    assert torch.equal(ranked["integrated_gradients"], maps["integrated_gradients"])
    assert torch.equal(ranked["ink"][2], images)
    assert torch.equal(ranked["random"][0], ranked["random"][2])
    assert not torch.equal(ranked["random"][0, 0], ranked["random"][0, 1])
    assert not torch.equal(ranked["random"], orders(maps, images, seed=2)["random"])


def test_area_by_hand():
    """A line from 1 to 0 has the area 1/2, whatever the order of the rows."""
    table = pd.DataFrame(
        {"run": 0, "order": "map", "test": "deletion", "share": [1.0, 0.0, 0.5]}
    ).assign(kept=[0.0, 1.0, 0.5])
    assert area(table).tolist() == [0.5]


def test_likeness_is_spearmans(float64):
    """Scipy's rank correlation, its mean over the images where both maps vary."""
    maps, other = torch.randn(2, 3, 28, 28), torch.randn(2, 3, 28, 28).round()
    other[1, 2] = 5  # a map that does not vary: it has no rank correlation
    found, count = likeness(maps, other)
    varied = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    each = {
        at: stats.spearmanr(maps[at].flatten(), other[at].flatten())[0] for at in varied
    }
    means = [np.mean([each[m, i] for m, i in varied if m == run]) for run in (0, 1)]
    assert count.tolist() == [3, 2]
    assert found == pytest.approx(means)
    assert likeness(maps, maps)[0] == pytest.approx([1, 1])
    assert likeness(maps, -maps.exp())[0] == pytest.approx([-1, -1])
    nothing, none = likeness(maps, torch.zeros_like(maps))
    assert np.isnan(nothing).all()
    assert none.tolist() == [0, 0]


def test_layers_are_randomised_from_the_output_downwards():
    """Each step replaces one layer more, and the network itself keeps its weights."""
    model, random = network(norm="batch"), network(seed=9, norm="batch")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    steps = dict(randomised(model, random))
    assert list(steps) == list(reversed(LAYERS))
    for layer, mixed in steps.items():
        for name in LAYERS:
            below = LAYERS.index(name) < LAYERS.index(layer)
            source = before if below else random.state_dict()
            for key, value in getattr(mixed, name).state_dict().items():
                assert torch.equal(value, source[f"{name}.{key}"])
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_map_of_the_trained_network_is_like_itself_and_less_like_the_random_one():
    """At `none` the likeness is 1; with every layer randomised it is lower; an
    explainer that looks at the image alone stays at 1: the test catches it."""
    model, random = network(2), network(2, seed=9)
    images = pictures(3)
    explain = {
        **EXPLAIN,
        "blind": lambda model, images, classes: images.expand(2, -1, -1, -1),
    }
    classes = predictions(model, images)
    table = randomisation(model, random, images, classes, explain)
    assert len(table) == 2 * 6 * 8
    named = table.set_index(["method", "layer", "run"])
    for method in EXPLAIN:
        for run in range(2):
            assert named.loc[(method, "none", run), "signed"] == pytest.approx(1)
            assert named.loc[(method, "C1", run), "signed"] < 0.5
    blind = table[table["method"] == "blind"]
    assert blind["signed"].to_numpy() == pytest.approx(1)
    assert blind["ink"].to_numpy() == pytest.approx(1)


def test_steps_and_images_out_of_range_are_refused():
    """The message gives the range."""
    for wrong in ({"steps": 0}, {"steps": 785}, {"images": 0}):
        with pytest.raises(Refusal, match="1 to 784"):
            Sanity(**wrong)
