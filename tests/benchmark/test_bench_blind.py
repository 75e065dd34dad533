"""The text-only answerer: it finds what can be found, and nothing where there is nothing."""

from __future__ import annotations

import random
import time
from pathlib import Path

import numpy as np
import pytest

from benchmark.fitted import Part, Statistics, load_statistics, third_of
from benchmark.models.base import ModelOptions
from benchmark.models.blind import SIZE, Blind, Text, answers, fitted, open_model
from benchmark.records import Ask, Item, ItemQuery
from slvr_data.errors import UsageError

COLORS = ("red", "blue", "green", "yellow")


def accuracy(train: list[Text], test: list[Text]) -> float:
    taken = answers(fitted(train), test)
    return sum(place == text.answer_index for place, text in zip(taken, test, strict=True)) / len(test)


def drawn(number: int, seed: str, answer: str | None = None, noun: str = "cup") -> list[Text]:
    """Questions whose answer is drawn evenly, or is always one; the order of choices is random."""
    rng = random.Random(seed)
    found = []
    for i in range(number):
        choices = tuple(rng.sample(COLORS, 4))
        right = answer or rng.choice(COLORS)
        found.append(Text(f"What color is the {noun}?", choices, choices.index(right), f"{seed}-{i}"))
    return found


def test_nothing_to_learn_gives_chance() -> None:
    found = accuracy(drawn(1500, "a"), drawn(2000, "b"))
    assert abs(found - 0.25) < 0.04  # four standard errors


def test_a_frequent_answer_is_learnt() -> None:
    assert accuracy(drawn(300, "a", "red"), drawn(200, "b", "red")) == 1


def test_the_noun_is_learnt() -> None:
    train = [*drawn(300, "a", "yellow", "banana"), *drawn(300, "b", "red", "fire engine")]
    test = [*drawn(100, "c", "yellow", "banana"), *drawn(100, "d", "red", "fire engine")]
    assert accuracy(train, test) == 1


def test_the_place_is_learnt() -> None:
    def placed(seed: str) -> list[Text]:
        return [Text(t.question, t.choices, 2, t.image_id) for t in drawn(400, seed)]

    assert accuracy(placed("a"), placed("b")) > 0.95


def test_choices_that_are_made_from_the_answer_betray_it() -> None:
    """The answer is what the others resemble: PARK among PARH, LARK and PA6K."""

    def texts(seed: str) -> list[Text]:
        rng = random.Random(seed)
        found = []
        for i in range(600):
            word = "".join(rng.choices("ABCDEFGHJKLMNPQRSTUVWXYZ", k=6))
            bad = [word[:p] + "0" + word[p + 1 :] for p in rng.sample(range(6), 3)]
            choices = tuple(rng.sample([word, *bad], 4))
            found.append(Text("What is written?", choices, choices.index(word), f"{seed}{i}"))
        return found

    assert accuracy(texts("a"), texts("b")) > 0.6


def test_the_other_choices_betray_the_answer() -> None:
    """Red is always beside the same three: whoever sees the set knows."""
    sets = {"red": ("red", "blue", "green", "black"), "pink": ("pink", "blue", "green", "white")}

    def texts(seed: str) -> list[Text]:
        rng = random.Random(seed)
        found = []
        for i in range(400):
            right = rng.choice(list(sets))
            choices = tuple(rng.sample(sets[right], 4))
            found.append(Text("What color is it?", choices, choices.index(right), f"{seed}{i}"))
        return found

    assert accuracy(texts("a"), texts("b")) == 1


def test_the_same_bytes_for_any_order() -> None:
    train = drawn(300, "a", "red")
    assert fitted(train).tobytes() == fitted(train[::-1]).tobytes()


def test_nothing_learnt_and_nothing_asked() -> None:
    weights = fitted([])
    assert weights.shape == (SIZE,) and not weights.any()
    assert answers(weights, []) == []
    test = drawn(400, "b")
    assert answers(weights, test) == answers(weights, test)
    assert set(answers(weights, test)) == {0, 1, 2, 3}


def ask(number: int, choices: tuple[str, ...]) -> Ask:
    query = ItemQuery(
        query_id="q", facet="color", template="t", question="What color is it?", answer="red", choices=choices,
        answer_index=choices.index("red") if choices else None, chance=1 / len(choices) if choices else None,
    )  # fmt: skip
    item = Item(
        item_id=f"i{number}",
        image_id=f"image{number}",
        region_id="r",
        bbox=None,
        width=9,
        height=9,
        queries=(query,) * 2,
    )
    return Ask(f"i{number}/q/plain/0", item, query, "plain", 0, query.question, choices, "", b"")


def test_each_third_is_answered_by_its_own_part(tmp_path: Path) -> None:
    """Three parts that have learnt three colours: each picture gets that of its part, after a round trip to disk."""
    parts = tuple(Part.of([("color", color)] * 3, drawn(200, color, color, "x")) for color in COLORS[:3])
    path = tmp_path / "training.json"
    path.write_bytes(Statistics(parts).to_bytes())
    learnt = load_statistics(path, "blind")
    asks = [ask(i, COLORS) for i in range(600)] + [ask(i, ()) for i in range(30)]
    replies = list(Blind("blind", learnt).replies(iter(asks)))
    assert [one.ask_id for one, _ in replies] == [one.ask_id for one in asks]
    for one, reply in replies:
        color = COLORS[third_of(one.item.image_id)]
        letter = f"{'ABCD'[one.choices.index(color)]}. " if one.choices else ""
        assert reply.text == letter + color
    assert {third_of(one.item.image_id) for one in asks} == {0, 1, 2}


def test_weights_survive_the_disk(tmp_path: Path) -> None:
    part = Part.of([("color", "red")], drawn(300, "a", "red"))
    path = tmp_path / "training.json"
    path.write_bytes(Statistics((part,)).to_bytes())
    again = load_statistics(path, "blind").parts[0]
    assert np.abs(again.weights - part.weights).max() < 1e-2 and again.answers == part.answers
    assert path.read_bytes() == Statistics((part,)).to_bytes()


@pytest.mark.parametrize("text", ["", "[]", '{"format": "other"}', '{"format": "slvr-bench training", "version": 1}'])
def test_damaged_statistics(tmp_path: Path, text: str) -> None:
    path = tmp_path / "training.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"training\.json cannot be read"):
        load_statistics(path, "blind")


def test_without_training_pictures() -> None:
    with pytest.raises(UsageError, match="--training DIR"):
        open_model("blind", ModelOptions())
    with pytest.raises(UsageError, match="nothing behind a colon"):
        open_model("blind:x", ModelOptions())


def test_speed() -> None:
    """100,000 queries are answered in a few seconds; ten times that is a fault."""
    test = drawn(5000, "s")
    begin = time.perf_counter()
    answers(np.zeros(SIZE, np.float32), test)
    assert time.perf_counter() - begin < 5
