"""Figures for a paper: as wide as asked, legible, and nothing that they say is lost."""

import contextlib
import csv
import gzip
import io
import re
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sealed_studies
from figure_texts import check_texts, content
from marks import mostly_slow
from matplotlib.image import imread
from matplotlib.text import Text
from test_chart import draw, make_effects
from test_figures import (
    ORDER,
    make_costs,
    make_curves,
    make_factorial,
    make_losses,
    make_steps,
)

from lenet.commands import chart as command
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
from lenet.figures.canvas import Look, TooNarrow, left_off
from lenet.report import journal_figures, study_report
from lenet.studies import study
from lenet.studies.origin import Origin

ORIGIN = Origin("2 of 84 runs missing", "MNIST 0123abcd", "commit 0123abc")
LONG = "a_very_long_level_name_that_somebody_thought_was_a_good_idea"
WIDTHS = {1: 3.3, 2: 6.9}


def several(arms, name):
    """A chart of two sides, of which one was measured from the other end."""
    effects, other = (make_effects(arms, seed=seed, name=name) for seed in (0, 1))
    first = ablation_chart.Side(*effects[:2], "added to 1998", "in LeNet-5 of 1998")
    back = other.table.assign(estimand="alone from modern")
    second = ablation_chart.Side(back, other.differences, "kept in that of today")
    return partial(ablation_chart.ablation_chart, first, second)


def steps(arms, name):
    """A ladder with seconds."""
    rows, dots, ends, seconds = make_steps(arms, name)
    return partial(ladder.waterfall, rows, dots, ends, order=ORDER, seconds=seconds)


def shares(arms, name):
    """The shares of lost runs."""
    status, losses = make_losses()
    losses = losses.assign(level=name.format(1))
    return partial(collapse.lost_shares, losses, title=collapse.finding(status))


def curves(arms, name):
    """Learning curves, with lost runs."""
    first, rows = name.format(0), make_curves(arms, name, 12)
    draws = learning_curves.learning_curves
    return partial(draws, rows, {first: 2}, reference=first)


FIGURES = {
    "chart": lambda arms, name: partial(draw, make_effects(arms, name=name)),
    "sides": several,
    "ladder": steps,
    "curves": curves,
    "cost": lambda arms, name: partial(
        cost.error_against_cost, make_costs(arms, name), reference=name.format(0)
    ),
    "collapse": shares,
    "heat map": lambda arms, name: partial(
        interaction.heat_map, make_factorial(2), reference="paper"
    ),
}


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize(
    ("arms", "name", "bare"), [(3, "l{}", False), (7, "{} " + LONG, True)]
)
@pytest.mark.parametrize("figure", mostly_slow([*FIGURES], every=3))
def test_figure_is_as_wide_as_asked_and_legible(figure, arms, name, bare, columns):
    """Letters have 7 pt or more, no two texts overlap, none leaves the canvas, and
    every plot is an inch wide or more."""
    look = Look(WIDTHS[columns], columns, title=not bare, caption=not bare)
    drawn = FIGURES[figure](arms, name)(origin=ORIGIN, look=look)
    assert drawn.get_figwidth() == WIDTHS[columns]
    check_texts(drawn)
    texts = [text for text in drawn.findobj(Text) if text.get_text()]
    assert min(text.get_fontsize() for text in texts) >= 7
    for axes in drawn.axes:
        x0, y0, x1, y1 = axes.get_position().extents
        assert (x1 - x0) * drawn.get_figwidth() >= 0.99
        assert (y1 - y0) * drawn.get_figheight() >= 0.3
        assert x0 >= 0 and y0 >= 0 and x1 <= 1 and y1 <= 1


@pytest.mark.parametrize("figure", mostly_slow([*FIGURES], every=3))
def test_figure_says_what_it_says_on_a_screen_or_leaves_it_to_the_text(figure):
    """Without title and caption every word is on the figure or in what was left off."""
    draw = FIGURES[figure](3, "l{}")
    screen, paper = draw(origin=ORIGIN), draw(origin=ORIGIN, look=Look(6.9, 2))
    assert left_off(screen) == left_off(paper) == ""
    bare = draw(origin=ORIGIN, look=Look(6.9, 2, title=False, caption=False))
    said = left_off(bare)
    assert ORIGIN.missing in said and ORIGIN.missing not in content(bare)
    assert "Code: commit 0123abc." in said
    told = {word for word in content(screen).split() if re.search("[a-zA-Z]", word)}
    assert told <= {*content(paper).split()}
    assert {word.strip(".") for word in told} <= {
        word.strip(".") for word in f"{content(bare)} {said}".split()
    }


@pytest.mark.parametrize(
    ("drawn", "columns"),
    mostly_slow(
        [
            (FIGURES["sides"](3, "l{}"), 2),
            (FIGURES["ladder"](3, "l{}"), 2),
            (FIGURES["cost"](3, "l{}"), 2),
            (FIGURES["collapse"](3, "l{}"), 2),
            (partial(interaction.heat_map, make_factorial(6), reference="paper"), 1),
        ],
        every=4,
        several=True,
    ),
    ids=["sides", "ladder", "cost", "collapse", "heat map"],
)
def test_width_that_is_too_narrow_is_refused_with_one_that_will_do(drawn, columns):
    """And a fifth of an inch less than that will not."""
    with pytest.raises(TooNarrow, match=r"does not fit .* it takes width=") as refusal:
        drawn(look=Look(3.0, columns))
    least = float(str(refusal.value).rpartition("=")[2])
    check_texts(drawn(look=Look(least, columns)))
    with pytest.raises(TooNarrow):
        drawn(look=Look(least - 0.2, columns))


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """A study of arms with a lost run, and a factorial of three factors."""
    root = tmp_path_factory.mktemp("outputs")
    tried = {"activation": ["relu"], "pooling": ["max"], "optimizer": ["adam"]}
    lost = {("optimizer=adam", 1)}
    sealed_studies.one_factor(root / "arms", range(7), tried=tried, lost=lost)
    sealed_studies.factorial(root / "crossed", ("units", "head", "training"), range(7))
    return root


def typed(root, *keys):
    """The files that `lenet chart` says it wrote, by name."""
    text = command.main([f"output_dir={root}", *keys]).text
    paths = [Path(line) for line in text.splitlines()]
    assert {path.parent.name for path in paths} == {"paper"}
    return {path.name: path for path in paths}


@pytest.fixture(scope="module")
def written(outputs, tmp_path_factory):
    """Of each study, all files that `lenet chart` writes for two columns, in the format
    that is drawn fastest, moved to a folder that no other test writes to; and what it
    says meanwhile."""
    made = {}
    for name in ("arms", "crossed"):
        err, kept = io.StringIO(), tmp_path_factory.mktemp("written") / name
        with contextlib.redirect_stderr(err):
            files = typed(outputs, f"study={name}", "columns=2", "format=svg")
        (outputs / name / "paper").rename(kept)
        made[name] = {file: kept / file for file in files}, err.getvalue()
    return made


def published_files(root):
    """What lies outside of the folders for papers, and when it was written."""
    return {
        path: path.stat().st_mtime_ns
        for path in root.rglob("*")
        if path.is_file() and path.parent.name != "paper"
    }


def page_of(pdf):
    """The width of a PDF's page in inches, and the points of its letters."""
    body = pdf.read_bytes()
    x0, _, x1, _ = map(float, re.search(rb"/MediaBox \[([^\]]+)", body)[1].split())
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", body, re.DOTALL)
    sizes = []
    for stream in streams:
        try:
            text = zlib.decompress(stream)
        except zlib.error:
            continue
        sizes += map(float, re.findall(rb"/F\S+ ([\d.]+) Tf", text))
    assert b"/Type3" not in body and b"/FontFile2" in body
    return (x1 - x0) / 72, sizes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("keys", "width", "formats"),
    [
        (["width=3.4"], 3.4, ["pdf", "svg", "png"]),
        (["columns=1"], 3.3, ["svg"]),
        (["columns=2"], 6.9, ["svg"]),
        ([], 3.3, ["pdf"]),
    ],
)
def test_files_have_the_width_and_the_letters(outputs, keys, width, formats):
    """Of each format, in a folder of their own, beside tables and texts."""
    before = published_files(outputs)
    kinds = f"format=[{','.join(formats)}]"
    files = typed(outputs, "study=arms", "title=none", kinds, *keys)
    assert published_files(outputs) == before
    names = {name.partition(".")[0] for name in files}
    assert names == {"ablation_chart", "collapse", "learning_curves", "costs"}
    kinds = [*formats, "csv", "md", "tex", "txt"]
    assert {*files} == {f"{name}.{kind}" for name in names for kind in kinds}
    for name in names:
        check_width(files, name, formats, width)


def check_width(files, name, formats, width):
    """A figure is so many inches wide in these formats; the PDF has legible letters."""
    if "pdf" in formats:
        wide, sizes = page_of(files[f"{name}.pdf"])
        assert wide == pytest.approx(width) and len(sizes) > 9 and min(sizes) >= 7
    if "svg" in formats:
        svg = files[f"{name}.svg"].read_text()
        assert float(re.search(r'<svg[^>]* width="([\d.]+)pt"', svg)[1]) == (
            pytest.approx(72 * width)
        )
    if "png" in formats:
        assert imread(files[f"{name}.png"]).shape[1] == round(300 * width)


@pytest.mark.slow
def test_same_files_when_written_twice(outputs):
    """The bytes of every format and table; each format as wide as two columns."""
    kinds, written = "format=[pdf,svg,png]", []
    for _ in range(2):
        files = typed(outputs, "study=crossed", "columns=2", kinds)
        written.append({name: path.read_bytes() for name, path in files.items()})
    assert written[0] == written[1] and len(files) > 20
    for name in {name.partition(".")[0] for name in files}:
        check_width(files, name, ["pdf", "svg", "png"], 6.9)


def tables(files, name):
    """The heads and the rows of the three tables of a figure, each read by a reader of
    its own: intervals as two cells, a true minus as any."""

    def cells(texts):
        plain = [text.strip().replace("\N{MINUS SIGN}", "-") for text in texts]
        limits = [re.fullmatch(r"\[(.+), (.+)\]|(\S+) to (\S+)", t) for t in plain]
        pairs = zip(plain, limits, strict=True)
        return [
            part
            for text, both in pairs
            for part in (filter(None, both.groups()) if both else [text])
        ]

    with files[f"{name}.csv"].open(newline="") as file:
        from_csv = [[cell.lstrip("'") for cell in row] for row in csv.reader(file)]
    markdown = files[f"{name}.md"].read_text().split("\n\n")[1].splitlines()
    from_md = [
        cells(re.sub(r"\\(.)", r"\1", row).strip("| ").split(" | ")) for row in markdown
    ]
    latex = files[f"{name}.tex"].read_text()
    body = latex.partition("\\toprule\n")[2].partition("\\bottomrule")[0]
    rows = [row for row in body.splitlines() if row.endswith(" \\\\")]
    rows = [re.sub(r"\\([%&_])", r"\1", row.replace("$-$", "-")) for row in rows]
    return from_csv, from_md, [cells(row[:-3].split(" & ")) for row in rows]


def number(text):
    """A cell without what groups thousands."""
    return text.replace(",", "") if re.fullmatch(r"[\d,.]+", text) else text


@pytest.mark.parametrize("study_name", mostly_slow(["crossed", "arms"], every=2))
def test_tables_have_the_same_rows_in_the_same_order_and_unit(
    outputs, written, study_name
):
    """CSV, Markdown and LaTeX, read independently, and their points are those of the
    study's effects."""
    files, _ = written[study_name]
    for name in {name.partition(".")[0] for name in files}:
        from_csv, from_md, from_tex = tables(files, name)
        assert len(from_csv) > 2 and len(from_md) == len(from_csv) + 1
        for row, other, third in zip(
            from_csv[1:], from_md[2:], from_tex[1:], strict=True
        ):
            assert row == [number(cell) for cell in other]
            assert row == [number(cell) for cell in third]
    rows = pd.read_csv(files["ablation_chart.csv"])
    drawn = study_report.study_figures([study.published_study(outputs / study_name)])[
        0
    ][0].table
    points = rows["effect, points"].tolist()
    assert points == pytest.approx((100 * drawn["mean"]).tolist(), abs=0.0051)
    assert max(map(abs, points)) > 0.5  # no fractions
    low, high = (rows[f"95 %, {end}"].tolist() for end in ("low", "high"))
    assert low == pytest.approx((100 * drawn["low"]).tolist(), abs=0.0051)
    assert high == pytest.approx((100 * drawn["high"]).tolist(), abs=0.0051)


def reading_order(figure, labels, row=0.01):
    """The labels in the order in which a reader finds them on a figure, on rows of so
    many inches."""
    places = {}
    for text in figure.texts:
        for label in labels:
            if text.get_text() in (label, f"+ {label}"):
                x, y = text.get_position()
                line = round((1 - y) * figure.get_figheight() / row)
                places.setdefault(label, (line, x))
    assert set(places) == set(labels)
    return sorted(places, key=places.__getitem__)


@pytest.mark.parametrize("study_name", mostly_slow(["crossed", "arms"], every=2))
def test_rows_are_in_the_order_of_the_figure(outputs, written, study_name):
    """Whatever a row is called there, downwards, panels as one reads them."""
    published = study.published_study(outputs / study_name)
    words, checked = level_names.study_words(published), []
    files, _ = written[study_name]
    for exhibit in study_report.study_figures([published])[0]:
        rows = pd.read_csv(files[f"{exhibit.name}.csv"], keep_default_na=False)
        if "estimand" in rows:
            rows = rows[rows["estimand"] == rows["estimand"].iloc[0]]
        if "treatment" in rows:
            labels = [name.lstrip("'") for name in rows["treatment"].unique()]
        elif exhibit.name == "interactions":
            labels = rows["factor"].tolist()
        else:
            if "share, %" in rows:
                rows = rows[(rows["share, %"] + rows["share reference, %"]) > 0]
            labels = list(map(words.change, rows.itertuples(index=False)))
            if exhibit.name != "collapse" and "estimand" not in rows:
                labels = [
                    words.dated(label, row.factor, str(row.level))
                    for label, row in zip(labels, rows.itertuples(), strict=True)
                ]
        wide = exhibit.draw(look=Look(16.0, 2, title=False))
        row = 1.0 if exhibit.name == "learning_curves" else 0.01
        assert reading_order(wide, labels, row) == labels, exhibit.name
        checked.append(exhibit.name)
    assert len(checked) >= 4


@pytest.mark.slow
def test_figure_that_does_not_fit_is_left_out_and_named(outputs, capsys):
    """The others are there; the message has the width that it takes."""
    files = typed(outputs, "study=crossed", "width=3.3")
    err = capsys.readouterr().err
    assert "interactions does not fit into width=3.3" in err and "left out" in err
    assert "interactions.pdf" not in files and "shapley.pdf" in files
    least = re.search(r"it takes width=([\d.]+)", err)[1]
    assert "interactions.pdf" in typed(outputs, "study=crossed", f"width={least}")


def test_headline_that_does_not_fit_is_refused_and_nothing_written(tmp_path):
    """Three sides beside each other on three inches."""
    sealed_studies.factorial(tmp_path / "s", ("units", "head"), range(6))
    with pytest.raises(
        Refusal, match=r"ablation_chart does not fit .* it takes width="
    ):
        typed(tmp_path, "study=s", "width=3.3", "columns=2")
    assert not (tmp_path / "s" / "paper").exists()


@pytest.mark.slow
def test_what_is_missing_is_said_and_stands_in_the_text(tmp_path, capsys):
    """Also where no caption stands on the figure."""
    sealed_studies.one_factor(tmp_path / "s", range(7), tried={"pooling": ["max"]})
    records = tmp_path / "s" / "records.jsonl.gz"
    lines = gzip.decompress(records.read_bytes()).splitlines(keepends=True)
    records.write_bytes(gzip.compress(b"".join(lines[:-1]), mtime=0))
    keys = "study=s", "allow_partial=true", "width=3.3"
    files = typed(tmp_path, *keys, "caption=none")
    assert "1 of 14 runs missing" in capsys.readouterr().err
    assert "1 of 14 runs missing" in files["ablation_chart.txt"].read_text()
    typed(tmp_path, *keys)
    assert "missing" not in capsys.readouterr().err  # the figure says it


@pytest.mark.slow
def test_figure_that_is_higher_than_a_page_is_named(outputs, written, capsys):
    """With what makes it lower."""
    typed(outputs, "study=crossed", "columns=1", "format=svg")
    assert re.search(r"ablation_chart is [\d.]+ inches high", capsys.readouterr().err)
    assert "ablation_chart is" not in written["crossed"][1]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A table of two factors and a response in percent."""
    rng = np.random.default_rng(0)
    rows = [
        {"model": model, "scaling": scaling, "seed": seed}
        | {
            "accuracy": 90
            + 3 * (model == "svm")
            - (scaling == "yes")
            + rng.normal(0, 0.3)
        }
        for seed in range(8)
        for model in ("logistic", "svm")
        for scaling in ("no", "yes")
    ]
    path = tmp_path_factory.mktemp("table") / "runs.csv"
    pd.DataFrame(rows).to_csv(path, index=False)
    return path


TABLE = "response=accuracy", "reference=[model=logistic,scaling=no]"


def test_table_of_anybody_is_drawn_for_a_paper_too(runs, tmp_path):
    """In the order of the chart, the worst first, in percentage points."""
    keys = f"table={runs}", *TABLE, "caption=none", "title=none", "width=3.3"
    files = typed(tmp_path, *keys)
    assert page_of(files["ablation_chart.pdf"])[0] == pytest.approx(3.3)
    assert "runs.csv" in files["ablation_chart.txt"].read_text()
    rows = pd.read_csv(files["ablation_chart.csv"])
    assert rows["factor"].tolist() == ["scaling", "model"]
    assert rows["effect, points"].tolist() == pytest.approx([-1, 3], abs=0.3)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["paper"]


@pytest.mark.parametrize(
    ("typed_key", "said"),
    [
        ("width=abc", "width=abc: write inches, from 2.5 to 20, as width=3.3"),
        ("width=0", "width=0: write inches"),
        ("width=-3", "width=-3: write inches"),
        ("width=nan", "width=nan: write inches"),
        ("width=1e9", "width=1e9: write inches"),
        ("columns=3", "columns=3: write columns=1 or columns=2"),
        ("columns=1.5", "columns=1.5: write columns=1 or columns=2"),
        ("format=gif", "format 'gif' is unknown; formats: pdf, png, svg"),
        ("format=[pdf,pgn]", "did you mean png?"),
        ("format=[]", "format= needs one of"),
        ("title=foo", "title=foo: write title=none, or leave it out"),
        ("caption=false", "caption=false: write caption=none, or leave it out"),
        ("widht=3.3", "did you mean width?"),
    ],
)
def test_bad_key_is_refused_with_the_fix(outputs, runs, tmp_path, typed_key, said):
    """Exit code 2, one line, nothing written; of records and of a table."""
    for place, keys in (
        (outputs, ["study=arms"]),
        (tmp_path, [f"table={runs}", *TABLE]),
    ):
        before = sorted(place.rglob("*"))
        with pytest.raises(Refusal, match=re.escape(said)) as refusal:
            typed(place, *keys, typed_key)
        assert refusal.value.code == 2 and "\n" not in str(refusal.value)
        assert sorted(place.rglob("*")) == before


def test_limits_that_are_not_there_are_empty_cells():
    """An effect without an interval has two empty cells in CSV."""
    rows = pd.DataFrame({"95 %": ["[\N{MINUS SIGN}0.1, +0.2]", ""], "n": ["1,200", ""]})
    assert (
        journal_figures.numbers_csv(rows)
        == '"95 %, low","95 %, high",n\n-0.1,+0.2,1200\n,,\n'
    )
