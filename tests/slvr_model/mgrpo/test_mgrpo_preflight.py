"""Before the first step: malformed replies and scoring that repeats nothing end the run; the rest is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch

from slvr_data.errors import RunError
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.groups import GroupFeed
from slvr_model.mgrpo.preflight import monitored, preflight
from slvr_model.mgrpo.run import train_mgrpo
from slvr_model.mgrpo.types import Shown
from slvr_model.sft.start import checkpoint_layers
from tests.slvr_model.mgrpo.update_support import NO_PULL, Bench, configured, earned


class Fed(GroupFeed):
    """The groups of a bench, at every step."""

    def __init__(self, shown: list[Shown]) -> None:
        self.shown = shown

    def at(self, step: int) -> list[Shown]:
        return self.shown


def looked(bench: Bench) -> str | None:
    return preflight(bench.config, bench.player, Fed(bench.shown), bench.update)


def test_what_was_found_is_told() -> None:
    said = looked(Bench(configured(preflight={"regions": 2, "formed": 0.05})))
    assert said is not None and "of replies well formed" in said and "have replies that differ in reward" in said
    same = Bench(
        configured(preflight={"regions": 1, "formed": 0.05}),
        rewarder=lambda facts, _: earned(torch.ones(facts.queries, facts.rollouts)),
    )
    assert "nothing differs, so there is nothing to learn here" in str(looked(same))
    assert looked(Bench(configured(preflight={"regions": 0}))) is None


def test_replies_that_are_cut_off_end_the_run() -> None:
    bench = Bench(configured(sampling={"max_new_tokens": 9}, preflight={"regions": 2, "formed": 1.0}))
    with pytest.raises(RunError, match=r"preflight: \d+% of the replies are well formed, and preflight"):
        looked(bench)


def test_scoring_that_does_not_repeat_the_rollouts_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(configured(preflight={"regions": 2, "formed": 0.05}))
    written = bench.generator.many

    def other(*arguments: Any, **options: Any) -> Any:
        found = written(*arguments, **options)
        with torch.no_grad():
            bench.model.lm_head.weight.mul_(1.01)
        return found

    monkeypatch.setattr(bench.generator, "many", other)
    with pytest.raises(RunError, match=r"scoring does not repeat the rollouts: .* gate\.exact allows"):
        looked(bench)


def test_scoring_that_repeats_only_latents_that_are_given_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the policy is scored with: its latents are computed again."""
    for feed in ("own", "given"):
        bench = Bench(configured(preflight={"regions": 2, "formed": 0.05}, training={"feed": feed}))
        written = bench.generator.many

        def other(*arguments: Any, written: Any = written, bench: Bench = bench, **options: Any) -> Any:
            found = written(*arguments, **options)
            with torch.no_grad():
                bench.model.latents.visual_out.weight.mul_(1.5)
            return found

        monkeypatch.setattr(bench.generator, "many", other)
        if feed == "given":
            assert looked(bench)
            continue
        with pytest.raises(RunError, match=r"does not repeat the rollouts with the latents computed again: .*exact"):
            looked(bench)


def test_what_fails_before_the_first_step_leaves_the_folder_free(set_up: Callable[..., MgrpoConfig]) -> None:
    """A preflight in which no reply is whole; and, without it, three lots of such replies."""
    quick = ("evaluation.regions=0", "cases.every=0", "training.steps=4")
    with pytest.raises(RunError, match=r"preflight: \d+% of the replies are well formed, and preflight\.formed"):
        train_mgrpo(set_up(*quick, "sampling.max_new_tokens=8", "preflight.formed=0"), "slvr:tiny")
    cut = set_up(*quick, "sampling.max_new_tokens=8", "preflight.regions=0")
    with pytest.raises(RunError, match=r"no reply of the last 3 lots is well formed \(\d+% of the last ended\)"):
        train_mgrpo(cut, "slvr:tiny")
    assert cut.out is not None
    lines = [json.loads(line) for line in (cut.out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2] and all(line["formed"] == 0 for line in lines)


@pytest.mark.parametrize("feed", ["own", "given"])
def test_under_activation_checkpointing_the_gate_checks_what_learning_runs(feed: str) -> None:
    """What is computed in training mode alone; "own" where replies have no latents to be computed again."""
    kind = "slvr" if feed == "given" else "direct"
    bench = Bench(
        configured(
            kind,
            preflight={"regions": 2, "formed": 0.05},
            training={"feed": feed, "checkpointing": True},
            latents=NO_PULL,
        )
    )
    checkpoint_layers(bench.model)
    assert "under activation checkpointing to " in str(looked(bench)) and not bench.model.training

    def otherwise(module: Any, _: Any, found: Any) -> Any:
        if module.training:
            found.last_hidden_state = found.last_hidden_state * 1.01
        return found

    bench.model.text.register_forward_hook(otherwise)
    with pytest.raises(RunError, match=r"does not repeat the rollouts.* under activation checkpointing: .*exact"):
        looked(bench)
    assert not bench.model.training


def test_without_a_preflight_the_first_lot_has_to_pass_the_gate(set_up: Callable[..., MgrpoConfig]) -> None:
    config = set_up("preflight.regions=0", "evaluation.regions=0", "cases.every=0", "gate.exact=1e-15")
    with pytest.raises(RunError, match=r"does not repeat the rollouts: .* gate\.exact allows 1e-15.*Nothing was"):
        train_mgrpo(config, "slvr:tiny")
    assert config.out is not None and not (config.out / "mgrpo.yaml").exists()


def test_drift_is_that_of_the_feed_that_the_policy_learns_with() -> None:
    for feed in ("own", "given"):
        bench = Bench(configured(training={"feed": feed}))
        played, _ = bench.player.play(bench.shown, 1)
        with torch.no_grad():
            bench.model.latents.visual_out.weight.mul_(1.5)
        found = monitored(bench.config, bench.player, played, bench.update)
        assert (found["drift/largest"] > 1e-3) == (feed == "own"), "only latents that are computed again are others"


def test_drift_and_the_free_divergence_are_looked_at_later() -> None:
    bench = Bench(configured())
    played, _ = bench.player.play(bench.shown, 1)
    found = monitored(bench.config, bench.player, played, bench.update)
    assert found["drift/largest"] < 1e-4 and found["drift/tokens"] > 0 and abs(found["kl/free"]) < 1e-6
    with torch.no_grad():
        bench.model.latents.visual_out.weight.add_(0.05)
        bench.model.latents.semantic_out.weight.add_(0.05)
    played, _ = bench.player.play(bench.shown, 1)
    found = monitored(bench.config, bench.player, played, bench.update)
    assert found["drift/largest"] < 1e-4 and found["kl/free"] > 1e-6, "only its latents are others"
