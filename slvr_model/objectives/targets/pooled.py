"""Visual tokens of a region, standardised: K of them pooled, or all, as the spans of the batch have slots."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.batches import Batch
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.targets.base import Group, TensorTarget


@dataclass(frozen=True)
class PooledTokens:
    """v = (pooled token - m) / d, one for each visual slot of the batch.

    With targets "all" a span has as many slots as its region has tokens, and pooling is the identity.
    """

    name: str = "tokens"
    group: Group = "visual"

    @torch.no_grad()
    def targets(self, model: SlvrModel, batch: Batch, visual_MD: Tensor | None) -> TensorTarget:
        """See `TargetProvider.targets`; groups are the spans."""
        if batch.regions is None or visual_MD is None:
            raise UsageError("the batch has no visual targets: give every visual span its box, and the row its picture")
        slots_BL = batch.ids_BL == model.latent_config.tokens.vis_slot
        starts_BL = batch.ids_BL == model.latent_config.tokens.vis_start
        span_BL = starts_BL.flatten().long().cumsum(0).view_as(batch.ids_BL) - 1
        return TensorTarget(model.latents.standardised(batch.regions.pool(visual_MD)), span_BL[slots_BL])
