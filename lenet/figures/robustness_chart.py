"""The robustness chart and the atlas, from the tables of lenet/interpret."""

import math
from collections.abc import Sequence

import matplotlib.style
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from lenet.figures.canvas import (
    BLUE,
    INK,
    LINE,
    MARGIN,
    MID_GREY,
    MINUS,
    PALE,
    SEEDS,
    SMALL,
    STYLE,
    VERDICTS,
    Canvas,
    marker,
    runs_in_words,
    titled_canvas,
    wrap,
)
from lenet.figures.level_names import DIGITS, name_ticks
from lenet.interpret.robustness import LIMITS
from lenet.rounding import decimals
from lenet.studies.effect import Effects, Response, arms
from lenet.studies.origin import NOWHERE, Origin
from lenet.studies.statistics import mean_interval

WIDTH, HEIGHT, BELOW, LEFT = 2.1, 1.4, 0.65, 0.55  # inches of a panel and around it
COLUMNS, SQUARE = 4, 2.0
ACCURACY = Response("robust_accuracy", False, margin=0.01)
# The margin is one grey level.
SMALLEST = Response("smallest_epsilon", False, margin=1 / 255)
# What an indicator says where it is up.
INDICATORS = {
    "flat": "no gradient",
    "falling": "paths not at their end",
    "unbounded": "survives a ball of all images",
    "black_box": "random points or another run's images do better",
    "stronger": "a stronger attack gains more than 1 point",
}
ROW, NAMES, NUMBERS = 0.3, 2.6, 1.9  # inches of the table of smallest radii


def up(cells: pd.DataFrame) -> pd.DataFrame:
    """Which indicator is up in which cell: one column of booleans for each of which the
    cells have a column; tables of edition 1 know no stronger attack.

    What a stronger attack gains is the mean over the runs of a treatment, for a sample
    of one run is too small to tell a point.
    """
    seen = cells[[name for name in LIMITS if name in cells]].copy()
    if "stronger" in seen:
        groups = cells.groupby(["treatment", "epsilon"])["stronger"]
        seen["stronger"] = groups.transform("mean")
    return seen > pd.Series(LIMITS)[seen.columns]


def accuracy_table(cells: pd.DataFrame) -> pd.DataFrame:
    """Mean accuracy of each treatment at each epsilon, with its 95 % t interval over
    seeds, in how many runs which indicator is up, and what a stronger attack gains.

    cells: treatment, seed and the columns of `robustness.Curve`; where they have
    auto_attack, its mean and interval too.
    """
    raised = up(cells)
    flagged = cells.assign(**raised, any=raised.any(axis=1))
    if "stronger" in cells:
        flagged = flagged.assign(gain=cells["stronger"])
    rows = []
    for (treatment, epsilon), group in flagged.groupby(
        ["treatment", "epsilon"], sort=False
    ):
        counts = {name: int(group[name].sum()) for name in (*raised.columns, "any")}
        about = {"treatment": treatment, "epsilon": epsilon}
        row = {**about, **interval_of_shares(group["accuracy"]), **counts}
        if "gain" in group:
            row["gain"] = group["gain"].mean()
        if "auto_attack" in group:
            strongest = interval_of_shares(group["auto_attack"])
            row["auto_attack"] = strongest["mean"]
            row |= {f"auto_attack_{end}": strongest[end] for end in ("low", "high")}
        rows.append(row)
    return pd.DataFrame(rows)


def interval_of_shares(values: pd.Series) -> dict[str, float]:
    """n, the mean and its 95 % t interval within [0, 1]: all of it for n = 1."""
    found = mean_interval(values)
    ends = {"low": max(0.0, found["low"]), "high": min(1.0, found["high"])}  # NaN: 0, 1
    return found | ends


def differences(runs: pd.DataFrame, reference: str, study: str) -> pd.DataFrame:
    """Within-block differences of robust accuracy to the reference at each epsilon.

    runs: treatment, epsilon, seed, status, robust_accuracy, right. Columns: epsilon,
    then those of the effects; a family is the treatments at one epsilon.
    """
    tables = []
    for epsilon, attacked in runs.groupby("epsilon"):
        effects: Effects = arms(
            attacked,
            {"treatment": reference},
            study=study,
            response=ACCURACY,
            base=reference,
        )
        tables.append(effects.table.assign(epsilon=epsilon))
    every = pd.concat(tables, ignore_index=True)
    return every[["epsilon", *every.columns.drop("epsilon")]]


def smallest(runs: pd.DataFrame, reference: str, study: str) -> pd.DataFrame:
    """Per treatment the mean over seeds of the median smallest epsilon, with its 95 % t
    interval, and the within-block difference to the reference with that of the exact
    sign-flip test and the verdict over the family of the treatments.

    runs: treatment, seed, status, smallest_epsilon.
    """
    levels = {"treatment": reference}
    table = arms(runs, levels, study=study, response=SMALLEST, base=reference).table
    columns = ["mean", "low", "high", "p_family", "verdict"]
    effects = table.set_index("level")[columns].add_prefix("difference_")
    alive = runs[runs["status"] == "finished"].groupby("treatment", sort=False)
    rows = [
        {"treatment": name, **interval_of_shares(values)}
        for name, values in alive["smallest_epsilon"]
    ]
    return pd.DataFrame(rows).join(effects, on="treatment")


def smallest_shown(rows: pd.DataFrame) -> pd.DataFrame:
    """`smallest` as texts, each number with its interval."""

    def text(row: pd.Series, prefix: str, sign: str) -> str:
        values = [row[f"{prefix}{key}"] for key in ("mean", "low", "high")]
        if math.isnan(values[0]):
            return ""
        signed = (decimals(value, 4, sign) for value in values)
        mean, low, high = (number.replace("-", MINUS) for number in signed)
        return f"{mean} ({low} to {high})"

    return pd.DataFrame(
        {
            "treatment": rows["treatment"],
            "n": rows["n"],
            "smallest epsilon": [text(row, "", "") for _, row in rows.iterrows()],
            "difference": [text(row, "difference_", "+") for _, row in rows.iterrows()],
            "verdict": rows["difference_verdict"].fillna(""),
        }
    )


def too_large(rows: pd.DataFrame, smallest: pd.DataFrame) -> list[bool]:
    """Whether each smallest radius lies beside one at which the attack was too weak.

    rows: an `accuracy_table`.
    """

    def weak(name: str, radius: float) -> bool:
        mine = rows[rows["treatment"] == name].sort_values("epsilon")
        above = mine["epsilon"] > radius
        return bool(pd.concat([mine[~above][-1:], mine[above][:1]])["any"].any())

    return list(map(weak, smallest["treatment"], smallest["mean"]))


def finding(smallest: pd.DataFrame, reference: str) -> str:
    """One sentence: at which radius half of the images are turned."""
    at = smallest.set_index("treatment")["mean"]
    said = [f"Half of the images of {reference} withstand {decimals(at[reference], 3)}"]
    for word, name in (("most", at.idxmax()), ("least", at.idxmin())):
        if name != reference:
            said.append(f"{word}: {name}, {decimals(at[name], 3)}")
    return "; ".join(said)


def robustness_chart(
    rows: pd.DataFrame,
    effects: pd.DataFrame,
    smallest: pd.DataFrame,
    *,
    reference: str,
    about: str,
    origin: Origin = NOWHERE,
) -> Figure:
    """The smallest radius of every treatment; then, per treatment, accuracy over
    epsilon beside the reference, and the difference.

    rows: an `accuracy_table`; effects: `differences`; smallest: the table of that name;
    about: the attack, for the caption.
    """
    names = list(dict.fromkeys(rows["treatment"]))
    with matplotlib.style.context(["default", STYLE]):
        labels = {name: wrap(name, WIDTH, SMALL) for name in names}
        columns = min(COLUMNS, len(names))
        lines = [names[i : i + columns] for i in range(0, len(names), columns)]
        heads = [
            max(LINE * SMALL * len(labels[name]) for name in line) for line in lines
        ]
        panel = 2 * HEIGHT + BELOW
        width = MARGIN + max(3, columns) * (LEFT + WIDTH) + MARGIN
        top = ROW * len(smallest) + BELOW
        body = top + 0.35 + sum(heads) + len(lines) * panel
        caption = f"{about} {_caption(rows)}"
        if any(too_large(rows, smallest)):
            caption += " Open dot: a radius beside a hatched cell, perhaps too large."
        canvas, y = titled_canvas(
            width, body, finding(smallest, reference), caption, origin
        )
        _radii(canvas, y, smallest, too_large(rows, smallest), width)
        y += top
        canvas.legend(y, _handles(reference, rows, effects))
        y += 0.35
        for line, head in zip(lines, heads, strict=True):
            for i, name in enumerate(line):
                x = MARGIN + LEFT + i * (LEFT + WIDTH)
                below = y + head - LINE * SMALL * len(labels[name])
                canvas.write(x, below, labels[name], SMALL, weight="bold")
                _panel(canvas, (x, y + head), rows, effects, name, reference, i == 0)
            y += head + panel
    return canvas.figure


def _radii(
    canvas: Canvas, y: float, smallest: pd.DataFrame, weak: Sequence[bool], width: float
) -> None:
    """A row per treatment: its name, mean and interval of the median smallest radius,
    open where the attack was `weak`, and its difference from the reference."""
    left, right = MARGIN + NAMES, width - MARGIN - NUMBERS
    axes = canvas.axes(left, y, right - left, ROW * len(smallest))
    shown = smallest_shown(smallest)
    for place, row in enumerate(smallest.itertuples(index=False)):
        middle = y + (place + 0.5) * ROW - 0.5 * LINE * SMALL
        lines = wrap(row.treatment, NAMES - 0.1, SMALL)[:2]
        at = middle - 0.5 * LINE * SMALL * (len(lines) - 1)
        canvas.write(MARGIN, at, lines, SMALL)
        verdict = row.difference_verdict
        color = VERDICTS[verdict][0] if verdict in VERDICTS else INK
        axes.plot([row.low, row.high], [place] * 2, color=color, linewidth=2.2)
        face = "white" if weak[place] else color
        axes.plot(row.mean, place, color=color, marker="o", ms=4, mfc=face)
        said = shown["difference"][place]
        canvas.write(right + 0.08, middle, [said], SMALL, color=color)
    axes.set(ylim=(len(smallest) - 0.5, -0.5), yticks=[])
    axes.tick_params(labelsize=SMALL, length=2)
    axes.grid(axis="x", color=PALE, linewidth=0.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    said = "median smallest epsilon of a run's images; right: difference"
    axes.set_xlabel(said, fontsize=SMALL, labelpad=1)


def _panel(
    canvas: Canvas,
    at: tuple[float, float],
    rows: pd.DataFrame,
    effects: pd.DataFrame,
    name: str,
    reference: str,
    first: bool,
) -> None:
    """A treatment's accuracy, and under it the difference to the reference."""
    x, y = at
    accuracy = canvas.axes(x, y, WIDTH, HEIGHT)
    difference = canvas.axes(x, y + HEIGHT + 0.12, WIDTH, HEIGHT)
    mine = rows[rows["treatment"] == name]
    base = rows[rows["treatment"] == reference]
    accuracy.plot(base["epsilon"], 100 * base["mean"], color=MID_GREY, lw=1.1)
    ends = 100 * mine["low"], 100 * mine["high"]
    accuracy.fill_between(mine["epsilon"], *ends, color=SEEDS, lw=0)
    accuracy.plot(mine["epsilon"], 100 * mine["mean"], ".-", color=BLUE, lw=1.4, ms=5)
    accuracy.set_ylim(0, 100)
    _strongest(accuracy, mine)
    _hatch(accuracy, mine)
    of_level = effects[effects["level"] == name]
    reach = 110 * of_level[["low", "high", "mean"]].to_numpy()
    reach = reach[np.isfinite(reach)]
    _differences(difference, of_level)
    difference.set_ylim(min([-1.0, *reach]), max([1.0, *reach]))
    if name == reference:
        there = difference.transAxes
        said = difference.text(0.5, 0.55, "the reference", transform=there)
        said.set(fontsize=SMALL, ha="center")
    difference.axhline(0, color=INK, linewidth=0.9, zorder=1)
    for axes in (accuracy, difference):
        axes.set_xlim(-0.03 * rows["epsilon"].max(), 1.04 * rows["epsilon"].max())
        axes.tick_params(labelsize=SMALL - 0.5, length=2, pad=2)
        axes.grid(color=PALE, linewidth=0.4)
        axes.set_axisbelow(True)
        axes.spines[["right", "top"]].set_visible(False)
    accuracy.tick_params(labelbottom=False)
    for axes, text in ((accuracy, "accuracy, %"), (difference, "difference, points")):
        axes.set_ylabel(text if first else "", fontsize=SMALL)
    difference.set_xlabel("epsilon", fontsize=SMALL, labelpad=1)


def _strongest(axes: Axes, mine: pd.DataFrame) -> None:
    """Accuracy under AutoAttack where that was tried, with its interval."""
    if "auto_attack" in mine:
        tried = 100 * mine[mine["epsilon"] > 0].filter(like="auto_attack")
        middle, low, high = (tried[name] for name in tried)
        axes.errorbar(
            mine["epsilon"][tried.index], middle, [middle - low, high - middle],
            fmt="D", color=INK, ms=3, lw=0.9, label="_AutoAttack",
        )  # fmt: skip


def _hatch(axes: Axes, mine: pd.DataFrame) -> None:
    """Hatch the cells in which an indicator is up, each from middle to middle."""
    places = mine["epsilon"].to_numpy()
    # A cell reaches half-way to its neighbours; the outermost ones end with the axis.
    middles = (places[1:] + places[:-1]) / 2
    ends = np.concatenate([places[:1], middles, places[-1:] * 1.04])
    for i, raised in enumerate(mine["any"] > 0):
        if raised:
            axes.axvspan(
                ends[i], ends[i + 1], facecolor="none", edgecolor=MID_GREY,
                hatch="////", linewidth=0, zorder=0,
            )  # fmt: skip


def _differences(axes: Axes, mine: pd.DataFrame) -> None:
    """A bar per epsilon from the low to the high end, with the verdict's sign."""
    for row in mine.itertuples(index=False):
        color = VERDICTS[row.verdict][0]
        if math.isfinite(row.low):
            limits = [100 * row.low, 100 * row.high]
            axes.plot([row.epsilon] * 2, limits, color=color, linewidth=2.2)
        if math.isfinite(row.mean):
            sign = marker(row.verdict, [row.epsilon], [100 * row.mean])
            turned = {"better": "^", "worse": "v"}  # the axis stands upright
            sign.set_marker(turned.get(row.verdict, VERDICTS[row.verdict][1]))
            sign.set_markersize(5)
            axes.add_line(sign)


def _handles(
    reference: str, rows: pd.DataFrame, effects: pd.DataFrame
) -> list[Line2D | Patch]:
    grey = Line2D([], [], color=MID_GREY, lw=1.1, label=f"{reference}"[:40])
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=BLUE, lw=1.4, marker=".", label="robust accuracy"),
        Patch(color=SEEDS, label="95 % t interval over seeds"),
        grey,
    ]
    if "auto_attack" in rows:
        handles.append(
            Line2D([], [], color=INK, lw=0.9, marker="D", ms=3, label="AutoAttack too")
        )
    if (rows["any"] > 0).any():
        hatched = Patch(facecolor="none", edgecolor=MID_GREY, hatch="////", lw=0)
        hatched.set_label("the attack may be too weak")
        handles.append(hatched)
    present = [verdict for verdict in VERDICTS if verdict in set(effects["verdict"])]
    for verdict in present:
        handles.append(Patch(color=VERDICTS[verdict][0], label=verdict))
    return handles


def _caption(rows: pd.DataFrame) -> str:
    raised = [
        f"{INDICATORS[name]} ({int((rows[name] > 0).sum())} cells)"
        for name in LIMITS
        if name in rows and (rows[name] > 0).any()
    ]
    parts = [
        f"{runs_in_words(rows['n'])}.",
        "Below: mean of within-seed differences with the 95 % interval that inverts",
        "the exact sign-flip test, each panel on its own scale; verdicts by step-down",
        "max-T over the treatments.",
        f"Hatched, the attack may be too weak: {', '.join(raised)}."
        if raised
        else "No sign that the attack is too weak in any run.",
        "What a stronger attack gains is the mean over seeds."
        if "stronger" in rows
        else "No stronger attack was tried on these runs (edition 1): their robust "
        "accuracies are upper bounds.",
    ]
    return " ".join(parts)


def atlas_chart(
    rows: pd.DataFrame,
    epsilon: float,
    *,
    about: str,
    origin: Origin = NOWHERE,
    classes: Sequence[str] = DIGITS,
) -> Figure:
    """Per treatment, source by target: success at epsilon, and median smallest epsilon.

    rows: treatment and the columns of `smallest_radii.atlas`, at this epsilon. classes:
    what they are called.
    """
    names = list(dict.fromkeys(rows["treatment"]))
    with matplotlib.style.context(["default", STYLE]):
        columns = min(2, len(names))
        lines = [names[i : i + columns] for i in range(0, len(names), columns)]
        cell = 2 * (SQUARE + 0.75)
        labels = {name: wrap(name, cell - 0.4, SMALL) for name in names}
        heads = [
            max(LINE * SMALL * len(labels[name]) for name in line) for line in lines
        ]
        body = 0.1 + sum(heads) + len(lines) * (SQUARE + 0.75)
        width = 2 * MARGIN + 2 * cell
        title, said = atlas_finding(rows, classes), f"{about} {_atlas_caption(rows)}"
        canvas, y = titled_canvas(width, body, title, said, origin)
        for line, head in zip(lines, heads, strict=True):
            for i, name in enumerate(line):
                x = MARGIN + 0.35 + i * cell
                below = y + head - LINE * SMALL * len(labels[name])
                canvas.write(x, below, labels[name], SMALL, weight="bold")
                mine = rows[rows["treatment"] == name]
                _maps(canvas, (x, y + head + 0.22), mine, epsilon, classes)
            y += head + SQUARE + 0.75
    return canvas.figure


def atlas_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Per treatment, source and target: n, success, median radius (inf where the attack
    mostly fails), and the share that it reaches at no radius."""
    unreached = rows.assign(unreached=rows["epsilon"] == math.inf)
    grouped = unreached.groupby(["treatment", "source", "target"], sort=False)
    table = grouped.agg(
        n=("epsilon", "count"),
        success=("success", "mean"),
        median=("epsilon", "median"),
        unreached=("unreached", "mean"),
    )
    return table.reset_index()


def atlas_finding(rows: pd.DataFrame, classes: Sequence[str] = DIGITS) -> str:
    """One sentence: the easiest and the hardest pair, over all treatments."""
    pairs = rows.groupby(["source", "target"])["epsilon"].median()
    ends = [*pairs.idxmin(), *pairs.idxmax()]
    a, b, c, d = (classes[at] for at in ends)
    low, high = float(pairs.min()), float(pairs.max())
    most = decimals(high) if math.isfinite(high) else "the attack mostly fails"
    return (
        f"{a} becomes {b} most easily (median radius {decimals(low)}), "
        f"{c} becomes {d} least ({most})"
    )


def _maps(
    canvas: Canvas,
    at: tuple[float, float],
    mine: pd.DataFrame,
    epsilon: float,
    classes: Sequence[str],
) -> None:
    """The two maps of one treatment with their scales."""
    x, y = at
    table = atlas_table(mine)
    shown = (
        ("success", f"success at {epsilon:g}", "cividis", 1.0),
        ("median", "median smallest epsilon", "cividis_r", 0.6),
    )
    for i, (column, text, colors, top) in enumerate(shown):
        square = table.pivot(index="source", columns="target", values=column)
        every = range(len(classes))
        square = square.reindex(index=every, columns=every)
        square = square.replace(math.inf, 9.0)  # drawn as the end of the scale
        left = x + i * (SQUARE + 0.75)
        axes = canvas.axes(left, y, SQUARE, SQUARE)
        image = axes.imshow(square, cmap=colors, vmin=0, vmax=top)
        for pair in table[table["unreached"] > 0].itertuples():
            corner = pair.target - 0.5, pair.source - 0.5
            axes.add_patch(
                Rectangle(corner, 1, 1, fill=False, ec=MID_GREY, hatch="////", lw=0)
            )
        axes.set_title(text, fontsize=SMALL, pad=3)
        name_ticks(axes.xaxis, classes, SQUARE)
        name_ticks(axes.yaxis, classes, 0.35 * len(classes))
        axes.tick_params(labelsize=SMALL - 1, length=0, pad=2)
        axes.set_xlabel("target", fontsize=SMALL, labelpad=1)
        axes.set_ylabel("source", fontsize=SMALL, labelpad=1)
        bar = canvas.figure.colorbar(
            image, cax=canvas.axes(left + SQUARE + 0.06, y, 0.08, SQUARE)
        )
        bar.ax.tick_params(labelsize=SMALL - 1, length=2, pad=2)
        bar.outline.set_visible(False)


def _atlas_caption(rows: pd.DataFrame) -> str:
    pair = rows.groupby(["treatment", "source", "target"]).size()
    low, high = int(pair.min()), int(pair.max())
    n = f"{low}" if low == high else f"{low} to {high}"
    said = (
        f"Each cell is of n = {n} attacks (images times seeds); its radius is the "
        "smallest at which PGD on the margin reaches the target, by bisection. "
        "Colours are the same in all maps; radii above 0.6 share one."
    )
    if (rows["epsilon"] == math.inf).any():
        said += (
            " Hatched: some of the attacks fail at every radius, also in a ball of all "
            "images; that says nothing of how robust the network is."
        )
    return said
