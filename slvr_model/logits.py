"""Logits in float32 of the projection to the vocabulary, whatever the type that is computed in.

Between 16 and 32, where the largest logits of Qwen2.5-VL lie, numbers of bfloat16 are 0.125 apart: two kernels whose
states differ by a thousandth would then differ by 13 % in a token's odds. So products are of bfloat16, as everywhere
under autocast, and their sums are kept as they are.

R rows, D width, V vocabulary
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

WIDE = (torch.float32, torch.float64)
SUMMED = hasattr(torch.ops.aten.mm, "dtype")
"""Whether this version of torch returns sums in float32 (on GPUs)."""


def logits(head: nn.Linear, states_RD: Tensor) -> Tensor:
    """Logits [R, V] of states, in float32 at least. Autocast's type is that of the products, else the states'."""
    kind = states_RD.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states_RD.dtype
    if dtype in WIDE or head.bias is not None:
        return cast(Tensor, head(states_RD))
    with torch.autocast(kind, enabled=False):
        return cast(Tensor, _Summed.apply(states_RD.to(dtype), head.weight.to(dtype)))


class _Summed(torch.autograd.Function):
    """h W' in float32, of factors of a narrower type; its gradients are in theirs."""

    @staticmethod
    def forward(ctx: Any, states_RD: Tensor, head_VD: Tensor) -> Tensor:
        ctx.save_for_backward(states_RD, head_VD)
        if SUMMED and states_RD.is_cuda:
            return torch.mm(states_RD, head_VD.T, out_dtype=torch.float32)
        return states_RD.float() @ head_VD.float().T

    @staticmethod
    def backward(ctx: Any, gradient_RV: Tensor) -> tuple[Tensor | None, Tensor | None]:
        states_RD, head_VD = ctx.saved_tensors
        narrow_RV = gradient_RV.to(states_RD.dtype)
        wants_states, wants_head = ctx.needs_input_grad
        return narrow_RV @ head_VD if wants_states else None, narrow_RV.T @ states_RD if wants_head else None
