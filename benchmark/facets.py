"""Which facets a model gets right together: a table over pairs of queries about the same region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.table import Outcomes

LEAST_PAIRS = 20
"""Below so many pairs a cell says its count and nothing else is read from it."""


@dataclass(frozen=True)
class FacetTable:
    """Index letters: f, g facets."""

    facets: tuple[str, ...]
    pairs_fg: NDArray[np.int64]
    """Pairs of queries of one region, one of either facet; on the diagonal, queries of the facet."""
    both_fg: NDArray[np.float64]
    """Share of the pairs with both right; on the diagonal, accuracy. NaN where there are none."""
    expected_fg: NDArray[np.float64]
    """Product of the two accuracies over the same pairs: what independence would give. NaN on the diagonal."""
    phi_fg: NDArray[np.float64]
    """Correlation of right and wrong over the pairs; NaN where one side is all right or all wrong."""


def facet_table(outcomes: Outcomes) -> FacetTable:
    """The table of one variant of a run.

    For facets f and g over n pairs (a, b) of the same region and seed, with a, b in {0, 1}: both = mean(ab), expected =
    mean(a) mean(b), phi = (both - expected) / sqrt(mean(a)(1 - mean(a)) mean(b)(1 - mean(b))). A region with several
    queries of a facet gives each pair.
    """
    size, groups = len(outcomes.facets), len(outcomes.item_g)
    asked_gf, right_gf = np.zeros((groups, size)), np.zeros((groups, size))
    np.add.at(asked_gf, (outcomes.group_n, outcomes.facet_n), 1)
    np.add.at(right_gf, (outcomes.group_n, outcomes.facet_n), outcomes.correct_n)
    pairs, first, both = asked_gf.T @ asked_gf, right_gf.T @ asked_gf, right_gf.T @ right_gf
    diagonal = np.diag_indices(size)
    pairs[diagonal], both[diagonal] = asked_gf.sum(0), right_gf.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share_fg, one_fg = both / pairs, first / pairs
        expected_fg = one_fg * one_fg.T
        expected_fg[diagonal] = np.nan
        spread = one_fg * (1 - one_fg)
        phi_fg = (share_fg - expected_fg) / np.sqrt(spread * spread.T)
    phi_fg[~np.isfinite(phi_fg)] = np.nan
    return FacetTable(outcomes.facets, np.rint(pairs).astype(np.int64), share_fg, expected_fg, phi_fg)


def joined_facets(tables: Sequence[FacetTable]) -> tuple[str, ...]:
    """Facets of all tables, sorted."""
    return tuple(sorted({facet for table in tables for facet in table.facets}))
