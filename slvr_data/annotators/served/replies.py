"""What a model may answer about a region, and what an answer means: a profile, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial

from slvr_data import geometry
from slvr_data.annotators.served.schemas import Schema, fitted, read_json, strict_schema
from slvr_data.annotators.served.words import basic_color, latin, plain, verbatim
from slvr_data.checks.contact import REACH
from slvr_data.checks.entity import normalised
from slvr_data.checks.plausible import near
from slvr_data.checks.spatial import AXES, DEPTHS
from slvr_data.colors import COLORS
from slvr_data.requests.failures import BadReplyError
from slvr_data.schema import AttributeProfile, Link

WORDS = {
    "appearance.colors": COLORS,
    "appearance.size": geometry.SIZES,
    "spatial.position": geometry.POSITIONS,
    "spatial.orientation": (*AXES, "none"),
    "spatial.depth": DEPTHS,
    "spatial.relations.kind": geometry.RELATIONS,
}
"""Fields of closed words."""
ITEMS = {"appearance.colors": 3, "interaction": 4, "spatial.relations": 4, "visible_text": 8}
CHARACTERS = {
    "appearance.entity": 60,
    "appearance.shape": 40,
    "appearance.material": 40,
    "action": 60,
    "interaction.kind": 40,
    "interaction.target": 60,
    "spatial.relations.target": 60,
    "visible_text": 100,
}
NOT_ASKED = frozenset({"peers", "interaction.target_region_id", "spatial.relations.target_region_id"})
"""Regions' ids are looked up, and others of its kind are counted in the annotation."""


@cache
def profile_schema() -> Schema:
    """The JSON schema of the reply "region_profile"."""
    return strict_schema(AttributeProfile, WORDS, ITEMS, CHARACTERS, NOT_ASKED)


Holds = Callable[[str, Sequence[float], Sequence[float]], bool]
"""(kind, box, other box) -> whether the words are plainly true of the boxes."""


@dataclass(frozen=True)
class Neighbour:
    """Another annotated thing of the picture; the box in pixels of the upright picture."""

    region_id: str
    label: str
    bbox: list[float]


def read_profile(text: str, bbox: Sequence[float], others: Sequence[Neighbour], count: int | None) -> AttributeProfile:
    """The profile that a reply tells.

    Args:
        text: the reply.
        bbox: of the region, in pixels of the upright picture.
        others: the other annotated things, to which its links may lead.
        count: how many things carry the region's label, None where that is not known.

    Raises:
        BadReplyError: "malformed" or "schema".
    """
    names = frozenset(normalised(other.label) for other in others)
    tree = fitted(read_json(text), profile_schema(), partial(_tidy, names))
    tree["appearance"]["colors"] = tree["appearance"]["colors"] or None
    if tree["appearance"]["entity"] == "none":
        tree["appearance"]["entity"] = None
    tree["peers"] = {"same_label_count": count}
    tree["interaction"] = _resolved(tree["interaction"], bbox, others, _in_contact)
    place = tree["spatial"]
    place["relations"] = _resolved(place["relations"], bbox, others, _in_relation)
    return AttributeProfile.model_validate(tree)


def _tidy(names: frozenset[str], path: str, text: str) -> str | None:
    """Free words are wanted in English; only `names` of annotated things are repeated as they are."""
    if path == "visible_text":
        return verbatim(text)
    if not latin(text) and normalised(text) not in names:
        raise BadReplyError("schema", f"{path} = {text[:80]!r}: not in English")
    word = plain(text)
    return basic_color(word) if path == "appearance.colors" and word else word


def _resolved(
    links: list[dict[str, str]] | None, bbox: Sequence[float], others: Sequence[Neighbour], holds: Holds
) -> list[Link] | None:
    """The links with their regions' ids, where it is plain which region is meant, and each once.

    A name that one thing alone carries means that thing; the checks will say whether the words can be true of it.
    """
    if links is None:
        return None
    found: list[Link] = []
    for kind, target in ((link["kind"], link["target"]) for link in links):
        named = [other for other in others if normalised(other.label) == normalised(target)]
        other = named[0] if len(named) == 1 else next(_fitting(kind, bbox, named, holds), None)
        label = named[0].label if named else target
        link = Link(kind=kind, target=label, target_region_id=None)
        if other is not None:
            link = Link(kind=kind, target=other.label, target_region_id=other.region_id)
        if link not in found:
            found.append(link)
    return found


def _fitting(kind: str, bbox: Sequence[float], named: Sequence[Neighbour], holds: Holds) -> Iterator[Neighbour]:
    """Of several things of one name, those for which the words are plainly true, the nearest first."""
    for i in geometry.nearest(bbox, [other.bbox for other in named], len(named)):
        if holds(kind, bbox, named[i].bbox):
            yield named[i]


def _in_relation(kind: str, box: Sequence[float], other: Sequence[float]) -> bool:
    return geometry.relation_of(box, other) == kind


def _in_contact(kind: str, box: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two boxes stand where things in contact can (`slvr_data.checks.contact`)."""
    smaller = min(max(b[2] - b[0], b[3] - b[1]) for b in (box, other))
    return near(list(box), list(other), 3 + REACH * smaller)
