"""Asking about one picture: the first call warms the server's caches, the rest follow together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol, TypeVar

from slvr_data.annotators.base import Failure, Unfinished
from slvr_data.requests.ending import ended
from slvr_data.requests.failures import UnfinishedError
from slvr_data.requests.messages import Answer, Refusal, Request

T = TypeVar("T")
_REPLY_SHOWN = 300
"""Characters of the last reply that evidence holds."""


class Asks(Protocol):
    """What of `slvr_data.requests.client.Client` is used here."""

    async def ask(self, request: Request[T]) -> Answer[T] | Refusal:
        """The answer, or why there is none after all attempts; UnfinishedError, ServerError."""
        ...


async def ask_together(client: Asks, requests: Sequence[Request[T]]) -> list[Answer[T] | Refusal | Unfinished]:
    """Answers to requests about one picture, in their order.

    What stays unfinished for one request costs the others nothing. An error that stops the run (`ServerError`) is
    raised when calls that are under way have ended, or after a while.
    """
    if not requests:
        return []
    first = await _ask(client, requests[0])
    tasks = [asyncio.ensure_future(_ask(client, request)) for request in requests[1:]]
    try:
        return [first, *await asyncio.gather(*tasks)]
    except BaseException as error:
        await ended(tasks, error)
        raise


async def _ask(client: Asks, request: Request[T]) -> Answer[T] | Refusal | Unfinished:
    try:
        return await client.ask(request)
    except UnfinishedError as error:
        return Unfinished(str(error))


def failure_of(refusal: Refusal) -> Failure:
    """Why a region is rejected: the class of the last failure, what was wrong, and how the last reply begins."""
    reply = " ".join(refusal.reply.split())
    if len(reply) > _REPLY_SHOWN:
        reply = f"{reply[:_REPLY_SHOWN]}..."
    told = f"; the last reply: {reply}" if reply else ""
    return Failure(f"reply-{refusal.failure}", f"{refusal.evidence}{told}", refusal.key)
