"""What a question writer sees of a picture: its published regions, and what is known of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from slvr_data.schema import AttributeRow


@dataclass(frozen=True)
class RegionView:
    """A published region, with the short-cuts that references and templates use."""

    row: AttributeRow

    @property
    def label(self) -> str | None:
        """In lower case."""
        return self.row.label.lower() if self.row.label else None

    @property
    def count(self) -> int | None:
        """How many things of its label the picture has, where that is known."""
        return self.row.profile.peers.same_label_count

    @property
    def colors(self) -> list[str] | None:
        """Known colours; None where unknown."""
        return self.row.profile.appearance.colors

    @property
    def center(self) -> tuple[float, float]:
        """Of the box, in pixels."""
        x1, y1, x2, y2 = self.row.bbox
        return (x1 + x2) / 2, (y1 + y2) / 2

    @property
    def area(self) -> float:
        """Of the box, in pixels."""
        x1, y1, x2, y2 = self.row.bbox
        return (x2 - x1) * (y2 - y1)


@dataclass(frozen=True)
class PictureView:
    """A picture's published regions; size in pixels."""

    image_id: str
    width: int
    height: int
    regions: Sequence[RegionView]
    remembered: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What has been worked out about regions, by region_id (`slvr_data.queries.references`)."""

    @cached_property
    def by_label(self) -> dict[str, list[RegionView]]:
        """Regions that are one thing each, by label."""
        found: dict[str, list[RegionView]] = {}
        for region in self.regions:
            if region.label is not None and not region.row.iscrowd:
                found.setdefault(region.label, []).append(region)
        return found

    def all_of(self, label: str) -> list[RegionView] | None:
        """Every thing with that label in the picture, or None where some may be missing.

        Complete only where the count is known and all of them are published.
        """
        found = self.by_label.get(label, [])
        if not found or any(region.count != len(found) for region in found):
            return None
        return found
