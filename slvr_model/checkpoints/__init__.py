"""Checkpoints that ship with the package, and how any is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from slvr_data.embeddings import LOCAL
from slvr_data.errors import RunError, UsageError
from slvr_model.latents import LatentConfig, note_embedding
from slvr_model.modeling import SlvrModel
from slvr_model.tiny import StillProcessor
from slvr_model.tokens import NAMES, STRINGS

HERE = Path(__file__).parent
SHIPPED = {"slvr:tiny": HERE / "tiny"}
"""Name -> folder."""


def open_checkpoint(name: str, dtype: torch.dtype | None = None) -> tuple[SlvrModel, StillProcessor]:
    """A checkpoint by its shipped name, folder or hub name: the model in eval mode, and its processor.

    Pictures are prepared by Pillow even where torchvision is installed, so that both give the same bits.

    Args:
        name: of the checkpoint.
        dtype: in which all of it is held; None: as it is kept.

    Raises:
        UsageError: there is none, or it is of another architecture, or lacks a processor.
        RunError: it is damaged, or model and processor are of different checkpoints.
    """
    if name.startswith("slvr:") and name not in SHIPPED:
        raise UsageError(f"{name} does not ship with slvr; these do: {', '.join(SHIPPED)}")
    folder = SHIPPED.get(name)
    if folder is not None and not (folder / "config.json").exists():
        raise UsageError(f"{name} is not part of this installation: slvr-train tiny DIR makes it, in DIR/checkpoint")
    options: dict[str, Any] = {} if dtype is None else {"dtype": dtype}
    model = SlvrModel.from_pretrained(folder or name, **options)
    latents = LatentConfig.of(model.config)
    if folder is not None and not latents.embedding:  # it was made before this was noted
        note_embedding(model.config, f"{LOCAL}:{latents.semantic_dim}")
    try:
        processor = StillProcessor.from_pretrained(folder or name, backend="pil")
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise UsageError(
            f"{name} has a model, but no processor that can be read: save it in the same folder with "
            f"processor.save_pretrained ({str(error).strip().splitlines()[0]})"
        ) from error
    check_pair(name, model, processor)
    return model, processor


def check_pair(name: str, model: SlvrModel, processor: StillProcessor) -> None:
    """Make sure that tokens which stand for pictures and latents have the same ids in both.

    Raises:
        RunError: one has not.
    """
    tokens, known = model.latent_config.tokens, processor.tokenizer.get_vocab()
    pairs = {string: getattr(tokens, one) for one, string in zip(NAMES, STRINGS, strict=True) if string in known}
    pairs[processor.image_token] = model.config.image_token_id
    other = [
        f"{string} {known.get(string)} and {number}" for string, number in pairs.items() if known.get(string) != number
    ]
    if other:
        raise RunError(f"{name}: processor and model do not belong together ({', '.join(other)})")
