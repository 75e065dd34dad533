"""What workers do for `--avoid`: describe chunks of avoided pictures, and look for them among a shard's pictures.

Stores: `avoided` has the chunks (`pieces`), `compared` one shard per shard of pictures and index; both outlive the run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from pipelines.stages.pieces import describe_into
from pipelines.store import StageStore
from slvr_data.avoid.features import describe, require
from slvr_data.avoid.given import Chunk
from slvr_data.avoid.index import Index
from slvr_data.avoid.reading import preview
from slvr_data.avoid.search import find
from slvr_data.ids import image_id
from slvr_data.images import PictureError

if TYPE_CHECKING:
    from pipelines.plan import PlannedPicture
    from pipelines.tasks import ShardTask
    from pipelines.worker import Worker

AVOIDED, COMPARED, INDEXES = "avoided", "compared", "avoid-index"
"""Folders below the working folder; an index is made of the shards of `avoided` wherever it is missing."""

_BOX = pa.list_(pa.float64())
LOOKS = pa.schema([
    ("image_id", pa.string()),
    ("how", pa.string()),
    ("mirrored", pa.bool_()),
    ("inliers", pa.int64()),
    ("agreement", pa.float64()),
    ("box", _BOX),
    ("preview", pa.binary()),
    ("given", pa.string()),
    ("name", pa.string()),
    ("sha256", pa.string()),
    ("avoided_box", _BOX),
    ("avoided_preview", pa.binary()),
])  # fmt: skip
"""A row per picture that was compared; of one that is not avoided, `image_id` alone is set."""


@dataclass(frozen=True)
class Looked:
    """What a worker reports of a chunk or a shard: pictures, unreadable ones or matches among them, CPU seconds."""

    pictures: int
    found: int
    cpu_seconds: float


def shard_name(index: str, task: ShardTask) -> str:
    """Of the shard of `compared` for a shard of pictures."""
    return f"{index[:12]}-{task.name}"


def compared_with(store: StageStore, index: str) -> list[str]:
    """The shards of the store `compared` for an index, of pictures that could be compared."""
    return [name for name in store.shards() if name.startswith(index[:12]) and not name.startswith(_lost(index))]


def lost_pictures(store: StageStore, index: str) -> dict[str, str]:
    """Pictures that ended every worker that compared them with an index (image_id), and the shard that says so."""
    return {
        image_id: name
        for name in store.shards()
        if name.startswith(_lost(index))
        for image_id in store.load(name, "looks", ["image_id"])["image_id"].to_pylist()
    }


def uncompared(store: StageStore, index: str) -> set[str]:
    """Those of the lost pictures that no run has compared since."""
    lost = set(lost_pictures(store, index))
    for name in compared_with(store, index) if lost else ():
        lost -= set(store.load(name, "looks", ["image_id"])["image_id"].to_pylist())
    return lost


def note_lost(task: ShardTask, index: str, store: StageStore) -> None:
    """Keep that the pictures of a shard could not be compared: until they are, they stay unfinished."""
    rows = [{"image_id": picture.planned.image_id} for picture in task.pictures]
    store.commit(_lost(index) + task.name, {"looks": pa.Table.from_pylist(rows, schema=LOOKS)})


def _lost(index: str) -> str:
    return f"{index[:12]}-lost-"


def describe_chunk(chunk: Chunk, work: Path) -> Looked:
    """Describe a chunk's pictures, and keep that."""
    require()
    started = time.process_time()
    pictures = found = 0
    for table in describe_into(StageStore(work, AVOIDED), chunk):
        pictures += table.num_rows
        found += table.num_rows - table["sha256"].null_count
    return Looked(pictures, found, time.process_time() - started)


def compare_shard(task: ShardTask, index: str, worker: Worker) -> Looked:
    """Look for the avoided pictures of an index among a shard's pictures, and keep what was found."""
    require()
    started = time.process_time()
    opened = _opened(worker.work / INDEXES / index)
    rows = [_look(picture.planned, opened, worker) for picture in task.pictures]
    table = pa.Table.from_pylist(rows, schema=LOOKS)
    StageStore(worker.work, COMPARED).commit(shard_name(index, task), {"looks": table})
    return Looked(len(rows), len(rows) - table["how"].null_count, time.process_time() - started)


@lru_cache(maxsize=1)
def _opened(folder: Path) -> Index:
    return Index(folder)


def _look(picture: PlannedPicture, index: Index, worker: Worker) -> dict[str, Any]:
    try:
        upright = worker.upright(picture)
    except PictureError:  # it is rejected for that
        return {"image_id": picture.image_id}
    finally:
        worker.forget()
    match = find(index, describe(upright.pixels), (picture.image_id, image_id(upright.data)))
    if match is None:
        return {"image_id": picture.image_id}
    avoided = index.about(match.number)
    return {
        "image_id": picture.image_id,
        "how": match.how,
        "mirrored": match.mirrored,
        "inliers": match.inliers,
        "agreement": match.agreement,
        "box": list(match.box),
        "preview": preview(upright.pixels),
        "given": avoided.given,
        "name": avoided.name,
        "sha256": avoided.sha256,
        "avoided_box": list(match.avoided_box),
        "avoided_preview": avoided.preview,
    }
