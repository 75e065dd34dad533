"""What an annotator is: it sees a picture with all its regions and writes profiles for some of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slvr_data import colors
from slvr_data.schema import AttributeProfile, Provenance, Region


@dataclass(frozen=True)
class Failure:
    """Why a region got no profile: a stable reason code, and the evidence in words."""

    reason: str
    evidence: str
    request_key: str | None = field(default=None, compare=False)
    """Of the request whose replies were all bad, where a model was asked."""


@dataclass(frozen=True)
class Unfinished:
    """Why a region has no answer yet: a server, the way to it or the budget. The same command asks again."""

    evidence: str


@dataclass(frozen=True)
class Profile:
    """A profile and who wrote it."""

    attributes: AttributeProfile
    provenance: Provenance


@dataclass
class AnnotatedPicture:
    """An upright picture and everything that is annotated on it.

    `complete_labels` are the labels whose every instance in the picture is annotated: only for these
    is a count known.
    """

    image_id: str
    width: int
    height: int
    regions: Sequence[Region]
    complete_labels: frozenset[str]
    open_pixels: Callable[[], Image.Image]
    unusable: Sequence[Region] = ()
    """Regions that are annotated too, but cannot be cropped (too small, out of bounds)."""
    complete: bool = False
    """Everything that the picture shows is among `regions` and `unusable`."""

    @cached_property
    def pixels(self) -> Image.Image:
        """The upright picture, mode RGB, decoded when it is first asked for."""
        return self.open_pixels()

    @cached_property
    def array(self) -> NDArray[np.uint8]:
        """The same as an array [H, W, 3]."""
        return np.asarray(self.pixels)

    @cached_property
    def sample(self) -> NDArray[np.uint8]:
        """About 2,048 pixels on an even grid, [h, w, 3]: enough to judge the light."""
        step = max(1, int((self.width * self.height / 2048) ** 0.5))
        return self.array[::step, ::step]

    @cached_property
    def told_colors(self) -> frozenset[str]:
        """The colours that can be told in its light (`slvr_data.colors.told_colors`)."""
        return colors.told_colors(self.sample)

    @cached_property
    def label_counts(self) -> dict[str, int]:
        """Label -> how many things carry it, where every instance is annotated and none as part of a crowd."""
        crowded = {region.label for region in self.regions if region.iscrowd}
        counts = Counter(region.label for region in self.regions if region.label is not None and not region.iscrowd)
        return {n: c for n, c in counts.items() if n in self.complete_labels and n not in crowded}

    @cached_property
    def is_gray(self) -> bool:
        """Whether it has hardly any colour."""
        return colors.is_gray(self.sample)


class Annotator(Protocol):
    """Writes attribute profiles.

    `name` goes into provenance. `annotate` answers for each of `regions` (a subset of
    `picture.regions`), in their order.
    """

    name: str

    async def annotate(self, picture: AnnotatedPicture, regions: Sequence[Region]) -> list[Profile | Failure]:
        """A profile or the reason for none, for each of `regions`."""
        ...
