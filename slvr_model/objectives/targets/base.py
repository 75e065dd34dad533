"""What slots are to match: tensors, texts or distributions over the vocabulary, for each region or semantic slot.

N values, D their size, G groups (regions of visual spans, or semantic slots) in reading order, V vocabulary,
M visual tokens of a batch
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from torch import Tensor

from slvr_model.batches import Batch
from slvr_model.modeling import SlvrModel

Group = Literal["visual", "semantic"]


@dataclass(frozen=True, eq=False)
class TensorTarget:
    """Vectors. A group has as many as it likes, in order; without gradient."""

    values_ND: Tensor
    group_N: Tensor


@dataclass(frozen=True, eq=False)
class TextTarget:
    """Token ids of a text for each group, None: none."""

    ids: tuple[tuple[int, ...] | None, ...]


@dataclass(frozen=True, eq=False)
class LogitTarget:
    """Distributions over the vocabulary, or over some of its tokens; without gradient."""

    logits_NV: Tensor
    """[N, V], or [N, C] where `ids_C` says of which tokens."""
    group_N: Tensor
    ids_C: Tensor | None = None
    """Tokens that the columns stand for; None: the whole vocabulary in its order."""


Target = TensorTarget | TextTarget | LogitTarget


class TargetProvider(Protocol):
    """Says what the slots of one kind are to match."""

    @property
    def name(self) -> str:
        """Under which its loss is logged."""

    @property
    def group(self) -> Group:
        """Whether groups are regions or semantic slots."""

    def targets(self, model: SlvrModel, batch: Batch, visual_MD: Tensor | None) -> Target:
        """The targets of a batch, without gradient; `visual_MD` is what `model.encode(batch)` returned.

        Raises:
            UsageError: the batch lacks what they are made of.
        """
