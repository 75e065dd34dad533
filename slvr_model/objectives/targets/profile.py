"""The embedding of a region's profile, as it is: fixed, without gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.batches import Batch
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.targets.base import Group, TensorTarget


@dataclass(frozen=True)
class ProfileEmbedding:
    """e' of each semantic slot: of length 1 where so configured; through W first in a released layout."""

    name: str = "profile"
    group: Group = "semantic"

    @torch.no_grad()
    def targets(self, model: SlvrModel, batch: Batch, visual_MD: Tensor | None) -> TensorTarget:
        """See `TargetProvider.targets`; a group is a semantic slot."""
        if batch.semantics_SE is None:
            raise UsageError("the batch has no embeddings: give every semantic slot one")
        semantic_SE = batch.semantics_SE.to(model.latents.visual_out.weight.dtype)
        if model.latent_config.target_dim:
            semantic_SE = model.text_embedding_projector(semantic_SE)
        values_SE = model.latents.unit(semantic_SE)
        return TensorTarget(values_SE, torch.arange(len(values_SE), device=values_SE.device))
