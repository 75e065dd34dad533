"""Errors in profiles: each is plainly wrong of its region, whatever the words' borders.

A kind of error is a function of a copy of the profile, which it changes, and of what is around the region;
it answers whether it could.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from slvr_data import geometry
from slvr_data.colors import COLORS, CONFUSED
from slvr_data.injector.base import Corruption, Surroundings, dice, pick
from slvr_data.queries.distractors import ACTIONS
from slvr_data.schema import AttributeProfile, Link, Spatial

Spoil = Callable[[AttributeProfile, Surroundings, Random], bool]

MATERIALS = ("solid", "striped", "dotted", "checkered")
SHAPES = ("round", "square", "triangular", "rectangular", "star-shaped", "elliptical", "ring-shaped")
TEXTS = ("STOP", "EXIT", "OPEN", "TAXI", "SALE", "BUS 7", "42", "A1")
ORIENTATIONS = ("horizontal", "vertical", "diagonal rising", "diagonal falling", "none")
DEPTHS = ("front", "middle", "back", "none")
VAGUE = ("thing", "object", "item", "something", "stuff")
PLAIN = 1.1
"""Factor by which an area keeps away from the border of a size word that is called wrong."""
PLAIN_SHARE = 0.01
"""Share of the side by which a centre keeps away from the border of a cell that is called wrong."""


def corrupt_profile(
    around: Surroundings, error: str, seed: int, kind: str | None = None
) -> Corruption[AttributeProfile] | None:
    """The region's profile with one error of a class (and kind); None where it has nothing to spoil so."""
    random = dice(seed, error, kind or "", around.region.row.region_id)
    kinds = PROFILE_KINDS[error]
    for name in random.sample(sorted(kinds), len(kinds)) if kind is None else [kind]:
        profile = around.region.row.profile.model_copy(deep=True)
        if kinds[name](profile, around, random):
            return Corruption(error, name, profile)
    return None


def unlike(mine: list[str]) -> list[str]:
    """Colours that nobody takes for one of these."""
    return [c for c in COLORS if all(c != m and {c, m} not in CONFUSED for m in mine)]


def _color_replaced(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    mine = profile.appearance.colors
    wrong = pick(random, unlike(mine or []))
    if not mine or wrong is None:
        return False
    mine[random.randrange(len(mine))] = wrong
    return True


def _color_added(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    mine = profile.appearance.colors
    wrong = pick(random, unlike(mine or []))
    if not mine or wrong is None:
        return False
    mine.append(wrong)
    return True


def _action(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    mine = profile.action
    if mine in (None, "none"):
        return False
    words = set((mine or "").split())
    profile.action = pick(random, [a for a in ACTIONS if a != mine and not words >= set(a.split())])
    return profile.action is not None


def _size(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    row, picture = around.region.row, around.picture
    root = PLAIN**0.5
    near = {
        geometry.size_of(
            [0, 0, (row.bbox[2] - row.bbox[0]) * f, (row.bbox[3] - row.bbox[1]) * f], picture.width, picture.height
        )
        for f in (1 / root, 1, root)
    }
    profile.appearance.size = pick(random, [s for s in geometry.SIZES if s not in near])
    return profile.appearance.size is not None


def _position(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    width, height = around.picture.width, around.picture.height
    x, y = around.region.center
    shift = [-PLAIN_SHARE, 0, PLAIN_SHARE]
    near = {
        geometry.position_of([x + dx * width, y + dy * height] * 2, width, height)
        for dx in shift
        for dy in shift
        if 0 <= x + dx * width < width and 0 <= y + dy * height < height
    }
    profile.spatial.position = pick(random, [p for p in geometry.POSITIONS if p not in near])
    return True


def _orientation(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    mine = profile.spatial.orientation
    if mine is None:
        return False
    profile.spatial.orientation = pick(random, [o for o in ORIENTATIONS if o != mine])
    return True


def _depth(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    mine = profile.spatial.depth
    if mine is None:
        return False
    profile.spatial.depth = pick(random, [d for d in DEPTHS if d != mine])
    return True


def _reversed(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    link = pick(random, profile.spatial.relations or [])
    if link is None or link.kind not in geometry.RELATIONS:
        return False
    link.kind = geometry.INVERSE[link.kind]
    return True


def _turned(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    """A relation along the other axis, to the side where the other thing is not."""
    link = pick(random, profile.spatial.relations or [])
    other = next((o for o in around.others if link and o.row.region_id == link.target_region_id), None)
    if link is None or other is None:
        return False
    axis = 1 if link.kind in ("left of", "right of") else 0
    apart = around.region.center[axis] - other.center[axis]
    ahead, behind = (("left of", "right of"), ("above", "below"))[axis]
    link.kind = ahead if apart >= 0 else behind  # the centres do not stand so
    return True


def _material(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    mine = profile.appearance.material
    profile.appearance.material = pick(random, [m for m in MATERIALS if m != mine])
    return mine is not None


def _shape(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    mine = profile.appearance.shape
    profile.appearance.shape = pick(random, [s for s in SHAPES if s != mine])
    return mine is not None


def _text(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    mine = profile.visible_text
    profile.visible_text = [random.choice([t for t in TEXTS if t not in (mine or [])])]
    return mine is not None


def _absent_relation(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    word = pick(random, around.absent)
    if word is None:
        return False
    link = Link(kind=random.choice(geometry.RELATIONS), target=word, target_region_id=None)
    profile.spatial.relations = [*(profile.spatial.relations or []), link]
    return True


def _absent_interaction(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    word = pick(random, around.absent)
    if word is None:
        return False
    profile.interaction = [*(profile.interaction or []), Link(kind="touching", target=word, target_region_id=None)]
    return True


def _held_changed(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    """An interaction with another thing of the picture than the true one."""
    links = profile.interaction or []
    involved = {link.target_region_id for link in links}
    link = pick(random, links)
    other = pick(random, [o for o in around.others if o.row.region_id not in involved and o.row.label])
    if link is None or other is None:
        return False
    link.target, link.target_region_id = other.row.label or "", other.row.region_id
    return True


def _held_invented(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    """Holding a thing that it has nothing to do with."""
    involved = {link.target_region_id for link in profile.interaction or []}
    other = pick(random, [o for o in around.others if o.row.region_id not in involved and o.row.label])
    if other is None or profile.interaction is None:
        return False
    link = Link(kind="holding", target=other.row.label or "", target_region_id=other.row.region_id)
    profile.interaction = [*profile.interaction, link]
    return True


def _link_ambiguous(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    """A link that no longer says which of several things it means."""
    labels = [other.label for other in around.others]
    links = [*(profile.spatial.relations or []), *(profile.interaction or [])]
    link = pick(random, [li for li in links if li.target_region_id and labels.count(li.target.lower()) > 1])
    if link is None:
        return False
    link.target_region_id = None
    return True


def _vague_entity(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    profile.appearance.entity = random.choice(VAGUE)
    return True


def _emptied(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    """Nothing but where it is, under a word for anything."""
    profile.appearance.entity, profile.appearance.colors = random.choice(VAGUE), None
    profile.appearance.shape = profile.appearance.material = profile.action = None
    profile.interaction, profile.visible_text = None, None
    profile.spatial = Spatial(position=profile.spatial.position)
    return True


def _empty_word(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    look = profile.appearance
    name = pick(random, [n for n in ("shape", "material", "entity") if getattr(look, n) not in (None, "none")])
    if name is None:
        return False
    setattr(look, name, random.choice(("unknown", "unclear", "various", "n/a")))
    return True


def _entity(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    mine = (profile.appearance.entity or "").lower()
    profile.appearance.entity = pick(random, [w for w in around.vocabulary if w not in (mine, around.region.label)])
    return bool(mine) and profile.appearance.entity is not None


def _count(profile: AttributeProfile, around: Surroundings, random: Random) -> bool:
    mine = profile.peers.same_label_count
    if mine is None:
        return False
    profile.peers.same_label_count = random.choice([n for n in range(max(1, mine - 2), mine + 4) if n != mine])
    return True


PROFILE_KINDS: dict[str, dict[str, Spoil]] = {
    "color": {"replaced": _color_replaced, "added": _color_added},
    "action/pose": {"replaced": _action},
    "spatial": {
        "size": _size, "position": _position, "orientation": _orientation, "depth": _depth,
        "relation reversed": _reversed, "relation turned": _turned,
    },
    "hallucinated attribute": {"material": _material, "shape": _shape, "text": _text},
    "invisible object": {"relation": _absent_relation, "interaction": _absent_interaction},
    "held object": {"changed": _held_changed, "invented": _held_invented},
    "ambiguous reference": {"link": _link_ambiguous},
    "vague": {"entity": _vague_entity, "emptied": _emptied, "word": _empty_word},
    "other": {"entity": _entity, "count": _count},
}  # fmt: skip
"""Class -> kind -> how it is done."""
