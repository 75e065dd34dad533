"""The error and the interval of a score over seeds and pictures, two crossed levels that are both drawn.

Notation: n seeds with scores v_s, C pictures, D draws of pictures, v*_ds the score of seed s over those of draw d.
Drawing seeds as well gives the two-level bootstrap, for crossed factors the pigeonhole bootstrap (Owen 2007).

As it stands that bootstrap is wrong twice over: with few seeds the part of the seeds is too small, by (n - 1) / n in
variance and by normal instead of t tails, and what a seed has with a picture is in it three times (Owen 2007). So

    pictures  P = var_d(mean_s v*_ds) C / (C - 1)
    seeds     S = var_s(v_s) / n, which has in it what seeds have with pictures, as P does
    both      B = max(0, mean_d var_s(v*_ds) / n - S), that part
    error     sqrt(P + max(0, S - B)) (two-way clustering: Cameron, Gelbach and Miller 2011)
    df        (P + max(0, S - B))^2 / (P^2 / (C - 1) + S^2 / (n - 1)) (Satterthwaite 1946), n - 1 at least

and the interval is as wide as Student's t interval of `error` and `df`, and lies about the score as the middle 95 %
of the bootstrap lie about it, drawn with n - 1 of n seeds (Rao and Wu 1988), so that it keeps their skew. How often
such intervals hold the truth is simulated in `perf/arm_coverage.py`; docs/statistics.md has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark import stats
from benchmark.stats import FLAT, MOST_UNDEFINED
from benchmark.table import Floats

NO_SPREAD = "one seed has no spread between seeds"
EQUAL = "equal in all resamplings"
_TAILS = (0.025, 0.975)


@dataclass(frozen=True)
class Part:
    """What is added to a score with a sign: an arm, or the differences of paired seeds."""

    sign: int
    own_s: Floats
    drawn_ds: Floats


@dataclass(frozen=True)
class Error:
    """A standard error and what it is made of; see the module's words."""

    error: float
    pictures: float
    df: int


def error_of(parts: Sequence[Part], clusters: int) -> Error:
    """The standard error of the sum of the parts over seeds and pictures. One seed alone adds no part of its own."""
    middle_d = sum((part.sign * part.drawn_ds.mean(axis=1) for part in parts), np.zeros(1))
    pictures = float(middle_d.var(ddof=1)) * clusters / max(1, clusters - 1)
    seeds, below = 0.0, pictures**2 / max(1, clusters - 1)
    least = clusters - 1
    for part in parts:
        n = len(part.own_s)
        if n > 1:
            own = float(part.own_s.var(ddof=1)) / n
            both = max(0.0, float(part.drawn_ds.var(axis=1, ddof=1).mean()) / n - own)
            seeds += max(0.0, own - both)
            below += own**2 / (n - 1)
            least = min(least, n - 1)
    variance = pictures + seeds
    df = variance**2 / below if below > 0 else 1.0
    return Error(math.sqrt(variance), math.sqrt(pictures), max(1, least, min(math.floor(df), clusters - 1)))


def two_level(parts: Sequence[Part], seed: int, fewer: int) -> Floats:
    """[D] Draws of seeds and pictures: of each part n - `fewer` seeds with replacement, one at least."""
    rng = np.random.default_rng([seed, fewer])
    total_d = np.zeros(len(parts[0].drawn_ds))
    for part in parts:
        draws, n = part.drawn_ds.shape
        chosen = rng.integers(0, n, size=(draws, max(1, n - fewer)))
        total_d += part.sign * np.take_along_axis(part.drawn_ds, chosen, axis=1).mean(axis=1)
    return total_d


@dataclass(frozen=True)
class Ends:
    """An interval, or why there is none."""

    low: float | None = None
    high: float | None = None
    drawn: tuple[float, float] | None = None
    """Of the bootstrap as it stands."""
    error: Error | None = None
    why_none: str | None = None


def ends_of(parts: Sequence[Part], clusters: int, seed: int = 0) -> Ends:
    """The interval of a sum of parts, as wide as Student's t interval, placed as the bootstrap's draws lie."""
    value = sum(part.sign * float(part.own_s.mean()) for part in parts)
    if math.isnan(value):
        return Ends(why_none="not defined for every seed")
    if clusters < 2:
        return Ends(why_none="a single picture has no spread between pictures")
    numbers = {len(part.own_s) for part in parts}
    if min(numbers) == 1 < max(numbers):
        return Ends(why_none=NO_SPREAD)
    defined_d = np.all([~np.isnan(part.drawn_ds).any(axis=1) for part in parts], axis=0)
    if (undefined := 1 - float(defined_d.mean())) > MOST_UNDEFINED:
        return Ends(why_none=f"not defined in {undefined:.0%} of the resamplings")
    parts = [Part(part.sign, part.own_s, part.drawn_ds[defined_d]) for part in parts]
    as_drawn, placed = two_level(parts, seed, 0), two_level(parts, seed, 1)
    if np.ptp(as_drawn) < FLAT and np.ptp(placed) < FLAT:
        return Ends(why_none=EQUAL)
    found = error_of(parts, clusters)
    width = 2 * stats.t_quantile(_TAILS[1], found.df) * found.error
    low, high = (float(end) for end in np.quantile(placed, _TAILS))
    below, above = max(0.0, value - low), max(0.0, high - value)
    share = below / (below + above) if below + above > 0 else 0.5
    plain = tuple(float(end) for end in np.quantile(as_drawn, _TAILS))
    return Ends(value - share * width, value + (1 - share) * width, (plain[0], plain[1]), found)
