"""Saliency: gradients, integrated gradients and SmoothGrad, against other programs."""

import captum.attr
import pytest
import torch
from small_networks import network, pictures

from lenet.config import Refusal
from lenet.interpret.layer_outputs import predictions
from lenet.interpret.saliency import METHODS, Saliency, saliency

SMOOTH = {"activation": "scaled_tanh", "pooling": "subsample", "connection": "table"}
STRUCTURES = [{}, {**SMOOTH, "head": "rbf"}, {"norm": "batch", "pooling": "stride"}]
FEW = Saliency(nodes=5, samples=3)


def alone(model):
    """The first run as other programs want a network: [batch, class] from images."""
    return lambda images: model(images)[0]


@pytest.mark.parametrize("levels", STRUCTURES)
def test_gradient_is_captums_to_the_last_bit(levels):
    """Captum's Saliency, its absolute value off, gives the same map."""
    model, images = network(**levels), pictures(3)
    classes = torch.tensor([[4, 0, 7]])
    images.requires_grad_()
    theirs = captum.attr.Saliency(alone(model)).attribute(images, classes[0], abs=False)
    ours = saliency(model, images.detach(), "gradient", classes)[0]
    assert ours.any()
    assert (ours - theirs).abs().max() == 0


def test_gradient_is_the_slope_of_the_logit(float64):
    """Finite differences of a smooth network agree, for two runs at once."""
    model, images = network(2, **SMOOTH), pictures(3)
    classes = torch.tensor([[1, 2, 3], [4, 5, 6]])
    ours = saliency(model, images, "gradient", classes)
    for row, column in ((3, 20), (14, 14), (27, 0)):
        moved = []
        for step in (1e-5, -1e-5):
            other = images.clone()
            other[:, row, column] += step
            moved.append(model(other).gather(-1, classes[..., None])[..., 0])
        slope = (moved[0] - moved[1]) / 2e-5
        torch.testing.assert_close(ours[:, :, row, column], slope, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("levels", STRUCTURES)
def test_integrated_gradients_are_captums(float64, levels):
    """Captum's integrated gradients with the same quadrature give the same map."""
    model, images = network(**levels), pictures(3)
    classes = predictions(model, images)
    theirs = captum.attr.IntegratedGradients(alone(model)).attribute(
        images, target=classes[0], n_steps=7, method="gausslegendre"
    )
    ours = saliency(model, images, "integrated_gradients", spec=Saliency(nodes=7))[0]
    torch.testing.assert_close(ours, theirs)


def test_integrated_gradients_are_complete(float64):
    """Their sum is the logit minus the logit of background."""
    model, images = network(2, **SMOOTH), pictures(3)
    classes = predictions(model, images)
    maps = saliency(model, images, "integrated_gradients", classes, Saliency(nodes=30))
    scores = model(images) - model(torch.zeros_like(images))
    gained = scores.gather(-1, classes[..., None])[..., 0]
    torch.testing.assert_close(maps.sum((-2, -1)), gained, rtol=1e-6, atol=1e-8)


def test_a_homogeneous_network_gives_its_whole_logit(float64):
    """Without biases a ReLU network is homogeneous: x dS/dx adds up to S (Euler), and
    the gradient is the same all the way from background."""
    model, images = network(), pictures(3)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data.zero_()
    classes = predictions(model, images)
    score = model(images).amax(-1)
    maps = saliency(model, images, "gradient_times_input", classes)
    torch.testing.assert_close(maps.sum((-2, -1)), score)
    path = saliency(model, images, "integrated_gradients", classes, FEW)
    torch.testing.assert_close(path, maps)


def test_smooth_grad_without_noise_is_the_gradient(float64):
    """And with noise it is another map, the same again from the same seed."""
    model, images = network(**SMOOTH), pictures(3)

    def smooth(noise, seed):
        spec = Saliency(samples=3, noise=noise)
        return saliency(model, images, "smooth_grad", spec=spec, seed=seed)

    torch.testing.assert_close(smooth(0.0, 1), saliency(model, images, "gradient"))
    assert torch.equal(smooth(0.2, 1), smooth(0.2, 1))
    assert not torch.allclose(smooth(0.2, 1), smooth(0.2, 2), rtol=1e-3)
    assert not torch.allclose(smooth(0.2, 1), smooth(0.0, 1), rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_of_a_stack_is_each_image_of_each_run(float64, method):
    """Neither the other images nor the other runs change a map."""
    model, images = network(3, seed=2), pictures(2)
    maps = saliency(model, images, method, spec=FEW)
    for run in range(3):
        single = network(seed=2 + run)
        for i in range(2):
            lone = saliency(single, images[i : i + 1], method, spec=FEW)
            torch.testing.assert_close(maps[run, i], lone[0, 0])


@pytest.mark.parametrize("method", METHODS)
def test_images_of_each_run_may_differ(float64, method):
    """A batch per run gives what each run gives for its own batch."""
    model, images = network(2), pictures(6).view(2, 3, 28, 28)
    maps = saliency(model, images, method, spec=FEW)
    for run in range(2):
        lone = saliency(network(seed=run), images[run], method, spec=FEW)
        torch.testing.assert_close(maps[run], lone[0])


@pytest.mark.parametrize("method", METHODS)
def test_a_map_leaves_the_network_and_the_images_as_they_were(method):
    """No gradient is left behind, and nothing moves; it works without gradients too."""
    model, images = network(norm="batch"), pictures(2)
    before = {k: v.clone() for k, v in model.state_dict().items()}, images.clone()
    with torch.no_grad():
        assert saliency(model, images, method, spec=FEW).any()
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[0][k], v) for k, v in model.state_dict().items())
    assert torch.equal(before[1], images)
    assert images.grad is None


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.full((2, 28, 28), 2.8), "images / 255"),
        (torch.full((2, 28, 28), -0.4), r"\[0, 1\]"),
        (torch.full((2, 28, 28), torch.nan), "no number"),
        (torch.zeros(2, 32, 32), r"\[2, 32, 32\]"),
        (torch.zeros(0, 28, 28), "no images"),
        (torch.zeros(5, 2, 28, 28), "5 runs, but the stack has 1"),
    ],
)
def test_images_that_would_be_misread_are_refused(images, said):
    """The message says what is wrong and what to give."""
    with pytest.raises(Refusal, match=said):
        saliency(network(), images, "gradient")


def test_unknown_methods_numbers_and_training_mode_are_refused():
    """Each with the fix."""
    with pytest.raises(Refusal, match="did you mean gradient"):
        saliency(network(), pictures(2), "gradiant")
    with pytest.raises(Refusal, match=r"model.eval\(\)"):
        saliency(network().train(), pictures(2), "gradient")
    for wrong in ({"nodes": 0}, {"samples": 0}, {"noise": -0.1}, {"noise": 2.0}):
        with pytest.raises(Refusal, match="1 or more"):
            Saliency(**wrong)
