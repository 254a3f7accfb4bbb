"""What leaves lenet gives the same answers elsewhere, and the same numbers."""

import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import PLAIN
from marks import mostly_slow
from safetensors import safe_open
from small_networks import network
from torch import Tensor

from lenet.commands import export
from lenet.config import Refusal, group_levels
from lenet.export import formats, model_card
from lenet.export.formats import FORMATS, Plain
from lenet.interpret import trained_network
from lenet.interpret.trained_network import Trained
from lenet.records import store
from lenet.training.data import Data
from lenet.training.factor.activation import LEVELS as ACTIVATIONS
from lenet.training.factor.pooling import LEVELS as POOLINGS
from lenet.training.model import STRUCTURE

OUTPUTS = Path(__file__).parents[2] / "outputs"
CLOSE = {"rtol": 1e-5, "atol": 1e-5}
STRUCTURES: list[dict[str, str]] = [
    *({"activation": name} for name in ACTIVATIONS),
    *({"pooling": name} for name in POOLINGS),
    *({"head": name, "activation": "silu"} for name in ("rbf", "rbf_map", "ten_units")),
    {"norm": "batch", "connection": "table"},
    {"pooling": "subsample", "activation": "gelu", "head": "rbf", "norm": "batch"},
]


def made(changes: Mapping[str, str], seed: int = 5) -> Trained:
    """An untrained network of some structure, with a norm and scaling that matter."""
    model = network(seed=seed, **changes)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        model.input.scale.fill_(1.7)
        model.input.shift.fill_(-0.3)
        for layer in (model.C1, model.C3):
            layer.mean.copy_(torch.rand(layer.mean.shape, generator=generator) - 0.5)
            layer.var.copy_(torch.rand(layer.var.shape, generator=generator) + 0.5)
            layer.bias.copy_(torch.rand(layer.bias.shape, generator=generator) - 0.5)
    treatment = {**PLAIN, **changes, "data": "mnist", "epochs": 1}
    record = trained_network.load("modern").record
    response = {"test_error": 0.5}
    return Trained(
        "made", {**record, "treatment": treatment, "response": response}, model
    )


def pictures(count: int) -> Tensor:
    """Images of noise [n, 1, 28, 28], mostly black."""
    generator = torch.Generator().manual_seed(count)
    return (torch.rand(count, 1, 28, 28, generator=generator) * 2 - 1).clamp(min=0)


def test_every_pooling_can_leave() -> None:
    """It has a plain form, and a line of C; an activation's follow from its formula."""
    from lenet.export import c_source

    for mine in (formats.POOLINGS, c_source.POOLINGS):
        assert mine.keys() == group_levels("pooling").keys()


@pytest.mark.parametrize("changes", STRUCTURES, ids=str)
def test_plain_network_gives_our_logits(changes: dict[str, str]) -> None:
    """For every level, norm folded, for one image and for five."""
    net = made(changes)
    for count in (1, 5):
        images = pictures(count)
        with torch.no_grad():
            found = Plain(net)(images)
        torch.testing.assert_close(found, net(images), **CLOSE)


@pytest.fixture(scope="module", params=store.networks())
def net(request: pytest.FixtureRequest) -> Trained:
    """Every network that comes with lenet."""
    return trained_network.load(request.param)


@pytest.mark.slow
def test_onnx_gives_our_logits(net: Trained, tmp_path: Path) -> None:
    """In onnxruntime, for any number of images; its origin is inside."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="runs ONNX files")
    pytest.importorskip("onnxscript", reason="torch writes ONNX with it")
    path = formats.write_network(net, "onnx", tmp_path / "a" / "net.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for count in (1, 2, 7):
        images = pictures(count)
        (found,) = session.run(None, {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(found), net(images), **CLOSE)
    metadata = session.get_modelmeta().custom_metadata_map
    assert json.loads(metadata["run_id"]) == net.record["run_id"]
    assert json.loads(metadata["test_error"]) == net.test_error


@pytest.mark.parametrize("form", ["torchscript", "exported"])
def test_programs_of_torch_give_our_logits(
    net: Trained, form: str, tmp_path: Path
) -> None:
    """Loaded without lenet, for any number of images."""
    if form == "exported" and "LENET_LOWEST" in os.environ:
        pytest.skip("torch 2.6 exports no function whose shapes are checked")
    path = formats.write_network(net, form, tmp_path / f"net{FORMATS[form][0]}")
    load = torch.jit.load if form == "torchscript" else torch.export.load
    program = load(str(path))
    program = program if form == "torchscript" else program.module()
    for count in (1, 2, 7):
        images = pictures(count)
        with torch.no_grad():
            torch.testing.assert_close(program(images), net(images), **CLOSE)


@pytest.mark.parametrize(
    "changes",
    mostly_slow(
        [
            {},
            {"pooling": "subsample", "activation": "scaled_tanh", "head": "rbf"},
            {"connection": "table", "norm": "batch", "activation": "gelu"},
            {"pooling": "average", "activation": "sigmoid"},
            {"pooling": "stride", "activation": "silu"},
            *({"activation": name} for name in ACTIVATIONS),
        ],
        every=3,
    ),
    ids=str,
)
def test_c_gives_our_logits(changes: dict[str, str], tmp_path: Path) -> None:
    """Compiled without a warning, called image by image."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here")
    net = made(changes)
    path = formats.write_network(net, "c", tmp_path / "net.c")
    library = tmp_path / "net.so"
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-fPIC"]
    line = [compiler, *flags, "-shared", str(path), "-o", str(library), "-lm"]
    subprocess.run(line, check=True)
    function = ctypes.CDLL(str(library)).lenet5
    for image in pictures(3):
        pixels, logits = image.flatten().contiguous(), torch.zeros(10)
        function(*(ctypes.c_void_p(part.data_ptr()) for part in (pixels, logits)))
        torch.testing.assert_close(logits, net(image)[0], rtol=1e-4, atol=1e-4)


def test_safetensors_are_those_of_the_run(net: Trained, tmp_path: Path) -> None:
    """By the paper's names, with what they are."""
    path = formats.write_network(net, "safetensors", tmp_path / "net.safetensors")
    with safe_open(path, "pt") as file:
        assert json.loads(file.metadata()["treatment"]) == net.treatment
        state = net.model.state_dict()
        assert set(file.keys()) == set(state)
        assert all(torch.equal(file.get_tensor(k), v[0]) for k, v in state.items())


def test_card_states_what_was_measured(net: Trained, tmp_path: Path) -> None:
    """And the folder is a network that lenet loads again, with the same weights."""
    files = model_card.write_model_card(net, tmp_path / "hub")
    assert {path.name for path in files} == {
        *("README.md", "config.json", "record.json", "model.safetensors")
    }
    card = (tmp_path / "hub" / "README.md").read_text()
    assert f"{100 * net.test_error:.2f} %" in card and "{" not in card.split("---")[2]
    for key in STRUCTURE:
        assert f"| {key} | {net.treatment[key]} |" in card
    again, images = trained_network.load(str(tmp_path / "hub")), pictures(2)
    assert torch.equal(again(images), net(images))
    config = json.loads((tmp_path / "hub" / "config.json").read_text())
    assert config["test_error"] == net.test_error


@pytest.mark.slow
def test_int8_states_its_loss(mnist: Data, tmp_path: Path) -> None:
    """Smaller, and its error on all test images beside that of the original."""
    pytest.importorskip("onnxruntime", reason="quantises")
    pytest.importorskip("onnxscript", reason="torch writes ONNX with it")
    to = tmp_path / "small.onnx"
    result = export.main(["run=modern", "format=onnx_int8", f"to={to}"])
    errors = result.data["test_error"]
    assert errors["float32"] == pytest.approx(
        trained_network.load("modern").test_error, abs=2e-4
    )
    assert errors["int8"] < errors["float32"] + 0.01
    assert to.stat().st_size == result.data["bytes"]["int8"] < 120_000
    misread = f"{100 * errors['float32']:.2f} %"
    assert f"misread of 10,000 test images: float32 {misread} in " in result.text


@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_runs_of_a_study_are_a_table(form: str, tmp_path: Path) -> None:
    """A row per run, fractions in full; settings and origin beside them."""
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="writes Parquet")
    to = tmp_path / f"runs.{form}"
    planned = json.loads((OUTPUTS / "leave_one_out" / "plan.json").read_bytes())
    count = len(planned["runs"])
    typed = ["study=leave_one_out", f"format={form}", f"output_dir={OUTPUTS}"]
    assert export.main([*typed, f"to={to}"]).data == {"files": [str(to)]}
    read = {"csv": pd.read_csv, "parquet": pd.read_parquet}
    if form == "jsonl":
        rows = [json.loads(line) for line in to.read_text().splitlines()]
        assert {"curve", "treatment", "seal"} <= rows[0].keys() and len(rows) == count
        return
    table = read[form](to)
    assert len(table) == table["run_id"].nunique() == count
    mean = table.loc[table["head"] == "rbf", "test_error"].mean()
    assert 0.005 < mean < 0.02 and set(table["study"]) == {"leave_one_out"}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("format=onnx", "format=onnx goes with run="),
        ("run=modern format=csv", "format=csv goes with study="),
        ("run=modern format=onxx", "did you mean onnx"),
        ("run=modern", "format '' is unknown"),
        ("study=nothing format=csv output_dir=OUT", "study=nothing: the studies in"),
        ("format=csv output_dir=/nowhere", "has no finished run"),
    ],
)
def test_what_cannot_leave_is_refused(typed: str, said: str) -> None:
    """With the fix."""
    line: list[Any] = typed.replace("OUT", str(OUTPUTS)).split()
    with pytest.raises(Refusal, match=said):
        export.main(line)
