"""The stick-man: a head, a trunk and four thick limbs, in a pose that has a name."""

from __future__ import annotations

from math import isqrt

from slvr_data.sources.scenes.dice import Dice
from slvr_data.sources.scenes.forms import Form, polygon, turned
from slvr_data.sources.scenes.raster import UPRIGHT, Axis, Oval, Part, Point

ACTIONS = (
    "standing", "leaning left", "leaning right", "lying", "waving", "pointing left", "pointing right",
)  # fmt: skip
"""What a figure can do."""
_TURNS: dict[str, tuple[Axis, str]] = {
    "leaning left": ((4, -3, 5), "diagonal falling"),
    "leaning right": ((4, 3, 5), "diagonal rising"),
}
"""Action -> where the figure's own right goes, and the orientation of its body."""

_HEAD, _HEAD_SIZE, _LIMB = (0, -76), 23, 9
_TRUNK = ((-14, -56), (14, -56), (11, 14), (-11, 14))
_LEGS = (((-5, 8), (-22, 90)), ((5, 8), (22, 90)))
_SHOULDER = (8, -46)
_HANDS = {"down": (40, 0), "up": (46, -86), "out": (68, -44), "holding": (50, -18)}
"""Places in hundredths of half the figure's height; hands and shoulder are those on the screen's right."""


def figure(dice: Dice, size: int, action: str | None = None) -> Form:
    """A figure of half height `size`; any action, unless one is given."""
    action = action or dice.pick(ACTIONS)
    axis, word = _TURNS.get(action, (UPRIGHT, "vertical"))
    if action == "lying":
        axis, word = ((0, 1, 1) if dice.chance(50) else (0, -1, 1)), "horizontal"
    arms = {"waving": "up", "pointing left": "out", "pointing right": "out"}
    side = {"pointing left": -1, "pointing right": 1}.get(action) or (1 if dice.chance(50) else -1)
    parts = _body(size, axis, side, arms.get(action, "down"))
    return Form(parts, orientation=word, action=action)


def holding_figure(dice: Dice, size: int) -> Form:
    """An upright figure with one arm bent out to hold something; its action is that of the other arm."""
    side = 1 if dice.chance(50) else -1
    free = dice.weighted({"down": 5, "up": 3, "out": 2})
    pointing = "pointing left" if side > 0 else "pointing right"
    action = {"down": "standing", "up": "waving", "out": pointing}[free]
    x, y = _HANDS["holding"]
    hand = (side * x * size // 100, y * size // 100)
    parts = _body(size, UPRIGHT, side, "holding", free)
    return Form(parts, orientation="vertical", action=action, hand=hand)


def _body(size: int, axis: Axis, side: int, arm: str, free: str = "down") -> tuple[Part, ...]:
    """The parts of a figure with `arm` on that `side` (1: the screen's right) and the `free` one on the other."""
    head = turned([_at(_HEAD, size)], axis)[0]
    reach = _HEAD_SIZE * size // 100
    parts: list[Part] = [
        Oval(head, reach, reach),
        polygon([_at(corner, size) for corner in _TRUNK], axis),
    ]
    limbs = [*_LEGS, (_mirrored(_SHOULDER, side), _mirrored(_HANDS[arm], side))]
    limbs.append((_mirrored(_SHOULDER, -side), _mirrored(_HANDS[free], -side)))
    for start, end in limbs:
        parts.extend(_limb(turned([_at(start, size), _at(end, size)], axis), _LIMB * size // 100))
    return tuple(parts)


def _limb(ends: tuple[Point, ...], thick: int) -> tuple[Part, Part, Part]:
    """A straight limb with round ends; `thick` is half its thickness."""
    (ax, ay), (bx, by) = ends
    dx, dy = bx - ax, by - ay
    length = max(1, isqrt(dx * dx + dy * dy))
    x, y = -dy * thick // length, dx * thick // length
    shaft = polygon(((ax - x, ay - y), (bx - x, by - y), (bx + x, by + y), (ax + x, ay + y)))
    return shaft, Oval((ax, ay), thick, thick), Oval((bx, by), thick, thick)


def _at(point: Point, size: int) -> Point:
    return point[0] * size // 100, point[1] * size // 100


def _mirrored(point: Point, side: int) -> Point:
    return side * point[0], point[1]
