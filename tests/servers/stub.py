"""A process that behaves like a vLLM server: slots with a queue, its names and errors, and faults on demand.

    python -m tests.servers.stub --port 0 --slots 16 --service-ms 50 --scenes full:200

It prints "ready PORT" when it listens. Beside vLLM's routes there are `POST /control` (slots, service_ms, seed,
faults, errors, refuse_seconds, reset) and `GET /log` (`?bodies=1`, `?errors=1`).
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.servers import faults as harm
from tests.servers.answers import KNOWING, Model, Reply
from tests.servers.asked import Asked, PrefixCache, UnreadableError, read
from tests.servers.errors import Errors
from tests.servers.faults import Faults, error
from tests.servers.slots import Slots
from tests.servers.table import MAX_PIXELS, Table, World
from tests.servers.tally import Tally
from tests.servers.wire import completion, embedding, metrics, models, text_of_error

LARGEST_BODY = 256 << 20
OPEN_PATHS = ("/health", "/metrics", "/control", "/log", "/version")
"""Need no key, as with vLLM."""


class Stub:
    """The server's state and its routes."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.slots = Slots(options.slots, options.service_ms / 1000)
        self.tally = Tally(options.log)
        self.faults = Faults(json.loads(options.faults), options.seed)
        self.cache = PrefixCache(options.cache_tokens)
        world = None
        if options.scenes:
            world = World.parse(options.scenes, options.scenes_seed, options.model, options.max_pixels)
        wrong = Errors(options.errors, options.repeat, options.answer_errors, options.seed)
        self.model = Model(Table(world, options.processes), wrong, options.box_format, options.invent)
        self.numbers = self.tally.calls
        self.refused_until = 0.0

    def app(self) -> web.Application:
        """All routes."""
        app = web.Application(middlewares=[self._guard], client_max_size=LARGEST_BODY)
        app.add_routes([
            web.get("/v1/models", self._models), web.post("/v1/chat/completions", self._chat),
            web.post("/v1/embeddings", self._embeddings), web.get("/metrics", self._metrics),
            web.get("/health", self._health), web.get("/version", self._version),
            web.post("/control", self._control), web.get("/log", self._log),
        ])  # fmt: skip
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        given = request.headers.get("Authorization")
        if request.path not in OPEN_PATHS[2:4]:
            self.tally.request(request.path, given is not None)
        key = self.options.api_key
        if key and request.path not in OPEN_PATHS and given != f"Bearer {key}":
            return web.json_response({"error": "Unauthorized"}, status=401)
        try:
            return await handler(request)  # type: ignore[no-any-return]
        except web.HTTPNotFound:
            return web.json_response({"detail": "Not Found"}, status=404)

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.32.0"})

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response(models(self.options.model, self.options.max_model_len))

    async def _metrics(self, request: web.Request) -> web.Response:
        if self.options.no_metrics:
            return error(404, "Not Found", "NotFoundError")
        text = metrics(self.options.model, self.slots, self.cache, self.tally)
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    async def _log(self, request: web.Request) -> web.Response:
        tree = self.tally.as_tree("bodies" in request.query, "errors" in request.query)
        slots = self.slots
        for name, level in (("running", slots.running), ("waiting", slots.waiting)):
            tree[name] = {"now": level.value, "peak": level.peak, "mean": level.mean}
        tree["drawing"] = self.model.table.drawing
        return web.json_response(tree | {"slots": slots.slots, "prefix": [self.cache.queries, self.cache.hits]})

    async def _control(self, request: web.Request) -> web.Response:
        """Change what is named; "reset" forgets the log, "refuse_seconds" makes it unreachable for a while."""
        wanted: dict[str, Any] = await request.json()
        options = self.options
        milliseconds = wanted.get("service_ms")
        self.slots.change(wanted.get("slots"), None if milliseconds is None else milliseconds / 1000)
        if "faults" in wanted or "seed" in wanted:
            rates = wanted.get("faults", self.faults.rates)
            try:
                self.faults = Faults(rates, wanted.get("seed", self.faults.seed))
            except ValueError as problem:
                return error(400, str(problem), "BadRequestError")
        known = {"rate", "repeat", "answers", "seed"}
        self.model.errors = replace(
            self.model.errors, **{k: v for k, v in wanted.get("errors", {}).items() if k in known}
        )
        options.text_only = wanted.get("text_only", options.text_only)
        options.no_metrics = wanted.get("no_metrics", options.no_metrics)
        options.model = wanted.get("model", options.model)
        if wanted.get("reset"):
            self.tally.reset()
            self.slots.reset()
        if wanted.get("refuse_seconds"):
            self.refused_until = time.monotonic() + wanted["refuse_seconds"]
        return web.json_response({"slots": self.slots.slots, "faults": self.faults.rates})

    async def _embeddings(self, request: web.Request) -> web.StreamResponse:
        fields = json.loads(await request.read())
        if fields.get("model") != self.options.model:
            return error(404, f"The model `{fields.get('model')}` does not exist.", "NotFoundError", "model")
        texts = [fields["input"]] if isinstance(fields["input"], str) else fields["input"]
        await self.slots.serve()
        dim = fields.get("dimensions") or self.options.dim
        return web.json_response(embedding(self.options.model, texts, dim, fields.get("encoding_format", "float")))

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        began = time.time()
        self.numbers += 1
        fault = self.faults.draw(self.numbers)
        record: dict[str, Any] = {"body": "", "size": 0, "name": None, "status": "aborted", "fault": fault, "usage": {}}
        try:
            body = await request.read()
            record["size"] = len(body)
            record["body"] = hashlib.sha256(body).hexdigest()[:16]
            response = await self._answered(request, body, fault, record)
            record["status"] = response.status
            return response
        finally:
            self.tally.call(**record, began=began, at=time.time())

    async def _answered(
        self, request: web.Request, body: bytes, fault: str | None, record: dict[str, Any]
    ) -> web.StreamResponse:
        asked = self._understood(body)
        if isinstance(asked, web.Response):
            record["fault"] = None
            return asked
        record["name"] = asked.name
        if self.options.sound_looks and asked.name is None:
            fault = record["fault"] = None
        if fault in harm.BEFORE:
            return await harm.turned_away(fault, request)
        while asked.name in KNOWING and self.model.table.drawing and asked.pictures and self.model.seen(asked) is None:
            await asyncio.sleep(0.2)  # its scene may still come
        cached = self.cache.look_up(asked)
        await self.slots.serve(harm.SLOW_FACTOR if fault == "slow" else 1, asked.prompt_tokens)
        replies = self._replies(asked)
        tree = completion(self.options.model, asked, [reply.text for reply in replies], cached)
        record["usage"] = {k: v for k, v in tree["usage"].items() if isinstance(v, int)} | {"cached_tokens": cached}
        record["errors"] = [made for reply in replies for made in reply.errors]
        if fault is not None and fault != "slow":
            harm.spoil(fault, tree)
        data = json.dumps(tree).encode()
        if fault in ("reset_mid", "truncated"):
            return await harm.broken(fault, request, data)
        return web.Response(body=data, content_type="application/json")

    def _replies(self, asked: Asked) -> list[Reply]:
        """One, or `n` with seeds of their own."""
        number = int(asked.fields.get("n") or 1)
        return [self.model.answer(replace(asked, seed=asked.seed + 1000 * k)) for k in range(number)]

    def _understood(self, body: bytes) -> Asked | web.Response:
        """The call, or why it is refused."""
        try:
            fields = json.loads(body)
        except ValueError as problem:
            return error(400, f"JSON decode error: {problem}", "BadRequestError")
        name = fields.get("model")
        if name != self.options.model:
            return error(404, f"The model `{name}` does not exist.", "NotFoundError", "model")
        if fields.get("stream"):
            return error(400, "this server does not stream", "BadRequestError", "stream")
        blind = self.options.text_only
        try:
            asked = read(fields, sees=blind != "silent")
        except UnreadableError as problem:
            return error(400, text_of_error(problem), "BadRequestError")
        except (KeyError, TypeError) as problem:
            return error(400, f"validation error: {text_of_error(problem)}", "Bad Request")
        if blind == "loud" and asked.pictures:
            return error(400, f"{name} is not a multimodal model", "BadRequestError")
        if asked.prompt_tokens > self.options.max_model_len:
            return error(400, f"This model's maximum context length is {self.options.max_model_len} tokens. However, "
                         f"your prompt contains {asked.prompt_tokens} input tokens. Please reduce the length of the "
                         "input prompt.", "BadRequestError", "input_tokens")  # fmt: skip
        return asked


async def serve(options: argparse.Namespace) -> None:
    """Listen until SIGTERM; `refuse_seconds` closes the door and every connection for a while."""
    stub = Stub(options)
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    port, parent = options.port, os.getppid()

    def ended() -> bool:
        return over.is_set() or (options.with_parent and os.getppid() != parent)

    try:
        while not ended():
            runner = web.AppRunner(stub.app(), handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
            await runner.setup()
            await web.SockSite(runner, await _bound(options.host, port), backlog=2048).start()
            if port == 0:
                port = runner.addresses[0][1]
            if not stub.refused_until:
                print(f"ready {port}", flush=True)
            stub.refused_until = 0.0
            while not ended() and not stub.refused_until:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.02)  # the reply to /control
            await runner.cleanup()
            while not ended() and time.monotonic() < stub.refused_until:
                await asyncio.sleep(0.02)
    finally:
        stub.model.table.close()


async def _bound(host: str, port: int) -> socket.socket:
    """A socket for this port, waited for where another process has it for a moment (0 takes a free one)."""
    for attempt in range(300):
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
        except OSError:
            bound.close()
            if attempt == 299:
                raise
            await asyncio.sleep(0.1)
        else:
            break
    return bound


def parser() -> argparse.ArgumentParser:
    """All options."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = found.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0 takes a free one")
    add("--slots", type=int, default=16)
    add("--service-ms", type=float, default=50)
    add("--model", default="stub-vl")
    add("--api-key", default=None)
    add("--text-only", nargs="?", const="loud", default=None, choices=["loud", "silent"],
        help="pictures are an error as with vLLM, or passed over silently")  # fmt: skip
    add("--faults", default="{}", help='rates per kind as JSON, e.g. {"timeout": 0.02, "5xx": 0.05}')
    add("--seed", type=int, default=0, help="of faults and errors")
    add("--sound-looks", action="store_true", help="calls without a schema meet no fault: a client's first looks")
    add("--scenes", default=None, help="pictures that it knows, e.g. full:200")
    add("--scenes-seed", type=int, default=0)
    add("--max-pixels", type=int, default=MAX_PIXELS)
    add("--processes", type=int, default=1, help="that draw scenes")
    add("--box-format", choices=["pixels", "thousandths"], default=None, help="the only one that it understands")
    add("--errors", type=float, default=0.0, help="share of looks at a region that are wrong")
    add("--repeat", type=float, default=0.0, help="share of errors that are in every look")
    add("--answer-errors", type=float, default=0.0)
    add("--invent", action="store_true", help="profiles of pictures that it does not know")
    add("--dim", type=int, default=64, help="of embeddings")
    add("--max-model-len", type=int, default=32768)
    add("--cache-tokens", type=int, default=65536, help="that the prefix cache holds, beside what runs")
    add("--no-metrics", action="store_true")
    add("--with-parent", action="store_true", help="end when the process that started it has ended")
    add("--log", type=Path, default=None, help="file that keeps the log over restarts")
    return found


if __name__ == "__main__":
    asyncio.run(serve(parser().parse_args()))
