"""The policy loss: clipped ratios, three ways to put tokens together, and the distance from the reference.

    totals = Totals.of(mask_BT)                   # over all micro-batches of a step (and processes): add them up
    part = policy_loss(logprobs_BT, mask_BT, advantages_B, config, totals=totals, longest=max_new_tokens,
                       old_BT=old_BT, reference_BT=reference_BT)
    part.loss.backward()                          # the parts of a step add up to its loss

    rho   = exp(log pi - log pi_old)
    token = -min(rho A, clip(rho, 1 - low, 1 + high) A) + beta * k3
    k3    = exp(log ref - log pi) - (log ref - log pi) - 1        (Schulman 2020), >= 0, given the policy's latents;
            times rho where its gradient is to be that of the KL divergence (`kl_gradient`)

    grpo     mean over rows of [ mean over a row's tokens ]        bnpo   mean over the tokens of a micro-batch
    dapo     sum over tokens / tokens of the step                  dr_grpo   sum over tokens / (rows * longest)

`mask_BT` is True at sampled tokens: forced tokens and slots have no policy term. Rows that are not kept (advantages.py)
have an empty mask: neither a policy term nor a KL. Whether `totals` count them is the caller's affair (`update.py`).

B rows, T new positions
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from slvr_model.mgrpo.settings.losses import LossConfig
from slvr_model.mgrpo.types import DivergedError

WIDEST = 20.0
"""Log-ratios are held within this: those of densities that are summed over a latent's dimensions can be hundreds, whose
ratio is infinite, and no number times an advantage of 0. What is clipped (`clip_low`, `clip_high`) is far inside."""


@dataclass(frozen=True)
class Totals:
    """What a step's loss is divided by. Where processes average their gradients, give each 1 / processes of it."""

    rows: float
    """Rows that count."""
    tokens: float
    """Their sampled tokens."""

    @classmethod
    def of(cls, mask_BT: Tensor, kept_B: Tensor | None = None) -> Totals:
        """Of a batch; `kept_B`: rows with a part in the loss, unless told all."""
        if kept_B is None:
            return cls(float(len(mask_BT)), float(mask_BT.sum()))
        return cls(float(kept_B.sum()), float((mask_BT.bool() & kept_B[:, None]).sum()))

    def plus(self, other: Totals) -> Totals:
        """Of both."""
        return Totals(self.rows + other.rows, self.tokens + other.tokens)

    def over(self, processes: int) -> Totals:
        """For processes whose gradients are averaged."""
        return Totals(self.rows / processes, self.tokens / processes)


@dataclass(frozen=True, eq=False)
class PolicyLoss:
    """A micro-batch's part of a step's loss."""

    loss: Tensor
    numbers: dict[str, float]
    """To log: sums over tokens (`..._sum`) and their number `tokens`, so that they add up over micro-batches: `kl_sum`
    (k3), `low_sum` and `high_sum` (clipped tokens), `ratio_sum`."""


def policy_loss(
    logprobs_BT: Tensor,
    mask_BT: Tensor,
    advantages: Tensor,
    config: LossConfig,
    *,
    totals: Totals | None = None,
    longest: int | None = None,
    old_BT: Tensor | None = None,
    reference_BT: Tensor | None = None,
    kept_B: Tensor | None = None,
) -> PolicyLoss:
    """The loss of a micro-batch.

    Args:
        logprobs_BT: of the policy, with gradient.
        mask_BT: sampled tokens.
        advantages: [B], or [B, T] where they are routed.
        config: clipping, aggregation, beta.
        totals: of the whole step; unless told, of this batch.
        longest: `max_new_tokens`, which dr_grpo divides by; unless told, T.
        old_BT: of the policy that wrote the replies; unless told, this policy: ratios are 1.
        reference_BT: of the reference behind the policy's latents; needed where beta is not 0.
        kept_B: rows with a part in the loss; unless told, all.

    Raises:
        DivergedError: a log-probability in the loss is not finite.
    """
    assert config.beta == 0 or reference_BT is not None, "beta needs the reference's log-probabilities"
    mask_BT = mask_BT.bool() if kept_B is None else mask_BT.bool() & kept_B[:, None]
    old_BT = logprobs_BT.detach() if old_BT is None else old_BT
    _check_finite(mask_BT, {"policy": logprobs_BT, "rollout": old_BT, "reference": reference_BT})
    logprobs_BT = logprobs_BT.masked_fill(~mask_BT, 0.0)
    old_BT = old_BT.masked_fill(~mask_BT, 0.0)
    advantages_BT = advantages[:, None] if advantages.dim() == 1 else advantages
    ratio_BT = _ratios(logprobs_BT - old_BT, mask_BT, config)
    token_BT = _clipped(ratio_BT, advantages_BT, config)
    numbers = _clip_numbers(ratio_BT.detach(), advantages_BT, mask_BT, config)
    if reference_BT is not None:
        kl_BT = k3(logprobs_BT, reference_BT.masked_fill(~mask_BT, 0.0))
        if config.kl_gradient == "unbiased":
            kl_BT = kl_BT * ratio_BT
        numbers["kl_sum"] = float((kl_BT.detach() * mask_BT).sum())
        if config.beta:
            token_BT = token_BT + config.beta * kl_BT
    here = Totals.of(mask_BT, kept_B)
    length = longest if longest is not None else mask_BT.shape[1]
    return PolicyLoss(_together(token_BT, mask_BT, config, here, totals or here, length), numbers)


def _check_finite(mask_BT: Tensor, given: dict[str, Tensor | None]) -> None:
    for name, one_BT in given.items():
        if one_BT is not None and not bool(one_BT.detach()[mask_BT].isfinite().all()):
            raise DivergedError(f"a log-probability of the {name} is not finite")


def k3(logprobs_BT: Tensor, reference_BT: Tensor) -> Tensor:
    """Schulman's estimate of KL(policy || reference) from tokens that the policy wrote; not below 0, and finite."""
    apart_BT = (reference_BT - logprobs_BT).clamp(max=WIDEST)
    return apart_BT.exp() - apart_BT - 1


def _ratios(log_BT: Tensor, mask_BT: Tensor, config: LossConfig) -> Tensor:
    if config.ratio == "sequence":
        log_BT = ((log_BT * mask_BT).sum(1) / mask_BT.sum(1).clamp_min(1))[:, None].expand_as(log_BT)
    return log_BT.clamp(-WIDEST, WIDEST).exp()


def _clipped(ratio_BT: Tensor, advantages_BT: Tensor, config: LossConfig) -> Tensor:
    held_BT = ratio_BT.clamp(1 - config.clip_low, 1 + config.high)
    if config.clip_both is not None:
        ratio_BT = ratio_BT.clamp(max=config.clip_both)
    return -torch.min(ratio_BT * advantages_BT, held_BT * advantages_BT)


def _together(
    token_BT: Tensor, mask_BT: Tensor, config: LossConfig, here: Totals, totals: Totals, longest: int
) -> Tensor:
    if config.aggregation == "grpo":
        mean_B = (token_BT * mask_BT).sum(1) / mask_BT.sum(1).clamp_min(1)
        return mean_B.sum() / max(totals.rows, 1e-9)
    total = (token_BT * mask_BT).sum()
    if config.aggregation == "dapo":
        return total / max(totals.tokens, 1e-9)
    if config.aggregation == "dr_grpo":
        return total / max(totals.rows * longest, 1e-9)
    return total / max(here.tokens, 1.0) * (here.rows / max(totals.rows, 1e-9))


def _clip_numbers(ratio_BT: Tensor, advantages_BT: Tensor, mask_BT: Tensor, config: LossConfig) -> dict[str, float]:
    low_BT = (ratio_BT < 1 - config.clip_low) & (advantages_BT < 0) & mask_BT
    high_BT = (ratio_BT > 1 + config.high) & (advantages_BT > 0) & mask_BT
    return {
        "tokens": float(mask_BT.sum()),
        "ratio_sum": float((ratio_BT * mask_BT).sum()),
        "low_sum": float(low_BT.sum()),
        "high_sum": float(high_BT.sum()),
    }
