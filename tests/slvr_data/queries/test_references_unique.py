"""Every reference is held against the picture by two readers that know nothing of the one that wrote it."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slvr_data import geometry
from slvr_data.checks.queries.phrases import phrases
from slvr_data.checks.queries.unique import fitting, hidden
from slvr_data.queries.references import reference_for, references
from slvr_data.queries.view import PictureView, RegionView
from tests.checked import IMAGE, SIDE, group, seen

LABELS = ("cup", "dog", "wine glass")


@st.composite
def layouts(draw: st.DrawFn) -> PictureView:
    """Up to seven things of three kinds, of known and unknown looks; often on one line, or of one size."""
    number = draw(st.integers(1, 7))
    lines, sizes = draw(st.sampled_from([[20, 22, 100], [0, 60, 120]])), draw(st.sampled_from([[20], [10, 13, 40]]))
    places = st.one_of(st.sampled_from(lines), st.integers(0, 150))
    found = {}
    for _ in range(number):
        x, y = draw(places), draw(places)
        width, height = draw(st.sampled_from(sizes)), draw(st.sampled_from(sizes))
        found[(x, y, x + width, y + height)] = draw(st.sampled_from(LABELS))
    labels = list(found.values())
    missing = draw(st.sampled_from([None, None, None, "cup"]))
    regions = []
    for index, (box, label) in enumerate(found.items()):
        colors = draw(st.sampled_from([None, ["red"], ["blue"], ["red", "blue"], ["blue", "white"]]))
        material = draw(st.sampled_from([None, "solid", "striped"]))
        count = labels.count(label) + (label == missing)
        known = {"colors": colors, "material": material, "position": geometry.position_of(box, SIDE, SIDE)}
        regions.append(seen(str(index), box, label, count=count, **known))
    return PictureView(IMAGE, SIDE, SIDE, regions)


@given(layouts())
@settings(max_examples=300, deadline=None)
def test_the_reader_of_the_checks_finds_one_region(picture: PictureView) -> None:
    for index, mine in enumerate(picture.regions):
        checked = group(list(picture.regions), about=index)
        for reference in references(picture, mine):
            (phrase,) = phrases(f"What is {reference.phrase}?", LABELS)
            assert fitting(checked, phrase) == [mine], reference
            assert phrase.name is not None and not hidden(checked, phrase.name)


def said(phrase: str, picture: PictureView) -> list[RegionView]:
    """The regions that somebody could mean by a phrase, word by word; what is unknown may be meant."""
    label = min((label for label in LABELS if label in phrase), key=phrase.index)
    before, _, after = phrase.removeprefix("the ").partition(label)
    things = [region for region in picture.regions if region.label == label]
    words = set(before.split()) - {"and"}
    look = [r for r in things if may_look(r, words)]
    if after.strip().startswith("at the "):
        cell = after.strip().removeprefix("at the ").removesuffix(" of the picture")
        look = [region for region in look if geometry.position_of(region.row.bbox, SIDE, SIDE) == cell]
    elif match := re.fullmatch(r" (left of|right of|above|below) the (.+)", after):
        (other,) = (region for region in picture.regions if region.label == match[2])
        look = [region for region in look if beyond(match[1], region, other)]
    for number, word in enumerate(("first", "second", "third", "fourth", "fifth", "sixth")):
        if word in words:
            axis = 0 if after.strip() == "from the left" else 1
            return [sorted(things, key=lambda region: region.center[axis])[number]]
    ends = {"leftmost": (0, min), "rightmost": (0, max), "topmost": (1, min), "bottommost": (1, max)}
    for word, (axis, end) in ends.items():
        if word in words:
            edge = end(region.center[axis] for region in things)
            return [region for region in things if abs(region.center[axis] - edge) < 0.05 * SIDE]
    if "largest" in words:
        return [region for region in things if region.area * 1.5 > max(other.area for other in things)]
    if "smallest" in words:
        return [region for region in things if region.area < 1.5 * min(other.area for other in things)]
    return look


def may_look(region: RegionView, words: set[str]) -> bool:
    look = region.row.profile.appearance
    colors = words & {"red", "blue", "white"}
    if colors and look.colors and not colors & set(look.colors):
        return False
    pattern = words & {"striped", "dotted", "checkered"}
    return not pattern or look.material is None or look.material in pattern


def beyond(kind: str, region: RegionView, other: RegionView) -> bool:
    axis = 0 if kind in ("left of", "right of") else 1
    difference = other.center[axis] - region.center[axis]
    return difference > 0 if kind in ("left of", "above") else difference < 0


@given(layouts())
@settings(max_examples=300, deadline=None)
def test_a_slow_reader_finds_one_region(picture: PictureView) -> None:
    for mine in picture.regions:
        for reference in references(picture, mine):
            assert said(reference.phrase, picture) == [mine], reference


@given(layouts())
@settings(max_examples=100, deadline=None)
def test_a_kind_that_may_have_more_things_is_not_named(picture: PictureView) -> None:
    for mine in picture.regions:
        same = sum(other.label == mine.label for other in picture.regions)
        if mine.count != same:
            assert not list(references(picture, mine))


@given(layouts(), st.sampled_from(["color", "size", "position", "relation", "material"]))
@settings(max_examples=100, deadline=None)
def test_what_is_asked_is_not_told(picture: PictureView, facet: str) -> None:
    telling = {
        "color": r"red|blue|white", "size": r"largest|smallest", "material": "striped",
        "position": r"most|from the|at the|left of|right of|above|below",
        "relation": r"most|from the|at the|left of|right of|above|below",
    }[facet]  # fmt: skip
    for mine in picture.regions:
        reference = reference_for(picture, mine, facet)
        assert reference is None or not re.search(telling, reference.phrase), reference


def test_a_crowd_has_no_reference_but_its_sources() -> None:
    crowd = seen("c", (0, 0, 100, 100), "dog", iscrowd=True, references=["a pack of dogs."], count=None)
    picture = PictureView(IMAGE, SIDE, SIDE, [crowd])
    assert [reference.phrase for reference in references(picture, crowd)] == ["the pack of dogs"]


@pytest.mark.parametrize(
    ("expression", "facet", "usable"),
    [
        ("red cup", "color", False), ("red cup", "position", True), ("The left cup", "position", False),
        ("the left cup", "relation", False), ("a cup on the left", "color", True), ("biggest one", "size", False),
        ("cup in front", "depth", False), ("striped cup", "material", False), ("second from left", "count", False),
        ("man holding a cup", "color", True), ("Reddish cup", "color", True),
    ],
)  # fmt: skip
def test_a_sources_own_words_tell_facets_too(expression: str, facet: str, usable: bool) -> None:
    cup = seen("c", (0, 0, 50, 50), "cup", references=[expression], count=None)
    picture = PictureView(IMAGE, SIDE, SIDE, [cup])
    assert (reference_for(picture, cup, facet) is not None) == usable
