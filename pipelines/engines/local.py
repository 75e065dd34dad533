"""The local engine: this process, or a pool of processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait as wait_for_sentinel
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pipelines.config import BuildConfig
from pipelines.engines.in_hand import InHand
from pipelines.engines.lost import WorkerLostError
from pipelines.engines.results import results
from pipelines.engines.suspects import Sent, Suspects
from slvr_data.commandline import spare_pandas

if TYPE_CHECKING:
    from pipelines.engines.lost import OnLost
    from pipelines.worker import Worker

_worker: Worker | None = None
_ENDS_SECONDS = 1.0
"""That idle workers have to end in, behind an error: CPython's exit fails where it writes to a pool that is closing."""


class LocalEngine:
    """Calls a method of `Worker` on many inputs; results come in the order in which they are done."""

    def __init__(
        self, config: BuildConfig, work: Path, workers: int, say: Callable[[str], None] = lambda text: None
    ) -> None:
        """`say` tells the person who waits that a worker process has ended."""
        self.workers = workers
        self._config, self._work, self._say = config, work, say
        self._pool: ProcessPoolExecutor | None = None
        self._lock = threading.Lock()
        self._suspects = Suspects(partial(self._new_pool, 1), _call)
        self._closed = False

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        self._suspects.close()
        if self._pool is not None:
            manager: Any = self._pool._executor_manager_thread
            self._pool.shutdown(wait=error is None, cancel_futures=True)
            if manager is not None and error is not None:
                manager.join(_ENDS_SECONDS)

    def map(self, method: str, inputs: Iterable[tuple[Any, ...]], lost: OnLost | None = None) -> Iterator[Any]:
        """`Worker.method(*input)` for each input; only a few inputs per worker are taken ahead.

        One worker is this process, but for what it had in hand when an earlier run ended without a word
        (`pipelines.engines.in_hand`): what ends this process ends the command once.

        Raises:
            RunError: a worker raised it; a call has ended every worker that took it, and there is no `lost`.
        """
        calls = self._in_pool if self.workers > 1 else self._in_here
        yield from calls(method, inputs, lost)

    def _in_pool(self, method: str, inputs: Iterable[tuple[Any, ...]], lost: OnLost | None) -> Iterator[Any]:
        def told(shard: Any, error: WorkerLostError) -> None:
            assert lost is not None
            self._say(str(error))
            lost(shard, error)

        yield from results(partial(self.submit, method), lambda: self.workers, inputs, lost and told)

    def _in_here(self, method: str, inputs: Iterable[tuple[Any, ...]], lost: OnLost | None) -> Iterator[Any]:
        from pipelines.worker import Worker

        worker, in_hand = Worker(self._config, self._work), InHand(self._work)
        gone: list[Any] = []

        def told(shard: Any, error: WorkerLostError) -> None:
            assert lost is not None
            gone.append(shard)
            lost(shard, error)

        try:
            for arguments in inputs:
                if not in_hand.suspected(method, arguments):
                    with in_hand.holding(method, arguments):
                        found = getattr(worker, method)(*arguments)
                    yield found
                    continue
                self._say("what was in hand when an earlier run ended suddenly is done by a process of its own")
                yield from self._in_pool(method, [arguments], lost and told)
                in_hand.cleared(method, arguments, gone)
        finally:
            in_hand.nothing()

    def submit(self, method: str, *arguments: Any) -> Future[Any]:
        """`Worker.method(*arguments)` in the pool, also where there is one worker; the caller bounds how many wait.

        Where its worker process ends the call is made once more, alone: the future raises WorkerLostError where it ends
        that one too.
        """
        sent = Sent(method, arguments)
        while True:
            with self._lock:
                pool = self._pool = self._pool or self._new_pool(self.workers)
            try:
                with _interrupts_held():
                    inner = pool.submit(_call, method, arguments)
            except BrokenProcessPool:  # a moment ago, under others
                self._broke(pool)
                continue
            inner.add_done_callback(partial(self._settled, sent, pool))
            return sent.future

    def note(self) -> str:
        """See `pipelines.engines.Engine`."""
        return ""

    def _new_pool(self, workers: int) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        told = (self._config, self._work)
        return ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=told)

    def _broke(self, pool: ProcessPoolExecutor) -> None:
        """Another pool takes the calls that come."""
        with self._lock:
            first = self._pool is pool
            if first:
                self._pool = None
        if first:
            self._say("a worker process died: what the workers had is done again, one by one")

    def _settled(self, sent: Sent, pool: ProcessPoolExecutor, done: Future[Any]) -> None:
        """Tell whoever waits; a call whose worker has ended is made once more."""
        error = CancelledError() if done.cancelled() else done.exception()
        if error is None:
            sent.future.set_result(done.result())
        elif not isinstance(error, BrokenProcessPool) or self._closed:
            sent.future.set_exception(error)
        else:
            self._broke(pool)
            self._suspects.add(sent)


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C reaches the whole group, but the parent alone answers it: workers that start in here never see it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(config: BuildConfig, work: Path) -> None:
    """Set up a worker process; it ends itself when its parent is gone, however that ended."""
    global _worker
    spare_pandas()
    from pipelines.worker import Worker

    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()
    _worker = Worker(config, work)


def _follow(sentinel: int) -> None:
    wait_for_sentinel([sentinel])
    os._exit(1)


def _call(method: str, arguments: tuple[Any, ...]) -> Any:
    assert _worker is not None
    return getattr(_worker, method)(*arguments)
