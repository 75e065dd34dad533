"""What training a shape takes, before any weight is loaded: parameters, optimiser, activations, tokens per step.

    weights       w (T + Z)            T trained and Z frozen parameters (tied ones once) of w bytes
    gradients     w T
    optimiser     2 w T                Adam's two moments
    copies        2 W                  bf16 copies of the matrices W, where autocast makes them
    activations   pictures, language   `activations.py`
    own feed      2 n b D t c          n layers, t positions, b bytes of a number: keys and values of each of c calls
    vocabulary    12 min(n V, chunk)   n labels: one chunk of logits in fp32 and what is made of it

With w = 4 these are, but for 2 bytes, the 16 bytes per parameter of mixed precision in Rajbhandari et al., "ZeRO"
(2020): gradients are kept in fp32 here. Over n GPUs, DDP keeps all of it on each, and the gradients once more in its
buckets. `fully_shard` keeps 1/n of weights, gradients and optimiser, since each batch's gradients are summed over GPUs
at once (`sft.arguments.sharding`), however many batches a step has. It gathers, in the type of computation, what lies
outside of layers and two layers at a time (one in use, one being fetched). Of what is trained, it holds the gradient of
one layer in that type and, to be summed, in fp32; the gradient of what lies outside of layers until the backward pass
ends, when that is summed in fp32 as well: activations have gone then.

Left out: the CUDA context, fragmentation (together often 1 to 3 GiB), buffers of communication.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from torch import nn
from transformers import Qwen2_5_VLConfig

from slvr_data.errors import UsageError
from slvr_model.efficiency import activations
from slvr_model.efficiency.activations import Step
from slvr_model.efficiency.shapes import shape_config, without_weights
from slvr_model.efficiency.vocabulary_loss import CHUNK, NARROWEST

GIB = 2**30
PARTS = ("encoder", "merger", "layers", "embedding", "projection", "latents")
OUTSIDE = ("merger", "embedding", "projection", "latents")
"""Parts outside of layers."""
FIELDS = ("weights", "gradients", "optimiser", "copies", "pictures", "language", "vocabulary", "total")


@dataclass(frozen=True)
class Setup:
    """How a shape is to be trained. Latents always are."""

    step: Step = field(default_factory=Step)
    visual: int = 512
    """Visual tokens of a row."""
    labels: int = 32
    """Supervised positions of a row."""
    encoder: bool = False
    """Train the picture encoder."""
    merger: bool = False
    """Train what merges its patches to visual tokens."""
    vocabulary: bool = True
    """With adapters: train embedding and projection too."""
    gpus: int = 1
    shard: bool = False
    """Over the GPUs with `fully_shard`; else each has everything (DDP)."""
    accumulation: int = 1
    """Batches per step of the optimiser."""
    calls: int = 0
    """Calls of the language model with a cache and with gradient, which a batch takes whose slots are fed with the
    model's own states; 0: it takes one, without a cache."""

    def __post_init__(self) -> None:
        if min(self.gpus, self.accumulation, self.labels) < 1 or not 0 <= self.visual <= self.step.length:
            raise UsageError(
                f"{self.gpus} GPUs, {self.accumulation} batches, {self.labels} labels, {self.visual} visual tokens in "
                f"rows of {self.step.length}: numbers must be positive, and visual tokens fit into their row"
            )

    def trains(self, part: str) -> bool:
        """Whether a part of the model is trained (adapters apart)."""
        adapted = self.step.rank > 0
        choice = {"encoder": self.encoder, "merger": self.merger, "layers": not adapted, "latents": True}
        return choice.get(part, self.vocabulary or not adapted)


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters, tied ones once."""

    parts: dict[str, int]
    """By part of the model (`PARTS`)."""
    adapters: int
    """What LoRA adds."""
    matrices: int
    """In linear layers of the language model and in the projection, tied or not."""

    @property
    def total(self) -> int:
        """Adapters included."""
        return sum(self.parts.values()) + self.adapters

    def trained(self, setup: Setup) -> int:
        """What has a gradient."""
        return self.adapters + sum(number for part, number in self.parts.items() if setup.trains(part))


@dataclass(frozen=True)
class Estimate:
    """What one GPU holds at the peak, in bytes, and what it does."""

    name: str
    setup: Setup
    parameters: Parameters
    weights: int
    gradients: int
    optimiser: int
    copies: int
    """Weights in another type or gathered from other GPUs, and DDP's buckets."""
    pictures: int
    language: int
    vocabulary: int
    unchunked: int
    """What logits of all positions would take in the place of `vocabulary`."""
    last: int = 0
    """What the end of a backward pass takes, when activations have gone."""

    @property
    def total(self) -> int:
        """All of it."""
        fixed = self.weights + self.gradients + self.optimiser + self.copies
        return fixed + max(self.pictures + self.language + self.vocabulary, self.last)

    @property
    def tokens(self) -> int:
        """Positions per optimiser step and GPU."""
        return self.setup.step.tokens * self.setup.accumulation


def parameters_of(model: nn.Module, rank: int = 0) -> Parameters:
    """Count a model's parameters, and those of adapters of a rank for it; it may be on the meta device."""
    parts = dict.fromkeys(PARTS, 0)
    for name, weight in model.named_parameters():
        parts[_part(name)] += weight.numel()
    adapters = matrices = 0
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and ("language_model.layers" in name or name == "lm_head"):
            matrices += module.weight.numel()
            adapters += 0 if name == "lm_head" else rank * (module.in_features + module.out_features)
    return Parameters(parts, adapters, matrices)


def _part(name: str) -> str:
    for begin, part in (
        ("model.visual.merger.", "merger"),
        ("model.visual.", "encoder"),
        ("model.language_model.embed_tokens.", "embedding"),
        ("model.language_model.", "layers"),
        ("lm_head.", "projection"),
    ):
        if name.startswith(begin):
            return part
    return "latents"


def estimate(config: Qwen2_5_VLConfig, setup: Setup, name: str = "") -> Estimate:
    """The estimate of a model's configuration; no weight is made."""
    return _estimate(config, parameters_of(without_weights(config), setup.step.rank), setup, name)


def _estimate(config: Qwen2_5_VLConfig, held: Parameters, setup: Setup, name: str) -> Estimate:
    step, labels = setup.step, setup.step.rows * setup.labels
    text = config.get_text_config(decoder=True)
    size: int = text.vocab_size
    shown = activations.pictures(config.vision_config, step, setup.visual, encoder=setup.encoder, merger=setup.merger)
    each, moving = setup.gpus if setup.shard else 1, held.trained(setup)
    trained = step.trained * moving
    return Estimate(
        name,
        setup,
        held,
        weights=(step.weight * (held.total - moving) + trained) // each,
        gradients=trained // each,
        optimiser=2 * trained // each,
        copies=_copies(held, setup, config),
        pictures=shown,
        language=activations.language(text, step) + activations.keys(text, step) * setup.calls,
        vocabulary=12 * min(labels * size, max(CHUNK, labels * NARROWEST)),
        unchunked=12 * step.tokens * size,
        last=4 * _outside(held, setup) if each > 1 else 0,
    )


def _outside(held: Parameters, setup: Setup) -> int:
    """Trained parameters that `fully_shard` gathers with the whole model, not with a layer."""
    return sum(held.parts[part] for part in OUTSIDE if setup.trains(part))


def _copies(held: Parameters, setup: Setup, config: Qwen2_5_VLConfig) -> int:
    step = setup.step
    layers: int = config.get_text_config(decoder=True).num_hidden_layers
    layer = held.parts["layers"] // layers
    if setup.shard and setup.gpus > 1:
        gathered = sum(held.parts[part] for part in OUTSIDE) + 2 * layer
        summed = layer if setup.trains("layers") else held.adapters // layers
        return step.computing * (gathered + _outside(held, setup) + summed) + 4 * summed
    buckets = step.trained * held.trained(setup) if setup.gpus > 1 else 0
    projection = held.matrices - held.parts["layers"]
    if not step.casts:
        return buckets + (2 * projection if step.autocast and step.rank and setup.vocabulary else 0)
    kept_by_layers = not (step.rank and step.checkpointing)  # autocast remembers copies of trained weights alone
    return buckets + 2 * (held.matrices if kept_by_layers else projection + 2 * layer)


def most_rows(config: Qwen2_5_VLConfig, setup: Setup, gib: float) -> int:
    """Rows of this length that fit into a GPU of `gib`, by the estimate; 0: not one does."""
    held = parameters_of(without_weights(config), setup.step.rank)

    def fits(rows: int) -> bool:
        step = replace(setup.step, rows=rows)
        return _estimate(config, held, replace(setup, step=step), "").total <= gib * GIB

    low, high = 0, 1
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def dry_run(setup: Setup, shapes: tuple[str, ...] = ("3b", "7b")) -> list[Estimate]:
    """Estimates of public shapes.

    Raises:
        UsageError: a shape is not known.
    """
    return [estimate(shape_config(shape), setup, shape) for shape in shapes]


def table(estimates: list[Estimate]) -> str:
    """The estimates side by side: millions of parameters, GiB at the peak of one GPU, tokens."""
    lines: list[tuple[Any, ...]] = [
        ("", *(one.name for one in estimates)),
        ("parameters, millions", *(f"{one.parameters.total / 1e6:,.0f}" for one in estimates)),
        ("  trained", *(f"{one.parameters.trained(one.setup) / 1e6:,.0f}" for one in estimates)),
    ]
    for part in FIELDS:
        lines.append((f"{part}, GiB", *(f"{getattr(one, part) / GIB:.2f}" for one in estimates)))
    lines += [
        ("(all logits at once)", *(f"{one.unchunked / GIB:.2f}" for one in estimates)),
        ("tokens per step and GPU", *(f"{one.tokens:,}" for one in estimates)),
        ("tokens per step", *(f"{one.tokens * one.setup.gpus:,}" for one in estimates)),
    ]
    return "\n".join(f"{name:26}" + "".join(f"{value:>12}" for value in values) for name, *values in lines)
