"""What a trained run looks at, knows in each layer and gets wrong.

lenet interpret run=3f2a
    one run, by the first letters of its id or its folder, or modern or paper, which
    come with lenet; figures and tables go beside its record
lenet interpret study=quick treatment=[activation=relu]
    all seeds of one treatment of a study, named by its difference from the study's
    base; treatment=[] is the base
lenet interpret study=interpretation
    every treatment of a study side by side; figures and tables go into its folder; with
    allow_partial=true also where some runs have no weights, as in a fresh clone

methods=[saliency,probe] chooses; probe.train=2000 and the like change a number.
output_dir=outputs data_dir=<folder>
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lenet.config import SAFE, Refusal, suggest
from lenet.figures import interpretation_curves, interpretation_maps
from lenet.interpret import analysis, overview, probe
from lenet.interpret.analysis import METHODS, SPECS, Result
from lenet.records import atomic_files, run_record, store
from lenet.records.own_pictures import class_names
from lenet.records.record_types import Plan, PlannedArm, Record
from lenet.report import study_report
from lenet.studies import study
from lenet.studies.origin import Origin
from lenet.terminal import Said, listed, pair
from lenet.training import data as datasets
from lenet.training.data import Data

PARTIAL = "allow_partial"
OWN = ("run", "study", "treatment", "methods", "output_dir", "data_dir", PARTIAL)


class Group(NamedTuple):
    """Runs of one treatment, by its name, and the output directory that has them."""

    name: str
    runs: Sequence[Record]
    root: str


class Analysed(NamedTuple):
    """The results of the chosen methods on one run."""

    network: str
    record: Record
    results: Mapping[str, Result]


def explain() -> str:
    """What --help says."""
    numbers = [
        f"  {name}.{field}={value}".replace("(", "[").replace(")", "]")
        for name, spec in SPECS.items()
        for field, value in asdict(spec).items()
    ]
    listed = "\n".join(numbers)
    return f"{__doc__}\nMethods: {', '.join(METHODS)}\nNumbers:\n{listed}"


def main(arguments: Sequence[str]) -> Said:
    """Do what the arguments mean; the files."""
    given, specs = typed_specs(arguments)
    methods = listed(given["methods"]) if "methods" in given else list(METHODS)
    if not methods:
        raise Refusal(f"methods= names none: choose among {', '.join(METHODS)}")
    for name in methods:
        if name not in METHODS:
            raise Refusal(suggest(name, METHODS, "method", "methods"))
    groups, folder = chosen_groups(given)
    groups = [
        runs_with_weights(group, given.get(PARTIAL) == "true") for group in groups
    ]
    runs = list(analyse(groups, methods, specs, given.get("data_dir")))
    drawn = write_figures(runs, folder, specs, given.get("data_dir"))
    return Said.of_files([*write_tables(runs, folder), *drawn])


def typed_specs(arguments: Sequence[str]) -> tuple[dict[str, str], analysis.Specs]:
    """What is typed as key=value, and the numbers of the methods."""
    given: dict[str, str] = {}
    specs: analysis.Specs = SPECS
    for text in arguments:
        if text.partition("=")[0].partition(".")[0] in SPECS:
            specs = analysis.with_number(specs, *pair(text))
        else:
            key, value = pair(text, [*OWN, *SPECS])
            given[key] = value
    if ("run" in given) == ("study" in given):
        raise Refusal("say which runs: either run= or study=")
    return given, specs


def chosen_groups(given: Mapping[str, str]) -> tuple[list[Group], Path]:
    """The groups of runs that are meant, and where their figures go."""
    output_dir = given.get("output_dir", "outputs")
    if "study" in given:
        folder = Path(output_dir) / given["study"]
        return groups_of_study(folder, given.get("treatment")), folder
    record = store.select(given["run"], output_dir)
    place = Path(given["run"])
    if not (place / "record.json").is_file():
        place = store.run_folder(output_dir, record["run_id"])
    group = Group(f"run {record['run_id'][:8]}", [record], str(place.parent.parent))
    return [group], place / "interpretation"


def groups_of_study(folder: Path, treatment: str | None) -> list[Group]:
    """The runs of the treatments of a study, or of the one that is typed."""
    plan, stored = study.read_study(folder)
    records = {record["run_id"]: record for record in stored}
    arms = plan["arms"]
    if treatment is not None:
        typed = dict(part.partition("=")[::2] for part in listed(treatment))
        arms = [arm for arm in arms if typed in settings(arm)]
    names = [arm_title(arm, plan) for arm in plan["arms"]]
    if not arms or len(arms) > len(interpretation_curves.COLORS):
        raise Refusal(
            f"{len(arms)} treatments of {folder} are meant, and 1 to "
            f"{len(interpretation_curves.COLORS)} can be shown: say treatment=[...], "
            f"one of: {'; '.join(names)}"
        )
    return [
        Group(
            arm_title(arm, plan),
            [records[name] for name in arm["runs"] if name in records],
            str(folder.parent),
        )
        for arm in arms
    ]


def settings(arm: PlannedArm) -> list[dict[str, str]]:
    """What a treatment's difference from the base may be typed as."""
    return [
        {key: study.value_text(value) for key, value in changed.items()}
        for changed in (arm["levels"], arm["changes"])
    ]


def arm_title(arm: PlannedArm, plan: Plan) -> str:
    """What a treatment is called: its levels, or the name of the base."""
    levels, changes = settings(arm)
    parts = [
        f"{key}={level}" if key in changes else level for key, level in levels.items()
    ]
    return ", ".join(parts) or plan["preset"]


@cache
def loaded(name: str, data_dir: str | None) -> Data:
    """A data set, read once."""
    return datasets.load_data(name, data_dir)


def analyse(
    groups: Sequence[Group],
    methods: Sequence[str],
    specs: analysis.Specs,
    data_dir: str | None,
) -> Iterator[Analysed]:
    """The results on every run; says on stderr how far it is."""
    every = [(group, record) for group in groups for record in group.runs]
    for count, (group, record) in enumerate(every, 1):

        @cache
        def load(record: Record = record, root: str = group.root) -> analysis.Subject:
            data = loaded(str(record["treatment"]["data"]), data_dir)
            return analysis.subject(record, root, data)

        results = {}
        for method in methods:
            began = time.perf_counter()
            results[method], there = analysis.result(
                method, record, group.root, specs, load
            )
            took = "kept" if there else f"{time.perf_counter() - began:.1f} s"
            said = f"{group.name}, seed {record['seed']}: {method}, {took}"
            print(f"[{count}/{len(every)}] {said}", file=sys.stderr, flush=True)
        yield Analysed(group.name, record, results)


def runs_with_weights(group: Group, partial: bool) -> Group:
    """The runs of a group that did not diverge, in the order of their seeds; a Refusal
    where weights are lacking, or `partial` and all are."""

    def there(record: Record) -> bool:
        try:
            return bool(record["weights"] and store.weights(group.root, record))
        except Refusal as problem:
            if problem.code != 3:
                raise
            return False

    runs = [record for record in group.runs if there(record)]
    lacking = len(group.runs) - len(runs)
    said = f"{lacking} of {len(group.runs)} runs of {group.name} have no weights in "
    said += f"{group.root}: they diverged, or only their records are here"
    if not runs:
        raise Refusal(f"{said}; train them again, or choose runs that have weights")
    if (
        any(record["weights"] for record in group.runs if record not in runs)
        and not partial
    ):
        raise Refusal(
            f"{said}; train them again, with output_dir=<folder>, or say "
            f"{PARTIAL}=true: what is published of all runs is then overwritten"
        )
    if lacking:
        print(said, file=sys.stderr)
    return group._replace(runs=sorted(runs, key=lambda record: int(record["seed"])))


def joined_table(runs: Sequence[Analysed], method: str, name: str) -> pd.DataFrame:
    """A table of all runs, with the columns network and seed."""
    parts = []
    for analysed in runs:
        part = analysed.results[method][name]
        assert isinstance(part, pd.DataFrame)
        named = {"network": analysed.network, "seed": analysed.record["seed"]}
        parts.append(part.drop(columns="run", errors="ignore").assign(**named))
    return pd.concat(parts, ignore_index=True)


def of_probes(runs: Sequence[Analysed]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy and selectivity by layer, over seeds."""
    table = joined_table(runs, "probe", "probes")
    keys = ["network", "weights", "images", "layer"]
    right = table[table["task"] == "class"]
    chosen = probe.selectivity(table, [*keys, "seed"])
    return (
        interpretation_curves.seed_means(right, keys, "accuracy"),
        interpretation_curves.seed_means(chosen, keys, "selectivity"),
    )


def of_differences(probes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Accuracies within seeds: trained minus untrained, one network minus another."""
    right = probes[probes["task"] == "class"]
    clean = right[right["images"] == "clean"]
    keys = ["network", "layer"]
    ends = ("untrained", "trained")
    training = interpretation_curves.paired(clean, "weights", ends, keys, "accuracy")
    differences = {"probe_training": training}
    names = list(dict.fromkeys(probes["network"]))
    if len(names) == 2:
        keys = ["weights", "images", "layer"]
        pair = (names[0], names[1])
        networks = interpretation_curves.paired(
            right, "network", pair, keys, "accuracy"
        )
        differences["probe_networks"] = networks
    return differences


def write_tables(runs: Sequence[Analysed], folder: Path) -> Iterator[Path]:
    """Write the tables that the figures are drawn from."""
    written: dict[str, pd.DataFrame] = {}
    methods = runs[0].results
    if "sanity" in methods:
        for name in ("faithfulness", "randomisation"):
            written[name] = joined_table(runs, "sanity", name)
    if "probe" in methods:
        written["probes"] = joined_table(runs, "probe", "probes")
        accuracy, selectivity = of_probes(runs)
        written["probe_accuracy"], written["probe_selectivity"] = accuracy, selectivity
        written |= of_differences(written["probes"])
    if "sae" in methods:
        written["sae"] = joined_table(runs, "sae", "sae")
        keys = ["network", "weights", "method", "setting"]
        written["sae_unexplained"] = interpretation_curves.seed_means(
            written["sae"], keys, "fvu"
        )
    if "mistakes" in methods:
        written["mistakes"] = overview.mistake_table(
            joined_table(runs, "mistakes", "answers")
        )
    for name, table in written.items():
        path = folder / f"{name}.csv"
        text = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
        atomic_files.replace(path, text.encode())
        yield path


def write_figures(
    runs: Sequence[Analysed], folder: Path, specs: analysis.Specs, data_dir: str | None
) -> Iterator[Path]:
    """Draw the curves of all runs, and pictures of the first run of each network."""
    record, methods = runs[0].record, runs[0].results
    name = str(record["treatment"]["data"])
    code = run_record.trained_with([run.record for run in runs])
    origin = Origin("", f"{name}, {record['images']:,} test images", code)
    drawn: dict[str, Figure] = {}
    if "probe" in methods:
        about = of_images(specs["probe"])
        drawn["probes"] = interpretation_curves.probe_chart(
            *of_probes(runs), about, origin
        )
    if "sae" in methods:
        table = joined_table(runs, "sae", "sae")
        drawn["sae"] = interpretation_curves.sae_chart(
            table, specs["sae"].layer, origin
        )
    if "sanity" in methods:
        faithful, random = (
            joined_table(runs, "sanity", table)
            for table in ("faithfulness", "randomisation")
        )
        drawn["sanity"] = interpretation_curves.sanity_chart(faithful, random, origin)
    for stem, figure in drawn.items():
        yield from study_report.write_figure(figure, folder / stem)
    first = {run.network: run for run in reversed(runs)}
    for network, run in first.items():
        word = "".join(letter if letter in SAFE else "_" for letter in network)
        ending = "" if len(first) == 1 else f"_{word}"
        data = loaded(str(run.record["treatment"]["data"]), data_dir)
        for stem, figure in portrayed(run, data, specs, origin).items():
            yield from study_report.write_figure(
                figure, folder / f"{stem}{ending}", ["png"]
            )


def of_images(spec: probe.Probe) -> str:
    """How many images the probes saw, and how they were attacked."""
    said = f"{spec.train:,} training and {spec.test:,} test images."
    if not spec.epsilon:
        return said
    steps = f"{spec.epsilon} a pixel, {spec.attack_steps} steps"
    return f"{said} Attack: PGD in the L-infinity ball, {steps}."


def portrayed(
    run: Analysed, data: Data, specs: analysis.Specs, origin: Origin
) -> dict[str, Figure]:
    """The pictures of one run."""
    images, results = data.test_images.numpy(), run.results
    names = class_names(run.record)
    about = origin._replace(
        data=f"{run.network}, seed {run.record['seed']}; {origin.data}"
    )
    drawn: dict[str, Figure] = {}
    if "layers" in results:
        place = specs["layers"].image
        label = int(data.test_labels[place])
        maps = result_arrays(results["layers"])
        drawn["layers"] = interpretation_maps.layers(
            maps, images[place], label, about, names
        )
    for method in {"saliency", "gradcam"} & results.keys():
        maps = result_arrays(results[method])
        first = analysis.first_of_each(data.test_labels)
        digits = images[first], data.test_labels[first].tolist()
        drawn[method] = interpretation_maps.ten_digits(
            method, maps, *digits, about, names
        )
    if "sae" in results:
        latents = results["sae"]["latents"]
        spec = specs["sae"]
        drawn["latents"] = interpretation_maps.latents(
            latents, images, spec.layer, spec.shown, about, names
        )
    if "mistakes" in results:
        answers = results["mistakes"]["answers"]
        drawn["confusion"] = interpretation_maps.confusion_matrix(answers, about, names)
        drawn["mistakes"] = interpretation_maps.gallery(answers, images, about, names)
    return drawn


def result_arrays(result: Result) -> dict[str, Any]:
    """The arrays of a result."""
    return {
        name: value for name, value in result.items() if isinstance(value, np.ndarray)
    }
