"""A request that is never answered while others are: after some runs it is refused; dead servers refuse nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from slvr_data.requests.client import RUNS
from slvr_data.requests.failures import UnfinishedError
from slvr_data.requests.keys import request_key
from slvr_data.requests.messages import Answer, Refusal
from tests.calls import asking, calling, completion, run, scripted

SETTINGS: dict[str, Any] = {"transport_retries": 1, "attempts": 2}


@pytest.mark.parametrize("alone", [False, True], ids=["beside others", "alone"])
def test_after_some_runs_it_is_refused_and_may_be_tried_again(tmp_path: Path, alone: bool) -> None:
    async def work() -> None:
        def reply(number: int, body: dict[str, Any]) -> object:
            broken = "number 3." in str(body["messages"]) and not mended
            return web.Response(status=500, text="no") if broken else completion()

        mended = False
        asked = [3] if alone else list(range(8))
        async with scripted(reply) as server:
            for number in range(RUNS):
                async with calling(tmp_path, server.url, **SETTINGS) as client:
                    found = await asyncio.gather(*(client.ask(asking(n)) for n in asked), return_exceptions=True)
                    assert {type(one) for n, one in zip(asked, found, strict=True) if n != 3} <= {Answer}
                    one = found[0 if alone else 3]
                    assert isinstance(one, Refusal if number == RUNS - 1 else UnfinishedError)
                    assert client.stopped is None
            assert isinstance(one, Refusal) and one.failure == "5xx" and "500 no" in one.evidence
            before = len(server.bodies)
            async with calling(tmp_path, server.url, **SETTINGS) as client:
                assert await client.ask(asking(3)) == one and len(server.bodies) == before
                assert client._store is not None
                client._store.allow_more(request_key(asking(3), client.config, None), 1)
                mended = True
                assert isinstance(await client.ask(asking(3)), Answer)

    run(work())


def test_servers_that_answer_nobody_refuse_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with scripted(lambda number, body: web.Response(status=500)) as server:
            for _ in range(RUNS + 1):
                async with calling(tmp_path, server.url, **SETTINGS) as client:
                    found = await asyncio.gather(*(client.ask(asking(n)) for n in range(3)), return_exceptions=True)
                    assert all(isinstance(one, UnfinishedError) for one in found)

    run(work())
