"""Muon: momentum whose matrices are made orthogonal before each step; Adam for everything that is no matrix.

Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024). For a matrix W with
gradient G: M <- mu M + G; O = orthogonal(G + mu M); W <- W - lr * 0.2 * sqrt(max(rows, columns)) * O. The factor
gives the step the size that Adam's has (J. Liu et al., "Muon is scalable for LLM training", 2025).

    N matrices of one shape, R rows, C columns
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration, which pushes all singular values into about [0.7, 1.2]."""


def orthogonal(matrices_NRC: Tensor, steps: int = 5) -> Tensor:
    """Each matrix with its singular values pushed towards 1, by Newton-Schulz iteration. [N, R, C] -> [N, R, C]."""
    wide = matrices_NRC.shape[-1] >= matrices_NRC.shape[-2]
    x: Tensor = matrices_NRC if wide else matrices_NRC.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x if wide else x.mT


class Muon(torch.optim.Optimizer):
    """Momentum with orthogonal steps, for matrices [R, C] only."""

    def __init__(self, matrices: Iterable[Any], lr: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step; matrices of one shape go through the iteration together. `closure` is not supported."""
        assert closure is None, "Muon needs no closure"
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in shapes.items():
                scale = group["lr"] * 0.2 * max(shape) ** 0.5
                updates_NRC = orthogonal(torch.stack([self._moved(m, group["momentum"]) for m in matrices]))
                for matrix, update_RC in zip(matrices, updates_NRC, strict=True):
                    matrix.sub_(update_RC, alpha=scale)

    def _moved(self, matrix: nn.Parameter, momentum: float) -> Tensor:
        state: dict[str, Any] = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        assert matrix.grad is not None
        kept: Tensor = state["momentum"].mul_(momentum).add_(matrix.grad)
        return matrix.grad + momentum * kept


def optimizers(model: nn.Module, muon_lr: float, adam_lr: float, new: float = 1.0) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside layers; Adam for vectors, embeddings and the patch convolution.

    Args:
        model: those of its parameters that have a gradient are trained.
        muon_lr: of matrices.
        adam_lr: of the rest.
        new: factor on the rates of the latents' maps and of an objective's heads, which a start has not learnt yet.
    """
    held: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            inside = parameter.dim() == 2 and "embed_tokens" not in name and "lm_head" not in name
            fresh = new != 1.0 and (".latents." in f".{name}" or name.startswith("heads."))
            held.setdefault((inside, fresh), []).append(parameter)

    def groups(inside: bool, rate: float) -> list[dict[str, Any]]:
        pairs = ((fresh, held.get((inside, fresh), [])) for fresh in (False, True))
        return [{"params": ones, "lr": rate * (new if fresh else 1.0)} for fresh, ones in pairs if ones or not fresh]

    matrices: list[torch.optim.Optimizer] = [Muon(groups(True, muon_lr), lr=muon_lr)]
    return [*matrices, torch.optim.Adam(groups(False, adam_lr), lr=adam_lr, betas=(0.9, 0.99))]
