"""What a worker is asked to do: one shard of pictures, and what is left to do for each."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from pipelines.plan import PlannedPicture
from slvr_data.errors import RunError


class PictureGoneError(RunError):
    """The file of a picture is not there any more, or not as it was when it was read."""


@dataclass(frozen=True)
class TaskPicture:
    """A picture with the parts of the work that are still open."""

    planned: PlannedPicture
    prepare: bool
    """The picture itself has not been through `crop` yet."""
    crop: frozenset[str]
    """Regions that have not been through `crop` yet."""
    dropped: frozenset[str]
    """Regions that `crop` rejected before."""
    annotate: bool
    profiled_in: str | None
    """The shard whose profiles are still to be checked, where only `check` is open."""
    crop_shards: tuple[str, ...] = ()
    """Shards of `crop` that hold regions of it already."""


@dataclass(frozen=True)
class ShardTask:
    """The unit of work and recovery."""

    pictures: list[TaskPicture]

    @property
    def name(self) -> str:
        """A hash of what goes in: equal work has an equal name."""
        digest = hashlib.sha256()
        for picture in self.pictures:
            digest.update(picture.planned.key.encode())
            digest.update("".join(sorted(picture.crop)).encode())
            digest.update(f"{picture.prepare}{picture.annotate}".encode())
        return digest.hexdigest()[:16]


@dataclass
class ShardReport:
    """What came of a shard: CPU seconds per stage, and counts."""

    pictures: int = 0
    regions: int = 0
    cpu_seconds: dict[str, float] = field(default_factory=dict)


@dataclass
class ToAsk:
    """A picture with everything that is to be asked about it; made by a worker."""

    key: str
    """State of the picture."""
    asked: Any
    """What the sending side of the annotator made of it."""
    size: int
    """Of its encoded pictures in bytes."""


@dataclass
class Prepared:
    """What `Worker.prepare` hands on."""

    pictures: list[ToAsk]
    carried: Any
    """What `finish` needs again of it."""
    cpu_seconds: dict[str, float] = field(default_factory=dict)
