"""Figures of the tables: faithfulness of maps, probes by layer, sparse autoencoders.

A table has the columns `network` (a treatment's name) and `seed` besides its own. Lines
are means over seeds, bands 95 % intervals from the exact sign-flip test, drawn where
there are enough seeds for one.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lenet.figures.canvas import (
    AMBER,
    BLUE,
    BODY,
    GREEN,
    GREY,
    INK,
    MARGIN,
    ORANGE,
    PALE,
    PINK,
    SKY,
    SMALL,
    STYLE,
    titled_canvas,
)
from lenet.figures.level_names import NETWORKS
from lenet.interpret.sanity import area
from lenet.rounding import decimals, percent
from lenet.studies.origin import NOWHERE, Origin
from lenet.studies.statistics import blocks_needed, sign_flip
from lenet.training.model import LAYERS

COLORS = (BLUE, ORANGE, GREEN, PINK, AMBER, SKY, INK)
LEFT, WIDTH, ABOVE, HEIGHT, BELOW = 0.55, 2.75, 0.2, 2.2, 0.45  # inches of a panel
ENOUGH = blocks_needed()  # seeds that a 95 % interval needs
KINDS = {"topk": ("TopK", "o"), "l1": ("L1", "s"), "pca": ("PCA", "")}
STYLES = {"untrained": ":", "attacked": "--"}
LIMITS = ("mean", "low", "high")
NAMES = {
    "gradient": "gradient",
    "gradient_times_input": "gradient × input",
    "integrated_gradients": "integrated gradients",
    "smooth_grad": "SmoothGrad",
    "grad_cam": "Grad-CAM",
    "ink": "order of the ink",
    "random": "random order",
}


# Each test of the maps: what its panels show, and along what.
TESTS = {
    "deletion": ("still read alike, %", "pixels taken away, %"),
    "insertion": ("already read alike, %", "pixels put in, %"),
}
LIKE = {
    "signed": ("likeness of maps", "randomised down to"),
    "magnitude": ("likeness of sizes", "randomised down to"),
}


def called(network: str) -> str:
    """A network's name for readers: "LeNet-5 of 1998" for the preset paper."""
    return NETWORKS.get(network, network)


def seed_means(table: pd.DataFrame, keys: Sequence[str], value: str) -> pd.DataFrame:
    """Mean of a column over seeds, a row per combination of the keys.

    Columns: the keys, n, mean, low, high: the 95 % interval that inverts the exact
    sign-flip test of `statistics.sign_flip`, NaN where n seeds can give none.
    """
    rows = []
    for key, group in table.groupby(list(keys), sort=False):
        values = group[value].dropna().to_numpy(np.float64)
        low = high = math.nan
        if len(values) >= ENOUGH:
            low, high = map(float, sign_flip(values)[1:])
        mean = values.mean() if len(values) else math.nan
        rows.append((*key, len(values), mean, low, high))
    return pd.DataFrame(rows, columns=[*keys, "n", "mean", "low", "high"])


def paired(
    table: pd.DataFrame,
    column: str,
    levels: tuple[str, str],
    keys: Sequence[str],
    value: str,
) -> pd.DataFrame:
    """The difference of a value, second minus first level of a column, within seeds."""
    by, (old, new) = [*keys, "seed"], levels
    wide = table.pivot(index=by, columns=column, values=value)
    difference = (wide[new] - wide[old]).rename("difference").reset_index()
    return seed_means(difference, keys, "difference")


def probe_chart(
    accuracy: pd.DataFrame,
    selectivity: pd.DataFrame,
    about: str = "",
    origin: Origin = NOWHERE,
) -> Figure:
    """Error and selectivity by layer, for each network, trained and untrained.

    about: how many images, and their attack. Both tables are `seed_means` by network,
    weights, images and layer: of accuracy on digits and of `probe.selectivity`.
    """
    networks = list(dict.fromkeys(accuracy["network"]))
    handles = [swatch(called(name), COLORS[i]) for i, name in enumerate(networks)]
    handles += [swatch("trained", GREY), swatch("untrained", GREY, ":")]
    if "attacked" in set(accuracy["images"]):
        handles.append(swatch("trained, attacked images", GREY, "--"))
    caption = (
        f"{line_and_band(accuracy)} Multinomial logistic regression on each layer's "
        f"features, learned on training images and tested on test images. {about} "
        "Untrained: the weights from which training began. Attacked: the probe of "
        "clean images on test images that were changed to fool the network. "
        "Selectivity: accuracy minus the share of shuffled labels that such a probe "
        "learns by heart."
    )
    wrong = accuracy.assign(
        mean=1 - accuracy["mean"], low=1 - accuracy["high"], high=1 - accuracy["low"]
    )
    names = [["error of a linear probe, %", "selectivity, percentage points"]]
    title = probe_finding(accuracy)
    with matplotlib.style.context(["default", STYLE]):
        figure, [panels] = panel_canvas(names, title, caption, origin, handles)
        clean = selectivity[selectivity["images"] == "clean"]
        for axes, table in zip(panels, (wrong, clean), strict=True):
            for key, line in table.groupby(["network", "weights", "images"]):
                at = [LAYERS.index(layer) for layer in line["layer"]]
                color = COLORS[networks.index(key[0])]
                style = STYLES.get(key[1], STYLES.get(key[2], "-"))
                draw_band(axes, at, as_percent(line), color, style)
            axes.set_xticks(range(len(LAYERS)), LAYERS)
        make_logarithmic(panels[0], "y")
    return figure


def probe_finding(accuracy: pd.DataFrame) -> str:
    """One sentence: the layer of each network with the least error, trained and not."""
    clean = accuracy[accuracy["images"] == "clean"]
    said = []
    for network, rows in clean.groupby("network", sort=False):
        best = {
            weights: layers.loc[layers["mean"].idxmax()]
            for weights, layers in rows.groupby("weights")
        }
        each = [
            f"{decimals(100 * (1 - layer['mean']), 1)} % at {layer['layer']}"
            for layer in best.values()
        ]
        said.append(f"{called(network)} {each[0]}, untrained {each[1]}")
    return f"What a linear probe misreads at best: {'; '.join(said)}"


def sae_chart(table: pd.DataFrame, layer: str, origin: Origin = NOWHERE) -> Figure:
    """What few directions leave unexplained, the error they cause, and dead latents.

    table: `sae.sparsity_curve` with network, weights and seed.
    """
    networks = list(dict.fromkeys(table["network"]))
    handles = [swatch(called(name), COLORS[i]) for i, name in enumerate(networks)]
    handles += [swatch(name, GREY, marker=sign) for name, sign in KINDS.values()]
    handles.append(swatch("untrained network", GREY, ":"))
    keys = ["network", "weights", "method", "setting"]
    n, train = int(table["n"].iloc[0]), int(table["n_train"].iloc[0])
    caption = (
        f"{line_and_band(seed_means(table, keys, 'fvu'))} Autoencoders of {layer}, "
        f"learned on {train:,} training images, measured on {n:,} test images. "
        "L0: latents at work per image; of PCA, components kept. Variance "
        "unexplained: 1 for the mean, 0 for a perfect copy. Error: that of the network "
        "with the rebuilt layer in place; the line below: that of the network itself. "
        "Dead latents fire on less than one in 10,000 training images."
    )
    names = [
        ["variance unexplained", "test error, rebuilt layer, %", "dead latents, %"]
    ]
    with matplotlib.style.context(["default", STYLE]):
        title = sae_finding(table, layer)
        figure, [panels] = panel_canvas(names, title, caption, origin, handles)
        for axes, value in zip(panels, ("fvu", "error", "dead"), strict=True):
            rows = seed_means(table, keys, value)
            rows = rows.assign(l0=seed_means(table, keys, "l0")["mean"])
            rows = rows if value == "fvu" else as_percent(rows)
            for (network, weights, method), line in rows.groupby(keys[:3], sort=False):
                if (value, weights) == ("error", "untrained"):
                    continue  # nine wrong out of ten, whatever is rebuilt
                color = COLORS[networks.index(network)]
                if (value, method) == ("error", "itself"):
                    axes.axhline(line["mean"].iloc[0], color=color, lw=0.6)
                elif method in KINDS and (value, method) != ("dead", "pca"):
                    draw_by_l0(axes, line, color, weights, method)
            if value != "dead":
                make_logarithmic(axes, "y")
    return figure


def draw_by_l0(
    axes: Axes, line: pd.DataFrame, color: str, weights: str, method: str
) -> None:
    """One line of `sae_chart`."""
    line = line.sort_values("l0")
    dash, width = (
        (":" if weights == "untrained" else "-"),
        1.4 - 0.7 * (method == "pca"),
    )
    draw_band(axes, line["l0"], line, color, dash, KINDS[method][1], width)
    axes.set_xlabel("L0")
    make_logarithmic(axes, "x")


def sae_finding(table: pd.DataFrame, layer: str) -> str:
    """One sentence: TopK at 8 latents, or the nearest number, against PCA."""
    tried = table[table["method"] == "topk"]["setting"]
    at = min(set(tried), key=lambda setting: abs(setting - 8))
    rows = table[(table["setting"] == at) & (table["weights"] == "trained")]
    said = []
    for network, settings in rows.groupby("network", sort=False):
        left = settings.groupby("method")["fvu"].mean()
        topk, pca = percent(left["topk"], 1), percent(left["pca"], 0)
        said.append(f"{called(network)} {topk} (PCA {pca})")
    what = f"{int(at)} latents" if at > 1 else "one latent"
    return (
        f"Of {layer}'s variance, {what} per image leave unexplained: {'; '.join(said)}"
    )


def sanity_chart(
    faithful: pd.DataFrame, random: pd.DataFrame, origin: Origin = NOWHERE
) -> Figure:
    """Deletion, insertion and randomised layers, a row of panels per network.

    faithful: `sanity.faithfulness` and random: `sanity.randomisation`, with network and
    seed.
    """
    networks = list(dict.fromkeys(faithful["network"]))
    colors = dict(zip(NAMES, COLORS, strict=True))
    handles = [swatch(NAMES[name], color) for name, color in colors.items()]
    keys = ["network", "order", "test", "share"]
    names = [
        [f"{called(network)}: {what}" for what, _ in [*TESTS.values(), *LIKE.values()]]
        for network in networks
    ]
    caption = (
        f"{line_and_band(seed_means(faithful, keys, 'kept'))} "
        f"n = {int(faithful['n'].iloc[0])} test images. A map that shows what matters "
        "falls early where its pixels are taken away, and rises early where they are "
        "put in. Likeness: rank correlation of a map (sizes: of its absolute values) "
        "with that of the trained network, "
        "as layers are randomised from the output downwards; thin: of the map with the "
        "image alone. A layer without parameters changes nothing."
    )
    with matplotlib.style.context(["default", STYLE]):
        title = sanity_finding(faithful)
        figure, panels = panel_canvas(names, title, caption, origin, handles)
        for network, row in zip(networks, panels, strict=True):
            chosen = faithful[faithful["network"] == network]
            for axes, (test, (_, below)) in zip(row, TESTS.items(), strict=False):
                axes.set_xlabel(below)
                tested = chosen[chosen["test"] == test]
                lines = seed_means(tested, ["order", "share"], "kept")
                for order, line in lines.groupby("order", sort=False):
                    draw_band(
                        axes, 100 * line["share"], as_percent(line), colors[order], "-"
                    )
            randomised = random[random["network"] == network]
            for axes, (measure, (_, below)) in zip(row[2:], LIKE.items(), strict=True):
                axes.set_xlabel(below)
                draw_randomised_panel(axes, randomised, measure, colors)
    return figure


def draw_randomised_panel(
    axes: Axes, table: pd.DataFrame, measure: str, colors: Mapping[str, str]
) -> None:
    """How alike maps stay, by the lowest layer that is randomised."""
    order = ["none", *reversed(LAYERS)]
    for method, line in seed_means(table, ["method", "layer"], measure).groupby(
        "method"
    ):
        at = [order.index(layer) for layer in line["layer"]]
        draw_band(axes, at, line, colors[method], "-")
    if measure == "magnitude":
        for method, line in seed_means(table, ["method"], "ink").groupby("method"):
            axes.axhline(line["mean"].iloc[0], color=colors[method], lw=0.5)
    axes.axhline(0, color=GREY, lw=0.5)
    axes.set_xticks(range(len(order)), order)


def sanity_finding(faithful: pd.DataFrame) -> str:
    """One sentence: the map whose deletion changes answers soonest, and the ink."""
    said = []
    for network, rows in faithful.groupby("network", sort=False):
        deleted = rows[rows["test"] == "deletion"]
        mean = area(deleted, ["order", "seed"]).groupby("order").mean()
        best = mean.drop(["ink", "random"]).idxmin()
        said.append(
            f"{called(network)} {decimals(mean[best])} by {NAMES[best]} "
            f"(ink {decimals(mean['ink'])}, random {decimals(mean['random'])})"
        )
    return f"Smallest area under deletion: {'; '.join(said)}"


def as_percent(table: pd.DataFrame) -> pd.DataFrame:
    """Fractions of `seed_means` as percentages."""
    return table.assign(**{name: 100 * table[name] for name in LIMITS})


def line_and_band(table: pd.DataFrame) -> str:
    """What a line and a band are."""
    few, many = int(table["n"].min()), int(table["n"].max())
    if many < ENOUGH:
        return f"n = {many} seed{'s' if many > 1 else ''}: too few for an interval."
    count = f"{few}" if few == many else f"{few} to {many}"
    return f"n = {count} seeds; lines are means, bands 95 % intervals over seeds."


def swatch(label: str, color: str, dash: str = "-", marker: str = "") -> Line2D:
    """A line of the legend."""
    return Line2D([], [], color=color, ls=dash, marker=marker, ms=3.5, label=label)


def panel_canvas(
    names: Sequence[Sequence[str]],
    title: str,
    caption: str,
    origin: Origin,
    handles: list[Any],
) -> tuple[Figure, list[list[Axes]]]:
    """A canvas of panels with these names above them, and a legend."""
    width = 2 * MARGIN + len(names[0]) * (LEFT + WIDTH)
    body = 0.3 + len(names) * (ABOVE + HEIGHT + BELOW)
    canvas, top = titled_canvas(width, body, title, caption, origin)
    canvas.legend(top, handles)
    panels: list[list[Axes]] = []
    for i, row in enumerate(names):
        y = top + 0.3 + i * (ABOVE + HEIGHT + BELOW)
        panels.append([])
        for j, name in enumerate(row):
            x = MARGIN + LEFT + j * (LEFT + WIDTH)
            canvas.write(x, y, [name], BODY)
            axes = canvas.axes(x, y + ABOVE, WIDTH, HEIGHT)
            axes.grid(color=PALE, linewidth=0.4)
            axes.set_axisbelow(True)
            axes.spines[["right", "top"]].set_visible(False)
            axes.tick_params(labelsize=SMALL, length=2)
            axes.xaxis.label.set_fontsize(SMALL)
            panels[-1].append(axes)
    return canvas.figure, panels


def make_logarithmic(axes: Axes, which: str) -> None:
    """A logarithmic axis, x or y, with plain numbers."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def draw_band(
    axes: Axes,
    at: Any,
    line: pd.DataFrame,
    color: str,
    dash: str,
    marker: str = "",
    width: float = 1.4,
) -> None:
    """The mean as a line, and its interval where there is one."""
    axes.plot(at, line["mean"], dash, color=color, lw=width, marker=marker, ms=3)
    axes.fill_between(at, line["low"], line["high"], color=color, alpha=0.2, lw=0)
