"""How far latents are apart.

    cosine   1 - <a, b> / (|a| |b|)      0 to 2
    l2       |a - b|                     0 and more

D width of what is compared
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Distance = Literal["cosine", "l2"]
NEAREST = 1e-12
"""Squared lengths are held above this: the root of 0 has no gradient."""


def distance(one_D: Tensor, other_D: Tensor, kind: Distance) -> Tensor:
    """Distance [...] between vectors [..., D], in float32 at least; leading dimensions are broadcast."""
    one_D, other_D = _full(one_D), _full(other_D)
    if kind == "l2":
        return (one_D - other_D).square().sum(-1).clamp_min(NEAREST).sqrt()
    unit_D, other_unit_D = functional.normalize(one_D, dim=-1), functional.normalize(other_D, dim=-1)
    return 1 - (unit_D * other_unit_D).sum(-1)


def slot_distance(one_KD: Tensor, other_KD: Tensor, kind: Distance) -> Tensor:
    """Mean distance [...] between visual latents [..., K, D] of the same slot."""
    return distance(one_KD, other_KD, kind).mean(-1)


def distances(one_NKD: Tensor, kind: Distance) -> Tensor:
    """Mean distance [N, N] of every two of some latents' slots, as `slot_distance` has it, but computed from products:
    without a difference of D numbers for each slot of each pair.
    """
    one_KND = _full(one_NKD).transpose(0, 1)
    if kind == "l2":
        apart_KNN = torch.cdist(one_KND, one_KND, compute_mode="donot_use_mm_for_euclid_dist")
        return apart_KNN.mean(0)
    unit_KND = functional.normalize(one_KND, dim=-1)
    return 1 - torch.einsum("knd,kmd->nm", unit_KND, unit_KND) / len(unit_KND)


def _full(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype.itemsize >= 4 else tensor.float()
