"""Scores over wordings, orders and pictures against plain loops; contradictions by hand."""

from __future__ import annotations

import pytest

from benchmark import agreement
from benchmark.metrics import Statistic
from benchmark.records import CANNOT_SEE, Item, ItemQuery, LogLine
from benchmark.table import Sums
from tests.benchmark import slow_scores
from tests.benchmark.score_logs import CHOICES, line, random_log


def values(found: tuple[Sums, list[Statistic]]) -> dict[str, float]:
    added, statistics = found
    total = added.columns(added.total)
    return {statistic.name: float(statistic.formula(total)[0]) for statistic in statistics}


def same(fast: dict[str, float], slow: dict[str, float | None]) -> None:
    assert set(fast) == set(slow)
    for name, value in slow.items():
        assert fast[name] == pytest.approx(float("nan") if value is None else value, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("seed", range(6))
def test_wordings_equal_the_slow_scores(seed: int) -> None:
    lines = random_log(seed, 8, 1 + seed % 2, ("plain", "paraphrase-1", "paraphrase-2", "blank"))
    lines = [x for i, x in enumerate(lines) if i % 11]  # some replies are missing
    same(values(agreement.paraphrases(lines)), slow_scores.paraphrases(lines))


@pytest.mark.parametrize("seed", range(6))
def test_orders_equal_the_slow_scores(seed: int) -> None:
    lines = random_log(seed, 8, 1 + seed % 2, ("plain", "rotation-1", "rotation-2", "rotation-3"))
    lines = [x for i, x in enumerate(lines) if i % 29]
    same(values(agreement.circular(lines)), slow_scores.circular(lines))


@pytest.mark.parametrize("variant", ["intact", "masked", "only-region"])
def test_changed_pictures_equal_the_slow_scores(variant: str) -> None:
    lines = random_log(3, 8, 2, ("plain", "intact", "masked", "only-region"))
    lines = [x for i, x in enumerate(lines) if i % 13]
    slow = slow_scores.evidence(lines, variant)
    if variant != "masked":
        assert slow.pop("hallucination_rate") is slow.pop("declined") is None
    if variant == "intact":
        assert slow.pop("sensitivity") == 0
    same(values(agreement.evidence(lines, variant)), slow)


def test_alpha_of_krippendorffs_own_example() -> None:
    """Two observers, ten units, two values: Krippendorff (2004) computes 0.095 with coincidences 10, 4, 4, 2."""
    first, second = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    lines = []
    for i, (a, b) in enumerate(zip(first, second, strict=True)):
        lines += [line(str(i), 0, False, answer=str(a)), line(str(i), 0, False, answer=str(b), variant="paraphrase-1")]
    assert values(agreement.paraphrases(lines))["alpha"] == pytest.approx(0.0952, abs=1e-4)


def test_alpha_is_exact_with_more_values_than_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = random_log(4, 8, 1, ("plain", "paraphrase-1"))
    before = values(agreement.paraphrases(lines))["alpha"]
    monkeypatch.setattr(agreement, "MOST_VALUES", 1)
    assert values(agreement.paraphrases(lines))["alpha"] == pytest.approx(before, abs=1e-12)


def test_one_answer_throughout_has_no_alpha() -> None:
    lines = [line(str(i), 0, True, variant=v) for i in range(3) for v in ("plain", "paraphrase-1")]
    found = values(agreement.paraphrases(lines))
    assert found["alpha"] != found["alpha"]
    assert (found["flip_rate"], found["pairwise_agreement"]) == (0, 1)


def test_case_and_spaces_are_no_flip() -> None:
    lines = [line("a", 0, True, answer="Dark  red"), line("a", 0, True, answer="dark red", variant="paraphrase-1")]
    assert values(agreement.paraphrases(lines))["flip_rate"] == 0


def test_two_right_answers_in_different_words_are_no_flip() -> None:
    """An open question: "a mug" and "cup" are both right where "cup" is wanted; "jug" and "jar" are both wrong."""
    opened = {"choices": (), "chance": None, "expected": "cup"}
    lines = [
        line("a", 0, True, **opened, answer="a mug"),
        line("a", 0, True, **opened, answer="cup", variant="paraphrase-1"),
        line("b", 0, False, **opened, answer="jug"),
        line("b", 0, False, **opened, answer="jar", variant="paraphrase-1"),
    ]
    found = values(agreement.paraphrases(lines))
    assert found["flip_rate"] == found["flip_wrong_to_wrong"] == found["pairwise_agreement"] == 1 / 2
    parts = [found[f"flip_{name}"] for name in ("right_to_wrong", "wrong_to_right", "wrong_to_wrong")]
    assert found["flip_rate"] == sum(parts)


def test_an_item_without_all_its_queries_is_not_strict() -> None:
    turned = ("plain", "rotation-1", "rotation-2", "rotation-3")
    lines = [line("a", place, True, variant=v) for place in (0, 1) for v in turned]
    assert agreement.circular(lines, {"a": 2})[0].items["items"] == 1
    assert agreement.circular(lines, {"a": 3})[0].items["items"] == 0


def test_a_query_without_all_its_orders_is_not_strict() -> None:
    whole = [line("a", 0, True, variant=v) for v in ("plain", "rotation-1", "rotation-2", "rotation-3")]
    cut = [line("b", 0, True, variant=v) for v in ("plain", "rotation-1")]
    added, statistics = agreement.circular([*whole, *cut])
    assert values((added, statistics))["circular_strict"] == 1
    assert added.items["queries"] == 1


def asked(item: str, *evidence: tuple[str, ...]) -> Item:
    queries = tuple(
        ItemQuery(
            query_id=f"{item}-{place}", facet="color", template="", question="?", answer="red", choices=CHOICES,
            answer_index=0, chance=0.25, evidence=fields,
        )
        for place, fields in enumerate(evidence)
    )  # fmt: skip
    return Item(item_id=item, image_id="p", region_id=item, bbox=None, width=8, height=8, queries=queries)


@pytest.mark.parametrize(
    ("first", "second", "right", "rate"),
    [
        (("a",), ("a",), (True, False), 1),
        (("a",), ("a",), (False, True), 1),
        (("a",), ("a",), (True, True), 0),
        (("a",), ("a",), (False, False), 0),
        (("a", "b"), ("a",), (True, False), 1),  # who knows a and b knows a
        (("a", "b"), ("a",), (False, True), 0),  # who knows a may not know b
        (("a",), ("b",), (True, False), None),
        ((), (), (True, False), None),
        ((), ("a",), (True, False), None),
    ],
)
def test_contradictions_are_counted_where_evidence_entails(
    first: tuple[str, ...], second: tuple[str, ...], right: tuple[bool, bool], rate: float | None
) -> None:
    lines = [line("i", place, correct) for place, correct in enumerate(right)]
    found = values(agreement.contradictions(lines, [asked("i", first, second)]))["contradiction_rate"]
    assert found == pytest.approx(float("nan") if rate is None else rate, nan_ok=True)


def test_contradictions_equal_the_slow_score() -> None:
    lines = random_log(5, 8, 2)
    kinds = [("a",), ("a", "b"), ("b",), ("a", "b")]
    items = [asked(item, *kinds) for item in {x.item_id for x in lines}]
    fields = {query.query_id: set(query.evidence) for item in items for query in item.queries}
    fast = values(agreement.contradictions(lines, items))["contradiction_rate"]
    assert fast == pytest.approx(slow_scores.contradiction_rate(lines, fields), abs=1e-12)


def test_a_reply_without_an_answer_contradicts_nothing() -> None:
    lines: list[LogLine] = [line("i", 0, True), line("i", 1, False, outcome="unparsed", answer=None)]
    added, _ = agreement.contradictions(lines, [asked("i", ("a",), ("a",))])
    assert added.items["linked"] == 0


def test_saying_that_it_cannot_be_seen_is_no_hallucination() -> None:
    gone = {"variant": "blank", "expected": None}
    lines = [
        line("a", 0, True, **gone, answer=CANNOT_SEE),
        line("b", 0, False, **gone),
        line("c", 0, False, **gone, outcome="refused", answer=None),
        *(line(name, 0, True, variant="intact") for name in "abc"),
    ]
    found = values(agreement.evidence(lines, "blank"))
    assert found["hallucination_rate"] == found["accuracy"] == found["said_unseen"] == pytest.approx(1 / 3)
    assert found["declined"] == pytest.approx(1 / 3)  # "c" has a column of its own
    assert found["sensitivity"] == pytest.approx(1)  # "b" names another answer than before
