"""`unique`: what a generated question names is one thing of the picture, and the thing it is about.

Every noun phrase that can be read is held against all regions. What is unknown of a region counts as a
possible fit; near a border of a word, both sides count.
"""

from __future__ import annotations

from slvr_data import geometry
from slvr_data.checks.base import failed, not_applicable, passed
from slvr_data.checks.entity import of_one_kind
from slvr_data.checks.queries.base import CheckedGroup, wordings
from slvr_data.checks.queries.phrases import Phrase, UnreadableError, phrases
from slvr_data.checks.spatial import in_cell
from slvr_data.queries.view import RegionView
from slvr_data.schema import Query, Verdict

NAME = "unique"
APART = 0.02
"""Share of the picture's side within which two things are not told in order."""
LARGER = 1.25
"""Factor within which two areas are not told apart."""


def check_unique(checked: CheckedGroup, query: Query) -> Verdict:
    """Fails with "reference-ambiguous", "reference-fits-nothing" or "reference-misses-region".

    Not applicable for questions of a source, where no phrase names a thing, and where one cannot be read.
    """
    if query.origin == "source":
        return not_applicable(NAME)
    applied = False
    names = _names(checked)
    for text in wordings(query):
        try:
            found = phrases(text, names)
        except UnreadableError:
            return not_applicable(NAME)
        fault = _fault(checked, found)
        if fault is not None:
            return failed(NAME, *fault)
        applied = applied or any(phrase.name is not None for phrase in found)
    return passed(NAME) if applied else not_applicable(NAME)


def _names(checked: CheckedGroup) -> set[str]:
    labels = {region.label for region in checked.picture.regions if region.label}
    entities = {region.row.profile.appearance.entity for region in checked.picture.regions}
    return labels | {entity.lower() for entity in entities if entity}


def _fault(checked: CheckedGroup, found: list[Phrase]) -> tuple[str, str] | None:
    hit = False
    for phrase in found:
        if phrase.name is None:
            if checked.complete:
                return "reference-fits-nothing", f"no {phrase.text!r} is in the picture"
            continue
        fits = fitting(checked, phrase)
        if not fits:
            return "reference-fits-nothing", f"no region can be {phrase.text!r}"
        if len(fits) + hidden(checked, phrase.name) > 1:
            return "reference-ambiguous", f"{len(fits) + hidden(checked, phrase.name)} things may be {phrase.text!r}"
        hit = hit or fits[0] is checked.region
    if hit or not found:
        return None
    other = next((p for p in found if p.name is not None or _another_kind(p.text, checked.region)), None)
    if other is None or any(p.name is None and not _another_kind(p.text, checked.region) for p in found):
        return None
    return "reference-misses-region", f"{other.text!r} is another thing than the {checked.region.label}"


def _another_kind(noun: str, region: RegionView) -> bool:
    """Whether a noun is known to name no such thing as the region is."""
    names = [name for name in (region.label, region.row.profile.appearance.entity) if name]
    return bool(names) and all(of_one_kind(noun, name) is False for name in names)


def hidden(checked: CheckedGroup, name: str) -> int:
    """How many more things of a name the picture has than its published regions show."""
    same = [region for region in checked.picture.regions if region.label == name]
    if any(region.row.iscrowd for region in same):
        return 1
    return max(0, max((region.count or 0 for region in same), default=0) - len(same))


def fitting(checked: CheckedGroup, phrase: Phrase) -> list[RegionView]:
    """The regions that a phrase may mean."""
    named = [region for region in checked.picture.regions if _named(region, phrase.name or "")]
    found = [region for region in named if _may_look(region, phrase) and _may_lie(checked, region, phrase)]
    return _in_order(checked, found, phrase)


def _named(region: RegionView, name: str) -> bool:
    entity = region.row.profile.appearance.entity
    return region.label == name or (entity is not None and entity.lower() == name)


def _may_look(region: RegionView, phrase: Phrase) -> bool:
    look = region.row.profile.appearance
    if phrase.colors and look.colors and not set(phrase.colors) <= set(look.colors):
        return False
    if phrase.size and look.size and look.size != phrase.size:
        return False
    return not (phrase.pattern and look.material and look.material != phrase.pattern)


def _may_lie(checked: CheckedGroup, region: RegionView, phrase: Phrase) -> bool:
    picture = checked.picture
    if phrase.position and not in_cell(region.row.bbox, phrase.position, picture.width, picture.height, APART):
        return False
    if phrase.relation is None or phrase.target is None:
        return True
    others = [other for other in fitting(checked, phrase.target) if other is not region]
    axis = 0 if phrase.relation in ("left of", "right of") else 1
    sign = 1 if phrase.relation in ("left of", "above") else -1
    return any(sign * (other.center[axis] - region.center[axis]) > 0 for other in others)


def _in_order(checked: CheckedGroup, found: list[RegionView], phrase: Phrase) -> list[RegionView]:
    """Of the regions that fit otherwise, those that may be the one in an order."""
    if not found:
        return found
    if phrase.superlative == "largest":
        return [r for r in found if LARGER * r.area >= max(o.area for o in found)]
    if phrase.superlative == "smallest":
        return [r for r in found if r.area <= LARGER * min(o.area for o in found)]
    number, side = phrase.ordinal or (0, "")
    if phrase.superlative:
        number, side = 1, phrase.superlative.removesuffix("most")
    if not number:
        return found
    if number > len(found):
        return []
    axis = 0 if side in ("left", "right") else 1
    sign = 1 if side in ("left", "top") else -1
    length = (checked.picture.width, checked.picture.height)[axis]
    places = sorted(sign * region.center[axis] for region in found)
    return [r for r in found if abs(sign * r.center[axis] - places[number - 1]) <= APART * length]


def the_other(checked: CheckedGroup, question: str) -> RegionView | None:
    """The one region that a question names beside its own; None where there is none, or no single one."""
    try:
        found = phrases(question, _names(checked))
    except UnreadableError:
        return None
    hits = [fitting(checked, phrase) for phrase in found if phrase.name is not None]
    others = [fits[0] for fits in hits if len(fits) == 1 and fits[0] is not checked.region]
    return others[0] if len(others) == 1 else None


def relation_to(region: RegionView, other: RegionView) -> str | None:
    """How a region stands to another by their boxes."""
    return geometry.relation_of(region.row.bbox, other.row.bbox)
