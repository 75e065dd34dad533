"""Accuracy on held-out samples, twice: latents as the model writes them, and their targets fed in place of them.

A question with choices is asked in both forms, openly and with its choices for a letter, where training shows both.
Everything else is the same in both, so that the difference is what the model's own latents lack: the gap between
training that feeds targets and use that has none. Where replies say what is asked, a third time: with the model's own
latents, and neither picture nor question to see behind them (`hidden.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import nn

from slvr_model.data import Sample, Unusable
from slvr_model.decoding import Decoded
from slvr_model.latents import Latents
from slvr_model.objectives.base import Objective
from slvr_model.objectives.config import LATENT, SEMANTIC, VISUAL
from slvr_model.prompts import LETTERS
from slvr_model.right import is_right
from slvr_model.rows import Row
from slvr_model.sft.config import EvaluationConfig
from slvr_model.sft.figures import Fared, figures
from slvr_model.sft.samples import RowMaker
from slvr_model.sft.sizes import reply_of

ROOM = 64
"""Positions of a reply, unless right ones of what is held out are longer."""


@dataclass(frozen=True, eq=False)
class _Ask:
    """A sample in one of its forms."""

    sample: Sample
    lettered: bool
    asked: Row
    whole: Row
    """With its reply."""
    right: str


class Examiner:
    """Asks a model about held-out samples.

    Args:
        samples: held-out samples.
        maker: of rows.
        config: how many at once, and how long replies may be.
        part: (i, n): every n-th sample from the i-th on, to be summed up over n processes.
    """

    def __init__(
        self, samples: Sequence[Sample], maker: RowMaker, config: EvaluationConfig, part: tuple[int, int] = (0, 1)
    ) -> None:
        self.samples, self.maker, self.config, self.part = samples, maker, config, part
        self._room = config.new_tokens

    @property
    def objective(self) -> Objective:
        """Of the model that is asked."""
        return self.maker.objective

    @property
    def has_targets(self) -> bool:
        """Whether slots have targets that could be fed."""
        config = self.objective.config
        return config.kind in (*VISUAL, *SEMANTIC) and config.targets == "pooled"

    @property
    def has_echo(self) -> bool:
        """Whether there are latents, and an echo behind them, so that an answer can be read from both alone."""
        config = self.objective.config
        return config.echo and config.kind in LATENT and config.targets == "pooled"

    @torch.no_grad()
    def accuracy(self, learner: nn.Module, device: torch.device) -> dict[str, float]:
        """The figures of `figures.figures`, over all processes.

        `accuracy` is with own latents, `teacher_accuracy` with targets, where slots have some; `hidden_accuracy`, where
        replies have an echo, of open answers that see the model's own latents and the echo alone. An answer is right by
        `right.is_right`; a hidden one, which is found in one pass, that is the sample's, letter by letter. Unusable
        samples are left out.
        """
        learner.eval()
        asks, fared = self._asks(), list[Fared]()
        while batch := list(islice(asks, self.config.rows)):
            fared += self._batch(learner, batch, device)
        learner.train()
        if self.part[1] > 1:
            every: list[list[Fared]] = [[] for _ in range(self.part[1])]
            torch.distributed.all_gather_object(every, fared)
            fared = [one for held in every for one in held]
        return figures(fared)

    def _asks(self) -> Iterator[_Ask]:
        """This process's samples, each in its forms; nothing where one is unusable."""
        for number in range(self.part[0], len(self.samples), self.part[1]):
            sample = self.samples[number]
            for lettered in self._forms(sample):
                try:
                    ids = self.maker.answer(sample, lettered)
                    asked = self.maker.rows.asked(sample, lettered=lettered)
                    whole = self.objective.row(asked, sample, ids, lettered=lettered)
                except Unusable:
                    continue
                right = LETTERS[sample.choices.index(sample.answer)] if lettered else sample.answer
                yield _Ask(sample, lettered, self.objective.asked(asked), whole, right)

    def _forms(self, sample: Sample) -> list[bool]:
        """Whether it is asked openly (False), for a letter (True), or both: as training shows it."""
        share = self.maker.config.lettered if sample.choices else 0.0
        return [lettered for lettered, shown in ((False, share < 1), (True, share > 0)) if shown]

    def _batch(self, learner: Any, asks: Sequence[_Ask], device: torch.device) -> list[Fared]:
        batch = self.objective.collate([ask.asked for ask in asks], "left").to(device)
        form = self.objective.form
        options = form.options() | {"max_new_tokens": form.visual_steps + 6 + self._longest()}
        own = learner.written(batch, None, **options)
        right, teacher, hidden = self._right(own, asks), None, iter(list[bool]())
        if self.has_targets or self.has_echo:
            replied = self.objective.collate([ask.whole for ask in asks]).to(device)
        if self.has_targets:
            targets = self._targets(learner, replied)
            teacher = self._right(learner.written(batch, targets, **options), asks)
        if self.has_echo:
            hidden = iter(learner.hidden(replied, own.latents, self._mark()).tolist())
        return [
            Fared(
                ask.sample.query_id,
                ask.sample.image_id,
                ask.lettered,
                right[at],
                None if teacher is None else teacher[at],
                next(hidden) if self.has_echo and not ask.lettered else None,
                bool(own.finished_B[at]),
            )
            for at, ask in enumerate(asks)
        ]

    def _longest(self) -> int:
        """Positions that replies may take besides their latents: room for those that are right, and somewhat longer.

        Of all that is held out, so that it does not depend on the batch that a reply is in, nor on the processes.
        """
        if self._room is None:
            every = (self.samples[number] for number in range(len(self.samples)))
            sizes = (reply_of(one, self.maker, lettered) for one in every for lettered in self._forms(one))
            self._room = max([ROOM, *(3 * size // 2 for size in sizes)])
        return self._room

    def _mark(self) -> list[int]:
        """The ids that an echo ends with."""
        tokenizer = self.maker.rows.processor.tokenizer
        return list(tokenizer(self.objective.config.mark, add_special_tokens=False).input_ids)

    def _targets(self, learner: Any, batch: Any) -> Latents:
        targets: Latents = learner.targets(batch)
        kind = self.objective.config.kind
        visual = targets.visual_TD if kind in VISUAL else None
        return Latents(visual, targets.semantic_SE if kind in SEMANTIC else None)

    def _right(self, decoded: Decoded, asks: Sequence[_Ask]) -> list[bool]:
        given = [self._text(self.objective.answer(ids)) for ids in decoded.replies()]
        return [is_right(one, ask.right, ask.lettered) for one, ask in zip(given, asks, strict=True)]

    def _text(self, ids: Sequence[int]) -> str:
        tokenizer = self.maker.rows.processor.tokenizer
        return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def cut_off(ended: float, config: EvaluationConfig) -> str:
    """What is said where replies were cut off; `ended` is the share of those that were not."""
    told = f"evaluation: {1 - ended:.0%} of the replies were cut off and count as wrong"
    if config.new_tokens is None:
        return f"{told}, though right ones had room enough"
    return f"{told}: raise evaluation.new_tokens {config.new_tokens} if right ones may be longer"
