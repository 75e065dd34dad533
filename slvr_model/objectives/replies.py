"""How replies are laid out: latents, then what is told before the answer (echo, profile, mark), the answer, its end.

[suffix] | vis_start vis_slot... vis_end  sem_start sem_slot sem_end | profile  facet  mark | answer  end
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from slvr_data.errors import UsageError
from slvr_model.batches import Batch, collate
from slvr_model.data import Unusable
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.averages import taught
from slvr_model.objectives.base import Asked, Form
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.objectives.spans import collate_spans, region_size
from slvr_model.rows import Block, Picture, Row
from slvr_model.rules import end_tokens
from slvr_model.tokens import ABSENT, spelled


class Replies:
    """What all objectives have in common: everything but losses. A kind says which slots its replies have."""

    visual: ClassVar[bool] = False
    """Visual slots, with the region's box."""
    semantic: ClassVar[bool] = False
    """A semantic slot, with the region's embedding."""
    profile: ClassVar[bool] = False
    """The profile is written out."""

    def __init__(self, config: ObjectiveConfig, model: SlvrModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.config, self.tokenizer, self.layout = config, tokenizer, model.layout
        self.latents = model.latent_config
        self.heads: nn.Module = nn.ModuleDict()
        self.mark = self._ids(config.mark)
        self.unsaid = frozenset(vars(self.latents.tokens).values()) - {ABSENT}
        self.ends = frozenset((*end_tokens(model), tokenizer.eos_token_id))
        self.form = Form(visual_steps=self.latents.visual_slots if self.visual else 0, semantic=self.semantic)
        if self.semantic and not self.latents.semantic_dim:
            raise UsageError(
                f'objective "{config.kind}" needs a semantic slot, but the model has none (semantic_dim 0): '
                'take "lvr", or make a model with a semantic_dim'
            )

    @property
    def name(self) -> str:
        """Its kind."""
        return self.config.kind

    def row(self, asked: Row, sample: Asked, answer_ids: Sequence[int], *, lettered: bool = False) -> Row:
        """The question of `asked` with the reply of `sample`; see `Objective.row`."""
        prompt = asked.blocks[0].prompt if asked.blocks else ()
        picture = asked.pictures[0] if asked.pictures else None
        block = self.block(sample, answer_ids, prompt=prompt, lettered=lettered, picture=picture)
        length = len(asked.prefix) + len(block.prompt) + len(block.reply)
        if length > self.layout.limit:
            raise Unusable("prompt-too-long", f"{length} positions, the model takes {self.layout.limit}")
        return replace(asked, blocks=(block,))

    def block(
        self,
        sample: Asked,
        answer_ids: Sequence[int],
        *,
        prompt: Sequence[int] = (),
        lettered: bool = False,
        picture: Picture | None = None,
        **_: Any,
    ) -> Block:
        """A question with its reply; see `Objective.block`."""
        reply = (*self._opening(sample, picture), *self._told(sample, lettered), *answer_ids)
        return Block(
            (*prompt, *self.form.suffix),
            reply,
            (sample.box,) if self.visual else (),
            semantics_SE=self._embedding(sample) if self.semantic else None,
        )

    def asked(self, row: Row) -> Row:
        """A question to be decoded: what the form says stands behind it."""
        if not self.form.suffix:
            return row
        last = row.blocks[-1] if row.blocks else Block()
        return replace(row, blocks=(*row.blocks[:-1], replace(last, prompt=(*last.prompt, *self.form.suffix))))

    def collate(self, rows: Sequence[Row], side: Literal["left", "right"] = "right") -> Batch:
        """A batch of rows of this objective; as `batches.collate`."""
        if self.config.targets == "all":
            return collate_spans(rows, self.layout, side)
        return collate(rows, self.layout, side)

    def samples(self, batch: Batch) -> int:
        """The number of samples that a batch teaches."""
        return taught(batch)

    def answer(self, reply_ids: Sequence[int]) -> tuple[int, ...]:
        """The ids of the answer in a decoded reply: behind the last mark, without latents, up to its end."""
        whole = takewhile(lambda token: token not in self.ends, reply_ids)
        said = [token for token in whole if token not in self.unsaid]
        size = len(self.mark)
        for at in range(len(said) - size, -1, -1) if self._marked(False) else ():
            if tuple(said[at : at + size]) == self.mark:
                return tuple(said[at + size :])
        return tuple(said)

    def _marked(self, lettered: bool) -> bool:
        return self.profile or (self.config.echo and not lettered)

    def _told(self, sample: Asked, lettered: bool) -> tuple[int, ...]:
        """What is written before the answer."""
        told = self._ids(self._checked(sample.profile_text)) if self.profile else ()
        if self.config.echo and not lettered:
            told = (*told, *self._ids(self._checked(sample.facet.replace("_", " "))))
        return (*told, *self.mark) if self._marked(lettered) else ()

    def _opening(self, sample: Asked, picture: Picture | None) -> tuple[int, ...]:
        slots = self.latents.visual_slots if self.visual else 0
        if slots and self.config.targets == "all":
            if picture is None:
                raise UsageError('targets "all": the picture of a block is needed, to know how many tokens its box has')
            slots = region_size(sample.box, picture, self.layout)
        return tuple(self.latents.tokens.reply(slots, self.semantic))

    def _embedding(self, sample: Asked) -> Tensor:
        wanted = self.latents.target_dim or self.latents.semantic_dim
        if sample.embedding is None or sample.embedding.shape != (wanted,):
            found = "none" if sample.embedding is None else f"{len(sample.embedding)} numbers"
            raise Unusable("embedding-size", f"{found} where the model expects {wanted}")
        return torch.from_numpy(sample.embedding)[None]

    def _checked(self, text: str) -> str:
        if found := spelled(self.tokenizer, text):
            raise Unusable("special-token", f"{', '.join(found)} in a profile or a facet; no text may spell that")
        return text

    def _ids(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)
