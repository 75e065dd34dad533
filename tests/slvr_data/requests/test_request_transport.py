from __future__ import annotations

import asyncio
import email.utils
import socket
import subprocess
import sys
import time

import pytest
from aiohttp import web

from slvr_data.errors import UsageError
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import BadReplyError
from slvr_data.requests.transport import CallFailed, Transport, WrongServer, retry_after
from slvr_data.requests.wire import Reply, chat_body
from tests.calls import GOOD, MODEL, asking, completion, run, scripted
from tests.servers.running import nobody, running_stub

BODY = chat_body(asking(), MODEL, asking().sampling)


async def call(url: str, **settings: object) -> Reply:
    transport = Transport(url, ServedConfig.model_validate({"timeout": 60} | settings))
    try:
        return await transport.chat(BODY)
    finally:
        await transport.close()


async def fails(url: str, **settings: object) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        await call(url, **settings)
    return failed.value


@pytest.fixture(scope="module")
def stub():
    with running_stub(slots=16, service_ms=1) as running:
        yield running


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("timeout", "timeout"), ("reset", "reset"), ("429", "429"), ("429_date", "429"), ("500", "5xx"),
        ("502", "5xx"), ("503", "5xx"), ("html", "garbled"), ("reset_mid", "reset"), ("truncated", "garbled"),
    ],
)  # fmt: skip
def test_no_reply_is_a_class_of_failure(stub, fault: str, failure: str) -> None:
    stub.control(faults={fault: 1.0})
    failed = run(fails(stub.base_url, **({"timeout": 0.5} if fault == "timeout" else {})))
    assert failed.failure == failure
    assert (failed.retry_after is not None and 0 <= failed.retry_after <= 1) == fault.startswith("429")


@pytest.mark.parametrize(
    ("fault", "failure"), [("400", "4xx"), ("length", "length"), ("empty", "empty"), ("refusal", "refusal")]
)
def test_a_bad_reply_is_told_by_its_envelope(stub, fault: str, failure: str) -> None:
    stub.control(faults={fault: 1.0})
    reply = run(call(stub.base_url))
    with pytest.raises(BadReplyError) as bad:
        reply.check()
    assert bad.value.failure == failure


def test_a_good_reply(stub) -> None:
    stub.control(faults={})
    reply = run(call(stub.base_url))
    reply.check()
    assert reply.finish_reason == "stop" and reply.model == MODEL
    assert reply.prompt_tokens > 0 and reply.completion_tokens > 0


def test_nobody_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = run(fails(nobody()))
    assert failed.failure == "refused"

    def unknown(*asked: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)  # what a network says, if there is one, may take its time
    failed = run(fails("http://no-such-host.invalid/v1"))
    assert failed.failure == "refused"


def test_a_server_that_takes_the_connection_and_dies_is_a_reset() -> None:
    async def work() -> CallFailed:
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
        async with server:
            return await fails(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")

    assert run(work()).failure == "reset"


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n[]",
        b'HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n{"choices":[]}',
        b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"choices":[{}]}',
        b'HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n{"error":"engine is dying"}'[:-1] + b"}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n\xff\xfe\x00",
        b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"[" * 200_000,
        b"HTTP/1.1 304 Not Modified\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /v1/chat/completions\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_is_no_reply_is_garbled(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length:")[1].split()[0]))
        writer.write(answer)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

    async def work() -> CallFailed:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await fails(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")

    assert run(work()).failure == "garbled"


def test_a_reply_in_drops_ends_at_the_timeout() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.05)

    async def work() -> tuple[CallFailed, float]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            started = time.monotonic()
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            return await fails(url, timeout=0.6), time.monotonic() - started

    failed, seconds = run(work())
    assert failed.failure == "timeout" and seconds < 10


def test_reasoning_and_a_refusal_are_not_the_text() -> None:
    async def work() -> list[Reply]:
        replies = [
            completion(GOOD, reasoning_content="hm"),
            completion(GOOD, reasoning="so"),
            completion(None, refusal="no"),
            completion([{"type": "text", "text": GOOD}]),  # type: ignore[arg-type]
        ]
        async with scripted(lambda number, body: replies[number]) as server:
            transport = Transport(server.url, ServedConfig())
            found = [await transport.chat(BODY) for _ in replies]
            await transport.close()
            return found

    thought, meant, refused, parts = run(work())
    assert (thought.text, thought.reasoning) == (GOOD, "hm")
    assert (meant.text, meant.reasoning) == (GOOD, "so")
    assert (refused.text, refused.refusal) == ("", "no")
    assert parts.text == GOOD
    assert (thought.prompt_tokens, thought.completion_tokens, thought.cached_tokens) == (100, 10, 40)


def test_the_wire_form() -> None:
    async def work() -> dict[str, object]:
        async with scripted(lambda number, body: completion()) as server:
            await call(server.url)
            return server.bodies[0]

    body = run(work())
    parts = body["messages"][0]["content"]  # type: ignore[index]
    assert [part["type"] for part in parts] == ["image_url", "text"]
    assert parts[0]["image_url"]["url"] == asking().messages[0].parts[0].url  # type: ignore[union-attr]
    assert body["response_format"]["json_schema"] == {  # type: ignore[index]
        "name": "word", "strict": True, "schema": asking().schema
    }  # fmt: skip
    assert {name: body[name] for name in ("model", "temperature", "top_p", "max_tokens", "seed")} == {
        "model": MODEL, "temperature": 0.2, "top_p": 0.95, "max_tokens": 256, "seed": 7
    }  # fmt: skip


def test_calls_side_by_side_are_not_capped_by_connections() -> None:
    async def work() -> int:
        there, all_there = 0, asyncio.Event()

        async def hold() -> object:
            nonlocal there
            there += 1
            if there == 300:
                all_there.set()
            await asyncio.wait_for(all_there.wait(), 200)
            return completion()

        async with scripted(lambda number, body: hold()) as server:
            transport = Transport(server.url, ServedConfig(connect_timeout=200))
            await asyncio.gather(*(transport.chat(BODY) for _ in range(300)))
            await transport.close()
        return there

    assert run(work()) == 300, "all were there before the first was answered"


def test_a_key_is_sent_and_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-very-secret-1234"
    monkeypatch.setenv("SLVR_TEST_KEY", f" {key}\n")

    async def work() -> tuple[str, WrongServer, Reply]:
        def reply(number: int, body: object) -> web.Response:
            return web.json_response({"error": {"message": f"bad key {key}"}}, status=401 if number == 0 else 400)

        async with scripted(reply) as server:
            with pytest.raises(WrongServer) as wrong:
                await call(server.url, api_key_env="SLVR_TEST_KEY")
            rejected = await call(server.url, api_key_env="SLVR_TEST_KEY")
            return server.headers[0]["Authorization"], wrong.value, rejected

    header, wrong, rejected = run(work())
    assert header == f"Bearer {key}"
    assert wrong.status == 401 and "bad key ***" in wrong.evidence
    assert key not in rejected.rejected and "bad key ***" in rejected.rejected
    assert wrong.__cause__ is None, "the client's own exceptions hold the request with its headers"


@pytest.mark.parametrize("key", ["sk-ключ", "sk-a\nb", "sk-\x00"])
def test_a_key_that_no_header_can_carry_is_told_without_it(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    if "\x00" in key:
        monkeypatch.setattr("os.environ", {"SLVR_TEST_KEY": key})
    else:
        monkeypatch.setenv("SLVR_TEST_KEY", key)
    with pytest.raises(UsageError, match="SLVR_TEST_KEY") as wrong:
        Transport("http://localhost/v1", ServedConfig(api_key_env="SLVR_TEST_KEY"))
    assert key not in str(wrong.value)


def test_half_a_key_is_not_shown_either(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-" + "very-secret-" * 10
    monkeypatch.setenv("SLVR_TEST_KEY", key)

    async def work() -> list[str]:
        def reply(number: int, body: object) -> web.Response:
            text = "x" * (290 - number) + key
            if number < 10:
                return web.json_response({"error": {"message": text}}, status=400)
            if number < 20:
                return web.Response(text="<html>" + text, status=400)
            if number < 30:
                return web.json_response({"error": {"message": text}})
            return web.Response(text="<html>" + "x" * 100 + key)

        found = []
        async with scripted(reply) as server:
            for number in range(31):
                if number < 20:
                    found.append((await call(server.url, api_key_env="SLVR_TEST_KEY")).rejected)
                else:
                    found.append((await fails(server.url, api_key_env="SLVR_TEST_KEY")).evidence)
        return found

    found = run(work())
    assert all("***" in text or "xxx" in text for text in found)
    assert not any("sk-" in text for text in found)


def test_an_address_that_is_none_is_a_usage_error() -> None:
    for url in ("localhost:8000/v1", "ftp://host/v1", "http://"):
        with pytest.raises(UsageError, match="--base-url"):
            Transport(url, ServedConfig())
    assert Transport("http://user:word@host:8000/v1/", ServedConfig()).url == "http://host:8000/v1"
    for url in ("user:sk-hidden@host:8000/v1", "ftp://user:sk-hidden@host/v1", "host/v1?key=sk-hidden"):
        with pytest.raises(UsageError, match=r"--base-url .*host") as refused:
            Transport(url, ServedConfig())
        assert "sk-hidden" not in str(refused.value)


def test_a_missing_package_is_one_sentence() -> None:
    code = (
        "import sys; sys.modules['openai'] = None\n"
        "from slvr_data.requests.transport import Transport\n"
        "from slvr_data.requests.config import ServedConfig\n"
        "Transport('http://localhost/v1', ServedConfig())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stderr.splitlines()[-1].endswith(
        "calling a server needs the package openai: pip install '.[serve]' in a clone"
    )


def test_nothing_heavy_is_imported_before_a_call() -> None:
    code = "import sys, slvr_data.requests.client; print(*sorted({'openai', 'aiohttp', 'httpx2'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_retry_after_is_seconds_or_a_date() -> None:
    now = 1_700_000_000.0
    assert retry_after("7") == 7
    assert retry_after(" 0.5 ") == 0.5
    assert retry_after(email.utils.formatdate(now + 30, usegmt=True), now) == 30
    assert retry_after(email.utils.formatdate(now - 30, usegmt=True), now) == 0
    assert [retry_after(value) for value in (None, "", "soon", "nan", "inf", "-3", "Wed, 99 Xyz")] == [None] * 7


def test_embeddings_come_in_the_order_of_their_texts(stub) -> None:
    async def work() -> None:
        transport = Transport(stub.base_url, ServedConfig())
        both, tokens = await transport.embeddings(["one", "two"], MODEL)
        alone, _ = await transport.embeddings(["two"], MODEL)
        await transport.close()
        assert both[1] == alone[0] != both[0] and tokens > 0

    stub.control(faults={})
    run(work())


def test_a_server_that_does_not_embed_says_so() -> None:
    async def work() -> None:
        async with scripted(lambda number, body: completion()) as server:
            transport = Transport(server.url, ServedConfig())
            try:
                with pytest.raises(WrongServer):
                    await transport.embeddings(["one"], MODEL)
            finally:
                await transport.close()

    run(work())
