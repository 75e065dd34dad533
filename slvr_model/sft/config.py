"""The configuration of `slvr-train sft`: one typed object, from a YAML file and `--set a.b=c`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from slvr_model.objectives.config import LATENT, ObjectiveConfig
from slvr_model.section import Section


class ModelConfig(Section):
    """What is trained, and from where it starts."""

    start: str = "slvr:tiny"
    """An SLVR checkpoint or a public Qwen2.5-VL (folder or hub name); new:tiny, new:public are small and untrained."""
    visual_slots: int = Field(4, ge=1, le=64)
    """K, for a public start: an SLVR checkpoint has its own."""
    semantic_dim: int | None = Field(None, ge=0)
    """Dimension of the semantic latent, for a public start; unless told, that of the set's embeddings."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """In which weights are held that stand still; what is trained, and latents, are float32 (`training.bf16` computes
    in bfloat16 from them)."""
    attention: Literal["sdpa", "eager"] = "sdpa"
    """Which attention of the library runs."""
    min_pixels: int | None = Field(None, ge=1)
    """A smaller picture is scaled up to this area; unless told, the processor's."""
    max_pixels: int | None = Field(None, ge=1)
    """A larger picture is scaled down to this area: what decides length and memory."""
    train_vision: bool = False
    """Train the vision tower too."""
    train_merger: bool = False
    """Train the merger, from which visual targets come, too."""
    statistics: int = Field(2048, ge=2)
    """Regions from which a start without latents measures mean and deviation of visual tokens: of as many pictures as
    possible, chosen by hash; how many they were stands in sft.json."""


class DataConfig(Section):
    """Which questions are learnt."""

    set: Path | None = None
    """Folder of a published SLV-Set with questions and, where the model has a semantic latent, embeddings."""
    split: Literal["train", "validation", "test"] = "train"
    """What is learnt."""
    held_out: Literal["train", "validation", "test"] = "validation"
    """What is evaluated on; "train": pictures of the split, chosen by hash, which are then not learnt."""
    access: Literal["mapped", "streamed"] = "mapped"
    """Mapped: a copy laid out for random access, made once. Streamed: the set in its order through a buffer."""
    cache: Path | None = None
    """Where mapped copies are kept; unless told, in the run's folder."""
    buffer: int = Field(1024, ge=1)
    """Samples among which a stream is shuffled."""
    limit: int | None = Field(None, ge=1)
    """Learn the first so many samples only."""
    queries: int | None = Field(None, ge=1)
    """Learn so many questions of each region only, chosen by hash: 1 is what data with one query a region has."""
    paraphrases: bool = True
    """Draw one of a question's wordings each time, not always the first."""
    lettered: float = Field(0.5, ge=0, le=1)
    """Share of times that a question with choices shows them and is answered by a letter."""
    error_budget: float = Field(0.01, ge=0, le=1)
    """Largest share of samples that may be unusable."""
    positions: int | None = Field(None, ge=16)
    """A longer sample is unusable; unless told, the model's limit."""
    workers: int = Field(0, ge=0)
    """Processes that prepare batches, for each that trains."""
    record: bool = False
    """Keep which questions each step showed, in the run's folder `samples`, a file for each process."""


class LoraConfig(Section):
    """Low-rank adapters on the language model (peft); latents are always trained in full."""

    rank: int = Field(16, ge=1)
    """Of an adapter."""
    alpha: int = Field(32, ge=1)
    """Adapters are scaled by alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Before an adapter."""
    targets: list[str] = Field(["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"])
    """Names of the layers that get one."""
    vocabulary: bool = True
    """Train the embeddings as well: the latent tokens' own rows are new to a public start."""
    vocabulary_rate: float | None = Field(None, gt=0)
    """Of the embeddings and the projection, where they are trained; unless told, that of adapters, which is usually ten
    times that of whole weights."""


class TrainingConfig(Section):
    """How long, in which batches, at which rates."""

    steps: int | None = Field(None, ge=1)
    """Optimizer steps; or give epochs."""
    epochs: float | None = Field(None, gt=0)
    """Passes over the samples."""
    rows: int = Field(8, ge=1)
    """Samples per batch and process; with packed lengths, on average."""
    accumulate: int = Field(1, ge=1)
    """Batches per step and process."""
    lengths: Literal["random", "grouped", "packed", "shared"] = "grouped"
    """Batches of random lengths, of similar lengths, of rows filled with several samples, or of rows with several
    questions behind one picture."""
    questions: int | None = Field(None, ge=1)
    """With shared lengths: the most questions of a row; unless told, 4, and never more than `rows`."""
    packed_positions: int | None = Field(None, ge=16)
    """Length up to which a row is filled; unless told, that of as many samples of mean length as `rows` says."""
    learning_rate: float = Field(1e-5, gt=0)
    """The largest, after the warm-up."""
    latent_rate: float | None = Field(None, gt=0)
    """Of the latents' maps, which are new to a public start; unless told, as everything."""
    warmup: float = Field(0.03, ge=0, lt=1)
    """Share of the steps in which the rate rises."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate falls."""
    weight_decay: float = Field(0.0, ge=0)
    """Of AdamW, on matrices."""
    clip: float = Field(1.0, ge=0)
    """Largest norm of a gradient; 0: none."""
    bf16: bool = False
    """Compute in bfloat16."""
    checkpointing: bool = False
    """Keep only the inputs of layers and compute the rest again: less memory, a third more time."""
    lora: LoraConfig | None = None
    """Adapters in place of training the language model in full."""
    seed: int = Field(0, ge=0)
    """Of order, wordings, new weights and everything else that is drawn."""
    device: Literal["auto", "cpu"] = "auto"
    """Unless told, a GPU where there is one."""

    @model_validator(mode="after")
    def _one_length(self) -> TrainingConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError(f"steps {self.steps}, epochs {self.epochs}: give one of them")
        return self


class LoggingConfig(Section):
    """What is said and kept of the run's course."""

    every: int = Field(10, ge=1)
    """Steps between lines."""
    report: list[Literal["tensorboard", "trackio"]] = Field([])
    """Where numbers go besides log.jsonl."""
    project: str = "slvr"
    """Of trackio."""
    name: str | None = None
    """Of the run, for reports; unless told, its folder's."""


class EvaluationConfig(Section):
    """Accuracy on held-out samples: with latents that the model writes, and with their targets in place of them."""

    every: int | None = Field(None, ge=1)
    """Steps between evaluations; unless told, only at the end."""
    samples: int = Field(128, ge=0)
    """Held-out samples, of as many pictures as possible, chosen by hash; 0: none."""
    rows: int = Field(16, ge=1)
    """Per batch."""
    new_tokens: int | None = Field(None, ge=2)
    """Positions of a reply besides its latents; unless told, 64, or where right replies are longer, half more than the
    longest of all that are held out."""


class SavingConfig(Section):
    """When the run can be gone on with."""

    every: int = Field(500, ge=1)
    """Steps between checkpoints."""
    keep: int = Field(2, ge=1)
    """Checkpoints that are kept."""


class ShardingConfig(Section):
    """How several processes share the model. Start them with torchrun or accelerate launch."""

    kind: Literal["none", "fsdp2", "deepspeed"] = "none"
    """None: each process holds all of it (DDP)."""
    stage: Literal[2, 3] = 3
    """Of DeepSpeed's ZeRO: shard optimiser and gradients, or weights too."""
    offload: bool = False
    """Keep what is not in use in the host's memory."""


class SftConfig(Section):
    """Everything that a run is told."""

    out: Path | None = None
    """Folder of the run."""
    model: ModelConfig = Field(default_factory=ModelConfig)
    """What is trained."""
    data: DataConfig = Field(default_factory=DataConfig)
    """What is learnt."""
    objective: ObjectiveConfig = Field(default_factory=ObjectiveConfig)
    """How a reply is laid out, and its losses."""
    training: TrainingConfig = Field(default_factory=lambda: TrainingConfig(epochs=1))
    """How it is trained."""
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig)
    """Accuracy on held-out samples."""
    logging: LoggingConfig = Field(default_factory=LoggingConfig)
    """What is said."""
    saving: SavingConfig = Field(default_factory=SavingConfig)
    """What is kept."""
    sharding: ShardingConfig = Field(default_factory=ShardingConfig)
    """How processes share it."""

    @model_validator(mode="after")
    def _fits(self) -> SftConfig:
        training, objective = self.training, self.objective
        if training.checkpointing and objective.feed != "teacher" and objective.kind in LATENT:
            raise ValueError(
                f'objective.feed "{objective.feed}" needs a cache, which training.checkpointing forbids: '
                'take feed "teacher", or checkpointing false with fewer training.rows'
            )
        if training.lengths in ("packed", "shared") and objective.targets == "all":
            raise ValueError("objective.targets all has spans of unequal length, which cannot be packed: take grouped")
        if training.questions is not None and training.lengths != "shared":
            raise ValueError(f'training.questions is of lengths "shared", these are "{training.lengths}": leave it out')
        if self.data.access == "streamed" and training.lengths != "random":
            raise ValueError(f'lengths "{training.lengths}" needs all lengths beforehand: streamed data is "random"')
        if self.data.access == "streamed" and training.steps is None:
            raise ValueError("a stream has no known number of samples: give training.steps in place of epochs")
        if self.data.access == "streamed" and self.data.held_out == self.data.split:
            raise ValueError(f'held_out "{self.data.held_out}" is what is learnt: streamed data needs another split')
        if self.data.access == "streamed" and self.data.queries is not None:
            raise ValueError("data.queries chooses among all questions of a region: take data.access mapped")
        if self.data.access == "streamed" and self.data.workers > 1:
            raise ValueError(f"data.workers {self.data.workers}: a stream is read by one process at most")
        if training.lora and self.sharding.kind == "deepspeed" and self.sharding.stage == 3:
            raise ValueError("LoRA's weights cannot be merged under stage 3: take sharding.stage 2, or fsdp2")
        parted = self.sharding.kind == "fsdp2" or (self.sharding.kind == "deepspeed" and self.sharding.stage == 3)
        if parted and objective.targets == "all" and objective.feed != "teacher":
            raise ValueError(
                f'objective.targets all with feed "{objective.feed}" under sharding.kind {self.sharding.kind}: regions '
                "differ in slots, so processes would run layers that they share unequally often; take feed "
                '"teacher", targets "pooled", or sharding.kind none'
            )
        if self.sharding.kind == "deepspeed" and self.model.dtype == "bfloat16":
            raise ValueError(
                "model.dtype bfloat16 with sharding.kind deepspeed, which wants all weights in one type: take "
                "float32, from which training.bf16 computes in bfloat16, or sharding.kind fsdp2"
            )
        check_dtype(self.model.dtype, training.lora, training.bf16)
        return self


def check_dtype(dtype: str, lora: LoraConfig | None, bf16: bool) -> None:
    """Raises ValueError for weights in bfloat16 that would be trained as such, or computed with in float32."""
    if dtype == "bfloat16" and lora is None:
        raise ValueError(
            "model.dtype bfloat16 without training.lora: steps as small as these are lost in the rounding of weights; "
            "take float32, from which training.bf16 computes in bfloat16, or training.lora"
        )
    if dtype == "bfloat16" and not bf16:
        raise ValueError("model.dtype bfloat16 without training.bf16: what is trained is float32; set training.bf16")
