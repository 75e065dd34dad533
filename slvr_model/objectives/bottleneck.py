"""The bottleneck: a reply's part behind its latents is taught as if there were neither picture nor question.

Hiding the picture's columns from the answer's rows is not enough, twice over. The question's positions have seen the
picture, so they are hidden too, and the reply says again what is asked (the echo). And the positions of the slots have
seen both: their keys and values of every layer carry more than the latent that was put in. So the answer is read in a
second pass, in which the slots are given the latents of the first and see nothing but each other:

    tail of a sample  = its positions from its first latent token on
    first pass        everything, with the usual mask: latents, their losses, and the answers of samples that see all
    second pass       the tails of hidden samples alone, slots fed with the first pass's latents (with gradient)

`hidden_view` is the same as a mask over the whole batch: a position of a hidden tail sees its tail up to itself. A test
holds both equal. Where a reply has no echo (lettered answers: their choices stand in the question) nothing is hidden.

B rows, L positions, S samples, H hidden samples, T longest tail, K visual slots
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

import torch
from torch import Tensor

from slvr_model.batches import Batch
from slvr_model.chance import HIDDEN, of_samples
from slvr_model.latents import Latents
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.averages import sample_numbers
from slvr_model.rows import IGNORED
from slvr_model.tokens import LatentTokens


@dataclass(frozen=True, eq=False)
class Tails:
    """Where the latents of samples begin and end."""

    number_BL: Tensor
    """The sample of a position, -1: none."""
    tail_BL: Tensor
    """From a sample's first latent token on."""
    behind_BL: Tensor
    """Behind its last latent token."""

    @classmethod
    def of(cls, batch: Batch, tokens: LatentTokens) -> Tails:
        """Of the samples of a batch; those without latents have none."""
        number_BL, ids_BL = sample_numbers(batch), batch.ids_BL
        at_BL = torch.arange(ids_BL.shape[1], device=ids_BL.device).expand_as(ids_BL)
        latent_BL = torch.isin(ids_BL, torch.tensor(astuple(tokens), device=ids_BL.device)) & (number_BL >= 0)
        mine_N, at_N, size = number_BL[latent_BL], at_BL[latent_BL], int(number_BL.max()) + 1
        first_S = at_N.new_full((size + 1,), ids_BL.shape[1]).scatter_reduce(0, mine_N, at_N, "amin")
        last_S = at_N.new_full((size + 1,), ids_BL.shape[1]).scatter_reduce(0, mine_N, at_N, "amax", include_self=False)
        # number -1 reads the last entry, which no sample writes: nothing lies behind it
        return cls(number_BL, at_BL >= first_S[number_BL], at_BL > last_S[number_BL])

    def with_mark(self, batch: Batch, mark: Sequence[int]) -> Tensor:
        """[S]: samples that have latents and, behind them, the mark that an echo ends with."""
        size = int(self.number_BL.max()) + 1
        found_S = torch.zeros(size, dtype=torch.bool, device=self.number_BL.device)
        if batch.ids_BL.shape[1] < len(mark):
            return found_S
        windows_BLM = batch.ids_BL.unfold(1, len(mark), 1)
        here_BL = (windows_BLM == torch.tensor(mark, device=windows_BLM.device)).all(-1)
        here_BL &= self.behind_BL[:, : here_BL.shape[1]]
        found_S[self.number_BL[:, : here_BL.shape[1]][here_BL]] = True
        return found_S

    def first_S(self) -> Tensor:
        """[S]: the first sample that has latents, alone."""
        size = int(self.number_BL.max()) + 1
        return torch.arange(size, device=self.number_BL.device) == self.number_BL[self.tail_BL].min()

    def of_samples(self, chosen_S: Tensor) -> Tensor:
        """[B, L]: the tails of some samples."""
        return self.tail_BL & chosen_S[self.number_BL] & (self.number_BL >= 0)


def chosen(marked_S: Tensor, probability: float, seed: int, chance_S: tuple[int, ...] = ()) -> Tensor:
    """[S]: which samples are hidden, by a seed of their own; by `Batch.chance_S` where samples have one each."""
    generator = torch.Generator().manual_seed(2 * seed + 1)
    dice_S = of_samples(chance_S, len(marked_S), HIDDEN, generator) < probability
    return dice_S.to(marked_S.device) & marked_S


@dataclass(frozen=True, eq=False)
class Hidden:
    """The tails of hidden samples as a batch of its own, and where its positions come from."""

    batch: Batch
    latents: Latents
    row_HT: Tensor
    at_HT: Tensor

    @classmethod
    def of(cls, model: SlvrModel, batch: Batch, tails: Tails, hidden_S: Tensor, fed: Latents) -> Hidden:
        """Samples in reading order, padded on the right; labels are those behind the latents."""
        tail_BL = tails.of_samples(hidden_S)
        row_N, at_N = tail_BL.nonzero(as_tuple=True)
        number_N = tails.number_BL[row_N, at_N]
        _, line_N, length_H = torch.unique(number_N, return_inverse=True, return_counts=True)
        column_N = torch.arange(len(row_N), device=row_N.device) - (length_H.cumsum(0) - length_H)[line_N]
        shape = (len(length_H), int(length_H.max()))

        def moved(values_BL: Tensor, fill: int) -> Tensor:
            out_HT = values_BL.new_full(shape, fill)
            out_HT[line_N, column_N] = values_BL[row_N, at_N]
            return out_HT

        labels_BL = torch.where(tails.behind_BL, batch.labels_BL, IGNORED)
        at_BL = torch.arange(tail_BL.shape[1], device=tail_BL.device).expand_as(tail_BL)
        small = Batch(
            moved(batch.ids_BL, model.layout.pad_token),
            moved(batch.kept_BL.long(), 0).bool(),
            torch.stack([moved(axis_BL, 0) for axis_BL in batch.positions_3BL]),
            moved(torch.ones_like(batch.blocks_BL), -1),
            moved(labels_BL, IGNORED),
            image_id=batch.image_id,
        )
        kept = [tail_BL[one.row, one.at] for one in model.slots(batch)]
        pairs = zip((fed.visual_TD, fed.semantic_SE), kept, strict=False)
        parts = [None if latents is None or not len(latents) else latents[mine_S] for latents, mine_S in pairs]
        rows_BL = torch.arange(len(tail_BL), device=tail_BL.device)[:, None].expand_as(tail_BL)
        given = Latents(parts[0], parts[1] if len(parts) > 1 else None)
        return cls(small, given, moved(rows_BL, 0), moved(at_BL, 0))


def hidden_view(batch: Batch, tails: Tails, hidden_S: Tensor) -> Batch:
    """The batch with the mask of the second pass: a position in a hidden tail sees that tail up to itself alone."""
    seen_BLL, tail_BL = batch.seen(), tails.of_samples(hidden_S)
    same_BLL = tails.number_BL[:, :, None] == tails.number_BL[:, None, :]
    allowed_BLL = ~tail_BL[:, :, None] | (same_BLL & tail_BL[:, None, :])
    return replace(batch, mask_BLL=seen_BLL & allowed_BLL)
