"""The page computes what Python computes, and says what the records say."""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import networks
import numpy as np
import pytest
import torch

from lenet import record, robustness
from lenet.attack import Untargeted, pgd
from lenet.drawing import as_mnist
from lenet.factor.pooling import LEVELS as POOLINGS
from lenet.interpret.gradcam import GradCam, grad_cam, receptive_field
from lenet.interpret.saliency import METHODS
from lenet.model import STRUCTURE
from lenet.page import build
from lenet.page import network as page_network

NODE = shutil.which("node")
ROOT = Path(__file__).parent.parent
MAPS = ("C1", "S2", "C3", "S4")
ATTACKS = (("fgsm", 0.1), ("pgd", 0.05))
STEPS = 20
SALIENCY = ("gradient", "gradient_times_input", "integrated_gradients")
OUTPUTS = str(ROOT / "outputs")

needs_node = pytest.mark.skipif(NODE is None, reason="no node on PATH: install Node 20")


def found_by_python(model, images, methods) -> dict[str, torch.Tensor]:
    """What Python finds for images, in the precision of the network.

    methods: of saliency, each with the number of images it is asked about.
    """
    with torch.no_grad():
        seen = model.activations(images)
    labels = seen["output"].argmax(-1)
    found = dict(seen)
    for name, count in methods.items():
        found[name] = METHODS[name](model, images[:count], labels[:, :count])
    for layer in MAPS:
        found[f"gradcam {layer}"] = grad_cam(model, images, labels, GradCam(layer))
    goal = Untargeted(labels[0])
    for name, epsilon in ATTACKS:
        once = name == "fgsm"
        step = epsilon if once else robustness.PACE * epsilon / STEPS
        steps = 1 if once else STEPS
        attacked = pgd(model, images, goal, epsilon=epsilon, step=step, steps=steps)
        found[f"{name} {epsilon}"] = attacked.images
    last = pgd(model, images, goal, epsilon=0.1, step=0.03, steps=5, keep="last")
    return {**found, "last": last.images}


def decided_by_rounding(model, images) -> list[int]:
    """The images in which max pooling does not take the first of equal sums, as of
    equal patches of ink, since torch rounds them differently: either's gradient is
    right. Not below zero, where ReLU passes none."""
    seen = model.activations(images)
    unclear = torch.zeros(len(images), dtype=torch.bool)
    if model.S2.reduce is POOLINGS["max"].reduce:
        for layer, signal in ((model.C1, model.input(images)), (model.C3, seen["S2"])):
            sums = layer.sums(signal)[0]
            fours = sums.unfold(2, 2, 2).unfold(3, 2, 2).flatten(-2)
            most = fours.amax(-1, keepdim=True)
            first = (fours >= most - 1e-9).int().argmax(-1)
            other = first != (fours == most).int().argmax(-1)
            unclear |= (other & (most[..., 0] > 0)).flatten(1).any(1)
    return unclear.nonzero()[:, 0].tolist()


def write_case(folder, name, model, levels, images, methods, count=None, right=None):
    """Write a network, images as bytes, and what Python finds for the first `count`."""
    count = len(images) if count is None else count
    described = page_network.network(model.float(), levels)
    pixels = torch.from_numpy(images[:count]).double() / 255
    found = found_by_python(model.double(), pixels, methods)
    for key, values in found.items():
        (folder / f"{name}.{key}").write_bytes(values.float().numpy().tobytes())
    fields = {layer: list(receptive_field(model, layer)) for layer in MAPS}
    content = {
        "network": described,
        "images": base64.b64encode(images.tobytes()).decode(),
        "right": right,
        "expected": {
            "count": count,
            "labels": found["output"].argmax(-1)[0].tolist(),
            "attacks": ATTACKS,
            "methods": methods,
            "fields": fields,
            "unclear": decided_by_rounding(model, pixels),
        },
    }
    (folder / f"{name}.json").write_text(json.dumps(content))


def drawings() -> list[dict]:
    """Pictures of several sizes with what lenet.drawing makes of them."""
    generator = np.random.default_rng(3)
    found = []
    for height, width in (
        (280, 280),
        (61, 200),
        (200, 61),
        (28, 28),
        (12, 9),
        (40, 40),
    ):
        picture = np.zeros((height, width), np.uint8)
        for _ in range(6):
            y, x = generator.integers(0, height - 4), generator.integers(0, width - 4)
            shade = generator.integers(60, 256)
            picture[y : y + height // 4, x : x + width // 7 + 1] = shade
        for one in (picture, 255 - picture, 90 + picture // 3):
            grain = generator.integers(-4, 5, one.shape)
            for shown in (one, np.clip(one + grain, 0, 255)):
                found.append(drawing(shown.astype(np.uint8)))
    blank = np.full((9, 9), 40, np.uint8)
    return [*found, {**picture_of(blank), "image": None}]


def picture_of(pixels) -> dict:
    """A picture as node reads it."""
    text = base64.b64encode(pixels.tobytes()).decode()
    return {"pixels": text, "width": pixels.shape[1], "height": pixels.shape[0]}


def drawing(pixels) -> dict:
    """A picture and its image."""
    image = base64.b64encode(as_mnist(pixels).tobytes()).decode()
    return {**picture_of(pixels), "image": image}


def check(folder: Path, tests: int) -> None:
    """Have node compare, in so many tests per case; its report is the message."""
    cases = sorted(path.stem for path in folder.glob("*.json"))
    index = {"cases": cases, "drawings": drawings()}
    (folder / "cases.json").write_text(json.dumps(index))
    done = subprocess.run(
        [str(NODE), "--test", str(ROOT / "tests" / "page" / "parity.test.mjs")],
        env={"PARITY": str(folder), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"# pass {tests * len(cases) + 1}\n" in done.stdout, done.stdout


STRUCTURES = {
    "1998": ("scaled_tanh", "subsample", "table", "none", "rbf"),
    "today": ("relu", "max", "full", "none", "softmax"),
    "batch norm": ("gelu", "average", "full", "batch", "softmax"),
    "stride": ("silu", "stride", "table", "batch", "rbf_map"),
    "sigmoid": ("sigmoid", "max", "table", "none", "softmax"),
    "tanh": ("tanh", "max", "full", "batch", "softmax"),
    "leaky": ("leaky_relu", "subsample", "full", "none", "softmax"),
}


@needs_node
def test_every_level_is_computed_as_in_python(tmp_path, float64):
    """Layers, saliency, Grad-CAM and attacks, to 1e-5 of the largest value, for each
    level of activation, pooling, connection, norm and head."""
    for seed, (name, chosen) in enumerate(STRUCTURES.items()):
        levels = dict(zip(STRUCTURE, chosen, strict=True))
        model = networks.network(seed=seed, **levels).float()
        model.input.scale[:], model.input.shift[:] = 1.3, -0.2 - seed / 10
        for layer in (model.C1, model.C3):
            layer.mean.copy_(torch.linspace(-1, 1, layer.mean.shape[1]))
            layer.var.copy_(torch.linspace(0.5, 2, layer.var.shape[1]))
        images = (networks.pictures(2, seed) * 255).byte().numpy()
        methods = dict.fromkeys(SALIENCY, 2)
        write_case(tmp_path, name, model, levels, images, methods, right=None)
    check(tmp_path, 5)


@needs_node
@pytest.mark.slow  # two networks, 1,000 digits each
@pytest.mark.parametrize("preset", ["paper", "modern"])
def test_published_networks_are_computed_as_in_python(tmp_path, mnist, preset):
    """On 1,000 test digits, spread over all; and all 10,000 are read as the record
    says."""
    published = build.published_records(OUTPUTS)
    one = build.presets(published, OUTPUTS)[preset == "modern"]
    levels = {key: one["treatment"][key] for key in STRUCTURE}
    order = np.argsort(np.arange(10_000) % 10, kind="stable")  # every tenth first
    images = mnist.test_images.numpy()[order]
    bits = record.unpacked(one["right"], one["images"])[order]
    right = {"labels": mnist.test_labels[order].tolist(), "bits": record.packed(bits)}
    methods = {"gradient": 1000, "gradient_times_input": 1000}
    methods["integrated_gradients"] = 20
    model = record.load([one], OUTPUTS)
    write_case(tmp_path, preset, model, levels, images, methods, 1000, right)
    check(tmp_path, 6)
