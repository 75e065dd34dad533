"""The end of a run with calls under way: they are paid for, so they are waited for, a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

UNDER_WAY = 30.0
"""Seconds at most that a run which is ending waits for the calls under way."""


async def ended(tasks: Collection[asyncio.Future[Any]], error: BaseException | None = None) -> None:
    """Come back when tasks are over, whatever they ended with.

    They are cancelled: after `error` when `UNDER_WAY` s have passed, at once where that is a cancellation, or without.
    """
    try:
        if tasks and error is not None and not isinstance(error, asyncio.CancelledError):
            await asyncio.wait(tasks, timeout=UNDER_WAY)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
