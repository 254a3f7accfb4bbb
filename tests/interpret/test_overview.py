"""Answers, confusion and the maps of one digit."""

import numpy as np
import torch
from sklearn import metrics
from small_networks import network, pictures

from lenet.interpret.layer_outputs import logits, untrained
from lenet.interpret.overview import answer_table, confusion, maps, mistake_table


def test_confusion_is_scikit_learns(digits):
    """Counts of two runs are added up; every class has its row and column."""
    images, labels = digits.test_images[:70] / 255, digits.test_labels[:70]
    table = answer_table(network(2), images, labels)
    seen = logits(network(2), images).argmax(-1)
    each = [metrics.confusion_matrix(labels, s, labels=range(10)) for s in seen]
    assert np.array_equal(confusion(table).to_numpy(), each[0] + each[1])


def test_mistakes_are_the_wrong_answers_the_surest_first():
    """With the margin and the probability of the answer that was given."""
    model, images = network(2), pictures(20)
    labels = logits(model, images)[0].argmax(-1)
    labels[:5] = (labels[:5] + 1) % 10
    wrong = mistake_table(answer_table(model, images, labels))
    wrong = wrong[wrong["run"] == 0]
    assert set(wrong["image"]) == set(range(5))
    assert wrong["margin"].is_monotonic_decreasing
    first = wrong.iloc[0]
    seen = logits(model, images)[0, int(first["image"])]
    best = seen.sort(descending=True).values
    np.testing.assert_allclose(first["margin"], best[0] - best[1], rtol=1e-5)
    np.testing.assert_allclose(first["probability"], seen.softmax(0).max(), rtol=1e-5)


def test_kernels_that_table_one_leaves_out_are_no_numbers():
    """60 of C3's 96 kernels are there; all of C1's; the maps are the network's."""
    model, images = network(connection="table"), pictures(1)
    found = maps(model, images[0])
    missing = np.isnan(found["C3 kernels"]).all((2, 3))
    assert missing.sum() == 36
    assert np.array_equal(missing[0], [False, False, False, True, True, True])
    assert not np.isnan(found["C1 kernels"]).any()
    seen = model.activations(images)
    assert np.array_equal(found["S4"], seen["S4"][0, 0].detach().numpy())


def test_an_untrained_network_is_the_one_that_training_began_from():
    """The same weights from the seed, whatever the network has become; its image
    scaling stays, its norm statistics do not."""
    began = network(2, seed=5, norm="batch")
    model = network(2, seed=5, norm="batch")
    for parameter in model.parameters():
        parameter.data += 1
    model.C1.mean += 2
    model.input.shift += 3
    treatment = {"init": "kaiming", "init.coefficient": 0.4, "init.bias": 0.1}
    fresh = untrained(model, [treatment] * 2, [5, 6])
    for name, value in began.state_dict().items():
        if name != "input.shift":
            assert torch.equal(fresh.state_dict()[name], value), name
    assert (fresh.input.shift == 3).all()
    assert (model.C1.mean == 2).all()
