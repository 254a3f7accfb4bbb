"""The heat map of a factorial: what each change does, and what two do to each other."""

from collections.abc import Sequence
from typing import Any

import matplotlib.style
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lenet.figures.ablation_chart import (
    effect_in_brackets,
    lost,
    measured_as,
    verdicts,
)
from lenet.figures.canvas import (
    BODY,
    FAINT,
    GAP,
    GREY,
    INK,
    LINE,
    SCREEN,
    SMALL,
    VERDICTS,
    Canvas,
    Look,
    TooNarrow,
    interval,
    points,
    runs_in_words,
    text_width,
    titled_canvas,
    unit_of,
    wrap,
)
from lenet.studies.effect import MAIN, PAIR, effects_of_kind
from lenet.studies.origin import NOWHERE, Origin

PLAIN = FAINT, 1.0  # a color and its strength
CELL, MOST, LOW = 1.25, 1.9, 0.74  # inches: width of a cell, its most, its height
DAGGER = "\N{DAGGER}"
WORDS = {"better": "better together", "worse": "worse together"}


def heat_map(
    effects: pd.DataFrame,
    *,
    reference: str,
    title: str = "",
    origin: Origin = NOWHERE,
    look: Look = SCREEN,
) -> Figure:
    """Interactions below the diagonal, main effects on it, in the response's unit.

    `effects` has the main effects and interactions of `effect.factorial`.
    """
    main, pairs = effects_of_kind(effects, MAIN), effects_of_kind(effects, PAIR)
    factors = main["factor"].tolist()
    with matplotlib.style.context(["default", look.style]):
        letters = SMALL if look.width else BODY  # of the labels
        label, cell = _fitted(look, factors, pd.concat([main, pairs]))
        left = look.margin + label + GAP
        width = look.width or max(left + cell * len(factors) + look.margin, 6.5)
        body, title = LOW * len(factors), title or finding(pairs, reference)
        canvas, top = titled_canvas(
            width, body + 0.35, title, _caption(effects), origin, look
        )
        most = max(float(pairs["mean"].abs().max()), 1e-9)
        _draw(canvas, main, pairs, (left, top, cell), most)
        for i, factor in enumerate(factors):
            lines = wrap(factor, label, letters, "bold")
            y = top + LOW * (i + 0.5) - LINE * letters * len(lines) / 2
            canvas.write(left - GAP, y, lines, letters, ha="right", weight="bold")
            lines = wrap(factor, cell - 0.1, SMALL)[:2]
            x = left + cell * (i + 0.5)
            canvas.write(x, top + body + 0.05, lines, SMALL, ha="center", color=GREY)
    return canvas.figure


def finding(pairs: pd.DataFrame, reference: str) -> str:
    """One sentence: how many pairs interact, and which one most."""
    if pairs["reason"].str.contains("no verdict possible").all():
        return f"No verdict possible at n = {pairs['n'].max()} on {len(pairs)} pairs"
    proven = pairs[pairs["verdict"].isin(["better", "worse"])]
    if proven.empty:
        return f"No proof that any of {len(pairs)} pairs of changes interacts"
    first = proven.loc[proven["mean"].abs().idxmax()]
    first_factor, other = first["factor"].split(":")
    return (
        f"{len(proven)} of {len(pairs)} pairs of changes to {reference} interact. Most "
        f"of all {first_factor} and {other}: {first['verdict']} together than their "
        f"effects add up to {effect_in_brackets(first)}"
    )


def _fitted(
    look: Look, factors: Sequence[str], rows: pd.DataFrame
) -> tuple[float, float]:
    """Inches of the labels and of a cell; in a paper a cell has what the labels leave,
    but no less than its texts."""
    if look.width is None:
        label = max(text_width(factor, BODY, "bold") for factor in factors)
        return min(2.0, label), CELL
    label = max(text_width(factor, SMALL, "bold") for factor in factors)
    least = 0.02 + max(
        text_width(*line)
        for row in rows.itertuples(index=False)
        for line in _texts(row)
    )

    def paper(look: Look) -> tuple[float, float] | None:
        width = look.width or 0.0
        beside = min(label, 0.16 * width)
        cell = (width - 2 * look.margin - beside - GAP) / len(factors)
        return (beside, min(cell, MOST)) if cell >= least else None

    if shown := paper(look):
        return shown
    raise TooNarrow("interactions", look, paper)


def _texts(row: Any) -> list[tuple[str, float, str]]:
    """The lines of a cell with their points and weights."""
    proven = row.verdict in WORDS
    weak = proven and abs(row.mean) < row.power_80
    unit = unit_of(row)
    number = points(row.mean, unit) + " *" * proven + DAGGER * weak
    digits = interval(row.low_digits, row.high_digits, unit)
    lines = [
        *wrap(interval(row.low, row.high, unit), CELL, SMALL),
        *wrap(digits.replace("[", "(").replace("]", ")"), CELL, SMALL),
    ]
    lines.append(
        WORDS.get(row.verdict, row.verdict) if ":" in row.factor else row.verdict
    )
    return [
        (number, BODY + 1, "bold" if proven else "normal"),
        *((line, SMALL, "normal") for line in lines if line),
    ]


def _draw(
    canvas: Canvas,
    main: pd.DataFrame,
    pairs: pd.DataFrame,
    at: tuple[float, float, float],
    most: float,
) -> None:
    factors, (left, top, cell) = main["factor"].tolist(), at
    for i, row in enumerate(main.itertuples(index=False)):
        _cell(canvas, row, (left + cell * i, top + LOW * i, cell), PLAIN)
    for row in pairs.itertuples(index=False):
        j, i = sorted(factors.index(name) for name in row.factor.split(":"))
        color = VERDICTS[row.verdict][0], 0.7 * abs(row.mean) / most
        color = color if row.verdict in WORDS else PLAIN
        _cell(canvas, row, (left + cell * j, top + LOW * i, cell), color)


def _cell(
    canvas: Canvas, row: Any, at: tuple[float, float, float], color: tuple[str, float]
) -> None:
    x, y, width = at
    corner = (x + 0.015) / canvas.width, 1 - (y + LOW - 0.015) / canvas.height
    inner = (width - 0.03) / canvas.width, (LOW - 0.03) / canvas.height
    box = Rectangle(corner, *inner, facecolor=color, edgecolor="none")
    canvas.figure.add_artist(box)
    y += 0.08
    for text, letters, weight in _texts(row):
        style = {"ha": "center", "weight": weight, "color": INK}
        y = canvas.write(x + width / 2, y, [text], letters, **style)


def _caption(effects: pd.DataFrame) -> str:
    below = (
        "Below: how the effect of the one differs with the other changed too; if that "
        "is proven, blue: better together than their effects add up to; orange: worse."
    )
    digits = effects["low_digits"].notna().any()
    what, unit = measured_as(effects), unit_of(effects.iloc[0])
    shown = f"Percentage points of {what}"
    if unit:
        shown = f"Effects on {what}{'' if unit == what else f', {unit}'}"
    parts = [
        f"{runs_in_words(effects['n'], 'blocks')}. {shown} [95 % interval].",
        "(In round brackets: for new seeds and new digits.)" if digits else "",
        f"Diagonal: {effects_of_kind(effects, MAIN)['estimand'].iloc[0]}.",
        below,
        f"* {verdicts(effects)}",
        f"{DAGGER} Found below 80 % power: likely overstated."
        if effects["reason"].str.contains("overstated").any()
        else "",
        lost(effects),
    ]
    return " ".join(filter(None, parts))
