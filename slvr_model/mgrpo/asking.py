"""What the queries of a region share: one beginning with the picture, behind which each goes on with words of its own.

Positions behind the picture count on, so that a query's states are the same whether the beginning was computed for it
alone or once for all (`rows.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slvr_data.errors import UsageError
from slvr_model.rows import Layout, Row, lay_out


@dataclass(frozen=True, eq=False)
class Asking:
    """k questions as one beginning and k endings."""

    beginning: Row
    """Ids with one image id per visual token, and the pictures; no blocks."""
    endings: tuple[tuple[int, ...], ...]
    """k; each has at least one id."""
    start: int
    """The position of the endings' first ids."""

    @classmethod
    def of(cls, asked: Sequence[Row], layout: Layout) -> Asking:
        """Split questions where they part.

        Raises:
            UsageError: there are none, they are about different pictures, or one does not fit `layout`.
        """
        if not asked:
            raise UsageError("a group without queries: at least one is needed")
        laid = [lay_out(row, layout) for row in asked]
        keys = [[picture.key for picture in row.pictures] for row in asked]
        for number, held in enumerate(keys):
            if held != keys[0]:
                raise UsageError(f"query {number} of a group shows another picture than query 0: one is for all")
        first = laid[0].ids
        common = min(len(one.ids) for one in laid) - 1
        for one in laid[1:]:
            apart = (one.ids[:common] != first[:common]).nonzero()[0]
            common = int(apart[0]) if len(apart) else common
        visual = np.flatnonzero(first == layout.image_token)
        if common < 1 or (len(visual) and visual[-1] >= common):
            raise UsageError("the queries of a group part before their picture is shown: it stands before the question")
        beginning = Row(tuple(first[:common].tolist()), (), asked[0].pictures)
        endings = tuple(tuple(one.ids[common:].tolist()) for one in laid)
        return cls(beginning, endings, int(laid[0].positions[0, common]))

    @property
    def longest(self) -> int:
        """Positions of the longest question."""
        return len(self.beginning.prefix) + max(map(len, self.endings))
