"""Losses through latents that were computed again with gradient: what rewards on latents alone cannot teach.

    held = RegionLatents(region_N, visual_NKD, semantic_NE)       # policy, with gradient: one row a query
    terms = latent_loss(held, config, reference=RegionLatents(...))
    (terms.total * share).backward(); terms.numbers()

With d = semantic * d(z, z') + visual * mean over slots of d(h_t, h'_t), over semantic + visual (`distances.py`):

    together   mean over pairs of queries on one region of            d
    apart      mean over pairs of queries on different regions of     max(0, apart_margin - d)
    stability  mean over queries of                                   max(0, d to the reference's - stability_margin)

Pulling together alone is best served by latents that are all the same. Two guards see that, on the same queries and
against the reference: where regions come nearer to each other, the ratio of within to between distances may not rise
above `most_ratio` times the reference's; and the effective rank exp(H(singular values)) (Roy and Vetterli 2007) of
neither kind may fall below `least_rank` times (of both as one, the longer vectors alone would decide). Where one fails,
`together` is left out of the step.

N queries, K visual slots, D width, E dimension of the semantic vector
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.mgrpo.distances import distance, distances, slot_distance
from slvr_model.mgrpo.settings.latents import LatentLossConfig
from slvr_model.mgrpo.types import DivergedError
from slvr_model.objectives.base import Terms

TINY = 1e-9
RANK = "rank/"
"""Before the kind of latents, in the names of what is logged."""


@dataclass(frozen=True, eq=False)
class RegionLatents:
    """Latents of queries, and which region each query is on."""

    region_N: Tensor
    """Whole numbers; the same for queries on one region."""
    visual_NKD: Tensor | None = None
    semantic_NE: Tensor | None = None


def latent_loss(
    latents: RegionLatents,
    config: LatentLossConfig,
    *,
    reference: RegionLatents | None = None,
) -> Terms:
    """The losses of a batch of regions.

    Args:
        latents: of the policy, with gradient.
        config: weights, margins, guards.
        reference: the reference's latents of the same queries.

    Raises:
        UsageError: there are no latents that weigh, or none of the reference's where they are needed.
        DivergedError: a latent is not finite.
    """
    _check(latents, config, reference)
    region_N = latents.region_N
    apart_NN = _distances(latents, config)
    same_NN = region_N[:, None] == region_N
    pair_NN = torch.triu(torch.ones_like(same_NN), 1)
    within, between = apart_NN[same_NN & pair_NN], apart_NN[~same_NN & pair_NN]
    named = {"together": _mean(within), "apart": _mean((config.apart_margin - between).clamp_min(0))}
    logged = _geometry(latents, config, within, between)
    open_guard = True
    if reference is not None:
        moved_N = _paired(latents, reference, config)
        named["stability"] = _mean((moved_N - config.stability_margin).clamp_min(0))
        logged["moved"] = moved_N.detach().mean()
        open_guard = not config.guard or _sound(logged, _geometry_of(reference, config), config)
    logged["guarded"] = torch.tensor(float(not open_guard))
    if not open_guard:
        named["together"] = named["together"] * 0.0
    weights = {"together": config.together, "apart": config.apart, "stability": config.stability}
    return Terms(named, weights, logged)


def effective_rank(rows_NW: Tensor) -> Tensor:
    """exp(entropy of the singular values' shares) of rows without their mean: 0 where all are the same."""
    centred_NW = rows_NW.detach().double() - rows_NW.detach().double().mean(0)
    values: Tensor = torch.linalg.svdvals(centred_NW)
    if float(values.sum()) <= TINY:
        return values.new_zeros(())
    share = values / values.sum()
    entropy: Tensor = torch.special.entr(share).sum()
    return entropy.exp()


def _check(latents: RegionLatents, config: LatentLossConfig, reference: RegionLatents | None) -> None:
    parts = _parts(latents, config)
    if not parts:
        raise UsageError(
            "there are no latents for latents.together, apart and stability: the objective has none of the kind that "
            "weighs; set these weights to 0"
        )
    if not all(bool(part.detach().isfinite().all()) for part in parts.values()):
        raise DivergedError("a latent is not finite")
    if config.needs_reference and reference is None:
        raise UsageError(
            "latents.stability and latents.guard compare with the reference's latents, and there are none: set "
            "stability to 0 and guard to false, or keep a reference"
        )


def _parts(latents: RegionLatents, config: LatentLossConfig) -> dict[str, Tensor]:
    """Latents that weigh, by kind."""
    both = ("semantic", latents.semantic_NE, config.semantic), ("visual", latents.visual_NKD, config.visual)
    return {kind: part for kind, part, weight in both if part is not None and weight}


def _weighed(named: Mapping[str, Tensor], config: LatentLossConfig) -> Tensor:
    """Weighted mean of distances by kind of latents."""
    assert named, "the two have no latents of one kind"
    weights = {kind: float(getattr(config, kind)) for kind in named}
    total = torch.stack([weights[kind] * value for kind, value in named.items()]).sum(0)
    return total / sum(weights.values())


def _distances(latents: RegionLatents, config: LatentLossConfig) -> Tensor:
    """[N, N], of every two queries."""
    parts = {kind: part[:, None] if part.dim() == 2 else part for kind, part in _parts(latents, config).items()}
    return _weighed({kind: distances(part, config.distance) for kind, part in parts.items()}, config)


def _paired(one: RegionLatents, other: RegionLatents, config: LatentLossConfig) -> Tensor:
    """[N], of queries of the same number."""
    mine, theirs = _parts(one, config), _parts(other, config)
    of = {"semantic": distance, "visual": slot_distance}
    both = {kind: of[kind](part, theirs[kind], config.distance) for kind, part in mine.items() if kind in theirs}
    return _weighed(both, config)


def _mean(values: Tensor) -> Tensor:
    """Their mean; 0, with a gradient of 0, where there are none."""
    return values.sum() / max(len(values), 1)


def _geometry(latents: RegionLatents, config: LatentLossConfig, within: Tensor, between: Tensor) -> dict[str, Tensor]:
    """Mean distances, their ratio and the effective rank of each kind; what a batch does not determine is left out."""
    told = {f"{RANK}{kind}": effective_rank(part.flatten(1)) for kind, part in _parts(latents, config).items()}
    if len(within):
        told["within"] = within.detach().mean()
    if len(between):
        told["between"] = between.detach().mean()
    if len(within) and len(between):
        told["ratio"] = told["within"] / told["between"].clamp_min(TINY)
    return told


@torch.no_grad()
def _geometry_of(latents: RegionLatents, config: LatentLossConfig) -> dict[str, Tensor]:
    apart_NN = _distances(latents, config)
    same_NN = latents.region_N[:, None] == latents.region_N
    pair_NN = torch.triu(torch.ones_like(same_NN), 1)
    return _geometry(latents, config, apart_NN[same_NN & pair_NN], apart_NN[~same_NN & pair_NN])


def _sound(now: dict[str, Tensor], reference: dict[str, Tensor], config: LatentLossConfig) -> bool:
    """Whether latents have not collapsed, as far as the batch tells."""
    ranks = [name for name in now if name.startswith(RANK)]
    if any(float(now[name]) < config.least_rank * float(reference[name]) for name in ranks):
        return False
    if "ratio" not in now or float(now["between"]) >= float(reference["between"]):
        return True
    return float(now["ratio"]) <= config.most_ratio * float(reference["ratio"]) + TINY
