"""What is trained as one module, and its log-probabilities of what rollouts did.

k queries, G rollouts, B rows of a part, T new positions, K visual slots, D width, E dimension of the semantic vector
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from slvr_model.mgrpo.parts import Part, parts_of
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.mgrpo.replies import joined, slots, taken
from slvr_model.mgrpo.scoring import Fed, Scored, score_part
from slvr_model.mgrpo.types import Rollouts
from slvr_model.modeling import SlvrModel

T = TypeVar("T")
Density = Literal["off", "mean", "sum"]


class Policy(nn.Module):
    """The model. Its `forward` ends in a loss, so that a wrapper that sums gradients sees every use of the weights."""

    def __init__(self, slvr: SlvrModel) -> None:
        super().__init__()
        self.slvr = slvr

    def forward(self, ask: Callable[[SlvrModel], T]) -> T:
        """What `ask` computes with the model."""
        return ask(self.slvr)


@dataclass(frozen=True, eq=False)
class Actions:
    """What rows of a part did, under some weights: tokens, and with noise latents as well."""

    logprobs_BT: Tensor
    mask_BT: Tensor
    """What was drawn, and so has a part in the policy loss."""
    entropy_BT: Tensor


def actions(
    model: SlvrModel, part: Part, feed: Fed, density: Density = "off", pictures: Pictures | None = None
) -> Actions:
    """Log-probabilities of the sampled tokens of a part; with `density`, of its drawn latents too.

    Args:
        model: any weights of the policy's size.
        part: some rows.
        feed: as in `scoring.scored`.
        density: of a latent: the sum of its dimensions' log-densities, or their mean.
        pictures: as in `scoring.score_part`.
    """
    scored = score_part(model, part, feed=feed, pictures=pictures)
    if density == "off" or scored.latent_logprobs_BT is None:
        return Actions(scored.logprobs_BT, scored.sampled_BT, scored.entropy_BT)
    return _with_latents(model, part, scored, density)


def _with_latents(model: SlvrModel, part: Part, scored: Scored, density: Density) -> Actions:
    visual_BT, semantic_BT = slots(part.decoded, model.latent_config.tokens)
    wide = (0, part.width - visual_BT.shape[1])
    visual_BT, semantic_BT = pad(visual_BT, wide), pad(semantic_BT, wide)
    size_BT = torch.ones_like(scored.logprobs_BT)
    if density == "mean":
        size_BT = size_BT.masked_fill(visual_BT, float(model.text.config.hidden_size))
        size_BT = size_BT.masked_fill(semantic_BT, float(max(1, model.latent_config.semantic_dim)))
    assert scored.latent_logprobs_BT is not None
    return Actions(
        scored.logprobs_BT + scored.latent_logprobs_BT / size_BT,
        scored.sampled_BT | visual_BT | semantic_BT,
        scored.entropy_BT,
    )


@dataclass(eq=False)
class Task:
    """Rows that are learnt from at once, with what does not change while a lot is learnt."""

    part: Part
    advantages: Tensor
    """[B], or [B, T] where they are routed."""
    kept_B: Tensor
    """Rows with a part in the loss."""
    reference_BT: Tensor | None = None
    old_BT: Tensor | None = None
    """Of the policy that the lot was begun with; None in its first step, where it is the policy itself."""


def tasks_of(model: SlvrModel, held: Sequence[tuple[Rollouts, Tensor, Tensor]], micro_rows: int) -> list[Task]:
    """The parts of (rollouts, advantages of their rows [B] or [B, T], rows that are kept [B])."""
    if not held:
        return []
    parts = list(parts_of([rollouts for rollouts, _, _ in held], model.layout, micro_rows))
    device, width = parts[0].decoded.ids_BT.device, parts[0].width
    wide = [one if one.dim() == 1 else pad(one, (0, width - one.shape[1])) for _, one, _ in held]
    advantages, kept_B = torch.cat(wide).to(device), torch.cat([one for _, _, one in held]).to(device)
    return [Task(one, advantages[one.rows], kept_B[one.rows]) for one in parts]


def selected(rollouts: Rollouts, queries: Sequence[int], number: int, model: SlvrModel) -> Rollouts:
    """The first `number` rollouts of some queries of a group; at least one of each."""
    shown, layout, every = rollouts.shown, model.layout, rollouts.number
    if len(queries) == rollouts.queries and number == every:
        return rollouts
    parts = [taken(rollouts.decoded, slice(i * every, i * every + number), layout.latents.tokens) for i in queries]
    rows = [i * every + g for i in queries for g in range(number)]
    decoded, drawn_BT = joined(parts, layout.pad_token), rollouts.latent_logprobs_BT
    return replace(
        rollouts,
        shown=replace(
            shown,
            group=replace(shown.group, samples=tuple(shown.group.samples[i] for i in queries)),
            asked=tuple(shown.asked[i] for i in queries),
            answers=tuple(shown.answers[i] for i in queries),
            lettered=tuple(shown.lettered[i] for i in queries),
        ),
        number=number,
        decoded=decoded,
        answers=tuple(rollouts.answers[row] for row in rows),
        formed=tuple(rollouts.formed[row] for row in rows),
        latent_logprobs_BT=None if drawn_BT is None else drawn_BT[rows][:, : decoded.ids_BT.shape[1]],
    )
