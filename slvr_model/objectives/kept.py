"""How a trained model's replies are laid out, kept in its config.json, so that whoever decodes it need not be told."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedTokenizerBase

from slvr_data.errors import UsageError
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Objective, open_objective
from slvr_model.objectives.config import ObjectiveConfig, checked_objective

KEY = "slvr_reply"
"""Under which the layout stands in config.json; the public class ignores it."""
PARTS = ("kind", "echo", "mark")
"""What of an objective the layout of its replies depends on when decoding."""


def keep(model: SlvrModel, config: ObjectiveConfig) -> None:
    """Note the layout in the model's configuration, in place of any that was there."""
    told: Any = model.config
    setattr(told, KEY, {name: getattr(config, name) for name in PARTS})


def layout_of(model: SlvrModel) -> ObjectiveConfig | None:
    """The layout that a model was trained with last; None: not noted, so that replies open with all its latents.

    Raises:
        UsageError: what is noted is no layout.
    """
    data = getattr(model.config, KEY, None)
    if data is None:
        return None
    if not isinstance(data, dict) or not set(data) <= set(PARTS):
        raise UsageError(f'"{KEY}" in config.json is {data!r}; it may hold {", ".join(PARTS)}')
    feed = {"feed": "own"} if data.get("kind") == "multi_encoder" else {}
    return checked_objective(data | feed)


def replies_of(model: SlvrModel, tokenizer: PreTrainedTokenizerBase) -> Objective | None:
    """The objective that lays out a model's replies as it was trained; None where that is not noted.

    Raises:
        UsageError: what is noted is no layout, or does not fit the model.
    """
    config = layout_of(model)
    return None if config is None else open_objective(config, model, tokenizer)
