"""The basic colour terms, what they look like here, and which of them can be told apart."""

from __future__ import annotations

from collections.abc import Sequence

from slvr_data.sources.scenes.dice import Dice

Rgb = tuple[int, int, int]

FILLS: dict[str, Rgb] = {
    "red": (214, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 215, 50),
    "green": (46, 150, 70),
    "blue": (45, 95, 205),
    "purple": (125, 60, 165),
    "pink": (245, 150, 190),
    "brown": (120, 72, 35),
    "black": (28, 28, 30),
    "white": (245, 245, 245),
    "gray": (130, 130, 132),
}
JITTER = 12
"""Most that a fill's channel may differ from its colour's."""
APART = 90
"""Least distance in RGB between the colours of two things that meet."""


def distance2(a: Rgb, b: Rgb) -> int:
    """Squared distance in RGB."""
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


_CLASHES = {a: frozenset(b for b in FILLS if distance2(FILLS[a], FILLS[b]) < APART * APART) for a in FILLS}


def told_apart(palette: Sequence[str], near: Sequence[str]) -> list[str]:
    """The names in `palette` that contrast with every name in `near`."""
    return [name for name in palette if not any(name in _CLASHES[other] for other in near)]


def fill_of(dice: Dice, name: str) -> Rgb:
    """One shade of the colour: up to 12 more or less in each channel."""
    red, green, blue = FILLS[name]
    return _shade(dice, red), _shade(dice, green), _shade(dice, blue)


def _shade(dice: Dice, channel: int) -> int:
    return min(255, max(0, channel + dice.whole(-JITTER, JITTER)))


def ink_on(plate: Rgb) -> Rgb:
    """Black or white, whichever stands out more from the plate's colour."""
    light = (30 * plate[0] + 59 * plate[1] + 11 * plate[2]) // 100
    return (18, 18, 18) if light > 140 else (250, 250, 250)
