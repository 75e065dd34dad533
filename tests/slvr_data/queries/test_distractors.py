"""Wrong choices are wrong for this region, distinct, never confusable, and in an order that a seed decides."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slvr_data import geometry
from slvr_data.colors import COLORS
from slvr_data.queries import distractors

CONFUSED = [
    ("red", "orange"), ("red", "pink"), ("orange", "yellow"), ("pink", "purple"), ("purple", "blue"),
    ("gray", "white"), ("gray", "black"), ("orange", "brown"), ("brown", "black"),
]  # fmt: skip
"""Pairs that two people may call by either word: written down here by themselves."""

one_color = st.sampled_from(COLORS)
look = st.lists(one_color, min_size=1, max_size=2, unique=True)
looks = st.lists(look, max_size=6)


def may_be(said: str, mine: list[str]) -> bool:
    """Whether somebody could call a thing of the colours `mine` by these words."""

    def alike(one: str, other: str) -> bool:
        return one == other or (one, other) in CONFUSED or (other, one) in CONFUSED

    words = said.split(" and ")
    return all(any(alike(word, own) for own in mine) for word in words)


@given(one_color, looks)
def test_one_color(mine: str, elsewhere: list[list[str]]) -> None:
    wrong = distractors.colors([mine], elsewhere)
    assert len(set(wrong)) == len(wrong) == 3
    assert not [choice for choice in wrong if may_be(choice, [mine])]
    seen = {color for theirs in elsewhere for color in theirs}
    assert all(choice in COLORS for choice in wrong)
    usable = [choice for choice in wrong if choice in seen]
    assert wrong[: len(usable)] == usable, "those of other regions come first"


@given(st.lists(one_color, min_size=2, max_size=2, unique=True), looks)
def test_two_colors(mine: list[str], elsewhere: list[list[str]]) -> None:
    wrong = distractors.colors(mine, elsewhere)
    assert len({frozenset(choice.split(" and ")) for choice in wrong}) == len(wrong) == 3
    assert all(len(set(choice.split(" and "))) == 2 for choice in wrong)
    assert not [choice for choice in wrong if may_be(choice, mine)]


@given(one_color, looks, st.randoms())
def test_the_order_of_regions_decides_nothing(mine: str, elsewhere: list[list[str]], rng: random.Random) -> None:
    shuffled = list(elsewhere)
    rng.shuffle(shuffled)
    assert distractors.colors([mine], shuffled) == distractors.colors([mine], elsewhere)


@given(st.lists(st.text(max_size=4)), st.text(max_size=8), st.randoms())
def test_spread(words: list[str], seed: str, rng: random.Random) -> None:
    found = distractors.spread(words, seed)
    assert sorted(found) == sorted(set(words))
    rng.shuffle(words)
    assert distractors.spread(words, seed) == found


def test_the_answer_stands_anywhere() -> None:
    """Over many seeds, each of four choices is at each place about as often."""
    places = [distractors.spread(["red", "blue", "green", "white"], str(n)).index("red") for n in range(2000)]
    assert all(430 < places.count(place) < 570 for place in range(4))


@given(st.sampled_from(geometry.POSITIONS), st.lists(st.sampled_from(geometry.POSITIONS)), st.text())
def test_positions(mine: str, elsewhere: list[str], seed: str) -> None:
    wrong = distractors.positions(mine, elsewhere, seed)
    assert len(set(wrong)) == 3 and mine not in wrong and set(wrong) <= set(geometry.POSITIONS)
    others = set(elsewhere) - {mine}
    assert len(set(wrong) & others) == min(3, len(others)), "where other things are comes first"


@given(st.integers(1, 12), st.text())
def test_numbers(mine: int, seed: str) -> None:
    wrong = [int(number) for number in distractors.numbers(mine, seed)]
    assert len(set(wrong)) == 3 and mine not in wrong
    assert all(number >= 1 and abs(number - mine) <= 3 for number in wrong)


def test_the_right_number_is_not_always_the_middle_one() -> None:
    ranks = {sorted([5, *map(int, distractors.numbers(5, str(n)))]).index(5) for n in range(60)}
    assert len(ranks) >= 3


@given(st.sampled_from(distractors.ACTIONS), st.lists(st.sampled_from(distractors.ACTIONS)), st.text())
def test_actions(mine: str, elsewhere: list[str], seed: str) -> None:
    wrong = distractors.actions(mine, elsewhere, seed)
    assert len(set(wrong)) == len(wrong) == 3 and mine not in wrong


@pytest.mark.parametrize(("mine", "never"), [("riding a horse", "riding"), ("standing", "standing still")])
def test_a_finer_word_for_the_same_action_is_not_wrong(mine: str, never: str) -> None:
    assert never not in distractors.actions(mine, [never, "waving"], "seed")
    assert mine not in distractors.actions(never, [mine, "waving"], "seed")


@given(
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ23456789", min_size=1, max_size=8),
    st.lists(st.text("ABC", min_size=1, max_size=3)),
    st.text(),
)
def test_texts(mine: str, elsewhere: list[str], seed: str) -> None:
    wrong = distractors.texts(mine, elsewhere, seed)
    assert len(set(wrong)) == len(wrong) == 3 and mine not in wrong
    others = set(elsewhere) - {mine}
    assert len(set(wrong) & others) >= min(3, len(others))
    assert all(len(text) == len(mine) for text in wrong if text not in others)
