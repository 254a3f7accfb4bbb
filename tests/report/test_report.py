"""The report holds all numbers, once, escaped, in one file, the same every time."""

import dataclasses
import html
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sealed_studies
from matplotlib.figure import Figure
from matplotlib.image import imread
from scipy import stats
from sealed_studies import TODAY

from lenet.commands import chart as command
from lenet.config import FACTORS, Refusal, composed
from lenet.figures import learning_curves
from lenet.figures.canvas import FORMATS, points
from lenet.records import run_record
from lenet.report import (
    answer_section,
    effect_tables,
    exhibit_files,
    findings,
    findings_section,
    index,
    missed_digits,
    report_sections,
    reproduction,
    study_report,
)
from lenet.rounding import decimals
from lenet.studies import effect, study
from lenet.training import data as datasets

THREE = {"activation": ["relu"], "pooling": ["max"], "optimizer": ["adam"]}
OUTPUTS = Path(__file__).parents[2] / "outputs"
IN_REPORT = {  # what the report calls rows of the README
    "standardised input": "standardised input for range of 1998",
    "Kaiming's initialisation": "Kaiming's initialisation for LeCun's",
    "**units**: ReLU, Kaiming's": "ReLU and Kaiming's initialisation",
    "**structure**: max, full": "full connection and max pooling",
    "Adam, batch 64, for second-order steps": "Adam for second-order steps",
    "cosine schedule": "cosine schedule for steps of 1998",
    "new order in each pass": "new order in each pass for one order",
    "**training**: Adam, cosine, new order": (
        "Adam, new order in each pass and cosine schedule"
    ),
}
EVIL = '<script>alert("1")</script>'


def draw(*typed):
    """What `lenet chart` does with these arguments."""
    print(command.main(typed).text)


@pytest.fixture
def svg_alone(monkeypatch):
    """Figures as SVG only: the page needs no more, and the rest takes seconds."""
    monkeypatch.setattr(exhibit_files, "FORMATS", {"svg": FORMATS["svg"]})


@pytest.fixture(scope="module")
def arms(tmp_path_factory):
    """A study of three arms, drawn."""
    folder = tmp_path_factory.mktemp("outputs") / "arms"
    lost = {("optimizer=adam", 1)}
    data = {"data": datasets.load_data("digits", None).sha256}
    sealed_studies.one_factor(folder, range(7), tried=THREE, lost=lost, **data)
    return folder, study_report.write_study(folder)


@pytest.mark.slow
def test_every_figure_has_its_files_beside_it(arms):
    """svg, png, pdf, csv, md and tex of each figure, effects.csv and the page."""
    folder, paths = arms
    names = {path.name for path in paths}
    figures = ("ablation_chart", "collapse", "learning_curves", "costs")
    forms = (*FORMATS, "csv", "md", "tex")
    expected = {f"{figure}.{form}" for figure in figures for form in forms}
    expected |= {f"ablation_chart_narrow.{form}" for form in FORMATS}
    assert names == expected | {"effects.csv", "losses.csv", "report.html"}
    inputs = {"plan.json", "records.jsonl.gz"}
    assert {path.name for path in folder.iterdir()} == names | inputs


def test_study_whose_runs_all_diverged_is_drawn(tmp_path, svg_alone):
    """It has nothing to say, and says so."""
    lost = {(arm, seed) for arm in ("reference", "head=softmax") for seed in range(3)}
    tried = {"head": ["softmax"]}
    sealed_studies.one_factor(tmp_path / "s", range(3), tried=tried, lost=lost)
    study_report.write_study(tmp_path / "s")
    assert (tmp_path / "s" / "report.html").read_text().count("diverged") > 6


def test_lost_block_is_left_out_of_the_effects(tmp_path):
    """Of the arms under the names of the plan, and of the main effects: they are those
    of the study without that block."""
    both = {"pooling": TODAY["pooling"], "connection": TODAY["connection"]}
    named = {
        "reference": {},
        "structure=today": both,
        "head=softmax": {"head": "softmax"},
    }
    made = {
        "alone": lambda folder, seeds, lost: sealed_studies.write_study(
            folder, "one_factor", "paper", {}, named, seeds, lost("structure=today")
        ),
        "main": lambda folder, seeds, lost: sealed_studies.factorial(
            folder, ("units", "head"), seeds, lost=lost("units=today head=today")
        ),
    }
    for estimand, make in made.items():
        tables = []
        for seeds, lost in (
            (range(7), lambda arm: {(arm, 6)}),
            (range(6), lambda arm: ()),
        ):
            folder = tmp_path / estimand / str(len(seeds))
            make(folder, seeds, lost)
            sealed = study.published_study(folder)
            rows = study_report.sides(sealed, study.study_effects(sealed))[0].effects
            assert rows["estimand"].str.startswith(estimand).all()
            tables.append(rows.set_index(["factor", "level"]))
        changed = "structure" if estimand == "alone" else "units"
        lost, without = (rows.loc[[changed]] for rows in tables)
        assert lost["n"].tolist() == [6] and lost["left_out"].tolist() == [1]
        pd.testing.assert_series_equal(lost["mean"], without["mean"])


def test_treatment_with_lost_runs_does_not_end_lowest():
    """Its mean is that of the runs that are left."""
    rows = {"treatment": ["a", "b"], "epoch": [3, 3], "mean": [0.01, 0.02]}
    curves = pd.DataFrame(rows)
    assert learning_curves.finding(curves, "b").startswith("a ends lowest, at 1.00 %")
    finding = learning_curves.finding(curves, "b", {"a": 2})
    assert finding == "b ends lowest, at 2.00 % test error (runs of 1 others are lost)"


@pytest.mark.slow
def test_all_files_are_identical_when_written_twice(arms, tmp_path):
    """The same records give the same bytes of every file, in another folder."""
    folder, paths = arms
    again = study_report.write_report(tmp_path, [study.published_study(folder)])
    for path, other in zip(paths, again, strict=True):
        assert path.read_bytes() == other.read_bytes(), path.name


def test_tables_say_the_same_numbers(arms):
    """Each arm's effect in points is in CSV, Markdown, LaTeX and HTML."""
    folder, _ = arms
    effects = effect_tables.read_effects(folder / "effects.csv")
    assert sorted(effects["n"]) == [6, 7, 7] and effects["left_out"].sum() == 1
    markdown, latex, page = (
        (folder / name).read_text()
        for name in ("ablation_chart.md", "ablation_chart.tex", "report.html")
    )
    for row in effects.itertuples():
        number = effect_tables.points(row.mean)
        assert f"| {number} |" in markdown.replace("\\", "")
        assert f"& {effect_tables.typeset(number)} &" in latex
        assert f'<td data-key="{row.mean!r}">{number}</td>' in page
    assert "\\toprule" in latex and "\\bottomrule" in latex


def test_page_needs_nothing_from_elsewhere(arms):
    """No address to fetch from, no script or style or image from outside."""
    page = (arms[0] / "report.html").read_text()
    addresses = set(re.findall(r"https?://[^\"'\s<>]+", page))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    sources = re.findall(r'\bsrc="([^"]{0,30})', page)
    assert sources and all(s.startswith("data:image/png;base64,") for s in sources)
    assert "<link" not in page and "@import" not in page
    assert page.count("<svg") == 5  # the chart has a narrow form too
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    used = {
        name
        for pair in re.findall(r'url\(#([^)]+)|href="#([^"]+)', page)
        for name in pair
    }
    assert used - {""} <= set(names)


def test_missed_digits_are_those_that_the_runs_got_wrong(arms):
    """The first picture is the image that most runs miss, and its share is right."""
    folder, _ = arms
    published = study.published_study(folder)
    kept = [~row for row in published.runs["right"] if row is not None]
    share = np.mean(kept, axis=0)
    page = (folder / "report.html").read_text()
    first = re.search(r'alt="test image (\d+), a (\d)".*?<b>(\d+) %</b>', page)
    place, label, percent = map(int, first.groups())
    assert share[place] == share.max() and percent == round(100 * share.max())
    assert label == datasets.load_data("digits", None).test_labels[place]


def test_collapsed_runs_are_no_part_of_the_missed_digits(arms):
    """A run that guesses misses nearly all: it says nothing of the digits."""
    published = study.published_study(arms[0])
    records = [record for record in published.records if record["right"]]
    guess = np.zeros(records[0]["images"], dtype=bool)
    other = {"right": run_record.packed_bits(guess), "response": {"test_error": 0.9}}
    matches = []
    for some in (records[1:], [{**records[0], **other}, *records[1:]]):
        text = missed_digits.missed_section(
            dataclasses.replace(published, records=some)
        )
        matches.append(
            re.search(r"images, (\d+) are .* all (\d+) (runs[a-z ]*)\.", text)
        )
    (right, count, runs), (again, kept, named) = (match.groups() for match in matches)
    assert (again, kept) == (right, count) and int(right) > 0
    assert (runs, named) == ("runs", "runs that converge")


def test_page_opens_with_the_question_the_answer_and_the_errors(arms):
    """What was asked, the finding of the first figure, and each treatment's errors."""
    folder, _ = arms
    published = study.published_study(folder)
    page = (folder / "report.html").read_text()
    opening = page[
        page.index('<section id="errors"') : page.index('id="ablation_chart"')
    ]
    asked = (
        "What does each of 3 changes, alone, do to the test error of LeNet-5 of 1998, "
        "in 28 runs of 7 seeds?"
    )
    assert asked in opening
    rows = answer_section.error_table(published).set_index("treatment")
    runs = published.of({**published.reference, "optimizer": "adam"})
    kept = 100 * runs[runs["status"] == "finished"]["test_error"]
    row = rows.loc["Adam for second-order steps"]
    assert (row["runs"], row["lost"]) == (7, 1) and len(kept) == 6
    interval = stats.t.interval(0.95, 5, kept.mean(), stats.sem(kept))
    assert row["test_error, %"] == decimals(kept.mean())
    assert row["95 % interval"] == " to ".join(map(decimals, interval))
    assert (
        row["lowest to highest, %"]
        == f"{decimals(kept.min())} to {decimals(kept.max())}"
    )
    assert len(rows) == 4 and row["95 % interval"] in opening


def test_dots_name_their_seed_and_runs_and_hold_the_command(arms):
    """A dot for each difference, in both forms of the chart; its value is that of the
    two runs that it names, and its command trains the one of the level."""
    folder, _ = arms
    published = study.published_study(folder)
    runs = published.runs.set_index("run_id")
    page = (folder / "report.html").read_text()
    chart = page[page.index('id="ablation_chart"') : page.index('id="collapse"')]
    dots = re.findall(r'data-command="([^"]*)"><title>([^<]*)</title>', chart)
    assert len(dots) == 2 * (7 + 7 + 6)
    known = dict(zip(runs.index, reproduction.commands(published), strict=True))
    for typed, text in dots:
        pattern = r"seed (\d+): (\S+) points, run (\w{8}) minus (\w{8})"
        seed, size, new, old = re.fullmatch(pattern, text).groups()
        (changed,) = (name for name in runs.index if name.startswith(new))
        (other,) = (name for name in runs.index if name.startswith(old))
        change = runs.loc[changed, "test_error"] - runs.loc[other, "test_error"]
        assert size == points(change) and runs.loc[changed, "seed"] == int(seed)
        assert html.unescape(typed) == known[changed]


def test_index_lists_each_report_with_what_it_found(arms):
    """One page over the reports of a folder, which fetches nothing."""
    folder, _ = arms
    page = index.write_index(folder.parent).read_text()
    lead = re.search(r"<b>(.*?)\.</b>", (folder / "report.html").read_text())[1]
    assert f'<dt><a href="arms/report.html">arms</a></dt><dd>{lead}</dd>' in page
    assert "One study" in page and "http" not in page


def test_page_over_all_studies_has_the_readmes_table():
    """Each change has the same cells there as in the README, whose cells are made from
    the records by other code (tests/test_readme.py)."""
    rows = findings.findings(OUTPUTS)
    shown = {
        str(change): [str(row.get(column, "")) for column in findings.COLUMNS]
        for change, row in rows.items()
    }
    readme_text = (OUTPUTS.parent / "README.md").read_text("utf-8")
    lines = re.findall(r"^\| .*[▼▲=?] *\|.*\|$", readme_text, re.M)
    for line in lines:
        name, *cells = [part.strip() for part in line.split("|")[1:6]]
        assert shown[IN_REPORT.get(name, name)] == cells
    assert len(lines) == len(shown) == 13
    names = [str(change) for change in rows]
    assert names.index("ReLU for scaled tanh") < names.index(
        "ReLU and Kaiming's initialisation"
    )
    section = str(findings_section.findings_section(OUTPUTS))
    spaced = section.replace("\xa0", " ").replace("\N{MINUS SIGN}", "-")
    assert all(f"<td>{cell}</td>" in spaced for row in shown.values() for cell in row)
    assert section.count("<b>") == 3 and "main effect n = " in section
    said = findings_section.sentences(OUTPUTS, rows)
    bullets = re.findall(r"^\* (.*\.)$", readme_text.split("## 1998")[0], re.M)
    assert said == bullets and all(
        f"<li>{text}</li>" in html.unescape(section) for text in said
    )
    both = OUTPUTS / "leave_one_out-one_factor" / "report.html"
    assert section in both.read_text("utf-8")


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("low", "", "-0.19 ▼"),  # one seed has no interval
        ("verdict", "not estimable", "-0.19 (-0.25, -0.14)"),
        ("level", "silu", None),  # is in no preset
        ("level", "relu+kaiming", None),  # in place of one level of 1998
        ("estimand", "alone from modern", None),
        ("response", "corrected_error", None),
    ],
)
def test_finding_of_any_table_is_shown_or_is_none(tmp_path, column, value, shown):
    """What a study says otherwise than the presets is no change since 1998."""
    folder = tmp_path / "one_factor"
    folder.mkdir()
    shutil.copy(OUTPUTS / "one_factor" / "plan.json", folder)
    table = pd.read_csv(OUTPUTS / "one_factor" / "effects.csv", dtype=str)
    table = table[(table["level"] == "relu") & (table["response"] == "test_error")]
    table.assign(**{column: value}).to_csv(folder / "effects.csv", index=False)
    found = findings.findings(tmp_path)
    cells = [str(cell) for row in found.values() for cell in row.values()]
    assert cells == ([] if shown is None else [shown])
    assert index.write_index(tmp_path).is_file()


def test_study_of_other_data_has_no_column(arms, tmp_path):
    """Nor has one without a plan, such as anybody's table, or with a damaged one."""
    folder, _ = arms
    shutil.copytree(folder, tmp_path / "one_factor")
    assert (tmp_path / "one_factor" / "effects.csv").is_file()
    assert findings.findings(tmp_path) == {}
    shutil.copy(OUTPUTS / "one_factor" / "effects.csv", tmp_path / "one_factor")
    for damage in ("{", None):
        plan = tmp_path / "one_factor" / "plan.json"
        plan.write_text(damage) if damage else plan.unlink()
        assert findings.findings(tmp_path) == {}


def test_damaged_study_costs_its_sentence_and_no_more(tmp_path):
    """The page of the other studies is written; 1 of 1,024 collapses by its records."""
    for name in ("factorial", "one_factor"):
        shutil.copytree(OUTPUTS / name, tmp_path / name)
    rows = findings.findings(tmp_path)
    said = findings_section.sentences(tmp_path, rows)
    assert [text.split(":")[0] for text in said] == [
        "Better alone at both ends",
        "With 15 wrong test labels corrected or left out, 3 of 25 verdicts differ.",
        "8 of 15 pairs of changes interact",
        "1 of 1,024 networks of all combinations collapses (0.00 to 0.54 %).",
    ]
    (tmp_path / "factorial" / "records.jsonl.gz").write_bytes(b"no record")
    assert findings_section.sentences(tmp_path, rows) == said[:3]
    assert said[1] in index.write_index(tmp_path).read_text("utf-8")


def test_folder_without_the_studies_has_no_table_of_findings(tmp_path):
    """Its page lists its reports, and that is all."""
    assert findings.findings(tmp_path) == {}
    assert "<table>" not in index.write_index(tmp_path).read_text()


@pytest.mark.parametrize(
    ("portable", "said"), [(True, "any processor"), (False, "same torch")]
)
def test_report_says_what_the_bits_depend_on(arms, portable, said):
    """Of edition 2 on nothing, if every run is from the compiled loops."""
    folder, _ = arms
    records = [{**record, "portable": True} for record in study.read_study(folder)[1]]
    records[-1] |= {"portable": portable}
    assert said in report_sections.what_bits_need(records)


def test_png_is_the_image_as_ink_on_paper(tmp_path):
    """The inline pictures decode to the inverted pixels."""
    image = np.arange(28 * 28, dtype=np.uint8).reshape(28, 28)
    (tmp_path / "image.png").write_bytes(missed_digits.png(image))
    decoded = np.round(255 * imread(tmp_path / "image.png")).astype(np.uint8)
    np.testing.assert_array_equal(decoded, 255 - image)


def test_pictures_of_other_data_are_not_shown():
    """Without the data, or with others of the same name, the page says so."""
    assert missed_digits.images("digits", "00")[0] is None
    found, why = missed_digits.images("kmnist", "00")
    assert found is None and why


@pytest.mark.parametrize("base", ["preset=modern", "preset=modern optimizer=sgd"])
def test_reproduction_commands_mean_the_very_treatment(base):
    """What is typed composes to the treatment and the seed of the record."""
    typed = f"{base} activation=tanh optimizer.lr=0.05 dropout=0.25 train_size=100"
    typed += " head.smoothing=0.1 data=digits seed=7 augmentation=rotate epochs=3"
    run = composed(typed.split())[0][0]
    record = {"treatment": dict(run.treatment), "seed": run.seed}
    command = reproduction.rerun_command(record)
    words = command.removeprefix("python -m lenet.train ").split()
    again = composed(words)[0][0]
    assert (dict(again.treatment), again.seed) == (dict(run.treatment), 7)
    assert "input=" not in command  # what the preset sets is left out


@pytest.mark.usefixtures("svg_alone")
def test_names_are_escaped_everywhere(tmp_path):
    """A level that is a script, a formula or a command of LaTeX stays a text."""
    tried = {"schedule": [EVIL], "order": ["=1+1"], "input": ["\\input{x}|$"]}
    sealed_studies.one_factor(tmp_path / "s", range(2), tried=tried)
    paths = study_report.write_study(tmp_path / "s")
    page = (tmp_path / "s" / "report.html").read_text()
    assert html.escape(EVIL) in page and "<script>alert" not in page
    assert "'=1+1" in (tmp_path / "s" / "effects.csv").read_text()
    latex = (tmp_path / "s" / "ablation_chart.tex").read_text()
    assert "\\textbackslash{}input\\{x\\}|\\$" in latex
    assert "\\|\\$" in (tmp_path / "s" / "ablation_chart.md").read_text()
    for path in paths:
        if path.suffix == ".svg":
            assert "<script>" not in path.read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("svg_alone")
def test_a_factorial_has_ladders_and_interactions(tmp_path):
    """Main effects, steps in years, Shapley values and pairs; each sums to the gap."""
    factors = ("units", "head", "augmentation")
    sealed_studies.factorial(
        tmp_path / "s", factors, range(4), "path", search=range(90, 92)
    )
    names = {path.name for path in study_report.write_study(tmp_path / "s")}
    for figure in ("ladder", "path", "shapley", "interactions", "ablation_chart"):
        assert f"{figure}.svg" in names
    effects = effect_tables.read_effects(tmp_path / "s" / "effects.csv")
    ladder, path, shapley = (
        effect.effects_of_kind(effects, kind)
        for kind in (effect.LADDER, effect.PATH, effect.SHAPLEY)
    )
    assert ladder["mean"].sum() == pytest.approx(shapley["mean"].sum())
    assert ladder["mean"].sum() == pytest.approx(path["mean"].sum())
    pair = path["factor"].tolist()
    assert sorted(pair) == sorted(factors)


@pytest.mark.usefixtures("svg_alone")
def test_a_ladder_has_its_steps_and_their_curves(tmp_path):
    """A treatment is what it adds to the one before, in every figure."""
    chain = {"reference": {}, "head=softmax": {"head": "softmax"}}
    chain["both"] = {"head": "softmax", "activation": "relu"}
    sealed_studies.write_study(tmp_path / "s", "ladder", "paper", {}, chain, range(3))
    names = {path.name for path in study_report.write_study(tmp_path / "s")}
    assert "ladder.svg" in names and "ablation_chart.svg" not in names
    drawing = (tmp_path / "s" / "ladder.svg").read_text()
    assert "So few blocks have no 95" in drawing and "Thick line" not in drawing
    drawn = effect_tables.read_effects(tmp_path / "s" / "costs.csv")[
        "treatment"
    ].tolist()
    assert [name.strip("'+ ") for name in drawn] == [
        "LeNet-5 of 1998",
        "softmax for RBF units",
        "ReLU for scaled tanh",
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("svg_alone")
@pytest.mark.parametrize("said", [sealed_studies.DIVERGED, sealed_studies.COLLAPSED])
def test_lost_run_takes_its_seed_from_every_figure(tmp_path, said):
    """A run that diverged, or errs like a guess at its end, is in no mean; how many of
    a level are lost stands in the table, on the page and in a figure of its own."""
    factors, lost = ("units", "head"), {("units=today head=today", 1): said}
    sealed_studies.factorial(tmp_path / "s", factors, range(6), lost=lost)
    study_report.write_study(tmp_path / "s")
    effects = effect_tables.read_effects(tmp_path / "s" / "effects.csv")
    assert effects["mean"].abs().max() < 0.05
    paper = effects["estimand"] == "simple effect (others as in paper)"
    assert (effects["n"] == np.where(paper, 6, 5)).all()
    assert (effects["left_out"] == np.where(paper, 0, 1)).all()
    diverged = "status" in said
    verb = "have no finite response" if diverged else "collapse"
    main = effect.effects_of_kind(effects, effect.MAIN)
    assert main["reason"].str.contains(f"1 of 12 runs {verb} with").all()
    for name in ("ladder", "shapley", "ablation_chart", "interactions"):
        assert "left out" in (tmp_path / "s" / f"{name}.svg").read_text()
    ends = "diverges" if diverged else "collapses"
    assert f"Of 24 runs 1 {ends}" in (tmp_path / "s" / "report.html").read_text()
    losses = effect_tables.read_effects(tmp_path / "s" / "losses.csv")
    main = effect.effects_of_kind(losses, effect.MAIN)
    assert (main[["collapsed", "diverged"]].sum(axis=1) == 1).all()
    assert set(main["runs"]) == {12}


@pytest.mark.usefixtures("svg_alone")
def test_two_studies_stand_side_by_side(tmp_path, capsys):
    """One chart with a row for each pair of levels, in a folder of its own."""
    sealed_studies.one_factor(tmp_path / "one", range(6), tried=THREE)
    back = {factor: [sealed_studies.PAPER[factor]] for factor in THREE}
    sealed_studies.one_factor(tmp_path / "other", range(6), "modern", back)
    draw("study=one,other", f"output_dir={tmp_path}")
    assert str(tmp_path / "one-other" / "report.html") in capsys.readouterr().out
    rows = effect_tables.read_effects(tmp_path / "one-other" / "ablation_chart.csv")
    assert rows.groupby("study")["factor"].count().to_dict() == {"one": 3, "other": 3}
    page = (tmp_path / "one-other" / "report.html").read_text()
    errors = page[page.index('id="errors"') : page.index('id="ablation_chart"')]
    assert errors.count("<td>one</td>") == errors.count("<td>other</td>") == 4


def climbed(folder, preset, steps, seeds=range(6), **other):
    """A ladder whose steps, a factor each, make more and more changes."""
    base = (
        sealed_studies.PAPER if preset == "paper" else {**sealed_studies.PAPER, **TODAY}
    )
    levels = {
        factor: {"old": {key: base[key] for key in changes}, "new": changes}
        for factor, changes in steps.items()
    }
    arms, changes = {}, {}
    for turned in range(len(steps) + 1):
        chosen = [f"{f}={'new' if i < turned else 'old'}" for i, f in enumerate(steps)]
        arms[" ".join(chosen)] = dict(changes)
        for changed in list(steps.values())[turned : turned + 1]:
            changes |= changed
    sealed_studies.write_study(folder, "ladder", preset, levels, arms, seeds, **other)


@pytest.mark.usefixtures("svg_alone")
def test_two_ladders_are_one_where_the_second_starts_as_the_first_ends(tmp_path):
    """Its steps are those of both in order, each with the verdict of its own study, and
    the treatment that it passes stands between them; two others are refused."""
    training = {key: TODAY[key] for key in sealed_studies.GROUPS["training"]}
    rest = {key: value for key, value in TODAY.items() if key not in training}
    climbed(tmp_path / "one", "paper", {"training": training, "all else": rest})
    longer = {"schedule": {"schedule": "constant"}, "epochs": {"epochs": 5}}
    climbed(tmp_path / "other", "modern", longer)
    climbed(tmp_path / "apart", "modern", longer, seeds=range(1, 7))
    lost = {("schedule=new epochs=old", 2)}
    climbed(tmp_path / "lost", "modern", longer, lost=lost)
    line = f"output_dir={tmp_path}"
    draw("study=one,other", line)
    rows = effect_tables.read_effects(tmp_path / "one-other" / "ladder.csv")
    assert rows["factor"].tolist() == ["training", "all else", "schedule", "epochs"]
    own = [
        study.study_effects(study.published_study(tmp_path / name)).table
        for name in ("one", "other")
    ]
    both = pd.concat(own, ignore_index=True)
    for column in ("mean", "p_family", "verdict"):
        assert rows[column].tolist() == pytest.approx(both[column].tolist())
    drawn = (tmp_path / "one-other" / "ladder.svg").read_text()
    assert "LeNet-5 of today" in drawn
    said = " ".join(re.findall("<!-- (.*?) -->", drawn))  # letters are drawn as paths
    assert "families of 2 (step of the ladder) and 2 (step of the ladder)" in said
    with pytest.raises(Refusal, match="no arms to show side by side"):
        draw("study=one,apart", line)
    with pytest.raises(Refusal, match="lost runs of different seeds"):
        draw("study=one,lost", line)


@pytest.mark.usefixtures("svg_alone")
def test_a_tuning_shows_no_test_error(tmp_path):
    """Neither in its page and tables, nor beside a study of test errors."""
    arms_ = {"reference": {}, "head=rbf": {"head": "rbf"}}
    fields = {"response": {"test_error": 0.9, "validation_error": 0.25}}
    place, line = tmp_path / "tuning", f"output_dir={tmp_path}"
    sealed_studies.write_study(place, "tuning", "modern", {}, arms_, range(3), **fields)
    sealed_studies.one_factor(tmp_path / "one", range(3), tried=THREE)
    draw("study=tuning", line)
    names = sorted(path.name for path in place.glob("*.csv"))
    assert names == ["ablation_chart.csv", "effects.csv", "losses.csv"]
    page = (place / "report.html").read_text()
    assert "validation error" in page and "test error" not in page
    assert 'id="missed"' not in page and 'href="#missed"' not in page
    with pytest.raises(Refusal, match="draw it alone"):
        draw("study=one,tuning", line)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["study=nothing"], "study=nothing: the studies in"),
        (["stduy=arms"], "did you mean study"),
        (["study=arms", "epochs=3"], "epochs= chooses among runs without a study"),
        (["study=arms", "mix=perhaps"], "mix=true or mix=false"),
        (["reference=[x=y]", "study=../arms"], "use letters"),
        (["reference=[activation=relu]"], "has no finished run: train some"),
    ],
)
def test_bad_arguments_are_refused_with_the_fix(arms, typed, said):
    """Exit code 2, what is wrong and what to type."""
    with pytest.raises(Refusal, match=re.escape(said)) as refusal:
        draw(f"output_dir={arms[0].parent}", *typed)
    assert refusal.value.code == 2


def test_save_names_its_files_by_their_formats(tmp_path):
    """A figure of another script is written the same way."""
    paths = study_report.write_figure(Figure(), tmp_path / "figure", ["svg", "pdf"])
    assert [path.name for path in paths] == ["figure.svg", "figure.pdf"]
    assert all(path.stat().st_size > 500 for path in paths)


def test_factors_of_the_page_are_those_of_the_config():
    """Every factor can be narrowed by, as on the command line of training."""
    assert set(FACTORS) < set(study.NARROWED)


@pytest.mark.parametrize(
    "path", sorted(OUTPUTS.glob("*/report.html")), ids=lambda p: p.parent.name
)
def test_published_page_shows_the_missed_digits(path):
    """It was drawn on a machine that has the data."""
    assert "not on this machine" not in path.read_text(encoding="utf-8")
