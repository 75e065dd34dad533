"""What the latents of one region should be, outside of training: from a picture with a box, and from an embedding.

K visual slots, D width, E dimension of the semantic latent, M visual tokens of the picture
"""

from __future__ import annotations

import torch
from torch import Tensor

from slvr_model.batches import collate
from slvr_model.modeling import SlvrModel
from slvr_model.rows import Block, Box, Picture, Row


@torch.no_grad()
def visual_target(model: SlvrModel, picture: Picture, box: Box) -> Tensor:
    """The visual tokens under a box (in pixels of the picture), pooled to the model's slots and standardised: [K, D].

    Raises:
        UsageError: the box is empty, or not inside the picture.
    """
    latents = model.latent_config
    block = Block((), tuple(latents.tokens.reply(latents.visual_slots, semantic=False)), (box,))
    batch = collate([Row((model.layout.image_token,), (block,), (picture,))], model.layout)
    batch = batch.to(model.lm_head.weight.device)
    visual_MD = model.encode(batch)
    assert visual_MD is not None and batch.regions is not None
    return model.latents.standardised(batch.regions.pool(visual_MD))


def embedding_size(model: SlvrModel) -> int:
    """Dimension of the embeddings that semantic targets are made of; 0: the model has no semantic slot."""
    return model.latent_config.target_dim or model.latent_config.semantic_dim


@torch.no_grad()
def semantic_target(model: SlvrModel, embedding: Tensor) -> Tensor:
    """The semantic latent [E] that a profile's embedding stands for."""
    target_E = embedding.to(model.lm_head.weight)
    if model.latent_config.target_dim:
        target_E = model.text_embedding_projector(target_E)
    return model.latents.unit(target_E)
