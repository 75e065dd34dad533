"""Shown rows -> what a training step takes: the batch, and an account of its samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from slvr_model.efficiency.packed import packed_batch
from slvr_model.objectives.base import Objective
from slvr_model.rows import Layout
from slvr_model.sft.samples import Shown


class Collator:
    """Makes batches of an objective.

    Args:
        objective: lays out and collates its rows.
        packed: the model's layout, to put all samples of a batch into one row; None: a row each, padded.
    """

    def __init__(self, objective: Objective, packed: Layout | None = None) -> None:
        self.objective, self.packed = objective, packed

    def __call__(self, shown: Sequence[Shown]) -> dict[str, Any]:
        """`batch`; `seen`, samples that were tried; `faults`, those that could not be used."""
        rows = [one.row for one in shown]
        faults = [fault for one in shown for fault in one.faults]
        batch = self.objective.collate(rows) if self.packed is None else packed_batch(rows, self.packed)
        return {"batch": batch, "seen": len(rows) + len(faults), "faults": faults}
