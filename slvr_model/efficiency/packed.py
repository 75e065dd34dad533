"""Samples with different pictures in one row, each computing what it computes alone.

A packed row is [sample 1][sample 2]...; a sample is a `Row` of `rows.py` with its own prefix, pictures and blocks. Its
positions begin at 0, and it sees nothing of the others: position p sees q <= p of the same sample where q is in the
prefix or in p's own block. Blocks are numbered through the row (prefixes keep 0), so that what is averaged per block of
a row stays per question. Attention still computes the whole square under its mask; everything else costs a token's
share.

B packed rows, L positions, R samples
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.batches import Batch, collate
from slvr_model.rows import IGNORED, Layout, Row


def packed_batch(rows: Sequence[Row], layout: Layout, packs: Sequence[Sequence[int]] | None = None) -> Batch:
    """A batch of packed rows, padded on the right to the longest; `mask_BLL` keeps samples apart.

    Slots, boxes and embeddings are in reading order of the packed rows. `layout.limit` holds for each sample, not for a
    packed row: positions restart.

    Args:
        rows: the samples.
        layout: of the model.
        packs: which samples each packed row holds, in order; None: all of them in one row.

    Raises:
        UsageError: a sample does not fit `layout` (named by its place among the packed ones), or `packs` do not hold
            each sample once.
    """
    held = [list(range(len(rows)))] if packs is None else [list(pack) for pack in packs]
    order = [number for pack in held for number in pack]
    if sorted(order) != list(range(len(rows))) or not all(held):
        raise UsageError(f"packs {held} of {len(rows)} samples: each sample once, and no empty pack, are needed")
    return packed(collate([rows[number] for number in order], layout), [len(pack) for pack in held], layout.pad_token)


def packed(flat: Batch, sizes: Sequence[int], pad_token: int) -> Batch:
    """The rows [R, *] of a padded batch in packed rows: the first `sizes[0]` of them in the first one, and so on.

    Raises:
        UsageError: `sizes` are not positive numbers that add up to the rows of the batch.
    """
    if sum(sizes) != len(flat.ids_BL) or min(sizes, default=0) < 1:
        raise UsageError(f"packs of {list(sizes)} rows, but the batch has {len(flat.ids_BL)}")
    moved = _Moved(flat, list(sizes))
    return replace(
        flat,
        ids_BL=moved(flat.ids_BL, pad_token),
        kept_BL=moved(flat.kept_BL, False),
        positions_3BL=torch.stack([moved(one_RL, 0) for one_RL in flat.positions_3BL]),
        blocks_BL=moved(_numbered(flat.blocks_BL, moved.pack_R), -1),
        labels_BL=moved(_without_first(flat.labels_BL, flat.kept_BL), IGNORED),
        mask_BLL=_mask(moved(moved.sample_RL, -1), moved(flat.blocks_BL, -1)),
    )


class _Moved:
    """Where the kept positions of samples [R, *] go in packed rows [B, L]."""

    def __init__(self, flat: Batch, sizes: list[int]) -> None:
        self.kept_RL = flat.kept_BL
        self.pack_R = torch.repeat_interleave(torch.tensor(sizes))
        self.sample_RL = torch.arange(len(self.kept_RL))[:, None].expand_as(self.kept_RL)
        length_R = self.kept_RL.sum(1)
        length_B = torch.zeros(len(sizes), dtype=torch.long).index_add_(0, self.pack_R, length_R)
        self.shape = (len(sizes), int(length_B.max()))
        self.row = self.pack_R.repeat_interleave(length_R)
        begins_B = length_B.cumsum(0) - length_B
        self.at = torch.arange(len(self.row)) - begins_B[self.row]

    def __call__(self, values_RL: Tensor, fill: int) -> Tensor:
        """Values of samples at their places in packed rows."""
        out_BL = torch.full(self.shape, fill, dtype=values_RL.dtype)
        out_BL[self.row, self.at] = values_RL[self.kept_RL]
        return out_BL


def _numbered(blocks_RL: Tensor, pack_R: Tensor) -> Tensor:
    """Blocks numbered on from sample to sample of a pack; prefixes stay 0."""
    most_R = blocks_RL.amax(1).clamp_min(0)
    before_R = most_R.cumsum(0) - most_R
    first_R = torch.cat([pack_R.new_ones(1, dtype=torch.bool), pack_R[1:] != pack_R[:-1]])
    begins_R = torch.where(first_R, before_R, 0).cummax(0).values
    return torch.where(blocks_RL > 0, blocks_RL + (before_R - begins_R)[:, None], blocks_RL)


def _without_first(labels_RL: Tensor, kept_RL: Tensor) -> Tensor:
    """Nothing stands before the first position of a sample; in a pack, the sample before it would."""
    first_RL = kept_RL & (kept_RL.cumsum(1) == 1)
    return labels_RL.masked_fill(first_RL, IGNORED)


def _mask(sample_BL: Tensor, blocks_BL: Tensor) -> Tensor:
    """Causal within a sample: all of it sees its prefix (0), and a block itself; padding (-1) sees itself alone."""
    length = blocks_BL.shape[1]
    together_BLL = sample_BL[:, :, None] == sample_BL[:, None, :]
    query_BL1, key_B1L = blocks_BL[:, :, None], blocks_BL[:, None, :]
    together_BLL &= ((query_BL1 == key_B1L) | (key_B1L == 0)) & (query_BL1 >= 0)
    return together_BLL.tril_() | torch.eye(length, dtype=torch.bool)
