"""The compiled loops against PyTorch's autograd in float64, one run at a time."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SMALL, schooled
from marks import mostly_slow
from numba import njit
from torch.nn import functional

from lenet.config import composed, names
from lenet.training import compiled, draws, recipe, stack
from lenet.training.curvature import curvature
from lenet.training.data import Data
from lenet.training.factor import adversary, average
from lenet.training.factor.activation import LEVELS as COMPILED
from lenet.training.factor.activation import LEVELS as SQUASHES
from lenet.training.factor.activation import squash_of
from lenet.training.factor.optimizer import LEVELS
from lenet.training.loops import llvm, maps, passes

TABLE_I = [
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5), (0, 1, 2, 3),
    (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5), (0, 1, 3, 4),
    (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
]  # fmt: skip
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    **{name: squash_of(name) for name in SQUASHES},  # of those that torch has not
    "scaled_tanh": lambda a: 1.7159 * torch.tanh(2 / 3 * a),
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "leaky_relu": functional.leaky_relu,
    "gelu": functional.gelu,
    "silu": functional.silu,
}
BITMAPS = np.sign(np.random.default_rng(7).normal(size=(10, 84))).astype(np.float32)


def random_parameters(
    runs: int, pooling: str, connection: str, head: str
) -> dict[str, Any]:
    """Random parameters [run, ...]; biases and coefficients all differ."""
    shapes: dict[str, tuple[int, ...]] = {"C1.weight": (6, 1, 5, 5), "C1.bias": (6,)}
    shapes["C3.weight"] = (60, 5, 5) if connection == "table" else (16, 6, 5, 5)
    shapes |= {"C3.bias": (16,), "C5.weight": (120, 16, 5, 5), "C5.bias": (120,)}
    shapes |= {"F6.weight": (84, 120), "F6.bias": (84,)}
    if pooling == "subsample":
        for layer, maps in (("S2", 6), ("S4", 16)):
            shapes |= {f"{layer}.coefficient": (maps,), f"{layer}.bias": (maps,)}
    if head == "softmax":
        shapes |= {"output.weight": (10, 84), "output.bias": (10,)}
    fan_in = {"C1": 25, "C3": 100, "C5": 400, "F6": 120, "output": 84}
    random = np.random.default_rng(3)
    return {
        name: (
            random.normal(size=(runs, *shape))
            / fan_in.get(name.split(".")[0], 5) ** 0.5
        ).astype(np.float32)
        for name, shape in shapes.items()
    }


def problem(runs: int, steps: int, **structure: str) -> dict[str, Any]:
    """Every argument of train_pass for random images."""
    random = np.random.default_rng(5)
    parameters = random_parameters(
        runs, structure["pooling"], structure["connection"], structure["head"]
    )
    per_run = random.uniform(0.5, 1.5, (3, runs)).astype(np.float32)
    return {
        "parameters": parameters,
        "rates": {
            name: random.uniform(1e-3, 3e-3, value.shape).astype(np.float32)
            for name, value in parameters.items()
        },
        "images": random.integers(0, 256, (runs, steps, 28, 28), np.uint8),
        "labels": random.integers(0, 10, (runs, steps)),
        "factors": random.uniform(0.5, 1.5, (runs, steps)).astype(np.float32),
        "scale": per_run[0],
        "shift": per_run[1] - 1,
        "number": per_run[2] - 0.5 if structure["head"] == "softmax" else per_run[2],
        "bitmaps": BITMAPS,
    } | structure


def train(a: dict[str, Any], threads: int | None = None) -> passes.Pass:
    """A pass with a step of each weight's own size after every image."""
    order = np.arange(a["labels"].size).reshape(a["labels"].shape)
    shown = passes.Shown(a["images"].reshape(-1, 28, 28), order, a["labels"])
    running = np.stack([np.zeros((len(order), 22)), np.ones((len(order), 22))], 1)
    kept = {"norm": "none", "running": running.astype(np.float32), "teacher": "none"}
    network = passes.Network(**{k: (a | kept)[k] for k in passes.Network._fields})
    none = np.zeros(len(order), np.float32)
    each = np.stack([a["factors"], 0 * a["factors"], 0 * a["factors"]], -1)
    sizes = {"step_size": a["rates"]}
    steps = passes.Steps("sdlm", 1, each, none, none, none, sizes)
    return passes.train_pass(a["parameters"], steps, shown, network, threads=threads)


def copy(arguments: dict[str, Any]) -> dict[str, Any]:
    parameters = {name: value.copy() for name, value in arguments["parameters"].items()}
    return arguments | {"parameters": parameters}


def subset(arguments: dict[str, Any], runs: list[int]) -> dict[str, Any]:
    """The same arguments for some of the runs, in the order given."""
    keys = ("images", "labels", "factors", "scale", "shift", "number")
    chosen = {key: arguments[key][runs] for key in keys}
    for key in ("parameters", "rates"):
        chosen[key] = {name: value[runs] for name, value in arguments[key].items()}
    return arguments | chosen


def pool(
    x: torch.Tensor, layer: str, p: dict[str, Any], squash: Any, pooling: str
) -> Any:
    if pooling == "stride":
        return x[:, :, ::2, ::2]
    if pooling == "max":
        return functional.max_pool2d(x, 2)
    if pooling == "average":
        return functional.avg_pool2d(x, 2)
    factor, bias = p[f"{layer}.coefficient"], p[f"{layer}.bias"]
    return squash(
        4 * functional.avg_pool2d(x, 2) * factor[:, None, None] + bias[:, None, None]
    )


def reference_loss(
    p: dict[str, Any], pixels: Any, label: Any, a: dict[str, Any], run: int
) -> Any:
    """(loss, prediction) of one pattern of one run, from the paper's equations."""
    squash = ACTIVATIONS[a["activation"]]
    scale, shift, number = (float(a[key][run]) for key in ("scale", "shift", "number"))
    x = functional.pad(pixels * scale + shift, (2, 2, 2, 2), value=shift)[None, None]
    x = pool(
        squash(functional.conv2d(x, p["C1.weight"], p["C1.bias"])),
        "S2",
        p,
        squash,
        a["pooling"],
    )
    weight = p["C3.weight"]
    if a["connection"] == "table":
        m = torch.tensor([m for m, row in enumerate(TABLE_I) for _ in row])
        i = torch.tensor([i for row in TABLE_I for i in row])
        weight = torch.zeros(16, 6, 5, 5, dtype=x.dtype).index_put((m, i), weight)
    x = pool(
        squash(functional.conv2d(x, weight, p["C3.bias"])),
        "S4",
        p,
        squash,
        a["pooling"],
    )
    x = squash(functional.conv2d(x, p["C5.weight"], p["C5.bias"])).flatten(1)
    x = functional.linear(x, p["F6.weight"], p["F6.bias"])
    if a["head"] == "softmax":
        score = functional.linear(squash(x), p["output.weight"], p["output.bias"])
        loss = functional.cross_entropy(score, label[None], label_smoothing=number)
        return loss, int(score.argmax())
    x = (squash if a["head"] == "ten_units" else ACTIVATIONS["scaled_tanh"])(x)
    y = ((x - torch.tensor(BITMAPS, dtype=x.dtype)) ** 2).sum(1) / 2
    loss = y[label]
    if a["head"] == "rbf_map":
        j = torch.tensor([number], dtype=y.dtype)
        loss = loss + torch.logsumexp(torch.cat([-j, -y]), 0)
    return loss, int(y.argmin())


def reference(a: dict[str, Any], run: int) -> tuple[dict[str, Any], int, float]:
    """(parameters, errors, summed loss) of one run after its pass, in float64."""
    p = {
        name: torch.tensor(value[run], dtype=torch.float64, requires_grad=True)
        for name, value in a["parameters"].items()
    }
    errors, total = 0, 0.0
    steps = zip(a["images"][run], a["labels"][run], a["factors"][run], strict=True)
    for image, number, factor in steps:
        pixels, label = torch.tensor(image).double() / 255, torch.tensor(number)
        loss, prediction = reference_loss(p, pixels, label, a, run)
        gradients = torch.autograd.grad(loss, list(p.values()))
        with torch.no_grad():
            for (name, value), gradient in zip(p.items(), gradients, strict=True):
                rate = torch.as_tensor(a["rates"][name][run], dtype=torch.float64)
                value -= float(factor) * rate * gradient
        errors, total = errors + (prediction != int(label)), total + loss.item()
    return {name: value.detach().numpy() for name, value in p.items()}, errors, total


STRUCTURE = ("activation", "pooling", "connection", "head")
COMBINATIONS = list(itertools.product(*(names(factor) for factor in STRUCTURE)))


@pytest.mark.parametrize("levels", mostly_slow(COMBINATIONS, every=17), ids="-".join)
def test_a_pass_equals_autograd(levels: tuple[str, ...]) -> None:
    """Every structure moves every parameter as autograd in float64 does."""
    arguments = problem(2, 3, **dict(zip(STRUCTURE, levels, strict=True)))
    after = copy(arguments)
    result = train(after)
    for run in range(2):
        expected, errors, loss = reference(arguments, run)
        wrong = result.answers[run] != arguments["labels"][run]
        assert wrong.sum() == errors
        assert result.loss[run].sum() == pytest.approx(loss, rel=2e-5)
        for name, value in expected.items():
            before = arguments["parameters"][name][run].astype(np.float64)
            moved = after["parameters"][name][run] - before
            size = np.abs(value - before).max()
            assert size > 0
            close = {"rtol": 0, "atol": 2e-4 * size + 2e-7, "err_msg": name}
            np.testing.assert_allclose(moved, value - before, **close)
    assert (result.diverged == -1).all()


STRUCTURES = [
    {
        "activation": "scaled_tanh",
        "pooling": "subsample",
        "connection": "table",
        "head": "rbf",
    },
    {"activation": "relu", "pooling": "max", "connection": "full", "head": "softmax"},
]


@pytest.mark.parametrize("structure", STRUCTURES, ids=["paper", "modern"])
def test_a_run_depends_neither_on_its_company_nor_on_threads(
    structure: dict[str, str],
) -> None:
    """19 runs on one and two threads, and 3 of them alone, agree bit for bit."""
    arguments = problem(19, 11, **structure)
    on_one, on_two = copy(arguments), copy(arguments)
    first = train(on_one, 1)
    second = train(on_two, 2)
    some = [17, 2, 9]
    few = subset(arguments, some)
    third = train(few)
    for name, value in on_one["parameters"].items():
        np.testing.assert_array_equal(value, on_two["parameters"][name])
        np.testing.assert_array_equal(value[some], few["parameters"][name])
    for a, b, c in zip(first, second, third, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a[some], c)


@pytest.mark.parametrize("structure", STRUCTURES, ids=["paper", "modern"])
def test_a_diverged_run_is_frozen_and_harms_nobody(structure: dict[str, str]) -> None:
    """It keeps the parameters of its last finite step; the others keep their bits."""
    arguments = problem(5, 13, **structure)
    wild = copy(arguments)
    wild["rates"] = {
        name: value
        * np.where(np.arange(5) == 3, 1e12, 1)
        .astype(np.float32)
        .reshape(-1, *[1] * (value.ndim - 1))
        for name, value in wild["rates"].items()
    }
    short = copy(wild)
    result = train(wild)
    calm = train(arguments)
    others = [0, 1, 2, 4]
    end = result.diverged[3]
    assert end > 0
    assert (result.diverged[others] == -1).all()
    for key in ("images", "labels", "factors"):
        short[key] = short[key][:, :end]
    before = train(short)
    assert (before.loss[3] == result.loss[3][:end]).all()
    assert not np.isfinite(result.loss[3][end])
    for a, b in zip(result, calm, strict=True):
        np.testing.assert_array_equal(a[others], b[others])
    for name, value in wild["parameters"].items():
        np.testing.assert_array_equal(
            value[others], arguments["parameters"][name][others]
        )
        np.testing.assert_array_equal(value[3], short["parameters"][name][3])


@njit
def squash(memory: Any, code: int, count: int) -> None:
    maps.activate(memory, code, 0, count, count)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_an_activation_is_within_a_millionth(activation: str) -> None:
    """Value and slope, from -20 to 20: 1e-6 of torch in float64, relative above 1."""
    x = np.linspace(-20, 20, 8000).astype(np.float32)
    memory = np.concatenate([x, x]).reshape(-1, llvm.LANES)
    squash(memory, list(COMPILED).index(activation), 1000)
    exact = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    value = ACTIVATIONS[activation](exact)
    (slope,) = torch.autograd.grad(value.sum(), exact)
    size = np.maximum(1, np.abs(value.detach().numpy()))
    assert (np.abs(memory[:1000].ravel() - value.detach().numpy()) / size).max() < 1e-6
    assert np.abs(memory[1000:].ravel() - slope.numpy()).max() < 1e-6


# Small steps: at large ones rounding grows until a ReLU or a maximum flips. And where
# g / (sqrt(v) + epsilon) is near a sign, rounding is all that decides it.
TAME = {"optimizer.epsilon": 0.01}
TRAINED: tuple[dict[str, Any], ...] = tuple(
    {"optimizer": level, "preset": "modern", "optimizer.lr": 0.0005}
    | {"augmentation": "none"}
    | (TAME if level in ("rmsprop", "adam", "adamw", "muon") else {})
    | ({"optimizer.adamw_lr": 0.0005} if level == "muon" else {})
    for level in LEVELS
    if level != "sdlm"
)
MUON = next(level for level in TRAINED if level["optimizer"] == "muon")
TAUGHT = {
    "teacher": "runs",
    "teacher.weight": 0.7,
    "teacher.records": "a" * 16,
    "teacher.temperature": 2,
}
CONSISTENT = TAUGHT | {"teacher": "consistent"}
CROSSED: tuple[dict[str, Any], ...] = (
    {},
    {"head": "rbf_map", "schedule": "cosine", "train_size": 30},
    {"optimizer": "sgd", "optimizer.lr": 0.0005, "batch_size": 1, "order": "reshuffle"},
    {"augmentation": "affine_1998"},
    {"head": "ten_units", "activation": "tanh", "input": "hundredths", "init": "lush"},
    {"average": "pass", "optimizer.curvature_least": 0.05},
    {"optimizer.samples_first": 1, "optimizer.samples": 9, "order": "reshuffle"},
    {"average": "pass", "batch_size": 7, "preset": "modern", "norm": "batch"},
    {"batch_size": 7, "augmentation": "rotate"},  # sdlm; the last batch has 4
    {"batch_size": 1, "optimizer": "adam", "optimizer.lr": 0.0003, **TAME},
    *(level | {"batch_size": 7, "dropout": 0.3} for level in TRAINED),
    *(level | {"optimizer.weight_decay": 0.02} for level in TRAINED),
    MUON | {"connection": "table", "norm": "batch"},
    MUON | {"batch_size": 1},
    MUON | {"batch_size": 1, "preset": "paper", "optimizer.weight_decay": 0.02},
    TRAINED[0] | {"augmentation": "elastic", "head.smoothing": 0.1},
    TRAINED[0] | {"augmentation": "affine_elastic", "average": "ema", "norm": "batch"},
    TRAINED[0] | {"augmentation": "affine_cutout", "average": "swa"},
    TRAINED[0] | {"mix": "mixup", "augmentation": "affine_elastic", "dropout": 0.2},
    TRAINED[0] | {"mix": "mixup", "augmentation": "affine_cutout", "head": "rbf"},
    TRAINED[0] | {"mix": "mixup", "adversary": "pgd", "norm": "batch"} | SMALL,
    {"mix": "mixup", "augmentation": "affine_1998", "head": "rbf_map"},
    TRAINED[0] | TAUGHT | {"augmentation": "affine", "norm": "batch"},
    TRAINED[0] | TAUGHT | {"mix": "mixup", "adversary": "pgd"} | SMALL,
    TAUGHT | {"head": "rbf_map", "batch_size": 1, "mix": "mixup"},
    TRAINED[0] | CONSISTENT | {"augmentation": "affine_cutout", "dropout": 0.3},
    TRAINED[0] | CONSISTENT | {"mix": "mixup", "augmentation": "affine_elastic"},
    TRAINED[0] | CONSISTENT | {"adversary": "pgd", "augmentation": "affine"} | SMALL,
    CONSISTENT | {"head": "rbf", "batch_size": 1, "augmentation": "affine_1998"},
    TRAINED[0] | CONSISTENT | {"batch_size": 1, "train_size": 11},  # pieces of 10 and 1
    TAUGHT | {"head": "ten_units", "activation": "tanh", "batch_size": 9},
    {"augmentation": "affine_cutout", "average": "ema", "batch_size": 1},
    {"augmentation": "affine_elastic", "batch_size": 1, "train_size": 20},
    TRAINED[0] | {"norm": "batch", "batch_size": 13},
    {"norm": "batch", "batch_size": 1, "train_size": 20},
    TRAINED[0] | {"adversary": "fgsm", "adversary.held_out": 9},
    TRAINED[0] | {"adversary": "pgd", "norm": "batch"} | SMALL,
    TRAINED[0] | {"batch_size": 300, "train_size": 290},  # three rounds a batch
    *(
        TRAINED[0]
        | {factor: level, "batch_size": 11}
        | ({"optimizer.lr": 0.0001} if level.startswith("rbf") else {})
        for factor in ("activation", "pooling", "connection", "head", "init", "input")
        for level in names(factor)
    ),
    TRAINED[1] | {"head": "rbf_map", "dropout": 0.5, "augmentation": "shift"},
)


@pytest.mark.parametrize("change", mostly_slow(CROSSED, every=28), ids=str)
def test_compiled_loop_trains_what_the_plain_loop_trains(
    change: dict[str, Any], digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """stack.train gives the same weights, errors and curve through either loop."""
    overrides = {"preset": "paper", "data": "digits", "epochs": 2, "replicates": 3}
    if not change.keys() & {"optimizer", "preset"}:  # sdlm, which draws samples
        overrides["optimizer.samples"] = 20
    overrides |= {"train_size": 24, **change}
    configs, _ = composed([f"{key}={value}" for key, value in overrides.items()])
    if configs[0].number("batch_size") < 100:
        monkeypatch.setattr(recipe, "IMAGES", 10)  # pieces, the last one smaller
        for level in ("pass", "ema"):
            often = replace(average.LEVELS[level], images=10)  # type: ignore[type-var]  # no None there
            monkeypatch.setitem(average.LEVELS, level, often)
    tested = {"test_images": digits.test_images[:30]}
    few = replace(digits, **tested, test_labels=digits.test_labels[:30])
    known = schooled(configs, few)
    assert compiled.can_run(stack.Stack.start(configs, few, known).model)
    fast = stack.train(configs, few, teachers=known)
    monkeypatch.setattr(compiled, "can_run", lambda model: False)
    plain = stack.train(configs, few, teachers=known)
    for result, other in zip(fast, plain, strict=True):
        assert [p["train_error"] for p in result.curve] == [
            p["train_error"] for p in other.curve
        ]
        for name, weights in result.weights.items():
            # A rounding that turns a tie of max pooling moved one by 6.3e-6 on Intel.
            torch.testing.assert_close(
                weights, other.weights[name], rtol=0, atol=2e-5, msg=name
            )


@pytest.mark.parametrize("size", mostly_slow([9, 1, 2, 3], every=4))
def test_a_run_has_its_bits_in_a_stack_of_any_size(size: int, digits: Data) -> None:
    """Alone, in lanes that share its batches, or in one lane of a full group."""
    line = ["data=digits", "epochs=2", "train_size=65", "batch_size=30", "dropout=0.2"]
    configs, _ = composed([*line, "augmentation=affine", "replicates=13"])
    whole = stack.train(configs, digits)
    part = stack.train(configs[3 : 3 + size], digits)
    for result, other in zip(whole[3:], part, strict=False):
        assert result.curve[-1]["train_error"] == other.curve[-1]["train_error"]
        for name, weights in other.weights.items():
            assert torch.equal(result.weights[name], weights), name


MODELS = [
    *({"preset": preset, factor: level} for preset in ("paper", "modern")
      for factor in ("activation", "pooling", "head") for level in names(factor)),
    *({"preset": preset, "norm": "batch"} for preset in ("paper", "modern")),
]  # fmt: skip


def begun(change: dict[str, Any], digits: Data) -> stack.Stack:
    """A stack of three after a pass."""
    line = ["data=digits", "train_size=64", "batch_size=16", "replicates=3"]
    line += ["optimizer=sdlm", "optimizer.lr=0.0003", "optimizer.samples=21"]
    line += ["adversary=fgsm", "adversary.epsilon=0.1"]
    configs, _ = composed([*line, *(f"{k}={v}" for k, v in change.items())])
    begun = stack.Stack.start(configs, digits)
    begun.run_epoch(0, digits, lambda progress: None)
    return begun


@pytest.mark.parametrize("change", mostly_slow(MODELS, every=18), ids=str)
def test_answers_and_curvature_are_the_plain_networks(
    change: dict[str, Any], digits: Data
) -> None:
    """Compiled answers, as they are and under attack, and h_kk equal torch's."""
    state = begun(change, digits)
    images, labels = digits.test_images[:40], digits.test_labels[:40]
    answers = compiled.answers(state.recipe, state.model, images, labels)
    state.model.eval()
    with torch.no_grad():
        logits = state.model(images / 255)
    margin = logits.topk(2).values.diff().abs()[..., 0]
    sure = margin > 1e-4 * logits.abs().amax(-1)
    # ReLU makes many of ten_units' distances equal: fewer answers are sure.
    assert sure.double().mean() > (0.25 if change.get("head") == "ten_units" else 0.5)
    assert (answers == logits.argmax(-1))[sure].all()
    keys = draws.fold(state.recipe.streams["watch"][:, None], torch.arange(40))
    fast = compiled.right_under_attack(
        state.recipe, state.model, images, labels, draws.fold(keys, 0)
    )
    epsilon = state.recipe.numbers["adversary.epsilon"]
    slow = adversary.right_under_attack(
        state.model, images / 255, labels, keys, epsilon
    )
    assert (fast != slow).double().mean() < 0.02
    chosen = torch.arange(60).view(3, 20)
    ours = compiled.curvature(state.recipe, state.model, digits, chosen)
    state.model.double()
    theirs = curvature(state.model, digits.train_images[chosen].double() / 255)
    assert ours.keys() == theirs.keys()
    for name, values in theirs.items():
        size = values.abs().amax().item()
        torch.testing.assert_close(
            ours[name].double(), values, rtol=1e-3, atol=1e-5 * size, msg=name
        )


def test_scores_are_the_plain_networks(digits: Data) -> None:
    """Compiled scores of every training image equal torch's, whatever the network."""
    (config,), _ = composed(["data=digits", *(f"{k}={v}" for k, v in TAUGHT.items())])
    for teacher in schooled([config], digits):
        scores = stack.scores_of(teacher, digits)
        assert scores.shape == (len(digits.train_images), 10)
        with torch.no_grad():
            expected = teacher.model.double()(digits.train_images.double() / 255)[0]
        torch.testing.assert_close(scores.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("threads", mostly_slow([2, 1, 5, 3], every=2))
@pytest.mark.parametrize("level", ["norm=none", "norm=batch", "optimizer=muon"])
def test_a_lone_run_has_the_same_bits_on_any_threads(
    level: str, threads: int, digits: Data
) -> None:
    """Shared out over threads, a run is what one thread makes of it."""
    line = ["data=digits", "epochs=1", "train_size=200", "batch_size=150"]
    configs, _ = composed([*line, level, "dropout=0.2"])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        (alone,) = stack.train(configs, digits)
        torch.set_num_threads(threads)
        (shared,) = stack.train(configs, digits)
    finally:
        torch.set_num_threads(before)
    for name, weights in alone.weights.items():
        assert torch.equal(shared.weights[name], weights), name


@pytest.mark.parametrize(
    "change",
    [
        {"pictures": np.zeros((3, 28, 28), np.float32)},
        {"pictures": np.zeros((3, 28, 27), np.uint8)},
        {"order": np.array([[0, 3]])},
        {"order": np.array([[0, -1]])},
        {"labels": np.array([[0, 10]])},
        {"labels": np.array([[0]])},
        {"where": np.zeros((1, 2, 2, 2))},
        {"masks": np.zeros((1, 2, 203))},
        {"elastic": np.zeros((1, 3), np.int64)},
        {"partner": np.array([[0, 3]])},
        {"partner_label": np.array([[0, 10]])},
        {"share": np.zeros((1, 3))},
        {"answered": np.zeros((1, 3, 10))},
    ],
    ids=str,
)
def test_what_would_be_read_astray_is_refused(change: dict[str, Any]) -> None:
    """The loops check no bounds: the arrays are checked before."""
    good = {"pictures": np.zeros((3, 28, 28), np.uint8), "order": np.array([[0, 2]])}
    shown = {**good, "labels": np.array([[0, 9]])}
    passes.checked(passes.Shown(**shown))
    with pytest.raises(ValueError):
        passes.checked(passes.Shown(**(shown | change)))
