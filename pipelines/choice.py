"""Which regions of a source are taken (`regions.*`), and why each of the others is left out.

What is left out is a rejection, and stays in its picture: it is counted, told to a model and linked to as if it were
taken, so that a profile is the same whatever else is chosen. A choice is drawn by hashes of ids over the whole plan,
which every engine and every part of a build knows: it depends on no order and no machine.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from slvr_data.sources.base import Malformed

if TYPE_CHECKING:
    from pipelines.plan import PlannedPicture, PlannedRegion
    from slvr_data.regions import PictureFile, PlanRow

SHARE, MOST, LIMIT = "share-too-small", "beyond-most-per-picture", "beyond-limit"
LEFT_OUT = frozenset({SHARE, MOST, LIMIT})
"""Reasons for which a region is left out though nothing is wrong with it."""


class RegionsConfig(BaseModel):
    """Which regions of a source are taken. Those left out are rejected, each with its reason."""

    model_config = ConfigDict(extra="forbid", validate_default=True, use_attribute_docstrings=True)

    least_share: float | None = Field(None, gt=0, lt=1)
    """Of its picture's area that a region's box covers, at least; `crop.min_side` is the same for a side in pixels."""
    most_per_picture: int | None = Field(None, ge=1)
    """Of one picture, drawn by a hash of `seed` and the region's id."""
    limit: int | None = Field(None, ge=1)
    """Of all sources together, so many at most: whole pictures, drawn by a hash of `seed` and the picture's id, and of
    the last one a part. A set may be built on with a larger one."""


def leave_out_small(rows: Iterable[PlanRow], picture: PictureFile | None, least_share: float | None) -> None:
    """Mark rows whose box covers less of their picture than is wanted; `picture` is the file that they are of."""
    if least_share is None or picture is None or picture.size is None:
        return
    for row in rows:
        if row.region_id is None or row.box is None or row.rejected is not None:
            continue
        x1, y1, x2, y2 = (round(100 * corner) for corner in row.box)  # boxes are exact to 0.01 px
        share = (x2 - x1) * (y2 - y1) / (10_000 * picture.size[0] * picture.size[1])
        if share < least_share:
            row.rejected = Malformed(
                SHARE,
                f"covers {100 * share:.4g} % of its picture, at least {100 * least_share:.4g} % are wanted: build with "
                "a lower regions.least_share to have it",
            )


def shorter_side(box: Sequence[float]) -> float:
    """Of a box, in pixels."""
    return min(box[2] - box[0], box[3] - box[1])


class Choice:
    """Takes regions of pictures. What was published before stays, and comes before all others."""

    def __init__(self, config: RegionsConfig, least_side: float, seed: int, published: Collection[str]) -> None:
        """`least_side`: regions of a shorter side, in pixels, cannot be cropped, so none is drawn for them."""
        self._config, self._least_side, self._seed, self._published = config, least_side, seed, published
        self._room: NDArray[np.int64] | None = None
        """By the number of a picture: how many regions it may have that are not published yet."""

    @property
    def draws(self) -> bool:
        """Whether the plan has anything to choose."""
        return self._config.most_per_picture is not None or self._config.limit is not None

    def look(self, pictures: Iterable[PlannedPicture]) -> None:
        """Share `regions.limit` out among all pictures of the plan, which come in its order."""
        if self._config.limit is None:
            return
        places, fresh, published = array("Q"), array("q"), 0
        for picture in pictures:
            taken = self._fit(picture.regions)
            known = sum(_id(region) in self._published for region in taken)
            places.append(self._place(picture.image_id))
            fresh.append(len(taken) - known)
            published += known
        order = np.argsort(np.frombuffer(places, np.uint64), kind="stable")
        sizes = np.frombuffer(fresh, np.int64)[order]
        left = self._config.limit - published - (np.cumsum(sizes) - sizes)
        self._room = np.empty(len(order), np.int64)
        self._room[order] = np.clip(left, 0, sizes)

    def applied(self, number: int, regions: list[PlannedRegion]) -> list[PlannedRegion]:
        """The regions of picture `number` of the plan, those that are left out with the reason; in their order."""
        most, fit = self._config.most_per_picture, self._fit(regions)
        gone: dict[str, Malformed] = {}
        fit.sort(key=lambda region: (_id(region) not in self._published, self._place(_id(region))))
        if most is not None and len(fit) > most:
            evidence = (
                f"{most} of the {len(fit)} regions of its picture that could be taken are, drawn by a hash of their "
                "ids: build with a higher regions.most_per_picture to have more"
            )
            gone |= {_id(region): Malformed(MOST, evidence) for region in fit[most:]}
            fit = fit[:most]
        if self._room is not None:
            published = sum(_id(region) in self._published for region in fit)
            evidence = (
                f"{self._config.limit:,} regions are taken, those of pictures drawn by a hash of their ids: build on "
                "with a larger regions.limit to have more"
            )
            gone |= {_id(region): Malformed(LIMIT, evidence) for region in fit[published + self._room[number] :]}
        return [replace(r, rejected=gone[_id(r)]) if _id(r) in gone else r for r in regions]

    def _fit(self, regions: Iterable[PlannedRegion]) -> list[PlannedRegion]:
        """Those that could be taken."""
        return [r for r in regions if r.rejected is None and shorter_side(r.region.bbox) >= self._least_side]

    def _place(self, identifier: str) -> int:
        """In the order in which regions, or pictures, are taken; 64 bits."""
        digest = hashlib.sha256(f"{self._seed}:taken:{identifier}".encode()).digest()
        return int.from_bytes(digest[:8], "big")


def _id(planned: PlannedRegion) -> str:
    return planned.region.region_id
