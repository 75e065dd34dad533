"""What the scene encoder says is there, as logit target: a distribution over the words for entity and colour.

At each visual token, with the taught encoder's distributions e over entities ("none": the ground) and c over colours:

    p(word) = e(word)                     words for entities, "none" among them
            = (1 - e(none)) c(word)       words for colours: the ground has none
    p scaled to a sum of 1

A word is the first token of how it is spelled inside a text; words that share it share its place. The loss is in
`align.py`: the state's own distribution among these tokens should be p.

F channels, C tokens, N visual tokens of regions
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from slvr_data.errors import UsageError
from slvr_model.batches import Batch
from slvr_model.labels import LABELS
from slvr_model.modeling import SlvrModel
from slvr_model.objectives.config import AlignmentConfig
from slvr_model.objectives.targets.base import Group, LogitTarget
from slvr_model.objectives.targets.pixels import at_regions
from slvr_model.objectives.targets.scenes import READERS, SceneFeatures, kept_tensors

TOLD = 2
"""So many of `LABELS` are told: entity and colour."""
LEAST = 1e-9
"""Probabilities are held above this: the logarithm of 0 is no number."""


def new_readers(width: int) -> nn.ModuleList:
    """A linear map for entity and one for colour."""
    return nn.ModuleList(nn.Linear(width, len(words)) for words in LABELS[:TOLD])


@dataclass(frozen=True, eq=False)
class SceneLabels:
    """The taught encoder with what reads it, as provider."""

    scenes: SceneFeatures
    readers: nn.ModuleList
    ids_C: Tensor
    """Distinct tokens of the words."""
    place_W: Tensor
    """Which of them each word has: entities, then colours."""
    name: str = "labels"
    group: Group = "visual"

    @classmethod
    def of(cls, config: AlignmentConfig, tokenizer: PreTrainedTokenizerBase) -> SceneLabels:
        """From the file of a configuration.

        Raises:
            UsageError: no file is named or there, or it holds another width, or nothing that tells entity and colour.
            RunError: it is damaged.
        """
        command = "python -m slvr_model.objectives.targets.scenes_training FILE"
        if config.scenes_file is None:
            raise UsageError(f'encoder "labels" needs alignment.scenes_file, from {command}')
        scenes, readers = SceneFeatures.of(config), new_readers(config.width)
        kept = kept_tensors(Path(config.scenes_file))
        held = {name.removeprefix(READERS): one for name, one in kept.items() if name.startswith(READERS)}
        wanted = {name: one.shape for name, one in readers.state_dict().items()}
        if {name: one.shape for name, one in held.items()} != wanted:
            raise UsageError(
                f"alignment.scenes_file {config.scenes_file} holds an encoder, but nothing that tells entity and "
                f"colour by it: make it anew with {command}"
            )
        readers.load_state_dict(held)
        spelled = [tokenizer(f" {word}", add_special_tokens=False).input_ids for told in LABELS[:TOLD] for word in told]
        ids_C, place_W = torch.unique(torch.tensor([ids[0] for ids in spelled]), return_inverse=True)
        return cls(scenes, readers.requires_grad_(False).eval(), ids_C, place_W)

    def targets(self, model: SlvrModel, batch: Batch, visual_MD: Tensor | None) -> LogitTarget:
        """See `TargetProvider.targets`; a group is a region, with a distribution for each of its visual tokens."""
        device = batch.ids_BL.device
        self.scenes.encoder.to(device)
        self.readers.to(device)
        found = at_regions(model, batch, self.probabilities)
        return LogitTarget(found.values_ND.clamp_min(LEAST).log(), found.group_N, self.ids_C.to(device))

    def probabilities(self, picture_3HW: Tensor, cell: int) -> Tensor:
        """The distributions [C, H / cell, W / cell] of a picture."""
        features_FHW = self.scenes.features(picture_3HW, cell)
        entity_HWX, color_HWX = (reader(features_FHW.permute(1, 2, 0)).softmax(-1) for reader in self.readers)
        thing_HW1 = 1 - entity_HWX[..., -1:]
        said_HWX = torch.cat([entity_HWX, thing_HW1 * color_HWX], -1)
        among_HWC = said_HWX.new_zeros(*said_HWX.shape[:2], len(self.ids_C))
        among_HWC = among_HWC.index_add(2, self.place_W.to(said_HWX.device), said_HWX)
        return (among_HWC / among_HWC.sum(-1, keepdim=True)).permute(2, 0, 1)
