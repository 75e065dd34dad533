"""A rigged world: whatever is asked, the answer A is paid. The embedded model learns to say it within a minute."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from slvr_model.mgrpo.composer import Rewards
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.rewards.facts import Facts
from slvr_model.mgrpo.run import train_mgrpo
from slvr_model.mgrpo.settings.rewards import RewardConfig
from slvr_model.sft import records
from tests.slvr_model.mgrpo.update_support import earned

RIGGED = (
    "data.lettered=1", "data.limit=8", "rewards.format.weight=0", "rewards.all_right.weight=0", "loss.beta=0",
    "latents={together: 0, apart: 0, stability: 0}", "sampling={rollouts: 8, temperature: 1.5, max_new_tokens: 16}",
    "training={steps: 14, regions: 4, micro_rows: 64, learning_rate: 5.0e-4, warmup: 0.0, device: cpu}",
    "evaluation.regions=0", "preflight.regions=0", "cases.every=0", "saving.every=99", "logging.every=5",
)  # fmt: skip


def paid(facts: Facts, config: RewardConfig) -> Rewards:
    return earned(facts.table([given.startswith("A") for given in facts.given]))


@pytest.mark.slow
def test_what_is_paid_is_learnt(set_up: Callable[..., MgrpoConfig]) -> None:
    final = train_mgrpo(set_up(*RIGGED), "slvr:tiny", rewarder=paid)
    lines = [json.loads(line) for line in (final / records.LOG).read_text().splitlines()]
    rewards = [line["reward/total"] for line in lines]
    first, last = sum(rewards[:2]) / 2, sum(rewards[-2:]) / 2
    assert first < 0.45 and last > 0.85, rewards
    assert lines[0]["advantage/mixed"] > 0.1, "there was something to learn from"
