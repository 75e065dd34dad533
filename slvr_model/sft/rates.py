"""The optimiser of both stages: which parameters step at which rate, and which decay."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import nn


class Rates(Protocol):
    """The settings that it depends on."""

    learning_rate: float
    latent_rate: float | None
    weight_decay: float


def optimizer_of(module: nn.Module, rates: Rates) -> torch.optim.AdamW:
    """AdamW on what has gradients; matrices alone decay; the latents' maps and an objective's heads, which are new to a
    public start, may have a rate of their own.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            new = ".latents." in f".{name}" or name.startswith("heads.")
            groups.setdefault((new, parameter.dim() > 1), []).append(parameter)
    latent = rates.latent_rate or rates.learning_rate
    made = [
        {
            "params": parameters,
            "lr": latent if new else rates.learning_rate,
            "weight_decay": rates.weight_decay if matrix else 0.0,
        }
        for (new, matrix), parameters in groups.items()
    ]
    return torch.optim.AdamW(made, betas=(0.9, 0.95))
