"""4xx after good replies: of one request, which is refused, or of all (an empty account), which loses nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from slvr_data.requests.client import Client
from slvr_data.requests.failures import BadReplyError, ServerError, UnfinishedError
from slvr_data.requests.keys import request_key
from slvr_data.requests.messages import Answer, Refusal
from tests.calls import MODEL, asking, calling, completion, run, scripted
from tests.servers.wire import embedding

EMPTY = "Insufficient credits"


def turned_down(status: int, words: str = EMPTY) -> web.Response:
    """A reply of 4xx."""
    return web.json_response({"error": {"message": words}}, status=status)


@asynccontextmanager
async def embedding_at(embed: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    """A server of embeddings; its address."""
    app = web.Application()
    app.router.add_post("/v1/embeddings", embed)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()


async def ask_all(client: Client, count: int) -> list[Any]:
    """Everything that comes of so many requests."""
    return await asyncio.gather(*(client.ask(asking(n)) for n in range(count)), return_exceptions=True)


@pytest.mark.parametrize("status", [400, 402, 407, 422])
def test_an_account_that_runs_empty_stops_the_run_and_loses_nothing(tmp_path: Path, status: int) -> None:
    async def work() -> None:
        def reply(number: int, body: dict[str, Any]) -> object:
            return completion() if number < 5 or filled else turned_down(status)

        filled = False
        async with scripted(reply) as server:
            async with calling(tmp_path, server.url) as client:
                found = await ask_all(client, 60)
                assert Counter(type(one) for one in found) == {Answer: 5, UnfinishedError: 55}
                assert isinstance(client.stopped, UnfinishedError) and EMPTY in str(client.stopped)
                assert "run the same command" in str(client.stopped) and len(server.bodies) < 80
                assert client._store is not None
                first = [client._store.get(request_key(asking(n), client.config, 0)) for n in range(60)]
                assert [one.failure for one in first if one is not None] == [None] * 5
            filled = True
            asked = len(server.bodies)
            async with calling(tmp_path, server.url) as client:
                found = await ask_all(client, 60)
                assert all(isinstance(one, Answer) and one.attempt == 0 for one in found)
                assert len(server.bodies) - asked == 55, "nothing that was paid is asked again"

    run(work())


@pytest.mark.parametrize(("status", "said"), [(402, "the account is empty"), (407, "a proxy wants a name")])
def test_an_account_that_is_empty_before_anything_is_asked_is_told(tmp_path: Path, status: int, said: str) -> None:
    async def work() -> None:
        async with (
            scripted(lambda number, body: turned_down(status)) as server,
            calling(tmp_path, server.url, store=False) as client,
        ):
            with pytest.raises(UnfinishedError, match=f"{said} .*{EMPTY}"):
                await client.check()

    run(work())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 451])
def test_a_picture_that_is_flagged_costs_that_picture(tmp_path: Path, status: int) -> None:
    async def work() -> None:
        def reply(number: int, body: dict[str, Any]) -> object:
            flagged = "number 17." in str(body["messages"])
            return turned_down(status, "flagged by moderation") if flagged else completion()

        async with scripted(reply) as server:
            for again in (False, True):
                async with calling(tmp_path, server.url, attempts=3) as client:
                    found = await ask_all(client, 40)
                    assert client.stopped is None
                    assert [n for n, one in enumerate(found) if not isinstance(one, Answer)] == [17]
                    assert isinstance(found[17], Refusal) and "flagged by moderation" in found[17].evidence
                    assert found[17].failure == "4xx"
                    assert len(server.bodies) <= 39 + 3 + 1 and not (again and client._health._called)

    run(work())


def test_a_key_that_is_taken_away_stops_the_run_and_rejects_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        def reply(number: int, body: dict[str, Any]) -> object:
            return completion() if number < 5 else turned_down(401, "no such key")

        async with scripted(reply) as server, calling(tmp_path, server.url) as client:
            found = await ask_all(client, 30)
            assert Counter(type(one) for one in found) == {Answer: 5, ServerError: 25}
            assert "OPENAI_API_KEY" in str(client.stopped)

    run(work())


def test_a_server_that_takes_no_plain_call_but_what_it_took_before_is_not_empty(tmp_path: Path) -> None:
    """The plain call is ours: where a server has something against it, a call that it answered before decides."""

    async def work() -> None:
        def reply(number: int, body: dict[str, Any]) -> object:
            words = str(body["messages"])
            return turned_down(400, "odd") if "number 3." in words or "number" not in words else completion()

        async with scripted(reply) as server, calling(tmp_path, server.url) as client:
            for number in range(6):
                assert isinstance(await client.ask(asking(number)), Refusal if number == 3 else Answer)
            assert client.stopped is None

    run(work())


@pytest.mark.parametrize("status", [400, 402, 403])
def test_embeddings_of_an_account_that_runs_empty_refuse_no_text(tmp_path: Path, status: int) -> None:
    async def work() -> None:
        calls = 0

        async def embed(request: web.Request) -> web.Response:
            nonlocal calls
            calls += 1
            texts = (await request.json())["input"]
            if calls > 2 or "too long" in texts:
                return turned_down(status if calls > 2 else 400)
            return web.json_response(embedding(MODEL, texts, 8, "float"))

        async with embedding_at(embed) as url, calling(tmp_path, url, store=False) as client:
            assert len(await client.embed(["one"])) == 1
            with pytest.raises(UnfinishedError if status != 403 else ServerError):
                await client.embed(["too long"])  # call 2 is its own fault, but nobody can know that any more
            assert client.stopped is not None

    run(work())


def test_a_text_that_is_too_long_is_refused_after_a_plain_one_is_embedded(tmp_path: Path) -> None:
    async def work() -> None:
        async def embed(request: web.Request) -> web.Response:
            texts = (await request.json())["input"]
            return turned_down(400) if "too long" in texts else web.json_response(embedding(MODEL, texts, 8, "float"))

        async with embedding_at(embed) as url, calling(tmp_path, url, store=False) as client:
            assert len(await client.embed(["one"])) == 1
            with pytest.raises(BadReplyError, match=EMPTY):
                await client.embed(["too long"])
            assert client.stopped is None

    run(work())
