"""A network in whole numbers of 8 bits, and what that costs on the test images.

onnxruntime's static quantisation: the range of every layer is read from training
images, weights get a scale for each map. What is stated is measured on all test images.
"""

import contextlib
import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from lenet.config import Refusal
from lenet.export import formats
from lenet.interpret.trained_network import Trained
from lenet.records import atomic_files
from lenet.rounding import percent
from lenet.terminal import Said
from lenet.training import data as datasets
from lenet.training.data import Data

CALIBRATED, CHUNK = 1000, 500  # training images, and images at a time


def write_int8(net: Trained, path: Path | None, data_dir: str | None) -> Said:
    """Write the network quantised; the file, and the test errors of both."""
    try:
        from onnxruntime.quantization import QuantType, quantize_static
    except ImportError:
        raise Refusal(
            "int8 needs onnxruntime: pip install 'lenet[export]'", 3
        ) from None
    data = datasets.load_data(str(net.treatment["data"]), data_dir)
    if data.sha256 != net.record["data"]:
        raise Refusal(f"{net.name} was trained on another data set", 3)
    target = path or Path(f"{net.name}_int8.onnx")
    with tempfile.TemporaryDirectory() as folder, without_advice():
        whole = formats.write_network(net, "onnx", Path(folder) / "whole.onnx")
        small = Path(folder) / "small.onnx"
        quantize_static(
            whole,
            small,
            Calibration(data),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        errors = {"float32": onnx_error(whole, data), "int8": onnx_error(small, data)}
        sizes = {"float32": whole.stat().st_size, "int8": small.stat().st_size}
        atomic_files.replace(target, small.read_bytes())
    said = ", ".join(
        f"{form} {percent(error)} in {sizes[form] / 1e3:,.0f} kB"
        for form, error in errors.items()
    )
    text = f"{target}\nmisread of {len(data.test_labels):,} test images: {said}"
    about = {"files": [str(target)], "test_error": errors, "bytes": sizes}
    return Said(text.replace("% ", " % "), about)


@contextlib.contextmanager
def without_advice() -> Iterator[None]:
    """onnxruntime advises another graph, twice; what this one costs is measured."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


class Calibration:
    """Training images for onnxruntime, which asks for one batch after the other."""

    def __init__(self, data: Data) -> None:
        chosen, _ = data.split(min(CALIBRATED, len(data.train_images)), 0)
        self.batches = onnx_batches(data.train_images[chosen])

    def get_next(self) -> dict[str, Any] | None:
        """The next batch, None after the last."""
        return next(self.batches, None)


def onnx_batches(images: Tensor) -> Iterator[dict[str, Any]]:
    """The images as onnxruntime takes them."""
    for batch in images.split(CHUNK):
        pixels = batch.cpu().numpy()[:, None].astype(np.float32) / 255
        yield {"images": pixels}


def onnx_error(path: Path, data: Data) -> float:
    """The share of the test images that an ONNX file misreads."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    answers = [
        session.run(None, batch)[0].argmax(-1)
        for batch in onnx_batches(data.test_images)
    ]
    return float((np.concatenate(answers) != data.test_labels.cpu().numpy()).mean())
