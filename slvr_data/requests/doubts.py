"""4xx from a server that has answered before: is this one request turned down, or would all be (an empty account)?

Nothing is rejected before that is known: a call that began later and was answered shows that it is the request's own
content. Where none comes, a plain call is made; one that is turned down as well ends the run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from slvr_data.requests.failures import UnfinishedError
from slvr_data.requests.health import Health
from slvr_data.requests.pool import Endpoint

TOGETHER = 8
"""Requests that wait to know; with so many a plain call is made at once."""
LOOK = 0.05
"""Seconds between two looks for an answer."""


class Doubts:
    """The requests of a run that were turned down, and wait to know whether they alone are."""

    def __init__(self, health: Health, patience: float) -> None:
        """`patience`: seconds that one waits for the answer to another call, before a plain one is made."""
        self._health, self._patience = health, patience
        self._waiting = 0
        self._one_at_a_time = asyncio.Lock()

    async def settle(self, endpoint: Endpoint, since: float, plain: Callable[[], Awaitable[str]]) -> None:
        """Come back when a server is known to answer others, after it turned a request down (monotonic seconds).

        `plain` makes a plain call to it: the words with which that was turned down, or "". Raises what ended the run:
        UnfinishedError where that call is turned down too.
        """
        self._waiting += 1
        began = time.monotonic()
        try:
            while endpoint.answered <= since:
                self._health.check()
                late = time.monotonic() - began > self._patience
                if self._waiting < TOGETHER and not self._health.idle and not late:
                    await asyncio.sleep(LOOK)
                    continue
                async with self._one_at_a_time:
                    if endpoint.answered <= since and (words := await plain()):
                        self._health.stop(_all_turned_down(endpoint, words))
        finally:
            self._waiting -= 1


def _all_turned_down(endpoint: Endpoint, words: str) -> UnfinishedError:
    return UnfinishedError(
        f"{endpoint.url} turns down every call now, the last with: {words}; what is finished is kept, and of what it "
        "turned down nothing is: run the same command when it answers again (is the account empty?)"
    )
