"""Many questions about one picture, which is read once for all of them.

The prefix of a sequence is the picture with what stands before it; a block is a question with its reply. The prefix
of each picture runs first; every block then runs as a row of its own whose past is the prefix (keys and values of the
public cache, gradient included). What a block computes is what the same question alone computes
(`tests/slvr_model/test_tiny_training.py`).

    B pictures, P positions of the prefix, R blocks (rows) of a part, L positions of its longest, S supervised
    positions of a part, G image tokens, D width
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from slvr_model.tiny import MERGE, PATCH

LOCATED, NAMED, ANSWERED, CHOSEN = 2, 3, 4, 5
"""Layers after which a visual token is to know its place, a word the thing that it names, the end of a question its
answer, and then the letter of that answer: what comes later must be able to read it."""
Pictures = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Block:
    """A question with its reply as token ids."""

    prompt: tuple[int, ...]
    reply: tuple[int, ...]
    weight: float = 1.0
    """Of its reply's mean loss."""
    named: tuple[tuple[int, tuple[int, ...]], ...] = ()
    """Where in the prompt words end that single a thing out, and what that thing is, as the reading loss has it."""
    hints: tuple[tuple[int, int, int], ...] = ()
    """(layer, position of the prompt, token that is to be known there after it): what leads to a letter."""

    @property
    def length(self) -> int:
        """Of both together."""
        return len(self.prompt) + len(self.reply)


@dataclass(frozen=True)
class Part:
    """Blocks of like length, padded on the right: those of a batch run in a few parts."""

    ids_RL: Tensor
    picture_R: Tensor
    """Which picture a block is about."""
    row_S: Tensor
    at_S: Tensor
    """Positions whose next token is supervised."""
    target_S: Tensor
    weight_S: Tensor
    number_S: Tensor
    """The block's number in the batch."""
    named_N: tuple[Tensor, Tensor]
    """Rows and positions where a thing has been named."""
    labels_WN: Tensor
    """What it is."""
    hinted_H: tuple[Tensor, Tensor, Tensor]
    """Layers (counted from `ANSWERED`), rows and positions of hints."""
    hint_H: Tensor
    """The tokens that are to be known there."""


@dataclass(frozen=True)
class Batch:
    """Pictures of one size and the blocks about them."""

    prefix_BP: Tensor
    positions_3P: Tensor
    start: int
    """Position at which blocks begin."""
    pixels: Tensor
    """[patches, 48]."""
    grid_B3: Tensor
    parts: tuple[Part, ...]
    blocks: int


def patches(pictures_BHWC: Pictures) -> tuple[Tensor, Tensor]:
    """Pixel values [patches, 48] and grids [B, 3] of pictures of one size, as the picture processor makes them.

    Sides must be multiples of a visual token's side, and lie within the processor's limits: nothing is scaled.
    """
    number, height, width, _ = pictures_BHWC.shape
    side = PATCH * MERGE
    scaled = (torch.tensor(pictures_BHWC).float() / 255 - 0.5) / 0.25
    cut = scaled.reshape(number, height // side, MERGE, PATCH, width // side, MERGE, PATCH, 3)
    flat = cut.permute(0, 1, 4, 2, 5, 7, 3, 6).reshape(-1, 3 * PATCH * PATCH)
    grid = torch.tensor([[1, height // PATCH, width // PATCH]]).expand(number, 3)
    return flat, grid


def prefix_positions(before: int, grid_hw: tuple[int, int]) -> tuple[Tensor, int]:
    """M-RoPE positions [3, P] of `before` tokens, a picture of merged grid (h, w) and one token; and the next one."""
    h, w = grid_hw
    text = torch.arange(before).expand(3, before)
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    picture = before + torch.stack([torch.zeros(h * w, dtype=torch.long), rows.flatten(), columns.flatten()])
    after = before + max(h, w)
    return torch.cat([text, picture, torch.full((3, 1), after)], dim=1), after + 1


def parts_of(rows: Sequence[Sequence[Block]], pad: int, most: int = 3) -> tuple[Part, ...]:
    """The blocks of each picture, cut into at most `most` parts of like length."""
    numbered = [(block, picture) for picture, blocks in enumerate(rows) for block in blocks]
    order = sorted(range(len(numbered)), key=lambda n: (numbered[n][0].length, n))
    cuts = np.array_split(np.array(order), min(most, len(order)))
    return tuple(_part([(int(n), *numbered[n]) for n in cut], pad) for cut in cuts)


def _part(blocks: Sequence[tuple[int, Block, int]], pad: int) -> Part:
    ids = np.full((len(blocks), max(block.length for _, block, _ in blocks)), pad, np.int64)
    wanted: list[tuple[int, int, int, float, int]] = []
    for row, (number, block, _) in enumerate(blocks):
        ids[row, : block.length] = (*block.prompt, *block.reply)
        first, weight = len(block.prompt) - 1, block.weight / len(block.reply)
        wanted += [(row, first + i, token, weight, number) for i, token in enumerate(block.reply)]
    pictures = torch.tensor([picture for _, _, picture in blocks])
    row_s, at_s, target_s, weight_s, number_s = (torch.tensor(column) for column in zip(*wanted, strict=True))
    named = [(row, at, *labels) for row, (_, block, _) in enumerate(blocks) for at, labels in block.named]
    named_NC = torch.tensor(named, dtype=torch.long) if named else torch.zeros(0, 2, dtype=torch.long)
    hints = [
        (layer - ANSWERED, row, at, token)
        for row, (_, block, _) in enumerate(blocks)
        for layer, at, token in block.hints
    ]
    layer_h, row_h, at_h, hint_h = torch.tensor(hints, dtype=torch.long).view(-1, 4).T
    naming, hinted = (named_NC[:, 0], named_NC[:, 1]), (layer_h, row_h, at_h)
    supervised = (row_s, at_s, target_s, weight_s, number_s)
    return Part(torch.from_numpy(ids), pictures, *supervised, naming, named_NC[:, 2:].T, hinted, hint_h)


@dataclass(frozen=True)
class Seen:
    """What the prefixes of a batch became."""

    past: DynamicCache | None
    """Keys and values; None where only the pictures' encoder ran."""
    tokens_BGD: Tensor
    """Visual tokens as they enter the language model, row-major; G per picture."""
    states_BGD: Tensor | None
    """Hidden states at the visual tokens after layer `LOCATED`, normed."""


def read_pictures(model: PreTrainedModel, batch: Batch, image_token: int) -> Seen:
    """Run the prefixes."""
    core: Any = model.model
    embeds_BPD = core.language_model.embed_tokens(batch.prefix_BP)
    seen_GD = core.visual(batch.pixels, grid_thw=batch.grid_B3).pooler_output.to(embeds_BPD.dtype)
    embeds_BPD = embeds_BPD.masked_scatter((batch.prefix_BP == image_token)[..., None], seen_GD)
    past = DynamicCache(config=core.config.text_config)
    hidden_LBPD = core.language_model(
        inputs_embeds=embeds_BPD,
        attention_mask={"full_attention": causal(0, batch.prefix_BP.shape[1])},
        position_ids=batch.positions_3P[:, None].expand(-1, len(batch.prefix_BP), -1),
        past_key_values=past,
        use_cache=True,
        output_hidden_states=True,
    ).hidden_states
    states_BPD = core.language_model.norm(hidden_LBPD[LOCATED])
    shape = (len(batch.prefix_BP), -1, states_BPD.shape[-1])
    return Seen(past, seen_GD.view(shape), states_BPD[batch.prefix_BP == image_token].view(shape))


@dataclass(frozen=True)
class States:
    """Hidden states of a part, normed."""

    last_SD: Tensor
    """The last ones, where a reply is supervised."""
    named_ND: Tensor
    """After layer `NAMED`, where a thing has been named."""
    hinted_HD: Tensor
    """After the layers `ANSWERED` and `CHOSEN`, where hints are."""


def states_of(model: PreTrainedModel, batch: Batch, seen: Seen, part: Part) -> States:
    """Run the blocks of a part behind their pictures."""
    core: Any = model.model
    rows, length = part.ids_RL.shape
    assert seen.past is not None, "the prefixes must have run"
    own = DynamicCache(config=core.config.text_config)
    layers: Any = seen.past.layers
    for number, layer in enumerate(layers):
        own.update(layer.keys[part.picture_R], layer.values[part.picture_R], number)
    positions = batch.start + torch.arange(length)
    out: Any = core.language_model(
        inputs_embeds=core.language_model.embed_tokens(part.ids_RL),
        attention_mask={"full_attention": causal(batch.prefix_BP.shape[1], length)},
        position_ids=positions.expand(3, rows, length),
        past_key_values=own,
        use_cache=True,
        output_hidden_states=True,
    )
    norm, hidden = core.language_model.norm, out.hidden_states
    last_SD = out.last_hidden_state[part.row_S, part.at_S]
    return States(
        last_SD, norm(hidden[NAMED][part.named_N]), norm(torch.stack(hidden[ANSWERED : CHOSEN + 1])[part.hinted_H])
    )


def causal(past: int, length: int) -> Tensor:
    """[1, 1, length, past + length]: True where a position may look. Padding on the right needs nothing more."""
    return torch.ones(length, past + length, dtype=torch.bool).tril(past)[None, None]
