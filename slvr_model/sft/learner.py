"""What is trained as one module: the model and what its objective trains beside it.

Its `forward` is the loss of a batch, so that a wrapper that sums gradients or gathers weights (DDP, FSDP, DeepSpeed)
sees every use of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from slvr_model.batches import Batch
from slvr_model.decoding import Decoded, decode
from slvr_model.latents import Latents
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Objective
from slvr_model.sft.hidden import hidden_right


class Learner(nn.Module):
    """A model with its objective."""

    def __init__(self, slvr: SlvrModel, objective: Objective) -> None:
        super().__init__()
        self.slvr, self.heads = slvr, objective.heads
        self._objective = objective

    @property
    def objective(self) -> Objective:
        """What it is taught by."""
        return self._objective

    def forward(
        self, batch: Batch, step_share: float, seed: int, samples: float | None = None
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """The loss of a batch with its gradient; without: its parts, and other numbers. See `Objective.losses`."""
        terms = self._objective.losses(self.slvr, batch, step_share=step_share, seed=seed, samples=samples)
        parts, numbers = ({n: v.detach().float() for n, v in held.items()} for held in (terms.named, terms.logged))
        return terms.total, parts, numbers

    @torch.no_grad()
    def written(self, batch: Batch, targets: Latents | None, **options: Any) -> Decoded:
        """Decoded replies to left-padded questions: with the model's own latents, or with `targets` in their place.

        Args:
            batch: one question a row.
            targets: latents of all rows in reading order, as many visual ones as slots are decoded.
            options: of `decoding.decode`.
        """
        if targets is None:
            return decode(self.slvr, batch, **options)
        return decode(self.slvr, batch, edit=_Replaced(targets, len(batch.ids_BL)), **options)

    @torch.no_grad()
    def hidden(self, batch: Batch, fed: Latents, mark: Sequence[int]) -> Tensor:
        """Which answers would be right that saw latents and echo alone; see `hidden.hidden_right`."""
        return hidden_right(self.slvr, batch, fed, mark, self._objective.form.options())

    @torch.no_grad()
    def targets(self, batch: Batch) -> Latents:
        """The targets of a batch of whole replies."""
        return self.slvr.latent_forward(batch, "pause").target


class _Replaced:
    """An `edit` of `decode` that feeds targets, row by row in order."""

    def __init__(self, targets: Latents, rows: int) -> None:
        visual_TD, semantic_SE = targets.visual_TD, targets.semantic_SE
        self.held = {
            "visual": None if visual_TD is None else visual_TD.view(rows, -1, visual_TD.shape[1]),
            "semantic": None if semantic_SE is None else semantic_SE[:, None],
        }
        self.step = {name: [0] * rows for name in self.held}

    def __call__(self, kind: str, rows_R: Tensor, latents_RD: Tensor) -> Tensor:
        held_RKD = self.held[kind]
        if held_RKD is None:
            return latents_RD
        fed = latents_RD.clone()
        for place, row in enumerate(rows_R.tolist()):
            at = self.step[kind][row]
            self.step[kind][row] += 1
            if at < held_RKD.shape[1]:
                fed[place] = held_RKD[row, at].to(fed.dtype)
        return fed
