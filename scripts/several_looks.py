"""How much less a study's networks err if each image is looked at more than once:
test-time augmentation.

python scripts/several_looks.py study=best [looks=32] [output_dir=outputs]
    [data_dir=<folder>]

A network sees the image as it is, then distorted as its training images were. Its
answer is the class of the largest mean probability, as AlexNet's was, of ten patches of
an image (Krizhevsky, Sutskever and Hinton, 2012). No network is trained or changed.
Runs that hold out images are asked of these, all others of the test images.

Writes looks.{csv,svg,png} beside the study's records. Needs every run's weights, in
<output_dir>/runs; a fresh clone has records alone: there the sweep and this take
output_dir=<folder>.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd
import torch
from jaxtyping import Float, Int64
from matplotlib.figure import Figure
from torch import Tensor

from lenet.config import Refusal, Value
from lenet.figures.canvas import BLUE, INK
from lenet.interpret.compiled_network import Compiled
from lenet.records import atomic_files, run_record
from lenet.records.record_types import Record
from lenet.report import study_report
from lenet.studies import study
from lenet.terminal import command, number, say, typed
from lenet.training import draws
from lenet.training.data import Data, load_data
from lenet.training.factor.augmentation import LEVELS

KEYS = {"study": "", "looks": "32", "data_dir": "", "output_dir": "outputs"}
MOST = 1024  # looks
AT_ONCE = 500  # images
COLUMNS = 3  # of panels

Images = Float[Tensor, "image 28 28"]


def seen(
    images: Images, keys: Int64[Tensor, "image"], treatment: Mapping[str, Value]
) -> Images:
    """The images in [0, 1], each distorted by its key, as this treatment's are."""

    def each(name: str) -> Tensor:
        value = treatment[f"augmentation.{name}"]
        return torch.full((len(images),), float(str(value)), dtype=torch.float64)

    return LEVELS[str(treatment["augmentation"])](images, keys, each)


def errors(
    records: Sequence[Record],
    images: Images,
    labels: Int64[Tensor, "image"],
    looks: int,
    output_dir: str,
) -> pd.DataFrame:
    """The share of these images that each run gets wrong, after 1, 2, 4, ... looks up
    to so many."""
    treatment = records[0]["treatment"]
    network = Compiled(run_record.load_stack(records, output_dir), treatment)
    own = draws.stream([0], "looks")
    counts = [2**power for power in range(looks.bit_length())]
    wrong = {count: torch.zeros(len(records)) for count in counts}
    for which in torch.arange(len(labels)).split(AT_ONCE):
        summed = torch.zeros(len(records), len(which), 1, dtype=torch.float64)
        for look in range(counts[-1]):
            pixels = images[which]
            if look:
                keys = draws.fold(draws.fold(own, look), which)
                pixels = seen(pixels, keys, treatment)
            with torch.no_grad():
                summed = summed + network(pixels).double().softmax(-1)
            if look + 1 in wrong:
                wrong[look + 1] += (summed.argmax(-1) != labels[which]).sum(-1)
    rows = [
        (record["run_id"], record["seed"], count, wrong[count][i].item() / len(labels))
        for i, record in enumerate(records)
        for count in counts
    ]
    return pd.DataFrame(rows, columns=["run", "seed", "looks", "error"])


def asked(data: Data, treatment: Mapping[str, Value]) -> tuple[Tensor, Tensor]:
    """The images, in [0, 1], and labels that runs of this treatment are asked of."""
    if not (size := int(str(treatment["validation_size"]))):
        return data.test_images / 255, data.test_labels
    _, held_out = data.split(None, size)
    return data.train_images[held_out] / 255, data.train_labels[held_out]


def looks_figure(rows: pd.DataFrame, title: str) -> Figure:
    """The error by the number of looks, a panel each treatment: a dot each run, the
    means a line."""
    treatments = rows["treatment"].unique()
    columns = min(len(treatments), COLUMNS)
    height = -(-len(treatments) // columns)
    drawn = Figure(figsize=(3 + 2 * columns, 3 * height), layout="constrained")
    drawn.suptitle(title)
    panels = drawn.subplots(height, columns, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[len(treatments) :]:
        axes.set_visible(False)
    for axes, treatment in zip(panels.flat, treatments, strict=False):
        own = rows[rows["treatment"] == treatment]
        axes.plot(own["looks"], 100 * own["error"], "o", color=INK, ms=3, alpha=0.4)
        means = 100 * own.groupby("looks")["error"].mean()
        axes.plot(means.index, means, color=BLUE)
        axes.set(xscale="log", xlabel="looks at an image")
        axes.set_title(treatment if len(treatments) > 1 else "")
        axes.set_xticks(means.index, map(str, means.index))
        axes.minorticks_off()
    for axes in panels[:, 0]:
        axes.set_ylabel("error, %")
    return drawn


def main() -> None:
    """The entry point."""
    given = typed(sys.argv[1:], KEYS)
    looks = number("looks", given["looks"])
    if not (looks.is_integer() and 2 <= looks <= MOST):
        raise Refusal(f"looks={given['looks']}: a whole number from 2 to {MOST}")
    if not given["study"]:
        raise Refusal("study=<name> is missing: whose networks look?")
    folder = Path(given["output_dir"]).expanduser() / given["study"]
    plan, found = study.read_study(folder)
    by_id = {record["run_id"]: record for record in found}
    if missing := set(plan["runs"]) - by_id.keys():
        raise Refusal(f"{len(missing)} runs are missing: the sweep again trains them")
    for arm in plan["arms"]:
        if arm["treatment"]["augmentation"] == "none":
            raise Refusal(
                f"{arm['name']}: trained without distortions, so has one look"
            )
    tables = []
    for arm in plan["arms"]:
        records, treatment = [by_id[run] for run in arm["runs"]], arm["treatment"]
        data = load_data(str(treatment["data"]), given["data_dir"] or None)
        images, labels = asked(data, treatment)
        rows = errors(records, images, labels, int(looks), str(folder.parent))
        tables.append(rows.assign(treatment=arm["name"]))
    table = pd.concat(tables)
    atomic_files.replace(folder / "looks.csv", table.to_csv(index=False).encode())
    say(str(folder / "looks.csv"))
    title = f"study={given['study']}, n = {len(plan['seeds'])}; line: mean"
    drawn = looks_figure(table, title)
    for path in study_report.write_figure(drawn, folder / "looks"):
        say(str(path))
    errors_by_looks = table.groupby(["treatment", "looks"], sort=False)["error"]
    say(errors_by_looks.agg(["count", "mean", "min", "max"]).to_string())


if __name__ == "__main__":
    command(main)
