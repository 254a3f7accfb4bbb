"""Images, labels and classes, checked once for every entrance.

What a network would misread is refused with what was found; the rest becomes the one
form that everything inside takes: floats in [0, 1], [n, 28, 28] for all runs of a stack
or [run, n, 28, 28], and classes as int64 [run, n].
"""

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from lenet.config import Refusal
from lenet.training import draws
from lenet.training.loops.sizes import PICTURE_SIDE

PACE = 2.5  # radii that the steps of plain PGD add up to (Madry et al., 2018)
SHAPES = "[28, 28], [n, 28, 28] or [n, 1, 28, 28]"
INTEGERS = (
    *(torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.uint16, torch.uint32, torch.uint64),
)


def random_indices(count: int, of: int) -> Int64[Tensor, "image"]:
    """Which images of a test set are attacked or probed: the same in every study.

    The first 5,000 test images of MNIST are harder than the rest: networks of the
    modern preset err on 0.91 and 0.33 % of the two halves (outputs/modern, n = 24).
    """
    if not 1 <= count <= of:
        raise Refusal(f"images={count} is out of range: there are {of:,}")
    order = draws.fold(draws.stream([0], "attacked"), torch.arange(of)).argsort()
    return order[:count].sort().values


def checked_images(
    images: Any, runs: int = 1, like: Tensor | None = None
) -> Float[Tensor, "*run n 28 28"]:
    """The images as floats in [0, 1], one batch for all runs or one per run.

    images: a tensor, an array or nested lists, [28, 28], [n, 28, 28], [n, 1, 28, 28];
    for a stack of several `runs` also [run, n, 28, 28] and [run, n, 1, 28, 28]. Floats
    in [0, 1] stay as they are, bytes are divided by 255; a Refusal for all else.
    like: a tensor of the network, whose type and device they get.
    """
    like = torch.empty(0) if like is None else like
    shaped = without_channel(as_tensor(images, "images"), runs)
    if not shaped.numel():
        raise Refusal("there are no images: give at least one")
    if shaped.dtype == torch.uint8:
        shaped = shaped.to(like) / 255
    if not shaped.is_floating_point():
        raise Refusal(
            f"images are {shaped.dtype}: give bytes (uint8), or floats in [0, 1]"
        )
    low, high = shaped.min().item(), shaped.max().item()
    if not 0 <= low <= high <= 1:  # also where one is no number
        raise Refusal(f"pixels lie in [{low:.3g}, {high:.3g}]: {misread(low, high)}")
    if (border_median(shaped) > 0.5).double().mean() > 0.5:
        warnings.warn(
            "most images have a light border: LeNet reads light ink on black, 0; if "
            "these are dark on white give 1 - images",
            stacklevel=3,
        )
    return shaped.to(like)


def without_channel(pixels: Tensor, runs: int) -> Tensor:
    """The pixels as [n, 28, 28] or [run, n, 28, 28]."""
    shape = list(pixels.shape)
    if shape[-2:] != [PICTURE_SIDE, PICTURE_SIDE] or len(shape) > 5:
        raise Refusal(f"images have the shape {shape}: give {SHAPES}")
    if len(shape) == 2:
        return pixels[None]
    if len(shape) == 3:
        return pixels
    if len(shape) == 4 and shape[0] != runs and shape[1] == 1:
        return pixels[:, 0]
    if len(shape) == 4 and shape[1] == 1 and runs > 1:
        raise Refusal(
            f"images have the shape {shape}, in a stack of {runs} runs: is that an "
            f"image for each run, or {runs} for all? Give [n, 28, 28] for all, or "
            "[run, n, 1, 28, 28]"
        )
    if len(shape) == 5 and shape[2] == 1:
        pixels = pixels[:, :, 0]
    elif len(shape) == 5:
        raise Refusal(f"images have the shape {shape}: give [run, n, 1, 28, 28]")
    if len(pixels) != runs:
        raise Refusal(
            f"images for {len(pixels)} runs, but the stack has {runs}: give {SHAPES}"
        )
    return pixels


def misread(low: float, high: float) -> str:
    """What to do about pixels that are no shares of full ink."""
    if not low <= high:
        return "some are no number"
    if low < 0:
        return "the network normalises them itself; give pixels in [0, 1]"
    if high <= 255:
        return "give images / 255"
    return "give pixels in [0, 1]"


def border_median(images: Tensor) -> Tensor:
    """The median of each image's outermost pixels."""
    rows, columns = images[..., [0, -1], :], images[..., 1:-1, [0, -1]]
    return torch.cat([rows.flatten(-2), columns.flatten(-2)], -1).median(-1).values


def checked_classes(
    classes: Any, images: Tensor, count: int, runs: int = 1, what: str = "classes"
) -> Int64[Tensor, "run n"]:
    """Classes or labels as one for each run and image.

    classes: whole numbers of any type, [] for all, [n] for all runs, or [run, n]; from
    0, of so many as `count`. images: as `checked_images` returns them.
    """
    tensor = as_tensor(classes, what)
    n = images.shape[-3]
    if tensor.dtype not in INTEGERS:
        raise Refusal(f"{what} are {tensor.dtype}: give whole numbers")
    tensor = tensor.to(torch.int64).to(images.device)
    if tuple(tensor.shape) not in ((), (n,), (runs, n)):
        raise Refusal(
            f"{what} have the shape {list(tensor.shape)}: give one number, [{n}], "
            f"a class for each image, or [{runs}, {n}]"
        )
    if tensor.numel() and not 0 <= tensor.min() <= tensor.max() < count:
        low, high = int(tensor.min()), int(tensor.max())
        raise Refusal(f"{what} lie in {low} to {high}: they are 0 to {count - 1}")
    return tensor.expand(runs, n)


def checked_labels(
    labels: Any, images: Tensor, count: int, what: str = "labels"
) -> Int64[Tensor, "n"]:
    """One label for each image, as `checked_classes` takes them for one run."""
    return checked_classes(labels, images, count, what=what)[0]


def as_tensor(values: Any, what: str) -> Tensor:
    """Lists, numbers and arrays as a tensor; a tensor as it is."""
    if isinstance(values, Tensor):
        return values
    arrays = (np.ndarray, np.generic, Sequence, int, float)
    if not isinstance(values, arrays) or isinstance(values, str | bytes):
        raise Refusal(
            f"{what} are a {type(values).__name__}: give a tensor or an array"
        )
    try:
        return torch.from_numpy(np.ascontiguousarray(values).reshape(np.shape(values)))
    except (TypeError, ValueError) as problem:
        raise Refusal(f"{what} are no array of numbers: {problem}") from None


@contextlib.contextmanager
def gradients(model: nn.Module) -> Iterator[None]:
    """Gradients are recorded in here, also for a caller in inference mode.

    His tensors are to be cloned in here first. A Refusal if the network itself was made
    in inference mode: it can have none.
    """
    if any(weight.is_inference() for weight in model.parameters()):
        raise Refusal(
            "the network was made under torch.inference_mode() and has no gradients: "
            "load it outside"
        )
    with torch.inference_mode(False), torch.enable_grad():
        yield
