"""Training steps over batches of random, like and packed lengths: share of real tokens, and time.

    OMP_NUM_THREADS=1 python perf/lengths.py [--samples 512] [--every 4] [--device cpu|cuda] [--sizes FILE.jsonl ...]

Pictures have 128 to 5120 visual tokens, log-uniform: an assumption. On a CPU they are scaled by 1/8. Each sample is a
question about a picture of its own, its reply opened by latents; a step is forward and backward of all losses with the
encoder frozen, in batches of 8. Of each plan's epoch every n-th batch by size is run, and counted n times; the plans
take turns. `pairs` are those of positions that attention computes. Bars: grouped batches at least 95 % real, and random
ones 1.5 times their time.

`--sizes`: files with a picture's `width` and `height` per line (as Visual-CoT's), for which the lengths that
Qwen2.5-VL's processor gives, and the shares of the three plans, are printed too.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from common import machine
from torch.nn import functional
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from slvr_model.batches import Batch, Block, Picture, Row, collate
from slvr_model.efficiency.lengths import KINDS, Plan, work
from slvr_model.efficiency.packed import packed_batch
from slvr_model.efficiency.vocabulary_loss import label_losses
from slvr_model.modeling import SlvrModel
from slvr_model.tiny import SEMANTIC, new_tiny

LEAST, MOST = 128, 5120
SHARE_BAR, TIME_BAR = 0.95, 1.5
QUESTION, ANSWER = 14, 3
Ints = npt.NDArray[np.int64]


def drawn(number: int, scale: int) -> Ints:
    """Visual tokens of pictures, log-uniform."""
    low, high = math.log(LEAST / scale), math.log(MOST / scale)
    return np.exp(np.random.default_rng(0).uniform(low, high, number)).round().astype(np.int64)


def sample(model: SlvrModel, visual: int, number: int) -> Row:
    """A question about a picture of about `visual` tokens."""
    dice = torch.Generator().manual_seed(number)
    rows = max(1, math.isqrt(visual))
    columns = max(1, round(visual / rows))
    layout = model.layout
    patches = torch.randn(rows * columns * layout.merge**2, layout.patch_values, generator=dice)
    grid = (1, rows * layout.merge, columns * layout.merge)
    shown = Picture(patches, grid, (8.0 * columns, 8.0 * rows), str(number))
    ids = torch.randint(300, 500, (QUESTION + ANSWER,), generator=dice).tolist()
    reply = (*layout.latents.tokens.reply(layout.latents.visual_slots), *ids[QUESTION:])
    box = (0.0, 0.0, 8.0 * max(1, columns // 2), 8.0 * max(1, rows // 2))
    semantics = torch.randn(1, SEMANTIC, generator=dice)
    return Row((2, layout.image_token, 3), (Block(tuple(ids[:QUESTION]), reply, (box,), (), semantics),), (shown,))


def step(model: SlvrModel, batch: Batch) -> None:
    """Forward and backward of all losses."""
    out = model.latent_forward(batch)
    assert out.target.visual_TD is not None and out.semantic_SE is not None and out.target.semantic_SE is not None
    loss = label_losses(out.hidden_BLD, model.lm_head.weight, batch.labels_BL).loss_N.mean()
    loss = loss + functional.mse_loss(out.visual_TD, out.target.visual_TD)
    (loss - (out.semantic_SE * out.target.semantic_SE).sum(-1).mean()).backward()
    model.zero_grad()


def timed(model: SlvrModel, rows: list[Row], packed: bool, device: str) -> float:
    """Seconds of a step (CPU time on a CPU), the batch's making apart."""
    batch = (packed_batch if packed else collate)(rows, model.layout).to(device)
    clock = time.process_time if device == "cpu" else time.perf_counter
    started = clock()
    step(model, batch)
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def compare(given: argparse.Namespace) -> bool:
    """Print the table; whether the bars are met."""
    torch.manual_seed(0)
    model, _ = new_tiny(0)
    model.to(given.device).train()
    model.model.visual.requires_grad_(False)
    samples = [sample(model, int(n), i) for i, n in enumerate(drawn(given.samples, 8 if given.device == "cpu" else 1))]
    lengths = np.array([collate([row], model.layout).ids_BL.shape[1] for row in samples])
    plans = {kind: Plan(lengths, kind, 8).epoch(1) for kind in KINDS}
    works = {kind: work(plan, lengths, packed=kind == "packed") for kind, plan in plans.items()}
    chosen: dict[str, list[list[int]]] = {}
    for kind, plan in plans.items():
        by_size = sorted(plan, key=lambda batch: -work([batch], lengths, packed=kind == "packed").computed)
        chosen[kind] = by_size[given.every // 2 :: given.every]
        timed(model, [samples[n] for n in chosen[kind][-1]], kind == "packed", given.device)
    seconds, tokens = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0)
    for at in range(max(map(len, chosen.values()))):
        for kind in KINDS:
            if at < len(chosen[kind]):
                batch = chosen[kind][at]
                seconds[kind] += timed(model, [samples[n] for n in batch], kind == "packed", given.device)
                tokens[kind] += int(lengths[batch].sum())
    spent = {kind: 1e6 * seconds[kind] / tokens[kind] for kind in KINDS}
    print(f"{'':10}{'batches':>9}{'real':>8}{'pairs, millions':>17}{'us per real token':>19}{'random / this':>15}")
    for kind in KINDS:
        row = f"{kind:10}{len(plans[kind]):9}{works[kind].share:8.1%}{works[kind].pairs / 1e6:17.1f}"
        print(f"{row}{spent[kind]:19.1f}{spent['random'] / spent[kind]:15.2f}")
    best = min(("grouped", "packed"), key=lambda kind: spent[kind])
    print(f"\n{best} is faster; the default is grouped")
    return works["grouped"].share >= SHARE_BAR and spent["random"] / spent["grouped"] >= TIME_BAR


def tell_sizes(file: Path) -> None:
    """Lengths and shares of a file's pictures, each with 40 tokens of text."""
    seen: dict[Any, tuple[int, int]] = {}
    for line in file.read_text().splitlines():
        row = json.loads(line)
        seen[row["image"]] = (row["height"], row["width"])
    tokens = []
    for height, width in seen.values():
        high, wide = smart_resize(height, width, factor=28, min_pixels=56 * 56, max_pixels=28 * 28 * 1280)
        tokens.append(high * wide // 28**2)
    lengths = np.array(tokens) + 40
    shares = [
        f"{kind} {work(Plan(lengths, kind).epoch(1), lengths, packed=kind == 'packed').share:.1%}" for kind in KINDS
    ]
    low, middle, high = np.quantile(tokens, [0.05, 0.5, 0.95]).astype(int)
    print(f"{file.name}: {len(tokens)} pictures, visual tokens {low} / {middle} / {high} (5, 50, 95 %); "
          f"real: {', '.join(shares)}")  # fmt: skip


def main() -> None:
    """Print the tables; exit code 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--sizes", type=Path, nargs="*", default=[])
    given = parser.parse_args()
    print(f"{given.samples} samples in batches of 8; {machine()}\n")
    met = compare(given)
    for file in given.sizes:
        tell_sizes(file)
    print(f"bars (grouped: {SHARE_BAR:.0%} real, {TIME_BAR} times as fast): {'met' if met else 'MISSED'}")
    raise SystemExit(not met)


if __name__ == "__main__":
    main()
