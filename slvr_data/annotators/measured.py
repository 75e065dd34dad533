"""The `measured` annotator: what pixels, masks and labels truly tell, and *unknown* for the rest.

It never guesses: a colour is named only where the pixels plainly have it, an orientation only where the
mask plainly has a main axis, a count only where every instance of the label is annotated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from slvr_data import colors, geometry, masks
from slvr_data.annotators.base import AnnotatedPicture, Failure, Profile
from slvr_data.moments import second_moments
from slvr_data.schema import Appearance, AttributeProfile, Link, Peers, Provenance, Region, Spatial

_NEAR = 0.9063077870366499
"""The cosine of 25 degrees: twice the angle up to which an axis has a word's direction."""

NO_COLOR_OF_THEIR_OWN = frozenset(
    [
        "person",
        "people",
        "man",
        "woman",
        "boy",
        "girl",
        "child",
        "kid",
        "baby",
        "lady",
        "guy",
        "player",
        "pedestrian",
        "rider",
        "skier",
        "surfer",
        "face",
        "hand",
        "arm",
        "leg",
        "glass",
        "wineglass",
        "mirror",
        "window",
        "bubble",
        "water",
    ]
)
"""Head words of labels whose pixels show something else: the clothes of people, what is behind or before glass."""


_GRAY_SHARE = 0.55
"""Of the brightness of the picture's bright parts, up to which something without hue is grey and not white."""
_COVERED_SHARE = 0.5
"""Of a box, from which another, larger box over it makes it likely that part of the thing is hidden."""


class MeasuredConfig(BaseModel):
    """When the `measured` annotator calls something plain."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    color_first: float = Field(0.55, gt=0, le=1)
    """Share of the mask's pixels from which one colour is named."""
    color_second: float = Field(0.22, gt=0, le=1)
    """Share from which a second colour is named."""
    color_together: float = Field(0.7, gt=0, le=1)
    """Share that two named colours cover together."""
    box_color_first: float = Field(0.8, gt=0, le=1)
    """Share of the box's inner part from which a colour is named where there is no mask."""
    min_color_pixels: int = Field(48, ge=1)
    """Below this many sampled pixels no colour is named."""
    sample_pixels: int = Field(4096, ge=64)
    """At most about this many pixels of a region are looked at."""
    min_elongation: float = Field(2.5, gt=1)
    """Ratio of the principal axes' lengths from which a mask has an orientation."""
    max_relations: int = Field(4, ge=0)
    """Relations are measured to this many of the nearest other regions."""


class Measured:
    """See the module."""

    name = "measured"

    def __init__(self, config: MeasuredConfig) -> None:
        self.config = config

    async def annotate(self, picture: AnnotatedPicture, regions: Sequence[Region]) -> list[Profile | Failure]:
        """Measure each of `regions`; a mask that is empty inside the picture is a failure."""
        pixels = picture.array
        light = picture.told_colors, float(np.percentile(picture.sample.mean(-1), 95))
        return [self._measure(picture, region, pixels, light) for region in regions]

    def _measure(
        self,
        picture: AnnotatedPicture,
        region: Region,
        pixels: NDArray[np.uint8],
        light: tuple[frozenset[str], float],
    ) -> Profile | Failure:
        window = _window(region, picture.width, picture.height)
        inside = masks.window(region.mask, window) if region.mask else None
        if inside is not None and not inside.any():
            return Failure("mask-empty", "the mask has no pixel inside its box: correct the segmentation")
        size = (picture.width, picture.height)
        one = not region.iscrowd
        profile = AttributeProfile(
            appearance=Appearance(
                entity=region.label,
                colors=self._colors(pixels, window, inside, *light)
                if one and _of_its_own_color(region.label)
                else None,
                size=geometry.size_of(region.bbox, *size) if one else None,
            ),
            spatial=Spatial(
                position=geometry.position_of(region.bbox, *size),
                orientation=self._orientation(region, inside) if one and _is_whole(region, picture) else None,
                relations=self._relations(picture, region) if one else None,
            ),
            peers=Peers(same_label_count=picture.label_counts.get(region.label or "") if one else None),
        )
        return Profile(profile, Provenance(annotator=self.name))

    def _colors(
        self,
        pixels: NDArray[np.uint8],
        window: tuple[int, int, int, int],
        inside: NDArray[np.bool_] | None,
        told: frozenset[str],
        bright: float,
    ) -> list[str] | None:
        config = self.config
        x1, y1, x2, y2 = window
        if inside is None:  # without a mask, only the inner part of the box is likely to be the thing
            dx, dy = (x2 - x1) // 5, (y2 - y1) // 5
            x1, y1, x2, y2 = x1 + dx, y1 + dy, x2 - dx, y2 - dy
        step = max(1, int(((x2 - x1) * (y2 - y1) / config.sample_pixels) ** 0.5))
        seen = pixels[y1:y2:step, x1:x2:step]
        seen = seen.reshape(-1, 3) if inside is None else seen[inside[::step, ::step]]
        names = colors.name_pixels(seen)
        if names.size < config.min_color_pixels:
            return None
        share = colors.shares(names)
        if inside is None:
            found = colors.plain_colors(share, config.box_color_first, 1.0, 1.0)
        else:
            found = colors.plain_colors(share, config.color_first, config.color_second, config.color_together)
        if found and "gray" in found and seen.mean() > _GRAY_SHARE * bright:
            return None  # or white, in the shade
        return found if found and told.issuperset(found) else None

    def _orientation(self, region: Region, inside: NDArray[np.bool_] | None) -> str | None:
        x1, y1, x2, y2 = region.bbox
        if inside is None:
            ratio = (x2 - x1) / (y2 - y1)
            least = 1.5 * self.config.min_elongation  # a box says less of the axis than a mask does
            return "horizontal" if ratio >= least else "vertical" if 1 / ratio >= least else None
        return orientation(inside, self.config.min_elongation)

    def _relations(self, picture: AnnotatedPicture, region: Region) -> list[Link] | None:
        others = [r for r in picture.regions if r.region_id != region.region_id and r.label and not r.iscrowd]
        if not others:
            return None
        near = geometry.nearest(region.bbox, [r.bbox for r in others], self.config.max_relations)
        links: dict[tuple[str, str], Link] = {}
        for i in near:
            kind, label = geometry.relation_of(region.bbox, others[i].bbox), others[i].label
            if kind is not None and label is not None:  # of several things of a kind in one direction, the nearest
                links.setdefault((kind, label), Link(kind=kind, target=label, target_region_id=others[i].region_id))
        return list(links.values())


def _of_its_own_color(label: str | None) -> bool:
    return label is None or label.lower().split()[-1] not in NO_COLOR_OF_THEIR_OWN


def _is_whole(region: Region, picture: AnnotatedPicture) -> bool:
    """Whether all of the thing can be seen: it neither reaches the picture's edge nor lies in a larger thing's box."""
    x1, y1, x2, y2 = region.bbox
    if x1 < 2 or y1 < 2 or x2 > picture.width - 2 or y2 > picture.height - 2:
        return False
    area = (x2 - x1) * (y2 - y1)
    for other in picture.regions:
        a1, b1, a2, b2 = other.bbox
        common = max(0.0, min(x2, a2) - max(x1, a1)) * max(0.0, min(y2, b2) - max(y1, b1))
        if common >= _COVERED_SHARE * area and (a2 - a1) * (b2 - b1) > area:
            return False
    return True


def _window(region: Region, width: int, height: int) -> tuple[int, int, int, int]:
    """The whole pixels that the box touches, [x1, y1, x2, y2)."""
    x1, y1 = min(width - 1, int(region.bbox[0])), min(height - 1, int(region.bbox[1]))
    x2 = min(width, max(x1 + 1, int(-(-region.bbox[2] // 1))))
    y2 = min(height, max(y1 + 1, int(-(-region.bbox[3] // 1))))
    return x1, y1, x2, y2


def orientation(mask: NDArray[np.bool_], min_elongation: float) -> str | None:
    """The direction of the mask's main axis, or None where it has none or lies between two words.

    From the second central moments of the set pixels. A mask has a main axis where its length is at least
    `min_elongation` times its width; the four words each cover 25 degrees, with gaps of 20 between them.
    """
    count, xx, yy, xy = second_moments(mask)
    spread = math.sqrt((xx - yy) ** 2 + 4 * xy**2)
    if count < 16 or not spread:
        return None
    if xx + yy + spread < min_elongation * min_elongation * max(xx + yy - spread, count**2 / 6):
        return None
    across, rising = (xx - yy) / spread, 2 * xy / spread  # cosine and sine of twice the axis' angle
    words = {"horizontal": across, "diagonal rising": rising, "vertical": -across, "diagonal falling": -rising}
    return next((word for word, cosine in words.items() if cosine >= _NEAR), None)
