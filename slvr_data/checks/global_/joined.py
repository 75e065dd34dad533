"""What belongs together: places 0, 1, 2, ... that are joined two by two (a union-find), 8 bytes each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


class Joined:
    """Groups of places; at first each place is a group."""

    def __init__(self, places: int) -> None:
        self._above = np.arange(places, dtype=np.int32)
        self._size = np.ones(places, np.int32)
        self.joins = 0
        """How many groups have become part of another."""

    def root(self, place: int) -> int:
        """What is equal for the places of a group, until the next `join`."""
        while (above := int(self._above[place])) != place:
            place = above
        return place

    def roots(self, places: Ints) -> Ints:
        """`root` of each."""
        found = self._above[places]
        while (found != (further := self._above[found])).any():  # as often as the logarithm of the largest group
            found = further
        return found.astype(np.int64)

    def join(self, one: int, other: int) -> None:
        """Make one group of two places' groups."""
        one, other = self.root(one), self.root(other)
        if one == other:
            return
        if self._size[one] < self._size[other]:
            one, other = other, one
        self._above[other] = one
        self._size[one] += self._size[other]
        self.joins += 1

    def groups(self) -> list[Ints]:
        """Groups of two and more places, each in order, in order of their first."""
        roots = self.roots(np.arange(len(self._above)))
        together = np.flatnonzero(self._size[roots] > 1)
        if not len(together):
            return []
        by_root = together[np.argsort(roots[together], kind="stable")]
        starts = np.flatnonzero(np.diff(roots[by_root])) + 1
        return sorted(np.split(by_root, starts), key=lambda group: int(group[0]))
