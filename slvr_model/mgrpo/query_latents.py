"""The latents of queries, as a model predicts them from the prompt alone, with gradient and without any rollout.

Rewards on latents are the same for all rollouts of a query and drop out of its advantages; a loss on these does not.
One packed row for each region: 1 + n calls of the language model for any number of regions, n slots of an opening.

Q queries of all regions, K visual slots, D width, E dimension of the semantic vector
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.batches import collate
from slvr_model.latents import Latents
from slvr_model.memory import memory
from slvr_model.mgrpo.asking import Asking
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.mgrpo.types import FEWER_REGIONS, Shown
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.base import Form
from slvr_model.rows import Block


@dataclass(frozen=True, eq=False)
class QueryLatents:
    """What a model's replies open with; None: nothing of the kind."""

    visual_QKD: Tensor | None
    semantic_QE: Tensor | None
    region_Q: Tensor
    """Which of the regions a query is about, counted from 0."""


@memory("computing latents", f"{FEWER_REGIONS}, or the size of pictures in another run")
def query_latents(
    model: SlvrModel, shown: Shown | Sequence[Shown], form: Form, pictures: Pictures | None = None
) -> QueryLatents:
    """Latents of all queries, each after those before it, with gradient where it is enabled.

    Args:
        model: any weights.
        shown: the regions' questions.
        form: of the objective's replies.
        pictures: encoded by the same tower; unless told, they are encoded for this call.

    Raises:
        UsageError: replies of this form have no latents, or a group's queries are not about one picture.
    """
    groups = [shown] if isinstance(shown, Shown) else list(shown)
    opening = model.latent_config.tokens.reply(form.visual_steps, form.semantic)
    if not opening or not groups:
        raise UsageError("latents of replies that have none: the objective has no slots, or no query is given")
    asking = [Asking.of(one.asked, model.layout) for one in groups]
    latents = opened(model, asking, opening, None if pictures is None else pictures.of(asking))
    region_Q = torch.tensor([n for n, one in enumerate(asking) for _ in one.endings])
    visual_TD = latents.visual_TD
    visual_QKD = None if visual_TD is None else visual_TD.view(len(region_Q), -1, visual_TD.shape[1])
    return QueryLatents(visual_QKD, latents.semantic_SE, region_Q.to(model.text.embed_tokens.weight.device))


def opened(
    model: SlvrModel, asking: Sequence[Asking], opening: Sequence[int], visual_MD: Tensor | None = None
) -> Latents:
    """The latents of an opening behind each question, in reading order; None of a kind that it has not.

    Args:
        asking: questions, by region.
        opening: ids of latent tokens that a reply begins with.
        visual_MD: visual tokens of the distinct pictures, where they are known.
    """
    rows = [replace(one.beginning, blocks=tuple(Block((*end, *opening)) for end in one.endings)) for one in asking]
    most = max(len(row.prefix) + sum(len(block.prompt) for block in row.blocks) for row in rows)
    batch = collate(rows, replace(model.layout, limit=max(model.layout.limit, most)))
    out = model.latent_forward(batch.to(model.text.embed_tokens.weight.device), "own", visual_MD=visual_MD)
    return Latents(*(one if one is not None and len(one) else None for one in (out.visual_TD, out.semantic_SE)))
