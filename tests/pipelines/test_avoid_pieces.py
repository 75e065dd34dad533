"""A row group of many avoided pictures: described in pieces that are as good as one, and taken up where it was left."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.stages.avoid import AVOIDED, describe_chunk
from pipelines.stages.pieces import describe_into, described_chunk, is_there, whole_chunks
from pipelines.store import StageStore
from slvr_data.avoid import reading
from slvr_data.avoid.given import Chunk, open_given
from slvr_data.tables import ELSEWHERE, parquet_file
from tests.builds import photograph

PICTURES = [photograph(number)[0] for number in range(5)]
BROKEN = PICTURES[4][:500]
VALUES = [
    PICTURES[0], BROKEN, PICTURES[1], None, PICTURES[0], PICTURES[2], BROKEN, b"",
    PICTURES[3], PICTURES[2], PICTURES[1],
]  # fmt: skip
"""Ten pictures: the same stand in several pieces of three, sound ones and one that is cut; the last has nothing new."""
DISTINCT = 6


def chunk_of(folder: Path, values: list[Any]) -> Chunk:
    """A table of one row group."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": value, "path": None} if isinstance(value, bytes) else value for value in values]
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), folder / "a.parquet")
    (chunk,) = open_given(str(folder / "a.parquet")).chunks
    return chunk


def rows(store: StageStore, chunk: Chunk) -> list[dict[str, Any]]:
    return list(described_chunk(store, chunk.name))


def whole(store: StageStore, chunk: Chunk) -> bool:
    found = chunk.name in whole_chunks(store, {chunk.name: chunk})
    assert is_there(store, chunk.name) == found
    return found


@pytest.fixture
def chunk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chunk:
    monkeypatch.setattr(reading, "PIECE", 3)
    return chunk_of(tmp_path, VALUES)


@pytest.fixture
def at_once(tmp_path: Path, chunk: Chunk, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What one shard holds."""
    with monkeypatch.context() as patch:
        patch.setattr(reading, "PIECE", 256)
        describe_chunk(chunk, tmp_path / "at-once")
    store = StageStore(tmp_path / "at-once", AVOIDED)
    assert store.shards() == [chunk.name] and whole(store, chunk)
    return rows(store, chunk)


def test_pieces_hold_what_one_shard_would(tmp_path: Path, chunk: Chunk, at_once: list[dict[str, Any]]) -> None:
    looked = describe_chunk(chunk, tmp_path / "work")
    store = StageStore(tmp_path / "work", AVOIDED)
    assert store.shards() == [chunk.name, *(f"{chunk.name}-0000{number}" for number in range(3))]
    assert rows(store, chunk) == at_once and whole(store, chunk)
    assert len(at_once) == DISTINCT == looked.pictures and looked.found == 4
    assert list(described_chunk(store, chunk.name, ["name"])) == [{"name": row["name"]} for row in at_once]


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_a_killed_one_goes_on(tmp_path: Path, chunk: Chunk, at_once: list[dict[str, Any]], kept: int) -> None:
    store = StageStore(tmp_path / "work", AVOIDED)
    describing = describe_into(store, chunk)
    for _ in range(kept):
        next(describing)
    del describing
    assert not whole(store, chunk)
    assert len(store.shards()) == kept, "nothing that is sound is removed"
    before = {name: stamp(store, name) for name in store.shards()}
    describe_chunk(chunk, tmp_path / "work")
    assert rows(store, chunk) == at_once and whole(store, chunk)
    assert {name: stamp(store, name) for name in before} == before


def stamp(store: StageStore, shard: str) -> tuple[int, int]:
    info = (store.folder / shard / "pictures.parquet").stat()
    return info.st_ino, info.st_mtime_ns


@pytest.mark.parametrize("lost", [0, 2, 3])
def test_a_damaged_piece_is_described_again(
    tmp_path: Path, chunk: Chunk, at_once: list[dict[str, Any]], lost: int
) -> None:
    describe_chunk(chunk, tmp_path / "work")
    store = StageStore(tmp_path / "work", AVOIDED)
    shard = [*store.shards()[1:], chunk.name][lost]
    file = store.folder / shard / "pictures.parquet"
    os.truncate(file, file.stat().st_size // 2)
    assert not whole(store, chunk)
    assert store.shards() == [f"{chunk.name}-0000{number}" for number in range(lost)], "what came before it stays"
    describe_chunk(chunk, tmp_path / "work")
    assert rows(store, chunk) == at_once and whole(store, chunk)


def test_a_picture_that_was_elsewhere_is_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "PIECE", 3)
    values = [*VALUES[:4], {"bytes": None, "path": "later.jpg"}, *VALUES[4:]]
    chunk = chunk_of(tmp_path, values)
    describe_chunk(chunk, tmp_path / "work")
    store = StageStore(tmp_path / "work", AVOIDED)
    holes = [row["name"] for row in rows(store, chunk) if (row["problem"] or "").startswith(ELSEWHERE)]
    assert holes == ["a.parquet:5"]
    assert chunk.name not in whole_chunks(store, {chunk.name: chunk}) and len(store.shards()) == 1
    (tmp_path / "later.jpg").write_bytes(PICTURES[2])
    describe_chunk(chunk, tmp_path / "work")
    assert whole(store, chunk)
    names = [row["name"] for row in rows(store, chunk) if row["sha256"]]
    assert names == [f"a.parquet:{number}" for number in (1, 3, 5, 10)], "row 7 has the picture of row 5"


def test_a_row_group_is_not_in_memory_at_once(tmp_path: Path) -> None:
    noise = [os.urandom(20_000) for _ in range(1000)]
    pq.write_table(pa.table({"image": noise}), tmp_path / "a.parquet", write_batch_size=16, use_dictionary=False)
    before, most, count = pa.total_allocated_bytes(), 0, 0
    with parquet_file(tmp_path / "a.parquet") as parquet:
        for batch in parquet.iter_batches(batch_size=4, row_groups=[0], columns=["image"]):
            most, count = max(most, pa.total_allocated_bytes() - before), count + batch.num_rows
    assert count == 1000 and most < sum(map(len, noise)) / 4
