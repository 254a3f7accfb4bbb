"""Data sets of files that lenet does not fetch: EMNIST, QMNIST, and anybody's own.

`data=folder` reads a folder per class, `data=idx` four idx files. Of these no hash is
known beforehand: the arrays are, as for every data set, part of a run's identity by
their SHA-256. Whatever the images' size, they become 28x28, light on black: grey, the
longer side scaled to 28 (Lanczos' filter), the shorter one centred, with the median of
the image's border beside it; a set whose border is light, by the median over its
training images, is inverted as a whole.
"""

import gzip
import hashlib
import math
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from lenet.config import Refusal
from lenet.known_data import CLASSES, MD5, MOST_CLASSES, TRAINING
from lenet.training import draws
from lenet.training.loops.sizes import PICTURE_SIDE, PICTURE_SIZE

Bytes = npt.NDArray[np.uint8]
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm")
TEST_SHARE = 7  # where nothing says which images test: one in seven, as of MNIST
KINDS = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}  # of idx
LARGEST = 16 + 280_000 * PICTURE_SIZE  # bytes of a file, unpacked: no bomb is read on


class Arrays(NamedTuple):
    """Images [n, 28, 28] and labels [n] for training and test, and the classes."""

    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes
    classes: int


def names_of(file: str) -> list[str]:
    """How a file may be called: with a dot, compressed, in a folder of its name."""
    dotted = file.replace("-idx", ".idx")
    plain = [file, dotted, f"{file}/{file}", f"{dotted}/{dotted}", f"{dotted}/{file}"]
    return [*plain, f"{file}.gz", f"{dotted}.gz"]


def own_file(folder: Path, file: str) -> Path | None:
    """The file under one of its usual names, if it is there."""
    paths = (folder / name for name in names_of(file))
    return next((path for path in paths if path.is_file()), None)


def content(path: Path) -> bytes:
    """What is in a file, unpacked; a Refusal (3) if it cannot be read."""
    try:
        with path.open("rb") as file:
            if path.suffix == ".gz":
                whole = gzip.GzipFile(fileobj=file).read(LARGEST + 1)
            else:
                whole = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error) as problem:
        raise Refusal(
            f"{path} cannot be read ({problem}): put a good copy there", 3
        ) from None
    return whole


def idx(path: Path) -> "np.ndarray":
    """The array of an idx file; a Refusal (3) if it is none."""
    whole = content(path)
    head = whole[:4] if whole[:2] == b"\0\0" and len(whole) >= 4 else b"\0" * 4
    kind, sides = head[2], head[3]
    start = 4 + 4 * sides
    shape = [int.from_bytes(whole[4 * at : 4 * at + 4]) for at in range(1, sides + 1)]
    count, size = math.prod(shape), np.dtype(KINDS.get(kind, ">u1")).itemsize
    if kind not in KINDS or not sides or len(whole) != start + count * size:
        raise Refusal(
            f"{path} is no idx file of the size that it says ({len(whole):,} bytes): "
            "put a good copy there",
            3,
        )
    values: np.ndarray = np.frombuffer(whole, KINDS[kind], offset=start).reshape(shape)
    return values


def emnist(name: str, root: Path) -> Arrays:
    """EMNIST's digits or letters (Cohen et al., 2017), in torchvision's layout; its
    images lie on their side in the files, and are turned; A to Z are 0 to 25."""
    split = name.removeprefix("emnist_")
    folder = first_folder(
        root, "EMNIST", f"emnist-{split}-train-images-idx3-ubyte", name
    )
    read = [
        idx(needed(folder, f"emnist-{split}-{part}-{kind}", name))
        for part in ("train", "test")
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
    ]
    images = [array.transpose(0, 2, 1) for array in read[::2]]
    labels = [array.astype(np.int64) - (split == "letters") for array in read[1::2]]
    return arranged(images, labels, name)


def qmnist(name: str, root: Path) -> Arrays:
    """QMNIST (Yadav and Bottou, 2019), with all of MNIST's 60,000 test images, in
    torchvision's layout; compressed files are held against their published MD5."""
    folder = first_folder(root, "QMNIST", "qmnist-train-images-idx3-ubyte", name)
    images, labels = [], []
    for part in ("train", "test"):
        images.append(idx(verified(folder, f"qmnist-{part}-images-idx3-ubyte")))
        labels.append(idx(verified(folder, f"qmnist-{part}-labels-idx2-int"))[:, 0])
    return arranged(images, labels, name)


def verified(folder: Path, file: str) -> Path:
    """The file; if it is compressed, a Refusal (3) unless it is the published one."""
    path = needed(folder, file, "qmnist")
    if path.suffix == ".gz":
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        if digest != MD5[file]:
            raise Refusal(
                f"{path} is not QMNIST's: MD5 {digest}, expected {MD5[file]}", 3
            )
    return path


def first_folder(root: Path, folder: str, file: str, name: str) -> Path:
    """The folder that has a data set's first file; a Refusal (3) that says where files
    are looked for and how to get them."""
    for place in (root / folder / "raw", root / "raw", root / folder, root):
        if own_file(place, file):
            return place
    split = name.removeprefix("emnist_")
    got = {"QMNIST": ["what='train'", "what='test'"], "EMNIST": [f"split={split!r}"]}
    calls = [f"{folder}('{root}', {how}, download=True)" for how in got[folder]]
    program = f"from torchvision.datasets import {folder}; {'; '.join(calls)}"
    raise Refusal(
        f"{name} is not in {root.absolute()}: {folder}/raw/{file} is not there. "
        f'torchvision fetches it: python -c "{program}"; or point data_dir= or '
        "LENET_DATA to a folder that has it",
        3,
    )


def needed(folder: Path, file: str, name: str) -> Path:
    """The file; a Refusal (3) if it is not there."""
    path = own_file(folder, file)
    if path is None:
        raise Refusal(f"{name}: {folder / file} is not there, nor {file}.gz", 3)
    return path


FILES = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)


def idx_files(name: str, root: Path) -> Arrays:
    """Four idx files of one's own, by the names of MNIST's; `test` for t10k will do."""
    read = []
    for file in FILES:
        path = own_file(root, file) or own_file(root, file.replace("t10k", "test"))
        if path is None:
            listed = ", ".join(FILES)
            raise Refusal(
                f"data=idx: {root.absolute() / file} is not there; data_dir= is to "
                f"have {listed}, each plain or .gz, images and labels from 0 on",
                3,
            )
        read.append(idx(path))
    return arranged(read[::2], read[1::2], name)


def picture_folder(name: str, root: Path) -> Arrays:
    """A folder per class: train/<class>/<picture> and test/<class>/<picture>, or
    <class>/<picture>, of which one in seven tests, by a fixed draw for each class."""
    parts = [root / part for part in ("train", "test")]
    split = all(part.is_dir() for part in parts)
    classes = sorted(path.name for path in subfolders(parts[0] if split else root))
    images: list[list[Bytes]] = [[], []]
    labels: list[list[int]] = [[], []]
    for label, labelled in enumerate(classes):
        for at, part in enumerate(parts if split else [root]):
            pictures = [as_image(path) for path in picture_files(part / labelled)]
            chosen = np.full(len(pictures), at) if split else test_marks(len(pictures))
            for picture, place in zip(pictures, chosen, strict=True):
                images[place].append(picture)
                labels[place].append(label)
    if len(classes) < 2 or not all(map(len, images)):
        raise Refusal(
            f"data=folder: {root.absolute()} has {len(classes)} folders of pictures "
            f"({len(images[0])} to train, {len(images[1])} to test): it is to have "
            "train/<class>/<picture>.png and test/<class>/<picture>.png, or "
            "<class>/<picture>.png, of two classes or more",
            3,
        )
    arrays = [np.stack(some) for some in images]
    return arranged(arrays, [np.array(some) for some in labels], name)


def subfolders(place: Path) -> Iterator[Path]:
    """The folders in a folder that may be classes."""
    try:
        listed = sorted(place.iterdir())
    except OSError as problem:
        raise Refusal(f"data_dir={place}: {problem.strerror}", 3) from None
    return (
        path
        for path in listed
        if path.is_dir() and not path.name.startswith((".", "__"))
    )


def picture_files(place: Path) -> list[Path]:
    """The pictures in a folder and below it, by name."""
    every = sorted(place.rglob("*"))
    return [
        path for path in every if path.suffix.lower() in PICTURES and path.is_file()
    ]


def test_marks(count: int) -> "np.ndarray":
    """1 for the pictures of a class that test, 0 for those that train."""
    keys = draws.fold(draws.stream([0], "folder"), torch.arange(count))
    chosen = np.zeros(count, np.int64)
    chosen[keys.argsort(stable=True).numpy()[: -(-count // TEST_SHARE)]] = 1
    return chosen


def as_image(path: Path) -> Bytes:
    """A picture as bytes [height, width]: grey, what is transparent on white."""
    from PIL import Image

    try:
        with Image.open(path) as picture:
            colours = picture.convert("RGBA")
            clear = picture.has_transparency_data
            grey = picture.convert("L")
        if clear:
            sheet = Image.new("RGBA", colours.size, "white")
            grey = Image.alpha_composite(sheet, colours).convert("L")
        return fitted(np.asarray(grey))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as problem:
        raise Refusal(f"{path} is no picture that can be read: {problem}", 3) from None


def fitted(image: "np.ndarray") -> Bytes:
    """An image of any size in 28x28, as this module's text says; one of 28x28 as it is.

    What is added to the shorter side has the median of the image's own border, so that
    a set on white paper can be told and inverted as a whole.
    """
    from PIL import Image

    if image.shape == (PICTURE_SIDE, PICTURE_SIDE):
        return image.astype(np.uint8)
    scale = PICTURE_SIDE / max(image.shape)
    height, width = (max(1, round(scale * side)) for side in image.shape)
    small = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    background = np.median(border(image[None]))
    sheet = np.full((PICTURE_SIDE, PICTURE_SIDE), background, np.uint8)
    top, left = (PICTURE_SIDE - height) // 2, (PICTURE_SIDE - width) // 2
    sheet[top : top + height, left : left + width] = np.asarray(small)
    return sheet


def border(images: "np.ndarray") -> "np.ndarray":
    """The outermost pixels of images [n, height, width]."""
    rows, columns = images[:, [0, -1], :], images[:, :, [0, -1]]
    return np.concatenate([rows.reshape(-1), columns.reshape(-1)])


def arranged(
    images: Sequence["np.ndarray"], labels: Sequence["np.ndarray"], name: str
) -> Arrays:
    """The arrays of a data set, of one size and sense; a Refusal (3) if labels and
    images do not fit, or labels are not 0 to k - 1."""
    train, test = (sized(some, name) for some in images)
    if any(len(part) != len(marks) or marks.ndim != 1 or not len(part)
           for part, marks in zip((train, test), labels, strict=True)):  # fmt: skip
        counts = [
            f"{len(part)} and {len(marks)}"
            for part, marks in zip(images, labels, strict=True)
        ]
        raise Refusal(
            f"data={name}: images and labels differ in number: {'; '.join(counts)}", 3
        )
    every = np.unique(np.concatenate(labels))
    count = CLASSES.get(name, int(every[-1]) + 1)
    whole = np.array_equal(every, every.astype(np.int64))
    if (
        not whole
        or every[0] < 0
        or every[-1] >= count
        or not 2 <= count <= MOST_CLASSES
    ):
        raise Refusal(
            f"data={name}: the labels are {every[0]} to {every[-1]}: they are to be "
            f"whole numbers from 0, of 2 to {MOST_CLASSES} classes",
            3,
        )
    if TRAINING.get(name, len(train)) != len(train):
        raise Refusal(
            f"data={name}: {len(train):,} training images, and {TRAINING[name]:,} are "
            "published: put a good copy there",
            3,
        )
    if name in ("folder", "idx") and np.median(border(train)) > 127:
        print("note: dark on light: every image is inverted", file=sys.stderr)
        train, test = 255 - train, 255 - test
    answers = [marks.astype(np.uint8) for marks in labels]
    return Arrays(train, answers[0], test, answers[1], count)


def sized(images: "np.ndarray", name: str) -> Bytes:
    """Images [n, 28, 28] of images of any size."""
    if images.ndim != 3 or images.dtype != np.uint8:
        raise Refusal(
            f"data={name}: the images are {images.dtype} {images.shape}: they are to "
            "be bytes [n, height, width]",
            3,
        )
    if images.shape[1:] == (PICTURE_SIDE, PICTURE_SIDE):
        return np.ascontiguousarray(images)
    return np.stack([fitted(image) for image in images])
