"""Paired comparisons: differences, intervals and tests against direct computation; which tests apply."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark.comparison import TESTED, Difference, differences
from benchmark.records import LogLine
from benchmark.stats import holm, mcnemar
from slvr_data.errors import RunError
from tests.benchmark import slow_scores
from tests.benchmark.score_logs import items_of


def run(seed: int, gain: float = 0.0, pictures: int = 80, per_picture: int = 2, queries: int = 2) -> list[LogLine]:
    """A run on fixed items: pictures are easy or hard alike for all runs, and `gain` makes one better."""
    hard = np.random.default_rng(0).beta(1.5, 1.0, pictures)
    rng = np.random.default_rng(seed)
    chance = np.clip(np.repeat(hard, per_picture) + gain, 0, 1)
    rights = rng.random((len(chance), queries)) < chance[:, None]
    names = [f"p{i // per_picture:03}" for i in range(len(chance))]
    return items_of(*rights.tolist(), pictures=names)


def one(found: list[Difference], score: str) -> Difference:
    return next(row for row in found if row.score == score)


def test_differences_are_second_less_first() -> None:
    runs = {"base": run(1), "new": run(2, 0.1)}
    found = differences(runs, draws=400)
    assert [row.score for row in found] == list(TESTED)
    slow = {name: slow_scores.headline(lines) for name, lines in runs.items()}
    for row in found:
        first, second = slow["base"][row.score], slow["new"][row.score]
        assert first is not None and second is not None
        assert (row.first, row.second) == ("base", "new")
        assert (row.first_value, row.second_value) == (pytest.approx(first), pytest.approx(second))
        assert row.difference == pytest.approx(second - first)
        assert (row.n_items, row.n_clusters) == (160, 80)


def test_a_large_gain_is_found_and_its_interval_is_above_0() -> None:
    row = one(differences({"a": run(1), "b": run(2, 0.25)}, draws=999), "accuracy")
    assert row.low is not None and row.difference is not None and row.detectable is not None
    assert 0 < row.low < row.difference < (row.high or 0)
    assert row.p is not None and row.p <= 0.002
    assert row.detectable < row.difference
    assert row.clusters_needed is not None and row.clusters_needed < 80


def test_pairing_is_narrower_than_two_unpaired_runs() -> None:
    from benchmark.scores import scores_of

    runs = {"a": run(1), "b": run(2, 0.05)}
    row = one(differences(runs, draws=500), "accuracy")
    errors = [scores_of(lines, draws=500)["accuracy"].error for lines in runs.values()]
    assert row.error is not None and None not in errors
    assert row.error < 0.8 * math.hypot(*(error or 0 for error in errors))


def test_the_error_of_a_difference_of_means_is_that_of_the_paired_pictures() -> None:
    runs = {"a": run(1, per_picture=1), "b": run(2, per_picture=1)}
    row = one(differences(runs, draws=200), "accuracy")
    means = [np.array([x.correct for x in lines], float).reshape(-1, 2).mean(axis=1) for lines in runs.values()]
    apart = means[1] - means[0]
    assert row.error == pytest.approx(apart.std(ddof=1) / math.sqrt(len(apart)), rel=1e-9)


def test_mcnemar_only_where_every_picture_has_one_region() -> None:
    single = {"a": run(1, per_picture=1), "b": run(2, 0.2, per_picture=1)}
    row = one(differences(single, draws=200), "both")
    right = [np.array([x.correct for x in lines]).reshape(-1, 2).all(axis=1) for lines in single.values()]
    assert row.only_first == int((right[0] & ~right[1]).sum())
    assert row.only_second == int((right[1] & ~right[0]).sum())
    assert row.mcnemar == pytest.approx(mcnemar(row.only_first, row.only_second))
    assert one(differences(single, draws=200), "accuracy").mcnemar is None
    several = differences({"a": run(1), "b": run(2, 0.2)}, draws=200)
    assert one(several, "both").mcnemar is None


def test_one_region_and_exact_exchanges_are_mcnemar() -> None:
    """With one region per picture the sign-flip test of Both is McNemar's test."""
    runs = {"a": run(1, pictures=24, per_picture=1), "b": run(2, 0.2, pictures=24, per_picture=1)}
    row = one(differences(runs, draws=200), "both")
    assert row.exact
    assert row.p == pytest.approx(row.mcnemar, abs=1e-12)


def test_seeds_are_no_independent_regions() -> None:
    twice = [
        [*run(s, per_picture=1), *(x.model_copy(update={"seed": 1}) for x in run(s, per_picture=1))] for s in (1, 2)
    ]
    once = one(differences({"a": run(1, per_picture=1), "b": run(2, per_picture=1)}, draws=200), "both")
    found = one(differences({"a": twice[0], "b": twice[1]}, draws=200), "both")
    assert found.mcnemar is None
    assert found.error == pytest.approx(once.error)
    assert found.p == once.p


def test_holm_over_all_pairs_and_scores() -> None:
    found = differences({"a": run(1), "b": run(2, 0.1), "c": run(3, 0.2)}, ("accuracy", "both"), draws=300)
    assert [(row.first, row.second) for row in found[::2]] == [("a", "b"), ("a", "c"), ("b", "c")]
    adjusted = holm([row.p or 0 for row in found])
    assert [row.p_adjusted for row in found] == pytest.approx(adjusted)


def test_a_run_does_not_differ_from_itself() -> None:
    for row in differences({"a": run(1), "b": run(1)}, draws=200):
        assert (row.difference, row.p, row.exact) == (0, 1, True)
        assert row.low is None
        assert row.withheld == "equal in all resamplings"
        assert row.clusters_needed is None


def test_a_score_that_is_not_defined_is_no_test() -> None:
    wrong = [x.model_copy(update={"correct": False}) for x in run(1)]
    row = differences({"a": run(1), "b": wrong}, ("phi",), draws=100)[0]
    assert (row.difference, row.p, row.p_adjusted) == (None, None, None)
    assert row.withheld


def test_a_conditional_is_over_what_each_run_had_right() -> None:
    runs = {"a": run(1), "b": run(2, 0.2)}
    row = differences(runs, ("p_q2_given_q1",), draws=300)[0]
    slow = [slow_scores.headline(lines)["p_q2_given_q1"] for lines in runs.values()]
    assert row.difference == pytest.approx((slow[1] or 0) - (slow[0] or 0))
    assert row.n_items == 160
    assert row.low is not None


@pytest.mark.parametrize("pictures", [1, 6])
def test_few_pictures_have_no_interval(pictures: int) -> None:
    row = one(differences({"a": run(1, pictures=pictures), "b": run(2, pictures=pictures)}, draws=100), "accuracy")
    assert (row.low, row.high) == (None, None)
    assert row.withheld
    assert row.p is not None


@pytest.mark.parametrize("hard", ["a", "b"])
def test_an_interval_is_withheld_where_either_run_is_at_a_level_without_coverage(hard: str) -> None:
    """Lift of a run that is right half the time is to be trusted on 80 pictures, of one that is hardly ever is not."""
    from benchmark.scores import scores_of

    half = items_of(*[[i % 2 > 0, i % 3 > 0] for i in range(80)])
    seldom = items_of(*[[i % 27 == 0, i % 40 < 2] for i in range(80)])
    runs = {"a": seldom, "b": half} if hard == "a" else {"a": half, "b": seldom}
    own = {name: scores_of(lines, draws=400)["lift"] for name, lines in runs.items()}
    assert [name for name in runs if own[name].withheld] == [hard]
    row = one(differences(runs, draws=400), "lift")
    assert row.withheld == own[hard].withheld
    assert (row.low, row.high) == (None, None) and row.difference is not None


def test_other_items_are_refused() -> None:
    with pytest.raises(RunError, match="a and b were not asked the same"):
        differences({"a": run(1), "b": run(2, pictures=79)})
    moved = [x.model_copy(update={"image_id": "elsewhere"}) if x.item_id == "0" else x for x in run(2)]
    with pytest.raises(RunError, match="not asked the same"):
        differences({"a": run(1), "b": moved})


def test_nothing_is_compared_without_replies_or_with_one_run() -> None:
    assert differences({"a": [], "b": []}) == []
    assert differences({"a": run(1)}) == []


def test_equal_input_gives_equal_bytes() -> None:
    runs = {"a": run(1), "b": run(2)}
    again = {name: lines[::-1] for name, lines in runs.items()}
    first, second = differences(runs, draws=200), differences(again, draws=200)
    assert [row.model_dump_json() for row in first] == [row.model_dump_json() for row in second]
