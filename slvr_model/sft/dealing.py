"""How the batches of a run are dealt out to processes, also where they are more or fewer than those that began it.

Which samples a batch has, and which batches a step has, is settled by the processes that begin a run. Batches are
numbered step by step, and within a step in the order (batch of a process, process). Later processes, however many,
take the batches of a step in turn, so that a step is always made of the same samples. Where they cannot share them
evenly, each batch is cut into parts first:

    begun by 2, 1 batch each    step: 0 1        gone on with by 1: (0 1)    by 4: (0a) (0b) (1a) (1b)

Each process has as many batches of a step as the others; where there is nothing left to show, it has an idle one, which
weighs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from slvr_data.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Deal:
    """What a process has of the batches of a run."""

    batches: int
    """Of the whole training, of each process that began it."""
    accumulate: int = 1
    """Of a step, of each of those."""
    begun: int = 1
    """How many processes began it."""
    rank: int = 0
    """This process."""
    ranks: int = 1
    """How many there are now."""

    @property
    def cuts(self) -> int:
        """Parts that a batch is cut into; 1: none."""
        return self.ranks // math.gcd(self.begun * self.accumulate, self.ranks)

    @property
    def each(self) -> int:
        """Batches, or parts of batches, that a process has in a step."""
        return self.begun * self.accumulate * self.cuts // self.ranks

    @property
    def steps(self) -> int:
        """Of the optimiser; the last may have fewer batches."""
        return math.ceil(self.batches / self.accumulate)

    @property
    def total(self) -> int:
        """Batches, or parts of them, of this process in the whole training."""
        steps, left = divmod(self.batches, self.accumulate)
        return steps * self.each + math.ceil(left * self.begun * self.cuts / self.ranks)

    def parts(self) -> Iterator[tuple[int, int] | None]:
        """(number of the batch, its part) of each turn of this process; None: there is nothing left to show."""
        for turn in range(self.total):
            number, part = self._at(*divmod(turn, self.each))
            yield (number, part) if number < self.batches * self.begun else None

    def cut(self, batch: Sequence[T], part: int) -> Sequence[T]:
        """A part of a batch; it is empty where there are more parts than samples."""
        return batch[len(batch) * part // self.cuts : len(batch) * (part + 1) // self.cuts]

    @property
    def columns(self) -> set[int]:
        """Which of the processes that began the run had the batches that this one shows."""
        return {self._at(0, turn)[0] % self.begun for turn in range(self.each)}

    def place(self, turn: int) -> tuple[int, ...]:
        """Of a process's turn in a step: (batch, process) as the run was begun, and the part where batches are cut.

        Dropout in a batch is keyed by it, whoever computes it. What else is drawn is keyed by samples.
        """
        number, part = self._at(0, turn)
        column = divmod(number, self.begun)
        return column if self.cuts == 1 else (*column, part)

    def check_whole(self, setting: str) -> None:
        """Whether batches stay whole, as a setting needs whose loss is not the sum of those of a batch's parts.

        Raises:
            UsageError: they are cut.
        """
        if self.cuts > 1:
            raise UsageError(
                f"{setting} weighs by batches, and {self.ranks} processes would cut each into {self.cuts}: take a "
                f"number of processes that divides {self.begun * self.accumulate}"
            )

    def told(self, rows: int) -> str:
        """How a step is shared, in words."""
        step = f"{rows} x {self.accumulate} x {self.begun} samples"
        if self.begun == self.ranks:
            return step
        cut = "" if self.cuts == 1 else f", batches cut into {self.cuts}"
        now = "1 process shows" if self.ranks == 1 else f"{self.ranks} processes show"
        return f"{step}, which {now} in {self.each} turn{'s' if self.each > 1 else ''}{cut}"

    def _at(self, step: int, turn: int) -> tuple[int, int]:
        first = step * self.begun * self.accumulate * self.cuts
        return divmod(first + turn * self.ranks + self.rank, self.cuts)
