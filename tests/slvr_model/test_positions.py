"""M-RoPE positions: as the public class counts them, in training, packed rows, padding and cached steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.cache_utils import DynamicCache

from slvr_data.errors import UsageError
from slvr_model.batches import Batch, collate
from slvr_model.modeling import SlvrModel
from slvr_model.rows import Block, Picture, Row
from tests.slvr_model.support import (
    IMAGE,
    SLOTS,
    TOKENS,
    asked_rows,
    layout,
    left,
    model,
    picture,
    prefix,
    shared_model,
    taught,
    words,
)

TOLERANCE = {"atol": 1e-4, "rtol": 0.0}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=3), min_size=1, max_size=3),
    st.sampled_from(["left", "right"]),
)
def test_as_the_public_class_counts(grids: list[list[tuple[int, int]]], side: str) -> None:
    rows = [
        Row(prefix(len(of_row)), (Block(words(3, n)),), tuple(picture(h, w, h * 9 + w) for h, w in of_row))
        for n, of_row in enumerate(grids)
    ]
    batch = collate(rows, layout(), side)  # type: ignore[arg-type]
    every = torch.tensor([(1, 2 * h, 2 * w) for of_row in grids for h, w in of_row]).reshape(-1, 3)
    expected, deltas = shared_model().model.get_rope_index(
        batch.ids_BL, batch.kinds(), image_grid_thw=every, attention_mask=batch.kept_BL
    )
    kept = batch.kept_BL.expand(3, -1, -1)
    assert torch.equal(batch.positions_3BL[kept], expected[kept])
    assert torch.equal(batch.next_position(), batch.kept_BL.sum(1) + deltas[:, 0])


def run(of: SlvrModel, batch: Batch, feed: str = "own") -> torch.Tensor:
    with torch.no_grad():
        return of.latent_forward(batch, feed).hidden_BLD  # type: ignore[arg-type]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("feed", ["teacher", "own", "pause"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_padded_batch_is_single_rows(side: str, feed: str, attention: str) -> None:
    of = model()
    of.set_attn_implementation(attention)
    shapes = [(1, 1), (2, 3), (4, 2)]
    rows = [Row(prefix(), (taught(n, 3 + 4 * n),), (picture(*shapes[n], seed=n),)) for n in range(3)]
    rows.append(Row(prefix(2), (taught(7, 2, ((0, 0, 9, 9), (3, 3, 30, 30))),), (picture(seed=8), picture(3, 2, 9))))
    batch = collate(rows, layout(), side)  # type: ignore[arg-type]
    together = run(of, batch, feed)
    for number, row in enumerate(rows):
        alone = run(of, collate([row], layout()), feed)
        torch.testing.assert_close(together[number][batch.kept_BL[number]], alone[0], **TOLERANCE)


@pytest.mark.parametrize("feed", ["teacher", "own", "pause"])
def test_a_packed_question_is_the_question_alone(feed: str) -> None:
    blocks = (
        taught(0, 5),
        taught(1, 2),
        Block(words(4, 9), words(3, 10)),
        taught(2, 3, ((0, 0, 9, 9), (3, 3, 30, 30))),
    )
    shown = (picture(3, 2, 5),)
    packed = collate([Row(prefix(), blocks, shown), Row(prefix(), blocks[2:], shown)], layout())
    states = run(shared_model(), packed, feed)
    for row, offset in ((0, 0), (1, 2)):
        for number, block in enumerate(blocks[offset:], 1):
            alone = collate([Row(prefix(), (block,), shown)], layout())
            expected = run(shared_model(), alone, feed)[0][alone.blocks_BL[0] == 1]
            torch.testing.assert_close(states[row][packed.blocks_BL[row] == number], expected, **TOLERANCE)


@torch.no_grad()
def test_a_cached_step_is_the_full_forward() -> None:
    of, batch = shared_model(), left(asked_rows((5, 9, 2)))
    inputs = of.embed(batch, of.encode(batch))
    full = of.run(inputs, batch.positions_3BL, batch.kept_BL.long())
    cut, cache = inputs.shape[1] - 2, DynamicCache(config=of.text.config)
    seen = batch.seen()
    parts = [of.run(inputs[:, :cut], batch.positions_3BL[..., :cut], of.mask_of(seen[:, :cut, :cut]), cache)]
    for at in range(cut, inputs.shape[1]):
        now = slice(at, at + 1)
        mask = of.mask_of(seen[:, now, : at + 1])
        parts.append(of.run(inputs[:, now], batch.positions_3BL[..., now], mask, cache))
    torch.testing.assert_close(torch.cat(parts, 1)[batch.kept_BL], full[batch.kept_BL], **TOLERANCE)


def test_an_earlier_batch_leaves_nothing_behind() -> None:
    """The public class keeps `rope_deltas` of its last batch; ours must not depend on them."""
    of, batch = model(), left(asked_rows((3, 6)))
    before = run(of, batch)
    other = collate([Row(prefix(), (Block(words(30, 3)),), (picture(6, 6, 4),))], layout())
    with torch.no_grad():
        of(
            input_ids=other.ids_BL,
            mm_token_type_ids=other.kinds(),
            pixel_values=other.pixels_PX,
            image_grid_thw=other.grids_N3,
        )
    assert torch.equal(run(of, batch), before)


def test_equal_pictures_are_held_once() -> None:
    same = picture(2, 2, 1)
    rows = [Row(prefix(2), (Block(words(2, n)),), (same, picture(1, 2, n))) for n in range(3)]
    batch = collate(rows, layout())
    assert batch.grids_N3 is not None and len(batch.grids_N3) == 4
    named = [replace_key(row, "one") for row in rows]
    assert len(collate(named, layout()).grids_N3) == 2  # type: ignore[arg-type]


def replace_key(row: Row, key: str) -> Row:
    return replace(row, pictures=(row.pictures[0], replace(picture(1, 2, 0), key=key)))


def test_labels_are_what_decoding_samples() -> None:
    block = taught(0)
    batch = collate([Row(prefix(), (block,), (picture(),))], layout())
    labels = batch.labels_BL[0][-len(block.reply) :].tolist()
    expected = [-100 if t in TOKENS.banned() else t for t in block.reply]
    assert labels == expected
    assert batch.labels_BL[0][: -len(block.reply)].eq(-100).all()


def test_learned_ends_are_labels_too() -> None:
    block = taught(0)
    ends = replace(layout(), latents=replace(layout().latents, learned_end=True))
    labels = collate([Row(prefix(), (block,), (picture(),))], ends).labels_BL[0][-len(block.reply) :].tolist()
    slot, end = TOKENS.vis_slot, TOKENS.vis_end
    assert labels[: SLOTS + 2] == [TOKENS.vis_start, -100, *[slot] * (SLOTS - 1), end]


def with_reply(*reply: int, **fields: object) -> Row:
    return Row(prefix(), (Block(words(2, 0), reply, **fields),), (picture(),))  # type: ignore[arg-type]


SPAN = tuple(TOKENS.reply(SLOTS, semantic=False))
BOX = (0.0, 0.0, 20.0, 20.0)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (with_reply(*SPAN, boxes=(BOX, BOX)), "2 boxes for 1 visual spans"),
        (with_reply(*SPAN, *SPAN, boxes=(BOX,)), "1 boxes for 2 visual spans"),
        (with_reply(*SPAN, boxes=((0.0, 0.0, 900.0, 20.0),)), "outside of its picture"),
        (with_reply(*SPAN, boxes=((3.0, 3.0, 3.0, 20.0),)), "empty"),
        (with_reply(*SPAN, boxes=(BOX,), of_picture=(1,)), "the row shows 1"),
        (with_reply(*SPAN[:-2], SPAN[-1]), f"exactly {SLOTS} slots"),
        (with_reply(TOKENS.vis_slot), f"exactly {SLOTS} slots"),
        (with_reply(TOKENS.sem_slot), "behind its start token"),
        (with_reply(*TOKENS.reply(0), semantics_SE=torch.zeros(1, 5)), r"shape \(1, 5\) for 1 semantic slots of 16"),
        (with_reply(*TOKENS.reply(0), semantics_SE=torch.zeros(2, 16)), r"shape \(2, 16\) for 1 semantic slots"),
        (with_reply(*TOKENS.reply(0), semantics_SE=torch.full((1, 16), torch.nan)), "not finite"),
        (with_reply(IMAGE), "pictures belong into the prefix"),
        (Row(prefix(2), (Block(),), (picture(),)), "2 image tokens for 1 pictures"),
        (Row(prefix(0), (Block(),), (picture(),)), "0 image tokens for 1 pictures"),
        (Row(prefix(), (Block(words(600, 0)),), (picture(),)), "positions, but the limit is 512"),
        (Row((), (Block(),)), "the row is empty"),
        (Row(prefix(), (Block(),), (Picture(torch.zeros(3, 48), (1, 1, 3), (9, 3)),)), "1x3 is no multiple of 2"),
    ],
)
def test_bad_rows_are_refused_by_number(row: Row, says: str) -> None:
    good = Row(prefix(), (taught(0),), (picture(),))
    with pytest.raises(UsageError, match=f"row 1: .*{says}"):
        collate([good, row], layout())


def test_bad_pictures_and_batches() -> None:
    with pytest.raises(UsageError, match="1 x rows x columns"):
        Picture(torch.zeros(3, 48), (1, 2, 2), (9, 9))
    with pytest.raises(UsageError, match="1 x rows x columns"):
        Picture(torch.zeros(8, 48), (2, 2, 2), (9, 9))
    with pytest.raises(UsageError, match="at least one row"):
        collate([], layout())
    some = [with_reply(*SPAN, boxes=(BOX,)), with_reply(*SPAN)]
    with pytest.raises(UsageError, match="give every span a box or none"):
        collate(some, layout())
    half = [with_reply(*TOKENS.reply(0), semantics_SE=torch.ones(1, 16)), with_reply(*TOKENS.reply(0))]
    with pytest.raises(UsageError, match="give every slot one or none"):
        collate(half, layout())
    two = [Row(prefix(), (Block(),), (replace(picture(h, 1, h), key="same"),)) for h in (1, 2)]
    with pytest.raises(UsageError, match='different grids have the same key "same"'):
        collate(two, layout())
