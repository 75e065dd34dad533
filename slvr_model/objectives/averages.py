"""Which sample a position belongs to, and means within samples, then over samples.

    loss of a batch = (1 / samples) sum over samples of [ mean over its positions (or slots) of their losses ]

so that each sample has the same share whatever its length and its region's size, and the loss of a step is the same
however its samples are cut into batches, accumulated or spread over devices (`samples` is then that of the whole step).
With "token" (the released code) the mean is over all positions of a micro-batch: long samples and large regions own it.

B rows, L positions, N supervised positions or slots, S samples
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.batches import Batch
from slvr_model.rows import IGNORED


def sample_numbers(batch: Batch) -> Tensor:
    """[B, L]: the number of the sample that a position is of, in reading order from 0; -1 in prefixes and padding."""
    blocks_BL = batch.blocks_BL
    before_BL = torch.cat([torch.full_like(blocks_BL[:, :1], -2), blocks_BL[:, :-1]], 1)
    begins_BL = (blocks_BL > 0) & (blocks_BL != before_BL)
    number_BL = begins_BL.flatten().long().cumsum(0).view_as(blocks_BL) - 1
    return torch.where(blocks_BL > 0, number_BL, -1)


def taught(batch: Batch) -> int:
    """Samples of a batch with anything supervised."""
    number_BL = sample_numbers(batch)
    return len(torch.unique(number_BL[(batch.labels_BL != IGNORED) & (number_BL >= 0)]))


@dataclass(frozen=True, eq=False)
class Averages:
    """How losses of single positions become the loss of a batch."""

    number_BL: Tensor
    taught: int
    """Samples with anything supervised."""
    divisor: float
    how: Literal["sample", "token"]

    @classmethod
    def of(cls, batch: Batch, how: Literal["sample", "token"] = "sample", samples: float | None = None) -> Averages:
        """For a batch; `samples`: what to divide by, None: the number of its samples.

        Raises:
            UsageError: nothing in it is supervised, or `samples` is not positive.
        """
        number = taught(batch)
        if not number:
            raise UsageError("nothing in the batch is supervised: its rows have no replies")
        if samples is not None and not samples > 0:
            raise UsageError(f"samples {samples}: a positive number to divide by is needed")
        return cls(sample_numbers(batch), number, float(number if samples is None else samples), how)

    def mean(self, losses_N: Tensor, row_N: Tensor, at_N: Tensor) -> Tensor:
        """The loss of a batch from those of positions (row, at)."""
        if len(losses_N) == 0:
            return losses_N.sum()
        if self.how == "token":
            return losses_N.mean() * (self.taught / self.divisor)
        number_N = self.number_BL[row_N, at_N]
        count_S = torch.bincount(number_N)
        return (losses_N / count_S[number_N]).sum() / self.divisor

    def scaled(self, mean: Tensor) -> Tensor:
        """A mean over the batch as a whole, scaled so that it adds up over batches like the other losses."""
        return mean * (self.taught / self.divisor)
