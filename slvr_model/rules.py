"""What rows may and must write when they are decoded, and how a token is drawn; nothing here runs the model.

B rows, T new positions, V vocabulary, R rows whose next token is sampled
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from slvr_data.errors import UsageError
from slvr_model.latents import LatentConfig
from slvr_model.modeling import SlvrModel
from slvr_model.tokens import ABSENT

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Rules:
    """What each row of a batch may do; each array has one value per row."""

    steps_B: npt.NDArray[np.int64]
    """Visual slots of a span, or its cap where ends are learned; 0: no visual latents."""
    semantic_B: Flags
    """Semantic latents are allowed."""
    learned_B: Flags
    """The model ends visual spans (no earlier than after one slot, no later than the cap)."""
    opens_B: Flags
    """The reply is made to begin with its latents; else the model decides when, if ever, to write some."""
    temperature_B: npt.NDArray[np.float64]
    """0: greedy."""

    def of(self, rows: npt.NDArray[np.int64]) -> Rules:
        """Those of some rows, each as often as it is named."""
        return Rules(*(values_B[rows] for values_B in vars(self).values()))


class RowStates:
    """What each row does next, from its last token; on the host."""

    def __init__(self, latents: LatentConfig, rules: Rules, last_B: npt.NDArray[np.int64]) -> None:
        self.tokens, self.rules, self.last = latents.tokens, rules, last_B
        self.slots = np.zeros(len(last_B), np.int64)
        """Slots written in the span a row is in."""
        self.opening = rules.opens_B & (last_B != self.tokens.sem_start)
        self.done = np.zeros(len(last_B), bool)
        starts = (self.tokens.vis_start, self.tokens.vis_slot, self.tokens.sem_start, self.tokens.sem_slot)
        self._inside = frozenset(starts) - {ABSENT}
        self._learned, self._semantic = bool(rules.learned_B.any()), bool(rules.semantic_B.any())

    def repeat(self, number: int) -> None:
        """Every row `number` times."""
        self.rules = self.rules.of(np.repeat(np.arange(len(self.last)), number))
        for name in ("last", "slots", "opening", "done"):
            setattr(self, name, np.repeat(getattr(self, name), number))

    def free(self) -> bool:
        """Whether every row samples its next token: `forced` would say so as well, but takes longer."""
        return self._inside.isdisjoint(self.last.tolist()) and not (self.opening.any() or self.done.any())

    def forced(self, ends: Callable[[Flags], Flags]) -> npt.NDArray[np.int64]:
        """The token each row has to write now, or -1; `ends(rows)` asks the model whether spans are over."""
        tokens, last, rules = self.tokens, self.last, self.rules
        out = np.full(len(last), -1, np.int64)
        visual = ~self.done & ((last == tokens.vis_start) | (last == tokens.vis_slot))
        self.slots[last == tokens.vis_start] = 0
        over = visual & (self.slots >= rules.steps_B)
        if self._learned:
            asked = visual & ~over & rules.learned_B & (self.slots > 0)
            over = over | ends(asked) if asked.any() else over
        out[visual] = tokens.vis_slot
        out[over] = tokens.vis_end
        self.slots[visual & ~over] += 1
        if self._semantic:
            out[~self.done & (last == tokens.sem_start)] = tokens.sem_slot
            out[~self.done & (last == tokens.sem_slot)] = tokens.sem_end
        if self.opening.any():
            self._open(out)
        return out

    def _open(self, out: npt.NDArray[np.int64]) -> None:
        """A forced opening: visual span, then semantic span, as far as the row has them."""
        free = self.opening & (out < 0) & ~self.done
        if not free.any():
            return
        behind = self.last == self.tokens.vis_end
        out[free & ~behind & (self.rules.steps_B > 0)] = self.tokens.vis_start
        to_semantic = free & self.rules.semantic_B & (behind | (self.rules.steps_B == 0))
        out[to_semantic] = self.tokens.sem_start
        self.opening &= ~to_semantic & ~(free & (out < 0)) & ~(behind & ~self.rules.semantic_B)


def end_tokens(model: SlvrModel) -> tuple[int, ...]:
    """The ids that end a reply: those of the model's generation settings, else of its text model."""
    text: Any = model.config.get_text_config(decoder=True)
    held: Any = model.generation_config
    return tuple(np.atleast_1d(np.array(held.eos_token_id or text.eos_token_id or [], np.int64)).tolist())


def _per_row(value: Any, rows: int, name: str, dtype: Any) -> Any:
    out = np.array(value, dtype)
    if out.ndim > 1 or (out.ndim == 1 and len(out) != rows):
        raise UsageError(f"{name}: {value} for {rows} rows; give one value, or one per row")
    return np.broadcast_to(out, rows).copy()


def rules_of(
    latents: LatentConfig, rows: int, steps: Any, semantic: Any, learned: Any, opening: Any, temperature: Any
) -> Rules:
    """The rules of a call, checked against the model; see `decode` for the arguments. Raises `UsageError`."""
    rules = Rules(
        _per_row(latents.visual_slots if steps is None else steps, rows, "visual_steps", np.int64),
        _per_row(latents.semantic_dim > 0 if semantic is None else semantic, rows, "semantic", bool),
        _per_row(learned, rows, "learned_end", bool),
        _per_row(opening, rows, "opening", bool),
        _per_row(temperature, rows, "temperature", np.float64),
    )
    if (rules.steps_B < 0).any() or not (rules.temperature_B >= 0).all():
        raise UsageError(f"visual_steps {steps} and temperature {temperature} must not be negative")
    if rules.semantic_B.any() and not latents.semantic_dim:
        raise UsageError("semantic latents are asked for, but the model has none (semantic_dim 0)")
    if rules.learned_B.any() and not latents.learned_end:
        raise UsageError("learned_end is asked for, but the model was not trained to end its spans")
    return rules


def draws(seed: int | Sequence[int], rows: int, most: int) -> npt.NDArray[np.float64]:
    """A uniform number per row and position."""
    keys = [(seed, row) for row in range(rows)] if isinstance(seed, int) else [(one, 0) for one in seed]
    if len(keys) != rows:
        raise UsageError(f"{len(keys)} seeds for {rows} rows; give one, or one per row")
    return np.stack([np.random.default_rng(key).random(most) for key in keys])


class Distribution:
    """Of the next tokens of each row: its temperature (1 where greedy), and the tokens that its rules allow."""

    def __init__(self, model: SlvrModel, rules: Rules, device: torch.device) -> None:
        tokens, ids = model.latent_config.tokens, model.config
        bias_4V = torch.zeros(4, model.lm_head.out_features, device=device)  # of kinds of rows: 2 * visual + semantic
        bias_4V[:, [*tokens.banned(), ids.image_token_id, ids.video_token_id]] = -torch.inf
        bias_4V[:2, tokens.vis_start] = -torch.inf
        if tokens.sem_start != ABSENT:
            bias_4V[0::2, tokens.sem_start] = -torch.inf
        kind_B = 2 * (rules.steps_B > 0).astype(np.int64) + rules.semantic_B
        kinds = kind_B[:1] if (kind_B == kind_B[0]).all() else kind_B
        self.bias = bias_4V[torch.from_numpy(kinds).to(device)]
        """[B, V], or [1, V] where all rows are of one kind: 0 or -inf."""
        scale_B = np.where(rules.temperature_B == 0, 1.0, rules.temperature_B)
        self.scale_B1 = None if (scale_B == 1).all() else torch.from_numpy(scale_B)[:, None].float().to(device)

    def log_probabilities(self, logits_RV: Tensor, rows_R: Tensor | None) -> Tensor:
        """Log-probabilities [R, V] of some rows; None: of all."""
        logits_RV = logits_RV.float()
        if self.scale_B1 is not None:
            logits_RV = logits_RV / (self.scale_B1 if rows_R is None else self.scale_B1[rows_R])
        bias = self.bias if rows_R is None or len(self.bias) == 1 else self.bias[rows_R]
        return torch.log_softmax(logits_RV + bias, dim=-1)


def drawn(logp_RV: Tensor, uniform_R: Tensor, top_p: float) -> Tensor:
    """Tokens [R] by inverse distribution function among the smallest set of probability `top_p`."""
    if top_p >= 1:
        total_RV = logp_RV.exp().double().cumsum(-1)
        place_R = (total_RV <= uniform_R[:, None] * total_RV[:, -1:]).sum(-1)
        return place_R.clamp_max(logp_RV.shape[1] - 1)
    sorted_RV, order_RV = logp_RV.sort(dim=-1, descending=True, stable=True)
    total_RV = sorted_RV.exp().double().cumsum(-1)
    inside_RV = total_RV - sorted_RV.exp() < top_p
    mass_R1 = total_RV.masked_fill(~inside_RV, 0).amax(-1, keepdim=True)
    place_R = (total_RV <= uniform_R[:, None] * mass_R1).sum(-1).clamp_max(inside_RV.sum(-1) - 1)
    return order_RV.gather(1, place_R[:, None])[:, 0]
