"""Which samples a process is shown in which batch, for a whole training: a function of the plan alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

from slvr_model.efficiency.lengths import Plan

Key = tuple[int, int]
"""(showing, number of the sample)."""


class PlannedBatches:
    """The batches of one process, epoch after epoch, as a `DataLoader` takes them (`batch_sampler`).

    Args:
        plan: of all processes.
        rank: this one.
        total: batches of the whole training.
    """

    def __init__(self, plan: Plan, rank: int, total: int) -> None:
        self.plan, self.rank, self.total = plan, rank, total
        self.batch_size, self.drop_last = plan.size, False

    def __len__(self) -> int:
        return self.total

    def __iter__(self) -> Iterator[list[Key]]:
        return islice(self._all(), self.total)

    def _all(self) -> Iterator[list[Key]]:
        for epoch in count():
            for batch in self.plan.epoch(epoch)[self.rank :: self.plan.ranks]:
                yield [(epoch, number) for number in batch]


def batches_of(plan: Plan) -> int:
    """Batches that a process has in the first epoch."""
    return len(plan.epoch(0)) // plan.ranks
