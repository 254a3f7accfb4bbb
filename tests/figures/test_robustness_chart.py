"""Tables and figures of robustness, and what their commands refuse."""

import dataclasses
import math
import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from figure_texts import check_texts, content
from matplotlib.figure import Figure
from stub_worker import small

from lenet import train
from lenet.commands import robustness as command
from lenet.config import Places, Refusal
from lenet.figures import robustness_chart as chart
from lenet.figures.attack_picture import Row, attack_picture
from lenet.interpret.robustness import LIMITS
from lenet.records import plan as plans
from lenet.report import effect_tables
from lenet.studies import study
from lenet.training.attack import Adversarial

SCRIPTS = Path(__file__).parents[2] / "scripts"
COMMANDS = SCRIPTS.parent / "lenet" / "commands"
PUBLISHED = SCRIPTS.parent / "outputs" / "robustness"


def cells() -> pd.DataFrame:
    """Three seeds of two treatments at two radii; `b` loses half, one indicator up."""
    rows = [
        {
            **{"treatment": name, "seed": seed, "epsilon": epsilon, "run": seed},
            "accuracy": 1.0 - epsilon * (5 if name == "b" else 1) - 0.01 * seed,
            **dict.fromkeys(LIMITS, 0.0),
        }
        for name in ("a", "b")
        for epsilon in (0.0, 0.1)
        for seed in range(3)
    ]
    rows[-1]["flat"] = 0.5
    return pd.DataFrame(rows)


def test_summary_is_mean_and_t_interval() -> None:
    """Mean +- t(0.975, n - 1) sd / sqrt(n), and in how many runs an indicator is up."""
    rows = chart.accuracy_table(cells()).set_index(["treatment", "epsilon"])
    row = rows.loc[("b", 0.1)]
    assert row["mean"] == pytest.approx(0.49) and row["n"] == 3
    assert row["high"] - row["mean"] == pytest.approx(4.302653 * 0.01 / math.sqrt(3))
    assert (row["flat"], row["any"]) == (1, 1)
    assert rows.loc[("a", 0.1), "any"] == 0


def test_gain_of_a_stronger_attack_is_that_of_all_runs() -> None:
    """Hatched where the mean over seeds is above a point, not where one of three is;
    tables of edition 1 have no such column and are summed up without it."""
    some = cells()
    b = (some["treatment"] == "b") & (some["epsilon"] > 0)
    for gains, up in (([0.02, 0, 0], 0), ([0.02, 0.02, 0], 3)):
        some.loc[b, "stronger"] = gains
        rows = chart.accuracy_table(some).set_index(["treatment", "epsilon"])
        assert rows["stronger"].tolist() == [0, 0, 0, up]
        assert rows.loc[("b", 0.1), "gain"] == pytest.approx(sum(gains) / 3)
    old = chart.accuracy_table(some.drop(columns="stronger"))
    assert not {"stronger", "gain"} & {*old.columns}
    figure = drawn(old)
    said = content(figure).replace("\n", " ")
    assert "No stronger attack was tried on these runs (edition 1)" in said


def smallest() -> pd.DataFrame:
    """Smallest radii of the treatments; `b` has less."""
    runs = cells().query("epsilon > 0").assign(status="finished")
    radii = runs["accuracy"] / 10 + 0.001 * runs["seed"] ** 2
    return chart.smallest(runs.assign(smallest_epsilon=radii), "a", "s")


def drawn(rows: pd.DataFrame) -> Figure:
    """The chart of a summary."""
    tables = rows, differences(), smallest()
    return chart.robustness_chart(*tables, reference="a", about="APGD.")


def test_chart_opens_with_the_smallest_radii() -> None:
    """A row per treatment: its interval and mean, and the difference in numbers; the
    title says which has most and least."""
    figure, table = drawn(chart.accuracy_table(cells())), smallest()
    lines = figure.axes[0].get_lines()
    for place, row in enumerate(table.itertuples()):
        bar, dot = lines[2 * place : 2 * place + 2]
        assert bar.get_xdata() == pytest.approx([row.low, row.high])
        assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (row.mean, place)
    said = content(figure).replace("\n", " ")
    assert chart.smallest_shown(table)["difference"][1] in said
    means = [f"{mean:.3f}" for mean in table["mean"]]
    title = f"Half of the images of a withstand {means[0]}; least: b, {means[1]}"
    assert title in said
    check_texts(figure)


def differences() -> pd.DataFrame:
    """The differences of the cells' treatments to `a`."""
    runs = cells().rename(columns={"accuracy": "robust_accuracy"})
    runs["robust_accuracy"] += 0.001 * runs["seed"] * (runs["treatment"] == "b")
    runs = runs.assign(status="finished", right=None)
    return chart.differences(runs, "a", "s")


def test_differences_are_within_seeds() -> None:
    """`b` minus `a` at each radius, seed by seed; lower accuracy is no improvement."""
    table = differences().set_index("epsilon")
    assert table.loc[0.1, "mean"] == pytest.approx(-0.4 + 0.001)
    assert table.loc[0.1, "n"] == 3 and table.loc[0.1, "p_better"] == 0


def test_smallest_epsilon_is_compared_within_seeds() -> None:
    """Means over seeds with t intervals, and b's distance from a; a run that
    diverged takes its seed from both."""
    values = {"a": [0.1, 0.12, 0.14], "b": [0.2, 0.23, 0.26]}
    runs = pd.DataFrame(
        [
            {
                "treatment": name,
                "seed": seed,
                "status": "finished",
                "smallest_epsilon": v,
            }
            for name, some in values.items()
            for seed, v in enumerate(some)
        ]
    )
    table = chart.smallest(runs, "a", "s").set_index("treatment")
    half = 4.302653 * 0.02 / math.sqrt(3)
    ends = table.loc["a", ["mean", "low", "high"]].tolist()
    assert ends == pytest.approx([0.12, 0.12 - half, 0.12 + half])
    assert table.loc["b", "difference_mean"] == pytest.approx(0.11)
    assert math.isnan(table.loc["a", "difference_mean"])
    shown = chart.smallest_shown(table.reset_index())
    assert shown["smallest epsilon"][0] == "0.1200 (0.0703 to 0.1697)"
    assert shown["difference"][0] == "" and shown["difference"][1].startswith("+0.11")
    runs.loc[5, ["status", "smallest_epsilon"]] = "diverged", math.nan
    table = chart.smallest(runs, "a", "s").set_index("treatment")
    assert table.loc["b", "n"] == 2
    assert table.loc["b", "difference_mean"] == pytest.approx((0.1 + 0.11) / 2)


def hatched(axes: Any) -> list[tuple[float, float]]:
    """The x-extents of the hatched patches."""
    return [
        (p.get_x(), p.get_x() + p.get_width()) for p in axes.patches if p.get_hatch()
    ]


def test_cell_with_an_indicator_up_is_hatched() -> None:
    """That of `b` at 0.1, from the middle between the radii on; none of the others."""
    figure = drawn(chart.accuracy_table(cells()))
    assert len(figure.axes) == 5
    assert [hatched(axes) for axes in figure.axes[1:]] == [
        *([], []),
        [(pytest.approx(0.05), pytest.approx(0.104))],
        [],
    ]
    assert "no gradient (1 cells)" in content(figure).replace("\n", " ")
    check_texts(figure)


def atlas() -> pd.DataFrame:
    """Two attacks on each pair: those on a 1 fail, one of a 2 on a 3 does."""
    pairs = [(s, t, i) for s in range(10) for t in range(10) if s != t for i in (0, 1)]
    table = pd.DataFrame(pairs, columns=["source", "target", "i"])
    lone = (table["source"] == 2) & (table["target"] == 3) & (table["i"] == 0)
    fails = (table["source"] == 1) | lone
    radius = np.where(fails, math.inf, 0.25)
    return table.assign(treatment="a", epsilon=radius, success=~fails)


def test_radius_beside_a_weak_attack_may_be_too_large() -> None:
    """Where the next radius on either side is hatched, also beyond the last one; such a
    dot is open, and the caption says so."""
    rows = chart.accuracy_table(cells())  # b is hatched at 0.1
    for radius, weak in ((0.05, True), (0.3, True), (0.0, True), (-0.1, False)):
        table = pd.DataFrame({"treatment": ["a", "b"], "mean": [radius, radius]})
        assert chart.too_large(rows, table) == [False, weak]
    said = content(drawn(rows)).replace("\n", " ")
    assert "Open dot: a radius beside a hatched cell" in said


def test_atlas_says_where_the_attack_failed() -> None:
    """Success is as measured; a pair that is not reached at any radius is hatched."""
    rows = chart.atlas_table(atlas()).set_index(["source", "target"])
    assert rows.loc[(2, 4), "success"] == 1 and rows.loc[(1, 3), "success"] == 0
    assert rows["unreached"].to_dict() == {
        (s, t): 1 if s == 1 else 0.5 if (s, t) == (2, 3) else 0 for s, t in rows.index
    }
    assert "the attack mostly fails" in chart.atlas_finding(atlas())
    figure = chart.atlas_chart(atlas(), 0.3, about="")
    assert len(figure.axes) == 4
    maps = [axes for axes in figure.axes if axes.images]
    for axes in maps:
        corners = {(p.get_y(), p.get_x()) for p in axes.patches if p.get_hatch()}
        assert (1.5, 2.5) in corners and len(corners) == 10
    check_texts(figure)


def test_picture_shows_an_attack_before_and_after() -> None:
    """Per row: image, signed change on one scale, result, and both logits by class."""
    image, before = torch.full((28, 28), 0.5), torch.arange(10.0)
    rows = []
    for name, size in (("FGSM, untargeted", 0.1), ("PGD, to 3", -0.2)):
        change = torch.full((28, 28), size)
        adversarial = Adversarial(
            images=(image + change)[None, None],
            perturbation=change[None, None],
            logits=before.flip(0)[None, None],
            reached=torch.tensor([[size > 0]]),
            flat=torch.tensor([[False]]),
            trace=torch.zeros(1, 1, 1, 1),
        )
        rows.append(Row(name, image, 9, before, adversarial))
    figure = attack_picture(rows, epsilon=0.2, caption="c")
    pictures = [axes for axes in figure.axes if axes.images]
    bars = [axes for axes in figure.axes if len(axes.patches) == 20]
    assert len(pictures) == 6 and len(bars) == 2
    for i, size in enumerate((0.1, -0.2)):
        shown = [axes.images[0] for axes in pictures[3 * i : 3 * i + 3]]
        values = [float(picture.get_array().mean()) for picture in shown]
        assert values == pytest.approx([0.5, size, 0.5 + size])
        assert shown[1].get_clim() == pytest.approx((-0.2, 0.2))
        assert shown[1].get_cmap().name == "RdBu_r"
        heights = [bar.get_height() for bar in bars[i].patches]
        assert heights == [*range(10), *range(9, -1, -1)]
    said = content(figure)
    for words in ("FGSM, untargeted: goal reached", "PGD, to 3: goal not reached",
                  "label 9, read as 9", "read as 0"):  # fmt: skip
        assert words in said
    assert "1 of 2 attacks on this 9 reaches the goal" in said.replace("\n", " ")
    check_texts(figure)


def test_auto_attack_is_drawn_on_the_axis_of_the_curve() -> None:
    """A marker with its t interval at each radius but 0, in the same units."""
    some = cells()
    rows = chart.accuracy_table(some.assign(auto_attack=some["accuracy"] - 0.1))
    figure = drawn(rows)
    (marks,) = figure.axes[3].containers
    at = marks.lines[0].get_xydata().tolist()
    assert at == [[pytest.approx(0.1), pytest.approx(39)]]
    low, high = marks.lines[2][0].get_segments()[0][:, 1]
    half = 4.302653 * 1 / math.sqrt(3)
    assert (low, high) == (pytest.approx(39 - half), pytest.approx(39 + half))
    shown = effect_tables.readable_columns(
        rows.rename(columns={"mean": "robust_accuracy"})
    )
    assert shown["auto attack, %"].tolist()[-1] == "39.00"
    plain = chart.accuracy_table(some)
    assert not drawn(plain).axes[3].containers and "auto_attack" not in plain


def test_auto_attack_gets_what_is_left_of_each_run_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Per radius and run only images that withstand so far, and a stack of that run."""
    script = runpy.run_path(str(COMMANDS / "robustness.py"))
    images, seen = torch.arange(4.0)[:, None, None].expand(4, 28, 28) / 8, []

    class AutoAttack:  # what pyautoattack's does: it turns the image 0.25
        def __init__(self, model: Any, norm: str, eps: float, seed: int) -> None:
            self.model, self.eps = model, eps
            self.apgd_targeted = self.fab = SimpleNamespace(n_target_classes=9)
            self.attacks_to_run = ["apgd-t"]

        def run_standard_evaluation(self, images: Any, labels: Any) -> Any:
            assert self.model(images).shape == (len(images), 2)
            assert self.fab.n_target_classes == 1 and not self.attacks_to_run
            seen.append((self.eps, images[:, 0, 0, 0].tolist()))
            return torch.where(images == 0.25, 1.0, images), labels

    stub = SimpleNamespace(AutoAttack=AutoAttack)
    monkeypatch.setitem(sys.modules, "pyautoattack", stub)

    def model(images: Any) -> Any:
        first = images[:, 0, 0]
        return torch.stack([0 * first, first - 0.5], -1)[None]

    right = torch.tensor([[[1, 1, 1, 1], [1, 1, 1, 0]], [[0, 1, 1, 1], [1, 0, 1, 0]],
                          [[0, 0, 1, 1], [0, 0, 1, 0]]]).bool()  # fmt: skip
    some = images, torch.zeros(4).long(), torch.arange(4), [0.0, 0.1, 0.2]
    task = script["Task"](*some, None, "linf", 0.2)
    shares = script["strongest"]([model, model], right, task)
    assert shares == [1, 0.75, 0.5, 0.25, 0.25, 0]
    assert seen == [
        (0.1, [0.125, 0.25, 0.375]),
        (0.1, [0, 0.25]),
        (0.2, [0.375]),
    ]


@pytest.mark.parametrize(
    ("script", "line", "said"),
    [
        ("attack", "run=a atack=pgd", "did you mean attack?"),
        ("attack", "image=2", "run=<the first letters"),
        ("attack", "run=a attack=pdg", "did you mean pgd?"),
        ("robustness", "study=s effort=ful", "did you mean full?"),
        ("robustness", "study=s norm=l3", "choices: l2, linf"),
        ("robustness", "study=s seed=3", "key 'seed' is unknown"),
        ("robustness", "study=s allow_partial=yes", "allow_partial=true"),
        ("robustness", "study=s redraw=1", "redraw=true"),
    ],
)
def test_command_line_is_checked(script: str, line: str, said: str) -> None:
    """A word that is none is refused, with the nearest that is."""
    functions = runpy.run_path(str(COMMANDS / f"{script}.py"))
    with pytest.raises(Refusal) as caught:
        functions["checked_arguments"](line.split())
    assert said in str(caught.value)


def test_treatment_that_diverged_has_responses_and_no_cells() -> None:
    """A run that diverged is a row at each radius, and one among the smallest radii."""
    script = runpy.run_path(str(COMMANDS / "robustness.py"))
    task = script["Task"](None, None, None, [0.0, 0.1], None, "linf", 0.2)
    runs = [{"status": "diverged", "seed": seed} for seed in (0, 1)]
    cells, right, atlas, flips = script["measured_arm"]("a", runs, "", task)
    assert cells.empty and atlas.empty
    assert right["epsilon"].tolist() == [0, 0.1] * 2
    assert flips["seed"].tolist() == [0, 1] and set(flips["status"]) == {"diverged"}


def test_trial_leaves_what_is_published_alone() -> None:
    """Whatever is not the default is in the names of the files; spelling is not."""
    script = runpy.run_path(str(COMMANDS / "robustness.py"))
    typed = script["checked_arguments"](["study=s"])
    assert script["changed_defaults"](typed) == []
    radii = "[0.10,0.09,0.08,0.07,0.06,0.05,0.04,0.03,0.02,0]"
    assert script["changed_defaults"]({**typed, "epsilon": radii, "atlas": "1/5"}) == []
    assert script["changed_defaults"](
        script["checked_arguments"](["study=s", "norm=l2"])
    ) == ["l2"]
    other = {**typed, "norm": "l2", "effort": "smoke", "epsilon": "[0,0.4]"}
    assert script["changed_defaults"](other) == ["l2", "smoke", "epsilon", "0", "0.4"]
    other = {**typed, "atlas": "0.1", "allow_partial": "true"}
    assert script["changed_defaults"](other) == ["atlas", "0.1", "partial"]


def test_study_with_nothing_to_compare_is_refused_before_it_is_attacked() -> None:
    """One treatment, as in `modern`, or a reference that diverged in every seed."""
    script = runpy.run_path(str(COMMANDS / "robustness.py"))
    with pytest.raises(Refusal, match="all 24 runs are of one treatment: no effect"):
        study.published_study(PUBLISHED.parent / "modern")
    published = study.published_study(PUBLISHED)
    first = set(published.plan["arms"][0]["runs"])
    records = [
        {**record, "status": "diverged"} if record["run_id"] in first else record
        for record in published.records
    ]
    with pytest.raises(Refusal, match="every run of the reference modern diverged"):
        script["comparable"](dataclasses.replace(published, records=records))


def test_radii_are_checked() -> None:
    """Numbers in the range of the norm, sorted."""
    numbers = runpy.run_path(str(COMMANDS / "robustness.py"))["typed_numbers"]
    assert numbers({"epsilon": "[0.3,0,0.1]", "norm": "linf"}, "epsilon") == [
        0,
        0.1,
        0.3,
    ]
    assert numbers({"epsilon": "[8/255,0]", "norm": "linf"}, "epsilon") == [0, 8 / 255]
    for wrong, message in (
        ("[0,1.5]", "it is 0 to 1"),
        ("[a]", "epsilon=a is no number"),
        ("[8/0]", "epsilon=8/0 is no number"),
        ("[8/25/5]", "epsilon=8/25/5 is no number"),
        ("[300/255]", "it is 0 to 1"),
    ):
        with pytest.raises(Refusal, match=message):
            numbers({"epsilon": wrong, "norm": "linf"}, "epsilon")


# --- The published tables -------------------------------------------------------------


def test_published_tables_agree_with_their_cells(tmp_path: Path) -> None:
    """robustness.csv and robustness.md are the summary of robustness_cells.csv, and its
    differences are those of robustness_effects.csv, but for what needs the images."""

    def as_written(frame: pd.DataFrame) -> pd.DataFrame:
        (tmp_path / "table.csv").write_text(effect_tables.effects_csv(frame), "utf-8")
        return effect_tables.read_effects(tmp_path / "table.csv")

    cells = effect_tables.read_effects(PUBLISHED / "robustness_cells.csv")
    rows = effect_tables.read_effects(PUBLISHED / "robustness.csv")
    pd.testing.assert_frame_equal(as_written(chart.accuracy_table(cells)), rows)
    text = (PUBLISHED / "robustness.md").read_text("utf-8")
    named = rows.rename(columns={"mean": chart.ACCURACY.name})
    assert effect_tables.as_markdown(named, "").strip() in text
    runs = cells.rename(columns={"accuracy": chart.ACCURACY.name})
    runs = runs.assign(status="finished", right=None)
    reference = cells["treatment"].iloc[0]
    found = as_written(chart.differences(runs, reference, "robustness"))
    effects = effect_tables.read_effects(PUBLISHED / "robustness_effects.csv")
    flips = effect_tables.read_effects(PUBLISHED / "robustness_flips_cells.csv")
    found_flips = as_written(chart.smallest(flips, reference, "robustness"))
    published = effect_tables.read_effects(PUBLISHED / "robustness_flips.csv")
    pd.testing.assert_frame_equal(found_flips, published)
    digits = ["low_digits", "high_digits"]
    pd.testing.assert_frame_equal(
        found.drop(columns=digits), effects.drop(columns=digits)
    )


def test_published_chart_is_redrawn_without_an_attack(tmp_path: Path) -> None:
    """From the tables alone; it says what was not tried on edition 1. Without them the
    message says how they are made."""
    script = runpy.run_path(str(COMMANDS / "robustness.py"))
    for path in PUBLISHED.glob("*"):
        if path.is_file() and path.name != "report.html":
            (tmp_path / "robustness").mkdir(exist_ok=True)
            (tmp_path / "robustness" / path.name).write_bytes(path.read_bytes())
    line = ["study=robustness", f"output_dir={tmp_path}", "redraw=true"]
    given = script["checked_arguments"]([*line, "epsilon=[0,0.05,0.1,0.15,0.2,0.3]"])
    chosen = study.open_study("robustness", str(tmp_path))
    with pytest.raises(
        Refusal, match=r"0\.3\.csv is missing: it is written by the same"
    ):
        script["redrawn"](given, chosen)
    paths = script["redrawn"](script["checked_arguments"](line), chosen)
    assert [path.name for path in paths] == [
        "robustness_chart.svg",
        "robustness_chart.png",
    ]


# --- The commands as a person calls them ----------------------------------------------


def called(script: str, *typed: str) -> dict[Path, bytes]:
    """The files whose paths a script prints, and what is in them."""
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / f"{script}.py"), *typed],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SCRIPTS.parent)},
    )
    assert done.returncode == 0, done.stderr
    return {Path(line): Path(line).read_bytes() for line in done.stdout.splitlines()}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a study of digits lies: two seeds of ReLU and of tanh, one pass each."""
    folder = tmp_path_factory.mktemp("outputs")
    plan, runs = small(seeds=2)
    plan["arms"][0]["levels"] = {}  # as a design says of its reference
    records = train.train_missing(
        list(runs.values()), Places(output_dir=str(folder), device="cpu")
    )
    plans.publish_study(folder / "small", plan, dict(zip(runs, records, strict=True)))
    return folder


@pytest.mark.slow
def test_robustness_chart_writes_what_it_promises_and_twice_the_same(
    outputs: Path,
) -> None:
    """Two figures and the tables, of every run at every radius and of both treatments;
    the second call writes the same bytes."""
    typed = ["study=small", "effort=smoke", "epsilon=[0,0.1,0.3]"]
    written = called("robustness_chart", *typed, f"output_dir={outputs}")
    stem, place = "robustness_smoke_epsilon_0_0.1_0.3", outputs / "small"
    names = {f"{stem}{end}.csv" for end in ("", "_cells", "_effects")}
    names |= {f"{stem}_{name}.csv" for name in ("atlas", "flips", "flips_cells")}
    names |= {f"{stem}_{figure}.{kind}" for figure in ("chart", "atlas")
              for kind in ("svg", "png")}  # fmt: skip
    assert set(written) == {place / name for name in (*names, f"{stem}.md")}
    assert {path.name for path in place.glob("robustness*")} == {
        path.name for path in written
    }
    cells = pd.read_csv(place / f"{stem}_cells.csv")
    runs = set(plans.read_plan(place)["runs"])
    assert set(cells.groupby("run_id")["epsilon"].agg(list).map(tuple)) == {
        (0.0, 0.1, 0.3)
    }
    assert set(cells["run_id"]) == runs and len(cells) == 3 * len(runs)
    named = sorted(cells["treatment"].unique())
    assert named == ["LeNet-5 of today as small changes it", "tanh for ReLU"]
    assert cells["accuracy"].between(0, 1).all()
    flips = effect_tables.read_effects(place / f"{stem}_flips.csv").set_index(
        "treatment"
    )
    assert flips["mean"].between(1 / 256, 0.5).all() and (flips["n"] == 2).all()
    assert called("robustness_chart", *typed, f"output_dir={outputs}") == written


@pytest.mark.slow
def test_attack_draws_one_image_and_twice_the_same(outputs: Path) -> None:
    """A figure beside the record of the run that is named by its first letters."""
    (name, *_) = plans.read_plan(outputs / "small")["runs"]
    typed = [f"run={name[:8]}", "image=2", "steps=3", f"output_dir={outputs}"]
    written = called("attack", *typed)
    place = outputs / "runs" / name
    stem = "attack_2_steps_3"
    assert set(written) == {place / f"{stem}.svg", place / f"{stem}.png"}
    assert written[place / f"{stem}.png"].startswith(b"\x89PNG")
    assert called("attack", *typed) == written


def test_treatment_is_attacked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables of one that was attacked are read again, the same in every value and
    type; other images, runs or numbers are attacked anew."""
    small = np.array([0.2, 0.3], np.float32)
    cells = pd.DataFrame({"epsilon": [0, 0.1], "accuracy": [0.5, 1 / 3], "at": small})
    right = pd.DataFrame({"right": [[True, False], [False, False]], "seed": [0, 1]})
    flips, asked = pd.DataFrame({"smallest_epsilon": [0.1, math.inf]}), list[str]()

    def measured(label: str, *about: object) -> tuple[pd.DataFrame, ...]:
        asked.append(label)
        return cells, right, pd.DataFrame(), flips

    monkeypatch.setattr(command, "measured_arm", measured)
    effort = command.EFFORTS["smoke"]
    task = command.Task(
        torch.ones(2, 28, 28), torch.zeros(2), torch.arange(2), [0, 0.1], effort,
        "linf", 0.2,
    )  # fmt: skip
    runs, again = [{"run_id": "a" * 16, "weights": "b"}], []
    for _ in range(2):
        tables = command.attacked_arm("a", runs, "", task, tmp_path, "code")
        made = cells, right, pd.DataFrame(), flips
        for table, expected in zip(tables, made, strict=True):
            pd.testing.assert_frame_equal(table, expected, check_dtype=False)
        again.append([table.to_csv() for table in tables])
    assert asked == ["a"] and again[0] == again[1]
    other = task._replace(norm="l2"), task._replace(images=task.images / 2)
    for name, about in zip("bc", other, strict=True):
        command.attacked_arm(name, runs, "", about, tmp_path, "code")
    command.attacked_arm("a", [{**runs[0], "weights": "c"}], "", task, tmp_path, "code")
    command.attacked_arm("a", runs, "", task, tmp_path, "other code")
    assert asked == ["a", "b", "c", "a", "a"]


def test_trial_leaves_treatments_of_another_alone(tmp_path: Path) -> None:
    """What waits for the others lies in a folder of what was typed."""
    (tmp_path / "s").mkdir()
    typed = command.checked_arguments(["study=s", f"output_dir={tmp_path}"])
    folders = {command.attacked_folder({**typed, "effort": e}) for e in command.EFFORTS}
    assert len(folders) == len(command.EFFORTS)
    assert all(folder.is_dir() for folder in folders)
