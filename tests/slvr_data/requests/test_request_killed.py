"""Processes that put replies are killed, and disks are full: what is lost, and what is said."""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from slvr_data.errors import RunError, UsageError
from slvr_data.requests import writer
from slvr_data.requests.store import RequestStore
from tests.builds import wait_for
from tests.slvr_data.requests.putting import reply
from tests.slvr_data.requests.stored import missing, rows, segments

PUTTING = Path(__file__).with_name("putting.py")
ROOT = Path(__file__).parents[3]


# SIGKILL


@contextmanager
def putting(folder: Path, scratch: Path, start: int, rate: float, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, PUTTING, folder, scratch, str(start), str(rate)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | more
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


LAST_SECONDS = 5.0
"""A reply is committed within 100 ms; fifty times that where others want the processor and the disk."""


def killed(
    folder: Path, scratch: Path, start: int, rate: float, count: int, **more: str
) -> tuple[list[int], list[int], list[int]]:
    """Kill a process when it has put so many replies: what it has put, what of it last, and what was not committed."""
    lines = []
    with putting(folder, scratch, start, rate, **more) as process:
        for line in process.stdout or ():
            lines.append(line)
            if len(lines) == count:
                os.kill(process.pid, signal.SIGKILL)
    told = [line.split() for line in lines if line.endswith(b"\n")]
    put = [int(number) for _, number, _ in told]
    last = [int(number) for at, number, _ in told if float(at) >= float(told[-1][0]) - LAST_SECONDS]
    return put, last, put[int(told[-1][2]) :]


@pytest.mark.slow
def test_sigkill_loses_one_commit_interval_at_most(tmp_path: Path) -> None:
    """At random moments, at rates at which groups are cut by time and by number, while segments are written."""
    dice = random.Random(os.getpid())
    folder, told, gone = tmp_path / "set", [-1], set()
    for rate, most in ((300, 300), (1e9, 5000), (2000, 1500), (1e9, 9000), (30, 30), (1e9, 5000)):
        put, last, uncommitted = killed(folder, tmp_path / "here", told[-1] + 2, rate, dice.randrange(1, most))
        told += put  # it may have put one more than it told of
        said: list[str] = []
        lost = set(missing(folder, tmp_path / "here", told[-1] + 1, said.append)) & set(told)
        assert said == []
        new = lost - gone
        assert new <= set(put), "what an earlier run had is still there"
        assert new <= set(uncommitted), "what was committed is still there"
        assert len(new - set(last)) <= 64
        assert not new or new == set(range(min(new), told[-1] + 1)), "only the last ones are lost"
        gone |= new
    there = set(missing(folder, tmp_path / "there", told[-1] + 1)) & set(told)
    assert there == gone, "what was left has reached segments"


@pytest.mark.slow
def test_another_node_lacks_a_thousand_replies_at_most(tmp_path: Path) -> None:
    """And those that came while a segment was written: here none is put meanwhile."""
    folder = tmp_path / "set"
    put, _, uncommitted = killed(folder, tmp_path / "here", 0, 3000, 3700, SLVR_TEST_PATIENT="1")
    lost = missing(folder, tmp_path / "there", put[-1] + 1)
    assert len(lost) <= 1000
    assert lost == list(range(put[-1] + 1 - len(lost), put[-1] + 1))
    assert set(missing(folder, tmp_path / "here", put[-1] + 1)) <= set(uncommitted)
    assert len(rows(folder)) == len(set(rows(folder)))


def test_what_another_node_asked_anew_replaces_what_was_left_here(tmp_path: Path) -> None:
    """Here a reply was committed and reached no segment; there the call was made again, and data made of it."""
    folder = tmp_path / "set"
    with putting(folder, tmp_path / "here", 0, 1e9) as process:
        assert process.stdout is not None
        while int(process.stdout.readline().split()[2]) < 100:
            pass  # not yet committed
        process.kill()
    shutil.rmtree(folder / "segments")
    anew = reply(3, "asked again")
    with RequestStore(folder, tmp_path / "there") as store:
        store.put(anew)
    for scratch in ("here", "there", "elsewhere"):
        with RequestStore(folder, tmp_path / scratch) as store:
            assert store.get(anew.key) == anew
            assert store.get(reply(4).key) == reply(4)


# Full disks and other trouble


LIMITED = """
import resource, sys, time
from pathlib import Path
from slvr_data.errors import RunError
from slvr_data.requests import writer
from slvr_data.requests.store import RequestStore
from tests.slvr_data.requests.putting import reply
def commit(store):
    while store._writer._pending and store._writer._error is None:
        time.sleep(0.002)
folder, scratch, database, segment = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
resource.setrlimit(resource.RLIMIT_FSIZE, (database, resource.RLIM_INFINITY))
try:
    with RequestStore(folder, scratch) as store:
        for number in range(900):
            store.put(reply(number, "text " * 30 + hex(hash(str(number)) ** 9)))
            if number % 64 == 0:
                commit(store)
        commit(store)
        resource.setrlimit(resource.RLIMIT_FSIZE, (segment, resource.RLIM_INFINITY))
        print("all put", flush=True)
        store.{last}
except RunError as error:
    print(error)
    raise SystemExit(1)
"""


def limited(tmp_path: Path, database: int, segment: int, last: str = "flush()") -> tuple[int, list[str]]:
    """Exit code and lines of a process that may write files of so many bytes before and after 900 replies."""
    arguments = [tmp_path / "set", tmp_path / "here", str(database), str(segment)]
    found = subprocess.run(
        [sys.executable, "-c", LIMITED.replace("{last}", last), *arguments],
        capture_output=True, text=True, timeout=300, check=False, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert found.stderr == ""
    return found.returncode, found.stdout.splitlines()


FULL = "the disk is full (or a file size limit is reached) while writing "
CURE = ": free space and run the same command again, nothing finished is lost"


@pytest.mark.parametrize("last", ["flush()", "close()"])
def test_a_full_scratch_disk_is_one_clear_line(tmp_path: Path, last: str) -> None:
    code, lines = limited(tmp_path, 600_000, resource.RLIM_INFINITY, last)
    assert code == 1
    assert lines[-1].startswith(f"{FULL}{tmp_path / 'here'}")
    assert lines[-1].endswith(f"replies.sqlite{CURE}")
    with RequestStore(tmp_path / "set", tmp_path / "here") as store:
        assert 0 < sum(store.get(reply(number).key) is None for number in range(900)) < 900
    assert limited(tmp_path, resource.RLIM_INFINITY, resource.RLIM_INFINITY) == (0, ["all put"])


def test_a_disk_that_is_full_from_the_start_is_one_clear_line(tmp_path: Path) -> None:
    code, lines = limited(tmp_path, 20, 20)
    assert code == 1
    assert lines == [f"{FULL}{tmp_path / 'set' / 'identity'}{CURE}"]
    code, lines = limited(tmp_path, 5000, 5000)
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"{FULL}{tmp_path / 'here'}")


@pytest.mark.parametrize("last", ["flush()", "close()"])
def test_a_full_disk_of_the_set_is_one_clear_line_and_loses_nothing(tmp_path: Path, last: str) -> None:
    code, lines = limited(tmp_path, resource.RLIM_INFINITY, 20_000, last)
    assert code == 1
    assert lines[0] == "all put"
    (line,) = lines[1:]
    assert line.startswith(f"{FULL}{tmp_path / 'set' / 'segments'}/00000001-replies-")
    assert line.endswith(f".parquet{CURE}")
    assert segments(tmp_path / "set") == []
    assert missing(tmp_path / "set", tmp_path / "there", 900) == list(range(900))
    with RequestStore(tmp_path / "set", tmp_path / "here") as store:
        assert all(store.get(reply(number).key) is not None for number in range(900))
    assert len(rows(tmp_path / "set")) == 900


@pytest.mark.parametrize("after", ["check", "allow_more", "flush", "close"])
def test_an_error_in_the_background_is_raised_by_every_later_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    monkeypatch.setattr(writer, "SEGMENT_SECONDS", 0.05)
    store = RequestStore(tmp_path / "set", tmp_path / "here")
    (tmp_path / "set" / "segments").rmdir()
    store.put(reply(0))
    wait_for(lambda: store._writer._error)
    arguments = {"allow_more": ["a", 1]}
    for _ in range(2):
        with pytest.raises(RunError, match=r"writing .*00000001-replies-.* failed"):
            getattr(store, after)(*arguments.get(after, []))
        if after == "close":
            break
    if after != "close":
        assert store.get(reply(0).key) == reply(0)
        with pytest.raises(RunError):
            store.close()
    with RequestStore(tmp_path / "set", tmp_path / "here") as again:
        assert again.get(reply(0).key) == reply(0)


def test_a_reply_is_kept_when_the_folder_takes_no_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The local database is there for that: what has come is paid for."""
    monkeypatch.setattr(writer, "SEGMENT_SECONDS", 0.05)
    store = RequestStore(tmp_path / "set", tmp_path / "here")
    (tmp_path / "set" / "segments").rmdir()
    store.put(reply(0))
    wait_for(lambda: store._writer._error)
    for number in range(1, 200):
        store.put(reply(number))
    with pytest.raises(RunError):
        store.close()
    with RequestStore(tmp_path / "set", tmp_path / "here") as again:
        assert all(again.get(reply(number).key) == reply(number) for number in range(200))
    assert missing(tmp_path / "set", tmp_path / "there", 200) == []


def test_an_error_of_the_run_is_not_hidden_by_one_of_the_store(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(UsageError, match="mine"), RequestStore(tmp_path / "set", tmp_path / "here", said.append) as it:
        it.put(reply(0))
        (tmp_path / "set" / "segments").rmdir()
        raise UsageError("mine")
    (line,) = said
    assert "00000001-replies-" in line
