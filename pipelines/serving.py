"""The store, the ledger and the client of a run that asks a served model."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from pipelines.engines import Engine
from pipelines.left import Left
from pipelines.progress import Progress
from pipelines.served import Driver, Task, Work
from pipelines.stages.looks import Looking
from pipelines.stages.multiquery import QueryTask
from pipelines.stages.served import asked_profiles, asked_questions
from pipelines.tasks import ShardReport, ShardTask, ToAsk
from slvr_data.annotators.served.profiles import Served
from slvr_data.checks.model.config import ModelChecksConfig
from slvr_data.prompts import load_prompts
from slvr_data.queries.served import ServedQuestions
from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.store import RequestStore

_FOLDER = "requests"
Asker = Callable[[Client], Callable[[ToAsk], Awaitable[list[Any]]]]


def ledger_file(work: Path) -> Path:
    """Where the calls of all runs of a set are counted."""
    return work / _FOLDER / "ledger.json"


def request_folder(work: Path) -> Path:
    """Where the replies of a set are kept."""
    return work / _FOLDER


def preflight(served: ServedConfig, work: Path, say: Callable[[str], None]) -> None:
    """Make sure that the server is what it should be, before any work.

    Raises:
        ServerError: in one sentence.
    """

    async def look() -> None:
        async with Client(served, None, Ledger(ledger_file(work)), say) as client:
            await client.check()

    asyncio.run(look())


async def stoppable(work: Coroutine[Any, Any, None]) -> None:
    """Let SIGTERM end `work` as Ctrl-C does: cancelled where it waits, and not in the middle of anything."""
    before = signal.getsignal(signal.SIGTERM)
    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


class Serving:
    """One run's asking; `summary` tells what it cost."""

    def __init__(
        self,
        served: ServedConfig,
        checks: ModelChecksConfig,
        work: Path,
        engine: Engine,
        progress: Progress,
        looked: bool = False,
    ) -> None:
        """`looked`: `preflight` has been made already."""
        self._looked = looked
        self._served, self._checks, self._work = served, checks, work
        self._engine, self._progress = engine, progress
        self.left = Left()
        self._note = ""
        self._regions = 0

    def note(self) -> str:
        """What stands behind the counts of pictures in the progress line."""
        return self._note

    def profiles(self, shards: Iterator[ShardTask], done: Callable[[ShardReport], None]) -> None:
        """Ask for the profiles of all regions; see `run`."""
        prompts = load_prompts(self._served.prompts)

        def asker(client: Client) -> Callable[[ToAsk], Awaitable[list[Any]]]:
            looking = Looking(client, prompts, self._served, self._checks)
            return partial(asked_profiles, Served(client, self._served, prompts), looking)

        self.run(shards, "prepare", "finish", asker, done)

    def questions(self, shards: Iterator[QueryTask], done: Callable[[ShardReport], None]) -> None:
        """Ask for questions about all regions; see `run`."""
        prompts = load_prompts(self._served.prompts)

        def asker(client: Client) -> Callable[[ToAsk], Awaitable[list[Any]]]:
            looking = Looking(client, prompts, self._served, self._checks)
            return partial(asked_questions, ServedQuestions(client, self._served, prompts), looking)

        self.run(shards, "prepare_questions", "finish_questions", asker, done)

    def run(
        self, shards: Iterator[Task], prepare: str, finish: str, asker: Asker, done: Callable[[ShardReport], None]
    ) -> None:
        """Take all shards through `prepare`, asking and `finish`; where there are none, no server is needed.

        Raises:
            ServerError: the server is plainly wrong.
            RunError: a worker died, or the disk is full.
        """
        first = next(shards, None)
        if first is None:
            return
        if not self._looked:
            preflight(self._served, self._work, self._progress.say)
        asyncio.run(stoppable(self._run(itertools.chain([first], shards), prepare, finish, asker, done)))

    async def _run(
        self, shards: Iterator[Task], prepare: str, finish: str, asker: Asker, done: Callable[[ShardReport], None]
    ) -> None:
        say = self._progress.say
        with (
            Ledger(ledger_file(self._work)) as ledger,
            RequestStore(request_folder(self._work), self._served.scratch, say) as store,
        ):
            async with Client(self._served, store, ledger, say) as client:

                def told(report: ShardReport) -> None:
                    self._regions += report.regions
                    done(report)

                def tick() -> None:
                    store.check()
                    self._note = f"{self._regions:,} regions; {ledger.line()}; {client.state()}"
                    self._progress.advance(0)

                driver = Driver(self._engine, client, Work(prepare, finish, asker(client)), told, tick)
                self.left = driver.left
                await driver.run(shards)
                self._note = f"{self._regions:,} regions; {ledger.line()}"
                if client.stopped is not None:
                    self.left.stopped = str(client.stopped)
