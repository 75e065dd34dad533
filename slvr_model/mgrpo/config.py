"""The configuration of `slvr-train mgrpo`: one typed object, from a YAML file and `--set a.b=c`. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from slvr_model.mgrpo.settings.advantages import AdvantageConfig
from slvr_model.mgrpo.settings.judge import JudgeConfig
from slvr_model.mgrpo.settings.latents import LatentLossConfig
from slvr_model.mgrpo.settings.losses import LossConfig
from slvr_model.mgrpo.settings.presets import PRESETS, Preset, with_preset
from slvr_model.mgrpo.settings.rewards import RewardConfig
from slvr_model.mgrpo.settings.sampling import GateConfig, SamplingConfig
from slvr_model.objectives.config import KINDS, LATENT, ObjectiveConfig
from slvr_model.section import Section
from slvr_model.sft.config import LoggingConfig, LoraConfig, ModelConfig, SavingConfig, check_dtype

_PULLS = ("together", "apart", "stability")
"""Losses on latents, in the part `latents`."""


class PolicyConfig(Section):
    """What is trained, and what it is held against. The vision tower and its merger stand still."""

    init: str | None = None
    """The stage-1 checkpoint to start from; --init names it as well."""
    reference: str | None = None
    """A frozen checkpoint of the same size for the KL and for stability; unless told, the start as it was."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """In which weights are held that stand still; what is trained, and latents, are float32 (`training.bf16` computes
    in bfloat16 from them)."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Which attention of the library runs."""
    min_pixels: int | None = Field(None, ge=1)
    """A smaller picture is scaled up to this area; unless told, the processor's."""
    max_pixels: int | None = Field(None, ge=1)
    """A larger picture is scaled down to this area: what decides length and memory."""

    def opened(self, checkpoint: str) -> ModelConfig:
        """How `sft.start.open_start` opens one of the two checkpoints."""
        told = self.model_dump(include={"dtype", "attention", "min_pixels", "max_pixels"})
        return ModelConfig(start=checkpoint, **told)


class GroupsConfig(Section):
    """Which regions, and which questions about them, are learnt."""

    set: Path | None = None
    """A published SLV-Set with questions; or a file of pairs in the form of the released second stage."""
    pictures: Path | None = None
    """For a file of pairs: the folder below which its pictures lie; unless told, the file's own."""
    boxless: Literal["refuse", "whole"] = "refuse"
    """For a file of pairs, questions without a box: unusable; or the whole picture is the region."""
    split: Literal["train", "validation", "test"] = "train"
    """What is learnt."""
    held_out: Literal["train", "validation", "test"] = "validation"
    """What is evaluated on; "train": pictures of the split, chosen by hash, which are then not learnt."""
    cache: Path | None = None
    """Where the copy for random access is kept; unless told, in the run's folder."""
    limit: int | None = Field(None, ge=1)
    """Learn the first so many regions only."""
    fewest: int = Field(2, ge=1)
    """Questions that a region must have; 1: a single one does too, without anything to agree with."""
    most: int | None = Field(None, ge=1)
    """Questions that are drawn of a region that has more; unless told, all."""
    paraphrases: bool = True
    """Draw one of a question's wordings each time, not always the first."""
    lettered: float = Field(0.5, ge=0, le=1)
    """Share of times that a question with choices shows them and is answered by a letter."""
    positions: int | None = Field(None, ge=16)
    """A question that is longer with its reply is unusable; unless told, the model's limit."""
    error_budget: float = Field(0.01, ge=0, le=1)
    """Largest share of regions and questions that may be unusable."""

    @model_validator(mode="after")
    def _fits(self) -> GroupsConfig:
        if self.most is not None and self.most < self.fewest:
            raise ValueError(f"most {self.most} below fewest {self.fewest}: no region could be shown")
        return self


class LearningConfig(Section):
    """How long, in which steps, at which rates."""

    steps: int = Field(200, ge=1)
    """Of the optimiser, `iterations` for each lot of rollouts; rollouts are drawn steps / iterations times."""
    regions: int = Field(8, ge=1)
    """Groups per step, over all processes."""
    iterations: int = Field(1, ge=1)
    """Steps on the same rollouts; above 1 their ratio to the policy that drew them is clipped."""
    micro_rows: int = Field(16, ge=1)
    """Rows that are scored at once: bounds memory and changes no number but by rounding (and the mean `bnpo`)."""
    learning_rate: float = Field(1e-6, gt=0)
    """The largest, after the warm-up."""
    latent_rate: float | None = Field(None, gt=0)
    """Of the latents' maps; unless told, as everything."""
    warmup: float = Field(0.03, ge=0, lt=1)
    """Share of the steps in which the rate rises."""
    schedule: Literal["cosine", "linear", "constant"] = "constant"
    """How the rate falls."""
    weight_decay: float = Field(0.0, ge=0)
    """Of AdamW, on matrices."""
    clip: float = Field(1.0, ge=0)
    """Largest norm of a gradient; 0: none."""
    feed: Literal["own", "given"] = "own"
    """Latents while scoring for the policy: "own" are computed again with gradient, so that an answer's reward reaches
    them; "given" are those of the rollout, without, as always where noise is drawn."""
    bf16: bool = False
    """Compute in bfloat16."""
    checkpointing: bool = False
    """Keep only the inputs of layers and compute the rest again: less memory, a third more time; goes with "given"."""
    lora: LoraConfig | None = None
    """Adapters in place of training the language model in full; the reference is then the same model without them."""
    seed: int = Field(0, ge=0)
    """Of the order, wordings, rollouts and everything else that is drawn."""
    device: Literal["auto", "cpu"] = "auto"
    """Unless told, a GPU where there is one."""


class CheckingConfig(Section):
    """What is seen to before the first step."""

    regions: int = Field(4, ge=0)
    """Groups that are rolled out and looked at; 0: none, and it is the first lot that has to pass the gate."""
    formed: float = Field(0.5, ge=0, le=1)
    """Least share of their replies that must be whole, with an answer that can be cut out."""


class HeldOutConfig(Section):
    """Evaluation on held-out regions: the built-in share of those whose questions are all answered, or your own."""

    every: int | None = Field(None, ge=1)
    """Steps between evaluations; unless told, only at the end."""
    regions: int = Field(64, ge=0)
    """Held-out regions, answered greedily; 0: none."""
    rows: int = Field(16, ge=1)
    """Questions that are decoded at once."""
    evaluator: str | None = None
    """Besides: "package.module:function", called with a checkpoint's folder and the step; or commands with
    {checkpoint}, {step} and {out}, joined by &&, that leave scores as JSON in {out}/scores.json or print them last."""


class CasesConfig(Section):
    """Rollouts that are kept to be looked at (`slvr-train cases RUN`)."""

    every: int = Field(1, ge=0)
    """Keep the rollouts of each so-many-th lot (of `training.iterations` steps); 0: none."""
    steps: int = Field(20, ge=1)
    """Steps per file."""


class ProcessesConfig(Section):
    """How several processes share the model. Start them with torchrun or accelerate launch."""

    kind: Literal["none", "fsdp2"] = "none"
    """None: each process holds all of it (DDP). Fsdp2: each has its part of what is trained, gathered as a whole for as
    long as it is used, so that it is the optimiser that takes less."""
    offload: bool = False
    """With fsdp2: keep what is not in use in the host's memory."""

    @model_validator(mode="after")
    def _shares(self) -> ProcessesConfig:
        if self.offload and self.kind != "fsdp2":
            raise ValueError(f'offload with kind "{self.kind}", of which every process holds all: take kind fsdp2')
        return self


class MgrpoConfig(Section):
    """Everything that a run is told."""

    preset: Preset = "ours"
    """What fills rewards, advantages, loss and latents where they are not told: ours, the paper's or the released
    code's form, which has `training.feed` "given" as well."""
    out: Path | None = None
    """Folder of the run."""
    model: PolicyConfig = Field(default_factory=PolicyConfig)
    """What is trained."""
    data: GroupsConfig = Field(default_factory=GroupsConfig)
    """What is asked."""
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    """How a reply is laid out: as it was taught in stage 1. Its losses play no part here."""
    sampling: SamplingConfig = Field(default_factory=SamplingConfig)
    """How rollouts are drawn."""
    gate: GateConfig = Field(default_factory=GateConfig)
    """How closely scoring must repeat them."""
    rewards: RewardConfig = Field(default_factory=RewardConfig)
    """What a rollout earns."""
    advantages: AdvantageConfig = Field(default_factory=AdvantageConfig)
    """What it is compared with."""
    loss: LossConfig = Field(default_factory=LossConfig)
    """How that changes the policy."""
    latents: LatentLossConfig = Field(default_factory=LatentLossConfig)
    """What acts on latents directly; nothing, unless told, where the objective has none."""
    judge: JudgeConfig = Field(default_factory=JudgeConfig)
    """Who judges open answers."""
    training: LearningConfig = Field(default_factory=LearningConfig)
    """How it is trained."""
    preflight: CheckingConfig = Field(default_factory=CheckingConfig)
    """What is seen to first."""
    evaluation: HeldOutConfig = Field(default_factory=HeldOutConfig)
    """What is measured on held-out regions."""
    cases: CasesConfig = Field(default_factory=CasesConfig)
    """Which rollouts are kept."""
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    """What is said."""
    saving: SavingConfig = Field(default_factory=SavingConfig)
    """What is kept."""
    sharding: ProcessesConfig = Field(default_factory=ProcessesConfig)
    """How processes share it."""

    @property
    def needs_reference(self) -> bool:
        """Whether anything asks the reference."""
        return bool(self.loss.beta or self.latents.needs_reference or "stability" in self.rewards.needed())

    @model_validator(mode="before")
    @classmethod
    def _with_preset(cls, tree: Any) -> Any:
        if not isinstance(tree, Mapping) or tree.get("preset", "ours") not in (*PRESETS,):
            return tree
        filled = with_preset(tree)
        objective = filled.get("objective")
        kind = objective.get("kind") if isinstance(objective, Mapping) else getattr(objective, "kind", None)
        if kind in KINDS and kind not in LATENT and not tree.get("latents"):
            filled["latents"] = dict.fromkeys(_PULLS, 0.0)
        training = filled.get("training", {})
        if tree.get("preset") == "released" and isinstance(training, Mapping):
            filled["training"] = {"feed": "given"} | dict(training)
        return filled

    @model_validator(mode="after")
    def _trains(self) -> MgrpoConfig:
        training, kind = self.training, self.objective.kind
        if training.steps % training.iterations:
            raise ValueError(
                f"training.steps {training.steps} is no multiple of training.iterations {training.iterations}: the "
                "last rollouts would be used less than the others"
            )
        if training.checkpointing and training.feed == "own" and not self.sampling.latent_noise and kind in LATENT:
            raise ValueError(
                'training.feed "own" needs a cache, which training.checkpointing forbids: take feed "given", or '
                "checkpointing false with fewer training.micro_rows"
            )
        if training.checkpointing and self.latents.active:
            raise ValueError(
                "latents.together, apart and stability compute latents anew, for which training.checkpointing leaves "
                "no cache: set all three to 0, or checkpointing to false with fewer training.micro_rows"
            )
        if self.model.reference and training.lora:
            raise ValueError("model.reference with training.lora, whose reference is the start without adapters")
        check_dtype(self.model.dtype, training.lora, training.bf16)
        return self

    @model_validator(mode="after")
    def _compares(self) -> MgrpoConfig:
        fewest, most, rewards = self.data.fewest, self.data.most, self.rewards
        for name in ("all_right", "consistency"):
            if fewest < 2 and getattr(rewards, name).weight:
                raise ValueError(
                    f"data.fewest {fewest}: a single question has no others to compare with: set "
                    f"rewards.{name}.weight to 0, or data.fewest to 2"
                )
        weights = rewards.answer.query_weights
        if weights is not None and (fewest, most) != (len(weights), len(weights)):
            raise ValueError(
                f"rewards.answer.query_weights weighs {len(weights)} questions, a region has {fewest} to "
                f"{most or 'any number'}: set data.fewest and data.most to {len(weights)}"
            )
        return self

    @model_validator(mode="after")
    def _judges(self) -> MgrpoConfig:
        if self.rewards.asks_judge and not (self.judge.base_urls and self.judge.model):
            raise ValueError(
                f'rewards.answer.kind "judge" (preset "{self.preset}") has nobody to ask: set judge.base_urls and '
                "judge.model, or rewards.answer.kind to exact, graded or contained"
            )
        return self

    @model_validator(mode="after")
    def _has_latents(self) -> MgrpoConfig:
        kind, noise = self.objective.kind, self.sampling.latent_noise
        wanted = {"sampling.latent_noise": noise}
        wanted |= {
            f"rewards.{name}.weight": getattr(self.rewards, name).weight for name in ("consistency", "stability")
        }
        pulls = {f"latents.{name}": getattr(self.latents, name) for name in _PULLS if self.latents.active}
        for name, value in (wanted | pulls).items():
            if value and kind not in LATENT:
                raise ValueError(f"{name} {value:g} with objective.kind {kind!r}, which has no latents: set it to 0")
        if self.loss.latent_density != "off" and not noise:
            raise ValueError(
                f'loss.latent_density "{self.loss.latent_density}" needs latents that are drawn: set '
                "sampling.latent_noise above 0"
            )
        return self
