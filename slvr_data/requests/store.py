"""The request store: replies by the key of their request, so that none is asked for twice.

What is put is committed to a local database within 64 replies or 100 ms, and reaches an immutable segment in the
set's folder within 1,000 replies or 30 s. A run resumes from both; on another node from the segments alone.
"""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from slvr_data.errors import RunError
from slvr_data.files import disk_errors, write_atomic
from slvr_data.requests.database import find, open_database
from slvr_data.requests.replies import StoredReply, storable
from slvr_data.requests.scratch import network_file_system, scratch_folder
from slvr_data.requests.segments import DamagedSegmentError, Row, Segment, SegmentFolder
from slvr_data.requests.writer import Writer

__all__ = ["RequestStore", "StoredReply"]

_TRANSACTION_ROWS = 10_000
_SAID_SECONDS = 2.0


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class RequestStore:
    """Replies at `folder` (a set's `.work/requests`); one process at a time, which the set's lock sees to.

    `scratch` is a folder on a local disk (None: the system's temporary folder); below it each store has its own.
    All methods may be called from any thread. What fails in the background (a full disk) is raised by the next
    `check`, `allow_more`, `flush` or `close`, as RunError; by `put` only where a reply can no longer be kept at all: as
    long as the local disk takes it, one that was paid for is not lost to the folder's disk.
    """

    def __init__(self, folder: Path, scratch: Path | None = None, say: Callable[[str], None] = _to_stderr) -> None:
        self._say = say
        self.scratch = scratch_folder(folder, scratch)
        kind = network_file_system(self.scratch)
        if kind is not None:
            say(f"the request store's scratch folder {self.scratch} is on a network file system ({kind}), where it is "
                "slow and may be damaged: name a folder on a local disk as scratch")  # fmt: skip
        self._segments = SegmentFolder(folder / "segments")
        self._database = open_database(self.scratch / "replies.sqlite", _identity(folder), say)
        try:
            self._take_in_segments()
            self._allowed = self._database.grants()
            with self._database.errors():
                self._reader = self._database.connect()
        except BaseException:
            self._database.abandon()
            raise
        self._lock = threading.Lock()
        self._writer = Writer(self._database, self._segments)
        self._writer.start()

    def __enter__(self) -> RequestStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except RunError as failed:
            if error is None:
                raise
            if str(failed) != str(error):
                self._say(str(failed))

    def get(self, key: str) -> StoredReply | None:
        """The reply that was put last for this key, in this run or an earlier one."""
        found = self._writer.pending(key)
        if found is not None:
            return found
        with self._lock, self._database.errors():
            return find(self._reader, key)

    def put(self, reply: StoredReply) -> None:
        """Keep a reply; `get` sees it at once. Waits only where the disk is thousands of replies behind."""
        self._writer.put(storable(reply))

    def check(self) -> None:
        """Raise what has failed in the background: it is time to ask for no more."""
        self._writer.check()

    def take_over(self, folder: Path, accepted: bool = False) -> None:
        """Know the replies that the store at `folder` has in segments and this one has not; it may be in use.

        With `accepted`, those alone that were: the others are asked for anew.
        """
        looked = SegmentFolder(folder / "segments", looking=True)
        found: dict[str, StoredReply] = {}
        for segment in looked.segments() if looked.folder.is_dir() else ():
            if segment.kind == "replies":
                with suppress(DamagedSegmentError):  # which its own store puts aside, and says
                    replies = (StoredReply(*row) for row in looked.read(segment))
                    found |= {reply.key: reply for reply in replies if not accepted or reply.failure is None}
        for key, reply in found.items():
            if self.get(key) is None:
                self.put(reply)

    def allow_more(self, base_key: str, attempts: int) -> None:
        """Grant so many attempts in addition to those granted before."""
        with self._lock:
            self._allowed[base_key] = total = self.extra_attempts(base_key) + attempts
            self._writer.grant(base_key, total)

    def extra_attempts(self, base_key: str) -> int:
        """Attempts that were granted beyond the configured ones, in all runs."""
        return self._allowed.get(base_key, 0)

    def flush(self) -> None:
        """Come back when everything put so far is in segments."""
        self._writer.flush()

    def close(self) -> None:
        """Flush and close; a second call does nothing."""
        if self._database.closed:
            return
        try:
            self._writer.close()
        except BaseException:
            self._reader.close()
            self._database.abandon()
            raise
        self._reader.close()
        self._database.close()

    def _take_in_segments(self) -> None:
        """Make the database hold every segment there is, and no other."""
        started, there = time.monotonic(), self._segments.segments()
        held = self._database.segments()
        same = {segment.name for segment in there if held.get(segment.name) == segment}
        if len(same) < len(held):
            self._database.release(held.keys() - same)
        rows = 0
        group: list[tuple[Segment, list[Row]]] = []
        for segment, found in self._read(segment for segment in there if segment.name not in same):
            group.append((segment, found))
            rows += len(found)
            if sum(len(each) for _, each in group) >= _TRANSACTION_ROWS:
                self._database.take_in(group)
                group = []
        if group:
            self._database.take_in(group)
        if time.monotonic() - started > _SAID_SECONDS:
            self._say(f"{rows:,} replies of earlier runs taken from {self._segments.folder}")

    def _read(self, segments: Iterator[Segment]) -> Iterator[tuple[Segment, list[Row]]]:
        """Each segment's rows; a damaged one is put aside and said."""
        for segment in segments:
            try:
                yield segment, self._segments.read(segment)
            except DamagedSegmentError as error:
                aside = self._segments.put_aside(segment)
                self._say(
                    f"segment {segment.name} of the request store is damaged ({error}): it is now {aside.name}, "
                    "and what it held alone is asked for again"
                )


def _identity(folder: Path) -> str:
    """What tells this store from another one that lay at the same place: made once, kept in its folder."""
    path = folder / "identity"
    with disk_errors(f"reading {path}"):
        found = path.read_text().strip() if path.exists() else ""
    if not found:
        found = uuid.uuid4().hex
        write_atomic(path, f"{found}\n".encode())
    return found
