"""What a picture's tokens and a question's words are to say while the embedded model is taught.

A visual token is labelled with the thing that it shows, and a word with the thing that it names. Both are read by the
vocabulary projection, against the words for what things are: no part is added to the model for it.

    B pictures, G image tokens, N names, W groups of words, D width
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from slvr_data import geometry
from slvr_data.colors import COLORS
from slvr_data.sources.scenes.forms import PLAIN
from slvr_model.lessons import Lesson, Thing
from slvr_model.modeling import SlvrModel
from slvr_model.packing import Seen
from slvr_model.tiny import MERGE, PATCH

LABELS: tuple[tuple[str, ...], ...] = (
    (*PLAIN, "none"), COLORS, geometry.SIZES, ("center", "none"), ("1", "2", "3", "4", "5"),
    ("top", "center", "bottom"), ("left", "center", "right"),
)  # fmt: skip
"""Words for the thing that a visual token belongs to: entity ("none" for the ground), colour, size; whether the token
is the one in its middle; how many of its kind the picture shows; row and column."""
MIDDLE, ALIKE = 3, 4
"""Which of them tell middles and numbers."""
NO_LABEL = -100
OF_GROUND = 0.1
AS_THEY_ENTER = 5
"""So many of `LABELS` are read from tokens as they enter the language model; the rest from their last states."""


def reading_loss(model: SlvrModel, seen: Seen, labels_WBG: Tensor, words: Sequence[Tensor]) -> Tensor:
    """What thing does a visual token belong to? Sum over `LABELS` of the mean cross-entropy; -100 is no label.

    The logit of a word is the product of the token, scaled to a root mean square of 1, with the word's embedding: so
    a visual token comes to lie near the words for what it shows, and a question finds it by them. The entity counts
    twice, and a token of the ground a tenth: most tokens are ground, and shapes are learnt last.
    """
    total = torch.zeros(())
    for number, (ids, labels_BG) in enumerate(zip(words, labels_WBG, strict=True)):
        if number == ALIKE:
            continue
        states_BGD = seen.tokens_BGD if number < AS_THEY_ENTER else seen.states_BGD
        if states_BGD is None:
            continue
        scaled_BGD = functional.rms_norm(states_BGD.float(), states_BGD.shape[-1:])
        logits = scaled_BGD @ model.lm_head.weight[ids].float().T
        counts = torch.ones(len(ids))
        if number in (0, MIDDLE):
            counts[-1] = OF_GROUND
        loss = functional.cross_entropy(logits.flatten(0, 1), labels_BG.flatten(), weight=counts)
        total = total + (2 if number == 0 else 1) * loss
    return total


def naming_loss(model: SlvrModel, named_ND: Tensor, labels_WN: Tensor, words: Sequence[Tensor]) -> Tensor:
    """What is the thing that has just been named? Sum over things and over `LABELS` of the cross-entropy.

    The logit of a word is that of the vocabulary projection: where "the largest circle" ends, the state says what that
    circle looks like and where it is, whatever will be asked of it.
    """
    total = torch.zeros(())
    for ids, labels_N in zip(words, labels_WN, strict=False):
        logits = named_ND.float() @ model.lm_head.weight[ids].float().T
        total = total + functional.cross_entropy(logits, labels_N, reduction="sum")
    return total


def labels_of(thing: Thing) -> tuple[int, ...]:
    """Numbers in `LABELS` for a thing of an easy scene."""
    look, place = thing.profile.appearance, thing.profile.spatial.position
    cell = divmod(geometry.POSITIONS.index(str(place)), 3)
    words = (
        PLAIN.index(str(look.entity)),
        COLORS.index((look.colors or [""])[0]),
        geometry.SIZES.index(str(look.size)),
    )
    alike = min(thing.profile.peers.same_label_count or 1, len(LABELS[ALIKE]))
    return (*words, NO_LABEL, alike - 1, *cell)


def cell_labels(lesson: Lesson) -> Tensor:
    """[7, G]: numbers in `LABELS` for the thing whose box holds the centre of each visual token.

    Tokens of the ground have the entity "none", are no middle, and have no other label (-100).
    """
    side = PATCH * MERGE
    rows, columns = lesson.picture.shape[0] // side, lesson.picture.shape[1] // side
    labels = np.full((len(LABELS), rows, columns), NO_LABEL, np.int64)
    labels[0], labels[MIDDLE] = len(PLAIN), 1
    for thing in lesson.things:
        x1, y1, x2, y2 = (edge / side for edge in thing.box)
        inside = (slice(math.ceil(y1 - 0.5), math.ceil(y2 - 0.5)), slice(math.ceil(x1 - 0.5), math.ceil(x2 - 0.5)))
        for number, value in enumerate(labels_of(thing)):
            if number != MIDDLE:
                labels[(number, *inside)] = value
        labels[MIDDLE, int((y1 + y2) / 2), int((x1 + x2) / 2)] = 0
    return torch.from_numpy(labels.reshape(len(LABELS), -1))
