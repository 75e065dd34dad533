"""Accuracy on held-out samples, twice: latents as the model writes them, and their targets fed in place of them.

Everything else is the same in both, so that the difference is what the model's own latents lack: the gap between
training that feeds targets and use that has none. Where replies say what is asked, a third time: with the model's own
latents, and neither picture nor question to see behind them (`hidden.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from slvr_model.data import Sample, Unusable
from slvr_model.decoding import Decoded
from slvr_model.latents import Latents
from slvr_model.objectives.base import Objective
from slvr_model.objectives.config import LATENT, SEMANTIC, VISUAL
from slvr_model.rows import Row
from slvr_model.sft.config import EvaluationConfig
from slvr_model.sft.samples import RowMaker, reply_of

ROOM = 64
"""Positions of a reply, unless right ones of what is held out are longer."""


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
        """`accuracy` with own latents; where slots have targets, `teacher_accuracy` and `gap` (teacher - own).

        Where replies have an echo, `hidden_accuracy`: of answers that see the model's own latents and the echo alone,
        over the samples that have one.

        `ended`: share of replies, with own latents, that were not cut off.

        An answer is right that is the sample's, letter by letter. Unusable samples are left out. Summed up over all
        processes.
        """
        counts = torch.zeros(6, dtype=torch.float64)
        learner.eval()
        numbers = range(self.part[0], len(self.samples), self.part[1])
        for start in range(0, len(numbers), self.config.rows):
            held = [self.samples[number] for number in numbers[start : start + self.config.rows]]
            counts += self._batch(learner, [pair for sample in held for pair in self._rows(sample)], device)
        learner.train()
        if self.part[1] > 1:
            counts = counts.to(device)
            torch.distributed.all_reduce(counts)
        asked, own, teacher, echoed, hidden, ended = (float(value) for value in counts)
        found = {"accuracy": own / max(asked, 1), "samples": asked, "ended": ended / max(asked, 1)}
        if self.has_targets:
            found |= {"teacher_accuracy": teacher / max(asked, 1), "gap": (teacher - own) / max(asked, 1)}
        if echoed:
            found["hidden_accuracy"] = hidden / echoed
        return found

    def _rows(self, sample: Sample) -> list[tuple[Row, Row, str]]:
        """(question, question with reply, answer) of a sample; nothing where it is unusable."""
        lettered = self._lettered(sample)
        try:
            ids = self.maker.answer(sample, lettered)
            asked = self.maker.rows.asked(sample, lettered=lettered)
            whole = self.objective.row(asked, sample, ids, lettered=lettered)
        except Unusable:
            return []
        return [(self.objective.asked(asked), whole, self._text(ids))]

    def _batch(self, learner: Any, rows: list[tuple[Row, Row, str]], device: torch.device) -> torch.Tensor:
        if not rows:
            return torch.zeros(6, dtype=torch.float64)
        asked, whole, wanted = zip(*rows, strict=True)
        batch = self.objective.collate(asked, "left").to(device)
        form = self.objective.form
        options = form.options() | {"max_new_tokens": form.visual_steps + 6 + self._longest()}
        own = learner.written(batch, None, **options)
        right, hidden = [self._right(own, wanted), 0], [0, 0]
        if self.has_targets or self.has_echo:
            replied = self.objective.collate(whole).to(device)
        if self.has_targets:
            targets = self._targets(learner, replied)
            right[1] = self._right(learner.written(batch, targets, **options), wanted)
        if self.has_echo:
            found = learner.hidden(replied, own.latents, self._mark())
            hidden = [len(found), int(found.sum())]
        return torch.tensor([len(rows), *right, *hidden, int(own.finished_B.sum())], dtype=torch.float64)

    def _longest(self) -> int:
        """Positions that replies may take besides their latents: room for those that are right, and somewhat longer.

        Of all that is held out, so that it does not depend on the batch that a reply is in, nor on the processes.
        """
        if self._room is None:
            every = (self.samples[number] for number in range(len(self.samples)))
            self._room = max([ROOM, *(3 * reply_of(one, self.maker, self._lettered(one)) // 2 for one in every)])
        return self._room

    def _lettered(self, sample: Sample) -> bool:
        return bool(sample.choices) and self.maker.config.lettered > 0.5

    def _mark(self) -> list[int]:
        """The ids that an echo ends with."""
        tokenizer = self.maker.rows.processor.tokenizer
        return list(tokenizer(self.objective.config.mark, add_special_tokens=False).input_ids)

    def _targets(self, learner: Any, batch: Any) -> Latents:
        targets: Latents = learner.targets(batch)
        kind = self.objective.config.kind
        visual = targets.visual_TD if kind in VISUAL else None
        return Latents(visual, targets.semantic_SE if kind in SEMANTIC else None)

    def _right(self, decoded: Decoded, wanted: Sequence[str]) -> int:
        given = [self._text(self.objective.answer(ids)) for ids in decoded.replies()]
        return sum(one == other for one, other in zip(given, wanted, strict=True))

    def _text(self, ids: Sequence[int]) -> str:
        tokenizer = self.maker.rows.processor.tokenizer
        return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def cut_off(ended: float, config: EvaluationConfig) -> str:
    """What is said where replies were cut off; `ended` is the share of those that were not."""
    told = f"evaluation: {1 - ended:.0%} of the replies were cut off and count as wrong"
    if config.new_tokens is None:
        return f"{told}, though right ones had room enough"
    return f"{told}: raise evaluation.new_tokens {config.new_tokens} if right ones may be longer"
