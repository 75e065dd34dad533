"""Bytes that a forward pass keeps for the backward pass, by formula.

Counted from what autograd saves in transformers' Qwen2.5-VL under scaled-dot-product attention, after the way of
Korthikanti et al., "Reducing Activation Recomputation in Large Transformer Models" (2022). Per token and layer, with D
width, F width of the MLP, H heads, L length of the row, w bytes of a weight, b of a number in computation (2 in bf16,
by weights or by autocast; else 4):

    each of two norms     4 D + 4    its input and its scale, in fp32
                        + w D        its normalised input, where its weight is trained
    inputs of linears     c b D      c = 2 (linears behind the same norm share theirs); where autocast casts from fp32,
                                     each linear has its own: 5, and 6 with adapters
    attention             4 b D      q, k, v (repeated to all heads under a mask) and the result
                        + 4 H        log-sum-exp
                        + b L        the mask, in numbers, where there is one
    MLP                   4 b F      gate, silu(gate), up, and their product
    adapters              7 b r      of rank r

With checkpointing a layer keeps its input alone (w D), and one layer at a time is whole. The final norm counts as one
norm. The picture encoder keeps nothing while it is frozen, but its widest layer is there for a moment; trained, its
layers are as above, per patch, without a mask and with one more copy (b D) of what its windows return.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from slvr_data.errors import UsageError

BYTES = {"float32": 4, "bfloat16": 2}
LINEARS = 7
"""Linear layers of a text layer."""


@dataclass(frozen=True)
class Step:
    """What runs on one GPU at a time."""

    rows: int = 8
    length: int = 1024
    """Positions of a row, padding included."""
    weights: Literal["float32", "bfloat16"] = "float32"
    """In which weights are held; with adapters those that stand still, what is trained is float32 then."""
    autocast: bool = True
    """Compute in bf16 whatever weights are."""
    rank: int = 0
    """Of adapters (LoRA) on all linear layers; 0: the language model itself is trained."""
    checkpointing: bool = False
    masked: bool = True
    """Rows are padded or packed, so that attention is given a mask."""

    def __post_init__(self) -> None:
        if self.weights not in BYTES:
            raise UsageError(f'weights "{self.weights}": {", ".join(BYTES)} are known')
        if self.rows < 1 or self.length < 1 or self.rank < 0:
            raise UsageError(
                f"{self.rows} rows of {self.length} positions, rank {self.rank}: give positive numbers (rank 0: none)"
            )

    @property
    def weight(self) -> int:
        """Bytes of a weight."""
        return BYTES[self.weights]

    @property
    def trained(self) -> int:
        """Bytes of a weight that is trained, of its gradient and of each of Adam's moments."""
        return BYTES["float32"] if self.rank else self.weight

    @property
    def computing(self) -> int:
        """Bytes of a number in computation."""
        return 2 if self.autocast else self.weight

    @property
    def casts(self) -> bool:
        """Whether autocast makes bf16 copies of weights and of inputs."""
        return self.autocast and self.weight == 4

    @property
    def tokens(self) -> int:
        """Positions, padding included."""
        return self.rows * self.length


def language(text: Any, step: Step) -> int:
    """Bytes that the language model of a text configuration keeps, at their most."""
    layers: int = text.num_hidden_layers
    width: int = text.hidden_size
    layer = per_layer(text, step)
    last = _norm(width, step.weight, trained=not step.rank)
    if not step.checkpointing:
        return step.tokens * (layers * layer + last)
    return step.tokens * (layers * step.weight * width + layer + last)


def per_layer(text: Any, step: Step) -> int:
    """Bytes that one layer of the language model keeps per token."""
    b = step.computing
    width: int = text.hidden_size
    mlp: int = text.intermediate_size
    heads: int = text.num_attention_heads
    copies = (6 if step.rank else 5) if step.casts else 2
    attention = 4 * b * width + 4 * heads + (b * step.length if step.masked else 0)
    norms = 2 * _norm(width, step.weight, trained=not step.rank)
    return norms + copies * b * width + attention + 4 * b * mlp + LINEARS * b * step.rank


def keys(text: Any, step: Step) -> int:
    """Bytes of the keys and values, of all heads, that one call with a cache keeps for the backward pass."""
    return 2 * int(text.num_hidden_layers * text.hidden_size) * step.computing * step.tokens


def pictures(vision: Any, step: Step, visual: int, *, encoder: bool, merger: bool) -> int:
    """Bytes for the picture encoder, of rows with `visual` visual tokens, where it or its merger is trained or not."""
    b = step.computing
    width: int = vision.hidden_size
    mlp: int = vision.intermediate_size
    depth: int = vision.depth
    heads: int = vision.num_heads
    cells: int = vision.spatial_merge_size**2
    widest = 2 * b * width + max(3 * b * width + 16 * width, 3 * b * mlp)  # the stream; q, k, v turned in fp32, or MLP
    each = widest
    if encoder:
        layer = 2 * _norm(width, b, trained=True) + (3 if step.casts else 2) * b * width + 5 * b * width
        layer += 4 * heads + 4 * b * mlp
        each = depth * b * width + layer if step.checkpointing else depth * layer
    if encoder or merger:
        each += _norm(width, b, trained=True) + 3 * b * width  # input, gate's argument and value; a patch's quarter
    return step.rows * visual * cells * each


def _norm(width: int, stored: int, *, trained: bool) -> int:
    return 4 * width + 4 + (stored * width if trained else 0)
