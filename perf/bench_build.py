"""Speed and memory of `slvr-bench build`: items per second and peak memory, on sets of drawn scenes of two sizes.

    python perf/bench_build.py [--source scenes:easy] [--pictures 400 2000]
    python perf/bench_build.py --set DIR --set DIR

The sets are made first, unless they are given, and are not part of what is measured. CPU time is of the whole command
less that of one which does nothing (`slvr-bench list`): start-up is the same for any set, and memory includes it.
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

from common import machine, run

COMMAND = str(Path(sys.executable).parent / "slvr-bench")


@dataclass(frozen=True)
class Built:
    """What a build made, and its cost; seconds without start-up."""

    groups: int
    items: int
    queries: int
    cpu: float
    wall: float
    peak: int
    """Bytes of the command's largest resident set."""


def cost(*arguments: object) -> tuple[float, float, int]:
    """(CPU seconds, wall seconds, peak resident bytes) of one `slvr-bench`.

    Raises:
        SystemExit: it did not end well.
    """
    started = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [COMMAND, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read().decode(errors="replace")
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"slvr-bench {' '.join(map(str, arguments))} ended with {process.returncode}: {said.strip()}")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - started, usage.ru_maxrss * 1024


def built(source: Path, out: Path, start: tuple[float, float, int]) -> Built:
    """One build of all of a set; `start` is what a command costs that does nothing."""
    cpu, wall, peak = cost("build", source, "--split", "all", "--out", out)
    accounts = json.loads((out / "bench.json").read_text())["accounts"]
    numbers = (int(accounts[name]) for name in ("groups", "items", "queries"))
    return Built(*numbers, max(1e-9, cpu - start[0]), max(1e-9, wall - start[1]), peak)


def scenes(source: str, pictures: int, out: Path) -> Path:
    """A published set of so many drawn scenes, with questions."""
    run("build-attributes", source, "--annotator", "exact", "--limit", pictures, "--seed", 7001, "--out", out)
    run("build-multiquery", out)
    return out


def table(rows: list[Built], start: tuple[float, float, int]) -> str:
    """The figures, and how they grow from the smallest set to the largest."""
    lines = [f"start-up {start[0]:.2f} s CPU, peak {start[2] >> 20} MiB"]
    lines.append(f"{'groups':>8} {'items':>8} {'queries':>8} {'CPU s':>8} {'items/s':>8} {'wall s':>8} {'peak MiB':>9}")
    for row in rows:
        lines.append(
            f"{row.groups:8,} {row.items:8,} {row.queries:8,} {row.cpu:8.2f} {row.items / row.cpu:8,.0f} "
            f"{row.wall:8.2f} {row.peak >> 20:9,}"
        )
    first, last = rows[0], rows[-1]
    if last.groups > first.groups:
        more = 1000 * (last.peak - first.peak) / (last.groups - first.groups) / 1024
        lines.append(f"of {last.groups / first.groups:.1f} times the groups: {last.cpu / first.cpu:.1f} times the CPU; "
                     f"{more:,.0f} KiB of memory per thousand groups more")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", default="scenes:easy", help="scenes:easy or scenes:full")
    parser.add_argument("--pictures", type=int, nargs="+", default=[400, 2000])
    parser.add_argument("--set", type=Path, action="append", default=[], help="a published set, in place of scenes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        sets = options.set or [scenes(options.source, n, base / f"set-{n}") for n in options.pictures]
        start = cost("list")
        rows = [built(source, base / f"bench-{place}", start) for place, source in enumerate(sets)]
    rows.sort(key=lambda row: row.groups)
    print(machine())
    print(table(rows, start))


if __name__ == "__main__":
    main()
