"""Rows: pictures, questions and replies as flat arrays, with everything checked and positions counted.

A row is [prefix][block 1][block 2]...: the prefix holds its pictures, a block is a question with its reply. Each block
sees the prefix and itself, and its positions begin where the prefix ends: what it computes is what the same question
alone computes.

L positions, P patches, X values of a patch, S semantic slots, E dimension of an embedding
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import PreTrainedConfig

from slvr_data.errors import UsageError
from slvr_model.latents import LatentConfig
from slvr_model.regions import box_tokens

Box = tuple[float, float, float, float]
Ints = npt.NDArray[np.int64]
IGNORED = -100
"""Label of a position that is not supervised."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as the processor prepares it."""

    patches_PX: Tensor
    grid: tuple[int, int, int]
    """(1, rows, columns) of patches."""
    size: tuple[float, float]
    """(width, height) in pixels of the picture that boxes refer to."""
    key: str = ""
    """What makes it the same as another; empty: a hash of its patches."""

    def __post_init__(self) -> None:
        t, h, w = self.grid
        if t != 1 or min(h, w) < 1 or self.patches_PX.shape[0] != h * w:
            number = len(self.patches_PX)
            raise UsageError(f"picture of grid {self.grid} with {number} patches: 1 x rows x columns are needed")
        if not self.key:
            data = self.patches_PX.detach().cpu().contiguous().view(torch.uint8).numpy()
            object.__setattr__(self, "key", hashlib.blake2b(data.tobytes(), digest_size=16).hexdigest())


@dataclass(frozen=True, eq=False)
class Block:
    """A question with its reply (empty where it is to be decoded)."""

    prompt: tuple[int, ...] = ()
    reply: tuple[int, ...] = ()
    boxes: tuple[Box, ...] = ()
    """A box in pixels for each visual span of the reply, in order; none at all: spans without targets."""
    of_picture: tuple[int, ...] = ()
    """Which of the row's pictures each box lies in; empty: all in the first."""
    semantics_SE: Tensor | None = None
    """An attribute embedding for each semantic slot of the reply."""
    chance: int | None = None
    """What is drawn for this sample when it is learnt is drawn by this number; None: by its batch's."""


@dataclass(frozen=True, eq=False)
class Row:
    """A sequence: its pictures, the ids that show them (one image id per picture, or one per visual token), blocks."""

    prefix: tuple[int, ...]
    blocks: tuple[Block, ...] = (Block(),)
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Layout:
    """What collation has to know of a model."""

    latents: LatentConfig
    image_token: int
    pad_token: int
    merge: int
    """Patches per side of a visual token."""
    limit: int
    """Positions a row may have."""
    patch_values: int
    """Numbers of a patch."""

    @classmethod
    def of(cls, config: PreTrainedConfig, limit: int | None = None) -> Layout:
        """The layout of a model's configuration; `limit` defaults to its largest position."""
        text: Any = config.get_text_config(decoder=True)
        pad = text.pad_token_id if text.pad_token_id is not None else 0
        ids: Any = config
        most, vision = limit or text.max_position_embeddings, ids.vision_config
        values = vision.in_channels * vision.temporal_patch_size * vision.patch_size**2
        return cls(LatentConfig.of(config), ids.image_token_id, pad, vision.spatial_merge_size, most, values)


@dataclass
class Laid:
    """A row as flat arrays."""

    ids: Ints
    positions: Ints
    blocks: Ints
    labels: Ints
    regions: list[tuple[int, Sequence[int]]] = field(default_factory=list)
    """(picture of the row, its visual tokens) per box."""
    spans: int = 0
    semantics: list[Tensor] = field(default_factory=list)
    slots: int = 0
    """Semantic slots."""


def mrope_positions(visual: npt.NDArray[np.bool_], grids_hw: Sequence[tuple[int, int]]) -> tuple[Ints, int]:
    """Positions [3, L] of one sequence, and the next free position.

    Text counts on by one in all three channels. A picture that begins at s has time s, height s + row and width
    s + column; what follows begins at s + max(rows, columns) (Qwen2-VL's M-RoPE, as the public class computes it).

    Args:
        visual: which positions are visual tokens.
        grids_hw: merged rows and columns of each picture, in order; their tokens are contiguous.
    """
    out, at, start = np.empty((3, len(visual)), np.int64), 0, 0
    for h, w in grids_hw:
        begin = at + int(np.argmax(visual[at:]))
        out[:, at:begin] = start + np.arange(begin - at)
        start += begin - at
        cell = np.arange(h * w)
        out[:, begin : begin + h * w] = start + np.stack([0 * cell, cell // w, cell % w])
        at, start = begin + h * w, start + max(h, w)
    out[:, at:] = start + np.arange(len(visual) - at)
    return out, start + len(visual) - at


def lay_out(row: Row, layout: Layout) -> Laid:
    """One row as flat arrays, everything checked. Raises `UsageError`; see `collate`."""
    grids = [_merged(picture, layout) for picture in row.pictures]
    prefix = _expanded(row.prefix, [h * w for h, w in grids], layout)
    first, start = mrope_positions(prefix == layout.image_token, grids)
    ids, positions, owner, labels = [prefix], [first], [0 * prefix], [0 * prefix + IGNORED]
    laid = Laid(prefix, first, owner[0], labels[0])
    for number, block in enumerate(row.blocks, 1):
        tokens = np.array([*block.prompt, *block.reply], np.int64)
        if np.any(tokens == layout.image_token):
            raise UsageError("pictures belong into the prefix: a block contains an image token")
        _check_block(block, layout, laid)
        laid.regions += _regions(block, row, grids)
        ids.append(tokens)
        positions.append(np.broadcast_to(start + np.arange(len(tokens)), (3, len(tokens))))
        owner.append(np.full(len(tokens), number))
        labels.append(np.concatenate([np.full(len(block.prompt), IGNORED), _supervised(block.reply, layout.latents)]))
    laid.ids, laid.blocks, laid.labels = np.concatenate(ids), np.concatenate(owner), np.concatenate(labels)
    laid.positions = np.concatenate(positions, axis=1)
    if len(laid.ids) > layout.limit:
        raise UsageError(
            f"{len(laid.ids)} positions, but the limit is {layout.limit}: shorten the prompt, show smaller or fewer "
            "pictures, or pack fewer questions"
        )
    if len(laid.ids) == 0:
        raise UsageError("the row is empty")
    return laid


def _merged(picture: Picture, layout: Layout) -> tuple[int, int]:
    _, h, w = picture.grid
    if h % layout.merge or w % layout.merge:
        raise UsageError(f"picture grid {h}x{w} is no multiple of {layout.merge}: use the model's own processor")
    if (values := tuple(picture.patches_PX.shape[1:])) != (layout.patch_values,):
        raise UsageError(
            f"patches of shape {values}, the model takes {layout.patch_values} numbers: use the model's own processor"
        )
    return h // layout.merge, w // layout.merge


def _expanded(prefix: Sequence[int], sizes: list[int], layout: Layout) -> Ints:
    """The prefix with one image id per visual token."""
    ids = np.array(prefix, np.int64)
    visual = ids == layout.image_token
    if visual.sum() == sum(sizes):
        return ids
    if visual.sum() != len(sizes):
        raise UsageError(f"{visual.sum()} image tokens for {len(sizes)} pictures of {sizes} visual tokens")
    repeats = np.ones(len(ids), np.int64)
    repeats[visual] = sizes
    return np.repeat(ids, repeats)


def _check_block(block: Block, layout: Layout, laid: Laid) -> None:
    """Spans are K slots between their start and end; boxes and embeddings are as many as spans, or none."""
    tokens, slots, reply = layout.latents.tokens, layout.latents.visual_slots, list(block.reply)
    starts = [i for i, token in enumerate(reply) if token == tokens.vis_start]
    span = tokens.reply(slots, semantic=False)
    if any(reply[i : i + slots + 2] != span for i in starts) or reply.count(tokens.vis_slot) != slots * len(starts):
        raise UsageError(f"a visual span needs exactly {slots} slots between its start and its end")
    if block.boxes and len(block.boxes) != len(starts):
        raise UsageError(f"{len(block.boxes)} boxes for {len(starts)} visual spans in the reply")
    laid.spans += len(starts)
    places = [i for i, token in enumerate(reply) if token == tokens.sem_slot]
    if places and not layout.latents.semantic_dim:
        raise UsageError("the reply has a semantic slot, but the model has none (semantic_dim 0)")
    if any(i == 0 or reply[i - 1] != tokens.sem_start for i in places):
        raise UsageError("a semantic slot stands behind its start token")
    laid.slots += len(places)
    given = block.semantics_SE
    if given is None:
        return
    wanted = layout.latents.target_dim or layout.latents.semantic_dim
    if given.dim() != 2 or given.shape != (len(places), wanted):
        raise UsageError(f"embeddings of shape {tuple(given.shape)} for {len(places)} semantic slots of {wanted}")
    if not bool(torch.isfinite(given).all()):
        raise UsageError("an embedding has values that are not finite numbers")
    laid.semantics.append(given)


def _regions(block: Block, row: Row, grids: list[tuple[int, int]]) -> list[tuple[int, Sequence[int]]]:
    pictures = block.of_picture or (0,) * len(block.boxes)
    if len(pictures) != len(block.boxes) or any(not 0 <= n < len(row.pictures) for n in pictures):
        raise UsageError(f"boxes of pictures {list(pictures)}, but the row shows {len(row.pictures)}")
    return [(n, box_tokens(box, row.pictures[n].size, grids[n])) for n, box in zip(pictures, block.boxes, strict=True)]


def _supervised(reply: Sequence[int], latents: LatentConfig) -> Ints:
    """Labels of a reply: what is sampled when decoding. Slots and span ends are forced, unless ends are learned."""
    labels, tokens = np.array(reply, np.int64), latents.tokens
    unsampled = [tokens.sem_slot, tokens.sem_end] + ([] if latents.learned_end else [tokens.vis_slot, tokens.vis_end])
    labels[np.isin(labels, unsampled)] = IGNORED
    if latents.learned_end:  # the first slot is forced: what was seen last is the start
        behind = np.concatenate([[False], np.array(reply[:-1], np.int64) == tokens.vis_start])[: len(labels)]
        labels[behind] = IGNORED
    return labels


def rows_of(inputs: Mapping[str, Tensor], layout: Layout, sizes: Sequence[tuple[float, float]] = ()) -> list[Row]:
    """Rows from what the public processor returns (ids with image tokens expanded, pixel values, grids).

    Args:
        inputs: `input_ids`, and where there are pictures `pixel_values` and `image_grid_thw`; `attention_mask`.
        sizes: (width, height) of each picture in pixels, needed where boxes will refer to them.

    Raises:
        UsageError: `sizes` are not as many as the pictures, or a picture is a video.
    """
    grids = inputs["image_grid_thw"].tolist() if "image_grid_thw" in inputs else []
    if sizes and len(sizes) != len(grids):
        raise UsageError(f"{len(sizes)} sizes for {len(grids)} pictures: give one for each, or none")
    patches = iter(torch.split(inputs["pixel_values"], [t * h * w for t, h, w in grids]) if grids else ())
    pictures = [Picture(next(patches), (t, h, w), sizes[n] if sizes else (w, h)) for n, (t, h, w) in enumerate(grids)]
    rows, at = [], 0
    kept = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"])).bool()
    for ids, keep in zip(inputs["input_ids"], kept, strict=True):
        prefix, first = ids[keep].tolist(), at
        left = prefix.count(layout.image_token)
        while left > 0 and at < len(pictures):
            left -= pictures[at].grid[1] * pictures[at].grid[2] // layout.merge**2
            at += 1
        rows.append(Row(tuple(prefix), (Block(),), tuple(pictures[first:at])))
    return rows
