"""What can be drawn of anybody's runs: the chart, its tables, and one page.

The same figures and the same words as those of a study; only what is known of our own
runs alone (curves, seconds, missed digits, provenance) is not there.
"""

import html
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lenet.config import Refusal
from lenet.figures import ablation_chart, interaction
from lenet.figures.canvas import FORMATS, rendered
from lenet.records.store import replace
from lenet.report import document, effect_tables
from lenet.report.document import Exhibit
from lenet.studies import effect
from lenet.studies.effect import Effects
from lenet.studies.origin import Origin
from lenet.studies.table_study import Comparison, estimated

CHARTED = {"factorial": effect.MAIN, "ladder": effect.LADDER}  # of the rest, the arms


def write(folder: Path, found: Comparison, source: str) -> list[Path]:
    """Write the effects, figures, tables and page of a comparison; their paths.

    found: as `table_study.in_unit` gives it. source: where the table came from, for the
    captions.
    """
    effects = estimate(found, folder.name)
    exhibits = drawn(found, effects, Origin("; ".join(found.notes), source))
    files = {"effects.csv": effect_tables.as_csv(effects.table).encode()}
    pages: list[Exhibit] = []
    for exhibit in exhibits:
        rows, caption = exhibit.table, f"{exhibit.title}: {exhibit.about}"
        images = {form: rendered(exhibit.figure, form) for form in FORMATS}
        files |= {f"{exhibit.name}.{form}": image for form, image in images.items()}
        files[f"{exhibit.name}.csv"] = effect_tables.as_csv(rows).encode()
        files[f"{exhibit.name}.md"] = effect_tables.as_markdown(rows, caption).encode()
        files[f"{exhibit.name}.tex"] = effect_tables.as_latex(rows, caption).encode()
        pages.append(exhibit._replace(figure=images["svg"].decode()))
    files["report.html"] = page(folder.name, found, pages, source).encode()
    for name, content in files.items():
        replace(folder / name, content)
    return [folder / name for name in files]


def estimate(found: Comparison, study: str) -> Effects:
    """The effects of a comparison; a Refusal where the table allows none."""
    try:
        return estimated(found, study)
    except ValueError as problem:
        raise Refusal(str(problem)) from None


def drawn(found: Comparison, effects: Effects, origin: Origin) -> list[Exhibit]:
    """The ablation chart, and of a factorial the heat map of the interactions."""
    kind = CHARTED.get(found.kind, effect.ALONE)
    rows = effect.of(effects.table, kind)
    side = ablation_chart.Side(rows, effect.of(effects.differences, kind))
    figure = ablation_chart.ablation_chart(side, origin=origin, response=found.response)
    said = ablation_chart.finding(side)
    shown = [Exhibit("ablation_chart", "Ablation chart", said, figure, rows)]
    if found.kind == "factorial":
        pairs = effect.of(effects.table, effect.PAIR)
        rows = pd.concat([rows, pairs])
        said = interaction.finding(pairs, found.base)
        figure = interaction.heat_map(
            rows, reference=found.base, title=said, origin=origin
        )
        shown.append(Exhibit("interactions", "Interactions", said, figure, rows))
    return shown


def page(
    title: str, found: Comparison, exhibits: Sequence[Exhibit], source: str
) -> str:
    """One self-contained page: the figures with their numbers, and the runs."""
    links = [(exhibit.name, exhibit.title) for exhibit in exhibits]
    sections = [document.figure(i, exhibit) for i, exhibit in enumerate(exhibits)]
    about = html.escape(f"{source}: {found.kind}, {len(found.runs)} runs")
    sections.append(
        f'<section id="runs"><h2>Runs</h2><p>{about}</p>\n<details>'
        f"<summary>All {len(found.runs)} runs</summary>\n"
        f"{effect_tables.as_html(found.runs)}</details></section>"
    )
    links.append(("runs", "Runs"))
    return document.document(title, found.notes, links, sections, "ablation chart")
