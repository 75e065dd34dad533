"""Do arms differ, each trained with several seeds? Scores over seeds and pictures, and paired differences of arms.

An arm is a way to train; its score is the mean of the scores of its seeds, each on the same items. Two things vary:
which seeds were trained, and which pictures were asked about. Both are drawn, the pictures the same for all arms and
seeds, so that arms are paired by item; where two arms have the same numbers of seeds these are paired too. The
interval is `benchmark.two_level`'s; docs/statistics.md has the formulas, and how often they hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark import metrics, stats
from benchmark.comparison import columns_read
from benchmark.coverage import why_withheld
from benchmark.interventions.edits import edits, twins_in
from benchmark.interventions.effects import effects, interventions_in
from benchmark.metrics import Columns, Statistic, divided
from benchmark.records import LogLine, Record
from benchmark.scores import rounded
from benchmark.stats import DRAWS
from benchmark.table import Floats, Outcomes, Sums
from benchmark.two_level import EQUAL, Part, ends_of
from slvr_data.errors import RunError
from slvr_data.stats import wilson

TESTED = ("accuracy", "both", "lift", "phi", "latents/picture/changed")
"""Differences that Holm's correction is made for; the others have a p of their own alone."""
FEW = 5
"""Seeds below which a comparison says that it has few."""


@dataclass(frozen=True)
class Family:
    """Sums over pictures, and the scores that are functions of their totals."""

    sums: Sums
    statistics: Mapping[str, Statistic]


def families_of(lines: Sequence[LogLine], queries: Mapping[str, int]) -> list[Family]:
    """What is added up of one run: the plain replies, edited scenes, and replaced latents.

    Raises:
        RunError: a query is there twice, or an item is of two pictures.
    """
    sums = metrics.sums(Outcomes.from_log(lines), queries)
    found = [Family(sums, {statistic.name: statistic for statistic in metrics.headline(sums.names)})]
    if twins_in(lines):
        own, statistics = edits(lines)
        found.append(Family(own, {statistic.name: statistic for statistic in statistics}))
    if interventions_in(lines):
        found.append(Family(*effects(lines)))
    return found


class ArmScore(Record):
    """A score of an arm: the mean over its seeds, with the interval over seeds and pictures."""

    value: float | None
    """None where it is not defined for every seed."""
    low: float | None
    """Of the 95 % interval; None where it is withheld. Of one seed it is over pictures alone."""
    high: float | None
    withheld: str | None
    """Why there is no interval, in words."""
    seeds: tuple[float | None, ...]
    """The score of each seed, in the order of the arm's seeds; None for one that was not asked what it is over."""
    n_seeds: int
    """Seeds that it is over."""
    spread: float | None
    """Standard deviation between seeds (n - 1 below); None for one seed."""
    error: float | None
    """Standard error, of seeds and pictures."""
    picture_error: float | None
    """The part of the pictures: what it would be if these very seeds were the whole arm."""
    df: int | None
    """Degrees of freedom of the t quantile that the interval is as wide as."""
    drawn_low: float | None
    """Of the two-level bootstrap as it stands, n of n seeds, without any correction: to compare with other work."""
    drawn_high: float | None
    n_items: int
    n_clusters: int


class ArmDifference(Record):
    """A score of an arm less that of the base arm, on the same items."""

    arm: str
    base: str
    score: str
    arm_value: float | None
    base_value: float | None
    difference: float | None
    low: float | None
    high: float | None
    withheld: str | None
    paired: bool
    """Whether seeds were paired: both arms have the same numbers."""
    seeds: tuple[float | None, ...]
    """The difference of each pair of seeds; empty where they are not paired."""
    spread: float | None
    """Standard deviation of these."""
    error: float | None
    df: int | None
    p: float | None
    """Two-sided, of Student's t = difference / error."""
    p_adjusted: float | None
    """By Holm's method over the differences of `TESTED`; None for others."""
    detectable: float | None
    """The true difference that is found with a power of 80 % on these items and seeds, at 5 %."""


@dataclass(frozen=True)
class Sampled:
    """A score of one arm, in the data and in the draws of pictures."""

    statistic: Statistic
    numbers: tuple[int, ...]
    """[n] The seeds that were asked what it is over."""
    own_s: Floats
    """[n] Of each seed."""
    drawn_ds: Floats
    """[D, n] Of each seed over the same drawn pictures."""
    items: int
    clusters: int
    level: float
    """Share that the coverage of intervals is looked up at."""

    def of(self, numbers: Sequence[int]) -> Sampled:
        """Of some of its seeds."""
        places = [self.numbers.index(number) for number in numbers]
        return replace(self, numbers=tuple(numbers), own_s=self.own_s[places], drawn_ds=self.drawn_ds[:, places])


def sampled_of(seeds: Mapping[int, Sequence[Family]], draws: int = DRAWS, seed: int = 0) -> dict[str, Sampled]:
    """All scores that some seed of an arm has, by name, each over the seeds that have it.

    The pictures that are drawn follow from `seed`, `draws` and their number: they are the same for all arms.

    Raises:
        RunError: seeds are over other pictures.
    """
    found: dict[str, Sampled] = {}
    for families in zip(*(_by_kind(own) for own in seeds.values()), strict=True):
        there = {number: one for number, one in zip(seeds, families, strict=True) if one is not None}
        names = list(dict.fromkeys(name for one in there.values() for name in one.statistics))
        groups: dict[tuple[int, ...], list[str]] = {}
        for name in names:
            groups.setdefault(tuple(n for n, one in there.items() if name in one.statistics), []).append(name)
        made: dict[str, Sampled] = {}
        for numbers, own in groups.items():
            made |= _family(numbers, [there[number] for number in numbers], own, draws, seed)
        found |= {name: made[name] for name in names if name in made}
    return found


def _by_kind(families: Sequence[Family]) -> list[Family | None]:
    """Plain, edited scenes, latents; None for what a run does not have."""
    marks = ("accuracy", "edit_changed", "latents/")
    return [
        next((family for family in families if any(name.startswith(mark) for name in family.statistics)), None)
        for mark in marks
    ]


def _family(
    numbers: tuple[int, ...], families: Sequence[Family], names: Sequence[str], draws: int, seed: int
) -> dict[str, Sampled]:
    """Scores that all of these seeds have."""
    first = families[0]
    if not len(first.sums.values):
        return {}
    if any(len(family.sums.values) != len(first.sums.values) for family in families):
        raise RunError("the runs of an arm were not asked about the same pictures")
    needed: set[str] = set()
    for name in names:
        statistic = first.statistics[name]
        needed |= {*columns_read(statistic, first.sums), *statistic.level, statistic.base}
    sums = [family.sums.only(needed) for family in families]
    totals = stats.drawn(np.hstack([one.values for one in sums]), draws, seed)
    width = len(sums[0].names)
    by_seed = [one.columns(totals[:, s * width : (s + 1) * width]) for s, one in enumerate(sums)]
    whole = [one.columns(one.total) for one in sums]
    return {
        name: _sampled(numbers, [family.statistics[name] for family in families], sums, whole, by_seed)
        for name in names
    }


def _sampled(
    numbers: tuple[int, ...],
    statistics: Sequence[Statistic],
    sums: Sequence[Sums],
    whole: Sequence[Columns],
    by_seed: Sequence[Columns],
) -> Sampled:
    own = np.array([float(one.formula(total)[0]) for one, total in zip(statistics, whole, strict=True)])
    drawn_ds = np.stack([one.formula(columns) for one, columns in zip(statistics, by_seed, strict=True)], axis=1)
    statistic = statistics[0]
    above, below = (np.array([sum(float(total[name][0]) for total in whole)]) for name in statistic.level)
    base = statistic.base
    return Sampled(
        statistic,
        numbers,
        own,
        drawn_ds,
        max(one.items[base] for one in sums),
        max(one.clusters[base] for one in sums),
        float(divided(above, below)[0]),
    )


# --- scores and differences


def score_of(sampled: Sampled, numbers: Sequence[int], seed: int = 0) -> ArmScore:
    """The score of an arm with seeds of these numbers, with its interval or with the reason why that is withheld."""
    statistic, own = sampled.statistic, sampled.own_s
    ends = ends_of([Part(1, own, sampled.drawn_ds)], sampled.clusters, seed)
    value = float(own.mean())
    low, high, why = ends.low, ends.high, ends.why_none
    if why == EQUAL and statistic.kind == "share":
        low, high = wilson(sampled.clusters * min(1.0, max(0.0, value)), sampled.clusters)
        why = None
    elif why is None:
        why = why_withheld(statistic.coverage, sampled.clusters, sampled.level)
        least = 0.0 if statistic.kind == "share" else -1.0
        low, high = max(least, low or 0.0), min(1.0, high or 0.0)
    drawn = ends.drawn or (None, None)
    error, each = ends.error, dict(zip(sampled.numbers, own.tolist(), strict=True))
    return ArmScore(
        value=_finite(value),
        low=None if why else rounded(low),
        high=None if why else rounded(high),
        withheld=why,
        seeds=tuple(_finite(each.get(number, math.nan)) for number in numbers),
        n_seeds=len(own),
        spread=_spread(own),
        error=None if error is None else rounded(error.error),
        picture_error=None if error is None else rounded(error.pictures),
        df=None if error is None else error.df,
        drawn_low=rounded(drawn[0]),
        drawn_high=rounded(drawn[1]),
        n_items=sampled.items,
        n_clusters=sampled.clusters,
    )


@dataclass(frozen=True)
class Side:
    """An arm in a comparison."""

    name: str
    scores: Mapping[str, Sampled]


def differences_of(arm: Side, base: Side, seed: int = 0) -> list[ArmDifference]:
    """An arm less the base arm, on every score that both have; without Holm's correction."""
    return [_difference(arm, base, name, seed) for name in arm.scores if name in base.scores]


def adjusted(rows: Sequence[ArmDifference]) -> list[ArmDifference]:
    """The differences with p after Holm's correction over those of `TESTED`, of all arms."""
    p_values = stats.holm([row.p if row.score in TESTED and row.p is not None else math.nan for row in rows])
    return [
        row.model_copy(update={"p_adjusted": None if math.isnan(p) else rounded(p)})
        for row, p in zip(rows, p_values, strict=True)
    ]


def _difference(arm: Side, base: Side, name: str, seed: int) -> ArmDifference:
    one, other = arm.scores[name], base.scores[name]
    paired = set(one.numbers) == set(other.numbers)
    parts = [Part(1, one.own_s, one.drawn_ds), Part(-1, other.own_s, other.drawn_ds)]
    if paired:
        other = other.of(one.numbers)
        parts = [Part(1, one.own_s - other.own_s, one.drawn_ds - other.drawn_ds)]
    clusters = min(one.clusters, other.clusters)
    ends = ends_of(parts, clusters, seed)
    difference = float(one.own_s.mean() - other.own_s.mean())
    coverage = one.statistic.coverage
    levels = [why_withheld(coverage, side.clusters, side.level) for side in (one, other)] if coverage else []
    why = ends.why_none or next(filter(None, levels), None)
    own_s, error = parts[0].own_s if paired else np.zeros(0), ends.error
    known = error is not None and error.error > 0
    return ArmDifference(
        arm=arm.name,
        base=base.name,
        score=name,
        arm_value=_finite(float(one.own_s.mean())),
        base_value=_finite(float(other.own_s.mean())),
        difference=_finite(difference),
        low=None if why else rounded(ends.low),
        high=None if why else rounded(ends.high),
        withheld=why,
        paired=paired,
        seeds=tuple(_finite(value) for value in own_s.tolist()),
        spread=_spread(own_s),
        error=None if error is None else rounded(error.error),
        df=None if error is None else error.df,
        p=rounded(stats.t_beyond(difference / error.error, error.df)) if known and error is not None else None,
        p_adjusted=None,
        detectable=rounded(stats.detectable(error.error, error.df + 1)) if known and error is not None else None,
    )


def _spread(own_s: Floats) -> float | None:
    return _finite(float(own_s.std(ddof=1))) if len(own_s) > 1 else None


def _finite(value: float) -> float | None:
    return rounded(value) if math.isfinite(value) else None
