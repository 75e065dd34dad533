"""Losses on latents as parts of a step: what each process has to compute for the gradient of all regions together.

d loss / d latents is computed once, from the latents of all processes. Each part then multiplies its own latents,
computed again with gradient, by it: the gradient is that of the whole, though no part ever holds all of it.

N queries of all regions, K visual slots, D width, E dimension of the semantic vector
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.latent_losses import RegionLatents, latent_loss
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.mgrpo.processes import Processes
from slvr_model.mgrpo.query_latents import QueryLatents, query_latents
from slvr_model.mgrpo.types import Shown
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Form

Ask = Callable[[SlvrModel], tuple[Tensor, dict[str, float]]]
"""A part of a step's loss, with gradient, and numbers that add up over parts."""


class Pulls:
    """Makes the parts.

    Args:
        config: of the run.
        processes: the policy, and how it is shared.
        form: of the objective's replies.
        pictures: as they were encoded for the rollouts.
    """

    def __init__(self, config: MgrpoConfig, processes: Processes, form: Form, pictures: Pictures) -> None:
        self.config, self.micro_rows = config.latents, config.training.micro_rows
        self.processes, self.form, self.pictures = processes, form, pictures

    def parts(self, shown: Sequence[Shown], first: QueryLatents | None) -> tuple[list[Ask], dict[str, float]]:
        """The parts of this process, and numbers to log, the same in every process.

        Args:
            shown: this process's groups.
            first: the reference's latents of their queries, where something needs them.

        Raises:
            DivergedError: a latent is not finite.
        """
        if not self.config.active:
            return [], {}
        processes, model = self.processes, self.processes.policy.slvr
        with processes.whole(), torch.no_grad(), processes.accelerator.autocast():
            now = query_latents(model, shown, self.form, self.pictures)
        rows, every = self._gathered(now)
        reference = None if first is None else self._gathered(first)[1]
        leaves = [one.requires_grad_() for one in (every.visual_NKD, every.semantic_NE) if one is not None]
        terms = latent_loss(every, self.config, reference=reference)
        found = iter(torch.autograd.grad(terms.total, leaves, allow_unused=True))
        pair = [None if one is None else next(found) for one in (every.visual_NKD, every.semantic_NE)]
        size = max(1, self.micro_rows // max(len(one.asked) for one in shown))
        asks: list[Ask] = []
        for start in range(0, len(shown), size):
            some = range(start, min(start + size, len(shown)))
            mine = [row for row, region in zip(rows, now.region_Q.tolist(), strict=True) if region in some]
            gradients = [None if one is None else one[mine] for one in pair]
            asks.append(partial(self._part, [shown[place] for place in some], gradients))
        told = {f"latents/{name}": value for name, value in terms.numbers().items()}
        return asks, told | {"loss/latents": float(terms.total.detach())}

    def _part(
        self, shown: Sequence[Shown], gradients: Sequence[Tensor | None], model: SlvrModel
    ) -> tuple[Tensor, dict[str, float]]:
        """Latents of some regions' queries, times the gradients that they are to have."""
        latents = query_latents(model, shown, self.form, self.pictures)
        loss = torch.zeros((), device=latents.region_Q.device)
        for held, gradient in zip((latents.visual_QKD, latents.semantic_QE), gradients, strict=True):
            if held is not None and gradient is not None:
                loss = loss + (held.float() * gradient.to(held.device)).sum() * self.processes.ranks
        return loss, {}

    def _gathered(self, latents: QueryLatents) -> tuple[list[int], RegionLatents]:
        """Latents of all processes in the order of regions; and which rows of them are this one's."""
        every, rank, device = self.processes.all, self.processes.rank, latents.region_Q.device
        of = latents.region_Q.cpu()
        here = [of == place for place in range(int(of.max()) + 1)]
        ranks, sizes = zip(*every([(rank, int(rows.sum())) for rows in here]), strict=True)
        region_N = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        held: list[Tensor | None] = [None, None]
        for kind, one in enumerate((latents.visual_QKD, latents.semantic_QE)):
            if one is not None:
                told = one.detach().float().cpu()
                held[kind] = torch.cat(every([told[rows] for rows in here])).to(device)
        mine = [row for row, number in enumerate(region_N.tolist()) if ranks[number] == rank]
        return mine, RegionLatents(region_N.to(device), *held)
