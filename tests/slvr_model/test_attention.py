"""Shares of attention, against the weights of a plain pass counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from slvr_model.attention import PARTS, attention_shares
from slvr_model.decoding import decode, extended
from slvr_model.rows import Row
from tests.slvr_model.support import IMAGE, SLOTS, TOKENS, asked_rows, left, model


def kind_of(token: int, in_reply: bool) -> str:
    if token == IMAGE:
        return "picture"
    named = {TOKENS.vis_slot: "visual", TOKENS.sem_slot: "semantic"}
    return named.get(token, "reply" if in_reply else "text")


def test_shares_are_those_of_the_weights() -> None:
    """Each row alone, without padding, and its weights added up one by one."""
    of, rows = model(), asked_rows((4, 7))
    batch = left(rows)
    out = decode(of, batch, max_new_tokens=SLOTS + 9, opening=True)
    found = attention_shares(of, batch, out)
    assert len(found) == 2 + 1 and tuple(found[0]) == PARTS
    assert of.text.config._attn_implementation == "sdpa"
    for number, row in enumerate(rows):
        weights, ids, sampled, prompt = alone(row)
        for layer in range(3):
            counted = dict.fromkeys(PARTS, 0.0)
            for at in sampled:
                look = weights[layer][at - 1] if layer < 2 else [1 / at] * at
                for place in range(at):
                    counted[kind_of(ids[place], place >= prompt)] += float(look[place]) / len(sampled)
            shares = {name: float(share[number]) for name, share in found[layer].items()}
            assert shares == pytest.approx(counted, abs=2e-4)
            assert sum(shares.values()) == pytest.approx(1, abs=1e-4)


@torch.no_grad()
def alone(row: Row) -> tuple[list[np.ndarray], list[int], list[int], int]:
    """Weights [L, L] of both layers, ids, places of sampled tokens, and the length of the prompt."""
    plain = model()
    batch = left([row])
    out = decode(plain, batch, max_new_tokens=SLOTS + 9, opening=True)
    whole = extended(batch, out)
    plain.text.config._attn_implementation = "eager"
    inputs = plain.embed(whole, plain.encode(batch))
    for one, latents in zip(plain.slots(whole), (out.latents.visual_TD, out.latents.semantic_SE), strict=True):
        inputs[one.row, one.at] = one.to_input(latents)
    length = inputs.shape[1]
    mask = {"full_attention": torch.full((1, 1, length, length), -1e30).triu(1)}
    told = plain.text(inputs_embeds=inputs, position_ids=whole.positions_3BL, attention_mask=mask,
                      output_attentions=True)  # fmt: skip
    prompt = batch.ids_BL.shape[1]
    sampled = [prompt + place for place in out.sampled_BT[0].nonzero()[:, 0].tolist()]
    return [look[0].mean(0).numpy() for look in told.attentions], whole.ids_BL[0].tolist(), sampled, prompt
