"""Would the answer be right if it saw the latents and what is asked alone? The bottleneck's mask, in evaluation.

A reply's tail (latents, echo, mark, answer) is run by itself, as the second call of `objectives/bottleneck.py` runs it:
neither picture nor question is there, and slots hold the latents that the model wrote while it saw both. The echo is
the sample's, for without it nothing says what is asked.

Decoding greedily, a model says an answer y_1..y_n (its end token last) if and only if each y_i is the likeliest token
behind the echo and y_1..y_{i-1}. So one call that is given the whole answer tells whether decoding would write it.

H hidden samples, T positions of the longest tail, N positions of their answers, V vocabulary
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from slvr_model.batches import Batch
from slvr_model.latents import Latents
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.answers import Labelled
from slvr_model.objectives.bottleneck import Hidden, Tails
from slvr_model.rows import IGNORED
from slvr_model.rules import Distribution, rules_of


@torch.no_grad()
def hidden_right(
    model: SlvrModel, batch: Batch, fed: Latents, mark: Sequence[int], options: Mapping[str, Any]
) -> Tensor:
    """[H], for each sample with an echo: whether its answer is the one that greedy decoding would write.

    Args:
        model: in eval mode.
        batch: questions with their whole replies.
        fed: latents for all slots, in reading order.
        mark: the ids that an echo ends with.
        options: of `decoding.decode` (`Form.options`), whose rules say which tokens may be written.
    """
    tails = Tails.of(batch, model.latent_config.tokens)
    marked_S = tails.with_mark(batch, mark)
    if not bool(marked_S.any()):
        return marked_S[:0]
    part = Hidden.of(model, batch, tails, marked_S, fed)
    labels_HT = part.batch.labels_BL.masked_fill(~_behind(part.batch.ids_BL, mark), IGNORED)
    hidden_HTD = model.latent_forward(part.batch, "given", given=part.latents).hidden_BLD
    said = Labelled.of(part.batch, hidden_HTD, labels_HT)
    steps, semantic, opening = (options[name] for name in ("visual_steps", "semantic", "opening"))
    rules = rules_of(model.latent_config, len(labels_HT), steps, semantic, False, opening, 0.0)
    logp_NV = Distribution(model, rules, labels_HT.device).log_probabilities(model.lm_head(said.states_ND), said.row_N)
    wrong_H = torch.zeros(len(labels_HT), device=labels_HT.device)
    return wrong_H.index_add(0, said.row_N, (logp_NV.argmax(-1) != said.ids_N).float()) == 0


def _behind(ids_HT: Tensor, mark: Sequence[int]) -> Tensor:
    """[H, T]: behind the first mark of a row."""
    here_HT = (ids_HT.unfold(1, len(mark), 1) == torch.tensor(mark, device=ids_HT.device)).all(-1)
    end_H1 = here_HT.long().argmax(1, keepdim=True) + len(mark)
    return torch.arange(ids_HT.shape[1], device=ids_HT.device) >= end_H1
