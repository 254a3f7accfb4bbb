"""Networks of one's own pictures: read, attacked, looked into, for any number of
classes, by their names."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from figure_texts import content
from PIL import Image

import lenet
from lenet import train
from lenet.commands import attack, export, interpret, page, predict, robustness, sweep
from lenet.config import Refusal, composed
from lenet.figures import attack_picture, interpretation_maps, robustness_chart
from lenet.interpret import robustness as attacks
from lenet.interpret import smallest_radii, trained_network
from lenet.interpret.adversarial import adversarial
from lenet.interpret.images import checked_classes
from lenet.interpret.layer_outputs import class_count
from lenet.interpret.trained_network import Trained
from lenet.records import own_pictures, store
from lenet.training import data as datasets
from lenet.training.model import LeNet5

PETS = ("cat", "dog", "owl")
LINE = ["data=folder", "epochs=6", "batch_size=8", "augmentation=none", "device=cpu"]
SMALL = ["probe.train=100", "probe.test=50", "probe.attack_steps=1", "sae.steps=5"]
SMALL += ["sae.train=100", "sae.test=50", "sae.active=[2]", "sae.penalty=[1]"]
SMALL += ["saliency.nodes=2", "saliency.samples=2", "sanity.images=2", "sanity.steps=1"]


def barred(root: Path, classes: tuple[str, ...], count: int, paper: bool) -> Path:
    """A folder of pictures per class, a bar whose height tells the class; dark ink on
    paper, or light ink on black."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for at in range(count):
            image = rng.integers(0, 60, (40, 32), np.uint8)
            image[:, [0, -1]] = image[[0, -1]] = 0
            row = 40 * (2 * number + 1) // (2 * len(classes))
            image[row - 1 : row + 2, 2:-2] = 255
            picture = 255 - image if paper else image
            Image.fromarray(picture).save(root / name / f"{at:02}.png")
    return root


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with pictures of three classes on paper, and two networks of them."""
    place = tmp_path_factory.mktemp("pets")
    barred(place / "pictures", PETS, 42, paper=True)
    train.train_missing(*composed([*LINE, "replicates=2", *where(place)]))
    return place


def where(place: Path) -> list[str]:
    """Where the pictures and the runs are, as typed."""
    return [f"data_dir={place / 'pictures'}", f"output_dir={place / 'outputs'}"]


@pytest.fixture
def run(pets: Path) -> str:
    """The id of the first network."""
    return store.finished_runs(str(pets / "outputs"))[0]


@pytest.fixture
def net(pets: Path, run: str) -> Trained:
    """The first network."""
    return lenet.load(run, output_dir=str(pets / "outputs"))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the pictures say that commands draw while a test runs."""
    texts: list[str] = []

    def heard(make):
        def wrapper(*arguments, **named):
            figure = make(*arguments, **named)
            texts.append(content(figure))
            return figure

        return wrapper

    for module, names in (
        (interpretation_maps, ("layers", "ten_digits", "latents", "gallery")),
        (interpretation_maps, ("confusion_matrix",)),
        (attack_picture, ("attack_picture",)),
        (robustness_chart, ("atlas_chart",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, heard(getattr(module, name)))
    return texts


def test_record_names_the_classes_and_says_that_all_were_inverted(
    pets: Path, tmp_path: Path
) -> None:
    """By their folders; not where there are none, and not of digits."""
    for record in store.finished_records(str(pets / "outputs")):
        assert record["class_names"] == [*PETS] and record["inverted"] is True
    barred(tmp_path / "train", PETS, 2, paper=False)
    barred(tmp_path / "test", PETS, 1, paper=False)
    split = datasets.load_data("folder", str(tmp_path))
    assert own_pictures.recorded_data(split, str(tmp_path)) == ([*PETS], False)
    digits = own_pictures.recorded_data(datasets.load_data("digits", None), None)
    assert digits == (None, None)
    known = {"treatment": {"data": "emnist_letters"}, "classes": 26}
    assert own_pictures.class_names(known)[7] == "H"
    assert own_pictures.class_names({"treatment": {"data": "mnist"}})[9] == "9"
    unnamed = {"treatment": {"data": "idx"}, "classes": 12}
    assert own_pictures.class_names(unnamed)[11] == "11"


def test_a_picture_is_read_as_training_read_it(pets: Path, net: Trained) -> None:
    """Each test picture by its file gives the bytes that were tested on, so that the
    recorded error is that of `predict`; also as a PIL image."""
    data = datasets.load_data("folder", str(pets / "pictures"))
    expected = {image.numpy().tobytes() for image in data.test_images}
    expected |= {image.numpy().tobytes() for image in data.train_images}
    files = sorted((pets / "pictures").rglob("*.png"))
    seen = [net.predict(path) for path in files]
    assert {answer.picture.tobytes() for answer in seen} == expected
    assert (
        np.mean([s.name == p.parent.name for s, p in zip(seen, files, strict=True)])
        > 0.9
    )
    again = net.predict(Image.open(files[0]))
    assert np.array_equal(again.picture, seen[0].picture)
    assert again.names == PETS and len(again.shares) == 3


@pytest.mark.parametrize(("inverted", "sees"), [(True, 0), (False, 255), (None, 0)])
def test_all_or_no_pictures_are_inverted(
    net: Trained, inverted: bool | None, sees: int
) -> None:
    """As recorded, whatever the picture's border; by that alone in older records."""
    record = {k: v for k, v in net.record.items() if k != "inverted"}
    record |= {} if inverted is None else {"inverted": inverted}
    older = Trained(net.name, record, net.model)
    white = np.full((28, 28), 255, np.uint8)
    assert (older.predict(white).picture == sees).all()


def test_predict_says_the_name(
    pets: Path, run: str, capsys: pytest.CaptureFixture[str], drawn: list[str]
) -> None:
    """In words, in the figure and for programs; a digit stays a digit."""
    picture = pets / "pictures" / "dog" / "03.png"
    result = predict.main([str(picture), f"run={run}", where(pets)[1]])
    assert result.text.startswith(f"{picture}: dog (")
    (entry,) = result.data["pictures"]
    assert (entry["label"], entry["name"], "digit" in entry) == (1, "dog", False)
    assert "make of a dog: the network says dog" in drawn[0]
    assert entry["files"] == [str(picture.with_name("03_layers.svg"))]  # no new picture


@pytest.mark.slow
def test_attack_is_aimed_by_name(pets: Path, run: str, drawn: list[str]) -> None:
    """At any other class; by number too, and not beyond the last."""
    typed = [f"run={run}", *where(pets), "steps=3"]
    assert len(attack.main(typed).data["files"]) == 2
    assert "label cat" in drawn[0] and "FGSM, to " in drawn[0]
    for target in ("owl", "2"):
        attack.main([*typed, f"target={target}", "attack=fgsm"])
        assert "FGSM, to owl: goal" in drawn[-1]
    for target, says in (("3", "it is 0 to 2"), ("cat", "is the label of image 0")):
        with pytest.raises(Refusal, match=says):
            attack.main([*typed, f"target={target}"])


@pytest.mark.slow
def test_every_method_looks_into_k_classes(
    pets: Path, run: str, drawn: list[str]
) -> None:
    """Figures and tables, in which classes have their names and no digit is said."""
    result = interpret.main([f"run={run}", *where(pets), *SMALL])
    stems = {Path(file).stem for file in result.data["files"]}
    assert {"layers", "saliency", "gradcam", "latents", "confusion"} <= stems
    assert {"probes", "sae", "sanity", "mistakes"} <= stems
    assert len(drawn) == 6
    assert not [text for text in drawn if "digit" in text.lower()]
    assert any("owl as owl" in text for text in drawn)


@pytest.mark.slow
def test_robustness_is_of_all_other_classes(
    pets: Path, tmp_path: Path, drawn: list[str]
) -> None:
    """A study of a folder is carried out, drawn and attacked, and its atlas has every
    pair of classes."""
    design = tmp_path / "own.yaml"
    base = "preset: modern, data: folder, augmentation: none, epochs: 2, batch_size: 8"
    design.write_text(
        f"kind: one_factor\nbase: {{{base}, replicates: 2}}\n"
        "factors:\n  activation: [tanh]\n"
    )
    output = tmp_path / "outputs"
    places = [where(pets)[0], f"output_dir={output}"]
    sweep.main([f"design={design}", *places, "workers=1"])
    assert (output / "own" / "report.html").is_file()
    typed = ["study=own", *places, "effort=smoke", "epsilon=[0,0.1]"]
    robustness.main(typed)
    atlas = (output / "own" / "robustness_smoke_epsilon_0_0.1_atlas.csv").read_text()
    pairs = {tuple(line.split(",")[1:3]) for line in atlas.splitlines()[1:]}
    assert pairs == {(a, b) for a in "012" for b in "012" if a != b}
    assert any(f"{name} becomes " in drawn[-1] for name in PETS)


@pytest.mark.parametrize("classes", [2, 3, 26, 200])
def test_attacks_and_checks_follow_the_head(classes: int) -> None:
    """Labels and targets up to the last class; the atlas has all others as targets."""
    levels = {"activation": "relu", "pooling": "max", "connection": "full"}
    model = LeNet5(1, **levels, norm="none", head="softmax", classes=classes)
    numbers = torch.full((1,), 0.4), torch.full((1,), 0.1)
    model.initialise([0], ["kaiming"], *numbers)
    model.eval()
    assert (
        class_count(model)
        == attacks.told_apart(model, torch.zeros(1, 28, 28))
        == classes
    )
    images = torch.rand(2, 28, 28)
    last = torch.tensor([0, classes - 1])
    found = adversarial(model, images, last, epsilon=0.1, steps=2)
    assert found.logits.shape[-1] == classes
    with pytest.raises(Refusal, match=f"they are 0 to {classes - 1}"):
        adversarial(model, images, last + 1, epsilon=0.1)
    with pytest.raises(Refusal, match=f"targets lie in {classes} to {classes}"):
        adversarial(model, images, last, epsilon=0.1, target=classes)
    with pytest.raises(Refusal, match=f"they are 0 to {classes - 1}"):
        checked_classes(last + 1, images, classes)
    if classes < 26:
        effort = attacks.EFFORTS["smoke"]
        table = smallest_radii.atlas(model, images, last, None, effort, 0.2)
        assert len(table) == 2 * (classes - 1)
        assert (table["source"] != table["target"]).all()


@pytest.mark.slow
def test_auto_attack_takes_k_classes() -> None:
    """With as many targets as there are other classes."""
    pytest.importorskip("pyautoattack", reason="the extra robust is not installed")
    levels = {"activation": "relu", "pooling": "max", "connection": "full"}
    for classes in (2, 3, 5):
        model = LeNet5(1, **levels, norm="none", head="softmax", classes=classes)
        numbers = torch.full((1,), 0.4), torch.full((1,), 0.1)
        model.initialise([0], ["kaiming"], *numbers)
        model.eval()
        images = torch.rand(1, 28, 28)
        label = model(images).argmax(-1)[0]

        def single(images: torch.Tensor, model: LeNet5 = model) -> torch.Tensor:
            return model(images[:, 0])[0]

        assert not attacks.auto_attack(single, images, label, 0.5).any()


@pytest.mark.slow
def test_many_classes_are_drawn() -> None:
    """200 classes: no tick for each, no overlap."""
    names = tuple(f"class number {i}" for i in range(200))
    maps = {"output": np.arange(200.0)}
    rng = np.random.default_rng(0)
    for name, shape in {
        "C1": (6, 28, 28), "S2": (6, 14, 14), "C3": (16, 10, 10), "S4": (16, 5, 5),
        "C5": (120,), "F6": (84,), "C1 kernels": (6, 1, 5, 5),
        "C3 kernels": (16, 6, 5, 5),
    }.items():  # fmt: skip
        maps[name] = rng.normal(size=shape)
    figure = interpretation_maps.layers(maps, np.eye(28), 7, names=names)
    said = content(figure)
    assert "make of a class number 7: the network says class number 199" in said


def test_what_is_of_ten_digits_is_refused(pets: Path, run: str) -> None:
    """The page and the formats that state what ten digits need."""
    with pytest.raises(Refusal, match="of ten classes"):
        page.main([f"runs=[{run}]", *where(pets)])
    with pytest.raises(Refusal, match="of ten classes"):
        export.main([f"run={run}", where(pets)[1], "format=c"])


@pytest.mark.slow
def test_export_in_whole_numbers_is_of_k_classes(
    pets: Path, run: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the errors on its own test images, not on others; without advice."""
    for name in ("onnxruntime", "onnxscript"):
        pytest.importorskip(name, reason="the extra export is not installed")
    typed = [f"run={run}", where(pets)[1], "format=onnx_int8", f"to={tmp_path / 'n'}"]
    result = export.main([*typed, where(pets)[0]])
    assert "misread of 18 test images" in result.text
    assert "pre-processing" not in capfd.readouterr().err
    other = barred(tmp_path / "other", PETS, 10, paper=True)
    with pytest.raises(Refusal, match="was trained on another data set"):
        export.main([*typed, f"data_dir={other}"])


def test_names_come_with_an_export(pets: Path, run: str, tmp_path: Path) -> None:
    """The file says how many logits there are, and of what."""
    path = tmp_path / "pets.safetensors"
    export.main([f"run={run}", where(pets)[1], "format=safetensors", f"to={path}"])
    size = int.from_bytes(path.read_bytes()[:8], "little")
    about = json.loads(path.read_bytes()[8 : 8 + size])["__metadata__"]
    assert "[n, 3]" in about["output"] and "owl" in about["classes"]
    assert trained_network.load("modern").class_names == tuple("0123456789")
