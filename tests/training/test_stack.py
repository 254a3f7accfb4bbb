"""Training: every run of a stack is what it would be alone, in float64 and in bits."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import PLAIN, config, schooled
from marks import mostly_slow
from torch import Tensor
from torch.nn import functional

from lenet.config import FACTORS, Config, Refusal, Value, group_levels
from lenet.training import compiled, draws, recipe
from lenet.training.curvature import curvature
from lenet.training.data import Data
from lenet.training.factor.average import LEVELS as AVERAGES
from lenet.training.factor.average import Average
from lenet.training.factor.optimizer import LEVELS as OPTIMIZERS
from lenet.training.model import LeNet5
from lenet.training.stack import Progress, Report, Result, Stack
from lenet.training.stack import train as train_with

Changes = Mapping[str, Value]
RATES = {"sgd": 0.02, "momentum": 0.01, "nesterov": 0.01}  # 0.002 for the others
MIXED: list[dict[str, Value]] = [
    {"init": "kaiming"},
    {"init": "orthogonal", "schedule": "cosine", "optimizer.weight_decay": 0.01},
    {"init": "lecun_sqrt", "order": "constant", "input": "range_1998"},
]
SEEDS = (3, 0, 11)
STRUCTURES: dict[str, Changes] = {
    "plain": {},
    **{f"optimizer={level}": {"optimizer": level} for level in OPTIMIZERS},
    **{
        f"activation={level}": {"activation": level}
        for level in group_levels("activation")
        if level != PLAIN["activation"]
    },
    "connection=table": {"connection": "table"},
    "pooling=average": {"pooling": "average"},
    "pooling=stride": {"pooling": "stride"},
    "pooling=subsample": {"pooling": "subsample"},
    "head=rbf": {"head": "rbf"},
    "head=rbf_map": {"head": "rbf_map"},
    "norm=batch": {"norm": "batch"},
    "dropout": {"dropout": 0.3},
    **{
        f"average={level}": {"average": level, "norm": "batch"}
        for level in group_levels("average")
        if level != "none"
    },
    **{
        f"adversary={level} {name}": {"adversary": level, **changes}
        for level in group_levels("adversary")
        if level != "none"
        for name, changes in (
            ("plain", {}),
            ("norm=batch", {"norm": "batch", "dropout": 0.3}),
            ("head=rbf", {"head": "rbf", "pooling": "subsample"}),
            ("batch 1", {"batch_size": 1, "optimizer": "sgd", "train_size": 5}),
        )
    },
    **{
        f"augmentation={level}": {"augmentation": level}
        for level in group_levels("augmentation")
        if level != "none"
    },
    "mix=mixup": {"mix": "mixup", "augmentation": "affine"},
    "teacher=runs": {"teacher": "runs", "head": "rbf", "mix": "mixup"},
    "teacher=consistent": {"teacher": "consistent", "augmentation": "affine"},
    "paper": {
        "activation": "scaled_tanh",
        "pooling": "subsample",
        "connection": "table",
        "head": "rbf_map",
        "batch_size": 1,
        "train_size": 5,
    },
}


def train(
    configs: Sequence[Config], data: Data, report: Report = lambda progress: None
) -> list[Result]:
    """The trained runs, with teachers where they have some."""
    return train_with(configs, data, report, schooled(configs, data))


def runs(changes: Changes, count: int = 3) -> list[Config]:
    """Runs of one structure with mixed seeds, inits, schedules, orders and rates."""
    level = str(changes.get("optimizer", PLAIN["optimizer"]))
    rate = RATES.get(level, 0.002)
    made = []
    for place in range(count):
        own = {**MIXED[place % 3], "optimizer.lr": rate * (1 + place % 3)}
        if "teacher" in changes:
            own["teacher.temperature"] = (4.0, 1.0, 2.0)[place % 3]
            own["teacher.weight"] = (0.5, 0.9, 0.0)[place % 3]
        if changes.get("mix") == "mixup":
            own["mix.alpha"] = (0.2, 1.0, 0.05)[place % 3]
        if "dropout" in changes:
            own["dropout"] = (0.3, 0.0, 0.5)[place % 3]
        seed = SEEDS[place % 3] + 100 * (place // 3)
        made.append(config({**changes, **own}, seed))
    return made


def assert_same_bits(run: Result, other: Result) -> None:
    """The runs agree in every bit of their weights, and in all else but the seconds."""
    assert run.weights.keys() == other.weights.keys()
    for name, weight in run.weights.items():
        assert torch.equal(weight, other.weights[name]), name
    assert torch.equal(run.right, other.right)
    assert run.diverged_step == other.diverged_step
    timeless = [
        [{k: v for k, v in point.items() if k != "seconds"} for point in result.curve]
        for result in (run, other)
    ]
    assert timeless[0] == timeless[1]


# --- A run does not depend on its stack -----------------------------------------------


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("name", mostly_slow([*STRUCTURES], every=9))
def test_stack_equals_lone_runs(name: str, tiny: Data) -> None:
    """Three different runs end where each ends alone, in float64."""
    small = {"train_size": 18, **STRUCTURES[name]}
    configs = runs(small)
    together = train(configs, tiny)
    for run, result in zip(configs, together, strict=True):
        (alone,) = train([run], tiny)
        for key, weight in result.weights.items():
            torch.testing.assert_close(
                weight, alone.weights[key], rtol=1e-8, atol=1e-9, msg=f"{name} {key}"
            )
        assert result.diverged_step is None


@pytest.mark.parametrize("name", mostly_slow([*STRUCTURES], every=16))
def test_run_has_the_same_bits_in_any_stack(name: str, tiny: Data) -> None:
    """In float32 a run is bit for bit the same alone, in stacks of 2, 3 and 5, and in
    any place."""
    configs = runs({"train_size": 18, **STRUCTURES[name]}, 5)
    assert compiled.can_run(Stack.start(configs, tiny, schooled(configs, tiny)).model)
    five = train(configs, tiny)
    for chosen in ([0], [1, 0], [4, 2], [2, 3, 1]):
        smaller = train([configs[place] for place in chosen], tiny)
        for place, result in zip(chosen, smaller, strict=True):
            assert_same_bits(result, five[place])


def plain_loop(run: Config, data: Data) -> dict[str, Tensor]:
    """The weights after training one run with torch's optimizer, a mean loss, and the
    learning rate and order that the run's levels say; no augmentation, no dropout."""
    model = Stack.start([run, run], data).model
    single = LeNet5(1, **{f: run.level(f) for f in FACTORS[:5]})
    single.load_state_dict({k: v[:1] for k, v in model.state_dict().items()})
    optimizer = torch.optim.SGD(
        single.parameters(), lr=1.0, momentum=run.number("optimizer.momentum")
    )
    images, batch_size = torch.arange(len(data.train_images)), 7
    stream = draws.stream([run.seed], "order")
    for epoch in range(int(run.number("epochs"))):
        shuffled = draws.fold(draws.fold(stream, epoch), images).argsort()
        for batch in shuffled.split(batch_size):
            logits = single(data.train_images[batch] / 255)[0]
            loss = functional.cross_entropy(logits, data.train_labels[batch])
            for group in optimizer.param_groups:
                group["lr"] = run.number("optimizer.lr") * (0.4 if epoch > 1 else 1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {k: w[0].detach() for k, w in single.state_dict().items()}


@pytest.mark.usefixtures("float64")
def test_stack_equals_a_plain_loop(tiny: Data) -> None:
    """Three runs of three passes, the last batch smaller, equal an ordinary training
    loop with torch.optim, cross_entropy and 1998's schedule."""
    changes = {"schedule": "steps_1998", "epochs": 3, "connection": "table"}
    configs = [
        config({**changes, "optimizer.lr": lr, "init": init}, seed)
        for lr, init, seed in (
            (0.01, "kaiming", 0),
            (0.02, "xavier", 5),
            (0.005, "lecun", 2),
        )
    ]
    for run, result in zip(configs, train(configs, tiny), strict=True):
        for key, weight in plain_loop(run, tiny).items():
            torch.testing.assert_close(
                result.weights[key], weight, rtol=1e-8, atol=1e-9, msg=key
            )


SDLM = {"optimizer": "sdlm", "batch_size": 1, "epochs": 3, "schedule": "steps_1998"}
SDLM |= {"head": "rbf", "activation": "scaled_tanh", "pooling": "subsample"}
SDLM |= {"order": "constant", "init": "lecun_sqrt", "train_size": 6}


def marquardt_loop(run: Config, data: Data) -> tuple[dict[str, Tensor], list[float]]:
    """The weights after w <- w - eta/(mu + h) g, a step an image, with h of all images
    before each pass, and the least and the largest step size of the first pass."""
    start = Stack.start([run, run], data)
    model, images, sizes = start.model, start.recipe.images, list[float]()
    number = {k: run.number(f"optimizer.{k}") for k in ("lr", "mu", "curvature_scale")}
    kept, h = run.number("optimizer.curvature_kept"), dict[str, Tensor]()
    order = draws.fold(
        draws.fold(draws.stream([run.seed], "order"), 0), images
    ).argsort()
    pixels = data.train_images[images].expand(2, -1, -1, -1) / 255
    for epoch in range(3):
        for name, fresh in curvature(model, pixels).items():
            new = number["curvature_scale"] * fresh
            h[name] = new if epoch == 0 else kept * h[name] + (1 - kept) * new
        rate = number["lr"] * (1, 1, 0.4)[epoch]
        least = run.number("optimizer.curvature_least")
        steps = {k: rate / (number["mu"] + v).clamp(min=least) for k, v in h.items()}
        if epoch == 0:
            every = torch.cat([values.flatten() for values in steps.values()])
            sizes = [every.min().item(), every.max().item()]
        for image in images[order]:
            outputs = model(data.train_images[image][None] / 255)
            loss = -outputs[:, 0, data.train_labels[image]].sum()
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            with torch.no_grad():
                for (name, weight), gradient in zip(
                    model.named_parameters(), gradients, strict=True
                ):
                    weight -= steps[name] * gradient
    return {k: w[0].detach() for k, w in model.named_parameters()}, sizes


def marquardts() -> list[Config]:
    """Runs of sdlm at batch 1 that differ in seed and in all of its numbers."""
    return [
        config({**SDLM, "optimizer.curvature_scale": scale, **numbers}, seed)
        for seed, scale, numbers in (
            (0, 1.0, {}),
            (3, 4.0, {"optimizer.curvature_kept": 0.3}),
            (1, 2.0, {"optimizer.curvature_kept": 1.0, "optimizer.mu": 0.05}),
            (2, 1.0, {"optimizer.curvature_least": 0.3}),
        )
    ]


def test_sdlm_run_has_the_same_bits_in_any_place(tiny: Data) -> None:
    """In the compiled loop too, where the curvature is the stack's."""
    configs = marquardts()
    assert compiled.can_run(Stack.start(configs, tiny).model)
    three = train(configs, tiny)
    for chosen in ([1, 2, 0], [2, 1, 0]):
        moved = train([configs[place] for place in chosen], tiny)
        for place, result in zip(chosen, moved, strict=True):
            assert_same_bits(result, three[place])
            assert result.step_sizes == three[place].step_sizes


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_sdlm_equals_a_plain_loop(tiny: Data) -> None:
    """Steps are eta/(mu + h) after each image; h is fixed during a pass and estimated
    again before the next, save the share that stays; pass 1's step sizes are kept."""
    configs = marquardts()
    for run, result in zip(configs, train(configs, tiny), strict=True):
        weights, sizes = marquardt_loop(run, tiny)
        for key, weight in weights.items():
            torch.testing.assert_close(
                result.weights[key], weight, rtol=1e-8, atol=1e-9, msg=key
            )
        assert result.step_sizes == pytest.approx(sizes, rel=1e-6)


def test_samples_are_drawn_for_a_pass_or_the_first_of_its_order(tiny: Data) -> None:
    """samples_first=1: the same images before each pass of a constant order."""
    numbers = {"optimizer.samples": 3, "optimizer.samples_first": 1}
    first, drawn = (
        Stack.start([config({**SDLM, **numbers, **change}, 4)], tiny)
        for change in ({}, {"optimizer.samples_first": 0})
    )
    for epoch in range(3):
        assert torch.equal(first.recipe.samples(epoch), first.recipe.orders(0)[:, :3])
    assert not torch.equal(drawn.recipe.samples(0), drawn.recipe.samples(1))


@pytest.mark.slow
@pytest.mark.usefixtures("float64")
def test_average_of_a_pass_is_tested_and_not_trained(
    tiny: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights are the mean over the last pass, from as many images to the next; the
    training errors are those of a run without an average."""
    monkeypatch.setitem(AVERAGES, "pass", looked_at("pass", 2))
    run = config({**SDLM, "average": "pass"}, 0)
    (result,) = train([run], tiny)
    (plain,) = train([config(SDLM, 0)], tiny)
    assert [point["train_wrong"] for point in result.curve] == [
        point["train_wrong"] for point in plain.curve
    ]
    seen: list[dict[str, Tensor]] = []
    remember = Stack.remember

    def watch(self: Stack, place: int, epoch: int) -> None:
        remember(self, place, epoch)
        seen.append({k: w.detach().clone() for k, w in self.model.named_parameters()})

    monkeypatch.setattr(Stack, "remember", watch)
    train([run], tiny)
    assert len(seen) == 9  # three passes of six images
    for name, weight in result.weights.items():
        if name in seen[0]:
            mean = sum(weights[name][0] for weights in seen[-3:]) / 3
            torch.testing.assert_close(weight, mean, rtol=1e-12, atol=1e-12)
            assert not torch.equal(weight, seen[-1][name][0])


def looked_at(level: str, images: int) -> Average:
    """An average that looks at the weights after so many images."""
    average = AVERAGES[level]
    assert average is not None
    return replace(average, images=images)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("level", mostly_slow(["ema", "swa"], every=2))
def test_average_is_what_its_paper_says(
    level: str, tiny: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ema: sum of d^(K-k) w_k over all times by sum of d^(K-k); swa: the mean of the
    ends of the last passes. Batch norm's statistics are averaged too; training goes on
    as without, each run with its own number."""
    monkeypatch.setitem(AVERAGES, "ema", looked_at("ema", 2))
    numbers = {"ema": ("average.decay", 0.8, 0.5), "swa": ("average.begin", 0.2, 0.6)}
    key, *values = numbers[level]
    changes = {"norm": "batch", "epochs": 4, "batch_size": 2, "train_size": 6}
    runs = [config({**changes, "average": level, key: value}) for value in values]
    seen: list[dict[str, Tensor]] = []
    remember = Stack.remember

    def watch(self: Stack, place: int, epoch: int) -> None:
        remember(self, place, epoch)
        seen.append({k: w.clone() for k, w in self.model.state_dict().items()})

    monkeypatch.setattr(Stack, "remember", watch)
    results = train(runs, tiny)
    times = 4 * 3 if level == "ema" else 4
    assert len(seen) == times
    shares = [[d ** (times - k) for k in range(times)] for d in values]
    if level == "swa":  # int(0.2 * 4) = 0 and int(0.6 * 4) = 2 passes are left out
        shares = [[1, 1, 1, 1], [0, 0, 1, 1]]
    for run, (result, counts) in enumerate(zip(results, shares, strict=True)):
        for name, averaged in result.weights.items():
            parts = [
                n * weights[name][run] for n, weights in zip(counts, seen, strict=True)
            ]
            expected = torch.stack(parts).sum(0) / sum(counts)
            torch.testing.assert_close(averaged, expected, rtol=1e-9, atol=1e-12)
    (plain, _) = train([config(changes)] * 2, tiny)
    wrong = [point["train_wrong"] for point in plain.curve]
    assert wrong == [point["train_wrong"] for point in results[0].curve]


def test_mixed_structures_are_refused(tiny: Data) -> None:
    """Runs that cannot be one program are an error that names what must be shared."""
    with pytest.raises(Refusal, match=r"must share .*pooling"):
        train([config(), config({"pooling": "average"})], tiny)


# --- Randomness -----------------------------------------------------------------------

RANDOM = {"augmentation": "affine_1998", "dropout": 0.3, "train_size": 18, "epochs": 2}


def test_same_seed_gives_the_same_bits(tiny: Data) -> None:
    """A run can be repeated exactly, whatever was drawn before."""
    first = train(runs(RANDOM), tiny)
    torch.rand(5), np.random.rand(5)
    for result, again in zip(first, train(runs(RANDOM), tiny), strict=True):
        assert_same_bits(result, again)


@pytest.mark.parametrize("seeds", [(0, 1), (1, 2), (0, 2**31 - 1)])
def test_seeds_differ(seeds: tuple[int, int], tiny: Data) -> None:
    """Seed 0 is a seed like any other: each gives another run."""
    result, other = train([config(RANDOM, seed) for seed in seeds], tiny)
    for name, weight in result.weights.items():
        if name.endswith("weight"):
            assert (weight != other.weights[name]).double().mean() > 0.95, name


def test_training_leaves_the_global_generators_alone(tiny: Data) -> None:
    """Neither torch's nor NumPy's generator moves, nor torch's default dtype."""
    before = torch.get_rng_state(), np.random.get_state(), torch.get_default_dtype()
    train(runs(RANDOM), tiny)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(map(np.array_equal, np.random.get_state(), before[1]))
    assert torch.get_default_dtype() == before[2]


def test_treatments_of_a_seed_share_their_draws(tiny: Data) -> None:
    """A changed level leaves the order, the distortions and dropout of a seed alone."""
    batch = torch.tensor([[3, 5, 7], [2, 3, 11]])
    pixels = tiny.train_images[batch] / 255
    drawn = []
    for changes in (
        {},
        {"activation": "tanh", "pooling": "subsample", "init": "lecun"},
    ):
        state = Stack.start([config({**RANDOM, **changes}, s) for s in (0, 1)], tiny)
        masks = state.recipe.dropout_masks(batch, 1)
        assert masks is not None
        moved = state.augment(pixels, batch, 1)
        drawn.append([state.recipe.orders(1), moved, masks["C5"], masks["F6"]])
    for draw, other in zip(*drawn, strict=True):
        assert torch.equal(draw, other)


# --- Dropout --------------------------------------------------------------------------


def test_dropout_keeps_its_share(tiny: Data) -> None:
    """Of C5 and F6 each run drops its share, and divides what is kept by 1 - share."""
    shares = (0.25, 0.0, 0.5)
    state = Stack.start([config({"dropout": share}) for share in shares], tiny)
    batch = torch.arange(40).expand(3, -1)
    masks = state.recipe.dropout_masks(batch, 0)
    assert masks is not None and set(masks) == {"C5", "F6"}
    for mask in masks.values():
        for run, share in enumerate(shares):
            kept = mask[run] != 0
            assert torch.equal(mask[run], kept / (1 - share))
            assert kept.double().mean().item() == pytest.approx(1 - share, abs=0.03)


def test_dropout_differs_by_layer_epoch_image_and_run(tiny: Data) -> None:
    """No two rows of the masks are the same, but the same again repeats them."""
    state = Stack.start([config({"dropout": 0.5}, seed) for seed in (0, 1)], tiny)
    batch = torch.arange(5).expand(2, -1)
    masks = [state.recipe.dropout_masks(batch, epoch) for epoch in (0, 1)]
    rows = [m[layer][..., :84].flatten(0, 1) for m in masks if m for layer in m]
    assert len(torch.cat(rows).unique(dim=0)) == 40
    again = state.recipe.dropout_masks(batch.flip(1), 0)
    assert masks[0] is not None and again is not None
    assert torch.equal(again["C5"].flip(1), masks[0]["C5"])


def test_no_dropout_has_no_masks(tiny: Data) -> None:
    """At dropout 0 nothing is multiplied."""
    state = Stack.start([config(), config()], tiny)
    assert state.recipe.dropout_masks(torch.arange(5).expand(2, -1), 0) is None


# --- Divergence -----------------------------------------------------------------------

WILD: dict[str, Value] = {"optimizer": "sgd", "optimizer.lr": 1e30, "epochs": 2}


@pytest.mark.parametrize(
    ("optimizer", "norm"),
    mostly_slow(
        [*itertools.product(OPTIMIZERS, ["none", "batch"])], every=3, several=True
    ),
)
def test_diverging_run_leaves_the_others_alone(
    optimizer: str, norm: str, tiny: Data
) -> None:
    """A run whose loss overflows is diverged, at its step; the others are bit for bit
    what they are beside one that does well."""
    levels_ = {"optimizer": optimizer, "norm": norm, "epochs": 2, "head": "rbf"}
    first, tame, *others = runs(levels_, 4)
    wild = Config({**tame.treatment, "optimizer.lr": 1e30}, tame.seed)
    results = train([first, wild, *others], tiny)
    assert results[1].diverged_step is not None
    beside = train([first, tame, *others], tiny)
    for place in (0, 2, 3):
        assert_same_bits(results[place], beside[place])
        assert results[place].diverged_step is None


def test_diverged_run_knows_its_step(tiny: Data) -> None:
    """The first non-finite loss names the step, counted over all passes; the run stays
    where it was, is not in the curve, and is right about nothing it cannot say."""
    wild = config(WILD)
    results = train([wild, config({**WILD, "optimizer.lr": 0.01}, 1)], tiny)
    assert results[0].diverged_step == 1  # one step of 1e30 and no finite loss after it
    assert results[0].curve == []
    assert len(results[1].curve) == 2 and results[1].diverged_step is None
    state = Stack.start([wild, wild], tiny)
    state.run_epoch(0, tiny, lambda progress: None)
    assert not state.alive.any()
    assert state.diverged_step.tolist() == [1, 1]
    for name, weight in state.model.named_parameters():
        assert torch.equal(weight[0].detach(), results[0].weights[name])


def test_planted_infinity_diverges_at_once(tiny: Data) -> None:
    """A run with an infinite weight diverges at the next step and stays where it was;
    its neighbours' weights and running statistics do not see it."""
    configs = runs({"optimizer": "adam", "norm": "batch"})
    sick, well = (Stack.start(configs, tiny) for _ in range(2))
    for state in (sick, well):
        state.run_epoch(0, tiny, lambda progress: None)
    with torch.no_grad():
        sick.model.output.weight[1, 3, 5] = torch.inf
    before = [weight[1].detach().clone() for weight in sick.model.parameters()]
    for state in (sick, well):
        state.run_epoch(1, tiny, lambda progress: None)
    assert sick.alive.tolist() == [True, False, True]
    assert sick.diverged_step.tolist() == [-1, 7, -1]
    for weight, kept in zip(sick.model.parameters(), before, strict=True):
        finite = kept.isfinite()  # all but the planted one
        assert torch.equal(weight[1][finite], kept[finite])
    for run in (0, 2):
        for name, value in sick.model.state_dict().items():
            assert torch.equal(value[run], well.model.state_dict()[name][run]), name


def test_training_stops_when_all_runs_have_diverged(tiny: Data) -> None:
    """No pass is spent on runs that are all dead."""
    seen: list[Progress] = []
    train([config({**WILD, "epochs": 5})], tiny, seen.append)
    assert [now.epoch for now in seen if now.test_error is not None] == [1]


def test_run_that_breaks_in_its_last_step_is_diverged(tiny: Data) -> None:
    """Weights that the last step made non-finite do not pass as a finished run."""
    changes = {**WILD, "optimizer.lr": 1e39, "epochs": 1, "train_size": 7}
    (result,) = train([config(changes)], tiny)
    assert not all(w.isfinite().all() for w in result.weights.values())
    assert result.diverged_step is not None


# --- Batches, splits and results ------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 5, 46, 100])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_any_batch_size_works(batch_size: int, norm: str, tiny: Data) -> None:
    """One image a batch, a smaller last batch and one batch for all: every image is
    presented once a pass, in ceil(n / batch) steps."""
    run = config({"batch_size": batch_size, "norm": norm, "optimizer.lr": 0.001})
    state = Stack.start([run, run], tiny)
    batches = state.recipe.orders(0).split(batch_size, dim=1)
    assert len(batches) == state.recipe.steps == -(-46 // batch_size)
    assert sorted(torch.cat(batches, 1)[0].tolist()) == list(range(46))
    (result,) = train([run], tiny)
    assert result.diverged_step is None
    assert all(weight.isfinite().all() for weight in result.weights.values())


def corrupted(data: Data, where: Tensor) -> Data:
    """The data with some training images turned to noise and their labels changed."""
    images, labels = data.train_images.clone(), data.train_labels.clone()
    noise = draws.uniform(draws.fold(draws.stream([0], "noise"), torch.arange(784)))
    images[where] = (noise * 255).to(torch.uint8).view(28, 28)
    labels[where] = (labels[where] + 1) % 10
    return replace(data, train_images=images, train_labels=labels)


def test_held_out_images_are_never_trained_on(tiny: Data) -> None:
    """Changing the images of validation_size, or those beyond train_size, changes no
    bit of the weights; changing one that is trained on does."""
    numbers: Changes = {"train_size": 18, "validation_size": 11, "epochs": 2}
    images, validation = tiny.split(18, 11)
    assert len(images) == 18 and len(validation) == 11
    assert not set(images.tolist()) & set(validation.tolist())
    (before,) = train([config(numbers)], tiny)
    unused = sorted(set(range(46)) - set(images.tolist()))
    (after,) = train([config(numbers)], corrupted(tiny, torch.tensor(unused)))
    for name, weight in before.weights.items():
        assert torch.equal(weight, after.weights[name]), name
    changed = [point["validation_error"] for point in after.curve]
    assert changed != [point["validation_error"] for point in before.curve]
    (other,) = train([config(numbers)], corrupted(tiny, images[:1]))
    assert not torch.equal(other.weights["F6.weight"], before.weights["F6.weight"])


def test_train_size_takes_the_first_of_one_order(tiny: Data) -> None:
    """A smaller training set is part of a larger one; null is all not held out."""
    smaller, larger = tiny.split(5, 0)[0], tiny.split(30, 0)[0]
    assert set(smaller.tolist()) < set(larger.tolist())
    images, validation = tiny.split(None, 7)
    together = torch.cat([images, validation])
    assert together.sort().values.tolist() == list(range(46))


@pytest.mark.parametrize(
    ("train_size", "validation_size"), [(40, 7), (None, 46), (47, 0)]
)
def test_too_large_a_split_is_refused(
    train_size: int | None, validation_size: int, tiny: Data
) -> None:
    """Sizes that do not fit are an error that names them."""
    with pytest.raises(Refusal, match=f"validation_size={validation_size}"):
        tiny.split(train_size, validation_size)


def test_result_is_of_the_last_pass(tiny: Data) -> None:
    """Weights, right answers and the curve's last error belong together: no best pass
    is chosen by the test set."""
    results = train(runs({"epochs": 5}), tiny)
    model = LeNet5(3, **{f: config().level(f) for f in FACTORS[:5]}).eval()
    names = results[0].weights
    model.load_state_dict(
        {k: torch.stack([r.weights[k] for r in results]) for k in names}
    )
    answers = model(tiny.test_images / 255).argmax(-1)
    for run, result in enumerate(results):
        assert torch.equal(result.right, answers[run] == tiny.test_labels)
        assert [point["epoch"] for point in result.curve] == [1, 2, 3, 4, 5]
        wrong = 1 - result.right.double().mean().item()
        assert result.curve[-1]["test_error"] == pytest.approx(wrong)


def test_training_learns(digits: Data) -> None:
    """Three passes over 400 digits leave fewer than one in five wrong."""
    some = replace(
        digits,
        train_images=digits.train_images[:400],
        train_labels=digits.train_labels[:400],
    )
    (result,) = train(
        [config({"optimizer": "adam", "epochs": 3, "batch_size": 16})], some
    )
    assert result.curve[-1]["test_error"] < 0.2
    assert result.curve[1]["train_error"] < result.curve[0]["train_error"]


@pytest.mark.parametrize("loop", ["compiled", "plain"])
def test_progress_is_reported(
    loop: str, digits: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reports within a pass, and one with a test error after it."""
    monkeypatch.setattr(recipe, "IMAGES", 50)
    monkeypatch.setattr(compiled, "can_run", lambda stack: loop == "compiled")
    some = replace(
        digits,
        train_images=digits.train_images[:52],
        train_labels=digits.train_labels[:52],
    )
    seen: list[Progress] = []
    few = {"test_images": some.test_images[:20], "test_labels": some.test_labels[:20]}
    numbers = {"batch_size": 1, "epochs": 2, "optimizer.lr": 0.001}
    train([config(numbers)], replace(some, **few), seen.append)
    steps = [50, 52] if loop == "compiled" else [50]
    assert [(now.epoch, now.step) for now in seen] == [
        *((0, step) for step in steps),
        (1, 0),
        *((1, step) for step in steps),
        (2, 0),
    ]
    assert all((now.test_error is None) == (now.step > 0) for now in seen)
    assert all(now.steps == 52 and now.batch == 1 for now in seen)


# --- Factors cross freely -------------------------------------------------------------


def covering() -> list[dict[str, str]]:
    """Treatments in which every pair of levels of two factors meets (greedy)."""
    known = {f: list(group_levels(f)) for f in FACTORS}
    cells = [(f, level) for f in FACTORS for level in known[f]]
    missing = {
        frozenset((cell, other))
        for cell, other in itertools.combinations(cells, 2)
        if cell[0] != other[0]
    }
    treatments = []
    while missing:
        chosen = dict(min(tuple(sorted(pair)) for pair in missing))
        for factor in FACTORS:
            if factor not in chosen:
                chosen[factor] = max(known[factor], key=gain(factor, chosen, missing))
        treatments.append(chosen)
        missing -= {frozenset(p) for p in itertools.combinations(chosen.items(), 2)}
    return treatments


def gain(
    factor: str, chosen: Mapping[str, str], missing: set[frozenset[tuple[str, str]]]
) -> Callable[[str], int]:
    """How many missing pairs a level of the factor would cover."""
    others = list(chosen.items())
    return lambda level: sum(frozenset(((factor, level), o)) in missing for o in others)


COVERING = covering()


def test_covering_covers() -> None:
    """Every pair of levels is in some treatment, in a few dozen treatments."""
    met = {
        pair for t in COVERING for pair in itertools.combinations(sorted(t.items()), 2)
    }
    count = {f: len(group_levels(f)) for f in FACTORS}
    expected = sum(count[a] * count[b] for a, b in itertools.combinations(FACTORS, 2))
    assert len(met) == expected
    assert len(COVERING) < 80  # 64 pairs of optimizer and augmentation alone


@pytest.mark.parametrize(
    "treatment", mostly_slow(COVERING, every=3), ids=lambda t: "-".join(t.values())
)
def test_levels_cross_freely(treatment: dict[str, str], tiny: Data) -> None:
    """Three steps with any level beside any other: no error, finite weights."""
    rate = {"optimizer.lr": 1e-4, "train_size": 18}
    two = [config({**treatment, **rate}, seed) for seed in (0, 1)]
    for result in train(two, tiny):
        assert result.diverged_step is None
        assert all(weight.isfinite().all() for weight in result.weights.values())


def test_runs_of_a_stack_are_a_sequence(tiny: Data) -> None:
    """Any sequence of configurations will do, and the order of results is theirs."""
    configs: Sequence[Config] = (config(seed=5), config(seed=2))
    swapped = train(configs[::-1], tiny)
    for result, other in zip(train(configs, tiny), swapped[::-1], strict=True):
        assert_same_bits(result, other)
