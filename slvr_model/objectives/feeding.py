"""What fills the slots at a moment of the training, and what was filled in.

T visual slots, S semantic slots, D width, E dimension of the semantic vector
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.batches import Batch
from slvr_model.latents import Latents
from slvr_model.modeling import Feed, LatentOutput, SlvrModel
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.own_feed import Mixture


@dataclass(frozen=True)
class Feeding:
    """What fills the slots now."""

    feed: Feed
    share: float
    """Probability that a slot takes its target although predictions are fed."""
    bottleneck: float
    """Probability that a reply's part behind the latents sees nothing else."""

    @classmethod
    def at(cls, config: ObjectiveConfig, step_share: float) -> Feeding:
        """At a share of the training.

        Raises:
            UsageError: the share is not in 0 to 1.
        """
        if not 0 <= step_share <= 1:
            raise UsageError(f"step_share {step_share} is not in 0 to 1")
        kind: str = config.feed
        begins = config.bottleneck_from
        if kind == "schedule":
            begins = config.teacher_share if begins is None else begins
            kind = "teacher" if step_share < config.teacher_share else config.then
        bottleneck = config.bottleneck if step_share >= (begins or 0.0) else 0.0
        if kind == "mix":
            return cls("own", config.mix_share, bottleneck)
        return cls("teacher" if kind == "teacher" else "own" if kind == "own" else "detached", 0.0, bottleneck)

    def run(self, model: SlvrModel, batch: Batch, visual_MD: Tensor | None, seed: int) -> LatentOutput:
        """A forward pass with the slots filled so; `seed` decides which take their target, unless samples do."""
        return model.latent_forward(
            batch, self.feed, visual_MD=visual_MD, share=self.share, generator=torch.Generator().manual_seed(seed)
        )

    def fed(self, model: SlvrModel, batch: Batch, out: LatentOutput, seed: int) -> Latents:
        """The latents that `run` put into the slots with this seed, with gradient where it fed them with gradient."""
        if self.feed == "teacher":
            return out.target
        predicted = [out.visual_TD, out.semantic_SE]
        if self.feed == "detached":
            predicted = [None if one is None else one.detach() for one in predicted]
        mixture = Mixture(self.feed == "detached", self.share, out.target, torch.Generator().manual_seed(seed))
        for number, chosen in enumerate(mixture.taken(batch, model.slots(batch))):
            latents = predicted[number]
            if chosen is not None and latents is not None:
                taken_S, target_SX = chosen
                predicted[number] = torch.where(taken_S[:, None], target_SX.to(latents.dtype), latents)
        return Latents(predicted[0], predicted[1])
