from __future__ import annotations

from slvr_data.audit.claims import Claim, claims
from slvr_data.schema import FACETS, Appearance, AttributeProfile, Link, Peers, Spatial


def test_an_unknown_profile_claims_nothing() -> None:
    said, unknown = claims(AttributeProfile())
    assert said == []
    assert sorted(unknown) == sorted(FACETS)


def test_every_known_field_is_a_claim() -> None:
    profile = AttributeProfile(
        appearance=Appearance(entity="cup", colors=["red", "white"], shape="round", material="striped", size="small"),
        action="none",
        interaction=[Link(kind="held by", target="person", target_region_id="p")],
        spatial=Spatial(
            position="top left",
            orientation="none",
            depth="front",
            relations=[
                Link(kind="left of", target="cup", target_region_id="c"),
                Link(kind="above", target="table", target_region_id=None),
            ],
        ),
        visible_text=["TEA", "hot"],
        peers=Peers(same_label_count=2),
    )
    said, unknown = claims(profile)
    assert unknown == []
    assert said == [
        Claim("entity", "cup"),
        Claim("color", "red and white"),
        Claim("shape", "round"),
        Claim("material", "striped"),
        Claim("size", "small in the picture"),
        Claim("position", "at the top left of the picture"),
        Claim("orientation", "no main axis"),
        Claim("depth", "in front of what it overlaps"),
        Claim("relation", "left of another cup", "c"),
        Claim("relation", "above the table"),
        Claim("action", "none"),
        Claim("interaction", "held by the person", "p"),
        Claim("visible_text", '"TEA"'),
        Claim("visible_text", '"hot"'),
        Claim("count", "one of 2 of its kind in the picture"),
    ]


def test_what_is_known_to_be_absent_is_a_claim_too() -> None:
    profile = AttributeProfile(
        appearance=Appearance(colors=[]),
        interaction=[],
        spatial=Spatial(relations=[]),
        visible_text=[],
        peers=Peers(same_label_count=1),
    )
    said, _ = claims(profile)
    assert [(claim.facet, claim.text) for claim in said] == [
        ("color", "none"),
        ("relation", "none"),
        ("interaction", "none"),
        ("visible_text", "none"),
        ("count", "the only one of its kind in the picture"),
    ]
