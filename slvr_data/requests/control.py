"""How many calls a server gets at once: a gate per server, and the laws that move its limit."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from slvr_data.requests.metrics import Load

START = 4
"""Calls in flight at first."""
REFILL = 0.05
"""Seconds for which the server's own queue has to last: so long may this process take to send the next calls."""
MISSES = 8
"""Looks in a row at which a server that told its load before may say nothing: the limit stays meanwhile."""
UNSEEN = 8
"""Calls that may be on their way into the server's queue, before its silence means that its front end is busy."""


class TurnedAwayError(Exception):
    """The gate was shut while a call waited before it: ask the pool for another server."""


def steered(limit: float, in_flight: int, full: bool, load: Load, rate: float) -> float:
    """The next limit of a server that tells its load.

    The aim is a queue that is short and never empty: as many waiting as finish in `REFILL` seconds
    (`rate`: our calls that finish per second), an eighth of those running at least, as many as those running
    at most. From below the limit doubles, or grows by one where the cache is almost full. Each client
    corrects only its own share of what is too much or too little, so that several of them together do not
    overshoot, and those who fill the queue are not answered with more.
    """
    if load.waiting == 0:
        unseen = in_flight - load.running - load.waiting
        if not full or unseen > load.running + UNSEEN:
            return limit
        return limit + 1 if load.cache is not None and load.cache > 0.95 else limit * 2
    aim = min(max(load.running, 1), max(4, load.running / 8, rate * REFILL))
    base = limit if full else min(limit, in_flight)
    share = min(1.0, in_flight / max(load.running + load.waiting, 1))
    moved = base + share * (aim - load.waiting)
    return moved if full else min(moved, limit)


class Gate:
    """Room for calls to one server.

    Calls enter in the order of their `rank` (the age of their picture), so that the calls on one picture go
    close together, and old pictures are finished before new ones are begun.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        """The limit never rises above this."""
        self.limit = float(min(START, most))
        self.in_flight = 0
        self.waiting = 0
        """Calls before the gate."""
        self.load: Load | None = None
        """What the server last said of itself."""
        self.blind = False
        """The server does not tell its load: its replies and failures move the limit."""
        self._missed = 0
        self._queue: list[tuple[float, int, asyncio.Future[None]]] = []
        self._arrivals = itertools.count()
        self._was_full = False
        self._finished = 0
        self._steered_at = time.monotonic()
        self._rate = 0.0
        self._lowered_at = float("-inf")
        self._slow_start = True
        self._held_until = float("-inf")

    @property
    def open_calls(self) -> int:
        """Calls in flight and before the gate."""
        return self.in_flight + self.waiting

    @asynccontextmanager
    async def slot(self, rank: float) -> AsyncIterator[None]:
        """Wait for room and hold it. Raises `TurnedAwayError` when the gate is shut meanwhile."""
        await self._enter(rank)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, rank: float) -> None:
        if not self.waiting and self.in_flight < int(self.limit) and not self.held:
            self._admit_one()
            return
        self._was_full = True
        admitted = asyncio.get_running_loop().create_future()
        heapq.heappush(self._queue, (rank, next(self._arrivals), admitted))
        self.waiting += 1
        try:
            await admitted
        except asyncio.CancelledError:
            if admitted.cancelled():
                self.waiting -= 1  # its place in the queue is passed over later
            elif admitted.exception() is None:
                self._leave()  # it was let in and cancelled in the same moment
            raise

    def _admit_one(self) -> None:
        self.in_flight += 1
        self._was_full = self._was_full or self.in_flight >= int(self.limit)

    def _leave(self) -> None:
        self.in_flight -= 1
        self._finished += 1
        self._admit()

    def _admit(self) -> None:
        while self._queue and self.in_flight < int(self.limit) and not self.held:
            _, _, admitted = heapq.heappop(self._queue)
            if not admitted.done():
                self.waiting -= 1
                self._admit_one()
                admitted.set_result(None)

    def turn_away(self) -> None:
        """Send every call that waits before the gate back to the pool."""
        for _, _, admitted in self._queue:
            if not admitted.done():
                self.waiting -= 1
                admitted.set_exception(TurnedAwayError())
        self._queue.clear()

    def hold(self, seconds: float) -> None:
        """Let nobody in for a while: the server asked for it."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)
        asyncio.get_running_loop().call_later(seconds + 0.01, self._admit)

    @property
    def held(self) -> bool:
        """Nobody is let in for now."""
        return time.monotonic() < self._held_until

    def _set(self, limit: float) -> None:
        self.limit = min(max(limit, 1.0), float(self.most))
        self._admit()

    def steer(self, load: Load | None) -> bool:
        """Take what the server said just now (None: nothing); says whether the limit moved by much."""
        now = time.monotonic()
        elapsed, self._steered_at = max(now - self._steered_at, 1e-3), now
        self._rate = (self._rate + self._finished / elapsed) / 2
        self._finished = 0
        if load is None:
            self._missed += 1
            self.blind = self.load is None or self._missed > MISSES
            return False
        self.load, self._missed, self.blind = load, 0, False
        before = self.limit
        self._set(steered(before, self.in_flight, self._was_full, load, self._rate))
        self._was_full = self.in_flight >= int(self.limit)
        return abs(self.limit - before) > 0.25 * before

    def succeeded(self) -> None:
        """A reply came. Where the server does not tell its load: double per round trip until it had too much,
        then one more per round trip, and only while the gate is full.
        """
        if self.blind and (self.waiting or self.in_flight >= int(self.limit)):
            self._set(self.limit + (1.0 if self._slow_start else 1.0 / self.limit))

    def overloaded(self, started: float) -> None:
        """The server had too much to do for a call that `started` then (monotonic seconds).

        Where it does not tell its load the limit is halved, once for all calls that were under way together.
        """
        if self.blind and started > self._lowered_at:
            self._lowered_at = time.monotonic()
            self._slow_start = False
            self._set(self.limit / 2)
