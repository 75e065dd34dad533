"""Segments: immutable Parquet files in the set's folder, from which another node resumes.

A name tells order, kind and content: `00000012-replies-0f3a5c7e9b1d2f46.parquet`. What a later segment says of a
key replaces what an earlier one said. Parts that were merged have equal numbers: of these, the name decides.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from slvr_data.files import disk_errors, remove_leftovers, write_atomic
from slvr_data.requests.replies import COLUMNS

Kind = Literal["replies", "grants"]
Row = tuple[Any, ...]

_NAME = re.compile(r"(\d{8,})-(replies|grants)-([0-9a-f]{16})\.parquet")
_TYPES = {
    "attempt": pa.int32(),
    "prompt_tokens": pa.int64(),
    "completion_tokens": pa.int64(),
    "cached_tokens": pa.int64(),
    "seconds": pa.float64(),
}
_SCHEMAS: dict[Kind, pa.Schema] = {
    "replies": pa.schema([(name, _TYPES.get(name, pa.string())) for name in COLUMNS]),
    "grants": pa.schema([("base_key", pa.string()), ("attempts", pa.int32())]),
}


class DamagedSegmentError(Exception):
    """A segment is not what its name says."""


@dataclass(frozen=True)
class Segment:
    """One file: its name and its size in bytes."""

    name: str
    bytes: int

    @property
    def order(self) -> tuple[int, str]:
        """Later segments have larger ones."""
        return int(self.name.partition("-")[0]), self.name

    @property
    def kind(self) -> Kind:
        """What its rows are: replies, or further attempts that were granted."""
        return "replies" if "-replies-" in self.name else "grants"


class SegmentFolder:
    """The segments of one set. Only one process writes here at a time (the set's lock); others may look."""

    def __init__(self, folder: Path, *, looking: bool = False) -> None:
        """Open, or make; `looking`: to read alone, so that nothing is made or removed."""
        self.folder = folder
        if looking:
            return
        with disk_errors(f"opening {folder}"):
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
            self._next = 1 + max((int(path.name.partition("-")[0]) for path in self._numbered()), default=0)

    def _numbered(self) -> Iterator[Path]:
        """Segments, also those put aside."""
        return (path for path in self.folder.iterdir() if _NAME.match(path.name))

    def segments(self) -> list[Segment]:
        """All there are, oldest first."""
        with disk_errors(f"reading {self.folder}"):
            found = [Segment(path.name, path.stat().st_size) for path in self._numbered() if _NAME.fullmatch(path.name)]
        return sorted(found, key=lambda segment: segment.order)

    def write(self, kind: Kind, rows: list[Row]) -> Segment:
        """A new segment of rows in the order of the kind's columns. A full disk is a RunError."""
        schema, columns = _SCHEMAS[kind], zip(*rows, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
        table = pa.table(arrays, schema)
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, compression="zstd", write_statistics=False)
        data = sink.getvalue().to_pybytes()
        name = f"{self._next:08d}-{kind}-{hashlib.sha256(data).hexdigest()[:16]}.parquet"
        write_atomic(self.folder / name, data)
        self._next += 1
        return Segment(name, len(data))

    def read(self, segment: Segment) -> list[Row]:
        """Its rows; DamagedSegmentError where it is not what its name says, RunError where it cannot be read."""
        with disk_errors(f"reading {self.folder / segment.name}"):
            data = (self.folder / segment.name).read_bytes()
        if hashlib.sha256(data).hexdigest()[:16] not in segment.name:
            raise DamagedSegmentError("its content is not what its name says")
        try:
            with pq.ParquetFile(pa.BufferReader(data)) as file:
                table = file.read().select(_SCHEMAS[segment.kind].names).cast(_SCHEMAS[segment.kind])
        except (pa.ArrowException, KeyError) as error:
            raise DamagedSegmentError(str(error)) from error
        return list(zip(*(column.to_pylist() for column in table.columns), strict=True))

    def put_aside(self, segment: Segment) -> Path:
        """Rename a damaged segment, so that it is not read again; where it is now."""
        path = self.folder / segment.name
        with disk_errors(f"renaming {path}"):
            return path.replace(path.with_name(f"{segment.name}.damaged"))
