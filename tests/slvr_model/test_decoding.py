"""The decoding loop: equal to full forwards, to single rows, and to the score of what it wrote."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.batches import Batch, collate
from slvr_model.decoding import Decoded, compiled_step, decode, extended, score
from slvr_model.modeling import SlvrModel
from slvr_model.rows import Block, Row
from slvr_model.rules import RowStates, Rules, drawn
from tests.slvr_model.support import (
    DIMENSION,
    END,
    IMAGE,
    PAD,
    SLOTS,
    TOKENS,
    VIDEO,
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
from tests.slvr_model.test_modeling import counted

OPENING = TOKENS.reply(SLOTS)


@torch.no_grad()
def talkative(seed: int = 0) -> SlvrModel:
    """Often says latent start tokens and the end token, so that sampled replies hold all there is."""
    of = model(seed=seed)
    of.lm_head.weight[[TOKENS.vis_start, TOKENS.sem_start, END]] *= 2.5
    return of


def by_hand(of: SlvrModel, row: Row, rules: dict[str, Any], most: int) -> tuple[list[int], list[Tensor]]:
    """Greedy decoding of one row without any cache: a full forward for each position. Slow, and plain."""
    batch = left([row])
    inputs = of.embed(batch, of.encode(batch))
    positions, ids, states = batch.positions_3BL, [], []
    queue = list(TOKENS.reply(rules["steps"], rules["semantic"])) if rules["opening"] else []
    start = batch.next_position()
    for at in range(most):
        hidden = of.run(inputs, positions, None)[0, -1]
        states.append(hidden)
        logits = of.lm_head(hidden)
        logits[[*TOKENS.banned(), IMAGE, VIDEO]] = -torch.inf
        if not rules["steps"]:
            logits[TOKENS.vis_start] = -torch.inf
        if not rules["semantic"]:
            logits[TOKENS.sem_start] = -torch.inf
        token = queue.pop(0) if queue else int(logits.argmax())
        if token == TOKENS.vis_start and not queue:
            queue = [TOKENS.vis_slot] * rules["steps"] + [TOKENS.vis_end]
        if token == TOKENS.sem_start and not queue:
            queue = [TOKENS.sem_slot, TOKENS.sem_end]
        ids.append(token)
        fed = of.text.embed_tokens.weight[token]
        if token == TOKENS.vis_slot:
            fed = of.latents.visual_input(of.latents.visual(hidden[None]))[0]
        if token == TOKENS.sem_slot:
            fed = of.latents.semantic_input(of.latents.semantic(hidden[None]))[0]
        inputs = torch.cat([inputs, fed[None, None]], 1)
        positions = torch.cat([positions, (start + at).expand(3, 1, 1)], 2)
        if token == END:
            break
    return ids, states


@torch.no_grad()
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rows_of_different_modes_are_what_each_is_alone_by_hand(seed: int) -> None:
    of = talkative(seed)
    rows = asked_rows((4, 9, 2, 6))
    modes: list[dict[str, Any]] = [
        {"steps": SLOTS, "semantic": True, "opening": True},
        {"steps": 5, "semantic": False, "opening": False},
        {"steps": 0, "semantic": True, "opening": True},
        {"steps": 0, "semantic": False, "opening": False},
    ]
    found = decode(
        of,
        left(rows),
        max_new_tokens=20,
        visual_steps=[m["steps"] for m in modes],
        semantic=[m["semantic"] for m in modes],
        opening=[m["opening"] for m in modes],
    )
    for row, mode, reply in zip(rows, modes, found.replies(), strict=True):
        assert reply == by_hand(of, row, mode, 20)[0]
    assert found.replies()[0][: len(OPENING)] == OPENING
    assert found.replies()[2][:3] == [TOKENS.sem_start, TOKENS.sem_slot, TOKENS.sem_end]


@torch.no_grad()
def test_without_latents_greedy_is_a_bare_loop_over_the_public_class() -> None:
    of = shared_model()
    untouched, batch = public(of), left(asked_rows((4, 9, 2)))
    banned = [TOKENS.vis_start, TOKENS.sem_start, *TOKENS.banned(), IMAGE, VIDEO]
    given: dict[str, Any] = {"pixel_values": batch.pixels_PX, "image_grid_thw": batch.grids_N3}
    out = untouched(
        input_ids=batch.ids_BL,
        attention_mask=batch.kept_BL.long(),
        mm_token_type_ids=batch.kinds(),
        use_cache=True,
        **given,
    )
    kept, replies = batch.kept_BL.long(), []
    for _ in range(12):
        logits = out.logits[:, -1]
        logits[:, banned] = -torch.inf
        replies.append(logits.argmax(-1))
        kept = torch.cat([kept, torch.ones(3, 1, dtype=torch.long)], 1)
        place = (kept.sum(1, keepdim=True) - 1 + untouched.model.rope_deltas).expand(3, -1, -1)
        out = untouched(
            input_ids=replies[-1][:, None],
            attention_mask=kept,
            position_ids=place,
            past_key_values=out.past_key_values,
            use_cache=True,
        )
    expected = torch.stack(replies, 1).tolist()
    found = decode(of, batch, max_new_tokens=12, visual_steps=0, semantic=False)
    assert found.replies() == [ids[: ids.index(END) + 1] if END in ids else ids for ids in expected]


MODES: list[dict[str, Any]] = [
    {},
    {"opening": True},
    {"opening": True, "temperature": 1.0, "seed": 5},
    {"temperature": [0.0, 0.7, 1.3], "top_p": 0.8, "opening": [True, False, True], "visual_steps": [1, 7, 0]},
]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_one_forward_scores_a_reply_as_it_was_decoded(mode: dict[str, Any], cache: Any, attention: str) -> None:
    of = talkative()
    of.set_attn_implementation(attention)
    batch = left(asked_rows())
    found = decode(of, batch, max_new_tokens=25, cache=cache, **mode)
    assert int(found.latent_BT.sum()) == sum(
        0 if part is None else len(part) for part in (found.latents.visual_TD, found.latents.semantic_SE)
    )
    for feed in ("given", "own"):
        again = score(of, batch, found, feed=feed)  # type: ignore[arg-type]
        torch.testing.assert_close(again, found.logprobs_BT, atol=1e-4, rtol=0)
    assert again.requires_grad
    assert bool((found.logprobs_BT[found.sampled_BT] < 0).all())
    assert bool((found.logprobs_BT[~found.sampled_BT] == 0).all())


@pytest.mark.parametrize("mode", MODES)
def test_a_batch_is_its_rows(mode: dict[str, Any]) -> None:
    """With a seed for each row, sampled rows too: a row does not know its neighbours."""
    of, rows = talkative(), asked_rows()
    together = decode(of, left(rows), max_new_tokens=25, **{**mode, "seed": [3, 1, 4]})
    visual, semantic = [], []
    for number, row in enumerate(rows):
        own = {key: value[number] if isinstance(value, list) else value for key, value in mode.items()}
        alone = decode(of, left([row]), max_new_tokens=25, **{**own, "seed": [[3, 1, 4][number]]})
        assert alone.replies()[0] == together.replies()[number]
        length = alone.ids_BT.shape[1]
        torch.testing.assert_close(alone.logprobs_BT[0], together.logprobs_BT[number, :length], atol=1e-4, rtol=0)
        visual += [] if alone.latents.visual_TD is None else [alone.latents.visual_TD]
        semantic += [] if alone.latents.semantic_SE is None else [alone.latents.semantic_SE]
    for parts, whole in ((visual, together.latents.visual_TD), (semantic, together.latents.semantic_SE)):
        if whole is None:
            assert not parts
        else:
            torch.testing.assert_close(torch.cat(parts), whole, atol=1e-4, rtol=0)


def check_kinds(found: Decoded) -> None:
    """Each position is one of four kinds, and tokens are of their kind."""
    total = found.sampled_BT.int() + found.forced_BT.int() + found.latent_BT.int() + (~found.kept_BT).int()
    assert bool((total == 1).all())
    slot = (found.ids_BT == TOKENS.vis_slot) | (found.ids_BT == TOKENS.sem_slot)
    assert torch.equal(slot & found.kept_BT, found.latent_BT)
    assert bool((found.ids_BT[~found.kept_BT] == PAD).all())
    sampled = found.ids_BT[found.sampled_BT].tolist()
    assert not set(sampled) & {*TOKENS.banned(), IMAGE, VIDEO}
    for ids, done in zip(found.replies(), found.finished_B.tolist(), strict=True):
        assert (ids[-1] == END) == done and END not in ids[:-1]


def test_masks_of_replies_that_write_latents_of_their_own_accord() -> None:
    of = talkative()
    found = decode(of, left(asked_rows(range(1, 13))), max_new_tokens=60, temperature=1.5)
    check_kinds(found)
    starts = found.sampled_BT & (found.ids_BT == TOKENS.vis_start)
    assert starts.any() and (found.sampled_BT & (found.ids_BT == TOKENS.sem_start)).any() and found.finished_B.any()
    for ids in found.replies():
        for at in (i for i, token in enumerate(ids) if token == TOKENS.vis_start):
            span = TOKENS.reply(SLOTS, semantic=False)
            assert ids[at : at + len(span)] == span[: len(ids) - at]


def test_the_score_of_a_cut_off_span() -> None:
    of, batch = shared_model(), left(asked_rows())
    for most in (1, 2, 3, 6, 7):
        found = decode(of, batch, max_new_tokens=most, opening=True)
        check_kinds(found)
        assert [reply == OPENING[:most] for reply in found.replies()] == [True] * 3
        assert torch.equal(score(of, batch, found), found.logprobs_BT)


def test_a_prompt_may_end_with_a_start_token() -> None:
    of = shared_model()
    rows = [replace(row, blocks=(Block((*row.blocks[0].prompt, TOKENS.vis_start)),)) for row in asked_rows()]
    found = decode(of, left(rows), max_new_tokens=12)
    opened = decode(of, left(asked_rows()), max_new_tokens=13, opening=True, semantic=False)
    assert found.replies() == [reply[1:] for reply in opened.replies()]
    torch.testing.assert_close(score(of, left(rows), found), found.logprobs_BT, atol=1e-4, rtol=0)
    rows = [replace(row, blocks=(Block((*row.blocks[0].prompt, TOKENS.sem_start)),)) for row in asked_rows()]
    for opening in (False, True):
        for reply in decode(of, left(rows), max_new_tokens=4, opening=opening).replies():
            assert reply[:2] == [TOKENS.sem_slot, TOKENS.sem_end]


def test_the_semantic_latent_is_fed_back() -> None:
    """The released code never does; here another vector in its slot changes what follows."""
    of, batch = shared_model(), left(asked_rows())
    plain = decode(of, batch, max_new_tokens=12, opening=True, visual_steps=0)
    assert plain.latents.semantic_SE is not None and plain.latents.semantic_SE.shape == (3, DIMENSION)
    other = decode(of, batch, max_new_tokens=12, opening=True, visual_steps=0, edit=lambda kind, rows, x: -x)
    assert other.latents.semantic_SE is not None
    torch.testing.assert_close(other.latents.semantic_SE, -plain.latents.semantic_SE)
    assert not torch.equal(other.logprobs_BT, plain.logprobs_BT)
    torch.testing.assert_close(score(of, batch, other), other.logprobs_BT, atol=1e-4, rtol=0)


def test_edits_see_kind_and_rows() -> None:
    of, batch, seen = shared_model(), left(asked_rows()), []

    def swap(kind: str, rows: Tensor, latents: Tensor) -> Tensor:
        seen.append((kind, rows.tolist(), tuple(latents.shape)))
        return latents.roll(1, 0) if kind == "visual" else torch.zeros_like(latents)

    found = decode(of, batch, max_new_tokens=10, opening=True, edit=swap, visual_steps=[3, 3, 1])
    visual = [("visual", rows, (len(rows), WIDTH)) for rows in ([0, 1, 2], [0, 1], [0, 1])]
    semantic = [("semantic", rows, (len(rows), DIMENSION)) for rows in ([2], [0, 1])]
    assert seen == [*visual, semantic[0], semantic[1]]
    torch.testing.assert_close(score(of, batch, found), found.logprobs_BT, atol=1e-4, rtol=0)


def test_learned_end() -> None:
    of = model(config(learned_end=True))
    batch = left(asked_rows())
    with torch.no_grad():
        of.lm_head.weight[TOKENS.vis_slot] = 0.0
        of.lm_head.weight[TOKENS.vis_end] = -1e-3 * of.lm_head.weight[20]
    rows = []
    for cap in (1, 4, 9):
        found = decode(of, batch, max_new_tokens=14, opening=True, learned_end=True, visual_steps=cap)
        check_kinds(found)
        rows.append([reply.index(TOKENS.vis_end) - 1 for reply in found.replies()])
        torch.testing.assert_close(score(of, batch, found), found.logprobs_BT, atol=1e-4, rtol=0)
    assert rows[0] == [1, 1, 1]
    assert rows[1] == [min(4, n) for n in rows[2]]
    assert min(rows[2]) < 9
    fixed = decode(of, batch, max_new_tokens=14, opening=True, learned_end=[True, False, False], visual_steps=9)
    lengths = [reply.index(TOKENS.vis_end) - 1 for reply in fixed.replies()]
    assert lengths == [rows[2][0], 9, 9]
    with pytest.raises(UsageError, match="not trained to end its spans"):
        decode(shared_model(), batch, max_new_tokens=2, learned_end=True)


def test_the_vocabulary_is_projected_for_sampled_tokens_only() -> None:
    of, batch = talkative(), left(asked_rows())
    with counted(of.lm_head) as rows, counted(of.model.visual) as patches:
        found = decode(of, batch, max_new_tokens=30, opening=[True, False, True], temperature=1.0, seed=1)
    assert sum(rows) == int(found.sampled_BT.sum())
    assert patches == [len(batch.pixels_PX)] if batch.pixels_PX is not None else False
    with counted(of.lm_head) as rows:
        decode(of, batch, max_new_tokens=len(OPENING), opening=True)
    assert rows == []


def test_pictures_may_be_encoded_before() -> None:
    of, batch = shared_model(), left([asked_rows()[0]] * 3)
    encoded = of.encode(batch)
    assert encoded is not None and len(encoded) == 6  # one picture for three rows
    with counted(of.model.visual) as patches:
        found = decode(of, batch, max_new_tokens=6, visual_MD=encoded)
        score(of, batch, found, visual_MD=encoded)
    assert patches == []


def test_a_finished_row_stays_finished() -> None:
    of = model()
    with torch.no_grad():
        of.lm_head.weight.zero_()
        of.lm_head.weight[END] = 1e-4
        of.lm_head.weight[20] = -1e-4
    found = decode(of, left(asked_rows((4, 7, 2, 3))), max_new_tokens=30)
    check_kinds(found)
    assert found.ids_BT.shape[1] <= 30
    lengths = [len(reply) for reply in found.replies()]
    assert found.ids_BT.shape[1] == max(lengths)


@pytest.mark.parametrize("opening", [True, False])
def test_a_static_step_is_compiled_once(opening: bool) -> None:
    """With a static cache all steps of a call are one graph, without breaks."""
    from torch._dynamo.testing import CompileCounter

    of, batch, counter = model(), left(asked_rows()), CompileCounter()
    torch._dynamo.reset()
    step = compiled_step(of, backend=counter)
    plain = decode(of, batch, max_new_tokens=15, opening=opening)
    for _ in range(2):
        found = decode(of, batch, max_new_tokens=15, opening=opening, cache="static", step=step)
        assert found.replies() == plain.replies()
        torch.testing.assert_close(found.logprobs_BT, plain.logprobs_BT, atol=1e-4, rtol=0)
    assert counter.frame_count == 1


def test_seeds() -> None:
    of, batch = shared_model(), left(asked_rows())
    once, again, other = (decode(of, batch, max_new_tokens=10, temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(once.ids_BT, again.ids_BT) and not torch.equal(once.ids_BT, other.ids_BT)
    same = left([asked_rows()[0]] * 2)
    two = decode(of, same, max_new_tokens=10, temperature=1.0, seed=[7, 7]).replies()
    assert two[0] == two[1]


def test_drawing_follows_the_distribution() -> None:
    logp = torch.log_softmax(torch.tensor([[0.0, 1.0, 2.0, -1.0]]), -1).expand(20_000, -1)
    uniform = torch.rand(20_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shares = torch.bincount(drawn(logp, uniform, 1.0), minlength=4) / 20_000
    torch.testing.assert_close(shares, logp[0].exp(), atol=0.01, rtol=0)
    nucleus = torch.bincount(drawn(logp, uniform, 0.7), minlength=4) / 20_000
    best = logp[0, [2, 1]].exp()
    torch.testing.assert_close(nucleus[[2, 1]], best / best.sum(), atol=0.01, rtol=0)
    assert nucleus[[0, 3]].sum() == 0
    assert torch.equal(drawn(logp[:2], torch.tensor([0.0, 1 - 1e-16]), 1e-6), torch.tensor([2, 2]))


def test_the_batch_of_prompts_and_replies_is_a_batch() -> None:
    of, batch = shared_model(), left(asked_rows())
    found = decode(of, batch, max_new_tokens=8, opening=True)
    whole = extended(batch, found)
    rows = asked_rows()
    for number, (row, reply) in enumerate(zip(rows, found.replies(), strict=True)):
        alone = collate([replace(row, blocks=(Block(row.blocks[0].prompt, tuple(reply)),))], layout())
        kept = whole.kept_BL[number]
        for name in ("ids_BL", "blocks_BL"):
            assert torch.equal(getattr(whole, name)[number][kept], getattr(alone, name)[0])
        assert torch.equal(whole.positions_3BL[:, number][:, kept], alone.positions_3BL[:, 0])


def states(steps: Sequence[int], semantic: Sequence[bool], opens: Sequence[bool], last: Sequence[int]) -> RowStates:
    rows = len(steps)
    rules = Rules(np.array(steps), np.array(semantic), np.zeros(rows, bool), np.array(opens), np.zeros(rows))
    return RowStates(layout().latents, rules, np.array(last))


def test_the_order_of_a_forced_opening() -> None:
    rows = states([2, 0, 2, 0], [True, True, False, False], [True] * 4, [50] * 4)
    written: list[list[int]] = [[], [], [], []]
    for _ in range(8):
        forced = rows.forced(lambda asked: asked)
        rows.last = np.where(forced < 0, 60, forced)
        for row, token in zip(written, rows.last.tolist(), strict=True):
            row.append(token)
    text = [60] * 8
    assert written == [[*TOKENS.reply(n, s), *text][:8] for n, s in ((2, True), (0, True), (2, False), (0, False))]


def bad(**options: Any) -> tuple[Batch, dict[str, Any]]:
    return options.pop("batch", left(asked_rows())), {"max_new_tokens": 4, **options}


@pytest.mark.parametrize(
    ("case", "says"),
    [
        (bad(max_new_tokens=0), "max_new_tokens 0"),
        (bad(top_p=0.0), "top_p 0.0"),
        (bad(visual_steps=-1), "must not be negative"),
        (bad(temperature=-0.5), "must not be negative"),
        (bad(temperature=float("nan")), "must not be negative"),
        (bad(visual_steps=[1, 2]), "for 3 rows; give one value, or one per row"),
        (bad(seed=[1]), "1 seeds for 3 rows"),
        (bad(max_new_tokens=600), r"600 new ones exceed the limit of 512"),
        (bad(batch=collate(asked_rows(), layout())), "padded on the left"),
        (bad(batch=left([Row(prefix(), (taught(0), taught(1)), (picture(),))])), "one question a row"),
    ],
)
def test_bad_calls(case: tuple[Batch, dict[str, Any]], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        decode(shared_model(), case[0], **case[1])


def test_semantic_latents_need_a_semantic_slot() -> None:
    of = model(config(dimension=0))
    batch = collate([Row(words(3, 1))], of.layout, "left")
    with pytest.raises(UsageError, match="semantic_dim 0"):
        decode(of, batch, max_new_tokens=2, semantic=True)
    assert decode(of, batch, max_new_tokens=9, opening=True).replies()[0][: SLOTS + 2] == TOKENS.reply(SLOTS, False)
