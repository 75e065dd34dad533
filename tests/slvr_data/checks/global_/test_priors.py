"""Answers that need no picture are thinned out: down to the bound, in no order, and only where many are asked."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from slvr_data.checks.global_.priors import LEAST_QUERIES, MOST, answerable_blind

WORDS = ("banana", "sky")
ANSWERS = ("yellow", "green", "blue")


def query(number: int, noun: str, answer: str, **changes: Any) -> dict[str, Any]:
    place = ("leftmost", "third", "largest")[number % 3]
    return {
        "query_id": f"{number * 7919:032x}", "facet": "color", "question": f"What color is the {place} {noun}?",
        "answer": answer, "choices": list(ANSWERS), "origin": "generated",
    } | changes  # fmt: skip


def grouped(queries: list[dict[str, Any]], size: int = 2) -> list[dict[str, Any]]:
    return [{"queries": queries[first : first + size]} for first in range(0, len(queries), size)]


weights = st.tuples(st.integers(0, 120), st.integers(0, 40), st.integers(0, 5))


@given(st.lists(weights, min_size=2, max_size=2), st.randoms())
@settings(max_examples=200, deadline=None)
def test_the_share_of_one_answer_is_bounded(counts: list[tuple[int, ...]], rng: random.Random) -> None:
    queries = []
    for noun, numbers in zip(WORDS, counts, strict=True):
        for answer, number in zip(ANSWERS, numbers, strict=True):
            queries += [query(len(queries) + n, noun, answer) for n in range(number)]
    rng.shuffle(queries)
    verdicts = answerable_blind(grouped(queries))
    gone = {verdict["query_id"] for verdict in verdicts}
    assert len(gone) == len(verdicts) and [v["query_id"] for v in verdicts] == sorted(gone)
    for noun, numbers in zip(WORDS, counts, strict=True):
        mine = [q for q in queries if q["question"].endswith(f" {noun}?")]
        left = Counter(q["answer"] for q in mine if q["query_id"] not in gone)
        lost = Counter(q["answer"] for q in mine if q["query_id"] in gone)
        if sum(numbers) < LEAST_QUERIES or max(numbers) <= MOST * sum(numbers):
            assert not lost, "small and mixed kinds are untouched"
            continue
        assert lost.keys() == {ANSWERS[numbers.index(max(numbers))]}, "only the frequent answer is thinned out"
        assert not left or max(left.values()) <= MOST * left.total()
        if left:
            assert max(left.values()) + 1 > MOST * (left.total() + 1), "no more than needed"
    rng.shuffle(queries)
    assert answerable_blind(grouped(queries, 3)) == verdicts, "neither order nor grouping matters"


def test_facets_are_kinds_of_their_own() -> None:
    small = [query(n, "sky", "blue", facet=("color", "size")[n % 2]) for n in range(2 * LEAST_QUERIES - 2)]
    assert answerable_blind(grouped(small)) == []


def test_places_and_sizes_are_no_kinds_of_their_own() -> None:
    assert len(answerable_blind(grouped([query(n, "sky", "blue") for n in range(LEAST_QUERIES)]))) == LEAST_QUERIES


def test_questions_of_a_source_and_open_ones_are_left_alone() -> None:
    source = [query(n, "sky", "blue", origin="source") for n in range(50)]
    still = [query(n, "sky", "blue", choices=[]) for n in range(50, 100)]
    assert answerable_blind(grouped(source + still)) == []


def test_the_verdict_says_what_was_seen() -> None:
    verdict = answerable_blind(grouped([query(n, "sky", "blue") for n in range(30)]))[0]
    assert (verdict["check"], verdict["reason"]) == ("prior", "answerable-blind")
    assert "30 of 30" in verdict["evidence"] and "blue" in verdict["evidence"] and "the sky?" in verdict["evidence"]


def test_nothing_comes_of_nothing() -> None:
    assert answerable_blind([]) == answerable_blind([{"queries": []}]) == []
