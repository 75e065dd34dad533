"""Do two runs on the same items differ? Paired differences with intervals and tests, for every pair of runs.

Whether runs may be compared at all is decided in `benchmark.compare`; here is only arithmetic.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from pydantic import Field

from benchmark import exchanges, metrics, stats
from benchmark.metrics import Columns, Statistic
from benchmark.records import LogLine, Record
from benchmark.scores import rounded, untrusted
from benchmark.stats import DRAWS, Resampled
from benchmark.table import Floats, Outcomes, Sums
from slvr_data.errors import RunError

TESTED = ("accuracy", "both", "all_right", "lift")
"""Scores that runs are compared by, unless others are asked for."""


class Difference(Record):
    """A score of the second of two runs less that of the first, on the same items."""

    first: str
    second: str
    score: str
    first_value: float | None
    second_value: float | None
    difference: float | None
    """None where one of them is not defined."""
    low: float | None
    """Of the 95 % interval of the difference, by the cluster bootstrap; None where it is withheld."""
    high: float | None
    withheld: str | None
    """Why there is no interval, in words."""
    error: float | None
    """Standard error of the difference."""
    p: float | None
    """Two-sided, from exchanging the runs within pictures."""
    p_adjusted: float | None
    """The same by Holm's method for all differences of the comparison."""
    exchanges: int = Field(ge=0)
    """Exchanges behind p."""
    exact: bool
    """Whether these are all."""
    least_p: float
    """The smallest p that this test can have: with more tests it must be smaller for Holm's method to let it pass."""
    mcnemar: float | None
    """The exact p of McNemar's test; only for scores of whole regions, where every picture has one region and seed."""
    only_first: int | None
    """Regions right in the first run alone; None where McNemar's test does not apply."""
    only_second: int | None
    detectable: float | None
    """The true difference that is found with a power of 80 % on these items, at 5 % before Holm's correction."""
    clusters_needed: int | None
    """Pictures like these on which a true difference as large as the seen one would be found with that power."""
    n_items: int
    n_clusters: int


@dataclass(frozen=True)
class Drawn:
    """How often is drawn, and from which seed."""

    intervals: int
    """Resamplings of pictures."""
    tests: int
    """Exchanges of two runs, at most."""
    seed: int


def differences(
    runs: Mapping[str, Iterable[LogLine]],
    scores: Sequence[str] = TESTED,
    draws: int | None = None,
    seed: int = 0,
    base: str | None = None,
) -> list[Difference]:
    """Every pair of runs (by name, in their order) on every one of `scores`, over the plain replies.

    Args:
        runs: their lines.
        scores: names among those of `benchmark.metrics.headline`.
        draws: resamplings and exchanges; None: `DRAWS` resamplings, and as many exchanges as that many tests need
            (`benchmark.exchanges.exchanges_for`).
        seed: of the draws.
        base: one of the runs: the others are compared with it alone.

    Raises:
        RunError: two runs were not asked the same.
        KeyError: a score has no such name, or no run is named `base`.
    """
    logs = {name: list(lines) for name, lines in runs.items()}
    tables = {name: Outcomes.from_log(lines) for name, lines in logs.items()}
    queries = metrics.queries_of(line for lines in logs.values() for line in lines)
    pairs = pairs_of(tables, base)
    many = Drawn(draws or DRAWS, draws or exchanges.exchanges_for(len(pairs) * len(scores)), seed)
    found = []
    for first, second in pairs:
        found += _pair((first, tables[first]), (second, tables[second]), queries, scores, many)
    adjusted = stats.holm([math.nan if row.p is None else row.p for row in found])
    return [
        row.model_copy(update={"p_adjusted": None if math.isnan(p) else rounded(p)})
        for row, p in zip(found, adjusted, strict=True)
    ]


def pairs_of(names: Collection[str], base: str | None) -> list[tuple[str, str]]:
    """All pairs of names in their order, or the pairs of `base` with each other one.

    Raises:
        KeyError: none is `base`.
    """
    if base is None:
        return list(combinations(names, 2))
    if base not in names:
        raise KeyError(base)
    return [(base, name) for name in names if name != base]


def _pair(
    first: tuple[str, Outcomes],
    second: tuple[str, Outcomes],
    queries: Mapping[str, int],
    scores: Sequence[str],
    many: Drawn,
) -> list[Difference]:
    names, tables = (first[0], second[0]), (first[1], second[1])
    _same(names, tables)
    own = [metrics.sums(table, queries) for table in tables]
    if not len(own[0].values):
        return []
    known = {statistic.name: statistic for statistic in metrics.headline(own[0].names)}
    statistics = [known[score] for score in scores]
    needed = {"replies"}.union(*({*columns_read(s, own[0]), *s.level, s.base} for s in statistics))
    own = [sums.only(needed) for sums in own]
    resampled = Resampled.of(_joined(*own), many.intervals, many.seed)
    return [_difference(names, tables[0], own, resampled, statistic, many) for statistic in statistics]


def _same(names: tuple[str, str], tables: tuple[Outcomes, Outcomes]) -> None:
    one, other = tables
    if (one.images, one.items, one.keys) != (other.images, other.items, other.keys) or not (
        np.array_equal(one.cluster_g, other.cluster_g) and np.array_equal(one.position_n, other.position_n)
    ):
        raise RunError(f"{names[0]} and {names[1]} were not asked the same: only runs on the same items are paired")


def _joined(first: Sums, second: Sums) -> Sums:
    """Columns of both runs side by side, "a " and "b " before their names."""
    names = tuple(f"{mark} {name}" for mark, own in (("a", first), ("b", second)) for name in own.names)
    items = {f"{mark} {name}": n for mark, own in (("a", first), ("b", second)) for name, n in own.items.items()}
    clusters = {f"{mark} {name}": n for mark, own in (("a", first), ("b", second)) for name, n in own.clusters.items()}
    return Sums(names, np.hstack([first.values, second.values]), items, clusters)


def _side(c: Columns, mark: str) -> Columns:
    return {name[2:]: column for name, column in c.items() if name.startswith(f"{mark} ")}


def paired(statistic: Statistic, base: str) -> Statistic:
    """The difference b - a of a score, over the columns of two runs side by side; `base` counts what it is over."""

    def formula(c: Columns) -> Floats:
        return statistic.formula(_side(c, "b")) - statistic.formula(_side(c, "a"))

    return Statistic(statistic.name, "difference", formula, f"a {base}", statistic.coverage)


def _difference(
    names: tuple[str, str],
    table: Outcomes,
    own: Sequence[Sums],
    resampled: Resampled,
    statistic: Statistic,
    many: Drawn,
) -> Difference:
    sums = resampled.sums
    base = statistic.base if _equal(sums, statistic.base) else "replies"
    interval = resampled.interval(paired(statistic, base))
    values = [float(statistic.formula(_side(resampled.total, mark))[0]) for mark in "ab"]
    levels = [_at(statistic, mark) for mark in "ab"]
    why = interval.why_none or next(filter(None, (untrusted(resampled, level) for level in levels)), None)
    p, tried, exact = _exchanged(own, statistic, many)
    clusters = sums.clusters[f"a {base}"]
    only = _discordant(table, own, statistic.name)
    error, known = interval.error, interval.error is not None
    return Difference(
        first=names[0],
        second=names[1],
        score=statistic.name,
        first_value=_finite(values[0]),
        second_value=_finite(values[1]),
        difference=_finite(values[1] - values[0]),
        low=None if why else rounded(interval.low),
        high=None if why else rounded(interval.high),
        withheld=why,
        error=rounded(error),
        p=_finite(p),
        p_adjusted=None,
        exchanges=tried,
        exact=exact,
        least_p=rounded(exchanges.least_p(tried, exact, many.tests)) or 0.0,
        mcnemar=None if only is None else rounded(stats.mcnemar(*only)),
        only_first=None if only is None else only[0],
        only_second=None if only is None else only[1],
        detectable=rounded(stats.detectable(error or 0.0, clusters)) if known else None,
        clusters_needed=stats.clusters_needed(error or 0.0, clusters, values[1] - values[0]) if known else None,
        n_items=sums.items[f"a {base}"],
        n_clusters=clusters,
    )


def _equal(sums: Sums, base: str) -> bool:
    """Whether both runs have the score over the same; what a conditional is over depends on what was right."""
    one, other = (sums.values[:, sums.names.index(f"{mark} {base}")] for mark in "ab")
    return bool(np.array_equal(one, other))


def _at(statistic: Statistic, mark: str) -> Statistic:
    """The score of one side, to look its coverage up."""
    level = (f"{mark} {statistic.level[0]}", f"{mark} {statistic.level[1]}")
    return Statistic(
        statistic.name, statistic.kind, statistic.formula, f"{mark} {statistic.base}", statistic.coverage, level=level
    )


def _exchanged(own: Sequence[Sums], statistic: Statistic, many: Drawn) -> tuple[float, int, bool]:
    """The permutation test, over the columns that the score reads: pictures equal in these need no exchange."""
    read = columns_read(statistic, own[0])
    places = [own[0].names.index(name) for name in read]
    difference = exchanges.difference_of(statistic, read)
    values = [sums.values[:, places] for sums in own]
    return exchanges.flipped(values[0], values[1], difference, many.tests, many.seed, DRAWS)


class _Noted(dict[str, Floats]):
    """Columns that remember which of them are read."""

    def __init__(self, columns: Columns) -> None:
        super().__init__(columns)
        self.read: dict[str, None] = {}

    def __getitem__(self, name: str) -> Floats:
        self.read[name] = None
        return super().__getitem__(name)


def columns_read(statistic: Statistic, sums: Sums) -> list[str]:
    """The columns that a statistic's formula reads."""
    noted = _Noted(sums.columns(sums.total))
    statistic.formula(noted)
    return list(noted.read)


def _discordant(table: Outcomes, own: Sequence[Sums], score: str) -> tuple[int, int] | None:
    """Regions right in the first run alone and in the second alone, where each picture has one region and seed."""
    if score not in ("both", "all_right") or len(table.item_g) != len(table.images):
        return None
    one, other = (sums.values[:, sums.names.index(score)] > 0 for sums in own)
    return int((one & ~other).sum()), int((other & ~one).sum())


def _finite(value: float) -> float | None:
    return rounded(value) if math.isfinite(value) else None
