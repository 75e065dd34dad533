"""The composer: weights, gates, the released pair form, missing terms, and terms that do nothing."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from slvr_data.errors import RunError, UsageError
from slvr_model.mgrpo.advantages import advantages
from slvr_model.mgrpo.composer import TermWatch, composed
from slvr_model.mgrpo.settings import PRESETS, RewardConfig, form_of, with_preset
from tests.slvr_model.mgrpo.reward_support import facts, slow_distance, slow_slots


def config(**sections: Any) -> RewardConfig:
    return RewardConfig.model_validate(sections)


def test_ours_adds_weighted_terms_behind_the_gate() -> None:
    held = facts(formed=[True, False, True, True, True, True], given=["red 0"] * 3 + ["red 1", "x", "x"])
    found = composed(held, config(answer={"weight": 2}, format={"weight": 0.5}, all_right={"weight": 3}))
    # query 0: all right, the second not whole; query 1: the first right
    m_0, m_1 = 2 / 3, 1 / 3
    wanted = [[2 + 0.5 + 3 * m_1, 0, 2 + 0.5 + 3 * m_1], [2 + 0.5 + 3 * m_0, 0.5, 0.5]]
    torch.testing.assert_close(found.total_kG, torch.tensor(wanted))
    assert found.right_kG.tolist() == [[True] * 3, [True, False, False]]
    assert found.valid_kG.all()


def test_the_released_form_is_its_pair_arithmetic() -> None:
    """R = A' + 0.2 F + 0.3 C' + 0.1 S', one for both queries (reference: the research code's reward file)."""
    formed = [True, False, True, False, False, True]
    held = facts(formed=formed, given=["red 0", "a red 0", "x", "red 1", "x", "red 1"], judged=[None] * 6)
    found = composed(held, form_of("released").rewards)
    assert held.visual_kGKD is not None
    assert held.semantic_kGE is not None
    for g, (a1, a2) in enumerate([(1.0, 1.0), (0.5, 0.0), (0.0, 1.0)]):
        f = (formed[g] + formed[3 + g]) / 2
        c = -(
            0.01 * slow_distance(held.semantic_kGE[0, g], held.semantic_kGE[1, g], "cosine")
            + 0.01 * slow_slots(held.visual_kGKD[0, g], held.visual_kGKD[1, g], "cosine")
        )
        gate = f > 0  # either query opens it
        wanted = (0.7 * a1 + 0.3 * a2) * gate + 0.2 * f + 0.3 * c * gate + 0.1 * 0.0
        assert found.total_kG[:, g].tolist() == pytest.approx([wanted, wanted], abs=1e-6)
    assert float(found.terms["stability"].values_kG.abs().max()) == 0, "a margin of 15 on 1 - cos"
    assert float(found.terms["consistency"].values_kG.abs().max()) * 0.3 <= 0.012


def test_the_paper_has_a_reward_for_each_query_and_l2_distances() -> None:
    held = facts(judged=[True, False, True, False, True, True])
    found = composed(held, form_of("paper").rewards)
    assert held.visual_kGKD is not None
    assert held.semantic_kGE is not None
    for i, answers in enumerate([[1, 0, 1], [0, 1, 1]]):
        for g in range(3):
            c = -0.01 * (
                slow_distance(held.semantic_kGE[0, g], held.semantic_kGE[1, g], "l2")
                + slow_slots(held.visual_kGKD[0, g], held.visual_kGKD[1, g], "l2")
            )
            assert float(found.total_kG[i, g]) == pytest.approx(answers[g] + 0.3 * c, abs=1e-6)


def test_a_joint_reward_needs_a_weight_for_each_query() -> None:
    with pytest.raises(UsageError, match="2 weights, a region 3 queries"):
        composed(facts(3, judged=[True] * 9), form_of("released").rewards)


@pytest.mark.parametrize("missing", ["error", "zero", "redistribute", "drop"])
def test_what_happens_to_a_missing_term_is_said(missing: str) -> None:
    held = facts(judged=[True, None, False, True, True, True])
    said = config(answer={"kind": "judge", "weight": 3}, format={"weight": 1}, all_right={"weight": 0}, missing=missing)
    if missing == "error":
        with pytest.raises(RunError, match=r"reward answer cannot be told of 1 of 6 rollouts.*rewards\.missing"):
            composed(held, said)
        return
    found = composed(held, said)
    value, valid = float(found.total_kG[0, 1]), bool(found.valid_kG[0, 1])
    if missing == "zero":
        assert (value, valid) == (1.0, True)
    elif missing == "redistribute":
        assert (value, valid) == (4.0, True), "the format now has all of the weight"
    else:
        assert value != value
        assert not valid
        left = advantages(found.total_kG, form_of("ours").advantages, valid_kG=found.valid_kG)
        assert left.kept_kG.tolist() == [[True, False, True], [False] * 3], "the second query has no signal"
        assert left.values_kG[0].tolist() == [1.5, 0, -1.5], "the mean is that of the two that are known"
    assert found.total_kG[1].tolist() == [4, 4, 4]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_ends_the_run(value: float) -> None:
    held = facts()
    assert held.semantic_kGE is not None
    held.semantic_kGE[1, 2, 0] = value
    with pytest.raises(RunError, match="reward consistency of query 0, rollout 2 is"):
        composed(held, config(consistency={"weight": 1}))


def test_cheaper_replies_are_preferred_where_asked() -> None:
    held = facts(costs_kG=torch.tensor([[9.0, 10, 5], [9, 4, 4]]))
    found = composed(held, config(all_right={"weight": 0}, format={"weight": 0}, cost_parity={}))
    assert found.total_kG.tolist() == [[0, 0.5, 1], [0, 1, 1]]


def test_variances_are_told_for_each_term() -> None:
    found = composed(facts(), config(consistency={"weight": 1})).numbers()
    assert found["reward/answer"] == pytest.approx(2 / 3)
    assert found["reward/answer/variance"] == pytest.approx(2 / 9)
    assert found["reward/format/variance"] == 0
    assert found["reward/consistency/variance"] > 0, "random latents differ"
    assert found["reward/all_right_share"] == pytest.approx(2 / 3)


def constant_latents(seed: int) -> Any:
    """The same latents for all rollouts of a query, as without noise."""
    held = facts(seed=seed)
    assert held.visual_kGKD is not None
    assert held.semantic_kGE is not None
    return facts(
        visual_kGKD=held.visual_kGKD[:, :1].expand(-1, 3, -1, -1),
        semantic_kGE=held.semantic_kGE[:, :1].expand(-1, 3, -1),
    )


def test_a_term_that_is_constant_in_95_percent_of_groups_is_named_once() -> None:
    said = config(consistency={"weight": 1}, constant_after=10)
    watch = TermWatch(said)
    for seed in range(9):
        watch.see(composed(constant_latents(seed), said))
    assert watch.warnings() == [], "too early"
    watch.see(composed(constant_latents(9), said))
    told = watch.warnings()
    assert [line.split(" is the same")[0] for line in told] == ["reward format", "reward consistency"]
    assert "in 10 of 10 groups" in told[1]
    assert "latents.together" in told[1]
    assert watch.warnings() == [], "once"
    assert watch.numbers()["reward/consistency/constant"] == 1
    assert watch.numbers()["reward/answer/constant"] == 0
    again = TermWatch(said)
    again.load_state_dict(watch.state_dict())
    assert again.state_dict() == watch.state_dict()
    assert again.warnings() == []


def test_a_term_that_varies_now_and_then_is_not_named() -> None:
    said = config(consistency={"weight": 1}, constant_after=10)
    watch = TermWatch(said)
    for seed in range(10):
        watch.see(composed(facts(seed=seed) if seed == 3 else constant_latents(seed), said))
    assert all("consistency" not in line for line in watch.warnings()), "90 % only"


@pytest.mark.parametrize("normalise", ["mean_only", "zscore"])
def test_a_reward_on_latents_alone_drops_out_of_the_advantage(normalise: str) -> None:
    held, how = constant_latents(1), form_of("ours").advantages.model_copy(update={"normalise": normalise})
    plain, pulled = (composed(held, config(consistency={"weight": weight})) for weight in (0.0, 50.0))
    assert float((plain.total_kG - pulled.total_kG).abs().min()) > 0.1, "rewards differ by far"
    one, other = (advantages(found.total_kG, how).values_kG for found in (plain, pulled))
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    drawn = composed(facts(seed=1), config(consistency={"weight": 50.0}))
    assert float((advantages(drawn.total_kG, how).values_kG - one).abs().max()) > 0.1, "not so where latents are drawn"


def test_presets_fill_what_a_configuration_leaves_out() -> None:
    tree = with_preset({"preset": "released", "rewards": {"answer": {"kind": "exact", "query_weights": None}}})
    assert tree["rewards"]["answer"] == {
        "kind": "exact", "query_weights": None, "weight": 1.0, "lettered": "as_open", "unknown": "contained"
    }  # fmt: skip
    assert tree["advantages"]["level"] == "joint"
    assert with_preset({})["rewards"] == {}
    assert with_preset({"preset": "paper", "rewards": {"gates": {"answer": "format"}}})["rewards"]["gates"] == {
        "answer": "format"
    }
    assert PRESETS["released"]["rewards"]["answer"]["kind"] == "judge", "filling changes no preset"
    with pytest.raises(UsageError, match="ours, paper, released are known"):
        with_preset({"preset": "theirs"})


def test_settings_need_no_torch() -> None:
    code = "import sys, slvr_model.mgrpo.settings; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
