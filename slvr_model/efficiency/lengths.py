"""Which samples form a batch, from their lengths alone: at random, of like length, or packed into one row.

An epoch is a list of batches, a function of (lengths, settings, seed, number of the epoch) and of nothing else, so that
a run goes on from any batch as if it had never stopped, and every rank knows the batches of all.

    random    shuffled samples, `size` of them padded to the longest
    grouped   shuffled; windows of `window` batches sorted by length, cut into batches; batches shuffled again
    packed    shuffled; first-fit decreasing in each window into rows of at most `budget` tokens; rows shuffled again

`ranks` batches in a row, one of each rank, are of like length (grouped) or near the budget (packed), so that no rank
waits for the longest sample of another. The first batches of the first epoch are those that need the most memory: what
does not fit, fails at once and not hours later.

For lengths log-uniform over a range of factor f, a window of w batches leaves about ln(f) / (2 w) of the computed
tokens as padding: 3 % at f = 40 and w = 64.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from slvr_data.errors import UsageError

Kind = Literal["random", "grouped", "packed"]
Ints = npt.NDArray[np.int64]
Batches = list[list[int]]
"""Numbers of samples, batch by batch."""
KINDS: tuple[Kind, ...] = ("random", "grouped", "packed")


@dataclass(frozen=True, eq=False)
class Plan:
    """The batches of a run.

    Raises:
        UsageError: there are no samples, a number is not positive, or a sample is longer than the budget (named).
    """

    lengths: Ints
    """Tokens of each sample."""
    kind: Kind = "grouped"
    size: int = 8
    """Samples of a batch; of a packed row, on average, where no budget is given."""
    seed: int = 0
    window: int = 64
    """Batches per rank that are sorted or packed together: more of them save more and shuffle less."""
    ranks: int = 1
    budget: int = 0
    """Tokens of a packed row; 0: `size` samples of mean length, at least the longest."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(f'batches of kind "{self.kind}": {", ".join(KINDS)} are known')
        for name in ("size", "window", "ranks"):
            if (value := getattr(self, name)) < 1:
                raise UsageError(f"{name} {value}: at least 1 is needed")
        lengths = np.asarray(self.lengths, np.int64)
        if lengths.ndim != 1 or len(lengths) == 0 or lengths.min() < 1:
            raise UsageError("the lengths of at least one sample are needed, each of at least 1 token")
        object.__setattr__(self, "lengths", lengths)
        if self.kind == "packed":
            if self.budget == 0:
                mean = int(np.ceil(self.size * lengths.mean()))
                object.__setattr__(self, "budget", max(mean, int(lengths.max())))
            if (worst := int(lengths.max())) > self.budget:
                number = int(lengths.argmax())
                raise UsageError(
                    f"sample {number} has {worst} tokens, a packed row takes {self.budget}: raise `budget`"
                )

    def epoch(self, number: int) -> Batches:
        """The batches of an epoch; `ranks` in a row, one of each rank, are one step. Every sample is in one of them.

        Where fewer samples are left than ranks, some are shown once more, so that each rank has a batch.
        """
        dice = np.random.default_rng([self.seed, number])
        order = dice.permutation(len(self.lengths))
        steps = self._packed(order) if self.kind == "packed" else self._padded(order)
        steps = [steps[n] for n in dice.permutation(len(steps))]
        if number == 0:
            worst = max(range(len(steps)), key=lambda n: max(map(self._computed, steps[n])))
            steps.insert(0, steps.pop(worst))
        return [batch for step in steps for batch in step]

    def batches(self, start: int = 0) -> Iterator[list[int]]:
        """All batches from number `start` on, epoch after epoch, without end."""
        number, at = 0, start
        while True:
            epoch = self.epoch(number)
            yield from epoch[at:]
            number, at = number + 1, max(0, at - len(epoch))

    def _padded(self, order: Ints) -> list[Batches]:
        together = self.size * self.ranks
        if self.kind == "grouped":
            order = np.concatenate([part[self._longest_first(part)] for part in self._windows(order)])
        steps = [order[n : n + together] for n in range(0, len(order), together)]
        if len(steps[-1]) < self.ranks:
            steps[-1] = np.resize(np.concatenate([steps[-1], order]), self.ranks)
        return [[step[rank :: self.ranks].tolist() for rank in range(self.ranks)] for step in steps]

    def _packed(self, order: Ints) -> list[Batches]:
        rows = [row for part in self._windows(order) for row in self._rows(part)]
        rows.sort(key=self._computed, reverse=True)  # stable: steps of rows that are full alike
        while len(rows) % self.ranks:
            most = max(range(len(rows)), key=lambda n: len(rows[n]))
            half = len(rows[most]) // 2
            rows.append(rows[most][half:])  # of one sample: it is shown twice
            rows[most] = rows[most][:half] or rows[most]
        return [rows[n : n + self.ranks] for n in range(0, len(rows), self.ranks)]

    def _rows(self, part: Ints) -> Batches:
        """First-fit decreasing: each sample, the longest first, goes into the first row with room for it."""
        rows: Batches = []
        room = np.full(len(part), self.budget)
        for number in part[self._longest_first(part)].tolist():
            place = int(np.argmax(room[: len(rows) + 1] >= self.lengths[number]))
            if place == len(rows):
                rows.append([])
            rows[place].append(number)
            room[place] -= self.lengths[number]
        return rows

    def _windows(self, order: Ints) -> list[Ints]:
        wide = self.window * self.size * self.ranks
        return [order[n : n + wide] for n in range(0, len(order), wide)]

    def _longest_first(self, part: Ints) -> Ints:
        return np.argsort(-self.lengths[part], kind="stable")

    def _computed(self, batch: Sequence[int]) -> int:
        return work([batch], self.lengths, packed=self.kind == "packed").computed


@dataclass(frozen=True)
class Work:
    """What batches make a model compute."""

    real: int
    """Tokens of samples."""
    computed: int
    """Tokens with padding."""
    pairs: int
    """Pairs of tokens under a dense attention mask: the sum of squared row lengths."""

    @property
    def share(self) -> float:
        """Of computed tokens that are real."""
        return self.real / self.computed


def work(batches: Sequence[Sequence[int]], lengths: Ints, *, packed: bool) -> Work:
    """The work of batches: padded to their longest sample, or packed into one row each."""
    real = computed = pairs = 0
    for batch in batches:
        held = lengths[list(batch)]
        rows, length = (1, int(held.sum())) if packed else (len(held), int(held.max()))
        real, computed, pairs = real + int(held.sum()), computed + rows * length, pairs + rows * length**2
    return Work(real, computed, pairs)
