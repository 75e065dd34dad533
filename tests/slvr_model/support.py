"""A random Qwen2.5-VL with latents, small enough to be compared number by number, and rows for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from slvr_model.batches import Batch, collate
from slvr_model.latents import KEY, LatentConfig
from slvr_model.modeling import SlvrModel
from slvr_model.rows import Block, Box, Layout, Picture, Row
from slvr_model.tokens import LatentTokens

PAD, END, VISION_START, VISION_END, IMAGE, VIDEO = range(6)
TOKENS = LatentTokens(6, 7, 8, 9, 10, 11)
VOCABULARY, WIDTH, SLOTS, DIMENSION, PATCH = 96, 64, 3, 16, 4


def config(slots: int = SLOTS, dimension: int = DIMENSION, tied: bool = False, **latents: object) -> Qwen2_5_VLConfig:
    """Two text layers of 64, two vision layers of 32 (one of them in windows), patches of 4 px, merge 2."""
    made = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": WIDTH,
            "intermediate_size": 96,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 512,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
            "bos_token_id": None,
            "eos_token_id": END,
            "pad_token_id": PAD,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "out_hidden_size": WIDTH,
            "patch_size": PATCH,
            "spatial_merge_size": 2,
            "temporal_patch_size": 1,
            "window_size": 16,
            "fullatt_block_indexes": [1],
        },
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=VISION_START,
        vision_end_token_id=VISION_END,
        tie_word_embeddings=tied,
    )
    setattr(made, KEY, LatentConfig(TOKENS, visual_slots=slots, semantic_dim=dimension, **latents).to_dict())  # type: ignore[arg-type]
    return made


@torch.no_grad()
def model(made: Qwen2_5_VLConfig | None = None, seed: int = 0) -> SlvrModel:
    """Random weights N(0, 1/fan_in), so that every difference shows in the logits."""
    new = SlvrModel(made or config())
    dice = torch.Generator().manual_seed(seed)
    for _, weights in sorted(new.named_parameters()):
        if weights.dim() > 1:
            weights.normal_(0, weights[0].numel() ** -0.5, generator=dice)
        elif not bool(torch.all(weights == 1)):
            weights.normal_(0, 0.02, generator=dice)
    new.latents.set_statistics(torch.randn(50, WIDTH, generator=dice) * 0.7 + 0.1)
    return new.eval()


@cache
def shared_model() -> SlvrModel:
    """The same for all tests that only read it."""
    return model()


def public(of: SlvrModel) -> Qwen2_5_VLForConditionalGeneration:
    """The untouched class with the same weights."""
    made = Qwen2_5_VLForConditionalGeneration(of.config)
    made.load_state_dict({n: w for n, w in of.state_dict().items() if not n.startswith("latents.")})
    return made.eval()


def picture(rows: int = 2, columns: int = 3, seed: int = 0, key: str = "") -> Picture:
    """A picture of `rows` x `columns` visual tokens of 8 px, in a file of twice its size."""
    dice = torch.Generator().manual_seed(1000 + seed)
    patches = torch.randn(rows * columns * 4, 3 * PATCH * PATCH, generator=dice)
    return Picture(patches, (1, 2 * rows, 2 * columns), (16.0 * columns, 16.0 * rows), key)


def words(number: int, seed: int) -> tuple[int, ...]:
    """Ordinary token ids."""
    dice = torch.Generator().manual_seed(2000 + seed)
    return tuple(torch.randint(12, VOCABULARY, (number,), generator=dice).tolist())


def prefix(pictures: int = 1, seed: int = 0) -> tuple[int, ...]:
    """A word, and each picture between its delimiters."""
    return (*words(1, seed), *(VISION_START, IMAGE, VISION_END) * pictures)


def taught(seed: int = 0, asked: int = 4, boxes: Sequence[Box] = ((0.0, 0.0, 14.0, 14.0),)) -> Block:
    """A question whose reply has latents for each box, then two words."""
    dice = torch.Generator().manual_seed(3000 + seed)
    latents = tuple(TOKENS.reply(SLOTS)) * len(boxes)
    semantics = torch.randn(len(boxes), DIMENSION, generator=dice)
    return Block(words(asked, seed), (*latents, *words(2, seed + 50), END), tuple(boxes), (), semantics)


def asked_rows(lengths: Sequence[int] = (4, 7, 2)) -> list[Row]:
    """Prompts of different lengths about pictures of different sizes."""
    shapes = [(2, 3), (3, 2), (1, 1), (4, 4)]
    return [
        Row(prefix(seed=n), (Block(words(length, n)),), (picture(*shapes[n % 4], seed=n),))
        for n, length in enumerate(lengths)
    ]


def layout(of: SlvrModel | None = None) -> Layout:
    return (of or shared_model()).layout


def left(rows: Sequence[Row]) -> Batch:
    return collate(rows, layout(), "left")
