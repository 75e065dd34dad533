"""How far slots are from a target: losses per value, for each kind of target.

    tensor  - cos(psi(f_n), v_n)                    psi a head of its own, f the slots' states brought to as many values
                                                    as the target has (REPA, arXiv 2410.06940; VaLR, 2602.04476)
    logits  KL(softmax(t_n) || softmax(W_head f_n))         over the whole vocabulary, or among the target's tokens
    text    - mean over its tokens y of log softmax(W_head f)[y],   f the mean of the slots: words in no order

States [G, K, D] become n values per group by linear interpolation along the slots: value i lies at

    x_i = (i + 1/2) K / n - 1/2, held in 0..K-1         between slots floor(x_i) and floor(x_i) + 1

G groups, K slots of each, D width, N values, F size of a value, V vocabulary
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from slvr_model.efficiency.vocabulary_loss import token_losses
from slvr_model.objectives.targets.base import LogitTarget, Target, TensorTarget, TextTarget


def stretched(states_GKD: Tensor, group_N: Tensor) -> Tensor:
    """Values [N, D]: each group's slots brought to the number of values that it has in `group_N` (ascending)."""
    slots = states_GKD.shape[1]
    count_G = torch.bincount(group_N, minlength=len(states_GKD))
    index_N = torch.arange(len(group_N), device=group_N.device) - (count_G.cumsum(0) - count_G)[group_N]
    place_N = ((index_N + 0.5) * slots / count_G[group_N] - 0.5).clamp(0, slots - 1)
    low_N = place_N.floor().long()
    part_N1 = (place_N - low_N)[:, None].to(states_GKD.dtype)
    high_N = (low_N + 1).clamp_max(slots - 1)
    return states_GKD[group_N, low_N] * (1 - part_N1) + states_GKD[group_N, high_N] * part_N1


def alignment(states_GKD: Tensor, target: Target, head: nn.Module, vocabulary_VD: Tensor) -> tuple[Tensor, Tensor]:
    """Losses per value, and the group of each.

    Args:
        states_GKD: states of the slots.
        target: what they are to match, without gradient.
        head: from states to values of a tensor target; other kinds do not use it.
        vocabulary_VD: weight of the vocabulary projection.
    """
    if isinstance(target, TextTarget):
        return _text(states_GKD.mean(1), target, vocabulary_VD)
    values_ND = stretched(states_GKD, target.group_N)
    if isinstance(target, LogitTarget):
        words_VD = vocabulary_VD if target.ids_C is None else vocabulary_VD[target.ids_C]
        said_NV = functional.log_softmax((values_ND @ words_VD.T).float(), -1)
        wanted_NV = functional.log_softmax(target.logits_NV.detach().float(), -1)
        return (wanted_NV.exp() * (wanted_NV - said_NV)).sum(-1), target.group_N
    return cosine_losses(head(values_ND.float()), target), target.group_N


def cosine_losses(predicted_NF: Tensor, target: TensorTarget) -> Tensor:
    """- cos per value [N]."""
    return -functional.cosine_similarity(predicted_NF.float(), target.values_ND.detach().float(), dim=-1)


def _text(states_GD: Tensor, target: TextTarget, vocabulary_VD: Tensor) -> tuple[Tensor, Tensor]:
    told = [(group, ids) for group, ids in enumerate(target.ids) if ids]
    group_G = torch.tensor([group for group, _ in told], dtype=torch.long, device=states_GD.device)
    size_G = torch.tensor([len(ids) for _, ids in told], dtype=torch.long, device=states_GD.device)
    ids_N = torch.tensor([token for _, ids in told for token in ids], dtype=torch.long, device=states_GD.device)
    line_N = torch.repeat_interleave(torch.arange(len(told), device=states_GD.device), size_G)
    losses_N = token_losses(states_GD[group_G[line_N]], vocabulary_VD, ids_N)
    return losses_N.new_zeros(len(told)).index_add(0, line_N, losses_N) / size_G, group_G
