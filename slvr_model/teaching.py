"""Lessons -> what a step shows, its loss, and examinations.

Each step shows a few pictures with many questions about each (`slvr_model.packing`). What it shows depends on
(settings, step) alone.

    B pictures, R rows of a part, S supervised positions of a part, V words, D width
"""

from __future__ import annotations

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

from slvr_data.errors import UsageError
from slvr_model.labels import LABELS, cell_labels, naming_loss, reading_loss
from slvr_model.lessons import Lesson, Question, Thing
from slvr_model.modeling import SlvrModel
from slvr_model.naming import Names, with_names
from slvr_model.packing import Batch, Block, Seen, parts_of, patches, prefix_positions, read_pictures, states_of
from slvr_model.prompts import DESCRIBE, LETTERS, question_text
from slvr_model.tiny import END, MERGE, PAD, PATCH, START
from slvr_model.together import ALONE, Group

HOW_OFTEN = {"material": 0.2, "depth": 0.2, "entity": 1.5, "count": 1.5, "relation": 2.0}
"""How often facets are asked, compared with others: rarely where easy scenes have a single answer, more often where
answers need a search or two things."""
RISE = 0.1
"""Share of the steps in which the share of lettered questions rises from 0."""
HINT = 0.5
"""Weight of a hint beside a reply's 1."""
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
    drills: int = 3
    """Per picture: choices, one of them, and the letter as reply (`Teacher.drill`)."""
    lettered: float = 0.5
    """Share of questions with lettered choices, once it has risen from 0."""
    fewer: float = 0.0
    """Share of lettered questions and drills with only some of their choices, two at least."""
    muon_lr: float = 4e-3
    adam_lr: float = 1e-3
    new: float = 1.0
    """Factor on the rates of what is new to a start; see `muon.optimizers`."""
    warmup: int = 50
    decay: float = 0.3
    """Share of the steps, at the end, over which the learning rates fall to 3 %."""
    clip: float = 1.0
    seed: int = 0


def shown_at(
    lessons: Sequence[Lesson], step: int, settings: Settings, group: Group = ALONE
) -> tuple[list[Lesson], np.random.Generator]:
    """This process's share of a step's lessons, and the dice for what is asked about them.

    Each epoch has an order of its own.

    Raises:
        UsageError: there are fewer lessons than a step shows, or it shows fewer than there are processes.
    """
    whole = len(lessons) // settings.pictures * settings.pictures
    if not whole:
        raise UsageError(f"{len(lessons)} lessons are too few for {settings.pictures} pictures per step")
    if settings.pictures < group.of:
        raise UsageError(f"{settings.pictures} pictures per step are too few for {group.of} processes")
    epoch, at = divmod(step * settings.pictures, whole)
    order = np.random.default_rng((settings.seed, 1 << 40, epoch)).permutation(len(lessons))
    mine = order[at : at + settings.pictures][group.rank :: group.of]
    return [lessons[i] for i in mine], np.random.default_rng((settings.seed, step, group.rank))


class Teacher:
    """Turns lessons into packed batches."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, settings: Settings, group: Group = ALONE, side: int = 64
    ) -> None:
        self.tokenizer, self.settings, self.group = tokenizer, settings, group
        self._ids = lru_cache(maxsize=None)(self._encode)
        grid = side // (PATCH * MERGE)
        self.prefix = self._ids(f"{START}user<|vision_start|>{'<|image_pad|>' * grid**2}<|vision_end|>")
        self.shown = self._ids(f"{START}user<|vision_start|><|image_pad|><|vision_end|>")
        """What stands before a question, with a single token for the picture."""
        self.image = self._ids("<|image_pad|>")[0]
        before = self.prefix.index(self.image)
        self.positions, self.start = prefix_positions(before, (grid, grid))
        self.pad = self._ids(PAD)[0]
        self._names = Names(self._ids)
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

    def at_step(self, lessons: Sequence[Lesson], step: int) -> tuple[list[Lesson], np.random.Generator]:
        """The lessons of a step for this process, and dice; see `shown_at`."""
        return shown_at(lessons, step, self.settings, self.group)

    def batch(self, lessons: Sequence[Lesson], step: int) -> Batch:
        """What a step shows."""
        shown, dice = self.at_step(lessons, step)
        lettered = self.settings.lettered * min(1.0, step / (RISE * self.settings.steps))
        return self.packed(shown, [self._row(lesson, lettered, dice) for lesson in shown])

    def labels(self, lessons: Sequence[Lesson], step: int) -> Tensor:
        """Labels of the visual tokens of a step, [W, B, G]; see `cell_labels`."""
        return torch.stack([cell_labels(lesson) for lesson in self.at_step(lessons, step)[0]], dim=1)

    def packed(self, shown: Sequence[Lesson], rows: Sequence[Sequence[Block]]) -> Batch:
        """The blocks of each lesson behind its picture."""
        pixels, grid_B3 = patches(np.stack([lesson.picture for lesson in shown]))
        prefix_BP = torch.tensor([self.prefix] * len(shown))
        parts = parts_of(rows, self.pad)
        return Batch(prefix_BP, self.positions, self.start, pixels, grid_B3, parts, sum(map(len, rows)))

    def _row(self, lesson: Lesson, lettered: float, dice: np.random.Generator) -> list[Block]:
        chosen = self.chosen(lesson, lettered, dice)
        names = self._names.of(lesson)
        blocks = [
            self._names.asked(self.asked(question, wording, choices), names, thing, question)
            for thing, question, wording, choices in chosen
        ]
        named = [t for t in lesson.things if t.reference]
        for i in dice.permutation(len(named))[: self.settings.profiles]:
            blocks.append(with_names(self._profile(named[i]), names))
        return [*blocks, *self._drills(lesson, dice)]

    def _drills(self, lesson: Lesson, dice: np.random.Generator) -> list[Block]:
        asked = [q for thing in lesson.things for q in thing.questions if q.choices]
        found = []
        for _ in range(self.settings.drills if asked else 0):
            question = asked[dice.integers(len(asked))]
            choices = tuple(question.choices[c] for c in dice.permutation(len(question.choices)))
            answer = choices[dice.integers(len(choices))]
            found.append(self.drill(self._some(choices, answer, dice), answer))
        return found

    def drill(self, choices: Sequence[str], answer: str) -> Block:
        """Choices and then the answer, of which the letter is to be found: half of what a lettered question takes.

        The answer stands last, where a lettered question has it only in its hints.
        """
        block = self.block(f"{question_text('Which?', choices)}\n {answer}", LETTERS[choices.index(answer)])
        return replace(block, hints=self._names.hints(block, answer, said=1 + len(self._ids(answer))))

    def chosen(self, lesson: Lesson, lettered: float, dice: np.random.Generator) -> list[Chosen]:
        """Some questions, each in one wording, a share `lettered` of them with choices in random order."""
        pairs = [(thing, question) for thing in lesson.things for question in thing.questions]
        weights = np.array([HOW_OFTEN.get(question.facet, 1.0) for _, question in pairs])
        number = min(self.settings.questions, len(pairs))
        found = []
        for i in dice.choice(len(pairs), number, replace=False, p=weights / weights.sum()):
            thing, question = pairs[i]
            wording = question.wordings[dice.integers(len(question.wordings))]
            order = dice.permutation(len(question.choices))
            choices = tuple(question.choices[c] for c in order) if dice.random() < lettered else ()
            found.append((thing, question, wording, self._some(choices, question.answer, dice)))
        return found

    def _some(self, choices: tuple[str, ...], answer: str, dice: np.random.Generator) -> tuple[str, ...]:
        """All choices; or, in a share of cases, the answer with some of the others, in the same order."""
        if len(choices) < 3 or self.settings.fewer == 0 or dice.random() >= self.settings.fewer:
            return choices
        others = [choice for choice in choices if choice != answer]
        kept = {answer, *dice.choice(others, dice.integers(1, len(others)), replace=False).tolist()}
        return tuple(choice for choice in choices if choice in kept)

    def _profile(self, thing: Thing) -> Block:
        return self.block(DESCRIBE.format(thing=thing.reference), thing.text, self.settings.profile_weight)


def looking_loss(model: SlvrModel, teacher: Teacher, lessons: Sequence[Lesson], step: int) -> Tensor:
    """The reading loss of visual tokens alone: nothing of the language model runs but its word embeddings."""
    shown, _ = teacher.at_step(lessons, step)
    pixels, grid_B3 = patches(np.stack([lesson.picture for lesson in shown]))
    visual: Any = model.model.visual
    tokens_GD: Tensor = visual(pixels, grid_thw=grid_B3).pooler_output
    seen = Seen(None, tokens_GD.view(len(shown), -1, tokens_GD.shape[-1]), None)
    return reading_loss(model, seen, teacher.labels(lessons, step), teacher.words)


def plain_loss(model: SlvrModel, teacher: Teacher, lessons: Sequence[Lesson], step: int) -> Tensor:
    """The loss of what a step shows."""
    return loss_of(model, teacher.batch(lessons, step), teacher, teacher.labels(lessons, step))


def loss_of(model: SlvrModel, batch: Batch, teacher: Teacher, labels_WBG: Tensor) -> Tensor:
    """Mean over blocks of the weighted mean cross-entropy of each reply, with naming and hints, and a quarter of the
    reading loss.
    """
    seen = read_pictures(model, batch, teacher.image)
    total = torch.zeros(())
    for part in batch.parts:
        states = states_of(model, batch, seen, part)
        losses_S = functional.cross_entropy(model.lm_head(states.last_SD).float(), part.target_S, reduction="none")
        total = total + (losses_S * part.weight_S).sum()
        total = total + naming_loss(model, states.named_ND, part.labels_WN, teacher.words)
        hints_HV = model.lm_head(states.hinted_HD).float()
        total = total + HINT * functional.cross_entropy(hints_HV, part.hint_H, reduction="sum")
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
            best_S = model.lm_head(states_of(model, batch, seen, part).last_SD).argmax(-1)
            wrong.index_add_(0, part.number_S, (best_S != part.target_S).long())
        for question, errors in zip([q for row in asked for q in row], wrong.tolist(), strict=True):
            found[question.facet][0] += errors == 0
            found[question.facet][1] += 1
    return {facet: (right, number) for facet, (right, number) in sorted(found.items())}
