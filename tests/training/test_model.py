"""LeNet5: the paper's counts, the NumPy oracle, and runs that do not see each other."""

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from marks import mostly_slow
from oracle import BITMAPS, TEN, Array, counts, forward
from torch import Tensor, nn

from lenet.config import Refusal
from lenet.training.factor.activation import LEVELS as ACTIVATIONS
from lenet.training.factor.connection import LEVELS as CONNECTIONS
from lenet.training.factor.head import LEVELS as HEADS
from lenet.training.factor.norm import LEVELS as NORMS
from lenet.training.factor.pooling import LEVELS as POOLINGS
from lenet.training.model import (
    LAYERS,
    STRUCTURE,
    LeNet5,
    by_run,
    main,
    side_by_side,
    table,
)

PAPER = {
    "activation": "scaled_tanh",
    "pooling": "subsample",
    "connection": "table",
    "norm": "none",
    "head": "rbf",
}
MODERN = {
    "activation": "relu",
    "pooling": "max",
    "connection": "full",
    "norm": "batch",
    "head": "softmax",
}
WORLD = {**MODERN, "norm": "none"}
ALTERNATIVES = {
    "activation": ACTIVATIONS,
    "pooling": POOLINGS,
    "connection": CONNECTIONS,
    "norm": NORMS,
    "head": HEADS,
}
ONE_CHANGED = [  # from the other base, where both have another, with the slow tests
    pytest.param(
        {**base, factor: level},
        marks=[pytest.mark.slow] * (base is MODERN and PAPER[factor] != level),
        id=f"{name}-{level}",
    )
    for name, base in (("paper", PAPER), ("modern", MODERN))
    for factor, known in ALTERNATIVES.items()
    for level in known
    if base[factor] != level
]
TRAINABLE_1998 = {
    "C1": 156,
    "S2": 12,
    "C3": 1_516,
    "S4": 32,
    "C5": 48_120,
    "F6": 10_164,
    "output": 0,
}
CONNECTIONS_1998 = {
    "C1": 122_304,
    "S2": 5_880,
    "C3": 151_600,
    "S4": 2_000,
    "C5": 48_120,
    "F6": 10_164,
    "output": 840,
}
SCALES, SHIFTS = (1.275, 1.0, 3.25), (-0.1, 0.0, -0.375)


def random_model(runs: int, levels: Mapping[str, str]) -> LeNet5:
    """A stack in float64 with random parameters and statistics, in eval mode."""
    model = LeNet5(runs, **levels).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            fan_in = weight[0, 0].numel() if name.endswith("weight") else 4
            weight.normal_(0, 2 / fan_in**0.5, generator=generator)
    for convolution in (model.C1, model.C3):
        convolution.mean.normal_(0, 0.5, generator=generator)
        convolution.var.uniform_(0.3, 3, generator=generator)
    model.input.scale.copy_(torch.tensor(SCALES[:runs], dtype=torch.float64))
    model.input.shift.copy_(torch.tensor(SHIFTS[:runs], dtype=torch.float64))
    return model


def random_images(*shape: int) -> Tensor:
    """Images in [0, 1], float64."""
    generator = torch.Generator().manual_seed(1)
    return torch.rand(*shape, 28, 28, generator=generator, dtype=torch.float64)


def oracle_outputs(
    model: LeNet5, run: int, image: Tensor, levels: Mapping[str, str]
) -> dict[str, Array]:
    """What the oracle's loops give for one run and image."""
    parameters = {k: w[run].detach().numpy() for k, w in model.named_parameters()}
    statistics = {}
    for layer in ("C1", "C3"):
        convolution = getattr(model, layer)
        statistics[f"{layer}.mean"] = convolution.mean[run].numpy()
        statistics[f"{layer}.variance"] = convolution.var[run].numpy()
    return forward(
        parameters,
        image.numpy(),
        scale=model.input.scale[run].item(),
        shift=model.input.shift[run].item(),
        statistics=statistics,
        centres=TEN if levels["head"] == "ten_units" else BITMAPS,
        **levels,  # type: ignore[arg-type]  # five levels, each a str
    )


def assert_equal_to_oracle(
    model: LeNet5, images: Tensor, levels: Mapping[str, str]
) -> None:
    """Every layer of every run and image agrees to float64's precision."""
    with torch.no_grad():
        seen = model.activations(images)
    runs, batch = seen["output"].shape[:2]
    stack = images.expand(runs, *images.shape[-3:])
    for run, place in itertools.product(range(runs), range(batch)):
        expected = oracle_outputs(model, run, stack[run, place], levels)
        if levels["head"] != "softmax":
            expected["output"] = -expected["output"]
        for layer in LAYERS:
            found = seen[layer][run, place].numpy()
            np.testing.assert_allclose(
                found, expected[layer], rtol=1e-10, atol=1e-10, err_msg=layer
            )


def test_paper_structure_has_the_papers_counts() -> None:
    """60,000 trainable parameters and 340,908 connections, layer by layer."""
    rows = table(**PAPER)
    assert {name: trainable for name, _, trainable, _ in rows} == TRAINABLE_1998
    assert {name: links for name, _, _, links in rows} == CONNECTIONS_1998
    assert sum(row[2] for row in rows) == 60_000
    assert sum(row[3] for row in rows) == 340_908


def test_popular_structure_has_61706_parameters() -> None:
    """Full C3 adds 900, S2 and S4 lose 44 and softmax adds 850."""
    trainable = {name: count for name, _, count, _ in table(**WORLD)}
    assert sum(trainable.values()) == 61_706 == 60_000 + 900 - 44 + 850
    assert trainable["C3"] - TRAINABLE_1998["C3"] == 900
    assert trainable["S2"] + trainable["S4"] == 0
    assert trainable["output"] == 850


@pytest.mark.parametrize(
    ("connection", "pooling", "head"),
    [
        ("table", "subsample", "rbf"),
        ("full", "subsample", "softmax"),
        ("table", "max", "rbf_map"),
        ("full", "average", "rbf"),
        ("table", "stride", "softmax"),
    ],
)
def test_counts_equal_the_oracles(connection: str, pooling: str, head: str) -> None:
    """The table counts as the oracle does, one connection at a time."""
    levels = {"connection": connection, "pooling": pooling, "head": head}
    expected = counts(**levels)
    rows = table(activation="tanh", norm="none", **levels)
    assert {name: (parameters, links) for name, _, parameters, links in rows} == {
        layer: tuple(count) for layer, count in expected.items()
    }


@pytest.mark.parametrize("levels", [PAPER, WORLD], ids=["paper", "popular"])
def test_norm_leaves_the_count_of_parameters(levels: dict[str, str]) -> None:
    """Batch norm's shift is the convolution's bias, and it has no scale."""
    sizes = [
        sum(w.numel() for w in LeNet5(1, **{**levels, "norm": norm}).parameters())
        for norm in NORMS
    ]
    assert len(set(sizes)) == 1


@pytest.mark.parametrize("widths", [(3, 8, 60, 42), (6, 16, 120, 84), (12, 32, 20, 9)])
def test_widths_are_those_that_are_asked_for(widths: tuple[int, ...]) -> None:
    """So many maps and units, every kernel of C3, and logits for each image."""
    model = LeNet5(2, **WORLD, widths=widths)
    c1, c3, c5, f6 = widths
    expected = 26 * c1 + (25 * c1 + 1) * c3 + (25 * c3 + 1) * c5 + (c5 + 1) * f6
    assert sum(w[0].numel() for w in model.parameters()) == expected + 10 * (f6 + 1)
    shapes = {
        name: tuple(signal.shape[2:])
        for name, signal in model.activations(torch.rand(3, 28, 28)).items()
    }
    assert shapes["C1"] == (c1, 28, 28) and shapes["C3"] == (c3, 10, 10)
    assert shapes["C5"] == (c5,) and shapes["F6"] == (f6,) and shapes["output"] == (10,)


@pytest.mark.parametrize("levels", [{"connection": "table"}, {"head": "rbf"}], ids=str)
def test_what_is_made_for_lenet_5s_widths_has_no_others(levels: dict[str, str]) -> None:
    """Table I names 6 and 16 maps, RBF units have 84 inputs."""
    with pytest.raises(Refusal, match="connection=full and a head that learns"):
        LeNet5(1, **{**WORLD, **levels}, widths=(12, 32, 240, 168))


def test_parameters_lead_with_the_run_axis() -> None:
    """A stack of 3 holds three times the parameters, by the paper's names."""
    model = LeNet5(3, **PAPER)
    shapes = {name: tuple(w.shape) for name, w in model.named_parameters()}
    assert shapes == {
        "C1.weight": (3, 6, 1, 5, 5),
        "C1.bias": (3, 6),
        "S2.coefficient": (3, 6),
        "S2.bias": (3, 6),
        "C3.weight": (3, 60, 5, 5),
        "C3.bias": (3, 16),
        "S4.coefficient": (3, 16),
        "S4.bias": (3, 16),
        "C5.weight": (3, 120, 16, 5, 5),
        "C5.bias": (3, 120),
        "F6.weight": (3, 84, 120),
        "F6.bias": (3, 84),
    }


def test_main_prints_the_totals(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m lenet.training.model` shows 60,000, 340,908 and 61,706."""
    main()
    printed = capsys.readouterr().out
    assert all(total in printed for total in ("60,000", "340,908", "61,706"))


@pytest.mark.parametrize("levels", [PAPER, MODERN], ids=["paper", "modern"])
def test_activations_return_every_layer_by_name(levels: dict[str, str]) -> None:
    """C1 to output in order, in the paper's sizes, and forward gives the last."""
    model, images = random_model(3, levels), random_images(3, 2)
    seen = model.activations(images)
    assert tuple(seen) == LAYERS
    assert {name: tuple(x.shape) for name, x in seen.items()} == {
        "C1": (3, 2, 6, 28, 28),
        "S2": (3, 2, 6, 14, 14),
        "C3": (3, 2, 16, 10, 10),
        "S4": (3, 2, 16, 5, 5),
        "C5": (3, 2, 120),
        "F6": (3, 2, 84),
        "output": (3, 2, 10),
    }


@pytest.mark.parametrize(
    ("activation", "pooling"),
    mostly_slow([*itertools.product(ACTIVATIONS, POOLINGS)], every=5, several=True),
)
def test_forward_equals_the_last_activation(activation: str, pooling: str) -> None:
    """Logits and gradients are the same by the short way and layer by layer, with
    dropout's factors too."""
    levels = {**MODERN, "activation": activation, "pooling": pooling}
    model, images = random_model(3, levels), random_images(3, 2)
    generator = torch.Generator().manual_seed(2)
    masks = {
        layer: torch.rand(3, 2, units, generator=generator, dtype=torch.float64)
        for layer, units in (("C5", 120), ("F6", 84))
    }
    parameters = list(model.parameters())
    for factors in (None, masks):
        logits = model(images, factors)
        expected = model.activations(images, factors)["output"]
        torch.testing.assert_close(logits, expected, rtol=1e-11, atol=1e-11)
        found = torch.autograd.grad(logits.square().sum(), parameters)
        wanted = torch.autograd.grad(expected.square().sum(), parameters)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("levels", [PAPER, MODERN], ids=["paper", "modern"])
def test_stack_equals_the_oracle(levels: dict[str, str]) -> None:
    """Three runs on a batch each agree with NumPy loops, at every layer."""
    assert_equal_to_oracle(random_model(3, levels), random_images(3, 2), levels)


@pytest.mark.parametrize("levels", ONE_CHANGED)
def test_every_level_equals_the_oracle(levels: dict[str, str]) -> None:
    """One level changed from 1998 or from today: still the oracle's numbers."""
    assert_equal_to_oracle(random_model(2, levels), random_images(1), levels)


@pytest.mark.parametrize("levels", [PAPER, MODERN], ids=["paper", "modern"])
@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_runs_do_not_see_each_other(levels: dict[str, str], training: bool) -> None:
    """Each run of a stack of 3 gives what it gives alone, with its gradient."""
    model, images = random_model(3, levels), random_images(3, 7)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    buffers = {k: v.clone() for k, v in model.named_buffers()}
    model.train(training)
    logits = model(images)
    gradients = torch.autograd.grad(logits.square().sum(), list(model.parameters()))
    for run in range(3):
        alone = LeNet5(1, **levels).double().train(training)
        alone.load_state_dict({k: v[run : run + 1] for k, v in state.items()})
        for layer in ("C1", "C3"):  # kept out of the state where norm is none
            own = getattr(alone, layer)
            own.mean.copy_(buffers[f"{layer}.mean"][run : run + 1])
            own.var.copy_(buffers[f"{layer}.var"][run : run + 1])
        expected = alone(images[run])
        torch.testing.assert_close(logits[run], expected[0], rtol=1e-10, atol=1e-10)
        wanted = torch.autograd.grad(expected.square().sum(), list(alone.parameters()))
        for gradient, single in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(gradient[run], single[0], rtol=1e-9, atol=1e-9)


def test_one_batch_for_all_equals_a_batch_per_run() -> None:
    """Images without a run axis are shown to every run."""
    model, images = random_model(3, PAPER), random_images(5)
    assert torch.equal(model(images), model(images.expand(3, -1, -1, -1).clone()))


@pytest.mark.parametrize("levels", [PAPER, MODERN], ids=["paper", "modern"])
def test_eval_mode_treats_images_one_by_one(levels: dict[str, str]) -> None:
    """In eval mode an image's logits do not depend on its batch; one image works."""
    model, images = random_model(2, levels), random_images(5)
    together = model(images)
    for place in range(5):
        alone = model(images[place : place + 1])
        torch.testing.assert_close(alone[:, 0], together[:, place])


def test_side_by_side_and_by_run_are_views() -> None:
    """Going between the two layouts of a stack's maps copies nothing."""
    flat = torch.randn(5, 6, 2, 7).contiguous(memory_format=torch.channels_last)
    maps = by_run(flat, 3)
    assert maps.shape == (3, 5, 2, 2, 7)
    assert maps.data_ptr() == flat.data_ptr() == side_by_side(maps).data_ptr()
    assert torch.equal(maps[1, 4, 1], flat[4, 3])
    assert torch.equal(side_by_side(maps), flat)
    maps[2, 3, 0, 1, 5] = 9
    assert flat[3, 4, 1, 5] == 9


@pytest.mark.parametrize("levels", [PAPER, WORLD], ids=["paper", "popular"])
def test_maps_of_all_runs_lie_side_by_side_in_memory(levels: dict[str, str]) -> None:
    """The maps C1 to S4 are channels_last with run and channel merged, as views."""
    seen = random_model(3, levels).activations(random_images(3, 2))
    for name in ("C1", "S2", "C3", "S4"):
        flat = side_by_side(seen[name])
        assert flat.data_ptr() == seen[name].data_ptr(), name
        assert flat.is_contiguous(memory_format=torch.channels_last), name


def test_border_is_background() -> None:
    """The 2 pixels around the image are what pixel 0 becomes, in every run."""
    model, images = random_model(3, PAPER), random_images(5)
    images[:, 0, 0] = 0
    maps = model.input(images)
    assert maps.shape == (3, 5, 1, 32, 32)
    for run, shift in enumerate(SHIFTS):
        inside = images * SCALES[run] + shift
        torch.testing.assert_close(maps[run, :, 0, 2:-2, 2:-2], inside)
        border = maps[run, :, 0].clone()
        border[:, 2:-2, 2:-2] = maps[run, 0, 0, 2, 2]
        assert (border == maps[run, 0, 0, 2, 2]).all()
        assert border[0, 0, 0].item() == pytest.approx(shift, abs=1e-12)


def test_rbf_logits_choose_the_nearest_bitmap() -> None:
    """A unit pattern equal to a bitmap is that class: argmin of the distances."""
    model = random_model(2, PAPER)
    patterns = torch.from_numpy(BITMAPS)[None].expand(2, -1, -1)
    logits = model.output(patterns)
    assert logits.argmax(-1).tolist() == [list(range(10))] * 2
    assert (logits <= 0).all()
    assert logits[0].diagonal().tolist() == [0.0] * 10
    six_eight = logits[0, 6, 8].item()
    assert six_eight == -0.5 * 12 * 2**2  # 12 pixels differ, by 2, squared, halved


def test_rbf_bitmaps_are_fixed() -> None:
    """The bitmaps are no parameters and are not in the state."""
    model = LeNet5(2, **PAPER)
    assert not any("output" in name for name, _ in model.named_parameters())
    assert not any("output" in name for name in model.state_dict())


@pytest.mark.parametrize("layer", ["C5", "F6"])
def test_dropout_mask_multiplies_a_layers_output(layer: str) -> None:
    """The factors given for a layer scale its output and nothing before it."""
    model, images = random_model(2, WORLD), random_images(3)
    before = model.activations(images)
    factors = torch.rand_like(before[layer]) * 2
    after = model.activations(images, {layer: factors})
    assert torch.equal(after[layer], before[layer] * factors)
    for earlier in LAYERS[: LAYERS.index(layer)]:
        assert torch.equal(after[earlier], before[earlier])
    assert not torch.equal(after["output"], before["output"])


def test_structure_names_what_the_model_takes() -> None:
    """STRUCTURE lists the model's levels, in order."""
    assert tuple(PAPER) == STRUCTURE


def test_unknown_level_is_an_error() -> None:
    """A level that nobody defined is not replaced by another."""
    with pytest.raises(KeyError, match="rulu"):
        LeNet5(1, **{**PAPER, "activation": "rulu"})


def test_model_has_no_hooks() -> None:
    """Activations come from the forward pass, not from hooks."""
    modules: list[nn.Module] = list(LeNet5(1, **PAPER).modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in modules)
