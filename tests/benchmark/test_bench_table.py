"""Logs as arrays: any order gives the same, doubles are refused, sums per picture add up."""

from __future__ import annotations

import random

import numpy as np
import pytest

from benchmark.table import OUTCOMES, Outcomes, Sums
from slvr_data.errors import RunError
from tests.benchmark.score_logs import items_of, line, random_log


def test_arrays_hold_what_the_log_says() -> None:
    lines = [
        line("b", 1, False, image="y", outcome="refused", answer=None),
        line("b", 0, True, image="y", chance=None, choices=()),
        line("a", 0, True, image="y"),
        line("c", 0, False, image="x", seed=3),
    ]
    table = Outcomes.from_log(lines)
    assert table.images == ("x", "y")
    assert table.items == ("c", "a", "b")
    assert table.keys == [(0, "c-0"), (1, "a-0"), (2, "b-0"), (2, "b-1")]
    assert table.correct_n.tolist() == [False, True, True, False]
    assert [OUTCOMES[code] for code in table.outcome_n] == ["answer", "answer", "answer", "refused"]
    assert [table.facets[code] for code in table.facet_n] == ["color", "color", "color", "size"]
    assert np.isnan(table.chance_n).tolist() == [False, False, True, False]
    assert table.cluster_g.tolist() == [0, 1, 1]


def test_the_order_of_the_log_does_not_matter() -> None:
    lines = random_log(1, seeds=2)
    shuffled = random.Random(0).sample(lines, len(lines))
    one, other = Outcomes.from_log(lines), Outcomes.from_log(shuffled)
    for name in Outcomes.__dataclass_fields__:
        assert np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "chance_n"), name


def test_one_variant_and_one_seed_are_taken() -> None:
    lines = random_log(2, seeds=2, variants=("plain", "blank"))
    assert len(Outcomes.from_log(lines).group_n) == sum(x.variant == "plain" for x in lines)
    only = Outcomes.from_log(lines, "blank", 1)
    assert len(only.group_n) == sum(x.variant == "blank" and x.seed == 1 for x in lines)


def test_seeds_are_groups_of_one_item() -> None:
    table = Outcomes.from_log([*items_of([True, False]), *items_of([True, True], seed=1)])
    assert table.items == ("0",)
    assert table.item_g.tolist() == [0, 0]
    assert table.group_n.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("double", [line("a", 0, True), line("a", 0, False, query_id="other")])
def test_a_query_or_a_place_that_is_there_twice_is_refused(double: object) -> None:
    with pytest.raises(RunError, match="in the log twice"):
        Outcomes.from_log([line("a", 0, True), double])  # type: ignore[list-item]


def test_an_item_of_two_pictures_is_refused() -> None:
    with pytest.raises(RunError, match="item a is of two pictures, x and y"):
        Outcomes.from_log([line("a", 0, True, image="x"), line("a", 1, True, image="y")])


def test_an_empty_log_is_an_empty_table() -> None:
    table = Outcomes.from_log([])
    assert (table.images, table.items, len(table.group_n)) == ((), (), 0)


def test_sums_add_within_pictures_and_count_what_is_there() -> None:
    columns = {"a": np.array([1.0, 0.0, 2.0, 0.0]), "b": np.ones(4)}
    sums = Sums.of_groups(columns, np.array([0, 1, 1, 2]), np.array([0, 0, 0, 1]), 2)
    assert sums.values.tolist() == [[3.0, 3.0], [0.0, 1.0]]
    assert sums.items == {"a": 2, "b": 3}
    assert sums.clusters == {"a": 1, "b": 2}
    assert sums.columns(sums.total)["b"].tolist() == [4.0]
    assert sums.without["a"].tolist() == [0.0, 3.0]
