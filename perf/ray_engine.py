"""The Ray engine against the local one, on two workers of one machine, and what one driver carries.

    python perf/ray_engine.py [--regions 20000] [--served 2000] [--rounds 1]

Scenes are built by `--engine local --workers 2` and by a running Ray cluster of two nodes with one worker each, in
turns. Wall seconds are those of the command's phases (`run.json`), less those of a build of two scenes: the start of
processes and the loading of libraries. CPU seconds are those of all processes, Ray's own included, less the same. The
bar is 1.15 times the local engine's. The cost of a shard is the slope between shards of 64 and of 4 pictures.

"--served": the stub of the tests answers at once, from many slots; a reply's CPU seconds in the driver say how many
replies per second one driver carries, whatever the servers could do.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from common import COMMAND, machine

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.clusters import cluster
from tests.servers.running import running_stub

REGIONS_PER_SCENE = 2.95
LARGE, SMALL = 64, 4
"""Pictures per shard."""


@dataclass(frozen=True)
class Told:
    """Of one command: wall seconds of its phases, CPU seconds of its own process with those it started, and all."""

    wall: float
    driver: float
    cpu: float
    accounts: dict[str, int]


class Ray(threading.Thread):
    """A cluster, and the CPU seconds that its processes have used, looked at ten times a second."""

    def __init__(self, made: Any) -> None:
        super().__init__(daemon=True)
        self.options = ["--engine", "ray", "--ray-address", made.address]
        nodes = made.list_all_nodes()
        self._roots = [psutil.Process(i.process.pid) for n in nodes for found in n.all_processes.values()
                       for i in found]  # fmt: skip
        self._used: dict[psutil.Process, float] = {}
        self._lock = threading.Lock()
        self.start()

    def run(self) -> None:
        while True:
            self.cpu()
            time.sleep(0.1)

    def cpu(self) -> float:
        """Seconds so far; workers that have ended count with what they had used when they were last seen."""
        for root in self._roots:
            with self._lock, contextlib.suppress(psutil.Error):  # a process that ends meanwhile
                for process in (root, *root.children(recursive=True)):
                    with contextlib.suppress(psutil.Error):
                        times = process.cpu_times()
                        self._used[process] = times.user + times.system
        return sum(self._used.values())


def build(out: Path, scenes: int, shard: int, engine: list[str], ray: Ray, *more: str) -> Told:
    """One build of that many scenes."""
    words = ["build-attributes", "scenes:easy", "--limit", str(scenes), "--shard-size", str(shard), "--out", str(out)]
    before = ray.cpu()
    with subprocess.Popen([COMMAND, *words, *engine, *more], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          env=os.environ | {"OMP_NUM_THREADS": "1"}) as process:  # fmt: skip
        assert process.stderr is not None
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"slvr-data {' '.join(words)} ended with {process.returncode}: {errors.decode()[-2000:]}")
    wall = sum(json.loads((out / "run.json").read_bytes())["seconds"].values())
    driver = usage.ru_utime + usage.ru_stime
    accounts = json.loads((out / "manifest.json").read_bytes())["accounts"]
    return Told(wall, driver, driver + ray.cpu() - before, accounts)


def over(one: float, other: float, digits: int = 0) -> str:
    """The quotient; unknown where so little was built that start-up, which is taken off, hides it."""
    return f"{one / other:.{digits}f}" if one > 0 and other > 0 else "unknown"


def engines(base: Path, ray: Ray, regions: int, rounds: int) -> None:
    """Both engines in turns; the median of the rounds."""
    scenes = round(regions / REGIONS_PER_SCENE)
    found: dict[tuple[str, int], list[Told]] = {}
    starts: dict[str, Told] = {}
    for name, options in (("local", ["--workers", "2"]), ("ray", ray.options)):
        starts[name] = build(base / f"start-{name}", 2, 1, options, ray)
        print(f"{name:>6}: start-up {starts[name].wall:.1f} s, {starts[name].cpu:.1f} s CPU", flush=True)
    for number in range(rounds):
        for shard in (LARGE, SMALL):
            for name, options in (("local", ["--workers", "2"]), ("ray", ray.options)):
                told = build(base / f"{name}-{shard}-{number}", scenes, shard, options, ray)
                found.setdefault((name, shard), []).append(told)
    regions = found["local", LARGE][0].accounts["regions"]
    print(f"{regions} regions; less start-up:\n{'':>12} {'shards of':>10} {'wall s':>8} {'CPU s':>8}")
    spent: dict[tuple[str, int], tuple[float, float]] = {}
    for (name, shard), all_told in found.items():
        wall = statistics.median(told.wall for told in all_told) - starts[name].wall
        cpu = statistics.median(told.cpu for told in all_told) - starts[name].cpu
        spent[name, shard] = wall, cpu
        print(f"{name:>12} {shard:>10} {wall:8.1f} {cpu:8.1f}")
    for shard in (LARGE, SMALL):
        mine, theirs = spent["ray", shard], spent["local", shard]
        found_wall, found_cpu = (over(one, other, 2) for one, other in zip(mine, theirs, strict=True))
        print(f"ray / local, shards of {shard}: wall {found_wall}, CPU {found_cpu} (bar 1.15)")
    shards = scenes / SMALL - scenes / LARGE
    for name in ("local", "ray"):
        more = 1000 * (spent[name, SMALL][1] - spent[name, LARGE][1]) / shards
        print(f"{name:>6}: a shard more costs {more:.1f} ms of CPU")


def served(base: Path, ray: Ray, regions: int) -> None:
    """What the driver spends on a reply, with either engine."""
    scenes = round(regions / REGIONS_PER_SCENE)
    with running_stub(scenes=f"easy:{scenes}", service_ms=1, slots=256) as stub:
        stub.wait_drawn()
        asked = ["--annotator", "served", "--base-url", stub.base_url, "--model", "stub-vl"]
        start = build(base / "served-start", 2, 1, ray.options, ray, *asked)
        told = build(base / "served", scenes, 16, ray.options, ray, *asked)
    more = told.accounts["regions"] - start.accounts["regions"]
    wall, cpu = told.wall - start.wall, told.driver - start.driver
    print(f"served by ray: {over(more, wall)} replies/s with the publication")
    print(f"{over(1000 * cpu, more, 2)} ms of the driver's CPU a reply: one driver carries {over(more, cpu)} replies/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, default=20000, help="0: leave the comparison out")
    parser.add_argument("--served", type=int, default=2000, help="regions; 0: leave it out")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    print(machine())
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, cluster(2) as made:
        print(f"the cluster was up after {time.monotonic() - started:.1f} s", flush=True)
        ray = Ray(made)
        if options.regions:
            engines(Path(folder), ray, options.regions, options.rounds)
        if options.served:
            served(Path(folder), ray, options.served)


if __name__ == "__main__":
    main()
