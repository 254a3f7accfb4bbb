"""LeNet-5 with the paper's names, for a stack of runs.

Every parameter carries a leading run axis and every layer takes and gives
[run, batch, channel, height, width] or [run, batch, unit]. In memory the maps of all
runs lie side by side, [batch, run*channel, height, width] in channels_last, so that a
convolution of the stack is one convolution in groups, and going from one to the other
is a view. Images come in [0, 1]; padding and normalisation belong to the network.

`python -m lenet.training.model` prints what the layers hold.
"""

import math
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from lenet.config import Refusal
from lenet.training import draws
from lenet.training.factor.activation import squash_of
from lenet.training.factor.connection import LEVELS as CONNECTIONS
from lenet.training.factor.head import LEVELS as HEADS
from lenet.training.factor.init import LEVELS as INITS
from lenet.training.factor.norm import LEVELS as NORMS
from lenet.training.factor.pooling import LEVELS as POOLINGS

Maps = Float[Tensor, "run batch channel height width"]
Halved = Float[Tensor, "run batch channel height//2 width//2"]
Filtered = Float[Tensor, "run batch map height-4 width-4"]
Units = Float[Tensor, "run batch unit"]
PerRun = Float[Tensor, "run"]
LAYERS = ("C1", "S2", "C3", "S4", "C5", "F6", "output")
STRUCTURE = ("activation", "pooling", "connection", "norm", "head")
WIDTHS = (6, 16, 120, 84)  # maps of C1 and C3, units of C5 and F6


def side_by_side(maps: Maps) -> Float[Tensor, "batch map height width"]:
    """The maps of all runs beside each other; a view."""
    return maps.transpose(0, 1).flatten(1, 2)


def by_run(maps: Float[Tensor, "batch map height width"], runs: int) -> Maps:
    """The inverse of side_by_side; a view."""
    return maps.unflatten(1, (runs, -1)).transpose(0, 1)


class Input(nn.Module):
    """From pixels in [0, 1], [batch, 28, 28] or one batch per run, to 32x32 maps.

    The border of 2 pixels is background: pixel 0, whatever that becomes (paper, p. 7).
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, runs: int) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(runs))
        self.register_buffer("shift", torch.zeros(runs))

    def forward(self, images: Float[Tensor, "*run batch 28 28"]) -> Maps:
        runs = len(self.scale)
        stack = images.expand(runs, *images.shape[-3:]).transpose(0, 1)
        padded = functional.pad(stack, (2, 2, 2, 2))
        padded = padded.contiguous(memory_format=torch.channels_last)
        scale, shift = self.scale[:, None, None], self.shift[:, None, None]
        return by_run(padded * scale + shift, runs)


class Convolution(nn.Module):
    """C1 and C3: a 5x5 kernel from each listed input to a map, norm, squash.

    A kernel that Table I leaves out has no parameter: the weight is [run, kernel, 5,
    5], sorted by map and input, and [run, map, input, 5, 5] where all are there.
    """

    mean: Tensor
    var: Tensor
    kernels: Tensor

    def __init__(
        self, runs: int, inputs: Sequence[Sequence[int]], norm_level: str, squash: str
    ) -> None:
        super().__init__()
        self.inputs, self.fan = inputs, max(map(max, inputs)) + 1
        flat = [
            to * self.fan + source for to, row in enumerate(inputs) for source in row
        ]
        self.full = len(flat) == len(inputs) * self.fan
        shape = (len(inputs), self.fan) if self.full else (len(flat),)
        self.weight = nn.Parameter(torch.empty(runs, *shape, 5, 5))
        self.bias = nn.Parameter(torch.empty(runs, len(inputs)))
        self.norm, self.squash = NORMS[norm_level], squash_of(squash)
        self.register_buffer("kernels", torch.tensor(flat), persistent=False)
        kept = norm_level != "none"
        self.register_buffer("mean", torch.zeros(runs, len(inputs)), persistent=kept)
        self.register_buffer("var", torch.ones(runs, len(inputs)), persistent=kept)

    def dense(self) -> Float[Tensor, "run map input 5 5"]:
        """The kernels with zeros where there is none."""
        return self.spread(self.weight)

    def spread(self, kernels: Tensor) -> Float[Tensor, "run map input 5 5"]:
        """Numbers of the shape of the weight, with zeros where there is no kernel."""
        if self.full:
            return kernels
        shape = (len(kernels), len(self.inputs) * self.fan, 5, 5)
        whole = kernels.new_zeros(shape).index_copy(1, self.kernels, kernels)
        return whole.unflatten(1, (len(self.inputs), self.fan))

    def picked(self, dense: Float[Tensor, "run map input 5 5"]) -> Tensor:
        """The inverse of `spread`: those of the kernels that there are."""
        return dense if self.full else dense.flatten(1, 2)[:, self.kernels]

    def forward(self, maps: Maps) -> Filtered:
        return self.squash(self.sums(maps))

    def sums(self, maps: Maps) -> Filtered:
        """What the squash is of."""
        bias = self.bias.flatten()
        if self.norm is None:
            return self.linear(maps, self.dense(), bias)
        sums = side_by_side(self.linear(maps, self.dense()))
        statistics = self.mean.view(-1), self.var.view(-1)
        return by_run(self.norm(sums, bias, *statistics, self.training), len(self.bias))

    def linear(
        self, maps: Maps, kernels: Tensor, bias: Tensor | None = None
    ) -> Filtered:
        """The maps convolved with kernels [run, map, input, 5, 5]."""
        runs, kernels = len(kernels), kernels.flatten(0, 1)
        sums = functional.conv2d(side_by_side(maps), kernels, bias, groups=runs)
        return by_run(sums, runs)


class Subsampling(nn.Module):
    """S2 and S4: four neighbours to one; in 1998 times a coefficient, plus a bias, and
    squashed, one coefficient and bias per map (paper, p. 7)."""

    def __init__(self, runs: int, channels: int, level: str, squash: str) -> None:
        super().__init__()
        self.reduce, self.squash = POOLINGS[level].reduce, squash_of(squash)
        if POOLINGS[level].trainable:
            self.coefficient = nn.Parameter(torch.empty(runs, channels))
            self.bias = nn.Parameter(torch.empty(runs, channels))
        else:
            self.register_parameter("coefficient", None)
            self.register_parameter("bias", None)

    def forward(self, maps: Maps) -> Halved:
        return self.pooled(maps) if self.bias is None else self.squash(self.sums(maps))

    def sums(self, maps: Maps) -> Halved:
        """What the squash is of, where there is one."""
        # A convolution, since its gradients add up a map's pixels in one order wherever
        # in a stack the map stands; those of a product do not.
        kernels, bias = self.coefficient.view(-1, 1, 1, 1), self.bias.flatten()
        pooled = side_by_side(self.pooled(maps))
        sums = functional.conv2d(pooled, kernels, bias, groups=len(kernels))
        return by_run(sums, len(maps))

    def pooled(self, maps: Maps) -> Halved:
        """Each four neighbours as one."""
        corners = [maps[..., row::2, column::2]
                   for row in range(2) for column in range(2)]  # fmt: skip
        return self.reduce(*corners)[0]


class Dense(nn.Module):
    """C5, F6 and the softmax output: every input to every unit, squashed or not.

    C5's 5x5 kernels see a whole 5x5 map, so that it equals a dense layer (paper, p. 8).
    """

    def __init__(self, runs: int, units: int, fan: Sequence[int], squash: str | None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(runs, units, *fan))
        self.bias = nn.Parameter(torch.empty(runs, units))
        self.squash = squash_of(squash) if squash else None

    def forward(self, inputs: Float[Tensor, "run batch *fan"]) -> Units:
        sums = self.sums(inputs)
        return self.squash(sums) if self.squash else sums

    def sums(self, inputs: Float[Tensor, "run batch *fan"]) -> Units:
        """What the squash is of."""
        weight = self.weight.flatten(2).mT
        return torch.baddbmm(self.bias[:, None, :], inputs.flatten(2), weight)


class RadialBasis(nn.Module):
    """The output of 1998: minus the distances 1/2 |x - w_i|^2 to ten fixed bitmaps."""

    bitmaps: Tensor

    def __init__(self, bitmaps: Tensor) -> None:
        super().__init__()
        self.register_buffer("bitmaps", bitmaps, persistent=False)

    def forward(self, units: Units) -> Float[Tensor, "run batch class"]:
        return -0.5 * (units[:, :, None, :] - self.bitmaps).square().sum(-1)

    def used(self) -> Float[Tensor, "unit"]:
        """1 for each unit of F6 that has a target, 0 for one that is out of use."""
        return self.bitmaps[0].abs()


class LeNet5(nn.Module):
    """A stack of LeNet-5s of one structure; the levels are those of factor/.

    widths: of C1, C3, C5 and F6. A Refusal of others than LeNet-5's with Table I or RBF
    units, which are made for its own.
    """

    def __init__(
        self,
        runs: int,
        *,
        activation: str,
        pooling: str,
        connection: str,
        norm: str,
        head: str,
        classes: int = 10,
        widths: Sequence[int] = WIDTHS,
    ) -> None:
        super().__init__()
        own, self.widths = HEADS[head], tuple(widths)
        first, second, third, last = self.widths
        kernels = CONNECTIONS[connection]
        if self.widths != WIDTHS:
            if (connection, own.trainable) != ("full", True):
                raise Refusal(
                    f"widths {self.widths} need connection=full and a head that learns"
                )
            kernels = (tuple(range(first)),) * second
        self.input = Input(runs)
        self.C1 = Convolution(runs, ((0,),) * first, norm, activation)
        self.S2 = Subsampling(runs, first, pooling, activation)
        self.C3 = Convolution(runs, kernels, norm, activation)
        self.S4 = Subsampling(runs, second, pooling, activation)
        self.C5 = Dense(runs, third, (second, 5, 5), activation)
        self.F6 = Dense(runs, last, (third,), own.squash or activation)
        self.output = (
            Dense(runs, classes, (last,), None)
            if own.trainable
            else RadialBasis(own.codes())
        )

    def activations(
        self,
        images: Float[Tensor, "*run batch 28 28"],
        dropout_masks: Mapping[str, Units] | None = None,
    ) -> dict[str, Tensor]:
        """What every layer gives, by name: maps C1 to S4, units C5 and F6, logits.

        images: in [0, 1], one batch for all runs or one per run. dropout_masks:
        factors by which layers' outputs are multiplied.
        """
        seen: dict[str, Tensor] = {}
        signal = self.input(images)
        for name in LAYERS:
            signal = getattr(self, name)(signal)
            if dropout_masks and name in dropout_masks:
                signal = signal * dropout_masks[name]
            seen[name] = signal
        return seen

    def forward(
        self,
        images: Float[Tensor, "*run batch 28 28"],
        dropout_masks: Mapping[str, Units] | None = None,
    ) -> Float[Tensor, "run batch class"]:
        """Logits: the largest is the class. Without gradients no layer is kept."""
        signal = self.input(images)
        for convolution, pooling in ((self.C1, self.S2), (self.C3, self.S4)):
            signal = pooling(convolution(signal))
        for name in ("C5", "F6", "output"):
            signal = getattr(self, name)(signal)
            if dropout_masks and name in dropout_masks:
                signal = signal * dropout_masks[name]
        return signal

    @torch.no_grad()
    def initialise(
        self,
        seeds: Sequence[int],
        levels: Sequence[str],
        coefficient: PerRun,
        bias: PerRun,
    ) -> None:
        """Set every parameter, from one seed, level of `init` and constants per run."""
        constants = {"coefficient": coefficient, "bias": bias}
        for name, parameter in self.named_parameters():
            layer, kind = name.split(".")
            if kind in constants:
                parameter.copy_(constants[kind][:, None])
                continue
            fan_in, fan_out, shape = self.fans(layer)
            places = torch.arange(math.prod(shape)).view(shape)
            streams = draws.stream(seeds, f"init {name}").view(-1, *[1] * len(shape))
            keys = draws.fold(streams, places)
            for level in set(levels):
                chosen = torch.tensor([other == level for other in levels])
                weights = INITS[level](keys[chosen], fan_in, fan_out)
                if layer == "C3" and not self.C3.full:
                    weights = weights.flatten(1, 2)[:, self.C3.kernels.cpu()]
                parameter[chosen.to(parameter.device)] = weights.to(parameter)
        if isinstance(self.output, RadialBasis):
            used = self.output.used()
            self.F6.weight.mul_(used[:, None])
            self.F6.bias.mul_(used)

    def fans(self, layer: str) -> tuple[Tensor, float, tuple[int, ...]]:
        """The fan-in of each unit, the fan-out, and the shape [out, *fan] of a layer's
        weights with every kernel there."""
        module = getattr(self, layer)
        if isinstance(module, Convolution):
            shape: tuple[int, ...] = (len(module.inputs), module.fan, 5, 5)
            fan_in = torch.tensor([25.0 * len(row) for row in module.inputs])
            # Table I leads from each map of S2 to 10 of C3's, not to all 16.
            fan_out = 25.0 * sum(map(len, module.inputs)) / module.fan
        else:
            shape = tuple(module.weight.shape[1:])
            fan_in = torch.full(shape[:1], float(math.prod(shape[1:])))
            fan_out = float(shape[0])
        return fan_in.view(-1, *[1] * (len(shape) - 1)), fan_out, shape


def table(**levels: str) -> list[tuple[str, str, int, int]]:
    """Layer, shape of its output, trainable parameters and connections, of one run.

    A connection is a weight or bias at work at one place, as the paper counts them.
    """
    model = LeNet5(1, classes=10, widths=WIDTHS, **levels)
    with torch.no_grad():
        seen = model.activations(torch.zeros(1, 28, 28))
    rows = []
    for name in LAYERS:
        module, shape = getattr(model, name), seen[name].shape[2:]
        trainable = sum(weight.numel() for weight in module.parameters())
        places = math.prod(shape[1:])
        if isinstance(module, Subsampling):
            connections = shape[0] * places * (4 + (module.bias is not None))
        elif isinstance(module, RadialBasis):
            connections = module.bitmaps.numel()
        else:
            connections = trainable * places
        rows.append((name, "x".join(map(str, shape)), trainable, connections))
    return rows


def main() -> None:
    """Print the table of 1998 and of the net that the world calls LeNet-5."""
    paper = ("scaled_tanh", "subsample", "table", "none", "rbf")
    world = ("relu", "max", "full", "none", "softmax")
    for title, levels in (("paper (1998)", paper), ("full, max, softmax", world)):
        rows = table(**dict(zip(STRUCTURE, levels, strict=True)))
        total = ("total", "", sum(row[2] for row in rows), sum(row[3] for row in rows))
        print(f"{title:20}{'output':>12}{'trainable':>12}{'connections':>14}")
        for name, shape, trainable, connections in [*rows, total]:
            print(f"{name:20}{shape:>12}{trainable:>12,}{connections:>14,}")
        print()


if __name__ == "__main__":
    main()
