"""Qwen2.5-VL with latent slots: a subclass that leaves the public class as it is and adds `latent_forward`.

B rows, L positions, D width, M visual tokens of the batch's pictures, T visual slots, S semantic slots,
E dimension of the semantic vector, N positions whose logits are asked for, V vocabulary, Q queries and K keys of a call
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Self, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.cache_utils import Cache

from slvr_data.errors import UsageError
from slvr_model import loading
from slvr_model.batches import Batch
from slvr_model.latents import LatentConfig, LatentHeads, Latents
from slvr_model.memory import memory
from slvr_model.own_feed import Mixture, Slots, own_states
from slvr_model.rows import Layout

Feed = Literal["teacher", "own", "detached", "given", "pause"]
"""What fills a slot: its target; the model's own prediction, with or without gradient through it; latents that are
given; nothing but the embedding of the slot's token."""


@dataclass
class LatentOutput:
    """What a forward pass returns."""

    hidden_BLD: Tensor
    """Last states, after the final norm."""
    logits_NV: Tensor | None
    visual_TD: Tensor
    """Predicted visual latents in reading order: where all spans are whole, `view(-1, K, D)` has a row per region."""
    semantic_SE: Tensor | None
    """Predicted semantic latents; None where the model has no semantic slot."""
    target: Latents
    """What they should be, without gradient: pooled, standardised visual tokens, and attribute embeddings."""


class SlvrModel(Qwen2_5_VLForConditionalGeneration):  # type: ignore[no-untyped-call]
    """Qwen2.5-VL that can write latents. `forward` is the public one; `latent_forward` fills slots."""

    def __init__(self, config: Qwen2_5_VLConfig) -> None:
        super().__init__(config)
        self.latent_config = LatentConfig.of(config)
        text: Any = config.get_text_config(decoder=True)
        if "sliding_attention" in text.layer_types:
            raise UsageError("sliding windows are not supported: set use_sliding_window to false in config.json")
        self.latents = LatentHeads(text.hidden_size, self.latent_config, text.initializer_range)
        if size := self.latent_config.target_dim:  # named as in the released code's checkpoints
            self.text_embedding_projector = nn.Linear(size, self.latent_config.semantic_dim, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)  # type: ignore[no-untyped-call]
        if isinstance(module, LatentHeads):
            module.init_weights()

    @property
    def text(self) -> Any:
        """The language model, without its vocabulary projection."""
        return self.model.language_model

    @property
    def layout(self) -> Layout:
        """What collation has to know."""
        return Layout.of(self.config)

    def encode(self, batch: Batch) -> Tensor | None:
        """Visual tokens [M, D] of the batch's distinct pictures, each encoded once; None without pictures."""
        if batch.pixels_PX is None or batch.grids_N3 is None:
            return None
        visual: Any = self.model.visual
        return cast(Tensor, visual(batch.pixels_PX.to(visual.dtype), grid_thw=batch.grids_N3).pooler_output)

    def embed(self, batch: Batch, visual_MD: Tensor | None) -> Tensor:
        """Inputs [B, L, D]: token embeddings, with visual tokens at their places."""
        inputs_BLD: Tensor = self.text.embed_tokens(batch.ids_BL)
        if visual_MD is None or batch.image_G is None:
            return inputs_BLD
        places_BL1 = (batch.ids_BL == batch.image_id)[..., None]
        return inputs_BLD.masked_scatter(places_BL1, visual_MD.to(inputs_BLD.dtype)[batch.image_G])

    @memory("running a batch", "its rows, the questions packed into a row, or the size of pictures")
    def latent_forward(
        self,
        batch: Batch,
        feed: Feed = "teacher",
        *,
        given: Latents | None = None,
        visual_MD: Tensor | None = None,
        logits_at: Tensor | None = None,
        share: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> LatentOutput:
        """One pass over a batch with its slots filled.

        "teacher", "given" and "pause" are one call of the language model. "own" and "detached" are 1 + n calls with a
        cache, n being the most slots in any block: the input of a slot needs the state before it.

        Args:
            batch: from `collate`.
            feed: what fills the slots.
            given: latents for feed "given", one for each slot in reading order.
            visual_MD: what `encode` returned for this batch, to spare encoding again.
            logits_at: [B, L], True where logits are wanted; the vocabulary projection runs there only.
            share: with feed "own" or "detached": probability that a slot takes its target all the same.
            generator: of that choice (on the CPU).

        Raises:
            UsageError: targets or latents that `feed` needs are missing or of the wrong shape.
        """
        visual_MD = self.encode(batch) if visual_MD is None else visual_MD
        inputs_BLD, target, slots = self.embed(batch, visual_MD), self._targets(batch, visual_MD), self.slots(batch)
        if feed in ("own", "detached"):
            mixture = Mixture(feed == "detached", share, target, generator)
            hidden_BLD = own_states(self, batch, inputs_BLD, slots, mixture)
        else:
            if feed != "pause":
                fill = target if feed == "teacher" else given or Latents(None, None)
                inputs_BLD = self._filled(inputs_BLD, slots, fill, feed)
            hidden_BLD = self.run(inputs_BLD, batch.positions_3BL, self._mask(batch))
        logits_NV = None if logits_at is None else self.lm_head(hidden_BLD[logits_at])
        predicted = [one.predict(hidden_BLD[one.row, one.at - 1]) for one in slots]
        return LatentOutput(hidden_BLD, logits_NV, predicted[0], predicted[1] if len(slots) > 1 else None, target)

    def run(self, inputs_BQD: Tensor, positions_3BQ: Tensor, mask: Any, cache: Cache | None = None) -> Tensor:
        """Last states [B, Q, D] of one call of the language model.

        Positions are always given, so the public class's stored `rope_deltas` of some earlier batch play no part.
        """
        out = self.text(
            inputs_embeds=inputs_BQD,
            position_ids=positions_3BQ,
            attention_mask=mask,
            past_key_values=cache,
            use_cache=cache is not None,
        )
        return cast(Tensor, out.last_hidden_state)

    def mask_of(self, seen_BQK: Tensor) -> dict[str, Tensor]:
        """What a query sees of the keys (True: sees), in the form of the attention in use."""
        kind = self.text.config._attn_implementation
        if kind == "sdpa":
            return {"full_attention": seen_BQK[:, None]}
        if kind == "eager":
            dtype = self.text.embed_tokens.weight.dtype
            bias_BQK = torch.zeros_like(seen_BQK, dtype=dtype).masked_fill_(~seen_BQK, torch.finfo(dtype).min)
            return {"full_attention": bias_BQK[:, None]}
        raise UsageError(f'attention "{kind}" cannot take the masks of latents: load with attn_implementation="sdpa"')

    def slots(self, batch: Batch) -> list[Slots]:
        """Where the visual and, if the model has any, the semantic slots of a batch stand, and their maps."""
        heads, tokens, width = self.latents, self.latent_config.tokens, self.text.config.hidden_size
        found = [Slots.find(batch, "visual", tokens.vis_slot, width, heads.visual, heads.visual_input)]
        if size := self.latent_config.semantic_dim:
            found.append(Slots.find(batch, "semantic", tokens.sem_slot, size, heads.semantic, heads.semantic_input))
        return found

    def _mask(self, batch: Batch) -> Any:
        """A full mask for packed rows; else the padding alone, so that the library may choose its fastest kernel."""
        return batch.kept_BL.long() if batch.mask_BLL is None else self.mask_of(batch.mask_BLL)

    @torch.no_grad()
    def _targets(self, batch: Batch, visual_MD: Tensor | None) -> Latents:
        visual_TD = semantic_SE = None
        if batch.regions is not None and visual_MD is not None:
            visual_TD = self.latents.standardised(batch.regions.pool(visual_MD))
        if batch.semantics_SE is not None:
            semantic_SE = batch.semantics_SE.to(self.latents.visual_out.weight.dtype)
            if self.latent_config.target_dim:
                semantic_SE = self.text_embedding_projector(semantic_SE)
            semantic_SE = self.latents.unit(semantic_SE)
        return Latents(visual_TD, semantic_SE)

    def _filled(self, inputs_BLD: Tensor, slots: list[Slots], fill: Latents, feed: Feed) -> Tensor:
        """The inputs with every slot filled."""
        for one, latents in zip(slots, (fill.visual_TD, fill.semantic_SE), strict=False):
            if len(one.row) == 0:
                continue
            if latents is None or latents.shape != (len(one.row), one.size):
                shape = "no" if latents is None else tuple(latents.shape)
                needed = (len(one.row), one.size)
                raise UsageError(f'feed "{feed}" was given {shape} {one.name} latents where {needed} are needed')
            inputs_SD = one.to_input(latents.to(inputs_BLD.dtype)).to(inputs_BLD.dtype)
            inputs_BLD = inputs_BLD.index_put((one.row, one.at), inputs_SD)
        return inputs_BLD

    @classmethod
    def from_pretrained(cls, name: Any, *args: Any, **kwargs: Any) -> Self:  # type: ignore[override]
        """Read an SLVR checkpoint (a folder or a hub name), with nothing missing and nothing to spare.

        Raises:
            UsageError: it is another architecture, or has no latents, or an option is unknown.
            RunError: a tensor is missing, extra or of another shape (named).
        """
        config = kwargs.pop("config", None) or loading.checked_config(name)
        LatentConfig.of(config).check_ids(config)
        load = super().from_pretrained
        return cast(Self, loading.load(load, name, *args, config=config, **kwargs))

    @classmethod
    def from_public(cls, name: Any, tokenizer: PreTrainedTokenizerBase, **options: Any) -> Self:
        """A model with fresh latents from a public Qwen2.5-VL; see `loading.from_public`."""
        load = super().from_pretrained
        return cast(Self, loading.from_public(load, name, tokenizer, **options))

    @classmethod
    def from_released(cls, name: Any, **options: Any) -> Self:
        """A model from a checkpoint in the layout of the released LVR or SLVR code; see `loading.from_released`."""
        load = super().from_pretrained
        return cast(Self, loading.from_released(load, name, **options))


loading.share_names("SlvrModel", "Qwen2_5_VLForConditionalGeneration")
