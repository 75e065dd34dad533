"""The forward pass: equal to the public class without latents, and every way to fill slots with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn

from slvr_data.errors import RunError, UsageError
from slvr_model.batches import Batch, collate
from slvr_model.decoding import decode
from slvr_model.latents import Latents
from slvr_model.modeling import SlvrModel
from slvr_model.regions import box_tokens, pooled
from slvr_model.rows import Block, Row, rows_of
from tests.slvr_model.support import (
    DIMENSION,
    SLOTS,
    WIDTH,
    asked_rows,
    config,
    layout,
    left,
    model,
    picture,
    prefix,
    public,
    shared_model,
    taught,
    words,
)


@contextmanager
def counted(module: nn.Module) -> Iterator[list[int]]:
    """Rows that go into a module, call by call."""
    seen: list[int] = []

    def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0].shape[:-1].numel())

    handle = module.register_forward_pre_hook(note)
    try:
        yield seen
    finally:
        handle.remove()


def lessons() -> Batch:
    """Two rows, four spans, two distinct pictures."""
    shared = picture(3, 2, 5)
    two = taught(3, 2, ((0, 0, 9, 9), (3, 3, 30, 30)))
    return collate(
        [
            Row(prefix(), (taught(0), taught(1, 6)), (shared,)),
            Row(prefix(2), (Block(two.prompt, two.reply, two.boxes, (1, 0), two.semantics_SE),), (shared, picture())),
        ],
        layout(),
    )


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@torch.no_grad()
def test_without_latents_the_logits_are_the_public_ones(side: str, attention: str) -> None:
    of = model()
    of.set_attn_implementation(attention)
    untouched = public(of)
    untouched.set_attn_implementation(attention)
    rows = [*asked_rows((4, 9)), Row(prefix(2), (Block(words(3, 5)),), (picture(seed=5), picture(4, 1, 6)))]
    batch = collate([*rows, Row(words(7, 1))], layout(), side)  # type: ignore[arg-type]
    given = {
        "input_ids": batch.ids_BL,
        "attention_mask": batch.kept_BL.long(),
        "mm_token_type_ids": batch.kinds(),
        "pixel_values": batch.pixels_PX,
        "image_grid_thw": batch.grids_N3,
    }
    expected = untouched(**given).logits[batch.kept_BL]
    torch.testing.assert_close(of(**given).logits[batch.kept_BL], expected, atol=1e-5, rtol=0)
    ours = of.latent_forward(batch, "pause", logits_at=batch.kept_BL).logits_NV
    assert ours is not None
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)


def test_what_a_processor_returns_becomes_the_same_rows() -> None:
    rows = asked_rows((4, 7))
    batch = left(rows)
    inputs = {"input_ids": batch.ids_BL, "attention_mask": batch.kept_BL.long()}
    inputs |= {"pixel_values": batch.pixels_PX, "image_grid_thw": batch.grids_N3}
    again = left(rows_of(inputs, layout()))
    for name in ("ids_BL", "positions_3BL", "kept_BL", "pixels_PX", "image_G"):
        assert torch.equal(getattr(again, name), getattr(batch, name))


def test_each_picture_is_encoded_once() -> None:
    of = shared_model()
    shown = (picture(3, 2, 5),)
    rows = [Row(prefix(), (taught(n), taught(n + 1)), shown) for n in range(4)]  # 8 questions, 8 boxes, 1 picture
    batch = collate(rows, layout())
    with counted(of.model.visual) as patches, torch.no_grad():
        of.latent_forward(batch, "own")
        assert patches == [24]
        of.latent_forward(batch, visual_MD=of.encode(batch))
    assert patches == [24, 24]


def test_the_vocabulary_is_projected_where_asked_only() -> None:
    of, batch = shared_model(), lessons()
    with counted(of.lm_head) as rows, torch.no_grad():
        out = of.latent_forward(batch)
        assert out.logits_NV is None and rows == []
        out = of.latent_forward(batch, logits_at=batch.labels_BL >= 0)
    assert rows == [int((batch.labels_BL >= 0).sum())]
    assert out.logits_NV is not None and torch.equal(out.logits_NV, of.lm_head(out.hidden_BLD[batch.labels_BL >= 0]))


def test_targets_are_pooled_standardised_visual_tokens_and_unit_embeddings() -> None:
    of = shared_model()
    shown, box = picture(3, 2, 5), (3.0, 3.0, 30.0, 30.0)
    block = taught(0, boxes=(box,))
    batch = collate([Row(prefix(), (block,), (shown,))], layout())
    out = of.latent_forward(batch)
    with torch.no_grad():
        every = of.model.get_image_features(shown.patches_PX, torch.tensor([shown.grid])).pooler_output[0]
    expected = pooled(every[box_tokens(box, shown.size, (3, 2))], SLOTS)
    expected = (expected - of.latents.visual_mean_D) / of.latents.visual_std_D
    assert out.target.visual_TD is not None and out.target.semantic_SE is not None and block.semantics_SE is not None
    torch.testing.assert_close(out.target.visual_TD, expected)
    torch.testing.assert_close(out.target.semantic_SE, torch.nn.functional.normalize(block.semantics_SE))
    assert not out.target.visual_TD.requires_grad and not out.target.semantic_SE.requires_grad


def test_predictions_are_read_from_the_state_before_each_slot() -> None:
    of, batch = shared_model(), lessons()
    out = of.latent_forward(batch)
    slots = (batch.ids_BL == of.latent_config.tokens.vis_slot).nonzero()
    assert len(slots) == 4 * SLOTS and out.visual_TD.shape == (len(slots), WIDTH)
    states = torch.stack([out.hidden_BLD[row, at - 1] for row, at in slots.tolist()])
    torch.testing.assert_close(out.visual_TD, of.latents.visual_out(states))
    assert out.semantic_SE is not None and out.semantic_SE.shape == (len(slots) // SLOTS, DIMENSION)
    torch.testing.assert_close(out.semantic_SE.norm(dim=-1), torch.ones(len(out.semantic_SE)))


def test_teacher_feeds_what_given_targets_feed() -> None:
    of, batch = shared_model(), lessons()
    out = of.latent_forward(batch)
    again = of.latent_forward(batch, "given", given=out.target)
    assert torch.equal(again.hidden_BLD, out.hidden_BLD)


def test_a_fresh_visual_slot_is_fed_a_visual_token() -> None:
    """Standardising and its inverse cancel, and the input map starts as the identity."""
    of = SlvrModel(config())
    tokens = torch.randn(40, WIDTH)
    of.latents.set_statistics(tokens)
    torch.testing.assert_close(of.latents.visual_input(of.latents.standardised(tokens)), tokens, atol=1e-5, rtol=0)
    torch.testing.assert_close(of.latents.standardised(tokens).std(0), torch.ones(WIDTH))
    with pytest.raises(UsageError, match="too few"):
        of.latents.set_statistics(tokens[:1])


def test_own_feeds_what_the_model_predicts() -> None:
    """Feeding the predictions of an own pass again, as given, in one call, changes nothing."""
    of, batch = shared_model(), lessons()
    own = of.latent_forward(batch, "own")
    given = of.latent_forward(batch, "given", given=Latents(own.visual_TD, own.semantic_SE))
    kept = batch.kept_BL
    torch.testing.assert_close(own.hidden_BLD[kept], given.hidden_BLD[kept], atol=1e-4, rtol=0)
    teacher = of.latent_forward(batch, "teacher")
    assert (own.hidden_BLD - teacher.hidden_BLD)[kept].abs().max() > 0.1


def test_own_takes_one_call_more_than_a_block_has_slots() -> None:
    of, batch = shared_model(), lessons()
    with counted(of.model.language_model.norm) as calls, torch.no_grad():
        of.latent_forward(batch, "own")
    assert len(calls) == 1 + 2 * (SLOTS + 1)  # the longest block has two spans
    with counted(of.model.language_model.norm) as calls, torch.no_grad():
        of.latent_forward(collate([Row(prefix(), (taught(0), taught(1)), (picture(),))], layout()), "own")
    assert len(calls) == 1 + SLOTS + 1


@pytest.mark.parametrize(("feed", "flows"), [("own", True), ("detached", False)])
def test_gradient_through_own_latents(feed: str, flows: bool) -> None:
    """With the answer's loss alone: gradient reaches the prediction map only where it may pass through the slots."""
    of, batch = model(), lessons()
    out = of.latent_forward(batch, feed, logits_at=batch.labels_BL >= 0)  # type: ignore[arg-type]
    assert out.logits_NV is not None
    out.logits_NV.square().mean().backward()
    for head in (of.latents.visual_out, of.latents.semantic_out):
        assert (head.weight.grad is not None and bool(head.weight.grad.abs().sum() > 0)) == flows
    for head in (of.latents.visual_in, of.latents.semantic_in):
        assert head.weight.grad is not None and bool(head.weight.grad.abs().sum() > 0)


def test_own_gradient_is_that_of_one_position_after_another() -> None:
    """Against a plain loop over one row without cache: same latents, same gradient."""
    of = model()
    batch = collate([Row(prefix(), (taught(0),), (picture(),))], layout())
    of.latent_forward(batch, "own").hidden_BLD.square().mean().backward()
    expected = of.latents.visual_out.weight.grad
    assert expected is not None
    of.zero_grad()
    slots = of.slots(batch)
    inputs = of.embed(batch, of.encode(batch))
    for at in (batch.ids_BL[0] > 0).nonzero()[:, 0].tolist():
        for one in slots:
            if at in one.at.tolist():
                states = of.run(inputs[:, :at], batch.positions_3BL[..., :at], None)
                fed = one.to_input(one.predict(states[:, -1]))
                inputs = torch.cat([inputs[:, :at], fed[:, None], inputs[:, at + 1 :]], 1)
    of.run(inputs, batch.positions_3BL, None).square().mean().backward()
    found = of.latents.visual_out.weight.grad
    assert found is not None
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)


def test_between_own_and_teacher() -> None:
    of, batch = shared_model(), lessons()
    kept = batch.kept_BL
    teacher, own = (of.latent_forward(batch, feed).hidden_BLD[kept] for feed in ("teacher", "own"))  # type: ignore[arg-type]
    all_taken = of.latent_forward(batch, "own", share=1.0).hidden_BLD[kept]
    torch.testing.assert_close(all_taken, teacher, atol=1e-4, rtol=0)
    half = [of.latent_forward(batch, "own", share=0.5, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(half[0].hidden_BLD, half[1].hidden_BLD)
    for other in (teacher, own):
        assert (half[0].hidden_BLD[kept] - other).abs().max() > 0.1


def test_missing_or_wrong_latents_are_named() -> None:
    of, batch = shared_model(), lessons()
    plain = collate([Row(prefix(), (Block((), taught(0).reply),), (picture(),))], layout())
    with pytest.raises(UsageError, match=r'feed "teacher" was given no visual latents where \(3, 64\)'):
        of.latent_forward(plain)
    with pytest.raises(UsageError, match=r'feed "given" was given \(2, 64\) visual latents'):
        of.latent_forward(plain, "given", given=Latents(torch.zeros(2, WIDTH)))
    with pytest.raises(UsageError, match=r"\(3, 9\) visual"):
        of.latent_forward(plain, "given", given=Latents(torch.zeros(3, 9)))
    with pytest.raises(UsageError, match="no semantic latents"):
        of.latent_forward(plain, "given", given=Latents(torch.zeros(3, WIDTH)))
    with pytest.raises(UsageError, match="no visual targets to feed"):
        of.latent_forward(plain, "own", share=0.5)
    of.latent_forward(plain, "own")
    of.latent_forward(batch, "pause")


def test_a_model_without_semantic_slot() -> None:
    of = model(config(dimension=0))
    block = taught(0)
    reply = of.latent_config.tokens.reply(SLOTS, semantic=False)
    batch = collate([Row(prefix(), (Block(block.prompt, tuple(reply), block.boxes),), (picture(),))], of.layout)
    out = of.latent_forward(batch, "own")
    assert out.semantic_SE is None and out.visual_TD.shape == (SLOTS, WIDTH)
    with pytest.raises(UsageError, match="the model has none"):
        collate([Row(prefix(), (block,), (picture(),))], of.layout)


def test_bfloat16_runs_all_feeds() -> None:
    of, batch = model().to(torch.bfloat16), lessons()
    for feed in ("teacher", "own", "pause"):
        out = of.latent_forward(batch, feed, logits_at=batch.labels_BL >= 0)  # type: ignore[arg-type]
        assert out.logits_NV is not None and out.logits_NV.dtype == torch.bfloat16
        assert bool(out.logits_NV.isfinite().all())


def test_what_latents_cannot_run_on_is_said() -> None:
    made = config()
    made.text_config.layer_types = ["full_attention", "sliding_attention"]
    with pytest.raises(UsageError, match="use_sliding_window"):
        SlvrModel(made)
    of = model()
    of.text.config._attn_implementation = "flex_attention"
    with pytest.raises(UsageError, match='attn_implementation="sdpa"'):
        of.latent_forward(lessons(), "own")


def test_out_of_memory_says_what_to_lower() -> None:
    of, batch = model(), lessons()
    handle = of.model.visual.register_forward_pre_hook(lambda *_: torch.empty(1 << 60) and None)
    with pytest.raises(RunError, match=r"out of memory while running a batch: lower its rows.*allocate memory"):
        of.latent_forward(batch)
    with pytest.raises(RunError, match=r"while decoding: lower the rows of a batch, max_new_tokens"):
        decode(of, left(asked_rows()), max_new_tokens=2)
    handle.remove()
    of.model.visual.register_forward_pre_hook(lambda *_: of.lm_head(torch.zeros(3)) and None)
    with pytest.raises(RuntimeError, match="shapes"):
        of.latent_forward(batch)


def test_own_feed_refuses_to_run_without_its_cache() -> None:
    of, batch = model(), lessons()
    expected = of.latent_forward(batch).hidden_BLD
    of.activation_checkpointing_enable()
    of.train()
    with pytest.raises(UsageError, match="activation checkpointing"):
        of.latent_forward(batch, "own")
    torch.testing.assert_close(of.latent_forward(batch).hidden_BLD, expected, atol=1e-5, rtol=0)
    of.eval().latent_forward(batch, "own")
