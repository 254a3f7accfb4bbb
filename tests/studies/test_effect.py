"""The statistics keep their promises on records whose true effects are known."""

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lenet.studies import effect, statistics

REFERENCE = {"activation": "scaled_tanh", "pooling": "subsample", "batch_size": 1}


def make_runs(effects, seeds=range(7), sd=0.0003, seed=0, images=0):
    """A table of runs; `effects` maps changed levels (a tuple of pairs) to effects."""
    rng = np.random.default_rng(seed)
    rows = []
    for block in seeds:
        shared = rng.normal(0, sd)
        for changes, true in {(): 0.0, **effects}.items():
            row = {**REFERENCE, **dict(changes), "seed": block, "status": "finished"}
            error = 0.01 + shared + true + rng.normal(0, sd)
            if images:
                wrong = rng.random(images) < error
                row["right"], error = ~wrong, wrong.mean()
            rows.append({**row, "test_error": error})
    return pd.DataFrame(rows)


RELU, MAX = (("activation", "relu"),), (("pooling", "max"),)
TWO_ARMS = {RELU: -0.003, MAX: 0.0}


def test_new_digits_interval_comes_from_the_stored_bits():
    """Its centre is the mean effect and it is wider than blocks alone would make it."""
    runs = make_runs({RELU: 0.05}, images=2_000)
    row = effect.arms(runs, REFERENCE).table.iloc[0]
    assert (row.low_digits + row.high_digits) / 2 == pytest.approx(row["mean"])
    half = stats.t.ppf(0.975, 6) * row.sd / np.sqrt(7)
    assert row.high_digits - row["mean"] > half
    without = effect.arms(runs.drop(columns="right"), REFERENCE).table.iloc[0]
    assert np.isnan(without.low_digits) and without.low == row.low


def test_right_must_give_the_response():
    """Bits of another response are refused with the run they belong to."""
    runs = make_runs({RELU: 0.05}, images=50)
    runs.loc[3, "test_error"] += 0.02
    with pytest.raises(ValueError, match="activation=relu .* seed=1.*right"):
        effect.arms(runs, REFERENCE)


def test_arms_have_the_columns_and_the_paired_effect():
    """The table has the agreed columns; mean, sd and P(better) are of the pairs."""
    runs = make_runs(TWO_ARMS)
    table, dots, _ = effect.arms(runs, REFERENCE, study="s", base="paper")
    assert ",".join(table.columns) == (
        "study,response,estimand,factor,level,reference,n,left_out,missing,mean,sd,low,"
        "high,low_digits,high_digits,p,p_family,p_holm,p_equivalent,p_better,power_80,"
        "verdict,reason"
    )
    wide = runs.pivot(index="seed", columns=["activation", "pooling"])["test_error"]
    d = wide["relu", "subsample"] - wide["scaled_tanh", "subsample"]
    row = table[table.factor == "activation"].iloc[0]
    assert (row.study, row.estimand) == ("s", "alone from paper")
    assert (row.level, row.n) == ("relu", 7)
    assert row.reference == "scaled_tanh" and row.response == "test_error"
    assert row["mean"] == pytest.approx(d.mean()) and row.sd == pytest.approx(d.std())
    assert row.p == 2 / 2**7 and row.p_holm == 4 / 2**7 and row.p_better == 1
    pairs = [dots[dots.factor == f].difference for f in ("activation", "pooling")]
    assert row.p_family == statistics.max_t(pairs)[0]
    assert row.power_80 == statistics.smallest_effect(7, row.sd, 2)
    assert row.verdict == "better"
    relu = dots[dots.factor == "activation"]
    assert relu.seed.tolist() == list(range(7))
    np.testing.assert_allclose(relu.difference, d, atol=1e-15)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(st.randoms())
def test_nothing_depends_on_the_order_of_the_rows(random):
    """Shuffled rows give the same tables, bit for bit, for exact and drawn signs."""
    for seeds in (range(7), range(17)):
        runs = make_runs(TWO_ARMS, seeds=seeds, images=30)
        order = random.sample(range(len(runs)), len(runs))
        for ours, other in zip(
            effect.arms(runs, REFERENCE),
            effect.arms(runs.iloc[order], REFERENCE),
            strict=True,
        ):
            pd.testing.assert_frame_equal(ours, other, check_exact=True)


def test_numbers_and_several_factors_make_arms():
    """Numbers are levels; joint changes go by their factors or by a given name."""
    joint = (*RELU, *MAX)
    runs = make_runs({(("batch_size", 64),): 0.0, joint: 0.0}).astype(
        {"batch_size": float}
    )
    table = effect.arms(runs, REFERENCE).table.set_index("factor")
    assert table.loc["batch_size", ["level", "reference"]].tolist() == ["64", "1"]
    assert table.loc["activation+pooling", "level"] == "relu+max"
    named = effect.arms(runs, REFERENCE, names={("units", "today"): dict(joint)}).table
    assert set(named.factor) == {"batch_size", "units"}
    assert "today" in set(named.level)
    with pytest.raises(ValueError, match="no run of .*pooling=stride"):
        effect.arms(runs, REFERENCE, names={("x", "y"): {"pooling": "stride"}})


def test_missing_block_drops_the_pair_and_counts():
    """Without one run n drops, the other blocks keep their pairs, and it is said."""
    runs = make_runs(TWO_ARMS, seeds=range(8))
    full = effect.arms(runs, REFERENCE).differences
    lacking = runs[~((runs.seed == 3) & (runs.activation == "relu"))]
    table, dots, _ = effect.arms(lacking, REFERENCE, seeds=range(9))
    relu = table[table.factor == "activation"].iloc[0]
    assert (relu.n, relu.missing) == (7, 2) and "2 of 9 seeds missing" in relu.reason
    other = table[table.factor == "pooling"].iloc[0]
    assert (other.n, other.missing) == (8, 1)
    kept = full[~((full.seed == 3) & (full.factor == "activation"))]
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), dots)


def lose(runs, status, seed=2, **levels):
    """The runs of one seed at these levels as lost, with the error of a guess."""
    at = runs.seed == seed
    for factor, level in levels.items():
        at &= runs[factor] == level
    error = np.nan if status == "diverged" else 0.8865
    lost = runs.astype({"right": object}) if "right" in runs else runs.copy()
    lost.loc[at, ["status", "test_error"]] = [status, error]
    if "right" in lost:
        for row in lost.index[at]:
            lost.at[row, "right"] = None
    return lost


@pytest.mark.parametrize("status", ["diverged", "collapsed"])
def test_lost_run_is_left_out_and_counted(status):
    """Its seed is no part of the effect, as if it had not been trained; its share
    stands beside, with the pairs in which it alone was lost."""
    runs = make_runs(TWO_ARMS, images=40)
    lost = lose(runs, status, activation="relu")
    table, dots, losses = effect.arms(lost, REFERENCE)
    without = effect.arms(runs.drop(lost.index[lost.status == status]), REFERENCE)
    pd.testing.assert_frame_equal(dots, without.differences)
    relu, other = (table[table.factor == f].iloc[0] for f in ("activation", "pooling"))
    assert (relu.n, relu.left_out, relu.missing) == (6, 1, 0) and relu["mean"] < 0.05
    assert (other.n, other.left_out, other.reason) == (7, 0, "")
    verb = {"diverged": "have no finite response", "collapsed": "collapse"}[status]
    counted = f"1 of 7 runs {verb} with relu, 0 of 7 with scaled_tanh (p = 1)"
    assert relu.reason.endswith(f"1 of 7 seeds left out; {counted}")
    row = losses[losses.factor == "activation"].iloc[0]
    assert (row.runs, row[status], row.collapsed + row.diverged) == (7, 1, 1)
    assert (row.low, row.high) == statistics.share_interval(1, 7)
    assert (row.level_alone, row.reference_alone, row.p) == (1, 0, 1.0)
    assert losses[losses.factor == "pooling"].share.tolist() == [0]


def test_lost_reference_leaves_its_seed_out_of_every_effect():
    """A reference that collapsed does not make a level better."""
    tanh = {"activation": "scaled_tanh", "pooling": "subsample"}
    runs = lose(make_runs(TWO_ARMS), "collapsed", **tanh)
    table = effect.arms(runs, REFERENCE).table
    assert (table.n == 6).all() and (table.left_out == 1).all()
    assert table.reason.str.contains("0 of 7 runs collapse with .*, 1 of 7 with").all()


def test_collapse_that_depends_on_a_level_is_said():
    """Six of nine seeds collapse with one level: the exact test finds it, and of the
    three that are left there is no verdict."""
    runs = make_runs(TWO_ARMS, seeds=range(9))
    for seed in range(6):
        runs = lose(runs, "collapsed", seed, activation="relu")
    table, _, losses = effect.arms(runs, REFERENCE)
    row = losses[losses.factor == "activation"].iloc[0]
    assert row.p == 2 / 2**6 and row.p_holm == 4 / 2**6
    relu = table[table.factor == "activation"].iloc[0]
    assert (relu.n, relu.verdict) == (3, "undecided")
    assert "6 of 9 seeds left out" in relu.reason and "depends" not in relu.reason
    alone = effect.arms(runs[runs.pooling == "subsample"], REFERENCE).table.iloc[0]
    assert "that depends on the level, p = 0.031" in alone.reason


def test_level_that_always_collapses_has_no_effect_but_a_share():
    """Where no seed converged there is nothing to measure, and it is said how many."""
    runs = make_runs({RELU: 0.0})
    for seed in range(7):
        runs = lose(runs, "collapsed", seed, activation="relu")
    table, _, losses = effect.arms(runs, REFERENCE)
    assert table.verdict.tolist() == ["not estimable"] and np.isnan(table["mean"][0])
    assert table.reason[0].startswith("no complete seed; 7 of 7 seeds left out")
    assert losses.share.tolist() == [1.0] and losses.high.tolist() == [1.0]


@pytest.mark.parametrize(
    ("seeds", "reason"),
    [([0], "one seed only"), (range(6), "no variance: every difference is 0.01")],
)
def test_degenerate_input_is_not_estimable(seeds, reason):
    """One block or no variance gives a reason: no p, no interval, no crash."""
    runs = make_runs({RELU: 0.01}, seeds=seeds, sd=0)
    row = effect.arms(runs, REFERENCE).table.iloc[0]
    assert row.verdict == "not estimable" and row.reason == reason
    assert row["mean"] == pytest.approx(0.01) and row.n == len(seeds)
    numbers = ["low", "high", "p", "p_family", "p_holm", "p_equivalent", "power_80"]
    assert row[[*numbers, "low_digits"]].isna().all()


def test_unpaired_blocks_are_not_estimable():
    """Seeds that never meet the reference's give no effect, rather than wrong pairs."""
    runs = make_runs({RELU: 0.01})
    odd = (runs.seed % 2 == 1) == (runs.activation == "relu")
    row = effect.arms(runs[odd], REFERENCE).table.iloc[0]
    assert (row.n, row.missing, row.verdict) == (0, 7, "not estimable")
    assert row.reason == "no complete seed; 7 of 7 seeds missing"


def test_too_few_blocks_give_no_verdict():
    """Five blocks cannot decide anything: no verdict, an unbounded interval."""
    row = effect.arms(make_runs({RELU: -0.05}, seeds=range(5)), REFERENCE).table.iloc[0]
    few = "no verdict possible at n = 5: it takes 6 seeds"
    assert (row.verdict, row.reason) == ("undecided", few)
    assert row.low == -np.inf and row.high == np.inf


@pytest.mark.parametrize(
    ("true", "sd", "verdict", "reason"),
    [
        (-0.0030, 3e-4, "better", ""),
        (0.0030, 3e-4, "worse", ""),
        (0.0, 1e-5, "equivalent", ""),
        (-0.0002, 1e-5, "equivalent", "better, but by less than the margin"),
        (0.0, 3e-3, "undecided", ""),
    ],
)
def test_verdict_names_what_the_intervals_show(true, sd, verdict, reason):
    """Each verdict comes from records in which it is true."""
    runs = make_runs({RELU: true}, seeds=range(12), sd=sd, seed=4)
    row = effect.arms(runs, REFERENCE).table.iloc[0]
    assert (row.verdict, row.reason) == (verdict, reason)
    higher = effect.Response(lower_is_better=False)
    opposite = {"better": "worse", "worse": "better"}.get(verdict, verdict)
    row = effect.arms(runs, REFERENCE, response=higher).table.iloc[0]
    assert row.verdict == opposite


def test_margin_of_equivalence_is_a_setting():
    """The same records are equivalent or not, as the margin says."""
    runs = make_runs({RELU: 0.0}, seeds=range(12), sd=1e-3)
    wide, narrow = effect.Response(margin=0.01), effect.Response(margin=1e-6)
    assert effect.arms(runs, REFERENCE, response=wide).table.verdict[0] == "equivalent"
    assert effect.arms(runs, REFERENCE, response=narrow).table.verdict[0] == "undecided"


def test_p_better_halves_ties():
    """P(better) is the share of blocks that are better, ties counting half."""
    runs = make_runs({RELU: 0.0}, seeds=range(4))
    relu = runs.activation == "relu"
    tied = runs[~relu].test_error.to_numpy() + [-0.001, 0, 0.001, -0.001]
    runs.loc[relu, "test_error"] = tied
    assert effect.arms(runs, REFERENCE).table.p_better[0] == 0.625


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda r: pd.concat([r, r[3:4]]), "activation=relu .*seed=1 is there twice"),
        (lambda r: r.replace("finished", "running"), "status 'running'"),
        (lambda r: r.assign(test_error=np.nan), "finished but its test_error is nan"),
        (lambda r: r.drop(columns="pooling"), r"lack the columns \['pooling'\]"),
        (lambda r: r[r.activation == "relu"], "no run of activation=scaled_tanh"),
        (lambda r: r[r.activation != "relu"], "every run is of the reference"),
    ],
)
def test_bad_tables_are_refused_by_name(spoil, message):
    """A bad table is an error that names the run, the column or the treatment."""
    with pytest.raises(ValueError, match=message):
        effect.arms(spoil(make_runs({RELU: 0.0})), REFERENCE)


LEVELS = {"a": (0, 1), "b": ("off", "on"), "c": (1998, 2024)}
CELLS = list(product(*LEVELS.values()))


def cube_runs(responses, seeds=range(8), sd=0.0, seed=0):
    """Runs of a 2^3 factorial: `responses` of the eight cells in CELLS' order."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        dict(zip(LEVELS, cell, strict=True))
        | {"seed": s, "status": "finished", "test_error": y + rng.normal(0, sd)}
        for s in seeds
        for cell, y in zip(CELLS, responses, strict=True)
    )


def test_factorial_equals_the_hand_worked_cube():
    """A 2^3 example worked by hand: gains 2, 3, 1 and 2 more for a with b together.

    y(S) = 10 - 2 [a] - 3 [b] - 1 [c] - 2 [a and b]: the joint gain is shared, so the
    Shapley values are -3, -4, -1; so are the main effects; a:b interact by -2.
    """
    y = [10 - 2 * a - 3 * b - c - 2 * a * b for a, b, c in product((0, 1), repeat=3)]
    table = effect.factorial(cube_runs(np.divide(y, 100)), LEVELS).table
    points = {
        kind: effect.effects_of_kind(table, kind).set_index("factor")["mean"] * 100
        for kind in (effect.MAIN, effect.PAIR, effect.SHAPLEY)
    }
    for kind in (effect.MAIN, effect.SHAPLEY):
        assert points[kind].to_numpy() == pytest.approx([-3, -4, -1])
    expected = {"a:b": -2, "a:c": 0, "b:c": 0}
    assert points[effect.PAIR].to_dict() == pytest.approx(expected, abs=1e-12)
    row = table.set_index("factor").loc["a:b"]
    assert (row.level, row.reference) == ("1:on", "0:off")


def test_shapley_values_equal_all_orders_and_sum_to_the_gap():
    """Each block's values are means over all k! orders and sum to its gap to 1e-12."""
    responses = np.random.default_rng(6).uniform(0.005, 0.9, 8)
    runs = cube_runs(responses, sd=0.002)
    effects = effect.factorial(runs, LEVELS)
    dots = effect.effects_of_kind(effects.differences, effect.SHAPLEY)
    for seed, block in runs.groupby("seed"):
        y = dict(zip(CELLS, block.test_error, strict=True))
        slow = dict.fromkeys(LEVELS, 0.0)
        for order in permutations(range(3)):
            cell = CELLS[0]
            for i in order:
                after = cell[:i] + CELLS[-1][i : i + 1] + cell[i + 1 :]
                slow[list(LEVELS)[i]] += (y[after] - y[cell]) / 6
                cell = after
        values = dots[dots.seed == seed].set_index("factor").difference
        np.testing.assert_allclose(values[list(slow)], list(slow.values()), atol=1e-14)
        assert abs(values.sum() - (y[CELLS[-1]] - y[CELLS[0]])) < 1e-12


def test_factorial_families_are_adjusted_apart():
    """Each estimand is a family, for max-T, for Holm and for equivalence."""
    y = np.random.default_rng(6).uniform(0.01, 0.02, 8)
    runs = cube_runs(y, sd=0.003, seed=1)
    effects = effect.factorial(runs, LEVELS, ends=("paper", "modern"))
    names = (
        "main effect (mean over the 4 combinations of the others)",
        "interaction (mean over the 2 combinations of the others)",
        "simple effect (others as in paper)",
        "simple effect (others as in modern)",
        "Shapley value (mean over all 6 orders)",
    )
    counts = effects.table.estimand.value_counts(sort=False)
    assert counts.to_dict() == dict.fromkeys(names, 3)
    for estimand, family in effects.table.groupby("estimand"):
        np.testing.assert_array_equal(family.p_holm, statistics.holm(family.p))
        dots = effects.differences[effects.differences.estimand == estimand]
        wide = dots.pivot(index="factor", columns="seed", values="difference")
        p = statistics.max_t(wide.loc[family.factor].to_numpy())
        np.testing.assert_allclose(family.p_family, p)
        apart = statistics.equivalence(wide.loc[family.factor].to_numpy(), 0.0005)
        np.testing.assert_allclose(family.p_equivalent, statistics.holm(apart))


def test_simple_effects_are_those_of_one_factor_at_each_end():
    """They equal the arms of the designs that change one factor; a lost run takes its
    seed from the effects that it is part of, and from no other."""
    y = np.random.default_rng(6).uniform(0.01, 0.02, 8)
    runs = cube_runs(y, sd=0.003, seed=1)
    b_back = (runs.a == 1) & (runs.b == "off") & (runs.c == 2024) & (runs.seed == 4)
    runs.loc[b_back, "status"] = "collapsed"
    table = effect.factorial(runs, LEVELS).table
    assert set(effect.effects_of_kind(table, effect.MAIN).n) == {7}
    for place, end, sign, lost in (
        (0, "the reference", 1, ""),
        (1, "all changed", -1, "b"),
    ):
        levels = {factor: pair[place] for factor, pair in LEVELS.items()}
        arms = effect.arms(runs, levels).table.set_index("factor")["mean"]
        simple = table[table.estimand == f"simple effect (others as in {end})"]
        for row in simple.itertuples():
            assert row.mean == pytest.approx(sign * arms[row.factor])
            assert row.n == (7 if row.factor == lost else 8)


def test_factorial_drops_a_torn_block_and_refuses_a_missing_cell():
    """A block without one cell leaves every mean over the cells; a cell without runs is
    named."""
    runs = cube_runs(np.linspace(0.01, 0.02, 8), sd=0.001)
    table = effect.factorial(runs.drop(index=5), LEVELS).table
    means = table[~table.estimand.str.startswith(effect.SIMPLE)]
    assert (means.n == 7).all() and (means.missing == 1).all()
    lacking = runs[~((runs.a == 1) & (runs.b == "on") & (runs.c == 2024))]
    with pytest.raises(ValueError, match="no run of a=1 b=on c=2024"):
        effect.factorial(lacking, LEVELS)
    with pytest.raises(ValueError, match="same level twice"):
        effect.factorial(runs, {**LEVELS, "a": (1, 1)})


def test_path_takes_its_order_and_its_heights_from_different_runs():
    """The held-out table alone gives the order, the other seeds alone the heights."""
    held_out = [10 - a - 3 * b - 2 * c for a, b, c in product((0, 1), repeat=3)]
    measured = [10 - 5 * a - b - c - 2 * b * c for a, b, c in product((0, 1), repeat=3)]
    search = cube_runs(np.divide(held_out, 100), seeds=range(20, 23))
    runs = cube_runs(np.divide(measured, 100), sd=0.001)
    table = effect.path(search, runs, LEVELS).table
    assert table.factor.tolist() == ["b", "c", "a"]
    assert table["mean"].to_numpy() == pytest.approx([-0.01, -0.03, -0.05], abs=0.002)
    y = runs.groupby(list(LEVELS)).test_error.mean()
    assert table["mean"].sum() == pytest.approx(y[CELLS[-1]] - y[CELLS[0]])
    lacking = runs[~((runs.seed == 3) & (runs.a == 1) & (runs.b == "on"))]
    torn = effect.path(search, lacking, LEVELS).table
    assert (torn.n == 7).all() and (torn.missing == 1).all()  # heights add up still
    with pytest.raises(ValueError, match=r"share the seeds \[0, 1, 2"):
        effect.path(cube_runs(held_out, seeds=range(3)), runs, LEVELS)
