"""Engines: they carry shards to workers and bring reports back. Correctness never depends on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

if TYPE_CHECKING:
    from pipelines.config import BuildConfig
    from pipelines.engines.config import EngineName, RayConfig
    from pipelines.engines.lost import OnLost


class Engine(Protocol):
    """What carries calls of `Worker`'s methods; to be entered before it is used."""

    @property
    def workers(self) -> int:
        """Calls at once; it may change where machines come and go."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def map(self, method: str, inputs: Iterable[tuple[Any, ...]], lost: OnLost | None = None) -> Iterator[Any]:
        """`Worker.method(*input)` for each input, as they are done; only a few inputs per worker are taken ahead.

        `lost` is told of pictures that end every worker which takes them; without it, they end the run.

        Raises:
            RunError: a worker raised it, or died for good.
        """
        ...

    def submit(self, method: str, *arguments: Any) -> Future[Any]:
        """`Worker.method(*arguments)` in a worker; the caller bounds how many wait."""
        ...

    def note(self) -> str:
        """What the progress line should say of the workers; empty where there is nothing to say."""
        ...


def open_engine(
    name: EngineName, ray: RayConfig, config: BuildConfig, work: Path, workers: int | None, say: Callable[[str], None]
) -> Engine:
    """The engine of that name; `workers`: at most so many calls at once, `say` tells the person who waits.

    Raises:
        UsageError: the engine's package is not installed.
    """
    if name == "local":
        from pipelines.engines.local import LocalEngine, processors

        return LocalEngine(config, work, workers or processors(), say)
    from pipelines.engines.ray import RayEngine

    return RayEngine(config, work, ray, workers, say)
