"""Scores of rollouts: those of the rollout while the weights are the same, and of plain scoring for other weights."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.decoding import score
from slvr_model.mgrpo.asking import Asking
from slvr_model.mgrpo.generate import InProcess
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.mgrpo.query_latents import query_latents
from slvr_model.mgrpo.replies import joined, openings
from slvr_model.mgrpo.scoring import Scored, parts_of, score_part, scored, scored_parts
from slvr_model.mgrpo.types import Rollouts
from slvr_model.modeling import SlvrModel
from tests.slvr_model.mgrpo.rollout_support import (
    KINDS,
    LATENT,
    STEP,
    calls,
    generator,
    new_talkative,
    quiet,
    shown,
    talkative,
    unshared,
)
from tests.slvr_model.objectives.objective_support import gradients
from tests.slvr_model.test_modeling import counted


@cache
def written(kind: str, noise: float = 0.0, talks: bool = True) -> tuple[InProcess, tuple[Rollouts, ...]]:
    """Two groups of different pictures: 6 rows and 3 rows; `talks`: some replies have latents behind their words."""
    made = generator(kind, None if talks else quiet(), max_new_tokens=20, latent_noise=noise)
    return made, tuple(made.many([shown(made.objective), shown(made.objective, 0, region="r0")], step=STEP))


@cache
def other() -> SlvrModel:
    """Another model of the same size."""
    model = new_talkative()
    dice = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for _, weights in sorted(model.named_parameters()):
            weights += 0.1 * weights.std().nan_to_num(0) * torch.randn(weights.shape, generator=dice)
    return model


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("feed", ["given", "own"])
def test_scores_are_those_of_the_rollouts(kind: str, feed: Any) -> None:
    made, held = written(kind)
    whole = joined([one.decoded for one in held], made.model.layout.pad_token)
    for micro_rows in (100, 4, 1) if kind == "slvr" else (5,):
        with torch.no_grad():
            found = scored(made.model, held, feed=feed, micro_rows=micro_rows)
        assert torch.equal(found.sampled_BT, whole.sampled_BT)
        torch.testing.assert_close(found.logprobs_BT, whole.logprobs_BT, atol=1e-4, rtol=0)
        assert bool((found.logprobs_BT[~whole.sampled_BT] == 0).all())
        for name in ("visual_TD", "semantic_SE"):
            mine, theirs = getattr(found.latents, name), getattr(whole.latents, name)
            assert (mine is None) == (theirs is None)
            if mine is not None:  # in reading order, whatever the parts
                torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["slvr", "pause"])
@pytest.mark.parametrize("feed", ["given", "own"])
def test_other_weights_score_as_they_do_with_nothing_shared(kind: str, feed: Any) -> None:
    """A reference on the policy's latents, and free-running."""
    made, held = written(kind)
    with torch.no_grad():
        found = scored(other(), held, feed=feed, micro_rows=4)
        at = 0
        for one in held:
            plain_BT = score(other(), unshared(made, one.shown), one.decoded, feed=feed if kind == "slvr" else "pause")
            rows, length = slice(at, at + len(plain_BT)), plain_BT.shape[1]
            torch.testing.assert_close(found.logprobs_BT[rows, :length], plain_BT, atol=1e-4, rtol=0)
            assert float((plain_BT - one.decoded.logprobs_BT).abs().max()) > 0.1
            at += len(plain_BT)


@pytest.mark.parametrize("talks", [True, False])
def test_gradients_are_those_of_plain_scoring_with_own_latents(talks: bool) -> None:
    """Sharing and parts change no gradient; with own latents it reaches their maps."""
    made, held = written("slvr", talks=talks)
    one, model = held[0], made.model
    weight_BT = torch.randn(one.decoded.ids_BT.shape, generator=torch.Generator().manual_seed(2))
    plain = gradients(model, (score(model, unshared(made, one.shown), one.decoded, feed="own") * weight_BT).sum())
    summed: dict[str, Tensor] = {}
    for rows, part in scored_parts(model, one, feed="own", micro_rows=4):
        for name, gradient in gradients(model, (part.logprobs_BT * weight_BT[rows]).sum()).items():
            summed[name] = summed.get(name, torch.zeros_like(gradient)) + gradient
    assert summed.keys() >= {"latents.visual_out.weight", "latents.semantic_out.weight", "latents.visual_in.weight"}
    assert any("visual.patch_embed" in name for name in summed)
    for name, gradient in plain.items():
        near = {"atol": 1e-4 * float(gradient.abs().max()) + 1e-6, "rtol": 1e-3}
        torch.testing.assert_close(summed[name], gradient, **near, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("kind", ["slvr", "pause"])
def test_under_activation_checkpointing_a_region_is_one_packed_row(kind: str) -> None:
    held, model = written(kind)[1], new_talkative()
    with torch.no_grad():
        plain = scored(model, held, micro_rows=5)
    model.activation_checkpointing_enable()
    model.train()
    with calls(model) as seen:
        found = scored(model, held, micro_rows=5)
    assert [rows for rows, _ in seen] == [1, 2]  # 5 rows of a region; 1 of it and 3 of the other
    assert found.calls == 2
    torch.testing.assert_close(found.logprobs_BT.detach(), plain.logprobs_BT, atol=1e-4, rtol=0)
    assert bool(gradients(model, found.logprobs_BT.sum())["model.language_model.layers.0.mlp.up_proj.weight"].any())
    if kind == "slvr":
        torch.testing.assert_close(found.latents.visual_TD.detach(), plain.latents.visual_TD, atol=1e-4, rtol=1e-4)
        with pytest.raises(UsageError, match="activation checkpointing forbids"):
            scored(model, held, feed="own", micro_rows=5)


@pytest.mark.parametrize("kind", LATENT)
def test_the_answers_gradient_reaches_latents_that_are_computed_anew(kind: str) -> None:
    made, held = written(kind)
    maps = {"slvr": ("visual", "semantic"), "lvr": ("visual",), "semantic": ("semantic",)}[kind]
    for feed, reached in (("own", True), ("given", False)):
        found = scored(made.model, held[0], feed=feed, micro_rows=8)  # type: ignore[arg-type]
        touched = gradients(made.model, found.logprobs_BT.sum())
        for name in maps:
            gradient = touched.get(f"latents.{name}_out.weight")
            assert (gradient is not None and bool(gradient.any())) is reached
            assert bool(touched[f"latents.{name}_in.weight"].any())  # how a latent is read is learnt in both


def test_forwards_are_counted() -> None:
    """Two calls of the language model, however long the replies: their beginnings, and what is behind them."""
    made, held = written("slvr", talks=False)
    one, model = held[0], made.model
    asking, slots = Asking.of(one.shown.asked, model.layout), made.objective.form.visual_steps + 1
    beginning, ending = len(asking.beginning.prefix), max(map(len, asking.endings))
    behind = (6, max(len(asking.endings[n // 3]) + len(reply) for n, reply in enumerate(one.decoded.replies())))
    assert not bool((one.decoded.sampled_BT & (one.decoded.ids_BT == model.latent_config.tokens.vis_start)).any())
    with calls(model) as seen, torch.no_grad():
        found = scored(model, one, micro_rows=6)
    assert seen == [(1, beginning), behind] and found.calls == 2
    with calls(model) as seen:
        found = scored(model, one, feed="own", micro_rows=6)
    assert found.calls == len(seen) == 2 + 1 + slots
    assert seen[0] == (1, beginning) and seen[-1] == behind
    assert all(rows == 1 and positions <= beginning + 2 * (ending + 1) for rows, positions in seen[1:-1])  # 2 questions
    with calls(model) as seen, torch.no_grad():
        found = scored(model, held, micro_rows=2)
    assert found.calls == len(seen) == 3 + 1 + 2 + 1  # the beginning of the first region once for its three parts
    with calls(model) as seen:
        assert scored(model, held, micro_rows=2).calls == len(seen) == 10  # with gradient each part has its own


def test_latents_behind_words_are_computed_anew_row_by_row() -> None:
    made, held = written("slvr")
    slots = int(held[0].decoded.latent_BT.sum(1).max())
    assert slots > made.objective.form.visual_steps + 1
    with calls(made.model) as seen, torch.no_grad():
        found = scored(made.model, held[0], feed="own", micro_rows=6)
    assert found.calls == len(seen) == 1 + slots


def test_micro_rows_bound_what_is_computed_at_a_time() -> None:
    made, held = written("slvr")
    most = []
    for micro_rows in (1, 2, 6):
        with calls(made.model) as seen, torch.no_grad():
            scored(made.model, held[0], micro_rows=micro_rows)
        assert seen[0][0] == 1  # the beginning, once for all parts
        most.append(max(rows * positions for rows, positions in seen[1:]))
        assert all(rows == micro_rows for rows, _ in seen[1:])
        parts = list(parts_of(held[0], made.model.layout, micro_rows))
        assert [part.rows.stop - part.rows.start for part in parts] == [micro_rows] * (6 // micro_rows)
    assert most[0] < most[1] < most[2]


def test_memory_of_the_backward_pass_is_bounded_by_micro_rows_not_by_rollouts() -> None:
    """Bytes that autograd keeps of a part, weights aside."""
    made, held = written("slvr")
    weights = {weight.data_ptr() for weight in made.model.parameters()}
    sizes: dict[int, int] = {}

    def pack(value: Tensor) -> Tensor:
        if value.data_ptr() not in weights:
            sizes[value.data_ptr()] = value.nbytes
        return value

    def most(rollouts: Any, micro_rows: int) -> int:
        found, iterator = [], scored_parts(made.model, rollouts, micro_rows=micro_rows)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            for _ in iterator:
                found.append(sum(sizes.values()))
                sizes.clear()
        return max(found)

    one, two, six = (most(held[0], micro_rows) for micro_rows in (1, 2, 6))
    assert one < two < six
    assert most(held, 2) < 1.1 * two


def test_pictures_are_encoded_once_unless_they_are_trained() -> None:
    made, held = written("direct")
    sizes = [len(one.shown.asked[0].pictures[0].patches_PX) for one in held]
    with counted(made.model.model.visual) as patches, torch.no_grad():
        scored(made.model, held, micro_rows=2)
    assert patches == sizes
    with counted(made.model.model.visual) as patches:
        scored(made.model, held, micro_rows=2)
    assert patches == [sizes[0]] * 3 + [sizes[1]] * 2
    still = new_talkative()
    still.model.visual.requires_grad_(False)
    seen = Pictures(still)
    with counted(still.model.visual) as patches:
        once = [score_part(still, part, pictures=seen) for part in parts_of(held, still.layout, 2)]
    assert patches == sizes and all(one.logprobs_BT.requires_grad for one in once)


def test_entropies_and_states() -> None:
    made, held = written("slvr")
    one, model = held[1], made.model
    with torch.no_grad():
        found = scored(model, held, micro_rows=4, hidden=True)
    assert found.hidden_BTD is not None
    rows, length = slice(6, 9), one.decoded.ids_BT.shape[1]
    banned = [*model.latent_config.tokens.banned(), model.config.image_token_id, model.config.video_token_id]
    for row, at in one.decoded.sampled_BT.nonzero().tolist():
        with torch.no_grad():
            logits_V = model.lm_head(found.hidden_BTD[rows][row, at]) / 1.3
        logits_V[banned] = -torch.inf
        p_V = logits_V.double().softmax(-1)
        slow = -sum(p * torch.log(p) for p in p_V if p > 0)
        assert float(found.entropy_BT[rows][row, at]) == pytest.approx(float(slow), abs=1e-4)
        assert float(found.logprobs_BT[rows][row, at]) == pytest.approx(
            float(p_V[one.decoded.ids_BT[row, at]].log()), abs=1e-4
        )
    assert bool((found.entropy_BT[rows][:, :length][~one.decoded.sampled_BT] == 0).all())
    assert bool((found.hidden_BTD[rows][:, :length][~one.decoded.kept_BT] == 0).all())


@pytest.mark.parametrize("kind", LATENT)
def test_latents_that_were_drawn_are_scored_by_their_density(kind: str) -> None:
    made, held = written(kind, 0.3)
    with torch.no_grad():
        found = scored(made.model, held, micro_rows=4)
        apart = scored(other(), held, micro_rows=4)
    at = 0
    for one in held:
        number, length = one.decoded.ids_BT.shape
        assert found.latent_logprobs_BT is not None and one.latent_logprobs_BT is not None
        mine = found.latent_logprobs_BT[at : at + number, :length]
        torch.testing.assert_close(mine, one.latent_logprobs_BT, atol=1e-2, rtol=1e-4)
        mine = found.logprobs_BT[at : at + number, :length]
        torch.testing.assert_close(mine, one.decoded.logprobs_BT, atol=1e-4, rtol=0)
        at += number
    assert apart.latent_logprobs_BT is not None and found.latent_logprobs_BT is not None
    assert float(apart.latent_logprobs_BT.sum()) < float(found.latent_logprobs_BT.sum())
    again: Scored = scored(made.model, held[0], micro_rows=8)
    assert again.latent_logprobs_BT is not None
    name = "semantic" if kind == "semantic" else "visual"
    assert bool(gradients(made.model, again.latent_logprobs_BT.sum())[f"latents.{name}_out.weight"].any())
    with pytest.raises(UsageError, match='scored with feed "given": the latents are actions'):
        scored(made.model, held, feed="own", micro_rows=4)


@pytest.mark.parametrize("kind", LATENT)
def test_latents_of_queries_are_those_of_their_rollouts_with_gradient(kind: str) -> None:
    made, held = written(kind)
    groups, tokens = [one.shown for one in held], made.model.latent_config.tokens
    with calls(made.model) as seen:
        found = query_latents(made.model, groups, made.objective.form)
    form = made.objective.form
    assert len(seen) == 1 + form.visual_steps + form.semantic
    assert found.region_Q.tolist() == [0, 0, 1]
    openings_B = [openings(one.decoded, one.decoded.latents, tokens) for one in held]
    total = torch.zeros(())
    for values_QX, name in ((found.visual_QKD, "visual_TD"), (found.semantic_QE, "semantic_SE")):
        rows = [getattr(one, name) for one in openings_B]
        assert (values_QX is None) == (rows[0] is None)
        if values_QX is not None:
            torch.testing.assert_close(values_QX, torch.cat(rows)[::3], atol=1e-4, rtol=1e-4)
            total = total + values_QX.square().sum()
    if form.visual_steps:
        assert bool(gradients(made.model, total)["latents.visual_out.weight"].any())


def test_bad_calls() -> None:
    made, held = written("direct")
    for says, give in (("micro_rows 0", {"micro_rows": 0}), ("no rollouts", {"rollouts": [], "micro_rows": 1})):
        with pytest.raises(UsageError, match=says):
            scored(talkative(), **{"rollouts": held, **give})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="different noise"):
        scored(talkative(), [written("slvr")[1][0], written("slvr", 0.3)[1][0]], micro_rows=8)
    with pytest.raises(UsageError, match="latents of replies that have none"):
        query_latents(talkative(), held[0].shown, made.objective.form)
