"""The client: answers from the store where there are some, and calls, steered and counted, for the rest."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import TypeVar

from slvr_data.errors import SlvrError, UsageError
from slvr_data.requests.attempts import judged, judged_again, kept, sampling_of
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.control import TurnedAwayError
from slvr_data.requests.descriptors import allow_connections
from slvr_data.requests.failures import BadReplyError, Failed, UnfinishedError
from slvr_data.requests.health import Health
from slvr_data.requests.keys import request_key
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.messages import Answer, Refusal, Request
from slvr_data.requests.pool import Endpoint, Pool
from slvr_data.requests.preflight import check, like, raised, wrong
from slvr_data.requests.replies import StoredReply
from slvr_data.requests.store import RequestStore
from slvr_data.requests.transport import CallFailed, Transport, WrongServer
from slvr_data.requests.wire import Reply, chat_body

T = TypeVar("T")
R = TypeVar("R")

BACKOFF, BACKOFF_MOST = 0.25, 30.0
"""Seconds before the first repetition of a call, doubled with each, up to the second figure."""
EMBEDDED = 64
"""Texts in one call for embeddings."""
LOOK = 0.25
"""Seconds between two looks for servers that have gone silent."""


class _Flight:
    """Requests of one key that are under way: they take turns, and the later ones find the replies of the first."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.replies: dict[str, StoredReply] = {}
        self.users = 0


def _different(urls: Sequence[str]) -> list[str]:
    """Each server once."""
    return list(dict.fromkeys(url.strip().rstrip("/") for url in urls))


class Client:
    """Calls of one model, for one run.

    `async with Client(...)` opens the connections and closes them. Nothing here writes the key (`api_key_env`)
    anywhere. The end of a run is one for all: after a wrong server (ServerError), servers that are gone
    (UnfinishedError) or a spent budget (BudgetError), each open and each later `ask` raises it at once.
    """

    def __init__(
        self, config: ServedConfig, store: RequestStore | None, ledger: Ledger, say: Callable[[str], None]
    ) -> None:
        """Raises UsageError for a configuration without servers or model, and where a package is missing."""
        if not config.base_urls or not config.model:
            raise UsageError("a served model needs --base-url and --model, e.g. http://localhost:8000/v1 and its name")
        self.config = config
        self._model = config.model
        self._store, self._ledger, self._say = store, ledger, say
        self._transports = [Transport(url, config) for url in _different(config.base_urls)]
        self._health = Health(config)
        self._flights: dict[str, _Flight] = {}
        self._held: list[StoredReply] = []
        self._open = 0
        self._over = asyncio.Event()
        self._anonymous = itertools.count()
        self._bounds: set[asyncio.Timeout] = set()
        self._probing, self._probed = asyncio.Lock(), False
        self._compared = False

    async def __aenter__(self) -> Client:
        allow_connections(len(self._transports) * self.config.max_concurrency)
        self._pool = Pool(self._transports, self.config, self._health, self._say)
        self._watcher = asyncio.create_task(self._watch())
        self._health.on_stop = self._stop
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watcher.cancel()
        await asyncio.gather(self._watcher, return_exceptions=True)
        await self._pool.close()
        for transport in self._transports:
            await transport.close()

    @property
    def stopped(self) -> SlvrError | None:
        """Why the run is over, or None: after it, only what is in the store is still answered."""
        return self._health.stopped

    def _stop(self) -> None:
        self._over.set()
        self._pool.turn_away()

    async def _watch(self) -> None:
        """End the run, and the calls in flight with it, when the servers keep connections and say nothing."""
        looked = time.monotonic()
        while True:
            await asyncio.sleep(LOOK)
            before, looked = looked, time.monotonic()
            if self._health.hangs(looked - before):
                for bound in self._bounds:
                    bound.reschedule(asyncio.get_running_loop().time())

    async def check(self, vision: bool = True) -> None:
        """Make sure that the servers are there, know the key and the model, and see pictures.

        Raises ServerError, one sentence, within ten seconds where a server answers or is not there at all.
        """
        await check(self._transports, self.config, self._say, vision)

    @property
    def room(self) -> int:
        """How many more asks may be started: as many as keep each gate full, with as many again before it."""
        if self._health.stopped is not None:
            return 0
        return max(0, sum(2 * int(endpoint.gate.limit) for endpoint in self._pool.alive) - self._open)

    @property
    def steered(self) -> bool:
        """Whether some server tells its load, and is kept busy by that."""
        return any(endpoint.gate.load is not None for endpoint in self._pool.alive)

    def state(self) -> str:
        """One line for people: calls in flight, the limit, the servers' queues, servers that are set aside."""
        gates = [endpoint.gate for endpoint in self._pool.alive]
        loads = [gate.load for gate in gates if gate.load is not None]
        words = f"{sum(gate.in_flight for gate in gates)} of {sum(int(gate.limit) for gate in gates)} in flight"
        if loads:
            words += f", {sum(load.waiting for load in loads):.0f} waiting at the server"
        if aside := len(self._pool.endpoints) - len(gates):
            words += f", {aside} of {len(self._pool.endpoints)} servers set aside"
        return words

    async def ask(self, request: Request[T]) -> Answer[T] | Refusal:
        """The value of a request, from the store or from a server; `Refusal` when all attempts were bad.

        Raises UnfinishedError when no reply could be had (this request), and what ended the run, for all.
        """
        base = request_key(request, self.config, None)
        flight = self._flights.setdefault(base, _Flight())
        flight.users += 1
        self._open += 1
        try:
            async with flight.turn:
                return await self._attempts(request, base, flight)
        finally:
            self._open -= 1
            flight.users -= 1
            if not flight.users:
                del self._flights[base]

    async def _attempts(self, request: Request[T], base: str, flight: _Flight) -> Answer[T] | Refusal:
        failures: list[Failed] = []
        bad, text = BadReplyError("empty", "no attempt was allowed"), ""
        more = self._store.extra_attempts(base) if self._store else 0
        for attempt in range(self.config.attempts + more):
            key = request_key(request, self.config, attempt)
            stored = flight.replies.get(key) or (self._store.get(key) if self._store else None)
            try:
                if stored is not None:
                    value = judged_again(request, stored)
                else:
                    value = await self._new(request, key, base, failures, flight)
            except BadReplyError as error:
                bad, text = error, (stored or flight.replies[key]).text
                failures.append(error.failure)
                continue
            (self._ledger.accepted if stored is None else self._ledger.reused)(request.purpose)
            return Answer(value, base, attempt, reused=stored is not None)
        if bad.failure == "4xx" and flight.replies and not self._health.proven:
            raise UnfinishedError(f"turned down by a server that has answered nothing so far: {bad.evidence}")
        return Refusal(base, bad.failure, bad.evidence, text)

    async def _new(self, request: Request[T], key: str, base: str, failures: Sequence[Failed], flight: _Flight) -> T:
        """The value of a new call, whose reply is stored whatever it is worth. Raises BadReplyError."""
        body = chat_body(request, self._model, sampling_of(request.sampling, failures))
        reply, seconds = await self._send(request.purpose, request.group, lambda transport: transport.chat(body))
        if reply.rejected and not self._health.proven:
            await self._probe(request)
        self._health.replied(reply.rejected, reply.prompt_tokens + reply.completion_tokens)
        self._compare(reply)
        bad: BadReplyError | None = None
        try:
            value = judged(request, reply)
        except BadReplyError as error:
            bad = error
        stored = kept(request, key, base, len(failures), reply, bad, seconds)
        flight.replies[key] = stored
        self._ledger.replied(stored)
        self._keep(stored)
        if bad is not None:
            raise bad
        return value

    async def _probe(self, request: Request[T]) -> None:
        """Once, before a server that has only said 4xx is blamed: does it take a small call of the same kind?"""
        async with self._probing:
            if self._probed or self._health.proven:
                return
            body = chat_body(like(request), self._model, request.sampling)
            reply, seconds = await self._send("probe", "probe", lambda transport: transport.chat(body))
            self._probed = True
            tokens = reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens
            failure: Failed | None = "4xx" if reply.rejected else None
            self._ledger.replied(StoredReply("", "", 0, "probe", failure, "", None, None, None, *tokens, seconds))
            if not reply.rejected:
                self._health.replied("", reply.prompt_tokens + reply.completion_tokens)

    def _compare(self, reply: Reply) -> None:
        """Say once when a server answers as another model."""
        if reply.model and reply.model != self._model and not self._compared:
            self._compared = True
            self._say(f"asked for the model {self._model}, the server answers as {reply.model!r}: is it the right one?")

    def _keep(self, stored: StoredReply) -> None:
        """Store a reply; those of a server that has only said 4xx wait until it has shown that it understands us."""
        if self._store is None:
            return
        if stored.failure == "4xx" and not self._health.proven:
            self._held.append(stored)
            return
        self._release()
        self._store.put(stored)

    def _release(self) -> None:
        for stored in self._held if self._store else ():
            assert self._store is not None
            self._store.put(stored)
        self._held.clear()

    async def _send(self, purpose: str, group: str, call: Callable[[Transport], Awaitable[R]]) -> tuple[R, float]:
        """(What a server answered, seconds at the server); repeats the call while none does."""
        failed_at: Endpoint | None = None
        repeated = 0
        while True:
            endpoint, rank = await self._pool.pick(group, failed_at)
            try:
                async with endpoint.gate.slot(rank):
                    return await self._called(endpoint, purpose, call)
            except TurnedAwayError:
                self._health.check()
                continue
            except CallFailed as error:
                failed = error
            failed_at = endpoint
            repeated += 1
            if repeated > self.config.transport_retries:
                raise UnfinishedError(f"no reply after {repeated} calls: {failed.evidence}")
            self._ledger.retried(purpose)
            await self._rest(repeated, failed.retry_after if len(self._pool.alive) == 1 else None)

    async def _called(
        self, endpoint: Endpoint, purpose: str, call: Callable[[Transport], Awaitable[R]]
    ) -> tuple[R, float]:
        """One call, made and counted. Raises CallFailed, and what ended the run."""
        self._health.starts()
        started = time.monotonic()
        self._ledger.called(purpose)
        bound = asyncio.timeout(None)
        self._bounds.add(bound)
        try:
            async with bound:
                answer = await call(endpoint.transport)
        except TimeoutError:  # by `_watch`
            self._ledger.failed(purpose, "timeout", time.monotonic() - started)
            self._health.check()
            raise
        except CallFailed as failed:
            self._ledger.failed(purpose, failed.failure, time.monotonic() - started)
            endpoint.failed(failed, started, alone=len(self._pool.alive) == 1)
            self._health.failed(failed.failure, failed.evidence)
            raise
        except WrongServer as error:
            self._health.stop(await wrong(endpoint.transport, self.config, error))
            self._health.check()
            raise
        finally:
            self._bounds.discard(bound)
            self._health.ended()
        seconds = time.monotonic() - started
        self._health.heard(seconds)
        endpoint.replied()
        return answer, seconds

    async def _rest(self, repeated: int, retry_after: float | None) -> None:
        """Wait before a call is repeated, holding no slot; the end of the run ends the wait."""
        seconds = min(BACKOFF * 2 ** (repeated - 1), BACKOFF_MOST) * random.uniform(0.5, 1.5)
        if retry_after is not None:
            if retry_after > self.config.timeout:
                words = f"the server asks to be left alone for {retry_after:.0f} s: run the same command then"
                self._health.stop(UnfinishedError(words))
                self._health.check()
            seconds = max(seconds, retry_after * random.uniform(1.0, 1.1))
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._over.wait()
        self._health.check()

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text, in their order.

        Raises UnfinishedError, ServerError, BudgetError; BadReplyError where a server does not take them, e.g. because
        one is too long.
        """
        batches = [list(texts[start : start + EMBEDDED]) for start in range(0, len(texts), EMBEDDED)]
        results = await asyncio.gather(*map(self._embed, batches), return_exceptions=True)
        return [vector for vectors in raised(results) for vector in vectors]

    async def _embed(self, batch: list[str]) -> list[list[float]]:
        async def call(transport: Transport) -> tuple[list[list[float]], int]:
            return await transport.embeddings(batch, self._model)

        (vectors, tokens), seconds = await self._send("embedding", f"batch {next(self._anonymous)}", call)
        self._health.replied("", tokens)
        self._ledger.replied(StoredReply("", "", 0, "embedding", prompt_tokens=tokens, seconds=seconds))
        self._ledger.accepted("embedding")
        return vectors
