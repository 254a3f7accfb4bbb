"""The heat map of a factorial: what each change does, and what two do to each other."""

from typing import Any

import matplotlib.style
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lenet.figures.ablation_chart import lost, measured_as, seeds, size, verdicts
from lenet.figures.canvas import (
    BODY,
    GAP,
    GREY,
    INK,
    LINE,
    MARGIN,
    SMALL,
    STYLE,
    VERDICTS,
    Page,
    interval,
    measured,
    points,
    sheet,
    unit_of,
    wrap,
)
from lenet.studies.effect import MAIN, PAIR, of
from lenet.studies.origin import NOWHERE, Origin

PLAIN = "#F2F2F2", 1.0  # a color and its strength
CELL, LOW = 1.25, 0.74  # inches: width and height of a cell
DAGGER = "\N{DAGGER}"
WORDS = {"better": "help each other", "worse": "overlap"}


def heat_map(
    effects: pd.DataFrame,
    *,
    reference: str,
    title: str = "",
    origin: Origin = NOWHERE,
) -> Figure:
    """Interactions below the diagonal, main effects on it, in the response's unit.

    `effects` has the main effects and interactions of `effect.factorial`.
    """
    main, pairs = of(effects, MAIN), of(effects, PAIR)
    factors = main["factor"].tolist()
    with matplotlib.style.context(["default", STYLE]):
        label = min(2.0, max(measured(factor, BODY, "bold") for factor in factors))
        left = MARGIN + label + GAP
        width = max(left + CELL * len(factors) + MARGIN, 6.5)
        body, title = LOW * len(factors), title or finding(pairs, reference)
        page, top = sheet(width, body + 0.35, title, _caption(effects), origin)
        most = max(float(pairs["mean"].abs().max()), 1e-9)
        _draw(page, main, pairs, (left, top), most)
        for i, factor in enumerate(factors):
            lines = wrap(factor, label, BODY, "bold")
            y = top + LOW * (i + 0.5) - LINE * BODY * len(lines) / 2
            page.write(left - GAP, y, lines, BODY, ha="right", weight="bold")
            lines = wrap(factor, CELL - 0.1, SMALL)[:2]
            x = left + CELL * (i + 0.5)
            page.write(x, top + body + 0.05, lines, SMALL, ha="center", color=GREY)
    return page.figure


def finding(pairs: pd.DataFrame, reference: str) -> str:
    """One sentence: how many pairs interact, and which one most."""
    if pairs["reason"].str.contains("no verdict possible").all():
        return f"No verdict possible at n = {pairs['n'].max()} on {len(pairs)} pairs"
    proven = pairs[pairs["verdict"].isin(["better", "worse"])]
    if proven.empty:
        return f"No proof that any of {len(pairs)} pairs of changes interacts"
    first = proven.loc[proven["mean"].abs().idxmax()]
    one, other = first["factor"].split(":")
    does = "more" if first["verdict"] == "better" else "less"
    return (
        f"{len(proven)} of {len(pairs)} pairs of changes to {reference} interact: most "
        f"of all, {one} helps {does} with {other} {size(first)}"
    )


def _draw(
    page: Page,
    main: pd.DataFrame,
    pairs: pd.DataFrame,
    at: tuple[float, float],
    most: float,
) -> None:
    factors, (left, top) = main["factor"].tolist(), at
    for i, row in enumerate(main.itertuples(index=False)):
        _cell(page, row, left + CELL * i, top + LOW * i, PLAIN)
    for row in pairs.itertuples(index=False):
        j, i = sorted(factors.index(name) for name in row.factor.split(":"))
        color = VERDICTS[row.verdict][0], 0.7 * abs(row.mean) / most
        color = color if row.verdict in WORDS else PLAIN
        _cell(page, row, left + CELL * j, top + LOW * i, color)


def _cell(page: Page, row: Any, x: float, y: float, color: tuple[str, float]) -> None:
    corner = (x + 0.015) / page.width, 1 - (y + LOW - 0.015) / page.height
    size = (CELL - 0.03) / page.width, (LOW - 0.03) / page.height
    box = Rectangle(corner, *size, facecolor=color, edgecolor="none")
    page.figure.add_artist(box)
    proven = row.verdict in WORDS
    weight = "bold" if proven else "normal"
    y, middle = y + 0.08, x + CELL / 2
    weak = proven and abs(row.mean) < row.power_80
    unit = unit_of(row)
    number = [points(row.mean, unit) + " *" * proven + DAGGER * weak]
    y = page.write(middle, y, number, BODY + 1, ha="center", weight=weight)
    digits = interval(row.low_digits, row.high_digits, unit)
    lines = [
        *wrap(interval(row.low, row.high, unit), CELL, SMALL),
        *wrap(digits.replace("[", "(").replace("]", ")"), CELL, SMALL),
    ]
    y = page.write(middle, y, lines, SMALL, ha="center")
    said = WORDS.get(row.verdict, row.verdict) if ":" in row.factor else row.verdict
    page.write(middle, y, [said], SMALL, ha="center", color=INK)


def _caption(effects: pd.DataFrame) -> str:
    below = (
        "Below: how the effect of the one differs with the other changed too; if that "
        "is proven, blue: they help each other; orange: they overlap, the two help "
        "less than their sum."
    )
    digits = effects["low_digits"].notna().any()
    what, unit = measured_as(effects), unit_of(effects.iloc[0])
    shown = f"Percentage points of {what}"
    if unit:
        shown = f"Effects on {what}{'' if unit == what else f', {unit}'}"
    parts = [
        f"{seeds(effects['n'])}. {shown} [95 % interval].",
        "(In round brackets: for new seeds and new digits.)" if digits else "",
        f"Diagonal: {of(effects, MAIN)['estimand'].iloc[0]}.",
        below,
        f"* {verdicts(effects)}",
        f"{DAGGER} Found below 80 % power: likely overstated."
        if effects["reason"].str.contains("overstated").any()
        else "",
        lost(effects),
    ]
    return " ".join(filter(None, parts))
