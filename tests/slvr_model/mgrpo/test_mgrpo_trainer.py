"""A step: the same for any micro-batches; reaches latents; clips where it can; and what ends it is one sentence."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from slvr_data.errors import RunError, UsageError
from slvr_model.latents import KEY, LatentConfig
from slvr_model.mgrpo.latent_losses import RegionLatents, latent_loss
from slvr_model.mgrpo.preflight import monitored
from slvr_model.mgrpo.query_latents import query_latents
from slvr_model.mgrpo.rates import share_of
from slvr_model.mgrpo.reference import AdaptersOff, Copied, reference_of
from slvr_model.mgrpo.settings.rewards import RewardConfig
from slvr_model.modeling import SlvrModel
from slvr_model.sft.config import LoraConfig
from slvr_model.sft.start import add_lora
from slvr_model.tiny import SEMANTIC, SLOTS, new_tiny, tiny_config
from tests.slvr_model.mgrpo.rollout_support import new_talkative, shown
from tests.slvr_model.mgrpo.update_support import NO_PULL, Bench, configured, earned, furthest, weights
from tests.slvr_model.objectives.objective_support import opened
from tests.slvr_model.test_modeling import counted

MAPS = "latents.visual_out.weight"


def test_micro_batches_change_no_number() -> None:
    found = []
    for rows in (64, 3):
        bench = Bench(configured(training={"micro_rows": rows}))
        found.append((bench.learnt(), bench.gradients()))
    (once, gradients), (parts, others) = found
    assert once.keys() == parts.keys() and once["rows"] > 4
    for name, value in once.items():
        assert parts[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
    assert furthest(gradients, others) < 1e-4
    assert once["kl"] == 0 and once["ratio"] == 1, "before any update the policy is its reference, and what wrote"


@pytest.mark.parametrize("feed", ["own", "given"])
def test_an_answers_reward_reaches_the_latents_where_they_are_computed_again(feed: str) -> None:
    bench = Bench(configured(training={"feed": feed}, latents=NO_PULL, loss={"beta": 0.0}))
    numbers = bench.learnt()
    assert numbers["rows"] > 0 and bench.update.reference is None
    gradient = bench.gradients().get(MAPS)
    reached = gradient is not None and float(gradient.abs().max()) > 1e-6
    assert reached == (feed == "own")
    assert float(bench.gradients()["latents.visual_in.weight"].abs().max()) > 1e-6, "what reads latents learns in both"


def test_losses_on_latents_have_the_gradient_of_all_regions_together() -> None:
    pulls = {"together": 1.0, "apart": 1.0, "apart_margin": 2.0, "alone": True}
    config = configured(training={"micro_rows": 1}, latents=pulls)
    bench = Bench(config, rewarder=lambda facts, _: earned(torch.ones(facts.queries, facts.rollouts)))
    numbers = bench.learnt()
    assert numbers["rows"] == 0 and numbers["loss/policy"] == 0, "groups without signal are left out"
    other = Bench(config)
    held = query_latents(other.model, other.shown, other.player.form)
    assert held.visual_QKD is not None and held.semantic_QE is not None
    start = RegionLatents(held.region_Q, held.visual_QKD.detach(), held.semantic_QE.detach())
    policy = RegionLatents(held.region_Q, held.visual_QKD, held.semantic_QE)
    terms = latent_loss(policy, config.latents, reference=start)
    terms.total.backward()
    assert numbers["loss/latents"] == pytest.approx(float(terms.total.detach()), rel=1e-4)
    moved, wanted = bench.gradients(), other.gradients()
    assert furthest({name: moved[name] for name in wanted}, wanted) < 1e-4
    assert float(wanted[MAPS].abs().max()) > 0


def test_gradients_of_replies_and_of_latents_are_told_apart_and_added() -> None:
    pulls = {"together": 1.0, "apart": 1.0, "apart_margin": 2.0, "alone": True}
    both = Bench(configured(latents=pulls))
    told = both.learnt()
    alone = Bench(configured(latents=NO_PULL))
    policy = alone.learnt()
    pulled = Bench(configured(latents=pulls), lambda facts, _: earned(torch.ones(facts.queries, facts.rollouts)))
    latents = pulled.learnt()
    assert policy["gradient/policy"] == pytest.approx(policy["gradient"]) and "gradient/latents" not in policy
    assert latents["gradient/latents"] == pytest.approx(latents["gradient"]) and "gradient/policy" not in latents
    assert told["gradient/policy"] == pytest.approx(policy["gradient"], rel=1e-4)
    assert told["gradient/latents"] == pytest.approx(latents["gradient"], rel=1e-4)
    ours, theirs = alone.gradients(), pulled.gradients()
    names = ours.keys() | theirs.keys()
    added = {name: torch.stack([one[name] for one in (ours, theirs) if name in one]).sum(0) for name in names}
    assert furthest(both.gradients(), added) < 1e-4
    assert told["gradient"] == pytest.approx(math.sqrt(sum(float(one.square().sum()) for one in added.values())), 1e-4)


@pytest.mark.parametrize("what", ["policy", "latents"])
def test_what_is_no_number_any_more_is_said_with_the_cure(what: str) -> None:
    """Weights that are lost between rollouts and learning: of the vocabulary, or of the latents' maps."""
    bench = Bench(configured(loss={"beta": 0.0}, latents={} if what == "latents" else NO_PULL))
    played, first = bench.player.play(bench.shown, 1)
    lost = bench.model.lm_head.weight if what == "policy" else bench.model.latents.visual_out.weight
    lost.data.fill_(float("nan"))
    with pytest.raises(RunError, match=r"not finite: training has diverged; lower training\.learning_rate.*begin it"):
        bench.update.learn(1, played, first)


@pytest.mark.parametrize("apart", [False, True])
def test_a_lots_pictures_are_encoded_once(apart: bool) -> None:
    """For latents of the reference, rollouts, looks at drift, scoring part by part, losses on latents, two steps."""
    config = configured(
        training={"micro_rows": 2, "steps": 2, "iterations": 2},
        latents={"together": 1.0, "apart": 1.0, "apart_margin": 2.0, "stability": 1.0},
    )
    bench = Bench(config, other=new_talkative() if apart else None)
    bench.shown[1] = shown(bench.generator.objective, 0, region="other")
    sizes = [len(one.asked[0].pictures[0].patches_PX) for one in bench.shown]
    reference = bench.update.reference
    assert isinstance(reference, Copied)
    for number in (1, 2):
        with counted(bench.model.model.visual) as mine, counted(reference.model.model.visual) as its:
            played, first = bench.player.play(bench.shown, number)
            monitored(config, bench.player, played, bench.update)
            assert bench.update.learn(1, played, first)["rows"] > 2, "in several parts"
        assert mine == [sum(sizes)] and its == ([sum(sizes)] if apart else []), "one pass of a tower"


def test_a_lot_that_is_learnt_twice_is_clipped() -> None:
    once = Bench(configured(latents=NO_PULL)).learnt()
    twice = Bench(configured(training={"steps": 2, "iterations": 2, "learning_rate": 3e-2}, latents=NO_PULL)).learnt()
    assert once["ratio"] == 1 and once["clip/low"] + once["clip/high"] == 0
    assert abs(twice["ratio"] - 1) > 1e-3 and twice["clip/low"] + twice["clip/high"] > 0 and twice["kl"] > 0


def test_a_lot_without_signal_moves_nothing_and_is_counted() -> None:
    bench = Bench(
        configured(latents=NO_PULL), rewarder=lambda facts, _: earned(torch.ones(facts.queries, facts.rollouts))
    )
    before = weights(bench.model)
    played, first = bench.player.play(bench.shown, 1)
    numbers = bench.update.learn(1, played, first)
    assert numbers["rows"] == 0 and numbers["loss"] == 0
    assert all(torch.equal(value, before[name]) for name, value in weights(bench.model).items())
    assert all(one.numbers()["advantage/dropped"] == 1 and one.numbers()["advantage/mixed"] == 0 for one in played)


def test_drawn_latents_are_actions() -> None:
    noisy = {"sampling": {"latent_noise": 0.3}, "latents": NO_PULL}
    with_density = Bench(configured(loss={"latent_density": "mean"}, **noisy))
    without = Bench(configured(**noisy))
    told, plain = with_density.learnt(), without.learnt()
    assert told["rows"] == plain["rows"] > 0 and told["ratio"] == 1
    reached = [
        float(one.gradients()[MAPS].abs().max()) if MAPS in one.gradients() else 0.0 for one in (with_density, without)
    ]
    assert reached[0] > 1e-6 > reached[1], "their density alone leads to the maps: drawn latents are fed as they are"


@pytest.mark.parametrize("kind", ["direct", "text"])
def test_replies_without_latents_learn_too(kind: str) -> None:
    bench = Bench(configured(kind, sampling={"max_new_tokens": 8}))
    numbers = bench.learnt()
    assert numbers["rows"] > 0 and numbers["gradient"] > 0 and MAPS not in bench.gradients()


def test_a_reward_that_is_no_number_names_its_region() -> None:
    def broken(facts: Any, config: RewardConfig) -> Any:
        values_kG = torch.rand(facts.queries, facts.rollouts)
        values_kG[1, 2] = math.nan
        return earned(values_kG)

    with pytest.raises(RunError, match=r"lot 3, region r2: the reward of query 1, rollout 2 is nan"):
        Bench(configured(), rewarder=broken).learnt(3)


def test_a_single_rollout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"rollouts 1: .*2 or more"):
        configured(sampling={"rollouts": 1})


def test_a_reference_of_another_size_is_refused() -> None:
    config = tiny_config(width=64)
    latents = LatentConfig(new_tiny()[0].latent_config.tokens, visual_slots=SLOTS, semantic_dim=SEMANTIC)
    setattr(config, KEY, latents.to_dict())
    with pytest.raises(UsageError, match=r"reference small is of another size than the policy: \S+ is \(\d+.*\) there"):
        reference_of(new_tiny()[0], lora=False, other=SlvrModel(config), name="small")
    latents = LatentConfig(latents.tokens, visual_slots=SLOTS + 1, semantic_dim=SEMANTIC)
    config = tiny_config()
    setattr(config, KEY, latents.to_dict())
    with pytest.raises(UsageError, match=f"its latents have visual_slots {SLOTS + 1}, those of the policy {SLOTS}"):
        reference_of(new_tiny()[0], lora=False, other=SlvrModel(config), name="wide")


def test_adapters_off_is_the_start_and_then_the_policy_again() -> None:
    model, start = new_talkative(), weights(new_talkative())
    add_lora(model, LoraConfig(rank=2))
    reference = AdaptersOff(model)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.add_(0.01 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    learnt = weights(model)
    with reference.weights() as held:
        told = weights(held)
        assert all(torch.equal(told[name], value) for name, value in start.items() if name in told)
        off: list[Any] = [part for part in held.modules() if hasattr(part, "lora_A")]
        assert off and all(part.disable_adapters for part in off)
    assert all(torch.equal(value, learnt[name]) for name, value in weights(model).items())


def test_rates_rise_and_fall_with_the_step_alone() -> None:
    training = configured(training={"steps": 10, "warmup": 0.2, "schedule": "linear"}).training
    shares = [share_of(step, training) for step in range(1, 11)]
    assert shares[:3] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]
    assert shares[3:] == sorted(shares[3:], reverse=True) and 0 < shares[-1] < 0.2


def test_reference_and_policy_do_not_read_each_others_copies_of_weights() -> None:
    """Autocast keeps copies of weights for as long as it lasts, and both are the same tensors."""
    model = new_talkative()
    add_lora(model, LoraConfig(rank=2, vocabulary=False))
    reference = AdaptersOff(model)
    with torch.no_grad():
        model.latents.visual_out.weight.add_(0.5)
    objective = opened("slvr", feed="own")
    asked = shown(objective)

    def latents() -> Tensor:
        with torch.no_grad():
            found = query_latents(model, asked, objective.form).visual_QKD
        assert found is not None
        return found.float()

    with torch.autocast("cpu", torch.bfloat16):
        alone = latents()
    with reference.weights(), torch.autocast("cpu", torch.bfloat16):
        first = latents()
    assert float((alone - first).abs().max()) > 0.1
    with torch.autocast("cpu", torch.bfloat16):
        with reference.weights():
            assert torch.equal(latents(), first)
        assert torch.equal(latents(), alone)
        with reference.weights():
            assert torch.equal(latents(), first)
