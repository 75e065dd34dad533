"""Settings of advantages: what a rollout's reward is compared with."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from slvr_model.section import Section


class RoutingConfig(Section):
    """Wrong answers: the latents' advantage goes by whether the region was seen (MoCA, arXiv 2605.14054)."""

    protect: float = Field(1.0, ge=0, le=1)
    """Where it was: advantage + protect * |advantage|, so that with 1 a negative one becomes 0."""
    punish: float = Field(0.5, ge=0)
    """Where it was not: advantage - punish * |advantage|."""


class AdvantageConfig(Section):
    """How rewards become advantages. The defaults are preset `ours`."""

    level: Literal["per_query", "joint", "mixed"] = "per_query"
    """Compare a query's rollouts; rollouts of all queries together, rollout g of one standing for g of all (released
    code); or both."""
    mix: float = Field(0.5, ge=0, le=1)
    """Mixed: share of the joint advantage."""
    normalise: Literal["zscore", "mean_only"] = "mean_only"
    """Divide by the deviation among the rollouts; or by `scale` always, so that sizes of rewards count."""
    scale: float = Field(1.0, gt=0)
    """Mean only: what differences from the mean are divided by."""
    epsilon: float = Field(1e-4, ge=0)
    """Z-score: added to the deviation (TRL 1e-4, released code 1e-3)."""
    clip: float | None = Field(None, gt=0)
    """Largest size of an advantage."""
    drop: bool = True
    """Leave groups out of the loss whose rewards are all the same; else they count with advantage 0."""
    tolerance: float = Field(1e-6, ge=0)
    """Rewards that differ by no more are the same."""
    routing: RoutingConfig | None = None
    """Give latents another advantage than the words behind them."""

    @model_validator(mode="after")
    def _acts(self) -> AdvantageConfig:
        if self.normalise == "zscore" and "scale" in self.model_fields_set and self.scale != 1:
            raise ValueError(f'scale {self.scale:g} with normalise "zscore", which does not use it: take mean_only')
        return self
