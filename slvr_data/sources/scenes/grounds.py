"""What lies behind the things: muted tones, plain or lightly textured, and the light on everything."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from slvr_data.sources.scenes.colours import FILLS, Rgb, distance2
from slvr_data.sources.scenes.dice import Dice

TONES: dict[Rgb, str] = {
    (212, 214, 216): "gray",
    (226, 212, 184): "white",
    (240, 234, 214): "white",
    (52, 60, 70): "gray",
    (44, 44, 48): "black",
    (150, 170, 190): "blue",
    (186, 200, 212): "blue",
    (168, 182, 154): "green",
    (206, 178, 178): "pink",
    (184, 160, 128): "brown",
    (84, 74, 66): "brown",
    (152, 138, 164): "purple",
}
"""Tone -> the colour term it comes nearest to, which no thing on it bears."""
CLEAR = 92
"""Least distance in RGB between a thing's colour and the tones behind it."""
CLOSE = 95
"""Most distance in RGB between the two tones of a gradient."""
RIPPLE = 8
"""Most that speckle and checker add to or take from a tone."""


@dataclass(frozen=True)
class Ground:
    """A ground; `texture` is "plain", "gradient", "speckle" or "checker"."""

    texture: str
    tone: Rgb
    other: Rgb
    """The tone at the far end of a gradient; `tone` otherwise."""
    upright: bool
    """Whether a gradient runs from top to bottom."""
    cell: int
    """Side of a checker's cell in pixels."""
    salt: int
    palette: tuple[str, ...]
    """The colours that stand out from it."""


@dataclass(frozen=True)
class Light:
    """Brightness in 256ths of the picture's first and last column (or row, where `upright`)."""

    first: int
    last: int
    upright: bool


def palette_on(tone: Rgb, other: Rgb) -> tuple[str, ...]:
    """The colours that stand out from both tones and from the one half way."""
    middle = (tone[0] + other[0]) // 2, (tone[1] + other[1]) // 2, (tone[2] + other[2]) // 2
    tones = (tone, middle, other)
    banned = {TONES[tone], TONES[other]}
    return tuple(
        name
        for name, fill in FILLS.items()
        if name not in banned and all(distance2(fill, t) >= CLEAR * CLEAR for t in tones)
    )


_PAIRS = [
    (a, b) for a in TONES for b in TONES if a != b and distance2(a, b) <= CLOSE * CLOSE and len(palette_on(a, b)) >= 5
]


def plain(dice: Dice) -> Ground:
    """One even tone."""
    tone = dice.pick(list(TONES))
    return Ground("plain", tone, tone, False, 0, 0, palette_on(tone, tone))


def any_ground(dice: Dice) -> Ground:
    """Any texture on any tone."""
    texture = dice.pick(("plain", "gradient", "speckle", "checker"))
    tone = other = dice.pick(list(TONES))
    if texture == "gradient":
        tone, other = dice.pick(_PAIRS)
    upright, cell, salt = dice.chance(50), dice.whole(10, 32), dice.below(1 << 31)
    return Ground(texture, tone, other, upright, cell, salt, palette_on(tone, other))


def any_light(dice: Dice) -> Light:
    """From 0.8 to 1.0 of full brightness, with a mild fall to one side."""
    first = dice.whole(205, 256)
    last = min(256, max(205, first + dice.whole(-30, 30)))
    return Light(first, last, dice.chance(50))


def paint(ground: Ground, width: int, height: int) -> NDArray[np.uint16]:
    """The ground's pixels [height, width, 3], 0 to 255."""
    pixels = np.empty((height, width, 3), np.uint16)
    pixels[:] = ground.tone
    if ground.texture == "gradient":
        pixels[:] = _along(_ramp(ground, height if ground.upright else width), ground.upright)
    elif ground.texture == "speckle":
        pixels += (_noise(width, height, ground.salt) % np.uint32(2 * RIPPLE + 1)).astype(np.uint16)[..., None]
        pixels -= np.uint16(RIPPLE)
    elif ground.texture == "checker":
        odd = (np.arange(height)[:, None] // ground.cell + np.arange(width) // ground.cell) % 2
        pixels += (2 * RIPPLE * odd).astype(np.uint16)[..., None]
        pixels -= np.uint16(RIPPLE)
    return pixels


def shine(pixels: NDArray[np.uint16], light: Light) -> None:
    """Dim the pixels [H, W, 3] in place."""
    length = pixels.shape[0 if light.upright else 1]
    steps = np.arange(length)
    factor = light.first + (light.last - light.first) * steps // (length - 1)
    pixels *= _along(factor.astype(np.uint16)[:, None], light.upright)
    pixels >>= np.uint16(8)


def _ramp(ground: Ground, length: int) -> NDArray[np.uint16]:
    """Colours [length, 3] from `tone` to `other`."""
    share = (np.arange(length) * 256 // (length - 1))[:, None]
    mixed = np.array(ground.tone, np.int64) * (256 - share) + np.array(ground.other, np.int64) * share
    return np.right_shift(mixed, 8).astype(np.uint16)


def _along(values: NDArray[np.uint16], upright: bool) -> NDArray[np.uint16]:
    """Values [length, c] shaped to spread over a picture's rows or columns."""
    return values[:, None] if upright else values[None]


def _noise(width: int, height: int, salt: int) -> NDArray[np.uint32]:
    """A hash of each pixel's place [height, width], in 32-bit arithmetic."""
    x = np.arange(width, dtype=np.uint32) * np.uint32(73856093)
    y = np.arange(height, dtype=np.uint32) * np.uint32(19349663)
    mixed = (x ^ (y + np.uint32(salt))[:, None]) * np.uint32(0x5BD1E995)
    mixed ^= mixed >> np.uint32(13)
    mixed *= np.uint32(0x5BD1E995)
    return mixed >> np.uint32(15)
