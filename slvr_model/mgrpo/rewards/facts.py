"""What rewards of a group are computed from, and what a term of the reward is.

k queries, G rollouts, K visual slots, D width, E dimension of the semantic vector
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from slvr_data.errors import RunError
from slvr_model.latents import Latents
from slvr_model.mgrpo.types import Rollouts


@dataclass(frozen=True, eq=False)
class Facts:
    """Replies to the queries of a region. Lists of rollouts are query by query: rollout g of query i is i * G + g."""

    queries: int
    """k."""
    rollouts: int
    """G."""
    given: Sequence[str]
    """k * G answers."""
    right: Sequence[str]
    """k right answers."""
    lettered: Sequence[bool]
    """k: the right answer is a letter."""
    formed: Sequence[bool]
    """k * G: the reply is whole."""
    judged: Sequence[bool | None] | None = None
    """k * G: what a judge says; None: it does not know, or was not asked."""
    costs_kG: Tensor | None = None
    """What each reply cost, e.g. its positions; on the host, as the values of terms are."""
    visual_kGKD: Tensor | None = None
    semantic_kGE: Tensor | None = None
    reference_visual_kGKD: Tensor | None = None
    """The reference's latents behind the same questions."""
    reference_semantic_kGE: Tensor | None = None

    def __post_init__(self) -> None:
        rows = self.queries * self.rollouts
        for name, wanted in (("given", rows), ("formed", rows), ("right", self.queries), ("lettered", self.queries)):
            assert len(getattr(self, name)) == wanted, f"{name}: {len(getattr(self, name))}, not {wanted}"
        assert self.judged is None or len(self.judged) == rows, f"judged: {len(self.judged or ())}, not {rows}"

    def table(self, values: Sequence[float | bool]) -> Tensor:
        """Values of rollouts as [k, G]."""
        return torch.tensor(list(values), dtype=torch.float32).view(self.queries, self.rollouts)


@dataclass(frozen=True, eq=False)
class Term:
    """Values of one term of the reward, not weighted, and where there are any."""

    values_kG: Tensor
    present_kG: Tensor
    """False where the term cannot be told; its value there is 0."""

    @classmethod
    def of(cls, values_kG: Tensor, present_kG: Tensor | None = None) -> Term:
        """Values on the host; all are present unless told."""
        values_kG = values_kG.detach().to("cpu", torch.float32)
        if present_kG is None:
            present_kG = torch.ones_like(values_kG, dtype=torch.bool)
        return cls(values_kG.masked_fill(~present_kG, 0.0), present_kG)

    @classmethod
    def absent(cls, facts: Facts) -> Term:
        """A term that no rollout has."""
        nothing_kG = torch.zeros(facts.queries, facts.rollouts)
        return cls(nothing_kG, nothing_kG.bool())


def costs_of(rollouts: Rollouts) -> Tensor:
    """Positions of each reply, [k, G]: tokens and latents, of spans that it starts later too."""
    return rollouts.decoded.kept_BT.sum(1).float().cpu().view(rollouts.queries, rollouts.number)


def facts_of(
    rollouts: Rollouts,
    *,
    costs_kG: Tensor | None = None,
    judged: Sequence[bool | None] | None = None,
    reference: Latents | None = None,
) -> Facts:
    """What rewards need of a group's rollouts.

    Args:
        rollouts: of one group.
        costs_kG: what they cost, where these are only a part of them (`play.opened`).
        judged: B answers of a judge, by index.
        reference: the reference's latents in the order of `rollouts.decoded.latents`; or of one row a query.

    Raises:
        RunError: replies have different numbers of latents, so that they cannot be compared.
    """
    shown, queries, number = rollouts.shown, rollouts.queries, rollouts.number
    decoded = rollouts.decoded
    if decoded.latent_BT.any() and len(set(decoded.latent_BT.sum(1).tolist())) > 1:
        raise RunError(
            "replies of one group have different numbers of latents, so that they cannot be compared: some are cut "
            "off before their latents end; raise sampling.max_new_tokens"
        )
    wanted = reference or Latents()
    return Facts(
        queries,
        number,
        rollouts.answers,
        shown.answers,
        shown.lettered,
        rollouts.formed,
        judged,
        costs_of(rollouts) if costs_kG is None else costs_kG,
        _rows(decoded.latents.visual_TD, queries, number, slots=True),
        _rows(decoded.latents.semantic_SE, queries, number, slots=False),
        _rows(wanted.visual_TD, queries, number, slots=True, like=decoded.latents.visual_TD),
        _rows(wanted.semantic_SE, queries, number, slots=False, like=decoded.latents.semantic_SE),
    )


def _rows(flat: Tensor | None, queries: int, number: int, *, slots: bool, like: Tensor | None = None) -> Tensor | None:
    """Latents in reading order as [k, G, (K,) width]; those of one row a query are repeated for its rollouts."""
    if flat is None or not len(flat):
        return None
    rows = queries if like is not None and len(flat) * number == len(like) else queries * number
    if len(flat) % rows:
        raise RunError(f"{len(flat)} latents cannot be those of {rows} rows: replies differ in how many they have")
    table = flat.view(queries, rows // queries, len(flat) // rows, flat.shape[-1])
    table = table.expand(queries, number, *table.shape[2:])
    return table if slots else table[:, :, 0]
