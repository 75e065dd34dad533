"""Objectives without fed latents: the answer's cross-entropy is their only loss. The controls.

direct  question -> answer
text    question -> profile, mark, answer: the profile is a chain of words that is supervised like the answer
pause   question, vis_start vis_slot x K vis_end -> answer: as many steps to compute in as `lvr` has, with no target.
        Slots hold the embedding of their token (what Goyal et al., "Think before you speak", arXiv 2310.02226, call a
        pause token), so they stand with the question and nothing of them is decoded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from transformers import PreTrainedTokenizerBase

from slvr_model.batches import Batch
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.answers import Labelled, answer_loss
from slvr_model.objectives.averages import Averages
from slvr_model.objectives.base import Terms
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.objectives.replies import Replies


class Direct(Replies):
    """The answer alone."""

    def losses(
        self, model: SlvrModel, batch: Batch, *, step_share: float, seed: int = 0, samples: float | None = None
    ) -> Terms:
        """The answer loss; `step_share` and `seed` change nothing. See `Objective.losses`."""
        out = model.latent_forward(batch, "pause")
        averages = Averages.of(batch, self.config.normalisation, samples)
        answer = answer_loss(model, Labelled.of(batch, out.hidden_BLD, batch.labels_BL), averages)
        return Terms({"answer": answer}, {})


class Text(Direct):
    """The profile written out, then the answer."""

    profile: ClassVar[bool] = True


class Pause(Direct):
    """K slots that hold nothing but their token's embedding."""

    def __init__(self, config: ObjectiveConfig, model: SlvrModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(config, model, tokenizer)
        suffix = self.latents.tokens.reply(self.latents.visual_slots, semantic=False)
        self.form = replace(self.form, suffix=tuple(suffix))
