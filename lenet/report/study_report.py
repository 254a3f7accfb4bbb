"""From records to figures, tables and one page: no training, no raw runs, and the same
bytes again."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lenet.config import Refusal
from lenet.figures import (
    ablation_chart,
    collapse,
    cost,
    interaction,
    ladder,
    learning_curves,
    level_names,
)
from lenet.figures.canvas import rendered
from lenet.records.atomic_files import replace
from lenet.records.record_types import Record
from lenet.report import (
    chart_dots,
    effect_tables,
    exhibit_files,
    journal_figures,
    report_sections,
)
from lenet.report.exhibit_page import Exhibit
from lenet.report.findings_section import findings_section
from lenet.report.journal_figures import Journal
from lenet.studies import effect
from lenet.studies.corrected_labels import why_not_corrected
from lenet.studies.effect import Effects, Response, unique
from lenet.studies.origin import Origin
from lenet.studies.study import (
    HELD_OUT,
    Study,
    converged,
    corrected,
    published_study,
    study_effects,
)

MOST = 60  # treatments in one figure of curves or costs
LADDERS = {  # the name of each figure of steps, and its title
    effect.LADDER: ("ladder", "Steps of the ladder"),
    effect.PATH: ("path", "Steps of the path"),
    effect.SHAPLEY: ("shapley", "Shapley values"),
}
ORDERS = {  # what a caption says of those whose order no year decides
    effect.PATH: "One change at a time, always the one that helps most on held-out "
    "images in runs of other seeds.",
    effect.SHAPLEY: "Shapley values: a factor's step, averaged over all orders in "
    "which the factors can be changed; the seconds are averaged alike.",
}


def write_figure(
    figure: Figure, path: Path, formats: Sequence[str] = ("svg", "png")
) -> list[Path]:
    """The files written: `path`, which has no suffix, with that of each format.

    formats: of `canvas.FORMATS`, svg, png and pdf; a KeyError of another. The same
    figure gives the same bytes. A folder that is missing is made.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> [path.name for path in write_figure(Figure(), folder / "chart", ["svg", "pdf"])]
    ['chart.svg', 'chart.pdf']
    """
    paths = [Path(f"{path}.{form}") for form in formats]
    for target, form in zip(paths, formats, strict=True):
        replace(target, rendered(figure, form))
    return paths


def write_study(folder: Path) -> list[Path]:
    """Write a published study's effects, figures, tables and page; their paths."""
    return write_report(folder, [published_study(folder)])


def write_report(folder: Path, studies: Sequence[Study]) -> list[Path]:
    """Write what is known of one study, or of two side by side; the paths."""
    shown, tables = study_figures(studies)
    made = {
        f"{name}.csv": effect_tables.effects_csv(table).encode()
        for name, table in tables.items()
    }
    drawn: list[Exhibit] = []
    for exhibit in shown:
        exhibit, own = exhibit_files.exhibit_files(exhibit)
        made |= own
        drawn.append(exhibit)
    # Two studies side by side: what the others of their folder say stands with them.
    table = findings_section(folder.parent) if len(studies) > 1 else ""
    made["report.html"] = report_sections.study_page(studies, drawn, table).encode()
    return exhibit_files.write_files(folder, made)


def write_journal_figures(
    folder: Path, studies: Sequence[Study], how: Journal
) -> list[Path]:
    """Write the figures of one study, or of two side by side, for a paper."""
    shown, _ = study_figures(studies)
    lacking = "; ".join(unique(study.origin.lacking for study in studies))
    files = journal_figures.figure_files(shown, how, lacking)
    return exhibit_files.write_files(folder / "paper", files)


def study_figures(
    studies: Sequence[Study],
) -> tuple[list[Exhibit], dict[str, pd.DataFrame]]:
    """The figures of one study, or of two side by side, with the effects and losses."""
    effects = [study_effects(study) for study in studies]
    if len(studies) == 1:
        shown = exhibits(studies[0], effects[0])
    else:
        shown = [main_figure(studies, effects)]
    losses = [effect.losses for effect in effects]
    if all(answered(study) for study in studies):
        again = [corrected(study) for study in studies]
        effects += [study_effects(study) for study in again]
        headline = main_figure(again, effects[len(studies) :])
        name, title = (
            f"{headline.name}_corrected",
            f"{headline.title}, corrected labels",
        )
        shown.append(headline._replace(name=name, title=title))
    return shown, {
        "effects": pd.concat([effect.table for effect in effects]),
        "losses": pd.concat(losses),
    }


def answered(study: Study) -> bool:
    """Whether the corrected labels of a study's test images can be asked too."""
    records = study.records
    return study.response == effect.TEST_ERROR and not any(
        map(why_not_corrected, records)
    )


def main_figure(studies: Sequence[Study], effects: Sequence[Effects]) -> Exhibit:
    """The figure that studies are known by: their chart, or their ladder."""
    if len(studies) > 1 and not joined(*studies):
        return two_study_chart(studies, effects)
    study, pair = studies[0], effects[0]
    if len(studies) == 1 and sides(study, pair):
        return forest(study, pair)
    return steps(studies, effects, effect.LADDER)


def joined(first: Study, second: Study) -> bool:
    """Whether two ladders are one: the runs that end the first start the second."""
    if not (first.rungs and second.rungs):
        return False
    end = first.of({factor: new for factor, (_, new) in first.rungs.items()})
    return set(end["run_id"]) == set(second.of(second.reference)["run_id"])


def exhibits(study: Study, effects: Effects) -> list[Exhibit]:
    """The figures of one study, each with the table of its numbers.

    Of a tuning the held-out errors alone: the other figures show the test error.
    """
    shown = [forest(study, effects)] if sides(study, effects) else []
    if any(study.runs["status"] != "finished"):
        shown.append(collapses(study, effects))
    if study.response == HELD_OUT:
        return shown
    kinds = [
        kind for kind in LADDERS if len(effect.effects_of_kind(effects.table, kind))
    ]
    shown += [steps([study], [effects], kind) for kind in kinds]
    if study.factorial:
        shown.append(pairs(study, effects))
    if study.response == effect.TEST_ERROR:
        runs = by_treatment(study)
        shown.append(curves(study, runs))
        if why := cost.incomparable(study.records):
            print(f"note: {study.name} has no costs: {why}", file=sys.stderr)
        else:
            shown.append(costs(study, runs))
    return shown


def sides(study: Study, effects: Effects) -> list[ablation_chart.Side]:
    """A study as sides of the ablation chart: its arms, or its main effects with the
    simple ones at both ends beside them.

    What is new minus what it stands for, from whichever end it was measured.
    """
    kinds = (effect.MAIN, effect.SIMPLE) if study.factorial else (effect.ALONE,)
    rows, seen = effects.table, effects.differences
    chosen = [
        estimand for estimand in rows["estimand"].unique() if estimand.startswith(kinds)
    ]
    sides = [
        ablation_chart.Side(
            rows[rows["estimand"] == estimand],
            seen[seen["estimand"] == estimand],
            level_names.estimand_heading(study, estimand),
            level_names.where_measured(study, estimand),
        )
        for estimand in chosen
    ]
    if not study.factorial and level_names.puts_back(study):
        return [ablation_chart.reversed_side(side) for side in sides]
    return sides


def forest(study: Study, effects: Effects) -> Exhibit:
    """The ablation chart of one study."""
    return sides_chart([study], sides(study, effects), study.origin)


def two_study_chart(studies: Sequence[Study], effects: Sequence[Effects]) -> Exhibit:
    """The ablation chart of two studies on the same rows, 1998 first: of a factorial
    its main effects."""
    shown = []
    for study, table in zip(studies, effects, strict=True):
        if not (several := sides(study, table)):
            raise Refusal(f"from {study.base} there are no arms to show side by side")
        shown.append(several[0])
    if len({study.response for study in studies}) > 1:
        raise Refusal("a tuning has held-out errors, no test errors: draw it alone")
    if level_names.puts_back(studies[0]) and not level_names.puts_back(studies[1]):
        shown.reverse()
    return sides_chart(studies, shown, joint_origin(studies))


def joint_origin(studies: Sequence[Study]) -> Origin:
    """What a caption says of the runs of several studies, each fact once."""
    stated = zip(*(study.origin for study in studies), strict=True)
    return Origin(*("; ".join(dict.fromkeys(filter(None, said))) for said in stated))


def sides_chart(
    studies: Sequence[Study], shown: Sequence[ablation_chart.Side], origin: Origin
) -> Exhibit:
    """The ablation chart of some sides, in the words of the studies."""
    said = level_names.joint_words(map(level_names.study_words, studies))
    about: dict[str, Any] = {"words": said, "origin": origin}
    about |= {"response": studies[0].response}
    return Exhibit(
        "ablation_chart",
        "Ablation chart",
        ablation_chart.finding(*shown, words=said),
        partial(ablation_chart.ablation_chart, *shown, **about),
        ablation_chart.ordered_effects(*shown),
        phone=True,
        dots=chart_dots.dot_texts(studies, shown),
    )


def steps(studies: Sequence[Study], effects: Sequence[Effects], kind: str) -> Exhibit:
    """A ladder: one change at a time, or the Shapley values as a waterfall; of two
    studies that are joined, the second's steps after the first's."""
    parts = [[effect.effects_of_kind(table, kind) for table in pair[:2]]
             for pair in effects]  # fmt: skip
    tables = zip(*parts, strict=True)
    rows, seen = (pd.concat(of_each, ignore_index=True) for of_each in tables)
    first, last = studies[0], studies[-1]
    start = reference_error(first, parts[0][1]["seed"])
    old, new = (level_names.end_network(study, end)
                for study, end in ((first, first.base), (last, last.new)))  # fmt: skip
    order, passed = ORDERS.get(kind, first.order), {}
    seconds = ladder_seconds(first, parts[0][0], kind)
    if len(studies) > 1:
        if set(parts[0][1]["seed"]) != set(parts[1][1]["seed"]):
            pair = f"{first.name} and {last.name}"
            raise Refusal(f"{pair} lost runs of different seeds: draw each alone")
        between = level_names.study_network(last)
        passed = {len(parts[0][0]): between}
        order = f"{order} From {between} on, {last.order[0].lower()}{last.order[1:]}"
        apart = cost.incomparable([*first.records, *last.records])
        beyond = ladder_seconds(last, parts[1][0], kind)
        seconds = [] if apart else [*seconds, *beyond[1:]]
    ends = ladder.Ends(old, new, start, start + float(rows["mean"].sum()), passed)
    said = level_names.joint_words(map(level_names.study_words, studies))
    draw = partial(
        ladder.waterfall,
        rows,
        seen,
        ends,
        order=order,
        seconds=seconds,
        words=said,
        origin=joint_origin(studies),
    )
    name, title = LADDERS[kind]
    return Exhibit(name, title, ladder.finding(rows, ends, said), draw, rows)


def reference_error(study: Study, seeds: pd.Series) -> float:
    """The mean error of the reference, in the blocks that the effects are of."""
    runs = study.of(study.reference)
    runs = runs[runs["seed"].isin(seeds)]
    return float(runs[study.response.name].mean())


def ladder_seconds(study: Study, rows: pd.DataFrame, kind: str) -> list[float]:
    """Seconds to train a run at the start and after each step of a ladder; none where
    they cannot be compared."""
    if cost.incomparable(study.records):
        return []
    pairs = {factor: study.levels[factor] for factor in rows["factor"]}
    timed = study.runs.drop(columns="right").assign(status="finished")
    measure = effect.factorial if kind == effect.SHAPLEY else effect.ladder
    table = measure(timed, pairs, response=Response("seconds")).table
    if kind == effect.SHAPLEY:
        table = effect.effects_of_kind(table, kind)
    means = table.set_index("factor")["mean"]
    start = float(study.of(study.reference)["seconds"].mean())
    return list(accumulate(means[rows["factor"]], initial=start))


def pairs(study: Study, effects: Effects) -> Exhibit:
    """The heat map of the interactions, with the main effects on its diagonal."""
    kinds = [
        effect.effects_of_kind(effects.table, kind)
        for kind in (effect.MAIN, effect.PAIR)
    ]
    rows, base = pd.concat(kinds), level_names.study_network(study)
    said = interaction.finding(kinds[1], base)
    draw = partial(
        interaction.heat_map, rows, reference=base, title=said, origin=study.origin
    )
    return Exhibit("interactions", "Interactions", said, draw, rows)


def collapses(study: Study, effects: Effects) -> Exhibit:
    """The shares of runs that were lost, by level."""
    losses = effects.losses
    rows = losses[losses["estimand"] == losses["estimand"].iloc[0]]
    said = collapse.finding(study.runs["status"])
    named = level_names.study_words(study)
    draw = partial(
        collapse.lost_shares, rows, title=said, words=named, origin=study.origin
    )
    return Exhibit("collapse", "Collapse", said, draw, rows)


def by_treatment(study: Study) -> dict[str, list[Record]]:
    """Each treatment's records by its label, the reference first.

    Of a ladder or a factorial, the rungs by what each adds; of many treatments, MOST.
    """
    records = {record["run_id"]: record for record in study.records}
    treatments = {
        level_names.treatment(study, record): record
        for record in listed_treatments(study)
    }
    if study.rungs:
        rung = dict(study.reference)
        treatments = {level_names.study_network(study): rung}
        for factor, (_, new) in study.rungs.items():
            rung = {**rung, factor: new}
            change = level_names.treatment(study, {**study.reference, factor: new})
            treatments[f"+ {change}"] = rung
    return {
        label: [records[name] for name in study.of(record)["run_id"]]
        for label, record in treatments.items()
    }


def listed_treatments(study: Study) -> list[dict[str, Any]]:
    """The first MOST treatments: the reference, then from factor to factor, numbers in
    their order and names in that of the records."""
    treatments = study.treatments[:MOST]
    factors = list(study.reference)

    def place(treatment: Mapping[str, Any]) -> list[tuple[int, float]]:
        changed = study.changed(treatment)
        return [
            (i, value if isinstance(value, int | float) else 0.0)
            for i, factor in enumerate(factors)
            if (value := changed.get(factor)) is not None
        ]

    return sorted(treatments, key=place)


def curves(study: Study, runs: Mapping[str, Sequence[Record]]) -> Exhibit:
    """The learning curves of the treatments."""
    rows = learning_curves.curve_table(runs)
    lost = {
        name: sum(not converged(record) for record in trained)
        for name, trained in runs.items()
    }
    base = level_names.study_network(study)
    said = learning_curves.finding(rows, base, lost)
    draw = partial(
        learning_curves.learning_curves,
        rows,
        lost,
        reference=base,
        origin=study.origin,
    )
    return Exhibit("learning_curves", "Learning curves", said, draw, rows)


def costs(study: Study, runs: Mapping[str, Sequence[Record]]) -> Exhibit:
    """The errors of the treatments against their seconds and parameters."""
    rows = cost.cost_table(runs)
    machines = ", ".join(sorted({record["hardware"] for record in study.records}))
    base = level_names.study_network(study)
    said = cost.finding(rows, base)
    draw = partial(
        cost.error_against_cost,
        rows,
        reference=base,
        hardware=machines,
        origin=study.origin,
    )
    ordered = cost.ordered_costs(rows)
    return Exhibit("costs", "Error against cost", said, draw, rows, ordered)
