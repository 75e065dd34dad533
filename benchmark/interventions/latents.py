"""Latents of a run as arrays: one row per query that was asked plainly.

N queries, K visual slots, D width of a visual latent, E of a semantic one
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.records import Item, ItemQuery

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Survey:
    """What a model wrote into its latents about each query, and what it should have written."""

    asked: Sequence[tuple[Item, ItemQuery]]
    """[N]"""
    visual_nkd: Floats | None
    """Standardised visual latents; None where a model has none."""
    semantic_ne: Floats | None
    """None where a model has none."""
    visual_target_nkd: Floats | None = None
    """Pooled, standardised visual tokens of the region; NaN where the item has no box."""
    semantic_target_ne: Floats | None = None
    """The embedding of the region's profile as a latent; NaN where none is known."""

    def __len__(self) -> int:
        return len(self.asked)

    def flat(self) -> dict[str, Floats]:
        """The latents of each kind that the model has, one vector a query."""
        kinds = {"visual": self.visual_nkd, "semantic": self.semantic_ne}
        return {kind: own.reshape(len(self), -1) for kind, own in kinds.items() if own is not None}


@dataclass(frozen=True)
class Attention:
    """Where the positions that an answer is read from look: shares of their attention, which add up to 1.

    `middle` is the middle layer's, `mean` that of all layers; `even` is what looking everywhere alike would give.
    """

    item: Item
    query: ItemQuery
    middle: dict[str, float]
    mean: dict[str, float]
    even: dict[str, float]
