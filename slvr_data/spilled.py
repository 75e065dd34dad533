"""Maps and sets of ids that may not fit into memory: what is over a bound lies in a private temporary database.

SQLite keeps it in a file without a name, below the folder for temporary files (`TMPDIR`), which is gone with the
process, however that ends. Up to `HELD` entries there is no database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from slvr_data.errors import RunError

HELD = 1 << 15
"""Entries that are kept in memory, about 8 MB of them."""
CACHE = 4 << 10
"""KiB of a database that SQLite keeps in memory."""


def temporary_database() -> sqlite3.Connection:
    """A database of this process alone, on disk where it outgrows `CACHE`."""
    database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{CACHE}", "temp_store = FILE"):
        database.execute(f"PRAGMA {pragma}")
    return database


@contextmanager
def room() -> Iterator[None]:
    """Turn a full folder for temporary files into one clear line."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise RunError(
            f"the folder for temporary files cannot be written ({error}): free space there, or name another one "
            "with TMPDIR=FOLDER, and run the same command again"
        ) from error


class IdMap:
    """Texts by id, as a dictionary has them; iterated in the order of the ids."""

    def __init__(self, held: int | None = None) -> None:
        """`held`: `HELD` unless told."""
        self._most = HELD if held is None else held
        self._held: dict[str, str] = {}
        self._database: sqlite3.Connection | None = None

    def __setitem__(self, key: str, value: str) -> None:
        self._held[key] = value
        if len(self._held) > self._most:
            self._spill()

    def __getitem__(self, key: str) -> str:
        found = self.get(key)
        if found is None:
            raise KeyError(key)
        return found

    def __contains__(self, key: str) -> bool:
        return self.get(key) is not None

    def __bool__(self) -> bool:
        return bool(self._held) or self._database is not None

    def __len__(self) -> int:
        if self._database is None:
            return len(self._held)
        self._spill()
        found: int = self._database.execute("SELECT count(*) FROM ids").fetchone()[0]
        return found

    def __iter__(self) -> Iterator[str]:
        return (key for key, _ in self.items())

    def get(self, key: str) -> str | None:
        """The text of an id, None without."""
        found = self._held.get(key)
        if found is None and self._database is not None:
            row = self._database.execute("SELECT value FROM ids WHERE id = ?", (key,)).fetchone()
            found = row[0] if row else None
        return found

    def set_all(self, keys: Iterable[str], value: str) -> None:
        """One text for many ids."""
        for key in keys:
            self[key] = value

    def items(self) -> Iterator[tuple[str, str]]:
        """Ids with their texts, in the order of the ids; it is not to be changed meanwhile."""
        if self._database is None:
            yield from sorted(self._held.items())
            return
        self._spill()
        yield from self._database.execute("SELECT id, value FROM ids ORDER BY id")

    def _spill(self) -> None:
        with room():
            if self._database is None:
                self._database = temporary_database()
                self._database.execute("CREATE TABLE ids (id TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID")
            self._database.execute("BEGIN")
            rows = sorted(self._held.items())  # neighbours in the tree are written together
            self._database.executemany("INSERT OR REPLACE INTO ids VALUES (?, ?)", rows)
            self._database.execute("COMMIT")
        self._held.clear()


class IdSet:
    """Ids, as a set has them; iterated in their order."""

    def __init__(self, ids: Iterable[str] = (), held: int | None = None) -> None:
        self._map = IdMap(held)
        self.update(ids)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self._map

    def __iter__(self) -> Iterator[str]:
        return iter(self._map)

    def __len__(self) -> int:
        return len(self._map)

    def __bool__(self) -> bool:
        return bool(self._map)

    def add(self, key: str) -> None:
        """Take an id in."""
        self._map[key] = ""

    def update(self, keys: Iterable[str]) -> None:
        """Take ids in."""
        self._map.set_all(keys, "")
