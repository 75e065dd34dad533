"""Things that belong together: touching, held, inside, overlapping, or a single one.

A group is composed around the origin and checked here; where it stands in the picture does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from slvr_data.masks import BoolArray
from slvr_data.sources.scenes.dice import Dice
from slvr_data.sources.scenes.forms import PLAIN, SHAPES
from slvr_data.sources.scenes.layers import GAP, Corners, Placed, around, clear, shared, visible
from slvr_data.sources.scenes.raster import HALF
from slvr_data.sources.scenes.things import Thing, Wish, make

LEAST_SIDE = 10
"""Pixels of the visible mask's box along each side."""
LEAST_VISIBLE = {"sign": 100, "arrow": 100, "figure": 85, "bar": 85, "ellipse": 85}
"""Percent of a thing's own pixels that stay visible (60 for the others): no text, point or axis gets lost."""
LEAST_OVERLAP = 8
"""Percent of the smaller of two overlapping things that both outlines share, so that the overlap shows."""
LEAST_CONTACT = 3
"""Pixel pairs across which two touching things meet."""
TRIES = 12

COVERABLE = (*PLAIN, "bar", "ellipse", "ring", "frame")
HANDY = (*PLAIN, "sign")
"""What a hand holds and a frame surrounds."""
ENTITIES = tuple(SHAPES)
ALONE = {entity: 2 if entity in ("arrow", "bar", "ellipse", "figure", "sign") else 1 for entity in ENTITIES}
"""How often a single thing is of each kind: more often of those that seldom fit into groups."""
Palette = tuple[str, ...]


@dataclass(frozen=True)
class Bond:
    """Thing `a` does `kind` to thing `b`, and `b` does `inverse` to `a`; both are indices into the placed."""

    a: int
    b: int
    kind: str
    inverse: str


@dataclass(frozen=True)
class Group:
    """Placed things, back to front, and their bonds."""

    placed: tuple[Placed, ...]
    bonds: tuple[Bond, ...] = ()

    @property
    def window(self) -> Corners:
        """The box that holds all windows."""
        return around([p.window for p in self.placed])


def single(dice: Dice, palette: Palette, side: int) -> Group | None:
    """One thing of any kind; `side` is the picture's shorter side in pixels, as for all groups."""
    thing = make(dice, Wish(dice.weighted(ALONE), _any_radius(dice, side)), palette)
    return None if thing is None else _sound((Placed(thing, 0, 0),))


def touching(dice: Dice, palette: Palette, side: int) -> Group | None:
    """Two things that share a border and no pixel."""
    pair = _pair(dice, palette, side, ENTITIES, ENTITIES)
    if pair is None:
        return None
    first, second = pair
    sideways = dice.chance(50)
    place = _slid(dice, first.own, second.own) if sideways else _slid(dice, first.own.T, second.own.T)
    if place is None:
        return None
    x, y = place if sideways else place[::-1]
    return _sound((Placed(first, 0, 0), Placed(second, x, y)), Bond(0, 1, "touching", "touching"))


def holding(dice: Dice, palette: Palette, side: int) -> Group | None:
    """A figure and the small thing in its hand, which covers the hand."""
    radius = dice.whole(26, side // 5)
    figure = make(dice, Wish("figure", radius, holds=True), palette)
    if figure is None or figure.hand is None:
        return None
    wish = Wish(dice.pick(HANDY), dice.whole(8, max(8, radius * 2 // 5)), figure.colours)
    held = make(dice, wish, palette)
    if held is None:
        return None
    hand_x, hand_y = figure.hand
    x1, y1, x2, y2 = held.box
    to_the_right = 2 * hand_x > figure.cover.shape[1]
    for depth in (2, 4, 6, 8):
        x = hand_x + depth - x2 if not to_the_right else hand_x - depth - x1
        placed = (Placed(figure, 0, 0), Placed(held, x, hand_y - (y1 + y2) // 2))
        if shared(*placed) >= 12:
            return _sound(placed, Bond(0, 1, "holding", "held by"))
    return None


def inside(dice: Dice, palette: Palette, side: int) -> Group | None:
    """A small thing in the hole of a frame or a ring, without touching it."""
    radius = dice.whole(24, side * 22 // 100)
    outer = make(dice, Wish(dice.pick(("frame", "ring")), radius), palette)
    if outer is None:
        return None
    room = radius * (55 if outer.entity == "frame" else 48) // 100
    inner = make(dice, Wish(dice.pick(HANDY), dice.whole(7, room), outer.colours), palette)
    if inner is None:
        return None
    x1, y1, x2, y2 = inner.box
    height, width = outer.cover.shape
    shift_x, shift_y = dice.whole(-2, 2), dice.whole(-2, 2)
    placed = Placed(inner, (width - x1 - x2) // 2 + shift_x, (height - y1 - y2) // 2 + shift_y)
    if not clear(Placed(outer, 0, 0), placed, 2):
        return None
    return _sound((Placed(outer, 0, 0), placed), Bond(0, 1, "around", "inside"))


def overlapping(dice: Dice, palette: Palette, side: int) -> Group | None:
    """A thing partly in front of another one."""
    pair = _pair(dice, palette, side, COVERABLE, ENTITIES)
    if pair is None:
        return None
    return _in_front(dice, Group((Placed(pair[0], 0, 0),)), pair[1])


def triple(dice: Dice, palette: Palette, side: int) -> Group | None:
    """Three things, each in front of the one before."""
    pair = _pair(dice, palette, side, PLAIN, COVERABLE)
    if pair is None:
        return None
    near = (*pair[0].colours, *pair[1].colours)
    front = make(dice, Wish(dice.pick(ENTITIES), dice.whole(12, side // 9), near), palette)
    two = _in_front(dice, Group((Placed(pair[0], 0, 0),)), pair[1])
    return None if front is None or two is None else _in_front(dice, two, front)


Composer = Callable[[Dice, Palette, int], Group | None]
COMPOSERS: dict[Composer, int] = {
    single: 40, touching: 15, holding: 13, inside: 13, overlapping: 11, triple: 8,
}  # fmt: skip
"""How often each kind of group is tried."""
MEMBERS: dict[Composer, int] = {
    single: 1, touching: 2, holding: 2, inside: 2, overlapping: 2, triple: 3,
}  # fmt: skip


def _any_radius(dice: Dice, side: int) -> int:
    """Half an extent that makes a small, a medium or a large thing."""
    low, high = dice.weighted(
        {(9, side // 11): 35, (side // 10, side // 6): 35, (side * 22 // 100, side * 30 // 100): 30}
    )
    return dice.whole(low, high)


def _pair(
    dice: Dice, palette: Palette, side: int, back: tuple[str, ...], front: tuple[str, ...]
) -> tuple[Thing, Thing] | None:
    """Two things of such entities in colours that stand out from each other."""
    first = make(dice, Wish(dice.pick(back), dice.whole(14, side // 5)), palette)
    if first is None:
        return None
    second = make(dice, Wish(dice.pick(front), dice.whole(12, side // 7), first.colours), palette)
    return None if second is None else (first, second)


def _slid(dice: Dice, first: BoolArray, second: BoolArray) -> tuple[int, int] | None:
    """Where (x, y) the mask `second` comes to rest when pushed from the right against the mask `first`.

    None where the two meet along fewer than `LEAST_CONTACT` rows.
    """
    rows_first, rows_second = len(first), len(second)
    y = dice.whole(-rows_second // 2, rows_first - rows_second // 2)
    low, high = max(0, y), min(rows_first, y + rows_second)
    if low >= high:
        return None
    here, there = first[low:high], second[low - y : high - y]
    both = here.any(1) & there.any(1)
    ends = here.shape[1] - here[:, ::-1].argmax(1)  # one past the last pixel of each row
    gaps = (ends - there.argmax(1))[both]
    if not len(gaps):
        return None
    x = int(gaps.max())
    return (x, y) if int((gaps == x).sum()) >= LEAST_CONTACT else None


def _in_front(dice: Dice, group: Group, thing: Thing) -> Group | None:
    """The group with the thing in front of its last one, or None where no place for that is found."""
    last = group.placed[-1]
    x1, y1, x2, y2 = last.box
    height, width = thing.cover.shape
    for _ in range(TRIES):
        front = Placed(thing, dice.whole(x1 - width + 3, x2 - 3), dice.whole(y1 - height + 3, y2 - 3))
        grown = _sound((*group.placed, front))
        if shared(last, front) and grown is not None:
            return grown
    return None


def _sound(placed: tuple[Placed, ...], *bonds: Bond) -> Group | None:
    """The group, or None where its things break a rule of the scene.

    Enough of each thing has to be visible, and two things have a bond, overlap visibly, or keep their gap.
    """
    bonded = {(bond.a, bond.b) for bond in bonds}
    for j, upper in enumerate(placed):
        for i, lower in enumerate(placed[:j]):
            if (i, j) not in bonded and not _at_ease(lower, upper):
                return None
    shown = all(_shows(p.thing, mask) for p, mask in zip(placed, visible(placed), strict=True))
    return Group(placed, bonds) if shown else None


def _at_ease(lower: Placed, upper: Placed) -> bool:
    """Whether two things without a bond overlap visibly or keep their gap."""
    both = shared(lower, upper)
    if both:
        return 100 * both >= LEAST_OVERLAP * min(lower.thing.area, upper.thing.area)
    return clear(lower, upper, GAP)


def _shows(thing: Thing, mask: BoolArray) -> bool:
    """Whether the visible `mask` [h, w] is enough of the thing: in pixels, along each side, of each colour."""
    total = int(mask.sum())
    if 100 * total < LEAST_VISIBLE.get(thing.entity, 60) * thing.area:
        return False
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if min(rows[-1] - rows[0], columns[-1] - columns[0]) + 1 < LEAST_SIDE:
        return False
    if thing.second is None:
        return True
    second = int((mask & (thing.second >= HALF)).sum())
    return total <= 4 * second <= 3 * total
