"""From rewards to advantages.

    found = advantages(rewards.total_kG, config, valid_kG=rewards.valid_kG)    # config: AdvantageConfig
    found.values_kG, found.kept_kG        # rows: .flatten(); rows that are not kept have no part in the loss
    routed(found.values_kG.flatten(), latent_BT, wrong_B, seen_B, config.routing)   # [B, T], where routing is set

    per query   A_ig = (R_ig - mean_h R_ih) / s_i      s_i = std_h(R_ih) + epsilon (n - 1 below), or `scale` always
    joint       the same of R_g = mean_i R_ig; all queries get A_g (the released code)
    mixed       (1 - mix) * per query + mix * joint

Dividing by the deviation takes sizes out: a factor that all rollouts of a query share cancels. A query (with `joint`, a
group) whose rewards are all the same has no signal: its advantages are 0, and with `drop` its rows leave the loss.

k queries, G rollouts, B = k * G rows, T positions
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from slvr_data.errors import RunError, UsageError
from slvr_model.mgrpo.settings.advantages import AdvantageConfig, RoutingConfig


@dataclass(frozen=True, eq=False)
class Advantages:
    """What rollouts are better than others of their group by."""

    values_kG: Tensor
    """0 where there is no signal."""
    kept_kG: Tensor
    """False where a rollout has no part in the loss: left out by its reward, or dropped with its group."""
    signal_k: Tensor
    """Queries whose rollouts differ."""

    @property
    def dropped(self) -> int:
        """Queries of which nothing is kept."""
        return int((~self.kept_kG.any(1)).sum())

    def numbers(self) -> dict[str, float]:
        """To log: the share of queries whose rollouts differ, of those left out, and the mean size of advantages."""
        return {
            "advantage/mixed": float(self.signal_k.float().mean()),
            "advantage/dropped": self.dropped / len(self.signal_k),
            "advantage/size": float(self.values_kG.abs().mean()),
        }


def advantages(rewards_kG: Tensor, config: AdvantageConfig, *, valid_kG: Tensor | None = None) -> Advantages:
    """The advantages of a group.

    Args:
        rewards_kG: NaN is allowed where `valid_kG` is False.
        config: level and normalisation.
        valid_kG: rollouts that have a reward; unless told, all.

    Raises:
        UsageError: there is one rollout only.
        RunError: a reward is NaN or infinite.
    """
    if rewards_kG.shape[1] < 2:
        raise UsageError(
            f"{rewards_kG.shape[1]} rollout of a query has nothing to be compared with: sampling.rollouts must be 2 "
            "or more"
        )
    valid_kG = torch.ones_like(rewards_kG, dtype=torch.bool) if valid_kG is None else valid_kG
    if not bool(rewards_kG[valid_kG].isfinite().all()):
        query, number = (int(one) for one in (valid_kG & ~rewards_kG.isfinite()).nonzero()[0])
        raise RunError(f"the reward of query {query}, rollout {number} is {float(rewards_kG[query, number])}")
    clean_kG = rewards_kG.masked_fill(~valid_kG, 0.0)
    values_kG, signal_kG = _levelled(clean_kG, valid_kG, config)
    if config.clip is not None:
        values_kG = values_kG.clamp(-config.clip, config.clip)
    values_kG = values_kG.masked_fill(~signal_kG, 0.0)
    kept_kG = valid_kG & signal_kG if config.drop else valid_kG
    return Advantages(values_kG, kept_kG, signal_kG.any(1))


def _levelled(rewards_kG: Tensor, valid_kG: Tensor, config: AdvantageConfig) -> tuple[Tensor, Tensor]:
    """Advantages, and which rollouts have any."""
    own_kG, signal_kG = _compared(rewards_kG, valid_kG, config)
    if config.level == "per_query":
        return own_kG, signal_kG
    all_valid_1G = valid_kG.all(0, keepdim=True)
    joint_1G, joint_signal_1G = _compared(rewards_kG.mean(0, keepdim=True), all_valid_1G, config)
    joint_kG, joint_signal_kG = joint_1G.expand_as(rewards_kG), joint_signal_1G.expand_as(signal_kG)
    if config.level == "joint":
        return joint_kG, joint_signal_kG
    own_kG, joint_kG = own_kG.masked_fill(~signal_kG, 0.0), joint_kG.masked_fill(~joint_signal_kG, 0.0)
    return (1 - config.mix) * own_kG + config.mix * joint_kG, signal_kG | joint_signal_kG


def _compared(rewards_NG: Tensor, valid_NG: Tensor, config: AdvantageConfig) -> tuple[Tensor, Tensor]:
    """Rewards compared along rows, and which of them are in a row with signal."""
    count_N1 = valid_NG.sum(1, keepdim=True)
    mean_N1 = rewards_NG.masked_fill(~valid_NG, 0.0).sum(1, keepdim=True) / count_N1.clamp_min(1)
    apart_NG = (rewards_NG - mean_N1).masked_fill(~valid_NG, 0.0)
    high_NG, low_NG = (rewards_NG.masked_fill(~valid_NG, end) for end in (-torch.inf, torch.inf))
    spread_N1 = (high_NG.amax(1) - low_NG.amin(1))[:, None]
    signal_NG = (spread_N1 > config.tolerance) & valid_NG
    if config.normalise == "mean_only":
        return apart_NG / config.scale, signal_NG
    deviation_N1 = (apart_NG.square().sum(1, keepdim=True) / (count_N1 - 1).clamp_min(1)).sqrt()
    divisor_N1 = (deviation_N1 + config.epsilon).where(spread_N1 > config.tolerance, torch.ones_like(deviation_N1))
    return apart_NG / divisor_N1, signal_NG


def routed(advantages_B: Tensor, latent_BT: Tensor, wrong_B: Tensor, seen_B: Tensor, config: RoutingConfig) -> Tensor:
    """[B, T] advantages of positions; those of `latent_BT` go, where the answer is wrong, by whether it was seen.

    A' = A + protect * |A| where the region was seen (`seen_B`), A - punish * |A| where it was not; all other positions,
    and all of right answers, keep A. Latents have an advantage only where they are drawn (`loss.latent_density`).
    """
    size_B = advantages_B.abs()
    seeing_B = advantages_B + torch.where(seen_B, config.protect * size_B, -config.punish * size_B)
    return torch.where(latent_BT & wrong_B[:, None], seeing_B[:, None], advantages_B[:, None])
