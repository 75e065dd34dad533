"""Scores of correctness against a second implementation in plain loops, and where they are not defined."""

from __future__ import annotations

import numpy as np
import pytest

from benchmark.metrics import by_facet, by_position, headline, queries_of, sums
from benchmark.records import LogLine
from benchmark.table import Outcomes
from tests.benchmark import slow_scores
from tests.benchmark.score_logs import items_of, random_log


def values(lines: list[LogLine], queries: dict[str, int] | None = None) -> dict[str, float]:
    table = Outcomes.from_log(lines)
    added = sums(table, queries)
    total = added.columns(added.total)
    found = {statistic.name: float(statistic.formula(total)[0]) for statistic in headline(added.names)}
    found |= {f"position {name}": float(s.formula(total)[0]) for name, s in by_position(table).items()}
    for facet, own in by_facet(table).items():
        found |= {f"{facet} {s.name}": float(s.formula(total)[0]) for s in own}
    return found


def same(fast: dict[str, float], slow: dict[str, float | None]) -> None:
    for name, value in slow.items():
        assert fast[name] == pytest.approx(float("nan") if value is None else value, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("seed", range(12))
def test_every_score_equals_the_slow_one(seed: int) -> None:
    lines = random_log(seed, pictures=2 + 3 * seed, seeds=1 + seed % 3)
    fast, slow = values(lines), slow_scores.headline(lines)
    assert {name for name in fast if " " not in name} == set(slow)
    same(fast, slow)
    same(fast, {f"position q{place}": v for place, v in slow_scores.by(lines, lambda x: str(x.position + 1)).items()})
    same(fast, {f"{facet} accuracy": v for facet, v in slow_scores.by(lines, lambda x: x.facet).items()})


def test_scores_by_hand() -> None:
    found = values(items_of([True, True], [True, False], [False, True], [False, False], [True, True, True, False]))
    assert found["accuracy"] == pytest.approx(7 / 12)
    assert found["both"] == pytest.approx(2 / 5)
    assert found["all_right"] == pytest.approx(1 / 5)
    assert found["any_right"] == pytest.approx(4 / 5)
    assert found["mixed"] == pytest.approx(3 / 5)
    assert found["p_q2_given_q1"] == pytest.approx(2 / 3)
    assert found["lift"] == pytest.approx(2 / 5 - 9 / 25)
    assert found["phi"] == pytest.approx((2 / 5 - 9 / 25) / (6 / 25))
    assert found["cs_2"] == pytest.approx((1 + 3 / 6) / 5)
    assert found["cs_3"] == pytest.approx(1 / 4)
    assert found["cs_4"] == 0
    assert found["over_chance"] == pytest.approx(7 / 12 - 1 / 4)
    assert found["all_right_over_chance"] == pytest.approx(1 / 5 - (4 / 16 + 1 / 256) / 5)


def test_all_right_is_1_and_has_no_phi() -> None:
    found = values(items_of([True, True], [True, True, True]))
    for name in ("accuracy", "both", "all_right", "cs_2", "cs_3", "p_q2_given_q1", "worst_of_k", "any_right"):
        assert found[name] == 1, name
    for name in ("lift", "lift_of_all", "mixed"):
        assert found[name] == 0, name
    for name in ("phi", "kappa", "correlation", "cs_4"):
        assert np.isnan(found[name]), name


def test_all_wrong_has_no_conditionals() -> None:
    found = values(items_of([False, False], [False, False]))
    assert found["accuracy"] == found["both"] == found["lift"] == 0
    for name in ("p_q2_given_q1", "p_q1_given_q2", "p_other_given_one", "phi", "kappa", "correlation"):
        assert np.isnan(found[name]), name


def test_items_with_one_reply_count_for_accuracy_alone() -> None:
    found = values(items_of([True], [False], [True]))
    assert found["accuracy"] == found["accuracy_per_item"] == pytest.approx(2 / 3)
    for name in ("both", "all_right", "any_right", "worst_of_k", "cs_2", "lift_of_all"):
        assert np.isnan(found[name]), name


REGION_SCORES = ("both", "all_right", "any_right", "worst_of_k", "cs_2", "accuracy_per_item", "p_q2_given_q1",
                 "p_other_given_one", "mixed", "lift_of_all")  # fmt: skip


@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_item_without_all_its_replies_is_in_no_score_over_items(place: int) -> None:
    """Its missing reply is the wrong one: without it the item would be all right."""
    half, others = [True, True, True], items_of([True, False, True], [False, True, True])
    lines = [x for x in items_of(half) if x.position != place]
    lines = [x.model_copy(update={"item_id": "half", "image_id": "half"}) for x in lines]
    counts = {"half": 3}
    found, alone = values([*others, *lines], counts), values(others)
    for name in REGION_SCORES:
        assert found[name] == pytest.approx(alone[name], nan_ok=True), name
    assert (found["incomplete"], alone["incomplete"]) == (pytest.approx(1 / 3), 0)
    assert found["accuracy"] == 6 / 8


def test_an_item_that_is_not_whole_in_one_seed_is_not_in_worst_of_k() -> None:
    lines = [*items_of([True, True], [True, False]), *items_of([True], [True, False], seed=1)]
    found = values(lines)
    assert (found["worst_of_k"], found["all_right"], found["incomplete"]) == (0, 1 / 3, 1 / 4)


def test_how_many_queries_an_item_has() -> None:
    lines = [x.model_copy(update={"variant": "blank"}) for x in items_of([True, True, True])] + items_of([True], [True])
    assert queries_of(lines) == {"0": 3, "1": 1}


def test_worst_of_k_takes_all_seeds_together() -> None:
    lines = [*items_of([True, True], [True, True]), *items_of([True, True], [True, False], seed=1)]
    found = values(lines)
    assert found["all_right"] == 3 / 4
    assert found["worst_of_k"] == 1 / 2


def test_open_queries_have_no_chance_and_count_for_accuracy() -> None:
    found = values([*items_of([True, False]), *items_of([True], seed=1, chance=None, choices=())])
    assert found["accuracy"] == pytest.approx(2 / 3)
    assert found["over_chance"] == pytest.approx(1 / 4)


def test_independent_replies_have_no_lift() -> None:
    """All four outcomes of two queries in the ratio of independence: 0.5 and 0.75."""
    found = values(items_of(*[[True, True]] * 3, [True, False], *[[False, True]] * 3, [False, False]))
    for name in ("lift", "lift_of_all", "phi", "kappa"):
        assert found[name] == pytest.approx(0, abs=1e-12), name


def test_nothing_is_not_defined_and_no_error() -> None:
    assert all(np.isnan(value) for value in values([]).values())
