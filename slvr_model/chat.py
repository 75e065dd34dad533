"""One question about one picture: the answer, where its visual latents look, and what its semantic latent says."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from slvr_data import geometry
from slvr_data.colors import COLORS
from slvr_data.embeddings import is_local, local_embedding
from slvr_data.errors import UsageError
from slvr_data.files import disk_errors
from slvr_data.images import PictureError, decoded
from slvr_data.manifest import load_manifest
from slvr_data.schema import Appearance, AttributeProfile, Peers, Spatial
from slvr_data.shards import files_of
from slvr_data.sources.scenes.forms import SHAPES
from slvr_model.batches import collate
from slvr_model.chat_page import page_of
from slvr_model.checkpoints import open_checkpoint
from slvr_model.checkpoints.precision import is_merged
from slvr_model.data import SlvSamples
from slvr_model.decoding import decode
from slvr_model.latents import LatentConfig
from slvr_model.memory import memory
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.kept import replies_of
from slvr_model.regions import box_tokens, pooled
from slvr_model.rows import Row, rows_of
from slvr_model.tiny import StillProcessor, answer_of
from slvr_model.tokens import spelled

Box = tuple[float, float, float, float]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""Numbers that a model may calculate with, by name."""
LONGEST = 256
"""Positions of a reply."""
FIELDS: dict[str, dict[str, AttributeProfile]] = {
    "entity": {word: AttributeProfile(appearance=Appearance(entity=word)) for word in SHAPES},
    "color": {word: AttributeProfile(appearance=Appearance(colors=[word])) for word in COLORS},
    "size": {word: AttributeProfile(appearance=Appearance(size=word)) for word in geometry.SIZES},
    "position": {word: AttributeProfile(spatial=Spatial(position=word)) for word in geometry.POSITIONS},
    "count": {str(n): AttributeProfile(peers=Peers(same_label_count=n)) for n in range(1, 9)},
}
"""Attribute -> value -> a profile that says this alone: what a semantic latent of local embeddings is read by."""


@dataclass(frozen=True)
class Reply:
    """What the model said and thought."""

    question: str
    answer: str
    grid: tuple[int, int]
    """Rows and columns of visual tokens."""
    heat_KG: Tensor
    """Cosine of each visual latent with each visual token of the picture, both standardised, row-major."""
    attributes: dict[str, list[tuple[str, float]]]
    """Attribute -> its values with their cosines, the nearest first; empty without a semantic latent to be read."""
    box: Box | None = None
    """The region whose visual tokens were given as visual latents; None: the latents are the model's own."""
    unread: str = ""
    """Why attributes cannot be read from the semantic latent; empty where they can, or where there is none."""


@dataclass(frozen=True)
class Shown:
    """A picture and what is asked about it."""

    picture: Image.Image
    """Mode RGB."""
    asked: tuple[tuple[str | None, str | None], ...]
    """Questions, each with its right answer where that is known; None: what `asked` asks by itself."""


def opened(name: str, device: str = "auto", dtype: str = "auto") -> tuple[SlvrModel, StillProcessor]:
    """A checkpoint on a device.

    Args:
        name: see `open_checkpoint`.
        device: "auto": a GPU where there is one.
        dtype: a name of `DTYPES`; see `numbers_of`.

    Raises:
        UsageError: there is no such checkpoint, device or type.
    """
    try:
        place = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)
        torch.empty(1, device=place)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(f"--device {device}: {str(error).splitlines()[0]}") from None
    model, processor = open_checkpoint(name, numbers_of(name, place, dtype))
    moved: Any = model
    return moved.to(place), processor


def numbers_of(name: str, place: torch.device, dtype: str) -> torch.dtype:
    """What a checkpoint calculates with: for "auto" bfloat16 on a GPU, unless that would round away what adapters have
    learnt (`precision.is_merged`), else float32.

    Raises:
        UsageError: there is no such type.
    """
    if dtype not in ("auto", *DTYPES):
        raise UsageError(f"--dtype {dtype}: give auto, {', '.join(DTYPES)}")
    if dtype != "auto":
        return DTYPES[dtype]
    return torch.float32 if place.type == "cpu" or is_merged(Path(name)) else torch.bfloat16


def shown(path: Path, question: str | None) -> Shown:
    """The picture in a file; or the first one of a published set, with the questions about its first region.

    Raises:
        UsageError: it is missing, no picture and no set, or a set without questions.
    """
    if path.is_dir():
        return _first_of(path, question)
    try:
        return Shown(decoded(path.read_bytes()), ((question, None),))
    except (PictureError, OSError) as error:
        raise UsageError(f"--image {path}: {error}") from None


def _first_of(folder: Path, question: str | None) -> Shown:
    files = load_manifest(folder).files
    split = next((name for name in ("test", "validation") if files_of(files, "multiquery", name)), "train")
    samples = iter(SlvSamples(folder, split))
    first = next(samples, None)
    if first is None:
        raise UsageError(f"--image {folder}: no question of its {split} split can be put")
    group = [first, *takewhile(lambda sample: sample.group_id == first.group_id, samples)]
    known = tuple((sample.question, sample.answer) for sample in group)
    return Shown(first.picture, known if question is None else ((question, None),))


def box_of(text: str) -> Box:
    """A box "x1,y1,x2,y2" in pixels.

    Raises:
        UsageError: it is not four numbers.
    """
    try:
        x1, y1, x2, y2 = (float(part) for part in text.split(","))
        if not all(map(math.isfinite, (x1, y1, x2, y2))):
            raise ValueError
    except ValueError:
        raise UsageError(f"--box {text}: give four numbers x1,y1,x2,y2 in pixels") from None
    return x1, y1, x2, y2


@memory("answering", "the size of the picture")
def asked(
    model: SlvrModel, processor: StillProcessor, picture: Image.Image, question: str | None, box: Box | None = None
) -> Reply:
    """Ask the model; its reply opens with latents, or is laid out as the model was taught (`objectives.kept`).

    Args:
        model: in eval mode.
        processor: of the model.
        picture: mode RGB.
        question: None asks what is where the box is, or in the center.
        box: its visual tokens take the place of the visual latents that the model writes itself.

    Raises:
        UsageError: the box is empty or outside of the picture, the picture's sides are too unlike, or the question
            is too long or spells out special tokens; or there is a box, and the model writes no visual latents.
    """
    laid = replies_of(model, processor.tokenizer)
    options: dict[str, Any] = {"opening": True} if laid is None else laid.form.options()
    if box is not None and options.get("visual_steps") == 0:
        raise UsageError("--box: this model replies without visual latents, so that none can be given")
    place = geometry.position_of(box, *picture.size) if box else "center"
    question = question or f"What can be seen at the {place} of the picture?"
    if found := spelled(processor.tokenizer, question):
        raise UsageError(f"--question: {', '.join(found)} is a special token, which no text may spell")
    row, (height, width) = _row(model, processor, picture, question)
    grid = height // model.layout.merge, width // model.layout.merge
    batch = collate([row if laid is None else laid.asked(row)], model.layout, side="left").to(model.device)
    with torch.no_grad():
        tokens_GD = model.encode(batch)
        assert tokens_GD is not None
        known_GD = model.latents.standardised(tokens_GD)
        edit = None if box is None else _Given(pooled(known_GD[box_tokens(box, picture.size, grid)], _slots(model)))
        out = decode(model, batch, max_new_tokens=LONGEST, edit=edit, visual_MD=tokens_GD, **options)
        latents_KD = out.latents.visual_TD
        if latents_KD is None:
            latents_KD = known_GD[:0]
        heat_KG = functional.cosine_similarity(latents_KD[:, None].float(), known_GD[None].float(), dim=-1).cpu()
    said = out.replies()[0]
    answer = answer_of(processor.tokenizer, said if laid is None else list(laid.answer(said)))
    semantic_SE = out.latents.semantic_SE
    unread = "" if semantic_SE is None or not len(semantic_SE) else unreadable(model)
    return Reply(question, answer, grid, heat_KG, {} if unread else attributes_of(semantic_SE), box, unread)


def _row(
    model: SlvrModel, processor: StillProcessor, picture: Image.Image, question: str
) -> tuple[Row, tuple[int, int]]:
    """The question as a row, and the rows and columns of patches of its picture.

    Raises:
        UsageError: the picture's sides are too unlike, or the question is too long.
    """
    content: Any = [{"type": "image"}, {"type": "text", "text": question}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
    )
    try:
        inputs = processor(text=[prompt], images=[picture], return_tensors="pt")
    except ValueError as error:
        raise UsageError(f"--image of {picture.width}x{picture.height} pixels: {error}") from None
    _, height, width = (int(n) for n in inputs["image_grid_thw"][0])
    return rows_of(inputs, model.layout, [picture.size])[0], (height, width)


def unreadable(model: SlvrModel) -> str:
    """Why no attributes can be read from a model's semantic latents; empty: they can, by the local embedding."""
    latents = LatentConfig.of(model.config)
    if latents.target_dim:
        return "they are projections of embeddings, as the released code has them"
    if not latents.embedding:
        return "its config.json does not say whose embeddings it was taught with"
    if not is_local(latents.embedding):
        return (
            f"it was taught with embeddings of {latents.embedding}, which only that model can make; "
            "slvr-bench run --profiles SET compares them with those of a set"
        )
    return ""


def _slots(model: SlvrModel) -> int:
    return model.latent_config.visual_slots


class _Given:
    """Puts given visual latents into the slots, one after another."""

    def __init__(self, latents_KD: Tensor) -> None:
        self._left = list(latents_KD)

    def __call__(self, kind: Literal["visual", "semantic"], rows: Tensor, latents: Tensor) -> Tensor:
        return self._left.pop(0)[None].to(latents.dtype) if kind == "visual" and self._left else latents


def attributes_of(semantic_SE: Tensor | None) -> dict[str, list[tuple[str, float]]]:
    """Values of each attribute by the cosine of their local embedding with a semantic latent, the nearest first."""
    if semantic_SE is None or len(semantic_SE) == 0:
        return {}
    latent_E, found = functional.normalize(semantic_SE[0].float().cpu(), dim=-1), {}
    for name, values in FIELDS.items():
        scored = [
            (value, float(torch.from_numpy(local_embedding(profile, len(latent_E))).float() @ latent_E))
            for value, profile in values.items()
        ]
        found[name] = sorted(scored, key=lambda pair: -pair[1])
    return found


def as_text(reply: Reply, right: str | None = None) -> str:
    """The reply for a terminal, beside the right answer where that is known."""
    lines = [reply.question, f"  {reply.answer}" + ("" if right is None else f"  (right: {right})")]
    for slot, heat_G in enumerate(reply.heat_KG):
        row, column = divmod(int(heat_G.argmax()), reply.grid[1])
        lines.append(f"visual latent {slot + 1}: nearest token in row {row + 1}, column {column + 1} of {reply.grid}")
    if reply.attributes:
        read = (f"{name} {values[0][0]} ({values[0][1]:.2f})" for name, values in reply.attributes.items())
        lines.append(f"semantic latent: {', '.join(read)}")
    if reply.unread:
        lines.append(f"semantic latent: no attributes can be read from it: {reply.unread}")
    return "\n".join(lines)


def write_page(path: Path, picture: Image.Image, reply: Reply) -> None:
    """One self-contained page: a heat map over the picture for each visual latent, the semantic latent as a table."""
    with disk_errors(f"writing {path}"):
        path.write_text(page_of(picture, reply), encoding="utf-8")
