"""The canonical sentence form of a profile."""

from __future__ import annotations

import pytest

from slvr_data.schema import Appearance, AttributeProfile, Link, Peers, Spatial
from slvr_data.text import article, joined, profile_text

WHOLE = AttributeProfile(
    appearance=Appearance(
        entity="mug", colors=["red", "white"], shape="round", material="striped", size="small"
    ),
    action="leaning left",
    interaction=[Link(kind="touching", target="plate", target_region_id=None)],
    spatial=Spatial(
        position="top left",
        orientation="diagonal rising",
        depth="front",
        relations=[
            Link(kind="left of", target="mug", target_region_id="a"),
            Link(kind="above", target="table", target_region_id=None),
        ],
    ),
    visible_text=["OPEN", "24"],
    peers=Peers(same_label_count=2),
)  # fmt: skip


def test_every_field_is_said() -> None:
    assert profile_text(WHOLE) == (
        "A small red and white striped mug at the top left of the picture. Shape: round. Action: leaning left. "
        "Interaction: touching the plate. Orientation: diagonal rising. Depth: front. "
        'Relations: left of another mug, above the table. Visible text: "OPEN", "24". One of 2 of its kind.'
    )


def test_nothing_known_is_a_thing() -> None:
    assert profile_text(AttributeProfile()) == "A thing."


def test_unknown_and_absent_are_left_out() -> None:
    absent = AttributeProfile(
        appearance=Appearance(entity="egg", colors=[], shape="none", material="none"),
        action="none",
        interaction=[],
        spatial=Spatial(orientation="none", depth="none", relations=[]),
        visible_text=[],
        peers=Peers(same_label_count=1),
    )
    assert profile_text(absent) == "An egg. The only one of its kind."


@pytest.mark.parametrize("field", ["entity", "colors", "shape", "material", "size"])
def test_each_field_of_appearance_alone_changes_the_text(field: str) -> None:
    look = WHOLE.appearance.model_copy(update={field: None})
    assert profile_text(WHOLE.model_copy(update={"appearance": look})) != profile_text(WHOLE)


def test_words() -> None:
    assert (article("apple"), article("Owl"), article("red apple")) == ("an", "an", "a")
    assert joined(["a", "b", "c"]) == "a, b and c"
    assert (joined(["a"]), joined([]), joined(None)) == ("a", None, None)
