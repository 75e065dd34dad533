"""Texts to a server's embedding model: batches in flight, answers kept as they come."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipelines.embeddings import VectorStore, text_key
from pipelines.progress import Progress
from slvr_data.embeddings import Vector
from slvr_data.manifest import Manifest
from slvr_data.reader import rows_of
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.ending import ended
from slvr_data.requests.failures import BadReplyError, ServerError, UnfinishedError
from slvr_data.spilled import IdSet

if TYPE_CHECKING:
    from slvr_data.requests.client import Client

_PROBE = "A small red cup at the left of the picture."
_SHARD_TEXTS = 256
_SHARD_SECONDS = 10.0
"""Answers are kept after so many, or so long: a killed run asks for at most those again."""
_ACCEPT_SECONDS = 1.0
"""For taking in what the last calls of a run that is ending have brought."""
_CALLS = 64
"""Batches that are handed to the client at a time; how many of them are on their way is its matter."""


def open_texts(
    folder: Path, manifest: Manifest, store: VectorStore, retry_rejected: bool, progress: Progress
) -> Iterator[str]:
    """The published profile texts that have no embedding yet, each once."""
    taken = IdSet()
    for row in rows_of(folder, manifest, "attributes", None, ("profile_text",)):
        key = text_key(row["profile_text"])
        if key.hex() in taken or key in store or (store.refusal(key) is not None and not retry_rejected):
            progress.advance(1, reused=True)
            continue
        taken.add(key.hex())
        yield row["profile_text"]


class Calls:
    """One run of calls. A text that the server refuses costs that text; a call without an answer, its batch."""

    def __init__(self, config: ServedConfig, store: VectorStore, batch: int) -> None:
        """`batch`: texts per call."""
        self._config, self._store, self._batch = config, store, batch
        self._dimension = store.dimension
        self._vectors: dict[bytes, Vector] = {}
        self._refused: dict[bytes, str] = {}
        self._kept = time.monotonic()
        self.embedded = self.left = 0
        self._client: Client | None = None
        self.why = ""
        """What kept the last text that is left from being finished."""

    async def run(self, first: str, others: Iterator[str], ledger: Path, progress: Progress) -> None:
        """Ask for all texts; what comes is kept even where this is stopped.

        Raises:
            ServerError: the server cannot embed, or not as it did before.
        """
        from slvr_data.requests.client import Client
        from slvr_data.requests.ledger import Ledger

        ledger.parent.mkdir(parents=True, exist_ok=True)
        self._progress = progress
        with Ledger(ledger) as counts:
            async with Client(self._config, None, counts, progress.say) as client:
                self._client = client
                try:
                    await self._all(client, itertools.chain([first], others))
                finally:
                    self._client = None

    def state(self) -> str:
        """What stands behind the counts of texts in the progress line."""
        return self._client.state() if self._client else ""

    async def _all(self, client: Client, texts: Iterable[str]) -> None:
        await self._probe(client)
        running: set[asyncio.Task[None]] = set()
        try:
            for batch in _batches(texts, self._batch):
                running.add(asyncio.create_task(self._ask(client, batch)))
                while len(running) >= _CALLS:
                    running = await _some_ended(running)
            while running:
                running = await _some_ended(running)
        except BaseException:  # also a signal: what is under way is paid for
            await client.wind_down()
            if running:
                await asyncio.wait(running, timeout=_ACCEPT_SECONDS)
            raise
        finally:
            await ended(running)
            self._keep()

    async def _probe(self, client: Client) -> None:
        """Is the server there, and does it take one short text? One that refuses it refuses them all."""
        await client.check(vision=False)
        try:
            await client.embed([_PROBE])
        except BadReplyError as error:
            raise ServerError(f"the model {self._config.model} does not embed: {error}") from None

    async def _ask(self, client: Client, texts: list[str]) -> None:
        """A batch; where the server refuses it, its halves, down to the text that it does not take."""
        try:
            vectors = await client.embed(texts)
        except UnfinishedError as error:
            self.left += len(texts)
            self.why = str(error)
        except BadReplyError as error:
            if len(texts) == 1:
                self._refuse(texts[0], error.evidence)
                return
            middle = len(texts) // 2
            await self._ask(client, texts[:middle])
            await self._ask(client, texts[middle:])
        else:
            for text, vector in zip(texts, vectors, strict=True):
                self._accept(text, vector)

    def _accept(self, text: str, numbers: list[float]) -> None:
        with np.errstate(over="ignore"):
            vector = np.asarray(numbers, np.float64).astype(np.float16)
        if self._dimension is None:
            self._dimension = len(vector)
        if vector.shape != (self._dimension,):
            raise ServerError(
                f"{self._config.model} answers with {len(vector)} numbers, before it were {self._dimension}: give "
                f"another --model-revision if the model has changed (kept: {self._store.folder})"
            )
        if not np.isfinite(vector).all() or not vector.any():
            self._refuse(text, "the server's vector is zero, or has numbers that float16 cannot hold")
            return
        self._vectors[text_key(text)] = vector
        self.embedded += 1
        self._ended()

    def _refuse(self, text: str, evidence: str) -> None:
        self._refused[text_key(text)] = evidence
        self._ended()

    def _ended(self) -> None:
        self._progress.advance(1)
        full = len(self._vectors) + len(self._refused) >= _SHARD_TEXTS
        if full or time.monotonic() - self._kept > _SHARD_SECONDS:
            self._keep()

    def _keep(self) -> None:
        if self._vectors or self._refused:
            self._store.commit(self._vectors, self._refused)
        self._vectors, self._refused, self._kept = {}, {}, time.monotonic()


async def _some_ended(running: set[asyncio.Task[None]]) -> set[asyncio.Task[None]]:
    """Wait until calls have ended; those that still run. What stopped one stops all."""
    ended, running_still = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in ended:
        task.result()
    return running_still


def _batches(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    iterator = iter(texts)
    while batch := list(itertools.islice(iterator, size)):
        yield batch
