"""What is seen to before the first step, and looked at again from time to time.

Before: are replies well formed, does scoring repeat the rollouts (`gate.py`), is there anything to learn, that is, do
rollouts of one question differ? Later: how far scoring lies from the rollouts, and how far the policy is from the
reference where each feeds its own latents.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from slvr_data.errors import RunError
from slvr_model.mgrpo.config import MgrpoConfig
from slvr_model.mgrpo.gate import Apart, Drift, check, differences
from slvr_model.mgrpo.groups import GroupFeed
from slvr_model.mgrpo.losses import k3
from slvr_model.mgrpo.play import Played, Player, together
from slvr_model.mgrpo.scoring import scored
from slvr_model.mgrpo.types import Rollouts, Shown
from slvr_model.mgrpo.update import Update


def preflight(config: MgrpoConfig, player: Player, feed: GroupFeed, update: Update) -> str | None:
    """Roll out some groups and look at them; a sentence about what was found. Nothing is trained.

    Args:
        config: of the run.
        player: rolls out and rewards.
        feed: where groups come from.
        update: gathers what all processes have.

    Returns:
        None without `preflight.regions`; the first lot has to pass the gate then (`trainer.py`).

    Raises:
        RunError: too few replies are well formed, or scoring does not repeat the rollouts.
    """
    if not config.preflight.regions:
        return None
    shown: list[Shown] = []
    while len(shown) * update.ranks < config.preflight.regions:
        shown += feed.at(len(shown) // (config.training.regions // update.ranks))
    played, _ = player.play(shown[: -(-config.preflight.regions // update.ranks)], 0)
    numbers = together(update.all([one.numbers() for one in played]))
    least, formed = config.preflight.formed, numbers["formed"]
    if formed < least or formed == 0:
        raise RunError(
            f"preflight: {formed:.0%} of the replies are well formed, and preflight.formed asks for {least:.0%} "
            f"({numbers['ended']:.0%} ended within sampling.max_new_tokens {config.sampling.max_new_tokens}; for "
            f"example {_example(played)}): set objective to what the start was taught, raise sampling.max_new_tokens "
            "or lower sampling.temperature. Nothing was trained"
        )
    repeats, mixed = gated(config, played, update), numbers["advantage/mixed"]
    return (
        f"preflight: {formed:.0%} of replies well formed, {numbers['reward/right']:.0%} right, {mixed:.0%} of "
        f"questions have replies that differ in reward; {repeats}"
        + ("; nothing differs, so there is nothing to learn here: raise sampling.temperature?" if mixed == 0 else "")
    )


def gated(config: MgrpoConfig, played: Sequence[Played], update: Update) -> str:
    """The gate, before any update: scoring as the reference is scored and, where that is another way, as the policy is
    while it learns; half a sentence about it.

    Raises:
        RunError: scoring does not repeat the rollouts.
    """
    dtype = torch.bfloat16 if config.training.bf16 else update.model.lm_head.weight.dtype
    rollouts, rows = _rollouts(played), config.training.micro_rows
    with update.autocast():
        found = _gathered(update, differences(update.model, rollouts, micro_rows=rows, pictures=update.pictures))
    check(found, config.gate, dtype)
    said = (
        f"scoring repeats the rollouts to {found.largest:.1e} (mean {found.mean:.1e}, ratios {found.lowest:.4f} to "
        f"{found.highest:.4f})"
    )
    how = " with the latents computed again" if update.fed == "own" else ""
    how += " under activation checkpointing" if config.training.checkpointing else ""
    if not how:
        return said
    again = _policy_drift(update, rollouts, rows)
    check(again, config.gate, dtype, how)
    return f"{said},{how} to {again.largest:.1e}"


@torch.no_grad()
def monitored(config: MgrpoConfig, player: Player, played: Sequence[Played], update: Update) -> dict[str, float]:
    """`drift/...`: of scoring, as the policy is scored while it learns, from the rollouts; `kl/free`: k3 from the
    reference where it feeds its own latents.
    """
    rollouts, rows = _rollouts(played), config.training.micro_rows
    found = {f"drift/{name}": value for name, value in _policy_drift(update, rollouts, rows).numbers().items()}
    noisy = config.sampling.latent_noise > 0
    latent = any(bool(one.decoded.latent_BT.any()) for one in rollouts)
    if player.reference is None or noisy or not latent:
        return found
    with update.autocast():
        now = scored(update.model, rollouts, micro_rows=rows, pictures=update.pictures)
        with player.reference.weights() as model:
            then = scored(model, rollouts, feed="own", micro_rows=rows, pictures=player.reference.pictures)
    apart = k3(now.logprobs_BT, then.logprobs_BT)[now.sampled_BT]
    sums = [sum(pair) for pair in zip(*update.all([(float(apart.sum()), float(len(apart)))]), strict=True)]
    return found | {"kl/free": sums[0] / max(sums[1], 1.0)}


def _policy_drift(update: Update, rollouts: Sequence[Rollouts], rows: int) -> Drift:
    """Of scoring as the policy is scored while it learns, over all processes."""
    with update.autocast(), update.learning():
        mine = differences(update.model, rollouts, feed=update.fed, micro_rows=rows, pictures=update.pictures)
    return _gathered(update, mine)


def _rollouts(played: Sequence[Played]) -> list[Rollouts]:
    return [one.rollouts for one in played]


def _gathered(update: Update, mine: Apart) -> Drift:
    """The drift over the tokens of all processes."""
    return Drift.over(update.all([mine]))


def _example(played: Sequence[Played]) -> str:
    """An answer of a reply that is not whole."""
    rollouts = played[0].rollouts
    told = next((answer for answer, whole in zip(rollouts.answers, rollouts.formed, strict=True) if not whole), "")
    return repr(told[:80])
