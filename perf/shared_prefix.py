"""Training steps with a picture for each question, and with several questions behind one: tokens, and time.

    OMP_NUM_THREADS=1 python perf/shared_prefix.py [--pictures 96] [--every 4] [--device cpu|cuda]

Pictures have 128 to 5120 visual tokens, log-uniform, and 4 to 16 questions each: assumptions. On a CPU they are scaled
by 1/8. A reply is opened by latents; a step is forward and backward of all losses with the encoder frozen, in batches
of about 8 questions. Of each plan's epoch every n-th batch by size is run; the plans take turns.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np
import torch
from common import machine
from lengths import ANSWER, QUESTION, drawn, sample, timed

from slvr_model.batches import Row, collate
from slvr_model.efficiency.lengths import Plan
from slvr_model.efficiency.shared import SharedPlan, shared_rows
from slvr_model.modeling import SlvrModel
from slvr_model.tiny import SEMANTIC, new_tiny

SIZE = 8
LEAST, MOST = 4, 16
TOGETHER = (2, 4, 8)
"""Questions of a row."""


def questions(model: SlvrModel, visual: int, number: int, count: int) -> list[Row]:
    """Rows about one picture: words and embedding of each question are its own."""
    base, dice = sample(model, visual, number), torch.Generator().manual_seed(1000 + number)
    block, rows = base.blocks[0], []
    for _ in range(count):
        ids = torch.randint(300, 500, (QUESTION + ANSWER,), generator=dice).tolist()
        reply = (*block.reply[:-ANSWER], *ids[QUESTION:])
        semantics = torch.randn(1, SEMANTIC, generator=dice)
        asked = replace(block, prompt=tuple(ids[:QUESTION]), reply=reply, semantics_SE=semantics)
        rows.append(replace(base, blocks=(asked,)))
    return rows


def compare(given: argparse.Namespace) -> None:
    """Print the table."""
    torch.manual_seed(0)
    model, _ = new_tiny(0)
    model.to(given.device).train()
    model.model.visual.requires_grad_(False)
    counts = np.random.default_rng(1).integers(LEAST, MOST + 1, given.pictures)
    visual = drawn(given.pictures, 8 if given.device == "cpu" else 1)
    held = [questions(model, int(n), i, int(c)) for i, (n, c) in enumerate(zip(visual, counts, strict=True))]
    rows, layout = [row for about in held for row in about], model.layout
    pictures = np.repeat(np.arange(given.pictures), counts).tolist()
    lengths = np.array([collate([row], layout).ids_BL.shape[1] for row in rows])
    own = len(rows[0].blocks[0].prompt) + len(rows[0].blocks[0].reply) + 1  # and what stands behind the picture
    plans = {"grouped": Plan(lengths, "grouped", SIZE).epoch(1)}
    for most in TOGETHER:
        plans[f"shared, {most}"] = SharedPlan(lengths, lengths - own, pictures, SIZE, 0, most).epoch(1)
    made = {name: [_laid(rows, batch, name, model) for batch in plan] for name, plan in plans.items()}
    computed = {name: sum(_positions(laid, model) for laid in batches) for name, batches in made.items()}
    real = {name: sum(sum(_each(laid, model)) for laid in batches) for name, batches in made.items()}
    seconds, asked = dict.fromkeys(plans, 0.0), dict.fromkeys(plans, 0)
    chosen = {}
    for name, batches in made.items():
        chosen[name] = sorted(batches, key=lambda laid: -_positions(laid, model))[given.every // 2 :: given.every]
        timed(model, chosen[name][-1], False, given.device)
    for at in range(max(map(len, chosen.values()))):
        for name, batches in chosen.items():
            if at < len(batches):
                seconds[name] += timed(model, batches[at], False, given.device)
                asked[name] += sum(len(row.blocks) for row in batches[at])
    print(f"{'':12}{'batches':>9}{'real':>8}{'tokens a question':>19}{'ms a question':>15}{'tokens':>9}{'time':>8}")
    spent = {name: 1000 * seconds[name] / asked[name] for name in plans}
    for name in plans:
        tokens = computed["grouped"] / computed[name]
        told = f"{len(made[name]):9}{real[name] / computed[name]:8.1%}{computed[name] / len(rows):19.1f}"
        print(f"{name:12}{told}{spent[name]:15.1f}{tokens:9.2f}{spent['grouped'] / spent[name]:8.2f}")
    print("\ntokens, time: of grouped, over those of this")


def _laid(rows: list[Row], batch: list[int], name: str, model: SlvrModel) -> list[Row]:
    held = [rows[number] for number in batch]
    return held if name == "grouped" else shared_rows(held, model.layout, int(name.split()[-1]))


def _each(laid: list[Row], model: SlvrModel) -> list[int]:
    """Positions of each row."""
    return [int(collate([row], model.layout).kept_BL.sum()) for row in laid]


def _positions(laid: list[Row], model: SlvrModel) -> int:
    """Positions of a batch with its padding."""
    return max(_each(laid, model)) * len(laid)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--every", type=int, default=4)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    given = parser.parse_args()
    print(f"{given.pictures} pictures, {LEAST} to {MOST} questions each, batches of {SIZE}; {machine()}\n")
    compare(given)


if __name__ == "__main__":
    main()
