"""Run as two processes: torch's `fully_shard` on a model of which one process hides an answer, and the other none.

Each has one of two samples. Loss and gradients have to be those of both in one process.
"""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard

from slvr_model.batches import Batch, collate
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.answers import answer_loss, read
from slvr_model.objectives.averages import Averages
from slvr_model.rows import Row
from slvr_model.sft.arguments import WRAPPED
from tests.slvr_model.gradients import equal_to
from tests.slvr_model.support import layout, model, picture, prefix, taught

MARK = (13, 17, 13, 17)


class Reading(nn.Module):
    """A model with the answer loss, every answer that has a mark hidden; and how many were."""

    def __init__(self, slvr: SlvrModel) -> None:
        super().__init__()
        self.slvr = slvr

    def forward(self, batch: Batch, samples: float) -> tuple[Tensor, int]:
        out = self.slvr.latent_forward(batch, "teacher")
        found = read(self.slvr, batch, out.hidden_BLD, out.target, mark=MARK, probability=1.0, seed=0)
        return answer_loss(self.slvr, found.labelled, Averages.of(batch, "sample", samples)), found.hidden


def rows() -> list[Row]:
    """The first says the mark behind its latents."""
    blocks = [taught(number) for number in range(2)]
    blocks[0] = replace(blocks[0], reply=(*blocks[0].reply[:-1], *MARK, blocks[0].reply[-1]))
    return [Row(prefix(seed=n), (block,), (picture(seed=n),)) for n, block in enumerate(blocks)]


def main() -> None:
    alone = Reading(model())
    loss, hidden = alone(collate(rows(), layout(alone.slvr)), 2.0)
    assert hidden == 1
    loss.backward()
    once, wanted = float(loss.detach()), {name: value.grad for name, value in alone.named_parameters()}

    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    rank = dist.get_rank()
    shared: Any = Reading(model())
    for part in [part for part in shared.modules() if type(part).__name__ in WRAPPED]:
        fully_shard(part)
    fully_shard(shared)
    mine, hidden = shared(collate(rows()[rank : rank + 1], layout(alone.slvr)), 1.0)
    assert hidden == 1 - rank, "one process hides its answer, the other has nothing to hide"
    mine.backward()
    said = equal_to(wanted, once, shared, mine)
    if rank == 0:
        print(said, flush=True)
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # a thread of torch that still runs may abort the interpreter's own end, when all has been compared


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
