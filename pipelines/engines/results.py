"""Calls that are made a few at a time, and their results as they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from pipelines.engines.interrupts import interrupts_later
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
    done: SimpleQueue[Future[Any]] = SimpleQueue()
    while True:
        while len(running) < 2 * workers():
            arguments = smaller.popleft() if smaller else next(others, None)
            if arguments is None:
                break
            with interrupts_later():
                future = call(*arguments)
                future.add_done_callback(done.put)
            running[future] = arguments
        if not running:
            return
        future = done.get()
        arguments = running.pop(future)
        with interrupts_later():
            error = future.exception()
            found = future.result() if error is None else None
        if error is None:
            yield found
        elif not isinstance(error, WorkerLostError) or lost is None:
            raise error
        elif parts := parts_of(arguments):
            smaller.extend(parts)
        else:
            lost(arguments[0], error)
