"""Seldom taken paths from rollouts to a loss, each as a whole: routed advantages, costs, a reference of its own."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from slvr_model.checkpoints import open_checkpoint
from slvr_model.mgrpo.composer import Rewards, composed
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.losses import k3
from slvr_model.mgrpo.play import Played
from slvr_model.mgrpo.rewards.facts import Facts
from slvr_model.mgrpo.run import train_mgrpo
from slvr_model.mgrpo.scoring import scored
from slvr_model.mgrpo.settings.rewards import RewardConfig
from slvr_model.modeling import SlvrModel
from tests.slvr_model.mgrpo.rollout_support import talkative
from tests.slvr_model.mgrpo.update_support import NO_PULL, Bench, configured, earned, furthest

ROUTING = {"protect": 0.5, "punish": 2.0}


def noisy(routing: dict[str, float] | None, rows: int = 64) -> MgrpoConfig:
    """Drawn latents with a part in the loss, and an advantage of their own."""
    return configured(
        sampling={"latent_noise": 0.3, "rollouts": 6, "max_new_tokens": 64},
        loss={"latent_density": "mean", "beta": 0.0},
        advantages={"routing": routing},
        latents=NO_PULL,
        training={"micro_rows": rows},
    )


def all_but_the_longest(facts: Facts, config: RewardConfig) -> Rewards:
    """Rewards that differ, but not among the rollouts of queries with the longest reply, which are all right."""
    assert facts.costs_kG is not None
    reward_kG = torch.arange(facts.queries * facts.rollouts).view(facts.queries, -1) % 4 / 3
    longest_k = facts.costs_kG.amax(1)
    reward_kG[longest_k == longest_k.max()] = 1.0
    return earned(reward_kG)


def sums(played: Played, config: MgrpoConfig) -> tuple[float, int]:
    """(minus the advantages of all that was drawn in rows with a signal, how much is drawn in all), place by place."""
    routing, decoded = config.advantages.routing, played.rollouts.decoded
    assert routing is not None
    total, count, right_kG = 0.0, 0, played.rewards.right_kG
    for row in range(len(decoded.ids_BT)):
        query, number = divmod(row, played.rollouts.number)
        if not played.advantages.kept_kG[query, number]:
            count += int((decoded.sampled_BT[row] | decoded.latent_BT[row]).sum())
            continue
        others = [float(one.float().mean()) for at, one in enumerate(right_kG) if at != query]
        seen, gained = sum(others) / len(others) >= 0.5, float(played.advantages.values_kG[query, number])
        for place in range(decoded.ids_BT.shape[1]):
            own = gained
            if decoded.latent_BT[row, place] and not right_kG[query, number]:
                own += routing.protect * abs(gained) if seen else -routing.punish * abs(gained)
            drawn = bool(decoded.sampled_BT[row, place] | decoded.latent_BT[row, place])
            total, count = total - own * drawn, count + drawn
    return total, count


def test_routed_advantages_reach_their_positions_when_the_longest_reply_has_no_part() -> None:
    found = []
    for rows in (64, 5):
        bench = Bench(noisy(ROUTING, rows), all_but_the_longest)
        played, first = bench.player.play(bench.shown, 1)
        longest = [one.rollouts.decoded.ids_BT.shape[1] for one in played]
        held = [one.rollouts.decoded.kept_BT[one.advantages.kept_kG.flatten()].sum(1).max() for one in played]
        assert len(longest) == 2 and int(max(held)) < max(longest), "advantages are cropped with their rows"
        numbers = bench.update.learn(1, played, first)
        totals = [sums(one, bench.config) for one in played]
        assert numbers["loss/policy"] == pytest.approx(sum(t for t, _ in totals) / sum(n for _, n in totals), rel=1e-4)
        found.append(bench.gradients())
    assert furthest(*found) < 1e-4
    plain = Bench(noisy(None), all_but_the_longest)
    plain.learnt()
    assert furthest(found[0], plain.gradients()) > 1e-2, "latents have an advantage of their own"


def test_the_cheaper_of_equally_good_replies_counts_latents_of_later_spans() -> None:
    weights: dict[str, Any] = {"answer": {"weight": 0.0}, "format": {"weight": 1.0}, "cost_parity": {}}
    bench = Bench(configured(rewards=weights, sampling={"rollouts": 16}), composed)
    played, _ = bench.player.play(bench.shown, 1)
    decided = set[int]()
    for one in played:
        rollouts = one.rollouts
        length_kG = torch.tensor([len(reply) for reply in rollouts.decoded.replies()]).view(rollouts.queries, -1)
        latents_kG = rollouts.decoded.latent_BT.sum(1).view(rollouts.queries, -1)
        formed_kG = torch.tensor(rollouts.formed).view(rollouts.queries, -1)
        for query, whole_G in enumerate(formed_kG):
            least = min(length_kG[query][whole_G].tolist(), default=0)
            wanted = [least / float(n) if whole else 0.0 for n, whole in zip(length_kG[query], whole_G, strict=True)]
            assert one.rewards.total_kG[query].tolist() == pytest.approx(wanted)
            decided |= set(latents_kG[query][whole_G].tolist())
    assert len(decided) > 1, "some whole replies have more latents than they open with"


def shaken(model: SlvrModel, part: str) -> SlvrModel:
    """A copy that is another in the weights of one part."""
    other, dice = copy.deepcopy(model), torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, weight in other.named_parameters():
            if part in name:
                weight += 0.05 * torch.randn(weight.shape, generator=dice)
    return other


@pytest.mark.parametrize("part", ["visual.", "language_model."])
def test_another_reference_scores_with_its_own_eyes_and_words(part: str) -> None:
    """Behind the policy's latents; the pictures are encoded by the reference itself."""
    config = configured(loss={"beta": 0.1}, latents=NO_PULL, model={"reference": "another"})
    other = shaken(talkative(), part)
    bench = Bench(config, other=other)
    played, first = bench.player.play(bench.shown, 1)
    told = bench.update.learn(1, played, first)["kl"]
    bench = Bench(config)
    rollouts = [one.rollouts for one in played]
    with torch.no_grad():
        now, then = (scored(model, rollouts, feed="given", micro_rows=64) for model in (bench.model, other))
    kept_B: Tensor = torch.cat([one.advantages.kept_kG.flatten() for one in played])
    apart = k3(now.logprobs_BT, then.logprobs_BT)[now.sampled_BT & kept_B[:, None]]
    assert told == pytest.approx(float(apart.mean()), rel=1e-3) and told > 1e-4
    assert abs(bench.learnt()["kl"]) < 1e-6, "its own copy is no other"


def test_a_run_is_held_against_the_checkpoint_that_is_named(set_up: Callable[..., MgrpoConfig], tmp_path: Path) -> None:
    model, processor = open_checkpoint("slvr:tiny")
    shaken(model, "language_model.").save_pretrained(tmp_path / "another")
    processor.save_pretrained(tmp_path / "another")
    told = []
    for name, out in ((str(tmp_path / "another"), "held"), ("slvr:tiny", "own")):
        config = set_up(
            f"model.reference={name}", "training.steps=1", "loss.beta=0.1", "sampling.temperature=1.5",
            "preflight.regions=0", "evaluation.regions=0", "cases.every=0", out=out,
        )  # fmt: skip
        final = train_mgrpo(config, "slvr:tiny")
        (line,) = [json.loads(line) for line in (final / "log.jsonl").read_text().splitlines()]
        told.append((line["kl"], set(json.loads((final / "mgrpo.json").read_text())["reference"])))
    assert told[0][0] > 1e-4 and abs(told[1][0]) < 1e-6, "at the first step, before anything has moved"
    assert "model.safetensors" in told[0][1]
