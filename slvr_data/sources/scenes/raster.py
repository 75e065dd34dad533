"""Outlines to pixel coverage, in whole numbers only.

An outline is measured in subpixels, four to the pixel, x to the right and y down. A pixel's coverage is how
many of its 4 x 4 sample points (the centres of the subpixels) lie inside: 0 to 16. No floating point and no
drawing library takes part, because both differ between versions and processors (Pillow 11.0 and 11.3 fill
the same polygon differently), and a scene must have the same pixels everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

FULL = 16
"""Coverage of a pixel that lies wholly inside."""
HALF = 8
SUB = 4
"""Subpixels along a pixel's side."""

Point = tuple[int, int]
Axis = tuple[int, int, int]
"""A direction (p, q) of whole length n, as (p, q, n): p*p + q*q == n*n."""
UPRIGHT: Axis = (1, 0, 1)
Bytes = NDArray[np.uint8]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Polygon:
    """A convex polygon; its corners run clockwise as seen on the screen."""

    corners: tuple[Point, ...]

    def bounds(self) -> tuple[int, int, int, int]:
        """The box [x1, y1, x2, y2) in subpixels."""
        xs, ys = [x for x, _ in self.corners], [y for _, y in self.corners]
        return min(xs), min(ys), max(xs), max(ys)

    def spans(self) -> tuple[Rows, Rows]:
        """For each row of `bounds`, the first subpixel inside and the one after the last.

        Works in half subpixels, where sample points are the odd numbers.
        """
        _, top, _, bottom = self.bounds()
        y = 2 * np.arange(top, bottom) + 1
        first, last = np.full(len(y), -(1 << 40)), np.full(len(y), 1 << 40)
        for (ax, ay), (bx, by) in zip(self.corners, self.corners[1:] + self.corners[:1], strict=True):
            dx, dy = bx - ax, by - ay
            if dy:
                limit = dx * (y - 2 * ay) + 2 * dy * ax  # inside is where dy * x <= limit
                if dy > 0:
                    np.minimum(last, limit // dy, out=last)
                else:
                    np.maximum(first, -(limit // -dy), out=first)
        return first >> 1, (last + 1) >> 1


@dataclass(frozen=True)
class Oval:
    """An ellipse with half axes `along` the direction `axis` and `across` it."""

    centre: Point
    along: int
    across: int
    axis: Axis = UPRIGHT

    def bounds(self) -> tuple[int, int, int, int]:
        """A box [x1, y1, x2, y2) in subpixels that holds it, not always the smallest."""
        (x, y), reach = self.centre, max(self.along, self.across)
        return x - reach, y - reach, x + reach, y + reach

    def spans(self) -> tuple[Rows, Rows]:
        """For each row of `bounds`, the first subpixel inside and the one after the last."""
        first, last = _oval_spans(self.along, self.across, self.axis)
        return first + self.centre[0], last + self.centre[0]


@lru_cache(maxsize=4096)
def _oval_spans(along: int, across: int, axis: Axis) -> tuple[Rows, Rows]:
    """Spans of an oval around the origin: a x^2 + 2 b x y + c y^2 <= d, solved for x with exact roots."""
    p, q, n = axis
    u, v = 4 * across * across, 4 * along * along
    a, b, c = u * p * p + v * q * q, p * q * (u - v), u * q * q + v * p * p
    d = u * v * n * n
    reach = max(along, across)
    first, last = [], []
    for y in range(1 - 2 * reach, 2 * reach, 2):
        rest = b * b * y * y - a * (c * y * y - d)
        root = isqrt(rest) if rest >= 0 else -1
        first.append(-((root + b * y) // a) >> 1 if rest >= 0 else 0)
        last.append(((root - b * y) // a + 1) >> 1 if rest >= 0 else 0)
    return np.array(first, np.int64), np.array(last, np.int64)


Part = Polygon | Oval


def coverage(parts: Sequence[Part], holes: Sequence[Part] = ()) -> tuple[Bytes, int, int]:
    """The union of `parts` without `holes` as coverage [h, w] of 0 to 16, and the pixel of its top left corner.

    The array is cut to the pixels that are covered at all.
    """
    boxes = [part.bounds() for part in parts]
    left, top = min(b[0] for b in boxes) // SUB, min(b[1] for b in boxes) // SUB
    right, bottom = -(-max(b[2] for b in boxes) // SUB), -(-max(b[3] for b in boxes) // SUB)
    fine = np.zeros((SUB * (bottom - top), SUB * (right - left)), np.uint8)
    for part in parts:
        _paint(fine, part, SUB * left, SUB * top, 1)
    for hole in holes:
        _paint(fine, hole, SUB * left, SUB * top, 0)
    cover = _reduced(fine)
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    y, x = int(rows[0]), int(columns[0])
    cut = cover[y : int(rows[-1]) + 1, x : int(columns[-1]) + 1]
    return np.ascontiguousarray(cut), left + x, top + y


def _paint(fine: Bytes, part: Part, left: int, top: int, value: int) -> None:
    """Set the subpixels of `fine` [4h, 4w] inside `part` to `value`; `left` and `top` are its first subpixel."""
    x1, y1, x2, y2 = part.bounds()
    first, last = part.spans()
    columns = np.arange(x1, x2)
    inside = (columns >= first[:, None]) & (columns < last[:, None])
    fine[y1 - top : y2 - top, x1 - left : x2 - left][inside] = value


def _reduced(fine: Bytes) -> Bytes:
    """Sums [h, w] over the 4 x 4 blocks of zeros and ones [4h, 4w]."""
    rows = np.ascontiguousarray(fine[0::4] + fine[1::4] + fine[2::4] + fine[3::4])
    # four neighbours are one 32-bit word; the product's top byte is the sum of its bytes
    return ((rows.view(np.uint32) * np.uint32(0x01010101)) >> np.uint32(24)).astype(np.uint8)
