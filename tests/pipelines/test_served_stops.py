"""Builds by a served model that are stopped: the same command goes on, and asks no reply that was kept again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.builds import end, published, run, start, wait_for
from tests.served_builds import KEY, SCENES, accounts, answered, ask, build, calls, clean_sets, profiled, scenes_stub
from tests.servers.faults import mixed
from tests.servers.running import RunningStub

pytestmark = pytest.mark.slow
COMMITTED = 5.0
"""Seconds after which a reply is committed, on a busy machine too (the store says 0.1)."""


@pytest.fixture(scope="module")
def stub() -> Iterator[RunningStub]:
    """Slow enough to be stopped in the middle."""
    with scenes_stub() as running:
        yield running


@pytest.fixture(scope="session")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set that nothing disturbed; `profiles` beside it is the same before it was asked about."""
    return clean_sets(tmp_path_factory)


@pytest.fixture
def slow(stub: RunningStub) -> Iterator[RunningStub]:
    """With a log of its own."""
    stub.control(reset=True, slots=4, service_ms=100)
    yield stub
    stub.control(slots=16, service_ms=20, faults={})


def stop(stub: RunningStub, process: subprocess.Popen[str], number: int, group: bool) -> tuple[float, float]:
    """Send the signal, to the command or its whole group; when, and when it was gone, with all that it had asked.

    Its workers end by themselves.
    """
    children = psutil.Process(process.pid).children(recursive=True)
    sent = time.time()
    if group:
        os.killpg(process.pid, number)
    else:
        os.kill(process.pid, number)
    process.wait(120)
    _, alive = psutil.wait_procs(children, timeout=120)
    for child in alive:
        child.kill()
    assert not alive, "workers outlive the command that started them"
    wait_for(lambda: stub.log()["running"]["now"] == stub.log()["waiting"]["now"] == 0)
    return sent, time.time()


def asked_again(stub: RunningStub, stopped_at: list[tuple[float, float]]) -> list[str]:
    """Calls that were made after a sound reply to the same call had come, more than `COMMITTED` s before each stop.

    What was in flight at a stop may be answered after it, to nobody.
    """
    first: dict[str, float] = {}
    again = []
    for call in sorted(calls(stub), key=lambda call: float(call["began"])):
        known = first.get(call["body"], float("inf"))
        lost = any(sent - COMMITTED <= known <= gone for sent, gone in stopped_at)
        if call["name"] in ("region_profile", "region_questions") and call["began"] > known and not lost:
            again.append(call["body"])
        if call["status"] == 200 and call["fault"] in (None, "slow"):
            first.setdefault(call["body"], call["at"])
    return again


@pytest.mark.parametrize("faults", [0.0, 0.2], ids=["sound", "mixed faults"])
def test_killed_at_random_several_times(slow: RunningStub, clean: Path, tmp_path: Path, faults: float) -> None:
    out = tmp_path / "set"
    slow.control(faults=mixed(faults, without=("timeout",)) if faults else {})
    command = build(slow, out, "--shard-size", 3, "--set", "served.timeout=5", workers=1 if faults else 2)
    stopped, done = [], {}
    for kill in range(4):
        have = answered(slow)
        process = start(*command, STUB_KEY=KEY)
        try:
            wanted = have + random.randrange(1, 30)
            wait_for(lambda wanted=wanted, process=process: answered(slow) >= wanted or process.poll() is not None)
            if process.poll() is None:
                stopped.append(stop(slow, process, signal.SIGKILL, group=bool(kill % 2)))
        finally:
            end(process)
        now = profiled(out) if (out / ".work/attributes").exists() else {}
        assert done.items() <= now.items(), "a finished shard was made again"
        done = now
    assert len(stopped) >= 3
    run(*command, STUB_KEY=KEY)
    assert published(out) == published(clean / "profiles")
    assert asked_again(slow, stopped) == []
    if not faults:
        assert accounts(out)["regions"] <= answered(slow) <= accounts(out)["regions"] + 64 * len(stopped)


def test_questions_that_were_killed_go_on(slow: RunningStub, clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    shutil.copytree(clean / "profiles", out)
    process = start(*ask(slow, out, "--shard-size", 3), STUB_KEY=KEY)
    try:
        wait_for(lambda: answered(slow) > 25)
        stopped = stop(slow, process, signal.SIGKILL, group=True)
    finally:
        end(process)
    run(*ask(slow, out, "--shard-size", 3), STUB_KEY=KEY)
    assert published(out) == published(clean / "set")
    assert asked_again(slow, [stopped]) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_by_hand(slow: RunningStub, clean: Path, tmp_path: Path, number: int) -> None:
    """One line, exit code 130; every reply that had come is kept."""
    out = tmp_path / "set"
    process = start(*build(slow, out), STUB_KEY=KEY)
    try:
        wait_for(lambda: answered(slow) > 25)
        stop(slow, process, number, group=number == signal.SIGINT)
        errors = process.communicate(timeout=300)[1]
    finally:
        end(process)
    assert process.returncode == 130 and "Traceback" not in errors, errors
    assert errors.splitlines()[-1].startswith("slvr-data: stopped")
    had = json.loads((out / ".work/requests/ledger.json").read_bytes())["purposes"]["profile"]["replies"]
    before = answered(slow)
    assert 0 < had == before, "what was under way was waited for"
    run(*build(slow, out), STUB_KEY=KEY)
    assert published(out) == published(clean / "profiles")
    assert answered(slow) - before == accounts(out)["regions"] - had


def test_a_worker_that_is_killed(slow: RunningStub, clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    process = start(*build(slow, out, "--shard-size", 2), STUB_KEY=KEY)
    try:
        wait_for(lambda: answered(slow) > 15)
        children = psutil.Process(process.pid).children(recursive=True)
        workers = [child for child in children if any("spawn_main" in word for word in child.cmdline())]
        workers[0].kill()
        errors = process.communicate(timeout=300)[1]
    finally:
        end(process)
    assert process.returncode == 0 and "Traceback" not in errors
    assert "a worker process died" in errors
    assert published(out) == published(clean / "profiles")


def test_a_server_that_goes_away_and_comes_back(slow: RunningStub, clean: Path, tmp_path: Path) -> None:
    """The run waits for `patience`, leaves the rest unfinished, and publishes what it has."""
    out = tmp_path / "set"
    command = build(slow, out, "--shard-size", 3, "--set", "served.patience=2", workers=1)
    process = start(*command, STUB_KEY=KEY)
    try:
        wait_for(lambda: answered(slow) > 30)
        slow.kill()
        output, errors = process.communicate(timeout=300)
    finally:
        end(process)
        slow.start()
        slow.wait_drawn()
    assert process.returncode == 3 and "Traceback" not in errors, errors
    assert "regions are unfinished (no reply from any server for" in errors.splitlines()[-1]
    assert "regions published" in output and 0 < accounts(out)["published"] < accounts(out)["regions"]
    run(*command, STUB_KEY=KEY)
    assert published(out) == published(clean / "profiles")


def test_two_servers_and_one_goes_away(slow: RunningStub, clean: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    with scenes_stub(SCENES, service_ms=100, slots=4) as other:
        process = start(*build(slow, out, "--base-url", other.base_url, workers=1), STUB_KEY=KEY)
        try:
            wait_for(lambda: answered(slow) > 10 and answered(other) > 10)
            other.kill()
            errors = process.communicate(timeout=300)[1]
        finally:
            end(process)
    assert process.returncode == 0, errors
    assert published(out) == published(clean / "profiles")
