"""Calls that are made a few at a time, and their results as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from pipelines.engines.lost import OnLost, WorkerLostError, parts_of


def results(
    call: Callable[..., Future[Any]],
    workers: Callable[[], int],
    inputs: Iterable[tuple[Any, ...]],
    lost: OnLost | None,
) -> Iterator[Any]:
    """What comes of `call(*input)` for each input, in the order in which it is done; two per worker are on their way.

    A shard that has ended every worker is tried again picture by picture; `lost` is told of those that do it alone.

    Raises:
        WorkerLostError: a call has ended every worker that took it, and there is no `lost`.
    """
    others, smaller = iter(inputs), deque[tuple[Any, ...]]()
    running: dict[Future[Any], tuple[Any, ...]] = {}
    while True:
        while len(running) < 2 * workers():
            arguments = smaller.popleft() if smaller else next(others, None)
            if arguments is None:
                break
            running[call(*arguments)] = arguments
        if not running:
            return
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            arguments = running.pop(future)
            error = future.exception()
            if error is None:
                yield future.result()
            elif not isinstance(error, WorkerLostError) or lost is None:
                raise error
            elif parts := parts_of(arguments):
                smaller.extend(parts)
            else:
                lost(arguments[0], error)
