"""One writer per set: refused while another runs, taken over from the dead, respected on another host."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from slvr_data.errors import UsageError
from slvr_data.lock import Lock, holder
from tests.builds import coco, end, in_time, of_coco, published, refused, run, shards, shared, start, wait_for

PICTURES = 40


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared(tmp_path_factory, "lock", lambda folder: coco(folder, PICTURES, size=(320, 240), regions=8)) / (
        "instances.json"
    )


@pytest.fixture
def running(file: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A build into `tmp_path/set`, stopped (SIGSTOP) in the middle of its work.

    One that had come too far before, since this machine is busy, is begun anew.
    """
    out, done = tmp_path / "set", PICTURES
    for _ in range(5):
        process = start(*of_coco(file, "--workers", 2, "--shard-size", 1, "--out", out))
        try:
            wait_for(lambda: len(shards(out, "check")) >= 2)
            stop(process)
            done = len(shards(out, "check"))
            if process.poll() is None and done <= PICTURES / 2:
                yield process
                return
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGCONT)
            end(process)
        shutil.rmtree(out)
    raise AssertionError(f"it was always too far before it was stopped: {done} of {PICTURES}")


def stop(process: subprocess.Popen[str]) -> None:
    """Stop a build with its workers; back when none of them moves any more."""
    os.killpg(process.pid, signal.SIGSTOP)
    command = psutil.Process(process.pid)
    all_of_it = [command, *command.children(recursive=True)]
    still = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE)
    wait_for(lambda: all(each.status() in still for each in all_of_it))


def test_a_second_writer_is_refused_at_once(running: subprocess.Popen[str], file: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    before = sorted(path for path in out.rglob("*"))
    message = in_time(20, lambda: refused(*of_coco(file, "--workers", 1, "--out", out)))
    assert f"is being written by process {running.pid} on {socket.gethostname()}" in message
    for arguments in (("publish", out), ("merge", out, "--out", out)):
        assert f"process {running.pid}" in refused(*arguments)
    assert sorted(path for path in out.rglob("*")) == before
    os.killpg(running.pid, signal.SIGCONT)
    assert running.wait(300) == 0
    run(*of_coco(file, "--workers", 1, "--out", out))


def test_status_from_another_shell(running: subprocess.Popen[str], tmp_path: Path) -> None:
    time.sleep(1.1)  # the file that `status` reads is written once a second
    os.killpg(running.pid, signal.SIGCONT)
    wait_for(lambda: json.loads((tmp_path / "set" / ".work" / "progress.json").read_bytes())["done"])
    stop(running)
    text = run("status", tmp_path / "set").stdout
    assert f"process {running.pid} on {socket.gethostname()}" in text
    found = json.loads(run("status", tmp_path / "set", "--json").stdout)
    assert found["writer"] == f"process {running.pid} on {socket.gethostname()}"
    assert "published" not in found
    assert found["progress"]["phase"] == "working"
    assert found["progress"]["total"] == PICTURES
    assert 0 < found["progress"]["done"] < PICTURES
    assert found["progress"]["rate"] > 0
    assert found["progress"]["left"].endswith("s left")


def test_status_of_a_set_that_nobody_writes(file: Path, tmp_path: Path) -> None:
    run(*of_coco(file, "--limit", 2, "--workers", 1, "--out", tmp_path / "set"))
    found = json.loads(run("status", tmp_path / "set", "--json").stdout)
    assert found["writer"] is None
    assert found["progress"]["left"] == ""
    assert found["published"]["regions published"] == 16


def test_the_lock_of_a_dead_process_is_taken_over(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    process = start(*of_coco(file, "--workers", 1, "--shard-size", 1, "--out", out))
    try:
        wait_for(lambda: len(shards(out)) >= 1)
        process.kill()
    finally:
        end(process)
    assert json.loads((out / ".work" / "lock").read_text())["pid"] == process.pid
    assert json.loads(run("status", out, "--json").stdout)["writer"] is None
    errors = run(*of_coco(file, "--workers", 1, "--out", out)).stderr
    assert f"taking over from process {process.pid} on {socket.gethostname()}, which is gone" in errors
    assert (out / ".work" / "lock").read_text() == ""


def test_the_lock_of_another_host_is_respected(file: Path, tmp_path: Path) -> None:
    out, lock = tmp_path / "set", tmp_path / "set" / ".work" / "lock"
    run(*of_coco(file, "--limit", 2, "--workers", 1, "--out", out))
    before = published(out)
    lock.write_text(json.dumps({"host": "elsewhere", "pid": 7}))
    for arguments in (of_coco(file, "--limit", 3, "--workers", 1, "--out", out), ["publish", out, "--embed"]):
        message = refused(*arguments)
        assert "locked by process 7 on elsewhere, another host" in message
        assert f"remove {lock}" in message
    assert published(out) == before
    assert json.loads(lock.read_text()) == {"host": "elsewhere", "pid": 7}
    lock.unlink()
    run(*of_coco(file, "--limit", 3, "--workers", 1, "--out", out))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 3}', "\x00" * 20])
def test_a_damaged_lock_file_is_no_obstacle(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lock"
    path.write_text(text)
    with Lock(path):
        assert holder(path) == f"process {os.getpid()} on {socket.gethostname()}"
    assert holder(path) is None
    assert path.read_text() == ""


def test_a_reader_that_asks_does_not_hinder_a_writer(tmp_path: Path) -> None:
    """`status` holds the kernel's lock for a moment, a longer one where others want the processor: a build waits."""
    path = tmp_path / "lock"
    path.touch()
    with path.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_SH)
        threading.Timer(0.5, lambda: fcntl.flock(stream, fcntl.LOCK_UN)).start()
        with Lock(path):
            assert holder(path) == f"process {os.getpid()} on {socket.gethostname()}"


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """As Lustre without -o flock: nobody holds what cannot be held."""

    def refuses(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    path = tmp_path / "lock"
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", refuses)
        with pytest.raises(UsageError, match=rf"{path} cannot be locked \({os.strerror(number)}\).*Lustre: -o flock"):
            Lock(path).__enter__()
        assert holder(path) is None
        path.write_text(json.dumps({"host": "elsewhere", "pid": 7}))
        assert holder(path) == "process 7 on elsewhere", "as far as can be known"


@pytest.mark.parametrize("number", [errno.EWOULDBLOCK, errno.EACCES])
def test_what_the_kernel_says_of_a_held_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """NFS may say the second."""

    def held(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", held)
    path = tmp_path / "set/.work/lock"
    path.parent.mkdir(parents=True)
    with pytest.raises(UsageError, match=r"set is being written by another process: wait for it"):
        Lock(path).__enter__()


def test_attach_is_a_writer_too(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(*of_coco(file, "--limit", 2, "--workers", 1, "--set", "publish.pictures=reference", "--out", out))
    with Lock(out / ".work" / "lock"):
        message = refused("attach", out, "--images", file.parent / "pictures")
    assert f"is being written by process {os.getpid()}" in message
    run("attach", out, "--images", file.parent / "pictures")
