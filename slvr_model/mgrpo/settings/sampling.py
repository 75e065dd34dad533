"""How rollouts are drawn, and how closely scoring must repeat what was drawn."""

from __future__ import annotations

from pydantic import Field, model_validator

from slvr_model.section import Section


class SamplingConfig(Section):
    """The part `sampling`: G replies to each query."""

    rollouts: int = Field(8, ge=1, le=1024)
    """G, replies to each query; at least 2, for an advantage compares them."""
    temperature: float = Field(1.0, gt=0, le=10)
    """Of sampling, and of every log-probability."""
    top_p: float = Field(1.0, gt=0, le=1)
    """Sample among the most probable tokens that together have this probability; log-probabilities are those before."""
    max_new_tokens: int = Field(64, ge=2)
    """The longest reply, latents included."""
    latent_noise: float = Field(0.0, ge=0)
    """Deviation of normal noise that each rollout adds to its latents, a stochastic policy; 0: latents are computed
    once per query."""

    @model_validator(mode="after")
    def _fits(self) -> SamplingConfig:
        if self.rollouts < 2:
            raise ValueError(
                f"rollouts {self.rollouts}: an advantage compares the replies to one question, so that a single one "
                "teaches nothing; take 2 or more"
            )
        return self


class GateConfig(Section):
    """The part `gate`: how far scored log-probabilities may lie from those of the rollout, before any update."""

    exact: float = Field(1e-4, gt=0)
    """In float32: the largest difference of a token."""
    mean: float = Field(0.01, gt=0)
    """In bfloat16: the mean difference. This bound and the next two are of small models on CPUs; what rounding does at
    7B was not seen: the gate's error says which bound would let a drift pass."""
    lowest: float = Field(0.9, gt=0, le=1)
    """In bfloat16: the first percentile of importance ratios."""
    highest: float = Field(1.1, ge=1)
    """In bfloat16: the 99th percentile of importance ratios."""
    every: int = Field(50, ge=1)
    """Lots (of `training.iterations` steps) between later looks at the same numbers, which are then only logged; so are
    those of the first lot and the last."""

    @model_validator(mode="after")
    def _fits(self) -> GateConfig:
        if self.mean < self.exact:
            raise ValueError(f"mean {self.mean} below exact {self.exact}: bfloat16 cannot be closer than float32")
        return self
