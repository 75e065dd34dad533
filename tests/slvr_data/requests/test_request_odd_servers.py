"""Servers that are not what they seem: silent ones, other models, redirections, proxies, one address twice."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from slvr_data.errors import UsageError
from slvr_data.requests.client import Client
from slvr_data.requests.config import ServedConfig
from slvr_data.requests.failures import ServerError, UnfinishedError
from slvr_data.requests.health import Health
from slvr_data.requests.ledger import Ledger
from slvr_data.requests.messages import Answer
from slvr_data.requests.proxies import direct, proxy_between
from slvr_data.requests.transport import CallFailed, Transport
from tests.calls import MODEL, asking, calling, completion, run, scripted
from tests.servers.running import running_stub
from tests.support import slvr_data

PROXY = "http://someone:s3cret@127.0.0.1:9"


async def forever() -> object:
    await asyncio.sleep(3600)
    return completion()


def test_servers_that_go_silent_with_calls_in_flight_end_the_run_within_patience(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            scripted(lambda number, body: forever() if number else completion()) as server,
            calling(tmp_path, server.url, patience=1, connect_timeout=0.5, timeout=300) as client,
        ):
            await client.ask(asking(0))
            await asyncio.sleep(2.5)  # nothing in flight: nobody is waited for
            started = time.monotonic()
            results = await asyncio.gather(*(client.ask(asking(n)) for n in range(1, 8)), return_exceptions=True)
            assert {type(result) for result in results} == {UnfinishedError}
            assert "no reply from any server" in str(results[0])
            assert 1 < time.monotonic() - started < 20, "the patience, and not the timeout"
            assert client._pool.endpoints[0].gate.open_calls == 0
            ledger = client._ledger.summary()["this_run"]["total"]
            assert ledger["calls"] == ledger["replies"] + ledger["failures"]["timeout"]

    run(work())


def test_a_slow_first_reply_is_waited_for(tmp_path: Path) -> None:
    async def work() -> None:
        async with (
            scripted(lambda number, body: asyncio.sleep(4, completion())) as server,
            calling(tmp_path, server.url, patience=1, connect_timeout=1.5) as client,
        ):
            assert isinstance(await client.ask(asking()), Answer)
            assert isinstance(await client.ask(asking(4)), Answer), "as slow as the first one, and no slower"

    run(work())


def test_how_long_silence_may_be() -> None:
    def seconds(health: Health) -> int:
        health.starts()
        count = 0
        while not health.hangs(1.0):
            count += 1
        return count

    settings: dict[str, Any] = {"patience": 60, "connect_timeout": 5}
    assert seconds(Health(ServedConfig(timeout=300, **settings))) == 305
    assert seconds(Health(ServedConfig(timeout=3, **settings))) == 65
    assert seconds(Health(ServedConfig(timeout=86400, **settings))) == 605
    answered = Health(ServedConfig(**settings))
    answered.heard(20)
    answered.heard(3)
    assert seconds(answered) == 85
    paused = Health(ServedConfig(**settings))
    paused.starts()
    assert not paused.hangs(1e6), "the process was stopped meanwhile: what came is read first"
    crowd = Health(ServedConfig(timeout=10, **settings))
    crowd.starts()
    for _ in range(100):
        assert not crowd.hangs(1.0)
        crowd.failed("5xx", "somebody is there")
    crowd.ended()
    assert not any(crowd.hangs(1.0) for _ in range(1000)), "nobody waits"


def test_another_model_that_answers_is_said_once(tmp_path: Path) -> None:
    async def work(echo: str, folder: Path) -> list[str]:
        said: list[str] = []
        async with (
            scripted(lambda number, body: completion() | {"model": echo}) as server,
            calling(folder, server.url, said=said) as client,
        ):
            await asyncio.gather(*(client.ask(asking(n)) for n in range(5)))
        return said

    assert run(work(MODEL, tmp_path / "same")) == run(work("", tmp_path / "none")) == []
    (line,) = run(work("org/other\x1b[2J", tmp_path / "other"))
    assert MODEL in line and "org/other" in line and "\x1b" not in line


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_an_address_that_redirects_is_told_and_not_followed(
    tmp_path: Path, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLVR_TEST_KEY", "sk-for-one-server")

    async def work() -> None:
        async def elsewhere(request: web.Request) -> web.Response:
            target = other.url.replace("//", "//me:word@").removesuffix("/v1") + request.path
            return web.Response(status=status, headers={"Location": f"{target}?token=abc"})

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", elsewhere)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        settings: dict[str, Any] = {"api_key_env": "SLVR_TEST_KEY", "transport_retries": 0}
        async with scripted(lambda number, body: completion()) as other, calling(tmp_path, url, **settings) as client:
            with pytest.raises(ServerError, match="redirects to") as wrong:
                await client.check()
            assert f"{other.url}/models" in str(wrong.value) and url in str(wrong.value)
            with pytest.raises(UnfinishedError, match=f"{status}, it redirects to {other.url}/chat/completions"):
                await client.ask(asking())
            assert "word" not in str(wrong.value) and "token" not in str(wrong.value)
            assert other.bodies == []
        await runner.cleanup()

    run(work())


def test_this_machine_is_reached_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, PROXY)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def models(url: str) -> list[str]:
        transport = Transport(url, ServedConfig())
        try:
            return await transport.models(5)
        finally:
            await transport.close()

    with running_stub() as stub:
        assert run(models(stub.base_url)) == run(models(stub.base_url.replace("127.0.0.1", "localhost"))) == [MODEL]
    assert direct("http://[::1]:8000/v1") == {"all://[::1]": None}
    assert direct("http://example.org/v1") == {}
    with pytest.raises(CallFailed, match=r"no connection .*through the proxy 127\.0\.0\.1:9 ") as failed:
        run(models("http://server.invalid/v1"))
    assert "s3cret" not in failed.value.evidence and "someone" not in failed.value.evidence
    monkeypatch.setenv("no_proxy", "server.invalid")
    assert proxy_between("http://server.invalid/v1") == proxy_between("http://localhost/v1") == ""
    with pytest.raises(CallFailed) as failed:
        run(models("http://server.invalid/v1"))
    assert "proxy" not in failed.value.evidence


def test_one_server_named_twice_is_one(tmp_path: Path) -> None:
    urls = ["http://localhost:8000/v1", "http://localhost:8000/v1/", " http://localhost:8000/v1"]
    config = ServedConfig(base_urls=urls, model=MODEL)
    client = Client(config, None, Ledger(tmp_path / "ledger.json"), print)
    assert [transport.url for transport in client._transports] == urls[:1]


@pytest.mark.parametrize("slip", ["sk-SECRET-1", "", "A B", "KEY\n", "1KEY"])
def test_a_key_in_place_of_its_variable_is_a_usage_error_that_does_not_repeat_it(slip: str) -> None:
    with pytest.raises(UsageError, match="--api-key-env") as wrong:
        ServedConfig(api_key_env=slip)
    assert not slip or slip not in str(wrong.value)
    assert ServedConfig(api_key_env="_My_Key2").api_key_env == "_My_Key2"


def test_the_command_line_does_not_repeat_it_either(tmp_path: Path) -> None:
    plain = ["build-attributes", "scenes", "--annotator", "served", "--base-url", "http://x/v1", "--model", "m"]
    for told in (["--api-key-env", "sk-SECRET-1"], ["--set", "served.api_key_env=sk-SECRET-1"]):
        found = slvr_data(*plain, *told, "--out", str(tmp_path / "set"), code=2)
        assert "--api-key-env" in found.stderr
        assert "SECRET" not in found.stderr + found.stdout
    files = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(b"SECRET" in data for data in files)
