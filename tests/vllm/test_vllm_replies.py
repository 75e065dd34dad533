"""A real vLLM answers our requests: valid replies, counts that agree with its own, caches that are hit."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from slvr_data.annotators.served.replies import profile_schema
from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.keys import request_key
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.messages import Answer, Refusal, Request
from slvr_data.requests.metrics import Load, parse_load
from slvr_data.requests.store import RequestStore, StoredReply
from slvr_data.requests.transport import Transport
from slvr_data.requests.wire import chat_body
from tests.calls import asking, sent
from tests.servers.real import BLOCK, MODEL, SLOTS, RunningVllm, program
from tests.vllm.asked import Counted, profile_requests, settings

pytestmark = [pytest.mark.vllm, pytest.mark.slow]
Requests = Sequence[Request[Any]]


@dataclass
class Asked:
    """What became of some requests."""

    outcomes: list[Answer[Any] | Refusal]
    replies: list[StoredReply]
    """All that the store holds, of all attempts."""
    total: dict[str, Any]
    """Of the ledger."""


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(asyncio.wait_for(work, 300))


def ask(server: RunningVllm, folder: Path, requests: Requests) -> Asked:
    config = ServedConfig(**settings(server, scratch=folder / "scratch"))

    async def all_of_them() -> list[Answer[Any] | Refusal]:
        async with Client(config, store, ledger, print) as client:
            return list(await asyncio.gather(*map(client.ask, requests)))

    with Ledger(folder / "ledger.json") as ledger, RequestStore(folder / "store", config.scratch) as store:
        outcomes = run(all_of_them())
        keys = [request_key(request, config, attempt) for request in requests for attempt in range(config.attempts)]
        replies = [reply for key in keys if (reply := store.get(key)) is not None]
        return Asked(outcomes, replies, ledger.summary()["this_run"]["total"])


@pytest.fixture(scope="module")
def requests(vllm: RunningVllm) -> Requests:
    return profile_requests(vllm)


@pytest.fixture(scope="module")
def counted(vllm: RunningVllm) -> Counted:
    return Counted(vllm)


@pytest.fixture(scope="module")
def asked(vllm: RunningVllm, counted: Counted, requests: Requests, tmp_path_factory: pytest.TempPathFactory) -> Asked:
    """The first twelve requests, all at once."""
    with counted:
        return ask(vllm, tmp_path_factory.mktemp("asked"), requests[:12])


def test_replies_are_valid_by_the_schema(asked: Asked) -> None:
    """By a validator that is not ours; which of them our own stricter reading accepts is another matter."""
    ended = [reply for reply in asked.replies if reply.finish_reason == "stop"]
    assert len(ended) >= 12, [reply.evidence for reply in asked.replies]
    work = "import json, sys, jsonschema\nschema, *texts = json.load(sys.stdin)\n"
    work += "for text in texts: jsonschema.validate(json.loads(text), schema)\nprint(len(texts))"
    told = json.dumps([profile_schema(), *(reply.text for reply in ended)])
    found = subprocess.run([program("python"), "-c", work], input=told, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert int(found.stdout) == len(ended)


def test_profiles_come_of_it(asked: Asked) -> None:
    profiles = [outcome.value for outcome in asked.outcomes if isinstance(outcome, Answer)]
    assert len(profiles) >= 6, [outcome for outcome in asked.outcomes if isinstance(outcome, Refusal)]
    assert len({profile.model_dump_json() for profile in profiles}) > 1, "the pictures make no difference"


def test_the_ledger_agrees_with_the_servers_own_counts(asked: Asked, counted: Counted) -> None:
    total, moved = asked.total, counted.moved
    assert total["replies"] == total["calls"] - total["retries"] == moved["request_success_total"] >= 12
    assert total["prompt_tokens"] == moved["prompt_tokens_total"] > 0
    assert total["completion_tokens"] == moved["generation_tokens_total"] > 0
    assert total["cached_tokens"] == moved["prompt_tokens_cached_total"] > 0
    assert total["accepted"] == sum(isinstance(outcome, Answer) for outcome in asked.outcomes)


def test_what_was_answered_is_not_asked_again(vllm: RunningVllm, requests: Requests, tmp_path: Path) -> None:
    first = ask(vllm, tmp_path, requests[:2])
    with Counted(vllm) as counted:
        again = ask(vllm, tmp_path, requests[:2])
    assert counted.moved["request_success_total"] == 0 == again.total["calls"]
    assert [reply.text for reply in again.replies] == [reply.text for reply in first.replies]


def test_calls_on_one_picture_hit_its_caches(vllm: RunningVllm, tmp_path: Path) -> None:
    """A second call on a picture finds the picture's tokens in the cache; a call on another picture does not."""
    pictures = [sent(number, side=616) for number in (901, 902)]  # 22 x 22 tokens each
    found = []
    with Counted(vllm) as counted:
        for number, picture in enumerate((pictures[0], pictures[0], pictures[1])):
            request = asking(number, picture=picture, accept=str)
            found += [reply.cached_tokens for reply in ask(vllm, tmp_path, [request]).replies]
    assert found == [0, 484 // BLOCK * BLOCK, 0]
    assert counted.moved["prefix_cache_hits_total"] == sum(found)
    assert counted.moved["mm_cache_hits_total"] == 1


def test_its_metrics_are_read(vllm: RunningVllm, requests: Requests, tmp_path: Path) -> None:
    """At rest, and with more calls than it has slots: some run, the others wait."""
    rest = parse_load(vllm.get("/metrics")[1])
    assert rest is not None and (rest.running, rest.waiting) == (0, 0)
    assert rest.cache is not None and rest.prefix_hits is not None and rest.prefix_queries is not None
    busy = run(_load_under(vllm, requests))
    assert max(load.running for load in busy) == SLOTS
    assert max(load.waiting for load in busy) > 0
    assert max(load.cache or 0 for load in busy) > rest.cache


async def _load_under(server: RunningVllm, requests: Requests) -> list[Load]:
    """What the server says of its load while it has 2 * SLOTS calls."""
    config = ServedConfig(**settings(server))
    transport = Transport(server.base_url, config)
    try:
        bodies = [chat_body(request, MODEL, request.sampling) for request in (*requests, *requests)]
        calls = [asyncio.create_task(transport.chat(body)) for body in bodies[: 2 * SLOTS]]
        found = []
        while not all(call.done() for call in calls):
            if load := await transport.load(10):
                found.append(load)
            await asyncio.sleep(0.02)
        await asyncio.gather(*calls)
        return found
    finally:
        await transport.close()
