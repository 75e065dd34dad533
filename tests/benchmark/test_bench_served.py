"""A served model through the request layer: real HTTP, real faults, a server that dies in the middle of a run."""

from __future__ import annotations

import asyncio
import base64
import io
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from PIL import Image

from benchmark.models.base import ModelOptions, open_model
from benchmark.records import LogLine
from benchmark.run import Ran, run_bench
from benchmark.runlog import read_log
from slvr_data.errors import UsageError
from slvr_data.requests.failures import ServerError, UnfinishedError
from tests.benching import asks_of, plan, shelf
from tests.calls import MODEL, Scripted, completion, scripted
from tests.servers.running import running_stub

Say = Callable[[int, dict[str, Any]], Any]


@contextmanager
def serving(say: Say) -> Iterator[Scripted]:
    """A scripted server on a thread of its own; the calls of the preflight are answered for it."""

    def reply(number: int, body: dict[str, Any]) -> Any:
        if body["max_tokens"] == 16 and "Which colour is this picture?" in str(body["messages"])[-300:]:
            return completion(f"colour {number}")  # two pictures, two answers: it sees
        return say(number, body)

    ready, over = threading.Event(), threading.Event()
    found: list[Scripted] = []

    async def work() -> None:
        async with scripted(reply) as server:
            found.append(server)
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=asyncio.run, args=(work(),), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield found[0]
    finally:
        over.set()
        thread.join(30)


def parts(body: dict[str, Any]) -> tuple[Image.Image, str]:
    """The picture and the words of a call."""
    (message,) = body["messages"]
    assert message["role"] == "user"
    picture, text = message["content"]
    data = base64.b64decode(picture["image_url"]["url"].partition(";base64,")[2])
    return Image.open(io.BytesIO(data)).convert("RGB"), text["text"]


def seeing(number: int, body: dict[str, Any]) -> Any:
    """Names the colour at the middle of the box; says A to anything else."""
    picture, text = parts(body)
    colors = {(255, 0, 0): "red", (0, 128, 0): "green", (0, 0, 255): "blue", (255, 255, 0): "yellow"}
    color = colors.get(picture.getpixel((20, 30)), "")  # type: ignore[arg-type]
    found = re.search(rf"\n([A-Z])\. {color or 'cannot be seen'}(?:\n|$)", text)
    return completion(found[1] if found else "A")


def ran(url: str, folder: Path, *families: Any, number: int = 6, **changed: Any) -> Ran:
    settings: dict[str, Any] = {"scratch": folder / "scratch", "max_new_tokens": 32, "transport_retries": 0}
    options = ModelOptions(**settings | changed)
    return run_bench(shelf(number), f"served:{MODEL}@{url}", plan(*families), options, folder / "run")


def lines(folder: Path) -> list[LogLine]:
    return read_log(folder / "run").lines


def test_a_run(tmp_path: Path) -> None:
    with serving(seeing) as server:
        found = ran(server.url, tmp_path, "circular", "evidence")
        assert found.asked == found.asks == 12 + 36 + 66
        bodies = [body for body in server.bodies if "What is the" in str(body["messages"])]
    log = lines(tmp_path)
    colors = [line for line in log if line.facet == "color"]
    assert all(line.correct for line in colors if line.variant.startswith(("plain", "rotation", "intact", "only")))
    assert all(line.correct for line in colors if line.variant in ("masked", "blank"))
    assert {(line.prompt_tokens, line.reply_tokens) for line in log} == {(100, 10)}
    assert all(line.seconds is not None and 0 < line.seconds < 60 for line in log)
    different = {(ask.picture, ask.prompt) for ask in asks_of(shelf(), "circular", "evidence")}
    assert len(bodies) == len(different) == 102  # equal pictures with equal words are one call
    assert {(b["temperature"], b["top_p"], b["max_tokens"], b["seed"]) for b in bodies} == {(0.0, 1.0, 32, 0)}
    assert not any("response_format" in body for body in bodies)


def test_the_same_command_again_calls_nobody(tmp_path: Path) -> None:
    with serving(seeing) as server:
        ran(server.url, tmp_path)
        calls = len(server.bodies)
        url = server.url
    found = ran(url, tmp_path)  # the server is gone
    assert (found.asked, found.reused) == (0, 12) and calls == 12 + 2


def test_replies_of_a_log_that_was_lost_are_in_the_store(tmp_path: Path) -> None:
    with serving(seeing) as server:
        ran(server.url, tmp_path)
        before = lines(tmp_path)
        (tmp_path / "run/run.jsonl").unlink()
        ran(server.url, tmp_path)
        assert len(server.bodies) == 12 + 2 + 2
    order = [line.ask_id for line in before]
    assert sorted(lines(tmp_path), key=lambda line: order.index(line.ask_id)) == before


def test_what_a_server_may_say(tmp_path: Path) -> None:
    """Each counts as what it is, and none is asked for again."""
    said: dict[Any, Any] = {
        (255, 0, 0): completion("It is A", finish="length"),
        (0, 128, 0): completion("", finish="stop"),
        (0, 0, 255): completion(None, refusal="I'm sorry, but I can't help with that."),
    }

    def reply(number: int, body: dict[str, Any]) -> Any:
        picture, text = parts(body)
        if "position" in text:
            return completion("A")
        too_long = {"error": {"message": "too long"}}
        place = (20, min(30, picture.height - 1))  # a probe's picture is smaller
        return said.get(picture.getpixel(place)) or web.json_response(too_long, status=400)

    with serving(reply) as server:
        ran(server.url, tmp_path, concurrency=1)
        assert len(server.bodies) <= 12 + 2 + 2  # a small call and one taken before, for the one turned down
    found = {line.expected: line for line in lines(tmp_path) if line.facet == "color"}
    assert (found["red"].outcome, found["red"].finish, found["red"].reply) == ("failed", "length", "It is A")
    assert (found["green"].outcome, found["green"].reply) == ("unparsed", "")
    assert (found["blue"].outcome, found["blue"].finish) == ("refused", "refused")
    assert found["blue"].reply == "I'm sorry, but I can't help with that."
    assert (found["yellow"].outcome, found["yellow"].finish) == ("failed", "error")
    assert "too long" in str(found["yellow"].error)


@pytest.mark.parametrize(
    ("text", "finish", "logged", "why"),
    [
        ("so " * 30_000 + "A", "stop", "too-long", "longer than is read: 90001 characters, of which 65536 are kept"),
        ("so " * 1_700_000 + "A", "stop", "too-long", "longer than is read: more than 4194304 bytes"),
        ("so " * 30_000 + "A", "length", "length", "90001 characters"),
        ("so " * 20_000 + "A", "stop", "stop", None),
    ],
)
def test_a_reply_that_is_longer_than_is_read(
    tmp_path: Path, text: str, finish: str, logged: str, why: str | None
) -> None:
    with serving(lambda number, body: completion(text, finish=finish)) as server:
        ran(server.url, tmp_path, number=1, concurrency=1)
    for line in lines(tmp_path):
        assert (line.finish, line.outcome) == (logged, "answer" if why is None else "failed"), line.error
        assert line.error is None if why is None else why in str(line.error)


def test_weights_without_a_revision_are_warned_of_once(tmp_path: Path) -> None:
    for revision, times in ((None, 1), ("r1", 0)):
        said: list[str] = []
        options = ModelOptions(scratch=tmp_path / "scratch", revision=revision, max_new_tokens=32)
        with serving(seeing) as server:
            folder = tmp_path / str(revision)
            run_bench(shelf(2), f"served:{MODEL}@{server.url}", plan(), options, folder, said.append)
        assert sum("no --revision was given" in words and MODEL in words for words in said) == times


def test_a_server_that_dies_and_comes_back(tmp_path: Path) -> None:
    """What is finished stays, the exit code is 3, and the same command goes on."""
    alive = threading.Event()
    alive.set()
    answered = 0

    def reply(number: int, body: dict[str, Any]) -> Any:
        nonlocal answered
        if not alive.is_set():
            return web.Response(status=503, text="gone")
        answered += 1
        if answered == 30:
            alive.clear()
        return seeing(number, body)

    with serving(reply) as server:
        with pytest.raises(UnfinishedError, match=r"asks are left .*same command") as ended:
            ran(server.url, tmp_path, "circular", number=10, concurrency=2, patience=0.5, transport_retries=1)
        assert ended.value.exit_code == 3
        assert len(lines(tmp_path)) == 30 == answered
        alive.set()
        found = ran(f"{server.url}/", tmp_path, "circular", number=10, concurrency=2)  # it may have moved
        assert (found.reused, found.asked) == (30, 50)
        assert answered == 80
    assert len({line.ask_id for line in lines(tmp_path)}) == 80


def test_a_process_that_is_killed(tmp_path: Path) -> None:
    """The stub server as a process, killed with calls in flight."""
    with running_stub(slots=2, service_ms=20) as stub:
        watcher = threading.Thread(target=_kill_after, args=(stub, 20), daemon=True)
        watcher.start()
        settings: dict[str, Any] = {"patience": 0.5, "concurrency": 4}
        with pytest.raises(UnfinishedError):
            ran(stub.base_url, tmp_path, "circular", number=20, **settings)
        watcher.join()
        kept = len(lines(tmp_path))
        assert 18 <= kept < 160
        stub.start()
        found = ran(stub.base_url, tmp_path, "circular", number=20, **settings)
        assert found.reused == kept and found.reused + found.asked == 160
    log = lines(tmp_path)
    assert len(log) == 160 and all(line.reply and "pictures" in line.reply for line in log)


def _kill_after(stub: Any, calls: int) -> None:
    while stub.log()["calls"] < calls:
        time.sleep(0.005)
    stub.kill()


def test_faults_on_the_way(tmp_path: Path) -> None:
    """Connections that break, overload, half replies: asked again, until each ask has its reply."""
    rates = {"reset": 0.1, "500": 0.1, "503": 0.05, "truncated": 0.05, "reset_mid": 0.05, "html": 0.05}
    with running_stub(slots=8, service_ms=2, faults=rates, seed=1) as stub:
        found = ran(stub.base_url, tmp_path, "circular", number=12, transport_retries=20)
        assert found.asked == 96
    log = lines(tmp_path)
    assert len(log) == 96 and all(line.reply for line in log)
    assert {line.outcome for line in log} <= {"answer", "unparsed"}


def test_a_wrong_server(tmp_path: Path) -> None:
    with running_stub(api_key="secret") as stub, pytest.raises(ServerError, match="does not accept the key"):
        ran(stub.base_url, tmp_path)
    with running_stub(model="other") as stub, pytest.raises(ServerError, match="does not know the model stub-vl"):
        ran(stub.base_url, tmp_path)
    with running_stub(text_only=True) as stub, pytest.raises(ServerError, match=r"does not (see|take) pictures"):
        ran(stub.base_url, tmp_path)
    with pytest.raises(ServerError, match="no server answers"):
        ran("http://127.0.0.1:9/v1", tmp_path)
    assert lines(tmp_path) == []
    with serving(seeing) as server:  # a run that has no line yet is bound to nothing
        assert ran(server.url, tmp_path).asked == 12


def test_no_address_is_kept(tmp_path: Path) -> None:
    with serving(seeing) as server:
        ran(server.url, tmp_path, number=1)
        assert read_log(tmp_path / "run").header.model == f"served:{MODEL}"
        port = server.url.rpartition(":")[2].partition("/")[0]
    assert port.encode() not in (tmp_path / "run/run.jsonl").read_bytes()


def test_a_picture_that_cannot_be_sent_costs_its_asks(tmp_path: Path) -> None:
    bench = shelf(3)
    bench.pictures["image-00001"] = b"no picture"
    with serving(seeing) as server:
        options = ModelOptions(scratch=tmp_path / "scratch", max_new_tokens=32)
        run_bench(bench, f"served:{MODEL}@{server.url}", plan(), options, tmp_path / "run")
    failed = [line for line in lines(tmp_path) if line.outcome == "failed"]
    assert {line.image_id for line in failed} == {"image-00001"} and len(failed) == 2
    assert all("its picture cannot be sent" in str(line.error) for line in failed)


def test_a_budget_of_pixels(tmp_path: Path) -> None:
    with serving(seeing) as server:
        ran(server.url, tmp_path, max_pixels=1600, number=2)
        sizes = {parts(body)[0].size for body in server.bodies if "What is the" in str(body["messages"])}
    assert sizes == {(48, 32)}
    assert read_log(tmp_path / "run").header.max_pixels == 1600


def test_seeds_are_calls_of_their_own(tmp_path: Path) -> None:
    with serving(seeing) as server:
        options = ModelOptions(scratch=tmp_path / "scratch", max_new_tokens=32, temperature=0.7, top_p=0.9)
        sampled = plan(seeds=3)
        run_bench(shelf(2), f"served:{MODEL}@{server.url}", sampled, options, tmp_path / "run")
        bodies = [body for body in server.bodies if "What is the" in str(body["messages"])]
    assert sorted({body["seed"] for body in bodies}) == [0, 1000, 2000] and len(bodies) == 12
    assert {(body["temperature"], body["top_p"]) for body in bodies} == {(0.7, 0.9)}
    assert read_log(tmp_path / "run").header.sampling == {"temperature": 0.7, "top_p": 0.9}


@pytest.mark.parametrize("spec", ["served:model", "served:@http://x/v1", "served:model@localhost:8000/v1"])
def test_addresses(spec: str) -> None:
    with pytest.raises(UsageError, match="give the name as the server lists it and its address"):
        open_model(spec, ModelOptions())


def test_settings_that_no_server_takes() -> None:
    with pytest.raises(UsageError, match=r"--top-p 0\.0: input should be greater than 0"):
        open_model("served:a@http://x/v1", ModelOptions(temperature=0.5, top_p=0.0))


def test_names_with_signs_and_several_servers() -> None:
    model: Any = open_model("served:a/b@c@http://x/v1,http://y/v1", replace(ModelOptions(), revision="r1"))
    assert model._config.model == "a/b@c" and model._config.base_urls == ["http://x/v1", "http://y/v1"]
    assert model.details() == {"served_model": "a/b@c", "revision": "r1"}
