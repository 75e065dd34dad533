"""Run logs as arrays: what every score is computed from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from benchmark.records import LogLine, Outcome
from slvr_data.errors import RunError

OUTCOMES: tuple[Outcome, ...] = ("answer", "unparsed", "refused", "failed")
"""The meaning of `Outcomes.outcome_n`."""

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Outcomes:
    """The replies of one variant of a run, in an order that does not depend on the log's.

    Index letters: n replies, g groups (an item in one seed), i items, c clusters (pictures). Every seed of an item
    is a group of its own: scores are means over seeds, and the picture stays the one cluster of all of them.
    """

    images: tuple[str, ...]
    """[c] Sorted."""
    items: tuple[str, ...]
    """[i] Sorted by picture, then by id."""
    facets: tuple[str, ...]
    """Those that occur, sorted."""
    group_n: Ints
    """[n] Group of each reply."""
    position_n: Ints
    """[n] Place of the query in its item, from 0."""
    facet_n: Ints
    """[n] Index into `facets`."""
    correct_n: Bools
    outcome_n: Ints
    """[n] Index into `OUTCOMES`."""
    chance_n: Floats
    """[n] NaN where the query is open."""
    item_g: Ints
    """[g] Item of each group."""
    cluster_g: Ints
    """[g] Picture of each group."""
    queries: tuple[str, ...]
    """[n] Query id of each reply."""

    @property
    def keys(self) -> list[tuple[int, str]]:
        """What was asked, in order: (group, query id); two runs are paired where these and `items` agree."""
        return list(zip(self.group_n.tolist(), self.queries, strict=True))

    @classmethod
    def from_log(cls, lines: Iterable[LogLine], variant: str = "plain", seed: int | None = None) -> Outcomes:
        """The replies of `variant`, of one seed or of all.

        Raises:
            RunError: a query of an item is there twice in one seed, or an item is of two pictures.
        """
        taken = [line for line in lines if line.variant == variant and seed in (None, line.seed)]
        taken.sort(key=lambda line: (line.image_id, line.item_id, line.seed, line.position, line.query_id))
        _check(taken)
        images = tuple(sorted({line.image_id for line in taken}))
        items = tuple(dict.fromkeys(line.item_id for line in taken))
        facets = tuple(sorted({line.facet for line in taken}))
        code = {name: i for i, name in enumerate(images)}
        item_code = {name: i for i, name in enumerate(items)}
        facet_code = {name: i for i, name in enumerate(facets)}
        groups = {(line.item_id, line.seed): code[line.image_id] for line in taken}
        group_code = {key: g for g, key in enumerate(groups)}
        return cls(
            images,
            items,
            facets,
            _ints([group_code[line.item_id, line.seed] for line in taken]),
            _ints([line.position for line in taken]),
            _ints([facet_code[line.facet] for line in taken]),
            np.array([line.correct for line in taken], np.bool_),
            _ints([OUTCOMES.index(line.outcome) for line in taken]),
            np.array([np.nan if line.chance is None else line.chance for line in taken], np.float64),
            _ints([item_code[item] for item, _ in groups]),
            _ints(list(groups.values())),
            tuple(line.query_id for line in taken),
        )

    def counted(self, mask_n: Bools | None = None, weights_n: Floats | None = None) -> Floats:
        """[g] Replies of each group where `mask_n` [n] holds, or the sum of their weights."""
        weights = np.ones(len(self.group_n)) if weights_n is None else weights_n
        if mask_n is not None:
            weights = np.where(mask_n, weights, 0.0)
        return np.bincount(self.group_n, weights, minlength=len(self.item_g)).astype(np.float64)


@dataclass(frozen=True)
class Sums:
    """Additive quantities per picture: all that a resampling of pictures needs to know.

    A statistic is a function of column totals, so a draw of pictures with counts w [c] is `w @ values` [s].
    """

    names: tuple[str, ...]
    """[s] Of the columns."""
    values: Floats
    """[c, s]"""
    items: dict[str, int]
    """For each column: items that are not zero in it."""
    clusters: dict[str, int]
    """For each column: pictures that are not zero in it."""

    @property
    def total(self) -> Floats:
        """[1, s] Column totals."""
        return cast(Floats, self.values.sum(axis=0, keepdims=True))

    @property
    def without(self) -> dict[str, Floats]:
        """Column totals without each picture in turn, by name: [c] each."""
        return self.columns(self.total - self.values)

    def columns(self, totals_ds: Floats) -> dict[str, Floats]:
        """Totals [d, s] of d draws, by name: [d] each."""
        return {name: totals_ds[:, s] for s, name in enumerate(self.names)}

    def only(self, names: Iterable[str]) -> Sums:
        """Some of the columns, in the order of all."""
        wanted = set(names)
        places = [s for s, name in enumerate(self.names) if name in wanted]
        kept = tuple(self.names[s] for s in places)
        return Sums(kept, self.values[:, places], {n: self.items[n] for n in kept}, {n: self.clusters[n] for n in kept})

    @classmethod
    def of_groups(cls, columns: dict[str, Floats], item_g: Ints, cluster_g: Ints, clusters: int) -> Sums:
        """Columns [g] per group, added within pictures."""
        values = np.zeros((clusters, len(columns)))
        items, pictures = {}, {}
        for s, (name, column_g) in enumerate(columns.items()):
            there = column_g != 0
            values[:, s] = np.bincount(cluster_g, column_g, minlength=clusters)
            items[name] = int(np.count_nonzero(np.bincount(item_g, there)))
            pictures[name] = int(np.count_nonzero(np.bincount(cluster_g, there)))
        return cls(tuple(columns), values, items, pictures)


def _check(lines: Sequence[LogLine]) -> None:
    """Lines are sorted by picture, item, seed and position."""
    picture: dict[str, str] = {}
    seen: set[tuple[str, int, str | int]] = set()
    for line in lines:
        if picture.setdefault(line.item_id, line.image_id) != line.image_id:
            raise RunError(
                f"item {line.item_id} is of two pictures, {picture[line.item_id]} and {line.image_id}: "
                "ids of items must be unique in a benchmark folder"
            )
        for key in ((line.item_id, line.seed, line.query_id), (line.item_id, line.seed, line.position)):
            if key in seen:
                raise RunError(f"{line.ask_id} is in the log twice: a run asks each query of a variant and seed once")
            seen.add(key)


def _ints(values: Sequence[int]) -> Ints:
    return np.array(values, np.int64)
