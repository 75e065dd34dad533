"""`answerable`: the profile decides a generated question, for exactly one choice, and that is the answer.

A reader of its own: it knows facets and profiles, not the writer's templates, and never looks at the
query's answer before it has found its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from slvr_data import geometry
from slvr_data.checks.base import failed, not_applicable, passed
from slvr_data.checks.queries.base import CheckedGroup, normal
from slvr_data.checks.queries.unique import relation_to, the_other
from slvr_data.checks.spatial import in_cell
from slvr_data.schema import Query, Verdict

NAME = "answerable"

_FIELDS = {
    "entity": "appearance.entity", "color": "appearance.colors", "shape": "appearance.shape",
    "material": "appearance.material", "size": "appearance.size", "position": "spatial.position",
    "orientation": "spatial.orientation", "depth": "spatial.depth", "relation": "spatial.relations",
    "action": "action", "interaction": "interaction", "visible_text": "visible_text",
    "count": "peers.same_label_count",
}  # fmt: skip
"""Facet -> the profile field without which nobody can answer."""
_DEPTHS = {
    "front": "front", "in front": "front", "middle": "middle", "in between": "middle", "in the middle": "middle",
    "back": "back", "behind": "back", "in the back": "back", "none": "none", "apart from everything": "none",
}  # fmt: skip
_ASKED = (
    ("held by", r"\b(?:what|who) (?:is|are) holding\b"),
    ("around", r"\b(?:what|who) (?:is|are) inside\b"),
    ("holding", r"\bholding\b"),
    ("inside", r"\binside\b"),
    ("touching", r"\btouching\b"),
)
"""Kind of interaction -> how it is asked for, the most telling first."""
_PLACE = re.compile(
    rf"\b({'|'.join(sorted(geometry.POSITIONS, key=len, reverse=True))})(?: part)? of the picture\b", re.I
)

_PRONOUN = re.compile(r" (?:it|them)$")

Reader = Callable[[CheckedGroup, Query], list[bool] | None]
"""Whether each choice is right; None where the question cannot be read."""


def check_answerable(checked: CheckedGroup, query: Query) -> Verdict:
    """Fails with "evidence-missing", "evidence-unknown", "no-choice-right", "several-right", "another-right"."""
    if query.origin == "source" or not query.choices:
        return not_applicable(NAME)
    field = _FIELDS.get(query.facet)
    if field is None or field not in query.evidence:
        return failed(NAME, "evidence-missing", f"{query.facet}: evidence {query.evidence} does not name {field}")
    named = query.facet == "entity" and checked.region.label is not None  # the source's word will do
    if _value(checked, field) is None and not named:
        return failed(NAME, "evidence-unknown", f"{field} is unknown")
    right = _READERS.get(query.facet, _same)(checked, query)
    if right is None:
        return not_applicable(NAME)
    found = [choice for choice, true in zip(query.choices, right, strict=True) if true]
    if len(found) != 1:
        reason = "several-right" if found else "no-choice-right"
        return failed(NAME, reason, f"of {query.choices}, {found} are right by {field} = {_value(checked, field)!r}")
    if found[0] != query.answer:
        return failed(NAME, "another-right", f"{found[0]!r} is right by {field}, not {query.answer!r}")
    return passed(NAME)


def _value(checked: CheckedGroup, field: str) -> object:
    value: object = checked.region.row.profile
    for name in field.split("."):
        value = getattr(value, name)
    return value


def _same(checked: CheckedGroup, query: Query) -> list[bool] | None:
    """For fields of one word."""
    value = normal(str(_value(checked, _FIELDS[query.facet])))
    return [normal(choice) == value for choice in query.choices]


def _color(checked: CheckedGroup, query: Query) -> list[bool] | None:
    mine = set(checked.region.colors or [])
    return [set(re.split(r", | and ", normal(choice))) == mine for choice in query.choices]


def _depth(checked: CheckedGroup, query: Query) -> list[bool] | None:
    return [_DEPTHS.get(normal(choice)) == checked.region.row.profile.spatial.depth for choice in query.choices]


def _position(checked: CheckedGroup, query: Query) -> list[bool] | None:
    """By the word and by the box: a cell that the centre may also be said to lie in counts as right."""
    picture, box = checked.picture, checked.region.row.bbox
    mine = checked.region.row.profile.spatial.position
    places = [normal(choice).removeprefix("at the ").removeprefix("in the ") for choice in query.choices]
    near = 0.01
    return [
        place == mine or (place in geometry.POSITIONS and in_cell(box, place, picture.width, picture.height, near))
        for place in places
    ]


def _relation(checked: CheckedGroup, query: Query) -> list[bool] | None:
    """Boxes and profile have to say the same."""
    other = the_other(checked, query.question)
    if other is None:
        return None
    seen = relation_to(checked.region, other)
    links = checked.region.row.profile.spatial.relations or []
    told = {link.kind for link in links if link.target_region_id == other.row.region_id}
    return [(kind := _PRONOUN.sub("", normal(choice))) == seen and kind in told for choice in query.choices]


def _count(checked: CheckedGroup, query: Query) -> list[bool] | None:
    number, label = checked.region.count, checked.region.label
    if number is None or label is None:
        return None
    about = re.search(
        r"\bhow many (.+?) (?:are|is|can|does|do)\b|\bnumber of (.+?) (?:in|that)\b", query.question.lower()
    )
    if about and not _plural_of(about.group(1) or about.group(2), label):
        return [False for _ in query.choices]
    return [choice.strip() == str(number) for choice in query.choices]


def _plural_of(words: str, label: str) -> bool:
    """Whether the words begin like a form of the label and are not much longer."""
    stem = label[: max(2, len(label) - 2)]
    irregular = {"person": "people", "mouse": "mice", "man": "men", "woman": "women", "child": "children"}
    last = label.split(" ")[-1]
    if words.endswith(irregular.get(last, "\n")):
        return True
    return words.startswith(stem) and abs(len(words) - len(label)) <= 4


def _entity(checked: CheckedGroup, query: Query) -> list[bool] | None:
    """Of the names offered, those of which a thing lies in the cell that the question tells."""
    place = _PLACE.search(query.question)
    if place is None:
        return None
    picture = checked.picture
    here = {
        region.label
        for region in picture.regions
        if in_cell(region.row.bbox, place.group(1).lower(), picture.width, picture.height, 0.0)
    }
    if checked.region.label not in here:
        return [False for _ in query.choices]
    return [normal(choice) in here for choice in query.choices]


def _interaction(checked: CheckedGroup, query: Query) -> list[bool] | None:
    asked = next((kind for kind, words in _ASKED if re.search(words, query.question.lower())), None)
    if asked is None:
        return None
    links = checked.region.row.profile.interaction or []
    targets = {normal(link.target) for link in links if link.kind == asked}
    return [normal(choice) in targets for choice in query.choices]


def _text(checked: CheckedGroup, query: Query) -> list[bool] | None:
    texts = checked.region.row.profile.visible_text or []
    return [choice in texts for choice in query.choices]


_READERS: dict[str, Reader] = {
    "entity": _entity, "color": _color, "position": _position, "depth": _depth, "relation": _relation,
    "count": _count, "interaction": _interaction, "visible_text": _text,
}  # fmt: skip
