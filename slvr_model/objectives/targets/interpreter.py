"""The region's profile as text target: what an interpreter of the latents should be able to say.

Heima (arXiv 2501.19201) teaches a second language model to write out the chain of thought that a latent stands for.
Here the model's own vocabulary projection is the interpreter, and the text is the profile, as a bag of words (the loss
is in `align.py`): nothing is added to the model, and nothing of it is dropped afterwards.

A batch holds no text, so rows of an objective with this target carry the profile's ids from block to batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.batches import Batch
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.targets.base import Group, TextTarget
from slvr_model.rows import Block, Row


@dataclass(frozen=True, eq=False)
class ToldBlock(Block):
    """A question with its reply, and the ids of the profile of its region."""

    told: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class ToldBatch(Batch):
    """A batch with the profiles of its regions."""

    told: tuple[tuple[int, ...], ...] = ()
    """Ids for each visual span, in reading order."""


@dataclass(frozen=True)
class Interpreter:
    """See the module."""

    name: str = "interpreter"
    group: Group = "visual"

    def targets(self, model: SlvrModel, batch: Batch, visual_MD: Tensor | None) -> TextTarget:
        """See `TargetProvider.targets`; a group is a region, None where its profile says nothing."""
        told = batch.told if isinstance(batch, ToldBatch) else ()
        spans = int((batch.ids_BL == model.latent_config.tokens.vis_start).sum())
        if len(told) != spans:
            raise UsageError(f"{len(told)} profiles for {spans} visual spans: collate rows of this objective by itself")
        return TextTarget(tuple(ids or None for ids in told))


def told_batch(batch: Batch, rows: Sequence[Row]) -> ToldBatch:
    """A batch of rows with the profiles that their blocks carry."""
    told = tuple(block.told for row in rows for block in row.blocks if isinstance(block, ToldBlock))
    return ToldBatch(**vars(batch), told=told)
