"""The facet of a source's own question, and the group it leads."""

from __future__ import annotations

import time
from typing import Any

import pytest

from slvr_data.queries.generate import write_groups
from slvr_data.queries.originals import facet_of, yes_no
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.schema import FACETS, QuestionAnswer
from tests.checked import IMAGE, SIDE, seen

QUESTIONS: dict[str, list[str]] = {
    "color": [
        "What color is the man's shirt?", "Is the car red or blue?", "What is the colour of the door?",
        "Does the bird in the picture have grey forehead and grey throat?",
        "Does the bird in the picture have buff eye and olive crown?", "WHAT COLOR ARE THE SHOES?",
    ],
    "count": [
        "How many dogs are there?", "How many people are wearing hats?", "What number of chairs is at the table?",
    ],
    "visible_text": [
        "What is written on the sign?", "What does the sign say?", "What is the title of this book?",
        "Who is the author of this book?", "What brand is the laptop?", "What is the date on the letter?",
        "What number is on the jersey?",
    ],
    "action": [
        "What is the man doing?", "What are the people in the picture doing?", "Is the man standing or sitting?",
        "Is the boy jumping?",
    ],
    "interaction": [
        "What is the boy holding?", "What is the woman wearing?", "Who is riding the horse?",
        "Is the pizza touching the person?",
    ],
    "relation": [
        "Is the bicycle below the dog?", "Where is the cat?", "On which side of the table is the lamp?",
        "What is below the elephant?", "What is on the table?", "Is the person on the horse?",
        "Is the stop sign part of the bus?", "What is outside the car?", "Is the cat away from the dog?",
    ],
    "position": [
        "Where in the picture is the clock?", "Is the clock on the left side of the image?",
        "Which side of the photo is the boat on?", "Is the dog at the bottom of the picture?",
    ],
    "depth": [
        "Is the elephant behind the person?", "What is in front of the bed?", "Is there a car in the background?",
    ],
    "shape": [
        "What shape is the table?", "Is the mirror round?", "Does the bird in the picture have perching-like shape?",
    ],
    "material": [
        "What is the table made of?", "Is the fence wooden?", "Does the bird have a striped breast?",
    ],
    "size": ["How big is the dog?", "Is the tree tall or short?"],
    "entity": [
        "Is there a dog in the picture?", "What animal is this?", "What kind of vehicle is it?",
        "Which fruit is shown in the image?", "Who is in the photo?",
    ],
    "orientation": [
        "In which direction is the cow facing?", "Is the bottle upright?", "Is the person facing the dog?",
    ],
}  # fmt: skip


@pytest.mark.parametrize(("facet", "question"), [(f, q) for f, questions in QUESTIONS.items() for q in questions])
def test_facets(facet: str, question: str) -> None:
    assert facet in FACETS
    assert facet_of(question) == facet
    assert facet_of(f"  {question.replace(' ', chr(10) + ' ')} ") == facet, "white space tells nothing"


@pytest.mark.parametrize("question", ["Why?", "Please.", "", "???", "🫖", "ما هذا", "Guess!"])
def test_what_no_rule_knows(question: str) -> None:
    assert facet_of(question) is None


@pytest.mark.parametrize("question", ["what is " * 100_000, "a" * 500_000, "in which " * 100_000])
def test_a_question_without_end_takes_no_time(question: str) -> None:
    started = time.process_time()
    facet_of(question)
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("answer", "truth"),
    [
        ("yes", True), ("Yes.", True), (" YES ", True), ("no", False), ("No.", False), ("True", True), ("false", False),
        ("yes, it is", None), ("nope", None), ("", None), (".", None), ("left", None),
    ],
)  # fmt: skip
def test_yes_and_no(answer: str, truth: bool | None) -> None:
    assert yes_no(answer) is truth


def groups_of(*asked: tuple[str, str], **given: Any) -> Any:
    """The groups of a cup beside a dog, with these original questions."""
    known: dict[str, Any] = {"colors": ["red"], "size": "small", "position": "top left", "count": 1} | given
    cup = seen("m", (10, 10, 40, 40), "cup", **known)
    cup.row.original_questions = [QuestionAnswer(question=q, answer=a) for q, a in asked]
    dog = seen("d", (120, 100, 190, 190), "dog", colors=["blue"], count=1, position="bottom right")
    return write_groups(PictureView(IMAGE, SIDE, SIDE, [cup, dog]), RegionView(cup.row))


def test_the_original_comes_first_and_others_are_on_other_facets() -> None:
    (found,) = groups_of(("What  color is\nthis?", " red "))
    first, *others = found.group.queries
    assert (first.origin, first.facet, first.question, first.answer) == (
        "source",
        "color",
        "What color is this?",
        "red",
    )
    assert (first.choices, first.answer_index, first.chance) == ([], None, None)
    assert 1 <= len(others) <= 3 and all(q.origin == "generated" and q.facet != "color" for q in others)
    assert len({q.facet for q in others}) == len(others)


def test_two_on_one_facet_lead_groups_of_their_own() -> None:
    found = groups_of(
        ("Is it red?", "Yes."), ("Is it blue?", "no"), ("What color is it?", "red"), ("How big is it?", "big")
    )
    assert [written.group.queries[0].question for written in found] == [
        "Is it red?", "Is it blue?", "What color is it?", "How big is it?",
    ]  # fmt: skip
    assert len({written.group.group_id for written in found}) == 4
    assert len({q.query_id for w in found for q in w.group.queries}) == sum(len(w.group.queries) for w in found)
    yes, no = (written.group.queries[0] for written in found[:2])
    assert (yes.answer, no.answer) == ("yes", "no")
    for query in (yes, no):
        assert sorted(query.choices) == ["no", "yes"] and query.chance == 0.5
        assert query.choices[query.answer_index] == query.answer


def test_one_question_with_two_answers() -> None:
    one, other = groups_of(("Is it red?", "yes"), ("Is it red?", "no"))
    assert one.group.group_id != other.group.group_id


def test_an_unknown_facet_is_refused_and_the_others_are_asked() -> None:
    (found,) = groups_of(("Hm", "hm"))
    assert [reason for _, reason, _ in found.refused] == ["facet-unrecognised"]
    assert found.group.queries and all(q.origin == "generated" for q in found.group.queries)


def test_ids_depend_on_the_region_and_the_question_alone() -> None:
    (one,), (other,) = groups_of(("Is it red?", "yes")), groups_of(("Is it red?", "yes"), colors=["green"])
    assert one.group.group_id == other.group.group_id
    assert one.group.queries[0] == other.group.queries[0]
