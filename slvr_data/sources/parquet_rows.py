"""`parquet`: the columns of our own form (`JsonlRow`) in Parquet files, one region per row."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from slvr_data.errors import UsageError
from slvr_data.sources.base import Malformed, RawRow
from slvr_data.sources.jsonl import Jsonl, JsonlRow

_BATCH_ROWS = 1024
_INDEX = re.compile(r"__index_level_\d+__")
"""Columns that pandas adds for its index."""
_WHOLE = ("width", "height", "id")


class ParquetRows(Jsonl):
    """See `docs/sources.md`. Rows are read as the JSON lines that would say the same; `line` counts rows from 1."""

    def rows(self, file: Path) -> Iterator[RawRow]:
        """The rows of a file, each as the UTF-8 text of a JSON object.

        Raises:
            UsageError: it is not a Parquet file, is damaged, or its columns are not those of `JsonlRow`.
        """
        number = 0
        try:
            with pq.ParquetFile(file) as parquet:
                columns = _columns(file, parquet.schema_arrow)
                for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=columns):
                    for record in _records(batch):
                        number += 1
                        yield _row(number, record)
        except (pa.ArrowException, OSError) as error:
            text = " ".join(str(error).split())[:200]
            raise UsageError(f"{file}: not a Parquet file that can be read, after row {number} ({text})") from None


def _columns(file: Path, schema: pa.Schema) -> list[str]:
    """The columns to read, which must be known ones."""
    known = list(JsonlRow.model_fields)
    names = [name for name in schema.names if not _INDEX.fullmatch(name)]
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            cure = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}"
            raise UsageError(f"{file}: column {name!r} is unknown: {cure}")
        if names.count(name) > 1:
            raise UsageError(f"{file}: column {name!r} stands there twice: keep one")
    absent = [name for name in ("image", "bbox") if name not in names]
    if absent:
        raise UsageError(f"{file}: there is no column {absent[0]!r}, which every row needs")
    kind = schema.field("image").type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise UsageError(f"{file}: column 'image' is {kind}, must be text: paths of pictures below --images")
    return names


def _records(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | str]:
    """The rows of a batch; for one whose text is not UTF-8, what is wrong with it."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            try:
                yield from batch.slice(index, 1).to_pylist()
            except UnicodeDecodeError as error:
                yield str(error)


def _row(number: int, record: dict[str, Any] | str) -> RawRow:
    if isinstance(record, str):
        return RawRow(number, {}, Malformed("not-utf8", f"a text of the row is not UTF-8: {record}"))
    given = {name: value for name, value in record.items() if value is not None}
    for name in _WHOLE:
        if isinstance(given.get(name), float) and given[name].is_integer():
            given[name] = int(given[name])  # pandas makes floats of whole numbers where some are missing
    return RawRow(number, json.dumps(given, ensure_ascii=False, default=_plain).encode("utf-8", "backslashreplace"))


def _plain(value: Any) -> Any:
    """A value that JSON has no form for: bytes as text (run lengths may be bytes), anything else by its text."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)
