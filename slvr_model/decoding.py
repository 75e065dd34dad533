"""The one decoding loop: text is sampled, slots and the ends of their spans are forced, latents are fed back.

Behind `vis_start` the last state becomes a latent, and the latent the next input, for K slots; then `vis_end`. Behind
`sem_start` the same once. Then text. What to do next follows from the last token of a row alone, so rows of one batch
may be in different places; it is kept on the host, and no step that only writes latents waits for the device.

B rows, T new positions, L positions of the prompts, C places of the cache, D width, E dimension of the semantic vector,
V vocabulary, R rows whose next token is sampled
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, StaticCache

from slvr_data.errors import UsageError
from slvr_model.batches import Batch
from slvr_model.latents import Latents
from slvr_model.memory import memory
from slvr_model.modeling import Feed, SlvrModel
from slvr_model.rows import IGNORED
from slvr_model.rules import Distribution, Flags, RowStates, Rules, drawn, draws, rules_of

Edit = Callable[[Literal["visual", "semantic"], Tensor, Tensor], Tensor]
"""(kind, rows [R], latents [R, D or E]) -> the latents to feed instead: for interventions."""
CACHE_STEP = 128
"""A static cache is rounded up to a multiple of this, so that compiled steps are seldom compiled anew."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """Finished replies. Each position of a row is sampled, forced or a latent (slot), or padding behind its end."""

    ids_BT: Tensor
    sampled_BT: Tensor
    forced_BT: Tensor
    latent_BT: Tensor
    logprobs_BT: Tensor
    """Of sampled tokens: at the row's temperature (1 where greedy), among the tokens its rules allow, before top-p; 0
    elsewhere."""
    latents: Latents
    """What was fed, in reading order."""
    finished_B: Tensor
    """False where the reply was cut off by `max_new_tokens`."""
    rules: Rules

    @property
    def kept_BT(self) -> Tensor:
        """False on padding."""
        return self.sampled_BT | self.forced_BT | self.latent_BT

    def replies(self) -> list[list[int]]:
        """Ids of each row without padding."""
        return [ids[kept].tolist() for ids, kept in zip(self.ids_BT, self.kept_BT, strict=True)]


@memory("decoding", "the rows of a batch, max_new_tokens, or the size of pictures")
@torch.no_grad()
def decode(
    model: SlvrModel,
    batch: Batch,
    *,
    max_new_tokens: int,
    visual_steps: int | Sequence[int] | None = None,
    semantic: bool | Sequence[bool] | None = None,
    learned_end: bool | Sequence[bool] = False,
    opening: bool | Sequence[bool] = False,
    temperature: float | Sequence[float] = 0.0,
    top_p: float = 1.0,
    seed: int | Sequence[int] = 0,
    edit: Edit | None = None,
    cache: Literal["dynamic", "static"] = "dynamic",
    step: Callable[..., Tensor] | None = None,
    visual_MD: Tensor | None = None,
) -> Decoded:
    """Decode replies to left-padded prompts. A prompt that ends with a start token goes on with its latents.

    Args:
        model: in eval mode.
        batch: prompts from `collate(..., side="left")`, one block a row.
        max_new_tokens: positions per reply, slots included.
        visual_steps: slots of a visual span (cap where ends are learned); default: the model's K; 0: none.
        semantic: allow the semantic slot; default: where the model has one.
        learned_end: see `Rules`; needs a model trained so.
        opening: force the reply to begin with its latents, visual and semantic, as far as the row has them.
        temperature: 0 is greedy. All of these may be one value, or one per row.
        top_p: sample among the most probable tokens that together have this probability.
        seed: of row b: (seed, b), or the b-th of several. A row's draws do not depend on the others.
        edit: changes latents before they are fed.
        cache: "static" has one size from the first step on, as `torch.compile` wants it.
        step: what runs a step of one position a row; `compiled_step(model)` with a static cache.
        visual_MD: what `model.encode(batch)` returned, to spare encoding again.

    Raises:
        UsageError: prompts are not left-padded, are too long, or the rules do not fit model or batch.
    """
    rules = rules_of(model.latent_config, len(batch.ids_BL), visual_steps, semantic, learned_end, opening, temperature)
    _check(model, batch, max_new_tokens, top_p)
    loop = _Loop(model, batch, rules, max_new_tokens, draws(seed, len(batch.ids_BL), max_new_tokens), top_p)
    room = batch.ids_BL.shape[1] + max_new_tokens
    held: Cache = DynamicCache(config=model.text.config)
    if cache == "static":
        room = -(-room // CACHE_STEP) * CACHE_STEP
        held = StaticCache(config=model.text.config, max_cache_len=room)
    hidden_BD = loop.prefill(held, room, visual_MD)
    for at in range(max_new_tokens):
        inputs_BD = loop.choose(at, hidden_BD, edit)
        if loop.state.done.all() or at + 1 == max_new_tokens:
            break
        hidden_BD = loop.advance(at, inputs_BD, held, step or model.run)
    return loop.result()


def compiled_step(model: SlvrModel, **options: Any) -> Callable[..., Tensor]:
    """`model.run` compiled for steps of one position with a static cache; keep it for many calls of `decode`."""
    return cast(Callable[..., Tensor], torch.compile(model.run, fullgraph=True, **options))


@memory("scoring", "the rows of a batch, or the size of pictures")
def score(
    model: SlvrModel, batch: Batch, decoded: Decoded, *, feed: Feed = "given", visual_MD: Tensor | None = None
) -> Tensor:
    """Log-probabilities [B, T] of the sampled tokens of finished replies, in one forward (0 elsewhere).

    With feed "given" the stored latents are used: equal to `decoded.logprobs_BT` while the weights are the same. With
    "own" the latents are computed again, with gradient. Temperature and rules are those of decoding.
    """
    whole = extended(batch, decoded)
    length = batch.ids_BL.shape[1]
    at_BL = torch.zeros_like(whole.kept_BL)
    at_BL[:, length - 1 : -1] = decoded.sampled_BT
    out = model.latent_forward(whole, feed, given=decoded.latents, visual_MD=visual_MD)
    row, place = decoded.sampled_BT.nonzero(as_tuple=True)
    distribution = Distribution(model, decoded.rules, at_BL.device)
    parts = []
    pieces = (torch.split(whole_R, 512) for whole_R in (out.hidden_BLD[at_BL], row, place))
    for states_RD, rows_R, at_R in zip(*pieces, strict=True):
        logp_RV = distribution.log_probabilities(model.lm_head(states_RD), rows_R)
        parts.append(logp_RV.gather(1, decoded.ids_BT[rows_R, at_R][:, None])[:, 0])
    logprobs_BT = torch.zeros_like(decoded.logprobs_BT)
    return logprobs_BT.index_put((row, place), torch.cat(parts)) if parts else logprobs_BT


def extended(batch: Batch, decoded: Decoded) -> Batch:
    """The prompts with their replies, as one batch of [B, L + T]."""
    ids_BT, kept_BT = decoded.ids_BT, decoded.kept_BT
    new_BT = batch.next_position()[:, None] + torch.arange(ids_BT.shape[1], device=ids_BT.device)
    return replace(
        batch,
        ids_BL=torch.cat([batch.ids_BL, ids_BT], 1),
        kept_BL=torch.cat([batch.kept_BL, kept_BT], 1),
        positions_3BL=torch.cat([batch.positions_3BL, (new_BT * kept_BT).expand(3, -1, -1)], 2),
        blocks_BL=torch.cat([batch.blocks_BL, torch.where(kept_BT, batch.blocks_BL[:, -1:], -1)], 1),
        labels_BL=torch.cat([batch.labels_BL, torch.where(decoded.sampled_BT, ids_BT, IGNORED)], 1),
    )


class _Loop:
    """One call of `decode`."""

    def __init__(
        self, model: SlvrModel, batch: Batch, rules: Rules, most: int, draws_BT: npt.NDArray[np.float64], top_p: float
    ) -> None:
        self.model, self.batch, self.rules, self.top_p = model, batch, rules, top_p
        device = self.device = batch.ids_BL.device
        rows = len(batch.ids_BL)
        self.state = RowStates(model.latent_config, rules, batch.ids_BL[:, -1].cpu().numpy().copy())
        text: Any = model.config.get_text_config(decoder=True)
        self.ends = np.atleast_1d(np.array(model.generation_config.eos_token_id or text.eos_token_id or [], np.int64))
        self.pad = model.layout.pad_token
        self.ids = np.full((rows, most), self.pad, np.int64)
        self.kinds = np.zeros((rows, most), np.int8)
        """0 padding, 1 sampled, 2 forced, 3 latent."""
        self.logprobs: list[tuple[int, Tensor, Tensor]] = []
        self.latents: dict[str, list[tuple[int, npt.NDArray[np.int64], Tensor]]] = {"visual": [], "semantic": []}
        self.draws_BT = torch.from_numpy(draws_BT).to(device)
        self.distribution = Distribution(model, rules, device)
        self.greedy = bool((rules.temperature_B == 0).all())
        self.start_B1 = batch.next_position()[:, None]
        self.every_B = torch.arange(rows, device=device)
        self.used = 0

    def prefill(self, cache: Cache, room: int, visual_MD: Tensor | None) -> Tensor:
        """Run the prompts; their last states [B, D]. The cache will hold `room` positions."""
        model, batch = self.model, self.batch
        inputs_BLD = model.embed(batch, model.encode(batch) if visual_MD is None else visual_MD)
        hidden_BLD = model.run(inputs_BLD, batch.positions_3BL, batch.kept_BL.long(), cache)
        length = batch.ids_BL.shape[1]
        self.seen_BC = torch.zeros(len(batch.ids_BL), room, dtype=torch.bool, device=self.device)
        self.seen_BC[:, :length] = batch.kept_BL
        self.static, self.plain = isinstance(cache, StaticCache), bool(batch.kept_BL.all())
        return hidden_BLD[:, -1]

    def choose(self, at: int, hidden_BD: Tensor, edit: Edit | None) -> Tensor:
        """Write position `at` of every row and return what to feed for it [B, D]."""
        state, tokens = self.state, self.state.tokens
        if state.free():
            ids_B = self._sample(at, hidden_BD, None)
            self._write(at, ids_B.cpu().numpy(), 1)
            state.done |= self._ended(state.last)
            return cast(Tensor, self.model.text.embed_tokens(ids_B))
        ids = state.forced(lambda rows: self._over(rows, hidden_BD))
        visual, semantic = ids == tokens.vis_slot, (ids == tokens.sem_slot) & (ids >= 0)
        sampled = (ids < 0) & ~state.done
        kinds = np.full(len(ids), 2, np.int8)
        kinds[visual | semantic], kinds[sampled], kinds[state.done] = 3, 1, 0
        ids[state.done] = self.pad
        if sampled.any():
            ids[sampled] = self._sample(at, hidden_BD, None if sampled.all() else sampled).cpu().numpy()
        self._write(at, ids, kinds)
        state.done |= sampled & self._ended(ids)
        inputs_BD: Tensor = self.model.text.embed_tokens(torch.from_numpy(ids).to(self.device))
        heads = self.model.latents
        if visual.any():
            inputs_BD = self._feed(at, "visual", visual, hidden_BD, inputs_BD, heads.visual, heads.visual_input, edit)
        if semantic.any():
            maps = heads.semantic, heads.semantic_input
            inputs_BD = self._feed(at, "semantic", semantic, hidden_BD, inputs_BD, *maps, edit)
        return inputs_BD

    def _write(self, at: int, ids: npt.NDArray[np.int64], kinds: npt.NDArray[np.int8] | int) -> None:
        self.used, self.state.last = at + 1, ids
        self.ids[:, at], self.kinds[:, at] = ids, kinds

    def _ended(self, ids: npt.NDArray[np.int64]) -> Flags:
        return cast("Flags", (ids[:, None] == self.ends).any(1))

    def advance(self, at: int, inputs_BD: Tensor, cache: Cache, step: Callable[..., Tensor]) -> Tensor:
        """Run what was written at `at`; its states [B, D]."""
        place = self.batch.ids_BL.shape[1] + at
        self.seen_BC[:, place] = True
        mask = None
        if self.static or not self.plain:
            seen_BC = self.seen_BC if self.static else self.seen_BC[:, : place + 1]
            mask = self.model.mask_of(seen_BC[:, None])
        positions_3B1 = (self.start_B1 + at).expand(3, -1, -1)
        return step(inputs_BD[:, None], positions_3B1, mask or {"full_attention": None}, cache)[:, 0]

    def _feed(
        self,
        at: int,
        kind: Literal["visual", "semantic"],
        where: Flags,
        hidden_BD: Tensor,
        inputs_BD: Tensor,
        predict: Callable[[Tensor], Tensor],
        to_input: Callable[[Tensor], Tensor],
        edit: Edit | None,
    ) -> Tensor:
        """The inputs with those of some rows replaced by what their last states predict."""
        rows = where.nonzero()[0]
        whole = len(rows) == len(where)
        rows_R = self.every_B if whole else torch.from_numpy(rows).to(self.device)
        latents_RX = predict(hidden_BD if whole else hidden_BD[rows_R])
        if edit is not None:
            latents_RX = edit(kind, rows_R, latents_RX)
        self.latents[kind].append((at, rows, latents_RX))
        fed_RD = to_input(latents_RX).to(inputs_BD.dtype)
        return fed_RD if whole else inputs_BD.index_copy(0, rows_R, fed_RD)

    def _sample(self, at: int, hidden_BD: Tensor, where: Flags | None) -> Tensor:
        """Next tokens [R] of some rows (None: of all), with the vocabulary projection of those rows alone."""
        rows_R = self.every_B if where is None else torch.from_numpy(where.nonzero()[0]).to(self.device)
        logits_RV = self.model.lm_head(hidden_BD if where is None else hidden_BD[rows_R])
        logp_RV = self.distribution.log_probabilities(logits_RV, None if where is None else rows_R)
        ids_R = logp_RV.argmax(-1)
        if not self.greedy:
            drawn_R = drawn(logp_RV, self.draws_BT[rows_R, at], self.top_p)
            cold_R = torch.from_numpy(self.rules.temperature_B == 0).to(self.device)[rows_R]
            ids_R = torch.where(cold_R, ids_R, drawn_R)
        self.logprobs.append((at, rows_R, logp_RV.gather(1, ids_R[:, None])[:, 0]))
        return ids_R

    def _over(self, where: Flags, hidden_BD: Tensor) -> Flags:
        """Learned end: is `vis_end` at least as likely as one more slot? Two rows of the projection are enough."""
        tokens, head = self.state.tokens, self.model.lm_head
        pair_2D = head.weight[[tokens.vis_slot, tokens.vis_end]]
        logits_B2 = torch.nn.functional.linear(hidden_BD, pair_2D)
        over: Flags = (logits_B2[:, 1] >= logits_B2[:, 0]).cpu().numpy()
        return where & over

    def result(self) -> Decoded:
        """Everything that was written."""
        kinds = torch.from_numpy(self.kinds[:, : self.used]).to(self.device)
        logprobs_BT = torch.zeros(kinds.shape, device=self.device)
        for at, rows_R, values_R in self.logprobs:
            logprobs_BT[rows_R, at] = values_R.float()
        return Decoded(
            torch.from_numpy(self.ids[:, : self.used]).to(self.device),
            kinds == 1,
            kinds == 2,
            kinds == 3,
            logprobs_BT,
            Latents(self._stored("visual"), self._stored("semantic")),
            torch.from_numpy(self.state.done).to(self.device),
            self.rules,
        )

    def _stored(self, kind: str) -> Tensor | None:
        """Latents of one kind in reading order."""
        parts = self.latents[kind]
        if not parts:
            return None
        row = np.concatenate([rows for _, rows, _ in parts])
        at = np.concatenate([np.full(len(rows), place) for place, rows, _ in parts])
        order = torch.from_numpy(np.lexsort((at, row))).to(self.device)
        return torch.cat([latents for _, _, latents in parts])[order]


def _check(model: SlvrModel, batch: Batch, most: int, top_p: float) -> None:
    if most < 1 or not 0 < top_p <= 1:
        raise UsageError(f"max_new_tokens {most} must be at least 1, top_p {top_p} above 0 and at most 1")
    if not bool(batch.kept_BL[:, -1].all()) or batch.mask_BLL is not None:
        raise UsageError('prompts to decode are padded on the left, one question a row: collate(rows, layout, "left")')
    room, length = model.layout.limit, int(batch.kept_BL.sum(1).max())
    if length + most > room:
        raise UsageError(f"a prompt of {length} positions and {most} new ones exceed the limit of {room}: ask for less")
