"""One facet, one question: what is asked, what the answer is, and which profile fields decide it.

A writer returns a `Draft`, or None where the facet is unknown for the region, not plain, or the region
cannot be named without saying the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from slvr_data import geometry
from slvr_data.queries import distractors
from slvr_data.queries.english import UNCOUNTABLE, be, do, is_plural, plural
from slvr_data.queries.references import may_be_in_cell, plainly_in_cell, reference_for
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.schema import Link
from slvr_data.text import joined

SIZE_MARGIN = 1.15
"""Factor by which an area keeps away from the thresholds of size words."""
MOST_COUNTED = 12
MOST_COLORS = 2
"""Colours of a thing that are asked for together."""
DIAGONAL = 0.5
"""Of things apart along both axes: the share of the longer distance up to which the shorter tells no second side."""

DEPTHS = {"front": "in front", "middle": "in between", "back": "behind", "none": "apart from everything"}
ORIENTATIONS = ("horizontal", "vertical", "diagonal rising", "diagonal falling")
PATTERNS = ("solid", "striped", "dotted", "checkered")
HOLDS = {
    "holding": "What {is} {ref} holding?",
    "held by": "What is holding {ref}?",
    "inside": "What {is} {ref} inside of?",
    "around": "What is inside of {ref}?",
    "touching": "What {is} {ref} touching?",
}


@dataclass(frozen=True)
class Draft:
    """A question before it has ids and an order of choices. `wordings` are the question and three paraphrases."""

    facet: str
    wordings: tuple[str, ...]
    answer: str
    wrong: tuple[str, ...]
    evidence: tuple[str, ...]


Writer = Callable[[PictureView, RegionView], Draft | None]


def _draft(
    facet: str, wordings: Sequence[str], answer: str, wrong: Sequence[str], evidence: Sequence[str], **words: str
) -> Draft | None:
    """The draft with its words filled in; None where no wrong choice is left."""
    if not wrong:
        return None
    filled = tuple(_sentence(wording.format(**words)) for wording in wordings)
    return Draft(facet, filled, answer, tuple(wrong[:3]), tuple(evidence))


def _sentence(text: str) -> str:
    text = text.replace("of the picture in the picture", "of the picture")  # a reference may end on it
    return text[0].upper() + text[1:]


def _names(picture: PictureView, region: RegionView, facet: str) -> dict[str, str] | None:
    """The reference, and the verbs and the pronoun that agree with it."""
    reference = reference_for(picture, region, facet)
    if reference is None:
        return None
    label = region.label
    return {"ref": reference.phrase, "is": be(label or ""), "does": do(label or ""), "it": _it(region)}


def _it(region: RegionView) -> str:
    return "them" if is_plural(region.label or "") else "it"


def color(picture: PictureView, region: RegionView) -> Draft | None:
    """What color is it?"""
    mine, names = region.colors, _names(picture, region, "color")
    if not mine or len(mine) > MOST_COLORS or names is None:
        return None
    answer = joined(mine) or ""
    wrong = distractors.colors(
        mine, [other.colors for other in picture.regions if other is not region and other.colors]
    )
    wordings = (
        "What color {is} {ref}?",
        "Which color {is} {ref}?",
        "What is the color of {ref}?",
        "Which color can be seen on {ref}?",
    )
    if len(mine) > 1:
        wordings = (
            "Which colors {does} {ref} have?",
            "Which two colors {does} {ref} show?",
            "What are the colors of {ref}?",
            "Which colors can be seen on {ref}?",
        )
    return _draft("color", wordings, answer, wrong, ["appearance.colors"], **names)


def size(picture: PictureView, region: RegionView) -> Draft | None:
    """How large is it in the picture?"""
    mine, names = region.row.profile.appearance.size, _names(picture, region, "size")
    share = region.area / (picture.width * picture.height)
    near = any(1 / SIZE_MARGIN < share / t < SIZE_MARGIN for t in (geometry.SMALL_SHARE, geometry.LARGE_SHARE))
    if mine not in geometry.SIZES or names is None or near:
        return None
    wordings = (
        "How large {is} {ref} in the picture?",
        "How big {is} {ref} in the picture?",
        "How much of the picture is taken up by {ref}: a small, a medium or a large part?",
        "Compared with the whole picture, what is the size of {ref}?",
    )
    return _draft("size", wordings, mine, [s for s in geometry.SIZES if s != mine], ["appearance.size"], **names)


def position(picture: PictureView, region: RegionView) -> Draft | None:
    """In which part of the picture is it?"""
    mine, names = region.row.profile.spatial.position, _names(picture, region, "position")
    if mine not in geometry.POSITIONS or names is None or not plainly_in_cell(region, picture):
        return None
    elsewhere = [o.row.profile.spatial.position for o in picture.regions if o is not region]
    wrong = distractors.positions(mine, [p for p in elsewhere if p], region.row.region_id)
    wordings = (
        "In which part of the picture {is} {ref}?",
        "Where in the picture {is} {ref}?",
        "Which part of the picture shows {ref}?",
        "Where can {ref} be found in the picture?",
    )
    return _draft("position", wordings, mine, wrong, ["spatial.position"], **names)


def orientation(picture: PictureView, region: RegionView) -> Draft | None:
    """Which way does it lie?"""
    mine, names = region.row.profile.spatial.orientation, _names(picture, region, "orientation")
    if mine not in ORIENTATIONS or names is None:
        return None
    wordings = (
        "In which direction {is} {ref} stretched?",
        "What is the orientation of {ref} in the picture?",
        "Which way does the longer axis of {ref} run?",
        "How {is} {ref} oriented in the picture?",
    )
    wrong = [word for word in ORIENTATIONS if word != mine]
    return _draft("orientation", wordings, mine, wrong, ["spatial.orientation"], **names)


def relation(picture: PictureView, region: RegionView) -> Draft | None:
    """Where is it, seen from another thing?"""
    names, found = _names(picture, region, "relation"), placed_by(picture, region)
    if names is None or found is None:
        return None
    link, other, theirs = found
    wordings = (
        "Where {is} {ref}, seen from {other}?",
        "Where {is} {ref} in relation to {other}?",
        "On which side of {other} {is} {ref}?",
        "Compared with {other}, where in the picture {is} {ref}?",
    )
    wrong = [
        geometry.INVERSE[link.kind],
        *(k for k in geometry.RELATIONS if k not in (link.kind, geometry.INVERSE[link.kind])),
    ]
    answer, wrong = f"{link.kind} {_it(other)}", [f"{kind} {_it(other)}" for kind in wrong]
    return _draft("relation", wordings, answer, wrong, ["spatial.relations"], other=theirs, **names)


def placed_by(picture: PictureView, region: RegionView) -> tuple[Link, RegionView, str] | None:
    """The first relation that one word plainly tells, the thing it leads to, and unique words for that thing."""
    by_id = {other.row.region_id: other for other in picture.regions}
    for link in region.row.profile.spatial.relations or []:
        other = by_id.get(link.target_region_id or "")
        if other is None or link.kind not in geometry.RELATIONS or other.label == region.label:
            continue
        if not _on_one_side(region, other):
            continue
        theirs = reference_for(picture, other, "relation")
        if theirs is not None:
            return link, other, theirs.phrase
    return None


def _on_one_side(region: RegionView, other: RegionView) -> bool:
    """Whether one word tells where it is: what is as far below as it is to the left would be both."""
    (x1, y1, x2, y2), (u1, v1, u2, v2) = region.row.bbox, other.row.bbox
    if min(x2, u2) > max(x1, u1) or min(y2, v2) > max(y1, v1):  # they overlap along one axis
        return True
    dx, dy = abs(x1 + x2 - u1 - u2), abs(y1 + y2 - v1 - v2)
    return min(dx, dy) <= DIAGONAL * max(dx, dy)


def count(picture: PictureView, region: RegionView) -> Draft | None:
    """How many of its kind are there?"""
    label, number = region.label, region.count
    if label is None or number is None or number > MOST_COUNTED or region.row.iscrowd:
        return None
    if is_plural(label) or label.split(" ")[-1] in UNCOUNTABLE:
        return None
    wordings = (
        "How many {things} are there in the picture?",
        "How many {things} does the picture show?",
        "What is the number of {things} in the picture?",
        "How many {things} can be seen?",
    )
    wrong = distractors.numbers(number, region.row.region_id)
    return _draft("count", wordings, str(number), wrong, ["peers.same_label_count"], things=plural(label))


def entity(picture: PictureView, region: RegionView) -> Draft | None:
    """What is it? By its place among the choices, as no reference may name it."""
    place, label = region.row.profile.spatial.position, region.label
    if place is None or label is None or not plainly_in_cell(region, picture):
        return None
    if picture.all_of(label) is None:
        return None
    rivals = [other for other in picture.by_label[label] if other is not region]
    if any(may_be_in_cell(other, place, picture) for other in rivals):
        return None
    elsewhere = [
        name
        for name in sorted(picture.by_label)
        if name != label
        and picture.all_of(name) is not None
        and not any(touches_cell(other, place, picture) for other in picture.by_label[name])
    ]
    wordings = (
        "Which of these is at the {place} of the picture?",
        "What can be seen at the {place} of the picture?",
        "Which of these things does the {place} of the picture show?",
        "One of these is at the {place} of the picture: which?",
    )
    wrong = distractors.spread(elsewhere, region.row.region_id)
    return _draft("entity", wordings, label, wrong, ["appearance.entity", "spatial.position"], place=place)


def touches_cell(region: RegionView, place: str, picture: PictureView) -> bool:
    """Whether any part of the box lies in that cell."""
    row, column = divmod(geometry.POSITIONS.index(place), 3)
    x1, y1, x2, y2 = region.row.bbox
    return (
        x1 < (column + 1) * picture.width / 3
        and x2 > column * picture.width / 3
        and y1 < (row + 1) * picture.height / 3
        and y2 > row * picture.height / 3
    )


def material(picture: PictureView, region: RegionView) -> Draft | None:
    """Which pattern does it have?"""
    mine, names = region.row.profile.appearance.material, _names(picture, region, "material")
    if mine not in PATTERNS or names is None:
        return None
    wordings = (
        "Which pattern is on {ref}?",
        "What pattern does one see on {ref}?",
        "Which word describes the surface of {ref}?",
        "What is the pattern of {ref}?",
    )
    return _draft("material", wordings, mine, [p for p in PATTERNS if p != mine], ["appearance.material"], **names)


def depth(picture: PictureView, region: RegionView) -> Draft | None:
    """Is it in front of or behind what it overlaps?"""
    mine, names = region.row.profile.spatial.depth, _names(picture, region, "depth")
    if mine not in DEPTHS or names is None:
        return None
    wordings = (
        "Where {is} {ref} in depth, next to the things that overlap {it}?",
        "Which layer of the overlapping things {is} {ref} in?",
        "How {is} {ref} placed in depth?",
        "Where {does} {ref} lie among the things that overlap {it}?",
    )
    wrong = [words for key, words in DEPTHS.items() if key != mine]
    return _draft("depth", wordings, DEPTHS[mine], wrong, ["spatial.depth"], **names)


def action(picture: PictureView, region: RegionView) -> Draft | None:
    """What is it doing?"""
    mine, names = region.row.profile.action, _names(picture, region, "action")
    if mine in (None, "none") or names is None:
        return None
    elsewhere = [o.row.profile.action for o in picture.regions if o is not region]
    wrong = distractors.actions(mine or "", [a for a in elsewhere if a and a != "none"], region.row.region_id)
    wordings = (
        "What {is} {ref} doing?",
        "Which of these {is} {ref} doing?",
        "What is the pose of {ref}?",
        "How {is} {ref} shown?",
    )
    return _draft("action", wordings, mine or "", wrong, ["action"], **names)


def interaction(picture: PictureView, region: RegionView) -> Draft | None:
    """What does it hold, touch, or lie inside of?"""
    names = _names(picture, region, "interaction")
    links = region.row.profile.interaction or []
    for link in links:
        if names is None or link.kind not in HOLDS or [o.kind for o in links].count(link.kind) > 1:
            continue
        if set(link.target.lower().split()) & set(names["ref"].lower().split()):  # the question would say the answer
            continue
        involved = {o.target.lower() for o in links}
        others = [name for name in sorted(picture.by_label) if name not in involved and name != region.label]
        question = HOLDS[link.kind]
        asked = question[0].lower() + question[1:]
        wordings = (question, f"In the picture, {asked}", f"Tell: {asked}", f"Look closely: {asked}")
        wrong = distractors.spread(others, region.row.region_id)
        return _draft("interaction", wordings, link.target.lower(), wrong, ["interaction"], **names)
    return None


def visible_text(picture: PictureView, region: RegionView) -> Draft | None:
    """What is written on it?"""
    texts, names = region.row.profile.visible_text, _names(picture, region, "visible_text")
    if not texts or len(texts) != 1 or names is None:
        return None
    elsewhere = [t for o in picture.regions if o is not region for t in o.row.profile.visible_text or []]
    wordings = (
        "What is written on {ref}?",
        "Which text can be read on {ref}?",
        "What does the text on {ref} say?",
        "What letters {does} {ref} bear?",
    )
    wrong = distractors.texts(texts[0], elsewhere, region.row.region_id)
    return _draft("visible_text", wordings, texts[0], wrong, ["visible_text"], **names)


WRITERS: dict[str, Writer] = {
    "entity": entity, "color": color, "material": material, "size": size, "position": position,
    "orientation": orientation, "depth": depth, "relation": relation, "action": action,
    "interaction": interaction, "visible_text": visible_text, "count": count,
}  # fmt: skip
"""`shape` is not asked: a label that names the thing tells its shape."""
