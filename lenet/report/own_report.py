"""What can be drawn of anybody's runs: the chart, its tables, and one page.

The same figures and the same words as those of a study; only what is known of our own
runs alone (curves, seconds, missed digits, provenance) is not there.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from lenet.config import Refusal
from lenet.figures import ablation_chart, interaction
from lenet.report import effect_tables, exhibit_files, exhibit_page, journal_figures
from lenet.report.exhibit_page import Exhibit
from lenet.report.journal_figures import Journal
from lenet.report.template import filled
from lenet.studies import effect
from lenet.studies.effect import Effects
from lenet.studies.origin import Origin
from lenet.studies.own_study import Comparison, table_effects

CHARTED = {"factorial": effect.MAIN, "ladder": effect.LADDER}  # of the rest, the arms


def write_comparison(folder: Path, comparison: Comparison, source: str) -> list[Path]:
    """Write the effects, figures, tables and page of a comparison; their paths.

    comparison: as `own_study.in_unit` gives it. source: where the table came
    from, for the captions.
    """
    effects, exhibits = comparison_figures(comparison, folder.name, source)
    made = {"effects.csv": effect_tables.effects_csv(effects.table).encode()}
    pages: list[Exhibit] = []
    for exhibit in exhibits:
        exhibit, own = exhibit_files.exhibit_files(exhibit)
        made |= own
        pages.append(exhibit)
    made["report.html"] = comparison_page(
        folder.name, comparison, pages, source
    ).encode()
    return exhibit_files.write_files(folder, made)


def write_paper_comparison(
    folder: Path, comparison: Comparison, source: str, how: Journal
) -> list[Path]:
    """Write the figures of a comparison for a paper; their paths."""
    _, exhibits = comparison_figures(comparison, folder.name, source)
    lacking = Origin("; ".join(comparison.notes)).lacking
    return exhibit_files.write_files(
        folder / "paper", journal_figures.figure_files(exhibits, how, lacking)
    )


def comparison_figures(
    comparison: Comparison, name: str, source: str
) -> tuple[Effects, list[Exhibit]]:
    """The effects of a comparison and its figures."""
    effects = estimate(comparison, name)
    origin = Origin("; ".join(comparison.notes), source)
    return effects, comparison_exhibits(comparison, effects, origin)


def estimate(comparison: Comparison, study: str) -> Effects:
    """The effects of a comparison; a Refusal where the table allows none."""
    try:
        return table_effects(comparison, study)
    except ValueError as problem:
        raise Refusal(str(problem)) from None


def comparison_exhibits(
    comparison: Comparison, effects: Effects, origin: Origin
) -> list[Exhibit]:
    """The ablation chart, and of a factorial the heat map of the interactions."""
    kind = CHARTED.get(comparison.kind, effect.ALONE)
    rows = effect.effects_of_kind(effects.table, kind)
    side = ablation_chart.Side(rows, effect.effects_of_kind(effects.differences, kind))
    draw = partial(
        ablation_chart.ablation_chart, side, origin=origin, response=comparison.response
    )
    said, ordered = ablation_chart.finding(side), ablation_chart.ordered_effects(side)
    shown = [Exhibit("ablation_chart", "Ablation chart", said, draw, rows, ordered)]
    if comparison.kind == "factorial":
        pairs = effect.effects_of_kind(effects.table, effect.PAIR)
        rows = pd.concat([rows, pairs])
        said = interaction.finding(pairs, comparison.base)
        draw = partial(
            interaction.heat_map,
            rows,
            reference=comparison.base,
            title=said,
            origin=origin,
        )
        shown.append(Exhibit("interactions", "Interactions", said, draw, rows))
    return shown


def comparison_page(
    title: str, comparison: Comparison, exhibits: Sequence[Exhibit], source: str
) -> str:
    """One self-contained page: the figures with their numbers, and the runs."""
    links = [(exhibit.name, exhibit.title) for exhibit in exhibits]
    sections = [exhibit_page.figure(i, exhibit) for i, exhibit in enumerate(exhibits)]
    runs = comparison.runs.replace({"status": {"diverged": "lost"}})
    sections.append(
        filled(
            "runs",
            title="Runs",
            about=f"{source}: {comparison.kind}, {len(runs)} runs",
            count=len(runs),
            table=effect_tables.as_html(runs),
        )
    )
    links.append(("runs", "Runs"))
    return exhibit_page.document(
        title, comparison.notes, links, sections, "ablation chart"
    )
