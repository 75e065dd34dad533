"""A small frozen encoder for drawn scenes: three convolutions, a feature per visual token.

Weights are drawn from a seed, or learnt from nothing on scenes by

    python -m slvr_model.objectives.targets.scenes_training FILE

which teaches it to tell the entity and the colour of the thing under each visual token; what tells them, a linear map
each, is kept in the file too (`readers.*`, for `scene_labels.py`). Whatever a model's cell is, a picture is scaled so
that a cell has 8 pixels.

H, W pixels, F channels (`width`)
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from slvr_data.errors import RunError, UsageError
from slvr_model.batches import Batch
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.config import AlignmentConfig
from slvr_model.objectives.targets.base import Group, TensorTarget
from slvr_model.objectives.targets.pixels import at_regions

CELL = 8
"""Pixels per side of a visual token, as the network sees it."""
READERS = "readers."
"""How the names of what tells entity and colour begin in a file."""


class SceneEncoder(nn.Module):
    """[B, 3, 8 h, 8 w] -> [B, F, h, w]: thrice: convolution of 3 x 3, normalised per picture, GELU, mean of 2 x 2."""

    def __init__(self, width: int, seed: int = 0) -> None:
        super().__init__()
        sizes = (3, max(width // 2, 4), width, width)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(sizes))
        dice = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for weights in self.parameters():
                if weights.dim() > 1:
                    weights.normal_(0, (2 / weights[0].numel()) ** 0.5, generator=dice)
                else:
                    weights.zero_()

    def forward(self, pictures_B3HW: Tensor) -> Tensor:
        """Features [B, F, h, w]."""
        states = pictures_B3HW
        for layer in self.layers:
            states = functional.avg_pool2d(functional.gelu(functional.group_norm(layer(states), 1)), 2)
        return states


@dataclass(frozen=True, eq=False)
class SceneFeatures:
    """The frozen encoder as provider."""

    encoder: SceneEncoder
    name: str = "scenes"
    group: Group = "visual"

    @classmethod
    def of(cls, config: AlignmentConfig) -> SceneFeatures:
        """From the file of a configuration, or drawn from its seed.

        Raises:
            UsageError: there is no such file, or it has another width.
            RunError: it is damaged or something else.
        """
        encoder = SceneEncoder(config.width, config.seed)
        if config.scenes_file is not None:
            kept = kept_tensors(Path(config.scenes_file))
            held = {name: tensor for name, tensor in kept.items() if not name.startswith(READERS)}
            wanted = {name: tensor.shape for name, tensor in encoder.state_dict().items()}
            if {name: tensor.shape for name, tensor in held.items()} != wanted:
                raise UsageError(
                    f"alignment.scenes_file {config.scenes_file} holds no encoder of width {config.width}: set "
                    "alignment.width to its"
                )
            encoder.load_state_dict(held)
        return cls(encoder.requires_grad_(False).eval())

    def targets(self, model: SlvrModel, batch: Batch, visual_MD: Tensor | None) -> TensorTarget:
        """See `TargetProvider.targets`; a group is a region, with a value for each of its visual tokens."""
        self.encoder.to(batch.ids_BL.device)
        return at_regions(model, batch, self.features)

    def features(self, picture_3HW: Tensor, cell: int) -> Tensor:
        """Features [F, H / cell, W / cell] of a picture."""
        size = [edge // cell * CELL for edge in picture_3HW.shape[1:]]
        scaled = picture_3HW[None]
        if cell != CELL:
            scaled = functional.interpolate(scaled, size=size, mode="bilinear", antialias=True, align_corners=False)
        features: Tensor = self.encoder(scaled)[0]
        return features


def kept_tensors(file: Path) -> dict[str, Tensor]:
    """What `scenes_training` wrote into a file, by name.

    Raises:
        UsageError: there is no such file.
        RunError: it cannot be read.
    """
    if not file.is_file():
        raise UsageError(f"alignment.scenes_file {file}: no such file; slvr_model.objectives.targets.scenes_training")
    try:
        with safe_open(file, "pt") as held:
            return {name: held.get_tensor(name) for name in held.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise RunError(f"{file} cannot be read ({error}): train the encoder again") from None
