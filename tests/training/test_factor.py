"""Each factor's levels change what they claim, by how much they claim, nothing else."""

import functools
import itertools
import math
import operator
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from conftest import config, schooled
from oracle import ACTIVATIONS as ORACLE_ACTIVATIONS
from oracle import BITMAPS, LAYERS
from oracle import TABLE_I as ORACLE_TABLE
from oracle import loss as oracle_loss
from scipy import ndimage, stats
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import affine as torchvision_affine

from lenet.config import (
    CONF,
    FACTORS,
    RANGES,
    Config,
    Refusal,
    Value,
    group_levels,
    names,
)
from lenet.records.overfitting import overfitting
from lenet.training import data as datasets
from lenet.training import draws
from lenet.training.data import Data
from lenet.training.factor import (
    activation,
    adversary,
    augmentation,
    average,
    connection,
    head,
    init,
    input,
    mix,
    norm,
    optimizer,
    order,
    pooling,
    schedule,
    teacher,
)
from lenet.training.model import LeNet5
from lenet.training.recipe import Teacher
from lenet.training.stack import Stack, build, mistakes, train

MODULES = {
    "activation": activation,
    "pooling": pooling,
    "connection": connection,
    "norm": norm,
    "head": head,
    "init": init,
    "optimizer": optimizer,
    "schedule": schedule,
    "order": order,
    "augmentation": augmentation,
    "input": input,
    "adversary": adversary,
    "average": average,
    "mix": mix,
    "teacher": teacher,
}
BASE = {
    "activation": "tanh",
    "pooling": "subsample",
    "connection": "table",
    "norm": "none",
    "head": "softmax",
}


def stack(**changes: str) -> LeNet5:
    """Two runs in float64 whose parameters depend on their names alone."""
    model = LeNet5(2, **{**BASE, **changes}).double()
    constants = torch.tensor([0.6, 0.25]), torch.tensor([0.1, -0.2])
    model.initialise([3, 5], ["kaiming"] * 2, *constants)
    return model


def images(batch: int = 3) -> Tensor:
    """A batch for each of two runs, in [0, 1]."""
    keys = draws.fold(draws.stream([1, 2], "test images")[:, None], torch.arange(batch))
    return draws.uniform(draws.fold(keys[..., None, None], places(28, 28))).double()


def places(*shape: int) -> Tensor:
    """0, 1, 2, ... in a shape."""
    return torch.arange(math.prod(shape)).view(shape)


# --- conf/ and code -------------------------------------------------------------------


def test_every_factor_has_a_module_and_a_group() -> None:
    """The factors of the configuration are the modules with LEVELS."""
    assert set(MODULES) == set(FACTORS)


@pytest.mark.parametrize("factor", FACTORS)
def test_conf_lists_the_levels_of_the_code(factor: str) -> None:
    """A file in conf/ is a key of LEVELS and the other way round."""
    assert set(names(factor)) == set(MODULES[factor].LEVELS)


def test_every_activation_has_an_oracle() -> None:
    """Which others here are held against."""
    missing = activation.LEVELS.keys() - ORACLE_ACTIVATIONS.keys()
    assert not missing, f"write {missing} into ACTIVATIONS of tests/training/oracle.py"


@pytest.mark.parametrize("group", [*FACTORS, "data", "tracker"])
def test_level_files_are_complete(group: str) -> None:
    """A level's file has its stem as its name, a year, a source, and numbers that are
    numbers within their range."""
    for path in (CONF / group).glob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        content.pop("records", None)  # a text: run ids
        assert content.pop("name") == path.stem
        assert isinstance(content.pop("year"), int)
        assert isinstance(content.pop("source"), str)
        assert isinstance(content.pop("label", ""), str)
        for key, value in content.items():
            assert value in RANGES[f"{group}.{key}"], f"{path}: {key}={value!r}"


@pytest.mark.parametrize("preset", names("preset"))
def test_preset_sets_one_level_of_every_factor(preset: str) -> None:
    """A preset overrides every factor once, with a level, and plain numbers of its own
    or of the levels."""
    content = yaml.safe_load((CONF / "preset" / f"{preset}.yaml").read_text())
    pairs = [next(iter(line.items())) for line in content.pop("defaults")]
    assert [key for key, _ in pairs] == [f"override /{factor}" for factor in FACTORS]
    for key, level in pairs:
        factor = key.removeprefix("override /")
        assert level in names(factor)
    for key, value in content.items():
        numbers = value if isinstance(value, dict) else {"": value}
        for name, number in numbers.items():
            assert number in RANGES[f"{key}.{name}".rstrip(".")]


def test_paper_preset_is_the_papers() -> None:
    """1998: one constant order, no distortions, the RBF head and Table I."""
    content = yaml.safe_load((CONF / "preset" / "paper.yaml").read_text())
    chosen = {
        k.split("/")[1]: v for line in content["defaults"] for k, v in line.items()
    }
    assert chosen.items() >= {
        ("activation", "scaled_tanh"),
        ("pooling", "subsample"),
        ("connection", "table"),
        ("norm", "none"),
        ("head", "rbf"),
        ("schedule", "steps_1998"),
        ("order", "constant"),
        ("augmentation", "none"),
        ("input", "range_1998"),
    }
    assert content["epochs"] == 20


# --- activation -----------------------------------------------------------------------


def squashed_layers(level: str, **changes: str) -> set[str]:
    """The layers whose output is f of what they give without squash, f from the oracle;
    the others must give the same with and without."""
    model, plain = stack(activation=level, **changes), stack(**changes)
    for module in plain.modules():
        if isinstance(getattr(module, "squash", None), Callable):  # type: ignore[arg-type]
            module.squash = nn.Identity()
    seen = model.activations(images())
    signals = [model.input(images()), *seen.values()]
    squashed = set()
    for layer, signal in zip(LAYERS, signals, strict=False):
        a = getattr(plain, layer)(signal).detach().numpy()
        found = seen[layer].detach().numpy()
        if np.array_equal(found, a):
            continue
        rbf = layer == "F6" and changes.get("head", "softmax").startswith("rbf")
        expected = ORACLE_ACTIVATIONS["scaled_tanh" if rbf else level].value(a)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
        squashed.add(layer)
    return squashed


@pytest.mark.parametrize("level", activation.LEVELS)
@pytest.mark.parametrize("head_level", head.LEVELS)
def test_activation_reaches_every_layer_with_a_squash(
    level: str, head_level: str
) -> None:
    """C1, C3, C5 and F6, and S2 and S4 where they have coefficients; under an RBF head
    F6 keeps the scaled tanh."""
    squashed = {"C1", "C3", "C5", "F6"}
    changes = {"head": head_level}
    assert squashed_layers(level, pooling="max", **changes) == squashed
    with_coefficients = squashed_layers(level, pooling="subsample", **changes)
    assert with_coefficients == squashed | {"S2", "S4"}


@pytest.mark.parametrize("level", activation.LEVELS)
def test_activation_has_the_right_slope(level: str) -> None:
    """The f' beside f is the gradient of f, and the oracle's."""
    a = torch.linspace(-6, 6, 240, dtype=torch.float64, requires_grad=True)
    value, beside = activation.LEVELS[level](a)
    (slope,) = torch.autograd.grad(value.sum(), a)
    expected = ORACLE_ACTIVATIONS[level].slope(a.detach().numpy())
    np.testing.assert_allclose(slope.numpy(), expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(beside.detach().numpy(), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("level", pooling.LEVELS)
def test_pooling_has_the_right_shares(level: str) -> None:
    """The derivatives beside a pooling are its gradient, with ties and without."""
    corners = torch.randint(-3, 3, (4, 500)).double()
    leaves = [corner.clone().requires_grad_() for corner in corners]
    pooled, shares = pooling.LEVELS[level].reduce(*leaves)
    found = torch.autograd.grad(pooled.sum(), leaves, allow_unused=True)
    for share, slope in zip(shares, found, strict=True):
        expected = torch.zeros(500).double() if slope is None else slope
        torch.testing.assert_close(
            torch.as_tensor(share).expand(500), expected, check_dtype=False
        )


@pytest.mark.parametrize("level", head.LEVELS)
def test_head_pulls_as_its_loss_says(level: str) -> None:
    """The derivatives beside a loss are its gradient by each score."""
    scores = [(3 * torch.randn(40)).double().requires_grad_() for _ in range(10)]
    labels = torch.randint(0, 10, (40,))
    targets = [(labels == c).double() for c in range(10)]
    loss, pulls = head.LEVELS[level].formula(
        scores, targets, torch.tensor(0.3).double()
    )
    for pull, slope in zip(pulls, torch.autograd.grad(loss.sum(), scores), strict=True):
        torch.testing.assert_close(pull.detach(), slope)


@pytest.mark.parametrize("level", activation.LEVELS)
@pytest.mark.parametrize("value", [-1e4, -90.0, 0.0, 90.0, 1e4])
def test_activation_is_finite_in_float32(level: str, value: float) -> None:
    """Neither f nor its slope overflows."""
    a = torch.tensor([value], requires_grad=True)
    out = activation.squash_of(level)(a)
    (slope,) = torch.autograd.grad(out.sum(), a)
    assert out.isfinite().all() and slope.isfinite().all()


def test_scaled_tanh_has_the_papers_constants() -> None:
    """f(1) = 1 and f(-1) = -1 with the limits +-1.7159 (not 1.7259; not plain tanh)."""
    f = activation.squash_of("scaled_tanh")
    points = f(torch.tensor([-1e3, -1, 0, 1, 1e3], dtype=torch.float64))
    assert points[[0, 4]].tolist() == [-1.7159, 1.7159]
    assert points[1:4].tolist() == pytest.approx([-1, 0, 1], abs=2e-5)


@pytest.mark.parametrize("level", activation.LEVELS)
@pytest.mark.parametrize("count", [5, 7, 13, 30])
def test_activation_of_a_unit_has_the_same_bits_in_any_company(
    level: str, count: int
) -> None:
    """Value and slope do not depend on how many units are squashed together."""
    a = (
        draws.normal(draws.fold(draws.stream([0], "a"), torch.arange(64))) * 2
    ).detach()
    pairs = []
    for some in (a, a[:count].clone(), a[-count:].clone()):
        some.requires_grad_()
        out = activation.squash_of(level)(some)
        pairs.append((out.detach(), *torch.autograd.grad(out.sum(), some)))
    for every, first, last in zip(*pairs, strict=True):
        assert torch.equal(every[:count], first) and torch.equal(every[-count:], last)


def test_activation_levels_differ() -> None:
    """No two levels are the same function."""
    a = torch.linspace(-2, 2, 30, dtype=torch.float64)
    for squash, other in itertools.combinations(activation.LEVELS.values(), 2):
        assert (squash(a)[0] - other(a)[0]).abs().max() > 1e-3


# --- pooling --------------------------------------------------------------------------


def pool(maps: Tensor, level: str) -> Tensor:
    """Four neighbours to one, by the definition."""
    four = torch.stack([maps[..., i::2, j::2] for i in (0, 1) for j in (0, 1)])
    return {
        "subsample": four.sum(0),
        "average": four.mean(0),
        "max": four.amax(0),
        "stride": four[0],
    }[level]


@pytest.mark.parametrize("level", pooling.LEVELS)
def test_pooling_changes_s2_and_s4(level: str) -> None:
    """S2 and S4 are what the definition makes of C1 and C3, which stay as they are;
    the coefficient, bias and squash are subsample's alone."""
    model = stack(pooling=level)
    seen, before = model.activations(images()), stack().activations(images())
    assert torch.equal(seen["C1"], before["C1"])
    for layer, source in (("S2", "C1"), ("S4", "C3")):
        expected = pool(seen[source], level)
        module = getattr(model, layer)
        assert (module.coefficient is None) == (module.bias is None)
        assert (module.coefficient is not None) == (level == "subsample")
        if level == "subsample":
            coefficient = module.coefficient[:, None, :, None, None]
            bias = module.bias[:, None, :, None, None]
            expected = torch.tanh(expected * coefficient + bias)
        torch.testing.assert_close(seen[layer], expected, rtol=1e-12, atol=1e-12)
    assert (level == "subsample") == torch.equal(seen["S2"], before["S2"])


def test_pooling_levels_differ() -> None:
    """No two levels give the same S2."""
    outputs = [stack(pooling=p).activations(images())["S2"] for p in pooling.LEVELS]
    for output, other in itertools.combinations(outputs, 2):
        assert (output - other).abs().max() > 1e-3


# --- connection -----------------------------------------------------------------------


@pytest.mark.parametrize("level", connection.LEVELS)
def test_connection_says_which_maps_feed_c3(level: str) -> None:
    """Moving one S2 map moves the C3 maps that list it, and no other."""
    model = stack(connection=level)
    s2 = model.S2(model.C1(model.input(images())))
    before = model.C3(s2)
    for source in range(6):
        moved = s2.clone()
        moved[:, :, source] += 1
        changed = (model.C3(moved) != before).flatten(3).any(-1).any(1)
        expected = [level == "full" or source in row for row in ORACLE_TABLE]
        assert changed.tolist() == [expected] * 2


@pytest.mark.parametrize("level", connection.LEVELS)
def test_connection_has_a_kernel_per_connection(level: str) -> None:
    """Table I has 60 kernels, zeros elsewhere; the full C3 has 96. A kernel that is
    there gets a gradient."""
    model = stack(connection=level)
    dense = model.C3.dense()
    there = dense.detach().flatten(3).ne(0).any(-1)
    expected = torch.tensor([[m in row for m in range(6)] for row in ORACLE_TABLE])
    if level == "full":
        expected = torch.ones_like(expected)
    assert torch.equal(there, expected.expand(2, -1, -1))
    assert model.C3.weight[0].numel() == 25 * int(expected.sum())
    logits = model(images())
    (gradient,) = torch.autograd.grad(logits.square().sum(), model.C3.weight)
    assert gradient.unflatten(-2, (1, 5)).flatten(-3).ne(0).any(-1).all()


def test_connection_changes_only_c3() -> None:
    """All other parameters, C1 and S2 are the same with the table and without."""
    table, full = stack(connection="table"), stack(connection="full")
    others = dict(full.named_parameters())
    for name, weight in table.named_parameters():
        assert (name == "C3.weight") or torch.equal(weight, others[name])
    seen, other = table.activations(images()), full.activations(images())
    assert torch.equal(seen["S2"], other["S2"])
    assert not torch.equal(seen["C3"], other["C3"])


# --- norm -----------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3, 200])
def test_batch_norm_equals_torchs_in_each_run(batch: int) -> None:
    """C1 in training is torch's BatchNorm2d of the run's own maps, with the bias as its
    shift, no scale, and a momentum of 0.1 per 64 images, at most 0.1."""
    model, plain = stack(norm="batch").train(), stack(norm="none")
    signal = model.input(images(batch))
    found = model.C1(signal)
    zero = torch.zeros_like(plain.C1.bias[0])
    for run in range(2):
        sums = functional.conv2d(signal[run], model.C1.weight[run], zero)
        momentum = min(0.1, 0.1 * batch / 64)
        reference = nn.BatchNorm2d(6, momentum=momentum, dtype=torch.float64)
        with torch.no_grad():
            reference.bias.copy_(model.C1.bias[run])
        expected = torch.tanh(reference(sums))
        torch.testing.assert_close(found[run], expected, rtol=1e-9, atol=1e-9)
        mean, var = reference.running_mean, reference.running_var
        assert mean is not None and var is not None
        torch.testing.assert_close(model.C1.mean[run], mean, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(model.C1.var[run], var, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("level", norm.LEVELS)
def test_norm_acts_after_c1_and_c3(level: str) -> None:
    """The sums of C1 and C3 have mean 0 and variance 1 over batch and pixels under
    batch norm; the other layers do the same as without."""
    model, plain = stack(norm=level).train(), stack().train()
    seen = model.activations(images())
    signals = [model.input(images()), *seen.values()]
    for layer, signal in zip(LAYERS, signals, strict=False):
        again = getattr(plain, layer)(signal)
        normed = level == "batch" and layer in ("C1", "C3")
        assert torch.equal(again, seen[layer]) != normed
        if normed:
            bias = getattr(model, layer).bias[:, None, :, None, None]
            sums = (seen[layer].clamp(-1 + 1e-15, 1 - 1e-15).atanh() - bias).detach()
            assert sums.mean((1, 3, 4)).abs().max() < 1e-6
            assert (sums.var((1, 3, 4), correction=0) - 1).abs().max() < 1e-3


def test_batch_norm_uses_running_statistics_in_eval_mode() -> None:
    """In eval mode nothing is updated and the batch's own statistics play no part."""
    model = stack(norm="batch").eval()
    signal = model.input(images())
    before = model.C1(signal), model.C1.mean.clone(), model.C1.var.clone()
    sums = model.C1(signal).atanh() - model.C1.bias[:, None, :, None, None]
    raw = stack(norm="none").C1(signal).atanh()
    raw = raw - model.C1.bias[:, None, :, None, None]
    torch.testing.assert_close(sums, raw / math.sqrt(1 + 1e-5))
    assert torch.equal(model.C1.mean, before[1]) and torch.equal(
        model.C1.var, before[2]
    )


# --- head -----------------------------------------------------------------------------


def test_bitmaps_are_the_papers() -> None:
    """The pixels of Fig. 3: +1 and -1, ink as counted there, 12 apart at the least."""
    bitmaps = head.bitmaps()
    assert bitmaps.tolist() == BITMAPS.tolist()
    assert bitmaps.unique().tolist() == [-1, 1]
    assert (bitmaps > 0).sum(1).tolist() == [35, 27, 33, 32, 41, 35, 39, 25, 43, 39]
    distances = (bitmaps[:, None] != bitmaps).sum(-1) + 84 * torch.eye(10)
    assert distances.min() == 12 == distances[6, 8]


@pytest.mark.parametrize("level", head.LEVELS)
def test_head_changes_only_the_output_and_f6s_squash(level: str) -> None:
    """C1 to C5 do not depend on the head; with scaled tanh F6 does not either, of which
    ten_units uses ten."""
    seen = stack(head=level, activation="scaled_tanh").activations(images())
    other = stack(head="softmax", activation="scaled_tanh").activations(images())
    other["F6"][..., 10 if level == "ten_units" else 84 :] = 0
    for layer in LAYERS[:-1]:
        assert torch.equal(seen[layer], other[layer]), layer
    assert torch.equal(seen["output"], other["output"]) == (level == "softmax")


def test_ten_units_lose_half_their_squared_error() -> None:
    """The loss is 1/2 sum_i (x_i - t_i)^2 over ten outputs, t_i +1 for the label's and
    -1 for the others; the class is the largest output's; no other unit learns."""
    model, labels = stack(head="ten_units"), torch.tensor([[0, 6, 8], [9, 1, 4]])
    outputs = model.activations(images())["F6"][..., :10]
    targets = 2 * functional.one_hot(labels, 10).double() - 1
    logits = model(images())
    losses = head.LEVELS["ten_units"].loss(logits, labels, torch.zeros(2))
    torch.testing.assert_close(losses, 0.5 * ((outputs - targets) ** 2).sum(-1))
    assert torch.equal(logits.argmax(-1), outputs.argmax(-1))
    (gradient,) = torch.autograd.grad(losses.sum(), model.F6.weight)
    assert (gradient[:, :10] != 0).all() and (gradient[:, 10:] == 0).all()
    assert (model.F6.weight[:, 10:] == 0).all()


def test_rbf_heads_share_their_logits() -> None:
    """rbf and rbf_map differ in the loss alone: same logits, other gradients."""
    outputs, losses = [], []
    labels = torch.tensor([[0, 6, 8], [9, 1, 4]])
    for level in ("rbf", "rbf_map"):
        outputs.append(stack(head=level)(images()))
        number = torch.tensor([3.0, 3.0]).double()
        losses.append(head.LEVELS[level].loss(outputs[-1], labels, number))
    assert torch.equal(*outputs)
    assert (losses[1] - losses[0]).abs().min() > 1e-3


@pytest.mark.parametrize("level", head.LEVELS)
@pytest.mark.parametrize("numbers", [(0.0, 0.0), (0.1, 0.3), (3.0, 0.9)])
def test_loss_equals_the_oracle(level: str, numbers: tuple[float, float]) -> None:
    """The loss of every image equals eq. 8, eq. 9 or smoothed cross-entropy, with each
    run's own number."""
    logits = stack(head=level)(images()).detach()
    labels = torch.tensor([[0, 6, 8], [9, 1, 4]])
    smoothing = tuple(min(number, 0.9) for number in numbers)
    used = numbers if level == "rbf_map" else smoothing
    losses = head.LEVELS[level].loss(logits, labels, torch.tensor(used).double())
    sign = 1 if level == "softmax" else -1
    for run, place in itertools.product(range(2), range(3)):
        layers = {"output": sign * logits[run, place].numpy()}
        number = torch.tensor(used[run]).double().item()
        label = int(labels[run, place])
        expected = oracle_loss(layers, label, level, smoothing=number, j=number)
        assert losses[run, place].item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_cross_entropy_equals_torchs(smoothing: float) -> None:
    """Loss and gradient equal torch's cross_entropy with label_smoothing."""
    logits = (5 * torch.randn(2, 3, 10).double()).requires_grad_()
    labels = torch.tensor([[0, 6, 8], [9, 1, 4]])
    number = torch.full((2,), smoothing).double()
    found = head.LEVELS["softmax"].loss(logits, labels, number)
    expected = functional.cross_entropy(
        logits.flatten(0, 1),
        labels.flatten(),
        label_smoothing=number[0].item(),
        reduction="none",
    ).view(2, 3)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    gradients = [torch.autograd.grad(x.sum(), logits)[0] for x in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


def test_eq_9_counts_the_correct_class_and_the_rubbish() -> None:
    """At distance 0 from the label and far from all else, E = log(1 + e^-j) > 0."""
    logits = torch.full((1, 1, 10), -1e3)
    logits[..., 4] = 0
    number = torch.tensor([0.5])
    loss = head.LEVELS["rbf_map"].loss(logits, torch.tensor([[4]]), number)
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-0.5)), rel=1e-6)


@pytest.mark.parametrize("level", head.LEVELS)
def test_loss_survives_large_logits(level: str) -> None:
    """Distances and logits of 10,000 overflow nothing in float32."""
    logits = -1e4 * torch.rand(2, 3, 10)
    labels = torch.tensor([[0, 6, 8], [9, 1, 4]])
    number = torch.tensor([0.1, 0.2])
    assert head.LEVELS[level].loss(logits, labels, number).isfinite().all()


def test_mistakes_are_argmin_of_the_distances() -> None:
    """The class is the nearest bitmap's (not the farthest's); NaN is a mistake."""
    near = 0.9 * head.bitmaps()[None, [3, 7]].double()
    logits = stack(head="rbf").output(near.expand(2, -1, -1))
    assert mistakes(logits, torch.tensor([[3, 7], [7, 3]])).tolist() == [
        [False, False],
        [True, True],
    ]
    logits[0, 0] = torch.nan
    assert mistakes(logits, torch.tensor([0, 7]))[0].tolist() == [True, False]


# --- init -----------------------------------------------------------------------------


def initial(level: str, connection_level: str = "full", runs: int = 2) -> LeNet5:
    """A softmax stack with every weight from one level of init."""
    structure = {**BASE, "connection": connection_level}
    model = LeNet5(runs, **structure)
    constants = torch.linspace(0.25, 0.6, runs), torch.linspace(-0.1, 0.1, runs)
    model.initialise(list(range(runs)), [level] * runs, *constants)
    return model


def fan_ins(model: LeNet5) -> dict[str, tuple[Tensor, float, Tensor]]:
    """By layer: weights [run, out, rest], the fan-in of each, and the fan-out."""
    c3 = model.C3.weight.flatten(2)
    listed = [25.0 * len(row) for row in ORACLE_TABLE for _ in row]
    fans = torch.tensor(listed) if c3.shape[1] == 60 else torch.full((16,), 150.0)
    fan_out = 250.0 if c3.shape[1] == 60 else 400.0  # each S2 map feeds 10, or all 16
    layers = {"C3": (c3, fan_out, fans[:, None])}
    sizes = {"C1": (25, 150), "C5": (400, 120), "F6": (120, 84), "output": (84, 10)}
    for layer, (fan_in, fan_out) in sizes.items():
        weight = getattr(model, layer).weight.flatten(2)
        layers[layer] = (weight, float(fan_out), torch.tensor([[float(fan_in)]]))
    return {k: (v[0].detach(), v[1], v[2]) for k, v in layers.items()}


BOUNDS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "lecun": lambda fan_in, fan_out: 2.4 / fan_in,
    "lecun_sqrt": lambda fan_in, fan_out: 1.2 / fan_in.sqrt(),
    "lush": lambda fan_in, fan_out: 1 / fan_in.sqrt(),
    "xavier": lambda fan_in, fan_out: (6 / (fan_in + fan_out)).sqrt(),
}


@pytest.mark.parametrize("level", BOUNDS)
@pytest.mark.parametrize("connection_level", connection.LEVELS)
def test_uniform_init_has_its_bounds(level: str, connection_level: str) -> None:
    """Weights fill +-bound evenly, with Table I's fan-ins 75, 100 and 150 in C3."""
    for layer, sizes in fan_ins(initial(level, connection_level, 7)).items():
        weights, fan_out, fan_in = sizes
        share = weights / BOUNDS[level](fan_in, fan_out)
        assert share.abs().max() <= 1 + 1e-6, layer
        assert share.abs().max() > 0.98, layer
        assert share.mean().item() == pytest.approx(0, abs=0.06), layer
        assert share.var().item() == pytest.approx(1 / 3, abs=0.04), layer


def test_uniform_init_scales_each_of_table_1s_fan_ins() -> None:
    """C3 maps of 3, 4 and 6 inputs reach 2.4/75, 2.4/100 and 2.4/150."""
    weights = initial("lecun", "table", 7).C3.weight.abs().amax((0, 2, 3))
    sizes = [len(row) for row in ORACLE_TABLE for _ in row]
    for inputs in (3, 4, 6):
        largest = max(
            w for w, s in zip(weights.tolist(), sizes, strict=True) if s == inputs
        )
        assert largest == pytest.approx(2.4 / (25 * inputs), rel=0.02)


@pytest.mark.parametrize("connection_level", connection.LEVELS)
def test_kaiming_init_has_variance_two_over_fan_in(connection_level: str) -> None:
    """Normal weights: variance 2/F, kurtosis 3."""
    for layer, sizes in fan_ins(initial("kaiming", connection_level, 7)).items():
        weights, _, fan_in = sizes
        z = weights * (fan_in / 2).sqrt()
        assert z.var().item() == pytest.approx(1, abs=0.1), layer
        assert (z**4).mean().item() == pytest.approx(3, abs=0.6), layer


def test_orthogonal_init_has_orthonormal_rows() -> None:
    """W W^T is the identity in every layer and run (every layer has fewer units than
    inputs); C3's table keeps its part of the full matrix."""
    model, table = initial("orthogonal"), initial("orthogonal", "table")
    for layer in ("C1", "C3", "C5", "F6", "output"):
        matrix = getattr(model, layer).weight.detach().flatten(2)
        products = matrix @ matrix.mT
        expected = torch.eye(matrix.shape[1]).expand_as(products)
        torch.testing.assert_close(products, expected, atol=2e-6, rtol=0)
    kept = model.C3.weight.flatten(1, 2)[:, table.C3.kernels]
    assert torch.equal(table.C3.weight, kept)


def test_orthogonal_init_has_orthonormal_columns_where_fewer() -> None:
    """A tall matrix has W^T W = 1."""
    keys = draws.fold(draws.stream([0, 1], "tall")[:, None, None], places(7, 3))
    matrix = init.LEVELS["orthogonal"](keys, torch.ones(7, 1), 7.0)
    products = matrix.mT @ matrix
    torch.testing.assert_close(
        products, torch.eye(3).expand(2, 3, 3), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("level", init.LEVELS)
def test_init_differs_by_run_and_is_repeatable(level: str) -> None:
    """Other seeds, other weights; the same seed, the same weights in any stack."""
    model, other = initial(level, "table", 3), initial(level, "table", 2)
    for name, weight in model.named_parameters():
        if name.endswith("weight"):
            assert not torch.equal(weight[0], weight[1])
            assert torch.equal(weight[:2], dict(other.named_parameters())[name])


@pytest.mark.parametrize("level", init.LEVELS)
def test_init_sets_the_constants(level: str) -> None:
    """Coefficients and biases begin at each run's own numbers."""
    for name, weight in initial(level).named_parameters():
        if name.endswith("coefficient"):
            assert (weight == torch.tensor([[0.25], [0.6]])).all()
        elif name.endswith("bias"):
            assert (weight == torch.tensor([[-0.1], [0.1]])).all()


def test_uniform_inits_share_their_draws() -> None:
    """The uniform levels are one draw per weight in several scales."""
    drawn = [fan_ins(initial(level, "table")) for level in BOUNDS]
    for layer in drawn[0]:
        shares = [
            weights / bound(fan_in, fan_out)
            for bound, (weights, fan_out, fan_in) in zip(
                BOUNDS.values(), (f[layer] for f in drawn), strict=True
            )
        ]
        for other in shares[1:]:
            torch.testing.assert_close(shares[0], other)


@pytest.mark.parametrize("level", ["lecun", "lecun_sqrt", "lush", "kaiming"])
def test_table_and_full_share_their_draws(level: str) -> None:
    """A kernel of Table I is the full one's, rescaled by its map's fan-in."""
    table, full = initial(level, "table"), initial(level, "full")
    power = 1 if level == "lecun" else 0.5
    rows = [(t, s) for t, row in enumerate(ORACLE_TABLE) for s in row]
    for kernel, (to, source) in enumerate(rows):
        factor = (6 / len(ORACLE_TABLE[to])) ** power
        expected = full.C3.weight[:, to, source] * factor
        torch.testing.assert_close(table.C3.weight[:, kernel], expected)


def test_mixed_inits_equal_pure_ones() -> None:
    """A run's weights do not depend on the init of its neighbours."""
    chosen = ["orthogonal", "kaiming", "lecun", "kaiming", "xavier"]
    mixed = LeNet5(5, **BASE)
    mixed.initialise(list(range(5)), chosen, torch.zeros(5), torch.zeros(5))
    for run, level in enumerate(chosen):
        pure = LeNet5(5, **BASE)
        pure.initialise(list(range(5)), [level] * 5, torch.zeros(5), torch.zeros(5))
        for parameter, other in zip(mixed.parameters(), pure.parameters(), strict=True):
            assert torch.equal(parameter[run], other[run])


# --- optimizer ------------------------------------------------------------------------

RUNS: list[dict[str, float]] = [
    {"optimizer.lr": 0.05, "optimizer.weight_decay": 0.0},
    {"optimizer.lr": 0.01, "optimizer.weight_decay": 0.1},
    {"optimizer.lr": 0.002, "optimizer.weight_decay": 0.5},
]
Torchs = Callable[[list[dict[str, object]], Config], torch.optim.Optimizer]
TORCHS: dict[str, Torchs] = {
    "sgd": lambda groups, run: torch.optim.SGD(groups),
    "momentum": lambda groups, run: torch.optim.SGD(
        groups, momentum=run.number("optimizer.momentum")
    ),
    "nesterov": lambda groups, run: torch.optim.SGD(
        groups, momentum=run.number("optimizer.momentum"), nesterov=True
    ),
    "rmsprop": lambda groups, run: torch.optim.RMSprop(
        groups, alpha=run.number("optimizer.decay"), eps=run.number("optimizer.epsilon")
    ),
    "adam": lambda groups, run: torch.optim.Adam(
        groups, betas=betas(run), eps=run.number("optimizer.epsilon")
    ),
    "adamw": lambda groups, run: torch.optim.AdamW(
        groups, betas=betas(run), eps=run.number("optimizer.epsilon")
    ),
}


def betas(run: Config) -> tuple[float, float]:
    """Adam's averages, as torch calls them."""
    return run.number("optimizer.beta1"), run.number("optimizer.beta2")


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("level", TORCHS)
def test_optimizer_equals_torchs(level: str, tiny: Data) -> None:
    """Five steps of three runs, with their own rates and weight decay (not on biases),
    end where torch.optim's end, in float64."""
    levels = {"optimizer": level, "pooling": "subsample", "batch_size": 2}
    runs = [config({**levels, **numbers}, seed) for seed, numbers in enumerate(RUNS)]
    state = Stack.start(runs, tiny)
    singles = [
        {n: w[r].detach().clone().requires_grad_() for n, w in named(state)}
        for r in range(3)
    ]
    torchs = []
    for run, single in zip(runs, singles, strict=True):
        lr, decay = run.number("optimizer.lr"), run.number("optimizer.weight_decay")
        groups: list[dict[str, object]] = [
            {
                "params": [w],
                "lr": lr,
                "weight_decay": 0 if n.endswith("bias") else decay,
            }
            for n, w in single.items()
        ]
        torchs.append(TORCHS[level](groups, run))
    for step in range(5):
        losses = torch.stack(
            [sum_loss({n: w[r] for n, w in named(state)}, step) for r in range(3)]
        )
        state.update(losses, 0, step)
        for single, torchs_own in zip(singles, torchs, strict=True):
            torchs_own.zero_grad()
            sum_loss(single, step).backward()
            torchs_own.step()
    for run, single in enumerate(singles):
        for name, weight in named(state):
            torch.testing.assert_close(weight[run], single[name], rtol=1e-9, atol=1e-11)


def zeropower(g: Tensor) -> Tensor:
    """zeropower_via_newtonschulz5 of github.com/KellerJordan/Muon, in float64."""
    a, b, c = (3.4445, -4.7750, 2.0315)
    x = g.T if g.size(-2) > g.size(-1) else g
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        squared = x @ x.T
        x = a * x + (b * squared + c * squared @ squared) @ x
    return x.T if g.size(-2) > g.size(-1) else x


def jordans(weight: Tensor, momentum: Tensor, run: Config) -> None:
    """A step of `Muon` of github.com/KellerJordan/Muon: Nesterov's momentum of beta,
    convolutions as [out, all else], decoupled weight decay."""
    beta, lr = run.number("optimizer.momentum"), run.number("optimizer.lr")
    assert weight.grad is not None
    momentum.lerp_(weight.grad, 1 - beta)
    update = weight.grad.lerp(momentum, beta).reshape(len(weight), -1)
    update = zeropower(update) * max(1, update.size(-2) / update.size(-1)) ** 0.5
    weight.mul_(1 - lr * run.number("optimizer.weight_decay"))
    weight.add_(update.view_as(weight), alpha=-lr)


def as_full(weight: Tensor, level: str) -> Tensor:
    """C3's kernels [16, 6, 5, 5], with zeros where the oracle's Table I has none."""
    if level == "full":
        return weight
    pairs = [(m, i) for m, row in enumerate(ORACLE_TABLE) for i in row]
    whole = torch.zeros(16, 6, 5, 5).double()
    for kernel, pair in zip(weight, sorted(pairs), strict=True):
        whole[pair] = kernel
    return whole


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("level", connection.LEVELS)
def test_muon_is_as_published(level: str, tiny: Data) -> None:
    """Five steps of three runs: hidden layers' weights go as in the author's code (a
    kernel that is not there is 0 in its matrix), all others as in torch's AdamW."""
    levels = {"optimizer": "muon", "pooling": "subsample", "connection": level}
    runs = [config({**levels, **numbers}, seed) for seed, numbers in enumerate(RUNS)]
    runs[2] = config({**runs[2].treatment, "optimizer.momentum": 0.6}, 2)
    for place, run in enumerate(runs):
        state = Stack.start(runs, tiny)
        single = {n: w[place].detach().clone() for n, w in named(state)}
        single["C3.weight"] = as_full(single["C3.weight"], level)
        there = single["C3.weight"] != 0
        matrices = {n for n, w in single.items() if w.ndim > 1} - {"output.weight"}
        momenta = {name: torch.zeros_like(single[name]) for name in matrices}
        lr = run.number("optimizer.adamw_lr")
        groups: list[dict[str, object]] = [
            {"params": [w.requires_grad_()], "lr": lr}
            | {
                "weight_decay": 0
                if n.endswith("bias")
                else run.number("optimizer.weight_decay")
            }
            for n, w in single.items()
            if n not in matrices
        ]
        adamw = TORCHS["adamw"](groups, run)
        for step in range(5):
            for name in matrices:
                single[name].requires_grad_().grad = None
            adamw.zero_grad()
            losses = [
                sum_loss({n: w[r] for n, w in named(state)}, step) for r in (0, 1, 2)
            ]
            state.update(torch.stack(losses), 0, step)
            sum_loss(single, step).backward()
            adamw.step()
            with torch.no_grad():
                for name in matrices:
                    if name == "C3.weight":
                        single[name].grad.mul_(there)  # type: ignore[union-attr]
                    jordans(single[name], momenta[name], run)
                single["C3.weight"].mul_(there)
        for name, weight in named(state):
            found = (
                as_full(weight[place], level) if name == "C3.weight" else weight[place]
            )
            torch.testing.assert_close(found, single[name], rtol=1e-9, atol=1e-11)


def test_orthogonal_brings_singular_values_near_one() -> None:
    """The singular vectors of a matrix stay, and its values come within 0.68 to 1.14,
    whatever its size."""
    keys = draws.fold(draws.stream([0, 1], "matrices")[:, None, None], places(84, 120))
    matrices = draws.normal(keys).double() * torch.tensor([1e-6, 1e6])[:, None, None]
    found = optimizer.orthogonalised(matrices)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    values = u.mT @ found @ v.mT
    sizes = values.diagonal(dim1=1, dim2=2)
    assert (values - torch.diag_embed(sizes)).abs().max() < 1e-9
    assert 0.68 < sizes.min() and sizes.max() < 1.14


def named(state: Stack) -> list[tuple[str, Tensor]]:
    """The parameters of a stack by name."""
    return list(state.model.named_parameters())


def sum_loss(parameters: dict[str, Tensor], step: int) -> Tensor:
    """A loss with a gradient that changes with the weights and the step."""
    return sum(((w - 0.1 * step).sin() * w).sum() for w in parameters.values())  # type: ignore[return-value]


def test_optimizers_differ(tiny: Data) -> None:
    """From the same weights and gradients two steps lead each level elsewhere."""
    ends = []
    for level in [name for name in optimizer.LEVELS if name != "sdlm"]:
        numbers = {"optimizer.lr": 0.01, "optimizer.weight_decay": 0.1}
        state = Stack.start([config({"optimizer": level, **numbers})] * 2, tiny)
        for step in range(2):
            losses = sum_loss({n: w[0] for n, w in named(state)}, step).expand(2)
            state.update(losses, 0, step)
        ends.append(state.model.F6.weight[0].detach())
    for end, other in itertools.combinations(ends, 2):
        assert (end - other).abs().max() > 1e-7


# --- schedule -------------------------------------------------------------------------


def factors(
    level: str, epochs: int, steps: int, tiny: Data, **more: float
) -> list[float]:
    """What the learning rate is multiplied by at every step of training."""
    numbers = {f"schedule.{key}": value for key, value in more.items()}
    levels = {"schedule": level, "optimizer.lr": 0.5, "epochs": epochs}
    size = {"train_size": 7 * steps}
    run = config({**levels, **numbers, **size})
    state = Stack.start([run, run], tiny)
    rates = torch.cat([state.recipe.rates(epoch) for epoch in range(epochs)])
    assert rates.shape == (epochs * steps, 2)
    assert torch.equal(rates[:, 0], rates[:, 1])
    return (rates[:, 0] / 0.5).tolist()


def test_paper_schedule_is_the_papers(tiny: Data) -> None:
    """0.0005 twice, .0002 x3, .0001 x3, .00005 x4, .00001 x8 by pass, over the first;
    the last goes on after 20 passes."""
    etas = [5e-4] * 2 + [2e-4] * 3 + [1e-4] * 3 + [5e-5] * 4 + [1e-5] * 8
    expected = [eta / 5e-4 for eta in etas for _ in range(3)] + [0.02] * 6
    assert factors("steps_1998", 22, 3, tiny) == pytest.approx(expected)


def test_constant_schedule_is_one(tiny: Data) -> None:
    """The factor is 1 at every step."""
    assert factors("constant", 3, 5, tiny) == [1.0] * 15


def test_cosine_schedule_equals_torchs(tiny: Data) -> None:
    """CosineAnnealingLR over all steps, from 1 towards 0."""
    sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    torchs = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, T_max=15)
    expected = []
    for _ in range(15):
        expected.append(torchs.get_last_lr()[0])
        sgd.step()
        torchs.step()
    assert factors("cosine", 3, 5, tiny) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.4])
def test_one_cycle_schedule_rises_and_falls(warmup: float, tiny: Data) -> None:
    """Linearly from 1/25 to 1 in the share `warmup`, then half a cosine to 0; the fall
    is OneCycleLR's."""
    found = factors("one_cycle", 3, 5, tiny, warmup=warmup)
    rising = round(15 * warmup)
    expected = [1 / 25 + (24 / 25) * k / max(rising, 1) for k in range(rising)]
    assert found[:rising] == pytest.approx(expected, abs=1e-6)
    assert found[rising] == pytest.approx(1, abs=1e-6)
    if rising:
        sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        torchs = torch.optim.lr_scheduler.OneCycleLR(
            sgd, 1.0, total_steps=16, pct_start=(rising + 1) / 16, final_div_factor=1e9
        )
        expected = []
        for _ in range(15):
            expected.append(float(torchs.get_last_lr()[0]))
            sgd.step()
            torchs.step()
        assert found[rising:] == pytest.approx(expected[rising:], abs=1e-6)


def test_schedules_differ(tiny: Data) -> None:
    """No two levels multiply by the same factors, and each run has its own."""
    found = [factors(level, 5, 3, tiny) for level in schedule.LEVELS]
    assert all(a != b for a, b in itertools.combinations(found, 2))
    numbers = {"train_size": 21, "epochs": 5}
    runs = [config({"schedule": level, **numbers}) for level in schedule.LEVELS]
    rates = torch.cat(
        [Stack.start(runs, tiny).recipe.rates(epoch) for epoch in range(5)]
    )
    rates = rates / runs[0].number("optimizer.lr")
    assert rates.T.flatten().tolist() == pytest.approx(
        functools.reduce(operator.iadd, found, [])
    )


# --- order ----------------------------------------------------------------------------


@pytest.mark.parametrize("level", order.LEVELS)
def test_order_is_a_permutation(level: str) -> None:
    """Every pass presents every image once, in no run sorted."""
    chosen = torch.tensor([2, 3, 5, 7, 11, 13, 17, 19, 23])
    streams = draws.stream([0, 1, 2], "order")
    for epoch in range(3):
        orders = order.LEVELS[level](streams, epoch, chosen)
        assert orders.sort(1).values.tolist() == [chosen.tolist()] * 3
        assert all(row.tolist() != chosen.tolist() for row in orders)


def test_constant_order_repeats_and_reshuffle_does_not() -> None:
    """Pass 0 is the same in both; constant keeps it, reshuffle never repeats."""
    streams, chosen = draws.stream([0, 1], "order"), torch.arange(30)
    constant = [order.LEVELS["constant"](streams, e, chosen) for e in range(5)]
    reshuffle = [order.LEVELS["reshuffle"](streams, e, chosen) for e in range(5)]
    assert torch.equal(constant[0], reshuffle[0])
    assert all(torch.equal(constant[0], later) for later in constant)
    for earlier, later in itertools.combinations(reshuffle, 2):
        assert (earlier != later).any(1).all()
    assert not torch.equal(constant[0][0], constant[0][1])


@pytest.mark.parametrize("level", order.LEVELS)
def test_order_is_the_same_in_any_stack(level: str) -> None:
    """A seed's order does not depend on its neighbours; fewer images keep theirs."""
    streams, chosen = draws.stream([4, 1, 3], "order"), torch.arange(30)
    together = order.LEVELS[level](streams, 2, chosen)
    alone = order.LEVELS[level](streams[1:2], 2, chosen)
    assert torch.equal(together[1:2], alone)
    fewer = order.LEVELS[level](streams, 2, chosen[:11])
    assert torch.equal(fewer[0], together[0][together[0] < 11])


def test_order_is_unbiased() -> None:
    """Over 500 seeds every image comes first about as often: 50 +- 5 sigma."""
    streams = draws.stream(list(range(500)), "order")
    first = order.LEVELS["reshuffle"](streams, 0, torch.arange(10))[:, 0]
    assert (first.bincount(minlength=10) - 50).abs().max() < 34


# --- augmentation ---------------------------------------------------------------------

CHANGING = [level for level in augmentation.LEVELS if level != "none"]
STILL: dict[str, float] = {
    "shift_x": 0,
    "shift_y": 0,
    "scale_low": 1,
    "scale_high": 1,
    "squeeze_low": 1,
    "squeeze_high": 1,
    "shear": 0,
    "share": 1,
    "shift_pixels": 0,
    "degrees": 0,
    "alpha": 0,
    "sigma": 4,
    "side": 0,
}


def file_numbers(level: str) -> dict[str, float]:
    """The numbers of a level in conf/."""
    content = group_levels("augmentation")[level]
    return {k: v for k, v in content.items() if f"augmentation.{k}" in RANGES}


def distort(
    level: str, pictures: Tensor, keys: Tensor, numbers: dict[str, float]
) -> Tensor:
    """The distorted pictures, with the same numbers for each."""

    def number(name: str) -> Tensor:
        return torch.full((len(pictures),), numbers[name], dtype=pictures.dtype)

    return augmentation.LEVELS[level](pictures, keys, number)


def picture_keys(count: int) -> Tensor:
    """Keys of pictures, as the trainer makes them: stream, epoch, image."""
    stream = draws.fold(draws.stream([0], "augmentation"), 0)
    return draws.fold(stream, torch.arange(count))


def pictures(digits: Data, count: int) -> Tensor:
    """Digits in [0, 1], float64."""
    return digits.train_images[:count].double() / 255


def between(keys: Tensor, index: int, low: float, high: float) -> Tensor:
    """The draw `index` of each picture, uniform from low to high."""
    return low + (high - low) * draws.uniform(draws.fold(keys, index)).double()


def torchvision_motion(
    picture: Tensor,
    angle: float = 0,
    scale: float = 1,
    shear: float = 0,
    right: float = 0,
    down: float = 0,
) -> Tensor:
    """The picture as torchvision moves it; angle in degrees, shear as a tangent."""
    moved = torchvision_affine(
        picture[None],
        angle=angle,
        translate=[right, down],
        scale=scale,
        shear=[-math.degrees(math.atan(shear)), 0],
        interpolation=InterpolationMode.BILINEAR,
    )
    return moved[0]


def test_shift_equals_torchvision(digits: Data) -> None:
    """A translation by (right, down) pixels moves the digit right and down."""
    before, keys = pictures(digits, 7), picture_keys(7)
    after = distort("shift", before, keys, {"shift_pixels": 5})
    right, down = (between(keys, i, -5, 5).tolist() for i in (0, 1))
    for i in range(7):
        expected = torchvision_motion(before[i], right=right[i], down=down[i])
        torch.testing.assert_close(after[i], expected, atol=1e-5, rtol=0)


def test_whole_shifts_move_pixels() -> None:
    """A point moved by whole pixels is one pixel, at its new row and column."""
    before = torch.zeros(1, 28, 28)
    before[0, 10, 20] = 1
    one, zero = torch.ones(1), torch.zeros(1)
    where = augmentation.source((one, zero, zero, one), 3 * one, -2 * one)
    after = augmentation.affine(before, where)
    assert after[0].round(decimals=4).nonzero().tolist() == [[8, 23]]
    assert after[0, 8, 23].item() == pytest.approx(1, abs=1e-4)


def test_rotate_equals_torchvision(digits: Data) -> None:
    """A rotation about the centre in torchvision's direction, in degrees."""
    before, keys = pictures(digits, 7), picture_keys(7)
    after = distort("rotate", before, keys, {"degrees": 40})
    angles = between(keys, 0, -40, 40).tolist()
    assert min(angles) < 0 < max(angles)
    for i, angle in enumerate(angles):
        expected = torchvision_motion(before[i], angle=angle)
        torch.testing.assert_close(after[i], expected, atol=1e-5, rtol=0)


def test_affine_1998_equals_torchvision_where_it_can(digits: Data) -> None:
    """Scale, horizontal shear and translation are torchvision's (it has no squeeze)."""
    before, keys = pictures(digits, 7), picture_keys(7)
    numbers = {**file_numbers("affine_1998"), "share": 1.0}
    numbers |= {"squeeze_low": 1.0, "squeeze_high": 1.0}
    after = distort("affine_1998", before, keys, numbers)
    scale = between(keys, 0, math.log(0.75), math.log(1.3)).exp().tolist()
    shear = between(keys, 2, -0.18, 0.18).tolist()
    right = between(keys, 3, -2, 2).tolist()
    down = between(keys, 4, -3.5, 3.5).tolist()
    for i in range(7):
        expected = torchvision_motion(
            before[i], 0, scale[i], shear[i], right[i], down[i]
        )
        torch.testing.assert_close(after[i], expected, atol=1e-5, rtol=0)


def test_affine_equals_torchvision(digits: Data) -> None:
    """Shear, scale and rotation in this order, then translation, are torchvision's."""
    before, keys = pictures(digits, 7), picture_keys(7)
    numbers = {"degrees": 40, "scale_low": 0.8, "scale_high": 1.2, "shear": 0.3}
    after = distort("affine", before, keys, {**numbers, "shift_pixels": 3})
    angle = between(keys, 0, -40, 40).tolist()
    scale = between(keys, 1, math.log(0.8), math.log(1.2)).exp().tolist()
    shear = between(keys, 2, -0.3, 0.3).tolist()
    right, down = (between(keys, i, -3, 3).tolist() for i in (3, 4))
    for i in range(7):
        expected = torchvision_motion(
            before[i], angle[i], scale[i], shear[i], right[i], down[i]
        )
        torch.testing.assert_close(after[i], expected, atol=1e-5, rtol=0)


def test_affine_1998_equals_scipy(digits: Data) -> None:
    """With squeezing too: p -> M p + t, M = ((w, shear t), (0, t)), w = scale squeeze,
    t = scale / squeeze, sampled bilinearly on a background of 0."""
    before, keys = pictures(digits, 7), picture_keys(7)
    numbers = {**file_numbers("affine_1998"), "share": 1.0}
    after = distort("affine_1998", before, keys, numbers)
    scale = between(keys, 0, math.log(0.75), math.log(1.3)).exp().tolist()
    squeeze = between(keys, 1, math.log(0.87), math.log(1.15)).exp().tolist()
    shear = between(keys, 2, -0.18, 0.18).tolist()
    right = between(keys, 3, -2, 2).tolist()
    down = between(keys, 4, -3.5, 3.5).tolist()
    for i in range(7):
        wide, tall = scale[i] * squeeze[i], scale[i] / squeeze[i]
        # scipy wants rows before columns, and from the new place to the old one
        inverse = np.linalg.inv([[tall, 0], [shear[i] * tall, wide]])
        centre = np.array([13.5, 13.5])
        offset = centre - inverse @ (centre + np.array([down[i], right[i]]))
        expected = ndimage.affine_transform(
            before[i].numpy(), inverse, offset, order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(after[i].numpy(), expected, atol=1e-5)


def elastic_fields(keys: Tensor, sigma: float, alpha: float) -> tuple[Tensor, Tensor]:
    """How far right and down each pixel looks, read off two ramps."""
    ramp = torch.arange(28).double().expand(28, 28)
    flat = ramp.expand(len(keys), -1, -1)
    numbers = {"sigma": sigma, "alpha": alpha}
    right = distort("elastic", flat, keys, numbers) - flat
    down = distort("elastic", flat.mT, keys, numbers) - flat.mT
    inner = slice(4, -4)  # where the ramp does not end
    return right[:, inner, inner], down[:, inner, inner]


def test_elastic_equals_scipy(digits: Data) -> None:
    """Uniform noise in +-1, smoothed by SciPy's Gaussian and times alpha, says where
    SciPy samples each pixel."""
    before, keys = pictures(digits, 5), picture_keys(5)
    after = distort("elastic", before, keys, {"sigma": 4, "alpha": 34})
    noise = (
        2 * draws.uniform(draws.fold(keys[:, None, None, None], places(2, 28, 28))) - 1
    )
    down, right = np.mgrid[:28, :28]
    for i in range(5):
        smooth = [
            34 * ndimage.gaussian_filter(plane, 4, mode="constant", truncate=8)
            for plane in noise[i].double().numpy()
        ]
        expected = ndimage.map_coordinates(
            before[i].numpy(),
            [down + smooth[1], right + smooth[0]],
            order=1,
            mode="grid-constant",
        )
        np.testing.assert_allclose(after[i].numpy(), expected, atol=1e-3)


def affine_motion(keys: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """M and t of p -> M p + t, x before y: shear, scale and rotation by the numbers of
    affine.yaml, then translation."""
    turn = np.radians(between(keys, 0, -7, 7).numpy())
    scale = between(keys, 1, math.log(0.9), math.log(1.1)).exp().numpy()
    shear = between(keys, 2, -0.1, 0.1).numpy()
    shift = [between(keys, i, -1, 1).numpy() for i in (3, 4)]
    cos, sin, zero, one = np.cos(turn), np.sin(turn), 0 * turn, 0 * turn + 1
    rotation = np.array([[cos, -sin], [sin, cos]]).transpose(2, 0, 1)
    slant = np.array([[one, shear], [zero, one]]).transpose(2, 0, 1)
    return scale[:, None, None] * rotation @ slant, np.stack(shift, 1)


def test_affine_elastic_equals_scipy(digits: Data) -> None:
    """A pixel looks where its displacement leads, from there where the affine map came
    from; SciPy samples there."""
    before, keys = pictures(digits, 5), picture_keys(5)
    after = distort("affine_elastic", before, keys, file_numbers("affine_elastic"))
    cells = draws.fold(draws.fold(keys, 5)[:, None, None, None], places(2, 28, 28))
    noise = 2 * draws.uniform(cells).double().numpy() - 1
    matrices, shifts = affine_motion(keys)
    at = np.mgrid[:28, :28][::-1].reshape(2, -1)  # x before y
    for i in range(5):
        fields = [34 * ndimage.gaussian_filter(plane, 4, mode="constant", truncate=8)
                  for plane in noise[i]]  # fmt: skip
        seen = at + np.reshape(fields, (2, -1)) - 13.5 - shifts[i][:, None]
        x, y = np.linalg.solve(matrices[i], seen) + 13.5
        expected = ndimage.map_coordinates(
            before[i].numpy(), [y, x], order=1, mode="grid-constant"
        )
        np.testing.assert_allclose(after[i].numpy().ravel(), expected, atol=1e-3)


@pytest.mark.parametrize("side", [1, 4, 7])
def test_affine_cutout_is_affine_without_a_square(side: int, digits: Data) -> None:
    """Pixel by pixel: background where both coordinates are in the square around the
    drawn centre, else what `affine` gives."""
    before, keys = pictures(digits, 40), picture_keys(40)
    numbers = {**file_numbers("affine_cutout"), "side": side}
    after = distort("affine_cutout", before, keys, numbers)
    expected = distort("affine", before, keys, numbers).clone()
    for i, key in enumerate(keys):
        row, column = (math.floor(28 * float(draws.uniform(draws.fold(key, j))))
                       for j in (5, 6))  # fmt: skip
        for y, x in itertools.product(range(28), range(28)):
            down, right = y - row + side // 2, x - column + side // 2
            if 0 <= down < side and 0 <= right < side:
                expected[i, y, x] = 0
    assert torch.equal(after, expected)


def test_elastic_has_its_amplitude_and_smoothness() -> None:
    """Displacements have standard deviation alpha / (sigma sqrt(12 pi)) and neighbours
    a correlation of exp(-1 / (4 sigma^2)); doubling alpha doubles them."""
    keys = picture_keys(400)
    for field in elastic_fields(keys, sigma=3, alpha=5):
        expected = 5 / (3 * math.sqrt(12 * math.pi))
        assert field.std().item() == pytest.approx(expected, rel=0.08)
        pairs = torch.stack([field[..., 1:].flatten(), field[..., :-1].flatten()])
        correlation = torch.corrcoef(pairs)[0, 1].item()
        assert correlation == pytest.approx(math.exp(-1 / 36), abs=0.01)
    once, twice = elastic_fields(keys, 3, 2)[0], elastic_fields(keys, 3, 4)[0]
    torch.testing.assert_close(2 * once, twice, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("level", augmentation.LEVELS)
def test_augmentation_of_magnitude_zero_is_the_identity(
    level: str, digits: Data
) -> None:
    """With nothing to distort the pictures stay as they are."""
    before = pictures(digits, 5)
    after = distort(level, before, picture_keys(5), STILL)
    torch.testing.assert_close(after, before, atol=1e-5, rtol=0)


@pytest.mark.parametrize("level", CHANGING)
def test_augmentation_distorts(level: str, digits: Data) -> None:
    """With the numbers of conf/ pictures change, stay in [0, 1], and differently so for
    other keys."""
    before, keys = pictures(digits, 30), picture_keys(30)
    after = distort(level, before, keys, file_numbers(level))
    changed = (after - before).abs().flatten(1).amax(1) > 0.01
    assert changed.double().mean() > 0.7
    assert after.min() >= 0 and after.max() <= 1 + 1e-6
    other = distort(level, before, keys.roll(1), file_numbers(level))
    assert not torch.allclose(after, other)


def test_share_of_affine_1998_is_distorted(digits: Data) -> None:
    """Nine of ten pictures are distorted at share 0.9, none at 0, and the others are
    bit for bit themselves."""
    before, keys = pictures(digits, 1000).float(), picture_keys(1000)
    numbers = file_numbers("affine_1998")
    for share, low, high in ((0.9, 0.87, 0.93), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)):
        after = distort("affine_1998", before, keys, {**numbers, "share": share})
        kept = (after == before).flatten(1).all(1)
        assert low <= 1 - kept.double().mean().item() <= high


def test_magnitudes_stay_within_their_numbers() -> None:
    """Draws fill their ranges and do not leave them; scales are even on a log scale."""
    keys = picture_keys(5000)
    shift = augmentation.symmetric(keys, 0, torch.full((5000,), 3.5))
    assert shift.abs().max() <= 3.5 and shift.max() > 3.49 and shift.min() < -3.49
    low, high = torch.full((5000,), 0.75).log(), torch.full((5000,), 1.3).log()
    scale = augmentation.between(keys, 0, low, high).exp()
    assert scale.min() >= 0.7499 and scale.max() <= 1.3001
    assert scale.median().item() == pytest.approx(math.sqrt(0.75 * 1.3), rel=0.02)


@pytest.mark.parametrize("level", augmentation.LEVELS)
def test_augmentation_of_a_picture_does_not_depend_on_its_batch(
    level: str, digits: Data
) -> None:
    """A picture becomes the same alone and among others, bit for bit."""
    before, keys = pictures(digits, 13).float(), picture_keys(13)
    numbers = {**STILL, **file_numbers(level)}
    together = distort(level, before, keys, numbers)
    for i in (0, 6, 12):
        part = slice(max(i - 1, 0), i + 1)
        alone = distort(level, before[part], keys[part], numbers)
        assert torch.equal(alone[-1], together[i])


@pytest.mark.parametrize("level", augmentation.LEVELS)
def test_augmentation_brings_in_background(level: str) -> None:
    """What comes from outside the picture is 0, which the network pads with as well."""
    blank = torch.zeros(3, 28, 28)
    numbers = {**STILL, **file_numbers(level)}
    assert (distort(level, blank, picture_keys(3), numbers) == 0).all()


def test_augmentation_differs_by_run_epoch_and_image(tiny: Data) -> None:
    """Each image of each run in each pass has its own draw; the same again repeats."""
    runs = [config({"augmentation": "shift"}, seed) for seed in (0, 1)]
    state = Stack.start(runs, tiny)
    batch = torch.tensor([[3, 5, 7], [3, 5, 7]])
    same = tiny.train_images[3].expand(2, 3, -1, -1) / 255
    first, later = state.augment(same, batch, 0), state.augment(same, batch, 1)
    every = torch.cat([first.flatten(0, 1), later.flatten(0, 1)]).flatten(1)
    assert len(every.unique(dim=0)) == 12
    assert torch.equal(first, state.augment(same, batch, 0))
    assert torch.equal(
        first[:, [2, 0]], state.augment(same[:, :2], batch[:, [2, 0]], 0)
    )


# --- input ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "black", "white"),
    [("range_1998", -0.1, 1.175), ("zero_one", 0.0, 1.0)],
)
def test_input_maps_background_and_ink(
    level: str, black: float, white: float, tiny: Data
) -> None:
    """Pixel 0 and pixel 255 become the level's values, and the border is background."""
    state = Stack.start(
        [config({"input": level}), config({"input": "standardize"})], tiny
    )
    picture = torch.zeros(1, 28, 28)
    picture[0, 3, 5] = 1
    maps = state.model.input(picture)[0, 0, 0]
    assert maps[5, 7].item() == pytest.approx(white, abs=1e-6)
    maps[5, 7] = black
    torch.testing.assert_close(maps, torch.full((32, 32), black))


def test_standardized_input_has_mean_0_and_variance_1(tiny: Data) -> None:
    """Over the pixels of the images trained on, before the border; other images, such
    as those held out, play no part."""
    run = config({"input": "standardize", "validation_size": 11, "train_size": 23})
    state = Stack.start([run, run], tiny)
    assert len(state.recipe.images) == 23 and len(state.recipe.validation) == 11
    maps = state.model.input(tiny.train_images[state.recipe.images] / 255)
    inside = maps[0, :, 0, 2:-2, 2:-2].double()
    assert inside.mean().item() == pytest.approx(0, abs=1e-5)
    assert inside.std().item() == pytest.approx(1, abs=1e-5)
    border = maps[0, :, 0, 0]
    background = (
        -state_mean(tiny, state.recipe.images) * state.model.input.scale[0].item()
    )
    assert (border == border[0, 0]).all()
    assert border[0, 0].item() == pytest.approx(background, rel=1e-5)


def state_mean(data: Data, chosen: Tensor) -> float:
    """The mean pixel of some training images."""
    return (data.train_images[chosen].double() / 255).mean().item()


def test_input_levels_differ() -> None:
    """No two levels are the same map of pixels."""
    maps = {level(0.13, 0.31) for level in input.LEVELS.values()}
    assert len(maps) == len(input.LEVELS)


def test_mnist_is_standardized_to_its_known_values(mnist: Data) -> None:
    """MNIST's pixels have the known mean 0.1307 and standard deviation 0.3081."""
    pixels = mnist.train_images.double() / 255
    scale, shift = input.LEVELS["standardize"](
        pixels.mean().item(), pixels.std().item()
    )
    assert 1 / scale == pytest.approx(0.3081, abs=1e-4)
    assert -shift / scale == pytest.approx(0.1307, abs=1e-4)


# --- mix ------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0])
def test_mixup_has_shares_from_beta(alpha: float) -> None:
    """As many shares below each number as Beta(alpha, alpha) says, of 20,000 images of
    each of two runs; each is its key's, whatever else is drawn."""
    keys = draws.fold(draws.stream([4, 5], "mix")[:, None], torch.arange(20_000))
    shares = mix.mixup(keys, torch.tensor([alpha, alpha]))
    below = stats.beta(alpha, alpha).cdf
    for values in shares.double().numpy():
        low = values[values < 0.5]  # near 1 many are 1 in float32
        assert stats.kstest(low, lambda x: 2 * below(x)).pvalue > 0.01
        for bound in (0.5, 0.7, 0.9):
            assert (values < bound).mean() == pytest.approx(below(bound), abs=0.01)
    assert abs(np.corrcoef(shares.numpy())[0, 1]) < 0.03
    few = mix.mixup(keys[1:, 7:9].flip(1), torch.tensor([alpha]))
    assert torch.equal(few[0].flip(0), shares[1, 7:9])


def test_mixup_draws_as_joehnk_does() -> None:
    """The shares of one image after the other, from the numbers of its key, with the
    powers of Python's own floats."""
    keys = draws.fold(draws.stream([4], "mix")[:, None], torch.arange(300))
    shares = mix.mixup(keys, torch.tensor([0.7]))[0]
    alpha = float(torch.tensor(0.7))
    for key, share in zip(keys[0], shares.tolist(), strict=True):
        for turn in range(40):
            u, v = (
                1 - draws.uniform(draws.fold(key, 2 * turn + k)).item() for k in (1, 2)
            )
            x, y = u ** (1 / alpha), v ** (1 / alpha)
            if x + y <= 1:
                break
        assert share == pytest.approx(x / (x + y), rel=1e-6)


def test_partners_are_any_training_image() -> None:
    """Every image is about as often a partner; no other is one; shares and partners
    do not go together."""
    keys = draws.fold(draws.stream([1], "mix")[:, None], torch.arange(40_000))
    images = torch.tensor([3, 5, 8, 13])
    found = mix.partners(keys, images)[0]
    counts = torch.bincount(found, minlength=14)
    assert counts[images].sum() == 40_000
    assert stats.chisquare(counts[images].numpy()).pvalue > 0.01
    shares = mix.mixup(keys, torch.tensor([1.0]))[0]
    assert abs(np.corrcoef(found.numpy(), shares.numpy())[0, 1]) < 0.02


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("level", head.LEVELS)
def test_mixture_has_both_images_and_both_losses(level: str, tiny: Data) -> None:
    """What a run learns from is share x + (1 - share) x', each distorted as in that
    pass, and its loss share E(y) + (1 - share) E(y'); whose share is larger is what it
    should say. Only images that are trained on are partners."""
    changes = {"mix": "mixup", "augmentation": "affine", "head": level}
    numbers = {"mix.alpha": 0.9, "train_size": 20, "validation_size": 20}
    state = Stack.start([config({**changes, **numbers}, s) for s in (0, 7)], tiny)
    batch, formula = state.recipe.orders(1)[:, :15], head.LEVELS[level]
    mates = state.recipe.mates(batch, 1)
    assert mates is not None
    assert set(mates.partners.flatten().tolist()) <= set(state.recipe.images.tolist())
    assert not torch.equal(mates.partners[0], mates.partners[1])
    share, other = mates.shares.double(), mates.partners
    moved, partner = (
        state.augment(tiny.train_images[i] / 255, i, 1) for i in (batch, other)
    )
    expected = moved * share[..., None, None] + partner * (1 - share[..., None, None])
    seen = state.presented(batch, 1, tiny)
    torch.testing.assert_close(seen, expected, rtol=1e-6, atol=1e-6)
    logits, number = state.model(seen), state.recipe.head_number(formula.number)
    own, theirs = (
        formula.loss(logits, tiny.train_labels[i], number) for i in (batch, other)
    )
    found = state.losses(logits, batch, 1, tiny)
    torch.testing.assert_close(found, share * own + (1 - share) * theirs)
    main = torch.where(share < 0.5, other, batch)
    assert torch.equal(mates.main(batch), main) and (main != batch).any()


# --- teacher --------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_distilled_loss_is_torchs(weight: float) -> None:
    """(1 - w) E + w T^2 KL(p | q), torch's kl_div, and the derivatives beside it are
    its gradient; a share may be 0."""
    heat = 2.5
    numbers = torch.tensor([heat, weight], dtype=torch.float64)
    scores = (3 * torch.randn(10, 40)).double().requires_grad_()
    shares = torch.softmax(torch.randn(40, 10).double(), 1)
    shares[:, 3] = 0
    shares = shares / shares.sum(1, keepdim=True)
    targets = functional.one_hot(torch.randint(0, 10, (40,)), 10).double()
    own = head.cross_entropy(list(scores), list(targets.T), torch.tensor(0.1).double())
    formula = teacher.LEVELS["runs"]
    assert formula is teacher.LEVELS["consistent"]
    assert formula is not None
    loss, pulls = formula(own, list(scores), list(shares.T), *numbers)
    logs = functional.log_softmax(scores.T / heat, 1)
    apart = functional.kl_div(logs, shares, reduction="none").sum(1)
    expected = (1 - weight) * own[0] + weight * heat**2 * apart
    torch.testing.assert_close(loss, expected)
    (slope,) = torch.autograd.grad(expected.sum(), scores)
    torch.testing.assert_close(torch.stack(pulls).detach(), slope, rtol=1e-6, atol=1e-9)


def test_softened_is_the_mean_of_softmaxes() -> None:
    """Of three teachers, at the temperature of each run, large scores too."""
    scores = torch.randn(3, 20, 10) * torch.tensor([1.0, 30.0, 1000.0]).view(3, 1, 1)
    heats = torch.tensor([1.0, 4.0])
    found = teacher.softened(scores[:, None], heats)
    own = teacher.softened(torch.stack([scores, scores.flip(1)], 1), heats)
    assert torch.equal(own[0], found[0]) and torch.equal(own[1], found[1].flip(0))
    for run, heat in enumerate((1.0, 4.0)):
        expected = functional.softmax(scores.double() / heat, -1).mean(0)
        torch.testing.assert_close(found[run].double(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("level", head.LEVELS)
def test_student_has_the_answers_of_its_image(level: str, tiny: Data) -> None:
    """The answers to the undistorted image, or, of a mixture, the mixture of both; each
    run has its own temperature and weight."""
    changes = {"teacher": "runs", "head": level, "augmentation": "affine"}
    numbers = ({"teacher.temperature": t, "teacher.weight": w}
               for t, w in ((1.0, 0.3), (5.0, 0.8)))  # fmt: skip
    runs = [config({**changes, "mix": "mixup", **n}, 3) for n in numbers]
    known = schooled(runs, tiny)
    scores = torch.stack([
        tutor.model(tiny.train_images / 255)[0].detach() for tutor in known
    ])  # fmt: skip
    state, plain = Stack.start(runs, tiny, known), Stack.start(runs, tiny, known)
    alone = [Config({**run.treatment, "teacher": "none"}, run.seed) for run in runs]
    plain.recipe = replace(plain.recipe, configs=alone)
    batch = state.recipe.orders(0)[:, :9]
    mates = state.recipe.mates(batch, 0)
    assert mates is not None
    logits = state.model(state.presented(batch, 0, tiny)).detach()
    found = state.losses(logits, batch, 0, tiny)
    own = plain.losses(logits, batch, 0, tiny)
    for run, (heat, weight) in enumerate(((1.0, 0.3), (5.0, 0.8))):
        soft = functional.softmax(scores / heat, -1).mean(0)
        share = mates.shares[run, :, None]
        soft = soft[batch[run]] * share + soft[mates.partners[run]] * (1 - share)
        logs = functional.log_softmax(logits[run] / heat, -1)
        apart = functional.kl_div(logs, soft, reduction="none").sum(-1)
        expected = (1 - weight) * own[run] + weight * heat**2 * apart
        torch.testing.assert_close(found[run], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("mix", ["none", "mixup"])
def test_consistent_teachers_see_the_image_that_their_student_sees(
    mix: str, tiny: Data
) -> None:
    """One is asked of the distorted and mixed image, not of what it is made of: in the
    second pass the second one of the first image, the first one of the second."""
    changes = {"teacher": "consistent", "augmentation": "affine", "mix": mix}
    numbers = ({"teacher.temperature": t, "teacher.weight": w}
               for t, w in ((1.0, 0.3), (5.0, 0.8)))  # fmt: skip
    runs = [config({**changes, **n}, 3) for n in numbers]
    known = schooled(runs, tiny)
    state = Stack.start(runs, tiny, known)
    batch = state.recipe.orders(1)[:, :9]
    pixels = state.presented(batch, 1, tiny)
    assert not torch.equal(pixels, tiny.train_images[batch] / 255)
    logits = state.model(pixels).detach()
    found = state.losses(logits, batch, 1, tiny)
    mates = state.recipe.mates(batch, 1)
    for run, (heat, weight) in enumerate(((1.0, 0.3), (5.0, 0.8))):
        own = [tutor.model(pixels[run])[0].detach() for tutor in known]
        scores = [
            own[(image + 1) % 2][k] for k, image in enumerate(batch[run].tolist())
        ]
        soft = functional.softmax(torch.stack(scores) / heat, -1)
        logs = functional.log_softmax(logits[run] / heat, -1)
        apart = functional.kl_div(logs, soft, reduction="none").sum(-1)
        targets = functional.one_hot(tiny.train_labels[batch[run]], 10).double()
        if mates is not None:
            other = functional.one_hot(tiny.train_labels[mates.partners[run]], 10)
            share = mates.shares[run, :, None]
            targets = targets * share + other * (1 - share)
        labels = -(targets * functional.log_softmax(logits[run], -1)).sum(-1)
        expected = (1 - weight) * labels + weight * heat**2 * apart
        torch.testing.assert_close(found[run], expected, rtol=1e-5, atol=1e-6)


def test_all_teachers_are_asked_in_turn(tiny: Data) -> None:
    """In three passes each image has each of three teachers once, and each pass has all
    of them."""
    (run,) = (config({"teacher": "consistent"}, 3),)
    known = [schooled([run], tiny)[0]] * 3
    recipe = Stack.start([run], tiny, known).recipe
    images = torch.arange(46)[None]
    asked = torch.stack([recipe.teacher_of(images, epoch) for epoch in range(3)])
    assert torch.equal(asked.sort(0).values[:, 0, 0], torch.arange(3))
    assert all(len(set(one.tolist())) == 3 for one in asked[:, 0].T)
    assert all(set(one.flatten().tolist()) == {0, 1, 2} for one in asked)


def test_teachers_are_asked_as_they_test(tiny: Data) -> None:
    """A network that is handed over while it trains has its running statistics, and
    keeps them; one of other widths has torch's loop."""
    (run,) = (config({"teacher": "consistent", "norm": "batch"}, 3),)
    known = schooled([run], tiny)
    for level in ("runs", "consistent"):
        own = [config({"teacher": level, "epochs": 1}, 3)]
        expected = train(own, tiny, teachers=known)[0]
        for tutor in known:
            tutor.model.train()
        (found,) = train(own, tiny, teachers=known)
        assert torch.equal(found.right, expected.right)
        for name, weight in found.weights.items():
            assert torch.equal(weight, expected.weights[name]), name
        wide = [Teacher(run, build([run], tiny, torch.arange(46), (7, 9, 20, 10)))]
        assert len(train(own, tiny, teachers=wide)) == 1


def test_dropout_is_of_lenet_5s_units(tiny: Data) -> None:
    """Other widths are refused with it, and train without."""
    for dropout, count in ((0.5, 0), (0.0, 1)):
        runs = [config({"dropout": dropout}, 3)]
        if not count:
            with pytest.raises(Refusal, match="dropout=0"):
                train(runs, tiny, widths=(7, 9, 20, 10))
        else:
            (found,) = train(runs, tiny, widths=(7, 9, 20, 10))
            assert found.weights["C5.weight"].shape == (20, 9, 5, 5)


@pytest.mark.parametrize("level", ["runs", "consistent"])
def test_student_without_teachers_is_refused(level: str, tiny: Data) -> None:
    """It trains nothing before its teachers are there."""
    with pytest.raises(Refusal, match=f"teacher={level}: give train"):
        train([config({"teacher": level})], tiny)


# --- adversary ------------------------------------------------------------------------


def opposing(level: str, head_level: str = "softmax") -> Stack:
    """Two runs on 46 digits, of different radii, before their first step."""
    radii = ({"adversary.epsilon": e, "adversary.step": s} for e, s in RADII)
    own = [{} if level == "none" else changes for changes in radii]
    levels_ = {"adversary": level, "head": head_level, "activation": "tanh"}
    configs = [config({**levels_, **o}, seed) for seed, o in enumerate(own)]
    return Stack.start(configs, DIGITS)


RADII = ((0.2, 0.15), (0.05, 0.02))
DIGITS = datasets.load_data("digits", None)
BATCH = torch.tensor([[3, 5, 7], [2, 3, 11]])


def by_hand(state: Stack, run: int, steps: int) -> Tensor:
    """The images of one run, moved by the formula, each step from a plain loss."""
    level = head.LEVELS[state.recipe.level("head")]
    images = DIGITS.train_images[BATCH] / 255
    key = draws.fold(draws.stream([run], "adversary"), 4)[0]
    keys = draws.fold(draws.fold(key, BATCH[run])[:, None], places(784))
    (epsilon, step), given = RADII[run], images[run]
    noise = (2 * draws.uniform(keys) - 1).view_as(given)
    moved = given + epsilon * noise
    for _ in range(steps):
        both = images.clone()
        both[run] = moved
        both.requires_grad_()
        number = torch.zeros(2)
        losses = level.loss(state.model(both), DIGITS.train_labels[BATCH], number)
        (gradient,) = torch.autograd.grad(losses.sum(), both)
        moved = moved + step * gradient[run].sign()
        moved = (given + (moved - given).clamp(-epsilon, epsilon)).clamp(0, 1)
    return moved


@pytest.mark.parametrize("head_level", head.LEVELS)
@pytest.mark.parametrize("level", adversary.LEVELS)
def test_adversary_moves_images_as_its_formula_says(
    level: str, head_level: str
) -> None:
    """No move, one step or some steps up the run's own loss, from a start drawn by
    (seed, epoch, image), within the run's own radius."""
    state, images = opposing(level, head_level), DIGITS.train_images[BATCH] / 255
    found = state.adversarial_images(images, BATCH, 4, DIGITS)
    steps = {"none": 0, "fgsm": 1, "pgd": 2}[level]
    for run in (0, 1):
        expected = by_hand(state, run, steps) if steps else images[run]
        torch.testing.assert_close(found[run], expected, rtol=0, atol=1e-6)
        assert (found[run] - images[run]).abs().max() <= RADII[run][0] + 1e-6
    assert torch.equal(found, state.adversarial_images(images, BATCH, 4, DIGITS))


@pytest.mark.parametrize("level", [v for v in adversary.LEVELS if v != "none"])
def test_adversary_makes_the_loss_larger(level: str) -> None:
    """The images that are trained on are harder, and no two levels' are the same."""
    state, images = opposing(level), DIGITS.train_images[BATCH] / 255
    labels = DIGITS.train_labels[BATCH]
    found = state.adversarial_images(images, BATCH, 0, DIGITS)
    before, after = (
        head.LEVELS["softmax"].loss(state.model(x), labels, torch.zeros(2)).sum(1)
        for x in (images, found)
    )
    assert (after > before).all()
    other = opposing("pgd" if level == "fgsm" else "fgsm")
    assert (found != other.adversarial_images(images, BATCH, 0, DIGITS)).any()


def test_adversary_leaves_running_statistics_alone() -> None:
    """Batch norm counts the images that are trained on, and not those on the way."""
    levels_ = {"adversary": "pgd", "norm": "batch"}
    state = Stack.start([config(levels_, seed) for seed in (0, 1)], DIGITS)
    state.model.train()
    before = state.model.C1.mean.clone()
    state.adversarial_images(DIGITS.train_images[BATCH] / 255, BATCH, 0, DIGITS)
    assert torch.equal(state.model.C1.mean, before)
    assert all(part.training for part in state.model.modules())


@pytest.mark.parametrize("level", adversary.LEVELS)
def test_adversary_is_watched_on_held_out_images(level: str) -> None:
    """With an adversary, and only then, training images are held out and the PGD error
    on them is in the curve: at epsilon 0 the error, and at 0.1 more."""
    changes: dict[str, Value] = {"adversary": level, "train_size": 600, "epochs": 2}
    own: list[dict[str, Value]] = [{}, {}]
    if level != "none":
        changes["adversary.held_out"] = 60
        own = [{"adversary.epsilon": e, "adversary.step": 0.0} for e in (0.0, 0.1)]
    configs = [config({**changes, **o}, 3) for o in own]
    state = Stack.start(configs, DIGITS)
    assert not set(state.recipe.images.tolist()) & set(state.recipe.validation.tolist())
    assert len(state.recipe.validation) == (0 if level == "none" else 60)
    for result in train(configs, DIGITS):
        assert ("pgd_error" in result.curve[0]) == (level != "none")
    if level != "none":
        still, moved = (result.curve[0] for result in train(configs, DIGITS))
        assert still["pgd_error"] == still["validation_error"]
        assert moved["pgd_error"] > moved["validation_error"] + 0.1


def test_held_out_images_may_be_those_of_validation() -> None:
    """validation_size=70 holds out 70 images, of which the first 60 are watched."""
    changes = {"adversary": "fgsm", "adversary.held_out": 60, "validation_size": 70}
    state = Stack.start([config({**changes, "train_size": 200})] * 2, DIGITS)
    assert len(state.recipe.validation) == 70
    right = state.right_under_attack(DIGITS, state.recipe.validation[:60])
    assert right.shape == (2, 60)


@pytest.mark.parametrize(
    ("pgd", "train", "epoch"),
    [  # published runs of FGSM training, seeds 0, 1, 3 and 5 (outputs/robustness)
        ([0.85, 0.86, 0.71, 0.79, 0.83], [0.59, 0.28, 0.09, 0.06, 0.04], 2),
        ([0.84, 0.5, 0.29, 0.21, 0.32, 0.49], [0.67, 0.45, 0.22, 0.14, 0.12, 0.11], 6),
        ([0.91, 0.91, 0.65, 0.39, 0.32], [0.6, 0.33, 0.22, 0.14, 0.1], None),
        ([0.86, 0.45, 0.24, 0.19, 0.2], [0.6, 0.35, 0.18, 0.09, 0.08], None),
        ([], [], None),
    ],
)
def test_catastrophic_overfitting_is_noticed(
    pgd: list[float], train: list[float], epoch: int | None
) -> None:
    """A PGD error that ends far above the error on the images that are trained on is;
    slow progress is not, nor is a run without an adversary."""
    curve = [
        {"pgd_error": p, "train_error": t} for p, t in zip(pgd, train, strict=True)
    ]
    assert overfitting(curve) == epoch
    assert overfitting([{"train_error": t} for t in train]) is None
