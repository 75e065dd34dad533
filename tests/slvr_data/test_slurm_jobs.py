"""Locks that processes of Slurm jobs leave on other nodes: respected until it is certain that the job has ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from slvr_data.errors import UsageError
from slvr_data.lock import Lock, holder
from slvr_data.slurm import job_here

KILLED = """
import os, signal, sys
from pathlib import Path
from slvr_data.lock import Lock
with Lock(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""
VARIABLES = ("JOB_ID", "ARRAY_JOB_ID", "ARRAY_TASK_ID", "RESTART_COUNT", "CLUSTER_NAME")
ANSWERS = {
    "running": 'echo "$2 R a-node"',
    "over": "true",
    "forgotten": "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1",
    "away": "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1",
}
"""Of `squeue`, in words and by its exit code."""


def job(monkeypatch: pytest.MonkeyPatch, name: str, restarts: int = 0, cluster: str = "one", node: str = "n") -> None:
    """This process, and those it starts, are of that job; an array's task as ARRAY_TASK."""
    array, _, task = name.partition("_")
    told = ("901" if task else name, array if task else "", task, str(restarts or ""), cluster)
    for variable, value in zip(VARIABLES, told, strict=True):
        monkeypatch.setenv(f"SLURM_{variable}", value)
    monkeypatch.setenv("SLURMD_NODENAME", node)


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that a killed process of job 7_3 left on another node."""
    job(monkeypatch, "7_3", restarts=1)
    path = tmp_path / "set/.work/lock"
    path.parent.mkdir(parents=True)
    done = subprocess.run([sys.executable, "-c", KILLED, path], check=False, timeout=300)
    assert done.returncode == -signal.SIGKILL
    left = json.loads(path.read_text())
    assert left["job"] == {"id": "7_3", "restarts": 1, "cluster": "one", "user": os.getuid()}
    path.write_text(json.dumps(left | {"host": "elsewhere"}))
    return path


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file where a `squeue` writes what it is asked; it answers "running" until it is told another word."""
    command = tmp_path / "bin/squeue"
    command.parent.mkdir()
    monkeypatch.setenv("PATH", str(command.parent), prepend=os.pathsep)
    answer(command, "running")
    return tmp_path / "asked"


def answer(command: Path, how: str) -> None:
    command.write_text(f'#!/bin/sh\necho "$*" >> "{command.parent.parent}/asked"\n{ANSWERS[how]}\n')
    command.chmod(0o755)


def taken(lock: Path) -> bool:
    before = lock.read_text()
    try:
        with Lock(lock) as mine:
            assert str(mine.took_over).endswith("on elsewhere (Slurm job 7_3)")
    except UsageError as error:
        assert "on elsewhere (Slurm job 7_3), another host" in str(error)
        assert lock.read_text() == before
        return False
    return True


@pytest.mark.parametrize(("how", "free"), [("running", False), ("over", True), ("forgotten", True), ("away", False)])
def test_another_job_asks_slurm(lock: Path, asked: Path, monkeypatch: pytest.MonkeyPatch, how: str, free: bool) -> None:
    job(monkeypatch, "9")
    answer(asked.parent / "bin/squeue", how)
    assert taken(lock) == free
    assert asked.read_text() == "--noheader --jobs=7_3\n"


@pytest.mark.parametrize(("restarts", "free"), [(1, False), (2, True)])
def test_the_job_itself_knows(
    lock: Path, asked: Path, monkeypatch: pytest.MonkeyPatch, restarts: int, free: bool
) -> None:
    """Started again, it is the only one; of the same start, another of its nodes may hold the lock."""
    job(monkeypatch, "7_3", restarts)
    assert taken(lock) == free
    assert not asked.exists()


def test_where_its_word_is_worth_nothing(lock: Path, asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another cluster's numbers mean other jobs, other users' jobs may be hidden, and a login node is no job."""
    answer(asked.parent / "bin/squeue", "over")
    job(monkeypatch, "9", cluster="two")
    assert not taken(lock)
    job(monkeypatch, "9", node="")
    assert job_here() is None and not taken(lock)
    job(monkeypatch, "9")
    left = json.loads(lock.read_text())
    lock.write_text(json.dumps(left | {"job": left["job"] | {"user": os.getuid() + 1}}))
    assert not taken(lock)
    assert not asked.exists()
    monkeypatch.setenv("PATH", "/nowhere")
    lock.write_text(json.dumps(left))
    assert not taken(lock)


def test_a_lock_that_is_held_is_not_asked_about(lock: Path, asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel knows better."""
    answer(asked.parent / "bin/squeue", "over")
    job(monkeypatch, "9")
    with Lock(lock):
        assert str(holder(lock)).endswith("(Slurm job 9)")
        with pytest.raises(UsageError, match=r"is being written by process \d+ on .* \(Slurm job 9\): wait for it"):
            Lock(lock).__enter__()
    assert asked.read_text().count("\n") == 1, "for the first one alone"
