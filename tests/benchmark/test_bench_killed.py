"""SIGKILL in the middle of a run: what was reported is in the log, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmark.runlog import read_log

ROOT = Path(__file__).parents[2]
CHILD = """
import sys
from pathlib import Path
from benchmark.asks import Asks
from benchmark.models.base import ModelOptions
from benchmark.run import ask_all, header_of
from benchmark.runlog import open_log
from tests.benching import Stub, plan, shelf

asks = Asks(shelf(40), plan("circular"))
model = Stub(seconds=float(sys.argv[2]))
with open_log(Path(sys.argv[1]), header_of(asks.bench, model, asks, ModelOptions())) as log:
    print("left", len(asks) - len(log.done), flush=True)
    ask_all(model, asks.asks(log.done), log, lambda outcome: print("line", flush=True))
print("asked", len(model.seen), flush=True)
"""
ASKS = 40 * 2 * 4


def start(folder: Path, seconds: float = 0.002) -> subprocess.Popen[str]:
    """A run of `ASKS` asks, each of which takes so long."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, folder, str(seconds)],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip


def test_killed_and_taken_up(tmp_path: Path) -> None:
    before = 0
    for after in (1, 20, 150):
        child = start(tmp_path)
        assert child.stdout is not None
        assert child.stdout.readline() == f"left {ASKS - before}\n"
        for _ in range(after):
            assert child.stdout.readline() == "line\n"
        child.send_signal(signal.SIGKILL)
        reported = after + child.stdout.read().count("line\n")
        child.wait()
        found = read_log(tmp_path)
        assert found.damaged == 0
        assert before + reported <= len(found.lines) <= before + reported + 1  # one may be written and not yet told
        before = len(found.lines)
    child = start(tmp_path)
    said = child.communicate(timeout=120)[0]
    assert child.returncode == 0 and f"asked {ASKS - before}\n" in said
    lines = read_log(tmp_path).lines
    assert len(lines) == len({line.ask_id for line in lines}) == ASKS
    assert all(line.correct for line in lines)


def test_it_can_be_read_while_it_grows(tmp_path: Path) -> None:
    child = start(tmp_path, seconds=0.008)
    sizes = []
    until = time.monotonic() + 60
    while child.poll() is None and time.monotonic() < until:
        if (tmp_path / "run.jsonl").exists() and (tmp_path / "run.jsonl").stat().st_size:
            log = read_log(tmp_path)
            assert log.damaged == 0 and log.header.asks == ASKS
            sizes.append(len(log.lines))
        time.sleep(0.01)
    assert child.communicate()[0].count("line\n") == ASKS and child.returncode == 0
    assert sizes == sorted(sizes) and len(set(sizes)) > 5
