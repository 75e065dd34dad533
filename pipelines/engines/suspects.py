"""Calls whose worker process ended under them: each is made once more, alone, so that the one that did it is known."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

from pipelines.engines.lost import WorkerLostError, named


@dataclass(eq=False)
class Sent:
    """A call on its way, and whoever waits for it."""

    method: str
    arguments: tuple[Any, ...]
    future: Future[Any] = field(default_factory=Future)

    def __post_init__(self) -> None:
        self.future.set_running_or_notify_cancel()

    def lost(self) -> WorkerLostError:
        """What is said when it has ended a worker again."""
        return WorkerLostError(
            f"{named(self.method, self.arguments)} has ended every worker process that took it (a crash, or out of "
            "memory: lower --workers or --shard-size)"
        )


class Suspects:
    """Makes calls one at a time, in a process of its own; any thread may add some."""

    def __init__(self, pool: Callable[[], ProcessPoolExecutor], call: Callable[..., Any]) -> None:
        """`pool`: makes one of a single process; `call(method, arguments)` is what it runs."""
        self._new_pool, self._call = pool, call
        self._calls: deque[Sent] = deque()
        self._lock = threading.Lock()
        self._pool: ProcessPoolExecutor | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, sent: Sent) -> None:
        """One more; its future is told what comes of it: WorkerLostError where it ends this process too."""
        with self._lock:
            self._calls.append(sent)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="suspects", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Make no more of them; those that wait are told so."""
        with self._lock:
            self._closed = True
            pool = self._pool
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # workers that start in here never see it
        while True:
            with self._lock:
                if self._closed or not self._calls:
                    left, pool = list(self._calls), self._pool
                    self._calls.clear()
                    self._thread = self._pool = None
                    break
                sent = self._calls.popleft()
                self._pool = self._pool or self._new_pool()
                pool = self._pool
            self._once(sent, pool)
        for sent in left:
            sent.future.set_exception(sent.lost())
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _once(self, sent: Sent, pool: ProcessPoolExecutor) -> None:
        try:
            found = pool.submit(self._call, sent.method, sent.arguments).result()
        except BrokenProcessPool:
            with self._lock:
                self._pool = None
            sent.future.set_exception(sent.lost())
        except BaseException as error:  # what the worker raised, for whoever waits
            sent.future.set_exception(error)
        else:
            sent.future.set_result(found)
