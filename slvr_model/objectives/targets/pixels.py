"""The pictures of a batch from its patches, and the visual tokens of its regions.

The public processor orders patches by visual token, then by row and column inside of it; a patch is (channel, time,
row, column). Time repeats the picture.

H, W pixels, P patches, X values of a patch, M visual tokens of a batch, N tokens of its regions
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.batches import Batch
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.targets.base import TensorTarget


def pictures_of(model: SlvrModel, batch: Batch) -> list[Tensor]:
    """Each distinct picture [3, H, W] as the processor scaled and normalised it, in float32.

    Raises:
        UsageError: the batch shows none.
    """
    if batch.pixels_PX is None or batch.grids_N3 is None:
        raise UsageError("the batch shows no pictures to make targets of")
    vision: Any = model.config.vision_config
    side, merge = vision.patch_size, vision.spatial_merge_size
    made, at = [], 0
    for _, rows, columns in batch.grids_N3.tolist():
        patches_PX = batch.pixels_PX[at : at + rows * columns].float()
        at += rows * columns
        split = patches_PX.view(rows // merge, columns // merge, merge, merge, vision.in_channels, -1, side, side)
        last = split[:, :, :, :, :, -1]  # row, column of a token; row, column of a patch; channel; row, column
        made.append(last.permute(4, 0, 2, 5, 1, 3, 6).reshape(vision.in_channels, rows * side, columns * side))
    return made


def cell_of(model: SlvrModel) -> int:
    """Pixels per side of a visual token."""
    vision: Any = model.config.vision_config
    return int(vision.patch_size * vision.spatial_merge_size)


def region_tokens(batch: Batch, slots: int) -> tuple[Tensor, Tensor]:
    """Visual tokens [N] of each region, row-major, and the region [N] of each.

    Raises:
        UsageError: the batch has no regions.
    """
    if batch.regions is None:
        raise UsageError("the batch has no regions: give every visual span its box, and the row its picture")
    plan = batch.regions
    most = int(plan.source_E.max()) + 1
    both: Tensor = torch.unique(plan.slot_E // slots * most + plan.source_E)
    return both % most, both // most


@torch.no_grad()
def at_regions(model: SlvrModel, batch: Batch, features: Callable[[Tensor, int], Tensor]) -> TensorTarget:
    """Features of all visual tokens of each region.

    Args:
        model: whose cells and slots count.
        batch: with pictures and regions.
        features: (picture [3, H, W], pixels per side of a cell) -> [F, H / cell, W / cell].
    """
    cell = cell_of(model)
    maps = [features(picture, cell) for picture in pictures_of(model, batch)]
    all_MF = torch.cat([one.flatten(1).T for one in maps])
    token_N, region_N = region_tokens(batch, model.latent_config.visual_slots)
    return TensorTarget(all_MF[token_N], region_N)
