"""Reading a published set picture by picture: each picture's row with the rows of its regions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from slvr_data.manifest import Manifest
from slvr_data.schema import SPLITS, Split
from slvr_data.shards import files_of

_LIGHT = (
    "image_id", "width", "height", "source", "license", "complete", "phash", "path", "byte_size", "content_sha256",
)  # fmt: skip


@dataclass(frozen=True)
class PublishedPicture:
    """A picture of the set with its regions, as dictionaries of `ImageRow` (without `image`) and `AttributeRow`."""

    split: Split
    image: dict[str, Any]
    regions: list[dict[str, Any]]


def rows_of(
    folder: Path, manifest: Manifest, config: str, split: str | None, columns: tuple[str, ...] | None = None
) -> Iterator[dict[str, Any]]:
    """The rows of a config (and split), in order; all columns but embedded pictures unless told."""
    for file in files_of(manifest.files, config, split):
        with pq.ParquetFile(folder / file.path) as parquet:
            names = list(columns) if columns else [n for n in parquet.schema_arrow.names if n != "image"]
            for batch in parquet.iter_batches(batch_size=512, columns=names):
                yield from batch.to_pylist()


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
