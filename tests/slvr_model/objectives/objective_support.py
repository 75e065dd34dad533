"""Samples of drawn scenes, objectives for the random tiny model, and gradients."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from slvr_data.embeddings import local_embedding
from slvr_model.batches import Batch
from slvr_model.data import Sample
from slvr_model.lessons import lessons
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Objective, open_objective
from slvr_model.objectives.config import ObjectiveConfig, checked_objective
from slvr_model.rows import Row
from slvr_model.sample_rows import SampleRows
from slvr_model.tiny import SEMANTIC, StillProcessor, new_tiny


@cache
def tiny() -> tuple[SlvrModel, StillProcessor]:
    """Shared by tests that only read it."""
    model, processor = new_tiny(3)
    dice = torch.Generator().manual_seed(5)
    model.latents.set_statistics(torch.randn(64, model.text.config.hidden_size, generator=dice) * 0.5 + 0.2)
    return model, processor


@cache
def samples() -> tuple[Sample, ...]:
    """Four questions about things of three scenes; the last two are about one picture."""
    found = []
    for number, lesson in enumerate(lessons("easy", 11, 3)):
        for place in range(2 if number == 2 else 1):
            thing = lesson.things[place]
            question = thing.questions[(number + place) % len(thing.questions)]
            found.append(
                Sample(
                    query_id=f"q{number}{place}",
                    group_id=f"g{number}{place}",
                    region_id=f"r{number}{place}",
                    image_id=f"i{number}",
                    picture=Image.fromarray(lesson.picture),
                    box=thing.box,
                    facet=question.facet,
                    question=question.wordings[0],
                    wordings=question.wordings,
                    choices=question.choices,
                    answer=question.answer,
                    profile_text=thing.text,
                    embedding=local_embedding(thing.profile, SEMANTIC).astype(np.float32),
                )
            )
    return tuple(found)


def opened(kind: str, model: SlvrModel | None = None, **settings: Any) -> Objective:
    """An objective for the tiny model; slots are fed their targets unless told otherwise."""
    settings.setdefault("feed", "own" if kind == "multi_encoder" else "teacher")
    return open_objective(checked_objective({"kind": kind, **settings}), model or tiny()[0], tiny()[1].tokenizer)


def default(kind: str) -> Objective:
    return open_objective(ObjectiveConfig.model_validate({"kind": kind}), tiny()[0], tiny()[1].tokenizer)


def answer_ids(sample: Sample, text: str = "") -> tuple[int, ...]:
    tokenizer = tiny()[1].tokenizer
    return (*tokenizer(text or sample.answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id)


def asked(sample: Sample) -> Row:
    return SampleRows(tiny()[1], tiny()[0].layout).asked(sample)


def row(objective: Objective, sample: Sample, **options: Any) -> Row:
    return objective.row(asked(sample), sample, answer_ids(sample), **options)


def batch(objective: Objective, chosen: Sequence[int] = (0, 1, 2, 3)) -> Batch:
    return objective.collate([row(objective, samples()[number]) for number in chosen])


def gradients(model: SlvrModel, loss: Tensor) -> dict[str, Tensor]:
    """Of all parameters that the loss reaches."""
    names, weights = zip(*model.named_parameters(), strict=True)
    found = torch.autograd.grad(loss, weights, allow_unused=True, retain_graph=True)
    return {name: one for name, one in zip(names, found, strict=True) if one is not None}


def slow_answer(model: SlvrModel, logits_BLV: Tensor, labels_BL: Tensor) -> Tensor:
    """Mean over rows of the mean of -log p at their labels, one position after another."""
    means = []
    for row_number, labels_L in enumerate(labels_BL.tolist()):
        parts = []
        for at, label in enumerate(labels_L):
            if label >= 0:
                scores_V = logits_BLV[row_number, at - 1].double()
                parts.append(torch.log(torch.exp(scores_V).sum()) - scores_V[label])
        means.append(torch.stack(parts).mean())
    return torch.stack(means).mean()
