"""What is put is there at once, is kept for good, and outlives a damaged database."""

from __future__ import annotations

import itertools
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from slvr_data.errors import RunError
from slvr_data.requests import writer
from slvr_data.requests.segments import Row, Segment, SegmentFolder
from slvr_data.requests.store import RequestStore, StoredReply
from tests.builds import in_time
from tests.slvr_data.requests.putting import reply
from tests.slvr_data.requests.stored import missing, rows, segments


def committed(store: RequestStore) -> int:
    """Replies in the database, seen by another connection."""
    with closing(sqlite3.connect(store.scratch / "replies.sqlite")) as reader:
        return int(reader.execute("SELECT count(*) FROM replies").fetchall()[0][0])


def within(seconds: float, happens: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if happens():
            return True
        time.sleep(0.005)
    return happens()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RequestStore]:
    with RequestStore(tmp_path / "set", tmp_path / "here") as opened:
        yield opened


# There at once, and durable soon


def test_a_reply_is_there_at_once(store: RequestStore) -> None:
    for number in range(300):
        assert store.get(reply(number).key) is None
        store.put(reply(number))
        assert store.get(reply(number).key) == reply(number)
        if number % 50 == 0:
            time.sleep(0.1)  # some are looked for before their commit, some after it
    assert all(store.get(reply(number).key) == reply(number) for number in range(300))


def test_one_reply_is_committed_within_100_ms_and_64_at_once(
    store: RequestStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert writer.GROUP_SECONDS < 0.1
    numbers = itertools.count(1000)

    def one() -> None:
        before = committed(store)
        store.put(reply(next(numbers)))
        assert within(60, lambda: committed(store) == before + 1)

    in_time(0.1 + 5, one)  # the second: for a busy machine
    before = committed(store)
    monkeypatch.setattr(writer, "GROUP_SECONDS", 60)
    for number in range(63):
        store.put(reply(number))
    time.sleep(0.2)
    assert committed(store) == before
    store.put(reply(63))
    assert within(120, lambda: committed(store) == before + 64)


def test_a_segment_is_written_in_time_or_when_it_is_full(store: RequestStore, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = store.scratch.parents[1] / "set"
    assert writer.SEGMENT_SECONDS == 30
    monkeypatch.setattr(writer, "SEGMENT_SECONDS", 3600)
    for number in range(writer.SEGMENT_REPLIES):
        store.put(reply(number))
    assert within(120, lambda: len(segments(folder)) > 0), "it is full"
    monkeypatch.setattr(writer, "SEGMENT_SECONDS", 0.3)
    store.put(reply(5000))
    assert within(120, lambda: reply(5000).key in rows(folder)), "its time has come"


def test_a_slow_set_folder_does_not_delay_commits(store: RequestStore, monkeypatch: pytest.MonkeyPatch) -> None:
    real, begun, go = SegmentFolder.write, threading.Event(), threading.Event()

    def slow(self: SegmentFolder, kind: str, rows: list[Row]) -> Segment:
        begun.set()
        go.wait(300)
        return real(self, kind, rows)  # type: ignore[arg-type]

    monkeypatch.setattr(SegmentFolder, "write", slow)
    for number in range(writer.SEGMENT_REPLIES):
        store.put(reply(number))
    assert begun.wait(120)
    store.put(reply(7000))
    assert within(120, lambda: committed(store) == writer.SEGMENT_REPLIES + 1)
    go.set()


ODD = {
    "nul": "a\0b",
    "emoji": "größer 🐈",
    "lines": "\r\n\t\u2028",
    "empty": "",
    "long": "x" * 3_000_000,
    "quotes": "'; DROP TABLE replies; --",
}


def test_any_text_comes_back_from_every_place(tmp_path: Path) -> None:
    wanted = {name: replace(reply(n), text=text, reasoning=text) for n, (name, text) in enumerate(ODD.items())}
    with RequestStore(tmp_path / "set", tmp_path / "here") as store:
        for each in wanted.values():
            store.put(each)
            assert store.get(each.key) == each
    for scratch in ("here", "there"):
        with RequestStore(tmp_path / "set", tmp_path / scratch) as store:
            assert {name: store.get(each.key) for name, each in wanted.items()} == wanted


def test_half_a_surrogate_pair_is_replaced(tmp_path: Path) -> None:
    bad, good = replace(reply(0), text="a\ud83db", evidence="\udc08"), replace(reply(1), text="\ud83d\udc08")
    with RequestStore(tmp_path / "set", tmp_path / "here") as store:
        store.put(bad)
        store.put(good)
        assert store.get(bad.key) == replace(bad, text="a\ufffdb", evidence="\ufffd")
    with RequestStore(tmp_path / "set", tmp_path / "there") as store:
        assert store.get(bad.key) == replace(bad, text="a\ufffdb", evidence="\ufffd")


def test_threads_may_put_and_get_at_once(tmp_path: Path) -> None:
    def work(first: int) -> None:
        for number in range(first, first + 400):
            store.put(reply(number))
            if store.get(reply(number).key) != reply(number):
                wrong.append(number)

    wrong: list[int] = []
    with RequestStore(tmp_path / "set", tmp_path / "here") as store:
        threads = [threading.Thread(target=work, args=(1000 * n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
    assert len(rows(tmp_path / "set")) == 1600


def test_a_closed_store_takes_nothing(tmp_path: Path) -> None:
    store = RequestStore(tmp_path / "set", tmp_path / "here")
    store.close()
    store.close()
    with pytest.raises(RunError, match="closed"):
        store.put(reply(0))


def test_a_reply_holds_nothing_of_how_it_was_asked_for(tmp_path: Path) -> None:
    names = set(StoredReply.__slots__)
    assert names == {
        "key", "base_key", "attempt", "purpose", "failure", "text", "reasoning", "finish_reason", "evidence",
        "prompt_tokens", "completion_tokens", "cached_tokens", "seconds", "model",
    }  # fmt: skip


# A damaged database


def filled(tmp_path: Path, count: int) -> Path:
    with RequestStore(tmp_path / "set", tmp_path / "here") as store:
        for number in range(count):
            store.put(reply(number))
        return store.scratch / "replies.sqlite"


@pytest.mark.parametrize("damage", ["no database", "cut", "other form", "empty"])
def test_a_damaged_database_is_put_aside_and_made_from_segments(tmp_path: Path, damage: str) -> None:
    path = filled(tmp_path, 1500)
    if damage == "no database":
        path.write_bytes(b"this is no database, however long you look at it" * 100)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:4096])
    elif damage == "other form":
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE meta SET value = '0' WHERE name = 'form'")
    else:
        path.write_bytes(b"")
    said: list[str] = []
    assert missing(tmp_path / "set", tmp_path / "here", 1500, said.append) == []
    if damage == "empty":
        assert said == []  # an empty file is a new database
    else:
        (line,) = said
        assert line.startswith(f"the local request store {path} cannot be used (")
        assert line.endswith("it is now replies.sqlite.aside, segments replace it")
        assert path.with_name("replies.sqlite.aside").exists()
    assert missing(tmp_path / "set", tmp_path / "here", 1500, said.append) == []
    assert len(said) == (damage != "empty")
    assert len(rows(tmp_path / "set")) == 1500


def test_damage_that_is_met_later_ends_the_run_and_the_next_one_goes_on(tmp_path: Path) -> None:
    path = filled(tmp_path, 3000)
    with path.open("r+b") as file:  # all but the first pages
        file.seek(20 * 4096)
        file.write(random.Random(0).randbytes(path.stat().st_size - 20 * 4096))
    said: list[str] = []
    with (
        pytest.raises(RunError, match=r"replies\.sqlite is damaged \(.*\): run the same command again"),
        RequestStore(tmp_path / "set", tmp_path / "here", said.append) as store,
    ):
        for number in range(3000):
            store.get(reply(number).key)
    assert missing(tmp_path / "set", tmp_path / "here", 3000) == []


def test_damage_after_a_kill_is_met_when_it_opens(tmp_path: Path) -> None:
    path = filled(tmp_path, 3000)
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE meta SET value = '0' WHERE name = 'clean'")  # as a killed process leaves it
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 8192 * 4096)
        file.write(bytes(4096))
    said: list[str] = []
    assert missing(tmp_path / "set", tmp_path / "here", 3000, said.append) == []
    assert len(said) == 1


# Beside other stores


def test_only_accepted_replies_are_taken_over_where_that_is_wanted(store: RequestStore, tmp_path: Path) -> None:
    with RequestStore(tmp_path / "other", tmp_path / "there") as beside:
        beside.put(reply(0))
        beside.put(replace(reply(1), failure="schema"))
    store.take_over(tmp_path / "other", accepted=True)
    assert store.get(reply(0).key) == reply(0) and store.get(reply(1).key) is None


def test_what_another_store_has_kept_is_taken_over_and_what_is_known_stays(store: RequestStore, tmp_path: Path) -> None:
    other = tmp_path / "other"
    with RequestStore(other, tmp_path / "there") as beside:
        for number in range(4):
            beside.put(reply(number))
        beside.flush()
        for number in range(4, 8):
            beside.put(reply(number, "of the second segment"))
        beside.put(reply(0, "said later"))
        beside.flush()
        store.put(reply(1, "our own"))
        first, last = segments(other)
        (other / "segments" / ".half.tmp").write_bytes(b"being written")
        before = {path.name: path.read_bytes() for path in (other / "segments").iterdir()}
        store.take_over(other)
        assert {path.name: path.read_bytes() for path in (other / "segments").iterdir()} == before, "it is in use"
    assert store.get(reply(0).key) == reply(0, "said later") and store.get(reply(1).key) == reply(1, "our own")
    assert all(store.get(reply(number).key) == reply(number) for number in (2, 3))
    first.write_bytes(b"damaged")
    with RequestStore(tmp_path / "third", tmp_path / "here") as third:
        third.take_over(other)
        third.take_over(tmp_path / "nowhere")
        assert third.get(reply(2).key) is None and third.get(reply(7).key) == reply(7, "of the second segment")
    assert last.exists() and not (tmp_path / "nowhere").exists()
