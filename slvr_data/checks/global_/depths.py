"""`depths`: what lies in front has something behind it.

Judged only in pictures of which everything is in the table. A thing in front needs an overlapping one that
is not in front too; a thing behind needs one that is not behind; one between needs both.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np

from slvr_data.checks.global_.base import DEPTHS, GlobalTable, GlobalVerdict, sorted_verdicts
from slvr_data.checks.plausible import OVERLAP_PX

NAME = "depths"
FRONT, MIDDLE, BACK, NONE = range(len(DEPTHS))
_COVERED, _COVERING = (MIDDLE, BACK, -1), (MIDDLE, FRONT, -1)
"""Words of things that something covers, and that cover something; unknown (-1) may be either."""


def check_depths(table: GlobalTable) -> list[GlobalVerdict]:
    """Gives "depth-contradiction" for a claim that no neighbour bears out.

    Where there is only one neighbour, either of the two is wrong: both go, unless another thing bears the
    neighbour out.
    """
    neighbours = _neighbours(table)
    found = []
    for row, near in neighbours.items():
        if _borne_out(table, row, near):
            continue
        found.append(_verdict(table, row))
        if len(near) == 1:
            (other,) = near
            rest = neighbours[other] - {row}
            if table.depth[other] == NONE or not _borne_out(table, other, rest):
                found.append(_verdict(table, other))
    return sorted_verdicts(found)


def _neighbours(table: GlobalTable) -> dict[int, set[int]]:
    """The regions of complete pictures whose boxes overlap, and with what."""
    near: dict[int, set[int]] = defaultdict(set)
    box = table.box
    for i, j in table.pairs():
        both = table.complete[i] & table.complete[j]
        i, j = i[both], j[both]
        low, high = np.maximum(box[i, :2], box[j, :2]), np.minimum(box[i, 2:], box[j, 2:])
        meet = (low < high + OVERLAP_PX).all(1)
        for a, b in zip(i[meet].tolist(), j[meet].tolist(), strict=True):
            near[a].add(b)
            near[b].add(a)
    return near


def _borne_out(table: GlobalTable, row: int, near: set[int]) -> bool:
    claimed = int(table.depth[row])
    others = {int(table.depth[other]) for other in near}
    over = any(depth in others for depth in _COVERED)
    under = any(depth in others for depth in _COVERING)
    return {FRONT: over, BACK: under, MIDDLE: over and under}.get(claimed, True)


def _verdict(table: GlobalTable, row: int) -> GlobalVerdict:
    word = DEPTHS[int(table.depth[row])]
    return GlobalVerdict(
        table.region_id(row), NAME, "depth-contradiction", f"{word}: what overlaps it claims otherwise"
    )
