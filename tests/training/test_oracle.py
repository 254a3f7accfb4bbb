"""The oracle itself: against torch, against the paper's counts, and by hand."""

import itertools
from collections.abc import Callable
from typing import TypedDict

import numpy as np
import pytest
import torch
from oracle import (
    ACTIVATIONS,
    BITMAPS,
    LAYERS,
    TABLE_I,
    Array,
    Table,
    counts,
    curvature,
    forward,
    loss,
)
from torch import Tensor
from torch.nn import functional

from lenet.training.factor.activation import LEVELS as SQUASHES
from lenet.training.factor.activation import squash_of

SCALE, SHIFT = 1.275, -0.1
AMPLITUDE_TIMES_STEEPNESS = 1.7159 * 2 / 3
SMALL_TABLE: Table = ((0,), (1, 2), (0, 2), (0, 1, 2), (1,))


class Levels(TypedDict):
    """One level of every factor of the structure."""

    activation: str
    pooling: str
    connection: str
    head: str
    norm: str


PAPER: Levels = {
    "activation": "scaled_tanh",
    "pooling": "subsample",
    "connection": "table",
    "head": "rbf",
    "norm": "none",
}
MODERN: Levels = {
    "activation": "relu",
    "pooling": "max",
    "connection": "full",
    "head": "softmax",
    "norm": "batch",
}
ALTERNATIVES = {
    "activation": list(ACTIVATIONS),
    "pooling": ["subsample", "average", "max", "stride"],
    "connection": ["table", "full"],
    "head": ["rbf", "rbf_map", "softmax"],
    "norm": ["none", "batch"],
}


def change(levels: Levels, factor: str, level: str) -> Levels:
    """The levels with one of them changed."""
    return {**levels, factor: level}  # type: ignore[misc]  # factor is a key of Levels


STRUCTURES = [
    PAPER,
    MODERN,
    *(
        change(base, factor, level)
        for base in (PAPER, MODERN)
        for factor, levels in ALTERNATIVES.items()
        for level in levels
        if level not in base.values()
    ),
]
EVERY_STRUCTURE = pytest.mark.parametrize(
    "levels", STRUCTURES, ids=lambda levels: "-".join(levels.values())
)


def draw(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Array]:
    """Normal parameters of the given shapes, divided by the root of the fan-in."""
    generator = np.random.default_rng(seed)
    return {
        name: generator.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        for name, shape in shapes.items()
    }


def small_network(levels: Levels) -> tuple[dict[str, Array], Array, Array]:
    """Parameters, image [12, 12] and centres of a network with sizes that differ."""
    shapes: dict[str, tuple[int, ...]] = {
        "C1.weight": (3, 1, 5, 5),
        "C1.bias": (3,),
        "S2.coefficient": (3,),
        "S2.bias": (3,),
        "C3.weight": (9, 3, 3) if levels["connection"] == "table" else (5, 3, 3, 3),
        "C3.bias": (5,),
        "S4.coefficient": (5,),
        "S4.bias": (5,),
        "C5.weight": (7, 5, 2, 2),
        "C5.bias": (7,),
        "F6.weight": (11, 7),
        "F6.bias": (11,),
        "output.weight": (4, 11),
        "output.bias": (4,),
    }
    image = np.random.default_rng(1).random((12, 12))
    return draw(shapes), image, np.sign(draw({"w": (4, 11)}, seed=2)["w"])


def paper_network() -> tuple[dict[str, Array], Array]:
    """Parameters of the size of the paper, and an image [28, 28]."""
    shapes: dict[str, tuple[int, ...]] = {
        "C1.weight": (6, 1, 5, 5),
        "C1.bias": (6,),
        "S2.coefficient": (6,),
        "S2.bias": (6,),
        "C3.weight": (60, 5, 5),
        "C3.bias": (16,),
        "S4.coefficient": (16,),
        "S4.bias": (16,),
        "C5.weight": (120, 16, 5, 5),
        "C5.bias": (120,),
        "F6.weight": (84, 120),
        "F6.bias": (84,),
    }
    return draw(shapes), np.random.default_rng(1).random((28, 28))


def spread(kernels: Tensor, table: Table, sources: int) -> Tensor:
    """Kernels [C3 map, S2 map, 3, 3], zero where the table has no connection."""
    dense = kernels.new_zeros(len(table), sources, *kernels.shape[1:])
    listed = [(target, source) for target, maps in enumerate(table) for source in maps]
    for kernel, (target, source) in zip(kernels, listed, strict=True):
        dense[target, source] += kernel
    return dense


TORCH_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    **{name: squash_of(name) for name in SQUASHES},  # of those that torch has not
    "identity": lambda a: a,
    "scaled_tanh": lambda a: 1.7159 * torch.tanh(2 / 3 * a),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": functional.relu,
    "leaky_relu": lambda a: functional.leaky_relu(a, 0.01),
    "gelu": functional.gelu,
    "silu": functional.silu,
}
TORCH_POOLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "subsample": lambda x: 4 * functional.avg_pool2d(x, 2),
    "average": lambda x: functional.avg_pool2d(x, 2),
    "max": lambda x: functional.max_pool2d(x, 2),
    "stride": lambda x: x[..., ::2, ::2],
}


class TorchNetwork:
    """The same network in torch operations; sums `a` and outputs `x` by layer."""

    def __init__(
        self, parameters: dict[str, Array], image: Array, levels: Levels, table: Table
    ) -> None:
        """Take one image [height, width] and run the network on it."""
        self.levels, self.table = levels, table
        self.w = {name: torch.tensor(value) for name, value in parameters.items()}
        padded = functional.pad(
            torch.tensor(image)[None, None] * SCALE + SHIFT, (2,) * 4, value=SHIFT
        )
        self.a: dict[str, Tensor] = {}
        self.x: dict[str, Tensor] = {"input": padded}
        self.gain: dict[str, Tensor] = {}
        layers = LAYERS if levels["head"] == "softmax" else LAYERS[:-1]
        self.steps = list(itertools.pairwise(("input", *layers)))
        self.run()

    def run(self) -> "TorchNetwork":
        """The network itself, once its weights have been applied to its image."""
        for source, layer in self.steps:
            self.a[layer] = self.sums(layer, self.x[source])
            self.x[layer] = self.squash(layer)(self.a[layer])
        return self

    def squash(self, layer: str) -> Callable[[Tensor], Tensor]:
        """The activation of a layer."""
        name = self.levels["activation"]
        if layer == "F6" and self.levels["head"] != "softmax":
            name = "scaled_tanh"
        pooled = layer in ("S2", "S4") and self.levels["pooling"] != "subsample"
        return TORCH_ACTIVATIONS["identity" if pooled or layer == "output" else name]

    def kernels(self, layer: str) -> Tensor:
        """The dense kernels of a convolution."""
        weight = self.w[f"{layer}.weight"]
        if layer == "C3" and self.levels["connection"] == "table":
            return spread(weight, self.table, len(self.w["C1.bias"]))
        return weight

    def sums(self, layer: str, x: Tensor) -> Tensor:
        """The weighted sums a of a layer with input x."""
        if layer in ("S2", "S4"):
            pooled = TORCH_POOLINGS[self.levels["pooling"]](x)
            if self.levels["pooling"] != "subsample":
                return pooled
            shape = (1, -1, 1, 1)
            coefficient = self.w[f"{layer}.coefficient"].reshape(shape)
            return coefficient * pooled + self.w[f"{layer}.bias"].reshape(shape)
        bias = self.w[f"{layer}.bias"]
        if layer in ("F6", "output"):
            return functional.linear(x.flatten(1), self.w[f"{layer}.weight"], bias)
        a = functional.conv2d(x, self.kernels(layer))
        self.gain[layer] = torch.ones(1, len(bias), 1, 1, dtype=a.dtype)
        if self.levels["norm"] == "batch" and layer in ("C1", "C3"):
            variance = a.var((0, 2, 3), correction=0, keepdim=True)
            self.gain[layer] = 1 / (variance + 1e-5).sqrt()
            a = functional.batch_norm(a, None, None, training=True)
        return a + bias.reshape(1, -1, 1, 1)


def torch_curvature(network: TorchNetwork) -> dict[str, Tensor]:
    """h_kk by transposition: the gradient of a linear network with u^2, f'^2 and x^2.

    A small change v of w_k^2 moves d by x^2 v, the next layer by u^2 f'^2 d, and so on
    to the outputs; the recursion is the transpose of that, and so is autograd.
    """
    v = {n: torch.zeros_like(w, requires_grad=True) for n, w in network.w.items()}
    d = torch.zeros_like(network.x["input"])
    for source, layer in network.steps:
        d = push(network, layer, network.x[source], d, v)
        a = network.a[layer].clone().requires_grad_()
        slope = torch.autograd.grad(network.squash(layer)(a).sum(), a)[0]
        d = slope**2 * d
    if network.levels["head"] == "softmax":
        p = network.a["output"].softmax(1)
        d = p * (1 - p) * d
    found = torch.autograd.grad(d.sum(), list(v.values()), allow_unused=True)
    return {n: h for n, h in zip(v, found, strict=True) if h is not None}


def push(
    network: TorchNetwork, layer: str, x: Tensor, d: Tensor, v: dict[str, Tensor]
) -> Tensor:
    """The change of a layer's sums, from d of its input x and v of its weights."""
    if layer in ("S2", "S4"):
        pooling = network.levels["pooling"]
        if pooling == "max":
            _, at = functional.max_pool2d(x, 2, return_indices=True)
            return d.flatten(2).gather(2, at.flatten(2)).reshape(at.shape)
        pool, factor = TORCH_POOLINGS[pooling], 0.25 if pooling == "average" else 1.0
        if pooling != "subsample":
            return factor * pool(d)
        c, dc, db = (
            w.reshape(1, -1, 1, 1)
            for w in (
                network.w[f"{layer}.coefficient"],
                v[f"{layer}.coefficient"],
                v[f"{layer}.bias"],
            )
        )
        return c**2 * pool(d) + dc * pool(x) ** 2 + db
    u, du, db = network.w[f"{layer}.weight"], v[f"{layer}.weight"], v[f"{layer}.bias"]
    if layer in ("F6", "output"):
        d, x = d.flatten(1), x.flatten(1)
        return functional.linear(d, u**2) + functional.linear(x**2, du, db)
    if layer == "C3" and network.levels["connection"] == "table":
        u, du = (spread(weight, network.table, x.shape[1]) for weight in (u, du))
    moved = functional.conv2d(d, u**2) + functional.conv2d(x**2, du)
    return network.gain[layer] ** 2 * moved + db.reshape(1, -1, 1, 1)


def test_bitmaps_have_the_ink_of_the_drawing() -> None:
    """The ten bitmaps are +1 and -1, with the ink counts of Fig. 3."""
    assert BITMAPS.shape == (10, 84)
    assert set(BITMAPS.ravel()) == {-1.0, 1.0}
    ink = np.sum(BITMAPS == 1, axis=1)
    assert list(ink) == [35, 27, 33, 32, 41, 35, 39, 25, 43, 39]


def test_bitmaps_of_6_and_8_are_the_closest_pair() -> None:
    """The smallest Hamming distance of two bitmaps is 12, between 6 and 8 alone."""
    distances = {
        (i, j): int(np.sum(BITMAPS[i] != BITMAPS[j]))
        for i, j in itertools.combinations(range(10), 2)
    }
    assert [pair for pair, distance in distances.items() if distance <= 12] == [(6, 8)]
    assert distances[6, 8] == 12


def test_table_feeds_every_map_equally() -> None:
    """Table I has 60 kernels, fan-ins of 75, 100 and 150, and uses each S2 map 10x."""
    fan_in = [25 * len(maps) for maps in TABLE_I]
    assert fan_in == [75] * 6 + [100] * 9 + [150]
    listed = list(itertools.chain(*TABLE_I))
    assert [listed.count(source) for source in range(6)] == [10] * 6
    assert len(set(TABLE_I)) == 16
    assert all(maps == tuple(sorted(set(maps))) for maps in TABLE_I)


def test_counts_are_those_of_the_paper() -> None:
    """Counting one by one gives the paper's 60,000 parameters, 340,908 connections."""
    counted = counts()
    assert counted == {
        "C1": (156, 122_304),
        "S2": (12, 5_880),
        "C3": (1_516, 151_600),
        "S4": (32, 2_000),
        "C5": (48_120, 48_120),
        "F6": (10_164, 10_164),
        "output": (0, 840),
    }
    assert sum(count.parameters for count in counted.values()) == 60_000
    assert sum(count.connections for count in counted.values()) == 340_908


def test_counts_of_the_common_variant_give_61706() -> None:
    """Full C3, max pooling and softmax have 61,706 parameters: 900 - 44 + 850 more."""
    counted = counts(connection="full", pooling="max", head="softmax")
    parameters = {layer: count.parameters for layer, count in counted.items()}
    assert parameters["C3"] == 1_516 + 900
    assert parameters["S2"] + parameters["S4"] == 0
    assert parameters["output"] == 850
    assert sum(parameters.values()) == 61_706


@EVERY_STRUCTURE
def test_forward_agrees_with_torch(levels: Levels) -> None:
    """Every layer equals the same network in torch operations."""
    parameters, image, centres = small_network(levels)
    found = forward(
        parameters,
        image,
        **levels,
        scale=SCALE,
        shift=SHIFT,
        table=SMALL_TABLE,
        centres=centres,
    )
    network = TorchNetwork(parameters, image, levels, SMALL_TABLE)
    if levels["head"] != "softmax":
        distances = torch.cdist(network.x["F6"], torch.tensor(centres))
        network.x["output"] = distances**2 / 2
    assert tuple(found) == LAYERS
    for layer, x in found.items():
        expected = network.x[layer].squeeze().numpy()
        np.testing.assert_allclose(x, expected, rtol=1e-11, atol=1e-12)


def test_forward_of_the_paper_has_the_shapes_of_the_paper() -> None:
    """LeNet-5 itself, with Table I and the bitmaps, equals torch at every layer."""
    parameters, image = paper_network()
    found = forward(parameters, image, **PAPER, scale=SCALE, shift=SHIFT)
    assert {layer: x.shape for layer, x in found.items()} == {
        "C1": (6, 28, 28),
        "S2": (6, 14, 14),
        "C3": (16, 10, 10),
        "S4": (16, 5, 5),
        "C5": (120,),
        "F6": (84,),
        "output": (10,),
    }
    network = TorchNetwork(parameters, image, PAPER, TABLE_I)
    for layer in LAYERS[:-1]:
        expected = network.x[layer].squeeze().numpy()
        np.testing.assert_allclose(found[layer], expected, rtol=1e-11, atol=1e-12)
    distances = ((found["F6"] - BITMAPS) ** 2).sum(axis=1)
    np.testing.assert_allclose(found["output"], distances / 2, rtol=1e-12)


def test_forward_pads_with_background() -> None:
    """An image of background gives the same C1 at every pixel, the border included."""
    parameters, image = paper_network()
    found = forward(parameters, np.zeros_like(image), **PAPER, scale=SCALE, shift=SHIFT)
    assert np.ptp(found["C1"], axis=(1, 2)).max() < 1e-15


def test_statistics_of_the_image_are_the_default() -> None:
    """norm=batch with the statistics of the image given equals none given."""
    parameters, image, _ = small_network(MODERN)
    network = TorchNetwork(parameters, image, MODERN, SMALL_TABLE)
    statistics = {}
    for source, layer in (("input", "C1"), ("S2", "C3")):
        x = network.x[source]
        sums = functional.conv2d(x, network.kernels(layer))[0].flatten(1)
        statistics[f"{layer}.mean"] = sums.mean(1).numpy()
        statistics[f"{layer}.variance"] = sums.var(1, correction=0).numpy()
    own = forward(parameters, image, **MODERN, scale=SCALE, shift=SHIFT)
    fixed = forward(
        parameters, image, **MODERN, scale=SCALE, shift=SHIFT, statistics=statistics
    )
    for layer in LAYERS:
        np.testing.assert_allclose(fixed[layer], own[layer], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("factor", ALTERNATIVES)
def test_unknown_levels_are_refused(factor: str) -> None:
    """A level that nobody defined is an error that names it, for every factor."""
    parameters, image = paper_network()
    levels = change(PAPER, factor, "rulu")
    with pytest.raises(ValueError, match="'rulu' is unknown"):
        forward(parameters, image, **levels, scale=SCALE, shift=SHIFT)


def test_loss_rbf_is_the_distance_to_the_correct_class() -> None:
    """Eq. 8 is y_D alone, whatever the other distances are."""
    layers = {"output": np.array([3.0, 1.5, 7.0])}
    assert loss(layers, 2, "rbf") == 7.0


def test_loss_rbf_map_sums_over_the_correct_class_and_j() -> None:
    """Eq. 9 by hand: e^-y = 1/2, 1/4, 1/8 and e^-j = 1/8 add up to 1, leaving y_D."""
    layers = {"output": np.log([2.0, 4.0, 8.0])}
    assert loss(layers, 1, "rbf_map", j=np.log(8)) == pytest.approx(np.log(4))
    assert loss({"output": np.full(10, 2000.0)}, 3, "rbf_map", j=1.0) == 1999.0
    with pytest.raises(ValueError, match="needs j"):
        loss(layers, 1, "rbf_map")


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_softmax_agrees_with_torch(smoothing: float) -> None:
    """Cross-entropy with label smoothing equals torch's."""
    logits = np.random.default_rng(0).normal(size=7)
    expected = functional.cross_entropy(
        torch.tensor(logits), torch.tensor(4), label_smoothing=smoothing
    )
    found = loss({"output": logits}, 4, "softmax", smoothing)
    assert found == pytest.approx(expected.item(), rel=1e-12)


@EVERY_STRUCTURE
def test_curvature_is_the_transpose_of_the_squared_network(levels: Levels) -> None:
    """Curvature is the gradient of the network of squared weights and slopes."""
    parameters, image, _ = small_network(levels)
    found = curvature(
        parameters, image, **levels, scale=SCALE, shift=SHIFT, table=SMALL_TABLE
    )
    expected = torch_curvature(TorchNetwork(parameters, image, levels, SMALL_TABLE))
    assert set(found) == set(expected)
    for name, h in found.items():
        np.testing.assert_allclose(h, expected[name], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("pooling", ["stride", "max"])
@pytest.mark.parametrize("activation", ["scaled_tanh", "silu"])
def test_curvature_of_single_paths_is_gauss_newton(
    pooling: str, activation: str
) -> None:
    """Where each weight has one path, h is the Gauss-Newton diagonal by Jacobian."""
    shapes: dict[str, tuple[int, ...]] = {
        "C1.weight": (1, 1, 5, 5),
        "C1.bias": (1,),
        "C3.weight": (1, 1, 1),
        "C3.bias": (1,),
        "C5.weight": (1, 1, 1, 1),
        "C5.bias": (1,),
        "F6.weight": (11, 1),
        "F6.bias": (11,),
    }
    parameters, image = draw(shapes), np.random.default_rng(1).random((4, 4))
    levels = change(change(PAPER, "pooling", pooling), "activation", activation)
    found = curvature(
        parameters, image, **levels, scale=SCALE, shift=SHIFT, table=((0,),)
    )

    def units(*weights: Tensor) -> Tensor:
        """F6, as a function of the weights."""
        network = TorchNetwork(parameters, image, levels, ((0,),))
        network.w = dict(zip(shapes, weights, strict=True))
        return network.run().x["F6"][0]

    weights = tuple(torch.tensor(parameters[name]) for name in shapes)
    jacobian_of = torch.autograd.functional.jacobian
    jacobians = jacobian_of(units, weights)  # type: ignore[no-untyped-call]  # torch's
    for name, jacobian in zip(shapes, jacobians, strict=True):
        expected = (jacobian**2).sum(0)
        np.testing.assert_allclose(found[name], expected, rtol=1e-10, atol=1e-14)


def test_curvature_of_the_last_weights_is_exact_in_lenet_5() -> None:
    """For the RBF seed, h of F6 is (f' x)^2: one path, no sharing, 84 x 120 weights."""
    parameters, image = paper_network()
    found = curvature(parameters, image, **PAPER, scale=SCALE, shift=SHIFT)
    x = forward(parameters, image, **PAPER, scale=SCALE, shift=SHIFT)
    slope = 2 / 3 * (1.7159 - x["F6"] ** 2 / 1.7159)
    np.testing.assert_allclose(found["F6.bias"], slope**2, rtol=1e-11)
    expected = np.outer(slope**2, x["C5"] ** 2)
    np.testing.assert_allclose(found["F6.weight"], expected, rtol=1e-11)
    assert {name: h.shape for name, h in found.items()} == {
        name: w.shape for name, w in parameters.items()
    }


def test_curvature_of_softmax_weights_is_the_hessian_diagonal() -> None:
    """For softmax, h of the output layer is the Hessian diagonal of cross-entropy."""
    parameters, image, _ = small_network(MODERN)
    found = curvature(parameters, image, **MODERN, scale=SCALE, shift=SHIFT)
    x = torch.tensor(
        forward(parameters, image, **MODERN, scale=SCALE, shift=SHIFT)["F6"]
    )
    bias = torch.tensor(parameters["output.bias"])

    def energy(weight: Tensor) -> Tensor:
        """The cross-entropy as a function of the output weights."""
        return functional.cross_entropy(weight @ x + bias, torch.tensor(2))

    weight = torch.tensor(parameters["output.weight"])
    hessian_of = torch.autograd.functional.hessian
    hessian = hessian_of(energy, weight)  # type: ignore[no-untyped-call]  # torch's
    expected = torch.einsum("ijij->ij", hessian)
    np.testing.assert_allclose(found["output.weight"], expected, rtol=1e-10)


def hand_network() -> dict[str, Array]:
    """A chain of single maps whose C1 kernel is 2 at the centre and 0 elsewhere."""
    kernel = np.zeros((1, 1, 5, 5))
    kernel[0, 0, 2, 2] = 2.0
    return {
        "C1.weight": kernel,
        "C1.bias": np.array([0.0]),
        "S2.coefficient": np.array([0.5]),
        "S2.bias": np.array([1.0]),
        "C3.weight": np.array([[[3.0]]]),
        "C3.bias": np.array([0.0]),
        "S4.coefficient": np.array([0.1]),
        "S4.bias": np.array([0.0]),
        "C5.weight": np.array([[[[0.5]]]]),
        "C5.bias": np.array([0.0]),
        "F6.weight": np.array([[2.0]]),
        "F6.bias": np.array([-6.0]),
    }


def test_curvature_by_hand() -> None:
    """A chain of single maps, positive so that relu is linear, worked on paper.

    Image of ones 4x4, border 0. C1: 2 at the centre of the kernel, so 2 everywhere.
    S2: 1/2 x 8 + 1 = 5. C3: 3 x 5 = 15. S4: 1/10 x 60 = 6. C5: 1/2 x 6 = 3.
    F6: 2 x 3 - 6 = 0, where f' = A S. With c = (A S)^2, d2E/da^2 is c at F6, 4 c at
    C5, c at S4, c/100 at each C3, 9 c/100 at each S2, 9 c/400 at each C1.
    """
    levels = change(PAPER, "activation", "relu")
    image = np.ones((4, 4))
    h = curvature(hand_network(), image, **levels, scale=1.0, shift=0.0, table=((0,),))
    c = AMPLITUDE_TIMES_STEEPNESS**2
    by_hand = {
        "F6.weight": c * 9,
        "F6.bias": c,
        "C5.weight": 4 * c * 36,
        "C5.bias": 4 * c,
        "S4.coefficient": c * 60**2,
        "S4.bias": c,
        "C3.weight": 4 * c / 100 * 5**2,
        "C3.bias": 4 * c / 100,
        "S2.coefficient": 4 * 9 * c / 100 * 8**2,
        "S2.bias": 4 * 9 * c / 100,
        "C1.bias": 16 * 9 * c / 400,
    }
    for name, value in by_hand.items():
        assert h[name].item() == pytest.approx(value, rel=1e-12), name
    inside = np.array([2, 3, 4, 3, 2])  # rows of the image under each kernel row
    expected = 9 * c / 400 * np.outer(inside, inside)
    np.testing.assert_allclose(h["C1.weight"][0, 0], expected, rtol=1e-12)
