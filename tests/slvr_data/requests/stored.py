"""What a request store holds, read from its files and through itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq

from slvr_data.requests.store import RequestStore
from tests.slvr_data.requests.putting import reply


def segments(folder: Path) -> list[Path]:
    return sorted((folder / "segments").glob("*.parquet"))


def rows(folder: Path) -> list[str]:
    """Keys of all rows of all segments."""
    return [key for path in segments(folder) for key in pq.read_table(path)["key"].to_pylist()]


def missing(folder: Path, scratch: Path, count: int, say: Callable[[str], None] = lambda text: None) -> list[int]:
    """Numbers below `count` whose reply the store does not have; all others are as they were put."""
    with RequestStore(folder, scratch, say) as store:
        found = {number: store.get(reply(number).key) for number in range(count)}
    assert all(got in (None, reply(number)) for number, got in found.items())
    return [number for number, got in found.items() if got is None]
