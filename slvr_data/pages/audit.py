"""The audit: drawn regions on one page, judged with the keyboard; its script keeps and saves the verdicts.

Without scripts every item can be read. With them one region is shown at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from slvr_data.audit.claims import claims
from slvr_data.audit.sample import Sample, Stratum
from slvr_data.audit.verdicts import ERROR_CLASSES, FORMAT, VERSION
from slvr_data.pages.render import render
from slvr_data.schema import AttributeProfile, QueryGroup

Point = tuple[float, float]
Box = Sequence[float]


@dataclass(frozen=True)
class AuditPicture:
    """A picture; `width` and `height` are those of the picture, not of the thumbnail."""

    width: int
    height: int
    path: str
    jpeg: bytes
    """A thumbnail of any size with the picture's aspect ratio."""


@dataclass(frozen=True)
class AuditItem:
    """A drawn region with all that is judged of it."""

    region_id: str
    image_id: str
    stratum: Stratum
    box: Box
    """[x1, y1, x2, y2] in pixels of the upright picture."""
    outline: Sequence[Sequence[Point]]
    """Polygon rings of its mask in the same pixels; none for a region without."""
    crop: bytes
    """JPEG."""
    references: Sequence[str]
    profile: AttributeProfile
    neighbours: Mapping[str, Box]
    """The boxes of the picture's published regions, by id."""
    groups: Sequence[QueryGroup]


def render_audit(
    title: str,
    facts: Sequence[tuple[str, str]],
    pictures: Mapping[str, AuditPicture],
    items: Sequence[AuditItem],
    sample: Sample,
    command: str,
) -> str:
    """One self-contained HTML page; write it as UTF-8. `pictures` has the picture of every `image_id`."""
    questions = sum(len(group.queries) for item in items for group in item.groups)
    places = {image_id: place for place, image_id in enumerate(pictures)}
    return render(
        "audit.html.j2",
        title=title,
        subtitle=f"{len(items):,} regions to judge by eye, with {questions:,} questions",
        facts=facts,
        command=command,
        configuration=None,
        pictures=list(pictures.values()),
        items=[_item(item, places[item.image_id], pictures[item.image_id]) for item in items],
        strata=sample.strata,
        classes=ERROR_CLASSES,
        told={
            "format": FORMAT,
            "version": VERSION,
            "set": sample.set,
            "seed": sample.seed,
            "n": sample.n,
            "classes": list(ERROR_CLASSES),
        },
    )


def _item(item: AuditItem, place: int, picture: AuditPicture) -> dict[str, object]:
    said, unknown = claims(item.profile)
    targets = [c.target for c in said if c.target in item.neighbours and c.target != item.region_id]
    numbers = {target: number for number, target in enumerate(dict.fromkeys(targets), 1)}
    return {
        "shown": item,
        "place": place,
        "picture": picture,
        "paths": [path for ring in ([_corners(item.box)], item.outline) if (path := _path(ring))],
        "marked": [
            (number, _path([_corners(item.neighbours[target])]), _corner(item.neighbours[target], picture))
            for target, number in numbers.items()
            if target is not None and all(map(isfinite, item.neighbours[target]))
        ],
        "claims": [(claim, numbers.get(claim.target)) for claim in said],
        "unknown": [facet.replace("_", " ") for facet in unknown],
        "questions": [(group, query) for group in item.groups for query in group.queries],
    }


def _corners(box: Box) -> list[Point]:
    x1, y1, x2, y2 = box
    return [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]


def _corner(box: Box, picture: AuditPicture) -> Point:
    """Where a box's number stands, in percent of width and height, clear of the picture's border."""
    x, y = 100 * box[0] / picture.width, 100 * box[1] / picture.height
    return round(min(96.0, max(3.0, x)), 1), round(min(96.0, max(3.0, y)), 1)


def _path(rings: Sequence[Sequence[Point]]) -> str:
    """SVG path data in pixels rounded to 0.1; empty where a coordinate is not a finite number."""
    if not all(isfinite(c) for ring in rings for point in ring for c in point):
        return ""
    return "".join("M" + "L".join(f"{round(x, 1):g} {round(y, 1):g}" for x, y in ring) + "z" for ring in rings if ring)
