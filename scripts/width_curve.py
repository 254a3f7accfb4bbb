"""How the error of a preset depends on the widths of LeNet-5's layers.

python scripts/width_curve.py [preset=best] [epochs=20] [replicates=4] [seed=0]
    [scales=0.5,1,2] [data=mnist] [data_dir=<folder>] [output_dir=outputs]

C1, C3, C5 and F6 have so many times 6, 16, 120 and 84 maps and units. The compiled
loops are of LeNet-5's widths; torch trains the others: at twice the widths, 20 passes
take a quarter of an hour of one core. What a table has is not trained again.
"""

import sys
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from lenet.config import Refusal, composed
from lenet.figures.canvas import BLUE, INK
from lenet.records import atomic_files
from lenet.report import study_report
from lenet.terminal import command, number, say, typed
from lenet.training import stack
from lenet.training.data import load_data
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
SETTINGS = ("preset", "epochs", "data")  # of all rows of a figure
COLUMNS = [*SETTINGS, "scale", "parameters", "seed", "test_error"]


def scaled(scale: float) -> tuple[int, ...]:
    """The widths of LeNet-5, so many times as wide.

    >>> scaled(0.5)
    (3, 8, 60, 42)
    """
    if not 0.2 <= scale <= 10:
        raise Refusal(f"scales={scale:g}: a scale is a number from 0.2 to 10")
    return tuple(round(width * scale) for width in WIDTHS)


def trained(
    scale: float, widths: tuple[int, ...], given: dict[str, str]
) -> pd.DataFrame:
    """A row for each seed of networks so wide."""
    configs, places = composed(
        [f"{key}={given[key]}" for key in KEYS if key not in ("scales", "output_dir")]
    )
    images = load_data(given["data"], places.data_dir)
    results = stack.train(configs, images, widths=widths)
    rows = [
        {
            **{key: given[key] for key in SETTINGS},
            "scale": scale,
            "parameters": sum(
                numbers.numel()
                for name, numbers in result.weights.items()
                if name.endswith((".weight", ".bias", ".coefficient"))
            ),
            "seed": config.seed,
            "test_error": (~result.right).double().mean().item(),
        }
        for config, result in zip(configs, results, strict=True)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def figure(rows: pd.DataFrame) -> Figure:
    """The test error by the number of parameters: a dot each seed, the means a line."""
    drawn = Figure(figsize=(6, 3.6), layout="constrained")
    axes = drawn.subplots()
    axes.plot(rows["parameters"], 100 * rows["test_error"], "o", color=INK, ms=3)
    means = 100 * rows.groupby("parameters")["test_error"].mean()
    axes.plot(means.index, means, color=BLUE)
    axes.set(xscale="log", xlabel="trainable parameters", ylabel="test error, %")
    axes.set_xticks(means.index, [f"{count:,}" for count in means.index])
    axes.minorticks_off()
    return drawn


def main() -> None:
    """The entry point."""
    given = typed(sys.argv[1:], KEYS)
    widths = {
        scale: scaled(scale)
        for scale in (number("scales", text) for text in given["scales"].split(","))
    }
    folder = Path(given["output_dir"]) / "width_curve"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "width.csv"
    tables = []
    if file.exists():
        tables = [pd.read_csv(file, dtype=dict.fromkeys(SETTINGS, str))]
    for scale in widths:
        if not any(scale in set(same_settings(t, given)["scale"]) for t in tables):
            tables.append(trained(scale, widths[scale], given))
            content = pd.concat(tables).to_csv(index=False)
            atomic_files.replace(file, content.encode())
    rows = same_settings(pd.concat(tables), given)
    for path in study_report.write_figure(figure(rows), folder / "width"):
        say(str(path))
    errors = rows.groupby(["scale", "parameters"])["test_error"]
    say(errors.agg(["count", "mean", "min", "max"]).to_string())


def same_settings(table: pd.DataFrame, given: dict[str, str]) -> pd.DataFrame:
    """The rows of a table with the settings that are typed."""
    return table[
        (table[list(SETTINGS)] == [given[key] for key in SETTINGS]).all(axis=1)
    ]


if __name__ == "__main__":
    command(main)
