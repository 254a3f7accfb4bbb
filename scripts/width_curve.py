"""How the error of a preset depends on the widths of LeNet-5's layers.

python scripts/width_curve.py [preset=best] [epochs=20] [replicates=4] [seed=0]
    [scales=0.5,1,2] [data=mnist] [data_dir=<folder>] [output_dir=outputs]

C1, C3, C5 and F6 have so many times 6, 16, 120 and 84 maps and units. The compiled
loops are of LeNet-5's widths; torch trains the others: at twice the widths, 20 passes
of a network take a quarter of an hour of one core. What a table has is not trained
again.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from lenet.config import Config, Refusal, composed
from lenet.figures.canvas import BLUE, INK
from lenet.records import atomic_files
from lenet.records.run_record import run_id
from lenet.report import study_report
from lenet.terminal import command, number, say, typed
from lenet.training import stack
from lenet.training.data import Data, load_data
from lenet.training.model import WIDTHS

KEYS = {
    "preset": "best",
    "epochs": "20",
    "replicates": "4",
    "seed": "0",
    "data": "mnist",
    "scales": "0.5,1,2",
    "data_dir": "null",
    "output_dir": "outputs",
}
COLUMNS = ("run", "preset", "epochs", "scale", "parameters", "seed", "test_error")


def scaled(scale: float) -> tuple[int, ...]:
    """The widths of LeNet-5, so many times as wide.

    >>> scaled(0.5)
    (3, 8, 60, 42)
    """
    if not 0.2 <= scale <= 10:
        raise Refusal(f"scales={scale:g}: a scale is a number from 0.2 to 10")
    return tuple(round(width * scale) for width in WIDTHS)


def trained(
    configs: Sequence[Config], images: Data, scale: float, preset: str
) -> pd.DataFrame:
    """A row for each of these runs, so wide."""
    results = stack.train(configs, images, widths=scaled(scale))
    rows = [
        (
            run_id(config, images),
            preset,
            config.treatment["epochs"],
            scale,
            sum(
                numbers.numel()
                for name, numbers in result.weights.items()
                if name.endswith((".weight", ".bias", ".coefficient"))
            ),
            config.seed,
            (~result.right).double().mean().item(),
        )
        for config, result in zip(configs, results, strict=True)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def width_figure(rows: pd.DataFrame) -> Figure:
    """The test error by the number of parameters: a dot each seed, the means a line."""
    drawn = Figure(figsize=(6, 3.6), layout="constrained")
    axes = drawn.subplots()
    axes.plot(rows["parameters"], 100 * rows["test_error"], "o", color=INK, ms=3)
    means = 100 * rows.groupby("parameters")["test_error"].mean()
    axes.plot(means.index, means, color=BLUE)
    axes.set(xscale="log", xlabel="trainable parameters", ylabel="test error, %")
    axes.set_xticks(means.index, [f"{count:,}" for count in means.index])
    axes.minorticks_off()
    (preset,), (epochs,) = rows["preset"].unique(), rows["epochs"].unique()
    counts = rows.groupby("parameters")["seed"].nunique()
    n = ", ".join(map(str, counts if counts.nunique() > 1 else counts[:1]))
    axes.set_title(f"preset={preset}, {epochs} passes, n = {n}; line: mean")
    return drawn


def main() -> None:
    """The entry point."""
    given = typed(sys.argv[1:], KEYS)
    scales = [number("scales", text) for text in given["scales"].split(",")]
    for scale in scales:
        scaled(scale)  # refused before anything is trained
    configs, places = composed(
        [f"{key}={given[key]}" for key in KEYS if key not in ("scales", "output_dir")]
    )
    images = load_data(given["data"], places.data_dir)
    names = [run_id(config, images) for config in configs]
    folder = Path(given["output_dir"]) / "width_curve"
    file = folder / "width.csv"
    tables = [pd.read_csv(file)] if file.exists() else []
    for scale in scales:
        known = {run for rows in tables for run in rows["run"][rows["scale"] == scale]}
        missing = [config for config, name in zip(configs, names, strict=True)
                   if name not in known]  # fmt: skip
        if missing:
            tables.append(trained(missing, images, scale, given["preset"]))
            content = pd.concat(tables).to_csv(index=False)
            atomic_files.replace(file, content.encode())
    table = pd.concat(tables)
    rows = table[table["run"].isin(names) & table["scale"].isin(scales)]
    for path in study_report.write_figure(width_figure(rows), folder / "width"):
        say(str(path))
    errors = rows.groupby(["scale", "parameters"])["test_error"]
    say(errors.agg(["count", "mean", "min", "max"]).to_string())


if __name__ == "__main__":
    command(main)
