from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from slvr_data.requests.failures import ServerError
from tests.builds import in_time
from tests.calls import MODEL, calling, completion, run, scripted
from tests.servers.faults import mixed
from tests.servers.running import RunningStub, nobody, running_stub

KEY = "sk-the-right-key-5678"
WRONG = "sk-a-wrong-key-1234"


@pytest.fixture(scope="module")
def stub() -> Iterator[RunningStub]:
    with running_stub(slots=4, service_ms=5) as running:
        yield running


async def check(folder: Path, *urls: str, said: list[str] | None = None, vision: bool = True, **settings: Any) -> None:
    async with calling(folder, *urls, said=said, store=False, **settings) as client:
        await client.check(vision)


def complaint(folder: Path, *urls: str, **settings: Any) -> str:
    """The one sentence, which has to come within ten seconds."""

    def said() -> str:
        with pytest.raises(ServerError) as wrong:
            run(check(folder, *urls, **settings))
        return str(wrong.value)

    found = in_time(10, said)
    assert "\n" not in found
    return found


def test_a_good_server_passes(stub: RunningStub, tmp_path: Path) -> None:
    run(check(tmp_path, stub.base_url))


def test_a_server_with_faults_passes(tmp_path: Path) -> None:
    with running_stub(slots=4, service_ms=5) as stub:
        for seed in range(12):
            stub.control(faults=mixed(0.2, without=("timeout",)), seed=seed)
            run(check(tmp_path, stub.base_url))


def test_a_wrong_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLVR_TEST_KEY", WRONG)
    with running_stub(api_key=KEY) as stub:
        said = complaint(tmp_path, stub.base_url, api_key_env="SLVR_TEST_KEY")
        assert "SLVR_TEST_KEY" in said and stub.base_url in said and "--api-key-env" in said
        assert WRONG not in said
        monkeypatch.delenv("SLVR_TEST_KEY")
        assert "SLVR_TEST_KEY" in complaint(tmp_path, stub.base_url, api_key_env="SLVR_TEST_KEY")
        monkeypatch.setenv("SLVR_TEST_KEY", KEY)
        run(check(tmp_path, stub.base_url, api_key_env="SLVR_TEST_KEY"))


def test_a_wrong_model(stub: RunningStub, tmp_path: Path) -> None:
    said = complaint(tmp_path, stub.base_url, model="org/other-vl")
    assert "org/other-vl" in said and MODEL in said and "--model" in said


@pytest.mark.parametrize("manner", ["loud", "silent"])
def test_a_text_only_model(tmp_path: Path, manner: str) -> None:
    with running_stub(service_ms=5, text_only=manner) as stub:
        said = complaint(tmp_path, stub.base_url)
        assert "vision-language model" in said and MODEL in said
        run(check(tmp_path, stub.base_url, vision=False))


def test_a_dead_server(tmp_path: Path) -> None:
    url = nobody()
    assert url in complaint(tmp_path, url)


def test_a_server_that_only_listens(tmp_path: Path) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        assert url in complaint(tmp_path, url)


def test_a_wrong_path(stub: RunningStub, tmp_path: Path) -> None:
    assert "/v1" in complaint(tmp_path, stub.root + "/v2")


def test_a_pool_goes_on_without_one_of_its_servers(stub: RunningStub, tmp_path: Path) -> None:
    said: list[str] = []
    url = nobody()
    run(check(tmp_path, stub.base_url, url, said=said))
    assert len(said) == 1 and url in said[0]


def test_one_wrong_server_of_a_pool_is_wrong(stub: RunningStub, tmp_path: Path) -> None:
    with running_stub(service_ms=5, model="another") as other:
        assert other.base_url in complaint(tmp_path, stub.base_url, other.base_url)


def test_a_model_whose_pictures_all_cost_the_same_sees_by_its_answers(tmp_path: Path) -> None:
    async def work(answers: list[str]) -> None:
        async with scripted(lambda number, body: completion(answers[number % 2])) as server:
            await check(tmp_path, server.url)

    run(work(["red", "blue"]))
    with pytest.raises(ServerError, match="same 100 prompt tokens"):
        run(work(["red", "red"]))


def test_a_call_that_never_ends_ends_the_check(tmp_path: Path) -> None:
    async def forever() -> object:
        await asyncio.sleep(3600)
        return completion()

    async def work() -> None:
        async with scripted(lambda number, body: forever()) as server:
            await check(tmp_path, server.url, timeout=0.5)

    with pytest.raises(ServerError, match=r"no reply within 0\.5 s"):
        run(work())
