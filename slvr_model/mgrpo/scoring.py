"""Log-probabilities of finished rollouts under any weights: two calls of the language model for many rows.

What the queries of a region share is computed in one call, all replies behind it in the other (`sharing.py`), at the
positions, temperature and rules of decoding. Slots are fed with the latents of the rollout ("given"), or with what
these weights predict for them ("own"; 1 + n calls more over the questions alone, n being the slots of a reply): then
the gradient goes through the latents into their maps.

`micro_rows` bounds memory: that many replies are computed at a time. With gradient, call backward on each part before
the next one is asked for:

    for rows, part in scored_parts(model, rollouts, micro_rows=8):
        loss_of(part.logprobs_BT, advantages_B[rows]).backward()

Where a cache cannot be used (activation checkpointing), or replies have latents behind words of their own, a region is
one packed row (`parts.py`): 1 call, or 1 + n.

B rows of all rollouts, T new positions, R packed rows, L positions, N sampled tokens, D width, K visual slots,
E dimension of the semantic vector, X dimension of a latent
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import pad

from slvr_data.errors import UsageError
from slvr_model.decoding import Decoded, chosen
from slvr_model.latents import Latents
from slvr_model.memory import memory
from slvr_model.mgrpo.noise import log_density
from slvr_model.mgrpo.parts import Part, parts_of
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.mgrpo.query_latents import opened
from slvr_model.mgrpo.replies import slots
from slvr_model.mgrpo.sharing import Begun, Behind
from slvr_model.mgrpo.types import FEWER_ROWS, Rollouts
from slvr_model.modeling import SlvrModel
from slvr_model.rules import Distribution
from slvr_model.tokens import LatentTokens

__all__ = ["Fed", "Part", "Scored", "parts_of", "score_part", "scored", "scored_parts"]

Fed = Literal["given", "own"]


@dataclass(frozen=True, eq=False)
class Scored:
    """What a model says of finished rollouts. Rows are those of all rollouts, one after the other."""

    logprobs_BT: Tensor
    """Of sampled tokens, with gradient; at the temperature of the rollouts, among the tokens their rules allow; 0
    elsewhere."""
    sampled_BT: Tensor
    entropy_BT: Tensor
    """Of what each sampled token was drawn from, without gradient; 0 elsewhere."""
    latents: Latents
    """What these weights predict for each slot, in reading order, with gradient; with feed "own" that is what was
    fed."""
    latent_logprobs_BT: Tensor | None
    """Rollouts with noise: log-density of each latent of the rollout, with gradient, at its slot; 0 elsewhere."""
    hidden_BTD: Tensor | None
    """Where asked for: the states before each position, after the final norm; 0 on padding."""
    calls: int
    """Calls of the language model."""


def scored(
    model: SlvrModel,
    rollouts: Rollouts | Sequence[Rollouts],
    *,
    feed: Fed = "given",
    micro_rows: int,
    hidden: bool = False,
    pictures: Pictures | None = None,
) -> Scored:
    """All rows as one; with gradient, all of them are held until the backward pass: see `scored_parts`.

    Raises:
        UsageError: see `parts_of`, `score_part`.
    """
    parts = scored_parts(model, rollouts, feed=feed, micro_rows=micro_rows, hidden=hidden, pictures=pictures)
    found = [one for _, one in parts]
    visual = [one.latents.visual_TD for one in found if one.latents.visual_TD is not None]
    semantic = [one.latents.semantic_SE for one in found if one.latents.semantic_SE is not None]
    densities = [one.latent_logprobs_BT for one in found if one.latent_logprobs_BT is not None]
    states = [one.hidden_BTD for one in found if one.hidden_BTD is not None]
    return Scored(
        torch.cat([one.logprobs_BT for one in found]),
        torch.cat([one.sampled_BT for one in found]),
        torch.cat([one.entropy_BT for one in found]),
        Latents(torch.cat(visual) if visual else None, torch.cat(semantic) if semantic else None),
        torch.cat(densities) if densities else None,
        torch.cat(states) if states else None,
        sum(one.calls for one in found),
    )


def scored_parts(
    model: SlvrModel,
    rollouts: Rollouts | Sequence[Rollouts],
    *,
    feed: Fed = "given",
    micro_rows: int,
    hidden: bool = False,
    pictures: Pictures | None = None,
) -> Iterator[tuple[slice, Scored]]:
    """Part by part: which rows, and their scores [rows, T]. Pictures are encoded once where no gradient goes there."""
    known = _Known(model, pictures)
    for part in parts_of(rollouts, model.layout, micro_rows):
        yield part.rows, _score(model, part, feed, hidden, known)


def score_part(
    model: SlvrModel, part: Part, *, feed: Fed = "given", hidden: bool = False, pictures: Pictures | None = None
) -> Scored:
    """The scores of a part; see `scored`.

    Args:
        pictures: encoded by the same tower; unless told, they are encoded for this call.

    Raises:
        UsageError: feed "own" for rollouts with noise, or under activation checkpointing.
    """
    return _score(model, part, feed, hidden, _Known(model, pictures))


@memory("scoring rollouts", FEWER_ROWS)
def _score(model: SlvrModel, part: Part, feed: Fed, hidden: bool, known: _Known) -> Scored:
    if part.noise and feed == "own":
        raise UsageError(
            'rollouts with noise in their latents are scored with feed "given": the latents are actions, and the '
            "gradient reaches them through their density"
        )
    decoded = part.decoded
    own = feed == "own" and bool(decoded.latent_BT.any())
    cached = not (model.training and any(layer.gradient_checkpointing for layer in model.text.layers))
    if cached and (not own or part.opening(model.latent_config.tokens)):
        ran = _behind(model, part, own, known)
    else:
        ran = _packed(model, part, own, known)
    rows_N, at_N = decoded.sampled_BT.nonzero(as_tuple=True)
    states_ND = ran.hidden_BLD[ran.row_BT[rows_N, at_N], ran.at_BT[rows_N, at_N]]
    distribution = Distribution(model, decoded.rules, decoded.ids_BT.device)
    logp_N, entropy_N = chosen(model, distribution, states_ND, rows_N, decoded.ids_BT[rows_N, at_N])
    zero_BT = torch.zeros(decoded.ids_BT.shape, device=decoded.ids_BT.device)
    tokens = model.latent_config.tokens
    return Scored(
        _wide(zero_BT.index_put((rows_N, at_N), logp_N), part.width),
        _wide(decoded.sampled_BT, part.width),
        _wide(zero_BT.index_put((rows_N, at_N), entropy_N), part.width),
        ran.latents,
        _wide(_densities(decoded, ran.latents, tokens, part.noise), part.width) if part.noise else None,
        _states(part, ran) if hidden else None,
        ran.calls,
    )


@dataclass(frozen=True, eq=False)
class _Ran:
    """What became of a part."""

    hidden_BLD: Tensor
    row_BT: Tensor
    at_BT: Tensor
    """Where the state before each position of the replies stands: its row, and its column."""
    latents: Latents
    """Predicted, in reading order."""
    calls: int


def _behind(model: SlvrModel, part: Part, own: bool, known: _Known) -> _Ran:
    """Replies behind beginnings: two calls, and those that own latents take."""
    decoded, heads, tokens, calls = part.decoded, model.latents, model.latent_config.tokens, 1
    begun, new = known.begun(part)
    tails = [(*ending, *reply) for ending, reply in zip(part.endings, part.replies, strict=True)]
    behind = Behind.of(part.batch, part.asking, part.regions, tails, "right", model.layout.pad_token)
    fed = decoded.latents
    if own:
        fed = _own(model, part, known)
        calls += 1 + int(decoded.latent_BT[0].sum())
    inputs_BLD = behind.embedded(model)
    row_BT, at_BT = part.places([len(ending) - 1 for ending in part.endings])
    visual_BT, semantic_BT = slots(decoded, tokens)
    for where_BT, latents_NX, to_input in (
        (visual_BT, fed.visual_TD, heads.visual_input),
        (semantic_BT, fed.semantic_SE, heads.semantic_input),
    ):
        if latents_NX is not None:
            fed_ND = to_input(latents_NX.to(inputs_BLD.dtype)).to(inputs_BLD.dtype)
            inputs_BLD = inputs_BLD.index_put((row_BT[where_BT], at_BT[where_BT] + 1), fed_ND)
    hidden_BLD = behind.run(model, inputs_BLD, begun.past(model, behind.region_Q))
    if not own:
        states = [hidden_BLD[row_BT[where_BT], at_BT[where_BT]] for where_BT in (visual_BT, semantic_BT)]
        predicted = Latents(
            None if fed.visual_TD is None else heads.visual(states[0]),
            None if fed.semantic_SE is None else heads.semantic(states[1]),
        )
    return _Ran(hidden_BLD, row_BT, at_BT, fed if own else predicted, calls + new)


def _own(model: SlvrModel, part: Part, known: _Known) -> Latents:
    """What these weights predict for the openings, once for each query, taken for each of its rows."""
    opening = part.opening(model.latent_config.tokens)
    asked = sorted(set(zip(part.regions, part.queries, strict=True)))
    asking = [
        replace(one, endings=tuple(one.endings[query] for region, query in asked if region == number))
        for number, one in enumerate(part.asking)
    ]
    latents = opened(model, asking, opening, known.visual(part))
    place_B = torch.tensor(
        [asked.index(pair) for pair in zip(part.regions, part.queries, strict=True)], device=part.decoded.ids_BT.device
    )
    return Latents(_rows(latents.visual_TD, len(asked), place_B), _rows(latents.semantic_SE, len(asked), place_B))


def _rows(latents_NX: Tensor | None, queries: int, place_B: Tensor) -> Tensor | None:
    return None if latents_NX is None else latents_NX.view(queries, -1, latents_NX.shape[1])[place_B].flatten(0, 1)


def _packed(model: SlvrModel, part: Part, own: bool, known: _Known) -> _Ran:
    """A region in a row."""
    batch, first = part.packed(model.layout)
    row_BT, at_BT = part.places(first, part.regions)
    written = bool(part.decoded.latent_BT.any())
    # without latents of its own a reply may still stand behind slots of its question, which hold their token
    feed: Literal["given", "own", "pause"] = "own" if own else "given" if written else "pause"
    given = part.decoded.latents
    out = model.latent_forward(batch, feed, given=given, visual_MD=known.visual(part))
    latents = Latents(_held(out.visual_TD, written), _held(out.semantic_SE, written))
    return _Ran(out.hidden_BLD, row_BT, at_BT, latents, 1 + (int(part.decoded.latent_BT.sum(1).max()) if own else 0))


class _Known:
    """What need not be computed again: visual tokens, and, without gradient, beginnings of the part before."""

    def __init__(self, model: SlvrModel, pictures: Pictures | None) -> None:
        self.model, self.pictures = model, pictures or Pictures(model)
        self._visual_MD: Tensor | None = None
        self._of: tuple[int, ...] = ()
        self._graph: Part | None = None
        self._begun: Begun | None = None

    def visual(self, part: Part) -> Tensor | None:
        """Visual tokens of the part's pictures."""
        self._look(part)
        return self._visual_MD

    def begun(self, part: Part) -> tuple[Begun, int]:
        """The part's beginnings, and the calls that they took now."""
        self._look(part)
        if self._begun is not None:
            return self._begun, 0
        begun = Begun.of(self.model, part.batch, self._visual_MD)
        if not torch.is_grad_enabled():
            self._begun = begun
        return begun, 1

    def _look(self, part: Part) -> None:
        """Encode the pictures unless they are known, with a graph of this part alone if they are trained."""
        regions = tuple(map(id, part.asking))
        if self._graph in (None, part) and self._of == regions:
            return
        self._graph = part if not self.pictures.still and torch.is_grad_enabled() else None
        self._of, self._visual_MD, self._begun = regions, self.pictures.of(part.asking), None


def _held(latents_NX: Tensor | None, written: bool) -> Tensor | None:
    return latents_NX if written and latents_NX is not None and len(latents_NX) else None


def _wide(values_BT: Tensor, width: int) -> Tensor:
    return pad(values_BT, (0, width - values_BT.shape[1]))


def _densities(decoded: Decoded, predicted: Latents, tokens: LatentTokens, sigma: float) -> Tensor:
    """Log-density [B, T] of the latents of the rollouts, where they stand."""
    out_BT = torch.zeros(decoded.ids_BT.shape, device=decoded.ids_BT.device)
    drawn = decoded.latents.visual_TD, decoded.latents.semantic_SE
    for where_BT, one_NX, own_NX in zip(
        slots(decoded, tokens), drawn, (predicted.visual_TD, predicted.semantic_SE), strict=True
    ):
        if one_NX is not None and own_NX is not None:
            out_BT = out_BT.index_put(where_BT.nonzero(as_tuple=True), log_density(one_NX, own_NX, sigma))
    return out_BT


def _states(part: Part, ran: _Ran) -> Tensor:
    """The states [B, T of all rollouts, D] before each position; 0 on padding."""
    at_BT = ran.at_BT.clamp_max(ran.hidden_BLD.shape[1] - 1)
    states_BTD = ran.hidden_BLD[ran.row_BT, at_BT] * part.decoded.kept_BT[..., None]
    return pad(states_BTD, (0, 0, 0, part.width - states_BTD.shape[1]))
