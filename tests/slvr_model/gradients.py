"""Gradients of parts that processes share out, against those of one process."""

from __future__ import annotations

from typing import Any

import torch.distributed as dist
from torch import Tensor

CLOSE = 1e-4


def equal_to(wanted: dict[str, Tensor | None], once: float, shared: Any, mine: Tensor) -> str:
    """Holds loss and gradients of all processes together against those of one, to 1e-4; says how close they are.

    Args:
        wanted: the gradients of one process.
        once: its loss.
        shared: the module whose parameters are shared out.
        mine: this process's loss, behind `backward`; all of them have the mean `once`.
    """
    total = mine.detach().clone()
    dist.all_reduce(total)
    mean = float(total) / dist.get_world_size()
    assert abs(mean - once) < CLOSE, f"loss {mean} and {once}"
    worst = 0.0
    for name, value in shared.named_parameters():
        found, one = None if value.grad is None else value.grad.full_tensor(), wanted[name]
        if one is None:
            assert found is None or not bool(found.any()), name
            continue
        assert found is not None, name
        worst = max(worst, float((found - one).abs().max()))
    assert worst < CLOSE, f"a gradient differs by {worst}"
    return f"equal: loss {once:.6f}, gradients to {worst:.1e}"
