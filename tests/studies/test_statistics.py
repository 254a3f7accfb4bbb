"""Tests, intervals and power are what they say, by brute force and by simulation."""

import math
import tracemalloc
from itertools import product

import numpy as np
import pytest
import scipy
import simulations
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from lenet.studies import statistics

differences = arrays(np.int64, st.integers(2, 9), elements=st.integers(-30, 30)).map(
    lambda counts: counts / 10_000
)


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
            assert statistics.sign_flip(d)[0] == pytest.approx(result.pvalue, abs=1e-12)


def test_sign_flip_draws_agree_with_all_signs(monkeypatch):
    """Drawn signs give the p and the limits of all signs, within Monte Carlo error."""
    d = np.random.default_rng(5).normal(0.4, 1, 13)
    family = np.random.default_rng(6).normal(0.4, 1, (4, 13))
    p, *limits = statistics.sign_flip(d)
    adjusted = statistics.max_t(family)
    statistics._subsets.cache_clear()
    monkeypatch.setattr(statistics, "MOST_EXACT", 12)
    drawn_p, *drawn_limits = statistics.sign_flip(d)
    drawn = statistics.max_t(family)
    statistics._subsets.cache_clear()
    assert drawn_p == pytest.approx(p, abs=0.004) and drawn_p != p
    np.testing.assert_allclose(drawn_limits, limits, atol=0.03)
    np.testing.assert_allclose(drawn, adjusted, atol=0.006)
    assert (drawn != adjusted).any()


@settings(max_examples=60, deadline=None)
@given(differences, st.sampled_from([0.05, 0.10]))
def test_interval_inverts_the_slow_test(d, level):
    """Just inside a limit the slow test keeps theta, just outside it rejects it."""
    p, low, high = statistics.sign_flip(d, 1 - level)
    assert p == pytest.approx(slow_p(d))
    if 2 / 2 ** len(d) > level:
        assert low == -np.inf and high == np.inf
        return
    step = 1e-9
    assert slow_p(d, low - step) <= level and slow_p(d, high + step) <= level
    if high - low > 2 * step:
        assert slow_p(d, low + step) > level and slow_p(d, high - step) > level


@settings(max_examples=100, deadline=None)
@given(
    arrays(np.int64, st.integers(2, 18), elements=st.integers(-9, 30)),
    st.sampled_from([0.05, 0.10]),
)
def test_interval_and_p_agree(counts, level):
    """p <= 0.05 if and only if 0 is outside the interval, also for ties and draws."""
    p, low, high = statistics.sign_flip(counts / 10_000, 1 - level, draws=999)
    assert (p <= level) == (low > 0 or high < 0)


@settings(max_examples=60, deadline=None)
@given(differences, st.randoms(), st.sampled_from([0.001, 0.5, 3.0, 400.0]))
def test_interval_moves_with_the_data(d, random, scale):
    """Order changes nothing; sign, shift and scale of the data pass to the limits."""
    p, low, high = statistics.sign_flip(d)
    shuffled = random.sample(d.tolist(), len(d))
    close = {"rtol": 1e-9, "atol": 1e-12}
    np.testing.assert_allclose(statistics.sign_flip(shuffled), (p, low, high), **close)
    assert statistics.sign_flip(-d) == (p, -high, -low)
    shifted = statistics.sign_flip(d + 0.01)[1:]
    np.testing.assert_allclose(shifted, (low + 0.01, high + 0.01), **close)
    scaled = statistics.sign_flip(d * scale)
    np.testing.assert_allclose(scaled, (p, low * scale, high * scale), **close)


def slow_max_t(d):
    """Step-down max-T by Student's t of every test under every vector of signs."""

    def sizes(rows):
        n = rows.shape[1]
        sd = rows.std(axis=1, ddof=1)
        with np.errstate(divide="ignore"):  # all differences equal: t is infinite
            return np.abs(rows.mean(axis=1)) * math.sqrt(n) / np.where(sd < 1e-9, 0, sd)

    seen = sizes(d)
    flips = np.array([sizes(d * s) for s in product((-1, 1), repeat=d.shape[1])])
    p, least = np.full(len(d), np.nan), 0.0
    left = list(range(len(d)))
    while left:
        first = max(left, key=lambda j: seen[j])
        share = (flips[:, left].max(axis=1) >= seen[first] * (1 - 1e-6)).mean()
        p[first] = least = max(least, share)
        left.remove(first)
    return p


families = st.tuples(st.integers(1, 4), st.integers(2, 7)).flatmap(
    lambda shape: arrays(np.int64, shape, elements=st.integers(-9, 9))
)


@settings(max_examples=80, deadline=None)
@given(families.filter(lambda d: (d != 0).any(axis=1).all()))
def test_max_t_equals_brute_force(counts):
    """The adjusted p are those of Student's t over all signs, tests and steps."""
    expected = slow_max_t(counts.astype(float))
    adjusted = statistics.max_t(counts / 10_000)
    np.testing.assert_allclose(adjusted, expected, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(differences.filter(lambda d: (d != 0).any()), st.integers(0, 3))
def test_max_t_of_one_test_is_the_sign_flip_test(d, other):
    """Alone, or beside tests that cannot be made, a test keeps its own p; twice the
    same test is no second chance."""
    p = statistics.sign_flip(d)[0]
    table = np.full((4, len(d)), np.nan)
    table[other] = d
    adjusted = statistics.max_t(table)
    assert adjusted[other] == pytest.approx(p)
    assert np.isnan(np.delete(adjusted, other)).all()
    assert statistics.max_t([d, d, -d]) == pytest.approx(np.full(3, p))


def test_max_t_of_a_family_is_no_less_than_alone():
    """No adjusted p is below the p alone, p rise as t falls, and a test that lacks
    blocks is one of its own blocks."""
    d = np.random.default_rng(4).normal(0.6, 1, (5, 10))
    single, adjusted = statistics.sign_flip(d)[0], statistics.max_t(d)
    assert (adjusted >= single - 1e-12).all()
    sizes = np.abs(d.mean(axis=1)) / d.std(axis=1)
    assert (np.diff(adjusted[np.argsort(-sizes)]) >= 0).all()
    torn = d.copy()
    torn[2, 3:5] = np.nan
    alone = statistics.sign_flip(np.delete(d[2], [3, 4]))[0]
    assert statistics.max_t(torn)[2] >= alone - 1e-12
    assert statistics.max_t(torn[[2]])[0] == pytest.approx(float(alone))


@pytest.mark.parametrize("shape", ["normal", "skewed", "counts", "ties"])
def test_max_t_keeps_the_family_wise_error(shape):
    """Without any effect at most 5 % (plus noise) of families have a verdict, however
    the errors of runs are distributed; unadjusted, more would."""
    wrong = simulations.family_wise_error(9, 6, shape, 800)
    assert 0.005 <= wrong["max-T"] <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 800)
    assert wrong["alone"] > 0.10 or shape == "ties"


def test_max_t_finds_what_holm_cannot():
    """Of 15 tests at n = 9 Holm can give no verdict; max-T has the planned power."""
    power = simulations.power(9, 15, 200)
    assert power["Holm"] == 0 and power["max-T"] >= 0.65
    power = simulations.power(12, 6, 200)
    assert power["max-T"] > power["Holm"] and abs(power["max-T"] - 0.8) < 0.1


@settings(max_examples=60, deadline=None)
@given(differences, st.sampled_from([0.0004, 0.0011, 0.0023]))
def test_equivalence_is_the_interval_within_the_margin(d, margin):
    """p <= 0.05 exactly if the 90 % interval lies inside the margin; it is the larger
    of two one-sided p over all signs."""
    margin += 1e-7  # of no difference of such counts: nothing touches it
    p = statistics.equivalence(d, margin)
    low, high = statistics.sign_flip(d, 0.90)[1:]
    assert (p <= 0.05) == (-margin < low and high < margin)
    one_sided = [
        np.mean(
            [
                np.dot(s, margin - side) >= (margin - side).sum() - 1e-12
                for s in product((-1, 1), repeat=len(d))
            ]
        )
        for side in (d, -d)
    ]
    assert p == pytest.approx(max(one_sided))


def test_prediction_interval_holds_the_next_run():
    """By hand for three values, and in 95 % of 4,000 simulated next runs."""
    x = [1.0, 2.0, 6.0]
    half = stats.t.ppf(0.975, 2) * math.sqrt(7.0) * math.sqrt(4 / 3)
    assert statistics.prediction_interval(x) == pytest.approx((3 - half, 3 + half))
    runs = np.random.default_rng(7).normal(size=(4_000, 9))
    pairs = [(statistics.prediction_interval(row[:8]), row[8]) for row in runs]
    held = np.mean([low <= last <= high for (low, high), last in pairs])
    assert abs(held - 0.95) < 0.011


def test_share_interval_is_exact():
    """Clopper and Pearson by their definition: each end leaves 2.5 % beyond it."""
    low, high = statistics.share_interval(3, 96)
    assert stats.binom.sf(2, 96, low) == pytest.approx(0.025)
    assert stats.binom.cdf(3, 96, high) == pytest.approx(0.025)
    assert (low, high) == pytest.approx((0.0065, 0.0886), abs=1e-4)
    assert statistics.share_interval(0, 384)[0] == 0
    assert statistics.share_interval(4, 4)[1] == 1


@pytest.mark.parametrize(("level", "reference"), [(0, 0), (3, 0), (7, 1), (4, 4)])
def test_mcnemar_is_binomial_with_one_pair_to_a_block(level, reference):
    """One pair a seed: the binomial p; thirty-two of one seed are one draw, not 32."""
    pairs = level + reference
    expected = stats.binomtest(level, pairs).pvalue if pairs else 1.0
    counts = [1] * level + [-1] * reference + [0] * 20
    assert statistics.mcnemar(counts) == pytest.approx(min(1.0, expected))
    assert statistics.mcnemar([32, 0, 0]) == 1.0


@pytest.mark.parametrize("shape", ["normal", "skewed", "counts"])
@pytest.mark.parametrize("blocks", [10, 20])
def test_interval_covers_in_95_percent(blocks, shape):
    """2,000 simulated 95 % intervals hold the true effect in 95 +- 1.5 %."""
    assert 0.935 <= simulations.coverage(blocks, shape) <= 0.965


def test_coverage_table_tells_the_limits():
    """Strong skew covers less, rare collapses much less, ties and five blocks more; the
    table shows it."""
    table = simulations.coverage_table(simulations=300)
    assert table.shape == (9, 3)
    assert (table.loc[["normal", "exponential"], 5] == 1).all()
    assert 0.86 <= table.loc["exponential", 10] <= 0.94
    assert table.loc["ties", 10] >= 0.96
    assert table.loc["collapse in 5 % of blocks, counted", 10] < 0.6


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
    assert statistics.new_digits_interval(d) == pytest.approx(expected)


def test_holm_equals_a_worked_example():
    """Holm 1979: 0.01 0.02 0.03 0.04 become 0.04 0.06 0.06 0.06; NaN does not count."""
    adjusted = statistics.holm([0.03, np.nan, 0.01, 0.04, 0.02])
    np.testing.assert_allclose(adjusted, [0.06, np.nan, 0.04, 0.06, 0.06])


def test_blocks_needed_is_the_fewest_with_a_verdict():
    """The least p of n blocks is 2 / 2^n, also among many tests."""
    needed = statistics.blocks_needed()
    assert needed == 6
    sure = np.ones((20, needed)) + np.random.default_rng(0).normal(
        0, 0.01, (20, needed)
    )
    assert np.nanmin(statistics.max_t(sure)) <= 0.05
    assert np.nanmin(statistics.max_t(sure[:, 1:])) > 0.05


def test_power_equals_the_planning_figures():
    """At 1 % error on 10,000 digits: 10, 34; over 12 arms 18, 60; equivalence 36."""
    sd = np.sqrt(2) * np.sqrt(0.01 / 20_000)
    assert statistics.seeds_for_power(0.0010, sd) == 10
    assert statistics.seeds_for_power(0.0005, sd) == 34
    assert statistics.seeds_for_power(0.0010, sd, tests=12) == 18
    assert statistics.seeds_for_power(0.0005, sd, tests=12) == 60
    assert statistics.seeds_for_equivalence(sd) == 36
    assert statistics.seeds_for_equivalence(sd, tests=12) > 36
    assert statistics.seeds_for_power(1.0, sd, tests=12) == statistics.blocks_needed()
    with pytest.raises(ValueError, match="more than"):
        statistics.seeds_for_power(1e-6, 0.1)


def test_chances_are_those_of_scipy() -> None:
    """Power, quantiles and exact shares come from special functions; scipy.stats, which
    takes a second to import, has the same, out to where a tail is nothing.

    Until scipy 1.15 the special function was not Boost's and erred by up to 6e-6.
    """
    boost = tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 15)
    for n, size, tests in product((2, 6, 20, 1000), (0, 0.1, 1, 8, 200), (1, 14)):
        t, shift = stats.t.isf(0.025 / tests, n - 1), size * math.sqrt(n)
        expected = sum(stats.nct.sf(t, n - 1, side) for side in (shift, -shift))
        chance = statistics._chance(size, n, tests)
        assert chance == pytest.approx(expected, abs=1e-9 if boost else 1e-5)
    for count, total in ((0, 7), (3, 7), (7, 7), (1, 96)):
        exact = stats.binomtest(count, total).proportion_ci(0.95, "exact")
        assert statistics.share_interval(count, total) == pytest.approx(exact)


def test_smallest_effect_is_the_one_found_with_the_power() -> None:
    """And a smaller one is found more rarely."""
    effect = statistics.smallest_effect(8, 0.3, tests=5)
    assert statistics._chance(effect / 0.3, 8, 5) == pytest.approx(0.8, abs=1e-12)
    assert statistics._chance(0.99 * effect / 0.3, 8, 5) < 0.8


@pytest.mark.slow
def test_thousands_of_blocks_fit_into_memory() -> None:
    """Their signs are drawn eight to a byte and used some at a time: 5,000
    blocks take less than 0.5 GB, and their p is that of the normal limit."""
    d = np.random.default_rng(5).normal(0.02, 1, 5000)
    tracemalloc.start()
    p, low, high = statistics.sign_flip(d)
    family = statistics.max_t(d[None])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    z = d.sum() / np.sqrt((d**2).sum())
    half = 1.96 * d.std() / np.sqrt(5000)
    assert p == pytest.approx(2 * stats.norm.sf(abs(z)), abs=0.005)
    assert family == pytest.approx([float(p)], abs=0.005)
    assert (low, high) == pytest.approx((d.mean() - half, d.mean() + half), abs=1e-3)
    subsets = statistics._subsets(5000, statistics.DRAWS)
    counted = sum(some.sum(axis=0) for some in subsets.parts())
    assert np.abs(counted / statistics.DRAWS - 0.5).max() < 0.01
    assert most < 500e6


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("n", [2, 3, 20])
def test_interval_of_a_mean_is_that_of_scipy(n: int, confidence: float) -> None:
    """And there is none of one value."""
    values = np.random.default_rng(n).normal(3, 2, n)
    scale = values.std(ddof=1) / math.sqrt(n)
    expected = stats.t.interval(confidence, n - 1, values.mean(), scale)
    assert statistics.t_interval(values, confidence) == pytest.approx(expected)
    assert all(map(math.isnan, statistics.t_interval(values[:1])))
