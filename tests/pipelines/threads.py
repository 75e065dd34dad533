"""An engine whose workers are threads of this process, for the driver of served builds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

from pipelines.engines.lost import OnLost
from pipelines.tasks import Prepared, ShardReport


class Threads:
    """Prepares shards as it is told; `finish` says what became of one."""

    def __init__(
        self, workers: int, prepare: Callable[[Any], Prepared], finish: Callable[[Any, Any, Any], ShardReport]
    ) -> None:
        self.workers = workers
        self._calls: dict[str, Callable[..., Any]] = {"prepare": prepare, "finish": finish}
        self._pool = ThreadPoolExecutor(workers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def map(self, method: str, inputs: Iterable[tuple[Any, ...]], lost: OnLost | None = None) -> Iterator[Any]:
        return (self.submit(method, *arguments).result() for arguments in inputs)

    def submit(self, method: str, *arguments: Any) -> Future[Any]:
        return self._pool.submit(self._calls[method], *arguments)

    def note(self) -> str:
        return ""
