"""A trained network by its name, and what it reads in whatever it is shown."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

import lenet
from lenet import config
from lenet.commands import predict
from lenet.config import Refusal
from lenet.interpret import trained_network
from lenet.interpret.trained_network import as_bytes, grey
from lenet.page.build import preset_runs
from lenet.records import run_record, store
from lenet.training.data import Data

KEYS: dict[str, Any] = {
    "data": "digits",
    "epochs": 1,
    "train_size": 64,
    "device": "cpu",
}


def seven(size: tuple[int, int] = (120, 90), light: bool = False) -> Image.Image:
    """A drawn 7, dark on white, or light on black."""
    ink, paper = (255, 0) if light else (20, 250)
    picture = Image.new("L", size, paper)
    wide, high = size
    line = [
        (0.3 * wide, 0.2 * high),
        (0.65 * wide, 0.2 * high),
        (0.4 * wide, 0.85 * high),
    ]
    ImageDraw.Draw(picture).line(line, fill=ink, width=max(2, high // 12))
    return picture


@pytest.fixture(scope="module", params=store.networks())
def net(request: pytest.FixtureRequest) -> trained_network.Trained:
    """Every network that comes with lenet."""
    return trained_network.load(request.param)


@pytest.mark.parametrize("size", [(28, 28), (40, 40), (300, 500), (900, 600)])
@pytest.mark.parametrize("light", [False, True])
def test_a_drawn_seven_is_a_seven(
    net: trained_network.Trained, size: tuple[int, int], light: bool
) -> None:
    """Of any size, dark on light or light on dark."""
    assert net.predict(seven(size, light)).digit == 7


def test_every_form_of_a_picture_is_the_same_picture(
    net: trained_network.Trained, tmp_path: Path
) -> None:
    """A path as text or Path, a PIL image in colour or with alpha, bytes, floats."""
    picture = seven()
    values = np.asarray(picture)
    picture.save(tmp_path / "seven.png")
    clear = Image.new("RGBA", picture.size, (0, 0, 0, 0))
    clear.putalpha(Image.fromarray(255 - values))
    forms: list[Any] = [tmp_path / "seven.png", str(tmp_path / "seven.png"), picture]
    forms += [picture.convert("RGB"), picture.convert("RGBA"), values, values / 255]
    forms += [values[..., None], values[None], np.stack([values] * 3, -1)]
    forms += [torch.from_numpy(values.copy())]
    wanted = net.predict(picture)
    for form in forms:
        assert np.array_equal(net.predict(form).picture, wanted.picture)
    assert net.predict(clear).digit == 7


def test_published_networks_read_what_their_records_say(
    net: trained_network.Trained, mnist: Data
) -> None:
    """Test digits right or wrong as when they were trained, but for one in 10,000: a
    tie may fall the other way."""
    with torch.no_grad():
        answers = [net(some).argmax(-1) for some in mnist.test_images.split(1000)]
    right = torch.cat(answers) == mnist.test_labels
    bits = lenet_bits(net)
    assert (right.numpy() == bits).mean() > 0.9998
    assert 1 - right.double().mean().item() == pytest.approx(net.test_error, abs=2e-4)


def lenet_bits(net: trained_network.Trained) -> "np.ndarray[Any, Any]":
    """Which test images a network read rightly, of its record."""
    from lenet.records import run_record

    return run_record.unpacked(net.record["right"], net.record["images"])


def test_layers_have_the_papers_names(net: trained_network.Trained) -> None:
    """C1 to F6 and the output, an image each; bytes are as good as shares."""
    images = torch.rand(3, 28, 28, generator=torch.Generator().manual_seed(0)) / 2
    seen = net.activations(images)
    assert list(seen) == ["C1", "S2", "C3", "S4", "C5", "F6", "output"]
    assert seen["C3"].shape == (3, 16, 10, 10)
    torch.testing.assert_close(seen["output"], net(images))
    whole = (images * 255).round().to(torch.uint8)
    torch.testing.assert_close(net(whole), net(whole / 255))
    with pytest.raises(Refusal, match="give images / 255"):
        net(whole.float())


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        (np.zeros((20, 20), np.uint8), "blank"),
        (np.zeros((2, 3, 4, 5), np.uint8), r"shape \[2, 3, 4, 5\]"),
        (np.zeros((0, 5), np.uint8), r"shape \[0, 5\]"),
        (np.zeros((5, 5), np.int64), "int64 pixels"),
        (np.full((5, 5), 30.0), r"lie in \[30, 30\]"),
        (np.full((5, 5), np.nan), r"lie in \[nan, nan\]"),
        ("nowhere.png", "nowhere.png cannot be read: No such file"),
        (__file__, "is no picture that can be read"),
    ],
)
def test_what_is_no_picture_is_refused(picture: Any, said: str) -> None:
    """With what was found."""
    with pytest.raises(Refusal, match=said):
        trained_network.load("modern").predict(picture)


def test_pictures_of_other_depths_keep_their_contrast() -> None:
    """16 bits, 1 bit, a palette, and a photograph that lies on its side."""
    values = np.asarray(seven())
    deep = Image.fromarray(values.astype(np.uint16) * 257)
    assert np.abs(grey(deep).astype(int) - values).max() <= 25  # stretched to the ends
    assert set(np.unique(grey(seven().convert("1")))) == {0, 255}
    assert grey(seven().convert("P")).shape == values.shape
    turned, stream = seven().rotate(90, expand=True), io.BytesIO()
    exif = Image.Exif()
    exif[274] = 6  # orientation: to be turned clockwise
    turned.save(stream, "PNG", exif=exif)
    with Image.open(stream) as opened:
        assert np.array_equal(grey(opened), values)
    assert as_bytes(values > 128).max() == 255


def test_run_is_found_again_and_loaded(tmp_path: Path) -> None:
    """lenet.run trains once; lenet.load takes the start of its id, or its folder."""
    place = str(tmp_path / "a b")
    record = lenet.run("optimizer=adam", seed=3, output_dir=place, **KEYS)
    assert record["seed"] == 3 and record["treatment"]["optimizer"] == "adam"
    before = (Path(place) / "runs" / record["run_id"]).stat().st_mtime_ns
    assert lenet.run("optimizer=adam", seed=3, output_dir=place, **KEYS) == record
    assert (Path(place) / "runs" / record["run_id"]).stat().st_mtime_ns == before
    folder = store.run_folder(place, record["run_id"])
    images = torch.rand(2, 28, 28)
    network, other = lenet.load(record["run_id"][:9], place), lenet.load(str(folder))
    assert torch.equal(network(images), other(images))
    assert network.test_error == record["response"]["test_error"]
    assert str(other).startswith("Trained(name=")
    with pytest.raises(Refusal, match="comes with lenet: best, modern, paper"):
        lenet.load("modrn", place)


def test_several_seeds_are_runs(tmp_path: Path) -> None:
    """One record for each; `run` refuses them by name."""
    records = lenet.runs(replicates=2, output_dir=str(tmp_path), **KEYS)
    assert [record["seed"] for record in records] == [0, 1]
    with pytest.raises(Refusal, match=r"replicates=2 are 2 runs: lenet.runs"):
        lenet.run(replicates=2, output_dir=str(tmp_path), **KEYS)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (3, "3"), (1e-3, "0.001"), ("relu", "relu"), ("a b", "'a b'")],
)
def test_value_is_typed_as_hydra_reads_it(value: Any, text: str) -> None:
    """With quotes where there are special characters."""
    assert config.as_typed(value) == text


def test_published_weights_that_were_changed_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the hash in the record, and the record by its seal."""
    shutil.copytree(store.PUBLISHED, tmp_path / "weights")
    monkeypatch.setattr(store, "PUBLISHED", tmp_path / "weights")
    path = tmp_path / "weights" / "modern.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(Refusal, match="modern: the weights are not those of its"):
        trained_network.load("modern")
    record = json.loads(path.with_suffix(".json").read_text())
    with pytest.raises(Refusal, match="these are not the weights of run"):
        trained_network.publish_network("other", record, bytes(content))


def test_publishing_makes_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run's record and weights, byte for byte."""
    net = trained_network.load("modern")
    weights = (store.PUBLISHED / "modern.safetensors").read_bytes()
    monkeypatch.setattr(store, "PUBLISHED", tmp_path)
    trained_network.publish_network("best", net.record, weights)
    assert store.networks() == ["best"]
    again, images = trained_network.load("best"), torch.rand(2, 28, 28)
    assert torch.equal(again(images), net(images)) and again.record == net.record


@pytest.mark.parametrize("name", store.networks())
def test_every_command_takes_a_network_that_comes_with_lenet(
    name: str, tmp_path: Path
) -> None:
    """In an empty folder: its record by its name, and its weights by its run id; a run
    that was trained here has its own."""
    record = store.select(name, str(tmp_path))
    model = run_record.load_stack([record], str(tmp_path))
    images = torch.rand(2, 28, 28)
    assert torch.equal(model(images)[0], trained_network.load(name)(images))
    assert [network["run_id"] for network in preset_runs([], str(tmp_path))] == [
        store.select(preset, "")["run_id"] for preset in ("paper", "modern")
    ]
    own = store.run_folder(str(tmp_path), record["run_id"]) / "model.safetensors"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"")
    with pytest.raises(Refusal, match="is not what was trained"):
        run_record.load_stack([record], str(tmp_path))


@pytest.mark.slow
def test_predict_prints_the_digit_and_draws_the_layers(tmp_path: Path) -> None:
    """And the runners-up; --json has all ten."""
    seven().save(tmp_path / "seven.png")
    result = predict.main([str(tmp_path / "seven.png"), "run=paper"])
    first, *files = result.text.splitlines()
    assert first.startswith(f"{tmp_path / 'seven.png'}: 7 (") and ", then " in first
    assert files == [str(tmp_path / f"seven_layers.{kind}") for kind in ("svg", "png")]
    assert all(Path(path).stat().st_size for path in files)
    (entry,) = result.data["pictures"]
    assert entry["digit"] == 7 and sum(entry["shares"]) == pytest.approx(1)
    assert json.loads(json.dumps(result.data))["network"] == "paper"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ([], "say which picture"),
        (["a.png", "draw=no"], "draw=true or draw=false"),
        (["a.png", "runs=paper"], "key 'runs' is unknown; did you mean run?"),
    ],
)
def test_predict_refuses_with_the_fix(typed: list[str], said: str) -> None:
    """What is missing or is none."""
    with pytest.raises(Refusal, match=said):
        predict.main(typed)
