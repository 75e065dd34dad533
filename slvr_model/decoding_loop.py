"""The loop of `decoding.py`: what it writes at each position, what it feeds there, and what is left in the end.

B rows, T new positions, L positions of the prompts, C places of the cache, D width, E dimension of the semantic vector,
V vocabulary, R rows whose next token is sampled
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers.cache_utils import Cache, StaticCache

from slvr_model.batches import Batch
from slvr_model.latents import Latents
from slvr_model.logits import logits
from slvr_model.modeling import SlvrModel
from slvr_model.rules import Distribution, Flags, RowStates, Rules, drawn, end_tokens

Edit = Callable[[Literal["visual", "semantic"], Tensor, Tensor], Tensor]
"""(kind, rows [R], latents [R, D or E]) -> the latents to feed instead: for interventions."""


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


class Loop:
    """One call of `decode`.

    Rows may be repeated once, before any of them samples (`run`): `draws_BT` is then for the rows they become.
    """

    def __init__(
        self, model: SlvrModel, batch: Batch, rules: Rules, most: int, draws_BT: npt.NDArray[np.float64], top_p: float
    ) -> None:
        self.model, self.batch, self.rules, self.top_p = model, batch, rules, top_p
        device = self.device = batch.ids_BL.device
        rows = len(batch.ids_BL)
        self.state = RowStates(model.latent_config, rules, batch.ids_BL[:, -1].cpu().numpy().copy())
        self.ends = np.array(end_tokens(model), np.int64)
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
        self.begin(cache, room)
        return hidden_BLD[:, -1]

    def begin(self, cache: Cache, room: int) -> None:
        """The cache holds the prompts, and will hold `room` positions."""
        batch = self.batch
        self.seen_BC = torch.zeros(len(batch.ids_BL), room, dtype=torch.bool, device=self.device)
        self.seen_BC[:, : batch.ids_BL.shape[1]] = batch.kept_BL
        self.static, self.plain = isinstance(cache, StaticCache), bool(batch.kept_BL.all())

    def run(
        self,
        cache: Cache,
        hidden_BD: Tensor,
        edit: Edit | None,
        step: Callable[..., Tensor],
        repeat: tuple[int, int] | None = None,
    ) -> Decoded:
        """Write all positions, from the last states of the prompts on.

        Args:
            repeat: (at, number): from position `at` on, every row is `number` rows, next to each other.
        """
        most = self.ids.shape[1]
        for at in range(most):
            if repeat is not None and repeat[0] == at:
                self._repeat(repeat[1])
                cache.batch_repeat_interleave(repeat[1])
                hidden_BD = hidden_BD.repeat_interleave(repeat[1], 0)
            inputs_BD = self.choose(at, hidden_BD, edit)
            if self.state.done.all() or at + 1 == most:
                break
            hidden_BD = self.advance(at, inputs_BD, cache, step)
        return self.result()

    def _repeat(self, number: int) -> None:
        """Every row becomes `number` rows."""
        self.state.repeat(number)
        self.rules = self.state.rules
        self.distribution = Distribution(self.model, self.rules, self.device)
        self.ids, self.kinds = np.repeat(self.ids, number, 0), np.repeat(self.kinds, number, 0)
        self.start_B1 = self.start_B1.repeat_interleave(number, 0)
        self.seen_BC = self.seen_BC.repeat_interleave(number, 0)
        self.every_B = torch.arange(len(self.ids), device=self.device)
        for parts in self.latents.values():
            for place, (at, rows, latents_RX) in enumerate(parts):
                rows_R = (number * rows[:, None] + np.arange(number)).reshape(-1)
                parts[place] = at, rows_R, latents_RX.repeat_interleave(number, 0)

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
        logits_RV = logits(self.model.lm_head, hidden_BD if where is None else hidden_BD[rows_R])
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
