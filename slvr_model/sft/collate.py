"""Shown rows -> what a training step takes: the batch, and an account of its samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slvr_model.batches import Batch
from slvr_model.efficiency.packed import packed
from slvr_model.efficiency.shared import shared_rows
from slvr_model.objectives.base import Objective
from slvr_model.rows import Layout, Row
from slvr_model.sft.samples import Shown


class Collator:
    """Makes batches of an objective.

    Args:
        objective: lays out and collates its rows.
        packed: the model's layout, to put all samples of a batch into one row; None: a row each, padded.
        shared: the model's layout, to put samples about one picture behind it; None: a picture for each.
        most: samples behind one picture; None: as many as fit.
    """

    def __init__(
        self,
        objective: Objective,
        packed: Layout | None = None,
        shared: Layout | None = None,
        most: int | None = None,
    ) -> None:
        self.objective, self.packed, self.shared, self.most = objective, packed, shared, most

    def __call__(self, shown: Sequence[Shown]) -> dict[str, Any]:
        """What a step takes.

        `batch`; `idle`, whether nothing is learnt from it; `query_ids` of what is; `seen`, samples that were tried;
        `faults`, those that could not be used; `processed`, positions without padding; `emitted`, those of replies,
        latents included.
        """
        rows = [one.row for one in shown]
        faults = [fault for one in shown for fault in one.faults]
        batch, learnt = self._batch(rows), [one.query_id for one in shown if not one.idle]
        return {
            "batch": batch,
            "idle": not learnt,
            "query_ids": learnt,
            "seen": len(learnt) + len(faults),
            "faults": faults,
            "processed": int(batch.kept_BL.sum()),
            "emitted": sum(len(block.reply) for row in rows for block in row.blocks),
        }

    def _batch(self, rows: Sequence[Row]) -> Batch:
        if self.shared is not None:
            return self.objective.collate(shared_rows(rows, self.shared, self.most))
        if self.packed is not None:
            return packed(self.objective.collate(rows), [len(rows)], self.packed.pad_token)
        return self.objective.collate(rows)
