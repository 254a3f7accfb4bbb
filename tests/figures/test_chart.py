"""The charts say what the effects say, legibly and always alike."""

import math

import numpy as np
import pandas as pd
import pytest
from figure_texts import check_texts, content, visible_texts
from marks import mostly_slow

from lenet.figures import ablation_chart, canvas
from lenet.figures.level_names import Words, joint
from lenet.report import effect_tables
from lenet.studies import effect, statistics
from lenet.studies.origin import Origin

LONG = "a_very_long_level_name_that_somebody_thought_was_a_good_idea_at_the_time"
VERDICTS = ("better", "worse", "equivalent", "undecided", "not estimable")


def make_effects(arms, blocks=7, seed=0, name="level{}", per_panel=3):
    """A synthetic table of `arms` effects and its differences, every verdict in it."""
    rng = np.random.default_rng(seed)
    rows, dots = [], []
    for i in range(arms):
        d = rng.normal(rng.normal(0, 0.003), 0.001, blocks)
        mean, half = d.mean(), 2 * d.std(ddof=1) / math.sqrt(blocks)
        factor, level = f"factor{i // per_panel}", name.format(i)
        row = dict.fromkeys(effect.COLUMNS, math.nan)
        row |= {"study": "s", "response": "test_error"}
        row |= {"estimand": "alone from paper", "power_80": 0.001}
        row |= {"factor": factor, "level": level, "reference": "old", "n": blocks}
        row |= {"left_out": 0, "missing": 0, "mean": mean, "p": 0.01, "reason": ""}
        row |= {"low": mean - half, "high": mean + half, "verdict": VERDICTS[i % 5]}
        row |= {"low_digits": mean - 2 * half, "high_digits": mean + 2 * half}
        rows.append(row)
        pairs = {"seed": range(blocks), "difference": d}
        dots.append(pd.DataFrame({"factor": factor, "level": level, **pairs}))
    losses = pd.DataFrame(columns=effect.LOSSES)
    return effect.Effects(pd.DataFrame(rows), pd.concat(dots), losses)


def draw(effects, **parts):
    """The ablation chart of `effects`."""
    return ablation_chart.ablation_chart(ablation_chart.Side(*effects[:2]), **parts)


@pytest.mark.parametrize(
    ("arms", "per_panel", "name"),
    mostly_slow(
        [
            (1, 3, "l{}"),
            (30, 3, "{} " + "long words " * 9),
            (3, 3, "{}" + LONG),
            (12, 1, "{}" + LONG),
        ],
        every=2,
        several=True,
    ),
)
def test_texts_do_not_overlap_or_leave_the_canvas(arms, per_panel, name):
    """No two texts overlap and none leaves the canvas, few or many, short or long."""
    effects = make_effects(arms, name=name, per_panel=per_panel)
    effects.table.loc[0, ["left_out", "reason"]] = [2, "3 of 12 seeds missing; " * 3]
    figure = draw(effects, origin=Origin("3 of 84 runs missing", "MNIST " * 30))
    check_texts(figure)
    assert len(visible_texts(figure)) > 3 * arms


def two_sides(arms):
    """Effects from one end, and those of the same changes measured from the other."""
    effects = make_effects(arms, name="level{}" + LONG[:20])
    other = make_effects(arms, seed=1, name="level{}" + LONG[:20])
    names = {"level": other.table["reference"], "reference": other.table["level"]}
    back = other.table.assign(**names, estimand="alone from modern")
    first = ablation_chart.Side(*effects[:2], "added to 1998", "in LeNet-5 of 1998")
    undone = ablation_chart.Side(back, other.differences.iloc[:0], "kept", "of today")
    return first, undone


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize("arms", mostly_slow([3, 30], every=2))
def test_two_sides_share_their_rows_and_do_not_overlap(arms, narrow):
    """Each change is one row of the wide chart, and one of each part of the narrow."""
    first, undone = two_sides(arms)
    sides = first, ablation_chart.reversed_side(undone)
    figure = ablation_chart.ablation_chart(
        *sides, look=canvas.PHONE if narrow else canvas.SCREEN
    )
    check_texts(figure)
    said = content(figure)
    assert "added to 1998" in said and "kept" in said
    labels = [text for text, _ in visible_texts(figure) if text.startswith("factor")]
    assert len(labels) == arms * (1 + narrow)
    wide, shown = figure.get_size_inches()[0], 380 if narrow else 830
    assert min(text.get_fontsize() for text in figure.texts) / 72 * shown / wide >= 11


def test_turned_effects_are_those_of_the_other_way():
    """Signs, ends of intervals, levels and verdicts change places; twice is nothing."""
    table, dots, _ = make_effects(5)
    table.loc[0, "reason"] = "better, but by less than the margin"
    side = ablation_chart.Side(table.assign(p_better=0.25), dots)
    back = ablation_chart.reversed_side(side)
    row, old = back.effects.iloc[0], table.iloc[0]
    assert (row["level"], row["reference"]) == (old["reference"], old["level"])
    assert (row["low"], row["mean"]) == (-old["high"], -old["mean"])
    assert (row["low_digits"], row["p_better"]) == (-old["high_digits"], 0.75)
    assert (row["verdict"], row["p"]) == ("worse", old["p"])
    assert row["reason"] == "worse, but by less than the margin"
    assert (back.differences["difference"] == -dots["difference"]).all()
    assert (back.differences["level"] == "old").all()
    again = ablation_chart.reversed_side(back._replace(differences=dots.iloc[:0]))
    assert again.effects.equals(side.effects)


def test_table_has_the_order_of_the_chart():
    """From the lowest effect, over the sides; levels that are numbers by these."""
    first, undone = two_sides(6)
    sides = first, ablation_chart.reversed_side(undone)
    rows = ablation_chart.ordered_effects(*sides)
    mean = rows.groupby("level")["mean"].mean().sort_values()
    assert rows["level"].tolist() == [*mean.index] * 2
    assert rows["estimand"].unique().tolist() == ["added to 1998", "kept"]
    table, dots, _ = make_effects(6, name="{}")
    numbers = {"0": "100", "1": "20", "2": "9"}
    named = [frame.replace({"level": numbers}) for frame in (table, dots)]
    chart = ablation_chart.ablation_chart(ablation_chart.Side(*named))
    height = {text: box.y0 for text, box in visible_texts(chart)}
    assert height["9"] > height["20"] > height["100"]


@pytest.mark.parametrize("suffix", mostly_slow(["svg", "png", "pdf"], every=3))
def test_files_are_identical_when_drawn_twice(suffix):
    """Two drawings of the same records, rows shuffled, give the same bytes."""
    table, dots, _ = make_effects(5)
    shuffled = table[::-1], dots.sample(frac=1, random_state=1)
    files = [
        canvas.rendered(draw(effects), suffix)
        for effects in ((table, dots), (table, dots), shuffled)
    ]
    assert files[0] == files[1] == files[2] and len(files[0]) > 1_000


def test_every_arm_is_a_row_sorted_within_its_panel():
    """Each level is there once, below its panel's heading, in order of effect."""
    table, dots, _ = make_effects(12)
    texts = visible_texts(draw((table, dots)))
    height = {text: box.y0 for text, box in texts}
    for factor, arms in table.groupby("factor"):
        levels = arms.sort_values("mean").level.tolist()
        rows = [f"{factor} (reference: old)", *levels]
        assert [height[row] for row in rows] == sorted(
            (height[row] for row in rows), reverse=True
        )
    assert all(sum(text == level for text, _ in texts) == 1 for level in table.level)


def test_factor_of_several_references_has_one_panel():
    """Its heading tells none of them; nor one that is only numbers."""
    table, dots, _ = make_effects(3, per_panel=3)
    for references in (["none", "4.0", "rbf"], ["4.0+0.02"] * 3):
        figure = draw((table.assign(reference=references), dots))
        texts = [text for text, _ in visible_texts(figure)]
        assert texts.count("factor0") == 1 and "reference:" not in content(figure)
        assert all(level in texts for level in table.level)


def test_verdict_has_its_colour_and_its_marker():
    """Verdicts differ in colour and in marker, in the rows and in the legend."""
    assert len({style[0] for style in canvas.VERDICTS.values()}) == 5
    assert len({style[1] for style in canvas.VERDICTS.values()}) == 5
    figure = draw(make_effects(5))
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    for verdict in VERDICTS:
        color, marker, _ = canvas.VERDICTS[verdict]
        at = [x for x in lines if (x.get_color(), x.get_marker()) == (color, marker)]
        assert any(line.get_markersize() > 4 for line in at), verdict
        assert verdict in content(figure)


def test_seed_dots_and_intervals_are_where_the_tables_say():
    """Dots lie at the differences, thick and thin lines at their limits, in points."""
    table, dots, _ = make_effects(1)
    axes = draw((table, dots)).axes[0]
    row = table.iloc[0]
    lines = [line for line in axes.get_lines() if line.get_linewidth() == 4.0]
    assert lines[0].get_xdata() == pytest.approx([100 * row.low, 100 * row.high])
    thin = [line for line in axes.get_lines() if line.get_linewidth() == 1.1]
    expected = [100 * row.low_digits, 100 * row.high_digits]
    assert thin[0].get_xdata() == pytest.approx(expected)
    seeds = [line for line in axes.get_lines() if line.get_markersize() == 2.8]
    assert sorted(seeds[0].get_xdata()) == pytest.approx(
        sorted(100 * dots.difference), abs=1e-12
    )


def test_chart_says_reference_years_family_data_and_code():
    """The reference, the years and the caption's facts are on the canvas."""
    effects = make_effects(4)
    figure = draw(
        effects,
        words=Words(
            {"factor0": {"level1": "max pooling", "old": "subsampling"}},
            {"factor0": {"level1": 2010, "old": 1998}},
        ),
        origin=Origin("37 of 240 runs missing", "MNIST 0123abcd", "commit 0123abc"),
    )
    said = content(figure)
    for part in (
        "max pooling (2010)",
        "factor0 (reference: subsampling, 1998)",
        "test error, percentage points: left is better",
        "37 of 240 runs missing",
        "n = 7 blocks",
        "inverts the exact sign-flip test",
        "new digits",
        "step-down max-T with joint sign flips over the family of 4 (alone from paper)",
        "\N{PLUS-MINUS SIGN}0.05 points",
        "Data: MNIST 0123abcd.",
        "Code: commit 0123abc.",
    ):
        assert part in said, part


def test_title_says_the_finding():
    """The title names what helps most, or that nothing could be shown."""

    def found(effects):
        return ablation_chart.finding(ablation_chart.Side(effects, effects))

    table, *_ = make_effects(5)
    best = table[table.verdict == "better"].iloc[0]
    title = found(table)
    assert title.startswith(f"What helps most is {best.factor}: {best.level} for old (")
    counts = "1 better, 1 worse, 1 equivalent, 1 undecided, 1 not estimable"
    assert title.endswith(f"of 5 changes alone from paper, {counts}")
    main = "main effect (mean over the 32 combinations of the others)"
    averaged = found(table.assign(estimand=main))
    assert f"of 5 main effects ({main.partition('(')[2]}, 1 better" in averaged
    worse = table.replace("better", "undecided")
    assert "What hurts most is" in found(worse)
    nothing = table.assign(verdict="undecided")
    assert found(nothing).startswith("No proof that any of 5 changes alone")
    assert found(nothing[:1]).startswith("No proof that the one change alone from ")
    few = nothing.assign(reason="no verdict possible at n = 5", n=5)
    arm = few.loc[few["mean"].idxmin()]
    said = f"lowest is {arm.factor}: {arm.level} for old "
    said += f"({ablation_chart.points(arm['mean'])} points)"
    start = "No verdict possible at n = 5: it takes 6 seeds; "
    start += "of 5 changes alone from paper"
    assert found(few) == f"{start} the {said}"
    last = few.index[-1]
    few.loc[last, ["verdict", "reason"]] = ["not estimable", "no variance: all are 0"]
    assert found(few).startswith(start)


def test_seeds_left_out_are_said_beside_the_verdict():
    """The reason of a row is written out, and the caption says what became of them."""
    table, dots, _ = make_effects(6)
    reason = "1 of 8 seeds left out; 1 of 8 runs collapse with level2, 0 of 8 with old"
    table.loc[2, ["left_out", "reason"]] = [1, f"{reason} (p = 1)"]
    said = content(draw((table, dots)))
    assert f"{reason} (p = 1)" in " ".join(said.split())
    assert "is an outcome of its own; its seed is left out" in said
    assert "outcome of its own" not in content(draw(make_effects(6)))


def test_too_few_blocks_draw_dots_and_no_interval():
    """At n = 5 the seeds are shown, no thick interval, and why there is no verdict."""
    levels = (("max", 0.011, 1e-4), ("subsample", 0.010, 0))
    runs = pd.DataFrame(
        {"pooling": level, "seed": s, "status": "finished", "test_error": e + s * step}
        for s in range(5)
        for level, e, step in levels
    )
    figure = draw(effect.arms(runs, {"pooling": "subsample"}, base="paper"))
    assert "no verdict possible at n = 5" in content(figure)
    assert "no 95 % interval" in content(figure)
    lines = figure.axes[0].get_lines()
    assert not [line for line in lines if line.get_linewidth() == 4.0]
    assert any(len(line.get_xdata()) == 5 for line in lines)


def test_names_are_never_markup():
    """A name with dollar signs or tags is printed as it is."""
    figure = draw(make_effects(2, name="$x^2$<b>{}"))
    assert "$x^2$<b>" in content(figure)
    assert not any(text.get_parse_math() for text in figure.texts)


def test_effect_likely_overstated_has_a_dagger():
    """Beside its verdict, and the caption says what it means; not so of others."""
    table, dots, _ = make_effects(2)
    assert "\N{DAGGER}" not in content(draw((table, dots)))
    table.loc[0, "reason"] = "likely overstated: below 80 % power"
    said = content(draw((table, dots)))
    assert "better\N{DAGGER}" in said and "likely overstated" in said


def test_changes_are_named_by_what_they_are():
    """By labels where levels have them; what does nothing is not named."""
    labels = {"init": {"a": "Xavier's start", "b": "LeCun's start", "none": "no start"}}
    words = Words(labels, {"init": {"a": 2010}})

    def named(factor, level, reference):
        arm = pd.Series({"factor": factor, "level": level, "reference": reference})
        return words.change(arm)

    assert named("init", "a", "b") == "Xavier's start for LeCun's"
    assert named("init", "a", "none") == "Xavier's start"
    assert named("init", "none", "a") == "no start"
    assert named("depth", "3", "2") == "depth: 3 for 2"
    assert named("p+q", "x+y", "u+v") == "x + y"
    assert words.dated("it", "init", "a") == "it (2010)"
    assert words.dated("it", "init", "b") == "it"


def test_arm_that_changes_nothing_has_no_words():
    """No levels have no phrase: the first arm of a study may be its reference."""
    assert joint([]) == ""


def test_joint_changes_have_a_panel_of_their_own():
    """Arms that differ in several factors stand together, by levels or by name."""
    effects = make_effects(4, per_panel=2)
    table, dots, _ = effects
    for frame in (table, dots):
        frame["factor"] = frame["factor"].mask(frame["level"] == "level2", "today")
        frame["factor"] = frame["factor"].mask(frame["level"] == "level3", "a+b")
        frame["level"] = frame["level"].replace({"level2": "relu+max", "level3": "p+q"})
    said = content(draw((table, dots)))
    assert "several factors at once" in said and "p + q" in said and "today" in said


def test_estimands_are_not_mixed():
    """A table of two estimands is refused."""
    table, dots, _ = make_effects(2)
    table.loc[1, "estimand"] = "alone from modern"
    with pytest.raises(ValueError, match="one estimand"):
        draw((table, dots))


@pytest.mark.parametrize("name", ["{}", "none", "NA"])
def test_tables_read_from_csv_give_the_same_chart(tmp_path, name):
    """Numbers and `none` as levels and empty reasons come back from a file unharmed."""
    rows, dots, _ = make_effects(3, name=name, per_panel=1)
    for file, frame in (("effects", rows), ("differences", dots)):
        (tmp_path / file).write_text(effect_tables.effects_csv(frame))
    read = [
        effect_tables.read_effects(tmp_path / file)
        for file in ("effects", "differences")
    ]
    assert str(visible_texts(draw(read))) == str(visible_texts(draw((rows, dots))))
    dots_drawn = [
        line for line in draw(read).axes[0].get_lines() if line.get_ms() == 2.8
    ]
    assert sum(len(line.get_xdata()) for line in dots_drawn) == 21


def test_band_ends_where_the_power_is_80_percent():
    """It reaches as far as the table says; it is absent where no blocks would do."""
    rows, dots, _ = make_effects(3, blocks=12)
    reach = statistics.smallest_effect(12, 0.001, 3)
    assert statistics.seeds_for_power(reach * 1.001, 0.001, 3) == 12
    figure = draw((rows.assign(power_80=reach), dots))
    bands, label = figure.axes[0].collections, "below 80 % power with 12 seeds"
    assert len(bands) == 3 and label in content(figure)
    ends = bands[0].get_paths()[0].vertices[:, 0]
    assert (ends.min(), ends.max()) == pytest.approx((-100 * reach, 100 * reach))
    assert label not in content(draw((rows.assign(power_80=math.inf), dots)))


def test_three_sides_stand_beside_each_other():
    """Main effects and simple effects at both ends share their rows and their arrows,
    each under its estimand."""
    rng = np.random.default_rng(3)
    levels = {"head": ("rbf", "softmax"), "units": ("tanh", "relu")}
    runs = pd.DataFrame(
        {"head": head, "units": units, "seed": seed, "status": "finished"}
        | {"test_error": 0.01 + 0.002 * (head == "rbf") + rng.normal(0, 0.0005)}
        for seed in range(9)
        for head in levels["head"]
        for units in levels["units"]
    )
    effects = effect.factorial(runs, levels, ends=("paper", "modern"))
    names = effects.table["estimand"].unique()
    sides = [
        ablation_chart.Side(*(t[t["estimand"] == name] for t in effects[:2]))
        for name in names
        if name.startswith((effect.MAIN, effect.SIMPLE))
    ]
    figure = ablation_chart.ablation_chart(*sides)
    check_texts(figure)
    said = " ".join(content(figure).split())
    for name in ("(others as in paper)", "(others as in modern)", "main effect (mean"):
        assert name in said
    labels = [text for text, _ in visible_texts(figure) if text.startswith("head: ")]
    assert labels == ["head: softmax for rbf"]
