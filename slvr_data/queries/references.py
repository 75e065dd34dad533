"""References: words that single one region out among all that the picture shows.

A reference is only given where it is plainly unique. What is unknown of another region counts against it:
"the red cup" needs every other cup to be of a known, other colour. Each reference says which facets it
speaks of, so that a question on such a facet does not carry its own answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from slvr_data import geometry
from slvr_data.colors import COLORS
from slvr_data.queries.english import ordinal
from slvr_data.queries.view import PictureView, RegionView
from slvr_data.text import joined

SPACING = 0.06
"""Share of the picture's side that things must lie apart to be told in order."""
LARGER = 1.6
"""How many times larger than all others the largest is."""
MOST_IN_ORDER = 6
_TELLING = (
    (("color",), frozenset({*COLORS, "grey", "dark", "light"})),
    (("material",), frozenset({"striped", "dotted", "checkered", "solid", "stripes", "spotted"})),
    (("size",), frozenset({"big", "bigger", "biggest", "large", "larger", "largest", "small", "smaller", "smallest"})),
    (
        ("position", "relation"),
        frozenset({
            "left", "right", "top", "bottom", "middle", "center", "upper", "lower", "above", "below", "under", "over",
            "leftmost", "rightmost", "topmost", "bottommost", "corner", "side", "beside", "next",
        }),
    ),
    (("depth",), frozenset({"front", "behind", "back", "background", "foreground", "closest", "nearest"})),
    (("count",), frozenset({"one", "two", "three", "four", "first", "second", "third", "fourth", "only"})),
)  # fmt: skip
"""Words of expressions, and the facets that they tell something of."""


@dataclass(frozen=True)
class Reference:
    """A noun phrase for a region, e.g. "the leftmost cup"."""

    phrase: str
    facets: frozenset[str]
    """What it tells; `entity` always, as it names the thing."""


def references(picture: PictureView, region: RegionView) -> Iterator[Reference]:
    """All references to a region that are unique, the plainest first."""
    label = region.label
    same = picture.all_of(label) if label is not None and not region.row.iscrowd else None
    if label is not None and same is not None:
        if len(same) == 1:
            yield _reference(f"the {label}")
            return
        others = [other for other in same if other is not region]
        yield from _by_look(label, region, others)
        yield from _by_size(label, region, others)
        yield from _by_order(label, region, same, picture)
        yield from _by_place(label, region, others, picture)
        yield from _by_neighbour(label, region, others, picture)
    for expression in region.row.references:
        yield _reference(_definite(expression), *_told(expression))


def reference_for(picture: PictureView, region: RegionView, facet: str) -> Reference | None:
    """The plainest reference that does not speak of `facet`."""
    return next((r for r in all_references(picture, region) if facet not in r.facets or facet == "entity"), None)


def all_references(picture: PictureView, region: RegionView) -> list[Reference]:
    """`references`, worked out once for all facets."""
    key = region.row.region_id
    if key not in picture.remembered:
        picture.remembered[key] = list(references(picture, region))
    found: list[Reference] = picture.remembered[key]
    return found


def _reference(phrase: str, *facets: str) -> Reference:
    return Reference(phrase, frozenset({"entity", *facets}))


def _definite(expression: str) -> str:
    words = expression.strip().rstrip(".?!").split()
    if words and words[0].lower() in ("a", "an", "the"):
        words = words[1:]
    return "the " + " ".join(words)


def _told(expression: str) -> set[str]:
    """The facets that a source's own words speak of."""
    words = set(re.findall(r"[a-z]+", expression.lower()))
    return {facet for facets, telling in _TELLING for facet in facets if words & telling}


def _by_look(label: str, region: RegionView, others: list[RegionView]) -> Iterator[Reference]:
    mine = region.colors
    if mine and all(other.colors and not set(other.colors) & set(mine) for other in others):
        yield _reference(f"the {joined(mine)} {label}", "color")
    pattern = region.row.profile.appearance.material
    if pattern not in (None, "none", "solid"):
        theirs = [other.row.profile.appearance.material for other in others]
        if all(p is not None and p != pattern for p in theirs):
            yield _reference(f"the {pattern} {label}", "material")


def _by_size(label: str, region: RegionView, others: list[RegionView]) -> Iterator[Reference]:
    if region.area > LARGER * max(other.area for other in others):
        yield _reference(f"the largest {label}", "size")
    if LARGER * region.area < min(other.area for other in others):
        yield _reference(f"the smallest {label}", "size")


def _by_order(label: str, region: RegionView, same: list[RegionView], picture: PictureView) -> Iterator[Reference]:
    """By order from the left or from the top; all things up to this one and the next must lie apart."""
    for axis, side, words in (
        (0, picture.width, ("leftmost", "rightmost", "left")),
        (1, picture.height, ("topmost", "bottommost", "top")),
    ):
        ordered = sorted(same, key=lambda r, a=axis: r.center[a])  # type: ignore[misc]
        gaps = [(b.center[axis] - a.center[axis]) / side >= SPACING for a, b in pairwise(ordered)]
        place = next(i for i, other in enumerate(ordered) if other is region)
        if place == 0 and gaps[0]:
            yield _reference(f"the {words[0]} {label}", "position", "relation")
        elif place == len(ordered) - 1 and gaps[-1]:
            yield _reference(f"the {words[1]} {label}", "position", "relation")
        elif 0 < place < min(len(ordered) - 1, MOST_IN_ORDER) and all(gaps[: place + 1]):
            yield _reference(f"the {ordinal(place + 1)} {label} from the {words[2]}", "position", "relation", "count")


def _by_place(label: str, region: RegionView, others: list[RegionView], picture: PictureView) -> Iterator[Reference]:
    """By its cell of the picture, where no other thing of the label lies in that cell or near its border."""
    place = region.row.profile.spatial.position
    size = picture.width, picture.height
    if place is None or geometry.position_of(region.row.bbox, *size) != place:
        return
    if not plainly_in_cell(region, picture):
        return
    if all(not may_be_in_cell(other, place, picture) for other in others):
        yield _reference(f"the {label} at the {place} of the picture", "position", "relation")


def _by_neighbour(
    label: str, region: RegionView, others: list[RegionView], picture: PictureView
) -> Iterator[Reference]:
    """By its relation to a thing that is the only one of its kind."""
    for name, things in sorted(picture.by_label.items()):
        if name == label or picture.all_of(name) is None or len(things) != 1:
            continue
        kind = geometry.relation_of(region.row.bbox, things[0].row.bbox)
        if kind and all(_plainly_not(kind, other, things[0]) for other in others):
            yield _reference(f"the {label} {kind} the {name}", "relation", "position")


def _plainly_not(kind: str, region: RegionView, other: RegionView) -> bool:
    axis = 0 if kind in ("left of", "right of") else 1
    difference = region.center[axis] - other.center[axis]
    return difference >= 0 if kind in ("left of", "above") else difference <= 0


def plainly_in_cell(region: RegionView, picture: PictureView, margin: float = 0.04) -> bool:
    """Whether the centre keeps `margin` of the side from the borders of its cell of the 3x3 grid."""
    return all(
        abs(center / side - border) >= margin
        for center, side in zip(region.center, (picture.width, picture.height), strict=True)
        for border in (1 / 3, 2 / 3)
    )


def may_be_in_cell(region: RegionView, place: str, picture: PictureView, margin: float = 0.04) -> bool:
    """Whether the centre lies in that cell, or so near that somebody may say so."""
    row, column = divmod(geometry.POSITIONS.index(place), 3)
    x, y = region.center[0] / picture.width, region.center[1] / picture.height
    return column / 3 - margin <= x <= (column + 1) / 3 + margin and row / 3 - margin <= y <= (row + 1) / 3 + margin
