"""Tables that lie in a temporary file and are mapped from there: the system keeps of them what is being read."""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from slvr_data.files import disk_errors

SMALL = 20_000
"""Rows of a table that stays in memory."""
_PIECE = 1 << 15
"""Rows of a mapped table that lie together."""
_BLOCK = 1 << 13
"""Rows that are put in order at a time."""

Places = npt.NDArray[np.int64]


def mapped(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pa.Table:
    """The rows of all batches, in pieces of `_PIECE`, in a file without a name that is gone with the table.

    Raises:
        RunError: there is no room below the folder for temporary files (`TMPDIR`).
    """
    where = f"writing a temporary file below {tempfile.gettempdir()} (TMPDIR=FOLDER names another folder)"
    with disk_errors(where), tempfile.TemporaryFile() as file:
        with pa.ipc.new_file(file, schema) as writer:
            for piece in _pieces(batches, schema):
                writer.write_table(piece)
        file.flush()
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    return pa.ipc.open_file(pa.py_buffer(view)).read_all()


def _pieces(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(one.num_rows for one in held) >= _PIECE:
            yield pa.Table.from_batches(held, schema).combine_chunks()
            held = []
    yield pa.Table.from_batches(held, schema).combine_chunks()


def read_mapped(path: Path) -> pa.Table:
    """A Parquet file's rows: in memory where they are few, else mapped."""
    with pq.ParquetFile(path, memory_map=True) as file:
        if file.metadata.num_rows <= SMALL:
            return file.read()
        return mapped(file.iter_batches(batch_size=_BLOCK), file.schema_arrow)


def in_order(table: pa.Table, places: Places) -> pa.Table:
    """The rows at `places`, in that order: in memory where they are few, else mapped."""
    if len(places) <= SMALL and table.num_rows <= SMALL:
        return table.combine_chunks().take(pa.array(places))
    return mapped(_blocks(_in_pieces(table), places), table.schema)


def _in_pieces(table: pa.Table) -> pa.Table:
    """The table in pieces that are large enough; mapped if it is made anew."""
    pieces = table.column(0).num_chunks
    return table if pieces <= 2 + 2 * table.num_rows // _PIECE else mapped(table.to_batches(), table.schema)


def _blocks(table: pa.Table, places: Places) -> Iterator[pa.RecordBatch]:
    pieces = table.to_batches()
    starts = np.cumsum([0, *(piece.num_rows for piece in pieces)])
    for first in range(0, len(places), _BLOCK):
        wanted = places[first : first + _BLOCK]
        piece_of = np.searchsorted(starts, wanted, "right") - 1
        by_piece = np.argsort(piece_of, kind="stable")
        numbers, borders = np.unique(piece_of[by_piece], return_index=True)
        taken = [
            pieces[number].take(pa.array(wanted[here] - starts[number]))
            for number, here in zip(numbers, np.split(by_piece, borders[1:]), strict=True)
        ]
        together = pa.Table.from_batches(taken, table.schema).combine_chunks()
        yield from together.take(pa.array(np.argsort(by_piece, kind="stable"))).to_batches()
