"""`relations`: the relations that a picture's profiles claim can all be true together.

Of claims that contradict each other, those that the boxes speak against are to blame. A cycle always has
one: the centres of boxes have an order.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from slvr_data.checks.global_.base import GlobalTable, GlobalVerdict, Ints, sorted_verdicts
from slvr_data.geometry import RELATIONS

NAME = "relations"
PLAIN_RATIO = 1.5
"""The centres of two boxes are plainly apart along one axis where they are this much farther apart along it."""


def check_relations(table: GlobalTable) -> list[GlobalVerdict]:
    """Gives "relation-contradiction" (two claims on one pair) and "relation-cycle" (three and more things)."""
    links = np.flatnonzero((table.link_kind >= 0) & (table.link_target >= 0))
    if not len(links):
        return []
    row, other, kind = table.link_row[links], table.link_target[links], table.link_kind[links]
    axis, ahead = kind // 2, kind % 2 == 0  # left of and above put the region ahead
    low, high = np.where(ahead, row, other), np.where(ahead, other, row)
    center = (table.box[:, :2] + table.box[:, 2:]) / 2
    apart = center[high] - center[low]
    along = np.take_along_axis(apart, axis[:, None], 1)[:, 0]
    across = np.abs(np.take_along_axis(apart, 1 - axis[:, None], 1)[:, 0])
    found = _backwards(table, links, (low, high, axis), along <= 0)
    crossed = _on_both_axes(row, other, axis, len(table.image)) & (across > PLAIN_RATIO * np.abs(along))
    for i in np.flatnonzero(crossed):
        found.append(_verdict(table, int(links[i]), "relation-contradiction", "they are claimed along both axes"))
    return sorted_verdicts(found)


def _on_both_axes(row: Ints, other: Ints, axis: Ints, size: int) -> NDArray[np.bool_]:
    """For each claim, whether its pair is also related along the other axis."""
    pair = np.minimum(row, other) * size + np.maximum(row, other)
    both = np.intersect1d(pair[axis == 0], pair[axis == 1])
    return np.isin(pair, both)


def _backwards(
    table: GlobalTable, links: Ints, edges: tuple[Ints, Ints, Ints], wrong: NDArray[np.bool_]
) -> list[GlobalVerdict]:
    """Claims against the order of the centres that close a cycle with other claims."""
    low, high, axis = edges
    found: list[GlobalVerdict] = []
    suspects = np.flatnonzero(wrong)
    if not len(suspects):
        return found
    images = table.image[low]
    near = np.flatnonzero(np.isin(images, images[suspects]))
    order: dict[tuple[int, int], set[int]] = defaultdict(set)
    for i in near.tolist():
        order[int(axis[i]), int(low[i])].add(int(high[i]))
    for i in suspects.tolist():
        a, start, goal = int(axis[i]), int(high[i]), int(low[i])
        if goal in order[a, start]:
            found.append(_verdict(table, int(links[i]), "relation-contradiction", "the contrary is claimed too"))
        elif _reaches(order, a, start, goal):
            found.append(_verdict(table, int(links[i]), "relation-cycle", "other claims lead back to the start"))
    return found


def _reaches(order: dict[tuple[int, int], set[int]], axis: int, start: int, goal: int) -> bool:
    done, ahead = {start}, [start]
    while ahead:
        nexts: Iterable[int] = order.get((axis, ahead.pop()), ())
        if goal in nexts:
            return True
        new = [n for n in nexts if n not in done]
        done.update(new)
        ahead += new
    return False


def _verdict(table: GlobalTable, link: int, reason: str, why: str) -> GlobalVerdict:
    kind, word = RELATIONS[int(table.link_kind[link])], table.word(int(table.link_word[link]))
    return GlobalVerdict(table.region_id(int(table.link_row[link])), NAME, reason, f"{kind} the {word}: {why}")
