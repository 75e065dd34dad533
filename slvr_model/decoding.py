"""The one decoding loop: text is sampled, slots and the ends of their spans are forced, latents are fed back.

Behind `vis_start` the last state becomes a latent, and the latent the next input, for K slots; then `vis_end`. Behind
`sem_start` the same once. Then text. What to do next follows from the last token of a row alone, so rows of one batch
may be in different places; it is kept on the host, and no step that only writes latents waits for the device.

B rows, T new positions, L positions of the prompts, C places of the cache, D width, E dimension of the semantic vector,
V vocabulary, R rows whose next token is sampled
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.cache_utils import Cache, DynamicCache, StaticCache

from slvr_data.errors import UsageError
from slvr_model.batches import Batch
from slvr_model.decoding_loop import Decoded, Edit, Loop
from slvr_model.logits import logits
from slvr_model.memory import memory
from slvr_model.modeling import Feed, SlvrModel
from slvr_model.rows import IGNORED
from slvr_model.rules import Distribution, draws, rules_of

__all__ = ["Decoded", "Edit", "chosen", "compiled_step", "decode", "extended", "score"]

CACHE_STEP = 128
"""A static cache is rounded up to a multiple of this, so that compiled steps are seldom compiled anew."""
SCORED = 512
"""Rows of logits that are held at a time."""


@memory("decoding", "the rows of a batch, max_new_tokens, or the size of pictures")
@torch.no_grad()
def decode(
    model: SlvrModel,
    batch: Batch,
    *,
    max_new_tokens: int,
    visual_steps: int | Sequence[int] | None = None,
    semantic: bool | Sequence[bool] | None = None,
    learned_end: bool | Sequence[bool] = False,
    opening: bool | Sequence[bool] = False,
    temperature: float | Sequence[float] = 0.0,
    top_p: float = 1.0,
    seed: int | Sequence[int] = 0,
    edit: Edit | None = None,
    cache: Literal["dynamic", "static"] = "dynamic",
    step: Callable[..., Tensor] | None = None,
    visual_MD: Tensor | None = None,
) -> Decoded:
    """Decode replies to left-padded prompts. A prompt that ends with a start token goes on with its latents.

    Args:
        model: in eval mode.
        batch: prompts from `collate(..., side="left")`, one block a row.
        max_new_tokens: positions per reply, slots included.
        visual_steps: slots of a visual span (cap where ends are learned); default: the model's K; 0: none.
        semantic: allow the semantic slot; default: where the model has one.
        learned_end: see `Rules`; needs a model trained so.
        opening: force the reply to begin with its latents, visual and semantic, as far as the row has them.
        temperature: 0 is greedy. All of these may be one value, or one per row.
        top_p: sample among the most probable tokens that together have this probability.
        seed: of row b: (seed, b), or the b-th of several. A row's draws do not depend on the others.
        edit: changes latents before they are fed.
        cache: "static" has one size from the first step on, as `torch.compile` wants it.
        step: what runs a step of one position a row; `compiled_step(model)` with a static cache.
        visual_MD: what `model.encode(batch)` returned, to spare encoding again.

    Raises:
        UsageError: prompts are not left-padded, are too long, or the rules do not fit model or batch.
    """
    rules = rules_of(model.latent_config, len(batch.ids_BL), visual_steps, semantic, learned_end, opening, temperature)
    _check(model, batch, max_new_tokens, top_p)
    loop = Loop(model, batch, rules, max_new_tokens, draws(seed, len(batch.ids_BL), max_new_tokens), top_p)
    room = batch.ids_BL.shape[1] + max_new_tokens
    held: Cache = DynamicCache(config=model.text.config)
    if cache == "static":
        room = -(-room // CACHE_STEP) * CACHE_STEP
        held = StaticCache(config=model.text.config, max_cache_len=room)
    hidden_BD = loop.prefill(held, room, visual_MD)
    return loop.run(held, hidden_BD, edit, step or model.run)


def compiled_step(model: SlvrModel, **options: Any) -> Callable[..., Tensor]:
    """`model.run` compiled for steps of one position with a static cache; keep it for many calls of `decode`."""
    return cast(Callable[..., Tensor], torch.compile(model.run, fullgraph=True, **options))


@memory("scoring", "the rows of a batch, or the size of pictures")
def score(
    model: SlvrModel, batch: Batch, decoded: Decoded, *, feed: Feed = "given", visual_MD: Tensor | None = None
) -> Tensor:
    """Log-probabilities [B, T] of the sampled tokens of finished replies, in one forward (0 elsewhere).

    With feed "given" the stored latents are used: equal to `decoded.logprobs_BT` while the weights are the same. With
    "own" the latents are computed again, with gradient. Temperature and rules are those of decoding.
    """
    whole = extended(batch, decoded)
    length = batch.ids_BL.shape[1]
    at_BL = torch.zeros_like(whole.kept_BL)
    at_BL[:, length - 1 : -1] = decoded.sampled_BT
    out = model.latent_forward(whole, feed, given=decoded.latents, visual_MD=visual_MD)
    row, place = decoded.sampled_BT.nonzero(as_tuple=True)
    distribution = Distribution(model, decoded.rules, at_BL.device)
    logp_N, _ = chosen(model, distribution, out.hidden_BLD[at_BL], row, decoded.ids_BT[row, place])
    return torch.zeros_like(decoded.logprobs_BT).index_put((row, place), logp_N)


def chosen(
    model: SlvrModel, distribution: Distribution, states_ND: Tensor, rows_N: Tensor, ids_N: Tensor
) -> tuple[Tensor, Tensor]:
    """Log-probabilities [N] of tokens from the states before them, and the entropies [N], without gradient, of what
    they were sampled from. Only `SCORED` rows of logits are held, with gradient too: the backward pass makes them anew.
    """

    def part(states_RD: Tensor, rows_R: Tensor, ids_R: Tensor) -> tuple[Tensor, Tensor]:
        logp_RV = distribution.log_probabilities(logits(model.lm_head, states_RD), rows_R)
        with torch.no_grad():
            entropy_R = torch.special.entr(logp_RV.exp()).sum(-1)
        return logp_RV.gather(1, ids_R[:, None])[:, 0], entropy_R

    run: Any = partial(checkpoint, part, use_reentrant=False) if torch.is_grad_enabled() else part
    pieces = (torch.split(whole_N, SCORED) for whole_N in (states_ND, rows_N, ids_N))
    found = [run(*piece) for piece in zip(*pieces, strict=True)]
    return torch.cat([logp_R for logp_R, _ in found]), torch.cat([entropy_R for _, entropy_R in found])


def extended(batch: Batch, decoded: Decoded) -> Batch:
    """The prompts with their replies, as one batch of [B, L + T]."""
    ids_BT, kept_BT = decoded.ids_BT, decoded.kept_BT
    new_BT = batch.next_position()[:, None] + torch.arange(ids_BT.shape[1], device=ids_BT.device)
    return replace(
        batch,
        ids_BL=torch.cat([batch.ids_BL, ids_BT], 1),
        kept_BL=torch.cat([batch.kept_BL, kept_BT], 1),
        positions_3BL=torch.cat([batch.positions_3BL, (new_BT * kept_BT).expand(3, -1, -1)], 2),
        blocks_BL=torch.cat([batch.blocks_BL, torch.where(kept_BT, batch.blocks_BL[:, -1:], -1)], 1),
        labels_BL=torch.cat([batch.labels_BL, torch.where(decoded.sampled_BT, ids_BT, IGNORED)], 1),
    )


def _check(model: SlvrModel, batch: Batch, most: int, top_p: float) -> None:
    if most < 1 or not 0 < top_p <= 1:
        raise UsageError(f"max_new_tokens {most} must be at least 1, top_p {top_p} above 0 and at most 1")
    if not bool(batch.kept_BL[:, -1].all()) or batch.mask_BLL is not None:
        raise UsageError('prompts to decode are padded on the left, one question a row: collate(rows, layout, "left")')
    room, length = model.layout.limit, int(batch.kept_BL.sum(1).max())
    if length + most > room:
        raise UsageError(f"a prompt of {length} positions and {most} new ones exceed the limit of {room}: ask for less")
