"""Ladders, interactions, curves and costs say what their tables say, legibly."""

import ast
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from figure_texts import check_texts, content
from marks import mostly_slow
from small_figures import SMALL
from test_chart import make_effects

from lenet.figures import (
    ablation_chart,
    canvas,
    collapse,
    cost,
    interaction,
    ladder,
    learning_curves,
)
from lenet.report import effect_tables, missed_digits
from lenet.rounding import decimals
from lenet.studies import effect, statistics
from lenet.studies.origin import Origin

ORIGIN = Origin("2 of 84 runs missing", "MNIST 0123abcd", "commit 0123abc")
ORDER = "One change at a time, in the order of the design."
LONG = "a_very_long_level_name_that_somebody_thought_was_a_good_idea"


def make_steps(steps, name="level{}"):
    """A ladder of `steps` with its ends and its seconds."""
    effects = make_effects(steps, name=name, per_panel=1)
    rows, dots = (table.assign(estimand=effect.LADDER) for table in effects[:2])
    ends = ladder.Ends("paper", "today", 0.0095, 0.0095 + rows["mean"].sum())
    return rows, dots, ends, [100.0, *np.linspace(90, 5, steps)]


def make_factorial(factors):
    """Main effects and interactions of as many factors."""
    levels = {f"factor{i}": ("old", "new") for i in range(factors)}
    names = list(levels)
    rng = np.random.default_rng(0)
    rows = [
        {
            **{f: pair[(cell >> i) & 1] for i, (f, pair) in enumerate(levels.items())},
            "seed": seed,
            "status": "finished",
            "test_error": 0.03 - 0.01 * (cell & 1) + 0.004 * (cell & 3 == 3) + noise,
        }
        for seed in range(12)
        for cell, noise in enumerate(rng.normal(0, 0.0004, 2 ** len(names)))
    ]
    return effect.factorial(pd.DataFrame(rows), levels).table


def make_costs(treatments, name="level{}"):
    """A table of costs where many treatments share parameters and nearly errors."""
    rng = np.random.default_rng(1)
    mean = rng.normal(0.01, 0.001, treatments)
    mean[-1] = 0.9
    return pd.DataFrame(
        {
            "treatment": [name.format(i) for i in range(treatments)],
            "n": 12,
            "lost": 0,
            "seconds": rng.choice([5.0, 6.0, 80.0], treatments),
            "parameters": rng.choice([60_000, 61_706], treatments),
            "mean": mean,
            "low": mean - 0.001,
            "high": mean + 0.001,
        }
    )


def make_curves(treatments, name="level{}", epochs=20):
    """A table of curves."""
    rows = [
        {
            "treatment": name.format(i),
            "epoch": e,
            "n": 12,
            "mean": 0.01 + 0.1 / e,
            "low": 0.009 + 0.1 / e,
            "high": 0.02 + 0.1 / e,
            "train_error": 0.2 / e,
        }
        for i in range(treatments)
        for e in range(1, epochs + 1)
    ]
    return pd.DataFrame(rows)


def draw_ablation_chart(origin):
    """Of three arms."""
    side = ablation_chart.Side(*make_effects(3)[:2])
    return ablation_chart.ablation_chart(side, origin=origin)


def draw_lost_shares(origin):
    """Of two factors."""
    _, losses = make_losses()
    return collapse.lost_shares(losses, title="Some collapse", origin=origin)


def draw_ladder(origin):
    """Of three steps, with their seconds."""
    rows, dots, ends, seconds = make_steps(3)
    return ladder.waterfall(
        rows, dots, ends, order=ORDER, seconds=seconds, origin=origin
    )


CASES = {  # a small case of each function that draws a figure
    **SMALL,
    "ablation_chart.ablation_chart": draw_ablation_chart,
    "collapse.lost_shares": draw_lost_shares,
    "cost.error_against_cost": lambda origin: cost.error_against_cost(
        make_costs(3), reference="level0", origin=origin
    ),
    "interaction.heat_map": lambda origin: interaction.heat_map(
        make_factorial(2), reference="paper", origin=origin
    ),
    "ladder.waterfall": draw_ladder,
    "learning_curves.learning_curves": lambda origin: learning_curves.learning_curves(
        make_curves(3, epochs=3), {"level0": 2}, reference="level0", origin=origin
    ),
}


def figure_functions():
    """The public functions of lenet/figures that return a Figure, as module.name."""
    for path in sorted(Path(canvas.__file__).parent.glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
                if node.returns and ast.unparse(node.returns) == "Figure":
                    yield f"{path.stem}.{node.name}"


def check_figure(figure):
    """Its texts keep apart, and it says of which runs it is."""
    check_texts(figure)
    said = content(figure)
    for part in (ORIGIN.missing, "Data: MNIST 0123abcd.", "Code: commit 0123abc."):
        assert part in said.replace("\n", " ")


@pytest.mark.parametrize("name", [*figure_functions()])
def test_every_figure_keeps_its_texts_apart_and_says_its_origin(name):
    """Whatever function of lenet/figures returns a Figure: it needs a case in CASES."""
    check_figure(CASES[name](ORIGIN))


def test_no_case_is_of_a_figure_that_is_gone():
    """And the functions are found: those of every module that draws."""
    assert set(CASES) == {*figure_functions()}


@pytest.mark.parametrize(
    ("arms", "name"),
    mostly_slow([(3, "l{}"), (30, "{} " + LONG)], every=2, several=True),
)
def test_texts_do_not_overlap_or_leave_the_canvas_of_many_arms(arms, name):
    """Of ladders, curves and costs, for 3 and 30 arms, with short names or long."""
    rows, dots, ends, seconds = make_steps(arms, name)
    first = name.format(0)
    for figure in (
        ladder.waterfall(rows, dots, ends, order=ORDER, seconds=seconds, origin=ORIGIN),
        learning_curves.learning_curves(
            make_curves(arms, name, 3), {first: 2}, reference=first, origin=ORIGIN
        ),
        cost.error_against_cost(make_costs(arms, name), reference=first, origin=ORIGIN),
    ):
        check_figure(figure)


@pytest.mark.parametrize("factors", mostly_slow([2, 6], every=2))
def test_heat_map_has_every_pair_once_and_marks_the_proven(factors):
    """Each pair is a cell, each factor a diagonal one, and only what is proven bold."""
    effects = make_factorial(factors)
    figure = interaction.heat_map(effects, reference="paper", origin=ORIGIN)
    check_texts(figure)
    assert len(figure.artists) == factors * (factors + 1) // 2
    kinds = effect.MAIN, effect.PAIR
    shown = effects[effects["estimand"].str.startswith(kinds)]
    proven = shown["verdict"].isin(["better", "worse"])
    marked = [t for t in figure.texts if " *" in t.get_text()[:9]]
    assert len(marked) == proven.sum()
    weak = proven & (shown["mean"].abs() < shown["power_80"])
    assert sum(t.get_text().endswith("\N{DAGGER}") for t in marked) == weak.sum()
    filled = [cell.get_facecolor()[:3] for cell in figure.artists]
    pairs = effect.effects_of_kind(effects, effect.PAIR)
    colored = pairs["verdict"].isin(["better", "worse"]).sum()
    assert sum(len(set(color)) > 1 for color in filled) == colored
    finding = interaction.finding(pairs, "paper")
    assert "factor0 and factor1: worse together than" in finding
    assert finding in content(figure)
    row = pairs[pairs["factor"] == "factor0:factor1"].iloc[0]
    assert canvas.interval(row["low"], row["high"]) in content(figure)
    effects = effects.assign(low_digits=-0.00123, high_digits=0.00456)
    wider = canvas.interval(-0.00123, 0.00456)[1:-1]
    assert f"({wider})" not in content(figure)  # no bits, so nothing on new digits
    assert f"({wider})" in content(interaction.heat_map(effects, reference="paper"))


def test_ladder_begins_and_ends_at_its_ends():
    """Bars follow each other from the old error to the new one, cost beside them."""
    rows, dots, ends, seconds = make_steps(6)
    figure = ladder.waterfall(rows, dots, ends, order=ORDER, seconds=seconds)
    bars = figure.axes[0].patches
    assert bars[0].get_x() == pytest.approx(100 * ends.start)
    tips = [bar.get_x() + bar.get_width() for bar in bars]
    starts = [bar.get_x() for bar in bars]
    assert starts[1:] == pytest.approx(tips[:-1])
    assert tips[-1] == pytest.approx(100 * ends.end)
    thin = [x.get_xdata() for x in figure.axes[0].get_lines() if x.get_marker() == "|"]
    steps = zip(bars, rows.itertuples(), thin, strict=True)
    for bar, step, reach in steps:
        assert bar.get_width() == pytest.approx(100 * step.mean)
        limits = step.low_digits, step.high_digits
        assert list(reach - bar.get_x()) == pytest.approx([100 * x for x in limits])
    cost_line = figure.axes[1].get_lines()[0]
    assert list(cost_line.get_xdata()) == [*seconds, seconds[-1]]
    said = content(figure)
    assert f"from {decimals(100 * ends.start)} % to" in said and ORDER in said


def test_ladder_shows_the_treatments_that_it_passes():
    """With the error and the seconds that the steps before them lead to."""
    rows, dots, ends, seconds = make_steps(4)
    ends = ends._replace(passed={3: "half way"})
    figure = ladder.waterfall(rows, dots, ends, order=ORDER, seconds=seconds)
    check_texts(figure)
    said = content(figure)
    reached = ends.start + rows["mean"].iloc[:3].sum()
    assert "half way" in said and f"{decimals(100 * reached)} %" in said
    squares = [x for x in figure.axes[0].get_lines() if x.get_marker() == "s"]
    at = [float(np.ravel(square.get_xdata())[0]) for square in squares]
    assert at == pytest.approx([100 * x for x in (ends.start, reached, ends.end)])
    costs = list(figure.axes[1].get_lines()[0].get_xdata())
    assert costs == [*seconds[:4], seconds[3], *seconds[4:], seconds[4]]


def test_seed_beyond_the_axis_of_a_ladder_is_an_arrow_at_its_edge():
    """Each seed is drawn on each step, also one whose network collapsed."""
    rows, dots, ends, _ = make_steps(3)
    dots = dots.reset_index(drop=True)
    dots.loc[0, "difference"] = 0.4
    axes = ladder.waterfall(rows, dots, ends, order=ORDER).axes[0]
    drawn = [line for line in axes.get_lines() if line.get_marker() in ("o", ">", "<")]
    places = [x for line in drawn for x in line.get_xdata()]
    (beyond,) = (
        line for line in drawn if line.get_marker() == ">" and len(line.get_xdata())
    )
    low, high = axes.get_xlim()
    assert list(beyond.get_xdata()) == [high] and len(places) == len(dots)
    assert all(low <= x <= high for x in places)


def test_ladder_is_the_same_in_whatever_order_its_seeds_come():
    """Two drawings, the rows of seeds shuffled for one, give the same bytes."""
    rows, dots, ends, seconds = make_steps(3)
    shuffled = dots.sample(frac=1, random_state=1)
    drawing, other = (
        canvas.rendered(
            ladder.waterfall(rows, some, ends, order=ORDER, seconds=seconds), "svg"
        )
        for some in (dots, shuffled)
    )
    assert drawing == other and len(drawing) > 1_000


def test_curve_of_one_epoch_has_marks_and_whole_epochs_have_ticks():
    """A line through one point shows nothing: dots do, in the legend too."""
    figure = learning_curves.learning_curves(
        make_curves(2, epochs=1), {}, reference="x"
    )
    mean = figure.axes[0].get_lines()[-1]
    assert mean.get_marker() == "o" and len(mean.get_xdata()) == 1
    handles = figure.legends[0].get_lines()
    assert [line.get_marker() for line in handles] == ["o", "x", "o"]
    assert figure.axes[0].get_xticks().tolist() == [1]
    figure = learning_curves.learning_curves(make_curves(2), {}, reference="level0")
    assert figure.axes[0].get_lines()[-1].get_marker() == "None"
    assert figure.axes[0].get_xticks().tolist() == [1, 5, 10, 15, 20]


def test_costs_of_nothing_have_no_negative_axis():
    """Seconds that are all nil stand at the left edge, not in the middle of -1 to 1."""
    costs = make_costs(3).assign(seconds=0.0)
    axes = cost.error_against_cost(costs, reference="level0").axes[0]
    low, high = axes.get_xlim()
    assert -0.01 < low < 0 < high < 1


def test_ladder_that_proves_nothing_says_so():
    """The title does not boast of a step that is undecided."""
    rows, dots, ends, _ = make_steps(3)
    rows = rows.assign(verdict="undecided")
    assert "No step is proven" in content(
        ladder.waterfall(rows, dots, ends, order=ORDER)
    )
    rows = rows.assign(reason="no verdict possible at n = 5", n=5)
    assert "No verdict possible at n = 5" in content(
        ladder.waterfall(rows, dots, ends, order=ORDER)
    )


def make_run(seed, errors, **other):
    """The parts of a record that curves and costs read."""
    curve = [{"epoch": i + 1, "test_error": e} for i, e in enumerate(errors)]
    structure = ("relu", "max", "full", "none", "softmax")
    keys = ("activation", "pooling", "connection", "norm", "head")
    return {
        "seed": seed,
        "curve": curve,
        "response": {"test_error": errors[-1]},
        "status": "finished",
        "seconds": 3.0 + seed,
        "treatment": dict(zip(keys, structure, strict=True)),
        **other,
    }


def test_curves_and_costs_are_summaries_of_the_runs():
    """Means and bands over the seeds that converged, and how many did not."""
    lost = {"status": "diverged", "response": {"test_error": None}}
    good, gone = make_run(0, [0.4, 0.2]), make_run(1, [0.6], **lost)
    runs = {"a": [good, make_run(2, [0.6, 0.4]), gone, make_run(3, [0.5, 0.9])]}
    curves = learning_curves.curve_table(runs)
    assert curves["n"].tolist() == [2, 2]
    assert curves["mean"].tolist() == pytest.approx([0.5, 0.3])
    assert curves["high"].tolist() == pytest.approx([0.6, 0.4])
    costs = cost.cost_table(runs).iloc[0]
    assert (costs["n"], costs["lost"], costs["parameters"]) == (4, 2, 61_706)
    assert costs["mean"] == pytest.approx(0.3) and costs["high"] == 0.4
    assert costs["seconds"] == 4.5
    assert learning_curves.curve_table({"a": [gone]})["mean"].tolist() == [0.6]
    assert cost.cost_table({"a": [gone]})["mean"].tolist() == [cost.GUESS]


def test_band_of_curves_is_that_of_the_table():
    """The band and the lines of a panel lie where the table says."""
    figure = learning_curves.learning_curves(make_curves(2), {}, reference="level0")
    axes = figure.axes[1]
    band = axes.collections[0].get_paths()[0].vertices
    assert band[:, 1].max() == pytest.approx(100 * 0.12)
    mean = axes.get_lines()[-1].get_ydata()
    assert list(mean) == pytest.approx([100 * (0.01 + 0.1 / e) for e in range(1, 21)])


def test_training_errors_far_below_take_no_room():
    """The scale ends at a third of the lowest test error, and the caption says so."""
    curves = make_curves(2)
    remark = "below a third of the lowest test error it is not shown"
    figure = learning_curves.learning_curves(curves, {}, reference="level0")
    assert remark not in written(figure)
    tiny = curves.assign(
        train_error=curves["train_error"].where(curves.epoch < 15, 1e-6)
    )
    figure = learning_curves.learning_curves(tiny, {}, reference="level0")
    bottom = figure.axes[0].get_ylim()[0]
    assert bottom == pytest.approx(0.8 * 100 * curves["low"].min() / 3)
    assert remark in written(figure)


def written(figure):
    """All texts of a figure in one line."""
    return " ".join(" ".join(text.get_text() for text in figure.texts).split())


def test_names_between_the_cost_panels_lie_near_their_points():
    """Names are pushed apart no further than they must be."""
    placed = cost._apart([1.0, 1.0, 5.0], [0.2, 0.2, 0.2], 0.0, 6.0)
    assert placed == pytest.approx([1.0, 1.2, 5.0])
    assert cost._apart([5.9, 5.9], [0.4, 0.4], 0.0, 6.0) == pytest.approx([5.4, 5.8])


def test_points_and_intervals_are_signed_with_a_true_minus():
    """-0.0012 is a change of 0.12 points; what rounds to zero has no sign."""
    assert canvas.points(-0.0012) == "\N{MINUS SIGN}0.12"
    assert canvas.points(0.8867) == "+88.67" and canvas.points(-0.00001) == "0.00"
    assert canvas.points(math.nan) == "no effect"
    assert canvas.interval(-math.inf, math.inf) == ""


def test_ties_are_rounded_away_from_zero_everywhere():
    """Also those that no computer stores exactly; noise of sums makes no other tie."""
    ties = {0.125: "0.13", 0.145: "0.15", -0.145: "-0.15", 0.985: "0.99", 1.005: "1.01"}
    for value, text in ties.items():
        assert decimals(value) == text
        assert decimals(100 * (value / 100)) == text
    assert decimals(sum([0.001] * 145)) == "0.15"  # 0.14500000000000010
    assert decimals(0.1449999) == "0.14" and decimals(12.5, 0) == "13"
    assert decimals(0.004, sign="+") == "0.00" and decimals(-0.004) == "0.00"
    assert decimals(0.5, 1, "+") == "+0.5" and decimals(math.nan) == "nan"
    assert canvas.points(0.00125) == "+0.13"
    assert canvas.points(-0.00125) == "\N{MINUS SIGN}0.13"


def test_no_figure_or_table_rounds_by_another_rule():
    """Format codes such as .2f, which take ties to the even digit, are not used."""
    modules = (
        canvas,
        effect_tables,
        ablation_chart,
        ladder,
        interaction,
        learning_curves,
        cost,
        collapse,
        missed_digits,
    )
    for module in modules:
        source = Path(module.__file__).read_text()
        assert not re.findall(r"(?<!,)\.\d+[f%]\b", source), module.__name__


def make_losses():
    """Losses of a factorial of which six runs of one cell collapse."""
    levels = {"a": ("old", "new"), "b": ("old", "new")}
    runs = pd.DataFrame(
        {"a": a, "b": b, "seed": seed, "test_error": 0.01 + seed / 1e5}
        | {
            "status": "collapsed"
            if (a, b) == ("new", "old") and seed < 6
            else "finished"
        }
        for seed in range(8)
        for a in levels["a"]
        for b in levels["b"]
    )
    losses = effect.factorial(runs, levels, ends=("paper", "modern")).losses
    return runs["status"], effect.effects_of_kind(losses, effect.MAIN)


def test_shares_of_lost_runs_are_drawn_with_their_intervals():
    """A point and an interval for the level and for its reference, and the counts."""
    status, losses = make_losses()
    title = collapse.finding(status)
    assert title == "Of 32 runs 6 collapse"
    figure = collapse.lost_shares(losses, title=title, origin=ORIGIN)
    check_texts(figure)
    said = content(figure)
    low, high = (decimals(100 * x) for x in statistics.share_interval(6, 16))
    assert f"6 of 16 [{low}, {high}] with new" in said
    assert "0 of 16 [0.00," in said and "p = 0.062" in said  # 0.031 twice, by Holm
    reach = [100 * x for x in statistics.share_interval(6, 16)]
    lines = [list(line.get_xdata()) for line in figure.axes[0].get_lines()]
    assert pytest.approx(reach) in lines and pytest.approx([37.5]) in lines
    none = losses.assign(factor=["c", "d"], share=0.0, share_reference=0.0)
    figure = collapse.lost_shares(pd.concat([losses, none]), title=title)
    assert "The other 2 levels" in content(figure) and "c: new" not in content(figure)


def test_finding_counts_each_way_to_be_lost():
    """One run and several, one way and two."""
    statuses = [["finished", "diverged"], ["diverged", "collapsed", "collapsed"]]
    assert [collapse.finding(pd.Series(status)) for status in statuses] == [
        "Of 2 runs 1 diverges",
        "Of 3 runs 2 collapse and 1 diverges",
    ]


def test_seconds_of_other_machines_are_not_compared():
    """Of edition 2 seconds are of processors, which must be of one kind; of edition 1
    they are what was published."""
    record = {"edition": 2, "hardware": "A", "seconds": 9.0, "processor_seconds": 3.0}
    assert cost.incomparable([record, record]) == "" and cost.spent(record) == 3.0
    assert "A, B" in cost.incomparable([record, {**record, "hardware": "B"}])
    old = {"hardware": "A", "seconds": 9.0}
    assert cost.incomparable([old, {**old, "hardware": "B"}]) == ""
    assert cost.spent(old) == 9.0
    assert "editions" in cost.incomparable([record, old])
