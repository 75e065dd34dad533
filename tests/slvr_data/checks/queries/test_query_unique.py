"""Noun phrases, and how many things of a picture they fit."""

from __future__ import annotations

import pytest

from slvr_data.checks.queries.phrases import Phrase, UnreadableError, phrases
from slvr_data.checks.queries.unique import check_unique
from slvr_data.queries.references import references
from slvr_data.queries.view import RegionView
from tests.checked import asked, group, query, seen

NAMES = ["cup", "traffic light", "orange", "dog", "left shoe"]


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("What color is the cup?", Phrase("cup", "cup")),
        ("What color is the Traffic Light?", Phrase("traffic light", "traffic light")),
        ("Where is the red and blue cup?", Phrase("red and blue cup", "cup", colors=("red", "blue"))),
        ("Where is the orange?", Phrase("orange", "orange")),
        ("Where is the orange orange?", Phrase("orange orange", "orange", colors=("orange",))),
        ("Where is the orange cup?", Phrase("orange cup", "cup", colors=("orange",))),
        ("Where is the striped dog?", Phrase("striped dog", "dog", pattern="striped")),
        ("Where is the leftmost cup?", Phrase("leftmost cup", "cup", superlative="leftmost")),
        ("Where is the left dog?", Phrase("left dog", "dog", superlative="leftmost")),
        ("Where is the left shoe?", Phrase("left shoe", "left shoe", superlative=None)),
        ("Where is the second cup from the top?", Phrase("second cup from the top", "cup", ordinal=(2, "top"))),
        ("Is the cup left of the dog?", Phrase("cup", "cup")),
        ("What is the cup inside of?", Phrase("cup", "cup")),
        ("What color is the sports car?", Phrase("sports car", None)),
    ],
)  # fmt: skip
def test_phrases(question: str, wanted: Phrase) -> None:
    found = phrases(question, NAMES)[0]
    if question == "Where is the left shoe?":
        assert found.name in ("left shoe", "shoe")
    else:
        assert found == wanted


def test_phrases_with_a_place() -> None:
    (found,) = phrases("What color is the cup at the top left of the picture?", NAMES)
    assert (found.name, found.position) == ("cup", "top left")
    (found,) = phrases("What color is the cup above the leftmost dog?", NAMES)
    assert found.relation == "above" and found.target is not None and found.target.superlative == "leftmost"


@pytest.mark.parametrize(
    "question",
    ["What is the color?", "How many cups are there in the picture?", "What is at the top left of the picture?",
     "What is the number of cups in the picture?", "Which part of the image is it?", ""],
)  # fmt: skip
def test_what_names_nothing(question: str) -> None:
    assert phrases(question, NAMES) == []


@pytest.mark.parametrize(
    "question",
    ["What color is the cup that the man holds?", "What is the cup handle made of?", "Where is the cup near the dog?",
     "What color is the cup above the fence?"],
)  # fmt: skip
def test_what_cannot_be_read(question: str) -> None:
    with pytest.raises(UnreadableError):
        phrases(question, NAMES)


def cups(*more: RegionView, **first: object) -> list[RegionView]:
    return [seen("a", (10, 10, 40, 40), "cup", **first), *more]


SECOND = seen("b", (110, 110, 140, 140), "cup", colors=["red"], material="solid")
UNKNOWN = seen("b", (110, 110, 140, 140), "cup")
BIG = seen("b", (80, 80, 190, 190), "cup")
DOG = seen("d", (90, 10, 120, 40), "dog")


@pytest.mark.parametrize(
    ("views", "phrase", "wanted"),
    [
        (cups(), "cup", "pass"),
        (cups(SECOND), "cup", "reference-ambiguous"),
        (cups(SECOND, colors=["blue"]), "blue cup", "pass"),
        (cups(SECOND, colors=["blue"]), "red cup", "reference-misses-region"),
        (cups(SECOND, colors=["blue"]), "green cup", "reference-fits-nothing"),
        (cups(UNKNOWN, colors=["blue"]), "blue cup", "reference-ambiguous"),
        (cups(SECOND, material="striped"), "striped cup", "pass"),
        (cups(UNKNOWN, material="striped"), "striped cup", "reference-ambiguous"),
        (cups(SECOND), "leftmost cup", "pass"),
        (cups(SECOND), "rightmost cup", "reference-misses-region"),
        (cups(SECOND), "first cup from the top", "pass"),
        (cups(SECOND), "third cup from the left", "reference-fits-nothing"),
        (cups(seen("b", (12, 110, 42, 140), "cup")), "leftmost cup", "reference-ambiguous"),
        (cups(BIG), "smallest cup", "pass"),
        (cups(SECOND), "smallest cup", "reference-ambiguous"),
        (cups(BIG), "largest cup", "reference-misses-region"),
        (cups(SECOND), "cup at the top left of the picture", "pass"),
        (cups(SECOND), "cup at the top of the picture", "reference-fits-nothing"),
        (cups(SECOND, DOG), "cup left of the dog", "pass"),
        (cups(SECOND, DOG), "cup right of the dog", "reference-misses-region"),
        (cups(SECOND, DOG), "dog", "reference-misses-region"),
        (cups(seen("b", (10, 110, 40, 140), "cup"), DOG), "cup left of the dog", "reference-ambiguous"),
        (cups(seen("b", (0, 0, 200, 200), "cup", iscrowd=True)), "cup", "reference-ambiguous"),
        (cups(count=2), "cup", "reference-ambiguous"),
        (cups(entity="mug"), "mug", "pass"),
        (cups(), "banana", "reference-misses-region"),
        (cups(), "gizmo", None),
        (cups(), "cup that he holds", None),
    ],
)
def test_what_a_phrase_fits(views: list[RegionView], phrase: str, wanted: str | None) -> None:
    one = query("color", f"What color is the {phrase}?", "red", ["red", "blue"])
    assert asked(check_unique, group(views, one)) == wanted
    assert asked(check_unique, group(views, one.model_copy(update={"origin": "source"}))) is None


def test_where_everything_is_annotated_an_unknown_name_fits_nothing() -> None:
    one = query("color", "What color is the gizmo?", "red", ["red", "blue"])
    assert asked(check_unique, group(cups(), one, complete=True)) == "reference-fits-nothing"


def test_a_second_phrase_has_to_be_unique_too() -> None:
    one = query("relation", "Where is the cup, seen from the dog?", "above it", ["above it", "below it"])
    assert asked(check_unique, group(cups(DOG), one)) == "pass"
    other = seen("e", (90, 90, 120, 120), "dog")
    assert asked(check_unique, group(cups(DOG, other), one)) == "reference-ambiguous"


def test_every_reference_of_the_writer_can_be_read_and_is_unique() -> None:
    places = [(10, 10, 40, 40), (100, 12, 190, 100), (15, 100, 45, 190), (120, 130, 150, 160)]
    looks = [["red"], ["blue"], ["green", "black"], ["white"]]
    views = [
        seen(f"r{i}", box, "cup", colors=look, material=("striped", "solid")[i > 0], count=4)
        for i, (box, look) in enumerate(zip(places, looks, strict=True))
    ]
    views.append(seen("d", (85, 160, 99, 190), "dog", count=1))
    for i, view in enumerate(views):
        view.row.profile.spatial.position = ("top left", "top right", "bottom left", "bottom right", "bottom")[i]
        checked = group(views, about=i)
        found = list(references(checked.picture, view))
        assert found
        for reference in found:
            one = query("shape", f"Which shape is {reference.phrase}?", "round", ["round", "square"])
            assert asked(check_unique, group(views, one, about=i)) == "pass", reference
