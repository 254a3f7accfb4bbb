"""Grad-CAM: the sum, the receptive field, and where a cell is drawn."""

import captum.attr
import pytest
import torch
from small_networks import network, pictures
from torch import nn
from torch.nn import functional

from lenet.config import Refusal
from lenet.interpret.gradcam import (
    Field,
    GradCam,
    cells,
    empty,
    grad_cam,
    map_on_image,
    normalised,
    receptive_field,
    stretched,
)
from lenet.interpret.layer_outputs import MAPS
from lenet.training.factor.pooling import LEVELS as POOLINGS
from lenet.training.model import LAYERS


class Tapped(nn.Module):
    """One run of a stack with one layer's output where captum can hook it."""

    def __init__(self, stack, layer):
        super().__init__()
        self.stack, self.layer, self.tap = stack, layer, nn.Identity()

    def forward(self, images):
        signal = self.stack.input(images)
        for name in LAYERS:
            signal = getattr(self.stack, name)(signal)
            if name == self.layer:
                signal = self.tap(signal[0])[None]
        return signal[0]


@pytest.mark.parametrize("layer", MAPS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_cells_are_captums_to_the_last_bit(pooling, layer):
    """Captum's LayerGradCam on the same layer gives the same signed map."""
    model, images = network(pooling=pooling, activation="tanh"), pictures(3)
    classes = torch.tensor([[4, 0, 7]])
    tapped = Tapped(model, layer)
    theirs = captum.attr.LayerGradCam(tapped, tapped.tap).attribute(images, classes[0])
    ours = cells(model, images, classes, layer)[0]
    assert ours.any()
    assert (ours - theirs[:, 0]).abs().max() == 0


def test_a_network_of_one_map_by_hand():
    """If a class's logit is twice the sum of one map of S4, L is twice that map; and
    where it is minus twice, nothing speaks for the class."""
    model, images = network(), pictures(2)
    for layer in (model.C5, model.F6, model.output):
        layer.weight.data.zero_()
        layer.bias.data.zero_()
    model.C5.weight.data[0, 0, 3] = 1
    model.F6.weight.data[0, 0, 0] = 1
    model.output.weight.data[0, 6, 0], model.output.weight.data[0, 2, 0] = 2, -2
    maps = model.activations(images)["S4"][:, :, 3]
    assert maps.any()
    torch.testing.assert_close(
        cells(model, images, torch.tensor([[6, 6]]), "S4"), 2 * maps
    )
    against = cells(model, images, torch.tensor([[2, 2]]), "S4")
    torch.testing.assert_close(against, -2 * maps)
    assert empty(against).all()
    assert not normalised(against).any()
    assert not empty(2 * maps).any()
    assert normalised(2 * maps).flatten(2).amax(-1).eq(1).all()


@pytest.mark.parametrize("layer", MAPS)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_cell_sees_its_receptive_field_and_no_more(float64, pooling, layer):
    """The gradient of a cell by the image is zero outside the field, and reaches each
    of its edges."""
    model = network(pooling=pooling, activation="tanh")
    field = receptive_field(model, layer)
    images = pictures(40).requires_grad_()
    seen = model.activations(images)[layer][0]
    for at in {0, seen.shape[-1] // 2, seen.shape[-1] - 1}:
        slope = torch.autograd.grad(
            seen[:, :, at, at].abs().sum(), images, retain_graph=True
        )[0]
        for axis in (1, 2):
            touched = slope.abs().sum((0, axis)).nonzero().flatten()
            first = field.start + field.jump * at
            assert touched.min() == max(0, first)
            assert touched.max() == min(27, first + field.size - 1)


def test_the_fields_of_max_pooling_by_hand():
    """C1 sees 5 pixels, S2 6, C3 14, S4 16; with `stride` one neighbour less each."""
    fields = [receptive_field(network(), layer) for layer in MAPS]
    assert fields == [
        Field(-2, 1, 5),
        Field(-2, 2, 6),
        Field(-2, 2, 14),
        Field(-2, 4, 16),
    ]
    sparse = receptive_field(network(pooling="stride"), "S4")
    assert sparse == Field(-2, 4, 13)


@pytest.mark.parametrize("layer", MAPS)
def test_a_cell_is_drawn_at_the_middle_of_what_it_sees(layer):
    """A map that rises by one from cell to cell rises by 1 / jump from pixel to pixel,
    and has a cell's value at the middle of the cell's field; outside it is constant."""
    model = network()
    field, count = (
        receptive_field(model, layer),
        {"C1": 28, "S2": 14, "C3": 10, "S4": 5},
    )
    ramp = torch.arange(float(count[layer])).expand(1, 1, count[layer], -1)
    drawn = map_on_image(ramp, field)[0, 0, 0]
    at = (torch.arange(28) - field.middle) / field.jump
    torch.testing.assert_close(drawn, at.clamp(0, count[layer] - 1.0))
    torch.testing.assert_close(map_on_image(ramp.mT, field)[0, 0, :, 0], drawn)


def test_the_usual_stretch_is_bilinear_and_up_to_three_pixels_off():
    """It equals torch's interpolation; S4's outer cells land 3.2 pixels from where they
    look."""
    signed = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(1))
    theirs = functional.interpolate(signed, size=(28, 28), mode="bilinear")
    torch.testing.assert_close(stretched(signed), theirs)
    field = receptive_field(network(), "S4")
    middles = torch.arange(5) * field.jump + field.middle
    drawn = (torch.arange(5) + 0.5) * 28 / 5 - 0.5
    assert (middles - drawn).abs().max() == pytest.approx(3.2)


def test_a_batch_of_a_stack_is_each_image_of_each_run(float64):
    """Neither the other images nor the other runs change a map."""
    model, images = network(3, seed=2), pictures(2)
    with torch.no_grad():
        maps = grad_cam(model, images)
    assert maps.shape == (3, 2, 28, 28)
    for run in range(3):
        lone = grad_cam(network(seed=2 + run), images[1:])
        torch.testing.assert_close(maps[run, 1:], lone[0])


def test_stretch_is_a_choice_and_layers_without_maps_are_refused():
    """The message lists the layers that have maps."""
    model, images = network(), pictures(2)
    other = grad_cam(model, images, spec=GradCam(stretch=True))
    assert not torch.allclose(grad_cam(model, images), other)
    with pytest.raises(Refusal, match="C1, C3, S2, S4"):
        GradCam(layer="C5")
