"""A box in a picture -> the visual tokens it covers, and n such tokens -> K slots.

N tokens of a region, K slots, D channels, M visual tokens of a batch, R regions, T = R * K slots of a batch
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slvr_data.errors import UsageError


def box_tokens(
    box_xyxy: Sequence[float], picture_size: tuple[float, float], grid_hw_merged: tuple[int, int]
) -> list[int]:
    """Indices (y * w + x, row-major) of the visual tokens whose cells a box overlaps; never none, never outside.

    The picture is scaled to fill the grid exactly (smart resize: both sides whole multiples of a cell), so a box
    edge x lies at x / width * w cells whatever the scaling was: tokens floor(x1 / W * w) .. ceil(x2 / W * w) - 1,
    the same for y. The released code uses this rule on boxes of 0 to 1, but finds no token for boxes without area and
    takes pixels for fractions; here the box is in pixels and one token is the least.

    Args:
        box_xyxy: (x1, y1, x2, y2) in pixels of the picture, not of its scaled form.
        picture_size: (width, height) in pixels.
        grid_hw_merged: rows and columns of visual tokens, after merging.

    Raises:
        UsageError: the box is not four finite numbers, is empty, or is not inside the picture (half a pixel of
            rounding is let through).
    """
    (width, height), (rows, columns) = picture_size, grid_hw_merged
    if min(width, height) <= 0 or min(rows, columns) < 1:
        raise UsageError(f"picture {width}x{height} with a grid of {rows}x{columns} tokens: both need an area")
    if len(box_xyxy) != 4 or not all(math.isfinite(edge) for edge in box_xyxy):
        raise UsageError(f"box {list(box_xyxy)}: give four finite numbers x1, y1, x2, y2 in pixels")
    x1, y1, x2, y2 = map(float, box_xyxy)
    if x2 <= x1 or y2 <= y1:
        raise UsageError(f"box {list(box_xyxy)} is empty: x1 < x2 and y1 < y2 are needed")
    if x1 < -0.5 or y1 < -0.5 or x2 > width + 0.5 or y2 > height + 0.5 or x1 >= width or y1 >= height:
        raise UsageError(f"box {list(box_xyxy)} lies outside of its picture of {width}x{height} pixels")
    left, right = _cells(x1, x2, width, columns)
    top, bottom = _cells(y1, y2, height, rows)
    return [y * columns + x for y in range(top, bottom) for x in range(left, right)]


def _cells(low: float, high: float, length: float, cells: int) -> tuple[int, int]:
    """First cell that [low, high] of `length` overlaps, and one past the last."""
    first = min(max(math.floor(low * cells / length), 0), cells - 1)
    return first, max(min(math.ceil(high * cells / length), cells), first + 1)


def slot_ranges(number: int, slots: int) -> list[tuple[int, int]]:
    """Which of `number` tokens each slot averages: [floor(k n / K), ceil((k + 1) n / K)), as adaptive pooling does.

    For n >= K every token is in some slot; for n < K tokens repeat, in order; n = 1 fills every slot.
    """
    if number < 1 or slots < 1:
        raise UsageError(f"{number} tokens cannot be pooled to {slots} slots: at least one of each is needed")
    return [(k * number // slots, -((k + 1) * number // -slots)) for k in range(slots)]


def pooled(tokens_nd: Tensor, slots: int) -> Tensor:
    """Means [K, D] of a region's tokens [N, D] in row-major order; see `slot_ranges`."""
    plan = pool_plan([range(len(tokens_nd))], slots)
    return plan.pool(tokens_nd)


@dataclass(frozen=True, eq=False)
class PoolPlan:
    """The pooling of all regions of a batch as one weighted sum of E entries.

    Entry e adds weight_E[e] times visual token source_E[e] to slot slot_E[e].
    """

    source_E: Tensor
    slot_E: Tensor
    weight_E: Tensor
    total: int
    """Number of slots T."""

    def to(self, device: torch.device | str) -> PoolPlan:
        """The plan on another device."""
        return PoolPlan(self.source_E.to(device), self.slot_E.to(device), self.weight_E.to(device), self.total)

    def pool(self, tokens_md: Tensor) -> Tensor:
        """Pooled slots [T, D] from all visual tokens [M, D] of the batch; regions one after another, K slots each.

        In float32 at least, whatever the tokens are: a mean of hundreds of bfloat16 numbers, summed as such, is biased.
        """
        wide = torch.promote_types(tokens_md.dtype, torch.float32)
        weighted_ed = tokens_md[self.source_E].to(wide) * self.weight_E[:, None].to(wide)
        return weighted_ed.new_zeros(self.total, tokens_md.shape[1]).index_add_(0, self.slot_E, weighted_ed)


def pool_plan(regions: Sequence[Sequence[int]], slots: int) -> PoolPlan:
    """The plan that pools each region (indices into the batch's visual tokens, row-major) to K slots."""
    source: list[int] = []
    slot: list[int] = []
    weight: list[float] = []
    for number, region in enumerate(regions):
        for k, (low, high) in enumerate(slot_ranges(len(region), slots)):
            source += region[low:high]
            slot += [number * slots + k] * (high - low)
            weight += [1 / (high - low)] * (high - low)
    ids = torch.tensor([source, slot], dtype=torch.long).reshape(2, -1)
    return PoolPlan(ids[0], ids[1], torch.tensor(weight, dtype=torch.float32), len(regions) * slots)
