"""Slots kept apart: the triplet loss of LIMSSR (arXiv 2605.00434) over slots, a slot's number being its class.

With unit vectors u_{gk} of slot k of region g, and d the Euclidean distance:

    loss = mean over g, k of  max(0, margin + max over g' of d(u_gk, u_g'k) - min over g', j != k of d(u_gk, u_g'j))

Where all slots are the same it is the margin; where slots of different numbers are further apart than slots of one
number by the margin it is 0. LIMSSR takes the vectors as they are; for those of unit length a margin means the same at
any width.

G regions, K slots, D width, A = G * K anchors
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from slvr_data.errors import UsageError

NEAREST = 1e-12
"""Squared distances are held above this: the root of 0 has no gradient."""


def slot_triplet(slots_GKD: Tensor, margin: float) -> Tensor:
    """The loss.

    Raises:
        UsageError: there are fewer than two slots.
    """
    regions, slots, _ = slots_GKD.shape
    if slots < 2:
        raise UsageError("the triplet loss keeps slots apart, but a region has one: set triplet_weight to 0, or K to 2")
    unit_AD = functional.normalize(slots_GKD.flatten(0, 1).float(), dim=-1)
    distance_AA = (2 - 2 * unit_AD @ unit_AD.T).clamp_min(NEAREST).sqrt()
    number_A = torch.arange(slots, device=slots_GKD.device).repeat(regions)
    same_AA = number_A[:, None] == number_A
    furthest_A = distance_AA.masked_fill(~same_AA, -torch.inf).amax(1)
    nearest_A = distance_AA.masked_fill(same_AA, torch.inf).amin(1)
    return functional.relu(margin + furthest_A - nearest_A).mean()
