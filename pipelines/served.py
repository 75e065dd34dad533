"""The driver of served builds: one process asks the model, a pool of others does the picture work.

A shard goes through three steps: `prepare` (in the pool: crop, and encode what is sent), asking (here, all shards
at once on one event loop), `finish` (in the pool: check and commit). Shards are taken in as the server has room,
so that its queue is never empty and memory stays flat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from pipelines.engines import Engine
from pipelines.engines.lost import WorkerLostError, parts_of
from pipelines.left import Left
from pipelines.tasks import PictureGoneError, Prepared, ShardReport, ToAsk
from slvr_data.annotators.base import Unfinished
from slvr_data.requests.client import Client
from slvr_data.requests.ending import ended

MOST_HELD = 192 << 20
"""Bytes of encoded pictures in memory, about; another shard waits until some are done with."""
_FIRST = 8 << 20
"""What a shard is taken to hold before any is known; later it is the mean of those that are."""
_TICK = 0.05
"""Seconds after which the driver looks again whether the server has room."""


class Task(Protocol):
    """A shard."""

    @property
    def pictures(self) -> list[Any]:
        """Its pictures."""
        ...


@dataclass(frozen=True)
class Work:
    """What differs between asking for profiles and asking for questions."""

    prepare: str
    """Method of `Worker`: task -> `Prepared`."""
    finish: str
    """Method of `Worker`: task, `Prepared.carried`, rows by picture -> `ShardReport`; it leaves out pictures
    that have no rows."""
    ask: Callable[[ToAsk], Awaitable[list[Any]]]
    """What came of each of the picture's regions: a row, or `Unfinished`."""


class Driver:
    """Carries shards through `Work`; `left` tells what is open at the end."""

    def __init__(
        self,
        engine: Engine,
        client: Client,
        work: Work,
        done: Callable[[ShardReport], None],
        tick: Callable[[], None],
    ) -> None:
        """`done` is told of each finished shard; `tick` is called often, to keep what is shown up to date."""
        self._engine, self._client, self._work, self._done, self._tick = engine, client, work, done, tick
        self.left = Left()
        self._held = self._in_pool = self._unasked = 0
        self._coming = 0
        """Shards of which nobody knows yet what they will hold."""
        self._known, self._shards = _FIRST, 1
        """Bytes of the shards that were prepared, and how many these were; one of `_FIRST` to begin with."""

    async def run(self, shards: Iterator[Task]) -> None:
        """All shards, until they end or the client says that going on is of no use.

        Raises:
            ServerError: the server is plainly wrong.
            RunError: a worker raised it.
        """
        running: set[asyncio.Task[None]] = set()
        more = True
        try:
            while True:
                while more and self._wanted(len(running)):
                    task = next(shards, None)
                    more = task is not None
                    if task is not None:
                        self._take_in()
                        running.add(asyncio.create_task(self._shard(task)))
                        await asyncio.sleep(0)
                if not running:
                    return
                over, running = await asyncio.wait(running, timeout=_TICK, return_when=asyncio.FIRST_COMPLETED)
                errors = [error for shard in over if (error := shard.exception()) is not None]
                if errors:
                    raise errors[0]
                self._tick()
        except BaseException:  # also a signal: what is under way is paid for
            await self._client.wind_down()
            raise
        finally:
            await ended(running)

    def _wanted(self, running: int) -> bool:
        """Whether to take in another shard: a few are prepared ahead, and no more than memory holds."""
        if self._client.stopped is not None:
            return False
        return not running or (
            self._unasked < self._engine.workers + 1
            and self._in_pool < 2 * self._engine.workers
            and self._held + (self._coming + 1) * self._known / self._shards <= MOST_HELD
        )

    def _take_in(self) -> None:
        self._unasked += 1
        self._coming += 1

    async def _shard(self, task: Task) -> None:
        """Through all three steps; where it ends its workers, or lacks a picture's file, its pictures one by one."""
        try:
            await self._whole(task)
        except (WorkerLostError, PictureGoneError) as error:
            parts = parts_of((task,))
            if not parts:
                self.left.lose(task, error)
            for (part,) in parts:
                self._take_in()
                await self._shard(part)

    async def _whole(self, task: Task) -> None:
        try:
            try:
                prepared: Prepared = await self._pooled(self._work.prepare, task)
            finally:
                self._coming -= 1
            size = sum(picture.size for picture in prepared.pictures)
            self._held += size
            self._known += size
            self._shards += 1
            while self._client.room <= 0 and self._client.stopped is None:
                await asyncio.sleep(_TICK)
        finally:
            self._unasked -= 1
        carried, seconds = prepared.carried, prepared.cpu_seconds
        pictures = [asyncio.create_task(self._picture(picture)) for picture in prepared.pictures]
        del prepared
        try:
            answered = await asyncio.gather(*pictures)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                await self._client.wind_down()
            await ended(pictures)
            raise
        del pictures
        rows = {key: found for key, found in answered if found is not None}
        report: ShardReport = await self._pooled(self._work.finish, task, carried, rows)
        for stage, spent in seconds.items():
            report.cpu_seconds[stage] = report.cpu_seconds.get(stage, 0) + spent
        self._done(report)

    async def _picture(self, picture: ToAsk) -> tuple[str, list[Any] | None]:
        """(key, rows), without rows for a picture that is not finished."""
        try:
            rows = await self._work.ask(picture)
        finally:
            self._held -= picture.size
            picture.asked = None
        late = [row.evidence for row in rows if isinstance(row, Unfinished)]
        if not late:
            return picture.key, rows
        self.left.pictures += 1
        for evidence in late:
            self.left.note(evidence)
        return picture.key, None

    async def _pooled(self, method: str, *arguments: Any) -> Any:
        self._in_pool += 1
        try:
            return await asyncio.wrap_future(self._engine.submit(method, *arguments))
        finally:
            self._in_pool -= 1
