"""The driver of served builds holds encoded pictures within a bound, however many workers there are."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, cast

import pytest

from pipelines.served import MOST_HELD, Driver, Work
from pipelines.tasks import Prepared, ShardReport, ToAsk
from slvr_data.requests.client import Client
from tests.pipelines.threads import Threads

MB = 1 << 20


@dataclass(frozen=True)
class Shard:
    """A number of pictures."""

    pictures: list[str]
    size: int
    """Bytes of each, encoded."""


def prepared(shard: Shard) -> Prepared:
    """Which takes a moment."""
    time.sleep(0.05)
    return Prepared([ToAsk(name, None, shard.size) for name in shard.pictures], None)


def finished(shard: Shard, _: None, rows: dict[str, list[Any]]) -> ShardReport:
    """What was asked about the shard's pictures."""
    assert sorted(rows) == sorted(shard.pictures)
    return ShardReport(pictures=len(rows))


class Server:
    """A client with room for some asks; the rest of it is not used here."""

    stopped = None

    def __init__(self, most: int) -> None:
        self.most, self.open = most, 0

    @property
    def room(self) -> int:
        return max(0, self.most - self.open)


def most_held(workers: int, shards: int, size: int) -> int:
    """The most bytes that were prepared and not answered, over a whole run."""
    server, done = Server(64), []
    driver: Driver | None = None
    most = 0

    async def ask(picture: ToAsk) -> list[Any]:
        nonlocal most
        assert driver is not None
        most = max(most, driver._held)
        server.open += 1
        await asyncio.sleep(0.02)
        server.open -= 1
        return ["a row"]

    with Threads(workers, prepared, finished) as engine:
        work = Work("prepare", "finish", ask)
        driver = Driver(engine, cast(Client, server), work, done.append, lambda: None)
        every = iter([Shard([f"{number}-{picture}" for picture in range(16)], size) for number in range(shards)])
        asyncio.run(driver.run(every))
    assert sum(report.pictures for report in done) == 16 * shards and driver.left.pictures == 0
    assert driver._held == driver._coming == 0
    return most


@pytest.mark.parametrize("size", [MB // 2, MB // 8])
def test_many_workers_hold_no_more_than_few(size: int) -> None:
    """Shards of 8 MB are what is taken for granted at first; those of 2 MB are let in as they become known."""
    assert most_held(100, 150, size) <= MOST_HELD


def test_large_shards_are_known_after_the_first_ones() -> None:
    """32 MB each: some are on their way before that is known, and then no more than fit."""
    assert most_held(2, 40, 2 * MB) <= MOST_HELD
    assert most_held(100, 60, 2 * MB) <= 5 * MOST_HELD
