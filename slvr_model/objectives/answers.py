"""The answer loss: cross-entropy of what is sampled when decoding, of samples that see all and of hidden ones.

    answer = mean over samples of [ mean over a sample's supervised positions p of  -log softmax(W_head s_{p-1})[y_p] ]

(`averages.py`). Of hidden samples, s_{p-1} is that of the second pass where p lies behind the latents
(`bottleneck.py`). Among several processes there is a second pass for every batch, of one sample and without labels
where none is hidden: layers that are shared out are gathered in step, so all have to run them equally often.

B rows, L positions, N supervised positions, D width, S samples
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from slvr_model.batches import Batch
from slvr_model.efficiency.vocabulary_loss import token_losses
from slvr_model.latents import Latents
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.averages import Averages
from slvr_model.objectives.bottleneck import Hidden, Tails, chosen
from slvr_model.rows import IGNORED


@dataclass(frozen=True, eq=False)
class Labelled:
    """States that predict a label, and where the labels stand in the batch."""

    states_ND: Tensor
    ids_N: Tensor
    row_N: Tensor
    at_N: Tensor

    @classmethod
    def of(cls, batch: Batch, hidden_BLD: Tensor, labels_BL: Tensor) -> Labelled:
        """The state before each label; one at position 0 has none and is left out."""
        row_N, before_N = (labels_BL[:, 1:] != IGNORED).nonzero(as_tuple=True)
        return cls(hidden_BLD[row_N, before_N], labels_BL[row_N, before_N + 1], row_N, before_N + 1)

    def joined(self, other: Labelled) -> Labelled:
        """Both."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Labelled(*(torch.cat([one, another]) for one, another in pairs))


def answer_loss(model: SlvrModel, labelled: Labelled, averages: Averages) -> Tensor:
    """The answer loss of a batch."""
    losses_N = token_losses(labelled.states_ND, model.lm_head.weight, labelled.ids_N)
    return averages.mean(losses_N, labelled.row_N, labelled.at_N)


@dataclass(frozen=True, eq=False)
class Reading:
    """What the answers of a batch are read from."""

    labelled: Labelled
    hidden: int
    """Samples whose answer sees latents and echo alone."""


def read(
    model: SlvrModel,
    batch: Batch,
    hidden_BLD: Tensor,
    fed: Latents,
    *,
    mark: tuple[int, ...],
    probability: float,
    seed: int,
) -> Reading:
    """The states of a first pass where samples see all; of a second one where they are hidden, with `probability`."""
    if probability <= 0:
        return Reading(Labelled.of(batch, hidden_BLD, batch.labels_BL), 0)
    tails = Tails.of(batch, model.latent_config.tokens)
    hidden_S = chosen(tails.with_mark(batch, mark), probability, seed, batch.chance_S)
    hidden = int(hidden_S.sum())
    if not hidden and not _in_step():
        return Reading(Labelled.of(batch, hidden_BLD, batch.labels_BL), 0)
    blind_BL = tails.of_samples(hidden_S) & tails.behind_BL
    seeing = Labelled.of(batch, hidden_BLD, batch.labels_BL.masked_fill(blind_BL, IGNORED))
    part = Hidden.of(model, batch, tails, hidden_S if hidden else tails.first_S(), fed)
    second_HTD = model.latent_forward(part.batch, "given", given=part.latents).hidden_BLD
    labels_HT = part.batch.labels_BL if hidden else torch.full_like(part.batch.labels_BL, IGNORED)
    blind = Labelled.of(part.batch, second_HTD, labels_HT)
    origin = part.row_HT[blind.row_N, blind.at_N], part.at_HT[blind.row_N, blind.at_N]
    return Reading(seeing.joined(Labelled(blind.states_ND, blind.ids_N, *origin)), hidden)


def _in_step() -> bool:
    """Whether other processes may run layers that are shared with this one."""
    return distributed.is_initialized() and distributed.get_world_size() > 1
