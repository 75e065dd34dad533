"""The optimiser of both stages: which parameters step at which rate, and which decay."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn

from slvr_model.sft.config import LoraConfig

VOCABULARY = ("embed_tokens.weight", "lm_head.weight")


class Rates(Protocol):
    """The settings that it depends on."""

    learning_rate: float
    latent_rate: float | None
    weight_decay: float
    lora: LoraConfig | None


def optimizer_of(module: nn.Module, rates: Rates) -> torch.optim.AdamW:
    """AdamW on what has gradients; matrices alone decay; the latents' maps and an objective's heads, which are new to a
    public start, may have a rate of their own, and so may the vocabulary beside adapters.
    """
    words = rates.lora.vocabulary_rate if rates.lora else None
    own = {"new": rates.latent_rate, "words": words}
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            kind = "new" if ".latents." in f".{name}" or name.startswith("heads.") else ""
            if words and name.endswith(VOCABULARY):
                kind = "words"
            groups.setdefault((kind, parameter.dim() > 1), []).append(parameter)
    made = [
        {
            "params": parameters,
            "lr": own.get(kind) or rates.learning_rate,
            "weight_decay": rates.weight_decay if matrix else 0.0,
        }
        for (kind, matrix), parameters in groups.items()
    ]
    return torch.optim.AdamW(made, betas=(0.9, 0.95))
