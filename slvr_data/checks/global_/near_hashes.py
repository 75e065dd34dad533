"""Pairs of 64-bit hashes that differ in few bits, found by multi-index hashing.

The hash is cut into four bands of 16 bits; two hashes within `MAX_DISTANCE` bits (7 at most) have a band in which they
differ by one bit at most. A pair is told of in the first such band, so that nothing must be remembered of it.

Many hashes may lie close together: those of blank pictures do. Memory does not grow with their pairs, and what has
become one group meanwhile is not paired any more.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from slvr_data.checks.global_.joined import Ints, Joined

MAX_DISTANCE = 6
"""Bits in which the hashes of near-identical pictures may differ."""
_BANDS, _BITS = 4, 16
_PIECE = 1 << 18
"""Pairs that are looked at at once, about."""
_ROWS = 1 << 16
"""Hashes whose lists are measured at once."""
_LARGE = 64
"""Hashes with one value of a band beyond four times what there are of each: there, groups are passed over."""

Hashes = NDArray[np.uint64]


def near_pairs(hashes: Hashes, joined: Joined, places: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Pairs (i, j), in pieces, of different hashes within `MAX_DISTANCE` bits; no pair comes twice.

    `places` are those of the hashes in `joined`: pairs of one group of it may be left out, also of groups that are
    joined between two pieces.
    """
    for band in range(_BANDS):
        values = ((hashes >> np.uint64(_BITS * band)) & np.uint64(0xFFFF)).astype(np.int64)
        lists = _Lists(values, joined, places)
        for flip in (0, *(1 << bit for bit in range(_BITS))):
            rows = np.flatnonzero((values & flip) == 0)  # of a pair that differs in one bit, the one without it
            while len(rows):
                left, right, taken = lists.piece(rows[:_ROWS], flip)
                rows = rows[taken:]
                yield _near(hashes, left, right, band, flip)


class _Lists:
    """Of each value of a band, the hashes that have it; in large lists, those of one group stand together."""

    def __init__(self, values: Ints, joined: Joined, places: Ints) -> None:
        self._values, self._joined, self._places = values, joined, places
        lengths = np.bincount(values, minlength=1 << _BITS)
        self._lengths, self._starts = lengths, np.cumsum(lengths) - lengths
        self._large = lengths > _LARGE + 4 * (len(values) >> _BITS)
        self._joins = -1
        self._labels = self._keys = values[:0]
        self._order = np.argsort(values, kind="stable")

    def piece(self, rows: Ints, flip: int) -> tuple[Ints, Ints, int]:
        """The first rows, as many as make a piece, with the hashes in the lists of their values, `flip` set; how many.

        A row in a large list is not paired with its own group.
        """
        wanted = self._values[rows] | flip
        first, sizes = self._starts[wanted], self._lengths[wanted]
        own, passed = first.copy(), np.zeros(len(rows), np.int64)
        large = np.flatnonzero(self._large[wanted])
        if len(large):
            self._renew()
            keys = _key(wanted[large], self._labels[rows[large]])
            own[large] = np.searchsorted(self._keys, keys, "left")
            passed[large] = np.searchsorted(self._keys, keys, "right") - own[large]
        sizes = sizes - passed
        taken = max(1, int(np.searchsorted(np.cumsum(sizes), _PIECE, "right")))
        sizes = sizes[:taken]
        which = np.repeat(np.arange(taken), sizes)
        at = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        at += passed[which] * (at >= own[which])
        return rows[which], self._order[at], taken

    def _renew(self) -> None:
        """Take in what was joined since the last time."""
        if self._joins != self._joined.joins:
            self._joins = self._joined.joins
            self._labels = self._joined.roots(self._places)
            keys = _key(self._values, self._labels)
            self._order = np.argsort(keys, kind="stable")
            self._keys = keys[self._order]


def _key(values: Ints, labels: Ints) -> Ints:
    return (values << 32) | labels


def _near(hashes: Hashes, left: Ints, right: Ints, band: int, flip: int) -> tuple[Ints, Ints]:
    """Those of the pairs that are near, and have not come before."""
    differ = hashes[left] ^ hashes[right]
    near = (np.bitwise_count(differ) <= MAX_DISTANCE) & (differ != 0)
    if not flip:  # both have the value
        near &= left < right
    for earlier in range(band):
        near &= np.bitwise_count((differ >> np.uint64(_BITS * earlier)) & np.uint64(0xFFFF)) > 1
    return left[near], right[near]
