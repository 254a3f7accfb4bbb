"""The statistics keep their promises on records whose true effects are known."""

from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
import simulations
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from lenet import effect

REFERENCE = {"activation": "scaled_tanh", "pooling": "subsample", "batch_size": 1}
differences = arrays(np.int64, st.integers(2, 9), elements=st.integers(-30, 30)).map(
    lambda counts: counts / 10_000
)


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


def slow_p(d, theta=0.0):
    """The two-sided sign-flip p at theta, sign by sign."""
    shifted = np.asarray(d) - theta
    flips = [np.dot(s, shifted) for s in product((-1, 1), repeat=len(d))]
    reach = abs(shifted.sum()) - 1e-12
    return np.mean([abs(flip) >= reach for flip in flips])


def test_sign_flip_equals_scipy():
    """The exact p is that of scipy's permutation_test, ties included."""
    rng = np.random.default_rng(3)
    for n in (3, 5, 7, 11):
        for d in (rng.normal(0.5, 1, n), rng.integers(-2, 3, n).astype(float)):
            result = stats.permutation_test(
                (d,), np.mean, permutation_type="samples", n_resamples=np.inf
            )
            assert effect.sign_flip(d)[0] == pytest.approx(result.pvalue, abs=1e-12)


def test_sign_flip_draws_agree_with_all_signs(monkeypatch):
    """Drawn signs give the p and the limits of all signs, within Monte Carlo error."""
    d = np.random.default_rng(5).normal(0.4, 1, 13)
    p, limits = effect.sign_flip(d)
    effect._subsets.cache_clear()
    monkeypatch.setattr(effect, "MOST_EXACT", 12)
    drawn_p, drawn_limits = effect.sign_flip(d)
    effect._subsets.cache_clear()
    assert drawn_p == pytest.approx(p, abs=0.004) and drawn_p != p
    np.testing.assert_allclose(drawn_limits, limits, atol=0.03)


@settings(max_examples=60, deadline=None)
@given(differences)
def test_interval_inverts_the_slow_test(d):
    """Just inside a limit the slow test keeps theta, just outside it rejects it."""
    p, limits = effect.sign_flip(d)
    assert p == pytest.approx(slow_p(d))
    for (low, high), level in zip(limits, (0.05, 0.10), strict=True):
        if 2 / 2 ** len(d) > level:
            assert low == -np.inf and high == np.inf
            continue
        step = 1e-9
        assert slow_p(d, low - step) <= level and slow_p(d, high + step) <= level
        if high - low > 2 * step:
            assert slow_p(d, low + step) > level and slow_p(d, high - step) > level


@settings(max_examples=100, deadline=None)
@given(arrays(np.int64, st.integers(2, 18), elements=st.integers(-9, 30)))
def test_interval_and_p_agree(counts):
    """p <= 0.05 if and only if 0 is outside the interval, also for ties and draws."""
    p, limits = effect.sign_flip(counts / 10_000, draws=999)
    for (low, high), level in zip(limits, (0.05, 0.10), strict=True):
        assert (p <= level) == (low > 0 or high < 0)


@settings(max_examples=60, deadline=None)
@given(differences, st.randoms(), st.sampled_from([0.001, 0.5, 3.0, 400.0]))
def test_interval_moves_with_the_data(d, random, scale):
    """Order changes nothing; sign, shift and scale of the data pass to the limits."""
    p, limits = effect.sign_flip(d)
    shuffled = random.sample(d.tolist(), len(d))
    assert effect.sign_flip(shuffled)[0] == p
    np.testing.assert_allclose(effect.sign_flip(shuffled)[1], limits, atol=1e-12)
    negative_p, negative = effect.sign_flip(-d)
    assert negative_p == p and np.array_equal(negative, -limits[:, ::-1])
    np.testing.assert_allclose(effect.sign_flip(d + 0.01)[1], limits + 0.01, atol=1e-12)
    scaled_p, scaled = effect.sign_flip(d * scale)
    assert scaled_p == p
    np.testing.assert_allclose(scaled, limits * scale, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", ["normal", "skewed", "counts"])
@pytest.mark.parametrize("blocks", [10, 20])
def test_interval_covers_in_95_percent(blocks, shape):
    """2,000 simulated 95 % intervals hold the true effect in 95 +- 1.5 %."""
    assert 0.935 <= simulations.coverage(blocks, shape) <= 0.965


def test_coverage_table_tells_the_limits():
    """Strong skew covers less, ties and five blocks more; the table shows it."""
    table = simulations.coverage_table(simulations=300)
    assert table.shape == (6, 3)
    assert (table.loc[["normal", "exponential"], 5] == 1).all()
    assert 0.86 <= table.loc["exponential", 10] <= 0.94
    assert table.loc["ties", 10] >= 0.96


@pytest.mark.parametrize("blocks", [5, 10])
def test_new_digits_interval_covers(blocks):
    """2,000 simulated new-digits intervals hold the true effect in at least 94 %."""
    assert simulations.new_digits_coverage(blocks, images=500) >= 0.94


def test_new_digits_variance_equals_the_slow_one():
    """The variance is s2_seed/n + s2_image/m - s2_residual/(n m), term by term."""
    d = np.random.default_rng(2).integers(-1, 2, (3, 5)).astype(float)
    d += np.array([0, 0, 1, 2, 3])  # images that differ
    n, m = d.shape
    grand = d.mean()
    seed = sum((row.mean() - grand) ** 2 for row in d) / (n - 1)
    image = sum((column.mean() - grand) ** 2 for column in d.T) / (m - 1)
    residual = sum(
        (d[i, j] - d[i].mean() - d[:, j].mean() + grand) ** 2
        for i, j in product(range(n), range(m))
    ) / ((n - 1) * (m - 1))
    half = stats.t.ppf(0.975, n - 1) * np.sqrt(
        seed / n + image / m - residual / (n * m)
    )
    expected = (grand - half, grand + half)
    assert effect.new_digits_interval(d) == pytest.approx(expected)


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


def test_holm_equals_a_worked_example():
    """Holm 1979: 0.01 0.02 0.03 0.04 become 0.04 0.06 0.06 0.06; NaN does not count."""
    adjusted = effect.holm([0.03, np.nan, 0.01, 0.04, 0.02])
    np.testing.assert_allclose(adjusted, [0.06, np.nan, 0.04, 0.06, 0.06])


def test_holm_keeps_the_family_wise_error():
    """Without any effect at most 5 % (plus noise) of families have a verdict."""
    rng = np.random.default_rng(8)
    noise = rng.normal(size=(1_000, 5, 10))
    noise -= rng.normal(size=(1_000, 1, 10))  # the arms share their reference
    p = np.concatenate([effect.sign_flip(part)[0] for part in np.split(noise, 20)])
    wrong = np.mean([effect.holm(family).min() <= 0.05 for family in p])
    assert 0.005 <= wrong <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 1_000)
    assert (p.min(axis=1) <= 0.05).mean() > 0.10  # unadjusted it would not hold


def test_blocks_needed_equals_the_planning_figures():
    """6 seeds for 1 test, 8 for 5, 9 for 8-12, 10 for 15-25, 11 for 26-51."""
    tests = (1, 5, 8, 12, 15, 25, 26, 51)
    needed = [effect.blocks_needed(k) for k in tests]
    assert needed == [6, 8, 9, 9, 10, 10, 11, 11]


def test_power_equals_the_planning_figures():
    """At 1 % error on 10,000 digits: 10, 34; over 12 arms 18, 60; equivalence 36."""
    sd = np.sqrt(2) * np.sqrt(0.01 / 20_000)
    assert effect.seeds_for_power(0.0010, sd) == 10
    assert effect.seeds_for_power(0.0005, sd) == 34
    assert effect.seeds_for_power(0.0010, sd, tests=12) == 18
    assert effect.seeds_for_power(0.0005, sd, tests=12) == 60
    assert effect.seeds_for_equivalence(sd) == 36
    assert effect.seeds_for_power(1.0, sd, tests=12) == effect.blocks_needed(12)
    with pytest.raises(ValueError, match="more than"):
        effect.seeds_for_power(1e-6, 0.1)


def test_arms_have_the_columns_and_the_paired_effect():
    """The table has the agreed columns; mean, sd and P(better) are of the pairs."""
    runs = make_runs(TWO_ARMS)
    table, dots = effect.arms(runs, REFERENCE, study="s")
    assert ",".join(table.columns) == (
        "study,response,estimand,factor,level,reference,n,diverged,missing,mean,sd,low,"
        "high,low_digits,high_digits,p,p_holm,p_better,verdict,reason"
    )
    wide = runs.pivot(index="seed", columns=["activation", "pooling"])["test_error"]
    d = wide["relu", "subsample"] - wide["scaled_tanh", "subsample"]
    row = table[table.factor == "activation"].iloc[0]
    assert (row.study, row.estimand, row.level, row.n) == ("s", "arm", "relu", 7)
    assert row.reference == "scaled_tanh" and row.response == "test_error"
    assert row["mean"] == pytest.approx(d.mean()) and row.sd == pytest.approx(d.std())
    assert row.p == 2 / 2**7 and row.p_holm == 4 / 2**7 and row.p_better == 1
    assert row.verdict == "better"
    relu = dots[dots.factor == "activation"]
    assert relu.seed.tolist() == list(range(7))
    np.testing.assert_allclose(relu.difference, d, atol=1e-15)


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
    table, dots = effect.arms(lacking, REFERENCE, seeds=range(9))
    relu = table[table.factor == "activation"].iloc[0]
    assert (relu.n, relu.missing) == (7, 2) and "2 of 9 blocks missing" in relu.reason
    other = table[table.factor == "pooling"].iloc[0]
    assert (other.n, other.missing) == (8, 1)
    kept = full[~((full.seed == 3) & (full.factor == "activation"))]
    pd.testing.assert_frame_equal(kept.reset_index(drop=True), dots)


def test_diverged_run_counts_as_chance():
    """A diverged run is an error of 0.90, counted, and left out only by `converged`."""
    runs = make_runs(TWO_ARMS, images=40).astype({"right": object})
    at = runs.index[(runs.seed == 2) & (runs.activation == "relu")][0]
    runs.loc[at, ["status", "test_error"]] = ["diverged", np.nan]
    runs.at[at, "right"] = None
    reference = runs[(runs.seed == 2) & (runs.activation == "scaled_tanh")].iloc[0]
    table, dots = effect.arms(runs, REFERENCE)
    relu = table[table.factor == "activation"].iloc[0]
    assert (relu.n, relu.diverged) == (7, 1)
    dot = dots[(dots.factor == "activation") & (dots.seed == 2)].iloc[0]
    assert dot.difference == pytest.approx(0.90 - reference.test_error) and dot.diverged
    assert (relu.low_digits + relu.high_digits) / 2 == pytest.approx(relu["mean"])
    beside = effect.arms(effect.converged(runs), REFERENCE).table
    assert beside[beside.factor == "activation"].iloc[0].n == 6


def test_collapsed_run_counts_as_measured_and_is_said():
    """A run that errs like a guess keeps its error; `converged` leaves it out."""
    runs = make_runs(TWO_ARMS, images=40).astype({"right": object})
    at = runs.index[(runs.seed == 2) & (runs.activation == "relu")][0]
    table, dots = effect.arms(runs, REFERENCE)
    runs.loc[at, "status"] = "collapsed"
    marked, same = effect.arms(runs, REFERENCE)
    pd.testing.assert_frame_equal(same, dots)
    relu = (marked.factor == "activation").tolist()
    assert marked["reason"].str.contains("1 run collapsed").tolist() == relu
    unsaid = table.drop(columns="reason"), marked.drop(columns="reason")
    pd.testing.assert_frame_equal(*unsaid)
    beside = effect.arms(effect.converged(runs), REFERENCE).table
    assert beside[relu].iloc[0].n == marked[relu].iloc[0].n - 1


def test_diverged_reference_is_said():
    """A reference that diverged does not pass for a better level unnoticed."""
    runs = make_runs(TWO_ARMS)
    at = (
        (runs.seed == 2)
        & (runs.activation == "scaled_tanh")
        & (runs.pooling == "subsample")
    )
    runs.loc[at, ["status", "test_error"]] = ["diverged", np.nan]
    table = effect.arms(runs, REFERENCE).table
    assert (table.diverged == 0).all()
    assert table.reason.str.contains("1 run of the reference diverged").all()


@pytest.mark.parametrize(
    ("seeds", "reason"),
    [([0], "one block only"), (range(6), "no variance: every difference is 0.01")],
)
def test_degenerate_input_is_not_estimable(seeds, reason):
    """One block or no variance gives a reason: no p, no interval, no crash."""
    runs = make_runs({RELU: 0.01}, seeds=seeds, sd=0)
    row = effect.arms(runs, REFERENCE).table.iloc[0]
    assert row.verdict == "not estimable" and row.reason == reason
    assert row["mean"] == pytest.approx(0.01) and row.n == len(seeds)
    assert row[["low", "high", "p", "p_holm", "low_digits"]].isna().all()


def test_unpaired_blocks_are_not_estimable():
    """Seeds that never meet the reference's give no effect, rather than wrong pairs."""
    runs = make_runs({RELU: 0.01})
    odd = (runs.seed % 2 == 1) == (runs.activation == "relu")
    row = effect.arms(runs[odd], REFERENCE).table.iloc[0]
    assert (row.n, row.missing, row.verdict) == (0, 7, "not estimable")
    assert row.reason == "no complete block; 7 of 7 blocks missing"


def test_too_few_blocks_give_no_verdict():
    """Five blocks cannot decide anything: no verdict, an unbounded interval."""
    row = effect.arms(make_runs({RELU: -0.05}, seeds=range(5)), REFERENCE).table.iloc[0]
    assert (row.verdict, row.reason) == ("undecided", "no verdict possible at n = 5")
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
    means = table.set_index(["estimand", "factor"])["mean"] * 100
    for estimand in ("main", "shapley"):
        assert means[estimand].to_numpy() == pytest.approx([-3, -4, -1])
    expected = {"a:b": -2, "a:c": 0, "b:c": 0}
    assert means["interaction"].to_dict() == pytest.approx(expected, abs=1e-12)
    row = table.set_index("factor").loc["a:b"]
    assert (row.level, row.reference) == ("1:on", "0:off")


def test_shapley_values_equal_all_orders_and_sum_to_the_gap():
    """Each block's values are means over all k! orders and sum to its gap to 1e-12."""
    responses = np.random.default_rng(6).uniform(0.005, 0.9, 8)
    runs = cube_runs(responses, sd=0.002)
    dots = effect.factorial(runs, LEVELS).differences.query("estimand == 'shapley'")
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
    """Main effects, interactions and Shapley values are three families of Holm."""
    y = np.random.default_rng(6).uniform(0.01, 0.02, 8)
    table = effect.factorial(cube_runs(y, sd=0.003, seed=1), LEVELS).table
    assert table.estimand.value_counts().to_dict() == dict.fromkeys(
        ("main", "interaction", "shapley"), 3
    )
    for _, family in table.groupby("estimand"):
        np.testing.assert_array_equal(family.p_holm, effect.holm(family.p))


def test_factorial_drops_a_torn_block_and_refuses_a_missing_cell():
    """A block without one cell leaves every effect; a cell without runs is named."""
    runs = cube_runs(np.linspace(0.01, 0.02, 8), sd=0.001)
    table = effect.factorial(runs.drop(index=5), LEVELS).table
    assert (table.n == 7).all() and (table.missing == 1).all()
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
