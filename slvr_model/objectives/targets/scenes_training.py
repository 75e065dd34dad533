"""Teaches the scene encoder from nothing: what thing, of which colour, is under each visual token of a drawn scene?

    loss = sum over (entity, colour) of the mean cross-entropy of a linear map of the token's feature

over all tokens (the ground is an entity of its own, a tenth as heavy, and has no colour). Adam, learning rate falling
in a line to 0. The same arguments give the same file.

    python -m slvr_model.objectives.targets.scenes_training FILE [--steps 300] [--width 64] [--seed 0] [--pictures 200]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from slvr_model.labels import NO_LABEL, OF_GROUND, cell_labels
from slvr_model.lessons import Lesson, lessons
from slvr_model.objectives.targets.scene_labels import TOLD, new_readers
from slvr_model.objectives.targets.scenes import READERS, SceneEncoder
from slvr_model.tiny import tiny_processor

BATCH = 8
PICTURES = 200
RATE = 1e-2


@dataclass(frozen=True, eq=False)
class Taught:
    """An encoder, and for how many of the tokens of things its features tell what it is, in scenes not learnt from."""

    encoder: SceneEncoder
    entity: float
    """Share of tokens whose entity is told."""
    color: float
    readers: nn.ModuleList
    """What tells entity and colour of a feature: a linear map each."""

    def tensors(self) -> dict[str, Tensor]:
        """Everything, as it is kept in a file."""
        told = {READERS + name: tensor for name, tensor in self.readers.state_dict().items()}
        return self.encoder.state_dict() | told


def train(*, steps: int, width: int = 64, seed: int = 0, pictures: int = PICTURES) -> Taught:
    """Teach an encoder on `pictures` easy scenes; one in five is kept to examine it."""
    shown = [_read(lesson) for lesson in lessons("easy", 7_000_000 + seed, pictures)]
    kept, learnt = shown[: max(1, pictures // 5)], shown[max(1, pictures // 5) :]
    encoder = SceneEncoder(width, seed)
    dice = torch.Generator().manual_seed(seed)
    readers = new_readers(width)
    with torch.no_grad():
        for weights in readers.parameters():
            weights.normal_(0, width**-0.5, generator=dice)
    adam = torch.optim.Adam([*encoder.parameters(), *readers.parameters()], lr=RATE)
    for step in range(steps):
        adam.param_groups[0]["lr"] = RATE * (1 - step / steps)
        drawn = torch.randint(len(learnt), (BATCH,), generator=dice).tolist()
        loss = sum((_loss(encoder, readers, *learnt[number]) for number in drawn), torch.zeros(())) / BATCH
        adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        adam.step()
    entity, color = _right(encoder, readers, kept)
    return Taught(encoder, entity, color, readers)


def _read(lesson: Lesson) -> tuple[Tensor, Tensor]:
    """A picture [1, 3, H, W] in the tiny processor's units, and its labels [TOLD, tokens]."""
    processor = tiny_processor().image_processor
    mean, deviation = processor.image_mean[0], processor.image_std[0]
    picture = torch.from_numpy(lesson.picture.copy()).permute(2, 0, 1)[None].float() / 255
    return (picture - mean) / deviation, cell_labels(lesson)[:TOLD]


def _logits(encoder: SceneEncoder, readers: nn.ModuleList, picture: Tensor) -> list[Tensor]:
    features_GF = encoder(picture)[0].flatten(1).T
    return [reader(features_GF) for reader in readers]


def _loss(encoder: SceneEncoder, readers: nn.ModuleList, picture: Tensor, labels_WG: Tensor) -> Tensor:
    total = torch.zeros(())
    for number, logits_GC in enumerate(_logits(encoder, readers, picture)):
        weight = torch.ones(logits_GC.shape[1])
        if number == 0:
            weight[-1] = OF_GROUND
        if bool((labels_WG[number] != NO_LABEL).any()):
            total = total + functional.cross_entropy(logits_GC, labels_WG[number], weight, ignore_index=NO_LABEL)
    return total


@torch.no_grad()
def _right(encoder: SceneEncoder, readers: nn.ModuleList, shown: Sequence[tuple[Tensor, Tensor]]) -> list[float]:
    """Shares of the tokens of things whose label is told, one per word group."""
    right, asked = [0] * TOLD, 0
    for picture, labels_WG in shown:
        thing_G = labels_WG[1] != NO_LABEL
        asked += int(thing_G.sum())
        for number, logits_GC in enumerate(_logits(encoder, readers, picture)):
            right[number] += int(((logits_GC.argmax(1) == labels_WG[number]) & thing_G).sum())
    return [one / max(asked, 1) for one in right]


def main(arguments: Sequence[str] | None = None) -> None:
    """The command of the module's docstring."""
    parser = argparse.ArgumentParser(prog="scenes_training", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pictures", type=int, default=PICTURES)
    given = parser.parse_args(arguments)
    taught = train(steps=given.steps, width=given.width, seed=given.seed, pictures=given.pictures)
    save_file(taught.tensors(), given.file)
    told = f"entity {taught.entity:.1%}, colour {taught.color:.1%}"
    print(f"{given.file}: told of the tokens of things in unseen scenes: {told}")


if __name__ == "__main__":
    main()
