"""A stochastic latent policy: each rollout adds normal noise to what the model predicts for its slots.

    z = p + sigma n,  n ~ N(0, I);      log pi(z) = - |z - p|^2 / (2 sigma^2) - X log(sigma sqrt(2 pi))

p is the prediction from the state before the slot, after the earlier latents as they were drawn. What is fed is z as it
was drawn: a semantic vector is not scaled back to length 1. For the policy gradient z is an action like a token.

R rows, X dimension of a latent, N latents
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor


def log_density(drawn_NX: Tensor, predicted_NX: Tensor, sigma: float) -> Tensor:
    """Log pi [N] of latents, in float32; the gradient goes to the predictions alone."""
    distance_NX = (drawn_NX.detach().float() - predicted_NX.float()) / sigma
    return -distance_NX.pow(2).sum(-1) / 2 - drawn_NX.shape[-1] * math.log(sigma * math.sqrt(2 * math.pi))


class Noise:
    """An `Edit` of the decoding loop: noise of each row from its own seed, in reading order."""

    def __init__(self, sigma: float, seeds: Sequence[int]) -> None:
        self.sigma = sigma
        self._dice = [np.random.default_rng((seed, 1)) for seed in seeds]
        self._found: list[tuple[Tensor, Tensor]] = []

    def __call__(self, kind: Literal["visual", "semantic"], rows_R: Tensor, latents_RX: Tensor) -> Tensor:
        """The latents with noise."""
        noise = np.stack([self._dice[row].standard_normal(latents_RX.shape[1]) for row in rows_R.tolist()])
        drawn_RX = latents_RX + self.sigma * torch.from_numpy(noise).to(latents_RX)
        self._found.append((rows_R, log_density(drawn_RX, latents_RX, self.sigma)))
        return drawn_RX

    def logprobs(self, latent_BT: Tensor) -> Tensor:
        """Log pi [B, T] of all latents that were drawn, where they stand; 0 elsewhere."""
        out_BT = torch.zeros(latent_BT.shape, device=latent_BT.device)
        if self._found:
            rows_N = torch.cat([rows_R for rows_R, _ in self._found])
            logp_N = torch.cat([logp_R for _, logp_R in self._found])
            out_BT[latent_BT] = logp_N[rows_N.argsort(stable=True)]
        return out_BT
