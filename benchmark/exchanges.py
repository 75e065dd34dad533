"""The test of two runs: they are exchanged within pictures (a sign-flip permutation: Fisher 1935).

How many exchanges are tried follows from the number of tests, since Holm's correction multiplies the smallest p by it:
p of D exchanges is 1 / (1 + D) at least, so that with too few no difference could be shown, however large.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from benchmark.metrics import Columns, Statistic
from benchmark.stats import CHUNK, DRAWS
from benchmark.table import Floats

EXACT = 12
"""Up to this many pictures that differ, all exchanges are tried instead of a sample of them."""
PER_TEST = 100
"""Exchanges for each test of a comparison: the smallest p after Holm's correction is then 0.01."""
MOST = 1_000_000
"""Exchanges that are tried at most, unless more are asked for: `PER_TEST` for 10,000 tests."""
ENOUGH = 10
"""As many exchanges as large as what is seen among the first `DRAWS` end a test: its p is not small."""


def exchanges_for(tests: int) -> int:
    """How many exchanges a comparison of so many tests needs: `PER_TEST` each, at least `DRAWS`, at most `MOST`."""
    return min(MOST, max(DRAWS, PER_TEST * tests))


def flipped(
    first_cs: Floats,
    second_cs: Floats,
    difference: Callable[[Floats, Floats], Floats],
    draws: int,
    seed: int,
    at_first: int | None = None,
) -> tuple[float, int, bool]:
    """How often exchanging the two runs within pictures at random gives at least the difference that is seen.

    `difference` maps the column totals [d, s] of both runs to differences [d]. Under the hypothesis that it makes
    no difference which run a picture's replies are of, each of the 2^c exchanges is as likely. Up to `EXACT`
    pictures with unequal sums all are tried and p is exact; otherwise `draws` are, and
    p = (1 + those at least as large) / (1 + draws), which is never 0 (Phipson and Smyth 2010).

    With `at_first`, those beyond so many are tried only where fewer than `ENOUGH` of these are as large, which keeps
    the level (after Besag and Clifford 1991): where p is at most alpha, so is p of all draws for an alpha under
    (1 + ENOUGH) / (1 + at_first), and p of the first ones for any other.

    Returns:
        p (two-sided), how many exchanges were tried, and whether these are all. p is NaN where the difference is
        not defined; exchanges for which it is not count as at least as large.
    """
    seen = float(difference(first_cs.sum(0, keepdims=True), second_cs.sum(0, keepdims=True))[0])
    differ = (first_cs != second_cs).any(axis=1)
    half_s, half_cs = (first_cs + second_cs).sum(0) / 2, (first_cs[differ] - second_cs[differ]) / 2
    exact = len(half_cs) <= EXACT
    first = draws if at_first is None else min(draws, at_first)
    tried = as_large = 0
    for signs in _signs(len(half_cs), (first, draws - first), seed):
        if tried == first and as_large >= ENOUGH and not exact:
            break
        moved = signs @ half_cs
        values = np.abs(difference(half_s + moved, half_s - moved))
        as_large += int((~(values < abs(seen) - 1e-12)).sum())
        tried += len(values)
    if math.isnan(seen):
        return math.nan, tried, exact
    return (as_large / tried if exact else (1 + as_large) / (1 + tried)), tried, exact


def least_p(tried: int, exact: bool, draws: int) -> float:
    """The smallest p that a test can have: of all exchanges two are as large, none and that of every picture."""
    return min(1.0, 2 / tried) if exact else 1 / (1 + draws)


def _signs(clusters: int, parts: Sequence[int], seed: int) -> Iterator[Floats]:
    """Signs [d, c] in chunks: all of them for few clusters, otherwise so many at random in each part."""
    if clusters <= EXACT:
        bits = np.arange(2**clusters)[:, None] >> np.arange(clusters) & 1
        yield (1 - 2 * bits).astype(np.float64)
        return
    rng = np.random.default_rng(seed)
    at_once = max(1, CHUNK // clusters)
    for draws in parts:
        for start in range(0, draws, at_once):
            bits = rng.integers(0, 2, size=(min(draws - start, at_once), clusters), dtype=np.int8)
            yield (1 - 2 * bits).astype(np.float64)


def difference_of(statistic: Statistic, names: Sequence[str]) -> Callable[[Floats, Floats], Floats]:
    """Totals [d, s] of two runs -> the second's score less the first's [d]."""

    def columns(totals_ds: Floats) -> Columns:
        return {name: totals_ds[:, s] for s, name in enumerate(names)}

    return lambda first, second: statistic.formula(columns(second)) - statistic.formula(columns(first))
