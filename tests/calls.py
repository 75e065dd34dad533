"""Calls for tests of the client: requests, a client with a store, and a server that says what it is told to."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from aiohttp import web
from PIL import Image

from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import BadReplyError
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.messages import Message, Request, Sampling, SentPicture
from slvr_data.requests.store import RequestStore

T = TypeVar("T")
MODEL = "stub-vl"
SCHEMA = {
    "type": "object",
    "properties": {"word": {"type": "string", "minLength": 1, "maxLength": 20}},
    "required": ["word"],
    "additionalProperties": False,
}
GOOD = '{"word": "blue"}'


def run(work: Coroutine[Any, Any, T]) -> T:
    """To its end, within five minutes."""

    async def bounded() -> T:
        return await asyncio.wait_for(work, 300)

    return asyncio.run(bounded())


async def until(what: Callable[[], Any], seconds: float = 250) -> Any:
    """The first true answer of `what`, while everything else goes on."""
    async with asyncio.timeout(seconds):
        while not (answer := what()):
            await asyncio.sleep(0.005)
        return answer


@cache
def sent(number: int = 0, side: int = 56) -> SentPicture:
    """A picture of noise; side 140 is about 14 KB."""
    pixels = np.random.default_rng(number).integers(0, 255, (side, side, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=80)
    return SentPicture(f"picture {number} {side}", stream.getvalue(), side, side)


def accept(text: str) -> str:
    """The word of a reply."""
    try:
        tree = json.loads(text)
    except ValueError as error:
        raise BadReplyError("malformed", str(error)) from None
    if not isinstance(tree, dict) or not isinstance(tree.get("word"), str):
        raise BadReplyError("schema", f"no word in {text[:80]}")
    return str(tree["word"])


def asking(number: int = 0, **changed: Any) -> Request[str]:
    """Request `number`; those of one number are identical."""
    picture = changed.pop("picture", None) or sent(number // 4 % 20)
    plain: dict[str, Any] = {
        "purpose": "profile",
        "group": f"group {number // 4}",
        "messages": (Message("user", (picture, f"Say a word about number {number}.")),),
        "sampling": Sampling(0.2, 0.95, 256, 7),
        "prompt_version": "word-1:00000000",
        "context": {"number": number},
        "accept": accept,
        "schema_name": "word",
        "schema": SCHEMA,
    }
    return Request(**plain | changed)


@asynccontextmanager
async def calling(
    folder: Path, *urls: str, said: list[str] | None = None, store: bool = True, **settings: Any
) -> AsyncIterator[Client]:
    """A client of these servers, with a store and a ledger in `folder`."""
    config = ServedConfig(**{"base_urls": list(urls), "model": MODEL, "scratch": folder / "scratch"} | settings)
    say = (said if said is not None else []).append
    with _stored(folder, config, store) as kept, Ledger(folder / "ledger.json") as ledger:
        async with Client(config, kept, ledger, say) as client:
            yield client


@contextmanager
def _stored(folder: Path, config: ServedConfig, wanted: bool) -> Iterator[RequestStore | None]:
    if not wanted:
        yield None
        return
    with RequestStore(folder / "requests", config.scratch) as store:
        yield store


def completion(text: str | None = GOOD, finish: str = "stop", **message: Any) -> dict[str, Any]:
    """A chat completion."""
    return {
        "object": "chat.completion",
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text} | message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 40}},
    }


class Scripted:
    """An HTTP server whose every reply is written by the test; it keeps the bodies it was sent."""

    def __init__(self, reply: Callable[[int, dict[str, Any]], Any]) -> None:
        """`reply`: (number of the call, its body) -> a completion, a web.Response, or a coroutine of one of them."""
        self.reply = reply
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """One call."""
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        found = self.reply(len(self.bodies) - 1, body)
        if isinstance(found, Awaitable):
            found = await found
        return found if isinstance(found, web.StreamResponse) else web.json_response(found)

    async def models(self, request: web.Request) -> web.StreamResponse:
        """The models it has."""
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model"}]})


@asynccontextmanager
async def scripted(reply: Callable[[int, dict[str, Any]], Any]) -> AsyncIterator[Scripted]:
    """A running server; see `Scripted`."""
    server = Scripted(reply)
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_get("/v1/models", server.models)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    try:
        yield server
    finally:
        await runner.cleanup()
