"""In which types of numbers a checkpoint is kept, and in which it is held."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import safe_open
from torch import nn


def hold(part: nn.Module, dtype: torch.dtype) -> None:
    """Hold what a checkpoint keeps in a type. Rotary frequencies, which it does not keep, stay as they are: in bfloat16
    they would turn far positions by radians.
    """
    kept = part.state_dict().keys()
    buffers = (buffer for name, buffer in part.named_buffers() if name in kept)
    for value in (*part.parameters(), *buffers):
        value.data = value.data.to(dtype)


def is_merged(folder: Path) -> bool:
    """Whether adapters on weights in bfloat16 were merged into a checkpoint: its file keeps those matrices in float32,
    and the others not. In bfloat16, much of what the adapters learnt would be rounded away.
    """
    kept: set[str] = set()
    for file in folder.glob("model*.safetensors"):
        with safe_open(file, framework="pt") as opened:
            kept |= {opened.get_slice(name).get_dtype() for name in opened.keys()}  # noqa: SIM118 - it is no mapping
    return {"F32", "BF16"} <= kept
