"""Rollouts of a group with everything shared against the same rows in one batch with nothing shared.

    OMP_NUM_THREADS=1 python perf/mgrpo_rollout.py [--shape tiny|small|3b] [--device cpu|cuda] [--rounds 5]

A group has k queries about one picture of 256 visual tokens, each with G rollouts of 24 new positions, latents
included, sampled from the same draws. "nothing shared" is `decode` over k x G rows, each with its picture encoded and
its prompt computed. "generate" is the public `generate` over the same rows without latents, which is what TRL's
GRPOTrainer calls where no server writes for it. The three alternate; the median of the rounds' ratios is given. On a
CPU it is CPU time of this process. Weights are random, and no reply ends early. The bar: nothing shared takes 3 times
as long.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from common import machine
from decoding import SHAPES, new_model

from slvr_model.batches import Batch
from slvr_model.data import Sample
from slvr_model.decoding import decode
from slvr_model.mgrpo.generate import InProcess, row_seeds
from slvr_model.mgrpo.settings.sampling import SamplingConfig
from slvr_model.mgrpo.types import Group, Shown
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import open_objective
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.rows import Block, Picture, Row
from slvr_model.tiny import new_tiny

BAR = 3.0
TOKENS, SEED = 256, 0


def generator(model: SlvrModel, given: argparse.Namespace) -> InProcess:
    """Of rollouts with latents; the tokenizer is the tiny model's."""
    tokenizer = new_tiny(0)[1].tokenizer
    config = SamplingConfig(rollouts=given.rollouts, temperature=1.0, max_new_tokens=given.new)
    return InProcess(model, open_objective(ObjectiveConfig(), model, tokenizer), tokenizer, config, SEED)


def group(queries: int) -> Shown:
    """Questions of different lengths about one picture of 256 visual tokens."""
    dice = torch.Generator().manual_seed(0)
    picture = Picture(torch.randn(4 * TOKENS, 3 * 2 * 14 * 14, generator=dice), (1, 32, 32), (448, 448))
    rows = tuple(Row((3, 1, 4), (Block(tuple(range(20, 36 + n % 3))),), (picture,)) for n in range(queries))
    fields: dict[str, Any] = dict.fromkeys(Sample.__dataclass_fields__, "")
    samples = tuple(Sample(**{**fields, "query_id": f"q{n}"}) for n in range(queries))
    return Shown(Group("region", "image", samples), rows, ("",) * queries, (False,) * queries)


def apart(made: InProcess, shown: Shown, device: str) -> Batch:
    """All rows, each with a picture of its own."""
    rows = []
    for number, row in enumerate(row for row in shown.asked for _ in range(made.config.rollouts)):
        rows.append(replace(row, pictures=tuple(replace(one, key=f"{number}") for one in row.pictures)))
    return made.objective.collate(rows, "left").to(device)


def public(model: SlvrModel, batch: Batch, new: int) -> Callable[[], object]:
    """The public `generate`, sampling."""
    given: dict[str, Any] = {"pixel_values": batch.pixels_PX, "image_grid_thw": batch.grids_N3}
    given |= {"input_ids": batch.ids_BL, "attention_mask": batch.kept_BL.long(), "mm_token_type_ids": batch.kinds()}
    options = {"max_new_tokens": new, "min_new_tokens": new, "do_sample": True, "top_k": 0, "pad_token_id": 0}
    return lambda: cast(Any, model).generate(**given, **options)


def seconds(run: Callable[[], object], device: str) -> float:
    """Of one call: CPU time, or the wall's on a GPU."""
    clock = time.process_time if device == "cpu" else time.perf_counter
    if device == "cuda":
        torch.cuda.synchronize()
    started = clock()
    run()
    if device == "cuda":
        torch.cuda.synchronize()
    return clock() - started


def alternating(ways: dict[str, Callable[[], object]], rounds: int, device: str) -> tuple[list[float], list[float]]:
    """Median seconds of each way, and the median over rounds of its time by the first one's."""
    for run in ways.values():
        run()
    table = [[seconds(run, device) for run in ways.values()] for _ in range(rounds)]
    columns = list(zip(*table, strict=True))
    ratios = [[mine / row[0] for mine, row in zip(column, table, strict=True)] for column in columns]
    return [statistics.median(column) for column in columns], [statistics.median(column) for column in ratios]


def main() -> None:
    """Print the table; exit code 1 where the bar is missed, or the rollouts are not those of plain decoding."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--queries", type=int, default=2)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--new", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    given = parser.parse_args()
    model = new_model(given.shape, given.device)
    made, shown = generator(model, given), group(given.queries)
    batch, seeds = apart(made, shown, given.device), row_seeds(SEED, 0, shown, given.rollouts)
    options = made.objective.form.options() | {"max_new_tokens": given.new, "temperature": 1.0, "seed": seeds}
    ways = {
        "everything shared": lambda: made.rollouts(shown, step=0),
        "nothing shared": lambda: decode(model, batch, **options),
        "(generate)": public(model, batch, given.new),
    }
    rollouts, plain = made.rollouts(shown, step=0), decode(model, batch, **options)
    place = torch.cuda.get_device_name() if given.device == "cuda" else machine()
    print(f"{given.shape}, {given.queries} queries x {given.rollouts} rollouts x {given.new} positions; {place}")
    print(f"{rollouts.costs}\n\n{'':20}{'ms':>10}{'rollouts/s':>12}{'ratio':>8}")
    spent, ratios = alternating(ways, given.rounds, given.device)
    for name, one, ratio in zip(ways, spent, ratios, strict=True):
        print(f"{name:20}{one * 1000:10.1f}{len(seeds) / one:12.1f}{ratio:8.2f}")
    same = rollouts.decoded.replies() == plain.replies() or given.device == "cuda"  # bf16 may choose another word
    print(f"\nthe same replies: {same}; the bar is {BAR}: {'met' if ratios[1] >= BAR else 'MISSED'}")
    raise SystemExit(not same or ratios[1] < BAR)


if __name__ == "__main__":
    main()
