"""Cross-entropy over a large vocabulary where labels are, without ever holding all logits.

The public forward projects every position to the vocabulary: at 152K tokens a row of 4,096 positions has 2.5 GB of
logits in fp32, and as much again for their softmax and its gradient. Here only positions with a label are projected, in
chunks of the vocabulary, and each chunk is computed again in the backward pass:

    forward    logsumexp over chunks, by the running maximum m and sum s:
               m' = max(m, max_c z_c);  s' = s exp(m - m') + sum_c exp(z_c - m');  loss = m + log s - z_label
    backward   d loss / d z_c = g (exp(z_c - logsumexp) - [c = label]);  dh += dz W_chunk;  dW_chunk = dz' h

A row of dW is written once, from all positions: nothing is summed in low precision over chunks. The chunked loss with
its gradient found anew is the idea of Apple's "Cut Your Losses in Large-Vocabulary Language Models" (Wijmans et al.,
2024) and of Liger-Kernel, here in plain PyTorch, for any device.

N positions, D width, V vocabulary, C tokens of a chunk, B rows, L positions of a row
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from slvr_data.errors import UsageError
from slvr_model.rows import IGNORED

CHUNK = 2**23
"""Logits held at a time (32 MiB in fp32, three times that with what is made of them)."""
NARROWEST = 1024
"""Tokens of the narrowest chunk: thinner products leave a device idle."""


@dataclass(frozen=True, eq=False)
class LabelLosses:
    """Losses where labels are, in reading order."""

    loss_N: Tensor
    """- log p(label), in fp32 at least."""
    row_N: Tensor
    at_N: Tensor
    """Position of the label; the state before it was projected."""


def label_losses(hidden_BLD: Tensor, head_VD: Tensor, labels_BL: Tensor, chunk: int = CHUNK) -> LabelLosses:
    """The losses of a batch's labels (not shifted: the state at p - 1 predicts the label at p; -100: none).

    Args:
        hidden_BLD: last states, after the final norm (`LatentOutput.hidden_BLD`).
        head_VD: weight of the vocabulary projection, tied or not; whole, not a shard.
        labels_BL: `Batch.labels_BL`. A label at position 0 has no state before it and is left out.
        chunk: logits held at a time.

    Raises:
        UsageError: a label is not in the vocabulary.
    """
    row_N, before_N = (labels_BL[:, 1:] != IGNORED).nonzero(as_tuple=True)
    at_N = before_N + 1
    return LabelLosses(token_losses(hidden_BLD[row_N, before_N], head_VD, labels_BL[row_N, at_N], chunk), row_N, at_N)


def token_losses(states_ND: Tensor, head_VD: Tensor, ids_N: Tensor, chunk: int = CHUNK) -> Tensor:
    """Losses [N] = logsumexp(states head') - (states head')[id], in fp32 at least.

    Under autocast the products are computed in its type, as those of a linear layer are.

    Raises:
        UsageError: an id is not in the vocabulary.
    """
    size = len(head_VD)
    if len(ids_N) and not 0 <= int(ids_N.min()) <= int(ids_N.max()) < size:
        raise UsageError(f"labels from {int(ids_N.min())} to {int(ids_N.max())}, but the vocabulary has {size} tokens")
    kind = states_ND.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states_ND.dtype
    with torch.autocast(kind, enabled=False):
        return cast(Tensor, _TokenLosses.apply(states_ND, head_VD, ids_N, dtype, chunk))  # type: ignore[no-untyped-call]


class _TokenLosses(torch.autograd.Function):
    """See the module."""

    @staticmethod
    def forward(ctx: Any, states_ND: Tensor, head_VD: Tensor, ids_N: Tensor, dtype: torch.dtype, chunk: int) -> Tensor:
        held_ND, wide = states_ND.to(dtype), torch.promote_types(dtype, torch.float32)
        most_N = torch.full(ids_N.shape, -torch.inf, dtype=wide, device=states_ND.device)
        sum_N, label_N = torch.zeros_like(most_N), torch.zeros_like(most_N)
        for part in _chunks(len(head_VD), len(ids_N), chunk):
            logits_NC = (held_ND @ head_VD[part].to(dtype).T).to(wide)
            inside_N, place_N1 = _inside(ids_N, part)
            label_N = torch.where(inside_N, logits_NC.gather(1, place_N1)[:, 0], label_N)
            larger_N = torch.maximum(most_N, logits_NC.amax(1))
            sum_N = sum_N * (most_N - larger_N).exp() + logits_NC.sub_(larger_N[:, None]).exp_().sum(1)
            most_N = larger_N
        total_N = most_N + sum_N.log()
        ctx.save_for_backward(states_ND, head_VD, ids_N, total_N)
        ctx.dtype, ctx.chunk = dtype, chunk
        return total_N - label_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_N: Tensor) -> tuple[Tensor | None, ...]:
        states_ND, head_VD, ids_N, total_N = ctx.saved_tensors
        dtype, held_ND = ctx.dtype, states_ND.to(ctx.dtype)
        wants_states, wants_head = ctx.needs_input_grad[:2]
        d_states_ND = torch.zeros_like(states_ND, dtype=total_N.dtype) if wants_states else None
        d_head_VD = torch.empty_like(head_VD) if wants_head else None
        for part in _chunks(len(head_VD), len(ids_N), ctx.chunk):
            weight_CD = head_VD[part].to(dtype)
            d_NC = (held_ND @ weight_CD.T).to(total_N.dtype).sub_(total_N[:, None]).exp_()
            inside_N, place_N1 = _inside(ids_N, part)
            d_NC.scatter_add_(1, place_N1, -inside_N[:, None].to(d_NC.dtype))
            d_NC = d_NC.mul_(gradient_N[:, None]).to(dtype)
            if d_states_ND is not None:
                d_states_ND += d_NC @ weight_CD
            if d_head_VD is not None:
                d_head_VD[part] = d_NC.T @ held_ND
        return None if d_states_ND is None else d_states_ND.to(states_ND.dtype), d_head_VD, None, None, None


def _chunks(size: int, rows: int, chunk: int) -> Iterator[slice]:
    step = max(NARROWEST, chunk // max(1, rows))
    return (slice(at, min(at + step, size)) for at in range(0, size, step))


def _inside(ids_N: Tensor, part: slice) -> tuple[Tensor, Tensor]:
    """Which labels lie in a chunk, and where; elsewhere any place of it."""
    place_N = ids_N - part.start
    inside_N = (place_N >= 0) & (ids_N < part.stop)
    return inside_N, torch.where(inside_N, place_N, 0)[:, None]
