"""Settings of the policy loss."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from slvr_model.section import Section


class LossConfig(Section):
    """The clipped policy loss and its distance from the reference. The defaults are preset `ours`."""

    aggregation: Literal["grpo", "bnpo", "dapo", "dr_grpo"] = "dapo"
    """Means over a row's tokens, then rows (grpo, arXiv 2402.03300); over the tokens of a batch (bnpo, the released
    code's); over all tokens of a step (dapo, arXiv 2503.14476); over rows times the longest reply (dr_grpo, arXiv
    2503.20783)."""
    denominator: Literal["all", "kept"] = "all"
    """What the step is divided by, of rollouts with a reward: all of them, also of questions that `advantages.drop`
    leaves out, so that few questions with a signal move the weights little (as in TRL); or those kept alone, so that
    every step is as large as if all had one."""
    clip_low: float = Field(0.2, ge=0, le=1)
    """A ratio below 1 - clip_low earns nothing more."""
    clip_high: float | None = Field(None, ge=0)
    """A ratio above 1 + clip_high earns nothing more; unless told, as clip_low."""
    clip_both: float | None = Field(None, gt=1)
    """Largest ratio where the advantage is negative (two-sided clipping); unless told, none."""
    ratio: Literal["token", "sequence"] = "token"
    """Ratios of tokens, or a reply's geometric mean of them (GSPO, arXiv 2507.18071)."""
    beta: float = Field(0.01, ge=0)
    """Weight of the k3 estimate of the KL divergence from the reference, given the policy's latents; 0: none."""
    kl_gradient: Literal["unbiased", "plain"] = "unbiased"
    """Unbiased: k3 times the ratio, whose gradient is that of the KL divergence (DeepSeek-V3.2, arXiv 2512.02556; also
    TRL). Plain: k3 alone, which pulls the same way but by other amounts."""
    latent_density: Literal["off", "mean", "sum"] = "off"
    """With sampling.latent_noise: drawn latents are actions of the policy as tokens are, their log-density the sum over
    their dimensions, or its mean, which clips less."""

    @property
    def high(self) -> float:
        """What `clip_high` comes to."""
        return self.clip_low if self.clip_high is None else self.clip_high

    @model_validator(mode="after")
    def _ordered(self) -> LossConfig:
        if self.clip_both is not None and self.clip_both <= 1 + self.high:
            raise ValueError(f"clip_both {self.clip_both:g} must be above 1 + clip_high, {1 + self.high:g}")
        return self
