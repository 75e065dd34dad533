"""The step-0 gate: quiet where scoring repeats rollouts, and a named number where it does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slvr_data.errors import RunError
from slvr_model.mgrpo.gate import Drift, apart, check, drift, gate
from slvr_model.mgrpo.settings.sampling import GateConfig
from tests.slvr_model.mgrpo.rollout_support import generator, new_talkative, shown

DEFAULT = GateConfig()


def test_the_gate_opens_for_the_model_that_wrote_and_shuts_for_another() -> None:
    model = new_talkative()
    made = generator("slvr", model)
    held = made.many([shown(made.objective), shown(made.objective, 0, region="r0")], step=0)
    found = gate(model, held, DEFAULT, micro_rows=4)
    assert 0 <= found.mean <= found.largest <= 1e-4 and found.tokens == sum(one.costs.sampled for one in held)
    assert found.numbers()["tokens"] == found.tokens
    with torch.no_grad():
        model.latents.visual_in.bias += 0.05  # the answers' words are as they were, their latents are not
    later = drift(model, held[0], micro_rows=100)
    assert later.mean > found.mean and later.lowest < 1 < later.highest
    with pytest.raises(RunError, match=r"largest difference .* in float32, and gate.exact allows 0.0001"):
        gate(model, held, DEFAULT, micro_rows=100)
    assert gate(model, held, GateConfig(exact=10, mean=20), micro_rows=100).largest > 1e-3


def test_a_model_in_bfloat16() -> None:
    model = new_talkative().to(torch.bfloat16)
    made = generator("slvr", model)
    held = made.rollouts(shown(made.objective), step=0)
    found = gate(model, held, DEFAULT, micro_rows=4)
    assert found.largest > 1e-4  # rounding is seen, and allowed
    with torch.no_grad():
        model.lm_head.weight *= 1.5
    with pytest.raises(RunError, match=r"mean difference of log-probabilities .* in bfloat16, and gate.mean"):
        gate(model, held, DEFAULT, micro_rows=4)


def test_the_numbers_of_a_drift() -> None:
    dice = torch.Generator().manual_seed(0)
    ours, theirs = -torch.rand(7, 40, generator=dice), -torch.rand(7, 40, generator=dice)
    sampled = torch.rand(7, 40, generator=dice) < 0.6
    found = Drift.of(ours, theirs, sampled)
    apart = [float(a) - float(b) for a, b, s in zip(ours.ravel(), theirs.ravel(), sampled.ravel(), strict=True) if s]
    assert found.tokens == len(apart)
    assert found.largest == pytest.approx(max(map(abs, apart))) and found.mean == pytest.approx(np.mean(np.abs(apart)))
    ratios = sorted(np.exp(apart))
    assert found.lowest == pytest.approx(np.exp(np.percentile(apart, 1))) and ratios[0] <= found.lowest <= ratios[4]
    assert ratios[-5] <= found.highest <= ratios[-1]
    assert Drift.of(ours, theirs, sampled & False) == Drift(0, 0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("found", "dtype", "says"),
    [
        (Drift(9, 2e-4, 1e-5, 1.0, 1.0), torch.float32, "gate.exact"),
        (Drift(9, float("nan"), float("nan"), 1.0, 1.0), torch.float32, "is nan over 9 tokens"),
        (Drift(9, 0.5, 0.02, 1.0, 1.0), torch.bfloat16, "mean difference .* is 0.02 .*gate.mean allows 0.01"),
        (Drift(9, 0.5, 0.02, 1.0, 1.0), torch.bfloat16, r"none was seen at 7B\).*--set gate\.mean=0\.03 lets it pass"),
        (Drift(9, 0.5, 0.005, 0.89, 1.0), torch.bfloat16, "1st percentile .* is 0.89 .*gate.lowest allows 0.9"),
        (Drift(9, 0.5, 0.005, 0.89, 1.0), torch.bfloat16, r"--set gate\.lowest=0\.835 lets it pass"),
        (Drift(9, 0.5, 0.005, 0.95, 1.11), torch.bfloat16, "99th percentile .* is 1.11 .*gate.highest allows 1.1"),
        (Drift(9, 0.5, 0.005, 0.95, 1.12), torch.bfloat16, r"--set gate\.highest=1\.18 lets it pass"),
        (Drift(9, 0.5, float("nan"), 0.95, 1.0), torch.bfloat16, "is nan"),
    ],
)
def test_numbers_outside_name_their_setting(found: Drift, dtype: torch.dtype, says: str) -> None:
    with pytest.raises(RunError, match=says):
        check(found, DEFAULT, dtype)


def test_rounding_of_bfloat16_passes() -> None:
    check(Drift(9, 0.5, 0.009, 0.91, 1.09), DEFAULT, torch.bfloat16)
    check(Drift(9, 1e-4, 1e-5, 0.5, 2.0), DEFAULT, torch.float32)


def test_the_drift_of_several_processes_is_that_of_all_their_tokens() -> None:
    """An outlier among few tokens of one process is none among those of all."""
    dice = torch.Generator().manual_seed(0)
    ours, theirs = -torch.rand(8, 70, generator=dice), -torch.rand(8, 70, generator=dice)
    ours = theirs + 0.01 * ours
    ours[3, 5] += 0.3
    sampled = torch.rand(8, 70, generator=dice) < 0.9
    parts = [apart(ours[row], theirs[row], sampled[row]) for row in range(8)]
    found = Drift.over(parts)
    assert found == Drift.of(ours, theirs, sampled)
    check(found, DEFAULT, torch.bfloat16)
    with pytest.raises(RunError, match=r"gate\.highest"):
        check(Drift.over(parts[3:4]), DEFAULT, torch.bfloat16)
    assert Drift.over([parts[0], parts[1][:0]]) == Drift.over(parts[:1]), "a process may have no token"
