"""The scripts that build whole sets run, and what was killed is counted with what went on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
STEPS = ["build-attributes", "build-multiquery"]


def start(script: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(ROOT / "perf" / script), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)


def ended(process: subprocess.Popen[str]) -> str:
    said, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors[-3000:]
    return said


def noted(out: Path) -> Any:
    file = out.with_name(f"{out.name}.whole.json")
    return json.loads(file.read_bytes()) if file.exists() else {"runs": {}, "over": {}}


def killed(out: Path, step: str) -> list[dict[str, float]]:
    """The figures of a run that is killed, with the command below it, while it is in `step`."""
    process = start("whole.py", "--regions", 9, "--slots", 4, "--workers", 1, "--out", out)
    while not (out / ".work/settings.json").exists() or not any(r["cpu"] for r in noted(out)["runs"].get(step, [])):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    runs: list[dict[str, float]] = noted(out)["runs"][step]
    assert runs[-1]["wall"] > 0 and step not in noted(out)["over"]
    return runs


@pytest.mark.slow
def test_the_whole_of_a_set_killed_in_both_steps(tmp_path: Path) -> None:
    out = tmp_path / "set"
    first = killed(out, STEPS[0])
    second = killed(out, STEPS[1])
    over = noted(out)["over"][STEPS[0]]
    said = ended(start("whole.py", "--regions", 9, "--slots", 4, "--workers", 1, "--out", out))
    found = noted(out)
    assert found["over"][STEPS[0]] == over and 0 < over["calls"] < found["over"][STEPS[1]]["calls"]
    for step, before in zip(STEPS, (first, second), strict=True):
        runs = found["runs"][step]
        assert runs[: len(before)] == before and len(runs) == len(before) + 1
        line = next(line.split() for line in said.splitlines() if line.startswith(step))
        wall, cpu, peak = float(line[1]), float(line[3]), float(line[5])
        assert wall == pytest.approx(sum(run["wall"] for run in runs), abs=0.51)
        assert cpu == pytest.approx(sum(run["cpu"] for run in runs), abs=0.51)
        assert peak == pytest.approx(max(run["peak"] for run in runs) / 2**20, abs=0.51)
    calls = [int(line.split()[-1]) for line in said.splitlines() if line.startswith(tuple(STEPS))]
    total = json.loads((out / "run.json").read_bytes())["requests"]["total"]
    assert calls[0] == over["calls"] and sum(calls) == total["calls"]


@pytest.mark.slow
def test_what_grows_with_a_set_is_measured(tmp_path: Path) -> None:
    said = ended(start("size.py", "--regions", 200, 300, "--keep", tmp_path, "--steps", "read", "publish", "stats"))
    assert "per thousand regions more, " in said
    for step in ("read", "publish", "stats"):
        assert sum(step in line.split() for line in said.splitlines()) == 3
