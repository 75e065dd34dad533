"""The outline of each kind of thing, around the origin, in subpixels (x to the right, y down).

`size` is half the extent of a thing along its longer side, in subpixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from slvr_data.sources.scenes.dice import Dice
from slvr_data.sources.scenes.raster import UPRIGHT, Axis, Oval, Part, Point, Polygon

SHAPES = {
    "circle": "round", "square": "square", "triangle": "triangular", "cross": "cross-shaped",
    "star": "star-shaped", "diamond": "diamond-shaped", "bar": "rectangular", "ellipse": "elliptical",
    "ring": "ring-shaped", "arrow": "arrow-shaped", "figure": "figure-shaped", "sign": "rectangular",
    "frame": "rectangular",
}  # fmt: skip
"""Entity -> the word for its outline."""
PLAIN = ("circle", "square", "triangle", "cross", "star", "diamond")
"""The entities without a main axis, a hole, a pose or a text."""

AXES: dict[str, tuple[Axis, ...]] = {
    "horizontal": (UPRIGHT, (60, 11, 61), (60, -11, 61)),
    "vertical": ((0, 1, 1), (11, 60, 61), (-11, 60, 61)),
    "diagonal falling": ((4, 3, 5), (3, 4, 5), (21, 20, 29)),
    "diagonal rising": ((4, -3, 5), (3, -4, 5), (21, -20, 29)),
}
"""Orientation -> the directions that bear the name: within 11 degrees of level or plumb, or 36 to 54."""
POINTING = {
    ("horizontal", 1): "right", ("horizontal", -1): "left",
    ("vertical", 1): "down", ("vertical", -1): "up",
    ("diagonal falling", 1): "down right", ("diagonal falling", -1): "up left",
    ("diagonal rising", 1): "up right", ("diagonal rising", -1): "down left",
}  # fmt: skip
"""Where an arrow points that runs along a direction of `AXES` (1) or against it (-1)."""

STAR_TIPS = ((0, -1000), (951, -309), (588, 809), (-588, 809), (-951, -309))
STAR_NOTCHES = ((265, -364), (428, 139), (0, 450), (-428, 139), (-265, -364))
"""Corners of a star in thousandths of its size; notch i lies between tips i and i + 1."""


@dataclass(frozen=True)
class Form:
    """An outline: the union of `parts` without `holes`."""

    parts: tuple[Part, ...]
    holes: tuple[Part, ...] = ()
    orientation: str = "none"
    action: str = "none"
    hand: Point | None = None
    """Where a figure holds things."""


def turned(points: Sequence[Point], axis: Axis) -> tuple[Point, ...]:
    """The points, turned so that "to the right" becomes `axis`."""
    p, q, n = axis
    return tuple(((2 * (x * p - y * q) + n) // (2 * n), (2 * (x * q + y * p) + n) // (2 * n)) for x, y in points)


def polygon(points: Sequence[Point], axis: Axis = UPRIGHT) -> Polygon:
    """A convex polygon, turned."""
    return Polygon(turned(points, axis))


def rectangle(x: int, y: int, axis: Axis = UPRIGHT) -> Polygon:
    """A rectangle of half width `x` and half height `y`, turned."""
    return polygon(((-x, -y), (x, -y), (x, y), (-x, y)), axis)


def plain_form(entity: str, size: int, axis: Axis = UPRIGHT) -> Form:
    """One of `PLAIN`, turned by a tilt too small to name."""
    if entity == "circle":
        return Form((Oval((0, 0), size, size),))
    if entity == "square":
        return Form((rectangle(23 * size // 25, 23 * size // 25, axis),))
    if entity == "triangle":
        return Form((polygon(((0, -size), (size, 4 * size // 5), (-size, 4 * size // 5)), axis),))
    if entity == "cross":
        arm = 9 * size // 25
        return Form((rectangle(size, arm, axis), rectangle(arm, size, axis)))
    if entity == "diamond":
        wide = 17 * size // 20
        return Form((polygon(((0, -size), (wide, 0), (0, size), (-wide, 0)), axis),))
    tips, notches = _scaled(STAR_TIPS, size), _scaled(STAR_NOTCHES, size)
    kites = [((0, 0), notches[i - 1], tips[i], notches[i]) for i in range(5)]
    return Form(tuple(polygon(kite, axis) for kite in kites))


def _scaled(points: Sequence[Point], size: int) -> list[Point]:
    return [((2 * x * size + 1000) // 2000, (2 * y * size + 1000) // 2000) for x, y in points]


def bar(dice: Dice, size: int) -> Form:
    """A rectangle about three to four times as long as it is thick, at least 11 px thick."""
    word, axis = _any_axis(dice)
    return Form((rectangle(size, max(22, size * dice.whole(24, 31) // 100), axis),), orientation=word)


def ellipse(dice: Dice, size: int) -> Form:
    """An ellipse about twice as long as it is thick."""
    word, axis = _any_axis(dice)
    return Form((Oval((0, 0), size, size * dice.whole(45, 56) // 100, axis),), orientation=word)


def arrow(dice: Dice, size: int) -> Form:
    """A shaft and a head, in one of eight directions."""
    word, axis = _any_axis(dice)
    sign = 1 if dice.chance(50) else -1
    neck, wide, thick = 3 * size // 10, 46 * size // 100, 17 * size // 100
    shaft = polygon(((-size, -thick), (neck, -thick), (neck, thick), (-size, thick)), _signed(axis, sign))
    head = polygon(((neck, -wide), (size, 0), (neck, wide)), _signed(axis, sign))
    return Form((shaft, head), orientation=word, action=f"pointing {POINTING[word, sign]}")


def ring(dice: Dice, size: int) -> Form:
    """A circle with a round hole of about two thirds of its size."""
    inner = min(size - 16, size * dice.whole(62, 72) // 100)
    return Form((Oval((0, 0), size, size),), (Oval((0, 0), inner, inner),))


def frame(dice: Dice, size: int) -> Form:
    """An upright rectangle with a rectangular hole, its border at least 4 px thick."""
    short = size * dice.whole(80, 100) // 100
    wide, high = (size, short) if dice.chance(50) else (short, size)
    border = max(16, size * dice.whole(16, 22) // 100)
    return Form((rectangle(wide, high),), (rectangle(wide - border, high - border),))


def plate(width: int, height: int) -> Form:
    """A sign's plate of that many pixels, with its corner at the origin."""
    right, low = 4 * width, 4 * height
    return Form((Polygon(((0, 0), (right, 0), (right, low), (0, low))),))


def _any_axis(dice: Dice) -> tuple[str, Axis]:
    word = dice.pick(tuple(AXES))
    return word, dice.pick(AXES[word])


def _signed(axis: Axis, sign: int) -> Axis:
    return sign * axis[0], sign * axis[1], axis[2]
