"""What a reward or a distance can be at least and at most."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    """Least and largest value of a reward or a distance, both included."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"

    @property
    def width(self) -> float:
        """Largest difference between two values."""
        return self.high - self.low

    def times(self, factor: float) -> Range:
        """The range of `factor` times a value; 0 times anything is 0."""
        ends = sorted((0.0 if factor == 0 else factor * self.low, 0.0 if factor == 0 else factor * self.high))
        return Range(*(end + 0.0 for end in ends))

    def plus(self, other: Range) -> Range:
        """The range of a sum."""
        return Range(self.low + other.low, self.high + other.high)


DISTANCES = {"cosine": Range(0.0, 2.0), "l2": Range(0.0, math.inf)}
"""How far two vectors can be apart: 1 - cos, or the Euclidean norm of their difference."""
