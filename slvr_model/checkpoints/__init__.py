"""Checkpoints that ship with the package, and how any is opened."""

from __future__ import annotations

from pathlib import Path

from slvr_data.errors import UsageError
from slvr_model.modeling import SlvrModel
from slvr_model.tiny import StillProcessor

HERE = Path(__file__).parent
SHIPPED = {"slvr:tiny": HERE / "tiny"}
"""Name -> folder."""


def open_checkpoint(name: str) -> tuple[SlvrModel, StillProcessor]:
    """A checkpoint by its shipped name, folder or hub name: the model in eval mode, and its processor.

    Raises:
        UsageError: there is none, or it is of another architecture.
        RunError: it is damaged.
    """
    if name.startswith("slvr:") and name not in SHIPPED:
        raise UsageError(f"{name} does not ship with slvr; these do: {', '.join(SHIPPED)}")
    folder = SHIPPED.get(name)
    if folder is not None and not (folder / "config.json").exists():
        raise UsageError(f"{name} is not part of this installation: slvr-train tiny DIR makes it, in DIR/checkpoint")
    model = SlvrModel.from_pretrained(folder or name)
    processor = StillProcessor.from_pretrained(folder or name)
    return model, processor
