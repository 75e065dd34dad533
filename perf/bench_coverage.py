"""How often the intervals of `benchmark` hold the truth, by simulation; writes `benchmark/coverage.json`.

Pictures with 1 to 4 items of 2 to 4 queries each (all equally likely). Every picture has a share of right replies
of its own, drawn from a beta distribution with mean p and correlation ICC; its replies are right with that
chance, independently. So any two replies on a picture correlate by ICC, and the true value of every score is known
in closed form. A hundred runs at a time are one table, and share the
numbers of the pictures that are drawn.

    python perf/bench_coverage.py --out benchmark/coverage.json --docs docs/statistics.md
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.coverage import Cell, Coverage, table_text
from benchmark.metrics import headline, sums
from benchmark.stats import Resampled, drawn
from benchmark.table import Outcomes, Sums

CLUSTERS = (20, 60, 191, 500)
ICC = (0.1, 0.5)
SHARES = (0.03, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97)
RUNS, DRAWS = 2000, 1000
BLOCK = 100
ITEMS, QUERIES = (1, 2, 3, 4), (2, 3, 4)
BEGIN, END = "<!-- coverage: begin -->", "<!-- coverage: end -->"


def world(pictures: int, share: float, icc: float, rng: np.random.Generator) -> Outcomes:
    """Replies on `pictures` simulated pictures."""
    a, b = share * (1 - icc) / icc, (1 - share) * (1 - icc) / icc
    chance_c = rng.beta(a, b, pictures)
    cluster_g = np.repeat(np.arange(pictures), rng.choice(ITEMS, pictures))
    number_g = rng.choice(QUERIES, len(cluster_g))
    group_n = np.repeat(np.arange(len(cluster_g)), number_g)
    position_n = np.arange(len(group_n)) - np.repeat(np.cumsum(number_g) - number_g, number_g)
    correct_n = rng.random(len(group_n)) < chance_c[cluster_g[group_n]]
    zeros_n, names = np.zeros(len(group_n), np.int64), ("",)
    return Outcomes(
        names * pictures,
        names * len(cluster_g),
        (),
        group_n,
        position_n,
        zeros_n,
        correct_n,
        zeros_n,
        np.full(len(group_n), np.nan),
        np.arange(len(cluster_g)),
        cluster_g,
        names * len(group_n),
    )


def truths(share: float, icc: float) -> dict[str, tuple[str, float]]:
    """By name of the coverage: a score that has it, and its true value."""
    a, b = share * (1 - icc) / icc, (1 - share) * (1 - icc) / icc

    def all_of(k: int, first: float) -> float:
        """E[x^k] of the beta distribution."""
        return float(np.prod([(first + i) / (a + b + i) for i in range(k)]))

    def mean(of: Callable[[int], float]) -> float:
        return float(np.mean([of(k) for k in QUERIES]))

    return {
        "accuracy": ("accuracy", share),
        "both": ("both", all_of(2, a)),
        "all_right": ("all_right", mean(lambda k: all_of(k, a))),
        "any_right": ("any_right", 1 - mean(lambda k: all_of(k, b))),
        "conditional": ("p_q2_given_q1", all_of(2, a) / share),
        "lift": ("lift", all_of(2, a) - share**2),
        "lift_of_all": ("lift_of_all", mean(lambda k: all_of(k, a) - share**k)),
        "phi": ("phi", icc),
        "kappa": ("kappa", icc),
        "correlation": ("correlation", icc),
    }


def cells(clusters: int, icc: float, share: float, runs: int = RUNS, draws: int = DRAWS) -> Iterator[Cell]:
    """For every kind of score: in how many runs there is an interval, and in how many of these it holds the truth."""
    wanted = truths(share, icc)
    counts = {name: np.zeros(4, np.int64) for name in wanted}
    for first in range(0, runs, BLOCK):
        _count(counts, clusters, icc, share, range(first, min(runs, first + BLOCK)), draws)
    for name, (given, held, t_given, t_held) in counts.items():
        yield Cell(
            score=name,
            clusters=clusters,
            icc=icc,
            share=share,
            runs=runs,
            given=int(given),
            held=int(held),
            t_given=int(t_given),
            t_held=int(t_held),
        )


def _count(
    counts: dict[str, NDArray[np.int64]], clusters: int, icc: float, share: float, runs: range, draws: int
) -> None:
    """Add, by kind of score, what becomes of some runs: given, held, and the same of t."""
    seed = [clusters, round(1000 * icc), round(1000 * share), runs.start]
    everything = sums(world(len(runs) * clusters, share, icc, np.random.default_rng(seed)))
    statistics = {statistic.name: statistic for statistic in headline(everything.names)}
    needed = _needed(everything)
    names = tuple(everything.names[i] for i in needed)
    values_rcs = everything.values[:, needed].reshape(len(runs), clusters, len(needed))
    side_by_side = np.ascontiguousarray(values_rcs.transpose(1, 0, 2)).reshape(clusters, -1)
    draws_drs = drawn(side_by_side, draws, runs.start).reshape(draws, len(runs), len(needed))
    for i in range(len(runs)):
        own = Sums(names, values_rcs[i], {}, {})
        columns = np.ascontiguousarray(draws_drs[:, i].T)
        resampled = Resampled(own, own.columns(own.total), dict(zip(names, columns, strict=True)), own.without)
        for name, (score, true) in truths(share, icc).items():
            found = resampled.interval(statistics[score])
            for k, (low, high) in enumerate([(found.low, found.high), (found.t_low, found.t_high)]):
                if low is not None and high is not None:
                    counts[name][2 * k : 2 * k + 2] += 1, low - 1e-9 <= true <= high + 1e-9


def _needed(everything: Sums) -> list[int]:
    """Places of the columns that the statistics read: the fewer, the faster."""
    idle = ("cs_", "items_", "at_", "right_at_", "guessable", "all_chance", "chance")
    return [i for i, name in enumerate(everything.names) if not name.startswith(idle)]


def _cells(cell: tuple[int, float, float]) -> list[Cell]:
    started = time.process_time()
    found = list(cells(*cell))
    print(*cell, f"{time.process_time() - started:.0f} s CPU", file=sys.stderr, flush=True)
    return found


def written(coverage: Coverage, out: Path | None, docs: Path | None) -> None:
    """Replace the table in the package, and in the documentation between its marks."""
    if out is not None:
        out.write_text(coverage.as_json(), encoding="utf-8")
    if docs is not None:
        text = docs.read_text(encoding="utf-8")
        before, rest = text.split(BEGIN)
        docs.write_text(f"{before}{BEGIN}\n\n{table_text(coverage)}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="the table that the package reads")
    parser.add_argument("--docs", type=Path, help="the page that shows it")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args(arguments)
    todo = [(c, icc, share) for c in reversed(CLUSTERS) for icc in ICC for share in SHARES]
    with Pool(options.workers) as pool:
        found = [cell for group in pool.imap(_cells, todo) for cell in group]
    found.sort(key=lambda cell: (cell.score, cell.clusters, cell.icc, cell.share))
    coverage = Coverage(draws=DRAWS, cells=tuple(found))
    written(coverage, options.out, options.docs)
    print(json.dumps({"cells": len(found)}) if options.out else table_text(coverage))


if __name__ == "__main__":
    main()
