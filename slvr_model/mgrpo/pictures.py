"""What the vision tower says of a lot's pictures: each is encoded once, for rollouts, scoring and losses on latents.

In stage 2 the tower stands still, so that its tokens are the same whatever they are for. They are held for one lot.

M visual tokens of some pictures, D width
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from slvr_model.mgrpo.asking import Asking
from slvr_model.mgrpo.sharing import beginnings
from slvr_model.modeling import SlvrModel


class Pictures:
    """Visual tokens of pictures by their keys.

    Args:
        model: whose tower encodes. Where that is trained nothing is held: each call encodes anew, with gradient where
            it is enabled.
    """

    def __init__(self, model: SlvrModel) -> None:
        self.model = model
        self.encoded = 0
        """Pictures that the tower ran on until now."""
        self._held: dict[str, Tensor] = {}

    @property
    def still(self) -> bool:
        """Whether the tower is not trained."""
        return not any(weight.requires_grad for weight in self.model.model.visual.parameters())

    def of(self, asking: Sequence[Asking]) -> Tensor | None:
        """Visual tokens [M, D] of the distinct pictures that questions are about, in the order in which a batch of them
        has its pictures (`model.encode` of it); None without pictures. Those that are not held are encoded in one pass.
        """
        keys = list(dict.fromkeys(picture.key for one in asking for picture in one.beginning.pictures))
        if not keys:
            return None
        if not self.still:
            self.encoded += len(keys)
            return self._encoded(asking)
        if lacking := [one for one in asking if any(p.key not in self._held for p in one.beginning.pictures)]:
            self._hold(lacking)
        held = [self._held[key] for key in keys]
        return held[0] if len(held) == 1 else torch.cat(held)

    def clear(self) -> None:
        """Let go of all: with a lot."""
        self._held.clear()

    def _encoded(self, asking: Sequence[Asking]) -> Tensor:
        batch = beginnings(asking, self.model.layout).to(self.model.text.embed_tokens.weight.device)
        found = self.model.encode(batch)
        assert found is not None, "they have pictures"
        return found

    @torch.no_grad()
    def _hold(self, asking: Sequence[Asking]) -> None:
        distinct = {picture.key: picture for one in asking for picture in one.beginning.pictures}
        sizes = [p.grid[1] * p.grid[2] // self.model.layout.merge**2 for p in distinct.values()]
        self._held |= zip(distinct, torch.split(self._encoded(asking), sizes), strict=True)
        self.encoded += len(distinct)
