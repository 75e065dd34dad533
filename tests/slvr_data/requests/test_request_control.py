from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from slvr_data.requests.client import Client
from slvr_data.requests.control import Gate, TurnedAwayError, steered
from slvr_data.requests.metrics import Load
from tests.calls import asking, calling, run, sent, until
from tests.servers.running import RunningStub, running_stub


def test_the_limit_doubles_while_nothing_waits_and_the_gate_is_full() -> None:
    assert steered(4, 4, True, Load(4, 0), rate=80) == 8
    assert steered(4, 2, False, Load(2, 0), rate=80) == 4, "nobody asks for more"
    assert steered(64, 64, True, Load(12, 0), rate=80) == 64, "the server's front end is the narrow place"
    assert steered(8, 8, True, Load(8, 0, cache=0.97), rate=80) == 9, "its cache is almost full, and nothing waits"
    assert steered(8, 2, False, Load(2, 0, cache=0.97), rate=80) == 8


def test_the_queue_is_steered_to_what_finishes_while_calls_are_on_their_way() -> None:
    assert steered(40, 40, True, Load(16, 24), rate=320) == 32
    assert steered(24, 24, True, Load(16, 8), rate=320) == 32
    assert steered(24, 24, True, Load(8, 16), rate=160) == 16
    assert steered(300, 300, True, Load(256, 44), rate=25) == 300 - 44 + 32, "an eighth of those that run"
    assert steered(3, 3, True, Load(2, 1), rate=1000) == 4, "at most as many as run"


def test_the_calls_of_others_make_nobody_greedy() -> None:
    assert steered(8, 8, True, Load(16, 40), rate=10) < 8
    others = steered(8, 8, True, Load(16, 2), rate=40)
    assert 8 < others < 10, "one of several takes its share of what is free, not all of it"
    assert steered(4, 1, False, Load(16, 4), rate=10) <= 4


def test_old_pictures_go_first_and_the_limit_holds() -> None:
    async def work() -> list[str]:
        gate, order = Gate(1), list[str]()

        async def call(name: str, rank: float) -> None:
            async with gate.slot(rank):
                order.append(name)
                assert gate.in_flight == 1
                await asyncio.sleep(0)

        names = [("a", 1.0), ("d", 9.0), ("c", 2.0), ("b", 1.0)]
        await asyncio.gather(*(call(*name) for name in names))
        assert gate.open_calls == 0
        return order

    assert run(work()) == ["a", "b", "c", "d"]


def test_cancelled_calls_leave_no_slot_taken() -> None:
    async def work() -> None:
        gate = Gate(2)

        async def call() -> None:
            async with gate.slot(0):
                await asyncio.sleep(0.002)

        for pause in range(60):
            calls = [asyncio.create_task(call()) for _ in range(20)]
            await asyncio.sleep(pause * 0.0002)  # now in the queue, now inside, now let in this very moment
            for number, each in enumerate(calls):
                if number % 3 != pause % 3:
                    each.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            assert (gate.in_flight, gate.waiting) == (0, 0)

    run(work())


def test_who_waits_is_turned_away_and_the_others_stay() -> None:
    async def work() -> None:
        gate = Gate(1)
        async with gate.slot(0):
            waiting = [asyncio.create_task(gate.slot(n).__aenter__()) for n in range(3)]
            await asyncio.sleep(0)
            assert gate.waiting == 3
            gate.turn_away()
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert all(isinstance(result, TurnedAwayError) for result in results)
            assert (gate.in_flight, gate.waiting) == (1, 0)
        assert gate.in_flight == 0

    run(work())


def test_a_held_gate_opens_again() -> None:
    async def work() -> float:
        gate = Gate(4)
        started = time.monotonic()
        gate.hold(0.2)
        async with gate.slot(0):
            return time.monotonic() - started

    assert 0.2 <= run(work()) < 10


def test_without_figures_a_gate_grows_with_replies_and_halves_once_per_round_trip() -> None:
    async def work() -> None:
        gate = Gate(100)
        gate.succeeded()
        assert gate.limit == 4, "not before it has been asked for its figures"
        gate.steer(None)
        started = time.monotonic()
        slots = [gate.slot(0) for _ in range(40)]
        entering = [asyncio.create_task(slot.__aenter__()) for slot in slots]
        await asyncio.sleep(0)
        for _ in range(28):
            gate.succeeded()
        assert gate.limit == 32, "doubled for each round trip, as long as all went well"
        for _ in range(10):
            gate.overloaded(started)
        assert gate.limit == 16, "halved once for all calls under way together"
        gate.overloaded(time.monotonic())
        assert gate.limit == 8
        for _ in range(8):
            gate.succeeded()
        assert 8.9 < gate.limit < 9, "one more per round trip from now on"
        for task in entering:
            task.cancel()
        await asyncio.gather(*entering, return_exceptions=True)
        quiet = Gate(100)
        quiet.steer(None)
        quiet.succeeded()
        assert quiet.limit == 4, "no growth that nobody asks for"

    run(work())


def test_a_gate_with_figures_is_not_moved_by_single_failures() -> None:
    async def work() -> None:
        gate = Gate(100)
        gate.steer(Load(4, 0))
        gate.overloaded(time.monotonic())
        gate.succeeded()
        assert gate.limit == 4

    run(work())


def test_a_server_that_is_too_busy_to_tell_its_load_once_is_not_blind() -> None:
    async def work() -> None:
        gate = Gate(100)
        gate.steer(Load(4, 0))
        for _ in range(8):
            gate.steer(None)
            assert not gate.blind
        gate.steer(None)
        assert gate.blind
        gate.steer(Load(4, 0))
        assert not gate.blind

    run(work())


def test_the_stub_tells_the_cache_that_running_calls_hold(tmp_path: Path) -> None:
    """As vLLM does, which counts blocks that are only kept for the next prompts as free."""

    async def work(stub: RunningStub) -> None:
        async with calling(tmp_path, stub.base_url, store=False) as client:
            transport = client._transports[0]
            for first in (0, 100):
                stub.control(slots=0)
                asks = [asyncio.create_task(client.ask(asking(first + n))) for n in range(4)]
                await until(lambda: stub.log()["waiting"]["now"] == 4)
                stub.control(slots=4)
                busy = await transport.load()
                for ask in asks:
                    ask.cancel()
                await asyncio.gather(*asks, return_exceptions=True)
                await until(lambda: stub.log()["running"]["now"] == 0)
                idle = await transport.load()
                assert busy and idle and busy.cache and busy.running == 4
                assert 0 < busy.cache < 1 and idle.cache == 0

    with running_stub(slots=4, service_ms=600_000, cache_tokens=10) as stub:
        run(work(stub))


async def keep_busy(client: Client, over: asyncio.Event, first: int = 0) -> None:
    """Ask for new things as long as there is room."""
    number, calls = first, set[asyncio.Task[object]]()
    while not over.is_set():
        for _ in range(client.room):
            picture = sent(number // 4 % 20, side=140)
            call = asyncio.create_task(client.ask(asking(number, picture=picture)))
            calls.add(call)
            call.add_done_callback(calls.discard)
            number += 1
        await asyncio.sleep(0.01)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    assert all(endpoint.gate.open_calls == 0 for endpoint in client._pool.endpoints)


async def well_filled(stub: RunningStub) -> None:
    """On average over three seconds the slots are at work and few calls wait: at once, or when others let us work."""
    seen = []
    for _ in range(20):
        await asyncio.to_thread(stub.control, reset=True)
        await asyncio.sleep(3)
        log = await asyncio.to_thread(stub.log)
        seen.append((log["running"]["mean"] / log["slots"], log["waiting"]["mean"] / log["slots"]))
        if seen[-1][0] >= 0.9 and seen[-1][1] <= 1.5:
            return
    raise AssertionError(f"of {log['slots']} slots, at work and waiting for each: {seen}")


@pytest.mark.slow
def test_sixteen_slots_are_found_and_filled_and_then_eight(tmp_path: Path) -> None:
    async def work(stub: RunningStub) -> None:
        async with calling(tmp_path, stub.base_url) as client:
            over = asyncio.Event()
            busy = asyncio.create_task(keep_busy(client, over))
            await asyncio.sleep(4)
            await well_filled(stub)
            await asyncio.to_thread(stub.control, slots=8)
            await asyncio.sleep(2)
            await well_filled(stub)
            over.set()
            await busy

    with running_stub(slots=16, service_ms=400) as stub:  # slow enough that a busy machine does not count
        run(work(stub))


@pytest.mark.slow
def test_two_clients_share_a_server(tmp_path: Path) -> None:
    async def work(stub: RunningStub) -> None:
        async with calling(tmp_path / "a", stub.base_url) as one, calling(tmp_path / "b", stub.base_url) as other:
            over = asyncio.Event()
            busy = [asyncio.create_task(keep_busy(each, over, 100_000 * n)) for n, each in enumerate((one, other))]
            await asyncio.sleep(4)
            await well_filled(stub)
            over.set()
            await asyncio.gather(*busy)

    with running_stub(slots=16, service_ms=400) as stub:
        run(work(stub))
