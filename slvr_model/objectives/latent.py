"""Objectives whose slots have targets: `lvr` (visual), `semantic`, and `slvr` (both).

    loss = answer + visual_weight * visual + semantic_weight * semantic

    visual    mean over samples of [ mean over a sample's slots and channels of (p_k - v_k)^2 ]
    semantic  mean over samples of [ 1 - z . e' ]                 vectors of length 1 (`unit_semantic`)
              mean over samples of [ mean over E of (z - e')^2 ]  else
    legacy    mean over samples of [ mean over D of (s - (P e' + q))^2 ],  s the state at sem_start, gradient to P and q

p, z, v, e' are those of `latents.py`; v and e' have no gradient. Logged:

    visual_r2  1 - sum |p_k - v_k|^2 / sum |v_k - mean_k|^2,  mean_k that of slot k over the batch's regions
    semantic_cosine  mean of z . e' / (|z| |e'|)

A cosine of visual latents says nothing: where a few channels are large in all of them it is near 1 at any error.

T visual slots, S semantic slots, D width, E dimension of the semantic vector, M visual tokens
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from slvr_data.errors import UsageError
from slvr_model.batches import Batch
from slvr_model.latents import Latents
from slvr_model.modeling import LatentOutput, SlvrModel
from slvr_model.objectives.answers import answer_loss, read
from slvr_model.objectives.averages import Averages
from slvr_model.objectives.base import Terms
from slvr_model.objectives.feeding import Feeding
from slvr_model.objectives.replies import Replies
from slvr_model.objectives.targets.pooled import PooledTokens
from slvr_model.objectives.targets.profile import ProfileEmbedding
from slvr_model.own_feed import Slots


@dataclass(frozen=True, eq=False)
class Pass:
    """A forward pass over a batch, and what it was fed."""

    model: SlvrModel
    batch: Batch
    visual_MD: Tensor | None
    out: LatentOutput
    fed: Latents
    averages: Averages

    def targets(self, provider: PooledTokens | ProfileEmbedding, predicted_ND: Tensor) -> Tensor:
        """Those of a provider, in float32.

        Raises:
            UsageError: they are missing, or not as many as the slots.
        """
        target_ND = provider.targets(self.model, self.batch, self.visual_MD).values_ND.float()
        if target_ND.shape != predicted_ND.shape:
            found, slots = len(target_ND), len(predicted_ND)
            raise UsageError(f"{found} {provider.group} targets for {slots} slots: give every reply its target")
        return target_ND


class LatentReplies(Replies):
    """Replies with latents that have targets."""

    def losses(
        self, model: SlvrModel, batch: Batch, *, step_share: float, seed: int = 0, samples: float | None = None
    ) -> Terms:
        """The losses of a batch; see the module and `Objective.losses`."""
        config, now = self.config, Feeding.at(self.config, step_share)
        averages = Averages.of(batch, config.normalisation, samples)
        visual_MD = model.encode(batch)
        if config.legacy_moving_target:
            fed = moving(model, batch, visual_MD)
            out = model.latent_forward(batch, "given", given=fed, visual_MD=visual_MD)
        else:
            out = now.run(model, batch, visual_MD, 2 * seed)
            fed = now.fed(model, batch, out, 2 * seed)
        reading = read(model, batch, out.hidden_BLD, fed, mark=self.mark, probability=now.bottleneck, seed=seed)
        named = {"answer": answer_loss(model, reading.labelled, averages)}
        logged = {"teacher_fed": out.hidden_BLD.new_tensor(float(now.feed == "teacher"))}
        if config.bottleneck:
            logged["hidden"] = out.hidden_BLD.new_tensor(reading.hidden / averages.taught)
        slots, ran = model.slots(batch), Pass(model, batch, visual_MD, out, fed, averages)
        if self.visual:
            named["visual"] = self._visual(ran, slots[0], logged)
        if self.semantic:
            named["semantic"] = self._semantic(ran, slots[1], logged)
        return Terms(named, {"visual": config.visual_weight, "semantic": config.semantic_weight}, logged)

    def _visual(self, ran: Pass, slots: Slots, logged: dict[str, Tensor]) -> Tensor:
        predicted_TD = ran.out.visual_TD.float()
        target_TD = ran.targets(PooledTokens(), predicted_TD)
        explained = slot_r2(predicted_TD, target_TD, self.latents.visual_slots)
        if self.config.targets == "pooled" and explained is not None:
            logged["visual_r2"] = explained
        return ran.averages.mean((predicted_TD - target_TD).pow(2).mean(1), slots.row, slots.at)

    def _semantic(self, ran: Pass, slots: Slots, logged: dict[str, Tensor]) -> Tensor:
        assert ran.out.semantic_SE is not None
        predicted_SE = ran.out.semantic_SE.float()
        target_SE = ran.targets(ProfileEmbedding(), predicted_SE)
        logged["semantic_cosine"] = functional.cosine_similarity(predicted_SE.detach(), target_SE).mean()
        if self.config.legacy_moving_target:
            assert ran.fed.semantic_SE is not None
            aimed_SD = ran.model.latents.semantic_input(ran.fed.semantic_SE)
            losses_S = (ran.out.hidden_BLD[slots.row, slots.at - 1] - aimed_SD).float().pow(2).mean(1)
        elif self.latents.unit_semantic:
            losses_S = 1 - (predicted_SE * target_SE).sum(1)
        else:
            losses_S = (predicted_SE - target_SE).pow(2).mean(1)
        return ran.averages.mean(losses_S, slots.row, slots.at)


class Visual(LatentReplies):
    """`lvr`: visual latents alone (LVR, arXiv 2509.24251, with pooled and standardised targets)."""

    visual: ClassVar[bool] = True


class Semantic(LatentReplies):
    """The semantic latent alone."""

    semantic: ClassVar[bool] = True


class Slvr(LatentReplies):
    """Both (SLVR, arXiv 2605.19342)."""

    visual: ClassVar[bool] = True
    semantic: ClassVar[bool] = True


def moving(model: SlvrModel, batch: Batch, visual_MD: Tensor | None) -> Latents:
    """Targets as the released code has them: the embedding's projection is trained with what aims at it."""
    if batch.semantics_SE is None:
        raise UsageError("the batch has no embeddings: give every semantic slot one")
    semantic_SE = batch.semantics_SE.to(model.latents.visual_out.weight.dtype)
    if model.latent_config.target_dim:
        semantic_SE = model.text_embedding_projector(semantic_SE)
    visual_TD = None
    if batch.regions is not None:
        visual_TD = PooledTokens().targets(model, batch, visual_MD).values_ND
    return Latents(visual_TD, model.latents.unit(semantic_SE))


@torch.no_grad()
def slot_r2(predicted_TD: Tensor, target_TD: Tensor, slots: int) -> Tensor | None:
    """R2 of visual latents against the mean of each slot; None for fewer than two regions, or where all are equal.

    Args:
        predicted_TD: predicted latents, region by region.
        target_TD: their targets.
        slots: K.
    """
    if len(target_TD) % slots:
        return None
    predicted_RKD, target_RKD = (one.float().view(-1, slots, one.shape[1]) for one in (predicted_TD, target_TD))
    spread = (target_RKD - target_RKD.mean(0)).pow(2).sum()
    if len(target_RKD) < 2 or not bool(spread > 0):
        return None
    return 1 - (predicted_RKD - target_RKD).pow(2).sum() / spread
