"""The curvature h_kk of every weight, by squared back-propagation (paper, App. C).

A layer's sums are linear in its inputs and in its weights: a_i = sum_j u_ij x_j. Where
back-propagation takes gradients through this with u and x, the second derivatives take
it with their squares: d2E/du_ij^2 = d2E/da_i^2 x_j^2, d2E/dx_j^2 = sum_i u_ij^2
d2E/da_i^2. So each step here is a plain backward pass through a squared layer, and a
squash multiplies by f'(a)^2 (Gauss-Newton: f'' is left out). Cross terms are dropped,
also between the connections that share a weight, whose curvatures are added.

The recursion begins with 1 at the outputs of F6 for the RBF heads, the distance being
halved, as in the authors' later code, and 0 at those without a target; and with
p (1 - p) at the logits for softmax cross-entropy, the diagonal of its Hessian (Bishop,
1992, Neural Computation 4). Batch norm counts as the linear map that it is at each
image's own statistics.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lenet.training.factor.norm import EPSILON
from lenet.training.model import LAYERS, Convolution, Dense, LeNet5, Subsampling

Images = Float[Tensor, "run batch 28 28"]
Curvature = dict[str, Tensor]  # by the name of the parameter, in its shape
CHUNK = 50  # images at a time: memory, not arithmetic


def curvature(model: LeNet5, images: Images) -> Curvature:
    """h_kk of every trainable parameter, the mean over each run's images."""
    total: Curvature = {}
    for chunk in images.split(CHUNK, dim=1):
        for name, values in summed_curvature(model, chunk).items():
            total[name] = total.get(name, 0) + values
    return {name: values / images.shape[1] for name, values in total.items()}


@torch.no_grad()
def summed_curvature(model: LeNet5, images: Images) -> Curvature:
    """h_kk of every trainable parameter, summed over the images."""
    signals = [model.input(images)]
    for name in LAYERS:
        signals.append(output(getattr(model, name), signals[-1]))
    total = Curvature()
    if isinstance(model.output, Dense):
        p = signals[-1].softmax(-1)
        second = p * (1 - p)
    else:
        second = torch.ones_like(signals[-2]) * model.output.used()
    for name, inputs in reversed(list(zip(LAYERS, signals, strict=False))):
        layer = getattr(model, name)
        if isinstance(layer, Subsampling):
            here, second = through_subsampling(layer, inputs, second)
        elif isinstance(layer, Convolution | Dense):
            here, second = through_sums(layer, inputs, second)
        else:
            continue  # the RBF units, where the recursion begins
        total |= {f"{name}.{kind}": values for kind, values in here.items()}
    return total


def output(layer: torch.nn.Module, inputs: Tensor) -> Tensor:
    """What a layer gives, at each image's own statistics."""
    if isinstance(layer, Convolution):
        return layer.squash(sums_of(layer, inputs))
    result: Tensor = layer(inputs)
    return result


def sums_of(layer: Convolution | Dense, inputs: Tensor) -> Tensor:
    """What the squash is of, at each image's own statistics."""
    if isinstance(layer, Dense) or layer.norm is None:
        return layer.sums(inputs)
    maps = layer.linear(inputs, layer.dense())
    centred = maps - maps.mean((-2, -1), keepdim=True)
    return centred * gain(layer, inputs) + layer.bias[:, None, :, None, None]


def slope(squash: Callable[[Tensor], Tensor] | None, sums: Tensor) -> Tensor:
    """f'(a), element by element."""
    if squash is None:
        return torch.ones_like(sums)
    with torch.enable_grad():
        at = sums.detach().requires_grad_()
        return torch.autograd.grad(squash(at).sum(), at)[0]


def backward(
    function: Callable[..., Tensor], at: tuple[Tensor, ...], cotangent: Tensor
) -> tuple[Tensor, ...]:
    """The cotangent taken back through a function to each of its arguments."""
    with torch.enable_grad():
        arguments = [value.detach().requires_grad_() for value in at]
        return torch.autograd.grad(function(*arguments), arguments, cotangent)


def through_sums(
    layer: Convolution | Dense, inputs: Tensor, second: Tensor
) -> tuple[Curvature, Tensor]:
    """h_kk of weights and biases, and d2E/dx^2 at the inputs."""
    second = second * slope(layer.squash, sums_of(layer, inputs)) ** 2
    bias = second.transpose(0, 1).sum(0)
    bias = bias.flatten(2).sum(-1) if bias.ndim > 2 else bias
    if isinstance(layer, Dense):
        flat, weight = inputs.flatten(2), layer.weight.flatten(2)
        squares = flat**2, weight**2
        into, of = backward(lambda x, w: x @ w.mT, squares, second)
        return {"weight": of.view_as(layer.weight), "bias": bias}, into.view_as(inputs)
    if layer.norm is not None:
        second = second * gain(layer, inputs) ** 2
    squares = inputs**2, layer.dense().detach() ** 2
    into, of = backward(layer.linear, squares, second)
    if not layer.full:
        of = of.flatten(1, 2)[:, layer.kernels]
    return {"weight": of, "bias": bias}, into


def gain(layer: Convolution, inputs: Tensor) -> Tensor:
    """What batch norm multiplies each map by, at each image's own statistics."""
    maps = layer.linear(inputs, layer.dense())
    return (maps.var((-2, -1), correction=0, keepdim=True) + EPSILON).rsqrt()


def through_subsampling(
    layer: Subsampling, inputs: Tensor, second: Tensor
) -> tuple[Curvature, Tensor]:
    """h_kk of coefficients and biases, and d2E/dx^2 at the inputs."""
    estimates = {}
    if layer.bias is not None:
        second = second * slope(layer.squash, layer.sums(inputs)) ** 2
        estimates["coefficient"] = (second * layer.pooled(inputs) ** 2).sum((1, 3, 4))
        estimates["bias"] = second.sum((1, 3, 4))
        second = second * layer.coefficient[:, None, :, None, None] ** 2
    (into,) = backward(layer.pooled, (inputs,), second)
    (share,) = backward(layer.pooled, (inputs,), torch.ones_like(second))
    return estimates, into * share  # its square: once through each
