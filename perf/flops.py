"""What a training step has to compute at the least, in floating-point operations: the numerator of MFU.

Model FLOPs in the sense of Chowdhery et al., "PaLM" (2022), appendix B, counted of a shape's own matrices and of what
positions really see; what checkpointing computes again, padding, and the half of attention that is masked do not
count. A multiplication with its addition is two. With T positions, W weights of the text layers' matrices, n layers, D
width, P pairs of a position and one that it sees, V D weights of the projection, N labels, A weights of adapters:

                 forward       backward, trained     behind adapters
    matrices     2 W T         4 W T                 2 W T, and 6 A T for the adapters in both directions
    attention    4 n D P       8 n D P               8 n D P
    projection   2 V D N       4 V D N               2 V D N where the vocabulary stands still

So it is 6 W T + 12 n D P + 6 V D N where the language model is trained. The picture encoder stands still, as in the
recipes, and is counted forward alone: its matrices per patch, those of the merger per visual token, attention within
windows or pictures. Left out: norms, embeddings, rotations, the latents' maps (four small ones at a few slots a row).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn
from transformers import Qwen2_5_VLConfig

from slvr_model.batches import Batch
from slvr_model.efficiency.estimate import parameters_of
from slvr_model.efficiency.shapes import without_weights


@dataclass(frozen=True)
class Work:
    """What a step is given."""

    positions: int
    """Of the language model, padding apart."""
    pairs: int
    """Of a position and one that it sees, itself included."""
    labels: int
    """Positions whose next token is supervised."""
    grids: tuple[tuple[int, int], ...]
    """Rows and columns of patches of each picture that is encoded."""

    @classmethod
    def of(cls, batch: Batch) -> Work:
        """The work of one batch."""
        seen = batch.seen() & batch.kept_BL[:, :, None] & batch.kept_BL[:, None, :]
        grids = [] if batch.grids_N3 is None else batch.grids_N3.tolist()
        supervised = int((batch.labels_BL[:, 1:] >= 0).sum())
        return cls(int(batch.kept_BL.sum()), int(seen.sum()), supervised, tuple((h, w) for _, h, w in grids))

    def plus(self, other: Work) -> Work:
        """Both."""
        return Work(
            self.positions + other.positions,
            self.pairs + other.pairs,
            self.labels + other.labels,
            self.grids + other.grids,
        )


def model_flops(config: Qwen2_5_VLConfig, work: Work, rank: int = 0, vocabulary: bool = True) -> float:
    """Of one step on this work, forward and backward.

    Args:
        config: of the shape, with latents.
        work: of all batches of the step.
        rank: of adapters on the language model's matrices, which then stand still; 0: they are trained.
        vocabulary: with adapters: whether embeddings and projection are trained.
    """
    text: Any = config.get_text_config(decoder=True)
    model = without_weights(config)
    held = parameters_of(model, rank)
    projection = text.vocab_size * text.hidden_size
    layers = 2 * (held.matrices - projection) * work.positions * (2 if rank else 3)
    adapters = 6 * held.adapters * work.positions
    attention = 12 * text.num_hidden_layers * text.hidden_size * work.pairs
    words = 2 * projection * work.labels * (3 if vocabulary or not rank else 2)
    return float(layers + adapters + attention + words + _pictures(config.vision_config, model, work))


def _pictures(vision: Any, model: Any, work: Work) -> int:
    """The encoder, forward."""
    patches, merged, cells = 0, 0, vision.spatial_merge_size**2
    for name, part in model.model.visual.named_modules():
        if isinstance(part, nn.Linear | nn.Conv3d):
            merged += part.weight.numel() * name.startswith("merger.")
            patches += part.weight.numel() * (not name.startswith("merger."))
    pairs = 0
    for rows, columns in work.grids:
        whole = len(vision.fullatt_block_indexes)
        pairs += whole * (rows * columns) ** 2 + (vision.depth - whole) * _windowed(rows, columns, vision)
    number = sum(rows * columns for rows, columns in work.grids)
    return int(2 * patches * number + 2 * merged * (number // cells) + 4 * vision.hidden_size * pairs)


def _windowed(rows: int, columns: int, vision: Any) -> int:
    """Pairs of patches of one picture that share a window; those at the edges are cut off."""
    side: int = vision.window_size // vision.patch_size
    high, wide = ([min(side, size - at) for at in range(0, size, side)] for size in (rows, columns))
    return sum(h * h for h in high) * sum(w * w for w in wide)
