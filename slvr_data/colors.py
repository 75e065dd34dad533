"""Naming colours: a perceptual palette over CIELAB, and what a set of pixels plainly is.

A colour is named by the eleven basic colour terms of English (Berlin and Kay 1969). RGB is read as sRGB
and named in CIE L*C*h (D65), where the borders between terms are simple; a pixel near a border gets no
name, so that shadows and blends do not vote.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

COLORS = ("black", "white", "gray", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
UNNAMED = len(COLORS)
"""Index of "no plain name" in the look-up table."""

_HUES = {"red": 30, "orange": 62, "yellow": 95, "green": 145, "blue": 270, "purple": 322, "pink": 0, "brown": 62}
"""Typical CIE hue angles in degrees."""
_ACHROMATIC = frozenset({"black", "white", "gray"})
_BITS = 5
_INDEX = {name: i for i, name in enumerate(COLORS)}


def lab(rgb: NDArray[np.floating]) -> NDArray[np.float64]:
    """CIELAB (D65) of sRGB values in 0..255; shape [..., 3] to [..., 3]."""
    c = np.asarray(rgb, dtype=np.float64) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    matrix = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    xyz = linear @ matrix.T / np.array([0.95047, 1.0, 1.08883])
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


def _names(lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The index into `COLORS` of each CIE L*C*h value (h in degrees), or `UNNAMED`."""
    names = np.full(lightness.shape, UNNAMED, dtype=np.uint8)

    def name(color: str, where: NDArray[np.bool_]) -> None:
        names[where & (names == UNNAMED)] = _INDEX[color]

    name("black", (lightness < 20) & (chroma < 14))
    name("white", (lightness > 84) & (chroma < 9))
    name("gray", (lightness > 30) & (lightness < 57) & (chroma < 9))
    vivid = (chroma > 18) & (lightness > 16)
    name("pink", vivid & ((hue >= 330) | (hue < 36)) & (lightness > 64))
    name("pink", vivid & ((hue >= 330) | (hue < 18)) & (lightness > 52) & (chroma > 28))
    name("red", vivid & ((hue >= 352) | (hue < 46)) & (chroma > 38) & (lightness < 62))
    name("brown", (chroma > 14) & (hue >= 30) & (hue < 84) & (lightness > 16) & (lightness < 52) & (chroma < 52))
    name("orange", vivid & (hue >= 44) & (hue < 76) & (lightness >= 52) & (chroma > 48))
    name("yellow", vivid & (hue >= 80) & (hue < 112) & (lightness > 66) & (chroma > 45))
    name("green", (chroma > 20) & (hue >= 112) & (hue < 190) & (lightness > 14))
    name("blue", (chroma > 24) & (hue >= 222) & (hue < 301) & (lightness > 14))
    name("purple", (chroma > 22) & (hue >= 306) & (hue < 346) & (lightness > 12) & (lightness < 62))
    return names


@cache
def _lab_table() -> NDArray[np.float64]:
    """CIELAB of every RGB triple at five bits per channel; shape [32768, 3]."""
    steps = (np.arange(1 << _BITS) + 0.5) * (256 >> _BITS)
    red, green, blue = np.meshgrid(steps, steps, steps, indexing="ij")
    return lab(np.stack([red, green, blue], -1).reshape(-1, 3))


def _entry(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Row of the tables for each pixel; uint8 [..., 3] to int32 [...]."""
    high = (rgb >> (8 - _BITS)).astype(np.int32)
    entry: NDArray[np.int32] = (high[..., 0] << (2 * _BITS)) | (high[..., 1] << _BITS) | high[..., 2]
    return entry


@cache
def lookup() -> NDArray[np.uint8]:
    """Colour index of every RGB triple at five bits per channel; shape [32768]."""
    values = _lab_table()
    hue = np.degrees(np.arctan2(values[:, 2], values[:, 1])) % 360
    return _names(values[:, 0], np.hypot(values[:, 1], values[:, 2]), hue)


def name_pixels(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Index into `COLORS` of each pixel, or `UNNAMED`; uint8 [..., 3] to uint8 [...]."""
    names: NDArray[np.uint8] = lookup()[_entry(rgb)]
    return names


def told_colors(rgb: NDArray[np.uint8]) -> frozenset[str]:
    """The colours that can be told in the light of a picture, from a sample of its pixels, uint8 [..., 3].

    None in a grey photograph or in the dark. Under a tinted light (all of the picture's chroma points one
    way) only those far from the tint, and black: there a brown thing may as well be a white one.
    """
    values = _lab_table()[_entry(rgb).ravel()]
    a, b = values[:, 1], values[:, 2]
    chroma = np.hypot(a, b)
    median, bright = np.percentile(values[:, 0], (50, 95))
    if (chroma > 10).mean() < 0.02 or bright < 62 or median < 20:
        return frozenset()
    one_way = np.hypot(a.sum(), b.sum()) / chroma.sum()
    if one_way < 0.92 or np.median(chroma) < 16:
        return frozenset(COLORS)
    tint = float(np.degrees(np.arctan2(b.sum(), a.sum())))
    far = {name for name, hue in _HUES.items() if abs((hue - tint + 180) % 360 - 180) >= 60}
    return frozenset(far | {"black"})


def shares(names: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The share of each of `COLORS`, and last of unnamed pixels; shape [12], adds up to 1 (0 for no pixels)."""
    counts = np.bincount(names.ravel(), minlength=len(COLORS) + 1)
    return counts / max(1, names.size)


def plain_colors(share: NDArray[np.float64], first: float, second: float, together: float) -> list[str] | None:
    """The one or two colours that pixels plainly have, the most frequent first, or None.

    `share` is as `shares` gives it. One colour is plain from the share `first`; two where the second has
    at least `second` and both `together`. Beside a chromatic colour, black, white or grey may be shadow or
    glare: they count as a colour of the thing from one and a half times that share.
    """
    named = share[: len(COLORS)]
    order = np.argsort(-named, kind="stable")
    top, other = int(order[0]), int(order[1])
    mixed = (COLORS[top] in _ACHROMATIC) != (COLORS[other] in _ACHROMATIC)
    least = 1.5 * second if mixed else second
    if named[other] >= least and named[top] + named[other] >= together:
        return [COLORS[top], COLORS[other]]
    if named[top] >= first and named[other] < least:
        return [COLORS[top]]
    return None


CONFUSED = (
    {"red", "orange"}, {"red", "pink"}, {"red", "brown"}, {"orange", "brown"}, {"orange", "yellow"},
    {"pink", "purple"}, {"purple", "blue"}, {"gray", "white"}, {"gray", "black"}, {"brown", "black"},
    {"yellow", "white"}, {"green", "blue"},
)  # fmt: skip
"""Pairs of colours that people disagree on: of one and the same thing in one light."""
_ALIKE = (
    {"red", "orange"}, {"red", "pink"}, {"red", "brown"}, {"red", "purple"}, {"orange", "brown"},
    {"orange", "yellow"}, {"orange", "pink"}, {"pink", "purple"}, {"purple", "blue"}, {"gray", "white"},
    {"gray", "black"}, {"gray", "blue"}, {"gray", "brown"}, {"gray", "green"}, {"brown", "black"},
    {"brown", "yellow"}, {"yellow", "white"}, {"yellow", "green"}, {"green", "blue"}, {"pink", "white"},
    {"black", "blue"}, {"black", "purple"}, {"black", "green"}, {"white", "brown"},
)  # fmt: skip
"""Pairs of terms that two people may use for one and the same thing, in one light or another."""
ALIKE = {name: frozenset({name}).union(*(pair for pair in _ALIKE if name in pair)) for name in COLORS}
"""Colour -> itself and the terms that somebody may use instead."""


def _reach(
    lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]
) -> dict[str, NDArray[np.bool_]]:
    """Where in L*C*h somebody may still use each term: wide and overlapping, for shadow, glare and tinted light."""
    some = chroma > np.where((lightness < 25) | (lightness > 85), 11.0, 7.0)
    return {
        "black": (lightness < 26) | ((lightness < 44) & (chroma < 26)),
        "white": (lightness > 52) & (chroma < 28),
        "gray": (lightness > 14) & (lightness < 92) & (chroma < 20),
        "red": (chroma > 15) & ((hue >= 338) | (hue < 58)),
        "orange": (chroma > 20) & (hue >= 24) & (hue < 92) & (lightness > 28),
        "yellow": (chroma > 15) & (hue >= 62) & (hue < 122) & (lightness > 34),
        "green": some & (hue >= 101) & (hue < 218),
        "blue": some & (hue >= 192) & (hue < 314),
        "purple": some & (hue >= 278) & (hue < 356),
        "pink": some & ((hue >= 302) | (hue < 58)) & (lightness > 36),
        "brown": (chroma > 6) & (chroma < 62) & (hue >= 18) & (hue < 108) & (lightness > 8) & (lightness < 74),
    }


@cache
def reach() -> NDArray[np.uint16]:
    """For every RGB triple at five bits per channel, a bit for each of `COLORS` that it may be called; [32768]."""
    values = _lab_table()
    hue = np.degrees(np.arctan2(values[:, 2], values[:, 1])) % 360
    bits = np.zeros(len(values), dtype=np.uint16)
    for name, where in _reach(values[:, 0], np.hypot(values[:, 1], values[:, 2]), hue).items():
        bits |= where.astype(np.uint16) << np.uint16(_INDEX[name])
    return bits


@cache
def _vivid_and_bright() -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Which RGB triples are vivid, which are bright without a tint, and the hue of each; shape [32768]."""
    values = _lab_table()
    chroma = np.hypot(values[:, 1], values[:, 2])
    hue = np.degrees(np.arctan2(values[:, 2], values[:, 1])) % 360
    return (chroma > 28) & (values[:, 0] > 22), (values[:, 0] > 55) & (chroma < 12), hue


def tint_of(rgb: NDArray[np.uint8]) -> float | None:
    """The hue angle of the light in degrees where all colours of a picture point that way, from a sample of it."""
    values = _lab_table()[_entry(rgb).ravel()]
    a, b = values[:, 1], values[:, 2]
    chroma = np.hypot(a, b)
    one_way = np.hypot(a.sum(), b.sum()) / max(float(chroma.sum()), 1e-9)
    if one_way < 0.85 or np.median(chroma) < 10:
        return None
    return float(np.degrees(np.arctan2(b.sum(), a.sum())) % 360)


def _telling(entry: NDArray[np.int32], tint: float | None) -> NDArray[np.bool_]:
    """Which pixels tell their colour in any light: bright ones without a tint, and vivid ones of another hue."""
    vivid, bright, hue = _vivid_and_bright()
    tells = vivid[entry]
    if tint is not None:
        tells = tells & (np.abs((hue[entry] - tint + 180) % 360 - 180) >= 60)
    return np.asarray(tells | bright[entry])


def allowed(rgb: NDArray[np.uint8], names: Sequence[str]) -> list[float]:
    """The share of pixels, uint8 [n, 3], that may be called each of `names`."""
    return _shares_of(reach()[_entry(rgb)], names)


def allowed_in_odd_light(rgb: NDArray[np.uint8], names: Sequence[str], tint: float | None) -> list[float]:
    """The same in the dark or under a tinted light: a pixel that does not tell its colour may be called anything."""
    entry = _entry(rgb)
    anything = np.where(_telling(entry, tint), 0, (1 << len(COLORS)) - 1).astype(np.uint16)
    return _shares_of(reach()[entry] | anything, names)


def _shares_of(bits: NDArray[np.uint16], names: Sequence[str]) -> list[float]:
    return [np.count_nonzero(bits & np.uint16(1 << _INDEX[name])) / max(1, len(bits)) for name in names]


def is_gray(rgb: NDArray[np.uint8]) -> bool:
    """Whether a picture has hardly any colour, from a sample of its pixels, uint8 [..., 3]."""
    values = _lab_table()[_entry(rgb).ravel()]
    return bool((np.hypot(values[:, 1], values[:, 2]) > 10).mean() < 0.02)
