"""Lessons with latents: each reply opens with the latents of the region it is about.

Loss of a step = cross-entropy of what is sampled (mean over replies of their mean) + visual + semantic, with
visual = mean squared difference of predicted and pooled, standardised visual tokens; semantic = 1 - cosine of the
predicted and the profile's embedding (`slvr_data.embeddings.local_embedding`).

First every slot is fed its target ("teacher"): the answer learns to read the latents. Then each is fed what the model
itself predicts ("own"), as in decoding.

    B rows, L positions, N supervised positions, V words
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from slvr_data.embeddings import local_embedding
from slvr_model.batches import Batch, collate
from slvr_model.lessons import Lesson, Question, Thing
from slvr_model.modeling import Feed, SlvrModel
from slvr_model.packing import patches
from slvr_model.rows import Block, Picture, Row
from slvr_model.teaching import Teacher


@dataclass(frozen=True)
class Losses:
    """Of one step."""

    answer: Tensor
    visual: Tensor
    semantic: Tensor

    @property
    def total(self) -> Tensor:
        """Their sum."""
        return self.answer + self.visual + self.semantic


class LatentTeacher:
    """Turns lessons into batches of packed rows with latents."""

    def __init__(self, teacher: Teacher, model: SlvrModel) -> None:
        self.teacher, self.layout = teacher, model.layout
        config = model.latent_config
        self.opening = tuple(config.tokens.reply(config.visual_slots))
        self.dimension = config.semantic_dim
        self._embeddings: dict[str, Tensor] = {}

    def embedding(self, thing: Thing) -> Tensor:
        """The embedding of a thing's profile, [1, E]."""
        if thing.text not in self._embeddings:
            vector = local_embedding(thing.profile, self.dimension).astype(np.float32)
            self._embeddings[thing.text] = torch.from_numpy(vector)[None]
        return self._embeddings[thing.text]

    def batch(self, lessons: Sequence[Lesson], step: int) -> Batch:
        """What a step shows."""
        shown, dice = self.teacher.at_step(lessons, step)
        return self.packed(shown, [self._blocks(lesson, dice) for lesson in shown])

    def packed(self, shown: Sequence[Lesson], rows: Sequence[Sequence[Block]]) -> Batch:
        """The blocks of each lesson behind its picture."""
        made = []
        for lesson, blocks in zip(shown, rows, strict=True):
            height, width, _ = lesson.picture.shape
            pixels, grid = patches(lesson.picture[None])
            t, h, w = grid[0].tolist()
            made.append(Row(self.teacher.prefix, tuple(blocks), (Picture(pixels, (t, h, w), (width, height)),)))
        return collate(made, self.layout)

    def block(self, thing: Thing, question: Question, wording: str, choices: Sequence[str]) -> Block:
        """A question with its reply, opened by latents."""
        plain = self.teacher.asked(question, wording, choices)
        reply = self.opening + plain.reply
        return Block(plain.prompt, reply, (thing.box,), semantics_SE=self.embedding(thing))

    def _blocks(self, lesson: Lesson, dice: np.random.Generator) -> list[Block]:
        chosen = self.teacher.chosen(lesson, self.teacher.settings.lettered, dice)
        return [self.block(*asked) for asked in chosen]


def losses_of(model: SlvrModel, batch: Batch, feed: Feed, share: float = 0.0, seed: int = 0) -> Losses:
    """The losses of a batch; see the module. `share` and `seed` choose slots that take their target all the same."""
    wanted_BL = batch.labels_BL[:, 1:] >= 0
    at_BL = torch.zeros_like(batch.kept_BL)
    at_BL[:, :-1] = wanted_BL
    out = model.latent_forward(batch, feed, logits_at=at_BL, share=share, generator=torch.Generator().manual_seed(seed))
    assert out.logits_NV is not None
    target_TD, target_SE = out.target.visual_TD, out.target.semantic_SE
    assert target_TD is not None and out.semantic_SE is not None and target_SE is not None
    losses_N = functional.cross_entropy(out.logits_NV.float(), batch.labels_BL[:, 1:][wanted_BL], reduction="none")
    weights_N = _weights(batch.blocks_BL[:, 1:], wanted_BL)
    return Losses(
        (losses_N * weights_N).sum() / weights_N.sum(),
        functional.mse_loss(out.visual_TD, target_TD),
        1 - (out.semantic_SE * target_SE).sum(-1).mean(),
    )


def _weights(blocks_BL: Tensor, wanted_BL: Tensor) -> Tensor:
    """Weights [N] that give each block the same share."""
    count_BN = torch.zeros(len(blocks_BL), int(blocks_BL.max()) + 1)
    count_BN.scatter_add_(1, blocks_BL.clamp_min(0), wanted_BL.float())
    weights_BL = 1 / count_BN.gather(1, blocks_BL.clamp_min(0)).clamp_min(1)
    return weights_BL[wanted_BL]


@torch.no_grad()
def region_tokens(model: SlvrModel, batches: Sequence[Batch]) -> Tensor:
    """Pooled visual tokens [T, D] of the regions of some batches: a sample to standardise by."""
    found = []
    for batch in batches:
        visual_MD = model.encode(batch)
        assert visual_MD is not None and batch.regions is not None
        found.append(batch.regions.pool(visual_MD))
    return torch.cat(found)
