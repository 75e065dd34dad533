"""Things at places: who covers whom, who touches whom, and what stays visible.

Lists of placed things run from back to front. All masks are in whole pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slvr_data.masks import BoolArray
from slvr_data.sources.scenes.things import Thing

GAP = 4
"""Least empty pixels, along the rows or the columns, between things that have nothing to do with each other."""

Corners = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Placed:
    """A thing whose window's top left pixel is (x, y)."""

    thing: Thing
    x: int
    y: int

    @property
    def window(self) -> Corners:
        """The box [x1, y1, x2, y2) of its window."""
        height, width = self.thing.cover.shape
        return self.x, self.y, self.x + width, self.y + height

    @property
    def box(self) -> Corners:
        """The box [x1, y1, x2, y2) of its own pixels, covered or not."""
        x1, y1, x2, y2 = self.thing.box
        return self.x + x1, self.y + y1, self.x + x2, self.y + y2

    def moved(self, x: int, y: int) -> Placed:
        """The same thing, `x` to the right and `y` down."""
        return Placed(self.thing, self.x + x, self.y + y)


def apart(a: Corners, b: Corners, gap: int) -> bool:
    """Whether two boxes have at least `gap` empty pixels between them along the rows or the columns."""
    return a[2] + gap <= b[0] or b[2] + gap <= a[0] or a[3] + gap <= b[1] or b[3] + gap <= a[1]


def around(boxes: Sequence[Corners]) -> Corners:
    """The smallest box that holds all boxes."""
    return (
        min(b[0] for b in boxes), min(b[1] for b in boxes), max(b[2] for b in boxes), max(b[3] for b in boxes),
    )  # fmt: skip


def shared(a: Placed, b: Placed) -> int:
    """How many pixels belong to both outlines."""
    mine, theirs = _meeting(a.thing.own, (a.x, a.y), b.thing.own, (b.x, b.y))
    return int((mine & theirs).sum())


def clear(a: Placed, b: Placed, gap: int) -> bool:
    """Whether no pixel of `b` lies within `gap` rows and columns of a pixel of `a`."""
    if apart(a.box, b.box, gap):
        return True
    grown = _grown(a.thing.own, gap)
    mine, theirs = _meeting(grown, (a.x - gap, a.y - gap), b.thing.own, (b.x, b.y))
    return not (mine & theirs).any()


def visible(placed: Sequence[Placed]) -> list[BoolArray]:
    """For each thing, the pixels [h, w] of its window that are its own and of none in front of it."""
    masks = []
    for i, lower in enumerate(placed):
        mask = lower.thing.own.copy()
        for upper in placed[i + 1 :]:
            if not apart(lower.window, upper.window, 0):
                mine, theirs = _meeting(mask, (lower.x, lower.y), upper.thing.own, (upper.x, upper.y))
                mine[theirs] = False
        masks.append(mask)
    return masks


def overlaps(placed: Sequence[Placed]) -> list[tuple[int, int]]:
    """The pairs (lower, upper) whose outlines share pixels."""
    pairs = [(i, j) for j in range(len(placed)) for i in range(j)]
    return [(i, j) for i, j in pairs if not apart(placed[i].box, placed[j].box, 0) and shared(placed[i], placed[j])]


def _meeting(a: BoolArray, a_at: tuple[int, int], b: BoolArray, b_at: tuple[int, int]) -> tuple[BoolArray, BoolArray]:
    """The views of both masks on the part of the picture where their windows meet, which may be empty."""
    x1, y1 = max(a_at[0], b_at[0]), max(a_at[1], b_at[1])
    x2 = max(x1, min(a_at[0] + a.shape[1], b_at[0] + b.shape[1]))
    y2 = max(y1, min(a_at[1] + a.shape[0], b_at[1] + b.shape[0]))
    mine = a[y1 - a_at[1] : y2 - a_at[1], x1 - a_at[0] : x2 - a_at[0]]
    return mine, b[y1 - b_at[1] : y2 - b_at[1], x1 - b_at[0] : x2 - b_at[0]]


def _grown(mask: BoolArray, by: int) -> BoolArray:
    """The mask [h, w] widened by `by` pixels on every side: [h + 2 * by, w + 2 * by]."""
    height, width = mask.shape
    wide = np.zeros((height, width + 2 * by), bool)
    for shift in range(2 * by + 1):
        wide[:, shift : shift + width] |= mask
    tall = np.zeros((height + 2 * by, width + 2 * by), bool)
    for shift in range(2 * by + 1):
        tall[shift : shift + height] |= wide
    return tall
