"""All avoided pictures, described, in arrays that processes share: files of one folder, mapped into memory.

A feature is found again by locality-sensitive hashing: `TABLES` keys of `BITS` bits, each bit telling whether a sum of
eight of the descriptor's numbers less eight others exceeds its median over the index. Alike descriptors share a key
in some table; buckets that are crowded tell little, and count little.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from slvr_data.avoid.features import Described
from slvr_data.files import disk_errors, folder_atomic

TABLES, BITS = 8, 20
_SAMPLE = 50_000
"""Features that the medians are taken over."""
_CROWDED = 256
"""A bucket with more features is passed over."""
_ROWS = 64
"""Avoided pictures in a row group of `pictures.parquet`."""

PICTURES = pa.schema([
    ("given", pa.string()),
    ("name", pa.string()),
    ("sha256", pa.string()),
    ("width", pa.int64()),
    ("height", pa.int64()),
    ("preview", pa.binary()),
])  # fmt: skip
"""A row per avoided picture: what was given, its name there, and a small JPEG to look at."""


@cache
def _projection() -> NDArray[np.float32]:
    """[128, TABLES * BITS]: eight numbers of a descriptor count +1, eight -1; drawn by hashes, the same anywhere."""
    matrix = np.zeros((128, TABLES * BITS), np.float32)
    for column in range(TABLES * BITS):
        order = sorted(range(128), key=lambda row: hashlib.sha256(f"{column}:{row}".encode()).digest())
        matrix[order[:8], column], matrix[order[8:16], column] = 1, -1
    return matrix


def _keys(descriptors: NDArray[np.uint8], medians: NDArray[np.float32]) -> NDArray[np.uint32]:
    """[n, TABLES]; sums of whole numbers, exact in float32."""
    bits = (descriptors.astype(np.float32) @ _projection()) > medians
    powers = 1 << np.arange(BITS, dtype=np.uint32)
    keys: NDArray[np.uint32] = (bits.reshape(len(descriptors), TABLES, BITS) * powers).sum(2, dtype=np.uint32)
    return keys


@dataclass(frozen=True)
class AvoidedPicture:
    """What the index knows of a picture before it is described."""

    given: str
    name: str
    sha256: str
    preview: bytes


_TYPES: dict[str, tuple[type[np.generic], int]] = {
    "descriptors": (np.uint8, 128),
    "places": (np.int16, 2),
    "counts": (np.int64, 1),
    "sizes": (np.int16, 2),
    "shapes": (np.int16, 2),
    "smalls": (np.uint8, 1),
    "hashes": (np.uint64, 2),
    "medians": (np.float32, TABLES * BITS),
    "keys": (np.uint32, 1),
    "orders": (np.uint32, 1),
}
"""Files of bare numbers (`NAME.bin`): their type, and numbers per row."""


def write_index(folder: Path, pictures: Iterable[tuple[AvoidedPicture, Described]]) -> int:
    """Write the index whole; how many pictures it holds. A picture whose bytes are there already is left out.

    One picture is in memory at a time, and the keys of all features: 32 bytes each.
    """
    seen: set[str] = set()
    with folder_atomic(folder) as made, disk_errors(f"writing {folder}"), ExitStack() as held:
        files = {name: held.enter_context((made / f"{name}.bin").open("wb")) for name in _TYPES}
        table = held.enter_context(pq.ParquetWriter(made / "pictures.parquet", PICTURES, compression="none"))
        for some in _groups(pictures, seen):
            rows = [{**vars(about), "width": picture.width, "height": picture.height} for about, picture in some]
            table.write_table(pa.Table.from_pylist(rows, schema=PICTURES))
            for _, picture in some:
                _append(files, picture)
        for name in ("descriptors", "smalls"):
            files[name].flush()
        _hash(_mapped(made, "descriptors"), files)
    return len(seen)


def _groups(
    pictures: Iterable[tuple[AvoidedPicture, Described]], seen: set[str]
) -> Iterator[list[tuple[AvoidedPicture, Described]]]:
    """Pictures that were not there before, by row groups."""
    held: list[tuple[AvoidedPicture, Described]] = []
    for about, picture in pictures:
        if about.sha256 not in seen:
            seen.add(about.sha256)
            held.append((about, picture))
        if len(held) == _ROWS:
            yield held
            held = []
    if held:
        yield held


def _append(files: Mapping[str, BinaryIO], picture: Described) -> None:
    numbers: dict[str, Any] = {
        "descriptors": picture.descriptors,
        "places": picture.places,
        "counts": len(picture.places),
        "sizes": (picture.width, picture.height),
        "shapes": picture.small.shape,
        "smalls": picture.small,
        "hashes": picture.hashes,
    }
    for name, value in numbers.items():
        files[name].write(np.ascontiguousarray(value, _TYPES[name][0]).tobytes())


def _hash(descriptors: NDArray[np.uint8], files: Mapping[str, BinaryIO]) -> None:
    """Write the medians, and of each table the sorted keys with the features that have them."""
    sums = descriptors[:: max(1, len(descriptors) // _SAMPLE)].astype(np.float32) @ _projection()
    medians = np.median(sums, axis=0).astype(np.float32) if len(sums) else np.zeros(TABLES * BITS, np.float32)
    files["medians"].write(medians.tobytes())
    parts = [_keys(descriptors[first : first + 65536], medians) for first in range(0, len(descriptors), 65536)]
    for table in range(TABLES):
        keys = np.concatenate([np.empty(0, np.uint32), *(part[:, table] for part in parts)])
        order = np.argsort(keys, kind="stable")
        files["keys"].write(keys[order].tobytes())
        files["orders"].write(order.astype(np.uint32).tobytes())


def _mapped(folder: Path, name: str) -> NDArray[Any]:
    """The rows of a file of numbers, mapped into memory."""
    path, (kind, width) = folder / f"{name}.bin", _TYPES[name]
    rows = path.stat().st_size // (np.dtype(kind).itemsize * width)
    if not rows:
        return np.empty((0, width), kind)
    return np.memmap(path, kind, "r", shape=(rows, width))


class Index:
    """An index that was written; its arrays stay in files until they are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places, self._descriptors = _mapped(folder, "places"), _mapped(folder, "descriptors")
        self._keys = _mapped(folder, "keys").reshape(TABLES, -1)
        self._orders = _mapped(folder, "orders").reshape(TABLES, -1)
        self._medians = np.asarray(_mapped(folder, "medians"))[0]
        self._sizes, self._shapes = np.asarray(_mapped(folder, "sizes")), np.asarray(_mapped(folder, "shapes"))
        self._smalls = _mapped(folder, "smalls").ravel()
        self.hashes: NDArray[np.uint64] = np.asarray(_mapped(folder, "hashes"))
        """Perceptual hashes of each picture and of its mirror image, [pictures, 2]."""
        self._starts = np.concatenate([[0], np.cumsum(_mapped(folder, "counts").ravel())]).astype(np.int64)
        lengths = self._shapes[:, 0].astype(np.int64) * self._shapes[:, 1]
        self._small_starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        digests = pq.read_table(folder / "pictures.parquet", columns=["sha256"])["sha256"].to_pylist()
        self.by_digest = {digest: number for number, digest in enumerate(digests)}
        """sha256 of a picture's file to its number."""

    def __len__(self) -> int:
        return len(self._sizes)

    def votes(self, descriptors: NDArray[np.uint8]) -> NDArray[np.float64]:
        """How much each avoided picture is alike in its features, [pictures]."""
        votes = np.zeros(len(self))
        if not len(descriptors) or not len(self._descriptors):
            return votes
        keys = _keys(descriptors, self._medians)
        for table in range(TABLES):
            ordered = self._keys[table]
            starts = np.searchsorted(ordered, keys[:, table], "left")
            lengths = np.searchsorted(ordered, keys[:, table], "right") - starts
            used = (lengths > 0) & (lengths <= _CROWDED)
            starts, lengths = starts[used], lengths[used]
            places = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
            owners = np.searchsorted(self._starts, self._orders[table][places], "right") - 1
            weights = np.repeat(1.0 / (1 + np.floor(np.log2(lengths))), lengths)
            votes += np.bincount(owners, weights, len(self))
        return np.round(votes, 6)

    def described(self, number: int) -> Described:
        """An avoided picture, as it was described."""
        first, last = self._starts[number], self._starts[number + 1]
        small = self._smalls[self._small_starts[number] : self._small_starts[number + 1]]
        width, height = (int(side) for side in self._sizes[number])
        hashes = int(self.hashes[number, 0]), int(self.hashes[number, 1])
        shape = tuple(int(side) for side in self._shapes[number])
        return Described(
            width, height, self._places[first:last], self._descriptors[first:last], small.reshape(shape), hashes
        )

    def about(self, number: int) -> AvoidedPicture:
        """Where an avoided picture was found, and how it looks."""
        with pq.ParquetFile(self._folder / "pictures.parquet") as file:
            group = file.read_row_group(number // _ROWS, columns=["given", "name", "sha256", "preview"])
        return AvoidedPicture(**group.slice(number % _ROWS, 1).to_pylist()[0])
