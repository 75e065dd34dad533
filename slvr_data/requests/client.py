"""The client: answers from the store where there are some, and calls, steered and counted, for the rest."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from types import TracebackType
from typing import TypeVar

from slvr_data.errors import SlvrError, UsageError
from slvr_data.requests.attempts import judged, judged_again, kept, sampling_of
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.descriptors import allow_connections
from slvr_data.requests.doubts import Doubts
from slvr_data.requests.failures import BadReplyError, Failed, NoReplyError, UnfinishedError
from slvr_data.requests.health import Health
from slvr_data.requests.keys import no_reply_key, request_key
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.messages import Answer, Refusal, Request
from slvr_data.requests.pool import Endpoint
from slvr_data.requests.preflight import check, like, raised
from slvr_data.requests.replies import StoredReply
from slvr_data.requests.sending import Sender, Sent
from slvr_data.requests.store import RequestStore
from slvr_data.requests.transport import UNPAID, Transport, WrongServer
from slvr_data.requests.wire import Reply, chat_body, rejected

T = TypeVar("T")

EMBEDDED = 64
"""Texts in one call for embeddings."""
RUNS = 3
"""In so many runs no call of a request is answered, while others are, before it is refused."""
_OF_A_REQUEST: tuple[Failed, ...] = ("timeout", "reset", "5xx", "garbled")
"""What a request may have brought about itself."""
PLAIN = "A small red cup."
"""The text that is embedded to see whether any would be."""


class _Flight:
    """Requests of one key that are under way: they take turns, and the later ones find the replies of the first."""

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.replies: dict[str, StoredReply] = {}
        self.unsure: list[StoredReply] = []
        """4xx of which nobody knows yet whether they are this request's own fault: they are not stored."""
        self.counted = False
        """That no reply came has been counted in this run."""
        self.turned_down: Sent[Reply] | None = None
        """The last of them."""
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
        self._sender = Sender(self._transports, config, self._health, ledger, say)
        self._flights: dict[str, _Flight] = {}
        self._held: dict[str, StoredReply] = {}
        self._doubts = Doubts(self._health, config.patience)
        self._taken: bytes | None = None
        """The body of a call that was answered."""
        self._open = 0
        self._anonymous = itertools.count()
        self._probing, self._probed = asyncio.Lock(), False
        self._compared = self._silent = False

    async def __aenter__(self) -> Client:
        allow_connections(len(self._transports) * self.config.max_concurrency)
        self._pool = self._sender.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sender.close()
        for transport in self._transports:
            await transport.close()

    @property
    def stopped(self) -> SlvrError | None:
        """Why the run is over, or None: after it, only what is in the store is still answered."""
        return self._health.stopped

    async def wind_down(self) -> None:
        """Begin no more calls, and wait a bounded time until those under way are over: what comes is kept."""
        await self._sender.wind_down()

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
                elif self._runs_without_reply(base) >= RUNS + more:
                    return self._never_answered(base, RUNS + more)
                else:
                    value = await self._new(request, key, base, failures, flight)
            except NoReplyError as error:
                await self._count_no_reply(request, base, error, flight)
                if self._runs_without_reply(base) < RUNS + more:
                    raise
                return self._never_answered(base, RUNS + more)
            except BadReplyError as error:
                bad, text = error, (stored or flight.replies[key]).text
                failures.append(error.failure)
                continue
            (self._ledger.accepted if stored is None else self._ledger.reused)(request.purpose)
            return Answer(value, base, attempt, reused=stored is not None)
        if flight.unsure:
            await self._settle(request, flight)
        return Refusal(base, bad.failure, bad.evidence, text)

    async def _new(self, request: Request[T], key: str, base: str, failures: Sequence[Failed], flight: _Flight) -> T:
        """The value of a new call, whose reply is stored whatever it is worth. Raises BadReplyError."""
        body = chat_body(request, self._model, sampling_of(request.sampling, failures))
        sent = await self._sender.send(request.purpose, request.group, partial(self._chat, body=body))
        reply = sent.answer
        if reply.rejected and not self._health.proven:
            await self._probe(request)
        self._health.replied(reply.rejected, reply.prompt_tokens + reply.completion_tokens)
        self._compare(reply)
        bad: BadReplyError | None = None
        try:
            value = judged(request, reply)
        except BadReplyError as error:
            bad = error
        stored = kept(request, key, base, len(failures), reply, bad, sent.seconds)
        flight.replies[key] = stored
        if reply.rejected:
            flight.unsure.append(stored)
            flight.turned_down = sent
        else:
            self._taken = body
            self._keep([*self._held.values(), *flight.unsure, stored])
            self._held, flight.unsure = {}, []
        self._ledger.replied(stored)
        if bad is not None:
            raise bad
        return value

    async def _chat(self, transport: Transport, body: bytes) -> Reply:
        """One completion; what a server that answers others says to this one is a reply, whatever its status."""
        try:
            return await transport.chat(body)
        except WrongServer as error:
            if error.status in UNPAID or not self._health.proven:
                raise
            return rejected("", error.evidence)

    async def _probe(self, request: Request[T]) -> None:
        """Once, before a server that has only said 4xx is blamed: does it take a small call of the same kind?"""
        async with self._probing:
            if not self._probed and not self._health.proven:
                await self._plain(chat_body(like(request), self._model, request.sampling))
                self._probed = True

    async def _plain(self, body: bytes, at: Endpoint | None = None, retries: int | None = None) -> str:
        """Make a call that nothing depends on; the words with which it is turned down, or ""."""
        try:
            sent = await self._sender.send("probe", "probe", lambda transport: transport.chat(body), at, retries)
        except NoReplyError as error:
            raise UnfinishedError(str(error)) from None
        reply = sent.answer
        tokens = reply.prompt_tokens, reply.completion_tokens, reply.cached_tokens
        failure: Failed | None = "4xx" if reply.rejected else None
        self._ledger.replied(StoredReply("", "", 0, "probe", failure, "", None, None, None, *tokens, sent.seconds))
        if not reply.rejected:
            self._health.replied("", reply.prompt_tokens + reply.completion_tokens)
        return reply.rejected

    async def _settle(self, request: Request[T], flight: _Flight) -> None:
        """Before a request is refused for 4xx: raises UnfinishedError where the server takes nothing from anybody."""
        sent = flight.turned_down
        assert sent is not None
        if not self._health.proven:
            self._held |= {stored.key: stored for stored in flight.unsure}
            words = f"turned down by a server that has answered nothing so far: {sent.answer.rejected}"
            raise UnfinishedError(words)

        async def plain() -> str:
            words = await self._plain(chat_body(like(request), self._model, request.sampling), sent.endpoint)
            return await self._plain(self._taken, sent.endpoint) if words and self._taken else words

        await self._doubts.settle(sent.endpoint, sent.at, plain)
        self._keep(flight.unsure)
        flight.unsure = []

    def _runs_without_reply(self, base: str) -> int:
        """In how many runs no call of a request was answered, while others were."""
        if self._store is None:
            return 0
        return next(run for run in itertools.count() if self._store.get(no_reply_key(base, run)) is None)

    def _never_answered(self, base: str, runs: int) -> Refusal:
        assert self._store is not None
        last = self._store.get(no_reply_key(base, self._runs_without_reply(base) - 1))
        assert last is not None and last.failure is not None
        return Refusal(base, last.failure, f"in {runs} runs, while others were answered: {last.evidence}", "")

    async def _count_no_reply(self, request: Request[T], base: str, error: NoReplyError, flight: _Flight) -> None:
        """Once a run, and only where it is this request: others are answered by the servers that it was sent to."""
        if error.failure not in _OF_A_REQUEST or flight.counted or self._store is None or self._silent:
            return
        flight.counted = True
        if all(endpoint.answered < error.began for endpoint in self._pool.endpoints):
            try:
                if await self._plain(chat_body(like(request), self._model, request.sampling), retries=0):
                    return
            except UnfinishedError:
                self._health.check()
                self._silent = True  # the servers, then, for all of this run
                return
        key = no_reply_key(base, run := self._runs_without_reply(base))
        self._keep([StoredReply(key, base, run, request.purpose, error.failure, evidence=str(error))])

    def _compare(self, reply: Reply) -> None:
        """Say once when a server answers as another model."""
        if reply.model and reply.model != self._model and not self._compared:
            self._compared = True
            self._say(f"asked for the model {self._model}, the server answers as {reply.model!r}: is it the right one?")

    def _keep(self, replies: Iterable[StoredReply]) -> None:
        if self._store is not None:
            for stored in replies:
                self._store.put(stored)

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """A vector for each text, in their order.

        Raises UnfinishedError, ServerError, BudgetError; BadReplyError where a server does not take them, e.g. because
        one is too long.
        """
        batches = [list(texts[start : start + EMBEDDED]) for start in range(0, len(texts), EMBEDDED)]
        results = await asyncio.gather(*map(self._embed, batches), return_exceptions=True)
        return [vector for vectors in raised(results) for vector in vectors]

    async def _embed(self, batch: list[str]) -> list[list[float]]:
        sent = await self._sender.send(
            "embedding", f"batch {next(self._anonymous)}", partial(self._vectors, texts=batch)
        )
        if isinstance(sent.answer, BadReplyError):
            if len(batch) == 1 and self._health.proven:
                await self._doubts.settle(sent.endpoint, sent.at, partial(self._embeds_nothing, sent.endpoint))
            raise sent.answer
        vectors, tokens = sent.answer
        self._health.replied("", tokens)
        self._ledger.replied(StoredReply("", "", 0, "embedding", prompt_tokens=tokens, seconds=sent.seconds))
        self._ledger.accepted("embedding")
        return vectors

    async def _vectors(self, transport: Transport, texts: list[str]) -> tuple[list[list[float]], int] | BadReplyError:
        """(Vectors, tokens); as a value the error of a server that does not take these texts."""
        try:
            return await transport.embeddings(texts, self._model)
        except BadReplyError as error:
            return error
        except WrongServer as error:
            if error.status in UNPAID or not self._health.proven:
                raise
            return BadReplyError("4xx", error.evidence)

    async def _embeds_nothing(self, at: Endpoint) -> str:
        """The words with which a server turns even a short text down, or ""."""
        try:
            await self._sender.send("probe", "probe", lambda transport: transport.embeddings([PLAIN], self._model), at)
        except BadReplyError as error:
            return error.evidence
        return ""
