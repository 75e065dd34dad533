"""Chunks of avoided pictures in the store `avoided`. One of many pictures is kept in pieces, as it is described.

So neither memory grows with a chunk nor what a kill costs. Pieces are shards of their own (CHUNK-00000, ...); the shard
that bears the chunk's name holds the last of its pictures and says how many pieces come before: with it, the chunk is
whole.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.store import StageStore
from slvr_data.avoid.given import Chunk
from slvr_data.avoid.reading import described
from slvr_data.tables import ELSEWHERE

_TABLE = "pictures"
_PIECES = b"pieces"
"""In the metadata of the last shard's table: how many come before; none where it says nothing."""


def describe_into(store: StageStore, chunk: Chunk) -> Iterator[pa.Table]:
    """Describe the pictures of a chunk that no piece holds, and keep them; each table when it is kept."""
    number = 0
    while (store.folder / _piece(chunk.name, number)).exists():
        number += 1
    last = None
    for table in described(chunk, number):
        if last is not None:
            store.commit(_piece(chunk.name, number), {_TABLE: last})
            number += 1
            yield last
        last = table
    assert last is not None
    last = last.replace_schema_metadata({_PIECES: str(number).encode()} if number else None)
    store.commit(chunk.name, {_TABLE: last})
    yield last


def described_chunk(store: StageStore, chunk: str, columns: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """The rows of a chunk that is whole, in its order."""
    last = store.load(chunk, _TABLE, columns)
    for number in range(_pieces_before(last.schema)):
        yield from store.load(_piece(chunk, number), _TABLE, columns).to_pylist()
    yield from last.to_pylist()


def is_there(store: StageStore, chunk: str) -> bool:
    """Whether a chunk is whole, for readers: nothing is looked into, or changed."""
    last = store.folder / chunk / f"{_TABLE}.parquet"
    if not last.exists():
        return False
    before = _pieces_before(pq.read_schema(last))
    return all((store.folder / _piece(chunk, number)).exists() for number in range(before))


def whole_chunks(store: StageStore, wanted: Mapping[str, Chunk]) -> set[str]:
    """Names of the chunks that are whole.

    A wanted one is not where it names pictures that were elsewhere, since they may be there now. What is to be
    described again of a wanted one is removed: all from the first piece on that is lost, or has such a picture.
    """
    found: dict[str, set[str]] = defaultdict(set)
    holes = set()
    for shard, tables in store.index({_TABLE: ["problem"]}):
        chunk = shard.partition("-")[0]
        found[chunk].add(shard)
        problems = (problem or "" for problem in tables[_TABLE]["problem"])
        if chunk in wanted and any(problem.startswith(ELSEWHERE) for problem in problems):
            holes.add(shard)
    whole = set()
    for chunk, shards in found.items():
        sound = 0
        while (piece := _piece(chunk, sound)) in shards and piece not in holes:
            sound += 1
        if chunk in shards - holes and sound == _told(store, chunk, wanted):
            whole.add(chunk)
        elif chunk in wanted:
            pieces = sorted(shard for shard in shards if _piece(chunk, sound) <= shard)
            for shard in [*({chunk} & shards), *reversed(pieces)]:  # the one that is not sound goes last
                store.remove(shard)
    return whole


def _piece(chunk: str, number: int) -> str:
    return f"{chunk}-{number:05d}"


def _told(store: StageStore, chunk: str, wanted: Mapping[str, Chunk]) -> int:
    """How many pieces come before the shard of a chunk; of a few files, none do."""
    if chunk in wanted and not wanted[chunk].table:
        return 0
    return _pieces_before(pq.read_schema(store.folder / chunk / f"{_TABLE}.parquet"))


def _pieces_before(schema: pa.Schema) -> int:
    return int((schema.metadata or {}).get(_PIECES, 0))
