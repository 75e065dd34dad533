"""Settings of what M-GRPO computes, importable without torch."""

from slvr_model.mgrpo.settings.advantages import AdvantageConfig, RoutingConfig
from slvr_model.mgrpo.settings.latents import LatentLossConfig
from slvr_model.mgrpo.settings.losses import LossConfig
from slvr_model.mgrpo.settings.presets import PRESETS, Form, Preset, form_of, with_preset
from slvr_model.mgrpo.settings.rewards import RewardConfig
from slvr_model.mgrpo.settings.section import Range, Section

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
    "Section",
    "form_of",
    "with_preset",
]
