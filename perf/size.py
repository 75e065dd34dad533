"""What grows with a set: time and memory of everything that looks at the whole of it, at several sizes.

    python perf/size.py [--regions 50000 400000] [--keep FOLDER] [--steps resume barrier publish ...]

Sets of so many regions are made of one of 60 embedded scenes, without annotating anything (`many_regions.py`): first
the working folder, then, by the step `publish`, the published files. Each step runs in a process of its own. CPU is
that process's, start-up and imports included. Memory is the peak of what it holds above one that has done the same with
60 pictures; pages of mapped files, which the system takes back as it needs them, are not counted (Linux only). The last
lines say how much of each a thousand regions more cost, between the smallest and the largest size.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from common import machine, run
from many_regions import grow

Step = Callable[[Path], dict[str, Any]]
SAMPLE = 1000


def read(folder: Path) -> dict[str, Any]:
    """Reading a file of JSON lines with as many rows as the set has, a hundred a picture, by one worker."""
    import pyarrow.parquet as pq
    from PIL import Image

    from pipelines.config import BuildConfig
    from pipelines.engines import open_engine
    from pipelines.progress import Progress
    from pipelines.reading import read_sources
    from slvr_data.sources.base import SourceConfig

    rows = sum(pq.read_metadata(path).num_rows for path in (folder / ".work/plan").glob("*/*.parquet"))
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        for number in range(-(-rows // 100)):
            Image.new("RGB", (64, 64), (number % 256, number // 256 % 256, 0)).save(root / f"{number:06d}.png")
        with (root / "rows.jsonl").open("w") as file:
            for number in range(rows):
                row = {"image": f"{number // 100:06d}.png", "bbox": [number % 10, number % 9, 60, 50], "label": "cup"}
                file.write(json.dumps(row) + "\n")
        source = SourceConfig(kind="jsonl", name="rows", annotations=[root / "rows.jsonl"], images=root)
        config = BuildConfig(out=root / "set", sources=[source])
        progress = Progress(root / "progress.json")
        with open_engine("local", config.ray, config, root, 1, progress.say) as engine:
            tables = read_sources([source], config, root, engine, progress, defaultdict(float))
        assert sum(table.num_rows for table in tables.values()) == rows
    return {"rows": rows}


def resume(folder: Path) -> dict[str, Any]:
    """What a build that finds everything done does before its first call: plan, what is finished, what is open."""
    from pipelines.build import make_plan
    from pipelines.finished import Finished
    from pipelines.history import history_of
    from pipelines.partitions import load_partitions
    from pipelines.republish import config_of, known_settings

    work = folder / ".work"
    config = config_of(known_settings(folder, work), folder)
    plan = make_plan(config, load_partitions(work / "plan"), history_of(folder, work))
    finished = Finished(work)
    started = time.process_time()
    assert all(finished.open_work(picture) is None for picture in plan.pictures())
    pictures = len(plan.image_ids)
    return {"us per picture that is looked up": 1e6 * (time.process_time() - started) / pictures}


def barrier(folder: Path) -> dict[str, Any]:
    """The global checks of the set, from its working folder."""
    from pipelines import barrier as of
    from pipelines.build import make_plan
    from pipelines.finished import Finished
    from pipelines.history import history_of
    from pipelines.outcome import Outcomes
    from pipelines.partitions import load_partitions
    from pipelines.progress import Progress
    from pipelines.republish import config_of, known_settings

    work = folder / ".work"
    config = config_of(known_settings(folder, work), folder)
    history = history_of(folder, work)
    plan = make_plan(config, load_partitions(work / "plan"), history)
    finished = Finished(work)
    outcomes = Outcomes(finished, config.annotator, None)
    seen = ((picture, outcomes.of(picture)) for picture in plan.pictures())
    with Progress(work / "progress.json").phase("comparing", "pictures", len(plan.image_ids)) as counting:
        found = of.look(plan, finished, seen, history, counting)
    return {"regions turned away": len(found.reasons)}


def publish(folder: Path) -> dict[str, Any]:
    """`slvr-data publish`."""
    from pipelines.republish import republish

    return {"published": republish(folder, {}, None)["published"]}


def opened(folder: Path) -> dict[str, Any]:
    """The manifest, and the first picture with its regions."""
    from slvr_data.manifest import load_manifest
    from slvr_data.reader import published_pictures

    started = time.perf_counter()
    next(published_pictures(folder, load_manifest(folder)))
    return {"first picture after, s": time.perf_counter() - started}


def stream(folder: Path) -> dict[str, Any]:
    """All pictures with their regions, one by one."""
    from slvr_data.manifest import load_manifest
    from slvr_data.reader import published_pictures

    return {"regions": sum(len(p.regions) for p in published_pictures(folder, load_manifest(folder)))}


def _command(*arguments: str) -> Step:
    def step(folder: Path) -> dict[str, Any]:
        from pipelines.cli import app

        name, *more = arguments
        if name == "preview":
            more = [*more, "--html", str(folder / ".work/preview.html")]
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            app([name, str(folder), *more], standalone_mode=False)
        return {}

    return step


STEPS: dict[str, Step] = {
    "read": read,
    "resume": resume,
    "barrier": barrier,
    "publish": publish,
    "open": opened,
    "stream": stream,
    "stats": _command("stats"),
    "preview": _command("preview"),
    f"validate --sample {SAMPLE}": _command("validate", "--sample", str(SAMPLE)),
    "validate": _command("validate"),
}  # in this order


class Held(threading.Thread):
    """Samples the anonymous memory of this process."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._over = threading.Event()
        self.peak = 0.0

    def run(self) -> None:
        while not self._over.wait(0.02):
            self._look()

    def _look(self) -> None:
        told = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
        assert told is not None
        self.peak = max(self.peak, int(told[1]) / 2**10)

    def stop(self) -> float:
        """The greatest so far, MiB."""
        self._over.set()
        self.join()
        self._look()
        return self.peak


def measured(name: str, folder: Path) -> dict[str, Any]:
    """Run a step in a process of its own: what it tells, CPU seconds, wall seconds and its peak in MiB."""
    command = [sys.executable, __file__, "--step", name, str(folder)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise SystemExit(f"{name} ended with {done.returncode}: {done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found | {"wall s": time.perf_counter() - started}


def _child(name: str, folder: Path) -> None:
    held = Held()
    held.start()
    found = STEPS[name](folder)
    print(json.dumps(found | {"cpu s": time.process_time(), "peak": held.stop()}))


def table(sizes: list[int], steps: list[str], base: Path) -> None:
    """Make the sets, run the steps, print."""
    seed = base / "seed"
    if not seed.exists():
        run("build-attributes", "scenes:easy", "--limit", 60, "--out", seed)
        run("build-multiquery", seed)
    start = {name: measured(name, seed) for name in steps}
    found: dict[int, dict[str, dict[str, Any]]] = {}
    print(f"{'regions':>9}  {'step':<24} {'CPU s':>8} {'wall s':>8} {'MiB more':>9}")
    for size in sizes:
        folder = base / str(size)
        regions = grow(seed, folder, size) if not folder.exists() else size
        found[regions] = {}
        for name in steps:
            one = found[regions][name] = measured(name, folder)
            more = ", ".join(f"{k} {v:,.3g}" for k, v in one.items() if k not in ("cpu s", "wall s", "peak"))
            memory = one["peak"] - start[name]["peak"]
            print(f"{regions:9}  {name:<24} {one['cpu s']:8.1f} {one['wall s']:8.1f} {memory:9.1f}  {more}", flush=True)
    low, high = min(found), max(found)
    if low < high:
        print(f"\nper thousand regions more, {low:,} to {high:,}:")
        for name in steps:
            one, two = found[low][name], found[high][name]
            slopes = {key: 1000 * (two[key] - one[key]) / (high - low) for key in ("cpu s", "peak")}
            print(f"{'':9}  {name:<24} {slopes['cpu s']:8.3f} CPU s {slopes['peak'] * 1024:9.1f} KiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--regions", type=int, nargs="+", default=[50_000, 400_000])
    parser.add_argument("--keep", type=Path, help="make the sets here, and leave them; those that are there are used")
    parser.add_argument("--steps", nargs="+", choices=list(STEPS), default=list(STEPS))
    parser.add_argument("--step", help=argparse.SUPPRESS, nargs=2, metavar=("NAME", "FOLDER"))
    options = parser.parse_args()
    if options.step:
        _child(options.step[0], Path(options.step[1]))
        return
    print(machine())
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        table(options.regions, options.steps, options.keep)
        return
    with tempfile.TemporaryDirectory() as made:
        table(options.regions, options.steps, Path(made))


if __name__ == "__main__":
    main()
