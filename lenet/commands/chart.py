"""Draw a study's figures, tables and page from its records alone.

lenet chart study=quick
    a study in output_dir=outputs; allow_partial=true where runs are missing
lenet chart study=leave_one_out,one_factor
    two studies side by side; two ladders, the second from where the first ends, as one
lenet chart output_dir=outputs reference=[activation=relu]
    whatever was trained there, in the folder ad_hoc; epochs=20, data=mnist, code=0123
    and the like leave out other runs; reference= may also be a run's id

mix=true draws runs of different code or torch together, and says so;
response=corrected_error takes MNIST's test labels as human votes correct them, in a
folder of its own.

For a paper, of records and of anybody's runs alike, in <the study's folder>/paper/:

lenet chart study=leave_one_out title=none caption=none width=3.3 format=pdf
    any of these keys; the letters have at least 7 pt
    columns=1           over a column: 3.3 inches, labels above what they name
    columns=2           over both: 6.9 inches; width=<inches> is that of your columns
    title=none caption=none     their words are in a .txt beside each figure instead
    format=[pdf,png]    by default pdf; or svg; a png has 300 dpi
    beside a figure its rows in its order, in percentage points: CSV, Markdown, LaTeX

Anybody's runs, a row or a job each:

lenet chart table=runs.csv response=accuracy reference=[optimizer=sgd,augment=none]
    a file of rows: .csv, .tsv, .jsonl, .parquet, the exports of W&B and MLflow
lenet chart multirun=multirun/2026-11-28 response=accuracy reference=[optimizer=sgd]
    the jobs of a Hydra app, each with a file metrics=metrics.json
lenet chart mlruns=mlruns response=accuracy ...   or tensorboard=runs
    the runs of MLflow's file store, or event files
    better=higher       or lower, where the response's name does not say it
    seed=seed           the column of what pairs runs: a seed, a fold, a subject
    factors=[lr,depth]  by default all other columns that are no mark of a single run
    margin=0.001        an effect within +-margin counts as none
    unit=seconds        what the response is measured in; or share (0 to 1), or percent,
                        shown in percentage points. By default as its name and numbers
                        say: a loss, an RMSE, seconds or numbers above 100 are no shares
    a run without a response is lost, and is left out with its seed and counted
    output_dir=charts study=<name of the folder>, by default that of the file
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lenet.config import RANGES, RECORDS, SAFE, Refusal, suggest, typed_place
from lenet.records import store
from lenet.studies import own_runs
from lenet.terminal import Said, listed, number, pair

if TYPE_CHECKING:  # it imports what draws
    from lenet.report.journal_figures import Journal

PAPER = ("title", "caption", "width", "columns", "format")
OWN = ("study", "output_dir", "reference", "allow_partial", "mix", "response", *PAPER)
RESPONSES = ("test_error", "corrected_error")  # of records
SOURCES: dict[str, Callable[..., pd.DataFrame]] = {
    "table": own_runs.read_table,
    "multirun": own_runs.multirun,
    "mlruns": own_runs.mlruns,
    "tensorboard": own_runs.read_tensorboard,
}
OTHERS = ("response", "better", "seed", "factors", "margin", "metrics", "unit", *PAPER)
WIDTHS = {1: 3.3, 2: 6.9}  # inches of one and of two columns
BOTH = 5.0  # inches from which on a width is that of two columns
LEAST, MOST = 2.5, 20.0  # inches


def main(arguments: Sequence[str]) -> Said:
    """Draw what the arguments mean; the files."""
    if of_own_runs(arguments):
        keys = (*SOURCES, *OTHERS, "study", "output_dir", "reference")
        return Said.of_files(of_table(typed_pairs(arguments, keys)))
    return Said.of_files(of_records(arguments))


def of_own_runs(arguments: Sequence[str]) -> bool:
    """Whether the runs are those of somebody's table or folder."""
    keys = [text.partition("=")[0] for text in arguments]
    return bool({*SOURCES} & {*keys})


def typed_pairs(arguments: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """What is typed as key=value, of the keys that are known."""
    given: dict[str, str] = {}
    for text in arguments:
        key, value = pair(text, known)
        if key in given:
            raise Refusal(f"{key}= is there twice: say it once")
        if key in ("allow_partial", "mix") and value not in ("true", "false"):
            raise Refusal(f"{text}: write {key}=true or {key}=false")
        given[key] = value
    return given


def of_table(given: Mapping[str, str]) -> list[Path]:
    """The files drawn from anybody's runs."""
    from lenet.report import index, own_report
    from lenet.studies import own_study

    sources = [key for key in SOURCES if key in given]
    if len(sources) != 1:
        raise Refusal(f"say which runs: one of {'=, '.join(SOURCES)}=")
    if "response" not in given:
        raise Refusal("say response=<the column of what was measured>")
    (source,) = sources
    extra = [given["metrics"]] if "metrics" in given else []
    if extra and source != "multirun":
        raise Refusal("metrics= names the file of a Hydra job: it goes with multirun=")
    name = given.get("study", Path(given[source]).stem or "table")
    how = for_journal(given)
    if not set(name) <= set(SAFE):
        raise Refusal(f"study={name!r}: use letters, digits, '_' and '-'")
    folder = Path(given.get("output_dir", "charts")).expanduser() / name
    if store.is_output_dir(folder.parent):
        raise Refusal(f"{folder.parent} is where runs lie: say output_dir=<folder>")
    try:
        rows = SOURCES[source](given[source], *extra)
        comparison = own_study.compared(rows, **wanted(given))
        comparison = own_study.in_unit(comparison, given.get("unit", ""))
    except ValueError as problem:
        raise Refusal(str(problem)) from None
    origin = Path(given[source]).name
    if how:
        return own_report.write_paper_comparison(folder, comparison, origin, how)
    return [
        *own_report.write_comparison(folder, comparison, origin),
        index.write_index(folder.parent),
    ]


def for_journal(given: Mapping[str, str]) -> "Journal | None":
    """How figures are drawn for a paper; None if nothing of that is typed."""
    if not given.keys() & set(PAPER):
        return None
    from lenet.figures.canvas import FORMATS, Look
    from lenet.report.journal_figures import Journal

    for key in ("title", "caption"):
        if given.get(key, "none") != "none":
            raise Refusal(f"{key}={given[key]}: write {key}=none, or leave it out")
    if given.get("columns", "1") not in ("1", "2"):
        raise Refusal(f"columns={given['columns']}: write columns=1 or columns=2")
    width = inches(given["width"]) if "width" in given else None
    columns = int(given.get("columns", 2 if width and width >= BOTH else 1))
    formats = tuple(dict.fromkeys(listed(given.get("format", "pdf"))))
    for form in formats:
        if form not in FORMATS:
            raise Refusal(suggest(form, FORMATS, "format", "formats"))
    if not formats:
        raise Refusal("format= needs one of svg, png, pdf, or several: [pdf,png]")
    look = Look(
        width or WIDTHS[columns],
        columns,
        title="title" not in given,
        caption="caption" not in given,
    )
    return Journal(look, formats)


def inches(text: str) -> float:
    """The width of a page that was typed."""
    try:
        width = float(text)
    except ValueError:
        width = 0.0
    if not LEAST <= width <= MOST:
        what = f"inches, from {LEAST:g} to {MOST:g}, as width=3.3"
        raise Refusal(f"width={text}: write {what}")
    return width


def wanted(given: Mapping[str, str]) -> dict[str, Any]:
    """What `own_study.compared` takes, from what was typed."""
    chosen: dict[str, Any] = {
        key: given[key] for key in ("response", "better", "seed") if key in given
    }
    if "margin" in given:
        chosen["margin"] = number("margin", given["margin"])
    if "factors" in given:
        chosen["factors"] = listed(given["factors"])
    pairs = [text.partition("=") for text in listed(given.get("reference", ""))]
    if wrong := [key for key, sign, _ in pairs if not sign]:
        raise Refusal(f"reference: {wrong[0]!r} is no level; write [column=level,...]")
    chosen["reference"] = {key: level for key, _, level in pairs}
    return chosen


def of_records(arguments: Sequence[str]) -> list[Path]:
    """The files drawn from records of lenet's own."""
    from lenet.report import index, study_report
    from lenet.studies import study  # with torch, for which a table need not wait

    known = (*OWN, *study.NARROWED, *RANGES, RECORDS)
    given = {"output_dir": "outputs"} | typed_pairs(arguments, known)
    how = for_journal(given)
    chosen = ad_hoc_studies if "reference" in given else published_studies
    studies, response = chosen(given), given.get("response", RESPONSES[0])
    names = [each.name for each in studies]
    if response not in RESPONSES:
        listed = suggest(response, RESPONSES, "response", "responses")
        places = "=, ".join(SOURCES)
        raise Refusal(f"{listed}; of your own runs say where they are: {places}=")
    if response != RESPONSES[0]:
        studies, names = list(map(study.corrected, studies)), [*names, response]
    root = Path(given["output_dir"])
    folder = root / "-".join(names)
    if how:
        return study_report.write_journal_figures(folder, studies, how)
    return [*study_report.write_report(folder, studies), index.write_index(root)]


def published_studies(given: Mapping[str, str]) -> "list[Any]":
    """The one or two studies that are named."""
    from lenet.studies import study

    names = given.get("study", "").split(",")
    if len(names) > 2:
        raise Refusal("two studies fit side by side: write study=one,other")
    if extra := given.keys() - set(OWN):
        raise Refusal(
            f"{extra.pop()}= chooses among runs without a study: see reference="
        )
    allowed = [given.get(key) == "true" for key in ("allow_partial", "mix")]
    root = given["output_dir"]
    try:
        return [study.open_study(name, root, *allowed) for name in names]
    except Refusal as refusal:
        if not str(refusal).startswith("study="):
            raise
        hint = "for runs without a study say reference=[activation=relu], the levels "
        raise Refusal(f"{refusal}; {hint}to measure from") from None


def ad_hoc_studies(given: Mapping[str, str]) -> "list[Any]":
    """Whatever lies in an output directory, against the reference that is named."""
    from lenet.studies import study

    name = given.get("study", "ad_hoc")
    typed_place("study", name)
    if (Path(given["output_dir"]) / name / "plan.json").exists():
        raise Refusal(f"study={name} has a plan with its own reference: leave one out")
    reference = listed(given["reference"])
    narrow = {key: value for key, value in given.items() if key not in OWN}
    mix = given.get("mix") == "true"
    return [study.ad_hoc_study(given["output_dir"], reference, narrow, name, mix)]
