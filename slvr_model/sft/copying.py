"""A published split written anew for random access: its pictures, its samples, and the embeddings of its regions.

    CACHE/pictures-SPLIT-HASH/pictures.arrow     of the set's files of pictures alone, whatever is learnt from them
    CACHE/SPLIT-HASH/samples.arrow               texts, boxes, and which picture and which vector they have
    CACHE/SPLIT-HASH/vectors.arrow               one for each region, where embeddings are asked for

Each is made once, by one process while others wait, and found again by a hash of what it is made of.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from slvr_data.errors import RunError
from slvr_data.files import disk_errors, folder_atomic
from slvr_data.images import PictureError, decoded
from slvr_data.remote.reading import open_parquet
from slvr_data.shards import files_of
from slvr_data.validate_embeddings import embedding_columns
from slvr_model.data import Sample, SlvSamples, Unusable

LAYOUT = 2
"""Version of what the files hold."""
_CHUNK_ROWS = 2048
_TEXTS = ("query_id", "group_id", "region_id", "image_id", "facet", "question", "answer", "profile_text")
_SAMPLES = pa.schema(
    [(name, pa.string()) for name in _TEXTS]
    + [("box", pa.list_(pa.float64(), 4)), ("wordings", pa.list_(pa.string())), ("choices", pa.list_(pa.string()))]
    + [(name, pa.int64()) for name in ("vector", "picture", "width", "height")]
)
_PICTURES = pa.schema(
    [("image_id", pa.string()), ("image", pa.large_binary()), ("fault", pa.string())]
    + [(name, pa.int64()) for name in ("width", "height")]
)


@dataclass(frozen=True)
class Copied:
    """Where a copy lies."""

    samples: Path
    """Folder of samples, vectors and accounts."""
    pictures: Path
    """Folder of pictures."""


def copied(samples: SlvSamples, cache: Path) -> Copied:
    """The copy of a split below `cache`, made where it is not there yet.

    Raises:
        RunError: more samples than the budget are unusable, or the disk is full.
    """
    manifest, split = samples.manifest, samples.split
    images = [(file.path, file.sha256) for file in files_of(manifest.files, "images", split)]
    dimension = (samples.dimension or samples.embedding_model.get("dimension")) if samples.embeddings else None
    found = Copied(
        cache / f"{split}-{_key(manifest.to_bytes(), split, samples.embeddings, dimension)}",
        cache / f"pictures-{split}-{_key(images, split)}",
    )
    with locked(cache):
        _make(found.pictures, lambda folder: _write_pictures(samples, folder))
        _make(found.samples, lambda folder: _write_samples(samples, found.pictures, folder))
    return found


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder, and let one process work in it while others wait: what it makes is then found by them."""
    with disk_errors(f"writing {folder}"):
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _key(*parts: object) -> str:
    return hashlib.sha256(repr((*parts, LAYOUT)).encode()).hexdigest()[:16]


def _make(folder: Path, write: Callable[[Path], None]) -> None:
    if not folder.exists():
        with disk_errors(f"writing {folder}"), folder_atomic(folder) as fresh:
            write(fresh)


def _write_pictures(samples: SlvSamples, folder: Path) -> None:
    """Each picture of the split with its size, or with what is wrong with it."""
    with (
        pa.OSFile(str(folder / "pictures.arrow"), "wb") as out,
        pa.ipc.new_file(out, _PICTURES) as table,
        ThreadPoolExecutor(os.cpu_count()) as threads,
    ):
        for ids, images in _published(samples):
            told = [list(column) for column in zip(*threads.map(_size, images), strict=True)]
            names = dict(zip(_PICTURES.names, (ids, images.cast(pa.large_binary()), *told), strict=True))
            table.write_table(pa.table(names, _PICTURES))


def _published(samples: SlvSamples) -> Iterator[tuple[Any, Any]]:
    """Ids and bytes of pictures, row group by row group."""
    for file in files_of(samples.manifest.files, "images", samples.split):
        with open_parquet(samples.folder / file.path) as parquet:
            for group in range(parquet.metadata.num_row_groups):
                table = parquet.read_row_group(group, columns=["image_id", "image"])
                if table.num_rows:
                    yield table["image_id"], pc.struct_field(table["image"], "bytes")


def _size(image: Any) -> tuple[str | None, int | None, int | None]:
    """Why a picture cannot be read, or its width and height in pixels."""
    if not image.is_valid:
        return "it is published by reference: restore it with slvr-data attach", None, None
    try:
        return None, *decoded(image.as_py()).size
    except (PictureError, OSError, ValueError) as error:
        return str(error), None, None


@dataclass(frozen=True)
class _Shown:
    """What of a picture samples are checked by."""

    size: tuple[int, int]


class _Sized(SlvSamples):
    """Samples of a split whose pictures have been read before: they are not decoded again."""

    def __init__(self, like: SlvSamples, pictures: Path) -> None:
        budget = like.accounts.budget
        super().__init__(like.folder, like.split, embeddings=like.embeddings, dimension=like.dimension, budget=budget)
        table = opened(pictures / "pictures.arrow").select(["image_id", "width", "height", "fault"])
        self.places: dict[str, int] = {}
        self._known: list[Any] = []
        for row in (row for batch in table.to_batches() for row in batch.to_pylist()):
            self.places[row["image_id"]] = len(self._known)
            self._known.append(_Shown((row["width"], row["height"])) if row["fault"] is None else row["fault"])

    def _picture(self, image_id: str) -> Any:
        if image_id not in self.places:
            return Unusable("picture-unreadable", f"split {self.split} has no picture {image_id}: validate the set")
        known = self._known[self.places[image_id]]
        return Unusable("picture-unreadable", known) if isinstance(known, str) else known


def _write_samples(like: SlvSamples, pictures: Path, folder: Path) -> None:
    samples, vectors = _Sized(like, pictures), _Vectors(like)
    with (
        pa.OSFile(str(folder / "samples.arrow"), "wb") as first,
        pa.OSFile(str(folder / "vectors.arrow"), "wb") as second,
        pa.ipc.new_file(first, _SAMPLES) as texts,
        pa.ipc.new_file(second, vectors.schema) as numbers,
    ):
        for rows in _chunks(samples, vectors):
            texts.write_table(pa.Table.from_pylist(rows, _SAMPLES))
            numbers.write_table(vectors.taken())
    accounts = samples.accounts
    kept = {"seen": accounts.seen, "used": accounts.used, "unusable": dict(accounts.unusable), "named": accounts.named}
    (folder / "accounts.json").write_text(json.dumps(kept, indent=1))


def _chunks(samples: _Sized, vectors: _Vectors) -> Iterator[list[dict[str, Any]]]:
    """Rows of samples in pieces."""
    names = [field.name for field in fields(Sample) if field.name not in ("picture", "embedding")]
    rows: list[dict[str, Any]] = []
    for sample in samples:
        width, height = sample.picture.size
        known: dict[str, Any] = {"picture": samples.places[sample.image_id], "width": width, "height": height}
        known["vector"] = vectors.place(sample)
        rows.append({name: getattr(sample, name) for name in names} | known)
        if len(rows) == _CHUNK_ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


class _Vectors:
    """The embeddings of regions, each once, in the numbers in which they are published."""

    def __init__(self, samples: SlvSamples) -> None:
        number = pa.float32()
        if samples.embeddings and (columns := embedding_columns(samples.manifest)):
            number = columns[0].field("embedding").type.value_type
        self.schema = pa.schema([("vector", pa.list_(number))])
        self._places: dict[str, int] = {}
        self._held: list[npt.NDArray[np.float32]] = []

    def place(self, sample: Sample) -> int | None:
        """The number of a sample's vector; None: it has none."""
        if sample.embedding is None:
            return None
        if sample.region_id not in self._places:
            self._places[sample.region_id] = len(self._places)
            self._held.append(sample.embedding)
        return self._places[sample.region_id]

    def taken(self) -> pa.Table:
        """Those that are new since it was asked last."""
        kind = self.schema.field("vector").type
        numbers = np.concatenate([*self._held, np.empty(0, np.float32)]).astype(kind.value_type.to_pandas_dtype())
        ends = np.cumsum([0, *(len(vector) for vector in self._held)]).astype(np.int32)
        self._held = []
        return pa.table([pa.ListArray.from_arrays(ends, numbers, type=kind)], self.schema)


def opened(file: Path) -> pa.Table:
    """A file of a copy, mapped into memory.

    Raises:
        RunError: it is damaged.
    """
    try:
        return pa.ipc.open_file(pa.memory_map(str(file))).read_all()
    except (OSError, pa.ArrowInvalid) as error:
        raise RunError(f"{file.parent} is damaged ({error}): remove it, and it is made again") from None
