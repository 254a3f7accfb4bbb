"""Attack one test image of one run and draw what happens.

lenet attack run=3f2a image=2
    FGSM and PGD, away from the label and to the next likely class
lenet attack run=3f2a image=2 attack=pgd target=8 epsilon=0.2
    run=         modern or paper, which come with lenet, the first letters of a run's
                 id, or its folder
    image=0      which test image
    attack=      fgsm or pgd; both, unless one is named
    target=      a class, by number or name; without one, untargeted too
    epsilon=0.2  the ball's radius, also as 8/255; norm=linf or l2
    loss=margin  or cross_entropy
    steps=40     of PGD, each of 2.5 radii / steps
    output_dir=outputs data_dir=<folder>

Writes attack_<image>.svg and .png beside the run's record, with what is not the
default in their names.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lenet.config import Refusal, suggest
from lenet.figures import attack_picture
from lenet.figures.attack_picture import Row
from lenet.interpret import robustness
from lenet.interpret.adversarial import ATTACKS, MOST, adversarial
from lenet.interpret.images import checked_images
from lenet.records import run_record, store
from lenet.records.own_pictures import class_names
from lenet.records.record_types import Record
from lenet.report import study_report
from lenet.rounding import percent
from lenet.studies.origin import Origin
from lenet.terminal import Said, number, typed
from lenet.training import data as datasets
from lenet.training.data import Data
from lenet.training.model import LeNet5

TYPED = {
    "run": "",
    "image": "0",
    "attack": "",
    "target": "",
    "epsilon": "0.2",
    "norm": "linf",
    "loss": "margin",
    "steps": "40",
    "output_dir": "outputs",
    "data_dir": "",
}


def main(arguments: Sequence[str]) -> Said:
    """Do what the arguments mean; the files."""
    given = checked_arguments(arguments)
    record = store.select(given["run"], given["output_dir"])
    data = datasets.load_data(record["treatment"]["data"], given["data_dir"] or None)
    if data.sha256 != record["data"]:
        raise Refusal(f"run {record['run_id']} was trained on another data set", 3)
    place = Path(given["run"])  # a run's folder, or else it lies in output_dir
    if not (place / "record.json").is_file():
        place = store.run_folder(given["output_dir"], record["run_id"])
    model = run_record.load_stack([record], str(place.parent.parent))
    rows = attack_rows(given, model, data, class_names(record))
    epsilon, norm = number("epsilon", given["epsilon"]), given["norm"]
    pgd_too = f", PGD of {given['steps']} steps" if given["attack"] != "fgsm" else ""
    figure = attack_picture.attack_picture(
        rows,
        epsilon=epsilon,
        caption=f"Test image {given['image']} of {data.name}; the {norm} ball of "
        f"radius {epsilon:g}, loss: {given['loss'].replace('_', ' ')}{pgd_too}. Red is "
        "added ink, blue is ink taken away, on one scale.",
        origin=origin(record),
    )
    return Said.of_files(study_report.write_figure(figure, place / stem(given)))


def stem(given: Mapping[str, str]) -> str:
    """The name of the picture: its image, and what was typed other than by default."""
    parts = ["attack", given["image"]]
    for key in ("attack", "target", "epsilon", "norm", "loss", "steps"):
        if given[key] != TYPED[key]:
            named = key in ("target", "epsilon", "steps")
            parts += [key, given[key]] if named else [given[key]]
    return "_".join(parts)


def checked_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """What the command line says; norm, loss and radius are checked by the attack."""
    given = typed(arguments, TYPED)
    if not given["run"]:
        raise Refusal(
            "run=<the first letters of a run's id> says which network; run=modern is "
            "one that comes with lenet"
        )
    if given["attack"] not in ("", *ATTACKS):
        raise Refusal(suggest(given["attack"], ATTACKS, "attack", "attacks"))
    return given


def whole(given: Mapping[str, str], key: str, most: int) -> int:
    """A whole number from 0 to `most` that was typed."""
    if not given[key].isdecimal() or int(given[key][:9]) > most:
        raise Refusal(f"{key}={given[key]} is out of range: it is 0 to {most:,}")
    return int(given[key])


def attack_targets(
    given: Mapping[str, str], logits: Tensor, label: int, names: Sequence[str]
) -> dict[str, int | None]:
    """What is attempted: a target, or no target and the likeliest class that is neither
    the label nor the answer, if there is a third."""
    if typed := given["target"]:
        known = typed in names
        target = names.index(typed) if known else whole(given, "target", len(names) - 1)
        if target == label:
            raise Refusal(
                f"target={typed} is the label of image {given['image']}: "
                "choose another class"
            )
        return {f"to {names[target]}": target}
    aims: dict[str, int | None] = {"untargeted": None}
    taken = torch.stack([torch.tensor(label), logits.argmax()])
    left = logits.scatter(-1, taken, -torch.inf)
    if bool(left.isfinite().any()):
        other = int(left.argmax())
        aims[f"to {names[other]}"] = other
    return aims


def attack_rows(
    given: Mapping[str, str], model: LeNet5, data: Data, names: Sequence[str]
) -> list[Row]:
    """A row of the picture for every attack and goal."""
    place = whole(given, "image", len(data.test_labels) - 1)
    label, image = int(data.test_labels[place]), checked_images(data.test_images[place])
    with torch.no_grad():
        logits = model(image)[0, 0]
    keys, rows = robustness.starts(torch.tensor([place])), []
    for name in [given["attack"]] if given["attack"] else ATTACKS:
        for words, target in attack_targets(given, logits, label, names).items():
            attempt = adversarial(
                model,
                image,
                label,
                epsilon=number("epsilon", given["epsilon"]),
                attack=name,
                target=target,
                norm=given["norm"],
                loss=given["loss"],
                steps=whole(given, "steps", MOST),
                keys=keys,
            )
            title = f"{name.upper()}, {words}"
            rows.append(Row(title, image[0], label, logits, attempt, names))
    return rows


def origin(record: Record) -> Origin:
    """Which network it is."""
    treatment = record["treatment"]
    levels = ", ".join(
        f"{key} {treatment[key]}" for key in ("activation", "pooling", "head")
    )
    error = record["response"]["test_error"]
    assert error is not None  # a run that has weights has ended
    data = f"run {record['run_id']}, {levels}, test error {percent(error)}"
    return Origin(data=data, code=run_record.trained_with([record]))
