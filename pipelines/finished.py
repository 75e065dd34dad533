"""What earlier runs have finished, read from the stage stores: it decides what is left to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pipelines.plan import PlannedPicture
from pipelines.store import RowCache, StageStore
from pipelines.tasks import ShardTask, TaskPicture

STAGES = ("crop", "attributes", "check")


class Finished:
    """An index over the finished shards of all stages."""

    def __init__(self, work: Path, old: bool = True) -> None:
        """`old`: pictures that a retry has opened count with what they had before, until they are finished anew."""
        self.stores = {stage: StageStore(work, stage) for stage in STAGES}
        self.prepared: dict[str, str] = {}
        """image_id -> the shard of `crop` that holds the picture."""
        self.crop_shards: dict[str, list[str]] = {}
        """image_id -> all shards of `crop` that hold regions of the picture."""
        self.cropped: set[str] = set()
        self.dropped: set[str] = set()
        self.profiled: dict[str, str] = {}
        """picture key -> shard of `attributes`."""
        self.checked: dict[str, str] = {}
        """picture key -> shard of `check`."""
        regions = ["image_id", "region_id"]
        for shard, found in self.stores["crop"].index({"images": ["image_id"], "crops": regions, "dropped": regions}):
            self.prepared |= dict.fromkeys(found["images"]["image_id"], shard)
            self.cropped.update(found["crops"]["region_id"])
            self.dropped.update(found["dropped"]["region_id"])
            for image_id in dict.fromkeys([*found["crops"]["image_id"], *found["dropped"]["image_id"]]):
                self.crop_shards.setdefault(image_id, []).append(shard)
        for stage, table, keys in (("attributes", "profiles", self.profiled), ("check", "verdicts", self.checked)):
            for shard, found in self.stores[stage].index({"pictures": ["picture_key"], table: ["picture_key"]}):
                keys |= dict.fromkeys(found["pictures"]["picture_key"], shard)
        self.reopened: set[str] = set()
        """Keys of pictures that are finished only as they were before a retry opened them."""
        if old:
            self._take_in_old()

    def _take_in_old(self) -> None:
        """Profiles and verdicts of one time belong together: both are taken from the same retry, the latest."""
        profiled, checked = self._old("attributes"), self._old("check")
        for retry, key in sorted(profiled.keys() & checked.keys()):
            if key in self.reopened or key not in self.profiled or key not in self.checked:
                self.reopened.add(key)
                self.profiled[key], self.checked[key] = profiled[retry, key], checked[retry, key]

    def _old(self, stage: str) -> dict[tuple[str, str], str]:
        """(retry, picture key) -> old shard."""
        return {
            (shard.rsplit("-", 1)[0], key): shard
            for shard, found in self.stores[stage].index({"pictures": ["picture_key"]}, old=True)
            for key in found["pictures"]["picture_key"]
        }

    @property
    def anything(self) -> bool:
        """Whether any work has been done."""
        return bool(self.prepared)

    def clean(self) -> None:
        """Remove what killed writers left."""
        for store in self.stores.values():
            store.clean()

    def open_work(self, picture: PlannedPicture) -> TaskPicture | None:
        """What is left to do for a picture, or None."""
        regions = {region.region.region_id for region in picture.regions if region.rejected is None}
        key = picture.key
        task = TaskPicture(
            planned=picture,
            prepare=picture.image_id not in self.prepared,
            crop=frozenset(regions - self.cropped - self.dropped),
            dropped=frozenset(regions & self.dropped),
            annotate=key not in self.profiled,
            profiled_in=self.profiled.get(key),
            crop_shards=tuple(self.crop_shards.get(picture.image_id, ())),
        )
        return task if task.prepare or task.crop or task.annotate or key not in self.checked else None

    def is_open(self, picture: PlannedPicture) -> bool:
        """Whether profiles or verdicts of the picture, as it is now, are still to come."""
        return picture.key not in self.profiled or picture.key not in self.checked

    def cache(self, stage: str, table: str, key: str) -> RowCache:
        """Rows of a stage's table by key."""
        return RowCache(self.stores[stage], table, key)


def shards(pictures: Iterator[TaskPicture], size: int) -> Iterator[ShardTask]:
    """Tasks of `size` pictures each, in their order."""
    held: list[TaskPicture] = []
    for picture in pictures:
        held.append(picture)
        if len(held) == size:
            yield ShardTask(held)
            held = []
    if held:
        yield ShardTask(held)
