"""Verified uint8 tensors of a data set: a run never sees a wrong image.

The idx files of MNIST, Fashion-MNIST and KMNIST lie in torchvision's folder layout
under data_dir (or LENET_DATA, or the folder data); where there are none, torchvision
downloads them. `digits` is scikit-learn's and needs no file. All of it is one tensor
on the device, so that a batch is one gather.
"""

import contextlib
import gzip
import hashlib
import io
import os
import tempfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from lenet import file_lock
from lenet.config import Refusal, check_split
from lenet.known_data import DIGITS_SHA256, SHA256, TRAINING
from lenet.known_data import FILES as FILES  # of this module too
from lenet.known_data import FOLDERS as FOLDERS
from lenet.training import draws, own_data
from lenet.training.loops.sizes import PICTURE_SIDE, PICTURE_SIZE
from lenet.training.own_data import Arrays

HTTPS = {
    "mnist": "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "fashion_mnist": "https://raw.githubusercontent.com/zalandoresearch/"
    "fashion-mnist/master/data/fashion/",
    "kmnist": "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
}
LARGEST = (
    16 + 60_000 * PICTURE_SIZE
)  # bytes of a file, unpacked or not: no bomb is read on
FAILURES = (OSError, RuntimeError, ValueError, Refusal)  # of a download


@dataclass(frozen=True)
class Data:
    """A data set on a device, pixels 0 (background) to 255, and what identifies it."""

    name: str
    train_images: UInt8[Tensor, "train 28 28"]
    train_labels: Int64[Tensor, "train"]
    test_images: UInt8[Tensor, "test 28 28"]
    test_labels: Int64[Tensor, "test"]
    sha256: str
    classes: int = 10

    def split(self, train_size: int | None, validation_size: int) -> tuple[Tensor, ...]:
        """Indices of the training and validation images.

        One fixed permutation serves every run: validation takes its last images and
        training its first ones, so no image is ever in both.
        """
        count = len(self.train_images)
        check_split(self.name, count, train_size, validation_size)
        rest = count - validation_size
        keys = draws.fold(draws.stream([0], "split"), torch.arange(count))
        permutation = keys.argsort(stable=True).to(self.train_images.device)
        size = rest if train_size is None else train_size
        return permutation[:size].sort().values, permutation[rest:].sort().values


def load_data(
    name: str, data_dir: str | None, device: torch.device | str = "cpu"
) -> Data:
    """The data set by its name in conf/data, verified; downloads it where missing.

    Images are uint8 as [image, 28, 28], 0 for background, labels int64 as [image].
    data_dir: the folder of the files; None for LENET_DATA or, without that, `data`.

    A Refusal (3) of files that are missing and cannot be downloaded, are damaged or are
    not the published ones; of one's own images (`folder`, `idx`), also where there are
    none, or labels do not fit them, and (2) where there is no data_dir.

    >>> digits = load_data("digits", None)
    >>> digits.train_images.shape, digits.test_labels[:3].tolist()
    (torch.Size([1297, 28, 28]), [5, 5, 1])
    """
    if name in ("folder", "idx") and not data_dir:
        raise Refusal(f"data={name} needs data_dir=<the folder of your images>")
    root = Path(data_dir or os.environ.get("LENET_DATA") or "data")
    *arrays, classes = READERS[name](name, root)
    text = "".join(sha256(array) for array in arrays)
    digest = hashlib.sha256(text.encode()).hexdigest()
    if name == "digits" and digest != DIGITS_SHA256:
        raise Refusal(
            f"scikit-learn's digits are not the ones expected: SHA-256 {digest}, "
            f"expected {DIGITS_SHA256}; reinstall scikit-learn",
            3,
        )
    train, train_labels, test, test_labels = (
        torch.from_numpy(array.copy()).to(device) for array in arrays
    )
    labels = train_labels.long(), test_labels.long()
    return Data(name, train, labels[0], test, labels[1], digest, classes)


def sha256(array: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> str:
    """The SHA-256 of an array's bytes, as text."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def mnist_files(name: str, root: Path) -> Arrays:
    """The four arrays of an MNIST-like data set, each one verified."""
    folder = data_folder(name, root)
    if not all(data_file(folder, file) for file in FILES):
        download(name, root)
    train, train_labels, test, test_labels = (
        read_idx(folder, file, expected, name)
        for file, expected in zip(FILES, SHA256[name], strict=True)
    )
    return Arrays(train, train_labels, test, test_labels, 10)


def data_folder(name: str, root: Path) -> Path:
    """The folder of the files: torchvision's, or, of MNIST, wherever below or above it
    all four are, since their content says whether they are MNIST's."""
    folder = root / FOLDERS[name] / "raw"
    if name != "mnist":
        return folder
    others = (folder, root / "raw", root / FOLDERS[name], root)
    whole = (tried for tried in others if all(data_file(tried, file) for file in FILES))
    return next(whole, folder)


def data_file(folder: Path, file: str) -> Path | None:
    """The file, plain or compressed, under one of its usual names, if it is there."""
    return own_data.own_file(folder, file)


def read_idx(folder: Path, file: str, expected: str, name: str) -> "np.ndarray":
    """One idx file as an array; a Refusal (3) if it is not the published one."""
    path = data_file(folder, file)
    assert path is not None
    packed = folder / f"{file}.gz"
    if name != "mnist" and not packed.is_file():
        raise Refusal(
            f"{path} cannot be verified without {packed.name} beside it: what is "
            f"published is the hash of the compressed file; delete {path.name} to "
            "download it again",
            3,
        )
    path = path if name == "mnist" else packed
    try:
        with path.open("rb") as opened:
            content = opened.read(LARGEST + 1)
        decoded = content
        if path.suffix == ".gz":
            decoded = gzip.GzipFile(fileobj=io.BytesIO(content)).read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise Refusal(
            f"{path} cannot be read ({error}), SHA-256 expected {expected}: delete it "
            "to download it again, or point data_dir= or LENET_DATA to a good copy",
            3,
        ) from None
    header = 16 if "images" in file else 8
    body = np.frombuffer(decoded, np.uint8, offset=min(header, len(decoded)))
    hashed = sha256(body) if name == "mnist" else hashlib.sha256(content).hexdigest()
    if hashed != expected:
        raise Refusal(
            f"{path} is not {FOLDERS[name]}'s {file}: {len(content):,} bytes, SHA-256 "
            f"{hashed}, expected {expected}; delete it to download it again, or point "
            "data_dir= or LENET_DATA to a good copy",
            3,
        )
    return body.reshape(-1, PICTURE_SIDE, PICTURE_SIDE) if header == 16 else body


def download(name: str, root: Path) -> None:
    """Fetch a data set's files over https; one process does, the others wait."""
    folder = root / FOLDERS[name] / "raw"
    try:
        made = [place for place in (root, *root.parents) if not place.exists()]
        root.mkdir(parents=True, exist_ok=True)
        locked = root / f".{name}.lock"
        handle = file_lock.take_lock(locked, wait=True)
        assert handle is not None  # it was waited for
        try:
            if not all(data_file(folder, file) for file in FILES):
                try:
                    fetch(name, root)
                except FAILURES:
                    fetch(name, root)  # what came damaged comes again
        finally:
            file_lock.free(locked, handle)
            with contextlib.suppress(OSError):  # what holds something stays
                for place in made:
                    place.rmdir()
    except FAILURES as error:
        reason = str(error).strip().split("\n")[-1]
        raise Refusal(
            f"{name} is not in {folder.absolute()} and cannot be downloaded "
            f"({reason}). Point data_dir= or LENET_DATA to a folder that has "
            f"{FOLDERS[name]}/raw/{FILES[0]}, or train with data=digits, which "
            "needs no download",
            3,
        ) from None


def fetch(name: str, root: Path) -> None:
    """Have torchvision fetch the files into a folder of their own, and move those that
    are missing into place once all have been verified."""
    from torchvision import datasets  # seconds to import, and only needed here

    source = getattr(datasets, FOLDERS[name])
    secure = type(FOLDERS[name], (source,), {"mirrors": [HTTPS[name]]})
    folder = root / FOLDERS[name] / "raw"
    with tempfile.TemporaryDirectory(dir=root, prefix=f".{name}-") as place:
        secure(place, download=True)
        fetched = Path(place) / FOLDERS[name] / "raw"
        for file, expected in zip(FILES, SHA256[name], strict=True):
            read_idx(fetched, file, expected, name)
        folder.mkdir(parents=True, exist_ok=True)
        for file in FILES:
            for path in fetched.glob(f"{file}*") if not data_file(folder, file) else ():
                os.replace(path, folder / path.name)


def scanned_digits(name: str, root: Path) -> Arrays:
    """scikit-learn's 1,797 scanned digits as MNIST images, in a fixed split.

    Each 8x8 scan (0 to 16) is enlarged bilinearly to 20x20 and placed in 28x28 with
    its centre of mass in the middle, as MNIST was made (paper, p. 9), in integers, so
    that every machine gets the same bytes.
    """
    from sklearn.datasets import load_digits

    scans, labels = load_digits(return_X_y=True)
    scans, labels = scans.reshape(-1, 8, 8).astype(np.int64), labels.astype(np.uint8)
    weights = enlargement()
    large = np.einsum("yi,nij,xj->nyx", weights, scans, weights)  # 0 to 1600
    images = np.stack([centred(image * 255 // 1600) for image in large])
    keys = draws.fold(draws.stream([0], "digits"), torch.arange(len(images)))
    order = keys.argsort(stable=True).numpy()
    images, labels = images[order].astype(np.uint8), labels[order]
    train, test = slice(None, TRAINING["digits"]), slice(TRAINING["digits"], None)
    return Arrays(images[train], labels[train], images[test], labels[test], 10)


def enlargement() -> "np.ndarray":
    """Weights in tenths [20, 8] of bilinear interpolation from 8 to 20 samples."""
    weights = np.zeros((20, 8), np.int64)
    for to in range(20):
        tenths = min(max(4 * to - 3, 0), 70)  # the sample's place, in tenths of a pixel
        low, part = divmod(tenths, 10)
        weights[to, low] += 10 - part
        weights[to, min(low + 1, 7)] += part
    return weights


def centred(image: "np.ndarray") -> "np.ndarray":
    """A 20x20 image in 28x28, its centre of mass (rounded) at row and column 14."""
    placed = np.zeros((28, 28), np.int64)
    mass, at = image.sum(), np.arange(20)
    top = 14 - int((2 * (image.sum(1) @ at) + mass) // (2 * mass))
    left = 14 - int((2 * (image.sum(0) @ at) + mass) // (2 * mass))
    top, left = min(max(top, 0), 8), min(max(left, 0), 8)
    placed[top : top + 20, left : left + 20] = image
    return placed


# What reads a data set of conf/data: from its name and data_dir, what is in it.
READERS: dict[str, Callable[[str, Path], Arrays]] = {
    "mnist": mnist_files,
    "fashion_mnist": mnist_files,
    "kmnist": mnist_files,
    "digits": scanned_digits,
    "emnist_digits": own_data.emnist,
    "emnist_letters": own_data.emnist,
    "qmnist": own_data.qmnist,
    "idx": own_data.idx_files,
    "folder": own_data.picture_folder,
}
