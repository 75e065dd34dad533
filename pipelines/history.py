"""What a set has published before: it decides where records compete, and nothing of it moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from slvr_data.files import disk_errors
from slvr_data.manifest import NAME, Manifest, load_manifest
from slvr_data.schema import Split
from slvr_data.shards import files_of
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
    """Regions that the publication lists as rejected, those apart whose licence alone is not kept: their rows
    may be mended or taken out."""

    def split_of(self, image_id: str) -> Split | None:
        """The split of a picture that was published, None of any other."""
        return cast("Split | None", self.splits.get(image_id))


def history_of(out: Path, work: Path) -> History:
    """Read from the publication, as far as its files are there, and from the memory beside the work."""
    history = History()
    if (work / _MEMORY).exists():
        for batch in _batches(work / _MEMORY, ["image_id", "split"]):
            for image_id, split in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                history.splits[image_id] = split
    if (out / NAME).exists():
        _read_publication(out, load_manifest(out), history)
    return history


def _batches(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path) as file:
        yield from file.iter_batches(batch_size=_ROWS, columns=columns)


def _read_publication(out: Path, manifest: Manifest, history: History) -> None:
    for config, column in (("images", "image_id"), ("attributes", "region_id")):
        for file in files_of(manifest.files, config):
            if not (out / file.path).exists():  # somebody removed it: publishing again brings it back
                continue
            for batch in _batches(out / file.path, [column]):
                ids = batch.column(column).to_pylist()
                if config == "images":
                    history.splits.set_all(ids, file.split)
                else:
                    history.regions.update(ids)
    for file in files_of(manifest.files, "rejections"):
        if (out / file.path).exists():
            for batch in _batches(out / file.path, ["kind", "stage", "region_id"]):
                mask = pc.and_(pc.equal(batch["kind"], "rejected"), pc.not_equal(batch["stage"], "publish"))
                history.given_up.update(batch.filter(mask)["region_id"].to_pylist())


def remember_splits(work: Path, history: History, splits: IdMap) -> None:
    """Add the splits of a publication that is about to appear to those of all before it."""
    for image_id, split in splits.items():
        history.splits[image_id] = split
    temporary = work / f".{_MEMORY}.tmp"
    with disk_errors(f"writing {work / _MEMORY}"):
        with pq.ParquetWriter(temporary, _SCHEMA, compression="zstd") as writer:
            rows = history.splits.items()
            while some := list(islice(rows, _ROWS)):
                image_ids, names = zip(*some, strict=True)
                writer.write_table(pa.table({"image_id": image_ids, "split": names}, schema=_SCHEMA))
        temporary.replace(work / _MEMORY)
