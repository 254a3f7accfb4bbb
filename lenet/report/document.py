"""One self-contained page of figures: no network, no template, nothing unescaped.

Figures are inline SVG whose inks are CSS variables, so that they follow the reader's
light or dark. Knows neither studies nor runs, and does not wait for torch.
"""

import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lenet.figures.canvas import BLUE, GREEN, ORANGE
from lenet.report import effect_tables

INKS = {  # colours of the figures that a dark page needs in another shade
    "#000000": "ink",
    "#ffffff": "paper",
    "#444444": "grey",
    "#666666": "undecided",
    "#dddddd": "pale",
    "#e6ebf0": "band",
    "#f2f2f2": "cell",
    "#99c7e0": "range",
    BLUE.lower(): "better",
    ORANGE.lower(): "worse",
    GREEN.lower(): "equivalent",
}
HERE = Path(__file__).parent


class Exhibit(NamedTuple):
    """A figure with the table of its numbers; `about` is its finding in a sentence."""

    name: str
    title: str
    about: str
    figure: Any  # a Figure, or its SVG once it is drawn
    table: pd.DataFrame
    narrow: Any = None  # the same figure for a telephone, if there is one


def document(
    title: str,
    remarks: Sequence[str],
    links: Sequence[tuple[str, str]],
    sections: Sequence[str],
    about: str = "LeNet-5, ablated",
) -> str:
    """A page of these sections; `links` are their ids with what they are called.

    about: what the page is one of, in the title of its window.
    """
    items = [f'<a href="#{name}">{html.escape(text)}</a>' for name, text in links]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{html.escape(title)}: {html.escape(about)}</title>",
            f"<style>\n{(HERE / 'page.css').read_text()}</style>\n</head>\n<body>",
            f"<header><h1>{html.escape(title)}</h1>",
            *[f'<p class="remark">{html.escape(remark)}</p>' for remark in remarks],
            f"<nav>{' '.join(items)}</nav></header>\n<main>",
            *sections,
            "</main>",
            f"<script>\n{(HERE / 'page.js').read_text()}</script>\n</body>\n</html>",
            "",
        ]
    )


def figure(number: int, exhibit: Exhibit) -> str:
    """A figure with its numbers below it, folded where they are many."""
    name, rows = exhibit.name, effect_tables.as_html(exhibit.table)
    files = " ".join(
        f'<a href="{name}.{form}">{form}</a>'
        for form in ("svg", "png", "pdf", "csv", "md", "tex")
    )
    fold = "" if len(exhibit.table) > 40 else " open"
    return (
        f'<section id="{name}"><h2>{html.escape(exhibit.title)}</h2>\n'
        f'<figure role="img" aria-label="{html.escape(exhibit.about)}">'
        f"{inline(exhibit.figure, f'f{number}-')}</figure>\n"
        f"<details{fold}><summary>The numbers ({len(exhibit.table)} rows)</summary>\n"
        f'{rows}</details>\n<p class="files">Beside this page: {files}</p></section>'
    )


def inline(svg: str, prefix: str) -> str:
    """A figure's SVG for a page that has others: own names, inks as variables."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", body)
    return re.sub(
        r"(?<![\w&])#[0-9a-fA-F]{6}\b",
        lambda found: ink(found.group().lower()),
        body,
    )


def ink(color: str) -> str:
    """A colour as a variable of the page that falls back to itself."""
    return f"var(--{INKS[color]}, {color})" if color in INKS else color
