"""Objectives of stage 1 compared on the embedded model: a base, arms and seeds, their benchmark runs, and a table.

    python perf/arms.py DIR                                    # everything of docs/results.md; hours of CPU time
    python perf/arms.py DIR --arms direct,slvr --seeds 0..1    # a part of it
    python perf/arms.py DIR --rates 0.5,1,2 --arms direct,slvr # learning rates, on a world and a seed of their own

Each step is kept in DIR and not done again: the same command goes on after a stop, and more arms or seeds are added
to those that are there; runs with other settings are refused. The base is trained by two processes, which are part
of what it is. Runs are single processes with one thread, `--jobs` at a time, which changes no number.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slvr_model.lessons import kept_lessons
from slvr_model.objectives.config import LATENT
from slvr_model.recipes.arms import ARMS, train_arm, train_base
from slvr_model.recipes.tiny import WORLD, Recipe

TESTED = 7
"""Seed of the world that is asked about; what is learnt is of another."""
TRIED = 8
"""Seed of the world in which learning rates are compared, and of that training."""
PICTURES = 400
CHANGES = ("zeroed:all", "noise:all", "mean:all", "picture:all", "region:all", "targets:all")
PARTS = ("picture:visual", "picture:semantic")
SLOTTED = ("lvr", "slvr", "slvr-k4")
"""Arms that are also asked with other numbers of slots, with one seed."""
LONGEST = 128
"""Tokens of a reply; a profile and its answer have about 40."""
CUT = 0.01
"""Plain replies that may be cut off, per region: a model may repeat itself without end."""
BIN = Path(sys.executable).parent


def main() -> None:
    """Do what is not done yet."""
    options = _options()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.one:
        name, seed = options.one.split(":")
        if options.rates:
            _tried(options, name, options.rates[0])
        else:
            _one(options, name, int(seed))
        return
    _lessons(options)
    train_base(options.dir / "base", Recipe(options.lessons, 0, options.base_scale), options.cache, 2)
    if options.rates:
        _rates(options)
        return
    made_bench(options.dir)
    for name in ("plain", "echo"):
        _asked(options, options.dir / "base" / name / "checkpoint", run_of(options.dir, f"base-{name}", 0), [])
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
    parser.add_argument("--arms", type=names_of(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", type=span, default=list(range(5)), help="A..B")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time; of the base, that train together")
    parser.add_argument("--lessons", type=int, default=24000)
    parser.add_argument("--base-scale", type=float, default=1.0, help="factor on the base's steps")
    parser.add_argument("--scale", type=float, default=1.0, help="factor on the arms' steps")
    parser.add_argument("--regions", type=int, default=200, help="that are asked about")
    parser.add_argument("--cache", type=Path, help="drawn lessons; default: DIR/lessons")
    parser.add_argument("--rates", type=factors, help="factors on the learning rates: compare these, nothing else")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--no-table", action="store_true", help="only runs")
    options = parser.parse_args()
    options.cache = options.cache or options.dir / "lessons"
    return options


def names_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Reads a list of arms."""

    def read(text: str) -> list[str]:
        unknown = sorted(set(text.split(",")) - set(known))
        if unknown:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: these are known: {', '.join(known)}")
        return text.split(",")

    return read


def span(text: str) -> list[int]:
    """The numbers of A..B."""
    first, _, last = text.partition("..")
    return list(range(int(first), int(last or first) + 1))


def factors(text: str) -> list[float]:
    """The numbers of a list with commas."""
    return [float(part) for part in text.split(",")]


def _lessons(options: argparse.Namespace) -> None:
    kept_lessons(options.cache, "easy", WORLD, options.lessons, workers=options.jobs)


def made_bench(folder: Path, world: int = TESTED) -> None:
    """The benchmark that every run is asked."""
    if (folder / "bench" / "bench.json").exists():
        return
    data, made = str(BIN / "slvr-data"), str(folder / "set")
    call(data, "build-attributes", "scenes:easy", "--seed", str(world), "--limit", str(PICTURES), "--out", made)
    call(data, "build-multiquery", made)
    call(str(BIN / "slvr-bench"), "build", made, "--out", str(folder / "bench"), "--split", "all")


def _rates(options: argparse.Namespace) -> None:
    """Arms with several learning rates, asked about a world that no table is about."""
    made_bench(options.dir / "rates", TRIED)
    wanted = [(name, rate) for rate in options.rates for name in options.arms]
    with ThreadPoolExecutor(options.jobs) as pool:
        for _ in pool.map(lambda pair: _try(options, *pair), wanted):
            pass
    for name, rate in wanted:
        run = _trial(options, name, rate)
        call(str(BIN / "slvr-bench"), "report", str(run), "--out", str(run / "report"))
        scores = json.loads((run / "report" / "scores.json").read_text(encoding="utf-8"))["runs"][0]["scores"]
        shown = (f"{key} {100 * scores[key]['value']:.1f} %" for key in ("accuracy", "both"))
        print(f"{name}, rates x {rate:g}: {', '.join(shown)}", flush=True)


def _trial(options: argparse.Namespace, name: str, rate: float) -> Path:
    return run_of(options.dir / "rates", name, f"x{rate:g}")


def _try(options: argparse.Namespace, name: str, rate: float) -> None:
    if finished(_trial(options, name, rate), _settings(options)):
        return
    _alone(options, f"{name}:{TRIED}", "--rates", f"{rate:g}")


def _tried(options: argparse.Namespace, name: str, rate: float) -> None:
    folder, lessons = options.dir / "rates", kept_lessons(options.cache, "easy", WORLD, options.lessons)
    base, own = options.dir / "base" / "checkpoint", folder / "arms" / name / f"x{rate:g}"
    checkpoint = train_arm(own, name, TRIED, base, lessons, options.scale, rate)
    run = _trial(options, name, rate)
    ask(checkpoint, folder / "bench", options.regions, run, [])
    _finish(options, run)


def _started(options: argparse.Namespace, name: str, seed: int) -> None:
    """An arm with one seed in a process of its own: trained, and asked."""
    if finished(run_of(options.dir, name, seed), _settings(options)):
        return
    _alone(options, f"{name}:{seed}")


def _alone(options: argparse.Namespace, one: str, *also: str) -> None:
    """A run in a process of its own."""
    own = [sys.executable, __file__, str(options.dir), "--one", one, "--cache", str(options.cache), *also]
    more = (text for name, value in _settings(options).items() for text in (f"--{name.replace('_', '-')}", str(value)))
    call(*own, *more)


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
    _asked(options, checkpoint, run, changes)
    report = json.loads((checkpoint / "report.json").read_text(encoding="utf-8"))
    print(f"{name} {seed}: {report['costs']}", flush=True)
    _finish(options, run)


def _finish(options: argparse.Namespace, run: Path) -> None:
    (run / "finished").write_text(json.dumps(_settings(options)), encoding="utf-8")


def _settings(options: argparse.Namespace) -> dict[str, object]:
    """What runs of one table must have in common."""
    return {name: getattr(options, name) for name in ("lessons", "base_scale", "scale", "regions")}


def finished(run: Path, settings: dict[str, object]) -> bool:
    """Whether a run is done; one with other settings ends this command."""
    if not (run / "finished").exists():
        return False
    was = json.loads((run / "finished").read_text(encoding="utf-8"))
    if was != json.loads(json.dumps(settings)):
        sys.exit(f"{run} was made with {was}, not {settings}: give another DIR, or the same settings")
    return True


def _asked(options: argparse.Namespace, checkpoint: Path, run: Path, changes: list[str]) -> None:
    asked = ["--interventions", ",".join(changes), "--profiles", str(options.dir / "set")] if changes else []
    ask(checkpoint, options.dir / "bench", options.regions, run, asked)


def ask(checkpoint: Path, bench: Path, regions: int, run: Path, more: list[str]) -> None:
    """Ask a model; replies that are cut off would be counted as wrong, so that one ends this command."""
    call(
        *(str(BIN / "slvr-bench"), "run", "--model", f"slvr:{checkpoint}", "--data", str(bench), "--form", "open"),
        *("--limit", str(regions), "--batch-size", "64", "--max-new-tokens", str(LONGEST), "--out", str(run), *more),
    )
    lines = (json.loads(line) for line in (run / "run.jsonl").read_text(encoding="utf-8").splitlines())
    cut = sum(line.get("variant") == "plain" and line["finish"] == "length" for line in lines)
    if cut > CUT * regions:
        sys.exit(f"{run}: {cut} plain replies were cut off after {LONGEST} tokens")


def run_of(folder: Path, name: str, seed: int | str) -> Path:
    """Where a benchmark run lies."""
    return folder / "runs" / name / str(seed)


def call(*command: str) -> None:
    """Run a command; a failure ends this one too."""
    done = subprocess.run(command, check=False)
    if done.returncode:
        sys.exit(f"ended with {done.returncode}: {' '.join(command)}")


if __name__ == "__main__":
    main()
