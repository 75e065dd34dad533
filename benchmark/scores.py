"""All scores of a run with their intervals, as one flat mapping from names to estimates.

Names are parts joined by "/": "accuracy", "position/q1/accuracy", "facet/color/over_chance",
"paraphrase/flip_rate", "circular/circular_strict", "evidence/masked/hallucination_rate", "contradiction_rate",
"latents/zeroed/changed".
docs/statistics.md has every formula.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from pydantic import Field

from benchmark import agreement, metrics
from benchmark.coverage import why_withheld
from benchmark.interventions.edits import edits, twins_in
from benchmark.interventions.effects import effects, interventions_in
from benchmark.metrics import Statistic, divided
from benchmark.records import Item, LogLine, Record
from benchmark.stats import DRAWS, Resampled
from benchmark.table import Outcomes, Sums
from benchmark.transforms import TRANSFORMS

DIGITS = 12
"""Decimals that are kept: what is beyond may depend on the order in which a machine adds."""


class Estimate(Record):
    """A score and its 95 % interval."""

    value: float | None
    """None where there is nothing to compute it from."""
    low: float | None
    """None where the interval is withheld."""
    high: float | None
    n_items: int = Field(ge=0)
    """Regions that the score is over."""
    n_clusters: int = Field(ge=0)
    """Pictures that these are of."""
    n_left_out: int = Field(default=0, ge=0)
    """Of a score over plain regions: those that it leaves out, because replies to some of their queries are missing."""
    method: Literal["bootstrap", "wilson", "jackknife", "none"]
    """How the interval was found; "wilson" where the score is 0 or 1 in every resampling, "jackknife" for ranks."""
    withheld: str | None = None
    """Why there is no interval, in words."""
    error: float | None = None
    """Standard error, robust to correlation within pictures."""
    t_low: float | None = None
    """Of Student's t interval, for comparison: not cut to what is possible, and worse near 0 and 1."""
    t_high: float | None = None


Scores = dict[str, Estimate]
"""By name, in the order in which they are shown."""


def scores_of(
    lines: Iterable[LogLine], items: Iterable[Item] | None = None, draws: int = DRAWS, seed: int = 0
) -> Scores:
    """All scores of the lines of one run's log, in any order.

    Families of variants that were not asked have no scores. With `items`, the contradiction rate is there too: the
    log does not tell which profile fields decide a query; and regions of a run that was stopped are known for what
    they are where the log has none of their last queries.

    Raises:
        RunError: a query is there twice, or an item is of two pictures.
    """
    log = list(lines)
    found: Scores = {}
    for sums, statistics in _families(log, items):
        if len(sums.values) and any(sums.items[statistic.base] for statistic in statistics.values()):
            resampled = Resampled.of(sums, draws, seed)
            found |= {name: estimate(resampled, statistic) for name, statistic in statistics.items()}
        elif not found:
            found = {name: _nothing() for name in statistics}
    return found


def _families(log: Sequence[LogLine], items: Iterable[Item] | None) -> Iterator[tuple[Sums, dict[str, Statistic]]]:
    """Columns and named statistics, family by family; the plain one is first."""
    known = list(items) if items is not None else None
    outcomes, queries = Outcomes.from_log(log), metrics.queries_of(log, known or ())
    sums = metrics.sums(outcomes, queries)
    plain = {statistic.name: statistic for statistic in metrics.headline(sums.names)}
    plain |= {f"position/{name}/accuracy": statistic for name, statistic in metrics.by_position(outcomes).items()}
    for facet, own in metrics.by_facet(outcomes).items():
        plain |= {f"facet/{facet}/{statistic.name}": statistic for statistic in own}
    yield sums, plain
    variants = {line.variant for line in log}
    if known is not None:
        yield _named("", *agreement.contradictions(log, known))
    if any(variant.startswith("paraphrase-") for variant in variants):
        yield _named("paraphrase/", *agreement.paraphrases(log))
    if any(variant.startswith("rotation-") for variant in variants):
        yield _named("circular/", *agreement.circular(log, queries))
    for variant in TRANSFORMS:
        if variant in variants:
            yield _named(f"evidence/{variant}/", *agreement.evidence(log, variant))
    if twins_in(log):
        yield _named("", *edits(log))
    if interventions_in(log):
        yield effects(log)


def _named(prefix: str, sums: Sums, statistics: Sequence[Statistic]) -> tuple[Sums, dict[str, Statistic]]:
    return sums, {prefix + statistic.name: statistic for statistic in statistics}


def estimate(resampled: Resampled, statistic: Statistic) -> Estimate:
    """A score with its interval, or with the reason why that is withheld."""
    found = resampled.interval(statistic)
    sums, base = resampled.sums, statistic.base
    # At 0 or 1 the interval is Wilson's and needs no spread between pictures: the simulation is of the bootstrap's.
    sure = found.method == "wilson" and found.value in (0.0, 1.0)
    why = found.why_none or (None if sure else untrusted(resampled, statistic))
    low, high, t_low, t_high = (None if why else end for end in (found.low, found.high, found.t_low, found.t_high))
    return Estimate(
        value=rounded(found.value),
        low=rounded(low),
        high=rounded(high),
        n_items=sums.items[base],
        n_clusters=sums.clusters[base],
        n_left_out=sums.items.get("incomplete", 0) if base in metrics.OVER_REGIONS else 0,
        method="none" if why else found.method,
        withheld=why,
        error=rounded(found.error),
        t_low=rounded(t_low),
        t_high=rounded(t_high),
    )


def untrusted(resampled: Resampled, statistic: Statistic) -> str | None:
    """Why the interval of a score that has one is not to be trusted, by the simulated coverage; otherwise None."""
    above, below = (resampled.total[name] for name in statistic.level)
    share = float(divided(above, below)[0])
    return why_withheld(statistic.coverage, resampled.sums.clusters[statistic.base], share)


def _nothing() -> Estimate:
    return Estimate(
        value=None, low=None, high=None, n_items=0, n_clusters=0, method="none", withheld="no region was asked about"
    )


def rounded(value: float | None) -> float | None:
    """To `DIGITS` decimals."""
    return None if value is None else round(value, DIGITS) + 0.0
