"""The policy loss: token by token in Python, parts that add up, and what has no part in it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from slvr_model.mgrpo.losses import WIDEST, Totals, k3, policy_loss
from slvr_model.mgrpo.settings import LossConfig
from slvr_model.mgrpo.types import DivergedError

B, T, LONGEST = 6, 5, 9


def batch(seed: int = 0) -> dict[str, Tensor]:
    drawn = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=drawn, dtype=torch.float64)

    logprobs_BT = -1 + 0.3 * normal(B, T)
    length_B = torch.tensor([5, 1, 3, 5, 2, 4])
    mask_BT = torch.arange(T)[None] < length_B[:, None]
    mask_BT[3, 1] = False  # a forced token
    return {
        "logprobs": logprobs_BT,
        "mask": mask_BT,
        "advantages": normal(B),
        "old": logprobs_BT + 0.4 * normal(B, T),
        "reference": logprobs_BT + 0.5 * normal(B, T),
    }


def loss(held: dict[str, Tensor], config: LossConfig, rows: slice = slice(None), **options: Any) -> Any:
    return policy_loss(
        held["logprobs"][rows],
        held["mask"][rows],
        held["advantages"][rows],
        config,
        longest=LONGEST,
        old_BT=held["old"][rows],
        reference_BT=held["reference"][rows],
        **options,
    )


def slow(held: dict[str, Tensor], config: LossConfig, kept: list[bool] | None = None) -> float:
    """The loss of a batch as one would write it down."""
    held, rows = {name: value.detach() for name, value in held.items()}, []
    for b in range(B):
        if kept is not None and not kept[b]:
            continue
        row, a = [], float(held["advantages"][b])
        at = [t for t in range(T) if held["mask"][b, t]]
        logs = {t: float(held["logprobs"][b, t] - held["old"][b, t]) for t in at}
        for t in at:
            log = sum(logs.values()) / len(logs) if config.ratio == "sequence" else logs[t]
            rho = math.exp(log)
            held_rho = min(max(rho, 1 - config.clip_low), 1 + config.high)
            limited = rho if config.clip_both is None else min(rho, config.clip_both)
            gone = float(held["reference"][b, t] - held["logprobs"][b, t])
            kl = math.exp(gone) - gone - 1
            kl *= rho if config.kl_gradient == "unbiased" else 1
            row.append(-min(limited * a, held_rho * a) + config.beta * kl)
        rows.append(row)
    everything = [value for row in rows for value in row]
    if config.aggregation == "grpo":
        return sum(sum(row) / len(row) for row in rows) / len(rows)
    if config.aggregation == "dr_grpo":
        return sum(everything) / (len(rows) * LONGEST)
    return sum(everything) / len(everything)


AGGREGATIONS = ["grpo", "bnpo", "dapo", "dr_grpo"]


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
@pytest.mark.parametrize(
    "settings",
    [{}, {"clip_high": 0.05}, {"clip_both": 1.3}, {"ratio": "sequence"}, {"beta": 0.5}, {"kl_gradient": "plain"}],
    ids=lambda settings: next(iter(settings), "default"),
)
def test_the_loss_is_what_its_formula_says(aggregation: str, settings: dict[str, Any]) -> None:
    config, held = LossConfig(aggregation=aggregation, **{"beta": 0.1, **settings}), batch()
    assert float(loss(held, config).loss) == pytest.approx(slow(held, config), rel=1e-9)


@pytest.mark.parametrize("aggregation", ["grpo", "dapo", "dr_grpo"])
def test_parts_of_a_step_add_up_to_its_loss(aggregation: str) -> None:
    config, held = LossConfig(aggregation=aggregation, beta=0.1), batch()
    whole = loss(held, config)
    rows = [slice(0, 1), slice(1, 4), slice(4, 6)]
    totals = Totals(0, 0)
    for part in rows:
        totals = totals.plus(Totals.of(held["mask"][part]))
    parts = [loss(held, config, part, totals=totals) for part in rows]
    assert float(sum(part.loss for part in parts)) == pytest.approx(float(whole.loss), rel=1e-9)
    for name, value in whole.numbers.items():
        assert sum(part.numbers[name] for part in parts) == pytest.approx(value), name
    halves = [loss(held, config, part, totals=totals.over(2)) for part in (slice(0, 3), slice(3, 6))]
    assert float(sum(part.loss for part in halves)) / 2 == pytest.approx(float(whole.loss), rel=1e-9)


def test_the_released_mean_depends_on_how_a_step_is_cut() -> None:
    config, held = LossConfig(aggregation="bnpo", beta=0), batch()
    totals = Totals.of(held["mask"])
    parts = [loss(held, config, rows, totals=totals) for rows in (slice(0, 1), slice(1, 6))]
    assert float(sum(part.loss for part in parts)) != pytest.approx(float(loss(held, config).loss), rel=1e-3)


@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_rows_that_are_left_out_are_not_there_at_all(aggregation: str) -> None:
    config, held = LossConfig(aggregation=aggregation, beta=0.1), batch()
    kept = [True, False, True, True, False, True]
    held["logprobs"][1] = float("nan")
    held["logprobs"].requires_grad_()
    found = loss(held, config, kept_B=torch.tensor(kept), totals=Totals.of(held["mask"], torch.tensor(kept)))
    assert float(found.loss.detach()) == pytest.approx(slow(held, config, kept), rel=1e-9)
    found.loss.backward()
    gradient_BT = held["logprobs"].grad
    assert gradient_BT is not None
    assert gradient_BT.isfinite().all()
    assert gradient_BT[1].eq(0).all()
    assert gradient_BT[4].eq(0).all()


def test_forced_tokens_and_slots_have_no_policy_term() -> None:
    held = batch()
    held["logprobs"].requires_grad_()
    config = LossConfig(beta=0.1)
    before = loss(held, config).loss
    before.backward()
    gradient_BT = held["logprobs"].grad
    assert gradient_BT is not None
    assert gradient_BT[~held["mask"]].eq(0).all()
    held["reference"] = held["reference"].masked_fill(~held["mask"], -torch.inf)
    assert float(loss(held, config).loss.detach()) == float(before.detach()), "whatever stands there"


def test_a_first_step_has_ratios_of_one_and_the_plain_policy_gradient() -> None:
    held = batch()
    logprobs_BT = held["logprobs"].requires_grad_()
    found = policy_loss(logprobs_BT, held["mask"], held["advantages"], LossConfig(beta=0, aggregation="dapo"))
    found.loss.backward()
    tokens = held["mask"].sum()
    wanted = -(held["advantages"][:, None] * held["mask"]) / tokens
    assert logprobs_BT.grad is not None
    torch.testing.assert_close(logprobs_BT.grad, wanted)
    assert found.numbers["ratio_sum"] == float(tokens)
    assert found.numbers["low_sum"] == found.numbers["high_sum"] == 0


def test_advantages_may_differ_along_a_row() -> None:
    held, config = batch(), LossConfig(beta=0)
    whole = float(loss(held, config).loss)
    held["advantages"] = held["advantages"][:, None].expand(B, T).clone()
    assert float(loss(held, config).loss) == pytest.approx(whole)
    held["advantages"][0, 0] += 1
    assert float(loss(held, config).loss) != pytest.approx(whole)


def test_k3_is_0_at_home_and_its_mean_is_the_divergence() -> None:
    torch.manual_seed(0)
    policy, reference = torch.randn(2, 7).double().log_softmax(-1)
    assert float(k3(policy, policy).abs().max()) == 0
    assert (k3(policy, reference) >= 0).all()
    wanted = float((policy.exp() * (policy - reference)).sum())
    assert float((policy.exp() * k3(policy, reference)).sum()) == pytest.approx(wanted)


@pytest.mark.parametrize("kind", ["unbiased", "plain"])
def test_the_unbiased_form_has_the_gradient_of_the_divergence(kind: str) -> None:
    """In expectation over all tokens of a small vocabulary; k3 alone has another one."""
    torch.manual_seed(0)
    logits = torch.randn(7).double().requires_grad_()
    reference = torch.randn(7).double().log_softmax(-1)
    policy = logits.log_softmax(-1)
    (wanted,) = torch.autograd.grad((policy.exp() * (policy - reference)).sum(), logits, retain_graph=True)
    found = torch.zeros(7).double()
    config = LossConfig(beta=1, kl_gradient=kind)
    for token in range(7):
        row = policy[token].view(1, 1)
        part = policy_loss(row, torch.ones(1, 1), torch.zeros(1), config, reference_BT=reference[token].view(1, 1))
        (one,) = torch.autograd.grad(part.loss, logits, retain_graph=True)
        found += policy[token].exp().detach() * one
    if kind == "unbiased":
        torch.testing.assert_close(found, wanted)
    else:
        assert float((found - wanted).abs().max()) > 1e-2


@pytest.mark.parametrize("apart", [-900.0, 900.0])
@pytest.mark.parametrize("gained", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("what", ["old", "reference"])
def test_densities_that_are_hundreds_apart_have_finite_losses_and_gradients(
    apart: float, gained: float, what: str
) -> None:
    """In float32, as sums over a latent's dimensions are: exp(900) is none of its numbers, nor is 0 times that."""
    held = {name: value.float() if value.is_floating_point() else value for name, value in batch().items()}
    held["advantages"] = torch.full((B,), gained)
    held[what] = held["logprobs"] + apart
    held["logprobs"].requires_grad_()
    found = loss(held, LossConfig(beta=0.1))
    found.loss.backward()
    assert held["logprobs"].grad is not None and bool(held["logprobs"].grad.isfinite().all())
    assert bool(found.loss.isfinite()) and all(math.isfinite(value) for value in found.numbers.values())


def test_what_holds_log_ratios_changes_none_that_is_less_apart() -> None:
    held = batch()
    near = 0.9 * WIDEST
    for apart in (-near, near):
        held["old"], held["reference"] = held["logprobs"] - apart, held["logprobs"] + apart
        for kind in ("plain", "unbiased"):
            config = LossConfig(beta=0.1, kl_gradient=kind)
            assert float(loss(held, config).loss) == pytest.approx(slow(held, config), rel=1e-9)


def test_numbers_that_are_not_finite_end_the_run() -> None:
    for name, told in (("logprobs", "policy"), ("old", "rollout"), ("reference", "reference")):
        held = batch()
        held[name][0, 0] = float("nan")
        with pytest.raises(DivergedError, match=f"log-probability of the {told} is not finite"):
            loss(held, LossConfig(beta=0.1))


def test_a_two_sided_clip_has_to_lie_beyond_the_upper_one() -> None:
    with pytest.raises(ValidationError, match=r"above 1 \+ clip_high, 1\.2"):
        LossConfig(clip_both=1.1)
