"""A trained network as an object: images of any kind in, classes out.

net = load("modern")            published with lenet; or a run id, or a folder
net(images)                     logits [n, class]
net.predict("seven.png")        Prediction: 7 (99.9 %), then 1 (0.1 %)
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from safetensors.torch import load as load_tensors
from torch import Tensor

from lenet.config import Refusal
from lenet.interpret import drawing
from lenet.interpret.images import checked_images
from lenet.records import atomic_files, run_record, store
from lenet.records.own_pictures import OWN, class_names
from lenet.records.record_types import Record
from lenet.records.run_record import test_error
from lenet.rounding import percent
from lenet.training import own_data
from lenet.training.model import STRUCTURE, LeNet5

if TYPE_CHECKING:
    from PIL.Image import Image

SHOWN = 3  # classes that a prediction names at most


@dataclass(frozen=True)
class Prediction:
    """What a network reads in one picture.

    label: the number of the likeliest class; shares: the softmax of its logits, by
    class; names: what the classes are called (the digits' are "0" to "9"); picture:
    what it saw, 28x28 bytes, light ink on black. Printed, it names the likeliest three.
    """

    label: int
    shares: tuple[float, ...]
    names: tuple[str, ...]
    picture: npt.NDArray[np.uint8]

    @property
    def digit(self) -> int:
        """The label of a network that reads digits."""
        return self.label

    @property
    def name(self) -> str:
        """What the likeliest class is called."""
        return self.names[self.label]

    @property
    def ranked(self) -> list[tuple[int, float]]:
        """Every class by its number with its share, the likeliest first."""
        return sorted(enumerate(self.shares), key=lambda pair: (-pair[1], pair[0]))

    def __str__(self) -> str:
        ranked = self.ranked[:SHOWN]
        named = [f"{self.names[i]} ({percent(share, 1)})" for i, share in ranked]
        return f"{named[0]}, then {', '.join(named[1:])}".replace("%", " %")


@dataclass(frozen=True)
class Trained:
    """One trained network: its `model`, a stack of one run, and that run's record."""

    name: str
    record: Record = field(repr=False)
    model: LeNet5 = field(repr=False)

    @property
    def treatment(self) -> Mapping[str, Any]:
        """The levels and numbers that it was trained with."""
        return dict(self.record["treatment"])

    @property
    def test_error(self) -> float:
        """Its share of misread test images, as it was recorded."""
        return test_error(self.record)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What its classes are called, by their numbers."""
        return class_names(self.record)

    @cached_property
    def like(self) -> Tensor:
        """A tensor of the network, whose type and device images get."""
        return self.model.input.scale

    @torch.no_grad()
    def __call__(self, images: Any) -> Float[Tensor, "n class"]:
        """The logits of images as `images.checked_images` takes them: [n, 28, 28] in
        [0, 1] or bytes, light ink on black.

        >>> load("modern")(np.zeros((5, 28, 28))).shape
        torch.Size([5, 10])
        """
        return self.model(checked_images(images, 1, self.like))[0]

    @torch.no_grad()
    def activations(self, images: Any) -> dict[str, Tensor]:
        """What every layer gives, [n, ...], by the paper's names: C1 to F6, output.

        >>> layers = load("modern").activations(np.zeros((5, 28, 28)))
        >>> [tuple(layers[name].shape) for name in ("C1", "S4", "F6")]
        [(5, 6, 28, 28), (5, 16, 5, 5), (5, 84)]
        """
        seen = self.model.activations(checked_images(images, 1, self.like))
        return {layer: values[0] for layer, values in seen.items()}

    def predict(
        self, image: "str | PathLike[str] | Image | npt.ArrayLike"
    ) -> Prediction:
        """What it reads in a picture of any size, dark on light or light on dark.

        image: a file, a PIL image, or an array [height, width] or [height, width,
        colour] of bytes, or of floats in [0, 1]. It is scaled and centred as MNIST's
        were, or, for a network of one's own pictures, as those were; a Refusal if it
        cannot be read, or, of digits, is blank.

        >>> sheet = np.full((90, 90), 255, np.uint8)  # white
        >>> sheet[20:75, 42:49] = 0  # an upright stroke
        >>> load("modern").predict(sheet).digit
        1
        >>> load("modern").predict(np.full((90, 90), 255, np.uint8))
        Traceback (most recent call last):
        lenet.config.Refusal: the picture is blank: there is no digit in it
        """
        own = str(self.record["treatment"]["data"]) in OWN
        seen = self.as_own(image) if own else drawing.as_mnist(grey(image))
        shares = self(seen[None])[0].double().softmax(-1)
        label = int(shares.argmax())
        return Prediction(label, tuple(shares.tolist()), self.class_names, seen)

    def as_own(self, image: Any) -> npt.NDArray[np.uint8]:
        """A picture as the ones of data=folder or data=idx were made 28x28 in training.

        They were inverted all or none; where no record says which, a light border does.
        """
        if isinstance(image, str | PathLike):
            seen = own_data.as_image(Path(image))
        else:
            seen = own_data.fitted(grey(image))
        light = bool(np.median(own_data.border(seen[None])) > 127)
        return 255 - seen if self.record.get("inverted", light) else seen


def load(name: str, output_dir: str = "outputs") -> Trained:
    """The trained network of this name.

    name: published with lenet (`store.networks()`), a run's folder, or the first
    letters of the id of a run in output_dir, which may also be one whose weights a
    study publishes. A Refusal says what there is, or (4) that a file was changed.

    >>> net = load("modern")
    >>> net.treatment["activation"], net.test_error
    ('relu', 0.0063)
    """
    if name in store.networks():
        return assembled(name, store.PUBLISHED / f"{name}.json")
    if (Path(name) / "model.safetensors").is_file():
        return assembled(Path(name).name, Path(name) / "record.json")

    record = store.select(name, output_dir)
    return Trained(
        record["run_id"], record, run_record.load_stack([record], output_dir)
    )


def assembled(name: str, path: Path) -> Trained:
    """A network from its record and the weights beside it; the record's seal and the
    weights' hash are checked first."""
    record, own = store.read_record(path), path.with_suffix(".safetensors")
    content = (own if own.exists() else path.parent / "model.safetensors").read_bytes()
    if hashlib.sha256(content).hexdigest() != record["weights"]:
        raise Refusal(f"{name}: the weights are not those of its record", 4)
    levels = {key: record["treatment"][key] for key in STRUCTURE}
    model = LeNet5(1, **levels, classes=int(record.get("classes", 10)))
    model.load_state_dict(
        {key: tensor[None] for key, tensor in load_tensors(content).items()}
    )
    return Trained(name, record, model.eval())


def publish_network(name: str, record: Record, weights: bytes) -> list[Path]:
    """Put a network into the package under a name; the files."""
    if hashlib.sha256(weights).hexdigest() != record["weights"]:
        raise Refusal(f"{name}: these are not the weights of run {record['run_id']}", 4)
    paths = [
        store.PUBLISHED / f"{name}{suffix}" for suffix in (".json", ".safetensors")
    ]
    atomic_files.replace(paths[0], json.dumps(record, indent=1).encode())
    atomic_files.replace(paths[1], weights)
    return paths


def grey(image: Any) -> npt.NDArray[np.uint8]:
    """The bytes [height, width] of a picture, colours as luminance, what is transparent
    as white."""
    from PIL import Image, UnidentifiedImageError

    if isinstance(image, Tensor):
        image = image.detach().cpu().numpy()
    if isinstance(image, str | PathLike):
        try:
            with Image.open(image) as opened:
                opened.load()
                return luminance(opened)
        except UnidentifiedImageError:
            raise Refusal(
                f"{image} is no picture that can be read: give a PNG"
            ) from None
        except OSError as problem:
            reason = problem.strerror or str(problem)
            raise Refusal(f"{image} cannot be read: {reason}") from None
    if isinstance(image, Image.Image):
        return luminance(image)
    return luminance(Image.fromarray(as_bytes(np.asarray(image))))


def luminance(picture: "Image") -> npt.NDArray[np.uint8]:
    """The bytes of a PIL image, on white where it is transparent."""
    from PIL import Image, ImageOps

    turned = ImageOps.exif_transpose(picture)
    if turned.mode.startswith("I;16") or turned.mode in ("I", "F"):
        # 16 bits and more have no one white: the darkest becomes 0, the lightest 255.
        values = np.asarray(turned, dtype=np.float64)
        spread = float(np.ptp(values)) or 1.0
        return np.round((values - values.min()) / spread * 255).astype(np.uint8)
    if "A" in turned.getbands() or "transparency" in turned.info:
        turned = turned.convert("RGBA")
        white = Image.new("RGBA", turned.size, (255, 255, 255, 255))
        turned = Image.alpha_composite(white, turned)
    return np.asarray(turned.convert("L"))


def as_bytes(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """An array [height, width] or [height, width, colour] as bytes; a Refusal if it is
    no picture."""
    shape = list(values.shape)
    if values.ndim == 3 and shape[0] == 1:
        values = values[0]
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    colours = values.ndim == 3 and values.shape[2] in (3, 4)
    if not values.size or not (values.ndim == 2 or colours):
        raise Refusal(
            f"a picture has the shape {shape}: give [height, width], with 3 or 4 "
            "colours in a last axis if there are some"
        )
    if values.dtype == np.uint8:
        return values
    if values.dtype == np.bool_:
        return np.where(values, 255, 0).astype(np.uint8)
    if not np.issubdtype(values.dtype, np.floating):
        raise Refusal(f"a picture has {values.dtype} pixels: give bytes, or 0 to 1")
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= 1:
        raise Refusal(f"pixels lie in [{low:.3g}, {high:.3g}]: give bytes, or 0 to 1")
    return np.round(values * 255).astype(np.uint8)
