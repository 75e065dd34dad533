"""The engine of the stub: so many slots of so long, served in order of arrival, with a queue beyond.

Service is reckoned in the engine's own time: a slot that is due is free at that moment, however late the event
loop comes to it. The stub's HTTP work therefore takes nothing from what its slots can do.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field


@dataclass
class Level:
    """A number over time: its peak, and its mean since the last reset."""

    value: int = 0
    peak: int = 0
    _area: float = 0
    _since: float = field(default_factory=time.monotonic)
    _changed: float = field(default_factory=time.monotonic)

    def set(self, value: int) -> None:
        now = time.monotonic()
        self._area += self.value * (now - self._changed)
        self._changed, self.value, self.peak = now, value, max(self.peak, value)

    @property
    def mean(self) -> float:
        self.set(self.value)
        return self._area / max(1e-9, self._changed - self._since)

    def reset(self) -> None:
        self._since = self._changed = time.monotonic()
        self._area, self.peak = 0.0, self.value


class Slots:
    """`slots` calls run at a time, `seconds` each; both can be changed while it runs."""

    def __init__(self, slots: int, seconds: float) -> None:
        self.slots, self.seconds = slots, seconds
        self.running, self.waiting = Level(), Level()
        self.tokens = 0
        """Of the prompts that run."""
        self._queue: deque[tuple[float, asyncio.Future[float]]] = deque()

    async def serve(self, factor: float = 1.0, tokens: int = 0) -> None:
        """Wait for a slot and hold it for the service time, times `factor`; meanwhile the prompt's `tokens` run."""
        started = await self._begin()
        self.tokens += tokens
        due = started + factor * self.seconds
        try:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        except asyncio.CancelledError:
            due = time.monotonic()
            raise
        finally:
            self.tokens -= tokens
            self.running.set(self.running.value - 1)
            self._admit(due)

    async def _begin(self) -> float:
        now = time.monotonic()
        if self.running.value < self.slots and not self._queue:
            self.running.set(self.running.value + 1)
            return now
        turn: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._queue.append((now, turn))
        self.waiting.set(self.waiting.value + 1)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it had its turn, and was cancelled before it knew
                self.running.set(self.running.value - 1)
                self._admit(time.monotonic())
            else:
                self.waiting.set(self.waiting.value - 1)
            raise

    def _admit(self, free: float) -> None:
        """Let the next in the queue have slots, the first of which is free since `free`."""
        while self._queue and self.running.value < self.slots:
            arrived, turn = self._queue.popleft()
            if not turn.done():
                self.waiting.set(self.waiting.value - 1)
                self.running.set(self.running.value + 1)
                turn.set_result(max(free, arrived))

    def change(self, slots: int | None = None, seconds: float | None = None) -> None:
        """From now on; calls that run keep their slot and time."""
        self.slots = self.slots if slots is None else slots
        self.seconds = self.seconds if seconds is None else seconds
        self._admit(time.monotonic())

    def reset(self) -> None:
        """Forget peaks and means."""
        self.running.reset()
        self.waiting.reset()
