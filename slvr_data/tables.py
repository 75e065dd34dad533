"""Tables of others: rows of Parquet, Arrow and TSV files, and their columns of pictures.

A picture is there as encoded bytes, as Hugging Face's struct of them, as a list of either, or as base64 in a text.
"""

from __future__ import annotations

import base64
import binascii
import csv
import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from slvr_data.images import PictureError, probe
from slvr_data.sources.base import PictureMissingError
from slvr_data.sources.paths import MAX_FILE_BYTES, checked_path

_FIELD = 1 << 30
"""Characters of a TSV field, at most."""
_ROWS = 4
"""Of a table, that are in memory at a time."""
_BUFFER = 1 << 20
"""Bytes that are read of a column at a time."""
_LOOKED_AT = 50
"""Rows that are looked at to see what a column holds."""
ELSEWHERE = "the row holds no bytes, and"
"""How it is said of a row whose picture is not there: it may come."""
REFERENCE = 64
"""A text of at most so many characters in a column of pictures names another row's picture."""


def is_picture(data: bytes) -> bool:
    """Whether bytes begin like a picture of a form that is read."""
    try:
        probe(data)
    except PictureError:
        return False
    return True


def from_base64(text: str) -> bytes | None:
    """The bytes that a text stands for, with or without the head of a data URL; None where it is no base64."""
    body = text.partition("base64,")[2] if text.startswith("data:") else text
    try:
        return base64.b64decode("".join(line.strip() for line in body.splitlines()), validate=True)
    except (binascii.Error, ValueError):
        return None


def picture_columns(schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> list[str]:
    """The columns with pictures, by type, or for bytes and texts by their first values."""
    sure = [field.name for field in schema if _struct(field.type)]
    unsure = {field.name for field in schema if _plain(field.type)}
    seen = 0
    found: set[str] = set()
    for batch in batches:
        for row in batch.slice(0, _LOOKED_AT).select(sorted(unsure)).to_pylist() if unsure else ():
            found |= {name for name, value in row.items() if name not in found and _holds(value)}
        unsure -= found
        seen += batch.num_rows
        if not unsure or seen >= _LOOKED_AT:
            break
    return sorted({*sure, *found})


def _struct(kind: pa.DataType) -> bool:
    kind = _unwrapped(kind)
    return bool(pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _unwrapped(kind: pa.DataType) -> pa.DataType:
    """What lists, and lists of lists, are of."""
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return kind


def _plain(kind: pa.DataType) -> bool:
    kind = _unwrapped(kind)
    return any(
        test(kind)
        for test in (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_string, pa.types.is_large_string)
    )


def _holds(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_holds, value))
    if isinstance(value, str):
        data = from_base64(value) if len(value) > REFERENCE else None
        return data is not None and is_picture(data)
    return isinstance(value, bytes) and is_picture(value)


def pictures_in(value: Any, root: Path) -> Iterator[tuple[bytes | None, str]]:
    """The encoded pictures of a value, each with its own name; None for one that is not there, and why.

    Raises:
        OSError: a file that the value names is there, and cannot be read.
    """
    if isinstance(value, list):
        for one in value:
            yield from pictures_in(one, root)
    elif isinstance(value, bytes):
        yield value, ""
    elif isinstance(value, str) and len(value) > REFERENCE:
        data = from_base64(value)
        yield data, "" if data is not None else "the text is no base64 of a picture"
    elif isinstance(value, dict):
        yield from _in_struct(value, root)


def _in_struct(value: dict[str, Any], root: Path) -> Iterator[tuple[bytes | None, str]]:
    data, path = value.get("bytes"), value.get("path")
    if data is not None:
        yield data, ""
    elif path:
        try:
            file = checked_path(root, str(path), follow_links=True)
        except PictureMissingError as error:
            yield None, f"its picture is not looked for: {error.evidence}"
            return
        if not _is_file(file):
            yield None, f"{ELSEWHERE} {str(path)!r} is not below the folder"
        elif file.stat().st_size > MAX_FILE_BYTES:
            yield None, f"{str(path)!r} has {file.stat().st_size} bytes, at most {MAX_FILE_BYTES} are read"
        else:
            yield file.read_bytes(), str(path)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def parquet_file(path: Path) -> pq.ParquetFile:
    """A reader of a Parquet file that holds a page of each column, and not whole row groups: pictures are heavy."""
    return pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)


@contextmanager
def arrow_file(path: Path) -> Iterator[Any]:
    """A reader of an Arrow file, as `datasets` saves them (a stream) or of the file form."""
    with pa.memory_map(str(path)) as source:
        if source.read(6) == b"ARROW1":
            yield _Batches(pa.ipc.open_file(source))
        else:
            source.seek(0)
            yield pa.ipc.open_stream(source)


class _Batches:
    """A file reader that is gone through as a stream."""

    def __init__(self, reader: Any) -> None:
        self.schema, self._reader = reader.schema, reader

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return (self._reader.get_batch(number) for number in range(self._reader.num_record_batches))


def rows_of(batches: Iterable[pa.RecordBatch], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The rows of batches, some of their columns; few are in memory as objects at a time."""
    for batch in batches:
        for first in range(0, batch.num_rows, _ROWS):
            yield from batch.slice(first, _ROWS).select(columns).to_pylist()


@contextmanager
def wide_fields() -> Iterator[None]:
    """Let `csv` read fields as long as pictures in base64 are."""
    before = csv.field_size_limit(_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def tsv_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of a file of tab-separated values with a head, as VLMEvalKit writes them.

    Raises:
        ValueError: it is not UTF-8, or not such a file.
    """
    try:
        with wide_fields(), path.open(encoding="utf-8", newline="") as stream:
            yield from csv.DictReader(stream, delimiter="\t")
    except csv.Error as error:
        raise ValueError(str(error)) from None


def tsv_column(path: Path) -> str | None:
    """The column with pictures in base64, by the first row that has one."""
    for number, row in enumerate(tsv_rows(path)):
        found = [name for name, value in row.items() if _holds(value)]
        if found or number >= _LOOKED_AT:
            return found[0] if found else None
    return None
