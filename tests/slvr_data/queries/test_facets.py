"""One question per facet: right by another reading of profile and boxes, silent where it cannot know, right English."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slvr_data import geometry
from slvr_data.queries.facets import WRITERS, Draft
from slvr_data.queries.view import PictureView, RegionView
from tests.checked import IMAGE, SIDE, link, seen

KNOWN: dict[str, Any] = {
    "colors": ["red"], "material": "striped", "size": "medium", "position": "top left", "orientation": "horizontal",
    "depth": "front", "relations": [link("left of", "dog", "d")], "action": "waving",
    "interaction": [link("holding", "key", "k")], "visible_text": ["EXIT"], "count": 1,
}  # fmt: skip
DOG = seen("d", (140, 20, 180, 50), "dog", count=1, colors=["blue"], position="top right", action="standing")
KEY = seen("k", (20, 140, 40, 160), "key", count=1, position="bottom left")
TREE = seen("t", (140, 140, 190, 190), "tree", count=1, position="bottom right")
BOX = (10, 10, 60, 50)


def view(*regions: RegionView) -> PictureView:
    return PictureView(IMAGE, SIDE, SIDE, regions)


def written(facet: str, label: str = "cup", box: Sequence[float] = BOX, **changes: Any) -> Draft | None:
    mine = seen("m", box, label, **{"entity": label} | KNOWN | changes)
    return WRITERS[facet](view(mine, DOG, KEY, TREE), mine)


def test_every_facet_but_shape_has_a_writer() -> None:
    from slvr_data.schema import FACETS

    assert set(WRITERS) == set(FACETS) - {"shape"}


ENGLISH = {
    "entity": (
        "Which of these is at the top left of the picture?", "What can be seen at the top left of the picture?",
        "Which of these things does the top left of the picture show?",
        "One of these is at the top left of the picture: which?",
    ),
    "color": (
        "What color is the cup?", "Which color is the cup?", "What is the color of the cup?",
        "Which color can be seen on the cup?",
    ),
    "material": (
        "Which pattern is on the cup?", "What pattern does one see on the cup?",
        "Which word describes the surface of the cup?", "What is the pattern of the cup?",
    ),
    "size": (
        "How large is the cup in the picture?", "How big is the cup in the picture?",
        "How much of the picture is taken up by the cup: a small, a medium or a large part?",
        "Compared with the whole picture, what is the size of the cup?",
    ),
    "position": (
        "In which part of the picture is the cup?", "Where in the picture is the cup?",
        "Which part of the picture shows the cup?", "Where can the cup be found in the picture?",
    ),
    "orientation": (
        "In which direction is the cup stretched?", "What is the orientation of the cup in the picture?",
        "Which way does the longer axis of the cup run?", "How is the cup oriented in the picture?",
    ),
    "depth": (
        "Where is the cup in depth, next to the things that overlap it?",
        "Which layer of the overlapping things is the cup in?", "How is the cup placed in depth?",
        "Where does the cup lie among the things that overlap it?",
    ),
    "relation": (
        "Where is the cup, seen from the dog?", "Where is the cup in relation to the dog?",
        "On which side of the dog is the cup?", "Compared with the dog, where in the picture is the cup?",
    ),
    "action": (
        "What is the cup doing?", "Which of these is the cup doing?", "What is the pose of the cup?",
        "How is the cup shown?",
    ),
    "interaction": (
        "What is the cup holding?", "In the picture, what is the cup holding?", "Tell: what is the cup holding?",
        "Look closely: what is the cup holding?",
    ),
    "visible_text": (
        "What is written on the cup?", "Which text can be read on the cup?", "What does the text on the cup say?",
        "What letters does the cup bear?",
    ),
    "count": (
        "How many cups are there in the picture?", "How many cups does the picture show?",
        "What is the number of cups in the picture?", "How many cups can be seen?",
    ),
}  # fmt: skip
PLURAL = {
    "color": ("What color are the scissors?", "Which color are the scissors?"),
    "size": (
        "How large are the scissors in the picture?", "How big are the scissors in the picture?",
        "How much of the picture is taken up by the scissors: a small, a medium or a large part?",
    ),
    "position": ("In which part of the picture are the scissors?", "Where in the picture are the scissors?"),
    "orientation": ("In which direction are the scissors stretched?",),
    "depth": (
        "Where are the scissors in depth, next to the things that overlap them?",
        "Which layer of the overlapping things are the scissors in?", "How are the scissors placed in depth?",
        "Where do the scissors lie among the things that overlap them?",
    ),
    "relation": ("Where are the scissors, seen from the dog?", "Where are the scissors in relation to the dog?"),
    "action": ("What are the scissors doing?", "Which of these are the scissors doing?"),
    "interaction": ("What are the scissors holding?",),
    "visible_text": (
        "What is written on the scissors?", "Which text can be read on the scissors?",
        "What does the text on the scissors say?", "What letters do the scissors bear?",
    ),
}  # fmt: skip
ANSWERS = {
    "entity": "cup", "color": "red", "material": "striped", "size": "medium", "position": "top left",
    "orientation": "horizontal", "depth": "in front", "relation": "left of it", "action": "waving",
    "interaction": "key", "visible_text": "EXIT", "count": "1",
}  # fmt: skip


@pytest.mark.parametrize("facet", WRITERS)
def test_sentences(facet: str) -> None:
    draft = written(facet)
    assert draft is not None
    assert (draft.facet, draft.wordings, draft.answer) == (facet, ENGLISH[facet], ANSWERS[facet])
    assert 2 <= len(set(draft.wrong)) <= 3 and draft.answer not in draft.wrong


@pytest.mark.parametrize("facet", PLURAL)
def test_verbs_of_a_thing_that_is_always_plural(facet: str) -> None:
    draft = written(facet, "scissors")
    assert draft is not None and draft.wordings[: len(PLURAL[facet])] == PLURAL[facet]


def test_two_colors_and_a_plural_neighbour() -> None:
    draft = written("color", colors=["red", "white"])
    assert draft is not None and draft.answer == "red and white"
    assert draft.wordings[:2] == ("Which colors does the cup have?", "Which two colors does the cup show?")
    assert written("color", colors=["red", "white", "blue"]) is None, "the sentences are about two"
    other = seen("s", (140, 20, 180, 50), "scissors", count=1)
    mine = seen("m", BOX, "cup", count=1, relations=[link("left of", "scissors", "s")])
    found = WRITERS["relation"](view(mine, other), mine)
    assert found is not None and found.answer == "left of them"
    assert set(found.wrong) == {"right of them", "above them", "below them"}


def test_a_sentence_does_not_say_twice_that_it_is_about_the_picture() -> None:
    """A reference may end on "of the picture"."""
    looks: dict[str, Any] = {"colors": None, "count": 3, "size": "medium", "orientation": "vertical"}
    places = {"m": (10, 10, 60, 50), "o": (12, 80, 62, 120), "p": (80, 12, 130, 52)}
    one, *others = (
        seen(name, box, position=geometry.position_of(box, SIDE, SIDE), **looks) for name, box in places.items()
    )
    for facet in ("size", "orientation"):
        draft = WRITERS[facet](view(one, *others), one)
        assert draft is not None and "the cup at the top left of the picture" in draft.wordings[0]
        assert not [text for text in draft.wordings if "of the picture in the picture" in text]


FIELDS = {
    "color": "colors", "material": "material", "size": "size", "position": "position", "orientation": "orientation",
    "depth": "depth", "relation": "relations", "action": "action", "interaction": "interaction",
    "visible_text": "visible_text", "count": "count", "entity": "position",
}  # fmt: skip


@pytest.mark.parametrize(("facet", "name"), FIELDS.items())
def test_nothing_is_asked_about_what_is_unknown(facet: str, name: str) -> None:
    assert written(facet, **{name: None}) is None


@pytest.mark.parametrize(
    ("facet", "changes"),
    [
        ("color", {"colors": []}),
        ("material", {"material": "none"}),
        ("orientation", {"orientation": "none"}),
        ("action", {"action": "none"}),
        ("relation", {"relations": []}),
        ("relation", {"relations": [link("left of", "dog")]}),
        ("relation", {"relations": [link("near", "dog", "d")]}),
        ("interaction", {"interaction": []}),
        ("interaction", {"interaction": [link("eyeing", "key", "k")]}),
        ("interaction", {"interaction": [link("holding", "key", "k"), link("holding", "tree", "t")]}),
        ("visible_text", {"visible_text": []}),
        ("visible_text", {"visible_text": ["EXIT", "OUT"]}),
        ("count", {"count": 13}),
        ("count", {"label": "scissors"}),
        ("count", {"label": "grass"}),
        ("position", {"box": (40, 10, 90, 50)}),  # its centre is at 0.325 of the width
        ("entity", {"box": (40, 10, 90, 50)}),
        ("size", {"box": (10, 10, 46, 46)}),  # 3.2 % of the picture
        ("size", {"box": (10, 10, 87, 87), "size": "small"}),  # 14.8 %
    ],
)
def test_nothing_is_asked_that_is_not_plain(facet: str, changes: dict[str, Any]) -> None:
    assert written(facet, **changes) is None


@pytest.mark.parametrize(
    ("box", "plain"),
    [
        ((120, 10, 160, 40), True),  # as high as the cup
        ((120, 40, 160, 70), True),  # lower, but beside it
        ((120, 60, 160, 90), True),  # below it too, but much farther to the right
        ((90, 70, 130, 100), False),  # as far below as to the right
        ((70, 52, 130, 82), False),
    ],
)
def test_what_lies_askew_is_not_told_by_one_word(box: tuple[float, ...], plain: bool) -> None:
    assert geometry.relation_of(BOX, box) == "left of"
    dog = seen("d", box, "dog", count=1)
    mine = seen("m", BOX, "cup", **KNOWN)
    assert (WRITERS["relation"](view(mine, dog), mine) is not None) == plain


def test_an_interaction_is_not_with_what_the_question_names() -> None:
    """ "What is the red sign touching?" would be answered by "sign"."""
    links = [link("touching", "sign", "s")]
    mine = seen("m", BOX, "sign", count=2, colors=["red"], interaction=links)
    other = seen("s", (60, 10, 100, 50), "sign", count=2, colors=["blue"])
    assert WRITERS["interaction"](view(mine, other, TREE), mine) is None
    mine.row.profile.interaction = [*links, link("holding", "key", "k")]
    found = WRITERS["interaction"](view(mine, other, TREE, KEY), mine)
    assert found is not None and (found.answer, found.wrong) == ("key", ("tree",))


def test_a_reference_never_tells_what_is_asked() -> None:
    """Two cups that differ in colour alone: nothing is left to ask for their colour by."""
    one, other = (
        seen("m", (10, 10, 50, 50), count=2, colors=["red"]),
        seen("o", (11, 11, 51, 51), count=2, colors=["blue"]),
    )
    assert WRITERS["color"](view(one, other), one) is None
    other = seen("o", (150, 12, 190, 52), count=2, colors=["blue"])
    draft = WRITERS["color"](view(one, other), one)
    assert draft is not None and draft.wordings[0] == "What color is the leftmost cup?"


@st.composite
def pictures(draw: st.DrawFn) -> PictureView:
    labels = draw(st.lists(st.sampled_from(["cup", "dog", "scissors", "tree"]), min_size=2, max_size=6))
    regions = []
    for number, label in enumerate(labels):
        x, y = draw(st.integers(0, 160)), draw(st.integers(0, 160))
        box = (x, y, x + draw(st.integers(10, 40)), y + draw(st.integers(10, 40)))
        colors = draw(st.sampled_from([None, ["red"], ["blue", "white"], ["green"]]))
        words = {"position": geometry.position_of(box, SIDE, SIDE), "size": geometry.size_of(box, SIDE, SIDE)}
        regions.append(seen(str(number), box, label, colors=colors, count=labels.count(label), **words))
    for mine in regions:
        kinds = ((other, geometry.relation_of(mine.row.bbox, other.row.bbox)) for other in regions if other is not mine)
        mine.row.profile.spatial.relations = [link(k, o.label or "", o.row.region_id) for o, k in kinds if k]
    return view(*regions)


def area(region: RegionView) -> float:
    return region.area / SIDE**2


@given(pictures())
@settings(max_examples=200, deadline=None)
def test_answers_are_right_by_the_boxes(picture: PictureView) -> None:
    """What is plain in the picture, seen without the profile's words for size, place and count."""
    for mine in picture.regions:
        cx, cy = mine.center[0] / SIDE, mine.center[1] / SIDE
        for facet in ("size", "position", "count", "entity"):
            draft = WRITERS[facet](picture, mine)
            if draft is None:
                continue
            if facet == "size":
                assert draft.answer == ("small" if area(mine) < 0.03 else "large" if area(mine) > 0.15 else "medium")
            if facet == "position":
                column = "left" if cx < 1 / 3 else "right" if cx > 2 / 3 else ""
                row = "top" if cy < 1 / 3 else "bottom" if cy > 2 / 3 else ""
                assert draft.answer == (f"{row} {column}".strip() or "center")
            if facet == "count":
                assert draft.answer == str(sum(other.label == mine.label for other in picture.regions))
            if facet == "entity":
                place = draft.wordings[0].removeprefix("Which of these is at the ").removesuffix(" of the picture?")
                cells = [(other, geometry.position_of(other.row.bbox, SIDE, SIDE)) for other in picture.regions]
                inside = {other.label for other, cell in cells if cell == place}
                assert draft.answer in inside and not inside & set(draft.wrong)
