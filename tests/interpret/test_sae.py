"""Sparse autoencoders: both anchors of the metric, planted directions, baselines."""

import pytest
import torch
from sklearn.decomposition import PCA
from small_networks import network, pictures

from lenet.config import Refusal
from lenet.interpret.layer_outputs import features, onward, predictions
from lenet.interpret.sae import (
    Sae,
    dead,
    fit_autoencoders,
    keep_largest,
    portraits,
    principal,
    sparsity_curve,
    step_batches,
    train_autoencoders,
    unexplained,
)
from lenet.training.model import LAYERS

FEW = Sae(active=(1, 4), penalty=(0.5, 4.0), train=70, test=30, steps=60, batch=32)


def test_the_mean_leaves_all_the_variance_and_a_copy_none():
    """The anchors are exactly 1 and 0; half way to the mean leaves a quarter."""
    given = torch.randn(2, 70, 5) + 3
    mean = given.mean(1, keepdim=True).expand_as(given)
    assert unexplained(given, mean).tolist() == pytest.approx([1, 1])
    assert unexplained(given, given).tolist() == [0, 0]
    assert unexplained(given, (given + mean) / 2).tolist() == pytest.approx([0.25] * 2)


def test_largest_keeps_as_many_as_it_should():
    """By hand; each autoencoder has its own number, and one may keep all."""
    codes = torch.tensor([[[3.0, 1.0, 2.0, 5.0]]]).expand(3, -1, -1)
    kept = keep_largest(codes, torch.tensor([1, 3, 4]))
    assert kept[:, 0].tolist() == [[0, 0, 0, 5], [3, 0, 2, 5], [3, 1, 2, 5]]
    assert torch.equal(keep_largest(codes, torch.tensor([9, 9, 9])), codes)


def test_dead_scales_with_the_images_seen():
    """Of 10 images a latent that fires once is alive; of 20,000 it takes two."""
    few, many = torch.zeros(1, 10, 2), torch.zeros(1, 20_000, 3)
    few[0, 3, 1] = 1
    many[0, 7, 1:], many[0, 8, 2] = 1, 1
    assert dead(few).tolist() == [[True, False]]
    assert dead(many).tolist() == [[True, True, False]]


def test_principal_components_are_scikit_learns():
    """The test images rebuilt from the training images' components."""
    train, test = torch.randn(2, 70, 5).double(), torch.randn(2, 30, 5).double()
    for count, rebuilt in zip(
        (1, 3, 5), principal(train, test, (1, 3, 5)), strict=True
    ):
        for run in range(2):
            theirs = PCA(count).fit(train[run].numpy())
            expected = theirs.inverse_transform(theirs.transform(test[run].numpy()))
            torch.testing.assert_close(rebuilt[run], torch.tensor(expected))


@pytest.mark.slow
def test_planted_directions_are_found():
    """Data that are one of eight directions times a number: TopK with one latent
    explains nearly all of it, and so more than eight times as many as PCA with one."""
    generator = torch.Generator().manual_seed(2)
    directions = torch.randn(8, 5, generator=generator)
    size = 1 + torch.rand(600, 1, generator=generator)
    which = torch.randint(8, (600,), generator=generator)
    given = (size * directions[which])[None]
    spec = Sae(steps=400, batch=100, expansion=8, lr=1e-2)
    [auto] = train_autoencoders(given, [1], True, spec, seed=3)
    codes = auto.encode(given)
    assert ((codes > 0).sum(-1) <= 1).all()
    [pca] = principal(given, given, [1])
    left = unexplained(given, auto.decode(codes)).item()
    assert left < 0.1
    assert left < unexplained(given, pca).item() / 4


def test_a_larger_penalty_leaves_fewer_latents_at_work():
    """And more variance unexplained."""
    given = features(network(), pictures(70), "F6")
    low, high = train_autoencoders(
        given, [0.01, 3.0], False, Sae(steps=400, batch=70), seed=0
    )
    count = [(auto.encode(given) > 0).sum().item() for auto in (low, high)]
    left = [unexplained(given, auto.decode(auto.encode(given))) for auto in (low, high)]
    assert count[1] < 0.7 * count[0]
    assert left[1] > left[0]


def test_an_autoencoder_does_not_depend_on_its_stack(float64):
    """The same weights alone and beside another network and another sparsity."""
    given = features(network(2), pictures(70), "F6")
    numbers = torch.tensor([2, 5]), torch.tensor([0.0, 0.0])
    both = fit_autoencoders(given, *numbers, FEW, seed=4)
    lone = fit_autoencoders(given[1:], *(number[1:] for number in numbers), FEW, seed=4)
    torch.testing.assert_close(both.decoder[1:], lone.decoder)
    torch.testing.assert_close(both.decoder.norm(dim=-1), torch.ones(2, 336))
    assert both.encode(given).count_nonzero(-1).amax(1).tolist() == [2, 5]


def test_every_image_comes_once_in_a_pass():
    """In another order in the next."""
    steps = step_batches(70, Sae(steps=5, batch=28), seed=1)
    shown = torch.cat(steps)
    assert [len(step) for step in steps] == [28] * 5
    assert torch.equal(shown[:70].sort().values, torch.arange(70))
    assert torch.equal(shown[70:].sort().values, torch.arange(70))
    assert not torch.equal(shown[:70], shown[70:])


@pytest.mark.parametrize("head", ["softmax", "rbf"])
@pytest.mark.parametrize("layer", LAYERS)
def test_onward_goes_on_from_any_layer(layer, head):
    """A layer's own features give the network's own logits."""
    model, images = network(2, head=head, pooling="average"), pictures(3)
    logits = onward(model, layer, features(model, images, layer))
    torch.testing.assert_close(logits, model.activations(images)["output"])


def test_the_curve_has_both_anchors_and_every_baseline():
    """`itself` has the network's own error and leaves nothing; the mean leaves all."""
    model, images = network(2), pictures(100)
    labels = predictions(model, images)[0, 70:]
    table = sparsity_curve(model, images[:70], images[70:], labels, FEW, seed=0)
    assert len(table) == 2 * (2 + 2 + 2 + 1 + 1)
    named = table.set_index(["run", "method", "setting"])
    assert named.loc[(0, "itself", 0), ["fvu", "error"]].tolist() == [0, 0]
    own = (predictions(model, images[70:])[1] != labels).double().mean().item()
    assert named.loc[(1, "itself", 0), "error"] == pytest.approx(own)
    assert named.loc[(0, "mean", 0), "fvu"] == pytest.approx(1, abs=0.2)
    assert named.loc[(0, "pca", 4), "l0"] == 4
    assert named.loc[(0, "topk", 4), "l0"] <= 4
    for method in ("topk", "pca"):
        few, many = (named.loc[(0, method, k), "fvu"] for k in (1, 4))
        assert many < few
    assert set(table["n"]) == {30}
    assert set(table["n_train"]) == {70}
    assert table["dead"].between(0, 1).all()


def test_portraits_show_what_activates_a_latent(digits):
    """The class shares of a latent that fires add up to 1, and its images are those of
    its largest codes, by the autoencoder trained again."""
    model = network()
    train, test = digits.train_images[:70] / 255, digits.test_images[:30] / 255
    labels = digits.test_labels[:30]
    table = portraits(model, train, test, labels, FEW, seed=0)
    assert table["mass"].is_monotonic_decreasing
    assert table["mass"].sum() == pytest.approx(1)
    alive = table[table["fires"] > 0]
    shares = alive[[f"class_{c}" for c in range(10)]]
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1)
    auto = train_autoencoders(features(model, train, "F6"), [FEW.shown], True, FEW, 0)[
        0
    ]
    codes = auto.encode(features(model, test, "F6"))[0]
    first = table.iloc[0]
    own = codes[:, int(first["latent"])]
    assert first["image_0"] == own.argmax()
    assert first["fires"] == pytest.approx((own > 0).double().mean())
    heaviest = torch.stack([own[labels == c].sum() for c in range(10)]).argmax()
    assert first[[f"class_{c}" for c in range(10)]].astype(float).argmax() == heaviest
    direction = first[[f"unit_{u}" for u in range(84)]].astype(float).to_numpy()
    assert (direction**2).sum() == pytest.approx(1, abs=1e-4)


def test_numbers_and_layers_out_of_range_are_refused():
    """The output has no layer after it to be rebuilt for."""
    with pytest.raises(Refusal, match="C1, C3, C5, F6, S2, S4"):
        Sae(layer="output")
    for wrong in ({"active": (0,)}, {"penalty": (0.0,)}, {"steps": 0}, {"shown": 0}):
        with pytest.raises(Refusal, match="1 or more"):
            Sae(**wrong)
