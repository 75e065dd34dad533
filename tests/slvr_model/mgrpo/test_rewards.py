"""Terms of the reward: their formulas a second, slower way, and that thresholds beyond their ranges are errors."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch._subclasses.fake_tensor import FakeTensorMode

from slvr_data.errors import RunError, UsageError
from slvr_model.mgrpo.rewards.all_right import all_right
from slvr_model.mgrpo.rewards.answer import answer, contained, graded
from slvr_model.mgrpo.rewards.consistency import consistency
from slvr_model.mgrpo.rewards.cost_parity import cost_factors
from slvr_model.mgrpo.rewards.facts import Term, costs_of, facts_of
from slvr_model.mgrpo.rewards.format import formed
from slvr_model.mgrpo.rewards.stability import stability
from slvr_model.mgrpo.settings import RewardConfig, form_of
from slvr_model.mgrpo.settings.rewards import (
    AllRightConfig,
    AnswerConfig,
    ConsistencyConfig,
    CostParityConfig,
    StabilityConfig,
)
from slvr_model.right import exact, letter
from tests.slvr_model.mgrpo.reward_support import facts, slow_distance, slow_slots


@pytest.mark.parametrize("given", ["B", "b", " B.", "(B)", "(b) red", "B: red", "B. red", "B)"])
def test_a_letter_is_read_as_a_choice_is_written(given: str) -> None:
    assert letter(given, "B") == 1
    assert letter(given, "A") == 0


@pytest.mark.parametrize("given", ["", "Blue", "because of B", "A or B", "the B", "B or A", "12"])
def test_what_only_holds_a_letter_names_none(given: str) -> None:
    assert letter(given, "B") == 0


def test_rules_for_open_answers() -> None:
    assert exact(" Dark  Red. ", "dark red") == 1
    assert exact("dark reddish", "dark red") == 0
    assert [graded(str(number), "3") for number in (3, 4, 1, 9, "three", "many")] == [1, 0.8, 0.6, 0, 1, 0]
    assert graded("front left", "back left") == 0.5
    assert graded("the dog", "the cat") == 0, "shared small words say nothing"
    assert [contained(text, "red") for text in ("Red", "a red one", "blue")] == [1, 0.5, 0]


def test_answer_takes_each_query_by_its_own_right_answer() -> None:
    assert answer(facts(), AnswerConfig()).values_kG.tolist() == [[0, 1, 1], [0, 1, 1]]
    lettered = facts(given=["A", "B", "B. red", "A", "A", "B"], right=["B", "A"], lettered=[True, True])
    assert answer(lettered, AnswerConfig()).values_kG.tolist() == [[0, 1, 1], [1, 1, 0]]
    as_open = AnswerConfig(kind="contained", lettered="as_open")
    assert answer(lettered, as_open).values_kG.tolist() == [[0, 1, 0.5], [1, 1, 0]]


def test_a_judge_that_does_not_know_leaves_a_gap_and_never_another_scale() -> None:
    held = facts(judged=[True, False, None, None, True, False])
    term = answer(held, AnswerConfig(kind="judge"))
    assert term.values_kG.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert term.present_kG.tolist() == [[True, True, False], [False, True, True]]
    filled = answer(held, AnswerConfig(kind="judge", unknown="contained"))
    assert filled.values_kG.tolist() == [[1, 0, 1.0], [0.5, 1, 0]], "the released code's rule changes the scale"
    assert filled.present_kG.all()


def test_a_judge_is_not_asked_about_letters() -> None:
    held = facts(given=["A", "B", "B", "x", "x", "x"], right=["B", "y"], lettered=[True, False], judged=[None] * 6)
    term = answer(held, AnswerConfig(kind="judge"))
    assert term.values_kG[0].tolist() == [0, 1, 1]
    assert term.present_kG.tolist() == [[True] * 3, [False] * 3]


def test_format_is_whether_the_reply_is_whole() -> None:
    assert formed(facts(formed=[True, False, True, True, True, False])).values_kG.tolist() == [[1, 0, 1], [1, 1, 0]]


@pytest.mark.parametrize("others", ["mean", "product"])
@pytest.mark.parametrize("queries", [2, 3])
def test_all_right_is_own_correctness_times_that_of_the_others(queries: int, others: str) -> None:
    correct = torch.rand(queries, 4, generator=torch.Generator().manual_seed(1))
    term = all_right(Term.of(correct), AllRightConfig(others=others))
    for query in range(queries):
        for number in range(4):
            means = [sum(correct[j].tolist()) / 4 for j in range(queries) if j != query]
            factor = math.prod(means) if others == "product" else sum(means) / len(means)
            assert float(term.values_kG[query, number]) == pytest.approx(float(correct[query, number]) * factor)


def test_all_right_is_missing_where_own_or_all_others_correctness_is() -> None:
    correct = Term.of(torch.ones(2, 2), torch.tensor([[True, False], [False, False]]))
    assert not all_right(correct, AllRightConfig()).present_kG.any()
    known = Term.of(torch.tensor([[1.0, 1.0], [0.0, 1.0]]), torch.tensor([[True, False], [True, True]]))
    term = all_right(known, AllRightConfig())
    assert term.present_kG.tolist() == [[True, False], [True, True]]
    assert term.values_kG.tolist() == [[0.5, 0], [0, 1]]


@pytest.mark.parametrize("kind", ["l2", "cosine"])
@pytest.mark.parametrize("queries", [2, 3])
def test_consistency_is_minus_the_distance_to_the_other_queries_latents(queries: int, kind: str) -> None:
    held, config = facts(queries), ConsistencyConfig(weight=1, distance=kind, semantic=0.3, visual=0.7)
    term = consistency(held, config)
    visual, semantic = held.visual_kGKD, held.semantic_kGE
    assert visual is not None
    assert semantic is not None
    for i in range(queries):
        for g in range(3):
            wanted = -sum(
                0.3 * slow_distance(semantic[i, g], semantic[j, g], kind)
                + 0.7 * slow_slots(visual[i, g], visual[j, g], kind)
                for j in range(queries)
                if j != i
            )
            assert float(term.values_kG[i, g]) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("kind", ["l2", "cosine"])
def test_stability_is_minus_what_goes_beyond_the_margins(kind: str) -> None:
    held = facts()
    config = StabilityConfig(weight=1, distance=kind, semantic_margin=0.5, visual_margin=0.9, most=0.4)
    term = stability(held, config)
    assert held.visual_kGKD is not None
    assert held.semantic_kGE is not None
    assert held.reference_visual_kGKD is not None
    assert held.reference_semantic_kGE is not None
    for i in range(2):
        for g in range(3):
            z = slow_distance(held.semantic_kGE[i, g], held.reference_semantic_kGE[i, g], kind)
            h = slow_slots(held.visual_kGKD[i, g], held.reference_visual_kGKD[i, g], kind)
            wanted = -min(0.4, max(0.0, z - 0.5)) - min(0.4, max(0.0, h - 0.9))
            assert float(term.values_kG[i, g]) == pytest.approx(wanted, abs=1e-5)


def test_latents_that_are_not_there_are_missing_and_not_0() -> None:
    bare = facts(visual_kGKD=None, semantic_kGE=None)
    assert not consistency(bare, ConsistencyConfig(weight=1)).present_kG.any()
    assert not stability(bare, StabilityConfig(weight=1)).present_kG.any()
    alone = facts(reference_visual_kGKD=None, reference_semantic_kGE=None)
    assert not stability(alone, StabilityConfig(weight=1)).present_kG.any()
    part = facts(semantic_kGE=None)
    assert consistency(part, ConsistencyConfig(weight=1)).present_kG.all(), "an objective without a semantic slot"


def test_among_equally_good_rollouts_only_the_cheapest_keeps_its_reward() -> None:
    total = torch.tensor([[1.0, 1.0, 0.9, 0.0]])
    costs, valid = torch.tensor([[8.0, 4.0, 2.0, 1.0]]), torch.ones(1, 4, dtype=torch.bool)
    assert cost_factors(total, valid, costs, CostParityConfig(within=0.0)).tolist() == [[0.5, 1, 1, 1]]
    assert cost_factors(total, valid, costs, CostParityConfig(within=0.2)).tolist() == [[0.25, 0.5, 1, 1]]
    different = torch.tensor([[0.9, 0.8, 0.7, 0.6]])
    assert cost_factors(different, valid, costs, CostParityConfig(within=0.0)).tolist() == [[1, 1, 1, 1]]
    left_out = torch.tensor([[True, False, True, True]])
    assert cost_factors(total, left_out, costs, CostParityConfig(within=0.0)).tolist() == [[1, 1, 1, 1]]
    with pytest.raises(UsageError, match="what each reply cost"):
        cost_factors(total, valid, None, CostParityConfig())


@pytest.mark.parametrize(
    ("section", "told"),
    [
        (
            {"stability": {"distance": "cosine", "semantic_margin": 15}},
            "semantic_margin 15: a cosine distance is 0 to 2",
        ),
        ({"stability": {"distance": "cosine", "visual_margin": 2}}, "visual_margin 2"),
        ({"answer": {"right_from": 1.5}}, "less than or equal to 1"),
        ({"cost_parity": {"within": 2.2}}, "rewards differ by 2.2 at most"),
        ({"constant_share": 1.2}, "less than or equal to 1"),
        ({"gates": {"answer": "consistency"}}, "never above 0: it would never open"),
        ({"gates": {"answer": "format", "format": "answer"}}, "gated itself"),
        ({"answer": {"weight": 0}, "format": {"weight": 0}, "all_right": {"weight": 0}}, "nothing is rewarded"),
        ({"answer": {"query_weights": [0.7, 0.3]}}, "without joint"),
        ({"joint": True}, "set all_right.weight to 0"),
        ({"joint": True, "answer": {"query_weights": [0.7, 0.7]}}, "add up to 1"),
        ({"consistency": {"weight": 1, "semantic": 0, "visual": 0}}, "nothing is compared"),
        ({"answer": {"wieght": 1}}, "Extra inputs"),
    ],
)
def test_settings_that_cannot_act_are_refused(section: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as raised:
        RewardConfig.model_validate(section)
    assert told in str(raised.value)


def test_the_same_margin_is_fine_where_distances_can_exceed_it() -> None:
    held = StabilityConfig(weight=1, distance="l2", semantic_margin=15, visual_margin=15)
    assert held.range().low == -math.inf
    assert StabilityConfig(distance="cosine", semantic_margin=15, visual_margin=15, inert=True).range().width == 0


@pytest.mark.parametrize("preset", ["ours", "paper", "released"])
@pytest.mark.parametrize("seed", range(5))
def test_values_stay_in_the_declared_ranges(preset: str, seed: int) -> None:
    config, held = form_of(preset).rewards, facts(3, 4, seed)
    terms = {
        "answer": answer(held, AnswerConfig(kind="graded")),
        "format": formed(held),
        "all_right": all_right(answer(held, AnswerConfig()), config.all_right),
        "consistency": consistency(held, config.consistency),
        "stability": stability(held, config.stability),
    }
    for name, term in terms.items():
        allowed = getattr(config, name).range(3)
        assert allowed.low - 1e-6 <= float(term.values_kG.min())
        assert float(term.values_kG.max()) <= allowed.high + 1e-6


def test_one_query_has_nothing_to_be_compared_with() -> None:
    with pytest.raises(UsageError, match=r"rewards\.all_right\.weight to 0"):
        all_right(Term.of(torch.ones(1, 4)), AllRightConfig())
    with pytest.raises(UsageError, match=r"rewards\.consistency\.weight"):
        consistency(facts(1), ConsistencyConfig(weight=1))


def test_facts_of_rollouts_sort_latents_by_query_and_number() -> None:
    from types import SimpleNamespace

    from slvr_model.latents import Latents

    decoded = SimpleNamespace(
        latent_BT=torch.tensor([[1, 1, 1, 0]] * 4).bool(),
        kept_BT=torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1]]).bool(),
        latents=Latents(torch.arange(8.0)[:, None].expand(8, 3), torch.arange(4.0)[:, None].expand(4, 2)),
    )
    shown = SimpleNamespace(answers=("x", "y"), lettered=(False, True))
    held: Any = SimpleNamespace(
        shown=shown, queries=2, number=2, decoded=decoded, answers=("a", "b", "c", "d"), formed=(True,) * 4
    )
    found = facts_of(held, reference=Latents(torch.zeros(4, 3), torch.ones(2, 2)))
    assert found.visual_kGKD is not None
    assert found.visual_kGKD[..., 0].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    assert found.semantic_kGE is not None
    assert found.semantic_kGE[..., 0].tolist() == [[0, 1], [2, 3]]
    assert found.reference_visual_kGKD is not None
    assert found.reference_visual_kGKD.shape == (2, 2, 2, 3), "one row a query, repeated for its rollouts"
    assert found.costs_kG is not None
    assert found.costs_kG.tolist() == [[4, 3], [4, 4]]
    decoded.latent_BT[1, 2] = False
    with pytest.raises(RunError, match="max_new_tokens"):
        facts_of(held)


def test_what_replies_cost_is_on_the_host_as_rewards_are() -> None:
    """Wherever rollouts are; a GPU is only pretended here."""
    from types import SimpleNamespace

    with FakeTensorMode():
        kept_BT = torch.ones(4, 3, dtype=torch.bool, device="cuda")
        held: Any = SimpleNamespace(queries=2, number=2, decoded=SimpleNamespace(kept_BT=kept_BT))
        costs_kG = costs_of(held)
        assert kept_BT.is_cuda and costs_kG.device.type == "cpu" and costs_kG.shape == (2, 2)
