"""Run by torchrun, two processes: torch's `fully_shard` on a small learner against the same in one process.

Each process has half of the rows. Loss and every gradient have to be those of all rows in one process; in bfloat16 what
is summed has to be float32; and a checkpoint has to be taken by a learner that is shared out.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from slvr_model.objectives.base import open_objective
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.rows import Row
from slvr_model.sft.arguments import WRAPPED, precision
from slvr_model.sft.config import SftConfig
from slvr_model.sft.learner import Learner
from slvr_model.sft.start import add_lora
from slvr_model.sft.weights import load_shared, save_learner
from slvr_model.tiny import tiny_processor, tiny_tokenizer
from tests.slvr_model.gradients import equal_to
from tests.slvr_model.support import config as shape
from tests.slvr_model.support import model, picture, prefix, taught


def learner(tied: bool = False) -> Learner:
    made = model(shape(tied=tied))
    return Learner(made, open_objective(ObjectiveConfig(kind="slvr", feed="teacher"), made, tiny_tokenizer()))


def share(made: Learner, **options: Any) -> Any:
    """Shared out as accelerate does it: a unit per layer, and one of all else."""
    units = [part for part in made.modules() if type(part).__name__ in WRAPPED]
    assert len(units) == 4, "two layers of text, two of vision"
    for part in (*units, made):
        fully_shard(part, **options)
    assert all(isinstance(value, DTensor) for value in made.parameters()), "parameters are shared out"
    return made


def compare(rows: list[Row], rank: int, ranks: int) -> str:
    """Loss and gradients, against one process."""
    alone = learner()
    loss, _, _ = alone(alone.objective.collate(rows), 0.0, 0, 4.0)
    loss.backward()
    once = float(loss.detach())
    wanted = {name: value.grad for name, value in alone.named_parameters()}

    shared = share(learner())
    mine, _, _ = shared(shared.objective.collate(rows[rank::ranks]), 0.0, 0, 4.0 / ranks)
    mine.backward()
    return equal_to(wanted, once, shared, mine)


def add_up(rows: list[Row], rank: int, ranks: int) -> str:
    """In bfloat16: losses are float32, and so are sums over processes, which mostly lie between its numbers."""
    shared = share(learner(), mp_policy=precision())
    with torch.autocast("cpu", torch.bfloat16):
        loss, parts, _ = shared(shared.objective.collate(rows[rank::ranks]), 0.0, 0, 4.0 / ranks)
    assert {loss.dtype, *(one.dtype for one in parts.values())} == {torch.float32}
    loss.backward()
    found = torch.cat([one.grad.to_local().flatten() for one in shared.parameters() if one.grad is not None])
    assert found.dtype == torch.float32
    between = float((found != found.bfloat16().float()).float().mean())
    assert between > 0.2, f"{between:.0%} of the gradient's numbers are none of bfloat16"
    return f"added up: {between:.0%} of numbers are none of bfloat16"


def go_on(folder: Path, rank: int, lora: dict[str, int] | None) -> str:
    """A checkpoint of one learner, taken by another that is shared out."""
    config = SftConfig.model_validate({"training": {"steps": 1, "lora": lora}})
    made = []
    for seed in (0, 1):
        one = learner(tied=lora is None)
        if config.training.lora is not None:
            torch.manual_seed(seed)
            add_lora(one.slvr, config.training.lora)
        made.append(one)
    kept, other = made
    dice = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in kept.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=dice), alpha=0.1)
        kept.slvr.latents.visual_mean_D += 1
    if rank == 0:
        save_learner(kept, tiny_processor(), folder, kept.state_dict(), config)
    dist.barrier()
    shared = share(other)
    load_shared(shared, folder, config)
    found = shared.state_dict()
    for name, value in kept.state_dict().items():
        here = found[name].full_tensor() if isinstance(found[name], DTensor) else found[name]
        assert torch.equal(here, value), name
    return f"taken: {len(found)} tensors"


def main() -> None:
    dist.init_process_group("gloo")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    rows = [Row(prefix(seed=n), (taught(n),), (picture(seed=n),)) for n in range(4)]
    folder = Path(sys.argv[1])
    said = [
        compare(rows, rank, ranks),
        add_up(rows, rank, ranks),
        go_on(folder / "full", rank, None),
        go_on(folder / "adapters", rank, {"rank": 3, "alpha": 6}),
    ]
    if rank == 0:
        print("\n".join(said), flush=True)
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # a thread of torch that still runs may abort the interpreter's own end, when all has been compared


if __name__ == "__main__":
    main()
