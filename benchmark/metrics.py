"""Scores of correctness: what is added up per picture, and the formulas over totals.

Every score is a function of sums over pictures, so that ten thousand resamplings are one product of matrices.
Notation: item r has k_r replies of which m_r are right (c_ri is 1 or 0); n items. Sources: VQA-Rephrasings
(1902.05660) for CS(k), VQA-Introspect (2001.06927) for the conditionals, Cohen (1960) for kappa, Fleiss and Cuzick
(1979) for the correlation. docs/statistics.md has the formulas in one place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Literal

import numpy as np

from benchmark.records import Item, LogLine
from benchmark.table import OUTCOMES, Bools, Floats, Outcomes, Sums

Columns = dict[str, Floats]
"""Totals by column name, [d] each."""
OVER_REGIONS = frozenset({
    "items", "several", "several_guessable", "once", "two", "q1", "q2", "pairs", "pairs_first",
    "items_2", "items_3", "items_4",
})  # fmt: skip
"""Columns that count regions, or what is within them, of which all replies are there."""
Kind = Literal["share", "difference", "coefficient"]
"""A share lies in [0, 1]; a difference of shares and a coefficient in [-1, 1]."""
MOST_TOGETHER = 4
"""The largest k of CS(k): items have two to four queries."""


@dataclass(frozen=True)
class Statistic:
    """A score as a function of totals."""

    name: str
    kind: Kind
    formula: Callable[[Columns], Floats]
    """Totals [d] by column -> values [d]; NaN where it is not defined."""
    base: str
    """The column that counts what the score is over."""
    coverage: str
    """Under what name the simulated coverage of its interval is kept (`benchmark.coverage`)."""
    over: tuple[str, str] | None = None
    """(numerator, denominator), where the score is a ratio of two columns."""
    level: tuple[str, str] = ("right", "replies")
    """Numerator and denominator of the share that the coverage is looked up at."""


def ratio(name: str, above: str, below: str, coverage: str = "accuracy") -> Statistic:
    """The share `above` / `below` of two columns; NaN where `below` is 0."""
    level = (above, below) if coverage == "accuracy" else ("right", "replies")
    return Statistic(name, "share", lambda c: divided(c[above], c[below]), below, coverage, (above, below), level)


def divided(above_d: Floats, below_d: Floats) -> Floats:
    """The ratio of both; NaN where below is not above 0."""
    safe = np.where(below_d > 0, below_d, 1.0)
    return np.where(below_d > 0, above_d / safe, np.nan)


# --- what is added up


def sums(outcomes: Outcomes, queries: Mapping[str, int] | None = None) -> Sums:
    """All columns that the statistics of `headline`, `by_position` and `by_facet` need.

    `queries` tells how many queries items have (`queries_of`), otherwise the places of their replies do. A region
    of which replies are missing, as in a run that was stopped, is in no column over regions: it would count as all
    right sooner than it is. Its replies count as replies.
    """
    whole_g = _whole(outcomes, queries or {})
    columns = _replies(outcomes) | _items(outcomes, whole_g) | _pairs(outcomes, whole_g)
    columns |= _independent(outcomes, whole_g) | _positions(outcomes) | _facets(outcomes)
    return Sums.of_groups(columns, outcomes.item_g, outcomes.cluster_g, len(outcomes.images))


def queries_of(lines: Iterable[LogLine], items: Iterable[Item] = ()) -> dict[str, int]:
    """Item -> its number of queries: by `items`, and for others as far as the lines of all variants tell."""
    found: dict[str, int] = {}
    for line in lines:
        found[line.item_id] = max(found.get(line.item_id, 0), line.position + 1)
    return found | {item.item_id: len(item.queries) for item in items}


def _whole(outcomes: Outcomes, queries: Mapping[str, int]) -> Bools:
    """[g] Groups with a reply to every query of their item."""
    number_i = np.array([queries.get(item, 0) for item in outcomes.items], np.int64)
    np.maximum.at(number_i, outcomes.item_g[outcomes.group_n], outcomes.position_n + 1)
    return outcomes.counted() >= number_i[outcomes.item_g]


def _replies(outcomes: Outcomes) -> Columns:
    guessable_n = ~np.isnan(outcomes.chance_n)
    chance_n = np.where(guessable_n, outcomes.chance_n, 0.0)
    columns = {
        "replies": outcomes.counted(),
        "right": outcomes.counted(outcomes.correct_n),
        "guessable": outcomes.counted(guessable_n),
        "guessable_right": outcomes.counted(guessable_n & outcomes.correct_n),
        "chance": outcomes.counted(None, chance_n),
    }
    for code, name in enumerate(OUTCOMES):
        columns[name] = outcomes.counted(outcomes.outcome_n == code)
    return columns


def _items(outcomes: Outcomes, whole_g: Bools) -> Columns:
    """Columns over whole items, most of them with two or more replies, and their ordered pairs of replies."""
    k_g, m_g = (np.where(whole_g, n_g, 0.0) for n_g in (outcomes.counted(), outcomes.counted(outcomes.correct_n)))
    several_g = k_g >= 2
    all_g = several_g & (m_g == k_g)
    # The same item over all seeds, counted once, at its first group.
    first_g = np.unique(outcomes.item_g, return_index=True)[1]
    seeds_k = np.bincount(outcomes.item_g, k_g)
    seeds_m = np.bincount(outcomes.item_g, m_g)
    once_g = np.zeros(len(k_g), np.bool_)
    once_g[first_g] = several_g[first_g] & (np.bincount(outcomes.item_g, ~whole_g) == 0)
    columns = {
        "groups": np.ones(len(k_g)),
        "incomplete": (~whole_g).astype(np.float64),
        "items": whole_g.astype(np.float64),
        "item_mean": np.where(whole_g, divided(m_g, k_g), 0.0),
        "several": several_g.astype(np.float64),
        "all_right": all_g.astype(np.float64),
        "any_right": (several_g & (m_g > 0)).astype(np.float64),
        "once": once_g.astype(np.float64),
        "always_right": (once_g & (seeds_m == seeds_k)[outcomes.item_g]).astype(np.float64),
        **_guessed_together(outcomes, several_g, all_g),
        "pairs": k_g * (k_g - 1),
        "pairs_right": m_g * (m_g - 1),
        "pairs_first": m_g * (k_g - 1),
    }
    number_g, right_g = k_g.astype(np.int64), m_g.astype(np.int64)
    each = range(int(k_g.max(initial=0)) + 1)
    for k in range(2, MOST_TOGETHER + 1):
        share = np.array([[comb(m, k) / comb(n, k) if n >= k else 0.0 for m in each] for n in each])
        columns[f"items_{k}"] = (k_g >= k).astype(np.float64)
        columns[f"cs_{k}"] = share[number_g, right_g]
    return columns


def _guessed_together(outcomes: Outcomes, several_g: Bools, all_g: Bools) -> Columns:
    """Items all of whose queries can be guessed, and how likely all guesses are right."""
    product_g = np.ones(len(outcomes.item_g))
    np.multiply.at(product_g, outcomes.group_n, outcomes.chance_n)
    guessable_g = several_g & ~np.isnan(product_g)
    return {
        "several_guessable": guessable_g.astype(np.float64),
        "guessable_all_right": (guessable_g & all_g).astype(np.float64),
        "all_chance": np.where(guessable_g, product_g, 0.0),
    }


def _pairs(outcomes: Outcomes, whole_g: Bools) -> Columns:
    """Columns over whole items with a first and a second reply (positions 0 and 1)."""
    first_n, second_n = (outcomes.position_n == place for place in (0, 1))
    both_g = whole_g & (outcomes.counted(first_n) > 0) & (outcomes.counted(second_n) > 0)
    right1_g = both_g * outcomes.counted(first_n & outcomes.correct_n)
    right2_g = both_g * outcomes.counted(second_n & outcomes.correct_n)
    return {"two": both_g.astype(np.float64), "q1": right1_g, "q2": right2_g, "both": right1_g * right2_g}


def _independent(outcomes: Outcomes, whole_g: Bools) -> Columns:
    """Columns for what all-right would be if places were independent: whole items by the set of places they have."""
    k_g = np.where(whole_g, outcomes.counted(), 0.0)
    places = sorted(set(outcomes.position_n.tolist()))
    here_gp = np.zeros((len(k_g), len(places)), np.bool_)
    columns: Columns = {}
    for p, place in enumerate(places):
        here_n = outcomes.position_n == place
        here_gp[:, p] = (outcomes.counted(here_n) > 0) & (k_g >= 2)
        columns[f"several_at_{place}"] = here_gp[:, p].astype(np.float64)
        columns[f"several_right_{place}"] = np.where(k_g >= 2, outcomes.counted(here_n & outcomes.correct_n), 0.0)
    patterns, pattern_g = np.unique(here_gp, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        if pattern.any():
            name = "-".join(str(place) for place, there in zip(places, pattern, strict=True) if there)
            columns[f"places_{name}"] = (pattern_g.ravel() == number).astype(np.float64)
    return columns


def _positions(outcomes: Outcomes) -> Columns:
    columns: Columns = {}
    for place in sorted(set(outcomes.position_n.tolist())):
        here_n = outcomes.position_n == place
        columns[f"at_{place}"] = outcomes.counted(here_n)
        columns[f"right_at_{place}"] = outcomes.counted(here_n & outcomes.correct_n)
    return columns


def _facets(outcomes: Outcomes) -> Columns:
    columns: Columns = {}
    guessable_n = ~np.isnan(outcomes.chance_n)
    chance_n = np.where(guessable_n, outcomes.chance_n, 0.0)
    for code, facet in enumerate(outcomes.facets):
        here_n = outcomes.facet_n == code
        columns[f"of {facet}"] = outcomes.counted(here_n)
        columns[f"right of {facet}"] = outcomes.counted(here_n & outcomes.correct_n)
        columns[f"guessable of {facet}"] = outcomes.counted(here_n & guessable_n)
        columns[f"guessable right of {facet}"] = outcomes.counted(here_n & guessable_n & outcomes.correct_n)
        columns[f"chance of {facet}"] = outcomes.counted(here_n, chance_n)
    return columns


# --- formulas


def headline(names: Sequence[str]) -> list[Statistic]:
    """The scores of a run, in the order in which they are shown; `names` are the columns of its `sums`."""
    shares = [
        ratio("accuracy", "right", "replies"),
        ratio("accuracy_of_answered", "right", "answer"),
        *(ratio(name, name, "replies") for name in ("unparsed", "refused", "failed")),
        ratio("incomplete", "incomplete", "groups"),
        ratio("accuracy_per_item", "item_mean", "items"),
        ratio("both", "both", "two", "both"),
        ratio("all_right", "all_right", "several", "all_right"),
        ratio("any_right", "any_right", "several", "any_right"),
        ratio("worst_of_k", "always_right", "once", "all_right"),
        *(ratio(f"cs_{k}", f"cs_{k}", f"items_{k}", "all_right") for k in range(2, MOST_TOGETHER + 1)),
        ratio("p_q2_given_q1", "both", "q1", "conditional"),
        ratio("p_q1_given_q2", "both", "q2", "conditional"),
        ratio("p_other_given_one", "pairs_right", "pairs_first", "conditional"),
    ]
    return [
        *shares,
        Statistic("mixed", "share", _mixed, "several", "any_right"),
        Statistic(
            "over_chance", "difference", _over("guessable_right", "chance", "guessable"), "guessable", "accuracy"
        ),
        Statistic(
            "all_right_over_chance",
            "difference",
            _over("guessable_all_right", "all_chance", "several_guessable"),
            "several_guessable",
            "all_right",
        ),
        Statistic("lift", "difference", _lift, "two", "lift"),
        Statistic("lift_of_all", "difference", _lift_of_all(names), "several", "lift_of_all"),
        Statistic("phi", "coefficient", _phi, "two", "phi"),
        Statistic("kappa", "coefficient", _kappa, "two", "kappa"),
        Statistic("correlation", "coefficient", _correlation, "pairs", "correlation"),
    ]


def by_position(outcomes: Outcomes) -> dict[str, Statistic]:
    """Accuracy at each place, by "q1", "q2", ..."""
    places = sorted(set(outcomes.position_n.tolist()))
    return {f"q{place + 1}": ratio("accuracy", f"right_at_{place}", f"at_{place}") for place in places}


def by_facet(outcomes: Outcomes) -> dict[str, list[Statistic]]:
    """For each facet its accuracy, and that over chance."""
    return {
        facet: [
            ratio("accuracy", f"right of {facet}", f"of {facet}"),
            Statistic(
                "over_chance",
                "difference",
                _over(f"guessable right of {facet}", f"chance of {facet}", f"guessable of {facet}"),
                f"guessable of {facet}",
                "accuracy",
                level=(f"right of {facet}", f"of {facet}"),
            ),
        ]
        for facet in outcomes.facets
    }


def _over(right: str, chance: str, number: str) -> Callable[[Columns], Floats]:
    return lambda c: divided(c[right] - c[chance], c[number])


def _mixed(c: Columns) -> Floats:
    return divided(c["any_right"] - c["all_right"], c["several"])


def _margins(c: Columns) -> tuple[Floats, Floats, Floats]:
    """Shares of items whose first, second, and both replies are right."""
    return divided(c["q1"], c["two"]), divided(c["q2"], c["two"]), divided(c["both"], c["two"])


def _lift(c: Columns) -> Floats:
    p1, p2, both = _margins(c)
    return both - p1 * p2


def _phi(c: Columns) -> Floats:
    p1, p2, both = _margins(c)
    spread = p1 * (1 - p1) * p2 * (1 - p2)
    return divided(both - p1 * p2, np.sqrt(np.maximum(spread, 0.0)))


def _kappa(c: Columns) -> Floats:
    p1, p2, both = _margins(c)
    expected = p1 * p2 + (1 - p1) * (1 - p2)
    return divided(2 * (both - p1 * p2), 1 - expected)  # observed - expected = 2 lift


def _correlation(c: Columns) -> Floats:
    share, together = divided(c["pairs_first"], c["pairs"]), divided(c["pairs_right"], c["pairs"])
    return divided(together - share**2, share * (1 - share))


def _lift_of_all(names: Sequence[str]) -> Callable[[Columns], Floats]:
    patterns = {name: name.removeprefix("places_").split("-") for name in names if name.startswith("places_")}

    def formula(c: Columns) -> Floats:
        expected = np.zeros_like(c["several"])
        for name, places in patterns.items():
            product = c[name].copy()
            for place in places:
                share = divided(c[f"several_right_{place}"], c[f"several_at_{place}"])
                product = product * np.where(c[name] > 0, share, 0.0)
            expected += product
        return divided(c["all_right"] - expected, c["several"])

    return formula
