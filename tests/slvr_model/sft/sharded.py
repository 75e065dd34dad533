"""Run by torchrun, two processes: torch's `fully_shard` on a small learner against the same in one process.

Each process has half of the rows. Loss and every gradient have to be those of all rows in one process.
"""

from __future__ import annotations

import os
from typing import Any

import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from slvr_model.objectives.base import open_objective
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.rows import Row
from slvr_model.sft.arguments import WRAPPED
from slvr_model.sft.learner import Learner
from slvr_model.tiny import tiny_tokenizer
from tests.slvr_model.support import model, picture, prefix, taught

CLOSE = 1e-4


def learner() -> Learner:
    made = model()
    return Learner(made, open_objective(ObjectiveConfig(kind="slvr", feed="teacher"), made, tiny_tokenizer()))


def main() -> None:
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    rows = [Row(prefix(seed=n), (taught(n),), (picture(seed=n),)) for n in range(4)]

    alone = learner()
    loss, _, _ = alone(alone.objective.collate(rows), 0.0, 0, 4.0)
    loss.backward()
    once = float(loss.detach())
    wanted = {name: value.grad for name, value in alone.named_parameters()}

    shared: Any = learner()
    units = [part for part in shared.modules() if type(part).__name__ in WRAPPED]
    assert len(units) == 4, "two layers of text, two of vision"
    for part in units:
        fully_shard(part)
    fully_shard(shared)
    assert all(isinstance(value, DTensor) for value in shared.parameters()), "parameters are shared out"
    mine, _, _ = shared(shared.objective.collate(rows[rank::ranks]), 0.0, 0, 4.0 / ranks)
    mine.backward()

    total = mine.detach().clone()
    dist.all_reduce(total)
    assert abs(float(total) / ranks - once) < CLOSE, f"loss {float(total) / ranks} and {once}"
    worst = 0.0
    for name, value in shared.named_parameters():
        found = None if value.grad is None else value.grad.full_tensor()
        if wanted[name] is None:
            assert found is None or not bool(found.any()), name
            continue
        assert found is not None, name
        worst = max(worst, float((found - wanted[name]).abs().max()))
    assert worst < CLOSE, f"a gradient differs by {worst}"
    if rank == 0:
        print(f"equal: loss {once:.6f}, gradients to {worst:.1e}", flush=True)
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # a thread of torch that still runs may abort the interpreter's own end, when all has been compared


if __name__ == "__main__":
    main()
