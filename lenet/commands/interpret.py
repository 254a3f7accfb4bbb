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
from lenet.records import durable, store
from lenet.records.own_pictures import class_names
from lenet.records.shapes import Record
from lenet.report import report
from lenet.studies import study
from lenet.studies.origin import Origin
from lenet.terminal import Said, pair
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
    one: Record
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
    given, specs = typed(arguments)
    methods = listed(given.get("methods", f"[{','.join(METHODS)}]"))
    for name in methods:
        if name not in METHODS:
            raise Refusal(suggest(name, METHODS, "method", "methods"))
    groups, folder = chosen(given)
    groups = [weighted(group, given.get(PARTIAL) == "true") for group in groups]
    found = list(analyse(groups, methods, specs, given.get("data_dir")))
    drawn = figures(found, folder, specs, given.get("data_dir"))
    return Said.of_files([*tables(found, folder), *drawn])


def typed(arguments: Sequence[str]) -> tuple[dict[str, str], analysis.Specs]:
    """What is typed as key=value, and the numbers of the methods."""
    given: dict[str, str] = {}
    specs: analysis.Specs = SPECS
    for text in arguments:
        key, value = pair(text)
        if key.partition(".")[0] in SPECS:
            specs = analysis.with_number(specs, key, value)
        else:
            given[key] = value
    for key in given:
        if key not in OWN:
            raise Refusal(suggest(key, [*OWN, *SPECS], "key", "keys"))
    if ("run" in given) == ("study" in given):
        raise Refusal("say which runs: either run= or study=")
    return given, specs


def listed(text: str) -> list[str]:
    """The parts of [a,b]."""
    return [part.strip() for part in text.strip("[]").split(",")]


def chosen(given: Mapping[str, str]) -> tuple[list[Group], Path]:
    """The groups of runs that are meant, and where their figures go."""
    output_dir = given.get("output_dir", "outputs")
    if "study" in given:
        folder = Path(output_dir) / given["study"]
        return of_study(folder, given.get("treatment")), folder
    one = store.select(given["run"], output_dir)
    place = Path(given["run"])
    if not (place / "record.json").is_file():
        place = store.folder(output_dir, one["run_id"])
    group = Group(f"run {one['run_id'][:8]}", [one], str(place.parent.parent))
    return [group], place / "interpretation"


def of_study(folder: Path, treatment: str | None) -> list[Group]:
    """The runs of the treatments of a study, or of the one that is typed."""
    plan, found = study.read(folder)
    records = {one["run_id"]: one for one in found}
    alone = {"levels": {}, "changes": {}, "runs": plan["runs"]}
    arms = plan.get("arms", [alone])  # a plan in which no level varies may have none
    if treatment is not None:
        parts = [part for part in listed(treatment) if part]
        typed = dict(part.partition("=")[::2] for part in parts)
        arms = [arm for arm in arms if typed in settings(arm)]
    names = [named(arm, plan) for arm in plan.get("arms", [alone])]
    if not arms or len(arms) > len(interpretation_curves.COLORS):
        raise Refusal(
            f"{len(arms)} treatments of {folder} are meant, and 1 to "
            f"{len(interpretation_curves.COLORS)} can be shown: say treatment=[...], "
            f"one of: {'; '.join(names)}"
        )
    return [
        Group(
            named(arm, plan),
            [records[name] for name in arm["runs"] if name in records],
            str(folder.parent),
        )
        for arm in arms
    ]


def settings(arm: Mapping[str, Any]) -> list[dict[str, str]]:
    """What a treatment's difference from the base may be typed as."""
    return [
        {key: study.shown(value) for key, value in arm[kind].items()}
        for kind in ("levels", "changes")
    ]


def named(arm: Mapping[str, Any], plan: Mapping[str, Any]) -> str:
    """What a treatment is called: its levels, or the name of the base."""
    levels, changes = settings(arm)
    parts = [f"{k}={v}" if k in changes else v for k, v in levels.items()]
    return ", ".join(parts) or str(plan.get("preset", "base"))


@cache
def loaded(name: str, data_dir: str | None) -> Data:
    """A data set, read once."""
    return datasets.load(name, data_dir)


def analyse(
    groups: Sequence[Group],
    methods: Sequence[str],
    specs: analysis.Specs,
    data_dir: str | None,
) -> Iterator[Analysed]:
    """The results on every run; says on stderr how far it is."""
    every = [(group, one) for group in groups for one in group.runs]
    for count, (group, one) in enumerate(every, 1):

        @cache
        def load(one: Record = one, root: str = group.root) -> analysis.Subject:
            data = loaded(str(one["treatment"]["data"]), data_dir)
            return analysis.subject(one, root, data)

        results = {}
        for method in methods:
            began = time.perf_counter()
            results[method], there = analysis.result(
                method, one, group.root, specs, load
            )
            took = "kept" if there else f"{time.perf_counter() - began:.1f} s"
            said = f"{group.name}, seed {one['seed']}: {method}, {took}"
            print(f"[{count}/{len(every)}] {said}", file=sys.stderr, flush=True)
        yield Analysed(group.name, one, results)


def weighted(group: Group, partial: bool) -> Group:
    """The runs of a group that did not diverge, in the order of their seeds; a Refusal
    where weights are lacking, or `partial` and all are."""

    def there(one: Record) -> bool:
        try:
            return bool(one["weights"] and store.weights(group.root, one))
        except Refusal as problem:
            if problem.code != 3:
                raise
            return False

    runs = [one for one in group.runs if there(one)]
    lacking = len(group.runs) - len(runs)
    said = f"{lacking} of {len(group.runs)} runs of {group.name} have no weights in "
    said += f"{group.root}: they diverged, or only their records are here"
    if not runs:
        raise Refusal(f"{said}; train them again, or choose runs that have weights")
    if any(one["weights"] for one in group.runs if one not in runs) and not partial:
        raise Refusal(
            f"{said}; train them again, with output_dir=<folder>, or say "
            f"{PARTIAL}=true: what is published of all runs is then overwritten"
        )
    if lacking:
        print(said, file=sys.stderr)
    return group._replace(runs=sorted(runs, key=lambda one: int(one["seed"])))


def joined(found: Sequence[Analysed], method: str, name: str) -> pd.DataFrame:
    """A table of all runs, with the columns network and seed."""
    parts = []
    for one in found:
        part = one.results[method][name]
        assert isinstance(part, pd.DataFrame)
        named = {"network": one.network, "seed": one.one["seed"]}
        parts.append(part.drop(columns="run", errors="ignore").assign(**named))
    return pd.concat(parts, ignore_index=True)


def of_probes(found: Sequence[Analysed]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Accuracy and selectivity by layer, over seeds."""
    table = joined(found, "probe", "probes")
    keys = ["network", "weights", "images", "layer"]
    right = table[table["task"] == "class"]
    chosen = probe.selectivity(table, [*keys, "seed"])
    return (
        interpretation_curves.over_seeds(right, keys, "accuracy"),
        interpretation_curves.over_seeds(chosen, keys, "selectivity"),
    )


def of_differences(probes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Accuracies within seeds: trained minus untrained, one network minus another."""
    right = probes[probes["task"] == "class"]
    clean = right[right["images"] == "clean"]
    keys = ["network", "layer"]
    ends = ("untrained", "trained")
    training = interpretation_curves.paired(clean, "weights", ends, keys, "accuracy")
    found = {"probe_training": training}
    names = list(dict.fromkeys(probes["network"]))
    if len(names) == 2:
        keys = ["weights", "images", "layer"]
        pair = (names[0], names[1])
        networks = interpretation_curves.paired(
            right, "network", pair, keys, "accuracy"
        )
        found["probe_networks"] = networks
    return found


def tables(found: Sequence[Analysed], folder: Path) -> Iterator[Path]:
    """Write the tables that the figures are drawn from."""
    written: dict[str, pd.DataFrame] = {}
    methods = found[0].results
    if "sanity" in methods:
        for name in ("faithfulness", "randomisation"):
            written[name] = joined(found, "sanity", name)
    if "probe" in methods:
        written["probes"] = joined(found, "probe", "probes")
        accuracy, selectivity = of_probes(found)
        written["probe_accuracy"], written["probe_selectivity"] = accuracy, selectivity
        written |= of_differences(written["probes"])
    if "sae" in methods:
        written["sae"] = joined(found, "sae", "sae")
        keys = ["network", "weights", "method", "setting"]
        written["sae_unexplained"] = interpretation_curves.over_seeds(
            written["sae"], keys, "fvu"
        )
    if "mistakes" in methods:
        written["mistakes"] = overview.mistakes(joined(found, "mistakes", "answers"))
    for name, table in written.items():
        path = folder / f"{name}.csv"
        text = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
        durable.replace(path, text.encode())
        yield path


def figures(
    found: Sequence[Analysed], folder: Path, specs: analysis.Specs, data_dir: str | None
) -> Iterator[Path]:
    """Draw the curves of all runs, and pictures of the first run of each network."""
    one, methods = found[0].one, found[0].results
    name = str(one["treatment"]["data"])
    origin = Origin("", f"{name}, {one['images']:,} test images", code_of(found))
    drawn: dict[str, Figure] = {}
    if "probe" in methods:
        about = of_images(specs["probe"])
        drawn["probes"] = interpretation_curves.probe_chart(
            *of_probes(found), about, origin
        )
    if "sae" in methods:
        table = joined(found, "sae", "sae")
        drawn["sae"] = interpretation_curves.sae_chart(
            table, specs["sae"].layer, origin
        )
    if "sanity" in methods:
        faithful, random = (
            joined(found, "sanity", table)
            for table in ("faithfulness", "randomisation")
        )
        drawn["sanity"] = interpretation_curves.sanity_chart(faithful, random, origin)
    for stem, figure in drawn.items():
        yield from report.save(figure, folder / stem)
    first = {run.network: run for run in reversed(found)}
    for network, run in first.items():
        word = "".join(letter if letter in SAFE else "_" for letter in network)
        ending = "" if len(first) == 1 else f"_{word}"
        data = loaded(str(run.one["treatment"]["data"]), data_dir)
        for stem, figure in portrayed(run, data, specs, origin).items():
            yield from report.save(figure, folder / f"{stem}{ending}", ["png"])


def of_images(spec: probe.Probe) -> str:
    """How many images the probes saw, and how they were attacked."""
    said = f"{spec.train:,} training and {spec.test:,} test images."
    if not spec.epsilon:
        return said
    steps = f"{spec.epsilon} a pixel, {spec.attack_steps} steps"
    return f"{said} Attack: PGD in the L-infinity ball, {steps}."


def code_of(found: Sequence[Analysed]) -> str:
    """The commits and versions that the runs were trained with."""
    commits = sorted({str(run.one["code"]["commit"])[:10] for run in found})
    versions = sorted({run.one["versions"]["torch"] for run in found})
    return f"commit {', '.join(commits)}, torch {', '.join(versions)}"


def portrayed(
    run: Analysed, data: Data, specs: analysis.Specs, origin: Origin
) -> dict[str, Figure]:
    """The pictures of one run."""
    images, results = data.test_images.numpy(), run.results
    names = class_names(run.one)
    about = origin._replace(
        data=f"{run.network}, seed {run.one['seed']}; {origin.data}"
    )
    drawn: dict[str, Figure] = {}
    if "layers" in results:
        place = specs["layers"].image
        label = int(data.test_labels[place])
        maps = arrays(results["layers"])
        drawn["layers"] = interpretation_maps.layers(
            maps, images[place], label, about, names
        )
    for method in {"saliency", "gradcam"} & results.keys():
        maps = arrays(results[method])
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


def arrays(result: Result) -> dict[str, Any]:
    """The arrays of a result."""
    return {
        name: value for name, value in result.items() if isinstance(value, np.ndarray)
    }
