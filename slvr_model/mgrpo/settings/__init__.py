"""Settings of what M-GRPO computes, importable without torch."""

from slvr_model.mgrpo.settings.advantages import AdvantageConfig, RoutingConfig
from slvr_model.mgrpo.settings.latents import LatentLossConfig
from slvr_model.mgrpo.settings.losses import LossConfig
from slvr_model.mgrpo.settings.presets import PRESETS, Form, Preset, form_of, with_preset
from slvr_model.mgrpo.settings.ranges import Range
from slvr_model.mgrpo.settings.rewards import RewardConfig

__all__ = [
    "PRESETS",
    "AdvantageConfig",
    "Form",
    "LatentLossConfig",
    "LossConfig",
    "Preset",
    "Range",
    "RewardConfig",
    "RoutingConfig",
    "form_of",
    "with_preset",
]
