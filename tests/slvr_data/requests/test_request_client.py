from __future__ import annotations

import asyncio
import json
import logging
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from slvr_data.errors import UsageError
from slvr_data.requests.attempts import sampling_of
from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import BadReplyError, ServerError, UnfinishedError
from slvr_data.requests.keys import request_key
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.messages import Answer, Refusal, Sampling
from tests.calls import GOOD, accept, asking, calling, completion, run, scripted, sent, until
from tests.servers.faults import mixed
from tests.servers.running import RunningStub, running_stub

ODD = completion('{"verb": "go"}')
CUT = completion('{"word": "bl', finish="length")


def counts(client: Client) -> dict[str, Any]:
    """The ledger's totals of this run."""
    return client._ledger.summary()["this_run"]["total"]


# Attempts


def test_the_sampling_of_an_attempt_follows_from_what_went_before() -> None:
    first = Sampling(0.2, 0.95, 1000, 7)
    assert sampling_of(first, []) == first
    assert sampling_of(first, ["schema", "4xx"]) == Sampling(0.2, 0.95, 1000, 9)
    assert sampling_of(first, ["length"]) == Sampling(0.2, 0.95, 750, 8)
    assert sampling_of(first, ["length"] * 5) == Sampling(0.2, 0.95, 500, 12)
    assert sampling_of(Sampling(0, 1, 1, 0), ["length"]).max_tokens == 1


def test_bad_replies_raise_the_attempt_and_are_kept(tmp_path: Path) -> None:
    replies = [completion("{"), CUT, completion(""), completion(GOOD)]

    async def work() -> None:
        async with scripted(lambda number, body: replies[number]) as server, calling(tmp_path, server.url) as client:
            answer = await client.ask(asking())
            base = request_key(asking(), client.config, None)
            assert answer == Answer("blue", base, attempt=3, reused=False)
            assert [body["seed"] for body in server.bodies] == [7, 8, 9, 10]
            assert [body["max_tokens"] for body in server.bodies] == [256, 256, 192, 192]
            assert client._store is not None
            kept = [client._store.get(request_key(asking(), client.config, attempt)) for attempt in range(4)]
            assert [reply and reply.failure for reply in kept] == ["malformed", "length", "empty", None]
            assert kept[3] is not None and (kept[3].prompt_tokens, kept[3].cached_tokens) == (100, 40)
            assert counts(client)["calls"] == 4 and counts(client)["accepted"] == 1

    run(work())


def test_after_all_attempts_it_is_refused_with_the_last_reply(tmp_path: Path) -> None:
    async def work() -> None:
        async with scripted(lambda number, body: ODD) as server:
            async with calling(tmp_path, server.url, attempts=3) as client:
                refused = await client.ask(asking())
                assert isinstance(refused, Refusal)
                assert (refused.failure, refused.reply) == ("schema", '{"verb": "go"}')
                assert refused.key == request_key(asking(), client.config, None)
                assert len(server.bodies) == 3
            async with calling(tmp_path, server.url, attempts=3) as client:
                assert await client.ask(asking()) == refused, "another run asks nothing again"
                assert len(server.bodies) == 3
                assert client._store is not None
                client._store.allow_more(refused.key, 2)
                assert isinstance(await client.ask(asking()), Refusal)
                assert [body["seed"] for body in server.bodies] == [7, 8, 9, 10, 11]

    run(work())


@pytest.mark.parametrize("fault", ["malformed", "schema", "length", "empty", "refusal"])
def test_every_kind_of_bad_reply_is_refused_as_such(tmp_path: Path, fault: str) -> None:
    async def work(stub: RunningStub) -> Refusal:
        async with calling(tmp_path, stub.base_url, attempts=2) as client:
            refused = await client.ask(asking())
            assert isinstance(refused, Refusal)
            assert counts(client)["failures"] == {fault: 2}
            return refused

    with running_stub(service_ms=1, faults={fault: 1.0}) as stub:
        refused = run(work(stub))
        assert refused.failure == fault and refused.evidence
        assert stub.log()["calls"] == 2


def test_a_reply_cut_at_the_limit_is_never_parsed(tmp_path: Path) -> None:
    async def work() -> None:
        whole_but_cut = completion(GOOD, finish="length", reasoning_content='{"word": "thought"}')
        async with (
            scripted(lambda number, body: whole_but_cut) as server,
            calling(tmp_path, server.url, attempts=2) as client,
        ):
            refused = await client.ask(asking())
            assert isinstance(refused, Refusal) and refused.failure == "length"
            assert client._store is not None
            stored = client._store.get(request_key(asking(), client.config, 0))
            assert stored is not None and stored.reasoning == '{"word": "thought"}'
            assert stored.finish_reason == "length"

    run(work())


# Transport


def test_what_brings_no_reply_is_repeated_with_the_same_seed(tmp_path: Path) -> None:
    async def work() -> None:
        def reply(number: int, body: object) -> object:
            return completion() if number == 3 else web.Response(status=503 if number else 500)

        async with scripted(reply) as server, calling(tmp_path, server.url) as client:
            answer = await client.ask(asking())
            assert isinstance(answer, Answer) and answer.attempt == 0
            assert [body["seed"] for body in server.bodies] == [7] * 4
            assert counts(client)["retries"] == 3 and counts(client)["failures"] == {"5xx": 3}

    run(work())


def test_after_all_retries_it_is_unfinished_and_nothing_is_stored(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            scripted(lambda number, body: web.Response(status=500, text="no")) as server,
            calling(tmp_path, server.url, transport_retries=2) as client,
        ):
            with pytest.raises(UnfinishedError, match="no reply after 3 calls: 500 no"):
                await client.ask(asking())
            assert len(server.bodies) == 3 + 1, "and one that tells whether it is this request alone"
            assert client._store is not None
            assert client._store.get(request_key(asking(), client.config, 0)) is None
            assert client.stopped is None, "the others go on"

    run(work())


def test_retry_after_is_honoured_and_holds_no_slot(tmp_path: Path) -> None:
    async def work() -> None:
        def reply(number: int, body: dict[str, Any]) -> object:
            if number == 0:
                return web.Response(status=429, headers={"Retry-After": "2"})
            return completion()

        async with (
            scripted(reply) as server,
            calling(tmp_path, server.url, max_concurrency=1, store=False) as client,
        ):
            started = time.monotonic()
            first = asyncio.create_task(client.ask(asking(0)))
            await until(lambda: server.bodies and client._pool.endpoints[0].gate.in_flight == 0)
            await client.ask(asking(1))
            await first
            assert 2 <= time.monotonic() - started < 20
            asked = [body["messages"][0]["content"][1]["text"].split()[-1] for body in server.bodies]
            assert asked == ["0.", "1.", "0."], "another call goes on while the first one waits"

    run(work())


def test_a_server_that_wants_to_be_left_alone_for_hours_is_unfinished(tmp_path: Path) -> None:
    async def work() -> None:
        busy = web.Response(status=429, headers={"Retry-After": "7200"})
        async with scripted(lambda number, body: busy) as server, calling(tmp_path, server.url) as client:
            with pytest.raises(UnfinishedError, match="7200 s"):
                await client.ask(asking())

    run(work())


def test_with_a_fifth_of_faults_all_are_answered_and_nothing_twice(tmp_path: Path) -> None:
    """With more attempts than usual: of 400 requests, one meets four bad replies in a row now and then."""

    async def work(stub: RunningStub) -> None:
        async with calling(tmp_path, stub.base_url, timeout=5, max_concurrency=16, attempts=12) as client:
            found = await asyncio.gather(*(client.ask(asking(number)) for number in range(400)))
            assert Counter(type(answer) for answer in found) == {Answer: 400}
            failures = counts(client)["failures"]
            assert failures.keys() >= {"timeout", "reset", "429", "5xx", "garbled", "4xx", "length", "empty"}
        asked = stub.log()["calls"]
        async with calling(tmp_path, stub.base_url, timeout=3, attempts=12) as client:
            again = await asyncio.gather(*(client.ask(asking(number)) for number in range(400)))
            assert [answer.value for answer in again if isinstance(answer, Answer)] == [
                answer.value for answer in found if isinstance(answer, Answer)
            ]
            assert all(isinstance(answer, Answer) and answer.reused for answer in again)
            assert counts(client)["reused"] == 400 and counts(client)["calls"] == 0
        log = stub.log()
        assert log["calls"] == asked and log["repeated_after_answer"] == 0

    with running_stub(slots=32, service_ms=5, faults=mixed(0.2)) as stub:
        run(work(stub))


# The store and validation


def test_validation_that_changed_is_asked_again_and_the_server_is_not(tmp_path: Path) -> None:
    def strict(text: str) -> str:
        if accept(text) == "blue":
            raise BadReplyError("schema", "blue is no word any more")
        return accept(text)

    async def work() -> None:
        replies = [completion(), completion('{"word": "red"}'), ODD]
        async with (
            scripted(lambda number, body: replies[number]) as server,
            calling(tmp_path, server.url) as client,
        ):
            first = await client.ask(asking())
            assert isinstance(first, Answer) and first.value == "blue"
            second = await client.ask(asking(accept=strict))
            assert isinstance(second, Answer) and (second.value, second.attempt) == ("red", 1)
            third = await client.ask(asking())
            assert isinstance(third, Answer) and (third.value, third.attempt, third.reused) == ("blue", 0, True)
            assert len(server.bodies) == 2

    run(work())


def test_a_stored_bad_reply_is_taken_when_validation_now_takes_it(tmp_path: Path) -> None:
    async def work() -> None:
        async with scripted(lambda number, body: ODD) as server, calling(tmp_path, server.url) as client:
            assert isinstance(await client.ask(asking()), Refusal)
            answer = await client.ask(asking(accept=lambda text: text))
            assert isinstance(answer, Answer) and answer.reused and answer.attempt == 0
            assert len(server.bodies) == client.config.attempts

    run(work())


def test_identical_requests_in_flight_are_one_call(tmp_path: Path) -> None:
    for store in (True, False):

        async def work(store: bool = store) -> None:
            async with (
                scripted(lambda number, body: asyncio.sleep(0.05, completion("" if number == 0 else GOOD))) as server,
                calling(tmp_path / str(store), server.url, store=store) as client,
            ):
                seen: list[int] = []

                def marked(number: int) -> Any:
                    return lambda text: (seen.append(number), accept(text))[1]

                answers = await asyncio.gather(*(client.ask(asking(accept=marked(n))) for n in range(20)))
                assert len(server.bodies) == 2, "the first, bad, and its second attempt"
                assert [answer.reused for answer in answers if isinstance(answer, Answer)] == [False] + [True] * 19
                assert sorted(set(seen)) == list(range(20)), "each judges by its own lights"
                assert not client._flights

        run(work())


def test_when_the_first_of_identical_asks_is_cancelled_the_next_one_calls(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            scripted(lambda number, body: asyncio.sleep(0 if number else 300, completion())) as server,
            calling(tmp_path, server.url) as client,
        ):
            asks = [asyncio.create_task(client.ask(asking())) for _ in range(3)]
            await until(lambda: server.bodies)
            asks[0].cancel()
            first, *others = await asyncio.gather(*asks, return_exceptions=True)
            assert isinstance(first, asyncio.CancelledError)
            assert [isinstance(other, Answer) for other in others] == [True, True]
            assert len(server.bodies) == 2 and client._pool.endpoints[0].gate.open_calls == 0

    run(work())


def test_an_error_in_accept_is_an_error_of_the_program(tmp_path: Path) -> None:
    def broken(text: str) -> str:
        raise ZeroDivisionError

    async def work() -> None:
        async with scripted(lambda number, body: completion()) as server, calling(tmp_path, server.url) as client:
            with pytest.raises(ZeroDivisionError):
                await client.ask(asking(accept=broken))
            assert client._pool.endpoints[0].gate.open_calls == 0

    run(work())


# Odds and ends


def test_cancelled_asks_leave_no_slot_taken(tmp_path: Path) -> None:
    async def work(stub: RunningStub) -> None:
        async with calling(tmp_path, stub.base_url, timeout=5) as client:
            for pause in (0.0, 0.05, 0.2, 0.4):
                asks = [asyncio.create_task(client.ask(asking(n))) for n in range(100)]
                await asyncio.sleep(pause)
                for ask in asks:
                    ask.cancel()
                await asyncio.gather(*asks, return_exceptions=True)
                gate = client._pool.endpoints[0].gate
                assert (gate.in_flight, gate.waiting, client._open) == (0, 0, 0)
            assert isinstance(await client.ask(asking(5)), Answer)

    with running_stub(slots=2, service_ms=100, faults={"5xx": 0.3}) as stub:
        run(work(stub))


def test_room_is_what_fills_the_gates_and_state_tells_it(tmp_path: Path) -> None:
    async def work() -> None:
        release = asyncio.Event()

        async def held() -> object:
            await release.wait()
            return completion()

        async with (
            scripted(lambda number, body: held()) as server,
            calling(tmp_path, server.url, max_concurrency=3) as client,
        ):
            assert client.room == 6
            asks = [asyncio.create_task(client.ask(asking(n))) for n in range(5)]
            await until(lambda: len(server.bodies) == 3)
            assert client.room == 1
            assert client.state() == "3 of 3 in flight"
            release.set()
            await asyncio.gather(*asks)
            assert client.room == 6

    run(work())


def test_embeddings_in_batches_through_faults(tmp_path: Path) -> None:
    async def work(stub: RunningStub) -> None:
        async with calling(tmp_path, stub.base_url, store=False, patience=250) as client:
            texts = [f"text {number}" for number in range(150)]
            vectors = await client.embed(texts)
            assert len(vectors) == 150 and len(vectors[0]) == 64
            assert vectors[149] == (await client.embed(["text 149"]))[0] != vectors[0]
            assert await client.embed([]) == []
            assert counts(client)["calls"] == 4 and counts(client)["prompt_tokens"] > 0
            await asyncio.to_thread(stub.kill)
            embedding = asyncio.create_task(client.embed(["text 1"]))
            await asyncio.sleep(0.3)
            await asyncio.to_thread(stub.start)
            assert await embedding == [vectors[1]]

    with running_stub(service_ms=1) as stub:
        run(work(stub))


def test_the_key_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    key = "sk-nobody-may-see-this"
    monkeypatch.setenv("SLVR_TEST_KEY", key)
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    shown: list[str] = []

    async def work() -> None:
        def reply(number: int, body: dict[str, Any]) -> object:
            if number in (0, 1, 2):
                return completion(None, refusal="I will not")
            if number == 6:  # the plain call that tells whether the request alone was turned down
                return completion()
            words = {"error": {"message": f"Incorrect API key provided: {key}"}}
            status = {3: 400, 4: 500, 5: 429}.get(number, 401)
            return web.json_response(words, status=status)

        async with scripted(reply) as server:
            settings: dict[str, Any] = {"said": said, "api_key_env": "SLVR_TEST_KEY", "attempts": 4}
            async with calling(tmp_path, server.url, **settings) as client:
                shown.append(repr(await client.ask(asking(0))))
                shown.append(repr(client.__dict__["config"]))
                for _ in range(2):
                    try:
                        await client.ask(asking(1))
                    except ServerError:
                        shown.append(traceback.format_exc())
                shown.append(client.state())
            assert server.headers[0]["Authorization"] == f"Bearer {key}"

    run(work())
    assert len(shown) == 5 and "SLVR_TEST_KEY" in shown[2]
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 3
    for text in [*said, *shown, caplog.text]:
        assert key not in text
    assert not any(key.encode() in data for data in files)
    assert any(b"Incorrect API key provided: ***" in data for data in files), "with the key taken out"


def test_a_configuration_without_server_or_model_is_a_usage_error(tmp_path: Path) -> None:
    for config in (ServedConfig(model="m"), ServedConfig(base_urls=["http://localhost/v1"])):
        with pytest.raises(UsageError, match="--base-url and --model"):
            Client(config, None, Ledger(tmp_path / "ledger.json"), print)


def test_a_call_costs_little_of_the_processor(tmp_path: Path) -> None:
    """The bound of 3 ms is for an idle machine (`perf/`); here it only must not have grown several times.

    It is the best of some rounds, since a shared processor counts more seconds for the same work.
    """

    async def work(stub: RunningStub) -> float:
        pictures, best = [sent(number, side=165) for number in range(20)], 1.0
        async with calling(tmp_path, stub.base_url) as client:
            await asyncio.gather(*(client.ask(asking(n, picture=pictures[n % 20])) for n in range(50)))
            for first in range(1000, 6000, 1000):
                started = time.process_time()
                await asyncio.gather(
                    *(client.ask(asking(n, picture=pictures[n % 20])) for n in range(first, first + 400))
                )
                best = min(best, (time.process_time() - started) / 400)
                if best < 0.008:
                    break
            return best

    with running_stub(slots=64, service_ms=1) as stub:
        assert run(work(stub)) < 0.008
    assert len(json.dumps(sent(0, side=165).url)) > 25_000
