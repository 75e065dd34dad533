"""Several questions behind one picture: rows that share their prefix, and the plan of an epoch of such rows.

A sample's own row is [picture, with what stands before it][question, reply]. Samples about one picture become one row

    [picture][question 1, reply 1][question 2, reply 2]...

whose prefix is computed once. Each block sees the prefix and itself, and its positions begin where the prefix ends
(`rows.py`), so a sample computes what it computes alone.

    tokens of n samples alone    sum over i of (P + l_i),  P positions of the prefix, l_i of question and reply
    tokens of their shared row   P + sum over i of l_i

A plan is a function of (lengths, pictures, settings, seed, number of the epoch) alone, like `lengths.Plan`: the samples
of each picture are shuffled and cut into as few parts of nearly equal number as `together` allows; each part is a row,
and rows of like length form a batch of about `size` samples. Lengths are compared in steps of `STEP` (in logarithms):
compared exactly, the rows of one picture would meet in one batch, which then showed little else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from slvr_data.errors import UsageError
from slvr_model.efficiency.lengths import Batches, Ints, Plan
from slvr_model.rows import Layout, Row

TOGETHER = 4
"""Questions of one picture in a row, unless told otherwise: more save more, and make a batch show fewer pictures."""
STEP = 0.06
"""About half of it is what rows of one step have as padding."""


@dataclass(frozen=True, eq=False)
class SharedPlan:
    """The batches of a run whose rows share pictures; `epoch` gives samples, as `lengths.Plan` does.

    Raises:
        UsageError: there are no samples, a number is not positive, or not every sample has a length, a prefix shorter
            than it, and a picture.
    """

    lengths: Ints
    """Positions of each sample alone."""
    prefixes: Ints
    """Of them, those up to the end of its picture."""
    pictures: Sequence[int]
    """The number of the picture that each sample is about."""
    size: int = 8
    """Samples of a batch, on average."""
    seed: int = 0
    together: int = TOGETHER
    """Most samples of a row."""
    window: int = 64
    """Batches per rank that are sorted by length together."""
    ranks: int = 1

    def __post_init__(self) -> None:
        for name in ("size", "together", "window", "ranks"):
            if (value := getattr(self, name)) < 1:
                raise UsageError(f"{name} {value}: at least 1 is needed")
        sizes = {len(self.lengths), len(self.prefixes), len(self.pictures)}
        if len(sizes) > 1 or 0 in sizes or bool((self.prefixes >= self.lengths).any()):
            raise UsageError(
                f"{len(self.lengths)} lengths, {len(self.prefixes)} prefixes and {len(self.pictures)} pictures: each "
                "sample needs one, and a prefix is shorter than its sample"
            )

    def epoch(self, number: int) -> Batches:
        """The samples of each batch of an epoch, those of a row one after the other; see `lengths.Plan.epoch`."""
        rows = self.rows(number)
        steps = np.ceil(np.log([self.positions(row) for row in rows]) / STEP)
        order = Plan(
            np.exp(steps * STEP).astype(np.int64),
            "grouped",
            max(1, round(self.size * len(rows) / len(self.lengths))),
            self.seed,
            self.window,
            self.ranks,
        ).epoch(number)
        return [[sample for row in batch for sample in rows[row]] for batch in order]

    def rows(self, number: int) -> list[list[int]]:
        """The samples of each row of an epoch."""
        dice = np.random.default_rng([self.seed, number, self.together])
        of_picture: dict[int, list[int]] = {}
        for sample, picture in enumerate(self.pictures):
            of_picture.setdefault(picture, []).append(sample)
        rows = []
        for samples in of_picture.values():
            shuffled, parts = dice.permutation(np.array(samples)), -(-len(samples) // self.together)
            rows += [part.tolist() for part in np.array_split(shuffled, parts)]
        return rows

    def positions(self, row: Sequence[int]) -> int:
        """How many positions the samples of a row take behind one picture."""
        own = self.lengths[row] - self.prefixes[row]
        return int(self.prefixes[row].max() + own.sum())


def shared_rows(rows: Sequence[Row], layout: Layout, most: int | None = None) -> list[Row]:
    """Rows of one block each, those about the same pictures put behind them: first met, first in order.

    A row is not longer than `layout.limit` allows: what does not fit begins another.

    Args:
        rows: one sample each.
        layout: of the model.
        most: samples of a row; None: as many as fit.

    Raises:
        UsageError: a row has several blocks.
    """
    held: dict[tuple[object, ...], list[Row]] = {}
    lengths: dict[tuple[object, ...], int] = {}
    for number, row in enumerate(rows):
        if len(row.blocks) != 1:
            raise UsageError(f"row {number} has {len(row.blocks)} questions: rows that are to share a picture have one")
        cut = _cut(row, layout)
        key = (row.prefix[:cut], tuple((picture.key, picture.size) for picture in row.pictures))
        block = replace(row.blocks[0], prompt=(*row.prefix[cut:], *row.blocks[0].prompt))
        own = len(block.prompt) + len(block.reply)
        mine = held.setdefault(key, [])
        full = bool(mine) and len(mine[-1].blocks) == most
        if not mine or full or lengths[key] + own > layout.limit:
            mine.append(replace(row, prefix=row.prefix[:cut], blocks=(block,)))
            lengths[key] = _positions(row, cut, layout) + own
        else:
            mine[-1] = replace(mine[-1], blocks=(*mine[-1].blocks, block))
            lengths[key] += own
    return [row for mine in held.values() for row in mine]


def _cut(row: Row, layout: Layout) -> int:
    """Where the last picture of a row's prefix ends; 0: it shows none."""
    at: Iterator[int] = (n for n in range(len(row.prefix), 0, -1) if row.prefix[n - 1] == layout.image_token)
    return next(at, 0)


def _positions(row: Row, cut: int, layout: Layout) -> int:
    """Of the prefix up to the cut, with a position for each visual token."""
    visual = sum(picture.grid[1] * picture.grid[2] // layout.merge**2 for picture in row.pictures)
    return visual + sum(token != layout.image_token for token in row.prefix[:cut])
