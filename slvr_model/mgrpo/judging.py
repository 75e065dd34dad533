"""A served judge during training: asked while the next rollouts are made, answered by index.

The judge runs in a thread of its own, on the request layer of `slvr_data`. It is sent the question, the right answer
and the answer that was cut out of a reply, never the reply around it: a policy that argues with its judge is not heard.
Verdicts are words (yes, no, unknown); what they are worth is the reward's affair, so no judge can change its scale.
Where the judge stops answering, training waits, and then stops with the reason: nothing is rewarded by guess.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, TypeVar

from slvr_data.errors import RunError, SlvrError, UsageError
from slvr_data.judging import Verdict, verdict_request
from slvr_data.requests.client import Client
from slvr_data.requests.failures import BudgetError, UnfinishedError
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.messages import Refusal
from slvr_data.requests.store import RequestStore
from slvr_model.mgrpo.settings.judge import JudgeConfig

T = TypeVar("T")
AGAIN = 2.0
"""Seconds between two tries to reach a judge that does not answer."""


class Answered(NamedTuple):
    """An answer to judge."""

    question: str
    right: str
    given: str
    """The answer alone, cut out of its reply; empty where none could be."""
    key: str = ""
    """Answers of one key go to one server, e.g. the query's id."""


class Handle:
    """Verdicts that are on their way."""

    def __init__(self, future: Future[list[Verdict]], waited: Callable[[float], None]) -> None:
        self._future, self._waited = future, waited

    @property
    def done(self) -> bool:
        """Whether `results` comes back at once."""
        return self._future.done()

    def results(self) -> list[Verdict]:
        """A verdict for each answer, in the order in which they were submitted.

        Raises:
            UnfinishedError: the judge has stopped answering, and does not come back.
            RunError: the server is plainly wrong, or its replies hold no verdicts.
        """
        started = time.monotonic()
        try:
            return self._future.result()
        finally:
            self._waited(time.monotonic() - started)


class Judge:
    """A judge at work. `close` it, or use it in a `with`.

    Args:
        config: which server, and how patient to be.
        folder: where verdicts are kept, one for each process: a resumed run asks nothing twice and gets the same
            verdicts. None: they are forgotten in the end.
        say: takes what is said to people.
        others: folders of the other processes, and of those that there were before: verdicts that are kept there and
            not here are taken over, so that neither does a run ask twice that goes on with another number of processes
            (but for what was answered in the last 30 s before a kill, which only the process of that folder has).

    Raises:
        UsageError: no server or model is configured, or a package is missing.
        ServerError: no server is there, or it does not know the key or the model.
    """

    def __init__(
        self,
        config: JudgeConfig,
        folder: Path | None = None,
        say: Callable[[str], None] | None = None,
        others: Sequence[Path] = (),
    ) -> None:
        if not config.base_urls or not config.model:
            raise UsageError(
                "a judge needs judge.base_urls and judge.model, e.g. [http://localhost:8000/v1] and a name"
            )
        self.config = config
        self.tally: Counter[str] = Counter()
        """Verdict -> answers that got it, and "called", "equal", "empty", "unreadable": why."""
        self.waited = 0.0
        """Seconds for which `results` had to wait in all: 0 where the judge keeps up with generation."""
        self._served, self._say = config.served(), say or _to_stderr
        self._unread, self._silent, self._heard = 0, False, time.monotonic()
        self._clients: list[Client] = []
        self._opening = asyncio.Lock()
        self._kept, self._closed = ExitStack(), False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="judge", daemon=True)
        try:
            self._ledger, self._store = self._opened(folder, others)
            self._thread.start()
            self._wait_for(self._start())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Judge:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def submit(self, answers: Sequence[Answered | tuple[str, str, str, str]]) -> Handle:
        """Have answers judged in the background; equal ones are judged once."""
        if self._closed:
            raise RuntimeError("the judge is closed")
        asked = [Answered(*answer) for answer in answers]
        return Handle(asyncio.run_coroutine_threadsafe(self._all(asked), self._loop), self._add_waited)

    def close(self) -> None:
        """Drop what is under way, and keep the verdicts there are."""
        if self._closed:
            return
        self._closed = True
        try:
            if self._thread.is_alive():
                self._wait_for(self._end())
                self._loop.call_soon_threadsafe(self._loop.stop)
                self._thread.join()
            self._loop.close()
        finally:
            self._kept.close()

    # Within the thread

    async def _start(self) -> None:
        try:
            await (await self._connected()).check(vision=False)
        except SlvrError as error:
            raise type(error)(f"judge: {error}") from None

    async def _end(self) -> None:
        """Cancel all that is under way, and close the connections."""
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for client in self._clients:
            await client.__aexit__(None, None, None)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self) -> Client:
        """A new client in place of the one before."""
        client = await Client(self._served, self._store, self._ledger, self._say).__aenter__()
        for before in self._clients:
            await before.__aexit__(None, None, None)
        self._clients = [client]
        return client

    async def _all(self, answers: Sequence[Answered]) -> list[Verdict]:
        different = list(dict.fromkeys(answer[:3] for answer in answers))
        keys = {answer[:3]: answer.key for answer in reversed(answers)}
        tasks = [asyncio.ensure_future(self._verdict(Answered(*words, keys[words]))) for words in different]
        try:
            found = dict(zip(different, await asyncio.gather(*tasks), strict=True))
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        verdicts = [found[answer[:3]] for answer in answers]
        self.tally.update(verdicts)
        return verdicts

    async def _verdict(self, answer: Answered) -> Verdict:
        """One verdict; a call is made only where the words do not decide by themselves."""
        if not answer.given.strip():
            self.tally["empty"] += 1
            return "no"
        if _bare(answer.given) == _bare(answer.right):
            self.tally["equal"] += 1
            return "yes"
        request = verdict_request(answer.question, answer.right, answer.given, self._served, answer.key)
        asked = time.monotonic()
        while True:
            client = self._clients[-1]
            try:
                reply = await client.ask(request)
            except BudgetError:
                raise
            except UnfinishedError as error:
                await self._pause(client, error, max(asked, self._heard))
                continue
            self._answers_again()
            if isinstance(reply, Refusal):
                return self._refused(reply)
            self.tally["called"] += 1
            self._unread = 0
            return reply.value

    async def _pause(self, client: Client, error: UnfinishedError, since: float) -> None:
        """Wait a little for a judge that has been silent `since` then, and connect anew."""
        why, silent = str(error).split("; ")[0], time.monotonic() - since
        if silent >= self.config.pause:
            raise UnfinishedError(
                f"the judge has not answered for {silent:.0f} s ({why}): run the same command with --resume when it "
                "does, or with a longer judge.pause"
            )
        if not self._silent:
            self._silent = True
            self._say(f"the judge does not answer ({why}): training waits, {self.config.pause:.0f} s at most")
        await asyncio.sleep(min(AGAIN, self.config.pause / 4))
        async with self._opening:
            if client is self._clients[-1] and client.stopped is not None:
                await self._connected()

    def _answers_again(self) -> None:
        if self._silent:
            self._silent = False
            self._say(f"the judge answers again, after {time.monotonic() - self._heard:.0f} s")
        self._heard = time.monotonic()

    def _refused(self, refusal: Refusal) -> Verdict:
        """What an answer without a verdict gets, counted. Raises RunError where the judge says nothing else."""
        self.tally["unreadable"] += 1
        self._unread += 1
        if self._unread >= self.config.unreadable:
            raise RunError(
                f"the judge gave no verdict on {self._unread} answers in a row, the last reply: {refusal.failure}, "
                f"{refusal.evidence} (--resume takes more judge.max_tokens and a higher judge.unreadable; another "
                "judge.model is for another run)"
            )
        return "unknown"

    # Outside of it

    def _opened(self, folder: Path | None, others: Sequence[Path]) -> tuple[Ledger, RequestStore]:
        if folder is None:
            folder = Path(self._kept.enter_context(TemporaryDirectory()))
        ledger = self._kept.enter_context(Ledger(folder / "ledger.json"))
        store = self._kept.enter_context(RequestStore(folder, self._served.scratch, self._say))
        for other in others:
            store.take_over(other)
        return ledger, store

    def _wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _add_waited(self, seconds: float) -> None:
        self.waited += seconds


def _bare(text: str) -> str:
    """Words without case, spacing or a full stop."""
    return " ".join(text.casefold().split()).rstrip(".")


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
