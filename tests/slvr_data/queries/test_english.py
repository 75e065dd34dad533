"""The English that templates need: plurals of annotators' labels, and verbs that agree."""

from __future__ import annotations

import pytest

from slvr_data.queries.english import be, do, is_plural, ordinal, plural

PLURALS = {
    "dog": "dogs", "person": "people", "bus": "buses", "bench": "benches", "toothbrush": "toothbrushes", "box": "boxes",
    "sandwich": "sandwiches", "wine glass": "wine glasses", "knife": "knives", "mouse": "mice", "sheep": "sheep",
    "skis": "skis", "scissors": "scissors", "broccoli": "broccoli", "teddy bear": "teddy bears", "tie": "ties",
    "potted plant": "potted plants", "giraffe": "giraffes", "pizza": "pizzas", "boy": "boys", "baby": "babies",
    "puppy": "puppies", "key": "keys", "monkey": "monkeys", "potato": "potatoes", "photo": "photos", "leaf": "leaves",
    "traffic light": "traffic lights", "stop sign": "stop signs", "cross": "crosses", "fire truck": "fire trucks",
    "woman": "women", "policeman": "policemen", "tomato": "tomatoes", "tv": "tvs", "couch": "couches",
    "hot dog": "hot dogs", "roof": "roofs", "fox": "foxes", "bookshelf": "bookshelves", "snowman": "snowmen",
    "watch": "watches", "horse": "horses", "vase": "vases", "goose": "geese", "tooth": "teeth", "child": "children",
    "grandchild": "grandchildren", "fisherman": "fishermen", "toy": "toys", "city": "cities", "penknife": "penknives",
    "housewife": "housewives", "stove": "stoves", "human": "humans", "ottoman": "ottomans", "mongoose": "mongooses",
}  # fmt: skip


@pytest.mark.parametrize(("one", "many"), PLURALS.items())
def test_plurals(one: str, many: str) -> None:
    assert plural(one) == many


def test_verbs_agree_with_the_last_word() -> None:
    for label in ("dog", "wine glass", "bus", "glass", "series of cups"):
        assert (be(label), do(label), is_plural(label)) == ("is", "does", False)
    for label in ("scissors", "skis", "blue jeans", "sunglasses"):
        assert (be(label), do(label), is_plural(label)) == ("are", "do", True)


def test_ordinals() -> None:
    assert [ordinal(n) for n in range(1, 7)] == ["first", "second", "third", "fourth", "fifth", "sixth"]
