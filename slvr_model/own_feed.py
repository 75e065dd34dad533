"""Slots fed by what the model predicts for them, over a whole batch, in as few calls as there are slots in a block.

Depth of a position = number of slots of its block up to and including it. All positions of one depth, of all rows and
blocks, are one call with a cache: their slots need states of the depth before, and nothing later. Keys lie in the cache
in the order of the calls; positions and masks are given explicitly, so order does not matter.

B rows, L positions, D width, Q positions of one call, K positions of all calls so far, C depths, S slots of one kind
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn.functional import one_hot
from transformers.cache_utils import DynamicCache

from slvr_data.errors import UsageError
from slvr_model.batches import Batch
from slvr_model.chance import of_positions
from slvr_model.latents import Latents

if TYPE_CHECKING:
    from slvr_model.modeling import SlvrModel


@dataclass(frozen=True, eq=False)
class Slots:
    """Slots of one kind in a batch, in reading order, with the maps from state to latent to input."""

    name: str
    size: int
    """Of a latent."""
    row: Tensor
    at: Tensor
    predict: Callable[[Tensor], Tensor]
    to_input: Callable[[Tensor], Tensor]

    @classmethod
    def find(
        cls,
        batch: Batch,
        name: str,
        token: int,
        size: int,
        predict: Callable[[Tensor], Tensor],
        to_input: Callable[[Tensor], Tensor],
    ) -> Slots:
        """The slots marked by `token`."""
        row, at = (batch.ids_BL == token).nonzero(as_tuple=True)
        return cls(name, size, row, at, predict, to_input)


@dataclass(frozen=True)
class Mixture:
    """How own predictions are fed."""

    detach: bool
    """No gradient through what is fed."""
    share: float
    """Probability that a slot takes its target instead."""
    target: Latents
    generator: torch.Generator | None

    def taken(self, batch: Batch, slots: list[Slots]) -> list[tuple[Tensor, Tensor] | None]:
        """For each kind: which slots of a batch take their target, and the targets."""
        chosen: list[tuple[Tensor, Tensor] | None] = []
        known = (self.target.visual_TD, self.target.semantic_SE)
        for kind, (one, known_SE) in enumerate(zip(slots, known, strict=False)):
            if self.share <= 0 or len(one.row) == 0:
                chosen.append(None)
                continue
            if known_SE is None:
                raise UsageError(f"share {self.share}: the batch has no {one.name} targets to feed")
            dice = of_positions(batch, one.row, one.at, kind, self.generator) < self.share
            chosen.append((dice.to(known_SE.device), known_SE))
        return chosen


@dataclass(frozen=True, eq=False)
class _Walk:
    """The calls that visit every position of a batch."""

    depth_BL: Tensor
    rank_BL: Tensor
    """Place of a position within its call."""
    joined_BL: Tensor
    """Place of a position when all calls are joined."""
    calls: list[tuple[Tensor, Tensor]]
    """Per depth: positions [B, Q], and which of them do not merely fill the call up."""


def own_states(model: SlvrModel, batch: Batch, inputs_BLD: Tensor, slots: list[Slots], mixture: Mixture) -> Tensor:
    """Last states [B, L, D] with each slot fed by the model's own prediction for it, as decoding does.

    Raises:
        UsageError: activation checkpointing is on, under which the library drops the cache without a word.
    """
    if model.training and any(layer.gradient_checkpointing for layer in model.text.layers):
        raise UsageError(
            'feed "own" needs a cache, which activation checkpointing forbids: use "teacher", or switch it off'
        )
    walk, seen_BLL, taken = _plan(batch, slots), batch.seen(), mixture.taken(batch, slots)
    cache, states = DynamicCache(config=model.text.config), list[Tensor]()
    rows_B11 = torch.arange(len(inputs_BLD), device=inputs_BLD.device)[:, None, None]
    for depth, (at_BQ, real_BQ) in enumerate(walk.calls):
        chunk_BQD = _gather(inputs_BLD, at_BQ)
        if depth > 0:
            for one, targets in zip(slots, taken, strict=True):
                chunk_BQD = _fed(chunk_BQD, states[-1], one, targets, walk, depth, mixture.detach)
        keys_BK, real_BK = (torch.cat(parts, 1) for parts in zip(*walk.calls[: depth + 1], strict=True))
        seen_BQK = seen_BLL[rows_B11, at_BQ[:, :, None], keys_BK[:, None, :]] & real_BK[:, None, :]
        seen_BQK = seen_BQK | ~real_BQ[:, :, None]  # what fills a call up must see something; nobody reads it
        positions_3BQ = batch.positions_3BL.gather(2, at_BQ.expand(3, -1, -1))
        states.append(model.run(chunk_BQD, positions_3BQ, model.mask_of(seen_BQK), cache))
    return _gather(torch.cat(states, dim=1), walk.joined_BL)


def _fed(
    chunk_BQD: Tensor,
    before_BQD: Tensor,
    slots: Slots,
    targets: tuple[Tensor, Tensor] | None,
    walk: _Walk,
    depth: int,
    detach: bool,
) -> Tensor:
    """The inputs of a call with its slots of one kind filled from the states of the call before."""
    mine = walk.depth_BL[slots.row, slots.at] == depth
    row, at = slots.row[mine], slots.at[mine]
    if len(row) == 0:
        return chunk_BQD
    latent_SE = slots.predict(before_BQD[row, walk.rank_BL[row, at - 1]])
    latent_SE = latent_SE.detach() if detach else latent_SE
    if targets is not None:
        dice, known_SE = targets
        latent_SE = torch.where(dice[mine][:, None], known_SE[mine].to(latent_SE.dtype), latent_SE)
    return chunk_BQD.index_put((row, walk.rank_BL[row, at]), slots.to_input(latent_SE).to(chunk_BQD.dtype))


def _plan(batch: Batch, slots: list[Slots]) -> _Walk:
    rows, length = batch.ids_BL.shape
    slot_BL = torch.zeros_like(batch.ids_BL)
    for one in slots:
        slot_BL[one.row, one.at] = 1
    total_BL = slot_BL.cumsum(1)
    begins_BL = batch.blocks_BL != batch.blocks_BL.roll(1, 1)
    depth_BL = total_BL - torch.where(begins_BL, total_BL - slot_BL, 0).cummax(1).values
    order_BL = depth_BL.argsort(dim=1, stable=True)
    counts_BC = one_hot(depth_BL).sum(1)
    first_BC = counts_BC.cumsum(1) - counts_BC
    place_BL = torch.arange(length, device=order_BL.device).expand(rows, -1)
    rank_BL = torch.empty_like(order_BL).scatter_(1, order_BL, place_BL) - first_BC.gather(1, depth_BL)
    sizes_C = counts_BC.amax(0)
    joined_BL = (sizes_C.cumsum(0) - sizes_C)[depth_BL] + rank_BL
    calls = []
    for depth, size in enumerate(sizes_C.tolist()):
        rank_BQ = place_BL[:, :size]
        at_BQ = order_BL.gather(1, (first_BC[:, depth, None] + rank_BQ).clamp_max(length - 1))
        calls.append((at_BQ, rank_BQ < counts_BC[:, depth, None]))
    return _Walk(depth_BL, rank_BL, joined_BL, calls)


def _gather(values_BLD: Tensor, at_BQ: Tensor) -> Tensor:
    return values_BLD.gather(1, at_BQ[..., None].expand(-1, -1, values_BLD.shape[-1]))
