"""The nine classes of errors that the SLVR paper counted, and what an injected error is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Generic, TypeVar

from slvr_data.queries.view import PictureView, RegionView

COUNTS = {
    "color": 5873,
    "action/pose": 4286,
    "spatial": 3912,
    "hallucinated attribute": 3476,
    "invisible object": 3158,
    "held object": 2941,
    "ambiguous reference": 2834,
    "vague": 2267,
    "other": 710,
}
"""Wrong annotations among about 404,000, by class: table of the SLVR paper (arXiv 2605.19342)."""
CLASSES = tuple(COUNTS)
SHARES = {name: count / sum(COUNTS.values()) for name, count in COUNTS.items()}
"""Of all errors."""
ERROR_RATE = 0.0729
"""Share of annotations that the paper found wrong."""

T = TypeVar("T")


@dataclass(frozen=True)
class Corruption(Generic[T]):
    """A record with one error in it."""

    error: str
    """One of `CLASSES`."""
    kind: str
    """What was done, e.g. "size"."""
    record: T


@dataclass(frozen=True)
class Surroundings:
    """What an injected error can be made of."""

    picture: PictureView
    region: RegionView
    vocabulary: Sequence[str] = field(default=())
    """Labels of the whole set, in lower case."""

    @property
    def absent(self) -> list[str]:
        """Labels of the set of which the picture has nothing."""
        here = {region.label for region in self.picture.regions}
        here |= {(region.row.profile.appearance.entity or "").lower() for region in self.picture.regions}
        return sorted(label for label in self.vocabulary if label not in here)

    @property
    def others(self) -> list[RegionView]:
        """The other regions of the picture."""
        return [region for region in self.picture.regions if region is not self.region]


def dice(seed: int, *parts: str) -> Random:
    """A generator that depends on nothing but its arguments."""
    return Random(":".join((str(seed), *parts)))


def pick(random: Random, items: Sequence[T]) -> T | None:
    """One of the items; None of none."""
    return random.choice(items) if items else None
