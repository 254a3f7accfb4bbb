"""A run never sees a wrong image: verified files, or a message that says what to do."""

import gzip
import hashlib
import os
import time
import tracemalloc
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from lenet.config import Refusal, names
from lenet.training import data as datasets
from lenet.training.data import FILES, FOLDERS, HTTPS, SHA256, Data, load_data

IMAGES, LABELS = FILES[:2]
HEADERS = (16, 8, 16, 8)  # bytes before the content of an idx file


def made_up(count: int, seed: int) -> tuple[bytes, bytes]:
    """An idx file of images and one of labels."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 28, 28), np.uint8).tobytes()
    labels = rng.integers(0, 10, count, np.uint8).tobytes()
    size = count.to_bytes(4, "big")
    sides = (28).to_bytes(4, "big") * 2
    return b"\0\0\x08\x03" + size + sides + images, b"\0\0\x08\x01" + size + labels


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a made-up data set in MNIST's place, whose hashes are published."""
    contents = (*made_up(50, seed=0), *made_up(30, seed=1))
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for file, content in zip(FILES, contents, strict=True):
        (folder / file).write_bytes(content)
    bodies = [
        content[header:] for content, header in zip(contents, HEADERS, strict=True)
    ]
    hashes = tuple(hashlib.sha256(body).hexdigest() for body in bodies)
    monkeypatch.setitem(SHA256, "mnist", hashes)
    return tmp_path


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every address that is asked for; none answers."""
    asked: list[str] = []

    def refuse(request: urllib.request.Request, *rest: object, **more: object) -> None:
        asked.append(request.full_url)
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    return asked


def refusal(name: str, root: Path) -> str:
    """The message with which damaged or missing data is refused, with code 3."""
    with pytest.raises(Refusal) as caught:
        load_data(name, str(root))
    assert caught.value.code == 3
    return str(caught.value)


def test_idx_files_become_tensors(root: Path) -> None:
    """Images are [image, 28, 28] bytes as in the file, labels whole numbers."""
    data = load_data("mnist", str(root))
    content = (root / "MNIST" / "raw" / IMAGES).read_bytes()[16:]
    assert data.train_images.numpy().tobytes() == content
    assert data.train_images.shape == (50, 28, 28)
    assert data.test_images.shape == (30, 28, 28)
    assert data.test_labels.dtype == torch.int64
    labels = (root / "MNIST" / "raw" / LABELS).read_bytes()[8:]
    assert data.train_labels.tolist() == list(labels)


def test_compressed_files_are_the_same_data(root: Path) -> None:
    """A .gz file is as good as the plain one, and gives the same identity."""
    plain = load_data("mnist", str(root))
    for file in FILES:
        path = root / "MNIST" / "raw" / file
        path.with_name(f"{file}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    assert load_data("mnist", str(root)).sha256 == plain.sha256


def test_identity_depends_on_the_content(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another pixel, if it were published, is another data set."""
    before = load_data("mnist", str(root)).sha256
    path = root / "MNIST" / "raw" / IMAGES
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    changed = hashlib.sha256(content[16:]).hexdigest()
    monkeypatch.setitem(SHA256, "mnist", (changed, *SHA256["mnist"][1:]))
    assert load_data("mnist", str(root)).sha256 != before


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def shift_labels(content: bytes) -> bytes:
    return content[:8] + content[9:] + content[8:9]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "truncated": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "bit-flipped": flip,
    "empty": lambda content: b"",
    "header only": lambda content: content[:8],
    "an HTML page": lambda content: b"<!DOCTYPE html><html>404</html>",
    "black": lambda content: content[:16] + bytes(len(content) - 16),
    "shifted": shift_labels,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
def test_damaged_file_is_refused(root: Path, file: str, damage: str) -> None:
    """A damaged file is refused with its path, both SHA-256 and what to do."""
    path = root / "MNIST" / "raw" / file
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    body = path.read_bytes()[16 if "images" in file else 8 :]
    message = refusal("mnist", root)
    assert str(path) in message
    assert hashlib.sha256(body).hexdigest() in message
    assert SHA256["mnist"][FILES.index(file)] in message
    assert "delete it" in message
    assert "LENET_DATA" in message


@pytest.mark.parametrize("damage", ["truncated", "bit-flipped", "empty", "black"])
def test_damaged_compressed_file_is_refused(root: Path, damage: str) -> None:
    """A .gz file that cannot be decoded is refused, not a traceback."""
    path = root / "MNIST" / "raw" / IMAGES
    packed = path.with_name(f"{IMAGES}.gz")
    packed.write_bytes(DAMAGES[damage](gzip.compress(path.read_bytes())))
    path.unlink()
    message = refusal("mnist", root)
    assert str(packed) in message
    assert SHA256["mnist"][0] in message


@pytest.mark.parametrize("damage", ["truncated", "bit-flipped", "black", "shifted"])
@pytest.mark.parametrize("file", FILES[2:])
def test_damaged_mnist_is_refused(
    mnist: Data, tmp_path: Path, file: str, damage: str
) -> None:
    """An edit of the real MNIST is refused, also one of the right size."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for name in FILES:
        source = datasets.data_file(
            Path(os.environ["LENET_DATA"]) / "MNIST" / "raw", name
        )
        assert source is not None
        (folder / source.name).symlink_to(source)
    path = datasets.data_file(folder, file)
    assert path is not None
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(DAMAGES[damage](content))
    message = refusal("mnist", tmp_path)
    assert str(path) in message
    assert SHA256["mnist"][FILES.index(file)] in message


def test_mnist_is_mnist(mnist: Data) -> None:
    """60,000 and 10,000 images; the first training image is the well-known five."""
    assert mnist.train_images.shape == (60_000, 28, 28)
    assert mnist.test_images.shape == (10_000, 28, 28)
    assert mnist.train_labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert mnist.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert mnist.train_labels.bincount()[5] == 5421
    assert round(mnist.train_images.double().mean().item() / 255, 4) == 0.1307


@pytest.mark.parametrize("name", ["fashion_mnist", "kmnist"])
def test_published_hash_of_the_compressed_file_is_checked(
    name: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The .gz files of the others are verified as they are published."""
    (root / "MNIST").rename(root / FOLDERS[name])
    folder = root / FOLDERS[name] / "raw"
    for file in FILES:
        packed = gzip.compress((folder / file).read_bytes(), mtime=0)
        (folder / f"{file}.gz").write_bytes(packed)
    files = [(folder / f"{file}.gz").read_bytes() for file in FILES]
    hashes = tuple(hashlib.sha256(content).hexdigest() for content in files)
    assert SHA256[name][0] in refusal(name, root)
    monkeypatch.setitem(SHA256, name, hashes)
    assert load_data(name, str(root)).name == name
    (folder / IMAGES).write_bytes(b"not read: only the .gz file can be verified")
    assert len(load_data(name, str(root)).train_images) == 50
    (folder / f"{IMAGES}.gz").unlink()
    assert f"{IMAGES}.gz" in refusal(name, root)


def test_no_data_and_no_network_is_one_clear_message(
    tmp_path: Path, no_network: list[str]
) -> None:
    """It says where the files are looked for, and that digits need no download."""
    message = refusal("mnist", tmp_path / "empty")
    assert str(tmp_path / "empty" / "MNIST" / "raw") in message
    assert "data=digits" in message
    assert "LENET_DATA" in message
    assert "no network" in message
    assert "\n" not in message
    assert no_network


@pytest.mark.parametrize("name", FOLDERS)
def test_download_is_https_only(
    name: str, tmp_path: Path, no_network: list[str]
) -> None:
    """Nothing is asked for over anything but https."""
    refusal(name, tmp_path)
    assert no_network
    assert all(address.startswith("https://") for address in no_network)
    assert no_network[0].startswith(HTTPS[name])


@pytest.fixture
def server(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The first file of `root` is missing; its downloads give these contents in turn,
    beside the other files as they are."""
    import torchvision

    raw = root / "MNIST" / "raw"
    whole = (raw / IMAGES).read_bytes()
    others = {file: (raw / file).read_bytes() for file in FILES[1:]}
    (raw / IMAGES).unlink()
    answers = [whole]

    def fetch(self: torchvision.datasets.MNIST) -> None:
        time.sleep(0.05)
        place = Path(self.raw_folder)
        place.mkdir(parents=True)
        for file, content in {**others, IMAGES: answers.pop(0)}.items():
            (place / file).write_bytes(content)

    monkeypatch.setattr(torchvision.datasets.MNIST, "download", fetch)
    monkeypatch.setattr(torchvision.datasets.MNIST, "_load_data", lambda self: (0, 0))
    return answers


def left(root: Path) -> list[str]:
    """The files in the place of the data set, and what else there is beside it."""
    beside = [path.name for path in root.iterdir()]
    return sorted([*beside, *(p.name for p in (root / "MNIST" / "raw").iterdir())])


def test_missing_file_is_downloaded(root: Path, server: list[bytes]) -> None:
    """It is verified and moved into place, and nothing else is left."""
    assert len(load_data("mnist", str(root)).train_images) == 50
    assert left(root) == sorted(["MNIST", *FILES])


def test_download_that_fails_leaves_nothing(
    tmp_path: Path, no_network: list[str]
) -> None:
    """No folder and no lock, but what was there before."""
    refusal("mnist", tmp_path / "new" / "deep")
    refusal("mnist", tmp_path)
    assert no_network and not list(tmp_path.iterdir())


def test_file_that_unpacks_without_end_is_read_no_further(root: Path) -> None:
    """A gigabyte of zeros in a megabyte is refused as any wrong file is."""
    raw = root / "MNIST" / "raw"
    (raw / IMAGES).unlink()
    with gzip.open(raw / f"{IMAGES}.gz", "wb", compresslevel=1) as file:
        for _ in range(1000):
            file.write(bytes(1_000_000))
    tracemalloc.start()
    assert "SHA-256" in refusal("mnist", root)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 300_000_000


def test_damaged_download_is_fetched_again(root: Path, server: list[bytes]) -> None:
    """Once; what comes damaged twice is refused, and never has the name of a file."""
    (whole,) = server
    server[:] = [whole[:1000], flip(whole)]
    assert "SHA-256" in refusal("mnist", root)
    assert left(root) == sorted(["MNIST", *FILES[1:]])
    server[:] = [flip(whole), whole]
    assert len(load_data("mnist", str(root)).train_images) == 50
    assert left(root) == sorted(["MNIST", *FILES]) and not server


def test_eight_at_once_download_once(root: Path, server: list[bytes]) -> None:
    """One fetches, the others wait for it; a second fetch would find no answer."""
    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(lambda _: load_data("mnist", str(root)), range(8)))
    assert [len(data.train_images) for data in loaded] == [50] * 8


def test_data_dir_beats_the_variable_which_beats_the_default(
    root: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[str]
) -> None:
    """data_dir, else LENET_DATA, else the folder data."""
    monkeypatch.setenv("LENET_DATA", str(root / "nothing"))
    assert len(load_data("mnist", str(root)).train_images) == 50
    monkeypatch.setenv("LENET_DATA", str(root))
    assert len(load_data("mnist", None).train_images) == 50
    monkeypatch.delenv("LENET_DATA")
    monkeypatch.chdir(root)
    with pytest.raises(Refusal, match="/data/MNIST/raw"):
        load_data("mnist", None)


def test_every_level_of_data_can_be_loaded() -> None:
    """conf/data lists the data sets that the code knows, and no other."""
    assert set(names("data")) == datasets.READERS.keys()
    assert FOLDERS.keys() == SHA256.keys() == HTTPS.keys()
    assert all(len(set(hashes)) == len(FILES) for hashes in SHA256.values())


def test_digits_need_no_file_and_no_network(
    tmp_path: Path, no_network: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """data=digits reads nothing from data_dir and asks nobody."""
    monkeypatch.chdir(tmp_path)
    load_data("digits", str(tmp_path / "nothing"))
    assert not no_network
    assert not list(tmp_path.iterdir())


def test_digits_have_a_fixed_split(digits: Data) -> None:
    """1,297 training and 500 test images, every class in both, the same each time."""
    assert digits.train_images.shape == (1297, 28, 28)
    assert digits.test_images.shape == (500, 28, 28)
    assert digits.sha256 == datasets.DIGITS_SHA256
    again = load_data("digits", None)
    assert torch.equal(again.train_images, digits.train_images)
    assert torch.equal(again.test_labels, digits.test_labels)
    for labels in (digits.train_labels, digits.test_labels):
        counts = labels.bincount()
        assert len(counts) == 10
        assert counts.min() > 0.07 * len(labels)


def test_digits_are_all_of_scikit_learns_with_their_labels(digits: Data) -> None:
    """The labels of train and test together are scikit-learn's, and pairs stay pairs.

    Two images that every eye can tell: a zero is hollow in its middle, a one is not.
    """
    from sklearn.datasets import load_digits

    labels = torch.cat([digits.train_labels, digits.test_labels])
    _, expected = load_digits(return_X_y=True)
    assert sorted(labels.tolist()) == sorted(expected.tolist())
    images = torch.cat([digits.train_images, digits.test_images]).double()
    middle = images[:, 12:16, 13:15].mean((1, 2))
    assert middle[labels == 0].mean() < 50
    assert middle[labels == 1].mean() > 150


def test_nearest_mean_recognises_digits(digits: Data) -> None:
    """Labels belong to their images: the nearest class mean is right for 8 in 10."""
    train, test = digits.train_images.double(), digits.test_images.double()
    means = torch.stack([train[digits.train_labels == c].mean(0) for c in range(10)])
    nearest = torch.cdist(test.flatten(1), means.flatten(1)).argmin(1)
    assert (nearest == digits.test_labels).double().mean() > 0.8


def test_digits_are_centred(digits: Data) -> None:
    """The centre of mass of each image is within half a pixel of the middle."""
    images = torch.cat([digits.train_images, digits.test_images]).double()
    mass, at = images.sum((1, 2)), torch.arange(28.0, dtype=torch.float64)
    for axis in (1, 2):
        centre = (images.sum(3 - axis) @ at) / mass
        assert (centre - 14).abs().max() <= 0.5
    assert images.max() <= 255
    assert images.amax((1, 2)).min() > 150


def test_other_digits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scikit-learn with other digits is refused with both hashes."""
    monkeypatch.setattr(datasets, "DIGITS_SHA256", "0" * 64)
    with pytest.raises(Refusal, match="0" * 64) as caught:
        load_data("digits", None)
    assert caught.value.code == 3


@pytest.mark.parametrize(("train_size", "held_out"), [(None, 0), (None, 297), (5, 7)])
def test_split_is_disjoint_and_fixed(
    digits: Data, train_size: int | None, held_out: int
) -> None:
    """No image is both trained on and held out; the sizes are what was asked for."""
    train, validation = digits.split(train_size, held_out)
    expected = 1297 - held_out if train_size is None else train_size
    assert (len(train), len(validation)) == (expected, held_out)
    assert len({*train.tolist(), *validation.tolist()}) == expected + held_out
    again = digits.split(train_size, held_out)
    assert torch.equal(train, again[0])
    assert torch.equal(validation, again[1])


def test_smaller_training_set_is_part_of_the_larger(digits: Data) -> None:
    """Training on fewer images means some of the same images."""
    small, large = digits.split(50, 100)[0], digits.split(500, 100)[0]
    assert set(small.tolist()) < set(large.tolist())


@pytest.mark.parametrize(
    ("train_size", "held_out"), [(1298, 0), (None, 1297), (1, 1300)]
)
def test_split_that_does_not_fit_is_refused(
    digits: Data, train_size: int | None, held_out: int
) -> None:
    """More images than there are: refused, naming both keys and the count."""
    with pytest.raises(
        Refusal, match=r"train_size=.*validation_size=.*1,297"
    ) as caught:
        digits.split(train_size, held_out)
    assert caught.value.code == 2
