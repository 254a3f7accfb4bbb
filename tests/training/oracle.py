"""LeNet-5 in NumPy loops, from the paper's equations: what the tests compare with.

LeCun, Bottou, Bengio and Haffner, "Gradient-Based Learning Applied to Document
Recognition", Proc. IEEE, November 1998; pages of the 46-page preprint. Letters as in
its Appendix C: a_i is the weighted sum of unit i, x_i = f(a_i) its output, u_ij the
weight from unit j to unit i, w_k a parameter that several connections may share, h_kk
its curvature. One network, one image, float64; clear rather than fast.

Sizes come from the arrays: the networks of the tests may be smaller than LeNet-5.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Index = tuple[int | slice, ...]
Table = tuple[tuple[int, ...], ...]

LAYERS = ("C1", "S2", "C3", "S4", "C5", "F6", "output")
POOLED = ("S2", "S4")
MAPS = {"C1": 6, "C3": 16, "C5": 120, "F6": 84, "output": 10}  # p. 7-8
INPUT_SIZE, KERNEL_SIZE, POOLED_SIZE = 32, 5, 2
BORDER = 2  # pixels of background on each side: 28x28 becomes 32x32
NORM_EPSILON = 1e-5

# Table I (p. 8): the S2 maps that feed each C3 map.
TABLE_I: Table = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5)),
    *((0, 1, 2, 5), (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

# Fig. 3 (p. 8): the digits 0 to 9 side by side, each 7 wide and 12 high.
DRAWING = """
.#####. ...##.. .#####. ####### .#####. .#####. ..####. ####### .#####. .#####.
....... ..###.. ....... .....## ....... ....... .##.... .....## ##...## ##..###
..###.. .####.. .#####. ....##. ....... ####### ##..... .....## ##...## ##...##
.##.##. ...##.. ##...## ...##.. .##..## ##..... ##..... ....##. ##...## ##...##
##...## ...##.. #....## ..####. .##..## ##..... ######. ...##.. .#####. ##..###
##...## ...##.. ....##. .....## ###..## .####.. ###..## ...##.. ##...## .######
##...## ...##.. ..###.. .....## ##...## ..####. ##...## ..##... ##...## .....##
##...## ...##.. .##.... .....## ##...## .....## ##...## ..##... ##...## .....##
.##.##. ...##.. ##..... ##...## ##..### ##...## ###..## ..##... ##...## ....##.
..###.. .###### ####### .#####. .###### .#####. .#####. ..##... .#####. .####..
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
....... ....... ....... ....... .....## ....... ....... ....... ....... .......
"""


def read_drawing(drawing: str) -> Array:
    """The bitmaps [class, row * column] of a drawing: ink +1, paper -1."""
    rows = [line.split() for line in drawing.split("\n") if line]
    digits = ["".join(digit) for digit in zip(*rows, strict=True)]
    return np.array([[{"#": 1.0, ".": -1.0}[dot] for dot in digit] for digit in digits])


BITMAPS = read_drawing(DRAWING)
# ten_units: +1 for the own class, -1 for the others, on the first ten units of F6.
TEN = np.hstack([2 * np.eye(10) - 1, np.zeros((10, 74))])


# --- Activations: f and its derivative ------------------------------------------------


class Activation(NamedTuple):
    """A function f of the weighted sums and its derivative f', both elementwise."""

    value: Callable[[Array], Array]
    slope: Callable[[Array], Array]


AMPLITUDE, STEEPNESS = 1.7159, 2 / 3  # p. 8 and Appendix A, p. 41
LEAK = 0.01


def logistic(a: Array) -> Array:
    """1 / (1 + exp(-a)), written so that no a overflows."""
    return (1 + np.tanh(a / 2)) / 2


def normal_share(a: Array) -> Array:
    """The share of a standard normal below a: (1 + erf(a / sqrt 2)) / 2."""
    shares = [(1 + math.erf(value / math.sqrt(2))) / 2 for value in a.flat]
    return np.array(shares).reshape(a.shape)


def normal_density(a: Array) -> Array:
    """The density of a standard normal at a."""
    return np.exp(-(a**2) / 2) / math.sqrt(2 * math.pi)


IDENTITY = Activation(lambda a: a, np.ones_like)
ACTIVATIONS: dict[str, Activation] = {
    "scaled_tanh": Activation(
        lambda a: AMPLITUDE * np.tanh(STEEPNESS * a),
        lambda a: AMPLITUDE * STEEPNESS * (1 - np.tanh(STEEPNESS * a) ** 2),
    ),
    "tanh": Activation(np.tanh, lambda a: 1 - np.tanh(a) ** 2),
    "sigmoid": Activation(logistic, lambda a: logistic(a) * (1 - logistic(a))),
    "relu": Activation(
        lambda a: np.where(a > 0, a, 0.0), lambda a: np.where(a > 0, 1.0, 0.0)
    ),
    "leaky_relu": Activation(
        lambda a: np.where(a > 0, a, LEAK * a), lambda a: np.where(a > 0, 1.0, LEAK)
    ),
    "gelu": Activation(
        lambda a: a * normal_share(a),
        lambda a: normal_share(a) + a * normal_density(a),
    ),
    "silu": Activation(
        lambda a: a * logistic(a),
        lambda a: logistic(a) * (1 + a * (1 - logistic(a))),
    ),
}


# --- Pooling: the fixed weights of the four inputs ------------------------------------


def select(position: int) -> Array:
    """The weights [2, 2] that keep one input of four."""
    weights = np.zeros(POOLED_SIZE**2)
    weights[position] = 1.0
    return weights.reshape(POOLED_SIZE, POOLED_SIZE)


FIXED_POOLINGS: dict[str, Callable[[Array], Array]] = {
    "average": lambda patch: np.full(patch.shape, 1 / patch.size),
    "max": lambda patch: select(int(np.argmax(patch))),  # of equals the first
    "stride": lambda _: select(0),
}


# --- Structure: who is connected to whom ----------------------------------------------


@dataclass(frozen=True)
class Structure:
    """The levels that fix the network, and the few numbers that go with them.

    `statistics` holds C1.mean, C1.variance, C3.mean and C3.variance, each [channel],
    for norm=batch; None stands for those of the image itself.
    """

    activation: str
    pooling: str
    connection: str
    head: str
    scale: float
    shift: float
    norm: str = "none"
    statistics: Mapping[str, Array] | None = None
    table: Table = TABLE_I

    def __post_init__(self) -> None:
        """Refuse a level that nobody defined."""
        for level, known in (
            (self.activation, tuple(ACTIVATIONS)),
            (self.pooling, ("subsample", *FIXED_POOLINGS)),
            (self.connection, ("table", "full")),
            (self.head, ("rbf", "rbf_map", "softmax", "ten_units")),
            (self.norm, ("none", "batch")),
        ):
            if level not in known:
                raise ValueError(f"{level!r} is unknown; levels: {', '.join(known)}")

    def has_bias(self, layer: str) -> bool:
        """Whether the units of the layer have a trainable bias."""
        if layer in POOLED:
            return self.pooling == "subsample"
        return layer != "output" or self.head == "softmax"

    def squash(self, layer: str) -> Activation:
        """The function f of a layer (p. 8; the RBF units want F6 within +-1.7159)."""
        if layer == "output" or (layer in POOLED and self.pooling != "subsample"):
            return IDENTITY
        if layer == "F6" and self.head in ("rbf", "rbf_map"):
            return ACTIVATIONS["scaled_tanh"]
        return ACTIVATIONS[self.activation]


class Window(NamedTuple):
    """One unit, some of the units that feed it, and where their weights lie."""

    target: tuple[int, ...]
    source: Index
    kernel: tuple[int, ...]


class Geometry(NamedTuple):
    """The size of a layer: its maps (or units) and the side of its kernels."""

    maps: int
    side: int


def layer_windows(
    layer: str, shape: tuple[int, ...], size: Geometry, structure: Structure
) -> Iterator[Window]:
    """The windows of a layer whose input has the given shape.

    shape is [channel, height, width], and [unit] before F6 and the output.
    """
    if layer in ("F6", "output"):
        for unit in range(size.maps):
            yield Window((unit,), (slice(0, shape[0]),), (unit,))
        return
    stride = size.side if layer in POOLED else 1
    pairs = map_pairs(layer, shape[0], size.maps, structure)
    last_row, last_column = shape[1] - size.side, shape[2] - size.side
    for target, source, kernel in pairs:
        for i, row in enumerate(range(0, last_row + 1, stride)):
            for j, column in enumerate(range(0, last_column + 1, stride)):
                rows = slice(row, row + size.side)
                columns = slice(column, column + size.side)
                yield Window((target, i, j), (source, rows, columns), kernel)


def map_pairs(
    layer: str, sources: int, targets: int, structure: Structure
) -> list[tuple[int, int, tuple[int, ...]]]:
    """Target map, source map and the place of their kernel, for C1 to C5.

    With Table I (p. 8) the kernels lie in one row, by C3 map, then by S2 map.
    """
    if layer in POOLED:
        return [(map_, map_, (map_,)) for map_ in range(sources)]
    if layer == "C3" and structure.connection == "table":
        listed = [(t, s) for t, maps in enumerate(structure.table) for s in maps]
        return [(target, source, (k,)) for k, (target, source) in enumerate(listed)]
    every = [(t, s) for t in range(targets) for s in range(sources)]
    return [(target, source, (target, source)) for target, source in every]


# --- Forward --------------------------------------------------------------------------


def forward(
    parameters: Mapping[str, Array],
    image: Array,
    *,
    activation: str,
    pooling: str,
    connection: str,
    head: str,
    scale: float,
    shift: float,
    norm: str = "none",
    statistics: Mapping[str, Array] | None = None,
    table: Table = TABLE_I,
    centres: Array = BITMAPS,
) -> dict[str, Array]:
    """The output x of every layer, by name, for one image [28, 28] in [0, 1].

    x_i = f(a_i), a_i = sum_j u_ij x_j + b_i (p. 8), where the sum over a window is a
    correlation: the kernel is not flipped. The output of an RBF head is half the
    distance, y_i = 1/2 sum_j (x_j - w_ij)^2, as in the authors' later code (eq. 7,
    p. 8, has no half); that of softmax is the logits.

    Shapes: C1 [6, 28, 28], S2 [6, 14, 14], C3 [16, 10, 10], S4 [16, 5, 5], C5 [120],
    F6 [84], output [10]. `centres` [10, 84] are used by the RBF heads only.
    """
    levels = (activation, pooling, connection, head)
    structure = Structure(*levels, scale, shift, norm, statistics, table)
    passes = run_layers(parameters, image, structure)
    outputs = {layer: passes[layer].x for layer in passes}
    if head != "softmax":
        outputs["output"] = half_distances(outputs["F6"], centres)
    return outputs


class Pass(NamedTuple):
    """What a layer did: its input, its windows with their weights u, a and x.

    `gain` [channel] multiplies the sums of a map: 1 but for norm=batch.
    """

    source: Array
    links: list[tuple[Window, Array]]
    gain: Array
    a: Array
    x: Array


def run_layers(
    parameters: Mapping[str, Array], image: Array, structure: Structure
) -> dict[str, Pass]:
    """The layers with weights in order: C1 to F6, and the output if it is softmax."""
    x = extend(image * structure.scale + structure.shift, structure.shift)
    passes = {}
    for layer in LAYERS if structure.head == "softmax" else LAYERS[:-1]:
        passes[layer] = run_layer(layer, x, parameters, structure)
        x = passes[layer].x
    return passes


def extend(x: Array, background: float) -> Array:
    """The input [1, 32, 32]: the image with a border of background (p. 7)."""
    height, width = x.shape
    extended = np.full((1, height + 2 * BORDER, width + 2 * BORDER), background)
    extended[0, BORDER : BORDER + height, BORDER : BORDER + width] = x
    return extended


def run_layer(
    layer: str, x: Array, parameters: Mapping[str, Array], structure: Structure
) -> Pass:
    """The pass of one layer over its input x."""
    links = list(layer_links(layer, x, parameters, structure))
    last = max(window.target for window, _ in links)
    sums = np.zeros([position + 1 for position in last])
    for window, weights in links:
        sums[window.target] += np.sum(weights * x[window.source])
    mean, gain = map_norm(layer, sums, structure)
    a = np.empty_like(sums)
    for map_ in range(len(sums)):
        a[map_] = gain[map_] * (sums[map_] - mean[map_])
        if structure.has_bias(layer):
            a[map_] += parameters[f"{layer}.bias"][map_]
    out = structure.squash(layer).value(a)
    return Pass(x, links, gain, a, out.reshape(-1) if layer == "C5" else out)


def layer_links(
    layer: str, x: Array, parameters: Mapping[str, Array], structure: Structure
) -> Iterator[tuple[Window, Array]]:
    """The windows of a layer, each with its weights u in the shape of its source."""
    if layer in POOLED:
        for window in layer_windows(
            layer, x.shape, Geometry(len(x), POOLED_SIZE), structure
        ):
            patch = x[window.source]
            if structure.pooling == "subsample":
                coefficient = parameters[f"{layer}.coefficient"][window.kernel]
                yield window, np.full(patch.shape, coefficient)
            else:
                yield window, FIXED_POOLINGS[structure.pooling](patch)
        return
    kernels = parameters[f"{layer}.weight"]
    size = Geometry(len(parameters[f"{layer}.bias"]), kernels.shape[-1])
    for window in layer_windows(layer, x.shape, size, structure):
        yield window, kernels[window.kernel]


def map_norm(layer: str, sums: Array, structure: Structure) -> tuple[Array, Array]:
    """The mean [channel] taken from the sums and the gain [channel] given to them.

    norm=batch, after C1 and C3: gain = 1 / sqrt(variance + 1e-5), with the biased
    variance; the bias of the convolution is the shift, and there is no scale.
    """
    if structure.norm == "none" or layer not in ("C1", "C3"):
        return np.zeros(len(sums)), np.ones(len(sums))
    if structure.statistics is not None:
        mean = structure.statistics[f"{layer}.mean"]
        variance = structure.statistics[f"{layer}.variance"]
    else:
        mean = np.array([np.mean(channel) for channel in sums])
        variance = np.array(
            [np.mean((channel - np.mean(channel)) ** 2) for channel in sums]
        )
    return mean, 1 / np.sqrt(variance + NORM_EPSILON)


def half_distances(x: Array, centres: Array) -> Array:
    """y_i = 1/2 sum_j (x_j - w_ij)^2, [class], of x [unit] and centres [class, unit].

    Eq. 7, p. 8, halved.
    """
    return np.array([sum((x - centre) ** 2) / 2 for centre in centres])


# --- Loss -----------------------------------------------------------------------------


def loss(
    layers: Mapping[str, Array],
    label: int,
    head: str,
    smoothing: float = 0.0,
    j: float | None = None,
) -> float:
    """The loss of one image, from what `forward` returned and the correct class.

    rbf (eq. 8, p. 9): y_D. rbf_map (eq. 9, p. 9): y_D + log(e^-j + sum_i e^-y_i), over
    all classes i; the paper gives no value of j. softmax: the cross-entropy with the
    target 1 - smoothing on the label plus smoothing / 10 on every class. ten_units: y_D
    too, to other centres.
    """
    y = layers["output"]
    if head in ("rbf", "ten_units"):
        return float(y[label])
    if head == "rbf_map":
        if j is None:
            raise ValueError("head 'rbf_map' needs j: the rubbish class of eq. 9")
        return float(y[label]) + log_sum_exp([-j, *-y])
    if head == "softmax":
        losses = log_sum_exp(y) - y
        return float((1 - smoothing) * losses[label] + smoothing * np.mean(losses))
    raise ValueError(
        f"head {head!r} is unknown; levels: rbf, rbf_map, softmax, ten_units"
    )


def log_sum_exp(values: Array | list[float]) -> float:
    """The log of sum_i exp(values_i), shifted so that nothing overflows."""
    largest = max(values)
    return float(largest + math.log(sum(math.exp(value - largest) for value in values)))


# --- Counts ---------------------------------------------------------------------------


class Count(NamedTuple):
    """Trainable parameters and connections of a layer."""

    parameters: int
    connections: int


def counts(
    *, connection: str = "table", pooling: str = "subsample", head: str = "rbf"
) -> dict[str, Count]:
    """Parameters and connections of each layer of LeNet-5, counted one by one.

    A bias is a connection of every unit that has it, as in the paper (p. 7-8).
    """
    structure = Structure("scaled_tanh", pooling, connection, head, scale=1, shift=0)
    counted = {}
    shape: tuple[int, ...] = (1, INPUT_SIZE, INPUT_SIZE)
    for layer in LAYERS:
        side = POOLED_SIZE if layer in POOLED else KERNEL_SIZE
        size = Geometry(MAPS.get(layer, shape[0]), side)
        windows = list(layer_windows(layer, shape, size, structure))
        counted[layer] = count_layer(layer, windows, structure)
        shape = tuple(p + 1 for p in max(window.target for window in windows))
    return counted


def count_layer(layer: str, windows: list[Window], structure: Structure) -> Count:
    """The count of one layer: distinct names of parameters, and every connection."""
    names: set[tuple[object, ...]] = set()
    connections = 0
    for window in windows:
        sides = [s.stop - s.start for s in window.source if isinstance(s, slice)]
        for offset in np.ndindex(*sides):
            connections += 1
            if layer in POOLED and structure.pooling == "subsample":
                names.add(("coefficient", *window.kernel))
            elif layer not in POOLED and structure.has_bias(layer):
                names.add(("weight", *window.kernel, *offset))
    if structure.has_bias(layer):
        for unit in {window.target for window in windows}:
            connections += 1
            names.add(("bias", unit[0]))
    return Count(len(names), connections)


# --- Curvature ------------------------------------------------------------------------


def curvature(
    parameters: Mapping[str, Array],
    image: Array,
    *,
    activation: str,
    pooling: str,
    connection: str,
    head: str,
    scale: float,
    shift: float,
    norm: str = "none",
    statistics: Mapping[str, Array] | None = None,
    table: Table = TABLE_I,
) -> dict[str, Array]:
    """h_kk of every trainable parameter, by name, for one image (App. C, p. 41-42).

    From the last layer to the first, over single connections j to i:
    d2E/da_i^2 = f'(a_i)^2 d2E/dx_i^2;  d2E/du_ij^2 = d2E/da_i^2 x_j^2;
    d2E/dx_j^2 = sum_i u_ij^2 d2E/da_i^2;  h_kk = sum of d2E/du_ij^2 that share w_k.

    The average over images is left to the caller. The statistics of norm=batch count
    as constants.
    """
    levels = (activation, pooling, connection, head)
    structure = Structure(*levels, scale, shift, norm, statistics, table)
    passes = run_layers(parameters, image, structure)
    second = seed_curvature(passes, head)
    h: dict[str, Array] = {}
    for layer in reversed(passes):
        done = passes[layer]
        slope = structure.squash(layer).slope(done.a)
        second_a = slope**2 * second.reshape(done.a.shape)
        h |= layer_curvature(layer, done, second_a, parameters, structure)
        second = source_curvature(done, second_a)
    return h


def seed_curvature(passes: Mapping[str, Pass], head: str) -> Array:
    """d2E/dx^2 where the recursion starts, [unit] or [class].

    1 at every unit of F6 for both RBF heads (the energy is half the distance), at its
    first ten for ten_units, and p_i (1 - p_i) at the logits for softmax cross-entropy.
    """
    if head == "ten_units":
        return np.repeat([1.0, 0.0], [10, 74])
    if head != "softmax":
        return np.ones_like(passes["F6"].x)
    logits = passes["output"].x
    p: Array = np.exp(logits - log_sum_exp(logits))
    return p * (1 - p)


def layer_curvature(
    layer: str,
    done: Pass,
    second_a: Array,
    parameters: Mapping[str, Array],
    structure: Structure,
) -> dict[str, Array]:
    """h_kk of the parameters of one layer, from d2E/da^2 in the shape of its a.

    A subsampling coefficient multiplies the sum of four inputs: d2E/da^2 (sum x)^2.
    """
    kinds = ["bias"] if structure.has_bias(layer) else []
    if layer not in POOLED:
        kinds.append("weight")
    elif structure.pooling == "subsample":
        kinds.append("coefficient")
    h = {
        f"{layer}.{kind}": np.zeros_like(parameters[f"{layer}.{kind}"])
        for kind in kinds
    }
    for window, _ in done.links:
        x = done.source[window.source] * done.gain[window.target[0]]
        if "weight" in kinds:
            h[f"{layer}.weight"][window.kernel] += second_a[window.target] * x**2
        elif "coefficient" in kinds:
            share = second_a[window.target] * np.sum(x) ** 2
            h[f"{layer}.coefficient"][window.kernel] += share
    if "bias" in kinds:
        for unit in np.ndindex(second_a.shape):
            h[f"{layer}.bias"][unit[0]] += second_a[unit]
    return h


def source_curvature(done: Pass, second_a: Array) -> Array:
    """d2E/dx_j^2 = sum_i u_ij^2 d2E/da_i^2, in the shape of the layer's input."""
    second = np.zeros_like(done.source)
    for window, weights in done.links:
        u = weights * done.gain[window.target[0]]
        second[window.source] += u**2 * second_a[window.target]
    return second
