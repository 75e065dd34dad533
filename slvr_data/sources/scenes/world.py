"""What is where: the random worlds of both levels."""

from __future__ import annotations

from dataclasses import dataclass

from slvr_data import geometry
from slvr_data.sources.scenes import grounds, groups
from slvr_data.sources.scenes.dice import Dice
from slvr_data.sources.scenes.forms import PLAIN
from slvr_data.sources.scenes.grounds import Ground, Light
from slvr_data.sources.scenes.groups import Bond, Group
from slvr_data.sources.scenes.layers import GAP, Corners, Placed, apart
from slvr_data.sources.scenes.things import Thing, simple

EASY_SIDE = 64
EASY_GAP = 2
EASY_MARGIN = 2
"""Pixels that centres keep from the borders of the 3x3 position cells."""
EASY_SIZES = ((17, 21), (28, 40), (60, 66))
"""Half extents in subpixels of small, medium and large things."""
EASY_LEAST = 8
"""Pixels of a thing's shorter side: below this, crops are of no use."""
SIDES = (192, 224, 256, 288)
COUNTS = {2: 8, 3: 14, 4: 18, 5: 20, 6: 18, 7: 13, 8: 9}
"""How often a full scene aims at each number of things."""
TRIES = 30


@dataclass(frozen=True)
class World:
    """A scene before it is drawn; things run from back to front."""

    width: int
    height: int
    ground: Ground
    light: Light | None
    placed: tuple[Placed, ...]
    bonds: tuple[Bond, ...]


def build(level: str, dice: Dice) -> World:
    """A world of the level "easy" or "full"."""
    draw = {"easy": _easy, "full": _full}[level]
    while True:  # a layout with fewer than two things is drawn anew; almost every first one has them
        world = draw(dice)
        if len(world.placed) >= 2:
            return world


def _easy(dice: Dice) -> World:
    ground = grounds.plain(dice)
    placed: list[Placed] = []
    for _ in range(dice.whole(2, 4)):
        entity = dice.pick(PLAIN)
        for _ in range(TRIES):
            thing = _easy_thing(dice, ground, entity)
            at = _easy_place(dice, thing, [p.window for p in placed]) if thing else None
            if thing and at:
                placed.append(Placed(thing, *at))
                break
    return World(EASY_SIDE, EASY_SIDE, ground, None, tuple(placed), ())


def _easy_thing(dice: Dice, ground: Ground, entity: str) -> Thing | None:
    """A plain thing; None where it is too small to crop, or its area within 20 % of a threshold of size words."""
    low, high = dice.pick(EASY_SIZES)
    thing = simple(dice, entity, dice.whole(low, high), dice.pick(ground.palette))
    x1, y1, x2, y2 = thing.box
    share = (x2 - x1) * (y2 - y1) / EASY_SIDE**2
    thresholds = (geometry.SMALL_SHARE, geometry.LARGE_SHARE)
    plain = all(share <= 0.8 * t or share >= 1.2 * t for t in thresholds)
    return thing if plain and min(x2 - x1, y2 - y1) >= EASY_LEAST else None


def _easy_place(dice: Dice, thing: Thing, taken: list[Corners]) -> tuple[int, int] | None:
    height, width = thing.cover.shape
    for _ in range(TRIES):
        x, y = dice.whole(0, EASY_SIDE - width), dice.whole(0, EASY_SIDE - height)
        x1, y1, x2, y2 = thing.box
        centres = (2 * x + x1 + x2, 2 * y + y1 + y2)  # doubled, to stay whole
        if not all(_far_from_borders(centre) for centre in centres):
            continue
        if all(apart((x, y, x + width, y + height), box, EASY_GAP) for box in taken):
            return x, y
    return None


def _far_from_borders(centre2: int) -> bool:
    """Whether a doubled coordinate is at least `EASY_MARGIN` px from the thirds of the picture's side."""
    return all(abs(3 * centre2 - 2 * i * EASY_SIDE) >= 6 * EASY_MARGIN for i in (1, 2))


def _full(dice: Dice) -> World:
    width, height = dice.pick(SIDES), dice.pick(SIDES)
    ground, light = grounds.any_ground(dice), grounds.any_light(dice)
    aim, found, misses = dice.weighted(COUNTS), list[Group](), 0
    count = 0
    while count < aim and misses < TRIES:
        compose = dice.weighted(groups.COMPOSERS)
        group = None
        if count + groups.MEMBERS[compose] <= aim:
            group = compose(dice, ground.palette, min(width, height))
        group = group and _settled(dice, group, [g.window for g in found], width, height)
        if group is None:
            misses += 1
        else:
            found.append(group)
            count += len(group.placed)
    return _joined(width, height, ground, light, found)


def _settled(dice: Dice, group: Group, taken: list[Corners], width: int, height: int) -> Group | None:
    """The group moved to a free place of the picture, or None where none is found."""
    x1, y1, x2, y2 = group.window
    if x2 - x1 > width or y2 - y1 > height:
        return None
    for _ in range(TRIES):
        x, y = dice.whole(0, width - x2 + x1), dice.whole(0, height - y2 + y1)
        if all(apart((x, y, x + x2 - x1, y + y2 - y1), box, GAP) for box in taken):
            return Group(tuple(p.moved(x - x1, y - y1) for p in group.placed), group.bonds)
    return None


def _joined(width: int, height: int, ground: Ground, light: Light, found: list[Group]) -> World:
    placed: list[Placed] = []
    bonds: list[Bond] = []
    for group in found:
        bonds += [Bond(b.a + len(placed), b.b + len(placed), b.kind, b.inverse) for b in group.bonds]
        placed += group.placed
    return World(width, height, ground, light, tuple(placed), tuple(bonds))
