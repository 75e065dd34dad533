"""Beginnings computed once, and rows that go on behind them: keys and values of a beginning are taken for each row.

R regions, Q rows behind them, P positions of beginnings, E positions behind them, C = P + E, M visual tokens
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from slvr_model.batches import Batch, collate
from slvr_model.mgrpo.asking import Asking
from slvr_model.modeling import SlvrModel
from slvr_model.rows import IGNORED, Layout


def beginnings(asking: Sequence[Asking], layout: Layout) -> Batch:
    """What each region's queries share, [R, P], padded on the left, with all pictures."""
    return collate([one.beginning for one in asking], layout, "left")


@dataclass(frozen=True, eq=False)
class Begun:
    """Beginnings that were computed; may be gone on from again and again."""

    first: Batch
    cache: DynamicCache

    @classmethod
    def of(cls, model: SlvrModel, first: Batch, visual_MD: Tensor | None) -> Begun:
        """Run them, in one call; `visual_MD` is what `model.encode(first)` returned."""
        cache = DynamicCache(config=model.text.config)
        model.run(model.embed(first, visual_MD), first.positions_3BL, first.kept_BL.long(), cache)
        return cls(first, cache)

    def past(self, model: SlvrModel, region_Q: Tensor) -> DynamicCache:
        """A cache of Q rows, each with the beginning of its region."""
        made = DynamicCache(config=model.text.config)
        layers: list[Any] = self.cache.layers
        for number, layer in enumerate(layers):
            made.update(layer.keys[region_Q], layer.values[region_Q], number)
        return made


@dataclass(frozen=True, eq=False)
class Behind:
    """Rows behind beginnings."""

    whole: Batch
    """[Q, C], beginnings included."""
    region_Q: Tensor
    size: int
    """E."""

    @classmethod
    def of(
        cls,
        first: Batch,
        asking: Sequence[Asking],
        regions: Sequence[int],
        tails: Sequence[Sequence[int]],
        side: Literal["left", "right"],
        pad_token: int,
    ) -> Behind:
        """Rows of ids behind the beginnings of their regions, padded on one side."""
        size = max(map(len, tails))
        shape = (len(tails), size)
        ids, positions, kept = np.full(shape, pad_token, np.int64), np.zeros(shape, np.int64), np.zeros(shape, bool)
        for row, (region, tail) in enumerate(zip(regions, tails, strict=True)):
            place = slice(size - len(tail), None) if side == "left" else slice(0, len(tail))
            ids[row, place], kept[row, place] = tail, True
            positions[row, place] = asking[region].start + np.arange(len(tail))
        device = first.ids_BL.device
        region_Q = torch.tensor(regions, device=device)
        ids_QE, positions_QE, kept_QE = (torch.from_numpy(one).to(device) for one in (ids, positions, kept))
        blocks_QC = torch.cat([torch.zeros_like(first.ids_BL[region_Q]), torch.ones_like(ids_QE)], 1)
        ids_QC, kept_QC = (
            torch.cat([first.ids_BL[region_Q], ids_QE], 1),
            torch.cat([first.kept_BL[region_Q], kept_QE], 1),
        )
        positions_3QC = torch.cat([first.positions_3BL[:, region_Q], positions_QE.expand(3, -1, -1)], 2)
        blocks_QC = blocks_QC.masked_fill(~kept_QC, -1)
        whole = Batch(ids_QC, kept_QC, positions_3QC, blocks_QC, torch.full_like(ids_QC, IGNORED))
        return cls(whole, region_Q, size)

    def embedded(self, model: SlvrModel) -> Tensor:
        """Inputs [Q, E, D] of what stands behind: embeddings of its ids."""
        inputs_QED: Tensor = model.text.embed_tokens(self.whole.ids_BL[:, -self.size :])
        return inputs_QED

    def run(self, model: SlvrModel, inputs_QED: Tensor, past: DynamicCache) -> Tensor:
        """Last states [Q, E, D], in one call; `past` grows by E."""
        place_C = torch.arange(self.whole.ids_BL.shape[1], device=inputs_QED.device)
        at_E1 = place_C[-self.size :, None]
        seen_QEC = self.whole.kept_BL[:, None] & (place_C <= at_E1) | (place_C == at_E1)
        return model.run(inputs_QED, self.whole.positions_3BL[:, :, -self.size :], model.mask_of(seen_QEC), past)
