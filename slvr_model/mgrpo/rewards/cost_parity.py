"""Among the best rollouts of a query, dearer ones lose (Self-Adaptive Interleaved Reasoner, arXiv 2605.14709).

    S = {g: R_g >= max R - within},   n = least cost in S,   R_g <- R_g * n / cost_g  for g in S with R_g > 0

The factor is above 0 and at most 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.mgrpo.settings.rewards import CostParityConfig


def cost_factors(total_kG: Tensor, valid_kG: Tensor, costs_kG: Tensor | None, config: CostParityConfig) -> Tensor:
    """[k, G]: what rewards are multiplied by; 1 for rollouts that are not among a query's best.

    Raises:
        UsageError: costs are missing, or one is not above 0.
    """
    if costs_kG is None or not bool((costs_kG > 0).all()):
        raise UsageError("rewards.cost_parity needs what each reply cost, above 0: set it to null where nothing counts")
    known_kG = total_kG.masked_fill(~valid_kG, -torch.inf)
    best_kG = valid_kG & (known_kG >= known_kG.amax(1, keepdim=True) - config.within)
    least_k1 = costs_kG.masked_fill(~best_kG, torch.inf).amin(1, keepdim=True)
    return torch.where(best_kG & (total_kG > 0), least_k1 / costs_kG, 1.0)
