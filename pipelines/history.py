"""What a set has published before: it decides where records compete, and nothing of it moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from slvr_data.files import disk_errors
from slvr_data.manifest import NAME, Manifest, load_manifest
from slvr_data.schema import Split
from slvr_data.shards import files_of, read_parquet

_MEMORY = "splits.parquet"
_SCHEMA = pa.schema([("image_id", pa.string()), ("split", pa.string())])


@dataclass
class History:
    """Splits of all pictures that were ever published, regions that are published, and those given up."""

    splits: dict[str, Split] = field(default_factory=dict)
    regions: set[str] = field(default_factory=set)
    given_up: set[str] = field(default_factory=set)
    """Regions that the publication lists as rejected, those apart whose licence alone is not kept: their rows
    may be mended or taken out."""


def history_of(out: Path, work: Path) -> History:
    """Read from the publication, as far as its files are there, and from the memory beside the work."""
    history = History()
    if (work / _MEMORY).exists():
        memory = read_parquet(work / _MEMORY).to_pydict()
        history.splits = dict(zip(memory["image_id"], memory["split"], strict=True))
    if (out / NAME).exists():
        _read_publication(out, load_manifest(out), history)
    return history


def _read_publication(out: Path, manifest: Manifest, history: History) -> None:
    for config, columns in (("images", ["image_id"]), ("attributes", ["region_id"])):
        for file in files_of(manifest.files, config):
            if not (out / file.path).exists():  # somebody removed it: publishing again brings it back
                continue
            ids = read_parquet(out / file.path, columns)[columns[0]].to_pylist()
            if config == "images":
                history.splits |= dict.fromkeys(ids, file.split)
            else:
                history.regions.update(ids)
    for file in files_of(manifest.files, "rejections"):
        if (out / file.path).exists():
            table = read_parquet(out / file.path, ["kind", "stage", "region_id"])
            mask = pc.and_(pc.equal(table["kind"], "rejected"), pc.not_equal(table["stage"], "publish"))
            history.given_up.update(table.filter(mask)["region_id"].to_pylist())


def remember_splits(work: Path, history: History, splits: dict[str, Split]) -> None:
    """Add the splits of a publication that is about to appear to those of all before it."""
    whole = history.splits | splits
    table = pa.table({"image_id": sorted(whole), "split": [whole[i] for i in sorted(whole)]}, schema=_SCHEMA)
    temporary = work / f".{_MEMORY}.tmp"
    with disk_errors(f"writing {work / _MEMORY}"):
        pq.write_table(table, temporary, compression="zstd")
        temporary.replace(work / _MEMORY)
