"""Writing a published table: bounded row groups, bounded files, names that say their content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from slvr_data.arrow import arrow_schema
from slvr_data.files import disk_errors, sha256_of, sync

BATCH_ROWS = 512
"""Rows are turned into Arrow by this many at a time."""
MAX_GROUP_ROWS = 2048


@dataclass(frozen=True)
class DataFile:
    """One file of a publication. `path` is relative to the set's folder, with "/" between its parts."""

    path: str
    sha256: str
    bytes: int
    rows: int
    config: str
    split: str


class TableWriter:
    """Writes the rows of one config and split into `data/CONFIG/SPLIT-NNNNN-HASH.parquet`.

    The hash in a name is that of the file: a file never changes, so a publication can appear beside the
    one before it, and an upload sends only what is new.
    """

    def __init__(
        self,
        staging: Path,
        config: str,
        split: str,
        record: type[BaseModel] | pa.Schema,
        max_group_bytes: int,
        max_file_bytes: int,
    ) -> None:
        self.files: list[DataFile] = []
        self._thread = ThreadPoolExecutor(1)  # compresses and writes one row group while the next is collected
        self._writing: Future[None] | None = None
        self._config, self._split = config, split
        self._staging = staging / "data" / config
        self._schema = record if isinstance(record, pa.Schema) else arrow_schema(record)
        self._max_group_bytes, self._max_file_bytes = max_group_bytes, max_file_bytes
        self._rows: list[dict[str, Any]] = []
        self._row_bytes = 0
        self._group: list[pa.Table] = []
        self._group_bytes = self._group_rows = self._file_rows = 0
        self._writer: pq.ParquetWriter | None = None

    @property
    def has_rows(self) -> bool:
        """Whether any row was added."""
        return bool(self._rows or self._group or self._writing)

    def add(self, row: dict[str, Any], payload: int = 0) -> None:
        """Add a row; `payload` is the length of the binary data it carries."""
        if self._rows and self._group_bytes + self._row_bytes + payload > self._max_group_bytes * 3 // 4:
            self._convert()
            self._flush()
        self._rows.append(row)
        self._row_bytes += payload
        if len(self._rows) >= BATCH_ROWS:
            self._convert()
        if self._group_bytes >= self._max_group_bytes * 3 // 4 or self._group_rows >= MAX_GROUP_ROWS:
            self._flush()

    def close(self, keep_empty: bool = False) -> list[DataFile]:
        """Finish; with `keep_empty` a table without rows still gets one file."""
        self._convert()
        self._flush()
        self._written()
        self._thread.shutdown()
        if self._writer is None and keep_empty and not self.files:
            self._open()
        self._finish()
        return self.files

    def _convert(self) -> None:
        if self._rows:
            table = pa.Table.from_pylist(self._rows, schema=self._schema)
            self._group.append(table)
            self._group_bytes += table.nbytes
            self._group_rows += table.num_rows
            self._rows, self._row_bytes = [], 0

    def _flush(self) -> None:
        """Hand the row group to the thread once it has written the one before: two are in memory at most."""
        if not self._group:
            return
        self._written()
        self._writing = self._thread.submit(self._write, self._group)
        self._group, self._group_bytes, self._group_rows = [], 0, 0

    def _written(self) -> None:
        """Wait until the thread has written what it was given, and raise what it met."""
        if self._writing is not None:
            self._writing.result()

    def _write(self, group: list[pa.Table]) -> None:
        if self._writer is None:
            self._open()
        assert self._writer is not None
        table = pa.concat_tables(group).combine_chunks()
        with disk_errors(f"writing {self._temporary}"):
            self._writer.write_table(table, row_group_size=table.num_rows)
        self._file_rows += table.num_rows
        if self._temporary.stat().st_size >= self._max_file_bytes:
            self._finish()

    def _open(self) -> None:
        self._temporary = self._staging / f"{self._split}-{len(self.files):05d}.parquet"
        with disk_errors(f"writing {self._temporary}"):
            self._staging.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(
                self._temporary,
                self._schema,
                compression="zstd",
                use_dictionary=_dictionary_columns(self._schema),
                write_page_index=True,
                use_content_defined_chunking=True,
            )

    def _finish(self) -> None:
        if self._writer is None:
            return
        with disk_errors(f"writing {self._temporary}"):
            self._writer.close()
            sync(self._temporary)  # what it replaces is removed once the manifest names it
            digest = sha256_of(self._temporary)
            final = self._temporary.with_name(f"{self._temporary.stem}-{digest[:12]}.parquet")
            self._temporary.replace(final)
        path = f"data/{self._config}/{final.name}"
        self.files.append(DataFile(path, digest, final.stat().st_size, self._file_rows, self._config, self._split))
        self._writer, self._file_rows = None, 0


def _dictionary_columns(schema: pa.Schema) -> list[str]:
    """Columns whose values repeat; ids, texts and bytes are written plainly."""
    unique = {"region_id", "image_id", "content_sha256", "phash", "profile_text", "path", "record"}
    plain = {field.name for field in schema if pa.types.is_string(field.type)} - unique
    return sorted(plain | {"profile", "source_refs", "verdicts", "provenance"} & set(schema.names))


def read_parquet(path: Path, columns: list[str] | None = None) -> pa.Table:
    """One whole Parquet file; `pyarrow.parquet.read_table` would import pandas for it.

    Raises:
        pa.ArrowInvalid: naming the file, which is damaged.
    """
    with naming(path), pq.ParquetFile(path, memory_map=True) as file:
        return file.read(columns=columns)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the Parquet file in what Arrow says of a damaged one: it becomes `pa.ArrowInvalid`, if it was not."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # of the file system, not of the file
            raise
        raise pa.ArrowInvalid(f"{path}: {error}") from error


def files_of(files: Sequence[DataFile], config: str, split: str | None = None) -> list[DataFile]:
    """The files of one config (and split), in order."""
    return [file for file in files if file.config == config and split in (None, file.split)]
