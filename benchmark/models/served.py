"""A model behind an OpenAI-compatible server, asked through the request layer: stored, repeated, steered, counted.

A reply that came is the model's reply: there is one attempt, and no schema. What the server says of the call (cut,
declined, turned down) goes into the log; an ask that got no reply at all is left for the next run.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from benchmark.models.base import Detail, ModelOptions
from benchmark.models.pictures import PictureError, sent_of
from benchmark.records import Ask, Reply
from slvr_data.errors import UsageError
from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import UnfinishedError
from slvr_data.requests.keys import request_key
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.messages import Message, Refusal, Request, Sampling, SentPicture
from slvr_data.requests.store import RequestStore

T = TypeVar("T")
Put = Callable[[list[tuple[Ask, Reply]]], None]
"""Takes replies that have come."""
PURPOSE = "bench"
"""Of the calls, in the ledger."""
SEED_STEP = 1000
"""Between the seeds that a server is sent for two seeds of a run."""
KEPT_PICTURES = 16
"""Encoded pictures that are kept for the asks that follow on the same one."""
_TICK = 0.02
"""Seconds after which the loop looks again whether there is room for more calls."""


def open_served(spec: str, options: ModelOptions) -> ServedModel:
    """`served:NAME@URL` or `served:NAME@URL,URL`: several servers of one model are a pool.

    Raises:
        UsageError: the address is missing, a setting cannot be, or the package for calls is missing.
    """
    config = config_of(
        "--model",
        spec,
        "served:Qwen/Qwen2.5-VL-7B-Instruct@http://localhost:8000/v1",
        options,
        model_revision=options.revision,
        temperature=options.temperature,
        top_p=options.top_p,
        max_tokens=max(16, options.max_new_tokens),
        attempts=1,
    )
    if options.revision is None:
        options.say(f"no --revision was given: servers that hold other weights under the name {config.model} cannot be "
                    "told apart, neither when a run goes on nor when two are compared")  # fmt: skip
    return ServedModel(config, options)


def config_of(flag: str, spec: str, example: str, options: ModelOptions, **more: Any) -> ServedConfig:
    """How the servers of `NAME@URL` or `NAME@URL,URL` are called; `more` are further settings.

    Raises:
        UsageError: `spec`, given with `flag`, names no server, or a setting cannot be.
    """
    name, at, urls = spec.removeprefix("served:").rpartition("@")
    if not at or not name or not urls.startswith(("http://", "https://")):
        raise UsageError(f"{flag} {spec}: give the name as the server lists it and its address, e.g. {example}")
    told = {
        "base_urls": urls.split(","),
        "model": name,
        "api_key_env": options.api_key_env,
        "transport_retries": options.transport_retries,
        "timeout": options.timeout,
        "patience": options.patience,
        "max_concurrency": options.concurrency,
        "scratch": options.scratch,
    }
    try:
        return ServedConfig.model_validate(told | more)
    except ValidationError as error:
        (first, *_) = error.errors()
        where = str(first["loc"][0]).replace("_", "-")
        raise UsageError(f"--{where} {first['input']}: {first['msg'].lower()}") from None


class ServedModel:
    """Asks through one client for a whole run."""

    def __init__(self, config: ServedConfig, options: ModelOptions) -> None:
        self.name = f"served:{config.model}"  # addresses change from run to run, and are nobody's business
        self._config, self._options = config, options
        self._pictures: OrderedDict[bytes, SentPicture] = OrderedDict()

    def details(self) -> dict[str, Detail]:
        """The name and the revision that were told: what a server holds cannot be hashed from here."""
        return {"served_model": self._config.model, "revision": self._config.model_revision}

    def replies(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, Reply]]:
        """Calls side by side, as many as the servers have room for; see `Model.replies`.

        Raises:
            ServerError: the server is plainly wrong.
            UnfinishedError: asks are left without a reply.
        """
        todo = iter(asks)
        first = next(todo, None)
        if first is None:
            return  # no server is needed
        with asyncio.Runner() as runner:
            steps = _Steps(runner, lambda put: self._finish(itertools.chain([first], todo), put))
            try:
                while found := steps.next():
                    yield from found
            finally:
                steps.close()

    async def _finish(self, todo: Iterator[Ask], put: Put) -> None:
        """Replies, put as they come."""
        say = self._options.say
        with ExitStack() as stack:
            folder = self._options.work or Path(stack.enter_context(tempfile.TemporaryDirectory()))
            ledger = stack.enter_context(Ledger(folder / "requests" / "ledger.json"))
            store = stack.enter_context(RequestStore(folder / "requests", self._config.scratch, say))
            async with Client(self._config, store, ledger, say) as client:
                await client.check()
                await _Session(self, client, store, todo).finish(put)

    async def asked(self, client: Client, store: RequestStore, ask: Ask) -> Reply:
        """One ask.

        Raises:
            UnfinishedError: no reply could be had.
            ServerError: the server is plainly wrong.
        """
        try:
            request = self._request(ask)
        except PictureError as error:
            return Reply(None, "error", f"its picture cannot be sent: {error}")
        answer = await client.ask(request)
        stored = store.get(request_key(request, self._config, 0))
        counts = (stored.prompt_tokens, stored.completion_tokens, stored.seconds) if stored else ()
        if not isinstance(answer, Refusal):
            return Reply(answer.value, "stop", None, *counts)
        if answer.failure == "length" and stored is not None and stored.finish_reason != "length":
            return Reply(answer.reply, "too-long", f"longer than is read: {answer.evidence}", *counts)
        if answer.failure == "length":
            return Reply(answer.reply, "length", answer.evidence, *counts)
        if answer.failure == "refusal":
            return Reply(answer.reply or answer.evidence, "refused", None, *counts)
        if answer.failure == "empty":
            return Reply("", "stop", None, *counts)
        return Reply(None, "error", answer.evidence, *counts)

    def _request(self, ask: Ask) -> Request[str]:
        options = self._options
        sampling = Sampling(options.temperature, options.top_p, options.max_new_tokens, ask.seed * SEED_STEP)
        return Request(
            purpose=PURPOSE,
            group=ask.item.image_id,
            messages=(Message("user", (self._picture(ask.picture), ask.prompt)),),
            sampling=sampling,
            prompt_version=options.prompt_version,
            context={},
            accept=str,
        )

    def _picture(self, data: bytes) -> SentPicture:
        """The picture as it is sent, made once for the asks that follow each other on it."""
        if data not in self._pictures:
            self._pictures[data] = sent_of(data, self._options.max_pixels)
            while len(self._pictures) > KEPT_PICTURES:
                self._pictures.popitem(last=False)
        return self._pictures[data]


class _Session:
    """The calls of one run: some are in flight, and those that have ended are given out."""

    def __init__(self, model: ServedModel, client: Client, store: RequestStore, todo: Iterator[Ask]) -> None:
        self._model, self._client, self._store, self._todo = model, client, store, todo
        self._running: dict[asyncio.Task[Reply], Ask] = {}
        self._more = True
        self._late = 0
        self._why = ""

    async def finish(self, put: Put) -> None:
        """Put replies as they come; raises what went wrong with the others."""
        try:
            while await self._start() or self._running:
                done, _ = await asyncio.wait(self._running, timeout=_TICK, return_when=asyncio.FIRST_COMPLETED)
                found = [pair for task in done if (pair := self._ended(task)) is not None]
                if found:
                    put(found)
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)
        if self._client.stopped is not None and (self._more or self._late):
            raise type(self._client.stopped)(str(self._client.stopped))
        if self._late:
            raise UnfinishedError(f"{self._late} asks got no reply, the first because: {self._why}")

    async def _start(self) -> bool:
        """Begin as many calls as there is room for; whether any is in flight now."""
        while self._more and self._client.room > 0:
            ask = next(self._todo, None)
            if ask is None:
                self._more = False
                break
            task = asyncio.create_task(self._model.asked(self._client, self._store, ask))
            self._running[task] = ask
            await asyncio.sleep(0)
        return bool(self._running)

    def _ended(self, task: asyncio.Task[Reply]) -> tuple[Ask, Reply] | None:
        """An ask with its reply; None where it got none. Raises what concerns all asks."""
        ask = self._running.pop(task)
        error = task.exception()
        if error is None:
            return ask, task.result()
        if not isinstance(error, UnfinishedError):
            raise error
        self._late += 1
        self._why = self._why or str(error)
        return None


class _Steps:
    """Work in a loop, followed from outside of it. SIGTERM and Ctrl-C end it where it waits, in order."""

    def __init__(self, runner: asyncio.Runner, work: Callable[[Put], Coroutine[Any, Any, None]]) -> None:
        """`work` puts what it finds."""
        self._runner, self._stopped, self._told = runner, False, False
        self._found: list[tuple[Ask, Reply]] = []
        self._arrived: asyncio.Future[None] | None = None
        self._step: asyncio.Task[Any] | None = None
        self._work = runner.get_loop().create_task(work(self._put))
        self._work.add_done_callback(lambda task: self._put([]))

    def next(self) -> list[tuple[Ask, Reply]]:
        """What was found since; empty at the end. Raises KeyboardInterrupt after either signal."""
        found = self._run(self._next())
        if self._stopped:
            raise KeyboardInterrupt
        return found

    def _run(self, step: Coroutine[Any, Any, T]) -> T:
        """A step, which a signal cancels: the exception of a handler would leave the loop in the middle of a turn."""
        if threading.current_thread() is not threading.main_thread():
            return self._runner.run(step)
        before = [(number, signal.signal(number, self._stop)) for number in (signal.SIGINT, signal.SIGTERM)]
        try:
            return self._runner.run(step)
        except asyncio.CancelledError:
            raise KeyboardInterrupt from None
        finally:
            for number, handler in before:
                signal.signal(number, handler)

    async def _next(self) -> list[tuple[Ask, Reply]]:
        self._step = asyncio.current_task()
        if self._stopped:
            raise asyncio.CancelledError
        if not self._found and not self._work.done():
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        if not self._found and self._work.done():
            self._told = True
            self._work.result()
        found, self._found = self._found, []
        return found

    def _put(self, found: list[tuple[Ask, Reply]]) -> None:
        self._found += found
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)

    def _stop(self, number: int, frame: object) -> None:
        self._stopped = True
        if self._step is not None and not self._step.done():
            self._step.cancel()
            self._runner.get_loop().call_soon_threadsafe(lambda: None)  # it may be asleep

    def close(self) -> None:
        """Cancel the work, where it goes on, and wait for its end. Raises what went wrong with that."""
        if self._step is not None:
            self._step.cancel()  # an exception in the loop has left it behind
        loop = self._runner.get_loop()
        loop.stop()  # one turn, for a callback of that step which would stop the next one
        loop.run_forever()
        self._run(self._close())

    async def _close(self) -> None:
        self._step = asyncio.current_task()
        self._work.cancel()
        await asyncio.wait([self._work])
        error = None if self._work.cancelled() else self._work.exception()
        if error is not None and not self._told and not isinstance(error, KeyboardInterrupt):
            raise error
