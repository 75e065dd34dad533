"""The objectives by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from transformers import PreTrainedTokenizerBase

from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Objective
from slvr_model.objectives.config import ObjectiveConfig
from slvr_model.objectives.latent import Semantic, Slvr, Visual
from slvr_model.objectives.multi_encoder import MultiEncoder
from slvr_model.objectives.plain import Direct, Pause, Text

KNOWN: Mapping[str, Callable[[ObjectiveConfig, SlvrModel, PreTrainedTokenizerBase], Objective]] = {
    "direct": Direct,
    "text": Text,
    "lvr": Visual,
    "semantic": Semantic,
    "slvr": Slvr,
    "pause": Pause,
    "multi_encoder": MultiEncoder,
}
