"""Decoding with latents against a bare greedy loop over the public class's forward and cache, on the same batch.

    OMP_NUM_THREADS=1 python perf/decoding.py [--shape tiny|small|3b] [--rows 8] [--device cpu|cuda] [--compile]

A line is what one position of the whole batch costs: the time of 96 new positions less that of 32, over 64, so that
the prompt does not count. Ours and the bare loop alternate, and the median of the rounds' ratios is given. On a CPU
it is CPU time of this process. The bar is 1.15. The line in brackets is sampled and has no bar, for the bare loop is
greedy. Weights are random, and no reply ends early.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from common import machine
from torch import Tensor
from transformers import Qwen2_5_VLConfig
from transformers.cache_utils import DynamicCache, StaticCache

from slvr_model.batches import Batch, Block, Picture, Row, collate
from slvr_model.decoding import CACHE_STEP, compiled_step, decode
from slvr_model.latents import KEY, LatentConfig
from slvr_model.modeling import SlvrModel
from slvr_model.tokens import LatentTokens

Step = Callable[..., Any]
SHORT, LONG = 32, 96
BAR = 1.15
SHAPES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tiny": (
        {"vocab_size": 576, "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 4},
        {"depth": 3, "hidden_size": 64, "intermediate_size": 160, "num_heads": 4, "fullatt_block_indexes": [0, 1, 2]},
    ),
    "small": (
        {"vocab_size": 16_000, "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8},
        {"depth": 4, "hidden_size": 128, "intermediate_size": 320, "num_heads": 4, "fullatt_block_indexes": [3]},
    ),
    "3b": (
        {"vocab_size": 151_936, "hidden_size": 2048, "intermediate_size": 11_008, "num_hidden_layers": 36},
        {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16},
    ),
}


def new_model(shape: str, device: str) -> SlvrModel:
    """Random weights; bf16 on a GPU."""
    text, vision = SHAPES[shape]
    heads = text["hidden_size"] // (128 if shape == "3b" else 32)
    section = [16, 24, 24] if shape == "3b" else [4, 6, 6]
    config = Qwen2_5_VLConfig(
        text_config=text
        | {"num_attention_heads": heads, "num_key_value_heads": max(1, heads // 8), "max_position_embeddings": 8192}
        | {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}
        | {"rope_parameters": {"rope_type": "default", "mrope_section": section, "rope_theta": 1e6}},
        vision_config=vision | {"out_hidden_size": text["hidden_size"]},
        image_token_id=1,
        video_token_id=2,
        vision_start_token_id=3,
        vision_end_token_id=4,
        tie_word_embeddings=True,
    )
    setattr(config, KEY, LatentConfig(LatentTokens(5, 6, 7, 8, 9, 10), 4, 64).to_dict())
    torch.manual_seed(0)
    with torch.device(device):
        model = SlvrModel(config)
    model.generation_config.eos_token_id = None
    return model.to(torch.bfloat16 if device == "cuda" else torch.float32).eval()


def prompts(model: SlvrModel, rows: int, device: str) -> Batch:
    """Questions of different lengths about pictures of 64 visual tokens."""
    patches = torch.randn(256, 3 * 2 * 14 * 14)
    picture = Picture(patches, (1, 16, 16), (224, 224))
    made = [Row((3, 1, 4), (Block(tuple(range(20, 36 + n % 5))),), (picture,)) for n in range(rows)]
    return collate(made, model.layout, "left").to(device)


@torch.no_grad()
def bare(model: SlvrModel, batch: Batch, most: int, step: Step | None) -> Tensor:
    """Greedy decoding over the public forward and cache; `step`: that forward compiled, with a static cache."""
    place, length, kept = batch.next_position()[:, None], batch.ids_BL.shape[1], batch.kept_BL.long()
    inputs = model.embed(batch, model.encode(batch))
    room = -(-(length + most) // CACHE_STEP) * CACHE_STEP
    text = model.text.config
    cache = DynamicCache(config=text) if step is None else StaticCache(config=text, max_cache_len=room)
    options: dict[str, Any] = {"past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
    out = model(inputs_embeds=inputs, position_ids=batch.positions_3BL, attention_mask=kept, **options)
    seen = torch.nn.functional.pad(batch.kept_BL, (0, room - length))
    ids = [out.logits[:, -1].argmax(-1)]
    for at in range(most - 1):
        kept, mask = torch.cat([kept, kept.new_ones(len(kept), 1)], 1), None
        if step is not None:
            seen[:, length + at] = True
            mask = {"full_attention": seen[:, None, None]}
        positions = (place + at).expand(3, -1, -1)
        given = {"input_ids": ids[-1][:, None], "position_ids": positions, "attention_mask": mask or kept}
        out = (step or model)(**given, **options)
        ids.append(out.logits[:, -1].argmax(-1))
    return torch.stack(ids, 1)


def seconds(run: Callable[[int], object], device: str) -> float:
    """Of one position: a long run less a short one."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    spent = []
    for most in (SHORT, LONG):
        if device == "cuda":
            torch.cuda.synchronize()
        started = clock()
        run(most)
        if device == "cuda":
            torch.cuda.synchronize()
        spent.append(clock() - started)
    return (spent[1] - spent[0]) / (LONG - SHORT)


def modes(rows: int) -> dict[str, dict[str, Any]]:
    """What is measured. Spans come at the beginning of a reply, or again and again ("slots only")."""
    return {
        "text only": {"visual_steps": 0, "semantic": False},
        "latents, then text": {"opening": True},
        "slots only": {"opening": True, "visual_steps": LONG},
        "half of the rows in slots": {"opening": [n % 2 == 0 for n in range(rows)], "visual_steps": LONG},
        "(sampled, top-p 0.9)": {"opening": True, "temperature": 1.0, "top_p": 0.9},
    }


def main() -> None:
    """Print the table; exit code 1 where greedy decoding misses the bar."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compile", action="store_true", help="static caches, and both steps compiled")
    given = parser.parse_args()
    model = new_model(given.shape, given.device)
    batch = prompts(model, given.rows, given.device)
    options: dict[str, Any] = {}
    step = None
    if given.compile:
        options = {"cache": "static", "step": compiled_step(model, mode="reduce-overhead")}
        step = torch.compile(model.forward, mode="reduce-overhead")
    place = torch.cuda.get_device_name() if given.device == "cuda" else machine()
    kind = "static caches, compiled" if given.compile else "dynamic caches"
    print(f"{given.shape}, {given.rows} rows, prompts of {batch.ids_BL.shape[1]} positions, {kind}; {place}\n")
    print(f"{'':27}{'ours ms':>9}{'bare ms':>9}{'ratio':>8}")
    worst = 0.0
    for name, mode in modes(given.rows).items():
        ratio = measured(name, model, batch, {**mode, **options}, step, given)
        worst = max(worst, ratio if "sampled" not in name else 0.0)
    print(f"\nworst of the greedy ones {worst:.3f}; the bar is {BAR}: {'met' if worst <= BAR else 'MISSED'}")
    raise SystemExit(worst > BAR)


def measured(
    name: str, model: SlvrModel, batch: Batch, mode: dict[str, Any], step: Step | None, given: argparse.Namespace
) -> float:
    """One line of the table; its ratio."""
    ours = [lambda most: decode(model, batch, max_new_tokens=most, **mode), lambda most: bare(model, batch, most, step)]
    for run in ours:
        run(SHORT), run(LONG)
    pairs = [[seconds(run, given.device) for run in ours] for _ in range(given.rounds)]
    ratio = statistics.median(mine / theirs for mine, theirs in pairs)
    mine, theirs = (statistics.median(column) * 1000 for column in zip(*pairs, strict=True))
    print(f"{name:27}{mine:9.3f}{theirs:9.3f}{ratio:8.3f}", flush=True)
    return ratio


if __name__ == "__main__":
    main()
