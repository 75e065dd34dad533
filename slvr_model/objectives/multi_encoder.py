"""`multi_encoder`: slots whose states are aligned with several frozen encoders, and kept apart from each other.

    loss = answer + weight * mean over encoders m of align_m + triplet_weight * triplet

    align_m  mean over samples of [ mean over the region's visual tokens n of  - cos(psi_m(f_n), phi_m(picture)_n) ]
             for the targets of `labels` and `interpreter`, which are no vectors, the losses of `align.py`
    f        states of the region's K slots after layer `layer`, brought to its N tokens (`align.py`)
    psi_m    Linear(D, D), SiLU, Linear(D, F_m): trained with the model and dropped afterwards
    phi_m    features of encoder m at visual token n, without gradient (`targets/`)

After VaLR (arXiv 2602.04476): there the slots stand before every step of a written chain and see the whole picture's
features; here they stand before the answer and see those of its region. Slots are fed the model's own predictions, as
in its decoding. The triplet loss is `triplet.py`.

G regions, K slots, D width, F size of a feature
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from slvr_data.errors import UsageError
from slvr_model.batches import Batch
from slvr_model.latents import Latents
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.align import alignment
from slvr_model.objectives.answers import answer_loss, read
from slvr_model.objectives.averages import Averages
from slvr_model.objectives.base import Asked, Terms
from slvr_model.objectives.config import AlignmentConfig, ObjectiveConfig, nearest
from slvr_model.objectives.feeding import Feeding
from slvr_model.objectives.replies import Replies
from slvr_model.objectives.targets.base import TargetProvider
from slvr_model.objectives.targets.filters import FilterBank
from slvr_model.objectives.targets.interpreter import Interpreter, ToldBlock, told_batch
from slvr_model.objectives.targets.pooled import PooledTokens
from slvr_model.objectives.targets.scene_labels import SceneLabels
from slvr_model.objectives.targets.scenes import SceneFeatures
from slvr_model.objectives.triplet import slot_triplet
from slvr_model.rows import Block, Row


@dataclass(frozen=True)
class Made:
    """What providers are made of."""

    config: AlignmentConfig
    width: int
    """D of the model."""
    tokenizer: PreTrainedTokenizerBase


ENCODERS: Mapping[str, Callable[[Made], tuple[TargetProvider, int]]] = {
    "filters": lambda made: (FilterBank(), FilterBank.size),
    "scenes": lambda made: (SceneFeatures.of(made.config), made.config.width),
    "tokens": lambda made: (PooledTokens(), made.width),
    "labels": lambda made: (SceneLabels.of(made.config, made.tokenizer), 0),
    "interpreter": lambda made: (Interpreter(), 0),
}
"""Name -> the provider and the size of its values; 0: they are read by the vocabulary projection, without a head."""


class MultiEncoder(Replies):
    """See the module."""

    visual: ClassVar[bool] = True

    def __init__(self, config: ObjectiveConfig, model: SlvrModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(config, model, tokenizer)
        self.settings, width = config.alignment, model.text.config.hidden_size
        layers = len(model.text.layers)
        if self.settings.layer is not None and self.settings.layer >= layers:
            raise UsageError(f"alignment.layer {self.settings.layer}: the model's layers are 0 to {layers - 1}")
        if self.settings.triplet_weight and self.latents.visual_slots < 2:
            raise UsageError("alignment.triplet_weight keeps slots apart, but the model has K = 1: set it to 0")
        if len(set(self.settings.encoders)) < len(self.settings.encoders):
            raise UsageError(f"alignment.encoders {list(self.settings.encoders)}: each may be named once")
        self.providers: list[TargetProvider] = []
        heads, made = nn.ModuleDict(), Made(self.settings, width, tokenizer)
        for number, name in enumerate(self.settings.encoders):
            if name not in ENCODERS:
                raise UsageError(f"encoder {name!r}: {', '.join(ENCODERS)} are known{nearest(name, list(ENCODERS))}")
            provider, size = ENCODERS[name](made)
            self.providers.append(provider)
            heads[name] = _head(width, size, self.settings.seed * 1009 + number) if size else nn.Identity()
        self.heads: nn.Module = heads.to(model.device)
        self.told = "interpreter" in self.settings.encoders

    def block(
        self, sample: Asked, answer_ids: Sequence[int], *, prompt: Sequence[int] = (), lettered: bool = False, **at: Any
    ) -> Block:
        """A question with its reply, and the profile where slots are to tell it; see `Objective.block`."""
        block = super().block(sample, answer_ids, prompt=prompt, lettered=lettered, **at)
        if not self.told:
            return block
        return ToldBlock(**vars(block), told=self._ids(self._checked(sample.profile_text)))

    def collate(self, rows: Sequence[Row], side: Literal["left", "right"] = "right") -> Batch:
        """A batch of rows of this objective; as `batches.collate`."""
        batch = super().collate(rows, side)
        return told_batch(batch, rows) if self.told else batch

    def losses(
        self, model: SlvrModel, batch: Batch, *, step_share: float, seed: int = 0, samples: float | None = None
    ) -> Terms:
        """The losses of a batch; see the module and `Objective.losses`."""
        now = Feeding.at(self.config, step_share)
        averages = Averages.of(batch, self.config.normalisation, samples)
        visual_MD = model.encode(batch)
        out = now.run(model, batch, visual_MD, 2 * seed)
        fed = now.fed(model, batch, out, 2 * seed)
        reading = read(model, batch, out.hidden_BLD, fed, mark=self.mark, probability=now.bottleneck, seed=seed)
        named = {"answer": answer_loss(model, reading.labelled, averages)}
        states_BLD, slots = self._states(model, batch, out.hidden_BLD, fed, visual_MD), model.slots(batch)[0]
        per_region = self.latents.visual_slots
        states_GKD = states_BLD[slots.row, slots.at].view(-1, per_region, states_BLD.shape[-1])
        row_G, at_G = slots.row[::per_region], slots.at[::per_region]
        parts = list[Tensor]()
        heads: Any = self.heads
        for provider in self.providers:
            target = provider.targets(model, batch, visual_MD)
            losses_N, group_N = alignment(states_GKD, target, heads[provider.name], model.lm_head.weight)
            parts.append(averages.mean(losses_N, row_G[group_N], at_G[group_N]))
        named["align"] = torch.stack(parts).mean()
        logged = {f"align_{one.name}": part.detach() for one, part in zip(self.providers, parts, strict=True)}
        if self.settings.triplet_weight:
            named["triplet"] = averages.scaled(slot_triplet(states_GKD, self.settings.margin))
        if self.config.bottleneck:
            logged["hidden"] = states_GKD.new_tensor(reading.hidden / averages.taught)
        return Terms(named, {"align": self.settings.weight, "triplet": self.settings.triplet_weight}, logged)

    def _states(
        self, model: SlvrModel, batch: Batch, hidden_BLD: Tensor, fed: Latents, visual_MD: Tensor | None
    ) -> Tensor:
        """States [B, L, D] after the aligned layer.

        For an inner one the batch is run again, in one call with the same latents: the states of several calls with a
        cache lie in another order.
        """
        if self.settings.layer is None:
            return hidden_BLD
        held = list[Tensor]()

        def keep(_: nn.Module, __: Any, states: Tensor) -> None:
            held.append(states)

        handle = model.text.layers[self.settings.layer].register_forward_hook(keep)
        try:
            model.latent_forward(batch, "given", given=fed, visual_MD=visual_MD)
        finally:
            handle.remove()
        if hidden_BLD.requires_grad and not held[0].requires_grad:
            raise UsageError("alignment.layer: reentrant activation checkpointing hides inner states; switch it off")
        return held[0]


def _head(width: int, size: int, seed: int) -> nn.Sequential:
    """psi: drawn from `seed` alone, N(0, 1 / fan-in), offsets 0."""
    head = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, size))
    dice = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in head.parameters():
            if weights.dim() > 1:
                weights.normal_(0, weights.shape[1] ** -0.5, generator=dice)
            else:
                weights.zero_()
    return head
