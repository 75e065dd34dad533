"""Size of `build-attributes` on the embedded world: memory of the process tree, and CPU per region as it grows.

    python perf/build_scenes.py [--regions 5000 100000] [--workers 2]

Memory is the sum of the resident sets of all processes, sampled ten times a second; pages that processes
share are counted in each, so the true figure is lower. Start-up is taken off CPU time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from common import Cost, machine, measured, run

REGIONS_PER_SCENE = 2.95


def build(scenes: int, workers: int, out: Path) -> tuple[Cost, int, dict[str, int]]:
    """A build of that many scenes: its cost, peak memory in bytes, and accounts."""
    scale = ["--limit", str(scenes), "--workers", str(workers)]
    cost, peak = measured(["build-attributes", "scenes:easy", *scale, "--out", str(out)])
    wall = sum(json.loads((out / "run.json").read_text())["seconds"].values())
    accounts = json.loads((out / "manifest.json").read_text())["accounts"]
    return Cost(cost.cpu, wall), peak, accounts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--regions", type=int, nargs="+", default=[5000, 100000])
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        start = run("build-attributes", "scenes:easy", "--limit", options.workers, "--workers", options.workers,
                    "--shard-size", 1, "--out", base / "start")  # fmt: skip
        print(f"start-up {start.cpu:.2f} s CPU, {options.workers} workers")
        print(f"{'regions':>9} {'pictures':>9} {'peak MiB':>9} {'CPU s':>8} {'ms/region':>10} {'wall s':>8}")
        first = None
        for regions in options.regions:
            cost, peak, accounts = build(round(regions / REGIONS_PER_SCENE), options.workers, base / str(regions))
            per_region = 1000 * (cost.cpu - start.cpu) / accounts["regions"]
            first = first or per_region
            print(
                f"{accounts['regions']:9} {accounts['pictures']:9} {peak / 2**20:9.0f} {cost.cpu:8.1f} "
                f"{per_region:10.3f} {cost.wall:8.1f}  ({per_region / first:.2f} x the first)",
                flush=True,
            )


if __name__ == "__main__":
    main()
