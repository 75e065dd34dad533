"""The stub that other tests ask: does it serve, queue and fail as it says?"""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import math
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.builds import wait_for
from tests.servers.calls import MODEL, ask, body, plain, post
from tests.servers.faults import AFTER, BEFORE, KINDS, Faults, mixed
from tests.servers.running import RunningStub, running_stub


@pytest.fixture(scope="module")
def bare() -> Iterator[RunningStub]:
    """A stub that knows nothing; tests may change it and must set back what they change."""
    with running_stub(model=MODEL, service_ms=5) as stub:
        yield stub


# The wire


def test_names_and_errors_are_those_of_vllm(bare: RunningStub) -> None:
    with urllib.request.urlopen(f"{bare.base_url}/models") as reply:
        listed = json.loads(reply.read())
    assert [card["id"] for card in listed["data"]] == [MODEL] and listed["data"][0]["max_model_len"] == 32768
    status, tree, _ = post(f"{bare.base_url}/chat/completions", body("hello") | {"model": "other"})
    assert status == 404 and tree["error"]["message"] == "The model `other` does not exist."
    with urllib.request.urlopen(f"{bare.root}/metrics") as reply:
        text = reply.read().decode()
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "prefix_cache_hits_total"):
        assert f'vllm:{name}{{engine="0",model_name="{MODEL}"}} ' in text


def test_a_wrong_key_is_refused_and_no_key_is_kept() -> None:
    with running_stub(model=MODEL, api_key="sesame-4711", service_ms=1) as stub:
        url = f"{stub.base_url}/chat/completions"
        assert post(url, body("hi"))[0] == 401
        assert post(url, body("hi"), key="wrong-4711")[:2] == (401, {"error": "Unauthorized"})
        assert post(url, body("hi"), key="sesame-4711")[0] == 200
        log = stub.log(bodies=True)
        assert log["authorization"] == {"seen": 2, "absent": 1} and "4711" not in json.dumps(log)
        assert urllib.request.urlopen(f"{stub.root}/metrics").status == 200


def test_pictures_cost_tokens_by_their_size(bare: RunningStub) -> None:
    def tokens(*parts: str | bytes) -> int:
        usage = post(f"{bare.base_url}/chat/completions", body(*parts))[1]["usage"]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
        return int(usage["prompt_tokens"])

    assert tokens("abcd") == 1
    assert tokens(plain("red", (280, 280)), "abcd") == 101
    assert tokens(plain("red", (560, 280)), "abcd") == 201


def test_what_is_no_picture_is_an_error_of_the_call(bare: RunningStub) -> None:
    status, tree, _ = post(f"{bare.base_url}/chat/completions", body(b"not a picture", "hm"))
    assert status == 400 and tree["error"]["type"] == "BadRequestError"


def test_a_text_only_model_refuses_pictures_or_passes_them_over(bare: RunningStub) -> None:
    url = f"{bare.base_url}/chat/completions"
    try:
        bare.control(text_only="loud")
        status, tree, _ = post(url, body(plain("red"), "color?"))
        assert status == 400 and tree["error"]["message"] == f"{MODEL} is not a multimodal model"
        bare.control(text_only="silent")
        red, blue = (post(url, body(plain(color), "color?"))[1] for color in ("red", "blue"))
        assert red["choices"] == blue["choices"]
        assert red["usage"]["prompt_tokens"] == blue["usage"]["prompt_tokens"] == 2
    finally:
        bare.control(text_only=None)
    assert ask(bare, plain("red"), "color?") != ask(bare, plain("blue"), "color?")


def test_a_color_that_is_asked_for_is_seen(bare: RunningStub) -> None:
    schema = {"type": "object", "properties": {"color": {"enum": ["red", "green", "blue"]}}, "required": ["color"]}
    assert [ask(bare, plain(c), "Which?", schema=schema)["color"] for c in ("red", "blue")] == ["red", "blue"]


def test_replies_repeat_with_their_seed(bare: RunningStub) -> None:
    schema = {"type": "object", "properties": {"word": {"type": "string"}}}
    seeds = [ask(bare, "Say a word", schema=schema, seed=seed) for seed in (1, 1, 2)]
    assert seeds[0] == seeds[1] != seeds[2]


def test_a_long_reply_is_cut_at_the_cap(bare: RunningStub) -> None:
    _, tree, _ = post(f"{bare.base_url}/chat/completions", body("tell me", max_tokens=3))
    assert tree["choices"][0]["finish_reason"] == "length" and tree["usage"]["completion_tokens"] == 3


def test_embeddings_depend_on_the_text_alone(bare: RunningStub) -> None:
    url = f"{bare.base_url}/embeddings"
    _, tree, _ = post(url, {"model": MODEL, "input": ["a red cup", "a tree", "a red cup"]})
    a, b, again = (row["embedding"] for row in tree["data"])
    assert len(a) == 64 and a == again != b and math.isclose(sum(x * x for x in a), 1, rel_tol=1e-5)
    _, tree, _ = post(url, {"model": MODEL, "input": "a tree", "dimensions": 4096})
    assert len(tree["data"][0]["embedding"]) == 4096


# Slots


def test_slots_bound_what_runs_and_the_rest_waits() -> None:
    with running_stub(model=MODEL, slots=4, service_ms=100) as stub:
        for slots in (4, 20):
            stub.control(slots=0, reset=True)
            with ThreadPoolExecutor(20) as pool:
                calls = [pool.submit(ask, stub, f"call {n}") for n in range(20)]
                wait_for(lambda: stub.log()["waiting"]["now"] == 20)
                started = time.monotonic()
                stub.control(slots=slots)
                for call in calls:
                    call.result()
            seconds, log = time.monotonic() - started, stub.log()
            assert seconds >= 0.1 * 20 / slots, "20 calls of 100 ms"
            assert log["running"]["peak"] == slots and log["waiting"]["peak"] == log["answered"] == 20


def test_a_caller_who_leaves_gives_its_place_back() -> None:
    with running_stub(model=MODEL, slots=1, service_ms=600_000) as stub:
        leaving = [http.client.HTTPConnection("127.0.0.1", stub.port) for _ in range(5)]
        for n, connection in enumerate(leaving):
            connection.request("POST", "/v1/chat/completions", json.dumps(body(f"leaving {n}")))
        wait_for(lambda: stub.log()["waiting"]["now"] == 4)
        for connection in leaving:
            connection.close()
        wait_for(lambda: stub.log()["running"]["now"] == stub.log()["waiting"]["now"] == 0)
        stub.control(service_ms=5)
        ask(stub, "staying")
        log = stub.log()
        assert log["statuses"] == {"aborted": 5, "200": 1} and log["running"]["now"] == log["waiting"]["now"] == 0


def test_the_prefix_cache_hits_on_equal_beginnings(bare: RunningStub) -> None:
    before = bare.log()["prefix"]
    url, picture = f"{bare.base_url}/chat/completions", plain("green", (280, 280))
    cached = [
        post(url, body(picture, text))[1]["usage"]["prompt_tokens_details"]["cached_tokens"]
        for text in ("first question", "second question")
    ]
    assert cached == [0, 100]
    after = bare.log()["prefix"]
    assert after[1] - before[1] == 100


# Faults


def test_faults_depend_on_seed_and_number_alone() -> None:
    drawn = [Faults(mixed(0.5), 3).draw(n) for n in range(4000)]
    assert drawn == [Faults(mixed(0.5), 3).draw(n) for n in range(4000)]
    assert set(drawn) == {None, *KINDS} and abs(drawn.count(None) / 4000 - 0.5) < 0.03
    with pytest.raises(ValueError, match="there is no fault 'gremlin'"):
        Faults({"gremlin": 1})


@pytest.mark.parametrize("kind", [k for k in BEFORE if k != "timeout"] + list(AFTER))
def test_each_fault_looks_as_it_should(bare: RunningStub, kind: str) -> None:
    url = f"{bare.base_url}/chat/completions"
    schema = {"type": "object", "properties": {"word": {"type": "string"}}}
    bare.control(faults={kind: 1.0}, reset=True)
    try:
        if kind.startswith("reset"):
            with pytest.raises((ConnectionResetError, http.client.RemoteDisconnected, http.client.IncompleteRead)):
                post(url, body("hi", schema=schema))
            return
        started = time.monotonic()
        status, tree, headers = post(url, body("hi", schema=schema))
        _fault_is(kind, status, tree, headers, time.monotonic() - started)
    finally:
        log = bare.log()
        bare.control(faults={}, reset=True)
    assert log["faults"] == {kind: 1} and log["answered"] == (kind == "slow")


def _fault_is(kind: str, status: int, tree: Any, headers: dict[str, str], seconds: float) -> None:
    if kind.isdigit() or kind == "429_date":
        assert status == int(kind[:3])
        assert ("Retry-After" in headers) == (status == 429)
        assert headers.get("Retry-After", "1").isdigit() == (kind != "429_date")
        return
    assert status == 200
    if kind == "html":
        assert headers["Content-Type"].startswith("text/html") and tree.startswith("<html>")
    elif kind == "truncated":
        assert isinstance(tree, str) and tree.startswith("{"), "JSON that ends early"
    else:
        told = tree["choices"][0]
        content = told["message"]["content"]
        assert told["finish_reason"] == ("length" if kind in ("length", "whitespace") else "stop")
        if kind in ("malformed", "length", "whitespace"):
            with pytest.raises(ValueError):
                json.loads(content)
        elif kind == "schema":
            assert "word" not in json.loads(content)
        elif kind == "refusal":
            assert content is None and told["message"]["refusal"]
        else:
            assert content == "" if kind == "empty" else seconds > 0.045


def test_faults_may_spare_the_looks_that_a_client_begins_with() -> None:
    schema = {"type": "object", "properties": {"word": {"type": "string"}}}
    with running_stub(model=MODEL, service_ms=1, faults={"500": 1.0}, sound_looks=True) as stub:
        url = f"{stub.base_url}/chat/completions"
        assert [post(url, one)[0] for one in (body("hi"), body("hi", schema=schema))] == [200, 500]
        assert stub.log()["faults"] == {"500": 1}


def test_a_hanging_call_never_ends_and_holds_no_slot(bare: RunningStub) -> None:
    bare.control(faults={"timeout": 1.0}, reset=True)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", bare.port, timeout=0.3)) as hanging:
        hanging.request("POST", "/v1/chat/completions", json.dumps(body("hi")))
        wait_for(lambda: bare.log()["paths"].get("/v1/chat/completions"))
        with pytest.raises(TimeoutError):
            hanging.getresponse()
    bare.control(faults={})
    ask(bare, "hi")
    assert bare.log()["running"]["peak"] == 1
    bare.control(reset=True)


def closed(port: int) -> bool:
    """Nobody listens there now."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_the_door_can_be_closed_for_a_while() -> None:
    with running_stub(model=MODEL, service_ms=600_000) as stub:
        broken: list[Exception] = []

        def caught() -> None:
            try:
                ask(stub, "in flight")
            except Exception as error:
                broken.append(error)

        flying = threading.Thread(target=caught)
        flying.start()
        wait_for(lambda: stub.log()["running"]["now"])
        stub.control(refuse_seconds=2, service_ms=5)
        wait_for(lambda: closed(stub.port))
        flying.join()
        assert broken, "calls in flight end with the server"
        wait_for(lambda: not closed(stub.port))
        ask(stub, "hello")
        assert stub.log()["statuses"] == {"aborted": 1, "200": 1}


def test_the_log_outlives_a_kill_and_counts_what_is_asked_again() -> None:
    with running_stub(model=MODEL, service_ms=1) as stub:
        ask(stub, "one")
        ask(stub, "two")
        stub.restart()
        ask(stub, "one")
        log = stub.log(bodies=True)
        assert log["calls"] == 3 and log["different"] == 2 and log["repeated_after_answer"] == 1
        assert sorted(log["bodies"].values()) == [[1, 1], [2, 2]]
        stub.control(reset=True)
        stub.restart()
        assert stub.log()["calls"] == 0


def test_a_stub_ends_with_the_process_that_started_it() -> None:
    code = (
        "from tests.servers.running import running_stub\nwith running_stub() as s: print(s.port, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        port = int(parent.stdout.readline())
        assert urllib.request.urlopen(f"http://127.0.0.1:{port}/health").status == 200
        parent.kill()
    wait_for(lambda: closed(port))


def test_a_stub_that_cannot_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="unrecognized arguments: --gremlins 1"), running_stub(gremlins=1):
        pass
