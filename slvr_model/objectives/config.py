"""What an objective is told: its kind, its weights, what fills its slots. Needs no torch: it is read at once."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

from pydantic import ConfigDict, Field, ValidationError, model_validator

from slvr_data.errors import UsageError
from slvr_model.section import Section

Kind = Literal["direct", "text", "lvr", "semantic", "slvr", "pause", "multi_encoder"]
KINDS: tuple[str, ...] = get_args(Kind)
VISUAL = ("lvr", "slvr")
"""Kinds whose visual slots have targets."""
SEMANTIC = ("semantic", "slvr")
"""Kinds with a semantic slot."""
LATENT = (*VISUAL, "semantic", "multi_encoder")
"""Kinds whose slots are fed with latents."""


class _Config(Section):
    model_config = ConfigDict(frozen=True)


class AlignmentConfig(_Config):
    """Kind `multi_encoder` alone: what the states of its slots are aligned with."""

    encoders: tuple[str, ...] = Field(("filters", "scenes"), min_length=1)
    """Frozen encoders: `filters` (Gabor and colour-opponent filters), `scenes` (a small network), `tokens` (the model's
    own visual tokens); or targets that its vocabulary reads: `labels` (what the taught network says is there: words for
    entity and colour), `interpreter` (the words of the region's profile)."""
    layer: int | None = Field(None, ge=0)
    """Whose states are aligned, counted from 0; None: the last states, after the final norm."""
    weight: float = Field(0.5, ge=0)
    """Of the alignment (VaLR's 0.5)."""
    triplet_weight: float = Field(1.0, ge=0)
    """Of the triplet loss that keeps slots apart (LIMSSR's 1)."""
    margin: float = Field(1.0, gt=0)
    """Of the triplet loss."""
    width: int = Field(64, ge=8)
    """Channels of the `scenes` encoder."""
    scenes_file: str | None = None
    """Weights of the `scenes` encoder (`slvr_model.objectives.targets.scenes`); None: drawn from `seed`, untrained.
    `labels` needs it."""
    seed: int = Field(0, ge=0)
    """Of the alignment heads, and of the `scenes` encoder where it has no file."""


class ObjectiveConfig(_Config):
    """The part `objective` of a training configuration."""

    kind: Kind = "slvr"
    """`direct`: the answer alone; `text`: the profile written out, then the answer; `lvr`: visual latents; `semantic`:
    the semantic latent; `slvr`: both; `pause`: K slots without targets; `multi_encoder`: K slots whose states are
    aligned with frozen encoders."""
    visual_weight: float = Field(0.3, ge=0)
    """Of the visual loss. At 0.3 and 3 latents cost no accuracy, and were read as much as at 1 and 1, where they cost
    some (docs/results.md)."""
    semantic_weight: float = Field(3.0, ge=0)
    """Of the semantic loss."""
    targets: Literal["pooled", "all"] = "pooled"
    """`pooled`: K slots per region; `all`: one slot per visual token of the region, as in the paper."""
    feed: Literal["teacher", "own", "detached", "mix", "schedule"] = "schedule"
    """What fills a slot: its target; the model's prediction, with or without gradient through it; either, by chance
    (`mix`: own, but the target with probability `mix_share`); `schedule`: `teacher`, and from `teacher_share` of the
    training on `then`."""
    mix_share: float = Field(0.5, ge=0, le=1)
    """Feed `mix`: probability that a slot takes its target."""
    teacher_share: float = Field(0.9, ge=0, le=1)
    """Feed `schedule`: share of the training with targets fed. With 0.9 latents were read twice as much as with 0.7, at
    the same accuracy (docs/results.md)."""
    then: Literal["own", "detached", "mix"] = "own"
    """Feed `schedule`: what follows."""
    bottleneck: float = Field(0.0, ge=0, le=1)
    """Probability that a reply's part behind the latents sees neither picture nor question."""
    bottleneck_from: float | None = Field(None, ge=0, le=1)
    """Share of the training from which the bottleneck is used; None: with `schedule` when targets are no longer fed,
    else from the beginning."""
    echo: bool = False
    """Behind the latents, the reply says what is asked (the facet) before the answer."""
    mark: str = Field("\nAnswer: ", min_length=1)
    """What stands between echo or profile and the answer."""
    legacy_moving_target: bool = False
    """The semantic loss of the released code: a projection of the embedding that is trained with it."""
    normalisation: Literal["sample", "token"] = "sample"
    """`sample`: means within a sample, then over samples; `token`: over all positions of a batch (released code)."""
    alignment: AlignmentConfig = AlignmentConfig()
    """What kind `multi_encoder` aligns its slots with, and how."""

    @property
    def has_latents(self) -> bool:
        """Whether slots are fed with latents, so that `feed` means something."""
        return self.kind in LATENT

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.bottleneck and self.kind not in LATENT:
            raise ValueError(
                f"bottleneck {self.bottleneck} with kind {self.kind!r}, which has no latents to see instead: set it to "
                f"0, or take one of {', '.join(LATENT)}"
            )
        if self.bottleneck and not self.echo:
            raise ValueError(
                f"bottleneck {self.bottleneck} without echo: what is hidden says what is asked, so an answer could "
                "only be guessed; set echo to true"
            )
        if self.bottleneck_from is not None and not self.bottleneck:
            raise ValueError(f"bottleneck_from {self.bottleneck_from} without a bottleneck: set bottleneck above 0")
        if self.legacy_moving_target and self.kind not in SEMANTIC:
            raise ValueError(f"legacy_moving_target with kind {self.kind!r}, which has no semantic slot")
        if self.legacy_moving_target and self.feed != "teacher":
            raise ValueError(f'legacy_moving_target with feed {self.feed!r}: the released form has "teacher" alone')
        if self.targets == "all" and self.kind not in VISUAL:
            raise ValueError(f"targets 'all' with kind {self.kind!r}, which has no visual targets")
        if self.kind == "multi_encoder" and self.feed not in ("own", "detached"):
            raise ValueError(f'kind "multi_encoder" with feed {self.feed!r}: its slots have no target; own or detached')
        return self


def checked_objective(data: Mapping[str, Any]) -> ObjectiveConfig:
    """A configuration from names and values.

    Raises:
        UsageError: a name or a value is not one of those known (the nearest is named), or settings contradict.
    """
    try:
        return ObjectiveConfig.model_validate(dict(data))
    except ValidationError as error:
        raise UsageError("; ".join(_told(fault) for fault in error.errors())) from None


def _told(fault: Any) -> str:
    where, given = ".".join(map(str, ("objective", *fault["loc"]))), str(fault["loc"][-1]) if fault["loc"] else ""
    if fault["type"] == "extra_forbidden":
        names = [*ObjectiveConfig.model_fields, *AlignmentConfig.model_fields]
        return f"{where}: no such setting{nearest(given, names)}"
    if fault["type"] == "literal_error":
        known = fault["ctx"]["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"{where}: {fault['input']!r} is none of {', '.join(known)}{nearest(str(fault['input']), known)}"
    return f"{where}: {fault['msg'].removeprefix('Value error, ')}"


def nearest(given: str, known: list[str]) -> str:
    """A question for the nearest known name, to end a message with; or nothing."""
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.5)
    return f'; did you mean "{close[0]}"?' if close else ""
