"""Forms of stage 2 compared on the embedded model, each from the stage 1 of its seed (`perf/arms.py`), and a table.

    python perf/arms.py DIR --arms slvr,text        # stage 1, five seeds
    python perf/mgrpo_arms.py DIR                   # stage 2 from there; hours of CPU time
    python perf/mgrpo_arms.py DIR --arms single,ours --seeds 0..1

All arms draw as many rollouts in as many steps. Each run is kept in DIR and goes on after a stop; `slvr-train mgrpo`
is the command that trains, `slvr-bench run` the one that asks.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from arms import BIN, CHANGES, PARTS, ask, call, finished, made_bench, names_of, run_of, span

TAUGHT = 11
"""Seed of the world that is learnt from."""
PICTURES = 1500
STEPS, REGIONS, QUERIES, ROLLOUTS = 80, 16, 3, 8
ALONE = {"rewards.all_right.weight": 0, "latents.together": 0, "latents.apart": 0, "latents.stability": 0}
PAIRS = {"training.regions": REGIONS * QUERIES // 2, "data.fewest": 2, "data.most": 2, "rewards.answer.kind": "exact"}
ARMS: dict[str, tuple[str, dict[str, object]]] = {
    "single": ("slvr", {**ALONE, "training.regions": REGIONS * QUERIES, "data.fewest": 1, "data.most": 1}),
    "ours": ("slvr", {}),
    "ours-given": ("slvr", {"training.feed": "given"}),
    "ours-noise": ("slvr", {"sampling.latent_noise": 0.1, "loss.latent_density": "mean"}),
    "paper": ("slvr", {"preset": "paper", **PAIRS}),
    "released": ("slvr", {"preset": "released", **PAIRS}),
    "text": ("text", {"objective.kind": "text", "sampling.max_new_tokens": 128}),
}
"""Arm -> the arm of stage 1 that it starts from, and what differs from `mgrpo-tiny`."""


def main() -> None:
    """Do what is not done yet."""
    options = _options()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    made_bench(options.dir)
    _taught(options.dir / "taught")
    wanted = [(name, seed) for seed in options.seeds for name in options.arms]
    with ThreadPoolExecutor(options.jobs) as pool:
        for _ in pool.map(lambda pair: _one(options, *pair), wanted):
            pass
    starts = {start: start for start, _ in (ARMS[name] for name in options.arms)}
    told = [
        f"--arm={label}={','.join(str(run_of(options.dir, name, seed)) for seed in options.seeds)}"
        for label, name in ({f"stage 1 ({start})": start for start in starts} | _named(options.arms)).items()
    ]
    base = "single" if "single" in options.arms else options.arms[0]
    call(str(BIN / "slvr-bench"), "arms", *told, "--base", base, "--out", str(options.dir / "mgrpo-table"))


def _named(arms: list[str]) -> dict[str, str]:
    return {name: f"mgrpo-{name}" for name in arms}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=Path)
    parser.add_argument("--arms", type=names_of(ARMS), default=list(ARMS))
    parser.add_argument("--seeds", type=span, default=list(range(5)), help="A..B")
    parser.add_argument("--jobs", type=int, default=2, help="processes at a time")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--rate", type=float, default=2e-4, help="learning rate, which falls as a cosine")
    parser.add_argument("--temperature", type=float, default=1.3, help="of rollouts")
    parser.add_argument("--regions", type=int, default=200, help="that are asked about")
    return parser.parse_args()


def _taught(folder: Path) -> None:
    """The set that is learnt from."""
    if (folder / "data" / "multiquery").exists():
        return
    data = str(BIN / "slvr-data")
    call(data, "build-attributes", "scenes:easy", "--seed", str(TAUGHT), "--limit", str(PICTURES), "--out", str(folder))
    call(data, "build-multiquery", str(folder))


def _one(options: argparse.Namespace, name: str, seed: int) -> None:
    """An arm with one seed: trained, and asked."""
    start, changed = ARMS[name]
    folder, run = options.dir / "mgrpo" / name / str(seed), run_of(options.dir, f"mgrpo-{name}", seed)
    own = {key: getattr(options, key) for key in ("steps", "rate", "temperature", "regions")}
    if finished(run, own):
        return
    settings: dict[str, object] = {
        "data.set": options.dir / "taught",
        "data.fewest": QUERIES,
        "data.most": QUERIES,
        "objective.kind": start,
        "objective.echo": "true",
        "objective.mark": '":"',
        "sampling.rollouts": ROLLOUTS,
        "sampling.temperature": options.temperature,
        "training.steps": options.steps,
        "training.regions": REGIONS,
        "training.learning_rate": options.rate,
        "training.schedule": "cosine",
        "training.seed": seed,
        "out": folder,
        **changed,
    }
    assignments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    resume = ["--resume"] if (folder / "mgrpo.yaml").exists() else []
    checkpoint = options.dir / "arms" / start / str(seed) / "checkpoint"
    trains = (str(BIN / "slvr-train"), "mgrpo", "--config", "mgrpo-tiny", "--init", str(checkpoint))
    call(*trains, *assignments, *resume)
    asked = ["--interventions", ",".join((*CHANGES, *PARTS)), "--profiles", str(options.dir / "set")]
    ask(folder / "checkpoint", options.dir / "bench", options.regions, run, asked if start == "slvr" else [])
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    mixed = [line["advantage/mixed"] for line in lines if "advantage/mixed" in line]
    print(f"{name} {seed}: {sum(mixed) / max(1, len(mixed)):.1%} of questions had replies that differ", flush=True)
    (run / "finished").write_text(json.dumps(own), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
