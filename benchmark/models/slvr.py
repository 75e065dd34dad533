"""SLVR checkpoints: replies open with latents, which may be left out or replaced to see whether they matter.

B rows, K visual slots, D width, E dimension of the semantic latent
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchmark.models.base import Detail, ModelOptions
from benchmark.models.interventions import Change, Noise, Swap, zero
from benchmark.models.local import batches_of, details_of, device_of, dtype_of, no_bars
from benchmark.models.pictures import PictureError, pixels_of
from benchmark.models.places import slvr_folder
from benchmark.records import Ask, Reply
from benchmark.transforms.base import Pool
from slvr_data.errors import UsageError
from slvr_model.batches import collate
from slvr_model.checkpoints import SHIPPED, open_checkpoint
from slvr_model.decoding import Decoded, decode
from slvr_model.modeling import SlvrModel
from slvr_model.rows import Block, Picture, Row, lay_out
from slvr_model.tiny import StillProcessor, answer_of

KEPT_PICTURES = 64
"""Prepared pictures that are kept for the asks that follow on the same ones."""


def open_slvr(spec: str, options: ModelOptions) -> SlvrAdapter:
    """`slvr:tiny`, where its checkpoint is installed, or `slvr:PATH`, any SLVR checkpoint with its processor.

    Raises:
        UsageError: it is none, or options do not fit it. Only folders are looked for, on no hub.
        RunError: it is damaged.
    """
    folder = None if spec in SHIPPED else slvr_folder(spec)
    no_bars()
    device = device_of(options)
    try:
        model, processor = open_checkpoint(spec if folder is None else str(folder))
    except OSError as error:
        raise UsageError(f"--model {spec}: {str(error).splitlines()[0]}") from None
    moved: Any = model
    return SlvrAdapter(spec, moved.to(device=device, dtype=dtype_of(options, device)), processor, options)


class SlvrAdapter:
    """Decodes batches; a picture is prepared once, and encoded once per batch."""

    def __init__(self, spec: str, model: SlvrModel, processor: StillProcessor, options: ModelOptions) -> None:
        self.name = spec
        self._model, self._processor, self._options = model, processor, options
        self._pictures: OrderedDict[bytes, Picture] = OrderedDict()
        config = model.latent_config
        self._opening = len(config.tokens.reply(config.visual_slots, bool(config.semantic_dim)))
        self._pool: Pool | None = None
        if options.latents == "swapped":
            if options.bench is None or len({item.image_id for item in options.bench.items}) < 2:
                raise UsageError("latents that are swapped need items of two pictures at least")
            picture = options.bench.picture
            self._pool = Pool(options.bench.items, lambda image_id: pixels_of(picture(image_id), None))

    def details(self) -> dict[str, Detail]:
        """Hashes, numbers, versions, and what is done to the latents."""
        config = self._model.latent_config
        template = self._processor.chat_template
        return details_of(self._model, str(template), self._options) | {
            "latents": self._options.latents,
            "visual_slots": config.visual_slots,
            "semantic_dim": config.semantic_dim,
        }

    def replies(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, Reply]]:
        """Batch by batch; see `Model.replies`."""
        for batch in batches_of(asks, self._options.batch_size):
            started = time.monotonic()
            ready: list[tuple[Ask, Row]] = []
            for ask in batch:
                try:
                    ready.append((ask, self._row(ask, ask.picture)))
                except (PictureError, UsageError, ValueError) as error:
                    yield ask, Reply(None, "error", str(error))
            if ready:
                yield from self._decoded(ready, started)

    def _row(self, ask: Ask, picture: bytes) -> Row:
        """The ask as a row to decode. Raises what makes it impossible."""
        content: Any = [{"type": "image"}, {"type": "text", "text": ask.prompt}]
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        ids = self._processor.tokenizer(text).input_ids
        row = Row(tuple(ids), (Block(),), (self._picture(picture),))
        layout = self._model.layout
        length = len(lay_out(row, layout).ids) + self._longest
        if length > layout.limit:
            raise UsageError(f"the prompt with its reply may take {length} positions, the model has {layout.limit}")
        return row

    def _picture(self, data: bytes) -> Picture:
        if data not in self._pictures:
            pixels = pixels_of(data, self._options.max_pixels)
            shown = self._processor.image_processor(images=[pixels], return_tensors="pt")
            t, h, w = (int(n) for n in shown["image_grid_thw"][0])
            self._pictures[data] = Picture(shown["pixel_values"], (t, h, w), pixels.size)
            while len(self._pictures) > KEPT_PICTURES:
                self._pictures.popitem(last=False)
        return self._pictures[data]

    @property
    def _longest(self) -> int:
        """Positions of a reply: its tokens, and its latents."""
        return self._options.max_new_tokens + (0 if self._options.latents == "off" else self._opening)

    def _decoded(self, ready: Sequence[tuple[Ask, Row]], started: float) -> Iterator[tuple[Ask, Reply]]:
        change = self._change(ready)
        rows = [row for _, row in ready]
        out = self._decode(rows, [ask for ask, _ in ready], self._longest, change)
        seconds = time.monotonic() - started
        sampled, finished = out.sampled_BT.sum(1).tolist(), out.finished_B.tolist()
        for number, ((ask, row), ids) in enumerate(zip(ready, out.replies(), strict=True)):
            text = answer_of(self._processor.tokenizer, ids)
            finish = "stop" if finished[number] else "length"
            tokens = len(lay_out(row, self._model.layout).ids)
            yield ask, Reply(text, finish, None, tokens, int(sampled[number]), seconds)

    def _decode(self, rows: Sequence[Row], asks: Sequence[Ask], most: int, change: Change | None) -> Decoded:
        options, latents = self._options, self._options.latents != "off"
        device = self._model.lm_head.weight.device
        return decode(
            self._model,
            collate(rows, self._model.layout, side="left").to(device),
            max_new_tokens=most,
            opening=latents,
            visual_steps=None if latents else 0,
            semantic=None if latents else False,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=[_seed(ask) for ask in asks],
            edit=change,
        )

    def _change(self, ready: Sequence[tuple[Ask, Row]]) -> Change | None:
        """What is done to the latents of a batch."""
        mode = self._options.latents
        if mode == "zero":
            return zero
        if mode == "noise":
            return Noise([ask.ask_id for ask, _ in ready])
        return self._swap(ready) if mode == "swapped" else None

    def _swap(self, ready: Sequence[tuple[Ask, Row]]) -> Swap:
        """The latents that the same questions get from other pictures."""
        assert self._pool is not None and self._options.bench is not None
        rows = []
        for ask, row in ready:
            other = self._options.bench.picture(self._pool.other(ask.item))
            rows.append(replace(row, pictures=(self._picture(other),)))
        out = self._decode(rows, [ask for ask, _ in ready], self._opening, None)
        visual, semantic = out.latents.visual_TD, out.latents.semantic_SE
        return Swap(
            None if visual is None else visual.view(len(rows), -1, visual.shape[-1]),
            semantic,
        )


def _seed(ask: Ask) -> int:
    """Of an ask's draws: another for each ask, whatever batch it is in."""
    return int.from_bytes(hashlib.sha256(ask.ask_id.encode()).digest()[:8], "big")
