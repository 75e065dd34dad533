"""Alignment with frozen encoders, and what keeps slots apart, against their formulas."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from slvr_data.errors import UsageError
from slvr_model.objectives.align import alignment, stretched
from slvr_model.objectives.targets.base import LogitTarget, TensorTarget, TextTarget
from slvr_model.objectives.targets.filters import FRACTIONS, ORIENTATIONS, FilterBank, filtered
from slvr_model.objectives.targets.pixels import cell_of, pictures_of
from slvr_model.objectives.triplet import slot_triplet
from slvr_model.regions import box_tokens
from slvr_model.tiny import MERGE
from tests.slvr_model.objectives import objective_support as support


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_slots_are_stretched_in_a_line() -> None:
    states = drawn(3, 4, 5)
    counts = [7, 1, 4]
    group_N = torch.tensor([g for g, n in enumerate(counts) for _ in range(n)])
    expected = []
    for g, n in enumerate(counts):
        for i in range(n):
            x = min(max((i + 0.5) * 4 / n - 0.5, 0.0), 3.0)
            low = min(math.floor(x), 2)
            expected.append(states[g, low] * (low + 1 - x) + states[g, low + 1] * (x - low))
    torch.testing.assert_close(stretched(states, group_N), torch.stack(expected))
    torch.testing.assert_close(stretched(states, torch.arange(3).repeat_interleave(4)), states.flatten(0, 1))


def test_losses_of_each_kind_of_target() -> None:
    states, head, vocabulary = drawn(2, 3, 6), nn.Linear(6, 4), drawn(11, 6, seed=1)
    group_N = torch.tensor([0, 0, 1])
    values = stretched(states, group_N)
    tensor = TensorTarget(drawn(3, 4, seed=2), group_N)
    losses_N, groups = alignment(states, tensor, head.requires_grad_(False), vocabulary)
    for n in range(3):
        told, wanted = head(values[n]).double(), tensor.values_ND[n].double()
        assert float(losses_N[n]) == pytest.approx(-float(told @ wanted / told.norm() / wanted.norm()), abs=1e-5)
    same, _ = alignment(states, TensorTarget(head(values).detach() * 3, group_N), head, vocabulary)
    torch.testing.assert_close(same, -torch.ones(3))
    logits = LogitTarget(drawn(3, 11, seed=3), group_N)
    found_N, _ = alignment(states, logits, head, vocabulary)
    for n in range(3):
        p, q = logits.logits_NV[n].softmax(0).double(), (vocabulary @ values[n]).softmax(0).double()
        assert float(found_N[n]) == pytest.approx(
            sum(float(a * (a / b).log()) for a, b in zip(p, q, strict=True)), rel=1e-4
        )
    text = TextTarget((None, (4, 4, 9)))
    losses_T, group_T = alignment(states, text, head, vocabulary)
    said = (vocabulary @ states[1].mean(0)).log_softmax(0)
    assert groups.tolist() == [0, 0, 1] and group_T.tolist() == [1]
    assert float(losses_T[0]) == pytest.approx(-float(said[4] * 2 + said[9]) / 3, rel=1e-5)


def test_the_triplet_loss_by_hand() -> None:
    slots = drawn(3, 4, 6)
    unit = slots / slots.norm(dim=-1, keepdim=True)
    parts = []
    for g in range(3):
        for k in range(4):
            far = max(float((unit[g, k] - unit[h, k]).norm()) for h in range(3))
            near = min(float((unit[g, k] - unit[h, j]).norm()) for h in range(3) for j in range(4) if j != k)
            parts.append(max(0.0, 0.7 + far - near))
    assert float(slot_triplet(slots, 0.7)) == pytest.approx(sum(parts) / 12, rel=1e-3)
    assert float(slot_triplet(torch.ones(3, 4, 6), 0.7)) == pytest.approx(0.7), "collapsed slots: the margin"
    apart = torch.eye(6)[:4].expand(3, 4, 6)
    assert float(slot_triplet(apart, 0.7)) == 0.0, "slots apart by more than the margin"
    with pytest.raises(UsageError, match="a region has one"):
        slot_triplet(drawn(3, 1, 6), 1.0)
    pulled = drawn(2, 3, 6).requires_grad_()
    slot_triplet(pulled, 2.0).backward()
    assert pulled.grad is not None and bool(pulled.grad.isfinite().all()) and bool(pulled.grad.any())


@pytest.mark.parametrize("layer", [None, 2])
def test_the_loss_of_slots_aligned_with_encoders(layer: int | None) -> None:
    model = support.tiny()[0]
    settings = {"layer": layer, "triplet_weight": 0.25, "margin": 0.5}
    objective = support.opened("multi_encoder", alignment=settings)
    batch, slots = support.batch(objective), model.latent_config.visual_slots
    with torch.no_grad():
        terms = objective.losses(model, batch, step_share=0)
        own = model.latent_forward(batch, "own")
        filled = model._filled(
            model.embed(batch, model.encode(batch)), model.slots(batch), type(own.target)(own.visual_TD, None), "given"
        )
        states = model.text(
            inputs_embeds=filled,
            position_ids=batch.positions_3BL,
            attention_mask=batch.kept_BL.long(),
            output_hidden_states=True,
        )
        picked_BLD = own.hidden_BLD if layer is None else states.hidden_states[layer + 1]
        at_BL = batch.ids_BL == model.latent_config.tokens.vis_slot
        means: dict[str, list[float]] = {"filters": [], "scenes": []}
        for number, sample in enumerate(support.samples()):
            picture = (np.asarray(sample.picture, np.float32) / 255 - 0.5) / 0.25
            pixels = torch.from_numpy(picture).permute(2, 0, 1)
            h, w = pixels.shape[1] // 8, pixels.shape[2] // 8
            inside = box_tokens(sample.box, sample.picture.size, (h, w))
            mine = picked_BLD[number][at_BL[number]][None]
            f = stretched(mine, torch.zeros(len(inside), dtype=torch.long))
            maps = {"filters": filtered(pixels, 8), "scenes": objective.providers[1].encoder(pixels[None])[0]}  # type: ignore[attr-defined]
            for name, features in maps.items():
                told = objective.heads[name](f)  # type: ignore[index]
                cosines = []
                for n, token in enumerate(inside):
                    wanted = features[:, token // w, token % w]
                    cosines.append(-float(told[n] @ wanted / told[n].norm() / wanted.norm()))
                means[name].append(sum(cosines) / len(cosines))
        apart = slot_triplet(picked_BLD[at_BL].view(4, slots, -1), 0.5)
    numbers = terms.numbers()
    for name, found in means.items():
        assert numbers[f"align_{name}"] == pytest.approx(sum(found) / 4, abs=2e-4)
    assert numbers["align"] == pytest.approx((sum(means["filters"]) + sum(means["scenes"])) / 8, abs=2e-4)
    assert numbers["triplet"] == pytest.approx(float(apart), abs=1e-4)
    total = numbers["answer"] + 0.5 * numbers["align"] + 0.25 * numbers["triplet"]
    assert float(terms.total) == pytest.approx(total, rel=1e-5)


def test_alignment_teaches_the_layers_below_and_the_heads_alone() -> None:
    model = support.tiny()[0]
    hooks = len(model.text.layers[2]._forward_hooks)
    objective = support.opened("multi_encoder", feed="detached", alignment={"layer": 2})
    terms = objective.losses(model, support.batch(objective, (0, 1)), step_share=0)
    reached = support.gradients(model, terms.named["align"])
    layers = {int(name.split(".layers.")[1].split(".")[0]) for name in reached if "language_model.layers." in name}
    assert layers == {0, 1, 2}
    terms.total.backward()
    assert all(weights.grad is not None and bool(weights.grad.any()) for weights in objective.heads.parameters())
    model.zero_grad()
    encoder = objective.providers[1].encoder  # type: ignore[attr-defined]
    assert not any(weights.requires_grad for weights in encoder.parameters())
    assert not any("align" in name or "filters" in name for name in model.state_dict())
    assert len(model.text.layers[2]._forward_hooks) == hooks


def test_heads_and_encoders_depend_on_their_seed_alone() -> None:
    first, again, other = (support.opened("multi_encoder", alignment={"seed": seed}) for seed in (1, 1, 2))
    for one, two, differs in ((first, again, False), (first, other, True)):
        pairs = zip(one.heads.state_dict().values(), two.heads.state_dict().values(), strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs) is differs


def test_own_tokens_may_be_the_encoder() -> None:
    model, objective = support.tiny()[0], support.opened("multi_encoder", alignment={"encoders": ["tokens"]})
    numbers = objective.losses(model, support.batch(objective), step_share=0).numbers()
    assert -1 <= numbers["align_tokens"] <= 1


def test_pictures_are_put_together_from_patches() -> None:
    model, objective = support.tiny()[0], support.opened("lvr")
    batch = support.batch(objective)
    found = pictures_of(model, batch)
    assert cell_of(model) == 8 and len(found) == 3
    for pixels, sample in zip(found, support.samples(), strict=False):
        expected = (torch.from_numpy(np.asarray(sample.picture, np.float32)) / 255 - 0.5) / 0.25
        torch.testing.assert_close(pixels, expected.permute(2, 0, 1), rtol=0, atol=1e-4)
    with pytest.raises(UsageError, match="shows no pictures"):
        pictures_of(model, replace(batch, pixels_PX=None))


def test_filters_see_direction_fineness_and_colour() -> None:
    side, x = 32, torch.arange(32.0)
    for number, fraction in enumerate(FRACTIONS):
        waves = torch.sin(2 * math.pi * x / (8 / fraction) + 0.4).expand(side, side)
        for turned, orientation in ((waves, 0), (waves.T, ORIENTATIONS // 2)):
            energy = filtered(turned.expand(3, side, side), 8)[4:].mean((1, 2))
            assert int(energy.argmax()) == number * ORIENTATIONS + orientation
    red = torch.stack([torch.full((16, 8), 1.0), torch.full((16, 8), -0.5), torch.zeros(16, 8)])
    found = filtered(red, 8)
    assert found.shape == (FilterBank.size, 2, 1)
    torch.testing.assert_close(found[:, 0, 0], torch.tensor([1 / 6, 1.5, -0.25, *[0.0] * 9]), atol=1e-3, rtol=0)


def test_filters_by_hand() -> None:
    """One energy at one place, from the formula."""
    picture = drawn(3, 24, 24)
    light = picture.mean(0).double()
    wavelength, angle = 8 / FRACTIONS[1], math.pi * 1 / ORIENTATIONS
    sums = []
    for v in range(8, 16):
        for u in range(8, 16):
            parts = []
            for wave in (math.cos, math.sin):
                kernel = {
                    (dy, dx): math.exp(-(dx * dx + dy * dy) / (2 * (wavelength / 2) ** 2))
                    * wave(2 * math.pi * (dx * math.cos(angle) + dy * math.sin(angle)) / wavelength)
                    for dy in range(-4, 5)
                    for dx in range(-4, 5)
                }
                mean = sum(kernel.values()) / 81
                size = sum(abs(one - mean) for one in kernel.values())
                value = sum((one - mean) / size * float(light[v + dy, u + dx]) for (dy, dx), one in kernel.items())
                parts.append(value**2)
            sums.append(math.sqrt(sum(parts)))
    assert float(filtered(picture, 8)[4 + ORIENTATIONS + 1, 1, 1]) == pytest.approx(sum(sums) / 64, rel=1e-4)
    assert MERGE == 2
