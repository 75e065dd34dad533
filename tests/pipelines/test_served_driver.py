"""The driver of served builds when something fails: what is under way is paid for, and kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipelines.served import Driver, Work
from pipelines.tasks import PictureGoneError, Prepared, ShardReport, ToAsk
from slvr_data.annotators.base import Unfinished
from slvr_data.annotators.served.asking import ask_together
from slvr_data.errors import RunError
from slvr_data.requests import ledger as ledger_module
from slvr_data.requests.client import Client
from slvr_data.requests.keys import request_key
from slvr_data.requests.messages import Answer
from tests.calls import asking, calling, completion, run, scripted, until
from tests.pipelines.threads import Threads

SECONDS = 0.5
"""That a server takes for a reply."""


@dataclass(frozen=True)
class Planned:
    """As much of a planned picture as is counted."""

    image_id: str


@dataclass(frozen=True)
class Picture:
    """One that is asked one thing about."""

    number: int
    regions: tuple[int, ...] = (1,)

    @property
    def planned(self) -> Planned:
        return Planned(str(self.number))


@dataclass(frozen=True)
class Shard:
    """A number of pictures."""

    pictures: list[Picture]


def threads(fail: Callable[[Shard], None]) -> Threads:
    """An engine of two; `fail` is called before a shard is prepared."""

    def prepare(shard: Shard) -> Prepared:
        fail(shard)
        return Prepared([ToAsk(str(one.number), one.number, 1) for one in shard.pictures], None)

    return Threads(2, prepare, lambda shard, _, rows: ShardReport(pictures=len(rows)))


def asked_by(client: Client) -> Any:
    """A question about each picture."""

    async def ask(picture: ToAsk) -> list[Any]:
        (answer,) = await ask_together(client, [asking(picture.asked)])
        return [answer if isinstance(answer, Answer | Unfinished) else "refused"]

    return ask


def slowly(number: int, body: object) -> Any:
    """A reply after a while."""
    return asyncio.sleep(SECONDS, completion())


def stored(client: Client, number: int) -> bool:
    """Whether a reply is kept."""
    assert client._store is not None
    return client._store.get(request_key(asking(number), client.config, 0)) is not None


@pytest.mark.parametrize("ends", ["an error of a worker", "a signal"])
def test_calls_under_way_are_waited_for_and_their_replies_kept(tmp_path: Path, ends: str) -> None:
    async def work() -> None:
        async with scripted(slowly) as server, calling(tmp_path, server.url) as client:

            def fail(shard: Shard) -> None:
                while ends == "an error of a worker" and shard.pictures[0].number == 1 and len(server.bodies) < 4:
                    pass
                if ends == "an error of a worker" and shard.pictures[0].number == 1:
                    raise RunError("the disk is full")

            with threads(fail) as engine:
                driver = Driver(engine, client, Work("prepare", "finish", asked_by(client)), print, lambda: None)
                shards = iter([Shard([Picture(4 * n + k) for k in range(4)]) for n in (0, 2)] + [Shard([Picture(1)])])
                running = asyncio.ensure_future(driver.run(shards))
                await until(lambda: len(server.bodies) >= 4 or running.done())
                if ends == "a signal":
                    running.cancel()
                with pytest.raises(asyncio.CancelledError if ends == "a signal" else RunError):
                    await running
            asked = [int(body["messages"][0]["content"][1]["text"].split()[-1][:-1]) for body in server.bodies]
            assert len(asked) >= 4 and all(stored(client, number) for number in asked)

    run(work())


def test_a_picture_whose_file_is_gone_is_left_open_and_the_others_are_finished(tmp_path: Path) -> None:
    async def work() -> None:
        def fail(shard: Shard) -> None:
            if any(picture.number == 5 for picture in shard.pictures):
                raise PictureGoneError("source coco: 'five.jpg' is no file")

        async with scripted(lambda number, body: completion()) as server, calling(tmp_path, server.url) as client:
            done: list[ShardReport] = []
            with threads(fail) as engine:
                driver = Driver(engine, client, Work("prepare", "finish", asked_by(client)), done.append, lambda: None)
                await driver.run(iter([Shard([Picture(4 * n + k) for k in range(4)]) for n in range(3)]))
            assert sum(report.pictures for report in done) == 11 and driver.left.pictures == 1
            assert driver.left.lost == {"5"} and "five.jpg" in driver.left.why()

    run(work())


def test_a_reply_is_kept_before_it_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting fails with what went wrong when the counts were saved: no reason to lose a reply."""
    monkeypatch.setattr(ledger_module, "SAVE_SECONDS", 0.01)

    async def work() -> None:
        held: list[Client] = []

        async def reply(number: int, body: object) -> Any:
            await until(lambda: held[0]._ledger._error)
            return completion()

        async with scripted(reply) as server, calling(tmp_path, server.url) as client:
            held.append(client)
            (tmp_path / "ledger.json").mkdir()  # where a file is to be
            with pytest.raises(RunError):
                await client.ask(asking(0))
            assert stored(client, 0)
            (tmp_path / "ledger.json").rmdir()

    run(work())
