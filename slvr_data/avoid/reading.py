"""A chunk of avoided pictures into rows, piece by piece: each picture described, or why it cannot be."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from slvr_data.avoid.features import Described, describe
from slvr_data.avoid.given import Chunk
from slvr_data.avoid.index import AvoidedPicture
from slvr_data.errors import RunError
from slvr_data.images import PictureError, encode_jpeg, load
from slvr_data.sources.paths import MAX_FILE_BYTES
from slvr_data.tables import arrow_file, parquet_file, pictures_in, rows_of, tsv_rows

MAX_PIXELS = 400_000_000
"""A larger avoided picture counts as unreadable."""
PREVIEW = 256
"""Longer side of the small pictures that people look at."""
PIECE = 256
"""Pictures of a chunk that are described at a time: they take about 15 MB."""
_ROWS = 4
"""Of a table, that are in memory at a time."""

ROWS = pa.schema([
    ("name", pa.string()),
    ("sha256", pa.string()),
    ("problem", pa.string()),
    ("preview", pa.binary()),
    ("size", pa.list_(pa.int64())),
    ("small_size", pa.list_(pa.int64())),
    ("small", pa.binary()),
    ("places", pa.binary()),
    ("descriptors", pa.binary()),
    ("hashes", pa.list_(pa.uint64())),
])  # fmt: skip
"""Of a picture that cannot be used, `name` and `problem` alone are set. `size` is that of features' places."""

Encoded = tuple[str, bytes | None, str]
"""Name, bytes, and where there are none, why."""


def described(chunk: Chunk, kept: int = 0) -> Iterator[pa.Table]:
    """The pictures of a chunk, each distinct file once, as tables of `ROWS` for `PIECE` each; the last is for the rest.

    The first `kept` tables, which are there from an earlier run, are left out: their pictures are read to be known
    again, and not described.

    Raises:
        RunError: a file was there when the chunk was found, and cannot be read here and now. That is no hole: it may be
            read tomorrow, or on another machine.
    """
    rows: list[dict[str, Any]] = []
    seen: set[bytes] = set()
    for count, (name, data, problem) in enumerate(_encoded(chunk)):
        if count > kept * PIECE and count % PIECE == 0:
            yield pa.Table.from_pylist(rows, schema=ROWS)
            rows = []
        again = count < kept * PIECE
        if data is None:
            row = {"name": name, "problem": problem}
        elif (digest := hashlib.sha256(data)).digest() in seen:
            continue
        else:
            seen.add(digest.digest())
            row = {} if again else {"name": name, "sha256": digest.hexdigest()} | _row(data)
        if not again:
            rows.append(row)
    yield pa.Table.from_pylist(rows, schema=ROWS)


def _row(data: bytes) -> dict[str, Any]:
    try:
        pixels = load(data, MAX_PIXELS).pixels
    except PictureError as error:
        return {"sha256": None, "problem": f"{error.reason}: {error}"}
    found = describe(pixels)
    return {
        "preview": preview(pixels),
        "size": [found.width, found.height],
        "small_size": list(found.small.shape),
        "small": found.small.tobytes(),
        "places": found.places.tobytes(),
        "descriptors": found.descriptors.tobytes(),
        "hashes": list(found.hashes),
    }


def preview(pixels: Image.Image) -> bytes:
    """A small JPEG of a picture, for people."""
    small = pixels.copy()
    small.thumbnail((PREVIEW, PREVIEW), reducing_gap=3.0)
    return encode_jpeg(small, 75)


def described_of(row: dict[str, Any], given: str) -> tuple[AvoidedPicture, Described]:
    """A readable row of `ROWS`, as the index takes it."""
    small = np.frombuffer(row["small"], np.uint8).reshape(row["small_size"])
    places = np.frombuffer(row["places"], np.int16).reshape(-1, 2)
    descriptors = np.frombuffer(row["descriptors"], np.uint8).reshape(-1, 128)
    hashes = row["hashes"][0], row["hashes"][1]
    about = AvoidedPicture(given, row["name"], row["sha256"], row["preview"])
    width, height = row["size"]
    return about, Described(width, height, places, descriptors, small, hashes)


def _encoded(chunk: Chunk) -> Iterator[Encoded]:
    root = Path(chunk.root)
    if not chunk.table:
        for file in chunk.files:
            yield _read(root, file, file in chunk.gone)
        return
    (file,) = chunk.files
    number = 0
    try:
        for number, row in _rows(root / file, chunk):
            for column in chunk.columns:
                for place, (data, why) in enumerate(pictures_in(row[column], root)):
                    name = f"{file}:{number}" + (f":{column}" if len(chunk.columns) > 1 else "")
                    yield name + (f":{place + 1}" if place else ""), data, why
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, MemoryError):
            raise
        if isinstance(error, OSError) and error.errno is not None:  # Arrow tells damage without one
            raise _unread(root / file, error) from None
        after = f"after row {number}" if number else "from its start"
        why = f"the table is damaged {after} ({' '.join(str(error).split())[:200]}): get it again"
        yield from ((f"{file}:{left}" if left else file, None, why) for left in _left(root / file, chunk, number))


def _left(path: Path, chunk: Chunk, number: int) -> Iterable[int]:
    """Numbers of the rows behind a damage; 0 alone where nothing tells how many there are."""
    if chunk.group is None:
        return (0,)
    try:
        with pq.ParquetFile(path) as parquet:
            first, last = _span(parquet, chunk.group)
    except (pa.ArrowException, OSError):  # it has changed meanwhile
        return (0,)
    return range(max(first, number) + 1, last + 1)


def _unread(path: Path, error: OSError) -> RunError:
    where = f" ({error.filename})" if error.filename not in (None, str(path)) else ""
    return RunError(
        f"{socket.gethostname()} cannot read {path}{where}, which --avoid names: {error.strerror or error}: let it be "
        "read (chmod), or put what is avoided on a disk that all machines see; the same command goes on"
    )


def _read(root: Path, file: str, gone: bool) -> Encoded:
    """A picture file; `gone`: nobody could look at it before."""
    path = root / file
    try:
        if not path.is_file() and path.exists():
            return file, None, "it is no file"
        if path.stat().st_size > MAX_FILE_BYTES:
            return file, None, f"the file has {path.stat().st_size} bytes, at most {MAX_FILE_BYTES} are read"
        return file, path.read_bytes(), ""
    except OSError as error:
        if not gone:
            raise _unread(path, error) from None
        return file, None, f"it cannot be read: {error.strerror}"


def _rows(path: Path, chunk: Chunk) -> Iterator[tuple[int, dict[str, Any]]]:
    """Rows of a chunk's columns, numbered from 1 in the whole file."""
    columns = list(chunk.columns)
    if path.suffix.lower() == ".tsv":
        yield from enumerate(tsv_rows(path), 1)
        return
    if path.suffix.lower() == ".arrow":
        with arrow_file(path) as reader:
            yield from enumerate(rows_of(reader, columns), 1)
        return
    group = chunk.group or 0
    with parquet_file(path) as parquet:
        number, _ = _span(parquet, group)
        for batch in parquet.iter_batches(batch_size=_ROWS, row_groups=[group], columns=columns):
            for row in batch.to_pylist():
                number += 1
                yield number, row


def _span(parquet: pq.ParquetFile, group: int) -> tuple[int, int]:
    """Rows of the whole file before a row group, and with it."""
    counts = [parquet.metadata.row_group(number).num_rows for number in range(group + 1)]
    return sum(counts[:-1]), sum(counts)
