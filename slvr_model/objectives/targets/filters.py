"""A fixed filter bank as frozen encoder: edges by direction and fineness, and opposed colours. Nothing is learnt.

Per visual token (a cell of c x c pixels), all means over the cell:

    light, red - green, blue - yellow           L = (R + G + B) / 3,  R - G,  B - (R + G) / 2
    deviation of light within the cell
    Gabor energy sqrt(even^2 + odd^2) of light for ORIENTATIONS directions and wavelengths c / 4 and c / 2

    Gabor  exp(-(x'^2 + y'^2) / (2 sigma^2)) * cos or sin(2 pi x' / wavelength),  sigma = wavelength / 2,
           x' along the direction; without mean, and scaled to a sum of absolute values of 1

Source: J. Daugman, "Uncertainty relation for resolution in space ..." (1985) for the filters; opponent axes as in early
vision. Units are those of the processor (normalised pixels).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from slvr_model.batches import Batch
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.targets.base import Group, TensorTarget
from slvr_model.objectives.targets.pixels import at_regions

ORIENTATIONS = 4
FRACTIONS = (4, 2)
"""Wavelengths are the cell divided by these."""


@dataclass(frozen=True)
class FilterBank:
    """See the module."""

    size: ClassVar[int] = 4 + ORIENTATIONS * len(FRACTIONS)
    name: str = "filters"
    group: Group = "visual"

    def targets(self, model: SlvrModel, batch: Batch, visual_MD: Tensor | None) -> TensorTarget:
        """See `TargetProvider.targets`; a group is a region, with a value for each of its visual tokens."""
        return at_regions(model, batch, filtered)


def filtered(picture_3HW: Tensor, cell: int) -> Tensor:
    """Features [F, H / cell, W / cell] of a picture."""
    red, green, blue = picture_3HW
    light_HW = (red + green + blue) / 3
    kernels = gabors(cell).to(picture_3HW.device)
    reach = kernels.shape[-1] // 2
    padded = functional.pad(light_HW[None, None], (reach,) * 4, mode="replicate")
    even_odd = functional.conv2d(padded, kernels[:, None])[0]
    even_odd_2QHW = even_odd.view(2, -1, *even_odd.shape[1:])
    energy_QHW = even_odd_2QHW.pow(2).sum(0).sqrt()
    channels = torch.cat([torch.stack([light_HW, red - green, blue - (red + green) / 2]), energy_QHW])
    means = functional.avg_pool2d(channels[None], cell)[0]
    squares = functional.avg_pool2d(light_HW.pow(2)[None, None], cell)[0]
    deviation = (squares - means[:1].pow(2)).clamp_min(0).sqrt()
    return torch.cat([means[:3], deviation, means[3:]])


@lru_cache
def gabors(cell: int) -> Tensor:
    """Kernels [2 * Q, side, side]: the even ones of all wavelengths and directions, then the odd ones."""
    reach = cell // 2
    along = torch.arange(-reach, reach + 1, dtype=torch.float64)
    y, x = torch.meshgrid(along, along, indexing="ij")
    even, odd = list[Tensor](), list[Tensor]()
    for fraction in FRACTIONS:
        wavelength = max(cell / fraction, 2.0)
        for number in range(ORIENTATIONS):
            angle = math.pi * number / ORIENTATIONS
            turned = x * math.cos(angle) + y * math.sin(angle)
            window = torch.exp(-(x**2 + y**2) / (2 * (wavelength / 2) ** 2))
            for kept, wave in ((even, torch.cos), (odd, torch.sin)):
                kernel = window * wave(2 * math.pi * turned / wavelength)
                kernel = kernel - kernel.mean()
                kept.append(kernel / kernel.abs().sum())
    return torch.stack(even + odd).float()
