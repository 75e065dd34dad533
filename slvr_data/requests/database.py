"""The local database of replies: SQLite on a local disk. It may be lost; the segments it was fed from remain.

Journal in WAL mode with synchronous=FULL: what was committed survives SIGKILL and loss of power.
"""

from __future__ import annotations

import errno
import os
import resource
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slvr_data.errors import RunError
from slvr_data.files import disk_errors
from slvr_data.requests.replies import COLUMNS, StoredReply
from slvr_data.requests.segments import Row, Segment

FORM = "1"
"""Of the tables below; a database of another form is put aside."""
_TABLES = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT);
CREATE TABLE segments (id INTEGER PRIMARY KEY, name TEXT UNIQUE, bytes INTEGER);
CREATE TABLE replies (id INTEGER PRIMARY KEY AUTOINCREMENT, {", ".join(COLUMNS)}, segment INTEGER, UNIQUE (key));
CREATE INDEX unkept ON replies (segment) WHERE segment IS NULL;
CREATE TABLE grants (base_key TEXT PRIMARY KEY, attempts INTEGER, segment INTEGER);
"""
_NAMES = ", ".join(COLUMNS)
_REPLY = f"INSERT OR REPLACE INTO replies ({_NAMES}, segment) VALUES ({', '.join('?' * len(COLUMNS))}, ?)"
_ORDER = "SELECT length(name), name FROM segments WHERE id ="
"""`Segment.order`: a number of more than 8 digits makes a name longer."""
_TAKEN = f"""INSERT INTO replies ({_NAMES}, segment) VALUES ({", ".join("?" * len(COLUMNS))}, ?)
            ON CONFLICT (key) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in (*COLUMNS, "segment"))}
            WHERE replies.segment IS NULL OR ({_ORDER} replies.segment) < ({_ORDER} excluded.segment)"""
_GRANT = """INSERT INTO grants VALUES (?, ?, ?) ON CONFLICT (base_key)
            DO UPDATE SET attempts = excluded.attempts, segment = excluded.segment
            WHERE excluded.attempts >= grants.attempts"""


class DamagedError(RunError):
    """The local database cannot be used as it is; `why` in words."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"the local request store {path} is damaged ({why}): run the same command again, segments replace it"
        )
        self.why = why


@dataclass(frozen=True)
class Kept:
    """Rows that a segment now holds: ids of replies, or (base_key, attempts)."""

    segment: Segment
    rows: Sequence[Any]


class Database:
    """The tables, and one connection for the thread that writes; others make theirs with `connect`."""

    def __init__(self, path: Path, identity: str) -> None:
        """Open, or make. DamagedError where it is damaged, of another form, or of another set's folder."""
        self.path = path
        self.closed = self._damaged = False
        self._identity = identity
        with self.errors():
            self._writer = self.connect()
            try:
                self._prepare()
            except BaseException:
                self._writer.close()
                raise

    def connect(self) -> sqlite3.Connection:
        """A connection of its own; transactions are begun by hand."""
        connection = sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    def _prepare(self) -> None:
        execute = self._writer.execute
        execute("PRAGMA journal_mode = WAL")
        if not execute("SELECT 1 FROM sqlite_master").fetchall():
            self._writer.executescript(f"BEGIN IMMEDIATE; {_TABLES}")
            meta = [("form", FORM), ("identity", self._identity), ("clean", "0")]
            self._writer.executemany("INSERT INTO meta VALUES (?, ?)", meta)
            execute("COMMIT")
            return
        meta = execute("SELECT name, value FROM meta").fetchall()
        found = dict(meta)
        if found.get("form") != FORM:
            raise DamagedError(self.path, f"it has form {found.get('form')}, not {FORM}")
        if found.get("identity") != self._identity:
            raise DamagedError(self.path, "it belongs to a set that lay at the same place before")
        if found.get("clean") != "1":
            said = execute("PRAGMA quick_check(1)").fetchall()
            if said != [("ok",)]:
                raise DamagedError(self.path, str(said[0][0]))
        execute("UPDATE meta SET value = '0' WHERE name = 'clean'")

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn what SQLite says into RunError: a full disk in one clear line, damage as DamagedError."""
        with disk_errors(f"writing {self.path}"):
            try:
                yield
            except sqlite3.DatabaseError as error:
                code = getattr(error, "sqlite_errorcode", None)
                if code is None:
                    raise  # wrong use of the library
                limited = resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY
                if code & 0xFF == sqlite3.SQLITE_FULL or (code & 0xFF == sqlite3.SQLITE_IOERR and limited):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
                if code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
                    self._damaged = True
                    raise DamagedError(self.path, str(error)) from error
                raise RunError(f"the request store {self.path} failed: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """All or nothing, durable at the end."""
        with self.errors():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def commit(self, replies: Iterable[StoredReply], grants: Mapping[str, int], kept: Iterable[Kept]) -> None:
        """One group: new replies and grants, and what segments hold by now."""
        with self._transaction() as writer:
            writer.executemany(_REPLY, ((*row_of(reply), None) for reply in replies))
            writer.executemany(_GRANT, ((key, attempts, None) for key, attempts in grants.items()))
            for each in kept:
                number = _register(writer, each.segment)
                if each.segment.kind == "replies":
                    statement = "UPDATE replies SET segment = ? WHERE id = ?"
                    writer.executemany(statement, ((number, row) for row in each.rows))
                else:
                    statement = "UPDATE grants SET segment = ? WHERE base_key = ? AND attempts = ?"
                    writer.executemany(statement, ((number, *row) for row in each.rows))

    def take_in(self, segments: Iterable[tuple[Segment, list[Row]]]) -> None:
        """Hold the rows of some segments; they replace what is there of the same key, but for rows of later segments.

        So it is the same whenever a segment comes, as one of a part does that was merged.
        """
        with self._transaction() as writer:
            for segment, rows in segments:
                number = _register(writer, segment)
                statement = _TAKEN if segment.kind == "replies" else _GRANT
                writer.executemany(statement, ((*row, number) for row in rows))

    def segments(self) -> dict[str, Segment]:
        """By name, all whose rows are held."""
        with self.errors():
            found = self._writer.execute("SELECT name, bytes FROM segments").fetchall()
        return {name: Segment(name, size) for name, size in found}

    def release(self, segments: Iterable[str]) -> None:
        """These segments are no more: their rows count as held by none."""
        with self._transaction() as writer:
            writer.execute("CREATE TEMP TABLE lost AS SELECT id, name FROM segments WHERE 0")
            for name in segments:
                writer.execute("INSERT INTO lost SELECT id, name FROM segments WHERE name = ?", (name,))
            for table in ("replies", "grants"):
                writer.execute(f"UPDATE {table} SET segment = NULL WHERE segment IN (SELECT id FROM lost)")
            writer.execute("DELETE FROM segments WHERE id IN (SELECT id FROM lost)")
            writer.execute("DROP TABLE lost")

    def grants(self) -> dict[str, int]:
        """Further attempts by base key."""
        with self.errors():
            return dict(self._writer.execute("SELECT base_key, attempts FROM grants").fetchall())

    def unkept_count(self) -> int:
        """How many replies and grants no segment holds."""
        statement = "SELECT (SELECT count(*) FROM replies WHERE segment IS NULL) + count(*) FROM grants"
        with self.errors():
            return int(self._writer.execute(f"{statement} WHERE segment IS NULL").fetchall()[0][0])

    def close(self) -> None:
        """Remember that it was closed well, and move the journal's content into the file.

        One in which damage was met is put aside.
        """
        if self._damaged:
            self.abandon()
            put_aside(self.path)
            return
        try:
            with self.errors():
                self._writer.execute("UPDATE meta SET value = '1' WHERE name = 'clean'")
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close without a word about how."""
        self.closed = True
        with self.errors():
            self._writer.close()


def _register(writer: sqlite3.Connection, segment: Segment) -> int:
    """The number of a segment in this database; it is new here."""
    number = writer.execute("INSERT INTO segments (name, bytes) VALUES (?, ?)", (segment.name, segment.bytes)).lastrowid
    assert number is not None
    return number


def row_of(reply: StoredReply) -> Row:
    """Its columns in their order."""
    return tuple(getattr(reply, name) for name in COLUMNS)


def find(connection: sqlite3.Connection, key: str) -> StoredReply | None:
    """The committed reply of a key."""
    rows = connection.execute(f"SELECT {_NAMES} FROM replies WHERE key = ?", (key,)).fetchall()
    return StoredReply(*rows[0]) if rows else None


def unkept(connection: sqlite3.Connection, most: int) -> tuple[list[int], list[Row]]:
    """Ids and rows of the oldest committed replies that no segment holds, `most` at most."""
    statement = f"SELECT id, {_NAMES} FROM replies WHERE segment IS NULL ORDER BY id LIMIT ?"
    rows = connection.execute(statement, (most,)).fetchall()
    return [row[0] for row in rows], [row[1:] for row in rows]


def unkept_grants(connection: sqlite3.Connection) -> list[Row]:
    """(base_key, attempts) of grants that no segment holds."""
    return connection.execute("SELECT base_key, attempts FROM grants WHERE segment IS NULL").fetchall()


def put_aside(path: Path) -> Path:
    """Rename a database with its journal, replacing one put aside before; where it is now."""
    aside = path.with_name(f"{path.name}.aside")
    with disk_errors(f"renaming {path}"):
        for part in ("", "-wal", "-shm"):
            source, target = Path(f"{path}{part}"), Path(f"{aside}{part}")
            target.unlink(missing_ok=True)
            if source.exists():
                source.replace(target)
    return aside


def open_database(path: Path, identity: str, say: Callable[[str], None]) -> Database:
    """The database at `path`; one that cannot be used is put aside, said, and made anew."""
    try:
        return Database(path, identity)
    except DamagedError as error:
        aside = put_aside(path)
        say(f"the local request store {path} cannot be used ({error.why}): it is now {aside.name}, segments replace it")
        return Database(path, identity)
