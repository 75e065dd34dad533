"""The log of a run: JSON Lines, the header first, then a line for each ask that has its reply.

Each line is handed to the operating system whole, in one write, before anyone is told of it: SIGKILL loses none that
was reported, and the file can be read while it grows. A line that was cut by a crash of the machine costs that line.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from benchmark.records import BENCH_VERSION, Header, LogLine
from benchmark.shards import shards_in
from slvr_data.errors import UsageError
from slvr_data.files import disk_errors, write_atomic
from slvr_data.lock import Lock

LOG = "run.jsonl"
"""Name of the log in a run's folder."""
WORK = ".work"
"""Folder in a run's folder for what is not the result: lock, store and ledger of a served model."""
MAY_DIFFER = frozenset({"asks", "items", "whole_asks", "whole_items", "smallest_picture", "largest_picture"})
"""Of a header, when a run is taken up again with a larger limit."""
ADDED = frozenset({"least_pixels", "most_pixels"})
"""Of a header: null in logs that are older than these fields, and then anything later."""


@dataclass(frozen=True)
class Log:
    """A log as it was read."""

    path: Path
    header: Header
    lines: list[LogLine]
    damaged: int = 0
    """Lines that could not be read."""

    @property
    def left(self) -> int:
        """Asks without a line."""
        return max(0, self.header.asks - len(self.lines))


def log_file(run: Path) -> Path:
    """The log of a run that is named by its folder or by the log itself.

    Raises:
        UsageError: there is none.
    """
    found = run / LOG if run.is_dir() else run
    if not found.is_file() and shards_in(run):
        raise UsageError(f"{run} holds shards of a run: slvr-bench join {run} makes one of them")
    if not found.is_file():
        raise UsageError(f"{run} holds no run: name a folder with {LOG}, as slvr-bench run --out makes it")
    return found


def read_log(run: Path) -> Log:
    """A run's header and lines; one that grows is read as far as it is, each ask once.

    Raises:
        UsageError: there is no log, or its header is damaged or of another version.
    """
    path = log_file(run)
    lines: dict[str, LogLine] = {}
    damaged = 0
    with disk_errors(f"reading {path}"), path.open("rb") as stream:
        header = _header(path, stream.readline())
        for data in stream:
            line = _line(data)
            if line is not None:
                lines.setdefault(line.ask_id, line)
            elif data.strip():
                damaged += 1
    return Log(path, header, list(lines.values()), damaged)


def _header(path: Path, data: bytes) -> Header:
    try:
        header = Header.model_validate_json(data)
    except ValidationError as error:
        raise UsageError(f"{path} does not begin with the header of a run ({error.errors()[0]['msg']})") from None
    if header.bench_version != BENCH_VERSION:
        version = header.bench_version
        raise UsageError(f"{path} is of version {version}, this is slvr-bench for version {BENCH_VERSION}: run it anew")
    return header


def _line(data: bytes) -> LogLine | None:
    """A whole line, or None for one that is cut or damaged."""
    if not data.endswith(b"\n"):
        return None
    try:
        return LogLine.model_validate_json(data)
    except ValidationError:
        return None


class LogWriter:
    """Appends to the log of a run; made by `open_log`."""

    def __init__(self, path: Path, done: frozenset[str], damaged: int) -> None:
        self.path = path
        self.done = done
        """Ids of asks that have a line from before."""
        self.damaged = damaged
        """Lines from before that could not be read: what they held is asked again."""
        with disk_errors(f"writing {path}"):
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)

    def write(self, line: LogLine) -> None:
        """Append a line. When this returns, the operating system has it.

        Raises:
            RunError: the disk is full.
        """
        self._write(f"{line.model_dump_json()}\n".encode())

    def _write(self, data: bytes) -> None:
        before = os.fstat(self._descriptor).st_size
        with disk_errors(f"writing {self.path}"):
            try:
                written = os.write(self._descriptor, data)
                while written < len(data):
                    written += os.write(self._descriptor, data[written:])
            except OSError:
                os.ftruncate(self._descriptor, before)  # no half line stays behind
                raise

    def close(self) -> None:
        """See the log to the disk itself."""
        with disk_errors(f"writing {self.path}"):
            try:
                os.fsync(self._descriptor)
            finally:
                os.close(self._descriptor)


@contextmanager
def open_log(folder: Path, header: Header) -> Iterator[LogWriter]:
    """The log of the run in `folder`, begun or taken up; this process alone writes it.

    Raises:
        UsageError: another process writes it, or it holds a run of other data, another model or other settings.
        RunError: the disk is full.
    """
    path, work = folder / LOG, folder / WORK
    with disk_errors(f"making {work}"):
        work.mkdir(parents=True, exist_ok=True)
    with Lock(work / "lock"):
        done, damaged = _taken_up(path, header)
        writer = LogWriter(path, done, damaged)
        try:
            yield writer
        finally:
            writer.close()


def _taken_up(path: Path, header: Header) -> tuple[frozenset[str], int]:
    """(Ids of asks with a line, damaged lines) of a log that is ready to be appended to."""
    data = f"{header.model_dump_json()}\n".encode()
    if not path.exists() or b"\n" not in _beginning(path):
        with disk_errors(f"writing {path}"):  # no run yet, or one that was killed while it wrote its header
            path.write_bytes(data)
        return frozenset(), 0
    found = read_log(path)
    if found.lines:
        _same_run(path.parent, found.header, header)
    _cut(path)
    if found.header != header:
        _new_header(path, data)
    return frozenset(line.ask_id for line in found.lines), found.damaged


def _beginning(path: Path) -> bytes:
    with disk_errors(f"reading {path}"), path.open("rb") as stream:
        return stream.readline()


def _same_run(folder: Path, before: Header, now: Header) -> None:
    """Raises UsageError where the lines of one header and of another would not belong together."""
    if before.data_revision != now.data_revision:
        raise UsageError(
            f"{folder}: the data changed since this run began (revision {before.data_revision[:12]} of {before.data}, "
            f"now {now.data_revision[:12]}): take another --out, or restore the folder that it began with"
        )
    if now.items < before.items:
        raise UsageError(f"{folder} holds a run of {before.items} items, not {now.items}: a limit may only grow")
    if told := differing(before, now, MAY_DIFFER):
        raise UsageError(f"{folder} holds a run with {told}: take another --out")


def differing(before: Header, now: Header, may: Collection[str]) -> str:
    """The first field that two headers do not share, but those that `may` differ, in words; empty for none."""
    for name in Header.model_fields:
        old, new = getattr(before, name), getattr(now, name)
        if old != new and name not in may and not (name in ADDED and old is None):
            return _differs(name, old, new)
    return ""


def _differs(name: str, old: object, new: object) -> str:
    if isinstance(old, dict) and isinstance(new, dict):
        name, old, new = next(
            (f"{name}.{key}", old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)
        )
    return f"{name} {old!r}, not {new!r}"


def _cut(path: Path) -> None:
    """Take away what stands behind the last whole line."""
    with disk_errors(f"writing {path}"), path.open("r+b") as stream:
        end = stream.seek(0, os.SEEK_END)
        at = end
        while at > 0:
            begin = max(0, at - 65_536)
            stream.seek(begin)
            place = stream.read(at - begin).rfind(b"\n")
            if place >= 0:
                if begin + place + 1 < end:
                    stream.truncate(begin + place + 1)
                return
            at = begin


def _new_header(path: Path, data: bytes) -> None:
    """Put another header in front of the lines; the log is the old one or the new one at each moment."""
    _, _, lines = path.read_bytes().partition(b"\n")
    write_atomic(path, data + lines)
