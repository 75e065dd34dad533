"""Calls on their way: sent to a server of the pool, made again where no reply comes, counted, ended with the run."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from slvr_data.requests.config import ServedConfig
from slvr_data.requests.control import TurnedAwayError
from slvr_data.requests.ending import UNDER_WAY
from slvr_data.requests.failures import BadReplyError, NoReplyError, UnfinishedError
from slvr_data.requests.health import Health
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.pool import Endpoint, Pool
from slvr_data.requests.preflight import wrong
from slvr_data.requests.transport import CallFailed, Transport, WrongServer
from slvr_data.requests.wire import Reply

R = TypeVar("R")

BACKOFF, BACKOFF_MOST = 0.25, 30.0
"""Seconds before the first repetition of a call, doubled with each, up to the second figure."""
LOOK = 0.25
"""Seconds between two looks for servers that have gone silent."""


@dataclass(frozen=True)
class Sent(Generic[R]):
    """What a server answered."""

    answer: R
    seconds: float
    """From the call to the whole reply."""
    endpoint: Endpoint
    at: float
    """When it came, in monotonic seconds."""


class Sender:
    """What carries the calls of a run; to be opened in its event loop, and closed."""

    def __init__(
        self,
        transports: Sequence[Transport],
        config: ServedConfig,
        health: Health,
        ledger: Ledger,
        say: Callable[[str], None],
    ) -> None:
        self._transports, self.config = transports, config
        self._health, self._ledger, self._say = health, ledger, say
        self._over = asyncio.Event()
        self._bounds: set[asyncio.Timeout] = set()
        self._winding_down: float | None = None

    def open(self) -> Pool:
        """Begin to watch the servers; the pool of them."""
        self._pool = Pool(self._transports, self.config, self._health, self._say)
        self._watcher = asyncio.create_task(self._watch())
        self._health.on_stop = self._stop
        return self._pool

    async def close(self) -> None:
        """End the watchers."""
        self._watcher.cancel()
        await asyncio.gather(self._watcher, return_exceptions=True)
        await self._pool.close()

    def _stop(self) -> None:
        self._over.set()
        self._pool.turn_away()

    async def _watch(self) -> None:
        """End the run, and the calls in flight with it, when the servers keep connections and say nothing."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(LOOK)
            before, looked = looked, time.monotonic()
            if self._health.hangs(looked - before):
                for bound in self._bounds:
                    bound.reschedule(asyncio.get_running_loop().time())

    async def wind_down(self) -> None:
        """Begin no more calls, and wait until those under way are over, `UNDER_WAY` s at most, together with others
        who wait so.
        """
        self._health.stop(UnfinishedError("the run is ending"))
        if self._winding_down is None:
            self._winding_down = time.monotonic()
            if calls := self._health.in_flight:
                self._say(f"waiting for {calls:,} calls that are under way, {UNDER_WAY:.0f} s at most")
        while self._health.in_flight and time.monotonic() - self._winding_down < UNDER_WAY:
            await asyncio.sleep(0.05)

    async def send(
        self,
        purpose: str,
        group: str,
        call: Callable[[Transport], Awaitable[R]],
        at: Endpoint | None = None,
        retries: int | None = None,
    ) -> Sent[R]:
        """What a server answered (`at`: this one, as long as it is there); repeats the call while none does.

        `retries`: so often, where that is not as configured. Raises NoReplyError after them, and what ended the run.
        """
        failed_at: Endpoint | None = None
        repeated, began = 0, time.monotonic()
        while True:
            endpoint, rank = (at, 0.0) if at and at.alive else await self._pool.pick(group, failed_at)
            try:
                async with endpoint.gate.slot(rank):
                    return await self._called(endpoint, purpose, call)
            except TurnedAwayError:
                self._health.check()
                continue
            except CallFailed as error:
                failed = error
            failed_at = endpoint
            repeated += 1
            if repeated > (self.config.transport_retries if retries is None else retries):
                raise NoReplyError(f"no reply after {repeated} calls: {failed.evidence}", failed.failure, began)
            self._ledger.retried(purpose)
            await self._rest(repeated, failed.retry_after if len(self._pool.alive) == 1 else None)

    async def _called(self, endpoint: Endpoint, purpose: str, call: Callable[[Transport], Awaitable[R]]) -> Sent[R]:
        """One call, made and counted. Raises CallFailed, and what ended the run."""
        self._health.starts()
        started = time.monotonic()
        self._ledger.called(purpose)
        bound = asyncio.timeout(None)
        self._bounds.add(bound)
        try:
            async with bound:
                answer = await call(endpoint.transport)
        except TimeoutError:  # by `_watch`
            self._ledger.failed(purpose, "timeout", time.monotonic() - started)
            self._health.check()
            raise
        except CallFailed as failed:
            self._ledger.failed(purpose, failed.failure, time.monotonic() - started)
            endpoint.failed(failed, started, alone=len(self._pool.alive) == 1)
            self._health.failed(failed.failure, failed.evidence)
            raise
        except WrongServer as error:
            self._health.stop(await wrong(endpoint.transport, self.config, error))
            self._health.check()
            raise
        finally:
            self._bounds.discard(bound)
            self._health.ended()
        now = time.monotonic()
        self._health.heard(now - started)
        endpoint.replied()
        if not isinstance(answer, BadReplyError) and not (isinstance(answer, Reply) and answer.rejected):
            endpoint.answered = max(endpoint.answered, started)
        return Sent(answer, now - started, endpoint, now)

    async def _rest(self, repeated: int, retry_after: float | None) -> None:
        """Wait before a call is repeated, holding no slot; the end of the run ends the wait."""
        seconds = min(BACKOFF * 2 ** (repeated - 1), BACKOFF_MOST) * random.uniform(0.5, 1.5)
        if retry_after is not None:
            if retry_after > self.config.timeout:
                words = f"the server asks to be left alone for {retry_after:.0f} s: run the same command then"
                self._health.stop(UnfinishedError(words))
                self._health.check()
            seconds = max(seconds, retry_after * random.uniform(1.0, 1.1))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
        self._health.check()
