"""The bottleneck hides: behind the latents, nothing of picture or question is left, however deep one looks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from slvr_model.batches import Batch
from slvr_model.latents import Latents
from slvr_model.objectives.answers import Reading, read
from slvr_model.objectives.base import Objective
from slvr_model.objectives.bottleneck import Hidden, Tails, chosen, hidden_view
from slvr_model.objectives.feeding import Feeding
from slvr_model.rows import IGNORED, Row
from tests.slvr_model.objectives import objective_support as support
from tests.slvr_model.sft.test_sft_processes import apart

KINDS = ("lvr", "semantic", "slvr")


def opened(kind: str, feed: str = "teacher", probability: float = 1.0) -> Objective:
    return support.opened(kind, feed=feed, echo=True, bottleneck=probability)


def given(batch: Batch) -> Latents:
    with torch.no_grad():
        return support.tiny()[0].latent_forward(batch).target


def reading(objective: Objective, batch: Batch, fed: Latents, probability: float = 1.0) -> Reading:
    model = support.tiny()[0]
    hidden_BLD = model.latent_forward(batch, "given", given=fed).hidden_BLD
    mark = objective.mark  # type: ignore[attr-defined]
    return read(model, batch, hidden_BLD, fed, mark=mark, probability=probability, seed=0)


def behind(objective: Objective, batch: Batch, fed: Latents, probability: float = 1.0) -> Tensor:
    """States that predict what stands behind the latents, in reading order."""
    labelled = reading(objective, batch, fed, probability).labelled
    tails = Tails.of(batch, support.tiny()[0].latent_config.tokens)
    mine_N = tails.behind_BL[labelled.row_N, labelled.at_N]
    order_N = (labelled.row_N * 10_000 + labelled.at_N)[mine_N].argsort()
    return labelled.states_ND[mine_N][order_N].detach()


def other_picture(batch: Batch) -> Batch:
    assert batch.pixels_PX is not None
    return replace(batch, pixels_PX=batch.pixels_PX.flip(0) * 0.5 + 0.3)


def other_question(batch: Batch) -> Batch:
    ids_BL = batch.ids_BL.clone()
    ordinary_BL = (batch.blocks_BL == 0) & (ids_BL > 300)
    assert bool(ordinary_BL.any(1).all())
    ids_BL[ordinary_BL] = 300 + (ids_BL[ordinary_BL] + 17) % 100
    return replace(batch, ids_BL=ids_BL)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", [other_picture, other_question])
def test_neither_picture_nor_question_reaches_a_hidden_answer(kind: str, change: object) -> None:
    objective = opened(kind)
    batch = support.batch(objective)
    fed = given(batch)
    changed = change(batch)  # type: ignore[operator]
    assert torch.equal(behind(objective, batch, fed), behind(objective, changed, fed))
    seen, seen_changed = (behind(objective, one, fed, probability=0.0) for one in (batch, changed))
    assert not torch.allclose(seen, seen_changed, atol=1e-3), "where nothing is hidden, the change is seen"


@pytest.mark.parametrize("kind", KINDS)
def test_latents_reach_a_hidden_answer(kind: str) -> None:
    objective = opened(kind)
    batch = support.batch(objective)
    fed = given(batch)
    turned = Latents(*(None if one is None else one.roll(1, 1) for one in (fed.visual_TD, fed.semantic_SE)))
    assert not torch.allclose(behind(objective, batch, fed), behind(objective, batch, turned), atol=1e-3)


def test_the_second_pass_is_the_mask_over_the_whole_batch() -> None:
    """Also where questions are packed: hidden and seeing samples in one row."""
    model, objective = support.tiny()[0], opened("slvr")
    both = support.samples()[2:]
    single = [support.row(objective, sample) for sample in both]
    row = support.asked(both[0])
    cut = row.prefix.index(support.tiny()[1].tokenizer.convert_tokens_to_ids("<|vision_end|>")) + 1
    blocks = [
        replace(one.blocks[0], prompt=support.asked(sample).prefix[cut:])
        for one, sample in zip(single, both, strict=True)
    ]
    packed = Row(row.prefix[:cut], tuple(blocks), row.pictures)
    for batch in (support.batch(objective), objective.collate([packed, packed])):
        fed = given(batch)
        tails = Tails.of(batch, model.latent_config.tokens)
        hidden_S = torch.tensor([True, False, False, True])
        part = Hidden.of(model, batch, tails, hidden_S, fed)
        small = model.latent_forward(part.batch, "given", given=part.latents).hidden_BLD
        whole = model.latent_forward(hidden_view(batch, tails, hidden_S), "given", given=fed).hidden_BLD
        kept = part.batch.kept_BL
        expected = whole[part.row_HT[kept], part.at_HT[kept]]
        torch.testing.assert_close(small[kept], expected, rtol=1e-4, atol=1e-5)
        free_BL = batch.kept_BL & ~tails.of_samples(hidden_S)
        usual = model.latent_forward(batch, "given", given=fed).hidden_BLD
        torch.testing.assert_close(whole[free_BL], usual[free_BL], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("feed", ["teacher", "own"])
def test_the_answer_loss_of_hidden_samples(feed: str) -> None:
    """Up to the latents from the usual forward, behind them from the masked one."""
    model, objective = support.tiny()[0], opened("slvr", feed)
    batch = support.batch(objective)
    with torch.no_grad():
        terms = objective.losses(model, batch, step_share=0, seed=1)
        out = model.latent_forward(batch, feed)  # type: ignore[arg-type]
        fed = out.target if feed == "teacher" else Latents(out.visual_TD, out.semantic_SE)
        tails = Tails.of(batch, model.latent_config.tokens)
        blind = model.latent_forward(
            hidden_view(batch, tails, torch.ones(4, dtype=torch.bool)), "given", given=fed
        ).hidden_BLD
        before_BL = torch.zeros_like(tails.behind_BL)
        before_BL[:, :-1] = tails.behind_BL[:, 1:]  # the state before a label
        mixed_BLV = torch.where(before_BL[..., None], blind, out.hidden_BLD) @ model.lm_head.weight.T
    expected = support.slow_answer(model, mixed_BLV, batch.labels_BL)
    assert float(terms.named["answer"]) == pytest.approx(float(expected), rel=1e-5)
    assert terms.numbers()["hidden"] == 1.0


def test_a_hidden_answer_teaches_the_latents_unless_they_are_detached() -> None:
    model = support.tiny()[0]
    for feed, reaches in (("own", True), ("detached", False), ("teacher", False)):
        objective = opened("lvr", feed)
        answer = objective.losses(model, support.batch(objective, (0, 1)), step_share=0).named["answer"]
        found = support.gradients(model, answer).get("latents.visual_out.weight")
        assert (found is not None and bool(found.any())) is reaches, feed


def test_what_has_no_echo_is_never_hidden() -> None:
    model, objective = support.tiny()[0], opened("slvr")
    rows = [support.row(objective, sample, lettered=n % 2 == 0) for n, sample in enumerate(support.samples())]
    batch = objective.collate(rows)
    tails = Tails.of(batch, model.latent_config.tokens)
    assert tails.with_mark(batch, objective.mark).tolist() == [False, True, False, True]  # type: ignore[attr-defined]
    assert objective.losses(model, batch, step_share=0).numbers()["hidden"] == 0.5
    asked = support.opened("direct", echo=True)
    plain = support.batch(asked)
    nothing = Tails.of(plain, model.latent_config.tokens)
    assert not nothing.tail_BL.any() and not nothing.behind_BL.any()
    assert not nothing.with_mark(plain, asked.mark).any()  # type: ignore[attr-defined]


def test_labels_of_hidden_and_seeing_parts_are_all_labels() -> None:
    objective = opened("slvr")
    batch = support.batch(objective)
    labelled = reading(objective, batch, given(batch), probability=0.5).labelled
    found = set(zip(labelled.row_N.tolist(), labelled.at_N.tolist(), strict=True))
    assert found == set(map(tuple, (batch.labels_BL != IGNORED).nonzero().tolist())) and len(found) == len(
        labelled.ids_N
    )
    assert torch.equal(batch.ids_BL[labelled.row_N, labelled.at_N], labelled.ids_N)


def test_chance_is_the_seeds_alone() -> None:
    marked_S = torch.arange(4000) % 2 == 0
    one = chosen(marked_S, 0.3, seed=7)
    assert torch.equal(one, chosen(marked_S, 0.3, seed=7)) and not torch.equal(one, chosen(marked_S, 0.3, seed=8))
    assert not one[~marked_S].any() and 0.26 < float(one[marked_S].float().mean()) < 0.34


def test_the_bottleneck_waits_for_the_end_of_teaching_by_targets() -> None:
    config = support.opened("slvr", feed="schedule", echo=True, bottleneck=0.5, teacher_share=0.6).config
    assert [Feeding.at(config, share).bottleneck for share in (0.0, 0.59, 0.6, 1.0)] == [0.0, 0.0, 0.5, 0.5]
    early = config.model_copy(update={"bottleneck_from": 0.2})
    assert [Feeding.at(early, share).bottleneck for share in (0.1, 0.2)] == [0.0, 0.5]
    always = support.opened("slvr", feed="own", echo=True, bottleneck=0.5).config
    assert Feeding.at(always, 0.0).bottleneck == 0.5


@pytest.mark.slow
def test_processes_that_hide_nothing_stay_in_step_with_those_that_hide() -> None:
    """Layers that are shared out are gathered in step: an unequal number of passes hangs, or mixes layers up."""
    assert "equal: loss" in apart("-m", "tests.slvr_model.objectives.sharded_reading")
