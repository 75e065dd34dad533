"""Settings of the losses on latents themselves: what a reward cannot do."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from slvr_model.mgrpo.settings.ranges import DISTANCES
from slvr_model.section import Section


class LatentLossConfig(Section):
    """Losses through latents that were computed again with gradient. The defaults are preset `ours`."""

    distance: Literal["cosine", "l2"] = "cosine"
    """Cosine: 1 - cos, 0 to 2. L2: the norm of the difference."""
    semantic: float = Field(1.0, ge=0)
    """Share of semantic latents in each loss."""
    visual: float = Field(1.0, ge=0)
    """Share of visual latents in each loss."""
    together: float = Field(0.1, ge=0)
    """Weight of the distance between latents of queries on one region."""
    apart: float = Field(0.1, ge=0)
    """Weight of what latents of different regions are nearer to each other than `apart_margin`."""
    apart_margin: float = Field(0.5, gt=0)
    """How far regions are to be apart."""
    stability: float = Field(0.1, ge=0)
    """Weight of what latents are further from the reference's than `stability_margin`."""
    stability_margin: float = Field(0.1, ge=0)
    """How far latents may go for nothing."""
    alone: bool = False
    """Let these losses alone move the weights in a lot of which no question has a signal; nothing holds the words
    where they were then. Unless told, such a lot moves nothing."""
    guard: bool = True
    """Leave `together` out of a step in which latents collapse, as the two next say; else only log."""
    most_ratio: float = Field(1.1, gt=0)
    """Of within to between distances where regions come nearer to each other, as a multiple of the reference's on the
    same queries."""
    least_rank: float = Field(0.5, ge=0, le=1)
    """Of the effective rank of visual or of semantic latents, as a share of the reference's on the same queries."""

    @property
    def active(self) -> bool:
        """Whether anything weighs."""
        return bool((self.together or self.apart or self.stability) and (self.semantic or self.visual))

    @property
    def needs_reference(self) -> bool:
        """Whether the reference's latents are needed."""
        return self.active and bool(self.stability or (self.guard and self.together))

    @model_validator(mode="after")
    def _reachable(self) -> LatentLossConfig:
        high = DISTANCES[self.distance].high
        if self.apart_margin > high:
            raise ValueError(f"apart_margin {self.apart_margin:g}: a {self.distance} distance is {high:g} at most")
        if self.stability_margin >= high:
            raise ValueError(
                f"stability_margin {self.stability_margin:g}: a {self.distance} distance is {high:g} at most, so the "
                "loss would always be 0; take less, or stability 0"
            )
        weighed = self.together or self.apart or self.stability
        if weighed and not (self.semantic or self.visual):
            raise ValueError("semantic and visual are both 0: set one above 0, or together, apart and stability to 0")
        return self
