"""Served builds against the stub: through faults, through kills, and at size.

    python perf/served_build.py [--regions 5000] [--faults 0.2] [--kills 10] [--workers 2] [--slots 64]
    python perf/served_build.py --regions 40000 --faults 0 --kills 0

Three builds of the same scenes, profiles and questions: one without faults, one with all kinds of faults mixed at a
set rate, and one whose process group is killed at random moments and started again. Published files must be the
same, but for regions that ran out of attempts; the stub's own log tells how many calls were answered and how many
of them were asked again. Memory is the sum of the resident sets of all processes of the command.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import COMMAND, Memory, machine

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.servers.faults import mixed
from tests.servers.running import RunningStub, running_stub

REGIONS_PER_SCENE = 4.4
LEVEL = "full"
KEPT = (0, 3)
"""Exit codes after which a set is there: whole, or with something unfinished."""


@dataclass
class Told:
    """What one build came to."""

    seconds: float = 0.0
    peak: int = 0
    kills: int = 0
    runs: int = 0
    accounts: dict[str, int] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    calls: dict[str, Any] = field(default_factory=dict)


def commands(stub: RunningStub, out: Path, scenes: int, workers: int) -> list[list[str]]:
    """The two builds."""
    served = ["--annotator", "served", "--base-url", stub.base_url, "--model", "stub-vl", "--workers", str(workers)]
    settings = ["--set", "served.timeout=3", "--set", "served.attempts=8", "--set", "served.transport_retries=20"]
    profiles = ["build-attributes", f"scenes:{LEVEL}", "--limit", str(scenes), "--out", str(out)]
    return [[COMMAND, *profiles, *served, *settings], [COMMAND, "build-multiquery", str(out), *served, *settings]]


def once(command: list[str], told: Told, kill_after: float | None) -> bool:
    """One run of a command, killed after some seconds; whether it came to its end."""
    started = time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, start_new_session=True
    )
    memory = Memory(process.pid)
    memory.start()
    told.runs += 1
    try:
        _, errors = process.communicate(timeout=kill_after)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        told.kills += 1
        return False
    finally:
        told.seconds += time.monotonic() - started
        told.peak = max(told.peak, memory.stop())
    if process.returncode not in KEPT:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {errors.decode()[-500:]}")
    return process.returncode == 0


def build(stub: RunningStub, out: Path, scenes: int, workers: int, kills: int, seconds: float) -> Told:
    """Both commands, each until it ends with nothing left open; `kills` of their runs end by SIGKILL."""
    told, dice = Told(), random.Random(0)
    stub.control(reset=True)
    for command in commands(stub, out, scenes, workers):
        left = kills // 2
        while not once(command, told, dice.uniform(2, max(4, seconds / 4)) if left else None):
            left -= left > 0
    manifest = json.loads((out / "manifest.json").read_bytes())
    told.accounts = manifest["accounts"]
    told.files = {file["path"]: file["sha256"] for file in manifest["files"]}
    told.calls = stub.log(bodies=True)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=5000)
    parser.add_argument("--faults", type=float, default=0.2)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--slots", type=int, default=64)
    o = parser.parse_args()
    scenes = round(o.regions / REGIONS_PER_SCENE)
    print(machine())
    cases = [("no faults", 0.0, 0), (f"{o.faults:.0%} faults", o.faults, 0), (f"{o.kills} kills", o.faults, o.kills)]
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stub(scenes=f"{LEVEL}:{scenes}", slots=o.slots, processes=2) as stub,
    ):
        stub.wait_drawn(3600)
        print(f"{'case':<12} {'regions':>8} {'rejected':>8} {'queries':>8} {'wall s':>7} {'runs':>5} {'peak MiB':>9} "
              f"{'calls':>8}  published as without faults")  # fmt: skip
        first: Told | None = None
        for name, rate, kills in cases:
            if (name != "no faults" and not rate and not kills) or (kills == 0 and "kills" in name):
                continue
            stub.control(faults=mixed(rate, ("slow",)) if rate else {})
            told = build(
                stub, Path(folder) / name.replace(" ", "-"), scenes, o.workers, kills, first.seconds if first else 0
            )
            first = first or told
            accounts = told.accounts
            same = "-" if told is first else "yes" if told.files == first.files else "NO"
            print(
                f"{name:<12} {accounts['regions']:8} {accounts['rejected']:8} {accounts['queries_published']:8} "
                f"{told.seconds:7.0f} {told.runs:5} {told.peak / 2**20:9.0f} {told.calls['calls']:8}  {same}",
                flush=True,
            )


if __name__ == "__main__":
    main()
