from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from aiohttp import web

from slvr_data.requests.client import Client
from slvr_data.requests.failures import UnfinishedError
from slvr_data.requests.messages import Answer
from tests.calls import asking, calling, completion, run, scripted, until
from tests.servers.running import RunningStub, running_stub


def groups_of(bodies: list[dict[str, object]]) -> Counter[str]:
    """Calls by the number of their group."""
    texts = [body["messages"][0]["content"][1]["text"] for body in bodies]  # type: ignore[index]
    return Counter(str(int(text.split()[-1].rstrip(".")) // 4) for text in texts)


async def both_asked(folder: Path, **settings: object) -> tuple[Counter[str], Counter[str]]:
    """20 groups of four calls, asked of two servers: who got which."""
    async with (
        scripted(lambda number, body: completion()) as one,
        scripted(lambda number, body: completion()) as other,
        calling(folder, one.url, other.url, store=False, **settings) as client,
    ):
        await asyncio.gather(*(client.ask(asking(number)) for number in range(80)))
        return groups_of(one.bodies), groups_of(other.bodies)


def test_a_group_goes_to_one_server_and_groups_are_spread(tmp_path: Path) -> None:
    one, other = run(both_asked(tmp_path))
    assert not one.keys() & other.keys()
    assert set(one.values()) == set(other.values()) == {4}
    assert 5 <= len(one) <= 15


def test_without_affinity_calls_go_round(tmp_path: Path) -> None:
    one, other = run(both_asked(tmp_path, affinity=False))
    assert one.total() == other.total() == 40
    assert len(one.keys() & other.keys()) == 20


def test_a_retry_goes_to_another_server_and_the_group_stays(tmp_path: Path) -> None:
    async def work() -> None:
        def reply(number: int, body: object) -> object:
            return web.Response(status=503) if number == 0 else completion()

        async with (
            scripted(reply) as one,
            scripted(reply) as other,
            calling(tmp_path, one.url, other.url, store=False) as client,
        ):
            await client.ask(asking(0))
            assert sorted((len(one.bodies), len(other.bodies))) == [1, 2], "home, the other, and home again"
            servers = one, other
            before = [len(server.bodies) for server in servers]
            for number in (1, 2, 3):
                await client.ask(asking(number))
            grown = [len(server.bodies) - count for server, count in zip(servers, before, strict=True)]
            assert sorted(grown) == [0, 3]

    run(work())


async def ask_all(client: Client, count: int) -> list[object]:
    return await asyncio.gather(*(client.ask(asking(number)) for number in range(count)))


@pytest.mark.slow
def test_a_server_that_dies_is_set_aside_and_comes_back(tmp_path: Path) -> None:
    async def work(one: RunningStub, other: RunningStub, said: list[str]) -> None:
        async with calling(tmp_path, one.base_url, other.base_url, said=said) as client:
            await asyncio.gather(*(client.ask(asking(number)) for number in range(40)))
            assert one.log()["calls"] and other.log()["calls"]
            one.control(slots=0)
            open_asks = asyncio.create_task(ask_all(client, 300))
            await until(lambda: one.log()["waiting"]["now"])
            await asyncio.to_thread(one.kill)
            answers = await open_asks
            assert all(isinstance(answer, Answer) for answer in answers), "what was there goes on at the other"
            assert any("is set aside" in line for line in said)
            assert "1 of 2 servers set aside" in client.state()
            await asyncio.to_thread(one.start)
            await until(lambda: any("answers again" in line for line in said))
            calls = one.log()["calls"]
            await asyncio.gather(*(client.ask(asking(number)) for number in range(1000, 1100)))
            assert one.log()["calls"] > calls, "new groups come to it again"

    said: list[str] = []
    with running_stub(slots=8, service_ms=20) as one, running_stub(slots=8, service_ms=20) as other:
        run(work(one, other, said))
    assert len([line for line in said if "set aside" in line]) == 1, said


def test_an_outage_is_waited_for_without_spending_retries(tmp_path: Path) -> None:
    async def work(stub: RunningStub) -> None:
        async with calling(tmp_path, stub.base_url, transport_retries=2, patience=250) as client:
            await client.ask(asking(0))
            stub.control(refuse_seconds=2)
            answers = await asyncio.gather(*(client.ask(asking(number)) for number in range(4, 40)))
            assert all(isinstance(answer, Answer) for answer in answers)

    with running_stub(slots=8, service_ms=5) as stub:
        run(work(stub))


def test_when_all_are_gone_the_run_ends_unfinished(tmp_path: Path) -> None:
    async def work(stub: RunningStub) -> None:
        async with calling(tmp_path, stub.base_url, patience=1.5) as client:
            await client.ask(asking(0))
            await asyncio.to_thread(stub.kill)
            results = await asyncio.gather(*(client.ask(asking(n)) for n in range(4, 60)), return_exceptions=True)
            assert {type(result) for result in results} == {UnfinishedError}
            assert all("run the same command" in str(result) for result in results)
            assert isinstance(client.stopped, UnfinishedError) and client.room == 0
            with pytest.raises(UnfinishedError):
                await client.ask(asking(500))
            answer = await client.ask(asking(0))
            assert isinstance(answer, Answer) and answer.reused, "what is in the store is still answered"

    with running_stub(slots=8, service_ms=5) as stub:
        run(work(stub))


def test_a_server_that_breaks_every_call_ends_the_run_too(tmp_path: Path) -> None:
    async def work(stub: RunningStub) -> None:
        async with calling(tmp_path, stub.base_url, patience=1, transport_retries=50) as client:
            results = await asyncio.gather(*(client.ask(asking(n)) for n in range(40)), return_exceptions=True)
            assert {type(result) for result in results} == {UnfinishedError}
            assert stub.log()["calls"] < 400

    with running_stub(slots=8, service_ms=5, faults={"500": 0.5, "reset": 0.5}) as stub:
        run(work(stub))


def test_a_server_that_wants_to_be_left_alone_is_passed_by(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            scripted(lambda number, body: web.Response(status=429, headers={"Retry-After": "120"})) as one,
            scripted(lambda number, body: completion()) as other,
            calling(tmp_path, one.url, other.url, store=False) as client,
        ):
            async with asyncio.timeout(100):
                await asyncio.gather(*(client.ask(asking(number)) for number in range(80)))
            assert len(other.bodies) == 80
            assert 3 <= len(one.bodies) < 30

    run(work())


def test_a_quota_that_is_spent_ends_the_run(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            scripted(lambda number, body: web.Response(status=429, text="quota")) as server,
            calling(tmp_path, server.url, store=False, patience=0.3, transport_retries=50) as client,
        ):
            results = await asyncio.gather(*(client.ask(asking(n)) for n in range(50)), return_exceptions=True)
            assert {type(result) for result in results} == {UnfinishedError}
            assert "429 quota" in str(client.stopped)

    run(work())
