"""Time of all headline scores with their intervals: 100,000 replies on 25,000 pictures, 10,000 resamplings.

OMP_NUM_THREADS=1 python perf/bench_scores.py
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np

from benchmark.records import LogLine
from benchmark.scores import scores_of
from slvr_data.schema import FACETS


def log(pictures: int, seed: int = 0) -> list[LogLine]:
    """Two items of two queries on every picture; replies on a picture correlate by 0.3, and 70 % are right."""
    rng = np.random.default_rng(seed)
    chance = rng.beta(0.7 * 0.7 / 0.3, 0.3 * 0.7 / 0.3, pictures)
    correct = (rng.random((pictures, 4)) < chance[:, None]).tolist()
    facets = rng.integers(0, len(FACETS), (pictures, 4)).tolist()
    return [
        LogLine(
            ask_id=f"{picture}-{i // 2}/{i}/plain/0",
            item_id=f"{picture}-{i // 2}",
            image_id=str(picture),
            query_id=str(i),
            position=i % 2,
            facet=FACETS[facets[picture][i]],
            variant="plain",
            seed=0,
            question="What color is it?",
            choices=("red", "blue", "green", "grey"),
            expected="red",
            reply="red" if correct[picture][i] else "blue",
            reply_length=4,
            outcome="answer",
            answer="red" if correct[picture][i] else "blue",
            correct=correct[picture][i],
            chance=0.25,
            finish="stop",
        )
        for picture in range(pictures)
        for i in range(4)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=25_000)
    parser.add_argument("--draws", type=int, default=10_000)
    options = parser.parse_args()
    lines = log(options.pictures)
    cpu, wall = time.process_time(), time.perf_counter()
    found = scores_of(lines, draws=options.draws)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(lines):,} replies, {options.pictures:,} pictures, {options.draws:,} draws: {len(found)} scores in "
        f"{cpu:.1f} s CPU, {wall:.1f} s wall; peak {peak:.0f} MiB"
    )
    for name in ("accuracy", "both", "lift", "phi"):
        print(f"  {name}: {found[name].value:.4f} [{found[name].low:.4f}, {found[name].high:.4f}]")


if __name__ == "__main__":
    main()
