"""What latents add to a Qwen2.5-VL: their configuration (in its config.json under "slvr") and four small maps.

D width of the language model, E dimension of the semantic vector, N states, T visual slots, S semantic slots
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig, initialization

from slvr_data.errors import UsageError
from slvr_model.tokens import ABSENT, LatentTokens, check_types

KEY = "slvr"
"""Under which `LatentConfig` stands in config.json; the public class ignores it."""


@dataclass(frozen=True)
class LatentConfig:
    """The shape of the latents, kept in the checkpoint."""

    tokens: LatentTokens
    visual_slots: int = 4
    """K: slots of a region in training."""
    semantic_dim: int = 0
    """E: dimension of the attribute embedding; 0: no semantic slot."""
    unit_semantic: bool = True
    """Semantic vectors have length 1, predictions and targets alike."""
    learned_end: bool = False
    """The end of a visual span is supervised, so that decoding may leave it to the model."""
    target_dim: int = 0
    """Released layout: dimension of the vectors that its projector maps to semantic targets; 0: none."""
    embedding: str = ""
    """Name of the model whose embeddings semantic latents were taught with; empty: it was not noted."""

    def __post_init__(self) -> None:
        check_types(self)
        if self.visual_slots < 1 or self.semantic_dim < 0 or self.target_dim < 0:
            raise UsageError(f"visual_slots {self.visual_slots} must be at least 1, dimensions not negative")
        if self.semantic_dim and self.tokens.sem_slot == ABSENT:
            raise UsageError(f"semantic_dim {self.semantic_dim} needs semantic tokens; this tokenizer has none")

    def to_dict(self) -> dict[str, Any]:
        """As it stands in config.json."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LatentConfig:
        """Read it back.

        Raises:
            UsageError: a key is unknown (the nearest known one is named) or missing, or a value is of another kind.
        """
        tokens = data.get("tokens", {}) if isinstance(data, Mapping) else {}
        for value, key in ((data, KEY), (tokens, f"{KEY}.tokens")):
            if not isinstance(value, Mapping):
                raise UsageError(f'"{key}" in config.json is {value!r}, but names with values are needed')
        fields = {key: value for key, value in data.items() if key != "tokens"}
        for known, given in ((cls, fields), (LatentTokens, tokens)):
            names = [field.name for field in dataclasses.fields(known)]
            for name in given:
                if name not in names:
                    near = difflib.get_close_matches(name, names, 1) or names[:1]
                    raise UsageError(f'unknown key "{name}" under "{KEY}" in config.json; did you mean "{near[0]}"?')
        absent = [field.name for field in dataclasses.fields(LatentTokens) if field.name not in tokens]
        if absent:
            raise UsageError(f'config.json names no {", ".join(absent)} under "{KEY}.tokens"')
        return cls(LatentTokens(**tokens), **fields)

    @classmethod
    def of(cls, config: PreTrainedConfig) -> LatentConfig:
        """The latents of a model's configuration.

        Raises:
            UsageError: it has none.
        """
        data = getattr(config, KEY, None)
        if data is None:
            raise UsageError(
                f'this checkpoint has no "{KEY}" in its config.json: it is no SLVR checkpoint. '
                "SlvrModel.from_public makes one from a Qwen2.5-VL, slvr-train convert-checkpoint (from_released) from "
                "the research code's"
            )
        return cls.from_dict(data)

    def check_ids(self, config: PreTrainedConfig) -> None:
        """Whether the latent tokens are tokens of a model's vocabulary, and none stands for its pictures.

        Raises:
            UsageError: one is not.
        """
        size, ids = config.get_text_config(decoder=True).vocab_size, dataclasses.asdict(self.tokens)
        beyond = [f"{name} {number}" for name, number in ids.items() if number >= size]
        if beyond:
            raise UsageError(f"config.json: {', '.join(beyond)} under {KEY}.tokens; the vocabulary has {size} tokens")
        pictures = [name for name, number in ids.items() if number in (config.image_token_id, config.video_token_id)]
        if pictures:
            raise UsageError(f"config.json: {', '.join(pictures)} under {KEY}.tokens has the id of picture tokens")


def note_embedding(config: PreTrainedConfig, model: str) -> None:
    """Let a model's configuration say whose embeddings its semantic latents are taught with."""
    setattr(config, KEY, getattr(config, KEY) | {"embedding": model})


@dataclass(frozen=True, eq=False)
class Latents:
    """Latents of a batch, in reading order; None: there are none."""

    visual_TD: Tensor | None = None
    semantic_SE: Tensor | None = None


class LatentHeads(nn.Module):
    """Maps between states, latents and slot inputs.

        visual    p = V s + c           predicted latent, in standardised visual-token space
                  v = (merged - m) / d  its target; m, d mean and deviation of visual tokens per channel
                  x = A (p * d + m) + a input of the slot; A starts as the identity: a slot starts as a visual token
        semantic  e = U s + b           predicted attribute embedding, scaled to length 1 where so configured
                  x = P e + q           input of the slot

    s is the last state (after the final norm) of the position before the slot. The paper feeds s itself and pulls
    it towards visual tokens; a map of its own leaves states free to serve the vocabulary too, and standardising
    keeps a few large channels from owning the loss (trial runs: 83 % with raw targets, 90 % so).
    """

    visual_mean_D: Tensor
    visual_std_D: Tensor

    def __init__(self, width: int, config: LatentConfig, spread: float) -> None:
        super().__init__()
        self.config, self.spread = config, spread
        self.visual_out = nn.Linear(width, width)
        self.visual_in = nn.Linear(width, width)
        self.register_buffer("visual_mean_D", torch.zeros(width))
        self.register_buffer("visual_std_D", torch.ones(width))
        if config.semantic_dim:
            self.semantic_out = nn.Linear(width, config.semantic_dim)
            self.semantic_in = nn.Linear(config.semantic_dim, width)

    def init_weights(self) -> None:
        """First values: visual tokens pass unchanged, semantic inputs are as large as token embeddings."""
        initialization.eye_(self.visual_in.weight)
        initialization.zeros_(self.visual_in.bias)
        initialization.zeros_(self.visual_mean_D)
        initialization.ones_(self.visual_std_D)
        if self.config.semantic_dim:
            initialization.normal_(self.semantic_in.weight, std=self.spread)

    @torch.no_grad()
    def set_statistics(self, tokens_ND: Tensor) -> None:
        """Take mean and deviation per channel from a sample of visual tokens [N, D] (best those of regions)."""
        if len(tokens_ND) < 2:
            raise UsageError(f"{len(tokens_ND)} visual tokens are too few to measure their spread")
        self.visual_mean_D.copy_(tokens_ND.float().mean(0))
        self.visual_std_D.copy_(tokens_ND.float().std(0).clamp_min(1e-4))

    def standardised(self, tokens_TD: Tensor) -> Tensor:
        """Visual tokens as latents: v = (token - m) / d."""
        return (tokens_TD - self.visual_mean_D) / self.visual_std_D

    def visual(self, states_ND: Tensor) -> Tensor:
        """Visual latents [N, D] from the states before their slots."""
        latents_ND: Tensor = self.visual_out(states_ND)
        return latents_ND

    def semantic(self, states_ND: Tensor) -> Tensor:
        """Semantic latents [N, E] from the states before their slots."""
        latents_NE: Tensor = self.semantic_out(states_ND)
        return self.unit(latents_NE)

    def visual_input(self, latents_TD: Tensor) -> Tensor:
        """Slot inputs [T, D] from visual latents."""
        inputs_TD: Tensor = self.visual_in(latents_TD * self.visual_std_D + self.visual_mean_D)
        return inputs_TD

    def semantic_input(self, latents_SE: Tensor) -> Tensor:
        """Slot inputs [S, D] from semantic latents."""
        inputs_SD: Tensor = self.semantic_in(latents_SE)
        return inputs_SD

    def unit(self, semantic_SE: Tensor) -> Tensor:
        """Semantic vectors at length 1, where so configured."""
        return functional.normalize(semantic_SE, dim=-1) if self.config.unit_semantic else semantic_SE
