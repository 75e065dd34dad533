"""`slvr:tiny`: a Qwen2.5-VL of about one million parameters, with its own tokenizer, made without any download.

Its pictures are cut into patches of 4 px, four of which make a visual token of 8 x 8 px: 64 tokens for an easy
scene. Patches of 8 px lose thin stripes. Pictures are scaled to 64 x 64 to 128 x 128 px in area.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE
from torch import nn
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessorPil,
)
from transformers.processing_utils import ProcessorMixin

from slvr_data.embeddings import LOCAL
from slvr_model import words
from slvr_model.latents import KEY, LatentConfig
from slvr_model.modeling import SlvrModel
from slvr_model.tokens import STRINGS, LatentTokens

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

PATCH, MERGE = 4, 2
LEAST_PIXELS, MOST_PIXELS = 64 * 64, 128 * 128
SLOTS, SEMANTIC = 2, 256
"""Visual slots, and the dimension of the local attribute embedding."""
PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (
    PAD, START, END, "<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>",
    *STRINGS,
)  # fmt: skip
"""Tokens that no text can spell."""
ROOM = 576
"""Rows of the embedding: the tokens, and some to spare."""
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant{% endif %}"
)
"""Qwen's chat form without its line breaks and its system prompt."""


class StillProcessor(Qwen2_5_VLProcessor):
    """The public processor without videos, whose part needs torchvision."""

    def __init__(
        self, image_processor: Any = None, tokenizer: Any = None, chat_template: str | None = None, **kwargs: Any
    ) -> None:
        self.image_token, self.video_token = "<|image_pad|>", "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        ProcessorMixin.__init__(self, image_processor, tokenizer, chat_template=chat_template)  # type: ignore[no-untyped-call]


@cache
def _vocabulary() -> dict[str, int]:
    """Token -> id: special tokens, the 256 bytes, choice letters with their line break, words after a space."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    after_break = [f"Ċ{letter}." for letter in words.CHOICE_LETTERS]
    after_space = [f"Ġ{word}" for word in (*words.WORDS, *"0123456789")]
    tokens = [*SPECIAL, *letters, *after_break, *after_space, "shaped"]
    return {token: number for number, token in enumerate(tokens)}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A tokenizer of the words of the embedded world, and of bytes for everything else.

    Each text (also that between special tokens) is read as if it began with one space, so that a word has one
    token wherever it stands; decoding takes that space away again.
    """
    vocabulary = _vocabulary()
    core = Tokenizer(BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    core.normalizer = normalizers.Sequence([normalizers.Strip(left=True, right=False), normalizers.Prepend(" ")])
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words.PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=core,
        pad_token=PAD,
        eos_token=END,
        extra_special_tokens=[token for token in SPECIAL if token not in (PAD, END)],
        chat_template=TEMPLATE,
        model_max_length=4096,
        padding_side="left",
    )


def tiny_processor() -> StillProcessor:
    """The tokenizer with a picture processor for patches of 4 px."""
    pictures = Qwen2VLImageProcessorPil(
        patch_size=PATCH,
        merge_size=MERGE,
        temporal_patch_size=1,
        size={"shortest_edge": LEAST_PIXELS, "longest_edge": MOST_PIXELS},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.25, 0.25, 0.25],
    )
    return StillProcessor(pictures, tiny_tokenizer(), chat_template=TEMPLATE)


def tiny_config(width: int = 128, layers: int = 6) -> Qwen2_5_VLConfig:
    """The shape of `slvr:tiny`: `layers` text layers of `width` (heads of 32), three vision layers of 64."""
    ids = _vocabulary()
    text = {
        "vocab_size": ROOM,
        "hidden_size": width,
        "intermediate_size": 5 * width // 2,
        "num_hidden_layers": layers,
        "num_attention_heads": width // 32,
        "num_key_value_heads": width // 64,
        "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "mrope_section": [4, 6, 6], "rope_theta": 10.0},
        "bos_token_id": None,
        "eos_token_id": ids[END],
        "pad_token_id": ids[PAD],
        "tie_word_embeddings": True,
    }
    vision = {
        "depth": 3,
        "hidden_size": 64,
        "intermediate_size": 160,
        "num_heads": 2,
        "out_hidden_size": width,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 1,
        "window_size": 64,
        "fullatt_block_indexes": [0, 1, 2],
    }
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )


@torch.no_grad()
def start_weights(model: nn.Module, seed: int) -> None:
    """Draw all weights anew: N(0, 1/fan_in) for matrices, zero for biases, one for norms.

    The usual deviation of 0.02 stalls at this width. An embedding's fan_in is the width, and visual tokens
    begin as large as embeddings. The map from visual
    latents to slot inputs stays what it is, the identity. The draw depends on `seed` and on names and shapes of
    the parameters alone.
    """
    for number, (name, parameter) in enumerate(sorted(model.named_parameters())):
        if parameter.dim() == 1:
            parameter.fill_(1.0 if "norm" in name or name.endswith("ln_q.weight") else 0.0)
        elif not name.startswith("latents.visual_in"):
            generator = torch.Generator().manual_seed(seed * 100_003 + number)
            parameter.normal_(0.0, parameter[0].numel() ** -0.5, generator=generator)
            if name.endswith("merger.mlp.2.weight"):
                parameter.mul_(parameter.shape[0] ** -0.5)


def new_tiny(seed: int = 0) -> tuple[SlvrModel, StillProcessor]:
    """The untrained model with latents, and its processor."""
    processor = tiny_processor()
    config = tiny_config()
    tokens = LatentTokens.of(processor.tokenizer)
    latents = LatentConfig(tokens, visual_slots=SLOTS, semantic_dim=SEMANTIC, embedding=f"{LOCAL}:{SEMANTIC}")
    setattr(config, KEY, latents.to_dict())
    model = SlvrModel(config)
    start_weights(model, seed)
    model.train(False)
    return model, processor


def new_plain(seed: int = 0) -> Qwen2_5_VLForConditionalGeneration:
    """The untrained model without latents, in the public class."""
    model = Qwen2_5_VLForConditionalGeneration(tiny_config())
    start_weights(model, seed)
    model.train(False)
    return model


def size_of(model: nn.Module) -> int:
    """Number of parameters, tied ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def answer_of(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> str:
    """The words of a reply, without special tokens."""
    return str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
