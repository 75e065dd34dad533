"""What fills slots when, and that what is said to be fed was fed."""

from __future__ import annotations

import pytest
import torch

from slvr_model.objectives.feeding import Feeding
from tests.slvr_model.objectives import objective_support as support


def test_the_schedule() -> None:
    config = support.opened("slvr", feed="schedule", teacher_share=0.7, then="mix", mix_share=0.25).config
    assert [Feeding.at(config, share).feed for share in (0.0, 0.69, 0.7, 1.0)] == ["teacher", "teacher", "own", "own"]
    assert [Feeding.at(config, share).share for share in (0.0, 0.7)] == [0.0, 0.25]
    for then in ("own", "detached"):
        config = support.opened("slvr", feed="schedule", then=then).config
        assert Feeding.at(config, 1.0) == Feeding(then, 0.0, 0.0)  # type: ignore[arg-type]
    assert Feeding.at(support.opened("slvr", feed="teacher").config, 1.0).feed == "teacher"
    assert support.default("slvr").config.feed == "schedule"


@pytest.mark.parametrize("feed", ["teacher", "own", "detached", "mix"])
def test_what_is_said_to_be_fed_gives_the_same_states(feed: str) -> None:
    model, objective = support.tiny()[0], support.opened("slvr", feed=feed)
    batch, now = support.batch(objective), Feeding.at(objective.config, 0.0)
    out = now.run(model, batch, None, seed=3)
    fed = now.fed(model, batch, out, seed=3)
    again = model.latent_forward(batch, "given", given=fed).hidden_BLD
    torch.testing.assert_close(again[batch.kept_BL], out.hidden_BLD[batch.kept_BL], rtol=1e-4, atol=1e-5)
    assert fed.visual_TD is not None and out.target.visual_TD is not None
    taken_T = (fed.visual_TD == out.target.visual_TD).all(1)
    assert {"teacher": taken_T.all(), "mix": taken_T.any() and not taken_T.all()}.get(feed, not taken_T.any())
    assert fed.visual_TD.requires_grad is (feed in ("own", "mix"))


def test_losses_depend_on_batch_share_and_seed_alone() -> None:
    model, objective = support.tiny()[0], support.opened("slvr", feed="mix", echo=True, bottleneck=0.5)
    batch = support.batch(objective)
    with torch.no_grad():
        totals = [float(objective.losses(model, batch, step_share=0.5, seed=seed).total) for seed in (4, 4, 5, 6)]
    assert totals[0] == totals[1] and len(set(totals)) > 1


def test_the_shortcut_of_targets_shows_in_the_log() -> None:
    model, objective = support.tiny()[0], support.opened("slvr", feed="schedule")
    batch = support.batch(objective)
    with torch.no_grad():
        told = [objective.losses(model, batch, step_share=share).numbers()["teacher_fed"] for share in (0.0, 0.9)]
    assert told == [1.0, 0.0]
