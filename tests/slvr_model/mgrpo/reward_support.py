"""Replies of a group made by hand, and distances between their latents the slow way."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from slvr_model.mgrpo.rewards.facts import Facts


def facts(queries: int = 2, rollouts: int = 3, seed: int = 0, **changed: Any) -> Facts:
    """Replies of which the first of each query is wrong, with random latents of 4 slots."""
    given = [f"{'not ' if row % rollouts == 0 else ''}red {row // rollouts}" for row in range(queries * rollouts)]
    drawn = torch.Generator().manual_seed(seed)
    made = Facts(
        queries,
        rollouts,
        given,
        [f"red {query}" for query in range(queries)],
        [False] * queries,
        [True] * len(given),
        visual_kGKD=torch.randn(queries, rollouts, 4, 5, generator=drawn),
        semantic_kGE=torch.randn(queries, rollouts, 6, generator=drawn),
        reference_visual_kGKD=torch.randn(queries, rollouts, 4, 5, generator=drawn),
        reference_semantic_kGE=torch.randn(queries, rollouts, 6, generator=drawn),
    )
    return replace(made, **changed)


def slow_distance(one: Tensor, other: Tensor, kind: str) -> float:
    a, b = one.tolist(), other.tolist()
    if kind == "l2":
        return math.sqrt(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return 1 - dot / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def slow_slots(one: Tensor, other: Tensor, kind: str) -> float:
    return sum(slow_distance(a, b, kind) for a, b in zip(one, other, strict=True)) / len(one)
