"""What a set has published before: it decides where records compete, and nothing of it moves."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.changed import changed_regions
from slvr_data.errors import UsageError
from slvr_data.files import disk_errors, refuse_unreadable, replace_synced
from slvr_data.manifest import NAME, Manifest, load_manifest
from slvr_data.schema import Split
from slvr_data.shards import DataFile, files_of
from slvr_data.spilled import IdMap, IdSet

_MEMORY = "splits.parquet"
_SCHEMA = pa.schema([("image_id", pa.string()), ("split", pa.string())])
_ROWS = 1 << 14


@dataclass
class History:
    """Splits of all pictures that were ever published, regions that are published, and those given up."""

    splits: IdMap = field(default_factory=IdMap)
    """By image_id."""
    regions: IdSet = field(default_factory=IdSet)
    given_up: IdSet = field(default_factory=IdSet)
    """Regions that the publication lists as rejected, those apart whose licence alone is not kept, and unpublished
    ones of files that have changed (`pipelines.changed`): their rows may be mended or taken out."""

    def split_of(self, image_id: str) -> Split | None:
        """The split of a picture that was published, None of any other."""
        return cast("Split | None", self.splits.get(image_id))


def history_of(out: Path, work: Path) -> History:
    """Read from the publication, as far as its files are there and sound, and from the memory beside the work.

    Raises:
        UsageError: the memory is damaged, and the publication does not tell what it held.
        RunError: a file cannot be read now.
    """
    history = History()
    damage = _read_memory(work / _MEMORY, history)
    whole = (out / NAME).exists() and _read_publication(out, load_manifest(out), history)
    if damage and not whole:
        raise UsageError(
            f"{work / _MEMORY} is damaged ({damage}), and so is the publication, or it is not there: nothing tells in "
            f"which splits pictures were published. Put {NAME} and data/ back if you have them; else remove this file, "
            "and splits are drawn anew"
        )
    if damage:
        print(f"{work / _MEMORY} is damaged ({damage}): splits are those of the publication", file=sys.stderr)
    history.given_up.update(region for region in changed_regions(work) if region not in history.regions)
    return history


def _read_memory(path: Path, history: History) -> str:
    """Splits as they are remembered; in words what is damaged ("": nothing)."""
    try:
        for batch in _batches(path, ["image_id", "split"]) if path.exists() else ():
            for image_id, split in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                history.splits[image_id] = split
    except (pa.ArrowException, OSError) as error:
        refuse_unreadable(error, path)
        return str(error)
    return ""


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=_ROWS, columns=columns)


def _read_publication(out: Path, manifest: Manifest, history: History) -> bool:
    """Take in what is there and sound; whether all splits are known from it. Publishing again brings the rest back."""
    read = {file.path: _read_file(out / file.path, file, history) for file in manifest.files}
    return all(read[file.path] for file in files_of(manifest.files, "images"))


def _read_file(path: Path, file: DataFile, history: History) -> bool:
    """Take in one file; False where it is not there, as somebody removed it, or damaged."""
    if not path.exists():
        return False
    try:
        if file.config == "images":
            for batch in _batches(path, ["image_id"]):
                history.splits.set_all(batch["image_id"].to_pylist(), file.split)
        elif file.config == "attributes":
            for batch in _batches(path, ["region_id"]):
                history.regions.update(batch["region_id"].to_pylist())
        elif file.config == "rejections":
            for batch in _batches(path, ["kind", "stage", "region_id"]):
                mask = pc.and_(pc.equal(batch["kind"], "rejected"), pc.not_equal(batch["stage"], "publish"))
                history.given_up.update(batch.filter(mask)["region_id"].to_pylist())
    except (pa.ArrowException, OSError) as error:
        refuse_unreadable(error, path)
        print(f"{path} is damaged ({error}): publishing writes it anew", file=sys.stderr)
        return False
    return True


def remember_splits(work: Path, history: History, splits: IdMap) -> None:
    """Add the splits of a publication that has just appeared to those of all before it."""
    for image_id, split in splits.items():
        history.splits[image_id] = split
    temporary = work / f".{_MEMORY}.tmp"
    with disk_errors(f"writing {work / _MEMORY}"):
        with pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as writer:
            rows = history.splits.items()
            while some := list(islice(rows, _ROWS)):
                image_ids, names = zip(*some, strict=True)
                writer.write_table(pa.table({"image_id": image_ids, "split": names}, schema=_SCHEMA))
        replace_synced(temporary, work / _MEMORY)
