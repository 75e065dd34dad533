"""`spatial`: words for size, place, direction and relations agree with boxes and masks.

The words mean what `slvr_data.geometry` says, with a tolerance near borders: a profile fails only where
nobody could say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from slvr_data import geometry
from slvr_data.checks.base import CheckedRegion, failed, not_applicable, passed
from slvr_data.moments import second_moments
from slvr_data.schema import Link, Region, Verdict

NAME = "spatial"
SIZE_TOLERANCE = 1.15
"""Factor by which the area may lie beyond the border of a size word."""
PLACE_TOLERANCE = 0.03
"""Share of the picture's side by which the centre may lie beyond the border of a cell."""
AXIS_RATIO = 1.05
"""A thing with a direction is at least this much longer along it than across."""
TILT = 34.9
"""Degrees by which the main axis of a long thing may lie off the direction that is named."""
LONG_RATIO = 1.5
"""From this ratio of its axes on, a thing is long."""
ROUND_RATIO = 3.0
"""Whose longer axis is this much longer than the other has a direction."""
BESIDE_SHARE = 0.5
"""Two things beside each other share at most this part of the smaller one's extent along that axis."""
ACROSS_RATIO = 2.0
"""A relation may be named by one axis while the centres are up to this much farther apart along the other."""
AXES = {"horizontal": 0, "diagonal rising": 45, "vertical": 90, "diagonal falling": 135}
"""Direction -> its angle in degrees, y upward."""
DEPTHS = ("front", "middle", "back", "none")


def check_spatial(record: CheckedRegion) -> Verdict:
    """Fails with "word-unknown", or "size-", "position-", "orientation-" or "relation-disagrees"."""
    place, size = record.profile.spatial, record.profile.appearance.size
    words = [
        ("size", size, geometry.SIZES),
        ("position", place.position, geometry.POSITIONS),
        ("orientation", place.orientation, (*AXES, "none")),
        ("depth", place.depth, DEPTHS),
        *(("relation", link.kind, geometry.RELATIONS) for link in place.relations or []),
    ]
    if all(word is None for _, word, _ in words):
        return not_applicable(NAME)
    for name, word, known in words:
        if word is not None and word not in known:
            return failed(NAME, "word-unknown", f"{name} {word!r} is none of {', '.join(known)}")
    for fault in _faults(record):
        return failed(NAME, *fault)
    return passed(NAME)


def _faults(record: CheckedRegion) -> Iterator[tuple[str, str]]:
    picture, box, place = record.picture, record.region.bbox, record.profile.spatial
    size = record.profile.appearance.size
    if size is not None and size not in _sizes(box, picture.width, picture.height):
        share = (box[2] - box[0]) * (box[3] - box[1]) / (picture.width * picture.height)
        yield "size-disagrees", f"{size}: the box covers {share:.1%} of the picture"
    if place.position is not None and not in_cell(box, place.position, picture.width, picture.height):
        right = geometry.position_of(box, picture.width, picture.height)
        yield "position-disagrees", f"{place.position}: the centre of the box lies at the {right}"
    if place.orientation is not None and (evidence := _orientation(record, place.orientation)):
        yield "orientation-disagrees", evidence
    for link in place.relations or []:
        if evidence := _relation(record, link):
            yield "relation-disagrees", evidence


def _sizes(box: Sequence[float], width: int, height: int) -> set[str]:
    """The size words that somebody may use for the box."""
    grow = math.sqrt(SIZE_TOLERANCE)
    scaled = ([0, 0, (box[2] - box[0]) * f, (box[3] - box[1]) * f] for f in (1 / grow, 1, grow))
    return {geometry.size_of(other, width, height) for other in scaled}


def in_cell(box: Sequence[float], position: str, width: int, height: int, margin: float = PLACE_TOLERANCE) -> bool:
    """Whether the centre of a box lies in a cell of the 3x3 grid, or at most `margin` of the side beyond it."""
    row, column = divmod(geometry.POSITIONS.index(position), 3)
    x, y = (box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height
    return column / 3 - margin <= x <= (column + 1) / 3 + margin and row / 3 - margin <= y <= (row + 1) / 3 + margin


def _orientation(record: CheckedRegion, word: str) -> str | None:
    """What speaks against a direction."""
    inside = record.inside
    if inside is not None:
        moments = _moments(inside)
        if moments is None:
            return None
    else:
        x1, y1, x2, y2 = record.region.bbox
        if word.startswith("diagonal"):  # a box does not tell
            return None
        moments = ((x2 - x1) ** 2 / 12, (y2 - y1) ** 2 / 12, 0.0)
    xx, yy, xy = moments
    spread = math.hypot(xx - yy, 2 * xy)
    ratio = math.sqrt((xx + yy + spread) / max(xx + yy - spread, 1e-9))
    if word == "none":
        return f"none: it is {ratio:.1f} times as long as wide" if ratio >= ROUND_RATIO and inside is not None else None
    tilt = abs((math.degrees(math.atan2(2 * xy, xx - yy) / 2) - AXES[word] + 90) % 180 - 90)
    if ratio >= LONG_RATIO and tilt > TILT:
        return f"{word}: its longer axis lies {tilt:.0f} degrees off"
    angle = math.radians(AXES[word])
    c, s = math.cos(angle), math.sin(angle)
    along, across = c * c * xx + s * s * yy + 2 * c * s * xy, s * s * xx + c * c * yy - 2 * c * s * xy
    ratio = math.sqrt(along / max(across, 1e-9))
    return f"{word}: it is {ratio:.1f} times as long that way as across" if ratio < AXIS_RATIO else None


def _moments(mask: NDArray[np.bool_]) -> tuple[float, float, float] | None:
    """The second central moments xx, yy, xy (y upward) of a mask's pixels; None for fewer than 16."""
    count, xx, yy, xy = second_moments(mask)
    return (xx / count**2 + 1 / 12, yy / count**2 + 1 / 12, xy / count**2) if count >= 16 else None


def _relation(record: CheckedRegion, link: Link) -> str | None:
    """What speaks against a relation: the boxes of its target, or of everything of that name."""
    if link.target_region_id is not None:
        target = record.regions_by_id.get(link.target_region_id)
        targets = [] if target is None else [target]
    elif link.target in record.picture.complete_labels:
        targets = [other for other in record.others if other.label == link.target and not other.iscrowd]
    else:
        return None
    if not targets or any(may_be(link.kind, record.region.bbox, target.bbox) for target in targets):
        return None
    return f"{link.kind} the {link.target}: box {_plain(record.region)} against {_plain(targets[0])}"


def may_be(kind: str, box: Sequence[float], other: Sequence[float]) -> bool:
    """Whether somebody may say that `box` is, e.g., "left of" `other`.

    The centres stand in that order, the boxes do not mostly share that axis, and the centres are not
    mostly apart along the other axis.
    """
    axis = 0 if kind in ("left of", "right of") else 1
    if kind in ("right of", "below"):
        box, other = other, box
    apart = (other[axis] + other[axis + 2] - box[axis] - box[axis + 2]) / 2
    if apart <= 0:
        return False
    cross = 1 - axis
    across = abs(other[cross] + other[cross + 2] - box[cross] - box[cross + 2]) / 2
    shared = min(box[axis + 2], other[axis + 2]) - max(box[axis], other[axis])
    least = min(box[axis + 2] - box[axis], other[axis + 2] - other[axis])
    return shared <= BESIDE_SHARE * least and across <= ACROSS_RATIO * max(apart, 1e-9)


def _plain(region: Region) -> str:
    return "[" + ", ".join(f"{c:g}" for c in region.bbox) + "]"
