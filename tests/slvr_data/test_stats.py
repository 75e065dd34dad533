"""Each formula stated a second, slower way."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from slvr_data.stats import Z95, cohen_kappa, stratified_rate, stratum_weights, wilson


def bisected(hits: float, number: float, low: float, high: float) -> float:
    """Where the score test of `hits` in `number` changes its mind between the shares `low` and `high`."""

    def refused(p: float) -> bool:
        return abs(hits / number - p) > Z95 * math.sqrt(p * (1 - p) / number)

    side = refused(low)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if refused(middle) == side else (low, middle)
    return (low + high) / 2


@pytest.mark.parametrize(("hits", "number"), [(1, 10), (5, 10), (29, 400), (0.7, 12.4), (399, 400), (3, 3.5)])
def test_wilson_is_the_set_of_shares_that_the_score_test_accepts(hits: float, number: float) -> None:
    low, high = wilson(hits, number)
    share = hits / number
    assert low == pytest.approx(bisected(hits, number, 1e-12, share), abs=1e-9)
    assert high == pytest.approx(bisected(hits, number, share, 1 - 1e-12), abs=1e-9)


def test_wilson_at_its_ends() -> None:
    assert wilson(0, 0) == (0, 1)
    assert wilson(0, 30) == (0, pytest.approx(Z95**2 / (30 + Z95**2)))
    assert wilson(30, 30) == (pytest.approx(30 / (30 + Z95**2)), 1)
    for hits, number in ((-1, 3), (4, 3), (0, -1), (math.nan, 3), (1, math.inf)):
        with pytest.raises(ValueError, match="is not a share"):
            wilson(hits, number)


def test_wilson_is_known() -> None:
    """From Newcombe (1998), table I: 81 of 263, and 15 of 148."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


def test_every_unit_stands_for_its_share_of_the_stratum() -> None:
    strata = [0, 1, 0, 2, 1, 1, 0, 0]
    sizes = [400, 9, 1]
    weights = stratum_weights(sizes, strata)
    for weight, stratum in zip(weights, strata, strict=True):
        assert weight == pytest.approx(sizes[stratum] / strata.count(stratum))
    assert weights.sum() == pytest.approx(410)
    assert stratum_weights([5, 3], np.array([], int)).shape == (0,)


def test_a_weighted_rate_is_that_of_the_population_written_out() -> None:
    hits, trials, weights = [1, 0, 2, 0, 3], [1, 2, 2, 4, 3], [2, 5, 1, 3, 4]
    population = [unit for unit, weight in enumerate(weights) for _ in range(weight)]
    found = stratified_rate(hits, trials, weights)
    share = Fraction(sum(hits[unit] for unit in population), sum(trials[unit] for unit in population))
    mass = [weight * trial for weight, trial in zip(weights, trials, strict=True)]
    effective = Fraction(sum(mass) ** 2, sum(m * m for m in mass))
    assert found.rate == pytest.approx(float(share))
    assert found.effective_n == pytest.approx(float(effective))
    assert (found.low, found.high) == pytest.approx(wilson(float(share * effective), float(effective)))


def test_equal_weights_and_single_trials_are_plain_wilson() -> None:
    found = stratified_rate([1] * 29 + [0] * 371, [1] * 400, [7.5] * 400)
    assert (found.low, found.high) == pytest.approx(wilson(29, 400))
    assert found.effective_n == pytest.approx(400)


def test_nothing_seen_is_not_zero() -> None:
    assert stratified_rate([], [], []).rate is None
    assert stratified_rate([0, 0], [0, 0], [3, 4]).rate is None
    none = stratified_rate([0], [1], [3])
    assert (none.rate, none.low) == (0, 0)
    assert none.high > 0.7


@pytest.mark.parametrize("alike", [0.0, 1.0])
def test_the_stratified_interval_holds_what_it_promises(alike: float) -> None:
    """Simulated: three strata of different rates, unequal weights, three trials per unit that may go together."""
    rng = np.random.default_rng(0)
    sizes, drawn, rates = [8000, 1500, 500], [150, 40, 30], [0.06, 0.12, 0.3]
    strata = np.repeat(range(3), drawn)
    weights = stratum_weights(sizes, strata)
    true = np.dot(sizes, rates) / sum(sizes)
    inside = 0
    for _ in range(1500):
        together = rng.random(len(strata)) < np.array(rates)[strata]
        apart = (rng.random((3, len(strata))) < np.array(rates)[strata]).sum(0)
        found = stratified_rate(np.where(rng.random(len(strata)) < alike, 3 * together, apart), [3] * 220, weights)
        inside += found.low <= true <= found.high
    assert inside / 1500 > 0.935


def slow_kappa(first: list[str], second: list[str]) -> tuple[float, float]:
    """(p_o, kappa) by pairing every judgement of the one with every judgement of the other."""
    observed = [a == b for a, b in zip(first, second, strict=True)]
    chance = [a == b for a, b in product(first, second)]
    p_o, p_e = sum(observed) / len(observed), sum(chance) / len(chance)
    return p_o, 1 - (1 - p_o) / (1 - p_e)


def test_kappa() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        first = [str(c) for c in rng.choice(["right", "color", "vague"], 40, p=[0.7, 0.2, 0.1])]
        second = [a if rng.random() < 0.6 else str(rng.choice(["right", "color", "other"])) for a in first]
        found = cohen_kappa(first, second)
        p_o, kappa = slow_kappa(first, second)
        assert (found.n, found.agreed, found.kappa) == (40, pytest.approx(p_o), pytest.approx(kappa))
        p_e = (p_o - kappa) / (1 - kappa)
        ends = [bisected(p_o * 40, 40, 1e-12, p_o), bisected(p_o * 40, 40, p_o, 1 - 1e-12)]
        assert [found.low, found.high] == pytest.approx([(end - p_e) / (1 - p_e) for end in ends], abs=1e-9)


def test_kappa_is_known() -> None:
    """Cohen's own example: 200 cases, agreement .70 where .41 is expected, kappa .492."""
    table = {("a", "a"): 88, ("a", "b"): 10, ("a", "c"): 2, ("b", "a"): 14, ("b", "b"): 40, ("b", "c"): 6,
             ("c", "a"): 18, ("c", "b"): 10, ("c", "c"): 12}  # fmt: skip
    pairs = [pair for pair, count in table.items() for _ in range(count)]
    found = cohen_kappa([a for a, _ in pairs], [b for _, b in pairs])
    assert (found.agreed, found.kappa) == (pytest.approx(0.70), pytest.approx(0.4915, abs=1e-4))


def test_kappa_at_its_ends() -> None:
    assert cohen_kappa([], []).agreed is None
    same = cohen_kappa(["right"] * 5, ["right"] * 5)
    assert (same.agreed, same.kappa, same.low, same.high) == (1, None, None, None)
    perfect = cohen_kappa([True, False, True], [True, False, True])
    assert (perfect.kappa, perfect.high) == (1, pytest.approx(1))
    assert perfect.low is not None and perfect.low < 0.5
    opposed = cohen_kappa(["a", "b"] * 4, ["b", "a"] * 4)
    assert (opposed.kappa, opposed.low) == (pytest.approx(-1), -1)
    with pytest.raises(ValueError, match="3 judgements and 2"):
        cohen_kappa([1, 2, 3], [1, 2])


def test_the_interval_of_kappa_holds_what_it_promises() -> None:
    """Simulated: two judges who see the truth nine times in ten each, one in five items being wrong."""
    rng = np.random.default_rng(2)
    both = 0.9 * 0.9 + 0.1 * 0.1
    says = 0.2 * 0.9 + 0.8 * 0.1
    expected = says**2 + (1 - says) ** 2
    true, inside = (both - expected) / (1 - expected), 0
    for _ in range(600):
        truth = rng.random(150) < 0.2
        first, second = (truth ^ (rng.random(150) < 0.1) for _ in range(2))
        found = cohen_kappa(first.tolist(), second.tolist())
        inside += found.low is not None and found.high is not None and found.low <= true <= found.high
    assert inside / 600 > 0.93
