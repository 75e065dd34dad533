"""Which samples a process is shown in which batch, for a whole training: a function of the plan alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np

from slvr_model.efficiency.lengths import Plan
from slvr_model.efficiency.shared import TOGETHER, SharedPlan
from slvr_model.sft.config import TrainingConfig
from slvr_model.sft.dealing import Deal
from slvr_model.sft.mapped import MappedSamples
from slvr_model.sft.samples import Key, RowMaker
from slvr_model.sft.sizes import lengths_of, prefixes_of


class PlannedBatches:
    """The batches of one process, epoch after epoch, as a `DataLoader` takes them (`batch_sampler`).

    Args:
        plan: of all processes, those that began the run.
        deal: what this one has of it.
    """

    def __init__(self, plan: Plan | SharedPlan, deal: Deal) -> None:
        self.plan, self.deal = plan, deal
        self.batch_size, self.drop_last = plan.size, False

    def __len__(self) -> int:
        return self.deal.total

    def __iter__(self) -> Iterator[list[Key]]:
        every = enumerate(self._all())
        at, batch = next(every)
        idle: list[Key] = [(*batch[0], True)]
        for turn in self.deal.parts():
            if turn is None:
                yield idle
                continue
            number, part = turn
            while at < number:
                at, batch = next(every)
            yield list(self.deal.cut(batch, part)) or idle

    def _all(self) -> Iterator[list[tuple[int, int]]]:
        """The batches of all processes, in turn."""
        for epoch in count():
            for batch in self.plan.epoch(epoch):
                yield [(epoch, number) for number in batch]


def plan_of(
    training: TrainingConfig, samples: MappedSamples, numbers: Sequence[int], maker: RowMaker, ranks: int
) -> Plan | SharedPlan:
    """The plan of a run that learns some samples of a copy: those of `numbers`, in their order.

    Raises:
        UsageError: a sample is longer than a packed row.
    """
    chosen, most = list(numbers), numbers[-1] + 1
    lengths = np.ones(len(chosen), np.int64)
    if training.lengths != "random":
        lengths = lengths_of(samples, most, maker)[chosen]
    if training.lengths == "shared":
        known, together = samples.pictures, together_of(training)
        prefixes, pictures = prefixes_of(samples, most, maker)[chosen], [known[number] for number in chosen]
        return SharedPlan(lengths, prefixes, pictures, training.rows, training.seed, together, ranks=ranks)
    budget = (training.packed_positions or 0) if training.lengths == "packed" else 0
    return Plan(lengths, training.lengths, training.rows, training.seed, ranks=ranks, budget=budget)


def together_of(training: TrainingConfig) -> int:
    """The most questions behind one picture."""
    return min(training.questions or TOGETHER, training.rows)


def batches_of(plan: Plan | SharedPlan) -> int:
    """Batches that a process has in the first epoch."""
    return len(plan.epoch(0)) // plan.ranks
