"""A profile as short claims, each of which can be judged alone."""

from __future__ import annotations

from dataclasses import dataclass

from slvr_data.schema import AttributeProfile, Link
from slvr_data.text import joined

_DEPTHS = {
    "front": "in front of what it overlaps",
    "middle": "in between things that it overlaps",
    "back": "behind what it overlaps",
    "none": "overlaps nothing",
}


@dataclass(frozen=True)
class Claim:
    """One thing that a profile says."""

    facet: str
    text: str
    target: str | None = None
    """The region that it speaks of too, where that is published."""


def claims(profile: AttributeProfile) -> tuple[list[Claim], list[str]]:
    """What the profile says, in the order of the facets, and the facets of which it says nothing."""
    look, place = profile.appearance, profile.spatial
    entity, count = look.entity, profile.peers.same_label_count
    said: dict[str, list[Claim] | None] = {
        "entity": _one("entity", entity),
        "color": _one("color", look.colors if look.colors is None else joined(look.colors) or "none"),
        "shape": _one("shape", look.shape),
        "material": _one("material", look.material),
        "size": _one("size", look.size and f"{look.size} in the picture"),
        "position": _one("position", place.position and f"at the {place.position} of the picture"),
        "orientation": _one("orientation", "no main axis" if place.orientation == "none" else place.orientation),
        "depth": _one("depth", place.depth and _DEPTHS.get(place.depth, place.depth)),
        "relation": _links("relation", place.relations, entity),
        "action": _one("action", profile.action),
        "interaction": _links("interaction", profile.interaction, entity),
        "visible_text": _texts(profile.visible_text),
        "count": _one("count", None if count is None else _count(count)),
    }
    return [claim for own in said.values() for claim in own or []], [f for f, own in said.items() if own is None]


def _one(facet: str, text: str | None) -> list[Claim] | None:
    return None if text is None else [Claim(facet, text)]


def _count(count: int) -> str:
    return "the only one of its kind in the picture" if count == 1 else f"one of {count} of its kind in the picture"


def _links(facet: str, links: list[Link] | None, entity: str | None) -> list[Claim] | None:
    if links is None:
        return None
    found = [
        Claim(facet, f"{k.kind} {'another' if k.target == entity else 'the'} {k.target}", k.target_region_id)
        for k in links
    ]
    return found or [Claim(facet, "none")]


def _texts(texts: list[str] | None) -> list[Claim] | None:
    if texts is None:
        return None
    return [Claim("visible_text", f'"{text}"') for text in texts] or [Claim("visible_text", "none")]
