"""What ends a run: wrong servers, spent budgets."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from slvr_data.requests.client import Client
from slvr_data.requests.failures import BudgetError, ServerError, UnfinishedError
from slvr_data.requests.keys import request_key
from slvr_data.requests.messages import Answer, Refusal
from tests.calls import MODEL, SCHEMA, asking, calling, completion, run, scripted
from tests.servers.running import RunningStub, running_stub


async def all_end(client: Client, count: int, error: type[Exception]) -> str:
    """All open asks, and one that comes later, end with this error; its sentence."""
    results = await asyncio.gather(*(client.ask(asking(n)) for n in range(count)), return_exceptions=True)
    ended = [result for result in results if type(result) is error]
    assert ended and type(results[-1]) is error
    with pytest.raises(error):
        await client.ask(asking(10_000))
    assert type(client.stopped) is error and client.room == 0
    return str(ended[0])


def test_a_wrong_key_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLVR_TEST_KEY", "sk-wrong")

    async def work(stub: RunningStub) -> str:
        async with calling(tmp_path, stub.base_url, api_key_env="SLVR_TEST_KEY") as client:
            return await all_end(client, 100, ServerError)

    with running_stub(api_key="sk-right") as stub:
        said = run(work(stub))
        assert "SLVR_TEST_KEY" in said and "sk-wrong" not in said
        assert stub.log()["paths"].get("/v1/chat/completions", 0) < 20


def test_a_model_that_goes_away_ends_the_run(tmp_path: Path) -> None:
    async def work(stub: RunningStub) -> str:
        async with calling(tmp_path, stub.base_url) as client:
            await client.ask(asking(20_000))
            stub.control(model="another-vl")
            return await all_end(client, 100, ServerError)

    with running_stub(service_ms=1) as stub:
        said = run(work(stub))
    assert MODEL in said and "another-vl" in said


def test_a_server_that_turns_everything_down_ends_the_run_and_leaves_no_trace(tmp_path: Path) -> None:
    async def work(stub: RunningStub) -> None:
        async with calling(tmp_path, stub.base_url) as client:
            results = await asyncio.gather(*(client.ask(asking(n)) for n in range(60)), return_exceptions=True)
            assert {type(result) for result in results} <= {ServerError, UnfinishedError}
            assert "The decoder prompt cannot be empty" in str(client.stopped)
            calls = await asyncio.to_thread(stub.log)
            assert 20 <= calls["calls"] <= 100
        await asyncio.to_thread(stub.control, faults={})
        async with calling(tmp_path, stub.base_url) as client:
            answers = await asyncio.gather(*(client.ask(asking(n)) for n in range(60)))
            assert all(isinstance(answer, Answer) and answer.attempt == 0 for answer in answers)

    with running_stub(service_ms=1, faults={"4xx": 1.0}) as stub:
        run(work(stub))


def test_a_request_that_a_good_server_turns_down_is_refused_and_kept(tmp_path: Path) -> None:
    async def work() -> None:
        def reply(number: int, body: dict[str, Any]) -> object:
            return web.json_response({"error": "too long"}, status=400) if number in (0, 1, 2, 4, 5) else completion()

        async with scripted(reply) as server, calling(tmp_path, server.url, attempts=2) as client:
            with pytest.raises(UnfinishedError, match="too long"):
                await client.ask(asking(0))  # a server that takes not even a small call rejects nothing
            assert isinstance(await client.ask(asking(1)), Answer)
            refused = await client.ask(asking(2))
            assert isinstance(refused, Refusal) and refused.failure == "4xx" and "400 too long" in refused.evidence
            assert client._store is not None
            assert client._store.get(request_key(asking(0), client.config, 0)) is not None

    run(work())


def test_regions_that_are_turned_down_and_are_the_last_ones_open_come_to_an_end(tmp_path: Path) -> None:
    """Nothing else is asked in this run, so only a call of the same kind can tell whose fault it is."""

    async def work(number: int) -> None:
        def reply(number: int, body: dict[str, Any]) -> object:
            if "number" in str(body["messages"]):
                return web.json_response({"error": "too long"}, status=400)
            assert body["response_format"]["json_schema"]["schema"] == SCHEMA
            assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url", "text"]
            return completion()

        async with scripted(reply) as server, calling(tmp_path / str(number), server.url, attempts=2) as client:
            results = await asyncio.gather(*(client.ask(asking(n)) for n in range(number)))
            assert [type(result) for result in results] == [Refusal] * number
            plain = len(server.bodies) - 2 * number
            assert 1 <= plain <= 1 + number, "calls that tell whose fault it is, at most one for each request"
            assert client._store is not None
            assert client._store.get(request_key(asking(0), client.config, 1)) is not None

    run(work(1))
    run(work(30))


@pytest.mark.parametrize(("budget", "calls"), [({"budget_requests": 10}, 10), ({"budget_tokens": 1000}, 10)])
def test_a_budget_ends_the_run_cleanly(tmp_path: Path, budget: dict[str, int], calls: int) -> None:
    async def work() -> None:
        async with scripted(lambda number, body: completion()) as server:
            async with calling(tmp_path, server.url, max_concurrency=1, **budget) as client:
                results = await asyncio.gather(*(client.ask(asking(n)) for n in range(40)), return_exceptions=True)
                assert Counter(type(result) for result in results) == {Answer: calls, BudgetError: 40 - calls}
                assert len(server.bodies) == calls and isinstance(client.stopped, BudgetError)
                assert all(isinstance(result, UnfinishedError) for result in results[calls:])
            async with calling(tmp_path, server.url, max_concurrency=1, **budget) as client:
                results = await asyncio.gather(*(client.ask(asking(n)) for n in range(40)), return_exceptions=True)
                assert Counter(type(result) for result in results) == {Answer: 2 * calls, BudgetError: 40 - 2 * calls}

    if "budget_tokens" in budget:
        budget = {"budget_tokens": 110 * calls}
    run(work())
