"""The whole of a set of the paper's size against the stub of the tests: both served builds, once.

    python perf/whole.py [--regions 400000] [--slots 64] [--workers 2] [--out FOLDER]      # or: make big

Embedded scenes; profiles and questions are asked of a stub that answers from the scenes, so what is measured is all but
the model: reading, cropping, encoding, calls, checks, the publication. Memory is the sum of the resident sets of all
processes of the command, sampled; pages that they share are counted in each. The tokens are the stub's (one per
28 x 28 pixels and per four characters). What GPUs would need for them is an estimate from two rates that are assumed:
put those of your model and server with --prompt-rate and --completion-rate.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common import COMMAND, Memory, machine

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.servers.running import RunningStub, running_stub

REGIONS_PER_SCENE = 4.4
WHOLE = 400_000
GPUS = (8, 64)


@dataclass(frozen=True)
class Step:
    """One of the two commands."""

    name: str
    wall: float
    cpu: float
    peak: int
    tokens: dict[str, int]
    """Prompt, cached (of the prompt) and completion tokens, and calls."""


def commands(stub: RunningStub, out: Path, scenes: int, workers: int) -> list[list[str]]:
    served = ["--annotator", "served", "--base-url", stub.base_url, "--model", "stub-vl", "--workers", str(workers)]
    profiles = ["build-attributes", "scenes:full", "--limit", str(scenes), "--out", str(out)]
    return [[*profiles, *served], ["build-multiquery", str(out), *served]]


def step(arguments: list[str], out: Path, before: dict[str, int]) -> Step:
    """Run a command to its end."""
    started = time.monotonic()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen([COMMAND, *arguments], stdout=subprocess.DEVNULL, env=environment) as process:
        memory = Memory(process.pid)
        memory.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    peak = memory.stop()
    if process.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {process.returncode}")
    after = tokens_of(out)
    spent = {name: after[name] - before.get(name, 0) for name in after}
    return Step(arguments[0], time.monotonic() - started, usage.ru_utime + usage.ru_stime, peak, spent)


def tokens_of(out: Path) -> dict[str, int]:
    """What all calls so far have used."""
    total: dict[str, Any] = json.loads((out / "run.json").read_bytes())["requests"]["total"]
    return {name: total[name] for name in ("calls", "prompt_tokens", "cached_tokens", "completion_tokens")}


def gpu_hours(steps: list[Step], regions: int, prompt_rate: float, completion_rate: float) -> float:
    """Of `WHOLE` regions: prompt tokens that no cache holds and completion tokens, each at its rate per GPU."""
    spent = {name: sum(one.tokens[name] for one in steps) for name in steps[0].tokens}
    computed = (spent["prompt_tokens"] - spent["cached_tokens"]) / prompt_rate
    return (computed + spent["completion_tokens"] / completion_rate) / 3600 * WHOLE / regions


def tell(steps: list[Step], accounts: dict[str, int], o: argparse.Namespace) -> None:
    regions = accounts["regions"]
    print(f"{regions:,} regions, {accounts['rejected']:,} rejected, {accounts['queries_published']:,} questions")
    print(f"{'':18} {'wall s':>8} {'regions/s':>9} {'client CPU s':>12} {'ms/region':>9} {'peak MiB':>9} {'calls':>8}")
    for one in steps:
        print(
            f"{one.name:18} {one.wall:8.0f} {regions / one.wall:9.1f} {one.cpu:12.0f} {1000 * one.cpu / regions:9.2f} "
            f"{one.peak / 2**20:9.0f} {one.tokens['calls']:8}"
        )
        names = ("prompt_tokens", "cached_tokens", "completion_tokens")
        print(f"{'':18} per region: " + ", ".join(f"{one.tokens[n] / regions:,.0f} {n.split('_')[0]}" for n in names))
    cpu = sum(one.cpu for one in steps) / regions * WHOLE / 3600
    hours = gpu_hours(steps, regions, o.prompt_rate, o.completion_rate)
    print(f"\nestimate for {WHOLE:,} regions: {cpu:.1f} hours of one processor for the client")
    rates = f"{o.prompt_rate:,.0f} uncached prompt and {o.completion_rate:,.0f} completion tokens/s per GPU, assumed"
    print(f"at {rates}: {hours:,.0f} GPU hours; " + ", ".join(f"{n} GPUs {hours / n:,.1f} h" for n in GPUS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=WHOLE)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, help="build here, and leave it; the same command goes on after a kill")
    parser.add_argument("--prompt-rate", type=float, default=10_000.0)
    parser.add_argument("--completion-rate", type=float, default=1_500.0)
    o = parser.parse_args()
    scenes = round(o.regions / REGIONS_PER_SCENE)
    print(machine(), flush=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_stub(scenes=f"full:{scenes}", slots=o.slots, processes=2) as stub,
    ):
        stub.wait_drawn(24 * 3600)
        out = o.out or Path(folder) / "set"
        steps: list[Step] = []
        before = tokens_of(out) if (out / "run.json").exists() else {}
        for arguments in commands(stub, out, scenes, o.workers):
            steps.append(step(arguments, out, before))
            before = tokens_of(out)
        tell(steps, json.loads((out / "manifest.json").read_bytes())["accounts"], o)


if __name__ == "__main__":
    main()
