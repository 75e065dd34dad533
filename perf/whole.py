"""The whole of a set of the paper's size against the stub of the tests: both served builds, once.

    python perf/whole.py [--regions 400000] [--slots 64] [--workers 2] [--out FOLDER]      # or: make big

Embedded scenes; profiles and questions are asked of a stub that answers from the scenes, so what is measured is all but
the model: reading, cropping, encoding, calls, checks, the publication. Memory is the sum of the resident sets of all
processes of the command, sampled; pages that they share are counted in each. The tokens are the stub's (one per
28 x 28 pixels and per four characters). What GPUs would need for them is an estimate from two rates that are assumed:
put those of your model and server with --prompt-rate and --completion-rate.

With --out, what each run of a step has used is noted beside the set, in `FOLDER.whole.json`: the same command goes on
after a kill, and its figures are those of all runs together, but for the last seconds before a kill.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil
from common import COMMAND, Memory, machine, measured

sys.path.insert(0, str(Path(__file__).parents[1]))

from slvr_data.files import write_atomic
from tests.servers.running import RunningStub, running_stub

REGIONS_PER_SCENE = 4.4
WHOLE = 400_000
GPUS = (8, 64)
NOTED_SECONDS = 1.0


@dataclass
class Run:
    """Of a command, to its end or until it was killed."""

    wall: float = 0
    cpu: float = 0
    peak: int = 0


@dataclass(frozen=True)
class Step:
    """One of the two commands, all its runs together."""

    name: str
    wall: float
    cpu: float
    peak: int
    tokens: dict[str, int]
    """Prompt, cached (of the prompt) and completion tokens, and calls."""


class Noted:
    """The runs of each step, kept in a file beside the set; and after which tokens a step was over."""

    def __init__(self, out: Path, scenes: int) -> None:
        self._file, self._scenes = out.with_name(f"{out.name}.whole.json"), scenes
        known = json.loads(self._file.read_bytes()) if self._file.exists() else {}
        if known.get("scenes") != scenes or (known["over"] and not out.exists()):  # another set
            known = {}
        self.runs = {name: [Run(**run) for run in runs] for name, runs in known.get("runs", {}).items()}
        self.over: dict[str, dict[str, int]] = known.get("over", {})

    def begin(self, name: str) -> Run:
        self.runs.setdefault(name, []).append(Run())
        return self.runs[name][-1]

    def save(self) -> None:
        runs = {name: [asdict(run) for run in runs] for name, runs in self.runs.items()}
        known = {"scenes": self._scenes, "runs": runs, "over": self.over}
        write_atomic(self._file, json.dumps(known, indent=1).encode())

    def step(self, name: str, before: dict[str, int]) -> Step:
        """A step that is over."""
        runs = self.runs[name]
        spent = {token: count - before.get(token, 0) for token, count in self.over[name].items()}
        wall, cpu = sum(run.wall for run in runs), sum(run.cpu for run in runs)
        return Step(name, wall, cpu, max(run.peak for run in runs), spent)


class Noting(threading.Thread):
    """Notes every second what the command below this process has used so far, as both may be killed."""

    def __init__(self, run: Run, save: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self._run, self._save = run, save
        self._over = threading.Event()

    def run(self) -> None:
        started, memory = time.monotonic(), None
        while not self._over.wait(NOTED_SECONDS):
            try:
                commands = [child for child in psutil.Process().children() if COMMAND in child.cmdline()]
                processes = [one for command in commands for one in (command, *command.children(recursive=True))]
                cpu = sum(sum(process.cpu_times()[:4]) for process in processes)  # of children that ended, too
                if memory is None and commands:
                    memory = Memory(commands[0].pid)
                    memory.start()
            except psutil.Error:  # one of them has just ended
                continue
            self._run.wall, self._run.cpu = time.monotonic() - started, max(cpu, self._run.cpu)
            self._run.peak = memory.peak if memory is not None else 0
            self._save()
        if memory is not None:
            memory.stop()

    def stop(self) -> None:
        self._over.set()
        self.join()


def commands(stub: RunningStub, out: Path, scenes: int, workers: int) -> list[list[str]]:
    served = ["--annotator", "served", "--base-url", stub.base_url, "--model", "stub-vl", "--workers", str(workers)]
    profiles = ["build-attributes", "scenes:full", "--limit", str(scenes), "--out", str(out)]
    return [[*profiles, *served], ["build-multiquery", str(out), *served]]


def step(arguments: list[str], out: Path, noted: Noted) -> None:
    """Run a command to its end, if it has not ended before."""
    name = arguments[0]
    if name in noted.over:
        return
    run = noted.begin(name)
    noting = Noting(run, noted.save)
    noting.start()
    try:
        cost, peak = measured(arguments)
    finally:
        noting.stop()
    run.wall, run.cpu, run.peak = cost.wall, cost.cpu, peak
    noted.over[name] = tokens_of(out)
    noted.save()


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
        out.parent.mkdir(parents=True, exist_ok=True)
        noted, steps, before = Noted(out, scenes), list[Step](), dict[str, int]()
        for arguments in commands(stub, out, scenes, o.workers):
            step(arguments, out, noted)
            steps.append(noted.step(arguments[0], before))
            before = noted.over[arguments[0]]
        tell(steps, json.loads((out / "manifest.json").read_bytes())["accounts"], o)


if __name__ == "__main__":
    main()
