"""What a server may tell and send: odd numbers and replies without end harm nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import resource
from pathlib import Path
from typing import Any

import psutil
import pytest
from aiohttp import web

from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.descriptors import SPARE, allow_connections
from slvr_data.requests.failures import UnfinishedError
from slvr_data.requests.keys import request_key
from slvr_data.requests.messages import Answer, Refusal
from slvr_data.requests.reading import LARGEST
from slvr_data.requests.replies import StoredReply
from slvr_data.requests.transport import CallFailed, Transport
from slvr_data.requests.wire import TEXT, parse_reply
from tests.calls import GOOD, asking, calling, completion, run, scripted

ODD_COUNTS = ["-7", "1e400", "-1e400", "NaN", str(2**70), '"12"', "[]", "null", "9007199254740994"]


def stored(client: Client) -> StoredReply:
    """The first reply that was kept."""
    assert client._store is not None
    found = client._store.get(request_key(asking(), client.config, 0))
    assert found is not None
    return found


@pytest.mark.parametrize("count", ODD_COUNTS)
def test_an_odd_number_of_tokens_is_none(tmp_path: Path, count: str) -> None:
    text = json.dumps(completion() | {"usage": 0})
    usage = (
        f'{{"prompt_tokens": {count}, "completion_tokens": 5, "prompt_tokens_details": {{"cached_tokens": {count}}}}}'
    )

    async def work() -> None:
        def reply(number: int, body: object) -> web.Response:
            return web.Response(text=text.replace('"usage": 0', f'"usage": {usage}'), content_type="application/json")

        async with scripted(reply) as server, calling(tmp_path, server.url) as client:
            assert isinstance(await client.ask(asking()), Answer)
            kept = stored(client)
            assert (kept.prompt_tokens, kept.completion_tokens, kept.cached_tokens) == (0, 5, 0)

    run(work())


def test_counts_are_whole() -> None:
    assert parse_reply(completion() | {"usage": {"prompt_tokens": 2**53}}).prompt_tokens == 2**53


def test_a_text_that_is_too_long_is_a_bad_reply_and_only_its_beginning_is_kept(tmp_path: Path) -> None:
    async def work() -> None:
        wordy = completion(" " * TEXT + GOOD, reasoning_content="hm " * TEXT)
        replies = [wordy, completion(GOOD, reasoning_content="hm " * TEXT)]
        async with scripted(lambda number, body: replies[number]) as server, calling(tmp_path, server.url) as client:
            answer = await client.ask(asking())
            assert isinstance(answer, Answer) and answer.attempt == 1
            kept = stored(client)
            assert kept.failure == "length" and f"{TEXT + len(GOOD)} characters" in str(kept.evidence)
            assert (len(kept.text), len(kept.reasoning or "")) == (TEXT, TEXT)

    run(work())


def test_a_body_without_end_is_not_read_to_it(tmp_path: Path) -> None:
    sent = 0

    async def pours(request_number: int) -> Any:
        class Endless(web.StreamResponse):
            async def prepare(self, request: web.BaseRequest) -> Any:
                nonlocal sent
                writer = await super().prepare(request)
                for _ in range(200):
                    await self.write(b" " * (1 << 20))
                    sent += 1 << 20
                return writer

        return Endless(headers={"Content-Type": "application/json"})

    async def work() -> None:
        async with (
            scripted(lambda number, body: pours(number)) as server,
            calling(tmp_path, server.url, attempts=2, timeout=120) as client,
        ):
            refused = await client.ask(asking())
            assert isinstance(refused, Refusal) and refused.failure == "length"
            assert f"more than {LARGEST} bytes" in refused.evidence
        assert sent < 100 << 20

    run(work())


def test_a_small_body_that_unpacks_to_a_large_one_is_not_read_either(tmp_path: Path) -> None:
    packed = gzip.compress(json.dumps(completion("a" * (200 << 20))).encode())
    small = gzip.compress(json.dumps(completion()).encode())
    assert len(packed) > LARGEST // 64 > len(small)

    async def work() -> None:
        def reply(number: int, body: object) -> web.Response:
            headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
            return web.Response(body=small if number else packed, headers=headers)

        async with scripted(reply) as server, calling(tmp_path, server.url) as client:
            answer = await client.ask(asking())
            assert isinstance(answer, Answer) and answer.attempt == 1
            assert "Accept-Encoding" not in server.headers[0] or server.headers[0]["Accept-Encoding"] == "identity"
            assert stored(client).evidence == f"more than {LARGEST // 64} bytes: not read to its end"

    run(work())


def test_of_a_long_error_the_beginning_is_read(tmp_path: Path) -> None:
    async def work() -> None:
        def reply(number: int, body: object) -> web.Response:
            return web.Response(status=500, text="out of memory " + "x" * (2 * LARGEST))

        async with scripted(reply) as server, calling(tmp_path, server.url, transport_retries=0) as client:
            with pytest.raises(UnfinishedError, match="500 out of memory"):
                await client.ask(asking())

    run(work())


def test_a_long_list_of_models_is_no_list() -> None:
    async def serve(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m" * LARGEST}]})

    async def work() -> None:
        app = web.Application()
        app.router.add_get("/v1/models", serve)
        app.router.add_get("/metrics", serve)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        transport = Transport(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", ServedConfig())
        try:
            with pytest.raises(CallFailed, match="no list of models"):
                await transport.models(5)
            assert await transport.load() is None
        finally:
            await transport.close()
            await runner.cleanup()

    run(work())


def test_files_may_be_opened_for_all_calls(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = psutil.Process().num_fds() + 100  # whatever tests before this one have left open
    enough = 2 * few + SPARE

    async def work() -> None:
        urls = ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]
        async with calling(tmp_path, *urls, store=False, max_concurrency=few):
            await asyncio.sleep(0)

    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
        run(work())
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (enough, before[1])
        allow_connections(10)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] == enough, "never lowered"
        allow_connections(10**12)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
