"""Do the trainer and the rollouts speak of the same policy? Log-probabilities of the same tokens, side by side.

Before any update, scoring has to repeat what decoding said: the released code replayed latents and positions otherwise
than it had decoded them, and nothing noticed. Later the same numbers show how far the policy has moved since a rollout.

    difference = log p_scored - log p_rollout;    importance ratio = exp(difference)

B rows, T new positions, N sampled tokens
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slvr_data.errors import RunError
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.mgrpo.replies import joined
from slvr_model.mgrpo.scoring import Fed, scored
from slvr_model.mgrpo.types import Rollouts
from slvr_model.modeling import SlvrModel

if TYPE_CHECKING:
    from slvr_model.mgrpo.settings.sampling import GateConfig


Apart = npt.NDArray[np.float64]
"""[N]: scored minus rollout log-probabilities of sampled tokens."""


@dataclass(frozen=True)
class Drift:
    """How far scored log-probabilities lie from those of rollouts."""

    tokens: int
    """N sampled tokens."""
    largest: float
    """Of the absolute differences; 0 without tokens, as the mean is."""
    mean: float
    lowest: float
    """First percentile of the importance ratios; 1 without tokens, as the 99th is."""
    highest: float

    @classmethod
    def of(cls, scored_BT: Tensor, rollout_BT: Tensor, sampled_BT: Tensor) -> Drift:
        """Of two scores of the same tokens."""
        return cls.over([apart(scored_BT, rollout_BT, sampled_BT)])

    @classmethod
    def over(cls, parts: Sequence[Apart]) -> Drift:
        """Of the differences of several processes, all of them taken together."""
        apart_N = np.concatenate(parts)
        if not len(apart_N):
            return cls(0, 0.0, 0.0, 1.0, 1.0)
        low, high = np.exp(np.percentile(apart_N, [1, 99])).tolist()
        return cls(len(apart_N), float(np.abs(apart_N).max()), float(np.abs(apart_N).mean()), low, high)

    def numbers(self) -> dict[str, float]:
        """To log."""
        return {name: float(value) for name, value in asdict(self).items()}


def apart(scored_BT: Tensor, rollout_BT: Tensor, sampled_BT: Tensor) -> Apart:
    """The differences of two scores of the same tokens."""
    ours_N, theirs_N = (values_BT[sampled_BT].detach().double().cpu().numpy() for values_BT in (scored_BT, rollout_BT))
    found: Apart = ours_N - theirs_N
    return found


@torch.no_grad()
def differences(
    model: SlvrModel,
    rollouts: Rollouts | Sequence[Rollouts],
    *,
    feed: Fed = "given",
    micro_rows: int,
    pictures: Pictures | None = None,
) -> Apart:
    """By how much a model says otherwise what it, or its ancestor, said when the rollouts were written; arguments:
    `scored`.
    """
    held = [rollouts] if isinstance(rollouts, Rollouts) else list(rollouts)
    found = scored(model, held, feed=feed, micro_rows=micro_rows, pictures=pictures)
    whole = joined([one.decoded for one in held], model.layout.pad_token)
    return apart(found.logprobs_BT, whole.logprobs_BT, whole.sampled_BT)


def drift(
    model: SlvrModel,
    rollouts: Rollouts | Sequence[Rollouts],
    *,
    feed: Fed = "given",
    micro_rows: int,
    pictures: Pictures | None = None,
) -> Drift:
    """How far a model is from what it, or its ancestor, said when the rollouts were written; see `differences`."""
    return Drift.over([differences(model, rollouts, feed=feed, micro_rows=micro_rows, pictures=pictures)])


def gate(model: SlvrModel, rollouts: Rollouts | Sequence[Rollouts], config: GateConfig, *, micro_rows: int) -> Drift:
    """The drift of a model that wrote these rollouts and was not updated since.

    Raises:
        RunError: a number lies outside of what the configuration allows for the model's type.
    """
    found = drift(model, rollouts, micro_rows=micro_rows)
    check(found, config, model.lm_head.weight.dtype)
    return found


def check(found: Drift, config: GateConfig, dtype: torch.dtype, how: str = "") -> None:
    """Whether a drift is what rounding explains: see `GateConfig`. `how` says of what scoring, behind a space.

    Raises:
        RunError: it is not, or is no number; the number and its setting are named.
    """
    exact = dtype in (torch.float32, torch.float64)
    limits = (
        [("exact", found.largest, 0.0, config.exact)]
        if exact
        else [
            ("mean", found.mean, 0.0, config.mean),
            ("lowest", found.lowest, config.lowest, math.inf),
            ("highest", found.highest, 0.0, config.highest),
        ]
    )
    for name, value, low, high in limits:
        if not low <= value <= high:
            kind = str(dtype).removeprefix("torch.")
            raise RunError(
                f"scoring does not repeat the rollouts{how}: {WHAT[name]} is {value:.3g} over {found.tokens} tokens in "
                f"{kind}, and gate.{name} allows {getattr(config, name):g}. Nothing was trained: either the two are "
                f"different policies, or this is rounding{'' if exact else UNSEEN}{_cure(name, value)}"
            )


def _cure(name: str, value: float) -> str:
    """Which bound would let a drift pass, with half as much again to spare; nothing does what is no number."""
    if not math.isfinite(value):
        return ""
    middle = 1.0 if name in ("lowest", "highest") else 0.0
    bound = max(middle + 1.5 * (value - middle), 0.001)
    return f"; where rounding explains it, --set gate.{name}={bound:.3g} lets it pass"


UNSEEN = " (the bounds for bfloat16 are of small models on CPUs: none was seen at 7B)"


WHAT = {
    "exact": "the largest difference of a log-probability",
    "mean": "the mean difference of log-probabilities",
    "lowest": "the 1st percentile of importance ratios",
    "highest": "the 99th percentile of importance ratios",
}
