"""A sample -> a row to train on or to decode: the chat form of any Qwen2.5-VL, latents of its region, its answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.batches import Batch, collate
from slvr_model.data import Accounts, Sample, Unusable
from slvr_model.prompts import LETTERS, question_text
from slvr_model.rows import Block, Layout, Row, rows_of
from slvr_model.tokens import spelled


class SampleRows:
    """Makes rows of samples for one model. Questions one after another about one decoded picture share it prepared.

    Args:
        processor: of the model; its chat template has a place for a picture.
        layout: of the model (`SlvrModel.layout`).
    """

    def __init__(self, processor: Any, layout: Layout) -> None:
        self.processor, self.layout = processor, layout
        self._last: tuple[Image.Image, Row, int] | None = None
        """The picture that was prepared last, a question about it, and its visual tokens: the next often shares it."""

    def row(self, sample: Sample, *, wording: int = 0, lettered: bool = False, latents: bool = True) -> Row:
        """The question with its reply: latents of the region where asked for, then the answer or its letter.

        Raises:
            Unusable: the row is longer than the model's limit, a text spells out special tokens, or the region's
                embedding is missing or of another size.
        """
        choices = sample.choices if lettered else ()
        answer = LETTERS[choices.index(sample.answer)] if choices else sample.answer
        tokenizer = self.processor.tokenizer
        self._check_text(answer)
        ids = (*tokenizer(answer, add_special_tokens=False).input_ids, tokenizer.eos_token_id)
        asked = self.asked(sample, wording=wording, lettered=lettered)
        block = Block((), ids)
        if latents:
            config = self.layout.latents
            opening = config.tokens.reply(config.visual_slots, bool(config.semantic_dim))
            block = Block((), (*opening, *ids), (sample.box,), semantics_SE=self._semantics(sample))
        length = len(asked.prefix) + len(block.reply)
        if length > self.layout.limit:
            raise Unusable("prompt-too-long", f"{length} positions, the model takes {self.layout.limit}")
        return replace(asked, blocks=(block,))

    def asked(self, sample: Sample, *, wording: int = 0, lettered: bool = False) -> Row:
        """The question alone, to be decoded.

        Raises:
            Unusable: the picture's sides are too unlike for the processor, or a text spells out special tokens.
        """
        text = question_text(sample.wordings[wording], sample.choices if lettered else ())
        self._check_text(text)
        content = [{"type": "image"}, {"type": "text", "text": text}]
        prompt = self.processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        if self._last is not None and self._last[0] is sample.picture:
            _, other, tokens = self._last
            image = self.processor.image_token
            ids = self.processor.tokenizer(prompt.replace(image, image * tokens)).input_ids
            return Row(tuple(ids), (Block(),), other.pictures)
        try:
            inputs = self.processor(text=[prompt], images=[sample.picture], return_tensors="pt")
        except ValueError as error:
            raise Unusable("picture-shape", str(error)) from None
        row = rows_of(inputs, self.layout, [sample.picture.size])[0]
        self._last = sample.picture, row, row.prefix.count(self.layout.image_token)
        return row

    def _check_text(self, text: str) -> None:
        if found := spelled(self.processor.tokenizer, text):
            raise Unusable("special-token", f"{', '.join(found)} in a question or an answer; no text may spell that")

    def _semantics(self, sample: Sample) -> Tensor | None:
        config = self.layout.latents
        if not config.semantic_dim:
            return None
        wanted = config.target_dim or config.semantic_dim
        if sample.embedding is None or sample.embedding.shape != (wanted,):
            found = "none" if sample.embedding is None else f"{len(sample.embedding)} numbers"
            raise Unusable("embedding-size", f"{found} where the model expects {wanted}")
        return torch.from_numpy(sample.embedding)[None]


def batches(
    samples: Iterable[Sample], rows: SampleRows, size: int, accounts: Accounts, *, latents: bool = True
) -> Iterator[Batch]:
    """Batches of `size` rows in the order of the samples; what cannot become a row is counted in `accounts`.

    Raises:
        RunError: more than the error budget cannot be used.
        UsageError: `size` is not positive.
    """
    if size < 1:
        raise UsageError(f"a batch of {size} rows: at least 1 is needed")
    ready: list[Row] = []
    for sample in samples:
        try:
            ready.append(rows.row(sample, latents=latents))
        except Unusable as fault:
            accounts.count(f"query {sample.query_id} of region {sample.region_id}", fault)
        if len(ready) == size:
            yield collate(ready, rows.layout)
            ready = []
    if ready:
        yield collate(ready, rows.layout)
