"""Every analysis of one run, computed once: its results lie beside the run's record.

A result is a few tables and arrays by name, in a folder that is named by the method and
the hash of weights, data, numbers and code, so that another number or an edited formula
is another result.
"""

import ast
import dataclasses
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from lenet.config import Refusal, suggest
from lenet.interpret import overview, probe, sae, sanity
from lenet.interpret.gradcam import (
    GradCam,
    cells,
    map_on_image,
    normalised,
    receptive_field,
    stretched,
)
from lenet.interpret.images import PACE, random_indices
from lenet.interpret.layer_outputs import CHUNK, predictions, readable_images, untrained
from lenet.interpret.probe import Probe
from lenet.interpret.sae import Sae
from lenet.interpret.saliency import Saliency
from lenet.interpret.sanity import Sanity
from lenet.records import run_record, seal, store
from lenet.training.attack import Untargeted, pgd
from lenet.training.data import Data
from lenet.training.edition import EDITION
from lenet.training.model import LeNet5

Array = npt.NDArray[Any]
Result = dict[str, pd.DataFrame | Array]
CODE = (
    "analysis",
    "gradcam",
    "images",
    "layer_outputs",
    "overview",
    "probe",
    "sae",
    "saliency",
    "sanity",
)
SHOWN = 20  # classes at most of which an image is drawn
OTHER = 1_000_000  # added to a run's seed: weights that it never had


class Subject(NamedTuple):
    """One run, as a stack of one: trained, as it began, and with other weights."""

    model: LeNet5
    untrained: LeNet5
    random: LeNet5
    data: Data
    seed: int

    def test(self, count: int) -> tuple[Tensor, Tensor]:
        """Test images in [0, 1], for every run the same random ones, and their labels.

        The first ones of MNIST are harder than the rest: see `random_indices`.
        """
        total = len(self.data.test_images)
        chosen = random_indices(min(count, total), total)
        return self.data.test_images[chosen] / 255, self.data.test_labels[chosen]

    def train(self, count: int) -> tuple[Tensor, Tensor]:
        """Training images in [0, 1], from a fixed permutation, and their labels."""
        chosen, _ = self.data.split(min(count, len(self.data.train_images)), 0)
        return self.data.train_images[chosen] / 255, self.data.train_labels[chosen]

    def one_of_each(self) -> tuple[Tensor, Tensor]:
        """The first test image of each class, and the classes that the run sees."""
        first = first_of_each(self.data.test_labels)
        images = self.data.test_images[first] / 255
        return images, predictions(self.model, images)


def first_of_each(labels: Tensor) -> Tensor:
    """The place of the first image of each class, of the first SHOWN that have one."""
    classes = labels.unique()[:SHOWN]
    return torch.stack([(labels == label).nonzero()[0, 0] for label in classes])


@dataclasses.dataclass(frozen=True)
class Layers:
    """Which test image is drawn in every layer."""

    image: int = 0

    def __post_init__(self) -> None:
        if self.image < 0:
            raise Refusal(f"layers.image={self.image}: images count from 0")


Specs = Mapping[str, Any]
SPECS: dict[str, Any] = {
    "layers": Layers(),
    "saliency": Saliency(),
    "gradcam": GradCam(),
    "sanity": Sanity(),
    "probe": Probe(),
    "sae": Sae(),
}


def of_layers(subject: Subject, specs: Specs) -> Result:
    """Kernels and maps of one test image."""
    images, place = subject.data.test_images, specs["layers"].image
    if place >= len(images):
        raise Refusal(
            f"layers.image={place}: the test images are 0 to {len(images) - 1}"
        )
    results: Result = dict(overview.maps(subject.model, images[place] / 255))
    return results


def of_saliency(subject: Subject, specs: Specs) -> Result:
    """The signed maps of an image of each class, [class, 28, 28] by method."""
    images, classes = subject.one_of_each()
    methods = sanity.explainers(specs["saliency"], specs["gradcam"], subject.seed)
    return {
        name: explain(subject.model, images, classes)[0].numpy()
        for name, explain in methods.items()
    } | {"classes": classes[0].numpy()}


def of_gradcam(subject: Subject, specs: Specs) -> Result:
    """Grad-CAM of an image of each class: signed, as published, and stretched."""
    images, classes = subject.one_of_each()
    layer = specs["gradcam"].layer
    signed = cells(subject.model, images, classes, layer)
    field = receptive_field(subject.model, layer)
    return {
        "signed": map_on_image(signed, field)[0].numpy(),
        "positive": map_on_image(normalised(signed), field)[0].numpy(),
        "stretched": stretched(normalised(signed))[0].numpy(),
        "classes": classes[0].numpy(),
    }


def of_sanity(subject: Subject, specs: Specs) -> Result:
    """Deletion, insertion and randomised layers, with their baselines."""
    images, _ = subject.test(specs["sanity"].images)
    classes = predictions(subject.model, images)
    methods = sanity.explainers(specs["saliency"], specs["gradcam"], subject.seed)
    maps = {
        name: method(subject.model, images, classes) for name, method in methods.items()
    }
    ranked = sanity.orders(maps, images, subject.seed)
    networks = subject.model, subject.random
    return {
        "faithfulness": sanity.faithfulness(
            subject.model, images, classes, ranked, specs["sanity"]
        ),
        "randomisation": sanity.randomisation(*networks, images, classes, methods),
    }


def of_probe(subject: Subject, specs: Specs) -> Result:
    """Probes of the trained network, also on attacked images, and of the untrained."""
    spec = specs["probe"]
    train, (images, labels) = subject.train(spec.train), subject.test(spec.test)
    tests = {"clean": images}
    if spec.epsilon:
        tests["attacked"] = attacked_images(subject.model, images, labels, spec)
    tables = {
        "trained": probe.probes(
            subject.model, train, tests, labels, spec, subject.seed
        ),
        "untrained": probe.probes(
            subject.untrained, train, {"clean": images}, labels, spec, subject.seed
        ),
    }
    named = [table.assign(weights=name) for name, table in tables.items()]
    return {"probes": pd.concat(named, ignore_index=True)}


def attacked_images(
    model: LeNet5, images: Tensor, labels: Tensor, spec: Probe
) -> Tensor:
    """The images of each run, changed by at most epsilon a pixel to be misread."""
    images = readable_images(model, images)
    adversarial = [
        pgd(
            model,
            batch,
            Untargeted(answers),
            epsilon=spec.epsilon,
            step=PACE * spec.epsilon / spec.attack_steps,
            steps=spec.attack_steps,
        ).images
        for batch, answers in zip(images.split(CHUNK), labels.split(CHUNK), strict=True)
    ]
    return torch.cat(adversarial, 1)


def of_sae(subject: Subject, specs: Specs) -> Result:
    """Sparse autoencoders of the trained and the untrained network, and the latents."""
    spec = specs["sae"]
    (train, _), (test, labels) = subject.train(spec.train), subject.test(spec.test)
    tables = [
        sae.sparsity_curve(model, train, test, labels, spec, subject.seed).assign(
            weights=name
        )
        for name, model in (
            ("trained", subject.model),
            ("untrained", subject.untrained),
        )
    ]
    latents = sae.portraits(subject.model, train, test, labels, spec, subject.seed)
    return {"sae": pd.concat(tables, ignore_index=True), "latents": latents}


def of_mistakes(subject: Subject, specs: Specs) -> Result:
    """What the run answers for every test image."""
    images, labels = subject.test(len(subject.data.test_images))
    return {"answers": overview.answer_table(subject.model, images, labels)}


class Method(NamedTuple):
    """A function, and the names of the numbers that it reads."""

    result: Callable[[Subject, Specs], Result]
    reads: tuple[str, ...]


METHODS = {
    "layers": Method(of_layers, ("layers",)),
    "saliency": Method(of_saliency, ("saliency", "gradcam")),
    "gradcam": Method(of_gradcam, ("gradcam",)),
    "sanity": Method(of_sanity, ("saliency", "gradcam", "sanity")),
    "probe": Method(of_probe, ("probe",)),
    "sae": Method(of_sae, ("sae",)),
    "mistakes": Method(of_mistakes, ()),
}


def with_number(specs: Specs, key: str, text: str) -> dict[str, Any]:
    """The specs with one field changed: `probe.train`, to what `text` says."""
    name, _, field = key.partition(".")
    if name not in specs:
        raise Refusal(suggest(name, specs, "method with numbers", "methods"))
    known = {
        field.name: getattr(specs[name], field.name)
        for field in dataclasses.fields(specs[name])
    }
    if field not in known:
        raise Refusal(suggest(field, known, f"number of {name}", "numbers"))
    value = value_like(key, text, known[field])
    return {**specs, name: dataclasses.replace(specs[name], **{field: value})}


def value_like(key: str, text: str, like: Any) -> Any:
    """A typed value of the kind of another one."""
    if isinstance(like, bool):
        if text not in ("true", "false"):
            raise Refusal(f"{key}={text}: write {key}=true or {key}=false")
        return text == "true"
    try:
        if isinstance(like, tuple):
            return tuple(type(like[0])(part) for part in text.strip("[]").split(","))
        return type(like)(text)
    except ValueError:
        kind = "a list such as [1,2]" if isinstance(like, tuple) else "a number"
        raise Refusal(f"{key}={text} is not {kind}") from None


def subject(record: store.Record, root: str, data: Data) -> Subject:
    """A run, loaded from root/runs after its hash is checked, with its data."""
    if data.sha256 != record["data"]:
        raise Refusal(
            f"run {record['run_id']} was trained on other data than the "
            f"{data.name} that lies here: give its data_dir",
            4,
        )
    model, treatment, seed = (
        run_record.load_stack([record], root),
        record["treatment"],
        record["seed"],
    )
    began, other = (
        untrained(model, [treatment], [start]) for start in (seed, seed + OTHER)
    )
    return Subject(model, began, other, data, seed)


def result(
    method: str,
    record: store.Record,
    root: str,
    specs: Specs,
    load: Callable[[], Subject],
) -> tuple[Result, bool]:
    """The result of a method on a run, and whether it was there already.

    load: gives the run's subject, if it is needed.
    """
    numbers = {name: dataclasses.asdict(specs[name]) for name in METHODS[method].reads}
    key = seal.digest(
        [
            method,
            record["weights"],
            record["data"],
            record["seed"],
            numbers,
            analysis_code(),
        ]
    )
    own = store.run_folder(root, record["run_id"])
    place = own / "interpretation" / f"{method}-{key[:16]}"
    if place.is_dir():
        return read_result(place), True
    result = METHODS[method].result(load(), specs)
    # Read back, so that the first call returns just what every later one will.
    write_result(place, result)
    return read_result(place), False


def analysis_code() -> str:
    """The hash of the code that results come from, comments and docstrings aside."""
    root = Path(__file__).parent
    files = [(root / f"{name}.py").read_text(encoding="utf-8") for name in CODE]
    return seal.digest([EDITION, *map(syntax, files)])


def syntax(source: str) -> str:
    """A module's syntax tree as text, without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and is_text(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]  # it has a body
    return ast.dump(tree)


def is_text(node: ast.AST) -> bool:
    """Whether a statement is nothing but a string."""
    value = node.value if isinstance(node, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def write_result(place: Path, result: Result) -> None:
    """Write a result so that its folder is there whole or not at all."""
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=place.parent, prefix=f".{place.name}."))
        for name, value in result.items():
            if isinstance(value, pd.DataFrame):
                value.to_csv(aside / f"{name}.csv", index=False)
            else:
                np.save(aside / f"{name}.npy", value, allow_pickle=False)
        try:
            # A folder is renamed as a whole: half a result is never found.
            os.rename(aside, place)
        except OSError:
            if not place.is_dir():
                raise
            shutil.rmtree(aside)  # another process was first
    except OSError as problem:
        raise Refusal(f"{place} cannot be written: {problem.strerror}", 3) from None


def read_result(place: Path) -> Result:
    """A result that was kept."""
    result: Result = {
        path.stem: np.load(path, allow_pickle=False)
        for path in sorted(place.glob("*.npy"))
    }
    for path in sorted(place.glob("*.csv")):
        # Names stay texts: the layer "none" is no missing value.
        result[path.stem] = pd.read_csv(path, keep_default_na=False, na_values=[""])
    return result
