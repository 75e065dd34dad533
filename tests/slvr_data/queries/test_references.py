"""A reference fits one region of the picture and no other."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from slvr_data import geometry
from slvr_data.ids import region_id
from slvr_data.queries.facets import WRITERS
from slvr_data.queries.references import reference_for, references
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.schema import Appearance, AttributeProfile, AttributeRow, Peers, Provenance, Spatial

WIDTH, HEIGHT = 300, 200


def region(box: Sequence[float], label: str, colors: list[str] | None = None, count: int | None = 1) -> RegionView:
    spatial = Spatial(position=geometry.position_of(box, WIDTH, HEIGHT))
    profile = AttributeProfile(
        appearance=Appearance(entity=label, colors=colors), spatial=spatial, peers=Peers(same_label_count=count)
    )
    row = AttributeRow(
        region_id=region_id("a", box, label), image_id="a", bbox=list(box), label=label, profile=profile,
        profile_text="", provenance=Provenance(annotator="test"), verdicts=[],
    )  # fmt: skip
    return RegionView(row)


def picture(*regions: RegionView) -> PictureView:
    return PictureView("a", WIDTH, HEIGHT, regions)


def phrases(view: PictureView, one: RegionView) -> set[str]:
    return {reference.phrase for reference in references(view, one)}


def test_the_only_one_needs_no_more_words() -> None:
    cup, dog = region([10, 10, 50, 50], "cup"), region([100, 10, 150, 50], "dog")
    assert phrases(picture(cup, dog), cup) == {"the cup"}


def test_a_color_counts_only_where_all_others_are_known() -> None:
    red = region([10, 10, 50, 50], "cup", ["red"], 2)
    blue, unknown = region([12, 100, 52, 140], "cup", ["blue"], 2), region([12, 100, 52, 140], "cup", None, 2)
    assert "the red cup" in phrases(picture(red, blue), red)
    assert "the red cup" not in phrases(picture(red, unknown), red)


def test_what_may_be_missing_makes_nothing_unique() -> None:
    cup = region([10, 10, 50, 50], "cup", ["red"], None)
    assert not phrases(picture(cup), cup)
    one_of_two = region([10, 10, 50, 50], "cup", ["red"], 2)
    assert not phrases(picture(one_of_two), one_of_two), "the other is not published"


def test_a_reference_does_not_say_what_is_asked() -> None:
    left, right = region([10, 10, 50, 50], "cup", ["red"], 2), region([200, 12, 240, 52], "cup", ["blue"], 2)
    view = picture(left, right)
    asked = reference_for(view, left, "color")
    assert asked is not None and "red" not in asked.phrase
    asked = reference_for(view, left, "position")
    assert asked is not None and asked.phrase == "the red cup"


@st.composite
def layouts(draw: st.DrawFn) -> PictureView:
    number = draw(st.integers(2, 6))
    boxes = []
    for _ in range(number):
        x, y = draw(st.integers(0, WIDTH - 40)), draw(st.integers(0, HEIGHT - 40))
        boxes.append([float(x), float(y), float(x + draw(st.integers(12, 40))), float(y + draw(st.integers(12, 40)))])
    labels = [draw(st.sampled_from(["cup", "dog"])) for _ in boxes]
    colors = [draw(st.sampled_from([None, ["red"], ["blue"], ["red", "blue"]])) for _ in boxes]
    made = {tuple(b): region(b, n, c, labels.count(n)) for b, n, c in zip(boxes, labels, colors, strict=True)}
    return picture(*made.values())


@given(layouts())
@settings(max_examples=300, deadline=None)
def test_no_two_regions_share_a_reference(view: PictureView) -> None:
    """Two regions of a picture are never given the same words."""
    found: dict[str, RegionView] = {}
    for one in view.regions:
        for phrase in phrases(view, one):
            assert found.setdefault(phrase, one) is one, phrase


@given(layouts())
@settings(max_examples=200, deadline=None)
def test_order_words_are_true(view: PictureView) -> None:
    for one in view.regions:
        same = view.by_label[one.label or ""]
        for phrase in phrases(view, one):
            if phrase == f"the leftmost {one.label}":
                assert all(one.center[0] <= other.center[0] for other in same)
            if phrase == f"the largest {one.label}":
                assert all(one.area >= other.area for other in same)
            if phrase == f"the bottommost {one.label}":
                assert all(one.center[1] >= other.center[1] for other in same)


@given(layouts())
@settings(max_examples=200, deadline=None)
def test_wrong_choices_are_wrong_and_distinct(view: PictureView) -> None:
    for one in view.regions:
        for write in WRITERS.values():
            draft = write(view, one)
            if draft is not None:
                assert draft.answer not in draft.wrong and len(set(draft.wrong)) == len(draft.wrong) <= 3
                assert len(draft.wordings) == 4 and all(w.endswith("?") for w in draft.wordings)
                assert draft.answer.lower() not in draft.wordings[0].lower().split() or draft.facet == "entity"
