"""Reading a published set picture by picture: each picture's row with the rows of its regions."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from slvr_data.errors import RunError
from slvr_data.manifest import Manifest
from slvr_data.remote.addresses import shown
from slvr_data.remote.reading import open_parquet
from slvr_data.schema import SPLITS, Split
from slvr_data.shards import DataFile, files_of

_LIGHT = (
    "image_id", "width", "height", "source", "license", "complete", "phash", "path", "byte_size", "content_sha256",
)  # fmt: skip


_FEW = 128
"""Rows that are decoded at a time where few of them are wanted."""


@dataclass(frozen=True)
class PublishedPicture:
    """A picture of the set with its regions, as dictionaries of `ImageRow` (without `image`) and `AttributeRow`."""

    split: Split
    image: dict[str, Any]
    regions: list[dict[str, Any]]


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A data file to be read, wherever it lies.

    Raises:
        RunError: it is damaged, or an object at an address is not there (any more).
    """
    try:
        with open_parquet(path) as parquet:
            yield parquet
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the file system, not of the file
            raise
        raise RunError(
            f"{shown(path)} is damaged ({' '.join(str(error).split())[:200]}): fetch the set again, or remove this "
            "file and publish the set again"
        ) from None


def rows_of(
    folder: Path, manifest: Manifest, config: str, split: str | None, columns: tuple[str, ...] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a config (and split), in order; all columns but embedded pictures unless told."""
    for file in files_of(manifest.files, config, split):
        with open_parquet(folder / file.path) as parquet:
            names = list(columns) if columns else [n for n in parquet.schema_arrow.names if n != "image"]
            for batch in parquet.iter_batches(batch_size=512, columns=names):
                yield from batch.to_pylist()


def rows_of_pictures(
    folder: Path,
    manifest: Manifest,
    config: str,
    image_ids: Collection[str],
    columns: Sequence[str] | None = None,
    split: str | None = None,
) -> Iterator[tuple[DataFile, dict[str, Any]]]:
    """The rows of a config that belong to these pictures, in order, each with its file.

    Row groups are passed over by the least and the greatest id that their statistics name; of the others, ids are read
    first. So the cost is that of the pictures asked for, and of one list of row groups.
    """
    for file in files_of(manifest.files, config, split):
        for row in rows_of_file(folder / file.path, image_ids, columns):
            yield file, row


def rows_of_file(
    path: Path, image_ids: Collection[str], columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The same of one file."""
    with open_parquet(path) as parquet:
        yield from rows_in(parquet, image_ids, columns)


def rows_in(
    parquet: pq.ParquetFile, image_ids: Collection[str], columns: Sequence[str] | None = None
) -> Iterator[dict[str, Any]]:
    """The same of one file that is open."""
    wanted = pa.array(sorted(image_ids), pa.string())
    names = list(columns) if columns else parquet.schema_arrow.names
    for group in _groups_with(parquet.metadata, wanted):
        ids = parquet.read_row_group(group, columns=["image_id"])["image_id"]
        yield from rows_at(parquet, group, pc.indices_nonzero(pc.is_in(ids, wanted)).to_pylist(), names)


def _groups_with(metadata: pq.FileMetaData, wanted: pa.StringArray) -> Iterator[int]:
    """Numbers of the row groups whose range of ids holds one that is wanted."""
    ids = wanted.to_pylist()
    column = next(i for i in range(metadata.num_columns) if metadata.schema.column(i).path == "image_id")
    for group in range(metadata.num_row_groups):
        known = metadata.row_group(group).column(column).statistics
        told = known is not None and known.has_min_max
        at = bisect_left(ids, known.min) if told else 0
        if not told or (at < len(ids) and ids[at] <= known.max):
            yield group


def rows_at(parquet: pq.ParquetFile, group: int, places: Sequence[int], names: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of a row group at `places`, which ascend; nothing behind the last is read."""
    if not len(places):
        return
    first, left = 0, list(places)
    for batch in parquet.iter_batches(batch_size=_FEW, row_groups=[group], columns=names):
        here = [place - first for place in left if place < first + batch.num_rows]
        if here:
            yield from batch.take(pa.array(here)).to_pylist()
            left = left[len(here) :]
        if not left:
            return
        first += batch.num_rows


def published_pictures(folder: Path, manifest: Manifest) -> Iterator[PublishedPicture]:
    """Every published picture with its regions. Both tables lie in picture order, so they are read side by side."""
    for split in SPLITS:
        regions = rows_of(folder, manifest, "attributes", split)
        ahead = next(regions, None)
        for image in rows_of(folder, manifest, "images", split, _LIGHT):
            own: list[dict[str, Any]] = []
            while ahead is not None and ahead["image_id"] == image["image_id"]:
                own.append(ahead)
                ahead = next(regions, None)
            yield PublishedPicture(split, image, own)
