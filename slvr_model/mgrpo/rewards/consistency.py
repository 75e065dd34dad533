"""Are the latents of a region's queries alike: 0 where they are, else below.

    r_ig = - sum over j != i of [ semantic * d(z_ig, z_jg) + visual * mean over slots t of d(h_igt, h_jgt) ]

The sum of it over the queries i is the paper's R_cons; with two queries each has the released code's C. Latents follow
from the question unless noise is drawn: then r is the same for all rollouts of a query, and no advantage sees it
(`latent_losses.py` acts on latents instead).
"""

from __future__ import annotations

from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.mgrpo.distances import distance, slot_distance
from slvr_model.mgrpo.rewards.facts import Facts, Term
from slvr_model.mgrpo.settings.rewards import ConsistencyConfig


def consistency(facts: Facts, config: ConsistencyConfig) -> Term:
    """The term, [k, G]; missing where there are no latents, without a part that the objective has no slots for.

    Raises:
        UsageError: there is one query only.
    """
    if facts.queries < 2:
        raise UsageError(
            "rewards.consistency compares the queries of a region, and there is one: set rewards.consistency.weight "
            "to 0"
        )
    parts: list[Tensor] = []
    if facts.semantic_kGE is not None and config.semantic:
        one, other = facts.semantic_kGE[:, None], facts.semantic_kGE[None]
        parts.append(config.semantic * distance(one, other, config.distance))
    if facts.visual_kGKD is not None and config.visual:
        one, other = facts.visual_kGKD[:, None], facts.visual_kGKD[None]
        parts.append(config.visual * slot_distance(one, other, config.distance))
    if not parts:
        return Term.absent(facts)
    apart_kkG = sum(parts[1:], parts[0])
    own_kG = apart_kkG.diagonal().T  # a latent and itself: 0 but for rounding
    return Term.of(own_kG - apart_kkG.sum(1))
