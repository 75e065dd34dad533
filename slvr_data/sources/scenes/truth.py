"""The exact profiles of a drawn world.

Sizes, positions and relations are measured on the boxes of the visible masks, with `slvr_data.geometry`;
everything else is known from the drawing. The letters of a sign do not count as one of its colours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from slvr_data import geometry, ids, masks
from slvr_data.masks import BoolArray
from slvr_data.schema import Appearance, AttributeProfile, Link, Peers, Spatial
from slvr_data.sources.scenes import layers
from slvr_data.sources.scenes.draw import whole_mask
from slvr_data.sources.scenes.forms import SHAPES
from slvr_data.sources.scenes.raster import HALF
from slvr_data.sources.scenes.things import Thing
from slvr_data.sources.scenes.world import World


@dataclass(frozen=True, eq=False)
class SceneRegion:
    """A thing of a scene."""

    region_id: str
    label: str
    """Its entity."""
    box: list[float]
    """Bounds of `mask`, [x1, y1, x2, y2] in pixels."""
    mask: BoolArray
    """Its visible pixels [H, W]: those of which it is the topmost thing to cover at least half."""
    profile: AttributeProfile
    """Exact, with every field known."""


@dataclass(frozen=True, eq=False)
class _Seen:
    """A thing as it is seen: its visible mask [h, w] in its window, and what is derived from it."""

    index: int
    thing: Thing
    mask: BoolArray
    box: list[float]
    region_id: str


def regions(world: World, image_id: str) -> list[SceneRegion]:
    """All things of the world as regions of the picture `image_id`, by region id."""
    seen = sorted(_all_seen(world, image_id), key=lambda s: s.region_id)
    links, depths = _interactions(world, seen), _depths(world)
    counts = Counter(s.thing.entity for s in seen)
    found = []
    for s in seen:
        profile = AttributeProfile(
            appearance=_appearance(s, world),
            action=s.thing.action,
            interaction=links[s.index],
            spatial=Spatial(
                position=geometry.position_of(s.box, world.width, world.height),
                orientation=s.thing.orientation,
                depth=depths[s.index],
                relations=_relations(s, seen),
            ),
            visible_text=[s.thing.text] if s.thing.text else [],
            peers=Peers(same_label_count=counts[s.thing.entity]),
        )
        mask = whole_mask(world.placed[s.index], s.mask, world)
        found.append(SceneRegion(s.region_id, s.thing.entity, s.box, mask, profile))
    return found


def _all_seen(world: World, image_id: str) -> list[_Seen]:
    seen = []
    for i, (placed, mask) in enumerate(zip(world.placed, layers.visible(world.placed), strict=True)):
        bounds = masks.bounds(mask)
        assert bounds is not None, "a layout leaves something of every thing visible"
        x1, y1, x2, y2 = bounds
        box = [float(placed.x + x1), float(placed.y + y1), float(placed.x + x2), float(placed.y + y2)]
        region_id = ids.region_id(image_id, box, placed.thing.entity)
        seen.append(_Seen(i, placed.thing, mask, box, region_id))
    return seen


def _appearance(s: _Seen, world: World) -> Appearance:
    return Appearance(
        entity=s.thing.entity,
        colors=_colors(s),
        shape=SHAPES[s.thing.entity],
        material=s.thing.material,
        size=geometry.size_of(s.box, world.width, world.height),
    )


def _colors(s: _Seen) -> list[str]:
    """The colour terms, that of more visible pixels first; on a tie, the first one painted."""
    names = list(s.thing.colours)
    if s.thing.second is not None:
        second = int((s.mask & (s.thing.second >= HALF)).sum())
        if 2 * second > int(s.mask.sum()):
            names.reverse()
    return names


def _relations(s: _Seen, seen: Sequence[_Seen]) -> list[Link]:
    """How it stands to every other thing, the nearest first, where a single word is plainly true."""
    others = [o for o in seen if o is not s]
    links = []
    for i in geometry.nearest(s.box, [o.box for o in others], len(others)):
        kind = geometry.relation_of(s.box, others[i].box)
        if kind is not None:
            links.append(Link(kind=kind, target=others[i].thing.entity, target_region_id=others[i].region_id))
    return links


def _interactions(world: World, seen: Sequence[_Seen]) -> dict[int, list[Link]]:
    """Thing -> its links, both ways of every bond."""
    by_index = {s.index: s for s in seen}
    links: dict[int, list[Link]] = {s.index: [] for s in seen}
    for bond in world.bonds:
        for here, kind, there in ((bond.a, bond.kind, bond.b), (bond.b, bond.inverse, bond.a)):
            other = by_index[there]
            links[here].append(Link(kind=kind, target=other.thing.entity, target_region_id=other.region_id))
    return links


def _depths(world: World) -> list[str]:
    """The occlusion word of each thing."""
    pairs = layers.overlaps(world.placed)
    covered, covering = {low for low, _ in pairs}, {high for _, high in pairs}
    words = {(False, False): "none", (True, False): "back", (False, True): "front", (True, True): "middle"}
    return [words[i in covered, i in covering] for i in range(len(world.placed))]
