"""What a trained run looks at, knows in each layer and gets wrong.

python scripts/interpretation.py run=3f2a
    one run, by the first letters of its id or its folder; figures and tables go beside
    its record
python scripts/interpretation.py study=quick treatment=[activation=relu]
    all seeds of one treatment of a study, named by its difference from the study's base
python scripts/interpretation.py preset=[paper,modern] replicates=6
    presets side by side; other keys are those of lenet.train and hold for all of them
    (train them first with the same keys). Into output_dir/interpretation

methods=[saliency,probe] chooses; probe.train=2000 and the like change a number.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lenet import data as datasets
from lenet import record, report, store, study
from lenet.config import FACTORS, Refusal, composed, suggest
from lenet.data import Data
from lenet.interpret import analysis, curves, overview, pictures, probe
from lenet.interpret.analysis import METHODS, SPECS, Result
from lenet.page import Origin
from lenet.store import Record
from lenet.terminal import command

OWN = ("run", "study", "treatment", "preset", "methods", "output_dir", "data_dir")


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


def main() -> None:
    """The entry point."""
    if "--help" in sys.argv or "-h" in sys.argv:
        print(f"{__doc__}\nMethods: {', '.join(METHODS)}\nNumbers:")
        print("\n".join(f"  {name}: {spec}" for name, spec in SPECS.items()))
        return
    given, specs = typed(sys.argv[1:])
    methods = listed(given.get("methods", f"[{','.join(METHODS)}]"))
    for name in methods:
        if name not in METHODS:
            raise Refusal(suggest(name, METHODS, "method", "methods"))
    groups, folder = chosen(given)
    found = list(analyse(groups, methods, specs, given.get("data_dir")))
    for path in [
        *tables(found, folder),
        *figures(found, folder, specs, given.get("data_dir")),
    ]:
        print(path)


def typed(arguments: Sequence[str]) -> tuple[dict[str, str], analysis.Specs]:
    """What is typed as key=value, and the numbers of the methods."""
    given: dict[str, str] = {}
    specs: analysis.Specs = SPECS
    for text in arguments:
        key, _, value = text.partition("=")
        if not value:
            raise Refusal(f"{text}: write key=value; see --help")
        if key.partition(".")[0] in SPECS:
            specs = analysis.with_number(specs, key, value)
        else:
            given[key] = value
    ways = [key for key in ("run", "study", "preset") if key in given]
    if len(ways) != 1:
        raise Refusal("say which runs: run=, or study= with treatment=, or preset=")
    extra = given.keys() - set(OWN)
    if extra and ways != ["preset"]:
        raise Refusal(suggest(extra.pop(), [*OWN, *SPECS], "key", "keys"))
    return given, specs


def listed(text: str) -> list[str]:
    """The parts of [a,b]."""
    return [part.strip() for part in text.strip("[]").split(",")]


def chosen(given: Mapping[str, str]) -> tuple[list[Group], Path]:
    """The groups of runs that are meant, and where their figures go."""
    output_dir = given.get("output_dir", "outputs")
    if "run" in given:
        one = store.select(given["run"], output_dir)
        place = Path(given["run"])
        if not (place / "record.json").is_file():
            place = store.folder(output_dir, one["run_id"])
        name = f"run {one['run_id'][:8]}"
        return [Group(name, [one], str(place.parent.parent))], place / "interpretation"
    if "study" in given:
        return of_study(given, output_dir)
    groups = [of_preset(name, given, output_dir) for name in listed(given["preset"])]
    return groups, Path(output_dir) / "interpretation"


def of_study(given: Mapping[str, str], output_dir: str) -> tuple[list[Group], Path]:
    """The runs of one treatment of a study: its base, but for what is typed."""
    folder = Path(output_dir) / given["study"]
    plan, found = study.read(folder)
    changes = [text for text in listed(given.get("treatment", "[]")) if text]
    narrow = dict(text.partition("=")[::2] for text in changes)
    fixed = [key for key in plan["factors"] if key in FACTORS and key not in narrow]
    runs = [
        one
        for one in found
        if study.fits(one, narrow)
        and all(one["treatment"][key] == plan["reference"][key] for key in fixed)
    ]
    if not runs:
        raise Refusal(
            f"treatment=[{','.join(changes)}] fits none of the {len(found)} runs of "
            f"{folder}: its factors are {', '.join(plan['factors']) or 'none'}"
        )
    name = ", ".join(changes) or f"{given['study']}: base"
    return [Group(name, runs, output_dir)], folder / "interpretation"


def of_preset(name: str, given: Mapping[str, str], output_dir: str) -> Group:
    """The runs that lenet.train makes of a preset and the other keys."""
    places = [f"{k}={given[k]}" for k in ("output_dir", "data_dir") if k in given]
    keys = [f"{key}={value}" for key, value in given.items() if key not in OWN]
    configs, _ = composed([f"preset={name}", *keys, *places])
    data = loaded(str(configs[0].treatment["data"]), given.get("data_dir"))
    found = [store.find(output_dir, record.run_id(one, data)) for one in configs]
    if missing := found.count(None):
        line = " ".join([f"preset={name}", *keys, *places])
        raise Refusal(
            f"{missing} of {len(found)} runs of preset={name} are not in {output_dir}: "
            f"train them with: python -m lenet.train {line}"
        )
    return Group(name, [one for one in found if one], output_dir)


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
    """The results on every run that has weights; says on stderr how far it is."""
    every = [(group, one) for group in groups for one in weighted(group)]
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


def weighted(group: Group) -> list[Record]:
    """The runs of a group whose weights are here; a Refusal if there are none."""

    def there(one: Record) -> bool:
        place = store.folder(group.root, one["run_id"])
        return one["weights"] and (place / "model.safetensors").is_file()

    runs = [one for one in group.runs if there(one)]
    lacking = len(group.runs) - len(runs)
    said = f"{lacking} of {len(group.runs)} runs of {group.name} have no weights in "
    said += f"{group.root}/runs: they diverged, or only their records are here"
    if not runs:
        raise Refusal(f"{said}; train them again, or choose runs that have weights")
    if lacking:
        print(said, file=sys.stderr)
    return sorted(runs, key=lambda one: int(one["seed"]))


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
    digit = table[table["task"] == "digit"]
    chosen = probe.selectivity(table, [*keys, "seed"])
    return (
        curves.over_seeds(digit, keys, "accuracy"),
        curves.over_seeds(chosen, keys, "selectivity"),
    )


def of_differences(probes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Accuracies within seeds: trained minus untrained, one network minus another."""
    digit = probes[probes["task"] == "digit"]
    clean = digit[digit["images"] == "clean"]
    keys = ["network", "layer"]
    ends = ("untrained", "trained")
    training = curves.paired(clean, "weights", ends, keys, "accuracy")
    found = {"probe_training": training}
    names = list(dict.fromkeys(probes["network"]))
    if len(names) == 2:
        keys = ["weights", "images", "layer"]
        pair = (names[0], names[1])
        networks = curves.paired(digit, "network", pair, keys, "accuracy")
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
    if "mistakes" in methods:
        written["mistakes"] = overview.mistakes(joined(found, "mistakes", "answers"))
    for name, table in written.items():
        path = folder / f"{name}.csv"
        text = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
        store.replace(path, text.encode())
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
        drawn["probes"] = curves.probe_chart(*of_probes(found), origin)
    if "sae" in methods:
        table = joined(found, "sae", "sae")
        drawn["sae"] = curves.sae_chart(table, specs["sae"].layer, origin)
    if "sanity" in methods:
        faithful, random = (
            joined(found, "sanity", table)
            for table in ("faithfulness", "randomisation")
        )
        drawn["sanity"] = curves.sanity_chart(faithful, random, origin)
    for stem, figure in drawn.items():
        yield from report.save(figure, folder / stem)
    data = loaded(name, data_dir)
    first = {run.network: run for run in reversed(found)}
    for network, run in first.items():
        ending = "" if len(first) == 1 else f"_{network}"
        for stem, figure in portrayed(run, data, specs, origin).items():
            yield from report.save(figure, folder / f"{stem}{ending}", ["png"])


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
    about = origin._replace(
        data=f"{run.network}, seed {run.one['seed']}; {origin.data}"
    )
    drawn: dict[str, Figure] = {}
    if "layers" in results:
        place = specs["layers"].image
        label = int(data.test_labels[place])
        maps = arrays(results["layers"])
        drawn["layers"] = pictures.layers(maps, images[place], label, about)
    for method in {"saliency", "gradcam"} & results.keys():
        maps = arrays(results[method])
        first = analysis.first_of_each(data.test_labels)
        digits = images[first], data.test_labels[first].tolist()
        drawn[method] = pictures.ten_digits(method, maps, *digits, about)
    if "sae" in results:
        latents = results["sae"]["latents"]
        spec = specs["sae"]
        drawn["latents"] = pictures.latents(
            latents, images, spec.layer, spec.shown, about
        )
    if "mistakes" in results:
        answers = results["mistakes"]["answers"]
        drawn["confusion"] = pictures.confusion_matrix(answers, about)
        drawn["mistakes"] = pictures.gallery(answers, images, about)
    return drawn


def arrays(result: Result) -> dict[str, Any]:
    """The arrays of a result."""
    return {
        name: value for name, value in result.items() if isinstance(value, np.ndarray)
    }


if __name__ == "__main__":
    command(main)
