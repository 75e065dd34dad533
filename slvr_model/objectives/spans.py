"""Targets "all": a visual slot for each visual token of a region, so that spans of a batch differ in length.

Collation holds every span of a row to one number of slots. So each row (one question) is collated by itself, with the
number its span has, and the batches of one row are joined.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.batches import Batch, collate
from slvr_model.regions import PoolPlan, box_tokens
from slvr_model.rows import IGNORED, Box, Layout, Picture, Row


def region_size(box: Box, picture: Picture, layout: Layout) -> int:
    """The number of visual tokens that a box overlaps."""
    _, h, w = picture.grid
    return len(box_tokens(box, picture.size, (h // layout.merge, w // layout.merge)))


def collate_spans(rows: Sequence[Row], layout: Layout, side: Literal["left", "right"] = "right") -> Batch:
    """As `batches.collate`, for rows of one question whose span may have any number of slots.

    Raises:
        UsageError: a row has several questions or several spans, or does not fit `layout` (named with its number).
    """
    if not rows:
        raise UsageError("a batch needs at least one row")
    alone = [_alone(number, row, layout) for number, row in enumerate(rows)]
    length = max(one.ids_BL.shape[1] for one in alone)
    given = [one.semantics_SE for one in alone if one.semantics_SE is not None]
    if given and len(given) < len(alone):
        raise UsageError(f"embeddings for {len(given)} of {len(alone)} rows: in a batch, give every slot one or none")
    joined = Batch(
        _joined([one.ids_BL for one in alone], length, layout.pad_token, side),
        _joined([one.kept_BL for one in alone], length, False, side),
        torch.stack([_joined([one.positions_3BL[axis] for one in alone], length, 0, side) for axis in range(3)]),
        _joined([one.blocks_BL for one in alone], length, -1, side),
        _joined([one.labels_BL for one in alone], length, IGNORED, side),
        semantics_SE=torch.cat(given) if given else None,
        image_id=layout.image_token,
    )
    return _with_pictures(joined, rows, alone, layout)


def _alone(number: int, row: Row, layout: Layout) -> Batch:
    tokens = layout.latents.tokens
    reply = row.blocks[0].reply if len(row.blocks) == 1 else ()
    if len(row.blocks) != 1 or reply.count(tokens.vis_start) > 1:
        raise UsageError(f'row {number}: targets "all" take one question a row, with one span; use "pooled" to pack')
    slots = reply.count(tokens.vis_slot) or layout.latents.visual_slots
    held = replace(layout, latents=replace(layout.latents, visual_slots=slots))
    try:
        return collate([row], held)
    except UsageError as error:
        raise UsageError(str(error).replace("row 0:", f"row {number}:", 1)) from None


def _joined(parts: Sequence[Tensor], length: int, fill: int | bool, side: str) -> Tensor:
    """Parts of one row each, padded."""
    out_BL = parts[0].new_full((len(parts), length), fill)
    for row, part_1L in enumerate(parts):
        size = part_1L.shape[1]
        out_BL[row, length - size if side == "left" else 0 :][:size] = part_1L[0]
    return out_BL


def _with_pictures(joined: Batch, rows: Sequence[Row], alone: Sequence[Batch], layout: Layout) -> Batch:
    """The batch with its distinct pictures, where they are shown, and the regions of all spans."""
    shown = [one for one in alone if one.pixels_PX is not None]
    if not shown:
        return joined
    spans = sum((one.ids_BL == layout.latents.tokens.vis_start).any().item() for one in alone)
    if sum(one.regions is not None for one in alone) not in (0, spans):
        raise UsageError("boxes for some rows only: in a batch, give every span a box or none")
    pictures = collate([replace(row, blocks=()) for row in rows], replace(layout, limit=max(layout.limit, 1)))
    assert pictures.image_G is not None
    sources, slots, weights, seen, total = list[Tensor](), list[Tensor](), list[Tensor](), 0, 0
    for one in alone:
        number = 0 if one.image_G is None else len(one.image_G)
        place_G = pictures.image_G[seen : seen + number]
        seen += number
        if one.regions is None or one.image_G is None:
            continue
        moved = torch.empty(int(one.image_G.max()) + 1, dtype=torch.long)
        moved[one.image_G] = place_G
        sources.append(moved[one.regions.source_E])
        slots.append(one.regions.slot_E + total)
        weights.append(one.regions.weight_E)
        total += one.regions.total
    plan = PoolPlan(torch.cat(sources), torch.cat(slots), torch.cat(weights), total) if sources else None
    return replace(
        joined, pixels_PX=pictures.pixels_PX, grids_N3=pictures.grids_N3, image_G=pictures.image_G, regions=plan
    )
