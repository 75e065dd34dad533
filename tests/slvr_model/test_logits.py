"""Logits are float32 whatever is computed in: nothing is rounded to the eighths that bfloat16 has between 16 and 32."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from slvr_model.decoding import chosen, decode
from slvr_model.logits import logits
from slvr_model.modeling import SlvrModel
from slvr_model.rules import Distribution
from tests.slvr_model.support import asked_rows, left, model


def loud() -> SlvrModel:
    """In bfloat16, with logits of about 20."""
    made = copy.deepcopy(model())
    with torch.no_grad():
        made.lm_head.weight.mul_(12)
    return made.to(torch.bfloat16)


def exact(head: nn.Linear, states_RD: Tensor) -> Tensor:
    return (states_RD.double() @ head.weight.double().T).detach()


def test_sums_of_narrow_products_are_not_rounded() -> None:
    made, dice = loud(), torch.Generator().manual_seed(0)
    states_RD = torch.randn(9, made.lm_head.in_features, generator=dice).to(torch.bfloat16)
    wanted = exact(made.lm_head, states_RD)
    found = logits(made.lm_head, states_RD)
    assert found.dtype == torch.float32 and float(wanted.abs().max()) > 16
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    plain = made.lm_head(states_RD).detach().double()
    assert float((plain - wanted).abs().max()) > 1e-2, "the public projection rounds"
    wide = copy.deepcopy(made.lm_head).float()
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(logits(wide, states_RD.float()), found, rtol=1e-5, atol=1e-5)
    assert torch.equal(logits(wide, states_RD.float()), wide(states_RD.float())), "float32 is as it was"


def test_gradients_are_those_of_the_plain_projection() -> None:
    dice = torch.Generator().manual_seed(1)
    head = nn.Linear(32, 40, bias=False)
    states_RD, weigh_RV = torch.randn(7, 32, generator=dice), torch.randn(7, 40, generator=dice)
    found = []
    for narrow in (False, True):
        head.zero_grad()
        mine = states_RD.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=narrow):
            (logits(head, mine).log_softmax(-1) * weigh_RV).sum().backward()
        assert mine.grad is not None and head.weight.grad is not None and head.weight.grad.dtype == torch.float32
        found.append((mine.grad, head.weight.grad.clone()))
    for one, other in zip(*found, strict=True):
        assert float((one - other).abs().max()) < 0.03 * float(one.abs().max())


def test_what_is_drawn_and_what_is_scored_comes_from_such_logits() -> None:
    made, held = loud(), dict[str, Tensor]()

    def keep(_: Any, __: Any, found: Any) -> None:
        held["states"] = found.last_hidden_state[:, -1]

    batch = left(asked_rows())
    handle = made.text.register_forward_hook(keep)
    decoded = decode(made, batch, max_new_tokens=1, visual_steps=0, semantic=False, temperature=1.0)
    handle.remove()
    distribution = Distribution(made, decoded.rules, torch.device("cpu"))
    row_N, ids_N = torch.arange(3), decoded.ids_BT[:, 0]
    wanted_NV = distribution.log_probabilities(exact(made.lm_head, held["states"]), row_N)
    wanted_N = wanted_NV.gather(1, ids_N[:, None])[:, 0].float()
    torch.testing.assert_close(decoded.logprobs_BT[:, 0], wanted_N, rtol=1e-4, atol=1e-4)
    scored_N, _ = chosen(made, distribution, held["states"], row_N, ids_N)
    torch.testing.assert_close(scored_N, wanted_N, rtol=1e-4, atol=1e-4)
    with torch.no_grad():
        rounded_NV = distribution.log_probabilities(made.lm_head(held["states"]), row_N)
    rounded_N = rounded_NV.gather(1, ids_N[:, None])[:, 0]
    assert float((rounded_N - wanted_N).abs().max()) > 1e-3, "else nothing is tested"
