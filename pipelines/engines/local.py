"""The local engine: this process, or a pool of processes on this machine."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for_sentinel
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from pipelines.config import BuildConfig
from slvr_data.commandline import spare_pandas
from slvr_data.errors import RunError

if TYPE_CHECKING:
    from pipelines.engines.lost import OnLost
    from pipelines.worker import Worker

_worker: Worker | None = None


class LocalEngine:
    """Calls a method of `Worker` on many inputs; results come in the order in which they are done."""

    def __init__(self, config: BuildConfig, work: Path, workers: int) -> None:
        self.workers = workers
        self._config, self._work = config, work
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=error is None, cancel_futures=True)

    def map(self, method: str, inputs: Iterable[tuple[Any, ...]], lost: OnLost | None = None) -> Iterator[Any]:
        """`Worker.method(*input)` for each input; only a few inputs per worker are taken ahead.

        Raises:
            RunError: a worker died, or raised it; nothing is told to `lost`.
        """
        if self.workers == 1:
            from pipelines.worker import Worker

            worker = Worker(self._config, self._work)
            for arguments in inputs:
                yield getattr(worker, method)(*arguments)
            return
        yield from self._pooled(method, iter(inputs))

    def submit(self, method: str, *arguments: Any) -> Future[Any]:
        """`Worker.method(*arguments)` in the pool, also where there is one worker; the caller bounds how many wait."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self.workers, mp_context=context, initializer=_start, initargs=(self._config, self._work)
            )
        with _interrupts_held():
            return self._pool.submit(_call, method, arguments)

    def note(self) -> str:
        """See `pipelines.engines.Engine`."""
        return ""

    def _pooled(self, method: str, inputs: Iterator[tuple[Any, ...]]) -> Iterator[Any]:
        running: set[Future[Any]] = set()
        try:
            while True:
                while len(running) < 2 * self.workers and (arguments := next(inputs, None)) is not None:
                    running.add(self.submit(method, *arguments))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BrokenProcessPool:
            raise worker_died() from None


def worker_died() -> RunError:
    """What is said when the pool breaks."""
    return RunError(
        "a worker process died (killed from outside, or out of memory: lower --workers or --shard-size); "
        "run the same command again, nothing finished is lost"
    )


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
