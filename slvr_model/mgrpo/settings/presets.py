"""Three forms of M-GRPO by name: the paper's, the released code's, and ours.

    tree = with_preset({"preset": "released", "rewards": {"answer": {"kind": "exact"}}, "training": {...}})

Settings that the tree names stand; those of the preset fill what it leaves out.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from slvr_data.errors import UsageError
from slvr_model.mgrpo.settings.advantages import AdvantageConfig
from slvr_model.mgrpo.settings.latents import LatentLossConfig
from slvr_model.mgrpo.settings.losses import LossConfig
from slvr_model.mgrpo.settings.rewards import RewardConfig

Preset = Literal["ours", "paper", "released"]

_NO_LATENT_LOSS = {"together": 0.0, "apart": 0.0, "stability": 0.0}
PRESETS: dict[Preset, dict[str, dict[str, Any]]] = {
    "ours": {"rewards": {}, "advantages": {}, "loss": {}, "latents": {}},
    # arXiv 2605.19342, section on M-GRPO; weights and thresholds as its code has them
    "paper": {
        "rewards": {
            "answer": {"weight": 1.0, "kind": "judge", "lettered": "as_open"},
            "format": {"weight": 0.0},
            "all_right": {"weight": 0.0},
            "consistency": {"weight": 0.3, "distance": "l2", "semantic": 0.01, "visual": 0.01},
            "stability": {"weight": 0.1, "distance": "l2", "semantic_margin": 15.0, "visual_margin": 15.0},
            "gates": {},
        },
        "advantages": {"level": "per_query", "normalise": "zscore", "drop": False},
        "loss": {"aggregation": "grpo", "beta": 0.04, "kl_gradient": "plain"},
        "latents": _NO_LATENT_LOSS,
    },
    # the research code at commit 660320e
    "released": {
        "rewards": {
            "answer": {
                "weight": 1.0,
                "kind": "judge",
                "lettered": "as_open",
                "unknown": "contained",
                "query_weights": [0.7, 0.3],
            },
            "format": {"weight": 0.2},
            "all_right": {"weight": 0.0},
            "consistency": {"weight": 0.3, "distance": "cosine", "semantic": 0.01, "visual": 0.01},
            "stability": {
                "weight": 0.1,
                "distance": "cosine",
                "semantic_margin": 15.0,
                "visual_margin": 15.0,
                "most": 1.0,
                "inert": True,
            },
            "gates": {"answer": "format", "consistency": "format", "stability": "format"},
            "joint": True,
        },
        "advantages": {"level": "joint", "normalise": "zscore", "epsilon": 1e-3, "clip": 5.0, "drop": False},
        "loss": {"aggregation": "bnpo", "beta": 0.04, "kl_gradient": "plain"},
        "latents": _NO_LATENT_LOSS,
    },
}
"""By section of the configuration; what is not named has its default."""


@dataclass(frozen=True)
class Form:
    """The four sections of a preset."""

    rewards: RewardConfig
    advantages: AdvantageConfig
    loss: LossConfig
    latents: LatentLossConfig


def form_of(name: str) -> Form:
    """A preset's sections, checked.

    Raises:
        UsageError: there is none of that name.
    """
    tree = with_preset({"preset": name})
    return Form(
        RewardConfig.model_validate(tree["rewards"]),
        AdvantageConfig.model_validate(tree["advantages"]),
        LossConfig.model_validate(tree["loss"]),
        LatentLossConfig.model_validate(tree["latents"]),
    )


def with_preset(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration's tree with the sections of the preset that it names ("ours" unless told) filled in.

    `gates` and lists are taken whole, as they stand; other settings are filled in one by one.

    Raises:
        UsageError: there is no preset of that name.
    """
    name = tree.get("preset", "ours")
    if name not in PRESETS:
        raise UsageError(f"preset {name!r}: {', '.join(PRESETS)} are known")
    filled: dict[str, Any] = copy.deepcopy(dict(tree))
    for section, settings in PRESETS[name].items():
        filled[section] = _under(filled.get(section) or {}, settings)
    return filled


def _under(given: Any, filling: Any) -> Any:
    """What is given, with what it does not name taken from `filling`."""
    if given is None or not (isinstance(given, dict) and isinstance(filling, dict)):
        return given
    merged = dict(given)
    for key, value in filling.items():
        if key not in given:
            merged[key] = copy.deepcopy(value)
        elif key != "gates":
            merged[key] = _under(given[key], value)
    return merged
