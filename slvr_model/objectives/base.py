"""What an objective is: rows for samples, a batch of rows, and the losses of a batch.

    objective = open_objective(config, model, tokenizer)
    row = objective.row(asked, sample, answer_ids)          # asked: the question as `SampleRows.asked` makes it
    terms = objective.losses(model, objective.collate([row, ...]), step_share=0.4, seed=17)
    terms.total.backward()
    decode(model, left-padded objective.asked(asked), **objective.form.options())

A *sample* is a question with its reply: a block of a row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from slvr_data.errors import UsageError
from slvr_model.batches import Batch
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.config import KINDS, ObjectiveConfig, nearest
from slvr_model.rows import Block, Box, Row


class Asked(Protocol):
    """What an objective has to know of a sample; `slvr_model.data.Sample` has it."""

    @property
    def box(self) -> Box:
        """[x1, y1, x2, y2] in pixels of the picture."""

    @property
    def facet(self) -> str:
        """What is asked about."""

    @property
    def profile_text(self) -> str:
        """The region's profile as sentences."""

    @property
    def embedding(self) -> npt.NDArray[np.float32] | None:
        """Of the profile."""


@dataclass(frozen=True)
class Form:
    """How replies of an objective are decoded."""

    suffix: tuple[int, ...] = ()
    """Ids that stand behind the question before anything is decoded."""
    visual_steps: int = 0
    semantic: bool = False

    def options(self) -> dict[str, Any]:
        """What `decoding.decode` is to be given."""
        opening = self.visual_steps > 0 or self.semantic
        return {"visual_steps": self.visual_steps, "semantic": self.semantic, "opening": opening}


@dataclass(frozen=True)
class Terms:
    """Losses of a batch: scalars with gradient by name, what each weighs, and numbers to log."""

    named: Mapping[str, Tensor]
    weights: Mapping[str, float]
    """Names that are missing weigh 1."""
    logged: Mapping[str, Tensor] = field(default_factory=dict)
    """Detached scalars; a number that a batch does not determine is left out."""

    @property
    def total(self) -> Tensor:
        """The weighted sum. What weighs nothing has no gradient."""
        parts = [self.weights.get(name, 1.0) * term for name, term in self.named.items() if self.weights.get(name, 1.0)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    def numbers(self) -> dict[str, float]:
        """Everything to log, on the host."""
        told = {name: value.detach() for name, value in self.named.items()}
        return {name: float(value) for name, value in {**told, **self.logged}.items()}


class Objective(Protocol):
    """A way to lay out replies, and the losses of batches of them."""

    config: ObjectiveConfig
    form: Form
    heads: nn.Module
    """What is trained with the model and not kept in its checkpoint (often nothing): the trainer has to step it, to
    keep it for a resumed run, and, on several devices, to give it to the wrapper that sums gradients."""

    @property
    def name(self) -> str:
        """Its kind."""

    def row(self, asked: Row, sample: Asked, answer_ids: Sequence[int], *, lettered: bool = False) -> Row:
        """The question of `asked` (no blocks with replies) with the reply of `sample`; see `block`.

        Raises:
            Unusable: as `block`; or the row is longer than the model's limit.
        """

    def block(
        self, sample: Asked, answer_ids: Sequence[int], *, prompt: Sequence[int] = (), lettered: bool = False, **at: Any
    ) -> Block:
        """A question with its reply, to be packed behind a picture.

        Args:
            sample: what the reply is made of.
            answer_ids: the answer with its end token.
            prompt: the question's ids.
            lettered: the answer is a letter: it needs the choices of the question, so that there is no echo of what
                is asked, and nothing is hidden from it.
            at: `picture` (`rows.Picture`), which targets "all" need.

        Raises:
            Unusable: a text spells out special tokens, or the embedding is missing or of another size.
        """

    def asked(self, row: Row) -> Row:
        """A question to be decoded: the row as `SampleRows.asked` makes it, with what `form` says stands behind it."""

    def collate(self, rows: Sequence[Row], side: Literal["left", "right"] = "right") -> Batch:
        """A batch of rows of this objective; as `batches.collate`."""

    def answer(self, reply_ids: Sequence[int]) -> tuple[int, ...]:
        """The ids of the answer in a decoded reply: without latents, echo, profile and end."""

    def samples(self, batch: Batch) -> int:
        """The number of samples that a batch teaches: what `losses` divides by unless told otherwise."""

    def losses(
        self, model: SlvrModel, batch: Batch, *, step_share: float, seed: int = 0, samples: float | None = None
    ) -> Terms:
        """The losses of a batch, from `collate`.

        Args:
            model: with or without gradient; `model.training` decides nothing here.
            batch: on the model's device.
            step_share: how far training is, 0 to 1.
            seed: of what is left to chance, apart from samples whose blocks have a `chance`; give each step its own.
            samples: what to divide by, e.g. the samples of all batches that one optimiser step adds up (divided by
                the number of processes where those average their gradients); None: those of this batch.

        Raises:
            UsageError: the batch does not have what the objective needs.
        """


def open_objective(config: ObjectiveConfig, model: SlvrModel, tokenizer: PreTrainedTokenizerBase) -> Objective:
    """The objective that a configuration describes, for one model.

    Raises:
        UsageError: there is none of that name (the nearest is named), or the model lacks what it needs.
    """
    from slvr_model.objectives.kinds import KNOWN

    if config.kind not in KNOWN:
        raise UsageError(f"objective {config.kind!r}: {', '.join(KINDS)} are known{nearest(config.kind, list(KINDS))}")
    return KNOWN[config.kind](config, model, tokenizer)
