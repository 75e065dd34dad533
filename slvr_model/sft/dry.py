"""`slvr-train sft --dry-run`: what a configuration takes on each GPU, by formula; no weights and no data are read."""

from __future__ import annotations

import math
import os
import re
from typing import Any

from slvr_model.efficiency.activations import BYTES, Step
from slvr_model.efficiency.estimate import Setup, estimate, table
from slvr_model.efficiency.shapes import SHAPES, shape_config
from slvr_model.efficiency.stored import stored
from slvr_model.latents import KEY, LatentConfig
from slvr_model.loading import checked_config
from slvr_model.objectives import config as objectives
from slvr_model.sft.arguments import world
from slvr_model.sft.config import ModelConfig, SftConfig
from slvr_model.sft.order import together_of
from slvr_model.sft.start import NEW, folder_of
from slvr_model.tiny import SEMANTIC, SLOTS, tiny_config, tiny_tokenizer
from slvr_model.tokens import LatentTokens

TEXT = 160
"""Positions of a question with its reply, latents included: an assumption where nothing is read."""
VISUAL = 1024
"""Visual tokens of a picture where `model.max_pixels` does not bound them: an assumption as well."""
GPUS = 8
"""Of a configuration that shares the model, where this is not a launch of several processes."""


def told(config: SftConfig) -> str:
    """The estimate as a table, with what was assumed.

    Raises:
        UsageError: the start is no checkpoint.
    """
    shape, name = shape_of(config.model)
    setup = _setup(config, shape)
    found, here = estimate(shape, setup, name), together(setup.gpus)
    lines = stored(found, config.saving.keep, here, opened(config.model.start, shape, setup.step))
    beside = "\n".join(f"{what:26}{size:>12}" for what, size in lines)
    gpus = "1 GPU" if setup.gpus == 1 else f"{setup.gpus} GPUs, {here} to a machine"
    return (
        f"{table([found])}\n{beside}\nassumed: {gpus}, rows of {setup.visual} visual tokens and "
        f"{setup.step.length - setup.visual} others; left out: what CUDA itself holds, and the copy of the set"
    )


def together(gpus: int) -> int:
    """GPUs of one machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", min(gpus, GPUS)))


def opened(start: str, shape: Any, step: Step) -> int:
    """Bytes of a parameter while a start is opened: as it is kept, or is to be held."""
    kept = str(getattr(shape, "dtype", None)).removeprefix("torch.") if folder_of(start) is not None else ""
    return max(BYTES.get(kept, 0), step.weight)


def latents_of(kind: str, latents: LatentConfig) -> int:
    """Latents of a reply, with pooled slots."""
    if kind not in objectives.LATENT:
        return 0
    visual = latents.visual_slots if kind in objectives.VISUAL or kind not in objectives.SEMANTIC else 0
    return visual + (kind in objectives.SEMANTIC and bool(latents.semantic_dim))


def shape_of(model: ModelConfig) -> tuple[Any, str]:
    """The configuration of the start's model, with latents, and its name.

    Raises:
        UsageError: the start is no checkpoint.
    """
    start = model.start
    size = re.search(r"qwen2\.5-vl-(\d+b)", start.lower())
    if size and size[1] in SHAPES and folder_of(start) is None:
        return shape_config(size[1], model.visual_slots, model.semantic_dim or 1024), size[1]
    if start in NEW or (start.startswith("slvr:") and folder_of(start) is None):
        shape: Any = tiny_config()
        setattr(shape, KEY, LatentConfig(LatentTokens.of(tiny_tokenizer()), SLOTS, SEMANTIC).to_dict())
        return shape, start
    shape = checked_config(folder_of(start) or start)
    if getattr(shape, KEY, None) is None:
        tokens = LatentTokens(*range(6))  # which ids they have changes no size
        latents = LatentConfig(tokens, model.visual_slots, model.semantic_dim or 1024)
        setattr(shape, KEY, latents.to_dict())
    return shape, start.rsplit("/", 1)[-1]


def _setup(config: SftConfig, shape: Any) -> Setup:
    training, model, vision = config.training, config.model, shape.vision_config
    side = vision.patch_size * vision.spatial_merge_size
    visual = model.max_pixels // side**2 if model.max_pixels else VISUAL
    shared = config.sharding.kind != "none"
    gpus = world()[1] if world()[1] > 1 or not shared else GPUS
    lora = training.lora
    questions = together_of(training) if training.lengths == "shared" else 1
    rows, length = math.ceil(training.rows / questions), visual + questions * TEXT
    step = Step(rows, length, model.dtype, training.bf16, lora.rank if lora else 0, training.checkpointing)
    latents = latents_of(config.objective.kind, LatentConfig.of(shape))
    return Setup(
        step,
        visual,
        calls=1 + latents if latents and config.objective.feed != "teacher" else 0,
        labels=questions * Setup.labels,
        encoder=model.train_vision,
        merger=model.train_merger,
        vocabulary=lora is None or lora.vocabulary,
        gpus=gpus,
        shard=shared,
        accumulation=training.accumulate,
    )
