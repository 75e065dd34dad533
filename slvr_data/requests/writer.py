"""Two threads that bring replies to safety: one commits them to the database, one writes segments from there.

A slow file system below the set's folder keeps only the second one waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from slvr_data.errors import RunError
from slvr_data.requests.database import Database, Kept, unkept, unkept_grants
from slvr_data.requests.replies import StoredReply
from slvr_data.requests.segments import SegmentFolder

GROUP_REPLIES = 64
GROUP_SECONDS = 0.08
"""A reply waits so long for others; with the commit itself it is safe within 100 ms."""
SEGMENT_REPLIES = 1000
SEGMENT_SECONDS = 30.0
MOST_PENDING = 4096
"""Replies in memory; when the disk is that far behind, `put` waits."""


class Writer:
    """What was put and is not committed yet, and the threads that see to it."""

    def __init__(self, database: Database, segments: SegmentFolder) -> None:
        self._database, self._segments = database, segments
        self._changed = threading.Condition()
        self._pending: dict[str, StoredReply] = {}
        self._grants: dict[str, int] = {}
        self._kept: list[Kept] = []
        self._put_count = self._committed_count = self._kept_count = self._wanted_count = 0
        self._oldest = self._unkept_since = 0.0
        self._closing = self._segments_ended = False
        self._error: BaseException | None = None
        """The first of either thread."""
        self._stuck = False
        """Nothing is committed any more."""
        self._threads = [
            threading.Thread(target=self._guarded, args=(loop,), name=f"requests-{name}", daemon=True)
            for name, loop in (("commits", self._commits), ("segments", self._writes_segments))
        ]

    def start(self) -> None:
        """Begin; what the database holds and no segment does is written out at once."""
        self._put_count = self._committed_count = self._wanted_count = self._database.unkept_count()
        for thread in self._threads:
            thread.start()

    def put(self, reply: StoredReply) -> None:
        """Queue a reply; as long as it can be committed, also where segments can be written no more."""
        with self._changed:
            while len(self._pending) >= MOST_PENDING and not self._stuck:
                self._changed.wait()
            if self._stuck:
                self.check()
            self._count_put()
            self._pending[reply.key] = reply
            if len(self._pending) in (1, GROUP_REPLIES):
                self._changed.notify_all()

    def grant(self, base_key: str, attempts: int) -> None:
        """Queue a number of further attempts."""
        with self._changed:
            self.check()
            self._count_put()
            self._grants[base_key] = attempts
            self._changed.notify_all()

    def _count_put(self) -> None:
        if self._closing:
            raise RunError("the request store is closed")
        self._put_count += 1
        if not self._pending and not self._grants:
            self._oldest = time.monotonic()

    def pending(self, key: str) -> StoredReply | None:
        """A reply that may not be committed yet; one that is not here was put never, or is committed."""
        with self._changed:
            return self._pending.get(key)

    def check(self) -> None:
        """Raise what went wrong in a thread."""
        if self._error is not None:
            raise RunError(str(self._error) or repr(self._error)) from self._error

    def flush(self) -> None:
        """Come back when all that was put before is committed and held by segments."""
        with self._changed:
            wanted = self._wanted_count = self._put_count
            self._changed.notify_all()
            while self._kept_count < wanted and self._error is None:
                self._changed.wait()
            self.check()

    def close(self) -> None:
        """Commit and write out everything, end the threads; raises what went wrong in them."""
        try:
            self.flush()
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
            for thread in self._threads:
                thread.join()

    def _guarded(self, loop: Callable[[], None]) -> None:
        """Run a thread; an error in it is kept for whoever calls next."""
        try:
            loop()
        except BaseException as error:
            with self._changed:
                self._error = self._error or error
                self._stuck = self._stuck or loop == self._commits
                self._changed.notify_all()

    # Commits

    def _commits(self) -> None:
        while self._await_group():
            self._commit()

    def _await_group(self) -> bool:
        """Wait for the next group; False when the store closes and nothing is left."""
        with self._changed:
            while True:
                waiting = len(self._pending) + len(self._grants)
                hurry = self._closing or self._wanted_count > self._committed_count
                rest = self._oldest + GROUP_SECONDS - time.monotonic() if waiting else None
                if self._kept or waiting >= GROUP_REPLIES or (rest is not None and (hurry or rest <= 0)):
                    return True
                if self._closing and self._segments_ended:
                    return False
                self._changed.wait(rest)

    def _commit(self) -> None:
        with self._changed:
            replies, grants, kept = list(self._pending.values()), dict(self._grants), list(self._kept)
            count, taken = self._put_count, time.monotonic()
        self._database.commit(replies, grants, kept)
        with self._changed:
            for reply in replies:
                if self._pending[reply.key] is reply:
                    del self._pending[reply.key]
            for key, attempts in grants.items():
                if self._grants[key] == attempts:
                    del self._grants[key]
            del self._kept[: len(kept)]
            if self._committed_count == self._kept_count:
                self._unkept_since = taken
            self._oldest, self._committed_count = taken, count
            self._changed.notify_all()

    # Segments

    def _writes_segments(self) -> None:
        reader = self._database.connect()
        try:
            while self._await_segment():
                with self._changed:
                    count, started = self._committed_count, time.monotonic()
                with self._database.errors():
                    ids, rows = unkept(reader, SEGMENT_REPLIES)
                    grants = unkept_grants(reader)
                if rows:
                    self._hand_over(Kept(self._segments.write("replies", rows), ids))
                if grants:
                    self._hand_over(Kept(self._segments.write("grants", grants), grants))
                with self._changed:
                    full = len(rows) == SEGMENT_REPLIES  # there may be more of them
                    self._kept_count = min(self._kept_count + len(rows), count) if full else count
                    self._unkept_since = started
                    self._changed.notify_all()
        finally:
            reader.close()
            with self._changed:
                self._segments_ended = True
                self._changed.notify_all()

    def _await_segment(self) -> bool:
        """Wait until a segment is due; False when the store closes."""
        with self._changed:
            while True:
                unkept = self._committed_count - self._kept_count
                wanted = self._kept_count < self._wanted_count <= self._committed_count
                rest = self._unkept_since + SEGMENT_SECONDS - time.monotonic() if unkept else None
                if wanted or unkept >= SEGMENT_REPLIES or (rest is not None and rest <= 0):
                    return True
                if self._closing:
                    return False
                self._changed.wait(rest)

    def _hand_over(self, kept: Kept) -> None:
        """Have it committed that a segment holds these rows."""
        with self._changed:
            self._kept.append(kept)
            self._changed.notify_all()
            while self._kept and not self._stuck:
                self._changed.wait()
            self.check()
