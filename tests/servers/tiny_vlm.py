"""A Qwen2.5-VL of half a million random parameters, as a folder that vLLM and transformers load like the real one.

    python tests/servers/tiny_vlm.py FOLDER [--seed N]

It needs torch, torchvision and transformers, so it is run by the Python of the environment that has vLLM. Patches,
merging, special tokens and chat template are those of the real family: a picture costs as many tokens as there. What
the model says means nothing. Two things are made so that tests can use it: its replies depend on the pictures, and it
leans towards letters, null and the quote that ends a string, so that replies under a schema are plain and short.
"""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

TEXT = Path(__file__).parents[2] / "LICENSE"  # what the tokenizer learns its words from: English that never changes
VOCABULARY = 1024
CONTEXT = 32768
HIDDEN = 64
LAYERS = 2
SPREAD = 0.2  # of the random weights; the usual 0.02 would let the picture hardly matter
CONSTANT = 4.0  # value of the first hidden channel, at every place
ENDING = 6.0  # weight of that channel in the logit of a token of `ENDS` and of quotes, which depends on nothing else
STRANGE = -2.2  # the same of a token that is neither letters nor JSON
SPECIAL = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
]
ENDS = {*SPECIAL[:3], "n"}  # "n" begins a null
CHAT = """{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string -%}
{{ message.content }}
{%- else -%}
{%- for part in message.content -%}
{%- if part.type in ("image", "image_url") -%}
<|vision_start|><|image_pad|><|vision_end|>
{%- elif part.type == "text" -%}
{{ part.text }}
{%- endif -%}
{%- endfor -%}
{%- endif -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}"""


def build(folder: Path, seed: int) -> None:
    """Write config, weights, tokenizer and processor into `folder`; the same bytes for the same seed."""
    tokenizer = _tokenizer()
    image = Qwen2VLImageProcessor(size={"shortest_edge": 56 * 56, "longest_edge": 1280 * 28 * 28})
    Qwen2_5_VLProcessor(image, tokenizer, Qwen2VLVideoProcessor(), chat_template=CHAT).save_pretrained(folder)
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(_config(tokenizer))
    with torch.no_grad():
        _randomize(model)
        _lean(model, tokenizer)
    model.generation_config.eos_token_id = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)


def _tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator([TEXT.read_text(encoding="utf-8")], trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    extra = {name: f"<|{name}|>" for name in ("vision_start", "vision_end", "image_pad", "video_pad")}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=CONTEXT,
        extra_special_tokens={f"{name}_token": token for name, token in extra.items()},
    )


def _config(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    number: Any = tokenizer.convert_tokens_to_ids
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": HIDDEN,
            "intermediate_size": 128,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": CONTEXT,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [4, 6, 6]},
            "bos_token_id": number("<|endoftext|>"),
            "eos_token_id": number("<|im_end|>"),
            "pad_token_id": number("<|endoftext|>"),
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 2,
            "out_hidden_size": HIDDEN,
            "fullatt_block_indexes": [1],
        },
        image_token_id=number("<|image_pad|>"),
        video_token_id=number("<|video_pad|>"),
        vision_start_token_id=number("<|vision_start|>"),
        vision_end_token_id=number("<|vision_end|>"),
        tie_word_embeddings=False,
    )


def _randomize(model: Qwen2_5_VLForConditionalGeneration) -> None:
    for name, weights in sorted(model.named_parameters()):
        if weights.dim() > 1:
            weights.normal_(0, SPREAD)
        else:
            weights.fill_(0.0 if name.endswith("bias") else 1.0)


def _lean(model: Qwen2_5_VLForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> None:
    """Keep the first hidden channel the same at every place, and let the last layer read it as a bias.

    Nothing writes to the channel: its rows in what goes into the residual stream are zero, for words and pictures.
    """
    text, last = model.model.language_model, model.model.visual.merger.mlp[-1]
    text.embed_tokens.weight[:, 0] = CONSTANT
    last.weight[0], last.bias[0] = 0.0, CONSTANT
    for layer in text.layers:
        layer.self_attn.o_proj.weight[0] = 0.0
        layer.mlp.down_proj.weight[0] = 0.0
    for token, number in tokenizer.get_vocab().items():
        if token in ENDS or token[0] == '"':
            model.lm_head.weight[number] = 0.0
            model.lm_head.weight[number, 0] = ENDING
        elif re.fullmatch(r"\u0120?[a-z]+|[\[{:,0-9A-Za-z.]", token):  # U+0120 stands for a space
            model.lm_head.weight[number, 0] = 0.0
        else:
            model.lm_head.weight[number, 0] = STRANGE


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    build(arguments.folder, arguments.seed)
    print(json.dumps({"bytes": sum(file.stat().st_size for file in arguments.folder.iterdir())}))
