"""What is fed into the latent slots of a model in place of its own latents, to see whether they matter.

B rows, R rows of a step, K visual slots, X width of a latent
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Kind = Literal["visual", "semantic"]
Change = Callable[[Kind, Tensor, Tensor], Tensor]
"""(kind, rows [R], latents [R, X]) -> the latents to feed; `edit` of the decoding loop."""


def zero(kind: Kind, rows: Tensor, latents: Tensor) -> Tensor:
    """Zeros: the mean visual token, as visual latents are standardised, and no direction at all of the semantic one."""
    return torch.zeros_like(latents)


class Noise:
    """Normal noise of the length of the latent that it replaces.

    Which noise depends on the ask's id, the kind and the number of the slot alone, not on the batch.
    """

    def __init__(self, ask_ids: Sequence[str]) -> None:
        self._ids = ask_ids
        self._slots: Counter[tuple[Kind, int]] = Counter()

    def __call__(self, kind: Kind, rows: Tensor, latents: Tensor) -> Tensor:
        """Noise [R, X]."""
        drawn = np.stack([self._drawn(kind, row, latents.shape[-1]) for row in rows.tolist()])
        noise = torch.from_numpy(drawn).to(latents)
        scaled: Tensor = noise * (latents.norm(dim=-1, keepdim=True) / noise.norm(dim=-1, keepdim=True))
        return scaled

    def _drawn(self, kind: Kind, row: int, width: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        name = f"{self._ids[row]} {kind} {self._slots[kind, row]}"
        self._slots[kind, row] += 1
        return _drawn(name, width)


def _drawn(name: str, width: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Normal numbers that follow from a name."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).standard_normal(width)


class Swap:
    """Given latents in the slots: those of another picture. Spans beyond the first get the same again.

    `visual` is [B, K, X], `semantic` [B, X]; None where a model has none.
    """

    def __init__(self, visual: Tensor | None, semantic: Tensor | None) -> None:
        self._given: dict[Kind, Tensor | None] = {
            "visual": visual,
            "semantic": None if semantic is None else semantic[:, None],
        }
        self._slots: Counter[tuple[Kind, int]] = Counter()

    def __call__(self, kind: Kind, rows: Tensor, latents: Tensor) -> Tensor:
        """The given latents [R, X]."""
        given = self._given[kind]
        assert given is not None, f"a slot of kind {kind} was opened, and none was given"
        fed = []
        for row in rows.tolist():
            fed.append(given[row, self._slots[kind, row] % given.shape[1]])
            self._slots[kind, row] += 1
        return torch.stack(fed).to(latents)


# --- each row of a batch in its own way

RowChange = Callable[[Kind, int, Tensor], Tensor]
"""(kind, number of the slot within its row and kind, latent [X]) -> the latent to feed [X]."""


class ByRow:
    """Changes some rows of a batch, each in its own way; None leaves a row as it is."""

    def __init__(self, changes: Sequence[RowChange | None]) -> None:
        self._changes = changes
        self._slots: Counter[tuple[Kind, int]] = Counter()

    def __call__(self, kind: Kind, rows: Tensor, latents: Tensor) -> Tensor:
        """The latents to feed [R, X]."""
        fed = latents.clone()
        for place, row in enumerate(rows.tolist()):
            change = self._changes[row]
            if change is not None:
                fed[place] = change(kind, self._slots[kind, row], latents[place])
            self._slots[kind, row] += 1
        return fed


def zeroed(kind: Kind, slot: int, latent: Tensor) -> Tensor:
    """Zeros; see `zero`."""
    return torch.zeros_like(latent)


def noise_for(name: str) -> RowChange:
    """Noise of the length of each latent, which depends on `name`, the kind and the slot alone; see `Noise`."""

    def change(kind: Kind, slot: int, latent: Tensor) -> Tensor:
        noise = torch.from_numpy(_drawn(f"{name} {kind} {slot}", latent.shape[-1])).to(latent)
        scaled: Tensor = noise * (latent.norm() / noise.norm())
        return scaled

    return change


def given(visual: Tensor | None, semantic: Tensor | None) -> RowChange:
    """These latents: `visual` [K, X] slot by slot, `semantic` [X]; None leaves that kind as it is."""

    def change(kind: Kind, slot: int, latent: Tensor) -> Tensor:
        if kind == "visual":
            return latent if visual is None else visual[slot % len(visual)].to(latent)
        return latent if semantic is None else semantic.to(latent)

    return change


def only(kind: Kind, change: RowChange) -> RowChange:
    """A change of one kind of latents alone."""

    def changed(own: Kind, slot: int, latent: Tensor) -> Tensor:
        return change(own, slot, latent) if own == kind else latent

    return changed
