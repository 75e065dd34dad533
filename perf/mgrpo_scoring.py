"""Scoring rollouts in two calls against a batched cached replay of the same rows from the prompt.

    OMP_NUM_THREADS=1 python perf/mgrpo_scoring.py [--shape tiny|small|3b] [--device cpu|cuda] [--rounds 5]

The rows are those of `mgrpo_rollout.py`, with 64 new positions. The replay runs all prompts as one batch (their picture
encoded once), then feeds one position of each reply at a time, as the released code does, and projects the states of
sampled positions to the vocabulary. "own latents" computes those anew, once for each query. All alternate; the median
of the rounds' ratios is given. On a CPU it is CPU time of this process. Without gradient, as a reference is scored. The
bar: the replay takes 4 times as long.
"""

from __future__ import annotations

import argparse

import torch
from common import machine
from decoding import SHAPES, new_model
from mgrpo_rollout import alternating, generator, group
from torch import Tensor
from transformers.cache_utils import DynamicCache

from slvr_model.batches import Batch
from slvr_model.decoding import chosen
from slvr_model.mgrpo.replies import slots
from slvr_model.mgrpo.scoring import scored
from slvr_model.mgrpo.types import Rollouts
from slvr_model.modeling import SlvrModel
from slvr_model.rules import Distribution

BAR = 4.0


@torch.no_grad()
def replayed(model: SlvrModel, batch: Batch, rollouts: Rollouts) -> tuple[Tensor, int]:
    """Log-probabilities [B, T], and the calls of the language model."""
    decoded, heads = rollouts.decoded, model.latents
    rows, length = decoded.ids_BT.shape
    inputs = model.text.embed_tokens(decoded.ids_BT)
    visual, semantic = slots(decoded, model.latent_config.tokens)
    if decoded.latents.visual_TD is not None:
        inputs[visual] = heads.visual_input(decoded.latents.visual_TD).to(inputs.dtype)
    if decoded.latents.semantic_SE is not None:
        inputs[semantic] = heads.semantic_input(decoded.latents.semantic_SE).to(inputs.dtype)
    cache, kept, place = DynamicCache(config=model.text.config), batch.kept_BL, batch.next_position()[:, None]
    prompts = model.embed(batch, model.encode(batch))
    states = [model.run(prompts, batch.positions_3BL, kept.long(), cache)[:, -1]]
    for at in range(length - 1):
        kept = torch.cat([kept, kept.new_ones(rows, 1)], 1)
        positions = (place + at).expand(3, -1, -1)
        states.append(model.run(inputs[:, at : at + 1], positions, model.mask_of(kept[:, None]), cache)[:, 0])
    row, column = decoded.sampled_BT.nonzero(as_tuple=True)
    distribution = Distribution(model, decoded.rules, decoded.ids_BT.device)
    logp, _ = chosen(model, distribution, torch.stack(states, 1)[row, column], row, decoded.ids_BT[row, column])
    return torch.zeros_like(decoded.logprobs_BT).index_put((row, column), logp), length


def main() -> None:
    """Print the table; exit code 1 where the bar is missed, or the two disagree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--queries", type=int, default=2)
    parser.add_argument("--rollouts", type=int, default=8)
    parser.add_argument("--new", type=int, default=64)
    parser.add_argument("--micro-rows", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    given = parser.parse_args()
    model = new_model(given.shape, given.device)
    made, shown = generator(model, given), group(given.queries)
    rollouts = made.rollouts(shown, step=0)
    rows = [row for row in shown.asked for _ in range(given.rollouts)]
    batch = made.objective.collate(rows, "left").to(given.device)

    def ours(feed: str) -> Tensor:
        with torch.no_grad():
            return scored(model, rollouts, feed=feed, micro_rows=given.micro_rows).logprobs_BT  # type: ignore[arg-type]

    ways = {
        "two calls": lambda: ours("given"),
        "replay": lambda: replayed(model, batch, rollouts),
        "(own latents)": lambda: ours("own"),
    }
    with torch.no_grad():
        calls = [scored(model, rollouts, feed=f, micro_rows=given.micro_rows).calls for f in ("given", "own")]
    apart = float((ours("given") - replayed(model, batch, rollouts)[0]).abs().max())
    numbers = [calls[0], replayed(model, batch, rollouts)[1], calls[1]]
    place = torch.cuda.get_device_name() if given.device == "cuda" else machine()
    print(f"{given.shape}, {len(rows)} rows of {given.new} new positions, micro_rows {given.micro_rows}; {place}\n")
    print(f"{'':20}{'ms':>10}{'calls':>8}{'ratio':>8}")
    spent, ratios = alternating(ways, given.rounds, given.device)
    for name, one, number, ratio in zip(ways, spent, numbers, ratios, strict=True):
        print(f"{name:20}{one * 1000:10.1f}{number:8}{ratio:8.2f}")
    same = apart < 1e-3 or given.device == "cuda"
    print(f"\nlargest difference {apart:.1e}; the bar is {BAR}: {'met' if ratios[1] >= BAR else 'MISSED'}")
    raise SystemExit(not same or ratios[1] < BAR)


if __name__ == "__main__":
    main()
