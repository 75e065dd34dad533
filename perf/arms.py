"""Objectives of stage 1 compared on the embedded model: a base, arms and seeds, their benchmark runs, and a table.

    python perf/arms.py DIR                                    # everything of docs/results.md; hours of CPU time
    python perf/arms.py DIR --arms direct,slvr --seeds 0..1    # a part of it

Each step is kept in DIR and not done again: the same command goes on after a stop, and more arms or seeds are added
to those that are there. Runs are single processes with one thread, `--jobs` at a time; their numbers depend on
neither.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slvr_model.lessons import kept_lessons
from slvr_model.objectives.config import LATENT
from slvr_model.recipes.arms import ARMS, train_arm, train_base
from slvr_model.recipes.tiny import WORLD, Recipe

TESTED = 7
"""Seed of the world that is asked about; what is learnt is of another."""
PICTURES = 400
CHANGES = ("zeroed:all", "noise:all", "mean:all", "picture:all", "region:all", "targets:all")
PARTS = ("picture:visual", "picture:semantic")
SLOTTED = ("lvr", "slvr", "slvr-bottleneck")
"""Arms that are also asked with other numbers of slots, with one seed."""
BIN = Path(sys.executable).parent


def main() -> None:
    """Do what is not done yet."""
    options = _options()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.one:
        name, seed = options.one.split(":")
        _one(options, name, int(seed))
        return
    _lessons(options)
    train_base(options.dir / "base", Recipe(options.lessons, 0, options.base_scale), options.cache, options.jobs)
    made_bench(options.dir)
    wanted = [(name, seed) for seed in options.seeds for name in options.arms]
    with ThreadPoolExecutor(options.jobs) as pool:
        for _ in pool.map(lambda pair: _started(options, *pair), wanted):
            pass
    runs = {name: [str(run_of(options.dir, name, seed)) for seed in options.seeds] for name in options.arms}
    told = [f"--arm={name}={','.join(own)}" for name, own in runs.items()]
    if options.no_table:
        return
    call(str(BIN / "slvr-bench"), "arms", *told, "--base", options.arms[0], "--out", str(options.dir / "table"))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--arms", type=lambda text: text.split(","), default=list(ARMS))
    parser.add_argument("--seeds", type=span, default=list(range(5)), help="A..B")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time; of the base, that train together")
    parser.add_argument("--lessons", type=int, default=24000)
    parser.add_argument("--base-scale", type=float, default=1.0, help="factor on the base's steps")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the arms' steps")
    parser.add_argument("--regions", type=int, default=200, help="that are asked about")
    parser.add_argument("--cache", type=Path, help="drawn lessons; default: DIR/lessons")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--no-table", action="store_true", help="only runs")
    options = parser.parse_args()
    options.cache = options.cache or options.dir / "lessons"
    return options


def span(text: str) -> list[int]:
    """The numbers of A..B."""
    first, _, last = text.partition("..")
    return list(range(int(first), int(last or first) + 1))


def _lessons(options: argparse.Namespace) -> None:
    kept_lessons(options.cache, "easy", WORLD, options.lessons, workers=options.jobs)


def made_bench(folder: Path) -> None:
    """The benchmark that every run is asked."""
    if (folder / "bench" / "bench.json").exists():
        return
    data, made = str(BIN / "slvr-data"), str(folder / "set")
    call(data, "build-attributes", "scenes:easy", "--seed", str(TESTED), "--limit", str(PICTURES), "--out", made)
    call(data, "build-multiquery", made)
    call(str(BIN / "slvr-bench"), "build", made, "--out", str(folder / "bench"), "--split", "all")


def _started(options: argparse.Namespace, name: str, seed: int) -> None:
    """An arm with one seed in a process of its own: trained, and asked."""
    if (run_of(options.dir, name, seed) / "finished").exists():
        return
    own = [sys.executable, __file__, str(options.dir), "--one", f"{name}:{seed}", "--cache", str(options.cache)]
    more = {"lessons": options.lessons, "scale": options.scale, "regions": options.regions}
    call(*own, *(text for option, value in more.items() for text in (f"--{option}", str(value))))


def _one(options: argparse.Namespace, name: str, seed: int) -> None:
    lessons = kept_lessons(options.cache, "easy", WORLD, options.lessons)
    folder = options.dir / "arms" / name / str(seed)
    checkpoint = train_arm(folder, name, seed, options.dir / "base" / "checkpoint", lessons, options.scale)
    kind, changes = ARMS[name].objective["kind"], list[str]()
    if kind in LATENT:
        targets = kind != "multi_encoder"
        changes = [change for change in CHANGES if targets or change != "targets:all"]
        changes += PARTS if kind == "slvr" else ()
    if name in SLOTTED and seed == 0:
        changes.append("slots:0..2K")
    run = run_of(options.dir, name, seed)
    asked = ["--interventions", ",".join(changes), "--profiles", str(options.dir / "set")] if changes else []
    call(
        *(str(BIN / "slvr-bench"), "run", "--model", f"slvr:{checkpoint}", "--data", str(options.dir / "bench")),
        *("--form", "open", "--limit", str(options.regions), "--batch-size", "64", "--max-new-tokens", "48"),
        *("--out", str(run), *asked),
    )
    report = json.loads((checkpoint / "report.json").read_text(encoding="utf-8"))
    print(f"{name} {seed}: {report['costs']}", flush=True)
    (run / "finished").touch()


def run_of(folder: Path, name: str, seed: int) -> Path:
    """Where a benchmark run lies."""
    return folder / "runs" / name / str(seed)


def call(*command: str) -> None:
    """Run a command; a failure ends this one too."""
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(f"ended with {done.returncode}: {' '.join(command)}")


if __name__ == "__main__":
    main()
