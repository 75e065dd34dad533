"""Shares and agreement with honest intervals: pure functions.

Intervals are Wilson's throughout. They stay inside [0, 1], and nothing seen in few trials is not nothing:
0 of 30 gives 0 to 11 %.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Z95 = 1.959963984540054
"""Standard deviations of a normal distribution that hold 95 % around its mean."""


@dataclass(frozen=True)
class Rate:
    """A share with its 95 % interval; the share is None where nothing was seen."""

    rate: float | None
    low: float
    high: float
    effective_n: float
    """The size of a simple random sample that would know as much."""


@dataclass(frozen=True)
class Kappa:
    """How far two judges agree; None where it is not defined."""

    n: int
    agreed: float | None
    """Share of items on which both say the same."""
    kappa: float | None
    """The same beyond chance: 1 is perfect, 0 is chance. None where both always say one and the same thing."""
    low: float | None
    high: float | None


def wilson(hits: float, number: float, z: float = Z95) -> tuple[float, float]:
    """The score interval of a share seen as `hits` in `number` (Wilson 1927); (0, 1) for a number of 0.

    Both ends p solve (hits/number - p)^2 = z^2 p (1 - p) / number. The counts need not be whole.

    Raises:
        ValueError: not 0 <= hits <= number.
    """
    if not 0 <= hits <= number or not math.isfinite(number):
        raise ValueError(f"{hits} in {number} is not a share: 0 <= hits <= number is needed")
    if number == 0:
        return 0.0, 1.0
    share, extra = hits / number, z * z / number
    center = (share + extra / 2) / (1 + extra)
    half = math.sqrt(extra * share * (1 - share) + extra * extra / 4) / (1 + extra)
    # The formula is exact at the ends; rounding is not.
    low = 0.0 if hits == 0 else max(0.0, center - half)
    high = 1.0 if hits == number else min(1.0, center + half)
    return low, high


def stratum_weights(sizes: Sequence[int], strata: ArrayLike) -> NDArray[np.float64]:
    """For each unit that was looked at, how many of the population it stands for.

    `sizes[h]` is the number of units in stratum h, `strata` [n] the stratum of each unit. Of n_h units of
    stratum h each stands for sizes[h] / n_h: units that could not be judged are taken to be like the others
    of their stratum.
    """
    strata_n = np.asarray(strata, np.int64)
    seen_h = np.bincount(strata_n, minlength=len(sizes))
    return np.asarray(sizes, np.float64)[strata_n] / seen_h[strata_n]


def stratified_rate(hits: ArrayLike, trials: ArrayLike, weights: ArrayLike) -> Rate:
    """A share over units drawn by strata, each of which may hold several trials that are alike.

    For unit i with h_i hits in m_i trials and weight w_i: p = sum(w_i h_i) / sum(w_i m_i). With W_i = w_i m_i,
    the effective size is Kish's, n = sum(W_i)^2 / sum(W_i^2), and the interval is Wilson's of n p in n. All
    trials of a unit (the questions of a region) count as one observation there, as if they were always right
    or wrong together, and what stratification and a finite population gain is left out: the interval is wide
    rather than narrow.
    """
    hits_n, trials_n, weights_n = (np.asarray(values, np.float64) for values in (hits, trials, weights))
    whole_n = weights_n * trials_n
    total = float(whole_n.sum())
    if total == 0:
        return Rate(None, 0.0, 1.0, 0.0)
    rate = min(1.0, max(0.0, float((weights_n * hits_n).sum()) / total))
    effective = total**2 / float((whole_n**2).sum())
    low, high = wilson(rate * effective, effective)
    return Rate(rate, low, high, effective)


def cohen_kappa(first: Sequence[Hashable], second: Sequence[Hashable]) -> Kappa:
    """Agreement of two judges of the same items, in their order (Cohen 1960).

    kappa = (p_o - p_e) / (1 - p_e), where p_o is the share of equal judgements and p_e = sum over classes of
    the product of the two judges' shares of it. The interval is that of Cohen's paper, with p_e taken as
    known, but with Wilson's limits of p_o in place of the normal ones: with L and U these,
    (L - p_e) / (1 - p_e) to (U - p_e) / (1 - p_e). So perfect agreement on few items is not certainty.

    Raises:
        ValueError: the judges have judged different numbers of items.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} judgements and {len(second)}: agreement needs the same items in one order")
    n = len(first)
    if not n:
        return Kappa(0, None, None, None, None)
    equal = sum(a == b for a, b in zip(first, second, strict=True))
    observed = equal / n
    expected = sum(first.count(name) * second.count(name) for name in set(first)) / n**2
    if expected == 1:
        return Kappa(n, observed, None, None, None)
    low, high = wilson(equal, n)
    kappa, low, high = ((share - expected) / (1 - expected) for share in (observed, low, high))
    return Kappa(n, observed, kappa, max(-1.0, low), high)
