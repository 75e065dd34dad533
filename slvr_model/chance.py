"""What is left to chance in a batch, drawn for each sample by a number of its own (`rows.Block.chance`).

So what is drawn for a sample is the same in whatever batch it is, whole or cut into parts, and whatever rows it shares.
Batches of samples without such a number are drawn for as a whole, by a generator.

N positions, S samples
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from slvr_model.batches import Batch
from slvr_model.objectives.averages import sample_numbers

HIDDEN = 9
"""The purpose of draws that hide answers; slots have the number of their kind, from 0."""


def of_positions(
    batch: Batch, row_N: Tensor, at_N: Tensor, purpose: int, generator: torch.Generator | None = None
) -> Tensor:
    """[N] numbers in [0, 1), on the CPU, for positions (row, at) of samples, in reading order.

    Args:
        batch: whose.
        row_N: of each position.
        at_N: of each position.
        purpose: draws for different ones have nothing to do with each other.
        generator: of samples without a number of their own.
    """
    if not batch.chance_S:
        return torch.rand(len(row_N), generator=generator)
    number_N = sample_numbers(batch)[row_N, at_N].cpu()
    return _drawn(batch.chance_S, torch.bincount(number_N, minlength=len(batch.chance_S)).tolist(), purpose)


def of_samples(
    chance_S: tuple[int, ...], samples: int, purpose: int, generator: torch.Generator | None = None
) -> Tensor:
    """[S] numbers in [0, 1), on the CPU, one for each sample of a batch; see `of_positions`."""
    if not chance_S:
        return torch.rand(samples, generator=generator)
    return _drawn(chance_S, [1] * samples, purpose)


def _drawn(chance_S: tuple[int, ...], counts: list[int], purpose: int) -> Tensor:
    parts = [
        np.random.default_rng((chance, purpose)).random(count) for chance, count in zip(chance_S, counts, strict=True)
    ]
    return torch.from_numpy(np.concatenate(parts))
