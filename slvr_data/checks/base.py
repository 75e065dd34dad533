"""What a local check sees, and how it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from slvr_data import masks
from slvr_data.annotators.base import AnnotatedPicture
from slvr_data.schema import AttributeProfile, Region, Verdict

_SAMPLE_PIXELS = 2048
"""At most about this many pixels of a region are looked at."""
_THIN_SIDE = 96
"""Regions of a shorter side lose the pixels along their border, which are blends with what is behind."""


@dataclass
class CheckedRegion:
    """A region, its profile, and the picture with all its regions."""

    picture: AnnotatedPicture
    region: Region
    profile: AttributeProfile

    @cached_property
    def regions_by_id(self) -> dict[str, Region]:
        """All that is annotated on the picture, what cannot be cropped included."""
        return {region.region_id: region for region in (*self.picture.regions, *self.picture.unusable)}

    @cached_property
    def others(self) -> list[Region]:
        """All that is annotated on the picture but this region."""
        return [other for key, other in self.regions_by_id.items() if key != self.region.region_id]

    @cached_property
    def window(self) -> tuple[int, int, int, int]:
        """The whole pixels of the picture that the box touches, [x1, y1, x2, y2); at least one."""
        width, height = self.picture.width, self.picture.height
        x1 = min(max(0, int(self.region.bbox[0])), width - 1)
        y1 = min(max(0, int(self.region.bbox[1])), height - 1)
        x2 = min(width, max(x1 + 1, -int(-self.region.bbox[2] // 1)))
        y2 = min(height, max(y1 + 1, -int(-self.region.bbox[3] // 1)))
        return x1, y1, x2, y2

    @cached_property
    def inside(self) -> NDArray[np.bool_] | None:
        """The mask in `window`; None without a mask, or where it does not fit the picture."""
        mask = self.region.mask
        if mask is None or mask.size != [self.picture.height, self.picture.width]:
            return None
        return masks.window(mask, self.window)

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """A sample of the pixels that surely show the thing, [n, 3]: of its mask, or of the middle of its box."""
        x1, y1, x2, y2 = self.window
        inside = self.inside
        if inside is None:
            dx, dy = (x2 - x1) // 5, (y2 - y1) // 5
            x1, y1, x2, y2 = x1 + dx, y1 + dy, x2 - dx, y2 - dy
        elif min(inside.shape) < _THIN_SIDE:
            inside = inner(inside)
        step = max(1, int(((x2 - x1) * (y2 - y1) / _SAMPLE_PIXELS) ** 0.5))
        sample = self.picture.array[y1:y2:step, x1:x2:step]
        return sample.reshape(-1, 3) if inside is None else sample[inside[::step, ::step]]


def inner(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask whose four neighbours belong to it too; the mask itself where few are left."""
    framed = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), dtype=np.bool_)
    framed[1:-1, 1:-1] = mask
    core = mask & framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    return core if np.count_nonzero(core) >= 48 else mask


LocalCheck = Callable[[CheckedRegion], Verdict]


def passed(check: str) -> Verdict:
    """The verdict of a check that found nothing."""
    return Verdict(check=check, verdict="pass")


def failed(check: str, reason: str, evidence: str) -> Verdict:
    """The verdict of a check that found something: a stable code, and what it saw."""
    return Verdict(check=check, verdict="fail", reason=reason, evidence=evidence)


def not_applicable(check: str) -> Verdict:
    """The verdict of a check whose question does not arise."""
    return Verdict(check=check, verdict="not applicable")
