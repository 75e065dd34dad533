"""Packed rows: what a sample computes in a pack is what it computes alone, in every feed, gradient included."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from slvr_data.errors import UsageError
from slvr_model.batches import Batch, collate
from slvr_model.efficiency.packed import packed, packed_batch
from slvr_model.efficiency.vocabulary_loss import label_losses
from slvr_model.modeling import Feed, SlvrModel
from slvr_model.rows import Block, Row
from tests.slvr_model.support import END, asked_rows, layout, model, picture, prefix, shared_model, taught, words


def samples() -> list[Row]:
    """Different pictures, a shared one, several questions and several regions, two pictures, a word alone."""
    shared = picture(3, 2, 5)
    two = taught(3, 2, ((0, 0, 9, 9), (3, 3, 30, 30)))
    return [
        Row(prefix(seed=1), (taught(0),), (picture(2, 3, 1),)),
        Row(prefix(seed=2), (taught(1, 6), taught(2, 3)), (shared,)),
        Row(prefix(seed=9), (Block(words(2, 3), (*words(3, 4), END)),), (picture(1, 1, 9),)),
        Row(
            prefix(2, seed=3), (Block(two.prompt, two.reply, two.boxes, (1, 0), two.semantics_SE),), (shared, picture())
        ),
        Row(prefix(seed=4), (taught(7, 1),), (picture(4, 4, 4),)),
    ]


def losses(of: SlvrModel, batch: Batch, feed: Feed) -> dict[str, Tensor]:
    """Of every label and every latent, in reading order."""
    out = of.latent_forward(batch, feed)
    target = out.target
    assert target.visual_TD is not None and out.semantic_SE is not None and target.semantic_SE is not None
    return {
        "answer": label_losses(out.hidden_BLD, of.lm_head.weight, batch.labels_BL).loss_N,
        "visual": (out.visual_TD - target.visual_TD).square().mean(-1),
        "semantic": 1 - functional.cosine_similarity(out.semantic_SE, target.semantic_SE),
    }


PACKS: tuple[Any, ...] = (None, [[0, 1, 2, 3, 4]], [[3, 0], [4, 2, 1]], [[2], [1, 4], [3, 0]])


@pytest.mark.parametrize("feed", ["teacher", "own", "detached"])
@pytest.mark.parametrize("packs", PACKS[1:])
@torch.no_grad()
def test_a_loss_in_a_pack_is_the_loss_alone(feed: Feed, packs: list[list[int]]) -> None:
    of, rows = shared_model(), samples()
    together = losses(of, packed_batch(rows, layout(), packs), feed)
    with_latents = [n for n in range(len(rows)) if n != 2]
    alone = {n: losses(of, collate([rows[n]], layout()), feed) for n in with_latents}
    plain = collate([rows[2]], layout())
    answer = label_losses(of.latent_forward(plain, "pause").hidden_BLD, of.lm_head.weight, plain.labels_BL).loss_N
    order = [n for pack in packs for n in pack]
    for name, found in together.items():
        parts = [alone[n][name] if n != 2 else answer for n in order if n != 2 or name == "answer"]
        torch.testing.assert_close(found, torch.cat(parts), atol=1e-5, rtol=0)


@pytest.mark.parametrize("feed", ["teacher", "own"])
def test_gradients_of_a_pack_are_those_of_the_samples(feed: Feed) -> None:
    rows = [row for number, row in enumerate(samples()) if number != 2]
    gradients = []
    for batches in ([packed_batch(rows, layout())], [collate([row], layout()) for row in rows]):
        of = model()
        for batch in batches:
            sum(loss.sum() for loss in losses(of, batch, feed).values()).backward()  # type: ignore[union-attr]
        gradients.append({name: weight.grad for name, weight in of.named_parameters() if weight.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 40
    for name, found in gradients[0].items():
        expected = gradients[1][name]
        assert found is not None and expected is not None
        torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=0, msg=name)


@torch.no_grad()
def test_the_mask_is_what_keeps_samples_apart() -> None:
    """Without it the second sample reads the first: the equality above can fail."""
    of, rows = shared_model(), samples()[:2]
    batch = packed_batch(rows, layout())
    assert batch.mask_BLL is not None
    causal_LL = torch.ones_like(batch.mask_BLL[0]).tril()
    kept = losses(of, batch, "teacher")["answer"]
    leaking = losses(of, Batch(**{**batch.__dict__, "mask_BLL": causal_LL[None]}), "teacher")["answer"]
    assert (kept - leaking).abs().max() > 0.01


def test_positions_restart_and_blocks_count_on() -> None:
    rows = samples()
    batch = packed_batch(rows, layout(), [[1, 0], [2, 3, 4]])
    alone = [collate([row], layout()) for row in rows]
    at = 0
    for number in (1, 0):
        length = alone[number].ids_BL.shape[1]
        assert torch.equal(batch.positions_3BL[:, 0, at : at + length], alone[number].positions_3BL[:, 0])
        assert torch.equal(batch.ids_BL[0, at : at + length], alone[number].ids_BL[0])
        at += length
    assert batch.kept_BL[0].sum() == at and not batch.kept_BL[0, at:].any()
    assert (batch.blocks_BL[0, at:] == -1).all() and (batch.ids_BL[0, at:] == layout().pad_token).all()
    for row, blocks in ((0, [0, 1, 2, 0, 3, -1]), (1, [0, 1, 0, 2, 0, 3])):
        assert batch.blocks_BL[row].unique_consecutive().tolist()[: len(blocks)] == blocks


def test_one_sample_alone_is_a_pack() -> None:
    for row in samples():
        one, alone = collate([row], layout()), packed_batch([row], layout())
        for name in ("ids_BL", "positions_3BL", "blocks_BL", "labels_BL", "kept_BL"):
            assert torch.equal(getattr(one, name), getattr(alone, name)), name
        assert torch.equal(one.seen(), alone.seen())


def test_a_label_at_the_first_position_is_not_predicted_by_the_sample_before() -> None:
    bare = Row((), (Block((), (*words(2, 1), END)),))
    batch = packed_batch([bare, bare], layout())
    assert batch.labels_BL[0].tolist() == [-100, *bare.blocks[0].reply[1:]] * 2
    assert len(label_losses(torch.randn(1, 6, 8), torch.randn(96, 8), batch.labels_BL).loss_N) == 4


def test_a_pack_may_be_longer_than_the_limit_and_a_sample_not() -> None:
    small = layout().__class__(**{**layout().__dict__, "limit": 40})
    rows = asked_rows((4, 7, 2))
    assert packed_batch(rows * 2, small).ids_BL.shape[1] > 40
    with pytest.raises(UsageError, match=r"row 1: .*the limit is 40"):
        packed_batch([rows[0], Row(prefix(), (Block(words(60, 1)),), (picture(),))], small)


@pytest.mark.parametrize("packs", [[[0, 1]], [[0, 1], [1, 2]], [[0, 1, 2], []], [[0, 1, 3]]])
def test_packs_hold_each_sample_once(packs: list[list[int]]) -> None:
    with pytest.raises(UsageError, match="each sample once"):
        packed_batch(asked_rows(), layout(), packs)


def test_a_padded_batch_can_be_packed() -> None:
    rows = asked_rows((4, 7, 2))
    wanted = packed_batch(rows, layout(), [[0, 1], [2]])
    for side in ("left", "right"):
        found = packed(collate(rows, layout(), side), [2, 1], layout().pad_token)  # type: ignore[arg-type]
        for name in ("ids_BL", "positions_3BL", "blocks_BL", "labels_BL", "kept_BL", "mask_BLL", "image_G"):
            assert torch.equal(getattr(wanted, name), getattr(found, name)), name
    for sizes in ([2], [3, 0], [2, 2], []):
        with pytest.raises(UsageError, match="but the batch has 3"):
            packed(collate(rows, layout()), sizes, 0)
