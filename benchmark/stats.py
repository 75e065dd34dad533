"""Uncertainty where replies come in clusters: pictures are drawn, and their regions and queries come with them.

Pure functions over per-picture sums (`benchmark.table.Sums`). The interval of a score is found by drawing pictures
with replacement (the cluster bootstrap: Field and Welsh 2007), or from its change when each picture is left out
(the jackknife: Tukey 1958) with Student's t at one less than the number of pictures. Two runs on the same items are
compared by the bootstrap of their difference and by exchanging the runs within pictures (`benchmark.exchanges`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist
from typing import Literal

import numpy as np

from benchmark.metrics import Columns, Statistic
from benchmark.table import Floats, Sums
from slvr_data.stats import wilson

_NORMAL = NormalDist()

DRAWS = 10_000
"""Resamplings of pictures behind an interval."""
LEVEL = 0.95
CHUNK = 2**19
"""Counts held at once (4 MiB): they stay in the cache, which makes drawing them several times faster."""
MOST_UNDEFINED = 0.05
"""Share of draws without a value (a denominator of 0) above which no interval is given."""
FLAT = 1e-12
"""Differences that are rounding."""


# --- one run


def drawn(values_cs: Floats, draws: int, seed: int) -> Floats:
    """Column totals [draws, s] of as many pictures as there are, drawn with replacement.

    The draws depend on `seed`, the number of pictures and `draws` alone: equal seeds draw the same pictures from
    two runs on the same items.
    """
    rng = np.random.default_rng(seed)
    clusters = len(values_cs)
    totals = np.empty((draws, values_cs.shape[1]))
    at_once = max(1, CHUNK // max(1, clusters))
    for start in range(0, draws, at_once):
        stop = min(draws, start + at_once)
        pictures = rng.integers(0, clusters, size=(stop - start, clusters))
        pictures += clusters * np.arange(stop - start)[:, None]
        counts = np.bincount(pictures.ravel(), minlength=(stop - start) * clusters)
        totals[start:stop] = counts.reshape(stop - start, clusters).astype(np.float64) @ values_cs
    return totals


@dataclass(frozen=True)
class Interval:
    """A score with its 95 % interval, and why there is none where there is none."""

    value: float | None
    low: float | None
    high: float | None
    method: Literal["bootstrap", "wilson", "none"]
    error: float | None
    """Standard error, robust to correlation within pictures."""
    t_low: float | None
    """Of Student's t interval, which is symmetrical and not cut to what is possible."""
    t_high: float | None
    why_none: str | None = None


@dataclass(frozen=True)
class Resampled:
    """All that intervals are made of, by column: totals of the data [1], of draws [d], and without each picture [c]."""

    sums: Sums
    total: Columns
    draws: Columns
    without: Columns

    @classmethod
    def of(cls, sums: Sums, draws: int = DRAWS, seed: int = 0) -> Resampled:
        """Draw the pictures of `sums`."""
        return cls(sums, sums.columns(sums.total), sums.columns(drawn(sums.values, draws, seed)), sums.without)

    def interval(self, statistic: Statistic) -> Interval:
        """The score's interval: the bootstrap's, corrected for bias and skew.

        A share of 0 or 1 in every draw has no spread to draw from: then each picture counts as one observation,
        and the interval is Wilson's. Draws in which the score is not defined are left out, up to `MOST_UNDEFINED`.
        """
        value = float(statistic.formula(self.total)[0])
        if math.isnan(value):
            return _none(None, "nothing to compute it from")
        there_c = self.sums.values[:, self.sums.names.index(statistic.base)] != 0
        clusters = int(there_c.sum())
        if clusters < 2:
            return _none(value, "a single picture has no spread between pictures")
        without_c = statistic.formula(self.without)[there_c]
        values_d = statistic.formula(self.draws)
        error = self._error(statistic, without_c)
        t_low, t_high = t_interval(value, error, clusters)
        undefined = float(np.isnan(values_d).mean())
        if undefined > MOST_UNDEFINED:
            return _none(value, f"not defined in {undefined:.0%} of the resamplings")
        values_d = values_d[~np.isnan(values_d)]
        if np.ptp(values_d) < FLAT:
            if statistic.kind != "share":
                return _none(value, "equal in all resamplings")
            low, high = wilson(clusters * min(1.0, max(0.0, value)), clusters)
            return Interval(value, low, high, "wilson", 0.0, t_low, t_high)
        low, high = corrected(values_d, value, without_c)
        return Interval(value, low, high, "bootstrap", _known(error), _known(t_low), _known(t_high))

    def _error(self, statistic: Statistic, without_c: Floats) -> float:
        if statistic.over is None:
            return jackknife_error(without_c)
        above, below = (self.sums.values[:, self.sums.names.index(name)] for name in statistic.over)
        return clustered_error(above, below)


def _none(value: float | None, why: str) -> Interval:
    return Interval(value, None, None, "none", None, None, None, why)


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def corrected(values_d: Floats, value: float, without_c: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The bootstrap interval corrected for bias and skew (BCa: Efron 1987).

    With z_0 the normal quantile of the share of draws below `value` (half of those equal to it), and the
    acceleration a = sum u^3 / (6 (sum u^2)^1.5) from the jackknife, u_c = mean - v_c, the ends are the draws'
    quantiles at Phi(z_0 + (z_0 + z) / (1 - a (z_0 + z))). Where the score is not defined without some picture, a
    is 0. `values_d` [d] and `without_c` [c] are the score in the draws and without each picture.
    """
    draws = len(values_d)
    near = FLAT * max(1.0, abs(value))
    below = (values_d < value - near).sum() + 0.5 * (np.abs(values_d - value) <= near).sum()
    bias = _NORMAL.inv_cdf(min(draws / (draws + 1), max(1 / (draws + 1), float(below) / draws)))
    skew = without_c.mean() - without_c
    spread = float((skew**2).sum())
    acceleration = float((skew**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0  # NaN is not above 0
    ends = []
    for tail in ((1 - level) / 2, (1 + level) / 2):
        moved = bias + _NORMAL.inv_cdf(tail)
        ends.append(_NORMAL.cdf(bias + moved / (1 - acceleration * moved)))
    low, high = np.interp(np.array(ends) * (draws - 1), np.arange(draws), np.sort(values_d))
    return float(low), float(high)


def jackknife_error(without_c: Floats) -> float:
    """Standard error from the values with each of n pictures left out: sqrt((n - 1) / n sum (v_c - mean)^2).

    NaN where the score is not defined without one of them, and for a single picture.
    """
    n = len(without_c)
    if n < 2:
        return math.nan
    return math.sqrt((n - 1) / n * float(((without_c - without_c.mean()) ** 2).sum()))


def clustered_error(above_c: Floats, below_c: Floats) -> float:
    """Standard error of sum(above) / sum(below) over n clusters, robust to any correlation within them.

    With R the ratio and e_c = above_c - R below_c: sqrt(n / (n - 1) sum e_c^2) / sum(below) (Liang and Zeger 1986;
    it is what statsmodels gives for a mean with `cov_type="cluster"`). Clusters without any of `below` do not
    count. NaN for fewer than two.
    """
    there = below_c != 0
    n = int(there.sum())
    if n < 2:
        return math.nan
    above, below = above_c[there], below_c[there]
    rest = above - above.sum() / below.sum() * below
    return math.sqrt(n / (n - 1) * float((rest**2).sum())) / float(below.sum())


def t_interval(value: float, error: float, clusters: int, level: float = LEVEL) -> tuple[float, float]:
    """The value -+ t error, with t of `clusters` - 1 degrees of freedom."""
    half = t_quantile((1 + level) / 2, clusters - 1) * error
    return value - half, value + half


# --- two runs on the same items


def mcnemar(only_first: int, only_second: int) -> float:
    """The exact two-sided p of as uneven a split of items that one run has right and the other wrong.

    p = min(1, 2 P(X <= min(b, c))) with X binomial of b + c trials at one half (McNemar 1947, exact form). It
    holds where items are independent: where each picture has one item.
    """
    n, least = only_first + only_second, min(only_first, only_second)
    if 2 * least >= n:
        return 1.0
    steps = np.arange(1, least + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log((n - steps + 1) / steps))]) - n * math.log(2)
    return min(1.0, 2 * math.exp(logs[-1]) * float(np.exp(logs - logs[-1]).sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values adjusted for testing all of them (Holm 1979), in their order; NaN stays and is no test."""
    order = sorted((i for i, p in enumerate(p_values) if not math.isnan(p)), key=lambda i: p_values[i])
    adjusted, least = list(p_values), 0.0
    for place, i in enumerate(order):
        least = max(least, min(1.0, (len(order) - place) * p_values[i]))
        adjusted[i] = least
    return adjusted


# --- how much could have been seen


def detectable(error: float, clusters: int, power: float = 0.8, level: float = LEVEL) -> float:
    """The true difference that a test at 1 - `level` finds with probability `power`.

    (t_(1 - alpha/2) + t_power) error at `clusters` - 1 degrees of freedom; a close approximation, in place of the
    noncentral t (Bloom 1995).
    """
    df = clusters - 1
    return (t_quantile((1 + level) / 2, df) + t_quantile(power, df)) * error


def clusters_needed(error: float, clusters: int, effect: float, power: float = 0.8, level: float = LEVEL) -> int | None:
    """Pictures like these that are needed to find a difference of `effect`; None for an effect of 0.

    The error falls with the square root of the number of pictures: (z_(1 - alpha/2) + z_power)^2 error^2 clusters /
    effect^2, rounded up.
    """
    if effect == 0 or math.isnan(error):
        return None
    z = _NORMAL.inv_cdf((1 + level) / 2) + _NORMAL.inv_cdf(power)
    return max(2, math.ceil((z * error / effect) ** 2 * clusters))


@cache
def t_quantile(probability: float, df: int) -> float:
    """Student's t with `df` degrees of freedom: the value that is not exceeded with `probability`; NaN for df < 1."""
    if df < 1:
        return math.nan
    if probability == 0.5:
        return 0.0
    if probability < 0.5:
        return -t_quantile(1 - probability, df)
    low, high = 0.0, 1.0
    while _t_below(high, df) < probability:
        low, high = high, 2 * high
    while high - low > 1e-13 * high:
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if _t_below(middle, df) < probability else (low, middle)
    return (low + high) / 2


def t_beyond(t: float, df: int) -> float:
    """The two-sided p of Student's t: P(|T| >= |t|) with `df` degrees of freedom."""
    return min(1.0, 2 * (1 - _t_below(abs(t), df)))


def _t_below(t: float, df: int) -> float:
    """P(T <= t) for t >= 0: 1 - I_x(df/2, 1/2) / 2 with x = df / (df + t^2)."""
    return 1 - _incomplete_beta(df / (df + t * t), df / 2, 0.5) / 2


def _incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularised incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(1 - x, b, a)
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    c, d, fraction = 1.0, 0.0, 1.0
    for j in range(1, 10_000):
        m = j // 2
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        term = odd if j % 2 else m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + term * d)
        c = 1 + term / c
        fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front / fraction
