"""From records to figures, tables and one page: no training, no raw runs, and the same
bytes again."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pandas as pd
from matplotlib.figure import Figure

from lenet import chart, cost, curve, effect, interaction, ladder, table, webpage
from lenet.canvas import FORMATS, Origin, rendered
from lenet.config import Refusal
from lenet.effect import Effects, Response
from lenet.store import Record, replace
from lenet.study import Study, published
from lenet.webpage import Exhibit

MOST = 60  # treatments in one figure of curves or costs
KEPT = "only blocks in which no run diverged or collapsed"


class Converged(NamedTuple):
    """A study without its runs that diverged or collapsed, and its effects."""

    study: Study
    effects: Effects


Beside: TypeAlias = Converged | None


def save(
    figure: Figure, path: Path, formats: Sequence[str] = ("svg", "png")
) -> list[Path]:
    """The files written: `path` with the suffix of each format."""
    paths = [Path(f"{path}.{form}") for form in formats]
    for target, form in zip(paths, formats, strict=True):
        replace(target, rendered(figure, form))
    return paths


def ablation(folder: Path) -> list[Path]:
    """Write a published study's effects, figures, tables and page; their paths."""
    return write(folder, [published(folder)])


def write(folder: Path, studies: Sequence[Study]) -> list[Path]:
    """Write what is known of one study, or of two side by side; the paths."""
    effects = [estimated(study) for study in studies]
    besides = [converged(study) for study in studies]
    if len(studies) == 1:
        shown = exhibits(studies[0], effects[0], besides[0])
    else:
        shown = [side_by_side(studies, effects, besides)]
    tables = {"effects": [found.table for found in effects]}
    if some := [found for found in besides if found is not None]:
        tables["converged"] = [found.effects.table for found in some]
    files = {
        f"{name}.csv": table.as_csv(pd.concat(found)).encode()
        for name, found in tables.items()
    }
    drawn: list[Exhibit] = []
    for exhibit in shown:
        rows, caption = exhibit.table, f"{exhibit.title}: {exhibit.about}"
        name = exhibit.name
        images = {form: rendered(exhibit.figure, form) for form in FORMATS}
        files |= {f"{name}.{form}": content for form, content in images.items()}
        files[f"{name}.csv"] = table.as_csv(rows).encode()
        files[f"{name}.md"] = table.as_markdown(rows, caption).encode()
        files[f"{name}.tex"] = table.as_latex(rows, caption).encode()
        drawn.append(exhibit._replace(figure=images["svg"].decode()))
    files["report.html"] = webpage.page(studies, drawn).encode()
    for name, content in files.items():
        replace(folder / name, content)
    return [folder / name for name in files]


def estimated(study: Study) -> Effects:
    """All effects that a study's runs allow: of a factorial, a ladder, or of arms."""
    about: dict[str, Any] = {"study": study.name, "seeds": study.seeds}
    about |= {"response": study.response}
    found = []
    try:
        if study.factorial:
            found.append(effect.factorial(study.runs, study.levels, **about))
        if study.rungs:
            found.append(effect.ladder(study.runs, study.rungs, **about))
        if study.held_out is not None:
            pair = study.held_out, study.runs
            found.append(effect.path(*pair, study.levels, **about))
        if not found:
            about["names"] = study.names
            found.append(effect.arms(study.runs, study.reference, **about))
    except ValueError as problem:
        raise Refusal(f"{study.name}: {problem}") from None
    tables, differences = zip(*found, strict=True)
    return Effects(pd.concat(tables), pd.concat(differences))


def exhibits(study: Study, effects: Effects, beside: Beside) -> list[Exhibit]:
    """The figures of one study, each with the table of its numbers.

    Of a tuning the held-out errors alone: the other figures show the test error.
    """
    if study.response != effect.TEST_ERROR:
        return [forest(study, effects, beside)]
    shown = []
    if "arm" in set(effects.table["estimand"]) or study.factorial:
        shown.append(forest(study, effects, beside))
    for estimand in ("ladder", "path", "shapley"):
        if estimand in set(effects.table["estimand"]):
            shown.append(steps(study, effects, estimand, beside))
    if study.factorial:
        shown.append(pairs(study, effects, beside))
    if study.factorial and beside is not None:
        without = (
            forest(*beside, None),
            steps(*beside, "shapley", None),
            pairs(*beside, None),
        )
        for one in without:
            name, title = f"{one.name}_converged", f"{one.title}, converged blocks"
            shown.append(one._replace(name=name, title=title))
    runs = by_treatment(study)
    return [*shown, curves(study, runs), costs(study, runs)]


def side(study: Study, effects: Effects, beside: Beside) -> chart.Side:
    """A study as a side of the ablation chart: its arms, or its main effects."""
    estimand = "main" if study.factorial else "arm"
    table, differences = (rows[rows["estimand"] == estimand] for rows in effects)
    return chart.Side(table, differences, study.base, only(beside, estimand))


def converged(study: Study) -> Beside:
    """All effects over the blocks in which every run converged; None where every run
    did, or a treatment that they need never did."""
    remark = "; ".join(filter(None, (KEPT, study.remark)))
    runs = effect.converged(study.runs)
    finished = dataclasses.replace(study, runs=runs, remark=remark)
    if len(finished.runs) == len(study.runs):
        return None
    if (finished.factorial, finished.rungs) != (study.factorial, study.rungs):
        return None
    with contextlib.suppress(Refusal):
        return Converged(finished, estimated(finished))
    return None


def only(beside: Beside, estimand: str) -> pd.DataFrame | None:
    """The effects of one kind."""
    if beside is None:
        return None
    rows = beside.effects.table
    return rows[rows["estimand"] == estimand]


def forest(study: Study, effects: Effects, beside: Beside) -> Exhibit:
    """The ablation chart of one study."""
    one = side(study, effects, beside)
    figure = chart.ablation_chart(
        one, years=study.years, origin=study.origin, response=study.response
    )
    title = chart.finding(one)
    return Exhibit("ablation_chart", "Ablation chart", title, figure, one.effects)


def side_by_side(
    studies: Sequence[Study], effects: Sequence[Effects], besides: Sequence[Beside]
) -> Exhibit:
    """The ablation chart of two studies on the same rows."""
    sides = [side(*three) for three in zip(studies, effects, besides, strict=True)]
    for one in sides:
        if one.effects.empty:
            raise Refusal(
                f"from {one.reference} there are no arms to show side by side"
            )
    if len({study.response for study in studies}) > 1:
        raise Refusal("a tuning has held-out errors, no test errors: draw it alone")
    stated = zip(*(study.origin for study in studies), strict=True)
    origin = Origin(*("; ".join(dict.fromkeys(filter(None, said))) for said in stated))
    first = studies[0]
    figure = chart.ablation_chart(
        *sides, years=first.years, origin=origin, response=first.response
    )
    rows = pd.concat([one.effects for one in sides])
    title = chart.finding(*sides)
    return Exhibit("ablation_chart", "Ablation chart", title, figure, rows)


def steps(study: Study, effects: Effects, estimand: str, beside: Beside) -> Exhibit:
    """A ladder: one change at a time, or the Shapley values as a waterfall."""
    rows, dots = (found[found["estimand"] == estimand] for found in effects)
    start = error(study, dots["seed"])
    end = start + float(rows["mean"].sum())
    ends = ladder.Ends(study.base, study.new, start, end)
    figure = ladder.waterfall(
        rows,
        dots,
        ends,
        seconds=seconds(study, rows, estimand),
        converged=only(beside, estimand),
        years=study.years,
        origin=study.origin,
    )
    titles = {
        "ladder": "Ladder in the order of the years",
        "path": "Ladder in the order chosen on held-out images",
        "shapley": "Shapley values",
    }
    said = ladder.finding(rows, ends, only(beside, estimand))
    return Exhibit(estimand, titles[estimand], said, figure, rows)


def error(study: Study, seeds: pd.Series) -> float:
    """The mean test error of the reference, in the blocks that the effects are of."""
    runs = study.of(study.reference)
    runs = runs[runs["seed"].isin(seeds)]
    return float(runs["test_error"].fillna(effect.TEST_ERROR.diverged).mean())


def seconds(study: Study, rows: pd.DataFrame, estimand: str) -> list[float]:
    """Seconds to train a run at the start and after each step of a ladder."""
    pairs = {factor: study.levels[factor] for factor in rows["factor"]}
    timed = study.runs.drop(columns="right").assign(status="finished")
    response = Response("seconds")
    if estimand == "shapley":
        found = effect.factorial(timed, pairs, response=response).table
        found = found[found["estimand"] == "shapley"].set_index("factor")
    else:
        found = effect.ladder(timed, pairs, response=response).table.set_index("factor")
    start = float(study.of(study.reference)["seconds"].mean())
    return list(accumulate(found["mean"][rows["factor"]], initial=start))


def pairs(study: Study, effects: Effects, beside: Beside) -> Exhibit:
    """The heat map of the interactions, with the main effects on its diagonal."""
    rows = effects.table
    rows = rows[rows["estimand"].isin(["main", "interaction"])]
    found, base = rows[rows["estimand"] == "interaction"], study.base
    said = interaction.finding(found, base, only(beside, "interaction"))
    figure = interaction.heat_map(rows, reference=base, title=said, origin=study.origin)
    return Exhibit("interactions", "Interactions", said, figure, rows)


def by_treatment(study: Study) -> dict[str, list[Record]]:
    """Each treatment's records by its label, the reference first.

    Of a ladder or a factorial, the rungs by what each adds; of many treatments, MOST.
    """
    records = {one["run_id"]: one for one in study.records}
    treatments = {study.label(one): one for one in study.treatments[:MOST]}
    if study.rungs:
        rung = dict(study.reference)
        treatments = {study.base: rung}
        for factor, (_, new) in study.rungs.items():
            rung = {**rung, factor: new}
            change = study.label({**study.reference, factor: new})
            treatments[f"+ {change}"] = rung
    return {
        label: [records[name] for name in study.of(one)["run_id"]]
        for label, one in treatments.items()
    }


def curves(study: Study, runs: Mapping[str, Sequence[Record]]) -> Exhibit:
    """The learning curves of the treatments."""
    rows = curve.summary(runs)
    lost = {n: sum(one["status"] == "diverged" for one in r) for n, r in runs.items()}
    said = curve.finding(rows, study.base, lost)
    figure = curve.learning_curves(
        rows, lost, reference=study.base, origin=study.origin
    )
    return Exhibit("learning_curves", "Learning curves", said, figure, rows)


def costs(study: Study, runs: Mapping[str, Sequence[Record]]) -> Exhibit:
    """The errors of the treatments against their seconds and parameters."""
    rows = cost.summary(runs)
    machines = ", ".join(sorted({one["hardware"] for one in study.records}))
    said = cost.finding(rows, study.base)
    figure = cost.error_against_cost(
        rows, reference=study.base, hardware=machines, origin=study.origin
    )
    return Exhibit("costs", "Error against cost", said, figure, rows)
