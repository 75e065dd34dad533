"""Have the latents stayed near those of the reference, the model of stage 1: 0 where they have, else below.

    r_ig = - min(most, max(0, d(z_ig, z'_ig) - semantic_margin))
           - min(most, max(0, mean over slots t of d(h_igt, h'_igt) - visual_margin))

As consistency it is the same for all rollouts of a query unless latents are drawn.
"""

from __future__ import annotations

import math

from torch import Tensor

from slvr_model.mgrpo.distances import distance, slot_distance
from slvr_model.mgrpo.rewards.facts import Facts, Term
from slvr_model.mgrpo.settings.rewards import StabilityConfig


def stability(facts: Facts, config: StabilityConfig) -> Term:
    """The term, [k, G]; missing where there are no latents, or none of the reference's."""
    most, parts = math.inf if config.most is None else config.most, []
    if facts.semantic_kGE is not None and facts.reference_semantic_kGE is not None:
        moved_kG = distance(facts.semantic_kGE, facts.reference_semantic_kGE, config.distance)
        parts.append(_beyond(moved_kG, config.semantic_margin, most))
    if facts.visual_kGKD is not None and facts.reference_visual_kGKD is not None:
        moved_kG = slot_distance(facts.visual_kGKD, facts.reference_visual_kGKD, config.distance)
        parts.append(_beyond(moved_kG, config.visual_margin, most))
    return Term.of(-sum(parts[1:], parts[0])) if parts else Term.absent(facts)


def _beyond(moved_kG: Tensor, margin: float, most: float) -> Tensor:
    return (moved_kG - margin).clamp(0, most)
