"""Two profiles of one region: what counts as a contradiction, and what does not."""

from __future__ import annotations

from typing import Any

import pytest

from slvr_data.checks.model.compare import COMPARED, differences, overlap, value_of
from slvr_data.checks.model.config import EYES
from slvr_data.schema import AttributeProfile
from tests.checked import link, profile

PAIRS: list[tuple[str, Any, Any, bool]] = [
    ("entity", "car", "car", True),
    ("entity", "car", "a red car", True),
    ("entity", "sofa", "couch", True),
    ("entity", "dogs", "dog", True),
    ("entity", "car", "dog", False),
    ("entity", "unicycle", "gizmo", False),
    ("colors", ["red"], ["red"], True),
    ("colors", ["red"], ["red", "blue"], True),
    ("colors", ["red"], ["orange"], True),
    ("colors", ["red", "blue"], ["red"], False),
    ("colors", ["red"], ["blue"], False),
    ("shape", "round", "round", True),
    ("shape", "round", "square", False),
    ("material", "striped", "striped fabric", True),
    ("material", "none", "striped", False),
    ("material", "none", "None", True),
    ("action", "standing", "standing still", True),
    ("action", "standing", "running", False),
    ("action", "pointing left", "pointing right", False),
    ("action", "none", "parked", False),
    ("visible_text", ["STOP"], ["stop"], True),
    ("visible_text", ["MAIN ST", "42"], ["Main St"], True),
    ("visible_text", ["STOP"], ["EXIT"], False),
    ("visible_text", ["STOP"], [], False),
    ("visible_text", [], ["STOP"], False),
    ("visible_text", [], [], True),
    ("orientation", "vertical", "vertical", True),
    ("orientation", "vertical", "none", False),
    ("depth", "front", "middle", False),
    ("count", 3, 3, True),
    ("count", 3, 4, False),
    ("interaction", [link("holding", "cup", "r1")], [link("holding a", "mug", "r1")], True),
    ("interaction", [link("holding", "cup", "r1")], [link("holding", "cup", "r2")], False),
    ("interaction", [link("holding", "cup")], [link("holding", "cup", "r2")], True),
    ("interaction", [link("holding", "cup")], [link("touching", "cup")], False),
    ("interaction", [link("holding", "cup")], [], False),
    ("interaction", [], [link("holding", "cup")], True),
    ("relations", [link("left of", "cup")], [link("right of", "cup")], False),
    ("relations", [link("above", "cup")], [link("below", "dog"), link("above", "cup")], True),
]


@pytest.mark.parametrize("name, first, second, agree", PAIRS)
def test_fields_agree_or_not(name: str, first: Any, second: Any, agree: bool) -> None:
    found = differences(profile(**{name: first}), profile(**{name: second}), list(COMPARED))
    assert bool(found) != agree, found
    if not agree:
        assert len(found) == 1 and " / " in found[0]


def test_evidence_names_the_field_and_both_values() -> None:
    found = differences(
        profile(colors=["red", "white"], action="sitting"), profile(colors=["blue"], action="flying"), list(COMPARED)
    )
    assert found == ["appearance.colors: red, white / blue", "action: sitting / flying"]


@pytest.mark.parametrize("name", ["entity", "colors", "action", "interaction", "visible_text", "depth", "count"])
def test_unknown_contradicts_nothing(name: str) -> None:
    told = {"entity": "car", "colors": ["red"], "action": "parked", "interaction": [link("holding", "cup")],
            "visible_text": ["A"], "depth": "front", "count": 2}  # fmt: skip
    known, empty = profile(**{name: told[name]}), AttributeProfile()
    assert differences(known, known, list(COMPARED)) == []
    assert differences(known, empty, list(COMPARED)) == differences(empty, known, list(COMPARED)) == []


def test_only_named_fields_are_compared() -> None:
    one, other = profile(colors=["red"], shape="round"), profile(colors=["blue"], shape="square")
    assert differences(one, other, ["appearance.shape"]) == ["appearance.shape: round / square"]
    assert differences(one, other, []) == []


def test_every_field_of_a_profile_can_be_compared() -> None:
    def leaves(tree: dict[str, Any], prefix: str = "") -> set[str]:
        found: set[str] = set()
        for name, value in tree.items():
            found |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
        return found

    assert set(COMPARED) == leaves(AttributeProfile().model_dump()) and set(EYES) < set(COMPARED)
    assert all(value_of(AttributeProfile(), name) is None for name in COMPARED)


def test_overlap_is_of_words_that_count() -> None:
    assert overlap("the sitting dogs", "a dog, sitting") == 1
    assert overlap("on a bench", "on a chair") == 0
    assert overlap("", "") == 1 and overlap("", "cup") == 0
