"""A trained network for others: ONNX, TorchScript, torch.export, C, safetensors.

What is exported takes images [n, 1, 28, 28] in [0, 1], light ink on black, any n, and
gives logits [n, class]: padding and normalisation are inside. It is built of the
plainest operations (`Plain`), equal to our network's logits up to rounding.
"""

import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors.torch import save as save_tensors
from torch import Tensor, nn
from torch.nn import functional

from lenet.config import Refusal, suggest
from lenet.interpret.trained_network import Trained
from lenet.records import atomic_files
from lenet.training.factor.activation import LEVELS as ACTIVATIONS
from lenet.training.factor.activation import squash_of
from lenet.training.factor.head import LEVELS as HEADS
from lenet.training.factor.norm import EPSILON
from lenet.training.model import STRUCTURE, Convolution, Dense, Subsampling

Batch = Float[Tensor, "n 1 28 28"]
SQUASHES: Mapping[str, Callable[[Tensor], Tensor]] = {
    **{name: squash_of(name) for name in ACTIVATIONS},  # or torch's own operator
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": functional.relu,
    "leaky_relu": functional.leaky_relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
}
POOLINGS: Mapping[str, Callable[[Tensor], Tensor]] = {
    # The paper adds four neighbours; avg_pool2d gives their mean.
    "subsample": lambda maps: 4 * functional.avg_pool2d(maps, 2),
    "average": lambda maps: functional.avg_pool2d(maps, 2),
    "max": lambda maps: functional.max_pool2d(maps, 2),
    "stride": lambda maps: maps[:, :, ::2, ::2],
}


class Plain(nn.Module):
    """One network in torch's usual operations, its norm folded into its kernels."""

    def __init__(self, net: Trained) -> None:
        super().__init__()
        self.levels = {key: str(net.treatment[key]) for key in STRUCTURE}
        for name, tensor in folded(net).items():
            self.register_buffer(name, tensor)

    def forward(self, images: Batch) -> Float[Tensor, "n class"]:
        """The logits."""
        scale, shift = self.get_buffer("scale"), self.get_buffer("shift")
        signal = functional.pad(images, (2, 2, 2, 2)) * scale + shift
        squash = SQUASHES[self.levels["activation"]]
        for convolution, pooling in (("C1", "S2"), ("C3", "S4")):
            kernels = self.part(convolution, "weight"), self.part(convolution, "bias")
            signal = squash(functional.conv2d(signal, *kernels))
            signal = POOLINGS[self.levels["pooling"]](signal)
            if self.levels["pooling"] == "subsample":
                coefficient, bias = (
                    self.part(pooling, name)[:, None, None]
                    for name in ("coefficient", "bias")
                )
                signal = squash(signal * coefficient + bias)
        signal = squash(self.dense("C5", signal.flatten(1)))
        head = HEADS[self.levels["head"]]
        squash = SQUASHES[head.squash or self.levels["activation"]]
        signal = squash(self.dense("F6", signal))
        if head.trainable:
            return self.dense("output", signal)
        # Minus half of eq. 7, which is the squared distance from a class's drawing.
        apart = signal[:, None] - self.part("output", "bitmaps")
        return -0.5 * apart.square().sum(-1)

    def part(self, layer: str, name: str) -> Tensor:
        """A layer's tensor."""
        return self.get_buffer(f"{layer}_{name}")

    def dense(self, layer: str, inputs: Tensor) -> Tensor:
        """What the units of a layer sum."""
        weight, bias = self.part(layer, "weight"), self.part(layer, "bias")
        return functional.linear(inputs, weight, bias)


def folded(net: Trained) -> dict[str, Tensor]:
    """The tensors of one network, C3's kernels with zeros where Table I has none, and
    what batch norm divides by and takes away inside the kernels and biases."""
    model, parameters = net.model, dict[str, Tensor]()
    parameters["scale"], parameters["shift"] = (
        model.input.scale[0],
        model.input.shift[0],
    )
    for name in ("C1", "C3"):
        layer = getattr(model, name)
        assert isinstance(layer, Convolution)
        kernels, bias = layer.dense()[0], layer.bias[0]
        if layer.norm is not None:
            # With d the deviation, (k * x - mean) / d + bias is
            # (k / d) * x + (bias - mean / d).
            deviation = (layer.var[0] + EPSILON).sqrt()
            kernels = kernels / deviation[:, None, None, None]
            bias = bias - layer.mean[0] / deviation
        parameters |= {f"{name}_weight": kernels, f"{name}_bias": bias}
    for name in ("S2", "S4"):
        layer = getattr(model, name)
        assert isinstance(layer, Subsampling)
        if layer.bias is not None:
            parameters[f"{name}_coefficient"] = layer.coefficient[0]
            parameters[f"{name}_bias"] = layer.bias[0]
    for name in ("C5", "F6"):
        layer = getattr(model, name)
        assert isinstance(layer, Dense)
        parameters[f"{name}_weight"] = layer.weight[0].flatten(1)
        parameters[f"{name}_bias"] = layer.bias[0]
    if isinstance(model.output, Dense):
        parameters["output_weight"] = model.output.weight[0]
        parameters["output_bias"] = model.output.bias[0]
    else:
        parameters["output_bitmaps"] = model.output.bitmaps
    return {
        name: part.detach().clone().contiguous() for name, part in parameters.items()
    }


def network_facts(net: Trained) -> dict[str, Any]:
    """What a file says of its network: where it is from, how it was measured."""
    return {
        "architecture": "LeNet-5",
        "run_id": net.record["run_id"],
        "treatment": net.treatment,
        "seed": net.record["seed"],
        "data": net.treatment["data"],
        "test_error": net.test_error,
        "test_images": net.record["images"],
        "input": "images [n, 1, 28, 28] in [0, 1], light ink on black",
        "output": f"logits [n, {len(net.class_names)}]",
        "classes": net.class_names,
    }


def write_onnx(net: Trained, path: Path) -> None:
    """Write an ONNX file of opset 18, any batch size."""
    try:
        import onnx
    except ImportError:
        raise Refusal(
            "ONNX needs its packages: pip install 'lenet[export]' (onnx, onnxscript, "
            "onnxruntime)",
            3,
        ) from None
    with contextlib.redirect_stdout(sys.stderr):  # the exporter talks
        made = torch.onnx.export(
            exported_program(net),
            dynamo=True,
            opset_version=18,
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
    assert made is not None
    proto = made.model_proto
    for key, value in network_facts(net).items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, json.dumps(value)
    onnx.checker.check_model(proto)
    atomic_files.replace(path, proto.SerializeToString())


def exported_program(net: Trained) -> torch.export.ExportedProgram:
    """The network as a program of torch.export, any batch size."""
    example = torch.zeros(2, 1, 28, 28)
    shapes = {"images": {0: torch.export.Dim("n", min=1)}}
    # What is strict, torch 2.6's default, cannot read get_buffer.
    return torch.export.export(
        Plain(net).eval(), (example,), dynamic_shapes=shapes, strict=False
    )


def write_exported(net: Trained, path: Path) -> None:
    """Write a program of torch.export, for torch.export.load."""
    torch.export.save(exported_program(net), str(path))


def write_torchscript(net: Trained, path: Path) -> None:
    """Write a traced program, for torch.jit.load, which torch would rather retire."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        traced = torch.jit.trace(Plain(net).eval(), torch.zeros(2, 1, 28, 28))
        torch.jit.save(traced, str(path))


def write_safetensors(net: Trained, path: Path) -> None:
    """Write the weights by the paper's names, as a run keeps them, with its record."""
    weights = {
        name: tensor[0].contiguous() for name, tensor in net.model.state_dict().items()
    }
    said = {key: json.dumps(value) for key, value in network_facts(net).items()}
    atomic_files.replace(path, save_tensors(weights, said))


def write_c(net: Trained, path: Path) -> None:
    """Write a C99 file of one function, lenet5(image, logits), and its weights."""
    from lenet.export.c_source import c_program

    atomic_files.replace(
        path,
        c_program(net.name, folded(net), net.treatment, network_facts(net)).encode(),
    )


FORMATS: Mapping[str, tuple[str, Callable[[Trained, Path], None]]] = {
    "onnx": (".onnx", write_onnx),
    "torchscript": (".pt", write_torchscript),
    "exported": (".pt2", write_exported),
    "safetensors": (".safetensors", write_safetensors),
    "c": (".c", write_c),
}


def write_network(net: Trained, form: str, path: Path | None = None) -> Path:
    """Write a network in one of FORMATS, by default to <name><suffix>; the path."""
    if form not in FORMATS:
        raise Refusal(suggest(form, FORMATS, "format", "formats"))
    suffix, writer = FORMATS[form]
    target = path or Path(f"{net.name}{suffix}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        writer(net, target)
    except OSError as problem:
        raise Refusal(f"{target} cannot be written: {problem.strerror}", 3) from None
    return target
