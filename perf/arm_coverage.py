"""How often the intervals of arms (`benchmark.two_level`) hold the truth, by simulation.

Pictures with two queries each, asked of n seeds of an arm. A reply is right where a sum of normal numbers is above a
threshold: one of the seed, one of the picture, one of the seed on this picture, one of the reply. Their variances and
the threshold tell the true scores, over all seeds and pictures, by quadrature. A second arm has the same pictures, and
seeds of its own that share half of their variance with the first one's, as seeds with one order of the data do.

    python perf/arm_coverage.py --docs docs/statistics.md      # four minutes of CPU; --runs 100 for a first look
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from math import sqrt
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from benchmark import stats
from benchmark.metrics import Statistic, headline
from benchmark.table import Floats
from benchmark.two_level import Part, ends_of, two_level

SEEDS = (2, 3, 5)
PICTURES = (60, 200)
SPREAD = (0.0, 0.1, 0.4)
"""Standard deviation of seeds, beside 1 of a reply."""
MEANS = (0.7, 0.05)
"""Shares right."""
PICTURE, BOTH = 0.8, 0.5
"""Of pictures, and of seeds with pictures."""
DRAWS = 1000
COLUMNS = ("right", "replies", "two", "q1", "q2", "both")
SCORES = ("accuracy", "both", "lift")
BEGIN, END = "<!-- arms: begin -->", "<!-- arms: end -->"
_NORMAL = NormalDist()


def statistics() -> dict[str, Statistic]:
    return {one.name: one for one in headline(()) if one.name in SCORES}


def threshold(mean: float, spread: float) -> float:
    return _NORMAL.inv_cdf(mean) * sqrt(1 + spread**2 + PICTURE**2 + BOTH**2)


def truths(mean: float, spread: float) -> dict[str, float]:
    """The mean over seeds of each score over all pictures."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    below = np.vectorize(_NORMAL.cdf)
    inner = sqrt(PICTURE**2 + BOTH**2)
    right_ap = below(threshold(mean, spread) + spread * nodes[:, None] + inner * nodes[None, :])
    share_a, both_a = right_ap @ weights, right_ap**2 @ weights
    found = {"accuracy": share_a, "both": both_a, "lift": both_a - share_a**2}
    return {name: float(value_a @ weights) for name, value_a in found.items()}


def world(
    pictures: int, seeds: int, mean: float, spread: float, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Columns [c, n, s] of two arms."""
    picture_c = PICTURE * rng.standard_normal(pictures)
    shared_n = rng.standard_normal(seeds)
    for _ in range(2):
        seed_n = spread * (shared_n + rng.standard_normal(seeds)) / sqrt(2)
        level_cn = picture_c[:, None] + seed_n + BOTH * rng.standard_normal((pictures, seeds))
        right_cnq = rng.standard_normal((pictures, seeds, 2)) < threshold(mean, spread) + level_cn[..., None]
        q1, q2 = right_cnq[..., 0].astype(float), right_cnq[..., 1].astype(float)
        ones = np.ones_like(q1)
        yield np.stack([q1 + q2, 2 * ones, ones, q1, q2, q1 * q2], axis=-1)


def sampled(columns_cns: NDArray[np.float64], statistic: Statistic, draws_dc: Floats) -> tuple[Floats, Floats]:
    """Score of each seed [n], and in draws [d, n]."""

    def of(totals_xns: NDArray[np.float64]) -> Floats:
        return np.asarray(statistic.formula({name: totals_xns[..., s] for s, name in enumerate(COLUMNS)}))

    flat = columns_cns.reshape(len(columns_cns), -1)
    return of(columns_cns.sum(0)), of((draws_dc @ flat).reshape(len(draws_dc), *columns_cns.shape[1:]))


Rule = Callable[[Part, int, int], tuple[float, float] | None]


def as_drawn(part: Part, clusters: int, seed: int) -> tuple[float, float] | None:
    """The middle 95 % of the two-level bootstrap without correction."""
    low, high = np.quantile(two_level([part], seed, 0), (0.025, 0.975))
    return float(low), float(high)


def corrected(part: Part, clusters: int, seed: int) -> tuple[float, float] | None:
    ends = ends_of([part], clusters, seed)
    return None if ends.low is None or ends.high is None else (ends.low, ends.high)


def over_seeds(part: Part, clusters: int, seed: int) -> tuple[float, float] | None:
    """Student's t over the seeds' scores alone."""
    n = len(part.own_s)
    return stats.t_interval(float(part.own_s.mean()), float(part.own_s.std(ddof=1)) / sqrt(n), n)


def over_pictures(part: Part, clusters: int, seed: int) -> tuple[float, float] | None:
    """The bootstrap over pictures of the mean of these very seeds."""
    low, high = np.quantile(part.drawn_ds.mean(1), (0.025, 0.975))
    return float(low), float(high)


RULES: dict[str, Rule] = {
    "corrected": corrected, "as drawn": as_drawn, "pictures alone": over_pictures, "seeds alone": over_seeds,
}  # fmt: skip


def simulate(pictures: int, seeds: int, mean: float, spread: float, runs: int, seed: int) -> dict[tuple[str, str], str]:
    """(score, rule) -> per cent of intervals that hold the truth, for every score and the difference in accuracy."""
    rng = np.random.default_rng([seed, pictures, seeds, round(1000 * mean), round(1000 * spread)])
    truth, known = truths(mean, spread), statistics()
    held: Counter[tuple[str, str]] = Counter()
    given: Counter[tuple[str, str]] = Counter()
    for run in range(runs):
        arms = list(world(pictures, seeds, mean, spread, rng))
        draws_dc = rng.multinomial(pictures, np.full(pictures, 1 / pictures), DRAWS).astype(float)
        for name, statistic in known.items():
            own, drawn = sampled(arms[0], statistic, draws_dc)
            parts = {name: (Part(1, own, drawn), truth[name])}
            if name == "accuracy":
                other, other_drawn = sampled(arms[1], statistic, draws_dc)
                parts["difference"] = (Part(1, own - other, drawn - other_drawn), 0.0)
            for score, (part, value) in parts.items():
                for rule, interval in RULES.items():
                    ends = interval(part, pictures, run)
                    if ends is not None:
                        given[score, rule] += 1
                        held[score, rule] += ends[0] <= value <= ends[1]
    return {key: f"{100 * held[key] / number:.1f}" for key, number in given.items()}


def table(runs: int, seed: int) -> str:
    scores = [*SCORES[:1], "difference", *SCORES[1:]]
    lines = [
        "| accuracy | pictures | sd of seeds | seeds | " + " | ".join(scores) + " |",
        "| --: | --: | --: | --: |" + " --: |" * len(scores),
    ]
    for mean in MEANS:
        for pictures in PICTURES:
            for spread in SPREAD:
                for seeds in SEEDS:
                    found = simulate(pictures, seeds, mean, spread, runs, seed)
                    cells = [" / ".join(found.get((score, rule), "-") for rule in RULES) for score in scores]
                    lines.append(f"| {mean:g} | {pictures} | {spread:g} | {seeds} | " + " | ".join(cells) + " |")
                    print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--docs", type=Path, help="write the table between its marks in this file")
    args = parser.parse_args()
    text = f"Cells: {' / '.join(RULES)}, per cent.\n\n" + table(args.runs, args.seed)
    if args.docs is None:
        print(text, end="")
        return
    page = args.docs.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    args.docs.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{rest.split(END)[1]}", encoding="utf-8")


if __name__ == "__main__":
    main()
