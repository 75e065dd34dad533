"""Cases of real rollouts, written as a run writes them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slvr_model.mgrpo.cases import Cases
from slvr_model.mgrpo.types import Rollouts
from tests.slvr_model.mgrpo.rollout_support import generator, shown
from tests.slvr_model.objectives.objective_support import tiny

REGIONS = ("r1", "r2")


def rollouts(step: int, region: str) -> Rollouts:
    """Of two questions, three replies each; those of every other step are the same."""
    return _rollouts(step % 2, region)


@cache
def _rollouts(step: int, region: str) -> Rollouts:
    made = generator("slvr")
    return made.rollouts(shown(made.objective, region=region), step=step)


def earned(of: Rollouts) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    """(terms, advantages, the whole reward): whatever, but a function of the rollouts."""
    lengths_kG = of.decoded.sampled_BT.sum(1).view(of.queries, of.number).double()
    formed_kG = torch.tensor(of.formed).view(of.queries, of.number).double()
    unsure_kG = torch.where(lengths_kG > 5, torch.nan, lengths_kG / 5)
    reward_kG = formed_kG + lengths_kG / 10
    return {"format": formed_kG, "brief": unsure_kG}, reward_kG - reward_kG.mean(1, keepdim=True), reward_kG


def written(folder: Path, steps: Iterable[int], regions: Iterable[str] = REGIONS, **options: Any) -> Cases:
    """The cases of some steps, flushed."""
    cases = Cases(folder, tiny()[1].tokenizer, **{"steps": 4} | options)
    for step in steps:
        for region in regions:
            terms, advantages, reward = earned(rollouts(step, region))
            cases.add(step, rollouts(step, region), terms, advantages, reward)
    cases.flush()
    return cases


def contents(folder: Path) -> dict[str, bytes]:
    """Files by name."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
