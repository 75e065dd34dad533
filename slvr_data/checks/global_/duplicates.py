"""`duplicates`: no two regions of a picture are the same thing."""

from __future__ import annotations

import numpy as np

from slvr_data.checks.global_.base import GlobalTable, GlobalVerdict, sorted_verdicts

NAME = "duplicates"
SAME = 0.9
"""Intersection over union from which two boxes are of the same thing."""


def check_duplicates(table: GlobalTable) -> list[GlobalVerdict]:
    """Gives "same-region-twice": same label, or one without.

    Kept is the one that is published already, then the one that sources refer to most, then the lowest id.
    """
    pairs: list[tuple[int, int]] = []
    width, height = (table.box[:, 2] - table.box[:, 0]), (table.box[:, 3] - table.box[:, 1])
    area = width * height
    for i, j in table.pairs():
        alike = (table.label[i] == table.label[j]) | (table.label[i] < 0) | (table.label[j] < 0)
        alike &= table.crowd[i] == table.crowd[j]
        i, j = i[alike], j[alike]
        a, b = table.box[i], table.box[j]
        shared = np.clip(np.minimum(a[:, 2], b[:, 2]) - np.maximum(a[:, 0], b[:, 0]), 0, None)
        shared *= np.clip(np.minimum(a[:, 3], b[:, 3]) - np.maximum(a[:, 1], b[:, 1]), 0, None)
        same = shared > SAME * (area[i] + area[j] - shared)
        pairs += zip(i[same].tolist(), j[same].tolist(), strict=True)
    return sorted_verdicts(_worse(table, pairs))


def _worse(table: GlobalTable, pairs: list[tuple[int, int]]) -> list[GlobalVerdict]:
    """Of each pair the one to drop; a region that has been dropped drops no other."""
    twins: dict[int, set[int]] = {}
    for i, j in pairs:
        twins.setdefault(i, set()).add(j)
        twins.setdefault(j, set()).add(i)
    ids = {row: table.region_id(row) for row in twins}
    dropped: set[int] = set()
    found = []
    for row in sorted(twins, key=lambda r: (-int(table.weight[r]), table.label[r] < 0, ids[r])):
        if row in dropped:
            continue
        for other in twins[row] - dropped:
            evidence = f"the same box as region {ids[row]} (intersection over union above {SAME})"
            found.append(GlobalVerdict(ids[other], NAME, "same-region-twice", evidence))
        dropped |= twins[row]
    return found
