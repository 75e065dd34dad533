"""Rows -> the tensors of a batch: padding, slots, masks, and each distinct picture once.

Equal pictures of a batch (by `Picture.key`) are kept and encoded once, however many rows and questions are about them.

B rows, L positions, N distinct pictures, P patches, X values of a patch, M visual tokens of all N pictures,
G places of visual tokens in the batch, S semantic slots, E dimension of an embedding
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.regions import PoolPlan, pool_plan
from slvr_model.rows import IGNORED, Block, Laid, Layout, Picture, Row, lay_out

__all__ = ["Batch", "Block", "Layout", "Picture", "Row", "collate"]


@dataclass(frozen=True, eq=False)
class Batch:
    """Tensors of a batch. Slots, boxes and embeddings are in reading order: row by row, left to right."""

    ids_BL: Tensor
    kept_BL: Tensor
    """False on padding."""
    positions_3BL: Tensor
    """M-RoPE positions (time, height, width)."""
    blocks_BL: Tensor
    """0: prefix, n: n-th block, -1: padding."""
    labels_BL: Tensor
    """The id itself where it is supervised (`Layout.latents` says what), else -100; not shifted."""
    pixels_PX: Tensor | None = None
    grids_N3: Tensor | None = None
    image_G: Tensor | None = None
    """Which of the M visual tokens stands at each image id, in reading order."""
    regions: PoolPlan | None = None
    """Visual targets from the M visual tokens; None where a span has no box."""
    semantics_SE: Tensor | None = None
    mask_BLL: Tensor | None = None
    """True where a row sees a column; None: causal among what is kept (at most one block a row)."""

    image_id: int = -1
    """The id that stands for a visual token."""
    chance_S: tuple[int, ...] = ()
    """Of each sample (`Block.chance`), in reading order; none where any has none."""

    def kinds(self) -> Tensor:
        """The public class's `mm_token_type_ids` [B, L]: 1 at visual tokens."""
        return (self.ids_BL == self.image_id).long()

    def to(self, device: torch.device | str) -> Batch:
        """The batch on another device."""
        held = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {n: v.to(device) for n, v in held.items() if isinstance(v, Tensor | PoolPlan)}
        return replace(self, **moved)

    def next_position(self) -> Tensor:
        """The position [B] that follows each row."""
        return self.positions_3BL.masked_fill(~self.kept_BL, -1).amax((0, 2)) + 1

    def seen(self) -> Tensor:
        """The mask [B, L, L] in full: `mask_BLL`, or causal among what is kept; a position sees itself always."""
        if self.mask_BLL is not None:
            return self.mask_BLL
        length = self.ids_BL.shape[1]
        causal_LL = torch.ones(length, length, dtype=torch.bool, device=self.ids_BL.device).tril()
        return causal_LL & self.kept_BL[:, None, :] | torch.eye(length, dtype=torch.bool, device=self.ids_BL.device)


def collate(rows: Sequence[Row], layout: Layout, side: Literal["left", "right"] = "right") -> Batch:
    """Make a batch: padded on the right to train and to score, on the left to decode.

    Raises:
        UsageError: a row does not fit `layout`: length, pictures, boxes, spans or embeddings (named with its number).
    """
    if not rows:
        raise UsageError("a batch needs at least one row")
    laid = []
    for number, row in enumerate(rows):
        try:
            laid.append(lay_out(row, layout))
        except UsageError as error:
            raise UsageError(f"row {number}: {error}") from None
    length = max(len(one.ids) for one in laid)
    ids, blocks, labels = (np.full((len(rows), length), fill, np.int64) for fill in (layout.pad_token, -1, IGNORED))
    positions = np.zeros((3, len(rows), length), np.int64)
    for number, one in enumerate(laid):
        place = slice(length - len(one.ids), None) if side == "left" else slice(0, len(one.ids))
        ids[number, place], blocks[number, place], labels[number, place] = one.ids, one.blocks, one.labels
        positions[:, number, place] = one.positions
    blocks_BL = torch.from_numpy(blocks)
    packed = any(len(row.blocks) > 1 for row in rows)
    return Batch(
        torch.from_numpy(ids),
        blocks_BL >= 0,
        torch.from_numpy(positions),
        blocks_BL,
        torch.from_numpy(labels),
        mask_BLL=_block_mask(blocks_BL) if packed else None,
        image_id=layout.image_token,
        semantics_SE=_semantics(laid),
        chance_S=_chances(rows),
        **_shown(rows, laid, layout),
    )


def _shown(rows: Sequence[Row], laid: Sequence[Laid], layout: Layout) -> dict[str, Any]:
    """Distinct pictures once, and where their visual tokens stand."""
    distinct: dict[str, tuple[int, Picture]] = {}
    total = 0
    places, regions = [], []
    for row, one in zip(rows, laid, strict=True):
        offsets = []
        for picture in row.pictures:
            number = picture.grid[1] * picture.grid[2] // layout.merge**2
            if picture.key not in distinct:
                distinct[picture.key] = (total, picture)
                total += number
            elif distinct[picture.key][1].grid != picture.grid:
                raise UsageError(f'two pictures of different grids have the same key "{picture.key}"')
            offsets.append(distinct[picture.key][0])
            places.append(np.arange(offsets[-1], offsets[-1] + number))
        regions += [[offsets[n] + token for token in tokens] for n, tokens in one.regions]
    spans = sum(one.spans for one in laid)
    if regions and len(regions) != spans:
        raise UsageError(f"{len(regions)} boxes for {spans} visual spans: in a batch, give every span a box or none")
    if not distinct:
        return {}
    pictures = [picture for _, picture in distinct.values()]
    return {
        "pixels_PX": torch.cat([picture.patches_PX for picture in pictures]),
        "grids_N3": torch.tensor([picture.grid for picture in pictures]),
        "image_G": torch.from_numpy(np.concatenate(places)),
        "regions": pool_plan(regions, layout.latents.visual_slots) if regions else None,
    }


def _chances(rows: Sequence[Row]) -> tuple[int, ...]:
    """The numbers by which is drawn for samples; none where any has none."""
    every = [block.chance for row in rows for block in row.blocks]
    known = tuple(one for one in every if one is not None)
    return known if len(known) == len(every) else ()


def _semantics(laid: Sequence[Laid]) -> Tensor | None:
    given = [one for each in laid for one in each.semantics]
    slots, number = sum(one.slots for one in laid), sum(map(len, given))
    if given and number != slots:
        raise UsageError(f"{number} embeddings for {slots} semantic slots: in a batch, give every slot one or none")
    return torch.cat(given).float() if given else None


def _block_mask(blocks_BL: Tensor) -> Tensor:
    """Causal; the prefix (0) is seen by all, a block by itself; padding (-1) sees itself alone."""
    length = blocks_BL.shape[1]
    causal_LL = torch.ones(length, length, dtype=torch.bool).tril()
    query_BL1, key_B1L = blocks_BL[:, :, None], blocks_BL[:, None, :]
    seen_BLL = ((query_BL1 == key_B1L) | (key_B1L == 0)) & (query_BL1 >= 0)
    return seen_BLL & causal_LL | torch.eye(length, dtype=torch.bool)
