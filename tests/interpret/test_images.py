"""Every entrance takes the images that are meant, and refuses the rest by name."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from marks import mostly_slow
from small_networks import network

from lenet.config import Refusal
from lenet.interpret import overview, probe, sae
from lenet.interpret.gradcam import grad_cam
from lenet.interpret.images import checked_classes, checked_images, checked_labels
from lenet.interpret.layer_outputs import features, logits, predictions
from lenet.interpret.saliency import METHODS, Saliency, saliency
from lenet.interpret.sanity import faithfulness
from lenet.training.model import LeNet5

BYTES = torch.randint(0, 256, (3, 28, 28), generator=torch.Generator().manual_seed(1))
PIXELS = BYTES / 255
FEW = sae.Sae(steps=2, batch=2, active=(2,), penalty=(1.0,))
SHORT = Saliency(nodes=2, samples=2)


def of_method(name: str) -> Callable[[LeNet5, Any, Any], Any]:
    """One method of saliency."""
    return lambda model, images, classes: saliency(model, images, name, classes, SHORT)


def probed(model: LeNet5, images: Any, labels: Any) -> pd.DataFrame:
    """What probes read, learned and tested on the same images."""
    return probe.probes(model, (images, labels), {"clean": images}, labels)


def rebuilt(model: LeNet5, images: Any, labels: Any) -> pd.DataFrame:
    """How well few directions rebuild a layer."""
    return sae.sparsity_curve(model, images, images, labels, FEW)


EXPLAINED = {**{name: of_method(name) for name in METHODS}, "grad_cam": grad_cam}
LABELLED = {"answers": overview.answer_table, "probes": probed, "sae": rebuilt}
PLAIN: dict[str, Callable[[LeNet5, Any, Any], Any]] = {
    "logits": lambda model, images, _: logits(model, images),
    "predictions": lambda model, images, _: predictions(model, images),
    "features": lambda model, images, _: features(model, images, "S4"),
}
ENTRANCES = {**EXPLAINED, **LABELLED, **PLAIN}


def same(result: Any, other: Any) -> bool:
    """Whether two results are one."""
    if isinstance(result, pd.DataFrame):
        return result.equals(other)
    return torch.equal(result, other)


@pytest.mark.parametrize(
    "images",
    [
        BYTES.to(torch.uint8),
        PIXELS[:, None],
        PIXELS[None],
        PIXELS.numpy(),
        PIXELS.double(),
        BYTES.to(torch.uint8).numpy()[:, None],
        PIXELS.tolist(),
    ],
    ids=["bytes", "channel", "run", "numpy", "double", "bytes of numpy", "lists"],
)
@pytest.mark.parametrize("name", mostly_slow([*ENTRANCES], every=3))
def test_all_that_is_meant_is_read_alike(name: str, images: Any) -> None:
    """Bytes, a channel axis, NumPy and lists give what [n, 28, 28] floats give."""
    model, classes = network(seed=3), [3, 1, 4]
    wanted = ENTRANCES[name](model, PIXELS, classes)
    assert same(ENTRANCES[name](model, images, classes), wanted)


REFUSED: list[tuple[Any, str]] = [
    (BYTES.float(), "give images / 255"),
    (BYTES, "torch.int64: give bytes"),
    ((PIXELS - 0.13) / 0.31, "normalises them itself"),
    (PIXELS.where(PIXELS > 0.1, torch.nan), "no number"),
    (PIXELS * 300, "give pixels in"),
    (torch.zeros(3, 32, 32), r"\[3, 32, 32\]: give \[28, 28\]"),
    (torch.zeros(3, 3, 28, 28), "for 3 runs, but the stack has 1"),
    (torch.zeros(0, 28, 28), "no images"),
    ("digit.png", "images are a str"),
]


@pytest.mark.parametrize(("images", "said"), REFUSED)
@pytest.mark.parametrize("name", ENTRANCES)
def test_what_would_be_misread_is_refused(name: str, images: Any, said: str) -> None:
    """0 to 255, normalised, negative, no number, another size: with what was found."""
    with pytest.raises(Refusal, match=said):
        ENTRANCES[name](network(), images, [0, 1, 2])


def test_one_image_is_a_batch_of_one() -> None:
    """[28, 28]."""
    assert checked_images(PIXELS[0]).shape == (1, 28, 28)


def test_channel_is_not_taken_for_a_batch_per_run() -> None:
    """[3, 1, 28, 28] in a stack of 3 runs could mean either, and is refused; the two
    that it could mean can be said."""
    model = network(3)
    with pytest.raises(Refusal, match="an image for each run, or 3 for all"):
        logits(model, PIXELS[:, None])
    assert logits(model, PIXELS).shape == (3, 3, 10)
    assert logits(model, PIXELS[:, None, None]).shape == (3, 1, 10)
    assert logits(model, PIXELS[:2, None]).shape == (3, 2, 10)
    with pytest.raises(Refusal, match=r"give \[run, n, 1, 28, 28\]"):
        logits(model, PIXELS[:, None, None].expand(3, 1, 2, 28, 28))


def test_light_background_is_warned_of() -> None:
    """Dark ink on white is read as a frame of ink; what is dark is silent."""
    with pytest.warns(UserWarning, match="light border.*give 1 - images"):
        checked_images(1 - torch.eye(28))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checked_images(torch.eye(28))


TYPES = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@pytest.mark.parametrize(
    "classes",
    [
        *[torch.tensor([4, 4, 4]).to(kind) for kind in TYPES],
        *[np.full(3, 4, kind) for kind in ("u1", "i2", "u4", "i8")],
        *([4, 4, 4], (4, 4, 4), 4, np.int64(4), torch.tensor(4), [[4, 4, 4]]),
    ],
)
@pytest.mark.parametrize("name", mostly_slow([*EXPLAINED], every=3))
def test_one_class_explains_every_image(name: str, classes: Any) -> None:
    """Every type of whole number, a number for all, one for each, or per run."""
    model = network(seed=5)
    maps = EXPLAINED[name](model, PIXELS, classes)
    alone = [EXPLAINED[name](model, image, torch.tensor([4])) for image in PIXELS]
    torch.testing.assert_close(maps, torch.cat(alone, 1))
    assert maps.abs().sum((-2, -1)).gt(0).all()


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([0, 1], r"shape \[2\]: give one number, \[3\]"),
        ([[0], [1], [2]], r"shape \[3, 1\]"),
        ([0, 1, 10], "lie in 0 to 10: they are 0 to 9"),
        (-1, "lie in -1 to -1"),
        ([0.0, 1.0, 2.0], "float64: give whole numbers"),
        (True, "bool: give whole numbers"),
        ("7", "are a str"),
        ([0, "a", 2], "are no array of numbers"),
    ],
)
def test_classes_that_are_none_are_refused(classes: Any, said: str) -> None:
    """With what was found, and for labels under that name."""
    with pytest.raises(Refusal, match=f"classes.*{said}"):
        checked_classes(classes, PIXELS, 10)
    with pytest.raises(Refusal, match=f"labels.*{said}"):
        checked_labels(classes, PIXELS, 10)
    for name in EXPLAINED:
        with pytest.raises(Refusal, match=said):
            EXPLAINED[name](network(), PIXELS, classes)


def test_class_per_run_stays_with_its_run() -> None:
    """[run, n]."""
    classes = torch.tensor([[0, 1, 2], [3, 4, 5]])
    assert torch.equal(checked_classes(classes, PIXELS, 10, 2), classes)
    maps = saliency(network(2), PIXELS, "gradient", classes)
    last = saliency(network(1, seed=1), PIXELS, "gradient", classes[1])
    torch.testing.assert_close(maps[1:], last)


@pytest.mark.parametrize("name", EXPLAINED)
def test_gradients_are_had_in_inference_mode(name: str) -> None:
    """The same maps; a network that was made in inference mode is refused by name."""
    model = network()
    wanted = EXPLAINED[name](model, PIXELS, 4)
    with torch.inference_mode():
        assert torch.equal(EXPLAINED[name](model, PIXELS.clone(), 4), wanted)
        made = network()
    with pytest.raises(Refusal, match=r"inference_mode\(\) and has no gradients"):
        EXPLAINED[name](made, PIXELS, 4)


@pytest.mark.parametrize("name", [*LABELLED, *PLAIN])
def test_the_rest_works_in_inference_mode_too(name: str) -> None:
    """What learns or only looks."""
    model, labels = network(), [3, 1, 4]
    wanted = ENTRANCES[name](model, PIXELS, labels)
    with torch.inference_mode():
        assert same(ENTRANCES[name](model, PIXELS.clone(), labels), wanted)


def test_faithfulness_takes_what_saliency_takes() -> None:
    """Bytes and one class."""
    model, maps = network(), {"gradient": saliency(network(), PIXELS, "gradient", 4)}
    some = faithfulness(model, BYTES.to(torch.uint8), 4, maps)
    assert some.equals(faithfulness(model, PIXELS, torch.full((1, 3), 4), maps))
