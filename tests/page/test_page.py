"""The page computes what Python computes, and says what the records say."""

import base64
import json
import os
import shutil
import subprocess
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sealed_studies
import small_networks
import torch
from conftest import PLAIN
from scipy import stats

from lenet.commands import page as page_command
from lenet.config import Refusal, composed
from lenet.figures.canvas import FORMATS
from lenet.interpret.drawing import as_mnist
from lenet.interpret.gradcam import GradCam, grad_cam, receptive_field
from lenet.interpret.images import PACE
from lenet.interpret.saliency import METHODS
from lenet.page import ablation_data, build, screenshot
from lenet.page import digit_data as page_digits
from lenet.page import network_data as page_network
from lenet.records import run_record
from lenet.report import exhibit_files, study_report
from lenet.rounding import decimals
from lenet.studies import effect
from lenet.studies.study import published_study
from lenet.training.attack import Untargeted, pgd
from lenet.training.factor.activation import LEVELS as ACTIVATIONS
from lenet.training.factor.connection import LEVELS as CONNECTIONS
from lenet.training.factor.head import LEVELS as HEADS
from lenet.training.factor.norm import LEVELS as NORMS
from lenet.training.factor.pooling import LEVELS as POOLINGS
from lenet.training.model import STRUCTURE

NODE = shutil.which("node")
ROOT = Path(__file__).parents[2]
MAPS = ("C1", "S2", "C3", "S4")
ATTACKS = (("fgsm", 0.1), ("pgd", 0.05))
STEPS = 20
SALIENCY = ("gradient", "gradient_times_input", "integrated_gradients")
OUTPUTS = str(ROOT / "outputs")
TOOLS = ROOT / "tests" / "page" / "node_modules"

needs_node = pytest.mark.skipif(NODE is None, reason="no node on PATH: install Node 20")


def found_by_python(model, images, methods) -> dict[str, torch.Tensor]:
    """What Python finds for images, in the precision of the network.

    methods: of saliency, each with the number of images it is asked about.
    """
    with torch.no_grad():
        seen = model.activations(images)
    labels = seen["output"].argmax(-1)
    computed = dict(seen)
    for name, count in methods.items():
        computed[name] = METHODS[name](model, images[:count], labels[:, :count])
    for layer in MAPS:
        computed[f"gradcam {layer}"] = grad_cam(model, images, labels, GradCam(layer))
    goal = Untargeted(labels[0])
    for name, epsilon in ATTACKS:
        once = name == "fgsm"
        step = epsilon if once else PACE * epsilon / STEPS
        steps = 1 if once else STEPS
        attacked = pgd(model, images, goal, epsilon=epsilon, step=step, steps=steps)
        computed[f"{name} {epsilon}"] = attacked.images
    last = pgd(model, images, goal, epsilon=0.1, step=0.03, steps=5, keep="last")
    return {**computed, "last": last.images}


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
    described = page_network.network_content(model.float(), levels)
    pixels = torch.from_numpy(images[:count]).double() / 255
    computed = found_by_python(model.double(), pixels, methods)
    for key, values in computed.items():
        (folder / f"{name}.{key}").write_bytes(values.float().numpy().tobytes())
    fields = {layer: list(receptive_field(model, layer)) for layer in MAPS}
    content = {
        "network": described,
        "images": base64.b64encode(images.tobytes()).decode(),
        "right": right,
        "expected": {
            "count": count,
            "labels": computed["output"].argmax(-1)[0].tolist(),
            "attacks": ATTACKS,
            "methods": methods,
            "fields": fields,
            "unclear": decided_by_rounding(model, pixels),
        },
    }
    (folder / f"{name}.json").write_text(json.dumps(content))


def drawings() -> list[dict]:
    """Pictures of several sizes with what lenet.interpret.drawing makes of them."""
    generator = np.random.default_rng(3)
    cases = []
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
        for variant in (picture, 255 - picture, 90 + picture // 3):
            grain = generator.integers(-4, 5, variant.shape)
            for shown in (variant, np.clip(variant + grain, 0, 255)):
                cases.append(drawing(shown.astype(np.uint8)))
    blank = np.full((9, 9), 40, np.uint8)
    return [*cases, {**picture_of(blank), "image": None}]


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


@needs_node
def test_page_rounds_ties_as_the_figures_do():
    """1.005 is 1.01 and -0.125 is -0.13, where JavaScript's toFixed gives 1.00."""
    numbers = [n / 1000 for n in range(-2005, 2006, 5)] + [0.145, 99.995, 1e-9, 12345.6]
    page = ROOT / "lenet" / "page" / "markup.mjs"
    script = (
        f"import {{ decimals }} from {json.dumps(page.as_uri())};"
        f"console.log(JSON.stringify({numbers}.map((number) => decimals(number))));"
    )
    line = [str(NODE), "--input-type=module", "--eval", script]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [decimals(number) for number in numbers]


STRUCTURES = {
    "1998": ("scaled_tanh", "subsample", "table", "none", "rbf"),
    "today": ("relu", "max", "full", "none", "softmax"),
    "batch norm": ("gelu", "average", "full", "batch", "softmax"),
    "stride": ("silu", "stride", "table", "batch", "rbf_map"),
    "sigmoid": ("sigmoid", "max", "table", "none", "softmax"),
    "tanh": ("tanh", "max", "full", "batch", "softmax"),
    "ten units": ("tanh", "subsample", "table", "none", "ten_units"),
    "leaky": ("leaky_relu", "subsample", "full", "none", "softmax"),
}


@needs_node
@pytest.mark.slow
def test_every_level_is_computed_as_in_python(tmp_path, float64):
    """Layers, saliency, Grad-CAM and attacks, to 1e-5 of the largest value, for each
    level of activation, pooling, connection, norm and head."""
    known = (ACTIVATIONS, POOLINGS, CONNECTIONS, NORMS, HEADS)
    for levels, used in zip(known, zip(*STRUCTURES.values(), strict=True), strict=True):
        missing = set(levels) - set(used)
        assert not missing, f"{missing}: activation.mjs or network.mjs, and here"
    for seed, (name, chosen) in enumerate(STRUCTURES.items()):
        levels = dict(zip(STRUCTURE, chosen, strict=True))
        model = small_networks.network(seed=seed, **levels).float()
        model.input.scale[:], model.input.shift[:] = 1.3, -0.2 - seed / 10
        for layer in (model.C1, model.C3):
            layer.mean.copy_(torch.linspace(-1, 1, layer.mean.shape[1]))
            layer.var.copy_(torch.linspace(0.5, 2, layer.var.shape[1]))
        images = (small_networks.pictures(2, seed) * 255).byte().numpy()
        methods = dict.fromkeys(SALIENCY, 2)
        write_case(tmp_path, name, model, levels, images, methods, right=None)
    check(tmp_path, 5)


@needs_node
@pytest.mark.slow  # two networks, 1,000 digits each
@pytest.mark.parametrize("preset", ["paper", "modern"])
def test_published_networks_are_computed_as_in_python(tmp_path, mnist, preset):
    """On 1,000 test digits, spread over all; and all 10,000 are read as the record
    says."""
    published = build.all_published(OUTPUTS)
    record = build.preset_runs(published, OUTPUTS)[preset == "modern"]
    levels = {key: record["treatment"][key] for key in STRUCTURE}
    order = np.argsort(np.arange(10_000) % 10, kind="stable")  # every tenth first
    images = mnist.test_images.numpy()[order]
    bits = run_record.unpacked(record["right"], record["images"])[order]
    right = {
        "labels": mnist.test_labels[order].tolist(),
        "bits": run_record.packed_bits(bits),
    }
    methods = {"gradient": 1000, "gradient_times_input": 1000}
    methods["integrated_gradients"] = 20
    model = run_record.load_stack([record], OUTPUTS)
    write_case(tmp_path, preset, model, levels, images, methods, 1000, right)
    check(tmp_path, 6)


@needs_node
def test_modules_joined_are_one_script(tmp_path):
    """No import is left, no name is declared twice, and all modules are in it."""
    script = build.joined_script()
    (tmp_path / "page.mjs").write_text(script)
    line = [str(NODE), "--check", str(tmp_path / "page.mjs")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for module in (ROOT / "lenet" / "page").glob("*.mjs"):
        assert module.read_text().split("\n")[0] in script, module.name


@pytest.mark.slow  # three tools of npm
@pytest.mark.skipif(not TOOLS.exists(), reason="no node_modules: npm ci in tests/page")
def test_modules_pass_types_lint_and_format():
    """tsc --checkJs, eslint and prettier find nothing."""
    line = ["npm", "run", "check"]
    done = subprocess.run(
        line, cwd=TOOLS.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def factorial_of(tmp_path, **other):
    """A published factorial of three factors with its table of effects."""
    factors = ("units", "head", "input")
    folder = tmp_path / "outputs" / "factorial"
    records = sealed_studies.factorial(folder, factors, range(6), **other)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exhibit_files, "FORMATS", {"svg": FORMATS["svg"]})
        study_report.write_study(folder)
    return folder, records


@pytest.mark.slow
def test_switches_are_the_effects_of_arms_and_add_up_to_main_effects(tmp_path):
    """Each is what `effect.arms` says of its two cells; their mean over the settings of
    the others is the published main effect."""
    folder, _ = factorial_of(tmp_path)
    page, study = ablation_data.factorial_content(folder), published_study(folder)
    factors = list(study.levels)
    for at, factor in enumerate(factors):
        mean = np.mean([switch["mean"] for switch in page["switches"][at]])
        main = page["factors"][at]["main"]
        assert mean == pytest.approx(main["mean"], abs=2e-6) and main["n"] == 6
        others = [other for other in factors if other != factor]
        for place, chosen in enumerate(product((0, 1), repeat=len(others))):
            cell = {
                other: study.levels[other][i]
                for other, i in zip(others, chosen, strict=True)
            }
            rows = study.runs
            for other, level in cell.items():
                rows = rows[rows[other] == level]
            old = {**cell, factor: study.levels[factor][0]}
            (arm,) = effect.arms(rows, old).table.to_dict("records")
            switch = page["switches"][at][place]
            for key in ("mean", "low", "high"):
                expected = arm[key] if np.isfinite(arm[key]) else None
                assert switch[key] == pytest.approx(expected, abs=2e-6)


def test_main_effect_is_that_on_the_labels_as_they_are(tmp_path):
    """A study gives its effects on the corrected labels in the same table."""
    folder, _ = factorial_of(tmp_path)
    told = ablation_data.factorial_content(folder)
    table = pd.read_csv(folder / "effects.csv")
    other = table.assign(response="corrected_error", mean=table["mean"] + 1)
    pd.concat([other, table]).to_csv(folder / "effects.csv", index=False)
    assert ablation_data.factorial_content(folder) == told


def test_cells_are_the_records_errors(tmp_path):
    """Cell 5 of three factors is today, 1998, today; its errors come by seed, and its
    interval is Student's."""
    folder, records = factorial_of(tmp_path)
    page = ablation_data.factorial_content(folder)
    today = {**sealed_studies.TODAY, **sealed_studies.PAPER}
    for factor in ("units", "input"):
        today |= {
            key: sealed_studies.TODAY[key] for key in sealed_studies.GROUPS[factor]
        }
    chosen = [record for record in records if record["treatment"] == today]
    errors = [record["response"]["test_error"] for record in chosen]
    cell = page["cells"][0b101]
    by_seed = {record["seed"]: record["run_id"] for record in chosen}
    assert cell["runs"] == [by_seed[seed][:8] for seed in page["seeds"]]
    assert cell["errors"] == errors and len(errors) == 6
    interval = stats.t.interval(0.95, 5, np.mean(errors), stats.sem(errors))
    assert (cell["low"], cell["high"]) == pytest.approx(interval, abs=1e-6)


@pytest.mark.slow
def test_collapsed_and_diverged_runs_are_left_out_and_seen(tmp_path):
    """A cell's mean is that of the other seeds; its switches lose that seed alone."""
    arm = "units=1998 head=1998 input=1998"
    lost = {(arm, 1): sealed_studies.COLLAPSED, (arm, 4): sealed_studies.DIVERGED}
    folder, _ = factorial_of(tmp_path, lost=lost)
    page = ablation_data.factorial_content(folder)
    cell = page["cells"][0]
    assert cell["errors"][1] == 0.8865 and cell["errors"][4] is None and cell["n"] == 4
    kept = [error for seed, error in enumerate(cell["errors"]) if seed not in (1, 4)]
    assert cell["mean"] == pytest.approx(np.mean(kept), abs=1e-6)
    assert [ofs[0]["n"] for ofs in page["switches"]] == [4, 4, 4]
    assert all(switch["n"] == 6 for ofs in page["switches"] for switch in ofs[1:])
    assert {factor["main"]["n"] for factor in page["factors"]} == {4}


def test_a_study_that_is_no_factorial_is_refused(tmp_path):
    """With its folder in the message."""
    sealed_studies.one_factor(tmp_path / "arms", range(3))
    with pytest.raises(Refusal, match="no factorial"):
        ablation_data.factorial_content(tmp_path / "arms")


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (["preset=paper"], "1998"),
        (["preset=modern"], "today"),
        (["preset=paper", "head=rbf_map"], "1998, with head rbf map"),
        (
            ["preset=modern", "activation=tanh", "norm=batch"],
            "today, with activation tanh, norm batch",
        ),
    ],
)
def test_a_run_is_named_by_the_nearest_preset(changes, name):
    """And by the levels that it has of its own."""
    treatment = composed(changes)[0][0].treatment
    assert page_network.visitor_name({"treatment": treatment}) == name


def test_numbers_of_a_network_are_those_of_its_file():
    """All of them, in the order that is listed."""
    model = small_networks.network(pooling="subsample", connection="table").float()
    levels = {key: PLAIN[key] for key in STRUCTURE} | {"connection": "table"}
    content = page_network.network_content(model, levels)
    numbers = np.frombuffer(base64.b64decode(content["numbers"]), "<f4")
    state, at = model.state_dict(), 0
    for name, count in content["tensors"]:
        assert np.array_equal(numbers[at : at + count], state[name][0].flatten())
        at += count
    assert at == len(numbers) and {name for name, _ in content["tensors"]} == set(state)
    assert content["inputs"]["C3"][9] == (0, 3, 4, 5) and content["bitmaps"] is None


def test_sample_has_every_digit_and_missed_the_hardest(digits):
    """Four of each class, by place; and those that the fewest runs read rightly."""
    sample = page_digits.sample_digits(digits)
    assert sorted(sample["labels"]) == sorted([*range(10)] * 4)
    assert sample["places"] == sorted(sample["places"])
    images = np.frombuffer(base64.b64decode(sample["images"]), np.uint8)
    assert np.array_equal(images, digits.test_images[sample["places"]].flatten())
    right = np.ones((3, len(digits.test_labels)), bool)
    right[:, 7], right[:2, 5] = False, False
    records = [
        {
            "right": run_record.packed_bits(bits),
            "images": len(bits),
            "data": digits.sha256,
        }
        for bits in right
    ]
    missed = page_digits.missed_digits("Missed", digits, records)
    assert missed["places"][:2] == [7, 5] and missed["missed"][:3] == [1, 0.6667, 0]


@pytest.mark.slow
def test_page_is_small_and_the_same_for_the_same_records(mnist, tmp_path):
    """Under 1.2 MB, with both presets, and its bytes do not depend on the day."""
    file = tmp_path / "page" / "index.html"
    result = page_command.main([f"output_dir={OUTPUTS}", f"file={file}"])
    assert result.data == {"files": [str(file)]}
    page = file.read_text(encoding="utf-8")
    assert len(page.encode()) < 1_200_000
    assert "<title>Draw a digit. Watch 1998 read it beside today.</title>" in page
    assert page == build.page_text([], OUTPUTS, None)
    assert "{{" not in page.split("<script")[0]
    records = build.all_published(OUTPUTS)
    paper = build.preset_runs(records, OUTPUTS)[0]["run_id"]
    single = build.page_text([paper], OUTPUTS, None)
    assert "<title>Draw a digit. Watch 1998 read it.</title>" in single
    three = [record["run_id"] for record in records[:3]]
    with pytest.raises(Refusal, match="one or two"):
        build.page_text(three, OUTPUTS, None)


def test_picture_without_a_browser_names_what_to_install(monkeypatch):
    """And what else may be said of it."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Refusal, match="install chromium or"):
        screenshot.taken(Path(OUTPUTS, "page", "index.html"))
    with pytest.raises(Refusal, match="write picture=true"):
        page_command.main(["picture=yes"])
