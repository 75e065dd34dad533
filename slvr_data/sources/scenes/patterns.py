"""Second colours: halves, stripes, checkers and dots, as weights over a thing's pixels.

A weight [h, w] of 0 to 16 says how much of a pixel has the second colour; a pixel counts as of the second
colour from 8 on. Every pattern repeats at least `LEAST` times within the thing, or is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from slvr_data.masks import BoolArray, bounds
from slvr_data.sources.scenes.dice import Dice
from slvr_data.sources.scenes.raster import FULL, HALF, SUB, Bytes, Oval, coverage

LEAST = 3
"""Periods (of stripes and checkers, along each of their axes) or dots that make a pattern visible."""
WEIGHTS = {"solid": 2, "striped": 3, "dotted": 3, "checkered": 3}
"""How often each material is tried for a thing of two colours."""


@dataclass(frozen=True, eq=False)
class Pattern:
    """A second colour's weights [h, w], and how often the pattern repeats (0 for halves)."""

    material: str
    weight: Bytes
    repeats: int


def any_pattern(dice: Dice, own: BoolArray) -> Pattern | None:
    """A pattern for the mask `own` [h, w] whose colours each have 30 % of it; None where the draw does not fit."""
    draw = {"solid": _halves, "striped": _stripes, "dotted": _dots, "checkered": _checkers}
    pattern = draw[dice.weighted(WEIGHTS)](dice, own)
    if pattern is None:
        return None
    total, second = int(own.sum()), int((own & (pattern.weight >= HALF)).sum())
    return pattern if 3 * total <= 10 * second <= 7 * total else None


def _halves(dice: Dice, own: BoolArray) -> Pattern:
    box = bounds(own)
    assert box is not None, "things have pixels"
    x, y = _grid(own)
    upper = y < (box[1] + box[3]) // 2 if dice.chance(50) else x < (box[0] + box[2]) // 2
    return Pattern("solid", _weight(np.broadcast_to(upper, own.shape)), 0)


def _stripes(dice: Dice, own: BoolArray) -> Pattern | None:
    x, y = _grid(own)
    phase = dice.pick((x + 0 * y, y + 0 * x, x + y, x - y + own.shape[0]))
    across = phase[own]
    extent = int(across.max() - across.min()) + 1
    half = dice.whole(3, min(9, extent // (2 * LEAST)))
    if extent < 2 * LEAST * half:
        return None
    return Pattern("striped", _weight((phase + dice.below(2 * half)) // half % 2 == 0), extent // (2 * half))


def _checkers(dice: Dice, own: BoolArray) -> Pattern | None:
    box = bounds(own)
    assert box is not None, "things have pixels"
    x, y = _grid(own)
    extent = min(box[2] - box[0], box[3] - box[1])
    cell = dice.whole(4, min(10, extent // (2 * LEAST)))
    if extent < 2 * LEAST * cell:
        return None
    cells = (x - box[0]) // cell + (y - box[1]) // cell
    return Pattern("checkered", _weight(cells % 2 == 0), extent // (2 * cell))


def _dots(dice: Dice, own: BoolArray) -> Pattern | None:
    height, width = own.shape
    pitch = dice.whole(8, min(14, max(height, width) // LEAST))
    left, top = dice.below(pitch), dice.below(pitch)
    tile = _dot(pitch)
    sheet = np.tile(tile, (height // pitch + 2, width // pitch + 2))[top : top + height, left : left + width]
    whole = _dots_within(own, pitch, left, top)
    if whole < 2 * LEAST:
        return None
    return Pattern("dotted", np.ascontiguousarray(sheet), whole)


def _dots_within(own: BoolArray, pitch: int, left: int, top: int) -> int:
    """How many of the dots lie wholly inside, judged by their centres and four outermost points."""
    height, width = own.shape
    reach, found = 2 * pitch // 5, 0
    for y in range(pitch // 2 - top, height, pitch):
        for x in range(pitch // 2 - left, width, pitch):
            if reach <= x < width - reach and reach <= y < height - reach:
                rim = own[y - reach, x], own[y + reach, x], own[y, x - reach], own[y, x + reach]
                found += all(rim) and bool(own[y, x])
    return found


@lru_cache(maxsize=64)
def _dot(pitch: int) -> Bytes:
    """One dot of 43 % of its tile [pitch, pitch]."""
    cover, x, y = coverage(
        [Oval((SUB * pitch // 2, SUB * pitch // 2), 37 * pitch * SUB // 100, 37 * pitch * SUB // 100)]
    )
    tile = np.zeros((pitch, pitch), np.uint8)
    tile[y : y + cover.shape[0], x : x + cover.shape[1]] = cover
    return tile


def _grid(own: BoolArray) -> tuple[np.ndarray[tuple[int, int], np.dtype[np.int64]], ...]:
    """Column numbers [1, w] and row numbers [h, 1]."""
    return np.arange(own.shape[1])[None, :], np.arange(own.shape[0])[:, None]


def _weight(second: BoolArray) -> Bytes:
    return np.ascontiguousarray(second).astype(np.uint8) * np.uint8(FULL)
