"""How many positions samples take, from texts and picture sizes alone: found once for a copy, and kept beside it."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from slvr_data.errors import RunError
from slvr_data.files import disk_errors, write_atomic
from slvr_model.data import Sample, Unusable
from slvr_model.prompts import question_text
from slvr_model.sft.copying import locked
from slvr_model.sft.mapped import MappedSamples
from slvr_model.sft.samples import SUBSTITUTES, RowMaker

LENGTHS = 1
"""Version of how lengths are found."""
_NEEDED = ("box", "facet", "question", "choices", "answer", "profile_text", "vector", "width", "height")


@dataclass(frozen=True)
class _Sized:
    """What of a `rows.Picture` the length of a reply depends on."""

    size: tuple[float, float]
    grid: tuple[int, int, int]


def lengths_of(samples: MappedSamples, number: int, maker: RowMaker) -> npt.NDArray[np.int64]:
    """About how many positions each of the first `number` samples takes.

    Exact for a question's first wording, lettered where that is the more frequent form. No picture but one is decoded.
    One process finds them and keeps them in the copy's folder, by a hash of what they depend on.

    Raises:
        RunError: what is kept is damaged, or the disk is full.
    """
    file = samples.folder / f"lengths-{_key(maker)}.npy"
    with locked(samples.folder):
        known = _kept(file) if file.exists() else np.empty(0, np.int64)
        if len(known) < min(number, len(samples)):
            known, out = _found(samples, number, maker), io.BytesIO()
            np.save(out, known)
            with disk_errors(f"writing {file}"):
                write_atomic(file, out.getvalue())
    return known[:number]


def _kept(file: Any) -> npt.NDArray[np.int64]:
    try:
        known: npt.NDArray[np.int64] = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise RunError(f"{file} is damaged ({error}): remove it, and it is made again") from None
    return known


def _key(maker: RowMaker) -> str:
    """A hash of all that lengths depend on besides the samples."""
    processor, pictures = maker.rows.processor, maker.rows.processor.image_processor
    parts: Sequence[object] = (
        LENGTHS,
        processor.tokenizer.backend_tokenizer.to_str(),
        processor.chat_template,
        (pictures.patch_size, pictures.merge_size, dict(pictures.size)),
        maker.rows.layout,
        maker.objective.config.model_dump_json(),
        _lettered(maker),
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _lettered(maker: RowMaker) -> bool:
    return maker.config.lettered >= 0.5


def _found(samples: MappedSamples, number: int, maker: RowMaker) -> npt.NDArray[np.int64]:
    processor, lettered = maker.rows.processor, _lettered(maker)
    around, found = _around(samples, maker)[0], list[int]()
    for rows in samples.rows(*_NEEDED):
        texts = [question_text(known["question"], known["choices"] if lettered else ()) for known in rows]
        asked = processor.tokenizer(texts, add_special_tokens=False).input_ids
        for known, ids in zip(rows, asked, strict=True):
            picture = _Sized((known["width"], known["height"]), _grid(known, processor.image_processor))
            reply = _reply(_without_picture(known, maker), picture, maker, lettered)
            found.append(around + len(ids) + _visual(picture.grid, maker) + reply)
        if len(found) >= number:
            break
    return np.asarray(found[:number], np.int64)


def prefixes_of(samples: MappedSamples, number: int, maker: RowMaker) -> npt.NDArray[np.int64]:
    """How many positions of each of the first `number` samples its picture has, with what stands before it."""
    before, found = _around(samples, maker)[1], list[int]()
    for rows in samples.rows("width", "height"):
        found += [before + _visual(_grid(known, maker.rows.processor.image_processor), maker) for known in rows]
        if len(found) >= number:
            break
    return np.asarray(found[:number])


def reply_of(sample: Sample, maker: RowMaker, lettered: bool) -> int:
    """Positions of a sample's reply, latents included, without its picture being laid out; 0 for an unusable one."""
    width, height = sample.picture.size
    picture = _Sized((width, height), _grid({"width": width, "height": height}, maker.rows.processor.image_processor))
    try:
        answer = maker.answer(sample, lettered)
        return len(maker.objective.block(sample, answer, lettered=lettered, picture=picture).reply)
    except Unusable:
        return 0


def _visual(grid: tuple[int, int, int], maker: RowMaker) -> int:
    """Visual tokens of a picture."""
    return grid[1] * grid[2] // maker.rows.layout.merge**2


def _around(samples: MappedSamples, maker: RowMaker) -> tuple[int, int]:
    """Positions of the chat form around a question and its picture; and of them, those before the picture."""
    processor, question = maker.rows.processor, "What is it?"
    size = len(processor.tokenizer(question, add_special_tokens=False).input_ids)
    for number in range(min(SUBSTITUTES, len(samples))):
        sample = replace(samples[number], question=question, wordings=(question,), choices=())
        try:
            row = maker.rows.asked(sample)
        except Unusable:
            continue
        shown = sum(_visual(picture.grid, maker) for picture in row.pictures)
        return len(row.prefix) - size - shown, row.prefix.index(maker.rows.layout.image_token)
    raise RunError(f"the first {SUBSTITUTES} samples cannot be used: validate the set")


_NOTHING = Image.new("RGB", (1, 1))
_UNNAMED = dict.fromkeys(("query_id", "group_id", "region_id", "image_id"), "")


def _without_picture(known: dict[str, Any], maker: RowMaker) -> Sample:
    """A sample of a single pixel and an embedding of zeros: a reply's length does not depend on what they hold."""
    kept = {name: known[name] for name in ("facet", "question", "answer", "profile_text")} | _UNNAMED
    box, wordings, choices = tuple(known["box"]), (known["question"],), tuple(known["choices"])
    latents = maker.rows.layout.latents
    vector = None if known["vector"] is None else np.zeros(latents.target_dim or latents.semantic_dim, np.float32)
    return Sample(picture=_NOTHING, box=box, wordings=wordings, choices=choices, embedding=vector, **kept)


def _grid(known: dict[str, Any], pictures: Any) -> tuple[int, int, int]:
    """The grid of patches that the processor will make of a picture."""
    side, size = pictures.patch_size, pictures.size
    least, most = size["shortest_edge"], size["longest_edge"]
    try:
        rows, columns = smart_resize(known["height"], known["width"], side * pictures.merge_size, least, most)
    except ValueError:  # sides too unlike: the sample will turn out unusable
        return (1, pictures.merge_size, pictures.merge_size)
    return (1, rows // side, columns // side)


def _reply(sample: Sample, picture: _Sized, maker: RowMaker, lettered: bool) -> int:
    """Positions of a reply and of what stands before it; 1 for a sample that will turn out unusable."""
    letter = lettered and bool(sample.choices)
    try:
        answer = maker.answer(sample, letter)
        block = maker.objective.block(sample, answer, lettered=letter, picture=picture)
        return len(block.prompt) + len(block.reply)
    except Unusable:
        return 1
