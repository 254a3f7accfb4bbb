"""Attack the runs of a study and draw how robust they are.

lenet robustness study=robustness
    effort=standard    margin or DLR loss towards each other class and all at once, with
                       APGD's step; test images:
                       smoke: 100, 10 steps, 1 start; standard: 500, 20 steps, 2 starts
                       and longer ones; full: 10,000, 100 steps, 5, and AutoAttack
    epsilon=[0,0.02,0.03,...,0.1]    radii, also as 8/255; 0 is no attack
    norm=linf          or l2, with radii of its own
    atlas=0.2          the radius at which the atlas counts successes
    redraw=false       true: the chart from the tables that were written, no attack
    output_dir=outputs data_dir=<folder> allow_partial=true

A treatment that was attacked is kept, so that the same command goes on after Ctrl-C.
Writes robustness*.{svg,png,csv,md} beside the study's records, robustness_l2*,
robustness_smoke* and so on where something is not the default. Needs every run's
weights, in <output_dir>/runs; a fresh clone has records alone, so that there the sweep
and this take output_dir=<folder>. The attack starts at the same random points for all.
"""

import importlib.util
import inspect
import json
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from torch import Tensor

from lenet.config import Refusal, suggest
from lenet.figures import level_names, robustness_chart
from lenet.interpret import apgd, compiled_network, robustness, smallest_radii
from lenet.interpret import images as image_checks
from lenet.interpret.compiled_network import Compiled
from lenet.interpret.images import random_indices
from lenet.interpret.robustness import EFFORTS, Effort
from lenet.records import run_record
from lenet.records.atomic_files import replace
from lenet.records.overfitting import overfitting
from lenet.records.own_pictures import class_names
from lenet.records.record_types import Record
from lenet.records.seal import digest
from lenet.report import effect_tables, study_report
from lenet.studies import study
from lenet.studies.study import Study
from lenet.terminal import Said, number, typed
from lenet.train import reuse_memory
from lenet.training import attack, compiled, draws
from lenet.training import data as datasets
from lenet.training.attack import NORMS, Model
from lenet.training.loops import passes
from lenet.training.loops.cache import version
from lenet.training.model import LeNet5

EPSILONS = {  # where networks that were not trained against attacks differ
    "linf": "[0,0.02,0.03,0.04,0.05,0.06,0.07,0.08,0.09,0.1]",
    "l2": "[0,0.5,0.75,1,1.25,1.5,1.75,2,2.5,3]",
}
TYPED = {
    "study": "",
    "effort": "standard",
    "epsilon": "",
    "norm": "linf",
    "atlas": "0.2",
    "redraw": "false",
    "output_dir": "outputs",
    "data_dir": "",
    "allow_partial": "false",
}
SOURCES: tuple[Any, ...] = (  # what is in their files decides what an attack finds
    *(apgd, robustness, smallest_radii, image_checks),
    *(attack, draws, compiled_network, compiled, LeNet5, passes),
)


class Task(NamedTuple):
    """What is attacked, and how."""

    images: Tensor
    labels: Tensor
    keys: Tensor
    epsilons: Sequence[float]
    effort: Effort
    norm: str
    atlas: float


def main(arguments: Sequence[str]) -> Said:
    """Do what the arguments mean; the files."""
    given = checked_arguments(arguments)
    reuse_memory()
    partial = given["allow_partial"] == "true"
    chosen = study.open_study(given["study"], given["output_dir"], partial)
    if given["redraw"] == "true":
        return Said.of_files(redrawn(given, chosen))
    task, kept = prepared(given, chosen), attacked_folder(given)
    code = code_of_attack()
    tables = [
        attacked_arm(label, runs, given["output_dir"], task, kept, code)
        for label, runs in comparable(chosen).items()
    ]
    parts = (pd.concat(part) for part in zip(*tables, strict=True))
    paths = write_results(given, chosen, task, *parts)
    shutil.rmtree(kept, ignore_errors=True)
    return Said.of_files(paths)


def attacked_folder(given: Mapping[str, str]) -> Path:
    """Where treatments that were attacked wait for the others, until all are; a folder
    for each name that the results will have."""
    folder = Path(given["output_dir"]) / given["study"] / ".attacked" / stem(given)
    replace(folder / "about.txt", b"treatments that lenet robustness has attacked\n")
    return folder


def code_of_attack() -> str:
    """The hash of all that decides what an attack finds."""
    files = [*map(inspect.getsourcefile, SOURCES), __file__]
    texts = [Path(str(file)).read_text("utf-8") for file in files]
    return digest([*texts, version()])


def attacked_arm(
    label: str,
    runs: Sequence[Record],
    output_dir: str,
    task: Task,
    folder: Path,
    code: str,
) -> tuple[pd.DataFrame, ...]:
    """`measured_arm`, from the folder if the same code has attacked these runs so."""
    names = [(record["run_id"], record["weights"]) for record in runs]
    name = digest([label, names, record_of_task(task), code])[:16]
    path, began, took = folder / f"{name}.json", time.perf_counter(), "kept"
    if not path.is_file():
        tables = measured_arm(label, runs, output_dir, task)
        text = json.dumps([table.to_dict("list") for table in tables])
        replace(path, text.encode())
        took = f"{time.perf_counter() - began:.0f} s"
    print(f"{label}: {len(runs)} runs, {took}", file=sys.stderr, flush=True)
    return tuple(pd.DataFrame(part) for part in json.loads(path.read_text("utf-8")))


def record_of_task(task: Task) -> list[Any]:
    """What a task is, as plain content."""
    numbers = [float(task.images.double().sum()), task.keys.tolist()]
    return [*numbers, list(task.epsilons), repr(task.effort), task.norm, task.atlas]


def checked_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """What the command line says, if it can be carried out."""
    given = typed(arguments, TYPED)
    for key, known in (("effort", EFFORTS), ("norm", NORMS)):
        if given[key] not in known:
            raise Refusal(suggest(given[key], tuple(known), key, "choices"))
    for key in ("allow_partial", "redraw"):
        if given[key] not in ("true", "false"):
            raise Refusal(f"write {key}=true or {key}=false")
    return given if given["epsilon"] else given | {"epsilon": EPSILONS[given["norm"]]}


def comparable(chosen: Study) -> dict[str, list[Record]]:
    """The runs of each treatment, if some run of the reference did not diverge."""
    runs = study_report.by_treatment(chosen)
    if not any(
        record["status"] == "finished"
        for record in runs[level_names.study_network(chosen)]
    ):
        raise Refusal(f"every run of the reference {chosen.base} diverged", 1)
    return runs


def typed_numbers(given: Mapping[str, str], key: str) -> list[float]:
    """The radii under a key, in their order, each in its range."""
    numbers = sorted({number(key, text) for text in given[key].strip("[]").split(",")})
    largest = robustness.WHOLE[given["norm"]]
    for value in numbers:
        if not 0 <= value <= largest:
            raise Refusal(f"{key}={value:g} is out of range: it is 0 to {largest:g}")
    return numbers


def prepared(given: Mapping[str, str], chosen: Study) -> Task:
    """The images of the study's test set that are attacked, and how."""
    record = chosen.records[0]
    data = datasets.load_data(record["treatment"]["data"], given["data_dir"] or None)
    if data.sha256 != record["data"]:
        raise Refusal(
            f"the data set is not the one that {chosen.name} was trained on", 3
        )
    effort = EFFORTS[given["effort"]]
    count = min(effort.images, len(data.test_labels))
    places = random_indices(count, len(data.test_labels))
    images, labels = data.test_images[places] / 255, data.test_labels[places]
    keys, epsilons = robustness.starts(places), typed_numbers(given, "epsilon")
    if not any(epsilons):
        raise Refusal("epsilon=[0] attacks nothing: give a radius above 0")
    atlas = typed_numbers({**given, "norm": "linf"}, "atlas")
    if len(atlas) > 1:
        raise Refusal(f"atlas={given['atlas']}: the atlas counts at one radius")
    if effort.auto_attack and not importlib.util.find_spec("pyautoattack"):
        raise Refusal("effort=full needs AutoAttack: pip install 'lenet[robust]'", 3)
    return Task(images, labels, keys, epsilons, effort, given["norm"], atlas[0])


def diverged_runs(label: str, runs: Sequence[Record]) -> pd.DataFrame:
    """The runs of a treatment that cannot be attacked, a row each."""
    return pd.DataFrame(
        [
            {"treatment": label, "seed": record["seed"], "status": "diverged"}
            for record in runs
            if record["status"] == "diverged"
        ]
    )


def measured_arm(
    label: str, runs: Sequence[Record], output_dir: str, task: Task
) -> tuple[pd.DataFrame, ...]:
    """Cells, responses, atlas and smallest radii of one treatment, a stack of runs."""
    alive = [record for record in runs if record["status"] == "finished"]
    lost = diverged_runs(label, runs)
    blank = lost.merge(pd.DataFrame({"epsilon": task.epsilons}), how="cross")
    if not alive:
        return pd.DataFrame(), blank, pd.DataFrame(), lost
    images = task.images, task.labels, task.keys
    stack, levels = run_record.load_stack(alive, output_dir), alive[0]["treatment"]
    model = Compiled(stack, levels)
    curve = robustness.accuracy_curve(
        model, *images, task.epsilons, task.effort, task.norm
    )
    cells = curve.cells
    if task.effort.auto_attack:
        lone = [
            Compiled(run_record.load_stack([record], output_dir), levels)
            for record in alive
        ]
        cells = cells.assign(auto_attack=strongest(lone, curve.right, task))
    seeds = dict(enumerate(record["seed"] for record in alive))
    where = {"treatment": label, "seed": cells["run"].map(seeds)}
    names = cells["run"].map(dict(enumerate(record["run_id"] for record in alive)))
    cells = cells.assign(**where, run_id=names)
    right = cells[["treatment", "seed", "epsilon"]].assign(
        status="finished",
        robust_accuracy=cells["accuracy"],
        right=curve.right.flatten(0, 1).tolist(),  # as the cells are
    )
    atlas = smallest_radii.atlas(model, *images, task.effort, task.atlas)
    atlas = atlas.assign(treatment=label, seed=atlas["run"].map(seeds))
    radii = smallest_radii.smallest_radii(model, *images, curve, task.effort, task.norm)
    most = robustness.WHOLE[task.norm]
    medians = smallest_radii.middle(radii).mean(1).clamp(max=most)
    flips = pd.DataFrame({"treatment": label, "seed": list(seeds.values())})
    flips = flips.assign(status="finished", smallest_epsilon=medians.tolist())
    return cells, pd.concat([right, blank]), atlas, pd.concat([flips, lost])


def strongest(models: Sequence[Model], right: Tensor, task: Task) -> list[float]:
    """Accuracy under AutoAttack too, in the order of the cells: epsilon, then run.

    models: each a stack of one, for AutoAttack attacks one network at a time. Images
    that it turns are lost at larger radii too.
    """
    shares, left = [], right[0].clone()
    for epsilon, withstood in zip(task.epsilons, right, strict=True):
        left &= withstood
        for model, mask in zip(models, left, strict=True):
            if epsilon > 0 and mask.any():

                def single(images: Tensor, model: Model = model) -> Tensor:
                    return model(images[:, 0])[0]

                left_images = task.images[mask], task.labels[mask]
                stays = robustness.auto_attack(single, *left_images, epsilon, task.norm)
                # `mask` is a part of `left`: what AutoAttack turns is lost at the
                # larger radii too.
                mask[mask.clone()] = stays
            shares.append(mask.double().mean().item())
    return shares


def write_results(
    given: Mapping[str, str],
    chosen: Study,
    task: Task,
    cells: pd.DataFrame,
    right: pd.DataFrame,
    atlas: pd.DataFrame,
    flips: pd.DataFrame,
) -> list[Path]:
    """Write figures and tables beside the study's records; their paths."""
    folder = Path(given["output_dir"]) / chosen.name
    rows = robustness_chart.accuracy_table(cells)
    ends = ["auto_attack_low", "auto_attack_high"]
    named_rows = rows.rename(columns={"mean": "robust_accuracy"})
    named_rows = named_rows.drop(columns=ends, errors="ignore")
    reference = level_names.study_network(chosen)
    effects = robustness_chart.differences(right, reference, chosen.name)
    smallest = robustness_chart.smallest(flips, reference, chosen.name)
    shown = robustness_chart.smallest_shown(smallest)
    about = caption(chosen, task)
    chart = robustness_chart.robustness_chart(
        rows, effects, smallest, reference=reference, about=about, origin=chosen.origin
    )
    pairs = robustness_chart.atlas_table(atlas)
    second = robustness_chart.atlas_chart(
        atlas, task.atlas, about="The L-infinity ball.", origin=chosen.origin,
        classes=class_names(chosen.records[0]),
    )  # fmt: skip
    begin = stem(given)
    texts = [
        effect_tables.as_markdown(named_rows, about),
        effect_tables.as_markdown(shown, radii(chosen, task)),
    ]
    tables = {
        "_cells": cells, "": rows, "_flips": smallest, "_flips_cells": flips,
        "_effects": effects, "_atlas": pairs,
    }  # fmt: skip
    files = {
        f"{begin}{end}.csv": effect_tables.effects_csv(table)
        for end, table in tables.items()
    }
    files[f"{begin}.md"] = "\n".join(texts)
    for name, text in files.items():
        replace(folder / name, text.encode())
    drawn = study_report.write_figure(chart, folder / f"{begin}_chart")
    drawn += study_report.write_figure(second, folder / f"{begin}_atlas")
    return [*(folder / name for name in files), *drawn]


def redrawn(given: Mapping[str, str], chosen: Study) -> list[Path]:
    """The chart again, from the tables beside the study's records; its files."""
    folder = Path(given["output_dir"]) / chosen.name
    begin = stem(given)
    names = [f"{begin}{end}.csv" for end in ("", "_effects", "_flips")] + [
        f"{begin}.md"
    ]
    for name in names:
        if not (folder / name).is_file():
            raise Refusal(
                f"{folder / name} is missing: it is written by the same command "
                "without redraw=true, which attacks the runs"
            )
    rows, effects, smallest = (
        effect_tables.read_effects(folder / name) for name in names[:3]
    )
    numbers = [f"difference_{end}" for end in ("mean", "low", "high")]
    smallest[numbers] = smallest[numbers].apply(pd.to_numeric)  # the reference has none
    about = (folder / names[3]).read_text("utf-8").split("\n\n")[0]
    figure = robustness_chart.robustness_chart(
        rows, effects, smallest, reference=str(rows["treatment"].iloc[0]),
        about=re.sub(r"\\(.)", r"\1", about), origin=chosen.origin,
    )  # fmt: skip
    return study_report.write_figure(figure, folder / f"{begin}_chart")


def stem(given: Mapping[str, str]) -> str:
    """What the names of the results begin with."""
    return "_".join(["robustness", *changed_defaults(given)])


def changed_defaults(given: Mapping[str, str]) -> list[str]:
    """What was typed other than by default, as parts of a file's name: a trial leaves
    what is published alone."""
    parts = [given[key] for key in ("norm", "effort") if given[key] != TYPED[key]]
    usual = {**TYPED, "norm": given["norm"], "epsilon": EPSILONS[given["norm"]]}
    for key in ("epsilon", "atlas"):
        values = [typed_numbers(side, key) for side in (given, usual)]
        if values[0] != values[1]:
            parts += [key, *(f"{value:g}" for value in values[0])]
    return parts + ["partial"] * (given["allow_partial"] == "true")


def caption(chosen: Study, task: Task) -> str:
    """What the attack was, and which runs it met."""
    tries, most = task.effort.tries, robustness.STRONGEST
    long, images = robustness.LONG * tries.steps, len(task.labels)
    about = (
        f"APGD on the margin (from every other start as a share of the logits' spread) "
        f"in the {task.norm} ball on {images:,} test images, "
        f"{tries.steps} steps towards each other class and {long} towards all at once "
        f"from {tries.restarts} random starts"
    )
    if tries.closer:
        nearest = f"the {robustness.CLOSEST} nearest classes"
        about += f", {long} more towards {nearest} from {tries.closer}"
    about += (
        f"; the worst case per image. The strongest attack, of {most.steps} and "
        f"{robustness.LONG * most.steps} steps from {most.restarts} and {most.closer} "
        f"other starts, on {min(task.effort.sample, images)} of them."
    )
    lost = sum(overfitting(record["curve"]) is not None for record in chosen.records)
    if lost:
        runs = "1 run" if lost == 1 else f"{lost} runs"
        about += f" {runs} overfitted to the attack of the training."
    return about


def radii(chosen: Study, task: Task) -> str:
    """What the table of smallest radii says."""
    share = 2**smallest_radii.HALVINGS
    return (
        f"The smallest {task.norm} epsilon at which the same attack turns an image: "
        f"median over {len(task.labels):,} images, by bisection to 1/{share} of the "
        "distance of two radii of the curve; the mean over seeds with its 95 % t "
        f"interval, and the mean of within-seed differences to "
        f"{level_names.study_network(chosen)}."
    )
