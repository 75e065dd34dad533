"""A reader of profiles finds the one right choice, or says why there is none."""

from __future__ import annotations

from typing import Any

import pytest

from slvr_data.checks.queries.answerable import check_answerable
from slvr_data.queries.facets import WRITERS
from slvr_data.queries.generate import write_groups
from slvr_data.queries.view import RegionView
from tests.checked import asked, group, link, query, seen

CUP = seen(
    "a", (10, 10, 40, 40), "cup", entity="cup", colors=["red", "blue"], shape="round", material="striped", size="small",
    position="top left", orientation="vertical", depth="front", action="pointing left", visible_text=["EXIT"], count=1,
    relations=[link("left of", "dog", "d")], interaction=[link("touching", "dog", "d"), link("inside", "Box", "b")],
)  # fmt: skip
DOG = seen("d", (100, 10, 130, 40), "dog", position="top", count=1)
VIEWS = [CUP, DOG]

SOUND = {
    "color": ("What colors does the cup have?", "red and blue", ["red and green", "red and blue", "white"]),
    "shape": ("Which shape is the cup?", "round", ["square", "round"]),
    "material": ("Which pattern is on the cup?", "striped", ["solid", "striped"]),
    "size": ("How large is the cup?", "small", ["large", "small"]),
    "position": ("In which part of the picture is the cup?", "top left", ["top left", "bottom"]),
    "orientation": ("Which way does the cup run?", "vertical", ["vertical", "horizontal"]),
    "depth": ("Where is the cup in depth?", "in front", ["behind", "in front", "in between"]),
    "relation": ("Where is the cup, seen from the dog?", "left of it", ["left of it", "right of it"]),
    "action": ("What is the cup doing?", "pointing left", ["pointing left", "waving"]),
    "interaction": ("What is the cup inside of?", "box", ["box", "dog"]),
    "visible_text": ("What is written on the cup?", "EXIT", ["EXIT", "EXLT"]),
    "count": ("How many cups are there in the picture?", "1", ["1", "2"]),
    "entity": ("Which of these is at the top left of the picture?", "cup", ["cup", "dog"]),
}
FIELDS = {
    "color": "appearance.colors", "position": "spatial.position", "orientation": "spatial.orientation",
    "depth": "spatial.depth", "relation": "spatial.relations", "count": "peers.same_label_count",
    "action": "action", "interaction": "interaction", "visible_text": "visible_text",
}  # fmt: skip


def judged(facet: str, views: list[RegionView] | None = None, **changes: Any) -> str | None:
    question, answer, choices = SOUND[facet]
    one = query(facet, question, answer, choices, FIELDS.get(facet, f"appearance.{facet}"))
    return asked(check_answerable, group(views or VIEWS, one.model_copy(update=changes)))


@pytest.mark.parametrize("facet", SOUND)
def test_the_right_choice_is_found_and_no_other(facet: str) -> None:
    _, answer, choices = SOUND[facet]
    assert judged(facet) == "pass"
    for wrong in choices:
        if wrong != answer:
            assert judged(facet, answer=wrong) == "another-right"
    assert judged(facet, choices=[c for c in choices if c != answer]) == "no-choice-right"
    assert judged(facet, evidence=[]) == "evidence-missing"
    assert judged(facet, origin="source") is None


@pytest.mark.parametrize("facet", [facet for facet in SOUND if facet != "entity"])
def test_unknown_fields_decide_nothing(facet: str) -> None:
    blank = seen("a", (10, 10, 40, 40), "cup", entity="cup")
    assert judged(facet, [blank, DOG]) == "evidence-unknown"


def test_two_right_choices() -> None:
    assert judged("color", choices=["blue and red", "red and blue"]) == "several-right"
    near = seen("a", (51, 10, 81, 40), "cup", position="top left")
    assert judged("position", [near, DOG], choices=["top left", "top"]) == "several-right", "on the border of both"


def test_a_relation_is_read_from_the_other_thing_that_is_named() -> None:
    claims = [link("left of", "dog", "d"), link("above", "fox", "f")]
    cup, fox = seen("a", (10, 10, 40, 40), "cup", relations=claims), seen("f", (10, 90, 40, 120), "fox")
    question = "Where is the cup, seen from the fox?"
    choices = ["left of it", "above it"]
    assert judged("relation", [cup, DOG, fox], question=question, answer="above it", choices=choices) == "pass"
    assert judged("relation", [cup, DOG, fox], question=question, choices=choices) == "another-right"
    assert judged("relation", question="Where is the cup, seen from the cat that sleeps?") is None
    lied = seen("a", (10, 10, 40, 40), "cup", relations=[link("right of", "dog", "d")])
    assert judged("relation", [lied, DOG]) == "no-choice-right", "boxes and profile disagree"


def test_a_count_is_of_the_things_it_asks_about() -> None:
    assert judged("count", question="How many dogs are there in the picture?") == "no-choice-right"
    person = seen("p", (0, 0, 20, 20), "person", count=1)
    one = query("count", "How many people are there?", "1", ["1", "2"], "peers.same_label_count")
    assert asked(check_answerable, group([person], one)) == "pass"


def test_an_entity_is_read_from_the_cell_that_is_named() -> None:
    question = "Which of these is at the bottom of the picture?"
    assert judged("entity", question=question) == "no-choice-right"
    beside = seen("e", (20, 20, 30, 30), "dog")
    assert judged("entity", [CUP, beside]) == "several-right"
    assert judged("entity", question="What is it?") is None


def test_what_the_writer_writes_is_answerable() -> None:
    facets = set()
    for i in range(2):
        checked = group(VIEWS, about=i)
        for written in write_groups(checked.picture, VIEWS[i]):
            for n, one in enumerate(written.group.queries):
                facets.add(one.facet)
                assert asked(check_answerable, group(VIEWS, *written.group.queries, about=i), n) == "pass"
    assert facets <= set(WRITERS) and len(facets) >= 4
