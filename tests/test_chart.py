"""The charts say what the effects say, legibly and always alike."""

import math

import numpy as np
import pandas as pd
import pytest
from figures import check_texts, content, visible_texts

from lenet import canvas, chart, effect, table
from lenet.canvas import Origin

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
        row |= {"study": "s", "response": "test_error", "estimand": "arm"}
        row |= {"factor": factor, "level": level, "reference": "old", "n": blocks}
        row |= {"diverged": 0, "missing": 0, "mean": mean, "p": 0.01, "reason": ""}
        row |= {"low": mean - half, "high": mean + half, "verdict": VERDICTS[i % 5]}
        row |= {"low_digits": mean - 2 * half, "high_digits": mean + 2 * half}
        rows.append(row)
        pairs = {"seed": range(blocks), "difference": d, "diverged": False}
        dots.append(pd.DataFrame({"factor": factor, "level": level, **pairs}))
    return effect.Effects(pd.DataFrame(rows), pd.concat(dots))


def draw(effects, converged=None, **parts):
    """The ablation chart of `effects` against a reference named paper."""
    return chart.ablation_chart(chart.Side(*effects, "paper", converged), **parts)


@pytest.mark.parametrize(
    ("arms", "per_panel", "name"),
    [
        (1, 3, "l{}"),
        (3, 3, "{}" + LONG),
        (30, 3, "{} " + "long words " * 9),
        (12, 1, "{}" + LONG),
    ],
)
def test_texts_do_not_overlap_or_leave_the_page(arms, per_panel, name):
    """No two texts overlap and none leaves the page, for few or many, short or long."""
    effects = make_effects(arms, name=name, per_panel=per_panel)
    effects.table.loc[0, ["diverged", "reason"]] = [2, "3 of 12 blocks missing; " * 3]
    figure = draw(effects, origin=Origin("3 of 84 runs missing", "MNIST " * 30))
    check_texts(figure)
    assert len(visible_texts(figure)) > 3 * arms


@pytest.mark.parametrize("arms", [3, 30])
def test_two_sides_share_their_rows_and_do_not_overlap(arms):
    """Side by side, each pair of levels is one row, and no text covers another."""
    one = make_effects(arms, name="level{}" + LONG[:20])
    other = make_effects(arms, seed=1, name="level{}" + LONG[:20])
    names = {"level": other.table["reference"], "reference": other.table["level"]}
    back = other.table.assign(**names)
    dots = other.differences.assign(level="old")
    figure = chart.ablation_chart(
        chart.Side(*one, "paper"), chart.Side(back, dots[:0], "modern")
    )
    check_texts(figure)
    said = content(figure)
    assert "from paper, along the arrows" in said
    assert "from modern, against the arrows" in said
    labels = [text for text, _ in visible_texts(figure) if text.startswith("factor")]
    assert len(labels) == arms


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_files_are_identical_when_drawn_twice(suffix):
    """Two drawings of the same records, rows shuffled, give the same bytes."""
    table, dots = make_effects(5)
    shuffled = effect.Effects(table[::-1], dots.sample(frac=1, random_state=1))
    files = [
        canvas.rendered(draw(effects), suffix)
        for effects in ((table, dots), (table, dots), shuffled)
    ]
    assert files[0] == files[1] == files[2] and len(files[0]) > 1_000


def test_every_arm_is_a_row_sorted_within_its_panel():
    """Each level is there once, below its panel's heading, in order of effect."""
    table, dots = make_effects(12)
    texts = visible_texts(draw((table, dots)))
    height = {text: box.y0 for text, box in texts}
    for factor, arms in table.groupby("factor"):
        levels = arms.sort_values("mean").level.tolist()
        rows = [f"{factor} (reference: old)", *levels]
        assert [height[row] for row in rows] == sorted(
            (height[row] for row in rows), reverse=True
        )
    assert all(sum(text == level for text, _ in texts) == 1 for level in table.level)


def test_verdict_has_its_colour_and_its_marker():
    """Verdicts differ in colour and in marker, in the rows and in the legend."""
    assert len({style[0] for style in canvas.VERDICTS.values()}) == 5
    assert len({style[1] for style in canvas.VERDICTS.values()}) == 5
    figure = draw(make_effects(5))
    lines = [line for axes in figure.axes for line in axes.get_lines()]
    for verdict in VERDICTS:
        color, marker, _ = canvas.VERDICTS[verdict]
        at = [x for x in lines if (x.get_color(), x.get_marker()) == (color, marker)]
        assert any(line.get_markersize() > 7 for line in at), verdict
        assert verdict in content(figure)


def test_seed_dots_and_intervals_are_where_the_tables_say():
    """Dots lie at the differences, thick and thin lines at their limits, in points."""
    table, dots = make_effects(1)
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
    """The reference, the years and the caption's facts are on the page."""
    effects = make_effects(4)
    figure = draw(
        effects,
        years={"factor0": {"level1": 2010, "old": 1998}},
        origin=Origin("37 of 240 runs missing", "MNIST 0123abcd", "commit 0123abc"),
    )
    said = content(figure)
    for part in (
        "level1 (2010)",
        "factor0 (reference: old, 1998)",
        "from paper, percentage points (left is better)",
        "37 of 240 runs missing",
        "n = 7 blocks",
        "inverts the exact sign-flip test",
        "new digits",
        "Holm over the family of 4 arms",
        "\N{PLUS-MINUS SIGN}0.05 points",
        "Data: MNIST 0123abcd.",
        "Code: commit 0123abc.",
    ):
        assert part in said, part


def test_title_says_the_finding():
    """The title names what helps most, or that nothing could be shown."""

    def found(effects):
        return chart.finding(chart.Side(effects, effects, "paper"))

    table, _ = make_effects(5)
    best = table[table.verdict == "better"].iloc[0]
    title = found(table)
    assert title.startswith(f"{best.factor}: {best.level} helps most (")
    counts = "of 5 changes, 1 better than paper, 1 worse, 1 equivalent, 1 undecided"
    assert counts in title
    worse = table.replace("better", "undecided")
    assert "hurts most" in found(worse)
    fewer = chart.Side(table, table, "paper", table.assign(n=2, mean=-0.0012))
    assert "points, \N{MINUS SIGN}0.12 where all converged)" in chart.finding(fewer)
    nothing = table.assign(verdict="undecided")
    assert found(nothing).startswith("No proof that any of 5 changes")
    few = nothing.assign(reason="no verdict possible at n = 5", n=5)
    arm = few.loc[few["mean"].idxmin()]
    said = f"lowest is {arm.factor}: {arm.level} ({chart.points(arm['mean'])} points)"
    start = "No verdict possible at n = 5: of 5 changes to paper"
    assert found(few) == f"{start} the {said}"
    last = few.index[-1]
    few.loc[last, ["verdict", "reason"]] = ["not estimable", "no variance: all are 0"]
    assert found(few).startswith(start)


def test_diverged_runs_are_counted_and_do_not_stretch_the_axis():
    """The count and the effect of converged blocks are said; the axis stays useful."""
    table, dots = make_effects(6)
    beside = table.assign(n=6)
    reach = draw((table, dots)).axes[0].get_xlim()
    dots = dots.reset_index(drop=True)
    at = table.index[table["mean"] == table["mean"].median()].tolist() or [2]
    row = table.loc[at[0]]
    first = (dots.factor == row.factor) & (dots.level == row.level) & (dots.seed == 0)
    dots.loc[first, ["difference", "diverged"]] = [0.89, True]
    table.loc[at[0], ["diverged", "mean", "high", "high_digits"]] = [1, 0.127, 0.4, 0.5]
    figure = draw((table, dots), converged=beside)
    by = f"{canvas.points(row['mean'])} {canvas.interval(row.low, row.high)}"
    said = f"1 of 7 diverged; 6 of 7 blocks converged: {by}"
    assert said in " ".join(content(figure).split())
    assert "+12.70" in content(figure) and "error of 90 %" in content(figure)
    low, high = figure.axes[0].get_xlim()
    assert high - low <= 1.5 * (reach[1] - reach[0])


def test_too_few_blocks_draw_dots_and_no_interval():
    """At n = 5 the seeds are shown, no thick interval, and why there is no verdict."""
    levels = (("max", 0.011, 1e-4), ("subsample", 0.010, 0))
    runs = pd.DataFrame(
        {"pooling": level, "seed": s, "status": "finished", "test_error": e + s * step}
        for s in range(5)
        for level, e, step in levels
    )
    figure = draw(effect.arms(runs, {"pooling": "subsample"}))
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


def test_joint_changes_have_a_panel_of_their_own():
    """Arms that differ in several factors stand together, by levels or by name."""
    effects = make_effects(4, per_panel=2)
    table, dots = effects.table, effects.differences
    for frame in effects:
        frame["factor"] = frame["factor"].mask(frame["level"] == "level2", "today")
        frame["factor"] = frame["factor"].mask(frame["level"] == "level3", "a+b")
        frame["level"] = frame["level"].replace({"level2": "relu+max", "level3": "p+q"})
    said = content(draw((table, dots)))
    assert "several factors at once" in said and "p + q" in said and "today" in said


def test_estimands_are_not_mixed():
    """A table of two estimands is refused."""
    table, dots = make_effects(2)
    table.loc[1, "estimand"] = "main"
    with pytest.raises(ValueError, match="one estimand"):
        draw((table, dots))


@pytest.mark.parametrize("name", ["{}", "none", "NA"])
def test_tables_read_from_csv_give_the_same_chart(tmp_path, name):
    """Numbers and `none` as levels and empty reasons come back from a file unharmed."""
    rows, dots = make_effects(3, name=name, per_panel=1)
    for file, frame in (("effects", rows), ("differences", dots)):
        (tmp_path / file).write_text(table.as_csv(frame))
    read = [table.read(tmp_path / file) for file in ("effects", "differences")]
    assert str(visible_texts(draw(read))) == str(visible_texts(draw((rows, dots))))
    dots_drawn = [
        line for line in draw(read).axes[0].get_lines() if line.get_ms() == 2.8
    ]
    assert sum(len(line.get_xdata()) for line in dots_drawn) == 21


def test_band_is_the_smallest_effect_that_the_blocks_can_see():
    """The band reaches as far as `smallest_effect` says, and is absent at small n."""
    rows, dots = make_effects(3, blocks=12)
    rows["sd"] = 0.001
    reach = effect.smallest_effect(12, 0.001, 3)
    assert effect.seeds_for_power(reach * 1.001, 0.001, 3) == 12
    figure = draw((rows, dots))
    bands = figure.axes[0].collections
    assert len(bands) == 3 and "too small to see" in content(figure)
    ends = bands[0].get_paths()[0].vertices[:, 0]
    assert (ends.min(), ends.max()) == pytest.approx((-100 * reach, 100 * reach))
    assert "too small" not in content(draw((rows.assign(n=5), dots)))
