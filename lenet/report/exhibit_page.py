"""A figure with its table (an exhibit), and one self-contained page of such.

No network, nothing unescaped. Figures are inline SVG whose inks are CSS variables, so
that they follow the reader's light or dark. Knows neither studies nor runs, and does
not wait for torch.
"""

import html
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from lenet.figures.canvas import (
    BAND,
    BLUE,
    FAINT,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    SEEDS,
    UNDECIDED,
    WHITE,
)
from lenet.report import effect_tables
from lenet.report.template import filled

INKS = {  # colours of the figures that a dark page needs in another shade
    INK: "ink",
    WHITE: "paper",
    GREY: "grey",
    UNDECIDED: "undecided",
    PALE: "pale",
    BAND: "band",
    FAINT: "cell",
    SEEDS: "range",
    BLUE: "better",
    ORANGE: "worse",
    GREEN: "equivalent",
}
VARIABLES = {color.lower(): name for color, name in INKS.items()}  # as SVG has them
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
    sections: Sequence[Markup],
    about: str = "LeNet-5, ablated",
    lead: str = "",
) -> str:
    """A page of these sections; `links` are their ids with what they are called.

    about: what the page is one of, in the title of its window. lead: what it found, in
    a sentence. A remark that something is missing is for the reader to act on.
    """
    return filled(
        "report",
        title=title,
        remarks=[said for remark in remarks for said in remark.split("; ")],
        links=links,
        sections=sections,
        about=about,
        lead=lead,
        style=Markup((HERE / "report.css").read_text("utf-8")),
        script=Markup((HERE / "report.js").read_text("utf-8")),
    )


def figure(number: int, exhibit: Exhibit) -> Markup:
    """A figure with its numbers below it, folded where they are many."""
    shapes = [("figure", exhibit.svg, "f")]
    if exhibit.narrow:
        shapes = [("figure broad", exhibit.svg, "f")]
        shapes.append(("figure narrow", exhibit.narrow, "n"))
    return filled(
        "figure",
        name=exhibit.name,
        title=exhibit.title,
        about=exhibit.about,
        drawings=[
            (kind, Markup(inline(svg, f"{letter}{number}-", exhibit.dots)))
            for kind, svg, letter in shapes
        ],
        open=len(exhibit.table) <= 40,
        rows=len(exhibit.table),
        table=effect_tables.as_html(exhibit.table),
        formats=("svg", "png", "pdf", "csv", "md", "tex"),
    )


def with_dots(svg: str, dots: Dots) -> str:
    """A figure whose dots say what they are, and hold the commands of their runs."""

    def named(match: re.Match[str]) -> str:
        side, row, seeds, body = match.groups()
        # matplotlib writes a <use> for each dot in the order in which they were drawn,
        # which is that of the seeds in the group's name.
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
    # Figures of one page would share ids, as of clip paths: each has a prefix.
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", body)
    return re.sub(
        r"(?<![\w&])#[0-9a-fA-F]{6}\b",
        lambda match: colour_variable(match.group().lower()),
        body,
    )


def colour_variable(color: str) -> str:
    """A colour as a variable of the page that falls back to itself."""
    return f"var(--{VARIABLES[color]}, {color})" if color in VARIABLES else color
