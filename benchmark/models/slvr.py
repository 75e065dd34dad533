"""SLVR checkpoints: replies open with latents, which may be left out or replaced to see whether they matter.

B rows, K visual slots, D width, E dimension of the semantic latent
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.interventions.latents import Attention, Survey
from benchmark.interventions.names import Shape, intervention_of
from benchmark.models.base import Detail, ModelOptions
from benchmark.models.bounds import bounds_of, set_most
from benchmark.models.interventions import ByRow, Change, Kind, Noise, RowChange, Swap, zero
from benchmark.models.local import batches_of, details_of, device_of, dtype_of, no_bars
from benchmark.models.openings import NoTargetError, Opening, Replacements, plain_id
from benchmark.models.pictures import PictureError, pixels_of
from benchmark.models.places import slvr_folder
from benchmark.records import Ask, Reply
from benchmark.transforms.base import Pool
from slvr_data.errors import UsageError
from slvr_model.attention import attention_shares
from slvr_model.batches import collate
from slvr_model.checkpoints import SHIPPED, open_checkpoint
from slvr_model.checkpoints.precision import hold, is_merged
from slvr_model.decoding import Decoded, decode
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.kept import replies_of
from slvr_model.region_targets import embedding_size, semantic_target, visual_target
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
    dtype = dtype_of(options, device, model.lm_head.weight.dtype)
    if options.dtype == "auto" and folder is not None and is_merged(folder):
        dtype = torch.float32
    hold(model, dtype)
    return SlvrAdapter(spec, moved.to(device), processor, options)


class SlvrAdapter:
    """Decodes batches; a picture is prepared once, and encoded once per batch."""

    def __init__(self, spec: str, model: SlvrModel, processor: StillProcessor, options: ModelOptions) -> None:
        self.name = spec
        self._model, self._processor, self._options = model, processor, options
        set_most(processor.image_processor, options)
        self._pictures: OrderedDict[bytes, Picture] = OrderedDict()
        config = model.latent_config
        self._laid = replies_of(model, processor.tokenizer)
        """How the model was trained to reply; None: with all its latents, then the answer."""
        form = None if self._laid is None else self._laid.form
        self._shape = Shape(
            config.visual_slots if form is None else form.visual_steps,
            bool(config.semantic_dim) if form is None else form.semantic,
        )
        self._latents = options.latents != "off" and (self._shape.visual_slots > 0 or self._shape.semantic)
        if not self._latents and options.latents not in ("on", "off"):
            raise UsageError(f"--latents {options.latents}: {spec} replies without latents; leave it out")
        self._opening = self._opening_of(self._shape.visual_slots)
        self._replacements = Replacements(self._read, self._target, model.latents.unit)
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
        profiles = self._options.profiles
        known: dict[str, Detail] = {}
        if profiles is not None and config.semantic_dim:
            known = {
                "profiles_sha256": profiles.source,
                "profile_embeddings": profiles.model(embedding_size(self._model)),
            }
        return {
            **details_of(self._model, str(template), self._options),
            **bounds_of(self._processor.image_processor, self._options),
            "latents": self._options.latents,
            "visual_slots": self._shape.visual_slots,
            "semantic_dim": config.semantic_dim if self._shape.semantic else 0,
            **({} if self._laid is None else {"replies": self._laid.name}),
            **known,
        }

    def replies(self, asks: Iterable[Ask]) -> Iterator[tuple[Ask, Reply]]:
        """Batch by batch; see `Model.replies`. Rows of another number of slots are a batch of their own."""
        for batch in batches_of(asks, self._options.batch_size):
            started = time.monotonic()
            ready: dict[int, list[tuple[Ask, Row, RowChange | None]]] = {}
            self._replacements.open([ask.donor for ask in batch if ask.donor is not None])
            for ask in batch:
                try:
                    self._check_swap(ask)
                    made = (ask, self._row(ask, ask.picture), self._replacements.change(ask))
                    ready.setdefault(self._slots(ask), []).append(made)
                except (PictureError, UsageError, ValueError) as error:
                    yield ask, Reply(None, "error", str(error))
            for slots, own in ready.items():
                yield from self._decoded([(ask, row) for ask, row, _ in own], [how for *_, how in own], slots, started)

    def _row(self, ask: Ask, picture: bytes) -> Row:
        """The ask as a row to decode. Raises what makes it impossible."""
        content: Any = [{"type": "image"}, {"type": "text", "text": ask.prompt}]
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
        ids = self._processor.tokenizer(text).input_ids
        row = Row(tuple(ids), (Block(),), (self._picture(picture),))
        if self._laid is not None:
            row = self._laid.asked(row)
        layout = self._model.layout
        length = len(lay_out(row, layout).ids) + self._longest(self._slots(ask))
        if length > layout.limit:
            raise UsageError(f"the prompt with its reply may take {length} positions, the model has {layout.limit}")
        return row

    def _slots(self, ask: Ask) -> int:
        """Visual slots of a reply."""
        change = intervention_of(ask.variant)
        return change.slots if change is not None and change.slots is not None else self._shape.visual_slots

    def _picture(self, data: bytes) -> Picture:
        if data not in self._pictures:
            pixels = pixels_of(data, self._options.max_pixels)
            shown = self._processor.image_processor(images=[pixels], return_tensors="pt")
            t, h, w = (int(n) for n in shown["image_grid_thw"][0])
            self._pictures[data] = Picture(shown["pixel_values"], (t, h, w), pixels.size)
            while len(self._pictures) > KEPT_PICTURES:
                self._pictures.popitem(last=False)
        return self._pictures[data]

    def _longest(self, slots: int) -> int:
        """Positions of a reply: its tokens, and its latents."""
        return self._options.max_new_tokens + (self._opening_of(slots) if self._latents else 0)

    def _opening_of(self, slots: int) -> int:
        return len(self._model.latent_config.tokens.reply(slots, self._shape.semantic))

    def _decoded(
        self, ready: Sequence[tuple[Ask, Row]], changes: Sequence[RowChange | None], slots: int, started: float
    ) -> Iterator[tuple[Ask, Reply]]:
        change = self._change(ready) if not any(changes) else ByRow(changes)
        rows = [row for _, row in ready]
        out = self._decode(rows, [ask for ask, _ in ready], self._longest(slots), change, slots)
        seconds = time.monotonic() - started
        sampled, finished = out.sampled_BT.sum(1).tolist(), out.finished_B.tolist()
        for number, ((ask, row), ids) in enumerate(zip(ready, out.replies(), strict=True)):
            said = ids if self._laid is None else list(self._laid.answer(ids))
            text = answer_of(self._processor.tokenizer, said)
            finish = "stop" if finished[number] else "length"
            tokens = len(lay_out(row, self._model.layout).ids)
            shown = sum(math.prod(picture.grid) for picture in row.pictures) // self._merged
            yield ask, Reply(text, finish, None, tokens, int(sampled[number]), seconds, shown)

    def _decode(
        self, rows: Sequence[Row], asks: Sequence[Ask], most: int, change: Change | None, slots: int | None = None
    ) -> Decoded:
        options = self._options
        return decode(
            self._model,
            collate(rows, self._model.layout, side="left").to(self._device),
            max_new_tokens=most,
            opening=self._latents,
            visual_steps=(self._shape.visual_slots if slots is None else slots) if self._latents else 0,
            semantic=self._latents and self._shape.semantic,
            temperature=options.temperature,
            top_p=options.top_p,
            seed=[_seed(ask) for ask in asks],
            edit=change,
        )

    @property
    def _merged(self) -> int:
        """Patches that become one visual token."""
        return int(self._processor.image_processor.merge_size) ** 2

    @property
    def _device(self) -> torch.device:
        found: torch.device = self._model.lm_head.weight.device
        return found

    def _change(self, ready: Sequence[tuple[Ask, Row]]) -> Change | None:
        """What is done to the latents of a batch."""
        mode = self._options.latents
        if mode == "zero":
            return zero
        if mode == "noise":
            return Noise([ask.ask_id for ask, _ in ready])
        return self._swap(ready) if mode == "swapped" else None

    def _check_swap(self, ask: Ask) -> None:
        """Raises UsageError where latents are to be those of another picture, and all others show the same thing."""
        if self._pool is not None and not self._pool.has_other(ask.item):
            raise UsageError(
                f"every other picture shows a {ask.item.label}: latents of none would be about something else; "
                "--interventions picture takes those of another query"
            )

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

    # --- latents that are read, and put in the place of others

    def latent_shape(self) -> Shape:
        """What latents the model has.

        Raises:
            UsageError: it is run with other latents than its own.
        """
        if self._options.latents != "on":
            mode = self._options.latents
            raise UsageError(f"--interventions change a model's own latents: leave --latents {mode} out")
        if not self._latents:
            raise UsageError(f"--interventions: {self.name} replies without latents, so there are none to change")
        return self._shape

    def survey(self, asks: Iterable[Ask]) -> Survey:
        """The latents of plain asks with their targets; see `Replacements.survey`."""
        return self._replacements.survey(asks, self._options.batch_size)

    def attention(self, asks: Iterable[Ask]) -> list[Attention]:
        """See `slvr_model.attention`; replies without a word are left out."""
        found = []
        for batch in batches_of(asks, self._options.batch_size):
            ready = [(ask, row) for ask in batch if (row := self._row_or_none(ask)) is not None]
            if not ready:
                continue
            rows, own = [row for _, row in ready], [ask for ask, _ in ready]
            prompts = collate(rows, self._model.layout, side="left").to(self._device)
            out = self._decode(rows, own, self._longest(self._shape.visual_slots), None)
            *layers, even = attention_shares(self._model, prompts, out)
            for number, ask in enumerate(own):
                each = [{name: float(share_B[number]) for name, share_B in look.items()} for look in (*layers, even)]
                if all(np.isfinite(list(look.values())).all() for look in each):
                    mean = {name: sum(look[name] for look in each[:-1]) / len(layers) for name in each[0]}
                    found.append(Attention(ask.item, ask.query, each[len(layers) // 2], mean, each[-1]))
        return found

    def _row_or_none(self, ask: Ask) -> Row | None:
        """The row of an ask; None where it cannot be put, which its reply in the log says."""
        try:
            return self._row(ask, ask.picture)
        except (PictureError, UsageError, ValueError):
            return None

    def _read(self, asks: Sequence[Ask]) -> list[Opening | None]:
        """The latents that the replies to plain asks open with; None where an ask cannot be put."""
        rows = [self._row_or_none(ask) for ask in asks]
        ready = [(ask, row) for ask, row in zip(asks, rows, strict=True) if row is not None]
        if not ready:
            return [None] * len(asks)
        out = self._decode([row for _, row in ready], [ask for ask, _ in ready], self._opening, None).latents
        visual, semantic = iter([None] * len(ready)), iter([None] * len(ready))
        if out.visual_TD is not None and self._shape.visual_slots:
            visual = iter(out.visual_TD.view(len(ready), -1, out.visual_TD.shape[-1]).cpu())
        if out.semantic_SE is not None and self._shape.semantic:
            semantic = iter(out.semantic_SE.cpu())
        return [None if row is None else Opening(next(visual), next(semantic)) for row in rows]

    def _target(self, ask: Ask, kind: Kind) -> Tensor:
        """What a latent of a region should be, [K, D] or [E]. Raises `NoTargetError`."""
        item, profiles = ask.item, self._options.profiles
        if kind == "semantic":
            if profiles is None or item.region_id not in profiles or not embedding_size(self._model):
                raise NoTargetError(f"the profile of region {item.region_id} is unknown: so is its semantic target")
            embedding = torch.from_numpy(profiles.embedding(item.region_id, embedding_size(self._model)))
            return semantic_target(self._model, embedding).cpu()
        if item.bbox is None:
            raise NoTargetError(f"item {item.item_id} has no box: its visual target is unknown")
        picture = self._picture(ask.picture)
        right, down = picture.size[0] / item.width, picture.size[1] / item.height
        x1, y1, x2, y2 = item.bbox
        try:
            return visual_target(self._model, picture, (x1 * right, y1 * down, x2 * right, y2 * down)).cpu()
        except UsageError as error:
            raise NoTargetError(f"item {item.item_id}: {error}") from None


def _seed(ask: Ask) -> int:
    """Of an ask's draws: another for each ask, whatever batch it is in; with changed latents that of the plain ask,
    so that replies differ by the latents alone.
    """
    name = ask.ask_id if intervention_of(ask.variant) is None else plain_id(ask)
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
