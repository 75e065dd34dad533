"""Answers that see latents and echo alone: as the slow way to decode them gives, and counted where there is an echo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from slvr_model.data import SlvSamples
from slvr_model.decoding import decode
from slvr_model.latents import Latents
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Objective, open_objective
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.rows import Block, Row
from slvr_model.sample_rows import SampleRows
from slvr_model.sft.config import SftConfig
from slvr_model.sft.examine import Examiner
from slvr_model.sft.hidden import hidden_right
from slvr_model.sft.learner import Learner
from slvr_model.sft.samples import RowMaker
from slvr_model.tiny import new_tiny
from tests.slvr_model.objectives import objective_support as support

KINDS = ("lvr", "semantic", "slvr", "multi_encoder")


def own_latents(model: SlvrModel, objective: Objective) -> Latents:
    batch = objective.collate([objective.asked(support.asked(sample)) for sample in support.samples()], "left")
    return decode(model, batch, max_new_tokens=12, **objective.form.options()).latents


@torch.no_grad()
def slowly(model: SlvrModel, objective: Objective, row: Row, latents: Latents, most: int) -> list[int]:
    """The answer that greedy decoding writes behind latents and echo, one whole call per token, no picture, no rules
    but that latent tokens and pictures are not written."""
    tokens, reply = model.latent_config.tokens, list(row.blocks[0].reply)
    mark = list(objective.mark)  # type: ignore[attr-defined]
    at = next(n for n in range(len(reply)) if reply[n : n + len(mark)] == mark) + len(mark)
    written = reply[:at]
    banned = [*vars(tokens).values(), model.config.image_token_id, model.config.video_token_id]
    for _ in range(most):
        batch = objective.collate([Row((), (Block((), tuple(written)),))])
        logits = model.lm_head(model.latent_forward(batch, "given", given=latents).hidden_BLD[0, -1])
        logits[banned] = -torch.inf
        written.append(int(logits.argmax()))
    return written[at:]


@pytest.mark.parametrize("kind", KINDS)
def test_right_is_what_decoding_would_write(kind: str) -> None:
    """Answers are put in place that the slow way writes, or those with one token changed."""
    model, objective = support.tiny()[0], support.opened(kind, echo=True)
    own, slots = own_latents(model, objective), model.latent_config.visual_slots
    rows, expected = [], []
    for number, sample in enumerate(support.samples()):
        visual = None if own.visual_TD is None else own.visual_TD[number * slots : (number + 1) * slots]
        semantic = None if own.semantic_SE is None else own.semantic_SE[number : number + 1]
        written = slowly(model, objective, support.row(objective, sample), Latents(visual, semantic), 3)
        if number % 2:
            written[number % 3] = 300 + (written[number % 3] - 299) % 50
        rows.append(objective.row(support.asked(sample), sample, written))
        expected.append(number % 2 == 0)
    mark, options = objective.mark, objective.form.options()  # type: ignore[attr-defined]
    batch = objective.collate(rows)
    assert hidden_right(model, batch, own, mark, options).tolist() == expected
    turned = Latents(*(None if one is None else one.flip(0) * 3 for one in (own.visual_TD, own.semantic_SE)))
    assert hidden_right(model, batch, turned, mark, options).tolist() != expected, "latents are what is read"


def test_replies_without_an_echo_are_left_out() -> None:
    model, objective = support.tiny()[0], support.opened("slvr", echo=True)
    own, samples = own_latents(model, objective), support.samples()
    rows = [support.row(objective, sample, lettered=number < 3) for number, sample in enumerate(samples)]
    mark, options = objective.mark, objective.form.options()  # type: ignore[attr-defined]
    assert len(hidden_right(model, objective.collate(rows), own, mark, options)) == 1
    last = Latents(own.visual_TD[:-4], own.semantic_SE[:-1])  # type: ignore[index]
    assert len(hidden_right(model, objective.collate(rows[:3]), last, mark, options)) == 0


@pytest.mark.parametrize("echo", [True, False])
def test_hidden_accuracy_is_told_where_replies_have_an_echo(
    echo: bool, scenes_set: Path, configured: Callable[..., SftConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured("data.lettered=0", "evaluation.rows=3", "evaluation.new_tokens=4")
    model, processor = new_tiny(0)
    objective = open_objective(ObjectiveConfig(kind="slvr", echo=echo), model, processor.tokenizer)
    maker = RowMaker(SampleRows(processor, model.layout), objective, config.data, 0)
    samples = [sample for sample, _ in zip(SlvSamples(scenes_set, embeddings=True), range(5), strict=False)]
    seen: list[Any] = []

    def right(self: Learner, batch: Any, fed: Latents, mark: Any) -> torch.Tensor:
        seen.append((len(batch.ids_BL), fed.semantic_SE))
        return torch.tensor([True, False, False][: len(batch.ids_BL)])

    monkeypatch.setattr(Learner, "hidden", right)
    found = Examiner(samples, maker, config.evaluation).accuracy(Learner(model, objective), torch.device("cpu"))
    assert ("hidden_accuracy" in found) is echo
    if echo:
        assert found["hidden_accuracy"] == pytest.approx(2 / 5)
        assert [rows for rows, _ in seen] == [3, 2] and all(len(one) == rows for rows, one in seen)
