"""What the optimiser steps, and how far: rates are a function of the step alone."""

from __future__ import annotations

import math

import torch
from torch import nn

from slvr_model.mgrpo.config import LearningConfig


def optimizer_of(policy: nn.Module, config: LearningConfig) -> torch.optim.AdamW:
    """AdamW on what has gradients; matrices alone decay; the latents' maps may have a rate of their own."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in policy.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((".latents." in f".{name}", parameter.dim() > 1), []).append(parameter)
    latent = config.latent_rate or config.learning_rate
    made = [
        {
            "params": parameters,
            "largest": latent if maps else config.learning_rate,
            "lr": latent if maps else config.learning_rate,
            "weight_decay": config.weight_decay if matrix else 0.0,
        }
        for (maps, matrix), parameters in groups.items()
    ]
    return torch.optim.AdamW(made, betas=(0.9, 0.95))


def share_of(step: int, config: LearningConfig) -> float:
    """The share of the largest rate at a step, counted from 1: a rise over the warm-up, then the schedule's fall."""
    warm = round(config.warmup * config.steps)
    if step <= warm:
        return step / (warm + 1)
    gone = (step - warm - 1) / max(1, config.steps - warm)
    if config.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * gone))
    return 1 - gone if config.schedule == "linear" else 1.0


def set_rates(optimizer: torch.optim.Optimizer, step: int, config: LearningConfig) -> float:
    """Set the rate of every group for a step; the share of the largest."""
    share = share_of(step, config)
    for group in optimizer.param_groups:
        group["lr"] = group["largest"] * share
    return share
