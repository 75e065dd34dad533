"""Advantages: formulas a second way, what cancels and what does not, groups without signal, routes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from slvr_data.errors import RunError, UsageError
from slvr_model.mgrpo.advantages import advantages, routed
from slvr_model.mgrpo.composer import composed
from slvr_model.mgrpo.losses import policy_loss
from slvr_model.mgrpo.settings import AdvantageConfig, LossConfig, RewardConfig, RoutingConfig, form_of
from tests.slvr_model.mgrpo.reward_support import facts


def rewards(queries: int = 3, rollouts: int = 5, seed: int = 0) -> Tensor:
    return torch.rand(queries, rollouts, generator=torch.Generator().manual_seed(seed))


def slow(values: list[float], config: AdvantageConfig) -> list[float]:
    mean = sum(values) / len(values)
    divisor = config.scale
    if config.normalise == "zscore":
        divisor = math.sqrt(sum((one - mean) ** 2 for one in values) / (len(values) - 1)) + config.epsilon
    clip = config.clip or math.inf
    return [max(-clip, min(clip, (one - mean) / divisor)) for one in values]


@pytest.mark.parametrize("normalise", ["zscore", "mean_only"])
@pytest.mark.parametrize("clip", [None, 0.3])
def test_per_query(normalise: str, clip: float | None) -> None:
    scale = {"scale": 0.25} if normalise == "mean_only" else {}
    config = AdvantageConfig(normalise=normalise, clip=clip, **scale)
    held = rewards()
    found = advantages(held, config)
    for query in range(3):
        assert found.values_kG[query].tolist() == pytest.approx(slow(held[query].tolist(), config), abs=1e-5)
    assert found.kept_kG.all()
    assert found.dropped == 0


@pytest.mark.parametrize("level", ["joint", "mixed"])
def test_joint_and_mixed(level: str) -> None:
    config = AdvantageConfig(level=level, normalise="zscore", mix=0.25)
    held = rewards()
    joint = slow(held.mean(0).tolist(), config)
    found = advantages(held, config).values_kG
    for query in range(3):
        own = slow(held[query].tolist(), config)
        wanted = joint if level == "joint" else [0.75 * a + 0.25 * b for a, b in zip(own, joint, strict=True)]
        assert found[query].tolist() == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    ("gap", "size"), [(1.0, 0.707), (0.01, 0.62), (0.001, 0.29), (1e-4, 0.05)], ids=["1", "0.01", "0.001", "0.0001"]
)
def test_the_released_form_loses_the_size_of_a_gap(gap: float, size: float) -> None:
    """Two pair-rollouts: sizes as the reference measured them on the released code."""
    found = advantages(torch.tensor([[0.5, 0.5 + gap]] * 2), form_of("released").advantages)
    assert found.values_kG[0, 1] == found.values_kG[1, 1]
    assert float(found.values_kG[0, 1]) == pytest.approx(size, abs=0.02)
    assert float(found.values_kG[0, 0]) == pytest.approx(-float(found.values_kG[0, 1]), rel=1e-3)


def gradient(held: Any, config: RewardConfig, how: AdvantageConfig) -> Tensor:
    """Of the loss, for one token a rollout."""
    logprobs_BT = torch.zeros(8, 1, requires_grad=True)
    found = advantages(composed(held, config).total_kG, how)
    policy_loss(logprobs_BT, torch.ones(8, 1), found.values_kG.flatten(), LossConfig(beta=0)).loss.backward()
    assert logprobs_BT.grad is not None
    return logprobs_BT.grad.view(2, 4)


def test_the_other_queries_factor_acts_in_ours_and_cancels_under_a_z_score() -> None:
    """Query 0 is the same twice; query 1 is answered rightly by three of four, or by one of four."""

    def answered(right: int) -> Any:
        given = ["red 0", "red 0", "x", "x"] + ["red 1"] * right + ["x"] * (4 - right)
        return facts(2, 4, given=given)

    alone = RewardConfig.model_validate(
        {"answer": {"weight": 0}, "format": {"weight": 0}, "all_right": {"weight": 1}, "gates": {}}
    )
    ours = form_of("ours").advantages
    zscore = ours.model_copy(update={"normalise": "zscore"})
    many, few = gradient(answered(3), alone, ours)[0], gradient(answered(1), alone, ours)[0]
    torch.testing.assert_close(many, 3 * few)
    assert float((many - few).abs().max()) > 0.01
    many, few = gradient(answered(3), alone, zscore)[0], gradient(answered(1), alone, zscore)[0]
    torch.testing.assert_close(many, few, rtol=1e-3, atol=1e-5)
    assert float(many.abs().max()) > 0.01
    whole = form_of("ours").rewards
    many, few = gradient(answered(3), whole, ours)[0], gradient(answered(1), whole, ours)[0]
    torch.testing.assert_close(many, few * (1 + 0.75) / (1 + 0.25))


def test_groups_without_signal_are_dropped_and_counted() -> None:
    held = torch.tensor([[1.0, 1, 1], [0, 1, 0], [0, 0, 0]])
    found = advantages(held, AdvantageConfig())
    assert found.kept_kG.any(1).tolist() == [False, True, False]
    assert found.signal_k.tolist() == [False, True, False]
    assert found.dropped == 2
    assert found.numbers()["advantage/mixed"] == pytest.approx(1 / 3)
    assert found.numbers()["advantage/dropped"] == pytest.approx(2 / 3)
    assert found.values_kG[0].tolist() == [0, 0, 0]
    kept = advantages(held, AdvantageConfig(drop=False))
    assert kept.kept_kG.all()
    torch.testing.assert_close(kept.values_kG, found.values_kG)


def test_rounding_is_no_signal_even_where_it_is_divided_by_its_deviation() -> None:
    held = torch.tensor([[0.3, 0.3 + 1e-7, 0.3], [0, 1, 0]])
    found = advantages(held, AdvantageConfig(normalise="zscore", epsilon=0))
    assert found.values_kG[0].tolist() == [0, 0, 0]
    assert found.values_kG.isfinite().all()


def test_joint_sees_a_signal_only_where_sums_differ() -> None:
    held = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    assert advantages(held, AdvantageConfig(level="joint")).dropped == 2
    mixed = advantages(held, AdvantageConfig(level="mixed", mix=0.5))
    assert mixed.values_kG.tolist() == [[0.25, -0.25], [-0.25, 0.25]]


def test_rollouts_without_a_reward_are_not_compared() -> None:
    held = torch.tensor([[0.0, 2.0, float("nan"), 1.0], [5.0, float("nan"), float("nan"), float("nan")]])
    for normalise in ("zscore", "mean_only"):
        config = AdvantageConfig(normalise=normalise, drop=False)
        found = advantages(held, config, valid_kG=~held.isnan())
        known = [0.0, 2.0, 1.0]
        assert found.values_kG[0, [0, 1, 3]].tolist() == pytest.approx(slow(known, config))
        assert found.values_kG[0, 2] == 0
        assert found.kept_kG[0].tolist() == [True, True, False, True]
        assert found.values_kG[1].tolist() == [0, 0, 0, 0], "one alone has no signal"


def test_bad_input() -> None:
    with pytest.raises(UsageError, match=r"sampling\.rollouts must be 2"):
        advantages(torch.ones(2, 1), AdvantageConfig())
    with pytest.raises(RunError, match="query 1, rollout 2 is nan"):
        advantages(torch.tensor([[0.0, 1, 2], [0, 1, float("nan")]]), AdvantageConfig())
    with pytest.raises(ValidationError, match="does not use it"):
        AdvantageConfig(normalise="zscore", scale=0.5)


def test_latents_go_their_own_way_where_the_answer_is_wrong() -> None:
    advantages_B = torch.tensor([-1.0, -1.0, 0.5, 1.0])
    latent_BT = torch.tensor([[True, True, False]] * 4)
    wrong_B, seen_B = torch.tensor([True, True, True, False]), torch.tensor([True, False, False, False])
    found = routed(advantages_B, latent_BT, wrong_B, seen_B, RoutingConfig(protect=1.0, punish=0.5))
    assert found.tolist() == [[0, 0, -1], [-1.5, -1.5, -1], [0.25, 0.25, 0.5], [1, 1, 1]]
    assert found.shape == (4, 3)
