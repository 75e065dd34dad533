"""Rows of rollouts that are computed together, and two ways to lay them out.

Behind beginnings: each region's beginning once, and rows of [question, reply] (`sharing.py`). Packed: a row for each
region, [beginning][question 1, reply][question 1, another reply]...; a block sees the beginning and itself (`rows.py`).

B rows of a part, T new positions, R packed rows, L positions
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.batches import Batch, collate
from slvr_model.decoding import Decoded
from slvr_model.mgrpo.asking import Asking
from slvr_model.mgrpo.replies import joined, taken
from slvr_model.mgrpo.sharing import beginnings
from slvr_model.mgrpo.types import Rollouts
from slvr_model.rows import Block, Layout
from slvr_model.tokens import LatentTokens


@dataclass(frozen=True, eq=False)
class Part:
    """Rows that are computed together, on the device of their rollouts."""

    rows: slice
    """Of all rows of all rollouts."""
    decoded: Decoded
    """Of these rows."""
    asking: tuple[Asking, ...]
    """Of the regions that they are about."""
    regions: tuple[int, ...]
    """Which of them each row is about."""
    queries: tuple[int, ...]
    """Which query of its region each row replies to."""
    batch: Batch
    """The beginnings [regions, positions], without their pictures: each may have many parts (`pictures.py`)."""
    noise: float
    width: int
    """T of all rollouts."""

    @property
    def endings(self) -> list[tuple[int, ...]]:
        """The ids of each row's question, behind the beginning."""
        return [self.asking[region].endings[query] for region, query in zip(self.regions, self.queries, strict=True)]

    @property
    def replies(self) -> list[list[int]]:
        """The ids of each row's reply."""
        return self.decoded.replies()

    def opening(self, tokens: LatentTokens) -> list[int]:
        """What every reply was made to begin with, where there are no other latents; else nothing."""
        rules, decoded = self.decoded.rules, self.decoded
        kinds = set(zip(rules.steps_B.tolist(), rules.semantic_B.tolist(), strict=True))
        if not rules.opens_B.all() or rules.learned_B.any() or len(kinds) > 1:
            return []
        opening = tokens.reply(int(rules.steps_B[0]), bool(rules.semantic_B[0]))
        return [] if bool(decoded.latent_BT[:, len(opening) :].any()) else opening

    def packed(self, layout: Layout) -> tuple[Batch, list[int]]:
        """A row for each region; and the column before each reply."""
        blocks: list[list[Block]] = [[] for _ in self.asking]
        ends, first = [len(one.beginning.prefix) for one in self.asking], list[int]()
        for region, ending, reply in zip(self.regions, self.endings, self.replies, strict=True):
            blocks[region].append(Block((*ending, *reply)))
            first.append(ends[region] + len(ending) - 1)
            ends[region] += len(ending) + len(reply)
        rows = [replace(one.beginning, blocks=tuple(held)) for one, held in zip(self.asking, blocks, strict=True)]
        # what limits a model is positions, which were checked when the replies were written
        batch = collate(rows, replace(layout, limit=max(layout.limit, *ends)))
        return _without_pictures(batch).to(self.decoded.ids_BT.device), first

    def places(self, first: Sequence[int], rows: Sequence[int] | None = None) -> tuple[Tensor, Tensor]:
        """Row and column [B, T] of the state before each position, from the column before each reply."""
        device, width = self.decoded.ids_BT.device, self.decoded.ids_BT.shape[1]
        row_B = torch.arange(len(first), device=device) if rows is None else torch.tensor(rows, device=device)
        at_BT = torch.tensor(first, device=device)[:, None] + torch.arange(width, device=device)
        return row_B[:, None].expand(-1, width), at_BT


def parts_of(rollouts: Rollouts | Sequence[Rollouts], layout: Layout, micro_rows: int) -> Iterator[Part]:
    """The parts of at most `micro_rows` rows.

    Raises:
        UsageError: `micro_rows` is not positive, there are no rollouts, or they differ in their noise.
    """
    groups = [rollouts] if isinstance(rollouts, Rollouts) else list(rollouts)
    if micro_rows < 1:
        raise UsageError(f"micro_rows {micro_rows}: at least 1 row is computed at a time")
    if not groups:
        raise UsageError("no rollouts to score")
    if len({one.noise for one in groups}) > 1:
        raise UsageError("rollouts with different noise in their latents cannot be scored together")
    asking = [Asking.of(one.shown.asked, layout) for one in groups]
    whole = joined([one.decoded for one in groups], layout.pad_token)
    owner = [(n, row // one.number) for n, one in enumerate(groups) for row in range(len(one.decoded.ids_BT))]
    for begin in range(0, len(owner), micro_rows):
        held = owner[begin : begin + micro_rows]
        rows, numbers = slice(begin, begin + len(held)), sorted({region for region, _ in held})
        some = tuple(asking[number] for number in numbers)
        yield Part(
            rows,
            taken(whole, rows, layout.latents.tokens),
            some,
            tuple(numbers.index(region) for region, _ in held),
            tuple(query for _, query in held),
            _without_pictures(beginnings(some, layout)).to(whole.ids_BT.device),
            groups[0].noise,
            whole.ids_BT.shape[1],
        )


def _without_pictures(batch: Batch) -> Batch:
    return replace(batch, pixels_PX=None, grids_N3=None)
