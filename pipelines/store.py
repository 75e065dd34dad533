"""Where stages keep what they made: one folder per stage and shard, whole or not there.

A shard's folder is named by a hash of what went into it. Later results for the same picture do not
replace earlier ones; readers ask for the one they need by key.
"""

from __future__ import annotations

import shutil
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from slvr_data.files import DAMAGED, folder_atomic, put_aside, refuse_unreadable, remove_leftovers
from slvr_data.remote.artefacts import note_removed
from slvr_data.shards import read_parquet

OLD = "old-"
"""Names of shards with what pictures had before they were opened again (`pipelines.retry`) begin so."""


class StageStore:
    """The output of one stage: tables by shard."""

    def __init__(self, work: Path, stage: str) -> None:
        self.folder = work / stage
        self.folder.mkdir(parents=True, exist_ok=True)

    def shards(self) -> list[str]:
        """Names of the finished shards, sorted."""
        return [name for name in self._names() if not name.startswith(OLD)]

    def old_shards(self) -> list[str]:
        """Names of the shards with what opened pictures had before, sorted: the later of a picture comes later."""
        return [name for name in self._names() if name.startswith(OLD)]

    def _names(self) -> list[str]:
        return sorted(path.name for path in self.folder.iterdir() if path.is_dir() and not path.name.startswith("."))

    def commit(self, shard: str, tables: dict[str, pa.Table]) -> None:
        """Make the tables of a shard appear all at once."""
        with folder_atomic(self.folder / shard) as folder:
            for name, table in tables.items():
                pictures = ("data", "thumbnail")  # they are compressed already
                compression = {column: "none" if column in pictures else "zstd" for column in table.column_names}
                path = folder / f"{name}.parquet"
                pq.write_table(table, path, compression=compression, write_statistics=False)

    def load(self, shard: str, table: str, columns: list[str] | None = None) -> pa.Table:
        """One table of a finished shard."""
        return read_parquet(self.folder / shard / f"{table}.parquet", columns)

    def index(
        self, tables: dict[str, list[str]], old: bool = False
    ) -> Iterator[tuple[str, dict[str, dict[str, list[Any]]]]]:
        """(shard, table -> columns) of every finished shard, or old one; `tables` names the columns to read.

        A damaged shard is put aside, so that its work is open again.

        Raises:
            RunError: a shard cannot be read now, and may be whole.
        """
        for shard in self.old_shards() if old else self.shards():
            try:
                found = {name: self.load(shard, name, columns).to_pydict() for name, columns in tables.items()}
            except (pa.ArrowException, OSError) as error:
                refuse_unreadable(error, self.folder / shard)
                note_removed(self.folder.parent, f"{self.folder.name}/{shard}")
                aside = put_aside(self.folder / shard)
                print(
                    f"shard {self.folder.name}/{shard} is damaged ({error}): it is now {aside.name}, and made again",
                    file=sys.stderr,
                )
                continue
            yield shard, found

    def has_damaged(self) -> bool:
        """Whether shards were put aside, and their work is perhaps not finished again."""
        return any(self.folder.glob(DAMAGED))

    def forget_damaged(self) -> None:
        """Remove the shards that were put aside."""
        for aside in self.folder.glob(DAMAGED):
            shutil.rmtree(aside)

    def remove(self, shard: str) -> None:
        """Make a shard disappear all at once."""
        note_removed(self.folder.parent, f"{self.folder.name}/{shard}")
        aside = self.folder / f".{shard}.gone.tmp"
        (self.folder / shard).replace(aside)
        shutil.rmtree(aside)

    def clean(self) -> None:
        """Remove what killed writers left."""
        remove_leftovers(self.folder)


class RowCache:
    """Rows of stored tables by key, for readers that walk in picture order.

    Shards of several runs interleave in that order, so as many stay loaded as `most_bytes` of Arrow data hold.
    """

    def __init__(
        self, store: StageStore, table: str, key: str, columns: list[str] | None = None, most_bytes: int = 24 << 20
    ) -> None:
        """`columns` are those that rows have, `key` among them; all without."""
        self._store, self._table, self._key, self._most = store, table, key, most_bytes
        self._columns = columns
        self._loaded: OrderedDict[str, tuple[int, dict[str, list[dict[str, Any]]]]] = OrderedDict()
        self._held = 0

    def rows(self, shard: str, key: str) -> list[dict[str, Any]]:
        """The rows of `shard` whose key column is `key`."""
        if shard not in self._loaded:
            self._load(shard)
        self._loaded.move_to_end(shard)
        return self._loaded[shard][1].get(key, [])

    def _load(self, shard: str) -> None:
        table = self._store.load(shard, self._table, self._columns)
        grouped: dict[str, list[dict[str, Any]]] = {}
        for row in table.to_pylist():
            grouped.setdefault(row[self._key], []).append(row)
        self._loaded[shard] = table.nbytes, grouped
        self._held += table.nbytes
        while self._held > self._most and len(self._loaded) > 2:
            self._held -= self._loaded.popitem(last=False)[1][0]
