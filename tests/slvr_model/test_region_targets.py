"""Targets of one region are those that training would have."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from slvr_data.errors import UsageError
from slvr_model.batches import collate
from slvr_model.region_targets import embedding_size, semantic_target, visual_target
from slvr_model.rows import Row
from tests.slvr_model.support import DIMENSION, SLOTS, WIDTH, config, layout, model, picture, prefix, taught


def test_they_are_the_targets_of_a_batch() -> None:
    of, box, shown = model(), (0.0, 0.0, 30.0, 14.0), picture(3, 4)
    block = replace(taught(), boxes=(box,))
    with torch.no_grad():
        target = of.latent_forward(collate([Row(prefix(), (block,), (shown,))], layout(of))).target
    assert block.semantics_SE is not None and target.semantic_SE is not None
    assert visual_target(of, shown, box).shape == (SLOTS, WIDTH)
    assert torch.allclose(visual_target(of, shown, box), target.visual_TD, atol=1e-5)
    assert torch.allclose(semantic_target(of, block.semantics_SE[0]), target.semantic_SE[0], atol=1e-6)
    assert embedding_size(of) == DIMENSION


def test_a_released_model_maps_embeddings() -> None:
    of = model(config(target_dim=8, unit_semantic=False))
    vector = torch.randn(8, generator=torch.Generator().manual_seed(0))
    assert embedding_size(of) == 8
    assert torch.allclose(semantic_target(of, vector), of.text_embedding_projector.weight @ vector, atol=1e-6)


def test_a_box_outside_is_refused() -> None:
    with pytest.raises(UsageError, match="outside"):
        visual_target(model(), picture(2, 3), (100.0, 0.0, 120.0, 14.0))
