"""Randomness that is the same on every machine and under every version of Python.

Only `random.Random(text).random()` is used, whose sequence Python guarantees; everything is derived here.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """A stream of choices that depends on nothing but `text`."""

    def __init__(self, text: str) -> None:
        self._random = random.Random(text).random

    def below(self, n: int) -> int:
        """A whole number from 0 to n - 1."""
        return int(self._random() * n)

    def whole(self, low: int, high: int) -> int:
        """A whole number from `low` to `high`, both included; `low` where the range is empty."""
        return low + self.below(max(1, high - low + 1))

    def chance(self, percent: int) -> bool:
        """True in `percent` of 100 throws."""
        return self.below(100) < percent

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, each as likely."""
        return items[self.below(len(items))]

    def weighted(self, weights: dict[T, int]) -> T:
        """One of the keys, as likely as its weight."""
        point = self.below(sum(weights.values()))
        for item, weight in weights.items():
            point -= weight
            if point < 0:
                return item
        raise AssertionError("weights are positive")
