"""Anybody's images, EMNIST, QMNIST: read, made 28x28, identified by what they are."""

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lenet import train
from lenet.config import Places, Refusal, composed
from lenet.known_data import MD5, TRAINING
from lenet.records import run_record, store
from lenet.studies import study
from lenet.training import data as datasets
from lenet.training import own_data
from lenet.training.model import LeNet5

QUICK = ("epochs=1", "batch_size=8", "augmentation=none", "device=cpu")


def idx(array: "np.ndarray") -> bytes:
    """An idx file, written as its description says (LeCun's page of MNIST)."""
    kind = {"uint8": 8, "int32": 12}[array.dtype.name]
    sides = b"".join(side.to_bytes(4, "big") for side in array.shape)
    body = array.astype(array.dtype.newbyteorder(">")).tobytes()
    return bytes([0, 0, kind, array.ndim]) + sides + body


def made_up(count: int, seed: int, side: int = 28) -> "np.ndarray":
    """Images of noise, dark at their border."""
    images = np.random.default_rng(seed).integers(0, 256, (count, side, side), np.uint8)
    images[:, [0, -1]] = 0
    images[:, :, [0, -1]] = 0
    return images


def save(folder: Path, files: dict[str, "np.ndarray"]) -> None:
    """The arrays as idx files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in files.items():
        (folder / name).write_bytes(idx(array))


def refusal(name: str, root: Path) -> str:
    """The message with which such data is refused."""
    with pytest.raises(Refusal) as caught:
        datasets.load_data(name, str(root))
    return str(caught.value)


def pictures(root: Path, classes: str = "abc", count: int = 14, side: int = 28) -> Path:
    """A folder of pictures per class: a bright bar whose place tells the class."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for at in range(count):
            image = rng.integers(0, 60, (side, side), np.uint8)
            image[:, [0, -1]] = 0
            image[[0, -1]] = 0
            row = side * (2 * number + 1) // (2 * len(classes))
            image[row - 1 : row + 2, 2:-2] = 255
            Image.fromarray(image).save(root / name / f"{at:02}.png")
    return root


def test_folders_become_classes(tmp_path: Path) -> None:
    """Pictures of 28x28 as they are; one in seven of each class tests; the hash is that
    of the arrays."""
    data = datasets.load_data("folder", str(pictures(tmp_path / "p")))
    assert data.classes == 3
    assert data.train_images.shape == (36, 28, 28)
    assert data.test_labels.tolist() == [0, 0, 1, 1, 2, 2]
    every = {image.numpy().tobytes() for image in data.train_images}
    every |= {image.numpy().tobytes() for image in data.test_images}
    files = {np.asarray(Image.open(p)).tobytes() for p in tmp_path.rglob("*.png")}
    assert every == files
    arrays = (data.train_images.numpy(), data.train_labels.numpy().astype(np.uint8))
    tests = (data.test_images.numpy(), data.test_labels.numpy().astype(np.uint8))
    parts = [hashlib.sha256(a.tobytes()).hexdigest() for a in (*arrays, *tests)]
    assert data.sha256 == hashlib.sha256("".join(parts).encode()).hexdigest()


def test_train_and_test_are_as_they_lie(tmp_path: Path) -> None:
    """Where there are two folders, nothing is drawn."""
    for part, count in (("train", 5), ("test", 2)):
        pictures(tmp_path / part, "xy", count)
    data = datasets.load_data("folder", str(tmp_path))
    assert (len(data.train_labels), len(data.test_labels)) == (10, 4)
    assert data.train_labels.tolist() == [0] * 5 + [1] * 5


def test_pictures_of_any_size_and_paper_become_digits(tmp_path: Path) -> None:
    """Colour, transparency, a size of one's own, and dark ink on white: scaled to 28
    with their shape kept, and light on black."""
    for name, column in (("l", 20), ("r", 60)):
        (tmp_path / name).mkdir()
        for at in range(8):
            sheet = np.full((120, 80, 4), 255, np.uint8)
            sheet[30:90, column - 5 : column + 5, :3] = at
            sheet[:10, :10, 3] = 0  # transparent
            Image.fromarray(sheet, "RGBA").save(tmp_path / name / f"{at}.png")
    data = datasets.load_data("folder", str(tmp_path))
    left = data.train_images[data.train_labels == 0].float().mean(0)
    right = data.train_images[data.train_labels == 1].float().mean(0)
    assert int(left[14].argmax()) < 12 and int(right[14].argmax()) > 16
    assert left[:, :4].max() < 10 and left.max() > 200 and left[0].max() < 10
    columns = torch.arange(28).float()
    centre = float((left.sum(0) * columns).sum() / left.sum())
    assert centre == pytest.approx(4 + 20 * 19 / 80 - 0.5, abs=0.2)  # 19 of 28 columns


def test_four_idx_files_of_ones_own(tmp_path: Path) -> None:
    """Of another size, with k classes, plain, compressed or by their other names."""
    images, labels = made_up(30, 0, side=20), np.arange(30, dtype=np.uint8) % 4
    files = {"train-images.idx3-ubyte": images, "train-labels-idx1-ubyte": labels}
    save(tmp_path, files | {"test-images-idx3-ubyte": images[:8]})
    packed = gzip.compress(idx(labels[:8]))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(packed)
    data = datasets.load_data("idx", str(tmp_path))
    assert (data.classes, data.train_images.shape) == (4, (30, 28, 28))
    assert data.test_labels.tolist() == [0, 1, 2, 3] * 2


def small_emnist(root: Path, monkeypatch: pytest.MonkeyPatch) -> "np.ndarray":
    """EMNIST's letters, 52 and 26 of them, in torchvision's layout."""
    monkeypatch.setitem(TRAINING, "emnist_letters", 52)
    images, labels = made_up(52, 0), np.tile(np.arange(1, 27, dtype=np.uint8), 2)
    for part, count in (("train", 52), ("test", 26)):
        files = {
            "images-idx3-ubyte": images[:count],
            "labels-idx1-ubyte": labels[:count],
        }
        stem = f"emnist-letters-{part}"
        save(root / "EMNIST" / "raw", {f"{stem}-{k}": v for k, v in files.items()})
    return images


def test_emnist_is_turned_and_letters_begin_at_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its authors say: images lie transposed in the files, A is 1."""
    images = small_emnist(tmp_path, monkeypatch)
    data = datasets.load_data("emnist_letters", str(tmp_path))
    assert data.classes == 26 and data.train_labels.tolist() == [*range(26)] * 2
    assert np.array_equal(data.train_images.numpy(), images.transpose(0, 2, 1))
    path = tmp_path / "EMNIST" / "raw" / "emnist-letters-test-labels-idx1-ubyte"
    path.write_bytes(idx(np.full(26, 30, np.uint8)))
    assert "the labels are 0 to 29" in refusal("emnist_letters", tmp_path)


def test_qmnist_reads_the_first_of_its_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row of eight numbers each; a compressed file is held against its MD5."""
    monkeypatch.setitem(TRAINING, "qmnist", 20)
    labels = np.zeros((20, 8), np.int32)
    labels[:, 0], labels[:, 1] = np.arange(20) % 10, 77
    for part in ("train", "test"):
        files = {"images-idx3-ubyte": made_up(20, 1), "labels-idx2-int": labels}
        save(tmp_path / "QMNIST" / "raw", {f"qmnist-{part}-{k}": v
                                           for k, v in files.items()})  # fmt: skip
    data = datasets.load_data("qmnist", str(tmp_path))
    assert data.test_labels.tolist() == [*range(10)] * 2
    path = tmp_path / "QMNIST" / "raw" / "qmnist-test-labels-idx2-int"
    packed = gzip.compress(path.read_bytes())
    path.with_name(f"{path.name}.gz").write_bytes(packed)
    path.unlink()
    assert "is not QMNIST's: MD5 " in refusal("qmnist", tmp_path)
    monkeypatch.setitem(MD5, path.name, hashlib.md5(packed).hexdigest())
    assert datasets.load_data("qmnist", str(tmp_path)).sha256 == data.sha256


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("idx", lambda p: None, "data=idx: .*train-images-idx3-ubyte is not there"),
        ("folder", lambda p: None, "has 0 folders of pictures"),
        ("folder", lambda p: pictures(p, "a"), "has 1 folders of pictures"),
        ("folder", lambda p: (pictures(p), (p / "a" / "x.png").write_text("<html>")),
         "x.png is no picture that can be read"),
        ("qmnist", lambda p: None, "from torchvision.datasets import QMNIST"),
        ("emnist_digits", lambda p: None, "split='digits', download=True"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused(
    name: str, change: Callable[[Path], object], says: str, tmp_path: Path
) -> None:
    """With what is missing, and nothing left in the folder."""
    change(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(Refusal, match=says):
        datasets.load_data(name, str(tmp_path))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda whole: whole[:-1], "no idx file of the size that it says"),
        (lambda whole: b"<html>" + whole, "no idx file"),
        (lambda whole: b"", "no idx file"),
        (lambda whole: whole[:3] + b"\x09" + whole[4:], "no idx file"),
        (lambda whole: idx(np.zeros(29, np.uint8)), "differ in number: 30 and 29"),
        (lambda whole: idx(np.arange(30, dtype=np.int32) - 1), "the labels are -1 to"),
        (lambda whole: idx(np.arange(30, dtype=np.uint8) * 8), "of 2 to 200 classes"),
    ],
)
def test_damaged_idx_is_refused(
    damage: Callable[[bytes], bytes], says: str, tmp_path: Path
) -> None:
    """By its name and what is wrong."""
    images, labels = made_up(30, 0), np.arange(30, dtype=np.uint8) % 4
    files = dict(zip(own_data.FILES, (images, labels) * 2, strict=True))
    save(tmp_path, files)
    path = tmp_path / own_data.FILES[1]
    path.write_bytes(damage(path.read_bytes()))
    assert says in refusal("idx", tmp_path)


def test_mnist_is_found_under_its_other_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MNIST/raw itself as data_dir, `train-images.idx3-ubyte`, a folder of the file's
    name as Kaggle has it; no lock and no other file is left there."""
    images, labels = made_up(30, 0), np.arange(30, dtype=np.uint8) % 10
    files = dict(zip(datasets.FILES, (images, labels) * 2, strict=True))
    hashes = [hashlib.sha256(a.tobytes()).hexdigest() for a in files.values()]
    monkeypatch.setitem(datasets.SHA256, "mnist", tuple(hashes))
    usual, others = list(files), [name.replace("-idx", ".idx") for name in files]
    nested = [f"{dotted}/{name}" for dotted, name in zip(others, usual, strict=True)]
    for at, layout in enumerate((usual, others, nested)):
        place = tmp_path / str(at)
        for name, array in zip(layout, files.values(), strict=True):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(idx(array))
        before = sorted(place.rglob("*"))
        assert len(datasets.load_data("mnist", str(place)).train_labels) == 30
        assert sorted(place.rglob("*")) == before


def test_three_classes_are_learned_and_loaded_again(tmp_path: Path) -> None:
    """The head has three outputs; the record says so, is not called portable, since the
    compiled loops are of ten, and its weights give the error that it states."""
    root = pictures(tmp_path / "p", "abc", 42, side=40)
    line = [*QUICK, "epochs=8", "data=folder", f"data_dir={root}",
            f"output_dir={tmp_path / 'o'}", "replicates=2"]  # fmt: skip
    records = train.train_missing(*composed(line))
    assert [record["classes"] for record in records] == [3, 3]
    assert not any(run_record.portable(record) for record in records)
    assert max(record["response"]["test_error"] for record in records) < 0.2
    model, data = (
        run_record.load_stack(records, str(tmp_path / "o")),
        datasets.load_data("folder", str(root)),
    )
    assert model.output.weight.shape == (2, 3, 84)
    with torch.no_grad():
        answers = model(data.test_images / 255).argmax(-1)
    wrong = (answers != data.test_labels).double().mean(1).tolist()
    assert wrong == [record["response"]["test_error"] for record in records]
    assert [study.converged(record) for record in records] == [True, True]
    # by the hash of the pictures
    assert train.train_missing(*composed(line)) == records


def test_what_a_guess_errs_in_depends_on_the_classes() -> None:
    """0.8 of ten, and as large a share of a guess's error of two."""
    assert run_record.guessing({}) == run_record.guessing({"classes": 10}) == 0.8
    assert run_record.guessing({"classes": 2}) == pytest.approx(0.8 / 0.9 * 0.5)


def test_bitmaps_are_for_ten_classes(tmp_path: Path) -> None:
    """Refused by name: of letters when it is typed, of a folder before training."""
    with pytest.raises(Refusal, match="head=rbf has a drawing .* 26 classes"):
        composed(["data=emnist_letters", "head=rbf"])
    root, output = pictures(tmp_path / "p"), tmp_path / "o"
    line = [*QUICK, "data=folder", f"data_dir={root}", f"output_dir={output}"]
    with pytest.raises(Refusal, match="data=folder has 3 classes: say head=softmax"):
        train.train_missing(*composed([*line, "preset=paper"]))
    assert not output.exists()
    with pytest.raises(Refusal, match="data=folder needs data_dir="):
        train.train_missing(
            composed(["data=folder"])[0], Places(output_dir=str(output))
        )
    assert store.finished_runs(str(output)) == []


def test_every_optimizer_trains_k_classes(tmp_path: Path) -> None:
    """1998's second-order steps and an adversary too, through the plain loop."""
    root = pictures(tmp_path / "p", "ab")
    line = [*QUICK, "data=folder", f"data_dir={root}", f"output_dir={tmp_path / 'o'}"]
    for extra in (["preset=paper", "head=softmax", "optimizer.samples=10"],
                  ["adversary=fgsm", "adversary.held_out=4"]):  # fmt: skip
        (record,) = train.train_missing(*composed([*line, *extra]))
        assert record["status"] == "finished" and record["classes"] == 2
    levels = {"activation": "relu", "pooling": "max", "connection": "full"}
    model = LeNet5(1, **levels, norm="none", head="softmax", classes=26)
    assert model.output.weight.shape == (1, 26, 84)
