"""What earlier runs have finished, read from the stage stores: it decides what is left to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from pipelines.plan import PlannedPicture
from pipelines.store import RowCache, StageStore
from pipelines.tasks import ShardTask, TaskPicture
from slvr_data.spilled import IdMap, IdSet

STAGES = ("crop", "attributes", "check")


class Finished:
    """An index over the finished shards of all stages; beyond some ten thousand pictures it lies on disk."""

    def __init__(self, work: Path, old: bool = True) -> None:
        """`old`: pictures that a retry has opened count with what they had before, until they are finished anew."""
        self.stores = {stage: StageStore(work, stage) for stage in STAGES}
        self.prepared = IdMap()
        """image_id -> the shard of `crop` that holds the picture."""
        self._crop_shards = IdMap()
        """image_id -> all shards of `crop` that hold regions of the picture, with a space between."""
        self.cropped = IdSet()
        self.dropped = IdSet()
        self.profiled = IdMap()
        """picture key -> shard of `attributes`."""
        self.checked = IdMap()
        """picture key -> shard of `check`."""
        self._unreadable: set[str] = set()
        regions, picture = ["image_id", "region_id"], ["image_id", "width"]
        for shard, found in self.stores["crop"].index({"images": picture, "crops": regions, "dropped": regions}):
            self._take_in_pictures(shard, found["images"])
            self.cropped.update(found["crops"]["region_id"])
            self.dropped.update(found["dropped"]["region_id"])
            for image_id in dict.fromkeys([*found["crops"]["image_id"], *found["dropped"]["image_id"]]):
                before = self._crop_shards.get(image_id)
                self._crop_shards[image_id] = f"{before} {shard}" if before else shard
        states = 0
        for stage, table, keys in (("attributes", "profiles", self.profiled), ("check", "verdicts", self.checked)):
            for shard, found in self.stores[stage].index({"pictures": ["picture_key"], table: ["picture_key"]}):
                keys.set_all(found["pictures"]["picture_key"], shard)
                states += len(found["pictures"]["picture_key"])
        if states != len(self.profiled) + len(self.checked):
            self._settle_doubles()
        self.reopened: set[str] = set()
        """Keys of pictures that are finished only as they were before a retry opened them."""
        if old:
            self._take_in_old()

    def _settle_doubles(self) -> None:
        """Of a state that several shards hold (a part was merged, retried, and merged again) the one counts that has
        the fewest failures, with its verdicts.
        """
        doubles = self._held_by("attributes")
        failed = self._counted("attributes", "profiles", doubles, "reason")
        checked = self._held_by("check")
        verdicts = self._counted("check", "verdicts", checked, "verdicts")
        for key, shards in doubles.items():
            self.profiled[key] = min((failed[shard, key], shard) for shard in shards)[1]
        for key, shards in checked.items():
            own = self.profiled.get(key)
            self.checked[key] = own if own in shards else max((verdicts[shard, key], shard) for shard in shards)[1]

    def _held_by(self, stage: str) -> dict[str, list[str]]:
        """Picture key -> shards of a stage that hold it, of those that several hold."""
        last = self.profiled if stage == "attributes" else self.checked
        found: dict[str, list[str]] = {}
        for shard, columns in self.stores[stage].index({"pictures": ["picture_key"]}):
            for key in columns["pictures"]["picture_key"]:
                if (other := last.get(key)) not in (None, shard):
                    found.setdefault(key, [str(other)]).append(shard)
        return found

    def _counted(self, stage: str, table: str, keys: dict[str, list[str]], column: str) -> Counter[tuple[str, str]]:
        """(shard, picture key) -> rows of a stage's table whose column is not null."""
        counts: Counter[tuple[str, str]] = Counter()
        for shard in sorted({shard for shards in keys.values() for shard in shards}):
            rows = self.stores[stage].load(shard, table, ["picture_key", column])
            held = rows.filter(pc.is_valid(rows[column]))["picture_key"].to_pylist()
            counts.update((shard, key) for key in held if key in keys)
        return counts

    def _take_in_pictures(self, shard: str, rows: dict[str, list[Any]]) -> None:
        """A picture that was readable once counts as it was read then."""
        sizes = list(zip(rows["image_id"], rows["width"], strict=True))
        readable = [image_id for image_id, width in sizes if width is not None]
        self.prepared.set_all(readable, shard)
        self._unreadable.difference_update(readable)
        for image_id, width in sizes:
            if width is None and image_id not in self.prepared:
                self.prepared[image_id] = shard
                self._unreadable.add(image_id)

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

    def crop_shards(self, image_id: str) -> list[str]:
        """All shards of `crop` that hold regions of a picture."""
        return (self._crop_shards.get(image_id) or "").split()

    @property
    def anything(self) -> bool:
        """Whether any work has been done, also where nothing is left of it but what is damaged."""
        return bool(self.prepared) or self.stores["crop"].has_damaged()

    def has_old(self) -> bool:
        """Whether shards are there with what pictures had before a retry opened them."""
        return any(store.old_shards() for store in self.stores.values())

    def clean(self) -> None:
        """Remove what killed writers left."""
        for store in self.stores.values():
            store.clean()

    def forget_damaged(self) -> None:
        """To be called once all is finished: what was damaged has been made again."""
        for store in self.stores.values():
            store.forget_damaged()

    def open_work(self, picture: PlannedPicture) -> TaskPicture | None:
        """What is left to do for a picture, or None."""
        regions = [region.region.region_id for region in picture.regions if region.rejected is None]
        dropped = frozenset(region for region in regions if region in self.dropped)
        key = picture.key
        crop = frozenset(region for region in regions if region not in dropped and region not in self.cropped)
        again = bool(crop) and picture.image_id in self._unreadable  # it is opened anyhow, and may be readable now
        task = TaskPicture(
            planned=picture,
            prepare=again or not (picture.image_id in self.prepared or picture.left_out),
            crop=crop,
            dropped=dropped,
            annotate=key not in self.profiled,
            profiled_in=self.profiled.get(key),
            crop_shards=tuple(self.crop_shards(picture.image_id)),
        )
        return task if task.prepare or task.crop or task.annotate or key not in self.checked else None

    def is_open(self, picture: PlannedPicture) -> bool:
        """Whether anything of the picture, as it is now, is still to come, or is not to be seen from here yet."""
        key = picture.key
        if key not in self.profiled or key not in self.checked:
            return True
        if picture.image_id not in self.prepared and not picture.left_out:
            return True
        usable = (region.region.region_id for region in picture.regions if region.rejected is None)
        return any(region not in self.cropped and region not in self.dropped for region in usable)

    def cache(self, stage: str, table: str, key: str, columns: list[str] | None = None) -> RowCache:
        """Rows of a stage's table by key; of some columns alone, the key among them."""
        return RowCache(self.stores[stage], table, key, columns)


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
