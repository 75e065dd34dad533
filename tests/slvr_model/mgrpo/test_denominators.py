"""What a step is divided by: few questions with a signal move little, and latents alone move nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from slvr_model.mgrpo.composer import Rewards
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.rewards.facts import Facts
from slvr_model.mgrpo.settings.rewards import RewardConfig
from tests.slvr_model.mgrpo.update_support import NO_PULL, Bench, configured, earned, furthest, weights

AGGREGATIONS = ("grpo", "dapo", "dr_grpo", "bnpo")
Rewarded = Callable[[Facts, RewardConfig], Rewards]


def first_differs(facts: Facts, _: RewardConfig) -> Rewards:
    """Rollouts of a group's first question differ in reward; those of the others have the same."""
    reward_kG = torch.ones(facts.queries, facts.rollouts)
    reward_kG[0] = torch.arange(facts.rollouts) % 2
    return earned(reward_kG)


def learnt(aggregation: str, drop: bool, denominator: str = "all", beta: float = 0.0, rows: int = 64) -> Bench:
    bench = Bench(
        configured(
            loss={"aggregation": aggregation, "beta": beta, "denominator": denominator},
            advantages={"drop": drop},
            latents=NO_PULL,
            training={"micro_rows": rows},
        ),
        first_differs,
    )
    bench.learnt()
    return bench


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_questions_without_signal_count_whether_they_are_computed_or_not(aggregation: str) -> None:
    """As in TRL, where they are rows with an advantage of 0; the mean of each part, so of parts of one row here."""
    rows = 1 if aggregation == "bnpo" else 64
    gone, there = (learnt(aggregation, drop, rows=rows).gradients() for drop in (True, False))
    assert furthest(gone, there) < 1e-4
    kept = learnt(aggregation, True, "kept", rows=rows).gradients()
    ratios = {float(kept[name].norm() / gone[name].norm()) for name in kept if float(gone[name].norm()) > 1e-4}
    assert min(ratios) > 1.3 and max(ratios) - min(ratios) < 1e-2, "one factor, that of what is left out"


def pulled(alone: bool, rewarder: Rewarded) -> tuple[dict[str, float], Any, Bench]:
    pulls = {"together": 1.0, "apart": 1.0, "apart_margin": 2.0, "alone": alone}
    bench = Bench(configured(latents=pulls), rewarder)
    before = weights(bench.model)
    return bench.learnt(), before, bench


def test_losses_on_latents_alone_move_nothing_unless_told() -> None:
    def same(facts: Facts, _: RewardConfig) -> Rewards:
        return earned(torch.ones(facts.queries, facts.rollouts))

    for alone, rewarder, moves in ((False, same, False), (True, same, True), (False, first_differs, True)):
        numbers, before, bench = pulled(alone, rewarder)
        moved = any(not torch.equal(value, before[name]) for name, value in weights(bench.model).items())
        assert moved == moves and (numbers["rows"] > 0) == (rewarder is first_differs)
        assert numbers["latents/together"] > 0, "they are told all the same"


def test_presets_of_others_keep_all_questions() -> None:
    for preset in ("paper", "released"):
        told = {"answer": {"kind": "exact"}}
        config = MgrpoConfig.model_validate({"preset": preset, "rewards": told, "data": {"fewest": 2, "most": 2}})
        assert not config.advantages.drop and config.loss.denominator == "all"
