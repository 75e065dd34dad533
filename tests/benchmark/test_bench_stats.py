"""Intervals and tests against scipy, statsmodels, slower counting and known probabilities."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats as reference
from statsmodels.stats.contingency_tables import mcnemar as reference_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from benchmark import exchanges, metrics, stats
from benchmark.metrics import Statistic, divided, ratio
from benchmark.stats import Resampled
from benchmark.table import Floats, Outcomes, Sums
from tests.benchmark.score_logs import items_of, random_log

MEAN = ratio("mean", "right", "replies")


def clustered(clusters: int, seed: int, share: float = 0.7) -> Floats:
    """[c, 2] Right replies and replies of clusters of 1 to 6 that correlate."""
    rng = np.random.default_rng(seed)
    replies = rng.integers(1, 7, clusters)
    return np.stack([rng.binomial(replies, rng.beta(3 * share, 3 * (1 - share), clusters)), replies], axis=1).astype(
        float
    )


def sums(values_cs: Floats) -> Sums:
    return Sums(("right", "replies"), values_cs, {}, {})


@pytest.mark.parametrize("df", [1, 2, 3, 7, 59, 190, 24_999])
@pytest.mark.parametrize("probability", [0.025, 0.5, 0.8, 0.975, 0.9995])
def test_t_quantiles_are_scipys(df: int, probability: float) -> None:
    expected = float(reference.t.ppf(probability, df))
    assert stats.t_quantile(probability, df) == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_t_of_no_degrees_of_freedom_is_not_defined() -> None:
    assert math.isnan(stats.t_quantile(0.975, 0))


@pytest.mark.parametrize("seed", range(4))
def test_the_clustered_error_is_that_of_statsmodels(seed: int) -> None:
    values = clustered(40, seed)
    group = np.repeat(np.arange(40), values[:, 1].astype(int))
    right = np.concatenate([np.arange(n) < k for k, n in values]).astype(float)
    fit = sm.OLS(right, np.ones_like(right)).fit(cov_type="cluster", cov_kwds={"groups": group}, use_t=True)
    error = stats.clustered_error(values[:, 0], values[:, 1])
    assert error == pytest.approx(float(fit.bse[0]), rel=1e-10)
    low, high = stats.t_interval(float(fit.params[0]), error, 40)
    assert (low, high) == pytest.approx(tuple(fit.conf_int()[0]), rel=1e-9)


def test_clusters_without_replies_do_not_count() -> None:
    values = clustered(30, 0)
    more = np.concatenate([values, np.zeros((20, 2))])
    assert stats.clustered_error(*more.T) == stats.clustered_error(*values.T)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.random.default_rng(0).random(25)
    without = (values.sum() - values) / 24
    assert stats.jackknife_error(without) == pytest.approx(float(reference.sem(values)), rel=1e-10)
    assert math.isnan(stats.jackknife_error(without[:1]))


def test_draws_have_the_mean_and_spread_of_the_bootstrap() -> None:
    """Whole pictures are drawn with replacement: mean c m, variance c v, with v the variance over pictures."""
    values = clustered(50, 1)
    drawn = stats.drawn(values, 20_000, 0)
    spread = values.std(axis=0)
    assert np.allclose(drawn.mean(axis=0), values.sum(axis=0), atol=5 * spread * math.sqrt(50 / 20_000))
    assert np.allclose(drawn.std(axis=0), spread * math.sqrt(50), rtol=0.03)


def test_draws_are_the_same_for_one_seed_and_columns_move_together() -> None:
    values = clustered(33, 2)
    assert np.array_equal(stats.drawn(values, 300, 5), stats.drawn(values, 300, 5))
    assert np.array_equal(stats.drawn(values[:, :1], 300, 5), stats.drawn(values, 300, 5)[:, :1])
    assert not np.array_equal(stats.drawn(values, 300, 5), stats.drawn(values, 300, 6))


def test_draws_do_not_depend_on_how_many_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    values = clustered(33, 2)
    whole = stats.drawn(values, 301, 5)
    monkeypatch.setattr(stats, "CHUNK", 100)
    assert np.array_equal(stats.drawn(values, 301, 5), whole)


@pytest.mark.parametrize("share", [0.5, 0.93])
def test_the_bootstrap_interval_is_scipys(share: float) -> None:
    """Both draw 20,000 times: they agree to the noise of that."""
    values = clustered(60, 3, share)
    mine = Resampled.of(sums(values), 20_000, 0).interval(MEAN)
    theirs = reference.bootstrap(
        (values[:, 0], values[:, 1]),
        lambda a, b, axis: a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="BCa",
        rng=np.random.default_rng(1),
    )
    assert mine.method == "bootstrap"
    assert mine.error is not None
    within = 0.06 * mine.error
    assert mine.low == pytest.approx(theirs.confidence_interval.low, abs=within)
    assert mine.high == pytest.approx(theirs.confidence_interval.high, abs=within)
    assert mine.error == pytest.approx(theirs.standard_error, rel=0.05)


def test_all_right_gets_wilsons_interval_of_as_many_pictures() -> None:
    values = np.tile([4.0, 4.0], (30, 1))
    found = Resampled.of(sums(values), 200).interval(MEAN)
    expected = reference.binomtest(30, 30).proportion_ci(method="wilson")
    assert (found.value, found.method) == (1.0, "wilson")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_all_wrong_gets_wilsons_interval_too() -> None:
    found = Resampled.of(sums(np.tile([0.0, 3.0], (30, 1))), 200).interval(MEAN)
    assert (found.value, found.low, found.method) == (0.0, 0.0, "wilson")
    assert found.high == pytest.approx(0.1135, abs=1e-4)


@pytest.mark.parametrize(
    ("values", "value", "why"),
    [
        (np.zeros((0, 2)), None, "nothing to compute"),
        (np.zeros((5, 2)), None, "nothing to compute"),
        (np.array([[3.0, 4.0]]), 0.75, "single picture"),
        (np.array([[3.0, 4.0], [0.0, 0.0]]), 0.75, "single picture"),
    ],
)
def test_where_there_is_no_interval_it_says_why(values: Floats, value: float | None, why: str) -> None:
    found = Resampled.of(sums(values), 50).interval(MEAN)
    assert (found.value, found.low, found.high, found.method) == (value, None, None, "none")
    assert why in (found.why_none or "")


def test_a_score_that_draws_seldom_define_has_no_interval() -> None:
    values = np.zeros((30, 2))
    values[:2] = 1.0
    found = Resampled.of(sums(values), 2000).interval(MEAN)
    assert found.value == 1
    assert "not defined in" in (found.why_none or "")


def test_a_difference_that_never_moves_has_no_interval() -> None:
    level = Statistic("none", "difference", lambda c: c["right"] * 0, "replies", "lift")
    assert "equal in all" in (Resampled.of(sums(clustered(30, 0)), 50).interval(level).why_none or "")


# --- two runs


def apart(first: Floats, second: Floats) -> Floats:
    """Difference of the shares of two runs from totals [d, 2]."""
    return divided(second[:, 0], second[:, 1]) - divided(first[:, 0], first[:, 1])


def two_runs(clusters: int, seed: int, gain: float) -> tuple[Floats, Floats]:
    first, rng = clustered(clusters, seed), np.random.default_rng(seed + 100)
    second = first.copy()
    second[:, 0] += rng.binomial((first[:, 1] - first[:, 0]).astype(int), gain)
    second[:, 0] -= rng.binomial(second[:, 0].astype(int), 0.15)
    return first, second


@pytest.mark.parametrize("seed", range(3))
def test_few_clusters_are_exchanged_in_all_ways_as_scipy_does(seed: int) -> None:
    first, second = two_runs(10, seed, 0.4)
    p, tried, exact = exchanges.flipped(first, second, apart, 10_000, 0)

    def difference(a: Floats, b: Floats, axis: int) -> Floats:
        return np.asarray((b - a).mean(axis=axis))

    theirs = reference.permutation_test(
        (first[:, 0], second[:, 0]), difference, permutation_type="samples", n_resamples=np.inf, vectorized=True
    )
    assert exact
    assert tried == 2 ** int((first != second).any(axis=1).sum())
    assert p == pytest.approx(theirs.pvalue, abs=1e-12)


def test_many_clusters_are_exchanged_at_random_as_scipy_does() -> None:
    first, second = two_runs(60, 4, 0.35)
    p, tried, exact = exchanges.flipped(first, second, apart, 10_000, 0)
    theirs = reference.permutation_test(
        (first[:, 0], second[:, 0]),
        lambda a, b, axis: (b - a).mean(axis=axis),
        permutation_type="samples",
        n_resamples=10_000,
        vectorized=True,
        rng=np.random.default_rng(1),
    )
    assert (tried, exact) == (10_000, False)
    assert p == pytest.approx(theirs.pvalue, abs=4 * math.sqrt(2 * 0.25 / 10_000))


def test_random_exchanges_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = two_runs(14, 1, 0.4)
    monkeypatch.setattr(exchanges, "EXACT", 14)
    exact = exchanges.flipped(first, second, apart, 1, 0)
    monkeypatch.setattr(exchanges, "EXACT", 3)
    drawn = exchanges.flipped(first, second, apart, 20_000, 0)
    assert exact[2]
    assert drawn[0] == pytest.approx(exact[0], abs=4 * math.sqrt(exact[0] / 20_000) + 1e-4)


def test_a_nonlinear_score_is_exchanged_by_recomputing_it() -> None:
    """Phi of two runs on six regions: every exchange is computed from the replies, one by one."""
    runs = [items_of(*[[bool(rng.integers(2)), bool(rng.integers(2))] for _ in range(9)]) for rng in _generators(2)]
    tables = [metrics.sums(Outcomes.from_log(run)) for run in runs]
    phi = next(s for s in metrics.headline(tables[0].names) if s.name == "phi")
    formula = exchanges.difference_of(phi, tables[0].names)
    p, tried, exact = exchanges.flipped(tables[0].values, tables[1].values, formula, 10, 0)
    as_large, seen = 0, float(formula(tables[0].total, tables[1].total)[0])
    for swap in product([False, True], repeat=9):
        pick = np.array(swap)[:, None]
        one = np.where(pick, tables[1].values, tables[0].values).sum(axis=0, keepdims=True)
        other = np.where(pick, tables[0].values, tables[1].values).sum(axis=0, keepdims=True)
        value = abs(float(formula(one, other)[0]))
        as_large += not value < abs(seen) - 1e-12
    assert exact
    assert p == pytest.approx(as_large / 2**9)
    assert tried <= 2**9


def test_exchanges_follow_the_number_of_tests() -> None:
    assert [exchanges.exchanges_for(tests) for tests in (1, 100, 544, 10**7)] == [10_000, 10_000, 54_400, 1_000_000]


def test_a_clear_difference_is_exchanged_to_the_end_and_others_are_not() -> None:
    """The p that all exchanges can give stands only where the first ones do not settle it."""
    values = clustered(60, 0)
    worse = values - np.array([1.0, 0.0])
    assert exchanges.flipped(values, worse, apart, 40_000, 0, 1_000) == (1 / 40_001, 40_000, False)
    first, second = two_runs(60, 4, 0.35)
    p, tried, exact = exchanges.flipped(first, second, apart, 40_000, 0, 1_000)
    assert (p, tried, exact) == (*exchanges.flipped(first, second, apart, 1_000, 0)[:1], 1_000, False)
    assert p > (1 + exchanges.ENOUGH) / 1_001
    assert exchanges.least_p(40_000, False, 40_000) == 1 / 40_001
    assert exchanges.least_p(8, True, 40_000) == exchanges.flipped(values[:3], worse[:3], apart, 9, 0)[0] == 0.25
    assert exchanges.least_p(*exchanges.flipped(values, values, apart, 9, 0)[1:], 9) == 1.0


def _generators(number: int) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(number)]


def test_equal_runs_have_p_1() -> None:
    values = clustered(40, 0)
    assert exchanges.flipped(values, values, apart, 1000, 0) == (1.0, 1, True)


def test_the_permutation_test_keeps_its_level() -> None:
    """Two equally good runs: p is at most 0.05 in 5 % of 400 simulations, less 4 standard errors, or more."""
    found = []
    for seed in range(400):
        rng = np.random.default_rng(seed)
        chance, replies = rng.beta(2, 1, 40), np.full(40, 4)
        runs = [np.stack([rng.binomial(replies, chance), replies], axis=1).astype(float) for _ in range(2)]
        found.append(exchanges.flipped(runs[0], runs[1], apart, 300, seed)[0])
    rejected = float(np.mean(np.array(found) <= 0.05))
    assert 0.05 - 4 * math.sqrt(0.0475 / 400) < rejected < 0.05 + 4 * math.sqrt(0.0475 / 400)


@pytest.mark.parametrize(
    ("b", "c"), [(0, 0), (7, 0), (9, 2), (12, 5), (17, 10), (5, 5), (1, 0), (800, 700), (3000, 3300)]
)
def test_mcnemar_is_the_binomial_test(b: int, c: int) -> None:
    expected = reference.binomtest(b, b + c).pvalue if b + c else 1.0
    assert stats.mcnemar(b, c) == pytest.approx(expected, rel=1e-9)
    assert stats.mcnemar(c, b) == stats.mcnemar(b, c)
    theirs = reference_mcnemar(np.array([[10, b], [c, 10]]), exact=True).pvalue if b + c else 1.0
    assert stats.mcnemar(b, c) == pytest.approx(float(theirs), rel=1e-9)


def test_mcnemar_of_very_many_items() -> None:
    assert stats.mcnemar(51_000, 49_000) == pytest.approx(reference.binomtest(51_000, 100_000).pvalue, rel=1e-6)
    assert stats.mcnemar(10_000, 0) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_holm_is_that_of_statsmodels(seed: int) -> None:
    p = np.random.default_rng(seed).random(9) ** 3
    assert stats.holm(p.tolist()) == pytest.approx(multipletests(p, method="holm")[1].tolist())


def test_holm_leaves_out_what_is_no_test() -> None:
    assert stats.holm([]) == []
    adjusted = stats.holm([0.01, math.nan, 0.04])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.04)


@pytest.mark.parametrize("clusters", [20, 60, 191])
def test_the_detectable_difference_has_its_power_by_statsmodels(clusters: int) -> None:
    """The effect in standard deviations of a picture is detectable / (error sqrt(clusters))."""
    effect = stats.detectable(0.02, clusters) / (0.02 * math.sqrt(clusters))
    assert TTestPower().power(effect, clusters, 0.05) == pytest.approx(0.8, abs=0.004)


def test_the_pictures_needed_have_that_power_too() -> None:
    needed = stats.clusters_needed(0.02, 191, 0.03)
    assert needed is not None
    effect = 0.03 / (0.02 * math.sqrt(191))
    assert TTestPower().power(effect, needed, 0.05) == pytest.approx(0.8, abs=0.004)
    assert stats.clusters_needed(0.02, 191, -0.03) == needed
    assert stats.clusters_needed(0.02, 191, 0.0) is None


def test_more_pictures_narrow_the_interval_with_their_root() -> None:
    def width(copies: int) -> float:
        found = Resampled.of(sums(np.tile(clustered(60, 0), (copies, 1))), 4000).interval(MEAN)
        assert found.low is not None and found.high is not None
        return found.high - found.low

    assert width(1) / width(4) == pytest.approx(2, rel=0.1)


def test_many_queries_on_a_picture_are_not_many_observations() -> None:
    """Replies on a picture that are all alike: the error is that of the pictures."""
    rights = np.random.default_rng(0).integers(0, 2, 80).astype(float)
    alike = np.stack([rights * 50, np.full(80, 50.0)], axis=1)
    once = np.stack([rights, np.ones(80)], axis=1)
    assert stats.clustered_error(*alike.T) == pytest.approx(stats.clustered_error(*once.T))


@pytest.mark.parametrize("name", ["accuracy", "both", "phi", "correlation"])
def test_every_headline_interval_holds_its_value(name: str) -> None:
    added = metrics.sums(Outcomes.from_log(random_log(0, pictures=60)))
    resampled = Resampled.of(added, 500)
    formula: Callable[..., Floats] = next(s for s in metrics.headline(added.names) if s.name == name).formula
    statistic = next(s for s in metrics.headline(added.names) if s.name == name)
    found = resampled.interval(statistic)
    assert found.low is not None and found.high is not None
    assert found.low < float(formula(resampled.total)[0]) < found.high
