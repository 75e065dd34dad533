"""Plans of batches: every sample once, the same from any step, little padding, alike across ranks."""

from __future__ import annotations

from collections import Counter
from itertools import islice

import numpy as np
import pytest

from slvr_data.errors import UsageError
from slvr_model.efficiency.lengths import KINDS, Kind, Plan, work


def lengths(number: int = 2000, seed: int = 0) -> np.ndarray:
    """Log-uniform in 16 to 640."""
    return np.exp(np.random.default_rng(seed).uniform(np.log(16), np.log(640), number)).astype(np.int64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ranks", [1, 3])
def test_every_sample_is_in_an_epoch_once(kind: Kind, ranks: int) -> None:
    plan = Plan(lengths(1003), kind, seed=3, ranks=ranks)
    for epoch in (0, 1):
        batches = plan.epoch(epoch)
        assert Counter(n for batch in batches for n in batch) == Counter(range(1003))
        assert len(batches) % ranks == 0 and all(batches)
        assert kind == "packed" or max(map(len, batches)) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_is_the_seeds_and_changes_with_the_epoch(kind: Kind) -> None:
    held = lengths(300)
    first = Plan(held, kind, seed=1)
    assert first.epoch(2) == Plan(held, kind, seed=1).epoch(2)
    assert first.epoch(2) != first.epoch(3) and first.epoch(2) != Plan(held, kind, seed=2).epoch(2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_from_any_batch(kind: Kind) -> None:
    plan = Plan(lengths(200), kind, seed=5)
    whole = list(islice(plan.batches(), 90))  # more than three epochs
    for start in (0, 1, 24, 25, 26, 50, 77):
        assert list(islice(Plan(lengths(200), kind, seed=5).batches(start), 90 - start)) == whole[start:]


def test_grouped_and_packed_batches_are_nearly_all_real() -> None:
    held = lengths()
    shares = {kind: work(Plan(held, kind).epoch(1), held, packed=kind == "packed").share for kind in KINDS}
    assert shares["random"] < 0.5 and shares["grouped"] > 0.95 and shares["packed"] == 1


def test_packed_rows_keep_to_their_budget_and_are_full() -> None:
    held = lengths()
    plan = Plan(held, "packed", budget=1000)
    sums = [int(held[row].sum()) for row in plan.epoch(1)]
    assert max(sums) <= 1000 and np.mean(sums) > 970
    assert Plan(np.array([5, 7, 90]), "packed", 2).budget == 90
    assert Plan(np.array([5, 7, 9]), "packed", 2).budget == 14


def test_first_fit_decreasing_by_hand() -> None:
    plan = Plan(np.array([4, 8, 1, 4, 2, 1]), "packed", budget=10)
    rows = {tuple(sorted(int(plan.lengths[n]) for n in row)) for row in plan.epoch(1)}
    assert rows == {(2, 8), (1, 1, 4, 4)}


def test_batches_are_drawn_anew_and_not_by_length() -> None:
    """Grouping leaves chance in who meets whom, and in when short ones come."""
    held = lengths()
    plan = Plan(held, "grouped", window=8)
    firsts = [frozenset(plan.epoch(epoch)[5]) for epoch in range(1, 6)]
    assert len(set(firsts)) == 5
    means = np.array([held[batch].mean() for batch in plan.epoch(1)])
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.3


@pytest.mark.parametrize("kind", KINDS)
def test_what_needs_most_memory_comes_first(kind: Kind) -> None:
    held = lengths(500)
    plan = Plan(held, kind)
    costs = [work([batch], held, packed=kind == "packed").computed for batch in plan.epoch(0)]
    assert costs[0] == max(costs)


@pytest.mark.parametrize("kind", ["grouped", "packed"])
def test_ranks_compute_alike(kind: Kind) -> None:
    held = lengths()
    plan = Plan(held, kind, ranks=4)
    batches = plan.epoch(1)
    costs = np.array([work([batch], held, packed=kind == "packed").computed for batch in batches]).reshape(-1, 4)
    assert (costs.sum(1) / (4 * costs.max(1))).mean() > 0.93


def test_few_samples_for_many_ranks() -> None:
    for kind in KINDS:
        batches = Plan(np.array([5, 3]), kind, ranks=5).epoch(0)
        assert len(batches) == 5 and all(batches) and {n for batch in batches for n in batch} == {0, 1}


def test_work_counts_padding_and_pairs() -> None:
    held = np.array([2, 3, 5])
    padded, packed = (work([[0, 1], [2]], held, packed=choice) for choice in (False, True))
    assert (padded.real, padded.computed, padded.pairs) == (10, 11, 2 * 9 + 25)
    assert (packed.real, packed.computed, packed.pairs) == (10, 10, 25 + 25)
    assert packed.share == 1


def test_wrong_plans_are_named() -> None:
    for given, said in (
        ({"kind": "sorted"}, 'kind "sorted": random, grouped, packed'),
        ({"size": 0}, "size 0"),
        ({"ranks": 0}, "ranks 0"),
        ({"kind": "packed", "budget": 8}, "sample 1 has 9 tokens, a packed row takes 8"),
    ):
        with pytest.raises(UsageError, match=said):
            Plan(np.array([3, 9]), **given)  # type: ignore[arg-type]
    for nothing in (np.array([], np.int64), np.array([3, 0])):
        with pytest.raises(UsageError, match="at least one sample"):
            Plan(nothing)
