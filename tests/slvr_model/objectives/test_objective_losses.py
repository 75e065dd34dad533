"""Each loss against its formula, computed another way; which targets carry gradient; how samples are weighed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.batches import Batch
from slvr_model.efficiency.packed import packed_batch
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.config import AlignmentConfig
from slvr_model.objectives.latent import slot_r2
from slvr_model.objectives.targets.base import TargetProvider, TensorTarget
from slvr_model.objectives.targets.filters import FilterBank
from slvr_model.objectives.targets.pooled import PooledTokens
from slvr_model.objectives.targets.scenes import SceneFeatures
from slvr_model.regions import box_tokens
from slvr_model.rows import Row, rows_of
from slvr_model.tiny import MERGE, new_tiny
from tests.slvr_model.objectives import objective_support as support

ARMS = ("direct", "text", "lvr", "semantic", "slvr", "pause", "multi_encoder")
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def alone(model: SlvrModel, batch: Batch, feed: str) -> tuple[Tensor, Tensor]:
    """States and logits at every position."""
    out = model.latent_forward(batch, feed)  # type: ignore[arg-type]
    return out.hidden_BLD, out.hidden_BLD @ model.lm_head.weight.T


@pytest.mark.parametrize("kind", ["direct", "text", "pause"])
def test_answer_loss_of_the_controls_is_the_mean_of_their_samples_means(kind: str) -> None:
    model, objective = support.tiny()[0], support.opened(kind)
    batch = support.batch(objective)
    with torch.no_grad():
        terms = objective.losses(model, batch, step_share=0)
        _, logits_BLV = alone(model, batch, "pause")
    torch.testing.assert_close(terms.total.double(), support.slow_answer(model, logits_BLV, batch.labels_BL), **CLOSE)
    assert list(terms.named) == ["answer"]


def test_a_pause_feeds_the_embedding_of_its_token_and_is_supervised_nowhere() -> None:
    model, objective = support.tiny()[0], support.opened("pause")
    batch = support.batch(objective)
    slots_BL = batch.ids_BL == model.latent_config.tokens.vis_slot
    assert slots_BL.sum(1).tolist() == [model.latent_config.visual_slots] * 4
    assert not (batch.labels_BL[slots_BL] >= 0).any()
    public = model.text(
        inputs_embeds=model.embed(batch, model.encode(batch)),
        position_ids=batch.positions_3BL,
        attention_mask=batch.kept_BL.long(),
    ).last_hidden_state
    torch.testing.assert_close(public[batch.kept_BL], alone(model, batch, "pause")[0][batch.kept_BL])


@pytest.mark.parametrize("feed", ["teacher", "own"])
def test_visual_and_semantic_losses_from_boxes_and_embeddings(feed: str) -> None:
    model, objective = support.tiny()[0], support.opened("slvr", feed=feed, visual_weight=0.3, semantic_weight=2.0)
    chosen = support.samples()
    batch = support.batch(objective)
    tokens, heads = model.latent_config.tokens, model.latents
    with torch.no_grad():
        terms = objective.losses(model, batch, step_share=0)
        hidden_BLD, logits_BLV = alone(model, batch, feed)
        visual, semantic = [], []
        for number, sample in enumerate(chosen):
            row = support.asked(sample)
            h, w = (side // MERGE for side in row.pictures[0].grid[1:])
            merged = model.encode(objective.collate([support.row(objective, sample)]))
            inside = box_tokens(sample.box, sample.picture.size, (h, w))
            ids = batch.ids_BL[number].tolist()
            slots = [at for at, token in enumerate(ids) if token == tokens.vis_slot]
            errors = []
            for k, at in enumerate(slots):
                low, high = k * len(inside) // len(slots), -(-(k + 1) * len(inside) // len(slots))
                mean = torch.stack([merged[token] for token in inside[low:high]]).mean(0)
                wanted = (mean - heads.visual_mean_D) / heads.visual_std_D
                errors += [float(one) for one in (heads.visual_out(hidden_BLD[number, at - 1]) - wanted) ** 2]
            visual.append(sum(errors) / len(errors))
            told = heads.semantic_out(hidden_BLD[number, ids.index(tokens.sem_slot) - 1]).double()
            known = torch.from_numpy(sample.embedding).double()
            semantic.append(float(1 - told @ known / told.norm() / known.norm()))
    answer = support.slow_answer(model, logits_BLV, batch.labels_BL)
    assert float(terms.named["answer"]) == pytest.approx(float(answer), rel=1e-5)
    assert float(terms.named["visual"]) == pytest.approx(sum(visual) / 4, rel=1e-4)
    assert float(terms.named["semantic"]) == pytest.approx(sum(semantic) / 4, rel=1e-4)
    parts = terms.numbers()
    expected = parts["answer"] + 0.3 * parts["visual"] + 2.0 * parts["semantic"]
    assert float(terms.total) == pytest.approx(expected, rel=1e-6)
    assert parts["semantic_cosine"] == pytest.approx(1 - sum(semantic) / 4, abs=1e-5)


def test_what_weighs_nothing_is_computed_and_logged_and_pulls_at_nothing() -> None:
    model, objective = support.tiny()[0], support.opened("slvr", visual_weight=0.0)
    terms = objective.losses(model, support.batch(objective), step_share=0)
    assert terms.numbers()["visual"] > 0
    reached = support.gradients(model, terms.total)
    assert "latents.visual_out.weight" not in reached or not reached["latents.visual_out.weight"].any()
    assert reached["latents.semantic_out.weight"].any()


def test_r2_is_against_the_mean_of_each_slot() -> None:
    dice = torch.Generator().manual_seed(0)
    target_RKD = torch.randn(5, 2, 6, generator=dice) + torch.tensor([[0.0], [40.0]])
    predicted_RKD = target_RKD + 0.3 * torch.randn(5, 2, 6, generator=dice)
    below = sum(float((target_RKD[r, k] - target_RKD[:, k].mean(0)).square().sum()) for r in range(5) for k in range(2))
    above = float((predicted_RKD - target_RKD).square().sum())
    found = slot_r2(predicted_RKD.flatten(0, 1), target_RKD.flatten(0, 1), 2)
    assert found is not None and float(found) == pytest.approx(1 - above / below, rel=1e-4)
    guessed = slot_r2(target_RKD.mean(0).repeat(5, 1), target_RKD.flatten(0, 1), 2)
    assert guessed is not None and float(guessed) == pytest.approx(0, abs=1e-4)
    assert slot_r2(target_RKD[0], target_RKD[0], 2) is None, "one region has no spread"


@pytest.mark.parametrize("feed", ["teacher", "own"])
def test_visual_targets_carry_no_gradient(feed: str) -> None:
    """The gradient that reaches the merger is that of the predictions, with targets that are constants."""
    model, _ = new_tiny(3)
    objective = support.opened("lvr", model, feed=feed)
    batch = support.batch(objective)
    merged = model.encode(batch)
    assert merged is not None
    held = merged.detach().requires_grad_()
    model.encode = lambda _: held  # type: ignore[method-assign]
    found = torch.autograd.grad(objective.losses(model, batch, step_share=0).named["visual"], held)[0]
    out = model.latent_forward(batch, feed)  # type: ignore[arg-type]
    constant = torch.tensor(out.target.visual_TD.tolist())  # type: ignore[union-attr]
    expected = torch.autograd.grad((out.visual_TD - constant).square().mean(), held)[0]
    assert bool(expected.any())
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("provider", [PooledTokens(), FilterBank(), SceneFeatures.of(AlignmentConfig())])
def test_providers_give_targets_without_gradient(provider: TargetProvider) -> None:
    model, objective = support.tiny()[0], support.opened("lvr")
    batch = support.batch(objective)
    visual_MD = model.encode(batch)
    assert batch.pixels_PX is not None and visual_MD is not None and visual_MD.requires_grad
    target = provider.targets(model, replace(batch, pixels_PX=batch.pixels_PX.clone().requires_grad_()), visual_MD)
    assert isinstance(target, TensorTarget)
    assert not target.values_ND.requires_grad and bool(target.values_ND.any())


def test_the_semantic_target_stands_still_and_the_released_one_moves() -> None:
    model = support.tiny()[0]
    for legacy in (False, True):
        objective = support.opened("semantic", legacy_moving_target=legacy)
        batch = support.batch(objective)
        terms = objective.losses(model, batch, step_share=0)
        moved = support.gradients(model, terms.named["semantic"])
        aimed = moved.get("latents.semantic_in.weight")
        assert (aimed is not None and bool(aimed.any())) is legacy


def test_the_released_moving_target_is_the_state_against_what_is_fed() -> None:
    model, objective = support.tiny()[0], support.opened("slvr", legacy_moving_target=True)
    batch = support.batch(objective)
    with torch.no_grad():
        terms = objective.losses(model, batch, step_share=0)
        hidden_BLD, _ = alone(model, batch, "teacher")
        errors = []
        for number, sample in enumerate(support.samples()):
            at = batch.ids_BL[number].tolist().index(model.latent_config.tokens.sem_start)
            known = torch.from_numpy(sample.embedding)
            fed = model.latents.semantic_in.weight @ (known / known.norm()) + model.latents.semantic_in.bias
            errors.append(float(((hidden_BLD[number, at] - fed) ** 2).mean()))
    assert float(terms.named["semantic"]) == pytest.approx(sum(errors) / 4, rel=1e-4)


@pytest.mark.parametrize("kind", ARMS)
def test_a_loss_is_the_same_however_samples_are_cut_into_batches(kind: str) -> None:
    """Means within samples, then over samples; the triplet loss alone compares the samples of a batch."""
    model, objective = support.tiny()[0], support.opened(kind)
    with torch.no_grad():
        whole = objective.losses(model, support.batch(objective), step_share=0)
        parts = [
            objective.losses(model, support.batch(objective, chosen), step_share=0, samples=4.0)
            for chosen in ((0,), (1, 3), (2,))
        ]
    for name, term in whole.named.items():
        if name != "triplet":
            torch.testing.assert_close(sum(part.named[name] for part in parts), term, rtol=1e-4, atol=1e-5)


def test_by_tokens_a_long_reply_weighs_more() -> None:
    model, by_token = support.tiny()[0], support.opened("text", normalisation="token")
    batch = support.batch(by_token)
    with torch.no_grad():
        found = by_token.losses(model, batch, step_share=0).total
        _, logits_BLV = alone(model, batch, "pause")
    flat = torch.nn.functional.cross_entropy(logits_BLV[:, :-1].flatten(0, 1), batch.labels_BL[:, 1:].flatten())
    torch.testing.assert_close(found, flat, **CLOSE)
    assert batch.labels_BL.ge(0).sum(1).unique().numel() > 1, "replies of one length would show nothing"


def test_packed_questions_have_the_losses_of_single_ones() -> None:
    model, objective = support.tiny()[0], support.opened("slvr", feed="own")
    both = support.samples()[2:]
    single = [support.row(objective, sample) for sample in both]
    row = support.asked(both[0])
    cut = row.prefix.index(support.tiny()[1].tokenizer.convert_tokens_to_ids("<|vision_end|>")) + 1
    blocks = [
        replace(one.blocks[0], prompt=support.asked(sample).prefix[cut:])
        for one, sample in zip(single, both, strict=True)
    ]
    packed = objective.collate([Row(row.prefix[:cut], tuple(blocks), row.pictures)])
    with torch.no_grad():
        expected = objective.losses(model, objective.collate(single), step_share=1)
        found = objective.losses(model, packed, step_share=1)
    for name, term in expected.named.items():
        torch.testing.assert_close(found.named[name], term, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["text", "slvr", "multi_encoder"])
def test_samples_packed_into_one_row_have_the_losses_of_single_ones(kind: str) -> None:
    """Also where some of them are hidden from picture and question."""
    hidden = {} if kind == "text" else {"bottleneck": 0.5, "feed": "own"}
    model, objective = support.tiny()[0], support.opened(kind, echo=True, **hidden)
    rows = [support.row(objective, sample) for sample in support.samples()]
    with torch.no_grad():
        expected = objective.losses(model, objective.collate(rows), step_share=0, seed=3)
        found = objective.losses(model, packed_batch(rows, model.layout, [[0, 1], [2, 3]]), step_share=0, seed=3)
    assert kind == "text" or 0 < expected.numbers()["hidden"] < 1
    for name, term in expected.named.items():
        torch.testing.assert_close(found.named[name], term, rtol=1e-4, atol=1e-5)


def test_a_slot_for_every_token_of_the_region() -> None:
    model, objective = support.tiny()[0], support.opened("lvr", targets="all")
    chosen = support.samples()
    batch = support.batch(objective)
    sizes, targets = [], []
    for sample in chosen:
        row = support.asked(sample)
        h, w = (side // MERGE for side in row.pictures[0].grid[1:])
        inside = box_tokens(sample.box, sample.picture.size, (h, w))
        merged = model.encode(objective.collate([support.row(objective, sample)]))
        assert merged is not None
        sizes.append(len(inside))
        targets.append(model.latents.standardised(merged[inside]))
    assert (batch.ids_BL == model.latent_config.tokens.vis_slot).sum(1).tolist() == sizes
    assert len(set(sizes)) > 1, "regions of one size would show nothing"
    with torch.no_grad():
        out = model.latent_forward(batch)
        terms = objective.losses(model, batch, step_share=0)
    assert out.target.visual_TD is not None
    torch.testing.assert_close(out.target.visual_TD, torch.cat(targets), **CLOSE)
    errors = [float(one.square().mean()) for one in (out.visual_TD - out.target.visual_TD).split(sizes)]
    assert float(terms.named["visual"]) == pytest.approx(sum(errors) / 4, rel=1e-4)
    assert batch.grids_N3 is not None and len(batch.grids_N3) == 3, "the picture that two rows share is kept once"


def test_batches_without_what_an_objective_needs_are_named() -> None:
    model, objective = support.tiny()[0], support.opened("slvr", feed="own")
    batch = support.batch(objective)
    with pytest.raises(UsageError, match="give every semantic slot one"):
        objective.losses(model, replace(batch, semantics_SE=None), step_share=0)
    with pytest.raises(UsageError, match="give every visual span its box"):
        objective.losses(model, replace(batch, regions=None), step_share=0)
    with pytest.raises(UsageError, match="nothing in the batch is supervised"):
        objective.losses(model, replace(batch, labels_BL=torch.full_like(batch.labels_BL, -100)), step_share=0)
    with pytest.raises(UsageError, match="samples 0"):
        objective.losses(model, batch, step_share=0, samples=0.0)
    with pytest.raises(UsageError, match=r"step_share 1\.5"):
        objective.losses(model, batch, step_share=1.5)
    text = support.tiny()[1].tokenizer(["what is it"], return_tensors="pt")
    with pytest.raises(UsageError, match="nothing in the batch is supervised"):
        support.opened("direct").losses(model, objective.collate(rows_of(text, model.layout)), step_share=0)
