"""A lot's pictures: as the tower encodes them in a batch, each once, in no other numbers than encoded for each use."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from slvr_model.mgrpo.asking import Asking
from slvr_model.mgrpo.pictures import Pictures
from slvr_model.mgrpo.sharing import beginnings
from slvr_model.modeling import SlvrModel
from tests.slvr_model.mgrpo.rollout_support import new_talkative, shown
from tests.slvr_model.mgrpo.update_support import Bench, configured, furthest
from tests.slvr_model.objectives.objective_support import gradients, opened
from tests.slvr_model.test_modeling import counted


def asked(model: SlvrModel) -> list[Asking]:
    """Four regions of three pictures."""
    objective = opened("slvr", model)
    return [Asking.of(shown(objective, place).asked, model.layout) for place in (2, 0, 1, 3)]


def test_tokens_are_those_of_a_batch_whatever_was_held_before() -> None:
    model = new_talkative()
    model.model.visual.requires_grad_(False)
    asking, seen = asked(model), Pictures(model)
    with torch.no_grad():
        whole_MD = model.encode(beginnings(asking, model.layout))
    found_MD = seen.of(asking)
    assert found_MD is not None and whole_MD is not None and torch.equal(found_MD, whole_MD) and seen.encoded == 3
    with counted(model.model.visual) as patches:
        for some in ([1], [3], [3, 1], [1, 2, 1], [2, 0, 3]):
            held_MD = seen.of([asking[place] for place in some])
            with torch.no_grad():
                alone_MD = model.encode(beginnings([asking[place] for place in some], model.layout))
            assert held_MD is not None and not held_MD.requires_grad
            torch.testing.assert_close(held_MD, alone_MD, atol=1e-6, rtol=1e-6)
    assert len(patches) == 5 and seen.encoded == 3, "all of them by the comparison"
    seen.clear()
    assert seen.of(asking[:2]) is not None and seen.encoded == 5
    assert seen.of(asking) is not None and seen.encoded == 6, "only what is missing"


def test_a_tower_that_is_trained_is_asked_each_time() -> None:
    model = new_talkative()
    asking, seen = asked(model)[:1], Pictures(model)
    first_MD = seen.of(asking)
    assert first_MD is not None and any("visual.patch_embed" in name for name in gradients(model, first_MD.sum()))
    with torch.no_grad():
        model.model.visual.merger.mlp[2].bias.add_(1.0)
        later_MD = seen.of(asking)
    assert later_MD is not None and float((later_MD - first_MD.detach()).abs().max()) > 0.5 and seen.encoded == 2


class Forgetful(Pictures):
    """Encodes for each use."""

    def of(self, asking: Sequence[Asking]) -> Tensor | None:
        self.clear()
        return super().of(asking)


def test_a_lot_that_is_encoded_once_teaches_what_one_does_that_is_encoded_for_each_use() -> None:
    config = configured(training={"micro_rows": 2}, latents={"together": 1.0, "apart": 1.0, "apart_margin": 2.0})
    found = []
    for kind in (Pictures, Forgetful):
        bench = Bench(config)
        bench.shown[1] = shown(bench.generator.objective, 0, region="other")
        assert bench.update.reference is not None
        seen = kind(bench.model)
        bench.generator.pictures = bench.player.pictures = bench.update.pictures = seen
        bench.update.reference.pictures = seen
        found.append((bench.learnt(), bench.gradients(), seen.encoded))
    (once, gradient, fewest), (each, other, many) = found
    assert fewest == 2 and many > 5 * fewest and once["rows"] > 4
    assert once.keys() == each.keys()
    assert all(abs(once[name] - value) <= 1e-6 + 1e-5 * abs(value) for name, value in each.items())
    assert furthest(gradient, other) < 1e-6
