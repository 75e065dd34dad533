"""What the optimiser steps, and how far: rates are a function of the step alone."""

from __future__ import annotations

import math

import torch
from torch import nn

from slvr_model.mgrpo.config import LearningConfig
from slvr_model.sft import rates


def optimizer_of(policy: nn.Module, config: LearningConfig) -> torch.optim.AdamW:
    """The optimiser of stage 1 (`sft.rates`), with the largest rate of each group beside it."""
    made = rates.optimizer_of(policy, config)
    for group in made.param_groups:
        group["largest"] = group["lr"]
    return made


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
