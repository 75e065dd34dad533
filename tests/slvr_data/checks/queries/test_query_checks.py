"""Questions by themselves: facets, choices, text, vague words, and answers given away."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slvr_data.checks.queries.choices import check_choices
from slvr_data.checks.queries.facets import check_facets
from slvr_data.checks.queries.given_away import check_given_away
from slvr_data.checks.queries.sane import MOST_CHARACTERS, check_sane
from slvr_data.checks.queries.vague import check_vague
from tests.checked import asked, group, query, seen

CUP = seen("a", (0, 0, 20, 20), "cup", colors=["red"])
COLOR = query("color", "What color is the cup?", "red", ["blue", "red"])


def judged(check: Any, **changes: Any) -> str | None:
    return asked(check, group([CUP], COLOR.model_copy(update=changes)))


def test_facets_of_a_group_differ() -> None:
    size, again = query("size", "How large?", "small", ["small", "large"]), COLOR.model_copy(update={"query_id": "2"})
    checked = group([CUP], COLOR, size, again)
    assert [asked(check_facets, checked, i) for i in range(3)] == ["pass", "pass", "facet-repeated"]
    assert judged(check_facets, facet="taste") == "facet-unknown"


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "pass"),
        ({"choices": []}, "choices-absent"),
        ({"choices": ["red"], "answer_index": 0, "chance": 1.0}, "choices-number"),
        ({"choices": ["red", "a", "b", "c", "d"], "answer_index": 0}, "choices-number"),
        ({"choices": ["red", " Red"], "answer_index": 0}, "choices-repeated"),
        ({"answer": "green"}, "answer-not-in-choices"),
        ({"answer_index": 0}, "index-wrong"),
        ({"answer_index": None}, "index-wrong"),
        ({"answer_index": -1}, "index-wrong"),
        ({"answer_index": 2}, "index-wrong"),
        ({"chance": 0.25}, "chance-wrong"),
        ({"chance": None}, "chance-wrong"),
        ({"choices": [], "answer_index": None, "chance": None, "origin": "source"}, "pass"),
        ({"choices": [], "origin": "source"}, "index-wrong"),
        ({"facet": "visible_text", "choices": ["Red", "red"]}, "pass"),
    ],
)
def test_choices(changes: dict[str, Any], wanted: str) -> None:
    assert judged(check_choices, **changes) == wanted


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "pass"),
        ({"question": "Où est la tasse — là-bas? 杯子在哪里 🫖"}, "pass"),
        ({"question": "Is 3 < 4 & 5 > 2?"}, "pass"),
        ({"question": " "}, "text-empty"),
        ({"answer": ""}, "text-empty"),
        ({"choices": ["red", "\n"]}, "text-empty"),
        ({"question": "What" + " very" * 80 + "?"}, "text-too-long"),
        ({"question": "<image>\nWhat?"}, "text-control"),
        ({"question": "<image> What?"}, "text-markup"),
        ({"question": "What <b>is</b> it?"}, "text-markup"),
        ({"question": "What is it? ###[1, 2, 3, 4]"}, "text-markup"),
        ({"answer": "red<|im_end|>"}, "text-markup"),
        ({"answer": "red &amp; blue"}, "text-markup"),
        ({"question": "What\x07?"}, "text-control"),
        ({"question": "What \u202eder si?"}, "text-direction"),
        ({"paraphrases": ["fine", "What \u2066is?"]}, "text-direction"),
    ],
)
def test_text(changes: dict[str, Any], wanted: str) -> None:
    found = judged(check_sane, **changes)
    assert found == wanted or (wanted == "text-control" and found in ("text-markup", "text-control"))


@given(st.text(alphabet=st.characters(categories=["L", "Nd", "Po", "Zs"], exclude_characters="&#<>`|;"), min_size=1))
def test_letters_of_any_script_are_text(text: str) -> None:
    wanted = "text-empty" if not text.strip() else "text-too-long" if len(text) > MOST_CHARACTERS else "pass"
    assert judged(check_sane, question=text) == wanted


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, "pass"),
        ({"answer": "something"}, "answer-vague"),
        ({"answer": "Unknown."}, "answer-vague"),
        ({"answer": "none"}, "pass"),
        ({"facet": "visible_text", "answer": "THE ONE"}, "pass"),
        ({"question": "What color is the object?"}, "reference-vague"),
        ({"question": "What color is it?"}, "reference-vague"),
        ({"question": "What color is the thing next to the cup?"}, "reference-vague"),
        ({"question": "Which of these things is red?"}, "pass"),
        ({"question": "What color is it?", "origin": "source"}, "pass"),
        ({"question": "What color is the cup above the things that overlap it?"}, "pass"),
    ],
)
def test_vague(changes: dict[str, Any], wanted: str) -> None:
    assert judged(check_vague, **changes) == wanted


def test_a_label_may_be_a_vague_word() -> None:
    thing = seen("a", (0, 0, 20, 20), "item")
    assert asked(check_vague, group([thing], query("color", "What color is the item?", "red", []))) == "pass"


@pytest.mark.parametrize(
    ("facet", "question", "answer", "choices", "wanted"),
    [
        ("color", "What color is the cup?", "red", ["red", "blue"], "pass"),
        ("color", "What color is the red cup?", "red", ["red", "blue"], "answer-in-question"),
        ("color", "What color is the Red cup?", "red", ["red", "blue"], "answer-in-question"),
        ("color", "What color is the reddish cup?", "red", ["red", "blue"], "pass"),
        ("color", "Is the cup red or blue?", "red", ["red", "blue"], "pass"),
        ("size", "How large is the cup?", "large", ["large", "small"], "pass"),
        ("size", "How large is the large cup?", "large", ["large", "small"], "answer-in-question"),
        ("visible_text", "What is written on the sign?", "ON", ["ON", "NO"], "pass"),
        ("visible_text", "What is on the ON sign?", "ON", ["ON", "NO"], "answer-in-question"),
    ],
)
def test_given_away(facet: str, question: str, answer: str, choices: list[str], wanted: str) -> None:
    one = query(facet, question, answer, choices)
    assert asked(check_given_away, group([CUP], one)) == wanted
    later = query(facet, "Well?", answer, choices, paraphrases=[question])
    assert asked(check_given_away, group([CUP], later)) == wanted
    assert asked(check_given_away, group([CUP], one.model_copy(update={"origin": "source"}))) is None
