"""One thing of a scene: its outline on whole pixels, its colours, and what is known about it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from slvr_data.masks import BoolArray, bounds
from slvr_data.sources.scenes import colours, figures, forms, glyphs, patterns
from slvr_data.sources.scenes.colours import Rgb
from slvr_data.sources.scenes.dice import Dice
from slvr_data.sources.scenes.raster import HALF, SUB, Bytes, coverage

LEAST_SIZE = {"figure": 22, "arrow": 16, "ring": 14, "frame": 13, "bar": 20, "ellipse": 13, "sign": 12}
"""Least half extent in pixels at which a kind of thing can be made out; 8 for the others."""
TWO_COLOURS = 45
"""Percent of the things that get a second colour where it fits; a sign never does."""
HALVES_ONLY = ("ring", "frame", "figure")
"""Too thin for a pattern: their second colour is a half."""
WORDS = (
    "STOP", "EXIT", "OPEN", "TAXI", "BUS", "CAFE", "HOT", "COLD", "NEW", "GO", "IN", "OUT", "UP", "NO", "YES",
    "ZOO", "BANK", "PARK", "SALE", "7UP", "A1", "B2", "M4", "42", "365",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Thing:
    """A thing in its own window of [h, w] pixels, not yet anywhere."""

    entity: str
    cover: Bytes
    """Coverage [h, w], 0 to 16."""
    colours: tuple[str, ...]
    fills: tuple[Rgb, ...]
    """One per colour."""
    second: Bytes | None = None
    """Weight [h, w] of the second colour, 0 to 16."""
    material: str = "solid"
    repeats: int = 0
    """Periods or dots of the pattern."""
    orientation: str = "none"
    action: str = "none"
    hand: tuple[int, int] | None = None
    """The pixel of the window at which it holds things."""
    text: str = ""
    ink: BoolArray | None = None
    """The letters' pixels [h, w]."""

    @cached_property
    def own(self) -> BoolArray:
        """The pixels [h, w] it covers at least half of."""
        return np.greater_equal(self.cover, HALF)

    @cached_property
    def area(self) -> int:
        """How many pixels are its own."""
        return int(self.own.sum())

    @cached_property
    def box(self) -> tuple[int, int, int, int]:
        """Bounds of `own` in its window."""
        box = bounds(self.own)
        assert box is not None, "things have pixels"
        return box


LONG_PLATE = 16
"""Tenths of its height from which a plate's width makes it lie: three characters or more."""


@dataclass(frozen=True)
class Wish:
    """What a thing shall be like. `near` holds the colours it has to stand out from, beside the ground."""

    entity: str
    radius: int
    """Half extent in pixels; raised to what the kind needs."""
    near: Collection[str] = ()
    holds: bool = False
    """Whether it is a figure with a hand held out."""


def make(dice: Dice, wish: Wish, palette: tuple[str, ...]) -> Thing | None:
    """A thing as wished, in colours of `palette`; None where no colour is left."""
    left = colours.told_apart(palette, list(wish.near))
    if not left:
        return None
    name = dice.pick(left)
    if wish.entity == "sign":
        return _sign(dice, wish.radius, name)
    form = _form(dice, wish)
    cover, x, y = coverage(form.parts, form.holes)
    hand = None if form.hand is None else (form.hand[0] // SUB - x, form.hand[1] // SUB - y)
    thing = Thing(
        wish.entity,
        cover,
        (name,),
        (colours.fill_of(dice, name),),
        orientation=form.orientation,
        action=form.action,
        hand=hand,
    )
    return _with_second_colour(dice, thing, left) if dice.chance(TWO_COLOURS) else thing


def simple(dice: Dice, entity: str, size: int, name: str) -> Thing:
    """An untilted plain thing of one colour; `size` is half its extent in subpixels."""
    cover, _, _ = coverage(forms.plain_form(entity, size).parts)
    return Thing(entity, cover, (name,), (colours.fill_of(dice, name),))


def _form(dice: Dice, wish: Wish) -> forms.Form:
    size = SUB * max(wish.radius, LEAST_SIZE.get(wish.entity, 8))
    if wish.entity in forms.PLAIN:
        return forms.plain_form(wish.entity, size, dice.pick(forms.AXES["horizontal"]))
    if wish.entity == "figure":
        return figures.holding_figure(dice, size) if wish.holds else figures.figure(dice, size)
    draw = {
        "bar": forms.bar, "ellipse": forms.ellipse, "arrow": forms.arrow, "ring": forms.ring, "frame": forms.frame,
    }  # fmt: skip
    return draw[wish.entity](dice, size)


def _with_second_colour(dice: Dice, thing: Thing, palette: list[str]) -> Thing:
    """The thing in two colours, or as it is where the drawn pattern does not fit."""
    others = colours.told_apart(palette, thing.colours)
    pattern = patterns.any_pattern(dice, thing.own)
    if not others or pattern is None:
        return thing
    if thing.entity in HALVES_ONLY and pattern.material != "solid":
        return thing
    name = dice.pick(others)
    return replace(
        thing,
        colours=(*thing.colours, name),
        fills=(*thing.fills, colours.fill_of(dice, name)),
        second=pattern.weight,
        material=pattern.material,
        repeats=pattern.repeats,
    )


def _sign(dice: Dice, radius: int, name: str) -> Thing:
    """A plate with one to four characters, each dot of them at least 2 x 2 px."""
    room = max(1, min(4, (2 * max(radius, LEAST_SIZE["sign"]) - 6) // (2 * glyphs.PITCH)))
    text = _text(dice, room)
    columns = glyphs.PITCH * len(text) - 1
    dot = max(2, min(2 * radius // (columns + 4), 8))
    letters = glyphs.lettering(text, dot)
    ink = np.pad(letters, 2 * dot)
    height, width = ink.shape
    fill = colours.fill_of(dice, name)
    cover, _, _ = coverage(forms.plate(width, height).parts)
    lies = "horizontal" if 10 * width >= LONG_PLATE * height else "none"
    return Thing("sign", cover, (name,), (fill,), orientation=lies, text=text, ink=ink)


def _text(dice: Dice, room: int) -> str:
    """A word of at most `room` characters, or as many random ones."""
    words = [word for word in WORDS if len(word) <= room]
    if words and dice.chance(50):
        return dice.pick(words)
    return "".join(dice.pick(glyphs.CHARACTERS) for _ in range(dice.whole(1, room)))
