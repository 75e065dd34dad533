"""Samples -> rows of an objective: what is drawn for a showing, and substitutes for unusable ones."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice

from torch.utils.data import Dataset, IterableDataset

from slvr_data.errors import RunError
from slvr_model.data import Sample, SlvSamples, Unusable
from slvr_model.objectives.base import Objective
from slvr_model.prompts import LETTERS
from slvr_model.rows import Row
from slvr_model.sample_rows import SampleRows
from slvr_model.sft.config import DataConfig
from slvr_model.sft.dealing import Deal
from slvr_model.sft.mapped import MappedSamples
from slvr_model.tokens import spelled

Key = tuple[int, int] | tuple[int, int, bool]
"""(showing, number of the sample); and whether it is shown for nothing but to keep step with other processes."""
SUBSTITUTES = 20
"""Samples that are tried in place of one that is unusable."""


@dataclass(frozen=True)
class Shown:
    """A row to learn from, with the samples that could not be used before it was found."""

    row: Row
    faults: tuple[tuple[str, str, str], ...] = ()
    """(record, reason, evidence) of each."""
    query_id: str = ""
    idle: bool = False
    """Nothing is learnt from it: its process keeps step with the others."""


class RowMaker:
    """Makes rows of samples: question in one of its wordings, open or lettered, with the objective's reply.

    What is drawn for a showing is a function of (seed, sample, number of the showing) alone.
    """

    def __init__(self, rows: SampleRows, objective: Objective, config: DataConfig, seed: int) -> None:
        self.rows, self.objective, self.config, self.seed = rows, objective, config, seed
        self.limit = min(config.positions or rows.layout.limit, rows.layout.limit)

    def row(self, sample: Sample, showing: int) -> Row:
        """The row of a sample for its `showing`-th time.

        Raises:
            Unusable: the row is too long, or a text, the picture or the embedding cannot be used.
        """
        wording, lettered = self._drawn(sample, showing)
        asked = self.rows.asked(sample, wording=wording, lettered=lettered)
        row = self.objective.row(asked, sample, self.answer(sample, lettered), lettered=lettered)
        length = sum(len(block.prompt) + len(block.reply) for block in row.blocks) + len(row.prefix)
        if length > self.limit:
            raise Unusable("prompt-too-long", f"{length} positions, data.positions or the model allows {self.limit}")
        chance = random.Random(f"{self.seed} {showing} {sample.query_id} chance").getrandbits(63)
        return replace(row, blocks=tuple(replace(block, chance=chance) for block in row.blocks))

    def answer(self, sample: Sample, lettered: bool) -> tuple[int, ...]:
        """The ids of the answer, or of its letter, with the end token."""
        tokenizer = self.rows.processor.tokenizer
        answer = LETTERS[sample.choices.index(sample.answer)] if lettered else sample.answer
        if found := spelled(tokenizer, answer):
            raise Unusable("special-token", f"{', '.join(found)} in an answer; no text may spell that")
        return (*tokenizer(answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id)

    def _drawn(self, sample: Sample, showing: int) -> tuple[int, bool]:
        dice = random.Random(f"{self.seed} {showing} {sample.query_id}")
        wording = dice.randrange(len(sample.wordings)) if self.config.paraphrases else 0
        return wording, bool(sample.choices) and dice.random() < self.config.lettered


class ShownSamples(Dataset[Shown]):
    """Rows by (showing, number of the sample); a third entry that is true makes the row idle."""

    def __init__(self, samples: MappedSamples, numbers: Sequence[int], maker: RowMaker) -> None:
        self.samples, self.numbers, self.maker = samples, list(numbers), maker

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, key: Key) -> Shown:
        """The row of a sample; of the next usable one where it is unusable."""
        showing, number, *idle = key
        faults: list[tuple[str, str, str]] = []
        for offset in range(SUBSTITUTES):
            sample = self.samples[self.numbers[(number + offset) % len(self.numbers)]]
            try:
                row = self.maker.row(sample, showing)
            except Unusable as fault:
                faults.append(_named(sample, fault))
                continue
            return Shown(row, idle=True) if any(idle) else Shown(row, tuple(faults), sample.query_id)
        raise RunError(_too_many(faults))


class StreamedBatches(IterableDataset[list[Shown]]):
    """Batches of one process from a set in its order, shuffled through a buffer; pass after pass, without end.

    Samples are dealt out in turn to the processes that began the run; a batch is full when one of them has as many
    usable ones as it takes. Each process reads the whole stream.

    Args:
        samples: of a split.
        maker: of rows.
        size: samples of a batch.
        deal: what this process has of the batches.
    """

    def __init__(self, samples: SlvSamples, maker: RowMaker, size: int, deal: Deal) -> None:
        self.samples, self.maker, self.size, self.deal = samples, maker, size, deal

    def __len__(self) -> int:
        return self.deal.total

    def __iter__(self) -> Iterator[list[Shown]]:
        filled, ready = self._filled(), dict[int, list[Shown]]()
        idle: list[Shown] = []
        for turn in self.deal.parts():
            if turn is None:
                idle = idle or [Shown(next(filled)[1][0].row, idle=True)]
                yield idle
                continue
            number, part = turn
            ready = {later: batch for later, batch in ready.items() if later >= number}
            while number not in ready:
                ready.update([next(filled)])
            idle = idle or [Shown(ready[number][0].row, idle=True)]
            yield list(self.deal.cut(ready[number], part)) or idle

    def _filled(self) -> Iterator[tuple[int, list[Shown]]]:
        """Batches with their numbers, as they fill up: of all processes of the beginning whose batches are shown."""
        made = dict.fromkeys(self.deal.columns, 0)
        held: dict[int, list[Shown]] = {column: [] for column in made}
        faults: dict[int, list[tuple[str, str, str]]] = {column: [] for column in made}
        for place, (showing, sample) in enumerate(self._shuffled()):
            if (column := place % self.deal.begun) not in made:
                continue
            try:
                row = self.maker.row(sample, showing)
                held[column].append(Shown(row, tuple(faults[column]), sample.query_id))
                faults[column] = []
            except Unusable as fault:
                faults[column].append(_named(sample, fault))
            if len(faults[column]) > SUBSTITUTES:
                raise RunError(_too_many(faults[column]))
            if len(held[column]) == self.size:
                yield made[column] * self.deal.begun + column, held[column]
                held[column], made[column] = [], made[column] + 1

    def _shuffled(self) -> Iterator[tuple[int, Sample]]:
        """(showing, sample), each drawn from a buffer that the stream refills."""
        dice = random.Random(f"{self.maker.seed} stream")
        buffer: list[tuple[int, Sample]] = []
        for showing in count():
            met = False
            for sample in islice(self.samples, self.maker.config.limit):
                met = True
                if len(buffer) < self.maker.config.buffer:
                    buffer.append((showing, sample))
                    continue
                place = dice.randrange(len(buffer))
                yield buffer[place]
                buffer[place] = (showing, sample)
            if not met:
                raise RunError(f"{self.samples.folder} has no usable sample of split {self.samples.split!r}")


def _too_many(faults: Sequence[tuple[str, str, str]]) -> str:
    return f"{len(faults)} samples in a row cannot be used; the last: {': '.join(faults[-1])}"


def _named(sample: Sample, fault: Unusable) -> tuple[str, str, str]:
    return f"query {sample.query_id} of region {sample.region_id}", fault.reason, fault.evidence
