"""The published shapes of Qwen2.5-VL, and models of them without weights (on the meta device)."""

from __future__ import annotations

from typing import Any

import torch
from transformers import Qwen2_5_VLConfig

from slvr_data.errors import UsageError
from slvr_model.latents import KEY, LatentConfig
from slvr_model.modeling import SlvrModel
from slvr_model.tokens import LatentTokens

SHAPES: dict[str, dict[str, Any]] = {
    "3b": {
        "vocab_size": 151_936,
        "hidden_size": 2048,
        "intermediate_size": 11_008,
        "num_hidden_layers": 36,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "tie_word_embeddings": True,
    },
    "7b": {
        "vocab_size": 152_064,
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "tie_word_embeddings": False,
    },
}
"""Text models, from config.json of Qwen/Qwen2.5-VL-3B-Instruct and Qwen/Qwen2.5-VL-7B-Instruct."""
VISION: dict[str, Any] = {
    "depth": 32,
    "hidden_size": 1280,
    "intermediate_size": 3420,
    "num_heads": 16,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31],
}
"""The picture encoder of both."""
TOKENS = LatentTokens(151_665, 151_666, 151_667, 151_668, 151_669, 151_670)
"""Where latent tokens come to stand: behind the last token of Qwen2.5-VL's tokenizer, in rows that its embedding has to
spare."""


def shape_config(shape: str, visual_slots: int = 8, semantic_dim: int = 1024) -> Qwen2_5_VLConfig:
    """The configuration of a shape, with latents.

    Raises:
        UsageError: the shape is not known.
    """
    if shape not in SHAPES:
        raise UsageError(f'shape "{shape}": {", ".join(SHAPES)} are known')
    text = SHAPES[shape]
    rope = {"rope_type": "default", "mrope_section": [16, 24, 24], "rope_theta": 1e6}
    config = Qwen2_5_VLConfig(
        text_config={**text, "max_position_embeddings": 128_000, "rope_parameters": rope, "rms_norm_eps": 1e-6}
        | {"bos_token_id": 151_643, "eos_token_id": 151_645, "pad_token_id": 151_643},
        vision_config={**VISION, "out_hidden_size": text["hidden_size"]},
        image_token_id=151_655,
        video_token_id=151_656,
        vision_start_token_id=151_652,
        vision_end_token_id=151_653,
        tie_word_embeddings=text["tie_word_embeddings"],
    )
    setattr(config, KEY, LatentConfig(TOKENS, visual_slots, semantic_dim).to_dict())
    return config


def without_weights(config: Qwen2_5_VLConfig) -> SlvrModel:
    """A model on the meta device: shapes and no memory."""
    with torch.device("meta"):
        return SlvrModel(config)
