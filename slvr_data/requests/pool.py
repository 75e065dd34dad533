"""Servers of one model: which of them a call goes to, and what happens when one of them fails."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from slvr_data.requests.config import ServedConfig
from slvr_data.requests.control import Gate
from slvr_data.requests.failures import POLICIES
from slvr_data.requests.health import Health
from slvr_data.requests.transport import CallFailed, Transport, WrongServer

HOMES = 100_000
"""Groups whose server is remembered."""
STREAK = 8
"""Failures in a row without a reply, after which a server rests while others work."""
LOOK, LOOK_AGAIN = 0.25, 0.5
"""Seconds between two looks at a server's load, while the limit moves and when it does not."""
BLIND = 5.0
"""Seconds between two looks at a server that tells nothing."""
REST = 5.0
"""Seconds between two probes of a server that is set aside, at most."""


class Endpoint:
    """A server of the pool."""

    def __init__(
        self, transport: Transport, config: ServedConfig, say: Callable[[str], None], changed: Callable[[], None]
    ) -> None:
        self.transport = transport
        self.url = transport.url
        self.gate = Gate(config.max_concurrency)
        self.alive = True
        self.answered = float("-inf")
        """When the last call began that it answered with anything but 4xx, in monotonic seconds."""
        self._config, self._say, self._changed = config, say, changed
        self._streak = 0
        self._aside = 0

    @property
    def pressure(self) -> float:
        """Open calls for each that it may have at once."""
        return self.gate.open_calls / self.gate.limit

    def replied(self) -> None:
        """A call was answered."""
        self._streak = self._aside = 0
        self.gate.succeeded()

    def failed(self, failed: CallFailed, started: float, alone: bool) -> None:
        """A call that `started` then (monotonic seconds) got no reply; `alone`: no other server is alive."""
        self._streak += 1
        if POLICIES[failed.failure].limits:
            self.gate.overloaded(started)
        if failed.failure == "429":
            if self._streak >= 3 and failed.retry_after:  # one 429 among replies is no reason to stop all calls
                self.gate.hold(min(failed.retry_after, self._config.timeout))
                if not alone:
                    self.gate.turn_away()
        elif self.alive and (failed.failure == "refused" or (self._streak >= STREAK and not alone)):
            self._set_aside(failed.evidence)

    def _set_aside(self, why: str) -> None:
        self.alive = False
        self._changed()
        self._aside += 1
        if self._aside == 1:
            self._say(f"{self.url} is set aside: {why}")
        self.gate.turn_away()

    async def watch(self) -> None:
        """Look at the server's load as long as it has calls; probe it when it is set aside. Never ends."""
        blind_until = 0.0
        while True:
            if not self.alive:
                await self._probe()
            elif self.gate.open_calls and time.monotonic() >= blind_until:
                moved = self.gate.steer(await self.transport.load())
                if self.gate.blind:
                    blind_until = time.monotonic() + BLIND
                await asyncio.sleep(LOOK if moved else LOOK_AGAIN)
            else:
                await asyncio.sleep(LOOK)

    async def _probe(self) -> None:
        """Wait a little, longer each time, and see whether the server answers again."""
        await asyncio.sleep(min(0.25 * 2 ** min(self._aside, 10), REST))
        try:
            await self.transport.models(timeout=self._config.connect_timeout)
        except WrongServer:
            pass  # it answers; what it will not list decides nothing here
        except CallFailed as failed:
            if failed.failure != "garbled":
                self._aside += 1
                return
        self._say(f"{self.url} answers again")
        self.alive, self._streak = True, 0
        self._changed()


class Pool:
    """All servers. With affinity the calls of one group go to one of them as long as it is alive."""

    def __init__(
        self, transports: Sequence[Transport], config: ServedConfig, health: Health, say: Callable[[str], None]
    ) -> None:
        self.endpoints = [Endpoint(transport, config, say, self._changed) for transport in transports]
        self._affinity = config.affinity
        self._patience = config.patience
        self._health = health
        self._homes: OrderedDict[str, tuple[Endpoint, int]] = OrderedDict()
        self._ages = itertools.count()
        self._turn = itertools.count()
        self._some_alive = asyncio.Event()
        self._some_alive.set()
        self._watchers = [asyncio.create_task(endpoint.watch()) for endpoint in self.endpoints]

    async def close(self) -> None:
        """End the watchers; transports belong to whoever made them."""
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)

    def turn_away(self) -> None:
        """Wake all calls that wait, so that they see why the run is over."""
        for endpoint in self.endpoints:
            endpoint.gate.turn_away()
        self._some_alive.set()

    def _changed(self) -> None:
        if self.alive:
            self._some_alive.set()
        else:
            self._some_alive.clear()

    @property
    def alive(self) -> list[Endpoint]:
        """Servers that are not set aside."""
        return [endpoint for endpoint in self.endpoints if endpoint.alive]

    async def pick(self, group: str, avoid: Endpoint | None = None) -> tuple[Endpoint, float]:
        """(The server for a call, its rank before the gate); waits while none is alive.

        `avoid`: the one that has just failed, taken only when no other is alive. Raises what ended the run.
        """
        while not (alive := self.alive):
            await self._wait_for_any()
        self._health.check()
        willing = [endpoint for endpoint in alive if not endpoint.gate.held] or alive
        others = [endpoint for endpoint in willing if endpoint is not avoid] or willing
        if not self._affinity:
            number = next(self._turn)
            return others[number % len(others)], number
        home, age = self._homes.get(group, (None, -1))
        if home is None or not home.alive:
            home = min(others, key=lambda endpoint: (endpoint.pressure, _draw(group, endpoint.url)))
            age = next(self._ages) if age < 0 else age
            self._homes[group] = home, age
            if len(self._homes) > HOMES:
                self._homes.popitem(last=False)
        self._homes.move_to_end(group)
        if home in others:
            return home, age
        return min(others, key=lambda endpoint: endpoint.pressure), age

    async def _wait_for_any(self) -> None:
        self._health.check()
        try:
            async with asyncio.timeout(self._patience):
                await self._some_alive.wait()
        except TimeoutError:
            self._health.gone(self._patience, "none takes a connection")
        self._health.check()


def _draw(group: str, url: str) -> bytes:
    """Highest-random-weight hashing: the same server in the next run, whichever others there are."""
    return hashlib.blake2b(f"{group}\n{url}".encode(), digest_size=8).digest()
