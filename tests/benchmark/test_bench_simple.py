"""Baselines: what they must score is known beforehand."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from benchmark.extract import extracted
from benchmark.fitted import Part, Statistics
from benchmark.models.base import ModelOptions, open_model
from benchmark.models.simple import UNKNOWN, frequent, noisy, share, truth
from benchmark.records import CANNOT_SEE, Ask, Item, ItemQuery
from slvr_data.errors import UsageError

CHOICES = ("red", "blue", "B", "green")


def asks(items: int, queries: int = 2, variant: str = "plain", choices: tuple[str, ...] = CHOICES) -> list[Ask]:
    found = []
    for i in range(items):
        own = tuple(
            ItemQuery(
                query_id=f"q{j}", facet=("color", "size")[j % 2], template="t", question=f"What {j}?",
                answer=choices[(i + j) % len(choices)], choices=choices, answer_index=(i + j) % len(choices),
                chance=1 / len(choices), evidence=("appearance.colors",),
            )
            for j in range(queries)
        )  # fmt: skip
        item = Item(
            item_id=f"i{i}", image_id=f"p{i}", region_id="r", bbox=(0, 0, 5, 5), width=90, height=90, queries=own
        )
        shown = choices if variant == "plain" else (*choices, CANNOT_SEE)
        found += [Ask(f"i{i}/{q.query_id}/{variant}/0", item, q, variant, 0, q.question, shown, "", b"") for q in own]
    return found


def right(spec: str, asked: list[Ask]) -> np.ndarray:
    """[items, 2] whether each reply names the right choice; the rules of extraction read the first ones."""
    model = open_model(spec, ModelOptions())
    hits = []
    for one, reply in model.replies(iter(asked)):
        assert reply.text is not None
        taken = reply.text.partition(". ")[2]
        if len(hits) < 40:
            read = extracted(reply.text, one.choices)
            assert read.outcome == "answer" and one.choices[read.index or 0] == taken
        hits.append(taken == truth(one))
    return np.array(hits).reshape(-1, 2)


def test_oracle_is_always_right() -> None:
    assert right("oracle", asks(200)).all()


@pytest.mark.parametrize(("variant", "expected"), [("masked", CANNOT_SEE), ("blank", CANNOT_SEE), ("intact", "red")])
def test_oracle_knows_what_a_transform_leaves(variant: str, expected: str) -> None:
    first = asks(1, variant=variant)[0]
    [(_, reply)] = open_model("oracle", ModelOptions()).replies([first])
    assert reply.text is not None and reply.text.endswith(expected)


def test_random_is_at_chance() -> None:
    hits = right("random", asks(4000))
    assert abs(hits.mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / hits.size)
    places = Counter(reply.text for _, reply in open_model("random", ModelOptions()).replies(asks(4000)))
    assert len(places) == 4 and max(places.values()) < 1.15 * min(places.values())


@pytest.mark.parametrize(("p", "rho"), [(0.8, 0.3), (0.5, 0.0), (0.7, 1.0), (0.9, 0.5), (1.0, 0.2), (0.0, 0.5)])
def test_noisy_oracle_has_its_accuracy_and_its_correlation(p: float, rho: float) -> None:
    hits = right(f"noisy-oracle:{p},{rho}", asks(6000)).astype(float)
    assert abs(hits.mean() - p) <= 4 * math.sqrt(p * (1 - p) * (1 + rho) / hits.size)
    both = p * p + rho * p * (1 - p)
    assert abs((hits[:, 0] * hits[:, 1]).mean() - both) <= 4 * math.sqrt(both * (1 - both) / 6000)


def test_noisy_oracle_draws_from_the_beta_distribution_that_it_names() -> None:
    p, rho = 0.7, 0.4
    shares = np.array([share(f"i{i}/0", p, rho) for i in range(20_000)])
    strength = (1 - rho) / rho
    a, b = p * strength, (1 - p) * strength
    assert shares.mean() == pytest.approx(a / (a + b), abs=0.01)
    assert shares.var() == pytest.approx(a * b / ((a + b) ** 2 * (a + b + 1)), abs=0.005)


def test_replies_follow_from_the_ask_alone() -> None:
    one = asks(50)
    for spec in ("random", "noisy-oracle:0.6,0.2"):
        forward = {a.ask_id: r.text for a, r in open_model(spec, ModelOptions()).replies(one)}
        backward = {a.ask_id: r.text for a, r in open_model(spec, ModelOptions()).replies(one[::-1])}
        assert forward == backward


def test_a_wrong_noisy_reply_is_any_wrong_choice() -> None:
    wrong = Counter(noisy(one, 0.0, 0.5) for one in asks(2000) if one.query.answer == "red")
    assert set(wrong) == {"blue", "B", "green"} and max(wrong.values()) < 1.3 * min(wrong.values())


def test_majority_and_prior() -> None:
    part = Part.of([("color", "blue")] * 3 + [("color", "red")] * 2 + [("size", "red")] * 5, [])
    learnt = Statistics((part,))
    color, size = asks(1)
    assert frequent(color, learnt, by_facet=False) == "red"
    assert frequent(color, learnt, by_facet=True) == "blue"
    assert frequent(size, learnt, by_facet=True) == "red"
    unseen = asks(200, choices=("x", "y"))
    ties = Counter(frequent(one, learnt, by_facet=True) for one in unseen)
    assert set(ties) == {"x", "y"} and min(ties.values()) > 150
    opened = asks(1, choices=("z", "w"))[0]
    opened = Ask(opened.ask_id, opened.item, opened.query, "plain", 0, "?", (), "", b"")
    assert frequent(opened, learnt, by_facet=True) == "blue"
    assert frequent(opened, Statistics((Part.of([], []),)), by_facet=True) == UNKNOWN


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("noisy-oracle", "give two numbers"),
        ("noisy-oracle:a,b", "give two numbers"),
        ("noisy-oracle:0.5", "give two numbers"),
        ("noisy-oracle:1.5,0", "between 0 and 1"),
        ("noisy-oracle:nan,0", "between 0 and 1"),
        ("oracle:x", "nothing behind a colon"),
        ("majority", "--training DIR"),
    ],
)
def test_bad_specifications(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        open_model(spec, ModelOptions())
