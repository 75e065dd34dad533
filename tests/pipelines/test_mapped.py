"""Tables in temporary files have the rows of those in memory, in the order that is asked for."""

from __future__ import annotations

import random
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import mapped
from pipelines.mapped import in_order, read_mapped
from slvr_data.errors import RunError

MASK = pa.struct([("c", pa.string())])
SCHEMA = pa.schema([("n", pa.int64()), ("text", pa.string()), ("list", pa.list_(pa.float64())), ("mask", MASK)])


def table(rows: int, seed: int = 0) -> pa.Table:
    """Rows with nulls everywhere, in pieces of any length."""
    dice = random.Random(seed)
    made = [
        {
            "n": number,
            "text": dice.choice((None, "ä" * dice.randint(0, 9))),
            "list": dice.choice((None, [], [1.0, 2.5])),
            "mask": dice.choice((None, {"c": None}, {"c": str(number)})),
        }
        for number in range(rows)
    ]
    borders = sorted({0, rows, *(dice.randrange(rows + 1) for _ in range(20))})
    pieces = [pa.Table.from_pylist(made[a:b], SCHEMA) for a, b in pairwise(borders)]
    return pa.concat_tables([SCHEMA.empty_table(), *pieces])


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("SMALL", 10), ("_PIECE", 64), ("_BLOCK", 17)):
        monkeypatch.setattr(mapped, name, value)


@pytest.mark.parametrize("rows", [0, 1, 9, 500])
def test_rows_come_in_the_order_asked_for(rows: int) -> None:
    whole = table(rows)
    places = np.random.default_rng(rows).permutation(rows)[: rows * 3 // 4]
    assert in_order(whole, places).equals(whole.combine_chunks().take(pa.array(places)))
    assert in_order(whole, places[:0]).num_rows == 0


@pytest.mark.parametrize("rows", [0, 9, 500])
def test_a_file_is_read_whole(tmp_path: Path, rows: int) -> None:
    pq.write_table(table(rows), tmp_path / "rows.parquet", row_group_size=100)
    found = read_mapped(tmp_path / "rows.parquet")
    assert found.equals(table(rows)) and found.schema == SCHEMA


def test_what_is_mapped_is_not_in_memory(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x" * 1000 + str(n) for n in range(4000)]}), tmp_path / "rows.parquet")
    before = pa.total_allocated_bytes()
    found = read_mapped(tmp_path / "rows.parquet")
    assert found.nbytes > 4_000_000 > 10 * (pa.total_allocated_bytes() - before)


def test_no_room_for_temporary_files_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(RunError, match="TMPDIR=FOLDER"):
        in_order(table(100), np.arange(100))
