"""Lessons -> what a step shows, its loss, and examinations.

Each step shows a few pictures with many questions about each (`slvr_model.packing`). What it shows depends on
(settings, step) alone.

    B pictures, R rows of a part, S supervised positions of a part, V words, D width
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerBase

from slvr_data import geometry
from slvr_data.colors import COLORS
from slvr_data.errors import UsageError
from slvr_data.sources.scenes.forms import PLAIN
from slvr_model.lessons import Lesson, Question, Thing
from slvr_model.modeling import SlvrModel
from slvr_model.packing import Batch, Block, Seen, parts_of, patches, prefix_positions, read_pictures, states_of
from slvr_model.prompts import DESCRIBE, LETTERS, question_text
from slvr_model.tiny import END, MERGE, PAD, PATCH, START

GIVEN_AWAY, RARELY = frozenset({"material", "depth"}), 0.2
"""Facets that have a single answer in easy scenes, and how often they are asked compared with others."""
RISE = 0.3
"""Share of the steps in which the share of lettered questions rises from 0."""
LABELS: tuple[tuple[str, ...], ...] = (
    (*PLAIN, "none"), COLORS, geometry.SIZES, ("top", "center", "bottom"), ("left", "center", "right"),
)  # fmt: skip
"""Words for the thing that a visual token belongs to: entity ("none" for the ground), colour, size; row and column."""
Chosen = tuple[Thing, Question, str, tuple[str, ...]]
"""A question about a thing, in one wording, with choices in some order or none."""
Scores = dict[str, tuple[int, int]]
"""Facet -> (right, asked)."""


@dataclass(frozen=True)
class Settings:
    """What a training run depends on."""

    steps: int = 4000
    pictures: int = 8
    """Per step."""
    questions: int = 8
    """Per picture."""
    profiles: int = 2
    """Written out per picture."""
    profile_weight: float = 4.0
    lettered: float = 0.5
    """Share of questions with lettered choices, once it has risen from 0."""
    muon_lr: float = 4e-3
    adam_lr: float = 1e-3
    warmup: int = 50
    decay: float = 0.3
    """Share of the steps, at the end, over which the learning rates fall to 3 %."""
    clip: float = 1.0
    seed: int = 0


def shown_at(lessons: Sequence[Lesson], step: int, settings: Settings) -> tuple[list[Lesson], np.random.Generator]:
    """The lessons of a step, and the dice for what is asked about them. Each epoch has an order of its own."""
    whole = len(lessons) // settings.pictures * settings.pictures
    if not whole:
        raise UsageError(f"{len(lessons)} lessons are too few for {settings.pictures} pictures per step")
    epoch, at = divmod(step * settings.pictures, whole)
    order = np.random.default_rng((settings.seed, 1 << 40, epoch)).permutation(len(lessons))
    return [lessons[i] for i in order[at : at + settings.pictures]], np.random.default_rng((settings.seed, step))


class Teacher:
    """Turns lessons into packed batches."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, settings: Settings, side: int = 64) -> None:
        self.tokenizer, self.settings = tokenizer, settings
        self._ids = lru_cache(maxsize=None)(self._encode)
        grid = side // (PATCH * MERGE)
        self.prefix = self._ids(f"{START}user<|vision_start|>{'<|image_pad|>' * grid**2}<|vision_end|>")
        self.shown = self._ids(f"{START}user<|vision_start|><|image_pad|><|vision_end|>")
        """What stands before a question, with a single token for the picture."""
        self.image = self._ids("<|image_pad|>")[0]
        before = self.prefix.index(self.image)
        self.positions, self.start = prefix_positions(before, (grid, grid))
        self.pad = self._ids(PAD)[0]
        self.words = [torch.tensor([self._ids(word)[0] for word in group]) for group in LABELS]

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)

    def block(self, prompt: str, reply: str, weight: float = 1.0) -> Block:
        """A question with its reply."""
        ask, end = self._ids(f"{END}{START}assistant"), self._ids(END)
        return Block((*self._ids(prompt), *ask), (*self._ids(reply), *end), weight)

    def asked(self, question: Question, wording: str, choices: Sequence[str]) -> Block:
        """An open question, or one with lettered choices in the order given."""
        return self.block(question_text(wording, choices), self.reply_of(question, choices))

    @staticmethod
    def reply_of(question: Question, choices: Sequence[str]) -> str:
        """The right reply: the answer, or its letter."""
        return LETTERS[choices.index(question.answer)] if choices else question.answer

    def batch(self, lessons: Sequence[Lesson], step: int) -> Batch:
        """What a step shows."""
        shown, dice = shown_at(lessons, step, self.settings)
        lettered = self.settings.lettered * min(1.0, step / (RISE * self.settings.steps))
        return self.packed(shown, [self._row(lesson, lettered, dice) for lesson in shown])

    def labels(self, lessons: Sequence[Lesson], step: int) -> Tensor:
        """Labels of the visual tokens of a step, [W, B, G]; see `cell_labels`."""
        return torch.stack([cell_labels(lesson) for lesson in shown_at(lessons, step, self.settings)[0]], dim=1)

    def packed(self, shown: Sequence[Lesson], rows: Sequence[Sequence[Block]]) -> Batch:
        """The blocks of each lesson behind its picture."""
        pixels, grid_B3 = patches(np.stack([lesson.picture for lesson in shown]))
        prefix_BP = torch.tensor([self.prefix] * len(shown))
        parts = parts_of(rows, self.pad)
        return Batch(prefix_BP, self.positions, self.start, pixels, grid_B3, parts, sum(map(len, rows)))

    def _row(self, lesson: Lesson, lettered: float, dice: np.random.Generator) -> list[Block]:
        chosen = self.chosen(lesson, lettered, dice)
        blocks = [self._naming(self.asked(question, put, choices), thing) for thing, question, put, choices in chosen]
        named = [t for t in lesson.things if t.reference]
        for i in dice.permutation(len(named))[: self.settings.profiles]:
            blocks.append(self._naming(self._profile(named[i]), named[i]))
        return blocks

    def chosen(self, lesson: Lesson, lettered: float, dice: np.random.Generator) -> list[Chosen]:
        """Some questions, each in one wording, a share `lettered` of them with choices in random order."""
        pairs = [(thing, question) for thing in lesson.things for question in thing.questions]
        weights = np.array([RARELY if q.facet in GIVEN_AWAY else 1.0 for _, q in pairs])
        number = min(self.settings.questions, len(pairs))
        found = []
        for i in dice.choice(len(pairs), number, replace=False, p=weights / weights.sum()):
            thing, question = pairs[i]
            wording = question.wordings[dice.integers(len(question.wordings))]
            order = dice.permutation(len(question.choices))
            choices = tuple(question.choices[c] for c in order) if dice.random() < lettered else ()
            found.append((thing, question, wording, choices))
        return found

    def _naming(self, block: Block, thing: Thing) -> Block:
        """The block with the place where its prompt has named the thing by its plainest reference, if it does."""
        words = self._ids(thing.reference or "")
        for at in range(len(block.prompt) - len(words)) if words else ():
            if block.prompt[at : at + len(words)] == words:
                return replace(block, named_at=at + len(words) - 1, labels=labels_of(thing))
        return block

    def _profile(self, thing: Thing) -> Block:
        return self.block(DESCRIBE.format(thing=thing.reference), thing.text, self.settings.profile_weight)


OF_GROUND = 0.1
AS_THEY_ENTER = 3
"""So many of `LABELS` are read from tokens as they enter the language model; the rest from their last states."""


def reading_loss(model: SlvrModel, seen: Seen, labels_WBG: Tensor, words: Sequence[Tensor]) -> Tensor:
    """What thing does a visual token belong to? Sum over `LABELS` of the mean cross-entropy; -100 is no label.

    The logit of a word is the product of the token, scaled to a root mean square of 1, with the word's embedding: so
    a visual token comes to lie near the words for what it shows, and a question finds it by them. The entity counts
    twice, and a token of the ground a tenth: most tokens are ground, and shapes are learnt last.
    """
    total = torch.zeros(())
    for number, (ids, labels_BG) in enumerate(zip(words, labels_WBG, strict=True)):
        states_BGD = seen.tokens_BGD if number < AS_THEY_ENTER else seen.states_BGD
        if states_BGD is None:
            continue
        scaled_BGD = functional.rms_norm(states_BGD.float(), states_BGD.shape[-1:])
        logits = scaled_BGD @ model.lm_head.weight[ids].float().T
        counts = torch.ones(len(ids))
        if number == 0:
            counts[-1] = OF_GROUND
        loss = functional.cross_entropy(logits.flatten(0, 1), labels_BG.flatten(), weight=counts)
        total = total + (2 if number == 0 else 1) * loss
    return total


def naming_loss(model: SlvrModel, named_ND: Tensor, labels_WN: Tensor, words: Sequence[Tensor]) -> Tensor:
    """What is the thing that has just been named? Sum over things and over `LABELS` of the cross-entropy.

    The logit of a word is that of the vocabulary projection: where "the largest circle" ends, the state says what that
    circle looks like and where it is, whatever will be asked of it.
    """
    total = torch.zeros(())
    for ids, labels_N in zip(words, labels_WN, strict=False):
        logits = named_ND.float() @ model.lm_head.weight[ids].float().T
        total = total + functional.cross_entropy(logits, labels_N, reduction="sum")
    return total


def labels_of(thing: Thing) -> tuple[int, ...]:
    """Numbers in `LABELS` for a thing of an easy scene."""
    look, place = thing.profile.appearance, thing.profile.spatial.position
    cell = divmod(geometry.POSITIONS.index(str(place)), 3)
    words = (PLAIN.index(str(look.entity)), COLORS.index((look.colors or [""])[0]))
    return (*words, geometry.SIZES.index(str(look.size)), *cell)


def looking_loss(model: SlvrModel, teacher: Teacher, lessons: Sequence[Lesson], step: int) -> Tensor:
    """The reading loss of visual tokens alone: nothing of the language model runs but its word embeddings."""
    shown, _ = shown_at(lessons, step, teacher.settings)
    pixels, grid_B3 = patches(np.stack([lesson.picture for lesson in shown]))
    visual: Any = model.model.visual
    tokens_GD: Tensor = visual(pixels, grid_thw=grid_B3).pooler_output
    seen = Seen(None, tokens_GD.view(len(shown), -1, tokens_GD.shape[-1]), None)
    return reading_loss(model, seen, teacher.labels(lessons, step), teacher.words)


def cell_labels(lesson: Lesson) -> Tensor:
    """[5, G]: numbers in `LABELS` for the thing whose box holds the centre of each visual token.

    Tokens of the ground have the entity "none" and no other label (-100).
    """
    side = PATCH * MERGE
    rows, columns = lesson.picture.shape[0] // side, lesson.picture.shape[1] // side
    labels = np.full((len(LABELS), rows, columns), -100, np.int64)
    labels[0] = len(PLAIN)
    for thing in lesson.things:
        x1, y1, x2, y2 = (edge / side for edge in thing.box)
        inside = (slice(math.ceil(y1 - 0.5), math.ceil(y2 - 0.5)), slice(math.ceil(x1 - 0.5), math.ceil(x2 - 0.5)))
        for number, value in enumerate(labels_of(thing)):
            labels[(number, *inside)] = value
    return torch.from_numpy(labels.reshape(len(LABELS), -1))


def loss_of(model: SlvrModel, batch: Batch, teacher: Teacher, labels_WBG: Tensor) -> Tensor:
    """Mean over blocks of the weighted mean cross-entropy of each reply, and a quarter of the reading loss."""
    seen = read_pictures(model, batch, teacher.image)
    total = torch.zeros(())
    for part in batch.parts:
        states_SD, named_ND = states_of(model, batch, seen, part)
        logits_SV = model.lm_head(states_SD)
        losses_S = functional.cross_entropy(logits_SV.float(), part.target_S, reduction="none")
        total = total + (losses_S * part.weight_S).sum() + naming_loss(model, named_ND, part.labels_WN, teacher.words)
    return total / batch.blocks + reading_loss(model, seen, labels_WBG, teacher.words) / 4


@torch.no_grad()
def examine(model: SlvrModel, teacher: Teacher, lessons: Sequence[Lesson], lettered: bool, at_once: int = 16) -> Scores:
    """Facet -> (right, asked) over every question in its first wording, replied to greedily.

    A reply is right where it is the whole answer and then ends. Greedy decoding gives exactly that where every
    token of the answer, given those before it, has the highest logit: so one forward replaces the decoding.
    """
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for begin in range(0, len(lessons), at_once):
        shown = [lesson for lesson in lessons[begin : begin + at_once] if any(t.questions for t in lesson.things)]
        asked = [[q for t in lesson.things for q in t.questions] for lesson in shown]
        rows = [[teacher.asked(q, q.wordings[0], q.choices if lettered else ()) for q in row] for row in asked]
        batch = teacher.packed(shown, rows)
        seen = read_pictures(model, batch, teacher.image)
        wrong = torch.zeros(batch.blocks, dtype=torch.long)
        for part in batch.parts:
            best_S = model.lm_head(states_of(model, batch, seen, part)[0]).argmax(-1)
            wrong.index_add_(0, part.number_S, (best_S != part.target_S).long())
        for question, errors in zip([q for row in asked for q in row], wrong.tolist(), strict=True):
            found[question.facet][0] += errors == 0
            found[question.facet][1] += 1
    return {facet: (right, number) for facet, (right, number) in sorted(found.items())}
