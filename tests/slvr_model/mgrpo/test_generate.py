"""Rollouts with everything shared are what plain decoding writes with nothing shared; what they compute is counted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from slvr_data.errors import UsageError
from slvr_model.decoding import Decoded, decode
from slvr_model.latents import Latents
from slvr_model.mgrpo.asking import Asking
from slvr_model.mgrpo.generate import answers_of, row_seeds
from slvr_model.mgrpo.noise import log_density
from slvr_model.mgrpo.replies import joined, openings, taken
from slvr_model.mgrpo.settings.sampling import SamplingConfig
from slvr_model.mgrpo.types import Rollouts
from slvr_model.rules import rules_of
from slvr_model.tokens import STRINGS
from tests.slvr_model.mgrpo.rollout_support import (
    KINDS,
    LATENT,
    SEED,
    STEP,
    calls,
    generator,
    new_talkative,
    shown,
    talkative,
    unshared,
)
from tests.slvr_model.objectives.objective_support import opened, tiny
from tests.slvr_model.test_modeling import counted


def same(one: Decoded, other: Decoded) -> None:
    """Equal ids and kinds; numbers to 1e-4."""
    assert one.replies() == other.replies()
    for name in ("sampled_BT", "forced_BT", "latent_BT", "finished_B"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    torch.testing.assert_close(one.logprobs_BT, other.logprobs_BT, atol=1e-4, rtol=0)
    for name in ("visual_TD", "semantic_SE"):
        mine, theirs = getattr(one.latents, name), getattr(other.latents, name)
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("top_p", [1.0, 0.9])
def test_rollouts_are_what_plain_decoding_writes(kind: str, top_p: float) -> None:
    made = generator(kind, top_p=top_p, max_new_tokens=24)
    one = shown(made.objective)
    found = made.rollouts(one, step=STEP)
    plain = decode(
        made.model,
        unshared(made, one),
        max_new_tokens=24,
        temperature=1.3,
        top_p=top_p,
        seed=row_seeds(SEED, STEP, one, 3),
        **made.objective.form.options(),
    )
    same(found.decoded, plain)
    assert len({tuple(reply) for reply in plain.replies()}) == 6  # rollouts differ
    assert bool(plain.finished_B.any())
    tokens = made.model.latent_config.tokens
    starts_BT = (plain.ids_BT == tokens.vis_start) | (plain.ids_BT == tokens.sem_start)
    assert bool((plain.sampled_BT & starts_BT).any()) == (kind in LATENT)  # another span behind words


def test_one_query_and_one_rollout_will_do() -> None:
    made = generator("slvr")
    made.config = SamplingConfig.model_construct(**{**made.config.model_dump(), "rollouts": 1})
    one = shown(made.objective, 2)
    found = made.rollouts(one, step=STEP)
    assert len(found.decoded.ids_BT) == found.queries == found.number == 1
    options: dict[str, Any] = {"max_new_tokens": 16, "temperature": 1.3, "seed": row_seeds(SEED, STEP, one, 1)}
    same(found.decoded, decode(made.model, unshared(made, one), **options, **made.objective.form.options()))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_shared_is_computed_once(kind: str) -> None:
    made = generator(kind)
    one, model = shown(made.objective, 2, 3, 2), made.model
    asking = Asking.of(one.asked, model.layout)
    with calls(model) as seen, counted(model.model.visual) as patches:
        found = made.rollouts(one, step=STEP)
    picture = one.asked[0].pictures[0]
    assert patches == [len(picture.patches_PX)]  # the picture once for 9 rows
    beginning, ending = len(asking.beginning.prefix), max(map(len, asking.endings))
    assert beginning > len(picture.patches_PX) // model.layout.merge**2
    assert seen[:2] == [(1, beginning), (3, ending)]  # what all share once, each question once
    steps = seen[2:]
    assert steps[: made.opening] == [(3, 1)] * min(made.opening, len(steps))  # latents once for each query
    assert set(steps[made.opening :]) == {(9, 1)}  # and from there on, words of each rollout
    costs = found.costs
    assert (costs.encoded, costs.calls) == (1, len(seen))
    assert costs.prefix_positions == beginning + sum(map(len, asking.endings))
    assert costs.sampled == int(found.decoded.sampled_BT.sum())
    slots = made.objective.form.visual_steps + made.objective.form.semantic
    assert costs.latents == int(found.decoded.latent_BT.sum()) - 2 * 3 * slots
    latents = openings(found.decoded, found.decoded.latents, model.latent_config.tokens)
    for held in (latents.visual_TD, latents.semantic_SE):
        if held is not None:
            held = held.view(3, 3, -1)
            assert torch.equal(held, held[:, :1].expand(-1, 3, -1))


def test_a_group_does_not_know_its_neighbours() -> None:
    """Alone, beside another region, in another order, with more rollouts: the same words, for the same draws."""
    made = generator("slvr")
    here, there = shown(made.objective), shown(made.objective, 0, region="r0")
    alone = [made.rollouts(one, step=STEP) for one in (here, there)]
    for order in ([here, there], [there, here]):
        for one in made.many(order, step=STEP):
            same(one.decoded, alone[0 if one.shown is here else 1].decoded)
    more = generator("slvr", rollouts=5).rollouts(here, step=STEP)
    first = [reply for row, reply in enumerate(more.decoded.replies()) if row % 5 < 3]
    assert first == alone[0].decoded.replies()
    turned = replace(
        here,
        group=replace(here.group, samples=here.group.samples[::-1]),
        asked=here.asked[::-1],
        answers=here.answers[::-1],
    )
    other = made.rollouts(turned, step=STEP).decoded.replies()
    assert other == alone[0].decoded.replies()[3:] + alone[0].decoded.replies()[:3]
    for another in (made.rollouts(here, step=STEP + 1), generator("slvr", seed=8).rollouts(here, step=STEP)):
        assert another.decoded.replies() != alone[0].decoded.replies()


def test_draws_are_the_same_on_every_machine() -> None:
    one = shown(generator("direct").objective, 2)
    assert row_seeds(1, 2, one, 2) == [4696675416849097569, 14756647493824157855]


def test_costs_of_groups_add_up() -> None:
    made = generator("lvr")
    groups = [shown(made.objective), shown(made.objective, 0, region="r0"), shown(made.objective, 1, region="r1")]
    with calls(made.model) as seen, counted(made.model.model.visual) as patches:
        found = made.many(groups, step=0)
    assert sum(one.costs.calls for one in found) == len(seen)
    assert [one.costs.encoded for one in found] == [3, 0, 0] and len(patches) == 1


def test_the_mode_of_the_model_is_as_it_was() -> None:
    made = generator("slvr", new_talkative())
    modes = []
    made.model.text.register_forward_pre_hook(lambda *_: modes.append(made.model.training))
    for training in (True, False):
        made.model.train(training)
        found = made.rollouts(shown(made.objective), step=0)
        assert made.model.training is training and not found.decoded.logprobs_BT.requires_grad
    assert not any(modes)


@pytest.mark.parametrize("kind", LATENT)
def test_noise_is_each_rollouts_own_and_its_density_is_told(kind: str) -> None:
    sigma = 0.3
    made = generator(kind, latent_noise=sigma)
    one, tokens = shown(made.objective), made.model.latent_config.tokens
    with calls(made.model) as seen:
        found = made.rollouts(one, step=STEP)
    assert set(seen[2:]) == {(6, 1)} and found.noise == sigma
    assert found.costs.latents == int(found.decoded.latent_BT.sum())
    held = openings(found.decoded, found.decoded.latents, tokens)
    for rows in (held.visual_TD, held.semantic_SE):
        assert rows is None or len(torch.unique(rows.flatten(1), dim=0)) == 6
    means: list[tuple[str, torch.Tensor]] = []

    def again(name: str, rows_R: torch.Tensor, latents_RX: torch.Tensor) -> torch.Tensor:
        """Feeds what was drawn, and keeps what was predicted."""
        place = sum(kept == name for kept, _ in means)
        means.append((name, latents_RX))
        drawn = held.visual_TD[:, place] if name == "visual" else held.semantic_SE
        return drawn[rows_R]

    most = made.opening
    decode(made.model, unshared(made, one), max_new_tokens=most, edit=again, **made.objective.form.options())
    slots = [place for place, latent in enumerate(found.decoded.latent_BT[0].tolist()) if latent][: len(means)]
    assert found.latent_logprobs_BT is not None
    assert bool((found.latent_logprobs_BT[~found.decoded.latent_BT] == 0).all())
    place = {"visual": 0, "semantic": 0}
    for slot, (name, mean_RX) in zip(slots, means, strict=True):
        drawn_RX = held.visual_TD[:, place[name]] if name == "visual" else held.semantic_SE
        place[name] += 1
        for row in range(6):
            slow = sum(
                -(((z - p) / sigma) ** 2) / 2 - np.log(sigma * np.sqrt(2 * np.pi))
                for z, p in zip(drawn_RX[row].double().tolist(), mean_RX[row].double().tolist(), strict=True)
            )
            assert float(found.latent_logprobs_BT[row, slot]) == pytest.approx(slow, rel=1e-4, abs=1e-3)
    spread = torch.cat(
        [(held.visual_TD[:, 0] if name == "visual" else held.semantic_SE) - mean for name, mean in means[:1]]
    )
    assert float(spread.std()) == pytest.approx(sigma, rel=0.1)


def test_noise_does_not_know_its_neighbours() -> None:
    made = generator("slvr", latent_noise=0.2)
    here, there = shown(made.objective), shown(made.objective, 0, region="r0")
    alone = made.rollouts(here, step=STEP)
    beside = made.many([there, here], step=STEP)[1]
    same(beside.decoded, alone.decoded)
    assert alone.latent_logprobs_BT is not None and beside.latent_logprobs_BT is not None
    torch.testing.assert_close(beside.latent_logprobs_BT, alone.latent_logprobs_BT, atol=1e-2, rtol=1e-4)


def test_the_density_of_a_latent_is_that_of_the_normal_distribution() -> None:
    dice = torch.Generator().manual_seed(0)
    drawn, mean = torch.randn(5, 7, generator=dice), torch.randn(5, 7, generator=dice, requires_grad=True)
    drawn.requires_grad_()
    found = log_density(drawn, mean, 0.4)
    torch.testing.assert_close(found, torch.distributions.Normal(mean, 0.4).log_prob(drawn).sum(-1))
    found.sum().backward()
    torch.testing.assert_close(mean.grad, (drawn - mean).detach() / 0.4**2)
    assert drawn.grad is None


def written(kind: str, replies: list[list[str]], ended: list[bool], **settings: Any) -> Any:
    """What is read from replies of these words behind their opening; words that stand apart were sampled apart."""
    lettered = settings.pop("lettered", [False] * len(replies))
    objective, tokenizer = opened(kind, **settings), tiny()[1].tokenizer
    form, config = objective.form, tiny()[0].latent_config
    rows = [
        [
            *config.tokens.reply(form.visual_steps, form.semantic),
            *(token for text in texts for token in tokenizer(text, add_special_tokens=False).input_ids),
            *([tokenizer.eos_token_id] * end),
        ]
        for texts, end in zip(replies, ended, strict=True)
    ]
    length = max(map(len, rows))
    ids = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    kept = torch.tensor([[n < len(row) for n in range(length)] for row in rows])
    rules = rules_of(config, len(rows), 0, False, False, False, 1.0)
    none = torch.zeros_like(kept)
    decoded = Decoded(ids, kept, none, none, torch.zeros(ids.shape), Latents(), torch.tensor(ended), rules)
    return answers_of(objective, tokenizer, decoded, lettered)


def test_answers_and_whether_replies_are_whole() -> None:
    mark, span = "\nAnswer: ", STRINGS[3]
    answers, formed = written("slvr", [["red"], ["red"], [""]], [True, False, True])
    assert answers == ("red", "red", "") and formed == (True, False, False)
    texts = [["a red thing", mark, "red"], ["red"], [mark], ["blue", mark, "blue", mark, "red"]]
    answers, formed = written("text", texts, [True] * 4)
    assert answers == ("red", "red", "", "red") and formed == (True, False, False, True)
    answers, formed = written("slvr", [["color", mark, "red"], ["red"], ["B"]], [True] * 3, echo=True)
    assert answers == ("red", "red", "B") and formed == (True, False, False)
    assert written("slvr", [["B"]], [True], echo=True, lettered=[True]) == (("B",), (True,))
    answers, formed = written("slvr", [["red", span, "thing"], [span, "red"]], [True] * 2)
    assert formed == (False, True)  # an answer is in one piece


def test_rows_taken_and_joined_are_the_rows() -> None:
    made = generator("slvr")
    groups = [shown(made.objective), shown(made.objective, 0, region="r0")]
    parts = [one.decoded for one in made.many(groups, step=STEP)]
    whole, tokens = joined(parts, made.model.layout.pad_token), made.model.latent_config.tokens
    assert whole.replies() == parts[0].replies() + parts[1].replies()
    for rows, part in ((slice(0, 6), parts[0]), (slice(6, 9), parts[1])):
        same(taken(whole, rows, tokens), part)
    last = taken(whole, slice(8, 9), tokens)
    assert last.replies() == [whole.replies()[8]] and last.ids_BT.shape[1] == len(whole.replies()[8])


def bad_groups() -> list[tuple[Any, str]]:
    objective = opened("slvr", talkative())
    one = shown(objective)
    strange = shown(objective, 0).asked[0]
    late = replace(one.asked[0], prefix=(one.asked[0].prefix[1], *one.asked[0].prefix[1:]))
    return [
        (replace(one, asked=(), group=replace(one.group, samples=())), "a group without queries"),
        (replace(one, asked=one.asked[:1]), "1 questions for 2 queries"),
        (replace(one, asked=(one.asked[0], strange)), "query 1 of a group shows another picture"),
        (replace(one, asked=(one.asked[1], late)), "part before their picture"),
    ]


@pytest.mark.parametrize("case", range(4))
def test_bad_groups(case: int) -> None:
    one, says = bad_groups()[case]
    with pytest.raises(UsageError, match=says):
        generator("slvr").rollouts(one, step=0)


def test_bad_settings() -> None:
    with pytest.raises(UsageError, match=r"max_new_tokens 5: a reply opens with \d+ positions"):
        generator("slvr", max_new_tokens=5)
    with pytest.raises(UsageError, match="'direct' have no latents: set 0"):
        generator("direct", latent_noise=0.1)
    limit = talkative().layout.limit
    made = generator("slvr", max_new_tokens=limit - 20)
    with pytest.raises(UsageError, match=rf"region r2.*exceed the limit of {limit}"):
        made.rollouts(shown(made.objective), step=0)


def test_rollouts_hold_what_was_shown() -> None:
    made = generator("direct")
    one = shown(made.objective)
    found: Rollouts = made.rollouts(one, step=0)
    assert found.shown is one and (found.queries, found.number) == (2, 3)
    assert len(found.answers) == len(found.formed) == 6
    assert found.latent_logprobs_BT is None and found.noise == 0
