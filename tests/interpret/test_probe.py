"""Linear probes: the optimum they claim, their control, and the run axis."""

import numpy as np
import pytest
import torch
from small_networks import network

from lenet.config import Refusal
from lenet.interpret import probe
from lenet.interpret.layer_outputs import features
from lenet.interpret.probe import Probe, fit, probes, selectivity, shuffled
from lenet.training.model import LAYERS


@pytest.fixture(scope="module")
def sets(digits):
    """Training images and labels, test images and labels."""
    train = digits.train_images[:300] / 255, digits.train_labels[:300]
    return train, digits.test_images[:100] / 255, digits.test_labels[:100]


def test_a_probe_is_at_the_optimum_of_its_loss():
    """Mean cross-entropy + decay/2 |W|^2 has no slope there."""
    rng = np.random.default_rng(1)
    inputs, labels = rng.normal(size=(70, 5)), rng.integers(0, 3, 70)
    spec = Probe(decay=0.05, iterations=1000)
    fitted = fit(inputs, labels, spec)
    weight = torch.tensor(fitted.coef_).requires_grad_()
    bias = torch.tensor(fitted.intercept_).requires_grad_()
    logits = torch.tensor(inputs) @ weight.T + bias
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    (loss + 0.05 / 2 * weight.square().sum()).backward()
    assert weight.grad.abs().max() < 1e-3
    assert bias.grad.abs().max() < 1e-3
    assert weight.abs().max() > 0.1


def test_every_layer_is_probed_on_its_own_features(sets):
    """A row per run, layer, task and kind of images, with the layer's size; the same
    accuracy as a probe of the features by hand."""
    train, images, labels = sets
    model, spec = network(2), Probe(iterations=50)
    tests = {"clean": images, "empty": torch.zeros_like(images)}
    table = probes(model, train, tests, labels, spec)
    assert len(table) == 2 * 7 * 2 * 2
    sizes = table.groupby("layer")["features"].unique().map(list).to_dict()
    counts = (4704, 1176, 1600, 400, 120, 84, 10)
    assert sizes == {k: [n] for k, n in zip(LAYERS, counts, strict=True)}
    learned, seen = (
        features(model, some, "F6")[1].numpy() for some in (train[0], images)
    )
    mean, scale = learned.mean(0), learned.std()
    byhand = fit((learned - mean) / scale, train[1].numpy(), spec)
    right = (byhand.predict((seen - mean) / scale) == labels.numpy()).mean()
    row = table.query(
        "run == 1 and layer == 'F6' and task == 'class' and images == 'clean'"
    )
    assert row["accuracy"].item() == pytest.approx(right, abs=0.02)
    assert row["n_train"].item() == 300
    assert row["n_test"].item() == 100
    blank = table.query("images == 'empty' and task == 'class'")["accuracy"]
    assert (blank < 0.3).all()


def test_the_control_is_at_chance_on_test_images(sets):
    """Shuffled labels are learned by heart by a large layer and not by a small one;
    selectivity is the difference, by hand."""
    train, images, labels = sets
    table = probes(network(), train, {"clean": images}, labels)
    control = table[table["task"] == "control"].set_index("layer")
    assert control["accuracy"].mean() < 0.25
    assert control.loc["C1", "train_accuracy"] == 1
    assert control.loc["output", "train_accuracy"] < 0.4
    chosen = selectivity(table).set_index("layer")
    digit = table[table["task"] == "class"].set_index("layer")
    for layer in LAYERS:
        expected = digit.loc[layer, "accuracy"] - control.loc[layer, "train_accuracy"]
        assert chosen.loc[layer, "selectivity"] == pytest.approx(expected)


def test_an_untrained_network_is_read_almost_perfectly(sets):
    """A random LeNet-5 keeps the digits: without this baseline a probe says nothing."""
    train, images, labels = sets
    table = probes(network(), train, {"clean": images}, labels)
    digit = table[table["task"] == "class"].set_index("layer")["accuracy"]
    assert digit["S4"] > 0.85


@pytest.mark.slow
def test_a_run_is_probed_as_if_it_were_alone(sets):
    """The stack does not change a row."""
    train, images, labels = sets
    spec = Probe(iterations=20)
    stack = probes(network(2), train, {"clean": images}, labels, spec)
    lone = probes(network(seed=1), train, {"clean": images}, labels, spec)
    both = stack[stack["run"] == 1]["accuracy"].to_numpy(), lone["accuracy"].to_numpy()
    assert both[0] == pytest.approx(both[1], abs=0.03)


@pytest.mark.slow
def test_images_of_each_run_may_differ(sets):
    """Attacked images, one batch per run, are read run by run."""
    train, images, labels = sets
    each = torch.stack([images, torch.zeros_like(images)])
    table = probes(network(2), train, {"attacked": each}, labels, Probe(iterations=50))
    rows = table[table["task"] == "class"].set_index(["run", "layer"])["accuracy"]
    assert rows[0, "S4"] > 0.8
    assert rows[1, "S4"] < 0.3


def test_the_control_shuffles_and_keeps_the_labels():
    """The same counts in an order of the seed."""
    labels = torch.arange(50) % 10
    control = shuffled(labels, 1)
    assert torch.equal(control.bincount(), labels.bincount())
    assert not torch.equal(control, labels)
    assert torch.equal(control, shuffled(labels, 1))
    assert not torch.equal(control, shuffled(labels, 2))


def test_an_early_stop_is_in_the_table(sets, monkeypatch):
    """A probe that ran out of iterations is marked, not hidden."""
    train, images, labels = sets
    monkeypatch.setattr(probe, "LAYERS", ("F6",))
    stopped = probes(network(), train, {"clean": images}, labels, Probe(iterations=1))
    assert not stopped["converged"].any()
    ended = probes(network(), train, {"clean": images}, labels)
    assert ended["converged"].all()


def test_numbers_out_of_range_are_refused():
    """The message gives the ranges."""
    for wrong in ({"train": 0}, {"decay": 0.0}, {"epsilon": 1.5}, {"attack_steps": 0}):
        with pytest.raises(Refusal, match="1 or more"):
            Probe(**wrong)
    with pytest.raises(Refusal, match="probe.train=1: .* 100 images or more"):
        Probe(train=1)
