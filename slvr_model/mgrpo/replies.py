"""Finished replies, row by row: some of a batch, or several batches as one; and their latents as tensors with axes.

B rows, T new positions, K visual slots, D width, E dimension of the semantic vector, N latents
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from slvr_model.decoding import Decoded
from slvr_model.latents import Latents
from slvr_model.rules import Rules
from slvr_model.tokens import LatentTokens


def taken(decoded: Decoded, rows: slice, tokens: LatentTokens) -> Decoded:
    """Rows that stand next to each other, cut to the longest of them."""
    kept_BT = decoded.kept_BT[rows]
    length = int(kept_BT.sum(1).max()) if len(kept_BT) else 0
    ids, sampled, forced, latent, logprobs = (values_BT[rows, :length] for values_BT in _columns(decoded))
    visual, semantic = slots(decoded, tokens)
    latents = Latents(
        _some(decoded.latents.visual_TD, visual, rows), _some(decoded.latents.semantic_SE, semantic, rows)
    )
    chosen = np.arange(len(decoded.ids_BT))[rows]
    rules, finished_B = decoded.rules.of(chosen), decoded.finished_B[rows]
    return Decoded(ids, sampled, forced, latent, logprobs, latents, finished_B, rules)


def joined(parts: Sequence[Decoded], pad_token: int) -> Decoded:
    """All rows, one batch after the other, padded to the longest."""
    if len(parts) == 1:
        return parts[0]
    length = max(one.ids_BT.shape[1] for one in parts)
    ids, sampled, forced, latent, logprobs = (
        torch.cat([pad(values_BT, (0, length - values_BT.shape[1]), value=fill) for values_BT in held])
        for held, fill in zip(zip(*map(_columns, parts), strict=True), (pad_token, 0, 0, 0, 0), strict=True)
    )
    visual = [one.latents.visual_TD for one in parts if one.latents.visual_TD is not None]
    semantic = [one.latents.semantic_SE for one in parts if one.latents.semantic_SE is not None]
    latents = Latents(torch.cat(visual) if visual else None, torch.cat(semantic) if semantic else None)
    rules = Rules(*(np.concatenate(held) for held in zip(*(vars(one.rules).values() for one in parts), strict=True)))
    finished_B = torch.cat([one.finished_B for one in parts])
    return Decoded(ids, sampled, forced, latent, logprobs, latents, finished_B, rules)


def slots(decoded: Decoded, tokens: LatentTokens) -> tuple[Tensor, Tensor]:
    """Where visual and semantic latents stand: two masks [B, T]."""
    return (
        decoded.latent_BT & (decoded.ids_BT == tokens.vis_slot),
        decoded.latent_BT & (decoded.ids_BT == tokens.sem_slot),
    )


def openings(decoded: Decoded, latents: Latents, tokens: LatentTokens) -> Latents:
    """The latents that replies open with, as [B, K, D] and [B, E]; None where some rows have none of a kind.

    Args:
        latents: of these replies in reading order: as they were fed, or as another model predicts them.
    """
    visual_BT, semantic_BT = slots(decoded, tokens)
    opens_BT = visual_BT & (decoded.ids_BT == tokens.vis_end).cumsum(1).eq(0)
    return Latents(
        _first(latents.visual_TD, visual_BT, int(opens_BT.sum(1).min())),
        _first(latents.semantic_SE, semantic_BT, min(1, int(semantic_BT.sum(1).min())), squeeze=True),
    )


def _first(values_NX: Tensor | None, where_BT: Tensor, number: int, squeeze: bool = False) -> Tensor | None:
    """The first `number` values of each row."""
    if values_NX is None or number == 0:
        return None
    counts_B = where_BT.sum(1)
    place_BK = (counts_B.cumsum(0) - counts_B)[:, None] + torch.arange(number, device=counts_B.device)
    return values_NX[place_BK[:, 0] if squeeze else place_BK]


def _columns(decoded: Decoded) -> tuple[Tensor, ...]:
    return decoded.ids_BT, decoded.sampled_BT, decoded.forced_BT, decoded.latent_BT, decoded.logprobs_BT


def _some(values_NX: Tensor | None, where_BT: Tensor, rows: slice) -> Tensor | None:
    if values_NX is None:
        return None
    first, last = rows.start or 0, rows.stop
    begin, size = int(where_BT[:first].sum()), int(where_BT[first:last].sum())
    return values_NX[begin : begin + size] if size else None
