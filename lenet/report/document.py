"""One self-contained page of figures: no network, no template, nothing unescaped.

Figures are inline SVG whose inks are CSS variables, so that they follow the reader's
light or dark. Knows neither studies nor runs, and does not wait for torch.
"""

import html
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pandas as pd
from matplotlib.figure import Figure

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
# What a dot is and the command of its run, by side, row and seed.
Dots: TypeAlias = dict[tuple[int, int, int], tuple[str, str]]
DOTS = re.compile(r'<g id="dots-(\d+)-(\d+)-([\d-]+)">(.*?</g>)\s*</g>', re.DOTALL)
USE = re.compile(r"(<use [^>]*?)/>")


class Exhibit(NamedTuple):
    """A figure with the table of its numbers; `about` is its finding in a sentence.

    draw: the figure in a `look`. ordered: the table in the order of the figure, where
    it has another. svg: the figure for a screen, and narrow: for a telephone, if it has
    such a form, once they are drawn.
    """

    name: str
    title: str
    about: str
    draw: Callable[..., Figure]
    table: pd.DataFrame
    ordered: pd.DataFrame | None = None
    phone: bool = False
    dots: Dots = {}
    svg: str = ""
    narrow: str = ""

    @property
    def caption(self) -> str:
        """What its tables are called."""
        return f"{self.title}: {self.about}"

    @property
    def figure(self) -> Figure:
        """The figure for a screen."""
        return self.draw()


def document(
    title: str,
    remarks: Sequence[str],
    links: Sequence[tuple[str, str]],
    sections: Sequence[str],
    about: str = "LeNet-5, ablated",
    lead: str = "",
) -> str:
    """A page of these sections; `links` are their ids with what they are called.

    about: what the page is one of, in the title of its window. lead: what it found, in
    a sentence. A remark that something is missing is for the reader to act on.
    """
    items = [f'<a href="#{name}">{html.escape(text)}</a>' for name, text in links]
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f'<meta name="description" content="{html.escape(lead)}">',
            f"<title>{html.escape(title)}: {html.escape(about)}</title>",
            f"<style>\n{(HERE / 'page.css').read_text()}</style>\n</head>\n<body>",
            f"<header><h1>{html.escape(title)}</h1>",
            *[remark_of(said) for remark in remarks for said in remark.split("; ")],
            f"<nav>{' '.join(items)}</nav></header>\n<main>",
            *sections,
            "</main>",
            f"<script>\n{(HERE / 'page.js').read_text()}</script>\n</body>\n</html>",
            "",
        ]
    )


def remark_of(said: str) -> str:
    """A remark on the runs: a warning where some are missing, else a note."""
    kind = "remark" if "missing" in said else "note"
    return f'<p class="{kind}">{html.escape(said)}</p>'


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
        f"{figure_html(number, exhibit)}\n"
        f"<details{fold}><summary>The numbers ({len(exhibit.table)} rows)</summary>\n"
        f'{rows}</details>\n<p class="files">Beside this page: {files}</p></section>'
    )


def figure_html(number: int, exhibit: Exhibit) -> str:
    """A figure as SVG, and as another for narrow windows if there is one."""
    shapes = [("figure", exhibit.svg, f"f{number}-")]
    if exhibit.narrow:
        shapes = [("figure broad", exhibit.svg, f"f{number}-")]
        shapes.append(("figure narrow", exhibit.narrow, f"n{number}-"))
    about = html.escape(exhibit.about)
    return "\n".join(
        f'<figure class="{kind}" role="img" aria-label="{about}">'
        f"{inline(svg, prefix, exhibit.dots)}</figure>"
        for kind, svg, prefix in shapes
    )


def with_dots(svg: str, dots: Dots) -> str:
    """A figure whose dots say what they are, and hold the commands of their runs."""

    def named(match: re.Match[str]) -> str:
        side, row, seeds, body = match.groups()
        which = iter(seeds.split("-"))

        def titled(use: re.Match[str]) -> str:
            text, command = dots.get((int(side), int(row), int(next(which))), ("", ""))
            data = f' data-command="{html.escape(command)}"' if command else ""
            return f"{use[1]}{data}><title>{html.escape(text)}</title></use>"

        inner = USE.sub(titled, body)
        return f'<g class="dots">{inner}\n   </g>'

    return DOTS.sub(named, svg)


def inline(svg: str, prefix: str, dots: Dots | None = None) -> str:
    """A figure's SVG for a page that has others: own names, inks as variables."""
    body = with_dots(svg[svg.index("<svg") :], dots or {})
    body = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", body)
    return re.sub(
        r"(?<![\w&])#[0-9a-fA-F]{6}\b",
        lambda match: colour_variable(match.group().lower()),
        body,
    )


def colour_variable(color: str) -> str:
    """A colour as a variable of the page that falls back to itself."""
    return f"var(--{INKS[color]}, {color})" if color in INKS else color
