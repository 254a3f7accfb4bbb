"""Figures as wide as a journal's columns, each with its caption and its table.

CSV, Markdown and LaTeX have the same rows in the order of the figure, and its unit:
percentage points. They hold what a paper prints; the study's own files have the rest.
"""

import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from lenet.figures.canvas import MINUS, Look, TooNarrow, left_off, rendered
from lenet.report import effect_tables
from lenet.report.exhibit_page import Exhibit

PAGE = 9.0  # inches of text that a page of a paper has from top to bottom
FLOATS = 50  # rows of a table at most that has to stand on one page
# Of the columns that a page shows, those that no paper prints.
UNPRINTED = ("p equivalent", "80 % power from, points", "reason")
AVERAGED = r" \(mean over .*\)"
LIMITS = re.compile(r"\[?([^\[\],]*)(?:, | to )([^\[\],]*)\]?")
LIMITED = ("95 %", "95 %, new digits", *effect_tables.RANGES.values())


class Journal(NamedTuple):
    """How the figures look, and the formats in which they are written."""

    look: Look
    formats: Sequence[str] = ("pdf",)


def figure_files(
    exhibits: Sequence[Exhibit], journal: Journal, lacking: str = ""
) -> dict[str, bytes]:
    """The files of figures by name: images, tables, and what was left off.

    The first figure must fit into its width (`TooNarrow`); another that does not is
    left out, which is said. So is what is lacking, if no caption says it.
    """
    if lacking and not journal.look.caption:
        note(f"{lacking}: the paper must say so, as the texts beside the figures do")
    made: dict[str, bytes] = {}
    for exhibit in exhibits:
        try:
            figure = exhibit.draw(look=journal.look)
        except TooNarrow as problem:
            if exhibit is exhibits[0]:
                raise
            note(f"{problem}; it is left out")
            continue
        name, rows = exhibit.name, printed(exhibit)
        check_height(name, figure, journal.look)
        for form in journal.formats:
            made[f"{name}.{form}"] = rendered(figure, form, journal.look)
        made[f"{name}.csv"] = numbers_csv(rows).encode()
        made[f"{name}.md"] = effect_tables.markdown(rows, exhibit.caption).encode()
        latex = effect_tables.floating if len(rows) <= FLOATS else effect_tables.latex
        made[f"{name}.tex"] = latex(rows, exhibit.caption).encode()
        if said := left_off(figure):
            made[f"{name}.txt"] = f"{said}\n".encode()
    return made


def note(text: str) -> None:
    """Say something that is no failure."""
    print(f"note: {text}", file=sys.stderr)


def check_height(name: str, figure: Figure, look: Look) -> None:
    """Say of a figure that it is higher than a page."""
    height = figure.get_figheight()
    if height > PAGE:
        lower = "; columns=2 makes it lower" if look.narrow else ""
        note(
            f"{name} is {height:.1f} inches high, and a page has about {PAGE:g}{lower}"
        )


def printed(exhibit: Exhibit) -> pd.DataFrame:
    """The rows of a figure in its order, as texts, in the columns that a paper prints:
    what decides, where there is something in them."""
    table = exhibit.table if exhibit.ordered is None else exhibit.ordered
    rows = effect_tables.readable_columns(table).drop(
        columns=[*UNPRINTED], errors="ignore"
    )
    if "p family" in rows:  # the one that decides
        rows = rows.drop(columns=["p", "p holm"])
    if "estimand" in rows:  # over what is averaged, the figure's caption says
        rows["estimand"] = rows["estimand"].str.replace(AVERAGED, "", regex=True)
    # A paper's columns are narrow: what is 0 or empty in every row is left out.
    return rows.loc[:, [bool(set(rows[name]) - {"", "0"}) for name in rows]]


def numbers_csv(rows: pd.DataFrame) -> str:
    """Texts as numbers that a program reads: two limits are two columns."""
    columns: dict[str, list[str]] = {}
    for name in rows:
        texts = rows[name].str.replace(MINUS, "-").tolist()
        if name in LIMITED:
            pairs = [LIMITS.fullmatch(text) for text in texts]
            for i, end in enumerate(("low", "high"), 1):
                columns[f"{name}, {end}"] = [pair[i] if pair else "" for pair in pairs]
        else:
            columns[name] = [
                text.replace(",", "") if effect_tables.is_shown_number(text) else text
                for text in texts
            ]
    return effect_tables.effects_csv(pd.DataFrame(columns))
