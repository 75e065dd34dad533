"""Where replies look: the attention of the positions that an answer is read from, by what they look at.

B rows, L positions with the reply
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from slvr_model.batches import Batch
from slvr_model.decoding import Decoded, extended
from slvr_model.modeling import SlvrModel

PARTS = ("visual", "semantic", "picture", "text", "reply")
"""Visual latents, the semantic latent, the picture's tokens, all other tokens of the prompt, and those of the reply."""


@torch.no_grad()
def attention_shares(model: SlvrModel, batch: Batch, decoded: Decoded) -> list[dict[str, Tensor]]:
    """For each layer, the share of attention [B] of each of `PARTS`, mean over heads and over sampled tokens.

    A token is read from the position before it, so that is the position that looks (VISTA, 2605.11931, compares
    the picture with the prompt in one middle layer; here latents are parts of their own). One more pass with attention
    that shows its weights. The last entry is what an even look over all positions seen would give. Rows without a
    sampled token have NaN.
    """
    whole = extended(batch, decoded)
    length = batch.ids_BL.shape[1]
    at_BL = torch.zeros_like(whole.kept_BL)
    at_BL[:, length - 1 : -1] = decoded.sampled_BT
    parts = _parts(whole, length, model)

    def shares(look_BLL: Tensor) -> dict[str, Tensor]:
        return {name: _share(look_BLL, part_BL, at_BL) for name, part_BL in parts.items()}

    found: list[dict[str, Tensor]] = []
    with _shown(model, lambda look_BLL: found.append(shares(look_BLL))):
        model.latent_forward(whole, "given", given=decoded.latents)
    places = torch.arange(whole.ids_BL.shape[1], device=at_BL.device)
    seen_BLL = whole.kept_BL[:, None, :] & (places[None, :] <= places[:, None])
    return [*found, shares(seen_BLL / seen_BLL.sum(-1, keepdim=True).clamp_min(1))]


def _share(look_BLL: Tensor, part_BL: Tensor, at_BL: Tensor) -> Tensor:
    """Mean over the places of what goes to one part, [B]."""
    onto_BL = (look_BLL * part_BL[:, None, :]).sum(-1)
    return (onto_BL * at_BL).sum(1) / at_BL.sum(1)


def _parts(whole: Batch, prompt: int, model: SlvrModel) -> dict[str, Tensor]:
    """Which positions [B, L] belong to each of `PARTS`."""
    ids_BL, tokens = whole.ids_BL, model.latent_config.tokens
    of_reply_BL = torch.arange(ids_BL.shape[1], device=ids_BL.device).expand_as(ids_BL) >= prompt
    visual_BL = (ids_BL == tokens.vis_slot) & of_reply_BL
    semantic_BL = (ids_BL == tokens.sem_slot) & of_reply_BL
    picture_BL = ids_BL == whole.image_id
    rest_BL = whole.kept_BL & ~visual_BL & ~semantic_BL & ~picture_BL
    found = (visual_BL, semantic_BL, picture_BL, rest_BL & ~of_reply_BL, rest_BL & of_reply_BL)
    return dict(zip(PARTS, found, strict=True))


@contextmanager
def _shown(model: SlvrModel, take: Callable[[Tensor], None]) -> Iterator[None]:
    """Give the weights [B, L, L] of each layer of the language model, mean over heads, to `take`."""
    text: Any = model.text
    before = text.config._attn_implementation

    def keep(module: Any, args: Any, output: Any) -> None:
        take(output[1].float().mean(1))

    hooks = [layer.self_attn.register_forward_hook(keep) for layer in text.layers]
    text.config._attn_implementation = "eager"
    try:
        yield
    finally:
        text.config._attn_implementation = before
        for hook in hooks:
            hook.remove()
