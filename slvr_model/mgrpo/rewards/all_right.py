"""Own correctness times that of the region's other queries: 0 to 1.

    r_ig = c_ig * M_i,   M_i = mean (or product) over j != i of  mean over h of c_jh

M_i is the same for all rollouts of query i. Where advantages are divided by the deviation among them it cancels; where
they are divided by a fixed scale it weighs the query: what its region's other queries already know, counts more.
"""

from __future__ import annotations

import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.mgrpo.rewards.facts import Term
from slvr_model.mgrpo.settings.rewards import AllRightConfig


def all_right(correct: Term, config: AllRightConfig) -> Term:
    """The term, [k, G], from the answers' correctness; missing where own or all others' correctness is.

    Raises:
        UsageError: there is one query only.
    """
    queries = len(correct.values_kG)
    if queries < 2:
        raise UsageError(
            "rewards.all_right needs two queries on a region, and there is one: set rewards.all_right.weight to 0"
        )
    count_k = correct.present_kG.sum(1)
    mean_k = correct.values_kG.sum(1) / count_k.clamp_min(1)
    factors = [_others(mean_k, count_k > 0, query, config.others) for query in range(queries)]
    factor_k = torch.stack([factor for factor, _ in factors])
    known_k = torch.tensor([known for _, known in factors])
    return Term.of(correct.values_kG * factor_k[:, None], correct.present_kG & known_k[:, None])


def _others(mean_k: Tensor, known_k: Tensor, query: int, how: str) -> tuple[Tensor, bool]:
    """M of a query, and whether anything is known of the others."""
    taken_k = known_k.clone()
    taken_k[query] = False
    others = mean_k[taken_k]
    if not len(others):
        return mean_k.new_zeros(()), False
    return (others.mean() if how == "mean" else others.prod()), True
