"""Questions that share their picture: each computes what it computes alone; the plan of such rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from slvr_data.errors import UsageError
from slvr_model.batches import Batch, collate
from slvr_model.efficiency.shared import SharedPlan, shared_rows
from slvr_model.efficiency.vocabulary_loss import label_losses
from slvr_model.modeling import Feed, SlvrModel
from slvr_model.rows import Block, Picture, Row
from tests.slvr_model.objectives import objective_support
from tests.slvr_model.support import END, asked_rows, layout, model, picture, prefix, shared_model, taught, words


def question(seed: int, shown: Picture, asked: int = 4) -> Row:
    """A question in the prefix, as `SampleRows` makes it, with latents of a region of its own."""
    block = taught(seed, 0, ((0.0, 0.0, 5.0 + 3 * (seed % 4), 14.0),))
    return Row((*prefix(seed=7), *words(asked, seed)), (block,), (shown,))


def samples() -> list[Row]:
    """Two pictures in turn, one of them read again from the file; the last row has one question."""
    first, second, third = picture(3, 2, 1), picture(2, 4, 2), picture(1, 2, 3)
    again = Picture(first.patches_PX.clone(), first.grid, first.size)
    held = [(1, first, 4), (2, second, 6), (3, again, 2), (4, second, 1), (5, first, 3), (6, third, 5)]
    return [question(*one) for one in held]


ORDER = (0, 2, 4, 1, 3, 5)
"""Samples in the reading order of their shared rows."""


def losses(of: SlvrModel, batch: Batch, feed: Feed) -> dict[str, Tensor]:
    """Of every label and every latent, in reading order."""
    out = of.latent_forward(batch, feed)
    assert out.target.visual_TD is not None and out.semantic_SE is not None and out.target.semantic_SE is not None
    return {
        "answer": label_losses(out.hidden_BLD, of.lm_head.weight, batch.labels_BL).loss_N,
        "visual": (out.visual_TD - out.target.visual_TD).square().mean(-1),
        "semantic": 1 - functional.cosine_similarity(out.semantic_SE, out.target.semantic_SE),
    }


def shared(rows: list[Row]) -> Batch:
    return collate(shared_rows(rows, layout()), layout())


@pytest.mark.parametrize("feed", ["teacher", "own", "detached"])
@torch.no_grad()
def test_a_loss_behind_a_shared_picture_is_the_loss_alone(feed: Feed) -> None:
    of, rows = shared_model(), samples()
    together = losses(of, shared(rows), feed)
    alone = [losses(of, collate([rows[n]], layout()), feed) for n in ORDER]
    for name, found in together.items():
        torch.testing.assert_close(found, torch.cat([one[name] for one in alone]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("feed", ["teacher", "own"])
def test_gradients_are_those_of_the_samples(feed: Feed) -> None:
    gradients = []
    for batches in ([shared(samples())], [collate([row], layout()) for row in samples()]):
        of = model()
        for batch in batches:
            sum(loss.sum() for loss in losses(of, batch, feed).values()).backward()  # type: ignore[union-attr]
        gradients.append({name: weight.grad for name, weight in of.named_parameters() if weight.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 40
    for name, found in gradients[0].items():
        expected = gradients[1][name]
        assert found is not None and expected is not None
        torch.testing.assert_close(found, expected, atol=1e-4 * float(expected.abs().max()), rtol=0, msg=name)


OBJECTIVES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("text", {}),
    ("pause", {}),
    ("slvr", {"feed": "mix"}),
    ("slvr", {"feed": "own", "echo": True, "bottleneck": 0.5}),
    ("slvr", {"feed": "teacher", "legacy_moving_target": True}),
    ("multi_encoder", {"alignment": {"encoders": ["filters", "interpreter"], "layer": 1}}),
)


@pytest.mark.parametrize(("kind", "settings"), OBJECTIVES)
@torch.no_grad()
def test_objectives_have_the_losses_of_single_rows(kind: str, settings: dict[str, Any]) -> None:
    """Also where latents, or what is hidden, are left to chance: samples keep their order."""
    of, objective = objective_support.tiny()[0], objective_support.opened(kind, **settings)
    first, _, third, fourth = objective_support.samples()
    other = replace(fourth, question="Which colour?", wordings=("Which colour?",), answer="red", facet="color")
    rows = [objective_support.row(objective, sample) for sample in (first, third, fourth, other)]
    behind = shared_rows(rows, of.layout)
    assert [len(row.blocks) for row in behind] == [1, 3]
    expected = objective.losses(of, objective.collate(rows), step_share=0, seed=3)
    found = objective.losses(of, objective.collate(behind), step_share=0, seed=3)
    assert found.named.keys() == expected.named.keys() and found.logged.keys() == expected.logged.keys()
    assert not settings.get("bottleneck") or 0 < expected.numbers()["hidden"] < 1
    for name, value in expected.numbers().items():
        assert found.numbers()[name] == pytest.approx(value, rel=1e-5, abs=1e-5), name


def test_rows_hold_what_belongs_together() -> None:
    rows = samples()
    behind = shared_rows(rows, layout())
    assert [len(row.blocks) for row in behind] == [3, 2, 1] and [row.pictures[0].key for row in behind] == [
        rows[n].pictures[0].key for n in (0, 1, 5)
    ]
    for row, numbers in zip(behind, ((0, 2, 4), (1, 3), (5,)), strict=True):
        for block, number in zip(row.blocks, numbers, strict=True):
            assert (*row.prefix, *block.prompt) == rows[number].prefix and block.reply == rows[number].blocks[0].reply
    alone = sum(collate([row], layout()).ids_BL.shape[1] for row in rows)
    saved = 2 * (2 + 6) + (2 + 8)  # positions of a word, the picture's delimiter and its visual tokens
    assert int(collate(behind, layout()).kept_BL.sum()) == alone - saved
    elsewhere = replace(rows[0], prefix=(12, *rows[0].prefix[1:]))
    assert len(shared_rows([rows[0], elsewhere], layout())) == 2, "another word before the picture"
    bare = Row(words(5, 1), (Block((), (*words(2, 2), END)),))
    assert [row.prefix for row in shared_rows([bare, bare], layout())] == [()]
    assert [len(row.blocks) for row in shared_rows(rows, layout(), 2)] == [2, 1, 2, 1]
    with pytest.raises(UsageError, match="row 1 has 2 questions"):
        shared_rows([rows[0], behind[0].__class__(rows[0].prefix, behind[1].blocks, rows[0].pictures)], layout())


def test_a_row_is_not_longer_than_the_model_takes() -> None:
    rows = [question(seed, picture(3, 2, 1)) for seed in range(1, 6)]
    length = collate([rows[0]], layout()).ids_BL.shape[1]
    small = replace(layout(), limit=length + 20)
    behind = shared_rows(rows, small)
    assert [len(row.blocks) for row in behind] == [2, 2, 1]
    assert collate(behind, small).ids_BL.shape[1] <= small.limit
    assert len(shared_rows(asked_rows((4, 7, 2)), layout())) == 3


def plan(**settings: Any) -> SharedPlan:
    dice = np.random.default_rng(0)
    pictures = np.repeat(np.arange(30), dice.integers(1, 12, 30))
    prefixes = dice.integers(16, 640, 30)[pictures]
    lengths = prefixes + dice.integers(15, 40, len(pictures))
    return SharedPlan(lengths, prefixes, pictures.tolist(), **settings)


@pytest.mark.parametrize("ranks", [1, 2])
def test_each_sample_is_in_one_batch_of_an_epoch_with_others_of_its_picture(ranks: int) -> None:
    made = plan(size=8, together=3, ranks=ranks, window=4)
    for number in (0, 1):
        batches = made.epoch(number)
        counts = Counter(sample for batch in batches for sample in batch)
        again = sum(counts.values()) - len(made.lengths)
        assert set(counts) == set(range(len(made.lengths))) and 0 <= again <= 3 * (ranks - 1)
        assert len(batches) % ranks == 0 and 5 <= np.mean([len(batch) for batch in batches]) <= 11
        parts = Counter(made.pictures[row[0]] for row in made.rows(number))
        for row in made.rows(number):
            mine = made.pictures.count(made.pictures[row[0]])
            assert len({made.pictures[sample] for sample in row}) == 1 and len(row) <= 3
            assert parts[made.pictures[row[0]]] == -(-mine // 3) and len(row) >= mine // parts[made.pictures[row[0]]]
    assert made.epoch(1) == plan(size=8, together=3, ranks=ranks, window=4).epoch(1) != made.epoch(0)
    assert made.epoch(1) != plan(size=8, together=3, ranks=ranks, window=4, seed=1).epoch(1)


def test_what_a_plan_needs_is_said() -> None:
    for settings in ({"size": 0}, {"together": 0}, {"ranks": 0}, {"window": -1}):
        with pytest.raises(UsageError, match="at least 1 is needed"):
            plan(**settings)
    for held in (([], [], []), ([9], [4], [0, 1]), ([9, 4], [4, 4], [0, 0])):
        with pytest.raises(UsageError, match="each sample needs one"):
            SharedPlan(np.array(held[0]), np.array(held[1]), held[2])
